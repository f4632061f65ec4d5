/* rng.c: Philox 4x32 with 10 rounds: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 * The key is the seed; the 128-bit counter is (counter, stream), low words first. */
#include "etk/rng.h"
#include <math.h>

void etk_rng_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter) {
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t a = UINT64_C(0xD2511F53) * c0, b = UINT64_C(0xCD9E8D57) * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)b;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)a;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

etk_rng etk_rng_new(uint64_t seed, uint64_t stream) { return (etk_rng){seed, stream, 0}; }

uint32_t etk_rng_u32(etk_rng *rng) {
  uint32_t block[4];
  etk_rng_block(block, rng->seed, rng->stream, rng->position / 4);
  return block[rng->position++ % 4];
}

static uint64_t next_u64(etk_rng *rng) {
  uint64_t low = etk_rng_u32(rng);
  return low | (uint64_t)etk_rng_u32(rng) << 32;
}

/* D. Lemire, "Fast random integer generation in an interval", 2019: the high half of a product, redrawn where the low half is in the biased rest. */
uint64_t etk_rng_below(etk_rng *rng, uint64_t bound) {
  if (bound == 0) return 0;
  __extension__ typedef unsigned __int128 wide;
  uint64_t rest = (0 - bound) % bound;
  for (;;) {
    wide product = (wide)next_u64(rng) * bound;
    if ((uint64_t)product >= rest) return (uint64_t)(product >> 64);
  }
}

double etk_rng_uniform(etk_rng *rng) { return (double)(next_u64(rng) >> 11) * 0x1p-53; }

double etk_rng_normal(etk_rng *rng) {
  double radius = sqrt(-2 * log(1 - etk_rng_uniform(rng))); /* 1 - u is in (0, 1] */
  return radius * cos(6.283185307179586476925 * etk_rng_uniform(rng));
}

void etk_rng_shuffle(etk_rng *rng, size_t *items, size_t count) {
  for (size_t i = count; i > 1; i--) {
    size_t j = (size_t)etk_rng_below(rng, i), held = items[i - 1];
    items[i - 1] = items[j];
    items[j] = held;
  }
}
