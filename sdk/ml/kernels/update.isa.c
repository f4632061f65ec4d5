/* Optimizer steps and dropout. */
#include "vector.h"

void K(adamw_f32)(float *p, float *m, float *v, const float *g, const struct adamw_step *s, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) {
    bool whole = i + LANES <= n;
    int64_t rest = n - i;
    vf x = whole ? load(p + i) : load_part(p + i, rest, 0), a = whole ? load(m + i) : load_part(m + i, rest, 0);
    vf b = whole ? load(v + i) : load_part(v + i, rest, 0), d = splat(s->scale) * (whole ? load(g + i) : load_part(g + i, rest, 0));
    a = fma_of(splat(s->one_minus_beta1), d - a, a);
    b = fma_of(splat(s->one_minus_beta2) * d, d, splat(s->beta2) * b);
    x = splat(s->decay) * x - splat(s->step) * a / fma_of(root_of(b), splat(s->root), splat(s->epsilon));
    if (whole) {
      store(p + i, x);
      store(m + i, a);
      store(v + i, b);
    } else {
      store_part(p + i, x, rest);
      store_part(m + i, a, rest);
      store_part(v + i, b, rest);
    }
  }
}

void K(sgd_f32)(float *p, float *momentum, const float *g, const struct sgd_step *s, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float d = s->scale * g[i] + s->decay * p[i];
    if (momentum) d = momentum[i] = s->momentum * momentum[i] + d;
    p[i] -= s->rate * d;
  }
}

typedef uint64_t wide __attribute__((vector_size(8 * LANES)));

/* Philox 4x32-10 (Salmon et al. 2011) on LANES counters at once; word j of block l is x[j][l]. */
INLINE void philox(vu x[4], const struct dropout_mask *mask, uint64_t counter) {
  uint32_t k0 = (uint32_t)mask->seed, k1 = (uint32_t)(mask->seed >> 32);
  uint32_t low[LANES], high[LANES];
  for (int l = 0; l < LANES; l++) {
    low[l] = (uint32_t)(counter + (uint64_t)l);
    high[l] = (uint32_t)((counter + (uint64_t)l) >> 32);
  }
  memcpy(&x[0], low, sizeof low);
  memcpy(&x[1], high, sizeof high);
  x[2] = (uint32_t)mask->stream + (vu){0};
  x[3] = (uint32_t)(mask->stream >> 32) + (vu){0};
  for (int round = 0; round < 10; round++) {
    wide a = __builtin_convertvector(x[0], wide) * 0xD2511F53u, b = __builtin_convertvector(x[2], wide) * 0xCD9E8D57u;
    vu low_a = __builtin_convertvector(a, vu), high_a = __builtin_convertvector(a >> 32, vu);
    vu low_b = __builtin_convertvector(b, vu), high_b = __builtin_convertvector(b >> 32, vu);
    x[0] = high_b ^ x[1] ^ k0;
    x[1] = low_b;
    x[2] = high_a ^ x[3] ^ k1;
    x[3] = low_a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

void K(dropout_f32)(float *out, const float *x, const struct dropout_mask *mask, int64_t n) {
  for (int64_t i = 0; i < n; i += 4 * LANES) {
    vu words[4];
    uint32_t bits[4 * LANES];
    philox(words, mask, (mask->first + (uint64_t)i) / 4);
    for (int l = 0; l < LANES; l++)
      for (int j = 0; j < 4; j++) bits[4 * l + j] = words[j][l];
    int64_t stop = n - i < 4 * LANES ? n - i : 4 * LANES;
    for (int64_t j = 0; j < stop; j++) out[i + j] = bits[j] >= mask->threshold ? mask->scale * x[i + j] : 0;
  }
}
