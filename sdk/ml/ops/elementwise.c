/* add sub mul scale sigmoid silu swiglu */
#include "rows.h"

/* ---- add, sub, mul: b as a, or a suffix of it ---- */

typedef void binary_kernel(float *, const float *, const float *, int64_t);
struct binary {
  binary_kernel *kernel;
  float *out;
  const float *a, *b;
  int64_t period; /* elements of b */
};

static void binary_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct binary *x = user;
  (void)slot;
  while (begin < end) {
    int64_t at = begin % x->period, n = x->period - at < end - begin ? x->period - at : end - begin;
    x->kernel(x->out + begin, x->a + begin, x->b + at, n);
    begin += n;
  }
}

static etk_status run_binary(const struct call *c, binary_kernel *kernel) {
  struct binary x = {kernel, out(c, 0), in(c, 0), in(c, 1), c->in[1].elements};
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN, binary_range, &x);
  return ETK_OK;
}

static etk_status binary_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (!etk__shape_is_suffix(shape_of(node, 1), shape_of(node, 0)))
    return etk_fail(e, ETK_E_SHAPE, "%s: %s and %s: the second must have the first's shape or be its end", node->op->name, etk_shape_text(a, sizeof a, shape_of(node, 0)),
                    etk_shape_text(b, sizeof b, shape_of(node, 1)));
  return gives(results, count, shape_of(node, 0));
}

/* What flows back to b, which may have been repeated. */
static etk_tensor *to_b(struct reverse *r, etk_tensor *gradient) { return etk_sum_leading(r->graph, gradient, *shape_of(r->node, 1)); }

static etk_status add_forward(etk_error *e, const struct call *c) {
  (void)e;
  return run_binary(c, etk__kernels()->add_f32);
}
static void add_backward(struct reverse *r) {
  r->gradients[0] = r->outputs[0];
  if (r->wanted[1]) r->gradients[1] = to_b(r, r->outputs[0]);
}
static const struct op add_row = {"add", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, binary_shape, add_forward, add_backward, NULL};
etk_tensor *etk_add(etk_graph *g, etk_tensor *a, etk_tensor *b) { return RECORD(g, add_row, a, b); }

static etk_status sub_forward(etk_error *e, const struct call *c) {
  (void)e;
  return run_binary(c, etk__kernels()->sub_f32);
}
static void sub_backward(struct reverse *r) {
  r->gradients[0] = r->outputs[0];
  if (r->wanted[1]) r->gradients[1] = etk_scale(r->graph, to_b(r, r->outputs[0]), -1);
}
static const struct op sub_row = {"sub", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, binary_shape, sub_forward, sub_backward, NULL};
etk_tensor *etk_sub(etk_graph *g, etk_tensor *a, etk_tensor *b) { return RECORD(g, sub_row, a, b); }

static etk_status mul_forward(etk_error *e, const struct call *c) {
  (void)e;
  return run_binary(c, etk__kernels()->mul_f32);
}
static void mul_backward(struct reverse *r) {
  const struct node *node = r->node;
  if (r->wanted[0]) r->gradients[0] = etk_mul(r->graph, r->outputs[0], node->inputs[1]);
  if (r->wanted[1]) r->gradients[1] = to_b(r, etk_mul(r->graph, r->outputs[0], node->inputs[0]));
}
static const struct op mul_row = {"mul", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, binary_shape, mul_forward, mul_backward, NULL};
etk_tensor *etk_mul(etk_graph *g, etk_tensor *a, etk_tensor *b) { return RECORD(g, mul_row, a, b); }

/* ---- scale ---- */

static void scale_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  etk__kernels()->scale_f32(out(c, 0) + begin, in(c, 0) + begin, *(const float *)c->attributes, end - begin);
}
static etk_status scale_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN, scale_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void scale_backward(struct reverse *r) { r->gradients[0] = etk_scale(r->graph, r->outputs[0], *(const float *)r->node->attributes); }
static const struct op scale_row = {"scale", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, scale_forward, scale_backward, NULL};
etk_tensor *etk_scale(etk_graph *g, etk_tensor *a, float factor) { return RECORD_WITH(g, scale_row, &factor, a); }

