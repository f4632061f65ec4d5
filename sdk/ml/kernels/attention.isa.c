/* Attention's loops. A tile: both products are of 6 rows by a few vectors in registers, and between them the softmax of the 6 rows. A stream: one token's heads
 * against keys that lie transposed, so that a vector holds one value of many keys and no sum runs across lanes. */
#include "vector.h"

enum { STEP = ATTENTION_STEP, KEYS = ATTENTION_KEYS };
#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
enum { WIDE = 4 }; /* vectors beside each other: 6 x 4 of 32 registers */
#else
enum { WIDE = 2 };
#endif

/* c (STEP, w vectors) = factors c + a (STEP, depth) b (depth, w vectors); factors NULL: c is set. w is a constant where this is inlined. */
INLINE void product(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t depth, const float *factors, int w) {
  vf s[STEP][WIDE];
#pragma GCC unroll 6
  for (int r = 0; r < STEP; r++)
#pragma GCC unroll 4
    for (int i = 0; i < w; i++) s[r][i] = factors ? splat(factors[r]) * load(c + r * ldc + i * LANES) : splat(0);
  for (int64_t p = 0; p < depth; p++, b += ldb) {
    vf x[WIDE];
#pragma GCC unroll 4
    for (int i = 0; i < w; i++) x[i] = load(b + i * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < STEP; r++) {
      vf f = splat(a[r * lda + p]);
#pragma GCC unroll 4
      for (int i = 0; i < w; i++) s[r][i] = fma_of(f, x[i], s[r][i]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < STEP; r++)
#pragma GCC unroll 4
    for (int i = 0; i < w; i++) store(c + r * ldc + i * LANES, s[r][i]);
}
/* columns: a multiple of LANES */
static void products(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t depth, const float *factors, int64_t columns) {
  int64_t i = 0;
  for (; i + WIDE * LANES <= columns; i += WIDE * LANES) product(c + i, ldc, a, lda, b + i, ldb, depth, factors, WIDE);
  for (; i + 2 * LANES <= columns; i += 2 * LANES) product(c + i, ldc, a, lda, b + i, ldb, depth, factors, 2);
  if (i < columns) product(c + i, ldc, a, lda, b + i, ldb, depth, factors, 1);
}

INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* What row i sees of the tile, as columns. */
INLINE void seen(const struct attention_tile *t, int64_t i, int64_t *low, int64_t *high) {
  *low = clamp(t->first[i] - t->start, 0, KEYS);
  *high = clamp(t->end[i] - t->start, *low, KEYS);
}

/* Scores in columns from .. to, to what the softmax is of; returns the largest. */
INLINE float prepare(float *s, int64_t from, int64_t to, int64_t low, int64_t high, float softcap) {
  vi lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  vf top = splat(-INFINITY), cap = splat(softcap), inverse = splat(softcap > 0 ? 1.0f / softcap : 0);
  for (int64_t c = from; c < to; c += LANES) {
    vf x = load(s + c);
    if (softcap > 0) x = cap * tanh_of(inverse * x);
    if (c < low || c + LANES > high) x = select_where((lane >= splat_int((int32_t)(low - c))) & (lane < splat_int((int32_t)(high - c))), x, splat(-INFINITY));
    store(s + c, x);
    top = max_of(top, x);
  }
  return max_lanes(top);
}

/* Scores of rows i .. i + STEP to unnormalised probabilities; factors: of what the rows have gathered before. */
static void soften(const struct attention_tile *t, int64_t i, float *s, int64_t from, int64_t to, float *factors) {
  float next[2 * LANES], shift[2 * LANES] = {0}, before[2 * LANES] = {0};
  for (int r = 0; r < STEP; r++) {
    int64_t low, high;
    seen(t, i + r, &low, &high);
    float top = prepare(s + r * KEYS, from, to, low, high, t->softcap);
    before[r] = t->top[i + r];
    next[r] = top > before[r] ? top : before[r];
    shift[r] = next[r] == -INFINITY ? 0 : next[r];
  }
  for (int r = 0; r < STEP; r += LANES) store(factors + r, exp_of(load(before + r) - load(shift + r)));
  for (int r = 0; r < STEP; r++) {
    float *row = s + r * KEYS;
    vf sum = splat(0), top = splat(shift[r]);
    for (int64_t c = from; c < to; c += LANES) {
      vf p = exp_of(load(row + c) - top);
      store(row + c, p);
      sum += p;
    }
    t->sum[i + r] = t->sum[i + r] * factors[r] + sum_lanes(sum);
    t->top[i + r] = next[r];
  }
}

void K(attention_tile_f32)(const struct attention_tile *t) {
  _Alignas(64) float s[STEP * KEYS];
  float factors[2 * LANES];
  for (int64_t i = 0; i < t->rows; i += STEP) {
    int64_t low = KEYS, high = 0;
    for (int r = 0; r < STEP; r++) {
      int64_t begin, end;
      seen(t, i + r, &begin, &end);
      if (begin < end && begin < low) low = begin;
      if (begin < end && end > high) high = end;
    }
    if (low >= high) continue;
    int64_t from = low / LANES * LANES, to = (high + LANES - 1) / LANES * LANES;
    products(s + from, KEYS, t->q + i * t->d, t->d, t->k + from, KEYS, t->d, NULL, to - from);
    soften(t, i, s, from, to, factors);
    products(t->y + i * t->dv, t->dv, s + low, KEYS, t->v + low * t->dv, t->dv, high - low, factors, t->dv);
  }
}

/* ---- moving rows ---- */

void K(copy_rows_f32)(float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n) {
  for (; rows > 0; rows--, out += ldo, a += lda) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(out + i, load(a + i));
    if (i < n) store_part(out + i, load_part(a + i, n - i, 0), n - i);
  }
}
void K(f16_rows_to_f32)(float *out, int64_t ldo, const uint16_t *a, int64_t lda, int64_t rows, int64_t n) {
  for (; rows > 0; rows--, out += ldo, a += lda) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(out + i, from_half(*(const v16 *)(a + i)));
    if (i < n) store_part(out + i, from_half(part16(a + i, n - i)), n - i);
  }
}

