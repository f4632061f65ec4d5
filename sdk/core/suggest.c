/* suggest.c: what a person most likely meant. */
#include "etk/alloc.h"
#include "etk/text.h"

static unsigned char lower(char c) { return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c); }

static unsigned char folded(char c) { return c == '_' ? '-' : lower(c); }

static size_t min3(size_t a, size_t b, size_t c) {
  size_t least = a < b ? a : b;
  return least < c ? least : c;
}

/* One row of the distance table for a[i]; cells farther than `limit` from the diagonal stay at limit+1. Returns the row's least cell. */
static size_t fill_row(size_t *row, const size_t *previous, const size_t *before, const char *a, size_t i, const char *b, size_t n, size_t limit) {
  size_t far = limit + 1, least = far, low = i + 1 > limit ? i + 1 - limit : 0, high = n - i > limit + 1 ? i + 1 + limit : n;
  for (size_t j = 0; j <= n; j++) {
    if (j < low || j > high) {
      row[j] = far;
      continue;
    }
    if (j == 0) row[j] = i + 1;
    else {
      size_t cost = lower(a[i]) != lower(b[j - 1]);
      row[j] = min3(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + cost);
      bool swapped = i > 0 && j > 1 && lower(a[i]) == lower(b[j - 2]) && lower(a[i - 1]) == lower(b[j - 1]);
      if (swapped && before[j - 2] + 1 < row[j]) row[j] = before[j - 2] + 1;
    }
    if (row[j] > far) row[j] = far;
    if (row[j] < least) least = row[j];
  }
  return least;
}

size_t etk_text_distance(const char *a, const char *b, size_t limit) {
  size_t m = strlen(a), n = strlen(b), longest = m > n ? m : n;
  if (limit > longest) limit = longest;
  if ((m > n ? m - n : n - m) > limit) return limit + 1;
  if (m == 0 || n == 0) return longest;
  enum { SMALL = 64 };
  size_t small[3 * SMALL], *rows = n < SMALL ? small : etk_calloc(3 * (n + 1), sizeof *rows);
  if (!rows) return limit + 1;
  size_t *before = rows, *previous = rows + n + 1, *row = rows + 2 * (n + 1);
  for (size_t j = 0; j <= n; j++) before[j] = previous[j] = j <= limit ? j : limit + 1;
  size_t result = limit + 1;
  for (size_t i = 0; i < m; i++) {
    if (fill_row(row, previous, before, a, i, b, n, limit) > limit) break;
    if (i + 1 == m) result = row[n];
    size_t *oldest = before;
    before = previous, previous = row, row = oldest;
  }
  if (rows != small) etk_free(rows);
  return result;
}

bool etk_text_equal_name(const char *a, const char *b) {
  for (; *a && (*a == *b || (*a == '-' && *b == '_') || (*a == '_' && *b == '-')); a++) b++;
  return *a == *b;
}

static bool folded_prefix(const char *word, const char *candidate, bool *whole) {
  while (*word && folded(*word) == folded(*candidate)) word++, candidate++;
  *whole = !*candidate;
  return !*word;
}

const char *etk_text_suggest(const char *word, const char *const *candidates, size_t count) {
  if (!*word) return NULL;
  const char *prefixed = NULL;
  size_t prefixes = 0;
  for (size_t i = 0; i < count; i++) {
    bool whole;
    if (!folded_prefix(word, candidates[i], &whole)) continue;
    if (whole) return candidates[i];
    prefixed = candidates[i];
    prefixes++;
  }
  if (prefixes == 1) return prefixed;
  const char *nearest = NULL;
  size_t length = strlen(word), best = 2 + length / 4;
  for (size_t i = 0; i < count; i++) {
    size_t size = strlen(candidates[i]), distance = etk_text_distance(word, candidates[i], best - 1);
    if (distance >= best || distance >= (length > size ? length : size)) continue; /* nothing in common is not near */
    best = distance;
    nearest = candidates[i];
    if (best == 0) break;
  }
  return nearest;
}
