/* fs_name.c: names that are legal everywhere. */
#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/text.h"
#include <strings.h>

enum { LONGEST = 120 };

/* Not a letter of a name on some system: controls, what separates or is special there, and marks that reorder what is read. */
static bool is_unsafe(uint32_t c) {
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return true;
  if (c < 0x80) return strchr("/\\<>:\"|?*", (int)c) != NULL;
  return c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

/* Device names of Windows, also with an extension ("nul.txt"), which is cut off with the blanks before it. */
static bool is_reserved(const char *name) {
  static const char *const alone[] = {"con", "prn", "aux", "nul", "conin$", "conout$"};
  size_t n = strcspn(name, ".");
  while (n > 0 && name[n - 1] == ' ') n--;
  for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
    if (strlen(alone[i]) == n && strncasecmp(name, alone[i], n) == 0) return true;
  if (n < 4 || (strncasecmp(name, "com", 3) != 0 && strncasecmp(name, "lpt", 3) != 0)) return false;
  bool digit = n == 4 && name[3] >= '0' && name[3] <= '9';
  bool raised = n == 5 && name[3] == '\xC2' && (name[4] == '\xB9' || name[4] == '\xB2' || name[4] == '\xB3'); /* ¹ ² ³ */
  return digit || raised;
}

static void trim_end(etk_text *text) {
  while (text->size > 0 && (text->data[text->size - 1] == '.' || text->data[text->size - 1] == ' ')) text->data[--text->size] = 0;
}

char *etk_path_safe_name(const char *name) {
  etk_text safe = ETK_TEXT_INIT;
  while (*name == '.' || *name == ' ') name++;
  for (size_t left = strlen(name); left > 0;) {
    uint32_t c;
    size_t n = etk_utf8_decode(&c, name, left);
    if (n == 0 || is_unsafe(c)) etk_text_putc(&safe, '_');
    else etk_text_append(&safe, name, n);
    n = n ? n : 1;
    name += n;
    left -= n;
  }
  if (safe.failed || safe.size == 0) {
    etk_text_free(&safe);
    return safe.failed ? NULL : etk_strdup("file");
  }
  trim_end(&safe);
  etk_text out = ETK_TEXT_INIT;
  if (is_reserved(safe.data)) etk_text_putc(&out, '_');
  etk_text_append(&out, safe.data, safe.size);
  bool failed = safe.failed || out.failed;
  etk_text_free(&safe);
  if (failed) {
    etk_text_free(&out);
    return NULL;
  }
  if (out.size > LONGEST) {
    size_t n = LONGEST;
    while (n > 0 && (out.data[n] & 0xC0) == 0x80) n--;
    out.data[out.size = n] = 0;
    trim_end(&out);
  }
  return etk_text_take(&out);
}
