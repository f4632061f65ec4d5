#include "ml/format/json.h"
#include "internal.h"

#include <etk/fs.h>

etk_status etk__no_memory(etk_error *e, const char *what) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", what); }

const char *etk__json_text(const json_t *object, const char *key) { return json_string_value(json_object_get(object, key)); }

bool etk__json_flag(const json_t *object, const char *key, bool otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

json_t *etk__json_load(etk_error *e, const char *name, const char *bytes, size_t size) {
  json_t *json;
  if (etk__json_parse_tokenizer(e, &json, name, bytes, size) == ETK_OK && !json_is_object(json)) {
    etk_fail(e, ETK_E_FORMAT, "%s: a JSON object is wanted at the top", name);
    json_decref(json);
    json = NULL;
  }
  return json;
}

etk_status etk__json_load_beside(etk_error *e, json_t **out, const char *folder, const char *name) {
  char *path = etk_path_join(folder, name), *bytes;
  size_t size;
  *out = NULL;
  if (!path) return etk__no_memory(e, folder);
  etk_status s = ETK_OK;
  if (etk_fs_exists(path) && (s = etk_fs_read(e, &bytes, &size, path, ETK__TOKENIZER_FILE_LIMIT)) == ETK_OK) {
    *out = etk__json_load(e, path, bytes, size);
    if (!*out) s = e ? e->status : ETK_E_FORMAT;
    etk_free(bytes);
  }
  etk_free(path);
  return s;
}
