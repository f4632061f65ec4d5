#include "internal.h"

#include <etk/fs.h>
#include <string.h>
#include <utf8proc.h>

/* Vocabularies that are lists in files of their own: what to do with text they do not say, tokenizer_config.json's tokenizer_class does. */

/* ---- what lies beside ----------------------------------------------------------------------------------------------------------------------------- */

typedef struct beside {
  json_t *config; /* tokenizer_config.json; NULL: none */
  json_t *added;  /* added_tokens.json; NULL: none */
} beside;

static etk_status load_beside(etk_error *e, beside *b, const char *folder) {
  etk_status s = etk__json_load_beside(e, &b->config, folder, "tokenizer_config.json");
  return s == ETK_OK ? etk__json_load_beside(e, &b->added, folder, "added_tokens.json") : s;
}

static void beside_fini(beside *b) {
  json_decref(b->config);
  json_decref(b->added);
}

/* The class without "Fast", in class_name[0..64); "": none is named. */
static void class_of(const beside *b, char class_name[64]) {
  const char *name = etk__json_text(b->config, "tokenizer_class");
  snprintf(class_name, 64, "%s", name ? name : "");
  size_t n = strlen(class_name);
  if (n > 4 && !strcmp(class_name + n - 4, "Fast")) class_name[n - 4] = 0;
}

static etk_status add_one(etk_error *e, etk_tokenizer *t, const char *file, int64_t id, const char *content, const json_t *flags, bool special) {
  etk__vocabulary *v = &t->vocabulary;
  size_t size = content ? strlen(content) : 0;
  if (!size) return etk_fail(e, ETK_E_FORMAT, "%s: an added token without \"content\"", file);
  int32_t known = etk__vocabulary_find(v, content, size);
  bool same = id >= 0 && (uint64_t)id < v->count && v->tokens[id].text && !strcmp(v->tokens[id].text, content);
  if (known < 0 && !same) {
    etk_status s = etk__vocabulary_add(e, v, file, id, content, size, false);
    if (s != ETK_OK) return s;
  }
  if (known >= 0) id = known;
  if (v->tokens[id].added) return ETK_OK;
  etk__tokenizer_add_token(t, (etk__added_token){.id = (int32_t)id,
                                                 .special = etk__json_flag(flags, "special", special),
                                                 .single_word = etk__json_flag(flags, "single_word", false),
                                                 .left = etk__json_flag(flags, "lstrip", false),
                                                 .right = etk__json_flag(flags, "rstrip", false),
                                                 .normalized = etk__json_flag(flags, "normalized", false)});
  return ETK_OK;
}

/* added_tokens_decoder of the configuration (id to flags), added_tokens.json (spelling to id), and the tokens it gives names to. */
static etk_status add_tokens(etk_error *e, etk_tokenizer *t, const char *file, const beside *b) {
  static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  json_t *decoder = json_object_get(b->config, "added_tokens_decoder"), *value;
  const char *key;
  etk_status s = etk__tokenizer_reserve_added(e, t, file, json_object_size(decoder) + json_object_size(b->added) + sizeof names / sizeof *names);
  if (s != ETK_OK) return s;
  json_object_foreach(decoder, key, value) {
    int64_t id;
    s = etk_parse_int(e, &id, key);
    if (s == ETK_OK) s = add_one(e, t, file, id, etk__json_text(value, "content"), value, false);
    if (s != ETK_OK) return etk_error_while(e, s, "%s: added_tokens_decoder", file);
  }
  json_object_foreach(b->added, key, value) {
    if (!json_is_integer(value)) return etk_fail(e, ETK_E_FORMAT, "%s: added_tokens.json: the id of '%.80s' must be a whole number", file, key);
    s = add_one(e, t, file, json_integer_value(value), key, NULL, false);
    if (s != ETK_OK) return s;
  }
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const json_t *named = json_object_get(b->config, names[i]);
    const char *content = json_is_object(named) ? etk__json_text(named, "content") : json_string_value(named);
    int32_t id = content ? etk__vocabulary_find(&t->vocabulary, content, strlen(content)) : -1;
    if (id >= 0 && (s = add_one(e, t, file, id, content, json_is_object(named) ? named : NULL, true)) != ETK_OK) return s;
  }
  return etk__tokenizer_index_added(e, t, file);
}

