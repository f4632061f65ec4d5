#include "internal.h"

#include <string.h>

/* Hugging Face tokenizer.json. "truncation" and "padding" are a caller's settings, not part of the tokenizer, and are not looked at. */

typedef struct reading {
  etk_tokenizer *t;
  const char *file;
} reading;

/* ---- model ------------------------------------------------------------------------------------------------------------------------------ */

static etk_status read_vocabulary(etk_error *e, reading *r, json_t *vocab) {
  if (!json_is_object(vocab)) return etk_fail(e, ETK_E_FORMAT, "%s: model: \"vocab\" must be an object from token to id", r->file);
  const char *token;
  size_t size;
  json_t *id;
  json_object_keylen_foreach(vocab, token, size, id) {
    if (!json_is_integer(id)) return etk_fail(e, ETK_E_FORMAT, "%s: model: the id of token '%.80s' must be a whole number", r->file, token);
    etk_status s = etk__vocabulary_add(e, &r->t->vocabulary, r->file, json_integer_value(id), token, size, true);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

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

static int shown(size_t size) { return size < 80 ? (int)size : 80; }

static etk_status read_merge(etk_error *e, reading *r, etk_text *whole, const json_t *item, size_t index) {
  halves h;
  if (!split_merge(item, &h)) return etk_fail(e, ETK_E_FORMAT, "%s: model: merge %zu must be \"a b\" or [\"a\", \"b\"]", r->file, index);
  const etk__vocabulary *v = &r->t->vocabulary;
  int32_t left = etk__vocabulary_find(v, h.left, h.left_size), right = etk__vocabulary_find(v, h.right, h.right_size);
  size_t skip = r->t->bpe.prefix ? strlen(r->t->bpe.prefix) : 0;
  if (skip > h.right_size) skip = h.right_size;
  whole->size = 0;
  etk_text_append(whole, h.left, h.left_size);
  etk_text_append(whole, h.right + skip, h.right_size - skip);
  if (whole->failed) return etk__no_memory(e, r->file);
  int32_t id = whole->size ? etk__vocabulary_find(v, whole->data, whole->size) : -1;
  if (left < 0 || right < 0 || id < 0) {
    halves missing = left < 0    ? (halves){.left = h.left, .left_size = h.left_size}
                     : right < 0 ? (halves){.left = h.right, .left_size = h.right_size}
                                 : (halves){.left = whole->size ? whole->data : "", .left_size = whole->size};
    return etk_fail(e, ETK_E_FORMAT, "%s: model: merge %zu joins '%.*s' and '%.*s', but '%.*s' is not in the vocabulary", r->file, index,
                    shown(h.left_size), h.left, shown(h.right_size), h.right, shown(missing.left_size), missing.left);
  }
  return etk__merges_put(&r->t->bpe.merges, left, right, (uint32_t)index, id) ? ETK_OK : etk__no_memory(e, r->file);
}

static etk_status read_merges(etk_error *e, reading *r, const json_t *merges) {
  if (!json_is_array(merges)) return etk_fail(e, ETK_E_FORMAT, "%s: model: \"merges\" must be a list", r->file);
  etk_text whole = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < json_array_size(merges); i++) s = read_merge(e, r, &whole, json_array_get(merges, i), i);
  etk_text_free(&whole);
  return s;
}

static etk_status read_affix(etk_error *e, reading *r, const json_t *model, const char *key, const char **out) {
  const char *text = etk__json_text(model, key);
  if (!text || !*text) return ETK_OK;
  *out = etk_arena_strdup(&r->t->vocabulary.arena, text);
  return *out ? ETK_OK : etk__no_memory(e, r->file);
}

static etk_status read_model(etk_error *e, reading *r, const json_t *model) {
  if (!json_is_object(model)) return etk_fail(e, ETK_E_FORMAT, "%s: not a tokenizer.json: it has no \"model\"", r->file);
  const char *type = etk__json_text(model, "type");
  if (!type && !json_object_get(model, "merges")) return etk_fail(e, ETK_E_FORMAT, "%s: model: neither \"type\" nor \"merges\" is there", r->file);
  if (type && strcmp(type, "BPE"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the model type '%s' is not supported; this version reads BPE", r->file, type);
  if (json_number_value(json_object_get(model, "dropout")) > 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: model: BPE dropout makes encoding random and is not supported; set \"dropout\" to null", r->file);
  etk__bpe *bpe = &r->t->bpe;
  bpe->fuse_unknown = etk__json_flag(model, "fuse_unk", false);
  bpe->byte_fallback = etk__json_flag(model, "byte_fallback", false);
  bpe->ignore_merges = etk__json_flag(model, "ignore_merges", false);
  etk_status s = read_affix(e, r, model, "continuing_subword_prefix", &bpe->prefix);
  if (s == ETK_OK) s = read_affix(e, r, model, "end_of_word_suffix", &bpe->suffix);
  if (s == ETK_OK) s = read_vocabulary(e, r, json_object_get(model, "vocab"));
  if (s == ETK_OK) s = read_merges(e, r, json_object_get(model, "merges"));
  const char *unknown = etk__json_text(model, "unk_token");
  if (s != ETK_OK || !unknown) return s;
  bpe->unknown = etk__vocabulary_find(&r->t->vocabulary, unknown, strlen(unknown));
  if (bpe->unknown >= 0) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT, "%s: model: the unk_token '%.80s' is not in the vocabulary", r->file, unknown);
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
  v->tokens[id].added = true;
  v->tokens[id].special = special;
  etk__added *list = normalized ? &r->t->normalized : &r->t->literal;
  list->items[list->count++] = (etk__added_token){.text = v->tokens[id].text,
                                                  .size = size,
                                                  .id = id,
                                                  .special = special,
                                                  .single_word = etk__json_flag(item, "single_word", false),
                                                  .left = etk__json_flag(item, "lstrip", false),
                                                  .right = etk__json_flag(item, "rstrip", false),
                                                  .normalized = normalized};
  return ETK_OK;
}

/* What is sought in normalized text must be normalized itself. */
static etk_status normalize_added(etk_error *e, reading *r) {
  etk__added *list = &r->t->normalized;
  if (!list->count || !r->t->normalizer.count) return ETK_OK;
  etk__scratch scratch;
  etk_text text = ETK_TEXT_INIT;
  etk_status s = etk__scratch_init(e, &scratch);
  size_t kept = 0;
  for (size_t i = 0; s == ETK_OK && i < list->count; i++) {
    etk__added_token item = list->items[i];
    s = etk__normalize(e, &r->t->normalizer, &scratch, &text, item.text, item.size);
    if (s != ETK_OK || !text.size) continue;
    item.size = text.size;
    item.text = etk_arena_strndup(&r->t->vocabulary.arena, text.data, text.size);
    if (!item.text) s = etk__no_memory(e, r->file);
    list->items[kept++] = item;
  }
  if (s == ETK_OK) list->count = kept;
  etk_text_free(&text);
  etk__scratch_fini(&scratch);
  return s;
}

static etk_status read_added(etk_error *e, reading *r, const json_t *list) {
  size_t count = json_array_size(list);
  if (list && !json_is_null(list) && !json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: \"added_tokens\" must be a list", r->file);
  r->t->literal.items = etk_calloc(count + 1, sizeof *r->t->literal.items);
  r->t->normalized.items = etk_calloc(count + 1, sizeof *r->t->normalized.items);
  if (!r->t->literal.items || !r->t->normalized.items) return etk__no_memory(e, r->file);
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < count; i++) s = add_token(e, r, json_array_get(list, i), i);
  if (s == ETK_OK) s = normalize_added(e, r);
  if (s != ETK_OK) return s;
  etk__added_index(&r->t->literal);
  etk__added_index(&r->t->normalized);
  return ETK_OK;
}

/* ---- post-processor: only what stands in front of the text counts (see etk/tokenizer.h) --------------------------------------------------------- */

static etk_status push_prefix(etk_error *e, reading *r, const json_t *id) {
  if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= (json_int_t)r->t->vocabulary.count ||
      !r->t->vocabulary.tokens[json_integer_value(id)].text)
    return etk_fail(e, ETK_E_FORMAT, "%s: post-processor: a token id that is not in the vocabulary", r->file);
  int32_t *prefix = etk_realloc(r->t->prefix, r->t->prefix_count + 1, sizeof *prefix);
  if (!prefix) return etk__no_memory(e, r->file);
  r->t->prefix = prefix;
  prefix[r->t->prefix_count++] = (int32_t)json_integer_value(id);
  return ETK_OK;
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
    for (size_t j = 0; s == ETK_OK && j < json_array_size(ids); j++) {
      if (!behind) s = push_prefix(e, r, json_array_get(ids, j));
      else if (r->t->eos < 0 && json_is_integer(json_array_get(ids, j))) r->t->eos = (int32_t)json_integer_value(json_array_get(ids, j));
    }
  }
  if (r->t->eos >= (int32_t)r->t->vocabulary.count) r->t->eos = -1;
  return s;
}

