/* fs_dir.c: folders: made whole or not at all, listed, removed. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "fs_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct etk_dir {
  bool replace;
  int fd; /* the temporary, locked */
  char *path, *temporary;
};

static void free_dir(etk_dir *dir) {
  if (!dir) return;
  if (dir->fd >= 0) close(dir->fd);
  etk_free(dir->path);
  etk_free(dir->temporary);
  etk_free(dir);
}

/* "a/b//" → "a/b": a name can be added to it. */
static char *without_slashes(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  return etk_strndup(path, n);
}

/* "path.what", for names that are made from it. */
static char *beside(const char *path, const char *what) {
  etk_text prefix = ETK_TEXT_INIT;
  etk_text_printf(&prefix, "%s.%s", path, what);
  return etk_text_take(&prefix);
}

static etk_status check_target(etk_error *e, const char *path, bool replace) {
  struct stat info;
  if (lstat(path, &info) != 0) return errno == ENOENT ? ETK_OK : etk_fail_errno(e, errno, "cannot examine '%s'", path);
  if (!replace) return etk_fail(e, ETK_E_EXISTS, "'%s' exists already; choose another name or ask to replace it (--force)", path);
  if (!S_ISDIR(info.st_mode)) return etk_fail(e, ETK_E_EXISTS, "'%s' is not a folder; a folder cannot take its place", path);
  return ETK_OK;
}

etk_status etk_dir_create(etk_error *e, etk_dir **out, const char *path, bool replace) {
  etk_dir *dir = etk_calloc(1, sizeof *dir);
  if (dir) {
    dir->fd = -1;
    dir->path = without_slashes(path);
  }
  char *prefix = dir && dir->path ? beside(dir->path, "tmp") : NULL;
  if (!prefix) {
    free_dir(dir);
    return etk__fs_no_memory(e, "create", path);
  }
  dir->replace = replace;
  const char *base = etk_path_base(dir->path);
  etk_status status = ETK_OK;
  if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) status = etk_fail(e, ETK_E_INVALID, "'%s' does not name a new folder", path);
  if (!status) status = check_target(e, dir->path, replace);
  int failure = status ? 0 : etk__fs_temp_make(&dir->temporary, &dir->fd, prefix, true);
  if (failure == ENOMEM) status = etk__fs_no_memory(e, "create", path);
  else if (failure) status = etk_fail_errno(e, failure, "cannot create '%s' (the folder above it must exist and be writable)", path);
  etk_free(prefix);
  if (status) {
    free_dir(dir);
    return status;
  }
  *out = dir;
  return ETK_OK;
}

const char *etk_dir_path(const etk_dir *dir) { return dir->temporary; }

/* Where folders cannot be exchanged: the old one goes aside, the new one in, and the old one back if that fails. *old: what was moved aside, if
 * anything. */
static etk_status move_aside(etk_error *e, etk_dir *dir, char **old) {
  char *prefix = beside(dir->path, "old");
  *old = prefix ? etk__fs_temp_name(prefix) : NULL;
  etk_free(prefix);
  if (!*old) return etk__fs_no_memory(e, "replace", dir->path);
  int failure = etk__fs_rename(dir->path, *old);
  bool moved = failure == 0;
  if (failure && failure != ENOENT) return etk_fail_errno(e, failure, "cannot move the old '%s' aside", dir->path);
  failure = etk__fs_rename_new(dir->temporary, dir->path, true);
  if (failure && moved) (void)!rename(*old, dir->path);
  if (failure) return etk_fail_errno(e, failure, "cannot rename the finished folder to '%s'", dir->path);
  if (moved) return ETK_OK;
  etk_free(*old);
  *old = NULL;
  return ETK_OK;
}

static etk_status sync_parent(etk_error *e, const etk_dir *dir) {
  int failure = etk__fs_sync_parent(dir->path);
  return failure ? etk_fail_errno(e, failure, "cannot sync the folder of '%s'", dir->path) : ETK_OK;
}

/* Puts the finished folder in its place; *placed: it is there, whatever the status. */
static etk_status swap_in(etk_error *e, etk_dir *dir, bool *placed) {
  char *aside = NULL;
  int failure = etk__fs_exchange(dir->temporary, dir->path);
  bool exchanged = failure == 0;
  etk_status status = ETK_OK;
  if (failure == ENOTSUP || failure == ENOENT) status = move_aside(e, dir, &aside);
  else if (failure) status = etk_fail_errno(e, failure, "cannot exchange '%s' for the finished folder", dir->path);
  *placed = !status;
  if (!status) status = sync_parent(e, dir);
  const char *old = exchanged ? dir->temporary : aside;
  if (*placed && old) { /* also after a failed sync: nothing is left behind */
    etk_status removed = etk_fs_remove_tree(status ? NULL : e, old);
    if (removed && !status) status = etk_error_while(e, removed, "'%s' was written, but its old contents remain in '%s'", dir->path, old);
  }
  etk_free(aside);
  return status;
}

etk_status etk_dir_commit(etk_error *e, etk_dir *dir) {
  bool placed = false;
  etk_status status = etk__fs_sync_tree(e, dir->temporary);
  if (!status) status = check_target(e, dir->path, dir->replace);
  if (!status && dir->replace) {
    status = swap_in(e, dir, &placed);
  } else if (!status) {
    int failure = etk__fs_rename_new(dir->temporary, dir->path, true);
    placed = failure == 0;
    if (failure) status = etk_fail_errno(e, failure, "cannot rename the finished folder to '%s'", dir->path);
    else status = sync_parent(e, dir);
  }
  if (!placed) etk_fs_remove_tree(NULL, dir->temporary);
  free_dir(dir);
  return status;
}

