#include "lazy.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* What a package is called where the library is missing; ours come with the program. */
static const struct source {
  const char *library, *install;
} sources[] = {{"libetk-", "it comes with this program: was the installation moved in parts?"},
               {"libedit", "install libedit (Debian: apt-get install libedit2)"}};

void *lazy_symbol(etk_error *e, const char *library, const char *symbol) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  void *found = handle ? dlsym(handle, symbol) : NULL;
  if (found) return found;
  const char *why = dlerror(), *install = "";
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
    if (!strncmp(library, sources[i].library, strlen(sources[i].library))) install = sources[i].install;
  etk_fail(e, ETK_E_UNAVAILABLE, "%s cannot be opened (%s)%s%s", library, why ? why : "no reason given", *install ? "; " : "", install);
  return NULL;
}
