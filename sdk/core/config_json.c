/* config_json.c: JSON by the letter of RFC 8259, with a position for every value (which is what jansson does not keep). */
#include "config_internal.h"
#include <math.h>

typedef struct scanner {
  etk_error *e;
  etk_config *config;
  const char *p, *end;
  etk__place place;
  int depth;
  bool last_wins; /* of equal keys */
  char *scratch;  /* a string while its escapes are resolved */
  size_t scratch_size;
} scanner;

static etk_status fail_at(scanner *s, const char *at, const char *what) {
  etk__place_find(&s->place, at);
  return etk__config_fail(s->e, s->config, ETK_E_FORMAT, s->place.line, s->place.column, "%s", what);
}

/* "<wanted>, found 'x'" */
static etk_status unexpected(scanner *s, const char *wanted) {
  char what[160], seen[40];
  uint32_t code_point;
  bool control = s->p < s->end && etk_utf8_decode(&code_point, s->p, 1) && code_point < 0x20;
  if (control) snprintf(seen, sizeof seen, "byte 0x%02x", (unsigned)code_point); /* a line end inside a string is a byte like others */
  else etk__config_seen(seen, sizeof seen, s->p, s->end);
  snprintf(what, sizeof what, "%s, found %s", wanted, seen);
  return fail_at(s, s->p, what);
}

static void skip_space(scanner *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static int hex4(const scanner *s, const char *p) {
  int value = 0;
  if (s->end - p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    const char *digits = "0123456789abcdef", *found = p[i] ? strchr(digits, p[i] >= 'A' && p[i] <= 'F' ? p[i] | 0x20 : p[i]) : NULL;
    if (!found) return -1;
    value = value << 4 | (int)(found - digits);
  }
  return value;
}

/* At the byte after a backslash; appends to out and moves on. */
static etk_status read_escape(scanner *s, char *out, size_t *used) {
  static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
  if (s->p == s->end) return unexpected(s, "a letter is wanted after '\\'");
  if (*s->p != 'u') {
    const char *found = *s->p ? strchr(letters, *s->p) : NULL;
    if (!found) return unexpected(s, "one of \" \\ / b f n r t u is wanted after '\\'");
    out[(*used)++] = bytes[found - letters];
    s->p++;
    return ETK_OK;
  }
  const char *start = s->p - 1;
  int unit = hex4(s, s->p + 1);
  if (unit < 0) return fail_at(s, start, "four hexadecimal digits are wanted after '\\u'");
  s->p += 5;
  uint32_t code_point = (uint32_t)unit;
  if (unit >= 0xD800 && unit < 0xDC00) {
    int low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s, s->p + 2) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return fail_at(s, start, "half of a surrogate pair stands alone");
    code_point = 0x10000 + (((uint32_t)unit & 0x3FF) << 10 | ((uint32_t)low & 0x3FF));
    s->p += 6;
  }
  size_t n = etk_utf8_encode(out + *used, code_point);
  if (n == 0) return fail_at(s, start, "half of a surrogate pair stands alone");
  *used += n;
  return ETK_OK;
}

/* At the opening quote. The text goes to the arena. */
static etk_status read_string(scanner *s, const char **text, size_t *size) {
  const char *start = ++s->p;
  while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20 && (unsigned char)*s->p < 0x80) s->p++;
  if (s->p < s->end && *s->p == '"') { /* nothing to resolve */
    *size = (size_t)(s->p++ - start);
    *text = etk_arena_strndup(&s->config->arena, start, *size);
    return *text ? ETK_OK : etk__config_no_memory(s->e, s->config);
  }
  const char *close = s->p; /* no string is longer resolved than written */
  while (close < s->end && *close != '"') close += *close == '\\' && close + 1 < s->end ? 2 : 1;
  size_t room = (size_t)(close - start) + 4;
  if (room > s->scratch_size) {
    char *grown = etk_realloc(s->scratch, room, 1);
    if (!grown) return etk__config_no_memory(s->e, s->config);
    s->scratch = grown;
    s->scratch_size = room;
  }
  size_t used = (size_t)(s->p - start);
  memcpy(s->scratch, start, used);
  while (s->p < s->end && *s->p != '"') {
    uint32_t code_point;
    size_t n = etk_utf8_decode(&code_point, s->p, (size_t)(s->end - s->p));
    if (n == 0) return fail_at(s, s->p, "these bytes are not UTF-8");
    if (code_point < 0x20) return unexpected(s, "control characters in a string are written as escapes");
    if (code_point == '\\') {
      s->p++;
      etk_status status = read_escape(s, s->scratch, &used);
      if (status) return status;
      continue;
    }
    memcpy(s->scratch + used, s->p, n);
    used += n;
    s->p += n;
  }
  if (s->p == s->end) return fail_at(s, start - 1, "this string has no closing '\"'");
  s->p++;
  *size = used;
  *text = etk_arena_strndup(&s->config->arena, s->scratch, used);
  return *text ? ETK_OK : etk__config_no_memory(s->e, s->config);
}

static size_t digits(scanner *s) {
  const char *start = s->p;
  while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
  return (size_t)(s->p - start);
}

