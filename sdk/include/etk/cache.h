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
  /* ETK_F32 (which is 0), ETK_F16 or (etk_dtype)ETK_Q8_0. F16: half the memory and half of what a token reads; keys and values are rounded to 11 bits as they
   * are written, and what is beyond 65504 becomes infinite. Q8_0: about half of that again; each 32 values of a head (head_dim is a multiple of 32) are rounded to
   * 255 steps of their largest. Sums are of F32 always. */
  etk_dtype dtype;
} etk_cache_options;
etk_status etk_cache_new(etk_error *e, etk_cache **out, const etk_cache_options *options);
void etk_cache_free(etk_cache *cache);
size_t etk_cache_bytes(const etk_cache *cache);
size_t etk_cache_page_bytes(const etk_cache *cache); /* of keys, and of values, of one block of one head */
const etk_cache_options *etk_cache_get_options(const etk_cache *cache);

/* Sequences: handles 0, 1, … ; reserve grows the table so that `tokens` positions fit (ETK_E_NO_MEMORY when blocks run out). */
etk_status etk_cache_sequence_new(etk_error *e, etk_cache *cache, int *sequence);
void etk_cache_sequence_free(etk_cache *cache, int sequence);
etk_status etk_cache_sequence_reserve(etk_error *e, etk_cache *cache, int sequence, int tokens);
/* Forgets positions from `tokens` on and returns whole free blocks. */
void etk_cache_sequence_trim(etk_cache *cache, int sequence, int tokens);
const int32_t *etk_cache_sequence_blocks(const etk_cache *cache, int sequence, int *count); /* borrowed until the next reserve */

/* For kernels: K or V of one layer, of the cache's dtype. A head's blocks lie side by side, and keys are transposed within a block, so that one vector holds
 * the same value of many keys: keys (kv_heads, blocks, head_dim, block_tokens), values (kv_heads, blocks, block_tokens, head_dim). Of Q8_0,
 * one block of one head is, for each 32 of head_dim, F16 scales (block_tokens) and then codes: of keys (32, block_tokens), of values (block_tokens, 32). */
void *etk_cache_keys(const etk_cache *cache, int layer);
void *etk_cache_values(const etk_cache *cache, int layer);

#ifdef __cplusplus
}
#endif
#endif
