/* etk/numpy.h: NumPy's files: .npy (one array, versions 1 to 3) and .npz (a ZIP archive of them).
 *
 * Little-endian numbers and booleans are read; Python objects, records, texts, dates, complex and big-endian numbers are an error. Arrays in Fortran order
 * are copied into row-major order. NumPy has no bfloat16: it is written as ml_dtypes and MLX do, as '<V2', and read from '<V2' and '|V2'; in Python,
 * array.view(ml_dtypes.bfloat16) gives the numbers back. */
#ifndef ETK_NUMPY_H
#define ETK_NUMPY_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A tensor that shares the mapped file where its values lie aligned and in row-major order, else a copy. */
etk_status etk_npy_open(etk_error *e, etk_tensor **out, const char *path);
/* The same over memory that outlives the tensor; `name` is what messages call it. */
etk_status etk_npy_parse(etk_error *e, etk_tensor **out, const char *name, const void *bytes, size_t size);
etk_status etk_npy_write(etk_error *e, const char *path, const etk_tensor *tensor, bool replace); /* atomically; version 1 */

typedef struct etk_npz etk_npz;
typedef struct etk_npz_entry {
  const char *name; /* without ".npy" */
  etk_dtype dtype;
  etk_shape shape;
  bool fortran_order;
  bool compressed;
  size_t bytes; /* of the values */
} etk_npz_entry;

/* Reads the directory and the arrays' headers. The file stays mapped until the last tensor taken from it is gone. */
etk_status etk_npz_open(etk_error *e, etk_npz **out, const char *path);
etk_status etk_npz_parse(etk_error *e, etk_npz **out, const char *name, const void *bytes, size_t size);
void etk_npz_close(etk_npz *file); /* NULL is fine */
size_t etk_npz_count(const etk_npz *file);
const etk_npz_entry *etk_npz_at(const etk_npz *file, size_t index); /* in the archive's order */
const etk_npz_entry *etk_npz_find(const etk_npz *file, const char *name);
/* Checks the CRC-32 and gives a new reference; shared with the map where that is possible. */
etk_status etk_npz_tensor(etk_error *e, etk_tensor **out, etk_npz *file, const char *name);

typedef struct etk_npz_item {
  const char *name; /* a path of its own inside the archive, without ".npy" */
  const etk_tensor *tensor;
} etk_npz_item;
/* Writes atomically, stored, in the order given, values on multiples of 64 bytes; the same items give the same bytes. Below 4 GiB. */
etk_status etk_npz_write(etk_error *e, const char *path, const etk_npz_item *items, size_t count, bool replace);

#ifdef __cplusplus
}
#endif
#endif
