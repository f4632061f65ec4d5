/* fs_inside.c: paths that a stranger gave: checked as text, and opened so that no link and no race leads out. */
#include "etk/alloc.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#if defined(SYS_openat2) && __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#define HAVE_OPENAT2 1
#endif
#endif

/* The next part of a path: its size, 0 at the end; *p is moved behind the slashes before it. */
static size_t part_at(const char **p) {
  while (**p == '/') (*p)++;
  return strcspn(*p, "/");
}

static bool is_dots(const char *part, size_t size, size_t dots) { return size == dots && memcmp(part, "..", dots) == 0; }

bool etk_path_is_inside(const char *relative) {
  const char *p = relative;
  if (!*p || *p == '/' || strchr(p, '\\')) return false;
  if (((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')) && p[1] == ':') return false;
  size_t depth = 0, n;
  for (; (n = part_at(&p)) > 0; p += n) {
    if (is_dots(p, n, 1)) continue;
    if (!is_dots(p, n, 2)) depth++;
    else if (depth-- == 0) return false;
  }
  return true;
}

char *etk_path_normal(const char *path) {
  bool absolute = *path == '/';
  char *out = etk_alloc(strlen(path) + 2);
  if (!out) return NULL;
  size_t used = 0, n;
  if (absolute) out[used++] = '/';
  size_t floor = used; /* what a ".." cannot take away */
  for (const char *p = path; (n = part_at(&p)) > 0; p += n) {
    if (is_dots(p, n, 1)) continue;
    if (is_dots(p, n, 2) && used > floor) {
      while (used > floor && out[used - 1] != '/') used--;
      if (used > floor) used--;
      continue;
    }
    if (is_dots(p, n, 2) && absolute) continue;
    if (used > 0 && out[used - 1] != '/') out[used++] = '/';
    memcpy(out + used, p, n);
    used += n;
    if (is_dots(p, n, 2)) floor = used;
  }
  if (used == 0) out[used++] = '.';
  out[used] = 0;
  return out;
}

#ifdef HAVE_OPENAT2
static int open_beneath(int root, const char *path, int flags, unsigned mode) {
  struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = flags & O_CREAT ? mode & 07777 : 0,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  long fd = -1;
  for (int attempt = 0; attempt < 16; attempt++) {
    fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return (int)fd;
}
#endif

/* Each folder is opened without following a link, relative to the one before: a part that is swapped meanwhile is seen or not, never followed. */
static int open_step_by_step(int root, char *path, int flags, unsigned mode) {
  int at = root;
  for (char *slash; (slash = strchr(path, '/')); path = slash + 1) {
    *slash = 0;
    int next = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int failure = errno;
    struct stat info;
    if (next < 0 && failure == ENOTDIR && fstatat(at, path, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode)) failure = ELOOP;
    if (at != root) close(at);
    if (next < 0) {
      errno = failure;
      return -1;
    }
    at = next;
  }
  int fd = openat(at, path, flags | O_NOFOLLOW, mode), failure = errno;
  struct stat info;
  if (fd < 0 && failure == ENOTDIR && fstatat(at, path, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode)) failure = ELOOP;
  if (at != root) close(at);
  errno = failure;
  return fd;
}

static int open_inside(int root, char *path, int flags, unsigned mode) {
#ifdef HAVE_OPENAT2
  if (!etk__fs_fallbacks_forced()) {
    int fd = open_beneath(root, path, flags, mode);
    /* E2BIG, EINVAL: a kernel that knows it otherwise; EPERM: a sandbox that does not let it through. */
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EINVAL && errno != E2BIG && errno != EAGAIN)) return fd;
  }
#endif
  return open_step_by_step(root, path, flags, mode);
}

etk_status etk_fs_open_inside(etk_error *e, int *fd, int root, const char *relative, int flags, unsigned mode) {
  *fd = -1;
  if (!etk_path_is_inside(relative))
    return etk_fail(e, ETK_E_INVALID, "'%s' leads out of its folder; a relative path is wanted, without '..' and backslashes", relative);
  char *path = etk_path_normal(relative);
  if (!path) return etk__fs_no_memory(e, "open", relative);
  int failure = flags & O_CREAT ? etk_fs_step("create") : 0;
  if (!failure) {
    *fd = open_inside(root, path, flags | O_CLOEXEC | O_NOCTTY, mode);
    failure = *fd < 0 ? errno : 0;
  }
  etk_free(path);
  if (failure == ELOOP || failure == EXDEV) return etk_fail(e, ETK_E_INVALID, "'%s' goes through a symbolic link, which is not followed", relative);
  return failure ? etk_fail_errno(e, failure, "cannot open '%s'", relative) : ETK_OK;
}
