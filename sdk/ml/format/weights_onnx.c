/* The initializers of an ONNX model's main graph as weights. */
#include "weights_internal.h"

#include <etk/onnx.h>
#include <inttypes.h>
#include <string.h>

static etk_status open_file(etk_error *e, void **file, const char *path) {
  etk_onnx *opened = NULL;
  etk_status status = etk_onnx_open(e, &opened, path);
  *file = opened;
  return status;
}
static void close_file(void *file) { etk_onnx_close(file); }
static const etk_onnx_array *array_at(const void *file, size_t i) { return &etk_onnx_get(file)->graph->initializers[i]; }
static size_t count(const void *file) { return etk_onnx_get(file)->graph->initializer_count; }

static void at(etk_weight *out, const void *file, size_t i) {
  const etk_onnx_array *array = array_at(file, i);
  *out = (etk_weight){
      .name = array->name, .type_name = array->type_name, .type = array->type, .shape = array->shape, .data = array->data, .bytes = array->bytes};
}

static etk_status unpack(etk_error *e, etk_tensor **out, void *file, size_t i) {
  const etk_onnx_array *array = array_at(file, i);
  etk_status status = etk_tensor_new(e, out, ETK_U8, etk_shape_of(1, (int64_t)array->bytes));
  if (!status) status = etk_onnx_copy(e, etk_tensor_data(*out), file, array);
  if (!status) return ETK_OK;
  etk_tensor_unref(*out);
  *out = NULL;
  return status;
}

/* ---- keys: the model's own fields, the versions of its operators, and metadata_props ---- */
enum { FIELDS = 6 };
static const char *const fields[FIELDS] = {"ir_version", "producer_name", "producer_version", "domain", "model_version", "graph"};

static size_t key_count(const void *file) {
  const etk_onnx_model *m = etk_onnx_get(file);
  return FIELDS + m->opset_count + m->property_count;
}
static const char *key_at(const void *file, size_t i) {
  const etk_onnx_model *m = etk_onnx_get(file);
  if (i < FIELDS) return fields[i];
  if (i < FIELDS + m->opset_count) return *m->opsets[i - FIELDS].domain ? m->opsets[i - FIELDS].domain : "ai.onnx";
  return i < key_count(file) ? m->properties[i - FIELDS - m->opset_count].key : NULL;
}
static void key_value(const void *file, size_t i, etk_text *out) {
  const etk_onnx_model *m = etk_onnx_get(file);
  const char *const texts[FIELDS] = {NULL, m->producer, m->producer_version, m->domain, NULL, m->graph->name};
  const char *text = i < FIELDS ? texts[i] : NULL;
  if (i >= FIELDS + m->opset_count && i < key_count(file)) text = m->properties[i - FIELDS - m->opset_count].value;
  if (text) etk_text_json(out, text, strlen(text));
  else etk_text_printf(out, "%" PRId64, i >= FIELDS ? m->opsets[i - FIELDS].version : i ? m->version : m->ir_version);
}
static const char *metadata(const void *file, const char *key) {
  const etk_onnx_model *m = etk_onnx_get(file);
  for (size_t i = 0; i < m->property_count; i++)
    if (!strcmp(m->properties[i].key, key)) return m->properties[i].value;
  return NULL;
}

const etk__weights_reader etk__weights_onnx = {ETK_WEIGHTS_ONNX, open_file, close_file, count,     at,       NULL,
                                               unpack,           key_count, key_at,     key_value, metadata, NULL};
