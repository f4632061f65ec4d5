/* encoder.h: the work that the programs of the part `encoder` do alike: the ids of the texts, how often a batch is embedded, what is printed. */
#ifndef BENCH_PEERS_ENCODER_H
#define BENCH_PEERS_ENCODER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "products.h"

/* Of token i of the batch, counted over all its texts. */
static inline int64_t encoder_id(int64_t i, int64_t vocabulary) { return (7919 * i + 13) % vocabulary; }

static double encoder_ready; /* when the first batch was done */

/* Seconds of one batch: the median of at least five and of one second's. */
static inline double encoder_time(void (*run)(void *user), void *user) {
  double times[PRODUCTS_PASSES], began;
  int passes = 0;
  run(user);
  began = encoder_ready = products_seconds();
  while (passes < 5 || (passes < PRODUCTS_PASSES && products_seconds() - began < 1)) {
    double t = products_seconds();
    run(user);
    times[passes++] = products_seconds() - t;
  }
  qsort(times, (size_t)passes, sizeof *times, products_by_size);
  return times[passes / 2];
}

/* One JSON line, and the embeddings as raw floats to `path`, so that they can be compared. */
static inline bool encoder_print(double seconds, int64_t sequences, double ready, const float *embeddings, int64_t floats, const char *path) {
  struct rusage usage;
  FILE *f = fopen(path, "wb");
  bool fine = f && fwrite(embeddings, sizeof *embeddings, (size_t)floats, f) == (size_t)floats;
  fine = f && fclose(f) == 0 && fine;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"sentences_per_s\":%.6g,\"peak_bytes\":%lld,\"ready_ms\":%.6g}\n", (double)sequences / seconds, (long long)usage.ru_maxrss * 1024, ready * 1e3);
  return fine;
}

#endif
