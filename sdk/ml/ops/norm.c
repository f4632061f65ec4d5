/* rms_norm (Zhang & Sennrich 2019) */
#include "rows.h"

/* x (..., d), weight (d) -> y (..., d), 1/rms (rows) */
static etk_status rms_norm_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *w = shape_of(node, 1);
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (x->rank < 1 || w->rank != 1 || w->dims[0] != etk__last(x))
    return etk_fail(e, ETK_E_SHAPE, "rms_norm: x %s and weight %s: the weight must have the size of x's last axis", etk_shape_text(a, sizeof a, x), etk_shape_text(b, sizeof b, w));
  results[0] = (struct result){ETK_F32, *x};
  results[1] = (struct result){ETK_F32, etk_shape_of(1, node->inputs[0]->elements / etk__last(x))};
  *count = 2;
  return ETK_OK;
}

static void rms_norm_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[1].elements;
  float epsilon = *(const float *)c->attributes;
  for (int64_t i = begin; i < end; i++) out(c, 1)[i] = etk__kernels()->rms_norm_f32(out(c, 0) + i * d, in(c, 0) + i * d, in(c, 1), epsilon, d);
}
static etk_status rms_norm_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[1].elements, row_grain(c->in[1].elements), rms_norm_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs dy, x, weight, 1/rms, base (added to dx) or absent -> dx, dweight where it is wanted */
struct rms_norm_backward {
  bool weight;
};

static etk_status rms_norm_backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  results[0] = (struct result){ETK_F32, *shape_of(node, 1)};
  results[1] = (struct result){ETK_F32, *shape_of(node, 2)};
  *count = ((const struct rms_norm_backward *)node->attributes)->weight ? 2 : 1;
  return ETK_OK;
}

/* As many pieces as threads, each with a sum of its own: the order of additions depends on the thread count alone. */
static void rms_norm_backward_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[2].elements, rows = c->in[3].elements;
  for (int64_t piece = begin; piece < end; piece++) {
    float *sum = c->out[1].data ? (float *)c->scratch + piece * d : NULL;
    if (sum) memset(sum, 0, (size_t)d * sizeof *sum);
    for (int64_t i = rows * piece / c->threads; i < rows * (piece + 1) / c->threads; i++)
      etk__kernels()->rms_norm_backward_f32(out(c, 0) + i * d, sum, c->in[4].data ? in(c, 4) + i * d : NULL, in(c, 0) + i * d, in(c, 1) + i * d, in(c, 2), in(c, 3)[i], d);
  }
}
static etk_status rms_norm_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t d = c->in[2].elements;
  etk_parallel_for(c->threads, 1, rms_norm_backward_pieces, (void *)(uintptr_t)c);
  if (c->out[1].data) {
    memcpy(out(c, 1), c->scratch, (size_t)d * sizeof(float));
    for (int64_t i = 1; i < c->threads; i++) etk__kernels()->add_f32(out(c, 1), out(c, 1), (float *)c->scratch + i * d, d);
  }
  return ETK_OK;
}
static size_t rms_norm_backward_scratch(const struct node *node, int threads) { return (size_t)threads * node->inputs[2]->bytes; }

static const struct op rms_norm_backward_row = {"rms_norm_backward", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1 | OP_INPLACE_4, 4, 5, 0, rms_norm_backward_shape,
                                                rms_norm_backward_forward, NULL, rms_norm_backward_scratch};

static void rms_norm_backward(struct reverse *r) {
  struct rms_norm_backward a = {r->wanted[1]};
  etk_tensor *const *x = r->node->inputs, *d = RECORD_WITH(r->graph, rms_norm_backward_row, &a, r->outputs[0], x[0], x[1], r->node->outputs[1], r->running[0]);
  r->gradients[0] = d;
  r->accumulated[0] = r->running[0] != NULL;
  if (a.weight) r->gradients[1] = etk__output(d, 1);
}

static const struct op rms_norm_row = {"rms_norm", 0, 2, 2, 0, rms_norm_shape, rms_norm_forward, rms_norm_backward, NULL};
etk_tensor *etk_rms_norm(etk_graph *g, etk_tensor *x, etk_tensor *weight, float epsilon) { return RECORD_WITH(g, rms_norm_row, &epsilon, x, weight); }
