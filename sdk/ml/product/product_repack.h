/* product_repack.h: GGUF's blocks to the planes of product_blocks.h, and back. */
#ifndef ETK_ML_PRODUCT_REPACK_H
#define ETK_ML_PRODUCT_REPACK_H

#include "product_blocks.h"

/* One group of outputs. */
struct blocks_rows {
  unsigned char *codes, *scales;            /* where to */
  const unsigned char *rows[OUTPUTS];       /* of `in` elements as they are stored, at any alignment */
  int count;                                /* of rows, 1 to 16; outputs that are not there become zeros */
  int64_t in;
  int flip;
};
void etk__blocks_repack(const struct blocks_rows *r, int type); /* type: from 0 */
/* Output `output` (0 to 15) of a group as F32: the very values that its stored row decodes to. */
void etk__blocks_decode(float *out, const unsigned char *codes, const unsigned char *scales, int type, int64_t in, int output, int flip);

#endif
