/* products.h: the work that the programs of the part `products` do alike: y (rows, out) = x (rows, in) W' for 1, 4, 16 and 512 rows. A store of equal weights
 * larger than the caches is passed through in turn, as the layers of a model are; times are the medians of passes. */
#ifndef BENCH_PEERS_PRODUCTS_H
#define BENCH_PEERS_PRODUCTS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { PRODUCTS_STORE = 256 << 20, PRODUCTS_COPIES = 1024, PRODUCTS_ROWS = 512, PRODUCTS_PASSES = 201, PRODUCTS_COUNTS = 4 };
static const int64_t products_counts[PRODUCTS_COUNTS] = {1, 4, 16, PRODUCTS_ROWS};

static inline int64_t products_copies(int64_t bytes) {
  int64_t copies = (PRODUCTS_STORE + bytes - 1) / bytes;
  return copies < 1 ? 1 : copies > PRODUCTS_COPIES ? PRODUCTS_COPIES : copies;
}

/* Nearly normal: sums of four uniform numbers. The same on every machine. */
static inline float *products_made(int64_t n, float deviation, uint32_t seed) {
  float *a = aligned_alloc(64, ((size_t)n * sizeof *a + 63) / 64 * 64);
  for (int64_t i = 0; a && i < n; i++) {
    int64_t sum = 0;
    for (int j = 0; j < 4; j++) sum += (int64_t)((seed = seed * 1664525 + 1013904223) >> 8);
    a[i] = deviation * 1.7320508f * ((float)sum * 0x1p-24f - 2);
  }
  return a;
}
static inline float *products_weights(int64_t out, int64_t in) { return products_made(out * in, 0.02f, 1); }
static inline float *products_inputs(int64_t in) { return products_made(PRODUCTS_ROWS * in, 1, 2); }

static inline double products_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int products_by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
/* Seconds of one pass of `run`, which must not fail; a pass before them warms up. */
static inline double products_time(void (*run)(void *user, int64_t rows), void *user, int64_t rows) {
  double times[PRODUCTS_PASSES], began = products_seconds();
  int passes = 0;
  run(user, rows);
  while (passes < 5 || (passes < PRODUCTS_PASSES && products_seconds() - began < 0.25)) {
    double t = products_seconds();
    run(user, rows);
    times[passes++] = products_seconds() - t;
  }
  qsort(times, (size_t)passes, sizeof *times, products_by_size);
  return times[passes / 2];
}

/* How far y is from the product of the plain weights, which are given: root mean squares over some outputs of the first and the last of `rows` rows. */
static inline double products_error(const float *y, const float *x, const float *w, int64_t out, int64_t in, int64_t rows) {
  double wrong = 0, all = 0;
  for (int64_t r = 0; r < rows; r += rows > 1 ? rows - 1 : 1)
    for (int64_t o = 0; o < out; o += out / 64) {
      double sum = 0;
      for (int64_t i = 0; i < in; i++) sum += (double)x[r * in + i] * (double)w[o * in + i];
      wrong += (y[r * out + o] - sum) * (y[r * out + o] - sum);
      all += sum * sum;
    }
  return sqrt(wrong / all);
}

/* One JSON line. seconds: of each of products_counts, one product. */
static inline void products_print(const double *seconds, double error, int64_t out, int64_t in) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{");
  for (int i = 0; i < PRODUCTS_COUNTS; i++) printf("\"gops_%d\":%.6g,", (int)products_counts[i], 2e-9 * (double)(products_counts[i] * out * in) / seconds[i]);
  printf("\"error\":%.3g,\"peak_bytes\":%lld}\n", error, (long long)usage.ru_maxrss * 1024);
}

#endif
