/* etk/chart.h (libetk-media): charts as SVG, PNG and text for a terminal. One layout makes all three, so that they say the same.
 *
 * Axes get round ticks; numbers that are not finite leave a gap; colours are told apart by people who see few (Okabe and Ito, 2008) and series also by
 * dashes or markers. Text is escaped; a PNG draws ASCII and a few symbols, other characters as boxes. More points than pixels are thinned so that the
 * extremes of each column stay. Everything is borrowed for the call. */
#ifndef ETK_CHART_H
#define ETK_CHART_H

#include "status.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_chart_kind {
  ETK_CHART_LINE,    /* series of (x, y), with a band from low to high where given */
  ETK_CHART_SCATTER, /* series of (x, y), with error bars from low to high where given */
  ETK_CHART_BAR,     /* one series, a bar a category; error bars from low to high */
  ETK_CHART_GROUPED, /* several series, bars side by side in each category */
  ETK_CHART_BOX,     /* each series is one box: `y` holds its samples (quartiles, whiskers at 1.5 interquartile ranges, outliers as points) */
  ETK_CHART_HEAT     /* values[row][column], rows named by `rows`, columns by `categories` */
} etk_chart_kind;
typedef enum etk_chart_theme { ETK_CHART_LIGHT, ETK_CHART_DARK, ETK_CHART_AUTO /* SVG: follows the reader's prefers-color-scheme; PNG: light */ } etk_chart_theme;

typedef struct etk_chart_series {
  const char *name;          /* for the legend; NULL: none */
  const double *x, *y;       /* x NULL: 0, 1, 2 … */
  const double *low, *high;  /* both or neither */
  size_t count;
} etk_chart_series;

typedef struct etk_chart {
  uint32_t struct_size;
  etk_chart_kind kind;
  const char *title, *subtitle, *x_label, *y_label; /* NULL: none */
  const etk_chart_series *series;
  size_t series_count;
  const char *const *categories; /* BAR, GROUPED: one for each y; HEAT: columns */
  size_t category_count;
  const char *const *rows;       /* HEAT */
  size_t row_count;
  const double *values;          /* HEAT: row_count × category_count, row-major */
  bool log_x, log_y;             /* values not above 0 leave a gap */
  bool from_zero;                /* LINE, SCATTER, BOX: the y axis includes 0; bars always do */
  etk_chart_theme theme;
  int width, height;             /* CSS pixels, 60 × 40 to 10000 × 10000; 0: 720 × 400 */
} etk_chart;
#define ETK_CHART_INIT {sizeof(etk_chart), ETK_CHART_LINE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, false, false, ETK_CHART_AUTO, 0, 0}

/* A standalone SVG 1.1 document with <title> and <desc> for screen readers; `inline_` leaves out the XML declaration so that it stands in HTML. */
etk_status etk_chart_svg(etk_error *e, etk_text *out, const etk_chart *chart, bool inline_);
/* 8-bit RGB, `scale` pixels a CSS pixel (2 for print and dense screens); *bytes with etk_free. */
etk_status etk_chart_png(etk_error *e, char **bytes, size_t *size, const etk_chart *chart, double scale);
/* For a terminal: at most `columns` × `rows` characters (0: 80 × 20; at least 20 × 6), Braille or block characters, or ASCII without `unicode`;
 * ANSI colours where `color`. Ends with a newline. */
etk_status etk_chart_terminal(etk_error *e, etk_text *out, const etk_chart *chart, int columns, int rows, bool color, bool unicode);
/* To a file, by its end: .svg or .png (at two pixels a CSS pixel); atomic. */
etk_status etk_chart_write(etk_error *e, const char *path, const etk_chart *chart, bool replace);
/* The same for several charts of one width, one below the other. */
etk_status etk_chart_write_all(etk_error *e, const char *path, const etk_chart *charts, size_t count, bool replace);

#ifdef __cplusplus
}
#endif
#endif
