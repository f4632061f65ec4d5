/* ml_onnx_bytes.h: ONNX models made by hand, field by field. */
#ifndef TESTS_ML_ONNX_BYTES_H
#define TESTS_ML_ONNX_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct proto {
  unsigned char bytes[4096];
  size_t size;
} proto;

static inline void put_byte(proto *p, unsigned char byte) {
  if (p->size == sizeof p->bytes) abort();
  p->bytes[p->size++] = byte;
}
static inline void put_varint(proto *p, uint64_t value) {
  for (; value > 127; value >>= 7) put_byte(p, (unsigned char)(value | 128));
  put_byte(p, (unsigned char)value);
}
static inline void put_number(proto *p, unsigned field, int64_t value) { put_varint(p, field << 3), put_varint(p, (uint64_t)value); }
static inline void put_bytes(proto *p, unsigned field, const void *bytes, size_t size) {
  put_varint(p, field << 3 | 2), put_varint(p, size);
  for (size_t i = 0; i < size; i++) put_byte(p, ((const unsigned char *)bytes)[i]);
}
static inline void put_text(proto *p, unsigned field, const char *text) { put_bytes(p, field, text, strlen(text)); }
static inline void put_pair(proto *p, unsigned field, const char *key, const char *value) {
  proto pair = {0};
  put_text(&pair, 1, key), put_text(&pair, 2, value), put_bytes(p, field, pair.bytes, pair.size);
}
static inline int atol_of(const char *text) { return (int)strtol(text, NULL, 10); }

static inline proto tensor_proto(const char *name, int type, int rank, const int64_t *dims) {
  proto p = {0};
  for (int i = 0; i < rank; i++) put_number(&p, 1, dims[i]);
  put_number(&p, 2, type);
  put_text(&p, 8, name);
  return p;
}
static inline proto model_of(const proto *graph) {
  proto p = {0};
  put_number(&p, 1, 8), put_bytes(&p, 7, graph->bytes, graph->size);
  return p;
}
static inline proto model_proto(const proto *initializer) {
  proto graph = {0};
  put_bytes(&graph, 5, initializer->bytes, initializer->size);
  return model_of(&graph);
}
static inline proto model_with_attribute(const proto *attribute) {
  proto graph = {0}, node = {0};
  put_text(&node, 4, "Add"), put_bytes(&node, 5, attribute->bytes, attribute->size), put_bytes(&graph, 1, node.bytes, node.size);
  return model_of(&graph);
}

#endif
