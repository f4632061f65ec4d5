/* fill sum mean sum_leading broadcast softmax */
#include "rows.h"

/* ---- fill: no inputs ---- */

struct fill {
  etk_shape shape;
  float value;
};
static etk_status fill_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, &((const struct fill *)node->attributes)->shape);
}
static etk_status fill_forward(etk_error *e, const struct call *c) {
  (void)e;
  for (int64_t i = 0; i < c->out[0].elements; i++) out(c, 0)[i] = ((const struct fill *)c->attributes)->value;
  return ETK_OK;
}
static void fill_backward(struct reverse *r) { (void)r; }
static const struct op fill_row = {"fill", 0, 0, 0, 0, fill_shape, fill_forward, fill_backward, NULL};
etk_tensor *etk__fill(etk_graph *g, etk_shape shape, float value) {
  struct fill attributes = {shape, value};
  return etk__record(g, &fill_row, NULL, 0, &attributes, sizeof attributes);
}

/* ---- sum, mean: factor * (everything added up), in double ---- */

static etk_status one_element(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  (void)node;
  return gives(results, count, &etk_shape_of(1, 1));
}
static etk_status total_forward(etk_error *e, const struct call *c) {
  (void)e;
  *out(c, 0) = (float)(etk__kernels()->sum_f32(in(c, 0), c->in[0].elements) * *(const double *)c->attributes);
  return ETK_OK;
}
static void total_backward(struct reverse *r) {
  etk_tensor *each = etk_broadcast(r->graph, r->outputs[0], *shape_of(r->node, 0));
  double factor = *(const double *)r->node->attributes;
  r->gradients[0] = factor == 1 ? each : etk_scale(r->graph, each, (float)factor);
}
static const struct op sum_row = {"sum", 0, 1, 1, 0, one_element, total_forward, total_backward, NULL};
static const struct op mean_row = {"mean", 0, 1, 1, 0, one_element, total_forward, total_backward, NULL};
etk_tensor *etk_sum(etk_graph *g, etk_tensor *a) {
  double factor = 1;
  return RECORD_WITH(g, sum_row, &factor, a);
}
etk_tensor *etk_mean(etk_graph *g, etk_tensor *a) {
  double factor = a && a->elements > 0 ? 1.0 / (double)a->elements : 1;
  return RECORD_WITH(g, mean_row, &factor, a);
}

/* ---- sum_leading and broadcast: each other's derivative ---- */

static etk_status sum_leading_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *suffix = node->attributes;
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (!etk__shape_is_suffix(suffix, shape_of(node, 0)))
    return etk_fail(e, ETK_E_SHAPE, "sum_leading: %s does not end in %s", etk_shape_text(a, sizeof a, shape_of(node, 0)), etk_shape_text(b, sizeof b, suffix));
  return gives(results, count, suffix);
}
/* Columns begin..end of (rows, columns), in row order. */
static void sum_leading_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t columns = c->out[0].elements, rows = c->in[0].elements / columns;
  memcpy(out(c, 0) + begin, in(c, 0) + begin, (size_t)(end - begin) * sizeof(float));
  for (int64_t i = 1; i < rows; i++) etk__kernels()->add_f32(out(c, 0) + begin, out(c, 0) + begin, in(c, 0) + i * columns + begin, end - begin);
}
static etk_status sum_leading_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t columns = c->out[0].elements, rows = c->in[0].elements / columns;
  if (columns == 1) *out(c, 0) = (float)etk__kernels()->sum_f32(in(c, 0), rows);
  else etk_parallel_for(columns, 64 + ELEMENT_GRAIN / rows, sum_leading_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void sum_leading_backward(struct reverse *r) { r->gradients[0] = etk_broadcast(r->graph, r->outputs[0], *shape_of(r->node, 0)); }
static const struct op sum_leading_row = {"sum_leading", 0, 1, 1, 0, sum_leading_shape, sum_leading_forward, sum_leading_backward, NULL};
etk_tensor *etk_sum_leading(etk_graph *g, etk_tensor *a, etk_shape suffix) {
  if (a && etk_shape_equal(&a->shape, &suffix)) return a;
  return RECORD_WITH(g, sum_leading_row, &suffix, a);
}

static etk_status broadcast_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *shape = node->attributes;
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (!etk__shape_is_suffix(shape_of(node, 0), shape) && node->inputs[0]->elements != 1)
    return etk_fail(e, ETK_E_SHAPE, "broadcast: %s is not the end of %s", etk_shape_text(a, sizeof a, shape_of(node, 0)), etk_shape_text(b, sizeof b, shape));
  return gives(results, count, shape);
}
static void broadcast_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t period = c->in[0].elements;
  float *y = out(c, 0);
  const float *a = in(c, 0);
  if (period == 1)
    for (int64_t i = begin; i < end; i++) y[i] = a[0];
  else
    for (int64_t i = begin, n; i < end; i += n) {
      n = period - i % period < end - i ? period - i % period : end - i;
      memcpy(y + i, a + i % period, (size_t)n * sizeof(float));
    }
}
static etk_status broadcast_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN, broadcast_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void broadcast_backward(struct reverse *r) {
  const etk_shape *from = shape_of(r->node, 0);
  etk_graph *g = r->graph;
  r->gradients[0] = etk__shape_is_suffix(from, &r->outputs[0]->shape) ? etk_sum_leading(g, r->outputs[0], *from) : etk_reshape(g, etk_sum(g, r->outputs[0]), *from);
}
static const struct op broadcast_row = {"broadcast", 0, 1, 1, 0, broadcast_shape, broadcast_forward, broadcast_backward, NULL};
etk_tensor *etk_broadcast(etk_graph *g, etk_tensor *a, etk_shape shape) {
  if (a && etk_shape_equal(&a->shape, &shape)) return a;
  return RECORD_WITH(g, broadcast_row, &shape, a);
}

/* ---- softmax over the last axis ---- */

static void softmax_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t n = etk__last(&c->in[0].shape);
  for (int64_t i = begin; i < end; i++) etk__kernels()->softmax_f32(out(c, 0) + i * n, in(c, 0) + i * n, 1, n);
}
static etk_status softmax_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t n = etk__last(&c->in[0].shape);
  etk_parallel_for(c->in[0].elements / n, row_grain(4 * n), softmax_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs y, dy -> y (dy - sum(y dy)). The Jacobian is symmetric, so the derivative in dy is the same operation. */
static void softmax_backward_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t n = etk__last(&c->in[0].shape);
  for (int64_t i = begin; i < end; i++) {
    const float *y = in(c, 0) + i * n, *dy = in(c, 1) + i * n;
    etk__kernels()->softmax_backward_f32(out(c, 0) + i * n, y, dy, etk__kernels()->dot_f32(y, dy, n), 1, n);
  }
}
static etk_status softmax_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t n = etk__last(&c->in[0].shape);
  etk_parallel_for(c->in[0].elements / n, row_grain(n), softmax_backward_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op softmax_backward_row = {"softmax_backward", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, same_shape, softmax_backward_forward, NULL, NULL};
static void softmax_backward(struct reverse *r) { r->gradients[0] = RECORD(r->graph, softmax_backward_row, r->node->outputs[0], r->outputs[0]); }
static const struct op softmax_row = {"softmax", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, softmax_forward, softmax_backward, NULL};
etk_tensor *etk_softmax(etk_graph *g, etk_tensor *a) { return RECORD(g, softmax_row, a); }
