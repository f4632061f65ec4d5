/* etk/onnx.h: ONNX models (.onnx): graph and weights, read from the mapped file by their Protocol Buffers encoding.
 *
 * Everything but the values is checked and listed when a file is opened: names, shapes, byte counts, nesting. Values stay in the map; weights in files of
 * their own (external data) are mapped too. Any operator of any version is read: what a node means is not looked at, and nothing is run. Refused with the
 * place and the reason: values in segments, sparse initializers, two initializers (inputs, outputs of nodes) of one name. An open file is read by any
 * number of threads. Source: the comments of onnx.proto, IR version 13. */
#ifndef ETK_ONNX_H
#define ETK_ONNX_H

#include "quant.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_onnx etk_onnx;

/* Values of one type: an initializer, or a tensor in an attribute. */
typedef struct etk_onnx_array {
  const char *name;      /* "" where an attribute's has none */
  const char *type_name; /* as ONNX spells it: "FLOAT16" */
  int number;            /* ONNX's number of the type */
  int type;              /* etk_type, or -1 for one that is not computed with: COMPLEX64, UINT4, STRING … */
  etk_shape shape;
  const void *data;      /* the values, row-major, little-endian, in a map, at any alignment; NULL: etk_onnx_copy makes them (numbers of variable length), or
                          * they cannot be had (texts; external data of a model in memory) */
  size_t bytes;          /* of the values; types of 4 and 2 bits are packed, the first value in the low bits. Texts: 0 */
  const char *location;  /* of external data, relative to the model's folder; NULL */
  const unsigned char *message; /* its TensorProto */
  size_t message_bytes;
} etk_onnx_array;

typedef struct etk_onnx_dim {
  int64_t value;    /* -1: not told */
  const char *name; /* "batch_size"; NULL */
} etk_onnx_dim;

/* An input, an output, or what a graph tells of a value between them. */
typedef struct etk_onnx_value {
  const char *name;
  const char *type_name; /* of a tensor: its elements ("FLOAT"); "sequence", "map", "optional", "opaque", "sparse tensor"; "" where nothing tells */
  int number;            /* of the elements' type; 0 */
  int rank;              /* -1: no shape */
  const etk_onnx_dim *dims;
} etk_onnx_value;

typedef enum etk_onnx_kind { /* ONNX's own numbers */
  ETK_ONNX_FLOAT = 1, ETK_ONNX_INT, ETK_ONNX_TEXT, ETK_ONNX_TENSOR, ETK_ONNX_GRAPH, ETK_ONNX_FLOATS, ETK_ONNX_INTS, ETK_ONNX_TEXTS, ETK_ONNX_TENSORS, ETK_ONNX_GRAPHS,
  ETK_ONNX_SPARSE, ETK_ONNX_SPARSES, ETK_ONNX_TYPE, ETK_ONNX_TYPES /* their values are not read: count is 0 */
} etk_onnx_kind;

typedef struct etk_onnx_text {
  const char *data; /* bytes; a zero follows them */
  size_t size;
} etk_onnx_text;

typedef struct etk_onnx_graph etk_onnx_graph;
typedef struct etk_onnx_attribute {
  const char *name;
  const char *reference; /* inside a function: the attribute of the function that it stands for, and no value; NULL */
  etk_onnx_kind kind;
  size_t count; /* of values: 1 for the kinds of one */
  union {
    const float *floats;
    const int64_t *ints;
    const etk_onnx_text *texts;
    const etk_onnx_array *arrays;
    const etk_onnx_graph *graphs;
  } is;
} etk_onnx_attribute;

typedef struct etk_onnx_node {
  const char *op_type; /* "Conv" */
  const char *domain;  /* "" is ONNX's own */
  const char *name;    /* "" where it has none */
  const char *const *inputs; /* "" for one that is left out */
  const char *const *outputs;
  const etk_onnx_attribute *attributes;
  size_t input_count, output_count, attribute_count;
} etk_onnx_node;

struct etk_onnx_graph {
  const char *name;
  const etk_onnx_node *nodes; /* in the file's order, which is topological */
  const etk_onnx_array *initializers;
  const etk_onnx_value *inputs, *outputs, *values; /* inputs of older models list the initializers too */
  size_t node_count, initializer_count, input_count, output_count, value_count;
};

typedef struct etk_onnx_opset {
  const char *domain; /* "" is ONNX's own */
  int64_t version;
} etk_onnx_opset;
typedef struct etk_onnx_property {
  const char *key, *value;
} etk_onnx_property;
typedef struct etk_onnx_function { /* a model's own operator, written with others */
  const char *domain, *name;
  const char *const *inputs, *const *outputs;
  const etk_onnx_node *nodes;
  size_t input_count, output_count, node_count;
} etk_onnx_function;

typedef struct etk_onnx_model {
  int64_t ir_version, version;
  const char *producer, *producer_version, *domain;
  const etk_onnx_opset *opsets;
  const etk_onnx_property *properties;
  const etk_onnx_function *functions;
  size_t opset_count, property_count, function_count;
  const etk_onnx_graph *graph;
} etk_onnx_model;

/* Maps the file and its external data, whose names may not leave the model's folder. Takes at most ten times the model file's size and 16 MB. */
etk_status etk_onnx_open(etk_error *e, etk_onnx **out, const char *path);
/* The same over memory that outlives the handle; `name` is what messages call it. External data is then not there. */
etk_status etk_onnx_parse(etk_error *e, etk_onnx **out, const char *name, const void *bytes, size_t size);
void etk_onnx_close(etk_onnx *file); /* NULL is fine; what was borrowed dies with it, tensors do not */
const etk_onnx_model *etk_onnx_get(const etk_onnx *file);
const etk_onnx_array *etk_onnx_find(const etk_onnx *file, const char *name); /* an initializer of the main graph; NULL: absent */
const char *etk_onnx_type_name(int number); /* "FLOAT"; "?" */
/* The values of an array of this file, array->bytes of them, wherever they lie. */
etk_status etk_onnx_copy(etk_error *e, void *out, const etk_onnx *file, const etk_onnx_array *array);
/* A new reference: shared with the map where the values lie there, else a copy. Element types of etk_dtype only. */
etk_status etk_onnx_tensor(etk_error *e, etk_tensor **out, etk_onnx *file, const etk_onnx_array *array);

#ifdef __cplusplus
}
#endif
#endif
