/* reshape transpose */
#include "rows.h"

/* ---- reshape ---- */

static etk_status reshape_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *shape = node->attributes;
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (etk_shape_elements(shape) != node->inputs[0]->elements)
    return etk_fail(e, ETK_E_SHAPE, "reshape: %s has %lld elements, %s has %lld", etk_shape_text(a, sizeof a, shape_of(node, 0)), (long long)node->inputs[0]->elements,
                    etk_shape_text(b, sizeof b, shape), (long long)etk_shape_elements(shape));
  return gives(results, count, shape);
}
static void reshape_backward(struct reverse *r) { r->gradients[0] = etk_reshape(r->graph, r->outputs[0], *shape_of(r->node, 0)); }
static const struct op reshape_row = {"reshape", OP_ALIAS, 1, 1, 0, reshape_shape, NULL, reshape_backward, NULL};
etk_tensor *etk_reshape(etk_graph *g, etk_tensor *a, etk_shape shape) { return RECORD_WITH(g, reshape_row, &shape, a); }

/* ---- transpose ---- */

static etk_status transpose_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *a = shape_of(node, 0);
  char text[SHAPE_TEXT];
  if (a->rank != 2) return etk_fail(e, ETK_E_SHAPE, "transpose: %s has rank %d, wants 2", etk_shape_text(text, sizeof text, a), a->rank);
  return gives(results, count, &etk_shape_of(2, a->dims[1], a->dims[0]));
}

enum { TILE = 32 }; /* two tiles of floats: 8 KiB, well inside the first cache */

/* Bands of TILE rows of the input. */
static void transpose_bands(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t m = c->in[0].shape.dims[0], n = c->in[0].shape.dims[1];
  const float *a = in(c, 0);
  float *y = out(c, 0);
  int64_t last = end * TILE < m ? end * TILE : m;
  for (int64_t i = begin * TILE; i < last; i += TILE)
    for (int64_t j = 0; j < n; j += TILE)
      for (int64_t p = i; p < i + TILE && p < last; p++)
        for (int64_t q = j; q < j + TILE && q < n; q++) y[q * m + p] = a[p * n + q];
}
static etk_status transpose_forward(etk_error *e, const struct call *c) {
  (void)e;
  int64_t m = c->in[0].shape.dims[0], n = c->in[0].shape.dims[1];
  etk_parallel_for((m + TILE - 1) / TILE, row_grain(n * TILE), transpose_bands, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void transpose_backward(struct reverse *r) { r->gradients[0] = etk_transpose(r->graph, r->outputs[0]); }
static const struct op transpose_row = {"transpose", 0, 1, 1, 0, transpose_shape, transpose_forward, transpose_backward, NULL};
etk_tensor *etk_transpose(etk_graph *g, etk_tensor *a) { return RECORD(g, transpose_row, a); }
