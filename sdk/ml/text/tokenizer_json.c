#include "internal.h"

#include <string.h>

/* Hugging Face tokenizer.json. "truncation" and "padding" are a caller's settings, not part of the tokenizer, and are not looked at. */

typedef struct reading {
  etk_tokenizer *t;
  const char *file;
} reading;

/* ---- model ------------------------------------------------------------------------------------------------------------------------------ */

etk_status etk__read_vocabulary(etk_error *e, etk_tokenizer *t, const char *file, const json_t *vocab) {
  if (!json_is_object(vocab)) return etk_fail(e, ETK_E_FORMAT, "%s: model: \"vocab\" must be an object from token to id", file);
  const char *token;
  size_t size;
  json_t *id;
  json_object_keylen_foreach((json_t *)(uintptr_t)vocab, token, size, id) {
    if (!json_is_integer(id)) return etk_fail(e, ETK_E_FORMAT, "%s: model: the id of token '%.80s' must be a whole number", file, token);
    etk_status s = etk__vocabulary_add(e, &t->vocabulary, file, json_integer_value(id), token, size, true);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

static int shown(size_t size) { return size < 80 ? (int)size : 80; }

typedef struct halves {
  const char *left, *right;
  size_t left_size, right_size;
} halves;

static bool split_merge(const json_t *item, halves *out) {
  if (json_is_array(item)) {
    const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(left) || !json_is_string(right)) return false;
    *out = (halves){json_string_value(left), json_string_value(right), json_string_length(left), json_string_length(right)};
    return true;
  }
  const char *text = json_string_value(item), *space = text ? strchr(text, ' ') : NULL;
  if (!space || strchr(space + 1, ' ')) return false;
  *out = (halves){text, space + 1, (size_t)(space - text), strlen(space + 1)};
  return true;
}

etk_status etk__bpe_put_merge(etk_error *e, etk_tokenizer *t, const char *file, etk_text *whole, const char *left, size_t left_size,
                              const char *right, size_t right_size, size_t index) {
  const etk__vocabulary *v = &t->vocabulary;
  int32_t left_id = etk__vocabulary_find(v, left, left_size), right_id = etk__vocabulary_find(v, right, right_size);
  size_t skip = t->bpe.prefix ? strlen(t->bpe.prefix) : 0;
  if (skip > right_size) skip = right_size;
  whole->size = 0;
  etk_text_append(whole, left, left_size);
  etk_text_append(whole, right + skip, right_size - skip);
  if (whole->failed) return etk__no_memory(e, file);
  int32_t id = whole->size ? etk__vocabulary_find(v, whole->data, whole->size) : -1;
  if (left_id >= 0 && right_id >= 0 && id >= 0)
    return etk__merges_put(&t->bpe.merges, left_id, right_id, (uint32_t)index, id) ? ETK_OK : etk__no_memory(e, file);
  const char *missing = left_id < 0 ? left : right_id < 0 ? right : whole->size ? whole->data : "";
  size_t missing_size = left_id < 0 ? left_size : right_id < 0 ? right_size : whole->size;
  return etk_fail(e, ETK_E_FORMAT, "%s: model: merge %zu joins '%.*s' and '%.*s', but '%.*s' is not in the vocabulary", file, index, shown(left_size),
                  left, shown(right_size), right, shown(missing_size), missing);
}

static etk_status read_merges(etk_error *e, reading *r, const json_t *merges) {
  if (!json_is_array(merges)) return etk_fail(e, ETK_E_FORMAT, "%s: model: \"merges\" must be a list", r->file);
  etk_text whole = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < json_array_size(merges); i++) {
    halves h;
    if (!split_merge(json_array_get(merges, i), &h))
      s = etk_fail(e, ETK_E_FORMAT, "%s: model: merge %zu must be \"a b\" or [\"a\", \"b\"]", r->file, i);
    else s = etk__bpe_put_merge(e, r->t, r->file, &whole, h.left, h.left_size, h.right, h.right_size, i);
  }
  etk_text_free(&whole);
  return s;
}

static etk_status read_affix(etk_error *e, reading *r, const json_t *model, const char *key, const char **out) {
  const char *text = etk__json_text(model, key);
  if (!text || !*text) return ETK_OK;
  *out = etk_arena_strdup(&r->t->vocabulary.arena, text);
  return *out ? ETK_OK : etk__no_memory(e, r->file);
}

/* The id of the token that a key names; otherwise: what it is called where the key is missing. */
static int32_t unknown_of(const reading *r, const json_t *model, const char *otherwise) {
  const char *unknown = etk__json_text(model, "unk_token");
  if (!unknown) unknown = otherwise;
  return etk__vocabulary_find(&r->t->vocabulary, unknown, strlen(unknown));
}

