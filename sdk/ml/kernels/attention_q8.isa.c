/* Attention's stream over keys and values in codes of 8 bits with a scale for each 32 (the numbers of GGUF's Q8_0), in pages as kernels.h says. About half is read
 * of what halves need. */
#include "vector.h"

enum { GROUP = 32, BYTES = GROUP + 2 /* of a token */, VECTORS = GROUP / LANES, SIDE = 16 /* tokens whose scales are taken together */ };

typedef int8_t v8 __attribute__((vector_size(LANES), aligned(1), may_alias));
#if defined(ETK_ISA_avx512)
INLINE vf get_codes(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p))); }
#elif defined(ETK_ISA_avx2)
INLINE vf get_codes(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))); }
#else
INLINE vf get_codes(const int8_t *p) { return __builtin_convertvector(*(const v8 *)p, vf); }
#endif
INLINE vf codes(const int8_t *p, int64_t n) {
  int8_t part[LANES] = {0};
  if (n == LANES) return get_codes(p);
  for (int64_t i = 0; i < n; i++) part[i] = p[i];
  return get_codes(part);
}
INLINE vf halves(const unsigned char *p, int64_t n) {
  uint16_t part[LANES] = {0};
  if (n == LANES) return from_half(*(const v16 *)(const void *)p);
  memcpy(part, p, (size_t)n * sizeof *part);
  return from_half(*(const v16 *)part);
}

/* ---- codes ---- */

void K(f32_to_codes)(uint16_t *scale, int8_t *codes, const float *in) {
  const vf magic = splat(12582912.0f); /* added, it leaves the nearest whole number, ties to even, in the low bits */
  vi top = {0};
  for (int i = 0; i < VECTORS; i++) { /* as whole numbers, among which NaN and infinity are the largest */
    vi bits = (vi)load(in + i * LANES) & 0x7fffffff;
    top = (vi)select_where(bits > top, (vf)bits, (vf)top);
  }
  int32_t most = 0;
  for (int i = 0; i < LANES; i++) most = top[i] > most ? top[i] : most;
  float largest;
  memcpy(&largest, &most, sizeof largest);
  float step = most >= 0x7f800000 ? NAN : largest / 127, inverse = step > 0 ? 1 / step : 0;
  K(f32_to_f16)(scale, &step, 1);
  for (int i = 0; i < VECTORS; i++) {
    vi whole = (vi)(load(in + i * LANES) * splat(inverse) + magic) - (vi)magic;
    *(v8 *)(codes + i * LANES) = __builtin_convertvector(whole, v8);
  }
}
void K(code_keys_to_f32)(float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (; d > 0; d -= GROUP, page += BYTES * ld, out += GROUP * ldo)
    for (int64_t j = 0; j < n; j += LANES) {
      int64_t count = n - j < LANES ? n - j : LANES;
      vf scale = halves(page + 2 * (first + j), count);
      const int8_t *c = (const int8_t *)page + 2 * ld + first + j;
      for (int64_t i = 0; i < GROUP; i++) store_some(out + i * ldo + j, scale * codes(c + i * ld, count), count);
    }
}
void K(code_values_to_f32)(float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (; d > 0; d -= GROUP, page += BYTES * ld, out += GROUP)
    for (int64_t j = 0; j < n; j++) {
      vf scale = splat(halves(page + 2 * (first + j), 1)[0]);
      for (int i = 0; i < VECTORS; i++) store(out + j * ldo + i * LANES, scale * get_codes((const int8_t *)page + 2 * ld + (first + j) * GROUP + i * LANES));
    }
}

/* ---- streams: rows, chains and n where it is LANES are constants where these are inlined ---- */

