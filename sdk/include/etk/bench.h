/* etk/bench.h: benchmarks: how a plugin declares them, how they are sampled, and the statistics that say whether two runs differ. */
#ifndef ETK_BENCH_H
#define ETK_BENCH_H

#include "project.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a plugin declares (the extension etk.bench/1, answered by query) ---- */
#define ETK_BENCH_ID "etk.bench/1"
typedef struct etk_bench_work { /* what one sample did; 0: not counted */
  int64_t items; /* tokens, images, … (the case's unit) */
  int64_t flops; /* floating-point operations (an FMA is two) */
  int64_t bytes; /* that had to be read and written once */
} etk_bench_work;
typedef struct etk_bench_case {
  const char *name;    /* [a-z0-9-]+: "train-step" */
  const char *summary;
  const char *unit;    /* of items: "token"; "" none */
  etk_status (*setup)(etk_run *run, void **state);                         /* may be NULL; not timed */
  etk_status (*sample)(etk_run *run, void *state, etk_bench_work *work);   /* timed; long enough to time (the runner repeats it below 1 ms) */
  void (*teardown)(etk_run *run, void *state);                             /* may be NULL */
} etk_bench_case;
typedef struct etk_bench_suite {
  uint32_t struct_size;
  uint32_t count, stride; /* of the cases */
  const etk_bench_case *cases;
} etk_bench_suite;
#define ETK_BENCH(name, table) \
  static const etk_bench_suite name = {(uint32_t)sizeof(etk_bench_suite), (uint32_t)(sizeof(table) / sizeof((table)[0])), (uint32_t)sizeof((table)[0]), table};

/* ---- statistics over samples (order kept; not finite is an error) ---- */
typedef struct etk_stats {
  size_t count;
  double mean, standard_deviation; /* of the sample, n - 1 */
  double least, p5, q1, median, q3, p90, p95, p99, greatest; /* Hyndman and Fan 1996, type 7 */
  double median_low, median_high;  /* 95 % confidence interval of the median by order statistics */
  double mad;                      /* median absolute deviation × 1.4826 */
  size_t outliers_low, outliers_high; /* beyond 1.5 interquartile ranges from the quartiles */
  double drift;                    /* slope over the samples in order × count ÷ median: warming up or slowing down */
} etk_stats;
etk_status etk_stats_of(etk_error *e, etk_stats *out, const double *samples, size_t count);

typedef struct etk_difference {
  double ratio;            /* b over a: Hodges–Lehmann estimate of the shift in log time */
  double low, high;        /* its confidence interval at 1 - alpha; 0 and infinity where so few samples bound nothing */
  double p;                /* two-sided, Mann–Whitney U (exact below 20 samples a side without ties, else normal with tie and continuity correction) */
  double least_p;          /* the smallest p that so many samples can give: above alpha, nothing can be significant */
  bool significant;        /* p < alpha and the whole interval is further from 1 than `least` (0.02: above 1.02 or below 1/1.02), so that neither a difference
                              too small to matter nor one that noise may have made counts */
} etk_difference;
/* Whether samples b (times, all above 0) differ from a. The rank-sum test is used because times are skewed and have outliers: it assumes no shape, and
 * a monotone change of scale (the logarithm) leaves it as it is. It does assume independent samples, which those of one process are not: see etk_bench_score. */
etk_status etk_stats_compare(etk_error *e, etk_difference *out, const double *a, size_t a_count, const double *b, size_t b_count, double alpha, double least);

typedef struct etk_change {
  size_t at;      /* the first sample after the change; 0: fewer than two samples */
  double p;       /* Pettitt (1979), by its approximation 2 exp(-6 K² / (n³ + n²)), at most 1: conservative for short series */
  double ratio;   /* median after over median before */
} etk_change;
/* Where a series in time most likely changed its level, and whether that is more than chance: Pettitt's test, which is Mann–Whitney's over every cut. */
etk_status etk_stats_change(etk_error *e, etk_change *out, const double *samples, size_t count);

/* ---- sampling ---- */
typedef struct etk_bench_options {
  uint32_t struct_size;
  double precision;        /* stop when half the confidence interval of the median wall time is below this share of it; 0: 0.01 */
  int64_t least_samples;   /* 0: 10 */
  int64_t most_samples;    /* 0: 1000 */
  int64_t warm_up_ns;      /* untimed samples first: at least one and this long; 0: 100 ms; negative: none */
  int64_t most_ns;         /* of sampling altogether, which wins over the counts once there are three samples; 0: 5 s */
} etk_bench_options;
#define ETK_BENCH_OPTIONS_INIT {sizeof(etk_bench_options), 0, 0, 0, 0, 0}
typedef struct etk_bench_result {
  double *wall_s, *cpu_s;  /* of each sample (divided by `repeats`); CPU time is user + system of the whole process */
  size_t count;
  double *reference_s;     /* CPU time of the reference loop, taken between the samples (see etk_bench_score) */
  size_t reference_count;
  int64_t repeats;         /* calls of the case a sample, so that one lasts at least 1 ms */
  etk_bench_work work;     /* of one call */
  int64_t peak_rss_bytes;  /* of the run: the kernel's high-water mark where it can be reset (Linux), else read every 10 ms; growth is peak - before */
  int64_t before_rss_bytes;
  bool precise;            /* the wanted precision was reached */
} etk_bench_result;
/* Runs one case: setup, warm-up, samples, teardown. Clocks are monotonic. Free with etk_bench_result_free, also after a failure. */
etk_status etk_bench_run(etk_error *e, etk_bench_result *out, const etk_bench_case *bench, etk_run *run, const etk_bench_options *options);
void etk_bench_result_free(etk_bench_result *result);

/* What two runs are compared by: the 2nd percentile of the case's times (CPU or wall) over the 10th percentile of the reference loop's, which is a fixed
 * chain of integer operations timed between the samples. Dividing takes out the clock frequency, and the low percentile what other programs did; the
 * level that is left differs between processes (addresses, page colours), so one process gives one score, and runs are compared by the scores of several
 * processes (etk_stats_compare), not by the samples, which would find a difference between any two processes.
 * Measured on a shared 2-core virtual machine as standard deviations. Low machine load, four kinds of work (floating point, hashing, memory, sorting): median
 * time of a run 0.6–1.2 %, low percentiles over the reference's 0.1–0.3 %. Load average 16, one process's score of integer work: by the median 2.0 %, by
 * the 10th percentile 2.1 %, by the least 0.6 %; the 2nd percentile is nearly the least where samples are few, and depends less on their number.
 * What it cannot take out: programs that fill the caches or the memory bus during one run and not during the other move work that is bound by memory or by the
 * kernel (reading files, page faults) by 5–15 %, all rounds alike. Such a comparison wants a quiet machine, or runs that are repeated. */
double etk_bench_score(const double *times, size_t count, const double *reference, size_t reference_count); /* NaN: no samples */

#ifdef __cplusplus
}
#endif
#endif
