/* chart_data.c: what a chart holds, checked and measured. */
#include "chart_internal.h"

#include <inttypes.h>
#include <math.h>

double etk__data_x(const etk_chart_series *series, size_t i) { return series->x ? series->x[i] : (double)i; }

bool etk__data_shown(const etk__data *data, double x, double y) {
  return isfinite(x) && isfinite(y) && !(data->chart->log_x && x <= 0) && !(data->chart->log_y && y <= 0);
}

/* ---- checks ---- */

static const struct {
  const char *name;
  bool log_x, log_y, from_zero, categories;
} kinds[] = {[ETK_CHART_LINE] = {"line", true, true, true, false},     [ETK_CHART_SCATTER] = {"scatter", true, true, true, false},
             [ETK_CHART_BAR] = {"bar", false, true, true, true},       [ETK_CHART_GROUPED] = {"grouped bar", false, true, true, true},
             [ETK_CHART_BOX] = {"box", false, true, true, false},      [ETK_CHART_HEAT] = {"heat map", false, false, false, true}};

static etk_status check_series(etk_error *e, const etk_chart *c) {
  if (c->kind == ETK_CHART_BAR && c->series_count > 1)
    return etk_fail(e, ETK_E_INVALID, "a bar chart has one series, not %zu; grouped bars have several", c->series_count);
  if (c->series_count && !c->series) return etk_fail(e, ETK_E_INVALID, "a chart of %zu series has no series", c->series_count);
  for (size_t i = 0; i < c->series_count; i++) {
    const etk_chart_series *s = &c->series[i];
    if (s->count && !s->y) return etk_fail(e, ETK_E_INVALID, "series %zu has %zu points and no y", i, s->count);
    if (!s->low != !s->high)
      return etk_fail(e, ETK_E_INVALID, "series %zu has %s without %s; give both or neither", i, s->low ? "low" : "high", s->low ? "high" : "low");
    if (s->x && c->kind >= ETK_CHART_BAR) return etk_fail(e, ETK_E_INVALID, "series %zu of a %s chart has x; its place is its category", i, kinds[c->kind].name);
    if (s->low && c->kind == ETK_CHART_BOX) return etk_fail(e, ETK_E_INVALID, "series %zu of a box chart has low and high; they come from the samples", i);
    if (c->kind != ETK_CHART_BOX && kinds[c->kind].categories && c->categories && s->count != c->category_count)
      return etk_fail(e, ETK_E_INVALID, "series %zu has %zu values for %zu categories; give one for each (NaN where there is none)", i, s->count, c->category_count);
  }
  return ETK_OK;
}

static etk_status check(etk_error *e, const etk_chart *c) {
  if (c->struct_size != sizeof *c)
    return etk_fail(e, ETK_E_INVALID, "a chart of %" PRIu32 " bytes where this library's has %zu: begin with ETK_CHART_INIT and build against its header",
                    c->struct_size, sizeof *c);
  if ((unsigned)c->kind > ETK_CHART_HEAT) return etk_fail(e, ETK_E_INVALID, "there is no chart kind %d", (int)c->kind);
  if ((unsigned)c->theme > ETK_CHART_AUTO) return etk_fail(e, ETK_E_INVALID, "there is no chart theme %d", (int)c->theme);
  if ((c->log_x && !kinds[c->kind].log_x) || (c->log_y && !kinds[c->kind].log_y))
    return etk_fail(e, ETK_E_INVALID, "a %s chart has no logarithmic %s axis", kinds[c->kind].name, c->log_x && !kinds[c->kind].log_x ? "x" : "y");
  if (c->from_zero && !kinds[c->kind].from_zero) return etk_fail(e, ETK_E_INVALID, "a %s has no y axis that could begin at zero", kinds[c->kind].name);
  if (c->from_zero && c->log_y) return etk_fail(e, ETK_E_INVALID, "a logarithmic y axis cannot begin at zero; take log_y or from_zero");
  if ((c->width && (c->width < 60 || c->width > 10000)) || (c->height && (c->height < 40 || c->height > 10000)))
    return etk_fail(e, ETK_E_INVALID, "a chart of %d × %d pixels; it can be 60 × 40 to 10000 × 10000 (0: 720 × 400)", c->width, c->height);
  if (c->kind != ETK_CHART_HEAT) return check_series(e, c);
  if (c->series_count) return etk_fail(e, ETK_E_INVALID, "a heat map has values, not series; leave series_count 0");
  if (c->row_count && c->category_count && (!c->values || c->row_count > SIZE_MAX / sizeof(double) / c->category_count))
    return etk_fail(e, ETK_E_INVALID, "a heat map of %zu × %zu without values", c->row_count, c->category_count);
  return ETK_OK;
}

/* ---- ranges ---- */

