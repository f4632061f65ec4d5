/* options_limits.c: the grammar of limits (etk/project.h says it): reading, checking, and in words. */
#include "options_internal.h"

uint32_t etk__item_kind(uint32_t kind) {
  switch (kind) {
  case ETK_KIND_ints: return ETK_KIND_int;
  case ETK_KIND_reals: return ETK_KIND_real;
  case ETK_KIND_texts: case ETK_KIND_map: return ETK_KIND_text;
  default: return kind;
  }
}

etk_status etk__parse_bound(etk_error *e, uint32_t kind, const char *text, int64_t *integer, double *real) {
  switch (kind) {
  case ETK_KIND_real: return etk_parse_real(e, real, text);
  case ETK_KIND_size: return etk_parse_size(e, integer, text);
  case ETK_KIND_duration: return etk_parse_duration(e, integer, text);
  default: return etk_parse_int(e, integer, text);
  }
}

/* Copies text[0..size) without blanks around it; false where it does not fit. */
static bool trimmed(char *out, size_t out_size, const char *text, size_t size) {
  while (size && *text == ' ') text++, size--;
  while (size && text[size - 1] == ' ') size--;
  if (size >= out_size) return false;
  memcpy(out, text, size);
  out[size] = 0;
  return true;
}

etk_status etk__parse_range(etk_error *e, etk__range *out, uint32_t kind, const char *text, size_t size) {
  char whole[160], low[160] = "", high[160] = "";
  *out = (etk__range){0};
  if (!trimmed(whole, sizeof whole, text, size) || !*whole) return etk_fail(e, ETK_E_INVALID, "an alternative of the limits is empty or too long");
  const char *dots = strstr(whole, "..");
  if (!dots) {
    etk_status status = etk__parse_bound(e, kind, whole, &out->low, &out->real_low);
    out->has_low = out->has_high = true;
    out->high = out->low, out->real_high = out->real_low;
    return status;
  }
  size_t low_size = (size_t)(dots - whole);
  const char *after = dots + 2;
  if (low_size && whole[low_size - 1] == '<') out->low_open = true, low_size--;
  if (*after == '<') out->high_open = true, after++;
  if (!trimmed(low, sizeof low, whole, low_size) || !trimmed(high, sizeof high, after, strlen(after)))
    return etk_fail(e, ETK_E_INVALID, "limits are too long");
  if ((out->low_open && !*low) || (out->high_open && !*high)) return etk_fail(e, ETK_E_INVALID, "'<' stands without a bound in '%s'", whole);
  out->has_low = *low != 0, out->has_high = *high != 0;
  etk_status status = ETK_OK;
  if (out->has_low) status = etk__parse_bound(e, kind, low, &out->low, &out->real_low);
  if (!status && out->has_high) status = etk__parse_bound(e, kind, high, &out->high, &out->real_high);
  if (status) return status;
  bool reversed = kind == ETK_KIND_real ? out->real_low > out->real_high : out->low > out->high;
  if (out->has_low && out->has_high && reversed) return etk_fail(e, ETK_E_INVALID, "'%s' ends before it begins", whole);
  return ETK_OK;
}

bool etk__next_alternative(const char **cursor, const char **start, size_t *size) {
  const char *p = *cursor;
  if (!p) return false;
  *start = p;
  while (*p && *p != '|') p += p[0] == '\\' && p[1] ? 2 : 1;
  *size = (size_t)(p - *start);
  *cursor = *p ? p + 1 : NULL;
  return true;
}

bool etk__unescape(char *out, size_t out_size, const char *text, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < size; i++) {
    char c = text[i], next = i + 1 < size ? text[i + 1] : 0;
    if (c == '\\' && (next == 't' || next == 'n' || next == '|' || next == '\\')) {
      c = next == 't' ? '\t' : next == 'n' ? '\n' : next;
      i++;
    }
    if (n + 1 >= out_size) return false;
    out[n++] = c;
  }
  out[n] = 0;
  return true;
}

/* ---- checking ---- */

/* -1: below, 1: above, 0: inside. */
static int compare_range(const etk__range *range, uint32_t kind, int64_t integer, double real) {
  if (kind == ETK_KIND_real) {
    if (range->has_low && (real < range->real_low || (range->low_open && real == range->real_low))) return -1;
    return range->has_high && (real > range->real_high || (range->high_open && real == range->real_high)) ? 1 : 0;
  }
  if (range->has_low && (integer < range->low || (range->low_open && integer == range->low))) return -1;
  return range->has_high && (integer > range->high || (range->high_open && integer == range->high)) ? 1 : 0;
}

etk_status etk__check_number(etk_error *e, uint32_t kind, const char *limits, int64_t integer, double real, const char *shown, const char *noun,
                             const char *what) {
  if (!*limits) return ETK_OK;
  etk__range range = {0};
  const char *cursor = limits, *start;
  size_t size, alternatives = 0;
  int side = 0;
  while (etk__next_alternative(&cursor, &start, &size)) {
    etk_status status = etk__parse_range(e, &range, kind, start, size);
    if (status) return etk_error_while(e, status, "%s: its limits '%s' are wrong, which is the plugin's mistake", what, limits);
    side = compare_range(&range, kind, integer, real);
    if (!side) return ETK_OK;
    alternatives++;
  }
  if (alternatives > 1 || (range.has_low && range.has_high && range.low == range.high && range.real_low == range.real_high))
    return etk_fail(e, ETK_E_USAGE, "%s: %s is not allowed (allowed %s: %s)", what, shown, *noun ? noun : "values", limits);
  const char *dots = strstr(limits, "..");
  int low_size = (int)(dots - limits) - (range.low_open ? 1 : 0);
  if (side < 0)
    return etk_fail(e, ETK_E_USAGE, "%s: %s is %s %.*s (allowed%s%s: %s)", what, shown, range.low_open ? "not above" : "below", low_size, limits,
                    *noun ? " " : "", noun, limits);
  return etk_fail(e, ETK_E_USAGE, "%s: %s is %s %s (allowed%s%s: %s)", what, shown, range.high_open ? "not below" : "above",
                  dots + 2 + range.high_open, *noun ? " " : "", noun, limits);
}

