/* The runner of etk/bench.h: what it samples, when it stops, what it costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "core/bench_internal.h" /* before cmocka.h, which makes a macro of the word fail */
#include "etk/alloc.h"
#include "etk/hardware.h"
#include <cmocka.h>
#include <math.h>

/* A run of which only `cancelled` is asked. */
static int stop_after; /* calls of cancelled; 0: never */
static int asked_to_stop(etk_run *run) {
  (void)run;
  return stop_after > 0 && --stop_after == 0;
}
static const etk_host host = {.struct_size = sizeof host, .cancelled = asked_to_stop};
static etk_run run = {&host};

static struct {
  int setups, teardowns;
  int64_t calls, inside_ns, fail_at, bytes;
  uint64_t rounds, spun;
} seen;

static void spin(uint64_t rounds) {
  volatile uint64_t *kept = &seen.spun;
  uint64_t x = 1;
  for (uint64_t i = 0; i < rounds; i++) x = x * 6364136223846793005u + 1442695040888963407u;
  *kept = x;
}

static etk_status set_up(etk_run *r, void **state) {
  assert_ptr_equal(r, &run);
  seen.setups++;
  *state = &seen;
  return seen.fail_at < 0 ? ETK_E_IO : ETK_OK;
}
static etk_status one(etk_run *r, void *state, etk_bench_work *work) {
  int64_t began = etk_cpu_time_ns();
  (void)r;
  assert_ptr_equal(state, &seen);
  spin(seen.rounds);
  *work = (etk_bench_work){.items = 3, .flops = 50, .bytes = 700};
  if (seen.bytes) {
    char *block = etk_alloc((size_t)seen.bytes);
    assert_non_null(block);
    memset(block, 1, (size_t)seen.bytes);
    etk_free(block);
  }
  seen.calls++;
  seen.inside_ns += etk_cpu_time_ns() - began;
  return seen.fail_at && seen.calls >= seen.fail_at ? ETK_E_FORMAT : ETK_OK;
}
static void tear_down(etk_run *r, void *state) {
  (void)r;
  assert_ptr_equal(state, &seen);
  seen.teardowns++;
}
static const etk_bench_case bench = {"spin", "Count", "round", set_up, one, tear_down};

static int fresh(void **state) {
  (void)state;
  memset(&seen, 0, sizeof seen);
  stop_after = 0;
  seen.rounds = 1000;
  return 0;
}

static void short_calls_are_repeated_to_last_a_millisecond(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .most_samples = 12, .least_samples = 12, .warm_up_ns = 1};
  etk_bench_result r;
  (void)state;
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &o), ETK_OK);
  assert_int_equal(r.count, 12);
  assert_true(r.repeats > 20);
  assert_int_equal(r.work.items, 3);
  assert_int_equal(r.work.flops, 50);
  assert_int_equal(r.work.bytes, 700);
  for (size_t i = 0; i < r.count; i++) assert_true(r.wall_s[i] > 0 && r.wall_s[i] * (double)r.repeats > 0.0004 && r.cpu_s[i] > 0);
  assert_true(r.reference_count >= 12);
  assert_true(seen.setups == 1 && seen.teardowns == 1);
  etk_bench_result_free(&r);
}

static void sampling_stops_at_the_precision_or_the_limits(void **state) {
  etk_bench_options loose = {.struct_size = sizeof loose, .precision = 10, .warm_up_ns = 1};
  etk_bench_options strict = {.struct_size = sizeof strict, .precision = 1e-9, .most_samples = 23, .warm_up_ns = 1};
  etk_bench_options late = {.struct_size = sizeof late, .precision = 1e-9, .most_ns = 1, .warm_up_ns = -1};
  etk_bench_result r;
  (void)state;
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &loose), ETK_OK);
  assert_true(r.count == 10 && r.precise);
  etk_bench_result_free(&r);
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &strict), ETK_OK);
  assert_true(r.count == 23 && !r.precise);
  etk_bench_result_free(&r);
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &late), ETK_OK);
  assert_int_equal(r.count, 3);
  etk_bench_result_free(&r);
}

static void warm_up_is_not_sampled(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .most_samples = 1, .warm_up_ns = 20000000};
  etk_bench_result r;
  (void)state;
  seen.rounds = 2000000; /* above 1 ms */
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &o), ETK_OK);
  assert_int_equal(r.count, 1);
  assert_int_equal(r.repeats, 1);
  assert_true(seen.calls >= 3); /* to find the repeats, once more when warm, and the sample */
  etk_bench_result_free(&r);
}

