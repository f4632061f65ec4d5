#include "internal.h"

#include <math.h>
#include <string.h>

/* Vocabularies as GGUF files hold them (tokenizer.ggml.*). They name a kind of model and, for byte-level BPE, a way to cut text (cutting.c); what these
 * names mean is llama.cpp's source. */

/* ---- kinds of models ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct reading {
  etk_tokenizer *t;
  const etk_gguf_vocabulary *g;
} reading;

static int type_of(const etk_gguf_vocabulary *g, size_t id) { return g->types ? g->types[id] : ETK__NORMAL; }
static bool chosen(int8_t said, bool otherwise) { return said < 0 ? otherwise : said > 0; }

static etk_status read_bpe(etk_error *e, reading *r) {
  const etk_gguf_vocabulary *g = r->g;
  const etk__cutting *c = etk__cutting_named(e, g->name, g->pre ? g->pre : "default");
  if (!c) return ETK_E_UNSUPPORTED;
  etk_text whole = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < g->merge_count; i++) {
    const char *space = g->merge_sizes[i] ? memchr(g->merges[i] + 1, ' ', g->merge_sizes[i] - 1) : NULL;
    size_t left = space ? (size_t)(space - g->merges[i]) : 0;
    if (!space) s = etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.merges: entry %zu must be \"left right\"", g->name, i);
    else s = etk__bpe_put_merge(e, r->t, g->name, &whole, g->merges[i], left, space + 1, g->merge_sizes[i] - left - 1, i);
  }
  etk_text_free(&whole);
  etk__split *bytes;
  for (size_t i = 0; s == ETK_OK && i < 4 && c->patterns[i]; i++)
    s = etk__splitter_add_pattern(e, &r->t->splitter, g->name, c->patterns[i], false, SPLIT_ISOLATED, false);
  if (s == ETK_OK) s = etk__splitter_add(e, &r->t->splitter, g->name, SPLIT_BYTES, &bytes);
  if (s == ETK_OK) s = etk__decode_add(e, &r->t->decode, &r->t->vocabulary.arena, g->name, DECODE_BYTE_LEVEL, NULL);
  r->t->bpe.ignore_merges = c->flags & ETK__IGNORE_MERGES;
  r->t->decode.added_plain = true;
  if (s == ETK_OK && chosen(g->add_bos, c->flags & (ETK__BEGIN | ETK__SEPARATE)) && g->bos >= 0) s = etk__tokenizer_put_ends(e, r->t, g->name, true, g->bos);
  if (s == ETK_OK && chosen(g->add_eos, false) && g->eos >= 0) s = etk__tokenizer_put_ends(e, r->t, g->name, false, g->eos);
  if (s == ETK_OK && chosen(g->add_sep, c->flags & ETK__SEPARATE) && g->separator >= 0) s = etk__tokenizer_put_ends(e, r->t, g->name, false, g->separator);
  return s;
}

static etk_status need_scores(etk_error *e, const etk_gguf_vocabulary *g) {
  if (!g->scores) return etk_fail(e, ETK_E_FORMAT, "%s: a vocabulary of the kind '%s' needs tokenizer.ggml.scores", g->name, g->model);
  for (size_t i = 0; i < g->count; i++)
    if (!isfinite(g->scores[i])) return etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.scores: entry %zu is not a finite number", g->name, i);
  return ETK_OK;
}

static bool *pieces_of(const etk_gguf_vocabulary *g) {
  bool *pieces = etk_calloc(g->count, sizeof *pieces);
  for (size_t i = 0; pieces && i < g->count; i++) pieces[i] = type_of(g, i) == ETK__NORMAL || type_of(g, i) == ETK__USER_DEFINED;
  return pieces;
}

static etk_status spaced_ends(etk_error *e, reading *r, bool begin, bool end) {
  const etk_gguf_vocabulary *g = r->g;
  etk_status s = chosen(g->add_bos, begin) && g->bos >= 0 ? etk__tokenizer_put_ends(e, r->t, g->name, true, g->bos) : ETK_OK;
  return s == ETK_OK && chosen(g->add_eos, end) && g->eos >= 0 ? etk__tokenizer_put_ends(e, r->t, g->name, false, g->eos) : s;
}

/* SentencePiece's BPE: merges by score, spaces as U+2581. Only here each stretch between control tokens gets the space in front. */
static etk_status read_llama(etk_error *e, reading *r) {
  const etk_gguf_vocabulary *g = r->g;
  etk__normal normal = {.dummy_prefix = chosen(g->add_space_prefix, true), .escape = true};
  etk_status s = need_scores(e, g);
  bool *pieces = s == ETK_OK ? pieces_of(g) : NULL;
  if (s == ETK_OK && !pieces) s = etk__no_memory(e, g->name);
  if (s == ETK_OK) s = etk__bpe_rank_by_score(e, r->t, g->name, g->scores, pieces, -INFINITY);
  etk_free(pieces);
  if (s == ETK_OK) s = etk__sentencepiece_parts(e, r->t, g->name, &normal);
  r->t->bpe.unknown = g->unknown >= 0 ? (int32_t)g->unknown : -1;
  r->t->bpe.byte_fallback = true;
  return s == ETK_OK ? spaced_ends(e, r, true, false) : s;
}

