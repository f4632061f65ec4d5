/* Decoding of blocks. Written as plain loops of fixed length over arrays of their own, which compilers turn into vectors; the operations and their
 * order are the reference's, so that every build of this file gives the same bits. Layouts: LE, fields in the order that the offsets show. */
#include "internal.h"

#define TABLE_NAME(isa)   etk__decoders_##isa
#define TABLE_EXPAND(isa) TABLE_NAME(isa)
#define BLOCKS(type, body, elements, bytes)                                                                                                          \
  static __attribute__((unused)) void type(float *restrict out, const unsigned char *restrict in, int64_t count) {                                                           \
    for (int64_t i = 0; i < count; i++) body(out + i * (elements), in + i * (bytes));                                                                \
  }

/* out[0..n) = codes * scale */
QUANT_INLINE void scaled(float *restrict out, const int8_t *restrict codes, float scale, int n) {
  for (int i = 0; i < n; i++) out[i] = (float)codes[i] * scale;
}

/* d, 16 bytes: low halves are elements 0..15, high halves 16..31. */
QUANT_INLINE void block_q4_0(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b);
  for (int half = 0; half < 2; half++)
    for (int i = 0; i < 16; i++) out[half * 16 + i] = (float)((b[2 + i] >> half * 4 & 15) - 8) * d;
}
/* d, m, 16 bytes */
QUANT_INLINE void block_q4_1(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b), m = quant_half(b + 2);
  for (int half = 0; half < 2; half++)
    for (int i = 0; i < 16; i++) out[half * 16 + i] = (float)(b[4 + i] >> half * 4 & 15) * d + m;
}
/* Fifth bits of 32 elements, in element order. */
QUANT_INLINE uint32_t fifth_bits(const unsigned char *b) { return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }
/* d, 4 bytes of fifth bits, 16 bytes */
QUANT_INLINE void block_q5_0(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b);
  uint32_t high = fifth_bits(b + 2);
  for (int i = 0; i < 16; i++) {
    out[i] = (float)((b[6 + i] & 15) + (int)(high >> i & 1) * 16 - 16) * d;
    out[i + 16] = (float)((b[6 + i] >> 4) + (int)(high >> (i + 16) & 1) * 16 - 16) * d;
  }
}
/* d, m, 4 bytes of fifth bits, 16 bytes */
QUANT_INLINE void block_q5_1(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b), m = quant_half(b + 2);
  uint32_t high = fifth_bits(b + 4);
  for (int i = 0; i < 16; i++) {
    out[i] = (float)((b[8 + i] & 15) + (int)(high >> i & 1) * 16) * d + m;
    out[i + 16] = (float)((b[8 + i] >> 4) + (int)(high >> (i + 16) & 1) * 16) * d + m;
  }
}
/* d, 32 signed bytes */
QUANT_INLINE void block_q8_0(float *restrict out, const unsigned char *restrict b) { scaled(out, (const int8_t *)b + 2, quant_half(b), 32); }
/* d, 16 bytes of positions in the table */
QUANT_INLINE void block_iq4_nl(float *restrict out, const unsigned char *restrict b) {
  int8_t codes[32];
  for (int i = 0; i < 16; i++) {
    codes[i] = etk__iq4_nl_levels[b[2 + i] & 15];
    codes[i + 16] = etk__iq4_nl_levels[b[2 + i] >> 4];
  }
  scaled(out, codes, quant_half(b), 32);
}

