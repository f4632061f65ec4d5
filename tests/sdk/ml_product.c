/* Products with stored blocks by integer dot products, of every instruction set, against double precision. */
#include <etk/graph.h>
#include <etk/parallel.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ml/product/product_blocks.h"
#include "ml/tensor/internal.h"

#include "ml_variants.h"

static uint64_t random_state = 1;
static float uniform(void) { /* -1 to 1 */
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(random_state >> 32) * 0x1p-31f;
}

static etk_tensor *random_weight(etk_type type, int64_t out, int64_t in) {
  etk_tensor *t;
  float *values = etk_alloc((size_t)(out * in) * sizeof *values);
  for (int64_t i = 0; i < out * in; i++) values[i] = uniform() * uniform() * 0.2f + (type == ETK_Q4_1 ? 0.05f : 0);
  assert_int_equal(etk_tensor_new(NULL, &t, (etk_dtype)type, etk_shape_of(2, out, in)), ETK_OK);
  assert_int_equal(etk_quant_encode(NULL, t->data, type, values, out, in, NULL), ETK_OK);
  etk_free(values);
  if (type == ETK_Q8_0) /* files may hold what no encoder writes */
    for (int i = 0; i < 8; i++) ((int8_t *)t->data)[2 + i] = -128;
  return t;
}

/* x as it is quantized for the type, and half a step of each element: what it may be off by. */
static void quantized(etk_type type, double *values, double *half_steps, const float *x, int64_t in) {
  int64_t span = etk_type_block_elements(type);
  for (int64_t i = 0; i < in; i += span) {
    float most = 0;
    for (int64_t j = i; j < i + span; j++) most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    for (int64_t j = i; j < i + span; j++) {
      float scale = most / 127;
      values[j] = most > 0 ? (double)rintf(x[j] * (127 / most)) * (double)scale : 0;
      half_steps[j] = 0.5001 * (double)scale;
    }
  }
}

struct wanted {
  double *y, *slack, *exact, *bound; /* (rows, out): of quantized x, with rounding of floats; of x itself, with half steps */
};
static void free_wanted(struct wanted *w) {
  free(w->y), free(w->slack), free(w->exact), free(w->bound);
}
static struct wanted reference(const etk_tensor *weight, const float *x, int64_t rows) {
  int64_t out = weight->shape.dims[0], in = weight->shape.dims[1];
  size_t n = (size_t)(rows * out);
  struct wanted w = {calloc(n, sizeof(double)), calloc(n, sizeof(double)), calloc(n, sizeof(double)), calloc(n, sizeof(double))};
  float *decoded = etk_alloc((size_t)(out * in) * sizeof *decoded);
  double *values = calloc((size_t)in * 2, sizeof *values);
  etk__stored_decode(decoded, in, weight, 0, out, 0, in);
  for (int64_t r = 0; r < rows; r++) {
    quantized((etk_type)weight->dtype, values, values + in, x + r * in, in);
    for (int64_t o = 0; o < out; o++) {
      size_t at = (size_t)(r * out + o);
      for (int64_t i = 0; i < in; i++) {
        double d = (double)decoded[o * in + i];
        w.y[at] += d * values[i];
        w.exact[at] += d * (double)x[r * in + i];
        w.bound[at] += fabs(d) * values[in + i];
        w.slack[at] += fabs(d * values[i]);
      }
    }
  }
  etk_free(decoded);
  free(values);
  return w;
}

static void run(void *state, float *y, const float *x, int64_t in, int64_t out, int64_t rows, float alpha, float beta) {
  char *scratch = etk_alloc_aligned(etk__product_blocks.scratch(state, rows, etk_parallel_threads()), 64);
  etk__product_blocks.run(state, y, out, x, in, rows, alpha, beta, scratch);
  etk_free(scratch);
}

static float *random_rows(int64_t rows, int64_t in) {
  float *x = etk_alloc((size_t)(rows * in) * sizeof *x);
  for (int64_t i = 0; i < rows * in; i++) x[i] = uniform() * uniform() * 3;
  return x;
}

