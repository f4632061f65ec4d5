#include "internal.h"

#include <etk/fs.h>
#include <etk/gguf.h>
#include <stdio.h>
#include <string.h>

/* The vocabulary of a GGUF file as plain arrays. */

void etk__gguf_arrays_fini(etk__gguf_arrays *a) {
  etk_free(a->tokens);
  etk_free(a->merges);
  etk_free(a->sizes);
  etk_free(a->merge_sizes);
  etk_free(a->scores);
  etk_free(a->types);
}

bool etk__looks_like_gguf(const char *path) {
  char magic[4] = "";
  size_t n = strlen(path);
  if (n > 5 && !strcmp(path + n - 5, ".gguf")) return true;
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  bool same = fread(magic, 1, 4, file) == 4 && !memcmp(magic, "GGUF", 4);
  fclose(file);
  return same;
}

static etk_status take_texts(etk_error *e, const etk_gguf *file, const char *key, const char ***texts, size_t **sizes, size_t *count) {
  const etk_gguf_value *value;
  etk_status s = etk_gguf_get_array(e, &value, file, key, ETK_GGUF_TEXT);
  if (s != ETK_OK) return s;
  *count = (size_t)value->count;
  *texts = etk_calloc(*count + 1, sizeof **texts);
  *sizes = etk_calloc(*count + 1, sizeof **sizes);
  if (!*texts || !*sizes) return etk__no_memory(e, key);
  for (size_t i = 0; i < *count; i++) (*texts)[i] = etk_gguf_text_at(value, i, &(*sizes)[i]);
  return ETK_OK;
}

/* An array beside the tokens, as long as they are; *value NULL: not there. */
static etk_status take_beside(etk_error *e, const etk_gguf *file, const char *key, etk_gguf_kind items, size_t count, const etk_gguf_value **value) {
  *value = NULL;
  if (!etk_gguf_find(file, key)) return ETK_OK;
  etk_status s = etk_gguf_get_array(e, value, file, key, items);
  if (s == ETK_OK && (*value)->count != count)
    return etk_fail(e, ETK_E_FORMAT, "%s has %llu entries, tokenizer.ggml.tokens %zu", key, (unsigned long long)(*value)->count, count);
  return s;
}

static etk_status take_arrays(etk_error *e, const etk_gguf *file, etk__gguf_arrays *a, etk_gguf_vocabulary *g) {
  const etk_gguf_value *value;
  etk_status s = take_texts(e, file, "tokenizer.ggml.tokens", &a->tokens, &a->sizes, &g->count);
  if (s == ETK_OK) s = take_beside(e, file, "tokenizer.ggml.scores", ETK_GGUF_F64, g->count, &value);
  if (s == ETK_OK && value && !(a->scores = etk_calloc(g->count + 1, sizeof *a->scores))) return etk__no_memory(e, "tokenizer.ggml.scores");
  for (size_t i = 0; s == ETK_OK && value && i < g->count; i++) a->scores[i] = (float)etk_gguf_real_at(value, i);
  if (s == ETK_OK) s = take_beside(e, file, "tokenizer.ggml.token_type", ETK_GGUF_I64, g->count, &value);
  if (s == ETK_OK && value && !(a->types = etk_calloc(g->count + 1, sizeof *a->types))) return etk__no_memory(e, "tokenizer.ggml.token_type");
  for (size_t i = 0; s == ETK_OK && value && i < g->count; i++) {
    int64_t type = etk_gguf_int_at(value, i);
    a->types[i] = type < 0 || type > 255 ? 0 : (int32_t)type;
  }
  if (s == ETK_OK && etk_gguf_find(file, "tokenizer.ggml.merges"))
    s = take_texts(e, file, "tokenizer.ggml.merges", &a->merges, &a->merge_sizes, &g->merge_count);
  g->tokens = a->tokens;
  g->sizes = a->sizes;
  g->scores = a->scores;
  g->types = a->types;
  g->merges = a->merges;
  g->merge_sizes = a->merge_sizes;
  return s;
}

static etk_status take_id(etk_error *e, const etk_gguf *file, const char *key, int64_t otherwise, int64_t *out) {
  *out = otherwise;
  if (!etk_gguf_find(file, key)) return ETK_OK;
  etk_status s = etk_gguf_get_int(e, out, file, key);
  if (s == ETK_OK && *out == UINT32_MAX) *out = -1; /* how some writers say none */
  return s;
}

static etk_status take_flag(etk_error *e, const etk_gguf *file, const char *key, int8_t *out) {
  bool flag = false;
  if (!etk_gguf_find(file, key)) return ETK_OK;
  etk_status s = etk_gguf_get_flag(e, &flag, file, key);
  *out = flag;
  return s;
}

