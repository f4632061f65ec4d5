#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* tokenizer.bin of llama2.c: int32 length of the longest token, then for each token float32 score, int32 length, bytes; little-endian. Tokens are
 * 0 <unk>, 1 <s>, 2 </s>, 3 … 258 the bytes, then pieces. */

enum { BOS = 1, EOS = 2, FIRST_BYTE = 3, LEAST_TOKENS = 259, LONGEST = 65536 };

typedef struct cursor {
  const unsigned char *at, *end;
} cursor;

static uint32_t take_u32(cursor *c) {
  uint32_t v = (uint32_t)c->at[0] | (uint32_t)c->at[1] << 8 | (uint32_t)c->at[2] << 16 | (uint32_t)c->at[3] << 24;
  c->at += 4;
  return v;
}

static etk_status read_token(etk_error *e, etk_tokenizer *t, const char *name, cursor *c, int64_t id, float *score) {
  if (c->end - c->at < 8)
    return etk_fail(e, ETK_E_FORMAT, "%s: truncated: token %" PRId64 " needs 8 bytes for score and length, %td are left", name, id, c->end - c->at);
  uint32_t bits = take_u32(c);
  memcpy(score, &bits, sizeof *score);
  uint32_t size = take_u32(c);
  if (!isfinite(*score)) return etk_fail(e, ETK_E_FORMAT, "%s: the score of token %" PRId64 " is not a finite number", name, id);
  if (size > LONGEST)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c tokenizer: token %" PRId64 " would be %" PRIu32 " bytes long", name, id, size);
  if ((size_t)(c->end - c->at) < size)
    return etk_fail(e, ETK_E_FORMAT, "%s: truncated inside token %" PRId64 ": %" PRIu32 " bytes are wanted, %td are left", name, id, size,
                    c->end - c->at);
  const char *text = (const char *)c->at;
  if (memchr(text, 0, size)) return etk_fail(e, ETK_E_FORMAT, "%s: token %" PRId64 " holds a zero byte", name, id);
  c->at += size;
  return etk__vocabulary_add(e, &t->vocabulary, name, id, text, size, size > 0);
}

static etk_status read_tokens(etk_error *e, etk_tokenizer *t, const char *name, cursor *c, int64_t vocabulary_size, float **scores) {
  size_t capacity = 0;
  int64_t count = 0;
  while (c->at < c->end) {
    if (vocabulary_size > 0 && count == vocabulary_size)
      return etk_fail(e, ETK_E_INVALID,
                      "%s: it holds more than %" PRId64 " tokens, but the model's vocabulary has %" PRId64
                      " entries: this tokenizer is of another model",
                      name, count, vocabulary_size);
    if ((size_t)count == capacity) {
      capacity = capacity ? capacity * 2 : 1024;
      float *grown = etk_realloc(*scores, capacity, sizeof *grown);
      if (!grown) return etk__no_memory(e, name);
      *scores = grown;
    }
    etk_status s = read_token(e, t, name, c, count, *scores + count);
    if (s != ETK_OK) return s;
    count++;
  }
  if (vocabulary_size > 0 && count < vocabulary_size)
    return etk_fail(e, ETK_E_INVALID,
                    "%s: it holds %" PRId64 " tokens, but the model's vocabulary has %" PRId64 " entries: the file is cut short or of another model",
                    name, count, vocabulary_size);
  if (count < LEAST_TOKENS)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c tokenizer: %" PRId64 " tokens, but 3 control tokens and 256 bytes come first", name, count);
  return ETK_OK;
}

/* Merging looks the joined spelling up, whatever the parts were: so every way to cut a token into two tokens is a merge of its score's rank. */
static bool put_merges(etk_tokenizer *t, int32_t id, uint32_t rank) {
  const etk__vocabulary *v = &t->vocabulary;
  const etk__token *token = &v->tokens[id];
  for (size_t cut = 1; cut < token->size; cut++) {
    int32_t left = etk__vocabulary_find(v, token->text, cut), right = etk__vocabulary_find(v, token->text + cut, token->size - cut);
    if (left >= 0 && right >= 0 && !etk__merges_put(&t->bpe.merges, left, right, rank, id)) return false;
  }
  return true;
}