static etk_status read_t5(etk_error *e, reading *r) {
  const etk_gguf_vocabulary *g = r->g;
  etk__normal normal = {.dummy_prefix = chosen(g->add_space_prefix, true), .fewer_spaces = chosen(g->fewer_spaces, false), .escape = true, .lazy_prefix = true};
  etk_status s = need_scores(e, g);
  if (s == ETK_OK) s = etk__charsmap_read(e, &normal.map, &r->t->vocabulary.arena, g->name, g->charsmap, g->charsmap_size);
  bool *pieces = s == ETK_OK ? pieces_of(g) : NULL;
  double *scores = s == ETK_OK ? etk_calloc(g->count, sizeof *scores) : NULL;
  if (s == ETK_OK && (!pieces || !scores)) s = etk__no_memory(e, g->name);
  for (size_t i = 0; s == ETK_OK && i < g->count; i++) scores[i] = (double)g->scores[i];
  r->t->model = MODEL_UNIGRAM;
  r->t->unigram.unknown = g->unknown >= 0 ? (int32_t)g->unknown : -1;
  if (s == ETK_OK) s = etk__unigram_build(e, &r->t->unigram, &r->t->vocabulary, g->name, scores, pieces);
  etk_free(scores);
  etk_free(pieces);
  if (s == ETK_OK) s = etk__sentencepiece_parts(e, r->t, g->name, &normal);
  return s == ETK_OK ? spaced_ends(e, r, false, true) : s;
}

