/* mean_pool and max_pool: the first `length` rows of each sequence become one; spread, which is mean_pool's derivative and has it as its own. */
#include "rows.h"

/* x (batch, tokens, d), lengths (batch) i32 -> (batch, d); a sequence of length 0 gives zeros */
static etk_status pool_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *lengths = shape_of(node, 1);
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (x->rank != 3 || lengths->rank != 1 || lengths->dims[0] != x->dims[0])
    return etk_fail(e, ETK_E_SHAPE, "%s: %s with lengths %s: wants (batch, tokens, d) and (batch)", node->op->name, etk_shape_text(a, sizeof a, x),
                    etk_shape_text(b, sizeof b, lengths));
  return gives(results, count, &etk_shape_of(2, x->dims[0], x->dims[2]));
}

static void mean_pool_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t tokens = c->in[0].shape.dims[1], d = c->in[0].shape.dims[2];
  for (int64_t b = begin; b < end; b++) {
    float *y = out(c, 0) + b * d;
    const float *x = in(c, 0) + b * tokens * d;
    int64_t length = in_integers(c, 1)[b];
    memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t t = 0; t < length; t++) etk__kernels()->add_f32(y, y, x + t * d, d);
    if (length) etk__kernels()->scale_f32(y, y, 1 / (float)length, d);
  }
}
static etk_status mean_pool_forward(etk_error *e, const struct call *c) {
  etk_status status = check_lengths(e, c, 1, c->in[0].shape.dims[1]);
  if (!status)
    etk_parallel_for(c->in[0].shape.dims[0], row_grain(c->in[0].shape.dims[1] * c->in[0].shape.dims[2]), mean_pool_rows, (void *)(uintptr_t)c);
  return status;
}

/* ---- spread: dy (batch, d), lengths -> (batch, tokens, d): dy / length in the rows that were pooled, 0 in the others ---- */

struct spread {
  int64_t tokens;
};
static etk_status spread_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  const etk_shape *dy = shape_of(node, 0);
  return gives(results, count, &etk_shape_of(3, dy->dims[0], ((const struct spread *)node->attributes)->tokens, dy->dims[1]));
}
static void spread_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t tokens = c->out[0].shape.dims[1], d = c->out[0].shape.dims[2];
  for (int64_t i = begin; i < end; i++) { /* i: b * tokens + t */
    int64_t length = in_integers(c, 1)[i / tokens];
    if (i % tokens < length) etk__kernels()->scale_f32(out(c, 0) + i * d, in(c, 0) + i / tokens * d, 1 / (float)length, d);
    else memset(out(c, 0) + i * d, 0, (size_t)d * sizeof(float));
  }
}
static etk_status spread_forward(etk_error *e, const struct call *c) {
  const etk_shape *shape = &c->out[0].shape;
  etk_status status = check_lengths(e, c, 1, shape->dims[1]);
  if (!status) etk_parallel_for(shape->dims[0] * shape->dims[1], row_grain(shape->dims[2]), spread_rows, (void *)(uintptr_t)c);
  return status;
}
static void spread_backward(struct reverse *r) { r->gradients[0] = etk_mean_pool(r->graph, r->outputs[0], r->node->inputs[1]); }
static const struct op spread_row = {"spread", 0, 2, 2, 2, spread_shape, spread_forward, spread_backward, NULL};

static void mean_pool_backward(struct reverse *r) {
  struct spread a = {shape_of(r->node, 0)->dims[1]};
  r->gradients[0] = RECORD_WITH(r->graph, spread_row, &a, r->outputs[0], r->node->inputs[1]);
}
static const struct op mean_pool_row = {"mean_pool", 0, 2, 2, 2, pool_shape, mean_pool_forward, mean_pool_backward, NULL};
etk_tensor *etk_mean_pool(etk_graph *g, etk_tensor *x, etk_tensor *lengths) { return RECORD(g, mean_pool_row, x, lengths); }

/* ---- max_pool ---- */

static void max_pool_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t tokens = c->in[0].shape.dims[1], d = c->in[0].shape.dims[2];
  for (int64_t b = begin; b < end; b++) {
    float *y = out(c, 0) + b * d;
    const float *x = in(c, 0) + b * tokens * d;
    int64_t length = in_integers(c, 1)[b];
    if (length) memcpy(y, x, (size_t)d * sizeof *y);
    else memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t t = 1; t < length; t++)
      for (int64_t j = 0; j < d; j++) y[j] = x[t * d + j] > y[j] ? x[t * d + j] : y[j];
  }
}
static etk_status max_pool_forward(etk_error *e, const struct call *c) {
  etk_status status = check_lengths(e, c, 1, c->in[0].shape.dims[1]);
  if (!status)
    etk_parallel_for(c->in[0].shape.dims[0], row_grain(c->in[0].shape.dims[1] * c->in[0].shape.dims[2]), max_pool_rows, (void *)(uintptr_t)c);
  return status;
}

/* inputs dy, y, x, lengths -> dx: dy where x is the largest, at the first such row */
static etk_status max_pool_backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, shape_of(node, 2));
}
static void max_pool_backward_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t tokens = c->in[2].shape.dims[1], d = c->in[2].shape.dims[2];
  for (int64_t b = begin; b < end; b++) {
    const float *dy = in(c, 0) + b * d, *y = in(c, 1) + b * d, *x = in(c, 2) + b * tokens * d;
    float *dx = out(c, 0) + b * tokens * d;
    int64_t length = in_integers(c, 3)[b];
    memset(dx, 0, (size_t)(tokens * d) * sizeof *dx);
    for (int64_t j = 0; j < d; j++) {
      int64_t t = 0;
      while (t < length && x[t * d + j] != y[j]) t++;
      if (t < length) dx[t * d + j] = dy[j];
    }
  }
}
static etk_status max_pool_backward_forward(etk_error *e, const struct call *c) {
  const etk_shape *x = &c->in[2].shape;
  etk_status status = check_lengths(e, c, 3, x->dims[1]);
  if (!status) etk_parallel_for(x->dims[0], row_grain(x->dims[1] * x->dims[2]), max_pool_backward_rows, (void *)(uintptr_t)c);
  return status;
}
static const struct op max_pool_backward_row = {"max_pool_backward", 0, 4, 4, 8, max_pool_backward_shape, max_pool_backward_forward, NULL, NULL};
static void max_pool_backward(struct reverse *r) {
  const struct node *node = r->node;
  r->gradients[0] = RECORD(r->graph, max_pool_backward_row, r->outputs[0], node->outputs[0], node->inputs[0], node->inputs[1]);
}
static const struct op max_pool_row = {"max_pool", 0, 2, 2, 2, pool_shape, max_pool_forward, max_pool_backward, NULL};
etk_tensor *etk_max_pool(etk_graph *g, etk_tensor *x, etk_tensor *lengths) { return RECORD(g, max_pool_row, x, lengths); }
