/* Kernels of product_blocks.h: quantizing rows of x, unpacking tiles, and products of few rows and of tiles. */
#include "ml/kernels/vector.h"
#include "product_blocks.h"

#if defined(ETK_ISA_avx512)
enum { WIDTH = 32, ROWS = 6, FEW_GROUPS = 4, MORE_GROUPS = 2 };
#elif defined(ETK_ISA_avx2)
enum { WIDTH = 16, ROWS = 3, FEW_GROUPS = 2, MORE_GROUPS = 1 };
#elif defined(ETK_ISA_neonmm)
enum { WIDTH = 16, ROWS = 6, FEW_GROUPS = 1, MORE_GROUPS = 1 };
#elif defined(ETK_ISA_neon)
enum { WIDTH = 16, ROWS = 4, FEW_GROUPS = 1, MORE_GROUPS = 1 };
#else
enum { WIDTH = 16, ROWS = 2, FEW_GROUPS = 2, MORE_GROUPS = 1 };
#endif
enum { SPAN = OUTPUTS / LANES, QUADS = BLOCK / 4, BLOCK_BYTES = BLOCK * OUTPUTS }; /* SPAN: vectors for 16 outputs */
#if defined(ETK_ISA_avx512vnni)
#define FLIP 0x80
#else
#define FLIP 0
#endif
#if defined(ETK_ISA_base)
#define UNROLL /* for tests only: small */
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

typedef vu unaligned_vu __attribute__((aligned(1), may_alias));
INLINE vu load_codes(const unsigned char *p) { return *(const unaligned_vu *)p; }
INLINE vu splat_quad(const int8_t *p) {
  uint32_t quad;
  memcpy(&quad, p, sizeof quad);
  return quad + (vu){0};
}
INLINE vf to_float(vi x) { return __builtin_convertvector(x, vf); }

/* sums + the four products of bytes in each lane: w unsigned, at most 63 (with VNNI 255); `wide`: w signed, any. x within ±127. */
#if defined(ETK_ISA_avx512vnni)
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  (void)wide;
  return (vi)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)w, (__m512i)x);
}
#elif defined(ETK_ISA_avx512)
/* Pairs are summed in 16 bits: 128 * 127 * 2 fits. */
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  __m512i a = (__m512i)w, b = (__m512i)x;
  if (wide) b = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), _mm512_setzero_si512(), b), a = _mm512_abs_epi8(a);
  return sums + (vi)_mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1));
}
#elif defined(ETK_ISA_avx2)
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  __m256i a = (__m256i)w, b = (__m256i)x;
  if (wide) b = _mm256_sign_epi8(b, a), a = _mm256_abs_epi8(a);
  return sums + (vi)_mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1));
}
#elif defined(ETK_ISA_neondot)
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  (void)wide;
  return (vi)vdotq_s32((int32x4_t)sums, (int8x16_t)w, (int8x16_t)x);
}
#elif defined(ETK_ISA_neon)
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  (void)wide;
  int8x16_t a = (int8x16_t)w, b = (int8x16_t)x;
  int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
  return (vi)vpadalq_s16((int32x4_t)sums, vpaddq_s16(low, high));
}
#else
INLINE vi dot(vi sums, vu w, vu x, bool wide) {
  (void)wide;
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++) sums[lane] += (int8_t)(w[lane] >> 8 * i) * (int8_t)(x[lane] >> 8 * i);
  return sums;
}
#endif

/* LANES binary16 and signed bytes. */
#if defined(ETK_ISA_avx512)
INLINE vf load_halves(const unsigned char *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
INLINE vf load_bytes(const unsigned char *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p))); }
#elif defined(ETK_ISA_avx2)
INLINE vf load_halves(const unsigned char *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
INLINE vf load_bytes(const unsigned char *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))); }
#elif defined(ETK_ISA_neon)
INLINE vf load_halves(const unsigned char *p) { return (vf)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
INLINE vf load_bytes(const unsigned char *p) { return (vf){(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]}; }
#else
INLINE float one_half(const unsigned char *p) {
  uint32_t h = (uint32_t)(p[0] | p[1] << 8), sign = (h & 0x8000) << 16, magnitude = (h & 0x7fff) << 13, bits;
  float x;
  if (magnitude >= 0x0f800000u) bits = sign | magnitude | 0x70000000u;
  else {
    memcpy(&x, &magnitude, sizeof x);
    x *= 0x1p112f;
    memcpy(&bits, &x, sizeof bits);
    bits |= sign;
  }
  memcpy(&x, &bits, sizeof x);
  return x;
}
INLINE vf load_halves(const unsigned char *p) { return (vf){one_half(p), one_half(p + 2), one_half(p + 4), one_half(p + 6)}; }
INLINE vf load_bytes(const unsigned char *p) { return (vf){(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]}; }
#endif

/* IQ4_NL: each byte of w, below 16, is a place in the table. */
static const unsigned char levels[16] __attribute__((aligned(16))) = {
#define LEVEL(x) (unsigned char)((unsigned char)(x) ^ FLIP)
    LEVEL(-127), LEVEL(-104), LEVEL(-83), LEVEL(-65), LEVEL(-49), LEVEL(-35), LEVEL(-22), LEVEL(-10),
    LEVEL(1),    LEVEL(13),   LEVEL(25),  LEVEL(38),  LEVEL(53),  LEVEL(69),  LEVEL(89),  LEVEL(113)};
INLINE vu look_up(vu w) {
#if defined(ETK_ISA_avx512)
  return (vu)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)(const void *)levels)), (__m512i)w);
