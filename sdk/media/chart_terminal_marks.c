/* chart_terminal_marks.c: bars, boxes and heat maps in character cells. */
#include "chart_cells.h"

#include <math.h>

/* ---- bars: lying, a row each ---- */

const char *etk__bar_fill(const etk__cells *t, size_t series) {
  static const char *const blocks[] = {"█", "▓", "▒", "░"}, *const letters[] = {"#", "=", "+", "-", "*", "o"};
  return !t->unicode ? letters[series % 6] : t->color ? "█" : blocks[series % 4];
}

struct lying {
  etk__cells *t;
  int names, left, columns; /* of the bars */
  etk__axis axis;
  double zero; /* cells from left */
};

static void put_bar(const struct lying *b, int row, size_t series, double value) {
  static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  etk__cells *t = b->t;
  int ink = etk__series_ink(series), zero = (int)lrint(b->zero);
  double at = etk__axis_at(&b->axis, value) * b->columns;
  char text[32];
  etk__number(text, value, 0);
  const char *fill = etk__bar_fill(t, series);
  bool fine = t->unicode && !strcmp(fill, "█");
  if (at >= b->zero) {
    int whole = fine ? (int)floor(at + 1.0 / 16) : (int)lrint(at), part = fine ? (int)floor((at - whole) * 8 + 0.5) : 0;
    for (int k = zero; k < whole; k++) etk__cells_put(t, row, b->left + k, fill, ink);
    if (part > 0 && part < 8) etk__cells_put(t, row, b->left + whole, eighths[part], ink);
    int end = whole > zero || part > 0 ? whole + (part > 0) : zero;
    etk__cells_put(t, row, b->left + end + 1, text, 0);
    return;
  }
  int from = (int)lrint(at);
  for (int k = from; k < zero; k++) etk__cells_put(t, row, b->left + k, fill, ink);
  int start = b->left + from - 1 - (int)strlen(text);
  etk__cells_put(t, row, start >= b->left ? start : b->left + zero + 1, text, 0);
}

static void put_rest(etk__cells *t, int row, size_t left, const char *what) {
  char text[64];
  snprintf(text, sizeof text, "%s and %zu more %s", t->unicode ? "…" : "...", left, what);
  etk__cells_words(t, row, 0, t->columns, -1, text, etk__terminal_color(ETK__MUTED));
}

void etk__terminal_bars(etk__cells *t) {
  const etk__data *d = t->d;
  const etk_chart *c = d->chart;
  size_t n = d->category_count, series = c->series_count;
  if (d->y_label && (t->rows >= 10 || t->rows - t->top >= (int)fmin((double)(n * series), 1000) + 1))
    etk__cells_words(t, t->top++, 0, t->columns, -1, d->y_label, etk__terminal_color(ETK__MUTED));
  struct lying b = {.t = t, .names = etk__names_width(t, d->categories, n, t->columns / 3)};
  bool both = d->y_low < 0 && t->columns >= 48; /* room for the number on both sides of the bar, or on one */
  b.left = b.names + 1, b.columns = t->columns - b.left - 7 - (both ? 7 : 0);
  if (both) b.left += 7;
  if (b.columns < 4) b.columns = 4;
  etk__axis_fit(&b.axis, d->y_low, d->y_high, c->log_y, c->log_y, 4);
  if (!c->log_y) b.axis.low = fmin(d->y_low, 0), b.axis.high = d->y_high > b.axis.low ? fmax(d->y_high, 0) : 1;
  b.zero = c->log_y ? 0 : etk__axis_at(&b.axis, 0) * b.columns;
  int row = t->top;
  for (size_t i = 0; i < n; i++) {
    bool fits = row + (int)series + (i + 1 < n) <= t->rows;
    if (!fits && row < t->rows) put_rest(t, row, n - i, n - i == 1 ? "category" : "categories");
    if (!fits) return;
    etk__cells_words(t, row, 0, b.names, -1, d->categories[i], 0);
    for (size_t s = 0; s < series; s++, row++)
      if (i < c->series[s].count && etk__data_shown(d, 1, c->series[s].y[i])) put_bar(&b, row, s, c->series[s].y[i]);
  }
}

/* ---- boxes: lying, a row each ---- */

static void put_box(etk__cells *t, int row, int left, int columns, const etk__axis *axis, const etk__box *box, size_t series) {
  static const char *const fine[] = {"├", "─", "█", "┃", "┤", "∘"}, *const plain[] = {"|", "-", "=", "M", "|", "o"};
  const char *const *with = t->unicode ? fine : plain;
  const double values[] = {box->low, box->lower, box->median, box->upper, box->high};
  int at[5], ink = etk__series_ink(series);
  for (int i = 0; i < 5; i++) at[i] = left + (int)lrint(etk__axis_at(axis, values[i]) * (columns - 1));
  for (size_t i = 0; i < box->count; i++)
    if (box->sorted[i] < box->low || box->sorted[i] > box->high)
      etk__cells_put(t, row, left + (int)lrint(etk__axis_at(axis, box->sorted[i]) * (columns - 1)), with[5], ink);
  for (int k = at[0]; k <= at[4]; k++) etk__cells_put(t, row, k, with[1], ink);
  etk__cells_put(t, row, at[0], with[0], ink);
  etk__cells_put(t, row, at[4], with[4], ink);
  for (int k = at[1]; k <= at[3]; k++) etk__cells_put(t, row, k, t->unicode ? "▒" : with[2], ink);
  etk__cells_put(t, row, at[2], with[3], t->color ? ETK__BOLD : ink);
}

