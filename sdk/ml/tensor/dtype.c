/* Element types and conversion between the floating ones (IEEE 754 binary16, binary32, binary64; bfloat16 = the upper half of binary32). */
#include "internal.h"

#include "../kernels/kernels.h"
#include <etk/parallel.h>
#include <math.h>

static const struct {
  const char *name;
  unsigned char size;
} dtypes[ETK_DTYPE_COUNT] = {
    [ETK_F32] = {"F32", 4}, [ETK_F16] = {"F16", 2}, [ETK_BF16] = {"BF16", 2}, [ETK_F64] = {"F64", 8}, [ETK_I8] = {"I8", 1},
    [ETK_U8] = {"U8", 1},   [ETK_I16] = {"I16", 2}, [ETK_U16] = {"U16", 2},   [ETK_I32] = {"I32", 4}, [ETK_U32] = {"U32", 4},
    [ETK_I64] = {"I64", 8}, [ETK_U64] = {"U64", 8}, [ETK_BOOL] = {"BOOL", 1},
};

size_t etk_dtype_size(etk_dtype dtype) { return (unsigned)dtype < ETK_DTYPE_COUNT ? dtypes[dtype].size : 0; }
const char *etk_dtype_name(etk_dtype dtype) {
  if (etk_type_is_block((etk_type)dtype) || etk_type_is_float8((etk_type)dtype)) return etk_type_name((etk_type)dtype);
  return (unsigned)dtype < ETK_DTYPE_COUNT ? dtypes[dtype].name : dtype == ETK_AFFINE ? "AFFINE" : dtype == ETK_NF4 ? "NF4" : "?";
}

bool etk_dtype_parse(etk_dtype *out, const char *name) {
  for (int i = 0; i < ETK_DTYPE_COUNT; i++)
    if (!strcmp(name, dtypes[i].name)) {
      *out = (etk_dtype)i;
      return true;
    }
  return false;
}

/* Rounds x to a 16-bit format with `mantissa` stored bits and exponents from `lowest` (of the smallest normal) to `highest`, nearest even,
 * straight from the double, so that no value is rounded twice. */
static uint16_t narrow(double x, int mantissa, int lowest, int highest) {
  uint16_t sign = signbit(x) ? 0x8000 : 0, infinity = (uint16_t)((highest - lowest + 2) << mantissa);
  if (isnan(x)) return (uint16_t)(sign | infinity | 1 << (mantissa - 1));
  int exponent;
  double fraction = frexp(fabs(x), &exponent); /* [1/2, 1) * 2^exponent */
  if (isinf(x)) return sign | infinity;
  if (fraction == 0) return sign;
  exponent--;
  int unit = (exponent < lowest ? lowest : exponent) - mantissa; /* exponent of the last place */
  double scaled = nearbyint(ldexp(fraction, exponent + 1 - unit));
  uint32_t bits = (uint32_t)scaled; /* the hidden bit carries into the exponent field by itself */
  if (exponent >= lowest) bits += (uint32_t)(exponent - lowest) << mantissa;
  return (uint16_t)(sign | (bits >= infinity ? infinity : bits));
}

static double widen(uint16_t bits, int mantissa, int lowest, int highest) {
  int exponent = (bits & 0x7fff) >> mantissa, fraction = bits & ((1 << mantissa) - 1);
  double value = exponent > highest - lowest + 1 ? (fraction ? (double)NAN : (double)INFINITY)
                 : exponent                      ? ldexp(fraction + (1 << mantissa), exponent - 1 + lowest - mantissa)
                                                 : ldexp(fraction, lowest - mantissa);
  return bits & 0x8000 ? -value : value;
}

