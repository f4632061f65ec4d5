/* path.c: paths as bytes. */
#include "etk/alloc.h"
#include "etk/fs.h"

char *etk_path_join(const char *a, const char *b) {
  if (*b == '/' || !*a) return etk_strdup(b);
  size_t n = strlen(a), size = n + strlen(b) + 2;
  char *joined = etk_alloc(size);
  if (joined) snprintf(joined, size, "%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
  return joined;
}

const char *etk_path_base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

char *etk_path_dir(const char *path) {
  size_t n = (size_t)(etk_path_base(path) - path);
  if (n == 0) return etk_strdup(".");
  while (n > 1 && path[n - 1] == '/') n--;
  return etk_strndup(path, n);
}

char *etk_path_xdg(const char *which) {
  static const struct {
    const char *which, *variable, *fallback;
  } folders[] = {
      {"config", "XDG_CONFIG_HOME", ".config"},
      {"data", "XDG_DATA_HOME", ".local/share"},
      {"cache", "XDG_CACHE_HOME", ".cache"},
      {"state", "XDG_STATE_HOME", ".local/state"},
  };
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
    if (strcmp(which, folders[i].which) != 0) continue;
    const char *set = getenv(folders[i].variable), *home = getenv("HOME");
    if (set && *set == '/') return etk_strdup(set); /* the specification: a relative path is ignored */
    return home && *home ? etk_path_join(home, folders[i].fallback) : NULL;
  }
  return NULL;
}
