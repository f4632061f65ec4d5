#include "internal.h"

#include <string.h>

etk_status etk__scratch_init(etk_error *e, etk__scratch *scratch) {
  memset(scratch, 0, sizeof *scratch);
  scratch->match = etk__regex_data();
  return scratch->match ? ETK_OK : etk__no_memory(e, "tokenizer");
}

void etk__scratch_fini(etk__scratch *scratch) {
  etk_free(scratch->symbols);
  etk_free(scratch->heap);
  etk_free(scratch->cache);
  etk_free(scratch->reaches);
  etk_free(scratch->points);
  etk_text_free(&scratch->character);
  etk_text_free(&scratch->spelled);
  for (int i = 0; i < ETK__MAX_STEPS; i++) etk_text_free(&scratch->levels[i]);
  pcre2_match_data_free(scratch->match);
}

bool etk__scratch_push(etk__scratch *s, int32_t id) {
  if (s->symbol_count >= INT32_MAX) return false;
  if (s->symbol_count == s->symbol_capacity) {
    size_t capacity = s->symbol_capacity ? s->symbol_capacity * 2 : 64;
    etk__symbol *symbols = etk_realloc(s->symbols, capacity, sizeof *symbols);
    if (!symbols) return false;
    s->symbols = symbols;
    s->symbol_capacity = capacity;
  }
  s->symbols[s->symbol_count++].id = id;
  return true;
}

/* ---- merging: a doubly linked list of symbols and a heap of candidate pairs, best rank first, then leftmost ---- */

static bool before(const etk__candidate *a, const etk__candidate *b) { return a->rank != b->rank ? a->rank < b->rank : a->position < b->position; }

bool etk__heap_push(etk__scratch *s, etk__candidate item) {
  if (s->heap_count == s->heap_capacity) {
    size_t capacity = s->heap_capacity ? s->heap_capacity * 2 : 64;
    etk__candidate *heap = etk_realloc(s->heap, capacity, sizeof *heap);
    if (!heap) return false;
    s->heap = heap;
    s->heap_capacity = capacity;
  }
  size_t at = s->heap_count++;
  for (; at && before(&item, &s->heap[(at - 1) / 2]); at = (at - 1) / 2) s->heap[at] = s->heap[(at - 1) / 2];
  s->heap[at] = item;
  return true;
}

etk__candidate etk__heap_pop(etk__scratch *s) {
  etk__candidate top = s->heap[0], last = s->heap[--s->heap_count];
  size_t at = 0, child;
  while ((child = at * 2 + 1) < s->heap_count) {
    if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!before(&s->heap[child], &last)) break;
    s->heap[at] = s->heap[child];
    at = child;
  }
  s->heap[at] = last;
  return top;
}

static bool offer(const etk__merges *merges, etk__scratch *s, int32_t left) {
  const etk__merge *merge = etk__merges_find(merges, s->symbols[left].id, s->symbols[s->symbols[left].next].id);
  return !merge || etk__heap_push(s, (etk__candidate){merge->rank, left, merge->id});
}

/* A candidate is stale when one of its symbols has since become part of another. */
static bool stale(const etk__merges *merges, const etk__scratch *s, const etk__candidate *c) {
  const etk__symbol *left = &s->symbols[c->position];
  if (left->id < 0 || left->next < 0) return true;
  const etk__merge *merge = etk__merges_find(merges, left->id, s->symbols[left->next].id);
  return !merge || merge->id != c->id;
}

