/* chart_marks.c: the data itself: lines, bands, dots, bars, boxes and cells. */
#include "chart_internal.h"

#include <math.h>

struct marks {
  etk__scene *s;
  const etk__axis *x, *y;
};

static double x_at(const struct marks *m, double x) { return m->s->plot.x + etk__axis_at(m->x, x) * m->s->plot.w; }
static double y_at(const struct marks *m, double y) { return m->s->plot.y + (1 - etk__axis_at(m->y, y)) * m->s->plot.h; }
static etk__ink ink_of(size_t series) { return (etk__ink)(ETK__SERIES + series % ETK__COLORS); }

static void stroke(etk__scene *s, etk__ink ink, double width, double x0, double y0, double x1, double y1) {
  etk__shape *line = etk__scene_add(s, ETK__LINE, ink);
  line->stroke = width;
  etk__scene_point(s, x0, y0);
  etk__scene_point(s, x1, y1);
}

/* ---- lines ---- */

struct path { /* what a series shows, on screen */
  double *points, *low, *high; /* pairs; the band's ends as y, NaN: none */
  bool *breaks;                /* a gap before this point */
  size_t count;
  bool rising;                 /* x never goes back */
  bool dense;                  /* more points than pixels can tell apart */
};

static bool read_path(struct path *p, const struct marks *m, const etk_chart_series *series) {
  etk_arena *arena = m->s->arena;
  size_t n = series->count ? series->count : 1, last = 0;
  *p = (struct path){.points = etk_arena_array(arena, n, 2 * sizeof(double)), .breaks = etk_arena_array(arena, n, sizeof(bool)), .rising = true};
  p->low = etk_arena_array(arena, n, sizeof(double)), p->high = etk_arena_array(arena, n, sizeof(double));
  if (!p->points || !p->breaks || !p->low || !p->high) return false;
  p->dense = series->count > 4 * (size_t)m->s->plot.w;
  for (size_t i = 0; i < series->count; i++) {
    double x = etk__data_x(series, i);
    if (!etk__data_shown(m->s->data, x, series->y[i])) continue;
    double *at = p->points + 2 * p->count;
    at[0] = x_at(m, x), at[1] = y_at(m, series->y[i]);
    p->low[p->count] = p->high[p->count] = NAN;
    if (series->low && etk__data_shown(m->s->data, x, series->low[i]) && etk__data_shown(m->s->data, x, series->high[i]))
      p->low[p->count] = y_at(m, series->low[i]), p->high[p->count] = y_at(m, series->high[i]);
    if (p->count && at[0] < at[-2]) p->rising = false;
    p->breaks[p->count] = !p->count || (last + 1 != i && !(p->dense && fabs(at[0] - at[-2]) <= 1));
    last = i;
    p->count++;
  }
  return true;
}

/* The points of one column of pixels: first, lowest, highest and last stay, in their order. */
static size_t column_end(const struct path *p, size_t from, size_t to) {
  size_t end = from + 1;
  while (end < to && floor(p->points[2 * end]) == floor(p->points[2 * from])) end++;
  return end;
}

static void put_column(etk__scene *s, const struct path *p, size_t from, size_t to) {
  size_t top = from, bottom = from, kept[4];
  for (size_t i = from; i < to; i++) {
    if (p->points[2 * i + 1] < p->points[2 * top + 1]) top = i;
    if (p->points[2 * i + 1] > p->points[2 * bottom + 1]) bottom = i;
  }
  kept[0] = from, kept[1] = top < bottom ? top : bottom, kept[2] = top < bottom ? bottom : top, kept[3] = to - 1;
  for (size_t k = 0; k < 4; k++)
    if (!k || kept[k] != kept[k - 1]) etk__scene_point(s, p->points[2 * kept[k]], p->points[2 * kept[k] + 1]);
}

static void put_run(struct marks *m, const struct path *p, size_t from, size_t to, size_t series) {
  etk__shape *line = etk__scene_add(m->s, ETK__LINE, ink_of(series));
  line->stroke = p->dense ? 1.5 : 2, line->style = (int)(series % ETK__DASHES);
  double x = NAN, y = NAN;
  for (size_t i = from; i < to;) {
    if (p->dense && p->rising) {
      size_t end = column_end(p, i, to);
      put_column(m->s, p, i, end);
      i = end;
      continue;
    }
    double px = p->points[2 * i], py = p->points[2 * i + 1];
    if (!(p->dense && fabs(px - x) < 0.4 && fabs(py - y) < 0.4)) etk__scene_point(m->s, x = px, y = py);
    i++;
  }
}

