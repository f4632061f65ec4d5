/* binary16 and bfloat16 <-> binary32. */
#include "vector.h"

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

#if defined(ETK_ISA_avx512)
INLINE v16 to_half(vf x) { return (v16)_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#elif defined(ETK_ISA_avx2)
INLINE v16 to_half(vf x) { return (v16)_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#elif defined(__aarch64__)
INLINE v16 to_half(vf x) { return (v16)vcvt_f16_f32((float32x4_t)x); }
#else
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
