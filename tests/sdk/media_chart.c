/* Tests of etk/chart.h: charts as SVG, PNG and text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../interpose.h"
#include "etk/chart.h"
#include "etk/fs.h"
#include "etk/rng.h"
#include "media/chart_internal.h"
#include <math.h>
#include <png.h>
#include <unistd.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* ---- helpers ---- */

static etk_chart chart_of(etk_chart_kind kind, const etk_chart_series *series, size_t count) {
  etk_chart chart = ETK_CHART_INIT;
  chart.kind = kind, chart.series = series, chart.series_count = count, chart.theme = ETK_CHART_LIGHT;
  return chart;
}

static char *svg_of(const etk_chart *chart) {
  etk_text text = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (etk_chart_svg(&e, &text, chart, false)) fail_msg("%s", e.message);
  return etk_text_take(&text);
}

static char *terminal_of(const etk_chart *chart, int columns, int rows, bool color, bool unicode) {
  etk_text text = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (etk_chart_terminal(&e, &text, chart, columns, rows, color, unicode)) fail_msg("%s", e.message);
  return etk_text_take(&text);
}

static double attribute(const char *element, const char *name) {
  char key[32];
  snprintf(key, sizeof key, " %s=\"", name);
  const char *at = strstr(element, key);
  if (!at || at > strchr(element, '>')) fail_msg("no %s in %.80s", name, element);
  return strtod(at + strlen(key), NULL);
}

static size_t occurrences(const char *text, const char *word) {
  size_t count = 0;
  for (const char *at = text; (at = strstr(at, word)); at++) count++;
  return count;
}

/* ---- axes ---- */

