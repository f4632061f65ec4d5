/* product_repack.c: four codes at a time, in the bytes of a word. */
#include "product_repack.h"

#include <string.h>

#include "ml/quant/internal.h"

enum { QUADS = BLOCK / 4 };
#define EACH(x) ((x)*0x01010101u)

static inline uint32_t word(const unsigned char *p) {
  uint32_t w;
  memcpy(&w, p, sizeof w);
  return w;
}

/* ---- the codes of one block of 32, quad by quad; for types of 256, block `g` of 8 ---- */

static inline void halves(uint32_t *quads, const unsigned char *q) { /* low halves are elements 0 to 15 */
  for (int j = 0; j < 4; j++) {
    quads[j] = word(q + 4 * j) & EACH(15);
    quads[j + 4] = word(q + 4 * j) >> 4 & EACH(15);
  }
}
static inline void fifths(uint32_t *quads, const unsigned char *bits) { /* of 32 elements in order */
  uint32_t high = word(bits);
  for (int j = 0; j < QUADS; j++) quads[j] |= ((high >> 4 * j & 15) * 0x00204081u & EACH(1)) << 4; /* bit i to byte i */
}
static void codes_q4_0(uint32_t *quads, const unsigned char *b, int g) {
  (void)g;
  halves(quads, b + 2);
}
static void codes_q4_1(uint32_t *quads, const unsigned char *b, int g) {
  (void)g;
  halves(quads, b + 4);
}
static void codes_q5_0(uint32_t *quads, const unsigned char *b, int g) {
  (void)g;
  halves(quads, b + 6);
  fifths(quads, b + 2);
}
static void codes_q5_1(uint32_t *quads, const unsigned char *b, int g) {
  (void)g;
  halves(quads, b + 8);
  fifths(quads, b + 4);
}
static void codes_q8_0(uint32_t *quads, const unsigned char *b, int g) {
  (void)g;
  memcpy(quads, b + 2, BLOCK);
}
static void codes_q2_k(uint32_t *quads, const unsigned char *b, int g) {
  for (int j = 0; j < QUADS; j++) quads[j] = word(b + 16 + g / 4 * 32 + 4 * j) >> g % 4 * 2 & EACH(3);
}
static void codes_q3_k(uint32_t *quads, const unsigned char *b, int g) {
  for (int j = 0; j < QUADS; j++) quads[j] = (word(b + 32 + g / 4 * 32 + 4 * j) >> g % 4 * 2 & EACH(3)) | (word(b + 4 * j) >> g & EACH(1)) << 2;
}
static void codes_q4_k(uint32_t *quads, const unsigned char *b, int g) {
  for (int j = 0; j < QUADS; j++) quads[j] = word(b + 16 + g / 2 * 32 + 4 * j) >> (g & 1) * 4 & EACH(15);
}
static void codes_q5_k(uint32_t *quads, const unsigned char *b, int g) {
  for (int j = 0; j < QUADS; j++) quads[j] = (word(b + 48 + g / 2 * 32 + 4 * j) >> (g & 1) * 4 & EACH(15)) | (word(b + 16 + 4 * j) >> g & EACH(1)) << 4;
}
static void codes_q6_k(uint32_t *quads, const unsigned char *b, int g) {
  const unsigned char *low = b + g / 4 * 64 + (g & 1) * 32, *high = b + 128 + g / 4 * 32;
  for (int j = 0; j < QUADS; j++) quads[j] = (word(low + 4 * j) >> (g & 2) * 2 & EACH(15)) | (word(high + 4 * j) >> g % 4 * 2 & EACH(3)) << 4;
}

/* ---- small scales and minima of block g: one or two ---- */

static void small_q2_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  for (int h = 0; h < 2; h++) {
    scale[h] = b[2 * g + h] & 15;
    minimum[h] = b[2 * g + h] >> 4;
  }
}
static void small_q3_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  const unsigned char *s = b + 96;
  (void)minimum;
  for (int h = 0; h < 2; h++) {
    int group = 2 * g + h, low = group < 8 ? s[group] & 15 : s[group - 8] >> 4, high = s[8 + group % 4] >> group / 4 * 2 & 3;
    scale[h] = (unsigned char)(int8_t)((low | high << 4) - 32);
  }
}
static void small_6(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  int s, m;
  quant_unpack6(b + 4, g, &s, &m);
  *scale = (unsigned char)s;
  *minimum = (unsigned char)m;
}
static void small_q6_k(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g) {
  (void)minimum;
  memcpy(scale, b + 192 + 2 * g, 2);
}

