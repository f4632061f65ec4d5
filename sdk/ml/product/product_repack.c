/* product_repack.c: blocks of four rows at a time, a word of each row in the lanes of a vector, which every machine here has. */
#include "product_repack.h"

#include <string.h>

#include "ml/quant/internal.h"

enum { QUADS = BLOCK / 4, LOT = 4, AHEAD = 512 }; /* LOT: rows of a vector; AHEAD: bytes of a row that are asked for from memory, as 16 rows at once are too many for the processor to see */
#define EACH(x) ((x)*0x01010101u)
#define UNROLL _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline, unused))

typedef uint32_t words __attribute__((vector_size(4 * LOT)));
#if defined(__clang__)
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (words){i, j, k, l})
#endif

INLINE words load_words(const unsigned char *p) {
  words w;
  memcpy(&w, p, sizeof w);
  return w;
}
INLINE uint32_t word(const unsigned char *p) {
  uint32_t w;
  memcpy(&w, p, sizeof w);
  return w;
}
INLINE words word_of_each(const unsigned char *const b[LOT], int at) { return (words){word(b[0] + at), word(b[1] + at), word(b[2] + at), word(b[3] + at)}; }

/* Four words that follow each other at `at` of four blocks: to[j] has word j of each. */
INLINE void four_words(words to[4], const unsigned char *const b[LOT], int at) {
  words w0 = load_words(b[0] + at), w1 = load_words(b[1] + at), w2 = load_words(b[2] + at), w3 = load_words(b[3] + at);
  words low01 = SHUFFLE(w0, w1, 0, 4, 1, 5), high01 = SHUFFLE(w0, w1, 2, 6, 3, 7), low23 = SHUFFLE(w2, w3, 0, 4, 1, 5), high23 = SHUFFLE(w2, w3, 2, 6, 3, 7);
  to[0] = SHUFFLE(low01, low23, 0, 1, 4, 5);
  to[1] = SHUFFLE(low01, low23, 2, 3, 6, 7);
  to[2] = SHUFFLE(high01, high23, 0, 1, 4, 5);
  to[3] = SHUFFLE(high01, high23, 2, 3, 6, 7);
}
INLINE void eight_words(words to[QUADS], const unsigned char *const b[LOT], int at) {
  four_words(to, b, at);
  four_words(to + 4, b, at + 16);
}

/* ---- the codes of one block of 32 in each of four rows, quad by quad; for types of 256, block `g` of 8 ---- */

INLINE void halves(words *quads, const unsigned char *const b[LOT], int at) { /* low halves are elements 0 to 15 */
  words w[4];
  four_words(w, b, at);
  UNROLL for (int j = 0; j < 4; j++) {
    quads[j] = w[j] & EACH(15);
    quads[j + 4] = w[j] >> 4 & EACH(15);
  }
}
INLINE void fifths(words *quads, const unsigned char *const b[LOT], int at) { /* of 32 elements in order */
  words high = word_of_each(b, at);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] |= ((high >> 4 * j & 15) * 0x00204081u & EACH(1)) << 4; /* bit i to byte i */
}
INLINE void codes_q4_0(words *quads, const unsigned char *const b[LOT], int g) {
  (void)g;
  halves(quads, b, 2);
}
INLINE void codes_q4_1(words *quads, const unsigned char *const b[LOT], int g) {
  (void)g;
  halves(quads, b, 4);
}
INLINE void codes_q5_0(words *quads, const unsigned char *const b[LOT], int g) {
  (void)g;
  halves(quads, b, 6);
  fifths(quads, b, 2);
}
INLINE void codes_q5_1(words *quads, const unsigned char *const b[LOT], int g) {
  (void)g;
  halves(quads, b, 8);
  fifths(quads, b, 4);
}
INLINE void codes_q8_0(words *quads, const unsigned char *const b[LOT], int g) {
  (void)g;
  eight_words(quads, b, 2);
}
INLINE void codes_iq4_nl(words *quads, const unsigned char *const b[LOT], int g) { codes_q4_0(quads, b, g); }
INLINE void codes_q2_k(words *quads, const unsigned char *const b[LOT], int g) {
  eight_words(quads, b, 16 + g / 4 * 32);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] = quads[j] >> g % 4 * 2 & EACH(3);
}
INLINE void codes_q3_k(words *quads, const unsigned char *const b[LOT], int g) {
  words third[QUADS];
  eight_words(quads, b, 32 + g / 4 * 32);
  eight_words(third, b, 0);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] = (quads[j] >> g % 4 * 2 & EACH(3)) | (third[j] >> g & EACH(1)) << 2;
}
INLINE void codes_q4_k(words *quads, const unsigned char *const b[LOT], int g) {
  eight_words(quads, b, 16 + g / 2 * 32);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] = quads[j] >> (g & 1) * 4 & EACH(15);
}
INLINE void codes_q5_k(words *quads, const unsigned char *const b[LOT], int g) {
  words fifth[QUADS];
  eight_words(quads, b, 48 + g / 2 * 32);
  eight_words(fifth, b, 16);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] = (quads[j] >> (g & 1) * 4 & EACH(15)) | (fifth[j] >> g & EACH(1)) << 4;
}
INLINE void codes_q6_k(words *quads, const unsigned char *const b[LOT], int g) {
  words high[QUADS];
  eight_words(quads, b, g / 4 * 64 + (g & 1) * 32);
  eight_words(high, b, 128 + g / 4 * 32);
  UNROLL for (int j = 0; j < QUADS; j++) quads[j] = (quads[j] >> (g & 2) * 2 & EACH(15)) | (high[j] >> g % 4 * 2 & EACH(3)) << 4;
}

