/* head_loss: the head and its cross entropy in one, against the two operations it stands for. */
#include "ml_golden.h"

#include "ml/tensor/internal.h"
#include <etk/quant.h>
#include <etk/rng.h>

enum { D = 64 };

static etk_tensor *tensor(etk_dtype dtype, etk_shape shape, double deviation, uint64_t stream) {
  etk_tensor *t = NULL, *cast = NULL;
  etk_rng rng = etk_rng_new(11, stream);
  works(etk_tensor_new(e, &t, ETK_F32, shape));
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = (float)(deviation * etk_rng_normal(&rng));
  if (dtype == ETK_F32) return t;
  works(etk_tensor_cast(e, &cast, t, dtype));
  etk_tensor_unref(t);
  return cast;
}

struct problem {
  etk_graph *graph;
  etk_tensor *x, *weight, *targets, *loss, *losses, *gradients[2];
  int count; /* of gradients */
  etk_plan plan;
};
static void open_problem(struct problem *p, bool fused, etk_tensor *x, etk_tensor *weight, int64_t rows, float softcap) {
  bool trained = etk_tensor_trainable(weight);
  *p = (struct problem){.graph = etk_graph_new(), .x = x, .weight = weight, .count = trained ? 2 : 1};
  etk_graph *g = p->graph;
  p->targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, rows), "targets");
  etk_tensor_set_trainable(x, true);
  if (fused) p->loss = etk_head_loss(g, x, weight, p->targets, softcap, &p->losses);
  else {
    etk_tensor *logits = etk_matmul(g, x, weight, false, true);
    p->losses = etk_cross_entropy(g, softcap > 0 ? etk_softcap(g, logits, softcap) : logits, p->targets);
    p->loss = etk_mean_counted(g, p->losses, p->targets);
  }
  etk_graph_keep(g, p->loss);
  etk_graph_keep(g, p->losses);
  etk_tensor *const wrt[] = {x, weight};
  works(etk_graph_backward(e, g, p->loss, wrt, (size_t)p->count, p->gradients));
  works(etk_graph_plan(e, g, &p->plan));
}
static void run_problem(struct problem *p, const int32_t *targets) {
  memcpy(etk_tensor_data(p->targets), targets, etk_tensor_bytes(p->targets));
  etk__graph_set_debug_poison(p->graph, true);
  works(etk_graph_eval(e, p->graph));
}

/* Largest difference over the largest value. */
static double difference(const etk_tensor *a, const etk_tensor *b) {
  const float *x = etk_tensor_data(a), *y = etk_tensor_data(b);
  double worst = 0, largest = 1e-30;
  for (int64_t i = 0; i < etk_tensor_elements(a); i++) {
    worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    largest = fmax(largest, fabs((double)y[i]));
  }
  return isfinite(worst) ? worst / largest : INFINITY;
}

/* every: one row in so many has no target */
static void check_with(etk_tensor *weight, int64_t rows, int64_t vocabulary, int every, float softcap, double tolerance) {
  etk_tensor *x = tensor(ETK_F32, etk_shape_of(2, rows, D), 1, 1);
  etk_dtype dtype = etk_tensor_dtype(weight);
  int32_t *targets = etk_calloc((size_t)rows, sizeof *targets);
  assert_non_null(targets);
  for (int64_t i = 0; i < rows; i++) targets[i] = every && i % every == 0 ? -1 : (int32_t)(i * 7919 % vocabulary);
  struct problem two, one;
  open_problem(&two, false, x, weight, rows, softcap);
  open_problem(&one, true, x, weight, rows, softcap);
  run_problem(&two, targets);
  run_problem(&one, targets);
  double loss = difference(one.loss, two.loss), losses = difference(one.losses, two.losses), worst = fmax(loss, losses);
  for (int i = 0; i < one.count; i++) worst = fmax(worst, difference(one.gradients[i], two.gradients[i]));
  print_message("%s (%lld, %lld)%s: within %.2g\n", etk_dtype_name(dtype), (long long)rows, (long long)vocabulary, softcap > 0 ? " capped" : "", worst);
  if (!(worst <= tolerance)) fail_msg("%s: loss off by %g, losses by %g, the worst of all is %g", etk_dtype_name(dtype), loss, losses, worst);
  for (int64_t i = 0; i < rows; i++)
    if (targets[i] < 0) {
      assert_true(((float *)etk_tensor_data(one.losses))[i] == 0);
      for (int64_t j = 0; j < D; j++) assert_true(((float *)etk_tensor_data(one.gradients[0]))[i * D + j] == 0);
    }
  etk_graph_free(one.graph);
  etk_graph_free(two.graph);
  etk_tensor_unref(x);
  etk_tensor_unref(weight);
  etk_free(targets);
}

