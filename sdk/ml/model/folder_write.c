/* Writing Hugging Face folders: config.json, generation_config.json and model.safetensors. */
#include "internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <jansson.h>

static json_t *eos_json(const etk_model_config *c) {
  if (c->eos_count == 0) return json_null();
  if (c->eos_count == 1) return json_integer(c->eos_token_ids[0]);
  json_t *list = json_array();
  for (int i = 0; i < c->eos_count; i++) json_array_append_new(list, json_integer(c->eos_token_ids[i]));
  return list;
}

static json_t *rope_json(const etk_model_config *c) {
  if (c->rope_scaling == ETK_ROPE_PLAIN) return json_null();
  if (c->rope_scaling == ETK_ROPE_LINEAR) return json_pack("{s:s, s:f}", "type", "linear", "factor", c->rope_factor);
  if (c->rope_scaling == ETK_ROPE_YARN)
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:I}", "rope_type", "yarn", "factor", c->rope_factor, "beta_fast", c->rope_beta_fast, "beta_slow", c->rope_beta_slow,
                     "attention_factor", c->rope_attention_factor, "original_max_position_embeddings", (json_int_t)c->rope_original_positions);
  return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->rope_factor, "low_freq_factor", c->rope_low_freq_factor,
                   "high_freq_factor", c->rope_high_freq_factor, "original_max_position_embeddings", (json_int_t)c->rope_original_positions);
}

static const char *activation_name(etk_activation activation) {
  static const char *const names[] = {[ETK_ACTIVATION_SILU] = "silu", [ETK_ACTIVATION_GELU] = "gelu", [ETK_ACTIVATION_GELU_TANH] = "gelu_pytorch_tanh"};
  return names[activation];
}

/* The keys that only GPT-2 has, or names otherwise. */
static void set_gpt2(json_t *root, const etk_model_config *c) {
  static const char *const gone[] = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
                                     "max_position_embeddings", "rope_theta", "rope_scaling", "attention_bias", "mlp_bias"};
  for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) json_object_del(root, gone[i]);
  json_object_set_new(root, "n_embd", json_integer(c->hidden_size));
  json_object_set_new(root, "n_inner", json_integer(c->intermediate_size));
  json_object_set_new(root, "n_layer", json_integer(c->num_hidden_layers));
  json_object_set_new(root, "n_head", json_integer(c->num_attention_heads));
  json_object_set_new(root, "n_positions", json_integer(c->max_position_embeddings));
}

static void set_neox(json_t *root, const etk_model_config *c) {
  static const char *const gone[] = {"num_key_value_heads", "head_dim", "rope_theta", "mlp_bias"};
  for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) json_object_del(root, gone[i]);
  json_object_set_new(root, "rotary_pct", json_real((double)etk__rotary_dims(c) / (double)c->head_dim));
  json_object_set_new(root, "rotary_emb_base", json_real(c->rope_theta));
  json_object_set_new(root, "use_parallel_residual", json_boolean(!c->sequential_residual));
}

static void set_experts(json_t *root, const etk_model_config *c, const struct family *family) {
  json_object_set_new(root, family->experts_key, json_integer(c->num_experts));
  json_object_set_new(root, "num_experts_per_tok", json_integer(c->num_experts_per_tok));
  if (!family->shared_expert) return;
  json_object_set_new(root, "moe_intermediate_size", json_integer(c->moe_intermediate_size));
  json_object_set_new(root, "shared_expert_intermediate_size", json_integer(c->shared_expert_intermediate_size));
  json_object_set_new(root, "norm_topk_prob", json_boolean(c->norm_topk_prob));
  json_object_set_new(root, "decoder_sparse_step", json_integer(1));
}

static json_t *config_json(const etk_model_config *c, etk_dtype dtype) {
  const char *type = dtype == ETK_F16 ? "float16" : dtype == ETK_BF16 ? "bfloat16" : "float32";
  json_t *bos = c->bos_token_id < 0 ? json_null() : json_integer(c->bos_token_id);
  const struct family *family = etk__family_find(c->architecture);
  json_t *root = json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:b, s:b, s:b, s:o, s:o, s:s, s:s}", "architectures", family->class_name,
                   "model_type", family->model_type, "vocab_size", (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size, "intermediate_size",
                   (json_int_t)c->intermediate_size, "num_hidden_layers", (json_int_t)c->num_hidden_layers, "num_attention_heads",
                   (json_int_t)c->num_attention_heads, "num_key_value_heads", (json_int_t)c->num_key_value_heads, "head_dim", (json_int_t)c->head_dim,
                   "max_position_embeddings", (json_int_t)c->max_position_embeddings, etk__family_norm_key(family), c->rms_norm_eps, "rope_theta", c->rope_theta,
                   "rope_scaling", rope_json(c), "attention_bias", c->attention_bias, "mlp_bias", c->mlp_bias, "tie_word_embeddings",
                   c->tie_word_embeddings, "bos_token_id", bos, "eos_token_id", eos_json(c), etk__family_activation_key(family), activation_name(c->activation), "torch_dtype", type);
  if (!root) return NULL;
  if (family->sliding_window >= 0) json_object_set_new(root, "sliding_window", c->sliding_window ? json_integer(c->sliding_window) : json_null());
  if (family->expert_rows) set_experts(root, c, family);
  if (family->layer_norm && family->conv1d) set_gpt2(root, c);
  else if (family->layer_norm) set_neox(root, c);
  if (family->qkv_bias) json_object_del(root, "attention_bias"); /* not of its configuration: it always has them */
  return root;
}

etk_status etk_model_save(etk_error *e, const etk_model *m, const char *folder, etk_dtype dtype, const char *const *metadata, size_t metadata_count) {
  const etk_model_config *c = &m->config;
  etk_status status = etk__json_write(e, config_json(c, dtype), folder, "config.json");
  json_t *bos = c->bos_token_id < 0 ? json_null() : json_integer(c->bos_token_id);
  json_t *generation = json_pack("{s:o, s:o}", "bos_token_id", bos, "eos_token_id", eos_json(c));
  if (status) json_decref(generation);
  else status = etk__json_write(e, generation, folder, "generation_config.json");
  if (status) return status;
  etk_safetensors_item *items = etk_calloc(m->weight_count, sizeof *items);
  const char **pairs = etk_calloc(2 * (metadata_count + 1), sizeof *pairs);
  char *path = etk_path_join(folder, "model.safetensors");
  if (!items || !pairs || !path) status = etk_fail_memory(e);
  else {
    for (size_t i = 0; i < m->weight_count; i++) items[i] = (etk_safetensors_item){m->weights[i].name, m->weights[i].tensor, dtype};
    pairs[0] = "format"; /* transformers refuses a file without it */
    pairs[1] = "pt";
    for (size_t i = 0; i < 2 * metadata_count; i++) pairs[2 + i] = metadata[i];
    status = etk_safetensors_write(e, path, items, m->weight_count, pairs, metadata_count + 1, true);
  }
  etk_free(path);
  etk_free(pairs);
  etk_free(items);
  return status;
}
