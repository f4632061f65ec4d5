/* Products with weights of F32, F16, BF16 and decoded types, of every instruction set, against sums in double precision.
 *
 * Tolerance: a sum of k rounded products in single precision, in any order, errs by at most k 2^-24 Σ |x w| to first order; twice that is allowed, for factor, addition
 * and higher orders. Where pairs of BF16 are multiplied, x was rounded to 8 bits (2^-8 of each product at most), and decoded weights too (again 2^-8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/parallel.h>
#include <etk/quant.h>
#include <etk/rng.h>
#include <math.h>
#include <string.h>

#include "ml/product/product.h"
#include "ml/product/product_half.h"
#include "ml/tensor/internal.h"
#include "ml_variants.h"

#define OK(call)                                 \
  do {                                           \
    etk_error e = ETK_ERROR_INIT;                \
    if (call) fail_msg("%s", e.message);         \
  } while (0)

static const etk_dtype types[] = {ETK_F32, ETK_F16, ETK_BF16, (etk_dtype)ETK_Q8_0};
enum { TYPES = sizeof types / sizeof *types, FEW = 4 };

static etk_rng rng;
static float *normal(int64_t n) {
  float *a = etk_alloc((size_t)n * sizeof *a);
  for (int64_t i = 0; i < n; i++) a[i] = (float)etk_rng_normal(&rng);
  return a;
}

static etk_tensor *weight_of(etk_dtype dtype, int64_t out, int64_t in) {
  etk_tensor *plain = NULL, *t = NULL;
  OK(etk_tensor_new(&e, &plain, ETK_F32, etk_shape_of(2, out, in)));
  for (int64_t i = 0; i < out * in; i++) ((float *)etk_tensor_data(plain))[i] = (float)etk_rng_normal(&rng);
  OK(etk_tensor_cast(&e, &t, plain, dtype));
  etk_tensor_unref(plain);
  return t;
}

static float *values_of(const etk_tensor *w) {
  etk_tensor *plain = NULL;
  OK(etk_tensor_cast(&e, &plain, w, ETK_F32));
  float *a = etk_alloc(etk_tensor_bytes(plain));
  memcpy(a, etk_tensor_data(plain), etk_tensor_bytes(plain));
  etk_tensor_unref(plain);
  return a;
}

static void multiply(const struct half_kernels *kernels, const etk_tensor *w, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta) {
  void *state = NULL;
  OK(etk__half_make(&e, &state, w, kernels));
  size_t size = etk__product_half.scratch(state, rows, etk_parallel_threads());
  unsigned char *scratch = etk_alloc_aligned(size + 64, 64);
  memset(scratch, 0xff, size + 64); /* not a number wherever it is read before it is written */
  etk__product_half.run(state, y, ldy, x, ldx, rows, alpha, beta, scratch);
  for (int i = 0; i < 64; i++) assert_int_equal(scratch[size + (size_t)i], 0xff);
  etk_free(scratch);
  etk__product_half.free(state);
}

/* What rounding to BF16 may add, of Σ |x w|. */
static double rounding_of(const struct half_kernels *kernels, etk_dtype dtype, int64_t rows) {
  if (!kernels->tile_pairs || rows <= FEW || dtype == ETK_F32 || dtype == ETK_F16) return 0;
  return dtype == ETK_BF16 ? 0x1p-8 : 0x1p-7 + 0x1p-16;
}

static void check(const float *y, int64_t ldy, const float *old, const float *x, int64_t ldx, const float *w, int64_t rows, int64_t out, int64_t in, double alpha, double beta,
                  double rounding, const char *what) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < out; o++) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < in; i++) {
        double product = (double)x[r * ldx + i] * w[o * in + i];
        sum += product;
        size += fabs(product);
      }
      double before = beta != 0 ? beta * old[r * ldy + o] : 0, wanted = alpha * sum + before;
      double bound = fabs(alpha) * size * (rounding + 2 * (double)(in + 2) * 0x1p-24) + fabs(before) * 0x1p-22;
      if (!(fabs(y[r * ldy + o] - wanted) <= bound))
        fail_msg("%s, %d rows, %d x %d, element (%d, %d): %.9g, wanted %.9g within %.3g", what, (int)rows, (int)out, (int)in, (int)r, (int)o, (double)y[r * ldy + o], wanted, bound);
    }
}

