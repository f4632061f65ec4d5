#include "mapped.h"

static etk_status new_file(etk_error *e, etk__mapped **out, size_t struct_size, const char *name) {
  etk__mapped *file = etk_calloc(1, struct_size);
  *out = file;
  if (file) {
    atomic_init(&file->references, 1);
    file->name = etk_arena_strdup(&file->arena, name);
    if (file->name) return ETK_OK;
    etk_free(file);
  }
  *out = NULL;
  return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading it", name);
}

static etk_status finish(void **out, etk__mapped *file, etk_status status) {
  if (status == ETK_OK) *out = file;
  else etk__mapped_unref(file);
  return status;
}

etk_status etk__mapped_over(etk_error *e, void **out, size_t struct_size, const char *name, const void *bytes, size_t size, etk__mapped_parse *parse) {
  etk__mapped *file;
  *out = NULL;
  etk_status status = new_file(e, &file, struct_size, name);
  return status ? status : finish(out, file, parse(e, file, bytes, size));
}

etk_status etk__mapped_open(etk_error *e, void **out, size_t struct_size, const char *path, etk__mapped_parse *parse) {
  etk__mapped *file;
  *out = NULL;
  etk_status status = new_file(e, &file, struct_size, path);
  if (status) return status;
  status = etk_map_open(e, &file->map, path);
  return finish(out, file, status ? status : parse(e, file, file->map.data, file->map.size));
}

void etk__mapped_ref(etk__mapped *file) { atomic_fetch_add(&file->references, 1); }

void etk__mapped_unref(void *owner) {
  etk__mapped *file = owner;
  if (!file || atomic_fetch_sub(&file->references, 1) != 1) return;
  if (file->release) file->release(file);
  etk_map_close(&file->map);
  etk_arena_fini(&file->arena);
  etk_free(file);
}