static etk_status read_bpe(etk_error *e, reading *r, const json_t *model) {
  if (json_number_value(json_object_get(model, "dropout")) > 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: model: BPE dropout makes encoding random and is not supported; set \"dropout\" to null", r->file);
  etk__bpe *bpe = &r->t->bpe;
  bpe->fuse_unknown = etk__json_flag(model, "fuse_unk", false);
  bpe->byte_fallback = etk__json_flag(model, "byte_fallback", false);
  bpe->ignore_merges = etk__json_flag(model, "ignore_merges", false);
  etk_status s = read_affix(e, r, model, "continuing_subword_prefix", &bpe->prefix);
  if (s == ETK_OK) s = read_affix(e, r, model, "end_of_word_suffix", &bpe->suffix);
  if (s == ETK_OK) s = etk__read_vocabulary(e, r->t, r->file, json_object_get(model, "vocab"));
  if (s == ETK_OK) s = read_merges(e, r, json_object_get(model, "merges"));
  const char *unknown = etk__json_text(model, "unk_token");
  if (s != ETK_OK || !unknown) return s;
  bpe->unknown = unknown_of(r, model, "");
  if (bpe->unknown >= 0) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT, "%s: model: the unk_token '%.80s' is not in the vocabulary", r->file, unknown);
}

