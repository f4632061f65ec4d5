/* matmul matmul_add matmul_first matmul_first_add */
#include "ml/product/product.h"
#include "ml/product/product_gemm.h"
#include "rows.h"

struct matmul {
  float factor;
  bool ta, tb, has_sum, has_count; /* has_sum: input 2 is added; has_count: the last input says how many rows of a there are */
};

/* How many of a's rows count, at run time: all, or what the last input says. */
static int64_t first_rows(const struct call *c, int64_t rows) {
  const struct matmul *x = c->attributes;
  if (!x->has_count) return rows;
  int64_t n = *in_integers(c, 2 + x->has_sum);
  return n < 0 ? 0 : n < rows ? n : rows;
}

/* The sizes of op(a) op(b), a's leading dims taken as rows. */
struct sizes {
  int64_t m, k, n, b_rows; /* b_rows: what b has where a has k */
};
static struct sizes sizes_of(const struct node *node) {
  const struct matmul *x = node->attributes;
  const etk_shape *a = shape_of(node, 0), *b = shape_of(node, 1);
  int64_t last = etk__last(a), rows = node->inputs[0]->elements / last;
  return (struct sizes){x->ta ? last : rows, x->ta ? rows : last, b->dims[x->tb ? 0 : 1], b->dims[x->tb ? 1 : 0]};
}

static etk_status matmul_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const struct matmul *x = node->attributes;
  const etk_shape *a = shape_of(node, 0), *b = shape_of(node, 1);
  char ta[SHAPE_TEXT], tb[SHAPE_TEXT], tc[SHAPE_TEXT], tr[SHAPE_TEXT];
  const char *name = node->op->name, *a_text = etk_shape_text(ta, sizeof ta, a), *b_text = etk_shape_text(tb, sizeof tb, b);
  const char *a_mark = x->ta ? " transposed" : "", *b_mark = x->tb ? " transposed" : "";
  if (b->rank != 2 || a->rank < (x->ta ? 2 : 1) || (x->ta && a->rank != 2))
    return etk_fail(e, ETK_E_SHAPE, "%s: %s%s x %s%s: wants (..., k) x (k, n); a transposed side must have rank 2", name, a_text, a_mark, b_text, b_mark);
  struct sizes s = sizes_of(node);
  if (x->ta && etk__is_stored(node->inputs[1]->dtype))
    return etk_fail(e, ETK_E_SHAPE, "%s: %s%s x %s%s of %s: a stored weight wants a first factor that is not transposed", name, a_text, a_mark, b_text, b_mark,
                    etk_dtype_name(node->inputs[1]->dtype));
  if (s.k != s.b_rows)
    return etk_fail(e, ETK_E_SHAPE, "%s: %s%s x %s%s: inner sizes %lld and %lld differ", name, a_text, a_mark, b_text, b_mark, (long long)s.k,
                    (long long)s.b_rows);
  etk_shape shape = *a;
  if (x->ta) shape.dims[0] = s.m;
  shape.dims[shape.rank - 1] = s.n;
  if (x->has_sum && !etk_shape_equal(shape_of(node, 2), &shape))
    return etk_fail(e, ETK_E_SHAPE, "%s: %s%s x %s%s gives %s, which cannot be added to %s", name, a_text, a_mark, b_text, b_mark,
                    etk_shape_text(tr, sizeof tr, &shape), etk_shape_text(tc, sizeof tc, shape_of(node, 2)));
  return gives(results, count, &shape);
}

/* The weight's own product, where this is one of a linear layer: x W'. */
static const etk__product *product_of(const etk_tensor *weight, bool ta, bool tb) { return weight && !ta && tb ? etk__product_of(weight) : NULL; }
static bool is_stored(const etk_tensor *weight) { return weight && etk__is_stored(weight->dtype); }

