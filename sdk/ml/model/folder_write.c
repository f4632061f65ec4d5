/* Writing Hugging Face folders: config.json, generation_config.json and model.safetensors. */
#include "config.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <math.h>

void etk__config_put(struct writer *w, const char *key, json_t *value) {
  if (json_object_set_new(w->root, key, value)) w->failed = true;
}

json_t *etk__config_list(const void *items, int64_t count, json_t *(*make)(const void *items, int64_t index)) {
  json_t *list = json_array();
  for (int64_t i = 0; i < count && list; i++)
    if (json_array_append_new(list, make(items, i))) {
      json_decref(list);
      return NULL;
    }
  return list;
}

static json_t *id_json(const void *ids, int64_t i) { return json_integer(((const int32_t *)ids)[i]); }

static void put_tokens(struct writer *w, const etk_model_config *c) {
  etk__config_put(w, "bos_token_id", c->bos_token_id < 0 ? json_null() : json_integer(c->bos_token_id));
  etk__config_put(w, "eos_token_id", c->eos_count == 0 ? json_null() : c->eos_count == 1 ? json_integer(c->eos_token_ids[0])
                  : etk__config_list(c->eos_token_ids, c->eos_count, id_json));
}

/* What transformers makes rotary_dims again by int(head_dim * part). */
static double rotary_part(const etk_model_config *c) {
  double part = (double)etk__rotary_dims(c) / (double)c->head_dim;
  return (int64_t)((double)c->head_dim * part) < etk__rotary_dims(c) ? nextafter(part, 2) : part;
}

static void put_experts(struct writer *w, const etk_model_config *c, const struct family *family) {
  etk__config_put(w, family->experts_key, json_integer(c->num_experts));
  etk__config_put(w, "num_experts_per_tok", json_integer(c->num_experts_per_tok));
  if (!family->shared_expert) return;
  etk__config_put(w, "moe_intermediate_size", json_integer(c->moe_intermediate_size));
  etk__config_put(w, "shared_expert_intermediate_size", json_integer(c->shared_expert_intermediate_size));
  etk__config_put(w, "norm_topk_prob", json_boolean(c->norm_topk_prob));
  etk__config_put(w, "decoder_sparse_step", json_integer(1));
}

/* Of a field that transformers has as a whole number. */
static json_t *whole_json(double x) { return x == floor(x) && x < 1e15 ? json_integer((json_int_t)x) : json_real(x); }
static json_t *cap_json(double cap) { return cap > 0 ? json_real(cap) : json_null(); }

static void put_attention(struct writer *w, const etk_model_config *c, const struct family *family) {
  if (family->query_scalar > 0)
    etk__config_put(w, "query_pre_attn_scalar", whole_json(c->query_pre_attn_scalar > 0 ? c->query_pre_attn_scalar : (double)c->head_dim));
  if (family->caps_scores) etk__config_put(w, "attn_logit_softcapping", cap_json(c->attn_logit_softcapping));
  if (family->caps_logits) etk__config_put(w, "final_logit_softcapping", cap_json(c->final_logit_softcapping));
  if (!family->qkv_bias) etk__config_put(w, "attention_bias", json_boolean(c->attention_bias)); /* those always have them, and no such field */
  etk__layers_json(w, c, family);
}

static void put_rope(struct writer *w, const etk_model_config *c, const struct family *family) {
  etk__config_put(w, family->theta_key ? family->theta_key : "rope_theta", json_real(c->rope_theta));
  etk__config_put(w, "rope_scaling", etk__rope_json(c));
  if (family->local_theta > 0) etk__config_put(w, "rope_local_base_freq", json_real(c->rope_local_theta > 0 ? c->rope_local_theta : family->local_theta));
  if (family->layer_norm) etk__config_put(w, "rotary_pct", json_real(rotary_part(c)));
  else if (c->rotary_dims) etk__config_put(w, "partial_rotary_factor", json_real(rotary_part(c)));
  if (c->rope_scaling == ETK_ROPE_LONGROPE) etk__config_put(w, "original_max_position_embeddings", json_integer((json_int_t)c->rope_original_positions));
}