static void one_size(const struct half_kernels *kernels, etk_dtype dtype, int64_t rows, int64_t out, int64_t in, float alpha, float beta) {
  enum { GAP = 3 };
  char what[64];
  snprintf(what, sizeof what, "%s, %s", kernels->name, etk_dtype_name(dtype));
  int64_t ldx = in + GAP, ldy = out + GAP;
  etk_tensor *w = weight_of(dtype, out, in);
  float *values = values_of(w), *x = normal(rows * ldx), *y = normal(rows * ldy), *old = etk_alloc((size_t)(rows * ldy) * sizeof *old);
  if (beta == 0)
    for (int64_t r = 0; r < rows; r++)
      for (int64_t o = 0; o < out; o++) y[r * ldy + o] = NAN; /* is not read */
  memcpy(old, y, (size_t)(rows * ldy) * sizeof *old);
  multiply(kernels, w, y, ldy, x, ldx, rows, alpha, beta);
  check(y, ldy, old, x, ldx, values, rows, out, in, (double)alpha, (double)beta, rounding_of(kernels, dtype, rows), what);
  for (int64_t r = 0; r < rows; r++) assert_memory_equal(y + r * ldy + out, old + r * ldy + out, GAP * sizeof *y);
  etk_free(values), etk_free(x), etk_free(y), etk_free(old);
  etk_tensor_unref(w);
}

static void odd_sizes_are_multiplied_within_the_bound(void **state) {
  static const int64_t sizes[][3] = {{1, 1, 1}, {1, 3, 7}, {2, 33, 65}, {3, 16, 257}, {4, 31, 130}, {4, 5, 2311}, {5, 1, 1}, {5, 33, 15}, {6, 64, 64}, {7, 31, 33},
                                     {8, 65, 257}, {11, 17, 512}, {12, 32, 513}, {13, 35, 1030}, {25, 96, 771}, {37, 7, 300}, {130, 40, 600},
                                     {9, 50, 31}, {18, 53, 2311}, {24, 97, 4099}, {96, 13, 33}, {97, 9, 65}};
  const struct half_kernels *kernels;
  FIND_VARIANT(kernels, etk__half_kernels_at, state);
  for (int t = 0; t < TYPES; t++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      int64_t unit = etk_type_block_elements((etk_type)types[t]), in = (sizes[s][2] + unit - 1) / unit * unit;
      one_size(kernels, types[t], sizes[s][0], sizes[s][1], in, s % 3 ? 1 : -0.75f, s % 2 ? 0 : 0.5f);
    }
}

/* As rounding_of for a decoded weight: F16 and F32 are rounded on both sides then. */
static void floats_that_may_be_rounded_stay_within_its_bound(void **state) {
  static const int64_t rows[] = {3, 8, 9, 24, 25, 130};
  enum { OUT = 53, IN = 1031 };
  const struct half_kernels *kernels;
  FIND_VARIANT(kernels, etk__half_kernels_at, state);
  for (int t = 0; t < 2; t++)
    for (int i = 0; i < 6; i++) {
      etk_tensor *w = weight_of(t ? ETK_F16 : ETK_F32, OUT, IN);
      w->rounds = true;
      float *values = values_of(w), *x = normal(rows[i] * IN), *y = normal(rows[i] * OUT);
      multiply(kernels, w, y, OUT, x, IN, rows[i], 1, 0);
      check(y, OUT, y, x, IN, values, rows[i], OUT, IN, 1, 0, rows[i] <= FEW || !kernels->tile_pairs ? 0 : 0x1p-7 + 0x1p-16, kernels->name);
      etk_free(values), etk_free(x), etk_free(y);
      etk_tensor_unref(w);
    }
}

static void rows_of_bf16_numbers_lose_nothing_to_rounding(void **state) {
  enum { ROWS = 9, OUT = 35, IN = 521 };
  const struct half_kernels *kernels;
  FIND_VARIANT(kernels, etk__half_kernels_at, state);
  etk_tensor *w = weight_of(ETK_BF16, OUT, IN);
  float *values = values_of(w), *x = normal(ROWS * IN), y[ROWS * OUT];
  for (int i = 0; i < ROWS * IN; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(x + i, &bits, sizeof bits);
  }
  multiply(kernels, w, y, OUT, x, IN, ROWS, 1, 0);
  check(y, OUT, y, x, IN, values, ROWS, OUT, IN, 1, 0, 0, kernels->name);
  etk_free(values), etk_free(x);
  etk_tensor_unref(w);
}

static const int64_t paths[] = {4, 17, 130}; /* rows of x: w row by row, in tiles, in panels */
enum { PATHS = sizeof paths / sizeof *paths };

