/* product_half.h: kernels of products y = x W' with weights of F32, F16 and BF16, by pointer and size, on the calling thread.
 *
 * Few rows of x: each row of W is read once, in place, and multiplied with all of x's rows in single precision.
 * Tens of rows: likewise in place, in tiles of some of W's rows with some of x's, the depth along the lanes; with BF16, where there are such products, in pairs.
 * Many rows: a panel of W, `width` rows by a block of columns, is turned so that its column is one vector load; groups of `rows` rows of x likewise. Tiles of
 * rows x width sums stay in registers. What stands at one step of the depth is a unit: one float, or, where the processor multiplies pairs of bfloat16 and adds them
 * in single precision, one pair, both sides rounded to nearest even (a subnormal number counts as zero there).
 *
 * Within each of the three, an element of y is the sum of the same products in the same order whatever stands beside it, so that no cut of the work changes a bit. */
#ifndef ETK_ML_PRODUCT_HALF_H
#define ETK_ML_PRODUCT_HALF_H

#include <etk/hardware.h>
#include <etk/tensor.h>
#include <stddef.h>
#include <stdint.h>

/* ROW(name, level) for each set that this file's kernels and those of product_gemm.h are compiled for (Makefile: ISAS_…), lowest first. */
#if defined(__x86_64__)
#define HALF_RUNGS(ROW) ROW(base, ETK_ISA_BASE) ROW(avx2, ETK_ISA_AVX2) ROW(avx512, ETK_ISA_AVX512) ROW(avx512bf16, ETK_ISA_AVX512BF16)
#elif defined(__aarch64__) /* whose base has NEON */
#define HALF_RUNGS(ROW) ROW(neon, ETK_ISA_NEON) ROW(neonmm, ETK_ISA_NEONMM)
#else
#define HALF_RUNGS(ROW) ROW(base, ETK_ISA_BASE)
#endif

/* What rows hold and what units they are packed to. */
enum half_kind { HALF_F32, HALF_F16, HALF_BF16, HALF_TYPES, HALF_PAIRS_F32 = HALF_TYPES, HALF_PAIRS_F16, HALF_PAIRS_BF16, HALF_KINDS };

/* y[i ldy + o] = alpha x[i] . w[o] + beta y[i ldy + o]; rows of w are `stride` bytes apart, at any alignment; beta 0: y is not read. */
struct half_few {
  float *y;
  const float *x;
  const unsigned char *w;
  int64_t ldy, ldx, stride, rows, count, depth;
  float alpha, beta;
};

/* A tile of y, rows x columns (at most the kernels' rows and width), from packed rows and a packed panel of `depth` units. Meanwhile `ahead_rows` rows at `ahead`
 * are fetched towards the cache: as many units of them. */
struct half_tile {
  float *y;
  const float *x, *panel;
  int64_t ldy, depth, columns;
  float alpha, beta;
  const unsigned char *ahead;
  int64_t ahead_stride, ahead_rows;
};

struct half_pack { /* out: [unit][place], `count` of its places filled from rows `stride` bytes apart, the others zero; elements: of a row */
  float *out;
  const unsigned char *in;
  int64_t stride, count, elements;
};

struct half_kernels {
  const char *name;
  int rows, width;
  void (*few[HALF_TYPES])(const struct half_few *f);
  void (*dots[HALF_KINDS])(const struct half_few *f);        /* tens of rows; NULL: not the way. PAIRS_BF16: x and ldx are of pairs, zeros behind an odd depth */
  void (*pack_rows[HALF_KINDS])(const struct half_pack *p);  /* places: rows; of F32 and PAIRS_F32 only */
  void (*pack_panel[HALF_KINDS])(const struct half_pack *p); /* places: width; the PAIRS are NULL where there is no such product */
  void (*const *tile)(const struct half_tile *t);            /* [rows of the tile - 1] */
  void (*const *tile_pairs)(const struct half_tile *t);
};

const struct half_kernels *etk__half_kernels(void);         /* the best that etk_isa_active() allows */
const struct half_kernels *etk__half_kernels_at(int index); /* all that this machine can run, base first; NULL past the last */
/* The back end's state with these kernels. */
etk_status etk__half_make(etk_error *e, void **state, const etk_tensor *weight, const struct half_kernels *kernels);

#endif
