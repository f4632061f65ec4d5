#include "internal.h"

#include <etk/parallel.h>
#include <string.h>

/* The words of a corpus and how often each is there, counted by all threads. Texts are taken in parts, which end where no word can go on; each thread counts
 * its own parts, and the sums are sorted by spelling: nothing depends on who counted what. */

enum { PART_BYTES = 1 << 20 };

typedef struct part {
  const char *text;
  size_t size;
} part;

typedef struct counter { /* of one thread */
  etk_arena arena;
  etk__word *items;
  size_t count, capacity;
  uint32_t *slots; /* index + 1; 0: free */
  size_t slot_count;
  etk__scratch scratch;
  bool ready;
  etk_status status;
  etk_error e;
} counter;

typedef struct counting {
  const etk__splitter *splitter;
  const part *parts;
  counter *counters;
} counting;

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "training a tokenizer: out of memory"); }

static uint64_t hash_word(const char *text, size_t size) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

static bool grow(counter *c) {
  if (c->count == c->capacity) {
    size_t capacity = c->capacity ? c->capacity * 2 : 1024;
    etk__word *items = etk_realloc(c->items, capacity, sizeof *items);
    if (!items) return false;
    c->items = items;
    c->capacity = capacity;
  }
  if (c->count * 2 < c->slot_count) return true;
  size_t count = c->slot_count ? c->slot_count * 2 : 4096;
  uint32_t *slots = etk_calloc(count, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < c->count; i++) {
    size_t at = hash_word(c->items[i].text, c->items[i].size) & (count - 1);
    while (slots[at]) at = (at + 1) & (count - 1);
    slots[at] = (uint32_t)i + 1;
  }
  etk_free(c->slots);
  c->slots = slots;
  c->slot_count = count;
  return true;
}

static etk_status add(etk_error *e, counter *c, const char *text, size_t size, int64_t times, bool copied) {
  if (size > UINT32_MAX / 2 || c->count >= UINT32_MAX - 1) return etk_fail(e, ETK_E_UNSUPPORTED, "training a tokenizer: the text is too large");
  if (!grow(c)) return no_memory(e);
  size_t at = hash_word(text, size) & (c->slot_count - 1);
  for (; c->slots[at]; at = (at + 1) & (c->slot_count - 1)) {
    etk__word *known = &c->items[c->slots[at] - 1];
    if (known->size != size || memcmp(known->text, text, size)) continue;
    known->count += times;
    return ETK_OK;
  }
  if (!copied) {
    char *copy = etk_arena_alloc(&c->arena, size + 1);
    if (!copy) return no_memory(e);
    memcpy(copy, text, size);
    text = copy;
  }
  c->items[c->count++] = (etk__word){text, (uint32_t)size, times};
  c->slots[at] = (uint32_t)c->count;
  return ETK_OK;
}

static etk_status take(etk_error *e, void *user, const char *text, size_t size) { return size ? add(e, user, text, size, 1, false) : ETK_OK; }

static void count_part(counter *c, const etk__splitter *splitter, const part *p) {
  etk_text repaired = ETK_TEXT_INIT;
  const char *text = p->text;
  size_t size = p->size;
  if (!c->ready) c->status = etk__scratch_init(&c->e, &c->scratch);
  c->ready = true;
  if (c->status == ETK_OK && !etk_utf8_valid(text, size)) {
    etk__put_repaired(&repaired, text, size);
    if (repaired.failed) c->status = no_memory(&c->e);
    text = repaired.data;
    size = repaired.size;
  }
  if (c->status == ETK_OK && size) c->status = etk__split_run(&c->e, splitter, &c->scratch, text, size, true, take, c);
  etk_text_free(&repaired);
}

static void count_some(void *user, int64_t begin, int64_t end, int slot) {
  counting *all = user;
  counter *c = &all->counters[slot];
  for (int64_t i = begin; c->status == ETK_OK && i < end; i++) count_part(c, all->splitter, &all->parts[i]);
}

/* ---- parts ------------------------------------------------------------------------------------------------------------------------------------------ */

static bool may_end(const char *text, size_t at, char before) { return text[at] == before && text[at - 1] > ' ' && text[at - 1] < 0x7f; }

static size_t part_end(const char *text, size_t size, size_t from, char before) {
  size_t at = from + PART_BYTES;
  while (at < size && !may_end(text, at, before)) at++;
  return at < size ? at : size;
}

static etk_status cut(etk_error *e, part **out, size_t *out_count, const char *const *texts, const size_t *sizes, size_t count, char before) {
  size_t most = count;
  for (size_t i = 0; i < count; i++) most += sizes[i] / PART_BYTES;
  *out = etk_calloc(most + 1, sizeof **out);
  *out_count = 0;
  if (!*out) return no_memory(e);
  for (size_t i = 0; i < count; i++)
    for (size_t from = 0, to; from < sizes[i]; from = to) {
      to = part_end(texts[i], sizes[i], from, before);
      (*out)[(*out_count)++] = (part){texts[i] + from, to - from};
    }
  return ETK_OK;
}

/* ---- sums -------------------------------------------------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) {
  const etk__word *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
  return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* Into the first, whose words then point into the arenas of all. */
static etk_status sum(etk_error *e, etk__words *out, counter *counters, int threads) {
  etk_status s = ETK_OK;
  for (int i = 0; i < threads; i++)
    if (counters[i].status != ETK_OK) return etk_fail(e, counters[i].status, "%s", counters[i].e.message);
  for (int i = 1; s == ETK_OK && i < threads; i++)
    for (size_t j = 0; s == ETK_OK && j < counters[i].count; j++)
      s = add(e, &counters[0], counters[i].items[j].text, counters[i].items[j].size, counters[i].items[j].count, true);
  if (s != ETK_OK) return s;
  out->items = counters[0].items;
  out->count = counters[0].count;
  counters[0].items = NULL;
  if (out->count) qsort(out->items, out->count, sizeof *out->items, by_text);
  for (int i = 0; i < threads; i++) {
    out->arenas[i] = counters[i].arena;
    counters[i].arena = (etk_arena){0};
  }
  return ETK_OK;
}

etk_status etk__words_count(etk_error *e, etk__words *out, const etk__splitter *splitter, char before, const char *const *texts, const size_t *sizes,
                            size_t count) {
  int threads = etk_parallel_threads();
  part *parts = NULL;
  size_t part_count = 0;
  *out = (etk__words){.arenas = etk_calloc((size_t)threads, sizeof *out->arenas), .arena_count = (size_t)threads};
  counter *counters = etk_calloc((size_t)threads, sizeof *counters);
  etk_status s = counters && out->arenas ? cut(e, &parts, &part_count, texts, sizes, count, before) : no_memory(e);
  if (s == ETK_OK) {
    counting all = {splitter, parts, counters};
    etk_parallel_for((int64_t)part_count, 1, count_some, &all);
    s = sum(e, out, counters, threads);
  }
  for (int i = 0; counters && i < threads; i++) {
    etk_arena_fini(&counters[i].arena);
    etk_free(counters[i].items);
    etk_free(counters[i].slots);
    if (counters[i].ready) etk__scratch_fini(&counters[i].scratch);
  }
  etk_free(counters);
  etk_free(parts);
  return s;
}

void etk__words_fini(etk__words *words) {
  for (size_t i = 0; words->arenas && i < words->arena_count; i++) etk_arena_fini(&words->arenas[i]);
  etk_free(words->arenas);
  etk_free(words->items);
}