static void weights_at_an_odd_address_give_the_same_bits(void **state) {
  enum { OUT = 37, IN = 263, MOST = 130 };
  const struct half_kernels *kernels;
  FIND_VARIANT(kernels, etk__half_kernels_at, state);
  for (int t = 0; t < TYPES - 1; t++)
    for (int i = 0; i < PATHS; i++) {
      int64_t rows = paths[i];
      etk_tensor *w = weight_of(types[t], OUT, IN), *moved = NULL;
      unsigned char *bytes = etk_alloc(etk_tensor_bytes(w) + 1);
      memcpy(bytes + 1, etk_tensor_data(w), etk_tensor_bytes(w));
      OK(etk_tensor_wrap(&e, &moved, types[t], etk_shape_of(2, OUT, IN), bytes + 1, NULL, NULL));
      float *x = normal(rows * IN), y[2][MOST * OUT];
      multiply(kernels, w, y[0], OUT, x, IN, rows, 1, 0);
      multiply(kernels, moved, y[1], OUT, x, IN, rows, 1, 0);
      assert_memory_equal(y[0], y[1], (size_t)(rows * OUT) * sizeof(float));
      etk_tensor_unref(moved);
      etk_tensor_unref(w);
      etk_free(bytes), etk_free(x);
    }
}

static void no_number_of_threads_changes_a_bit(void **unused) {
  static const int64_t sizes[][3] = {{2, 300, 512}, {4, 65, 7000}, {20, 300, 2500}, {90, 40, 1536}, {200, 300, 352}}; /* fewer and more panels than threads, near and far x */
  (void)unused;
  for (int t = 0; t < TYPES; t++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      int64_t rows = sizes[s][0], out = sizes[s][1], in = types[t] == (etk_dtype)ETK_Q8_0 ? sizes[s][2] / 32 * 32 : sizes[s][2];
      etk_tensor *w = weight_of(types[t], out, in);
      float *x = normal(rows * in), *first = normal(rows * out), *y = normal(rows * out);
      for (int threads = 1; threads <= 5; threads += 2) {
        etk_parallel_set_threads(threads);
        multiply(etk__half_kernels(), w, threads == 1 ? first : y, out, x, in, rows, 1, 0);
        if (threads > 1) assert_memory_equal(first, y, (size_t)(rows * out) * sizeof *y);
      }
      etk_free(x), etk_free(first), etk_free(y);
      etk_tensor_unref(w);
    }
  etk_parallel_set_threads(0);
}

static void put(etk_tensor *w, int64_t index, float value) {
  size_t size = etk_dtype_size(etk_tensor_dtype(w));
  OK(etk_dtype_convert(&e, (char *)etk_tensor_data(w) + (size_t)index * size, etk_tensor_dtype(w), &value, ETK_F32, 1));
}

static void nan_and_infinity_come_through_and_stay_in_their_row_and_column(void **state) {
  enum { OUT = 40, IN = 131, MOST = 130 };
  const struct half_kernels *kernels;
  FIND_VARIANT(kernels, etk__half_kernels_at, state);
  for (int t = 0; t < TYPES - 1; t++)
    for (int i = 0; i < PATHS; i++) {
      int64_t rows = paths[i];
      etk_tensor *w = weight_of(types[t], OUT, IN);
      float *x = normal(rows * IN), y[MOST * OUT];
      for (int64_t r = 0; r < rows; r++) x[r * IN + 130] = 2;
      put(w, 3 * IN + 17, NAN);
      put(w, 39 * IN + 130, -INFINITY); /* in the last, odd place */
      x[1 * IN + 5] = NAN;
      x[2 * IN + 130] = 0; /* times infinity */
      multiply(kernels, w, y, OUT, x, IN, rows, 1, 0);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < OUT; o++) {
          float got = y[r * OUT + o];
          if (r == 1 || o == 3 || (r == 2 && o == 39)) assert_true(isnan(got));
          else if (o == 39) assert_true(isinf(got) && got < 0);
          else assert_true(isfinite(got));
        }
      etk_free(x);
      etk_tensor_unref(w);
    }
}

static void lack_of_memory_is_an_error(void **unused) {
  (void)unused;
  etk_tensor *w = weight_of(ETK_F16, 8, 8);
  void *state = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_alloc_fail_nth(1, false);
  assert_int_equal(etk__product_half.make(&e, &state, w), ETK_E_NO_MEMORY);
  etk_alloc_fail_nth(0, false);
  assert_null(state);
  etk_tensor_unref(w);
}

static void every_instruction_set_of_the_machine_has_a_table(void **unused) {
  (void)unused;
  assert_variants_are_listed(HALVES, etk__half_kernels_at, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      HALVES(VARIANT, odd_sizes_are_multiplied_within_the_bound)
      HALVES(VARIANT, floats_that_may_be_rounded_stay_within_its_bound)
      HALVES(VARIANT, rows_of_bf16_numbers_lose_nothing_to_rounding)
      HALVES(VARIANT, weights_at_an_odd_address_give_the_same_bits)
      HALVES(VARIANT, nan_and_infinity_come_through_and_stay_in_their_row_and_column)
      cmocka_unit_test(every_instruction_set_of_the_machine_has_a_table),
      cmocka_unit_test(no_number_of_threads_changes_a_bit),
      cmocka_unit_test(lack_of_memory_is_an_error),
  };
  rng = etk_rng_new(7, 0);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
