/* Attention in tiles and streams against the formula in double precision, at odd sizes, with windows, caps, groups and a paged cache of both types; its kernels
 * against the reference; and a mixture whose experts compute their own tokens, against one where all compute all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include <etk/quant.h>
#include <etk/rng.h>
#include <math.h>
#include "ml/tensor/internal.h"

#include "ml_variants.h"

static float draw(etk_rng *r) { return (float)etk_rng_normal(r); }
static etk_tensor *random_input(etk_graph *g, etk_shape shape, uint64_t seed) {
  etk_tensor *t = etk_graph_input(g, ETK_F32, shape, "x");
  etk_rng r = etk_rng_new(seed, 9);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = draw(&r);
  return t;
}
static const float *floats(const etk_tensor *t) { return etk_tensor_data((etk_tensor *)(uintptr_t)t); }
static void eval(etk_graph *g) {
  etk_error e = ETK_ERROR_INIT;
  if (etk_graph_eval(&e, g)) fail_msg("%s", e.message);
}

/* With 1 thread, 1 + step … up to most: each of y has the same bits every time. */
static void eval_with_threads(etk_graph *g, etk_tensor *const *y, int count, int most, int step) {
  float *first[3];
  assert_true(count <= 3);
  for (int threads = 1; threads <= most; threads += step) {
    etk_parallel_set_threads(threads);
    eval(g);
    for (int i = 0; i < count; i++) {
      size_t bytes = etk_tensor_bytes(y[i]);
      if (threads == 1) memcpy(first[i] = etk_alloc(bytes), floats(y[i]), bytes);
      else assert_memory_equal(first[i], floats(y[i]), bytes);
    }
  }
  for (int i = 0; i < count; i++) etk_free(first[i]);
}

struct text { /* one row's queries (tokens, heads, d), keys and values (tokens, kv_heads, d) */
  const float *q, *k, *v;
  int64_t heads, kv_heads, d;
};
/* What the head of token t gets, by the formula. */
static void wanted_of(double *out, const struct text *x, int64_t t, int64_t h, const etk_attention_options *o) {
  static double weights[2048];
  int64_t first = o->window > 0 && t >= o->window ? t + 1 - o->window : 0, kv = h / (x->heads / x->kv_heads);
  double sum = 0, top = -INFINITY;
  for (int64_t j = first; j <= t; j++) {
    double s = 0;
    for (int64_t i = 0; i < x->d; i++) s += (double)x->q[(t * x->heads + h) * x->d + i] * (double)x->k[(j * x->kv_heads + kv) * x->d + i];
    s *= (double)o->scale;
    weights[j] = o->softcap > 0 ? (double)o->softcap * tanh(s / (double)o->softcap) : s;
    top = fmax(top, weights[j]);
  }
  for (int64_t j = first; j <= t; j++) sum += weights[j] = exp(weights[j] - top);
  for (int64_t i = 0; i < x->d; i++) {
    out[i] = 0;
    for (int64_t j = first; j <= t; j++) out[i] += weights[j] / sum * (double)x->v[(j * x->kv_heads + kv) * x->d + i];
  }
}
static void check_row(const struct text *x, const float *seen, int64_t t, const etk_attention_options *o, double tolerance, const char *what) {
  double wanted[256];
  for (int64_t h = 0; h < x->heads; h++) {
    wanted_of(wanted, x, t, h, o);
    for (int64_t i = 0; i < x->d; i++)
      if (!(fabs((double)seen[h * x->d + i] - wanted[i]) < tolerance))
        fail_msg("%s, token %d, head %d, value %d: %g, wanted %g", what, (int)t, (int)h, (int)i, (double)seen[h * x->d + i], wanted[i]);
  }
}

