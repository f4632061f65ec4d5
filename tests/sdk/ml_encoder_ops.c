/* Operations of encoders against plain loops in double, and what they refuse. Their gradients: ml_ops_gradient.c. */
#include "ml_golden.h"

#include <etk/rng.h>

static etk_tensor *numbers(etk_graph *g, etk_shape shape, uint64_t stream) {
  etk_tensor *t = etk_graph_input(g, ETK_F32, shape, "numbers");
  etk_rng rng = etk_rng_new(11, stream);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = (float)etk_rng_normal(&rng);
  return t;
}
static etk_tensor *integers(etk_graph *g, int64_t count, const int32_t *values) {
  etk_tensor *t = etk_graph_input(g, ETK_I32, etk_shape_of(1, count), "integers");
  memcpy(etk_tensor_data(t), values, etk_tensor_bytes(t));
  return t;
}
static float at(const etk_tensor *t, int64_t i) { return ((const float *)etk_tensor_data(t))[i]; }
static void evaluate(etk_graph *g, etk_tensor *y) {
  etk_graph_keep(g, y);
  works(etk_graph_eval(e, g));
}

struct sizes {
  int64_t batch, tokens, keys, heads, kv_heads, d;
};

/* Scores of normal numbers reach 10; float32 exponentials and sums of 80 terms stay within 2e-6 of double. */
static void check_attention(const struct sizes *s, const int32_t *lengths) {
  etk_graph *g = etk_graph_new();
  etk_tensor *q = numbers(g, etk_shape_of(4, s->batch, s->tokens, s->heads, s->d), 1),
             *k = numbers(g, etk_shape_of(4, s->batch, s->keys, s->kv_heads, s->d), 2);
  etk_tensor *v = numbers(g, etk_shape_of(4, s->batch, s->keys, s->kv_heads, s->d), 3);
  etk_tensor *y = etk_full_attention(g, q, k, v, lengths ? integers(g, s->batch, lengths) : NULL, 0.6f);
  evaluate(g, y);
  for (int64_t i = 0; i < s->batch * s->tokens * s->heads; i++) {
    int64_t b = i / s->heads / s->tokens, h = i % s->heads / (s->heads / s->kv_heads), n = lengths ? lengths[b] : s->keys;
    double sum = 0, weights[128], out[8] = {0};
    assert_true(s->keys <= 128 && s->d <= 8);
    for (int64_t t = 0; t < n; t++) {
      double score = 0;
      for (int64_t c = 0; c < s->d; c++) score += (double)at(q, i * s->d + c) * (double)at(k, ((b * s->keys + t) * s->kv_heads + h) * s->d + c);
      sum += weights[t] = exp((double)0.6f * score);
    }
    for (int64_t t = 0; t < n; t++)
      for (int64_t c = 0; c < s->d; c++) out[c] += weights[t] / sum * (double)at(v, ((b * s->keys + t) * s->kv_heads + h) * s->d + c);
    for (int64_t c = 0; c < s->d; c++)
      if (!(fabs(out[c] - (double)at(y, i * s->d + c)) <= 2e-6))
        fail_msg("query %lld: %g, wanted %g", (long long)i, (double)at(y, i * s->d + c), out[c]);
  }
  etk_graph_free(g);
}

static void full_attention_is_a_softmax_over_the_keys_of_a_length(void **state) {
  (void)state;
  check_attention(&(struct sizes){2, 5, 5, 2, 2, 3}, NULL);
  check_attention(&(struct sizes){3, 4, 7, 4, 2, 8}, (const int32_t[]){7, 0, 3});  /* of length 0: zeros */
  check_attention(&(struct sizes){2, 130, 80, 2, 1, 5}, (const int32_t[]){1, 80}); /* blocks of queries, one not full */
}

static void keys_behind_a_length_are_never_read(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *q = numbers(g, etk_shape_of(4, 1, 2, 1, 3), 1), *k = numbers(g, etk_shape_of(4, 1, 4, 1, 3), 2),
             *v = numbers(g, etk_shape_of(4, 1, 4, 1, 3), 3);
  for (int i = 6; i < 12; i++) ((float *)etk_tensor_data(k))[i] = ((float *)etk_tensor_data(v))[i] = NAN;
  etk_tensor *y = etk_full_attention(g, q, k, v, integers(g, 1, (const int32_t[]){2}), 1);
  evaluate(g, y);
  for (int i = 0; i < 6; i++) assert_true(isfinite(at(y, i)));
  etk_graph_free(g);
}

