/* How weights in blocks come to their products: read as they are stored at first, repacked when it is worth it, and what stays exact. */
#include <etk/graph.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ml/product/product_blocks.h"
#include "ml/product/product_memory.h"
#include "ml/tensor/internal.h"

#include "ml_variants.h"

static uint64_t random_state = 1;
static float uniform(void) { /* -1 to 1 */
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(random_state >> 32) * 0x1p-31f;
}
static float *random_values(int64_t count) {
  float *x = etk_alloc((size_t)count * sizeof *x);
  for (int64_t i = 0; i < count; i++) x[i] = uniform() * uniform();
  return x;
}
static etk_tensor *random_weight(etk_type type, int64_t out, int64_t in) {
  etk_tensor *t;
  float *values = random_values(out * in);
  assert_int_equal(etk_tensor_new(NULL, &t, (etk_dtype)type, etk_shape_of(2, out, in)), ETK_OK);
  assert_int_equal(etk_quant_encode(NULL, t->data, type, values, out, in, NULL), ETK_OK);
  etk_free(values);
  return t;
}
static float *run(void *state, const float *x, int64_t in, int64_t out, int64_t rows) {
  float *y = etk_alloc((size_t)(rows * out) * sizeof *y);
  char *scratch = etk_alloc_aligned(etk__product_blocks.scratch(state, rows, etk_parallel_threads()), 64);
  etk__product_blocks.run(state, y, out, x, in, rows, 1, 0, scratch);
  etk_free(scratch);
  return y;
}

enum { OUT = 67, MOST = 70 };

/* Few rows twice, so that the second time finds them repacked, and from more rows than are worth it. */
static void a_product_has_the_same_bits_before_and_after_repacking(void **state) {
  static const int64_t rows[] = {1, 4, 7, 16};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    const int64_t in = 2 * etk_type_block_elements((etk_type)t);
    etk_tensor *weight = random_weight((etk_type)t, OUT, in);
    float *x = random_values(MOST * in);
    void *repacked;
    assert_int_equal(etk__blocks_make(NULL, &repacked, weight, k), ETK_OK);
    etk_free(run(repacked, x, in, OUT, MOST));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      void *fresh;
      assert_int_equal(etk__blocks_make(NULL, &fresh, weight, k), ETK_OK);
      float *a = run(fresh, x, in, OUT, rows[i]), *b = run(fresh, x, in, OUT, rows[i]), *c = run(repacked, x, in, OUT, rows[i]);
      assert_memory_equal(a, b, (size_t)(rows[i] * OUT) * sizeof *a);
      assert_memory_equal(a, c, (size_t)(rows[i] * OUT) * sizeof *a);
      etk_free(a), etk_free(b), etk_free(c);
      etk__product_blocks.free(fresh);
    }
    etk__product_blocks.free(repacked);
    etk_free(x);
    etk_tensor_unref(weight);
  }
}

static void rows_of_repacked_weights_have_the_bits_of_the_stored_ones(void **state) {
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    const int64_t in = 3 * etk_type_block_elements((etk_type)t);
    etk_tensor *weight = random_weight((etk_type)t, OUT, in);
    float *x = random_values(MOST * in), *row = etk_alloc((size_t)in * sizeof *row), *wanted = etk_alloc((size_t)in * sizeof *wanted);
    void *product;
    assert_int_equal(etk__blocks_make(NULL, &product, weight, k), ETK_OK);
    assert_false(etk__product_blocks.row(product, row, 0)); /* nothing is repacked yet */
    etk_free(run(product, x, in, OUT, MOST));
    for (int64_t i = 0; i < OUT && etk__product_blocks.bytes(product); i++) {
      assert_true(etk__product_blocks.row(product, row, i));
      etk__stored_decode(wanted, in, weight, i, 1, 0, in);
      assert_memory_equal(row, wanted, (size_t)in * sizeof *row);
    }
    assert_int_equal(etk__product_blocks.bytes(product) == 0, t == ETK_Q8_0); /* whose few rows read it as it is stored */
    etk__product_blocks.free(product);
    etk_free(x), etk_free(row), etk_free(wanted);
    etk_tensor_unref(weight);
  }
}

