#include "internal.h"

#include <string.h>

void etk_ids_free(etk_ids *ids) {
  etk_free(ids->items);
  *ids = (etk_ids)ETK_IDS_INIT;
}

bool etk_ids_push(etk_ids *ids, int32_t id) {
  if (ids->count == ids->capacity) {
    size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
    int32_t *items = etk_realloc(ids->items, capacity, sizeof *items);
    if (!items) return false;
    ids->items = items;
    ids->capacity = capacity;
  }
  ids->items[ids->count++] = id;
  return true;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------------- */

etk_tokenizer *etk__tokenizer_new(etk_error *e, const char *name) {
  etk_tokenizer *t = etk_calloc(1, sizeof *t);
  if (!t) {
    etk__no_memory(e, name);
    return NULL;
  }
  t->bos = t->eos = t->bpe.unknown = t->unigram.unknown = t->wordpiece.unknown = -1;
  t->wordpiece.begin = t->wordpiece.inside = "";
  t->wordpiece.longest = 100;
  return t;
}

void etk_tokenizer_free(etk_tokenizer *t) {
  if (!t) return;
  etk__normalizer_fini(&t->normalizer);
  etk__splitter_fini(&t->splitter);
  etk__decode_fini(&t->decode);
  etk__merges_fini(&t->bpe.merges);
  etk__unigram_fini(&t->unigram);
  etk_free(t->literal.items);
  etk_free(t->normalized.items);
  etk_free(t->prefix);
  etk_free(t->suffix);
  etk_free(t->scores);
  etk_free(t->types);
  etk__vocabulary_fini(&t->vocabulary);
  etk_free(t);
}

int64_t etk_tokenizer_size(const etk_tokenizer *t) { return (int64_t)t->vocabulary.count; }
int32_t etk_tokenizer_bos(const etk_tokenizer *t) { return t->bos; }
int32_t etk_tokenizer_eos(const etk_tokenizer *t) { return t->eos; }
bool etk_tokenizer_parses_special(const etk_tokenizer *t) { return !t->control_is_text; }

static int32_t find_added(const etk_tokenizer *t, const etk__added *added, const char *token) {
  for (size_t i = 0; i < added->count; i++)
    if (!strcmp(t->vocabulary.tokens[added->items[i].id].text, token)) return added->items[i].id;
  return -1;
}

int32_t etk_tokenizer_find(const etk_tokenizer *t, const char *token) {
  int32_t id = etk__vocabulary_find(&t->vocabulary, token, strlen(token));
  if (id < 0) id = find_added(t, &t->literal, token);
  return id < 0 ? find_added(t, &t->normalized, token) : id;
}

const char *etk_tokenizer_token(const etk_tokenizer *t, int32_t id) {
  return id >= 0 && (size_t)id < t->vocabulary.count ? t->vocabulary.tokens[id].text : NULL;
}

/* ---- what readers fill in ------------------------------------------------------------------------------------------------------------------- */

etk_status etk__tokenizer_put_ends(etk_error *e, etk_tokenizer *t, const char *file, bool front, int64_t id) {
  if (id < 0 || id >= (int64_t)t->vocabulary.count || !t->vocabulary.tokens[id].text)
    return etk_fail(e, ETK_E_FORMAT, "%s: a token id that is not in the vocabulary is to stand %s the text: %lld", file, front ? "before" : "behind",
                    (long long)id);
  int32_t **ids = front ? &t->prefix : &t->suffix;
  size_t *count = front ? &t->prefix_count : &t->suffix_count;
  int32_t *grown = etk_realloc(*ids, *count + 1, sizeof *grown);
  if (!grown) return etk__no_memory(e, file);
  *ids = grown;
  grown[(*count)++] = (int32_t)id;
  return ETK_OK;
}

etk_status etk__tokenizer_reserve_added(etk_error *e, etk_tokenizer *t, const char *file, size_t count) {
  etk__added_token *literal = etk_realloc(t->literal.items, t->literal.count + count + 1, sizeof *literal);
  if (!literal) return etk__no_memory(e, file);
  t->literal.items = literal;
  etk__added_token *normalized = etk_realloc(t->normalized.items, t->normalized.count + count + 1, sizeof *normalized);
  if (!normalized) return etk__no_memory(e, file);
  t->normalized.items = normalized;
  return ETK_OK;
}

void etk__tokenizer_add_token(etk_tokenizer *t, etk__added_token token) {
  etk__token *known = &t->vocabulary.tokens[token.id];
  etk__added *list = token.normalized ? &t->normalized : &t->literal;
  token.text = known->text;
  token.size = known->size;
  known->added = true;
  known->special = token.special;
  if (token.size) list->items[list->count++] = token;
}

/* What is sought in normalized text must be normalized itself. */
static etk_status normalize_added(etk_error *e, etk_tokenizer *t, const char *file) {
  etk__added *list = &t->normalized;
  etk__scratch scratch;
  etk_text text = ETK_TEXT_INIT;
  etk_status s = etk__scratch_init(e, &scratch);
  size_t kept = 0;
  for (size_t i = 0; s == ETK_OK && i < list->count; i++) {
    etk__added_token item = list->items[i];
    s = etk__normalize(e, &t->normalizer, &scratch, &text, item.text, item.size);
    if (s != ETK_OK || !text.size) continue;
    item.size = text.size;
    item.text = etk_arena_strndup(&t->vocabulary.arena, text.data, text.size);
    if (!item.text) s = etk__no_memory(e, file);
    list->items[kept++] = item;
  }
  if (s == ETK_OK) list->count = kept;
  etk_text_free(&text);
  etk__scratch_fini(&scratch);
  return s;
}

etk_status etk__tokenizer_index_added(etk_error *e, etk_tokenizer *t, const char *file) {
  bool plain = !t->normalizer.count || t->normalizer.steps[0].kind == NORMAL_SENTENCEPIECE; /* which leaves symbols as they are */
  etk_status s = t->normalized.count && !plain ? normalize_added(e, t, file) : ETK_OK;
  if (s != ETK_OK) return s;
  etk__added_index(&t->literal);
  etk__added_index(&t->normalized);
  return ETK_OK;
}

void etk__tokenizer_guess_ends(etk_tokenizer *t) {
  static const char *const begins[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>"};
  static const char *const ends[] = {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<|im_end|>"};
  if (t->prefix_count) t->bos = t->prefix[0];
  for (size_t i = 0; t->bos < 0 && i < sizeof begins / sizeof *begins; i++) t->bos = etk_tokenizer_find(t, begins[i]);
  for (size_t i = 0; t->eos < 0 && i < sizeof ends / sizeof *ends; i++) t->eos = etk_tokenizer_find(t, ends[i]);
}

static const char mark[] = "\xe2\x96\x81"; /* SentencePiece's space */

/* Does a token hold the mark behind something else? */
bool etk__spans_words(const etk__token *token) {
  if (!token->text) return false;
  for (size_t i = 1; i + 3 <= token->size; i++)
    if (!memcmp(token->text + i, mark, 3) && (i < 3 || memcmp(token->text + i - 3, mark, 3))) return true;
  return false;
}

/* May text be cut before each word's mark without changing its ids? */
static bool words_are_apart(const etk_tokenizer *t) {
  if (t->model != MODEL_BPE && t->model != MODEL_UNIGRAM) return false;
  if (t->model == MODEL_UNIGRAM && t->unigram.single) return false; /* rounding goes on from word to word, and decides ties */
  if (etk__vocabulary_find(&t->vocabulary, mark, 3) < 0) return false; /* unknown marks would fuse with their neighbours */
  if (t->model == MODEL_BPE && (t->bpe.ignore_merges || t->bpe.prefix || t->bpe.suffix)) return false;
  const etk__merges *m = &t->bpe.merges;
  for (size_t i = 0; t->model == MODEL_BPE && i < m->slot_count; i++)
    if (m->slots[i].pair != UINT64_MAX && etk__spans_words(&t->vocabulary.tokens[m->slots[i].id])) return false;
  for (size_t i = 0; t->model == MODEL_UNIGRAM && i < t->vocabulary.count; i++)
    if (etk__spans_words(&t->vocabulary.tokens[i])) return false;
  return true;
}

etk_status etk__tokenizer_finish(etk_error *e, etk_tokenizer *t, const char *file) {
  etk__splitter *splitter = &t->splitter;
  etk_status s = t->model == MODEL_BPE ? etk__bpe_index(e, &t->bpe, &t->vocabulary) : ETK_OK;
  if (s != ETK_OK) return s;
  for (size_t i = 0; i < t->vocabulary.count; i++)
    if (t->vocabulary.tokens[i].size > t->wordpiece.most_bytes) t->wordpiece.most_bytes = t->vocabulary.tokens[i].size;
  etk__split *last = splitter->count ? &splitter->steps[splitter->count - 1] : NULL;
  if (last && last->kind == SPLIT_BYTES && t->model == MODEL_BPE && t->bpe.raw) {
    splitter->raw = true;
    splitter->count--;
    return ETK_OK;
  }
  if ((last && last->kind != SPLIT_METASPACE) || splitter->count == ETK__MAX_STEPS || !words_are_apart(t)) return ETK_OK;
  s = etk__splitter_add(e, splitter, file, SPLIT_WORDS, &last);
  if (s != ETK_OK) return s;
  last->replacement = mark;
  last->replacement_size = 3;
  return ETK_OK;
}

/* ---- encoding --------------------------------------------------------------------------------------------------------------------------- */

typedef struct encoding {
  const etk_tokenizer *t;
  etk__scratch scratch;
  etk_text normal; /* one segment, normalized */
  etk_ids *out;
  bool parse_special;
} encoding;

static etk_status put_piece(etk_error *e, void *user, const char *text, size_t size) {
  encoding *c = user;
  return etk__model_encode(e, c->t, &c->scratch, c->out, text, size);
}

static etk_status put_words(etk_error *e, encoding *c, const char *text, size_t size, bool first) {
  return etk__split_run(e, &c->t->splitter, &c->scratch, text, size, first, put_piece, c);
}

typedef etk_status (*put_function)(etk_error *e, encoding *c, const char *text, size_t size, bool first);

/* Hands the stretches between added tokens to `put`, and the tokens' ids to the output. */
static etk_status put_between(etk_error *e, encoding *c, const etk__added *added, const char *text, size_t size, bool first, put_function put) {
  size_t from = 0;
  etk_status s = ETK_OK;
  while (s == ETK_OK && from < size) {
    etk__added_match match;
    bool found = etk__added_find(added, text, size, from, from, c->parse_special, &match);
    if (match.start > from) s = put(e, c, text + from, match.start - from, first && from == 0);
    if (s == ETK_OK && found && !etk_ids_push(c->out, match.id)) s = etk__no_memory(e, "tokenizer: encoding");
    from = match.end;
  }
  return s;
}

static etk_status put_segment(etk_error *e, encoding *c, const char *text, size_t size, bool first) {
  if (!c->t->normalizer.count) return put_between(e, c, &c->t->normalized, text, size, first, put_words);
  etk_status s = etk__normalize(e, &c->t->normalizer, &c->scratch, &c->normal, text, size);
  return s == ETK_OK ? put_between(e, c, &c->t->normalized, c->normal.data ? c->normal.data : "", c->normal.size, first, put_words) : s;
}

static etk_status put_text(etk_error *e, encoding *c, const char *text, size_t size) {
  if (c->t->kind == TOKENIZER_LLAMA2C) return etk__llama2c_encode(e, c->t, &c->scratch, c->out, text, size);
  return put_between(e, c, &c->t->literal, text, size, true, put_segment);
}

etk_status etk_tokenizer_encode(etk_error *e, const etk_tokenizer *t, etk_ids *out, const char *text, size_t size,
                                const etk_encode_options *options) {
  encoding c = {.t = t, .out = out, .parse_special = options && options->parse_special};
  etk_text repaired = ETK_TEXT_INIT;
  size_t before = out->count;
  etk_status s = etk__scratch_init(e, &c.scratch);
  if (s == ETK_OK && !etk_utf8_valid(text, size)) {
    etk__put_repaired(&repaired, text, size);
    if (repaired.failed) s = etk__no_memory(e, "tokenizer: encoding");
    text = repaired.data;
    size = repaired.size;
  }
  for (size_t i = 0; s == ETK_OK && options && options->special && i < t->prefix_count; i++)
    if (!etk_ids_push(out, t->prefix[i])) s = etk__no_memory(e, "tokenizer: encoding");
  etk__scratch_expect(&c.scratch, size);
  if (s == ETK_OK && size) s = put_text(e, &c, text, size);
  for (size_t i = 0; s == ETK_OK && options && options->end && i < t->suffix_count; i++)
    if (!etk_ids_push(out, t->suffix[i])) s = etk__no_memory(e, "tokenizer: encoding");
  if (s != ETK_OK) out->count = before;
  etk__scratch_fini(&c.scratch);
  etk_text_free(&c.normal);
  etk_text_free(&repaired);
  return s;
}
