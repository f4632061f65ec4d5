/* chart_terminal.c: a chart in character cells. Lines and dots are Braille (2 × 4 dots a cell), bars end in eighths of a block, cells of a heat map are
 * two characters wide. Series that colour cannot tell apart are drawn with a character each. */
#include "chart_internal.h"
#include "chart_cells.h"

#include <math.h>

/* ---- the grid of cells ---- */

static uint32_t ascii_of(uint32_t code) {
  static const struct {
    uint32_t code;
    char is;
  } rows[] = {{0xB5, 'u'}, {0x3BC, 'u'}, {0xB1, '+'}, {0xD7, 'x'}, {0xB7, '.'}, {0x2013, '-'}, {0x2014, '-'}, {0x2212, '-'}, {0x2026, '.'}, {0xA0, ' '}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (rows[i].code == code) return (uint32_t)rows[i].is;
  return '?';
}

void etk__cells_put(etk__cells *t, int row, int column, const char *text, int ink) {
  for (size_t size = strlen(text), bytes, i = 0; i < size; i += bytes) {
    uint32_t code;
    bytes = etk_utf8_decode(&code, text + i, size - i);
    if (!bytes) return;
    int width = (int)etk_utf8_width(text + i, bytes);
    if (!t->unicode && code > 126) code = ascii_of(code);
    if (width < 1) continue; /* marks that combine are left out: a cell holds one character */
    if (row < 0 || row >= t->rows || column < 0 || column + width > t->columns) return;
    etk__cell *cell = &t->cells[row * t->columns + column];
    *cell = (etk__cell){.code = code, .ink = ink, .back = cell->back};
    if (width > 1 && t->unicode) cell[1] = (etk__cell){.code = 0, .back = cell[1].back};
    column += t->unicode ? width : 1;
  }
}

int etk__cells_width(const etk__cells *t, const char *text) {
  if (t->unicode) return (int)etk_utf8_width(text, strlen(text));
  int width = 0;
  for (size_t size = strlen(text), bytes, i = 0; i < size; i += bytes) {
    uint32_t code;
    if (!(bytes = etk_utf8_decode(&code, text + i, size - i))) break;
    width += etk_utf8_width(text + i, bytes) > 0;
  }
  return width;
}

/* At most `width` columns of the text; cut with "…" or ".". */
static const char *cut(etk__cells *t, const char *text, int width) {
  if (etk__cells_width(t, text) <= width) return text;
  size_t size = strlen(text), at = 0;
  for (int used = 0; at < size;) {
    uint32_t code;
    size_t bytes = etk_utf8_decode(&code, text + at, size - at);
    int columns = (int)etk_utf8_width(text + at, bytes ? bytes : 1);
    if (!t->unicode && columns > 1) columns = 1;
    if (used + columns > width - 1) break;
    used += columns, at += bytes ? bytes : 1;
  }
  const char *out = width < 1 ? "" : etk_arena_printf(t->d->arena, "%.*s%s", (int)at, text, t->unicode ? "…" : ".");
  if (!out) t->failed = true;
  return out ? out : "";
}

void etk__cells_words(etk__cells *t, int row, int column, int width, int anchor, const char *text, int ink) {
  text = cut(t, text, width);
  int spare = width - etk__cells_width(t, text);
  etk__cells_put(t, row, column + (anchor < 0 ? 0 : anchor ? spare : spare / 2), text, ink);
}

static void write_style(etk_text *out, int ink, int back) {
  etk_text_puts(out, "\033[0");
  if (ink == ETK__BOLD) etk_text_puts(out, ";1");
  else if (ink > 0) etk_text_printf(out, ";38;5;%d", ink);
  if (back > 0) etk_text_printf(out, ";48;5;%d", back);
  etk_text_putc(out, 'm');
}

static void write_cells(etk_text *out, const etk__cells *t, bool color) {
  int last = t->rows;
  for (; last > 0; last--) { /* empty lines at the end say nothing */
    bool used = false;
    for (int k = 0; k < t->columns; k++) used = used || t->cells[(last - 1) * t->columns + k].code != ' ' || t->cells[(last - 1) * t->columns + k].back;
    if (used) break;
  }
  for (int r = 0; r < last; r++) {
    const etk__cell *row = t->cells + r * t->columns;
    int end = t->columns, ink = 0, back = 0;
    while (end > 0 && row[end - 1].code == ' ' && !row[end - 1].back) end--;
    for (int k = 0; k < end; k++) {
      char bytes[4];
      if (!row[k].code) continue; /* the right half of a wide character */
      bool blank = row[k].code == ' ' && !row[k].back && !back;
      if (color && !blank && (row[k].ink != ink || row[k].back != back)) write_style(out, ink = row[k].ink, back = row[k].back);
      etk_text_append(out, bytes, etk_utf8_encode(bytes, row[k].code));
    }
    if (ink || back) etk_text_puts(out, "\033[0m");
    etk_text_putc(out, '\n');
  }
}

/* ---- frame ---- */

static int ink_of(size_t series) { return etk__terminal_color((etk__ink)(ETK__SERIES + series % ETK__COLORS)); }

static const char series_marks[] = "*+ox#%@&=~^v"; /* where colour cannot tell series apart */

static const char *swatch(const etk__cells *t, size_t series, char small[8]) {
  bool bars = t->d->chart->kind == ETK_CHART_GROUPED || t->d->chart->kind == ETK_CHART_BAR;
  if (bars) return etk__bar_fill(t, series);
  if (t->unicode && (t->color || t->d->chart->series_count == 1)) return t->d->chart->kind == ETK_CHART_LINE ? "──" : "•";
  snprintf(small, 8, "%c", series_marks[series % (sizeof series_marks - 1)]);
  return small;
}

static void put_legend(etk__cells *t) {
  const etk__data *d = t->d;
  int column = 0, most = t->rows >= 14 ? 2 : 1, row = t->top, lines = 1;
  size_t named = 0, shown = 0;
  for (size_t i = 0; i < d->chart->series_count; i++) named += d->names[i] != NULL;
  if (!named || t->rows < 9 || d->chart->kind == ETK_CHART_BOX || d->chart->kind == ETK_CHART_HEAT) return;
  for (size_t i = 0; i < d->chart->series_count; i++) {
    char small[8], more[32];
    if (!d->names[i]) continue;
    const char *mark = swatch(t, i, small), *name = cut(t, d->names[i], t->columns * 2 / 3);
    int width = etk__cells_width(t, mark) + 1 + etk__cells_width(t, name);
    snprintf(more, sizeof more, "+%zu more", named - shown);
    bool rest = named - shown > 1 && lines == most;
    if (column && column + width + (rest ? 1 + (int)strlen(more) : 0) > t->columns) {
      if (lines == most) {
        etk__cells_put(t, row, column, more, etk__terminal_color(ETK__MUTED));
        break;
      }
      column = 0, row++, lines++;
    }
    etk__cells_put(t, row, column, mark, ink_of(i));
    etk__cells_put(t, row, column + etk__cells_width(t, mark) + 1, name, 0);
    column += width + 2;
    shown++;
  }
  t->top = row + 1;
}

static void put_head(etk__cells *t) {
  if (t->d->title) etk__cells_words(t, t->top++, 0, t->columns, -1, t->d->title, ETK__BOLD);
  if (t->d->subtitle && t->rows >= 12) etk__cells_words(t, t->top++, 0, t->columns, -1, t->d->subtitle, etk__terminal_color(ETK__MUTED));
  put_legend(t);
}

/* ---- lines and dots ---- */

struct canvas {
  etk__cells *t;
  int left, top, columns, rows; /* in cells */
  int across, down;             /* dots a cell */
  etk__axis x, y;
  unsigned char *dots; /* Braille bits */
  char mark;
  int ink;
};

static void put_dot(struct canvas *c, double x, double y) {
  int px = (int)fmin(fmax(floor(x), 0), c->columns * c->across - 1), py = (int)fmin(fmax(floor(y), 0), c->rows * c->down - 1);
  etk__cell *cell = &c->t->cells[(c->top + py / c->down) * c->t->columns + c->left + px / c->across];
  static const unsigned char bits[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
  if (c->across == 1) {
    *cell = (etk__cell){.code = (uint32_t)c->mark, .ink = c->ink};
    return;
  }
  bool braille = cell->code >= 0x2800 && cell->code < 0x2900;
  cell->code = (braille ? cell->code : 0x2800) | bits[py % 4][px % 2];
  cell->ink = c->ink;
}

static double dot_x(const struct canvas *c, double x) { return etk__axis_at(&c->x, x) * (c->columns * c->across - 1) + 0.5; }
static double dot_y(const struct canvas *c, double y) { return (1 - etk__axis_at(&c->y, y)) * (c->rows * c->down - 1) + 0.5; }

static void put_segment(struct canvas *c, double x0, double y0, double x1, double y1) {
  int steps = (int)fmax(fabs(x1 - x0), fabs(y1 - y0)) + 1;
  for (int i = 0; i <= steps; i++) put_dot(c, x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps);
}

static void put_series(struct canvas *c, size_t index) {
  const etk_chart_series *s = &c->t->d->chart->series[index];
  bool lines = c->t->d->chart->kind == ETK_CHART_LINE, joined = false;
  double x0 = 0, y0 = 0;
  c->ink = ink_of(index), c->mark = series_marks[index % (sizeof series_marks - 1)];
  for (size_t i = 0; i < s->count; i++) {
    double x = etk__data_x(s, i);
    if (!etk__data_shown(c->t->d, x, s->y[i])) {
      joined = false;
      continue;
    }
    double px = dot_x(c, x), py = dot_y(c, s->y[i]);
    bool ends = !lines && s->low && etk__data_shown(c->t->d, x, s->low[i]) && etk__data_shown(c->t->d, x, s->high[i]);
    if (ends && c->across == 2) put_segment(c, px, dot_y(c, s->low[i]), px, dot_y(c, s->high[i]));
    if (lines && joined) put_segment(c, x0, y0, px, py);
    else put_dot(c, px, py);
    x0 = px, y0 = py, joined = true;
  }
}

static int widest(const etk__cells *t, const etk__axis *axis) {
  int most = 0;
  for (size_t i = 0; i < axis->count; i++)
    if (!axis->ticks[i].minor && etk__cells_width(t, axis->ticks[i].label) > most) most = etk__cells_width(t, axis->ticks[i].label);
  return most;
}

/* The axis below a canvas of `columns` cells: a line with ticks, and numbers that do not touch. */
static void put_x_axis(etk__cells *t, int row, int left, int columns, const etk__axis *axis) {
  int muted = etk__terminal_color(ETK__MUTED), free = 0;
  for (int k = 0; k < columns; k++) etk__cells_put(t, row, left + k, t->unicode ? "─" : "-", muted);
  for (size_t i = 0; i < axis->count; i++) {
    const etk__tick *tick = &axis->ticks[i];
    double at = etk__axis_at(axis, tick->value);
    if (tick->minor || at < -1e-9 || at > 1 + 1e-9) continue;
    int column = left + (int)lrint(at * (columns - 1)), width = etk__cells_width(t, tick->label), from = column - width / 2;
    if (from + width > t->columns) from = t->columns - width;
    if (from < free) continue;
    etk__cells_put(t, row, column, t->unicode ? "┬" : "+", muted);
    etk__cells_put(t, row + 1, from, tick->label, muted);
    free = from + width + 1;
  }
}

static void put_y_axis(struct canvas *c, int width) {
  etk__cells *t = c->t;
  int muted = etk__terminal_color(ETK__MUTED), before = c->top + c->rows + 1;
  for (int r = 0; r < c->rows; r++) etk__cells_put(t, c->top + r, c->left - 1, t->unicode ? "│" : "|", muted);
  etk__cells_put(t, c->top + c->rows, c->left - 1, t->unicode ? "└" : "+", muted);
  for (size_t i = 0; i < c->y.count; i++) {
    double at = etk__axis_at(&c->y, c->y.ticks[i].value);
    if (c->y.ticks[i].minor || at < -1e-9 || at > 1 + 1e-9) continue;
    int row = c->top + (int)floor(dot_y(c, c->y.ticks[i].value)) / c->down;
    if (row > before - (c->rows > 6 ? 2 : 1)) continue;
    etk__cells_words(t, row, c->left - 1 - width, width, 1, c->y.ticks[i].label, muted);
    etk__cells_put(t, row, c->left - 1, t->unicode ? "┤" : "+", muted);
    before = row;
  }
}

/* As many round numbers as stand below `columns` cells with two blanks between them. */
static void fit_below(const etk__cells *t, etk__axis *axis, double low, double high, bool log, bool round, int columns) {
  for (int wanted = columns / 6 > 12 ? 12 : columns / 6; ; wanted--) {
    double before = NAN, least = 1e9;
    etk__axis_fit(axis, low, high, log, round, wanted > 0 ? (size_t)wanted : 1);
    for (size_t i = 0; i < axis->count; i++) {
      if (axis->ticks[i].minor) continue;
      double at = etk__axis_at(axis, axis->ticks[i].value) * (columns - 1);
      least = fmin(least, isnan(before) ? least : at - before);
      before = at;
    }
    if (wanted <= 1 || (least >= widest(t, axis) + 2 && (!t->d->whole_x || etk__axis_whole(axis)))) return;
  }
}

static void draw_canvas(etk__cells *t) {
  const etk__data *d = t->d;
  bool braille = t->unicode && (t->color || d->chart->series_count <= 1);
  struct canvas c = {.t = t, .across = braille ? 2 : 1, .down = braille ? 4 : 1, .top = t->top};
  bool label = d->x_label && t->rows >= 10;
  if (d->y_label && t->rows >= 10) etk__cells_words(t, c.top++, 0, t->columns, -1, d->y_label, etk__terminal_color(ETK__MUTED));
  c.rows = t->rows - c.top - 2 - label;
  if (c.rows < 1) c.rows = 1;
  etk__axis_fit(&c.y, d->y_low, d->y_high, d->chart->log_y, true, (size_t)fmax(c.rows / 3.0, 2));
  int width = widest(t, &c.y);
  if (width > t->columns / 2) width = t->columns / 2;
  c.left = width + 1, c.columns = t->columns - c.left;
  fit_below(t, &c.x, d->x_low, d->x_high, d->chart->log_x, d->chart->kind == ETK_CHART_SCATTER, c.columns);
  for (size_t i = d->chart->series_count; i--;) put_series(&c, i); /* the first lies on top */
  put_y_axis(&c, width);
  put_x_axis(t, c.top + c.rows, c.left, c.columns, &c.x);
  if (label) etk__cells_words(t, t->rows - 1, c.left, c.columns, 0, d->x_label, 0);
}

/* ---- all kinds ---- */

int etk__names_width(const etk__cells *t, const char *const *names, size_t count, int most) {
  int width = 0;
  for (size_t i = 0; i < count; i++)
    if (etk__cells_width(t, names[i]) > width) width = etk__cells_width(t, names[i]);
  return width < most ? width : most;
}

int etk__series_ink(size_t series) { return ink_of(series); }
void etk__cells_axis(etk__cells *t, int row, int left, int columns, const etk__axis *axis) { put_x_axis(t, row, left, columns, axis); }

static void draw(etk__cells *t) {
  put_head(t);
  if (t->d->empty) {
    etk__cells_words(t, t->top + (t->rows > t->top + 3), 0, t->columns, 0, "no data", etk__terminal_color(ETK__MUTED));
    return;
  }
  if (t->d->chart->kind <= ETK_CHART_SCATTER) draw_canvas(t);
  else if (t->d->chart->kind == ETK_CHART_HEAT) etk__terminal_heat(t);
  else if (t->d->chart->kind == ETK_CHART_BOX) etk__terminal_boxes(t);
  else etk__terminal_bars(t);
}

etk_status etk_chart_terminal(etk_error *e, etk_text *out, const etk_chart *chart, int columns, int rows, bool color, bool unicode) {
  etk_arena arena = ETK_ARENA_INIT;
  etk__data data;
  if (!columns) columns = 80;
  if (!rows) rows = 20;
  if (columns < 20 || rows < 6 || columns > 1000 || rows > 1000)
    return etk_fail(e, ETK_E_INVALID, "a chart of %d × %d characters; it can be 20 × 6 to 1000 × 1000", columns, rows);
  etk_status status = etk__data_read(e, &data, &arena, chart);
  etk__cells t = {.d = &data, .columns = columns, .rows = rows, .color = color, .unicode = unicode};
  if (!status) t.cells = etk_arena_array(&arena, (size_t)columns * (size_t)rows, sizeof *t.cells);
  if (!status && !t.cells) status = etk_fail_memory(e);
  if (!status) {
    for (int i = 0; i < columns * rows; i++) t.cells[i].code = ' ';
    draw(&t);
    if (!t.failed) write_cells(out, &t, color);
    if (t.failed || out->failed) status = etk_fail_memory(e);
  }
  etk_arena_fini(&arena);
  return status;
}