static void failures_tell_the_place_and_tear_down(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .warm_up_ns = -1};
  etk_error e = ETK_ERROR_INIT;
  etk_bench_result r;
  (void)state;
  seen.fail_at = 1;
  assert_int_equal(etk_bench_run(&e, &r, &bench, &run, &o), ETK_E_FORMAT);
  assert_non_null(strstr(e.message, "spin failed in its sample"));
  assert_int_equal(seen.teardowns, 1);
  etk_bench_result_free(&r);
  fresh(NULL);
  seen.fail_at = -1;
  assert_int_equal(etk_bench_run(&e, &r, &bench, &run, &o), ETK_E_IO);
  assert_non_null(strstr(e.message, "spin failed in its setup"));
  assert_int_equal(seen.teardowns, 0);
  etk_bench_result_free(&r);
  fresh(NULL);
  stop_after = 5;
  assert_int_equal(etk_bench_run(&e, &r, &bench, &run, &o), ETK_E_CANCELLED);
  assert_int_equal(seen.teardowns, 1);
  etk_bench_result_free(&r);
}

static void options_that_contradict_are_refused(void **state) {
  etk_bench_options crossed = {.struct_size = sizeof crossed, .least_samples = 5, .most_samples = 4};
  etk_bench_options negative = {.struct_size = sizeof negative, .precision = -1};
  etk_bench_result r;
  (void)state;
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &crossed), ETK_E_INVALID);
  etk_bench_result_free(&r);
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &negative), ETK_E_INVALID);
  etk_bench_result_free(&r);
  assert_int_equal(seen.calls, 0);
}

static void the_peak_is_that_of_the_run(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .most_samples = 3, .least_samples = 3, .warm_up_ns = -1};
  etk_bench_result r;
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip();
#endif
  char *before = etk_alloc(200 << 20); /* given back before the run: it does not count */
  assert_non_null(before);
  memset(before, 1, 200 << 20);
  etk_free(before);
  seen.bytes = 40 << 20;
  assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &o), ETK_OK);
  int64_t growth = r.peak_rss_bytes - r.before_rss_bytes;
  assert_true(growth >= 39 << 20 && growth < 60 << 20);
  etk_bench_result_free(&r);
}

static void without_the_kernel_a_thread_finds_the_peak(void **state) {
  etk_memory_watch watch;
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip();
#endif
  etk__memory_start(&watch, false);
  char *block = etk_alloc(32 << 20);
  assert_non_null(block);
  memset(block, 1, 32 << 20);
  int64_t until = etk_time_ns() + 60000000; /* six looks */
  while (etk_time_ns() < until) spin(1000);
  etk_free(block);
  int64_t before = watch.before, peak = etk__memory_stop(&watch);
  assert_true(peak - before >= 31 << 20 && peak - before < 48 << 20);
}

/* What is not inside the case: clocks, the reference loop, sorting. */
static void the_runner_takes_less_than_five_percent(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .precision = 1e-9, .most_samples = 300, .least_samples = 300};
  etk_bench_result r;
  double best = 1;
  (void)state;
  seen.rounds = 100000;
  for (int i = 0; i < 3 && best >= 0.05; i++) { /* CPU time: what other processes take does not count */
    fresh(NULL);
    seen.rounds = 100000;
    int64_t began = etk_cpu_time_ns();
    assert_int_equal(etk_bench_run(NULL, &r, &bench, &run, &o), ETK_OK);
    double cost = 1 - (double)seen.inside_ns / (double)(etk_cpu_time_ns() - began);
    if (cost < best) best = cost;
    etk_bench_result_free(&r);
  }
  print_message("# the runner's share of its time: %.1f %%\n", 100 * best);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  assert_true(best < 0.05);
#endif
}

static void every_allocation_may_fail(void **state) {
  etk_bench_options o = {.struct_size = sizeof o, .most_samples = 2, .warm_up_ns = -1};
  etk_error e = ETK_ERROR_INIT;
  int failures = 0;
  (void)state;
  seen.rounds = 500000;
  for (uint64_t nth = 1; nth <= 6; nth++) {
    etk_bench_result r;
    etk_alloc_fail_nth(nth, false);
    etk_status status = etk_bench_run(&e, &r, &bench, &run, &o);
    if (status) assert_int_equal(status, ETK_E_NO_MEMORY);
    failures += status != ETK_OK;
    etk_bench_result_free(&r);
  }
  etk_alloc_fail_nth(0, false);
  assert_true(failures >= 3);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(short_calls_are_repeated_to_last_a_millisecond), TEST(sampling_stops_at_the_precision_or_the_limits), TEST(warm_up_is_not_sampled),
      TEST(failures_tell_the_place_and_tear_down),          TEST(options_that_contradict_are_refused),           TEST(the_peak_is_that_of_the_run),
      TEST(without_the_kernel_a_thread_finds_the_peak),     TEST(the_runner_takes_less_than_five_percent),       TEST(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