#elif defined(ETK_ISA_avx2)
  return (vu)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)levels)), (__m256i)w);
#elif defined(ETK_ISA_neon)
  return (vu)vqtbl1q_u8(vld1q_u8(levels), (uint8x16_t)w);
#else
  for (int i = 0; i < LANES; i++)
    w[i] = levels[w[i] & 15] | (uint32_t)levels[w[i] >> 8 & 15] << 8 | (uint32_t)levels[w[i] >> 16 & 15] << 16 | (uint32_t)levels[w[i] >> 24 & 15] << 24;
  return w;
#endif
}

/* What a type is; constants wherever these are inlined. */
struct form {
  int bits, group, minima;
  bool units, wide;
};

/* Bits [0, count) of w >> shift in each byte, moved up by `up`. */
INLINE vu pick(vu w, int shift, int count, int up) {
  uint32_t mask = (uint32_t)((1 << count) - 1) << up;
  int left = up - shift;
  return (left >= 0 ? w << left : w >> -left) & (mask * 0x01010101u + (vu){0});
}
/* Quad q of a block's codes, for the LANES outputs that begin at p. */
INLINE vu unpack_quad(struct form t, const unsigned char *p, int q) {
  if (t.bits == 8) return load_codes(p + 64 * q);
  vu low = t.bits >= 4 ? pick(load_codes(p + q % 4 * 64), q / 4 * 4, 4, 0) : pick(load_codes(p + q / 4 * 64), q % 4 * 2, 2, 0);
  if (t.bits == 3) low |= pick(load_codes(p + 128), q, 1, 2);
  if (t.bits == 5) low |= pick(load_codes(p + 256), q, 1, 4);
  if (t.bits == 6) low |= pick(load_codes(p + 256 + q / 4 * 64), q % 4 * 2, 2, 4);
  return t.bits == 4 && t.wide ? look_up(low) : low;
}

/* Where scales are, and the scale of LANES outputs from `lane` on for group `part` of block b. */
INLINE const unsigned char *scales_at(struct form t, const unsigned char *scales, int64_t b) {
  return scales + (size_t)(t.units ? b / (UNIT / BLOCK) : b) * blocks_unit_scales(t.group, t.minima, t.units);
}
INLINE vf scale_of(struct form t, const unsigned char *unit, int64_t b, int part, int lane, bool minimum) {
  vf d = load_halves(unit + (minimum ? 2 * OUTPUTS : 0) + 2 * lane);
  if (!t.units) return d;
  int parts = BLOCK / t.group, kinds = t.minima ? 2 : 1;
  const unsigned char *small = unit + 2 * OUTPUTS * kinds + ((int)(b % (UNIT / BLOCK)) * kinds * parts + (minimum ? parts : 0) + part) * OUTPUTS;
  d *= load_bytes(small + lane);
  return minimum && t.minima < 0 ? -d : d;
}

/* ---- rows of x ---- */

INLINE uint32_t largest_magnitude(const float *x, int n) {
  vu most = {0};
  for (int i = 0; i < n; i += LANES) {
    vu bits = (vu)load(x + i) & 0x7fffffffu;
    vu more = (vu)(bits > most);
    most = (bits & more) | (most & ~more);
  }
  uint32_t result = 0;
  for (int i = 0; i < LANES; i++) result = most[i] > result ? most[i] : result;
  return result;
}

/* Codes of one group and their sum: to the nearest whole number, by adding what leaves no bits for fractions. */
INLINE int32_t quantize_group(int8_t *codes, const float *x, float lift, float inverse, int n) {
  const float magic = 12582912.0f;
  vi sum = {0};
  for (int i = 0; i < n; i += LANES) {
    vf scaled = load(x + i) * splat(lift) * splat(inverse) + splat(magic);
    vi whole = (vi)((vu)scaled & 0x7fffffu) - 0x400000;
    sum += whole;
    typedef int8_t bytes __attribute__((vector_size(LANES)));
    bytes narrow = __builtin_convertvector(whole, bytes);
    memcpy(codes + i, &narrow, LANES);
  }
  int32_t total = 0;
  for (int i = 0; i < LANES; i++) total += sum[i];
  return total;
}

INLINE void quantize(struct form t, int offset, const struct blocks_input *in, int64_t row, const float *x) {
  const int span = t.units ? UNIT : BLOCK;
  int8_t *codes = in->codes + row * in->in;
  float *scales = in->scales + row * in->scale_count, *factors = (float *)in->starts + row * in->start_count;
  int32_t *starts = (int32_t *)in->starts + row * in->start_count;
  for (int64_t i = 0; i < in->in; i += span) {
    uint32_t bits = largest_magnitude(x + i, span);
    float most, lift = 1, inverse = 0, scale;
    memcpy(&most, &bits, sizeof most);
    scale = most / 127;
    if (bits >= 0x7f800000u) { /* not finite: codes are zero, the scale makes NaN of them */
      memset(codes + i, 0, (size_t)span);
      scale = __builtin_nanf("");
    } else if (most > 0) {
      if (most < 0x1p-100f) lift = 0x1p64f; /* so that the inverse is finite */
      inverse = 127 / (most * lift);
    }
    scales[i / span] = scale;
    for (int j = 0; j < span; j += t.group) {
      int64_t g = (i + j) / t.group;
      int32_t sum = bits >= 0x7f800000u ? 0 : quantize_group(codes + i + j, x + i + j, lift, inverse, t.group);
      if (t.minima) factors[g] = t.units ? (float)sum : (float)sum * scale;
      else starts[g] = -offset * sum;
    }
  }
}

