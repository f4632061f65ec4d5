/* What this machine reaches, beside which bench/peers puts every rate: reading memory with 1 to 8 interleaved streams a thread, also asking ahead, and multiplying and adding in
 * float32 (FMA), bfloat16 and int8 (dot-product instructions; none: no line). With 1 thread and with the number given (2 where it is not). Each figure is the best
 * of many short rounds, for other work only slows them down. Variants by instruction set: what the CPU has, as capped by ETK_ISA.  limits [THREADS] [MILLISECONDS a figure] */
#include "core/hardware_internal.h"

#include <etk/alloc.h>
#include <etk/parallel.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SLOTS = 256, APART = 16, BYTES = 256 << 20, ROUND_NS = 4000000 };

/* Sums of 64 bytes from `streams` places at once, each an equal part of the slice: as many misses under way as interleaved rows of a product would have. An odd
 * number of lines lies between places, for at a power of two all would fall into one set of the caches. ahead: lines that are asked for before they are read, or 0. */
typedef uint64_t line __attribute__((vector_size(64), aligned(8), may_alias));
#define READ(name, streams, ahead)                                                                   \
  static uint64_t name(const void *data, size_t bytes) {                                             \
    const line *at = data;                                                                           \
    size_t each = (bytes / sizeof(line) / (streams) - 1) | 1;                                        \
    line total[streams];                                                                             \
    memset(total, 0, sizeof total);                                                                  \
    for (size_t i = 0; i < each; i++)                                                                \
      for (size_t s = 0; s < (streams); s++) {                                                       \
        if (ahead) __builtin_prefetch(at + s * each + i + (ahead));                                  \
        total[s] += at[s * each + i];                                                                \
      }                                                                                              \
    uint64_t sum = 0;                                                                                \
    for (size_t s = 0; s < (streams); s++)                                                           \
      for (size_t j = 0; j < sizeof(line) / sizeof(uint64_t); j++) sum += total[s][j];               \
    return sum;                                                                                      \
  }
typedef uint64_t (*reader)(const void *data, size_t bytes);
enum { WIDTHS = 6, AHEAD = 32 };
static const struct {
  int streams, ahead;
} widths[WIDTHS] = {{1, 0}, {2, 0}, {4, 0}, {8, 0}, {1, AHEAD}, {4, AHEAD}};
#define READS(isa, target)                                                                                                                         \
  target READ(isa##_1, 1, 0) target READ(isa##_2, 2, 0) target READ(isa##_4, 4, 0) target READ(isa##_8, 8, 0) target READ(isa##_1_ahead, 1, AHEAD) \
      target READ(isa##_4_ahead, 4, AHEAD) static const reader of_##isa[WIDTHS] = {isa##_1, isa##_2, isa##_4, isa##_8, isa##_1_ahead, isa##_4_ahead};
READS(base, )
#if defined(__x86_64__)
READS(avx2, __attribute__((target("avx2"))))
READS(avx512, __attribute__((target("avx512f"))))
#endif

static const reader *readers(const char **isa) {
  *isa = "base";
#if defined(__x86_64__)
  etk_isa active = etk_isa_active();
  if (active >= ETK_ISA_AVX512) return *isa = "avx512", of_avx512;
  if (active == ETK_ISA_AVX2) return *isa = "avx2", of_avx2;
#endif
  return of_base;
}

struct work {
  reader read;
  etk_peak peak;
  const char *data;
  size_t slice;
  int64_t rounds;
  double *done; /* of each slot, APART apart: operations or a sum that is wanted */
};
static void read_slice(void *user, int64_t begin, int64_t end, int slot) {
  struct work *w = user;
  for (int64_t i = begin; i < end; i++) w->done[slot * APART] = (double)w->read(w->data + (size_t)i * w->slice, w->slice);
}
static void run_peak(void *user, int64_t begin, int64_t end, int slot) {
  struct work *w = user;
  for (int64_t i = begin; i < end; i++) w->done[slot * APART] = w->peak(w->rounds);
}
static void touch(void *user, int64_t begin, int64_t end, int slot) {
  struct work *w = user;
  (void)slot;
  for (int64_t i = begin; i < end; i++) memset((char *)(uintptr_t)w->data + (size_t)i * w->slice, 1, w->slice);
}

static double timed(struct work *w, int threads, etk_parallel_body body) {
  int64_t begin = etk_time_ns();
  etk_parallel_for(threads, 1, body, w);
  return (double)(etk_time_ns() - begin) * 1e-9;
}

static double best_read(struct work *w, int threads, double seconds) {
  double best = 0, spent = 0;
  for (int i = 0; i < 3 || spent < seconds; i++) {
    double took = timed(w, threads, read_slice), rate = (double)w->slice * threads / took;
    spent += took;
    if (rate > best) best = rate;
  }
  return best;
}
static double best_peak(struct work *w, int threads, double seconds) {
  double best = 0, spent = 0;
  w->rounds = 1000;
  while (best == 0 || spent < seconds) {
    double took = timed(w, threads, run_peak), all = 0;
    spent += took;
    for (int i = 0; i < threads; i++) all += w->done[i * APART];
    if (took * 1e9 < ROUND_NS) w->rounds *= 2;
    else if (all / took > best) best = all / took;
  }
  return best;
}

static void limits(struct work *w, int threads, double seconds, const etk_peaks *peaks) {
  const char *isa;
  const reader *read = readers(&isa);
  etk_parallel_set_threads(threads);
  w->slice = (size_t)BYTES / (size_t)threads / 4096 * 4096;
  timed(w, threads, touch);
  for (int i = 0; i < WIDTHS; i++) {
    w->read = read[i];
    printf("{\"limit\":\"read\",\"isa\":\"%s\",\"threads\":%d,\"streams\":%d,\"ahead\":%d,\"per_s\":%.5g}\n", isa, threads, widths[i].streams,
           widths[i].ahead * (int)sizeof(line), best_read(w, threads, seconds));
  }
  const struct {
    const char *name;
    etk_peak peak;
  } units[] = {{"f32", peaks->f32}, {"bf16", peaks->bf16}, {"int8", peaks->int8}};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if ((w->peak = units[i].peak)) printf("{\"limit\":\"%s\",\"threads\":%d,\"per_s\":%.5g}\n", units[i].name, threads, best_peak(w, threads, seconds));
  fflush(stdout);
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 2;
  double seconds = argc > 2 ? strtod(argv[2], NULL) * 1e-3 : 0.2;
  if (threads < 1 || threads > SLOTS) return fprintf(stderr, "limits: threads are %d, wanted 1 to %d\n", threads, SLOTS), 2;
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_hardware_without_devices());
  etk_peaks peaks = etk__peaks(h.isa_features);
  void *data = etk_alloc_aligned(BYTES, 4096);
  struct work w = {.data = data, .done = etk_calloc(SLOTS * APART, sizeof(double))};
  if (!data || !w.done) return fputs("limits: out of memory\n", stderr), 1;
#if defined(MADV_HUGEPAGE)
  madvise(data, BYTES, MADV_HUGEPAGE);
#endif
  limits(&w, 1, seconds, &peaks);
  if (threads > 1) limits(&w, threads, seconds, &peaks);
  etk_free(data);
  etk_free(w.done);
  return 0;
}
