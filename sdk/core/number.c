/* number.c: whole-string parsers of what people type, and short forms of what they read. */
#include "etk/text.h"
#include <math.h>
#include <strings.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

etk_status etk_parse_int(etk_error *e, int64_t *out, const char *text) {
  const char *p = text;
  bool negative = *p == '-';
  if (*p == '-' || *p == '+') p++;
  uint64_t base = 10, value = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
  if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) base = 16, p += 2;
  bool after_digit = false, too_large = false;
  for (; *p; p++) {
    if (*p == '_' && after_digit && p[1] && p[1] != '_') {
      after_digit = false;
      continue;
    }
    int digit = hex_value(*p);
    if (digit < 0 || (uint64_t)digit >= base) break;
    after_digit = true;
    if (value > (limit - (uint64_t)digit) / base) too_large = true;
    else value = value * base + (uint64_t)digit;
  }
  if (*p || !after_digit) return etk_fail(e, ETK_E_INVALID, "'%s' is not a whole number", text);
  if (too_large) return etk_fail(e, ETK_E_INVALID, "'%s' is out of range: whole numbers go from -9223372036854775808 to 9223372036854775807", text);
  *out = negative ? (int64_t)(0 - value) : (int64_t)value;
  return ETK_OK;
}

/* The bytes of a decimal number without sign at text: "12", "1.5", ".5", "1e-5" (with `exponent`); 0: none. */
static size_t decimal_size(const char *text, bool exponent) {
  size_t i = 0, digits = 0;
  for (; is_digit(text[i]); i++) digits++;
  if (text[i] == '.')
    for (i++; is_digit(text[i]); i++) digits++;
  if (digits == 0) return 0;
  if (!exponent || (text[i] != 'e' && text[i] != 'E')) return i;
  size_t j = i + 1;
  if (text[j] == '-' || text[j] == '+') j++;
  if (!is_digit(text[j])) return i;
  while (is_digit(text[j])) j++;
  return j;
}

etk_status etk_parse_real(etk_error *e, double *out, const char *text) {
  const char *p = text + (*text == '-' || *text == '+');
  size_t n = decimal_size(p, true);
  if (n == 0 || p[n]) return etk_fail(e, ETK_E_INVALID, "'%s' is not a number (wanted something like 3, 0.5 or 1e-5)", text);
  double value = strtod(text, NULL);
  if (!isfinite(value)) return etk_fail(e, ETK_E_INVALID, "'%s' is too large: numbers go to 1.8e308", text);
  *out = value;
  return ETK_OK;
}

etk_status etk_parse_flag(etk_error *e, bool *out, const char *text) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcasecmp(text, words[i]) != 0) continue;
    *out = i % 2 == 1;
    return ETK_OK;
  }
  return etk_fail(e, ETK_E_INVALID, "'%s' is not a flag (wanted true or false, yes or no, on or off, 1 or 0)", text);
}

typedef struct unit {
  const char *name; /* lower case */
  int64_t scale;
} unit;

/* "<decimal> * scale" rounded to the nearest whole; the integer part is exact. -1: does not fit. */
static int64_t scaled(const char *digits, size_t size, int64_t scale) {
  int64_t whole = 0, result;
  size_t i = 0;
  for (; i < size && digits[i] != '.'; i++)
    if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, digits[i] - '0', &whole)) return -1;
  double fraction = 0, place = 0.1;
  for (i++; i < size; i++, place /= 10) fraction += (digits[i] - '0') * place;
  if (__builtin_mul_overflow(whole, scale, &result)) return -1;
  if (__builtin_add_overflow(result, (int64_t)(fraction * (double)scale + 0.5), &result)) return -1;
  return result;
}

static const char *skip_spaces(const char *p) {
  while (*p == ' ') p++;
  return p;
}

/* The unit whose name is the run of letters at *p, which is passed over; NULL: none of them. */
static const unit *take_unit(const char **p, const unit *units, size_t count) {
  size_t n = 0;
  while (((*p)[n] | 0x20) >= 'a' && ((*p)[n] | 0x20) <= 'z') n++;
  for (size_t i = 0; i < count; i++) {
    if (strlen(units[i].name) != n || strncasecmp(*p, units[i].name, n) != 0) continue;
    *p += n;
    return &units[i];
  }
  return NULL;
}

