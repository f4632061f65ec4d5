/* cached_attention: attention of new tokens to a paged cache that they first extend. Ordered; not differentiable.
 *
 * Several tokens a row go through tiles, as without a cache (attention.h). One token a row reads the cache where it lies, once for all heads of a group, in
 * chunks of positions that may run beside each other; chunks are the same for any number of threads, and so are results. */
#include "attention.h"

#include <etk/quant.h>
#include <math.h>

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

enum { CHUNK = 512, RUN = 16, PART = 64 }; /* positions of a chunk; tokens, and values of a head, that are written at a time */

struct pages {
  const struct call *call;
  const etk_attention_options *attention;
  const etk_cache_options *options;
  const struct form *form;
  unsigned char *keys, *values;
  int64_t batch, tokens, heads, kv_heads, group, d, block, blocks; /* block: positions of one; blocks: columns of the table */
  int64_t page, chunk;                                             /* bytes of one block of one head; positions of a chunk, whole blocks */
};

/* What a type's pages hold, at pages of keys and of values, each of one block of one head. */
struct form {
  etk_dtype dtype;
  /* n <= RUN tokens, whose keys and values lie `row` floats apart, to positions slot .. slot + n of the block */
  void (*write)(const struct pages *p, unsigned char *keys, unsigned char *values, int64_t slot, const float *k, const float *v, int64_t row, int64_t n);
  /* and back: keys to columns of k (d, ATTENTION_KEYS), values to rows of v */
  void (*load)(const struct pages *p, float *k, float *v, int64_t ldv, const unsigned char *keys, const unsigned char *values, int64_t slot, int64_t n);
  void (*scores)(const struct pages *p, float *scores, const float *q, const unsigned char *keys, int64_t n); /* of the first n keys */
  void (*values)(const struct pages *p, float *y, const float *scores, const unsigned char *values, int64_t slot, int64_t n); /* from slot on; scores: its */
};
static const struct form *form_of(etk_dtype dtype);

static int64_t chunk_of(const etk_cache_options *o) { return o->block_tokens < CHUNK ? CHUNK / o->block_tokens * o->block_tokens : o->block_tokens; }
static struct pages pages_of(const struct call *c) {
  const struct cached *a = c->attributes;
  const etk_cache_options *o = etk_cache_get_options(a->cache);
  const int64_t *q = c->in[0].shape.dims;
  return (struct pages){.call = c, .attention = &a->options, .options = o, .keys = etk_cache_keys(a->cache, a->layer), .values = etk_cache_values(a->cache, a->layer),
                        .batch = q[0], .tokens = q[1], .heads = q[2], .kv_heads = o->kv_heads, .group = q[2] / o->kv_heads, .d = q[3], .block = o->block_tokens,
                        .blocks = c->in[3].shape.dims[1], .page = (int64_t)etk_cache_page_bytes(a->cache), .chunk = chunk_of(o), .form = form_of(o->dtype)};
}

