/* Tiles of products of packed panels, their packing and thin products, for one instruction set. */
#include "product_gemm.h"

#include "ml/kernels/vector.h"

#if defined(ETK_ISA_avx512bf16) || defined(ETK_ISA_neonmm)
#define HAS_PAIRS 1
#endif
/* As in product_half.isa.c, whose packed rows and panels these are. */
#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
enum { ROWS = 12 };
#elif defined(ETK_ISA_avx2)
enum { ROWS = 6 };
#else
enum { ROWS = 4 };
#endif
enum { WIDTH = 2 * LANES };

#if defined(ETK_ISA_avx512bf16)
INLINE vf pairs_of_rows(vf a, vf b) { /* in each lane a's value low, b's high */
  __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a)), high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(b));
  return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
INLINE vf add_pairs(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
#elif defined(ETK_ISA_neonmm)
INLINE vf pairs_of_rows(vf a, vf b) {
  uint32x4_t low = vmovl_u16((uint16x4_t)vcvt_bf16_f32((float32x4_t)a)), high = vmovl_u16((uint16x4_t)vcvt_bf16_f32((float32x4_t)b));
  return (vf)vorrq_u32(low, vshlq_n_u32(high, 16));
}
INLINE vf add_pairs(vf a, vf b, vf c) { return (vf)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b); }
#else
INLINE vf pairs_of_rows(vf a, vf b) { return a + b; } /* never called: no table names a kernel that would */
INLINE vf add_pairs(vf a, vf b, vf c) { return a * b + c; }
#endif

/* ---- packing ---- */

INLINE vf lanes_of(const float *p, int64_t n) { return n >= LANES ? load(p) : n > 0 ? load_part(p, n, 0) : splat(0); }
INLINE void put_lanes(float *p, vf x, int64_t n) {
  if (n >= LANES) store(p, x);
  else store_part(p, x, n);
}
INLINE void pack_across(const struct gemm_pack *p, bool pairs) {
  const float *in = p->in;
  float *out = p->out;
  for (int64_t d = 0; d < p->depth; d += pairs ? 2 : 1, in += (pairs ? 2 : 1) * p->stride, out += p->places)
    for (int i = 0; i < p->places; i += LANES) {
      vf x = lanes_of(in + i, p->count - i);
      if (pairs) x = pairs_of_rows(x, d + 1 < p->depth ? lanes_of(in + p->stride + i, p->count - i) : splat(0));
      put_lanes(out + i, x, p->places - i);
    }
}
static void pack_across_f32(const struct gemm_pack *p) { pack_across(p, false); }

/* ---- tiles ---- */

INLINE void put(float *y, const float *base, vf sum, float alpha, float beta, int64_t n) {
  if (n <= 0) return;
  vf x = splat(alpha) * sum;
  if (beta != 0) x = fma_of(splat(beta), lanes_of(base, n), x);
  put_lanes(y, x, n);
}

