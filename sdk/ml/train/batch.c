#include <etk/dataset.h>
#include <string.h>

enum { CHUNK_BATCHES = 16 }; /* sorted by length together: more would waste less padding but make the order less random */

int64_t etk_batch_fill(int32_t *ids, int32_t *targets, int64_t rows, int64_t columns, const etk_sequence *sequences, size_t count) {
  int64_t counted = 0;
  for (int64_t i = 0; i < rows * columns; i++) {
    ids[i] = 0;
    targets[i] = -1;
  }
  for (int64_t row = 0; row < rows && (size_t)row < count; row++) {
    const etk_sequence *s = &sequences[row];
    for (int64_t t = 0; t < columns && t < s->count; t++) {
      ids[row * columns + t] = s->ids[t];
      if (t + 1 >= s->count || t + 1 < s->masked) continue;
      targets[row * columns + t] = s->ids[t + 1];
      counted++;
    }
  }
  return counted;
}

/* ---- the order of an epoch ---------------------------------------------------------------------------------------------------------------- */

typedef struct sorting {
  const etk_dataset *dataset;
  uint64_t salt;
} sorting;

/* Equal lengths (windows of a text) must not fall back into file order, so a hash breaks ties; the index breaks the hash's. */
static uint64_t tie(const sorting *s, size_t index) {
  uint64_t h = (uint64_t)index * 0x9e3779b97f4a7c15u ^ s->salt;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
  h = (h ^ h >> 27) * 0x94d049bb133111ebu;
  return h ^ h >> 31;
}

static bool shorter(const sorting *s, size_t a, size_t b) {
  int32_t x = etk_dataset_at(s->dataset, a).count, y = etk_dataset_at(s->dataset, b).count;
  if (x != y) return x < y;
  uint64_t m = tie(s, a), n = tie(s, b);
  return m != n ? m < n : a < b;
}

static void sift(const sorting *s, size_t *items, size_t at, size_t count) {
  size_t item = items[at], child;
  while ((child = at * 2 + 1) < count) {
    if (child + 1 < count && shorter(s, items[child], items[child + 1])) child++;
    if (!shorter(s, item, items[child])) break;
    items[at] = items[child];
    at = child;
  }
  items[at] = item;
}

/* Heap sort: in place, without the callback context that qsort lacks. */
static void sort_by_length(const sorting *s, size_t *items, size_t count) {
  for (size_t i = count / 2; i-- > 0;) sift(s, items, i, count);
  for (size_t end = count; end-- > 1;) {
    size_t longest = items[0];
    items[0] = items[end];
    items[end] = longest;
    sift(s, items, 0, end);
  }
}

static void swap_batches(size_t *a, size_t *b, size_t size) {
  for (size_t i = 0; a != b && i < size; i++) {
    size_t item = a[i];
    a[i] = b[i];
    b[i] = item;
  }
}

void etk_dataset_order(const etk_dataset *dataset, size_t *order, int64_t batch_size, uint64_t seed, uint64_t epoch) {
  size_t count = etk_dataset_count(dataset), size = batch_size > 0 ? (size_t)batch_size : 1;
  etk_rng rng = etk_rng_new(seed, epoch << 8);
  sorting s = {dataset, seed ^ epoch << 32};
  for (size_t i = 0; i < count; i++) order[i] = i;
  etk_rng_shuffle(&rng, order, count);
  size_t chunk = size > SIZE_MAX / CHUNK_BATCHES ? SIZE_MAX : size * CHUNK_BATCHES;
  for (size_t at = 0; at < count;) {
    size_t n = count - at < chunk ? count - at : chunk;
    sort_by_length(&s, order + at, n);
    at += n;
  }
  /* A last batch that is not full stays last, so that cutting the list by batch_size finds the batches again. */
  for (size_t i = count / size; i > 1; i--) swap_batches(order + (i - 1) * size, order + etk_rng_below(&rng, i) * size, size);
}
