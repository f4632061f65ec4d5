/* fs_temp.c: temporary names that tell by a lock whether their writer lives, and the renames that put them in place. */
#include "etk/alloc.h"
#include "etk/hardware.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <unistd.h>

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

enum { SLOTS = 64, OPEN_OLD = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK };

/* 0, EWOULDBLOCK where another holds it, ENOTSUP where this file system has no locks. */
static int lock(int fd) {
  int result;
  do result = flock(fd, LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno == EWOULDBLOCK ? EWOULDBLOCK : ENOTSUP;
}

/* Is `name` still the file that was opened? A cleaner may have come between. */
static bool is_same(int fd, const char *name) {
  struct stat opened, named;
  return fstat(fd, &opened) == 0 && lstat(name, &named) == 0 && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

bool etk__fs_temp_clean(const char *name, bool folder) {
  int fd = open(name, OPEN_OLD | (folder ? O_DIRECTORY : 0));
  if (fd < 0) return errno == ENOENT;
  bool gone = false;
  if (lock(fd) == 0 && is_same(fd, name)) gone = folder ? etk_fs_remove_tree(NULL, name) == ETK_OK : unlink(name) == 0;
  close(fd);
  return gone;
}

/* A new, locked file or folder: 0, EEXIST (taken), EAGAIN (a cleaner was quicker), ENOTSUP (no locks: made, but not locked), or why not. */
static int make(int *fd, const char *name, bool folder) {
  int injected = etk_fs_step("create");
  if (injected) return injected;
  if (folder && mkdir(name, 0777) != 0) return errno;
  *fd = folder ? open(name, OPEN_OLD | O_DIRECTORY) : open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (*fd < 0) {
    int failure = errno;
    if (folder) rmdir(name);
    return failure;
  }
  int failure = lock(*fd);
  if (failure == 0 && !is_same(*fd, name)) failure = EWOULDBLOCK;
  if (failure != EWOULDBLOCK) return failure;
  close(*fd);
  *fd = -1;
  return EAGAIN;
}

/* A name that nobody else uses; a file system without locks is fine. */
static int make_random(char **name, int *fd, const char *prefix, bool folder) {
  int failure = EEXIST;
  for (int attempt = 0; attempt < 100 && (failure == EEXIST || failure == EAGAIN); attempt++) {
    *name = etk__fs_temp_name(prefix);
    if (!*name) return ENOMEM;
    failure = make(fd, *name, folder);
    if (failure == 0 || failure == ENOTSUP) return 0;
    etk_free(*name);
    *name = NULL;
  }
  return failure;
}

int etk__fs_temp_make(char **out, int *fd, const char *prefix, bool folder) {
  *out = NULL;
  *fd = -1;
  size_t size = strlen(prefix) + 8;
  char *name = etk_alloc(size);
  if (!name) return ENOMEM;
  int failure = EEXIST;
  for (int slot = 1; slot <= SLOTS && (failure == EEXIST || failure == EAGAIN); slot++) {
    snprintf(name, size, "%s-%d", prefix, slot);
    failure = make(fd, name, folder);
    if (failure == EEXIST && etk__fs_temp_clean(name, folder)) failure = make(fd, name, folder);
  }
  if (failure == 0) {
    *out = name;
    return 0;
  }
  if (failure == ENOTSUP) { /* a name that others could not tell from a left one would never be cleaned */
    close(*fd);
    *fd = -1;
    if (folder) rmdir(name);
    else unlink(name);
  }
  etk_free(name);
  return failure == EEXIST || failure == EAGAIN || failure == ENOTSUP ? make_random(out, fd, prefix, folder) : failure;
}

int etk__fs_rename(const char *from, const char *to) {
  int injected = etk_fs_step("rename");
  if (injected) return injected;
  return rename(from, to) == 0 ? 0 : errno;
}

int etk__fs_unlink(const char *path) {
  int injected = etk_fs_step("remove");
  if (injected) return injected;
  return unlink(path) == 0 ? 0 : errno;
}

int etk__fs_exchange(const char *a, const char *b) {
  if (etk__fs_fallbacks_forced()) return ENOTSUP;
  int injected = etk_fs_step("rename");
  if (injected) return injected;
#if defined(__linux__) && defined(RENAME_EXCHANGE)
  if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0) return 0;
  return errno == EINVAL || errno == ENOSYS ? ENOTSUP : errno;
#elif defined(__APPLE__) && defined(RENAME_SWAP)
  return renamex_np(a, b, RENAME_SWAP) == 0 ? 0 : errno;
#else
  (void)a, (void)b;
  return ENOTSUP;
#endif
}

int etk__fs_rename_new(const char *from, const char *to, bool folder) {
  int injected = etk_fs_step("rename");
  if (injected) return injected;
#if defined(__linux__) && defined(RENAME_NOREPLACE)
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
#elif defined(__APPLE__) && defined(RENAME_EXCL)
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
