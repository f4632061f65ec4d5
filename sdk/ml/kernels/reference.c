/* Every kernel in plain C, as the formula reads: what the others are tested against. */
#include "kernels.h"

#include <etk/rng.h>
#include <math.h>
#include <string.h>

#define K(kernel) etk_k_##kernel##_reference
#define EACH for (int64_t i = 0; i < n; i++)

void K(add_f32)(float *out, const float *a, const float *b, int64_t n) { EACH out[i] = a[i] + b[i]; }
void K(sub_f32)(float *out, const float *a, const float *b, int64_t n) { EACH out[i] = a[i] - b[i]; }
void K(mul_f32)(float *out, const float *a, const float *b, int64_t n) { EACH out[i] = a[i] * b[i]; }
void K(scale_f32)(float *out, const float *a, float factor, int64_t n) { EACH out[i] = factor * a[i]; }
void K(axpy_f32)(float *y, float factor, const float *x, int64_t n) { EACH y[i] += factor * x[i]; }

double K(sum_f32)(const float *a, int64_t n) {
  double s = 0;
  EACH s += (double)a[i];
  return s;
}
double K(sum_squares_f32)(const float *a, int64_t n) {
  double s = 0;
  EACH s += (double)a[i] * (double)a[i];
  return s;
}
float K(dot_f32)(const float *a, const float *b, int64_t n) {
  float s = 0;
  EACH s += a[i] * b[i];
  return s;
}
void K(matvec_f32)(float *y, const float *w, int64_t ldw, const float *x, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++) y[r] = K(dot_f32)(w + r * ldw, x, n);
}
void K(gemm_f32)(const struct gemm *g) {
  for (int64_t i = 0; i < g->m; i++)
    for (int64_t j = 0; j < g->n; j++) {
      float s = 0;
      for (int64_t p = 0; p < g->k; p++) s += (g->ta ? g->a[p * g->lda + i] : g->a[i * g->lda + p]) * (g->tb ? g->b[j * g->ldb + p] : g->b[p * g->ldb + j]);
      float *c = g->c + i * g->ldc + j;
      *c = g->alpha * s + (g->beta != 0 ? g->beta * *c : 0);
    }
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }
static float silu_slope(float x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }
void K(sigmoid_f32)(float *out, const float *a, int64_t n) { EACH out[i] = sigmoid(a[i]); }
void K(silu_f32)(float *out, const float *a, int64_t n) { EACH out[i] = a[i] * sigmoid(a[i]); }
void K(silu_backward_f32)(float *da, const float *dy, const float *a, int64_t n) { EACH da[i] = dy[i] * silu_slope(a[i]); }
void K(swiglu_f32)(float *out, const float *gate, const float *up, int64_t n) { EACH out[i] = gate[i] * sigmoid(gate[i]) * up[i]; }
void K(swiglu_backward_f32)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n) {
  EACH {
    float g = gate[i], d = dy[i], to_gate = d * up[i] * silu_slope(g);
    dup[i] = d * g * sigmoid(g);
    dgate[i] = to_gate;
  }
}

static float maximum(const float *a, int64_t n) {
  float m = a[0];
  EACH m = a[i] > m ? a[i] : m;
  return m;
}
void K(softcap_f32)(float *out, const float *a, float scale, float cap, int64_t n) { EACH out[i] = cap * tanhf(scale * a[i] / cap); }
void K(small_product_f32)(const struct small_product *x) {
  for (int64_t i = 0; i < x->rows; i++)
    for (int64_t j = 0; j < x->columns; j++) {
      float *c = &x->c[i * x->ldc + j], sum = x->add ? *c : 0;
      for (int64_t d = 0; d < x->depth; d++) sum += x->a[i * x->a_row + d * x->a_depth] * x->b[d * x->ldb + j];
      *c = sum;
    }
}
double K(mean_under_f32)(const float *p, const float *a, int64_t n) {
  double sum = 0, total = 0;
  EACH sum += (double)p[i] * (double)a[i], total += (double)p[i];
  return sum / total;
}
float K(max_f32)(const float *a, int64_t n) { return maximum(a, n); }
float K(exp_sum_f32)(float *out, const float *a, float top, int64_t n) {
  float s = 0;
  EACH s += out[i] = expf(a[i] - top);
  return s;
}
float K(log_sum_exp_f32)(const float *a, int64_t n) {
  float m = maximum(a, n), s = 0;
  EACH s += expf(a[i] - m);
  return m + logf(s);
}
void K(exp_affine_f32)(float *out, const float *a, float scale, float shift, float factor, int64_t n) { EACH out[i] = factor * expf(scale * a[i] + shift); }
float K(softmax_f32)(float *out, const float *a, float scale, int64_t n) {
  EACH out[i] = scale * a[i];
  float m = maximum(out, n), s = 0;
  EACH s += out[i] = expf(out[i] - m);
  EACH out[i] /= s;
  return m + logf(s);
}
void K(softmax_backward_f32)(float *out, const float *p, const float *dp, float delta, float scale, int64_t n) { EACH out[i] = scale * p[i] * (dp[i] - delta); }

