/* Fuzz target: limits and values. The first byte picks the kind; then come the limits, a newline, and the text of a value. What is accepted obeys the limits, reads
 * back from how it is shown, and, as the default of an option, from its template in every format. */
#include "etk/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(condition)                \
  do {                                   \
    if (!(condition)) __builtin_trap();  \
  } while (0)

/* ---- limits, read again by the plainest means ---- */

static etk_status number(uint32_t kind, const char *text, double *out) {
  int64_t integer = 0;
  etk_status status = kind == ETK_KIND_real       ? etk_parse_real(NULL, out, text)
                      : kind == ETK_KIND_size     ? etk_parse_size(NULL, &integer, text)
                      : kind == ETK_KIND_duration ? etk_parse_duration(NULL, &integer, text)
                                                  : etk_parse_int(NULL, &integer, text);
  if (kind != ETK_KIND_real) *out = (double)integer;
  return status;
}

static void trim(char *text) {
  size_t size = strlen(text), blanks = strspn(text, " ");
  while (size > blanks && text[size - 1] == ' ') size--;
  text[size] = 0;
  memmove(text, text + blanks, size - blanks + 1);
}

/* In doubles: values near a bound beyond 2^53 are let pass. */
static bool inside(uint32_t kind, const char *limits, double value) {
  char part[4096];
  if (!*limits) return true;
  for (const char *p = limits;; p++) {
    size_t size = strcspn(p, "|");
    snprintf(part, sizeof part, "%.*s", (int)size, p);
    char *dots = strstr(part, "..");
    double low = 0, high = 0;
    if (!dots) {
      trim(part);
      if (!number(kind, part, &low) && low == value) return true;
    } else {
      *dots = 0;
      char *from = part, *to = dots + 2;
      bool from_open = dots > part && dots[-1] == '<', to_open = *to == '<';
      if (from_open) dots[-1] = 0;
      to += to_open;
      trim(from), trim(to);
      bool fits = true;
      if (*from) fits = !number(kind, from, &low) && (from_open ? value > low || low > 0x1p53 || low < -0x1p53 : value >= low);
      if (fits && *to) fits = !number(kind, to, &high) && (to_open ? value < high || high > 0x1p53 || high < -0x1p53 : value <= high);
      if (fits) return true;
    }
    p += size;
    if (!*p) return false;
  }
}

static void obeys(uint32_t kind, const char *limits, const etk_value *v) {
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: case ETK_KIND_duration: DEMAND(inside(kind, limits, (double)v->integer)); break;
  case ETK_KIND_real: DEMAND(inside(kind, limits, v->real)); break;
  case ETK_KIND_text: case ETK_KIND_secret: DEMAND(inside(ETK_KIND_int, limits, (double)strlen(v->text))); break;
  case ETK_KIND_ints:
    for (size_t i = 0; i < v->ints.count; i++) DEMAND(inside(ETK_KIND_int, limits, (double)v->ints.items[i]));
    break;
  case ETK_KIND_reals:
    for (size_t i = 0; i < v->reals.count; i++) DEMAND(inside(ETK_KIND_real, limits, v->reals.items[i]));
    break;
  case ETK_KIND_texts:
    for (size_t i = 0; i < v->texts.count; i++) DEMAND(inside(ETK_KIND_int, limits, (double)strlen(v->texts.items[i])));
    break;
  case ETK_KIND_map:
    for (size_t i = 0; i < v->map.count; i++) DEMAND(inside(ETK_KIND_int, limits, (double)strlen(v->map.values[i])));
    break;
  default: break;
  }
}

/* ---- equality ---- */

static bool same(uint32_t kind, const etk_value *a, const etk_value *b) {
  etk_text x = ETK_TEXT_INIT, y = ETK_TEXT_INIT;
  etk_value_json(&x, kind, a);
  etk_value_json(&y, kind, b);
  bool equal = x.size == y.size && !memcmp(x.data, y.data, x.size);
  if (kind == ETK_KIND_int || kind == ETK_KIND_size || kind == ETK_KIND_duration) equal = a->integer == b->integer;
  etk_text_free(&x);
  etk_text_free(&y);
  return equal;
}

static void shown_reads_back(uint32_t kind, const char *limits, const etk_value *value, etk_arena *arena) {
  etk_text shown = ETK_TEXT_INIT;
  etk_value again = {.source = ETK_FROM_SET};
  etk_value_show(&shown, kind, value);
  bool edge = kind == ETK_KIND_map || kind == ETK_KIND_secret; /* several pairs are shown in one line, secrets not at all */
  for (size_t i = 0; kind == ETK_KIND_texts && i < value->texts.count; i++) {
    const char *item = value->texts.items[i];
    size_t n = strlen(item);
    edge = edge || (n && (item[0] == ' ' || item[n - 1] == ' ')) || (value->texts.count == 1 && !n);
  }
  if (!edge) DEMAND(!etk_value_parse(NULL, &again, arena, kind, limits, shown.size ? shown.data : "", "again", false) && same(kind, value, &again));
  etk_text_free(&shown);
}

