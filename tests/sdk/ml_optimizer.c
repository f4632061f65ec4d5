/* Optimizers against PyTorch's published formulas computed in double, clipping, schedules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../starve.h"
#include <etk/alloc.h>
#include <etk/optimizer.h>
#include <math.h>

enum { N = 37, STEPS = 10 };

static etk_tensor *filled(int64_t n, double phase) {
  etk_tensor *t = NULL;
  assert_int_equal(etk_tensor_new(NULL, &t, ETK_F32, etk_shape_of(1, n)), ETK_OK);
  for (int64_t i = 0; i < n; i++) ((float *)etk_tensor_data(t))[i] = (float)sin(phase + 0.7 * (double)i);
  return t;
}
static double gradient_at(int step, int i) { return sin(1.3 * step + 0.9 * i) * (i % 5 == 0 ? 1e-3 : 1); }

/* torch.optim.AdamW's documentation: p <- p - lr wd p; m, v; mhat = m/(1-b1^t), vhat = v/(1-b2^t); p <- p - lr mhat/(sqrt(vhat) + eps) */
static void adamw_follows_torch_for_ten_steps(void **state) {
  (void)state;
  etk_optimizer_options o = etk_optimizer_defaults(ETK_ADAMW);
  assert_true(o.beta1 == 0.9 && o.beta2 == 0.999 && o.epsilon == 1e-8);
  o.weight_decay = 0.1;
  etk_tensor *p[2] = {filled(N, 0.5), filled(N, 1.5)}, *g[2] = {filled(N, 0), NULL};
  float second[N];
  memcpy(second, etk_tensor_data(p[1]), sizeof second);
  etk_optimizer *opt = NULL;
  for (int exempt = 0; exempt < 2; exempt++) {
    double want[N], m[N] = {0}, v[N] = {0};
    for (int i = 0; i < N; i++) want[i] = (double)((float *)etk_tensor_data(p[0]))[i];
    assert_int_equal(etk_optimizer_new(NULL, &opt, &o, p, (bool[]){exempt, false}, 2), ETK_OK);
    assert_int_equal(etk_optimizer_bytes(opt), 2 * 2 * N * 4);
    for (int t = 1; t <= STEPS; t++) {
      double lr = 0.01 * t, clip = 0.5;
      for (int i = 0; i < N; i++) {
        double d = clip * (double)(float)gradient_at(t, i);
        ((float *)etk_tensor_data(g[0]))[i] = (float)gradient_at(t, i);
        want[i] -= exempt ? 0 : lr * 0.1 * want[i];
        m[i] = 0.9 * m[i] + 0.1 * d;
        v[i] = 0.999 * v[i] + 0.001 * d * d;
        want[i] -= lr * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
      }
      assert_int_equal(etk_optimizer_step(NULL, opt, g, lr, clip), ETK_OK);
    }
    assert_int_equal(etk_optimizer_steps(opt), STEPS);
    /* ten steps, each with a few float roundings of values near 1 (6e-8 each) */
    for (int i = 0; i < N; i++) {
      double seen = (double)((float *)etk_tensor_data(p[0]))[i];
      if (!(fabs(seen - want[i]) < 2e-6)) fail_msg("parameter %d: %.9g, wanted %.9g", i, seen, want[i]);
      assert_true(fabs((double)((float *)etk_tensor_data(etk_optimizer_state(opt, 0, 0)))[i] - m[i]) < 1e-6);
      assert_true(fabs((double)((float *)etk_tensor_data(etk_optimizer_state(opt, 0, 1)))[i] - v[i]) < 1e-8);
    }
    assert_memory_equal(second, etk_tensor_data(p[1]), sizeof second); /* no gradient: left alone, not even decayed */
    etk_optimizer_free(opt);
  }
  etk_tensor_unref(p[0]), etk_tensor_unref(p[1]), etk_tensor_unref(g[0]);
}

