#include "ml/format/json.h"
#include "internal.h"

#include <etk/fs.h>
#include <etk/gguf.h>
#include <string.h>

/* A GGUF vocabulary as tokenizer.json. Its parts (normalizer, pre-tokenizer …) are those that this library put into the file (etk.tokenizer.parts), or are
 * made here from what the kind of the vocabulary means; tokens and merges are the file's. */

static const char mark[] = "\xe2\x96\x81";

typedef struct writing {
  const etk_gguf *file;
  const char *name;
  etk_gguf_vocabulary g;
  etk__gguf_arrays arrays;
  etk_tokenizer *t; /* of the same vocabulary: what it joins, and what stands around a text */
  json_t *parts;
  const char **spelled; /* by id: an added token's own spelling; NULL: as in the file */
  const etk__cutting *cutting;
} writing;

static bool is_model(const writing *w, const char *model) { return !strcmp(w->g.model, model); }
static int type_of(const writing *w, size_t id) { return w->g.types ? w->g.types[id] : ETK__NORMAL; }

/* ---- parts made from what the kind means --------------------------------------------------------------------------------------------------------------- */

static json_t *byte_level(bool prefix, bool trim, bool regex) {
  return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", prefix, "trim_offsets", trim, "use_regex", regex);
}

static json_t *replace_text(const char *what, const char *by) {
  return json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", what, "content", by);
}

static json_t *split_at(const char *pattern) {
  etk_text text = ETK_TEXT_INIT;
  etk__put_plain_pattern(&text, pattern);
  json_t *out = text.failed ? NULL : json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", text.data, "behavior", "Isolated", "invert", 0);
  etk_text_free(&text);
  return out;
}

static json_t *splits(const etk__cutting *c) {
  if (!c->patterns[1] && !strcmp(c->patterns[0], etk__gpt2_pattern)) return byte_level(false, true, true);
  json_t *list = json_array();
  for (int i = 0; list && i < 4 && c->patterns[i]; i++) json_array_append_new(list, split_at(c->patterns[i]));
  json_array_append_new(list, byte_level(false, true, false));
  return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *metaspace(bool prefix) {
  return json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", mark, "prepend_scheme", prefix ? "always" : "never", "split", 0);
}

static json_t *spaces_marked(json_t *list, bool prefix) {
  if (prefix) json_array_append_new(list, json_pack("{s:s,s:s}", "type", "Prepend", "prepend", mark));
  json_array_append_new(list, replace_text(" ", mark));
  return json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *marks_spaced(bool prefix) {
  json_t *list = json_pack("[o,{s:s},{s:s}]", replace_text(mark, " "), "type", "ByteFallback", "type", "Fuse");
  if (prefix) json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
  return json_pack("{s:s,s:o}", "type", "Sequence", "decoders", list);
}

static json_t *base64(const unsigned char *bytes, size_t size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  etk_text out = ETK_TEXT_INIT;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t held = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < size ? bytes[i + 2] : 0);
    for (int j = 0; j < 4; j++) etk_text_putc(&out, i + (size_t)j > size ? '=' : digits[held >> (18 - 6 * j) & 63]);
  }
  json_t *text = out.failed ? NULL : json_string(out.data ? out.data : "");
  etk_text_free(&out);
  return text;
}

