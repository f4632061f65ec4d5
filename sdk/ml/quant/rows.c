/* Rows of blocks to float and back, in parallel; which decoders run. */
#include "internal.h"

#include <etk/hardware.h>
#include <etk/parallel.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

const int8_t etk__iq4_nl_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* ---- decoders and searches by instruction set; later rungs are better ---- */

extern const etk__decoders etk__decoders_base, etk__decoders_avx2, etk__decoders_avx512, etk__decoders_neon;
extern const etk__fitters etk__fitters_base, etk__fitters_avx2, etk__fitters_avx512, etk__fitters_neon;
static const struct rung {
  etk_isa isa;
  const etk__decoders *decoders;
  const etk__fitters *fitters;
} ladder[] = {
#if !defined(__aarch64__) /* whose base has NEON */
    {ETK_ISA_BASE, &etk__decoders_base, &etk__fitters_base},
#endif
#if defined(__x86_64__)
    {ETK_ISA_AVX2, &etk__decoders_avx2, &etk__fitters_avx2},
    {ETK_ISA_AVX512, &etk__decoders_avx512, &etk__fitters_avx512},
#elif defined(__aarch64__)
    {ETK_ISA_NEON, &etk__decoders_neon, &etk__fitters_neon},
#endif
};
enum { RUNGS = sizeof ladder / sizeof *ladder };

/* Of each type and search the highest rung that has its own. */
static etk__decoders decoders;
static etk__fitters fitters;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void choose(void) {
  for (const struct rung *r = ladder; r < ladder + RUNGS && (r == ladder || r->isa <= etk_isa_active()); r++) {
    decoders.name = r->decoders->name;
    for (int t = 0; t < ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK; t++)
      if (r->decoders->of[t]) decoders.of[t] = r->decoders->of[t];
    if (r->fitters->fit_signed) fitters.fit_signed = r->fitters->fit_signed;
    if (r->fitters->fit_affine) fitters.fit_affine = r->fitters->fit_affine;
    if (r->fitters->fit_levels) fitters.fit_levels = r->fitters->fit_levels;
  }
}
static const struct rung *rung_at(int index) { return index >= 0 && index < RUNGS && ladder[index].isa <= etk_isa_best() ? &ladder[index] : NULL; }
const etk__decoders *etk__quant_decoders(void) {
  pthread_once(&once, choose);
  return &decoders;
}
const etk__fitters *etk__quant_fitters(void) {
  pthread_once(&once, choose);
  return &fitters;
}
const etk__decoders *etk__quant_decoders_at(int index) {
  const struct rung *r = rung_at(index);
  return r ? r->decoders : NULL;
}
const etk__fitters *etk__quant_fitters_at(int index) {
  const struct rung *r = rung_at(index);
  return r ? r->fitters : NULL;
}

/* ---- decode ---- */

struct decode {
  etk__decode_blocks blocks;
  float *out;
  const unsigned char *in;
  int64_t elements, bytes; /* of a block */
};
static void decode_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct decode *d = user;
  (void)slot;
  d->blocks(d->out + begin * d->elements, d->in + begin * d->bytes, end - begin);
}

etk_status etk_quant_decode(etk_error *e, float *out, etk_type type, const void *in, int64_t rows, int64_t columns) {
  size_t bytes;
  etk_status s = etk_type_bytes(e, &bytes, type, rows, columns);
  if (s != ETK_OK) return s;
  if (etk_type_is_float8(type)) return etk__float8_decode(out, type, in, rows * columns), ETK_OK;
  if (!etk_type_is_block(type)) return etk_dtype_convert(e, out, ETK_F32, in, (etk_dtype)type, (size_t)(rows * columns));
  struct decode d = {etk__quant_decoders()->of[type - ETK_TYPE_FIRST_BLOCK], out, in, etk_type_block_elements(type), etk_type_block_bytes(type)};
  etk_parallel_for(rows * (columns / d.elements), (1 << 15) / d.elements, decode_range, &d);
  return ETK_OK;
}

/* ---- encode ---- */

struct encode {
  etk__encode_row row;
  unsigned char *out;
  const float *in, *importance;
  int64_t columns, row_bytes;
  _Atomic int64_t bad; /* the lowest row that could not be encoded, or INT64_MAX */
};
/* Finite, and no larger than any type can hold (Q6_K: 65504 * 127 * 32), so that the sums of the searches cannot overflow. */
static bool plausible_row(const float *in, int64_t n) {
  uint32_t worst = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t magnitude = quant_bits(in[i]) & 0x7fffffff;
    worst = magnitude > worst ? magnitude : worst;
  }
  return worst <= quant_bits(3e8f);
}
static void encode_range(void *user, int64_t begin, int64_t end, int slot) {
  struct encode *c = user;
  (void)slot;
  for (int64_t r = begin; r < end; r++) {
    const float *in = c->in + r * c->columns;
    if (plausible_row(in, c->columns) && c->row(c->out + r * c->row_bytes, in, c->columns, c->importance)) continue;
    int64_t seen = atomic_load(&c->bad);
    while (r < seen && !atomic_compare_exchange_weak(&c->bad, &seen, r)) continue;
    return;
  }
}

static etk_status say_bad(etk_error *e, etk_type type, const float *in, int64_t row, int64_t columns) {
  float largest = 0;
  for (int64_t i = 0; i < columns; i++) {
    if (!isfinite(in[i]))
      return etk_fail(e, ETK_E_INVALID, "row %" PRId64 ", column %" PRId64 " is %g; %s holds finite numbers only", row, i, (double)in[i],
                      etk_type_name(type));
    largest = fmaxf(largest, fabsf(in[i]));
  }
  return etk_fail(e, ETK_E_INVALID, "row %" PRId64 " holds values up to %g, for which %s has no scale (scales end at 65504); store it as BF16 or F32",
                  row, (double)largest, etk_type_name(type));
}

static etk_status check_importance(etk_error *e, const float *importance, int64_t columns) {
  for (int64_t i = 0; importance && i < columns; i++)
    if (!(importance[i] >= 0 && importance[i] <= 1e15f))
      return etk_fail(e, ETK_E_INVALID, "the importance of column %" PRId64 " is %g; 0 to 1e15 is wanted", i, (double)importance[i]);
  return ETK_OK;
}

etk_status etk_quant_encode(etk_error *e, void *out, etk_type type, const float *in, int64_t rows, int64_t columns, const float *importance) {
  size_t bytes;
  etk_status s = etk_type_bytes(e, &bytes, type, rows, columns);
  if (s == ETK_OK) s = check_importance(e, importance, columns);
  if (s != ETK_OK) return s;
  if (!etk_type_is_block(type)) return etk_dtype_convert(e, out, (etk_dtype)type, in, ETK_F32, (size_t)(rows * columns));
  if (!bytes) return ETK_OK;
  struct encode c = {etk__encoders[type - ETK_TYPE_FIRST_BLOCK], out, in, importance, columns, (int64_t)bytes / rows, INT64_MAX};
  etk_parallel_for(rows, 1 + 4096 / columns, encode_range, &c);
  int64_t bad = atomic_load(&c.bad);
  return bad == INT64_MAX ? ETK_OK : say_bad(e, type, in + bad * columns, bad, columns);
}