etk_status etk__check_choice(etk_error *e, const char *limits, const char *text, const char *what) {
  char words[ETK__WORDS][ETK__WORD];
  const char *pointers[ETK__WORDS];
  size_t count = 0, size;
  const char *cursor = limits, *start;
  while (count < ETK__WORDS && etk__next_alternative(&cursor, &start, &size)) {
    if (!etk__unescape(words[count], ETK__WORD, start, size)) continue;
    if (!strcmp(words[count], text)) return ETK_OK;
    pointers[count] = words[count];
    count++;
  }
  etk_text list = ETK_TEXT_INIT;
  for (size_t i = 0; i < count; i++) etk_text_printf(&list, "%s%s", i ? ", " : "", words[i]);
  const char *near = etk_text_suggest(text, pointers, count);
  etk_fail(e, ETK_E_USAGE, "%s: '%s' is not one of %s%s%s%s", what, text, list.failed || !list.data ? limits : list.data,
           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  etk_text_free(&list);
  return ETK_E_USAGE;
}

etk_status etk_limits_check(etk_error *e, uint32_t kind, const char *limits) {
  kind = etk__item_kind(kind);
  if (kind == ETK_KIND_choice && !*limits) return etk_fail(e, ETK_E_INVALID, "a choice needs its words as limits, like \"linear|cosine\"");
  if (!*limits) return ETK_OK;
  if (kind == ETK_KIND_flag) return etk_fail(e, ETK_E_INVALID, "a flag takes no limits, but has '%s'", limits);
  if (kind == ETK_KIND_path) {
    static const char *const words[] = {"exists", "file", "dir", "new", "model"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
      if (!strcmp(limits, words[i])) return ETK_OK;
    return etk_fail(e, ETK_E_INVALID, "'%s' is not a limit of paths (exists, file, dir, new, model)", limits);
  }
  const char *cursor = limits, *start;
  size_t size, count = 0;
  char word[ETK__WORD];
  while (etk__next_alternative(&cursor, &start, &size)) {
    if (kind == ETK_KIND_choice) {
      if (!size || !etk__unescape(word, sizeof word, start, size))
        return etk_fail(e, ETK_E_INVALID, "a word of the choice '%s' is empty or longer than %d bytes", limits, ETK__WORD - 1);
      if (++count > ETK__WORDS) return etk_fail(e, ETK_E_INVALID, "a choice has more than %d words", ETK__WORDS);
      continue;
    }
    etk__range range;
    etk_status status = etk__parse_range(e, &range, kind, start, size);
    if (status) return etk_error_while(e, status, "limits '%s'", limits);
  }
  return ETK_OK;
}

/* ---- in words ---- */

/* text[0..size) with '<' and blanks left out: one bound as its author wrote it. */
static void put_bound(etk_text *out, const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] != '<' && text[i] != ' ') etk_text_putc(out, text[i]);
}

static void range_words(etk_text *out, const etk__range *range, const char *text, size_t size) {
  const char *dots = NULL;
  for (size_t i = 0; !dots && i + 1 < size; i++)
    if (text[i] == '.' && text[i + 1] == '.') dots = text + i;
  if (!dots) {
    put_bound(out, text, size);
    return;
  }
  size_t low = (size_t)(dots - text), high = size - low - 2;
  bool closed = range->has_low && range->has_high && !range->low_open && !range->high_open;
  if (closed) {
    put_bound(out, text, low);
    etk_text_puts(out, " to ");
    put_bound(out, dots + 2, high);
    return;
  }
  if (range->has_low) {
    etk_text_puts(out, range->low_open ? "above " : "at least ");
    put_bound(out, text, low);
  }
  if (range->has_high) {
    etk_text_printf(out, "%s%s ", range->has_low ? ", " : "", range->high_open ? "below" : "at most");
    put_bound(out, dots + 2, high);
  }
}

void etk_limits_words(etk_text *out, uint32_t kind, const char *limits) {
  static const char *const paths[][2] = {{"exists", "must exist"}, {"file", "an existing file"}, {"dir", "an existing folder"}, {"new", "in an existing folder"},
                                         {"model", "must exist, or be the ORG/NAME of a pulled model"}};
  uint32_t item = etk__item_kind(kind);
  if (!limits || !*limits || item == ETK_KIND_flag) return;
  for (size_t i = 0; item == ETK_KIND_path && i < sizeof paths / sizeof paths[0]; i++)
    if (!strcmp(limits, paths[i][0])) etk_text_puts(out, paths[i][1]);
  if (item == ETK_KIND_path) return;
  const char *cursor = limits, *start;
  size_t size;
  char word[ETK__WORD];
  if (item != kind) etk_text_puts(out, "each ");
  for (bool first = true; etk__next_alternative(&cursor, &start, &size); first = false) {
    etk__range range;
    if (!first) etk_text_puts(out, cursor ? ", " : " or ");
    if (item == ETK_KIND_choice) etk_text_puts(out, etk__unescape(word, sizeof word, start, size) ? word : "…");
    else if (!etk__parse_range(NULL, &range, item == ETK_KIND_text || item == ETK_KIND_secret ? ETK_KIND_int : item, start, size))
      range_words(out, &range, start, size);
  }
  if (item == ETK_KIND_text || item == ETK_KIND_secret) etk_text_puts(out, " bytes");
}
