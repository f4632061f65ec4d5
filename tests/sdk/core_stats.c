/* Statistics of etk/bench.h against scipy, brute force and published data (tests/goldens/stats.py tells which). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "etk/alloc.h"
#include "etk/bench.h" /* before cmocka.h, which makes a macro of the word fail */
#include <cmocka.h>
#include <jansson.h>
#include <math.h>

enum { MOST = 4096 };
static json_t *goldens;

static int open_goldens(void **state) {
  json_error_t error;
  (void)state;
  goldens = json_load_file("tests/goldens/stats.json", 0, &error);
  if (!goldens) print_error("tests/goldens/stats.json: %s\n", error.text);
  return goldens ? 0 : -1;
}
static int close_goldens(void **state) {
  (void)state;
  json_decref(goldens);
  return 0;
}

static size_t numbers(double *out, const json_t *object, const char *key) {
  const json_t *list = json_object_get(object, key);
  size_t count = json_array_size(list);
  assert_true(count > 0 && count <= MOST);
  for (size_t i = 0; i < count; i++) out[i] = json_number_value(json_array_get(list, i));
  return count;
}

static void near(const json_t *golden, const char *key, double seen, double relative) {
  const json_t *value = json_object_get(golden, key);
  double wanted = json_number_value(value);
  assert_true(json_is_number(value));
  if (fabs(seen - wanted) <= relative * fabs(wanted) + 1e-14) return;
  print_error("%s: %s is %.17g, wanted %.17g\n", json_string_value(json_object_get(golden, "name")), key, seen, wanted);
  fail();
}

static void descriptions_are_those_of_scipy_and_nist(void **state) {
  static double x[MOST];
  size_t i;
  json_t *golden;
  (void)state;
  json_array_foreach(json_object_get(goldens, "describe"), i, golden) {
    etk_stats s;
    size_t count = numbers(x, golden, "samples");
    assert_int_equal(etk_stats_of(NULL, &s, x, count), ETK_OK);
    assert_int_equal(s.count, count);
    const struct { const char *key; double seen; } fields[] = {
        {"mean", s.mean}, {"standard_deviation", s.standard_deviation}, {"p5", s.p5}, {"q1", s.q1}, {"median", s.median}, {"q3", s.q3}, {"p90", s.p90},
        {"p95", s.p95}, {"p99", s.p99}, {"median_low", s.median_low}, {"median_high", s.median_high}, {"mad", s.mad}, {"drift", s.drift},
        {"outliers_low", (double)s.outliers_low}, {"outliers_high", (double)s.outliers_high}};
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) near(golden, fields[f].key, fields[f].seen, 1e-10);
    assert_true(s.least <= s.p5 && s.p99 <= s.greatest);
  }
}

/* NIST StRD NumAcc2, 3 and 4: 1001 numbers whose digits cancel; certified mean and a standard deviation of 0.1. */
static void the_accuracy_sets_of_nist_lose_no_digits(void **state) {
  static const double means[] = {1.2, 1000000.2, 10000000.2};
  static double x[1001];
  (void)state;
  for (size_t k = 0; k < 3; k++) {
    etk_stats s;
    double base = means[k] - 0.2;
    x[0] = means[k];
    for (size_t i = 1; i < 1001; i++) x[i] = i % 2 ? base + 0.1 : base + 0.3;
    assert_int_equal(etk_stats_of(NULL, &s, x, 1001), ETK_OK);
    assert_true(fabs(s.mean - means[k]) <= 1e-9 * means[k]);
    assert_true(fabs(s.standard_deviation - 0.1) < 1e-8);
  }
}

static void comparisons_are_those_of_scipy_and_brute_force(void **state) {
  static double a[MOST], b[MOST];
  size_t i;
  json_t *golden;
  (void)state;
  json_array_foreach(json_object_get(goldens, "compare"), i, golden) {
    etk_difference d;
    size_t m = numbers(a, golden, "a"), n = numbers(b, golden, "b");
    assert_int_equal(etk_stats_compare(NULL, &d, a, m, b, n, json_number_value(json_object_get(golden, "alpha")), 0), ETK_OK);
    near(golden, "p", d.p, 1e-9);
    near(golden, "ratio", d.ratio, 1e-12);
    near(golden, "low", d.low, 1e-12);
    if (json_is_null(json_object_get(golden, "high"))) assert_true(isinf(d.high));
    else near(golden, "high", d.high, 1e-12);
    assert_true(d.least_p <= d.p * (1 + 1e-12));
  }
}

