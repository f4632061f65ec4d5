#include "vector.h"

double K(sum_f32)(const float *a, int64_t n) {
  double total = 0;
  int64_t i = 0;
  /* Short runs in float, their sums in double: the error stays near one rounding however long the array. */
  for (; i + 4 * LANES <= n;) {
    vf s[4] = {{0}};
    int64_t stop = n - i > 64 * LANES ? i + 64 * LANES : n;
    for (; i + 4 * LANES <= stop; i += 4 * LANES)
      for (int j = 0; j < 4; j++) s[j] += load(a + i + j * LANES);
    total += (double)sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
  }
  for (; i < n; i++) total += (double)a[i];
  return total;
}

typedef float half_vf __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

double K(sum_squares_f32)(const float *a, int64_t n) {
  vd s[4] = {{0}};
  double total = 0;
  int64_t i = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES)
    for (int j = 0; j < 4; j++) {
      vd x = __builtin_convertvector(*(const half_vf *)(a + i + j * LANES / 2), vd);
      s[j] += x * x;
    }
  for (; i < n; i++) total += (double)a[i] * (double)a[i];
  vd all = (s[0] + s[1]) + (s[2] + s[3]);
  for (int j = 0; j < LANES / 2; j++) total += all[j];
  return total;
}

INLINE vd widen(const float *p) { return __builtin_convertvector(*(const half_vf *)p, vd); }
double K(mean_under_f32)(const float *p, const float *a, int64_t n) {
  vd s[2] = {{0}}, t[2] = {{0}};
  double sum = 0, total = 0;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < 2; j++) {
      vd x = widen(p + i + j * LANES / 2);
      s[j] += x * widen(a + i + j * LANES / 2);
      t[j] += x;
    }
  for (; i < n; i++) {
    sum += (double)p[i] * (double)a[i];
    total += (double)p[i];
  }
  for (int j = 0; j < LANES / 2; j++) {
    sum += s[0][j] + s[1][j];
    total += t[0][j] + t[1][j];
  }
  return sum / total;
}

float K(dot_f32)(const float *a, const float *b, int64_t n) {
  vf s[4] = {{0}};
  int64_t i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int j = 0; j < 4; j++) s[j] = fma_of(load(a + i + j * LANES), load(b + i + j * LANES), s[j]);
  for (; i + LANES <= n; i += LANES) s[0] = fma_of(load(a + i), load(b + i), s[0]);
  if (i < n) s[1] = fma_of(load_part(a + i, n - i, 0), load_part(b + i, n - i, 0), s[1]);
  return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

void K(matvec_f32)(float *y, const float *w, int64_t ldw, const float *x, int64_t rows, int64_t n) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) { /* four rows share each load of x and keep four sums in flight */
    const float *p = w + r * ldw;
    vf s[4] = {{0}}, t[4] = {{0}};
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
      vf u = load(x + i), v = load(x + i + LANES);
      for (int j = 0; j < 4; j++) s[j] = fma_of(load(p + j * ldw + i), u, s[j]);
      for (int j = 0; j < 4; j++) t[j] = fma_of(load(p + j * ldw + i + LANES), v, t[j]);
    }
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < 4; j++) s[j] = fma_of(load(p + j * ldw + i), load(x + i), s[j]);
    for (int j = 0; j < 4; j++) {
      if (i < n) t[j] = fma_of(load_part(p + j * ldw + i, n - i, 0), load_part(x + i, n - i, 0), t[j]);
      y[r + j] = sum_lanes(s[j] + t[j]);
    }
  }
  for (; r < rows; r++) y[r] = K(dot_f32)(w + r * ldw, x, n);
}

INLINE float maximum(const float *a, int64_t n) {
  vf m = splat(a[0]);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) m = max_of(m, load(a + i));
  if (i < n) m = max_of(m, load_part(a + i, n - i, a[0]));
  return max_lanes(m);
}

float K(max_f32)(const float *a, int64_t n) { return maximum(a, n); }