static void check(const struct blocks_kernels *kernels, etk_type type, int64_t out, int64_t in, int64_t rows) {
  etk_tensor *weight = random_weight(type, out, in);
  float *x = random_rows(rows, in), *y = etk_alloc((size_t)(rows * out) * sizeof *y);
  struct wanted w = reference(weight, x, rows);
  void *state;
  assert_int_equal(etk__blocks_make(NULL, &state, weight, kernels), ETK_OK);
  run(state, y, x, in, out, rows, 1, 0);
  for (int64_t i = 0; i < rows * out; i++) {
    /* Integers are exact; floats are added once for each block. 2e-6 is 32 units in the last place of what is added; types with minima subtract
     * sums that are larger than their difference, at most some 8 times for these weights. */
    double slack = (etk__blocks_layouts[type - ETK_TYPE_FIRST_BLOCK].minima ? 16e-6 : 2e-6) * w.slack[i] + 1e-30;
    if (!(fabs((double)y[i] - w.y[i]) <= slack))
      fail_msg("%s %s (%d, %d) x %d rows, output %d: %.9g, wanted %.9g within %.3g",
               kernels->name, etk_type_name(type), (int)out, (int)in, (int)rows, (int)i, (double)y[i], w.y[i], slack);
    if (!(fabs((double)y[i] - w.exact[i]) <= w.bound[i] + slack))
      fail_msg("%s %s: %.9g is further from %.9g than half a step of each input, %.3g",
               kernels->name, etk_type_name(type), (double)y[i], w.exact[i], w.bound[i]);
  }
  etk__product_blocks.free(state);
  free_wanted(&w);
  etk_free(x), etk_free(y);
  etk_tensor_unref(weight);
}

static void every_type_sums_what_double_precision_sums(void **state) {
  static const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 9, 17}, outs[] = {1, 16, 40, 67, 33, 15, 80, 31, 49};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      int64_t unit = etk_type_block_elements((etk_type)t);
      check(k, (etk_type)t, outs[i], unit * (i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : unit == 32 ? 17 : 2), rows[i]);
    }
}

/* More inputs than a tile has at a time, more rows than an item. */
static void long_products_are_summed_in_chunks(void **state) {
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  check(k, ETK_Q4_0, 33, 32 * 35, strcmp(k->name, "base") ? 259 : 11); /* plain C is slow */
  check(k, ETK_Q6_K, 33, 256 * 5, 10);
  check(k, ETK_Q4_K, 17, 256 * 5, 10);
}

/* Q8_0 is read where it lies by up to 48 rows, one in runs of 16 blocks, the last of which overlaps; more rows meet repacked tiles. */
static void rows_of_any_length_give_the_bits_of_tiles_where_they_lie(void **state) {
  enum { OUT = 35, ROWS = 49 };
  static const int64_t blocks[] = {1, 15, 16, 17, 24, 25, 31, 48, 192, 193, 201, 387};
  static const int64_t rows[] = {1, 2, 5, 20, 48};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
    const int64_t in = blocks[b] * 32;
    etk_tensor *weight = random_weight(ETK_Q8_0, OUT, in);
    float *x = random_rows(ROWS, in), *wanted = etk_alloc(ROWS * OUT * sizeof *wanted), *y = etk_alloc(ROWS * OUT * sizeof *y);
    void *product;
    assert_int_equal(etk__blocks_make(NULL, &product, weight, k), ETK_OK);
    run(product, wanted, x, in, OUT, ROWS, 1, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      memset(y, 0, ROWS * OUT * sizeof *y);
      run(product, y, x, in, OUT, rows[i], 1, 0);
      if (memcmp(y, wanted, (size_t)(rows[i] * OUT) * sizeof *y)) fail_msg("%s: %d blocks, %d rows: other bits than a tile's", k->name, (int)blocks[b], (int)rows[i]);
    }
    etk__product_blocks.free(product);
    etk_free(x), etk_free(wanted), etk_free(y);
    etk_tensor_unref(weight);
  }
  check(k, ETK_Q8_0, 35, 32 * 201, 1);
  check(k, ETK_Q8_0, 35, 32 * 24, 18);
}

static void every_instruction_set_of_the_machine_has_a_table(void **unused) {
  (void)unused;
  assert_variants_are_listed(BLOCKS, etk__blocks_kernels_at, 0);
}

