/* low_rank (Hu et al. 2021): a linear layer and its adapter in one, y = sum + x W' + scale (x A') B', so that x is packed and y written once for both. */
#include "ml/product/product_gemm.h"
#include "rows.h"

struct low_rank_attributes {
  float scale;
  bool dx; /* backward: wanted */
};
enum { X, WEIGHT, A, B, SUM, DY, INNER }; /* inputs; the last two of backward, whose sum is what dx is added to */

static size_t up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
static int64_t rows_of(const struct node *node) { return node->inputs[X]->elements / etk__last(shape_of(node, X)); }

/* x (..., in), W (out, in), A (rank, in), B (out, rank), sum like y -> y (..., out), scale x A' (rows, rank) */
static etk_status low_rank_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, X), *w = shape_of(node, WEIGHT), *a = shape_of(node, A), *b = shape_of(node, B);
  char tx[SHAPE_TEXT], tw[SHAPE_TEXT], ta[SHAPE_TEXT], tb[SHAPE_TEXT];
  bool fits = x->rank >= 1 && w->rank == 2 && a->rank == 2 && b->rank == 2 && w->dims[1] == etk__last(x) && a->dims[1] == w->dims[1] && b->dims[0] == w->dims[0] && a->dims[0] == b->dims[1];
  if (!fits || a->dims[0] > PACKED_RANK)
    return etk_fail(e, ETK_E_SHAPE, "low_rank: x %s, weight %s, A %s, B %s: wants (..., in), (out, in), (rank, in), (out, rank), rank at most %d", etk_shape_text(tx, sizeof tx, x),
                    etk_shape_text(tw, sizeof tw, w), etk_shape_text(ta, sizeof ta, a), etk_shape_text(tb, sizeof tb, b), PACKED_RANK);
  etk_shape y = *x;
  y.dims[y.rank - 1] = w->dims[0];
  if (node->inputs[SUM] && !etk_shape_equal(shape_of(node, SUM), &y))
    return etk_fail(e, ETK_E_SHAPE, "low_rank: x %s and weight %s cannot be added to %s", etk_shape_text(tx, sizeof tx, x), etk_shape_text(tw, sizeof tw, w),
                    etk_shape_text(ta, sizeof ta, shape_of(node, SUM)));
  results[0] = (struct result){ETK_F32, y};
  results[1] = (struct result){ETK_F32, etk_shape_of(2, rows_of(node), a->dims[0])};
  *count = 2;
  return ETK_OK;
}

/* c = base + a op(W) + inner op(second), inner = scale a op(first); forward: op transposes. */
struct step {
  const struct call *c;
  const etk_tensor *weight;
  bool tb;
  int64_t m, n, k, rank;
  const float *a, *first, *second, *base;
  float *to, *inner;
  void *scratch;
};

static struct packed_gemm packed_of(const struct step *s) {
  bool stored = etk__is_stored(s->weight->dtype);
  const struct low_rank_attributes *o = s->c ? s->c->attributes : NULL;
  return (struct packed_gemm){.tb = s->tb, .m = s->m, .n = s->n, .k = s->k, .a = s->a, .lda = s->k, .b = etk__in_order(s->weight), .ldb = s->tb ? s->k : s->n,
                              .stored = stored && !s->tb ? s->weight : NULL, .low_rank_only = stored && s->tb,
                              .low = {s->rank, s->first, s->second, o ? o->scale : 1, s->inner}, .alpha = 1, .beta = s->base != NULL, .base = s->base, .ld_base = s->n,
                              .c = s->to, .ldc = s->n, .pairs = s->c && s->c->compute == ETK_COMPUTE_BF16};
}

/* With the weight's own product, or where packing is not the way, one after the other. */
static void run_apart(const struct step *s, bool low_packed) {
  const struct low_rank_attributes *o = s->c->attributes;
  if (s->base && s->base != s->to) memcpy(s->to, s->base, (size_t)(s->m * s->n) * sizeof(float));
  etk__multiply(s->c, &(struct gemm){.tb = s->tb, .m = s->m, .n = s->n, .k = s->k, .alpha = 1, .beta = s->base != NULL, .a = s->a, .lda = s->k, .b = etk__in_order(s->weight),
                                     .ldb = s->tb ? s->k : s->n, .c = s->to, .ldc = s->n}, s->weight, s->scratch);
  if (low_packed) {
    struct packed_gemm g = packed_of(s);
    g.low_rank_only = true;
    g.beta = 1;
    g.base = s->to;
    etk__packed_gemm(&g, s->scratch);
    return;
  }
  etk__gemm_parallel(&(struct gemm){.tb = s->tb, .m = s->m, .n = s->rank, .k = s->k, .alpha = o->scale, .a = s->a, .lda = s->k, .b = s->first, .ldb = s->tb ? s->k : s->rank, .c = s->inner,
                                    .ldc = s->rank});
  etk__gemm_parallel(&(struct gemm){.tb = s->tb, .m = s->m, .n = s->n, .k = s->rank, .alpha = 1, .beta = 1, .a = s->inner, .lda = s->rank, .b = s->second,
                                    .ldb = s->tb ? s->rank : s->n, .c = s->to, .ldc = s->n});
}

static void run_step(const struct step *s) {
  struct packed_gemm g = packed_of(s);
  bool packed = etk__packed_gemm_fits(s->m, s->n, s->k), together = g.pairs || !etk__is_stored(s->weight->dtype);
  if (packed && together && !g.low_rank_only) etk__packed_gemm(&g, s->scratch);
  else run_apart(s, packed);
}
static size_t step_scratch(const struct step *s, int threads) {
  struct packed_gemm g = packed_of(s);
  size_t apart = etk__multiply_scratch(&(struct gemm){.tb = s->tb, .m = s->m, .n = s->n, .k = s->k}, s->weight, false, threads), packed = etk__packed_gemm_fits(s->m, s->n, s->k) ? etk__packed_gemm_scratch(&g, threads) : 0;
  return apart > packed ? apart : packed;
}

