/* bench_report.h: benchmark runs compared and shown: for a terminal, as Markdown, CSV, JSON and HTML. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench_store.h"

#include <etk/hardware.h>

/* One case against an earlier run. */
struct bench_delta {
  const struct bench_entry *now, *before;
  etk_difference d;    /* of the scores of the rounds; d.ratio above 1 is slower */
  double wall_ratio;   /* of the median wall times, as they were */
  bool slower, faster; /* significantly */
  bool powerless;      /* so few rounds that nothing could be significant */
  bool alike;          /* the interval lies within the threshold */
};
struct bench_comparison {
  const struct bench_run *run, *against;
  const char *label;   /* "baseline main", "run 2026…" */
  bool wall;           /* by wall time instead of CPU time */
  double alpha, threshold;
  struct bench_delta *items; /* cases that both have */
  size_t count, slower, faster, powerless;
};
etk_status bench_compare(etk_error *e, struct bench_comparison *out, etk_arena *arena, const struct bench_run *run, const struct bench_run *against, const char *label, bool wall,
                         double alpha, double threshold);

/* One case over the stored runs: the latest against the rounds of up to ten before it (etk_stats_compare), and where the level of the whole series changed
 * (etk_stats_change over one figure a run, the median of its scores). */
enum { BENCH_HISTORY_POOL = 10 };
struct bench_trend {
  const struct bench_entry *latest;
  const struct bench_run **runs; /* those that have the case, oldest first */
  const struct bench_entry **entries;
  double *figures;               /* median score of each */
  size_t count;
  bool wall;                     /* scores of wall time instead of CPU time */
  etk_difference d;              /* of the latest; meaningless below two runs */
  bool slower, faster;
  etk_change change;
  bool changed;
};
etk_status bench_trend_of(etk_error *e, struct bench_trend *out, etk_arena *arena, const struct bench_run *runs, size_t count, const struct bench_entry *entry, bool wall, double alpha,
                          double threshold);

struct bench_report {
  const struct bench_run *run;
  const struct bench_comparison *comparison; /* NULL: none */
  const etk_hardware_limits *limits;         /* NULL: not measured */
  const struct bench_trend *trends;          /* of the entries, or NULL */
  size_t trend_count;
};
void bench_show(struct host *host, const struct bench_report *report);   /* tables on stdout */
void bench_show_comparison(struct host *host, const struct bench_comparison *comparison);
void bench_show_trend(struct host *host, const struct bench_trend *trend);
etk_status bench_plot(etk_error *e, struct host *host, const struct bench_report *report);
etk_status bench_plot_trend(etk_error *e, struct host *host, const struct bench_trend *trend);
void bench_results_json(etk_text *out, const struct bench_report *report); /* for --json */
void bench_comparison_json(etk_text *out, const struct bench_comparison *comparison);
void bench_trend_json(etk_text *out, const struct bench_trend *trend);
void bench_csv(etk_text *out, const struct bench_report *report);        /* RFC 4180 */
void bench_markdown(etk_text *out, const struct bench_report *report);
etk_status bench_html(etk_error *e, etk_text *out, const struct bench_report *report);

/* Parts that the forms share. */
const char *bench_time(char *out, size_t size, double seconds); /* "1.234 ms" */
double bench_rate(const struct bench_entry *entry, int64_t work);  /* work a second of the median wall time; 0: not counted */
const char *bench_verdict(const struct bench_delta *delta);        /* "slower", "faster", "no change" (the interval is within the threshold), "unclear", "too few rounds" */
enum { BENCH_COLUMNS_MOST = 12 };
/* The table as text: columns that no case fills are left out. cells: count × columns, in arena. Returns the number of columns; 0: no memory. */
size_t bench_cells(const char *headers[BENCH_COLUMNS_MOST], const char ***cells, etk_arena *arena, const struct bench_report *report);
size_t bench_comparison_cells(const char *headers[BENCH_COLUMNS_MOST], const char ***cells, etk_arena *arena, const struct bench_comparison *comparison);

#endif
