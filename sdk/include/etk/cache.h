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

/* For kernels: K or V of one layer, (blocks, block_tokens, kv_heads, head_dim) f32. */
float *etk_cache_keys(const etk_cache *cache, int layer);
float *etk_cache_values(const etk_cache *cache, int layer);

#ifdef __cplusplus
}
#endif
#endif