/* Spaces are marked by normalizers, since Metaspace leaves its prefix out where a text begins with a space. */
static json_t *unigram_normalizer(const writing *w) {
  json_t *list = json_array();
  if (w->g.charsmap_size)
    json_array_append_new(list, json_pack("{s:s,s:o}", "type", "Precompiled", "precompiled_charsmap", base64(w->g.charsmap, w->g.charsmap_size)));
  if (w->g.fewer_spaces > 0) {
    json_array_append_new(list, json_pack("{s:s,s:b,s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1));
    json_array_append_new(list, json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "Regex", " {2,}", "content", " "));
  }
  return spaces_marked(list, w->g.add_space_prefix != 0);
}

static json_t *model_of(const writing *w) {
  int64_t id = w->g.unknown;
  const char *unknown = id >= 0 ? etk_tokenizer_token(w->t, (int32_t)id) : NULL;
  if (is_model(w, "bert"))
    return json_pack("{s:s,s:s,s:s,s:i}", "type", "WordPiece", "unk_token", unknown ? unknown : "[UNK]", "continuing_subword_prefix", "##",
                     "max_input_chars_per_word", (int)w->t->wordpiece.longest);
  if (is_model(w, "t5")) return json_pack("{s:s,s:o,s:b}", "type", "Unigram", "unk_id", id >= 0 ? json_integer(id) : json_null(), "byte_fallback", 0);
  bool spm = is_model(w, "llama");
  return json_pack("{s:s,s:n,s:s?,s:n,s:n,s:b,s:b,s:b}", "type", "BPE", "dropout", "unk_token", spm ? unknown : NULL, "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", spm, "byte_fallback", spm, "ignore_merges", w->t->bpe.ignore_merges);
}

static json_t *single_of(const etk_tokenizer *t, json_t *tokens, bool pair) {
  json_t *list = json_array();
  for (int part = 0; list && part < 2; part++) {
    const int32_t *ids = part ? t->suffix : t->prefix;
    size_t count = part ? t->suffix_count : t->prefix_count;
    if (part) json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "A", "type_id", 0));
    for (size_t i = 0; i < count; i++) {
      const char *text = t->vocabulary.tokens[ids[i]].text;
      json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "SpecialToken", "id", text, "type_id", 0));
      json_object_set_new(tokens, text, json_pack("{s:s,s:[i],s:[s]}", "id", text, "ids", (int)ids[i], "tokens", text));
    }
  }
  if (pair) json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "B", "type_id", 1));
  for (size_t i = 0; pair && i < t->suffix_count; i++)
    json_array_append_new(list, json_pack("{s:{s:s,s:i}}", "SpecialToken", "id", t->vocabulary.tokens[t->suffix[i]].text, "type_id", 1));
  return list;
}

static json_t *post_processor(const writing *w) {
  if (!w->t->prefix_count && !w->t->suffix_count) return is_model(w, "gpt2") ? byte_level(true, false, true) : json_null();
  json_t *tokens = json_object(), *single = single_of(w->t, tokens, false), *pair = single_of(w->t, tokens, true);
  return json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens", tokens);
}

static json_t *added_tokens(const writing *w) {
  json_t *list = json_array();
  for (size_t i = 0; list && i < w->g.count; i++) {
    int type = type_of(w, i);
    bool special = type == ETK__CONTROL || type == ETK__UNKNOWN;
    if (!w->g.sizes[i] || (!special && type != ETK__USER_DEFINED)) continue;
    json_array_append_new(list, json_pack("{s:I,s:o,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content", json_stringn(w->g.tokens[i], w->g.sizes[i]),
                                          "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", special));
  }
  return list;
}

static json_t *made_parts(const writing *w) {
  bool spm = is_model(w, "llama"), prefix = w->g.add_space_prefix != 0;
  json_t *normalizer, *cut, *decoder;
  if (is_model(w, "gpt2")) {
    normalizer = json_null();
    cut = splits(w->cutting);
    decoder = byte_level(true, true, true);
  } else if (is_model(w, "bert")) {
    normalizer = json_pack("{s:s,s:b,s:b,s:n,s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars", 1, "strip_accents", "lowercase", 1);
    cut = json_pack("{s:s}", "type", "BertPreTokenizer");
    decoder = json_pack("{s:s,s:s,s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1);
  } else {
    normalizer = spm ? spaces_marked(json_array(), prefix) : unigram_normalizer(w);
    cut = json_null();
    decoder = spm ? marks_spaced(prefix) : metaspace(prefix);
  }
  return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "added_tokens", added_tokens(w), "normalizer", normalizer, "pre_tokenizer", cut, "post_processor",
                   post_processor(w), "decoder", decoder, "model", model_of(w));
}