/* ---- products ---- */

/* What both kinds of product do with one group: sums of `quads` quads for `rows` rows and `vectors` vectors of outputs. */
enum { AHEAD = 2048 };
#define MOST_VECTORS (FEW_GROUPS * SPAN)

/* Asks memory for codes AHEAD of block b, where the row ends for those of the next call, and for the next call's scales: rows of few bits are too short for the
 * processor to find out by itself. Rows of 8 bits are long enough, and were slower with it. */
INLINE void ask_ahead(struct form t, const struct blocks_few *f, int groups, int64_t b, int64_t code_bytes) {
  int64_t at = b * 64 * t.bits + (code_bytes > AHEAD ? AHEAD : code_bytes);
  if (at >= code_bytes) at += (int64_t)f->codes_apart - code_bytes;
  size_t unit = blocks_unit_scales(t.group, t.minima, t.units), scale = t.units ? (size_t)b * unit / (UNIT / BLOCK) : (size_t)b * unit;
  UNROLL for (int g = 0; g < groups; g++) {
    UNROLL for (int line = 0; line < t.bits; line++) __builtin_prefetch(f->codes[g] + at + line * 64);
    __builtin_prefetch(f->scales[g] + f->scales_apart + scale);
  }
}

INLINE void few(struct form t, const struct blocks_few *f, int rows, int groups) {
  const int vectors = groups * SPAN, parts = BLOCK / t.group, quads = t.group / 4;
  const struct blocks_input *in = f->x;
  const int64_t blocks = in->in / BLOCK;
  vf out[4][MOST_VECTORS], unit[4][MOST_VECTORS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < vectors; v++) out[r][v] = unit[r][v] = splat(0);
  const int64_t code_bytes = blocks * 64 * t.bits;
  for (int64_t b = 0; b < blocks; b++) {
    if (t.bits < 8) ask_ahead(t, f, groups, b, code_bytes);
    UNROLL for (int part = 0; part < parts; part++) {
      vi sums[4][MOST_VECTORS];
      UNROLL for (int r = 0; r < rows; r++) {
        vi start = {0};
        if (!t.minima) start = splat_int(((const int32_t *)in->starts)[(f->row + r) * in->start_count + b * parts + part]);
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = start;
      }
      UNROLL for (int q = 0; q < quads; q++) {
        UNROLL for (int v = 0; v < vectors; v++) {
          vu w = unpack_quad(t, f->codes[v / SPAN] + b * 64 * t.bits + v % SPAN * 4 * LANES, part * quads + q);
          UNROLL for (int r = 0; r < rows; r++)
            sums[r][v] = dot(sums[r][v], w, splat_quad(in->codes + (f->row + r) * in->in + b * BLOCK + part * t.group + q * 4), t.wide);
        }
      }
      UNROLL for (int v = 0; v < vectors; v++) {
        const unsigned char *scales = scales_at(t, f->scales[v / SPAN], b);
        vf scale = scale_of(t, scales, b, part, v % SPAN * LANES, false), minimum = splat(0);
        if (t.minima) minimum = scale_of(t, scales, b, part, v % SPAN * LANES, true);
        UNROLL for (int r = 0; r < rows; r++) {
          int64_t row = f->row + r;
          vf factor = splat(0);
          if (t.minima) factor = splat(((const float *)in->starts)[row * in->start_count + b * parts + part]);
          if (t.units) {
            unit[r][v] = fma_of(to_float(sums[r][v]), scale, unit[r][v]);
            if (t.minima) unit[r][v] = fma_of(minimum, factor, unit[r][v]);
          } else {
            out[r][v] = fma_of(to_float(sums[r][v]), scale * splat(in->scales[row * in->scale_count + b]), out[r][v]);
            if (t.minima) out[r][v] = fma_of(minimum, factor, out[r][v]);
          }
        }
      }
    }
    if (!t.units || (b + 1) % (UNIT / BLOCK)) continue;
    UNROLL for (int r = 0; r < rows; r++) {
      vf scale = splat(in->scales[(f->row + r) * in->scale_count + b / (UNIT / BLOCK)]);
      UNROLL for (int v = 0; v < vectors; v++) {
        out[r][v] = fma_of(unit[r][v], scale, out[r][v]);
        unit[r][v] = splat(0);
      }
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < vectors; v++) store(f->out + r * MOST_WIDTH + v * LANES, out[r][v]);
}

/* ---- Q8_0 where it lies: 16 rows of a binary16 scale and 32 codes each time, turned in registers ---- */

/* Quad q of the rows from `lane` on in lane order: `at` bytes into each. */
#if defined(ETK_ISA_avx512)
INLINE void turn_quads(vu w[QUADS], const unsigned char *const *rows, int64_t at) {
  __m512i v[8], a[8], b[8];
  UNROLL for (int i = 0; i < 8; i++)
    v[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(rows[i] + at))),
                              _mm256_loadu_si256((const __m256i *)(const void *)(rows[i + 8] + at)), 1);
  UNROLL for (int i = 0; i < 8; i += 2) {
    a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4)
    UNROLL for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  UNROLL for (int j = 0; j < 4; j++) {
    w[j] = (vu)_mm512_permutex2var_epi64(b[j], low, b[j + 4]);
    w[j + 4] = (vu)_mm512_permutex2var_epi64(b[j], high, b[j + 4]);
  }
}
#elif defined(ETK_ISA_avx2)
INLINE void turn_quads(vu w[QUADS], const unsigned char *const *rows, int64_t at) {
  __m256i v[8], a[8], b[8];
  UNROLL for (int i = 0; i < 8; i++) v[i] = _mm256_loadu_si256((const __m256i *)(const void *)(rows[i] + at));
  UNROLL for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4)
    UNROLL for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  UNROLL for (int j = 0; j < 4; j++) {
    w[j] = (vu)_mm256_permute2x128_si256(b[j], b[j + 4], 0x20);
    w[j + 4] = (vu)_mm256_permute2x128_si256(b[j], b[j + 4], 0x31);
  }
}
#else
#if defined(__clang__)
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (vu){i, j, k, l})
#endif
INLINE void turn_quads(vu w[QUADS], const unsigned char *const *rows, int64_t at) {
  UNROLL for (int q = 0; q < QUADS; q += 4) {
    vu v[4], a[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] = load_codes(rows[i] + at + 4 * q);
    UNROLL for (int i = 0; i < 4; i += 2) {
      a[i] = MIX(v[i], v[i + 1], 0, 4, 1, 5);
      a[i + 1] = MIX(v[i], v[i + 1], 2, 6, 3, 7);
    }
    UNROLL for (int j = 0; j < 2; j++) {
      w[q + 2 * j] = MIX(a[j], a[j + 2], 0, 1, 4, 5);
      w[q + 2 * j + 1] = MIX(a[j], a[j + 2], 2, 3, 6, 7);
    }
  }
}
#endif

