#include "internal.h"

#include <etk/fs.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

/* CLIP's tokenizer: byte-level BPE with a suffix at the end of words, over lower-case text whose white space is cleaned up. Its own file is a gzipped
 * list of merges, whose first 48,894 count. (CLIP's Python code also repairs mojibake with ftfy and undoes HTML escapes; neither is done here, nor in the
 * Hugging Face tokenizer.) */

enum { MERGES = 49152 - 256 - 2, TEXT_LIMIT = 4 << 20 };
static const char pattern[] =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

static etk_status add_normalizers(etk_error *e, etk_tokenizer *t, const char *file) {
  etk__normal form = {.kind = NORMAL_UNICODE, .form = UTF8PROC_COMPOSE | UTF8PROC_STABLE}, spaces = {.kind = NORMAL_REPLACE, .content = " "};
  etk_status s = etk__normalizer_add(e, &t->normalizer, file, form);
  if (s == ETK_OK) s = etk__normalizer_add(e, &t->normalizer, file, spaces);
  if (s == ETK_OK) s = etk__regex_new(e, &t->normalizer.steps[t->normalizer.count - 1].regex, "\\s+");
  return s == ETK_OK ? etk__normalizer_add(e, &t->normalizer, file, (etk__normal){.kind = NORMAL_LOWERCASE}) : s;
}

etk_status etk__clip_parts(etk_error *e, etk_tokenizer *t, const char *file) {
  etk__split *bytes;
  etk_arena *arena = &t->vocabulary.arena;
  etk_status s = add_normalizers(e, t, file);
  if (s == ETK_OK) s = etk__splitter_add_pattern(e, &t->splitter, file, pattern, false, SPLIT_REMOVED, true);
  if (s == ETK_OK) s = etk__splitter_add(e, &t->splitter, file, SPLIT_BYTES, &bytes);
  if (s == ETK_OK) s = etk__decode_add(e, &t->decode, arena, file, DECODE_BYTE_LEVEL, NULL);
  if (s == ETK_OK) s = etk__decode_add(e, &t->decode, arena, file, DECODE_SUFFIX, "</w>");
  t->bos = etk__vocabulary_find(&t->vocabulary, "<|startoftext|>", 15);
  t->eos = etk__vocabulary_find(&t->vocabulary, "<|endoftext|>", 13);
  if (s == ETK_OK && (t->bos < 0 || t->eos < 0))
    return etk_fail(e, ETK_E_FORMAT, "%s: not a CLIP vocabulary: it lacks <|startoftext|> or <|endoftext|>", file);
  t->bpe.unknown = t->eos;
  if (s == ETK_OK) s = etk__tokenizer_reserve_added(e, t, file, 2);
  if (s != ETK_OK) return s;
  etk__tokenizer_add_token(t, (etk__added_token){.id = t->bos, .special = true});
  etk__tokenizer_add_token(t, (etk__added_token){.id = t->eos, .special = true});
  s = etk__tokenizer_index_added(e, t, file);
  if (s == ETK_OK) s = etk__tokenizer_put_ends(e, t, file, true, t->bos);
  return s == ETK_OK ? etk__tokenizer_put_ends(e, t, file, false, t->eos) : s;
}

/* ---- bpe_simple_vocab_16e6.txt.gz --------------------------------------------------------------------------------------------------------------- */

static etk_status add(etk_error *e, etk_tokenizer *t, const char *file, const char *left, size_t left_size, const char *right, size_t right_size) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_append(&text, left, left_size);
  etk_text_append(&text, right, right_size);
  etk_status s = text.failed ? etk__no_memory(e, file) : ETK_OK;
  if (s == ETK_OK) s = etk__vocabulary_add(e, &t->vocabulary, file, (int64_t)t->vocabulary.count, text.data ? text.data : "", text.size, true);
  etk_text_free(&text);
  return s;
}

