/* chart_internal.h: what the files of a chart share. chart_data reads and checks, chart_scale makes axes, chart_layout and chart_marks place shapes in a
 * scene, chart_svg and chart_png draw scenes. chart_terminal places the same data on the same axes in character cells. */
#ifndef ETK_CHART_INTERNAL_H
#define ETK_CHART_INTERNAL_H

#include "etk/alloc.h"
#include "etk/chart.h"

/* ---- axes ---- */

enum { ETK__TICKS = 96 };
typedef struct etk__tick {
  double value;
  bool minor; /* without a label */
  char label[32];
} etk__tick;
typedef struct etk__axis {
  double low, high; /* logarithms to base 10 where log */
  bool log;
  etk__tick ticks[ETK__TICKS];
  size_t count;
} etk__axis;
/* Round ticks, about `wanted`, for data from low to high (low > high: none). `round` moves the ends out to ticks. On a log axis both are above 0. */
void etk__axis_fit(etk__axis *axis, double low, double high, bool log, bool round, size_t wanted);
double etk__axis_at(const etk__axis *axis, double value); /* 0 at the low end, 1 at the high end; NaN for what has no place */
bool etk__axis_whole(const etk__axis *axis); /* all ticks are whole numbers */
/* Short: 12.5k, 0.001, 2e-5; digits as far as a step of `step` asks (0: 4 significant digits). */
void etk__number(char out[32], double value, double step);

/* ---- data ---- */

typedef struct etk__data {
  const etk_chart *chart;  /* as given; text is taken from the copies below */
  etk_arena *arena;
  const char *title, *subtitle, *x_label, *y_label; /* clean UTF-8 without control characters; NULL: none */
  const char **names;      /* one a series; NULL: none */
  const char **categories; /* bars, boxes, columns; numbers where none were given */
  const char **rows;
  size_t category_count, row_count, shown_series;
  double x_low, x_high, y_low, y_high; /* of what can be shown; low > high: nothing */
  bool whole_x;            /* every x is a whole number: so are its ticks */
  bool empty;
  char *summary;           /* one paragraph for <desc> */
} etk__data;
/* Checks the chart and measures it. Everything lies in the arena. */
etk_status etk__data_read(etk_error *e, etk__data *out, etk_arena *arena, const etk_chart *chart);
double etk__data_x(const etk_chart_series *series, size_t i);
bool etk__data_shown(const etk__data *data, double x, double y); /* finite, and above 0 where the axis is logarithmic */

typedef struct etk__box {
  size_t count; /* finite samples; 0: nothing to draw */
  double low, lower, median, upper, high; /* whiskers and quartiles */
  const double *sorted;                   /* the samples; those beyond the whiskers are outliers */
} etk__box;
bool etk__box_of(etk__box *out, const etk__data *data, const etk_chart_series *series); /* false: out of memory */

/* Cells of a heat map, averaged down to at most `rows` × `columns`; NaN: nothing to show. */
typedef struct etk__grid {
  size_t rows, columns;
  double *values;
} etk__grid;
bool etk__grid_of(etk__grid *out, const etk__data *data, size_t rows, size_t columns);

/* ---- colours ---- */

typedef enum etk__ink { ETK__PAPER, ETK__TEXT, ETK__MUTED, ETK__GRID, ETK__AXIS, ETK__SERIES, ETK__RGB = ETK__SERIES + 8 } etk__ink;
enum { ETK__COLORS = 8, ETK__DASHES = 7, ETK__MARKERS = 7 };
uint32_t etk__color(etk__ink ink, bool dark);         /* 0xRRGGBB */
uint32_t etk__heat_color(double unit, bool diverging); /* unit in 0..1; equal steps look equal (OKLab) */
double etk__lightness(uint32_t rgb);                  /* OKLab L, 0..1 */
extern const double etk__dashes[ETK__DASHES][6];      /* on, off … in CSS pixels; all 0: solid */
int etk__terminal_color(etk__ink ink);                /* of the 256 */
int etk__terminal_rgb(uint32_t rgb);

