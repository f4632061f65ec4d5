/* filters_items.c: filters over lists and dicts. What gives a generator in Jinja gives one here. */
#include "internal.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define FILTER(function) static bool function(etk__render *r, etk__value *out, etk__value self, const etk__value *a, const etk__arguments *raw)
#define UNUSED (void)a, (void)raw

FILTER(length) {
  UNUSED;
  size_t n;
  if (!etk__length(r, &n, self)) return false;
  *out = etk__int((int64_t)n);
  return true;
}

FILTER(otherwise) {
  (void)raw;
  bool missing = self.kind == ETK__UNDEFINED || (etk__truth(a[1]) && !etk__truth(self));
  if (missing && !etk__given(a[0])) return etk__str_borrow(r, out, "", 0);
  *out = missing ? a[0] : self;
  return true;
}

/* v.path, where path is "a.b.0"; v itself for no path. instead (NULL: none) stands in for each part that is not there. */
static bool follow_or(etk__render *r, etk__value *out, etk__value v, etk__value path, const etk__value *instead) {
  *out = v;
  if (path.kind == ETK__INT) {
    if (!etk__item(r, out, v, path)) return false;
    if (instead && out->kind == ETK__UNDEFINED) *out = *instead;
    return true;
  }
  if (path.kind != ETK__STR) return etk__given(path) && path.kind != ETK__NONE ? etk__fail(r, "an attribute is text or a whole number") : true;
  for (size_t at = 0; at <= path.str->size;) {
    size_t end = etk__find(path.str->data, path.str->size, at, ".", 1);
    if (end == SIZE_MAX) end = path.str->size;
    int64_t index = 0;
    bool digits = end > at && end - at < 18;
    for (size_t i = at; i < end && digits; i++) digits = path.str->data[i] >= '0' && path.str->data[i] <= '9', index = index * 10 + (path.str->data[i] - '0');
    etk__value key = etk__int(index);
    if (!digits && !etk__str_borrow(r, &key, path.str->data + at, end - at)) return false;
    if (!etk__item(r, out, *out, key)) return false;
    if (instead && out->kind == ETK__UNDEFINED) *out = *instead;
    at = end + 1;
  }
  return true;
}

static bool follow(etk__render *r, etk__value *out, etk__value v, etk__value path) { return follow_or(r, out, v, path, NULL); }

