/* chart_layout.c: where everything stands: title, legend, axes with their words, and the room that is left for the data. */
#include "chart_internal.h"

#include <math.h>

static const double tick_font = 11, label_font = 12, title_font = 15;

/* ---- scenes ---- */

void etk__scene_free(etk__scene *scene) {
  etk_free(scene->shapes);
  etk_free(scene->points);
}

etk__shape *etk__scene_add(etk__scene *scene, etk__kind kind, etk__ink ink) {
  if (!scene->failed && scene->count == scene->capacity) {
    size_t capacity = scene->capacity ? scene->capacity * 2 : 128;
    etk__shape *grown = etk_realloc(scene->shapes, capacity, sizeof *grown);
    if (grown) scene->shapes = grown, scene->capacity = capacity;
    else scene->failed = true;
  }
  etk__shape *shape = scene->failed ? &scene->spare : &scene->shapes[scene->count++];
  *shape = (etk__shape){.kind = kind, .ink = ink, .opacity = 1, .first = scene->point_count, .series = scene->series};
  return shape;
}

void etk__scene_rect(etk__scene *scene, etk__ink ink, double x, double y, double w, double h) {
  etk__shape *shape = etk__scene_add(scene, ETK__RECT, ink);
  shape->x = x, shape->y = y, shape->w = w, shape->h = h;
}

void etk__scene_point(etk__scene *scene, double x, double y) {
  if (scene->failed || !scene->count) return;
  if (scene->point_count == scene->point_capacity) {
    size_t capacity = scene->point_capacity ? scene->point_capacity * 2 : 512;
    double *grown = etk_realloc(scene->points, capacity, 2 * sizeof *grown);
    if (!grown) {
      scene->failed = true;
      return;
    }
    scene->points = grown, scene->point_capacity = capacity;
  }
  scene->points[2 * scene->point_count] = x, scene->points[2 * scene->point_count + 1] = y;
  scene->point_count++;
  scene->shapes[scene->count - 1].count++;
}

void etk__scene_words(etk__scene *scene, etk__ink ink, const char *text, double x, double y, double font, int anchor) {
  if (!text) {
    scene->failed = true;
    return;
  }
  etk__shape *shape = etk__scene_add(scene, ETK__WORDS, ink);
  shape->text = text, shape->x = x, shape->y = y, shape->font = font, shape->anchor = anchor;
}

/* ---- layout ---- */

struct layout {
  etk__scene *s;
  const etk__data *d;
  double left, right, top, bottom; /* what is still free */
  etk__axis x, y;
  bool tilted; /* the words below stand at 45° */
  size_t every; /* the nth of them is shown */
};

static double wide(const char *text, double font) { return etk__text_width(text, strlen(text), font) * 1.06; /* other fonts run wider */ }
static const char *fit(struct layout *l, const char *text, double width, double font) { return etk__text_fit(l->d->arena, text, width / 1.06, font); }

static void put_heading(struct layout *l) {
  double width = l->right - l->left;
  if (l->d->title && l->s->height >= 110) {
    etk__scene_words(l->s, ETK__TEXT, fit(l, l->d->title, width / 1.17, title_font), l->left, l->top + 13, title_font, -1);
    if (l->s->count) l->s->shapes[l->s->count - 1].bold = true;
    l->top += 24;
  }
  if (l->d->subtitle && l->s->height >= 140) {
    etk__scene_words(l->s, ETK__MUTED, fit(l, l->d->subtitle, width, label_font), l->left, l->top + 9, label_font, -1);
    l->top += 20;
  }
}