/* ---- vocab.json with merges.txt -------------------------------------------------------------------------------------------------------------------- */

etk_status etk__read_merge_lines(etk_error *e, etk_tokenizer *t, const char *file, const char *bytes, size_t size, bool first_line, size_t limit) {
  const char *at = bytes, *end = bytes + size;
  etk_text whole = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  if (size > 8 && !memcmp(at, "#version", 8)) first_line = true;
  for (size_t line = 0, index = 0; s == ETK_OK && at < end && index < limit; line++) {
    const char *stop = memchr(at, '\n', (size_t)(end - at)), *next = stop ? stop + 1 : end;
    if (!stop) stop = end;
    if (stop > at && stop[-1] == '\r') stop--;
    const char *space = memchr(at, ' ', (size_t)(stop - at));
    bool skipped = stop == at || (line == 0 && first_line);
    if (!skipped && (!space || space == at || space + 1 == stop || memchr(space + 1, ' ', (size_t)(stop - space - 1))))
      s = etk_fail(e, ETK_E_FORMAT, "%s:%zu: a merge must be \"left right\"", file, line + 1);
    else if (!skipped) s = etk__bpe_put_merge(e, t, file, &whole, at, (size_t)(space - at), space + 1, (size_t)(stop - space - 1), index++);
    at = next;
  }
  etk_text_free(&whole);
  return s;
}

etk_status etk__gpt2_parts(etk_error *e, etk_tokenizer *t, const char *file, const char *pattern) {
  etk__split *bytes;
  etk_status s = etk__splitter_add_pattern(e, &t->splitter, file, pattern, false, SPLIT_ISOLATED, false);
  if (s == ETK_OK) s = etk__splitter_add(e, &t->splitter, file, SPLIT_BYTES, &bytes);
  return s == ETK_OK ? etk__decode_add(e, &t->decode, &t->vocabulary.arena, file, DECODE_BYTE_LEVEL, NULL) : s;
}

static etk_status gpt2(etk_error *e, etk_tokenizer *t, const char *file) { return etk__gpt2_parts(e, t, file, etk__gpt2_pattern); }

static etk_status qwen2(etk_error *e, etk_tokenizer *t, const char *file) {
  etk_status s = etk__normalizer_add(e, &t->normalizer, file, (etk__normal){.kind = NORMAL_UNICODE, .form = UTF8PROC_COMPOSE | UTF8PROC_STABLE});
  return s == ETK_OK ? etk__gpt2_parts(e, t, file, etk__qwen2_pattern) : s;
}

static etk_status roberta(etk_error *e, etk_tokenizer *t, const char *file) {
  etk_status s = gpt2(e, t, file);
  if (s == ETK_OK) s = etk__tokenizer_put_ends(e, t, file, true, etk__vocabulary_find(&t->vocabulary, "<s>", 3));
  return s == ETK_OK ? etk__tokenizer_put_ends(e, t, file, false, etk__vocabulary_find(&t->vocabulary, "</s>", 4)) : s;
}

typedef struct family {
  const char *class_name;
  etk_status (*parts)(etk_error *e, etk_tokenizer *t, const char *file);
} family;
static const family families[] = {{"GPT2Tokenizer", gpt2},    {"CodeGenTokenizer", gpt2},    {"Qwen2Tokenizer", qwen2},
                                  {"RobertaTokenizer", roberta}, {"BartTokenizer", roberta}, {"CLIPTokenizer", etk__clip_parts}};

static const family *family_of(etk_error *e, const etk_tokenizer *t, const char *file, const char *class_name) {
  bool clip = etk__vocabulary_find(&t->vocabulary, "<|startoftext|>", 15) >= 0 && etk__vocabulary_find(&t->vocabulary, "the</w>", 7) >= 0;
  if (!*class_name || !strcmp(class_name, "PreTrainedTokenizer")) class_name = clip ? "CLIPTokenizer" : "GPT2Tokenizer";
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (!strcmp(class_name, families[i].class_name)) return &families[i];
  etk_fail(e, ETK_E_UNSUPPORTED,
           "%s: the tokenizer_class '%s' of its tokenizer_config.json is not known for such files (GPT2Tokenizer, CodeGenTokenizer, Qwen2Tokenizer, "
           "RobertaTokenizer, BartTokenizer and CLIPTokenizer are); a tokenizer.json would say more",
           file, class_name);
  return NULL;
}

