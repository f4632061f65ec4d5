/* vector.h: vectors of float for the files *.isa.c, LANES of them as the instruction set has. Everything is static: no code compiled for one
 * instruction set may be shared with another. */
#ifndef ETK_ML_KERNELS_VECTOR_H
#define ETK_ML_KERNELS_VECTOR_H

#include "kernels.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(ETK_ISA_avx512)
#define LANES 16
#elif defined(ETK_ISA_avx2)
#define LANES 8
#else
#define LANES 4
#endif

#define KERNEL_NAME(kernel, isa) etk_k_##kernel##_##isa
#define KERNEL_EXPAND(kernel, isa) KERNEL_NAME(kernel, isa)
#define K(kernel) KERNEL_EXPAND(kernel, ETK_ISA)

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef double vd __attribute__((vector_size(4 * LANES))); /* LANES/2 */
typedef float unaligned_vf __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline, unused))

INLINE vf load(const float *p) { return *(const unaligned_vf *)p; }
INLINE void store(float *p, vf x) { *(unaligned_vf *)p = x; }
INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vi splat_int(int32_t x) { return x + (vi){0}; }
/* The first n lanes (0 < n < LANES); the others are `rest`, and what lies behind them in memory is not touched. */
#if defined(ETK_ISA_avx512)
INLINE vf load_part(const float *p, int64_t n, float rest) { return _mm512_mask_loadu_ps(splat(rest), (__mmask16)((1u << n) - 1), p); }
INLINE void store_part(float *p, vf x, int64_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x); }
#elif defined(ETK_ISA_avx2)
INLINE vi first_lanes(int64_t n) { return splat_int((int32_t)n) > (vi){0, 1, 2, 3, 4, 5, 6, 7}; }
INLINE vf load_part(const float *p, int64_t n, float rest) {
  vi mask = first_lanes(n);
  return _mm256_blendv_ps(splat(rest), _mm256_maskload_ps(p, (__m256i)mask), (vf)mask);
}
INLINE void store_part(float *p, vf x, int64_t n) { _mm256_maskstore_ps(p, (__m256i)first_lanes(n), x); }
#else
INLINE vf load_part(const float *p, int64_t n, float rest) {
  vf x = splat(rest);
  for (int64_t i = 0; i < n; i++) x[i] = p[i];
  return x;
}
INLINE void store_part(float *p, vf x, int64_t n) {
  for (int64_t i = 0; i < n; i++) p[i] = x[i];
}
#endif

/* The first n of LANES or more, or of fewer, or none: n is a constant where that is to cost nothing. */
INLINE vf load_some(const float *p, int64_t n) { return n >= LANES ? load(p) : n > 0 ? load_part(p, n, 0) : splat(0); }
INLINE void store_some(float *p, vf x, int64_t n) {
  if (n >= LANES) store(p, x);
  else if (n > 0) store_part(p, x, n);
}

