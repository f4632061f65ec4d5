/* What the readers and writers of NumPy's files share, and the copy of strided arrays that PyTorch's files need too. */
#ifndef ETK_ML_NUMPY_INTERNAL_H
#define ETK_ML_NUMPY_INTERNAL_H

#include <etk/alloc.h>
#include <etk/numpy.h>
#include <etk/text.h>

enum { ETK__NPY_HEADER_LIMIT = 65536 }; /* bytes before the values; NumPy itself refuses headers above 10000 */

typedef struct etk__npy {
  etk_dtype dtype;
  etk_shape shape;
  bool fortran_order;
  size_t data_at; /* behind the header */
  size_t bytes;   /* of the values */
} etk__npy;

/* Reads the header from the first `size` bytes of a file of `whole`, and checks that the values fill the rest. */
etk_status etk__npy_header(etk_error *e, etk__npy *out, const char *name, const unsigned char *bytes, size_t size, uint64_t whole);
/* The header of a tensor, or an error that calls it `name`. */
etk_status etk__npy_put_header(etk_error *e, etk_text *out, const char *name, const etk_tensor *tensor);

/* Copies an array whose strides count elements into row-major order; swap: turns the bytes of each element around. */
void etk__strided_copy(void *out, const void *in, size_t element, const etk_shape *shape, const int64_t *strides, bool swap);
void etk__npy_strides(const etk__npy *array, int64_t strides[ETK_MAX_RANK]);

const char *etk__npy_type_name(etk_dtype dtype); /* NumPy's: "float32" */
/* The row-major values of an entry in the map, at any alignment and not checked against their CRC-32; NULL: they must be unpacked. */
const void *etk__npz_data(const etk_npz *file, size_t index);
etk_status etk__npz_check(etk_error *e, const etk_npz *file); /* every entry against its CRC-32 */

#endif