static void check(etk_dtype dtype, int64_t rows, int64_t vocabulary, int every, float softcap, double tolerance) {
  etk_tensor *weight = tensor(dtype, etk_shape_of(2, vocabulary, D), 0.3, 2);
  if (dtype == ETK_F32) etk_tensor_set_trainable(weight, true);
  check_with(weight, rows, vocabulary, every, softcap, tolerance);
}

/* The same sums of up to `vocabulary` floats in another order: 1e-6 of the largest value leaves room for ten roundings. */
static void it_is_the_product_and_the_cross_entropy(void **state) {
  (void)state;
  check(ETK_F32, 37, 133, 0, 0, 2e-6);
  check(ETK_F32, 700, 133, 3, 0, 2e-6); /* three blocks of rows that do not lie side by side */
  check(ETK_F32, 600, 61, 0, 0, 2e-6);
}
static void a_cap_of_the_logits_is_part_of_it(void **state) {
  (void)state;
  check(ETK_F32, 600, 2100, 5, 3, 4e-6);
}
/* A head that is not trained meets x in chunks of 2048: two of them and a rest, a rest of one, more rows than a block has. Logits grow from row to row of the weight, so
 * that the largest so far changes. */
static void a_frozen_head_is_gone_through_in_chunks(void **state) {
  (void)state;
  static const struct {
    int64_t rows, vocabulary;
    int every;
    float softcap;
    double growth;
  } cases[] = {{40, 5000, 0, 0, 0}, {1100, 4097, 3, 0, 0}, {300, 2049, 4, 3, 2e-4}, {64, 6200, 0, 0, 2e-4}, {30, 2100, 0, 0, 1e-3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_tensor *weight = tensor(ETK_F32, etk_shape_of(2, cases[i].vocabulary, D), 0.3, 2);
    for (int64_t j = 0; j < etk_tensor_elements(weight); j++) ((float *)etk_tensor_data(weight))[j] *= (float)(1 + cases[i].growth * (double)(j / D));
    check_with(weight, cases[i].rows, cases[i].vocabulary, cases[i].every, cases[i].softcap, 4e-6);
  }
}
/* Each row of x meets the weight by itself, whatever the type: the same products, so the tolerance is that of the sums in F32. */
static void weights_are_taken_as_they_are_stored(void **state) {
  (void)state;
  check(ETK_F16, 300, 256, 4, 0, 2e-6);
  check(ETK_BF16, 300, 256, 4, 0, 2e-6);
  check((etk_dtype)ETK_Q8_0, 300, 256, 4, 0, 2e-6);
}

static void rows_without_a_target_are_not_looked_at(void **state) {
  (void)state;
  enum { ROWS = 9 };
  const int32_t some[ROWS] = {-1, 4, -1, -1, 6, 0, -1, 2, -1}, none[ROWS] = {-1, -1, -1, -1, -1, -1, -1, -1, -1};
  etk_tensor *x = tensor(ETK_F32, etk_shape_of(2, ROWS, D), 1, 1), *weight = tensor(ETK_F32, etk_shape_of(2, 8, D), 1, 2);
  etk_tensor_set_trainable(weight, true);
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < D && some[i] < 0; j++) ((float *)etk_tensor_data(x))[i * D + j] = NAN;
  struct problem p;
  open_problem(&p, true, x, weight, ROWS, 0);
  run_problem(&p, some);
  assert_true(isfinite(*(float *)etk_tensor_data(p.loss)));
  for (int i = 0; i < 2; i++)
    for (int64_t j = 0; j < etk_tensor_elements(p.gradients[i]); j++) assert_true(isfinite(((float *)etk_tensor_data(p.gradients[i]))[j]));
  run_problem(&p, none);
  assert_true(*(float *)etk_tensor_data(p.loss) == 0);
  for (int i = 0; i < 2; i++)
    for (int64_t j = 0; j < etk_tensor_elements(p.gradients[i]); j++) assert_true(((float *)etk_tensor_data(p.gradients[i]))[j] == 0);
  etk_graph_free(p.graph);
  etk_tensor_unref(x);
  etk_tensor_unref(weight);
}

