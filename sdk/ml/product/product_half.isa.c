/* Products with weights of F32, F16 and BF16 for one instruction set: rows streamed in place, alone or in tiles, and tiles of packed panels. */
#include "product_half.h"

#include "ml/kernels/vector.h"

#if defined(ETK_ISA_avx512bf16) || defined(ETK_ISA_neonmm)
#define HAS_PAIRS 1
#endif

/* ROWS x WIDTH sums, a vector of each half of the panel and one of x fill the registers. */
#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
enum { ROWS = 12, TOGETHER = 4, TILE_X = 4, TILE_W = 6 };
#elif defined(ETK_ISA_avx2)
enum { ROWS = 6, TOGETHER = 2, TILE_X = 3, TILE_W = 3 };
#else
enum { ROWS = 4, TOGETHER = 2, TILE_X = 3, TILE_W = 3 };
#endif
enum {
  WIDTH = 2 * LANES,
  BESIDE = 2,    /* rows of w, with TOGETHER of x */
  SUMS = 2,      /* of a row of w with a row of x, for the latency of additions */
  NEAR_FLOATS = 8192, /* of x: 32 KiB, what the smallest first caches hold */
  TILE_DEPTH = 1024, /* units: TILE_W rows of w and TILE_X of x stay in the first cache */
  AHEAD = 8192,  /* bytes: nearer, reading from memory was slower, farther no faster */
  LINE = 64,
  STEPS = 16     /* of a tile's depth for which a line of each row to come is asked for: a line of floats or of pairs */
};

/* Bytes of a unit in memory, and its elements. */
#define BYTES(kind) ((kind) == HALF_PAIRS_F32 ? 8 : (kind) == HALF_F16 || (kind) == HALF_BF16 ? 2 : 4)
#define ELEMENTS(kind) ((kind) < HALF_TYPES ? 1 : 2)

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE v16 load16(const unsigned char *p) {
  v16 x;
  memcpy(&x, p, sizeof x);
  return x;
}
INLINE vf load_bytes(const unsigned char *p) {
  vf x;
  memcpy(&x, p, sizeof x);
  return x;
}

/* 2 LANES floats to LANES pairs, the first of a pair in the low half. */
#if defined(ETK_ISA_avx512bf16)
INLINE vf pairs_of(vf a, vf b) { return (vf)_mm512_cvtne2ps_pbh(b, a); }
INLINE vf add_pairs(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
#elif defined(ETK_ISA_neonmm)
INLINE vf pairs_of(vf a, vf b) { return (vf)vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)a), (float32x4_t)b); }
INLINE vf add_pairs(vf a, vf b, vf c) { return (vf)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b); }
#else
INLINE vf pairs_of(vf a, vf b) { return a + b; } /* never called: no table names a kernel that would */
INLINE vf add_pairs(vf a, vf b, vf c) { return a * b + c; }
#endif

/* LANES units. kind is a constant where this is inlined. */
INLINE vf units(int kind, const unsigned char *p) {
  switch (kind) {
    case HALF_F16: return from_half(load16(p));
    case HALF_BF16: return (vf)(__builtin_convertvector(load16(p), vu) << 16);
    case HALF_PAIRS_F32: return pairs_of(load_bytes(p), load_bytes(p + sizeof(vf)));
    case HALF_PAIRS_F16: return pairs_of(from_half(load16(p)), from_half(load16(p + sizeof(v16))));
    default: return load_bytes(p); /* F32, and pairs as they are */
  }
}

/* The last `elements` of a row, fewer than LANES units; zeros behind them. */
INLINE vf units_part(int kind, const unsigned char *p, int64_t elements) {
  unsigned char bytes[8 * LANES] = {0};
  memcpy(bytes, p, (size_t)elements * (size_t)(BYTES(kind) / ELEMENTS(kind)));
  return units(kind, bytes);
}

/* ---- few rows ---- */