/* Every position up to each token's must lie in a block that exists: what follows trusts the table. */
static etk_status check_table(etk_error *e, const struct pages *p) {
  for (int64_t b = 0; b < p->batch; b++) {
    int64_t last = -1;
    for (int64_t t = 0; t < p->tokens; t++) {
      int32_t position = in_integers(p->call, 4)[b * p->tokens + t];
      if (position > last) last = position;
    }
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

/* Where the block of a row's position begins, for one key head: bytes in keys or values. */
static int64_t block_at(const struct pages *p, int64_t b, int64_t kv, int64_t position) {
  int64_t number = in_integers(p->call, 3)[b * p->blocks + position / p->block];
  return (kv * p->options->blocks + number) * p->page;
}

/* ---- types ---- */

static void write_f32(const struct pages *p, unsigned char *keys, unsigned char *values, int64_t slot, const float *k, const float *v, int64_t row, int64_t n) {
  etk__kernels()->transpose_f32((float *)(void *)keys + slot, p->block, k, row, n, p->d);
  etk__kernels()->copy_rows_f32((float *)(void *)values + slot * p->d, p->d, v, row, n, p->d);
}
static void load_f32(const struct pages *p, float *k, float *v, int64_t ldv, const unsigned char *keys, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->copy_rows_f32(k, ATTENTION_KEYS, (const float *)(const void *)keys + slot, p->block, p->d, n);
  etk__kernels()->copy_rows_f32(v, ldv, (const float *)(const void *)values + slot * p->d, p->d, n, p->d);
}
static void scores_f32(const struct pages *p, float *scores, const float *q, const unsigned char *keys, int64_t n) {
  etk__kernels()->attention_scores_f32(scores, p->chunk, q, p->group, (const float *)(const void *)keys, p->block, n, p->d);
}
static void values_f32(const struct pages *p, float *y, const float *scores, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->attention_values_f32(y, scores, p->chunk, p->group, (const float *)(const void *)values + slot * p->d, n, p->d);
}

static void write_f16(const struct pages *p, unsigned char *keys, unsigned char *values, int64_t slot, const float *k, const float *v, int64_t row, int64_t n) {
  const struct kernels *kernels = etk__kernels();
  uint16_t *to = (uint16_t *)(void *)keys + slot, *rows = (uint16_t *)(void *)values + slot * p->d, narrow[PART * RUN];
  float turned[PART * RUN];
  for (int64_t from = 0; from < p->d; from += PART) {
    int64_t part = p->d - from < PART ? p->d - from : PART;
    kernels->transpose_f32(turned, n, k + from, row, n, part);
    kernels->f32_to_f16(narrow, turned, part * n);
    for (int64_t i = 0; i < part; i++)
      for (int64_t j = 0; j < n; j++) to[(from + i) * p->block + j] = narrow[i * n + j];
  }
  for (int64_t i = 0; i < n; i++) kernels->f32_to_f16(rows + i * p->d, v + i * row, p->d);
}
static void load_f16(const struct pages *p, float *k, float *v, int64_t ldv, const unsigned char *keys, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->f16_rows_to_f32(k, ATTENTION_KEYS, (const uint16_t *)(const void *)keys + slot, p->block, p->d, n);
  etk__kernels()->f16_rows_to_f32(v, ldv, (const uint16_t *)(const void *)values + slot * p->d, p->d, n, p->d);
}
static void scores_f16(const struct pages *p, float *scores, const float *q, const unsigned char *keys, int64_t n) {
  etk__kernels()->attention_scores_f16(scores, p->chunk, q, p->group, (const uint16_t *)(const void *)keys, p->block, n, p->d);
}
static void values_f16(const struct pages *p, float *y, const float *scores, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->attention_values_f16(y, scores, p->chunk, p->group, (const uint16_t *)(const void *)values + slot * p->d, n, p->d);
}

enum { GROUP = 32 }; /* values of a head that have a scale */

static void write_codes(const struct pages *p, unsigned char *keys, unsigned char *values, int64_t slot, const float *k, const float *v, int64_t row, int64_t n) {
  int8_t codes[GROUP];
  for (int64_t from = 0; from < p->d; from += GROUP, keys += (GROUP + 2) * p->block, values += (GROUP + 2) * p->block)
    for (int64_t t = 0; t < n; t++) {
      int8_t *to = (int8_t *)keys + 2 * p->block + slot + t;
      etk__kernels()->f32_to_codes((uint16_t *)(void *)keys + slot + t, codes, k + t * row + from);
      for (int i = 0; i < GROUP; i++) to[i * p->block] = codes[i];
      etk__kernels()->f32_to_codes((uint16_t *)(void *)values + slot + t, (int8_t *)values + 2 * p->block + (slot + t) * GROUP, v + t * row + from);
    }
}
static void load_codes(const struct pages *p, float *k, float *v, int64_t ldv, const unsigned char *keys, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->code_keys_to_f32(k, ATTENTION_KEYS, keys, p->block, slot, n, p->d);
  etk__kernels()->code_values_to_f32(v, ldv, values, p->block, slot, n, p->d);
}
static void scores_codes(const struct pages *p, float *scores, const float *q, const unsigned char *keys, int64_t n) {
  etk__kernels()->attention_scores_codes(scores, p->chunk, q, p->group, keys, p->block, n, p->d);
}
static void values_codes(const struct pages *p, float *y, const float *scores, const unsigned char *values, int64_t slot, int64_t n) {
  etk__kernels()->attention_values_codes(y, scores, p->chunk, p->group, values, p->block, slot, n, p->d);
}

static const struct form forms[] = {{ETK_F32, write_f32, load_f32, scores_f32, values_f32},
                                    {ETK_F16, write_f16, load_f16, scores_f16, values_f16},
                                    {(etk_dtype)ETK_Q8_0, write_codes, load_codes, scores_codes, values_codes}};
static const struct form *form_of(etk_dtype dtype) {
  const struct form *form = forms;
  while (form->dtype != dtype) form++; /* a cache has one of these */
  return form;
}

/* ---- writing ---- */

/* n <= RUN tokens from t on, which go to consecutive positions of one block. */
static void write_run(const struct pages *p, int64_t b, int64_t kv, int64_t t, int64_t position, int64_t n) {
  int64_t at = block_at(p, b, kv, position), row = p->kv_heads * p->d, from = (b * p->tokens + t) * row + kv * p->d;
  p->form->write(p, p->keys + at, p->values + at, position % p->block, in(p->call, 1) + from, in(p->call, 2) + from, row, n);
}
/* Unit: RUN tokens of one key head of one batch row. */
static void extend_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct pages *p = user;
  int64_t runs = (p->tokens + RUN - 1) / RUN;
  (void)slot;
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t kv = unit / runs % p->kv_heads, b = unit / runs / p->kv_heads, t = unit % runs * RUN, last = t + RUN < p->tokens ? t + RUN : p->tokens;
    const int32_t *positions = in_integers(p->call, 4) + b * p->tokens;
    for (int64_t n = 1; t < last; t += n, n = 1) {
      if (positions[t] < 0) continue;
      while (t + n < last && positions[t + n] == positions[t] + n && positions[t + n] % p->block) n++;
      write_run(p, b, kv, t, positions[t], n);
    }
  }
}

