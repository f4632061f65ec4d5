/* internal.h: what the files of quant/ share: binary16, the block codecs and the searches for scales. Everything inline is static, since files here are
 * compiled for several instruction sets. */
#ifndef ETK_ML_QUANT_INTERNAL_H
#define ETK_ML_QUANT_INTERNAL_H

#include <etk/quant.h>
#include <string.h>

/* A product and a sum must stay two roundings: the reference decodes so. gcc keeps them apart under -std=c11. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define QUANT_INLINE static inline __attribute__((always_inline, unused))

enum { SMALL = 32, SUPER = 256 }; /* elements of a block */

QUANT_INLINE float quant_from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
QUANT_INLINE uint32_t quant_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
QUANT_INLINE uint16_t quant_load16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }
/* Little-endian binary16. The bits shifted into place are the value times 2^-112; a full exponent means infinity or NaN. */
QUANT_INLINE float quant_half(const unsigned char *p) {
  uint32_t h = quant_load16(p), sign = (h & 0x8000) << 16, magnitude = (h & 0x7fff) << 13;
  if (magnitude >= 0x0f800000u) return quant_from_bits(sign | magnitude | 0x70000000u | (magnitude > 0x0f800000u ? 1u << 22 : 0));
  return quant_from_bits(sign | quant_bits(quant_from_bits(magnitude) * 0x1p112f));
}
/* Nearest even; what is too large becomes infinity. */
QUANT_INLINE void quant_put_half(unsigned char *p, float x) {
  uint32_t bits = quant_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff, h;
  if (magnitude > 0x7f800000u) h = 0x7e00;
  else if (magnitude >= 0x477ff000u) h = 0x7c00;
  else if (magnitude < 0x38800000u) h = quant_bits(quant_from_bits(magnitude) + 0.5f) - 0x3f000000u; /* the sum rounds at 2^-24 */
  else h = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  h |= sign;
  p[0] = (unsigned char)h;
  p[1] = (unsigned char)(h >> 8);
}

/* Types of one byte: float8.c. */
void etk__float8_decode(float *out, etk_type type, const unsigned char *in, int64_t count);

extern const int8_t etk__iq4_nl_levels[16];
int etk__nearest_level(float x); /* its position in the table */

/* 6-bit scale and minimum j (0..7) of a Q4_K or Q5_K block's 12 bytes. */
QUANT_INLINE void quant_unpack6(const unsigned char *s, int j, int *scale, int *minimum) {
  if (j < 4) {
    *scale = s[j] & 63;
    *minimum = s[j + 4] & 63;
  } else {
    *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    *minimum = s[j + 4] >> 4 | s[j] >> 6 << 4;
  }
}

/* Decodes `count` blocks; one table row per block type, one table per instruction set. */
typedef void (*etk__decode_blocks)(float *out, const unsigned char *in, int64_t count);
typedef struct etk__decoders {
  const char *name;
  etk__decode_blocks of[ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK];
} etk__decoders;
const etk__decoders *etk__quant_decoders(void);         /* the best that may run here */
/* NULL behind the last that this machine can run; 0: the lowest, which has all. A NULL in another's table: the set is no faster than the one below, whose decoder
 * is used (bench/kernels: under 1.2 times). */
const etk__decoders *etk__quant_decoders_at(int index);

/* Encodes one row of `columns`; weights: importance or NULL. False where a scale does not fit binary16. */
typedef bool (*etk__encode_row)(unsigned char *out, const float *in, int64_t columns, const float *weights);
extern const etk__encode_row etk__encoders[ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK];
bool etk__encode_q2_k(unsigned char *out, const float *in, int64_t columns, const float *weights);
bool etk__encode_q3_k(unsigned char *out, const float *in, int64_t columns, const float *weights);
bool etk__encode_q4_k(unsigned char *out, const float *in, int64_t columns, const float *weights);
bool etk__encode_q5_k(unsigned char *out, const float *in, int64_t columns, const float *weights);
bool etk__encode_q6_k(unsigned char *out, const float *in, int64_t columns, const float *weights);

/* ---- searches for scales, for n <= 32 values x with weights w; codes go to q ---- */

#define ETK__QUANT_TINY 1e-15f /* groups whose largest magnitude is below this are zero */

typedef struct etk__affine_search {
  int top;           /* the largest code */
  float first, step; /* grids put the range on top + first + step * 0 … steps codes */
  int steps;
  bool absolute; /* judge by Σ w |error|, not Σ w error² */
} etk__affine_search;

typedef struct etk__fitters {
  /* x ~ scale * q, q in [-levels, levels - 1]. Nineteen grids around the one that puts the largest value on -levels; each one's best scale by least squares.
   * w NULL: x². Returns the scale. */
  float (*fit_signed)(int n, int levels, const float *x, const float *w, int8_t *q);
  /* x ~ scale * q - minimum, q in [0, top], minimum >= 0. */
  float (*fit_affine)(const etk__affine_search *search, int n, const float *x, const float *w, uint8_t *q, float *minimum);
  /* 32 values to the uneven levels of IQ4_NL. */
  float (*fit_levels)(const float *x, const float *w);
} etk__fitters;
const etk__fitters *etk__quant_fitters(void);         /* the best that may run here */
const etk__fitters *etk__quant_fitters_at(int index); /* as etk__quant_decoders_at */
extern const etk__fitters etk__fitters_reference;     /* plain C, one grid after the other */

/* fit_signed's problem under the weights x², by single steps of codes from the first grid while they lower the error. */
float etk__fit_signed_steps(int n, int levels, const float *x, int8_t *q);
/* x ~ scale * q, x >= 0, q in [0, top]. */
float etk__fit_positive(int n, int top, const float *x, const float *w, uint8_t *q);

/* Nearest integer, ties to even, |x| < 2^22. */
QUANT_INLINE int quant_round(float x) {
  float shifted = x + 12582912.0f;
  return (int)(quant_bits(shifted) & 0x7fffff) - 0x400000;
}
QUANT_INLINE int quant_clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

#endif