/* m rows of x with n of w; both are constants where this is inlined. */
INLINE void few_of(const struct half_few *f, int kind, int m, int n, int64_t row, int64_t o) {
  const unsigned char *w = f->w + o * f->stride;
  const float *x = f->x + row * f->ldx;
  vf s[BESIDE][TOGETHER][SUMS];
  for (int r = 0; r < n; r++)
    for (int i = 0; i < m; i++)
      for (int j = 0; j < SUMS; j++) s[r][i][j] = splat(0);
  int64_t p = 0;
  for (; p + SUMS * LANES <= f->depth; p += SUMS * LANES)
    for (int j = 0; j < SUMS; j++) {
      vf v[BESIDE];
      for (int r = 0; r < n; r++) {
        const unsigned char *at = w + r * f->stride + (p + j * LANES) * BYTES(kind);
        if (j * LANES * BYTES(kind) % LINE == 0) __builtin_prefetch(at + AHEAD);
        v[r] = units(kind, at);
      }
      for (int i = 0; i < m; i++) {
        vf u = load(x + i * f->ldx + p + j * LANES);
        for (int r = 0; r < n; r++) s[r][i][j] = fma_of(v[r], u, s[r][i][j]);
      }
    }
  for (int64_t left; (left = f->depth - p) > 0; p += LANES)
    for (int r = 0; r < n; r++) {
      const unsigned char *at = w + r * f->stride + p * BYTES(kind);
      vf v = left < LANES ? units_part(kind, at, left) : units(kind, at);
      for (int i = 0; i < m; i++) {
        const float *u = x + i * f->ldx + p;
        s[r][i][0] = fma_of(v, left < LANES ? load_part(u, left, 0) : load(u), s[r][i][0]);
      }
    }
  for (int r = 0; r < n; r++)
    for (int i = 0; i < m; i++) {
      float sum = f->alpha * sum_lanes(s[r][i][0] + s[r][i][1]), *y = f->y + (row + i) * f->ldy + o + r;
      *y = f->beta != 0 ? sum + f->beta * *y : sum;
    }
}

/* n rows of w with all of x's. */
INLINE void few_rows(const struct half_few *f, int kind, int n, int64_t o) {
  int64_t i = 0;
  for (; i + TOGETHER <= f->rows; i += TOGETHER) few_of(f, kind, TOGETHER, n, i, o);
  int left = (int)(f->rows - i);
  if (left == 3) few_of(f, kind, TOGETHER == 4 ? 3 : 1, n, i, o);
  else if (left == 2) few_of(f, kind, 2, n, i, o);
  else if (left == 1) few_of(f, kind, 1, n, i, o);
}

/* One row after the other reads memory fastest; where x leaves the first cache, two side by side halve what is read of it. */
INLINE void few(const struct half_few *f, int kind) {
  int64_t o = 0;
  if (f->rows * f->depth > NEAR_FLOATS)
    for (; o + BESIDE <= f->count; o += BESIDE) few_rows(f, kind, BESIDE, o);
  for (; o < f->count; o++) few_rows(f, kind, 1, o);
}
static void few_f32(const struct half_few *f) { few(f, HALF_F32); }
static void few_f16(const struct half_few *f) { few(f, HALF_F16); }
static void few_bf16(const struct half_few *f) { few(f, HALF_BF16); }

/* ---- tens of rows: w is read in place too, but its rows with x's in tiles, whose sums' lanes are added up together ---- */

#if LANES == 16
#define EACH_LANE(F, s) F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s), F(8, s), F(9, s), F(10, s), F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)
#elif LANES == 8
#define EACH_LANE(F, s) F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s)
#else
#define EACH_LANE(F, s) F(0, s), F(1, s), F(2, s), F(3, s)
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, F, s) __builtin_shufflevector(a, b, EACH_LANE(F, s))
#else
#define SHUFFLE(a, b, F, s) __builtin_shuffle(a, b, (vi){EACH_LANE(F, s)})
#endif
/* Blocks of s lanes change places: a's second of each two with b's first. */
#define FIRST(lane, s) ((lane) & (s) ? LANES + (lane) - (s) : (lane))
#define SECOND(lane, s) ((lane) & (s) ? LANES + (lane) : (lane) + (s))