/* torch.optim.SGD's documentation: g <- g + wd p; b <- momentum b + g (b = g at first); p <- p - lr b */
static void sgd_follows_torch_for_ten_steps(void **state) {
  (void)state;
  for (int momentum = 0; momentum < 2; momentum++) {
    etk_optimizer_options o = etk_optimizer_defaults(ETK_SGD);
    o.momentum = momentum ? 0.9 : 0;
    o.weight_decay = 0.05;
    etk_tensor *p = filled(N, 0.5), *g = filled(N, 0);
    etk_optimizer *opt = NULL;
    double want[N], b[N] = {0};
    for (int i = 0; i < N; i++) want[i] = (double)((float *)etk_tensor_data(p))[i];
    assert_int_equal(etk_optimizer_new(NULL, &opt, &o, &p, NULL, 1), ETK_OK);
    for (int t = 1; t <= STEPS; t++) {
      for (int i = 0; i < N; i++) {
        ((float *)etk_tensor_data(g))[i] = (float)gradient_at(t, i);
        double d = (double)(float)gradient_at(t, i) + 0.05 * want[i];
        b[i] = momentum ? (t == 1 ? d : 0.9 * b[i] + d) : d;
        want[i] -= 0.02 * b[i];
      }
      assert_int_equal(etk_optimizer_step(NULL, opt, &g, 0.02, 1), ETK_OK);
    }
    for (int i = 0; i < N; i++) assert_true(fabs((double)((float *)etk_tensor_data(p))[i] - want[i]) < 2e-6); /* as above */
    assert_int_equal(etk_optimizer_state(opt, 0, 0) != NULL, momentum);
    assert_null(etk_optimizer_state(opt, 0, 1));
    etk_optimizer_free(opt);
    etk_tensor_unref(p), etk_tensor_unref(g);
  }
}

static void restored_state_continues_with_the_same_bits(void **state) {
  (void)state;
  etk_optimizer_options o = etk_optimizer_defaults(ETK_ADAMW);
  etk_tensor *p = filled(N, 0.5), *q = filled(N, 0.5), *g = filled(N, 2);
  etk_optimizer *a = NULL, *b = NULL;
  assert_int_equal(etk_optimizer_new(NULL, &a, &o, &p, NULL, 1), ETK_OK);
  for (int t = 0; t < 3; t++) etk_optimizer_step(NULL, a, &g, 0.01, 1);
  assert_int_equal(etk_optimizer_new(NULL, &b, &o, &q, NULL, 1), ETK_OK);
  memcpy(etk_tensor_data(q), etk_tensor_data(p), N * 4);
  for (int i = 0; i < 2; i++) memcpy(etk_tensor_data(etk_optimizer_state(b, 0, i)), etk_tensor_data(etk_optimizer_state(a, 0, i)), N * 4);
  etk_optimizer_set_steps(b, 3);
  etk_optimizer_step(NULL, a, &g, 0.01, 1);
  etk_optimizer_step(NULL, b, &g, 0.01, 1);
  assert_memory_equal(etk_tensor_data(p), etk_tensor_data(q), N * 4);
  etk_optimizer_free(a), etk_optimizer_free(b);
  etk_tensor_unref(p), etk_tensor_unref(q), etk_tensor_unref(g);
}

static void wrong_options_and_gradients_are_named(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_optimizer *opt = NULL;
  etk_tensor *p = filled(4, 0), *g = filled(3, 0), *integers = NULL;
  etk_optimizer_options o = etk_optimizer_defaults(ETK_ADAMW);
  o.beta2 = 1;
  assert_int_equal(etk_optimizer_new(&e, &opt, &o, &p, NULL, 1), ETK_E_INVALID);
  assert_string_equal(e.message, "adamw: betas 0.9 and 1 must be in [0, 1), epsilon 1e-08 at least 0");
  o = etk_optimizer_defaults(ETK_SGD);
  o.momentum = -1;
  assert_int_equal(etk_optimizer_new(&e, &opt, &o, &p, NULL, 1), ETK_E_INVALID);
  assert_string_equal(e.message, "sgd: momentum -1 is not in [0, 1)");
  o.momentum = 0;
  o.weight_decay = NAN;
  assert_int_equal(etk_optimizer_new(&e, &opt, &o, &p, NULL, 1), ETK_E_INVALID);
  o.weight_decay = 0;
  assert_int_equal(etk_tensor_new(&e, &integers, ETK_I32, etk_shape_of(1, 4)), ETK_OK);
  assert_int_equal(etk_optimizer_new(&e, &opt, &o, &integers, NULL, 1), ETK_E_INVALID);
  assert_string_equal(e.message, "optimizer: parameter 0 is I32, wants an F32 tensor with values");
  assert_int_equal(etk_optimizer_new(&e, &opt, &o, &p, NULL, 1), ETK_OK);
  assert_int_equal(etk_optimizer_step(&e, opt, &g, 0.1, 1), ETK_E_SHAPE);
  assert_string_equal(e.message, "optimizer: gradient 0 is F32 (3), its parameter F32 (4)");
  assert_int_equal(etk_optimizer_steps(opt), 0);
  etk_optimizer_free(opt);
  etk_tensor_unref(p), etk_tensor_unref(g), etk_tensor_unref(integers);
}

