/* How an image becomes CLIP's pixels: preprocessor_config.json, and resizing, cropping and normalising as it says. Resizing follows PIL's method for 8-bit
 * images: a filter widened by the scale, coefficients of 22 fractional bits, rows first, rounded to 8 bits after each direction. */
#include "encoder_internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <math.h>

enum { SIDE_LIMIT = 1 << 16, FRACTION = 22 };

/* ---- preprocessor_config.json ---- */

/* "size": 224, {"shortest_edge": 224} or {"height": 224, "width": 224}; shortest may be NULL where only both sides make sense. */
static etk_status read_size(etk_error *e, const char *name, const json_t *root, const char *key, int64_t *shortest, int64_t *height, int64_t *width) {
  const json_t *value = json_object_get(root, key), *edge = json_object_get(value, "shortest_edge");
  int64_t one = 0;
  if (!value || json_is_null(value)) return ETK_OK;
  if (shortest) *shortest = 0;
  *height = *width = 0;
  if (json_is_object(value) && shortest && edge) return etk__json_count(e, name, value, "shortest_edge", true, shortest);
  if (json_is_object(value)) {
    etk_status status = etk__json_count(e, name, value, "height", true, height);
    return status ? status : etk__json_count(e, name, value, "width", true, width);
  }
  etk_status status = etk__json_count(e, name, root, key, true, &one);
  if (shortest) *shortest = one;
  else *height = *width = one;
  return status;
}

static etk_status read_three(etk_error *e, const char *name, const json_t *root, const char *key, double *out, bool positive) {
  const json_t *list = json_object_get(root, key);
  if (!list || json_is_null(list)) return ETK_OK;
  bool right = json_array_size(list) == 3;
  for (size_t i = 0; i < 3 && right; i++) {
    out[i] = json_number_value(json_array_get(list, i));
    right = json_is_number(json_array_get(list, i)) && isfinite(out[i]) && (!positive || out[i] > 0);
  }
  return right ? ETK_OK : etk__json_wrong(e, name, key, list, positive ? "three numbers above 0" : "three numbers");
}

static etk_status read_resample(etk_error *e, const char *name, const json_t *root, etk_resample *out) {
  const json_t *value = json_object_get(root, "resample");
  if (!value || json_is_null(value)) return ETK_OK;
  *out = (etk_resample)json_integer_value(value);
  if (json_is_integer(value) && (*out == ETK_RESAMPLE_BILINEAR || *out == ETK_RESAMPLE_BICUBIC)) return ETK_OK;
  return etk__json_wrong(e, name, "resample", value, "2 (bilinear) or 3 (bicubic)");
}

static etk_status read_rescale(etk_error *e, const char *name, const json_t *root, double *out) {
  const json_t *value = json_object_get(root, "rescale_factor");
  if (!value || json_is_null(value)) return ETK_OK;
  *out = json_number_value(value);
  return json_is_number(value) && isfinite(*out) && *out > 0 ? ETK_OK : etk__json_wrong(e, name, "rescale_factor", value, "a number above 0");
}

static etk_image_rules usual(int64_t image_size) {
  return (etk_image_rules){.shortest_edge = image_size,
                           .crop_height = image_size,
                           .crop_width = image_size,
                           .resample = ETK_RESAMPLE_BICUBIC,
                           .rescale = 1.0 / 255,
                           .mean = {0.48145466, 0.4578275, 0.40821073},
                           .std = {0.26862954, 0.26130258, 0.27577711}};
}

/* What comes out must be the model's size, whatever image comes in. */
static etk_status check(etk_error *e, const char *name, const etk_image_rules *r, int64_t image_size) {
  bool cropped = r->crop_height == image_size && r->crop_width == image_size,
       resized = !r->crop_height && r->height == image_size && r->width == image_size;
  bool covers = r->shortest_edge ? r->shortest_edge >= image_size : !r->height || (r->height >= image_size && r->width >= image_size);
  if (r->shortest_edge > SIDE_LIMIT || r->height > SIDE_LIMIT || r->width > SIDE_LIMIT)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"size\" is beyond any real image", name);
  if (resized || (cropped && covers)) return ETK_OK;
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: its size and crop_size do not give the %lld x %lld pixels that the model takes", name,
                  (long long)image_size, (long long)image_size);
}

