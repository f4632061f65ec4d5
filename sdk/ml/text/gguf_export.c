#include "ml/format/json.h"
#include "internal.h"

#include <etk/fs.h>
#include <etk/gguf.h>
#include <string.h>
#include <utf8proc.h>

/* A tokenizer as the keys tokenizer.ggml.* of a GGUF file. They name one of four kinds of models, and llama.cpp knows what belongs to each: so a tokenizer
 * whose parts are not those of its kind is an error here, because it would cut text otherwise there. What GGUF has no place for and llama.cpp does
 * without (NFC, flags of added tokens, where Metaspace prepends) goes as JSON into etk.tokenizer.parts, from which a folder is written again. */

static const char mark[] = "\xe2\x96\x81";

typedef struct exporting {
  etk_tokenizer *t;
  const char *folder, *model, *pre;
  etk_gguf_writer *writer;
  etk_arena arena;
  size_t count; /* rows, of which the last may have no token */
  const char **tokens, **merges;
  size_t merge_count;
  float *scores; /* NULL: this kind has none */
  int32_t *types;
  bool space_prefix, fewer_spaces;
  const etk__charsmap *map;
  int64_t bos, eos, unknown, separator, classify;
  bool add_bos, add_eos, add_sep;
} exporting;

static etk_status no_place(etk_error *e, const exporting *x, const char *what) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s, and GGUF has no name for that: llama.cpp would cut text in another way", x->folder, what);
}

/* ---- scores of a BPE whose file has merges only ----------------------------------------------------------------------------------------------------- */

typedef struct made {
  uint32_t first, last; /* ranks of the merges that make this token; first above last: none */
  int32_t id;
} made;