/* Sizes around a tile of 132 rows, a tile of 64 keys, 6 rows and a vector. */
static const struct size {
  int64_t batch, tokens, heads, kv_heads, d;
  etk_attention_options options;
} sizes[] = {
    {1, 1, 1, 1, 1, {0.5f, 0, 0}}, {2, 7, 3, 3, 5, {0.5f, 0, 0}}, {1, 64, 2, 1, 16, {0.25f, 0, 0}}, {1, 65, 4, 2, 17, {0.25f, 0, 0}}, {2, 133, 2, 2, 64, {0.125f, 0, 0}},
    {1, 300, 6, 2, 80, {0.11f, 0, 0}}, {1, 131, 5, 1, 33, {0.2f, 0, 0}}, {1, 150, 140, 1, 3, {0.5f, 0, 0}}, {1, 200, 2, 1, 24, {0.2f, 1, 0}}, {1, 200, 2, 1, 24, {0.2f, 63, 0}},
    {2, 200, 4, 4, 24, {0.2f, 64, 0}}, {1, 333, 2, 2, 128, {0.1f, 70, 0}}, {1, 140, 4, 2, 40, {0.5f, 0, 2}}, {1, 140, 4, 2, 40, {0.5f, 33, 0.7f}},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Sums of up to 333 weighted normal numbers, weights good to some 1e-6. */
static const double TOLERANCE = 4e-6;

static void tiles_equal_the_formula_for_any_number_of_threads(void **state) {
  (void)state;
  for (int s = 0; s < SIZES; s++) {
    const struct size *z = &sizes[s];
    etk_graph *g = etk_graph_new();
    etk_tensor *q = random_input(g, etk_shape_of(4, z->batch, z->tokens, z->heads, z->d), 1), *k = random_input(g, etk_shape_of(4, z->batch, z->tokens, z->kv_heads, z->d), 2),
               *v = random_input(g, etk_shape_of(4, z->batch, z->tokens, z->kv_heads, z->d), 3), *y = etk_attention_with(g, q, k, v, &z->options);
    etk_graph_keep(g, y);
    eval_with_threads(g, &y, 1, 5, 2);
    for (int64_t b = 0; b < z->batch; b++) {
      int64_t at_q = b * z->tokens * z->heads * z->d, at_k = b * z->tokens * z->kv_heads * z->d;
      struct text x = {floats(q) + at_q, floats(k) + at_k, floats(v) + at_k, z->heads, z->kv_heads, z->d};
      for (int64_t t = 0; t < z->tokens; t++) check_row(&x, floats(y) + at_q + t * z->heads * z->d, t, &z->options, TOLERANCE, "tiles");
    }
    etk_graph_free(g);
  }
  etk_parallel_set_threads(0);
}

/* ---- backward ---- */

static etk_tensor *random_weight(etk_shape shape, uint64_t seed) {
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *t = NULL;
  etk_rng r = etk_rng_new(seed, 9);
  if (etk_tensor_new(&e, &t, ETK_F32, shape)) fail_msg("%s", e.message);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = draw(&r);
  etk_tensor_set_trainable(t, true);
  return t;
}

/* The derivative of sum(dy y) for one row of the batch, by the formula in double precision: added to d[0 .. 2], like q, k and v. */
static void add_wanted_gradients(double *const *d, const struct text *x, const float *dy, int64_t tokens, const etk_attention_options *o) {
  static double p[512], dp[512], slope[512];
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < x->heads; h++) {
      int64_t first = o->window > 0 && t >= o->window ? t + 1 - o->window : 0, kv = h / (x->heads / x->kv_heads), at_q = (t * x->heads + h) * x->d;
      double top = -INFINITY, sum = 0, mean = 0, cap = (double)o->softcap;
      for (int64_t j = first; j <= t; j++) {
        int64_t at_k = (j * x->kv_heads + kv) * x->d;
        double s = 0;
        dp[j] = 0;
        for (int64_t i = 0; i < x->d; i++) {
          s += (double)o->scale * (double)x->q[at_q + i] * (double)x->k[at_k + i];
          dp[j] += (double)dy[at_q + i] * (double)x->v[at_k + i];
        }
        p[j] = cap > 0 ? cap * tanh(s / cap) : s;
        slope[j] = cap > 0 ? 1 - p[j] / cap * (p[j] / cap) : 1;
        top = fmax(top, p[j]);
      }
      for (int64_t j = first; j <= t; j++) sum += p[j] = exp(p[j] - top);
      for (int64_t j = first; j <= t; j++) mean += (p[j] /= sum) * dp[j];
      for (int64_t j = first; j <= t; j++) {
        int64_t at_k = (j * x->kv_heads + kv) * x->d;
        double ds = p[j] * (dp[j] - mean) * slope[j] * (double)o->scale;
        for (int64_t i = 0; i < x->d; i++) {
          d[0][at_q + i] += ds * (double)x->k[at_k + i];
          d[1][at_k + i] += ds * (double)x->q[at_q + i];
          d[2][at_k + i] += p[j] * (double)dy[at_q + i];
        }
      }
    }
}