static void put_band(struct marks *m, const struct path *p, size_t series) {
  bool thin = p->dense && p->rising;
  for (size_t i = 0; i < p->count;) {
    size_t end = i;
    while (end < p->count && isfinite(p->low[end]) && (end == i || !p->breaks[end])) end++;
    if (end == i) {
      i++;
      continue;
    }
    etk__shape *area = etk__scene_add(m->s, ETK__AREA, ink_of(series));
    area->opacity = 0.18;
    for (size_t k = i; k < end;) {
      size_t next = thin ? column_end(p, k, end) : k + 1;
      double y = p->high[k];
      for (size_t j = k; j < next; j++) y = fmin(y, p->high[j]);
      etk__scene_point(m->s, p->points[2 * k], y);
      k = next;
    }
    for (size_t k = end; k > i;) {
      size_t next = k - 1;
      while (thin && next > i && floor(p->points[2 * (next - 1)]) == floor(p->points[2 * (k - 1)])) next--;
      double y = p->low[k - 1];
      for (size_t j = next; j < k; j++) y = fmax(y, p->low[j]);
      etk__scene_point(m->s, p->points[2 * (k - 1)], y);
      k = next;
    }
    i = end;
  }
}

/* Dots that would fall on each other are drawn once. The corners of the cloud stay: each keeps the exact place of the first in its cell. */
static void put_dots(struct marks *m, const double *points, const bool *wanted, size_t count, double radius, double opacity, size_t series) {
  double cell = count > 2000 ? 2 : 0.25;
  size_t columns = (size_t)(m->s->plot.w / cell) + 3, rows = (size_t)(m->s->plot.h / cell) + 3;
  unsigned char *taken = count > 500 ? etk_arena_alloc(m->s->arena, columns * rows / 8 + 1) : NULL;
  if (count > 500 && !taken) {
    m->s->failed = true;
    return;
  }
  bool begun = false;
  for (size_t i = 0; i < count; i++) {
    if (wanted && !wanted[i]) continue;
    double x = points[2 * i], y = points[2 * i + 1];
    if (taken) {
      size_t at = (size_t)((y - m->s->plot.y) / cell + 1) * columns + (size_t)((x - m->s->plot.x) / cell + 1);
      if (at >= columns * rows || (taken[at / 8] & 1 << at % 8)) continue;
      taken[at / 8] |= (unsigned char)(1 << at % 8);
    }
    if (!begun) {
      etk__shape *dots = etk__scene_add(m->s, ETK__DOTS, ink_of(series));
      dots->w = radius, dots->opacity = opacity, dots->style = count > 2000 ? 0 : (int)(series % ETK__MARKERS);
      begun = true;
    }
    etk__scene_point(m->s, x, y);
  }
}

static void band(struct marks *m, size_t index) {
  struct path p;
  const etk_chart_series *series = &m->s->data->chart->series[index];
  if (!series->low) return;
  if (read_path(&p, m, series)) put_band(m, &p, index);
  else m->s->failed = true;
}

static void line(struct marks *m, size_t index) {
  struct path p;
  if (!read_path(&p, m, &m->s->data->chart->series[index])) {
    m->s->failed = true;
    return;
  }
  bool *alone = etk_arena_array(m->s->arena, p.count ? p.count : 1, sizeof *alone), few = p.count <= (size_t)(m->s->plot.w / 24);
  if (!alone) m->s->failed = true;
  for (size_t i = 0, end; i < p.count && alone; i = end) {
    for (end = i + 1; end < p.count && !p.breaks[end];) end++;
    if (end - i == 1) alone[i] = true;
    else put_run(m, &p, i, end, index);
  }
  if (alone) put_dots(m, p.points, few ? NULL : alone, p.count, few ? 3.5 : 2, 1, index);
}

/* ---- scatter ---- */

static void whisker(struct marks *m, etk__ink ink, double x, double y0, double y1, double cap) {
  stroke(m->s, ink, 1.25, x, y0, x, y1);
  stroke(m->s, ink, 1.25, x - cap, y0, x + cap, y0);
  stroke(m->s, ink, 1.25, x - cap, y1, x + cap, y1);
}