static void put_swatch(etk__scene *s, etk_chart_kind kind, size_t series, double x, double y) {
  etk__ink ink = (etk__ink)(ETK__SERIES + series % ETK__COLORS);
  if (kind == ETK_CHART_LINE) {
    etk__shape *line = etk__scene_add(s, ETK__LINE, ink);
    line->stroke = 2, line->style = (int)(series % ETK__DASHES);
    etk__scene_point(s, x, y);
    etk__scene_point(s, x + 20, y);
  } else if (kind == ETK_CHART_SCATTER) {
    etk__shape *dot = etk__scene_add(s, ETK__DOTS, ink);
    dot->w = 4, dot->style = (int)(series % ETK__MARKERS);
    etk__scene_point(s, x + 5, y);
  } else etk__scene_rect(s, ink, x, y - 5, 10, 10);
}

/* Names in rows under the heading, at most a quarter of the height. */
static void put_legend(struct layout *l) {
  const etk_chart *c = l->d->chart;
  size_t named = 0, shown = 0;
  for (size_t i = 0; i < c->series_count; i++) named += l->d->names[i] != NULL;
  if (!named || c->kind == ETK_CHART_BOX || c->kind == ETK_CHART_HEAT || l->s->height < 160) return;
  double swatch = c->kind == ETK_CHART_LINE ? 26 : 15, x = l->left, y = l->top + 7, most = fmin((l->right - l->left) * 0.6, 220);
  double lowest = l->top + fmax(18, l->s->height * 0.22);
  for (size_t i = 0; i < c->series_count; i++) {
    if (!l->d->names[i]) continue;
    const char *name = fit(l, l->d->names[i], most - swatch, tick_font);
    if (!name) {
      l->s->failed = true;
      return;
    }
    double width = swatch + wide(name, tick_font);
    bool last_row = y + 36 > lowest, more = named - shown > 1;
    if (x > l->left && x + width + (last_row && more ? 74 : 0) > l->right) {
      if (last_row) {
        etk__scene_words(l->s, ETK__MUTED, etk_arena_printf(l->d->arena, "+%zu more", named - shown), x, y + 4, tick_font, -1);
        break;
      }
      x = l->left, y += 18;
    }
    l->s->series = (int)i;
    put_swatch(l->s, c->kind, i, x, y);
    l->s->series = -1;
    etk__scene_words(l->s, ETK__TEXT, name, x + swatch, y + 4, tick_font, -1);
    x += width + 18;
    shown++;
  }
  l->top = y + 16;
}

static double widest_tick(const etk__axis *axis) {
  double most = 0;
  for (size_t i = 0; i < axis->count; i++) most = fmax(most, wide(axis->ticks[i].label, tick_font));
  return most;
}

static bool has_categories(const etk__data *d) { return d->chart->kind >= ETK_CHART_BAR; }

/* Ticks beside each other need room for the widest. */
static void fit_x(struct layout *l, double width) {
  const etk__data *d = l->d;
  double low = d->x_low, high = d->x_high;
  bool scatter = d->chart->kind == ETK_CHART_SCATTER;
  for (size_t wanted = (size_t)fmax(width / 70, 1);; wanted--) {
    etk__axis_fit(&l->x, low, high, d->chart->log_x, scatter, wanted);
    size_t labels = 0;
    double least = 1e9, before = NAN;
    for (size_t i = 0; i < l->x.count; i++) {
      if (l->x.ticks[i].minor) continue;
      double at = etk__axis_at(&l->x, l->x.ticks[i].value) * width;
      if (labels++) least = fmin(least, at - before);
      before = at;
    }
    if (wanted <= 1 || (least >= widest_tick(&l->x) + 14 && (!d->whole_x || etk__axis_whole(&l->x)))) return;
  }
}

static void fit_y(struct layout *l, double height) {
  size_t wanted = (size_t)fmax(height / 42, 2);
  etk__axis_fit(&l->y, l->d->y_low, l->d->y_high, l->d->chart->log_y, true, wanted);
}

/* 1, 2, 5, 10 … of names that are mostly numbers */
static size_t round_every(double least) {
  size_t every = 1;
  for (size_t i = 0; (double)every < least; i++) every = i % 3 == 1 ? every / 2 * 5 : every * 2;
  return every;
}

