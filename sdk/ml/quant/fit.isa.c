/* The searches of fit.c and of IQ4_NL with one candidate grid in each lane of a vector. Every lane sums in element order, so the result is the
 * reference's to the bit. */
#include "internal.h"

#include "../kernels/vector.h"

#define FITTERS_NAME(isa)   etk__fitters_##isa
#define FITTERS_EXPAND(isa) FITTERS_NAME(isa)
enum { MOST = 32, SIGNED = 19, LEVELS = 16, SIGNED_VECTORS = (SIGNED + LANES - 1) / LANES, LEVEL_VECTORS = LEVELS / LANES };

/* Nearest whole number, ties to even, |x| < 2^22. */
INLINE vf rounded(vf x) {
  const vf magic = splat(12582912.0f);
  return (x + magic) - magic;
}
INLINE vf clamped(vf x, vf low, vf high) { return min_of(high, max_of(low, x)); }

INLINE float extreme(int n, const float *x) {
  float best = 0, magnitude = 0;
  for (int i = 0; i < n; i++)
    if (fabsf(x[i]) > magnitude) {
      magnitude = fabsf(x[i]);
      best = x[i];
    }
  return best;
}

/* The candidate that explains most, in order, the first where none is strictly better: its number, and its scale. */
INLINE int most_explained(int count, const float *xq, const float *qq, float *scale) {
  int at = 0;
  *scale = qq[0] > 0 ? xq[0] / qq[0] : 0;
  float best = *scale * xq[0];
  for (int c = 1; c < count; c++) {
    if (!(qq[c] > 0) || xq[c] * xq[c] <= best * qq[c]) continue;
    at = c;
    *scale = xq[c] / qq[c];
    best = *scale * xq[c];
  }
  return at;
}

static __attribute__((unused)) float fit_signed(int n, int levels, const float *x, const float *w, int8_t *q) {
  float top = extreme(n, x), inverse[SIGNED_VECTORS * LANES], xq[SIGNED_VECTORS * LANES], qq[SIGNED_VECTORS * LANES], scale;
  if (fabsf(top) < ETK__QUANT_TINY) {
    for (int i = 0; i < n; i++) q[i] = 0;
    return 0;
  }
  for (int c = 0; c < SIGNED_VECTORS * LANES; c++) {
    int step = c == 0 || c >= SIGNED ? 0 : c <= 9 ? c - 10 : c - 9; /* the grid itself, then -9 … -1 and 1 … 9 tenths */
    inverse[c] = -((float)levels + 0.1f * (float)step) / top;
  }
  const vf low = splat(-(float)levels), high = splat((float)levels - 1);
  for (int v = 0; v < SIGNED_VECTORS; v++) {
    vf grid = load(inverse + v * LANES), sum_xq = splat(0), sum_qq = splat(0);
    for (int i = 0; i < n; i++) {
      float weight = w ? w[i] : x[i] * x[i];
      vf code = clamped(rounded(grid * splat(x[i])), low, high);
      sum_xq += splat(weight * x[i]) * code;
      sum_qq += splat(weight) * code * code;
    }
    store(xq + v * LANES, sum_xq);
    store(qq + v * LANES, sum_qq);
  }
  int best = most_explained(SIGNED, xq, qq, &scale);
  for (int i = 0; i < n; i++) q[i] = (int8_t)quant_clamp(quant_round(inverse[best] * x[i]), -levels, levels - 1);
  return scale;
}

/* Lines through (q, x) for the codes of each lane's grid, and their errors; infinite where there is no line. */
typedef struct lines {
  vf scale, low, error;
} lines;
INLINE lines try_grids(const etk__affine_search *s, int n, const float *x, const float *w, vf grid, float base, float sum_w, float sum_x) {
  const vf zero = splat(0), top = splat((float)s->top);
  vf codes[MOST], q = zero, qq = zero, xq = zero;
  for (int i = 0; i < n; i++) {
    vf code = clamped(rounded(grid * splat(x[i] - base)), zero, top), weighted = splat(w[i]) * code;
    codes[i] = code;
    q += weighted;
    qq += weighted * code;
    xq += weighted * splat(x[i]);
  }
  vf determinant = splat(sum_w) * qq - q * q;
  lines out = {(splat(sum_w) * xq - splat(sum_x) * q) / determinant, (qq * splat(sum_x) - q * xq) / determinant, zero};
  vi above = out.low > zero;
  out.scale = select_where(above, xq / qq, out.scale);
  out.low = select_where(above, zero, out.low);
  for (int i = 0; i < n; i++) {
    vf off = out.scale * codes[i] + out.low - splat(x[i]);
    vf size = s->absolute ? (vf)((vi)off & 0x7fffffff) : off * off;
    out.error += splat(w[i]) * size;
  }
  out.error = select_where(determinant > zero, out.error, splat(INFINITY));
  return out;
}

