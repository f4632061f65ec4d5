#include "internal.h"

#include <string.h>
#include <utf8proc.h>

/* ---- Unicode normal forms ------------------------------------------------------------------------------------------------------------------------ */

static int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/* Stable sort of each run of combining marks by class. utf8proc's own is an insertion sort, quadratic in a run of hostile length. */
static bool order_marks(utf8proc_int32_t *points, size_t count) {
  utf8proc_int32_t *copy = NULL;
  bool ok = true;
  for (size_t i = 0; ok && i < count;) {
    if (points[i] < 0x300 || !combining_class(points[i])) {
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

static bool reserve_points(etk__scratch *s, size_t count) {
  if (count <= s->point_capacity) return true;
  size_t capacity = s->point_capacity * 2 > count ? s->point_capacity * 2 : count;
  int32_t *points = etk_realloc(s->points, capacity, sizeof *points);
  if (!points) return false;
  s->points = points;
  s->point_capacity = capacity;
  return true;
}

static bool decompose(etk__scratch *s, size_t *count, const char *text, size_t size, int form) {
  int boundary = 0;
  *count = 0;
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    if (!reserve_points(s, *count + 32)) return false; /* a character becomes at most 18 */
    utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)c, s->points + *count, 32,
                                                   (utf8proc_option_t)((form & ~UTF8PROC_COMPOSE) | UTF8PROC_DECOMPOSE), &boundary);
    if (got > 0) *count += (size_t)got;
  }
  return true;
}

static bool put_run(etk__scratch *s, etk_text *out, const char *text, size_t size, int form) {
  size_t count;
  if (!decompose(s, &count, text, size, form) || !order_marks(s->points, count)) return false;
  if (form & UTF8PROC_COMPOSE) {
    utf8proc_ssize_t got = utf8proc_normalize_utf32(s->points, (utf8proc_ssize_t)count, (utf8proc_option_t)form);
    if (got >= 0) count = (size_t)got;
  }
  for (size_t i = 0; i < count; i++) {
    char bytes[4];
    etk_text_append(out, bytes, etk_utf8_encode(bytes, (uint32_t)s->points[i]));
  }
  return true;
}

/* ASCII is what it is in every form; only the last character before others may compose with them. */
bool etk__put_form(etk__scratch *s, etk_text *out, const char *text, size_t size, int form) {
  size_t done = 0;
  for (size_t i = 0; i < size;) {
    if ((unsigned char)text[i] < 0x80) {
      i++;
      continue;
    }
    size_t from = i > done ? i - 1 : i, end = i;
    while (end < size && (unsigned char)text[end] >= 0x80) end++;
    etk_text_append(out, text + done, from - done);
    if (!put_run(s, out, text + from, end - from, form)) return false;
    done = i = end;
  }
  etk_text_append(out, text + done, size - done);
  return true;
}

/* ---- BERT's and others' loops over characters -------------------------------------------------------------------------------------------------- */

static size_t next(uint32_t *c, const char *text, size_t size, size_t at) {
  size_t n = etk_utf8_decode(c, text + at, size - at);
  return n ? n : 1;
}

static bool is_control(uint32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  if (c < 0x7f) return c < 0x20;
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

void etk__put_clean(etk_text *out, const char *text, size_t size) {
  uint32_t c = 0;
  for (size_t i = 0, n; i < size; i += n) {
    n = next(&c, text, size, i);
    if (c == 0 || c == 0xfffd || is_control(c)) continue;
    if (etk__is_space(c)) etk_text_putc(out, ' ');
    else etk_text_append(out, text + i, n);
  }
}

static bool is_chinese(uint32_t c) { /* the blocks that BERT names */
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

void etk__put_chinese(etk_text *out, const char *text, size_t size) {
  uint32_t c = 0;
  for (size_t i = 0, n; i < size; i += n) {
    n = next(&c, text, size, i);
    bool apart = is_chinese(c);
    if (apart) etk_text_putc(out, ' ');
    etk_text_append(out, text + i, n);
    if (apart) etk_text_putc(out, ' ');
  }
}

static bool nmt_drops(uint32_t c) {
  return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
}
static bool nmt_space(uint32_t c) {
  return c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
         c == 0xfeff || c == 0xfffd;
}
void etk__put_nmt(etk_text *out, const char *text, size_t size) {
  uint32_t c = 0;
  for (size_t i = 0, n; i < size; i += n) {
    n = next(&c, text, size, i);
    if (nmt_drops(c)) continue;
    if (nmt_space(c)) etk_text_putc(out, ' ');
    else etk_text_append(out, text + i, n);
  }
}

void etk__put_alphabet(etk_text *out, const char *text, size_t size) {
  for (size_t i = 0; i < size; i++) {
    uint32_t c = etk__byte_to_char((unsigned char)text[i]);
    if (c < 0x80) etk_text_putc(out, (char)c);
    else etk_text_append(out, (char[2]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))}, 2);
  }
}

