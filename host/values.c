#include "values.h"

#include <etk/fs.h>
#include <inttypes.h>

/* ---- limits ---- */

/* One alternative of a numeric limit. Whole numbers (int, size, duration, lengths) use the integers, real the doubles. */
struct range {
  bool has_low, has_high, low_open, high_open;
  int64_t low, high;
  double real_low, real_high;
};

static uint32_t item_kind(uint32_t kind) {
  switch (kind) {
  case ETK_KIND_ints: return ETK_KIND_int;
  case ETK_KIND_reals: return ETK_KIND_real;
  case ETK_KIND_texts: case ETK_KIND_map: return ETK_KIND_text;
  default: return kind;
  }
}

uint32_t value_list_kind(uint32_t kind) {
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: case ETK_KIND_duration: return ETK_KIND_ints;
  case ETK_KIND_real: return ETK_KIND_reals;
  default: return ETK_KIND_texts;
  }
}

static bool is_list(uint32_t kind) { return kind == ETK_KIND_ints || kind == ETK_KIND_reals || kind == ETK_KIND_texts; }

static etk_status parse_bound(etk_error *e, uint32_t kind, const char *text, int64_t *integer, double *real) {
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

static etk_status parse_range(etk_error *e, struct range *out, uint32_t kind, const char *text, size_t size) {
  char whole[160], low[160] = "", high[160] = "";
  *out = (struct range){0};
  if (!trimmed(whole, sizeof whole, text, size) || !*whole) return etk_fail(e, ETK_E_INVALID, "an alternative of the limits is empty or too long");
  const char *dots = strstr(whole, "..");
  if (!dots) {
    etk_status status = parse_bound(e, kind, whole, &out->low, &out->real_low);
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
  if (out->has_low) status = parse_bound(e, kind, low, &out->low, &out->real_low);
  if (!status && out->has_high) status = parse_bound(e, kind, high, &out->high, &out->real_high);
  if (status) return status;
  bool reversed = kind == ETK_KIND_real ? out->real_low > out->real_high : out->low > out->high;
  if (out->has_low && out->has_high && reversed) return etk_fail(e, ETK_E_INVALID, "'%s' ends before it begins", whole);
  return ETK_OK;
}

/* The next alternative of `limits`, cut at '|' that no backslash precedes; false at the end. */
static bool next_alternative(const char **cursor, const char **start, size_t *size) {
  const char *p = *cursor;
  if (!p) return false;
  *start = p;
  while (*p && *p != '|') p += p[0] == '\\' && p[1] ? 2 : 1;
  *size = (size_t)(p - *start);
  *cursor = *p ? p + 1 : NULL;
  return true;
}

/* -1: below, 1: above, 0: inside. */
static int compare_range(const struct range *range, uint32_t kind, int64_t integer, double real) {
  if (kind == ETK_KIND_real) {
    if (range->has_low && (real < range->real_low || (range->low_open && real == range->real_low))) return -1;
    return range->has_high && (real > range->real_high || (range->high_open && real == range->real_high)) ? 1 : 0;
  }
  if (range->has_low && (integer < range->low || (range->low_open && integer == range->low))) return -1;
  return range->has_high && (integer > range->high || (range->high_open && integer == range->high)) ? 1 : 0;
}

/* `shown`: the value as the message says it; `noun`: "" or "length ". */
static etk_status check_number(etk_error *e, uint32_t kind, const char *limits, int64_t integer, double real, const char *shown, const char *noun,
                               const char *what) {
  if (!*limits) return ETK_OK;
  struct range range = {0};
  const char *cursor = limits, *start;
  size_t size, alternatives = 0;
  int side = 0;
  while (next_alternative(&cursor, &start, &size)) {
    etk_status status = parse_range(e, &range, kind, start, size);
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

/* Resolves \t \n \| \\ of one choice. */
static bool unescape(char *out, size_t out_size, const char *text, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (c == '\\' && i + 1 < size) {
      c = text[++i];
      c = c == 't' ? '\t' : c == 'n' ? '\n' : c;
    }
    if (n + 1 >= out_size) return false;
    out[n++] = c;
  }
  out[n] = 0;
  return true;
}

#define CHOICE_SIZE 128
#define CHOICES_MAX 64

static etk_status check_choice(etk_error *e, const char *limits, const char *text, const char *what) {
  char words[CHOICES_MAX][CHOICE_SIZE];
  const char *pointers[CHOICES_MAX];
  size_t count = 0, size;
  const char *cursor = limits, *start;
  while (count < CHOICES_MAX && next_alternative(&cursor, &start, &size)) {
    if (!unescape(words[count], CHOICE_SIZE, start, size)) continue;
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

etk_status limits_check(etk_error *e, uint32_t kind, const char *limits) {
  kind = item_kind(kind);
  if (kind == ETK_KIND_choice && !*limits) return etk_fail(e, ETK_E_INVALID, "a choice needs its words as limits, like \"linear|cosine\"");
  if (!*limits) return ETK_OK;
  if (kind == ETK_KIND_flag) return etk_fail(e, ETK_E_INVALID, "a flag takes no limits, but has '%s'", limits);
  if (kind == ETK_KIND_path) {
    static const char *const words[] = {"exists", "file", "dir", "new"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
      if (!strcmp(limits, words[i])) return ETK_OK;
    return etk_fail(e, ETK_E_INVALID, "'%s' is not a limit of paths (exists, file, dir, new)", limits);
  }
  const char *cursor = limits, *start;
  size_t size, count = 0;
  char word[CHOICE_SIZE];
  while (next_alternative(&cursor, &start, &size)) {
    if (kind == ETK_KIND_choice) {
      if (!size || !unescape(word, sizeof word, start, size))
        return etk_fail(e, ETK_E_INVALID, "a word of the choice '%s' is empty or longer than %d bytes", limits, CHOICE_SIZE - 1);
      if (++count > CHOICES_MAX) return etk_fail(e, ETK_E_INVALID, "a choice has more than %d words", CHOICES_MAX);
      continue;
    }
    struct range range;
    etk_status status = parse_range(e, &range, kind, start, size);
    if (status) return etk_error_while(e, status, "limits '%s'", limits);
  }
  return ETK_OK;
}

/* ---- parsing ---- */

static etk_status no_memory(etk_error *e, const char *what) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", what); }

/* One item that is not a list: fills the field of its kind. */
static etk_status parse_item(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text,
                             const char *what) {
  etk_status status = ETK_OK;
  bool flag = false;
  char length[48];
  switch (kind) {
  case ETK_KIND_int:
  case ETK_KIND_size:
  case ETK_KIND_duration:
  case ETK_KIND_real:
    status = parse_bound(e, kind, text, &out->integer, &out->real);
    break;
  case ETK_KIND_flag:
    status = etk_parse_flag(e, &flag, text);
    out->integer = flag;
    break;
  case ETK_KIND_text: case ETK_KIND_path: case ETK_KIND_choice: case ETK_KIND_secret:
    out->text = etk_arena_strdup(arena, text);
    if (!out->text) return no_memory(e, what);
    break;
  default: return etk_fail(e, ETK_E_UNSUPPORTED, "%s: kind %u is not known to this host", what, (unsigned)kind);
  }
  if (status == ETK_E_NO_MEMORY) return status;
  if (status) {
    /* Parsers say what is wrong; here we say where, and what would be right. */
    char seen[ETK_ERROR_SIZE];
    snprintf(seen, sizeof seen, "%s", e && e->message[0] ? e->message : "not a value of its kind");
    return etk_fail(e, ETK_E_USAGE, "%s: %s%s%s%s", what, seen, *limits ? " (allowed: " : "", limits, *limits ? ")" : "");
  }
  switch (kind) {
  case ETK_KIND_choice: return check_choice(e, limits, text, what);
  case ETK_KIND_text: case ETK_KIND_secret:
    snprintf(length, sizeof length, "its length of %zu bytes", strlen(text));
    return check_number(e, ETK_KIND_int, limits, (int64_t)strlen(text), 0, length, "lengths", what);
  case ETK_KIND_path: return *text ? ETK_OK : etk_fail(e, ETK_E_USAGE, "%s: an empty path names nothing", what);
  case ETK_KIND_flag: return ETK_OK;
  default: return check_number(e, kind, limits, out->integer, out->real, text, "", what);
  }
}

/* Items of a list, cut at ',' with blanks around each taken off. */
struct items {
  const char **texts;
  size_t count;
};

static etk_status split_items(etk_error *e, struct items *out, etk_arena *arena, const char *const *texts, size_t count, bool split,
                              const char *what) {
  size_t most = 0;
  for (size_t i = 0; i < count; i++) {
    most++;
    for (const char *p = texts[i]; split && *p; p++) most += *p == ',';
  }
  *out = (struct items){etk_arena_array(arena, most ? most : 1, sizeof *out->texts), 0};
  if (!out->texts) return no_memory(e, what);
  for (size_t i = 0; i < count; i++) {
    const char *p = texts[i];
    if (!split) {
      out->texts[out->count++] = p;
      continue;
    }
    if (!*p) continue; /* "" is the empty list */
    for (;;) {
      size_t size = strcspn(p, ",");
      const char *start = p;
      size_t kept = size;
      while (kept && *start == ' ') start++, kept--;
      while (kept && start[kept - 1] == ' ') kept--;
      const char *item = etk_arena_strndup(arena, start, kept);
      if (!item) return no_memory(e, what);
      out->texts[out->count++] = item;
      if (!p[size]) break;
      p += size + 1;
    }
  }
  return ETK_OK;
}

static etk_status parse_list(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const struct items *items,
                             const char *what) {
  uint32_t list = value_list_kind(kind);
  size_t width = list == ETK_KIND_reals ? sizeof(double) : list == ETK_KIND_ints ? sizeof(int64_t) : sizeof(char *);
  void *array = etk_arena_array(arena, items->count ? items->count : 1, width);
  if (!array) return no_memory(e, what);
  for (size_t i = 0; i < items->count; i++) {
    char where[512];
    struct value one = {0};
    snprintf(where, sizeof where, "%s, item %zu", what, i + 1);
    etk_status status = parse_item(e, &one, arena, kind, limits, items->texts[i], items->count > 1 ? where : what);
    if (status) return status;
    if (list == ETK_KIND_ints) ((int64_t *)array)[i] = one.integer;
    else if (list == ETK_KIND_reals) ((double *)array)[i] = one.real;
    else ((const char **)array)[i] = one.text;
  }
  if (list == ETK_KIND_ints) out->ints = (struct etk_ints){array, items->count};
  else if (list == ETK_KIND_reals) out->reals = (struct etk_reals){array, items->count};
  else out->texts = (struct etk_texts){(const char *const *)array, items->count};
  return ETK_OK;
}

/* A key given twice keeps the last value, in the place of the first. */
static etk_status parse_map(etk_error *e, struct value *out, etk_arena *arena, const char *limits, const char *const *texts, size_t count,
                            const char *what) {
  const char **keys = etk_arena_array(arena, count ? count : 1, sizeof *keys), **values = etk_arena_array(arena, count ? count : 1, sizeof *values);
  if (!keys || !values) return no_memory(e, what);
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (!*texts[i] && count == 1) break; /* "" is the empty map */
    const char *equals = strchr(texts[i], '=');
    if (!equals || equals == texts[i]) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is not KEY=VALUE", what, texts[i]);
    struct value one = {0};
    const char *key = etk_arena_strndup(arena, texts[i], (size_t)(equals - texts[i]));
    if (!key) return no_memory(e, what);
    etk_status status = parse_item(e, &one, arena, ETK_KIND_text, limits, equals + 1, what);
    if (status) return status;
    size_t at = 0;
    while (at < used && strcmp(keys[at], key)) at++;
    keys[at] = key, values[at] = one.text;
    if (at == used) used++;
  }
  out->map = (struct etk_map_text){keys, values, used};
  return ETK_OK;
}

etk_status value_parse_all(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts,
                           size_t count, bool split, const char *what) {
  if (!limits) limits = "";
  if (kind == ETK_KIND_map) return parse_map(e, out, arena, limits, texts, count, what);
  if (!is_list(kind)) return parse_item(e, out, arena, kind, limits, count ? texts[count - 1] : "", what);
  struct items items;
  etk_status status = split_items(e, &items, arena, texts, count, split, what);
  return status ? status : parse_list(e, out, arena, item_kind(kind), limits, &items, what);
}

etk_status value_parse_many(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts,
                            size_t count, const char *what) {
  struct items items;
  etk_status status = split_items(e, &items, arena, texts, count, false, what);
  return status ? status : parse_list(e, out, arena, kind, limits ? limits : "", &items, what);
}

static etk_status check_path(etk_error *e, const char *limits, const char *path, const char *what) {
  bool there = etk_fs_exists(path), dir = there && etk_fs_is_dir(path);
  if (!strcmp(limits, "new")) {
    char *parent = etk_path_dir(path);
    if (!parent) return no_memory(e, what);
    etk_status status =
        etk_fs_is_dir(parent) ? ETK_OK : etk_fail(e, ETK_E_USAGE, "%s: the folder '%s' of '%s' does not exist; make it first", what, parent, path);
    etk_free(parent);
    return status;
  }
  if (!there) return etk_fail(e, ETK_E_USAGE, "%s: '%s' does not exist", what, path);
  if (!strcmp(limits, "file") && dir) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is a folder, a file is wanted", what, path);
  if (!strcmp(limits, "dir") && !dir) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is not a folder", what, path);
  return ETK_OK;
}

etk_status value_check_files(etk_error *e, uint32_t kind, const char *limits, const struct value *value, const char *what) {
  return kind == ETK_KIND_path && limits && *limits && value->text ? check_path(e, limits, value->text, what) : ETK_OK;
}

etk_status value_parse(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text, const char *what,
                       bool check_files) {
  etk_status status = value_parse_all(e, out, arena, kind, limits, &text, 1, true, what);
  return status || !check_files ? status : value_check_files(e, kind, limits, out, what);
}

/* ---- showing ---- */

static void show_size(etk_text *out, int64_t bytes) {
  static const struct { int shift; const char *unit; } units[] = {{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}};
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (bytes && bytes % ((int64_t)1 << units[i].shift) == 0) {
      etk_text_printf(out, "%" PRId64 "%s", bytes / ((int64_t)1 << units[i].shift), units[i].unit);
      return;
    }
  etk_text_printf(out, "%" PRId64, bytes);
}

static void show_duration(etk_text *out, int64_t ns) {
  static const struct {
    int64_t ns;
    const char *unit;
  } units[] = {{3600000000000, "h"}, {60000000000, "m"}, {1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
  if (!ns) etk_text_puts(out, "0s");
  for (size_t i = 0; ns && i < sizeof units / sizeof units[0]; i++)
    if (ns % units[i].ns == 0) {
      etk_text_printf(out, "%" PRId64 "%s", ns / units[i].ns, units[i].unit);
      return;
    }
}

void value_show(etk_text *out, uint32_t kind, const struct value *value) {
  if (kind == ETK_KIND_secret) {
    etk_text_puts(out, value->source == ETK_FROM_UNSET ? "(unset)" : "(set)");
    return;
  }
  if (value->source == ETK_FROM_UNSET) {
    etk_text_puts(out, "-");
    return;
  }
  switch (kind) {
  case ETK_KIND_int: etk_text_printf(out, "%" PRId64, value->integer); break;
  case ETK_KIND_real: etk_text_real(out, value->real); break;
  case ETK_KIND_flag: etk_text_puts(out, value->integer ? "yes" : "no"); break;
  case ETK_KIND_size: show_size(out, value->integer); break;
  case ETK_KIND_duration: show_duration(out, value->integer); break;
  case ETK_KIND_ints:
    for (size_t i = 0; i < value->ints.count; i++) etk_text_printf(out, "%s%" PRId64, i ? "," : "", value->ints.items[i]);
    break;
  case ETK_KIND_reals:
    for (size_t i = 0; i < value->reals.count; i++) {
      if (i) etk_text_putc(out, ',');
      etk_text_real(out, value->reals.items[i]);
    }
    break;
  case ETK_KIND_texts:
    for (size_t i = 0; i < value->texts.count; i++) etk_text_printf(out, "%s%s", i ? "," : "", value->texts.items[i]);
    break;
  case ETK_KIND_map:
    for (size_t i = 0; i < value->map.count; i++) etk_text_printf(out, "%s%s=%s", i ? " " : "", value->map.keys[i], value->map.values[i]);
    break;
  default: etk_text_puts(out, value->text ? value->text : ""); break;
  }
}

static void json_text(etk_text *out, const char *text) {
  if (text) etk_text_json(out, text, strlen(text));
  else etk_text_puts(out, "null");
}

void value_json(etk_text *out, uint32_t kind, const struct value *value) {
  if (kind == ETK_KIND_secret) {
    json_text(out, value->source == ETK_FROM_UNSET ? NULL : "(set)");
    return;
  }
  if (value->source == ETK_FROM_UNSET) {
    etk_text_puts(out, "null");
    return;
  }
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: etk_text_printf(out, "%" PRId64, value->integer); break;
  case ETK_KIND_real: etk_text_real(out, value->real); break;
  case ETK_KIND_duration: etk_text_real(out, (double)value->integer / 1e9); break;
  case ETK_KIND_flag: etk_text_puts(out, value->integer ? "true" : "false"); break;
  case ETK_KIND_ints:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->ints.count; i++) etk_text_printf(out, "%s%" PRId64, i ? "," : "", value->ints.items[i]);
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_reals:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->reals.count; i++) {
      if (i) etk_text_putc(out, ',');
      etk_text_real(out, value->reals.items[i]);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_texts:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->texts.count; i++) {
      if (i) etk_text_putc(out, ',');
      json_text(out, value->texts.items[i]);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_map:
    etk_text_putc(out, '{');
    for (size_t i = 0; i < value->map.count; i++) {
      if (i) etk_text_putc(out, ',');
      json_text(out, value->map.keys[i]);
      etk_text_putc(out, ':');
      json_text(out, value->map.values[i]);
    }
    etk_text_putc(out, '}');
    break;
  default: json_text(out, value->text); break;
  }
}

const char *source_name(int source) {
  static const char *const names[] = {"unset", "default", "profile", "config", "environment", "set", "command line"};
  return source >= 0 && (size_t)source < sizeof names / sizeof names[0] ? names[source] : "unset";
}