INLINE void scores(float *s, int64_t lds, const float *q, const unsigned char *k, int64_t ld, int64_t first, int64_t n, int64_t d, int rows, int chains) {
  vf sum[4];
  for (int r = 0; r < rows; r++) sum[r] = splat(0);
  for (int64_t g = 0; g < d; g += GROUP, k += BYTES * ld) {
    const int8_t *c = (const int8_t *)k + 2 * ld + first;
    vf a[4][4];
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < chains; i++) a[r][i] = splat(0);
    for (int p = 0; p < GROUP; p += chains)
      for (int i = 0; i < chains; i++) {
        vf x = codes(c + (p + i) * ld, n);
        for (int r = 0; r < rows; r++) a[r][i] = fma_of(splat(q[r * d + g + p + i]), x, a[r][i]);
      }
    vf scale = halves(k + 2 * first, n);
    for (int r = 0; r < rows; r++) sum[r] = fma_of(chains == 4 ? (a[r][0] + a[r][1]) + (a[r][2] + a[r][3]) : a[r][0] + a[r][1], scale, sum[r]);
  }
  for (int r = 0; r < rows; r++) store_some(s + r * lds, sum[r], n);
}
INLINE void scores_rows(float *s, int64_t lds, const float *q, int64_t rows, const unsigned char *k, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (; rows >= 4; rows -= 4, s += 4 * lds, q += 4 * d) scores(s, lds, q, k, ld, first, n, d, 4, 2);
  for (; rows >= 2; rows -= 2, s += 2 * lds, q += 2 * d) scores(s, lds, q, k, ld, first, n, d, 2, 4);
  if (rows) scores(s, lds, q, k, ld, first, n, d, 1, 4);
}
void K(attention_scores_codes)(float *s, int64_t lds, const float *q, int64_t rows, const unsigned char *page, int64_t ld, int64_t n, int64_t d) {
  int64_t j = 0;
  for (; j + LANES <= n; j += LANES) scores_rows(s + j, lds, q, rows, page, ld, j, LANES, d);
  if (j < n) scores_rows(s + j, lds, q, rows, page, ld, j, n - j, d);
}

/* w vectors of one group; f (rows, SIDE): probabilities times scales; c: the first token's codes */
INLINE void values(float *y, int64_t ldy, const float *f, const int8_t *c, int64_t n, int rows, int w, int chains) {
  vf a[4][2][4];
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < w; i++) {
      a[r][i][0] = load(y + r * ldy + i * LANES);
      for (int k = 1; k < chains; k++) a[r][i][k] = splat(0);
    }
  int64_t j = 0;
  for (; j + chains <= n; j += chains)
    for (int k = 0; k < chains; k++)
      for (int i = 0; i < w; i++) {
        vf x = get_codes(c + (j + k) * GROUP + i * LANES);
        for (int r = 0; r < rows; r++) a[r][i][k] = fma_of(splat(f[r * SIDE + j + k]), x, a[r][i][k]);
      }
  for (; j < n; j++)
    for (int i = 0; i < w; i++) {
      vf x = get_codes(c + j * GROUP + i * LANES);
      for (int r = 0; r < rows; r++) a[r][i][0] = fma_of(splat(f[r * SIDE + j]), x, a[r][i][0]);
    }
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < w; i++) {
      vf sum = a[r][i][0];
      for (int k = 1; k < chains; k++) sum += a[r][i][k];
      store(y + r * ldy + i * LANES, sum);
    }
}
/* n <= SIDE tokens */
INLINE void values_rows(float *y, const float *p, int64_t ldp, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d, int rows, int chains) {
  vf part[4][SIDE / LANES];
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < SIDE; j += LANES) part[r][j / LANES] = n - j >= LANES ? load(p + r * ldp + j) : n > j ? load_part(p + r * ldp + j, n - j, 0) : splat(0);
  for (int64_t g = 0; g < d; g += GROUP, page += BYTES * ld) {
    float f[4 * SIDE];
    const int8_t *c = (const int8_t *)page + 2 * ld + first * GROUP;
    for (int j = 0; j < SIDE; j += LANES) {
      vf scale = n - j >= LANES ? halves(page + 2 * (first + j), LANES) : n > j ? halves(page + 2 * (first + j), n - j) : splat(0);
      for (int r = 0; r < rows; r++) store(f + r * SIDE + j, part[r][j / LANES] * scale);
    }
    for (int i = 0; i < VECTORS; i += 2) values(y + g + i * LANES, d, f, c + i * LANES, n, rows, 2, chains);
  }
}
INLINE void values_side(float *y, const float *p, int64_t ldp, int64_t rows, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) values_rows(y + r * d, p + r * ldp, ldp, page, ld, first, n, d, 4, 1);
  for (; r + 2 <= rows; r += 2) values_rows(y + r * d, p + r * ldp, ldp, page, ld, first, n, d, 2, 2);
  if (r < rows) values_rows(y + r * d, p + r * ldp, ldp, page, ld, first, n, d, 1, 4);
}
void K(attention_values_codes)(float *y, const float *p, int64_t ldp, int64_t rows, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  int64_t j = 0;
  for (; j + SIDE <= n; j += SIDE) values_side(y, p + j, ldp, rows, page, ld, first + j, SIDE, d);
  if (j < n) values_side(y, p + j, ldp, rows, page, ld, first + j, n - j, d);
}
