/* stats.c: what samples look like: moments, quantiles, the median's interval, outliers, drift. */
#include "stats_internal.h"

#include "etk/alloc.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

void etk__stats_sort(double *samples, size_t count) { qsort(samples, count, sizeof *samples, ascending); }

etk_status etk__stats_sorted(etk_error *e, double **out, const double *samples, size_t count) {
  *out = NULL;
  if (!count) return etk_fail(e, ETK_E_INVALID, "no samples; at least one is wanted");
  for (size_t i = 0; i < count; i++)
    if (!isfinite(samples[i])) return etk_fail(e, ETK_E_INVALID, "sample %zu of %zu is %s; finite numbers are wanted", i + 1, count, isnan(samples[i]) ? "not a number" : "infinite");
  double *sorted = etk_alloc(count * sizeof *sorted);
  if (!sorted) return etk_fail_memory(e);
  memcpy(sorted, samples, count * sizeof *sorted);
  etk__stats_sort(sorted, count);
  *out = sorted;
  return ETK_OK;
}

double etk__stats_quantile(const double *sorted, size_t count, double p) {
  double at = (double)(count - 1) * p;
  size_t below = (size_t)at;
  if (below + 1 >= count) return sorted[count - 1];
  double share = at - (double)below;
  return sorted[below] * (1 - share) + sorted[below + 1] * share;
}

/* Deviations are of the whole range of double: long double keeps their squares. */
static void moments(etk_stats *out, const double *samples, size_t count) {
  long double sum = 0, squares = 0, rest = 0;
  for (size_t i = 0; i < count; i++) sum += samples[i];
  long double mean = sum / (long double)count;
  for (size_t i = 0; i < count; i++) {
    long double d = samples[i] - mean;
    squares += d * d;
    rest += d; /* what rounding of the mean left (Chan, Golub and LeVeque 1983) */
  }
  out->mean = (double)mean;
  long double variance = count > 1 ? (squares - rest * rest / (long double)count) / (long double)(count - 1) : 0;
  out->standard_deviation = variance > 0 ? (double)sqrtl(variance) : 0;
}

/* [x(k), x(n+1-k)] with the largest k whose tail of the binomial(n, 1/2) is at most 2.5 %: below six samples there is none, and the interval is all of them. */
static void median_interval(etk_stats *out, const double *sorted, size_t count) {
  double term = -(double)count * 0.69314718055994530942, tail = 0; /* log of P(B = 0) */
  size_t k = 0;
  while (k < count / 2) {
    tail += exp(term);
    if (tail > 0.025) break;
    term += log((double)(count - k)) - log((double)(k + 1));
    k++;
  }
  out->median_low = sorted[k ? k - 1 : 0];
  out->median_high = sorted[k ? count - k : count - 1];
}

static void outliers(etk_stats *out, const double *sorted, size_t count) {
  double reach = 1.5 * (out->q3 - out->q1);
  for (size_t i = 0; i < count; i++) {
    out->outliers_low += sorted[i] < out->q1 - reach;
    out->outliers_high += sorted[i] > out->q3 + reach;
  }
}

/* Least squares over the order of the samples. */
static double drift(const double *samples, size_t count, double mean, double median) {
  if (count < 2 || median == 0) return 0;
  long double middle = (long double)(count - 1) / 2, slope = 0, width = 0;
  for (size_t i = 0; i < count; i++) {
    long double x = (long double)i - middle;
    slope += x * ((long double)samples[i] - mean);
    width += x * x;
  }
  return (double)(slope / width * (long double)count / median);
}

etk_status etk_stats_of(etk_error *e, etk_stats *out, const double *samples, size_t count) {
  double *sorted;
  *out = (etk_stats){0};
  etk_status status = etk__stats_sorted(e, &sorted, samples, count);
  if (status) return status;
  out->count = count;
  moments(out, samples, count);
  const struct { double *field, p; } quantiles[] = {{&out->least, 0},     {&out->p5, 0.05},  {&out->q1, 0.25},  {&out->median, 0.5},  {&out->q3, 0.75},
                                                    {&out->p90, 0.9},     {&out->p95, 0.95}, {&out->p99, 0.99}, {&out->greatest, 1}};
  for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) *quantiles[i].field = etk__stats_quantile(sorted, count, quantiles[i].p);
  median_interval(out, sorted, count);
  outliers(out, sorted, count);
  out->drift = drift(samples, count, out->mean, out->median);
  for (size_t i = 0; i < count; i++) sorted[i] = fabs(samples[i] - out->median);
  etk__stats_sort(sorted, count);
  out->mad = 1.4826 * etk__stats_quantile(sorted, count, 0.5);
  etk_free(sorted);
  return ETK_OK;
}

double etk_bench_score(const double *times, size_t count, const double *reference, size_t reference_count) {
  double *t = NULL, *r = NULL, score = NAN;
  if (!etk__stats_sorted(NULL, &t, times, count) && !etk__stats_sorted(NULL, &r, reference, reference_count)) {
    double below = etk__stats_quantile(r, reference_count, 0.1);
    if (below > 0) score = etk__stats_quantile(t, count, 0.02) / below;
  }
  etk_free(t);
  etk_free(r);
  return score;
}