static void see(double *low, double *high, double value) {
  if (value < *low) *low = value;
  if (value > *high) *high = value;
}

static void measure_series(etk__data *d, const etk_chart_series *s, size_t *points) {
  bool placed = d->chart->kind <= ETK_CHART_SCATTER;
  for (size_t i = 0; i < s->count; i++) {
    double x = placed ? etk__data_x(s, i) : 1;
    if (!etk__data_shown(d, x, s->y[i])) continue;
    ++*points;
    see(&d->x_low, &d->x_high, x);
    d->whole_x = d->whole_x && x == rint(x);
    see(&d->y_low, &d->y_high, s->y[i]);
    if (s->low && etk__data_shown(d, x, s->low[i])) see(&d->y_low, &d->y_high, s->low[i]);
    if (s->high && etk__data_shown(d, x, s->high[i])) see(&d->y_low, &d->y_high, s->high[i]);
  }
}

static void measure(etk__data *d) {
  const etk_chart *c = d->chart;
  size_t points = 0;
  d->whole_x = true;
  d->x_low = d->y_low = INFINITY, d->x_high = d->y_high = -INFINITY;
  for (size_t i = 0; i < c->series_count; i++) measure_series(d, &c->series[i], &points);
  for (size_t i = 0; c->kind == ETK_CHART_HEAT && i < c->row_count * c->category_count; i++)
    if (isfinite(c->values[i])) see(&d->y_low, &d->y_high, c->values[i]), points++;
  bool bars = c->kind == ETK_CHART_BAR || c->kind == ETK_CHART_GROUPED;
  if (points && !c->log_y && (c->from_zero || bars)) see(&d->y_low, &d->y_high, 0);
  d->empty = !points;
}

/* ---- names ---- */

static const char **names_of(etk__data *d, const char *const *given, size_t count) {
  const char **names = etk_arena_array(d->arena, count ? count : 1, sizeof *names);
  for (size_t i = 0; names && i < count; i++) {
    if (given && given[i]) names[i] = etk__text_clean(d->arena, given[i]);
    else names[i] = etk_arena_printf(d->arena, "%zu", i);
    if (!names[i]) return NULL;
  }
  return names;
}

static bool read_names(etk__data *d) {
  const etk_chart *c = d->chart;
  const struct {
    const char *from;
    const char **to;
  } texts[] = {{c->title, &d->title}, {c->subtitle, &d->subtitle}, {c->x_label, &d->x_label}, {c->y_label, &d->y_label}};
  for (size_t i = 0; i < 4; i++)
    if (texts[i].from && *texts[i].from && !(*texts[i].to = etk__text_clean(d->arena, texts[i].from))) return false;
  d->names = etk_arena_array(d->arena, c->series_count ? c->series_count : 1, sizeof *d->names);
  if (!d->names) return false;
  for (size_t i = 0; i < c->series_count; i++)
    if (c->series[i].name && *c->series[i].name && !(d->names[i] = etk__text_clean(d->arena, c->series[i].name))) return false;
  d->category_count = c->category_count;
  for (size_t i = 0; !c->categories && c->kind != ETK_CHART_HEAT && i < c->series_count; i++)
    if (c->series[i].count > d->category_count) d->category_count = c->series[i].count;
  if (c->kind == ETK_CHART_BOX) d->category_count = c->series_count, d->categories = d->names;
  else if (kinds[c->kind].categories) d->categories = names_of(d, c->categories, d->category_count);
  if (c->kind == ETK_CHART_BOX)
    for (size_t i = 0; i < c->series_count; i++)
      if (!d->names[i]) d->names[i] = etk_arena_printf(d->arena, "%zu", i);
  d->row_count = c->row_count;
  if (c->kind == ETK_CHART_HEAT) d->rows = names_of(d, c->rows, d->row_count);
  return (d->categories || !kinds[c->kind].categories) && (d->rows || c->kind != ETK_CHART_HEAT);
}

/* ---- words ---- */

static void describe_series(etk_text *out, const etk__data *d, size_t index) {
  const etk_chart_series *s = &d->chart->series[index];
  double low = INFINITY, high = -INFINITY, last = NAN;
  char text[3][32];
  size_t points = 0;
  for (size_t i = 0; i < s->count; i++) {
    if (!etk__data_shown(d, 1, s->y[i])) continue;
    see(&low, &high, last = s->y[i]);
    points++;
  }
  if (d->names[index]) etk_text_printf(out, " %s:", d->names[index]);
  else etk_text_printf(out, " Series %zu:", index + 1);
  if (!points) {
    etk_text_puts(out, " no data.");
    return;
  }
  etk__number(text[0], low, 0), etk__number(text[1], high, 0), etk__number(text[2], last, 0);
  etk_text_printf(out, " %zu value%s, %s to %s, last %s.", points, points == 1 ? "" : "s", text[0], text[1], text[2]);
}

