/* Encoding of 256-element blocks: every sub-block gets a scale (and a minimum) of its own, these are rounded to a few bits against one binary16 scale of the
 * block, and the codes are then rounded again under what was stored. */
#include "internal.h"

#include <math.h>

static bool fits(const unsigned char *half) { return (half[1] & 0x7c) != 0x7c; }

static float sum_squares(const float *x, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}
static void weigh(float *w, const float *x, const float *importance, float variance, int n) {
  for (int i = 0; i < n; i++) w[i] = importance[i] * sqrtf(variance + x[i] * x[i]);
}
static float total(const float *w, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += w[i];
  return sum;
}

/* ---- Q2_K, Q4_K, Q5_K: x ~ d * scale * q - dmin * minimum ---- */

struct kind {
  int group, top, top_scale; /* elements of a sub-block, largest code, largest 4- or 6-bit scale */
  etk__affine_search plain, weighted;
  bool by_magnitude; /* weights without importance: |x|, else |x| + root mean square of the sub-block */
  float variance;    /* with importance: this times the block's mean square is added */
};
static const struct kind q2 = {16, 3, 15, {3, -0.5f, 0.1f, 15, true}, {3, -0.9f, 0.05f, 36, false}, true, 1};
static const struct kind q4 = {32, 15, 63, {15, -1, 0.1f, 20, false}, {15, -0.9f, 0.05f, 36, false}, false, 2};
static const struct kind q5 = {32, 31, 63, {31, -0.5f, 0.1f, 15, false}, {31, -0.9f, 0.05f, 36, false}, false, 2};

struct fitted {
  uint8_t scales[16], minima[16]; /* stored codes */
  float d, dmin;
  uint8_t q[SUPER];
};

static void plain_weights(const struct kind *k, float *w, const float *x) {
  float base = k->by_magnitude ? 0 : sqrtf(sum_squares(x, k->group) / (float)k->group);
  for (int i = 0; i < k->group; i++) w[i] = base + fabsf(x[i]);
}

/* Scales relative to the largest one. */
static float relative(int n, int top, const float *x, uint8_t *q) {
  float largest = 0;
  for (int i = 0; i < n; i++) largest = fmaxf(largest, x[i]);
  float inverse = (float)top / largest;
  if (!(largest > 0) || !(inverse <= 3.4e38f)) inverse = 0;
  for (int i = 0; i < n; i++) q[i] = (uint8_t)quant_clamp(quant_round(inverse * x[i]), 0, top);
  return inverse > 0 ? largest / (float)top : 0;
}

static void fit_block(const struct kind *k, struct fitted *f, const float *x, const float *importance) {
  int groups = SUPER / k->group;
  float scales[16], minima[16], sums[16], w[32], variance = k->variance * sum_squares(x, SUPER) / SUPER;
  for (int g = 0; g < groups; g++) {
    const float *part = x + g * k->group;
    if (importance) weigh(w, part, importance + g * k->group, variance, k->group);
    else plain_weights(k, w, part);
    sums[g] = total(w, k->group);
    scales[g] = etk__quant_fitters()->fit_affine(importance ? &k->weighted : &k->plain, k->group, part, w, f->q + g * k->group, &minima[g]);
  }
  f->d = importance ? etk__fit_positive(groups, k->top_scale, scales, sums, f->scales) : relative(groups, k->top_scale, scales, f->scales);
  f->dmin = importance ? etk__fit_positive(groups, k->top_scale, minima, sums, f->minima) : relative(groups, k->top_scale, minima, f->minima);
}

/* Codes under the scales as they will be read; a sub-block whose scale came out as 0 keeps what was found. */
static void round_again(const struct kind *k, struct fitted *f, const float *x, const unsigned char *d, const unsigned char *dmin) {
  for (int g = 0; g < SUPER / k->group; g++) {
    float scale = quant_half(d) * (float)f->scales[g], minimum = quant_half(dmin) * (float)f->minima[g];
    if (scale == 0) continue;
    for (int i = g * k->group; i < (g + 1) * k->group; i++) {
      float position = (x[i] + minimum) / scale;
      f->q[i] = (uint8_t)quant_clamp(quant_round(fminf(fmaxf(position, 0), 255)), 0, k->top);
    }
  }
}