/* ---- as the default of an option ---- */

#define ONE(OPT) OPT(map, x, "-", "", "a.b", "", 0, "")
ETK_OPTIONS(one, ONE)
struct any { /* large enough for every kind, at the place of the map */
  uint32_t struct_size, reserved;
  union {
    int64_t integer;
    double real;
    bool flag;
    const char *text;
    struct etk_ints ints;
    struct etk_reals reals;
    struct etk_texts texts;
    struct etk_map_text map;
  } x;
};

static etk_value value_of(uint32_t kind, const struct any *any) {
  etk_value v = {.source = ETK_FROM_SET};
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: case ETK_KIND_duration: v.integer = any->x.integer; break;
  case ETK_KIND_flag: v.integer = any->x.flag; break;
  case ETK_KIND_real: v.real = any->x.real; break;
  case ETK_KIND_ints: v.ints = any->x.ints; break;
  case ETK_KIND_reals: v.reals = any->x.reals; break;
  case ETK_KIND_texts: v.texts = any->x.texts; break;
  case ETK_KIND_map: v.map = any->x.map; break;
  default: v.text = any->x.text; break;
  }
  return v;
}

static void documents(uint32_t kind, const char *limits, const char *text, const etk_value *value) {
  static const uint32_t sizes[] = {0, 8, 8, 1, sizeof(char *), sizeof(char *), sizeof(char *), sizeof(char *), 8, 8,
                                   sizeof(struct etk_ints), sizeof(struct etk_reals), sizeof(struct etk_texts), sizeof(struct etk_map_text)};
  etk_arena arena = ETK_ARENA_INIT;
  etk_text escaped = ETK_TEXT_INIT, out = ETK_TEXT_INIT;
  for (const char *p = text; *p; p++) {
    if (*p == '\\' || *p == '\n' || *p == '\t') etk_text_putc(&escaped, '\\');
    etk_text_putc(&escaped, *p == '\n' ? 'n' : *p == '\t' ? 't' : *p);
  }
  const char *default_text = escaped.size ? escaped.data : "";
  etk_option_row row = one_table.rows[0];
  row.kind = kind, row.size = sizes[kind], row.default_text = default_text, row.limits = kind == ETK_KIND_path ? "" : limits, row.help = default_text;
  etk_option_table table = one_table;
  table.rows = &row, table.summary = default_text, table.struct_size = sizeof(struct any);
  static const etk_config_format formats[] = {ETK_CONFIG_YAML, ETK_CONFIG_TOML, ETK_CONFIG_JSON};
  for (size_t i = 0; i < 3; i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_config *config = NULL;
    struct any any;
    DEMAND(!etk_options_template(&e, &out, &table, formats[i], true));
    DEMAND(!etk_config_parse(&e, &config, "template", out.data, out.size, formats[i]));
    DEMAND(!etk_options_load(&e, &any, &arena, &table, config, NULL));
    etk_value loaded = value_of(kind, &any);
    DEMAND(same(kind, value, &loaded));
    DEMAND(strcmp(default_text, "-") == 0 || etk_config_find(etk_config_root(config), "a.b.x"));
    etk_config_free(config);
    etk_text_free(&out);
  }
  etk_error e = ETK_ERROR_INIT;
  DEMAND(!etk_options_schema(&e, &out, &table, NULL));
  etk_text_free(&out);
  DEMAND(!etk_options_markdown(&e, &out, &table));
  etk_text_free(&out);
  etk_text_free(&escaped);
  etk_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || size > 4000 || memchr(data, 0, size)) return 0;
  char *input = etk_strndup((const char *)data + 1, size - 1), *text = input ? strchr(input, '\n') : NULL;
  uint32_t kind = 1 + data[0] % ETK_KIND_map;
  if (text) {
    *text++ = 0;
    etk_error e = ETK_ERROR_INIT;
    etk_arena arena = ETK_ARENA_INIT;
    etk_text words = ETK_TEXT_INIT;
    etk_value value = {.source = ETK_FROM_SET};
    bool sound = !etk_limits_check(&e, kind, input);
    DEMAND(sound || e.message[0]);
    etk_limits_words(&words, kind, input);
    etk_text_free(&words);
    bool taken = !etk_value_parse(&e, &value, &arena, kind, input, text, "--x", false);
    DEMAND(taken || e.message[0]);
    if (sound && taken) {
      bool plain = etk_utf8_valid(text, strlen(text)) && etk_utf8_valid(input, strlen(input));
      obeys(kind, input, &value);
      shown_reads_back(kind, input, &value, &arena);
      if (plain && kind != ETK_KIND_secret && strcmp(text, "-")) documents(kind, input, text, &value);
    }
    etk_arena_fini(&arena);
  }
  etk_free(input);
  return 0;
}
