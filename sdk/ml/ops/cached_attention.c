/* cached_attention: attention of new tokens to a paged cache that they first extend. Ordered; not differentiable. */
#include "rows.h"

struct cached {
  etk_cache *cache;
  int layer;
  etk_attention_options options;
};

/* q (batch, tokens, heads, d), k and v (batch, tokens, kv_heads, d), block_table (batch, blocks) i32, positions (batch, tokens) i32 -> like q */
static etk_status cached_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const struct cached *a = node->attributes;
  const etk_shape *q = shape_of(node, 0), *k = shape_of(node, 1), *v = shape_of(node, 2), *table = shape_of(node, 3), *positions = shape_of(node, 4);
  char t[5][SHAPE_TEXT];
  const etk_cache_options *o = etk_cache_get_options(a->cache);
  bool fits = q->rank == 4 && k->rank == 4 && etk_shape_equal(k, v) && q->dims[0] == k->dims[0] && q->dims[1] == k->dims[1] && q->dims[3] == k->dims[3] &&
              q->dims[2] % k->dims[2] == 0 && table->rank == 2 && table->dims[0] == q->dims[0] && positions->rank == 2 && positions->dims[0] == q->dims[0] &&
              positions->dims[1] == q->dims[1];
  if (!fits)
    return etk_fail(e, ETK_E_SHAPE,
                    "cached_attention: q %s, k %s, v %s, block_table %s, positions %s: wants (batch, tokens, heads, d), twice (batch, tokens, kv_heads, d), (batch, blocks), (batch, tokens)",
                    etk_shape_text(t[0], SHAPE_TEXT, q), etk_shape_text(t[1], SHAPE_TEXT, k), etk_shape_text(t[2], SHAPE_TEXT, v),
                        etk_shape_text(t[3], SHAPE_TEXT, table),
                    etk_shape_text(t[4], SHAPE_TEXT, positions));
  if (k->dims[2] != o->kv_heads || k->dims[3] != o->head_dim || a->layer < 0 || a->layer >= o->layers)
    return etk_fail(e, ETK_E_SHAPE, "cached_attention: k %s for layer %d does not fit a cache of %d layers with %d heads of %d",
                    etk_shape_text(t[0], SHAPE_TEXT, k), a->layer, o->layers, o->kv_heads, o->head_dim);
  return gives(results, count, q);
}

struct pages {
  const struct call *call;
  const etk_cache_options *options;
  float *keys, *values;
  int64_t batch, tokens, heads, d, row, blocks; /* row: floats from one cached position to the next */
};
static struct pages pages_of(const struct call *c) {
  const struct cached *a = c->attributes;
  const etk_cache_options *o = etk_cache_get_options(a->cache);
  const int64_t *q = c->in[0].shape.dims;
  return (struct pages){c, o, etk_cache_keys(a->cache, a->layer), etk_cache_values(a->cache, a->layer), q[0], q[1], q[2], q[3],
                        (int64_t)o->kv_heads * o->head_dim, c->in[3].shape.dims[1]};
}

/* Every position up to each token's must lie in a block that exists: what follows trusts the table. longest: positions of the longest row. */
static etk_status check_table(etk_error *e, const struct pages *p, int64_t *longest) {
  *longest = 0;
  for (int64_t b = 0; b < p->batch; b++) {
    int64_t last = -1;
    for (int64_t t = 0; t < p->tokens; t++) {
      int32_t position = in_integers(p->call, 4)[b * p->tokens + t];
      if (position > last) last = position;
    }
    if (last + 1 > *longest) *longest = last + 1;
    for (int64_t i = 0; i <= last / p->options->block_tokens && last >= 0; i++) {
      if (i >= p->blocks)
        return etk_fail(e, ETK_E_INVALID, "cached_attention: row %lld reaches position %lld, but its table has only %lld blocks of %d", (long long)b,
                        (long long)last, (long long)p->blocks, p->options->block_tokens);
      int32_t block = in_integers(p->call, 3)[b * p->blocks + i];
      if (block < 0 || block >= p->options->blocks)
        return etk_fail(e, ETK_E_INVALID,
                        "cached_attention: row %lld reaches position %lld, but entry %lld of its table is %d, not a block of 0 .. %d", (long long)b,
                        (long long)last, (long long)i, (int)block, p->options->blocks - 1);
    }
  }
  return ETK_OK;
}

