#include <etk/alloc.h>
#include <etk/cache.h>
#include <etk/quant.h>

struct sequence {
  bool used;
  int count;       /* blocks it has */
  int32_t *blocks; /* room for all blocks of the cache, so that reserve does not allocate */
};

struct etk_cache {
  etk_cache_options options;
  size_t page_bytes;   /* of one block of one head */
  size_t layer_bytes;  /* of keys; of values as many */
  unsigned char *data; /* (layers, 2, what etk/cache.h says) */
  int32_t *free;       /* a stack of free blocks */
  int free_count;
  struct sequence *sequences;
  int sequence_count;
};

/* Bytes of keys of one block of one head, of one layer, and of K and V of all of them; false where they overflow. */
static bool size_of(const etk_cache_options *o, size_t *page, size_t *layer, size_t *all) {
  if (etk_type_bytes(NULL, page, (etk_type)o->dtype, o->block_tokens, o->head_dim)) return false;
  if (__builtin_mul_overflow(*page, (size_t)o->blocks, layer) || __builtin_mul_overflow(*layer, (size_t)o->kv_heads, layer)) return false;
  return !__builtin_mul_overflow(*layer, 2 * (size_t)o->layers, all) && *all <= PTRDIFF_MAX;
}

static etk_status check_type(etk_error *e, const etk_cache_options *o) {
  bool codes = o->dtype == (etk_dtype)ETK_Q8_0;
  if (o->dtype != ETK_F32 && o->dtype != ETK_F16 && !codes)
    return etk_fail(e, ETK_E_UNSUPPORTED, "cache: keys and values as %s; F32, F16 and Q8_0 are supported", etk_dtype_name(o->dtype));
  if (codes && o->head_dim % etk_type_block_elements(ETK_Q8_0))
    return etk_fail(e, ETK_E_UNSUPPORTED, "cache: Q8_0 wants heads of a multiple of 32 values, these have %d: take F16", o->head_dim);
  return ETK_OK;
}

etk_status etk_cache_new(etk_error *e, etk_cache **out, const etk_cache_options *options) {
  etk_cache_options o = *options;
  size_t page, layer, bytes;
  *out = NULL;
  if (o.block_tokens == 0) o.block_tokens = 16;
  if (o.layers < 1 || o.kv_heads < 1 || o.head_dim < 1 || o.block_tokens < 1 || o.blocks < 1)
    return etk_fail(e, ETK_E_INVALID, "cache: %d layers, %d heads of %d, %d blocks of %d: each must be at least 1", o.layers, o.kv_heads, o.head_dim, o.blocks, o.block_tokens);
  etk_status status = check_type(e, &o);
  if (status) return status;
  if (!size_of(&o, &page, &layer, &bytes)) return etk_fail(e, ETK_E_NO_MEMORY, "cache: %d blocks of %d tokens are more than can be addressed", o.blocks, o.block_tokens);
  etk_cache *c = etk_calloc(1, sizeof *c);
  if (c) {
    c->options = o;
    c->page_bytes = page;
    c->layer_bytes = layer;
    c->data = etk_alloc_aligned(bytes, 64);
    c->free = etk_calloc((size_t)o.blocks, sizeof *c->free);
  }
  if (!c || !c->data || !c->free) {
    etk_cache_free(c);
    return etk_fail(e, ETK_E_NO_MEMORY, "cache: out of memory for %zu bytes (%d layers, %d blocks of %d tokens): try a shorter context", bytes, o.layers, o.blocks, o.block_tokens);
  }
  for (c->free_count = 0; c->free_count < o.blocks; c->free_count++) c->free[c->free_count] = o.blocks - 1 - c->free_count; /* block 0 on top */
  *out = c;
  return ETK_OK;
}

void etk_cache_free(etk_cache *c) {
  if (!c) return;
  for (int i = 0; i < c->sequence_count; i++) etk_free(c->sequences[i].blocks);
  etk_free(c->sequences);
  etk_free(c->free);
  etk_free(c->data);
  etk_free(c);
}

size_t etk_cache_bytes(const etk_cache *c) { return c->layer_bytes * 2 * (size_t)c->options.layers; }
size_t etk_cache_page_bytes(const etk_cache *c) { return c->page_bytes; }
const etk_cache_options *etk_cache_get_options(const etk_cache *c) { return &c->options; }
void *etk_cache_keys(const etk_cache *c, int layer) { return c->data + 2 * (size_t)layer * c->layer_bytes; }
void *etk_cache_values(const etk_cache *c, int layer) { return c->data + (2 * (size_t)layer + 1) * c->layer_bytes; }

static struct sequence *find(const etk_cache *c, int sequence) {
  return sequence >= 0 && sequence < c->sequence_count && c->sequences[sequence].used ? &c->sequences[sequence] : NULL;
}

etk_status etk_cache_sequence_new(etk_error *e, etk_cache *c, int *sequence) {
  int i = 0;
  while (i < c->sequence_count && c->sequences[i].used) i++;
  if (i == c->sequence_count) {
    struct sequence *grown = etk_realloc(c->sequences, (size_t)i + 1, sizeof *grown);
    if (!grown) return etk_fail(e, ETK_E_NO_MEMORY, "cache: out of memory for sequence %d", i);
    c->sequences = grown;
    c->sequences[c->sequence_count++] = (struct sequence){0};
  }
  struct sequence *s = &c->sequences[i];
  if (!s->blocks) s->blocks = etk_calloc((size_t)c->options.blocks, sizeof *s->blocks);
  if (!s->blocks) return etk_fail(e, ETK_E_NO_MEMORY, "cache: out of memory for sequence %d", i);
  s->used = true;
  s->count = 0;
  *sequence = i;
  return ETK_OK;
}

void etk_cache_sequence_trim(etk_cache *c, int sequence, int tokens) {
  struct sequence *s = find(c, sequence);
  if (!s) return;
  int keep = tokens <= 0 ? 0 : (tokens - 1) / c->options.block_tokens + 1;
  while (s->count > keep) c->free[c->free_count++] = s->blocks[--s->count];
}

void etk_cache_sequence_free(etk_cache *c, int sequence) {
  etk_cache_sequence_trim(c, sequence, 0);
  struct sequence *s = find(c, sequence);
  if (s) s->used = false;
}

etk_status etk_cache_sequence_reserve(etk_error *e, etk_cache *c, int sequence, int tokens) {
  struct sequence *s = find(c, sequence);
  if (!s) return etk_fail(e, ETK_E_INVALID, "cache: %d is not a sequence", sequence);
  int wanted = tokens <= 0 ? 0 : (tokens - 1) / c->options.block_tokens + 1;
  if (wanted - s->count > c->free_count)
    return etk_fail(e, ETK_E_NO_MEMORY, "cache: %d tokens need %d more blocks of %d, %d of %d are free: try a shorter text or a larger cache", tokens, wanted - s->count,
                    c->options.block_tokens, c->free_count, c->options.blocks);
  while (s->count < wanted) s->blocks[s->count++] = c->free[--c->free_count];
  return ETK_OK;
}

const int32_t *etk_cache_sequence_blocks(const etk_cache *c, int sequence, int *count) {
  const struct sequence *s = find(c, sequence);
  *count = s ? s->count : 0;
  return s ? s->blocks : NULL;
}