FILTER(join) {
  (void)raw;
  etk__value *at, delimiter, v;
  size_t count;
  etk_text text = ETK_TEXT_INIT;
  if (!etk__given(a[0]) ? !etk__str_borrow(r, &delimiter, "", 0) : !etk__to_str(r, &delimiter, a[0])) return false;
  bool good = etk__iterate(r, &at, &count, self);
  for (size_t i = 0; i < count && good; i++) {
    if (i) etk_text_append(&text, delimiter.str->data, delimiter.str->size);
    good = etk__charge_bytes(r, delimiter.str->size + 64) && follow(r, &v, at[i], a[1]) && etk__print(r, &text, v) && etk__text_fits(r, &text);
  }
  if (good) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

/* A value of that kind with a copy of the items. */
static bool gather(etk__render *r, etk__value *out, etk__kind kind, const etk__value *at, size_t count) {
  if (!etk__items_new(r, out, kind, count)) return false;
  if (count) memcpy(out->items->at, at, count * sizeof *at);
  return true;
}

FILTER(list) {
  UNUSED;
  etk__value *at;
  size_t count;
  return etk__iterate(r, &at, &count, self) && gather(r, out, ETK__LIST, at, count);
}

FILTER(first) {
  UNUSED;
  etk__value *at;
  size_t count;
  if (self.kind == ETK__GENERATOR && self.items->next < self.items->count) return *out = self.items->at[self.items->next++], true;
  if (!etk__iterate(r, &at, &count, self)) return false;
  if (count == 0) return etk__undefined(r, out, "the first item of nothing", 25, NULL);
  *out = at[0];
  return true;
}

FILTER(last) {
  UNUSED;
  etk__value *at;
  size_t count;
  if (self.kind == ETK__GENERATOR) return etk__fail(r, "last of a generator (put |list before)");
  if (!etk__iterate(r, &at, &count, self)) return false;
  if (count == 0) return etk__undefined(r, out, "the last item of nothing", 24, NULL);
  *out = at[count - 1];
  return true;
}

FILTER(reverse) {
  UNUSED;
  etk__value *at;
  size_t count;
  if (self.kind == ETK__STR) return etk__slice(r, out, self, (etk__value){0}, (etk__value){0}, etk__int(-1));
  if (!etk__iterate(r, &at, &count, self) || !etk__items_new(r, out, ETK__GENERATOR, count)) return false;
  for (size_t i = 0; i < count; i++) out->items->at[i] = at[count - 1 - i];
  return true;
}

/* Text in lower case, for comparing without case; others as they are. */
static bool fold(etk__render *r, etk__value *v, bool case_sensitive) {
  etk_text text = ETK_TEXT_INIT;
  if (case_sensitive || v->kind != ETK__STR) return true;
  etk__put_lowered(&text, v->str->data, v->str->size);
  return etk__str_take(r, v, &text);
}

typedef struct keyed {
  etk__value key, value;
} keyed;

/* Stable merge sort: qsort can neither fail nor be stable. */
static bool merge_sort(etk__render *r, keyed *at, keyed *spare, size_t count, bool down) {
  if (count < 2) return true;
  size_t half = count / 2, i = 0, j = half, n = 0;
  if (!merge_sort(r, at, spare, half, down) || !merge_sort(r, at + half, spare, count - half, down)) return false;
  memcpy(spare, at, count * sizeof *at);
  while (i < half && j < count) {
    int c = 0;
    bool same; /* equal keys need no order: a list of nones sorts */
    if (!etk__equal(r, &same, spare[j].key, spare[i].key) || (!same && !etk__compare(r, &c, spare[j].key, spare[i].key, "<"))) return false;
    bool right_first = down ? c == 1 : c == -1;
    at[n++] = right_first ? spare[j++] : spare[i++];
  }
  memcpy(at + n, spare + i, (half - i) * sizeof *at);
  memcpy(at + n + half - i, spare + j, (count - j) * sizeof *at);
  return true;
}

static bool sorted(etk__render *r, keyed **out, etk__value *at, size_t count, etk__value path, bool case_sensitive, bool down) {
  keyed *all = etk__make(r, count, sizeof *all), *spare = etk__make(r, count, sizeof *spare);
  if (!all || !spare) return false;
  for (size_t i = 0; i < count; i++) {
    all[i].value = at[i];
    if (!follow(r, &all[i].key, at[i], path) || !fold(r, &all[i].key, case_sensitive)) return false;
  }
  *out = all;
  return merge_sort(r, all, spare, count, down);
}

FILTER(sort) {
  (void)raw;
  etk__value *at;
  size_t count;
  keyed *all;
  if (!etk__iterate(r, &at, &count, self) || !sorted(r, &all, at, count, a[2], etk__truth(a[1]), etk__truth(a[0]))) return false;
  if (!etk__items_new(r, out, ETK__LIST, count)) return false;
  for (size_t i = 0; i < count; i++) out->items->at[i] = all[i].value;
  return true;
}

static bool pairs(etk__render *r, etk__value *out, etk__kind kind, const etk__dict *d) {
  if (!etk__items_new(r, out, kind, d->count)) return false;
  for (size_t i = 0; i < d->count; i++)
    if (!gather(r, &out->items->at[i], ETK__TUPLE, (etk__value[2]){d->entries[i].key, d->entries[i].value}, 2)) return false;
  return true;
}

FILTER(dictsort) {
  (void)raw;
  etk__value all;
  keyed *rows;
  bool by_value = etk__str_is(a[1], "value");
  if (self.kind != ETK__DICT) return etk__fail(r, "dictsort wants a dict, found a %s", etk__type_name(self));
  if (etk__given(a[1]) && !by_value && !etk__str_is(a[1], "key")) return etk__fail(r, "dictsort: by is 'key' or 'value'");
  if (!pairs(r, &all, ETK__LIST, self.dict) || !sorted(r, &rows, all.items->at, all.items->count, etk__int(by_value), etk__truth(a[0]), etk__truth(a[2]))) return false;
  for (size_t i = 0; i < all.items->count; i++) all.items->at[i] = rows[i].value;
  *out = all;
  return true;
}

FILTER(items) {
  UNUSED;
  if (self.kind == ETK__UNDEFINED) return etk__items_new(r, out, ETK__GENERATOR, 0);
  if (self.kind != ETK__DICT) return etk__fail(r, "items wants a dict, found a %s", etk__type_name(self));
  return pairs(r, out, ETK__GENERATOR, self.dict);
}

FILTER(unique) {
  (void)raw;
  etk__value *at, seen, key;
  size_t count, n = 0;
  if (!etk__iterate(r, &at, &count, self) || !etk__items_new(r, out, ETK__GENERATOR, count) || !etk__dict_new(r, &seen, 0)) return false;
  for (size_t i = 0; i < count; i++) {
    size_t before = seen.dict->count;
    if (!follow(r, &key, at[i], a[1]) || !fold(r, &key, etk__truth(a[0])) || !etk__dict_put(r, seen.dict, key, etk__none())) return false;
    if (seen.dict->count > before) out->items->at[n++] = at[i];
  }
  out->items->count = n;
  return true;
}

static bool extreme(etk__render *r, etk__value *out, etk__value self, const etk__value *a, int sign) {
  etk__value *at, key, best;
  size_t count;
  int c;
  if (!etk__iterate(r, &at, &count, self)) return false;
  if (count == 0) return etk__undefined(r, out, "the extreme of nothing", 22, NULL);
  for (size_t i = 0; i < count; i++) {
    if (!follow(r, &key, at[i], a[1]) || !fold(r, &key, etk__truth(a[0]))) return false;
    if (i && !etk__compare(r, &c, key, best, "<")) return false;
    if (i && c != sign) continue;
    best = key;
    *out = at[i];
  }
  return true;
}
FILTER(min) { (void)raw; return extreme(r, out, self, a, -1); }
FILTER(max) { (void)raw; return extreme(r, out, self, a, 1); }

FILTER(sum) {
  (void)raw;
  etk__value *at, v;
  size_t count;
  if (!etk__iterate(r, &at, &count, self)) return false;
  *out = etk__given(a[1]) ? a[1] : etk__int(0);
  for (size_t i = 0; i < count; i++)
    if (!follow(r, &v, at[i], a[0]) || !etk__binary(r, out, ETK__OP_ADD, *out, v)) return false;
  return true;
}

FILTER(batch) {
  (void)raw;
  etk__value *at;
  size_t count;
  int64_t size = 0;
  if (!etk__is_whole(a[0], &size) || size < 1) return etk__fail(r, "batch wants a whole number of at least 1");
  if (!etk__iterate(r, &at, &count, self)) return false;
  size_t by = (size_t)size < count ? (size_t)size : count ? count : 1, n = (count + by - 1) / by;
  bool fill = etk__given(a[1]) && a[1].kind != ETK__NONE;
  if (!etk__items_new(r, out, ETK__GENERATOR, n)) return false;
  for (size_t i = 0; i < n; i++) {
    size_t part = i + 1 < n ? by : count - i * by, full = fill ? (size_t)size : part;
    if (!etk__items_new(r, &out->items->at[i], ETK__LIST, full)) return false;
    for (size_t j = 0; j < full; j++) out->items->at[i].items->at[j] = j < part ? at[i * by + j] : a[1];
  }
  return true;
}

/* ---- filters that call others ---- */

static const etk__value *named(const etk__arguments *raw, const char *name) {
  for (size_t i = 0; i < raw->named_count; i++)
    if (raw->named[i].name.size == strlen(name) && memcmp(raw->named[i].name.data, name, strlen(name)) == 0) return &raw->named[i].value;
  return NULL;
}

static bool map_attribute(etk__render *r, etk__value *out, etk__value *at, size_t count, const etk__arguments *raw) {
  const etk__value *path = named(raw, "attribute"), *instead = named(raw, "default");
  if (raw->count || raw->named_count != 1u + (instead != NULL)) return etk__fail(r, "map takes attribute=, and default= beside it");
  for (size_t i = 0; i < count; i++)
    if (!follow_or(r, &out->items->at[i], at[i], *path, instead)) return false;
  return true;
}

FILTER(map) {
  (void)a;
  etk__value *at;
  size_t count;
  if (!etk__iterate(r, &at, &count, self) || !etk__items_new(r, out, ETK__GENERATOR, count)) return false;
  if (named(raw, "attribute")) return map_attribute(r, out, at, count, raw);
  if (raw->count == 0 || raw->at[0].kind != ETK__STR) return etk__fail(r, "map wants the name of a filter, or attribute=");
  const etk__str *name = raw->at[0].str;
  const etk__builtin *filter = etk__filter_find(name->data, name->size);
  if (!filter) return etk__fail(r, "map: there is no filter '%.*s'", (int)(name->size % 100), name->data);
  etk__arguments rest = {raw->at + 1, raw->count - 1, raw->named, raw->named_count};
  bool good = etk__enter(r);
  for (size_t i = 0; i < count && good; i++) good = etk__builtin_call(r, &out->items->at[i], filter, at[i], &rest);
  etk__leave(r);
  return good;
}

/* select, reject, selectattr, rejectattr: the items whose (attribute's) test gives `wanted`. */
static bool choose(etk__render *r, etk__value *out, etk__value self, const etk__arguments *raw, const char *what, bool attribute, bool wanted) {
  etk__value *at, v, verdict;
  size_t count, n = 0, used = attribute;
  const etk__builtin *test = NULL;
  if (attribute && raw->count == 0) return etk__fail(r, "%s wants the name of an attribute", what);
  if (raw->count > used) {
    if (raw->at[used].kind != ETK__STR) return etk__fail(r, "%s wants the name of a test, found a %s", what, etk__type_name(raw->at[used]));
    const etk__str *name = raw->at[used].str;
    test = etk__builtin_find(&etk__template_tests, name->data, name->size);
    if (!test) return etk__fail(r, "%s: there is no test '%.*s'", what, (int)(name->size % 100), name->data);
    used++;
  }
  etk__arguments rest = {raw->count ? raw->at + used : NULL, raw->count - used, raw->named, raw->named_count};
  if (!etk__iterate(r, &at, &count, self) || !etk__items_new(r, out, ETK__GENERATOR, count)) return false;
  for (size_t i = 0; i < count; i++) {
    if (attribute ? !follow(r, &v, at[i], raw->at[0]) : (v = at[i], false)) return false;
    verdict = v;
    if (test && !etk__builtin_call(r, &verdict, test, v, &rest)) return false;
    if (etk__truth(verdict) == wanted) out->items->at[n++] = at[i];
  }
  out->items->count = n;
  return true;
}
FILTER(select_items) { (void)a; return choose(r, out, self, raw, "select", false, true); }
FILTER(reject_items) { (void)a; return choose(r, out, self, raw, "reject", false, false); }
FILTER(select_attribute) { (void)a; return choose(r, out, self, raw, "selectattr", true, true); }
FILTER(reject_attribute) { (void)a; return choose(r, out, self, raw, "rejectattr", true, false); }

FILTER(attribute) {
  (void)raw;
  if (a[0].kind != ETK__STR) return etk__fail(r, "attr wants the name of an attribute");
  if (self.kind == ETK__DICT) return etk__undefined(r, out, a[0].str->data, a[0].str->size, "dict"); /* members are not attributes */
  return etk__attribute(r, out, self, a[0].str->data, a[0].str->size);
}

static const etk__builtin rows[] = {
    {"length", "", length},
    {"count", "", length},
    {"default", "default_value boolean", otherwise},
    {"d", "default_value boolean", otherwise},
    {"join", "d attribute", join},
    {"list", "", list},
    {"first", "", first},
    {"last", "", last},
    {"reverse", "", reverse},
    {"sort", "reverse case_sensitive attribute", sort},
    {"dictsort", "case_sensitive by reverse", dictsort},
    {"items", "", items},
    {"unique", "case_sensitive attribute", unique},
    {"min", "case_sensitive attribute", min},
    {"max", "case_sensitive attribute", max},
    {"sum", "attribute start", sum},
    {"batch", "linecount! fill_with", batch},
    {"map", NULL, map},
    {"select", NULL, select_items},
    {"reject", NULL, reject_items},
    {"selectattr", NULL, select_attribute},
    {"rejectattr", NULL, reject_attribute},
    {"attr", "name!", attribute},
};
const etk__table etk__filters_items = {rows, COUNT(rows)};
