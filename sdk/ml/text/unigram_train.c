#include "internal.h"

#include <etk/fs.h>
#include <etk/parallel.h>
#include <math.h>
#include <string.h>

/* Training of a Unigram model (Kudo 2018): from the frequent substrings of the words on, rounds of expectation maximization over all ways to cut each word,
 * and between them the pieces go whose loss costs the likelihood least, until the vocabulary is as small as wanted. Single characters stay.
 *
 * Threads add expected counts as whole numbers (2^-20 of a count), whose sums do not depend on the order: the same texts give the same file. */

enum { LONGEST = 16, MOST_SEEDS = 1000000, ROUNDS = 2, UNIT = 1 << 20 };
static const char mark[] = "\xe2\x96\x81";
static const double shrink = 0.75, usual_coverage = 0.9995;

typedef struct piece {
  const char *text; /* in the corpus */
  uint32_t size, characters;
  double score;
  int64_t count; /* expected (in UNITs), or on the best paths */
  double loss;
} piece;

typedef struct edge {
  uint32_t from, to;
  int32_t id;
} edge;

typedef struct worker { /* one thread's room */
  double *ahead, *behind;
  uint32_t *from;
  int32_t *ids;
  size_t room;
  edge *edges;
  size_t edge_count, edge_room;
  int64_t likelihood; /* in UNITs of a nat */
  bool failed;
} worker;

typedef struct trainer {
  const etk_unigram_options *options;
  etk__words corpus, words; /* as they are; without characters that are too rare (items alone are its own) */
  piece *pieces;
  size_t count;
  etk__unigram trie; /* of the pieces */
  worker *workers;
  int threads;
  int64_t characters; /* of the corpus */
  int64_t least;      /* pieces at the end */
} trainer;

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "training a tokenizer: out of memory"); }

