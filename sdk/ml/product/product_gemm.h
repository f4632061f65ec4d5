/* product_gemm.h: products of float matrices for training, c = alpha op(a) op(b) + beta base, from packed panels; and what LoRA adds to a linear layer, in the
 * same pass over a and c.
 *
 * Groups of a's rows are packed once for all of b; a panel of b (`width` columns by a block of the depth) is packed by the thread that multiplies it, while
 * what the next panel is made of is asked for from memory. Nothing is kept between products. An element of c is the sum of the same products in the same order
 * whatever the number of threads. With pairs both sides are rounded to bfloat16, nearest even, and added in single precision (VDPBF16PS, BFDOT: a subnormal
 * number counts as zero). */
#ifndef ETK_ML_PRODUCT_GEMM_H
#define ETK_ML_PRODUCT_GEMM_H

#include <etk/tensor.h>
#include <stddef.h>

/* inner = scale op(a) op(first), which is kept, and c += inner op(second): for y = x W' + scale (x A') B' these are A and B, for dx = dy W + scale (dy B) A,
 * B and A. Transposed as b is. */
struct low_rank {
  int64_t rank; /* 0: there is none; at most PACKED_RANK */
  const float *first, *second; /* (rank, k) and (n, rank) with tb, else (k, rank) and (rank, n) */
  float scale;
  float *inner; /* (m, rank) */
};
enum { PACKED_RANK = 256 };

struct packed_gemm {
  bool ta, tb, pairs;
  int64_t m, n, k; /* op(a) (m, k), op(b) (k, n) */
  const float *a, *b;
  int64_t lda, ldb;
  const etk_tensor *stored; /* b as it is stored, decoded a panel at a time (b is not read; tb is false); or NULL */
  bool low_rank_only;       /* op(a) op(b) is left out */
  struct low_rank low;
  float alpha, beta;        /* alpha: of op(a) op(b) without a low rank; 1 with one */
  const float *base;        /* (m, n), rows ld_base apart; may be c; not read where beta is 0 */
  int64_t ld_base;
  float *c;
  int64_t ldc;
};

/* Whether this is the faster way for floats; not where another unit than this instruction set multiplies (Apple's), or nothing was measured. */
bool etk__packed_gemm_fits(int64_t m, int64_t n, int64_t k);
bool etk__packed_gemm_has_pairs(void);
/* Of what reads g->m, n, k, stored, low.rank: bytes of scratch, enough with and without pairs. */
size_t etk__packed_gemm_scratch(const struct packed_gemm *g, int threads);
void etk__packed_gemm(const struct packed_gemm *g, void *scratch);

/* c (rank, n) = a' b where a (m, rank) and b (m, n) are read in place: gradients of A and B. Over the pool; scratch-free. c's rows are n apart, or with `turned`
 * c is (n, rank). */
struct thin_gemm {
  int64_t m, n, rank;
  const float *a, *b;
  int64_t lda, ldb;
  float *c;
  bool turned;
};
void etk__thin_gemm(const struct thin_gemm *g);

/* ---- kernels of one instruction set, on the calling thread ---- */

struct gemm_pack { /* from rows that lie across the depth: out[unit][place] = in[unit][place], `count` of `places`, the others zero; depth in floats */
  float *out;
  const float *in;
  int64_t stride, depth; /* floats between rows of in; rows */
  int count, places;
};
/* rows (at most the kernels') x columns of y from packed rows and a panel of `depth` units. Meanwhile what is `ahead` is asked for. */
struct gemm_tile {
  const float *x, *panel;
  int64_t depth, rows, columns;
  float alpha, beta;
  const float *base;
  float *y;
  int64_t ld_base, ldy;
};
struct gemm_thin { /* c (rank, width) = a' b over `depth` rows, or with add += */
  const float *a, *b;
  int64_t lda, ldb, depth, rank, width, ldc;
  float *c;
  bool add;
};
enum { GEMM_THIN = 8 }; /* of rank that is summed at once */
struct gemm_kernels {
  const char *name;
  int rows, width, lanes; /* of a group; of a panel; of a panel of `first` */
  void (*pack_across[2])(const struct gemm_pack *p); /* [pairs] */
  void (*tile[2])(const struct gemm_tile *t);
  void (*narrow[2])(const struct gemm_tile *t); /* a panel of `lanes` columns */
  void (*thin)(const struct gemm_thin *t);
};
const struct gemm_kernels *etk__gemm_kernels(void);
const struct gemm_kernels *etk__gemm_kernels_at(int index); /* all that this machine can run, base first; NULL past the last */
void etk__gemm_kernels_set(const struct gemm_kernels *kernels); /* for tests and benches; NULL: the best again */

#endif
