/* fs_copy.c: copies that are read back, and the room that large writes need. */
#include "etk/alloc.h"
#include "etk/hash.h"
#include "etk/text.h"
#include "fs_internal.h"
#include "hash_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

enum { CHUNK = 1 << 18 };

/* 0, an errno value, or ENOTSUP: this pair of files cannot share; nothing was written then. */
static int share_blocks(int from, int to, int64_t size) {
#if defined(__linux__)
  if (etk__fs_fallbacks_forced() || size == 0) return ENOTSUP;
  int injected = etk__fs_write_step((size_t)size);
  if (injected) return injected;
#ifdef FICLONE
  if (ioctl(to, FICLONE, from) == 0) return 0;
  if (errno == ENOSPC || errno == EDQUOT) return errno;
#endif
  for (int64_t done = 0; done < size;) {
    ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)(size - done), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && done == 0 && errno != ENOSPC && errno != EFBIG && errno != EDQUOT && errno != EIO) return ENOTSUP;
    if (n < 0) return errno;
    if (n == 0) return done == 0 ? ENOTSUP : 0; /* shorter than it was: the comparison tells */
    done += n;
  }
  return 0;
#else
  (void)from, (void)to, (void)size;
  return ENOTSUP;
#endif
}

static etk_status write_copy(etk_error *e, int from, const char *from_name, int to, const char *to_name, char *chunk) {
  for (;;) {
    ssize_t n = etk__fs_read_some(from, chunk, CHUNK);
    if (n < 0) return etk_fail_errno(e, errno, "cannot read '%s'", from_name);
    if (n == 0) return ETK_OK;
    etk_status status = etk_fs_write_to(e, to, chunk, (size_t)n, to_name);
    if (status) return status;
  }
}

static etk_status hash_both(etk_error *e, int from, const char *from_name, int to, const char *to_name) {
  char wanted[33], seen[33];
  uint64_t from_size, to_size;
#ifdef POSIX_FADV_DONTNEED
  if (posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED) != 0) {} /* so that the disk is read, not the cache; advice only */
#endif
  etk_status status = etk__xxh3_fd(e, wanted, &from_size, from, from_name);
  if (!status) status = etk__xxh3_fd(e, seen, &to_size, to, to_name);
  if (status) return status;
  if (from_size == to_size && strcmp(wanted, seen) == 0) return ETK_OK;
  return etk_fail(e, ETK_E_CHECK,
                  "the copy of '%s' (%llu bytes, XXH3 %s) differs from it (%llu bytes, %s): it changed meanwhile or the disk is faulty; nothing was kept",
                  from_name, (unsigned long long)to_size, seen, (unsigned long long)from_size, wanted);
}

static etk_status fill(etk_error *e, int from, const struct stat *info, const char *from_name, int to, const char *to_name) {
  int failure = share_blocks(from, to, info->st_size);
  etk_status status = ETK_OK;
  if (failure && failure != ENOTSUP) status = etk_fail_errno(e, failure, "cannot write %lld bytes to '%s'", (long long)info->st_size, to_name);
  if (failure == ENOTSUP) {
    char *chunk = etk_alloc(CHUNK);
    status = chunk ? write_copy(e, from, from_name, to, to_name, chunk) : etk__fs_no_memory(e, "copy", from_name);
    etk_free(chunk);
  }
  if (status) return status;
  if (fchmod(to, info->st_mode & 0777) != 0 && errno != EPERM && errno != ENOTSUP)
    return etk_fail_errno(e, errno, "cannot set the permissions of '%s'", to_name);
  failure = etk__fs_sync(to);
  if (failure) return etk_fail_errno(e, failure, "cannot sync '%s' to disk", to_name);
  return hash_both(e, from, from_name, to, to_name);
}

etk_status etk_fs_copy(etk_error *e, const char *from, const char *to, bool replace) {
  int fd;
  struct stat info;
  etk_file *file;
  etk_status status = etk__fs_open_regular(e, &fd, &info, from);
  if (status) return status;
  status = etk_file_create(e, &file, to, replace);
  if (!status) {
    int out = etk__file_fd(file);
    if (out < 0) status = etk_fail(e, ETK_E_INVALID, "'%s' is a device, pipe or socket; a copy that can be read back wants a file", to);
    else status = fill(e, fd, &info, from, out, to);
    if (!status) status = etk_file_commit(e, file);
    else etk_file_abort(file);
  }
  close(fd);
  return status;
}

/* ---- room ---- */

int64_t etk_fs_free_bytes(const char *path) {
  char *at = etk_strdup(path);
  if (!at) return -1;
  int64_t bytes = -1;
  for (;;) { /* the nearest folder above that is there */
    struct statvfs info;
    int result;
    do result = statvfs(at, &info);
    while (result != 0 && errno == EINTR);
    if (result == 0) {
      uint64_t total = 0;
      if (__builtin_mul_overflow((uint64_t)info.f_bavail, (uint64_t)info.f_frsize, &total) || total > INT64_MAX) total = INT64_MAX;
      bytes = info.f_blocks == 0 ? -1 : (int64_t)total; /* a file system that does not count */
      break;
    }
    if (errno != ENOENT && errno != ENOTDIR) break;
    char *above = etk_path_dir(at);
    bool same = !above || strcmp(above, at) == 0;
    etk_free(at);
    at = above;
    if (same) break;
  }
  etk_free(at);
  return bytes;
}

etk_status etk_fs_need(etk_error *e, const char *path, int64_t bytes) {
  const int64_t most = (int64_t)64 << 20;
  int64_t there = etk_fs_free_bytes(path), reserve = bytes / 100 < most ? bytes / 100 : most;
  if (there < 0 || bytes <= 0 || (bytes <= INT64_MAX - reserve && bytes + reserve <= there)) return ETK_OK;
  char wanted[32], seen[32];
  return etk_fail(e, ETK_E_NO_SPACE,
                  "'%s' needs %s (%lld bytes, and a reserve of %lld), and %s (%lld bytes) are free there; free some or write elsewhere", path,
                  etk_format_size(wanted, sizeof wanted, bytes), (long long)bytes, (long long)reserve, etk_format_size(seen, sizeof seen, there),
                  (long long)there);
}