static int64_t offset_of(const struct pages *p, int64_t b, int64_t position) {
  int64_t size = p->options->block_tokens;
  return (in_integers(p->call, 3)[b * p->blocks + position / size] * size + position % size) * p->row;
}

static void extend(const struct pages *p) {
  size_t bytes = (size_t)p->row * sizeof(float);
  for (int64_t i = 0; i < p->batch * p->tokens; i++) {
    int32_t position = in_integers(p->call, 4)[i];
    if (position < 0) continue;
    int64_t at = offset_of(p, i / p->tokens, position);
    memcpy(p->keys + at, in(p->call, 1) + i * p->row, bytes);
    memcpy(p->values + at, in(p->call, 2) + i * p->row, bytes);
  }
}

/* One token and head: scores over the positions it sees, then the weighted sum of values. */
static void attend(const struct pages *p, int64_t token, int64_t h, float *scores) {
  const struct kernels *kernels = etk__kernels();
  int64_t b = token / p->tokens, size = p->options->block_tokens, head = h / (p->heads / p->options->kv_heads) * p->d, at = (token * p->heads + h) * p->d;
  int64_t length = (int64_t)in_integers(p->call, 4)[token] + 1;
  float *y = out(p->call, 0) + at;
  memset(y, 0, (size_t)p->d * sizeof *y);
  if (length <= 0) return;
  const struct cached *a = p->call->attributes;
  int64_t window = a->options.window, first = window > 0 && length > window ? length - window : 0;
  for (int64_t j = first / size * size; j < length; j += size) {
    int64_t n = length - j < size ? length - j : size;
    kernels->matvec_f32(scores + j, p->keys + offset_of(p, b, j) + head, p->row, in(p->call, 0) + at, n, p->d);
  }
  etk__attention_softmax(scores + first, &a->options, NULL, length - first);
  for (int64_t j = first; j < length; j++) kernels->axpy_f32(y, scores[j], p->values + offset_of(p, b, j) + head, p->d);
}

static void attend_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct pages *p = user;
  float *scores = (float *)p->call->scratch + slot * p->blocks * p->options->block_tokens;
  for (int64_t i = begin; i < end; i++) attend(p, i / p->heads, i % p->heads, scores);
}

static etk_status cached_forward(etk_error *e, const struct call *c) {
  struct pages p = pages_of(c);
  int64_t longest;
  etk_status status = check_table(e, &p, &longest);
  if (status) return status;
  extend(&p);
  etk_parallel_for(p.batch * p.tokens * p.heads, row_grain(longest * p.d), attend_range, &p);
  return ETK_OK;
}
static size_t cached_scratch(const struct node *node, int threads) {
  const struct cached *a = node->attributes;
  return (size_t)(threads * shape_of(node, 3)->dims[1] * etk_cache_get_options(a->cache)->block_tokens) * sizeof(float);
}

static const struct op cached_row = {"cached_attention", OP_ORDERED, 5, 5, 8 | 16, cached_shape, cached_forward, NULL, cached_scratch};
etk_tensor *etk_cached_attention_with(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_cache *cache, int layer, etk_tensor *block_table,
                                      etk_tensor *positions, const etk_attention_options *options) {
  if (!cache) return etk__poison(g, ETK_E_INVALID, "cached_attention: no cache");
  struct cached attributes = {cache, layer, *options};
  return RECORD_WITH(g, cached_row, &attributes, q, k, v, block_table, positions);
}
etk_tensor *etk_cached_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_cache *cache, int layer, etk_tensor *block_table,
                                 etk_tensor *positions, float scale) {
  return etk_cached_attention_with(g, q, k, v, cache, layer, block_table, positions, &(etk_attention_options){.scale = scale});
}
