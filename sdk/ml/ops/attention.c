/* attention: causal, grouped-query, in tiles (attention.h); backward computes the scores again, in blocks of query rows. */
#include "attention.h"
#include "attention_rows.h"

/* -> like q */
static etk_status attention_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *q = shape_of(node, 0), *k = shape_of(node, 1), *v = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  bool fits = q->rank == 4 && k->rank == 4 && etk_shape_equal(k, v) && q->dims[0] == k->dims[0] && q->dims[1] == k->dims[1] && q->dims[3] == k->dims[3];
  if (!fits || q->dims[2] % k->dims[2])
    return etk_fail(e, ETK_E_SHAPE,
                    "attention: q %s, k %s, v %s: wants (batch, tokens, heads, d) and twice (batch, tokens, kv_heads, d), heads a multiple of kv_heads",
                    etk_shape_text(a, sizeof a, q), etk_shape_text(b, sizeof b, k), etk_shape_text(c, sizeof c, v));
  if (node->inputs[3] && !etk_shape_equal(shape_of(node, 3), &etk_shape_of(2, q->dims[0], q->dims[1])))
    return etk_fail(e, ETK_E_SHAPE, "attention: q %s, starts %s: wants (batch, tokens)", etk_shape_text(a, sizeof a, q), etk_shape_text(b, sizeof b, shape_of(node, 3)));
  return gives(results, count, q);
}

/* Where the texts of a row of the batch begin, for each of its tokens; NULL: the row is one text. */
static const int32_t *starts_of(const struct call *c, int input, const struct layout *l, int64_t b) {
  return c->in[input].data ? in_integers(c, input) + b * l->tokens : NULL;
}
/* The first key that token i sees; it never falls from one token to the next. */
static int64_t seen_from(const etk_attention_options *a, const int32_t *starts, int64_t i) {
  int64_t first = first_key(a, i);
  return starts && starts[i] > first ? starts[i] : first;
}
static etk_status check_starts(etk_error *e, const struct call *c, const struct layout *l) {
  for (int64_t b = 0; c->in[3].data && b < l->batch; b++)
    for (int64_t i = 0; i < l->tokens; i++) {
      const int32_t *starts = starts_of(c, 3, l, b);
      if (starts[i] < (i ? starts[i - 1] : 0) || starts[i] > i)
        return etk_fail(e, ETK_E_INVALID, "attention: token %lld of row %lld begins at %d; wanted no earlier than the token before it, and no later than itself", (long long)i,
                        (long long)b, (int)starts[i]);
    }
  return ETK_OK;
}

/* Unit: a tile of queries of one key head of one batch row. */
static void attention_unit(const struct call *c, const struct layout *l, int64_t unit, void *scratch) {
  const struct kernels *kernels = etk__kernels();
  const etk_attention_options *a = c->attributes;
  int64_t group = l->heads / l->kv_heads, tiles = etk__tile_count(l->tokens, group), size = etk__tile_tokens(l->tokens, group);
  int64_t kv = unit / tiles % l->kv_heads, b = unit / tiles / l->kv_heads;
  int64_t from = etk__tile_order(unit % tiles, tiles) * size, to = from + size < l->tokens ? from + size : l->tokens;
  if (from >= to) return;
  int64_t at_q = (b * l->tokens + from) * l->q_row + kv * group * l->d, at_k = b * l->tokens * l->k_row + kv * l->d;
  struct tile t;
  etk__tile_begin(&t, scratch, in(c, 0) + at_q, l->q_row, to - from, group, l->d, a);
  const int32_t *starts = starts_of(c, 3, l, b);
  for (int64_t i = from; i < to; i++) etk__tile_see(&t, i - from, seen_from(a, starts, i), i + 1);
  for (int64_t start = seen_from(a, starts, from) / ATTENTION_KEYS * ATTENTION_KEYS; start < to; start += ATTENTION_KEYS) {
    int64_t keys = to - start < ATTENTION_KEYS ? to - start : ATTENTION_KEYS;
    kernels->transpose_f32(t.k, ATTENTION_KEYS, in(c, 1) + at_k + start * l->k_row, l->k_row, keys, l->d);
    kernels->copy_rows_f32(t.v, t.kernel.dv, in(c, 2) + at_k + start * l->k_row, l->k_row, keys, l->d);
    etk__tile_add(&t, start);
  }
  etk__tile_end(&t, out(c, 0) + at_q, l->q_row);
}
static void attention_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  struct layout l = layout_of(&c->in[0].shape, &c->in[1].shape);
  char *scratch = (char *)c->scratch + (size_t)slot * etk__tile_bytes(l.tokens, l.heads / l.kv_heads, l.d);
  for (int64_t i = begin; i < end; i++) attention_unit(c, &l, i, scratch);
}
static etk_status attention_forward(etk_error *e, const struct call *c) {
  struct layout l = layout_of(&c->in[0].shape, &c->in[1].shape);
  etk_status status = check_starts(e, c, &l);
  if (status) return status;
  etk_parallel_share(l.batch * l.kv_heads * etk__tile_count(l.tokens, l.heads / l.kv_heads), 1, attention_units, (void *)(uintptr_t)c);
  return ETK_OK;
}
static size_t attention_scratch(const struct node *node, int threads) {
  struct layout l = layout_of(shape_of(node, 0), shape_of(node, 1));
  return (size_t)threads * etk__tile_bytes(l.tokens, l.heads / l.kv_heads, l.d);
}

