#include "internal.h"

#include <string.h>

/* Merging a long piece in about linear time. A heap of all pairs would be walked from memory for every merge; but pairs have few different ranks, so
 * the places are kept in one list for each rank, and only the ranks are in a heap. Merges of one rank are done from left to right; what they make
 * nearly always has a later rank and goes to that rank's list. The odd pair of an earlier or equal rank goes to the scratch's heap, which comes first. */

typedef struct bucket {
  int32_t *places;
  size_t count, capacity;
  uint32_t rank;
  bool ascending, queued;
} bucket;
typedef struct merging {
  const etk__merges *merges;
  etk__scratch *scratch;
  bucket *buckets;
  size_t count, capacity;
  uint32_t *slots; /* of buckets by rank: index + 1; 0: free */
  size_t slot_count;
  uint32_t *queue; /* a heap of buckets, smallest rank first */
  size_t queue_count, queue_capacity;
  uint32_t rank; /* that is being merged */
  bool started;
} merging;

static size_t slot_of(const merging *m, uint32_t rank) {
  size_t at = (rank * 0x9e3779b1u) & (m->slot_count - 1);
  while (m->slots[at] && m->buckets[m->slots[at] - 1].rank != rank) at = (at + 1) & (m->slot_count - 1);
  return at;
}

static bool grow_slots(merging *m) {
  if (m->count * 2 < m->slot_count) return true;
  size_t count = m->slot_count ? m->slot_count * 2 : 256;
  uint32_t *slots = etk_calloc(count, sizeof *slots);
  if (!slots) return false;
  etk_free(m->slots);
  m->slots = slots;
  m->slot_count = count;
  for (size_t i = 0; i < m->count; i++) m->slots[slot_of(m, m->buckets[i].rank)] = (uint32_t)i + 1;
  return true;
}

static bucket *bucket_of(merging *m, uint32_t rank) {
  if (!grow_slots(m)) return NULL;
  size_t slot = slot_of(m, rank);
  if (m->slots[slot]) return &m->buckets[m->slots[slot] - 1];
  if (m->count == m->capacity) {
    size_t capacity = m->capacity ? m->capacity * 2 : 64;
    bucket *buckets = etk_realloc(m->buckets, capacity, sizeof *buckets);
    if (!buckets) return NULL;
    m->buckets = buckets;
    m->capacity = capacity;
  }
  m->buckets[m->count] = (bucket){.rank = rank, .ascending = true};
  m->slots[slot] = (uint32_t)++m->count;
  return &m->buckets[m->count - 1];
}

static bool enqueue(merging *m, uint32_t index) {
  if (m->queue_count == m->queue_capacity) {
    size_t capacity = m->queue_capacity ? m->queue_capacity * 2 : 64;
    uint32_t *queue = etk_realloc(m->queue, capacity, sizeof *queue);
    if (!queue) return false;
    m->queue = queue;
    m->queue_capacity = capacity;
  }
  size_t at = m->queue_count++;
  uint32_t rank = m->buckets[index].rank;
  for (; at && rank < m->buckets[m->queue[(at - 1) / 2]].rank; at = (at - 1) / 2) m->queue[at] = m->queue[(at - 1) / 2];
  m->queue[at] = index;
  m->buckets[index].queued = true;
  return true;
}

static uint32_t dequeue(merging *m) {
  uint32_t top = m->queue[0], last = m->queue[--m->queue_count];
  size_t at = 0, child;
  while ((child = at * 2 + 1) < m->queue_count) {
    if (child + 1 < m->queue_count && m->buckets[m->queue[child + 1]].rank < m->buckets[m->queue[child]].rank) child++;
    if (m->buckets[m->queue[child]].rank >= m->buckets[last].rank) break;
    m->queue[at] = m->queue[child];
    at = child;
  }
  m->queue[at] = last;
  m->buckets[top].queued = false;
  return top;
}

static const etk__merge *merge_at(const merging *m, int32_t place) {
  const etk__symbol *left = &m->scratch->symbols[place];
  if (left->id < 0 || left->next < 0) return NULL;
  return etk__merges_find(m->merges, left->id, m->scratch->symbols[left->next].id);
}

static bool offer(merging *m, int32_t place) {
  const etk__merge *merge = merge_at(m, place);
  if (!merge) return true;
  if (m->started && merge->rank <= m->rank) return etk__heap_push(m->scratch, (etk__candidate){merge->rank, place, merge->id});
  bucket *b = bucket_of(m, merge->rank);
  if (!b) return false;
  if (b->count == b->capacity) {
    size_t capacity = b->capacity ? b->capacity * 2 : 16;
    int32_t *places = etk_realloc(b->places, capacity, sizeof *places);
    if (!places) return false;
    b->places = places;
    b->capacity = capacity;
  }
  if (b->count && b->places[b->count - 1] > place) b->ascending = false;
  b->places[b->count++] = place;
  return b->queued || enqueue(m, (uint32_t)(b - m->buckets));
}

/* Joins the pair at a place if it is still there and still of the rank. */
static bool join(merging *m, int32_t place, uint32_t rank) {
  const etk__merge *merge = merge_at(m, place);
  if (!merge || merge->rank != rank) return true;
  etk__symbol *symbols = m->scratch->symbols, *left = &symbols[place], *right = &symbols[left->next];
  left->id = merge->id;
  left->next = right->next;
  right->id = -1;
  if (left->next >= 0) symbols[left->next].previous = place;
  return (left->previous < 0 || offer(m, left->previous)) && (left->next < 0 || offer(m, place));
}

static bool join_early(merging *m, uint32_t rank, int32_t place) {
  const etk__scratch *s = m->scratch;
  while (s->heap_count && (s->heap[0].rank < rank || s->heap[0].position < place)) {
    etk__candidate first = etk__heap_pop(m->scratch);
    if (!join(m, first.position, first.rank)) return false;
  }
  return true;
}

static int by_place(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return x < y ? -1 : x > y;
}

static bool join_bucket(merging *m, uint32_t index) {
  bucket taken = m->buckets[index]; /* others may move the buckets meanwhile */
  m->buckets[index].places = NULL;
  m->buckets[index].count = m->buckets[index].capacity = 0;
  m->buckets[index].ascending = true;
  m->rank = taken.rank;
  m->started = true;
  if (!taken.ascending) qsort(taken.places, taken.count, sizeof *taken.places, by_place);
  bool ok = true;
  for (size_t i = 0; ok && i < taken.count; i++) ok = join_early(m, taken.rank, taken.places[i]) && join(m, taken.places[i], taken.rank);
  etk_free(taken.places);
  return ok && join_early(m, taken.rank, INT32_MAX);
}

bool etk__bpe_merge_long(const etk__merges *merges, etk__scratch *scratch) {
  merging m = {.merges = merges, .scratch = scratch};
  bool ok = true;
  scratch->heap_count = 0;
  for (size_t i = 0; ok && i + 1 < scratch->symbol_count; i++) ok = offer(&m, (int32_t)i);
  while (ok && m.queue_count) ok = join_bucket(&m, dequeue(&m));
  for (size_t i = 0; i < m.count; i++) etk_free(m.buckets[i].places);
  etk_free(m.buckets);
  etk_free(m.slots);
  etk_free(m.queue);
  return ok;
}
