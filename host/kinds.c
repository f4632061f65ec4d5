/* kinds.c: which names are legal, and how they are shown. */
#include "manifest.h"

const char *shown_name(char *out, size_t size, const char *name) {
  size_t i = 0;
  for (; name[i] && i + 1 < size; i++) out[i] = name[i] == '_' ? '-' : name[i];
  if (size) out[i] = '\0';
  return out;
}

/* The host's words, and those it keeps for itself: a namespace of that name could never be called. A test compares them with builtins[]. */
static const char *const host_words[] = {"benchmark", "check", "complete", "dashboard", "docs", "generate-config", "help", "info", "logs", "new",
                                         "projects", "run", "runs", "setup", "shell", "test", "update", "version"};

static bool lower(char c) { return c >= 'a' && c <= 'z'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

bool legal_namespace(const char *name) {
  size_t size = strlen(name);
  if (!size || size > 64 || !lower(name[0]) || name[size - 1] == '-') return false;
  for (size_t i = 0; i < size; i++) {
    if (!lower(name[i]) && !digit(name[i]) && name[i] != '-') return false;
    if (name[i] == '-' && name[i + 1] == '-') return false;
  }
  for (size_t i = 0; i < sizeof host_words / sizeof host_words[0]; i++)
    if (!strcmp(host_words[i], name)) return false;
  return true;
}

bool legal_name(const char *name) {
  size_t size = strlen(name);
  if (!size || size > 48 || !lower(name[0])) return false;
  for (size_t i = 0; i < size; i++)
    if (!lower(name[i]) && !digit(name[i]) && name[i] != '_') return false;
  return true;
}