static int by_rank(const void *a, const void *b) {
  const made *x = a, *y = b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_piece(const exporting *x, int32_t id) { return id >= 0 && x->types[id] == ETK__NORMAL; }

/* SentencePiece joins whatever spells a token: all ways to cut one must be merges. */
static bool all_cuts_are_merges(const exporting *x, int32_t id) {
  const etk__vocabulary *v = &x->t->vocabulary;
  const etk__token *token = &v->tokens[id];
  for (size_t cut = 1; is_piece(x, id) && cut < token->size; cut++) {
    int32_t left = etk__vocabulary_find(v, token->text, cut), right = etk__vocabulary_find(v, token->text + cut, token->size - cut);
    if (is_piece(x, left) && is_piece(x, right) && !etk__merges_find(&x->t->bpe.merges, left, right)) return false;
  }
  return true;
}

static void collect(const exporting *x, made *tokens) {
  const etk__merges *m = &x->t->bpe.merges;
  for (size_t i = 0; i < x->t->vocabulary.count; i++) tokens[i] = (made){UINT32_MAX, 0, (int32_t)i};
  for (size_t i = 0; i < m->slot_count; i++) {
    if (m->slots[i].pair == UINT64_MAX) continue;
    made *token = &tokens[m->slots[i].id];
    if (m->slots[i].rank < token->first) token->first = m->slots[i].rank;
    if (m->slots[i].rank > token->last) token->last = m->slots[i].rank;
  }
}

static etk_status scores_from_merges(etk_error *e, exporting *x) {
  size_t count = x->t->vocabulary.count;
  made *tokens = etk_calloc(count + 1, sizeof *tokens);
  if (!tokens) return etk__no_memory(e, x->folder);
  collect(x, tokens);
  qsort(tokens, count, sizeof *tokens, by_rank);
  int32_t wrong = -1;
  for (size_t i = 0; i < count && wrong < 0; i++) {
    bool joined = tokens[i].first != UINT32_MAX;
    if (joined) x->scores[tokens[i].id] = -(float)(i + 1);
    if ((i && joined && tokens[i].first <= tokens[i - 1].last) || !all_cuts_are_merges(x, tokens[i].id)) wrong = tokens[i].id;
  }
  etk_free(tokens);
  if (wrong < 0) return ETK_OK;
  return etk_fail(e, ETK_E_UNSUPPORTED,
                  "%s: its merges are not those of a SentencePiece model (at token %d, '%.80s'), and GGUF has scores instead of merges for this kind; "
                  "a tokenizer.model beside it would have them",
                  x->folder, (int)wrong, x->t->vocabulary.tokens[wrong].text);
}

/* Scores and types of a tokenizer.model beside a tokenizer.json, if both hold the same pieces. */
static etk_status borrow_scores(etk_error *e, exporting *x) {
  char *path = etk_path_join(x->folder, "tokenizer.model"), *bytes;
  size_t size;
  etk_tokenizer *m = NULL;
  if (!path) return etk__no_memory(e, x->folder);
  etk_status s = ETK_OK;
  bool same = etk_fs_exists(path);
  if (same && (s = etk_fs_read(e, &bytes, &size, path, ETK__TOKENIZER_FILE_LIMIT)) == ETK_OK) {
    if (etk__looks_like_sentencepiece(bytes, size)) s = etk_tokenizer_parse_sentencepiece(e, &m, path, bytes, size);
    etk_free(bytes);
  }
  same = m && m->model == MODEL_BPE && m->scored <= x->t->vocabulary.count;
  for (size_t i = 0; same && i < m->scored; i++) {
    const etk__token *ours = &x->t->vocabulary.tokens[i];
    same = ours->text && !strcmp(ours->text, m->vocabulary.tokens[i].text);
  }
  if (same) {
    x->t->scores = m->scores;
    x->t->types = m->types;
    x->t->scored = m->scored;
    m->scores = NULL;
    m->types = NULL;
  }
  etk_tokenizer_free(m);
  etk_free(path);
  return s;
}

/* ---- what kind of tokenizer is it? ----------------------------------------------------------------------------------------------------------------- */

static bool is_byte_level(const etk_tokenizer *t) {
  return t->model == MODEL_BPE && (t->splitter.raw || (t->splitter.count && t->splitter.steps[t->splitter.count - 1].kind == SPLIT_BYTES));
}

static etk_status describe_byte_level(etk_error *e, exporting *x) {
  const etk__normalizer *n = &x->t->normalizer;
  const etk__cutting *c = etk__cutting_like(x->t);
  bool composes = n->count == 1 && n->steps[0].kind == NORMAL_UNICODE && n->steps[0].form == (UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (x->t->bpe.prefix || x->t->bpe.suffix) return no_place(e, x, "its words end (or go on) in a mark of their own, as CLIP's do");
  if (n->count && !composes) return no_place(e, x, "its normalizer changes text before it is cut");
  if (!c) return no_place(e, x, "its pre-tokenizer is none of those that tokenizer.ggml.pre can name");
  x->model = "gpt2";
  x->pre = c->names[0];
  return ETK_OK;
}

/* Spaces become U+2581: by SentencePiece's own rules, or by what tokenizer.json has for them. */
static bool read_spaces(exporting *x, const etk__normal *n, bool *escaped) {
  switch (n->kind) {
  case NORMAL_SENTENCEPIECE:
    x->space_prefix = n->dummy_prefix;
    x->fewer_spaces = n->fewer_spaces;
    x->map = &n->map;
    *escaped = n->escape;
    return true;
  case NORMAL_PREPEND:
    x->space_prefix = true;
    return !strcmp(n->content, mark);
  case NORMAL_REPLACE_TEXT:
    *escaped = true;
    return n->what_size == 1 && n->what[0] == ' ' && !strcmp(n->content, mark);
  case NORMAL_REPLACE:
    x->fewer_spaces = true;
    *escaped = *escaped || !strcmp(n->content, mark);
    return etk__regex_source(n->regex) && !strcmp(etk__regex_source(n->regex), " {2,}") && (*escaped || !strcmp(n->content, " "));
  case NORMAL_CHARSMAP:
    x->map = &n->map;
    return true;
  case NORMAL_STRIP:
    return true;
  default:
    return false;
  }
}

static bool tokens_span_words(const etk_tokenizer *t) {
  for (size_t i = 0; i < t->vocabulary.count; i++)
    if (!t->vocabulary.tokens[i].added && etk__spans_words(&t->vocabulary.tokens[i])) return true;
  return false;
}

static bool read_cut(exporting *x, const etk__split *step, bool *escaped, bool *metaspace) {
  const char *source = step->kind == SPLIT_REGEX ? etk__regex_source(step->regex) : NULL;
  if (step->kind == SPLIT_WORDS) return true;
  if (step->kind == SPLIT_METASPACE) {
    x->space_prefix = step->scheme != PREPEND_NEVER;
    *escaped = *metaspace = true;
    return !strcmp(step->replacement, mark);
  }
  if (step->kind != SPLIT_REGEX) return false;
  if (source) { /* WhitespaceSplit, where a charsmap has made all white space a space */
    x->fewer_spaces = true;
    return !strcmp(source, "\\s") && step->behaviour == SPLIT_REMOVED && !step->invert && x->map && x->map->unit_count;
  }
  if (step->behaviour == SPLIT_MERGED_WITH_NEXT && *metaspace) return !tokens_span_words(x->t);
  return step->behaviour == SPLIT_MERGED_WITH_PREVIOUS && *escaped && !*metaspace; /* at spaces, of which there are none left: Gemma's */
}

static etk_status read_space_rules(etk_error *e, exporting *x) {
  bool escaped = false, metaspace = false;
  for (int i = 0; i < x->t->normalizer.count; i++)
    if (!read_spaces(x, &x->t->normalizer.steps[i], &escaped)) return no_place(e, x, "its normalizer is not SentencePiece's");
  for (int i = 0; i < x->t->splitter.count; i++)
    if (!read_cut(x, &x->t->splitter.steps[i], &escaped, &metaspace)) return no_place(e, x, "its pre-tokenizer is not SentencePiece's");
  return escaped ? ETK_OK : no_place(e, x, "its spaces are not spelled U+2581");
}

static etk_status describe_spm(etk_error *e, exporting *x) {
  etk_tokenizer *t = x->t;
  bool bare = t->kind == TOKENIZER_LLAMA2C; /* its spaces are spaces yet */
  etk_status s = bare ? ETK_OK : read_space_rules(e, x);
  if (s != ETK_OK) return s;
  x->space_prefix = x->space_prefix || bare;
  x->model = "llama";
  if (x->map && x->map->unit_count) return no_place(e, x, "its BPE works on text that a precompiled_charsmap normalized");
  if (t->bpe.prefix || t->bpe.suffix || t->bpe.ignore_merges) return no_place(e, x, "its BPE has affixes or ignore_merges");
  for (int i = 0; i < 256 && !bare; i++)
    if (t->bpe.bytes[i] < 0) return no_place(e, x, "not all bytes have a token, as <0x00> to <0xFF>");
  return t->scores ? ETK_OK : borrow_scores(e, x);
}

static etk_status describe_unigram(etk_error *e, exporting *x) {
  const etk__unigram *u = &x->t->unigram;
  etk_status s = read_space_rules(e, x);
  if (s != ETK_OK) return s;
  if (u->unknown < 0) return no_place(e, x, "its Unigram model has no unknown token");
  if (u->byte_fallback && u->bytes[0] >= 0) return no_place(e, x, "its Unigram model falls back to bytes");
  x->model = "t5";
  return ETK_OK;
}

static etk_status describe_wordpiece(etk_error *e, exporting *x) {
  static const etk__normal_kind kinds[] = {NORMAL_CLEAN, NORMAL_CHINESE, NORMAL_UNICODE, NORMAL_STRIP_ACCENTS, NORMAL_LOWERCASE};
  const etk_tokenizer *t = x->t;
  bool usual = t->normalizer.count == 5;
  for (int i = 0; usual && i < 5; i++) usual = t->normalizer.steps[i].kind == kinds[i];
  if (!usual) return no_place(e, x, "its text is not lower-cased and stripped of accents as uncased BERT's is");
  if (t->splitter.count != 1 || t->splitter.steps[0].kind != SPLIT_BERT) return no_place(e, x, "its pre-tokenizer is not BERT's");
  if (*t->wordpiece.begin || strcmp(t->wordpiece.inside, "##")) return no_place(e, x, "its pieces inside of words do not begin with ##");
  x->model = "bert";
  return ETK_OK;
}

static etk_status describe(etk_error *e, exporting *x) {
  x->pre = "default";
  if (x->t->model == MODEL_UNIGRAM) return describe_unigram(e, x);
  if (x->t->model == MODEL_WORDPIECE) return describe_wordpiece(e, x);
  if (x->t->model != MODEL_BPE) return no_place(e, x, "its model is WordLevel");
  return is_byte_level(x->t) ? describe_byte_level(e, x) : describe_spm(e, x);
}

/* ---- tokens ---------------------------------------------------------------------------------------------------------------------------------------- */

static bool is_model(const exporting *x, const char *name) { return !strcmp(x->model, name); }

static int32_t type_of(const exporting *x, size_t id) {
  const etk_tokenizer *t = x->t;
  const etk__token *token = id < t->vocabulary.count ? &t->vocabulary.tokens[id] : NULL;
  if (!token || !token->text || !token->size) return ETK__UNUSED;
  if (t->kind == TOKENIZER_LLAMA2C) return id == 0 ? ETK__UNKNOWN : id < 3 ? ETK__CONTROL : id < 259 ? ETK__BYTE : ETK__NORMAL;
  bool spaced = is_model(x, "llama") || is_model(x, "t5");
  if (spaced && (int64_t)id == x->unknown) return ETK__UNKNOWN;
  if (token->special) return ETK__CONTROL;
  if (token->added) return ETK__USER_DEFINED;
  if (t->types && id < t->scored) return t->types[id];
  if (is_model(x, "llama") && token->size == 6 && !memcmp(token->text, "<0x", 3)) return ETK__BYTE;
  return ETK__NORMAL;
}

static const char *replaced(exporting *x, const char *text, size_t size, const char *what, const char *by) {
  etk_text out = ETK_TEXT_INIT;
  etk__put_replaced(&out, what, strlen(what), by, text, size);
  const char *copy = out.failed ? NULL : etk_arena_strndup(&x->arena, out.data ? out.data : "", out.size);
  etk_text_free(&out);
  return copy;
}

/* WordPiece the other way round: a mark before what begins a word, nothing before what goes on. */
static const char *respelled_piece(exporting *x, const etk__token *token) {
  if (token->size > 1 && token->text[0] == '[' && token->text[token->size - 1] == ']') return token->text;
  if (token->size > 2 && !memcmp(token->text, "##", 2)) return token->text + 2;
  char *spelled = etk_arena_alloc(&x->arena, token->size + sizeof mark);
  if (!spelled) return NULL;
  memcpy(spelled, mark, 3);
  memcpy(spelled + 3, token->text, token->size + 1);
  return spelled;
}

static const char *spelling_of(exporting *x, size_t id) {
  const etk__token *token = id < x->t->vocabulary.count ? &x->t->vocabulary.tokens[id] : NULL;
  char name[32];
  if (x->t->kind == TOKENIZER_LLAMA2C && id < 259) {
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    if (id < 3) return first[id];
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)id - 3);
    return etk_arena_strdup(&x->arena, name);
  }
  if (!token || !token->text || !token->size) { /* as llama.cpp's converter calls rows without a token */
    snprintf(name, sizeof name, "[PAD%zu]", id);
    return etk_arena_strdup(&x->arena, name);
  }
  if (x->t->kind == TOKENIZER_LLAMA2C) return replaced(x, token->text, token->size, " ", mark);
  if (is_model(x, "bert")) return x->types[id] == ETK__NORMAL ? respelled_piece(x, token) : token->text;
  bool sought_raw = x->types[id] == ETK__USER_DEFINED && !is_model(x, "gpt2"); /* in the text as it comes, where spaces are spaces */
  return sought_raw ? replaced(x, token->text, token->size, mark, " ") : token->text;
}

