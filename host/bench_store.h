/* bench_store.h: what a benchmark run measured, in memory and as <state>/benchmarks/<id>.json; baselines are copies in <state>/benchmarks/baselines/.
 * Everything lives in the host's arena. */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include "host.h"

#include <etk/bench.h>
#include <jansson.h>

/* One child process: a round. */
struct bench_round {
  double *wall_s, *cpu_s, *reference_s;
  size_t count, reference_count;
};
struct bench_entry {
  const char *name_space, *name, *summary, *unit, *plugin_version;
  const char *error;           /* NULL: it ran; else why not, and the rest is what came before */
  int64_t repeats;
  etk_bench_work work;         /* of one call */
  int64_t peak_bytes, before_bytes; /* the greatest of the rounds, and what that process had before */
  bool precise;                /* in every round */
  struct bench_round *rounds;
  size_t round_count;
  /* made by bench_entry_finish: */
  etk_stats wall, cpu;         /* over the samples of all rounds */
  double *samples_s;           /* wall, in order */
  double *wall_scores, *cpu_scores; /* a round each: etk_bench_score */
};
struct bench_run {
  const char *id, *path, *started, *chip, *isa, *commit, *version;
  const char **argv;
  size_t argc;
  int threads;
  struct bench_entry *entries;
  size_t count;
};

const char *bench_title(char *out, size_t size, const struct bench_entry *entry); /* "namespace:case" */
etk_status bench_entry_finish(etk_error *e, struct bench_entry *entry, etk_arena *arena);
const struct bench_entry *bench_same(const struct bench_run *run, const struct bench_entry *entry); /* the case of another run, that ran; NULL: none */

/* A new run: id, machine, commit, command line; no entries. */
etk_status bench_run_begin(etk_error *e, struct bench_run *out, struct host *host, int argc, char **argv);
void bench_round_json(etk_text *out, const etk_bench_result *result); /* what a child answers */
etk_status bench_round_read(etk_error *e, struct bench_entry *entry, struct bench_round *out, etk_arena *arena, const json_t *json);
/* The document of a run: all samples with `whole`, else statistics and scores. */
void bench_run_json(etk_text *out, const struct bench_run *run, bool whole);
/* `name` is what messages call the bytes. */
etk_status bench_run_parse(etk_error *e, struct bench_run *out, etk_arena *arena, const char *name, const char *bytes, size_t size);
etk_status bench_run_load(etk_error *e, struct bench_run *out, struct host *host, const char *path);

etk_status bench_store(etk_error *e, struct bench_run *run, struct host *host); /* writes it and sets run->path */
/* "latest", an id or its unique beginning, or a path to a JSON file that was stored or exported. */
etk_status bench_find(etk_error *e, struct bench_run *out, struct host *host, const char *name);
etk_status bench_baseline_save(etk_error *e, const struct bench_run *run, struct host *host, const char *name);
etk_status bench_baseline_load(etk_error *e, struct bench_run *out, struct host *host, const char *name);
/* Every stored run of this chip and thread count, the oldest first. What cannot be read is said as a warning and left out. */
etk_status bench_history(etk_error *e, struct bench_run **out, size_t *count, struct host *host, const char *chip, int threads);

#endif
