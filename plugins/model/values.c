#include "values.h"

#include <etk/alloc.h>
#include <etk/parallel.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 65536 /* values; a multiple of every type's block */, BATCH = 256 /* chunks whose partial results are kept */ };

etk_status model_failed(etk_run *run, const etk_error *e) { return etk_run_fail(run, e->status, "%s", e->message); }

/* One pass: piece i of a tensor goes through `visit`, which fills part i of its batch; parts are then folded in order. */
struct pass {
  const etk_weight *a, *b;   /* b NULL: one tensor */
  const char *x, *y;         /* instead of them: F32 at any address, as maps have it */
  int64_t elements, pieces;
  int64_t base;              /* first piece of the batch */
  size_t part_size;
  void *parts;
  float *buffers;            /* 2 * width for each slot */
  int64_t width;
  etk_error *errors;         /* one for each slot */
  void (*visit)(const struct pass *pass, void *part, const float *x, const float *y, int64_t count);
  const struct statistics *statistics; /* of a histogram */
  int64_t bins;
};

static etk_status visit_chunk(etk_error *e, const struct pass *p, int64_t piece, void *part, float *x, float *y) {
  int64_t first = piece * CHUNK, count = p->elements - first < CHUNK ? p->elements - first : CHUNK;
  if (p->x) {
    size_t size = sizeof *x, from = (size_t)first * size, bytes = (size_t)count * size;
    memcpy(x, p->x + from, bytes), memcpy(y, p->y + from, bytes);
    return p->visit(p, part, x, y, count), ETK_OK;
  }
  etk_status status = etk_weight_decode(e, x, p->a, first, count);
  if (!status && p->b) status = etk_weight_decode(e, y, p->b, first, count);
  if (!status) p->visit(p, part, x, y, count);
  return status;
}

static void visit_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct pass *p = user;
  float *x = p->buffers + (int64_t)slot * 2 * p->width, *y = x + p->width;
  etk_error *e = &p->errors[slot];
  for (int64_t i = begin; i < end && !e->status; i++) {
    void *part = (char *)p->parts + (size_t)i * p->part_size;
    visit_chunk(e, p, p->base + i, part, x, y);
  }
}

static void plan(struct pass *p) {
  if (!p->x) p->elements = etk_weight_elements(p->a);
  p->pieces = p->elements / CHUNK + (p->elements % CHUNK != 0);
  p->width = p->elements < CHUNK ? p->elements : CHUNK;
}

static etk_status go(etk_error *e, struct pass *p, void *total, void (*fold)(const struct pass *p, void *total, const void *part)) {
  plan(p);
  if (p->elements <= 0) return ETK_OK;
  int slots = etk_parallel_threads();
  int64_t most = p->pieces < BATCH ? p->pieces : BATCH;
  p->parts = etk_calloc((size_t)most, p->part_size);
  p->buffers = etk_calloc((size_t)slots * 2 * (size_t)p->width + 1, sizeof *p->buffers);
  p->errors = etk_calloc((size_t)slots, sizeof *p->errors);
  etk_status status = p->parts && p->buffers && p->errors ? ETK_OK : etk_fail_memory(e);
  for (p->base = 0; p->base < p->pieces && !status; p->base += most) {
    int64_t count = p->pieces - p->base < most ? p->pieces - p->base : most;
    memset(p->parts, 0, (size_t)most * p->part_size);
    etk_parallel_for(count, 1, visit_pieces, p);
    for (int i = 0; i < slots && !status; i++)
      if (p->errors[i].status) status = etk_fail(e, p->errors[i].status, "%s", p->errors[i].message);
    for (int64_t i = 0; i < count && !status; i++) fold(p, total, (char *)p->parts + (size_t)i * p->part_size);
  }
  etk_free(p->parts), etk_free(p->buffers), etk_free(p->errors);
  return status;
}

/* ---- statistics: means and squares are merged as Chan, Golub and LeVeque do, so that large tensors lose nothing ---- */
enum { LANES = 16 };
static bool all_finite(const float *x, int64_t count) {
  uint32_t bits[LANES], found[LANES] = {0};
  for (int64_t i = 0; i + LANES <= count; i += LANES) {
    memcpy(bits, x + i, sizeof bits);
    for (int k = 0; k < LANES; k++) found[k] |= (uint32_t)((bits[k] & 0x7f800000) == 0x7f800000);
  }
  bool finite = true;
  for (int64_t i = count - count % LANES; i < count; i++) finite &= isfinite(x[i]) != 0;
  for (int k = 0; k < LANES; k++) finite &= !found[k];
  return finite;
}