static etk_status read_pair(etk_error *e, etk_tokenizer *t, const beside *b, const char *vocab_path, const char *merges_path) {
  char *bytes, class_name[64];
  size_t size;
  etk_status s = etk_fs_read(e, &bytes, &size, vocab_path, ETK__TOKENIZER_FILE_LIMIT);
  if (s != ETK_OK) return s;
  json_t *vocab = etk__json_load(e, vocab_path, bytes, size);
  etk_free(bytes);
  if (!vocab) return e ? e->status : ETK_E_FORMAT;
  etk__vocabulary_expect(&t->vocabulary, json_object_size(vocab));
  s = etk__read_vocabulary(e, t, vocab_path, vocab);
  json_decref(vocab);
  class_of(b, class_name);
  const family *f = s == ETK_OK ? family_of(e, t, vocab_path, class_name) : NULL;
  if (s == ETK_OK && !f) s = ETK_E_UNSUPPORTED;
  if (f && f->parts == etk__clip_parts) t->bpe.suffix = "</w>";
  if (s == ETK_OK) s = etk_fs_read(e, &bytes, &size, merges_path, ETK__TOKENIZER_FILE_LIMIT);
  if (s != ETK_OK) return s;
  s = etk__read_merge_lines(e, t, merges_path, bytes, size, false, SIZE_MAX);
  etk_free(bytes);
  return s == ETK_OK ? f->parts(e, t, vocab_path) : s;
}

/* Without added tokens in the files: the end of text, which every vocabulary of the family holds. */
static etk_status add_end(etk_error *e, etk_tokenizer *t, const char *file) {
  int32_t id = etk__vocabulary_find(&t->vocabulary, "<|endoftext|>", 13);
  if (id < 0 || t->vocabulary.tokens[id].added) return ETK_OK;
  etk_status s = etk__tokenizer_reserve_added(e, t, file, 1);
  if (s != ETK_OK) return s;
  etk__tokenizer_add_token(t, (etk__added_token){.id = id, .special = true});
  return etk__tokenizer_index_added(e, t, file);
}

static etk_status finish(etk_error *e, etk_tokenizer **out, etk_tokenizer *t, beside *b, const char *folder, const char *path, etk_status s) {
  if (s == ETK_OK) s = add_tokens(e, t, path, b);
  if (s == ETK_OK) s = add_end(e, t, path);
  if (s == ETK_OK) etk__tokenizer_guess_ends(t);
  if (s == ETK_OK && b->config) s = etk__configure_beside(e, t, folder);
  if (s == ETK_OK) s = etk__tokenizer_finish(e, t, path);
  beside_fini(b);
  if (s == ETK_OK) *out = t;
  else etk_tokenizer_free(t);
  return s;
}

etk_status etk__open_vocab_merges(etk_error *e, etk_tokenizer **out, const char *folder, const char *vocab, const char *merges) {
  char *vocab_path = etk_path_join(folder, vocab), *merges_path = etk_path_join(folder, merges);
  beside b = {NULL, NULL};
  etk_tokenizer *t = NULL;
  etk_status s = vocab_path && merges_path ? load_beside(e, &b, folder) : etk__no_memory(e, folder);
  if (s == ETK_OK) {
    t = etk__tokenizer_new(e, vocab_path);
    s = t ? read_pair(e, t, &b, vocab_path, merges_path) : ETK_E_NO_MEMORY;
  }
  s = finish(e, out, t, &b, folder, vocab_path ? vocab_path : folder, s);
  etk_free(vocab_path);
  etk_free(merges_path);
  return s;
}

/* ---- vocab.txt: a WordPiece a line ---------------------------------------------------------------------------------------------------------------- */

