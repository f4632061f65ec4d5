/* trust.c: whether a plugin may be loaded: only what root or the user wrote, where nobody else can have put it. The check is made on the opened file.
 * dlopen opens the path once more (a path of /proc/self/fd would break $ORIGIN run paths); between the two only those may change the file who may
 * write to the file or the folder, which is what was refused here, and the loader compares device and inode. */
#include "discover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* A word for the shell: as it is where it needs no quotes. */
static const char *quoted(char *out, size_t size, const char *path) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./+,:@%=";
  if (!path[strspn(path, plain)]) {
    snprintf(out, size, "%s", path);
    return out;
  }
  size_t used = 0;
  out[used++] = '\'';
  for (const char *p = path; *p && used + 8 < size; p++) {
    if (*p == '\'') {
      memcpy(out + used, "'\\''", 4);
      used += 4;
    } else out[used++] = *p;
  }
  out[used++] = '\'';
  out[used] = '\0';
  return out;
}

static const char *user_name(char *out, size_t size, uid_t user) {
  struct passwd record, *found = NULL;
  char buffer[2048];
  if (!getpwuid_r(user, &record, buffer, sizeof buffer, &found) && found) snprintf(out, size, "%s", found->pw_name);
  else snprintf(out, size, "%u", (unsigned)user);
  return out;
}

etk_status trust_check(etk_error *e, const char *kind, const char *path, const struct stat *info, unsigned user) {
  char shell[PATH_MAX + 16], owner[64], us[64];
  bool folder = S_ISDIR(info->st_mode);
  if (info->st_uid != 0 && info->st_uid != user)
    return etk_fail(e, ETK_E_PERMISSION,
                    "%s: the %s belongs to %s, and you are %s: its owner can make you run anything. If you trust it: sudo chown %s %s (or --trust-dir)", path, kind,
                    user_name(owner, sizeof owner, info->st_uid), user_name(us, sizeof us, user), us, quoted(shell, sizeof shell, path));
  if ((info->st_mode & S_IWOTH) && !(folder && (info->st_mode & S_ISVTX)))
    return etk_fail(e, ETK_E_PERMISSION, "%s: anyone may write to the %s (mode %04o), so it is not loaded. To mend it: chmod o-w %s (or --trust-dir)", path, kind,
                    (unsigned)(info->st_mode & 07777), quoted(shell, sizeof shell, path));
  return ETK_OK;
}

/* True where the folder is one of --trust-dir, or lies below it. Both are resolved, so that a link cannot pretend. */
static bool overridden(const struct search_path *path, const char *folder) {
  char real[PATH_MAX], trusted[PATH_MAX];
  if (!path || !path->trusted_count || !realpath(folder, real)) return false;
  for (size_t i = 0; i < path->trusted_count; i++) {
    if (!realpath(path->trusted[i], trusted)) continue;
    size_t n = strlen(trusted);
    if (n && trusted[n - 1] == '/') n--; /* "/" itself */
    if (!strncmp(real, trusted, n) && (real[n] == '/' || !real[n])) return true;
  }
  return false;
}

static bool group_writable(const struct stat *info) { return (info->st_mode & S_IWGRP) && !(S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX)); }

/* What a symbolic link leads to is replaced by whoever may write to that folder. */
static etk_status follow(etk_error *e, int *fd, struct trust *trust, const struct search_path *path, const char *file, bool trusted) {
  char real[PATH_MAX], folder[PATH_MAX];
  if (!realpath(file, real)) return etk_fail_errno(e, errno, "%s: this link leads nowhere", file);
  char *slash = strrchr(real, '/');
  snprintf(folder, sizeof folder, "%.*s", slash && slash > real ? (int)(slash - real) : 1, real);
  struct stat info;
  if (stat(folder, &info)) return etk_fail_errno(e, errno, "%s", folder);
  trust->group_writable = trust->group_writable || group_writable(&info);
  etk_status status = trusted || overridden(path, folder) ? ETK_OK : trust_check(e, "folder", folder, &info, geteuid());
  if (status) return etk_error_while(e, status, "%s (a link to %s)", file, real);
  *fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  return *fd < 0 ? etk_fail_errno(e, errno, "%s: cannot open", real) : ETK_OK;
}

static etk_status open_folder(etk_error *e, struct folder_check *out, const struct search_path *path, const char *folder) {
  struct stat info;
  int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return etk_fail_errno(e, errno, "%s: cannot open the folder", folder);
  bool trusted = overridden(path, folder);
  etk_status status = fstat(fd, &info) ? etk_fail_errno(e, errno, "%s", folder) : trusted ? ETK_OK : trust_check(e, "folder", folder, &info, geteuid());
  if (status) close(fd);
  else *out = (struct folder_check){true, trusted, group_writable(&info), fd};
  return status;
}

/* The check of one of the search path's own folders is kept with its descriptor, so that a hundred plugins cost one. */
static struct folder_check *kept_check(const struct search_path *path, const struct plugin *plugin, const char *folder) {
  bool own = path && path->checks && plugin->dir < path->count && !strcmp(path->dirs[plugin->dir], folder);
  return own ? &path->checks[plugin->dir] : NULL;
}

etk_status plugin_open(etk_error *e, int *fd, struct trust *trust, const struct search_path *path, const struct plugin *plugin) {
  const char *slash = strrchr(plugin->path, '/'), *base = slash ? slash + 1 : plugin->path;
  char folder[PATH_MAX];
  *fd = -1;
  *trust = (struct trust){0};
  if (slash && (size_t)(slash - plugin->path) >= sizeof folder) return etk_fail(e, ETK_E_INVALID, "%s: the path is too long", plugin->path);
  if (slash) snprintf(folder, sizeof folder, "%.*s", slash > plugin->path ? (int)(slash - plugin->path) : 1, plugin->path);
  else snprintf(folder, sizeof folder, ".");
  struct folder_check once = {0}, *check = kept_check(path, plugin, folder);
  if (!check) check = &once;
  etk_status status = check->open ? ETK_OK : open_folder(e, check, path, folder);
  if (status) return status;
  trust->group_writable = check->group_writable;
  *fd = openat(check->fd, base, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW); /* not waiting for the other end of a FIFO */
  if (*fd < 0) status = errno == ELOOP ? follow(e, fd, trust, path, plugin->path, check->trusted) : etk_fail_errno(e, errno, "%s: cannot open", plugin->path);
  if (once.open) close(once.fd);
  struct stat info;
  if (!status && fstat(*fd, &info)) status = etk_fail_errno(e, errno, "%s", plugin->path);
  if (!status && !S_ISREG(info.st_mode))
    status = etk_fail(e, ETK_E_FORMAT, "%s: is not a file but %s", plugin->path, S_ISDIR(info.st_mode) ? "a folder" : S_ISFIFO(info.st_mode) ? "a pipe" : "a device");
  if (!status && !check->trusted) status = trust_check(e, "file", plugin->path, &info, geteuid());
  if (status) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return status;
  }
  trust->group_writable = !check->trusted && (trust->group_writable || group_writable(&info));
  trust->device = (uint64_t)info.st_dev;
  trust->inode = (uint64_t)info.st_ino;
  trust->size = (uint64_t)info.st_size;
  return ETK_OK;
}
