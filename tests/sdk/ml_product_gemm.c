/* Products of float matrices from packed panels, every instruction set that runs here, against sums in double precision; and low_rank against its parts.
 *
 * Tolerance: a sum of k rounded products in single precision, in any order, errs by at most k 2^-24 Σ |x w| to first order; twice that is allowed, for factor, addition
 * and higher orders. With pairs both sides are rounded to BF16's 8 bits: 2^-8 of each product's size, and as much again for what inner and second are rounded to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include <etk/quant.h>
#include <etk/rng.h>
#include <math.h>
#include <string.h>

#include "ml/product/product_gemm.h"
#include "ml/tensor/internal.h"

#define OK(call)                                 \
  do {                                           \
    etk_error e = ETK_ERROR_INIT;                \
    if (call) fail_msg("%s", e.message);         \
  } while (0)

static etk_rng rng;
static float *normal(int64_t n) {
  float *a = etk_alloc((size_t)n * sizeof *a);
  for (int64_t i = 0; i < n; i++) a[i] = (float)etk_rng_normal(&rng);
  return a;
}

/* Runs with scratch that is not a number wherever it is read before it is written, and looks at what lies behind it. */
static void run(const struct packed_gemm *g) {
  size_t size = etk__packed_gemm_scratch(g, etk_parallel_threads());
  unsigned char *scratch = etk_alloc_aligned(size + 64, 64);
  memset(scratch, 0xff, size + 64);
  etk__packed_gemm(g, scratch);
  for (int i = 0; i < 64; i++) assert_int_equal(scratch[size + (size_t)i], 0xff);
  etk_free(scratch);
}

static double at(const float *a, int64_t ld, bool turned, int64_t row, int64_t column) { return (double)(turned ? a[column * ld + row] : a[row * ld + column]); }

/* One element of the result, and in *size the sum of magnitudes that its error is measured by. */
static double element(const struct packed_gemm *g, int64_t i, int64_t j, double *size) {
  double sum = 0;
  *size = 0;
  for (int64_t p = 0; p < g->k && !g->low_rank_only; p++) {
    double product = at(g->a, g->lda, g->ta, i, p) * at(g->b, g->ldb, g->tb, p, j);
    sum += product;
    *size += fabs(product);
  }
  sum *= (double)g->alpha;
  *size *= fabs((double)g->alpha);
  for (int64_t r = 0; r < g->low.rank; r++) {
    double inner = 0, inner_size = 0, second = at(g->low.second, g->tb ? g->low.rank : g->n, g->tb, r, j);
    for (int64_t p = 0; p < g->k; p++) {
      double product = (double)g->low.scale * at(g->a, g->lda, g->ta, i, p) * at(g->low.first, g->tb ? g->k : g->low.rank, g->tb, p, r);
      inner += product;
      inner_size += fabs(product);
    }
    sum += inner * second;
    *size += inner_size * fabs(second);
  }
  if (g->beta != 0) {
    double base = (double)g->beta * (double)g->base[i * g->ld_base + j];
    sum += base;
    *size += fabs(base);
  }
  return sum;
}

static void check(const struct packed_gemm *g, const char *what) {
  double rounding = 2 * (double)(g->k + g->low.rank + 4) * 0x1p-24 + (g->pairs ? 0x1p-7 * (g->low.rank ? 2 : 1) : 0);
  for (int64_t i = 0; i < g->m; i++)
    for (int64_t j = 0; j < g->n; j++) {
      double size, want = element(g, i, j, &size), got = (double)g->c[i * g->ldc + j];
      if (!(fabs(got - want) <= rounding * size + 1e-30))
        fail_msg("%s %s m %d n %d k %d ta %d tb %d pairs %d rank %d: [%d, %d] is %g, wanted %g within %g", etk__gemm_kernels()->name, what, (int)g->m, (int)g->n, (int)g->k, g->ta, g->tb,
                 g->pairs, (int)g->low.rank, (int)i, (int)j, got, want, rounding * size);
    }
}

/* Odd sizes, below and above a tile, a panel and a block of the depth; rows of a, b, base and c lie further apart than they are long. */
static const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 2}, {13, 33, 31}, {29, 7, 257}, {25, 70, 519}, {107, 41, 64}};
enum { SIZES = sizeof sizes / sizeof *sizes, APART = 3 };