/* Where the binary16 scale and minimum are in a block. */
static const struct source {
  void (*codes)(uint32_t *quads, const unsigned char *b, int g);
  void (*small)(unsigned char *scale, unsigned char *minimum, const unsigned char *b, int g);
  int scale, minimum;
} sources[TYPES] = {{codes_q4_0, NULL, 0, 0},          {codes_q4_1, NULL, 0, 2},         {codes_q5_0, NULL, 0, 0},      {codes_q5_1, NULL, 0, 2},
                    {codes_q8_0, NULL, 0, 0},          {codes_q2_k, small_q2_k, 80, 82}, {codes_q3_k, small_q3_k, 108, 0}, {codes_q4_k, small_6, 0, 2},
                    {codes_q5_k, small_6, 0, 2},       {codes_q6_k, small_q6_k, 208, 0}, {codes_q4_0, NULL, 0, 0}};

/* Quads to the planes of one output; planes of outputs lie 64 bytes apart. */
static void put_planes(unsigned char *to, const uint32_t *q, int bits) {
  uint32_t planes[8] = {0};
  for (int j = 0; j < 4; j++) {
    if (bits >= 4) planes[j] = q[j] & EACH(15), planes[j] |= (q[j + 4] & EACH(15)) << 4;
    else planes[0] |= (q[j] & EACH(3)) << 2 * j, planes[1] |= (q[j + 4] & EACH(3)) << 2 * j;
    if (bits == 6) planes[4] |= (q[j] >> 4 & EACH(3)) << 2 * j, planes[5] |= (q[j + 4] >> 4 & EACH(3)) << 2 * j;
  }
  if (bits == 3 || bits == 5)
    for (int j = 0; j < QUADS; j++) planes[bits - 1] |= (q[j] >> (bits - 1) & EACH(1)) << j;
  for (int plane = 0; plane < bits; plane++) memcpy(to + 64 * plane, &planes[plane], sizeof planes[plane]);
}

void etk__blocks_repack(unsigned char *codes, unsigned char *scales, int type, const unsigned char *from, size_t row_bytes, int rows, int64_t in, int flip) {
  const struct blocks_layout *l = &etk__blocks_layouts[type];
  const struct source *s = &sources[type];
  const int per = l->units ? UNIT / BLOCK : 1, parts = BLOCK / l->group, kinds = l->minima ? 2 : 1, bits = l->bits;
  const size_t unit_scales = blocks_unit_scales(l->group, l->minima, l->units), block_bytes = (size_t)etk_type_block_bytes((etk_type)(type + ETK_TYPE_FIRST_BLOCK));
  memset(scales, 0, (size_t)(in / (BLOCK * per)) * unit_scales);
  for (int64_t u = 0; u < in / (BLOCK * per); u++, scales += unit_scales) {
    for (int row = 0; row < OUTPUTS; row++) {
      const unsigned char *b = from + (size_t)row * row_bytes + (size_t)u * block_bytes;
      unsigned char *to = codes + (size_t)(u * per) * 64 * (size_t)bits + 4 * row;
      uint32_t quads[QUADS] = {0};
      if (row < rows) memcpy(scales + 2 * row, b + s->scale, 2);
      if (row < rows && l->minima) memcpy(scales + 2 * OUTPUTS + 2 * row, b + s->minimum, 2);
      for (int g = 0; g < per; g++, to += 64 * bits) {
        if (row < rows) s->codes(quads, b, g);
        if (bits == 8)
          for (int j = 0; j < QUADS; j++) {
            uint32_t w = quads[j] ^ EACH((uint32_t)flip);
            memcpy(to + 64 * j, &w, sizeof w);
          }
        else put_planes(to, quads, bits);
        if (!s->small || row >= rows) continue;
        unsigned char scale[2] = {0}, minimum[2] = {0}, *small = scales + 2 * OUTPUTS * kinds + g * kinds * parts * OUTPUTS + row;
        s->small(scale, minimum, b, g);
        for (int part = 0; part < parts; part++) {
          small[part * OUTPUTS] = scale[part];
          if (l->minima) small[(parts + part) * OUTPUTS] = minimum[part];
        }
      }
    }
  }
}