static bool describe(etk__data *d) {
  const etk_chart *c = d->chart;
  etk_text out = ETK_TEXT_INIT;
  char low[32], high[32];
  etk_text_printf(&out, "%c%s%s", kinds[c->kind].name[0] - 'a' + 'A', kinds[c->kind].name + 1, c->kind == ETK_CHART_HEAT ? "" : " chart");
  if (d->x_label || d->y_label) etk_text_printf(&out, " of %s%s%s", d->y_label ? d->y_label : "values", d->x_label ? " by " : "", d->x_label ? d->x_label : "");
  etk_text_putc(&out, '.');
  for (size_t i = 0; i < c->series_count && i < 12; i++) describe_series(&out, d, i);
  if (c->series_count > 12) etk_text_printf(&out, " %zu more series.", c->series_count - 12);
  if (c->kind == ETK_CHART_HEAT && !d->empty) {
    etk__number(low, d->y_low, 0), etk__number(high, d->y_high, 0);
    etk_text_printf(&out, " %zu rows, %zu columns, values from %s to %s.", d->row_count, d->category_count, low, high);
  }
  if (d->empty && !c->series_count) etk_text_puts(&out, " No data.");
  d->summary = out.failed ? NULL : etk_arena_strdup(d->arena, out.data);
  etk_text_free(&out);
  return d->summary;
}

etk_status etk__data_read(etk_error *e, etk__data *out, etk_arena *arena, const etk_chart *chart) {
  *out = (etk__data){.chart = chart, .arena = arena};
  etk_status status = check(e, chart);
  if (status) return status;
  measure(out);
  if (!read_names(out) || !describe(out)) return etk_fail_memory(e);
  return ETK_OK;
}

/* ---- boxes ---- */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Linear between the two nearest (type 7 of Hyndman and Fan, 1996). */
static double quantile(const double *sorted, size_t count, double p) {
  double at = p * (double)(count - 1);
  size_t i = (size_t)at;
  return i + 1 < count ? sorted[i] * (1 - (at - (double)i)) + sorted[i + 1] * (at - (double)i) : sorted[i];
}

bool etk__box_of(etk__box *out, const etk__data *data, const etk_chart_series *series) {
  *out = (etk__box){0};
  double *sorted = etk_arena_array(data->arena, series->count ? series->count : 1, sizeof *sorted);
  if (!sorted) return false;
  for (size_t i = 0; i < series->count; i++)
    if (etk__data_shown(data, 1, series->y[i])) sorted[out->count++] = series->y[i];
  out->sorted = sorted;
  if (!out->count) return true;
  qsort(sorted, out->count, sizeof *sorted, by_value);
  out->lower = quantile(sorted, out->count, 0.25), out->median = quantile(sorted, out->count, 0.5), out->upper = quantile(sorted, out->count, 0.75);
  double reach = 1.5 * (out->upper - out->lower);
  size_t first = 0, last = out->count - 1;
  while (sorted[first] < out->lower - reach) first++;
  while (sorted[last] > out->upper + reach) last--;
  out->low = fmin(sorted[first], out->lower), out->high = fmax(sorted[last], out->upper);
  return true;
}

/* ---- heat ---- */

bool etk__grid_of(etk__grid *out, const etk__data *data, size_t rows, size_t columns) {
  const etk_chart *c = data->chart;
  out->rows = c->row_count < rows ? c->row_count : rows;
  out->columns = c->category_count < columns ? c->category_count : columns;
  out->values = etk_arena_array(data->arena, out->rows * out->columns + 1, sizeof *out->values);
  if (!out->values) return false;
  for (size_t r = 0; r < out->rows; r++) {
    size_t r0 = r * c->row_count / out->rows, r1 = (r + 1) * c->row_count / out->rows;
    for (size_t k = 0; k < out->columns; k++) {
      size_t k0 = k * c->category_count / out->columns, k1 = (k + 1) * c->category_count / out->columns, seen = 0;
      double mean = 0;
      for (size_t i = r0; i < r1; i++)
        for (size_t j = k0; j < k1; j++) {
          double value = c->values[i * c->category_count + j];
          if (!isfinite(value)) continue;
          seen++;
          mean += value / (double)seen - mean / (double)seen; /* a running mean: no sum that could overflow */
        }
      out->values[r * out->columns + k] = seen ? mean : NAN;
    }
  }
  return true;
}

bool etk__heat_range(const etk__data *data, double *low, double *high) {
  *low = data->y_low, *high = data->y_high;
  if (!(*low < 0 && *high > 0)) return false;
  *high = fmax(-*low, *high);
  *low = -*high;
  return true;
}
