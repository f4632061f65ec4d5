#include "vector.h"

/* As UNARY (vector.h), with y of b. */
#define BINARY(kernel, expression)                                                                                                               \
  void K(kernel)(float *out, const float *a, const float *b, int64_t n) {                                                                        \
    int64_t i = 0;                                                                                                                               \
    for (; i + LANES <= n; i += LANES) {                                                                                                         \
      vf x = load(a + i), y = load(b + i);                                                                                                       \
      store(out + i, expression);                                                                                                                \
    }                                                                                                                                            \
    if (i < n) {                                                                                                                                 \
      vf x = load_part(a + i, n - i, 0), y = load_part(b + i, n - i, 0);                                                                         \
      store_part(out + i, expression, n - i);                                                                                                    \
    }                                                                                                                                            \
  }

BINARY(add_f32, x + y)
BINARY(sub_f32, x - y)
BINARY(mul_f32, x *y)
BINARY(swiglu_f32, x *sigmoid_of(x) * y)
UNARY(sigmoid_f32, sigmoid_of(x))
UNARY(silu_f32, x *sigmoid_of(x))

void K(scale_f32)(float *out, const float *a, float factor, int64_t n) {
  vf f = splat(factor);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, f * load(a + i));
  for (; i < n; i++) out[i] = factor * a[i];
}

void K(softcap_f32)(float *out, const float *a, float scale, float cap, int64_t n) {
  vf f = splat(scale / cap), c = splat(cap);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, c * tanh_of(f * load(a + i)));
  if (i < n) store_part(out + i, c * tanh_of(f * load_part(a + i, n - i, 0)), n - i);
}

void K(axpy_f32)(float *y, float factor, const float *x, int64_t n) {
  vf f = splat(factor);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(y + i, fma_of(f, load(x + i), load(y + i)));
  if (i < n) store_part(y + i, fma_of(f, load_part(x + i, n - i, 0), load_part(y + i, n - i, 0)), n - i);
}

/* silu'(x) = s (1 + x (1 - s)) with s = sigmoid(x) */
INLINE vf silu_slope(vf x, vf s) { return s * fma_of(x, splat(1.0f) - s, splat(1.0f)); }

BINARY(silu_backward_f32, x *silu_slope(y, sigmoid_of(y)))

void K(swiglu_backward_f32)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) {
    bool whole = i + LANES <= n;
    vf x = whole ? load(gate + i) : load_part(gate + i, n - i, 0), d = whole ? load(dy + i) : load_part(dy + i, n - i, 0);
    vf u = whole ? load(up + i) : load_part(up + i, n - i, 0), s = sigmoid_of(x);
    vf to_gate = d * u * silu_slope(x, s), to_up = d * x * s;
    if (whole) {
      store(dgate + i, to_gate);
      store(dup + i, to_up);
    } else {
      store_part(dgate + i, to_gate, n - i);
      store_part(dup + i, to_up, n - i);
    }
  }
}

/* Pairs (i, i + half) turn by the angle whose cosine and sine are given; backward passes negated sines. */
void K(rope_f32)(float *out, const float *x, const float *cosine, const float *sine, int64_t half) {
  int64_t i = 0;
  for (; i + LANES <= half; i += LANES) {
    vf a = load(x + i), b = load(x + half + i), c = load(cosine + i), s = load(sine + i);
    store(out + i, a * c - b * s);
    store(out + half + i, b * c + a * s);
  }
  for (; i < half; i++) {
    float a = x[i], b = x[half + i];
    out[i] = a * cosine[i] - b * sine[i];
    out[half + i] = b * cosine[i] + a * sine[i];
  }
}