/* Few symbols: the ranks of all neighbours are kept and searched, which costs less than a heap. */
enum { FEW = 32, MANY = 2048 };
static etk_status merge_few(etk_error *e, const etk__merges *merges, etk__scratch *s, etk_ids *out) {
  uint32_t ranks[FEW];
  int32_t ids[FEW], results[FEW], count = (int32_t)s->symbol_count;
  for (int32_t i = 0; i < count; i++) ids[i] = s->symbols[i].id;
  for (int32_t i = 0; i + 1 < count; i++) {
    const etk__merge *merge = etk__merges_find(merges, ids[i], ids[i + 1]);
    ranks[i] = merge ? merge->rank : UINT32_MAX;
    results[i] = merge ? merge->id : -1;
  }
  while (count > 1) {
    int32_t best = 0;
    for (int32_t i = 1; i + 1 < count; i++)
      if (ranks[i] < ranks[best]) best = i;
    if (results[best] < 0) break;
    ids[best] = results[best];
    count--;
    for (int32_t i = best + 1; i < count; i++) {
      ids[i] = ids[i + 1];
      ranks[i - 1] = ranks[i];
      results[i - 1] = results[i];
    }
    for (int32_t i = best ? best - 1 : 0; i <= best && i + 1 < count; i++) {
      const etk__merge *merge = etk__merges_find(merges, ids[i], ids[i + 1]);
      ranks[i] = merge ? merge->rank : UINT32_MAX;
      results[i] = merge ? merge->id : -1;
    }
  }
  for (int32_t i = 0; i < count; i++)
    if (!etk_ids_push(out, ids[i])) return etk__no_memory(e, "tokenizer: encoding");
  return ETK_OK;
}

static bool merge_heap(const etk__merges *merges, etk__scratch *s) {
  bool ok = true;
  for (int32_t i = 0; ok && i + 1 < (int32_t)s->symbol_count; i++) ok = offer(merges, s, i);
  while (ok && s->heap_count) {
    etk__candidate best = etk__heap_pop(s);
    if (stale(merges, s, &best)) continue;
    etk__symbol *left = &s->symbols[best.position], *right = &s->symbols[left->next];
    left->id = best.id;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0) s->symbols[left->next].previous = best.position;
    if (left->previous >= 0) ok = offer(merges, s, left->previous);
    if (ok && left->next >= 0) ok = offer(merges, s, best.position);
  }
  return ok;
}

etk_status etk__bpe_merge(etk_error *e, const etk__merges *merges, etk__scratch *s, etk_ids *out) {
  int32_t count = (int32_t)s->symbol_count;
  if (count <= FEW) return merge_few(e, merges, s, out);
  s->heap_count = 0;
  for (int32_t i = 0; i < count; i++) {
    s->symbols[i].previous = i - 1;
    s->symbols[i].next = i + 1 < count ? i + 1 : -1;
  }
  bool ok = count > MANY ? etk__bpe_merge_long(merges, s) : merge_heap(merges, s);
  for (int32_t i = 0; ok && i < count; i++)
    if (s->symbols[i].id >= 0) ok = etk_ids_push(out, s->symbols[i].id);
  return ok ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
}

/* ---- characters to first ids ---- */

/* Ids of the alphabet's characters, alone and with the suffix; false: some are missing. */
static bool index_alphabet(etk__bpe *bpe, const etk__vocabulary *v, etk_text *spelling) {
  for (int i = 0; i < 256; i++) {
    char bytes[4];
    size_t size = etk_utf8_encode(bytes, etk__byte_to_char((unsigned char)i));
    bpe->raw_inner[i] = bpe->raw_last[i] = etk__vocabulary_find(v, bytes, size);
    if (bpe->raw_inner[i] < 0) return false;
    if (!bpe->suffix) continue;
    spelling->size = 0;
    etk_text_append(spelling, bytes, size);
    etk_text_puts(spelling, bpe->suffix);
    if (spelling->failed) return false;
    bpe->raw_last[i] = etk__vocabulary_find(v, spelling->data, spelling->size);
    if (bpe->raw_last[i] < 0) return false;
  }
  return !bpe->prefix;
}

etk_status etk__bpe_index(etk_error *e, etk__bpe *bpe, const etk__vocabulary *v) {
  static const char digits[] = "0123456789ABCDEF";
  for (int i = 0; i < 256; i++) {
    char name[6] = {'<', '0', 'x', digits[i >> 4], digits[i & 15], '>'};
    bpe->bytes[i] = etk__vocabulary_find(v, name, sizeof name);
  }
  for (uint32_t c = 0; c < sizeof bpe->ascii / sizeof *bpe->ascii; c++) {
    char bytes[4];
    bpe->ascii[c] = etk__vocabulary_find(v, bytes, etk_utf8_encode(bytes, c));
  }
  etk_text spelling = ETK_TEXT_INIT;
  bpe->raw = index_alphabet(bpe, v, &spelling);
  bool failed = spelling.failed;
  etk_text_free(&spelling);
  return failed ? etk__no_memory(e, "tokenizer") : ETK_OK;
}

