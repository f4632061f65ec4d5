/* config_toml_value.c: TOML's strings, numbers, dates and times. */
#include "config_internal.h"
#include <math.h>
#include <strings.h>

/* ---- strings ---- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* At the letter u or U. */
static etk_status read_code_point(etk__toml *t) {
  const char *start = t->p - 1;
  int digits = *t->p++ == 'u' ? 4 : 8;
  uint32_t value = 0;
  for (int i = 0; i < digits; i++) {
    int digit = t->p < t->end ? hex_digit(*t->p) : -1;
    if (digit < 0)
      return etk__toml_unexpected(t,
                                  digits == 4 ? "four hexadecimal digits are wanted after '\\u'" : "eight hexadecimal digits are wanted after '\\U'");
    value = value << 4 | (uint32_t)digit;
    t->p++;
  }
  char bytes[4];
  size_t n = etk_utf8_encode(bytes, value);
  if (n == 0) return etk__toml_fail(t, start, "'%.*s' is no character: those go from 0 to D7FF and from E000 to 10FFFF", (int)(t->p - start), start);
  etk_text_append(&t->scratch, bytes, n);
  return ETK_OK;
}

/* Behind a backslash. */
static etk_status read_escape(etk__toml *t) {
  static const char letters[] = "btnfr\"\\", bytes[] = "\b\t\n\f\r\"\\";
  if (t->p == t->end) return etk__toml_unexpected(t, "a letter is wanted after '\\'");
  if (*t->p == 'u' || *t->p == 'U') return read_code_point(t);
  const char *found = strchr(letters, *t->p);
  if (!found) return etk__toml_unexpected(t, "one of b t n f r \" \\ u U is wanted after '\\' ('…' takes backslashes as they are)");
  etk_text_putc(&t->scratch, bytes[found - letters]);
  t->p++;
  return ETK_OK;
}

static etk_status keep(etk__toml *t, const char *bytes, size_t size, const char **text, size_t *text_size) {
  *text = t->scratch.failed ? NULL : etk_arena_strndup(&t->config->arena, bytes, size);
  *text_size = size;
  return *text ? ETK_OK : etk__config_no_memory(t->e, t->config);
}

static etk_status keep_scratch(etk__toml *t, const char **text, size_t *size) {
  return keep(t, t->scratch.data ? t->scratch.data : "", t->scratch.size, text, size);
}

/* At the opening quote. */
static etk_status read_line_string(etk__toml *t, const char **text, size_t *size) {
  const char *open = t->p++, *start = t->p;
  char quote = *open;
  t->scratch.size = 0;
  for (;;) {
    while (t->p < t->end && *t->p != quote && *t->p != '\n' && *t->p != '\r' && (*t->p != '\\' || quote == '\'')) t->p++;
    if (t->p == t->end || *t->p == '\n' || *t->p == '\r')
      return etk__toml_fail(t, open, "this string has no closing %c on its line (several lines stand between %c%c%c and %c%c%c)", quote, quote, quote,
                            quote, quote, quote, quote);
    if (*t->p == quote) break;
    etk_text_append(&t->scratch, start, (size_t)(t->p++ - start));
    etk_status status = read_escape(t);
    if (status) return status;
    start = t->p;
  }
  const char *stop = t->p++;
  if (start == open + 1) return keep(t, start, (size_t)(stop - start), text, size); /* no escapes */
  etk_text_append(&t->scratch, start, (size_t)(stop - start));
  return keep_scratch(t, text, size);
}

static size_t line_end(const etk__toml *t) {
  if (t->p < t->end && *t->p == '\n') return 1;
  return t->p < t->end && *t->p == '\r' ? 2 : 0; /* the bytes were checked: a line feed follows */
}

/* Behind a backslash: if only blanks follow on the line, they, the line end and all blanks and line ends after it are passed over. */
static bool skip_joined_lines(etk__toml *t) {
  const char *p = t->p;
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\t')) t->p++;
  if (line_end(t)) {
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r')) t->p++;
    return true;
  }
  t->p = p;
  return false;
}

