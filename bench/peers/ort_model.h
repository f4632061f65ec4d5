/* ort_model.h: ONNX models of products, written in memory. The bytes of a protobuf message are put from the end to the beginning, because a message is preceded by
 * its size: what is written last stands first. */
#ifndef BENCH_PEERS_ORT_MODEL_H
#define BENCH_PEERS_ORT_MODEL_H

#include "ort.h"

typedef struct onnx_bytes {
  uint8_t *base;
  size_t at, size; /* base + at is the first byte so far */
} onnx_bytes;

static inline void onnx_put(onnx_bytes *b, const void *bytes, size_t size) {
  if (size > b->at) {
    fputs("ort: the model is larger than was thought\n", stderr);
    exit(1);
  }
  memcpy(b->base + (b->at -= size), bytes, size);
}
static inline void onnx_varint(onnx_bytes *b, uint64_t value) {
  uint8_t bytes[10];
  size_t n = 0;
  do bytes[n++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
  while (value >>= 7);
  onnx_put(b, bytes, n);
}
static inline void onnx_int(onnx_bytes *b, int field, int64_t value) {
  onnx_varint(b, (uint64_t)value);
  onnx_varint(b, (uint64_t)field << 3);
}
/* What was put since `end` becomes the value of a field. */
static inline void onnx_close(onnx_bytes *b, int field, size_t end) {
  onnx_varint(b, end - b->at);
  onnx_varint(b, (uint64_t)field << 3 | 2);
}
static inline void onnx_string(onnx_bytes *b, int field, const char *text) {
  size_t end = b->at;
  onnx_put(b, text, strlen(text));
  onnx_close(b, field, end);
}

/* The numbers of fields are those of onnx.proto. */
static inline void onnx_initializer(onnx_bytes *b, const char *name, enum onnx_type type, const int64_t *dims, int rank, const void *data, size_t bytes) {
  size_t end = b->at, raw = b->at;
  onnx_put(b, data, bytes);
  onnx_close(b, 9, raw);
  onnx_string(b, 8, name);
  onnx_int(b, 2, (int)type);
  for (int i = rank; i-- > 0;) onnx_int(b, 1, dims[i]);
  onnx_close(b, 5, end);
}
/* (any number, columns) of floats; field 11: an input, 12: an output. */
static inline void onnx_value(onnx_bytes *b, int field, const char *name, int64_t columns) {
  size_t end = b->at, at;
  onnx_int(b, 1, columns);
  onnx_close(b, 1, end);
  at = b->at;
  onnx_string(b, 2, "rows");
  onnx_close(b, 1, at);
  onnx_close(b, 2, end);
  onnx_int(b, 1, ONNX_FLOAT);
  onnx_close(b, 1, end);
  onnx_close(b, 2, end);
  onnx_string(b, 1, name);
  onnx_close(b, field, end);
}
typedef struct onnx_attribute {
  const char *name; /* NULL: the end of a list */
  int64_t value;
} onnx_attribute;
/* in and out: names, NULL at the end. */
static inline void onnx_node(onnx_bytes *b, const char *domain, const char *type, const char *const *in, const char *const *out, const onnx_attribute *attributes) {
  size_t end = b->at;
  onnx_string(b, 7, domain);
  for (; attributes && attributes->name; attributes++) {
    size_t at = b->at;
    onnx_int(b, 20, 2 /* an integer */);
    onnx_int(b, 3, attributes->value);
    onnx_string(b, 1, attributes->name);
    onnx_close(b, 5, at);
  }
  onnx_string(b, 4, type);
  int ins = 0, outs = 0;
  while (in[ins]) ins++;
  while (out[outs]) outs++;
  while (outs-- > 0) onnx_string(b, 2, out[outs]);
  while (ins-- > 0) onnx_string(b, 1, in[ins]);
  onnx_close(b, 1, end);
}
/* Around the graph, which is all that has been put. */
static inline void onnx_model(onnx_bytes *b) {
  static const struct {
    const char *domain;
    int64_t version;
  } sets[] = {{"", 14}, {"com.microsoft", 1}};
  onnx_string(b, 2, "products");
  onnx_close(b, 7, b->size);
  for (int i = 0; i < 2; i++) {
    size_t end = b->at;
    onnx_int(b, 2, sets[i].version);
    onnx_string(b, 1, sets[i].domain);
    onnx_close(b, 8, end);
  }
  onnx_int(b, 1, 7 /* the file format */);
}

#endif