static void check_size(int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool pairs, float alpha, float beta) {
  int64_t lda = (ta ? m : k) + APART, ldb = (tb ? k : n) + APART, ldc = n + APART;
  float *a = normal((ta ? k : m) * lda), *b = normal((tb ? n : k) * ldb), *base = normal(m * ldc), *c = normal(m * ldc), *kept = etk_alloc((size_t)(m * ldc) * sizeof *kept);
  memcpy(kept, c, (size_t)(m * ldc) * sizeof *c);
  struct packed_gemm g = {.ta = ta, .tb = tb, .pairs = pairs, .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = b, .ldb = ldb, .alpha = alpha, .beta = beta, .base = beta != 0 ? base : NULL,
                          .ld_base = ldc, .c = c, .ldc = ldc};
  run(&g);
  check(&g, "product");
  for (int64_t i = 0; i < m; i++) assert_memory_equal(c + i * ldc + n, kept + i * ldc + n, APART * sizeof *c);
  if (beta != 0) { /* c itself may be what is added to */
    memcpy(c, base, (size_t)(m * ldc) * sizeof *c);
    float *apart = etk_alloc((size_t)(m * ldc) * sizeof *apart);
    g.c = apart;
    run(&g);
    g.c = c, g.base = c;
    run(&g);
    for (int64_t i = 0; i < m; i++) assert_memory_equal(c + i * ldc, apart + i * ldc, (size_t)n * sizeof *c);
    etk_free(apart);
  }
  etk_free(a);
  etk_free(b);
  etk_free(base);
  etk_free(c);
  etk_free(kept);
}

static void check_low_rank(int64_t m, int64_t n, int64_t k, int64_t rank, bool tb, bool pairs, bool only) {
  float *a = normal(m * k), *b = normal(n * k), *first = normal(rank * k), *second = normal(rank * n), *base = normal(m * n), *c = normal(m * n), *inner = normal(m * rank);
  struct packed_gemm g = {.tb = tb, .pairs = pairs, .m = m, .n = n, .k = k, .a = a, .lda = k, .b = b, .ldb = tb ? k : n, .low_rank_only = only,
                          .low = {rank, first, second, 0.75f, inner}, .alpha = 1, .beta = 1, .base = base, .ld_base = n, .c = c, .ldc = n};
  run(&g);
  check(&g, only ? "low rank alone" : "low rank");
  struct packed_gemm alone = {.tb = tb, .pairs = pairs, .m = m, .n = rank, .k = k, .a = a, .lda = k, .b = first, .ldb = tb ? k : rank, .alpha = 0.75f, .c = inner, .ldc = rank};
  check(&alone, "inner");
  etk_free(a);
  etk_free(b);
  etk_free(first);
  etk_free(second);
  etk_free(base);
  etk_free(c);
  etk_free(inner);
}

static void every_instruction_set_multiplies_odd_sizes(void **state) {
  (void)state;
  rng = etk_rng_new(7, 1);
  const struct gemm_kernels *kernels;
  for (int i = 0; (kernels = etk__gemm_kernels_at(i)); i++) {
    etk__gemm_kernels_set(kernels);
    for (int s = 0; s < SIZES; s++)
      for (int way = 0; way < (etk__packed_gemm_has_pairs() ? 8 : 4); way++)
        check_size(sizes[s][0], sizes[s][1], sizes[s][2], way & 1, way & 2, way & 4, s % 2 ? 1 : -0.5f, s % 3 ? 0.5f : 0);
  }
  etk__gemm_kernels_set(NULL);
}

static void low_ranks_are_added_in_the_same_pass(void **state) {
  (void)state;
  static const int64_t ranks[] = {1, 8, 17, 5};
  rng = etk_rng_new(7, 2);
  const struct gemm_kernels *kernels;
  for (int i = 0; (kernels = etk__gemm_kernels_at(i)); i++) {
    etk__gemm_kernels_set(kernels);
    for (int s = 1; s < SIZES; s++)
      for (int way = 0; way < (etk__packed_gemm_has_pairs() ? 8 : 4); way++) check_low_rank(sizes[s][0], sizes[s][1], sizes[s][2], ranks[s % 4], way & 1, way & 4, way & 2);
  }
  etk__gemm_kernels_set(NULL);
}

