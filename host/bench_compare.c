/* bench_compare.c: a run against another, and a case over its history. */
#include "bench_report.h"

#include <math.h>

static const double *scores(const struct bench_entry *entry, bool wall) { return wall ? entry->wall_scores : entry->cpu_scores; }

static etk_status one_delta(etk_error *e, struct bench_delta *out, const struct bench_entry *now, const struct bench_entry *before, const struct bench_comparison *c) {
  *out = (struct bench_delta){.now = now, .before = before, .wall_ratio = now->wall.median / before->wall.median};
  etk_status status = etk_stats_compare(e, &out->d, scores(before, c->wall), before->round_count, scores(now, c->wall), now->round_count, c->alpha, c->threshold);
  if (status) return etk_error_while(e, status, "%s:%s", now->name_space, now->name);
  out->slower = out->d.significant && out->d.ratio > 1;
  out->faster = out->d.significant && out->d.ratio < 1;
  out->powerless = out->d.least_p >= c->alpha;
  out->alike = out->d.low >= 1 / (1 + c->threshold) && out->d.high <= 1 + c->threshold;
  return ETK_OK;
}

etk_status bench_compare(etk_error *e, struct bench_comparison *out, etk_arena *arena, const struct bench_run *run, const struct bench_run *against, const char *label, bool wall,
                         double alpha, double threshold) {
  *out = (struct bench_comparison){.run = run, .against = against, .label = label, .wall = wall, .alpha = alpha, .threshold = threshold};
  out->items = etk_arena_array(arena, run->count + 1, sizeof *out->items);
  if (!out->items) return etk_fail_memory(e);
  for (size_t i = 0; i < run->count; i++) {
    const struct bench_entry *before = run->entries[i].error ? NULL : bench_same(against, &run->entries[i]);
    if (!before) continue;
    struct bench_delta *delta = &out->items[out->count];
    etk_status status = one_delta(e, delta, &run->entries[i], before, out);
    if (status) return status;
    out->count++;
    out->slower += delta->slower, out->faster += delta->faster, out->powerless += delta->powerless;
  }
  return ETK_OK;
}

const char *bench_verdict(const struct bench_delta *delta) {
  return delta->slower ? "slower" : delta->faster ? "faster" : delta->powerless ? "too few rounds" : delta->alike ? "no change" : "unclear";
}

etk_status bench_trend_of(etk_error *e, struct bench_trend *out, etk_arena *arena, const struct bench_run *runs, size_t count, const struct bench_entry *entry, bool wall, double alpha,
                          double threshold) {
  *out = (struct bench_trend){.latest = entry, .wall = wall};
  out->runs = etk_arena_array(arena, count + 1, sizeof *out->runs);
  out->entries = etk_arena_array(arena, count + 1, sizeof *out->entries);
  out->figures = etk_arena_array(arena, count + 1, sizeof *out->figures);
  if (!out->runs || !out->entries || !out->figures) return etk_fail_memory(e);
  size_t pooled = 0;
  for (size_t i = 0; i < count; i++) {
    const struct bench_entry *found = bench_same(&runs[i], entry);
    etk_stats stats;
    if (!found) continue;
    etk_status status = etk_stats_of(e, &stats, scores(found, wall), found->round_count);
    if (status) return status;
    out->runs[out->count] = &runs[i];
    out->entries[out->count] = found;
    out->figures[out->count++] = stats.median;
  }
  if (out->count < 2) return ETK_OK;
  size_t last = out->count - 1, first = last > BENCH_HISTORY_POOL ? last - BENCH_HISTORY_POOL : 0;
  out->latest = out->entries[last];
  for (size_t i = first; i < last; i++) pooled += out->entries[i]->round_count;
  double *before = etk_arena_array(arena, pooled, sizeof *before);
  if (!before) return etk_fail_memory(e);
  pooled = 0;
  for (size_t i = first; i < last; i++) {
    memcpy(before + pooled, scores(out->entries[i], wall), out->entries[i]->round_count * sizeof *before);
    pooled += out->entries[i]->round_count;
  }
  etk_status status = etk_stats_compare(e, &out->d, before, pooled, scores(out->latest, wall), out->latest->round_count, alpha, threshold);
  if (!status) status = etk_stats_change(e, &out->change, out->figures, out->count);
  out->slower = out->d.significant && out->d.ratio > 1;
  out->faster = out->d.significant && out->d.ratio < 1;
  out->changed = out->change.p < alpha && fabs(log(out->change.ratio)) > log1p(threshold);
  return status;
}