etk_status etk_parse_size(etk_error *e, int64_t *out, const char *text) {
  static const unit units[] = {
      {"", 1},
      {"b", 1},
      {"k", 1000},
      {"kb", 1000},
      {"kib", 1024},
      {"m", 1000000},
      {"mb", 1000000},
      {"mib", 1048576},
      {"g", 1000000000},
      {"gb", 1000000000},
      {"gib", 1073741824},
      {"t", 1000000000000},
      {"tb", 1000000000000},
      {"tib", 1099511627776},
      {"p", 1000000000000000},
      {"pb", 1000000000000000},
      {"pib", 1125899906842624},
  };
  const char *p = skip_spaces(text), *digits = p;
  size_t n = decimal_size(p, false);
  p = skip_spaces(p + n);
  const unit *u = take_unit(&p, units, sizeof units / sizeof units[0]);
  if (n == 0 || !u || *skip_spaces(p)) return etk_fail(e, ETK_E_INVALID, "'%s' is not a size (wanted something like 100, 512kB or 4GiB)", text);
  int64_t value = scaled(digits, n, u->scale);
  if (value < 0) return etk_fail(e, ETK_E_INVALID, "'%s' is too large: sizes go to 8191 PiB", text);
  *out = value;
  return ETK_OK;
}

#define SECOND INT64_C(1000000000)

etk_status etk_parse_duration(etk_error *e, int64_t *out, const char *text) {
  static const unit units[] = {
      {"ns", 1},          {"us", 1000},         {"ms", 1000000},      {"s", SECOND},         {"sec", SECOND},
      {"m", 60 * SECOND}, {"min", 60 * SECOND}, {"h", 3600 * SECOND}, {"d", 86400 * SECOND},
  };
  const char *p = skip_spaces(text);
  int64_t total = 0;
  bool first = true, good = *p != 0, overflow = false;
  while (good && *p) {
    const char *digits = p;
    size_t n = decimal_size(p, false);
    p = skip_spaces(p + n);
    const unit *u = take_unit(&p, units, sizeof units / sizeof units[0]);
    int64_t scale = u ? u->scale : SECOND;
    good = n > 0 && (u || (first && !*p)); /* only a number that stands alone may go without a unit */
    int64_t part = good ? scaled(digits, n, scale) : 0;
    overflow |= part < 0 || __builtin_add_overflow(total, part, &total);
    p = skip_spaces(p);
    first = false;
  }
  if (!good) return etk_fail(e, ETK_E_INVALID, "'%s' is not a duration (wanted something like 90s, 1h30m or 250ms)", text);
  if (overflow) return etk_fail(e, ETK_E_INVALID, "'%s' is too large: durations go to 106751 days", text);
  *out = total;
  return ETK_OK;
}

char *etk_format_size(char *out, size_t out_size, int64_t bytes) {
  static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const char *sign = bytes < 0 ? "-" : "";
  double value = fabs((double)bytes);
  if (value < 1024) {
    snprintf(out, out_size, "%s%d B", sign, (int)value);
    return out;
  }
  size_t i = 0;
  for (value /= 1024; value >= 1023.95 && i + 1 < sizeof names / sizeof names[0]; i++) value /= 1024; /* 1023.95 would print as 1024.0 */
  snprintf(out, out_size, "%s%.1f %s", sign, value, names[i]);
  return out;
}

/* 3.2 → "3.2 s", 3.0 → "3 s" */
static void one_decimal(char *out, size_t out_size, const char *sign, int64_t tenths, const char *name) {
  if (tenths % 10 == 0) snprintf(out, out_size, "%s%lld %s", sign, (long long)(tenths / 10), name);
  else snprintf(out, out_size, "%s%lld.%lld %s", sign, (long long)(tenths / 10), (long long)(tenths % 10), name);
}

static void two_parts(char *out, size_t out_size, const char *sign, uint64_t count, uint64_t per, const char *large, const char *small) {
  unsigned long long a = count / per, b = count % per;
  if (b == 0) snprintf(out, out_size, "%s%llu %s", sign, a, large);
  else snprintf(out, out_size, "%s%llu %s %llu %s", sign, a, large, b, small);
}

char *etk_format_duration(char *out, size_t out_size, int64_t nanoseconds) {
  const char *sign = nanoseconds < 0 ? "-" : "";
  uint64_t ns = nanoseconds < 0 ? 0 - (uint64_t)nanoseconds : (uint64_t)nanoseconds;
  uint64_t seconds = (ns + SECOND / 2) / SECOND;
  if (ns < 1000) snprintf(out, out_size, "%s%d ns", sign, (int)ns);
  else if (ns < 10000) one_decimal(out, out_size, sign, (int64_t)ns / 100, "us");
  else if (ns < 1000000) snprintf(out, out_size, "%s%d us", sign, (int)(ns / 1000));
  else if (ns < 10000000) one_decimal(out, out_size, sign, (int64_t)ns / 100000, "ms");
  else if (ns < (uint64_t)SECOND) snprintf(out, out_size, "%s%d ms", sign, (int)(ns / 1000000));
  else if (ns < 60 * (uint64_t)SECOND - SECOND / 20) one_decimal(out, out_size, sign, (int64_t)((ns + 50000000) / 100000000), "s");
  else if (seconds < 3600) two_parts(out, out_size, sign, seconds, 60, "m", "s");
  else if (seconds < 86400) two_parts(out, out_size, sign, seconds / 60, 60, "h", "m");
  else two_parts(out, out_size, sign, seconds / 3600, 24, "d", "h");
  return out;
}