/* 16 bytes of scales (low half) and minima (high half), 64 bytes of 2-bit codes, d, dmin */
QUANT_INLINE void block_q2_k(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b + 80), dmin = quant_half(b + 82);
  for (int group = 0; group < 16; group++) {
    float scale = d * (float)(b[group] & 15), minimum = dmin * (float)(b[group] >> 4);
    const unsigned char *q = b + 16 + group / 8 * 32 + (group & 1) * 16;
    int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; i++) out[group * 16 + i] = scale * (float)(q[i] >> shift & 3) - minimum;
  }
}
/* 32 bytes of third bits (clear: -4), 64 bytes of 2-bit codes, 12 bytes of 16 6-bit scales, d */
QUANT_INLINE void block_q3_k(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b + 108);
  const unsigned char *s = b + 96;
  for (int group = 0; group < 16; group++) {
    int low = group < 8 ? s[group] & 15 : s[group - 8] >> 4, high = s[8 + group % 4] >> group / 4 * 2 & 3;
    float scale = d * (float)((low | high << 4) - 32);
    const unsigned char *q = b + 32 + group / 8 * 32 + (group & 1) * 16, *third = b + (group & 1) * 16;
    int shift = group % 8 / 2 * 2, bit = group / 2;
    for (int i = 0; i < 16; i++) out[group * 16 + i] = scale * (float)((q[i] >> shift & 3) + (third[i] >> bit & 1) * 4 - 4);
  }
}
/* d, dmin, 12 bytes of 8 6-bit scales and minima, 128 bytes: for each 64 elements 32 low halves, then 32 high */
QUANT_INLINE void block_q4_k(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b), dmin = quant_half(b + 2);
  for (int group = 0; group < 8; group++) {
    int s, m;
    quant_unpack6(b + 4, group, &s, &m);
    float scale = d * (float)s, minimum = dmin * (float)m;
    const unsigned char *q = b + 16 + group / 2 * 32;
    int shift = (group & 1) * 4;
    for (int i = 0; i < 32; i++) out[group * 32 + i] = scale * (float)(q[i] >> shift & 15) - minimum;
  }
}
/* d, dmin, 12 bytes of 8 6-bit scales and minima, 32 bytes of fifth bits (bit = group), 128 bytes as in Q4_K */
QUANT_INLINE void block_q5_k(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b), dmin = quant_half(b + 2);
  for (int group = 0; group < 8; group++) {
    int s, m;
    quant_unpack6(b + 4, group, &s, &m);
    float scale = d * (float)s, minimum = dmin * (float)m;
    const unsigned char *q = b + 48 + group / 2 * 32, *fifth = b + 16;
    int shift = (group & 1) * 4;
    for (int i = 0; i < 32; i++) out[group * 32 + i] = scale * (float)((q[i] >> shift & 15) + (fifth[i] >> group & 1) * 16) - minimum;
  }
}
/* 128 bytes of low halves, 64 bytes of high pairs, 16 signed scales, d */
QUANT_INLINE void block_q6_k(float *restrict out, const unsigned char *restrict b) {
  float d = quant_half(b + 208);
  for (int group = 0; group < 8; group++) {
    const unsigned char *low = b + group / 4 * 64 + (group & 1) * 32, *high = b + 128 + group / 4 * 32;
    const int8_t *scales = (const int8_t *)b + 192 + group * 2;
    int shift = (group & 2) * 2, pair = group % 4 * 2;
    for (int half = 0; half < 2; half++) {
      float scale = d * (float)scales[half];
      for (int i = half * 16; i < half * 16 + 16; i++)
        out[group * 32 + i] = scale * (float)((low[i] >> shift & 15) + (high[i] >> pair & 3) * 16 - 32);
    }
  }
}

BLOCKS(q4_0, block_q4_0, SMALL, 18)
BLOCKS(q4_1, block_q4_1, SMALL, 20)
BLOCKS(q5_0, block_q5_0, SMALL, 22)
BLOCKS(q5_1, block_q5_1, SMALL, 24)
BLOCKS(q8_0, block_q8_0, SMALL, 34)
BLOCKS(q2_k, block_q2_k, SUPER, 84)
BLOCKS(q3_k, block_q3_k, SUPER, 110)
BLOCKS(q4_k, block_q4_k, SUPER, 144)
BLOCKS(q5_k, block_q5_k, SUPER, 176)
BLOCKS(q6_k, block_q6_k, SUPER, 210)
BLOCKS(iq4_nl, block_iq4_nl, SMALL, 18)

/* Those of avx2 and avx512 that gain by the set. */
#if defined(ETK_ISA_avx512)
#define OWN(type, avx2, avx512) (avx512) ? type : NULL
#elif defined(ETK_ISA_avx2)
#define OWN(type, avx2, avx512) (avx2) ? type : NULL
#else
#define OWN(type, avx2, avx512) type
#endif
#define ISA_TEXT(isa) #isa
#define ISA_NAME(isa) ISA_TEXT(isa)
extern const etk__decoders TABLE_EXPAND(ETK_ISA);
const etk__decoders TABLE_EXPAND(ETK_ISA) = {ISA_NAME(ETK_ISA), {
    OWN(q4_0, 1, 1), OWN(q4_1, 1, 0), OWN(q5_0, 1, 0), OWN(q5_1, 1, 0), OWN(q8_0, 1, 0), OWN(q2_k, 0, 1), OWN(q3_k, 0, 0), OWN(q4_k, 1, 0), OWN(q5_k, 1, 0),
    OWN(q6_k, 0, 0), OWN(iq4_nl, 1, 0)}};
