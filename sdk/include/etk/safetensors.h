/* etk/safetensors.h: read (mapped, checked) and write safetensors files. Layout: u64 header size, JSON header, byte buffer. */
#ifndef ETK_SAFETENSORS_H
#define ETK_SAFETENSORS_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_safetensors etk_safetensors;
typedef struct etk_safetensors_entry {
  const char *name;
  const char *dtype_name; /* as the file spells it */
  int dtype;              /* etk_dtype, or -1 for a type we cannot hold */
  etk_shape shape;
  const void *data;       /* in the map; any alignment */
  size_t bytes;
} etk_safetensors_entry;

/* Opens and checks everything: sizes, JSON, UTF-8, duplicate names, products, holes, overlaps. The file stays mapped until the last tensor
 * taken from it is gone. */
etk_status etk_safetensors_open(etk_error *e, etk_safetensors **out, const char *path);
/* The same over memory that outlives the handle (for fuzzing); `name` is what messages call it. */
etk_status etk_safetensors_parse(etk_error *e, etk_safetensors **out, const char *name, const void *bytes, size_t size);
void etk_safetensors_close(etk_safetensors *file);
size_t etk_safetensors_count(const etk_safetensors *file);
const etk_safetensors_entry *etk_safetensors_at(const etk_safetensors *file, size_t index); /* in file order */
const etk_safetensors_entry *etk_safetensors_find(const etk_safetensors *file, const char *name);
const char *etk_safetensors_metadata(const etk_safetensors *file, const char *key); /* borrowed; NULL: absent */
const char *etk_safetensors_metadata_at(const etk_safetensors *file, size_t index, const char **value); /* the key; NULL behind the last; value may be NULL */
/* A tensor that shares the map (a new reference to the caller). */
etk_status etk_safetensors_tensor(etk_error *e, etk_tensor **out, etk_safetensors *file, const char *name);

typedef struct etk_safetensors_item {
  const char *name;
  const etk_tensor *tensor;
  etk_dtype store_as; /* converted while written */
} etk_safetensors_item;
/* Writes atomically; items are sorted as the reference writer does (wider types first, then name). metadata: count pairs key, value. */
etk_status etk_safetensors_write(etk_error *e, const char *path, const etk_safetensors_item *items, size_t count,
                                 const char *const *metadata, size_t metadata_count, bool replace);

/* A tensor whose stored bytes are in memory (data), or made while they are written (data NULL): fill puts `rows` rows from `row` on, of all dims but the last, into
 * out, about a megabyte a time and in order; a tensor that is given twice, or written after a failure, is filled from its start. */
typedef etk_status (*etk_safetensors_fill)(etk_error *e, void *user, void *out, int64_t row, int64_t rows);
typedef struct etk_safetensors_stream {
  const char *name;
  etk_dtype dtype;
  etk_shape shape;
  const void *data;
  etk_safetensors_fill fill;
  void *user;
} etk_safetensors_stream;
typedef struct etk_safetensors_write_options {
  bool replace;
  int64_t shard_bytes; /* 0: one file; else, where more bytes of tensors are to be written: files of at most so many (of one tensor at least), in the order given */
} etk_safetensors_write_options;
/* Writes atomically: no file gets its name before all are written. Shards of "model.safetensors" are "model-00001-of-00002.safetensors" …, each with the metadata, and
 * "model.safetensors.index.json" says which tensor lies where. options may be NULL; shards (may be NULL): how many files there are, the index not counted. */
etk_status etk_safetensors_write_streams(etk_error *e, const char *path, const etk_safetensors_stream *streams, size_t count, const char *const *metadata,
                                         size_t metadata_count, const etk_safetensors_write_options *options, int *shards);

#ifdef __cplusplus
}
#endif
#endif
