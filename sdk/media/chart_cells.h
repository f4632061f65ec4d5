/* chart_cells.h: a page of character cells that a chart is drawn on. */
#ifndef ETK_CHART_CELLS_H
#define ETK_CHART_CELLS_H

#include "chart_internal.h"

enum { ETK__BOLD = -1 }; /* an ink; others are of the 256, 0: the terminal's own */
typedef struct etk__cell {
  uint32_t code; /* 0: the right half of a wide character */
  int ink, back;
} etk__cell;
typedef struct etk__cells {
  const etk__data *d;
  int columns, rows, top; /* top: the first row that is free */
  bool color, unicode, failed;
  etk__cell *cells;
} etk__cells;
/* Clipped at the edges. words: cut to `width`, anchored as shapes are (-1, 0, 1). */
void etk__cells_put(etk__cells *t, int row, int column, const char *text, int ink);
void etk__cells_words(etk__cells *t, int row, int column, int width, int anchor, const char *text, int ink);
int etk__cells_width(const etk__cells *t, const char *text);
void etk__cells_axis(etk__cells *t, int row, int left, int columns, const etk__axis *axis); /* two rows: a line with ticks, numbers */
int etk__names_width(const etk__cells *t, const char *const *names, size_t count, int most);
int etk__series_ink(size_t series);
const char *etk__bar_fill(const etk__cells *t, size_t series); /* one full cell of its bar */

void etk__terminal_bars(etk__cells *t);
void etk__terminal_boxes(etk__cells *t);
void etk__terminal_heat(etk__cells *t);

#endif