static etk_status fill_scores(etk_error *e, exporting *x) {
  const etk_tokenizer *t = x->t;
  if (is_model(x, "gpt2") || is_model(x, "bert")) return ETK_OK;
  x->scores = etk_calloc(x->count + 1, sizeof *x->scores);
  if (!x->scores) return etk__no_memory(e, x->folder);
  for (size_t i = 0; i < x->count; i++) x->scores[i] = -1000.0f; /* as llama.cpp's converter has it for added tokens */
  if (is_model(x, "t5")) {
    for (size_t i = 0; i < t->vocabulary.count; i++)
      if (x->types[i] == ETK__NORMAL || x->types[i] == ETK__USER_DEFINED) x->scores[i] = (float)t->unigram.scores[i];
    return ETK_OK;
  }
  if (!t->scores) return scores_from_merges(e, x);
  for (size_t i = 0; i < t->scored; i++) x->scores[i] = t->scores[i];
  return ETK_OK;
}

static int by_merge_rank(const void *a, const void *b) {
  const etk__merge *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
  return x->pair < y->pair ? -1 : x->pair > y->pair;
}

static const char *joined(exporting *x, const etk__token *left, const etk__token *right) {
  char *text = etk_arena_alloc(&x->arena, (size_t)left->size + right->size + 2);
  if (!text) return NULL;
  memcpy(text, left->text, left->size);
  text[left->size] = ' ';
  memcpy(text + left->size + 1, right->text, right->size + 1);
  return text;
}