/* ---- small scales and minima of block g of one row ---- */

INLINE void small_none(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) { (void)scale, (void)minimum, (void)b, (void)g; }
#define small_q4_0   small_none
#define small_q4_1   small_none
#define small_q5_0   small_none
#define small_q5_1   small_none
#define small_q8_0   small_none
#define small_iq4_nl small_none
INLINE void small_q2_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  for (int h = 0; h < 2; h++) {
    scale[h] = b[2 * g + h] & 15;
    minimum[h] = b[2 * g + h] >> 4;
  }
}
INLINE void small_q3_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  const unsigned char *s = b + 96;
  (void)minimum;
  for (int h = 0; h < 2; h++) {
    int group = 2 * g + h, low = group < 8 ? s[group] & 15 : s[group - 8] >> 4, high = s[8 + group % 4] >> group / 4 * 2 & 3;
    scale[h] = (unsigned char)(int8_t)((low | high << 4) - 32);
  }
}
INLINE void small_q4_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  int s, m;
  quant_unpack6(b + 4, g, &s, &m);
  *scale = (unsigned char)s;
  *minimum = (unsigned char)m;
}
#define small_q5_k small_q4_k
INLINE void small_q6_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  (void)minimum;
  memcpy(scale, b + 192 + 2 * g, 2);
}

/* Where the binary16 scale and minimum are in a block. */
static const struct place {
  int scale, minimum;
} places[TYPES] = {{0, 0}, {0, 2}, {0, 0}, {0, 2}, {0, 0}, {80, 82}, {108, 0}, {0, 2}, {0, 2}, {208, 0}, {0, 0}};

/* Quads of four outputs to their planes, which lie 64 bytes apart. */
INLINE void put_planes(unsigned char *to, const words *q, int bits, uint32_t flip) {
  words planes[8] = {{0}};
  if (bits == 8)
    UNROLL for (int j = 0; j < QUADS; j++) planes[j] = q[j] ^ flip;
  else UNROLL for (int j = 0; j < 4; j++) {
    if (bits >= 4) planes[j] = (q[j] & EACH(15)) | (q[j + 4] & EACH(15)) << 4;
    else planes[0] |= (q[j] & EACH(3)) << 2 * j, planes[1] |= (q[j + 4] & EACH(3)) << 2 * j;
    if (bits == 6) planes[4] |= (q[j] >> 4 & EACH(3)) << 2 * j, planes[5] |= (q[j + 4] >> 4 & EACH(3)) << 2 * j;
  }
  if (bits == 3 || bits == 5)
    UNROLL for (int j = 0; j < QUADS; j++) planes[bits - 1] |= (q[j] >> (bits - 1) & EACH(1)) << j;
  UNROLL for (int plane = 0; plane < bits; plane++) memcpy(to + 64 * plane, &planes[plane], sizeof planes[plane]);
}

typedef void take_codes(words *quads, const unsigned char *const b[LOT], int g);
typedef void take_small(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g);

/* The scales of one row of a unit. */
INLINE void put_scales(unsigned char *scales, struct blocks_layout l, struct place at, take_small *small, const unsigned char *b, int row) {
  const int per = l.units ? UNIT / BLOCK : 1, parts = BLOCK / l.group, kinds = l.minima ? 2 : 1;
  memcpy(scales + 2 * row, b + at.scale, 2);
  if (l.minima) memcpy(scales + 2 * OUTPUTS + 2 * row, b + at.minimum, 2);
  for (int g = 0; g < per && l.units; g++) {
    unsigned char scale[2] = {0}, minimum[2] = {0}, *to = scales + 2 * OUTPUTS * kinds + g * kinds * parts * OUTPUTS + row;
    small(scale, minimum, b, g);
    for (int part = 0; part < parts; part++) {
      to[part * OUTPUTS] = scale[part];
      if (l.minima) to[(parts + part) * OUTPUTS] = minimum[part];
    }
  }
}