/* Sums of up to 333 products for each of up to 140 heads, in single precision: 1e-5 of the largest of all is some twenty roundings. */
static void gradients_equal_the_formula_for_any_number_of_threads(void **state) {
  (void)state;
  for (int s = 0; s < SIZES; s++) {
    const struct size *z = &sizes[s];
    const etk_shape like_q = etk_shape_of(4, z->batch, z->tokens, z->heads, z->d), like_k = etk_shape_of(4, z->batch, z->tokens, z->kv_heads, z->d);
    etk_graph *g = etk_graph_new();
    etk_error e = ETK_ERROR_INIT;
    etk_tensor *x[3] = {random_weight(like_q, 1), random_weight(like_k, 2), random_weight(like_k, 3)}, *dx[3], *dy = random_input(g, like_q, 4);
    if (etk_graph_backward(&e, g, etk_sum(g, etk_mul(g, dy, etk_attention_with(g, x[0], x[1], x[2], &z->options))), x, 3, dx)) fail_msg("%s", e.message);
    eval_with_threads(g, dx, 3, 3, 2);
    for (int64_t b = 0; b < z->batch; b++) {
      int64_t sides[3] = {z->tokens * z->heads * z->d, z->tokens * z->kv_heads * z->d, z->tokens * z->kv_heads * z->d};
      double *wanted[3];
      for (int i = 0; i < 3; i++) wanted[i] = etk_calloc((size_t)sides[i], sizeof **wanted);
      struct text row = {floats(x[0]) + b * sides[0], floats(x[1]) + b * sides[1], floats(x[2]) + b * sides[2], z->heads, z->kv_heads, z->d};
      add_wanted_gradients(wanted, &row, floats(dy) + b * sides[0], z->tokens, &z->options);
      for (int i = 0; i < 3; i++) {
        double largest = 1;
        for (int64_t j = 0; j < sides[i]; j++) largest = fmax(largest, fabs(wanted[i][j]));
        for (int64_t j = 0; j < sides[i]; j++)
          if (!(fabs((double)floats(dx[i])[b * sides[i] + j] - wanted[i][j]) <= 1e-5 * largest))
            fail_msg("size %d, input %d, value %d: %g, wanted %g", s, i, (int)j, (double)floats(dx[i])[b * sides[i] + j], wanted[i][j]);
        etk_free(wanted[i]);
      }
    }
    for (int i = 0; i < 3; i++) etk_tensor_unref(x[i]);
    etk_graph_free(g);
  }
  etk_parallel_set_threads(0);
}

static void scores_of_any_size_give_finite_results(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *q = random_input(g, etk_shape_of(4, 1, 70, 1, 16), 1), *k = random_input(g, etk_shape_of(4, 1, 70, 1, 16), 2), *v = random_input(g, etk_shape_of(4, 1, 70, 1, 16), 3);
  etk_attention_options o = {1e4f, 0, 0}; /* scores up to some 1e5: only the largest matters, and which it is changes from tile to tile */
  etk_tensor *y = etk_attention_with(g, q, k, v, &o);
  etk_graph_keep(g, y);
  eval(g);
  struct text x = {floats(q), floats(k), floats(v), 1, 1, 16};
  for (int64_t t = 0; t < 70; t++) check_row(&x, floats(y) + t * 16, t, &o, 1e-3, "large scores"); /* scores of 1e5 are good to 1e-2 where two nearly tie */
  etk_graph_free(g);
}

/* ---- through a cache ---- */

static const struct paged {
  int64_t tokens, heads, kv_heads, d, block;
  int64_t step; /* tokens at a time, but for the last 5, which go one by one */
  etk_dtype dtype;
  etk_attention_options options;
} paged[] = {
    {40, 2, 2, 8, 16, 40, ETK_F32, {0.3f, 0, 0}}, {150, 6, 2, 20, 16, 150, ETK_F32, {0.3f, 0, 0}}, {150, 5, 1, 33, 3, 67, ETK_F32, {0.2f, 0, 0}},
    {523, 3, 1, 16, 16, 518, ETK_F32, {0.3f, 0, 0}}, {1100, 4, 2, 8, 32, 547, ETK_F32, {0.3f, 0, 0}}, {1100, 7, 1, 8, 5, 600, ETK_F32, {0.3f, 523, 0}},
    {700, 2, 1, 64, 600, 350, ETK_F32, {0.1f, 0, 0}}, {300, 4, 2, 24, 16, 30, ETK_F32, {0.3f, 21, 1.5f}}, {150, 6, 2, 20, 16, 150, ETK_F16, {0.3f, 0, 0}},
    {150, 5, 1, 33, 3, 67, ETK_F16, {0.2f, 40, 0}}, {700, 2, 2, 64, 16, 350, ETK_F16, {0.1f, 0, 0}}, {70, 1, 1, 130, 32, 1, ETK_F16, {0.1f, 0, 0.9f}},
#define Q8 (etk_dtype)ETK_Q8_0
    {150, 6, 2, 32, 16, 150, Q8, {0.3f, 0, 0}}, {150, 5, 1, 96, 3, 67, Q8, {0.1f, 40, 0}}, {700, 7, 1, 64, 16, 350, Q8, {0.1f, 0, 0}}, {70, 3, 3, 128, 20, 1, Q8, {0.1f, 0, 0.9f}},
};

