/* Benchmarks for tests/cli/benchmark.sh and bench/slowdown.sh: one of steady work whose amount the environment sets, and some that go wrong. */
#include <etk/bench.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const void *query(const char *id);
#define COMMANDS(CMD) CMD(nothing, ETK_NONE, ETK_NONE, 0, "Do nothing")
ETK_PROJECT_WITH("benchmarked", "1.2.3", "Benchmarks that behave and some that do not", COMMANDS, NULL, NULL, query)

static etk_status nothing_run(etk_run *run, const struct nothing_options *o) { return (void)run, (void)o, ETK_OK; }

/* ETK_TEST_WORK: thousandths of the usual amount. Sums over 64 KiB: integer work and the nearest caches. */
enum { WORDS = 8192, PASSES = 200000 };
static uint64_t words[WORDS];
static volatile uint64_t kept;

static etk_status steady(etk_run *run, void *state, etk_bench_work *work) {
  const char *text = getenv("ETK_TEST_WORK");
  uint64_t sum = 1, count = (uint64_t)PASSES * (text ? strtoull(text, NULL, 10) : 1000) / 1000;
  (void)run, (void)state;
  for (uint64_t i = 0; i < count; i++) {
    sum = sum * 6364136223846793005u + words[(sum >> 40) % WORDS];
    words[i % WORDS] ^= sum;
  }
  kept = sum;
  *work = (etk_bench_work){.items = (int64_t)count, .flops = (int64_t)count * 2, .bytes = (int64_t)count * 16};
  return ETK_OK;
}
static etk_status memory(etk_run *run, void *state, etk_bench_work *work) {
  (void)run, (void)state, (void)work;
  char *block = malloc(50 << 20);
  if (!block) return ETK_E_NO_MEMORY;
  for (volatile char *page = block; page < block + (50 << 20); page += 4096) *page = 1;
  free(block);
  return ETK_OK;
}
static etk_status crash(etk_run *run, void *state, etk_bench_work *work) {
  (void)run, (void)state, (void)work;
  raise(SIGSEGV);
  return ETK_OK;
}
static etk_status leave(etk_run *run, void *state, etk_bench_work *work) {
  (void)run, (void)state, (void)work;
  if (getpid()) exit(3);
  return ETK_OK;
}
static etk_status hang(etk_run *run, void *state, etk_bench_work *work) {
  (void)run, (void)state, (void)work;
  while (getpid()) pause();
  return ETK_OK;
}
static etk_status refuse(etk_run *run, void *state, etk_bench_work *work) {
  (void)state, (void)work;
  return etk_run_fail(run, ETK_E_NOT_FOUND, "there is no <data>, \"so\" it goes | on");
}
static etk_status bad_setup(etk_run *run, void **state) {
  (void)run, (void)state;
  return ETK_E_IO;
}

static const etk_bench_case cases[] = {
    {"steady", "Integer work", "step", NULL, steady, NULL}, {"memory", "Fifty mebibytes", "", NULL, memory, NULL}, {"crash", "Segmentation fault", "", NULL, crash, NULL},
    {"leave", "Calls exit", "", NULL, leave, NULL},          {"hang", "Never ends", "", NULL, hang, NULL},         {"refuse", "Fails with a message", "", NULL, refuse, NULL},
    {"setup", "Fails in its setup", "", bad_setup, steady, NULL},
};
ETK_BENCH(suite, cases)
static const void *query(const char *id) { return strcmp(id, ETK_BENCH_ID) ? NULL : &suite; }
