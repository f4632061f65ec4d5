/* kernels.h: the hot loops, by pointer and size, on the calling thread. No operation, graph or pool is known here.
 *
 * One list names every kernel. `reference` is plain C and stays: it is what the others are tested against. Each file <noun>.isa.c is compiled
 * once per instruction set. Pointers need only their element's alignment. Unless a comment says otherwise an output may be one of the inputs
 * of the same extent, but may not overlap one in part; n may be 0. */
#ifndef ETK_ML_KERNELS_H
#define ETK_ML_KERNELS_H

#include <etk/hardware.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gemm { /* c = alpha op(a) op(b) + beta c, row-major; op(a) (m, k), op(b) (k, n), c (m, n); beta 0: c is not read */
  bool ta, tb;
  int64_t m, n, k;
  float alpha, beta;
  const float *a, *b;
  float *c;
  int64_t lda, ldb, ldc;
};

/* g' = scale g; m += (1-beta1)(g'-m); v = beta2 v + (1-beta2) g'^2; p = decay p - step m / (sqrt(v) root + epsilon) */
struct adamw_step {
  float scale, one_minus_beta1, beta2, one_minus_beta2, decay, step, root, epsilon;
};

/* g' = scale g + decay p; with momentum: b = momentum b + g', g' = b; p -= rate g' */
struct sgd_step {
  float scale, decay, momentum, rate;
};

/* Element `first + i` of a stream is kept where its 32 random bits are at least `threshold`, and multiplied by `scale`; else it is zero.
 * In each group of 64 elements, e in the group has word e/16 of Philox block (group * 16 + e mod 16): any part can be computed anywhere, and
 * vectors of up to 16 floats need no shuffling. */
struct dropout_mask {
  uint64_t seed, stream, first; /* first: a multiple of 64 */
  uint32_t threshold;
  float scale;
};

/* A tile of queries meets a tile of keys; what they have gathered so far is scaled and added to, as the largest score grows (Milakov & Gimelshein 2018; Dao et
 * al. 2022). Query i sees key j of the tile where first[i] <= start + j < end[i]; a query may see none. At the beginning y and sum are 0 and top is
 * -infinity; at the end a query's result is y / sum. */
enum { ATTENTION_KEYS = 64, ATTENTION_STEP = 6, ATTENTION_PAD = 16 };
struct attention_tile {
  int64_t rows, d, dv;   /* rows: a multiple of ATTENTION_STEP; dv: d rounded up to a multiple of ATTENTION_PAD */
  const float *q;        /* (rows, d), scaled */
  const float *k, *v;    /* (d, ATTENTION_KEYS), (ATTENTION_KEYS, dv); what lies where no query looks, and past d, may be anything */
  int64_t start;         /* the position of the tile's first key */
  const int64_t *first, *end;
  float softcap;         /* scores become softcap tanh(score / softcap); 0: they stay */
  float *y, *top, *sum;  /* (rows, dv), (rows), (rows) */
};

/* c (rows, columns) = a b, or += with `add`; a's element (i, p) is a[i a_row + p a_depth], so that it may lie turned; rows of b (depth, columns) and c lie ldb and ldc
 * floats apart. Each element of c is summed in the order of the depth. c overlaps neither. Nothing is packed: b should be in a near cache. */
struct small_product {
  int64_t rows, columns, depth;
  const float *a, *b;
  int64_t a_row, a_depth, ldb;
  float *c;
  int64_t ldc;
  bool add;
};

