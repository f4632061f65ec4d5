/* chart_png.c: a scene as pixels, and pixels as a PNG file. */
#include "chart_internal.h"
#include "chart_markers.h"

#include <math.h>
#include <png.h>

struct painter {
  etk__raster *raster;
  const etk__scene *scene;
  double scale;
  bool dark;
  size_t width, height; /* in pixels */
  const char *title;
  char *summary;
};

static uint32_t color(const struct painter *p, const etk__shape *s) { return s->ink == ETK__RGB ? s->rgb : etk__color(s->ink, p->dark); }

/* ---- shapes ---- */

static void paint_rect(struct painter *p, const etk__shape *s) {
  etk__raster_rect(p->raster, s->x * p->scale, s->y * p->scale, s->w * p->scale, s->h * p->scale, color(p, s), s->opacity);
}

struct dash {
  const double *pattern;
  double left, radius; /* of the piece, in pixels */
  int at;
};

/* Round ends reach out by the radius: dashes are that much shorter on both sides. */
static void paint_dashed(struct painter *p, struct dash *d, const double *a, const double *b) {
  double length = hypot(b[0] - a[0], b[1] - a[1]), done = 0;
  if (length <= 0) return;
  while (done < length) {
    double piece = fmin(d->left, length - done), from = done, to = done + piece;
    bool on = d->at % 2 == 0, begins = d->left >= d->pattern[d->at] * p->scale - 1e-9, ends = piece >= d->left - 1e-9;
    if (begins) from += d->radius;
    if (ends) to -= d->radius;
    if (on && to < from && begins && ends) from = to = (from + to) / 2;
    if (on && to >= from)
      etk__raster_capsule(p->raster, a[0] + (b[0] - a[0]) * from / length, a[1] + (b[1] - a[1]) * from / length, a[0] + (b[0] - a[0]) * to / length,
                          a[1] + (b[1] - a[1]) * to / length, d->radius);
    done += piece, d->left -= piece;
    if (d->left > 1e-9) continue;
    d->at = d->at == 5 || d->pattern[d->at + 1] <= 0 ? 0 : d->at + 1;
    d->left = d->pattern[d->at] * p->scale;
  }
}

static void paint_line(struct painter *p, const etk__shape *s) {
  const double *points = p->scene->points + 2 * s->first;
  struct dash dash = {.pattern = etk__dashes[s->style], .left = etk__dashes[s->style][0] * p->scale, .radius = fmax(s->stroke * p->scale, 1) / 2};
  for (size_t i = 1; i < s->count; i++) {
    double a[2] = {points[2 * i - 2] * p->scale, points[2 * i - 1] * p->scale}, b[2] = {points[2 * i] * p->scale, points[2 * i + 1] * p->scale};
    if (dash.pattern[0] > 0) paint_dashed(p, &dash, a, b);
    else etk__raster_capsule(p->raster, a[0], a[1], b[0], b[1], dash.radius);
  }
  etk__raster_paint(p->raster, color(p, s), s->opacity);
}

static void paint_area(struct painter *p, const etk__shape *s) {
  double *points = p->scene->points + 2 * s->first; /* scaled in place: a scene is painted once */
  for (size_t i = 0; i < 2 * s->count; i++) points[i] *= p->scale;
  etk__raster_polygon(p->raster, points, s->count);
  etk__raster_paint(p->raster, color(p, s), s->opacity);
}

static void paint_dots(struct painter *p, const etk__shape *s) {
  const struct marker *marker = &markers[s->style];
  for (size_t i = 0; i < s->count; i++) {
    double x = p->scene->points[2 * (s->first + i)] * p->scale, y = p->scene->points[2 * (s->first + i) + 1] * p->scale, corners[24];
    for (size_t k = 0; k < marker->count; k++)
      corners[2 * k] = x + marker->corners[k][0] * s->w * p->scale, corners[2 * k + 1] = y + marker->corners[k][1] * s->w * p->scale;
    if (marker->count) etk__raster_polygon(p->raster, corners, marker->count);
    else etk__raster_capsule(p->raster, x, y, x, y, s->w * p->scale);
    if (s->count <= 200 && s->opacity < 1) etk__raster_paint(p->raster, color(p, s), s->opacity); /* few: where they overlap shows */
  }
  etk__raster_paint(p->raster, color(p, s), s->opacity);
}

