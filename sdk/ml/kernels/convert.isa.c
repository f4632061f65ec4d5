/* binary16 and bfloat16 <-> binary32. */
#include "vector.h"

typedef uint16_t v16 __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

INLINE v16 part16(const uint16_t *p, int64_t n) {
  v16 x = {0};
  for (int64_t i = 0; i < n; i++) x[i] = p[i];
  return x;
}

#define WIDEN(kernel, function)                                                                                                                  \
  void K(kernel)(float *out, const uint16_t *in, int64_t n) {                                                                                    \
    int64_t i = 0;                                                                                                                               \
    for (; i + LANES <= n; i += LANES) store(out + i, function(*(const v16 *)(in + i)));                                                         \
    if (i < n) store_part(out + i, function(part16(in + i, n - i)), n - i);                                                                      \
  }
#define NARROW(kernel, function)                                                                                                                 \
  void K(kernel)(uint16_t *out, const float *in, int64_t n) {                                                                                    \
    int64_t i = 0;                                                                                                                               \
    for (; i + LANES <= n; i += LANES) *(v16 *)(out + i) = function(load(in + i));                                                               \
    if (i < n) {                                                                                                                                 \
      v16 x = function(load_part(in + i, n - i, 0));                                                                                             \
      for (int64_t j = 0; i + j < n; j++) out[i + j] = x[j];                                                                                     \
    }                                                                                                                                            \
  }

INLINE vu where(vi mask, vu a, vu b) { return (a & (vu)mask) | (b & ~(vu)mask); }

#if defined(ETK_ISA_avx512)
INLINE vf from_half(v16 x) { return _mm512_cvtph_ps((__m256i)x); }
INLINE v16 to_half(vf x) { return (v16)_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#elif defined(ETK_ISA_avx2)
INLINE vf from_half(v16 x) { return _mm256_cvtph_ps((__m128i)x); }
INLINE v16 to_half(vf x) { return (v16)_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#else
/* The bits shifted into place are the value times 2^-112, subnormals included; a full exponent means infinity or NaN. */
INLINE vf from_half(v16 x) {
  vu h = __builtin_convertvector(x, vu), magnitude = (h & 0x7fff) << 13;
  vu finite = (vu)((vf)magnitude * splat(0x1p112f)), special = magnitude | 0x7f800000u | where(magnitude > 0x0f800000u, (vu)splat_int(1 << 22), (vu){0});
  return (vf)(where(magnitude >= 0x0f800000u, special, finite) | (h & 0x8000) << 16);
}
INLINE v16 to_half(vf x) {
  vu bits = (vu)x, sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  vu normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  vu small = (vu)((vf)magnitude + splat(0.5f)) - 0x3f000000u; /* the sum rounds at 2^-24, the last place of subnormals */
  vu nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
  vu h = where(magnitude < 0x38800000u, small, normal);
  h = where(magnitude >= 0x477ff000u, (vu)splat_int(0x7c00), h); /* from 65520 on */
  h = where(magnitude > 0x7f800000u, nan, h);
  return __builtin_convertvector(h | sign, v16);
}
#endif

INLINE vf from_brain(v16 x) { return (vf)(__builtin_convertvector(x, vu) << 16); }
INLINE v16 to_brain(vf x) {
  vu bits = (vu)x, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return __builtin_convertvector(where((bits & 0x7fffffff) > 0x7f800000u, bits >> 16 | 0x40, rounded), v16);
}

WIDEN(f16_to_f32, from_half)
WIDEN(bf16_to_f32, from_brain)
NARROW(f32_to_f16, to_half)
NARROW(f32_to_bf16, to_brain)