static void memory_does_not_grow_with_rows_times_vocabulary(void **state) {
  (void)state;
  size_t bytes[2];
  for (int i = 0; i < 2; i++) {
    int64_t rows = i ? 4096 : 2048, vocabulary = 16384;
    etk_tensor *x = tensor(ETK_F32, etk_shape_of(2, rows, D), 1, 1), *weight = tensor((etk_dtype)ETK_Q8_0, etk_shape_of(2, vocabulary, D), 1, 2);
    struct problem p;
    open_problem(&p, true, x, weight, rows, 0);
    bytes[i] = p.plan.peak_bytes;
    etk_graph_free(p.graph);
    etk_tensor_unref(x);
    etk_tensor_unref(weight);
  }
  assert_true(bytes[0] < (size_t)2048 * 16384 * sizeof(float) / 2); /* far less than the logits */
  assert_true(bytes[1] - bytes[0] < (size_t)2048 * (4 * D + 16) * sizeof(float)); /* what a row adds: its own few vectors */
}

static void what_has_no_derivative_says_so(void **state) {
  (void)state;
  etk_tensor *x = tensor(ETK_F32, etk_shape_of(2, 4, D), 1, 1), *weight = tensor(ETK_F32, etk_shape_of(2, 8, D), 1, 2);
  etk_tensor_set_trainable(weight, true);
  for (int i = 0; i < 2; i++) {
    struct problem p;
    open_problem(&p, true, x, weight, 4, 0);
    etk_tensor *second[2];
    etk_tensor *loss = i ? etk_sum(p.graph, etk_mul(p.graph, p.gradients[0], p.gradients[0])) : etk_sum(p.graph, p.losses);
    etk_tensor *const wrt[] = {x, weight};
    if (i) fails_with(ETK_E_UNSUPPORTED, "head_loss_backward has no derivative", etk_graph_backward(e, p.graph, loss, wrt, 2, second));
    else fails_with(ETK_E_UNSUPPORTED, "only its mean has a derivative", etk_graph_backward(e, p.graph, loss, wrt, 2, second));
    etk_graph_free(p.graph);
  }
  etk_tensor_unref(x);
  etk_tensor_unref(weight);
}

static void a_target_beyond_the_vocabulary_is_an_error(void **state) {
  (void)state;
  etk_tensor *x = tensor(ETK_F32, etk_shape_of(2, 2, D), 1, 1), *weight = tensor(ETK_F32, etk_shape_of(2, 8, D), 1, 2);
  etk_tensor_set_trainable(weight, true);
  struct problem p;
  open_problem(&p, true, x, weight, 2, 0);
  ((int32_t *)etk_tensor_data(p.targets))[1] = 8;
  fails_with(ETK_E_INVALID, "head_loss: target 8 of row 1 is not below the vocabulary's size 8", etk_graph_eval(e, p.graph));
  etk_tensor *losses, *wrong = etk_head_loss(p.graph, x, weight, p.losses, 0, &losses);
  assert_true(etk__poisoned(wrong));
  etk_graph_free(p.graph);
  etk_tensor_unref(x);
  etk_tensor_unref(weight);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_the_product_and_the_cross_entropy), cmocka_unit_test(a_cap_of_the_logits_is_part_of_it),
      cmocka_unit_test(a_frozen_head_is_gone_through_in_chunks),
      cmocka_unit_test(weights_are_taken_as_they_are_stored), cmocka_unit_test(rows_without_a_target_are_not_looked_at),
      cmocka_unit_test(memory_does_not_grow_with_rows_times_vocabulary), cmocka_unit_test(what_has_no_derivative_says_so),
      cmocka_unit_test(a_target_beyond_the_vocabulary_is_an_error),
  };
  return cmocka_run_group_tests_name("head_loss", tests, NULL, NULL);
}
