#include "ml/format/json.h"
#include "internal.h"

etk_status etk__no_memory(etk_error *e, const char *what) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", what); }

const char *etk__json_text(const json_t *object, const char *key) { return json_string_value(json_object_get(object, key)); }

bool etk__json_flag(const json_t *object, const char *key, bool otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

json_t *etk__json_load(etk_error *e, const char *name, const char *bytes, size_t size) {
  json_error_t problem;
  json_t *json = etk__json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
  if (!json && json_error_code(&problem) == json_error_out_of_memory) etk__no_memory(e, name);
  else if (!json) etk_fail(e, ETK_E_FORMAT, "%s:%d:%d: not valid JSON: %s", name, problem.line, problem.column, problem.text);
  else if (!json_is_object(json)) {
    etk_fail(e, ETK_E_FORMAT, "%s: a JSON object is wanted at the top", name);
    json_decref(json);
    json = NULL;
  }
  return json;
}