static const char *cache_name(etk_dtype type) { return type == ETK_F16 ? "F16 cache" : type == Q8 ? "Q8_0 cache" : "F32 cache"; }

/* (rows, d) to what a cache of the type holds of them, by the library's converters, which share no code with it. */
static void round_to(etk_dtype type, etk_tensor *t, int64_t rows, int64_t d) {
  static unsigned char bytes[1 << 20];
  etk_error e = ETK_ERROR_INIT;
  assert_true(etk_tensor_bytes(t) <= sizeof bytes);
  if (etk_quant_encode(&e, bytes, (etk_type)type, etk_tensor_data(t), rows, d, NULL) || etk_quant_decode(&e, etk_tensor_data(t), (etk_type)type, bytes, rows, d)) fail_msg("%s", e.message);
}

static void feed(const struct paged *z, etk_cache *c, const struct text *x, int64_t from, int64_t count, const int32_t *blocks, int64_t block_count) {
  etk_graph *g = etk_graph_new();
  etk_tensor *in[3], *table = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, block_count), "table"), *positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, count), "positions");
  const float *whole[] = {x->q, x->k, x->v};
  for (int i = 0; i < 3; i++) {
    int64_t row = (i ? z->kv_heads : z->heads) * z->d;
    in[i] = etk_graph_input(g, ETK_F32, etk_shape_of(4, 1, count, i ? z->kv_heads : z->heads, z->d), "x");
    memcpy(etk_tensor_data(in[i]), whole[i] + from * row, (size_t)(count * row) * sizeof(float));
  }
  memcpy(etk_tensor_data(table), blocks, (size_t)block_count * sizeof *blocks);
  for (int64_t i = 0; i < count; i++) ((int32_t *)etk_tensor_data(positions))[i] = (int32_t)(from + i);
  etk_tensor *y = etk_cached_attention_with(g, in[0], in[1], in[2], c, 1, table, positions, &z->options);
  etk_graph_keep(g, y);
  eval_with_threads(g, &y, 1, 4, 3); /* again over what it wrote: the same */
  for (int64_t i = 0; i < count; i += count > 40 ? 7 : 1) check_row(x, floats(y) + i * z->heads * z->d, from + i, &z->options, TOLERANCE, cache_name(z->dtype));
  etk_graph_free(g);
}

/* A cache of fewer bits is held to the same tolerance against keys and values that were rounded before. */
static void a_text_through_pages_in_any_order_equals_the_formula(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof paged / sizeof *paged; s++) {
    const struct paged *z = &paged[s];
    etk_graph *g = etk_graph_new();
    etk_tensor *q = random_input(g, etk_shape_of(3, z->tokens, z->heads, z->d), 1), *k = random_input(g, etk_shape_of(3, z->tokens, z->kv_heads, z->d), 2),
               *v = random_input(g, etk_shape_of(3, z->tokens, z->kv_heads, z->d), 3);
    if (z->dtype != ETK_F32) {
      round_to(z->dtype, k, z->tokens * z->kv_heads, z->d);
      round_to(z->dtype, v, z->tokens * z->kv_heads, z->d);
    }
    struct text x = {floats(q), floats(k), floats(v), z->heads, z->kv_heads, z->d};
    etk_cache *c = NULL;
    int64_t count = (z->tokens + z->block - 1) / z->block + 1;
    etk_cache_options options = {2, (int)z->kv_heads, (int)z->d, (int)z->block, (int)count + 1, z->dtype};
    assert_int_equal(etk_cache_new(NULL, &c, &options), ETK_OK);
    int32_t *blocks = etk_calloc((size_t)count, sizeof *blocks);
    for (int64_t i = 0; i < count - 1; i++) blocks[i] = (int32_t)(i % 2 ? i - 1 : i + 1 < count - 1 ? i + 1 : i); /* neighbours changed places */
    blocks[count - 1] = -1;
    for (int64_t at = 0, n; at < z->tokens; at += n) {
      n = z->tokens - 5 - at < z->step ? z->tokens - 5 - at : z->step;
      if (n < 1) n = 1;
      feed(z, c, &x, at, n, blocks, count);
    }
    etk_free(blocks);
    etk_cache_free(c);
    etk_graph_free(g);
  }
  etk_parallel_set_threads(0);
}

