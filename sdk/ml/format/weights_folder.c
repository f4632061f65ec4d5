/* Folders of weights: which file of a Hugging Face folder holds them, and indexes with shards. */
#include "json.h"
#include "weights_internal.h"

#include <string.h>

enum { INDEX_LIMIT = 64 << 20, SHARD_LIMIT = 10000 };

/* The first that is there is opened. */
static const struct candidate {
  const char *name;
  const etk__weights_reader *reader;
  bool index;
} candidates[] = {
    {"model.safetensors", &etk__weights_safetensors, false},
    {"model.safetensors.index.json", &etk__weights_safetensors, true},
    {"adapter_model.safetensors", &etk__weights_safetensors, false},
    {"adapters.safetensors", &etk__weights_safetensors, false},
    {"diffusion_pytorch_model.safetensors", &etk__weights_safetensors, false},
    {"pytorch_model.bin", &etk__weights_torch, false},
    {"pytorch_model.bin.index.json", &etk__weights_torch, true},
    {"adapter_model.bin", &etk__weights_torch, false},
    {"diffusion_pytorch_model.bin", &etk__weights_torch, false},
    {"weights.npz", &etk__weights_npz, false},
    {"model.onnx", &etk__weights_onnx, false},
};
enum { CANDIDATES = sizeof candidates / sizeof *candidates };

etk_status etk__weights_config_path(etk_error *e, char **out, const char *path) {
  static const char *const whole[] = {"model.safetensors", "pytorch_model.bin", "weights.npz"};
  bool folder = etk_fs_is_dir(path), belongs = folder;
  for (size_t i = 0; i < sizeof whole / sizeof *whole && !belongs; i++) belongs = !strcmp(etk_path_base(path), whole[i]);
  *out = NULL;
  if (!belongs) return ETK_OK;
  char *above = folder ? NULL : etk_path_dir(path);
  if (folder || above) *out = etk_path_join(folder ? path : above, "config.json");
  etk_free(above);
  return *out ? ETK_OK : etk_fail_memory(e);
}

etk_status etk__weights_facts_beside(etk_error *e, etk_weights *w, const char *path) {
  char *config = NULL;
  etk_status status = etk__weights_config_path(e, &config, path);
  if (!status && config) status = etk__weights_facts_json(e, &w->facts, config);
  etk_free(config);
  return status;
}

/* ---- shards ---- */
typedef struct listing {
  etk_weights *w;
  const etk__weights_reader *reader;
  const char *folder, *path;
} listing;

static etk_status shard_of(etk_error *e, const listing *x, const char *file, const struct part **out) {
  etk_weights *w = x->w;
  for (size_t i = 0; i < w->part_count; i++)
    if (!strcmp(etk_path_base(w->parts[i].path), file)) return *out = &w->parts[i], ETK_OK;
  if (!*file || strchr(file, '/') || !strcmp(file, ".."))
    return etk_fail(e, ETK_E_FORMAT, "%s: the index names the shard \"%.100s\", wanted a plain file name", x->folder, file);
  if (w->part_count == SHARD_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: more than %d shards", x->folder, SHARD_LIMIT);
  char *path = etk_path_join(x->folder, file);
  etk_status status = path ? etk__weights_open_part(e, w, x->reader, path) : etk_fail_memory(e);
  etk_free(path);
  if (!status) *out = &w->parts[w->part_count - 1];
  return status;
}

static etk_status open_shards(etk_error *e, const listing *x, const json_t *map) {
  if (!json_is_object(map) || !json_object_size(map))
    return etk_fail(e, ETK_E_FORMAT, "%s: has no object \"weight_map\" with tensors in it", x->path);
  const char *name;
  json_t *value;
  size_t held = 0;
  json_object_foreach((json_t *)(uintptr_t)map, name, value) {
    if (!json_is_string(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"weight_map\": the shard of '%s' must be a text", x->path, name);
    const struct part *part = NULL;
    etk_status status = shard_of(e, x, json_string_value(value), &part);
    if (status) return status;
    if (!x->reader->holds(part->file, name))
      return etk_fail(e, ETK_E_FORMAT, "%s: places the tensor %s in %s, which does not hold it", x->path, name, json_string_value(value));
  }
  for (size_t p = 0; p < x->w->part_count; p++) held += x->reader->count(x->w->parts[p].file);
  if (held != json_object_size(map))
    return etk_fail(e, ETK_E_FORMAT, "%s: names %zu tensors, its shards hold %zu: index and shards do not belong together", x->path,
                    json_object_size(map), held);
  return ETK_OK;
}

static etk_status open_index(etk_error *e, const listing *x) {
  json_t *root = NULL;
  etk_status status = etk__json_read(e, &root, x->path, INDEX_LIMIT, false);
  if (!status) status = open_shards(e, x, json_object_get(root, "weight_map"));
  json_decref(root);
  return status;
}

/* ---- the folder ---- */
/* The file that was perhaps meant: one that is no model's only by its name. */
static const char *likely(char *const *names, size_t count) {
  static const char *const ends[] = {".gguf", ".safetensors", ".bin", ".pth", ".pt", ".npz", ".onnx", ".tar"};
  for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
    for (size_t i = 0; i < count; i++) {
      size_t size = strlen(names[i]), end = strlen(ends[k]);
      if (size > end && !strcmp(names[i] + size - end, ends[k])) return names[i];
    }
  return NULL;
}

static etk_status none_there(etk_error *e, const char *folder) {
  char **there;
  size_t count = 0;
  etk_status listed = etk_fs_list(e, &there, &count, folder);
  if (listed) return listed; /* a folder that may not be read says so rather than that it has nothing */
  const char *file = likely(there, count);
  etk_text names = ETK_TEXT_INIT;
  for (int i = 0; i < CANDIDATES; i++) etk_text_printf(&names, "%s%s", !i ? "" : i + 1 < CANDIDATES ? ", " : " or ", candidates[i].name);
  etk_status status =
      names.failed ? etk_fail_memory(e)
                   : etk_fail(e, ETK_E_NOT_FOUND, "%s: the folder has no %s; %s%s", folder, names.data,
                              file ? "it has other files, which are opened by their own names, such as "
                                  : "a GGUF or llama2.c model is opened by its file", file ? file : "");
  etk_fs_list_free(there, count);
  etk_text_free(&names);
  return status;
}

etk_status etk__weights_open_folder(etk_error *e, etk_weights *w, const char *folder) {
  etk_status status = ETK_OK;
  bool found = false;
  for (int i = 0; i < CANDIDATES && !found && !status; i++) {
    const struct candidate *c = &candidates[i];
    char *path = etk_path_join(folder, c->name);
    if (!path) return etk_fail_memory(e);
    if ((found = etk_fs_exists(path)))
      status = c->index ? open_index(e, &(listing){w, c->reader, folder, path}) : etk__weights_open_part(e, w, c->reader, path);
    etk_free(path);
  }
  if (!found) return none_there(e, folder);
  if (!status) status = etk__weights_list(e, w);
  return status ? status : etk__weights_facts_beside(e, w, folder);
}
