/* bench.c: samples of one case: warm-up, repeats for what is too short to time, the reference loop in between, and when to stop. */
#include "bench_internal.h"

#include "etk/alloc.h"
#include "etk/hardware.h"
#include <inttypes.h>
#include <math.h>
#include <time.h>

#define LEAST_SAMPLE_NS INT64_C(1000000)
#define REFERENCE_SHARE 0.03 /* of the time spent in samples */
enum { REFERENCE_LEAST = 12, REFERENCE_MOST = 2000, REPEATS_MOST = 1 << 24, SURE_AFTER = 3 };

/* ---- the reference loop ---- */

static _Atomic uint64_t kept; /* so that the loop is not optimised away */

/* A chain in which each operation waits for the one before (Marsaglia's xorshift, 2003): its time is a number of cycles, whatever else the core does. */
static uint64_t chain(int64_t rounds) {
  uint64_t x = UINT64_C(88172645463325252);
  for (int64_t i = 0; i < rounds; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  return x;
}

double etk__bench_reference(void) {
  struct timespec from, to;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
  atomic_store_explicit(&kept, chain(150000), memory_order_relaxed);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
  return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9;
}

/* ---- one run ---- */

struct sampler {
  const etk_bench_case *bench;
  etk_run *run;
  void *state;
  etk_bench_options o; /* without zeros */
  etk_bench_result *out;
  size_t capacity;
  double sampled_s, reference_s; /* spent so far, without waiting */
  int64_t began_ns;
  size_t look_at;                /* the count of samples at which precision is looked at next */
};

static etk_status broke(etk_error *e, const struct sampler *s, etk_status status, const char *what) {
  return etk_fail(e, status, "the benchmark %s failed in its %s (%s)", s->bench->name, what, etk_status_name(status));
}

static etk_status call(etk_error *e, struct sampler *s, int64_t repeats, int64_t *wall_ns, int64_t *cpu_ns) {
  int64_t wall = etk_time_ns(), cpu = etk_cpu_time_ns();
  etk_status status = ETK_OK;
  etk_bench_work work = {0, 0, 0};
  for (int64_t i = 0; i < repeats && !status; i++) {
    work = (etk_bench_work){0, 0, 0};
    status = s->bench->sample(s->run, s->state, &work);
  }
  *cpu_ns = etk_cpu_time_ns() - cpu;
  *wall_ns = etk_time_ns() - wall;
  s->out->work = work;
  if (s->run && etk_run_cancelled(s->run)) return etk_fail(e, ETK_E_CANCELLED, "the benchmark %s was stopped", s->bench->name);
  return status ? broke(e, s, status, "sample") : ETK_OK;
}

/* The wall time of so many calls; the least of three where another program may have had the core meanwhile. */
static etk_status undisturbed(etk_error *e, struct sampler *s, int64_t repeats, int64_t *least) {
  etk_status status = ETK_OK;
  *least = INT64_MAX;
  for (int i = 0; !status && i < 3; i++) {
    int64_t wall, cpu;
    status = call(e, s, repeats, &wall, &cpu);
    if (!status && wall < *least) *least = wall;
    if (!status && (*least < LEAST_SAMPLE_NS || cpu >= LEAST_SAMPLE_NS)) break;
  }
  return status;
}

/* How many calls last at least 1 ms, which warms up as well. */
static etk_status find_repeats(etk_error *e, struct sampler *s) {
  int64_t wall, repeats = 1;
  for (;;) {
    etk_status status = undisturbed(e, s, repeats, &wall);
    if (status) return status;
    if (wall >= LEAST_SAMPLE_NS || repeats >= REPEATS_MOST) break;
    double scale = wall > 0 ? 1.2 * (double)LEAST_SAMPLE_NS / (double)wall : 64;
    double next = ceil((double)repeats * (scale > 64 ? 64 : scale < 1.1 ? 1.1 : scale));
    repeats = next <= (double)repeats ? repeats + 1 : next > REPEATS_MOST ? REPEATS_MOST : (int64_t)next;
  }
  s->out->repeats = repeats;
  return ETK_OK;
}

static etk_status warm_up(etk_error *e, struct sampler *s) {
  int64_t began = etk_time_ns(), wall, cpu;
  etk_status status = find_repeats(e, s);
  if (s->o.warm_up_ns < 0) return status;
  while (!status && etk_time_ns() - began < s->o.warm_up_ns) status = call(e, s, s->out->repeats, &wall, &cpu);
  if (!status) status = find_repeats(e, s); /* warm calls are shorter */
  return status;
}

static void reference(struct sampler *s) {
  etk_bench_result *out = s->out;
  if (out->reference_count >= REFERENCE_MOST) return;
  if (out->reference_count >= REFERENCE_LEAST && s->reference_s > REFERENCE_SHARE * s->sampled_s) return;
  double took = etk__bench_reference();
  out->reference_s[out->reference_count++] = took;
  s->reference_s += took;
}

static etk_status grow(etk_error *e, struct sampler *s) {
  etk_bench_result *out = s->out;
  if (out->count < s->capacity) return ETK_OK;
  size_t capacity = s->capacity ? s->capacity * 2 : 256;
  double *wall = etk_realloc(out->wall_s, capacity, sizeof *wall);
  if (wall) out->wall_s = wall;
  double *cpu = wall ? etk_realloc(out->cpu_s, capacity, sizeof *cpu) : NULL;
  if (!cpu) return etk_fail_memory(e);
  out->cpu_s = cpu;
  s->capacity = capacity;
  return ETK_OK;
}

/* Looked at when a tenth more samples are there, so that sorting stays a small part of the time. */
static etk_status enough(etk_error *e, struct sampler *s, bool *done) {
  etk_bench_result *out = s->out;
  bool late = etk_time_ns() - s->began_ns >= s->o.most_ns && out->count >= SURE_AFTER, full = (int64_t)out->count >= s->o.most_samples;
  *done = late || full;
  if (!*done && ((int64_t)out->count < s->o.least_samples || out->count < s->look_at)) return ETK_OK;
  s->look_at = out->count + out->count / 10 + 1;
  etk_stats stats;
  etk_status status = etk_stats_of(e, &stats, out->wall_s, out->count);
  if (status) return status;
  out->precise = (stats.median_high - stats.median_low) / 2 <= s->o.precision * stats.median;
  *done = *done || out->precise;
  return ETK_OK;
}

static etk_status sample_all(etk_error *e, struct sampler *s) {
  etk_bench_result *out = s->out;
  etk_status status = ETK_OK;
  bool done = false;
  s->began_ns = etk_time_ns();
  while (!status && !done) {
    int64_t wall = 0, cpu = 0;
    reference(s);
    status = grow(e, s);
    if (!status) status = call(e, s, out->repeats, &wall, &cpu);
    if (status) break;
    out->wall_s[out->count] = (double)wall * 1e-9 / (double)out->repeats;
    out->cpu_s[out->count++] = (double)cpu * 1e-9 / (double)out->repeats;
    s->sampled_s += (double)(cpu < wall ? cpu : wall) * 1e-9;
    status = enough(e, s, &done);
  }
  while (!status && out->reference_count < REFERENCE_LEAST) reference(s);
  return status;
}

static etk_status check_options(etk_error *e, etk_bench_options *o, const etk_bench_case *bench, const etk_bench_options *given) {
  size_t size = given ? given->struct_size : 0;
  memset(o, 0, sizeof *o);
  if (size) memcpy(o, given, size < sizeof *o ? size : sizeof *o);
  if (!bench->name || !bench->sample) return etk_fail(e, ETK_E_INVALID, "a benchmark without %s", bench->name ? "a sample function" : "a name");
  if (!(o->precision >= 0) || o->least_samples < 0 || o->most_samples < 0 || o->most_ns < 0)
    return etk_fail(e, ETK_E_INVALID, "options of a benchmark may not be below 0 (precision %g, samples %" PRId64 " to %" PRId64 ")", o->precision, o->least_samples, o->most_samples);
  if (o->precision == 0) o->precision = 0.01;
  if (!o->most_samples) o->most_samples = o->least_samples > 1000 ? o->least_samples : 1000;
  if (!o->least_samples) o->least_samples = o->most_samples < 10 ? o->most_samples : 10;
  if (!o->warm_up_ns) o->warm_up_ns = INT64_C(100000000);
  if (!o->most_ns) o->most_ns = INT64_C(5000000000);
  if (o->least_samples > o->most_samples)
    return etk_fail(e, ETK_E_INVALID, "at least %" PRId64 " samples but at most %" PRId64, o->least_samples, o->most_samples);
  return ETK_OK;
}

etk_status etk_bench_run(etk_error *e, etk_bench_result *out, const etk_bench_case *bench, etk_run *run, const etk_bench_options *options) {
  struct sampler s = {.bench = bench, .run = run, .out = out};
  etk_memory_watch watch;
  *out = (etk_bench_result){.repeats = 1};
  etk_status status = check_options(e, &s.o, bench, options);
  if (status) return status;
  out->reference_s = etk_calloc(REFERENCE_MOST, sizeof *out->reference_s);
  if (!out->reference_s) return etk_fail_memory(e);
  etk__memory_start(&watch, true);
  out->before_rss_bytes = watch.before;
  if (bench->setup && (status = bench->setup(run, &s.state))) broke(e, &s, status, "setup");
  else {
    status = warm_up(e, &s);
    if (!status) status = sample_all(e, &s);
    if (bench->teardown) bench->teardown(run, s.state);
  }
  out->peak_rss_bytes = etk__memory_stop(&watch);
  return status;
}

void etk_bench_result_free(etk_bench_result *result) {
  etk_free(result->wall_s);
  etk_free(result->cpu_s);
  etk_free(result->reference_s);
  *result = (etk_bench_result){0};
}