static void stored_weights_give_the_bits_of_what_they_decode_to(void **state) {
  (void)state;
  static const etk_dtype types[] = {(etk_dtype)ETK_Q8_0, (etk_dtype)ETK_Q4_K, ETK_BF16};
  enum { M = 30, N = 512, K_ = 77 };
  rng = etk_rng_new(7, 3);
  float *a = normal(M * K_), *c = normal(M * N), *want = normal(M * N);
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    etk_tensor *plain = NULL, *stored = NULL, *decoded = NULL;
    OK(etk_tensor_new(&e, &plain, ETK_F32, etk_shape_of(2, K_, N)));
    for (int64_t i = 0; i < K_ * N; i++) ((float *)etk_tensor_data(plain))[i] = (float)etk_rng_normal(&rng);
    OK(etk_tensor_cast(&e, &stored, plain, types[t]));
    OK(etk_tensor_cast(&e, &decoded, stored, ETK_F32));
    struct packed_gemm g = {.m = M, .n = N, .k = K_, .a = a, .lda = K_, .b = etk_tensor_data(decoded), .ldb = N, .alpha = 1, .c = want, .ldc = N};
    run(&g);
    g.stored = stored, g.b = NULL, g.c = c;
    run(&g);
    assert_memory_equal(c, want, M * N * sizeof *c);
    etk_tensor_unref(plain);
    etk_tensor_unref(stored);
    etk_tensor_unref(decoded);
  }
  etk_free(a);
  etk_free(c);
  etk_free(want);
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
  (void)state;
  enum { M = 211, N = 150, K_ = 300, RANK = 8 };
  rng = etk_rng_new(7, 4);
  float *a = normal(M * K_), *b = normal(N * K_), *first = normal(RANK * K_), *second = normal(RANK * N), *c[2] = {normal(M * N), normal(M * N)}, *inner[2] = {normal(M * RANK), normal(M * RANK)};
  for (int threads = 1; threads <= 5; threads += 2) {
    int which = threads > 1;
    etk_parallel_set_threads(threads);
    struct packed_gemm g = {.tb = true, .m = M, .n = N, .k = K_, .a = a, .lda = K_, .b = b, .ldb = K_, .low = {RANK, first, second, 2, inner[which]}, .alpha = 1, .c = c[which], .ldc = N};
    run(&g);
    if (!which) continue;
    assert_memory_equal(c[0], c[1], M * N * sizeof(float));
    assert_memory_equal(inner[0], inner[1], M * RANK * sizeof(float));
  }
  etk_parallel_set_threads(0);
  for (int i = 0; i < 2; i++) etk_free(c[i]), etk_free(inner[i]);
  etk_free(a);
  etk_free(b);
  etk_free(first);
  etk_free(second);
}

static void thin_products_sum_over_rows(void **state) {
  (void)state;
  static const int64_t shapes[][3] = {{1, 1, 1}, {33, 50, 8}, {70, 1100, 13}, {5, 47, 4}};
  rng = etk_rng_new(7, 5);
  const struct gemm_kernels *kernels;
  for (int i = 0; (kernels = etk__gemm_kernels_at(i)); i++) {
    etk__gemm_kernels_set(kernels);
    for (size_t s = 0; s < 2 * (sizeof shapes / sizeof *shapes); s++) {
      int64_t m = shapes[s / 2][0], n = shapes[s / 2][1], rank = shapes[s / 2][2];
      float *a = normal(m * (rank + 1)), *b = normal(m * (n + 2)), *c = normal(n * rank + 1), guard = c[n * rank];
      etk__thin_gemm(&(struct thin_gemm){m, n, rank, a, b, rank + 1, n + 2, c, s % 2});
      for (int64_t r = 0; r < rank; r++)
        for (int64_t j = 0; j < n; j++) {
          double sum = 0, size = 0;
          for (int64_t p = 0; p < m; p++) sum += (double)a[p * (rank + 1) + r] * (double)b[p * (n + 2) + j], size += fabs((double)a[p * (rank + 1) + r] * (double)b[p * (n + 2) + j]);
          double got = (double)(s % 2 ? c[j * rank + r] : c[r * n + j]);
          if (!(fabs(got - sum) <= 2 * (double)m * 0x1p-24 * size)) fail_msg("%s m %d n %d rank %d: [%d, %d] is %g, wanted %g", kernels->name, (int)m, (int)n, (int)rank, (int)r, (int)j, got, sum);
        }
      assert_float_equal(c[n * rank], guard, 0);
      etk_free(a);
      etk_free(b);
      etk_free(c);
    }
  }
  etk__gemm_kernels_set(NULL);
}

/* ---- low_rank, large enough to be packed where that is done ---- */

enum { ROWS = 40, IN = 64, OUT = 96, RANK = 8, LEAVES = 5 };