/* clang-format off */
#define ETK_KERNELS(K)                                                                                                                          \
  K(void, add_f32, (float *out, const float *a, const float *b, int64_t n))                                                                     \
  K(void, sub_f32, (float *out, const float *a, const float *b, int64_t n))                                                                     \
  K(void, mul_f32, (float *out, const float *a, const float *b, int64_t n))                                                                     \
  K(void, scale_f32, (float *out, const float *a, float factor, int64_t n))                                                                     \
  K(void, axpy_f32, (float *y, float factor, const float *x, int64_t n))                          /* y += factor x */                           \
  K(double, sum_f32, (const float *a, int64_t n))                                                                                               \
  K(double, sum_squares_f32, (const float *a, int64_t n))                                         /* squared and added in double */             \
  K(float, dot_f32, (const float *a, const float *b, int64_t n))                                                                                \
  K(void, matvec_f32, (float *y, const float *w, int64_t ldw, const float *x, int64_t rows, int64_t n)) /* y[r] = w[r,:] . x; y overlaps nothing */ \
  K(void, gemm_f32, (const struct gemm *g))                                                       /* c overlaps neither a nor b */              \
  K(void, small_product_f32, (const struct small_product *p))                                                                                   \
  K(double, mean_under_f32, (const float *p, const float *a, int64_t n))                          /* sum of p a over sum of p, in double; n >= 1 */ \
  K(void, sigmoid_f32, (float *out, const float *a, int64_t n))                                                                                 \
  K(void, silu_f32, (float *out, const float *a, int64_t n))                                                                                    \
  K(void, silu_backward_f32, (float *da, const float *dy, const float *a, int64_t n))                                                           \
  K(void, swiglu_f32, (float *out, const float *gate, const float *up, int64_t n))                                                              \
  K(void, swiglu_backward_f32, (float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n))                      \
  K(void, softcap_f32, (float *out, const float *a, float scale, float cap, int64_t n))           /* cap tanh(scale a / cap); cap > 0 */        \
  K(float, max_f32, (const float *a, int64_t n))                                                  /* n >= 1 */                                  \
  K(float, exp_sum_f32, (float *out, const float *a, float top, int64_t n))                       /* exp(a - top); returns their sum */         \
  K(float, log_sum_exp_f32, (const float *a, int64_t n))                                          /* n >= 1 */                                  \
  K(void, exp_affine_f32, (float *out, const float *a, float scale, float shift, float factor, int64_t n)) /* factor exp(scale a + shift) */    \
  K(float, softmax_f32, (float *out, const float *a, float scale, int64_t n))                     /* of scale a; returns its log-sum-exp; n >= 1 */ \
  K(void, gelu_f32, (float *out, const float *a, int64_t n))                                      /* a times the normal distribution function */ \
  K(void, gelu_tanh_f32, (float *out, const float *a, int64_t n))                                 /* its tanh form */                           \
  K(void, gelu_backward_f32, (float *da, const float *dy, const float *a, int64_t n))                                                           \
  K(void, gelu_tanh_backward_f32, (float *da, const float *dy, const float *a, int64_t n))                                                      \
  K(float, layer_norm_f32, (float *y, const float *x, const float *weight, const float *bias, float epsilon, float *mean, int64_t n))           \
      /* returns 1/deviation; weight and bias overlap nothing */                                                                                \
  K(void, softmax_backward_f32, (float *out, const float *p, const float *dp, float delta, float scale, int64_t n)) /* scale p (dp - delta) */  \
  K(float, rms_norm_f32, (float *y, const float *x, const float *weight, float epsilon, int64_t n)) /* returns 1/rms; weight overlaps nothing */ \
  K(void, rms_norm_backward_f32, (float *dx, float *dweight, const float *base, const float *dy, const float *x, const float *weight, float inverse, int64_t n)) \
      /* dx = base + …; base may be NULL; dweight (may be NULL) is added to and overlaps nothing */                                             \
  K(void, rope_f32, (float *out, const float *x, const float *cosine, const float *sine, int64_t half))                                         \
  K(void, dropout_f32, (float *out, const float *x, const struct dropout_mask *mask, int64_t n))                                                \
  K(void, adamw_f32, (float *p, float *m, float *v, const float *g, const struct adamw_step *s, int64_t n))                                     \
  K(void, sgd_f32, (float *p, float *momentum, const float *g, const struct sgd_step *s, int64_t n)) /* momentum NULL: none */                  \
  K(void, f16_to_f32, (float *out, const uint16_t *in, int64_t n))                                                                              \
  K(void, bf16_to_f32, (float *out, const uint16_t *in, int64_t n))                                                                             \
  K(void, f32_to_f16, (uint16_t *out, const float *in, int64_t n))                                /* nearest even; NaN stays NaN */             \
  K(void, f32_to_bf16, (uint16_t *out, const float *in, int64_t n))                                                                              \
  K(void, copy_rows_f32, (float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n))                                       \
  K(void, f16_rows_to_f32, (float *out, int64_t ldo, const uint16_t *a, int64_t lda, int64_t rows, int64_t n))                                  \
  K(void, transpose_f32, (float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n)) /* a (rows, n) -> out (n, rows); no overlap */ \
  K(void, attention_tile_f32, (const struct attention_tile *t))                                                                                 \
  K(void, attention_scores_f32, (float *scores, int64_t lds, const float *q, int64_t rows, const float *k, int64_t ldk, int64_t n, int64_t d))  \
      /* (rows, n) = q (rows, d) k (d, n) */                                                                                                     \
  K(void, attention_scores_f16, (float *scores, int64_t lds, const float *q, int64_t rows, const uint16_t *k, int64_t ldk, int64_t n, int64_t d)) \
  K(void, attention_values_f32, (float *y, const float *p, int64_t ldp, int64_t rows, const float *v, int64_t n, int64_t d)) /* y (rows, d) += p (rows, n) v (n, d) */ \
  K(void, attention_values_f16, (float *y, const float *p, int64_t ldp, int64_t rows, const uint16_t *v, int64_t n, int64_t d))                  \
      /* Pages of 8-bit codes (attention_q8.isa.c): for each 32 of d, which is a multiple of that, F16 scales of `ld` tokens, then codes: of keys (32, ld), of values \
       * (ld, 32). Tokens first .. first + n; keys come out as (d, n). Codes are the nearest, ties to even; 32 that hold what is not finite have NaN as scale. */ \
  K(void, f32_to_codes, (uint16_t *scale, int8_t *codes, const float *in))                        /* 32 of them */                              \
  K(void, code_keys_to_f32, (float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d))               \
  K(void, code_values_to_f32, (float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d))             \
  K(void, attention_scores_codes, (float *scores, int64_t lds, const float *q, int64_t rows, const unsigned char *page, int64_t ld, int64_t n, int64_t d)) \
  K(void, attention_values_codes, (float *y, const float *p, int64_t ldp, int64_t rows, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d))