/* BLOCK rows by 4 columns at a time. 16 rows at a time were no faster than 8, so avx512 has none of its own (table.c). */
#if !defined(ETK_ISA_avx512)
#if defined(ETK_ISA_avx2)
enum { BLOCK = 8 };
INLINE __m256 two_rows(const float *a, int64_t lda) { /* 0 and 4 */
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(a + 4 * lda), 1);
}
INLINE void turn(float *out, int64_t ldo, const float *a, int64_t lda) {
  __m256 w = two_rows(a, lda), x = two_rows(a + lda, lda), y = two_rows(a + 2 * lda, lda), z = two_rows(a + 3 * lda, lda);
  __m256 s = _mm256_unpacklo_ps(w, x), t = _mm256_unpackhi_ps(w, x), u = _mm256_unpacklo_ps(y, z), v = _mm256_unpackhi_ps(y, z);
  _mm256_storeu_ps(out, _mm256_shuffle_ps(s, u, 0x44));
  _mm256_storeu_ps(out + ldo, _mm256_shuffle_ps(s, u, 0xee));
  _mm256_storeu_ps(out + 2 * ldo, _mm256_shuffle_ps(t, v, 0x44));
  _mm256_storeu_ps(out + 3 * ldo, _mm256_shuffle_ps(t, v, 0xee));
}
#elif defined(__x86_64__)
enum { BLOCK = 4 };
INLINE void turn(float *out, int64_t ldo, const float *a, int64_t lda) {
  __m128 w = _mm_loadu_ps(a), x = _mm_loadu_ps(a + lda), y = _mm_loadu_ps(a + 2 * lda), z = _mm_loadu_ps(a + 3 * lda);
  _MM_TRANSPOSE4_PS(w, x, y, z);
  _mm_storeu_ps(out, w);
  _mm_storeu_ps(out + ldo, x);
  _mm_storeu_ps(out + 2 * ldo, y);
  _mm_storeu_ps(out + 3 * ldo, z);
}
#elif defined(ETK_ISA_neon)
enum { BLOCK = 4 };
INLINE void turn(float *out, int64_t ldo, const float *a, int64_t lda) {
  float32x4x2_t w = vtrnq_f32(vld1q_f32(a), vld1q_f32(a + lda)), y = vtrnq_f32(vld1q_f32(a + 2 * lda), vld1q_f32(a + 3 * lda));
  for (int i = 0; i < 2; i++) {
    vst1q_f32(out + i * ldo, vcombine_f32(vget_low_f32(w.val[i]), vget_low_f32(y.val[i])));
    vst1q_f32(out + (i + 2) * ldo, vcombine_f32(vget_high_f32(w.val[i]), vget_high_f32(y.val[i])));
  }
}
#else
enum { BLOCK = 4 };
INLINE void turn(float *out, int64_t ldo, const float *a, int64_t lda) {
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) out[j * ldo + i] = a[i * lda + j];
}
#endif
void K(transpose_f32)(float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n) {
  int64_t i = 0;
  for (; i + BLOCK <= rows; i += BLOCK) {
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) turn(out + j * ldo + i, ldo, a + i * lda + j, lda);
    for (; j < n; j++)
      for (int64_t r = i; r < i + BLOCK; r++) out[j * ldo + r] = a[r * lda + j];
  }
  for (; i < rows; i++)
    for (int64_t j = 0; j < n; j++) out[j * ldo + i] = a[i * lda + j];
}
#endif

