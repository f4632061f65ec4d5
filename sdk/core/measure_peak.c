/* measure_peak.c: loops that do nothing but multiply and add, as fast as the CPU can: f32 by FMA, bf16 and int8 by the dot-product instructions.
 *
 * Each loop keeps more independent sums than an instruction's latency times the instructions begun in a cycle (4 to 6 cycles, 2 to 4 a cycle), so that
 * only the execution units bound it. An empty asm statement that claims to change an operand keeps the compiler from folding the loop. Every function is
 * compiled for its instruction set by attribute and called only where etk_hardware says that the CPU has it. */
#include "hardware_internal.h"

#if !defined(__aarch64__)
static _Atomic uint64_t sink; /* where results go, so that they are wanted */
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(isa) __attribute__((target(isa)))
#endif

/* Eight streams, each an eighth of the data: enough misses under way to fill the memory's queues, and one page does not hold up the rest. */
enum { STREAMS = 8 };
#define SUM_STREAMS(name)                                                                       \
  static void name(const void *data, size_t bytes, uint64_t *sum) {                             \
    typedef uint64_t line __attribute__((vector_size(64), aligned(8), may_alias));              \
    size_t each = bytes / STREAMS / sizeof(line);                                               \
    const line *at = data;                                                                      \
    line total[STREAMS];                                                                        \
    memset(total, 0, sizeof total);                                                             \
    for (size_t i = 0; i < each; i++)                                                           \
      for (size_t s = 0; s < STREAMS; s++) total[s] += at[s * each + i];                        \
    for (size_t s = 0; s < STREAMS; s++)                                                        \
      for (size_t j = 0; j < sizeof(line) / sizeof(uint64_t); j++) *sum += total[s][j];         \
  }
SUM_STREAMS(sum_base)
#if defined(__x86_64__)
TARGET("avx2") SUM_STREAMS(sum_avx2)
TARGET("avx512f") SUM_STREAMS(sum_avx512)
#endif

#if defined(__x86_64__)
#define EACH_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define EACH_16(DO) EACH_12(DO) DO(12) DO(13) DO(14) DO(15)

