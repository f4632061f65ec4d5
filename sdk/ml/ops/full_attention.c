/* full_attention: every query sees the first `length` keys of its batch row; queries and keys may differ in number (attention across sequences). In tiles
 * (attention.h); backward computes the scores again, in blocks of query rows. */
#include "attention.h"
#include "attention_rows.h"

static int64_t keys_of(const struct call *c, const struct layout *l, int lengths, int64_t b) {
  return c->in[lengths].data ? in_integers(c, lengths)[b] : l->keys;
}

/* -> like q */
static etk_status full_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *q = shape_of(node, 0), *k = shape_of(node, 1), *v = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  bool fits = q->rank == 4 && k->rank == 4 && etk_shape_equal(k, v) && q->dims[0] == k->dims[0] && q->dims[3] == k->dims[3];
  if (!fits || q->dims[2] % k->dims[2])
    return etk_fail(
        e, ETK_E_SHAPE,
        "full_attention: q %s, k %s, v %s: wants (batch, tokens, heads, d) and twice (batch, keys, kv_heads, d), heads a multiple of kv_heads",
        etk_shape_text(a, sizeof a, q), etk_shape_text(b, sizeof b, k), etk_shape_text(c, sizeof c, v));
  if (node->inputs[3] && (shape_of(node, 3)->rank != 1 || shape_of(node, 3)->dims[0] != q->dims[0]))
    return etk_fail(e, ETK_E_SHAPE, "full_attention: lengths %s, wants (%lld)", etk_shape_text(a, sizeof a, shape_of(node, 3)),
                    (long long)q->dims[0]);
  return gives(results, count, q);
}

/* Unit: a tile of queries of one key head of one batch row. */
static void full_unit(const struct call *c, const struct layout *l, int64_t unit, void *scratch) {
  const struct kernels *kernels = etk__kernels();
  int64_t group = l->heads / l->kv_heads, tiles = etk__tile_count(l->tokens, group), size = etk__tile_tokens(l->tokens, group);
  int64_t kv = unit / tiles % l->kv_heads, b = unit / tiles / l->kv_heads, from = unit % tiles * size, to = from + size < l->tokens ? from + size : l->tokens;
  if (from >= to) return;
  int64_t at_q = (b * l->tokens + from) * l->q_row + kv * group * l->d, at_k = b * l->keys * l->k_row + kv * l->d, keys = keys_of(c, l, 3, b);
  const etk_attention_options options = {.scale = *(const float *)c->attributes};
  struct tile t;
  etk__tile_begin(&t, scratch, in(c, 0) + at_q, l->q_row, to - from, group, l->d, &options);
  for (int64_t i = 0; i < to - from; i++) etk__tile_see(&t, i, 0, keys);
  for (int64_t start = 0; start < keys; start += ATTENTION_KEYS) {
    int64_t count = keys - start < ATTENTION_KEYS ? keys - start : ATTENTION_KEYS;
    kernels->transpose_f32(t.k, ATTENTION_KEYS, in(c, 1) + at_k + start * l->k_row, l->k_row, count, l->d);
    kernels->copy_rows_f32(t.v, t.kernel.dv, in(c, 2) + at_k + start * l->k_row, l->k_row, count, l->d);
    etk__tile_add(&t, start);
  }
  etk__tile_end(&t, out(c, 0) + at_q, l->q_row);
}
static void full_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  struct layout l = layout_of(&c->in[0].shape, &c->in[1].shape);
  char *scratch = (char *)c->scratch + (size_t)slot * etk__tile_bytes(l.tokens, l.heads / l.kv_heads, l.d);
  for (int64_t i = begin; i < end; i++) full_unit(c, &l, i, scratch);
}
static etk_status full_forward(etk_error *e, const struct call *c) {
  struct layout l = layout_of(&c->in[0].shape, &c->in[1].shape);
  etk_status status = check_lengths(e, c, 3, l.keys);
  if (status) return status;
  etk_parallel_for(l.batch * l.kv_heads * etk__tile_count(l.tokens, l.heads / l.kv_heads), 1, full_units, (void *)(uintptr_t)c);
  return ETK_OK;
}
static size_t full_scratch(const struct node *node, int threads) {
  struct layout l = layout_of(shape_of(node, 0), shape_of(node, 1));
  return (size_t)threads * etk__tile_bytes(l.tokens, l.heads / l.kv_heads, l.d);
}

/* ---- backward: inputs dy, q, k, v, lengths or absent -> dq, dk, dv ---- */

