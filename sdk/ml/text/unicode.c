#include "internal.h"

#include <utf8proc.h>

bool etk__is_space(uint32_t c) {
  if (c <= 0x20) return c == 0x20 || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

static bool is_letter(utf8proc_category_t k) {
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || k == UTF8PROC_CATEGORY_LM ||
         k == UTF8PROC_CATEGORY_LO;
}

bool etk__is_mark(uint32_t c) {
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

bool etk__is_word(uint32_t c) {
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
  if (is_letter(k) || etk__is_mark(c) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC) return true;
  if (c == 0x200c || c == 0x200d) return true; /* Join_Control */
  return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
         (c >= 0x1f170 && c <= 0x1f189); /* Alphabetic */
}

bool etk__is_punctuation(uint32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static void put_char(etk_text *out, uint32_t c) {
  char bytes[4];
  etk_text_append(out, bytes, etk_utf8_encode(bytes, c));
}

void etk__put_lower(etk_text *out, uint32_t c) {
  if (c == 0x130) etk_text_append(out, "i\xcc\x87", 3); /* the only character whose lower case is two */
  else put_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* Length of the longest prefix of a well-formed sequence at text, at least 1: what one U+FFFD stands for (Unicode 15, 3.9, "maximal subpart"). */
static size_t broken_length(const char *text, size_t size) {
  const unsigned char *t = (const unsigned char *)text;
  unsigned char low = 0x80, high = 0xbf;
  size_t want;
  if (t[0] >= 0xc2 && t[0] <= 0xdf) want = 2;
  else if (t[0] >= 0xe0 && t[0] <= 0xef) want = 3;
  else if (t[0] >= 0xf0 && t[0] <= 0xf4) want = 4;
  else return 1;
  if (t[0] == 0xe0) low = 0xa0;
  if (t[0] == 0xed) high = 0x9f;
  if (t[0] == 0xf0) low = 0x90;
  if (t[0] == 0xf4) high = 0x8f;
  size_t n = 1;
  while (n < want && n < size && t[n] >= low && t[n] <= high) {
    n++;
    low = 0x80;
    high = 0xbf;
  }
  return n;
}

void etk__put_repaired(etk_text *out, const char *text, size_t size) {
  size_t good = 0;
  for (size_t i = 0; i < size;) {
    uint32_t c;
    size_t n = etk_utf8_decode(&c, text + i, size - i);
    if (n) {
      i += n;
      continue;
    }
    etk_text_append(out, text + good, i - good);
    etk_text_puts(out, "\xef\xbf\xbd");
    i += broken_length(text + i, size - i);
    good = i;
  }
  etk_text_append(out, text + good, size - good);
}

size_t etk__step(const char *text, size_t size, size_t at) {
  uint32_t c;
  size_t n = at < size ? etk_utf8_decode(&c, text + at, size - at) : 1;
  return at + (n ? n : 1);
}

/* The 68 bytes without a character of their own take U+0100 … in order: 0–32, 127–160, 173. */
uint32_t etk__byte_to_char(unsigned char byte) {
  if (byte <= 32) return 0x100u + byte;
  if (byte <= 126) return byte;
  if (byte <= 160) return 0x100u + 33u + (byte - 127u);
  if (byte == 173) return 0x100u + 67u;
  return byte;
}

int etk__char_to_byte(uint32_t c) {
  if (c >= 0x100) {
    if (c > 0x143) return -1;
    c -= 0x100;
    if (c <= 32) return (int)c;
    return c == 67 ? 173 : (int)(c - 33 + 127);
  }
  return (c >= 33 && c <= 126) || (c >= 161 && c != 173) ? (int)c : -1;
}
