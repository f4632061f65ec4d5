#include "vector.h"

/* The normal distribution function of -t for t >= 0, as exp(-R(t)): R is smooth, so one polynomial does for all of 0 to 6 (least squares at Chebyshev's nodes;
 * error of the result 4e-8) and small results keep their digits. Beyond 6, where the result is below 1e-9, 0. */
INLINE vf normal_tail(vf t) {
  vf x = min_of(splat(6.0f), t), p = splat(-2.48188092e-09f);
  p = fma_of(p, x, splat(8.6957364e-08f));
  p = fma_of(p, x, splat(-1.35509219e-06f));
  p = fma_of(p, x, splat(1.23147001e-05f));
  p = fma_of(p, x, splat(-7.04096092e-05f));
  p = fma_of(p, x, splat(0.00023305857f));
  p = fma_of(p, x, splat(-5.29680656e-05f));
  p = fma_of(p, x, splat(-0.00477447873f));
  p = fma_of(p, x, splat(0.0363334939f));
  p = fma_of(p, x, splat(0.318310171f));
  p = fma_of(p, x, splat(0.797884524f));
  p = fma_of(p, x, splat(0.693147182f));
  return (vf)((vi)exp_of(-p) & ~(t > splat(6.0f)));
}
INLINE vf normal_of(vf a) {
  vf tail = normal_tail((vf)((vi)a & splat_int(INT32_MAX)));
  return select_where(a > splat(0.0f), splat(1.0f) - tail, tail);
}
/* (1 + tanh u) / 2 is sigmoid(2 u). */
INLINE vf twice_u(vf a) { return a * fma_of(a * a, splat(2 * 0.7978845608028654f * 0.044715f), splat(2 * 0.7978845608028654f)); }

UNARY(gelu_f32, x *normal_of(x))
UNARY(gelu_tanh_f32, x *sigmoid_of(twice_u(x)))

INLINE vf gelu_slope(vf a) { return fma_of(a * splat(0.3989422804014327f), exp_of(a * a * splat(-0.5f)), normal_of(a)); }
INLINE vf gelu_tanh_slope(vf a) {
  vf s = sigmoid_of(twice_u(a)), rise = fma_of(a * a, splat(6 * 0.7978845608028654f * 0.044715f), splat(2 * 0.7978845608028654f));
  return fma_of(a * s * (splat(1.0f) - s), rise, s);
}
#define BACKWARD(kernel, slope)                                                                                                  \
  void K(kernel)(float *da, const float *dy, const float *a, int64_t n) {                                                        \
    int64_t i = 0;                                                                                                               \
    for (; i + LANES <= n; i += LANES) store(da + i, load(dy + i) * slope(load(a + i)));                                         \
    if (i < n) store_part(da + i, load_part(dy + i, n - i, 0) * slope(load_part(a + i, n - i, 0)), n - i);                       \
  }
BACKWARD(gelu_backward_f32, gelu_slope)
BACKWARD(gelu_tanh_backward_f32, gelu_tanh_slope)

float K(layer_norm_f32)(float *y, const float *x, const float *weight, const float *bias, float epsilon, float *mean, int64_t n) {
  vf s[4] = {{0}};
  int64_t i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int j = 0; j < 4; j++) s[j] += load(x + i + j * LANES);
  for (; i + LANES <= n; i += LANES) s[0] += load(x + i);
  if (i < n) s[1] += load_part(x + i, n - i, 0);
  float middle = sum_lanes((s[0] + s[1]) + (s[2] + s[3])) / (float)n;
  vf m = splat(middle), q[4] = {{0}};
  for (i = 0; i + 4 * LANES <= n; i += 4 * LANES)
    for (int j = 0; j < 4; j++) {
      vf d = load(x + i + j * LANES) - m;
      q[j] = fma_of(d, d, q[j]);
    }
  for (; i < n; i += LANES) {
    vf d = (i + LANES <= n ? load(x + i) : load_part(x + i, n - i, middle)) - m;
    q[0] = fma_of(d, d, q[0]);
  }
  float inverse = 1.0f / sqrtf(sum_lanes((q[0] + q[1]) + (q[2] + q[3])) / (float)n + epsilon);
  vf r = splat(inverse);
  for (i = 0; i + LANES <= n; i += LANES) store(y + i, fma_of((load(x + i) - m) * r, load(weight + i), load(bias + i)));
  for (; i < n; i++) y[i] = (x[i] - middle) * inverse * weight[i] + bias[i];
  *mean = middle;
  return inverse;
}
