/* hardware_ask.c: facts asked of a provider, and the small text forms they come in. */
#include "hardware_internal.h"
#include <ctype.h>
#include <limits.h>

enum { PATH_SIZE = 4352 };

static int64_t ended(char *out, size_t size, int64_t got) {
  if (got < 0) {
    out[0] = 0;
    return -1;
  }
  size_t n = (uint64_t)got < size ? (size_t)got : size - 1;
  while (n > 0 && (isspace((unsigned char)out[n - 1]) || !out[n - 1])) n--;
  out[n] = 0;
  return (int64_t)n;
}

static int64_t ask_path(provider *p, char *out, size_t size, const char *format, va_list arguments) {
  char path[PATH_SIZE];
  int n = vsnprintf(path, sizeof path, format, arguments);
  return ended(out, size, p->file && n > 0 && (size_t)n < sizeof path ? p->file(p->user, path, out, size) : -1);
}

int64_t etk__ask_file(provider *p, char *out, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int64_t got = ask_path(p, out, size, format, arguments);
  va_end(arguments);
  return got;
}

int64_t etk__ask_list(provider *p, char *out, size_t size, const char *path) {
  return ended(out, size, p->list ? p->list(p->user, path, out, size) : -1);
}

int64_t etk__ask_fact(provider *p, char *out, size_t size, const char *name) {
  return ended(out, size, p->fact ? p->fact(p->user, name, out, size) : -1);
}

int64_t etk__ask_number(provider *p, int64_t unknown, const char *fact) {
  char text[64];
  int64_t value;
  return etk__ask_fact(p, text, sizeof text, fact) > 0 && etk_parse_int(NULL, &value, text) == ETK_OK ? value : unknown;
}

int64_t etk__ask_file_number(provider *p, int64_t unknown, const char *format, ...) {
  char text[64];
  int64_t value;
  va_list arguments;
  va_start(arguments, format);
  int64_t got = ask_path(p, text, sizeof text, format, arguments);
  va_end(arguments);
  return got > 0 && etk_parse_int(NULL, &value, text) == ETK_OK ? value : unknown;
}

bool etk__ask_exists(provider *p, const char *path) {
  char byte[2];
  return p->file && p->file(p->user, path, byte, sizeof byte) >= 0;
}

/* "eax ebx ecx edx" in hexadecimal; a leaf beyond the CPU's highest is not there. */
bool etk__ask_cpuid(provider *p, uint32_t out[4], uint32_t leaf, uint32_t sub_leaf) {
  char name[40], text[80];
  memset(out, 0, 4 * sizeof *out);
  snprintf(name, sizeof name, "cpuid.%x.%x", (unsigned)leaf, (unsigned)sub_leaf);
  if (etk__ask_fact(p, text, sizeof text, name) <= 0) return false;
  char *at = text;
  for (int i = 0; i < 4; i++) {
    char *end;
    unsigned long value = strtoul(at, &end, 16);
    if (end == at || value > UINT32_MAX) return false;
    out[i] = (uint32_t)value;
    at = end;
  }
  return true;
}

bool etk__proc_value(char *out, size_t size, const char *text, const char *key) {
  size_t n = strlen(key);
  for (const char *line = text; line && *line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, n) != 0) continue;
    const char *value = line + n + strspn(line + n, " \t");
    if (*value != ':') continue;
    value++;
    value += strspn(value, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
    return *out != 0;
  }
  return false;
}

int64_t etk__proc_kib(const char *text, const char *key) {
  char value[64];
  int64_t kib;
  if (!etk__proc_value(value, sizeof value, text, key)) return 0;
  value[strcspn(value, " ")] = 0;
  return etk_parse_int(NULL, &kib, value) == ETK_OK && kib > 0 && kib < INT64_MAX / 1024 ? kib * 1024 : 0;
}

int etk__cpu_list_count(const char *list) {
  long total = 0;
  while (*list) {
    char *end;
    if (!isdigit((unsigned char)*list)) {
      list++;
      continue;
    }
    long first = strtol(list, &end, 10), last = first;
    if (*end == '-' && isdigit((unsigned char)end[1])) last = strtol(end + 1, &end, 10);
    if (last >= first && last < 1 << 20) total += last - first + 1;
    list = end;
  }
  return total < INT_MAX ? (int)total : INT_MAX;
}

bool etk__has_word(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *at = words; (at = strstr(at, word)) != NULL; at += n)
    if ((at == words || isspace((unsigned char)at[-1])) && (!at[n] || isspace((unsigned char)at[n]))) return true;
  return false;
}

void etk__copy(char *out, size_t size, const char *text) {
  size_t n = 0, left = strlen(text), used;
  uint32_t code_point;
  for (; left; text += used, left -= used) {
    used = etk_utf8_decode(&code_point, text, left);
    if (n + (used ? used : 1) >= size) break;
    if (used == 0 || code_point < ' ' || code_point == 127) {
      used = used ? used : 1;
      out[n++] = ' ';
      continue;
    }
    memcpy(out + n, text, used);
    n += used;
  }
  while (n > 0 && out[n - 1] == ' ') n--;
  out[n] = 0;
}
