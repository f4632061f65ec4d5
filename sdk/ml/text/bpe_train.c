#include "internal.h"

#include <inttypes.h>
#include <string.h>

/* Byte-pair encoding after Sennrich et al. (2016) over bytes, as GPT-2 does it: the text is cut into words, equal words are counted once, and the most
 * frequent pair of neighbours is joined until the vocabulary is full. Counts are kept up to date by visiting only the words that hold the pair. */

typedef struct word {
  uint32_t size; /* symbols */
  size_t start;  /* in trainer.symbols */
  int64_t count;
} word;

typedef struct pair {
  int32_t left, right;
  int64_t count;
  uint32_t *words; /* those that hold, or once held, the pair */
  uint32_t word_count, word_capacity;
  bool queued, changed;
} pair;

typedef struct entry { /* of the heap; the count may be out of date, then it is too high */
  int64_t count;
  uint32_t pair;
} entry;

typedef struct trainer {
  const etk_bpe_options *options;
  etk__words corpus;
  word *words; /* those of the corpus */
  int32_t *symbols;
  pair *pairs;
  size_t pair_count, pair_capacity;
  uint32_t *pair_slots; /* index + 1 */
  size_t pair_slot_count;
  entry *heap;
  size_t heap_count, heap_capacity;
  uint32_t *changed; /* pairs that grew in this step */
  size_t changed_count, changed_capacity;
  etk__vocabulary vocabulary;
  etk__join *joins;
  size_t join_count, join_capacity;
  int32_t byte_ids[256];
} trainer;

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "training a tokenizer: out of memory"); }

/* Makes room for one more item in an array. */
static bool reserve(void **items, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) return true;
  size_t grown = *capacity ? *capacity * 2 : 1024;
  void *moved = etk_realloc(*items, grown, size);
  if (!moved) return false;
  *items = moved;
  *capacity = grown;
  return true;
}

static uint64_t mix(uint64_t h) {
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}
static uint64_t hash_ids(int32_t left, int32_t right) { return mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right); }

/* ---- pairs ------------------------------------------------------------------------------------------------------------------------------ */

static bool grow_pair_slots(trainer *t) {
  if (t->pair_count * 2 < t->pair_slot_count) return true;
  size_t count = t->pair_slot_count ? t->pair_slot_count * 2 : 4096;
  uint32_t *slots = etk_calloc(count, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < t->pair_count; i++) {
    size_t at = hash_ids(t->pairs[i].left, t->pairs[i].right) & (count - 1);
    while (slots[at]) at = (at + 1) & (count - 1);
    slots[at] = (uint32_t)i + 1;
  }
  etk_free(t->pair_slots);
  t->pair_slots = slots;
  t->pair_slot_count = count;
  return true;
}

static pair *find_pair(trainer *t, int32_t left, int32_t right) {
  if (!grow_pair_slots(t) || !reserve((void **)&t->pairs, &t->pair_capacity, t->pair_count, sizeof *t->pairs)) return NULL;
  size_t at = hash_ids(left, right) & (t->pair_slot_count - 1);
  for (; t->pair_slots[at]; at = (at + 1) & (t->pair_slot_count - 1)) {
    pair *known = &t->pairs[t->pair_slots[at] - 1];
    if (known->left == left && known->right == right) return known;
  }
  t->pairs[t->pair_count] = (pair){.left = left, .right = right};
  t->pair_slots[at] = (uint32_t)++t->pair_count;
  return &t->pairs[t->pair_count - 1];
}

/* Adds to a pair's count; where it grows, remembers the word. */
static bool change_pair(trainer *t, int32_t left, int32_t right, int64_t by, uint32_t where) {
  pair *p = find_pair(t, left, right);
  if (!p) return false;
  p->count += by;
  if (by < 0) return true;
  if (!p->word_count || p->words[p->word_count - 1] != where) {
    size_t capacity = p->word_capacity;
    if (p->word_count == capacity) {
      capacity = capacity ? capacity * 2 : 4;
      uint32_t *grown = etk_realloc(p->words, capacity, sizeof *grown);
      if (!grown) return false;
      p->words = grown;
      p->word_capacity = (uint32_t)capacity;
    }
    p->words[p->word_count++] = where;
  }
  if (p->changed) return true;
  p->changed = true;
  if (!reserve((void **)&t->changed, &t->changed_capacity, t->changed_count, sizeof *t->changed)) return false;
  t->changed[t->changed_count++] = (uint32_t)(p - t->pairs);
  return true;
}

/* ---- the queue of pairs: most frequent first, then smaller ids ------------------------------------------------------------------------------- */

static bool better(const trainer *t, const entry *a, const entry *b) {
  if (a->count != b->count) return a->count > b->count;
  const pair *x = &t->pairs[a->pair], *y = &t->pairs[b->pair];
  return x->left != y->left ? x->left < y->left : x->right < y->right;
}