static etk_status read_scored(etk_error *e, reading *r, const json_t *vocab, double *scores) {
  for (size_t i = 0; i < json_array_size(vocab); i++) {
    const json_t *item = json_array_get(vocab, i), *token = json_array_get(item, 0), *score = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(token) || !json_is_number(score))
      return etk_fail(e, ETK_E_FORMAT, "%s: model: entry %zu of \"vocab\" must be [token, score]", r->file, i);
    scores[i] = json_number_value(score);
    etk_status s = etk__vocabulary_add(e, &r->t->vocabulary, r->file, (int64_t)i, json_string_value(token), json_string_length(token), true);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

static etk_status read_unigram(etk_error *e, reading *r, const json_t *model) {
  const json_t *vocab = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
  size_t count = json_array_size(vocab);
  if (!json_is_array(vocab) || !count) return etk_fail(e, ETK_E_FORMAT, "%s: model: \"vocab\" must be a list of [token, score]", r->file);
  if (unknown && !json_is_null(unknown) &&
      (!json_is_integer(unknown) || json_integer_value(unknown) < 0 || json_integer_value(unknown) >= (json_int_t)count))
    return etk_fail(e, ETK_E_FORMAT, "%s: model: \"unk_id\" must be an index into the %zu entries of \"vocab\"", r->file, count);
  r->t->model = MODEL_UNIGRAM;
  r->t->unigram.unknown = json_is_integer(unknown) ? (int32_t)json_integer_value(unknown) : -1;
  r->t->unigram.byte_fallback = etk__json_flag(model, "byte_fallback", false);
  double *scores = etk_calloc(count, sizeof *scores);
  if (!scores) return etk__no_memory(e, r->file);
  etk_status s = read_scored(e, r, vocab, scores);
  if (s == ETK_OK) s = etk__unigram_build(e, &r->t->unigram, &r->t->vocabulary, r->file, scores, NULL);
  etk_free(scores);
  return s;
}

static etk_status read_wordpiece(etk_error *e, reading *r, const json_t *model) {
  etk__wordpiece *w = &r->t->wordpiece;
  const json_t *longest = json_object_get(model, "max_input_chars_per_word");
  r->t->model = MODEL_WORDPIECE;
  w->inside = "##";
  w->longest = json_is_integer(longest) ? json_integer_value(longest) : 100;
  const char *prefix = etk__json_text(model, "continuing_subword_prefix");
  if (prefix) w->inside = etk_arena_strdup(&r->t->vocabulary.arena, prefix);
  if (!w->inside) return etk__no_memory(e, r->file);
  etk_status s = etk__read_vocabulary(e, r->t, r->file, json_object_get(model, "vocab"));
  w->unknown = s == ETK_OK ? unknown_of(r, model, "[UNK]") : -1;
  return s;
}

static etk_status read_wordlevel(etk_error *e, reading *r, const json_t *model) {
  r->t->model = MODEL_WORDLEVEL;
  etk_status s = etk__read_vocabulary(e, r->t, r->file, json_object_get(model, "vocab"));
  r->t->wordpiece.unknown = s == ETK_OK ? unknown_of(r, model, "<unk>") : -1;
  return s;
}

static etk_status read_model(etk_error *e, reading *r, const json_t *model) {
  static const struct {
    const char *type;
    etk_status (*read)(etk_error *e, reading *r, const json_t *model);
  } readers[] = {{"BPE", read_bpe}, {"Unigram", read_unigram}, {"WordPiece", read_wordpiece}, {"WordLevel", read_wordlevel}};
  if (!json_is_object(model)) return etk_fail(e, ETK_E_FORMAT, "%s: not a tokenizer.json: it has no \"model\"", r->file);
  const char *type = etk__json_text(model, "type");
  if (!type && !json_object_get(model, "merges")) return etk_fail(e, ETK_E_FORMAT, "%s: model: neither \"type\" nor \"merges\" is there", r->file);
  if (!type) type = "BPE";
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
    if (!strcmp(type, readers[i].type)) return readers[i].read(e, r, model);
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the model type '%s' is not supported (BPE, Unigram, WordPiece and WordLevel are)", r->file, type);
}

/* ---- added tokens ------------------------------------------------------------------------------------------------------------------------ */

static etk_status add_token(etk_error *e, reading *r, const json_t *item, size_t index) {
  etk__vocabulary *v = &r->t->vocabulary;
  const json_t *id_value = json_object_get(item, "id");
  const char *content = etk__json_text(item, "content");
  if (!content || !json_is_integer(id_value)) return etk_fail(e, ETK_E_FORMAT, "%s: added token %zu needs \"id\" and \"content\"", r->file, index);
  size_t size = strlen(content);
  if (!size) return ETK_OK;
  int64_t given = json_integer_value(id_value);
  int32_t id = etk__vocabulary_find(v, content, size);
  if (id < 0) { /* not of the model: its characters must not find it */
    bool same =
        given >= 0 && (uint64_t)given < v->count && v->tokens[given].text && v->tokens[given].added && !strcmp(v->tokens[given].text, content);
    if (same) return ETK_OK;
    etk_status s = etk__vocabulary_add(e, v, r->file, given, content, size, false);
    if (s != ETK_OK) return s;
    id = (int32_t)given;
  }
  if (v->tokens[id].added) return ETK_OK;
  bool special = etk__json_flag(item, "special", false), normalized = etk__json_flag(item, "normalized", !special);
  etk__tokenizer_add_token(r->t, (etk__added_token){.id = id,
                                                    .special = special,
                                                    .single_word = etk__json_flag(item, "single_word", false),
                                                    .left = etk__json_flag(item, "lstrip", false),
                                                    .right = etk__json_flag(item, "rstrip", false),
                                                    .normalized = normalized});
  return ETK_OK;
}

static etk_status read_added(etk_error *e, reading *r, const json_t *list) {
  size_t count = json_array_size(list);
  if (list && !json_is_null(list) && !json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: \"added_tokens\" must be a list", r->file);
  etk_status s = etk__tokenizer_reserve_added(e, r->t, r->file, count);
  for (size_t i = 0; s == ETK_OK && i < count; i++) s = add_token(e, r, json_array_get(list, i), i);
  return s == ETK_OK ? etk__tokenizer_index_added(e, r->t, r->file) : s;
}

/* ---- post-processor: what it puts around one text ------------------------------------------------------------------------------------------------ */

static etk_status put_ends(etk_error *e, reading *r, bool front, const json_t *id) {
  if (!json_is_integer(id)) return etk_fail(e, ETK_E_FORMAT, "%s: post-processor: a token id must be a whole number", r->file);
  etk_status s = etk__tokenizer_put_ends(e, r->t, r->file, front, json_integer_value(id));
  if (s == ETK_OK && !front && r->t->eos < 0) r->t->eos = (int32_t)json_integer_value(id);
  return s;
}

static etk_status read_template(etk_error *e, reading *r, const json_t *json) {
  const json_t *single = json_object_get(json, "single"), *tokens = json_object_get(json, "special_tokens");
  if (!json_is_array(single)) return etk_fail(e, ETK_E_FORMAT, "%s: TemplateProcessing needs the list \"single\"", r->file);
  etk_status s = ETK_OK;
  bool behind = false;
  for (size_t i = 0; s == ETK_OK && i < json_array_size(single); i++) {
    const json_t *item = json_array_get(single, i);
    if (json_object_get(item, "Sequence")) {
      behind = true;
      continue;
    }
    const char *name = etk__json_text(json_object_get(item, "SpecialToken"), "id");
    const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
    if (!json_is_array(ids))
      return etk_fail(e, ETK_E_FORMAT, "%s: TemplateProcessing: entry %zu of \"single\" has no ids in \"special_tokens\"", r->file, i);
    for (size_t j = 0; s == ETK_OK && j < json_array_size(ids); j++) s = put_ends(e, r, !behind, json_array_get(ids, j));
  }
  return s;
}

static etk_status read_post(etk_error *e, reading *r, const json_t *json) {
  if (!json || json_is_null(json)) return ETK_OK;
  const char *type = etk__json_text(json, "type");
  if (!type) return etk_fail(e, ETK_E_FORMAT, "%s: a post-processor without a \"type\"", r->file);
  if (!strcmp(type, "ByteLevel")) return ETK_OK; /* it only trims offsets */
  if (!strcmp(type, "TemplateProcessing")) return read_template(e, r, json);
  if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
    etk_status s = put_ends(e, r, true, json_array_get(json_object_get(json, "cls"), 1));
    return s == ETK_OK ? put_ends(e, r, false, json_array_get(json_object_get(json, "sep"), 1)) : s;
  }
  if (strcmp(type, "Sequence"))
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: the post-processor '%s' is not supported (TemplateProcessing, ByteLevel, Bert, Roberta and Sequence are)", r->file, type);
  const json_t *list = json_object_get(json, "processors");
  if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: a Sequence post-processor needs the list \"processors\"", r->file);
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < json_array_size(list); i++) s = read_post(e, r, json_array_get(list, i));
  return s;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------------- */

