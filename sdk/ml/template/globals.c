/* globals.c: the functions that templates find by name, and the methods of loops, dicts and lists. */
#include "internal.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define FUNCTION(function) static bool function(etk__render *r, etk__value *out, etk__value self, const etk__value *a, const etk__arguments *raw)

enum { MAX_RANGE = 100000 }; /* as Jinja's sandbox */

FUNCTION(range) {
  (void)self, (void)raw;
  int64_t start = 0, stop = 0, step = 1, i;
  for (int k = 0; k < 3; k++)
    if (etk__given(a[k]) && !etk__is_whole(a[k], &i)) return etk__fail(r, "range wants whole numbers, found a %s", etk__type_name(a[k]));
  etk__is_whole(a[0], etk__given(a[1]) ? &start : &stop);
  if (etk__given(a[1])) etk__is_whole(a[1], &stop);
  if (etk__given(a[2])) etk__is_whole(a[2], &step);
  if (step == 0) return etk__fail(r, "the step of a range is 0");
  uint64_t span = step > 0 ? (stop > start ? (uint64_t)stop - (uint64_t)start : 0) : (start > stop ? (uint64_t)start - (uint64_t)stop : 0);
  uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step, count = span ? (span - 1) / by + 1 : 0;
  if (count > MAX_RANGE) return etk__fail(r, "a range of %llu numbers (at most %d)", (unsigned long long)count, MAX_RANGE);
  if (!etk__items_new(r, out, ETK__RANGE, (size_t)count)) return false;
  for (uint64_t k = 0; k < count; k++) out->items->at[k] = etk__int((int64_t)((uint64_t)start + k * (uint64_t)step));
  out->items->start = start, out->items->stop = stop, out->items->step = step;
  return true;
}

/* dict(mapping or pairs, name=value…) */
static bool make_dict(etk__render *r, etk__value *out, const etk__arguments *raw, const char *what) {
  etk__value *at, *pair, key;
  size_t count, two;
  if (!etk__dict_new(r, out, 0)) return false;
  if (raw->count > 1) return etk__fail(r, "%s takes one dict, %zu arguments were given", what, raw->count);
  if (raw->count && raw->at[0].kind == ETK__DICT) {
    const etk__dict *d = raw->at[0].dict;
    for (size_t i = 0; i < d->count; i++)
      if (!etk__dict_put(r, out->dict, d->entries[i].key, d->entries[i].value)) return false;
  } else if (raw->count) {
    if (!etk__iterate(r, &at, &count, raw->at[0])) return false;
    for (size_t i = 0; i < count; i++) {
      if (!etk__iterate(r, &pair, &two, at[i])) return false;
      if (two != 2) return etk__fail(r, "%s wants pairs, found %zu values", what, two);
      if (!etk__dict_put(r, out->dict, pair[0], pair[1])) return false;
    }
  }
  for (size_t i = 0; i < raw->named_count; i++)
    if (!etk__str_borrow(r, &key, raw->named[i].name.data, raw->named[i].name.size) || !etk__dict_put(r, out->dict, key, raw->named[i].value)) return false;
  return true;
}

FUNCTION(dict) {
  (void)self, (void)a;
  return make_dict(r, out, raw, "dict");
}

FUNCTION(namespace) {
  (void)self, (void)a;
  if (!make_dict(r, out, raw, "namespace")) return false;
  out->kind = ETK__NAMESPACE;
  return true;
}

FUNCTION(raise_exception) {
  (void)self, (void)out, (void)raw;
  etk__value message;
  if (!etk__to_str(r, &message, a[0])) return false;
  return etk__fail(r, "%.*s", (int)(message.str->size < 1500 ? message.str->size : 1500), message.str->data);
}

/* Only the conversions of the C standard and glibc's everyday ones: widths and the like are not passed on. */
FUNCTION(strftime_now) {
  (void)self, (void)raw;
  if (a[0].kind != ETK__STR) return etk__fail(r, "strftime_now wants a format, found a %s", etk__type_name(a[0]));
  if (!r->now) return etk__fail(r, "strftime_now: no time was given to this rendering");
  struct tm now = {.tm_sec = r->now->tm_sec, .tm_min = r->now->tm_min, .tm_hour = r->now->tm_hour, .tm_mday = r->now->tm_mday, .tm_mon = r->now->tm_mon,
                   .tm_year = r->now->tm_year, .tm_wday = r->now->tm_wday, .tm_yday = r->now->tm_yday, .tm_isdst = r->now->tm_isdst};
  const int fields[] = {now.tm_sec, now.tm_min, now.tm_hour, now.tm_mday, now.tm_mon, now.tm_wday, now.tm_yday}, most[] = {60, 59, 23, 31, 11, 6, 365};
  for (size_t i = 0; i < COUNT(fields); i++)
    if (fields[i] < 0 || fields[i] > most[i]) return etk__fail(r, "strftime_now: the time that was given is not one");
  if (now.tm_year < -1900 || now.tm_year > 8099) return etk__fail(r, "strftime_now: the time that was given is not one");
  etk_text text = ETK_TEXT_INIT;
  const char *p = a[0].str->data, *end = p + a[0].str->size;
  while (p < end) {
    if (*p != '%') {
      etk_text_putc(&text, *p++);
      continue;
    }
    char format[4] = "%", made[128];
    size_t n = 1;
    if (++p < end && *p == '-') format[n++] = *p++;
    if (p == end || !*p || !strchr("aAbBcCdDeFgGhHIjlkmMnpPrRStTuUVwWxXyYZz%", *p)) {
      etk_text_free(&text);
      return etk__fail(r, "strftime_now: unknown conversion '%%%.*s'", p < end && (unsigned char)*p > 0x20 && (unsigned char)*p < 0x7F, p);
    }
    format[n] = *p++;
    made[0] = 0;
    if (format[n] != 'Z' && format[n] != 'z') strftime(made, sizeof made, format, &now); /* a time without a zone, as Python's datetime.now() */
    etk_text_puts(&text, made);
  }
  return etk__str_take(r, out, &text);
}