struct writing {
  struct painter *p;
  double x, y, cos, sin, radius; /* origin in pixels */
};

static void write_stroke(void *user, const double *points, size_t count) {
  const struct writing *w = user;
  double before[2] = {0};
  for (size_t i = 0; i < count; i++) {
    double x = points[2 * i] * w->p->scale, y = points[2 * i + 1] * w->p->scale;
    double at[2] = {w->x + x * w->cos + y * w->sin, w->y - x * w->sin + y * w->cos};
    if (i) etk__raster_capsule(w->p->raster, before[0], before[1], at[0], at[1], w->radius);
    memcpy(before, at, sizeof at);
  }
}

static void paint_words(struct painter *p, const etk__shape *s) {
  double width = etk__text_width(s->text, strlen(s->text), s->font), turn = s->angle * 3.14159265358979323846 / 180;
  struct writing w = {p, s->x * p->scale, s->y * p->scale, cos(turn), sin(turn), 0};
  etk__pen pen = {write_stroke, &w, s->font, s->angle == 0 ? p->scale : 0};
  double start = -width * (s->anchor + 1) / 2 * p->scale;
  w.x += start * w.cos, w.y -= start * w.sin;
  double stroke = etk__pen_width(&(etk__pen){.font = s->font, .scale = p->scale}, s->bold) * p->scale;
  if (s->angle == 0) { /* strokes an odd number of pixels thick are centred on pixels, others between them */
    double shift = lrint(stroke) % 2 ? 0.5 : 0;
    w.x = floor(w.x) + shift, w.y = floor(w.y) - (shift > 0 ? shift : 1);
  }
  w.radius = stroke / 2;
  etk__text_draw(&pen, s->text);
  etk__raster_paint(p->raster, color(p, s), s->opacity);
}

static void (*const painters[])(struct painter *, const etk__shape *) = {
    [ETK__RECT] = paint_rect, [ETK__LINE] = paint_line, [ETK__AREA] = paint_area, [ETK__DOTS] = paint_dots, [ETK__WORDS] = paint_words};

/* ---- PNG ---- */

struct file {
  etk_text bytes;
  char problem[160];
  jmp_buf back;
};

static void put_bytes(png_structp png, png_bytep bytes, size_t size) { etk_text_append(&((struct file *)png_get_io_ptr(png))->bytes, (const char *)bytes, size); }
static void flush(png_structp png) { (void)png; }
static void *get_memory(png_structp png, png_alloc_size_t size) {
  (void)png;
  return etk_alloc(size);
}
static void free_memory(png_structp png, void *memory) {
  (void)png;
  etk_free(memory);
}
static void fail(png_structp png, const char *problem) {
  struct file *file = png_get_error_ptr(png);
  snprintf(file->problem, sizeof file->problem, "%s", problem);
  longjmp(file->back, 1);
}
static void warn(png_structp png, const char *problem) { (void)png, (void)problem; }

static void put_texts(png_structp png, png_infop info, const struct painter *p) {
  png_text texts[2] = {{.compression = PNG_ITXT_COMPRESSION_NONE, .key = (char *)(uintptr_t) "Title", .text = (char *)(uintptr_t)p->title},
                       {.compression = PNG_ITXT_COMPRESSION_NONE, .key = (char *)(uintptr_t) "Description", .text = p->summary}};
  png_set_text(png, info, p->title ? texts : texts + 1, p->title ? 2 : 1);
}

struct page {
  struct painter *painters; /* one below the other, of one width */
  size_t count, width, height;
};

