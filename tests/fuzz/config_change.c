/* Fuzz target: changing a tree. The input is lines apart by bytes of 0: a YAML text, a TOML text to lay over it, then pairs of path and value to set, the
 * last also as a variable and as a profile's name. Counts must stay true and what comes out must be a tree that can be written and read. */
#include "../sdk/config_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_nodes(const etk_config_node *node, int depth) {
  bool parent = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (depth + parent > 64) __builtin_trap();
  size_t total = 1, children = 0;
  for (const etk_config_node *c = node->first; c; c = c->next, children++) total += count_nodes(c, depth + parent);
  if (children != node->count) __builtin_trap();
  return total;
}

/* A failed change leaves the tree as it was. */
static void check(const etk_config *config, etk_status status, const etk_error *e, const etk_text *before) {
  etk_text after = ETK_TEXT_INIT;
  if (status && !e->message[0]) __builtin_trap();
  if (count_nodes(etk_config_root(config), 0) > 1000000) __builtin_trap();
  etk_config_write_json(&after, etk_config_root(config), 0);
  if (status && (before->size != after.size || memcmp(before->data, after.data, after.size) != 0)) __builtin_trap();
  etk_text_free(&after);
}

typedef etk_status change(etk_error *e, etk_config *config, const char *a, const char *b);

static etk_status set(etk_error *e, etk_config *config, const char *path, const char *value) { return etk_config_set(e, config, path, value, "set"); }

static etk_status environment(etk_error *e, etk_config *config, const char *path, const char *value) {
  etk_text entry = ETK_TEXT_INIT;
  etk_text_printf(&entry, "P__%s=%s", path, value);
  const char *entries[] = {"P__A=1", entry.data, NULL};
  etk_status status = etk_config_environment(e, config, "P", entries, NULL);
  etk_text_free(&entry);
  return status;
}

static etk_status profile(etk_error *e, etk_config *config, const char *path, const char *value) {
  (void)value;
  return etk_config_profile(e, config, path);
}

static etk_status merge(etk_error *e, etk_config *config, const char *text, const char *value) {
  (void)value;
  etk_config *over;
  if (etk_config_parse(NULL, &over, "over.toml", text, strlen(text), ETK_CONFIG_TOML)) return ETK_OK;
  etk_status status = etk_config_merge(e, config, over);
  etk_config_free(over);
  return status;
}

static void apply(etk_config *config, change *how, const char *a, const char *b) {
  etk_error e = ETK_ERROR_INIT;
  etk_text before = ETK_TEXT_INIT;
  etk_config_write_json(&before, etk_config_root(config), 0);
  etk_status status = how(&e, config, a, b);
  check(config, status, &e, &before);
  etk_text_free(&before);
}

static const char *next(const char **p, const char *end) {
  const char *text = *p;
  if (*p < end) *p += strlen(*p) + 1;
  return text < end ? text : "";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *copy = malloc(size + 1);
  if (!copy) return 0;
  if (size) memcpy(copy, data, size);
  copy[size] = 0;
  const char *p = copy, *end = copy + size, *base = next(&p, end);
  etk_config *config;
  if (etk_config_parse(NULL, &config, "base.yaml", base, strlen(base), ETK_CONFIG_YAML) == ETK_OK) {
    if (count_nodes(etk_config_root(config), 0) < 10000 && size < 20000) {
      apply(config, merge, next(&p, end), NULL);
      for (int i = 0; i < 8 && p < end; i++) {
        const char *path = next(&p, end), *value = next(&p, end);
        apply(config, set, path, value);
        if (p < end) continue;
        apply(config, environment, path, value);
        apply(config, profile, path, NULL);
      }
    }
    etk_config_free(config);
  }
  free(copy);
  return 0;
}
