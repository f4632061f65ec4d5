/* discover.c: the folders that are searched, and the plugin files in them. */
#include "loader.h"
#include "note.h"

#include <dirent.h>
#include <errno.h>
#include <etk/fs.h>
#include <etk/log.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

#define PREFIX "libproj-"
#define SUFFIX ".so"
#define COMMAND_LINE "--plugin-dir"

/* ---- the search path ---- */

static bool same_folder(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

/* A folder that is already there, by whatever name, would only list everything twice. */
static etk_status add_folder(etk_error *e, struct search_path *path, const char *folder, size_t size, const char *origin) {
  if (!size) return ETK_OK;
  char *copy = etk_arena_strndup(&path->arena, folder, size);
  if (!copy) return etk_fail(e, ETK_E_NO_MEMORY, "no memory for the list of plugin folders");
  while (size > 1 && copy[size - 1] == '/') copy[--size] = '\0';
  struct stat info, other;
  bool there = !stat(copy, &info);
  for (size_t i = 0; i < path->count; i++)
    if (!strcmp(path->dirs[i], copy) || (there && !stat(path->dirs[i], &other) && same_folder(&info, &other))) return ETK_OK;
  path->dirs[path->count] = copy;
  path->origins[path->count++] = origin;
  return ETK_OK;
}

static size_t parts(const char *list) {
  size_t count = 1;
  for (const char *p = list; p && *p; p++) count += *p == ':';
  return list && *list ? count : 0;
}

/* <prefix>/bin/<program> → <prefix>/lib/efficientai-toolkit/plugins */
static bool install_folder(char *out, size_t size) {
  char exe[PATH_MAX];
#if defined(__APPLE__)
  uint32_t room = sizeof exe;
  char linked[PATH_MAX];
  if (_NSGetExecutablePath(linked, &room) || !realpath(linked, exe)) return false;
#else
  ssize_t got = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (got <= 0) return false;
  exe[got] = '\0';
#endif
  for (int i = 0; i < 2; i++) {
    char *slash = strrchr(exe, '/');
    if (!slash) return false;
    *slash = '\0';
  }
  int made = snprintf(out, size, "%s/lib/efficientai-toolkit/plugins", exe);
  return made > 0 && (size_t)made < size;
}

static etk_status fill(etk_error *e, struct search_path *path, const char *const *plugin_dirs, size_t plugin_dir_count, const char *from_environment) {
  etk_status status = ETK_OK;
  for (size_t i = 0; !status && i < plugin_dir_count; i++) status = add_folder(e, path, plugin_dirs[i], strlen(plugin_dirs[i]), COMMAND_LINE);
  for (const char *p = from_environment; !status && p && *p;) {
    size_t n = strcspn(p, ":");
    status = add_folder(e, path, p, n, "$EFFICIENTAI_PLUGIN_PATH");
    p += n + (p[n] == ':');
  }
  char folder[PATH_MAX];
  char *data = status ? NULL : etk_path_xdg("data");
  if (data) {
    int made = snprintf(folder, sizeof folder, "%s/efficientai-toolkit/plugins", data);
    if (made > 0 && (size_t)made < sizeof folder) status = add_folder(e, path, folder, (size_t)made, "user");
    etk_free(data);
  }
  if (!status && install_folder(folder, sizeof folder)) status = add_folder(e, path, folder, strlen(folder), "install");
  return status;
}

etk_status search_path_init(etk_error *e, struct search_path *out, const char *const *plugin_dirs, size_t plugin_dir_count, const char *const *trust_dirs,
                            size_t trust_dir_count) {
  *out = (struct search_path){.arena = {0, 4096, 0}};
  const char *folders = getenv("EFFICIENTAI_PLUGIN_PATH"), *trusted = getenv("EFFICIENTAI_TRUST_DIRS");
  size_t most = plugin_dir_count + parts(folders) + 2, most_trusted = trust_dir_count + parts(trusted);
  out->dirs = etk_arena_array(&out->arena, most, sizeof *out->dirs);
  out->origins = etk_arena_array(&out->arena, most, sizeof *out->origins);
  out->trusted = etk_arena_array(&out->arena, most_trusted + 1, sizeof *out->trusted);
  out->checks = etk_arena_array(&out->arena, most, sizeof *out->checks);
  etk_status status = out->dirs && out->origins && out->trusted && out->checks ? ETK_OK : etk_fail(e, ETK_E_NO_MEMORY, "no memory for the list of plugin folders");
  if (!status) status = fill(e, out, plugin_dirs, plugin_dir_count, folders);
  for (size_t i = 0; !status && i < trust_dir_count; i++) out->trusted[out->trusted_count++] = trust_dirs[i];
  for (const char *p = trusted; !status && p && *p;) {
    size_t n = strcspn(p, ":");
    if (n && !(out->trusted[out->trusted_count++] = etk_arena_strndup(&out->arena, p, n))) status = etk_fail(e, ETK_E_NO_MEMORY, "no memory for the list of trusted folders");
    p += n + (p[n] == ':');
  }
  if (status) search_path_fini(out);
  return status;
}

void search_path_fini(struct search_path *path) {
  for (size_t i = 0; i < path->count; i++)
    if (path->checks[i].open) close(path->checks[i].fd);
  etk_arena_fini(&path->arena);
  *path = (struct search_path){0};
}

/* ---- files ---- */

/* The namespace inside a file name; 0: not a plugin's. */
static size_t namespace_of(const char **start, const char *file) {
  size_t n = strlen(file), fixed = sizeof PREFIX - 1 + sizeof SUFFIX - 1;
  if (n <= fixed || strncmp(file, PREFIX, sizeof PREFIX - 1) || strcmp(file + n - (sizeof SUFFIX - 1), SUFFIX)) return 0;
  *start = file + sizeof PREFIX - 1;
  return n - fixed;
}

static etk_status no_folder(etk_error *e, const char *folder, int reason) {
  return etk_fail_errno(e, reason, "%s: cannot read the folder '%s'", COMMAND_LINE, folder);
}

struct pending { /* a list while folders are read, since their number of files is not known before */
  struct pending *next;
  struct plugin plugin;
};

static etk_status scan(etk_error *e, struct plugin_list *out, struct pending **pending, const struct search_path *path, size_t index) {
  const char *folder = path->dirs[index];
  DIR *dir = opendir(folder);
  if (!dir) {
    if (!strcmp(path->origins[index], COMMAND_LINE)) return no_folder(e, folder, errno);
    if (errno != ENOENT && errno != ENOTDIR) etk_log(ETK_LOG_WARNING, "cannot read the plugin folder '%s' (%s): %s", folder, path->origins[index], strerror(errno));
    return ETK_OK;
  }
  etk_status status = ETK_OK;
  const struct dirent *entry;
  while (!status && (errno = 0, entry = readdir(dir))) {
    const char *name;
    size_t size = namespace_of(&name, entry->d_name);
    if (!size) continue;
    struct pending *item = etk_arena_alloc(&out->arena, sizeof *item);
    if (item) {
      item->plugin.name_space = etk_arena_strndup(&out->arena, name, size);
      item->plugin.path = etk_arena_printf(&out->arena, "%s/%s", folder, entry->d_name);
      item->plugin.origin = path->origins[index];
      item->plugin.dir = index;
    }
    if (!item || !item->plugin.name_space || !item->plugin.path) status = etk_fail(e, ETK_E_NO_MEMORY, "no memory for the list of plugins");
    else {
      item->next = *pending;
      *pending = item;
      out->count++;
    }
  }
  closedir(dir);
  return status;
}

static int by_name(const void *a, const void *b) {
  const struct plugin *x = a, *y = b;
  int order = strcmp(x->name_space, y->name_space);
  return order ? order : x->dir < y->dir ? -1 : x->dir > y->dir;
}

etk_status discover_all(etk_error *e, struct plugin_list *out, const struct search_path *path) {
  *out = (struct plugin_list){0};
  struct pending *pending = NULL;
  etk_status status = ETK_OK;
  for (size_t i = 0; !status && i < path->count; i++) status = scan(e, out, &pending, path, i);
  if (!status && !(out->items = etk_arena_array(&out->arena, out->count + 1, sizeof *out->items))) status = etk_fail(e, ETK_E_NO_MEMORY, "no memory for the list of plugins");
  if (status) {
    plugin_list_free(out);
    return status;
  }
  size_t i = 0;
  for (; pending; pending = pending->next) out->items[i++] = pending->plugin;
  if (out->count) qsort(out->items, out->count, sizeof *out->items, by_name);
  for (size_t k = 1; k < out->count; k++) {
    const struct plugin *first = &out->items[k - 1];
    if (strcmp(first->name_space, out->items[k].name_space)) continue;
    out->items[k].shadowed = true;
    out->items[k].shadowed_by = first->shadowed ? first->shadowed_by : first->path;
  }
  return ETK_OK;
}

void plugin_list_free(struct plugin_list *list) {
  etk_arena_fini(&list->arena);
  *list = (struct plugin_list){0};
}

etk_status discover_exact(etk_error *e, struct plugin *out, etk_arena *arena, const struct search_path *path, const char *name_space) {
  *out = (struct plugin){0};
  if (!legal_namespace(name_space)) return ETK_E_NOT_FOUND;
  for (size_t i = 0; i < path->count; i++) {
    char file[PATH_MAX];
    int made = snprintf(file, sizeof file, "%s/" PREFIX "%s" SUFFIX, path->dirs[i], name_space);
    if (made < 0 || (size_t)made >= sizeof file) continue;
    if (access(file, F_OK)) {
      if (!strcmp(path->origins[i], COMMAND_LINE) && access(path->dirs[i], R_OK | X_OK)) return no_folder(e, path->dirs[i], errno);
      continue;
    }
    out->name_space = etk_arena_strdup(arena, name_space);
    out->path = etk_arena_strdup(arena, file);
    out->origin = path->origins[i];
    out->dir = i;
    return out->name_space && out->path ? ETK_OK : etk_fail(e, ETK_E_NO_MEMORY, "no memory for the name of a plugin");
  }
  return ETK_E_NOT_FOUND;
}

etk_status plugin_from_file(etk_error *e, struct plugin *out, etk_arena *arena, const char *file) {
  *out = (struct plugin){0};
  const char *name = NULL;
  size_t size = namespace_of(&name, etk_path_base(file));
  if (!size)
    return etk_fail(e, ETK_E_INVALID, "%s: the name of a plugin's file is " PREFIX "<namespace>" SUFFIX, file);
  out->name_space = etk_arena_strndup(arena, name, size);
  out->path = strchr(file, '/') ? etk_arena_strdup(arena, file) : etk_arena_printf(arena, "./%s", file); /* dlopen would search for a bare name */
  out->origin = "named";
  return out->name_space && out->path ? ETK_OK : etk_fail(e, ETK_E_NO_MEMORY, "no memory for the name of a plugin");
}

/* ---- manifests ---- */

etk_status abi_check(etk_error *e, const char *file, unsigned abi_major, unsigned abi_minor, unsigned host_minor) {
  if (abi_major != ETK_ABI_MAJOR)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: was built for plugin ABI %u.%u, this host speaks %d.%d: %s", file, abi_major, abi_minor, ETK_ABI_MAJOR, ETK_ABI_MINOR,
                    abi_major > ETK_ABI_MAJOR ? "update efficientai-toolkit, or get the plugin built for ABI 1" : "build the plugin again with this version's headers");
  if (host_minor > ETK_ABI_MINOR)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: needs a host of ABI %u.%u or newer, this host speaks %d.%d: update efficientai-toolkit", file, abi_major, host_minor, ETK_ABI_MAJOR,
                    ETK_ABI_MINOR);
  return ETK_OK;
}

