/* Quantized weights as config.json of an MLX folder describes them. */
#include "quantization.h"
#include "ml/format/json.h"
#include "ml/format/stem.h"
#include "ml/format/weights_internal.h"

#include <stdio.h>
#include <string.h>

enum { BITS = 4, GROUP = 64 }; /* MLX's own, where the object does not say */

static etk_status unsupported(etk_error *e, const char *name, const char *key, const char *what, const json_t *value) {
  return etk_fail(e, ETK_E_UNSUPPORTED,
                  "%s: \"%s\"%s is %s; this version runs MLX's affine codes of 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128", name, key, what,
                  etk__json_show(value).text);
}

static bool is_one_of(const json_t *value, const int *wanted, size_t count) {
  for (size_t i = 0; i < count && json_is_integer(value); i++)
    if (json_integer_value(value) == wanted[i]) return true;
  return false;
}

/* bits, group_size and mode of the object or of a module in it; what is not there is left out. */
static etk_status check_numbers(etk_error *e, const char *name, const char *where, const json_t *object) {
  static const int all_bits[] = {2, 3, 4, 5, 6, 8}, all_groups[] = {32, 64, 128};
  const json_t *bits = json_object_get(object, "bits"), *group = json_object_get(object, "group_size"), *mode = json_object_get(object, "mode");
  if (bits && !is_one_of(bits, all_bits, 6)) return unsupported(e, name, where, ": bits", bits);
  if (group && !is_one_of(group, all_groups, 3)) return unsupported(e, name, where, ": group_size", group);
  if (mode && !(json_is_string(mode) && !strcmp(json_string_value(mode), "affine"))) return unsupported(e, name, where, ": mode", mode);
  return ETK_OK;
}

static int number(const json_t *object, const char *key, int otherwise) {
  const json_t *value = json_object_get(object, key);
  return value ? (int)json_integer_value(value) : otherwise;
}

etk_status etk__quantization_read(etk_error *e, struct quantization *out, const char *name, const json_t *root) {
  json_t *object = json_object_get(root, "quantization"), *other = json_object_get(root, "quantization_config"), *value;
  const char *key;
  if (out) *out = (struct quantization){.present = false};
  if (other && !json_is_null(other) && !json_equal(object, other)) return unsupported(e, name, "quantization_config", "", other); /* mlx-lm writes a copy of the other */
  if (!object || json_is_null(object)) return ETK_OK;
  if (!json_is_object(object)) return unsupported(e, name, "quantization", "", object);
  etk_status status = check_numbers(e, name, "quantization", object);
  json_object_foreach(object, key, value) {
    if (status) return status;
    if (json_is_object(value)) status = check_numbers(e, name, key, value);
    else if (strchr(key, '.') && !json_is_boolean(value)) status = unsupported(e, name, key, "", value);
  }
  if (status || !out) return status;
  *out = (struct quantization){true, number(object, "bits", BITS), number(object, "group_size", GROUP), json_incref(object)};
  return ETK_OK;
}

etk_status etk__quantization_open(etk_error *e, struct quantization *out, const etk_weights *weights) {
  char *path = NULL;
  json_t *root = NULL;
  *out = (struct quantization){.present = false};
  etk_status status = etk__weights_config_path(e, &path, etk_weights_path(weights));
  if (!status && path && etk_fs_exists(path)) {
    status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
    if (!status) status = etk__quantization_read(e, out, path, root);
  }
  json_decref(root);
  etk_free(path);
  return status;
}

void etk__quantization_fini(struct quantization *q) { json_decref(q->object); }

bool etk__quantization_of(const struct quantization *q, const char *module, int *bits, int *group) {
  const json_t *own = json_object_get(q->object, module);
  *bits = number(json_is_object(own) ? own : NULL, "bits", q->bits);
  *group = number(json_is_object(own) ? own : NULL, "group_size", q->group);
  return !json_is_false(own);
}

const char *etk__quantization_beside(char *out, size_t size, const char *name, const char *leaf) {
  size_t stem = etk__stem(name, ".weight");
  return stem && snprintf(out, size, "%.*s.%s", (int)stem, name, leaf) < (int)size ? out : NULL;
}

const etk_weight *etk__quantization_codes(const struct quantization *q, const etk_weights *weights, const char *name) {
  const char *leaf = strrchr(name, '.');
  char whole[512];
  if (!q->present || !leaf || (strcmp(leaf, ".scales") && strcmp(leaf, ".biases"))) return NULL;
  if (snprintf(whole, sizeof whole, "%.*s.weight", (int)(leaf - name), name) >= (int)sizeof whole) return NULL;
  const etk_weight *codes = etk_weights_find(weights, whole);
  return codes && codes->type == (int)ETK_U32 ? codes : NULL;
}