/* The alphabet in GPT-2's order (bytes that print, then the others), plain and with the suffix. */
static etk_status add_alphabet(etk_error *e, etk_tokenizer *t, const char *file) {
  etk_status s = ETK_OK;
  for (int pass = 0; pass < 4; pass++)
    for (int byte = 0; s == ETK_OK && byte < 256; byte++) {
      char text[4];
      uint32_t c = etk__byte_to_char((unsigned char)byte);
      if ((c >= 0x100) == (pass % 2 == 1)) s = add(e, t, file, text, etk_utf8_encode(text, c), "</w>", pass < 2 ? 0 : 4);
    }
  return s;
}

static etk_status add_merged(etk_error *e, etk_tokenizer *t, const char *file, const char *bytes, size_t size) {
  const char *at = memchr(bytes, '\n', size), *end = bytes + size;
  etk_status s = ETK_OK;
  size_t count = 0;
  for (at = at ? at + 1 : end; s == ETK_OK && at < end && count < MERGES; count++) {
    const char *line = memchr(at, '\n', (size_t)(end - at)), *stop = line ? line : end, *space = memchr(at, ' ', (size_t)(stop - at));
    if (!space) return etk_fail(e, ETK_E_FORMAT, "%s: merge %zu must be \"left right\"", file, count);
    s = add(e, t, file, at, (size_t)(space - at), space + 1, (size_t)(stop - space - 1));
    at = stop + (line != NULL);
  }
  if (s == ETK_OK && count < MERGES)
    return etk_fail(e, ETK_E_FORMAT, "%s: not CLIP's list of merges: it holds %zu, %d are wanted", file, count, (int)MERGES);
  return s;
}

static etk_status inflate_all(etk_error *e, char **out, size_t *out_size, const char *name, const char *bytes, size_t size) {
  z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)size};
  etk_text text = ETK_TEXT_INIT;
  char part[16384];
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return etk__no_memory(e, name);
  int rc = Z_OK;
  while (rc == Z_OK && text.size <= TEXT_LIMIT && !text.failed) {
    z.next_out = (Bytef *)part;
    z.avail_out = sizeof part;
    rc = inflate(&z, Z_NO_FLUSH);
    etk_text_append(&text, part, sizeof part - z.avail_out);
  }
  inflateEnd(&z);
  bool failed = text.failed || rc == Z_MEM_ERROR;
  if (failed || rc != Z_STREAM_END || text.size > TEXT_LIMIT || !etk_utf8_valid(text.data ? text.data : "", text.size)) {
    size_t got = text.size;
    etk_text_free(&text);
    if (failed) return etk__no_memory(e, name);
    if (got > TEXT_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: not CLIP's list of merges: its text is longer than %d bytes", name, (int)TEXT_LIMIT);
    if (rc == Z_STREAM_END) return etk_fail(e, ETK_E_FORMAT, "%s: its text of %zu bytes is not UTF-8", name, got);
    return etk_fail(e, ETK_E_FORMAT, "%s: broken gzip data behind %zu bytes of text (cut off, or damaged)", name, got);
  }
  *out_size = text.size;
  *out = etk_text_take(&text);
  return *out ? ETK_OK : etk__no_memory(e, name);
}

etk_status etk__parse_clip(etk_error *e, etk_tokenizer **out, const char *name, const char *bytes, size_t size) {
  *out = NULL;
  char *text = NULL;
  size_t text_size = 0;
  etk_status s = inflate_all(e, &text, &text_size, name, bytes, size);
  if (s != ETK_OK) return s;
  etk_tokenizer *t = etk__tokenizer_new(e, name);
  s = t ? add_alphabet(e, t, name) : ETK_E_NO_MEMORY;
  if (s == ETK_OK) {
    t->bpe.suffix = "</w>";
    s = add_merged(e, t, name, text, text_size);
  }
  if (s == ETK_OK) s = add(e, t, name, "<|startoftext|>", 15, "", 0);
  if (s == ETK_OK) s = add(e, t, name, "<|endoftext|>", 13, "", 0);
  if (s == ETK_OK) s = etk__read_merge_lines(e, t, name, text, text_size, true, MERGES);
  if (s == ETK_OK) s = etk__clip_parts(e, t, name);
  if (s == ETK_OK) s = etk__tokenizer_finish(e, t, name);
  etk_free(text);
  if (s == ETK_OK) *out = t;
  else etk_tokenizer_free(t);
  return s;
}