/* a and b with a given U and no ties: b's samples each above as many a's as they need. */
static double p_of(size_t m, size_t n, size_t u) {
  double a[32], b[32];
  etk_difference d;
  for (size_t i = 0; i < m; i++) a[i] = 10.0 * (double)(i + 1);
  for (size_t j = 0; j < n; j++) {
    size_t above = u < m ? u : m;
    u -= above;
    b[j] = 10.0 * (double)above + 1 + (double)j / 100;
  }
  assert_int_equal(etk_stats_compare(NULL, &d, a, m, b, n, 0.05, 0), ETK_OK);
  return d.p;
}

static void printed_critical_values_of_u_hold(void **state) {
  size_t i;
  json_t *golden;
  (void)state;
  json_array_foreach(json_object_get(goldens, "critical"), i, golden) {
    size_t m = (size_t)json_integer_value(json_object_get(golden, "m")), n = (size_t)json_integer_value(json_object_get(golden, "n"));
    size_t u = (size_t)json_integer_value(json_object_get(golden, "u"));
    double at = p_of(m, n, u), above = p_of(m, n, u + 1);
    if (at <= 0.05 && above > 0.05) continue;
    print_error("m %zu n %zu: p(U = %zu) = %g, p(U = %zu) = %g\n", m, n, u, at, u + 1, above);
    fail();
  }
}

static void a_comparison_backwards_is_the_inverse(void **state) {
  static const double a[] = {1.0, 1.2, 0.9, 1.1, 1.05, 1.4}, b[] = {1.15, 1.3, 1.25, 1.6, 1.7};
  etk_difference d, r;
  (void)state;
  assert_int_equal(etk_stats_compare(NULL, &d, a, 6, b, 5, 0.05, 0), ETK_OK);
  assert_int_equal(etk_stats_compare(NULL, &r, b, 5, a, 6, 0.05, 0), ETK_OK);
  assert_true(fabs(d.p - r.p) < 1e-15 && fabs(d.ratio * r.ratio - 1) < 1e-12);
  assert_true(fabs(d.low * r.high - 1) < 1e-12 && fabs(d.high * r.low - 1) < 1e-12);
}

static void a_difference_counts_only_beyond_the_least(void **state) {
  double a[12], b[12];
  etk_difference d;
  (void)state;
  for (size_t i = 0; i < 12; i++) a[i] = 1 + (double)i * 1e-5, b[i] = a[i] * 1.01;
  assert_int_equal(etk_stats_compare(NULL, &d, a, 12, b, 12, 0.01, 0.005), ETK_OK);
  assert_true(d.significant && d.p < 1e-5);
  assert_int_equal(etk_stats_compare(NULL, &d, a, 12, b, 12, 0.01, 0.02), ETK_OK);
  assert_false(d.significant);
  assert_int_equal(etk_stats_compare(NULL, &d, b, 12, a, 12, 0.01, 0.02), ETK_OK);
  assert_false(d.significant);
}

static void a_difference_whose_interval_reaches_the_least_is_not_proven(void **state) {
  static const double a[] = {1.00, 1.01, 1.02, 1.03, 1.04, 1.05}, b[] = {1.051, 1.06, 1.07, 1.08, 1.09, 1.10};
  etk_difference d;
  (void)state;
  assert_int_equal(etk_stats_compare(NULL, &d, a, 6, b, 6, 0.01, 0.02), ETK_OK);
  assert_true(d.p < 0.01 && d.ratio > 1.04 && d.low < 1.02); /* 5 %, but perhaps only 1 */
  assert_false(d.significant);
}

static void three_samples_a_side_can_prove_nothing_and_say_so(void **state) {
  static const double a[] = {1, 1.1, 1.2}, b[] = {9, 9.1, 9.2};
  etk_difference d;
  (void)state;
  assert_int_equal(etk_stats_compare(NULL, &d, a, 3, b, 3, 0.01, 0), ETK_OK);
  assert_true(fabs(d.least_p - 0.1) < 1e-15); /* 2 of 20 orders */
  assert_false(d.significant);
  assert_true(d.low == 0 && isinf(d.high));
}