/* g as product_gemm.h wants it, where that is the way to compute it: not for the few columns or rows of adapters, and not where the weight has a product of its own. */
static bool packed_of(struct packed_gemm *out, const struct gemm *g, const etk_tensor *b) {
  bool stored = is_stored(b);
  if ((stored && g->tb) || !etk__packed_gemm_fits(g->m, g->n, g->k)) return false;
  *out = (struct packed_gemm){.ta = g->ta, .tb = g->tb, .m = g->m, .n = g->n, .k = g->k, .a = g->a, .lda = g->lda, .b = g->b, .ldb = g->ldb, .stored = stored ? b : NULL,
                              .alpha = g->alpha, .beta = g->beta, .base = g->c, .ld_base = g->ldc, .c = g->c, .ldc = g->ldc};
  return true;
}

void etk__multiply(const struct call *c, const struct gemm *g, const etk_tensor *b, void *scratch) {
  const etk__product *product = product_of(b, g->ta, g->tb);
  struct packed_gemm packed;
  bool pairs = c->compute == ETK_COMPUTE_BF16;
  if (product) {
    etk__product_run(product, g->c, g->ldc, g->a, g->lda, g->m, g->alpha, g->beta, scratch);
  } else if (packed_of(&packed, g, b) && (pairs || !packed.stored)) { /* stored weights as floats gain nothing over what is below */
    packed.pairs = pairs;
    etk__packed_gemm(&packed, scratch);
  } else if (is_stored(b)) etk__stored_gemm(g, b, scratch);
  else etk__gemm_parallel(g);
}

static size_t scratch_of(const struct gemm *g, const etk_tensor *b, int threads) {
  const etk__product *product = product_of(b, g->ta, g->tb);
  if (product) return etk__product_scratch(product, g->m, threads);
  struct packed_gemm packed;
  size_t most = is_stored(b) ? etk__stored_gemm_scratch(b, g->tb, threads) : 0;
  size_t wide = packed_of(&packed, g, b) ? etk__packed_gemm_scratch(&packed, threads) : 0;
  return wide > most ? wide : most;
}

/* Fewer rows may be cut otherwise and so need more. */
size_t etk__multiply_scratch(const struct gemm *g, const etk_tensor *b, bool fewer, int threads) {
  struct gemm some = *g;
  int64_t *rows = g->ta ? &some.k : &some.m;
  size_t most = scratch_of(g, b, threads);
  while (fewer && --*rows > 0) {
    size_t bytes = scratch_of(&some, b, threads);
    most = bytes > most ? bytes : most;
  }
  return most;
}

static etk_status matmul_forward(etk_error *e, const struct call *c) {
  const struct matmul *x = c->attributes;
  struct sizes s = sizes_of(c->node);
  struct gemm g = {.ta = x->ta, .tb = x->tb, .m = s.m, .n = s.n, .k = s.k, .alpha = x->factor, .beta = x->has_sum, .a = in(c, 0), .b = in(c, 1), .c = out(c, 0),
                   .lda = x->ta ? s.m : s.k, .ldb = x->tb ? s.k : s.n, .ldc = s.n};
  if (x->has_sum && in(c, 2) != g.c) memcpy(g.c, in(c, 2), (size_t)(s.m * s.n) * sizeof(float));
  int64_t *rows = x->ta ? &g.k : &g.m;
  *rows = first_rows(c, *rows);
  if (!x->has_sum && g.m < s.m) memset(g.c + g.m * g.ldc, 0, (size_t)((s.m - g.m) * s.n) * sizeof(float));
  if (!product_of(c->node->inputs[1], x->ta, x->tb) && !(g.b = etk__in_order(c->node->inputs[1]))) return etk_fail_memory(e);
  if (g.m > 0) etk__multiply(c, &g, c->node->inputs[1], c->scratch);
  return ETK_OK;
}

static size_t matmul_scratch(const struct node *node, int threads) {
  const struct matmul *x = node->attributes;
  struct sizes s = sizes_of(node);
  return etk__multiply_scratch(&(struct gemm){.ta = x->ta, .tb = x->tb, .m = s.m, .n = s.n, .k = s.k}, node->inputs[1], x->has_count, threads);
}