static etk_status fill_merges(etk_error *e, exporting *x) {
  const etk__merges *m = &x->t->bpe.merges;
  if (!is_model(x, "gpt2")) return ETK_OK;
  etk__merge *sorted = etk_calloc(m->used + 1, sizeof *sorted);
  x->merges = etk_calloc(m->used + 1, sizeof *x->merges);
  bool ok = sorted && x->merges;
  size_t count = 0;
  for (size_t i = 0; ok && i < m->slot_count; i++)
    if (m->slots[i].pair != UINT64_MAX) sorted[count++] = m->slots[i];
  if (ok && count) qsort(sorted, count, sizeof *sorted, by_merge_rank);
  for (size_t i = 0; ok && i < count; i++) {
    const etk__token *tokens = x->t->vocabulary.tokens;
    ok = (x->merges[i] = joined(x, &tokens[sorted[i].pair >> 32], &tokens[sorted[i].pair & UINT32_MAX])) != NULL;
  }
  x->merge_count = count;
  etk_free(sorted);
  return ok ? ETK_OK : etk__no_memory(e, x->folder);
}

static etk_status fill(etk_error *e, exporting *x) {
  x->tokens = etk_calloc(x->count + 1, sizeof *x->tokens);
  x->types = etk_calloc(x->count + 1, sizeof *x->types);
  if (!x->tokens || !x->types) return etk__no_memory(e, x->folder);
  for (size_t i = 0; i < x->count; i++) {
    x->types[i] = type_of(x, i);
    if (!(x->tokens[i] = spelling_of(x, i))) return etk__no_memory(e, x->folder);
  }
  etk_status s = fill_scores(e, x);
  return s == ETK_OK ? fill_merges(e, x) : s;
}

