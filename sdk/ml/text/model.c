#include "internal.h"

#include <string.h>

/* One piece to its ids: from the cache, else by the tokenizer's model. */

void etk__scratch_expect(etk__scratch *s, size_t bytes) {
  enum { WORTH_IT = 2048, LEAST = 256, MOST = 1 << 16 };
  if (s->cache || bytes < WORTH_IT) return;
  size_t slots = LEAST;
  while (slots < MOST && slots * 16 < bytes) slots *= 2;
  s->cache = etk_calloc(slots, sizeof *s->cache); /* without it only slower */
  s->cache_slots = s->cache ? slots : 0;
}

static etk__cached *slot_of(const etk__scratch *s, char key[16], const char *text, size_t size) {
  memset(key, 0, 16);
  memcpy(key, text, size);
  key[15] = (char)size;
  uint64_t halves[2];
  memcpy(halves, key, 16);
  uint64_t h = (halves[0] ^ halves[1] * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
  return &s->cache[(h ^ h >> 32) & (s->cache_slots - 1)];
}

static etk_status run(etk_error *e, const etk_tokenizer *t, etk__scratch *s, etk_ids *out, const char *text, size_t size) {
  switch (t->model) {
  case MODEL_UNIGRAM:
    return etk__unigram_encode(e, &t->unigram, s, out, text, size);
  case MODEL_WORDPIECE:
    return etk__wordpiece_encode(e, &t->wordpiece, &t->vocabulary, s, out, text, size);
  case MODEL_WORDLEVEL:
    return etk__wordlevel_encode(e, &t->wordpiece, &t->vocabulary, out, text, size);
  case MODEL_BPE:
    break;
  }
  return t->splitter.raw ? etk__bpe_encode_raw(e, &t->bpe, &t->vocabulary, s, out, text, size)
                         : etk__bpe_encode(e, &t->bpe, &t->vocabulary, s, out, text, size);
}

etk_status etk__model_encode(etk_error *e, const etk_tokenizer *t, etk__scratch *s, etk_ids *out, const char *text, size_t size) {
  if (!s->cache || size > ETK__CACHED_BYTES || !size) return run(e, t, s, out, text, size);
  char key[16];
  etk__cached *slot = slot_of(s, key, text, size);
  size_t before = out->count;
  if (!memcmp(slot->key, key, 16)) {
    bool ok = true;
    for (int32_t i = 0; ok && i < slot->count; i++) ok = etk_ids_push(out, slot->ids[i]);
    return ok ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
  }
  etk_status status = run(e, t, s, out, text, size);
  size_t count = out->count - before;
  if (status != ETK_OK || count > ETK__CACHED_IDS) return status;
  memcpy(slot->key, key, 16);
  slot->count = (int32_t)count;
  memcpy(slot->ids, out->items + before, count * sizeof *slot->ids);
  return ETK_OK;
}
