/* chart_raster.c: pixels with exact area coverage.
 *
 * A polygon's edges leave, in each pixel they cross, the change of covered area from there to the right; summing a row from the left gives the area
 * itself. The coverage of one shape's pieces is their maximum, so that joints and overlaps are painted once. */
#include "chart_internal.h"

#include <math.h>

struct etk__raster {
  size_t width, height;
  unsigned char *pixels; /* RGB */
  float *mask, *edges;   /* coverage of the shape being gathered; changes of the polygon being added */
  size_t left, right, top, bottom; /* of the mask that is not zero; right and bottom are one beyond */
};

void etk__raster_free(etk__raster *r) {
  if (!r) return;
  etk_free(r->pixels);
  etk_free(r->mask);
  etk_free(r->edges);
  etk_free(r);
}

static void clean(etk__raster *r) { r->left = r->width, r->top = r->height, r->right = r->bottom = 0; }

etk__raster *etk__raster_new(size_t width, size_t height, uint32_t rgb) {
  etk__raster *r = etk_calloc(1, sizeof *r);
  if (!r) return NULL;
  r->width = width, r->height = height;
  r->pixels = etk_calloc(width * height, 3);
  r->mask = etk_calloc(width * height, sizeof *r->mask);
  r->edges = etk_calloc((width + 2) * height, sizeof *r->edges);
  if (!r->pixels || !r->mask || !r->edges) {
    etk__raster_free(r);
    return NULL;
  }
  for (size_t i = 0; i < width * height; i++)
    for (size_t k = 0; k < 3; k++) r->pixels[3 * i + k] = (unsigned char)(rgb >> (16 - 8 * k));
  clean(r);
  return r;
}

const unsigned char *etk__raster_row(const etk__raster *r, size_t y) { return r->pixels + 3 * r->width * y; }

static void blend(unsigned char *pixel, uint32_t rgb, double cover) {
  for (int k = 0; k < 3; k++) {
    double to = (double)(rgb >> (16 - 8 * k) & 255);
    pixel[k] = (unsigned char)lrint(pixel[k] + (to - pixel[k]) * cover);
  }
}

static double overlap(double a0, double a1, double b0, double b1) { return fmax(0, fmin(a1, b1) - fmax(a0, b0)); }

void etk__raster_rect(etk__raster *r, double x, double y, double w, double h, uint32_t rgb, double opacity) {
  double x1 = fmin(x + w, (double)r->width), y1 = fmin(y + h, (double)r->height);
  x = fmax(x, 0), y = fmax(y, 0);
  for (size_t row = (size_t)y; (double)row < y1; row++) {
    double high = overlap((double)row, (double)row + 1, y, y1) * opacity;
    for (size_t column = (size_t)x; (double)column < x1; column++)
      blend(r->pixels + 3 * (row * r->width + column), rgb, high * overlap((double)column, (double)column + 1, x, x1));
  }
}

/* One edge inside one row of pixels: `edges` is that row. */
static void edge_in_row(float *edges, double width, double x0, double x1, double height) {
  x0 = fmin(fmax(x0, 0), width), x1 = fmin(fmax(x1, 0), width);
  if (x0 > x1) {
    double swap = x0;
    x0 = x1, x1 = swap;
  }
  double whole = x1 - x0, at = x0;
  do {
    double cell = floor(at), next = fmin(cell + 1, x1), part = whole > 0 ? height * (next - at) / whole : height;
    double inside = (at + next) / 2 - cell; /* how much of the cell lies to the left */
    edges[(size_t)cell] += (float)(part * (1 - inside));
    edges[(size_t)cell + 1] += (float)(part * inside);
    at = next;
  } while (at < x1);
}

static void add_edge(etk__raster *r, const double *a, const double *b) {
  double sign = a[1] < b[1] ? 1 : -1;
  const double *from = a[1] < b[1] ? a : b, *to = a[1] < b[1] ? b : a;
  double slope = to[1] > from[1] ? (to[0] - from[0]) / (to[1] - from[1]) : 0, end = fmin(to[1], (double)r->height);
  for (double y = fmax(from[1], 0); y < end;) {
    double row = floor(y), next = fmin(row + 1, end);
    edge_in_row(r->edges + (size_t)row * (r->width + 2), (double)r->width, from[0] + slope * (y - from[1]), from[0] + slope * (next - from[1]), sign * (next - y));
    y = next;
  }
}

void etk__raster_polygon(etk__raster *r, const double *points, size_t count) {
  double left = INFINITY, right = 0, top = INFINITY, bottom = 0;
  if (count < 3) return;
  for (size_t i = 0; i < count; i++) {
    left = fmin(left, points[2 * i]), right = fmax(right, points[2 * i]);
    top = fmin(top, points[2 * i + 1]), bottom = fmax(bottom, points[2 * i + 1]);
    add_edge(r, points + 2 * i, points + 2 * ((i + 1) % count));
  }
  size_t x0 = (size_t)fmin(fmax(left, 0), (double)r->width), x1 = (size_t)fmin(ceil(fmax(right, 0)), (double)r->width);
  size_t y0 = (size_t)fmin(fmax(top, 0), (double)r->height), y1 = (size_t)fmin(ceil(fmax(bottom, 0)), (double)r->height);
  for (size_t y = y0; y < y1; y++) {
    float *edges = r->edges + y * (r->width + 2), *mask = r->mask + y * r->width, sum = 0;
    for (size_t x = x0; x < x1; x++) {
      sum += edges[x];
      float cover = fminf(fabsf(sum), 1);
      if (cover > mask[x]) mask[x] = cover;
    }
    memset(edges + x0, 0, (x1 - x0 + 2) * sizeof *edges);
  }
  if (x0 < r->left) r->left = x0;
  if (x1 > r->right) r->right = x1;
  if (y0 < r->top) r->top = y0;
  if (y1 > r->bottom) r->bottom = y1;
}

void etk__raster_capsule(etk__raster *r, double x0, double y0, double x1, double y1, double radius) {
  double points[2 * 34], angle = atan2(y1 - y0, x1 - x0) + 3.14159265358979323846 / 2;
  int steps = (int)fmin(fmax(ceil(radius * 3), 5), 16);
  for (int i = 0; i <= 2 * steps + 1; i++) {
    bool first = i <= steps;
    double turn = angle + 3.14159265358979323846 * (double)(first ? i : i - 1) / steps;
    points[2 * i] = (first ? x0 : x1) + radius * cos(turn), points[2 * i + 1] = (first ? y0 : y1) + radius * sin(turn);
  }
  etk__raster_polygon(r, points, (size_t)(2 * steps + 2));
}

void etk__raster_paint(etk__raster *r, uint32_t rgb, double opacity) {
  for (size_t y = r->top; y < r->bottom; y++)
    for (size_t x = r->left; x < r->right; x++) {
      float *cover = &r->mask[y * r->width + x];
      if (*cover > 0.002f) blend(r->pixels + 3 * (y * r->width + x), rgb, (double)*cover * opacity);
      *cover = 0;
    }
  clean(r);
}
