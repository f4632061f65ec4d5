/* Searches for the scale (and minimum) under which rounding to a few levels loses least. Each tries a number of grids and takes the best weighted least
 * squares, as the reference encoders do; sums run in element order, so that all builds give the same codes. What fit.isa.c does for
 * many grids at once is here one after the other, as the reference of the tests. */
#include "internal.h"

#include <math.h>

enum { MOST = 32 };
/* (A loop, since gcc 12 takes a memset of an int's size for one that may be negative.) */
static void zero(uint8_t *q, int n) {
  for (int i = 0; i < n; i++) q[i] = 0;
}

/* The value of the largest magnitude, with its sign. */
static float extreme(int n, const float *x) {
  float best = 0, magnitude = 0;
  for (int i = 0; i < n; i++)
    if (fabsf(x[i]) > magnitude) {
      magnitude = fabsf(x[i]);
      best = x[i];
    }
  return best;
}

/* Codes and the two sums of the normal equation: x·q and q·q under w. */
struct projection {
  float xq, qq;
};
static struct projection project_signed(int n, int levels, float inverse, const float *x, const float *w, int8_t *q) {
  struct projection p = {0, 0};
  for (int i = 0; i < n; i++) {
    q[i] = (int8_t)quant_clamp(quant_round(inverse * x[i]), -levels, levels - 1);
    float weight = w ? w[i] : x[i] * x[i];
    p.xq += weight * x[i] * (float)q[i];
    p.qq += weight * (float)q[i] * (float)q[i];
  }
  return p;
}

static float fit_signed(int n, int levels, const float *x, const float *w, int8_t *q) {
  float top = extreme(n, x);
  if (fabsf(top) < ETK__QUANT_TINY) {
    zero((uint8_t *)q, n);
    return 0;
  }
  struct projection p = project_signed(n, levels, -(float)levels / top, x, w, q);
  float scale = p.qq > 0 ? p.xq / p.qq : 0, best = scale * p.xq;
  for (int step = -9; step <= 9; step++) {
    if (!step) continue;
    int8_t trial[MOST];
    p = project_signed(n, levels, -((float)levels + 0.1f * (float)step) / top, x, w, trial);
    if (!(p.qq > 0) || p.xq * p.xq <= best * p.qq) continue;
    memcpy(q, trial, (size_t)n);
    scale = p.xq / p.qq;
    best = scale * p.xq;
  }
  return scale;
}

/* One pass over the codes: each is set to what suits the scale of all the others best, where that lowers the whole error. Returns the number changed. */
static int improve(int n, int low, int high, const float *x, const float *w, int *q, struct projection *p) {
  int changed = 0;
  for (int i = 0; i < n; i++) {
    float weight = w ? w[i] : x[i] * x[i], xq = p->xq - weight * x[i] * (float)q[i], qq = p->qq - weight * (float)q[i] * (float)q[i];
    if (!(xq > 0) || !(qq > 0)) continue;
    int better = quant_clamp(quant_round(fminf(fmaxf(x[i] * qq / xq, -1024), 1024)), low, high);
    if (better == q[i]) continue;
    xq += weight * x[i] * (float)better;
    qq += weight * (float)better * (float)better;
    if (!(qq > 0) || xq * xq * p->qq <= p->xq * p->xq * qq) continue;
    q[i] = better;
    *p = (struct projection){xq, qq};
    changed++;
  }
  return changed;
}

float etk__fit_signed_steps(int n, int levels, const float *x, int8_t *q) {
  float top = extreme(n, x);
  zero((uint8_t *)q, n);
  if (fabsf(top) < ETK__QUANT_TINY) return 0;
  int codes[MOST];
  struct projection p = project_signed(n, levels, -(float)levels / top, x, NULL, q);
  for (int i = 0; i < n; i++) codes[i] = q[i];
  for (int pass = 0; pass < 5 && improve(n, -levels, levels - 1, x, NULL, codes, &p); pass++) continue;
  for (int i = 0; i < n; i++) q[i] = (int8_t)codes[i];
  return p.qq > 0 ? p.xq / p.qq : 0;
}

float etk__fit_positive(int n, int top, const float *x, const float *w, uint8_t *q) {
  float largest = 0;
  for (int i = 0; i < n; i++) largest = fmaxf(largest, x[i]);
  zero(q, n);
  if (largest < ETK__QUANT_TINY) return 0;
  float inverse = (float)top / largest, best = INFINITY;
  for (int step = -4; step <= 4; step++) { /* the grid itself is step 0 */
    float trial = ((float)top + 0.1f * (float)step) / largest, unit = 1 / trial, error = 0;
    for (int i = 0; i < n; i++) {
      float off = x[i] - unit * (float)quant_clamp(quant_round(trial * x[i]), 0, top);
      error += w[i] * off * off;
    }
    if (error >= best) continue;
    best = error;
    inverse = trial;
  }
  int codes[MOST];
  struct projection p = {0, 0};
  for (int i = 0; i < n; i++) {
    codes[i] = quant_clamp(quant_round(inverse * x[i]), 0, top);
    p.xq += w[i] * x[i] * (float)codes[i];
    p.qq += w[i] * (float)codes[i] * (float)codes[i];
  }
  for (int pass = 0; pass < 5 && improve(n, 0, top, x, w, codes, &p); pass++) continue;
  for (int i = 0; i < n; i++) q[i] = (uint8_t)codes[i];
  return p.qq > 0 ? p.xq / p.qq : 0;
}

