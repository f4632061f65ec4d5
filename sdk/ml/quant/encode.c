/* Encoding of 32-element blocks. Without importance the formulas are the published ones; with it the scale is searched for. */
#include "internal.h"

#include <math.h>

/* Largest magnitude with its sign; the first of equals. Magnitudes are compared as whole numbers, which compilers turn into vectors. */
static float extreme(const float *x) {
  uint32_t top = 0;
  int at = 0;
  for (int i = 0; i < SMALL; i++) {
    uint32_t magnitude = quant_bits(x[i]) & 0x7fffffff;
    top = magnitude > top ? magnitude : top;
  }
  while ((quant_bits(x[at]) & 0x7fffffff) != top) at++;
  return x[at];
}
/* Smallest and largest value, eight at a time. */
static void range(const float *x, float *low, float *high) {
  float l[8], h[8];
  for (int j = 0; j < 8; j++) l[j] = h[j] = x[j];
  for (int i = 8; i < SMALL; i += 8)
    for (int j = 0; j < 8; j++) {
      l[j] = x[i + j] < l[j] ? x[i + j] : l[j];
      h[j] = x[i + j] > h[j] ? x[i + j] : h[j];
    }
  *low = l[0], *high = h[0];
  for (int j = 1; j < 8; j++) {
    *low = l[j] < *low ? l[j] : *low;
    *high = h[j] > *high ? h[j] : *high;
  }
}
static bool fits(const unsigned char *half) { return (half[1] & 0x7c) != 0x7c; }
static float inverse(float x) { return x != 0 ? 1 / x : 0; }

/* w = importance * sqrt(mean square of the row + x²): the reference's weighting of columns. */
static void weigh(float *w, const float *x, const float *importance, float mean_square) {
  for (int i = 0; i < SMALL; i++) w[i] = importance[i] * sqrtf(mean_square + x[i] * x[i]);
}
static float mean_square(const float *x, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum / (float)n;
}

static void put_halves(unsigned char *out, const uint8_t *q) {
  for (int i = 0; i < 16; i++) out[i] = (unsigned char)((q[i] & 15) | q[i + 16] << 4);
}
static void put_fifths(unsigned char *out, const uint8_t *q) {
  memset(out, 0, 4);
  for (int i = 0; i < SMALL; i++) out[i / 8] = (unsigned char)(out[i / 8] | (q[i] >> 4 & 1) << i % 8);
}

/* Symmetric codes 0 … 2*levels-1 around `levels`; returns the scale. */
static float signed_codes(uint8_t *q, int levels, const float *x, const float *w) {
  if (w) {
    int8_t codes[SMALL];
    float d = etk__quant_fitters()->fit_signed(SMALL, levels, x, w, codes);
    for (int i = 0; i < SMALL; i++) q[i] = (uint8_t)(codes[i] + levels);
    return d;
  }
  float d = extreme(x) / -(float)levels, id = inverse(d);
  for (int i = 0; i < SMALL; i++) {
    int8_t code = (int8_t)(x[i] * id + ((float)levels + 0.5f));
    q[i] = (uint8_t)quant_clamp(code, 0, 2 * levels - 1);
  }
  return d;
}

/* Codes 0 … top above the minimum; returns the scale. */
static float range_codes(uint8_t *q, int top, float *minimum, const float *x, const float *w) {
  if (w) {
    const etk__affine_search search = {top, -0.9f, 0.05f, 36, false};
    float d = etk__quant_fitters()->fit_affine(&search, SMALL, x, w, q, minimum);
    *minimum = -*minimum;
    return d;
  }
  float low, high;
  range(x, &low, &high);
  float d = (high - low) / (float)top, id = inverse(d);
  for (int i = 0; i < SMALL; i++) q[i] = (uint8_t)quant_clamp((int)((x[i] - low) * id + 0.5f), 0, top);
  *minimum = low;
  return d;
}

/* fifth: 5-bit codes with their high bits in 4 bytes of their own. */
static bool symmetric_row(unsigned char *out, const float *in, int64_t columns, const float *importance, bool fifth) {
  float mean = importance ? mean_square(in, columns) : 0, w[SMALL];
  int bytes = fifth ? 22 : 18;
  for (int64_t i = 0; i < columns; i += SMALL, out += bytes) {
    uint8_t q[SMALL];
    if (importance) weigh(w, in + i, importance + i, mean);
    quant_put_half(out, signed_codes(q, fifth ? 16 : 8, in + i, importance ? w : NULL));
    if (!fits(out)) return false;
    if (fifth) put_fifths(out + 2, q);
    put_halves(out + (fifth ? 6 : 2), q);
  }
  return true;
}
static bool range_row(unsigned char *out, const float *in, int64_t columns, const float *importance, bool fifth) {
  float mean = importance ? mean_square(in, columns) : 0, w[SMALL], minimum;
  int bytes = fifth ? 24 : 20;
  for (int64_t i = 0; i < columns; i += SMALL, out += bytes) {
    uint8_t q[SMALL];
    if (importance) weigh(w, in + i, importance + i, mean);
    quant_put_half(out, range_codes(q, fifth ? 31 : 15, &minimum, in + i, importance ? w : NULL));
    quant_put_half(out + 2, minimum);
    if (!fits(out) || !fits(out + 2)) return false;
    if (fifth) put_fifths(out + 4, q);
    put_halves(out + (fifth ? 8 : 4), q);
  }
  return true;
}
static bool q4_0(unsigned char *out, const float *in, int64_t n, const float *w) { return symmetric_row(out, in, n, w, false); }
static bool q5_0(unsigned char *out, const float *in, int64_t n, const float *w) { return symmetric_row(out, in, n, w, true); }
static bool q4_1(unsigned char *out, const float *in, int64_t n, const float *w) { return range_row(out, in, n, w, false); }
static bool q5_1(unsigned char *out, const float *in, int64_t n, const float *w) { return range_row(out, in, n, w, true); }

static bool q8_0(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  (void)importance;
  for (int64_t i = 0; i < columns; i += SMALL, out += 34) {
    float d = fabsf(extreme(in + i)) / 127, id = inverse(d);
    quant_put_half(out, d);
    if (!fits(out)) return false;
    for (int j = 0; j < SMALL; j++) { /* half away from zero */
      float position = in[i + j] * id, rest = position - (float)(int)position;
      out[2 + j] = (unsigned char)((int)position + (rest >= 0.5f) - (rest <= -0.5f));
    }
  }
  return true;
}

/* ---- IQ4_NL: sixteen uneven levels ---- */

static bool iq4_nl(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SMALL, out += 18) {
    const float *x = in + i;
    float w[SMALL];
    if (importance) weigh(w, x, importance + i, 2 * mean_square(x, SMALL));
    else
      for (int j = 0; j < SMALL; j++) w[j] = x[j] * x[j];
    float d = etk__quant_fitters()->fit_levels(x, w), id = inverse(d);
    quant_put_half(out, d);
    if (!fits(out)) return false;
    uint8_t q[SMALL];
    for (int j = 0; j < SMALL; j++) q[j] = (uint8_t)etk__nearest_level(id * x[j]);
    put_halves(out + 2, q);
  }
  return true;
}

const etk__encode_row etk__encoders[ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK] = {
    q4_0, q4_1, q5_0, q5_1, q8_0, etk__encode_q2_k, etk__encode_q3_k, etk__encode_q4_k, etk__encode_q5_k, etk__encode_q6_k, iq4_nl};
