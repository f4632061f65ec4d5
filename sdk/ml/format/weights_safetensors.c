/* Safetensors as weights. */
#include "weights_internal.h"

#include <etk/safetensors.h>
#include <string.h>

static etk_status open_file(etk_error *e, void **file, const char *path) {
  etk_safetensors *opened = NULL;
  etk_status status = etk_safetensors_open(e, &opened, path);
  *file = opened;
  return status;
}
static void close_file(void *file) { etk_safetensors_close(file); }
static size_t count(const void *file) { return etk_safetensors_count(file); }
static bool holds(const void *file, const char *name) { return etk_safetensors_find(file, name) != NULL; }

static void at(etk_weight *out, const void *file, size_t index) {
  const etk_safetensors_entry *entry = etk_safetensors_at(file, index);
  etk_type type;
  bool float8 = entry->dtype < 0 && etk_type_parse(&type, entry->dtype_name); /* both spell them alike */
  *out = (etk_weight){.name = entry->name,
                      .type_name = entry->dtype_name,
                      .type = float8 ? (int)type : entry->dtype,
                      .shape = entry->shape,
                      .data = entry->data,
                      .bytes = entry->bytes};
}

static size_t key_count(const void *file) {
  size_t keys = 0;
  while (etk_safetensors_metadata_at(file, keys, NULL)) keys++;
  return keys;
}
static const char *key_at(const void *file, size_t index) { return etk_safetensors_metadata_at(file, index, NULL); }
static void key_value(const void *file, size_t index, etk_text *out) {
  const char *value = NULL;
  if (etk_safetensors_metadata_at(file, index, &value)) etk_text_json(out, value, strlen(value));
}
static const char *metadata(const void *file, const char *key) { return etk_safetensors_metadata(file, key); }

const etk__weights_reader etk__weights_safetensors = {
    ETK_WEIGHTS_SAFETENSORS, open_file, close_file, count, at, holds, NULL, key_count, key_at, key_value, metadata, NULL};