static uint32_t characters_in(const char *text, size_t size) {
  uint32_t count = 0;
  for (size_t i = 0; i < size; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
  return count;
}

static int compare(const char *a, size_t a_size, const char *b, size_t b_size) {
  int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return order ? order : (a_size > b_size) - (a_size < b_size);
}

/* ---- characters: the frequent ones are pieces, words are cut at the others ------------------------------------------------------------------------------ */

typedef struct character {
  uint32_t c;
  int64_t count;
} character;

static int by_code(const void *a, const void *b) {
  const character *x = a, *y = b;
  return (x->c > y->c) - (x->c < y->c);
}
static int by_count(const void *a, const void *b) {
  const character *x = a, *y = b;
  if (x->count != y->count) return x->count > y->count ? -1 : 1;
  return by_code(a, b);
}

/* kept: sorted by code, those that make up `coverage` of the text, and the mark. */
static etk_status choose_characters(etk_error *e, trainer *t, character **kept, size_t *kept_count) {
  enum { CODES = 0x110000 };
  int64_t *counts = etk_calloc(CODES, sizeof *counts), total = 0, sum = 0;
  *kept = NULL;
  *kept_count = 0;
  if (!counts) return no_memory(e);
  for (size_t i = 0; i < t->corpus.count; i++)
    for (size_t at = 0, n; at < t->corpus.items[i].size; at += n) {
      uint32_t c = 0;
      n = etk_utf8_decode(&c, t->corpus.items[i].text + at, t->corpus.items[i].size - at);
      if (!n) n = 1;
      counts[c] += t->corpus.items[i].count;
      t->characters += t->corpus.items[i].count;
    }
  total = t->characters - counts[0x2581];
  size_t count = 0;
  for (uint32_t c = 0; c < CODES; c++) count += counts[c] > 0;
  *kept = etk_calloc(count + 1, sizeof **kept);
  count = 0;
  for (uint32_t c = 0; *kept && c < CODES; c++)
    if (counts[c]) (*kept)[count++] = (character){c, c == 0x2581 ? INT64_MAX : counts[c]};
  etk_free(counts);
  if (!*kept) return no_memory(e);
  if (count) qsort(*kept, count, sizeof **kept, by_count);
  double coverage = t->options->coverage > 0 ? t->options->coverage : usual_coverage;
  while (*kept_count < count && (double)sum < coverage * (double)total) {
    int64_t add = (*kept)[*kept_count].count;
    sum += add == INT64_MAX ? 0 : add;
    (*kept_count)++;
  }
  if (*kept_count) qsort(*kept, *kept_count, sizeof **kept, by_code);
  return ETK_OK;
}

static bool is_kept(const character *kept, size_t count, uint32_t c) {
  character key = {c, 0};
  return count && bsearch(&key, kept, count, sizeof key, by_code);
}

static bool push_word(etk__words *words, size_t *room, const char *text, size_t size, int64_t count) {
  if (!size) return true;
  if (words->count == *room) {
    size_t more = *room ? *room * 2 : 4096;
    etk__word *items = etk_realloc(words->items, more, sizeof *items);
    if (!items) return false;
    words->items = items;
    *room = more;
  }
  words->items[words->count++] = (etk__word){text, (uint32_t)size, count};
  return true;
}

static etk_status cut_words(etk_error *e, trainer *t, const character *kept, size_t kept_count) {
  size_t room = 0;
  bool ok = true;
  for (size_t i = 0; ok && i < t->corpus.count; i++) {
    const etk__word *w = &t->corpus.items[i];
    size_t begin = 0;
    for (size_t at = 0, n; ok && at < w->size; at += n) {
      uint32_t c = 0;
      n = etk_utf8_decode(&c, w->text + at, w->size - at);
      if (!n) n = 1;
      if (is_kept(kept, kept_count, c)) continue;
      ok = push_word(&t->words, &room, w->text + begin, at - begin, w->count);
      begin = at + n;
    }
    if (ok) ok = push_word(&t->words, &room, w->text + begin, w->size - begin, w->count);
  }
  return ok ? ETK_OK : no_memory(e);
}

/* ---- seeds: substrings that are there twice, from the sorted suffixes of all words ------------------------------------------------------------------------ */

typedef struct suffix {
  const char *text;
  uint32_t size; /* to the end of the word, LONGEST characters at most */
  int64_t count;
} suffix;

static int by_suffix(const void *a, const void *b) {
  const suffix *x = a, *y = b;
  return compare(x->text, x->size, y->text, y->size);
}

static uint32_t first_characters(const char *text, size_t size) {
  size_t at = 0;
  for (int i = 0; i < LONGEST && at < size; i++)
    for (at++; at < size && ((unsigned char)text[at] & 0xc0) == 0x80;) at++;
  return (uint32_t)at;
}

static etk_status list_suffixes(etk_error *e, const trainer *t, suffix **out, size_t *count) {
  size_t total = 0;
  for (size_t i = 0; i < t->words.count; i++) total += characters_in(t->words.items[i].text, t->words.items[i].size);
  *out = etk_calloc(total + 1, sizeof **out);
  *count = 0;
  if (!*out) return no_memory(e);
  for (size_t i = 0; i < t->words.count; i++) {
    const etk__word *w = &t->words.items[i];
    for (size_t at = 0; at < w->size; at++)
      if (((unsigned char)w->text[at] & 0xc0) != 0x80) (*out)[(*count)++] = (suffix){w->text + at, first_characters(w->text + at, w->size - at), w->count};
  }
  return ETK_OK;
}

typedef struct sorting {
  suffix *items;
  size_t starts[257];
} sorting;

static void sort_some(void *user, int64_t begin, int64_t end, int slot) {
  sorting *s = user;
  (void)slot;
  for (int64_t i = begin; i < end; i++)
    if (s->starts[i + 1] > s->starts[i]) qsort(s->items + s->starts[i], s->starts[i + 1] - s->starts[i], sizeof *s->items, by_suffix);
}

/* By their first bytes into 256 heaps, which threads sort. */
static etk_status sort_suffixes(etk_error *e, suffix **items, size_t count) {
  sorting s = {.items = etk_calloc(count + 1, sizeof **items)};
  size_t next[256];
  if (!s.items) return no_memory(e);
  for (size_t i = 0; i < count; i++) s.starts[(unsigned char)(*items)[i].text[0] + 1]++;
  for (int i = 0; i < 256; i++) {
    next[i] = s.starts[i];
    s.starts[i + 1] += s.starts[i];
  }
  for (size_t i = 0; i < count; i++) s.items[next[(unsigned char)(*items)[i].text[0]]++] = (*items)[i];
  etk_parallel_for(256, 1, sort_some, &s);
  etk_free(*items);
  *items = s.items;
  return ETK_OK;
}

static uint32_t common(const suffix *a, const suffix *b) {
  uint32_t n = 0;
  while (n < a->size && n < b->size && a->text[n] == b->text[n]) n++;
  while (n > 0 && n < a->size && ((unsigned char)a->text[n] & 0xc0) == 0x80) n--;
  return n;
}

static bool push_piece(trainer *t, size_t *room, const char *text, size_t size, int64_t count) {
  if (t->count == *room) {
    size_t more = *room ? *room * 2 : 4096;
    piece *pieces = etk_realloc(t->pieces, more, sizeof *pieces);
    if (!pieces) return false;
    t->pieces = pieces;
    *room = more;
  }
  uint32_t characters = characters_in(text, size);
  t->pieces[t->count++] = (piece){.text = text, .size = (uint32_t)size, .characters = characters, .count = count, .loss = (double)count * characters};
  return true;
}

typedef struct open_prefix { /* shared by the suffixes from here on */
  uint32_t size;
  int64_t count;
} open_prefix;

/* Walks the sorted suffixes with a stack of the prefixes they share; one that ends is a seed if it is there twice, or is one character. */
static bool walk(trainer *t, const suffix *s, size_t count) {
  open_prefix stack[4 * LONGEST + 2];
  size_t depth = 0, room = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t shared = i ? common(&s[i - 1], &s[i]) : 0, whole = s[i].size;
    int64_t carried = 0;
    while (depth && stack[depth - 1].size > shared) { /* these end with the suffix before */
      open_prefix p = stack[--depth];
      p.count += carried;
      if ((p.count > 1 || characters_in(s[i - 1].text, p.size) == 1) && !push_piece(t, &room, s[i - 1].text, p.size, p.count)) return false;
      carried = p.count;
      if (depth && stack[depth - 1].size >= shared) continue;
      if (shared) stack[depth++] = (open_prefix){shared, carried}, carried = 0;
      break;
    }
    if (depth) stack[depth - 1].count += carried;
    if (!depth || stack[depth - 1].size < whole) stack[depth++] = (open_prefix){whole, 0};
    stack[depth - 1].count += s[i].count;
  }
  for (int64_t carried = 0; depth;) {
    open_prefix p = stack[--depth];
    p.count += carried;
    if ((p.count > 1 || characters_in(s[count - 1].text, p.size) == 1) && !push_piece(t, &room, s[count - 1].text, p.size, p.count)) return false;
    carried = p.count;
  }
  return true;
}

