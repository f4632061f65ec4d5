/* Reading Hugging Face folders: config.json and model.safetensors, whole or in shards. */
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
