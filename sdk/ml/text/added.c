#include "internal.h"

#include <string.h>

static int by_text(const void *a, const void *b) {
  const etk__added_token *x = a, *y = b;
  size_t n = x->size < y->size ? x->size : y->size;
  int order = memcmp(x->text, y->text, n);
  if (order) return order;
  if (x->size != y->size) return x->size < y->size ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

void etk__added_index(etk__added *added) {
  if (added->count) qsort(added->items, added->count, sizeof *added->items, by_text);
  for (size_t i = 0; i < added->count; i++) added->first[(unsigned char)added->items[i].text[0]] = true;
}

/* First index in [low, high) whose byte at `depth` is at least `byte`; all of them share what stands before. */
static size_t lower_bound(const etk__added *added, size_t low, size_t high, size_t depth, unsigned byte) {
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const etk__added_token *item = &added->items[middle];
    if (depth >= item->size || (unsigned char)item->text[depth] < byte) low = middle + 1;
    else high = middle;
  }
  return low;
}

/* The longest token that stands at text: the sorted list is narrowed byte by byte. */
const etk__added_token *etk__added_at(const etk__added *added, const char *text, size_t size) {
  if (!size || !added->first[(unsigned char)*text]) return NULL;
  const etk__added_token *best = NULL;
  size_t low = 0, high = added->count;
  for (size_t depth = 0; depth < size && low < high; depth++) {
    unsigned byte = (unsigned char)text[depth];
    low = lower_bound(added, low, high, depth, byte);
    high = lower_bound(added, low, high, depth, byte + 1);
    if (low < high && added->items[low].size == depth + 1) best = &added->items[low];
  }
  return best;
}

/* The code point that ends at `end`; returns its first byte's position. */
static size_t step_back(const char *text, size_t end, uint32_t *c) {
  size_t at = end - 1;
  while (at > 0 && end - at < 4 && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
  if (!etk_utf8_decode(c, text + at, end - at)) *c = 0xfffd;
  return at;
}

static bool stands_alone(const char *text, size_t size, size_t start, size_t end) {
  uint32_t c;
  if (start > 0) {
    step_back(text, start, &c);
    if (etk__is_word(c)) return false;
  }
  if (end < size) {
    if (!etk_utf8_decode(&c, text + end, size - end)) c = 0xfffd;
    if (etk__is_word(c)) return false;
  }
  return true;
}

static size_t spaces_before(const char *text, size_t start, size_t from) {
  while (start > from) {
    uint32_t c;
    size_t at = step_back(text, start, &c);
    if (!etk__is_space(c) || at < from) break;
    start = at;
  }
  return start;
}

static size_t spaces_after(const char *text, size_t size, size_t end) {
  while (end < size) {
    uint32_t c;
    size_t n = etk_utf8_decode(&c, text + end, size - end);
    if (!n || !etk__is_space(c)) break;
    end += n;
  }
  return end;
}

bool etk__added_find(const etk__added *added, const char *text, size_t size, size_t at, size_t from, bool parse_special, etk__added_match *out) {
  *out = (etk__added_match){-1, size, size};
  if (!added->count) return false;
  while (at < size) {
    const etk__added_token *token = etk__added_at(added, text + at, size - at);
    if (!token) {
      at++;
      continue;
    }
    size_t start = at, end = at + token->size;
    at = end; /* a token that does not count still hides what overlaps it */
    if ((token->special && !parse_special) || (token->single_word && !stands_alone(text, size, start, end))) continue;
    if (token->left) start = spaces_before(text, start, from);
    if (token->right) end = spaces_after(text, size, end);
    *out = (etk__added_match){token->id, start, end};
    return true;
  }
  return false;
}