/* ---- streams ---- */

/* LANES values, or the first n < LANES. */
INLINE vf get_f32(const float *p, int64_t n) { return load_some(p, n); }
INLINE vf get_f16(const uint16_t *p, int64_t n) { return from_half(n < LANES ? part16(p, n) : *(const v16 *)p); }

/* rows, chains, w and n where it is LANES are constants where these are inlined: `rows` rows share what is read, and some 8 sums run beside each other. */
#define STREAM(type, suffix)                                                                                                                     \
  INLINE void scores_##suffix(float *s, int64_t lds, const float *q, const type *k, int64_t ldk, int64_t n, int64_t d, int rows, int chains) {     \
    vf a[4][4];                                                                                                                                  \
    for (int r = 0; r < rows; r++)                                                                                                               \
      for (int c = 0; c < chains; c++) a[r][c] = splat(0);                                                                                       \
    int64_t p = 0;                                                                                                                               \
    for (; p + chains <= d; p += chains)                                                                                                         \
      for (int c = 0; c < chains; c++) {                                                                                                         \
        vf x = get_##suffix(k + (p + c) * ldk, n);                                                                                               \
        for (int r = 0; r < rows; r++) a[r][c] = fma_of(splat(q[r * d + p + c]), x, a[r][c]);                                                    \
      }                                                                                                                                          \
    for (; p < d; p++)                                                                                                                           \
      for (int r = 0; r < rows; r++) a[r][0] = fma_of(splat(q[r * d + p]), get_##suffix(k + p * ldk, n), a[r][0]);                               \
    for (int r = 0; r < rows; r++) store_some(s + r * lds, chains == 4 ? (a[r][0] + a[r][1]) + (a[r][2] + a[r][3]) : a[r][0] + a[r][1], n);             \
  }                                                                                                                                              \
  INLINE void scores_rows_##suffix(float *s, int64_t lds, const float *q, int64_t rows, const type *k, int64_t ldk, int64_t n, int64_t d) {      \
    for (; rows >= 4; rows -= 4, s += 4 * lds, q += 4 * d) scores_##suffix(s, lds, q, k, ldk, n, d, 4, 2);                                      \
    for (; rows >= 2; rows -= 2, s += 2 * lds, q += 2 * d) scores_##suffix(s, lds, q, k, ldk, n, d, 2, 4);                                      \
    if (rows) scores_##suffix(s, lds, q, k, ldk, n, d, 1, 4);                                                                                   \
  }                                                                                                                                              \
  void K(attention_scores_##suffix)(float *scores, int64_t lds, const float *q, int64_t rows, const type *k, int64_t ldk, int64_t n, int64_t d) { \
    int64_t j = 0;                                                                                                                               \
    for (; j + LANES <= n; j += LANES) scores_rows_##suffix(scores + j, lds, q, rows, k + j, ldk, LANES, d);                                     \
    if (j < n) scores_rows_##suffix(scores + j, lds, q, rows, k + j, ldk, n - j, d);                                                             \
  }                                                                                                                                              \
  INLINE void values_##suffix(float *y, const float *p, int64_t ldp, const type *v, int64_t n, int64_t d, int64_t columns, int rows, int w, int chains) { \
    vf a[4][4][2];                                                                                                                               \
    for (int r = 0; r < rows; r++)                                                                                                               \
      for (int i = 0; i < w; i++) {                                                                                                              \
        a[r][i][0] = get_f32(y + r * d + i * LANES, columns);                                                                                    \
        a[r][i][1] = splat(0);                                                                                                                   \
      }                                                                                                                                          \
    int64_t j = 0;                                                                                                                               \
    for (; j + chains <= n; j += chains)                                                                                                         \
      for (int c = 0; c < chains; c++)                                                                                                           \
        for (int i = 0; i < w; i++) {                                                                                                            \
          vf x = get_##suffix(v + (j + c) * d + i * LANES, columns);                                                                             \
          for (int r = 0; r < rows; r++) a[r][i][c] = fma_of(splat(p[r * ldp + j + c]), x, a[r][i][c]);                                          \
        }                                                                                                                                        \
    for (; j < n; j++)                                                                                                                           \
      for (int i = 0; i < w; i++)                                                                                                                \
        for (int r = 0; r < rows; r++) a[r][i][0] = fma_of(splat(p[r * ldp + j]), get_##suffix(v + j * d + i * LANES, columns), a[r][i][0]);     \
    for (int r = 0; r < rows; r++)                                                                                                               \
      for (int i = 0; i < w; i++) store_some(y + r * d + i * LANES, a[r][i][0] + a[r][i][1], columns);                                                  \
  }                                                                                                                                              \
  INLINE void values_rows_##suffix(float *y, const float *p, int64_t ldp, int64_t rows, const type *v, int64_t n, int64_t d, int64_t columns, int w) { \
    for (; rows >= 4; rows -= 4, y += 4 * d, p += 4 * ldp) {                                                                                    \
      for (int i = 0; i < w; i += 2) values_##suffix(y + i * LANES, p, ldp, v + i * LANES, n, d, columns, 4, w > 1 ? 2 : 1, 1);                  \
    }                                                                                                                                            \
    for (; rows >= 2; rows -= 2, y += 2 * d, p += 2 * ldp) values_##suffix(y, p, ldp, v, n, d, columns, 2, w, w > 2 ? 1 : 2);                   \
    if (rows) values_##suffix(y, p, ldp, v, n, d, columns, 1, w, 2);                                                                            \
  }                                                                                                                                              \
  void K(attention_values_##suffix)(float *y, const float *p, int64_t ldp, int64_t rows, const type *v, int64_t n, int64_t d) {                  \
    int64_t i = 0;                                                                                                                               \
    for (; i + 4 * LANES <= d; i += 4 * LANES) values_rows_##suffix(y + i, p, ldp, rows, v + i, n, d, LANES, 4);                                 \
    for (; i + LANES <= d; i += LANES) values_rows_##suffix(y + i, p, ldp, rows, v + i, n, d, LANES, 1);                                         \
    if (i < d) values_rows_##suffix(y + i, p, ldp, rows, v + i, n, d, d - i, 1);                                                                 \
  }
STREAM(float, f32)
STREAM(uint16_t, f16)