static void equal_samples_do_not_differ(void **state) {
  static const double a[] = {2, 2, 2, 2};
  etk_difference d;
  (void)state;
  assert_int_equal(etk_stats_compare(NULL, &d, a, 4, a, 4, 0.01, 0), ETK_OK);
  assert_true(d.p == 1 && d.ratio == 1 && !d.significant);
}

static void the_nile_changed_after_1898(void **state) {
  static double x[MOST];
  etk_change c;
  size_t count = numbers(x, goldens, "nile");
  (void)state;
  assert_int_equal(etk_stats_change(NULL, &c, x, count), ETK_OK);
  assert_int_equal(1871 + (int)c.at, 1899);
  assert_true(c.p < 1e-5 && c.ratio < 0.8);
  for (size_t i = 0; i < count; i++) x[i] = i % 2 ? 1 : 2; /* no level to change */
  assert_int_equal(etk_stats_change(NULL, &c, x, count), ETK_OK);
  assert_true(c.p > 0.5);
  assert_int_equal(etk_stats_change(NULL, &c, x, 1), ETK_OK);
  assert_true(c.at == 0 && c.p == 1);
}

static void what_is_no_time_is_refused(void **state) {
  static const double good[] = {1, 2}, zero[] = {1, 0}, nan_[] = {1, NAN};
  etk_error e = ETK_ERROR_INIT;
  etk_difference d;
  etk_stats s;
  (void)state;
  assert_int_equal(etk_stats_of(&e, &s, good, 0), ETK_E_INVALID);
  assert_int_equal(etk_stats_of(&e, &s, nan_, 2), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "sample 2 of 2"));
  assert_int_equal(etk_stats_compare(&e, &d, good, 2, zero, 2, 0.05, 0), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "samples b"));
  assert_int_equal(etk_stats_compare(&e, &d, good, 2, good, 2, 0, 0), ETK_E_INVALID);
  assert_int_equal(etk_stats_compare(&e, &d, good, 2, good, 2, 0.05, -1), ETK_E_INVALID);
  assert_int_equal(etk_stats_compare(&e, &d, good, 0, good, 2, 0.05, 0), ETK_E_INVALID);
}

static void a_score_is_the_low_percentile_over_the_reference(void **state) {
  double times[51], reference[11];
  (void)state;
  for (size_t i = 0; i < 51; i++) times[i] = 0.010 + 0.001 * (double)i; /* the 2nd percentile of 51 is the second */
  for (size_t i = 0; i < 11; i++) reference[10 - i] = 0.002 + 0.001 * (double)i; /* the 10th of 11 too */
  assert_true(fabs(etk_bench_score(times, 51, reference, 11) - 0.011 / 0.003) < 1e-12);
  assert_true(isnan(etk_bench_score(times, 0, reference, 11)) && isnan(etk_bench_score(times, 11, reference, 0)));
}

static void everything(void) {
  static const double a[] = {1.0, 1.2, 0.9, 1.1}, b[] = {1.15, 1.3, 1.25};
  etk_difference d;
  etk_stats s;
  etk_change c;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_stats_of(&e, &s, a, 4);
  if (!status) status = etk_stats_compare(&e, &d, a, 4, b, 3, 0.05, 0);
  if (!status) status = etk_stats_change(&e, &c, a, 4);
  if (status) assert_int_equal(status, ETK_E_NO_MEMORY);
  (void)etk_bench_score(a, 4, b, 3);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t nth = 1; nth <= 8; nth++) {
    etk_alloc_fail_nth(nth, false);
    everything();
  }
  etk_alloc_fail_nth(0, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(descriptions_are_those_of_scipy_and_nist),
      cmocka_unit_test(the_accuracy_sets_of_nist_lose_no_digits),
      cmocka_unit_test(comparisons_are_those_of_scipy_and_brute_force),
      cmocka_unit_test(printed_critical_values_of_u_hold),
      cmocka_unit_test(a_comparison_backwards_is_the_inverse),
      cmocka_unit_test(a_difference_counts_only_beyond_the_least),
      cmocka_unit_test(a_difference_whose_interval_reaches_the_least_is_not_proven),
      cmocka_unit_test(three_samples_a_side_can_prove_nothing_and_say_so),
      cmocka_unit_test(equal_samples_do_not_differ),
      cmocka_unit_test(the_nile_changed_after_1898),
      cmocka_unit_test(what_is_no_time_is_refused),
      cmocka_unit_test(a_score_is_the_low_percentile_over_the_reference),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, open_goldens, close_goldens);
}