void etk__put_replaced(etk_text *out, const char *what, size_t what_size, const char *content, const char *text, size_t size) {
  size_t done = 0, content_size = strlen(content);
  for (const char *at = text; (at = memmem(at, size - (size_t)(at - text), what, what_size)); at += what_size) {
    etk_text_append(out, text + done, (size_t)(at - text) - done);
    etk_text_append(out, content, content_size);
    done = (size_t)(at - text) + what_size;
  }
  etk_text_append(out, text + done, size - done);
}

/* ---- SentencePiece --------------------------------------------------------------------------------------------------------------------------------- */

/* What the text at `at` begins with becomes to[0..*to_size); returns how many bytes it takes. */
static size_t take_prefix(const etk__normal *step, const char *text, size_t size, size_t at, const char **to, size_t *to_size) {
  const etk__added_token *symbol = step->symbols ? etk__added_at(step->symbols, text + at, size - at) : NULL;
  if (symbol) {
    *to = text + at;
    *to_size = symbol->size;
    return symbol->size;
  }
  size_t n = etk__charsmap_find(&step->map, text + at, size - at, true, to);
  if (n) {
    *to_size = strlen(*to);
    return n;
  }
  *to = text + at;
  *to_size = etk__step(text, size, at) - at;
  return *to_size;
}

static void put_escaped(etk_text *out, const etk__normal *step, const char *text, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (text[i] == ' ' && step->escape) etk_text_append(out, "\xe2\x96\x81", 3);
    else etk_text_putc(out, text[i]);
  }
}

static bool drop_end(etk_text *out, const char *what, size_t size) {
  if (out->size < size || memcmp(out->data + out->size - size, what, size)) return false;
  out->size -= size;
  return true;
}

static bool all_spaces(const etk__normal *step, const char *text, size_t size) {
  const char *to = NULL;
  size_t to_size = 0;
  for (size_t at = 0; at < size;) {
    at += take_prefix(step, text, size, at, &to, &to_size);
    for (size_t i = 0; i < to_size; i++)
      if (to[i] != ' ') return false;
  }
  return true;
}

void etk__put_sentencepiece(etk_text *out, const etk__normal *step, const char *text, size_t size) {
  const char *to = NULL;
  size_t at = 0, n = 0, to_size = 0;
  while (step->fewer_spaces && at < size) {
    n = take_prefix(step, text, size, at, &to, &to_size);
    if (to_size != 1 || *to != ' ') break;
    at += n;
  }
  if (at == size) return;
  if (step->dummy_prefix && !(step->lazy_prefix && all_spaces(step, text, size))) put_escaped(out, step, " ", 1);
  bool space = step->fewer_spaces;
  for (; at < size; at += n) {
    n = take_prefix(step, text, size, at, &to, &to_size);
    while (space && to_size && *to == ' ') {
      to++;
      to_size--;
    }
    if (!to_size) continue;
    put_escaped(out, step, to, to_size);
    space = step->fewer_spaces && to[to_size - 1] == ' ';
  }
  while (step->fewer_spaces && (step->escape ? drop_end(out, "\xe2\x96\x81", 3) : drop_end(out, " ", 1))) continue;
}