void etk_dir_abort(etk_dir *dir) {
  if (!dir) return;
  etk_fs_remove_tree(NULL, dir->temporary);
  free_dir(dir);
}

etk_status etk_fs_make_dirs(etk_error *e, const char *path) {
  char *copy = etk_strdup(path);
  if (!copy) return etk_fail(e, ETK_E_NO_MEMORY, "cannot create '%s': out of memory", path);
  etk_status status = ETK_OK;
  for (char *p = copy; !status && *p;) {
    while (*p == '/') p++;
    while (*p && *p != '/') p++;
    char held = *p;
    *p = 0;
    int failure = etk_fs_is_dir(copy) ? 0 : etk_fs_step("create");
    if (failure) {
      status = etk_fail_errno(e, failure, "cannot create folder '%s'", copy);
    } else if (mkdir(copy, 0777) != 0 && (failure = errno, !etk_fs_is_dir(copy))) { /* which has an errno of its own */
      if (failure == EEXIST) status = etk_fail(e, ETK_E_EXISTS, "cannot create '%s': '%s' is not a folder", path, copy);
      else status = etk_fail_errno(e, failure, "cannot create folder '%s'", copy);
    }
    *p = held;
  }
  etk_free(copy);
  return status;
}

/* Removes `name` in the folder `at`; depth bounds the open descriptors. 0 or an errno value. */
static int remove_at(int at, const char *name, int depth) {
  int injected = etk_fs_step("remove");
  if (injected) return injected;
  if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
  int failure = errno;
  if (failure != EISDIR && failure != EPERM) return failure; /* unlink of a folder: EISDIR on Linux, EPERM by POSIX */
  if (depth == 0) return ELOOP;
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno == ENOTDIR ? failure : errno == ENOENT ? 0 : errno;
  DIR *folder = fdopendir(fd);
  if (!folder) {
    failure = errno;
    close(fd);
    return failure;
  }
  failure = 0;
  struct dirent *entry;
  while (!failure && (errno = 0, entry = readdir(folder))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    failure = remove_at(fd, entry->d_name, depth - 1);
  }
  if (!failure && !entry) failure = errno;
  closedir(folder);
  if (failure) return failure;
  return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

etk_status etk_fs_remove_tree(etk_error *e, const char *path) {
  int failure = remove_at(AT_FDCWD, path, 256);
  return failure ? etk_fail_errno(e, failure, "cannot remove '%s'", path) : ETK_OK;
}

/* fsync of what is below the open folder `at`, and of it; consumes `at`. The name in `failed` is the first that could not be synced. */
static int sync_at(int at, int depth, char failed[256]) {
  DIR *folder = fdopendir(at);
  if (!folder) {
    int failure = errno;
    close(at);
    return failure;
  }
  int failure = 0;
  struct dirent *entry = NULL;
  while (!failure && (errno = 0, entry = readdir(folder))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    struct stat info;
    if (fstatat(at, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) failure = errno;
    bool inner = !failure && S_ISDIR(info.st_mode);
    if (failure || !(inner || S_ISREG(info.st_mode))) continue;
    int fd = openat(at, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (inner ? O_DIRECTORY : 0));
    if (fd < 0) failure = errno == EACCES ? 0 : errno; /* its owner made it unreadable: the writer's business */
    else if (!inner) failure = etk__fs_sync(fd);
    else failure = depth > 0 ? sync_at(fd, depth - 1, failed) : ELOOP;
    if (fd >= 0 && (!inner || depth == 0)) close(fd);
    if (failure && !*failed) snprintf(failed, 256, "%s", entry->d_name);
  }
  if (!failure && !entry) failure = errno;
  if (!failure) failure = etk__fs_sync(at);
  closedir(folder);
  return failure;
}

etk_status etk__fs_sync_tree(etk_error *e, const char *path) {
  char failed[256] = "";
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return etk_fail_errno(e, errno, "cannot open '%s'", path);
  int failure = sync_at(fd, 256, failed);
  return failure ? etk_fail_errno(e, failure, "cannot sync '%s%s%s' to disk", path, *failed ? "/…/" : "", failed) : ETK_OK;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

etk_status etk_fs_list(etk_error *e, char ***out, size_t *count, const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return etk_fail_errno(e, errno, "cannot list '%s'", path);
  char **names = NULL;
  size_t used = 0, capacity = 0;
  etk_status status = ETK_OK;
  struct dirent *entry = NULL;
  while (!status && (errno = 0, entry = readdir(folder))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (used + 1 >= capacity) {
      capacity = capacity ? capacity * 2 : 16;
      char **grown = etk_realloc(names, capacity, sizeof *names);
      if (grown) names = grown;
      else status = ETK_E_NO_MEMORY;
    }
    if (!status && !(names[used] = etk_strdup(entry->d_name))) status = ETK_E_NO_MEMORY;
    if (!status) used++;
  }
  if (status) etk_fail(e, status, "cannot list '%s': out of memory", path);
  else if (errno) status = etk_fail_errno(e, errno, "cannot list '%s'", path);
  closedir(folder);
  if (!status && !names && !(names = etk_calloc(1, sizeof *names))) status = etk_fail(e, ETK_E_NO_MEMORY, "cannot list '%s': out of memory", path);
  if (status) {
    etk_fs_list_free(names, used);
    return status;
  }
  qsort(names, used, sizeof *names, by_bytes);
  *out = names;
  *count = used;
  return ETK_OK;
}

void etk_fs_list_free(char **names, size_t count) {
  if (!names) return;
  for (size_t i = 0; i < count; i++) etk_free(names[i]);
  etk_free(names);
}