static etk_status read_number(scanner *s, etk_config_node *node) {
  const char *start = s->p;
  bool integer = true;
  if (*s->p == '-') s->p++;
  const char *first = s->p;
  size_t n = digits(s);
  if (n == 0) return unexpected(s, "a digit is wanted after '-'");
  if (n > 1 && *first == '0') return fail_at(s, first, "a number does not begin with 0");
  if (s->p < s->end && *s->p == '.') {
    integer = false;
    s->p++;
    if (digits(s) == 0) return unexpected(s, "a digit is wanted after '.'");
  }
  if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
    integer = false;
    s->p++;
    if (s->p < s->end && (*s->p == '-' || *s->p == '+')) s->p++;
    if (digits(s) == 0) return unexpected(s, "a digit is wanted in the exponent");
  }
  node->text_size = (size_t)(s->p - start);
  node->text = etk_arena_strndup(&s->config->arena, start, node->text_size);
  if (!node->text) return etk__config_no_memory(s->e, s->config);
  node->kind = ETK_CONFIG_INT;
  if (integer && etk_parse_int(NULL, &node->integer, node->text) == ETK_OK) {
    node->real = (double)node->integer;
    return ETK_OK;
  }
  node->kind = ETK_CONFIG_REAL; /* also a whole number beyond 64 bits */
  node->real = strtod(node->text, NULL);
  return isfinite(node->real) ? ETK_OK : fail_at(s, start, "this number is too large");
}

static etk_status read_word(scanner *s, etk_config_node *node) {
  static const struct {
    const char *word;
    etk_config_kind kind;
    bool flag;
  } words[] = {{"null", ETK_CONFIG_NULL, false}, {"true", ETK_CONFIG_FLAG, true}, {"false", ETK_CONFIG_FLAG, false}};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    size_t n = strlen(words[i].word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, words[i].word, n) != 0) continue;
    s->p += n;
    node->kind = words[i].kind;
    node->flag = words[i].flag;
    node->text = words[i].word;
    node->text_size = n;
    return ETK_OK;
  }
  return unexpected(s, "a value is wanted (text in double quotes, a number, true, false, null, [ or {)");
}

static etk_status read_value(scanner *s, etk__node **out);

static etk_status read_children(scanner *s, etk__node *parent) {
  bool map = parent->node.kind == ETK_CONFIG_MAP;
  char close = map ? '}' : ']';
  s->p++;
  skip_space(s);
  if (s->p < s->end && *s->p == close) {
    s->p++;
    return ETK_OK;
  }
  for (;;) {
    const char *key = NULL;
    size_t key_size = 0;
    int key_line = 0, key_column = 0;
    etk_status status = ETK_OK;
    skip_space(s);
    if (map) {
      if (s->p == s->end || *s->p != '"') return unexpected(s, "a key in double quotes is wanted");
      etk__place_find(&s->place, s->p);
      key_line = s->place.line, key_column = s->place.column;
      status = read_string(s, &key, &key_size);
      if (status) return status;
      skip_space(s);
      if (s->p == s->end || *s->p != ':') return unexpected(s, "':' is wanted after a key");
      s->p++;
      skip_space(s);
    }
    etk__node *child;
    status = read_value(s, &child);
    if (status) return status;
    child->node.key = key;
    child->node.key_size = key_size;
    child->node.key_line = key_line;
    child->node.key_column = key_column;
    status = etk__config_append(s->e, s->config, parent, child);
    if (status) return status;
    skip_space(s);
    if (s->p < s->end && *s->p == close) break;
    if (s->p == s->end || *s->p != ',') return unexpected(s, map ? "',' or '}' is wanted" : "',' or ']' is wanted");
    s->p++;
  }
  s->p++;
  return map ? etk__config_check_keys(s->e, s->config, parent, s->last_wins) : ETK_OK;
}

static etk_status read_value(scanner *s, etk__node **out) {
  etk__place_find(&s->place, s->p);
  etk__node *node = *out = etk__config_node(s->config, ETK_CONFIG_TEXT, s->place.line, s->place.column);
  if (!node) return etk__config_no_memory(s->e, s->config);
  char c = s->p < s->end ? *s->p : 0;
  if (c == '{' || c == '[') {
    if (s->depth == ETK__CONFIG_DEPTH)
      return etk__config_fail(s->e, s->config, ETK_E_UNSUPPORTED, s->place.line, s->place.column, "nested deeper than %d levels", ETK__CONFIG_DEPTH);
    node->node.kind = c == '{' ? ETK_CONFIG_MAP : ETK_CONFIG_LIST;
    node->height = 1;
    s->depth++;
    etk_status status = read_children(s, node);
    s->depth--;
    return status;
  }
  if (c == '"') {
    node->node.quoted = true;
    return read_string(s, &node->node.text, &node->node.text_size);
  }
  if (c == '-' || (c >= '0' && c <= '9')) return read_number(s, &node->node);
  return read_word(s, &node->node);
}

etk_status etk__config_read_json(etk_error *e, etk_config *config, const char *bytes, size_t size, bool last_wins) {
  scanner s = {.e = e, .config = config, .p = bytes, .end = bytes + size, .last_wins = last_wins};
  if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) s.p += 3; /* a byte order mark may be passed over (section 8.1) */
  etk__place_init(&s.place, s.p);
  skip_space(&s);
  etk__node *root = NULL;
  etk_status status = read_value(&s, &root);
  if (!status) {
    skip_space(&s);
    if (s.p < s.end) status = unexpected(&s, "nothing is wanted after the value");
  }
  etk_free(s.scratch);
  if (!status) config->root = &root->node;
  return status;
}