/* Characters first, then what covers most of the text. */
static int by_cover(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if ((x->characters == 1) != (y->characters == 1)) return x->characters == 1 ? -1 : 1;
  if (x->loss != y->loss) return x->loss > y->loss ? -1 : 1;
  return compare(x->text, x->size, y->text, y->size);
}

/* A single character that only begins longer shared prefixes has no end of its own in the walk: all of them are counted here. */
static etk_status add_characters(etk_error *e, trainer *t, const suffix *s, size_t count) {
  size_t room = t->count, at = 0;
  for (size_t i = 0; i < t->count; i++)
    if (t->pieces[i].characters > 1) t->pieces[at++] = t->pieces[i];
  t->count = at;
  for (size_t i = 0; i < count;) {
    size_t n = 1, j = i;
    int64_t sum = 0;
    while (n < s[i].size && ((unsigned char)s[i].text[n] & 0xc0) == 0x80) n++;
    for (; j < count && s[j].size >= n && !memcmp(s[j].text, s[i].text, n); j++) sum += s[j].count;
    if (!push_piece(t, &room, s[i].text, n, sum)) return no_memory(e);
    i = j;
  }
  return ETK_OK;
}

static etk_status make_seeds(etk_error *e, trainer *t, size_t kept_count) {
  suffix *s;
  size_t count;
  etk_status status = list_suffixes(e, t, &s, &count);
  if (status == ETK_OK) status = sort_suffixes(e, &s, count);
  if (status == ETK_OK && !walk(t, s, count)) status = no_memory(e);
  if (status == ETK_OK) status = add_characters(e, t, s, count);
  etk_free(s);
  if (status != ETK_OK) return status;
  if (t->count) qsort(t->pieces, t->count, sizeof *t->pieces, by_cover);
  if (t->count > MOST_SEEDS + kept_count) t->count = MOST_SEEDS + kept_count;
  double total = 0;
  for (size_t i = 0; i < t->count; i++) total += t->pieces[i].loss;
  for (size_t i = 0; i < t->count; i++) t->pieces[i].score = log(t->pieces[i].loss / total);
  return ETK_OK;
}