/* A binary16 of each row. */
INLINE uint16_t half_at(const unsigned char *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
  return h;
}
#if defined(ETK_ISA_avx512)
INLINE __m128i eight_halves(const unsigned char *const *rows, int64_t at) {
  return _mm_setr_epi16((short)half_at(rows[0] + at), (short)half_at(rows[1] + at), (short)half_at(rows[2] + at), (short)half_at(rows[3] + at),
                        (short)half_at(rows[4] + at), (short)half_at(rows[5] + at), (short)half_at(rows[6] + at), (short)half_at(rows[7] + at));
}
INLINE vf turn_halves(const unsigned char *const *rows, int64_t at) {
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(eight_halves(rows, at)), eight_halves(rows + 8, at), 1));
}
#elif defined(ETK_ISA_avx2)
INLINE vf turn_halves(const unsigned char *const *rows, int64_t at) {
  return _mm256_cvtph_ps(_mm_setr_epi16((short)half_at(rows[0] + at), (short)half_at(rows[1] + at), (short)half_at(rows[2] + at), (short)half_at(rows[3] + at),
                                        (short)half_at(rows[4] + at), (short)half_at(rows[5] + at), (short)half_at(rows[6] + at), (short)half_at(rows[7] + at)));
}
#elif defined(ETK_ISA_neon)
INLINE vf turn_halves(const unsigned char *const *rows, int64_t at) {
  uint16x4_t h = {half_at(rows[0] + at), half_at(rows[1] + at), half_at(rows[2] + at), half_at(rows[3] + at)};
  return (vf)vcvt_f32_f16(vreinterpret_f16_u16(h));
}
#else
INLINE vf turn_halves(const unsigned char *const *rows, int64_t at) { return (vf){one_half(rows[0] + at), one_half(rows[1] + at), one_half(rows[2] + at), one_half(rows[3] + at)}; }
#endif

INLINE void stored(const struct blocks_stored *f, int rows) {
  enum { BYTES = 2 + BLOCK };
  const struct blocks_input *in = f->x;
  const int64_t blocks = in->in / BLOCK;
  const unsigned char *ahead = f->ahead;
  vf out[4][SPAN];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < SPAN; v++) out[r][v] = splat(0);
  for (int64_t b = 0; b < blocks; b++, ahead += OUTPUTS * BYTES) {
    UNROLL for (int line = 0; line < OUTPUTS * BYTES; line += 64) __builtin_prefetch(ahead + line);
    UNROLL for (int v = 0; v < SPAN; v++) {
      vu w[QUADS];
      turn_quads(w, f->rows + v * LANES, b * BYTES + 2);
      vf scale = turn_halves(f->rows + v * LANES, b * BYTES);
      UNROLL for (int r = 0; r < rows; r++) {
        int64_t row = f->row + r;
        vi sums = splat_int(((const int32_t *)in->starts)[row * in->start_count + b]);
        UNROLL for (int q = 0; q < QUADS; q++) sums = dot(sums, w[q] ^ (FLIP * 0x01010101u), splat_quad(in->codes + row * in->in + b * BLOCK + q * 4), true);
        out[r][v] = fma_of(to_float(sums), scale * splat(in->scales[row * in->scale_count + b]), out[r][v]);
      }
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < SPAN; v++) store(f->out + r * MOST_WIDTH + v * LANES, out[r][v]);
}