/* ---- kernels ---- */

static void fill(float *x, int64_t n, uint64_t seed) {
  etk_rng r = etk_rng_new(seed, 2);
  for (int64_t i = 0; i < n; i++) x[i] = draw(&r);
}
enum { WIDTH = 80, ROWS = 12, GUARD = 16 };
/* Sums of up to 80 products of normal numbers, or of probabilities. */
static void same(const float *seen, const float *wanted, int64_t n, const char *what, const char *isa) {
  for (int64_t i = 0; i < n; i++)
    if (!(fabsf(seen[i] - wanted[i]) <= 2e-5f * (1 + 0.1f * fabsf(wanted[i])))) fail_msg("%s, %s: [%d] is %g, wanted %g", what, isa, (int)i, (double)seen[i], (double)wanted[i]);
}

static void streams_and_moves_agree_with_the_reference(void **state) {
  static float a[WIDTH * WIDTH], b[WIDTH * WIDTH], before[WIDTH * WIDTH + GUARD], wanted[WIDTH * WIDTH + GUARD], seen[WIDTH * WIDTH + GUARD];
  static uint16_t half[WIDTH * WIDTH];
  static const int64_t widths[] = {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 47, 64, 79};
  enum { COUNT = sizeof widths / sizeof *widths };
  const struct kernels *r = etk__kernels_at(0), *k;
  FIND_VARIANT(k, etk__kernels_at, state);
  fill(a, WIDTH * WIDTH, 1), fill(b, WIDTH * WIDTH, 2), fill(before, WIDTH * WIDTH + GUARD, 3);
  r->f32_to_f16(half, b, WIDTH * WIDTH);
  for (int i = 0; i < COUNT; i++)
    for (int j = 0; j < COUNT; j++) {
      int64_t n = widths[i], d = widths[j], rows = (i + j) % 8;
      for (int which = 0; which < 7; which++) {
        static const char *const names[] = {"scores", "scores of halves", "values", "values of halves", "transposed", "copied", "halves' rows"};
        memcpy(wanted, before, sizeof wanted);
        memcpy(seen, before, sizeof seen);
        for (int side = 0; side < 2; side++) {
          const struct kernels *x = side ? k : r;
          float *y = side ? seen : wanted;
          if (which == 0) x->attention_scores_f32(y, n + 1, a + 1, rows, b, n, n, d);
          if (which == 1) x->attention_scores_f16(y, n + 1, a + 1, rows, half, n, n, d);
          if (which == 2) x->attention_values_f32(y, a, n, rows, b, n, d);
          if (which == 3) x->attention_values_f16(y, a, n, rows, half, n, d);
          if (which == 4) x->transpose_f32(y, n + 1, a + 1, d, n, d);
          if (which == 5) x->copy_rows_f32(y, d + 1, a + 1, d, n, d);
          if (which == 6) x->f16_rows_to_f32(y, d + 1, half + 1, d, n, d);
        }
        same(seen, wanted, WIDTH * WIDTH + GUARD, names[which], k->name);
      }
    }
}

