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

/* The low and the high half of the 64-bit products of all lanes with a constant. */
#if defined(__x86_64__)
#if defined(ETK_ISA_avx512)
typedef __m512i whole_vector;
#define MULTIPLY_EVEN _mm512_mul_epu32
#elif defined(ETK_ISA_avx2)
typedef __m256i whole_vector;
#define MULTIPLY_EVEN _mm256_mul_epu32
#else
typedef __m128i whole_vector;
#define MULTIPLY_EVEN _mm_mul_epu32
#endif
typedef uint64_t pairs __attribute__((vector_size(4 * LANES))); /* two lanes in each */
INLINE void multiply(vu x, uint32_t factor, vu *low, vu *high) {
  vu f = factor + (vu){0};
  pairs even = (pairs)MULTIPLY_EVEN((whole_vector)x, (whole_vector)f), odd = (pairs)MULTIPLY_EVEN((whole_vector)((pairs)x >> 32), (whole_vector)f);
  *low = (vu)((even & 0xffffffff) | odd << 32);
  *high = (vu)(even >> 32 | (odd & ~UINT64_C(0xffffffff)));
}
#else
typedef uint64_t wide __attribute__((vector_size(8 * LANES)));
INLINE void multiply(vu x, uint32_t factor, vu *low, vu *high) {
  wide product = __builtin_convertvector(x, wide) * factor;
  *low = __builtin_convertvector(product, vu);
  *high = __builtin_convertvector(product >> 32, vu);
}
#endif

/* Philox 4x32-10 (Salmon et al. 2011) on LANES counters at once; word j of block counter + l is x[j][l]. */
INLINE void philox(vu x[4], const struct dropout_mask *mask, uint64_t counter) {
  uint32_t k0 = (uint32_t)mask->seed, k1 = (uint32_t)(mask->seed >> 32);
  uint32_t lane[LANES]; /* counter is a multiple of LANES, so the low half does not carry */
  for (int l = 0; l < LANES; l++) lane[l] = (uint32_t)l;
  memcpy(&x[0], lane, sizeof lane);
  x[0] += (uint32_t)counter;
  x[1] = (uint32_t)(counter >> 32) + (vu){0};
  x[2] = (uint32_t)mask->stream + (vu){0};
  x[3] = (uint32_t)(mask->stream >> 32) + (vu){0};
  for (int round = 0; round < 10; round++) {
    vu low_a, high_a, low_b, high_b;
    multiply(x[0], 0xD2511F53u, &low_a, &high_a);
    multiply(x[2], 0xCD9E8D57u, &low_b, &high_b);
    x[0] = high_b ^ x[1] ^ k0;
    x[1] = low_b;
    x[2] = high_a ^ x[3] ^ k1;
    x[3] = low_a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

/* Groups of 64 elements take 16 blocks; element e of a group is word e/16 of block e mod 16, so that vectors of any width are contiguous. */
void K(dropout_f32)(float *out, const float *x, const struct dropout_mask *mask, int64_t n) {
  vf scale = splat(mask->scale);
  vu threshold = (mask->threshold ^ 0x80000000u) + (vu){0}; /* compared as signed, which all instruction sets can */
  for (int64_t group = 0; group < n; group += 64)
    for (int64_t part = 0; part < 16; part += LANES) {
      vu words[4];
      philox(words, mask, (mask->first + (uint64_t)group) / 4 + (uint64_t)part);
      for (int j = 0; j < 4; j++) {
        int64_t at = group + 16 * j + part, left = n - at;
        if (left <= 0) break;
        vi kept = (vi)(words[j] ^ 0x80000000u) >= (vi)threshold;
        vf y = scale * (left >= LANES ? load(x + at) : load_part(x + at, left, 0));
        y = (vf)((vi)y & kept);
        if (left >= LANES) store(out + at, y);
        else store_part(out + at, y, left);
      }
    }
}