static void pack6(unsigned char *out, const uint8_t *scales, const uint8_t *minima) {
  memset(out, 0, 12);
  for (int g = 0; g < 8; g++) {
    if (g < 4) {
      out[g] = scales[g];
      out[g + 4] = minima[g];
      continue;
    }
    out[g + 4] = (unsigned char)((scales[g] & 15) | (minima[g] & 15) << 4);
    out[g - 4] = (unsigned char)(out[g - 4] | scales[g] >> 4 << 6);
    out[g] = (unsigned char)(out[g] | minima[g] >> 4 << 6);
  }
}

bool etk__encode_q2_k(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SUPER, out += 84) {
    struct fitted f;
    fit_block(&q2, &f, in + i, importance ? importance + i : NULL);
    quant_put_half(out + 80, f.d);
    quant_put_half(out + 82, f.dmin);
    if (!fits(out + 80) || !fits(out + 82)) return false;
    round_again(&q2, &f, in + i, out + 80, out + 82);
    for (int g = 0; g < 16; g++) out[g] = (unsigned char)(f.scales[g] | f.minima[g] << 4);
    for (int half = 0; half < 2; half++)
      for (int l = 0; l < 32; l++) {
        const uint8_t *q = f.q + half * 128 + l;
        out[16 + half * 32 + l] = (unsigned char)(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
      }
  }
  return true;
}

/* Head and 128 bytes of low halves, which Q4_K and Q5_K share. */
static bool put_q45(const struct kind *k, struct fitted *f, unsigned char *out, unsigned char *halves, const float *x, const float *importance) {
  fit_block(k, f, x, importance);
  quant_put_half(out, f->d);
  quant_put_half(out + 2, f->dmin);
  if (!fits(out) || !fits(out + 2)) return false;
  round_again(k, f, x, out, out + 2);
  pack6(out + 4, f->scales, f->minima);
  for (int pair = 0; pair < 4; pair++)
    for (int l = 0; l < 32; l++) {
      const uint8_t *q = f->q + pair * 64 + l;
      halves[pair * 32 + l] = (unsigned char)((q[0] & 15) | (q[32] & 15) << 4);
    }
  return true;
}
bool etk__encode_q4_k(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SUPER, out += 144) {
    struct fitted f;
    if (!put_q45(&q4, &f, out, out + 16, in + i, importance ? importance + i : NULL)) return false;
  }
  return true;
}
bool etk__encode_q5_k(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SUPER, out += 176) {
    struct fitted f;
    if (!put_q45(&q5, &f, out, out + 48, in + i, importance ? importance + i : NULL)) return false;
    memset(out + 16, 0, 32);
    for (int j = 0; j < SUPER; j++) out[16 + j % 32] = (unsigned char)(out[16 + j % 32] | (f.q[j] >> 4) << j / 32);
  }
  return true;
}

/* ---- Q3_K, Q6_K: x ~ d * scale * q, scales and codes signed ---- */

/* Codes q + levels under the stored scale; x is one sub-block of 16. */
static void signed_again(uint8_t *q, int levels, float scale, const float *x) {
  for (int i = 0; i < 16; i++) {
    float position = x[i] / scale;
    q[i] = (uint8_t)(quant_clamp(quant_round(fminf(fmaxf(position, -255), 255)), -levels, levels - 1) + levels);
  }
}

/* The scale of largest magnitude, with its sign. */
static float extreme16(const float *x) {
  float best = 0, magnitude = 0;
  for (int i = 0; i < 16; i++)
    if (fabsf(x[i]) > magnitude) {
      magnitude = fabsf(x[i]);
      best = x[i];
    }
  return best;
}

