/* Safetensors as a container of weights: one file, or a folder with an index and shards. */
#include "json.h"
#include "weights_internal.h"

#include <string.h>

enum { INDEX_LIMIT = 64 << 20, SHARD_LIMIT = 10000 };

static etk_status add_shard(etk_error *e, etk_weights *w, const char *path) {
  etk_safetensors *file = NULL;
  etk_status status = etk_safetensors_open(e, &file, path);
  if (status) return status;
  struct part *part = etk__weights_add_part(e, w, path);
  if (!part) {
    etk_safetensors_close(file);
    return ETK_E_NO_MEMORY;
  }
  part->safetensors = file;
  return ETK_OK;
}

static etk_status list_weights(etk_error *e, etk_weights *w) {
  size_t count = 0;
  for (size_t p = 0; p < w->part_count; p++) count += etk_safetensors_count(w->parts[p].safetensors);
  w->weights = etk_arena_array(&w->arena, count + 1, sizeof *w->weights);
  if (!w->weights) return etk_fail_memory(e);
  for (size_t p = 0; p < w->part_count; p++)
    for (size_t i = 0; i < etk_safetensors_count(w->parts[p].safetensors); i++) {
      const etk_safetensors_entry *entry = etk_safetensors_at(w->parts[p].safetensors, i);
      w->weights[w->count++] = (etk_weight){.name = entry->name, .canonical = entry->name, .type_name = entry->dtype_name, .type = entry->dtype, .part = (int)p,
                                            .shape = entry->shape, .data = entry->data, .bytes = entry->bytes};
    }
  return ETK_OK;
}

/* config.json tells about the model.safetensors in its folder. */
static etk_status facts_of_folder(etk_error *e, etk_weights *w, const char *folder) {
  char *path = etk_path_join(folder, "config.json");
  etk_status status = path ? etk__weights_facts_json(e, &w->facts, path) : etk_fail_memory(e);
  etk_free(path);
  return status;
}

etk_status etk__weights_open_safetensors(etk_error *e, etk_weights *w, const char *path) {
  w->format = ETK_WEIGHTS_SAFETENSORS;
  etk_status status = add_shard(e, w, path);
  if (!status) status = list_weights(e, w);
  if (status || strcmp(etk_path_base(path), "model.safetensors")) return status;
  char *folder = etk_path_dir(path);
  status = folder ? facts_of_folder(e, w, folder) : etk_fail_memory(e);
  etk_free(folder);
  return status;
}

/* ---- shards ---- */
static etk_status shard_of(etk_error *e, etk_weights *w, const char *folder, const char *file, const struct part **out) {
  for (size_t i = 0; i < w->part_count; i++)
    if (!strcmp(etk_path_base(w->parts[i].path), file)) return *out = &w->parts[i], ETK_OK;
  if (!*file || strchr(file, '/') || !strcmp(file, "..")) return etk_fail(e, ETK_E_FORMAT, "%s: the index names the shard \"%.100s\", wanted a plain file name", folder, file);
  if (w->part_count == SHARD_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: more than %d shards", folder, SHARD_LIMIT);
  char *path = etk_path_join(folder, file);
  etk_status status = path ? add_shard(e, w, path) : etk_fail_memory(e);
  etk_free(path);
  if (!status) *out = &w->parts[w->part_count - 1];
  return status;
}

static etk_status open_shards(etk_error *e, etk_weights *w, const char *folder, const json_t *map, const char *index) {
  if (!json_is_object(map) || !json_object_size(map)) return etk_fail(e, ETK_E_FORMAT, "%s: has no object \"weight_map\" with tensors in it", index);
  const char *name;
  json_t *value;
  size_t held = 0;
  json_object_foreach((json_t *)(uintptr_t)map, name, value) {
    if (!json_is_string(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"weight_map\": the shard of '%s' must be a text", index, name);
    const struct part *part = NULL;
    etk_status status = shard_of(e, w, folder, json_string_value(value), &part);
    if (status) return status;
    if (!etk_safetensors_find(part->safetensors, name)) return etk_fail(e, ETK_E_FORMAT, "%s: places the tensor %s in %s, which does not hold it", index, name, json_string_value(value));
  }
  for (size_t p = 0; p < w->part_count; p++) held += etk_safetensors_count(w->parts[p].safetensors);
  if (held != json_object_size(map))
    return etk_fail(e, ETK_E_FORMAT, "%s: names %zu tensors, its shards hold %zu: index and shards do not belong together", index, json_object_size(map), held);
  return ETK_OK;
}

static etk_status open_index(etk_error *e, etk_weights *w, const char *folder, const char *index) {
  char *text = NULL;
  size_t size = 0;
  json_t *root = NULL;
  etk_status status = etk_fs_read(e, &text, &size, index, INDEX_LIMIT);
  if (!status) status = etk__json_parse(e, &root, index, text, size);
  etk_free(text);
  if (!status) status = open_shards(e, w, folder, json_object_get(root, "weight_map"), index);
  json_decref(root);
  return status;
}

etk_status etk__weights_open_folder(etk_error *e, etk_weights *w, const char *folder) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors", "adapters.safetensors",
                                      "diffusion_pytorch_model.safetensors"};
  w->format = ETK_WEIGHTS_SAFETENSORS;
  etk_status status = ETK_OK;
  bool found = false;
  for (size_t i = 0; i < sizeof names / sizeof *names && !found && !status; i++) {
    char *path = etk_path_join(folder, names[i]);
    if (!path) return etk_fail_memory(e);
    if ((found = etk_fs_exists(path))) status = i == 1 ? open_index(e, w, folder, path) : add_shard(e, w, path);
    etk_free(path);
  }
  if (!found)
    return etk_fail(e, ETK_E_NOT_FOUND, "%s: the folder has no model.safetensors, model.safetensors.index.json, adapter_model.safetensors, adapters.safetensors or "
                    "diffusion_pytorch_model.safetensors; a GGUF or llama2.c model is opened by its file", folder);
  if (!status) status = list_weights(e, w);
  return status ? status : facts_of_folder(e, w, folder);
}