static struct step forward_step(const struct node *node) {
  const etk_shape *w = shape_of(node, WEIGHT);
  return (struct step){.weight = node->inputs[WEIGHT], .tb = true, .m = rows_of(node), .n = w->dims[0], .k = w->dims[1], .rank = shape_of(node, A)->dims[0]};
}
static etk_status low_rank_forward(etk_error *e, const struct call *c) {
  struct step s = forward_step(c->node);
  if (!etk__in_order(s.weight)) return etk_fail_memory(e);
  s.c = c, s.a = in(c, X), s.first = in(c, A), s.second = in(c, B), s.base = in(c, SUM), s.to = out(c, 0), s.inner = out(c, 1), s.scratch = c->scratch;
  run_step(&s);
  return ETK_OK;
}
static size_t low_rank_scratch(const struct node *node, int threads) {
  struct step s = forward_step(node);
  return step_scratch(&s, threads);
}

/* ---- backward: x, W, A, B, sum or none, dy, inner -> dA, dB, dx: with g = scale dy B, dA = g' x, dB = dy' inner, dx = sum + dy W + g A ---- */

static etk_status backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const struct low_rank_attributes *o = node->attributes;
  (void)e;
  if (o->dx) results[0] = (struct result){ETK_F32, *shape_of(node, X)};
  results[o->dx] = (struct result){ETK_F32, *shape_of(node, A)};
  results[o->dx + 1] = (struct result){ETK_F32, *shape_of(node, B)};
  *count = o->dx + 2;
  return ETK_OK;
}
static struct step backward_step(const struct node *node) {
  struct step s = forward_step(node);
  return (struct step){.weight = s.weight, .m = s.m, .n = s.k, .k = s.n, .rank = s.rank};
}
static size_t inner_bytes(const struct step *s) { return up((size_t)(s->m * s->rank) * sizeof(float)); }

static etk_status backward_forward(etk_error *e, const struct call *c) {
  const struct low_rank_attributes *o = c->attributes;
  struct step s = backward_step(c->node);
  if (!etk__in_order(s.weight)) return etk_fail_memory(e);
  s.c = c, s.a = in(c, DY), s.first = in(c, B), s.second = in(c, A), s.base = in(c, SUM), s.inner = c->scratch, s.scratch = (char *)c->scratch + inner_bytes(&s);
  int64_t in_size = s.n, out_size = s.k;
  etk__thin_gemm(&(struct thin_gemm){s.m, out_size, s.rank, in(c, INNER), s.a, s.rank, out_size, out(c, o->dx + 1), true});
  if (o->dx) {
    s.to = out(c, 0);
    run_step(&s);
  } else {
    etk__gemm_parallel(&(struct gemm){.m = s.m, .n = s.rank, .k = s.k, .alpha = o->scale, .a = s.a, .lda = s.k, .b = s.first, .ldb = s.rank, .c = s.inner, .ldc = s.rank});
  }
  etk__thin_gemm(&(struct thin_gemm){s.m, in_size, s.rank, s.inner, in(c, X), s.rank, in_size, out(c, o->dx), false});
  return ETK_OK;
}
static size_t backward_scratch(const struct node *node, int threads) {
  struct step s = backward_step(node);
  return inner_bytes(&s) + step_scratch(&s, threads);
}
static const struct op backward_row = {"low_rank_backward", OP_STORED_1 | OP_INPLACE_4, 4, 7, 0, backward_shape, backward_forward, NULL, backward_scratch};

static etk_tensor *as_matrix(etk_graph *g, etk_tensor *t) {
  int64_t last = etk__last(&t->shape);
  return t->shape.rank == 2 ? t : etk_reshape(g, t, etk_shape_of(2, t->elements / last, last));
}

static void low_rank_backward(struct reverse *r) {
  struct low_rank_attributes o = *(const struct low_rank_attributes *)r->node->attributes;
  etk_tensor *const *x = r->node->inputs, *dy = r->outputs[0];
  if (!dy || r->outputs[1]) {
    etk__poison(r->graph, ETK_E_UNSUPPORTED, "low_rank: only y has a derivative");
    return;
  }
  o.dx = r->wanted[X];
  etk_tensor *d = RECORD_WITH(r->graph, backward_row, &o, x[X], x[WEIGHT], x[A], x[B], o.dx ? r->running[X] : NULL, dy, r->node->outputs[1]);
  if (o.dx) r->gradients[X] = d;
  r->accumulated[X] = o.dx && r->running[X];
  if (r->wanted[A]) r->gradients[A] = etk__output(d, o.dx);
  if (r->wanted[B]) r->gradients[B] = etk__output(d, o.dx + 1);
  if (r->wanted[WEIGHT]) r->gradients[WEIGHT] = etk_matmul(r->graph, as_matrix(r->graph, dy), as_matrix(r->graph, x[X]), true, false);
  if (r->wanted[SUM]) r->gradients[SUM] = dy;
}

static const struct op low_rank_row = {"low_rank", OP_STORED_1 | OP_INPLACE_4, 4, 5, 0, low_rank_shape, low_rank_forward, low_rank_backward, low_rank_scratch};
etk_tensor *etk_low_rank(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *a, etk_tensor *b, etk_tensor *sum, float scale) {
  struct low_rank_attributes o = {.scale = scale};
  return RECORD_WITH(g, low_rank_row, &o, x, weight, a, b, sum);
}