/* ---- all ways to cut a word ------------------------------------------------------------------------------------------------------------------------------ */

static etk_status build_trie(etk_error *e, trainer *t) {
  etk__token *tokens = etk_calloc(t->count + 1, sizeof *tokens);
  double *scores = etk_calloc(t->count + 1, sizeof *scores);
  etk_status s = tokens && scores ? ETK_OK : no_memory(e);
  for (size_t i = 0; s == ETK_OK && i < t->count; i++) {
    tokens[i] = (etk__token){.text = t->pieces[i].text, .size = t->pieces[i].size};
    scores[i] = t->pieces[i].score;
  }
  etk__unigram_fini(&t->trie);
  t->trie = (etk__unigram){.unknown = -1};
  if (s == ETK_OK) s = etk__unigram_build(e, &t->trie, &(etk__vocabulary){.tokens = tokens, .count = t->count}, "training a tokenizer", scores, NULL);
  etk_free(tokens);
  etk_free(scores);
  return s;
}

static bool make_room(worker *w, size_t size) {
  if (size + 1 <= w->room) return true;
  size_t room = w->room * 2 > size + 1 ? w->room * 2 : size + 1;
  void *moved[4] = {etk_realloc(w->ahead, room, sizeof *w->ahead), NULL, NULL, NULL};
  if (moved[0]) w->ahead = moved[0], moved[1] = etk_realloc(w->behind, room, sizeof *w->behind);
  if (moved[1]) w->behind = moved[1], moved[2] = etk_realloc(w->from, room, sizeof *w->from);
  if (moved[2]) w->from = moved[2], moved[3] = etk_realloc(w->ids, room, sizeof *w->ids);
  if (!moved[3]) return false;
  w->ids = moved[3];
  w->room = room;
  return true;
}

static bool push_edge(worker *w, uint32_t from, uint32_t to, int32_t id) {
  if (w->edge_count == w->edge_room) {
    size_t room = w->edge_room ? w->edge_room * 2 : 1024;
    edge *edges = etk_realloc(w->edges, room, sizeof *edges);
    if (!edges) return false;
    w->edges = edges;
    w->edge_room = room;
  }
  w->edges[w->edge_count++] = (edge){from, to, id};
  return true;
}

/* All pieces in a text, by where they begin; `without` is not one. */
static bool list_edges(const trainer *t, worker *w, const char *text, size_t size, int32_t without) {
  w->edge_count = 0;
  for (size_t at = 0; at < size; at++) {
    uint32_t root = t->trie.roots[(unsigned char)text[at]];
    const etk__trie_node *node = root ? &t->trie.nodes[root] : NULL;
    for (size_t end = at + 1; node; end++) {
      if (node->id >= 0 && node->id != without && !push_edge(w, (uint32_t)at, (uint32_t)end, node->id)) return false;
      if (end == size || !node->count) break;
      node = etk__trie_child(&t->trie, node, (unsigned char)text[end]);
    }
  }
  return true;
}

static double sum_of_logs(double a, double b) {
  double high = a > b ? a : b, low = a > b ? b : a;
  return low == -INFINITY ? high : high + log1p(exp(low - high));
}