static etk_status illegal_namespace(etk_error *e, const char *file, const char *name) {
  return etk_fail(e, ETK_E_FORMAT,
                  "%s: '%s' is not a legal namespace: a small letter, then small letters, digits and single '-', at most 64, and not a word of the host's own (rename the file and "
                  "the project)",
                  file, name);
}

etk_status plugin_manifest(etk_error *e, struct manifest *out, const struct search_path *path, const struct plugin *plugin) {
  *out = (struct manifest){0};
  if (!legal_namespace(plugin->name_space)) return illegal_namespace(e, plugin->path, plugin->name_space);
  int fd;
  struct trust trust;
  etk_status status = plugin_open(e, &fd, &trust, path, plugin);
  if (status) return status;
  char *text = NULL;
  size_t size = 0;
  status = note_read_sized(e, &text, &size, fd, plugin->path, trust.size);
  close(fd);
  bool asked = status == ETK_E_NOT_FOUND;
  if (asked) status = plugin_asked_text(e, &text, &size, plugin);
  if (!status) {
    status = manifest_from_text(e, out, text, size);
    if (status) etk_error_while(e, status, "%s", plugin->path);
  }
  etk_free(text);
  if (!status) status = abi_check(e, plugin->path, out->abi_major, out->abi_minor, out->host_minor);
  if (!status && !(out->path = etk_arena_strdup(&out->arena, plugin->path))) status = etk_fail_memory(e);
  if (!status && strcmp(out->name_space, plugin->name_space))
    status = etk_fail(e, ETK_E_FORMAT, "%s: the file is named for '%s' and the plugin calls itself '%s': rename the file to " PREFIX "%s" SUFFIX, plugin->path, plugin->name_space,
                      out->name_space, out->name_space);
  if (status) {
    manifest_fini(out);
    return status;
  }
  out->asked = asked;
  out->file_device = trust.device;
  out->file_inode = trust.inode;
  out->group_writable = trust.group_writable;
  return ETK_OK;
}