static void pools_take_the_rows_of_a_length(void **state) {
  (void)state;
  static const int32_t lengths[] = {4, 1, 0};
  etk_graph *g = etk_graph_new();
  etk_tensor *x = numbers(g, etk_shape_of(3, 3, 4, 5), 1), *n = integers(g, 3, lengths), *mean = etk_mean_pool(g, x, n), *max = etk_max_pool(g, x, n);
  etk_graph_keep(g, mean);
  evaluate(g, max);
  for (int i = 0; i < 15; i++) {
    double sum = 0, most = -100;
    for (int t = 0; t < lengths[i / 5]; t++) {
      double value = (double)at(x, (i / 5 * 4 + t) * 5 + i % 5);
      sum += value;
      most = fmax(most, value);
    }
    int length = lengths[i / 5];
    assert_true(fabs((double)at(mean, i) - (length ? sum / length : 0)) <= 1e-6); /* four float32 numbers below 4 */
    assert_true((double)at(max, i) == (length ? most : 0));
  }
  etk_graph_free(g);
}

static void patches_are_squares_row_by_row(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *x = numbers(g, etk_shape_of(4, 2, 3, 4, 6), 1), *y = etk_patches(g, x, 2);
  evaluate(g, y);
  assert_true(etk_tensor_dim(y, 1) == 6 && etk_tensor_dim(y, 2) == 12);
  for (int b = 0; b < 2; b++)
    for (int c = 0; c < 3; c++)
      for (int row = 0; row < 4; row++)
        for (int column = 0; column < 6; column++)
          assert_true(at(x, ((b * 3 + c) * 4 + row) * 6 + column) ==
                      at(y, ((b * 6 + row / 2 * 3 + column / 2) * 3 + c) * 4 + row % 2 * 2 + column % 2));
  etk_graph_free(g);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  static const char *const wanted[] = {"full_attention: q (1, 2, 3, 4)",        "lengths (2), wants (1)",
                                       "mean_pool: (2, 3) with lengths (2)",    "max_pool: (2, 3, 4) with lengths (1)",
                                       "patches: (1, 3, 5, 4) in squares of 2", "patches: (1, 3, 4, 4) in squares of 0"};
  for (int i = 0; i < 6; i++) {
    etk_graph *g = etk_graph_new();
    etk_tensor *q = numbers(g, etk_shape_of(4, 1, 2, 3, 4), 1), *k = numbers(g, etk_shape_of(4, 1, 5, 2, 4), 1),
               *kk = numbers(g, etk_shape_of(4, 1, 5, 3, 4), 1);
    etk_tensor *one = integers(g, 1, (const int32_t[]){1}), *two = integers(g, 2, (const int32_t[]){1, 1});
    if (i == 0) etk_full_attention(g, q, k, k, NULL, 1);
    if (i == 1) etk_full_attention(g, q, kk, kk, two, 1);
    if (i == 2) etk_mean_pool(g, numbers(g, etk_shape_of(2, 2, 3), 1), two);
    if (i == 3) etk_max_pool(g, numbers(g, etk_shape_of(3, 2, 3, 4), 1), one);
    if (i == 4) etk_patches(g, numbers(g, etk_shape_of(4, 1, 3, 5, 4), 1), 2);
    if (i == 5) etk_patches(g, numbers(g, etk_shape_of(4, 1, 3, 4, 4), 1), 0);
    fails_with(ETK_E_SHAPE, wanted[i], etk_graph_status(e, g));
    etk_graph_free(g);
  }
}

static void a_length_that_cannot_be_is_refused_when_it_runs(void **state) {
  (void)state;
  for (int i = 0; i < 6; i++) {
    etk_graph *g = etk_graph_new();
    etk_tensor *x = numbers(g, etk_shape_of(3, 1, 3, 4), 1), *q = etk_reshape(g, x, etk_shape_of(4, 1, 3, 1, 4)),
               *n = integers(g, 1, (const int32_t[]){i % 2 ? -1 : 4});
    etk_tensor *y = i / 2 == 0 ? etk_mean_pool(g, x, n) : i / 2 == 1 ? etk_max_pool(g, x, n) : etk_full_attention(g, q, q, q, n, 1);
    etk_graph_keep(g, y);
    fails_with(ETK_E_INVALID, i % 2 ? "length -1 of row 0 is not in 0 .. 3" : "length 4 of row 0 is not in 0 .. 3", etk_graph_eval(e, g));
    etk_graph_free(g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(full_attention_is_a_softmax_over_the_keys_of_a_length),
      cmocka_unit_test(keys_behind_a_length_are_never_read),
      cmocka_unit_test(pools_take_the_rows_of_a_length),
      cmocka_unit_test(patches_are_squares_row_by_row),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(a_length_that_cannot_be_is_refused_when_it_runs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
