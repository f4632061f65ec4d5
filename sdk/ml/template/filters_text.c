/* filters_text.c: filters that give text or numbers. */
#include "internal.h"
#include <math.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define FILTER(function) static bool function(etk__render *r, etk__value *out, etk__value self, const etk__value *a, const etk__arguments *raw)
#define UNUSED (void)a, (void)raw

typedef void put_fn(etk_text *out, const char *data, size_t size);

static bool through(etk__render *r, etk__value *out, etk__value self, put_fn *put) {
  etk__value s;
  etk_text text = ETK_TEXT_INIT;
  if (!etk__to_str(r, &s, self)) return false;
  put(&text, s.str->data, s.str->size);
  return etk__str_take(r, out, &text);
}

FILTER(upper) { UNUSED; return through(r, out, self, etk__put_upper); }
FILTER(lower) { UNUSED; return through(r, out, self, etk__put_lowered); }

static void put_capital(etk_text *out, const char *data, size_t size) {
  const char *p = data;
  if (!size) return;
  etk__put_titled(out, etk__py_next(&p, data + size));
  etk__put_lowered(out, p, size - (size_t)(p - data));
}
FILTER(capitalize) { UNUSED; return through(r, out, self, put_capital); }

static bool parts_words(uint32_t c) { return etk__py_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c)); }

/* Words begin behind white space, '-' and opening brackets. */
static void put_title(etk_text *out, const char *data, size_t size) {
  for (const char *p = data, *end = data + size; p < end;) {
    const char *at = p, *stop = p;
    bool parts = parts_words(etk__py_next(&stop, end));
    if (!parts) {
      etk__put_upper(out, at, (size_t)(stop - at));
      p = stop;
      for (const char *next = p; next < end && !parts_words(etk__py_next(&next, end));) p = next;
      etk__put_lowered(out, stop, (size_t)(p - stop));
      continue;
    }
    etk_text_append(out, at, (size_t)(stop - at));
    p = stop;
  }
}
FILTER(title) { UNUSED; return through(r, out, self, put_title); }

FILTER(trim) {
  (void)raw;
  etk__value s;
  size_t begin, end;
  if (!etk__to_str(r, &s, self)) return false;
  if (etk__given(a[0]) && a[0].kind != ETK__STR && a[0].kind != ETK__NONE) return etk__fail(r, "trim wants a string of characters, found a %s", etk__type_name(a[0]));
  etk__strip(s.str, a[0].kind == ETK__STR ? a[0].str : NULL, true, true, &begin, &end);
  return etk__charge_search(r, s.str->size - (end - begin)) && etk__str_borrow(r, out, s.str->data + begin, end - begin);
}

FILTER(replace) {
  (void)raw;
  etk__value s, from, to;
  if (!etk__to_str(r, &s, self) || !etk__to_str(r, &from, a[0]) || !etk__to_str(r, &to, a[1])) return false;
  etk__value values[3] = {from, to, a[2].kind == ETK__NONE ? (etk__value){0} : a[2]};
  return etk__str_replace(r, out, s.str, values);
}

FILTER(to_string) { UNUSED; return etk__to_str(r, out, self); }

static bool escape_number(const etk__str *s, char *out, size_t size) { /* without '_' and white space; false: too long */
  size_t begin, end, n = 0;
  etk__strip(s, NULL, true, true, &begin, &end);
  for (size_t i = begin; i < end; i++) {
    bool digit_before = i > begin && s->data[i - 1] >= '0' && s->data[i - 1] <= '9';
    if (s->data[i] == '_' && digit_before && i + 1 < end && s->data[i + 1] >= '0' && s->data[i + 1] <= '9') continue;
    if (n + 1 >= size || s->data[i] == 0) return false;
    out[n++] = s->data[i];
  }
  out[n] = 0;
  return n > 0;
}

/* Python's float(): inf and nan too. */
static bool parse_real(const etk__str *s, double *out) {
  char text[400], *end;
  if (!escape_number(s, text, sizeof text) || strpbrk(text, "xXpP(")) return false;
  *out = strtod(text, &end);
  return *end == 0;
}