static void threads_and_the_number_of_rows_change_no_bit(void **unused) {
  (void)unused;
  enum { OUT = 200, IN = 768, COUNT = 70 };
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    etk_tensor *weight = random_weight((etk_type)t, OUT, IN);
    etk__product *p;
    assert_int_equal(etk__product_new(NULL, &p, weight), ETK_OK);
    if (strcmp(etk__product_name(p), "blocks") != 0) { /* ETK_ISA=base: rows are decoded, few in another way than many */
      etk__product_free(p);
      etk_tensor_unref(weight);
      skip();
    }
    float *x = random_rows(COUNT, IN), *y[2];
    for (int i = 0; i < 2; i++) {
      etk_parallel_set_threads(i ? 5 : 1);
      y[i] = etk_alloc(COUNT * OUT * sizeof(float));
      char *scratch = etk_alloc_aligned(etk__product_scratch(p, COUNT, etk_parallel_threads()), 64);
      if (i) etk__product_run(p, y[i], OUT, x, IN, COUNT, 1, 0, scratch);
      else
        for (int row = 0; row < COUNT; row += 1 + row % 4) {
          int rows = 1 + row % 4 < COUNT - row ? 1 + row % 4 : COUNT - row;
          etk__product_run(p, y[i] + row * OUT, OUT, x + row * IN, IN, rows, 1, 0, scratch);
        }
      etk_free(scratch);
    }
    etk_parallel_set_threads(0);
    assert_memory_equal(y[0], y[1], COUNT * OUT * sizeof(float));
    etk_free(x), etk_free(y[0]), etk_free(y[1]);
    etk__product_free(p);
    etk_tensor_unref(weight);
  }
}

static void alpha_and_beta_scale_the_product_and_what_was_there(void **state) {
  enum { OUT = 21, IN = 64 };
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  etk_tensor *weight = random_weight(ETK_Q8_0, OUT, IN);
  float *x = random_rows(6, IN), plain[6 * OUT], y[6 * OUT];
  for (int rows = 2; rows <= 6; rows += 4) {
    void *made;
    assert_int_equal(etk__blocks_make(NULL, &made, weight, k), ETK_OK);
    for (int i = 0; i < rows * OUT; i++) y[i] = (float)i;
    run(made, plain, x, IN, OUT, rows, 1, 0);
    run(made, y, x, IN, OUT, rows, -0.5f, 2);
    for (int i = 0; i < rows * OUT; i++) assert_float_equal(y[i], -0.5f * plain[i] + 2 * (float)i, 1e-4f);
    for (int i = 0; i < rows * OUT; i++) y[i] = NAN; /* beta 0: not read */
    run(made, y, x, IN, OUT, rows, 2, 0);
    for (int i = 0; i < rows * OUT; i++) assert_float_equal(y[i], 2 * plain[i], 1e-6f);
    etk__product_blocks.free(made);
  }
  etk_free(x);
  etk_tensor_unref(weight);
}

static void a_row_that_is_not_finite_gives_nan_and_leaves_the_others(void **state) {
  enum { OUT = 20, IN = 512 };
  static const etk_type types[] = {ETK_Q4_0, ETK_Q8_0, ETK_Q4_K, ETK_Q6_K, ETK_Q5_1};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (int rows = 3; rows <= 7; rows += 4) {
      etk_tensor *weight = random_weight(types[t], OUT, IN);
      float *x = random_rows(rows, IN), clean[7 * OUT], y[7 * OUT];
      void *made;
      assert_int_equal(etk__blocks_make(NULL, &made, weight, k), ETK_OK);
      run(made, clean, x, IN, OUT, rows, 1, 0);
      x[IN + 300] = NAN;
      x[2 * IN + 5] = -INFINITY;
      run(made, y, x, IN, OUT, rows, 1, 0);
      for (int r = 0; r < rows; r++)
        for (int o = 0; o < OUT; o++) assert_true(r == 1 || r == 2 ? isnan(y[r * OUT + o]) : y[r * OUT + o] == clean[r * OUT + o]);
      etk__product_blocks.free(made);
      etk_free(x);
      etk_tensor_unref(weight);
    }
}