/* rows, vectors and pairs are constants where this is inlined. */
INLINE void run_tile(const struct gemm_tile *t, int rows, int vectors, bool pairs) {
  vf s[ROWS][2];
  for (int r = 0; r < t->rows; r++)
    for (int v = 0; v < vectors; v++) {
      __builtin_prefetch(t->y + r * t->ldy + v * LANES, 1, 3);
      if (t->beta != 0 && t->base != t->y) __builtin_prefetch(t->base + r * t->ld_base + v * LANES, 0, 3);
    }
  _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = splat(0);
  const float *x = t->x, *w = t->panel;
  for (int64_t p = 0; p < t->depth; p++, x += ROWS, w += vectors * LANES) {
    vf a = load(w), b = vectors > 1 ? load(w + LANES) : a;
    _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
      int32_t unit; /* in each lane the same; a pair is no number */
      memcpy(&unit, x + r, sizeof unit);
      vf u = (vf)splat_int(unit);
      s[r][0] = pairs ? add_pairs(u, a, s[r][0]) : fma_of(u, a, s[r][0]);
      if (vectors > 1) s[r][1] = pairs ? add_pairs(u, b, s[r][1]) : fma_of(u, b, s[r][1]);
    }
  }
  _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
    if (r >= t->rows) break;
    put(t->y + r * t->ldy, t->base + r * t->ld_base, s[r][0], t->alpha, t->beta, t->columns);
    if (vectors > 1) put(t->y + r * t->ldy + LANES, t->base + r * t->ld_base + LANES, s[r][1], t->alpha, t->beta, t->columns - LANES);
  }
}
/* Few variants: a last group of fewer rows is computed with up to three zero rows too many. */
INLINE void run_rows(const struct gemm_tile *t, int vectors, bool pairs) {
  if (ROWS > 8 && t->rows <= 8) {
    if (t->rows <= 4) run_tile(t, 4, vectors, pairs);
    else run_tile(t, 8, vectors, pairs);
  } else run_tile(t, ROWS, vectors, pairs);
}
static void tile_f32(const struct gemm_tile *t) { run_rows(t, 2, false); }
static void narrow_f32(const struct gemm_tile *t) { run_rows(t, 1, false); }
#if defined(HAS_PAIRS)
static void pack_across_pairs(const struct gemm_pack *p) { pack_across(p, true); }
static void tile_pairs(const struct gemm_tile *t) { run_rows(t, 2, true); }
static void narrow_pairs(const struct gemm_tile *t) { run_rows(t, 1, true); }
#endif

/* ---- thin products ---- */

#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
enum { THIN_VECTORS = 3 };
#else
enum { THIN_VECTORS = 1 };
#endif

/* rank and vectors are constants where this is inlined. */
INLINE void thin_strip(const struct gemm_thin *t, int64_t column, int rank, int vectors, int64_t last) {
  vf s[GEMM_THIN][THIN_VECTORS];
  _Pragma("GCC unroll 8") for (int r = 0; r < rank; r++)
    _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) s[r][v] = splat(0);
  const float *a = t->a, *b = t->b + column;
  for (int64_t d = 0; d < t->depth; d++, a += t->lda, b += t->ldb) {
    vf x[THIN_VECTORS];
    _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) {
      __builtin_prefetch(b + (vectors + v) * LANES);
      x[v] = v == vectors - 1 && last < LANES ? load_part(b + v * LANES, last, 0) : load(b + v * LANES);
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < rank; r++) {
      vf u = splat(a[r]);
      _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) s[r][v] = fma_of(u, x[v], s[r][v]);
    }
  }
  _Pragma("GCC unroll 8") for (int r = 0; r < rank; r++)
    _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) {
      float *c = t->c + r * t->ldc + column + v * LANES;
      int64_t n = v == vectors - 1 ? last : LANES;
      put_lanes(c, t->add ? s[r][v] + lanes_of(c, n) : s[r][v], n);
    }
}
INLINE void thin_rank(const struct gemm_thin *t, int rank) {
  int64_t column = 0;
  for (; column + THIN_VECTORS * LANES <= t->width; column += THIN_VECTORS * LANES) thin_strip(t, column, rank, THIN_VECTORS, LANES);
  for (; column < t->width; column += LANES) thin_strip(t, column, rank, 1, t->width - column < LANES ? t->width - column : LANES);
}
static void thin(const struct gemm_thin *t) {
  struct gemm_thin part = *t;
  for (int64_t r = 0; r < t->rank; r += part.rank) {
    part.rank = t->rank - r >= 8 ? 8 : t->rank - r >= 4 ? 4 : 1;
    part.a = t->a + r;
    part.c = t->c + r * t->ldc;
    if (part.rank == 8) thin_rank(&part, 8);
    else if (part.rank == 4) thin_rank(&part, 4);
    else thin_rank(&part, 1);
  }
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
extern const struct gemm_kernels K(gemm);
const struct gemm_kernels K(gemm) = {
    .name = TEXT(ETK_ISA),
    .rows = ROWS,
    .width = WIDTH,
    .lanes = LANES,
    .pack_across[0] = pack_across_f32,
    .tile[0] = tile_f32,
    .narrow[0] = narrow_f32,
    .thin = thin,
#if defined(HAS_PAIRS)
    .pack_across[1] = pack_across_pairs,
    .tile[1] = tile_pairs,
    .narrow[1] = narrow_pairs,
#endif
};
