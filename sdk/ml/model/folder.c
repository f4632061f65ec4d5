/* Hugging Face folders: config.json and model.safetensors, whole or in shards; and writing them. */
#include "internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <jansson.h>

enum { CONFIG_LIMIT = 1 << 20, INDEX_LIMIT = 64 << 20, SHARD_LIMIT = 10000 };

struct shards {
  const char *folder;
  const char *optional_prefix; /* see struct family */
  bool trainable;
  json_t *map;              /* tensor name -> file name, NULL for a single file */
  etk_safetensors **files;
  char **names;
  size_t count;
};

static void shards_fini(struct shards *s) {
  for (size_t i = 0; i < s->count; i++) {
    etk_safetensors_close(s->files[i]);
    etk_free(s->names[i]);
  }
  etk_free(s->files);
  etk_free(s->names);
  json_decref(s->map);
}

static etk_status shard_open(etk_error *e, struct shards *s, const char *file, etk_safetensors **out) {
  for (size_t i = 0; i < s->count; i++)
    if (!strcmp(s->names[i], file)) {
      *out = s->files[i];
      return ETK_OK;
    }
  if (strchr(file, '/') || !strcmp(file, "..")) return etk_fail(e, ETK_E_FORMAT, "%s: the index names the shard \"%.100s\", wanted a plain file name", s->folder, file);
  if (s->count == SHARD_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: more than %d shards", s->folder, SHARD_LIMIT);
  etk_safetensors **files = etk_realloc(s->files, s->count + 1, sizeof *files);
  if (files) s->files = files;
  char **names = etk_realloc(s->names, s->count + 1, sizeof *names);
  if (names) s->names = names;
  char *path = etk_path_join(s->folder, file), *name = etk_strdup(file);
  etk_status status = files && names && path && name ? etk_safetensors_open(e, out, path) : etk_fail_memory(e);
  etk_free(path);
  if (status) {
    etk_free(name);
    return status;
  }
  s->files[s->count] = *out;
  s->names[s->count++] = name;
  return ETK_OK;
}

static etk_status fetch_named(etk_error *e, struct shards *s, etk_tensor **out, const char *name) {
  const char *file = "model.safetensors";
  if (s->map) {
    const json_t *entry = json_object_get(s->map, name);
    if (!json_is_string(entry)) return etk_fail(e, ETK_E_FORMAT, "%s: model.safetensors.index.json does not name the tensor %s, which the architecture needs", s->folder, name);
    file = json_string_value(entry);
  }
  etk_safetensors *shard;
  etk_status status = shard_open(e, s, file, &shard);
  if (status) return status;
  if (!etk_safetensors_find(shard, name))
    return etk_fail(e, ETK_E_FORMAT, "%s/%s has no tensor %s, which the architecture needs (it holds %zu tensors; does config.json belong to it?)", s->folder, file,
                    name, etk_safetensors_count(shard));
  etk_tensor *tensor = NULL;
  status = etk_safetensors_tensor(e, &tensor, shard, name);
  if (status) return status;
  etk_dtype dtype = etk_tensor_dtype(tensor);
  if (dtype != ETK_F32 && dtype != ETK_F16 && dtype != ETK_BF16 && dtype != ETK_F64) {
    etk_tensor_unref(tensor);
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s/%s: tensor %s is of type %s; this version reads F32, F16, BF16 and F64 weights", s->folder, file, name, etk_dtype_name(dtype));
  }
  return etk__weight_prepare(e, out, tensor, s->trainable);
}

/* Where the files lack a name, they may have it without the prefix that some checkpoints of the family leave out. */
static etk_status fetch(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape) {
  struct shards *s = user;
  size_t prefix = s->optional_prefix ? strlen(s->optional_prefix) : 0;
  (void)shape;
  if (!prefix || strncmp(name, s->optional_prefix, prefix)) return fetch_named(e, s, out, name);
  etk_safetensors *whole = NULL;
  etk_status status = s->map ? ETK_OK : shard_open(e, s, "model.safetensors", &whole);
  if (status) return status;
  bool there = s->map ? json_object_get(s->map, name) != NULL : etk_safetensors_find(whole, name) != NULL;
  bool bare = s->map ? json_object_get(s->map, name + prefix) != NULL : etk_safetensors_find(whole, name + prefix) != NULL;
  return fetch_named(e, s, out, !there && bare ? name + prefix : name);
}

static etk_status read_json(etk_error *e, json_t **out, const char *folder, const char *file, size_t limit) {
  char *path = etk_path_join(folder, file), *text = NULL;
  size_t size = 0;
  etk_status status = path ? etk_fs_read(e, &text, &size, path, limit) : etk_fail_memory(e);
  if (!status) status = etk__json_parse(e, out, path, text, size);
  etk_free(text);
  etk_free(path);
  return status;
}

static etk_status find_files(etk_error *e, struct shards *s) {
  char *single = etk_path_join(s->folder, "model.safetensors"), *index = etk_path_join(s->folder, "model.safetensors.index.json");
  etk_status status = ETK_OK;
  json_t *root = NULL;
  if (!single || !index) status = etk_fail_memory(e);
  else if (!etk_fs_exists(single)) {
    if (!etk_fs_exists(index))
      status = etk_fail(e, ETK_E_NOT_FOUND, "model %s has neither model.safetensors nor model.safetensors.index.json (other weight files are not read by this version)", s->folder);
    else status = read_json(e, &root, s->folder, "model.safetensors.index.json", INDEX_LIMIT);
    if (!status) {
      s->map = json_incref(json_object_get(root, "weight_map"));
      if (!json_is_object(s->map)) status = etk_fail(e, ETK_E_FORMAT, "%s: has no object \"weight_map\"", index);
    }
  }
  json_decref(root);
  etk_free(single);
  etk_free(index);
  return status;
}

/* Every tensor in the files must be one the architecture has: a leftover means that config.json and weights do not belong together. */
static etk_status check_leftovers(etk_error *e, const etk_model *model, const struct shards *s) {
  for (size_t f = 0; f < s->count; f++)
    for (size_t i = 0; i < etk_safetensors_count(s->files[f]); i++) {
      const char *name = etk_safetensors_at(s->files[f], i)->name;
      if (!etk__model_expects(model, name))
        return etk_fail(e, ETK_E_FORMAT, "%s/%s holds the tensor %s, which config.json's architecture does not have", s->folder, s->names[f], name);
    }
  return ETK_OK;
}

etk_status etk__model_open_folder(etk_error *e, etk_model **out, const char *path, bool trainable) {
  char *config_path = etk_path_join(path, "config.json"), *text = NULL;
  size_t size = 0;
  if (!config_path) return etk_fail_memory(e);
  if (!etk_fs_exists(config_path)) {
    etk_free(config_path);
    return etk_fail(e, ETK_E_NOT_FOUND, "model %s has no config.json; wanted a Hugging Face model folder", path);
  }
  etk_model_config config;
  etk_status status = etk_fs_read(e, &text, &size, config_path, CONFIG_LIMIT);
  if (!status) status = etk_model_config_parse(e, &config, config_path, text, size);
  etk_free(text);
  etk_free(config_path);
  if (status) return status;
  struct shards shards = {.folder = path, .trainable = trainable, .optional_prefix = etk__family_find(config.architecture)->optional_prefix};
  status = find_files(e, &shards);
  struct weight_source source = {fetch, &shards};
  if (!status) status = etk__model_build(e, out, &config, path, &source);
  if (!status) {
    status = check_leftovers(e, *out, &shards);
    if (status) {
      etk_model_unref(*out);
      *out = NULL;
    }
  }
  shards_fini(&shards);
  return status;
}

/* ---- writing ---- */
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
