/* chart_svg.c: a scene as SVG. Light colours stand in attributes, so that every viewer shows them; ETK_CHART_AUTO adds rules for dark readers. */
#include "chart_internal.h"
#include "chart_markers.h"

#include <math.h>

struct svg {
  etk_text *out;
  const etk__scene *scene;
  bool dark, both; /* both: classes for the reader's choice */
};

static void put_xml(etk_text *out, const char *text) {
  for (size_t n; *text; text += n) {
    n = strcspn(text, "<>&\"'");
    etk_text_append(out, text, n);
    if (!text[n]) return;
    static const char from[] = "<>&\"'";
    static const char *const to[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
    etk_text_puts(out, to[strchr(from, text[n++]) - from]);
  }
}

static void put_number(etk_text *out, double value, int digits) {
  char text[32];
  snprintf(text, sizeof text, "%.*f", digits, value);
  size_t size = strlen(text);
  while (strchr(text, '.') && (text[size - 1] == '0' || text[size - 1] == '.')) {
    bool point = text[size - 1] == '.';
    text[--size] = 0;
    if (point) break;
  }
  etk_text_puts(out, strcmp(text, "-0") ? text : "0");
}

static void put_attribute(etk_text *out, const char *name, double value) {
  etk_text_printf(out, " %s=\"", name);
  put_number(out, value, 2);
  etk_text_putc(out, '"');
}

static void put_color(struct svg *v, const char *attribute, const etk__shape *s) {
  uint32_t rgb = s->ink == ETK__RGB ? s->rgb : etk__color(s->ink, v->dark);
  etk_text_printf(v->out, " %s=\"#%06x\"", attribute, (unsigned)rgb);
  if (v->both && s->ink != ETK__RGB) etk_text_printf(v->out, " class=\"%c%d\"", attribute[0], (int)s->ink);
}

static void put_rules(struct svg *v) {
  etk_text_puts(v->out, "<style>@media (prefers-color-scheme:dark){");
  for (int i = 0; i < ETK__RGB; i++) {
    unsigned rgb = (unsigned)etk__color((etk__ink)i, true);
    etk_text_printf(v->out, ".etk-auto .f%d{fill:#%06x}.etk-auto .s%d{stroke:#%06x}", i, rgb, i, rgb);
  }
  etk_text_puts(v->out, "}</style>\n");
}

/* ---- shapes ---- */

static void put_rect(struct svg *v, const etk__shape *s) {
  etk_text_puts(v->out, "<rect");
  put_attribute(v->out, "x", s->x), put_attribute(v->out, "y", s->y);
  put_attribute(v->out, "width", s->w), put_attribute(v->out, "height", s->h);
  put_color(v, "fill", s);
  if (s->opacity < 1) put_attribute(v->out, "fill-opacity", s->opacity);
  etk_text_puts(v->out, "/>\n");
}

/* Rectangles of one colour in a row, as one path. */
static size_t put_cells(struct svg *v, size_t from) {
  const etk__shape *s = &v->scene->shapes[from];
  size_t end = from;
  etk_text_puts(v->out, "<path d=\"");
  for (; end < v->scene->count && s[end - from].kind == ETK__RECT && s[end - from].ink == ETK__RGB && s[end - from].rgb == s->rgb; end++)
    etk_text_printf(v->out, "M%g %gh%gv%gh%gz", s[end - from].x, s[end - from].y, s[end - from].w, s[end - from].h, -s[end - from].w);
  etk_text_putc(v->out, '"');
  put_color(v, "fill", s);
  etk_text_puts(v->out, "/>\n");
  return end - from;
}

static void put_points(struct svg *v, const etk__shape *s) {
  const double *points = v->scene->points + 2 * s->first;
  for (size_t i = 0; i < s->count; i++) {
    etk_text_putc(v->out, i ? 'L' : 'M');
    put_number(v->out, points[2 * i], s->count > 400 ? 1 : 2);
    etk_text_putc(v->out, ' ');
    put_number(v->out, points[2 * i + 1], s->count > 400 ? 1 : 2);
  }
}

static void put_line(struct svg *v, const etk__shape *s) {
  const double *dash = etk__dashes[s->style];
  etk_text_puts(v->out, "<path fill=\"none\" stroke-linejoin=\"round\" d=\"");
  put_points(v, s);
  etk_text_putc(v->out, '"');
  put_color(v, "stroke", s);
  put_attribute(v->out, "stroke-width", s->stroke);
  if (dash[0] > 0) etk_text_puts(v->out, " stroke-dasharray=\"");
  for (int i = 0; i < 6 && dash[i] > 0; i++) etk_text_printf(v->out, "%s%g", i ? " " : "", dash[i]);
  etk_text_puts(v->out, dash[0] > 0 ? "\"/>\n" : "/>\n");
}

static void put_area(struct svg *v, const etk__shape *s) {
  etk_text_puts(v->out, "<path d=\"");
  put_points(v, s);
  etk_text_puts(v->out, "Z\"");
  put_color(v, "fill", s);
  put_attribute(v->out, "fill-opacity", s->opacity);
  etk_text_puts(v->out, "/>\n");
}


static void put_dots(struct svg *v, const etk__shape *s) {
  const double *points = v->scene->points + 2 * s->first;
  const struct marker *marker = &markers[s->style];
  bool many = s->count > 400;
  if (!marker->count && !many) {
    for (size_t i = 0; i < s->count; i++) {
      etk_text_puts(v->out, "<circle");
      put_attribute(v->out, "cx", points[2 * i]), put_attribute(v->out, "cy", points[2 * i + 1]), put_attribute(v->out, "r", s->w);
      put_color(v, "fill", s);
      if (s->opacity < 1) put_attribute(v->out, "fill-opacity", s->opacity);
      etk_text_puts(v->out, "/>\n");
    }
    return;
  }
  etk_text_puts(v->out, marker->count && !many ? "<path d=\"" : "<path fill=\"none\" stroke-linecap=\"round\" d=\"");
  for (size_t i = 0; i < s->count; i++) {
    for (size_t k = 0; k < (marker->count && !many ? marker->count : 1); k++) {
      double x = points[2 * i], y = points[2 * i + 1];
      if (marker->count && !many) x += marker->corners[k][0] * s->w, y += marker->corners[k][1] * s->w;
      etk_text_putc(v->out, k ? 'L' : 'M');
      put_number(v->out, x, many ? 1 : 2);
      etk_text_putc(v->out, ' ');
      put_number(v->out, y, many ? 1 : 2);
    }
    etk_text_puts(v->out, marker->count && !many ? "Z" : "h0");
  }
  etk_text_putc(v->out, '"');
  bool filled = marker->count && !many;
  put_color(v, filled ? "fill" : "stroke", s);
  if (!filled) put_attribute(v->out, "stroke-width", 2 * s->w);
  if (s->opacity < 1) put_attribute(v->out, filled ? "fill-opacity" : "stroke-opacity", s->opacity);
  etk_text_puts(v->out, "/>\n");
}

static void put_words(struct svg *v, const etk__shape *s) {
  static const char *const anchors[] = {"start", "middle", "end"};
  etk_text_puts(v->out, "<text");
  put_attribute(v->out, "x", s->x), put_attribute(v->out, "y", s->y), put_attribute(v->out, "font-size", s->font);
  if (s->anchor != -1) etk_text_printf(v->out, " text-anchor=\"%s\"", anchors[s->anchor + 1]);
  if (s->bold) etk_text_puts(v->out, " font-weight=\"600\"");
  if (s->angle != 0) etk_text_printf(v->out, " transform=\"rotate(%g %.2f %.2f)\"", -s->angle, s->x, s->y);
  put_color(v, "fill", s);
  etk_text_putc(v->out, '>');
  put_xml(v->out, s->text);
  etk_text_puts(v->out, "</text>\n");
}

static void (*const writers[])(struct svg *, const etk__shape *) = {
    [ETK__RECT] = put_rect, [ETK__LINE] = put_line, [ETK__AREA] = put_area, [ETK__DOTS] = put_dots, [ETK__WORDS] = put_words};

static void put_shapes(struct svg *v) {
  int open = -1;
  for (size_t i = 0, taken; i < v->scene->count; i += taken) {
    const etk__shape *s = &v->scene->shapes[i];
    if (s->series != open) {
      if (open >= 0) etk_text_puts(v->out, "</g>\n");
      open = s->series;
      if (open >= 0) etk_text_printf(v->out, "<g data-series=\"%d\">", open);
      if (open >= 0 && v->scene->data->names[open]) {
        etk_text_puts(v->out, "<title>");
        put_xml(v->out, v->scene->data->names[open]);
        etk_text_puts(v->out, "</title>");
      }
      if (open >= 0) etk_text_putc(v->out, '\n');
    }
    taken = 1;
    if (s->kind == ETK__RECT && s->ink == ETK__RGB) taken = put_cells(v, i);
    else writers[s->kind](v, s);
  }
  if (open >= 0) etk_text_puts(v->out, "</g>\n");
}

static void put_document(struct svg *v, bool inline_) {
  const etk__scene *scene = v->scene;
  if (!inline_) etk_text_puts(v->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
  etk_text_printf(v->out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
                  "class=\"etk-chart%s\" font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif\">\n<title>",
                  scene->width, scene->height, scene->width, scene->height, v->both ? " etk-auto" : "");
  put_xml(v->out, scene->data->title ? scene->data->title : "Chart");
  etk_text_puts(v->out, "</title>\n<desc>");
  put_xml(v->out, scene->data->summary);
  etk_text_puts(v->out, "</desc>\n");
  if (v->both) put_rules(v);
  put_shapes(v);
  etk_text_puts(v->out, "</svg>\n");
}

etk_status etk_chart_svg(etk_error *e, etk_text *out, const etk_chart *chart, bool inline_) {
  etk_arena arena = ETK_ARENA_INIT;
  etk__data data;
  etk__scene scene;
  etk_status status = etk__data_read(e, &data, &arena, chart);
  if (!status) status = etk__scene_make(e, &scene, &data);
  if (!status) {
    put_document(&(struct svg){out, &scene, chart->theme == ETK_CHART_DARK, chart->theme == ETK_CHART_AUTO}, inline_);
    etk__scene_free(&scene);
    if (out->failed) status = etk_fail_memory(e);
  }
  etk_arena_fini(&arena);
  return status;
}

etk_status etk__chart_svgs(etk_error *e, etk_text *out, const etk_chart *charts, size_t count) {
  int width = charts->width ? charts->width : 720, height = 0, top = 0;
  etk_status status = ETK_OK;
  for (size_t i = 0; i < count; i++) height += charts[i].height ? charts[i].height : 400;
  etk_text_printf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" height=\"%d\" "
                  "viewBox=\"0 0 %d %d\">\n",
                  width, height, width, height);
  for (size_t i = 0; i < count && !status; i++) {
    etk_text_printf(out, "<g transform=\"translate(0 %d)\">\n", top);
    status = etk_chart_svg(e, out, &charts[i], true);
    etk_text_puts(out, "</g>\n");
    top += charts[i].height ? charts[i].height : 400;
  }
  etk_text_puts(out, "</svg>\n");
  if (!status && out->failed) status = etk_fail_memory(e);
  return status;
}