#if defined(ETK_ISA_avx512)
/* One row of x: each row of weights is read from its beginning to its end, which memory gives fastest, 16 blocks at a time. Their sums and scales wait in a
 * table until all 16 rows are there, and are added in the order of blocks as everywhere. */
enum { RUN = 16, RUNS = 12, LEAD = 8192 }; /* blocks; runs that a table holds; bytes that are asked for ahead */
struct runs {
  int32_t sums[RUNS][OUTPUTS][RUN];    /* of blocks 0, 2, … and then 1, 3, … */
  uint16_t scales[RUNS][RUN][OUTPUTS]; /* of blocks in order */
};

/* The sum of each half of eight vectors: of their low halves, then of their high ones. */
INLINE vi add_across(const vi d[8]) {
  __m512i e[4], f[2];
  UNROLL for (int i = 0; i < 4; i++)
    e[i] = _mm512_add_epi32(_mm512_unpacklo_epi32((__m512i)d[2 * i], (__m512i)d[2 * i + 1]), _mm512_unpackhi_epi32((__m512i)d[2 * i], (__m512i)d[2 * i + 1]));
  UNROLL for (int i = 0; i < 2; i++) f[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(e[2 * i], e[2 * i + 1]), _mm512_unpackhi_epi64(e[2 * i], e[2 * i + 1]));
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  return (vi)_mm512_add_epi32(_mm512_permutex2var_epi64(f[0], low, f[1]), _mm512_permutex2var_epi64(f[0], high, f[1]));
}

/* `count` blocks of one row, 8 or 16, and what they meet of x. */
INLINE void run_of_row(struct runs *t, int64_t run, int row, const unsigned char *w, const int8_t *x, int count) {
  enum { BYTES = 2 + BLOCK };
  vi d[8];
  UNROLL for (int line = 0; line < count * BYTES; line += 64) __builtin_prefetch(w + LEAD + line);
  UNROLL for (int i = 0; i < 8; i++) {
    int at = 2 * i < count ? 2 * i : 0;
    __m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(w + at * BYTES + 2))),
                                       _mm256_loadu_si256((const __m256i *)(const void *)(w + (at + 1) * BYTES + 2)), 1);
    d[i] = 2 * i < count ? dot(splat_int(0), (vu)codes ^ (FLIP * 0x01010101u), load_codes((const unsigned char *)x + at * BLOCK), true) : d[0];
  }
  _mm512_store_si512(t->sums[run][row], (__m512i)add_across(d));
  UNROLL for (int b = 0; b < count; b++) memcpy(&t->scales[run][b][row], w + b * BYTES, sizeof(uint16_t));
}

/* Rows to columns. */
INLINE void turn_sums(vi columns[RUN], int32_t (*rows)[RUN]) {
  __m512i a[16], b[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    __m512i first = _mm512_load_si512(rows[i]), second = _mm512_load_si512(rows[i + 1]);
    a[i] = _mm512_unpacklo_epi32(first, second);
    a[i + 1] = _mm512_unpackhi_epi32(first, second);
  }
  UNROLL for (int i = 0; i < 16; i += 4)
    UNROLL for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  UNROLL for (int j = 0; j < 4; j++) {
    __m512i even01 = _mm512_shuffle_i32x4(b[j], b[j + 4], 0x88), odd01 = _mm512_shuffle_i32x4(b[j], b[j + 4], 0xdd);
    __m512i even23 = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0x88), odd23 = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0xdd);
    columns[j] = (vi)_mm512_shuffle_i32x4(even01, even23, 0x88);
    columns[j + 8] = (vi)_mm512_shuffle_i32x4(even01, even23, 0xdd);
    columns[j + 4] = (vi)_mm512_shuffle_i32x4(odd01, odd23, 0x88);
    columns[j + 12] = (vi)_mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

/* out + blocks [skip, count) of a run. */
INLINE vf add_run(vf out, struct runs *t, int64_t run, const int32_t *starts, const float *x_scales, int skip, int count) {
  vi columns[RUN];
  turn_sums(columns, t->sums[run]);
  UNROLL for (int i = 0; i < RUN; i++) {
    if (i < skip || i >= count) continue;
    vi sums = columns[i / 2 + i % 2 * 8] + splat_int(starts[i]);
    out = fma_of(to_float(sums), load_halves((const unsigned char *)t->scales[run][i]) * splat(x_scales[i]), out);
  }
  return out;
}

INLINE void stored_one(const struct blocks_stored *f) {
  enum { BYTES = 2 + BLOCK };
  struct runs t __attribute__((aligned(64)));
  const struct blocks_input *in = f->x;
  const int64_t blocks = in->in / BLOCK;
  if (blocks < RUN) {
    stored(f, 1);
    return;
  }
  const int8_t *x = in->codes + f->row * in->in;
  const int32_t *starts = (const int32_t *)in->starts + f->row * in->start_count;
  const float *x_scales = in->scales + f->row * in->scale_count;
  vf out = splat(0);
  for (int64_t first = 0; first < blocks; first += RUN * RUNS) {
    const int64_t left = blocks - first, whole = left / RUN < RUNS ? left / RUN : RUNS;
    const int64_t rest = whole < RUNS ? left % RUN : 0, last = rest > RUN / 2 ? RUN : RUN / 2; /* the last run overlaps the one before it */
    for (int row = 0; row < OUTPUTS; row++) {
      for (int64_t run = 0; run < whole; run++) {
        int64_t b = first + run * RUN;
        run_of_row(&t, run, row, f->rows[row] + b * BYTES, x + b * BLOCK, RUN);
      }
      if (rest && last == RUN) run_of_row(&t, whole, row, f->rows[row] + (blocks - RUN) * BYTES, x + (blocks - RUN) * BLOCK, RUN);
      else if (rest) run_of_row(&t, whole, row, f->rows[row] + (blocks - RUN / 2) * BYTES, x + (blocks - RUN / 2) * BLOCK, RUN / 2);
    }
    for (int64_t run = 0; run < whole; run++) out = add_run(out, &t, run, starts + first + run * RUN, x_scales + first + run * RUN, 0, RUN);
    if (rest) out = add_run(out, &t, whole, starts + blocks - last, x_scales + blocks - last, (int)(last - rest), (int)last);
  }
  store(f->out, out);
}
#else
INLINE void stored_one(const struct blocks_stored *f) { stored(f, 1); }
#endif
static void stored_1(const struct blocks_stored *f) { stored_one(f); }

