/* slice: a part of the last axis; unslice, which is its derivative (and has it as its own), puts the part back among zeros. */
#include "rows.h"

struct slice {
  int64_t from, count, whole; /* of `whole` columns those from .. from + count */
};

static etk_status slice_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const struct slice *s = node->attributes;
  etk_shape shape = *shape_of(node, 0);
  char text[SHAPE_TEXT];
  if (shape.rank < 1 || s->from < 0 || s->count < 1 || s->from > etk__last(&shape) - s->count)
    return etk_fail(e, ETK_E_SHAPE, "slice: columns %lld to %lld of %s do not exist", (long long)s->from, (long long)(s->from + s->count), etk_shape_text(text, sizeof text, &shape));
  shape.dims[shape.rank - 1] = s->count;
  return gives(results, count, &shape);
}
static void slice_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  const struct slice *s = c->attributes;
  for (int64_t i = begin; i < end; i++) memcpy(out(c, 0) + i * s->count, in(c, 0) + i * s->whole + s->from, (size_t)s->count * sizeof(float));
}
static etk_status slice_forward(etk_error *e, const struct call *c) {
  (void)e;
  const struct slice *s = c->attributes;
  etk_parallel_for(c->out[0].elements / s->count, row_grain(s->count), slice_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

static etk_status unslice_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  etk_shape shape = *shape_of(node, 0);
  shape.dims[shape.rank - 1] = ((const struct slice *)node->attributes)->whole;
  return gives(results, count, &shape);
}
static void unslice_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  const struct slice *s = c->attributes;
  for (int64_t i = begin; i < end; i++) {
    float *y = out(c, 0) + i * s->whole;
    memset(y, 0, (size_t)s->whole * sizeof *y);
    memcpy(y + s->from, in(c, 0) + i * s->count, (size_t)s->count * sizeof *y);
  }
}
static etk_status unslice_forward(etk_error *e, const struct call *c) {
  (void)e;
  const struct slice *s = c->attributes;
  etk_parallel_for(c->out[0].elements / s->whole, row_grain(s->whole), unslice_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

static void unslice_backward(struct reverse *r);
static void slice_backward(struct reverse *r);
static const struct op slice_row = {"slice", 0, 1, 1, 0, slice_shape, slice_forward, slice_backward, NULL};
static const struct op unslice_row = {"unslice", 0, 1, 1, 0, unslice_shape, unslice_forward, unslice_backward, NULL};
static void slice_backward(struct reverse *r) { r->gradients[0] = RECORD_WITH(r->graph, unslice_row, (const struct slice *)r->node->attributes, r->outputs[0]); }
static void unslice_backward(struct reverse *r) { r->gradients[0] = RECORD_WITH(r->graph, slice_row, (const struct slice *)r->node->attributes, r->outputs[0]); }

etk_tensor *etk_slice(etk_graph *g, etk_tensor *a, int64_t from, int64_t count) {
  const etk_shape *shape = etk_tensor_shape(a);
  return RECORD_WITH(g, slice_row, (&(struct slice){from, count, shape->rank ? shape->dims[shape->rank - 1] : 1}), a);
}