static void scatter(struct marks *m, size_t index) {
  struct path p;
  const etk_chart *c = m->s->data->chart;
  if (!read_path(&p, m, &c->series[index])) {
    m->s->failed = true;
    return;
  }
  double last = -1e9;
  bool crowded = p.count > (size_t)m->s->plot.w;
  for (size_t i = 0; i < p.count; i++) {
    if (!isfinite(p.low[i]) || (crowded && fabs(p.points[2 * i] - last) < 4)) continue;
    whisker(m, ink_of(index), last = p.points[2 * i], p.low[i], p.high[i], 3.5);
  }
  put_dots(m, p.points, NULL, p.count, p.count <= 200 ? 4 : p.count <= 2000 ? 3 : 1.5, p.count <= 200 ? 0.9 : 0.65, index);
}

/* ---- bars ---- */

static void bars(struct marks *m) {
  const etk_chart *c = m->s->data->chart;
  size_t categories = m->s->data->category_count, series = c->series_count;
  double slot = m->s->plot.w / (double)categories, group = slot * (series > 1 ? 0.8 : 0.68), each = group / (double)series;
  double base = c->log_y ? m->s->plot.y + m->s->plot.h : y_at(m, 0);
  for (size_t s = 0; s < series; s++) {
    const etk_chart_series *row = &c->series[s];
    m->s->series = (int)s;
    for (size_t i = 0; i < row->count; i++) {
      if (!etk__data_shown(m->s->data, 1, row->y[i])) continue;
      double x0 = m->s->plot.x + slot * (double)i + (slot - group) / 2 + each * (double)s, x1 = x0 + each, y = y_at(m, row->y[i]);
      double left = each > 3 ? rint(x0) : x0, right = each > 3 ? rint(x1) - (series > 1 && each > 6) : x1;
      etk__scene_rect(m->s, ink_of(s), left, fmin(y, base), right - left, fabs(base - y));
      if (!row->low || !etk__data_shown(m->s->data, 1, row->low[i]) || !etk__data_shown(m->s->data, 1, row->high[i])) continue;
      whisker(m, ETK__TEXT, (left + right) / 2, y_at(m, row->low[i]), y_at(m, row->high[i]), fmin(4, each / 3));
    }
  }
}

/* ---- boxes ---- */

static void box(struct marks *m, size_t index) {
  etk__box b;
  const etk__data *d = m->s->data;
  if (!etk__box_of(&b, d, &d->chart->series[index])) {
    m->s->failed = true;
    return;
  }
  if (!b.count) return;
  etk__scene *s = m->s;
  double slot = s->plot.w / (double)d->category_count, middle = floor(s->plot.x + slot * ((double)index + 0.5)) + 0.5, half = fmin(slot * 0.28, 34);
  double q1 = y_at(m, b.lower), q3 = y_at(m, b.upper), median = y_at(m, b.median);
  etk__ink ink = ink_of(index);
  half = floor(half) + 0.5;
  stroke(s, ink, 1.25, middle, y_at(m, b.high), middle, q3);
  stroke(s, ink, 1.25, middle, q1, middle, y_at(m, b.low));
  stroke(s, ink, 1.25, middle - half / 2, y_at(m, b.high), middle + half / 2, y_at(m, b.high));
  stroke(s, ink, 1.25, middle - half / 2, y_at(m, b.low), middle + half / 2, y_at(m, b.low));
  etk__scene_rect(s, ink, middle - half, q3, 2 * half, q1 - q3);
  if (!s->failed) s->shapes[s->count - 1].opacity = 0.28;
  etk__shape *edge = etk__scene_add(s, ETK__LINE, ink);
  edge->stroke = 1.5;
  const double corners[5][2] = {{-half, q3}, {half, q3}, {half, q1}, {-half, q1}, {-half, q3}};
  for (int i = 0; i < 5; i++) etk__scene_point(s, middle + corners[i][0], corners[i][1]);
  stroke(s, ink, 2.5, middle - half, median, middle + half, median);
  double last = NAN;
  for (size_t i = 0; i < b.count; i++) {
    if (b.sorted[i] >= b.low && b.sorted[i] <= b.high) continue;
    double y = y_at(m, b.sorted[i]);
    if (fabs(y - last) < 0.5 && i + 1 < b.count) continue;
    if (isnan(last)) {
      etk__shape *dots = etk__scene_add(s, ETK__DOTS, ink);
      dots->w = 2.5, dots->opacity = 0.8;
    }
    etk__scene_point(s, middle, last = y);
  }
}