static int32_t lookup(const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *s, uint32_t c, const char *text, size_t size, bool first,
                      bool last) {
  bool prefixed = bpe->prefix && !first, suffixed = bpe->suffix && last;
  if (!prefixed && !suffixed) return c < sizeof bpe->ascii / sizeof *bpe->ascii ? bpe->ascii[c] : etk__vocabulary_find(v, text, size);
  s->character.size = 0;
  if (prefixed) etk_text_puts(&s->character, bpe->prefix);
  etk_text_append(&s->character, text, size);
  if (suffixed) etk_text_puts(&s->character, bpe->suffix);
  return etk__vocabulary_find(v, s->character.data ? s->character.data : "", s->character.size);
}

static bool push_fallback(const etk__bpe *bpe, etk__scratch *s, const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!etk__scratch_push(s, bpe->bytes[(unsigned char)text[i]])) return false;
  return true;
}
static bool has_fallback(const etk__bpe *bpe, const char *text, size_t size) {
  if (!bpe->byte_fallback) return false;
  for (size_t i = 0; i < size; i++)
    if (bpe->bytes[(unsigned char)text[i]] < 0) return false;
  return true;
}

etk_status etk__bpe_encode(etk_error *e, const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *s, etk_ids *out, const char *text,
                           size_t size) {
  if (!size) return ETK_OK;
  if (bpe->ignore_merges) {
    int32_t whole = etk__vocabulary_find(v, text, size);
    if (whole >= 0) return etk_ids_push(out, whole) ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
  }
  s->symbol_count = 0;
  bool ok = true, pending = false; /* an unknown token that is not pushed yet: it comes before the next known one, as in the reference */
  for (size_t i = 0, n; ok && i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) return etk_fail(e, ETK_E_INTERNAL, "tokenizer: text that is not UTF-8 reached the model");
    /* With a prefix or suffix the fallback is over the decorated character's bytes; no tokenizer has both, so the plain bytes serve. */
    int32_t id = lookup(bpe, v, s, c, text + i, n, i == 0, i + n == size);
    if (id >= 0) {
      if (pending) ok = etk__scratch_push(s, bpe->unknown);
      pending = false;
      ok = ok && etk__scratch_push(s, id);
    } else if (has_fallback(bpe, text + i, n)) {
      ok = push_fallback(bpe, s, text + i, n);
    } else if (bpe->unknown >= 0) {
      if (pending && !bpe->fuse_unknown) ok = etk__scratch_push(s, bpe->unknown);
      pending = true;
    }
  }
  if (ok && pending) ok = etk__scratch_push(s, bpe->unknown);
  if (!ok || s->character.failed) return etk__no_memory(e, "tokenizer: encoding");
  return etk__bpe_merge(e, &bpe->merges, s, out);
}

etk_status etk__bpe_encode_raw(etk_error *e, const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *s, etk_ids *out, const char *text,
                               size_t size) {
  if (!size) return ETK_OK;
  if (bpe->ignore_merges) {
    s->spelled.size = 0;
    etk__put_alphabet(&s->spelled, text, size);
    if (s->spelled.failed) return etk__no_memory(e, "tokenizer: encoding");
    int32_t whole = etk__vocabulary_find(v, s->spelled.data, s->spelled.size);
    if (whole >= 0) return etk_ids_push(out, whole) ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
  }
  s->symbol_count = 0;
  bool ok = true;
  for (size_t i = 0; ok && i + 1 < size; i++) ok = etk__scratch_push(s, bpe->raw_inner[(unsigned char)text[i]]);
  if (!ok || !etk__scratch_push(s, bpe->raw_last[(unsigned char)text[size - 1]])) return etk__no_memory(e, "tokenizer: encoding");
  return etk__bpe_merge(e, &bpe->merges, s, out);
}
