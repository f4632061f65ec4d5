/* Short sequences in rows of one length: best fit decreasing (Johnson 1974), the longest first, each into the row that it fills best. */
#include <etk/alloc.h>
#include <etk/dataset.h>
#include <string.h>

struct etk_packing {
  size_t *members; /* sequences, row after row */
  size_t *ends;    /* (rows): where in members each row ends */
  size_t rows;
};

/* While rows are filled: chains of rows by how much room they have, and which chains hold any. */
enum { NONE = -1, WORD = 64 };
struct shelf {
  int64_t columns;
  int64_t *first;      /* (columns + 1): a row with so much room, or NONE */
  int64_t *next;       /* (rows): the next with as much */
  uint64_t *occupied;  /* (columns / WORD + 1) */
  int64_t *row_of;     /* (sequences) */
  size_t *order;       /* (sequences): the longest first */
};

static void shelve(struct shelf *s, int64_t row, int64_t room) {
  s->next[row] = s->first[room];
  s->first[room] = row;
  s->occupied[room / WORD] |= UINT64_C(1) << room % WORD;
}

/* The least room of `wanted` or more that a row has, or NONE. */
static int64_t best_fit(const struct shelf *s, int64_t wanted) {
  int64_t word = wanted / WORD, words = s->columns / WORD + 1;
  uint64_t bits = s->occupied[word] & ~UINT64_C(0) << wanted % WORD;
  while (!bits && ++word < words) bits = s->occupied[word];
  return bits ? word * WORD + __builtin_ctzll(bits) : NONE;
}

static int64_t take(struct shelf *s, int64_t room) {
  int64_t row = s->first[room];
  s->first[room] = s->next[row];
  if (s->first[room] == NONE) s->occupied[room / WORD] &= ~(UINT64_C(1) << room % WORD);
  return row;
}

static int64_t inputs_of(const etk_dataset *data, size_t index, int64_t columns) {
  int64_t inputs = etk_dataset_at(data, index).count - 1; /* the last token is only a target */
  return inputs < columns ? inputs : columns;
}

/* By length, falling; equal ones in the order of a shuffle. `first` serves to count. */
static void sort(struct shelf *s, const etk_dataset *data, size_t *shuffled, uint64_t seed) {
  size_t count = etk_dataset_count(data), at = 0;
  etk_rng rng = etk_rng_new(seed, 5); /* streams of data sets: 3 the split, 5 packing, epoch << 8 the order */
  for (size_t i = 0; i < count; i++) shuffled[i] = i;
  etk_rng_shuffle(&rng, shuffled, count);
  for (int64_t i = 0; i <= s->columns; i++) s->first[i] = 0;
  for (size_t i = 0; i < count; i++) s->first[inputs_of(data, i, s->columns)]++;
  for (int64_t i = s->columns; i >= 0; i--) {
    size_t these = (size_t)s->first[i];
    s->first[i] = (int64_t)at;
    at += these;
  }
  for (size_t i = 0; i < count; i++) s->order[s->first[inputs_of(data, shuffled[i], s->columns)]++] = shuffled[i];
}

/* -> how many rows there are */
static size_t fill(struct shelf *s, const etk_dataset *data) {
  size_t count = etk_dataset_count(data), rows = 0;
  for (int64_t i = 0; i <= s->columns; i++) s->first[i] = NONE;
  for (size_t i = 0; i < count; i++) {
    int64_t inputs = inputs_of(data, s->order[i], s->columns), room = best_fit(s, inputs);
    int64_t row = room == NONE ? (int64_t)rows++ : take(s, room);
    s->row_of[s->order[i]] = row;
    shelve(s, row, (room == NONE ? s->columns : room) - inputs);
  }
  return rows;
}

static void list(etk_packing *p, const struct shelf *s, size_t count) {
  for (size_t i = 0; i < count; i++) p->ends[s->row_of[i]]++;
  for (size_t row = 1; row < p->rows; row++) p->ends[row] += p->ends[row - 1];
  for (size_t i = count; i-- > 0;) p->members[--p->ends[s->row_of[s->order[i]]]] = s->order[i]; /* ends are beginnings now */
  for (size_t row = 0; row < p->rows; row++) p->ends[row] = row + 1 < p->rows ? p->ends[row + 1] : count;
}

etk_status etk_packing_new(etk_error *e, etk_packing **out, const etk_dataset *data, int64_t columns, uint64_t seed) {
  *out = NULL;
  size_t count = etk_dataset_count(data);
  if (columns < 1 || columns > INT32_MAX) return etk_fail(e, ETK_E_INVALID, "packing: rows of %lld tokens, wanted 1 to %d", (long long)columns, INT32_MAX);
  if (!count) return etk_fail(e, ETK_E_INVALID, "packing: the data is empty");
  etk_packing *p = etk_calloc(1, sizeof *p);
  struct shelf s = {.columns = columns};
  s.first = etk_calloc((size_t)columns + 1, sizeof *s.first);
  s.next = etk_calloc(count, sizeof *s.next);
  s.occupied = etk_calloc((size_t)columns / WORD + 1, sizeof *s.occupied);
  s.row_of = etk_calloc(count, sizeof *s.row_of);
  s.order = etk_calloc(count, sizeof *s.order);
  if (p) p->members = etk_calloc(count, sizeof *p->members);
  if (p) p->ends = etk_calloc(count, sizeof *p->ends);
  bool ok = p && p->members && p->ends && s.first && s.next && s.occupied && s.row_of && s.order;
  if (ok) {
    sort(&s, data, p->members, seed);
    p->rows = fill(&s, data);
    list(p, &s, count);
    *out = p;
  } else etk_packing_free(p);
  etk_free(s.first);
  etk_free(s.next);
  etk_free(s.occupied);
  etk_free(s.row_of);
  etk_free(s.order);
  return ok ? ETK_OK : etk_fail_memory(e);
}

void etk_packing_free(etk_packing *p) {
  if (!p) return;
  etk_free(p->members);
  etk_free(p->ends);
  etk_free(p);
}

size_t etk_packing_rows(const etk_packing *p) { return p->rows; }
const size_t *etk_packing_row(const etk_packing *p, size_t row, size_t *count) {
  size_t begin = row ? p->ends[row - 1] : 0;
  *count = p->ends[row] - begin;
  return p->members + begin;
}