/* clang-format on */

struct kernels {
  const char *name;
#define FIELD(result, kernel, arguments) result(*kernel) arguments;
  ETK_KERNELS(FIELD)
#undef FIELD
};

/* Not part of the library's interface although their names begin as public ones do. */
#pragma GCC visibility push(hidden)
#define DECLARE_reference(result, kernel, arguments) result etk_k_##kernel##_reference arguments;
#define DECLARE_base(result, kernel, arguments) result etk_k_##kernel##_base arguments;
#define DECLARE_avx2(result, kernel, arguments) result etk_k_##kernel##_avx2 arguments;
#define DECLARE_avx512(result, kernel, arguments) result etk_k_##kernel##_avx512 arguments;
#define DECLARE_neon(result, kernel, arguments) result etk_k_##kernel##_neon arguments;
ETK_KERNELS(DECLARE_reference)
ETK_KERNELS(DECLARE_base)
ETK_KERNELS(DECLARE_avx2)
ETK_KERNELS(DECLARE_avx512)
ETK_KERNELS(DECLARE_neon)
#pragma GCC visibility pop

const struct kernels *etk__kernels(void);             /* the best that etk_isa_active() allows; chosen once */
const struct kernels *etk__kernels_at(int index);     /* every table that this machine can run, reference first; NULL past the last */

#endif
