#include "examples.h"

#include <etk/alloc.h>
#include <etk/fs.h>

enum { README_MOST = 1 << 20 };

/* The end of one shell command that begins at `p`: a newline outside quotes that no backslash hides. */
static const char *command_end(const char *p, const char *end) {
  char quote = 0;
  for (; p < end; p++) {
    if (quote) {
      if (*p == quote) quote = 0;
      else if (*p == '\\' && quote == '"' && p + 1 < end) p++;
    } else if (*p == '\'' || *p == '"') quote = *p;
    else if (*p == '\\' && p + 1 < end) p++;
    else if (*p == '\n') return p;
  }
  return end;
}

static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

/* "namespace:command" stands in the text as a word. */
static bool names(const char *text, size_t size, const struct manifest *manifest, const struct manifest_command *command) {
  char wanted[160], title[160];
  if (command) snprintf(wanted, sizeof wanted, "%s", command_title(title, sizeof title, manifest, command));
  else snprintf(wanted, sizeof wanted, "%s:", manifest->name_space);
  size_t length = strlen(wanted);
  for (size_t i = 0; i + length <= size; i++) {
    if (memcmp(text + i, wanted, length) || (i && is_name(text[i - 1]))) continue;
    if (!command || i + length == size || !is_name(text[i + length])) return true;
  }
  return false;
}

static void add_clean(etk_text *out, const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (((unsigned char)text[i] >= ' ' && text[i] != 0x7f) || text[i] == '\n' || text[i] == '\t') etk_text_putc(out, text[i]);
  etk_text_putc(out, '\n');
}

static const char *line_after(const char *p, const char *end) {
  const char *newline = memchr(p, '\n', (size_t)(end - p));
  return newline ? newline + 1 : end;
}

static bool is_fence(const char *p, const char *end) { return end - p >= 3 && !memcmp(p, "```", 3); }

void examples_of(etk_text *out, const struct manifest *manifest, const struct manifest_command *command) {
  char *bytes = NULL;
  size_t size = 0, length = manifest->path ? strlen(manifest->path) : 0;
  if (length < 3 || strcmp(manifest->path + length - 3, ".so")) return;
  etk_text path = ETK_TEXT_INIT;
  etk_text_printf(&path, "%.*s.md", (int)(length - 3), manifest->path);
  if (!path.failed && !etk_fs_read(NULL, &bytes, &size, path.data, README_MOST)) {
    const char *p = bytes, *end = bytes + size;
    for (bool code = false; p < end;) {
      if (is_fence(p, end)) {
        code = !code;
        p = line_after(p, end);
      } else if (!code) p = line_after(p, end);
      else {
        const char *stop = command_end(p, end);
        if (names(p, (size_t)(stop - p), manifest, command)) add_clean(out, p, (size_t)(stop - p));
        p = stop < end ? stop + 1 : end;
      }
    }
  }
  etk_free(bytes);
  etk_text_free(&path);
}
