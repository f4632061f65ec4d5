/* hash_sha256.c: SHA-256 by the processor's own instructions: SHA-NI of x86-64, the cryptography extension of arm64. hash.c is the reference. */
#include "hash_internal.h"
#include <stdatomic.h>

static _Atomic bool portable_forced;
void etk__sha256_force_portable(bool force) { atomic_store(&portable_forced, force); }

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* Intel SDM, volume 2: SHA256RNDS2 does two rounds on the state held as ABEF and CDGH; SHA256MSG1 and SHA256MSG2 make four words of the schedule. */
__attribute__((target("sha,sse4.1,ssse3"))) static void with_sha_ni(uint32_t state[8], const unsigned char *p, size_t count) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state), hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
  __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
  for (; count > 0; count--, p += 64) {
    __m128i abef_before = abef, cdgh_before = cdgh, w[4];
    for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) { /* four rounds each */
      __m128i now = w[i % 4];
      if (i >= 4) {
        __m128i last = w[(i + 3) % 4];
        now = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]), _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
        w[i % 4] = now = _mm_sha256msg2_epu32(now, last);
      }
      __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(const void *)(etk__sha256_k + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static etk__sha256_blocks *detect(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 9 & 1) || !(c >> 19 & 1)) return NULL; /* SSSE3, SSE4.1 */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) ? with_sha_ni : NULL;
}

#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* Arm Architecture Reference Manual, C7.2: SHA256H and SHA256H2 do four rounds, SHA256SU0 and SHA256SU1 make four words of the schedule. */
#if defined(__clang__)
__attribute__((target("sha2")))
#else
__attribute__((target("+crypto")))
#endif
static void with_sha2(uint32_t state[8], const unsigned char *p, size_t count) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; count > 0; count--, p += 64) {
    uint32x4_t abcd_before = abcd, efgh_before = efgh, w[4];
    for (int i = 0; i < 4; i++) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      if (i >= 4) w[i % 4] = vsha256su1q_u32(vsha256su0q_u32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
      uint32x4_t sum = vaddq_u32(w[i % 4], vld1q_u32(etk__sha256_k + 4 * i)), held = abcd;
      abcd = vsha256hq_u32(abcd, efgh, sum);
      efgh = vsha256h2q_u32(efgh, held, sum);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}

static etk__sha256_blocks *detect(void) {
#if defined(__linux__)
  return getauxval(AT_HWCAP) & HWCAP_SHA2 ? with_sha2 : NULL;
#else
  return with_sha2; /* every Apple chip has it */
#endif
}
#else
static etk__sha256_blocks *detect(void) { return NULL; }
#endif

etk__sha256_blocks *etk__sha256_hardware(void) {
  static _Atomic int known; /* 0: not asked yet; 1: none; 2: there */
  if (atomic_load_explicit(&portable_forced, memory_order_relaxed)) return NULL;
  int answer = atomic_load_explicit(&known, memory_order_relaxed);
  if (answer == 1) return NULL;
  etk__sha256_blocks *found = NULL;
#if defined(__x86_64__)
  if (answer == 2) return with_sha_ni;
#elif defined(__aarch64__)
  if (answer == 2) return with_sha2;
#endif
  found = detect();
  atomic_store_explicit(&known, found ? 2 : 1, memory_order_relaxed);
  return found;
}