/* ---- several tokens ---- */

/* Keys and values of positions start .. start + keys of one row and head, to the tile's. */
static void load_tile(const struct pages *p, struct tile *t, int64_t b, int64_t kv, int64_t start, int64_t keys) {
  for (int64_t i = 0, n; i < keys; i += n) {
    int64_t slot = (start + i) % p->block, at = block_at(p, b, kv, start + i);
    n = keys - i < p->block - slot ? keys - i : p->block - slot;
    p->form->load(p, t->k + i, t->v + i * t->kernel.dv, t->kernel.dv, p->keys + at, p->values + at, slot, n);
  }
}

/* Unit: a tile of queries of one key head of one batch row. */
static void tile_unit(const struct pages *p, int64_t unit, void *scratch) {
  int64_t tiles = etk__tile_count(p->tokens, p->group), size = etk__tile_tokens(p->tokens, p->group);
  int64_t kv = unit / tiles % p->kv_heads, b = unit / tiles / p->kv_heads, from = etk__tile_order(unit % tiles, tiles) * size;
  int64_t to = from + size < p->tokens ? from + size : p->tokens, low = INT64_MAX, high = 0;
  if (from >= to) return;
  int64_t at = ((b * p->tokens + from) * p->heads + kv * p->group) * p->d, row = p->heads * p->d;
  struct tile t;
  etk__tile_begin(&t, scratch, in(p->call, 0) + at, row, to - from, p->group, p->d, p->attention);
  for (int64_t i = from; i < to; i++) {
    int64_t position = in_integers(p->call, 4)[b * p->tokens + i];
    if (position < 0) continue;
    int64_t first = first_key(p->attention, position);
    etk__tile_see(&t, i - from, first, position + 1);
    low = first < low ? first : low;
    high = position >= high ? position + 1 : high;
  }
  for (int64_t start = low / ATTENTION_KEYS * ATTENTION_KEYS; start < high; start += ATTENTION_KEYS) {
    load_tile(p, &t, b, kv, start, high - start < ATTENTION_KEYS ? high - start : ATTENTION_KEYS);
    etk__tile_add(&t, start);
  }
  etk__tile_end(&t, out(p->call, 0) + at, row);
}
static void tile_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct pages *p = user;
  for (int64_t i = begin; i < end; i++) tile_unit(p, i, (char *)p->call->scratch + (size_t)slot * etk__tile_bytes(p->tokens, p->group, p->d));
}

