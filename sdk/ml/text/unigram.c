#include "internal.h"

#include <math.h>
#include <string.h>

/* Unigram language model (Kudo 2018): of all ways to cut a text into pieces, the one with the largest sum of scores, found by dynamic programming over
 * the pieces that begin at each character. A character that no piece of its own covers may be unknown, ten below the worst piece. */

static const double unknown_penalty = 10.0;

/* ---- the trie: built level by level from the sorted pieces ------------------------------------------------------------------------------------ */

typedef struct spelled {
  const char *text;
  uint32_t size;
  int32_t id;
} spelled;
typedef struct span { /* pieces that share what leads to a node */
  size_t low, high;
  uint32_t depth;
} span;

static int by_text(const void *a, const void *b) {
  const spelled *x = a, *y = b;
  size_t n = x->size < y->size ? x->size : y->size;
  int order = memcmp(x->text, y->text, n);
  if (order) return order;
  if (x->size != y->size) return x->size < y->size ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

typedef struct building {
  etk__unigram *u;
  const spelled *items;
  span *spans; /* by node */
  size_t capacity;
} building;

static bool grow(building *b) {
  if (b->u->node_count < b->capacity) return true;
  size_t capacity = b->capacity ? b->capacity * 2 : 1024;
  etk__trie_node *nodes = etk_realloc(b->u->nodes, capacity, sizeof *nodes);
  if (!nodes) return false;
  b->u->nodes = nodes;
  span *spans = etk_realloc(b->spans, capacity, sizeof *spans);
  if (!spans) return false;
  b->spans = spans;
  b->capacity = capacity;
  return true;
}

static bool add_node(building *b, unsigned char label, size_t low, size_t high, uint32_t depth) {
  if (!grow(b)) return false;
  int32_t id = -1;
  while (low < high && b->items[low].size == depth) { /* the first of equal spellings */
    if (id < 0) id = b->items[low].id;
    low++;
  }
  b->u->nodes[b->u->node_count] = (etk__trie_node){.id = id, .label = label};
  b->spans[b->u->node_count++] = (span){low, high, depth};
  return true;
}

static bool add_children(building *b, size_t node) {
  span s = b->spans[node];
  uint32_t first = (uint32_t)b->u->node_count;
  for (size_t low = s.low, high; low < s.high; low = high) {
    unsigned char label = (unsigned char)b->items[low].text[s.depth];
    for (high = low; high < s.high && (unsigned char)b->items[high].text[s.depth] == label;) high++;
    if (!add_node(b, label, low, high, s.depth + 1)) return false;
  }
  b->u->nodes[node].first = first;
  b->u->nodes[node].count = (uint16_t)(b->u->node_count - first);
  return true;
}

static bool build_trie(etk__unigram *u, const spelled *items, size_t count) {
  building b = {.u = u, .items = items};
  bool ok = add_node(&b, 0, 0, count, 0);
  for (size_t node = 0; ok && node < u->node_count; node++) ok = add_children(&b, node);
  for (uint32_t i = 0; ok && i < u->nodes[0].count; i++) u->roots[u->nodes[u->nodes[0].first + i].label] = u->nodes[0].first + i;
  etk_free(b.spans);
  return ok;
}

etk_status etk__unigram_build(etk_error *e, etk__unigram *u, const etk__vocabulary *v, const char *file, const double *scores, const bool *pieces) {
  spelled *items = etk_calloc(v->count + 1, sizeof *items);
  u->scores = etk_calloc(v->count + 1, sizeof *u->scores);
  size_t count = 0;
  double least = INFINITY;
  for (size_t i = 0; items && u->scores && i < v->count; i++) {
    if (!v->tokens[i].text || !v->tokens[i].size || (pieces && !pieces[i])) continue;
    items[count++] = (spelled){v->tokens[i].text, v->tokens[i].size, (int32_t)i};
    u->scores[i] = scores[i];
    if (scores[i] < least) least = scores[i];
  }
  bool ok = items && u->scores;
  u->unknown_score = (count ? least : 0) - unknown_penalty;
  if (ok && count) qsort(items, count, sizeof *items, by_text);
  if (ok) ok = build_trie(u, items, count);
  for (int i = 0; i < 256; i++) {
    char name[7];
    snprintf(name, sizeof name, "<0x%02X>", i);
    u->bytes[i] = etk__vocabulary_find(v, name, 6);
  }
  etk_free(items);
  return ok ? ETK_OK : etk__no_memory(e, file);
}

void etk__unigram_fini(etk__unigram *u) {
  etk_free(u->nodes);
  etk_free(u->scores);
}

/* ---- the best path ---------------------------------------------------------------------------------------------------------------------------- */

const etk__trie_node *etk__trie_child(const etk__unigram *u, const etk__trie_node *node, unsigned char label) {
  const etk__trie_node *low = u->nodes + node->first, *high = low + node->count;
  while (low < high) {
    const etk__trie_node *middle = low + (high - low) / 2;
    if (middle->label == label) return middle;
    if (middle->label < label) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

static void offer(const etk__unigram *u, etk__reach *to, double score, int32_t id, size_t from) {
  if (to->from != UINT32_MAX && score <= to->score) return;
  *to = (etk__reach){u->single ? (double)(float)score : score, id, (uint32_t)from};
}

static void reach_from(const etk__unigram *u, etk__reach *reaches, const char *text, size_t size, size_t at, size_t character) {
  double here = reaches[at].score;
  bool alone = false; /* a piece covers just this character */
  uint32_t root = u->roots[(unsigned char)text[at]];
  const etk__trie_node *node = root ? &u->nodes[root] : NULL;
  for (size_t end = at + 1; node; end++) {
    if (node->id >= 0) {
      offer(u, &reaches[end], here + u->scores[node->id], node->id, at);
      alone = alone || end == at + character;
    }
    if (end == size || !node->count) break;
    node = etk__trie_child(u, node, (unsigned char)text[end]);
  }
  if (!alone) offer(u, &reaches[at + character], here + u->unknown_score, -1, at);
}

/* Only among the pieces that take part: control tokens are not to be had by their spelling. */
static int32_t find_piece(const etk__unigram *u, const char *text, size_t size) {
  const etk__trie_node *node = &u->nodes[0];
  for (size_t i = 0; node && i < size; i++) node = etk__trie_child(u, node, (unsigned char)text[i]);
  return node ? node->id : -1;
}

static bool put_unknown(const etk__unigram *u, etk_ids *out, const char *text, size_t size, bool *lost) {
  int32_t whole = find_piece(u, text, size);
  if (whole >= 0) return etk_ids_push(out, whole);
  bool bytes = u->byte_fallback;
  for (size_t i = 0; bytes && i < size; i++) bytes = u->bytes[(unsigned char)text[i]] >= 0;
  bool ok = true;
  for (size_t i = size; bytes && ok && i-- > 0;) ok = etk_ids_push(out, u->bytes[(unsigned char)text[i]]); /* turned around later */
  if (bytes) return ok;
  *lost = u->unknown < 0;
  return *lost || etk_ids_push(out, u->unknown);
}

static void turn_around(int32_t *ids, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    int32_t id = ids[i];
    ids[i] = ids[count - 1 - i];
    ids[count - 1 - i] = id;
  }
}

/* From the end to the beginning; neighbouring unknowns are one. */
static etk_status put_path(etk_error *e, const etk__unigram *u, const etk__reach *reaches, etk_ids *out, const char *text, size_t size) {
  size_t before = out->count;
  bool ok = true, lost = false;
  for (size_t end = size; ok && !lost && end > 0;) {
    size_t from = reaches[end].from;
    bool unknown = reaches[end].id < 0 || reaches[end].id == u->unknown;
    if (!unknown) ok = etk_ids_push(out, reaches[end].id);
    else {
      while (from > 0 && (reaches[from].id < 0 || reaches[from].id == u->unknown)) from = reaches[from].from;
      ok = put_unknown(u, out, text + from, end - from, &lost);
    }
    end = from;
  }
  if (lost) return etk_fail(e, ETK_E_INVALID, "tokenizer: the text has characters that are not in the vocabulary, and no unknown token is named");
  if (!ok) return etk__no_memory(e, "tokenizer: encoding");
  turn_around(out->items + before, out->count - before);
  return ETK_OK;
}

etk_status etk__unigram_encode(etk_error *e, const etk__unigram *u, etk__scratch *s, etk_ids *out, const char *text, size_t size) {
  if (size >= UINT32_MAX) return etk_fail(e, ETK_E_UNSUPPORTED, "tokenizer: a piece of %zu bytes", size);
  if (!size) return ETK_OK;
  if (size + 1 > s->reach_capacity) {
    size_t capacity = s->reach_capacity * 2 > size + 1 ? s->reach_capacity * 2 : size + 1;
    etk__reach *reaches = etk_realloc(s->reaches, capacity, sizeof *reaches);
    if (!reaches) return etk__no_memory(e, "tokenizer: encoding");
    s->reaches = reaches;
    s->reach_capacity = capacity;
  }
  for (size_t i = 0; i <= size; i++) s->reaches[i] = (etk__reach){0, -1, UINT32_MAX};
  s->reaches[0].from = 0;
  for (size_t at = 0, n; at < size; at += n) {
    uint32_t c;
    n = etk_utf8_decode(&c, text + at, size - at);
    if (!n) return etk_fail(e, ETK_E_INTERNAL, "tokenizer: text that is not UTF-8 reached the model");
    reach_from(u, s->reaches, text, size, at, n);
  }
  return put_path(e, u, s->reaches, out, text, size);
}