/* v's lane i becomes the sum of v[i]'s lanes. */
#define FOLD(v, s)                                                                    \
  _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i += 2 * (s)) {                 \
    vf a = v[i], b = v[(i + (s)) % LANES];                                            \
    v[i] = SHUFFLE(a, b, FIRST, s) + SHUFFLE(a, b, SECOND, s);                        \
  }
INLINE vf sums_of(vf *v) {
  FOLD(v, 1)
  FOLD(v, 2)
#if LANES >= 8
  FOLD(v, 4)
#endif
#if LANES >= 16
  FOLD(v, 8)
#endif
  return v[0];
}

/* m rows of x with n of w in [from, to) of the depth; m and n are constants where this is inlined. */
struct span {
  int64_t row, o, from, to; /* in units */
  float beta;
  const unsigned char *ahead; /* lines of `ahead_rows` rows of w that come next */
  int64_t ahead_rows;
};
INLINE void dots_of(const struct half_few *f, int kind, int m, int n, const struct span *at) {
  const unsigned char *w = f->w + at->o * f->stride, *ahead = at->ahead;
  const float *x = f->x + at->row * f->ldx;
  vf s[TILE_X * TILE_W + LANES];
  _Pragma("GCC unroll 48") for (int i = 0; i < TILE_X * TILE_W + LANES; i++) s[i] = splat(0);
  int64_t p = at->from, whole = smaller(at->to, f->depth / ELEMENTS(kind)); /* past a last half pair is another row */
  for (; p + LANES <= whole; p += LANES, ahead += LANES * BYTES(kind)) {
    for (int64_t r = 0; r < at->ahead_rows; r++) __builtin_prefetch(ahead + r * f->stride, 0, 3);
    vf u[TILE_X];
    _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) u[i] = load(x + i * f->ldx + p);
    _Pragma("GCC unroll 6") for (int r = 0; r < n; r++) {
      vf v = units(kind, w + r * f->stride + p * BYTES(kind));
      _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) s[i * n + r] = kind < HALF_TYPES ? fma_of(v, u[i], s[i * n + r]) : add_pairs(v, u[i], s[i * n + r]);
    }
  }
  if (p < at->to)
    _Pragma("GCC unroll 6") for (int r = 0; r < n; r++) {
      int64_t elements = smaller(f->depth, at->to * ELEMENTS(kind)) - p * ELEMENTS(kind);
      vf v = units_part(kind, w + r * f->stride + p * BYTES(kind), elements);
      _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) {
        vf u = at->to - p < LANES ? load_part(x + i * f->ldx + p, at->to - p, 0) : load(x + i * f->ldx + p);
        s[i * n + r] = kind < HALF_TYPES ? fma_of(v, u, s[i * n + r]) : add_pairs(v, u, s[i * n + r]);
      }
    }
  float sums[TILE_X * TILE_W + LANES];
  _Pragma("GCC unroll 6") for (int i = 0; i < m * n; i += LANES) store(sums + i, sums_of(s + i));
  for (int i = 0; i < m; i++)
    for (int r = 0; r < n; r++) {
      float *y = f->y + (at->row + i) * f->ldy + at->o + r, sum = f->alpha * sums[i * n + r];
      *y = at->beta != 0 ? sum + at->beta * *y : sum;
    }
}