static const etk__builtin globals[] = {
    {"range", "start! stop step", range},
    {"dict", NULL, dict},
    {"namespace", NULL, namespace},
    {"raise_exception", "message!", raise_exception},
    {"strftime_now", "format!", strftime_now},
};
const etk__table etk__template_globals = {globals, COUNT(globals)};

/* ---- dict ---- */

static bool view(etk__render *r, etk__value *out, const etk__dict *d, const char *label, bool keys, bool values) {
  if (!etk__items_new(r, out, ETK__VIEW, d->count)) return false;
  out->items->label = label;
  for (size_t i = 0; i < d->count; i++) {
    etk__value *item = &out->items->at[i];
    if (!keys || !values) {
      *item = keys ? d->entries[i].key : d->entries[i].value;
      continue;
    }
    if (!etk__items_new(r, item, ETK__TUPLE, 2)) return false;
    item->items->at[0] = d->entries[i].key;
    item->items->at[1] = d->entries[i].value;
  }
  return true;
}
FUNCTION(keys) { (void)a, (void)raw; return view(r, out, self.dict, "dict_keys", true, false); }
FUNCTION(values) { (void)a, (void)raw; return view(r, out, self.dict, "dict_values", false, true); }
FUNCTION(items) { (void)a, (void)raw; return view(r, out, self.dict, "dict_items", true, true); }

FUNCTION(get) {
  (void)raw;
  bool found;
  if (!etk__dict_get(r, out, self.dict, a[0], &found)) return false;
  if (!found) *out = etk__given(a[1]) ? a[1] : etk__none();
  return true;
}

FUNCTION(copy) {
  (void)a, (void)raw;
  etk__arguments one = {&self, 1, NULL, 0};
  if (self.kind == ETK__DICT) return make_dict(r, out, &one, "copy");
  *out = self; /* lists never change */
  return true;
}

FUNCTION(never) {
  (void)out, (void)a, (void)raw;
  return etk__fail(r, "a %s cannot be changed in a template: make a new one with + or set", etk__type_name(self));
}

static const etk__builtin dict_methods[] = {
    {"get", "key! default", get}, {"items", "", items}, {"keys", "", keys}, {"values", "", values}, {"copy", "", copy},
    {"update", NULL, never}, {"pop", NULL, never}, {"popitem", NULL, never}, {"setdefault", NULL, never}, {"clear", NULL, never},
};
const etk__table etk__dict_methods = {dict_methods, COUNT(dict_methods)};

/* ---- list ---- */

FUNCTION(index_of) {
  (void)raw;
  bool same = false;
  for (size_t i = 0; i < self.items->count; i++) {
    if (!etk__equal(r, &same, self.items->at[i], a[0])) return false;
    if (same) return *out = etk__int((int64_t)i), true;
  }
  return etk__fail(r, "index: the value is not in the %s", etk__type_name(self));
}

FUNCTION(count_of) {
  (void)raw;
  bool same = false;
  int64_t n = 0;
  for (size_t i = 0; i < self.items->count; i++) {
    if (!etk__equal(r, &same, self.items->at[i], a[0])) return false;
    n += same;
  }
  *out = etk__int(n);
  return true;
}

static const etk__builtin list_methods[] = {
    {"index", "value!", index_of}, {"count", "value!", count_of}, {"copy", "", copy},
    {"append", NULL, never}, {"extend", NULL, never}, {"insert", NULL, never}, {"pop", NULL, never}, {"remove", NULL, never},
    {"reverse", NULL, never}, {"sort", NULL, never}, {"clear", NULL, never},
};
const etk__table etk__list_methods = {list_methods, COUNT(list_methods)};

/* ---- loop ---- */

FUNCTION(cycle) {
  (void)a;
  if (raw->count == 0) return etk__fail(r, "loop.cycle wants values");
  *out = raw->at[self.loop->index % raw->count];
  return true;
}

FUNCTION(changed) {
  (void)a;
  etk__loop *l = self.loop;
  bool same = l->changed_set && l->changed_count == raw->count;
  for (size_t i = 0; i < raw->count && same; i++)
    if (!etk__equal(r, &same, l->changed[i], raw->at[i])) return false;
  l->changed = raw->at, l->changed_count = raw->count, l->changed_set = true;
  *out = etk__bool(!same);
  return true;
}

static const etk__builtin loop_methods[] = {{"cycle", NULL, cycle}, {"changed", NULL, changed}};
const etk__table etk__loop_methods = {loop_methods, COUNT(loop_methods)};