/* The same for values that are all finite and fill the lanes: sums of lanes of their own, which compilers turn into vectors. */
static void see_finite(struct statistics *s, const float *x, int64_t count) {
  float low[LANES], high[LANES];
  double sum[LANES] = {0}, squares[LANES] = {0};
  memcpy(low, x, sizeof low), memcpy(high, x, sizeof high);
  for (int64_t i = 0; i < count; i += LANES)
    for (int k = 0; k < LANES; k++) {
      low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
      high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
      sum[k] += (double)x[i + k];
    }
  s->min = low[0], s->max = high[0], s->count = count;
  for (int k = 0; k < LANES; k++) {
    if (low[k] < s->min) s->min = low[k];
    if (high[k] > s->max) s->max = high[k];
    s->mean += sum[k] / (double)count;
  }
  for (int64_t i = 0; i < count; i += LANES)
    for (int k = 0; k < LANES; k++) squares[k] += ((double)x[i + k] - s->mean) * ((double)x[i + k] - s->mean);
  for (int k = 0; k < LANES; k++) s->squares += squares[k];
}

static void see_statistics(const struct pass *p, void *part, const float *x, const float *y, int64_t count) {
  struct statistics *s = part;
  (void)p, (void)y;
  if (count && count % LANES == 0 && all_finite(x, count)) {
    see_finite(s, x, count);
    return;
  }
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(x[i])) {
      if (isnan(x[i])) s->nan++;
      else s->infinite++;
      continue;
    }
    if (!s->count || x[i] < s->min) s->min = x[i];
    if (!s->count || x[i] > s->max) s->max = x[i];
    s->count++;
    sum += x[i];
  }
  s->mean = s->count ? sum / (double)s->count : 0;
  for (int64_t i = 0; i < count; i++)
    if (isfinite(x[i])) s->squares += (x[i] - s->mean) * (x[i] - s->mean);
}
static void fold_statistics(const struct pass *p, void *total, const void *part) {
  struct statistics *t = total;
  const struct statistics *s = part;
  (void)p;
  t->nan += s->nan, t->infinite += s->infinite;
  if (!s->count) return;
  if (!t->count || s->min < t->min) t->min = s->min;
  if (!t->count || s->max > t->max) t->max = s->max;
  double n = (double)t->count, m = (double)s->count, delta = s->mean - t->mean;
  t->squares += s->squares + delta * delta * n * m / (n + m);
  t->mean += delta * m / (n + m);
  t->count += s->count;
}
etk_status values_statistics(etk_error *e, struct statistics *out, const etk_weight *weight) {
  *out = (struct statistics){0};
  struct pass p = {.a = weight, .part_size = sizeof *out, .visit = see_statistics};
  return go(e, &p, out, fold_statistics);
}
double values_deviation(const struct statistics *s) { return s->count ? sqrt(s->squares / (double)s->count) : 0; }

/* ---- histogram ---- */
static void see_histogram(const struct pass *p, void *part, const float *x, const float *y, int64_t count) {
  int64_t *counts = part;
  (void)y;
  double low = p->statistics->min, span = p->statistics->max - low;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(x[i])) continue;
    int64_t bin = span > 0 ? (int64_t)((x[i] - low) / span * (double)p->bins) : 0;
    counts[bin < p->bins ? bin : p->bins - 1]++;
  }
}
static void fold_histogram(const struct pass *p, void *total, const void *part) {
  int64_t *sum = total;
  const int64_t *counts = part;
  for (int64_t i = 0; i < p->bins; i++) sum[i] += counts[i];
}
etk_status values_histogram(etk_error *e, int64_t *counts, int64_t bins, const etk_weight *weight, const struct statistics *statistics) {
  memset(counts, 0, (size_t)bins * sizeof *counts);
  struct pass p = {.a = weight, .part_size = (size_t)bins * sizeof *counts, .visit = see_histogram, .statistics = statistics, .bins = bins};
  return go(e, &p, counts, fold_histogram);
}

/* ---- difference ---- */
static void see_difference(const struct pass *p, void *part, const float *x, const float *y, int64_t count) {
  struct difference *d = part;
  (void)p;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i])) {
      if (!(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])))) d->unlike++;
      continue;
    }
    double gap = fabs((double)x[i] - (double)y[i]);
    if (gap > d->max_abs) d->max_abs = gap;
    d->error += gap * gap;
    d->total += (double)x[i] * x[i];
    d->count++;
  }
}
static void fold_difference(const struct pass *p, void *total, const void *part) {
  struct difference *t = total;
  const struct difference *d = part;
  (void)p;
  if (d->max_abs > t->max_abs) t->max_abs = d->max_abs;
  t->error += d->error, t->total += d->total, t->count += d->count, t->unlike += d->unlike;
}
etk_status values_difference(etk_error *e, struct difference *out, const etk_weight *a, const etk_weight *b) {
  *out = (struct difference){0};
  struct pass p = {.a = a, .b = b, .part_size = sizeof *out, .visit = see_difference};
  return go(e, &p, out, fold_difference);
}
etk_status values_difference_f32(etk_error *e, struct difference *out, const void *a, const void *b, int64_t count) {
  *out = (struct difference){0};
  struct pass p = {.x = a, .y = b, .elements = count, .part_size = sizeof *out, .visit = see_difference};
  return go(e, &p, out, fold_difference);
}
double values_relative_rms(const struct difference *d) { return d->error > 0 ? sqrt(d->error / d->total) : 0; }