INLINE vf select_where(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

#if defined(ETK_ISA_avx512)
INLINE vf fma_of(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* The second operand comes through where either is NaN. */
INLINE vf max_of(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf min_of(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf root_of(vf a) { return _mm512_sqrt_ps(a); }
#elif defined(ETK_ISA_avx2)
INLINE vf fma_of(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf max_of(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf min_of(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf root_of(vf a) { return _mm256_sqrt_ps(a); }
#elif defined(__x86_64__)
INLINE vf fma_of(vf a, vf b, vf c) { return a * b + c; }
INLINE vf max_of(vf a, vf b) { return _mm_max_ps(a, b); }
INLINE vf min_of(vf a, vf b) { return _mm_min_ps(a, b); }
INLINE vf root_of(vf a) { return _mm_sqrt_ps(a); }
#elif defined(__ARM_NEON)
INLINE vf fma_of(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf max_of(vf a, vf b) { return select_where(a > b, a, b); }
INLINE vf min_of(vf a, vf b) { return select_where(a < b, a, b); }
INLINE vf root_of(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
#else
INLINE vf fma_of(vf a, vf b, vf c) { return a * b + c; }
INLINE vf max_of(vf a, vf b) { return select_where(a > b, a, b); }
INLINE vf min_of(vf a, vf b) { return select_where(a < b, a, b); }
INLINE vf root_of(vf a) {
  for (int i = 0; i < LANES; i++) a[i] = sqrtf(a[i]);
  return a;
}
#endif

#if defined(ETK_ISA_avx512)
INLINE float sum_lanes(vf x) { return _mm512_reduce_add_ps(x); }
INLINE float max_lanes(vf x) { return _mm512_reduce_max_ps(x); }
#elif defined(__x86_64__)
#if defined(ETK_ISA_avx2)
INLINE __m128 fold_sum(vf x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
INLINE __m128 fold_max(vf x) { return _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
#else
INLINE __m128 fold_sum(vf x) { return x; }
INLINE __m128 fold_max(vf x) { return x; }
#endif
INLINE float sum_lanes(vf x) {
  __m128 t = fold_sum(x);
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
INLINE float max_lanes(vf x) {
  __m128 t = fold_max(x);
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_shuffle_ps(t, t, 1)));
}
#elif defined(__aarch64__)
INLINE float sum_lanes(vf x) { return vaddvq_f32((float32x4_t)x); }
INLINE float max_lanes(vf x) { return vmaxvq_f32((float32x4_t)x); }
#else
INLINE float sum_lanes(vf x) {
  float t[LANES];
  memcpy(t, &x, sizeof t);
  for (int step = LANES / 2; step; step /= 2)
    for (int i = 0; i < step; i++) t[i] += t[i + step];
  return t[0];
}
INLINE float max_lanes(vf x) {
  float t[LANES];
  memcpy(t, &x, sizeof t);
  for (int step = LANES / 2; step; step /= 2)
    for (int i = 0; i < step; i++) t[i] = t[i + step] > t[i] ? t[i + step] : t[i];
  return t[0];
}
#endif

/* e^x = 2^n e^r with n the nearest whole number to x/ln 2, |r| <= ln 2 / 2, e^r by its Taylor series to r^7 (remainder below 6e-9).
 * Below -86.9 the result is 0, above 88.72 infinity; NaN stays NaN. */
INLINE vf exp_of(vf x) {
  const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it leaves the rounded number in the low bits */
  vf clamped = max_of(splat(-88.0f), min_of(splat(88.7228f), x));
  vf shifted = fma_of(clamped, splat(1.44269504f), magic);
  vf n = shifted - magic;
  vf r = fma_of(n, splat(-0.693359375f), clamped); /* ln 2 in two parts; the first has few bits, so that the product is exact */
  r = fma_of(n, splat(2.12194440e-4f), r);
  vf p = splat(1.0f / 5040);
  p = fma_of(p, r, splat(1.0f / 720));
  p = fma_of(p, r, splat(1.0f / 120));
  p = fma_of(p, r, splat(1.0f / 24));
  p = fma_of(p, r, splat(1.0f / 6));
  p = fma_of(p, r, splat(0.5f));
  p = fma_of(p * r, r, r) + splat(1.0f);
  /* 2^n in two steps: n = 128 alone would not fit the exponent. */
  vi whole = (vi)shifted - (vi)magic;
  vf half = (vf)((whole - 1 + splat_int(127)) << 23);
  vf y = p * half * splat(2.0f);
  y = (vf)((vi)y & ~(x < splat(-86.9f)));
  return select_where(x > splat(88.7228f), splat(INFINITY), y);
}

INLINE vf sigmoid_of(vf x) { return splat(1.0f) / (splat(1.0f) + exp_of(-x)); }

/* 1 - 2 / (e^2x + 1), which loses digits near 0: there x + x^3 P(x^2), fitted to a relative error below 3e-9 for |x| < 0.6 (least squares at Chebyshev's
 * nodes). */
INLINE vf tanh_of(vf x) {
  vf z = x * x, p = splat(-0.00589395f);
  p = fma_of(p, z, splat(0.02079462f));
  p = fma_of(p, z, splat(-0.05378329f));
  p = fma_of(p, z, splat(0.13331915f));
  p = fma_of(p, z, splat(-0.33333298f));
  vf far = splat(1.0f) - splat(2.0f) / (exp_of(x + x) + splat(1.0f));
  return select_where(z < splat(0.36f), fma_of(p * z, x, x), far);
}

/* binary16 -> binary32 */
typedef uint16_t v16 __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
INLINE v16 part16(const uint16_t *p, int64_t n) {
  v16 x = {0};
  for (int64_t i = 0; i < n; i++) x[i] = p[i];
  return x;
}
INLINE vu where(vi mask, vu a, vu b) { return (a & (vu)mask) | (b & ~(vu)mask); }
#if defined(ETK_ISA_avx512)
INLINE vf from_half(v16 x) { return _mm512_cvtph_ps((__m256i)x); }
#elif defined(ETK_ISA_avx2)
INLINE vf from_half(v16 x) { return _mm256_cvtph_ps((__m128i)x); }
#elif defined(__aarch64__)
INLINE vf from_half(v16 x) { return (vf)vcvt_f32_f16((float16x4_t)x); }
#else
/* The bits shifted into place are the value times 2^-112, subnormals included; a full exponent means infinity or NaN. */
INLINE vf from_half(v16 x) {
  vu h = __builtin_convertvector(x, vu), magnitude = (h & 0x7fff) << 13;
  vu finite = (vu)((vf)magnitude * splat(0x1p112f)), special = magnitude | 0x7f800000u | where(magnitude > 0x0f800000u, (vu)splat_int(1 << 22), (vu){0});
  return (vf)(where(magnitude >= 0x0f800000u, special, finite) | (h & 0x8000) << 16);
}
#endif

/* A kernel that sets each number of out to `expression` of x, the one of a: over whole vectors, then once over the rest. */
#define UNARY(kernel, expression)                                                                                                                \
  void K(kernel)(float *out, const float *a, int64_t n) {                                                                                        \
    int64_t i = 0;                                                                                                                               \
    for (; i + LANES <= n; i += LANES) {                                                                                                         \
      vf x = load(a + i);                                                                                                                        \
      store(out + i, expression);                                                                                                                \
    }                                                                                                                                            \
    if (i < n) {                                                                                                                                 \
      vf x = load_part(a + i, n - i, 0);                                                                                                         \
      store_part(out + i, expression, n - i);                                                                                                    \
    }                                                                                                                                            \
  }

#endif