static bool heap_push(trainer *t, uint32_t index) {
  if (!reserve((void **)&t->heap, &t->heap_capacity, t->heap_count, sizeof *t->heap)) return false;
  entry item = {t->pairs[index].count, index};
  size_t at = t->heap_count++;
  for (; at && better(t, &item, &t->heap[(at - 1) / 2]); at = (at - 1) / 2) t->heap[at] = t->heap[(at - 1) / 2];
  t->heap[at] = item;
  return true;
}

static entry heap_pop(trainer *t) {
  entry top = t->heap[0], last = t->heap[--t->heap_count];
  size_t at = 0, child;
  while ((child = at * 2 + 1) < t->heap_count) {
    if (child + 1 < t->heap_count && better(t, &t->heap[child + 1], &t->heap[child])) child++;
    if (!better(t, &t->heap[child], &last)) break;
    t->heap[at] = t->heap[child];
    at = child;
  }
  t->heap[at] = last;
  return top;
}

static bool queue_changed(trainer *t) {
  for (size_t i = 0; i < t->changed_count; i++) {
    t->pairs[t->changed[i]].changed = false;
    if (t->pairs[t->changed[i]].count > 0 && !heap_push(t, t->changed[i])) return false;
  }
  t->changed_count = 0;
  return true;
}

/* ---- preparation ------------------------------------------------------------------------------------------------------------------------ */

static bool known_special(const char *const *special, size_t count, const char *token) {
  for (size_t i = 0; i < count; i++)
    if (token && !strcmp(special[i], token)) return true;
  return token == NULL;
}

etk_status etk__check_specials(etk_error *e, const char *const *special, size_t count, const char *bos, const char *eos) {
  for (size_t i = 0; i < count; i++) {
    if (!*special[i] || !etk_utf8_valid(special[i], strlen(special[i]))) return etk_fail(e, ETK_E_INVALID, "special token %zu is empty or not UTF-8", i);
    if (known_special(special, i, special[i])) return etk_fail(e, ETK_E_INVALID, "the special token '%s' is given twice", special[i]);
  }
  if (known_special(special, count, bos) && known_special(special, count, eos)) return ETK_OK;
  return etk_fail(e, ETK_E_INVALID, "'%s' is to begin or end texts but is not one of the special tokens", known_special(special, count, bos) ? eos : bos);
}

static etk_status check_options(etk_error *e, const etk_bpe_options *o) {
  if (o->vocabulary_size < (int)o->special_count + 256 || o->vocabulary_size > ETK__MAX_ID)
    return etk_fail(e, ETK_E_INVALID, "a vocabulary of %d tokens: between %zu (256 bytes and %zu special tokens) and %d are possible",
                    o->vocabulary_size, o->special_count + 256, o->special_count, ETK__MAX_ID);
  etk_status s = etk__check_specials(e, o->special, o->special_count, o->bos, o->eos);
  for (size_t i = 0; s == ETK_OK && i < o->special_count; i++) {
    uint32_t c;
    size_t size = strlen(o->special[i]);
    if (etk_utf8_decode(&c, o->special[i], size) == size && etk__char_to_byte(c) >= 0)
      return etk_fail(e, ETK_E_INVALID, "'%s' cannot be a special token: it is the spelling of a byte", o->special[i]);
  }
  return s;
}

/* Special tokens, then the alphabet by code point. */
static etk_status seed_vocabulary(etk_error *e, trainer *t) {
  int64_t id = 0;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < t->options->special_count; i++)
    s = etk__vocabulary_add(e, &t->vocabulary, "training a tokenizer", id++, t->options->special[i], strlen(t->options->special[i]), true);
  for (uint32_t c = 0; s == ETK_OK && c < 0x144; c++) {
    int byte = etk__char_to_byte(c);
    if (byte < 0) continue;
    char text[4];
    t->byte_ids[byte] = (int32_t)id;
    s = etk__vocabulary_add(e, &t->vocabulary, "training a tokenizer", id++, text, etk_utf8_encode(text, c), true);
  }
  return s;
}

static etk_status make_symbols(etk_error *e, trainer *t) {
  const etk__words *corpus = &t->corpus;
  size_t total = 0, at = 0;
  for (size_t i = 0; i < corpus->count; i++) total += corpus->items[i].size;
  t->symbols = etk_realloc(NULL, total + 1, sizeof *t->symbols);
  t->words = etk_calloc(corpus->count + 1, sizeof *t->words);
  if (!t->symbols || !t->words) return no_memory(e);
  for (size_t i = 0; i < corpus->count; i++) {
    const etk__word *from = &corpus->items[i];
    word *w = &t->words[i];
    *w = (word){from->size, at, from->count};
    for (uint32_t j = 0; j < w->size; j++) t->symbols[at++] = t->byte_ids[(unsigned char)from->text[j]];
    for (uint32_t j = 1; j < w->size; j++)
      if (!change_pair(t, t->symbols[w->start + j - 1], t->symbols[w->start + j], w->count, (uint32_t)i)) return no_memory(e);
  }
  return queue_changed(t) ? ETK_OK : no_memory(e);
}

