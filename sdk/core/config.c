/* config.c: loading, finding and typed reads. */
#include "config_internal.h"
#include "etk/fs.h"
#include <math.h>

void etk_config_free(etk_config *config) {
  if (!config) return;
  etk_arena_fini(&config->arena);
  etk_free(config->name);
  etk_free(config);
}

const etk_config_node *etk_config_root(const etk_config *config) { return config->root; }
const char *etk_config_name(const etk_config *config) { return config->name; }

const char *etk_config_origin(const etk_config *config, const etk_config_node *node) {
  const char *origin = node ? ((const etk__node *)node)->origin : NULL;
  return origin ? origin : config->name;
}

static bool ends_with(const char *name, const char *end) {
  size_t n = strlen(name), m = strlen(end);
  return n >= m && strcmp(name + n - m, end) == 0;
}

etk_config_format etk__config_format(const char *name) {
  if (ends_with(name, ".json")) return ETK_CONFIG_JSON;
  return ends_with(name, ".toml") ? ETK_CONFIG_TOML : ETK_CONFIG_YAML;
}

static etk_status read_as(etk_error *e, etk_config *config, const char *bytes, size_t size, etk_config_format format) {
  switch (format) {
  case ETK_CONFIG_JSON:
  case ETK_CONFIG_JSON_ANY:
    return etk__config_read_json(e, config, bytes, size, format == ETK_CONFIG_JSON_ANY);
  case ETK_CONFIG_TOML:
    return etk__config_read_toml(e, config, bytes, size);
  default:
    return etk__config_read_yaml(e, config, bytes, size);
  }
}

etk_status etk_config_parse(etk_error *e, etk_config **out, const char *name, const char *bytes, size_t size, etk_config_format format) {
  if (size > ETK__CONFIG_TEXT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "'%s' has %zu bytes; a configuration has at most %d", name, size, (int)ETK__CONFIG_TEXT);
  etk_config *config;
  etk_status status = etk__config_create(e, &config, name, size);
  if (status) return status;
  status = read_as(e, config, bytes, size, format == ETK_CONFIG_AUTO ? etk__config_format(name) : format);
  if (status) {
    etk_config_free(config);
    return status;
  }
  *out = config;
  return ETK_OK;
}

etk_status etk_config_load(etk_error *e, etk_config **out, const char *path) {
  char *bytes;
  size_t size;
  etk_status status = etk_fs_read(e, &bytes, &size, path, ETK__CONFIG_TEXT);
  if (status) return status;
  status = etk_config_parse(e, out, path, bytes, size, ETK_CONFIG_AUTO);
  etk_free(bytes);
  return status;
}

enum { EXACT, DASHES, CASES };

