#include "internal.h"

#include <string.h>
#include <utf8proc.h>

/* SentencePiece's precompiled_charsmap: uint32 size of the trie in bytes, the trie (a double array of uint32, as the darts-clone library lays it out),
 * then the replacements, each ended by a zero byte; little-endian. A trie value is an offset into the replacements.
 * A unit: bit 31 marks a value (bits 0-30); else bits 0-7 are the label, bit 8 says that a value hangs below, bits 10-30 are the offset to the children,
 * shifted by 8 more where bit 9 is set. */

static uint32_t label_of(uint32_t unit) { return unit & (UINT32_C(1) << 31 | 0xff); }
static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
static bool has_value(uint32_t unit) { return unit >> 8 & 1; }

etk_status etk__charsmap_read(etk_error *e, etk__charsmap *out, etk_arena *arena, const char *file, const void *bytes, size_t size) {
  const unsigned char *b = bytes;
  memset(out, 0, sizeof *out);
  if (!size) return ETK_OK;
  if (size < 4) return etk_fail(e, ETK_E_FORMAT, "%s: precompiled_charsmap: %zu bytes are too few", file, size);
  uint32_t trie = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
  if (trie > size - 4 || trie % 4 || !trie)
    return etk_fail(e, ETK_E_FORMAT, "%s: precompiled_charsmap: a trie of %u bytes in %zu (a multiple of 4 is wanted)", file, trie, size - 4);
  size_t strings = size - 4 - trie;
  if (strings && b[size - 1]) return etk_fail(e, ETK_E_FORMAT, "%s: precompiled_charsmap: its last replacement does not end with a zero byte", file);
  uint32_t *units = etk_arena_array(arena, trie / 4, sizeof *units);
  char *copy = etk_arena_alloc(arena, strings + 1);
  if (!units || !copy) return etk__no_memory(e, file);
  for (size_t i = 0; i < trie / 4; i++, b += 4) units[i] = (uint32_t)b[4] | (uint32_t)b[5] << 8 | (uint32_t)b[6] << 16 | (uint32_t)b[7] << 24;
  memcpy(copy, b + 4, strings);
  if (!etk_utf8_valid(copy, strings)) return etk_fail(e, ETK_E_FORMAT, "%s: precompiled_charsmap: its replacements are not UTF-8", file);
  *out = (etk__charsmap){units, trie / 4, copy, strings};
  return ETK_OK;
}

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

etk_status etk__charsmap_read_base64(etk_error *e, etk__charsmap *out, etk_arena *arena, const char *file, const char *text) {
  size_t length = strlen(text), size = 0;
  while (length && text[length - 1] == '=') length--;
  char *bytes = etk_alloc(length / 4 * 3 + 3);
  if (!bytes) return etk__no_memory(e, file);
  uint32_t held = 0;
  int bits = 0;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < length; i++) {
    int value = base64_value(text[i]);
    if (value < 0) s = etk_fail(e, ETK_E_FORMAT, "%s: precompiled_charsmap: character %zu is not base64", file, i);
    held = held << 6 | (uint32_t)(value & 63);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[size++] = (char)(held >> bits);
  }
  if (s == ETK_OK) s = etk__charsmap_read(e, out, arena, file, bytes, size);
  etk_free(bytes);
  return s;
}

size_t etk__charsmap_find(const etk__charsmap *map, const char *text, size_t size, bool longest, const char **out) {
  size_t found = 0;
  if (!map->unit_count) return 0;
  size_t at = offset_of(map->units[0]);
  for (size_t i = 0; i < size && text[i]; i++) {
    at ^= (unsigned char)text[i];
    if (at >= map->unit_count || label_of(map->units[at]) != (unsigned char)text[i]) break;
    uint32_t unit = map->units[at];
    at ^= offset_of(unit);
    if (!has_value(unit) || at >= map->unit_count) continue;
    uint32_t value = map->units[at] & 0x7fffffff;
    if (value >= map->string_size) continue;
    *out = map->strings + value;
    found = i + 1;
    if (!longest) break;
  }
  return found;
}

/* The end of the grapheme cluster that begins at `at`. */
static size_t cluster_end(const char *text, size_t size, size_t at) {
  uint32_t c = 0, next = 0;
  utf8proc_int32_t state = 0;
  size_t n = etk_utf8_decode(&c, text + at, size - at);
  for (at += n ? n : 1; at < size; at += n) {
    n = etk_utf8_decode(&next, text + at, size - at);
    if (!n || utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) break;
    c = next;
  }
  return at;
}

static bool put_mapped(const etk__charsmap *map, etk_text *out, const char *text, size_t size) {
  const char *to;
  if (!etk__charsmap_find(map, text, size, false, &to)) return false;
  etk_text_puts(out, to);
  return true;
}

void etk__charsmap_put(const etk__charsmap *map, etk_text *out, const char *text, size_t size) {
  for (size_t at = 0, end; at < size; at = end) {
    end = cluster_end(text, size, at);
    if (end - at < 6 && put_mapped(map, out, text + at, end - at)) continue; /* a short cluster becomes whatever its beginning becomes */
    for (size_t n; at < end; at += n) {
      n = etk__step(text, size, at) - at;
      if (!put_mapped(map, out, text + at, n)) etk_text_append(out, text + at, n);
    }
  }
}