/* ---- scale and minimum ---- */

struct line {
  float scale, low; /* x ~ scale * q + low, low <= 0 */
};

static float line_error(int n, const float *x, const float *w, const uint8_t *q, struct line line, bool absolute) {
  float error = 0;
  for (int i = 0; i < n; i++) {
    float off = line.scale * (float)q[i] + line.low - x[i];
    error += w[i] * (absolute ? fabsf(off) : off * off);
  }
  return error;
}

/* The weighted line of best fit through (q, x); false where all codes are the same. A positive low end is set to 0, and the scale fitted to that. */
static bool fit_line(int n, const float *x, const float *w, const uint8_t *q, float sum_w, float sum_x, struct line *out) {
  float sum_q = 0, sum_qq = 0, sum_xq = 0;
  for (int i = 0; i < n; i++) {
    float weighted = w[i] * (float)q[i];
    sum_q += weighted;
    sum_qq += weighted * (float)q[i];
    sum_xq += weighted * x[i];
  }
  float determinant = sum_w * sum_qq - sum_q * sum_q;
  if (!(determinant > 0)) return false;
  out->scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
  out->low = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
  if (out->low > 0) *out = (struct line){sum_xq / sum_qq, 0};
  return true;
}

static float fit_affine(const etk__affine_search *search, int n, const float *x, const float *w, uint8_t *q, float *minimum) {
  float low = x[0], high = x[0], sum_w = 0, sum_x = 0;
  for (int i = 0; i < n; i++) {
    low = fminf(low, x[i]);
    high = fmaxf(high, x[i]);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (low > 0) low = 0;
  zero(q, n);
  *minimum = -low;
  if (!(high > low) || !((float)search->top / (high - low) <= 3.4e38f)) return 0; /* all alike, or a range so small that its inverse is infinite */
  float inverse = (float)search->top / (high - low);
  struct line best = {1 / inverse, low};
  for (int i = 0; i < n; i++) q[i] = (uint8_t)quant_clamp(quant_round(inverse * (x[i] - low)), 0, search->top);
  float error = line_error(n, x, w, q, best, search->absolute);
  for (int step = 0; step <= search->steps; step++) {
    uint8_t trial[MOST];
    float grid = (search->first + search->step * (float)step + (float)search->top) / (high - best.low);
    for (int i = 0; i < n; i++) trial[i] = (uint8_t)quant_clamp(quant_round(grid * (x[i] - best.low)), 0, search->top);
    struct line line;
    if (!fit_line(n, x, w, trial, sum_w, sum_x, &line)) continue;
    float e = line_error(n, x, w, trial, line, search->absolute);
    if (!(e < error)) continue;
    error = e;
    best = line;
    memcpy(q, trial, (size_t)n);
  }
  *minimum = -best.low;
  return best.scale;
}

/* ---- IQ4_NL's sixteen uneven levels ---- */

int etk__nearest_level(float x) {
  const int8_t *levels = etk__iq4_nl_levels;
  int at = 0;
  while (at < 15 && x >= 0.5f * (float)(levels[at] + levels[at + 1])) at++;
  return at;
}
static struct projection project_levels(float id, const float *x, const float *w) {
  struct projection p = {0, 0};
  for (int i = 0; i < SMALL; i++) {
    float level = etk__iq4_nl_levels[etk__nearest_level(id * x[i])];
    p.xq += w[i] * level * x[i];
    p.qq += w[i] * level * level;
  }
  return p;
}
static float fit_levels(const float *x, const float *w) {
  float top = extreme(SMALL, x);
  if (fabsf(top) < ETK__QUANT_TINY) return 0;
  struct projection p = project_levels(-etk__iq4_nl_levels[0] / top, x, w); /* the largest value beyond the highest level; below, on the lowest */
  float d = p.qq > 0 ? p.xq / p.qq : 0, best = d * p.xq;
  for (int step = -7; step <= 7; step++) {
    p = project_levels(((float)step + etk__iq4_nl_levels[0]) / top, x, w);
    if (!(p.qq > 0) || p.xq * p.xq <= best * p.qq) continue;
    d = p.xq / p.qq;
    best = d * p.xq;
  }
  return d;
}

const etk__fitters etk__fitters_reference = {fit_signed, fit_affine, fit_levels};