/* What more rows of x than have sums in registers meet: a block of some outputs, turned once for all of them. */
#if defined(ETK_ISA_avx512)
enum { HELD = 2 }; /* vectors of outputs: a quad of x is fetched for that many products */
#else
enum { HELD = 1 };
#endif
struct turned {
  vu w[QUADS][HELD];
  vf scale[HELD];
};
/* One block of `rows` rows of x, where they begin; `out` is their sums. */
INLINE void add_turned(float *out, const struct turned *t, const int8_t *x, const int32_t *starts, const float *x_scales, const struct blocks_input *in, int rows) {
  const int64_t stride = in->in, start_stride = in->start_count, scale_stride = in->scale_count;
  vi sums[4][HELD];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int v = 0; v < HELD; v++) sums[i][v] = splat_int(starts[i * start_stride]);
  UNROLL for (int q = 0; q < QUADS; q++)
    UNROLL for (int i = 0; i < rows; i++) {
      vu quad = splat_quad(x + i * stride + q * 4);
      UNROLL for (int v = 0; v < HELD; v++) sums[i][v] = dot(sums[i][v], t->w[q][v], quad, true);
    }
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int v = 0; v < HELD; v++) {
      float *to = out + i * MOST_WIDTH + v * LANES;
      store(to, fma_of(to_float(sums[i][v]), t->scale[v] * splat(x_scales[i * scale_stride]), load(to)));
    }
}
static void stored_more(const struct blocks_stored *f, int64_t rows) {
  enum { BYTES = 2 + BLOCK };
  const struct blocks_input in = *f->x;
  const int64_t blocks = in.in / BLOCK;
  const unsigned char *ahead = f->ahead;
  for (int64_t r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < 2 * SPAN; v++) store(f->out + r * MOST_WIDTH + v * LANES, splat(0));
  for (int64_t b = 0; b < blocks; b++, ahead += 2 * OUTPUTS * BYTES) {
    UNROLL for (int line = 0; line < 2 * OUTPUTS * BYTES; line += 64) __builtin_prefetch(ahead + line);
    for (int lane = 0; lane < 2 * OUTPUTS; lane += HELD * LANES) {
      struct turned t;
      UNROLL for (int v = 0; v < HELD; v++) {
        vu w[QUADS];
        turn_quads(w, f->rows + lane + v * LANES, b * BYTES + 2);
        UNROLL for (int q = 0; q < QUADS; q++) t.w[q][v] = w[q] ^ (FLIP * 0x01010101u);
        t.scale[v] = turn_halves(f->rows + lane + v * LANES, b * BYTES);
      }
      float *out = f->out + lane;
      const int8_t *x = in.codes + f->row * in.in + b * BLOCK;
      const int32_t *starts = (const int32_t *)in.starts + f->row * in.start_count + b;
      const float *x_scales = in.scales + f->row * in.scale_count + b;
      int64_t left = rows;
      for (; left >= 4; left -= 4, out += 4 * MOST_WIDTH, x += 4 * in.in, starts += 4 * in.start_count, x_scales += 4 * in.scale_count) add_turned(out, &t, x, starts, x_scales, &in, 4);
      for (; left > 0; left--, out += MOST_WIDTH, x += in.in, starts += in.start_count, x_scales += in.scale_count) add_turned(out, &t, x, starts, x_scales, &in, 1);
    }
  }
}
static void stored_2(const struct blocks_stored *f) { stored(f, 2); }
static void stored_3(const struct blocks_stored *f) { stored(f, 3); }
static void stored_4(const struct blocks_stored *f) { stored(f, 4); }

INLINE void unpack(struct form t, unsigned char *codes, float *scales, float *minima, const unsigned char *from, const unsigned char *from_scales, int64_t blocks) {
  const int parts = BLOCK / t.group;
  for (int64_t b = 0; b < blocks; b++) {
    if (t.bits != 8) /* which are read where they are */
      UNROLL for (int q = 0; q < QUADS; q++)
        UNROLL for (int v = 0; v < SPAN; v++) {
          vu w = unpack_quad(t, from + b * 64 * t.bits + v * 4 * LANES, q);
          *(unaligned_vu *)(codes + b * BLOCK_BYTES + q * 64 + v * 4 * LANES) = w;
        }
    const unsigned char *unit = scales_at(t, from_scales, b);
    UNROLL for (int part = 0; part < parts; part++)
      UNROLL for (int v = 0; v < SPAN; v++) {
        int64_t to = (b * parts + part) * OUTPUTS + v * LANES;
        store(scales + to, scale_of(t, unit, b, part, v * LANES, false));
        if (t.minima) store(minima + to, scale_of(t, unit, b, part, v * LANES, true));
      }
  }
}