static etk_tensor *as_matrix(etk_graph *g, etk_tensor *t) {
  int64_t last = etk__last(&t->shape);
  return t->shape.rank == 2 ? t : etk_reshape(g, t, etk_shape_of(2, t->elements / last, last));
}

static etk_tensor *record(etk_graph *g, etk_tensor *a, etk_tensor *b, etk_tensor *sum, etk_tensor *count, const struct matmul *x);

/* factor * a b, added to what input i has gathered so far. */
static void emit(struct reverse *r, int i, etk_tensor *a, etk_tensor *b, bool ta, bool tb) {
  etk_tensor *running = r->running[i];
  const struct matmul *forward = r->node->attributes;
  struct matmul x = {forward->factor, ta, tb, running != NULL, forward->has_count};
  const etk_shape *shape = shape_of(r->node, i);
  etk_tensor *d = record(r->graph, a, b, running, forward->has_count ? r->node->inputs[2 + forward->has_sum] : NULL, &x);
  r->gradients[i] = etk_shape_equal(&d->shape, shape) || etk__poisoned(d) ? d : etk_reshape(r->graph, d, *shape);
  r->accumulated[i] = running != NULL;
}

/* y = a b: da = dy b', db = a' dy; each transpose moves into the product's flags. */
static void matmul_backward(struct reverse *r) {
  const struct matmul *x = r->node->attributes;
  etk_graph *g = r->graph;
  etk_tensor *a = r->node->inputs[0], *b = r->node->inputs[1], *dy = r->outputs[0];
  if (r->wanted[0]) {
    if (x->ta) emit(r, 0, b, dy, x->tb, true);
    else emit(r, 0, dy, b, false, !x->tb);
  }
  if (r->wanted[1]) {
    if (x->tb) emit(r, 1, as_matrix(g, dy), as_matrix(g, a), true, x->ta);
    else emit(r, 1, as_matrix(g, a), as_matrix(g, dy), !x->ta, false);
  }
  if (x->has_sum) r->gradients[2] = dy;
}

static const struct op matmul_row = {"matmul", OP_STORED_1, 2, 2, 0, matmul_shape, matmul_forward, matmul_backward, matmul_scratch};
static const struct op matmul_add_row = {"matmul_add", OP_INPLACE_2 | OP_STORED_1, 3, 3, 0, matmul_shape, matmul_forward, matmul_backward, matmul_scratch};
static const struct op first_row = {"matmul_first", OP_STORED_1, 3, 3, 4, matmul_shape, matmul_forward, matmul_backward, matmul_scratch};
static const struct op first_add_row = {"matmul_first_add", OP_INPLACE_2 | OP_STORED_1, 4, 4, 8, matmul_shape, matmul_forward, matmul_backward, matmul_scratch};

static etk_tensor *record(etk_graph *g, etk_tensor *a, etk_tensor *b, etk_tensor *sum, etk_tensor *count, const struct matmul *x) {
  if (count && x->has_sum) return RECORD_WITH(g, first_add_row, x, a, b, sum, count);
  if (count) return RECORD_WITH(g, first_row, x, a, b, count);
  if (x->has_sum) return RECORD_WITH(g, matmul_add_row, x, a, b, sum);
  return RECORD_WITH(g, matmul_row, x, a, b);
}

etk_tensor *etk_matmul(etk_graph *g, etk_tensor *a, etk_tensor *b, bool transpose_a, bool transpose_b) {
  return record(g, a, b, NULL, NULL, &(struct matmul){1, transpose_a, transpose_b, false, false});
}
etk_tensor *etk_matmul_add(etk_graph *g, etk_tensor *c, etk_tensor *a, etk_tensor *b, float factor, bool transpose_a, bool transpose_b) {
  return record(g, a, b, c, NULL, &(struct matmul){factor, transpose_a, transpose_b, true, false});
}
etk_tensor *etk_matmul_first(etk_graph *g, etk_tensor *c, etk_tensor *a, etk_tensor *b, etk_tensor *count, float factor, bool transpose_b) {
  return record(g, a, b, c, count, &(struct matmul){factor, false, transpose_b, c != NULL, true});
}
