/* print.c: values as text: Python's str() and repr(), and json.dumps. */
#include "internal.h"
#include <math.h>

/* Python's repr of a float: the shortest digits that read back equal, with an exponent below 1e-4 and from 1e16. */
void etk__put_real(etk_text *out, double value) {
  if (isnan(value) || isinf(value)) {
    etk_text_puts(out, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    return;
  }
  char text[40];
  int precision = value != 0 && fabs(value) < 2.2250738585072014e-308 ? 0 : 14; /* digits behind the first */
  do snprintf(text, sizeof text, "%.*e", precision, value);
  while (precision++ < 17 && strtod(text, NULL) != value);
  char digits[24], *e = strchr(text, 'e');
  int n = 0, exponent = e ? (int)strtol(e + 1, NULL, 10) : 0;
  for (const char *p = text; p < e; p++)
    if (*p >= '0' && *p <= '9') digits[n++] = *p;
  while (n > 1 && digits[n - 1] == '0') n--;
  if (signbit(value)) etk_text_putc(out, '-');
  if (exponent < -4 || exponent >= 16) {
    etk_text_putc(out, digits[0]);
    if (n > 1) etk_text_putc(out, '.');
    etk_text_append(out, digits + 1, (size_t)n - 1);
    etk_text_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
  } else if (exponent < 0) {
    etk_text_append(out, "0.0000", (size_t)(1 - exponent));
    etk_text_append(out, digits, (size_t)n);
  } else {
    for (int i = 0; i <= exponent || i < n; i++) {
      if (i == exponent + 1) etk_text_putc(out, '.');
      etk_text_putc(out, i < n ? digits[i] : '0');
    }
    if (n <= exponent + 1) etk_text_puts(out, ".0");
  }
}

static void repr_str(etk_text *out, const etk__str *s) {
  bool single = s->size && memchr(s->data, '\'', s->size), twice = s->size && memchr(s->data, '"', s->size);
  char quote = single && !twice ? '"' : '\'';
  etk_text_putc(out, quote);
  for (const char *p = s->data, *end = p + s->size; p < end;) {
    uint32_t c = etk__py_next(&p, end);
    if (c == (uint32_t)quote || c == '\\') etk_text_putc(out, '\\'), etk_text_putc(out, (char)c);
    else if (c == '\n') etk_text_puts(out, "\\n");
    else if (c == '\r') etk_text_puts(out, "\\r");
    else if (c == '\t') etk_text_puts(out, "\\t");
    else if (etk__py_printable(c)) etk__put_char(out, c);
    else etk_text_printf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
  }
  etk_text_putc(out, quote);
}

static bool repr_items(etk__render *r, etk_text *out, etk__value v) {
  const etk__items *items = v.items;
  if (v.kind == ETK__VIEW) etk_text_printf(out, "%s(", items->label);
  etk_text_putc(out, v.kind == ETK__TUPLE ? '(' : '[');
  for (size_t i = 0; i < items->count; i++) {
    if (i) etk_text_puts(out, ", ");
    if (!etk__repr(r, out, items->at[i])) return false;
  }
  if (v.kind == ETK__TUPLE && items->count == 1) etk_text_putc(out, ',');
  etk_text_putc(out, v.kind == ETK__TUPLE ? ')' : ']');
  if (v.kind == ETK__VIEW) etk_text_putc(out, ')');
  return true;
}

static bool repr_dict(etk__render *r, etk_text *out, const etk__dict *d) {
  etk_text_putc(out, '{');
  for (size_t i = 0; i < d->count; i++) {
    if (i) etk_text_puts(out, ", ");
    if (!etk__repr(r, out, d->entries[i].key)) return false;
    etk_text_puts(out, ": ");
    if (!etk__repr(r, out, d->entries[i].value)) return false;
  }
  etk_text_putc(out, '}');
  return true;
}

static bool repr_other(etk__render *r, etk_text *out, etk__value v) {
  switch (v.kind) {
  case ETK__LIST:
  case ETK__TUPLE:
  case ETK__VIEW: return repr_items(r, out, v);
  case ETK__DICT: return repr_dict(r, out, v.dict);
  case ETK__RANGE:
    etk_text_printf(out, v.items->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)", (long long)v.items->start, (long long)v.items->stop, (long long)v.items->step);
    return true;
  case ETK__NAMESPACE:
    etk_text_puts(out, "<Namespace ");
    if (!repr_dict(r, out, v.dict)) return false;
    etk_text_putc(out, '>');
    return true;
  case ETK__GENERATOR: return etk__fail(r, "a generator has no text (put |list or |join behind map, select, reverse and the like)");
  default: return etk__fail(r, "a %s has no text (is it missing its '()'?)", etk__type_name(v));
  }
}

bool etk__repr(etk__render *r, etk_text *out, etk__value v) {
  if (!etk__charge(r, 1)) return false;
  switch (v.kind) {
  case ETK__STR: repr_str(out, v.str); return etk__charge_bytes(r, v.str->size) && etk__text_fits(r, out);
  case ETK__UNDEFINED: etk_text_puts(out, "Undefined"); return true;
  case ETK__NONE: etk_text_puts(out, "None"); return true;
  case ETK__BOOL: etk_text_puts(out, v.flag ? "True" : "False"); return true;
  case ETK__INT: etk_text_printf(out, "%lld", (long long)v.integer); return true;
  case ETK__REAL: etk__put_real(out, v.real); return true;
  default: break;
  }
  bool good = etk__enter(r) && repr_other(r, out, v);
  etk__leave(r);
  return good;
}

bool etk__print(etk__render *r, etk_text *out, etk__value v) {
  if (v.kind == ETK__UNDEFINED || v.kind == ETK__ABSENT) return true;
  if (v.kind != ETK__STR) return etk__repr(r, out, v);
  etk_text_append(out, v.str->data, v.str->size);
  return etk__charge_bytes(r, v.str->size) && etk__text_fits(r, out);
}

bool etk__to_str(etk__render *r, etk__value *out, etk__value v) {
  if (v.kind == ETK__STR) {
    *out = v;
    return true;
  }
  etk_text text = ETK_TEXT_INIT;
  if (etk__print(r, &text, v)) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

/* ---- JSON ---- */

static void put_json_str(etk_text *out, const etk__str *s, bool ascii) {
  static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  etk_text_putc(out, '"');
  const char *p = s->data, *end = p + s->size, *start = p;
  while (p < end) {
    const char *at = p;
    uint32_t c = etk__py_next(&p, end);
    if (c >= 0x20 && c != '"' && c != '\\' && (!ascii || c < 0x7F || c == 0x7F)) continue;
    etk_text_append(out, start, (size_t)(at - start));
    start = p;
    size_t i = 0;
    while (i + 1 < sizeof named && (unsigned char)named[i] != c) i += 2;
    if (c < 0x80 && i + 1 < sizeof named) etk_text_putc(out, '\\'), etk_text_putc(out, named[i + 1]);
    else if (c < 0x10000) etk_text_printf(out, "\\u%04x", (unsigned)c);
    else etk_text_printf(out, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((c - 0x10000) >> 10)), (unsigned)(0xDC00 + (c & 0x3FF)));
  }
  etk_text_append(out, start, (size_t)(end - start));
  etk_text_putc(out, '"');
}

static void put_json_real(etk_text *out, double value) {
  if (isnan(value)) etk_text_puts(out, "NaN");
  else if (isinf(value)) etk_text_puts(out, value < 0 ? "-Infinity" : "Infinity");
  else etk__put_real(out, value);
}

typedef struct json_writer {
  etk__render *r;
  etk_text *out;
  const etk__json_style *style;
  size_t level;
} json_writer;

static bool json_value(json_writer *w, etk__value v);

static bool json_line(json_writer *w) {
  if (!w->style->indent) return true;
  etk_text_putc(w->out, '\n');
  for (size_t i = 0; i < w->level; i++) etk_text_append(w->out, w->style->indent, w->style->indent_size);
  return etk__charge_bytes(w->r, w->level * w->style->indent_size) && etk__text_fits(w->r, w->out);
}

static bool json_items(json_writer *w, const etk__items *items) {
  if (items->count == 0) return etk_text_puts(w->out, "[]"), true;
  etk_text_putc(w->out, '[');
  w->level++;
  for (size_t i = 0; i < items->count; i++) {
    if (i) etk_text_append(w->out, w->style->item, w->style->item_size);
    if (!json_line(w) || !json_value(w, items->at[i])) return false;
  }
  w->level--;
  if (!json_line(w)) return false;
  etk_text_putc(w->out, ']');
  return true;
}

static bool json_key(json_writer *w, etk__value key) {
  etk_text text = ETK_TEXT_INIT;
  if (key.kind == ETK__STR) {
    put_json_str(w->out, key.str, w->style->ascii);
    return etk__charge_bytes(w->r, key.str->size);
  }
  if (key.kind == ETK__NONE) etk_text_puts(&text, "null");
  else if (key.kind == ETK__BOOL) etk_text_puts(&text, key.flag ? "true" : "false");
  else if (key.kind == ETK__INT) etk_text_printf(&text, "%lld", (long long)key.integer);
  else if (key.kind == ETK__REAL) put_json_real(&text, key.real);
  else return etk__fail(w->r, "tojson: a %s cannot be a key in JSON", etk__type_name(key));
  etk_text_printf(w->out, "\"%s\"", text.failed ? "" : text.data);
  w->out->failed |= text.failed;
  etk_text_free(&text);
  return true;
}

static int by_key(const void *a, const void *b) {
  const etk__str *x = ((const etk__entry *)a)->key.str, *y = ((const etk__entry *)b)->key.str;
  size_t n = x->size < y->size ? x->size : y->size;
  int c = n ? memcmp(x->data, y->data, n) : 0;
  return c ? c : (x->size > y->size) - (x->size < y->size);
}

/* The entries sorted by key, copied; keys must be strings. */
static const etk__entry *sorted(json_writer *w, const etk__dict *d) {
  etk__entry *copy = etk__make(w->r, d->count, sizeof *copy);
  if (!copy) return NULL;
  for (size_t i = 0; i < d->count; i++) {
    if (d->entries[i].key.kind != ETK__STR) {
      etk__fail(w->r, "tojson: sort_keys wants keys that are strings, found a %s", etk__type_name(d->entries[i].key));
      return NULL;
    }
    copy[i] = d->entries[i];
  }
  qsort(copy, d->count, sizeof *copy, by_key);
  return etk__charge(w->r, (int64_t)d->count * 4) ? copy : NULL;
}

static bool json_dict(json_writer *w, const etk__dict *d) {
  if (d->count == 0) return etk_text_puts(w->out, "{}"), true;
  const etk__entry *entries = w->style->sort ? sorted(w, d) : d->entries;
  if (!entries) return false;
  etk_text_putc(w->out, '{');
  w->level++;
  for (size_t i = 0; i < d->count; i++) {
    if (i) etk_text_append(w->out, w->style->item, w->style->item_size);
    if (!json_line(w) || !json_key(w, entries[i].key)) return false;
    etk_text_append(w->out, w->style->key, w->style->key_size);
    if (!json_value(w, entries[i].value)) return false;
  }
  w->level--;
  if (!json_line(w)) return false;
  etk_text_putc(w->out, '}');
  return true;
}

static bool json_value(json_writer *w, etk__value v) {
  if (!etk__charge(w->r, 1)) return false;
  switch (v.kind) {
  case ETK__NONE: etk_text_puts(w->out, "null"); return true;
  case ETK__BOOL: etk_text_puts(w->out, v.flag ? "true" : "false"); return true;
  case ETK__INT: etk_text_printf(w->out, "%lld", (long long)v.integer); return true;
  case ETK__REAL: put_json_real(w->out, v.real); return true;
  case ETK__STR: put_json_str(w->out, v.str, w->style->ascii); return etk__charge_bytes(w->r, v.str->size) && etk__text_fits(w->r, w->out);
  case ETK__UNDEFINED: return etk__fail_undefined(w->r, v);
  default: break;
  }
  if (v.kind != ETK__LIST && v.kind != ETK__TUPLE && v.kind != ETK__DICT) return etk__fail(w->r, "tojson: a %s cannot be written as JSON", etk__type_name(v));
  bool good = etk__enter(w->r) && (v.kind == ETK__DICT ? json_dict(w, v.dict) : json_items(w, v.items));
  etk__leave(w->r);
  return good;
}

bool etk__put_json(etk__render *r, etk_text *out, etk__value v, const etk__json_style *style) {
  json_writer w = {r, out, style, 0};
  return json_value(&w, v) && etk__text_fits(r, out);
}
