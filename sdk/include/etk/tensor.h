/* etk/tensor.h: element types, shapes and tensors.
 *
 * A tensor is opaque, row-major and contiguous; dims are int64. Storage that we allocate is 64-byte aligned; mapped weights promise only their
 * file's alignment. Tensors made here are shared by reference count (ref/unref, thread-safe); tensors made by operations belong to their graph
 * (etk/graph.h) and die with it. */
#ifndef ETK_TENSOR_H
#define ETK_TENSOR_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_dtype {
  ETK_F32, ETK_F16, ETK_BF16, ETK_F64, ETK_I8, ETK_U8, ETK_I16, ETK_U16, ETK_I32, ETK_U32, ETK_I64, ETK_U64, ETK_BOOL, ETK_DTYPE_COUNT,
  /* 32 to 127: the 8-bit floats and block types of etk/quant.h ((etk_dtype)ETK_Q4_0 …); rows of the latter, the last dim, are packed. Then what keeps its scales in arrays of its own: */
  ETK_AFFINE = 128, /* MLX's affine codes: etk_tensor_new_affine */
  ETK_NF4           /* etk_tensor_new_nf4 */
} etk_dtype;
size_t etk_dtype_size(etk_dtype dtype);           /* bytes of one element; 0 for what is packed */
const char *etk_dtype_name(etk_dtype dtype);      /* safetensors spelling: "F32", "BF16", "I64", "BOOL"; "Q4_K", "AFFINE", "NF4"; "?" for no type */
bool etk_dtype_parse(etk_dtype *out, const char *name);
/* Converts count elements between F32, F16, BF16 and F64, round to nearest even; regions must not overlap, in may stand at
 * any address; other types only to themselves. */
etk_status etk_dtype_convert(etk_error *e, void *out, etk_dtype out_dtype, const void *in, etk_dtype in_dtype, size_t count);

#define ETK_MAX_RANK 6
typedef struct etk_shape {
  int rank;
  int64_t dims[ETK_MAX_RANK];
} etk_shape;
/* etk_shape_of(2, rows, columns) */
#define etk_shape_of(rank, ...) ((etk_shape){(rank), {__VA_ARGS__}})
int64_t etk_shape_elements(const etk_shape *shape);                        /* -1 where the product overflows or a dim is negative */
bool etk_shape_equal(const etk_shape *a, const etk_shape *b);
char *etk_shape_text(char *out, size_t out_size, const etk_shape *shape);  /* "(2, 16, 64)"; returns out */

typedef struct etk_tensor etk_tensor;

/* What kernels get: by value, valid while the tensor lives and (for graph tensors) until the next eval. */
typedef struct etk_view {
  void *data;
  etk_dtype dtype;
  etk_shape shape;
  int64_t elements;
} etk_view;

/* Tensors of F16, BF16, 8-bit floats, block types, AFFINE and NF4 are weights as they are stored: etk_matmul takes them as its second factor and etk_embedding and etk_rows as
 * their table, decoding a few rows at a time; no other operation does, and they cannot be trained. Rows of a block type are a multiple of its block. */
etk_status etk_tensor_new(etk_error *e, etk_tensor **out, etk_dtype dtype, etk_shape shape); /* zeroed */
/* Wraps memory of the caller's; `release(owner)` is called when the last reference goes (NULL: nothing to do). */
etk_status etk_tensor_wrap(etk_error *e, etk_tensor **out, etk_dtype dtype, etk_shape shape, const void *data, void (*release)(void *owner), void *owner);
/* MLX's affine codes (etk/quant.h): words (rows, columns / 32 * bits) U32, scales and biases (rows, columns / group) F16, BF16 or F32 -> (rows, columns).
 * References to the three are taken; data of it are the words, bytes those of all three. */
etk_status etk_tensor_new_affine(etk_error *e, etk_tensor **out, int bits, int group, etk_tensor *words, etk_tensor *scales, etk_tensor *biases);
/* NF4 of rows that are a multiple of 64: codes U8, half as many as elements, absmax F32, one for 64 elements, both of any shape. References are taken. */
etk_status etk_tensor_new_nf4(etk_error *e, etk_tensor **out, etk_shape shape, etk_tensor *codes, etk_tensor *absmax);
/* A new tensor with the values converted to dtype: any floating, block, AFFINE or NF4 tensor to a floating or block type (etk_quant_encode without importance). */
etk_status etk_tensor_cast(etk_error *e, etk_tensor **out, const etk_tensor *in, etk_dtype dtype);
etk_tensor *etk_tensor_ref(etk_tensor *tensor);
void etk_tensor_unref(etk_tensor *tensor); /* NULL is fine; ignored for tensors of a graph */

etk_dtype etk_tensor_dtype(const etk_tensor *tensor);
const etk_shape *etk_tensor_shape(const etk_tensor *tensor); /* borrowed; a poisoned tensor has rank 4, all 1 */
int64_t etk_tensor_dim(const etk_tensor *tensor, int axis);  /* negative axes count from the last */
int64_t etk_tensor_elements(const etk_tensor *tensor);
size_t etk_tensor_bytes(const etk_tensor *tensor);
void *etk_tensor_data(const etk_tensor *tensor);             /* NULL for a graph tensor without storage (before plan) */
etk_view etk_tensor_view(const etk_tensor *tensor);
/* Trainable tensors, which are F32, get gradients; everything else is a constant to backward. Default false. */
void etk_tensor_set_trainable(etk_tensor *tensor, bool trainable);
bool etk_tensor_trainable(const etk_tensor *tensor);

/* The library that does matrix products, opened by this call as by the first product. */
typedef enum etk_blas_kind { ETK_BLAS_NONE /* our kernels */, ETK_BLAS_REFERENCE /* Netlib's, many times slower */, ETK_BLAS_FAST } etk_blas_kind;
typedef struct etk_blas {
  etk_blas_kind kind;
  char library[256]; /* its file; "kernels" */
  char version[128]; /* "OpenBLAS 0.3.21 …"; "" where it does not tell */
} etk_blas;
void etk_blas_get(etk_blas *out);

#ifdef __cplusplus
}
#endif
#endif