static etk_status read_rules(etk_error *e, etk_image_rules *r, const char *name, const json_t *root, int64_t image_size) {
  bool resize = true, crop = true, rescale = true, normalize = true;
  etk_status status = etk__json_bool(e, name, root, "do_resize", &resize);
  if (!status) status = etk__json_bool(e, name, root, "do_center_crop", &crop);
  if (!status) status = etk__json_bool(e, name, root, "do_rescale", &rescale);
  if (!status) status = etk__json_bool(e, name, root, "do_normalize", &normalize);
  if (!status) status = read_size(e, name, root, "size", &r->shortest_edge, &r->height, &r->width);
  if (!status) status = read_size(e, name, root, "crop_size", NULL, &r->crop_height, &r->crop_width);
  if (!status) status = read_resample(e, name, root, &r->resample);
  if (!status) status = read_rescale(e, name, root, &r->rescale);
  if (!status) status = read_three(e, name, root, "image_mean", r->mean, false);
  if (!status) status = read_three(e, name, root, "image_std", r->std, true);
  if (status) return status;
  if (!resize) r->shortest_edge = r->height = r->width = 0;
  if (!crop) r->crop_height = r->crop_width = 0;
  if (!rescale) r->rescale = 1;
  for (int i = 0; i < 3 && !normalize; i++) r->mean[i] = 0, r->std[i] = 1;
  return check(e, name, r, image_size);
}

etk_status etk_image_rules_parse(etk_error *e, etk_image_rules *out, const char *name, const char *bytes, size_t size, int64_t image_size) {
  json_t *root = NULL;
  *out = usual(image_size);
  etk_status status = etk__json_parse(e, &root, name, bytes, size);
  if (status) return status;
  status = json_is_object(root) ? read_rules(e, out, name, root, image_size) : etk_fail(e, ETK_E_FORMAT, "%s: wanted a JSON object", name);
  json_decref(root);
  return status;
}

etk_status etk_encoder_image_rules(etk_error *e, etk_image_rules *out, const etk_encoder *x) {
  const etk_encoder_config *c = &x->config;
  if (!x->family->image) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a model of type %s has no image part", x->model->path, c->architecture);
  if (c->num_channels != 3)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: takes %lld channels; images here have 3", x->model->path, (long long)c->num_channels);
  char *path = etk_path_join(x->model->path, "preprocessor_config.json"), *text = NULL;
  size_t size = 0;
  if (!path) return etk_fail_memory(e);
  *out = usual(c->image_size);
  etk_status status = ETK_OK;
  if (etk_fs_exists(path)) {
    status = etk_fs_read(e, &text, &size, path, 1 << 20);
    if (!status) status = etk_image_rules_parse(e, out, path, text, size, c->image_size);
  }
  etk_free(text);
  etk_free(path);
  return status;
}

/* ---- resizing ---- */