/* n rows of w with all of x's. What comes next of w is asked for meanwhile, shared out over x's rows. */
INLINE void dots_rows(const struct half_few *f, int kind, int n, int64_t o) {
  int64_t units = (f->depth + ELEMENTS(kind) - 1) / ELEMENTS(kind), blocks = (units + TILE_DEPTH - 1) / TILE_DEPTH, block = ((units + blocks - 1) / blocks + LANES - 1) / LANES * LANES;
  for (int64_t from = 0; from < units; from += block) {
    bool last = from + block >= units;
    struct span at = {.o = o, .from = from, .to = smaller(from + block, units), .beta = from ? 1 : f->beta};
    const unsigned char *next = f->w + (last ? (o + n) * f->stride : o * f->stride + (from + block) * BYTES(kind));
    int64_t passes = (f->rows + TILE_X - 1) / TILE_X, asked = 0;
    for (int64_t pass = 0; pass < passes; pass++, at.row += TILE_X) {
      int64_t all = n * (pass + 1) / passes, left = f->rows - at.row;
      at.ahead = next + asked * f->stride;
      at.ahead_rows = all - asked;
      asked = all;
      if (left >= TILE_X) dots_of(f, kind, TILE_X, n, &at);
      else if (left == 3) dots_of(f, kind, 3, n, &at);
      else if (left == 2) dots_of(f, kind, 2, n, &at);
      else dots_of(f, kind, 1, n, &at);
    }
  }
}
INLINE void dots(const struct half_few *f, int kind) {
  int64_t o = 0;
  for (; o + TILE_W <= f->count; o += TILE_W) dots_rows(f, kind, TILE_W, o);
  for (; o + 2 <= f->count; o += 2) dots_rows(f, kind, 2, o);
  for (; o < f->count; o++) dots_rows(f, kind, 1, o);
}
static void dots_f32(const struct half_few *f) { dots(f, HALF_F32); }
#if defined(ETK_ISA_avx2) || defined(ETK_ISA_avx512)
static void dots_f16(const struct half_few *f) { dots(f, HALF_F16); }
#define DOTS_F16 dots_f16
#else
#define DOTS_F16 NULL /* where widening is long it is worth doing once, into a panel */
#endif
#if defined(ETK_ISA_avx512bf16)
static void dots_pairs_bf16(const struct half_few *f) { dots(f, HALF_PAIRS_BF16); }
#define DOTS_PAIRS dots_pairs_bf16
#else
#define DOTS_PAIRS NULL
#endif

/* ---- packing ---- */

#define EXCHANGE(v, s)                                          \
  _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) {    \
    if (i & (s)) continue;                                      \
    vf a = v[i], b = v[(i + (s)) % LANES];                      \
    v[i] = SHUFFLE(a, b, FIRST, s);                             \
    v[(i + (s)) % LANES] = SHUFFLE(a, b, SECOND, s);            \
  }
/* LANES x LANES, in log2(LANES) rounds of exchanges. */
INLINE void transpose(vf *v) {
  EXCHANGE(v, 1)
  EXCHANGE(v, 2)
#if LANES >= 8
  EXCHANGE(v, 4)
#endif
#if LANES >= 16
  EXCHANGE(v, 8)
#endif
}

/* Up to LANES rows into `places` places of each `step`. */
INLINE void pack_lanes(float *out, int step, int places, int kind, const unsigned char *in, int64_t stride, int64_t count, int64_t elements) {
  int64_t total = (elements + ELEMENTS(kind) - 1) / ELEMENTS(kind), whole = elements / ELEMENTS(kind);
  for (int64_t p = 0; p < total; p += LANES, in += LANES * BYTES(kind)) {
    vf v[LANES];
    if (count == LANES && p + LANES <= whole)
      for (int r = 0; r < LANES; r++) v[r] = units(kind, in + r * stride);
    else
      for (int r = 0; r < LANES; r++)
        v[r] = r >= count ? splat(0) : p + LANES <= whole ? units(kind, in + r * stride) : units_part(kind, in + r * stride, elements - p * ELEMENTS(kind));
    transpose(v);
    int64_t n = total - p < LANES ? total - p : LANES;
    float *to = out + p * step;
    if (n == LANES && places == LANES)
      for (int i = 0; i < LANES; i++) store(to + i * step, v[i]);
    else if (places == LANES)
      for (int64_t i = 0; i < n; i++) store(to + i * step, v[i]);
    else
      for (int64_t i = 0; i < n; i++) store_part(to + i * step, v[i], places);
  }
}