/* ---- what stands around a text ----------------------------------------------------------------------------------------------------------------------- */

static etk_status read_ends(etk_error *e, exporting *x) {
  const etk_tokenizer *t = x->t;
  if (t->prefix_count > 1 || t->suffix_count > 1)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %zu tokens stand before a text and %zu behind it; GGUF has place for one of each", x->folder,
                    t->prefix_count, t->suffix_count);
  x->bos = t->prefix_count ? t->prefix[0] : t->bos;
  x->eos = t->eos;
  x->add_bos = t->prefix_count;
  if (is_model(x, "bert")) {
    x->classify = x->bos;
    if (t->suffix_count) x->separator = x->eos = t->suffix[0];
    x->add_sep = t->suffix_count;
  } else if (t->suffix_count && (t->suffix[0] == x->eos || x->eos < 0)) {
    x->eos = t->suffix[0];
    x->add_eos = true;
  } else if (t->suffix_count) {
    x->separator = t->suffix[0];
    x->add_sep = true;
  }
  if (t->model == MODEL_BPE) x->unknown = t->kind == TOKENIZER_LLAMA2C ? 0 : t->bpe.unknown;
  else x->unknown = t->model == MODEL_UNIGRAM ? t->unigram.unknown : t->wordpiece.unknown;
  return ETK_OK;
}

