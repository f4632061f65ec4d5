/* What the reader of PyTorch's files and its part of the pickle interpreter share. */
#ifndef ETK_ML_TORCH_INTERNAL_H
#define ETK_ML_TORCH_INTERNAL_H

#include "pickle.h"
#include "zip.h"

#include <etk/torch.h>

typedef struct etk__torch_type {
  const char *name;    /* torch.<name> */
  const char *storage; /* torch.<storage>; NULL: written as an UntypedStorage */
  unsigned char size;
  signed char dtype; /* etk_dtype, or -1 */
} etk__torch_type;

typedef struct etk__torch_storage {
  const char *key; /* terminated */
  const etk__torch_type *type; /* NULL: untyped, elements are bytes */
  uint64_t elements, bytes;
  const unsigned char *data;   /* NULL: deflated, or not found yet */
  const etk__zip_entry *entry; /* NULL in the older form */
  struct etk__torch_storage *next;
} etk__torch_storage;

typedef struct etk__torch_tensor {
  const etk__torch_storage *storage;
  const etk__torch_type *type;
  etk_shape shape;
  int64_t strides[ETK_MAX_RANK];
  uint64_t offset, bytes; /* offset: of the first element, in elements */
  bool parameter;
} etk__torch_tensor;

/* Where persistent ids lead: etk__pickle.user. */
typedef struct etk__torch_source {
  const etk__zip *zip; /* NULL: the older form, whose storages follow the pickles */
  const char *prefix;  /* "archive" */
  etk__torch_storage *storages; /* the latest first */
  size_t storage_count;
} etk__torch_source;

/* The row-major values in the map, at any alignment; NULL: they must be unpacked. */
const void *etk__torch_data(const etk_torch *file, size_t index);
const char *etk__torch_storage_class(etk_dtype dtype); /* "FloatStorage"; NULL: PyTorch had none for it before its untyped storages */
/* A copy of them; of a type that tensors cannot have, as bytes. */
etk_status etk__torch_unpack(etk_error *e, etk_tensor **out, const etk_torch *file, size_t index);

#endif