/* ---- one token ---- */

/* Scratch: for each batch row where its units begin (and the end of all), for each slot scores (group, chunk), for each unit its heads' results (group, d)
 * and the logarithms of their sums (group). */
struct stream {
  struct pages pages;
  int64_t *begins; /* (batch + 1) */
  float *scores, *parts;
  bool written; /* what rows add to the cache is there */
};
static int64_t position_of(const struct pages *p, int64_t b) { return in_integers(p->call, 4)[b]; }
static int64_t first_chunk(const struct pages *p, int64_t b) { return first_key(p->attention, position_of(p, b)) / p->chunk; }
static int64_t chunks_of(const struct pages *p, int64_t b) { return position_of(p, b) < 0 ? 0 : position_of(p, b) / p->chunk - first_chunk(p, b) + 1; }
static int64_t part_floats(const struct pages *p) { return p->group * (p->d + 1); }

/* The heads of one key head over positions from .. to; sums: logarithms of the sums, or NULL. y (group, d) */
static void attend(const struct pages *p, int64_t b, int64_t kv, int64_t from, int64_t to, float *scores, float *y, float *sums) {
  const float *q = in(p->call, 0) + (b * p->heads + kv * p->group) * p->d;
  int64_t start = from / p->block * p->block, skipped = from - start;
  for (int64_t j = start; j < to; j += p->block) {
    int64_t n = to - j < p->block ? to - j : p->block;
    p->form->scores(p, scores + j - start, q, p->keys + block_at(p, b, kv, j), n);
  }
  memset(y, 0, (size_t)(p->group * p->d) * sizeof *y);
  for (int64_t h = 0; h < p->group; h++) {
    float sum = etk__attention_softmax(scores + h * p->chunk + skipped, p->attention, NULL, to - from);
    if (sums) sums[h] = sum;
  }
  for (int64_t j = start; j < to; j += p->block) {
    int64_t skip = j < from ? skipped : 0, n = (to - j < p->block ? to - j : p->block) - skip;
    p->form->values(p, y, scores + j + skip - start, p->values + block_at(p, b, kv, j), skip, n);
  }
}

/* Units of a row: (key head, chunk). The last chunk holds the token itself, so that is written there, unless other rows read it too. */
static void stream_units(void *user, int64_t begin, int64_t end, int slot) {
  const struct stream *s = user;
  const struct pages *p = &s->pages;
  float *scores = s->scores + slot * p->group * p->chunk;
  int64_t b = 0;
  for (int64_t unit = begin; unit < end; unit++) {
    while (unit >= s->begins[b + 1]) b++;
    int64_t chunks = chunks_of(p, b), position = position_of(p, b), kv = (unit - s->begins[b]) / chunks, chunk = first_chunk(p, b) + (unit - s->begins[b]) % chunks;
    int64_t first = first_key(p->attention, position), from = chunk * p->chunk, to = from + p->chunk;
    if (to > position) {
      to = position + 1;
      if (!s->written) write_run(p, b, kv, 0, position, 1);
    }
    if (from < first) from = first;
    float *part = s->parts + unit * part_floats(p), *y = out(p->call, 0) + (b * p->heads + kv * p->group) * p->d;
    attend(p, b, kv, from, to, scores, chunks == 1 ? y : part, chunks == 1 ? NULL : part + p->group * p->d);
  }
}