/* Words under the categories: side by side, else tilted, else every nth. Returns their height. */
static double fit_words(struct layout *l, double width) {
  const etk__data *d = l->d;
  double slot = width / (double)(d->category_count ? d->category_count : 1), most = 0;
  for (size_t i = 0; i < d->category_count; i++) most = fmax(most, wide(d->categories[i], tick_font));
  l->every = 1, l->tilted = false;
  if (most + 8 <= slot) return 16;
  if (most <= 34 && d->category_count > 12) { /* short names, many of them: numbers mostly */
    l->every = round_every((most + 8) / slot);
    return 16;
  }
  l->tilted = true;
  if (slot < 17) l->every = (size_t)ceil(17 / slot);
  return fmin(fmin(most, 110), l->s->height * 0.3) * 0.7072 + 14;
}

static void put_x_words(struct layout *l) {
  const etk__data *d = l->d;
  double x0 = l->s->plot.x, width = l->s->plot.w, y = l->s->plot.y + l->s->plot.h, slot = width / (double)d->category_count;
  for (size_t i = 0; i < d->category_count; i += l->every) {
    double x = x0 + slot * ((double)i + 0.5);
    if (!l->tilted) {
      etk__scene_words(l->s, ETK__MUTED, fit(l, d->categories[i], fmax(slot * (double)l->every - 4, 8), tick_font), x, y + 16, tick_font, 0);
      continue;
    }
    double room = fmin(fmin(110, l->s->height * 0.3), (x - 4) / 0.7072 - 8);
    if (room < 16) continue;
    etk__scene_words(l->s, ETK__MUTED, fit(l, d->categories[i], room, tick_font), x + 4, y + 13, tick_font, 1);
    if (!l->s->failed) l->s->shapes[l->s->count - 1].angle = 45;
  }
}

static void put_x_ticks(struct layout *l) {
  double x0 = l->s->plot.x, width = l->s->plot.w, y = l->s->plot.y + l->s->plot.h, before = -1e9;
  for (size_t i = 0; i < l->x.count; i++) {
    const etk__tick *tick = &l->x.ticks[i];
    double at = etk__axis_at(&l->x, tick->value), x = x0 + at * width;
    if (at < -1e-9 || at > 1 + 1e-9) continue;
    if (l->d->chart->kind == ETK_CHART_SCATTER && !tick->minor) etk__scene_rect(l->s, ETK__GRID, floor(x), l->s->plot.y, 1, l->s->plot.h);
    etk__scene_rect(l->s, ETK__AXIS, floor(x), y, 1, tick->minor ? 3 : 5);
    double half = wide(tick->label, tick_font) / 2;
    if (tick->minor || x - half < before + 8) continue;
    double centre = fmin(x, l->s->width - half - 2);
    etk__scene_words(l->s, ETK__MUTED, etk_arena_strdup(l->d->arena, tick->label), centre, y + 18, tick_font, 0);
    before = centre + half;
  }
}

static void put_y_ticks(struct layout *l, bool grid) {
  double x0 = l->s->plot.x, bottom = l->s->plot.y + l->s->plot.h, before = 1e9;
  for (size_t i = 0; i < l->y.count; i++) {
    const etk__tick *tick = &l->y.ticks[i];
    double at = etk__axis_at(&l->y, tick->value), y = bottom - at * l->s->plot.h;
    if (at < -1e-9 || at > 1 + 1e-9) continue;
    if (tick->minor) {
      etk__scene_rect(l->s, ETK__AXIS, x0 - 3, floor(y), 3, 1);
      continue;
    }
    if (grid) etk__scene_rect(l->s, ETK__GRID, x0, floor(y), l->s->plot.w, 1);
    if (y + 13 > before) continue;
    etk__scene_words(l->s, ETK__MUTED, etk_arena_strdup(l->d->arena, tick->label), x0 - 8, floor(y) + 4.5, tick_font, 1);
    before = y;
  }
}