static etk_status read_all(etk_error *e, reading *r, const json_t *root) {
  etk_arena *arena = &r->t->vocabulary.arena;
  const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
  etk__vocabulary_expect(&r->t->vocabulary, json_object_size(vocab) + json_array_size(vocab) + json_array_size(json_object_get(root, "added_tokens")));
  etk_status s = read_model(e, r, json_object_get(root, "model"));
  if (s == ETK_OK) s = etk__normalizer_read(e, &r->t->normalizer, arena, r->file, json_object_get(root, "normalizer"));
  if (s == ETK_OK) s = etk__splitter_read(e, &r->t->splitter, arena, r->file, json_object_get(root, "pre_tokenizer"));
  if (s == ETK_OK) s = etk__decode_read(e, &r->t->decode, arena, r->file, json_object_get(root, "decoder"));
  if (s == ETK_OK) s = read_added(e, r, json_object_get(root, "added_tokens"));
  if (s == ETK_OK) s = read_post(e, r, json_object_get(root, "post_processor"));
  if (s != ETK_OK) return s;
  etk__tokenizer_guess_ends(r->t);
  return etk__tokenizer_finish(e, r->t, r->file);
}

etk_status etk_tokenizer_parse_json(etk_error *e, etk_tokenizer **out, const char *name, const char *bytes, size_t size) {
  *out = NULL;
  json_t *root = etk__json_load(e, name, bytes, size);
  if (!root) return e ? e->status : ETK_E_FORMAT;
  reading r = {etk__tokenizer_new(e, name), name};
  etk_status s = r.t ? read_all(e, &r, root) : ETK_E_NO_MEMORY;
  json_decref(root);
  if (s == ETK_OK) *out = r.t;
  else etk_tokenizer_free(r.t);
  return s;
}

/* A token of tokenizer_config.json: a text, or an object with "content". */
static int32_t named_token(const etk_tokenizer *t, const json_t *config, const char *key, int32_t otherwise) {
  const json_t *value = json_object_get(config, key);
  const char *text = json_is_object(value) ? etk__json_text(value, "content") : json_string_value(value);
  if (!value) return otherwise;
  return text ? etk_tokenizer_find(t, text) : -1;
}

/* add_bos_token and add_eos_token: whether the outermost id in front or behind is there. */
static etk_status set_end(etk_error *e, etk_tokenizer *t, const char *name, bool front, int32_t id, const json_t *add) {
  int32_t *ids = front ? t->prefix : t->suffix;
  size_t *count = front ? &t->prefix_count : &t->suffix_count;
  bool there = *count && ids[front ? 0 : *count - 1] == id;
  if (json_is_true(add) && !there && id >= 0) {
    etk_status s = etk__tokenizer_put_ends(e, t, name, front, id);
    if (s != ETK_OK || !front) return s;
    memmove(t->prefix + 1, t->prefix, (t->prefix_count - 1) * sizeof *t->prefix);
    t->prefix[0] = id;
  } else if (json_is_false(add) && there) {
    if (front) memmove(t->prefix, t->prefix + 1, (t->prefix_count - 1) * sizeof *t->prefix);
    --*count;
  }
  return ETK_OK;
}

etk_status etk__tokenizer_configure(etk_error *e, etk_tokenizer *t, const char *name, const char *bytes, size_t size) {
  json_t *config = etk__json_load(e, name, bytes, size);
  if (!config) return e ? e->status : ETK_E_FORMAT;
  t->bos = named_token(t, config, "bos_token", t->bos);
  t->eos = named_token(t, config, "eos_token", t->eos);
  etk_status s = set_end(e, t, name, true, t->bos, json_object_get(config, "add_bos_token"));
  if (s == ETK_OK) s = set_end(e, t, name, false, t->eos, json_object_get(config, "add_eos_token"));
  json_decref(config);
  return s;
}