/* 16 scales to codes [-low, low - 1] with the largest on -low; returns the unit. */
static float signed_relative(int low, const float *scales, int8_t *codes) {
  float top = extreme16(scales);
  memset(codes, 0, 16);
  if (fabsf(top) < 1e-15f) return 0;
  float inverse = -(float)low / top;
  for (int g = 0; g < 16; g++) codes[g] = (int8_t)quant_clamp(quant_round(inverse * scales[g]), -low, low - 1);
  return 1 / inverse;
}

bool etk__encode_q3_k(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SUPER, out += 110) {
    const float *x = in + i;
    float scales[16], sums[16], w[16], variance = 2 * sum_squares(x, SUPER) / SUPER;
    int8_t q[SUPER], codes[16];
    for (int g = 0; g < 16; g++) {
      if (importance) weigh(w, x + g * 16, importance + i + g * 16, variance, 16);
      sums[g] = importance ? total(w, 16) : 0;
      scales[g] =
          importance ? etk__quant_fitters()->fit_signed(16, 4, x + g * 16, w, q + g * 16) : etk__fit_signed_steps(16, 4, x + g * 16, q + g * 16);
    }
    quant_put_half(out + 108, importance ? etk__quant_fitters()->fit_signed(16, 32, scales, sums, codes) : signed_relative(32, scales, codes));
    if (!fits(out + 108)) return false;
    uint8_t u[SUPER];
    for (int g = 0; g < 16; g++) {
      float scale = quant_half(out + 108) * (float)codes[g];
      for (int l = 0; l < 16; l++) u[g * 16 + l] = (uint8_t)(q[g * 16 + l] + 4);
      if (scale != 0) signed_again(u + g * 16, 4, scale, x + g * 16);
    }
    memset(out, 0, 108);
    for (int g = 0; g < 16; g++) {
      int code = codes[g] + 32;
      out[96 + g % 8] = (unsigned char)(out[96 + g % 8] | (code & 15) << (g < 8 ? 0 : 4));
      out[104 + g % 4] = (unsigned char)(out[104 + g % 4] | code >> 4 << g / 4 * 2);
    }
    for (int j = 0; j < SUPER; j++) {
      unsigned char *low = out + 32 + j / 128 * 32 + j % 32;
      *low = (unsigned char)(*low | (u[j] & 3) << j % 128 / 32 * 2);
      out[j % 32] = (unsigned char)(out[j % 32] | u[j] >> 2 << j / 32);
    }
  }
  return true;
}

bool etk__encode_q6_k(unsigned char *out, const float *in, int64_t columns, const float *importance) {
  for (int64_t i = 0; i < columns; i += SUPER, out += 210) {
    const float *x = in + i;
    float scales[16];
    int8_t q[SUPER], codes[16];
    for (int g = 0; g < 16; g++)
      scales[g] = etk__quant_fitters()->fit_signed(16, 32, x + g * 16, importance ? importance + i + g * 16 : NULL, q + g * 16);
    quant_put_half(out + 208, signed_relative(128, scales, codes));
    if (!fits(out + 208)) return false;
    uint8_t u[SUPER];
    for (int g = 0; g < 16; g++) {
      float scale = quant_half(out + 208) * (float)codes[g];
      for (int l = 0; l < 16; l++) u[g * 16 + l] = (uint8_t)(q[g * 16 + l] + 32);
      if (scale != 0) signed_again(u + g * 16, 32, scale, x + g * 16);
    }
    memcpy(out + 192, codes, 16);
    for (int half = 0; half < 2; half++)
      for (int l = 0; l < 32; l++) {
        const uint8_t *p = u + half * 128 + l;
        out[half * 64 + l] = (unsigned char)((p[0] & 15) | (p[64] & 15) << 4);
        out[half * 64 + 32 + l] = (unsigned char)((p[32] & 15) | (p[96] & 15) << 4);
        out[128 + half * 32 + l] = (unsigned char)(p[0] >> 4 | p[32] >> 4 << 2 | p[64] >> 4 << 4 | p[96] >> 4 << 6);
      }
  }
  return true;
}