/* ---- sigmoid, silu: derivatives from simple operations, so that they can be differentiated again ---- */

typedef void unary_kernel(float *, const float *, int64_t);
struct unary {
  unary_kernel *kernel;
  float *out;
  const float *a;
};
static void unary_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct unary *x = user;
  (void)slot;
  x->kernel(x->out + begin, x->a + begin, end - begin);
}
static etk_status run_unary(const struct call *c, unary_kernel *kernel) {
  struct unary x = {kernel, out(c, 0), in(c, 0)};
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, unary_range, &x);
  return ETK_OK;
}

/* s (1 - s) = s - s s */
static etk_tensor *sigmoid_slope(etk_graph *g, etk_tensor *s) { return etk_sub(g, s, etk_mul(g, s, s)); }

static etk_status sigmoid_forward(etk_error *e, const struct call *c) {
  (void)e;
  return run_unary(c, etk__kernels()->sigmoid_f32);
}
static void sigmoid_backward(struct reverse *r) { r->gradients[0] = etk_mul(r->graph, r->outputs[0], sigmoid_slope(r->graph, r->node->outputs[0])); }
static const struct op sigmoid_row = {"sigmoid", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, sigmoid_forward, sigmoid_backward, NULL};
etk_tensor *etk_sigmoid(etk_graph *g, etk_tensor *a) { return RECORD(g, sigmoid_row, a); }

static etk_status silu_forward(etk_error *e, const struct call *c) {
  (void)e;
  return run_unary(c, etk__kernels()->silu_f32);
}
/* (a s)' = s + a s (1 - s) */
static void silu_backward(struct reverse *r) {
  etk_graph *g = r->graph;
  etk_tensor *a = r->node->inputs[0], *s = etk_sigmoid(g, a);
  r->gradients[0] = etk_mul(g, r->outputs[0], etk_add(g, s, etk_mul(g, a, sigmoid_slope(g, s))));
}
static const struct op silu_row = {"silu", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, silu_forward, silu_backward, NULL};
etk_tensor *etk_silu(etk_graph *g, etk_tensor *a) { return RECORD(g, silu_row, a); }

/* ---- swiglu ---- */

static etk_status swiglu_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (!etk_shape_equal(shape_of(node, 0), shape_of(node, 1)))
    return etk_fail(e, ETK_E_SHAPE, "swiglu: gate %s and up %s differ", etk_shape_text(a, sizeof a, shape_of(node, 0)), etk_shape_text(b, sizeof b, shape_of(node, 1)));
  return gives(results, count, shape_of(node, 0));
}
static void swiglu_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  etk__kernels()->swiglu_f32(out(c, 0) + begin, in(c, 0) + begin, in(c, 1) + begin, end - begin);
}
static etk_status swiglu_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, swiglu_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs gate, up, dy -> dgate, dup */
static etk_status swiglu_backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  results[0] = results[1] = (struct result){ETK_F32, *shape_of(node, 0)};
  *count = 2;
  return ETK_OK;
}
static void swiglu_backward_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  etk__kernels()->swiglu_backward_f32(out(c, 0) + begin, out(c, 1) + begin, in(c, 2) + begin, in(c, 0) + begin, in(c, 1) + begin, end - begin);
}
static etk_status swiglu_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, swiglu_backward_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op swiglu_backward_row = {"swiglu_backward", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1 | OP_INPLACE_2, 3, 3, 0, swiglu_backward_shape,
                                              swiglu_backward_forward, NULL, NULL};
static void swiglu_backward(struct reverse *r) {
  etk_tensor *d = RECORD(r->graph, swiglu_backward_row, r->node->inputs[0], r->node->inputs[1], r->outputs[0]);
  r->gradients[0] = d;
  r->gradients[1] = etk__output(d, 1);
}
static const struct op swiglu_row = {"swiglu", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, swiglu_shape, swiglu_forward, swiglu_backward, NULL};
etk_tensor *etk_swiglu(etk_graph *g, etk_tensor *gate, etk_tensor *up) { return RECORD(g, swiglu_row, gate, up); }
