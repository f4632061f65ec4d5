/* Attention's kernels in plain C: see reference.c. */
#include "kernels.h"

#include <math.h>
#include <string.h>

#define K(kernel) etk_k_##kernel##_reference

static float score(const struct attention_tile *t, int64_t i, int64_t j) {
  float s = 0;
  for (int64_t p = 0; p < t->d; p++) s += t->q[i * t->d + p] * t->k[p * ATTENTION_KEYS + j];
  return t->softcap > 0 ? t->softcap * tanhf(s / t->softcap) : s;
}

static void row(const struct attention_tile *t, int64_t i) {
  float s[ATTENTION_KEYS], top = t->top[i];
  int64_t first = t->first[i] - t->start, end = t->end[i] - t->start;
  if (first < 0) first = 0;
  if (end > ATTENTION_KEYS) end = ATTENTION_KEYS;
  if (first >= end) return;
  for (int64_t j = first; j < end; j++) {
    s[j] = score(t, i, j);
    top = s[j] > top ? s[j] : top;
  }
  float shift = top == -INFINITY ? 0 : top, factor = expf(t->top[i] - shift);
  t->top[i] = top;
  t->sum[i] *= factor;
  for (int64_t c = 0; c < t->d; c++) t->y[i * t->dv + c] *= factor;
  for (int64_t j = first; j < end; j++) {
    float p = expf(s[j] - shift);
    t->sum[i] += p;
    for (int64_t c = 0; c < t->d; c++) t->y[i * t->dv + c] += p * t->v[j * t->dv + c];
  }
}

void K(attention_tile_f32)(const struct attention_tile *t) {
  for (int64_t i = 0; i < t->rows; i++) row(t, i);
}

void K(copy_rows_f32)(float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < n; i++) out[r * ldo + i] = a[r * lda + i];
}
void K(f16_rows_to_f32)(float *out, int64_t ldo, const uint16_t *a, int64_t lda, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++) K(f16_to_f32)(out + r * ldo, a + r * lda, n);
}
void K(transpose_f32)(float *out, int64_t ldo, const float *a, int64_t lda, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < n; i++) out[i * ldo + r] = a[r * lda + i];
}

static float value_of(const void *at, bool half, int64_t i) {
  float x;
  if (!half) return ((const float *)at)[i];
  K(f16_to_f32)(&x, (const uint16_t *)at + i, 1);
  return x;
}
static void scores(float *s, int64_t lds, const float *q, int64_t rows, const void *k, bool half, int64_t ldk, int64_t n, int64_t d) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < n; j++) {
      float sum = 0;
      for (int64_t p = 0; p < d; p++) sum += q[r * d + p] * value_of(k, half, p * ldk + j);
      s[r * lds + j] = sum;
    }
}
static void values(float *y, const float *p, int64_t ldp, int64_t rows, const void *v, bool half, int64_t n, int64_t d) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < n; j++)
      for (int64_t i = 0; i < d; i++) y[r * d + i] += p[r * ldp + j] * value_of(v, half, j * d + i);
}
void K(attention_scores_f32)(float *s, int64_t lds, const float *q, int64_t rows, const float *k, int64_t ldk, int64_t n, int64_t d) { scores(s, lds, q, rows, k, false, ldk, n, d); }
void K(attention_scores_f16)(float *s, int64_t lds, const float *q, int64_t rows, const uint16_t *k, int64_t ldk, int64_t n, int64_t d) { scores(s, lds, q, rows, k, true, ldk, n, d); }
void K(attention_values_f32)(float *y, const float *p, int64_t ldp, int64_t rows, const float *v, int64_t n, int64_t d) { values(y, p, ldp, rows, v, false, n, d); }
void K(attention_values_f16)(float *y, const float *p, int64_t ldp, int64_t rows, const uint16_t *v, int64_t n, int64_t d) { values(y, p, ldp, rows, v, true, n, d); }

/* ---- codes of 8 bits ---- */

enum { GROUP = 32 };

void K(f32_to_codes)(uint16_t *scale, int8_t *codes, const float *in) {
  float largest = 0;
  for (int i = 0; i < GROUP; i++) largest = !isfinite(in[i]) ? INFINITY : fabsf(in[i]) > largest ? fabsf(in[i]) : largest;
  float step = largest < INFINITY ? largest / 127 : NAN, inverse = step > 0 ? 1 / step : 0;
  K(f32_to_f16)(scale, &step, 1);
  for (int i = 0; i < GROUP; i++) codes[i] = inverse > 0 ? (int8_t)rintf(in[i] * inverse) : 0;
}
/* Value i of token j in a page of keys, or of values. */
static float coded(const unsigned char *page, int64_t ld, bool keys, int64_t i, int64_t j) {
  const unsigned char *group = page + i / GROUP * (GROUP + 2) * ld;
  uint16_t half;
  float scale;
  memcpy(&half, group + 2 * j, sizeof half);
  K(f16_to_f32)(&scale, &half, 1);
  return scale * (float)(int8_t)group[2 * ld + (keys ? i % GROUP * ld + j : j * GROUP + i % GROUP)];
}
void K(code_keys_to_f32)(float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (int64_t i = 0; i < d; i++)
    for (int64_t j = 0; j < n; j++) out[i * ldo + j] = coded(page, ld, true, i, first + j);
}
void K(code_values_to_f32)(float *out, int64_t ldo, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < d; i++) out[j * ldo + i] = coded(page, ld, false, i, first + j);
}
void K(attention_scores_codes)(float *s, int64_t lds, const float *q, int64_t rows, const unsigned char *page, int64_t ld, int64_t n, int64_t d) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < n; j++) {
      float sum = 0;
      for (int64_t i = 0; i < d; i++) sum += q[r * d + i] * coded(page, ld, true, i, j);
      s[r * lds + j] = sum;
    }
}
void K(attention_values_codes)(float *y, const float *p, int64_t ldp, int64_t rows, const unsigned char *page, int64_t ld, int64_t first, int64_t n, int64_t d) {
  for (int64_t j = 0; j < n; j++)
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < d; i++) y[r * d + i] += p[r * ldp + j] * coded(page, ld, false, i, first + j);
}