/* ---- text ---- */

double etk__text_width(const char *text, size_t size, double font);   /* in CSS pixels, for a font of `font` pixels */
char *etk__text_clean(etk_arena *arena, const char *text);            /* valid UTF-8 without control and direction characters */
char *etk__text_fit(etk_arena *arena, const char *text, double width, double font); /* cut with "…" */
/* Strokes of a text of our own design: calls line() for each polyline (x right, y down, origin at the start of the baseline). `snap`: rows of pixels
 * fall on whole steps of 1/scale. */
typedef struct etk__pen {
  void (*line)(void *user, const double *points, size_t count);
  void *user;
  double font, scale;
} etk__pen;
double etk__pen_width(const etk__pen *pen, bool bold);
void etk__text_draw(const etk__pen *pen, const char *text);

/* ---- scenes ---- */

typedef enum etk__kind { ETK__RECT, ETK__LINE, ETK__AREA, ETK__DOTS, ETK__WORDS } etk__kind;
typedef struct etk__shape {
  etk__kind kind;
  etk__ink ink;
  uint32_t rgb;      /* for ETK__RGB */
  double opacity;
  double x, y, w, h; /* RECT; WORDS: x, y of the baseline; DOTS: w is the radius */
  double stroke;     /* LINE: width */
  int style;         /* LINE: dash; DOTS: marker */
  size_t first, count; /* points of LINE, AREA, DOTS: pairs in scene->points */
  const char *text;
  double font, angle; /* degrees, counter-clockwise */
  int anchor;         /* -1 start, 0 middle, 1 end */
  bool bold;
  int series;         /* -1: none */
} etk__shape;
typedef struct etk__scene {
  etk_arena *arena;
  etk__shape *shapes;
  size_t count, capacity;
  double *points;
  size_t point_count, point_capacity;
  bool failed;
  etk__shape spare; /* written to once memory ran out */
  int width, height, series;
  struct { double x, y, w, h; } plot; /* where the data stands */
  const etk__data *data;
} etk__scene;
void etk__scene_free(etk__scene *scene);
etk__shape *etk__scene_add(etk__scene *scene, etk__kind kind, etk__ink ink); /* never NULL: a spare one once failed */
void etk__scene_rect(etk__scene *scene, etk__ink ink, double x, double y, double w, double h);
void etk__scene_point(etk__scene *scene, double x, double y); /* to the shape added last */
void etk__scene_words(etk__scene *scene, etk__ink ink, const char *text, double x, double y, double font, int anchor);
etk_status etk__scene_make(etk_error *e, etk__scene *out, const etk__data *data);
/* The marks of the data, inside scene->plot. */
void etk__marks_draw(etk__scene *scene, const etk__axis *x, const etk__axis *y);
void etk__marks_heat(etk__scene *scene, const etk__grid *grid, double low, double high);
bool etk__heat_range(const etk__data *data, double *low, double *high); /* true: around zero, for a diverging scale */

/* Several charts of one width, one below the other. */
etk_status etk__chart_pngs(etk_error *e, char **bytes, size_t *size, const etk_chart *charts, size_t count, double scale);
etk_status etk__chart_svgs(etk_error *e, etk_text *out, const etk_chart *charts, size_t count);

/* ---- drawing ---- */

typedef struct etk__raster etk__raster;
etk__raster *etk__raster_new(size_t width, size_t height, uint32_t rgb);
void etk__raster_free(etk__raster *raster);
const unsigned char *etk__raster_row(const etk__raster *raster, size_t y); /* RGB */
void etk__raster_rect(etk__raster *raster, double x, double y, double w, double h, uint32_t rgb, double opacity);
/* Shapes gather as coverage and are painted at once, so that what overlaps inside one is not painted twice. Polygons count non-zero. */
void etk__raster_polygon(etk__raster *raster, const double *points, size_t count);
void etk__raster_capsule(etk__raster *raster, double x0, double y0, double x1, double y1, double radius);
void etk__raster_paint(etk__raster *raster, uint32_t rgb, double opacity);

#endif