static etk_status read_post(etk_error *e, reading *r, const json_t *json) {
  if (!json || json_is_null(json)) return ETK_OK;
  const char *type = etk__json_text(json, "type");
  if (!type) return etk_fail(e, ETK_E_FORMAT, "%s: a post-processor without a \"type\"", r->file);
  if (!strcmp(type, "ByteLevel")) return ETK_OK; /* it only trims offsets */
  if (!strcmp(type, "TemplateProcessing")) return read_template(e, r, json);
  if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
    const json_t *last = json_array_get(json_object_get(json, "sep"), 1);
    if (json_is_integer(last) && json_integer_value(last) >= 0 && json_integer_value(last) < (json_int_t)r->t->vocabulary.count)
      r->t->eos = (int32_t)json_integer_value(last);
    return push_prefix(e, r, json_array_get(json_object_get(json, "cls"), 1));
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

/* Without a tokenizer_config.json nothing names the two; these spellings are those of the published families. */
static void guess_ends(etk_tokenizer *t) {
  static const char *const begins[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>"};
  static const char *const ends[] = {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<|im_end|>"};
  if (t->prefix_count) t->bos = t->prefix[0];
  for (size_t i = 0; t->bos < 0 && i < sizeof begins / sizeof *begins; i++) t->bos = etk_tokenizer_find(t, begins[i]);
  for (size_t i = 0; t->eos < 0 && i < sizeof ends / sizeof *ends; i++) t->eos = etk_tokenizer_find(t, ends[i]);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------------- */

static etk_status read_all(etk_error *e, reading *r, const json_t *root) {
  etk_arena *arena = &r->t->vocabulary.arena;
  etk_status s = read_model(e, r, json_object_get(root, "model"));
  if (s == ETK_OK) s = etk__normalizer_read(e, &r->t->normalizer, arena, r->file, json_object_get(root, "normalizer"));
  if (s == ETK_OK) s = etk__splitter_read(e, &r->t->splitter, arena, r->file, json_object_get(root, "pre_tokenizer"));
  if (s == ETK_OK) s = etk__decode_read(e, &r->t->decode, arena, r->file, json_object_get(root, "decoder"));
  if (s == ETK_OK) s = read_added(e, r, json_object_get(root, "added_tokens"));
  if (s == ETK_OK) s = read_post(e, r, json_object_get(root, "post_processor"));
  if (s != ETK_OK) return s;
  etk__bpe_index(&r->t->bpe, &r->t->vocabulary);
  guess_ends(r->t);
  return ETK_OK;
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

etk_status etk__tokenizer_configure(etk_error *e, etk_tokenizer *t, const char *name, const char *bytes, size_t size) {
  json_t *config = etk__json_load(e, name, bytes, size);
  if (!config) return e ? e->status : ETK_E_FORMAT;
  t->bos = named_token(t, config, "bos_token", t->bos);
  t->eos = named_token(t, config, "eos_token", t->eos);
  const json_t *add = json_object_get(config, "add_bos_token");
  etk_status s = ETK_OK;
  bool there = t->prefix_count && t->prefix[0] == t->bos;
  if (json_is_true(add) && !there && t->bos >= 0) {
    int32_t *prefix = etk_realloc(t->prefix, t->prefix_count + 1, sizeof *prefix);
    if (!prefix) s = etk__no_memory(e, name);
    else {
      memmove(prefix + 1, prefix, t->prefix_count * sizeof *prefix);
      prefix[0] = t->bos;
      t->prefix = prefix;
      t->prefix_count++;
    }
  } else if (json_is_false(add) && there) {
    memmove(t->prefix, t->prefix + 1, (t->prefix_count - 1) * sizeof *t->prefix);
    t->prefix_count--;
  }
  json_decref(config);
  return s;
}
