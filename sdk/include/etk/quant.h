/* etk/quant.h: types of stored weights, plain and in blocks, and the conversion of rows between them and float.
 *
 * A block type packs a fixed number of neighbouring elements of a row, with their scales, in a fixed number of bytes (layouts of GGUF). Rows are
 * decoded with the reference's operation order in single precision, so that results are its own bit for bit (any NaN for a NaN), and encoded by its
 * searches; instruction set and thread count change nothing. Affine (MLX) and NF4 are not block types: their scales lie in arrays of their own.
 * Any alignment of the packed bytes will do. Calls use the pool of etk/parallel.h. */
#ifndef ETK_QUANT_H
#define ETK_QUANT_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a stored tensor is made of. Values below ETK_DTYPE_COUNT are etk_dtype's own; block types are appended, never renumbered. */
typedef enum etk_type {
  ETK_TYPE_FIRST_FLOAT8 = 32, /* one byte an element, decoded only: OCP's FP8 and MX formats, and the kinds of FP8 without infinity and negative zero */
  ETK_F8_E4M3 = 32, ETK_F8_E5M2, ETK_F8_E4M3FNUZ, ETK_F8_E5M2FNUZ, ETK_F8_E8M0, ETK_TYPE_FLOAT8_END,
  ETK_TYPE_FIRST_BLOCK = 64,
  ETK_Q4_0 = 64, ETK_Q4_1, ETK_Q5_0, ETK_Q5_1, ETK_Q8_0, ETK_Q2_K, ETK_Q3_K, ETK_Q4_K, ETK_Q5_K, ETK_Q6_K, ETK_IQ4_NL, ETK_TYPE_END
} etk_type;
bool etk_type_is_block(etk_type type);
bool etk_type_is_float8(etk_type type);
const char *etk_type_name(etk_type type);                 /* "Q4_K", or etk_dtype_name's; "?" for no type */
bool etk_type_parse(etk_type *out, const char *name);     /* any case */
int etk_type_gguf(etk_type type);                         /* GGUF's number of it, or -1 */
bool etk_type_from_gguf(etk_type *out, uint32_t number);  /* false: a type that this library does not decode */
int64_t etk_type_block_elements(etk_type type);           /* 1 for plain types, 0 for no type */
int64_t etk_type_block_bytes(etk_type type);
/* Bytes of rows of `columns` elements. Fails where columns is no multiple of the block, or the product overflows. */
etk_status etk_type_bytes(etk_error *e, size_t *out, etk_type type, int64_t rows, int64_t columns);

/* out (rows, columns) from packed rows. type: a block type, F32, F16, BF16, F64 or one of 8 bits (its NaN as a quiet NaN). */
etk_status etk_quant_decode(etk_error *e, float *out, etk_type type, const void *in, int64_t rows, int64_t columns);
/* The other way. importance: NULL, or columns weights >= 0 (how much an error in that column matters), for all rows. Values must be finite and
 * fit the type's range (scales are binary16). Q8_0 and plain types round; importance changes nothing for them. */
etk_status etk_quant_encode(etk_error *e, void *out, etk_type type, const float *in, int64_t rows, int64_t columns, const float *importance);

/* MLX's affine mode: w = scale * q + bias for each group of a row, q of `bits` bits, LSB first in a stream of little-endian 32-bit words. */
typedef struct etk_affine {
  int bits;        /* 2, 3, 4, 5, 6 or 8 */
  int group;       /* 32, 64 or 128 elements share a scale and a bias; divides columns */
  etk_dtype dtype; /* of scales and biases: F16, BF16 or F32 */
} etk_affine;
int64_t etk_affine_words(const etk_affine *a, int64_t columns); /* 32-bit words of a row */
/* words (rows, etk_affine_words), scales and biases (rows, columns / group); computed in single precision whatever the dtype. */
etk_status etk_affine_decode(etk_error *e, float *out, const etk_affine *a, const uint32_t *words, const void *scales, const void *biases, int64_t rows,
                             int64_t columns);
etk_status etk_affine_encode(etk_error *e, uint32_t *words, void *scales, void *biases, const etk_affine *a, const float *in, int64_t rows, int64_t columns);

/* NF4 of QLoRA: 64 elements share their largest magnitude; 4-bit codes of a fixed table, the even element in the high half of its byte. The last block
 * may be shorter; count is of elements, codes holds (count + 1) / 2 bytes, absmax (count + 63) / 64 floats. */
#define ETK_NF4_BLOCK 64
extern const float etk_nf4_table[16];
void etk_nf4_decode(float *out, const uint8_t *codes, const float *absmax, int64_t count);
etk_status etk_nf4_encode(etk_error *e, uint8_t *codes, float *absmax, const float *in, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