/* ---- parts that the file brings ------------------------------------------------------------------------------------------------------------------------- */

static bool same_spelling(const writing *w, size_t id, const char *content) {
  etk_text spaced = ETK_TEXT_INIT;
  if (strlen(content) == w->g.sizes[id] && !memcmp(content, w->g.tokens[id], w->g.sizes[id])) return true;
  etk__put_replaced(&spaced, mark, 3, " ", content, strlen(content)); /* as user-defined tokens are spelled there */
  bool same = !spaced.failed && spaced.size == w->g.sizes[id] && spaced.size && !memcmp(spaced.data, w->g.tokens[id], spaced.size);
  etk_text_free(&spaced);
  return same;
}

static etk_status check_added(etk_error *e, writing *w) {
  const json_t *list = json_object_get(w->parts, "added_tokens");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *item = json_array_get(list, i), *id = json_object_get(item, "id");
    const char *content = etk__json_text(item, "content");
    json_int_t at = json_is_integer(id) ? json_integer_value(id) : -1;
    if (!content || at < 0 || at >= (json_int_t)w->g.count || !same_spelling(w, (size_t)at, content))
      return etk_fail(e, ETK_E_FORMAT, "%s: etk.tokenizer.parts: added token %zu, '%.80s', is not what tokenizer.ggml.tokens has at its id; without that key "
                      "the parts are made from the vocabulary", w->name, i, content ? content : "(none)");
    w->spelled[at] = content;
  }
  return ETK_OK;
}

static etk_status take_parts(etk_error *e, writing *w) {
  static const struct {
    const char *model, *type;
  } kinds[] = {{"gpt2", "BPE"}, {"llama", "BPE"}, {"bert", "WordPiece"}, {"t5", "Unigram"}};
  const char *text, *type = NULL, *wanted = "";
  etk_status s = etk_gguf_get_text(e, &text, w->file, "etk.tokenizer.parts");
  if (s != ETK_OK) return s;
  w->parts = etk__json_load(e, "etk.tokenizer.parts", text, strlen(text));
  if (!w->parts) return e ? e->status : ETK_E_FORMAT;
  type = etk__json_text(json_object_get(w->parts, "model"), "type");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (is_model(w, kinds[i].model)) wanted = kinds[i].type;
  if (!type || strcmp(type, wanted))
    return etk_fail(e, ETK_E_FORMAT, "%s: etk.tokenizer.parts is of a model '%s', but tokenizer.ggml.model is '%s'", w->name, type ? type : "(none)", w->g.model);
  return check_added(e, w);
}

/* ---- tokens and merges ------------------------------------------------------------------------------------------------------------------------------------ */

static void put_token(etk_text *out, const writing *w, size_t id) {
  const char *text = w->spelled[id] ? w->spelled[id] : w->g.tokens[id];
  size_t size = w->spelled[id] ? strlen(w->spelled[id]) : w->g.sizes[id];
  bool whole = !is_model(w, "bert") || type_of(w, id) != ETK__NORMAL || w->spelled[id] || (size > 1 && text[0] == '[' && text[size - 1] == ']');
  if (whole) etk_text_json(out, text, size);
  else if (size > 3 && !memcmp(text, mark, 3)) etk_text_json(out, text + 3, size - 3);
  else {
    etk_text inside = ETK_TEXT_INIT;
    etk_text_puts(&inside, "##");
    etk_text_append(&inside, text, size);
    out->failed = out->failed || inside.failed;
    etk_text_json(out, inside.data ? inside.data : "", inside.size);
    etk_text_free(&inside);
  }
}

static bool is_there(const writing *w, size_t id) { return w->g.sizes[id] && type_of(w, id) != ETK__UNUSED; }

static void put_vocabulary(etk_text *out, const writing *w) {
  etk_text_puts(out, ",\n    \"vocab\": {");
  bool first = true;
  for (size_t i = 0; i < w->g.count; i++) {
    if (!is_there(w, i)) continue;
    etk_text_puts(out, first ? "\n      " : ",\n      ");
    put_token(out, w, i);
    etk_text_printf(out, ": %zu", i);
    first = false;
  }
  etk_text_puts(out, "\n    }");
}