/* Random codes and scales of ROOM tokens, n of which are looked at. */
static void streams_of_codes_agree_with_the_reference(void **state) {
  enum { ROOM = 21, DEPTH = 128, SIZE = ROOM * DEPTH, GROUPS = DEPTH / 32 };
  static const int64_t counts[] = {1, 4, 15, 16, 17, 21}, depths[] = {32, 64, 96, 128};
  static float x[SIZE], q[8 * DEPTH], p[8 * ROOM], wanted[SIZE + GUARD], seen[SIZE + GUARD], before[SIZE + GUARD];
  static struct { uint16_t scales[ROOM]; int8_t codes[ROOM][32]; } page[GROUPS], again[GROUPS]; /* of values; as keys the codes have other places */
  const struct kernels *r = etk__kernels_at(0), *k;
  FIND_VARIANT(k, etk__kernels_at, state);
  fill(x, SIZE, 1), fill(q, 8 * DEPTH, 2), fill(p, 8 * ROOM, 3), fill(before, SIZE + GUARD, 4);
  for (int i = 0; i < SIZE / 32; i++) {
    r->f32_to_codes(&page[i / ROOM].scales[i % ROOM], page[i / ROOM].codes[i % ROOM], x + 32 * i);
    k->f32_to_codes(&again[i / ROOM].scales[i % ROOM], again[i / ROOM].codes[i % ROOM], x + 32 * i);
  }
  assert_memory_equal(page, again, sizeof page);
  for (int i = 0; i < 24; i++) {
    int64_t n = counts[i % 6], d = depths[i / 6], rows = 1 + i % 7, first = ROOM - n;
    const unsigned char *bytes = (const unsigned char *)page;
    for (int which = 0; which < 4; which++) {
      static const char *const names[] = {"scores of codes", "values of codes", "keys", "values"};
      memcpy(wanted, before, sizeof wanted);
      memcpy(seen, before, sizeof seen);
      for (int side = 0; side < 2; side++) {
        const struct kernels *one = side ? k : r;
        float *y = side ? seen : wanted;
        if (which == 0) one->attention_scores_codes(y, n + 1, q, rows, bytes, ROOM, n, d);
        if (which == 1) one->attention_values_codes(y, p, ROOM, rows, bytes, ROOM, first, n, d);
        if (which == 2) one->code_keys_to_f32(y, ROOM, bytes, ROOM, first, n, d);
        if (which == 3) one->code_values_to_f32(y, d, bytes, ROOM, first, n, d);
      }
      same(seen, wanted, SIZE + GUARD, names[which], k->name);
    }
  }
}

/* Zeros stay zeros; what is no number or too large for a scale does not come back as one. */
static void codes_of_what_is_not_finite_are_no_numbers(void **state) {
  (void)state;
  const float ends[] = {0, NAN, INFINITY, -INFINITY, 65504 * 128.0f};
  const struct kernels *k;
  for (int v = 0; (k = etk__kernels_at(v)); v++)
    for (int i = 0; i < 5; i++) {
      float x[32] = {1e-30f}, back[32];
      struct { uint16_t scale; int8_t codes[32]; } token;
      x[31] = ends[i];
      if (i == 1) x[5] = 3; /* before a number that is none */
      k->f32_to_codes(&token.scale, token.codes, x);
      k->code_values_to_f32(back, 32, (const unsigned char *)&token, 1, 0, 1, 32);
      if (i == 0 ? back[31] != 0 : isfinite(back[31])) fail_msg("%s: %g came back as %g", k->name, (double)ends[i], (double)back[31]);
    }
}

static void a_tile_agrees_with_the_reference(void **state) {
  enum { D = 50, DV = 64, N = ROWS * DV };
  static float q[ROWS * D], key[D * ATTENTION_KEYS], v[ATTENTION_KEYS * DV], y[2][N + GUARD], top[2][ROWS], sum[2][ROWS];
  static const int64_t depths[] = {1, 5, 16, 33, 50}, starts[] = {0, 30, 64, 90, 128};
  const struct kernels *k;
  FIND_VARIANT(k, etk__kernels_at, state);
  fill(q, ROWS * D, 1), fill(key, D * ATTENTION_KEYS, 2), fill(v, ATTENTION_KEYS * DV, 3);
  for (int i = 0; i < 10; i++) {
    int64_t d = depths[i % 5], dv = (d + 15) / 16 * 16, first[ROWS], end[ROWS];
    for (int r = 0; r < ROWS; r++) first[r] = r == 4 ? 0 : 7 * r, end[r] = r == 4 ? 0 : 60 + 9 * r; /* row 4 sees nothing */
    for (int side = 0; side < 2; side++) {
      memset(y[side], 0, sizeof y[side]);
      for (int r = 0; r < ROWS; r++) top[side][r] = -INFINITY, sum[side][r] = 0;
      struct attention_tile t = {ROWS, d, dv, q, key, v, 0, first, end, i < 5 ? 0 : 0.8f, y[side], top[side], sum[side]};
      for (int s = 0; s < 5; s++) {
        t.start = starts[s];
        (side ? k : etk__kernels_at(0))->attention_tile_f32(&t);
      }
    }
    for (int r = 0; r < ROWS; r++) same(y[1] + r * dv, y[0] + r * dv, d, "tile", k->name);
    same(sum[1], sum[0], ROWS, "sums", k->name);
    for (int r = 0; r < ROWS; r++) assert_true(r == 4 ? top[1][r] == -INFINITY : fabsf(top[1][r] - top[0][r]) < 1e-5f);
    assert_memory_equal(y[1] + ROWS * dv, y[0] + ROWS * dv, GUARD * sizeof(float));
  }
}