static void load_f16(double *out, const void *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = widen(((const uint16_t *)in)[i], 10, -14, 15);
}
static void load_bf16(double *out, const void *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = widen(((const uint16_t *)in)[i], 7, -126, 127);
}
static void load_f32(double *out, const void *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = (double)((const float *)in)[i];
}
static void store_f16(void *out, const double *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) ((uint16_t *)out)[i] = narrow(in[i], 10, -14, 15);
}
static void store_bf16(void *out, const double *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) ((uint16_t *)out)[i] = narrow(in[i], 7, -126, 127);
}
static void store_f32(void *out, const double *in, int64_t n) {
  for (int64_t i = 0; i < n; i++) ((float *)out)[i] = (float)in[i];
}
static void copy_f64(void *out, const void *in, int64_t n) { memcpy(out, in, (size_t)n * sizeof(double)); }
static void load_f64(double *out, const void *in, int64_t n) { copy_f64(out, in, n); }
static void store_f64(void *out, const double *in, int64_t n) { copy_f64(out, in, n); }

static void (*const loads[])(double *, const void *, int64_t) = {[ETK_F32] = load_f32, [ETK_F16] = load_f16, [ETK_BF16] = load_bf16, [ETK_F64] = load_f64};
static void (*const stores[])(void *, const double *, int64_t) = {[ETK_F32] = store_f32, [ETK_F16] = store_f16, [ETK_BF16] = store_bf16, [ETK_F64] = store_f64};

static void f16_f32(void *out, const void *in, int64_t n) { etk__kernels()->f16_to_f32(out, in, n); }
static void bf16_f32(void *out, const void *in, int64_t n) { etk__kernels()->bf16_to_f32(out, in, n); }
static void f32_f16(void *out, const void *in, int64_t n) { etk__kernels()->f32_to_f16(out, in, n); }
static void f32_bf16(void *out, const void *in, int64_t n) { etk__kernels()->f32_to_bf16(out, in, n); }
static void (*const direct[4][4])(void *, const void *, int64_t) = {
    [ETK_F16][ETK_F32] = f16_f32, [ETK_BF16][ETK_F32] = bf16_f32, [ETK_F32][ETK_F16] = f32_f16, [ETK_F32][ETK_BF16] = f32_bf16};

struct conversion {
  unsigned char *out;
  const unsigned char *in;
  etk_dtype to, from;
};

enum { PIECE = 256 }; /* elements */

static void convert_some(const struct conversion *c, unsigned char *out, const unsigned char *in, int64_t count) {
  if (direct[c->from][c->to]) {
    direct[c->from][c->to](out, in, count);
    return;
  }
  double chunk[PIECE];
  for (int64_t i = 0; i < count; i += PIECE) {
    int64_t n = count - i < PIECE ? count - i : PIECE;
    loads[c->from](chunk, in + (size_t)i * etk_dtype_size(c->from), n);
    stores[c->to](out + (size_t)i * etk_dtype_size(c->to), chunk, n);
  }
}

static void convert_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct conversion *c = user;
  (void)slot;
  size_t to = etk_dtype_size(c->to), from = etk_dtype_size(c->from);
  if ((uintptr_t)c->in % from == 0) {
    convert_some(c, c->out + (size_t)begin * to, c->in + (size_t)begin * from, end - begin);
    return;
  }
  uint64_t aligned[PIECE]; /* ONNX and pickles put values at any address */
  for (int64_t i = begin; i < end; i += PIECE) {
    int64_t n = end - i < PIECE ? end - i : PIECE;
    memcpy(aligned, c->in + (size_t)i * from, (size_t)n * from);
    convert_some(c, c->out + (size_t)i * to, (const unsigned char *)aligned, n);
  }
}

etk_status etk_dtype_convert(etk_error *e, void *out, etk_dtype to, const void *in, etk_dtype from, size_t count) {
  if (to == from && (unsigned)to < ETK_DTYPE_COUNT) {
    if (count) memcpy(out, in, count * etk_dtype_size(to));
    return ETK_OK;
  }
  if ((unsigned)to > ETK_F64 || (unsigned)from > ETK_F64)
    return etk_fail(e, ETK_E_UNSUPPORTED, "cannot convert %s to %s: only F32, F16, BF16 and F64 convert", etk_dtype_name(from), etk_dtype_name(to));
  struct conversion c = {out, in, to, from};
  etk_parallel_for((int64_t)count, 1 << 16, convert_range, &c);
  return ETK_OK;
}