FILTER(to_int) {
  (void)raw;
  int64_t base = 10, whole;
  double number;
  *out = etk__given(a[0]) ? a[0] : etk__int(0);
  if (etk__given(a[1]) && (!etk__is_whole(a[1], &base) || base < 2 || base > 36)) return etk__fail(r, "int: the base goes from 2 to 36");
  if (self.kind == ETK__UNDEFINED) return etk__fail_undefined(r, self);
  if (etk__is_whole(self, &whole)) return *out = etk__int(whole), true;
  if (self.kind == ETK__STR) {
    char text[400], *end;
    if (!escape_number(self.str, text, sizeof text)) return true;
    const char *digits = text + (*text == '-' || *text == '+');
    bool prefix = base != 10 && digits[0] == '0' && digits[1] && strchr("xXoObB", digits[1]);
    if (prefix && (digits[1] | 0x20) != 'x') digits += 2;
    char *sign = text;
    if (prefix && digits - text >= 2 && (digits[-1] | 0x20) != 'x') memmove(sign + (*text == '-' || *text == '+'), digits, strlen(digits) + 1);
    whole = strtoll(text, &end, (int)base);
    if (*end == 0 && end != text && whole != INT64_MAX && whole != INT64_MIN) return *out = etk__int(whole), true;
    if (!parse_real(self.str, &number)) return true;
  } else if (!etk__template_number(self, &number)) return true;
  if (isnan(number) || isinf(number)) return isnan(number) ? true : etk__fail(r, "int: infinity has no whole number");
  if (fabs(number) >= 9223372036854775808.0) return etk__fail(r, "int: %g is beyond the largest whole number", number);
  *out = etk__int((int64_t)number);
  return true;
}

FILTER(to_float) {
  (void)raw;
  double number;
  *out = etk__given(a[0]) ? a[0] : etk__real(0);
  if (self.kind == ETK__UNDEFINED) return etk__fail_undefined(r, self);
  if (self.kind == ETK__STR ? parse_real(self.str, &number) : etk__template_number(self, &number)) *out = etk__real(number);
  return true;
}

FILTER(absolute) {
  UNUSED;
  int64_t whole;
  if (self.kind == ETK__UNDEFINED) return etk__fail_undefined(r, self);
  if (self.kind == ETK__REAL) return *out = etk__real(fabs(self.real)), true;
  if (!etk__is_whole(self, &whole) || whole == INT64_MIN) return etk__fail(r, "abs wants a number, found a %s", etk__type_name(self));
  *out = etk__int(whole < 0 ? -whole : whole);
  return true;
}

FILTER(round_to) {
  (void)raw;
  double number, scale;
  int64_t precision = 0;
  if (self.kind == ETK__UNDEFINED) return etk__fail_undefined(r, self);
  if (!etk__template_number(self, &number)) return etk__fail(r, "round wants a number, found a %s", etk__type_name(self));
  if (etk__given(a[0]) && !etk__is_whole(a[0], &precision)) return etk__fail(r, "round: the precision is a whole number");
  if (precision > 300 || precision < -300) return etk__fail(r, "round: a precision of %lld (at most 300)", (long long)precision);
  scale = pow(10, (double)precision);
  if (!etk__given(a[1]) || etk__str_is(a[1], "common")) {
    char text[700]; /* the C library rounds the exact decimal, half to even, as Python does */
    if (precision >= 0) snprintf(text, sizeof text, "%.*f", (int)precision, number), number = strtod(text, NULL);
    else number = nearbyint(number * scale) / scale;
    bool whole = self.kind != ETK__REAL;
    int64_t i;
    if (whole && etk__is_whole(self, &i) && precision >= 0) return *out = etk__int(i), true;
    *out = whole ? etk__int((int64_t)number) : etk__real(number);
    return true;
  }
  bool up = etk__str_is(a[1], "ceil");
  if (!up && !etk__str_is(a[1], "floor")) return etk__fail(r, "round: the method is 'common', 'ceil' or 'floor'");
  *out = etk__real((up ? ceil(number * scale) : floor(number * scale)) / scale);
  return true;
}

static void put_escaped(etk_text *out, const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    switch (data[i]) {
    case '&': etk_text_puts(out, "&amp;"); break;
    case '<': etk_text_puts(out, "&lt;"); break;
    case '>': etk_text_puts(out, "&gt;"); break;
    case '\'': etk_text_puts(out, "&#39;"); break;
    case '"': etk_text_puts(out, "&#34;"); break;
    default: etk_text_putc(out, data[i]);
    }
  }
}
FILTER(escape) { UNUSED; return through(r, out, self, put_escaped); }

