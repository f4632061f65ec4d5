/* Tests of etk/parallel.h; under SAN=thread they are also the proof that the pool has no race. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/log.h"
#include "etk/parallel.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 100000 };
static unsigned char visited[MOST];
static _Atomic int running[64], calls;

static void visit(void *user, int64_t begin, int64_t end, int slot) {
  int64_t least = *(int64_t *)user;
  if (atomic_fetch_add(&running[slot], 1) != 0) abort(); /* two bodies share a slot */
  if (end - begin < least) abort();
  for (int64_t i = begin; i < end; i++) visited[i]++;
  atomic_fetch_add(&calls, 1);
  atomic_fetch_sub(&running[slot], 1);
}

static void every_index_is_visited_once_in_pieces_of_the_grain(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 7, 64, 1000, 99999}, grains[] = {1, 2, 10, 1000, 200000};
  for (int threads = 1; threads <= 5; threads++) {
    etk_parallel_set_threads(threads);
    assert_int_equal(etk_parallel_threads(), threads);
    for (size_t c = 0; c < 7; c++) {
      for (size_t g = 0; g < 5; g++) {
        int64_t least = grains[g] < counts[c] ? grains[g] : counts[c];
        memset(visited, 0, sizeof visited);
        atomic_store(&calls, 0);
        etk_parallel_for(counts[c], grains[g], visit, &least);
        for (int64_t i = 0; i < counts[c]; i++) assert_int_equal(visited[i], 1);
        int64_t pieces = counts[c] / grains[g];
        assert_int_equal(atomic_load(&calls), pieces < 1 ? 1 : pieces > threads ? threads : pieces);
      }
    }
  }
  int64_t least = 1;
  atomic_store(&calls, 0);
  etk_parallel_for(0, 1, visit, &least);
  etk_parallel_for(-5, 1, visit, &least);
  assert_int_equal(atomic_load(&calls), 0);
}

typedef struct cut {
  int64_t begin[8], end[8];
} cut;

static void record(void *user, int64_t begin, int64_t end, int slot) {
  cut *c = user;
  c->begin[slot] = begin;
  c->end[slot] = end;
}

static void slots_get_the_same_range_each_time(void **state) {
  (void)state;
  etk_parallel_set_threads(4);
  cut first = {{0}, {0}};
  etk_parallel_for(1003, 10, record, &first);
  for (int i = 0; i < 300; i++) {
    cut again = {{0}, {0}};
    etk_parallel_for(1003, 10, record, &again);
    assert_memory_equal(&again, &first, sizeof first);
  }
  assert_int_equal(first.begin[0], 0);
  assert_int_equal(first.end[3], 1003);
}

static void inner_body(void *user, int64_t begin, int64_t end, int slot) {
  (void)slot;
  atomic_fetch_add((_Atomic int64_t *)user, end - begin);
}

static void outer_body(void *user, int64_t begin, int64_t end, int slot) {
  (void)slot;
  for (int64_t i = begin; i < end; i++) etk_parallel_for(100, 1, inner_body, user);
}

static void nested_regions_run_inline(void **state) {
  (void)state;
  etk_parallel_set_threads(4);
  _Atomic int64_t total = 0;
  for (int i = 0; i < 50; i++) etk_parallel_for(16, 1, outer_body, &total);
  assert_int_equal(atomic_load(&total), 50 * 16 * 100);
}

static void sum_body(void *user, int64_t begin, int64_t end, int slot) {
  int64_t *sums = user;
  for (int64_t i = begin; i < end; i++) sums[slot] += i; /* plain memory: what a slot wrote is seen after the region */
}

static void many_small_regions_lose_nothing(void **state) {
  (void)state;
  etk_parallel_set_threads(3);
  for (int i = 0; i < 5000; i++) {
    int64_t sums[3] = {0};
    etk_parallel_for(30, 1, sum_body, sums);
    assert_int_equal(sums[0] + sums[1] + sums[2], 435);
  }
}