static void put_axis_labels(struct layout *l, double middle_x, double middle_y) {
  if (l->d->x_label && l->s->height >= 120)
    etk__scene_words(l->s, ETK__TEXT, fit(l, l->d->x_label, l->s->plot.w, label_font), middle_x, l->s->height - 11, label_font, 0);
  if (!l->d->y_label || l->s->width < 160) return;
  etk__scene_words(l->s, ETK__TEXT, fit(l, l->d->y_label, l->s->plot.h, label_font), 20, middle_y, label_font, 0);
  if (!l->s->failed) l->s->shapes[l->s->count - 1].angle = 90;
}

static void no_data(struct layout *l) {
  etk__scene_words(l->s, ETK__MUTED, "no data", l->s->plot.x + l->s->plot.w / 2, l->s->plot.y + l->s->plot.h / 2 + 5, label_font, 0);
}

static void set_plot(struct layout *l) {
  l->s->plot.x = floor(l->left), l->s->plot.y = floor(l->top);
  l->s->plot.w = fmax(floor(l->right) - l->s->plot.x, 8), l->s->plot.h = fmax(floor(l->bottom) - l->s->plot.y, 8);
}

/* Margins and words depend on each other: ticks of y fix the left, with it the words below, with them the height, with it the ticks of y. */
static void make_axes(struct layout *l) {
  const etk__data *d = l->d;
  bool categories = has_categories(d);
  double left = l->left + (d->y_label && l->s->width >= 160 ? 20 : 0), foot = d->x_label && l->s->height >= 120 ? 20 : 0, below = 20;
  for (int pass = 0; pass < 2; pass++) {
    double height = l->bottom - foot - below - l->top;
    fit_y(l, height);
    l->left = left + widest_tick(&l->y) + 8;
    if (categories) below = fit_words(l, l->right - l->left) + 4;
    else fit_x(l, l->right - l->left);
  }
  if (!categories && l->x.count) { /* half of the last word sticks out */
    const etk__tick *last = &l->x.ticks[l->x.count - 1];
    double over = wide(last->label, tick_font) / 2 - (1 - etk__axis_at(&l->x, last->value)) * (l->right - l->left) - (l->s->width - l->right) + 4;
    if (over > 0) l->right -= over;
  }
  l->bottom -= foot + below;
  set_plot(l);
}

static void draw_axes_chart(struct layout *l) {
  make_axes(l);
  put_y_ticks(l, true);
  if (has_categories(l->d)) put_x_words(l);
  else put_x_ticks(l);
  double zero = etk__axis_at(&l->y, 0), bottom = l->s->plot.y + l->s->plot.h;
  bool inside = !l->y.log && zero > 1e-9 && zero <= 1;
  if (inside) etk__scene_rect(l->s, ETK__AXIS, l->s->plot.x, floor(bottom - zero * l->s->plot.h), l->s->plot.w, 1);
  if (!inside || !has_categories(l->d)) etk__scene_rect(l->s, ETK__AXIS, l->s->plot.x, bottom, l->s->plot.w, 1);
  put_axis_labels(l, l->s->plot.x + l->s->plot.w / 2, l->s->plot.y + l->s->plot.h / 2);
  if (l->d->empty) no_data(l);
  else etk__marks_draw(l->s, &l->x, &l->y);
}

/* ---- heat maps ---- */

