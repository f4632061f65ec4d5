#include "internal.h"

#include <string.h>
#include <utf8proc.h>

/* ---- reading ---------------------------------------------------------------------------------------------------------------------------- */

static etk_status read_replace(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json) {
  const json_t *pattern = json_object_get(json, "pattern");
  const char *regex = etk__json_text(pattern, "Regex"), *literal = etk__json_text(pattern, "String"), *content = etk__json_text(json, "content");
  if ((!regex && !literal) || !content)
    return etk_fail(e, ETK_E_FORMAT, "%s: a Replace normalizer needs \"pattern\" {String or Regex} and \"content\"", file);
  step->kind = NORMAL_REPLACE;
  step->content = etk_arena_strdup(arena, content);
  if (!step->content) return etk__no_memory(e, file);
  etk_status s = regex ? etk__regex_new(e, &step->regex, regex) : etk__regex_literal(e, &step->regex, literal);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "%s: Replace normalizer", file);
}

static etk_status read_step(etk_error *e, etk__normal *step, etk_arena *arena, const char *file, const json_t *json, const char *type) {
  static const struct {
    const char *type;
    int form;
  } forms[] = {{"NFC", UTF8PROC_COMPOSE},
               {"NFD", UTF8PROC_DECOMPOSE},
               {"NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
               {"NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    if (!strcmp(type, forms[i].type)) {
      step->kind = NORMAL_UNICODE;
      step->form = forms[i].form | UTF8PROC_STABLE;
      return ETK_OK;
    }
  if (!strcmp(type, "Replace")) return read_replace(e, step, arena, file, json);
  if (!strcmp(type, "Lowercase")) step->kind = NORMAL_LOWERCASE;
  else if (!strcmp(type, "StripAccents")) step->kind = NORMAL_STRIP_ACCENTS;
  else if (!strcmp(type, "Strip")) {
    step->kind = NORMAL_STRIP;
    step->left = etk__json_flag(json, "strip_left", true);
    step->right = etk__json_flag(json, "strip_right", true);
  } else if (!strcmp(type, "Prepend")) {
    const char *content = etk__json_text(json, "prepend");
    if (!content) return etk_fail(e, ETK_E_FORMAT, "%s: a Prepend normalizer needs the text \"prepend\"", file);
    step->kind = NORMAL_PREPEND;
    step->content = etk_arena_strdup(arena, content);
    if (!step->content) return etk__no_memory(e, file);
  } else
    return etk_fail(
        e, ETK_E_UNSUPPORTED,
        "%s: the normalizer '%s' is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace and Sequence are)", file,
        type);
  return ETK_OK;
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
  if (out->count == ETK__MAX_STEPS) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d normalizers", file, ETK__MAX_STEPS);
  return read_step(e, &out->steps[out->count++], arena, file, json, type);
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

static int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/* Stable sort of each run of combining marks by class. utf8proc's own is an insertion sort, quadratic in a run of hostile length. */
static bool order_marks(utf8proc_int32_t *points, size_t count) {
  utf8proc_int32_t *copy = NULL;
  bool ok = true;
  for (size_t i = 0; ok && i < count;) {
    if (!combining_class(points[i])) {
      i++;
      continue;
    }
    size_t starts[257] = {0}, end = i;
    while (end < count && combining_class(points[end])) starts[combining_class(points[end++]) + 1]++;
    if (end - i > 1) {
      if (!copy) copy = etk_realloc(NULL, count, sizeof *copy);
      ok = copy != NULL;
      for (int c = 1; c < 257; c++) starts[c] += starts[c - 1];
      for (size_t j = i; ok && j < end; j++) copy[starts[combining_class(points[j])]++] = points[j];
      if (ok) memcpy(points + i, copy, (end - i) * sizeof *points);
    }
    i = end;
  }
  etk_free(copy);
  return ok;
}

static bool decompose(utf8proc_int32_t **points, size_t *count, const char *text, size_t size, int form) {
  size_t capacity = size + 32; /* a character becomes at most 18 */
  utf8proc_int32_t *buffer = etk_realloc(NULL, capacity, sizeof *buffer);
  *count = 0;
  int boundary = 0;
  for (size_t i = 0, n; buffer && i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    if (capacity - *count < 32) {
      capacity *= 2;
      utf8proc_int32_t *grown = etk_realloc(buffer, capacity, sizeof *buffer);
      if (!grown) etk_free(buffer);
      buffer = grown;
      if (!buffer) break;
    }
    utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)c, buffer + *count, (utf8proc_ssize_t)(capacity - *count),
                                                   (utf8proc_option_t)((form & ~UTF8PROC_COMPOSE) | UTF8PROC_DECOMPOSE), &boundary);
    if (got > 0) *count += (size_t)got;
  }
  *points = buffer;
  return buffer != NULL;
}

static bool put_form(etk_text *out, const char *text, size_t size, int form) {
  utf8proc_int32_t *points;
  size_t count;
  if (!decompose(&points, &count, text, size, form)) return false;
  bool ok = order_marks(points, count);
  if (ok && form & UTF8PROC_COMPOSE) {
    utf8proc_ssize_t got = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count, (utf8proc_option_t)form);
    if (got >= 0) count = (size_t)got;
  }
  for (size_t i = 0; ok && i < count; i++) {
    char bytes[4];
    etk_text_append(out, bytes, etk_utf8_encode(bytes, (uint32_t)points[i]));
  }
  etk_free(points);
  return ok;
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

static void put_mapped(etk_text *out, const char *text, size_t size, etk__normal_kind kind) {
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    if (kind == NORMAL_LOWERCASE) etk__put_lower(out, c);
    else if (!etk__is_mark(c)) etk_text_append(out, text + i, n);
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
    else if (!put_form(out, text, size, step->form)) return etk__no_memory(e, "tokenizer: normalizing");
    break;
  case NORMAL_LOWERCASE:
  case NORMAL_STRIP_ACCENTS:
    put_mapped(out, text, size, step->kind);
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