static void set_id(const exporting *x, const char *name, int64_t id) {
  char key[64];
  snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
  if (id >= 0 && id < (int64_t)x->count) etk_gguf_set_int(x->writer, key, ETK_GGUF_U32, id);
}

/* The id of a token that the files beside name: by its spelling, or (config.json) by number. */
static int64_t named_id(const exporting *x, json_t *const files[3], const char *name) {
  char key[32];
  snprintf(key, sizeof key, "%s_token", name);
  for (int i = 0; i < 2; i++) {
    const json_t *value = json_object_get(files[i], key);
    const char *text = json_is_object(value) ? etk__json_text(value, "content") : json_string_value(value);
    int32_t id = text ? etk_tokenizer_find(x->t, text) : -1;
    if (id >= 0) return id;
  }
  snprintf(key, sizeof key, "%s_token_id", name);
  const json_t *number = json_object_get(files[2], key);
  return json_is_integer(number) ? json_integer_value(number) : -1;
}

static int64_t end_of_turn(const exporting *x) {
  static const char *const spellings[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
    int32_t id = etk_tokenizer_find(x->t, spellings[i]);
    if (id >= 0 && x->t->vocabulary.tokens[id].added) return id;
  }
  return -1;
}

static void set_ids(const exporting *x, json_t *const files[3]) {
  const struct {
    const char *key, *name;
    int64_t id;
  } ids[] = {{"bos", "bos", x->bos},       {"eos", "eos", x->eos}, {"unknown", "unk", x->unknown}, {"seperator", "sep", x->separator},
             {"padding", "pad", -1},       {"cls", "cls", x->classify}, {"mask", "mask", -1}};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) set_id(x, ids[i].key, ids[i].id >= 0 ? ids[i].id : named_id(x, files, ids[i].name));
  set_id(x, "eot", end_of_turn(x));
}

/* ---- the keys ---------------------------------------------------------------------------------------------------------------------------------------- */

/* The map as it was: size of the trie, the trie, the replacements. */
static etk_status set_charsmap(etk_error *e, const exporting *x) {
  if (!x->map || !x->map->unit_count) return ETK_OK;
  size_t trie = x->map->unit_count * 4, size = 4 + trie + x->map->string_size;
  unsigned char *bytes = etk_alloc(size);
  if (!bytes) return etk__no_memory(e, x->folder);
  for (size_t i = 0; i <= x->map->unit_count; i++) {
    uint32_t unit = i ? x->map->units[i - 1] : (uint32_t)trie;
    for (int j = 0; j < 4; j++) bytes[4 * i + (size_t)j] = (unsigned char)(unit >> (8 * j));
  }
  memcpy(bytes + 4 + trie, x->map->strings, x->map->string_size);
  etk_gguf_set_array(x->writer, "tokenizer.ggml.precompiled_charsmap", ETK_GGUF_U8, bytes, size);
  etk_free(bytes);
  return ETK_OK;
}

