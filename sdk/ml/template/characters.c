/* characters.c: Unicode as Python's str methods see it. */
#include "internal.h"
#include <utf8proc.h>

uint32_t etk__py_next(const char **p, const char *end) {
  unsigned char c = (unsigned char)**p;
  if (c < 0x80) {
    (*p)++;
    return c;
  }
  uint32_t code_point;
  size_t n = etk_utf8_decode(&code_point, *p, (size_t)(end - *p));
  *p += n ? n : 1;
  return n ? code_point : 0xFFFD;
}

bool etk__py_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool etk__py_line_end(uint32_t c) { return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029; }

static utf8proc_category_t category(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c); }

bool etk__py_printable(uint32_t c) {
  if (c < 0x7F) return c >= 0x20;
  utf8proc_category_t k = category(c);
  return !(k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CS || k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_CN ||
           k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP || k == UTF8PROC_CATEGORY_ZS);
}

bool etk__py_alpha(uint32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}

bool etk__py_digit(uint32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : category(c) == UTF8PROC_CATEGORY_ND; }
bool etk__py_upper(uint32_t c) { return c < 0x80 ? c >= 'A' && c <= 'Z' : category(c) == UTF8PROC_CATEGORY_LU; }
bool etk__py_lower(uint32_t c) { return c < 0x80 ? c >= 'a' && c <= 'z' : category(c) == UTF8PROC_CATEGORY_LL; }

void etk__put_char(etk_text *out, uint32_t c) {
  char utf8[4];
  etk_text_append(out, utf8, etk_utf8_encode(utf8, c));
}

/* The characters of everyday text whose upper case is longer than one (Unicode's SpecialCasing.txt). */
static const struct {
  uint32_t from;
  const char *upper, *title;
} longer[] = {{0xDF, "SS", "Ss"},   {0x149, "\xCA\xBCN", "\xCA\xBCN"}, {0x1F0, "J\xCC\x8C", "J\xCC\x8C"}, {0xFB00, "FF", "Ff"},
              {0xFB01, "FI", "Fi"}, {0xFB02, "FL", "Fl"},              {0xFB03, "FFI", "Ffi"},            {0xFB04, "FFL", "Ffl"},
              {0xFB05, "ST", "St"}, {0xFB06, "ST", "St"}};

static bool put_longer(etk_text *out, uint32_t c, bool title) {
  for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
    if (longer[i].from != c) continue;
    etk_text_puts(out, title ? longer[i].title : longer[i].upper);
    return true;
  }
  return false;
}

void etk__put_upper(etk_text *out, const char *data, size_t size) {
  for (const char *p = data, *end = data + size; p < end;) {
    uint32_t c = etk__py_next(&p, end);
    if (c < 0x80) etk_text_putc(out, (char)(c >= 'a' && c <= 'z' ? c - 32 : c));
    else if (!put_longer(out, c, false)) etk__put_char(out, (uint32_t)utf8proc_toupper((utf8proc_int32_t)c));
  }
}

/* Capital sigma at the end of a word becomes the final form. */
static bool ends_word(const char *data, const char *sigma, const char *behind, const char *end) {
  const char *before = sigma;
  while (before > data && ((unsigned char)*--before & 0xC0) == 0x80) {}
  if (before == sigma) return false;
  const char *p = before;
  if (!etk__py_alpha(etk__py_next(&p, end))) return false;
  p = behind;
  return p >= end || !etk__py_alpha(etk__py_next(&p, end));
}

void etk__put_lowered(etk_text *out, const char *data, size_t size) {
  for (const char *p = data, *end = data + size; p < end;) {
    const char *start = p;
    uint32_t c = etk__py_next(&p, end);
    if (c < 0x80) etk_text_putc(out, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
    else if (c == 0x130) etk_text_append(out, "i\xCC\x87", 3);
    else if (c == 0x3A3 && ends_word(data, start, p, end)) etk__put_char(out, 0x3C2);
    else etk__put_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
  }
}

void etk__put_titled(etk_text *out, uint32_t c) {
  if (!put_longer(out, c, true)) etk__put_char(out, (uint32_t)utf8proc_totitle((utf8proc_int32_t)c));
}

size_t etk__find(const char *data, size_t size, size_t from, const char *part, size_t part_size) {
  if (from > size || part_size > size - from) return SIZE_MAX;
  if (part_size == 0) return from;
  const char *p = memmem(data + from, size - from, part, part_size);
  return p ? (size_t)(p - data) : SIZE_MAX;
}

static bool in_set(const etk__str *set, uint32_t c) {
  if (!set) return etk__py_space(c);
  for (const char *p = set->data, *end = p + set->size; p < end;)
    if (etk__py_next(&p, end) == c) return true;
  return false;
}

void etk__strip(const etk__str *s, const etk__str *set, bool left, bool right, size_t *begin, size_t *end) {
  const char *p = s->data, *stop = s->data + s->size;
  while (left && p < stop) {
    const char *next = p;
    if (!in_set(set, etk__py_next(&next, stop))) break;
    p = next;
  }
  while (right && stop > p) {
    const char *last = stop - 1;
    while (last > p && ((unsigned char)*last & 0xC0) == 0x80) last--;
    const char *next = last;
    if (!in_set(set, etk__py_next(&next, stop))) break;
    stop = last;
  }
  *begin = (size_t)(p - s->data);
  *end = (size_t)(stop - s->data);
}