/* A list, so that each token's place is its id: only the last ones may be missing. */
static etk_status put_scored(etk_error *e, etk_text *out, const writing *w) {
  size_t count = w->g.count;
  while (count && !is_there(w, count - 1)) count--;
  etk_text_puts(out, ",\n    \"vocab\": [");
  for (size_t i = 0; i < count; i++) {
    if (!is_there(w, i)) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: token %zu is marked unused, which a Unigram tokenizer.json cannot say", w->name, i);
    etk_text_puts(out, i ? ",\n      [" : "\n      [");
    put_token(out, w, i);
    etk_text_puts(out, ", ");
    etk_text_real(out, (double)w->g.scores[i]);
    etk_text_putc(out, ']');
  }
  etk_text_puts(out, "\n    ]");
  return ETK_OK;
}

static void put_merge(etk_text *out, const char *left, size_t left_size, const char *right, size_t right_size, bool first) {
  etk_text_puts(out, first ? "\n      [" : ",\n      [");
  etk_text_json(out, left, left_size);
  etk_text_puts(out, ", ");
  etk_text_json(out, right, right_size);
  etk_text_putc(out, ']');
}

typedef struct ordered {
  const etk__merge *merge;
  uint32_t left, right; /* bytes */
} ordered;

/* Of equal scores, which one token's cuts have, the longer left part first, as transformers writes them. */
static int by_score(const void *a, const void *b) {
  const ordered *x = a, *y = b;
  if (x->merge->rank != y->merge->rank) return x->merge->rank < y->merge->rank ? -1 : 1;
  if (x->merge->id != y->merge->id) return x->merge->id < y->merge->id ? -1 : 1;
  return x->left > y->left ? -1 : x->left < y->left;
}

static etk_status put_merges_by_score(etk_error *e, etk_text *out, const writing *w) {
  const etk__merges *m = &w->t->bpe.merges;
  const etk__token *tokens = w->t->vocabulary.tokens;
  ordered *list = etk_calloc(m->used + 1, sizeof *list);
  size_t count = 0;
  if (!list) return etk__no_memory(e, w->name);
  for (size_t i = 0; i < m->slot_count; i++)
    if (m->slots[i].pair != UINT64_MAX) list[count++] = (ordered){&m->slots[i], tokens[m->slots[i].pair >> 32].size, tokens[m->slots[i].pair & UINT32_MAX].size};
  if (count) qsort(list, count, sizeof *list, by_score);
  for (size_t i = 0; i < count; i++) {
    const etk__token *left = &tokens[list[i].merge->pair >> 32], *right = &tokens[list[i].merge->pair & UINT32_MAX];
    put_merge(out, left->text, left->size, right->text, right->size, !i);
  }
  etk_free(list);
  return ETK_OK;
}

