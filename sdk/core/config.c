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

static bool names_json(const char *name) {
  size_t n = strlen(name);
  return n >= 5 && strcmp(name + n - 5, ".json") == 0;
}

etk_status etk_config_parse(etk_error *e, etk_config **out, const char *name, const char *bytes, size_t size, etk_config_format format) {
  if (size > ETK__CONFIG_TEXT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "'%s' has %zu bytes; a configuration has at most %d", name, size, (int)ETK__CONFIG_TEXT);
  etk_config *config = etk_calloc(1, sizeof *config);
  if (config) config->name = etk_strdup(name);
  if (!config || !config->name) {
    etk_config_free(config);
    return etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", name);
  }
  if (size < 4096) config->arena.block_size = 4096; /* most files are small, and the host reads some at start-up */
  bool json = format == ETK_CONFIG_JSON || (format == ETK_CONFIG_AUTO && names_json(name));
  etk_status status = json ? etk__config_read_json(e, config, bytes, size) : etk__config_read_yaml(e, config, bytes, size);
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

static bool equal_key(const etk_config_node *node, const char *key, size_t size, bool exact) {
  if (node->key_size != size) return false;
  if (exact) return memcmp(node->key, key, size) == 0;
  for (size_t i = 0; i < size; i++) {
    char a = node->key[i] == '-' ? '_' : node->key[i], b = key[i] == '-' ? '_' : key[i];
    if (a != b) return false;
  }
  return true;
}

/* The key as spelt comes before one that differs in '-' and '_': a vocabulary may hold both. */
static const etk_config_node *find_child(const etk_config_node *map, const char *key, size_t size) {
  if (!map || map->kind != ETK_CONFIG_MAP) return NULL;
  for (int exact = 1; exact >= 0; exact--)
    for (const etk_config_node *child = map->first; child; child = child->next)
      if (equal_key(child, key, size, exact)) return child;
  return NULL;
}

const etk_config_node *etk_config_child(const etk_config_node *map, const char *key) { return find_child(map, key, strlen(key)); }

static const etk_config_node *find_item(const etk_config_node *list, const char *index, size_t size) {
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
    if (node->kind == ETK_CONFIG_LIST) node = find_item(node, path, n);
    else node = find_child(node, path, n);
    path += n;
    if (*path != '.') continue;
    path++;
    if (!*path) return NULL; /* "a." */
  }
  return node;
}

static const char *const kind_names[] = {
    [ETK_CONFIG_NULL] = "null", [ETK_CONFIG_FLAG] = "true or false", [ETK_CONFIG_INT] = "a whole number", [ETK_CONFIG_REAL] = "a number",
    [ETK_CONFIG_TEXT] = "text", [ETK_CONFIG_LIST] = "a list",        [ETK_CONFIG_MAP] = "a map",
};

/* "train.yaml:3:7: 'epochs' is text ('three'), a whole number is wanted" */
static etk_status wrong_kind(etk_error *e, const etk_config *config, const etk_config_node *node, etk_config_kind wanted, const char *hint) {
  char seen[80] = "";
  if (node->text) snprintf(seen, sizeof seen, " ('%.60s%s')", node->text, node->text_size > 60 ? "…" : "");
  return etk__config_fail(e, config, ETK_E_INVALID, node->line, node->column, "'%s' is %s%s, %s is wanted%s", node->key, kind_names[node->kind], seen,
                          kind_names[wanted], hint);
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
  if (strlen(node->text) != node->text_size)
    return etk__config_fail(e, config, ETK_E_INVALID, node->line, node->column, "'%s' holds a NUL character", node->key);
  *out = node->text;
  return ETK_OK;
}

static void new_line(etk_text *out, int indent, int level) {
  if (indent > 0) etk_text_printf(out, "\n%*s", indent * level, "");
}

static void write_node(etk_text *out, const etk_config_node *node, int indent, int level) {
  switch (node->kind) {
  case ETK_CONFIG_NULL:
    etk_text_puts(out, "null");
    return;
  case ETK_CONFIG_FLAG:
    etk_text_puts(out, node->flag ? "true" : "false");
    return;
  case ETK_CONFIG_INT:
    etk_text_printf(out, "%lld", (long long)node->integer);
    return;
  case ETK_CONFIG_REAL:
    etk_text_real(out, node->real);
    return;
  case ETK_CONFIG_TEXT:
    etk_text_json(out, node->text, node->text_size);
    return;
  case ETK_CONFIG_LIST:
  case ETK_CONFIG_MAP:
    break;
  }
  bool map = node->kind == ETK_CONFIG_MAP;
  etk_text_putc(out, map ? '{' : '[');
  for (const etk_config_node *child = node->first; child && !out->failed; child = child->next) {
    if (child != node->first) etk_text_puts(out, indent > 0 ? "," : ", ");
    new_line(out, indent, level + 1);
    if (map) {
      etk_text_json(out, child->key, child->key_size);
      etk_text_puts(out, ": ");
    }
    write_node(out, child, indent, level + 1);
  }
  if (node->first) new_line(out, indent, level);
  etk_text_putc(out, map ? '}' : ']');
}

void etk_config_write_json(etk_text *out, const etk_config_node *node, int indent) { write_node(out, node, indent, 0); }
