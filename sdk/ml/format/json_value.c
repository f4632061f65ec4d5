/* Values of JSON: their text, what messages say of them, and numbers and flags under a key. */
#include "json.h"

#include <etk/fs.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- writing ---- */

static int append(const char *bytes, size_t size, void *text) {
  etk_text_append(text, bytes, size);
  return 0;
}

void etk__json_put(etk_text *out, const json_t *value, size_t flags) {
  if (!value || json_dump_callback(value, append, out, flags | JSON_ENCODE_ANY)) out->failed = true;
}

etk_status etk__json_write(etk_error *e, json_t *root, const char *folder, const char *file) {
  char *path = etk_path_join(folder, file);
  etk_text text = ETK_TEXT_INIT;
  etk__json_put(&text, root, JSON_INDENT(2) | JSON_SORT_KEYS);
  etk_text_putc(&text, '\n');
  etk_status status = path && !text.failed ? etk_fs_write(e, path, text.data, text.size, true) : etk_fail_memory(e);
  etk_text_free(&text);
  etk_free(path);
  json_decref(root);
  return status;
}

/* ---- messages ---- */

struct shown {
  char *out;
  size_t used, size;
};

static int show_some(const char *bytes, size_t size, void *user) {
  struct shown *s = user;
  size_t room = s->size - s->used, taken = size < room ? size : room;
  memcpy(s->out + s->used, bytes, taken);
  s->used += taken;
  return taken < size ? -1 : 0;
}

static bool within_character(const char *at) { return ((unsigned char)*at & 0xc0) == 0x80; }

etk__json_shown etk__json_show(const json_t *value) {
  etk__json_shown shown = {""};
  struct shown s = {shown.text, 0, sizeof shown.text - 1};
  bool cut = json_dump_callback(value, show_some, &s, JSON_ENCODE_ANY | JSON_COMPACT) != 0;
  while (cut && s.used && within_character(shown.text + s.used - 1)) s.used--;
  if (cut && s.used && (unsigned char)shown.text[s.used - 1] >= 0xc0) s.used--;
  snprintf(shown.text + s.used, sizeof shown.text - s.used, "%s", s.used ? "" : "?");
  return shown;
}

etk_status etk__json_wrong(etk_error *e, const char *name, const char *key, const json_t *value, const char *wanted) {
  return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" is %s, wanted %s", name, key, etk__json_show(value).text, wanted);
}

/* ---- reading ---- */

etk_status etk__json_read(etk_error *e, json_t **out, const char *path, size_t limit, bool array) {
  char *text = NULL;
  size_t size = 0;
  *out = NULL;
  etk_status status = etk_fs_read(e, &text, &size, path, limit);
  if (!status) status = etk__json_parse(e, out, path, text, size);
  etk_free(text);
  if (status || (array ? json_is_array(*out) : json_is_object(*out))) return status;
  json_decref(*out);
  *out = NULL;
  return etk_fail(e, ETK_E_FORMAT, "%s: wanted a JSON %s", path, array ? "array" : "object");
}

static bool is_set(const json_t *value) { return value && !json_is_null(value); }

etk_status etk__json_count(etk_error *e, const char *name, const json_t *object, const char *key, bool required, int64_t *out) {
  const json_t *value = json_object_get(object, key);
  if (!is_set(value)) return required ? etk_fail(e, ETK_E_FORMAT, "%s: has no \"%s\", which a model of this type needs", name, key) : ETK_OK;
  if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT32_MAX)
    return etk__json_wrong(e, name, key, value, "a whole number from 1 to 2^31 - 1");
  *out = json_integer_value(value);
  return ETK_OK;
}

etk_status etk__json_number(etk_error *e, const char *name, const json_t *object, const char *key, double *out) {
  const json_t *value = json_object_get(object, key);
  if (!is_set(value)) return ETK_OK;
  if (!json_is_number(value) || !isfinite(json_number_value(value)) || json_number_value(value) <= 0)
    return etk__json_wrong(e, name, key, value, "a number above 0");
  *out = json_number_value(value);
  return ETK_OK;
}

etk_status etk__json_bool(etk_error *e, const char *name, const json_t *object, const char *key, bool *out) {
  const json_t *value = json_object_get(object, key);
  if (!is_set(value)) return ETK_OK;
  if (!json_is_boolean(value)) return etk__json_wrong(e, name, key, value, "true or false");
  *out = json_is_true(value);
  return ETK_OK;
}
