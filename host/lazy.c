#include "lazy.h"

#include <dlfcn.h>
#include <etk/alloc.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What a package is called where the library is missing; ours come with the program. */
static const struct source {
  const char *library, *install;
} sources[] = {{"libetk-", "it comes with this program: was the installation moved in parts?"},
               {"libedit", "install libedit (Debian: apt-get install libedit2)"}};

/* Ours lie beside libetk itself: run paths are not followed by every dlopen (the one of the address sanitizer is called from elsewhere). */
void *lazy_open_ours(const char *library) {
  Dl_info info;
  char path[PATH_MAX];
  if (strncmp(library, "libetk-", 7) || !dladdr((void *)(uintptr_t)&etk_strdup, &info) || !info.dli_fname) return NULL;
  const char *slash = strrchr(info.dli_fname, '/');
  int size = slash ? snprintf(path, sizeof path, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname, library) : -1;
  return size > 0 && (size_t)size < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

void *lazy_symbol(etk_error *e, const char *library, const char *symbol) {
  void *handle = lazy_open_ours(library);
  if (!handle) handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  void *found = handle ? dlsym(handle, symbol) : NULL;
  if (found) return found;
  const char *why = dlerror(), *install = "";
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
    if (!strncmp(library, sources[i].library, strlen(sources[i].library))) install = sources[i].install;
  etk_fail(e, ETK_E_UNAVAILABLE, "%s cannot be opened (%s)%s%s", library, why ? why : "no reason given", *install ? "; " : "", install);
  return NULL;
}
