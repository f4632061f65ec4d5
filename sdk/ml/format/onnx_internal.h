/* onnx_internal.h: what the files of the ONNX reader share. Not installed. */
#ifndef ETK_ML_FORMAT_ONNX_INTERNAL_H
#define ETK_ML_FORMAT_ONNX_INTERNAL_H

#include "mapped.h"
#include "protobuf.h"

#include <etk/onnx.h>

typedef struct etk__onnx_external { /* a file of weights beside the model */
  struct etk__onnx_external *next;
  const char *location;
  etk_map map;
} etk__onnx_external;

struct etk_onnx {
  etk__mapped base; /* first */
  etk_onnx_model model;
  const etk_onnx_array **by_name; /* initializers of the main graph */
  const unsigned char *begin;     /* of the file, for places in messages */
  const char *folder;             /* NULL: the model is in memory */
  etk__onnx_external *external;
};

typedef struct etk__onnx_reader {
  etk__proto_file file;
  etk_onnx *onnx;
  size_t budget; /* bytes that may still be taken */
  char *texts;   /* room for names */
  size_t text_left;
  int depth;     /* of graphs inside each other */
} etk__onnx_reader;

/* Zeroed memory of the file's, or NULL: then return etk__onnx_short. */
void *etk__onnx_take(etk__onnx_reader *r, size_t count, size_t size);
etk_status etk__onnx_short(etk__onnx_reader *r);
/* A terminated copy of a name: UTF-8 without a zero byte. An absent field gives "". */
etk_status etk__onnx_text(etk__onnx_reader *r, const char *what, const etk__proto_field *field, const char **out);
/* A TensorProto, with its sizes checked and its values found. */
etk_status etk__onnx_read_array(etk__onnx_reader *r, etk__proto_span message, etk_onnx_array *out);
void etk__onnx_close_external(void *file);

#endif
