/* Fuzz target: configuration text. The first byte picks the format; what parses must survive being written as JSON and read again. */
#include "etk/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_nodes(const etk_config_node *node, int depth) {
  if (depth > 64) __builtin_trap(); /* the bound of config.h */
  size_t total = 1, children = 0;
  for (const etk_config_node *c = node->first; c; c = c->next, children++) {
    if (node->kind == ETK_CONFIG_MAP && (!c->key || c->key[c->key_size])) __builtin_trap();
    total += count_nodes(c, depth + 1);
  }
  if (children != node->count) __builtin_trap();
  bool scalar = node->kind != ETK_CONFIG_LIST && node->kind != ETK_CONFIG_MAP;
  if (scalar && (!node->text || node->text[node->text_size])) __builtin_trap();
  return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  etk_config_format format = data[0] == 'j' ? ETK_CONFIG_JSON : ETK_CONFIG_YAML;
  etk_config *config, *again;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, "input", (const char *)data + 1, size - 1, format)) {
    if (!e.message[0]) __builtin_trap();
    return 0;
  }
  size_t nodes = count_nodes(etk_config_root(config), 0);
  etk_config_find(etk_config_root(config), "a.0.b");
  if (nodes <= 10000) {
    etk_text json = ETK_TEXT_INIT;
    etk_config_write_json(&json, etk_config_root(config), (int)(size % 3));
    if (!json.failed && etk_config_parse(&e, &again, "again", json.data, json.size, ETK_CONFIG_JSON) == ETK_OK) {
      if (count_nodes(etk_config_root(again), 0) != nodes) __builtin_trap();
      etk_config_free(again);
    } else {
      __builtin_trap();
    }
    etk_text_free(&json);
  }
  etk_config_free(config);
  return 0;
}
