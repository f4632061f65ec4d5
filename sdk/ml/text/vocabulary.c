#include "internal.h"

#include <string.h>

/* FNV-1a with a final mix: keys come from files, but a file that collides only slows its own reader down. */
static uint64_t hash_bytes(const char *text, size_t size) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
  return h ^ h >> 29;
}
static uint64_t hash_pair(uint64_t pair) {
  pair *= 0x9e3779b97f4a7c15u;
  return pair ^ pair >> 32;
}

static size_t find_slot(const etk__vocabulary *v, const char *text, size_t size) {
  size_t at = hash_bytes(text, size) & (v->slot_count - 1);
  while (v->slots[at] >= 0) {
    const etk__token *token = &v->tokens[v->slots[at]];
    if (token->size == size && !memcmp(token->text, text, size)) break;
    at = (at + 1) & (v->slot_count - 1);
  }
  return at;
}

static bool grow_slots(etk__vocabulary *v) {
  if (v->used * 2 < v->slot_count) return true;
  int32_t *old = v->slots;
  size_t old_count = v->slot_count, count = old_count ? old_count * 2 : 1024;
  int32_t *slots = etk_realloc(NULL, count, sizeof *slots);
  if (!slots) return false;
  memset(slots, 0xff, count * sizeof *slots);
  v->slots = slots;
  v->slot_count = count;
  for (size_t i = 0; i < old_count; i++)
    if (old[i] >= 0) slots[find_slot(v, v->tokens[old[i]].text, v->tokens[old[i]].size)] = old[i];
  etk_free(old);
  return true;
}

static bool grow_tokens(etk__vocabulary *v, size_t want) {
  if (want <= v->capacity) return true;
  size_t capacity = v->capacity ? v->capacity : 512;
  while (capacity < want) capacity *= 2;
  etk__token *tokens = etk_realloc(v->tokens, capacity, sizeof *tokens);
  if (!tokens) return false;
  memset(tokens + v->capacity, 0, (capacity - v->capacity) * sizeof *tokens);
  v->tokens = tokens;
  v->capacity = capacity;
  return true;
}

void etk__vocabulary_expect(etk__vocabulary *v, size_t tokens) {
  v->limit = tokens < (ETK__MAX_ID - 65536) / 8 ? 65536 + 8 * (int64_t)tokens : ETK__MAX_ID;
}

etk_status etk__vocabulary_add(etk_error *e, etk__vocabulary *v, const char *file, int64_t id, const char *text, size_t size, bool findable) {
  int64_t limit = v->limit ? v->limit : ETK__MAX_ID;
  if (id < 0 || id >= limit)
    return etk_fail(e, ETK_E_FORMAT, "%s: token '%.80s' has the id %lld; ids from 0 to %lld are possible", file, text, (long long)id,
                    (long long)limit - 1);
  if (size > UINT32_MAX / 2) return etk_fail(e, ETK_E_FORMAT, "%s: token %lld is %zu bytes long", file, (long long)id, size);
  if (!grow_tokens(v, (size_t)id + 1) || !grow_slots(v)) return etk__no_memory(e, file);
  etk__token *token = &v->tokens[id];
  if (token->text) return etk_fail(e, ETK_E_FORMAT, "%s: tokens '%.80s' and '%.80s' have the same id %lld", file, token->text, text, (long long)id);
  char *copy = etk_arena_alloc(&v->arena, size + 1);
  if (!copy) return etk__no_memory(e, file);
  memcpy(copy, text, size);
  token->text = copy;
  token->size = (uint32_t)size;
  if ((size_t)id >= v->count) v->count = (size_t)id + 1;
  if (!findable) return ETK_OK;
  size_t slot = find_slot(v, copy, size);
  if (v->slots[slot] < 0) v->used++;
  else return ETK_OK; /* the first of equal spellings is found */
  v->slots[slot] = (int32_t)id;
  return ETK_OK;
}

int32_t etk__vocabulary_find(const etk__vocabulary *v, const char *text, size_t size) {
  if (!v->slot_count) return -1;
  return v->slots[find_slot(v, text, size)];
}

void etk__vocabulary_fini(etk__vocabulary *v) {
  etk_free(v->tokens);
  etk_free(v->slots);
  etk_arena_fini(&v->arena);
}

/* ---- merges ---- */

static size_t find_merge(const etk__merges *m, uint64_t pair) {
  size_t at = hash_pair(pair) & (m->slot_count - 1);
  while (m->slots[at].pair != UINT64_MAX && m->slots[at].pair != pair) at = (at + 1) & (m->slot_count - 1);
  return at;
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

bool etk__merges_put(etk__merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id) {
  if (m->used * 2 >= m->slot_count) {
    etk__merges grown = {NULL, m->slot_count ? m->slot_count * 2 : 1024, m->used};
    grown.slots = etk_realloc(NULL, grown.slot_count, sizeof *grown.slots);
    if (!grown.slots) return false;
    memset(grown.slots, 0xff, grown.slot_count * sizeof *grown.slots);
    for (size_t i = 0; i < m->slot_count; i++)
      if (m->slots[i].pair != UINT64_MAX) grown.slots[find_merge(&grown, m->slots[i].pair)] = m->slots[i];
    etk_free(m->slots);
    *m = grown;
  }
  etk__merge *slot = &m->slots[find_merge(m, pair_of(left, right))];
  if (slot->pair == UINT64_MAX) m->used++;
  *slot = (etk__merge){pair_of(left, right), rank, id};
  return true;
}

const etk__merge *etk__merges_find(const etk__merges *m, int32_t left, int32_t right) {
  if (!m->slot_count) return NULL;
  const etk__merge *slot = &m->slots[find_merge(m, pair_of(left, right))];
  return slot->pair == UINT64_MAX ? NULL : slot;
}

void etk__merges_fini(etk__merges *m) { etk_free(m->slots); }