enum { VECTORS = WIDTH / LANES };
/* sums += `quads` quads of a tile's codes times rows of x, `stride` bytes apart. */
#if defined(ETK_ISA_neonmm)
/* Two rows with two outputs, eight inputs of each, in one instruction; the last of an odd number of rows stands beside itself. */
INLINE void add_products(struct form t, vi (*sums)[VECTORS], const unsigned char *const *codes, const int8_t *x, int64_t stride, int rows, int quads) {
  (void)t;
  int32x4_t pairs[(ROWS + 1) / 2][OUTPUTS / 2]; /* (2 rows, 2 outputs) */
  UNROLL for (int r = 0; r < rows; r += 2)
    UNROLL for (int o = 0; o < OUTPUTS / 2; o++) pairs[r / 2][o] = vdupq_n_s32(0);
  _Pragma("GCC unroll 1") for (int q = 0; q < quads; q += 2) { /* unrolled, sums would leave the registers */
    int8x16_t two[(ROWS + 1) / 2];
    UNROLL for (int r = 0; r < rows; r += 2) two[r / 2] = vcombine_s8(vld1_s8(x + r * stride + q * 4), vld1_s8(x + (r + 1 < rows ? r + 1 : r) * stride + q * 4));
    UNROLL for (int v = 0; v < VECTORS; v++) {
      uint32x4_t first = (uint32x4_t)load_codes(codes[0] + q * 64 + v * 16), second = (uint32x4_t)load_codes(codes[0] + (q + 1) * 64 + v * 16);
      int8x16_t low = (int8x16_t)vzip1q_u32(first, second), high = (int8x16_t)vzip2q_u32(first, second);
      UNROLL for (int r = 0; r < rows; r += 2) {
        pairs[r / 2][2 * v] = vmmlaq_s32(pairs[r / 2][2 * v], two[r / 2], low);
        pairs[r / 2][2 * v + 1] = vmmlaq_s32(pairs[r / 2][2 * v + 1], two[r / 2], high);
      }
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) {
      int64x2_t low = (int64x2_t)pairs[r / 2][2 * v], high = (int64x2_t)pairs[r / 2][2 * v + 1];
      sums[r][v] += (vi)(r % 2 ? vzip2q_s64(low, high) : vzip1q_s64(low, high));
    }
}
#else
INLINE void add_products(struct form t, vi (*sums)[VECTORS], const unsigned char *const *codes, const int8_t *x, int64_t stride, int rows, int quads) {
  UNROLL for (int q = 0; q < quads; q++) {
    vu w[VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) w[v] = load_codes(codes[v / SPAN] + q * 64 + v % SPAN * 4 * LANES);
    UNROLL for (int r = 0; r < rows; r++) {
      vu quad = splat_quad(x + r * stride + q * 4);
      UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] = dot(sums[r][v], w[v], quad, t.wide);
    }
  }
}
#endif

INLINE void tile(struct form t, const struct blocks_tile *f, int rows) {
  const int parts = BLOCK / t.group, quads = t.group / 4;
  const struct blocks_input *in = f->x;
  vf out[ROWS][VECTORS], unit[ROWS][VECTORS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) {
      unit[r][v] = splat(0);
      out[r][v] = f->first ? load(f->sums + r * MOST_WIDTH + v * LANES) : splat(0);
    }
  const int8_t *x = in->codes + f->row * in->in + f->first * BLOCK;
  const float *x_scales = in->scales + f->row * in->scale_count + (t.units ? f->first / (UNIT / BLOCK) : f->first);
  const int32_t *starts = (const int32_t *)in->starts + f->row * in->start_count + f->first * parts;
  const float *factors = (const float *)in->starts + f->row * in->start_count + f->first * parts;
  const int64_t stride = in->in, scale_stride = in->scale_count, start_stride = in->start_count;
  for (int64_t b = 0; b < f->blocks; b++) {
    UNROLL for (int part = 0; part < parts; part++) {
      vi sums[ROWS][VECTORS];
      UNROLL for (int r = 0; r < rows; r++) {
        vi start = {0};
        if (!t.minima) start = splat_int(starts[r * start_stride + b * parts + part]);
        UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] = start;
      }
      const unsigned char *codes[WIDTH / OUTPUTS];
      UNROLL for (int g = 0; g < WIDTH / OUTPUTS; g++) codes[g] = f->codes[g] + b * BLOCK_BYTES + part * quads * 64;
      add_products(t, sums, codes, x + b * BLOCK + part * t.group, stride, rows, quads);
      UNROLL for (int v = 0; v < VECTORS; v++) {
        int64_t at = (b * parts + part) * OUTPUTS + v % SPAN * LANES;
        vf scale = load(f->scales[v / SPAN] + at), minimum = splat(0);
        if (t.minima) minimum = load(f->minima[v / SPAN] + at);
        UNROLL for (int r = 0; r < rows; r++) {
          vf factor = splat(0);
          if (t.minima) factor = splat(factors[r * start_stride + b * parts + part]);
          if (t.units) {
            unit[r][v] = fma_of(to_float(sums[r][v]), scale, unit[r][v]);
            if (t.minima) unit[r][v] = fma_of(minimum, factor, unit[r][v]);
          } else {
            out[r][v] = fma_of(to_float(sums[r][v]), scale * splat(x_scales[r * scale_stride + b]), out[r][v]);
            if (t.minima) out[r][v] = fma_of(minimum, factor, out[r][v]);
          }
        }
      }
    }
    if (!t.units || (b + 1) % (UNIT / BLOCK)) continue;
    UNROLL for (int r = 0; r < rows; r++) {
      vf scale = splat(x_scales[r * scale_stride + b / (UNIT / BLOCK)]);
      UNROLL for (int v = 0; v < VECTORS; v++) {
        out[r][v] = fma_of(unit[r][v], scale, out[r][v]);
        unit[r][v] = splat(0);
      }
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) store(f->sums + r * MOST_WIDTH + v * LANES, out[r][v]);
}

