#include "internal.h"

#include <string.h>
#include <utf8proc.h>

/* ---- reading ---------------------------------------------------------------------------------------------------------------------------- */

etk_status etk__normalizer_add(etk_error *e, etk__normalizer *out, const char *file, etk__normal step) {
  if (out->count == ETK__MAX_STEPS) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d normalizers", file, ETK__MAX_STEPS);
  out->steps[out->count++] = step;
  return ETK_OK;
}

static etk_status read_replace(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  const json_t *pattern = json_object_get(json, "pattern");
  const char *regex = etk__json_text(pattern, "Regex"), *literal = etk__json_text(pattern, "String"), *content = etk__json_text(json, "content");
  if ((!regex && !literal) || !content)
    return etk_fail(e, ETK_E_FORMAT, "%s: a Replace normalizer needs \"pattern\" {String or Regex} and \"content\"", file);
  step->kind = regex || !*literal ? NORMAL_REPLACE : NORMAL_REPLACE_TEXT;
  step->content = etk_arena_strdup(arena, content);
  step->what = literal ? etk_arena_strdup(arena, literal) : "";
  if (!step->content || !step->what) return etk__no_memory(e, file);
  step->what_size = strlen(step->what);
  if (step->kind == NORMAL_REPLACE_TEXT) return ETK_OK;
  etk_status s = regex ? etk__regex_new(e, &step->regex, regex) : etk__regex_literal(e, &step->regex, literal);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "%s: Replace normalizer", file);
}

static etk_status read_form(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  static const struct {
    const char *type;
    int form;
  } forms[] = {{"NFC", UTF8PROC_COMPOSE},
               {"NFD", UTF8PROC_DECOMPOSE},
               {"NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
               {"NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
  (void)e, (void)arena, (void)file;
  step->kind = NORMAL_UNICODE;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    if (!strcmp(etk__json_text(json, "type"), forms[i].type)) step->form = forms[i].form | UTF8PROC_STABLE;
  return ETK_OK;
}

static etk_status read_strip(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  (void)e, (void)arena, (void)file;
  step->kind = NORMAL_STRIP;
  step->left = etk__json_flag(json, "strip_left", true);
  step->right = etk__json_flag(json, "strip_right", true);
  return ETK_OK;
}

static etk_status read_prepend(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  const char *content = etk__json_text(json, "prepend");
  if (!content) return etk_fail(e, ETK_E_FORMAT, "%s: a Prepend normalizer needs the text \"prepend\"", file);
  step->kind = NORMAL_PREPEND;
  step->content = etk_arena_strdup(arena, content);
  return step->content ? ETK_OK : etk__no_memory(e, file);
}

static etk_status read_precompiled(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  const char *map = etk__json_text(json, "precompiled_charsmap");
  step->kind = NORMAL_CHARSMAP;
  if (!map && !json_is_null(json_object_get(json, "precompiled_charsmap")))
    return etk_fail(e, ETK_E_FORMAT, "%s: a Precompiled normalizer needs the base64 text \"precompiled_charsmap\"", file);
  return map ? etk__charsmap_read_base64(e, &step->map, arena, file, map) : ETK_OK;
}

static etk_status read_simple(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  static const struct {
    const char *type;
    etk__normal_kind kind;
  } kinds[] = {{"Lowercase", NORMAL_LOWERCASE}, {"StripAccents", NORMAL_STRIP_ACCENTS}, {"Nmt", NORMAL_NMT}, {"ByteLevel", NORMAL_BYTES}};
  (void)e, (void)arena, (void)file;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(etk__json_text(json, "type"), kinds[i].type)) step->kind = kinds[i].kind;
  return ETK_OK;
}

/* BertNormalizer is five others; marks are dropped where "strip_accents" says so, or, when it says nothing, where letters are lower-cased. */
static etk_status read_bert(etk_error *e, etk__normalizer *out, const char *file, const json_t *json) {
  bool lower = etk__json_flag(json, "lowercase", true), strip = etk__json_flag(json, "strip_accents", lower);
  etk_status s = ETK_OK;
  if (etk__json_flag(json, "clean_text", true)) s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_CLEAN});
  if (s == ETK_OK && etk__json_flag(json, "handle_chinese_chars", true)) s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_CHINESE});
  if (s == ETK_OK && strip)
    s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_UNICODE, .form = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE});
  if (s == ETK_OK && strip) s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_STRIP_ACCENTS, .form = UTF8PROC_CATEGORY_MN});
  if (s == ETK_OK && lower) s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_LOWERCASE});
  return s;
}

typedef etk_status (*step_reader)(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json);
static const struct {
  const char *type;
  step_reader read;
} readers[] = {{"NFC", read_form},           {"NFD", read_form},         {"NFKC", read_form},           {"NFKD", read_form},
               {"Lowercase", read_simple},   {"Strip", read_strip},      {"StripAccents", read_simple}, {"Prepend", read_prepend},
               {"Replace", read_replace},    {"Nmt", read_simple},       {"ByteLevel", read_simple},    {"Precompiled", read_precompiled}};

static etk_status read_step(etk_error *e, etk__normalizer *out, etk_arena *arena, const char *file, const json_t *json, const char *type) {
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
    if (strcmp(type, readers[i].type)) continue;
    etk_status s = etk__normalizer_add(e, out, file, (etk__normal){.kind = NORMAL_STRIP});
    return s == ETK_OK ? readers[i].read(e, &out->steps[out->count - 1], arena, file, json) : s;
  }
  return etk_fail(e, ETK_E_UNSUPPORTED,
                  "%s: the normalizer '%s' is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, Nmt, ByteLevel, "
                  "Precompiled, BertNormalizer and Sequence are)",
                  file, type);
}

