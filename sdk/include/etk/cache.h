/* etk/cache.h: a paged key-value cache for generation.
 *
 * Storage is `blocks` blocks of `block_tokens` positions, shared by any number of sequences. A sequence is a table of block numbers and a length.
 * Recorded graphs know only the handle; which sequence sits in which batch row, at what length, is run-time data in int32 input tensors, so one
 * recorded graph serves every step and any mix of sequences. One thread at a time. */
#ifndef ETK_CACHE_H
#define ETK_CACHE_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_cache etk_cache;
typedef struct etk_cache_options {
  int layers, kv_heads, head_dim;
  int block_tokens; /* 0: 16 */
  int blocks;       /* total, shared by all sequences */
  /* ETK_F32 (which is 0), or ETK_F16: half the memory and half of what a token reads; keys and values are rounded to 11 bits as they are written, and what is
   * beyond 65504 becomes infinite. Sums are of F32 either way. */
  etk_dtype dtype;
} etk_cache_options;
etk_status etk_cache_new(etk_error *e, etk_cache **out, const etk_cache_options *options);
void etk_cache_free(etk_cache *cache);
size_t etk_cache_bytes(const etk_cache *cache);
const etk_cache_options *etk_cache_get_options(const etk_cache *cache);

/* Sequences: handles 0, 1, … ; reserve grows the table so that `tokens` positions fit (ETK_E_NO_MEMORY when blocks run out). */
etk_status etk_cache_sequence_new(etk_error *e, etk_cache *cache, int *sequence);
void etk_cache_sequence_free(etk_cache *cache, int sequence);
etk_status etk_cache_sequence_reserve(etk_error *e, etk_cache *cache, int sequence, int tokens);
/* Forgets positions from `tokens` on and returns whole free blocks. */
void etk_cache_sequence_trim(etk_cache *cache, int sequence, int tokens);
const int32_t *etk_cache_sequence_blocks(const etk_cache *cache, int sequence, int *count); /* borrowed until the next reserve */

/* For kernels: K or V of one layer, of the cache's dtype. A head's blocks lie side by side, and keys are transposed within a block, so that one vector holds
 * the same value of many keys: keys (kv_heads, blocks, head_dim, block_tokens), values (kv_heads, blocks, block_tokens, head_dim). */
void *etk_cache_keys(const etk_cache *cache, int layer);
void *etk_cache_values(const etk_cache *cache, int layer);

#ifdef __cplusplus
}
#endif
#endif