/* 2e-7 of the cap: three last places; near 0 the same of the value itself. */
static void caps_are_good_near_zero_and_far_away(void **state) {
  (void)state;
  enum { N = 4001 };
  static float x[N], y[N];
  const struct kernels *k;
  for (int i = 0; i < N; i++) x[i] = (i % 2 ? 1.0f : -1.0f) * powf(10, -6 + 8 * (float)i / N);
  for (int v = 0; (k = etk__kernels_at(v)); v++) {
    k->softcap_f32(y, x, 0.5f, 3, N);
    for (int i = 0; i < N; i++) {
      double wanted = 3 * tanh(0.5 * (double)x[i] / 3);
      if (!(fabs((double)y[i] / wanted - 1) < 3e-7)) fail_msg("%s: cap of %g is %.9g, wanted %.9g", k->name, (double)x[i], (double)y[i], wanted);
    }
    k->softcap_f32(y, (const float[]){0, INFINITY, -INFINITY, NAN}, 1, 3, 4);
    assert_true(y[0] == 0 && y[1] == 3 && y[2] == -3 && isnan(y[3]));
  }
}

/* ---- mixtures ---- */

enum { TOKENS = 37, HIDDEN = 12, INNER = 20, EXPERTS = 5, CHOSEN = 2 };

struct mixture {
  etk_tensor *x, *router, *gate[EXPERTS], *up[EXPERTS], *down[EXPERTS];
};
static etk_tensor *dense(etk_graph *g, const struct mixture *m, etk_tensor *weights) {
  etk_tensor *y = m->x;
  for (int i = 0; i < EXPERTS; i++) {
    etk_tensor *inner = etk_swiglu(g, etk_matmul(g, m->x, m->gate[i], false, true), etk_matmul(g, m->x, m->up[i], false, true));
    y = etk_add(g, y, etk_matmul(g, etk_scale_rows(g, inner, etk_slice(g, weights, i, 1)), m->down[i], false, true));
  }
  return y;
}
static etk_tensor *sparse(etk_graph *g, const struct mixture *m, etk_tensor *weights) {
  etk_tensor *y = m->x, *count;
  for (int i = 0; i < EXPERTS; i++) {
    etk_tensor *index = etk_expert_rows(g, weights, i, &count), *own = etk_rows(g, m->x, index);
    etk_tensor *inner = etk_swiglu(g, etk_matmul_first(g, NULL, own, m->gate[i], count, 1, true), etk_matmul_first(g, NULL, own, m->up[i], count, 1, true));
    inner = etk_scale_rows(g, inner, etk_rows(g, etk_slice(g, weights, i, 1), index));
    y = etk_add_rows(g, y, etk_matmul_first(g, NULL, inner, m->down[i], count, 1, true), index);
  }
  return y;
}

/* Sums of the same terms in another order: as good as the largest of them, which the largest result stands for. */
static void near(const etk_tensor *seen, const etk_tensor *wanted, double slack, const char *what) {
  double largest = 0;
  for (int64_t i = 0; i < etk_tensor_elements(wanted); i++) largest = fmax(largest, fabs((double)floats(wanted)[i]));
  for (int64_t i = 0; i < etk_tensor_elements(wanted); i++)
    if (!(fabs((double)floats(seen)[i] - (double)floats(wanted)[i]) <= slack * largest))
      fail_msg("%s [%d]: %g, wanted %g; the largest is %g", what, (int)i, (double)floats(seen)[i], (double)floats(wanted)[i], largest);
}

