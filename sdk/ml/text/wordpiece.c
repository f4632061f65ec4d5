#include "internal.h"

#include <string.h>

/* WordPiece as BERT has it: from the left, the longest piece that the vocabulary holds; a word that cannot be covered is unknown as a whole. */

static int32_t find_prefixed(const etk__vocabulary *v, etk__scratch *s, const char *prefix, const char *text, size_t size) {
  if (!*prefix) return etk__vocabulary_find(v, text, size);
  s->character.size = 0;
  etk_text_puts(&s->character, prefix);
  etk_text_append(&s->character, text, size);
  return s->character.failed ? -1 : etk__vocabulary_find(v, s->character.data, s->character.size);
}

/* Bytes of the last character of text[0..size). */
static size_t last_character(const char *text, size_t size) {
  size_t n = 1;
  while (n < size && n < 4 && ((unsigned char)text[size - n] & 0xc0) == 0x80) n++;
  return n;
}

static int64_t characters(const char *text, size_t size) {
  int64_t count = 0;
  for (size_t i = 0; i < size; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
  return count;
}

static etk_status put_unknown(etk_error *e, const etk__wordpiece *w, etk_ids *out, const char *text, size_t size) {
  if (w->unknown < 0)
    return etk_fail(e, ETK_E_INVALID, "tokenizer: '%.*s' is not in the vocabulary, and no unknown token is there", size < 80 ? (int)size : 80, text);
  return etk_ids_push(out, w->unknown) ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
}

etk_status etk__wordpiece_encode(etk_error *e, const etk__wordpiece *w, const etk__vocabulary *v, etk__scratch *s, etk_ids *out, const char *text,
                                 size_t size) {
  size_t before = out->count;
  if (!size) return ETK_OK;
  if (characters(text, size) > w->longest) return put_unknown(e, w, out, text, size);
  for (size_t at = 0; at < size;) {
    size_t end = size - at > w->most_bytes ? at + w->most_bytes : size;
    int32_t id = -1;
    while (end < size && ((unsigned char)text[end] & 0xc0) == 0x80) end--; /* back to a whole character */
    while (at < end && (id = find_prefixed(v, s, at ? w->inside : w->begin, text + at, end - at)) < 0) end -= last_character(text + at, end - at);
    if (s->character.failed) return etk__no_memory(e, "tokenizer: encoding");
    if (id < 0) {
      out->count = before;
      return put_unknown(e, w, out, text, size);
    }
    if (!etk_ids_push(out, id)) return etk__no_memory(e, "tokenizer: encoding");
    at = end;
  }
  return ETK_OK;
}

etk_status etk__wordlevel_encode(etk_error *e, const etk__wordpiece *w, const etk__vocabulary *v, etk_ids *out, const char *text, size_t size) {
  int32_t id = etk__vocabulary_find(v, text, size);
  if (id < 0) return put_unknown(e, w, out, text, size);
  return etk_ids_push(out, id) ? ETK_OK : etk__no_memory(e, "tokenizer: encoding");
}