/* y = sum over chunks of their results, weighted by their shares of the whole sum. */
static void join_chunks(const struct stream *s, int64_t b, int64_t h, int64_t chunks) {
  const struct pages *p = &s->pages;
  const float *parts = s->parts + (s->begins[b] + h / p->group * chunks) * part_floats(p);
  int64_t part = part_floats(p), at = h % p->group * p->d, sum = p->group * p->d + h % p->group;
  float *y = out(p->call, 0) + (b * p->heads + h) * p->d, top = -INFINITY, total = 0;
  for (int64_t i = 0; i < chunks; i++) top = parts[i * part + sum] > top ? parts[i * part + sum] : top;
  for (int64_t i = 0; i < chunks; i++) total += expf(parts[i * part + sum] - top);
  memset(y, 0, (size_t)p->d * sizeof *y);
  for (int64_t i = 0; i < chunks; i++) etk__kernels()->axpy_f32(y, expf(parts[i * part + sum] - top) / total, parts + i * part + at, p->d);
}
static void join_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct stream *s = user;
  const struct pages *p = &s->pages;
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    int64_t b = i / p->heads, chunks = chunks_of(p, b);
    if (chunks == 0) memset(out(p->call, 0) + i * p->d, 0, (size_t)p->d * sizeof(float));
    if (chunks > 1) join_chunks(s, b, i % p->heads, chunks);
  }
}

static int64_t up(int64_t n) { return (n + 15) / 16 * 16; }
static size_t stream_bytes(const struct pages *p, int threads) {
  int64_t chunks = (p->blocks * p->block + p->chunk - 1) / p->chunk, units = chunks > 1 ? p->batch * p->kv_heads * chunks : 0;
  return (size_t)(2 * up(p->batch + 1) + threads * up(p->group * p->chunk) + units * part_floats(p)) * sizeof(float);
}
/* Whether neighbours are tokens of one sequence: they begin in the same block. */
static bool rows_share(const struct pages *p) {
  const int32_t *table = in_integers(p->call, 3);
  for (int64_t b = 1; b < p->batch; b++)
    if (position_of(p, b) >= 0 && table[b * p->blocks] == table[(b - 1) * p->blocks]) return true;
  return false;
}
static void stream(const struct pages *p) {
  struct stream s = {*p, p->call->scratch, (float *)p->call->scratch + 2 * up(p->batch + 1), NULL, rows_share(p)};
  if (s.written) etk_parallel_for(p->batch * p->kv_heads, row_grain(2 * RUN * p->d), extend_units, &s.pages);
  s.parts = s.scores + p->call->threads * up(p->group * p->chunk);
  int64_t longest = 0;
  bool join = false;
  for (int64_t b = 0; b < p->batch; b++) {
    int64_t chunks = chunks_of(p, b), seen = position_of(p, b) + 1 - first_key(p->attention, position_of(p, b));
    s.begins[b + 1] = (b ? s.begins[b] : (s.begins[0] = 0)) + p->kv_heads * chunks;
    join |= chunks != 1;
    longest = seen > longest ? seen : longest;
  }
  etk_parallel_share(s.begins[p->batch], row_grain((longest < p->chunk ? longest : p->chunk) * p->d * p->group), stream_units, &s);
  if (join) etk_parallel_for(p->batch * p->heads, row_grain(p->d * 8), join_range, &s);
}

static etk_status cached_forward(etk_error *e, const struct call *c) {
  struct pages p = pages_of(c);
  etk_status status = check_table(e, &p);
  if (status) return status;
  if (p.tokens == 1) {
    stream(&p);
    return ETK_OK;
  }
  etk_parallel_for(p.batch * p.kv_heads * ((p.tokens + RUN - 1) / RUN), row_grain(2 * RUN * p.d), extend_units, &p);
  etk_parallel_share(p.batch * p.kv_heads * etk__tile_count(p.tokens, p.group), 1, tile_units, &p);
  return ETK_OK;
}
static size_t cached_scratch(const struct node *node, int threads) {
  struct call shapes = {.attributes = node->attributes};
  for (int i = 0; i < 5; i++) shapes.in[i].shape = *shape_of(node, i);
  struct pages p = pages_of(&shapes);
  return p.tokens == 1 ? stream_bytes(&p, threads) : (size_t)threads * etk__tile_bytes(p.tokens, p.group, p.d);
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