float K(exp_sum_f32)(float *out, const float *a, float top, int64_t n) {
  vf s = {0}, t = {0}, m = splat(top);
  int64_t i = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES) {
    vf x = exp_of(load(a + i) - m), y = exp_of(load(a + i + LANES) - m);
    s += x;
    t += y;
    store(out + i, x);
    store(out + i + LANES, y);
  }
  for (vf x; i < n; i += LANES) {
    x = exp_of((i + LANES <= n ? load(a + i) : load_part(a + i, n - i, -INFINITY)) - m);
    s += x;
    if (i + LANES <= n) store(out + i, x);
    else store_part(out + i, x, n - i);
  }
  return sum_lanes(s + t);
}

float K(log_sum_exp_f32)(const float *a, int64_t n) {
  float top = maximum(a, n);
  vf s = {0}, t = {0}, m = splat(top);
  int64_t i = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES) {
    s += exp_of(load(a + i) - m);
    t += exp_of(load(a + i + LANES) - m);
  }
  for (; i + LANES <= n; i += LANES) s += exp_of(load(a + i) - m);
  if (i < n) t += exp_of(load_part(a + i, n - i, -INFINITY) - m);
  return top + logf(sum_lanes(s + t));
}

void K(exp_affine_f32)(float *out, const float *a, float scale, float shift, float factor, int64_t n) {
  vf u = splat(scale), v = splat(shift), f = splat(factor);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, f * exp_of(fma_of(u, load(a + i), v)));
  if (i < n) store_part(out + i, f * exp_of(fma_of(u, load_part(a + i, n - i, 0), v)), n - i);
}

float K(softmax_f32)(float *out, const float *a, float scale, int64_t n) {
  vf u = splat(scale), m = u * splat(a[0]);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) m = max_of(m, u * load(a + i));
  if (i < n) m = max_of(m, u * load_part(a + i, n - i, a[0]));
  float top = max_lanes(m);
  vf s = {0}, v = splat(-top);
  for (i = 0; i + LANES <= n; i += LANES) {
    vf y = exp_of(fma_of(u, load(a + i), v));
    s += y;
    store(out + i, y);
  }
  if (i < n) {
    vf y = exp_of(fma_of(u, load_part(a + i, n - i, 0), v));
    for (int64_t j = n - i; j < LANES; j++) y[j] = 0;
    s += y;
    store_part(out + i, y, n - i);
  }
  float sum = sum_lanes(s);
  K(scale_f32)(out, out, 1.0f / sum, n);
  return top + logf(sum);
}

void K(softmax_backward_f32)(float *out, const float *p, const float *dp, float delta, float scale, int64_t n) {
  vf d = splat(delta), f = splat(scale);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, f * load(p + i) * (load(dp + i) - d));
  for (; i < n; i++) out[i] = scale * p[i] * (dp[i] - delta);
}

float K(rms_norm_f32)(float *y, const float *x, const float *weight, float epsilon, int64_t n) {
  float inverse = 1.0f / sqrtf(K(dot_f32)(x, x, n) / (float)n + epsilon);
  vf r = splat(inverse);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(y + i, load(weight + i) * (r * load(x + i)));
  for (; i < n; i++) y[i] = weight[i] * (inverse * x[i]);
  return inverse;
}

/* With h = x inverse: dx = inverse (w dy - h mean(w dy h)), dweight += dy h. */
void K(rms_norm_backward_f32)(float *dx, float *dweight, const float *base, const float *dy, const float *x, const float *weight, float inverse, int64_t n) {
  vf s = {0}, r = splat(inverse);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    vf g = load(dy + i), h = r * load(x + i);
    s = fma_of(g * load(weight + i), h, s);
    if (dweight) store(dweight + i, fma_of(g, h, load(dweight + i)));
  }
  float mean = sum_lanes(s);
  for (; i < n; i++) {
    float h = inverse * x[i];
    mean += dy[i] * weight[i] * h;
    if (dweight) dweight[i] += dy[i] * h;
  }
  mean /= (float)n;
  float k = mean * inverse;
  for (i = 0; i + LANES <= n; i += LANES) {
    vf d = r * (load(weight + i) * load(dy + i) - splat(k) * load(x + i));
    store(dx + i, base ? load(base + i) + d : d);
  }
  for (; i < n; i++) dx[i] = (base ? base[i] : 0) + inverse * (weight[i] * dy[i] - k * x[i]);
}