/* places is a constant where this is inlined. */
INLINE void pack(const struct half_pack *p, int kind, int places) {
  for (int first = 0; first < places; first += LANES) {
    int64_t count = p->count - first;
    pack_lanes(p->out + first, places, places - first < LANES ? places - first : LANES, kind, p->in + first * p->stride, p->stride,
               count < 0 ? 0 : count < LANES ? count : LANES, p->elements);
  }
}
static void pack_rows_f32(const struct half_pack *p) { pack(p, HALF_F32, ROWS); }
static void pack_panel_f32(const struct half_pack *p) { pack(p, HALF_F32, WIDTH); }
static void pack_panel_f16(const struct half_pack *p) { pack(p, HALF_F16, WIDTH); }
static void pack_panel_bf16(const struct half_pack *p) { pack(p, HALF_BF16, WIDTH); }
#if defined(HAS_PAIRS)
static void pack_rows_pairs(const struct half_pack *p) { pack(p, HALF_PAIRS_F32, ROWS); }
static void pack_panel_pairs_f32(const struct half_pack *p) { pack(p, HALF_PAIRS_F32, WIDTH); }
static void pack_panel_pairs_f16(const struct half_pack *p) { pack(p, HALF_PAIRS_F16, WIDTH); }
static void pack_panel_pairs_bf16(const struct half_pack *p) { pack(p, HALF_PAIRS_BF16, WIDTH); }
#endif

/* ---- tiles ---- */

INLINE void put(float *y, vf sum, float alpha, float beta, int64_t n) {
  if (n <= 0) return;
  vf old = beta == 0 ? splat(0) : n >= LANES ? load(y) : load_part(y, n, 0);
  sum *= splat(alpha);
  if (beta != 0) sum = fma_of(splat(beta), old, sum);
  if (n >= LANES) store(y, sum);
  else store_part(y, sum, n);
}

/* rows and pairs are constants where this is inlined. */
INLINE void run_tile(const struct half_tile *t, int rows, bool pairs) {
  vf s[ROWS][2];
  _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = splat(0);
  const float *x = t->x, *w = t->panel;
  const unsigned char *ahead = t->ahead;
  for (int64_t p = 0; p < t->depth; p += STEPS, ahead += LINE) {
    int64_t steps = t->depth - p < STEPS ? t->depth - p : STEPS;
    for (int64_t r = 0; r < t->ahead_rows; r++) __builtin_prefetch(ahead + r * t->ahead_stride, 0, 2);
    for (int64_t q = 0; q < steps; q++, x += ROWS, w += WIDTH) {
      vf a = load(w), b = load(w + LANES);
      _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
        int32_t unit; /* in each lane the same; a pair is no number */
        memcpy(&unit, x + r, sizeof unit);
        vf u = (vf)splat_int(unit);
        s[r][0] = pairs ? add_pairs(u, a, s[r][0]) : fma_of(u, a, s[r][0]);
        s[r][1] = pairs ? add_pairs(u, b, s[r][1]) : fma_of(u, b, s[r][1]);
      }
    }
  }
  _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
    put(t->y + r * t->ldy, s[r][0], t->alpha, t->beta, t->columns);
    put(t->y + r * t->ldy + LANES, s[r][1], t->alpha, t->beta, t->columns - LANES);
  }
}