/* At three quotes. Line ends become line feeds. */
static etk_status read_lines_string(etk__toml *t, const char **text, size_t *size) {
  const char *open = t->p;
  char quote = *open;
  t->p += 3;
  t->p += line_end(t); /* one right behind the quotes does not count */
  t->scratch.size = 0;
  for (;;) {
    const char *start = t->p;
    while (t->p < t->end && *t->p != quote && *t->p != '\r' && (*t->p != '\\' || quote == '\'')) t->p++;
    etk_text_append(&t->scratch, start, (size_t)(t->p - start));
    if (t->p == t->end) return etk__toml_fail(t, open, "this string has no closing %c%c%c", quote, quote, quote);
    if (*t->p == '\r') {
      t->p++;
    } else if (*t->p == '\\') {
      t->p++;
      etk_status status = skip_joined_lines(t) ? ETK_OK : read_escape(t);
      if (status) return status;
    } else {
      size_t quotes = 0; /* one or two may stand right before the closing three */
      while (quotes < 5 && t->p < t->end && *t->p == quote) quotes++, t->p++;
      size_t kept = quotes < 3 ? quotes : quotes - 3;
      etk_text_append(&t->scratch, t->p - quotes, kept);
      if (quotes >= 3) return keep_scratch(t, text, size);
    }
  }
}

etk_status etk__toml_string(etk__toml *t, const char **text, size_t *size, bool lines) {
  bool three = t->end - t->p > 2 && t->p[1] == *t->p && t->p[2] == *t->p;
  if (!three) return read_line_string(t, text, size);
  if (!lines) return etk__toml_fail(t, t->p, "a key stands in one quote on each side, not in three");
  return read_lines_string(t, text, size);
}

/* ---- numbers ---- */

typedef struct word {
  const char *text, *end;
} word;