static void every_failing_allocation_is_reported_and_nothing_leaks(void **state) {
  (void)state;
  etk_tensor *p[2] = {filled(4, 0), filled(5, 0)};
  etk_optimizer_options o = etk_optimizer_defaults(ETK_ADAMW);
  starvation s = {0};
  while (starve(&s)) {
    etk_optimizer *opt = NULL;
    etk_status status = etk_optimizer_new(NULL, &opt, &o, p, NULL, 2);
    assert_true(!status == !!opt);
    etk_optimizer_free(opt);
    starved(&s, status, NULL);
  }
  etk_tensor_unref(p[0]), etk_tensor_unref(p[1]);
}

static void gradient_norm_covers_all_and_skips_missing(void **state) {
  (void)state;
  etk_tensor *g[3] = {filled(1000, 1), NULL, filled(3, 2)};
  double sum = 0;
  for (int t = 0; t < 3; t += 2)
    for (int64_t i = 0; i < etk_tensor_elements(g[t]); i++) sum += pow((double)((float *)etk_tensor_data(g[t]))[i], 2);
  assert_true(fabs(etk_gradient_norm(g, 3) / sqrt(sum) - 1) < 1e-12); /* doubles, summed in another order */
  etk_tensor_unref(g[0]), etk_tensor_unref(g[2]);
}

static void clipping_only_shrinks(void **state) {
  (void)state;
  assert_true(etk_clip_factor(2, 1) == 1 / (2 + 1e-6));
  assert_true(etk_clip_factor(0.5, 1) == 1);
  assert_true(etk_clip_factor(100, 0) == 1);
  assert_true(etk_clip_factor(0, 1) == 1);
}

static void schedules_warm_up_and_decay(void **state) {
  (void)state;
  etk_schedule s = {ETK_SCHEDULE_LINEAR, 1.0, 0.2, 4, 12};
  /* exact but for roundings of doubles */
  const double linear[] = {0.25, 0.5, 0.75, 1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2};
  for (int i = 0; i < 15; i++) assert_true(fabs(etk_schedule_rate(&s, i) - linear[i]) < 1e-15);
  s.kind = ETK_SCHEDULE_COSINE;
  assert_true(etk_schedule_rate(&s, 1) == 0.5);
  assert_true(etk_schedule_rate(&s, 4) == 1);
  assert_true(fabs(etk_schedule_rate(&s, 8) - 0.6) < 1e-15);
  assert_true(fabs(etk_schedule_rate(&s, 6) - (0.2 + 0.4 * (1 + sqrt(0.5)))) < 1e-15);
  assert_true(fabs(etk_schedule_rate(&s, 12) - 0.2) < 1e-15);
  assert_true(fabs(etk_schedule_rate(&s, 100) - 0.2) < 1e-15);
  s.kind = ETK_SCHEDULE_CONSTANT;
  assert_true(etk_schedule_rate(&s, 0) == 0.25);
  assert_true(etk_schedule_rate(&s, 100) == 1);
  s = (etk_schedule){ETK_SCHEDULE_LINEAR, 1.0, 0, 0, 10};
  assert_true(etk_schedule_rate(&s, 0) == 1);
  s.warmup_steps = 20; /* longer than the run */
  assert_true(etk_schedule_rate(&s, 9) == 0.5);
}

static void schedule_names_parse(void **state) {
  (void)state;
  etk_schedule_kind kind = ETK_SCHEDULE_CONSTANT;
  assert_true(etk_schedule_parse(&kind, "cosine"));
  assert_int_equal(kind, ETK_SCHEDULE_COSINE);
  assert_true(etk_schedule_parse(&kind, "linear"));
  assert_int_equal(kind, ETK_SCHEDULE_LINEAR);
  assert_true(etk_schedule_parse(&kind, "constant"));
  assert_int_equal(kind, ETK_SCHEDULE_CONSTANT);
  assert_false(etk_schedule_parse(&kind, "Cosine "));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adamw_follows_torch_for_ten_steps),
      cmocka_unit_test(sgd_follows_torch_for_ten_steps),
      cmocka_unit_test(restored_state_continues_with_the_same_bits),
      cmocka_unit_test(wrong_options_and_gradients_are_named),
      cmocka_unit_test(every_failing_allocation_is_reported_and_nothing_leaks),
      cmocka_unit_test(gradient_norm_covers_all_and_skips_missing),
      cmocka_unit_test(clipping_only_shrinks),
      cmocka_unit_test(schedules_warm_up_and_decay),
      cmocka_unit_test(schedule_names_parse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