static void expect_word(trainer *t, worker *w, const etk__word *word) {
  if (!make_room(w, word->size) || !list_edges(t, w, word->text, word->size, -1)) {
    w->failed = true;
    return;
  }
  for (size_t i = 0; i <= word->size; i++) w->ahead[i] = w->behind[i] = -INFINITY;
  w->ahead[0] = w->behind[word->size] = 0;
  for (size_t i = 0; i < w->edge_count; i++) {
    const edge *x = &w->edges[i];
    w->ahead[x->to] = sum_of_logs(w->ahead[x->to], w->ahead[x->from] + t->pieces[x->id].score);
  }
  double whole = w->ahead[word->size];
  for (size_t i = w->edge_count; i-- > 0;) {
    const edge *x = &w->edges[i];
    double score = t->pieces[x->id].score;
    w->behind[x->from] = sum_of_logs(w->behind[x->from], w->behind[x->to] + score);
    double expected = exp(w->ahead[x->from] + score + w->behind[x->to] - whole) * (double)word->count * UNIT;
    if (expected >= 0.5) __atomic_fetch_add(&t->pieces[x->id].count, llround(expected), __ATOMIC_RELAXED);
  }
  w->likelihood += llround(whole * (double)word->count * UNIT / 64); /* room for 10^12 characters */
}

static void expect_some(void *user, int64_t begin, int64_t end, int slot) {
  trainer *t = user;
  for (int64_t i = begin; i < end; i++) expect_word(t, &t->workers[slot], &t->words.items[i]);
}

static etk_status each_word(etk_error *e, trainer *t, etk_parallel_body body) {
  for (size_t i = 0; i < t->count; i++) t->pieces[i].count = 0;
  for (int i = 0; i < t->threads; i++) t->workers[i].likelihood = 0;
  etk_parallel_for((int64_t)t->words.count, 64, body, t);
  for (int i = 0; i < t->threads; i++)
    if (t->workers[i].failed) return no_memory(e);
  return ETK_OK;
}

static etk_status maximize(etk_error *e, trainer *t) {
  etk_status s = each_word(e, t, expect_some);
  if (s != ETK_OK) return s;
  int64_t likelihood = 0;
  double total = 0;
  for (int i = 0; i < t->threads; i++) likelihood += t->workers[i].likelihood;
  for (size_t i = 0; i < t->count; i++) total += (double)t->pieces[i].count;
  for (size_t i = 0; i < t->count; i++) t->pieces[i].score = log((t->pieces[i].count > 0 ? (double)t->pieces[i].count : 0.5) / total);
  double bits = -(double)likelihood * 64 / UNIT / log(2) / (double)(t->characters ? t->characters : 1);
  if (t->options->round) t->options->round(t->options->user, (int64_t)t->count, bits);
  return ETK_OK;
}

/* ---- which pieces can go ---------------------------------------------------------------------------------------------------------------------------------- */

/* The best way through a text; its ids from the end on at w->ids[0..*count). */
static double best_path(const trainer *t, worker *w, const char *text, size_t size, int32_t without, size_t *count) {
  *count = 0;
  if (!make_room(w, size) || !list_edges(t, w, text, size, without)) {
    w->failed = true;
    return -INFINITY;
  }
  for (size_t i = 0; i <= size; i++) w->ahead[i] = -INFINITY;
  w->ahead[0] = 0;
  for (size_t i = 0; i < w->edge_count; i++) {
    const edge *x = &w->edges[i];
    double score = w->ahead[x->from] + t->pieces[x->id].score;
    if (!(score > w->ahead[x->to])) continue;
    w->ahead[x->to] = score;
    w->from[x->to] = (uint32_t)i;
  }
  for (size_t at = size; at > 0 && w->ahead[size] > -INFINITY;) {
    const edge *x = &w->edges[w->from[at]];
    w->ids[(*count)++] = x->id;
    at = x->from;
  }
  return w->ahead[size];
}

static void count_best(void *user, int64_t begin, int64_t end, int slot) {
  trainer *t = user;
  worker *w = &t->workers[slot];
  for (int64_t i = begin; i < end; i++) {
    size_t count;
    best_path(t, w, t->words.items[i].text, t->words.items[i].size, -1, &count);
    for (size_t j = 0; j < count; j++) __atomic_fetch_add(&t->pieces[w->ids[j]].count, t->words.items[i].count, __ATOMIC_RELAXED);
  }
}

typedef struct judging {
  trainer *t;
  double total; /* pieces on all best paths */
} judging;

