/* fs.c: reading whole files, and the system calls that the rest of fs goes through. */
#include "etk/alloc.h"
#include "etk/hardware.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

/* Set by tests before they write; one hook for the process. */
static struct {
  _Atomic(void *) user;
  int (*_Atomic call)(void *user, size_t size);
} hook;

void etk_fs_set_write_hook(int (*call)(void *user, size_t size), void *user) {
  atomic_store(&hook.user, user);
  atomic_store(&hook.call, call);
}

int etk__fs_write_all(int fd, const void *bytes, size_t size) {
  const char *p = bytes;
  int (*call)(void *, size_t) = atomic_load(&hook.call);
  while (size > 0) {
    int injected = call ? call(atomic_load(&hook.user), size) : 0;
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

ssize_t etk__fs_read_some(int fd, void *bytes, size_t size) {
  ssize_t n;
  do n = read(fd, bytes, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
  while (n < 0 && errno == EINTR);
  return n;
}

int etk__fs_sync(int fd) {
  int result;
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

char *etk__fs_temp_name(const char *prefix) {
  static _Atomic uint64_t count;
  uint64_t x = (uint64_t)etk_time_ns() ^ (uint64_t)getpid() << 40 ^ atomic_fetch_add(&count, 1) << 52;
  for (int i = 0; i < 3; i++) { /* a mixing step of splitmix64 (Steele, Lea, Flood 2014) */
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
  }
  size_t size = strlen(prefix) + 18;
  char *name = etk_alloc(size);
  if (name) snprintf(name, size, "%s-%016llx", prefix, (unsigned long long)x);
  return name;
}

int etk__fs_rename_new(const char *from, const char *to, bool folder) {
#if defined(__linux__) && defined(RENAME_NOREPLACE)
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
#elif defined(__APPLE__)
  if (renamex_np(from, to, RENAME_EXCL) == 0) return 0;
  if (errno != ENOTSUP) return errno;
#endif
  if (!folder && link(from, to) == 0) {
    unlink(from);
    return 0;
  }
  if (!folder && errno != EPERM && errno != ENOTSUP && errno != EMLINK) return errno;
  /* A file system without hard links (FAT and the like), or a folder: the check and the rename are two steps there. */
  struct stat info;
  if (lstat(to, &info) == 0) return EEXIST;
  return rename(from, to) == 0 ? 0 : errno;
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
