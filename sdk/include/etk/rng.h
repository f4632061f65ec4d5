/* etk/rng.h: counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011).
 * A value is a pure function of (seed, stream, position): no state to save but three integers, any thread may take any part. */
#ifndef ETK_RNG_H
#define ETK_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_rng {
  uint64_t seed, stream; /* the key; streams of one seed are independent */
  uint64_t position;     /* 32-bit words drawn so far */
} etk_rng;

void etk_rng_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter); /* one Philox block */
etk_rng etk_rng_new(uint64_t seed, uint64_t stream);
uint32_t etk_rng_u32(etk_rng *rng);
uint64_t etk_rng_below(etk_rng *rng, uint64_t bound); /* uniform in [0, bound), unbiased; bound > 0 */
double etk_rng_uniform(etk_rng *rng);                 /* [0, 1), 53 bits */
double etk_rng_normal(etk_rng *rng);                  /* mean 0, deviation 1 (Box-Muller) */
void etk_rng_shuffle(etk_rng *rng, size_t *items, size_t count); /* Fisher-Yates */

#ifdef __cplusplus
}
#endif
#endif