/* Rows of heads that lie interleaved, against a tensor that holds them in order. */
static void turned_rows_are_taken_in_order(void **state) {
  enum { HEAD = 32, ROWS = 3 * HEAD, IN = 256 };
  static const etk_type types[] = {ETK_Q8_0, ETK_Q4_0, ETK_Q4_K};
  const struct blocks_kernels *k;
  FIND_VARIANT(k, etk__blocks_kernels_at, state);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    etk_tensor *turned = random_weight(types[i], ROWS, IN), *straight = random_weight(types[i], ROWS, IN);
    turned->rotary = HEAD;
    memcpy(straight->data, etk_tensor_data(turned), straight->bytes);
    float *a = etk_alloc(sizeof(float) * ROWS * IN), *b = etk_alloc(sizeof(float) * ROWS * IN), *x = random_values(MOST * IN);
    etk__stored_decode(a, IN, turned, 0, ROWS, 0, IN);
    etk__stored_decode(b, IN, straight, 0, ROWS, 0, IN);
    assert_memory_equal(a, b, sizeof(float) * ROWS * IN);
    assert_int_not_equal(memcmp(turned->data, straight->data, straight->bytes), 0);
    etk_free(a), etk_free(b);
    void *p, *q;
    assert_int_equal(etk__blocks_make(NULL, &p, turned, k), ETK_OK);
    assert_int_equal(etk__blocks_make(NULL, &q, straight, k), ETK_OK);
    for (int64_t rows = 1; rows <= MOST; rows += 23) {
      a = run(p, x, IN, ROWS, rows), b = run(q, x, IN, ROWS, rows);
      assert_memory_equal(a, b, (size_t)(rows * ROWS) * sizeof *a);
      etk_free(a), etk_free(b);
    }
    etk__product_blocks.free(p), etk__product_blocks.free(q);
    etk_free(x);
    etk_tensor_unref(turned), etk_tensor_unref(straight);
  }
}

static void an_exact_graph_uses_no_product(void **unused) {
  (void)unused;
  etk_tensor *weight = random_weight(ETK_Q4_0, 16, 32);
  for (int exact = 0; exact < 2; exact++) {
    etk_graph *g = etk_graph_new();
    etk_graph_set_exact(g, exact);
    etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(2, 9, 32), "x"), *y = etk_matmul(g, x, weight, false, true);
    assert_int_equal(etk__product_of(y->node->inputs[1]) == NULL, exact || etk_isa_active() == ETK_ISA_BASE);
    etk_graph_free(g);
  }
  etk_tensor_unref(weight);
}

/* Products that are first used by several threads at once. */
struct use {
  void *product;
  const float *x;
  float *y;
};
static void *use(void *user) {
  struct use *u = user;
  for (int i = 0; i < 3; i++) {
    etk_free(u->y);
    u->y = run(u->product, u->x, 512, OUT, 1 + i);
  }
  return NULL;
}
static void threads_may_use_a_product_for_the_first_time_at_once(void **unused) {
  (void)unused;
  enum { THREADS = 4 };
  etk_tensor *weight = random_weight(ETK_Q4_K, OUT, 512);
  float *x = random_values(4 * 512);
  void *product;
  pthread_t threads[THREADS];
  struct use uses[THREADS];
  const struct blocks_kernels *k = etk__blocks_kernels_at(0);
  for (int i = 1; etk__blocks_kernels_at(i); i++) k = etk__blocks_kernels_at(i);
  assert_int_equal(etk__blocks_make(NULL, &product, weight, k), ETK_OK);
  for (int i = 0; i < THREADS; i++) {
    uses[i] = (struct use){product, x, NULL};
    assert_int_equal(pthread_create(&threads[i], NULL, use, &uses[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 1; i < THREADS; i++) assert_memory_equal(uses[0].y, uses[i].y, sizeof(float) * 3 * OUT);
  for (int i = 0; i < THREADS; i++) etk_free(uses[i].y);
  etk__product_blocks.free(product);
  etk_free(x);
  etk_tensor_unref(weight);
}

static void pieces_of_product_memory_do_not_overlap_and_are_freed_with_the_last(void **unused) {
  (void)unused;
  enum { PIECES = 40 };
  struct product_memory pieces[PIECES];
  uint64_t before = etk_alloc_get_stats().calls - etk_alloc_get_stats().frees;
  for (int i = 0; i < PIECES; i++) {
    size_t bytes = i == 7 ? (size_t)40 << 20 : (size_t)(1 + i * 77777);
    pieces[i] = etk__product_memory(bytes);
    assert_non_null(pieces[i].data);
    assert_int_equal((uintptr_t)pieces[i].data % 64, 0);
    ((unsigned char *)pieces[i].data)[0] = ((unsigned char *)pieces[i].data)[bytes - 1] = (unsigned char)i;
  }
  for (int i = 0; i < PIECES; i++) {
    assert_int_equal(((unsigned char *)pieces[i].data)[0], i);
    etk__product_memory_free(pieces[i]);
  }
  assert_int_equal(etk_alloc_get_stats().calls - etk_alloc_get_stats().frees, before);
  assert_null(etk__product_memory(SIZE_MAX - 100).data);
  etk__product_memory_free((struct product_memory){NULL, NULL});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      BLOCKS(VARIANT, a_product_has_the_same_bits_before_and_after_repacking)
      BLOCKS(VARIANT, rows_of_repacked_weights_have_the_bits_of_the_stored_ones)
      BLOCKS(VARIANT, turned_rows_are_taken_in_order)
      cmocka_unit_test(an_exact_graph_uses_no_product),
      cmocka_unit_test(threads_may_use_a_product_for_the_first_time_at_once),
      cmocka_unit_test(pieces_of_product_memory_do_not_overlap_and_are_freed_with_the_last),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
