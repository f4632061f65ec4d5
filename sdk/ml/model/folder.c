/* Hugging Face folders: config.json and model.safetensors, whole or in shards; and writing them. */
#include "internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <jansson.h>

enum { CONFIG_LIMIT = 1 << 20, INDEX_LIMIT = 64 << 20, SHARD_LIMIT = 10000 };

struct shards {
  const char *folder;
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

static etk_status fetch(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape) {
  struct shards *s = user;
  (void)shape;
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
  struct shards shards = {.folder = path, .trainable = trainable};
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
  return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->rope_factor, "low_freq_factor", c->rope_low_freq_factor,
                   "high_freq_factor", c->rope_high_freq_factor, "original_max_position_embeddings", (json_int_t)c->rope_original_positions);
}

static json_t *config_json(const etk_model_config *c, etk_dtype dtype) {
  const char *type = dtype == ETK_F16 ? "float16" : dtype == ETK_BF16 ? "bfloat16" : "float32";
  json_t *bos = c->bos_token_id < 0 ? json_null() : json_integer(c->bos_token_id);
  return json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:b, s:b, s:b, s:o, s:o, s:s, s:s}", "architectures", "LlamaForCausalLM",
                   "model_type", "llama", "vocab_size", (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size, "intermediate_size",
                   (json_int_t)c->intermediate_size, "num_hidden_layers", (json_int_t)c->num_hidden_layers, "num_attention_heads",
                   (json_int_t)c->num_attention_heads, "num_key_value_heads", (json_int_t)c->num_key_value_heads, "head_dim", (json_int_t)c->head_dim,
                   "max_position_embeddings", (json_int_t)c->max_position_embeddings, "rms_norm_eps", c->rms_norm_eps, "rope_theta", c->rope_theta,
                   "rope_scaling", rope_json(c), "attention_bias", c->attention_bias, "mlp_bias", c->mlp_bias, "tie_word_embeddings",
                   c->tie_word_embeddings, "bos_token_id", bos, "eos_token_id", eos_json(c), "hidden_act", "silu", "torch_dtype", type);
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