float K(rms_norm_f32)(float *y, const float *x, const float *weight, float epsilon, int64_t n) {
  float inverse = 1 / sqrtf(K(dot_f32)(x, x, n) / (float)n + epsilon);
  EACH y[i] = weight[i] * (x[i] * inverse);
  return inverse;
}
void K(rms_norm_backward_f32)(float *dx, float *dweight, const float *base, const float *dy, const float *x, const float *weight, float inverse, int64_t n) {
  float mean = 0;
  EACH mean += weight[i] * dy[i] * x[i] * inverse;
  mean /= (float)n;
  EACH {
    float h = x[i] * inverse;
    if (dweight) dweight[i] += dy[i] * h;
    dx[i] = (base ? base[i] : 0) + inverse * (weight[i] * dy[i] - h * mean);
  }
}

void K(rope_f32)(float *out, const float *x, const float *cosine, const float *sine, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    float a = x[i], b = x[half + i];
    out[i] = a * cosine[i] - b * sine[i];
    out[half + i] = b * cosine[i] + a * sine[i];
  }
}

void K(dropout_f32)(float *out, const float *x, const struct dropout_mask *mask, int64_t n) {
  EACH {
    uint32_t bits[4];
    uint64_t at = mask->first + (uint64_t)i;
    etk_rng_block(bits, mask->seed, mask->stream, at / 64 * 16 + at % 16);
    out[i] = bits[at % 64 / 16] >= mask->threshold ? mask->scale * x[i] : 0;
  }
}

void K(adamw_f32)(float *p, float *m, float *v, const float *g, const struct adamw_step *s, int64_t n) {
  EACH {
    float d = s->scale * g[i];
    m[i] += s->one_minus_beta1 * (d - m[i]);
    v[i] = s->beta2 * v[i] + s->one_minus_beta2 * d * d;
    p[i] = s->decay * p[i] - s->step * m[i] / (sqrtf(v[i]) * s->root + s->epsilon);
  }
}
void K(sgd_f32)(float *p, float *momentum, const float *g, const struct sgd_step *s, int64_t n) {
  EACH {
    float d = s->scale * g[i] + s->decay * p[i];
    if (momentum) d = momentum[i] = s->momentum * momentum[i] + d;
    p[i] -= s->rate * d;
  }
}

static uint32_t bits_of(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}
static float float_of(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

void K(f16_to_f32)(float *out, const uint16_t *in, int64_t n) {
  EACH {
    int exponent = in[i] >> 10 & 31, fraction = in[i] & 1023;
    float x = exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(fraction + 1024), exponent - 25);
    if (exponent == 31) x = fraction ? float_of(0x7fc00000u | (uint32_t)fraction << 13) : INFINITY;
    out[i] = copysignf(x, in[i] & 0x8000 ? -1.0f : 1.0f);
  }
}
void K(f32_to_f16)(uint16_t *out, const float *in, int64_t n) {
  EACH {
    float x = fabsf(in[i]);
    uint32_t sign = bits_of(in[i]) >> 16 & 0x8000, h;
    if (isnan(x)) h = 0x7e00 | (bits_of(x) >> 13 & 1023);
    else if (x >= 65520) h = 0x7c00;
    else if (x < 0x1p-14f) h = (uint32_t)nearbyintf(x * 0x1p24f); /* 1024 of these is the smallest normal, and its bits */
    else {
      int exponent;
      float fraction = frexpf(x, &exponent); /* in [1/2, 1) */
      h = ((uint32_t)(exponent + 14) << 10) + (uint32_t)nearbyintf(fraction * 2048) - 1024;
    }
    out[i] = (uint16_t)(sign | h);
  }
}
void K(bf16_to_f32)(float *out, const uint16_t *in, int64_t n) { EACH out[i] = float_of((uint32_t)in[i] << 16); }
void K(f32_to_bf16)(uint16_t *out, const float *in, int64_t n) {
  EACH {
    uint32_t u = bits_of(in[i]);
    out[i] = (uint16_t)(isnan(in[i]) ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
}