/* Ids that llama.cpp takes for granted where the file does not give them. */
static etk_status take_ids(etk_error *e, const etk_gguf *file, etk_gguf_vocabulary *g) {
  static const struct {
    const char *model;
    int bos, eos, unknown, separator;
  } usual[] = {{"llama", 1, 2, 0, -1}, {"bert", 101, -1, 100, 102}, {"t5", -1, 1, 2, -1}, {"", -1, -1, -1, -1}};
  size_t i = 0;
  while (*usual[i].model && strcmp(usual[i].model, g->model)) i++;
  etk_status s = take_id(e, file, "tokenizer.ggml.bos_token_id", usual[i].bos, &g->bos);
  if (s == ETK_OK) s = take_id(e, file, "tokenizer.ggml.eos_token_id", usual[i].eos, &g->eos);
  if (s == ETK_OK) s = take_id(e, file, "tokenizer.ggml.unknown_token_id", usual[i].unknown, &g->unknown);
  if (s == ETK_OK) s = take_id(e, file, "tokenizer.ggml.seperator_token_id", usual[i].separator, &g->separator);
  return s == ETK_OK ? take_id(e, file, "tokenizer.ggml.cls_token_id", -1, &g->classify) : s;
}

static etk_status take_flags(etk_error *e, const etk_gguf *file, etk_gguf_vocabulary *g) {
  etk_status s = take_flag(e, file, "tokenizer.ggml.add_bos_token", &g->add_bos);
  if (s == ETK_OK) s = take_flag(e, file, "tokenizer.ggml.add_eos_token", &g->add_eos);
  if (s == ETK_OK) s = take_flag(e, file, "tokenizer.ggml.add_sep_token", &g->add_sep);
  if (s == ETK_OK) s = take_flag(e, file, "tokenizer.ggml.add_space_prefix", &g->add_space_prefix);
  return s == ETK_OK ? take_flag(e, file, "tokenizer.ggml.remove_extra_whitespaces", &g->fewer_spaces) : s;
}

static etk_status take_charsmap(etk_error *e, const etk_gguf *file, etk_gguf_vocabulary *g) {
  static const char key[] = "tokenizer.ggml.precompiled_charsmap";
  const etk_gguf_value *value = etk_gguf_find(file, key);
  if (!value) return ETK_OK;
  if (value->kind != ETK_GGUF_ARRAY || (value->item_kind != ETK_GGUF_U8 && value->item_kind != ETK_GGUF_I8))
    return etk_fail(e, ETK_E_FORMAT, "%s must be an array of bytes", key);
  g->charsmap = value->data;
  g->charsmap_size = (size_t)value->count;
  return ETK_OK;
}

etk_status etk__gguf_take(etk_error *e, const etk_gguf *file, const char *name, etk__gguf_arrays *a, etk_gguf_vocabulary *g) {
  *g = (etk_gguf_vocabulary)ETK_GGUF_VOCABULARY_INIT;
  memset(a, 0, sizeof *a);
  g->name = name;
  etk_status s = etk_gguf_get_text(e, &g->model, file, "tokenizer.ggml.model");
  if (s == ETK_OK && etk_gguf_find(file, "tokenizer.ggml.pre")) s = etk_gguf_get_text(e, &g->pre, file, "tokenizer.ggml.pre");
  if (s == ETK_OK) s = take_arrays(e, file, a, g);
  if (s == ETK_OK) s = take_ids(e, file, g);
  if (s == ETK_OK) s = take_flags(e, file, g);
  return s == ETK_OK ? take_charsmap(e, file, g) : s;
}

etk_status etk_tokenizer_open_gguf(etk_error *e, etk_tokenizer **out, const etk_gguf *file, const char *name) {
  etk_gguf_vocabulary g;
  etk__gguf_arrays a;
  *out = NULL;
  etk_status s = etk__gguf_take(e, file, name, &a, &g);
  s = s == ETK_OK ? etk_tokenizer_from_gguf(e, out, &g) : etk_error_while(e, s, "reading the vocabulary of %s", name);
  etk__gguf_arrays_fini(&a);
  return s;
}

etk_status etk__open_gguf(etk_error *e, etk_tokenizer **out, const char *path) {
  etk_gguf *file;
  etk_status s = etk_gguf_open(e, &file, path);
  if (s != ETK_OK) return s;
  s = etk_tokenizer_open_gguf(e, out, file, path);
  etk_gguf_close(file);
  return s;
}
