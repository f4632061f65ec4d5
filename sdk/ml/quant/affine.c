/* MLX's affine mode: groups of a row with a scale and a bias each, codes as a stream of bits, LSB first. */
#include "internal.h"

#include <etk/parallel.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

static etk_status check(etk_error *e, const etk_affine *a, int64_t rows, int64_t columns) {
  int64_t product;
  if (a->bits < 2 || a->bits > 8 || a->bits == 7) return etk_fail(e, ETK_E_INVALID, "%d bits: affine codes have 2, 3, 4, 5, 6 or 8", a->bits);
  if (a->group != 32 && a->group != 64 && a->group != 128) return etk_fail(e, ETK_E_INVALID, "groups of %d: 32, 64 or 128 are wanted", a->group);
  if (a->dtype != ETK_F16 && a->dtype != ETK_BF16 && a->dtype != ETK_F32)
    return etk_fail(e, ETK_E_INVALID, "scales of %s: F16, BF16 or F32 are wanted", etk_dtype_name(a->dtype));
  if (rows < 0 || columns < 0 || columns % a->group)
    return etk_fail(e, ETK_E_SHAPE, "%" PRId64 " rows of %" PRId64 " columns do not split into groups of %d", rows, columns, a->group);
  if (__builtin_mul_overflow(rows, columns, &product) || product > INT64_MAX / 8)
    return etk_fail(e, ETK_E_INVALID, "%" PRId64 " rows of %" PRId64 " columns are more than can be counted", rows, columns);
  return ETK_OK;
}

int64_t etk_affine_words(const etk_affine *a, int64_t columns) { return columns / 32 * a->bits; }

static float load(const void *values, etk_dtype dtype, int64_t at) {
  const unsigned char *p = (const unsigned char *)values + (size_t)at * etk_dtype_size(dtype);
  if (dtype == ETK_F16) return quant_half(p);
  if (dtype == ETK_BF16) return quant_from_bits((uint32_t)quant_load16(p) << 16);
  float x;
  memcpy(&x, p, sizeof x);
  return x;
}
/* Stores x rounded and returns it as it will be read. */
static float store(void *values, etk_dtype dtype, int64_t at, float x) {
  unsigned char *p = (unsigned char *)values + (size_t)at * etk_dtype_size(dtype);
  if (dtype == ETK_F16) quant_put_half(p, x);
  else if (dtype == ETK_BF16) {
    uint32_t bits = quant_bits(x), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    p[0] = (unsigned char)rounded;
    p[1] = (unsigned char)(rounded >> 8);
  } else memcpy(p, &x, sizeof x);
  return load(values, dtype, at);
}

/* 32 codes from `bits` words, which hold them without a rest. */
static void unpack(uint8_t *codes, const unsigned char *words, int bits) {
  uint64_t buffer = 0;
  int held = 0;
  for (int i = 0; i < 32; i++) {
    for (; held < bits; held += 8) buffer |= (uint64_t)*words++ << held;
    codes[i] = (uint8_t)(buffer & ((1u << bits) - 1));
    buffer >>= bits;
    held -= bits;
  }
}
static void pack(unsigned char *words, const uint8_t *codes, int bits) {
  uint64_t buffer = 0;
  int held = 0;
  for (int i = 0; i < 32; i++) {
    buffer |= (uint64_t)codes[i] << held;
    for (held += bits; held >= 8; held -= 8) {
      *words++ = (unsigned char)buffer;
      buffer >>= 8;
    }
  }
}

struct work {
  const etk_affine *a;
  float *out;
  const float *in;
  unsigned char *words;
  void *scales, *biases;
  int64_t columns;
  _Atomic int64_t bad; /* the lowest group that could not be encoded, or INT64_MAX */
};