INLINE void repack(const struct blocks_rows *r, struct blocks_layout l, struct place at, int block_bytes, take_codes *take, take_small *small) {
  static const unsigned char nothing[UNIT];
  const int per = l.units ? UNIT / BLOCK : 1;
  const size_t unit_scales = blocks_unit_scales(l.group, l.minima, l.units), unit_codes = (size_t)(per * 64 * l.bits);
  for (int64_t u = 0; u < r->in / (BLOCK * per); u++) {
    unsigned char *codes = r->codes + (size_t)u * unit_codes, *scales = r->scales + (size_t)u * unit_scales;
    if (r->count < OUTPUTS) memset(scales, 0, unit_scales);
    for (int lot = 0; lot < OUTPUTS / LOT; lot++) {
      const unsigned char *b[LOT];
      for (int i = 0; i < LOT; i++) b[i] = lot * LOT + i < r->count ? r->rows[lot * LOT + i] + (size_t)u * (size_t)block_bytes : nothing;
      UNROLL for (int i = 0; i < LOT; i++) __builtin_prefetch(b[i] + AHEAD);
      for (int g = 0; g < per; g++) {
        words quads[QUADS];
        take(quads, b, g);
        put_planes(codes + g * 64 * l.bits + 4 * LOT * lot, quads, l.bits, EACH((uint32_t)r->flip));
      }
      for (int i = 0; i < LOT && lot * LOT + i < r->count; i++) put_scales(scales, l, at, small, b[i], lot * LOT + i);
    }
  }
}

enum { PLACE_q4_0, PLACE_q4_1, PLACE_q5_0, PLACE_q5_1, PLACE_q8_0, PLACE_q2_k, PLACE_q3_k, PLACE_q4_k, PLACE_q5_k, PLACE_q6_k, PLACE_iq4_nl };
enum { BYTES_q4_0 = 18, BYTES_q4_1 = 20, BYTES_q5_0 = 22, BYTES_q5_1 = 24, BYTES_q8_0 = 34, BYTES_q2_k = 84, BYTES_q3_k = 110, BYTES_q4_k = 144, BYTES_q5_k = 176,
       BYTES_q6_k = 210, BYTES_iq4_nl = 18 };
#define REPACK(name, bits, group, minima, units, offset)                                                                            \
  static void repack_##name(const struct blocks_rows *r) {                                                                          \
    repack(r, (struct blocks_layout){bits, group, minima, units, offset}, places[PLACE_##name], BYTES_##name, codes_##name, small_##name); \
  }
BLOCKS_TYPES(REPACK)

#define ROW(name, bits, group, minima, units, offset) repack_##name,
static void (*const repackers[TYPES])(const struct blocks_rows *r) = {BLOCKS_TYPES(ROW)};

void etk__blocks_repack(const struct blocks_rows *r, int type) { repackers[type](r); }

/* ---- one output again ---- */

/* Byte i of a word. */
INLINE int byte_at(uint32_t w, int i) { return (int)(w >> 8 * i & 255); }

/* Quad q of a block's codes of one output, which stands 4 bytes in for each output before it. */
static uint32_t quad_of(const unsigned char *p, int bits, int q) {
  if (bits == 8) return word(p + 64 * q);
  uint32_t w = bits >= 4 ? word(p + q % 4 * 64) >> q / 4 * 4 & EACH(15) : word(p + q / 4 * 64) >> q % 4 * 2 & EACH(3);
  if (bits == 3) w |= (word(p + 128) >> q & EACH(1)) << 2;
  if (bits == 5) w |= (word(p + 256) >> q & EACH(1)) << 4;
  if (bits == 6) w |= (word(p + 256 + q / 4 * 64) >> q % 4 * 2 & EACH(3)) << 4;
  return w;
}

/* The decoders' operations (quant/decode.isa.c) in their order. */
void etk__blocks_decode(float *out, const unsigned char *codes, const unsigned char *scales, int type, int64_t in, int output, int flip) {
  const struct blocks_layout *l = &etk__blocks_layouts[type];
  const int per = l->units ? UNIT / BLOCK : 1, parts = BLOCK / l->group, kinds = l->minima ? 2 : 1;
  const size_t unit_scales = blocks_unit_scales(l->group, l->minima, l->units);
  for (int64_t b = 0; b < in / BLOCK; b++, out += BLOCK) {
    const unsigned char *unit = scales + (size_t)(b / per) * unit_scales, *p = codes + (size_t)b * 64 * (size_t)l->bits + 4 * output;
    const unsigned char *small = unit + 2 * OUTPUTS * kinds + (int)(b % per) * kinds * parts * OUTPUTS + output;
    for (int i = 0; i < BLOCK; i++) {
      int part = i / l->group, code = byte_at(quad_of(p, l->bits, i / 4), i % 4);
      float scale = quant_half(unit + 2 * output), minimum = l->minima ? quant_half(unit + 2 * OUTPUTS + 2 * output) : 0;
      if (l->units) scale *= (float)(int8_t)small[part * OUTPUTS];
      if (l->units && l->minima) minimum *= (float)small[(parts + part) * OUTPUTS];
      int value = l->offset != 128 ? code - l->offset : l->bits == 8 ? (int8_t)(code ^ flip) : etk__iq4_nl_levels[code];
      out[i] = scale * (float)value;
      if (l->minima) out[i] = l->minima < 0 ? out[i] - minimum : out[i] + minimum;
    }
  }
}