/* The indentation of `indent` and `tojson`: a number of blanks, or text. */
static bool indentation(etk__render *r, etk__value *out, etk__value v) {
  int64_t width = 0;
  if (v.kind == ETK__STR) return *out = v, true;
  if (!etk__is_whole(v, &width)) return etk__fail(r, "an indentation is a whole number or text, found a %s", etk__type_name(v));
  if (width > 1000) return etk__fail(r, "an indentation of %lld blanks (at most 1000)", (long long)width);
  etk__value blank;
  return etk__str_borrow(r, &blank, " ", 1) && etk__binary(r, out, ETK__OP_MUL, blank, etk__int(width));
}

FILTER(indent) {
  (void)raw;
  etk__value s, by, lines;
  etk_text text = ETK_TEXT_INIT;
  bool first = etk__truth(a[1]), blank = etk__truth(a[2]), good = true;
  if (!etk__to_str(r, &s, self) || !indentation(r, &by, etk__given(a[0]) ? a[0] : etk__int(4)) || !etk__split_lines(r, &lines, s.str, false)) return false;
  bool ends = s.str->size && s.str->data[s.str->size - 1] == '\n'; /* a last line end stays, followed by an empty line */
  size_t n = lines.items->count + (ends || !lines.items->count);
  for (size_t i = 0; i < n && good; i++) {
    size_t size = i < lines.items->count ? lines.items->at[i].str->size : 0;
    if (i) etk_text_putc(&text, '\n');
    if (i ? blank || size : first) etk_text_append(&text, by.str->data, by.str->size);
    if (size) etk_text_append(&text, lines.items->at[i].str->data, size);
    good = etk__charge_bytes(r, by.str->size + size) && etk__text_fits(r, &text);
  }
  if (good) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

FILTER(tojson) {
  (void)raw;
  etk__json_style style = {.item = ", ", .item_size = 2, .key = ": ", .key_size = 2};
  etk__value by;
  style.ascii = etk__truth(a[0]);
  style.sort = etk__truth(a[3]);
  if (etk__given(a[1]) && a[1].kind != ETK__NONE) {
    if (!indentation(r, &by, a[1])) return false;
    style.indent = by.str->data;
    style.indent_size = by.str->size;
    style.item_size = 1;
  }
  if (etk__given(a[2]) && a[2].kind != ETK__NONE) {
    bool pair = (a[2].kind == ETK__LIST || a[2].kind == ETK__TUPLE) && a[2].items->count == 2;
    if (!pair || a[2].items->at[0].kind != ETK__STR || a[2].items->at[1].kind != ETK__STR)
      return etk__fail(r, "tojson: separators are two strings, as in (',', ':')");
    const etk__str *item = a[2].items->at[0].str, *key = a[2].items->at[1].str;
    style.item = item->data, style.item_size = item->size, style.key = key->data, style.key_size = key->size;
  }
  etk_text text = ETK_TEXT_INIT;
  if (etk__put_json(r, &text, self, &style)) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

FILTER(format) {
  (void)a;
  etk__value s, values = {.kind = ETK__TUPLE};
  if (raw->named_count) return etk__fail(r, "format: arguments with names are not supported");
  if (!etk__to_str(r, &s, self) || !etk__items_new(r, &values, ETK__TUPLE, raw->count)) return false;
  for (size_t i = 0; i < raw->count; i++) values.items->at[i] = raw->at[i];
  return etk__percent_format(r, out, s, values);
}

static const etk__builtin rows[] = {
    {"trim", "chars", trim},
    {"tojson", "ensure_ascii indent separators sort_keys", tojson},
    {"upper", "", upper},
    {"lower", "", lower},
    {"capitalize", "", capitalize},
    {"title", "", title},
    {"replace", "old! new! count", replace},
    {"string", "", to_string},
    {"int", "default base", to_int},
    {"float", "default", to_float},
    {"abs", "", absolute},
    {"round", "precision method", round_to},
    {"indent", "width first blank", indent},
    {"safe", "", to_string},
    {"escape", "", escape},
    {"e", "", escape},
    {"forceescape", "", escape},
    {"format", NULL, format},
};
const etk__table etk__filters_text = {rows, COUNT(rows)};