/* One block of query rows of head h; p and ds are (rows, keys). first: dk and dv are set, not added to. */
static void backward_block(const struct call *c, const struct layout *l, int64_t b, int64_t h, int64_t block, bool first, float *p, float *ds) {
  int64_t from = block * BLOCK, rows = l->tokens - from < BLOCK ? l->tokens - from : BLOCK, kv = h / (l->heads / l->kv_heads),
          keys = keys_of(c, l, 4, b);
  int64_t at_q = (b * l->tokens + from) * l->q_row + h * l->d, at_k = b * l->keys * l->k_row + kv * l->d;
  const float *dy = in(c, 0) + at_q, *q = in(c, 1) + at_q, *k = in(c, 2) + at_k, *v = in(c, 3) + at_k, scale = *(const float *)c->attributes;
  float beta = first ? 0 : 1;
  etk__gemm(&(struct gemm){.tb = true, .m = rows, .n = keys, .k = l->d, .alpha = 1, .a = q, .lda = l->q_row,
                           .b = k, .ldb = l->k_row, .c = p, .ldc = keys});
  etk__gemm(&(struct gemm){.tb = true, .m = rows, .n = keys, .k = l->d, .alpha = 1, .a = dy, .lda = l->q_row,
                           .b = v, .ldb = l->k_row, .c = ds, .ldc = keys});
  for (int64_t i = 0; i < rows; i++) {
    float *p_row = p + i * keys, *ds_row = ds + i * keys;
    etk__kernels()->softmax_f32(p_row, p_row, scale, keys);
    etk__kernels()->softmax_backward_f32(ds_row, p_row, ds_row, mean_under(p_row, ds_row, keys), scale, keys);
  }
  etk__gemm(&(struct gemm){.m = rows, .n = l->d, .k = keys, .alpha = 1, .a = ds, .lda = keys,
                           .b = k, .ldb = l->k_row, .c = out(c, 0) + at_q, .ldc = l->q_row});
  etk__gemm(&(struct gemm){.ta = true, .m = keys, .n = l->d, .k = rows, .alpha = 1, .beta = beta, .a = ds, .lda = keys,
                           .b = q, .ldb = l->q_row, .c = out(c, 1) + at_k, .ldc = l->k_row});
  etk__gemm(&(struct gemm){.ta = true, .m = keys, .n = l->d, .k = rows, .alpha = 1, .beta = beta, .a = p, .lda = keys,
                           .b = dy, .ldb = l->q_row, .c = out(c, 2) + at_k, .ldc = l->k_row});
}

/* Unit: one key head of one batch row with all its query heads, so that no two units write the same dk and dv. */
static void backward_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  struct layout l = layout_of(&c->in[1].shape, &c->in[2].shape);
  int64_t group = l.heads / l.kv_heads, size = block_rows(&l) * l.keys;
  float *p = (float *)c->scratch + slot * 2 * size;
  for (int64_t i = begin; i < end; i++) {
    int64_t b = i / l.kv_heads, kv = i % l.kv_heads, keys = keys_of(c, &l, 4, b);
    for (int64_t t = keys; t < l.keys; t++)
      for (int k = 1; k < 3; k++) memset(out(c, k) + (b * l.keys + t) * l.k_row + kv * l.d, 0, (size_t)l.d * sizeof(float));
    for (int64_t t = 0; t < l.tokens && !keys; t++)
      memset(out(c, 0) + (b * l.tokens + t) * l.q_row + kv * group * l.d, 0, (size_t)(group * l.d) * sizeof(float));
    for (int64_t unit = 0; unit < group * l.blocks && keys; unit++)
      backward_block(c, &l, b, kv * group + unit / l.blocks, unit % l.blocks, unit == 0, p, p + size);
  }
}
static etk_status backward_forward(etk_error *e, const struct call *c) {
  etk_status status = check_lengths(e, c, 4, c->in[2].shape.dims[1]);
  if (status) return status;
  etk__blas_open();
  etk_parallel_for(c->in[2].shape.dims[0] * c->in[2].shape.dims[2], 1, backward_units, (void *)(uintptr_t)c);
  return ETK_OK;
}
static size_t backward_scratch(const struct node *node, int threads) {
  struct layout l = layout_of(shape_of(node, 1), shape_of(node, 2));
  return (size_t)(threads * 2 * block_rows(&l) * l.keys) * sizeof(float);
}
static const struct op full_backward_row = {"full_attention_backward", 0, 4, 5, 16, attention_backward_shape, backward_forward, NULL, backward_scratch};

static void full_backward(struct reverse *r) {
  etk_tensor *const *x = r->node->inputs;
  etk_tensor *d = RECORD_WITH(r->graph, full_backward_row, (const float *)r->node->attributes, r->outputs[0], x[0], x[1], x[2], x[3]);
  for (int i = 0; i < 3; i++) r->gradients[i] = etk__output(d, i);
}

static const struct op full_row = {"full_attention", 0, 3, 4, 8, full_shape, full_forward, full_backward, full_scratch};
etk_tensor *etk_full_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_tensor *lengths, float scale) {
  return RECORD_WITH(g, full_row, &scale, q, k, v, lengths);
}