static bool write_png(struct file *file, const struct page *page) {
  png_structp volatile png = NULL;
  png_infop volatile info = NULL;
  if (setjmp(file->back)) {
    png_structp made = png;
    png_infop with = info;
    if (made) png_destroy_write_struct(&made, &with);
    return false;
  }
  png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, file, fail, warn, NULL, get_memory, free_memory);
  if (!png) return false;
  info = png_create_info_struct(png);
  if (!info) longjmp(file->back, 1);
  png_set_write_fn(png, file, put_bytes, flush);
  png_set_IHDR(png, info, (png_uint_32)page->width, (png_uint_32)page->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  png_set_sRGB_gAMA_and_cHRM(png, info, PNG_sRGB_INTENT_PERCEPTUAL);
  png_uint_32 dots = (png_uint_32)lrint(96 / 0.0254 * page->painters[0].scale);
  png_set_pHYs(png, info, dots, dots, PNG_RESOLUTION_METER);
  put_texts(png, info, &page->painters[0]);
  png_set_filter(png, 0, PNG_FILTER_NONE);
  png_set_compression_level(png, 9);
  png_write_info(png, info);
  for (size_t i = 0; i < page->count; i++)
    for (size_t y = 0; y < page->painters[i].height; y++) png_write_row(png, etk__raster_row(page->painters[i].raster, y));
  png_write_end(png, info);
  png_structp made = png;
  png_infop with = info;
  png_destroy_write_struct(&made, &with);
  return !file->bytes.failed;
}

static etk_status encode(etk_error *e, char **bytes, size_t *size, const struct page *page) {
  struct file *file = etk_calloc(1, sizeof *file);
  if (!file) return etk_fail_memory(e);
  bool done = write_png(file, page);
  etk_status status = ETK_OK;
  if (!done && (file->bytes.failed || !*file->problem || strstr(file->problem, "emory"))) status = etk_fail_memory(e);
  else if (!done) status = etk_fail(e, ETK_E_INTERNAL, "libpng could not write the chart: %s", file->problem);
  if (!status) {
    *size = file->bytes.size;
    *bytes = etk_text_take(&file->bytes);
  }
  etk_text_free(&file->bytes);
  etk_free(file);
  return status;
}

static etk_status paint(etk_error *e, struct painter *p, etk_arena *arena, const etk_chart *chart) {
  etk__data data;
  etk__scene scene;
  etk_status status = etk__data_read(e, &data, arena, chart);
  if (!status) status = etk__scene_make(e, &scene, &data);
  if (status) return status;
  p->scene = &scene, p->dark = chart->theme == ETK_CHART_DARK;
  p->width = (size_t)lrint(scene.width * p->scale), p->height = (size_t)lrint(scene.height * p->scale);
  if (p->width * p->height > 100000000) status = etk_fail(e, ETK_E_INVALID, "a picture of %zu million pixels; the most is 100", p->width * p->height / 1000000);
  else p->raster = etk__raster_new(p->width, p->height, etk__color(ETK__PAPER, p->dark));
  if (!status && !p->raster) status = etk_fail_memory(e);
  for (size_t i = 0; i < scene.count && !status; i++) painters[scene.shapes[i].kind](p, &scene.shapes[i]);
  etk__scene_free(&scene);
  p->scene = NULL, p->title = data.title, p->summary = data.summary;
  return status;
}

etk_status etk__chart_pngs(etk_error *e, char **bytes, size_t *size, const etk_chart *charts, size_t count, double scale) {
  etk_arena arena = ETK_ARENA_INIT;
  *bytes = NULL, *size = 0;
  if (!(scale >= 0.25 && scale <= 8)) return etk_fail(e, ETK_E_INVALID, "a chart at scale %g; it can be 0.25 to 8 pixels a CSS pixel", scale);
  struct page page = {.painters = etk_calloc(count, sizeof *page.painters)};
  etk_status status = page.painters ? ETK_OK : etk_fail_memory(e);
  for (; page.count < count && !status; page.count++) {
    page.painters[page.count].scale = scale;
    status = paint(e, &page.painters[page.count], &arena, &charts[page.count]);
    page.height += page.painters[page.count].height;
  }
  if (!status) page.width = page.painters[0].width;
  if (!status) status = encode(e, bytes, size, &page);
  for (size_t i = 0; i < page.count; i++) etk__raster_free(page.painters[i].raster);
  etk_free(page.painters);
  etk_arena_fini(&arena);
  return status;
}

etk_status etk_chart_png(etk_error *e, char **bytes, size_t *size, const etk_chart *chart, double scale) {
  return etk__chart_pngs(e, bytes, size, chart, 1, scale);
}
