/* layer_norm (Ba, Kiros & Hinton 2016) over the last axis */
#include "rows.h"

/* x (..., d), weight (d), bias (d) -> y (..., d), mean (rows), 1/deviation (rows) */
static etk_status layer_norm_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *w = shape_of(node, 1), *b = shape_of(node, 2);
  char t[3][SHAPE_TEXT];
  if (x->rank < 1 || w->rank != 1 || w->dims[0] != etk__last(x) || !etk_shape_equal(w, b))
    return etk_fail(e, ETK_E_SHAPE, "layer_norm: x %s, weight %s and bias %s: weight and bias must have the size of x's last axis", etk_shape_text(t[0], SHAPE_TEXT, x),
                    etk_shape_text(t[1], SHAPE_TEXT, w), etk_shape_text(t[2], SHAPE_TEXT, b));
  results[0] = (struct result){ETK_F32, *x};
  results[1] = results[2] = (struct result){ETK_F32, etk_shape_of(1, node->inputs[0]->elements / etk__last(x))};
  *count = 3;
  return ETK_OK;
}

static void layer_norm_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[1].elements;
  for (int64_t i = begin; i < end; i++)
    out(c, 2)[i] = etk__kernels()->layer_norm_f32(out(c, 0) + i * d, in(c, 0) + i * d, in(c, 1), in(c, 2), *(const float *)c->attributes, out(c, 1) + i, d);
}
static etk_status layer_norm_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[1].elements, row_grain(c->in[1].elements), layer_norm_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs dy, x, weight, mean, 1/deviation -> dx, dweight, dbias */
static etk_status backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  results[0] = (struct result){ETK_F32, *shape_of(node, 1)};
  results[1] = results[2] = (struct result){ETK_F32, *shape_of(node, 2)};
  *count = 3;
  return ETK_OK;
}

/* With n = (x - mean) r and u = dy w: dx = r (u - mean(u) - n mean(u n)). sums: dweight (d), dbias (d) */
static void backward_row(const struct call *c, int64_t i, float *sums) {
  int64_t d = c->in[2].elements;
  const float *dy = in(c, 0) + i * d, *x = in(c, 1) + i * d, *w = in(c, 2);
  float mean = in(c, 3)[i], r = in(c, 4)[i], *dx = out(c, 0) + i * d;
  double u = 0, un = 0;
  for (int64_t j = 0; j < d; j++) {
    float n = (x[j] - mean) * r;
    sums[j] += dy[j] * n;
    sums[d + j] += dy[j];
    u += (double)(dy[j] * w[j]);
    un += (double)(dy[j] * w[j] * n);
  }
  float mean_u = (float)(u / (double)d), mean_un = (float)(un / (double)d);
  for (int64_t j = 0; j < d; j++) dx[j] = r * (dy[j] * w[j] - mean_u - (x[j] - mean) * r * mean_un);
}
/* As many pieces as threads, each with sums of its own: the order of additions depends on the thread count alone. */
static void backward_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[2].elements, rows = c->in[3].elements;
  for (int64_t piece = begin; piece < end; piece++) {
    float *sums = (float *)c->scratch + piece * 2 * d;
    memset(sums, 0, (size_t)(2 * d) * sizeof *sums);
    for (int64_t i = rows * piece / c->threads; i < rows * (piece + 1) / c->threads; i++) backward_row(c, i, sums);
  }
}
static etk_status backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t d = c->in[2].elements;
  etk_parallel_for(c->threads, 1, backward_pieces, (void *)(uintptr_t)c);
  for (int result = 1; result <= 2; result++) {
    if (!c->out[result].data) continue;
    const float *sums = (const float *)c->scratch + (result - 1) * d;
    memcpy(out(c, result), sums, (size_t)d * sizeof(float));
    for (int64_t i = 1; i < c->threads; i++) etk__kernels()->add_f32(out(c, result), out(c, result), sums + i * 2 * d, d);
  }
  return ETK_OK;
}
static size_t backward_scratch(const struct node *node, int threads) { return (size_t)threads * 2 * node->inputs[2]->bytes; }
static const struct op layer_norm_backward_row = {"layer_norm_backward", 0, 5, 5, 0, backward_shape, backward_forward, NULL, backward_scratch};

static void layer_norm_backward(struct reverse *r) {
  etk_tensor *const *x = r->node->inputs, *const *y = r->node->outputs;
  etk_tensor *d = RECORD(r->graph, layer_norm_backward_row, r->outputs[0], x[0], x[1], y[1], y[2]);
  for (int i = 0; i < 3; i++) r->gradients[i] = etk__output(d, i);
}
static const struct op layer_norm_row = {"layer_norm", 0, 3, 3, 0, layer_norm_shape, layer_norm_forward, layer_norm_backward, NULL};
etk_tensor *etk_layer_norm(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *bias, float epsilon) {
  return RECORD_WITH(g, layer_norm_row, &epsilon, x, weight, bias);
}
