/* Kernels of encoders in plain C: see reference.c. */
#include "kernels.h"

#include <math.h>

#define K(kernel) etk_k_##kernel##_reference
#define EACH for (int64_t i = 0; i < n; i++)

static const float ROOT = 0.7978845608028654f /* sqrt(2/pi) */, CUBE = 0.044715f, HALF_ROOT = 0.7071067811865475f, DENSITY = 0.3989422804014327f /* 1/sqrt(2 pi) */;

static float slope(float a) { return 0.5f * (1 + erff(a * HALF_ROOT)) + a * DENSITY * expf(-0.5f * a * a); }
static float tanh_slope(float a) {
  float t = tanhf(ROOT * (a + CUBE * a * a * a));
  return 0.5f * (1 + t) + 0.5f * a * (1 - t * t) * ROOT * (1 + 3 * CUBE * a * a);
}
void K(gelu_f32)(float *out, const float *a, int64_t n) { EACH out[i] = 0.5f * a[i] * (1 + erff(a[i] * HALF_ROOT)); }
void K(gelu_tanh_f32)(float *out, const float *a, int64_t n) { EACH out[i] = 0.5f * a[i] * (1 + tanhf(ROOT * (a[i] + CUBE * a[i] * a[i] * a[i]))); }
void K(gelu_backward_f32)(float *da, const float *dy, const float *a, int64_t n) { EACH da[i] = dy[i] * slope(a[i]); }
void K(gelu_tanh_backward_f32)(float *da, const float *dy, const float *a, int64_t n) { EACH da[i] = dy[i] * tanh_slope(a[i]); }

float K(layer_norm_f32)(float *y, const float *x, const float *weight, const float *bias, float epsilon, float *mean, int64_t n) {
  double sum = 0, squares = 0;
  EACH sum += (double)x[i];
  double middle = sum / (double)n;
  EACH squares += ((double)x[i] - middle) * ((double)x[i] - middle);
  float m = (float)middle, inverse = (float)(1 / sqrt(squares / (double)n + (double)epsilon));
  EACH y[i] = (x[i] - m) * inverse * weight[i] + bias[i];
  *mean = m;
  return inverse;
}