/* How much worse the corpus becomes by a piece's best replacement; negative where that is better already. */
static void judge_some(void *user, int64_t begin, int64_t end, int slot) {
  judging *j = user;
  worker *w = &j->t->workers[slot];
  for (int64_t i = begin; i < end; i++) {
    piece *p = &j->t->pieces[i];
    size_t parts;
    p->loss = INFINITY;
    if (p->characters == 1) continue;
    double other = best_path(j->t, w, p->text, p->size, (int32_t)i, &parts);
    p->loss = other >= p->score ? -1 : 0;
    if (p->loss < 0 || !p->count) continue;
    double count = (double)p->count, grown = log(j->total + count * ((double)parts - 1)), replaced = 0;
    for (size_t k = 0; k < parts; k++) replaced += log((double)j->t->pieces[w->ids[k]].count + count) - grown;
    p->loss = count * (log(count) - log(j->total) - replaced);
  }
}

static int by_loss(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->loss != y->loss) return x->loss > y->loss ? -1 : 1;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return compare(x->text, x->size, y->text, y->size);
}

static etk_status prune(etk_error *e, trainer *t) {
  etk_status s = each_word(e, t, count_best);
  if (s != ETK_OK) return s;
  judging j = {t, 0};
  for (size_t i = 0; i < t->count; i++) j.total += (double)t->pieces[i].count;
  etk_parallel_for((int64_t)t->count, 64, judge_some, &j);
  for (int i = 0; i < t->threads; i++)
    if (t->workers[i].failed) return no_memory(e);
  qsort(t->pieces, t->count, sizeof *t->pieces, by_loss);
  int64_t keep = (int64_t)((double)t->count * shrink);
  t->count = (size_t)(keep > t->least ? keep : t->least);
  return build_trie(e, t);
}

static etk_status shrink_to_size(etk_error *e, trainer *t) {
  etk_status s = build_trie(e, t);
  while (s == ETK_OK) {
    for (int i = 0; s == ETK_OK && i < ROUNDS; i++) s = maximize(e, t);
    if (s != ETK_OK || (int64_t)t->count <= t->least) return s;
    s = prune(e, t);
    if (t->options->progress) t->options->progress(t->options->user, t->least, (int64_t)t->count);
  }
  return s;
}

/* ---- the file ---------------------------------------------------------------------------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return compare(x->text, x->size, y->text, y->size);
}

static void put_entry(etk_text *out, const char *text, size_t size, double score, bool first) {
  etk_text_puts(out, first ? "\n      [" : ",\n      [");
  etk_text_json(out, text, size);
  etk_text_puts(out, ", ");
  etk_text_real(out, score);
  etk_text_putc(out, ']');
}

static void put_decoder(etk_text *out, bool bytes) {
  if (!bytes) etk_text_puts(out, "  \"decoder\": {\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", \"prepend_scheme\": \"always\", \"split\": true},\n");
  else
    etk_text_puts(out, "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, "
                       "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]},\n");
}

static etk_status write_file(etk_error *e, const trainer *t, const char *path, const char *const *special, size_t special_count, size_t unknown,
                             bool replace) {
  const etk_unigram_options *o = t->options;
  double least = t->count ? t->pieces[t->count - 1].score : 0;
  etk_text text = ETK_TEXT_INIT;
  char name[8];
  etk_text_puts(&text, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
  etk__put_specials(&text, special, special_count);
  etk_text_puts(&text, "  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", \"prepend_scheme\": \"always\", "
                       "\"split\": true},\n");
  if (o->bos) etk__put_begin(&text, special, special_count, o->bos);
  else etk_text_puts(&text, "  \"post_processor\": null,\n");
  put_decoder(&text, o->byte_fallback);
  etk_text_printf(&text, "  \"model\": {\n    \"type\": \"Unigram\",\n    \"unk_id\": %zu,\n    \"byte_fallback\": %s,\n    \"vocab\": [", unknown,
                  o->byte_fallback ? "true" : "false");
  for (size_t i = 0; i < special_count; i++) put_entry(&text, special[i], strlen(special[i]), 0, !i);
  for (int i = 0; o->byte_fallback && i < 256; i++) {
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
    put_entry(&text, name, 6, least, false);
  }
  for (size_t i = 0; i < t->count; i++) put_entry(&text, t->pieces[i].text, t->pieces[i].size, t->pieces[i].score, false);
  etk_text_puts(&text, "\n    ]\n  }\n}\n");
  etk_status s = text.failed ? no_memory(e) : etk_fs_write(e, path, text.data, text.size, replace);
  etk_text_free(&text);
  return s == ETK_OK ? etk__write_ends(e, path, o->bos, o->eos, replace) : s;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------------------------------- */

