/* product_repack.h: GGUF's blocks to the planes of product_blocks.h. */
#ifndef ETK_ML_PRODUCT_REPACK_H
#define ETK_ML_PRODUCT_REPACK_H

#include "product_blocks.h"

/* One group of outputs: `rows` (1 to 16) rows of `in` elements, row_bytes apart; outputs that are not there become zeros. type: from 0. */
void etk__blocks_repack(unsigned char *codes, unsigned char *scales, int type, const unsigned char *from, size_t row_bytes, int rows, int64_t in, int flip);

#endif