static __attribute__((unused)) float fit_affine(const etk__affine_search *s, int n, const float *x, const float *w, uint8_t *q, float *minimum) {
  float low = x[0], high = x[0], sum_w = 0, sum_x = 0;
  for (int i = 0; i < n; i++) {
    low = fminf(low, x[i]);
    high = fmaxf(high, x[i]);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (low > 0) low = 0;
  *minimum = -low;
  float inverse = (float)s->top / (high - low);
  if (!(high > low) || !(inverse <= 3.4e38f)) {
    for (int i = 0; i < n; i++) q[i] = 0;
    return 0;
  }
  float scale = 1 / inverse, base = low, error = 0, best_grid = inverse, best_base = low; /* base: the low end that the next grids stand on */
  for (int i = 0; i < n; i++) {
    float off = scale * (float)quant_clamp(quant_round(inverse * (x[i] - low)), 0, s->top) + low - x[i];
    error += w[i] * (s->absolute ? fabsf(off) : off * off);
  }
  for (int step = 0; step <= s->steps;) { /* LANES grids at once; those behind one that moves the low end are tried again */
    float grids[LANES], scales[LANES], lows[LANES], errors[LANES];
    for (int j = 0; j < LANES; j++) grids[j] = (s->first + s->step * (float)(step + j) + (float)s->top) / (high - base);
    lines found = n == 16 ? try_grids(s, 16, x, w, load(grids), base, sum_w, sum_x) : try_grids(s, n, x, w, load(grids), base, sum_w, sum_x);
    store(scales, found.scale);
    store(lows, found.low);
    store(errors, found.error);
    int j = 0;
    for (bool moved = false; j < LANES && step + j <= s->steps && !moved; j++) {
      if (!(errors[j] < error)) continue;
      error = errors[j];
      scale = scales[j];
      best_grid = grids[j];
      best_base = base;
      moved = lows[j] != base;
      low = lows[j];
    }
    base = low;
    step += j;
  }
  for (int i = 0; i < n; i++) q[i] = (uint8_t)quant_clamp(quant_round(best_grid * (x[i] - best_base)), 0, s->top);
  *minimum = -low;
  return scale;
}

/* IQ4_NL: the scale for 32 values; sixteen grids: the largest value beyond the highest level, then on the lowest and around. */
static float fit_levels(const float *x, const float *w) {
  const int8_t *levels = etk__iq4_nl_levels;
  float top = extreme(SMALL, x), inverse[LEVELS], xq[LEVELS], qq[LEVELS], scale;
  if (fabsf(top) < ETK__QUANT_TINY) return 0;
  for (int c = 0; c < LEVELS; c++) inverse[c] = c ? ((float)(c - 8) + levels[0]) / top : -levels[0] / top;
  for (int v = 0; v < LEVEL_VECTORS; v++) {
    vf grid = load(inverse + v * LANES), sum_xq = splat(0), sum_qq = splat(0);
    for (int i = 0; i < SMALL; i++) {
      vf position = grid * splat(x[i]), level = splat(levels[0]);
      for (int k = 0; k < 15; k++) {
        vi passed = position >= splat(0.5f * (float)(levels[k] + levels[k + 1]));
        level += (vf)((vi)splat((float)(levels[k + 1] - levels[k])) & passed);
      }
      sum_xq += splat(w[i]) * level * splat(x[i]);
      sum_qq += splat(w[i]) * level * level;
    }
    store(xq + v * LANES, sum_xq);
    store(qq + v * LANES, sum_qq);
  }
  most_explained(LEVELS, xq, qq, &scale);
  return scale;
}

extern const etk__fitters FITTERS_EXPAND(ETK_ISA);
#if defined(ETK_ISA_avx512) /* 19 to 37 grids fill vectors of 16 badly: less than 1.2 times avx2's rate */
const etk__fitters FITTERS_EXPAND(ETK_ISA) = {NULL, NULL, fit_levels};
#else
const etk__fitters FITTERS_EXPAND(ETK_ISA) = {fit_signed, fit_affine, fit_levels};
#endif