static json_t *config_json(const etk_model_config *c, etk_dtype dtype) {
  static const char *const activations[] = {[ETK_ACTIVATION_SILU] = "silu", [ETK_ACTIVATION_GELU] = "gelu", [ETK_ACTIVATION_GELU_TANH] = "gelu_pytorch_tanh"};
  const struct family *family = etk__family_find(c->architecture);
  struct writer w = {json_object(), false};
  etk__config_put(&w, "architectures", json_pack("[s]", family->class_name));
  etk__config_put(&w, "model_type", json_string(family->model_type));
  etk__config_put(&w, "torch_dtype", json_string(dtype == ETK_F16 ? "float16" : dtype == ETK_BF16 ? "bfloat16" : "float32"));
  for (int i = 0; i < etk__config_size_count; i++) {
    const struct size_key *size = &etk__config_sizes[i];
    const char *key = family->conv1d ? size->gpt2 : size->key;
    if (key && !(family->layer_norm && size->heads)) etk__config_put(&w, key, json_integer(*(const int64_t *)((const char *)c + size->offset)));
  }
  etk__config_put(&w, etk__family_norm_key(family), json_real(c->rms_norm_eps));
  etk__config_put(&w, etk__family_activation_key(family), json_string(activations[c->activation]));
  etk__config_put(&w, "tie_word_embeddings", json_boolean(c->tie_word_embeddings));
  put_tokens(&w, c);
  if (!family->conv1d) put_rope(&w, c, family);
  if (!family->conv1d) put_attention(&w, c, family);
  if (!family->layer_norm) etk__config_put(&w, "mlp_bias", json_boolean(c->mlp_bias));
  else if (!family->conv1d) etk__config_put(&w, "use_parallel_residual", json_boolean(!c->sequential_residual));
  if (family->expert_rows) put_experts(&w, c, family);
  if (!w.failed) return w.root;
  json_decref(w.root);
  return NULL;
}

static json_t *generation_json(const etk_model_config *c) {
  struct writer w = {json_object(), false};
  put_tokens(&w, c);
  if (!w.failed) return w.root;
  json_decref(w.root);
  return NULL;
}

etk_status etk__config_save(etk_error *e, const etk_model_config *c, const char *folder, etk_dtype dtype) {
  etk_status status = etk__json_write(e, config_json(c, dtype), folder, "config.json");
  return status ? status : etk__json_write(e, generation_json(c), folder, "generation_config.json");
}

struct written {
  const struct weight *weight;
  etk_dtype dtype;
};
static etk_status fill(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  const struct written *w = user;
  return etk__weight_rows(e, w->weight, w->dtype, out, row, rows);
}

/* Weights are written as they are where they can be, else decoded a megabyte at a time. */
static etk_safetensors_stream stream_of(struct written *written) {
  const struct weight *w = written->weight;
  bool as_is = !w->swapped && etk_tensor_dtype(w->tensor) == written->dtype;
  return (etk_safetensors_stream){w->name, written->dtype, etk__weight_rows_shape(w), as_is ? etk_tensor_data(w->tensor) : NULL, fill, written};
}

etk_status etk_model_save(etk_error *e, const etk_model *m, const char *folder, etk_dtype dtype, const char *const *metadata, size_t metadata_count) {
  etk_status status = etk__config_save(e, &m->config, folder, dtype);
  if (status) return status;
  etk_safetensors_stream *streams = etk_calloc(m->weight_count, sizeof *streams);
  struct written *written = etk_calloc(m->weight_count, sizeof *written);
  const char **pairs = etk_calloc(2 * (metadata_count + 1), sizeof *pairs);
  char *path = etk_path_join(folder, "model.safetensors");
  if (!streams || !written || !pairs || !path) status = etk_fail_memory(e);
  else {
    for (size_t i = 0; i < m->weight_count; i++) {
      written[i] = (struct written){&m->weights[i], dtype};
      streams[i] = stream_of(&written[i]);
    }
    pairs[0] = "format"; /* transformers refuses a file without it */
    pairs[1] = "pt";
    for (size_t i = 0; i < 2 * metadata_count; i++) pairs[2 + i] = metadata[i];
    status = etk_safetensors_write_streams(e, path, streams, m->weight_count, pairs, metadata_count + 1,
                                           &(etk_safetensors_write_options){.replace = true}, NULL);
  }
  etk_free(path);
  etk_free(pairs);
  etk_free(written);
  etk_free(streams);
  return status;
}