static etk_status count_all(etk_error *e, trainer *t, const char *const *texts, const size_t *sizes, size_t count) {
  etk__splitter splitter = {.count = 0};
  etk__split *step;
  etk_status s = etk__splitter_add(e, &splitter, "training a tokenizer", SPLIT_METASPACE, &step);
  if (s != ETK_OK) return s;
  step->replacement = mark;
  step->replacement_size = 3;
  step->scheme = PREPEND_ALWAYS;
  s = etk__splitter_add_pattern(e, &splitter, "training a tokenizer", mark, true, SPLIT_MERGED_WITH_NEXT, false);
  if (s == ETK_OK) s = etk__words_count(e, &t->corpus, &splitter, ' ', texts, sizes, count);
  etk__splitter_fini(&splitter);
  return s;
}

static etk_status train(etk_error *e, trainer *t, size_t reserved) {
  character *kept;
  size_t kept_count;
  etk_status s = choose_characters(e, t, &kept, &kept_count);
  t->least = (int64_t)t->options->vocabulary_size - (int64_t)reserved;
  if (s == ETK_OK && t->least < (int64_t)kept_count)
    s = etk_fail(e, ETK_E_INVALID, "a vocabulary of %d tokens: %zu are reserved and the text has %zu characters; more is wanted, or a smaller coverage",
                 t->options->vocabulary_size, reserved, kept_count);
  if (s == ETK_OK && !kept_count) s = etk_fail(e, ETK_E_INVALID, "training a tokenizer: there is no text");
  if (s == ETK_OK) s = cut_words(e, t, kept, kept_count);
  if (s == ETK_OK) s = make_seeds(e, t, kept_count);
  etk_free(kept);
  if (s == ETK_OK) s = shrink_to_size(e, t);
  if (s == ETK_OK && t->count) qsort(t->pieces, t->count, sizeof *t->pieces, by_score);
  return s;
}

static void trainer_fini(trainer *t) {
  for (int i = 0; t->workers && i < t->threads; i++) {
    etk_free(t->workers[i].ahead);
    etk_free(t->workers[i].behind);
    etk_free(t->workers[i].from);
    etk_free(t->workers[i].ids);
    etk_free(t->workers[i].edges);
  }
  etk_free(t->workers);
  etk_free(t->pieces);
  etk_free(t->words.items);
  etk__words_fini(&t->corpus);
  etk__unigram_fini(&t->trie);
}

etk_status etk_unigram_train(etk_error *e, const char *path, const char *const *texts, const size_t *sizes, size_t count, const etk_unigram_options *o,
                             bool replace) {
  etk_status s = etk__check_specials(e, o->special, o->special_count, o->bos, o->eos);
  if (s != ETK_OK) return s;
  if (o->vocabulary_size < 1 || o->vocabulary_size > ETK__MAX_ID)
    return etk_fail(e, ETK_E_INVALID, "a vocabulary of %d tokens: between 1 and %d are possible", o->vocabulary_size, (int)ETK__MAX_ID);
  const char **special = etk_calloc(o->special_count + 1, sizeof *special);
  if (!special) return no_memory(e);
  size_t special_count = 0, unknown = o->special_count;
  for (; special_count < o->special_count; special_count++) {
    special[special_count] = o->special[special_count];
    if (!strcmp(special[special_count], "<unk>")) unknown = special_count;
  }
  if (unknown == o->special_count) special[special_count++] = "<unk>";
  trainer t = {.options = o, .threads = etk_parallel_threads()};
  t.workers = etk_calloc((size_t)t.threads, sizeof *t.workers);
  s = t.workers ? count_all(e, &t, texts, sizes, count) : no_memory(e);
  if (s == ETK_OK) s = train(e, &t, special_count + (o->byte_fallback ? 256 : 0));
  if (s == ETK_OK) s = write_file(e, &t, path, special, special_count, unknown, replace);
  trainer_fini(&t);
  etk_free(special);
  return s;
}