static etk_status bad(etk__toml *t, const word *token, const char *what, const char *why) {
  int n = (int)(token->end - token->text > 60 ? 60 : token->end - token->text);
  return etk__toml_fail(t, token->text, "'%.*s%s' is not %s: %s", n, token->text, token->end - token->text > 60 ? "…" : "", what, why);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Moves *p over digits below `base` with single underscores between them, which are left out of scratch. NULL: fine, else what is wrong. */
static const char *take_digits(etk__toml *t, const char **p, const char *end, int base) {
  const char *start = *p;
  while (*p < end) {
    if (**p == '_') {
      bool between = *p > start && (*p)[-1] != '_' && *p + 1 < end && hex_digit((*p)[1]) >= 0;
      if (!between) return "an underscore stands between two digits";
    } else {
      int digit = hex_digit(**p);
      if (digit < 0 || digit >= base) break;
      etk_text_putc(&t->scratch, **p);
    }
    ++*p;
  }
  if (*p > start && (*p)[-1] == '_') return "an underscore stands between two digits";
  return *p > start ? NULL : "a digit is missing";
}

static const char range[] = "whole numbers go from -9223372036854775808 to 9223372036854775807";

/* 0x, 0o, 0b */
static etk_status read_based(etk__toml *t, const word *token, etk_config_node *node) {
  const char *p = token->text + 2;
  int base = token->text[1] == 'x' ? 16 : token->text[1] == 'o' ? 8 : 2;
  t->scratch.size = 0;
  const char *why = take_digits(t, &p, token->end, base);
  if (!why && p < token->end)
    why = base == 16 ? "the digits after 0x are 0 to 9 and a to f" : base == 8 ? "the digits after 0o are 0 to 7" : "the digits after 0b are 0 and 1";
  if (why) return bad(t, token, "a whole number", why);
  if (t->scratch.failed) return etk__config_no_memory(t->e, t->config);
  uint64_t value = 0;
  for (size_t i = 0; i < t->scratch.size; i++) {
    if (value > (uint64_t)(INT64_MAX - hex_digit(t->scratch.data[i])) / (uint64_t)base) return bad(t, token, "in range", range);
    value = value * (uint64_t)base + (uint64_t)hex_digit(t->scratch.data[i]);
  }
  node->kind = ETK_CONFIG_INT;
  node->integer = (int64_t)value;
  node->real = (double)node->integer;
  return ETK_OK;
}

static void set_real(etk_config_node *node, double value) {
  node->kind = ETK_CONFIG_REAL;
  node->real = value;
}

/* Decimal digits into scratch, checked; *integer: no fraction and no exponent. NULL: fine. */
static const char *scan_decimal(etk__toml *t, const word *token, bool *integer) {
  const char *p = token->text;
  t->scratch.size = 0;
  if (*p == '-' || *p == '+') etk_text_putc(&t->scratch, *p++);
  if (p == token->end) return "a digit is wanted after the sign";
  if (*p == '.') return "a digit is wanted before '.'";
  const char *first = p, *why = take_digits(t, &p, token->end, 10);
  if (why) return why;
  if (*first == '0' && p - first > 1) return "a number does not begin with 0";
  *integer = true;
  if (p < token->end && *p == '.') {
    *integer = false;
    etk_text_putc(&t->scratch, *p++);
    if (p == token->end || !is_digit(*p)) return "a digit is wanted after '.'";
    why = take_digits(t, &p, token->end, 10);
  }
  if (!why && p < token->end && (*p == 'e' || *p == 'E')) {
    *integer = false;
    etk_text_putc(&t->scratch, *p++);
    if (p < token->end && (*p == '-' || *p == '+')) etk_text_putc(&t->scratch, *p++);
    if (p == token->end || !is_digit(*p)) return "a digit is wanted in the exponent";
    why = take_digits(t, &p, token->end, 10);
  }
  if (why || p == token->end) return why;
  if (*p == '.') return "it has a second '.'; text stands in quotes";
  return "text stands in quotes; a number is digits with '_' between them, '.', and 'e' for an exponent";
}

static etk_status read_decimal(etk__toml *t, const word *token, etk_config_node *node) {
  bool integer;
  const char *why = scan_decimal(t, token, &integer);
  if (why) return bad(t, token, "a number", why);
  if (t->scratch.failed) return etk__config_no_memory(t->e, t->config);
  if (!integer) {
    set_real(node, strtod(t->scratch.data, NULL));
    return isfinite(node->real) ? ETK_OK : bad(t, token, "in range", "numbers go to 1.8e308");
  }
  if (etk_parse_int(NULL, &node->integer, t->scratch.data)) return bad(t, token, "in range", range);
  node->kind = ETK_CONFIG_INT;
  node->real = (double)node->integer;
  return ETK_OK;
}

static etk_status read_number(etk__toml *t, const word *token, etk_config_node *node) {
  const char *p = token->text + (*token->text == '-' || *token->text == '+');
  size_t n = (size_t)(token->end - p);
  if (n == 3 && memcmp(p, "inf", 3) == 0) set_real(node, *token->text == '-' ? -HUGE_VAL : HUGE_VAL);
  else if (n == 3 && memcmp(p, "nan", 3) == 0) set_real(node, (double)NAN);
  else if (n > 1 && *p == '0' && strchr("xob", p[1])) {
    if (p > token->text) return bad(t, token, "a whole number", "no sign stands before 0x, 0o and 0b");
    return read_based(t, token, node);
  } else if (n > 1 && *p == '0' && strchr("XOB", p[1])) {
    return bad(t, token, "a whole number", "0x, 0o and 0b are written small");
  } else {
    return read_decimal(t, token, node);
  }
  return ETK_OK;
}

/* ---- dates and times ---- */

/* Digits at *p as a number, `count` of them, which are passed over; -1: not so many. */
static int take_number(const char **p, const char *end, int count) {
  int value = 0;
  for (int i = 0; i < count; i++, ++*p) {
    if (*p == end || !is_digit(**p)) return -1;
    value = value * 10 + (**p - '0');
  }
  return value;
}

static bool take(const char **p, const char *end, char c) {
  if (*p == end || **p != c) return false;
  ++*p;
  return true;
}

static int days_of(int year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

/* NULL: fine, else what is wrong. */
static const char *take_date(const char **p, const char *end) {
  int year = take_number(p, end, 4), month = -1, day = -1;
  if (take(p, end, '-')) month = take_number(p, end, 2);
  if (month >= 0 && take(p, end, '-')) day = take_number(p, end, 2);
  if (year < 0 || month < 0 || day < 0) return "a date is written YYYY-MM-DD";
  if (month < 1 || month > 12) return "the month goes from 01 to 12";
  if (day < 1 || day > 31) return "the day goes from 01 to 31";
  if (day <= days_of(year, month)) return NULL;
  if (month != 2) return "this month has 30 days";
  return day == 29 ? "February has 29 days only in a leap year" : "February has 28 days, 29 in a leap year";
}

static const char *take_time(const char **p, const char *end) {
  int hour = take_number(p, end, 2), minute = -1, second = -1;
  if (take(p, end, ':')) minute = take_number(p, end, 2);
  if (hour < 0 || minute < 0) return "a time is written HH:MM:SS";
  if (!take(p, end, ':')) return "the seconds are missing; a time is written HH:MM:SS";
  second = take_number(p, end, 2);
  if (second < 0) return "a time is written HH:MM:SS";
  if (hour > 23) return "the hour goes from 00 to 23";
  if (minute > 59) return "the minute goes from 00 to 59";
  if (second > 60) return "the second goes from 00 to 59 (60 in a leap second)";
  if (!take(p, end, '.')) return NULL;
  if (*p == end || !is_digit(**p)) return "a digit is wanted after '.'";
  while (*p < end && is_digit(**p)) ++*p;
  return NULL;
}

/* Sets *local where there is none. */
static const char *take_offset(const char **p, const char *end, bool *local) {
  *local = *p == end;
  if (*local || take(p, end, 'Z') || take(p, end, 'z')) return NULL;
  if (!take(p, end, '+') && !take(p, end, '-')) return "after the time 'Z', an offset like +02:00, or nothing is wanted";
  int hour = take_number(p, end, 2), minute = -1;
  if (take(p, end, ':')) minute = take_number(p, end, 2);
  if (hour < 0 || minute < 0) return "an offset is written +HH:MM or -HH:MM";
  if (hour > 23) return "the hour of an offset goes from 00 to 23";
  return minute > 59 ? "the minute of an offset goes from 00 to 59" : NULL;
}

static etk_status read_time(etk__toml *t, const word *token, etk_config_node *node) {
  const char *p = token->text;
  node->kind = ETK_CONFIG_TIME;
  if (p[2] == ':') {
    node->time = 3;
    const char *why = take_time(&p, token->end);
    if (!why && p < token->end) why = "nothing may follow a time without a date";
    return why ? bad(t, token, "a time", why) : ETK_OK;
  }
  const char *why = take_date(&p, token->end);
  if (why) return bad(t, token, "a date", why);
  node->time = 2;
  if (p == token->end) return ETK_OK;
  if (!take(&p, token->end, 'T') && !take(&p, token->end, 't') && !take(&p, token->end, ' '))
    return bad(t, token, "a date", "after YYYY-MM-DD 'T' and a time, or nothing is wanted");
  bool local = false;
  why = take_time(&p, token->end);
  if (!why) why = take_offset(&p, token->end, &local);
  if (!why && p < token->end) why = "nothing may follow the offset";
  node->time = local;
  return why ? bad(t, token, "a date and time", why) : ETK_OK;
}

/* ---- which of them ---- */

static etk_status bad_word(etk__toml *t, const word *token) {
  static const struct {
    const char *word, *why;
  } rows[] = {
      {"true", "true is written small"},
      {"false", "false is written small"},
      {"inf", "inf is written small"},
      {"nan", "nan is written small"},
      {"infinity", "infinity is inf"},
      {"yes", "TOML's flags are true and false; text stands in quotes"},
      {"no", "TOML's flags are true and false; text stands in quotes"},
      {"on", "TOML's flags are true and false; text stands in quotes"},
      {"off", "TOML's flags are true and false; text stands in quotes"},
      {"null", "TOML has no null; leave the key out"},
      {"nil", "TOML has no null; leave the key out"},
      {"none", "TOML has no null; leave the key out"},
  };
  size_t n = (size_t)(token->end - token->text);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (strlen(rows[i].word) == n && strncasecmp(rows[i].word, token->text, n) == 0) return bad(t, token, "a value", rows[i].why);
  return bad(t, token, "a value", "text stands in quotes");
}

static bool in_token(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '+' || c == '.' || c == ':';
}

static bool digits_at(const char *p, const char *end, int count) { return take_number(&p, end, count) >= 0; }

etk_status etk__toml_scalar(etk__toml *t, etk_config_node *node) {
  word token = {t->p, t->p};
  while (token.end < t->end && in_token(*token.end)) token.end++;
  size_t n = (size_t)(token.end - token.text);
  if (n == 0) return etk__toml_unexpected(t, "a value is wanted (text in quotes, a number, true, false, a date, '[' or '{')");
  bool date = n > 4 && token.text[4] == '-' && digits_at(token.text, token.end, 4);
  bool time = n > 2 && token.text[2] == ':' && digits_at(token.text, token.end, 2);
  if (date && n == 10 && t->end - token.end > 3 && *token.end == ' ' && digits_at(token.end + 1, t->end, 2) && token.end[3] == ':')
    for (token.end++; token.end < t->end && in_token(*token.end);) token.end++;
  etk_status status = ETK_OK;
  char c = *token.text;
  if (date || time) status = read_time(t, &token, node);
  else if (is_digit(c) || c == '-' || c == '+' || c == '.' || (n == 3 && (memcmp(token.text, "inf", 3) == 0 || memcmp(token.text, "nan", 3) == 0)))
    status = read_number(t, &token, node);
  else if ((n == 4 && memcmp(token.text, "true", 4) == 0) || (n == 5 && memcmp(token.text, "false", 5) == 0)) {
    node->kind = ETK_CONFIG_FLAG;
    node->flag = c == 't';
  } else {
    status = bad_word(t, &token);
  }
  if (status) return status;
  t->p = token.end;
  node->text_size = (size_t)(token.end - token.text);
  node->text = etk_arena_strndup(&t->config->arena, token.text, node->text_size);
  return node->text ? ETK_OK : etk__config_no_memory(t->e, t->config);
}