static etk_status set_keys(etk_error *e, const exporting *x) {
  etk_gguf_writer *w = x->writer;
  etk_gguf_set_text(w, "tokenizer.ggml.model", x->model);
  etk_gguf_set_text(w, "tokenizer.ggml.pre", x->pre);
  etk_gguf_set_texts(w, "tokenizer.ggml.tokens", x->tokens, NULL, x->count);
  if (x->scores) etk_gguf_set_array(w, "tokenizer.ggml.scores", ETK_GGUF_F32, x->scores, x->count);
  etk_gguf_set_array(w, "tokenizer.ggml.token_type", ETK_GGUF_I32, x->types, x->count);
  if (x->merges) etk_gguf_set_texts(w, "tokenizer.ggml.merges", x->merges, NULL, x->merge_count);
  etk_gguf_set_int(w, "tokenizer.ggml.add_bos_token", ETK_GGUF_BOOL, x->add_bos);
  etk_gguf_set_int(w, "tokenizer.ggml.add_eos_token", ETK_GGUF_BOOL, x->add_eos);
  if (x->add_sep) etk_gguf_set_int(w, "tokenizer.ggml.add_sep_token", ETK_GGUF_BOOL, true);
  if (!x->scores) return ETK_OK;
  etk_gguf_set_int(w, "tokenizer.ggml.add_space_prefix", ETK_GGUF_BOOL, x->space_prefix);
  etk_gguf_set_int(w, "tokenizer.ggml.remove_extra_whitespaces", ETK_GGUF_BOOL, x->fewer_spaces);
  return set_charsmap(e, x);
}

/* All of tokenizer.json but its vocabulary, which has keys of its own. */
static etk_status set_parts(etk_error *e, const exporting *x) {
  static const char *const dropped[] = {"version", "truncation", "padding"};
  json_t *root;
  etk_status s = etk__json_load_beside(e, &root, x->folder, "tokenizer.json");
  if (s != ETK_OK || !root) return s;
  for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) json_object_del(root, dropped[i]);
  json_t *model = json_object_get(root, "model");
  json_object_del(model, "vocab");
  json_object_del(model, "merges");
  if (!json_object_get(model, "type")) json_object_set_new(model, "type", json_string("BPE"));
  etk_text text = ETK_TEXT_INIT;
  etk__json_put(&text, root, JSON_COMPACT);
  json_decref(root);
  if (!text.failed) etk_gguf_set_text(x->writer, "etk.tokenizer.parts", text.data);
  s = text.failed ? etk__no_memory(e, x->folder) : ETK_OK;
  etk_text_free(&text);
  return s;
}

static etk_status set_beside(etk_error *e, const exporting *x) {
  static const char *const names[3] = {"tokenizer_config.json", "special_tokens_map.json", "config.json"};
  json_t *files[3] = {NULL, NULL, NULL};
  etk_status s = ETK_OK;
  for (int i = 0; s == ETK_OK && i < 3; i++) s = etk__json_load_beside(e, &files[i], x->folder, names[i]);
  if (s == ETK_OK) set_ids(x, files);
  if (s == ETK_OK) s = etk__templates_to_gguf(e, x->writer, x->folder, files[0]);
  for (int i = 0; i < 3; i++) json_decref(files[i]);
  return s;
}

etk_status etk_tokenizer_to_gguf(etk_error *e, etk_gguf_writer *writer, const char *folder, int64_t vocabulary_size) {
  exporting x = {.folder = folder, .writer = writer, .bos = -1, .eos = -1, .unknown = -1, .separator = -1, .classify = -1};
  if (!etk_fs_is_dir(folder)) return etk_fail(e, ETK_E_NOT_FOUND, "%s: a folder with a tokenizer's files is wanted", folder);
  etk_status s = etk_tokenizer_open(e, &x.t, folder, vocabulary_size);
  if (s != ETK_OK) return s;
  x.count = vocabulary_size > 0 ? (size_t)vocabulary_size : x.t->vocabulary.count;
  s = describe(e, &x);
  if (s == ETK_OK) s = read_ends(e, &x);
  if (s == ETK_OK) s = fill(e, &x);
  if (s == ETK_OK) s = set_keys(e, &x);
  if (s == ETK_OK) s = set_beside(e, &x);
  if (s == ETK_OK) s = set_parts(e, &x);
  etk_free(x.tokens);
  etk_free(x.merges);
  etk_free(x.scores);
  etk_free(x.types);
  etk_arena_fini(&x.arena);
  etk_tokenizer_free(x.t);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "writing the tokenizer of %s as GGUF keys", folder);
}
