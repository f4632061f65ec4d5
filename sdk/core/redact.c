/* redact.c: finds secrets by the name they go by, and blots them out. */
#include "etk/log.h"
#include <strings.h>

static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'; }

static bool ends_with(const char *name, size_t size, const char *ending) {
  size_t n = strlen(ending);
  return size >= n && strncasecmp(name + size - n, ending, n) == 0;
}

/* Whether a key called `name` holds a secret: "HF_TOKEN", "db.password", "x-api-key"; but "eos_token" is a word of a vocabulary. */
static bool is_secret(const char *name, size_t size) {
  static const char *const endings[] = {"apikey",     "api_key",    "api-key",    "password",   "passwd",      "passphrase",  "secret",
                                        "secret_key", "secret-key", "access_key", "access-key", "private_key", "private-key", "token"};
  static const char *const vocabulary[] = {"bos",   "eos", "pad",  "unk",  "mask",  "cls",     "sep", "stop",
                                           "start", "end", "next", "last", "first", "special", "per", "image"};
  bool found = false;
  for (size_t i = 0; !found && i < sizeof endings / sizeof endings[0]; i++) found = ends_with(name, size, endings[i]);
  if (!found || !ends_with(name, size, "token") || size == 5) return found;
  size_t n = size - 6; /* what stands before "_token" */
  for (size_t i = 0; is_name(name[n]) && i < sizeof vocabulary / sizeof vocabulary[0]; i++) {
    size_t word = strlen(vocabulary[i]);
    bool whole = n == word || (n > word && strchr("_-.", name[n - word - 1]));
    if (whole && ends_with(name, n, vocabulary[i])) return false;
  }
  return strchr("_-.", name[n]) != NULL; /* "subtoken" is a word too */
}

/* Where the value at `value` ends: a quoted one at its quote, a bare one at `stops`. */
static size_t value_size(const char *value, char quote, const char *stops) {
  if (!quote) return strcspn(value, stops);
  size_t n = 0;
  while (value[n] && value[n] != quote) n += value[n] == '\\' && value[n + 1] ? 2 : 1;
  return n;
}

/* Blots out value[0, size); returns where reading goes on. */
static char *blot(char *value, size_t size) {
  size_t stars = size < 3 ? size : 3;
  memset(value, '*', stars);
  memmove(value + stars, value + size, strlen(value + size) + 1);
  return value + stars;
}

/* After a key at p: an optional closing quote, spaces, '=' or ':', spaces. NULL: no value follows. */
static char *find_value(char *p) {
  if (*p == '\\') p++; /* JSON inside JSON */
  if (*p == '"' || *p == '\'') p++;
  p += strspn(p, " \t");
  if (*p != '=' && *p != ':') return NULL;
  p++;
  return p + strspn(p, " \t");
}

int etk_log_redact(char *message) {
  static const char stops[] = " \t\r\n,;&}])\"'";
  int count = 0;
  for (char *p = message; *p;) {
    if (!is_name(*p)) {
      p++;
      continue;
    }
    char *name = p;
    while (is_name(*p)) p++;
    size_t size = (size_t)(p - name), length = 0;
    char *value = NULL;
    if (size == 6 && strncasecmp(name, "bearer", size) == 0) {
      value = p + strspn(p, " \t");
      length = value > p ? strcspn(value, stops) : 0;
      if (length > 0 && length < 8 && strcspn(value, "0123456789-._~+/=") >= length) length = 0; /* "bearer of news": a short word is prose */
    } else if (ends_with(name, size, "authorization")) {
      value = find_value(p);
      char quote = value && (*value == '"' || *value == '\'') ? *value++ : 0;
      if (value) length = value_size(value, quote, "\r\n\"'"); /* scheme and credentials: all of the line */
    } else if (is_secret(name, size)) {
      value = find_value(p);
      if (value && value[0] == '\\' && value[1] == '"') value += 2;
      char quote = value && (*value == '"' || *value == '\'') ? *value++ : 0;
      if (value) length = value_size(value, quote, stops);
      if (value && !quote && length > 0 && value[length - 1] == '\\') length--;
    }
    if (length == 0) continue;
    p = blot(value, length);
    count++;
  }
  return count;
}