/* ---- backward: inputs dy, q, k, v, starts or none -> dq, dk, dv ---- */

static void clear_rows(float *rows, int64_t stride, int64_t count, int64_t d) {
  for (int64_t i = 0; i < count; i++) memset(rows + i * stride, 0, (size_t)d * sizeof *rows);
}

/* One key head of one batch row, and a thread's scratch: its keys and values as products want them, near each other, and a block of query rows. */
struct backward {
  const struct call *c;
  struct layout l;
  const int32_t *starts;
  int64_t at_k, ld;               /* of the head in k, v, dk and dv; floats from one row of kt, vt, p and ds to the next */
  float *kt, *vt, *k;             /* (d, tokens) twice, (tokens, d) */
  float *q, *dy, *p, *ds, *slope; /* (block, d) twice, (block, tokens) twice, (tokens) or NULL */
};

/* Rows that are read side by side should not fall on the same places of a cache. */
static int64_t row_floats(const struct layout *l) { return (l->tokens + 15) / 16 * 16 + 16; }
static int64_t backward_floats(const struct layout *l) { return (2 * l->d + 2 * block_rows(l) + 1) * row_floats(l) + (l->tokens + 2 * block_rows(l)) * l->d; }

static void begin_head(struct backward *w, const struct call *c, float *scratch, int64_t b, int64_t kv) {
  const struct kernels *kernels = etk__kernels();
  struct layout l = layout_of(&c->in[1].shape, &c->in[2].shape);
  int64_t ld = row_floats(&l), rows = block_rows(&l);
  *w = (struct backward){.c = c, .l = l, .starts = starts_of(c, 4, &l, b), .at_k = b * l.tokens * l.k_row + kv * l.d, .ld = ld};
  w->kt = scratch, w->vt = w->kt + l.d * ld, w->p = w->vt + l.d * ld, w->ds = w->p + rows * ld;
  w->slope = ((const etk_attention_options *)c->attributes)->softcap > 0 ? w->ds + rows * ld : NULL;
  w->k = w->ds + (rows + 1) * ld, w->q = w->k + l.tokens * l.d, w->dy = w->q + rows * l.d;
  kernels->transpose_f32(w->kt, ld, in(c, 2) + w->at_k, l.k_row, l.tokens, l.d);
  kernels->transpose_f32(w->vt, ld, in(c, 3) + w->at_k, l.k_row, l.tokens, l.d);
  kernels->copy_rows_f32(w->k, l.d, in(c, 2) + w->at_k, l.k_row, l.tokens, l.d);
}

/* Scores to probabilities and their gradient to that of the scores, in the rows of a block; keys from `low` on. */
static void backward_rows(const struct backward *w, int64_t from, int64_t to, int64_t low) {
  const struct kernels *kernels = etk__kernels();
  const etk_attention_options *a = w->c->attributes;
  for (int64_t i = from; i < to; i++) {
    float *p = w->p + (i - from) * w->ld, *ds = w->ds + (i - from) * w->ld;
    int64_t seen = seen_from(a, w->starts, i) - low, end = i + 1 - low, n = end - seen;
    memset(p, 0, (size_t)seen * sizeof(float));
    memset(ds, 0, (size_t)seen * sizeof(float));
    etk__attention_softmax(p + seen, a, w->slope, n);
    kernels->softmax_backward_f32(ds + seen, p + seen, ds + seen, mean_under(p + seen, ds + seen, n), a->scale, n);
    if (w->slope) kernels->mul_f32(ds + seen, ds + seen, w->slope, n);
    memset(p + end, 0, (size_t)(to - i - 1) * sizeof(float));
    memset(ds + end, 0, (size_t)(to - i - 1) * sizeof(float));
  }
}