static double bilinear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }
static double bicubic(double x) { /* Keys 1981 with a = -1/2 */
  x = fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
static const struct {
  double support;
  double (*at)(double x);
} filters[] = {[ETK_RESAMPLE_BILINEAR] = {1, bilinear}, [ETK_RESAMPLE_BICUBIC] = {2, bicubic}};

/* Which pixels of a line, `first` to first + count, give pixel i of the new one, and how much of each. */
struct line_filter {
  int64_t size, room; /* pixels of the new line; coefficients there is room for in each */
  int64_t *first, *count;
  int32_t *factors;
};

static void filter_fini(struct line_filter *f) {
  etk_free(f->first);
  etk_free(f->count);
  etk_free(f->factors);
}

static void fill_filter(struct line_filter *f, etk_resample kind, int64_t from, double *weights) {
  double scale = (double)from / (double)f->size, wide = scale < 1 ? 1 : scale, support = filters[kind].support * wide;
  for (int64_t i = 0; i < f->size; i++) {
    double centre = ((double)i + 0.5) * scale, sum = 0;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    if (centre - support + 0.5 < 0) first = 0;
    if (end > from) end = from;
    for (int64_t k = first; k < end; k++) sum += weights[k - first] = filters[kind].at(((double)k - centre + 0.5) / wide);
    f->first[i] = first;
    f->count[i] = end - first;
    for (int64_t k = 0; k < end - first; k++) {
      double part = sum != 0 ? weights[k] / sum : weights[k];
      f->factors[i * f->room + k] = (int32_t)(part * (1 << FRACTION) + (part < 0 ? -0.5 : 0.5));
    }
  }
}

static etk_status filter_init(etk_error *e, struct line_filter *f, etk_resample kind, int64_t from, int64_t to) {
  double wide = from > to ? (double)from / (double)to : 1;
  *f = (struct line_filter){.size = to, .room = (int64_t)ceil(filters[kind].support * wide) * 2 + 1};
  f->first = etk_calloc((size_t)to, sizeof *f->first);
  f->count = etk_calloc((size_t)to, sizeof *f->count);
  f->factors = etk_calloc((size_t)(to * f->room), sizeof *f->factors);
  double *weights = etk_calloc((size_t)f->room, sizeof *weights);
  bool whole = f->first && f->count && f->factors && weights;
  if (whole) fill_filter(f, kind, from, weights);
  etk_free(weights);
  if (!whole) filter_fini(f);
  return whole ? ETK_OK : etk_fail_memory(e);
}

/* One new pixel: `count` old ones, `step` bytes apart. */
static uint8_t weigh(const uint8_t *from, int64_t step, const int32_t *factors, int64_t count) {
  int64_t sum = (int64_t)1 << (FRACTION - 1);
  for (int64_t k = 0; k < count; k++) sum += (int64_t)from[k * step] * factors[k];
  sum >>= FRACTION;
  return sum < 0 ? 0 : sum > 255 ? 255 : (uint8_t)sum;
}

/* (height, width, 3) -> (height, to, 3) */
static etk_status resize_rows(etk_error *e, uint8_t **out, const uint8_t *from, int64_t height, int64_t width, int64_t to, etk_resample kind) {
  struct line_filter f;
  etk_status status = filter_init(e, &f, kind, width, to);
  if (status) return status;
  *out = etk_alloc((size_t)(height * to * 3));
  for (int64_t y = 0; y < height && *out; y++)
    for (int64_t i = 0; i < to * 3; i++) {
      const uint8_t *first = from + (y * width + f.first[i / 3]) * 3 + i % 3;
      (*out)[y * to * 3 + i] = weigh(first, 3, f.factors + i / 3 * f.room, f.count[i / 3]);
    }
  filter_fini(&f);
  return *out ? ETK_OK : etk_fail_memory(e);
}

/* (height, width, 3) -> (to, width, 3) */
static etk_status resize_columns(etk_error *e, uint8_t **out, const uint8_t *from, int64_t height, int64_t width, int64_t to, etk_resample kind) {
  struct line_filter f;
  etk_status status = filter_init(e, &f, kind, height, to);
  if (status) return status;
  *out = etk_alloc((size_t)(to * width * 3));
  for (int64_t y = 0; y < to && *out; y++)
    for (int64_t i = 0; i < width * 3; i++)
      (*out)[y * width * 3 + i] = weigh(from + f.first[y] * width * 3 + i, width * 3, f.factors + y * f.room, f.count[y]);
  filter_fini(&f);
  return *out ? ETK_OK : etk_fail_memory(e);
}

/* *image is the caller's, or a new one; *height and *width become the new sides. A direction that keeps its size is left alone. */
static etk_status resize(etk_error *e, const etk_image_rules *r, const uint8_t *rgb, uint8_t **image, int64_t *height, int64_t *width) {
  int64_t h = *height, w = *width, to_h = r->height ? r->height : h, to_w = r->width ? r->width : w;
  uint8_t *rows = NULL;
  if (r->shortest_edge) {
    to_h = h <= w ? r->shortest_edge : (int64_t)((double)(r->shortest_edge * h) / (double)w);
    to_w = h <= w ? (int64_t)((double)(r->shortest_edge * w) / (double)h) : r->shortest_edge;
  }
  if (to_h > SIDE_LIMIT || to_w > SIDE_LIMIT)
    return etk_fail(e, ETK_E_INVALID, "an image of %lld x %lld becomes one of %lld x %lld, above %d on a side: it is too long for its height",
                    (long long)w, (long long)h, (long long)to_w, (long long)to_h, (int)SIDE_LIMIT);
  etk_status status = to_w == w ? ETK_OK : resize_rows(e, &rows, rgb, h, w, to_w, r->resample);
  if (!status && to_h != h) status = resize_columns(e, image, rows ? rows : rgb, h, to_w, to_h, r->resample);
  else if (!status) *image = rows, rows = NULL;
  etk_free(rows);
  *height = to_h;
  *width = to_w;
  return status;
}

etk_status etk_image_prepare(etk_error *e, float *out, const etk_image_rules *r, const uint8_t *rgb, int64_t height, int64_t width,
                             int64_t image_size) {
  uint8_t *image = NULL;
  if (height < 1 || width < 1 || height > SIDE_LIMIT || width > SIDE_LIMIT)
    return etk_fail(e, ETK_E_INVALID, "an image of %lld x %lld; wanted sides of 1 to %d", (long long)width, (long long)height, (int)SIDE_LIMIT);
  etk_status status = resize(e, r, rgb, &image, &height, &width);
  if (!status && (height < image_size || width < image_size || (!r->crop_height && (height != image_size || width != image_size))))
    status = etk_fail(e, ETK_E_INVALID, "an image of %lld x %lld does not fill the model's %lld x %lld", (long long)width, (long long)height,
                      (long long)image_size, (long long)image_size);
  int64_t top = (height - image_size) / 2, left = (width - image_size) / 2;
  const uint8_t *from = image ? image : rgb;
  for (int64_t i = 0; i < 3 * image_size * image_size && !status; i++) {
    int64_t c = i / (image_size * image_size), y = i / image_size % image_size, x = i % image_size;
    out[i] = (float)(((double)from[((top + y) * width + left + x) * 3 + c] * r->rescale - r->mean[c]) / r->std[c]);
  }
  etk_free(image);
  return status;
}
