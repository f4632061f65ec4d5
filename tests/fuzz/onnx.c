/* Fuzz target: an ONNX model. What is accepted must be reachable: every name, dimension and attribute, and every value that can be had. */
#include "etk/alloc.h"
#include "etk/onnx.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;
static void see(const char *text) { sink += (unsigned)strlen(text); }

static void see_array(const etk_onnx *file, const etk_onnx_array *array) {
  etk_error e = ETK_ERROR_INIT;
  see(array->name), see(array->type_name);
  if (array->bytes > 1 << 20) return; /* in the map, and so no larger than the file; what is unpacked may be eight times that */
  unsigned char *bytes = etk_alloc(array->bytes + 1);
  if (bytes && !etk_onnx_copy(&e, bytes, file, array))
    for (size_t i = 0; i < array->bytes; i++) sink += bytes[i];
  etk_free(bytes);
}

static void see_values(const etk_onnx_value *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    see(values[i].name), see(values[i].type_name);
    for (int d = 0; d < values[i].rank; d++) {
      if (values[i].dims[d].name) see(values[i].dims[d].name);
      if (values[i].dims[d].value < -1) __builtin_trap();
    }
  }
}

static void see_graph(const etk_onnx *file, const etk_onnx_graph *g);
static void see_attribute(const etk_onnx *file, const etk_onnx_attribute *a) {
  see(a->name);
  if (a->reference) see(a->reference);
  for (size_t i = 0; i < a->count; i++) switch (a->kind) {
    case ETK_ONNX_FLOAT:
    case ETK_ONNX_FLOATS:
      sink += a->is.floats[i] > 0;
      break;
    case ETK_ONNX_INT:
    case ETK_ONNX_INTS:
      sink += (unsigned)a->is.ints[i];
      break;
    case ETK_ONNX_TEXT:
    case ETK_ONNX_TEXTS:
      if (a->is.texts[i].data[a->is.texts[i].size]) __builtin_trap();
      break;
    case ETK_ONNX_TENSOR:
    case ETK_ONNX_TENSORS:
      see_array(file, &a->is.arrays[i]);
      break;
    case ETK_ONNX_GRAPH:
    case ETK_ONNX_GRAPHS:
      see_graph(file, &a->is.graphs[i]);
      break;
    default:
      __builtin_trap();
    }
}
static void see_nodes(const etk_onnx *file, const etk_onnx_node *nodes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const etk_onnx_node *n = &nodes[i];
    see(n->op_type), see(n->domain), see(n->name);
    if (!n->op_type[0]) __builtin_trap();
    for (size_t k = 0; k < n->input_count; k++) see(n->inputs[k]);
    for (size_t k = 0; k < n->output_count; k++) see(n->outputs[k]);
    for (size_t k = 0; k < n->attribute_count; k++) see_attribute(file, &n->attributes[k]);
  }
}
static void see_graph(const etk_onnx *file, const etk_onnx_graph *g) {
  see(g->name);
  see_nodes(file, g->nodes, g->node_count);
  for (size_t i = 0; i < g->initializer_count; i++) see_array(file, &g->initializers[i]);
  see_values(g->inputs, g->input_count), see_values(g->outputs, g->output_count), see_values(g->values, g->value_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_onnx *file;
  if (etk_onnx_parse(&e, &file, "input", data, size)) {
    if (!e.message[0] || file) __builtin_trap();
    return 0;
  }
  const etk_onnx_model *m = etk_onnx_get(file);
  see(m->producer), see(m->producer_version), see(m->domain);
  for (size_t i = 0; i < m->opset_count; i++) see(m->opsets[i].domain);
  for (size_t i = 0; i < m->property_count; i++) see(m->properties[i].key), see(m->properties[i].value);
  for (size_t i = 0; i < m->function_count; i++) see(m->functions[i].name), see_nodes(file, m->functions[i].nodes, m->functions[i].node_count);
  see_graph(file, m->graph);
  for (size_t i = 0; i < m->graph->initializer_count; i++)
    if (etk_onnx_find(file, m->graph->initializers[i].name) != &m->graph->initializers[i]) __builtin_trap();
  etk_onnx_close(file);
  return 0;
}