static void put_scale(struct layout *l, double low, double high, bool diverging) {
  double x = l->right - 14 - widest_tick(&l->y) - 6, bottom = l->s->plot.y + l->s->plot.h, before = 1e9;
  size_t steps = (size_t)fmin(96, l->s->plot.h);
  for (size_t i = 0; i < steps; i++) {
    double y0 = bottom - l->s->plot.h * (double)(i + 1) / (double)steps, y1 = bottom - l->s->plot.h * (double)i / (double)steps;
    etk__scene_rect(l->s, ETK__RGB, x, floor(y0), 12, floor(y1) - floor(y0));
    if (!l->s->failed) l->s->shapes[l->s->count - 1].rgb = etk__heat_color(((double)i + 0.5) / (double)steps, diverging);
  }
  for (size_t i = 0; i < l->y.count; i++) {
    double at = high > low ? (l->y.ticks[i].value / 4 - low / 4) / (high / 4 - low / 4) : 0.5, y = bottom - at * l->s->plot.h;
    if (l->y.ticks[i].minor || at < -1e-9 || at > 1 + 1e-9 || y + 13 > before) continue;
    etk__scene_rect(l->s, ETK__AXIS, x + 12, fmin(floor(y), bottom - 1), 3, 1);
    etk__scene_words(l->s, ETK__MUTED, etk_arena_strdup(l->d->arena, l->y.ticks[i].label), x + 19, floor(y) + 4.5, tick_font, -1);
    before = y;
  }
}

static void put_row_names(struct layout *l, double width) {
  double slot = l->s->plot.h / (double)l->d->row_count;
  size_t every = round_every(14 / slot);
  for (size_t i = 0; i < l->d->row_count; i += every) {
    double y = l->s->plot.y + slot * ((double)i + 0.5);
    etk__scene_words(l->s, ETK__MUTED, fit(l, l->d->rows[i], width, tick_font), l->s->plot.x - 7, floor(y) + 4.5, tick_font, 1);
  }
}

static void draw_heat_chart(struct layout *l) {
  const etk__data *d = l->d;
  double names = 0, low = 0, high = 1, foot = d->x_label && l->s->height >= 120 ? 20 : 0;
  bool diverging = !d->empty && etk__heat_range(d, &low, &high);
  etk__axis_fit(&l->y, low, high, false, false, (size_t)fmax((l->bottom - l->top) / 60, 2));
  for (size_t i = 0; i < d->row_count; i++) names = fmax(names, wide(d->rows[i], tick_font));
  names = fmin(names, (l->right - l->left) * 0.3);
  l->left += (d->y_label && l->s->width >= 160 ? 20 : 0) + names + 7;
  bool scale = !d->empty && l->s->width >= 200;
  double legend = scale ? widest_tick(&l->y) + 36 : 0;
  l->right -= legend;
  l->bottom -= foot + fit_words(l, l->right - l->left) + 4;
  set_plot(l);
  if (d->empty) {
    no_data(l);
    return;
  }
  l->right += legend;
  etk__grid grid;
  if (!etk__grid_of(&grid, d, (size_t)fmax(fmin(l->s->plot.h / 2, 96), 1), (size_t)fmax(fmin(l->s->plot.w / 2, 160), 1))) {
    l->s->failed = true;
    return;
  }
  etk__marks_heat(l->s, &grid, low, high);
  put_row_names(l, names);
  put_x_words(l);
  if (scale) put_scale(l, low, high, diverging);
  put_axis_labels(l, l->s->plot.x + l->s->plot.w / 2, l->s->plot.y + l->s->plot.h / 2);
}

etk_status etk__scene_make(etk_error *e, etk__scene *out, const etk__data *data) {
  *out = (etk__scene){.arena = data->arena, .data = data, .series = -1};
  out->width = data->chart->width ? data->chart->width : 720, out->height = data->chart->height ? data->chart->height : 400;
  double pad = out->width < 300 || out->height < 200 ? 8 : 16;
  struct layout l = {.s = out, .d = data, .left = pad, .right = out->width - pad, .top = pad, .bottom = out->height - pad + 4, .every = 1};
  etk__scene_rect(out, ETK__PAPER, 0, 0, out->width, out->height);
  put_heading(&l);
  put_legend(&l);
  l.top += 8;
  if (data->chart->kind == ETK_CHART_HEAT) draw_heat_chart(&l);
  else draw_axes_chart(&l);
  if (!out->failed) return ETK_OK;
  etk__scene_free(out);
  *out = (etk__scene){0};
  return etk_fail_memory(e);
}