static etk_status put_merges(etk_error *e, etk_text *out, const writing *w) {
  if (!is_model(w, "gpt2") && !is_model(w, "llama")) return ETK_OK;
  etk_status s = ETK_OK;
  etk_text_puts(out, ",\n    \"merges\": [");
  if (is_model(w, "llama")) s = put_merges_by_score(e, out, w);
  for (size_t i = 0; i < w->g.merge_count && is_model(w, "gpt2"); i++) {
    const char *merge = w->g.merges[i], *space = memchr(merge + 1, ' ', w->g.merge_sizes[i] - 1); /* reading the vocabulary found one */
    size_t left = (size_t)(space - merge);
    put_merge(out, merge, left, space + 1, w->g.merge_sizes[i] - left - 1, !i);
  }
  etk_text_puts(out, "\n    ]");
  return s;
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------------------------------------- */

static void put_part(etk_text *out, const json_t *value) { etk__json_put(out, value ? value : json_null(), JSON_COMPACT); }

static etk_status put_model(etk_error *e, etk_text *out, const writing *w) {
  const char *key;
  json_t *value, *model = json_object_get(w->parts, "model");
  bool first = true;
  etk_text_puts(out, "  \"model\": {");
  json_object_foreach(model, key, value) {
    if (!strcmp(key, "vocab") || !strcmp(key, "merges")) continue;
    etk_text_puts(out, first ? "\n    " : ",\n    ");
    etk_text_json(out, key, strlen(key));
    etk_text_puts(out, ": ");
    put_part(out, value);
    first = false;
  }
  etk_status s = ETK_OK;
  if (is_model(w, "t5")) s = put_scored(e, out, w);
  else put_vocabulary(out, w);
  if (s == ETK_OK) s = put_merges(e, out, w);
  etk_text_puts(out, "\n  }\n}\n");
  return s;
}

static etk_status put_all(etk_error *e, etk_text *out, const writing *w) {
  static const char *const keys[] = {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"};
  etk_text_puts(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    etk_text_printf(out, "  \"%s\": ", keys[i]);
    put_part(out, json_object_get(w->parts, keys[i]));
    etk_text_puts(out, ",\n");
  }
  return put_model(e, out, w);
}

static etk_status prepare(etk_error *e, writing *w) {
  etk_status s = etk_tokenizer_from_gguf(e, &w->t, &w->g);
  if (s != ETK_OK) return s;
  if (is_model(w, "gpt2") && !(w->cutting = etk__cutting_named(e, w->name, w->g.pre ? w->g.pre : "default"))) return ETK_E_UNSUPPORTED;
  w->spelled = etk_calloc(w->g.count + 1, sizeof *w->spelled);
  if (!w->spelled) return etk__no_memory(e, w->name);
  if (etk_gguf_find(w->file, "etk.tokenizer.parts")) return take_parts(e, w);
  w->parts = made_parts(w);
  return w->parts ? ETK_OK : etk__no_memory(e, w->name);
}

/* What is written is read first: a vocabulary that JSON cannot hold (a spelling twice, say) is found before a file is. */
static etk_status write_json(etk_error *e, const writing *w, const char *folder, bool replace) {
  char *path = etk_path_join(folder, "tokenizer.json");
  etk_text text = ETK_TEXT_INIT;
  etk_tokenizer *read = NULL;
  etk_status s = path ? put_all(e, &text, w) : etk__no_memory(e, folder);
  if (s == ETK_OK && text.failed) s = etk__no_memory(e, folder);
  if (s == ETK_OK) s = etk_tokenizer_parse_json(e, &read, path, text.data, text.size);
  if (s == ETK_OK) s = etk_fs_write(e, path, text.data, text.size, replace);
  if (s == ETK_OK) s = etk__write_configs(e, w->t, w->file, w->name, folder);
  etk_tokenizer_free(read);
  etk_text_free(&text);
  etk_free(path);
  return s;
}

static etk_status refuse_existing(etk_error *e, const char *folder) {
  static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *path = etk_path_join(folder, names[i]);
    bool there = path && etk_fs_exists(path);
    etk_status s = !path ? etk__no_memory(e, folder) : there ? etk_fail(e, ETK_E_EXISTS, "%s: it exists already", path) : ETK_OK;
    etk_free(path);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

etk_status etk_tokenizer_write_folder(etk_error *e, const etk_gguf *file, const char *name, const char *folder, bool replace) {
  writing w = {.file = file, .name = name};
  etk_status s = replace ? ETK_OK : refuse_existing(e, folder);
  if (s == ETK_OK) s = etk__gguf_take(e, file, name, &w.arrays, &w.g);
  if (s == ETK_OK) s = prepare(e, &w);
  if (s == ETK_OK) s = etk_fs_make_dirs(e, folder);
  if (s == ETK_OK) s = write_json(e, &w, folder, replace);
  etk__gguf_arrays_fini(&w.arrays);
  etk_tokenizer_free(w.t);
  json_decref(w.parts);
  etk_free(w.spelled);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "writing the tokenizer of %s as tokenizer.json", name);
}
