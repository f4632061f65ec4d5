/* text.c: the string builder. The process never calls setlocale, so printf and strtod speak the "C" locale. */
#include "etk/text.h"
#include "etk/alloc.h"
#include <math.h>

static bool reserve(etk_text *text, size_t more) {
  if (text->failed) return false;
  size_t needed;
  if (__builtin_add_overflow(text->size, more, &needed) || needed == SIZE_MAX) {
    text->failed = true;
    return false;
  }
  needed++; /* the NUL */
  if (needed <= text->capacity) return true;
  size_t capacity = text->capacity < SIZE_MAX / 2 ? text->capacity * 2 : needed;
  if (capacity < needed) capacity = needed;
  if (capacity < 64) capacity = 64;
  char *data = etk_realloc(text->data, capacity, 1);
  if (!data) {
    text->failed = true;
    return false;
  }
  text->data = data;
  text->capacity = capacity;
  return true;
}

void etk_text_append(etk_text *text, const char *bytes, size_t size) {
  if (!reserve(text, size)) return;
  if (size) memcpy(text->data + text->size, bytes, size);
  text->size += size;
  text->data[text->size] = 0;
}

void etk_text_puts(etk_text *text, const char *string) { etk_text_append(text, string, strlen(string)); }

void etk_text_putc(etk_text *text, char c) { etk_text_append(text, &c, 1); }

void etk_text_vprintf(etk_text *text, const char *format, va_list arguments) {
  char small[256];
  va_list again;
  va_copy(again, arguments);
  int n = vsnprintf(small, sizeof small, format, arguments);
  if (n < 0) text->failed = true;
  else if ((size_t)n < sizeof small) etk_text_append(text, small, (size_t)n);
  else if (reserve(text, (size_t)n)) {
    vsnprintf(text->data + text->size, (size_t)n + 1, format, again);
    text->size += (size_t)n;
  }
  va_end(again);
}

void etk_text_printf(etk_text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  etk_text_vprintf(text, format, arguments);
  va_end(arguments);
}

static void json_escape(etk_text *text, unsigned char c) {
  static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: byte, letter */
  for (size_t i = 0; i + 1 < sizeof named; i += 2) {
    if ((unsigned char)named[i] != c) continue;
    etk_text_append(text, (char[2]){'\\', named[i + 1]}, 2);
    return;
  }
  etk_text_printf(text, "\\u%04x", c);
}

void etk_text_json(etk_text *text, const char *string, size_t size) {
  etk_text_putc(text, '"');
  size_t start = 0, i = 0;
  while (i < size) {
    unsigned char c = (unsigned char)string[i];
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      i++;
      continue;
    }
    uint32_t code_point;
    size_t n = etk_utf8_decode(&code_point, string + i, size - i);
    if (n > 1) {
      i += n;
      continue;
    }
    etk_text_append(text, string + start, i - start);
    if (n == 0) etk_text_puts(text, "\xEF\xBF\xBD");
    else json_escape(text, c);
    start = ++i;
  }
  etk_text_append(text, string + start, size - start);
  etk_text_putc(text, '"');
}

/* "1e+05" → "1e5" */
static void trim_exponent(char *number) {
  char *e = strchr(number, 'e');
  if (!e) return;
  char *from = e + 1, *to = e + 1;
  if (*from == '-') from++, to++;
  else if (*from == '+') from++;
  while (*from == '0' && from[1]) from++;
  memmove(to, from, strlen(from) + 1);
}

void etk_text_real(etk_text *text, double value) {
  if (!isfinite(value)) {
    etk_text_puts(text, "null");
    return;
  }
  char number[40];
  /* A normal double holds any 15 digits, so what %.15g drops as zeros was not needed; a subnormal holds fewer and is tried from 1. */
  int precision = value != 0 && fabs(value) < 2.2250738585072014e-308 ? 1 : 15;
  do snprintf(number, sizeof number, "%.*g", precision, value);
  while (precision++ < 17 && strtod(number, NULL) != value);
  trim_exponent(number);
  etk_text_puts(text, number);
}

char *etk_text_take(etk_text *text) {
  if (!text->failed && !text->data) etk_text_append(text, "", 0);
  char *data = text->failed ? NULL : text->data;
  if (!data) etk_free(text->data);
  *text = (etk_text)ETK_TEXT_INIT;
  return data;
}

void etk_text_free(etk_text *text) {
  etk_free(text->data);
  *text = (etk_text)ETK_TEXT_INIT;
}
