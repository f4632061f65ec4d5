/* product_blocks.h: products with GGUF's blocks by integer dot products.
 *
 * Rows of x are quantized to 8 bits once per product: a scale for 32 elements, or for 256 where the weights have a scale of scales (K types), as llama.cpp
 * does. Weights are repacked once, 16 outputs together: of a block of 32 inputs, four neighbouring inputs (a quad) of 16 outputs are 64 bytes, so that an
 * instruction that sums four products of bytes into 32 bits works on 16 outputs at a time and nothing is added across lanes. Sums of a block (or of half
 * of one, where 16 elements share a scale) are exact integers; then they are scaled in float, block after block in the order of inputs. So every instruction
 * set, number of rows and of threads gives the same bits where it has a fused multiply-add.
 *
 * A row of x with a value that is not finite gives NaN in all its outputs. */
#ifndef ETK_ML_PRODUCT_BLOCKS_H
#define ETK_ML_PRODUCT_BLOCKS_H

#include <etk/hardware.h>
#include <etk/quant.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "product.h"

/* name, bits of a code, elements that share a scale, sign with which minima are added (0: none), has scales of scales, what is taken from a code (128: the
 * code is signed or a table's, and kept as BLOCKS_FLIP says).
 *
 * A block's codes, 64 bits bytes for 16 outputs, in planes of 64 bytes, a dword for each output; in byte i of it, of element i of quad q:
 *   8 bits: plane q holds it. 4, 5, 6: planes 0 to 3, quad q in the low halves of plane q, quad q + 4 in the high ones; then a plane with the fifth bit of
 *   quad q in bit q, or two with bits 4 and 5 of quads 0 to 3 and 4 to 7, two for each. 2, 3: two planes of pairs in that form; then the third bits. */
#define BLOCKS_TYPES(T)                                                                                                                                 \
  T(q4_0, 4, 32, 0, 0, 8) T(q4_1, 4, 32, 1, 0, 0) T(q5_0, 5, 32, 0, 0, 16) T(q5_1, 5, 32, 1, 0, 0) T(q8_0, 8, 32, 0, 0, 128) T(q2_k, 2, 16, -1, 1, 0)  \
  T(q3_k, 3, 16, 0, 1, 4) T(q4_k, 4, 32, -1, 1, 0) T(q5_k, 5, 32, -1, 1, 0) T(q6_k, 6, 16, 0, 1, 32) T(iq4_nl, 4, 32, 0, 0, 128)

enum {
  BLOCK = 32, UNIT = 256, OUTPUTS = 16,
  MOST_ROWS = 8,         /* of x in a tile */
  MOST_WIDTH = 64,       /* outputs of a call */
  TYPES = ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK
};

struct blocks_layout {
  int bits, group, minima;
  bool units;
  int offset;
};
extern const struct blocks_layout etk__blocks_layouts[TYPES];

/* Scales of 16 outputs, one after the other. Without scales of scales, for each block: 16 binary16 scales, 16 binary16 minima where the type has them. With,
 * for each unit of 256: 16 binary16 scales, 16 of minima; then for each block BLOCK / group times 16 signed bytes, and as many of minima. */
static inline __attribute__((unused)) size_t blocks_unit_scales(int group, int minima, bool units) {
  size_t kinds = minima ? 2 : 1, bytes = kinds * OUTPUTS * 2;
  return units ? bytes + kinds * (size_t)(UNIT / group) * OUTPUTS : bytes;
}

/* Rows of x, quantized. */
struct blocks_input {
  int8_t *codes;   /* (rows, in) */
  float *scales;   /* (rows, in / 32), or in / 256 */
  void *starts;    /* (rows, in / group): what sums of a group begin with, -offset Σ codes, int32; with minima instead the factor of a minimum, float: Σ codes
                    * times the scale, or without it where the scale is a unit's */
  int64_t in, scale_count, start_count;
};

/* One call of a product of few rows: `groups` times 16 outputs, straight from the repacked weights. */
struct blocks_few {
  const unsigned char *codes[MOST_WIDTH / OUTPUTS], *scales[MOST_WIDTH / OUTPUTS];
  const struct blocks_input *x;
  int64_t row; /* of x, the first */
  float *out;  /* (rows, MOST_WIDTH) */
  /* What is asked for from memory meanwhile: the groups of the next call lie so many bytes behind these. */
  size_t codes_apart, scales_apart;
};

/* One call of a product of few rows on weights as they are stored: 16 outputs, or 32. */
struct blocks_stored {
  const unsigned char *rows[2 * OUTPUTS];
  const struct blocks_input *x;
  int64_t row; /* of x, the first */
  float *out;  /* (rows, MOST_WIDTH) */
  const unsigned char *ahead; /* what is asked for from memory meanwhile: as many bytes as the rows have */
};

/* One call on unpacked weights: a tile of `width` outputs, `rows` rows of x, blocks [first, first + blocks) of inputs. */
struct blocks_tile {
  const unsigned char *codes[2]; /* for each 16 outputs, from block `first` on: 512 bytes a block, a quad is 64 */
  const float *scales[2], *minima[2]; /* 16 for each group, scales multiplied out, minima with their sign */
  const struct blocks_input *x;
  int64_t row, first, blocks;    /* whole units where the type has them */
  float *sums;                   /* (rows, MOST_WIDTH): are added to where first > 0 */
};

struct blocks_kernels {
  const char *name;
  etk_isa isa;
  int flip;             /* types of offset 128 keep code ^ flip: 0x80 where unsigned bytes times signed ones are summed, else 0 */
  int width, most_rows; /* of a tile */
  int few_groups, more_groups; /* of a call of `few` with one row, with more */
  int few_rows;         /* the most for `few` */
  void (*quantize[TYPES])(const struct blocks_input *in, int64_t row, const float *x);
  void (*unpack[TYPES])(unsigned char *codes, float *scales, float *minima, const unsigned char *from, const unsigned char *from_scales, int64_t blocks);
  void (*few[TYPES][4])(const struct blocks_few *f);            /* [rows - 1] */
  void (*stored[TYPES][4])(const struct blocks_stored *f);      /* [rows - 1]; NULL: the type's few rows want repacked weights */
  void (*stored_more[TYPES])(const struct blocks_stored *f, int64_t rows); /* any number of rows, 32 outputs; NULL where `stored` is */
  void (*tile[TYPES][MOST_ROWS])(const struct blocks_tile *t);  /* [rows - 1] */
};
const struct blocks_kernels *etk__blocks_kernels_at(int index); /* that this machine can run; 0: plain C, for tests; NULL past the last */

/* As the back end's make, with kernels of choice. */
etk_status etk__blocks_make(etk_error *e, void **state, const etk_tensor *weight, const struct blocks_kernels *kernels);

#endif