/* ---- joining ---------------------------------------------------------------------------------------------------------------------------- */

static bool join_in_word(trainer *t, uint32_t index, int32_t left, int32_t right, int32_t id) {
  word *w = &t->words[index];
  int32_t *s = t->symbols + w->start;
  uint32_t out = 0;
  for (uint32_t in = 0; in < w->size; in++) {
    if (s[in] != left || in + 1 >= w->size || s[in + 1] != right) {
      s[out++] = s[in];
      continue;
    }
    if (out && !(change_pair(t, s[out - 1], left, -w->count, index) && change_pair(t, s[out - 1], id, w->count, index))) return false;
    in++;
    if (in + 1 < w->size && !(change_pair(t, right, s[in + 1], -w->count, index) && change_pair(t, id, s[in + 1], w->count, index))) return false;
    s[out++] = id;
  }
  w->size = out;
  return true;
}

static etk_status new_token(etk_error *e, trainer *t, int32_t left, int32_t right, int32_t *id) {
  const etk__token *a = &t->vocabulary.tokens[left], *b = &t->vocabulary.tokens[right];
  etk_text text = ETK_TEXT_INIT;
  etk_text_append(&text, a->text, a->size);
  etk_text_append(&text, b->text, b->size);
  etk_status s = text.failed ? no_memory(e) : ETK_OK;
  *id = s == ETK_OK ? etk__vocabulary_find(&t->vocabulary, text.data, text.size) : -1; /* two ways to the same spelling share an id */
  if (s == ETK_OK && *id < 0) {
    *id = (int32_t)t->vocabulary.count;
    s = etk__vocabulary_add(e, &t->vocabulary, "training a tokenizer", *id, text.data, text.size, true);
  }
  etk_text_free(&text);
  return s;
}

static etk_status join_best(etk_error *e, trainer *t, uint32_t index) {
  int32_t left = t->pairs[index].left, right = t->pairs[index].right, id;
  etk_status s = new_token(e, t, left, right, &id);
  if (s != ETK_OK) return s;
  if (!reserve((void **)&t->joins, &t->join_capacity, t->join_count, sizeof *t->joins)) return no_memory(e);
  t->joins[t->join_count++] = (etk__join){left, right, id};
  uint32_t *words = t->pairs[index].words, count = t->pairs[index].word_count;
  t->pairs[index].words = NULL;
  t->pairs[index].word_count = t->pairs[index].word_capacity = 0;
  bool ok = true;
  for (uint32_t i = 0; ok && i < count; i++) ok = join_in_word(t, words[i], left, right, id);
  etk_free(words);
  t->pairs[index].count = 0;
  return ok && queue_changed(t) ? ETK_OK : no_memory(e);
}

static etk_status join_all(etk_error *e, trainer *t) {
  int64_t least = t->options->minimum_frequency > 0 ? t->options->minimum_frequency : 2;
  etk_status s = ETK_OK;
  while (s == ETK_OK && t->heap_count && t->vocabulary.count < (size_t)t->options->vocabulary_size) {
    entry top = heap_pop(t);
    if (top.count != t->pairs[top.pair].count) { /* it shrank meanwhile */
      if (t->pairs[top.pair].count > 0 && !heap_push(t, top.pair)) s = no_memory(e);
      continue;
    }
    if (top.count < least) break;
    s = join_best(e, t, top.pair);
    if (t->options->progress) t->options->progress(t->options->user, (int64_t)t->vocabulary.count, t->options->vocabulary_size);
  }
  return s;
}

static void trainer_fini(trainer *t) {
  for (size_t i = 0; i < t->pair_count; i++) etk_free(t->pairs[i].words);
  etk_free(t->words);
  etk_free(t->symbols);
  etk_free(t->pairs);
  etk_free(t->pair_slots);
  etk_free(t->heap);
  etk_free(t->changed);
  etk_free(t->joins);
  etk__vocabulary_fini(&t->vocabulary);
  etk__words_fini(&t->corpus);
}

etk_status etk_bpe_train(etk_error *e, const char *path, const char *const *texts, const size_t *sizes, size_t count, const etk_bpe_options *options,
                         bool replace) {
  etk_status s = check_options(e, options);
  if (s != ETK_OK) return s;
  trainer t = {.options = options};
  etk__splitter splitter = {.count = 0};
  s = etk__splitter_add_pattern(e, &splitter, "training a tokenizer", etk__gpt2_pattern, false, SPLIT_ISOLATED, false);
  if (s == ETK_OK) s = seed_vocabulary(e, &t);
  if (s == ETK_OK) s = etk__words_count(e, &t.corpus, &splitter, '\n', texts, sizes, count);
  etk__splitter_fini(&splitter);
  if (s == ETK_OK) s = make_symbols(e, &t);
  if (s == ETK_OK) s = join_all(e, &t);
  if (s == ETK_OK) s = etk__bpe_write(e, path, &t.vocabulary, t.joins, t.join_count, options, replace);
  trainer_fini(&t);
  return s;
}
