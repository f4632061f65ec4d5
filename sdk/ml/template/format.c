/* format.c: "%s and %d" % values, as Python has it. */
#include "internal.h"

typedef struct conversion {
  char flags[6]; /* each of "-+ 0#" at most once */
  int width, precision; /* precision -1: none */
  char letter;
} conversion;

enum { WIDEST = 1000 };

/* Reads what is behind '%'; false: broken. */
static bool read_conversion(conversion *c, const char **p, const char *end) {
  size_t n = 0;
  *c = (conversion){.precision = -1};
  for (; *p < end && **p && strchr("-+ 0#", **p); (*p)++)
    if (!strchr(c->flags, **p)) c->flags[n++] = **p;
  for (; *p < end && **p >= '0' && **p <= '9' && c->width <= WIDEST; (*p)++) c->width = c->width * 10 + (**p - '0');
  if (*p < end && **p == '.') {
    c->precision = 0;
    for ((*p)++; *p < end && **p >= '0' && **p <= '9' && c->precision <= WIDEST; (*p)++) c->precision = c->precision * 10 + (**p - '0');
  }
  if (*p == end || c->width > WIDEST || c->precision > WIDEST) return false;
  c->letter = *(*p)++;
  return true;
}

static bool put_text(etk__render *r, etk_text *out, const conversion *c, etk__value v) {
  etk_text text = ETK_TEXT_INIT;
  if (!(c->letter == 'r' ? etk__repr : etk__print)(r, &text, v)) {
    etk_text_free(&text);
    return false;
  }
  etk__str s = {text.size ? text.data : "", text.size, SIZE_MAX};
  if (c->precision >= 0) s.size = etk__str_offset(&s, (size_t)c->precision), s.chars = SIZE_MAX;
  size_t chars = etk__str_chars(&s), blanks = (size_t)c->width > chars ? (size_t)c->width - chars : 0;
  bool left = strchr(c->flags, '-') != NULL;
  for (size_t i = 0; i < blanks && !left; i++) etk_text_putc(out, ' ');
  etk_text_append(out, s.data, s.size);
  for (size_t i = 0; i < blanks && left; i++) etk_text_putc(out, ' ');
  etk_text_free(&text);
  return true;
}

static bool put_number(etk__render *r, etk_text *out, const conversion *c, etk__value v) {
  char format[32];
  double real;
  int64_t whole;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  if (!etk__template_number(v, &real)) return etk__fail(r, "%%%c wants a number, found a %s", c->letter, etk__type_name(v));
  bool integer = strchr("dixXo", c->letter) != NULL;
  int n = snprintf(format, sizeof format, "%%%s%d", c->flags, c->width);
  if (c->width == 0) n--; /* "%0" would be a flag */
  if (c->precision >= 0) n += snprintf(format + n, sizeof format - (size_t)n, ".%d", c->precision);
  snprintf(format + n, sizeof format - (size_t)n, integer ? "ll%c" : "%c", c->letter == 'i' ? 'd' : c->letter);
  if (!integer) {
    etk_text_printf(out, format, real);
    return true;
  }
  if (v.kind == ETK__REAL) {
    if (!(real > -9.2e18 && real < 9.2e18)) return etk__fail(r, "%%%c: %g is beyond the largest whole number", c->letter, real);
    whole = (int64_t)real;
  } else if (!etk__is_whole(v, &whole)) return false;
  if (c->letter != 'd' && c->letter != 'i' && whole < 0) return etk__fail(r, "%%%c of a negative number", c->letter);
  etk_text_printf(out, format, (long long)whole);
  return true;
}

static bool put_values(etk__render *r, etk_text *out, const etk__str *s, const etk__value *values, size_t count) {
  size_t used = 0;
  const char *p = s->data, *end = p + s->size;
  while (p < end) {
    const char *percent = memchr(p, '%', (size_t)(end - p));
    etk_text_append(out, p, (size_t)((percent ? percent : end) - p));
    if (!percent) break;
    p = percent + 1;
    conversion c;
    if (!read_conversion(&c, &p, end)) return etk__fail(r, "'%%' at the end of a format, or a width beyond %d", WIDEST);
    if (c.letter == '%') {
      etk_text_putc(out, '%');
      continue;
    }
    if (!strchr("srdixXofFeEgG", c.letter) || !c.letter) return etk__fail(r, "a format with '%%%c' (there are s r d i x X o f e g %%)", c.letter > ' ' && c.letter < 0x7F ? c.letter : '?');
    if (used == count) return etk__fail(r, "a format wants more than the %zu values that were given", count);
    const etk__value v = values[used++];
    if (!(c.letter == 's' || c.letter == 'r' ? put_text : put_number)(r, out, &c, v) || !etk__charge_bytes(r, 64)) return false;
    if (!etk__text_fits(r, out)) return false;
  }
  return used == count || etk__fail(r, "%zu values for a format that wants %zu", count, used);
}

bool etk__percent_format(etk__render *r, etk__value *out, etk__value format, etk__value values) {
  etk_text text = ETK_TEXT_INIT;
  bool many = values.kind == ETK__TUPLE;
  if (put_values(r, &text, format.str, many ? values.items->at : &values, many ? values.items->count : 1)) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}