void etk__marks_draw(etk__scene *scene, const etk__axis *x, const etk__axis *y) {
  struct marks m = {scene, x, y};
  const etk_chart *c = scene->data->chart;
  if (c->kind == ETK_CHART_BAR || c->kind == ETK_CHART_GROUPED) bars(&m);
  for (size_t i = 0; i < c->series_count && c->kind == ETK_CHART_LINE; i++) { /* below all lines */
    scene->series = (int)i;
    band(&m, i);
  }
  for (size_t i = 0; i < c->series_count && c->kind != ETK_CHART_BAR && c->kind != ETK_CHART_GROUPED; i++) {
    scene->series = (int)i;
    if (c->kind == ETK_CHART_LINE) line(&m, i);
    else if (c->kind == ETK_CHART_SCATTER) scatter(&m, i);
    else box(&m, i);
  }
  scene->series = -1;
}

/* ---- cells ---- */

enum { LEVELS = 128 };

static int level_of(double value, double low, double high) { /* -1: nothing to show */
  if (!isfinite(value)) return -1;
  double unit = high > low ? (value / 4 - low / 4) / (high / 4 - low / 4) : 0.5;
  return (int)fmin(fmax(unit, 0) * LEVELS, LEVELS - 1);
}

struct cells {
  etk__scene *s;
  const etk__grid *grid;
  const signed char *levels;
  double w, h;
  bool gaps, diverging;
};

/* Cells of one level; side by side they are one where no gap stands between. One after the other in the scene, so that they can be written as one. */
static void put_level(const struct cells *c, int level) {
  for (size_t r = 0; r < c->grid->rows; r++) {
    double y0 = rint(c->s->plot.y + c->h * (double)r), y1 = rint(c->s->plot.y + c->h * (double)(r + 1));
    for (size_t k = 0, next; k < c->grid->columns; k = next) {
      next = k + 1;
      if (c->levels[r * c->grid->columns + k] != level) continue;
      while (!c->gaps && next < c->grid->columns && c->levels[r * c->grid->columns + next] == level) next++;
      double x0 = rint(c->s->plot.x + c->w * (double)k), x1 = rint(c->s->plot.x + c->w * (double)next);
      etk__scene_rect(c->s, level < 0 ? ETK__GRID : ETK__RGB, x0, y0, x1 - x0 - c->gaps, y1 - y0 - c->gaps);
      if (!c->s->failed && level >= 0) c->s->shapes[c->s->count - 1].rgb = etk__heat_color((level + 0.5) / LEVELS, c->diverging);
    }
  }
}

static void put_values(const struct cells *c, double size) {
  for (size_t i = 0; i < c->grid->rows * c->grid->columns; i++) {
    char text[32];
    if (c->levels[i] < 0) continue;
    etk__number(text, c->grid->values[i], size / 500);
    if (etk__text_width(text, strlen(text), 11) + 6 > c->w) continue;
    double x = c->s->plot.x + c->w * ((double)(i % c->grid->columns) + 0.5), y = c->s->plot.y + c->h * ((double)(i / c->grid->columns) + 0.5);
    etk__scene_words(c->s, ETK__RGB, etk_arena_strdup(c->s->arena, text), floor(x), floor(y) + 4, 11, 0);
    if (!c->s->failed) c->s->shapes[c->s->count - 1].rgb = etk__lightness(etk__heat_color((c->levels[i] + 0.5) / LEVELS, c->diverging)) > 0.63 ? 0x101418 : 0xFFFFFF;
  }
}

void etk__marks_heat(etk__scene *s, const etk__grid *grid, double low, double high) {
  const etk__data *d = s->data;
  size_t count = grid->rows * grid->columns;
  signed char *levels = etk_arena_alloc(s->arena, count + 1);
  bool used[LEVELS + 1] = {false};
  if (!levels) {
    s->failed = true;
    return;
  }
  for (size_t i = 0; i < count; i++) {
    levels[i] = (signed char)level_of(grid->values[i], low, high);
    used[levels[i] + 1] = true;
  }
  struct cells c = {s, grid, levels, s->plot.w / (double)grid->columns, s->plot.h / (double)grid->rows, false, low < 0 && high > 0};
  c.gaps = c.w >= 12 && c.h >= 12;
  for (int level = -1; level < LEVELS; level++)
    if (used[level + 1]) put_level(&c, level);
  if (grid->rows == d->row_count && grid->columns == d->category_count && c.w >= 36 && c.h >= 17) put_values(&c, fmax(fabs(high), fabs(low)));
}