static void decode_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *w = user;
  const etk_affine *a = w->a;
  (void)slot;
  for (int64_t g = begin; g < end; g++) {
    float scale = load(w->scales, a->dtype, g), bias = load(w->biases, a->dtype, g);
    for (int64_t i = g * a->group; i < (g + 1) * a->group; i += 32) {
      uint8_t codes[32];
      unpack(codes, w->words + i / 8 * a->bits, a->bits);
      for (int j = 0; j < 32; j++) w->out[i + j] = scale * (float)codes[j] + bias;
    }
  }
}

etk_status etk_affine_decode(etk_error *e, float *out, const etk_affine *a, const uint32_t *words, const void *scales, const void *biases,
                             int64_t rows, int64_t columns) {
  etk_status s = check(e, a, rows, columns);
  if (s != ETK_OK) return s;
  struct work w = {
      .a = a, .out = out, .words = (unsigned char *)(uintptr_t)words, .scales = (void *)(uintptr_t)scales, .biases = (void *)(uintptr_t)biases};
  etk_parallel_for(rows * columns / a->group, 1 + (1 << 15) / a->group, decode_range, &w);
  return ETK_OK;
}

/* The end of the range that is further from zero is met exactly by the bias, and zero falls on a code (MLX's rule). False: not finite, or no scale. */
static bool encode_group(struct work *w, int64_t g) {
  const etk_affine *a = w->a;
  const float *x = w->in + g * a->group;
  float low = x[0], high = x[0], top = (float)((1 << a->bits) - 1);
  for (int i = 0; i < a->group; i++) {
    if (!isfinite(x[i])) return false;
    low = fminf(low, x[i]);
    high = fmaxf(high, x[i]);
  }
  bool below = fabsf(low) > fabsf(high);
  float scale = fmaxf((high - low) / top, 1e-7f), edge = below ? low : high;
  if (!below) scale = -scale;
  float steps = rintf(edge / scale);
  if (steps != 0) scale = edge / steps;
  float bias = steps != 0 ? edge : 0;
  scale = store(w->scales, a->dtype, g, scale);
  bias = store(w->biases, a->dtype, g, bias);
  if (!isfinite(scale) || !isfinite(bias)) return false;
  for (int i = 0; i < a->group; i += 32) {
    uint8_t codes[32];
    for (int j = 0; j < 32; j++) codes[j] = scale != 0 ? (uint8_t)fminf(fmaxf(rintf((x[i + j] - bias) / scale), 0), top) : 0;
    pack(w->words + (g * a->group + i) / 8 * a->bits, codes, a->bits);
  }
  return true;
}

static void encode_range(void *user, int64_t begin, int64_t end, int slot) {
  struct work *w = user;
  (void)slot;
  for (int64_t g = begin; g < end; g++) {
    if (encode_group(w, g)) continue;
    int64_t seen = atomic_load(&w->bad);
    while (g < seen && !atomic_compare_exchange_weak(&w->bad, &seen, g)) continue;
    return;
  }
}

etk_status etk_affine_encode(etk_error *e, uint32_t *words, void *scales, void *biases, const etk_affine *a, const float *in, int64_t rows,
                             int64_t columns) {
  etk_status s = check(e, a, rows, columns);
  if (s != ETK_OK) return s;
  struct work w = {.a = a, .in = in, .words = (unsigned char *)words, .scales = scales, .biases = biases, .bad = INT64_MAX};
  etk_parallel_for(rows * columns / a->group, 1 + (1 << 13) / a->group, encode_range, &w);
  int64_t bad = atomic_load(&w.bad);
  if (bad == INT64_MAX) return ETK_OK;
  int64_t groups = columns / a->group;
  const float *x = in + bad * a->group;
  for (int i = 0; i < a->group; i++)
    if (!isfinite(x[i]))
      return etk_fail(e, ETK_E_INVALID, "row %" PRId64 ", column %" PRId64 " is %g; affine codes hold finite numbers only", bad / groups,
                      bad % groups * a->group + i, (double)x[i]);
  return etk_fail(e, ETK_E_INVALID, "row %" PRId64 " holds values too large for scales of %s; use BF16 or F32", bad / groups,
                  etk_dtype_name(a->dtype));
}