#if defined(ETK_ISA_neonmm)
/* Of two units, two rows with two columns are one product of 2 x 4 with 4 x 2 numbers; behind the last of an odd depth stand zeros, as behind the last row. */
INLINE void add_matrices(float32x4_t (*s)[WIDTH / 2], const float *x, const float *w, int rows, bool two) {
  bfloat16x8_t columns[WIDTH / 2];
  _Pragma("GCC unroll 4") for (int c = 0; c < WIDTH; c += LANES) {
    float32x4_t a = vld1q_f32(w + c), b = two ? vld1q_f32(w + WIDTH + c) : vdupq_n_f32(0);
    columns[c / 2] = (bfloat16x8_t)vzip1q_f32(a, b);
    columns[c / 2 + 1] = (bfloat16x8_t)vzip2q_f32(a, b);
  }
  _Pragma("GCC unroll 4") for (int r = 0; r < rows; r += 4) {
    float32x4_t a = vld1q_f32(x + r), b = two ? vld1q_f32(x + ROWS + r) : vdupq_n_f32(0);
    bfloat16x8_t low = (bfloat16x8_t)vzip1q_f32(a, b), high = (bfloat16x8_t)vzip2q_f32(a, b);
    _Pragma("GCC unroll 4") for (int c = 0; c < WIDTH / 2; c++) {
      s[r / 2][c] = vbfmmlaq_f32(s[r / 2][c], low, columns[c]);
      if (r + 2 < rows) s[r / 2 + 1][c] = vbfmmlaq_f32(s[r / 2 + 1][c], high, columns[c]);
    }
  }
}
INLINE void run_tile_matrices(const struct half_tile *t, int rows) {
  float32x4_t s[ROWS / 2][WIDTH / 2]; /* (2 rows, 2 columns) */
  _Pragma("GCC unroll 6") for (int r = 0; r < rows; r += 2)
    _Pragma("GCC unroll 4") for (int c = 0; c < WIDTH / 2; c++) s[r / 2][c] = vdupq_n_f32(0);
  const float *x = t->x, *w = t->panel;
  const unsigned char *ahead = t->ahead;
  for (int64_t p = 0; p < t->depth; p += STEPS, ahead += LINE) {
    int64_t steps = t->depth - p < STEPS ? t->depth - p : STEPS, q = 0;
    for (int64_t r = 0; r < t->ahead_rows; r++) __builtin_prefetch(ahead + r * t->ahead_stride, 0, 2);
    for (; q + 2 <= steps; q += 2, x += 2 * ROWS, w += 2 * WIDTH) add_matrices(s, x, w, rows, true);
    if (q < steps) add_matrices(s, x, w, rows, false);
  }
  _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++)
    _Pragma("GCC unroll 2") for (int c = 0; c < WIDTH; c += LANES) {
      float64x2_t low = (float64x2_t)s[r / 2][c / 2], high = (float64x2_t)s[r / 2][c / 2 + 1];
      put(t->y + r * t->ldy + c, (vf)(r % 2 ? vzip2q_f64(low, high) : vzip1q_f64(low, high)), t->alpha, t->beta, t->columns - c);
    }
}
#endif

#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
#define EACH_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12)
#elif defined(ETK_ISA_avx2)
#define EACH_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6)
#else
#define EACH_ROWS(F) F(1) F(2) F(3) F(4)
#endif
#define DEFINE(n) static void tile_##n(const struct half_tile *t) { run_tile(t, n, false); }
#define NAME(n) tile_##n,
EACH_ROWS(DEFINE)
static void (*const tiles[ROWS])(const struct half_tile *t) = {EACH_ROWS(NAME)};
#if defined(HAS_PAIRS)
#if defined(ETK_ISA_neonmm)
#define DEFINE_PAIRS(n) static void tile_pairs_##n(const struct half_tile *t) { run_tile_matrices(t, n); }
#else
#define DEFINE_PAIRS(n) static void tile_pairs_##n(const struct half_tile *t) { run_tile(t, n, true); }
#endif
#define NAME_PAIRS(n) tile_pairs_##n,
EACH_ROWS(DEFINE_PAIRS)
static void (*const tiles_of_pairs[ROWS])(const struct half_tile *t) = {EACH_ROWS(NAME_PAIRS)};
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
extern const struct half_kernels K(half);
const struct half_kernels K(half) = {
    .name = TEXT(ETK_ISA),
    .rows = ROWS,
    .width = WIDTH,
    .few = {few_f32, few_f16, few_bf16},
    .dots = {[HALF_F32] = dots_f32, [HALF_F16] = DOTS_F16, [HALF_PAIRS_BF16] = DOTS_PAIRS},
    .pack_rows = {[HALF_F32] = pack_rows_f32},
    .pack_panel = {pack_panel_f32, pack_panel_f16, pack_panel_bf16},
    .tile = tiles,
#if defined(HAS_PAIRS)
    .pack_rows[HALF_PAIRS_F32] = pack_rows_pairs,
    .pack_panel[HALF_PAIRS_F32] = pack_panel_pairs_f32,
    .pack_panel[HALF_PAIRS_F16] = pack_panel_pairs_f16,
    .pack_panel[HALF_PAIRS_BF16] = pack_panel_pairs_bf16,
    .tile_pairs = tiles_of_pairs,
#endif
};
