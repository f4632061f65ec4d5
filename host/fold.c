#include "report.h"

void print_folded(const char *text, size_t at, size_t indent) {
  size_t width = (size_t)terminal_width();
  if (!width) {
    fputs(text, stdout);
    return;
  }
  for (bool first = true; *text; first = false) {
    size_t size = strcspn(text, " "), columns = etk_utf8_width(text, size);
    if (at + !first + columns > width && at > indent) {
      printf("\n%*s", (int)indent, "");
      at = indent;
    } else if (!first) {
      putchar(' ');
      at++;
    }
    fwrite(text, 1, size, stdout);
    at += columns;
    text += size;
    if (*text) text++;
  }
}