static void zeros_give_zeros_and_extreme_scales_keep_their_precision(void **state) {
  enum { OUT = 18, IN = 256 };
  static const float scales[] = {0, 1e-37f, 1e-33f, 1e-20f, 1e30f};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    etk_tensor *weight = random_weight((etk_type)t, OUT, IN);
    float *x = random_rows(1, IN), y[OUT], plain[OUT];
    void *made;
    assert_int_equal(etk__blocks_make(NULL, &made, weight, k), ETK_OK);
    run(made, plain, x, IN, OUT, 1, 1, 0);
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
      float *scaled = etk_alloc(IN * sizeof *scaled), most = 0;
      for (int i = 0; i < IN; i++) scaled[i] = x[i] * scales[s];
      run(made, y, scaled, IN, OUT, 1, 1, 0);
      for (int o = 0; o < OUT; o++) most = fabsf(plain[o]) > most ? fabsf(plain[o]) : most;
      /* Codes may round the other way where x * scale was rounded: a step of some inputs; below 1e-36 scales of blocks are denormal. */
      for (int o = 0; o < OUT; o++) assert_float_equal(scales[s] > 0 ? y[o] / scales[s] : y[o], scales[s] > 0 ? plain[o] : 0, 0.02f * most);
      etk_free(scaled);
    }
    etk__product_blocks.free(made);
    memset(weight->data, 0, weight->bytes);
    assert_int_equal(etk__blocks_make(NULL, &made, weight, k), ETK_OK);
    run(made, y, x, IN, OUT, 1, 1, 0);
    for (int o = 0; o < OUT; o++) assert_true(y[o] == 0);
    etk__product_blocks.free(made);
    etk_free(x);
    etk_tensor_unref(weight);
  }
}

static void *ask(void *weight) { return (void *)(uintptr_t)etk__product_of(weight); }
static void a_tensor_has_one_product_whoever_asks_first(void **unused) {
  (void)unused;
  etk_tensor *weight = random_weight(ETK_Q4_0, 256, 256), *wide, *exact = random_weight(ETK_Q4_0, 16, 32);
  pthread_t threads[4];
  void *seen[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask, weight), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], &seen[i]);
  for (int i = 1; i < 4; i++) assert_ptr_equal(seen[i], seen[0]);
  etk__product_set_exact(true);
  assert_null(etk__product_of(exact));
  etk__product_set_exact(false);
  assert_null(etk__product_of(exact)); /* what was said once holds */
  assert_int_equal(etk_tensor_new(NULL, &wide, ETK_I32, etk_shape_of(2, 16, 32)), ETK_OK);
  assert_null(etk__product_of(wide));
  etk_tensor_unref(weight), etk_tensor_unref(wide), etk_tensor_unref(exact);
}

static void what_has_no_fast_product_is_named(void **unused) {
  (void)unused;
  etk_tensor *t;
  etk_error e;
  etk__product *p;
  assert_int_equal(etk_tensor_new(NULL, &t, ETK_I32, etk_shape_of(2, 16, 32)), ETK_OK);
  assert_int_equal(etk__product_new(&e, &p, t), ETK_E_UNSUPPORTED);
  assert_null(p);
  assert_string_equal(e.message, "product: no fast product for weights (16, 32) of I32");
  etk_tensor_unref(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      BLOCKS(VARIANT, every_type_sums_what_double_precision_sums)
      BLOCKS(VARIANT, long_products_are_summed_in_chunks)
      BLOCKS(VARIANT, rows_of_any_length_give_the_bits_of_tiles_where_they_lie)
      cmocka_unit_test(every_instruction_set_of_the_machine_has_a_table),
      cmocka_unit_test(threads_and_the_number_of_rows_change_no_bit),
      BLOCKS(VARIANT, alpha_and_beta_scale_the_product_and_what_was_there)
      BLOCKS(VARIANT, a_row_that_is_not_finite_gives_nan_and_leaves_the_others)
      BLOCKS(VARIANT, zeros_give_zeros_and_extreme_scales_keep_their_precision)
      cmocka_unit_test(a_tensor_has_one_product_whoever_asks_first),
      cmocka_unit_test(what_has_no_fast_product_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
