/* Fuzz target: configuration text. The first byte picks the format: j JSON, J JSON with equal keys, t TOML, else YAML. What parses must be written in every
 * format that can hold it and come back as the same tree. */
#include "../sdk/config_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct tally {
  size_t nodes, bytes;
} tally;

static void count_nodes(tally *t, const etk_config_node *node, int depth) {
  bool parent = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (depth + parent > 64) __builtin_trap(); /* the bound of config.h */
  size_t children = 0;
  for (const etk_config_node *c = node->first; c; c = c->next, children++) {
    if (node->kind == ETK_CONFIG_MAP && (!c->key || c->key[c->key_size] || !etk_utf8_valid(c->key, c->key_size))) __builtin_trap();
    count_nodes(t, c, depth + parent);
  }
  if (children != node->count) __builtin_trap();
  if (!parent && (!node->text || node->text[node->text_size] || !etk_utf8_valid(node->text, node->text_size))) __builtin_trap();
  t->nodes++;
  t->bytes += node->text_size + node->key_size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  static const struct {
    char letter;
    etk_config_format format;
  } letters[] = {{'j', ETK_CONFIG_JSON}, {'J', ETK_CONFIG_JSON_ANY}, {'t', ETK_CONFIG_TOML}};
  etk_config_format format = ETK_CONFIG_YAML;
  for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
    if ((char)data[0] == letters[i].letter) format = letters[i].format;
  etk_config *config;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, "input", (const char *)data + 1, size - 1, format)) {
    if (!e.message[0] || !etk_utf8_valid(e.message, strlen(e.message))) __builtin_trap();
    return 0;
  }
  tally total = {0, 0};
  const etk_config_node *root = etk_config_root(config);
  count_nodes(&total, root, 0);
  etk_config_find(root, "a.0.b");
  for (int to = ETK_CONFIG_YAML; to <= ETK_CONFIG_TOML && total.nodes <= 10000 && total.bytes <= 1 << 20; to++) {
    char why[2048];
    if (tree_round_trip(root, (etk_config_format)to, why, sizeof why)) {
      fprintf(stderr, "format %d: %s\n", to, why);
      __builtin_trap();
    }
  }
  etk_config_free(config);
  return 0;
}
