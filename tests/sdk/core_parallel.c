/* Tests of etk/parallel.h; under SAN=thread they are also the proof that the pool has no race. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/parallel_internal.h"
#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/log.h"
#include "etk/parallel.h"
#include "etk/text.h"
#include <pthread.h>
#include <sched.h>
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
  setenv("EFFICIENTAI_THREADS", "7", 1);
  setenv("ETK_THREADS", "3", 1); /* comes first */
  etk_parallel_set_threads(0);
  assert_int_equal(etk_parallel_threads(), 3);
  unsetenv("ETK_THREADS");
  unsetenv("EFFICIENTAI_THREADS");
  etk_parallel_set_threads(0);
  assert_true(etk_parallel_threads() >= 1);
  etk_log_set_sink(NULL, NULL);
}

static void shared_regions_visit_every_index_once_in_slots_of_their_own(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 7, 64, 1000, 99999}, grains[] = {1, 2, 10, 1000, 200000};
  for (int threads = 1; threads <= 5; threads++) {
    etk_parallel_set_threads(threads);
    for (size_t c = 0; c < 7; c++) {
      for (size_t g = 0; g < 5; g++) {
        int64_t least = grains[g] < counts[c] ? grains[g] : counts[c], most = threads > 1 ? 4 * threads : 1;
        memset(visited, 0, sizeof visited);
        atomic_store(&calls, 0);
        etk_parallel_share(counts[c], grains[g], visit, &least);
        for (int64_t i = 0; i < counts[c]; i++) assert_int_equal(visited[i], 1);
        int64_t pieces = counts[c] / grains[g];
        assert_int_equal(atomic_load(&calls), pieces < 1 ? 1 : pieces > most ? most : pieces);
        for (int slot = threads; slot < 64; slot++) assert_int_equal(atomic_load(&running[slot]), 0);
      }
    }
  }
  _Atomic int64_t total = 0;
  for (int i = 0; i < 50; i++) etk_parallel_share(16, 1, outer_body, &total);
  assert_int_equal(atomic_load(&total), 50 * 16 * 100);
}

static _Atomic int finished;
static _Atomic bool gave_up;

/* The first piece waits for all the others: who would leave its own part to it alone waits for ever. */
static void slow_first(void *user, int64_t begin, int64_t end, int slot) {
  (void)user, (void)slot;
  int64_t until = etk_time_ns() + 20000000000;
  while (begin == 0 && atomic_load(&finished) < 8 - (int)(end - begin) && !atomic_load(&gave_up)) {
    if (etk_time_ns() > until) atomic_store(&gave_up, true);
    sched_yield();
  }
  atomic_fetch_add(&finished, (int)(end - begin));
}

static void a_thread_that_is_held_up_does_not_hold_up_its_part(void **state) {
  (void)state;
  etk_parallel_set_threads(2);
  for (int i = 0; i < 20; i++) {
    atomic_store(&finished, 0);
    etk_parallel_share(8, 1, slow_first, NULL);
    assert_int_equal(atomic_load(&finished), 8);
    assert_false(atomic_load(&gave_up));
  }
}

/* ---- places ---- */

static char root[64];
static etk_hardware_provider at_root;
static void put(const char *path, const char *text) {
  char *full = etk_path_join(root, path), *folder = etk_path_dir(full);
  assert_int_equal(etk_fs_make_dirs(NULL, folder), ETK_OK);
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
  etk_free(folder);
  etk_free(full);
}
static void new_root(void) {
  snprintf(root, sizeof root, "/tmp/etk-places-XXXXXX");
  assert_non_null(mkdtemp(root));
  at_root = etk__provider_at(root);
}
static void drop_root(void) { assert_int_equal(etk_fs_remove_tree(NULL, root), ETK_OK); }
static bool anywhere(void *unused, int cpu) {
  (void)unused, (void)cpu;
  return true;
}
static bool only_odd(void *unused, int cpu) {
  (void)unused;
  return cpu % 2 == 1;
}
/* Two nodes of four cores, whose second threads are 8 further on, and a node of memory alone. */
static void two_nodes(void) {
  new_root();
  put("sys/devices/system/node/online", "0-2\n");
  put("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
  put("sys/devices/system/node/node1/cpulist", "4-7,12-15\n");
  put("sys/devices/system/node/node2/cpulist", "\n");
  for (int cpu = 0; cpu < 16; cpu++) {
    char path[128], list[32];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    snprintf(list, sizeof list, "%d,%d\n", cpu % 8, cpu % 8 + 8);
    put(path, list);
  }
}

static void places_fill_cores_before_their_second_threads_on_all_nodes(void **state) {
  (void)state;
  two_nodes();
  static const int eight[] = {0, 1, 2, 3, 4, 5, 6, 7}, four[] = {0, 1, 4, 5}, sixteen[] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15}, odd[] = {1, 3, 5, 7};
  int cpus[40];
  assert_int_equal(etk__parallel_places(cpus, 8, &at_root, anywhere, NULL), 2);
  assert_memory_equal(cpus, eight, sizeof eight);
  assert_int_equal(etk__parallel_places(cpus, 4, &at_root, anywhere, NULL), 2);
  assert_memory_equal(cpus, four, sizeof four);
  assert_int_equal(etk__parallel_places(cpus, 16, &at_root, anywhere, NULL), 2);
  assert_memory_equal(cpus, sixteen, sizeof sixteen);
  assert_int_equal(etk__parallel_places(cpus, 4, &at_root, only_odd, NULL), 2);
  assert_memory_equal(cpus, odd, sizeof odd);
  assert_int_equal(etk__parallel_places(cpus, 1, &at_root, anywhere, NULL), 1);
  assert_int_equal(etk__parallel_places(cpus, 40, &at_root, anywhere, NULL), 2);
  for (int i = 0; i < 40; i++) assert_true(cpus[i] >= 0 && cpus[i] < 16 && (i < 20) == (cpus[i] % 8 < 4));
  drop_root();
}

