/* rows and embedding (picking rows of a table), and scatter_add, which is their derivative and has them as its own. */
#include "ml/product/product.h"
#include "rows.h"

/* table (n, d), index (...) i32 -> (..., d). With `absent`, -1 gives zeros. */
struct gather {
  bool absent;
};

static etk_status gather_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *table = shape_of(node, 0), *index = shape_of(node, 1);
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (table->rank != 2 || index->rank >= ETK_MAX_RANK)
    return etk_fail(e, ETK_E_SHAPE, "%s: %s by %s: wants a table (rows, columns) and at most %d index axes", node->op->name, etk_shape_text(a, sizeof a, table),
                    etk_shape_text(b, sizeof b, index), ETK_MAX_RANK - 1);
  etk_shape shape = *index;
  shape.dims[shape.rank++] = table->dims[1];
  return gives(results, count, &shape);
}

static etk_status check_index(etk_error *e, const struct call *c, int input, int64_t rows, bool absent) {
  const int32_t *index = in_integers(c, input);
  for (int64_t i = 0; i < c->in[input].elements; i++)
    if (index[i] >= rows || index[i] < (absent ? -1 : 0))
      return etk_fail(e, ETK_E_INVALID, "%s: index %d at place %lld is not in %d .. %lld", c->node->op->name, (int)index[i], (long long)i,
                      absent ? -1 : 0, (long long)rows - 1);
  return ETK_OK;
}

static void gather_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  size_t d = (size_t)c->in[0].shape.dims[1], bytes = d * sizeof(float);
  const int32_t *index = in_integers(c, 1);
  for (int64_t i = begin; i < end; i++) {
    float *to = out(c, 0) + (size_t)i * d;
    if (index[i] < 0) memset(to, 0, bytes);
    else if (!etk__product_row(c->node->inputs[0], to, index[i])) etk__stored_decode_flat(to, c->node->inputs[0], index[i] * (int64_t)d, (int64_t)d);
  }
}
static etk_status gather_forward(etk_error *e, const struct call *c) {
  const struct gather *a = c->attributes;
  etk_status status = check_index(e, c, 1, c->in[0].shape.dims[0], a->absent);
  if (status) return status;
  etk_parallel_for(c->in[1].elements, row_grain(c->in[0].shape.dims[1]), gather_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* ---- scatter_add: d (..., columns), index (...), base (rows, columns) or absent -> base (or zeros) with each row of d added where index says ---- */

struct scatter {
  int64_t rows;
};

static etk_status scatter_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, &etk_shape_of(2, ((const struct scatter *)node->attributes)->rows, etk__last(shape_of(node, 0))));
}

/* Each piece owns rows begin..end of the result and looks through all indices, so the order of additions is that of the indices. */
static void scatter_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  size_t d = (size_t)c->out[0].shape.dims[1];
  const int32_t *index = in_integers(c, 1);
  float *y = out(c, 0);
  if (!c->in[2].data) memset(y + (size_t)begin * d, 0, (size_t)(end - begin) * d * sizeof(float));
  else if (in(c, 2) != y) memcpy(y + (size_t)begin * d, in(c, 2) + (size_t)begin * d, (size_t)(end - begin) * d * sizeof(float));
  for (int64_t i = 0; i < c->in[1].elements; i++)
    if (index[i] >= begin && index[i] < end) etk__kernels()->add_f32(y + (size_t)index[i] * d, y + (size_t)index[i] * d, in(c, 0) + (size_t)i * d, (int64_t)d);
}
static etk_status scatter_forward(etk_error *e, const struct call *c) {
  int64_t rows = c->out[0].shape.dims[0];
  etk_status status = check_index(e, c, 1, rows, true);
  if (status) return status;
  etk_parallel_for(rows, (rows + c->threads - 1) / c->threads, scatter_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void scatter_backward(struct reverse *r) {
  if (r->wanted[0]) r->gradients[0] = etk_reshape(r->graph, etk_rows(r->graph, r->outputs[0], r->node->inputs[1]), *shape_of(r->node, 0));
  r->gradients[2] = r->outputs[0];
}
static const struct op scatter_row = {"scatter_add", OP_INPLACE_2, 2, 3, 2, scatter_shape, scatter_forward, scatter_backward, NULL};

etk_tensor *etk_add_rows(etk_graph *g, etk_tensor *x, etk_tensor *y, etk_tensor *index) {
  int64_t last = etk__last(&y->shape), rows = x->shape.rank == 2 ? x->shape.dims[0] : -1;
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  if (etk__poisoned(x) || etk__poisoned(y) || etk__poisoned(index)) return etk__poison(g, ETK_E_INVALID, "add_rows: a poisoned input");
  if (rows < 0 || last != x->shape.dims[1] || y->elements != index->elements * last)
    return etk__poison(g, ETK_E_SHAPE, "add_rows: x %s, y %s, index %s: wants (rows, d), (..., d), (...)", etk_shape_text(a, sizeof a, &x->shape),
                       etk_shape_text(b, sizeof b, &y->shape), etk_shape_text(c, sizeof c, &index->shape));
  return RECORD_WITH(g, scatter_row, &(struct scatter){rows}, y, index, x);
}

static void gather_backward(struct reverse *r) {
  struct scatter a = {shape_of(r->node, 0)->dims[0]};
  r->gradients[0] = RECORD_WITH(r->graph, scatter_row, &a, r->outputs[0], r->node->inputs[1], r->running[0]);
  r->accumulated[0] = r->running[0] != NULL;
}

static const struct op rows_row = {"rows", OP_STORED_0, 2, 2, 2, gather_shape, gather_forward, gather_backward, NULL};
static const struct op embedding_row = {"embedding", OP_STORED_0, 2, 2, 2, gather_shape, gather_forward, gather_backward, NULL};
etk_tensor *etk_rows(etk_graph *g, etk_tensor *a, etk_tensor *index) {
  struct gather attributes = {.absent = true};
  return RECORD_WITH(g, rows_row, &attributes, a, index);
}
etk_tensor *etk_embedding(etk_graph *g, etk_tensor *table, etk_tensor *ids) {
  struct gather attributes = {.absent = false};
  return RECORD_WITH(g, embedding_row, &attributes, table, ids);
}