typedef struct scored {
  float score;
  int32_t id;
} scored;

static int best_first(const void *a, const void *b) {
  const scored *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

etk_status etk__bpe_rank_by_score(etk_error *e, etk_tokenizer *t, const char *file, const float *scores, const bool *pieces, float floor) {
  size_t count = t->vocabulary.count, cuts = 0, kept = 0;
  for (size_t i = 0; i < count; i++) cuts += t->vocabulary.tokens[i].size;
  if (cuts > (64u << 20)) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %zu bytes of tokens are more than this version merges", file, cuts);
  scored *order = etk_calloc(count + 1, sizeof *order);
  if (!order) return etk__no_memory(e, file);
  for (size_t i = 0; i < count; i++)
    if ((!pieces || pieces[i]) && scores[i] > floor) order[kept++] = (scored){scores[i], (int32_t)i};
  if (kept) qsort(order, kept, sizeof *order, best_first);
  bool ok = true;
  uint32_t rank = 0;
  for (size_t i = 0; ok && i < kept; i++) {
    if (i && order[i].score != order[i - 1].score) rank++;
    const etk__token *token = &t->vocabulary.tokens[order[i].id];
    if (etk__vocabulary_find(&t->vocabulary, token->text, token->size) == order[i].id) ok = put_merges(t, order[i].id, rank);
  }
  etk_free(order);
  return ok ? ETK_OK : etk__no_memory(e, file);
}

etk_status etk_tokenizer_parse_llama2c(etk_error *e, etk_tokenizer **out, const char *name, const void *bytes, size_t size, int64_t vocabulary_size) {
  *out = NULL;
  if (size < 4) return etk_fail(e, ETK_E_FORMAT, "%s: %zu bytes are too few for a llama2.c tokenizer", name, size);
  cursor c = {bytes, (const unsigned char *)bytes + size};
  uint32_t longest = take_u32(&c);
  if (longest == 0 || longest > LONGEST)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c tokenizer: its longest token would be %" PRIu32 " bytes", name, longest);
  etk_tokenizer *t = etk__tokenizer_new(e, name);
  if (!t) return ETK_E_NO_MEMORY;
  t->kind = TOKENIZER_LLAMA2C;
  float *scores = NULL;
  etk_status s = read_tokens(e, t, name, &c, vocabulary_size, &scores);
  if (s == ETK_OK) s = etk__bpe_rank_by_score(e, t, name, scores, NULL, -1e10f); /* llama2.c starts its search for the best there */
  t->scores = scores;
  t->scored = scores ? t->vocabulary.count : 0;
  if (s == ETK_OK) s = etk__tokenizer_put_ends(e, t, name, true, BOS);
  if (s == ETK_OK) s = etk__bpe_index(e, &t->bpe, &t->vocabulary);
  if (s != ETK_OK) {
    etk_tokenizer_free(t);
    return s;
  }
  t->bos = BOS;
  t->eos = EOS;
  t->vocabulary.tokens[0].special = t->vocabulary.tokens[BOS].special = t->vocabulary.tokens[EOS].special = true;
  *out = t;
  return ETK_OK;
}

etk_status etk__llama2c_encode(etk_error *e, const etk_tokenizer *t, etk__scratch *s, etk_ids *out, const char *text, size_t size) {
  s->symbol_count = 0;
  int32_t space = t->bpe.ascii[' '];
  bool ok = space < 0 || etk__scratch_push(s, space); /* the dummy prefix of SentencePiece */
  for (size_t i = 0, n; ok && i < size; i += n) {
    uint32_t c;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) return etk_fail(e, ETK_E_INTERNAL, "tokenizer: text that is not UTF-8 reached the model");
    int32_t id = etk__vocabulary_find(&t->vocabulary, text + i, n);
    if (id >= 0) ok = etk__scratch_push(s, id);
    for (size_t j = 0; ok && id < 0 && j < n; j++) ok = etk__scratch_push(s, FIRST_BYTE + (unsigned char)text[i + j]);
  }
  return ok ? etk__bpe_merge(e, &t->bpe.merges, s, out) : etk__no_memory(e, "tokenizer: encoding");
}