static char folded(char c, int how) {
  if (how >= DASHES && c == '-') return '_';
  return how >= CASES && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool equal_key(const etk_config_node *node, const char *key, size_t size, int how) {
  if (node->key_size != size) return false;
  if (how == EXACT) return memcmp(node->key, key, size) == 0;
  for (size_t i = 0; i < size; i++)
    if (folded(node->key[i], how) != folded(key[i], how)) return false;
  return true;
}

/* The key as spelt comes before one that differs: a vocabulary may hold both. */
const etk_config_node *etk__config_find_child(const etk_config_node *map, const char *key, size_t size, bool any_case) {
  if (!map || map->kind != ETK_CONFIG_MAP) return NULL;
  for (int how = EXACT; how <= (any_case ? CASES : DASHES); how++)
    for (const etk_config_node *child = map->first; child; child = child->next)
      if (equal_key(child, key, size, how)) return child;
  return NULL;
}

const etk_config_node *etk_config_child(const etk_config_node *map, const char *key) { return etk__config_find_child(map, key, strlen(key), false); }

const etk_config_node *etk__config_find_item(const etk_config_node *list, const char *index, size_t size) {
  size_t wanted = 0;
  if (size == 0 || size > 9 || (size > 1 && *index == '0')) return NULL;
  for (size_t i = 0; i < size; i++) {
    if (index[i] < '0' || index[i] > '9') return NULL;
    wanted = wanted * 10 + (size_t)(index[i] - '0');
  }
  const etk_config_node *item = list->first;
  while (item && wanted-- > 0) item = item->next;
  return item;
}

const etk_config_node *etk_config_find(const etk_config_node *node, const char *path) {
  while (node && *path) {
    size_t n = strcspn(path, ".");
    if (node->kind == ETK_CONFIG_LIST) node = etk__config_find_item(node, path, n);
    else node = etk__config_find_child(node, path, n, false);
    path += n;
    if (*path != '.') continue;
    path++;
    if (!*path) return NULL; /* "a." */
  }
  return node;
}

const char *etk__config_kind_name(etk_config_kind kind) {
  static const char *const names[] = {
      [ETK_CONFIG_NULL] = "null", [ETK_CONFIG_FLAG] = "true or false", [ETK_CONFIG_INT] = "a whole number", [ETK_CONFIG_REAL] = "a number",
      [ETK_CONFIG_TEXT] = "text", [ETK_CONFIG_LIST] = "a list",        [ETK_CONFIG_MAP] = "a map",          [ETK_CONFIG_TIME] = "a date or time",
  };
  return names[kind];
}

/* "train.yaml:3:7: 'epochs' is text ('three'), a whole number is wanted" */
static etk_status wrong_kind(etk_error *e, const etk_config *config, const etk_config_node *node, etk_config_kind wanted, const char *hint) {
  char seen[80] = "";
  if (node->text) snprintf(seen, sizeof seen, " ('%.60s%s')", node->text, node->text_size > 60 ? "…" : "");
  return etk__config_fail_at(e, config, ETK_E_INVALID, node, "'%s' is %s%s, %s is wanted%s", node->key, etk__config_kind_name(node->kind), seen,
                             etk__config_kind_name(wanted), hint);
}

/* The child to read, or NULL: missing, or null, which is the way to leave a value unset. */
static const etk_config_node *present(const etk_config_node *map, const char *key) {
  const etk_config_node *node = etk_config_child(map, key);
  return node && node->kind != ETK_CONFIG_NULL ? node : NULL;
}

etk_status etk_config_get_int(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, int64_t *out) {
  const etk_config_node *node = present(map, key);
  if (!node) return ETK_OK;
  if (node->kind == ETK_CONFIG_INT) *out = node->integer;
  else if (node->kind == ETK_CONFIG_REAL && fabs(node->real) <= 0x1p53 && node->real == floor(node->real)) *out = (int64_t)node->real; /* 1e3 */
  else return wrong_kind(e, config, node, ETK_CONFIG_INT, "");
  return ETK_OK;
}

etk_status etk_config_get_real(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, double *out) {
  const etk_config_node *node = present(map, key);
  if (!node) return ETK_OK;
  if (node->kind != ETK_CONFIG_REAL && node->kind != ETK_CONFIG_INT) return wrong_kind(e, config, node, ETK_CONFIG_REAL, "");
  *out = node->real;
  return ETK_OK;
}

etk_status etk_config_get_flag(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, bool *out) {
  const etk_config_node *node = present(map, key);
  if (!node) return ETK_OK;
  bool known;
  bool old_style = node->kind == ETK_CONFIG_TEXT && !node->quoted && etk_parse_flag(NULL, &known, node->text) == ETK_OK;
  if (node->kind != ETK_CONFIG_FLAG)
    return wrong_kind(e, config, node, ETK_CONFIG_FLAG, old_style ? " (in YAML 1.2 yes, no, on and off are text)" : "");
  *out = node->flag;
  return ETK_OK;
}

etk_status etk_config_get_text(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, const char **out) {
  const etk_config_node *node = present(map, key);
  if (!node) return ETK_OK;
  if (node->kind != ETK_CONFIG_TEXT) return wrong_kind(e, config, node, ETK_CONFIG_TEXT, node->text ? " (put it in quotes)" : "");
  if (strlen(node->text) != node->text_size) return etk__config_fail_at(e, config, ETK_E_INVALID, node, "'%s' holds a NUL character", node->key);
  *out = node->text;
  return ETK_OK;
}