static etk_status read_lines(etk_error *e, etk_tokenizer *t, const char *file, const char *bytes, size_t size) {
  const char *at = bytes, *end = bytes + size;
  if (!etk_utf8_valid(bytes, size) || memchr(bytes, 0, size)) return etk_fail(e, ETK_E_FORMAT, "%s: not UTF-8 text", file);
  etk_status s = ETK_OK;
  for (int64_t id = 0; s == ETK_OK && at < end; id++) {
    const char *stop = memchr(at, '\n', (size_t)(end - at)), *next = stop ? stop + 1 : end;
    if (!stop) stop = end;
    if (stop > at && stop[-1] == '\r') stop--;
    s = etk__vocabulary_add(e, &t->vocabulary, file, id, at, (size_t)(stop - at), stop > at);
    at = next;
  }
  return s;
}

static etk_status bert_parts(etk_error *e, etk_tokenizer *t, const char *file, const json_t *config) {
  etk_arena *arena = &t->vocabulary.arena;
  etk__split *step;
  json_t *normalizer = json_pack("{s:s,s:b,s:b}", "type", "BertNormalizer", "lowercase", etk__json_flag(config, "do_lower_case", true),
                                 "handle_chinese_chars", etk__json_flag(config, "tokenize_chinese_chars", true));
  const json_t *strip = json_object_get(config, "strip_accents");
  bool packed = normalizer && (!json_is_boolean(strip) || !json_object_set_new(normalizer, "strip_accents", json_boolean(json_is_true(strip))));
  etk_status s = packed ? etk__normalizer_read(e, &t->normalizer, arena, file, normalizer) : etk__no_memory(e, file);
  json_decref(normalizer);
  if (s == ETK_OK) s = etk__splitter_add(e, &t->splitter, file, SPLIT_BERT, &step);
  if (s == ETK_OK) s = etk__decode_add(e, &t->decode, arena, file, DECODE_WORDPIECE, "##");
  if (s != ETK_OK) return s;
  t->decode.steps[0].cleanup = true;
  t->model = MODEL_WORDPIECE;
  t->wordpiece.inside = "##";
  t->wordpiece.unknown = etk__vocabulary_find(&t->vocabulary, "[UNK]", 5);
  s = etk__tokenizer_put_ends(e, t, file, true, etk__vocabulary_find(&t->vocabulary, "[CLS]", 5));
  return s == ETK_OK ? etk__tokenizer_put_ends(e, t, file, false, etk__vocabulary_find(&t->vocabulary, "[SEP]", 5)) : s;
}

static etk_status read_txt(etk_error *e, etk_tokenizer *t, const beside *b, const char *path) {
  static const char *const marks[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  static const char *const classes[] = {"", "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "PreTrainedTokenizer"};
  char class_name[64], *bytes;
  size_t size;
  bool known = false;
  class_of(b, class_name);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) known = known || !strcmp(class_name, classes[i]);
  if (!known)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: the tokenizer_class '%s' of its tokenizer_config.json is not known for such a file (BertTokenizer, DistilBertTokenizer and "
                    "ElectraTokenizer are); a tokenizer.json would say more",
                    path, class_name);
  etk_status s = etk_fs_read(e, &bytes, &size, path, ETK__TOKENIZER_FILE_LIMIT);
  if (s != ETK_OK) return s;
  s = read_lines(e, t, path, bytes, size);
  etk_free(bytes);
  if (s == ETK_OK) s = bert_parts(e, t, path, b->config);
  if (s == ETK_OK) s = etk__tokenizer_reserve_added(e, t, path, sizeof marks / sizeof *marks);
  for (size_t i = 0; s == ETK_OK && i < sizeof marks / sizeof *marks; i++) {
    int32_t id = etk__vocabulary_find(&t->vocabulary, marks[i], strlen(marks[i]));
    if (id >= 0) etk__tokenizer_add_token(t, (etk__added_token){.id = id, .special = true});
  }
  return s;
}

etk_status etk__open_vocab_txt(etk_error *e, etk_tokenizer **out, const char *folder, const char *vocab) {
  char *path = etk_path_join(folder, vocab);
  beside b = {NULL, NULL};
  etk_tokenizer *t = NULL;
  etk_status s = path ? load_beside(e, &b, folder) : etk__no_memory(e, folder);
  if (s == ETK_OK) {
    t = etk__tokenizer_new(e, path);
    s = t ? read_txt(e, t, &b, path) : ETK_E_NO_MEMORY;
  }
  s = finish(e, out, t, &b, folder, path ? path : folder, s);
  etk_free(path);
  return s;
}