void etk__terminal_boxes(etk__cells *t) {
  const etk__data *d = t->d;
  size_t n = d->chart->series_count;
  if (d->y_label && (t->rows >= 10 || t->rows - t->top >= (int)fmin((double)n, 1000) + 3))
    etk__cells_words(t, t->top++, 0, t->columns, -1, d->y_label, etk__terminal_color(ETK__MUTED));
  int names = etk__names_width(t, d->names, n, t->columns / 3), left = names + 1, columns = t->columns - left, row = t->top;
  etk__axis axis;
  etk__axis_fit(&axis, d->y_low, d->y_high, d->chart->log_y, true, (size_t)fmax(columns / 12.0, 1));
  for (size_t i = 0; i < n; i++, row++) {
    etk__box box;
    if (row + 2 + (i + 1 < n) >= t->rows && i + 1 < n) {
      put_rest(t, row++, n - i, "boxes");
      break;
    }
    if (!etk__box_of(&box, d, &d->chart->series[i])) {
      t->failed = true;
      return;
    }
    etk__cells_words(t, row, 0, names, -1, d->names[i], 0);
    if (box.count) put_box(t, row, left, columns, &axis, &box, i);
  }
  etk__cells_axis(t, row, left, columns, &axis);
}

/* ---- heat maps ---- */

static void put_cell(etk__cells *t, int row, int column, int width, double unit, bool diverging) {
  static const char *const shades[] = {" ", "░", "▒", "▓", "█"}, letters[] = " .:-=+*#%@";
  char letter[2] = {0};
  for (int k = 0; k < width; k++) {
    if (t->color) {
      if (row < t->rows && column + k < t->columns) t->cells[row * t->columns + column + k].back = etk__terminal_rgb(etk__heat_color(unit, diverging));
    } else if (t->unicode) etk__cells_put(t, row, column + k, shades[(int)fmin(unit * 5, 4)], 0);
    else {
      letter[0] = letters[(int)fmin(unit * 10, 9)];
      etk__cells_put(t, row, column + k, letter, 0);
    }
  }
}

static void put_scale(etk__cells *t, int row, int left, double low, double high, bool diverging) {
  char text[2][32];
  etk__number(text[0], low, 0), etk__number(text[1], high, 0);
  int width = t->columns - left - (int)strlen(text[0]) - (int)strlen(text[1]) - 2;
  if (width > 20) width = 20;
  if (width < 3) return;
  etk__cells_put(t, row, left, text[0], etk__terminal_color(ETK__MUTED));
  int at = left + (int)strlen(text[0]) + 1;
  for (int k = 0; k < width; k++) put_cell(t, row, at + k, 1, (k + 0.5) / width, diverging);
  etk__cells_put(t, row, at + width + 1, text[1], etk__terminal_color(ETK__MUTED));
}

static void put_columns(etk__cells *t, int row, int left, const etk__grid *grid, int width) {
  const etk__data *d = t->d;
  int free = left;
  for (size_t k = 0; k < grid->columns; k++) {
    const char *name = d->categories[k * d->category_count / grid->columns];
    int at = left + (int)k * width, size = etk__cells_width(t, name);
    if (at < free) continue;
    if (size > 8 && size > width - 1) size = width - 1 > 8 ? width - 1 : 8;
    if (at + size > t->columns) break;
    etk__cells_words(t, row, at, size, -1, name, etk__terminal_color(ETK__MUTED));
    free = at + size + 1;
  }
}

void etk__terminal_heat(etk__cells *t) {
  const etk__data *d = t->d;
  double low, high;
  bool diverging = etk__heat_range(d, &low, &high);
  int names = etk__names_width(t, d->rows, d->row_count, t->columns / 3), left = names + 1, rows = t->rows - t->top - 2;
  etk__grid grid;
  if (rows < 1) rows = 1;
  if (!etk__grid_of(&grid, d, (size_t)rows, (size_t)(t->columns - left))) {
    t->failed = true;
    return;
  }
  int width = (t->columns - left) / (int)grid.columns;
  if (width > 6) width = 6;
  for (size_t r = 0; r < grid.rows; r++) {
    int row = t->top + (int)r;
    etk__cells_words(t, row, 0, names, 1, d->rows[r * d->row_count / grid.rows], etk__terminal_color(ETK__MUTED));
    for (size_t k = 0; k < grid.columns; k++) {
      double value = grid.values[r * grid.columns + k];
      if (isfinite(value)) put_cell(t, row, left + (int)k * width, width, high > low ? (value / 4 - low / 4) / (high / 4 - low / 4) : 0.5, diverging);
      else etk__cells_put(t, row, left + (int)k * width, t->unicode ? "·" : "?", etk__terminal_color(ETK__MUTED));
    }
  }
  put_columns(t, t->top + (int)grid.rows, left, &grid, width);
  put_scale(t, t->top + (int)grid.rows + 1, left, low, high, diverging);
}