etk_status etk__normalizer_read(etk_error *e, etk__normalizer *out, etk_arena *arena, const char *file, const json_t *json) {
  if (!json || json_is_null(json)) return ETK_OK;
  const char *type = etk__json_text(json, "type");
  if (!type) return etk_fail(e, ETK_E_FORMAT, "%s: a normalizer without a \"type\"", file);
  if (!strcmp(type, "Sequence")) {
    const json_t *list = json_object_get(json, "normalizers");
    if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: a Sequence normalizer needs the list \"normalizers\"", file);
    etk_status s = ETK_OK;
    for (size_t i = 0; s == ETK_OK && i < json_array_size(list); i++) s = etk__normalizer_read(e, out, arena, file, json_array_get(list, i));
    return s;
  }
  return strcmp(type, "BertNormalizer") ? read_step(e, out, arena, file, json, type) : read_bert(e, out, file, json);
}

void etk__normalizer_fini(etk__normalizer *normalizer) {
  for (int i = 0; i < normalizer->count; i++) etk__regex_free(normalizer->steps[i].regex);
}

/* ---- running ---------------------------------------------------------------------------------------------------------------------------- */

static bool is_ascii(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)text[i] >= 0x80) return false;
  return true;
}

static void put_stripped(etk_text *out, const char *text, size_t size, bool left, bool right) {
  size_t begin = 0, end = 0;
  bool started = !left;
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    bool space = etk__is_space(c);
    if (!started && !space) {
      started = true;
      begin = i;
    }
    if (!space) end = i + n;
  }
  if (!right) end = size;
  if (!started) begin = size;
  if (end > begin) etk_text_append(out, text + begin, end - begin);
}

static void put_lower(etk_text *out, const char *text, size_t size) {
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = (unsigned char)text[i];
    n = 1;
    if (c < 0x80) {
      etk_text_putc(out, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
      continue;
    }
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    etk__put_lower(out, c);
  }
}

/* only: the one category that is dropped; 0: all marks. */
static void put_without_marks(etk_text *out, const char *text, size_t size, int only) {
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    bool mark = c >= 0x300 && (only ? (int)utf8proc_category((utf8proc_int32_t)c) == only : etk__is_mark(c));
    if (!mark) etk_text_append(out, text + i, n);
  }
}

etk_status etk__replace_all(etk_error *e, const etk__regex *regex, pcre2_match_data *match, const char *content, etk_text *out, const char *text,
                            size_t size) {
  size_t done = 0, at = 0;
  bool matched = false;
  while (at <= size) {
    bool found;
    size_t start = 0, end = 0;
    etk_status s = etk__regex_find(e, regex, match, text, size, at, &found, &start, &end);
    if (s != ETK_OK) return s;
    if (!found) break;
    if (start < end || !matched || start != done) { /* an empty match right behind a match does not count */
      etk_text_append(out, text + done, start - done);
      etk_text_puts(out, content);
      done = end;
      matched = true;
    }
    at = start < end ? end : etk__step(text, size, end);
  }
  etk_text_append(out, text + done, size - done);
  return ETK_OK;
}

static etk_status run_step(etk_error *e, const etk__normal *step, etk__scratch *scratch, etk_text *out, const char *text, size_t size) {
  switch (step->kind) {
  case NORMAL_UNICODE:
    if (is_ascii(text, size)) etk_text_append(out, text, size);
    else if (!etk__put_form(scratch, out, text, size, step->form)) return etk__no_memory(e, "tokenizer: normalizing");
    break;
  case NORMAL_LOWERCASE:
    put_lower(out, text, size);
    break;
  case NORMAL_STRIP_ACCENTS:
    put_without_marks(out, text, size, step->form);
    break;
  case NORMAL_STRIP:
    put_stripped(out, text, size, step->left, step->right);
    break;
  case NORMAL_PREPEND:
    if (size) etk_text_puts(out, step->content);
    etk_text_append(out, text, size);
    break;
  case NORMAL_REPLACE:
    return etk__replace_all(e, step->regex, scratch->match, step->content, out, text, size);
  case NORMAL_REPLACE_TEXT:
    etk__put_replaced(out, step->what, step->what_size, step->content, text, size);
    break;
  case NORMAL_CHARSMAP:
    etk__charsmap_put(&step->map, out, text, size);
    break;
  case NORMAL_SENTENCEPIECE:
    etk__put_sentencepiece(out, step, text, size);
    break;
  case NORMAL_CLEAN:
    etk__put_clean(out, text, size);
    break;
  case NORMAL_CHINESE:
    etk__put_chinese(out, text, size);
    break;
  case NORMAL_NMT:
    etk__put_nmt(out, text, size);
    break;
  case NORMAL_BYTES:
    etk__put_alphabet(out, text, size);
    break;
  }
  return ETK_OK;
}

etk_status etk__normalize(etk_error *e, const etk__normalizer *normalizer, etk__scratch *scratch, etk_text *out, const char *text, size_t size) {
  etk_text other = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  out->size = 0;
  if (!normalizer->count) etk_text_append(out, text, size);
  for (int i = 0; s == ETK_OK && i < normalizer->count; i++) {
    const char *from = i ? other.data ? other.data : "" : text;
    size_t from_size = i ? other.size : size;
    out->size = 0;
    s = run_step(e, &normalizer->steps[i], scratch, out, from, from_size);
    if (s == ETK_OK && (out->failed || other.failed)) s = etk__no_memory(e, "tokenizer: normalizing");
    if (i + 1 < normalizer->count) {
      etk_text swap = other;
      other = *out;
      *out = swap;
    }
  }
  if (s == ETK_OK && out->failed) s = etk__no_memory(e, "tokenizer: normalizing");
  etk_text_free(&other);
  return s;
}