/* A loop of `count` sums: sum[i] = OP(sum[i], a, b), each worth `operations`. */
#define PEAK(name, isa, type, EACH, count, zero, make_a, make_b, OP, operations, reduce) \
  TARGET(isa) static double name(int64_t rounds) {                                       \
    EACH(DECLARE_##type) type##_v a = make_a, b = make_b;                                \
    for (int64_t i = 0; i < rounds; i++) {                                               \
      __asm__ volatile("" : "+v"(a), "+v"(b));                                           \
      EACH(OP)                                                                           \
    }                                                                                    \
    sink += reduce;                                                                      \
    return (double)rounds * (count) * (operations);                                      \
  }
typedef __m512 f512_v;
typedef __m256 f256_v;
typedef __m128 f128_v;
typedef __m512i i512_v;
typedef __m256i i256_v;
/* Sums that begin alike would be one sum to the compiler (gcc 12 does merge them). */
#define OPAQUE(sum) __asm__ volatile("" : "+v"(sum));
#define DECLARE_f512(i) __m512 s##i = _mm512_setzero_ps(); OPAQUE(s##i)
#define DECLARE_f256(i) __m256 s##i = _mm256_setzero_ps(); OPAQUE(s##i)
#define DECLARE_f128(i) __m128 s##i = _mm_setzero_ps(); OPAQUE(s##i)
#define DECLARE_i512(i) __m512i s##i = _mm512_setzero_si512(); OPAQUE(s##i)
#define DECLARE_i256(i) __m256i s##i = _mm256_setzero_si256(); OPAQUE(s##i)
#define FMA_512(i) s##i = _mm512_fmadd_ps(s##i, a, b);
#define FMA_256(i) s##i = _mm256_fmadd_ps(s##i, a, b);
#define MUL_ADD_128(i) s##i = _mm_add_ps(_mm_mul_ps(s##i, a), b);
#define VNNI_512(i) s##i = _mm512_dpbusd_epi32(s##i, a, b);
#define VNNI_256(i) s##i = _mm256_dpbusd_avx_epi32(s##i, a, b);
#define ADD_UP(i) +s##i
#define ZERO

/* Sums tend to b/(1-a): no overflow, no denormal. */
PEAK(f32_avx512, "avx512f", f512, EACH_16, 16, ZERO, _mm512_set1_ps(0.5F), _mm512_set1_ps(1), FMA_512, 32,
     (uint64_t)_mm512_reduce_add_ps(EACH_16(ADD_UP)))
PEAK(f32_avx2, "avx2,fma", f256, EACH_12, 12, ZERO, _mm256_set1_ps(0.5F), _mm256_set1_ps(1), FMA_256, 16,
     (uint64_t)_mm256_cvtss_f32(EACH_12(ADD_UP)))
PEAK(f32_base, "sse2", f128, EACH_12, 12, ZERO, _mm_set1_ps(0.5F), _mm_set1_ps(1), MUL_ADD_128, 8, (uint64_t)_mm_cvtss_f32(EACH_12(ADD_UP)))
PEAK(int8_avx512, "avx512f,avx512vnni", i512, EACH_16, 16, ZERO, _mm512_set1_epi8(1), _mm512_set1_epi8(1), VNNI_512, 128,
     (uint64_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(EACH_16(ADD_UP))))
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define HAVE_AVXVNNI 1
PEAK(int8_avx2, "avx2,avxvnni", i256, EACH_12, 12, ZERO, _mm256_set1_epi8(1), _mm256_set1_epi8(1), VNNI_256, 64,
     (uint64_t)_mm256_extract_epi32(EACH_12(ADD_UP), 0))
#endif

TARGET("avx512f,avx512bf16") static double bf16_avx512(int64_t rounds) {
  EACH_16(DECLARE_f512)
  __m512i bits = _mm512_set1_epi16(0x3F80); /* 1.0 */
  for (int64_t i = 0; i < rounds; i++) {
    __asm__ volatile("" : "+v"(bits));
    __m512bh one = (__m512bh)bits;
#define DOT(i) s##i = _mm512_dpbf16_ps(s##i, one, one);
    EACH_16(DOT)
#undef DOT
  }
  sink += (uint64_t)_mm512_reduce_add_ps(EACH_16(ADD_UP));
  return (double)rounds * 16 * 64;
}

etk_peaks etk__peaks(const char *isa_features) {
  etk_peaks peaks = {f32_base, NULL, NULL, sum_base};
  if (etk__has_word(isa_features, "avx2") && etk__has_word(isa_features, "fma")) peaks.f32 = f32_avx2, peaks.sum = sum_avx2;
#if defined(HAVE_AVXVNNI)
  if (etk__has_word(isa_features, "avxvnni")) peaks.int8 = int8_avx2;
#endif
  if (etk__has_word(isa_features, "avx512f")) peaks.f32 = f32_avx512, peaks.sum = sum_avx512;
  if (etk__has_word(isa_features, "avx512vnni")) peaks.int8 = int8_avx512;
  if (etk__has_word(isa_features, "avx512bf16")) peaks.bf16 = bf16_avx512;
  return peaks;
}

#elif defined(__aarch64__)
/* Instructions by their encoding, for an assembler need not know them: Arm Architecture Reference Manual, FMLA (vector), BFDOT (vector), SDOT (vector).
 * 24 sums in v0 … v23, operands in v30 and v31. */
#define ALL_24(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19) \
  DO(20) DO(21) DO(22) DO(23)
#define CLEAR(i) "movi v" #i ".4s, #0\n"
#define CLOBBER "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", \
  "v21", "v22", "v23", "v30", "v31", "cc"
#define FMLA(i) ".inst 0x4E3FCFC0 + " #i "\n"  /* fmla v<i>.4s, v30.4s, v31.4s */
#define BFDOT(i) ".inst 0x6E5FFFC0 + " #i "\n" /* bfdot v<i>.4s, v30.8h, v31.8h */
#define SDOT(i) ".inst 0x4E9F97C0 + " #i "\n"  /* sdot v<i>.4s, v30.16b, v31.16b */
#define PEAK(name, OP, operations)                                                                                                          \
  static double name(int64_t rounds) {                                                                                                      \
    int64_t left = rounds;                                                                                                                  \
    if (rounds < 1) return 0;                                                                                                               \
    __asm__ volatile(ALL_24(CLEAR) "movi v30.4s, #0\nmovi v31.4s, #0\n1:\n" ALL_24(OP) "subs %0, %0, #1\nb.ne 1b\n" : "+r"(left) : : CLOBBER); \
    return (double)rounds * 24 * (operations);                                                                                              \
  }
PEAK(f32_neon, FMLA, 8)
PEAK(bf16_neon, BFDOT, 16)
PEAK(int8_neon, SDOT, 32)

etk_peaks etk__peaks(const char *isa_features) {
  return (etk_peaks){f32_neon, etk__has_word(isa_features, "bf16") ? bf16_neon : NULL, etk__has_word(isa_features, "dotprod") ? int8_neon : NULL,
                     sum_base};
}

#else
static double f32_plain(int64_t rounds) {
  volatile float seed = 0.5F;
  float a = seed, s[16] = {0};
  for (int64_t i = 0; i < rounds; i++)
    for (int j = 0; j < 16; j++) s[j] = s[j] * a + 1;
  for (int j = 0; j < 16; j++) sink += (uint64_t)s[j];
  return (double)rounds * 32;
}
etk_peaks etk__peaks(const char *isa_features) {
  (void)isa_features;
  return (etk_peaks){f32_plain, NULL, NULL, sum_base};
}
#endif