/* The same from single products, and gradients of all leaves of the mean of y's squares. */
static void layer(etk_tensor *const *leaf, const etk_tensor *weight, bool one, etk_compute compute, float *gradients[LEAVES], const int64_t *counts) {
  etk_graph *g = etk_graph_new();
  etk_tensor *x = etk_scale(g, leaf[0], 1), *w = (etk_tensor *)(uintptr_t)weight, *y, *grads[LEAVES];
  if (one) y = etk_low_rank(g, x, w, leaf[1], leaf[2], leaf[3], 1.5f);
  else y = etk_matmul_add(g, etk_matmul_add(g, leaf[3], x, w, 1, false, true), etk_matmul(g, x, leaf[1], false, true), leaf[2], 1.5f, false, true);
  y = etk_add(g, y, etk_matmul(g, x, leaf[4], false, true)); /* x's gradient is gathered from two */
  etk_tensor *loss = etk_mean(g, etk_mul(g, y, y));
  OK(etk_graph_backward(&e, g, loss, leaf, LEAVES, grads));
  etk_graph_set_compute(g, compute);
  OK(etk_graph_eval(&e, g));
  for (int i = 0; i < LEAVES; i++) memcpy(gradients[i], etk_tensor_data(grads[i]), (size_t)counts[i] * sizeof(float));
  etk_graph_free(g);
}

/* Of a product of values of order 1: what single precision rounds, or BF16's 2^-8 in each of a chain of three products. */
static void check_layer(etk_dtype dtype, etk_compute compute, double tolerance) {
  const etk_shape shapes[LEAVES] = {etk_shape_of(2, ROWS, IN), etk_shape_of(2, RANK, IN), etk_shape_of(2, OUT, RANK), etk_shape_of(2, ROWS, OUT), etk_shape_of(2, OUT, IN)};
  etk_tensor *leaf[LEAVES] = {NULL}, *plain = NULL, *weight = NULL;
  float *want[LEAVES], *got[LEAVES];
  int64_t counts[LEAVES];
  rng = etk_rng_new(7, 6);
  OK(etk_tensor_new(&e, &plain, ETK_F32, etk_shape_of(2, OUT, IN)));
  for (int64_t i = 0; i < OUT * IN; i++) ((float *)etk_tensor_data(plain))[i] = (float)etk_rng_normal(&rng) / 8;
  OK(etk_tensor_cast(&e, &weight, plain, dtype));
  for (int i = 0; i < LEAVES; i++) {
    OK(etk_tensor_new(&e, &leaf[i], ETK_F32, shapes[i]));
    counts[i] = etk_shape_elements(&shapes[i]);
    for (int64_t j = 0; j < counts[i]; j++) ((float *)etk_tensor_data(leaf[i]))[j] = (float)etk_rng_normal(&rng) / (i == 0 || i == 3 ? 1 : 8);
    etk_tensor_set_trainable(leaf[i], true);
    want[i] = normal(counts[i]);
    got[i] = normal(counts[i]);
  }
  layer(leaf, weight, false, ETK_COMPUTE_F32, want, counts);
  layer(leaf, weight, true, compute, got, counts);
  for (int i = 0; i < LEAVES; i++) {
    double size = 0, off = 0;
    for (int64_t j = 0; j < counts[i]; j++) size += (double)want[i][j] * (double)want[i][j], off += pow((double)got[i][j] - (double)want[i][j], 2);
    if (!(sqrt(off) <= tolerance * sqrt(size))) fail_msg("leaf %d: the gradient is off by %g of its length, at most %g is wanted", i, sqrt(off / size), tolerance);
    etk_tensor_unref(leaf[i]);
    etk_free(want[i]);
    etk_free(got[i]);
  }
  etk_tensor_unref(plain);
  etk_tensor_unref(weight);
}

static void a_layer_with_its_adapter_is_the_sum_of_its_parts(void **state) {
  (void)state;
  check_layer(ETK_F32, ETK_COMPUTE_F32, 1e-6);
  check_layer((etk_dtype)ETK_Q8_0, ETK_COMPUTE_F32, 1e-6);
}

static void bfloat16_products_are_near(void **state) {
  (void)state;
  check_layer(ETK_F32, ETK_COMPUTE_BF16, 3 * 0x1p-8);
  check_layer((etk_dtype)ETK_Q8_0, ETK_COMPUTE_BF16, 3 * 0x1p-8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_instruction_set_multiplies_odd_sizes),
      cmocka_unit_test(low_ranks_are_added_in_the_same_pass),
      cmocka_unit_test(stored_weights_give_the_bits_of_what_they_decode_to),
      cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
      cmocka_unit_test(thin_products_sum_over_rows),
      cmocka_unit_test(a_layer_with_its_adapter_is_the_sum_of_its_parts),
      cmocka_unit_test(bfloat16_products_are_near),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