static void ticks_are_round_and_their_words_short(void **state) {
  (void)state;
  static const struct {
    double low, high;
    bool log;
    size_t wanted;
    const char *labels; /* of the major ticks */
  } rows[] = {{0, 10, false, 5, "0 2 4 6 8 10"},
              {0.1, 0.93, false, 5, "0 0.2 0.4 0.6 0.8 1.0"},
              {-3, 4, false, 4, "-4 -2 0 2 4"},
              {0, 2.4e6, false, 5, "0 500k 1M 1.5M 2M 2.5M"},
              {0, 9e10, false, 5, "0 20G 40G 60G 80G 100G"},
              {1000, 5000, false, 4, "1000 2000 3000 4000 5000"},
              {0, 2e-5, false, 4, "0 5e-6 1e-5 1.5e-5 2e-5"},
              {0, 0.001, false, 2, "0 0.0005 0.0010"},
              {1e300, 9e300, false, 4, "0 2e300 4e300 6e300 8e300 1e301"},
              {1, 1000, true, 5, "1 10 100 1000"},
              {1e-4, 3e6, true, 6, "1e-4 0.01 1 100 10k 1M 100M"},
              {1, 100, true, 9, "1 2 5 10 20 50 100"},
              {5, 5, false, 4, "4.5 5.0 5.5"},
              {0, 0, false, 2, "0 0.5 1.0"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk__axis axis;
    char seen[512] = "";
    size_t used = 0;
    etk__axis_fit(&axis, rows[i].low, rows[i].high, rows[i].log, true, rows[i].wanted);
    for (size_t k = 0; k < axis.count; k++)
      if (!axis.ticks[k].minor) used += (size_t)snprintf(seen + used, sizeof seen - used, "%s%s", used ? " " : "", axis.ticks[k].label);
    assert_string_equal(seen, rows[i].labels);
  }
}

static void ticks_cover_any_data(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(7, 0);
  for (int i = 0; i < 20000; i++) {
    double a = (etk_rng_uniform(&rng) * 2 - 1) * pow(10, etk_rng_uniform(&rng) * 600 - 300), b = (etk_rng_uniform(&rng) * 2 - 1) * pow(10, etk_rng_uniform(&rng) * 600 - 300);
    bool log = i % 3 == 0;
    if (log) a = fabs(a), b = fabs(b);
    double low = fmin(a, b), high = fmax(a, b);
    etk__axis axis;
    etk__axis_fit(&axis, low, high, log, true, 1 + (size_t)i % 9);
    assert_true(axis.count >= 1 && isfinite(axis.low) && isfinite(axis.high) && axis.low < axis.high);
    double first = etk__axis_at(&axis, low), last = etk__axis_at(&axis, high);
    if (!(first >= -1e-9 && last <= 1 + 1e-9 && first <= last)) fail_msg("%g to %g%s: at %g and %g", low, high, log ? " (log)" : "", first, last);
    for (size_t k = 1; k < axis.count; k++) assert_true(axis.ticks[k].value > axis.ticks[k - 1].value);
  }
}

static void numbers_are_as_short_as_they_can_be(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } rows[] = {{0, "0"}, {-0.0, "0"}, {1, "1"}, {12.5, "12.5"}, {-3, "-3"}, {9999, "9999"}, {12345, "12.35k"}, {1e6, "1M"}, {2.5e9, "2.5G"}, {1e15, "1e15"}, {0.00012, "1.2e-4"}, {NAN, "nan"}, {-INFINITY, "-inf"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[32];
    etk__number(text, rows[i].value, 0);
    assert_string_equal(text, rows[i].text);
  }
}

/* ---- data ---- */

static void boxes_are_tukeys(void **state) {
  (void)state;
  /* 1 … 9: quartiles 3, 5, 7. 1 2 3 4 100: quartiles 2, 3, 4, so the fences are at -1 and 7. Of two values: a quarter of the way in. */
  static const double nine[] = {9, 1, 8, 2, 7, 3, 6, 4, 5}, far[] = {100, NAN, 1, 2, INFINITY, 3, 4}, two[] = {0, 4};
  static const struct {
    const double *y;
    size_t count, finite;
    double low, lower, median, upper, high;
  } rows[] = {{nine, 9, 9, 1, 3, 5, 7, 9}, {far, 7, 5, 1, 2, 3, 4, 4}, {two, 2, 2, 0, 1, 2, 3, 4}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_arena arena = ETK_ARENA_INIT;
    etk_chart_series series = {.name = "s", .y = rows[i].y, .count = rows[i].count};
    etk_chart chart = chart_of(ETK_CHART_BOX, &series, 1);
    etk__data data;
    etk__box box;
    assert_int_equal(etk__data_read(NULL, &data, &arena, &chart), ETK_OK);
    assert_true(etk__box_of(&box, &data, &series));
    assert_int_equal(box.count, rows[i].finite);
    const double seen[] = {box.low, box.lower, box.median, box.upper, box.high}, want[] = {rows[i].low, rows[i].lower, rows[i].median, rows[i].upper, rows[i].high};
    for (int k = 0; k < 5; k++) assert_float_equal(seen[k], want[k], 1e-12);
    etk_arena_fini(&arena);
  }
}

static void heat_colours_are_even_to_the_eye(void **state) {
  (void)state;
  /* OKLab lightness of the primaries, from its definition's table of colours. */
  assert_float_equal(etk__lightness(0xFFFFFF), 1, 1e-3);
  assert_float_equal(etk__lightness(0x000000), 0, 1e-3);
  assert_float_equal(etk__lightness(0xFF0000), 0.6280, 1e-3);
  assert_float_equal(etk__lightness(0x00FF00), 0.8664, 1e-3);
  assert_float_equal(etk__lightness(0x0000FF), 0.4520, 1e-3);
  double begin = etk__lightness(etk__heat_color(0, false)), end = etk__lightness(etk__heat_color(1, false));
  assert_true(end - begin > 0.6);
  for (int i = 0; i <= 50; i++) assert_float_equal(etk__lightness(etk__heat_color(i / 50.0, false)), begin + (end - begin) * i / 50, 0.006);
  for (int i = 0; i <= 20; i++) /* the same on both sides of zero */
    assert_float_equal(etk__lightness(etk__heat_color(0.5 + i / 40.0, true)), etk__lightness(etk__heat_color(0.5 - i / 40.0, true)), 0.006);
}

static void series_differ_without_colour(void **state) {
  (void)state;
  for (size_t i = 0; i < 50; i++)
    for (size_t k = 0; k < i; k++)
      assert_true(i % ETK__COLORS != k % ETK__COLORS || i % ETK__DASHES != k % ETK__DASHES);
  for (size_t i = 1; i < ETK__DASHES; i++)
    for (size_t k = 0; k < i; k++) assert_memory_not_equal(etk__dashes[i], etk__dashes[k], sizeof etk__dashes[0]);
}

/* ---- SVG ---- */

static void bars_are_as_high_as_their_values(void **state) {
  (void)state;
  static const double y[] = {1, 2, 4, -2, NAN};
  etk_chart_series series = {.y = y, .count = 5};
  etk_chart chart = chart_of(ETK_CHART_BAR, &series, 1);
  char *svg = svg_of(&chart), *at = strstr(svg, "data-series");
  double height[4], top[4];
  assert_non_null(at);
  for (int i = 0; i < 4; i++) {
    at = strstr(at + 1, "<rect");
    assert_non_null(at);
    height[i] = attribute(at, "height"), top[i] = attribute(at, "y");
    assert_true(attribute(at, "width") > 10);
  }
  assert_true(strstr(at + 1, "</g>") && (!strstr(at + 1, "<rect") || strstr(at + 1, "<rect") > strstr(at + 1, "</g>"))); /* no bar for NaN */
  assert_float_equal(height[1], 2 * height[0], 0.03);
  assert_float_equal(height[2], 4 * height[0], 0.05);
  assert_float_equal(height[3], height[1], 0.03);
  for (int i = 0; i < 3; i++) assert_float_equal(top[i] + height[i], top[3], 0.03); /* all stand on zero */
  etk_free(svg);
}

static void points_stand_where_the_axis_says(void **state) {
  (void)state;
  static const double x[] = {0, 25, 100}, y[] = {0, 5, 10};
  etk_chart_series series = {.name = "s", .x = x, .y = y, .count = 3};
  etk_chart chart = chart_of(ETK_CHART_SCATTER, &series, 1);
  char *svg = svg_of(&chart), *at = strstr(svg, "<title>s</title>");
  double cx[3], cy[3];
  at = strstr(at + 1, "<title>s</title>"); /* the first is the legend's */
  for (int i = 0; i < 3; i++) {
    at = strstr(at + 1, "<circle");
    assert_non_null(at);
    cx[i] = attribute(at, "cx"), cy[i] = attribute(at, "cy");
  }
  assert_float_equal((cx[1] - cx[0]) / (cx[2] - cx[0]), 0.25, 1e-3);
  assert_float_equal((cy[1] - cy[0]) / (cy[2] - cy[0]), 0.5, 1e-3);
  assert_true(cx[0] > 0 && cx[2] < 720 && cy[2] > 0 && cy[0] < 400 && cy[2] < cy[0]);
  etk_free(svg);
}

static void what_is_not_finite_leaves_a_gap(void **state) {
  (void)state;
  static const double y[] = {1, 2, NAN, 3, 4, INFINITY, 5, 6}, negative[] = {1, 10, -5, 100, 1000};
  etk_chart_series series = {.y = y, .count = 8};
  etk_chart chart = chart_of(ETK_CHART_LINE, &series, 1);
  char *svg = svg_of(&chart);
  assert_int_equal(occurrences(svg, "<path fill=\"none\""), 3);
  etk_free(svg);
  series = (etk_chart_series){.y = negative, .count = 5};
  chart.log_y = true;
  svg = svg_of(&chart);
  assert_int_equal(occurrences(svg, "<path fill=\"none\""), 2);
  etk_free(svg);
}

static void text_is_escaped_and_nothing_runs(void **state) {
  (void)state;
  static const double y[] = {1, 2};
  etk_chart_series series[] = {{.name = "</text><script>alert(1)</script>", .y = y, .count = 2}, {.name = "a\x1B[31m\x01\xFF\"'&", .y = y, .count = 2}};
  etk_chart chart = chart_of(ETK_CHART_LINE, series, 2);
  chart.title = "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xE2\x80\xAE \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80 <b>";
  char *svg = svg_of(&chart), *text = terminal_of(&chart, 80, 20, false, true);
  assert_null(strstr(svg, "<script"));
  assert_non_null(strstr(svg, "&lt;script&gt;"));
  assert_non_null(strstr(svg, "a [31m \xEF\xBF\xBD&quot;&#39;&amp;"));
  assert_non_null(strstr(svg, "\xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80 &lt;b&gt;"));
  assert_null(strstr(svg, "\xE2\x80\xAE")); /* right-to-left override */
  assert_true(etk_utf8_valid(svg, strlen(svg)));
  assert_null(strchr(text, 27));
  assert_true(etk_utf8_valid(text, strlen(text)));
  etk_free(svg);
  etk_free(text);
}

static void a_hundred_thousand_points_stay_small_and_keep_their_spike(void **state) {
  (void)state;
  enum { MANY = 100000 };
  double *y = etk_calloc(MANY, sizeof *y);
  for (int i = 0; i < MANY; i++) y[i] = sin(i * 0.37);
  y[77777] = 100;
  etk_chart_series series = {.y = y, .count = MANY};
  etk_chart chart = chart_of(ETK_CHART_LINE, &series, 1);
  char *svg = svg_of(&chart);
  assert_true(strlen(svg) < 100000);
  /* The scale ends at 100, so the spike touches the top of the plot: the least y of all points of the path. */
  const char *path = strstr(strstr(svg, "data-series"), "d=\"M");
  double least = 1e9, left = strtod(path + 4, NULL), right = left, at = 0;
  for (const char *p = path + 3; *p != '"';) {
    char *end;
    double px = strtod(p + 1, &end), py = strtod(end, &end);
    if (py < least) least = py, at = px;
    right = px, p = end;
  }
  assert_float_equal((at - left) / (right - left), 0.77777, 0.002);
  const char *top = strstr(svg, ">100</text>");
  assert_non_null(top);
  while (top > svg && strncmp(top, "<text", 5)) top--;
  assert_float_equal(least, attribute(top, "y") - 4.5, 1);
  etk_free(svg);
  etk_free(y);
}

static void a_theme_is_fixed_or_the_readers(void **state) {
  (void)state;
  etk_chart chart = chart_of(ETK_CHART_LINE, NULL, 0);
  char *light = svg_of(&chart);
  chart.theme = ETK_CHART_DARK;
  char *dark = svg_of(&chart);
  chart.theme = ETK_CHART_AUTO;
  char *both = svg_of(&chart);
  assert_non_null(strstr(light, "fill=\"#ffffff\""));
  assert_null(strstr(light, "<style>"));
  assert_null(strstr(dark, "fill=\"#ffffff\""));
  assert_non_null(strstr(both, "prefers-color-scheme:dark"));
  assert_non_null(strstr(light, "no data"));
  assert_non_null(strstr(light, "<desc>"));
  etk_free(light);
  etk_free(dark);
  etk_free(both);
}

/* ---- pixels ---- */

static void coverage_is_area(void **state) {
  (void)state;
  static const double triangle[] = {3.3, 2.1, 17.9, 5.6, 8.2, 18.4};
  const double pi = 3.14159265358979323846;
  double area = fabs((triangle[2] - triangle[0]) * (triangle[5] - triangle[1]) - (triangle[4] - triangle[0]) * (triangle[3] - triangle[1])) / 2;
  for (int shape = 0; shape < 3; shape++) {
    etk__raster *raster = etk__raster_new(24, 24, 0);
    if (shape == 0) etk__raster_polygon(raster, triangle, 3);
    else if (shape == 1) etk__raster_capsule(raster, 12.3, 11.7, 12.3, 11.7, 6);
    else etk__raster_rect(raster, 2.25, 3.5, 10.5, 7.25, 0xFFFFFF, 1);
    etk__raster_paint(raster, 0xFFFFFF, 1);
    double sum = 0, want = shape == 0 ? area : shape == 1 ? pi * 36 : 10.5 * 7.25;
    for (size_t y = 0; y < 24; y++)
      for (size_t x = 0; x < 24; x++) sum += etk__raster_row(raster, y)[3 * x] / 255.0;
    assert_float_equal(sum, want, shape == 1 ? 1 : 0.1); /* bytes round; a circle has 36 corners */
    etk__raster_free(raster);
  }
}

static void overlaps_of_one_shape_are_painted_once(void **state) {
  (void)state;
  etk__raster *raster = etk__raster_new(10, 10, 0xFFFFFF);
  for (int i = 0; i < 5; i++) etk__raster_capsule(raster, 2, 5, 8, 5, 2);
  etk__raster_paint(raster, 0x000000, 0.5);
  assert_int_equal(etk__raster_row(raster, 5)[3 * 5], 128);
  assert_int_equal(etk__raster_row(raster, 0)[0], 255);
  etk__raster_free(raster);
}

static unsigned char *decode(const etk_chart *chart, double scale, png_image *image) {
  char *bytes;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  if (etk_chart_png(&e, &bytes, &size, chart, scale)) fail_msg("%s", e.message);
  *image = (png_image){.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_memory(image, bytes, size));
  image->format = PNG_FORMAT_RGB;
  unsigned char *pixels = etk_alloc(PNG_IMAGE_SIZE(*image));
  assert_true(png_image_finish_read(image, NULL, pixels, 0, NULL));
  etk_free(bytes);
  return pixels;
}

static uint32_t pixel(const unsigned char *pixels, const png_image *image, double x, double y) {
  const unsigned char *p = pixels + 3 * ((size_t)y * image->width + (size_t)x);
  return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static void a_png_has_the_size_and_colours_of_the_chart(void **state) {
  (void)state;
  static const double y[] = {3, 3, 3};
  etk_chart_series series = {.y = y, .count = 3};
  etk_chart chart = chart_of(ETK_CHART_BAR, &series, 1);
  chart.width = 300, chart.height = 200;
  char *svg = svg_of(&chart), *bar = strstr(strstr(svg, "data-series"), "<rect");
  double x = attribute(bar, "x") + attribute(bar, "width") / 2, middle = attribute(bar, "y") + attribute(bar, "height") / 2;
  for (int dark = 0; dark < 2; dark++)
    for (double scale = 1; scale <= 2; scale += 0.5) {
      png_image image;
      chart.theme = dark ? ETK_CHART_DARK : ETK_CHART_LIGHT;
      unsigned char *pixels = decode(&chart, scale, &image);
      assert_int_equal(image.width, 300 * scale);
      assert_int_equal(image.height, 200 * scale);
      assert_int_equal(pixel(pixels, &image, 0, 0), etk__color(ETK__PAPER, dark));
      assert_int_equal(pixel(pixels, &image, x * scale, middle * scale), dark ? etk__color(ETK__SERIES, true) : 0x0072B2); /* Okabe and Ito's blue */
      etk_free(pixels);
    }
  etk_free(svg);
}

static void cells_of_a_heat_map_have_the_colours_of_their_values(void **state) {
  (void)state;
  static const double values[] = {0, 5, NAN, 10};
  etk_chart chart = chart_of(ETK_CHART_HEAT, NULL, 0);
  chart.values = values, chart.row_count = 2, chart.category_count = 2;
  png_image image;
  unsigned char *pixels = decode(&chart, 1, &image);
  assert_int_equal(pixel(pixels, &image, 60, 60), etk__heat_color(0.5 / 128, false));
  assert_int_equal(pixel(pixels, &image, 600, 60), etk__heat_color(64.5 / 128, false));
  assert_int_equal(pixel(pixels, &image, 60, 330), etk__color(ETK__GRID, false));
  assert_int_equal(pixel(pixels, &image, 600, 330), etk__heat_color(127.5 / 128, false));
  etk_free(pixels);
}

/* ---- terminal ---- */

static void bars_in_a_terminal_end_in_eighths(void **state) {
  (void)state;
  /* 40 columns: two for the names, one blank, seven for the numbers: 30 for the greatest value; 1 of 4 is 7 1/2. */
  static const double y[] = {1, 2, 4};
  static const char *const names[] = {"a", "b", "cc"};
  etk_chart_series series = {.y = y, .count = 3};
  etk_chart chart = chart_of(ETK_CHART_BAR, &series, 1);
  chart.categories = names, chart.category_count = 3;
  char *text = terminal_of(&chart, 40, 10, false, true);
  assert_string_equal(text, "a  ███████▌ 1\nb  ███████████████ 2\ncc ██████████████████████████████ 4\n");
  etk_free(text);
  text = terminal_of(&chart, 40, 10, false, false);
  assert_string_equal(text, "a  ######## 1\nb  ############### 2\ncc ############################## 4\n");
  etk_free(text);
}

static void a_line_in_a_terminal_rises_where_its_values_do(void **state) {
  (void)state;
  /* Six rows: two for the axis, four for the line; three columns of numbers and the axis leave 16. */
  static const double y[] = {0, 1};
  etk_chart_series series = {.y = y, .count = 2};
  etk_chart chart = chart_of(ETK_CHART_LINE, &series, 1);
  char *text = terminal_of(&chart, 20, 6, false, false), *line = text;
  static const char *const begins[] = {"1.0+", "   |", "0.5+", "  0+", "   ++--------------+", "    0              1"};
  int before = 99;
  for (int i = 0; i < 6; i++) {
    char *end = strchr(line, '\n');
    assert_non_null(end);
    *end = 0;
    assert_int_equal(strncmp(line, begins[i], strlen(begins[i])), 0);
    if (i < 4) {
      int first = (int)strcspn(line, "*"), last = (int)(strrchr(line, '*') - line);
      assert_true(last < before + 1 && first <= last);
      assert_int_equal(last - first + 1, (int)strspn(line + first, "*"));
      before = first;
    }
    if (i == 0) assert_int_equal(strlen(line), 20);
    line = end + 1;
  }
  assert_int_equal(before, 4);
  etk_free(text);
}

static void braille_dots_are_where_the_points_are(void **state) {
  (void)state;
  /* Without words: rows 0 to 3 of cells hold 16 rows of dots. The least value lies in the lowest row of dots at the very left: dot 7 (0x40). */
  static const double y[] = {0, 1};
  etk_chart_series series = {.y = y, .count = 2};
  etk_chart chart = chart_of(ETK_CHART_SCATTER, &series, 1);
  char *text = terminal_of(&chart, 20, 6, false, true);
  assert_non_null(strstr(text, "  0┤\xE2\xA1\x80"));     /* U+2840 */
  assert_non_null(strstr(text, "\xE2\xA0\x88\n   │")); /* U+2808: the upper right */
  etk_free(text);
}

static void cells_in_a_terminal_darken_with_their_values(void **state) {
  (void)state;
  static const double values[] = {0, 3, 6, 10};
  static const char *const names[] = {"x", "y"};
  etk_chart chart = chart_of(ETK_CHART_HEAT, NULL, 0);
  chart.values = values, chart.row_count = chart.category_count = 2, chart.rows = chart.categories = names;
  char *text = terminal_of(&chart, 20, 8, false, true); /* 18 columns for two cells, six each at most; fifths: 0, 0.3, 0.6, 1 */
  assert_int_equal(strncmp(text, "x       ░░░░░░\ny ▓▓▓▓▓▓██████\n  x     y\n", strlen("x       ░░░░░░\ny ▓▓▓▓▓▓██████\n  x     y\n")), 0);
  etk_free(text);
  text = terminal_of(&chart, 20, 8, true, true);
  assert_non_null(strstr(text, ";48;5;"));
  etk_free(text);
}

static void a_box_in_a_terminal_shows_its_five_numbers(void **state) {
  (void)state;
  /* 0 … 8: whiskers 0 and 8, quartiles 2, 4, 6, on a scale from 0 to 10 (ticks by 5). "s " leaves 21 columns of 23: two a unit. */
  static const double y[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  etk_chart_series series = {.name = "s", .y = y, .count = 9};
  etk_chart chart = chart_of(ETK_CHART_BOX, &series, 1);
  char *text = terminal_of(&chart, 23, 6, false, false);
  assert_int_equal(strncmp(text, "s |---====M====---|\n", 20), 0);
  etk_free(text);
}

/* ---- edges ---- */

static const double none_finite[] = {NAN, INFINITY, -INFINITY}, one[] = {3}, equal[] = {2, 2, 2, 2}, negative[] = {-1, -2, 0, -3}, huge[] = {1e-300, 1, 1e300, -1e300},
                    ends[] = {1.7e308, -1.7e308, 5e-324}, mixed[] = {1, NAN, 3, INFINITY, -2, 1e5};
static const struct edge {
  const double *y;
  size_t count;
} edges[] = {{NULL, 0}, {none_finite, 3}, {one, 1}, {equal, 4}, {negative, 4}, {huge, 4}, {ends, 3}, {mixed, 6}};

static void check_all(const etk_chart *chart, const char *what) {
  static const int sizes[][2] = {{20, 6}, {33, 9}, {80, 20}, {200, 60}};
  etk_error e = ETK_ERROR_INIT;
  char *bytes = NULL;
  size_t size = 0;
  char *svg = svg_of(chart);
  assert_true(etk_utf8_valid(svg, strlen(svg)));
  if (strstr(svg, "\"nan") || strstr(svg, "\"inf") || strstr(svg, "\"-inf") || strstr(svg, " nan") || strstr(svg, "-nan")) fail_msg("%s: %s", what, svg);
  etk_free(svg);
  if (etk_chart_png(&e, &bytes, &size, chart, 1)) fail_msg("%s: %s", what, e.message);
  etk_free(bytes);
  for (size_t i = 0; i < COUNT(sizes); i++)
    for (int unicode = 0; unicode < 2; unicode++) {
      char *text = terminal_of(chart, sizes[i][0], sizes[i][1], false, unicode);
      int rows = 0;
      assert_true(etk_utf8_valid(text, strlen(text)));
      for (const char *line = text, *end; *line; line = end + 1, rows++) {
        end = strchr(line, '\n');
        assert_non_null(end);
        if (etk_utf8_width(line, (size_t)(end - line)) > (size_t)sizes[i][0]) fail_msg("%s: wider than %d: %.*s", what, sizes[i][0], (int)(end - line), line);
        for (const char *p = line; !unicode && p < end; p++) assert_true(*p >= 32 && *p < 127);
      }
      if (rows > sizes[i][1]) fail_msg("%s: %d rows of %d:\n%s", what, rows, sizes[i][1], text);
      etk_free(text);
    }
}

static void any_values_make_a_chart_of_any_kind(void **state) {
  (void)state;
  static const char *const categories[] = {"one", "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", "\xF0\x9F\x98\x80", "a name that is far longer than any place it could ever be put into, really", "", "x"};
  for (int kind = 0; kind < 5; kind++)
    for (size_t i = 0; i < COUNT(edges); i++)
      for (int log = 0; log < 2; log++)
        for (int small = 0; small < 2; small++) {
          char what[64];
          etk_chart_series series[] = {{.name = categories[3], .y = edges[i].y, .count = edges[i].count}, {.name = categories[1], .y = edges[i].y, .count = edges[i].count}};
          if (kind < 2 && edges[i].y) series[0].low = series[0].high = edges[i].y;
          etk_chart chart = chart_of((etk_chart_kind)kind, series, kind == ETK_CHART_BAR ? 1 : 2);
          chart.log_y = log, chart.title = categories[3], chart.subtitle = categories[3], chart.x_label = categories[3], chart.y_label = categories[3];
          if (kind == ETK_CHART_BAR || kind == ETK_CHART_GROUPED) chart.categories = categories, chart.category_count = edges[i].count;
          if (small) chart.width = 60, chart.height = 40;
          snprintf(what, sizeof what, "kind %d, edge %zu, log %d, small %d", kind, i, log, small);
          check_all(&chart, what);
        }
  for (size_t i = 0; i < COUNT(edges); i++) {
    etk_chart chart = chart_of(ETK_CHART_HEAT, NULL, 0);
    chart.values = edges[i].y, chart.row_count = edges[i].count, chart.category_count = edges[i].count ? 1 : 0;
    check_all(&chart, "heat");
  }
}

static void fifty_series_and_many_categories_fit(void **state) {
  (void)state;
  static double y[300];
  static etk_chart_series series[50];
  for (int i = 0; i < 300; i++) y[i] = i % 17;
  for (int i = 0; i < 50; i++) series[i] = (etk_chart_series){.name = i % 2 ? "a rather long series name" : "s", .y = y + i, .count = 100};
  etk_chart chart = chart_of(ETK_CHART_LINE, series, 50);
  check_all(&chart, "lines");
  chart.kind = ETK_CHART_GROUPED;
  check_all(&chart, "groups");
  chart.kind = ETK_CHART_BOX;
  check_all(&chart, "boxes");
  series[0].count = 300;
  chart = chart_of(ETK_CHART_BAR, series, 1);
  check_all(&chart, "bars");
  static double values[400 * 300];
  for (int i = 0; i < 400 * 300; i++) values[i] = i % 1009;
  chart = chart_of(ETK_CHART_HEAT, NULL, 0);
  chart.values = values, chart.row_count = 400, chart.category_count = 300;
  check_all(&chart, "cells");
}

static void a_chart_that_makes_no_sense_is_refused(void **state) {
  (void)state;
  static const double y[] = {1, 2};
  static const char *const names[] = {"a"};
  etk_chart_series two[] = {{.y = y, .count = 2}, {.y = y, .count = 2}}, half = {.y = y, .low = y, .count = 2}, no_y = {.count = 2}, placed = {.x = y, .y = y, .count = 2};
  const etk_chart base = ETK_CHART_INIT;
  etk_chart bad[10];
  const char *words[] = {"grouped bars have several", "give both or neither", "no y", "one for each", "logarithmic x", "without values", "10000", "ETK_CHART_INIT", "its place is its category", "log_y or from_zero"};
  for (size_t i = 0; i < COUNT(bad); i++) bad[i] = base;
  bad[0].kind = ETK_CHART_BAR, bad[0].series = two, bad[0].series_count = 2;
  bad[1].series = &half, bad[1].series_count = 1;
  bad[2].series = &no_y, bad[2].series_count = 1;
  bad[3].kind = ETK_CHART_BAR, bad[3].series = two, bad[3].series_count = 1, bad[3].categories = names, bad[3].category_count = 1;
  bad[4].kind = ETK_CHART_BOX, bad[4].log_x = true;
  bad[5].kind = ETK_CHART_HEAT, bad[5].row_count = bad[5].category_count = 2;
  bad[6].width = 20000;
  bad[7].struct_size = 8;
  bad[8].kind = ETK_CHART_GROUPED, bad[8].series = &placed, bad[8].series_count = 1;
  bad[9].log_y = bad[9].from_zero = true;
  for (size_t i = 0; i < COUNT(bad); i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_text text = ETK_TEXT_INIT;
    assert_int_equal(etk_chart_svg(&e, &text, &bad[i], false), ETK_E_INVALID);
    if (!strstr(e.message, words[i])) fail_msg("'%s' is not in: %s", words[i], e.message);
    etk_text_free(&text);
  }
  char *bytes;
  size_t size;
  etk_text text = ETK_TEXT_INIT;
  assert_int_equal(etk_chart_png(NULL, &bytes, &size, &base, NAN), ETK_E_INVALID);
  assert_int_equal(etk_chart_terminal(NULL, &text, &base, 19, 20, false, true), ETK_E_INVALID);
  etk_text_free(&text);
}

/* ---- files, memory ---- */

static void a_file_is_written_whole_and_by_its_end(void **state) {
  (void)state;
  char dir[] = "/tmp/etk-chart.XXXXXX", *bytes;
  size_t size;
  assert_non_null(mkdtemp(dir));
  etk_chart charts[2] = {ETK_CHART_INIT, ETK_CHART_INIT};
  etk_error e = ETK_ERROR_INIT;
  char *svg = etk_path_join(dir, "a.svg"), *png = etk_path_join(dir, "a.PNG"), *other = etk_path_join(dir, "a.pdf");
  assert_int_equal(etk_chart_write(&e, svg, charts, false), ETK_OK);
  assert_int_equal(etk_chart_write(&e, svg, charts, false), ETK_E_EXISTS);
  assert_int_equal(etk_chart_write_all(&e, svg, charts, 2, true), ETK_OK);
  assert_int_equal(etk_fs_read(NULL, &bytes, &size, svg, 1 << 20), ETK_OK);
  assert_int_equal(strncmp(bytes, "<?xml", 5), 0);
  assert_int_equal(occurrences(bytes, "<svg"), 3);
  assert_int_equal(occurrences(bytes, "<?xml"), 1);
  assert_non_null(strstr(bytes, "height=\"800\""));
  etk_free(bytes);
  assert_int_equal(etk_chart_write_all(&e, png, charts, 2, false), ETK_OK);
  assert_int_equal(etk_fs_read(NULL, &bytes, &size, png, 1 << 20), ETK_OK);
  png_image image = {.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_memory(&image, bytes, size));
  assert_int_equal(image.width, 1440);
  assert_int_equal(image.height, 1600);
  png_image_free(&image);
  etk_free(bytes);
  assert_int_equal(etk_chart_write(&e, other, charts, false), ETK_E_INVALID);
  assert_non_null(strstr(e.message, ".svg or .png"));
  charts[1].width = 100;
  assert_int_equal(etk_chart_write_all(&e, png, charts, 2, true), ETK_E_INVALID);
  etk_free(svg);
  etk_free(png);
  etk_free(other);
  assert_int_equal(etk_fs_remove_tree(NULL, dir), ETK_OK);
}

static bool draw_everything(void *user) {
  static const double y[] = {1, NAN, 3, 2, 5}, low[] = {0, 0, 2, 1, 4};
  static const char *const names[] = {"a", "b", "c", "d", "e"};
  (void)user;
  etk_chart_series series[] = {{.name = "first", .y = y, .low = low, .high = y, .count = 5}, {.name = "second", .y = low, .count = 5}};
  for (int kind = 0; kind <= ETK_CHART_HEAT; kind++) {
    etk_text svg = ETK_TEXT_INIT, text = ETK_TEXT_INIT;
    char *bytes = NULL;
    size_t size;
    etk_chart chart = chart_of((etk_chart_kind)kind, series, kind == ETK_CHART_BAR ? 1 : 2);
    if (kind == ETK_CHART_BOX) chart.series = series + 1, chart.series_count = 1;
    if (kind == ETK_CHART_HEAT) chart.series_count = 0, chart.values = y, chart.row_count = 1, chart.category_count = 5, chart.categories = names;
    chart.width = 120, chart.height = 90, chart.title = "a title that is too long for its place";
    bool done = !etk_chart_svg(NULL, &svg, &chart, false) && !etk_chart_terminal(NULL, &text, &chart, 40, 12, true, true) && !etk_chart_png(NULL, &bytes, &size, &chart, 0.5);
    etk_text_free(&svg);
    etk_text_free(&text);
    etk_free(bytes);
    if (!done) return false;
  }
  return true;
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  long tried = interpose_sweep(draw_everything, NULL);
  if (tried <= 0) fail_msg("sweep: %ld", tried);
  assert_true(tried > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ticks_are_round_and_their_words_short),
      cmocka_unit_test(ticks_cover_any_data),
      cmocka_unit_test(numbers_are_as_short_as_they_can_be),
      cmocka_unit_test(boxes_are_tukeys),
      cmocka_unit_test(heat_colours_are_even_to_the_eye),
      cmocka_unit_test(series_differ_without_colour),
      cmocka_unit_test(bars_are_as_high_as_their_values),
      cmocka_unit_test(points_stand_where_the_axis_says),
      cmocka_unit_test(what_is_not_finite_leaves_a_gap),
      cmocka_unit_test(text_is_escaped_and_nothing_runs),
      cmocka_unit_test(a_hundred_thousand_points_stay_small_and_keep_their_spike),
      cmocka_unit_test(a_theme_is_fixed_or_the_readers),
      cmocka_unit_test(coverage_is_area),
      cmocka_unit_test(overlaps_of_one_shape_are_painted_once),
      cmocka_unit_test(a_png_has_the_size_and_colours_of_the_chart),
      cmocka_unit_test(cells_of_a_heat_map_have_the_colours_of_their_values),
      cmocka_unit_test(bars_in_a_terminal_end_in_eighths),
      cmocka_unit_test(a_line_in_a_terminal_rises_where_its_values_do),
      cmocka_unit_test(braille_dots_are_where_the_points_are),
      cmocka_unit_test(cells_in_a_terminal_darken_with_their_values),
      cmocka_unit_test(a_box_in_a_terminal_shows_its_five_numbers),
      cmocka_unit_test(any_values_make_a_chart_of_any_kind),
      cmocka_unit_test(fifty_series_and_many_categories_fit),
      cmocka_unit_test(a_chart_that_makes_no_sense_is_refused),
      cmocka_unit_test(a_file_is_written_whole_and_by_its_end),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