static void experts_that_compute_their_own_tokens_equal_those_that_compute_all(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_graph *g = etk_graph_new();
  struct mixture m = {.x = random_input(g, etk_shape_of(2, TOKENS, HIDDEN), 1), .router = random_input(g, etk_shape_of(2, EXPERTS, HIDDEN), 2)};
  for (int64_t i = 0; i < TOKENS; i++) ((float *)etk_tensor_data(m.x))[i * HIDDEN] = 9; /* a constant, by which the last expert is far from all */
  for (int64_t i = 0; i < EXPERTS; i++) ((float *)etk_tensor_data(m.router))[i * HIDDEN] = i == EXPERTS - 1 ? -9 : 0;
  etk_tensor *wrt[2 + 3 * EXPERTS] = {m.x, m.router}, *gradients[2][2 + 3 * EXPERTS];
  for (int i = 0; i < EXPERTS; i++) {
    wrt[2 + 3 * i] = m.gate[i] = random_input(g, etk_shape_of(2, INNER, HIDDEN), 10 + 3 * (uint64_t)i);
    wrt[3 + 3 * i] = m.up[i] = random_input(g, etk_shape_of(2, INNER, HIDDEN), 11 + 3 * (uint64_t)i);
    wrt[4 + 3 * i] = m.down[i] = random_input(g, etk_shape_of(2, HIDDEN, INNER), 12 + 3 * (uint64_t)i);
  }
  etk_tensor *weights = etk_route(g, etk_matmul(g, m.x, m.router, false, true), CHOSEN, true), *count, *y[2];
  etk_expert_rows(g, weights, EXPERTS - 1, &count);
  y[0] = dense(g, &m, weights), y[1] = sparse(g, &m, weights);
  etk_tensor *w = random_input(g, etk_shape_of(2, TOKENS, HIDDEN), 5);
  for (int j = 0; j < 2 + 3 * EXPERTS; j++) etk_tensor_set_trainable(wrt[j], true);
  for (int i = 0; i < 2; i++) {
    etk_graph_keep(g, y[i]);
    if (etk_graph_backward(&e, g, etk_sum(g, etk_mul(g, y[i], w)), wrt, 2 + 3 * EXPERTS, gradients[i])) fail_msg("%s", e.message);
  }
  etk_graph_keep(g, count);
  eval(g);
  assert_int_equal(*(int32_t *)etk_tensor_data(count), 0); /* an expert without tokens is among them */
  near(y[1], y[0], 1e-6, "result");
  for (int j = 0; j < 2 + 3 * EXPERTS; j++) near(gradients[1][j], gradients[0][j], 1e-5, "gradient");
  etk_graph_free(g);
}

static void rows_that_do_not_count_are_not_read(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *a = random_input(g, etk_shape_of(2, 9, 6), 1), *b = random_input(g, etk_shape_of(2, 4, 6), 2), *c = random_input(g, etk_shape_of(2, 9, 4), 3);
  etk_tensor *count = etk_graph_input(g, ETK_I32, etk_shape_of(1, 1), "count");
  etk_tensor *all = etk_matmul(g, a, b, false, true), *some = etk_matmul_first(g, NULL, a, b, count, 1, true), *added = etk_matmul_first(g, c, a, b, count, 0.5f, true);
  etk_graph_keep(g, all), etk_graph_keep(g, some), etk_graph_keep(g, added);
  for (int32_t n = 0; n <= 9; n += 3) {
    *(int32_t *)etk_tensor_data(count) = n;
    eval(g);
    for (int64_t i = 0; i < 9 * 4; i++) {
      float product = i / 4 < n ? floats(all)[i] : 0;
      assert_true(fabsf(floats(some)[i] - product) < 1e-5f); /* six products of normal numbers, summed in another order */
      assert_true(fabsf(floats(added)[i] - (floats(c)[i] + 0.5f * product)) < 1e-5f);
    }
  }
  *(int32_t *)etk_tensor_data(count) = 8;
  for (int i = 0; i < 6; i++) ((float *)etk_tensor_data(a))[8 * 6 + i] = NAN;
  eval(g);
  for (int i = 0; i < 4; i++) assert_true(floats(some)[8 * 4 + i] == 0 && floats(added)[8 * 4 + i] == floats(c)[8 * 4 + i]);
  etk_graph_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiles_equal_the_formula_for_any_number_of_threads),
      cmocka_unit_test(gradients_equal_the_formula_for_any_number_of_threads),
      cmocka_unit_test(scores_of_any_size_give_finite_results),
      cmocka_unit_test(a_text_through_pages_in_any_order_equals_the_formula),
      KERNELS(VARIANT, streams_and_moves_agree_with_the_reference)
      KERNELS(VARIANT, streams_of_codes_agree_with_the_reference)
      cmocka_unit_test(codes_of_what_is_not_finite_are_no_numbers),
      KERNELS(VARIANT, a_tile_agrees_with_the_reference)
      cmocka_unit_test(caps_are_good_near_zero_and_far_away),
      cmocka_unit_test(experts_that_compute_their_own_tokens_equal_those_that_compute_all),
      cmocka_unit_test(rows_that_do_not_count_are_not_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
