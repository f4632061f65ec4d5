/* safe.c: text of others for a person's screen: control characters become visible, so that they cannot move the cursor or name the window. */
#include "report.h"

#include <etk/alloc.h>

/* C0, DEL, C1, and bytes that are no UTF-8, among which a terminal of eight bits finds C1 too. */
static bool moves(uint32_t code, size_t bytes) { return !bytes || code < 32 || (code >= 127 && code < 160); }

void safe_text(etk_text *out, const char *text, size_t size, const char *keep) {
  size_t plain = 0;
  for (size_t at = 0; at < size;) {
    uint32_t code = 0;
    size_t bytes = (unsigned char)text[at] < 0x80 ? (code = (unsigned char)text[at], 1) : etk_utf8_decode(&code, text + at, size - at);
    if (!moves(code, bytes) || (bytes == 1 && code && strchr(keep, (int)code))) {
      at += bytes;
      continue;
    }
    etk_text_append(out, text + plain, at - plain);
    if (bytes > 1) etk_text_printf(out, "\\u%04x", (unsigned)code);
    else etk_text_printf(out, "\\x%02x", (unsigned char)text[at]);
    at += bytes ? bytes : 1;
    plain = at;
  }
  etk_text_append(out, text + plain, size - plain);
}

void safe_put(FILE *stream, const char *text) {
  etk_text out = ETK_TEXT_INIT;
  safe_text(&out, text, strlen(text), "\n\t");
  fputs(out.failed ? "(out of memory)" : out.data ? out.data : "", stream);
  etk_text_free(&out);
}

char *safe_copy(const char *text, const char *keep) {
  etk_text out = ETK_TEXT_INIT;
  safe_text(&out, text, strlen(text), keep);
  char *copy = etk_text_take(&out);
  etk_text_free(&out);
  return copy;
}