static void places_without_nodes_are_the_processors(void **state) {
  (void)state;
  int cpus[3] = {-1, -1, -1};
  new_root();
  assert_int_equal(etk__parallel_places(cpus, 3, &at_root, anywhere, NULL), 0);
  put("sys/devices/system/cpu/online", "0,2-3\n");
  assert_int_equal(etk__parallel_places(cpus, 3, &at_root, anywhere, NULL), 1);
  assert_true(cpus[0] == 0 && cpus[1] == 2 && cpus[2] == 3);
  drop_root();
}

static void places_survive_what_no_kernel_writes(void **state) {
  (void)state;
  static const char *const lists[] = {"", "x", "-", "3-1", "0-99999999999999999999", "99999999", "0-0,0-0,,,7-", "1-2-3", "4095-4097"};
  int cpus[4];
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    new_root();
    put("sys/devices/system/node/online", lists[i]);
    put("sys/devices/system/node/node0/cpulist", lists[i]);
    put("sys/devices/system/cpu/online", lists[i]);
    put("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", lists[i]);
    int nodes = etk__parallel_places(cpus, 4, &at_root, anywhere, NULL);
    assert_in_range(nodes, 0, 64); /* a node may be named twice */
    for (int j = 0; j < 4 && nodes; j++) assert_in_range(cpus[j], 0, PLACES_MOST - 1);
    drop_root();
  }
}

static void pin_warning(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  (void)unix_ms;
  if (level == ETK_LOG_WARNING && strstr(message, "ETK_PIN")) ++*(int *)user;
}
#if defined(__linux__)
static _Atomic int allowed_cpus[8];
static void look(void *user, int64_t begin, int64_t end, int slot) {
  cpu_set_t set;
  (void)begin, (void)end;
  bool caller = pthread_equal(*(pthread_t *)user, pthread_self());
  if (sched_getaffinity(0, sizeof set, &set) == 0) atomic_store(&allowed_cpus[caller ? 0 : slot], CPU_COUNT(&set));
  int64_t until = etk_time_ns() + 100000; /* so that the others come to their pieces */
  while (etk_time_ns() < until) sched_yield();
}
#endif

static void threads_keep_to_one_processor_when_that_is_asked_for(void **state) {
  (void)state;
  int warnings = 0;
  etk_log_set_sink(pin_warning, &warnings);
#if defined(__linux__)
  cpu_set_t before;
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  int cpus[3];
  etk_hardware_provider here = etk__provider_at("");
  bool known = etk__parallel_places(cpus, 3, &here, anywhere, NULL) > 0;
  setenv("ETK_PIN", "1", 1);
  etk_parallel_set_threads(3);
  etk_parallel_shutdown();
  pthread_t self = pthread_self();
  for (int i = 0; i < 20; i++) etk_parallel_share(12, 1, look, &self);
  for (int i = 1; i < 3 && known; i++) assert_int_equal(atomic_load(&allowed_cpus[i]), 1);
  assert_int_equal(atomic_load(&allowed_cpus[0]), CPU_COUNT(&before));
#endif
  etk_parallel_shutdown();
  assert_int_equal(warnings, 0);
  setenv("ETK_PIN", "all", 1);
  int64_t sums[3] = {0};
  etk_parallel_for(30, 1, sum_body, sums);
  assert_int_equal(sums[0] + sums[1] + sums[2], 435);
  assert_int_equal(warnings, 1);
  unsetenv("ETK_PIN");
  etk_parallel_shutdown();
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
      cmocka_unit_test(shared_regions_visit_every_index_once_in_slots_of_their_own),
      cmocka_unit_test(a_thread_that_is_held_up_does_not_hold_up_its_part),
      cmocka_unit_test(places_fill_cores_before_their_second_threads_on_all_nodes),
      cmocka_unit_test(places_without_nodes_are_the_processors),
      cmocka_unit_test(places_survive_what_no_kernel_writes),
      cmocka_unit_test(threads_keep_to_one_processor_when_that_is_asked_for),
      cmocka_unit_test(regions_allocate_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
