#include "versions.h"

#include <dlfcn.h>
#include <etk/fs.h>
#include <jansson.h>
#include <limits.h>

const char *version_jansson(void) { return jansson_version_str(); }

/* libyaml is libetk's business; it is in the process, and is asked by name. */
const char *version_yaml(void) {
  void *symbol = dlsym(RTLD_DEFAULT, "yaml_get_version_string");
  const char *(*ask)(void);
  if (!symbol) return "unknown";
  memcpy(&ask, &symbol, sizeof ask);
  return ask();
}

/* libffi 3.4 cannot be asked: its file tells, like "libffi.so.8.1.2". */
const char *version_ffi(void) {
  static char path[PATH_MAX];
  Dl_info info;
  void *symbol = dlsym(RTLD_DEFAULT, "ffi_call");
  if (!symbol || !dladdr(symbol, &info) || !info.dli_fname || !realpath(info.dli_fname, path)) return "unknown";
  return etk_path_base(path);
}