/* One block of query rows of head h, which see keys low .. to - 1. Scores are computed again; first: dk and dv are set, not added to. */
static void backward_block(const struct backward *w, int64_t b, int64_t h, int64_t block, bool first) {
  const struct kernels *kernels = etk__kernels();
  const struct layout *l = &w->l;
  const struct call *c = w->c;
  int64_t from = block * BLOCK, to = from + BLOCK < l->tokens ? from + BLOCK : l->tokens, rows = to - from, d = l->d;
  int64_t at_q = (b * l->tokens + from) * l->q_row + h * d, low = seen_from(c->attributes, w->starts, from), keys = to - low;
  if (first) {
    clear_rows(out(c, 1) + w->at_k, l->k_row, low, d);
    clear_rows(out(c, 2) + w->at_k, l->k_row, low, d);
  }
  kernels->copy_rows_f32(w->q, d, in(c, 1) + at_q, l->q_row, rows, d);
  kernels->copy_rows_f32(w->dy, d, in(c, 0) + at_q, l->q_row, rows, d);
  kernels->small_product_f32(&(struct small_product){rows, keys, d, w->q, w->kt + low, d, 1, w->ld, w->p, w->ld, false});
  kernels->small_product_f32(&(struct small_product){rows, keys, d, w->dy, w->vt + low, d, 1, w->ld, w->ds, w->ld, false});
  backward_rows(w, from, to, low);
  float *dk = out(c, 1) + w->at_k + low * l->k_row, *dv = out(c, 2) + w->at_k + low * l->k_row;
  kernels->small_product_f32(&(struct small_product){rows, d, keys, w->ds, w->k + low * d, w->ld, 1, d, out(c, 0) + at_q, l->q_row, false});
  kernels->small_product_f32(&(struct small_product){keys, d, rows, w->ds, w->q, 1, w->ld, d, dk, l->k_row, !first});
  kernels->small_product_f32(&(struct small_product){keys, d, rows, w->p, w->dy, 1, w->ld, d, dv, l->k_row, !first});
}

/* Unit: one key head of one batch row with all its query heads, so that no two units write the same dk and dv. Blocks go from the last, which
 * covers all keys and so sets them, to the first. */
static void backward_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  struct layout l = layout_of(&c->in[1].shape, &c->in[2].shape);
  int64_t group = l.heads / l.kv_heads;
  struct backward w;
  for (int64_t i = begin; i < end; i++) {
    begin_head(&w, c, (float *)c->scratch + slot * backward_floats(&l), i / l.kv_heads, i % l.kv_heads);
    for (int64_t h = 0; h < group; h++)
      for (int64_t block = l.blocks; block-- > 0;) backward_block(&w, i / l.kv_heads, i % l.kv_heads * group + h, block, h == 0 && block == l.blocks - 1);
  }
}
static etk_status backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->in[2].shape.dims[0] * c->in[2].shape.dims[2], 1, backward_units, (void *)(uintptr_t)c);
  return ETK_OK;
}
static size_t backward_scratch(const struct node *node, int threads) {
  struct layout l = layout_of(shape_of(node, 1), shape_of(node, 2));
  return (size_t)(threads * backward_floats(&l)) * sizeof(float);
}
static const struct op attention_backward_row = {"attention_backward", 0, 4, 5, 16, attention_backward_shape, backward_forward, NULL, backward_scratch};

static void attention_backward(struct reverse *r) {
  etk_tensor *const *x = r->node->inputs;
  etk_tensor *d = RECORD_WITH(r->graph, attention_backward_row, (const etk_attention_options *)r->node->attributes, r->outputs[0], x[0], x[1], x[2], x[3]);
  for (int i = 0; i < 3; i++) r->gradients[i] = etk__output(d, i);
}

static const struct op attention_row = {"attention", 0, 3, 4, 8, attention_shape, attention_forward, attention_backward, attention_scratch};
etk_tensor *etk_attention_with(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, const etk_attention_options *options) {
  return RECORD_WITH(g, attention_row, options, q, k, v);
}
etk_tensor *etk_attention_within(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_tensor *starts, const etk_attention_options *options) {
  return RECORD_WITH(g, attention_row, options, q, k, v, starts);
}
etk_tensor *etk_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, float scale) {
  return etk_attention_with(g, q, k, v, &(etk_attention_options){.scale = scale});
}