/* WordPiece, spelled the other way round: pieces that begin a word have the mark, those inside have none. */
static etk_status read_bert(etk_error *e, reading *r) {
  const etk_gguf_vocabulary *g = r->g;
  etk_arena *arena = &r->t->vocabulary.arena;
  etk__split *step;
  json_t *normalizer = json_pack("{s:s}", "type", "BertNormalizer");
  etk_status s = normalizer ? etk__normalizer_read(e, &r->t->normalizer, arena, g->name, normalizer) : etk__no_memory(e, g->name);
  json_decref(normalizer);
  if (s == ETK_OK) s = etk__splitter_add(e, &r->t->splitter, g->name, SPLIT_BERT, &step);
  if (s == ETK_OK) s = etk__decode_add(e, &r->t->decode, arena, g->name, DECODE_METASPACE, "\xe2\x96\x81");
  r->t->model = MODEL_WORDPIECE;
  r->t->wordpiece.begin = "\xe2\x96\x81";
  r->t->wordpiece.unknown = g->unknown >= 0 ? (int32_t)g->unknown : -1;
  int64_t first = g->classify >= 0 ? g->classify : g->bos;
  if (s == ETK_OK && chosen(g->add_bos, true) && first >= 0) s = etk__tokenizer_put_ends(e, r->t, g->name, true, first);
  if (s == ETK_OK && chosen(g->add_sep, true) && g->separator >= 0) s = etk__tokenizer_put_ends(e, r->t, g->name, false, g->separator);
  return s;
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------------------------------- */

/* Only tokens that text can become are found by their spelling. */
static etk_status add_tokens(etk_error *e, reading *r) {
  const etk_gguf_vocabulary *g = r->g;
  etk_status s = ETK_OK;
  etk__vocabulary_expect(&r->t->vocabulary, g->count);
  for (size_t i = 0; s == ETK_OK && i < g->count; i++) {
    int type = type_of(g, i);
    if (type < ETK__NORMAL || type > ETK__BYTE)
      return etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.token_type: entry %zu is %d; 1 to 6 are known", g->name, i, type);
    if (!etk_utf8_valid(g->tokens[i], g->sizes[i]) || memchr(g->tokens[i], 0, g->sizes[i]))
      return etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.tokens: entry %zu is not UTF-8", g->name, i);
    s = etk__vocabulary_add(e, &r->t->vocabulary, g->name, (int64_t)i, g->tokens[i], g->sizes[i], g->sizes[i] > 0 && type != ETK__UNUSED);
  }
  return s;
}

static etk_status add_symbols(etk_error *e, reading *r) {
  etk_status s = etk__tokenizer_reserve_added(e, r->t, r->g->name, r->g->count);
  for (size_t i = 0; s == ETK_OK && i < r->g->count; i++) {
    int type = type_of(r->g, i);
    bool special = type == ETK__CONTROL || type == ETK__UNKNOWN;
    if (special || type == ETK__USER_DEFINED) etk__tokenizer_add_token(r->t, (etk__added_token){.id = (int32_t)i, .special = special});
  }
  return s == ETK_OK ? etk__tokenizer_index_added(e, r->t, r->g->name) : s;
}

static etk_status check_ids(etk_error *e, const etk_gguf_vocabulary *g) {
  const struct {
    const char *name;
    int64_t id;
  } ids[] = {{"bos", g->bos}, {"eos", g->eos}, {"unknown", g->unknown}, {"seperator", g->separator}, {"cls", g->classify}};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
    if (ids[i].id >= (int64_t)g->count)
      return etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.%s_token_id is %lld, but there are %zu tokens", g->name, ids[i].name, (long long)ids[i].id,
                      g->count);
  return g->count ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "%s: tokenizer.ggml.tokens is empty", g->name);
}

static etk_status read_all(etk_error *e, reading *r) {
  static const struct {
    const char *model;
    etk_status (*read)(etk_error *e, reading *r);
  } readers[] = {{"gpt2", read_bpe}, {"llama", read_llama}, {"bert", read_bert}, {"t5", read_t5}};
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
    if (strcmp(r->g->model, readers[i].model)) continue;
    etk_status s = check_ids(e, r->g);
    if (s == ETK_OK) s = add_tokens(e, r);
    if (s == ETK_OK) s = readers[i].read(e, r);
    if (s == ETK_OK) s = add_symbols(e, r);
    return s == ETK_OK ? etk__tokenizer_finish(e, r->t, r->g->name) : s;
  }
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tokenizer.ggml.model is '%s'; gpt2, llama, bert and t5 are supported", r->g->name, r->g->model);
}

etk_status etk_tokenizer_from_gguf(etk_error *e, etk_tokenizer **out, const etk_gguf_vocabulary *vocabulary) {
  *out = NULL;
  reading r = {etk__tokenizer_new(e, vocabulary->name), vocabulary};
  if (!r.t) return ETK_E_NO_MEMORY;
  r.t->control_is_text = true;
  r.t->bos = vocabulary->bos >= 0 ? (int32_t)vocabulary->bos : -1;
  r.t->eos = vocabulary->eos >= 0 ? (int32_t)vocabulary->eos : -1;
  etk_status s = read_all(e, &r);
  if (s == ETK_OK) *out = r.t;
  else etk_tokenizer_free(r.t);
  return s;
}
