/* What a model's configuration tells: config.json in the spellings of its families, and GGUF's keys. */
#include "weights_internal.h"

#include <etk/config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 4 << 20 };
#define FACT(field) offsetof(etk_weights_facts, field)
static const struct fact {
  size_t offset;
  bool real;
  const char *json[4]; /* spellings in config.json */
  const char *gguf[2]; /* keys behind "<architecture>." */
} facts[] = {
    {FACT(vocab_size), false, {"vocab_size"}, {"vocab_size"}},
    {FACT(hidden_size), false, {"hidden_size", "n_embd", "d_model"}, {"embedding_length"}},
    {FACT(intermediate_size), false, {"intermediate_size", "n_inner", "d_ff"}, {"feed_forward_length"}},
    {FACT(num_hidden_layers), false, {"num_hidden_layers", "n_layer", "num_layers"}, {"block_count"}},
    {FACT(num_attention_heads), false, {"num_attention_heads", "n_head", "num_heads"}, {"attention.head_count"}},
    {FACT(num_key_value_heads), false, {"num_key_value_heads"}, {"attention.head_count_kv"}},
    {FACT(head_dim), false, {"head_dim"}, {"attention.key_length"}},
    {FACT(max_position_embeddings), false, {"max_position_embeddings", "n_positions", "n_ctx"}, {"context_length"}},
    {FACT(num_experts), false, {"num_local_experts", "num_experts"}, {"expert_count"}},
    {FACT(norm_eps), true, {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps"},
     {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"}},
    {FACT(rope_theta), true, {"rope_theta", "rotary_emb_base"}, {"rope.freq_base"}},
};
enum { FACTS = sizeof facts / sizeof *facts };

static void derive(etk_weights_facts *f) {
  if (!f->num_key_value_heads) f->num_key_value_heads = f->num_attention_heads;
  if (!f->head_dim && f->num_attention_heads > 0 && f->hidden_size % f->num_attention_heads == 0) f->head_dim = f->hidden_size / f->num_attention_heads;
}

int64_t etk_weights_extent(const etk_weights_facts *f, char letter) {
  switch (letter) {
  case 'V': return f->vocab_size;
  case 'D': return f->hidden_size;
  case 'H': return f->intermediate_size;
  case 'Q': return f->num_attention_heads * f->head_dim;
  case 'K': return f->num_key_value_heads * f->head_dim;
  case 'E': return f->head_dim;
  case 'S': return f->max_position_embeddings;
  default: return 0;
  }
}

/* ---- config.json ---- */
static etk_status read_fact(etk_error *e, etk_weights_facts *out, const struct fact *fact, const etk_config *config, const etk_config_node *map) {
  for (int i = 0; i < 4 && fact->json[i]; i++) {
    int64_t whole = 0;
    double real = 0;
    etk_status status = fact->real ? etk_config_get_real(e, config, map, fact->json[i], &real) : etk_config_get_int(e, config, map, fact->json[i], &whole);
    if (status) return status;
    if (whole < 0)
      return etk_fail(e, ETK_E_FORMAT, "%s: %s is %lld; a number of at least 0 is wanted", etk_config_name(config), fact->json[i], (long long)whole);
    char *field = (char *)out + fact->offset;
    if (fact->real && real != 0) return memcpy(field, &real, sizeof real), ETK_OK;
    if (!fact->real && whole) return memcpy(field, &whole, sizeof whole), ETK_OK;
  }
  return ETK_OK;
}

etk_status etk__weights_facts_json(etk_error *e, etk_weights_facts *out, const char *path) {
  if (!etk_fs_exists(path)) return ETK_OK;
  char *text = NULL;
  size_t size = 0;
  etk_config *config = NULL;
  etk_status status = etk_fs_read(e, &text, &size, path, CONFIG_LIMIT);
  if (!status) status = etk_config_parse(e, &config, path, text, size, ETK_CONFIG_JSON_ANY);
  etk_free(text);
  if (status) return status;
  const etk_config_node *root = etk_config_root(config), *inner = root->kind == ETK_CONFIG_MAP ? etk_config_child(root, "text_config") : NULL;
  const char *type = NULL;
  if (root->kind != ETK_CONFIG_MAP) status = etk_fail(e, ETK_E_FORMAT, "%s: must be a JSON object", path);
  if (!status) status = etk_config_get_text(e, config, root, "model_type", &type);
  if (!status && type) snprintf(out->architecture, sizeof out->architecture, "%s", type);
  /* A model of several parts describes its language model in a map of its own. */
  const etk_config_node *map = inner && inner->kind == ETK_CONFIG_MAP ? inner : root;
  for (int i = 0; i < FACTS && !status; i++) status = read_fact(e, out, &facts[i], config, map);
  const etk_config_node *rope = !status && !out->rope_theta ? etk_config_child(map, "rope_parameters") : NULL;
  if (rope && rope->kind == ETK_CONFIG_MAP) status = etk_config_get_real(e, config, rope, "rope_theta", &out->rope_theta);
  if (!status) derive(out);
  etk_config_free(config);
  return status;
}

/* ---- GGUF ---- */

/* A whole number, or a list of equal ones (a value a layer); lists of different ones tell no single number. */
static bool one_number(const etk_gguf *file, const char *key, int64_t *out) {
  const etk_gguf_value *list = NULL;
  if (!etk_gguf_get_int(NULL, out, file, key)) return true;
  if (etk_gguf_get_array(NULL, &list, file, key, ETK_GGUF_I64) || !list->count) return false;
  *out = etk_gguf_int_at(list, 0);
  for (uint64_t i = 1; i < list->count; i++)
    if (etk_gguf_int_at(list, i) != *out) return false;
  return true;
}

void etk__weights_facts_gguf(etk_weights_facts *out, const etk_gguf *file) {
  const char *architecture = NULL;
  if (etk_gguf_get_text(NULL, &architecture, file, "general.architecture")) return;
  snprintf(out->architecture, sizeof out->architecture, "%s", architecture);
  for (int i = 0; i < FACTS; i++)
    for (int k = 0; k < 2 && facts[i].gguf[k]; k++) {
      char key[160];
      int64_t whole = 0;
      double real = 0;
      snprintf(key, sizeof key, "%s.%s", out->architecture, facts[i].gguf[k]);
      bool told = facts[i].real ? !etk_gguf_get_real(NULL, &real, file, key) : one_number(file, key, &whole);
      if (!told || whole < 0) continue;
      memcpy((char *)out + facts[i].offset, facts[i].real ? (const void *)&real : (const void *)&whole, 8);
      break;
    }
  const etk_gguf_value *tokens = etk_gguf_find(file, "tokenizer.ggml.tokens");
  if (!out->vocab_size && tokens && tokens->kind == ETK_GGUF_ARRAY && tokens->count <= INT32_MAX) out->vocab_size = (int64_t)tokens->count;
  derive(out);
}
