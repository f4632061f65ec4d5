/* route: which experts a token goes to, and with what weight (Shazeer et al. 2017; Jiang et al. 2024); expert_rows: which tokens came to an expert; scale_rows:
 * each row times a number of its own. */
#include "rows.h"

struct route {
  int64_t count;
  bool normalise;
};

/* logits (..., experts) -> weights (..., experts), probabilities of all */
static etk_status route_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0);
  const struct route *a = node->attributes;
  char text[SHAPE_TEXT];
  if (x->rank < 1 || a->count < 1 || a->count > etk__last(x))
    return etk_fail(e, ETK_E_SHAPE, "route: %lld experts a token of logits %s", (long long)a->count, etk_shape_text(text, sizeof text, x));
  results[0] = results[1] = (struct result){ETK_F32, *x};
  *count = 2;
  return ETK_OK;
}
static void route_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  const struct route *a = c->attributes;
  int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
  for (int64_t i = begin; i < end; i++) {
    float *w = out(c, 0) + i * n, *p = out(c, 1) + i * n, sum = 0;
    etk__kernels()->softmax_f32(p, in(c, 0) + i * n, 1, n);
    for (int64_t j = 0; j < n; j++) w[j] = -1; /* not chosen */
    for (int64_t k = 0; k < a->count; k++) {
      int64_t best = -1;
      for (int64_t j = 0; j < n; j++)
        if (w[j] < 0 && (best < 0 || p[j] > p[best])) best = j;
      w[best] = p[best] >= 0 ? p[best] : 0; /* not a number: the loss tells */
      sum += p[best];
    }
    for (int64_t j = 0; j < n; j++) w[j] = w[j] < 0 ? 0 : a->normalise ? w[j] / sum : w[j];
  }
}
static etk_status route_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
  etk_parallel_for(c->in[0].elements / n, row_grain(8 * n), route_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs dy, weights, probabilities -> dlogits. Chosen are those of weight above 0. Normalised weights are a softmax among the chosen. */
static void route_backward_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  bool normalise = ((const struct route *)c->attributes)->normalise;
  int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
  for (int64_t i = begin; i < end; i++) {
    const float *dy = in(c, 0) + i * n, *w = in(c, 1) + i * n, *p = normalise ? w : in(c, 2) + i * n;
    float mean = 0;
    for (int64_t j = 0; j < n; j++) mean += dy[j] * w[j];
    for (int64_t j = 0; j < n; j++) out(c, 0)[i * n + j] = p[j] * ((w[j] > 0 ? dy[j] : 0) - mean);
  }
}
static etk_status route_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
  etk_parallel_for(c->in[0].elements / n, row_grain(n), route_backward_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op route_backward_row = {"route_backward", 0, 3, 3, 0, same_shape, route_backward_forward, NULL, NULL};
static void route_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, route_backward_row, (const struct route *)r->node->attributes, r->outputs[0], r->node->outputs[0], r->node->outputs[1]);
}
static const struct op route_row = {"route", 0, 1, 1, 0, route_shape, route_forward, route_backward, NULL};
etk_tensor *etk_route(etk_graph *g, etk_tensor *logits, int64_t count, bool normalise) {
  return RECORD_WITH(g, route_row, (&(struct route){count, normalise}), logits);
}

/* ---- expert_rows: weights (..., experts) -> index (rows), count (1), both i32 ---- */

static etk_status expert_rows_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *w = shape_of(node, 0);
  int64_t expert = *(const int64_t *)node->attributes;
  char text[SHAPE_TEXT];
  if (w->rank < 1 || expert < 0 || expert >= etk__last(w))
    return etk_fail(e, ETK_E_SHAPE, "expert_rows: expert %lld of weights %s", (long long)expert, etk_shape_text(text, sizeof text, w));
  results[0] = (struct result){ETK_I32, etk_shape_of(1, node->inputs[0]->elements / etk__last(w))};
  results[1] = (struct result){ETK_I32, etk_shape_of(1, 1)};
  *count = 2;
  return ETK_OK;
}
static etk_status expert_rows_forward(etk_error *e, const struct call *c) {
  int64_t expert = *(const int64_t *)c->attributes, rows = c->out[0].elements, experts = c->in[0].elements / rows;
  int32_t *index = c->out[0].data, count = 0;
  (void)e;
  for (int64_t i = 0; i < rows; i++)
    if (in(c, 0)[i * experts + expert] != 0) index[count++] = (int32_t)i; /* what is not a number is served too: the loss tells */
  for (int64_t i = count; i < rows; i++) index[i] = -1;
  *(int32_t *)c->out[1].data = count;
  return ETK_OK;
}
static const struct op expert_rows_row = {"expert_rows", 0, 1, 1, 0, expert_rows_shape, expert_rows_forward, NULL, NULL};
etk_tensor *etk_expert_rows(etk_graph *g, etk_tensor *weights, int64_t expert, etk_tensor **count) {
  etk_tensor *index = RECORD_WITH(g, expert_rows_row, &expert, weights);
  *count = etk__output(index, 1);
  return index;
}

/* ---- scale_rows: a (..., d), s with one element a row; dot_rows (dy, a, s -> like s), its derivative in s ---- */

static etk_status scale_rows_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *a = shape_of(node, 0);
  char x[SHAPE_TEXT], y[SHAPE_TEXT];
  if (a->rank < 1 || node->inputs[1]->elements * etk__last(a) != node->inputs[0]->elements)
    return etk_fail(e, ETK_E_SHAPE, "scale_rows: %s by %s: wants one number a row", etk_shape_text(x, sizeof x, a), etk_shape_text(y, sizeof y, shape_of(node, 1)));
  return gives(results, count, a);
}
static void scale_rows_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[0].elements / c->in[1].elements;
  for (int64_t i = begin; i < end; i++) etk__kernels()->scale_f32(out(c, 0) + i * d, in(c, 0) + i * d, in(c, 1)[i], d);
}
static etk_status scale_rows_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->in[1].elements, row_grain(c->in[0].elements / c->in[1].elements), scale_rows_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

static etk_status dot_rows_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, shape_of(node, 2));
}
static void dot_rows_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[0].elements / c->in[2].elements;
  for (int64_t i = begin; i < end; i++) out(c, 0)[i] = etk__kernels()->dot_f32(in(c, 0) + i * d, in(c, 1) + i * d, d);
}
static etk_status dot_rows_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->in[2].elements, row_grain(c->in[0].elements / c->in[2].elements), dot_rows_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op dot_rows_row = {"dot_rows", 0, 3, 3, 0, dot_rows_shape, dot_rows_forward, NULL, NULL};
static void scale_rows_backward(struct reverse *r) {
  etk_tensor *const *x = r->node->inputs;
  if (r->wanted[0]) r->gradients[0] = etk_scale_rows(r->graph, r->outputs[0], x[1]);
  if (r->wanted[1]) r->gradients[1] = RECORD(r->graph, dot_rows_row, r->outputs[0], x[0], x[1]);
}
static const struct op scale_rows_row = {"scale_rows", 0, 2, 2, 0, scale_rows_shape, scale_rows_forward, scale_rows_backward, NULL};
etk_tensor *etk_scale_rows(etk_graph *g, etk_tensor *a, etk_tensor *s) { return RECORD(g, scale_rows_row, a, s); }
