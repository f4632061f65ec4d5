/* fs.c: reading whole files, and the system calls that the rest of fs goes through. */
#include "etk/alloc.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

/* Set by tests before they write; one of each for the process. */
static struct {
  _Atomic(void *) user;
  int (*_Atomic call)(void *user, size_t size);
} hook;
static struct {
  _Atomic(void *) user;
  int (*_Atomic call)(void *user, const char *step);
} step_hook;
static _Atomic bool fallbacks_forced;

void etk_fs_set_write_hook(int (*call)(void *user, size_t size), void *user) {
  atomic_store(&hook.user, user);
  atomic_store(&hook.call, call);
}

void etk_fs_set_step_hook(int (*call)(void *user, const char *step), void *user) {
  atomic_store(&step_hook.user, user);
  atomic_store(&step_hook.call, call);
}

int etk_fs_step(const char *step) {
  int (*call)(void *, const char *) = atomic_load(&step_hook.call);
  return call ? call(atomic_load(&step_hook.user), step) : 0;
}

void etk__fs_force_fallbacks(bool force) { atomic_store(&fallbacks_forced, force); }
bool etk__fs_fallbacks_forced(void) { return atomic_load(&fallbacks_forced); }

etk_status etk__fs_no_memory(etk_error *e, const char *what, const char *path) {
  return etk_fail(e, ETK_E_NO_MEMORY, "cannot %s '%s': out of memory", what, path);
}

int etk__fs_write_step(size_t size) {
  int (*call)(void *, size_t) = atomic_load(&hook.call);
  int injected = call ? call(atomic_load(&hook.user), size) : 0;
  return injected ? injected : etk_fs_step("write");
}

int etk__fs_write_all(int fd, const void *bytes, size_t size) {
  const char *p = bytes;
  while (size > 0) {
    int injected = etk__fs_write_step(size);
    if (injected) return injected;
    ssize_t n = write(fd, p, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    p += n;
    size -= (size_t)n;
  }
  return 0;
}

etk_status etk_fs_write_to(etk_error *e, int fd, const void *bytes, size_t size, const char *name) {
  int failure = etk__fs_write_all(fd, bytes, size);
  return failure ? etk_fail_errno(e, failure, "cannot write %zu bytes to '%s'", size, name) : ETK_OK;
}

ssize_t etk__fs_read_some(int fd, void *bytes, size_t size) {
  ssize_t n;
  do n = read(fd, bytes, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
  while (n < 0 && errno == EINTR);
  return n;
}

int etk__fs_sync(int fd) {
  int result = etk_fs_step("sync");
  if (result) return result;
#ifdef F_FULLFSYNC /* macOS: fsync alone leaves the bytes in the drive's cache */
  if (fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
  do result = fsync(fd);
  while (result != 0 && errno == EINTR);
  return result == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

int etk__fs_sync_parent(const char *path) {
  char *folder = etk_path_dir(path);
  if (!folder) return ENOMEM;
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
  if (fd >= 0) {
    result = etk__fs_sync(fd);
    close(fd);
  }
  etk_free(folder); /* a folder that may be written but not read cannot be synced: no failure */
  return result;
}

etk_status etk__fs_open_regular(etk_error *e, int *fd, struct stat *info, const char *path) {
  struct stat own;
  if (!info) info = &own;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) return etk_fail_errno(e, errno, "cannot open '%s'", path);
  etk_status status = ETK_OK;
  if (fstat(*fd, info) != 0) status = etk_fail_errno(e, errno, "cannot examine '%s'", path);
  else if (S_ISDIR(info->st_mode)) status = etk_fail(e, ETK_E_INVALID, "'%s' is a folder; a file is wanted", path);
  else if (!S_ISREG(info->st_mode)) status = etk_fail(e, ETK_E_INVALID, "'%s' is a device, pipe or socket; a regular file is wanted", path);
  if (status) {
    close(*fd);
    *fd = -1;
  }
  return status;
}

static etk_status too_large(etk_error *e, const char *path, size_t limit) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "'%s' is larger than the %zu bytes that are read at most", path, limit);
}

etk_status etk_fs_read(etk_error *e, char **out, size_t *size, const char *path, size_t limit) {
  int fd;
  struct stat info;
  etk_status status = etk__fs_open_regular(e, &fd, &info, path);
  if (status) return status;
  char *bytes = NULL;
  /* st_size is a hint: /proc says 0, and a file may grow meanwhile. */
  size_t used = 0, capacity = info.st_size > 0 ? (size_t)info.st_size + 1 : 4096;
  if ((uint64_t)info.st_size > limit) status = too_large(e, path, limit);
  while (!status) {
    char *grown = bytes && used < capacity ? bytes : etk_realloc(bytes, capacity + 1, 1);
    if (!grown) {
      status = etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': no memory for %zu bytes", path, capacity + 1);
      break;
    }
    bytes = grown;
    ssize_t n = etk__fs_read_some(fd, bytes + used, capacity - used);
    if (n == 0) break;
    if (n < 0) status = etk_fail_errno(e, errno, "cannot read '%s'", path);
    else if ((used += (size_t)n) > limit) status = too_large(e, path, limit);
    else if (used == capacity) capacity *= 2;
  }
  close(fd);
  if (status) {
    etk_free(bytes);
    return status;
  }
  bytes[used] = 0;
  *out = bytes;
  if (size) *size = used;
  return ETK_OK;
}

bool etk_fs_exists(const char *path) {
  struct stat info;
  return stat(path, &info) == 0;
}

bool etk_fs_is_dir(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}