/* ---- one of each for every type ---- */

#define FORM(bits, group, minima, units, offset) ((struct form){bits, group, minima, units, (offset) == 128})
/* Types that unpack to the same thing share their tiles. */
#define TILES(name, group, minima, units, offset)                                                                                                      \
  static void tile_##name##_1(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 1); }                                      \
  static void tile_##name##_2(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 2); }                                      \
  static void tile_##name##_3(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 3 <= ROWS ? 3 : 1); }                      \
  static void tile_##name##_4(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 4 <= ROWS ? 4 : 1); }                      \
  static void tile_##name##_5(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 5 <= ROWS ? 5 : 1); }                      \
  static void tile_##name##_6(const struct blocks_tile *t) { tile(FORM(8, group, minima, units, offset), t, 6 <= ROWS ? 6 : 1); }
#define TILE_ROW(name) {tile_##name##_1, tile_##name##_2, tile_##name##_3, tile_##name##_4, tile_##name##_5, tile_##name##_6}
TILES(wide, 32, 0, 0, 128)
TILES(plain, 32, 0, 0, 0)
TILES(minima, 32, 1, 0, 0)
TILES(units, 16, 0, 1, 0)
TILES(units_minima, 32, -1, 1, 0)
TILES(units_minima_16, 16, -1, 1, 0)

#define FUNCTIONS(name, bits, group, minima, units, offset)                                                                                            \
  static void quantize_##name(const struct blocks_input *in, int64_t row, const float *x) {                                                            \
    quantize(FORM(bits, group, minima, units, offset), (offset) == 128 ? FLIP : (offset), in, row, x);                                                 \
  }                                                                                                                                                    \
  static void unpack_##name(unsigned char *codes, float *scales, float *least, const unsigned char *from, const unsigned char *from_scales, int64_t n) { \
    unpack(FORM(bits, group, minima, units, offset), codes, scales, least, from, from_scales, n);                                                      \
  }                                                                                                                                                    \
  static void few_##name##_1(const struct blocks_few *f) { few(FORM(bits, group, minima, units, offset), f, 1, FEW_GROUPS); }                          \
  static void few_##name##_2(const struct blocks_few *f) { few(FORM(bits, group, minima, units, offset), f, 2, MORE_GROUPS); }                                   \
  static void few_##name##_3(const struct blocks_few *f) { few(FORM(bits, group, minima, units, offset), f, 3, MORE_GROUPS); }                                   \
  static void few_##name##_4(const struct blocks_few *f) { few(FORM(bits, group, minima, units, offset), f, 4, MORE_GROUPS); }
BLOCKS_TYPES(FUNCTIONS)

#define QUANTIZE(name, bits, group, minima, units, offset) quantize_##name,
#define UNPACK(name, bits, group, minima, units, offset)   unpack_##name,
#define FEW(name, bits, group, minima, units, offset)      {few_##name##_1, few_##name##_2, few_##name##_3, few_##name##_4},
#define TABLE_NAME(isa)   etk__blocks_##isa
#define TABLE_EXPAND(isa) TABLE_NAME(isa)
#define ISA_TEXT(isa)     #isa
#define ISA_NAME(isa)     ISA_TEXT(isa)
extern const struct blocks_kernels TABLE_EXPAND(ETK_ISA);
const struct blocks_kernels TABLE_EXPAND(ETK_ISA) = {
    .name = ISA_NAME(ETK_ISA), .flip = FLIP, .width = WIDTH, .most_rows = ROWS, .few_groups = FEW_GROUPS, .more_groups = MORE_GROUPS, .few_rows = 4,
    .quantize = {BLOCKS_TYPES(QUANTIZE)},
    .unpack = {BLOCKS_TYPES(UNPACK)},
    .few = {BLOCKS_TYPES(FEW)},
    .stored = {[ETK_Q8_0 - ETK_TYPE_FIRST_BLOCK] = {stored_1, stored_2, stored_3, stored_4}},
    .stored_more = {[ETK_Q8_0 - ETK_TYPE_FIRST_BLOCK] = stored_more},
    .tile = {TILE_ROW(plain), TILE_ROW(minima), TILE_ROW(plain), TILE_ROW(minima), TILE_ROW(wide), TILE_ROW(units_minima_16), TILE_ROW(units),
             TILE_ROW(units_minima), TILE_ROW(units_minima), TILE_ROW(units), TILE_ROW(wide)}};