static void *user_thread(void *unused) {
  for (int i = 0; i < 300; i++) {
    int64_t sums[3] = {0};
    etk_parallel_for(30, 1, sum_body, sums);
    if (sums[0] + sums[1] + sums[2] != 435) abort();
  }
  return unused;
}

static void several_threads_may_use_the_pool(void **state) {
  (void)state;
  etk_parallel_set_threads(3);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, user_thread, NULL), 0);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

static void the_pool_starts_again_after_shutdown_and_resizing(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    etk_parallel_set_threads(1 + i % 4);
    int64_t sums[4] = {0};
    etk_parallel_for(30, 1, sum_body, sums);
    assert_int_equal(sums[0] + sums[1] + sums[2] + sums[3], 435);
    if (i % 3 == 0) etk_parallel_shutdown();
  }
  etk_parallel_shutdown();
  etk_parallel_shutdown();
}

static void a_forked_child_has_a_pool_of_its_own(void **state) {
  (void)state;
#if defined(__SANITIZE_THREAD__)
  skip(); /* ThreadSanitizer does not follow a child that starts threads after a multi-threaded fork */
#endif
  etk_parallel_set_threads(3);
  int64_t sums[3] = {0};
  etk_parallel_for(30, 1, sum_body, sums);
  pid_t child = fork();
  if (child == 0) {
    int64_t own[3] = {0};
    alarm(20);
    for (int i = 0; i < 100; i++) etk_parallel_for(30, 1, sum_body, own);
    etk_parallel_shutdown();
    _exit(own[0] + own[1] + own[2] == 43500 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  etk_parallel_for(30, 1, sum_body, sums);
  assert_int_equal(sums[0] + sums[1] + sums[2], 870);
}

static void drop(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  (void)unix_ms;
  if (level == ETK_LOG_WARNING && strstr(message, "EFFICIENTAI_THREADS")) ++*(int *)user;
}

static void the_environment_sets_the_default(void **state) {
  (void)state;
  int warnings = 0;
  etk_log_set_sink(drop, &warnings);
  setenv("EFFICIENTAI_THREADS", "7", 1);
  etk_parallel_set_threads(0);
  assert_int_equal(etk_parallel_threads(), 7);
  etk_parallel_set_threads(2);
  assert_int_equal(etk_parallel_threads(), 2);
  setenv("EFFICIENTAI_THREADS", "many", 1);
  etk_parallel_set_threads(0);
  assert_true(etk_parallel_threads() >= 1);
  assert_int_equal(warnings, 1);
  unsetenv("EFFICIENTAI_THREADS");
  etk_parallel_set_threads(0);
  assert_true(etk_parallel_threads() >= 1);
  etk_log_set_sink(NULL, NULL);
}

static void regions_allocate_nothing(void **state) {
  (void)state;
  etk_parallel_set_threads(3);
  int64_t sums[3] = {0};
  etk_parallel_for(30, 1, sum_body, sums);
  uint64_t before = etk_alloc_get_stats().calls;
  for (int i = 0; i < 100; i++) etk_parallel_for(30, 1, sum_body, sums);
  assert_int_equal(etk_alloc_get_stats().calls, before);
  etk_parallel_shutdown();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_index_is_visited_once_in_pieces_of_the_grain),
      cmocka_unit_test(slots_get_the_same_range_each_time),
      cmocka_unit_test(nested_regions_run_inline),
      cmocka_unit_test(many_small_regions_lose_nothing),
      cmocka_unit_test(several_threads_may_use_the_pool),
      cmocka_unit_test(the_pool_starts_again_after_shutdown_and_resizing),
      cmocka_unit_test(a_forked_child_has_a_pool_of_its_own),
      cmocka_unit_test(the_environment_sets_the_default),
      cmocka_unit_test(regions_allocate_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
