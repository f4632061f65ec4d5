/* fs_file.c: a file written beside its path and renamed into place. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

struct etk_file {
  int fd;
  bool replace, failed;
  char *path, *temporary; /* temporary: NULL for a device, which is written in place */
  char *buffer;           /* BUFFER bytes */
  size_t used;
};

static etk_status exists(etk_error *e, const char *path) {
  return etk_fail(e, ETK_E_EXISTS, "'%s' exists already; choose another name or ask to replace it (--force)", path);
}

static void discard(etk_file *file) {
  if (file->fd >= 0 && file->temporary) unlink(file->temporary); /* while it is locked: the name is ours */
  if (file->fd >= 0) close(file->fd);
  etk_free(file->temporary);
  etk_free(file->path);
  etk_free(file->buffer);
  etk_free(file);
}

/* "folder/.name.tmp": hidden, so that a listing during the write shows no half file. */
static char *temporary_prefix(const char *path) {
  char *folder = etk_path_dir(path), *full = NULL;
  etk_text prefix = ETK_TEXT_INIT;
  etk_text_printf(&prefix, ".%.200s.tmp", etk_path_base(path));
  if (folder && !prefix.failed) full = etk_path_join(folder, prefix.data);
  etk_text_free(&prefix);
  etk_free(folder);
  return full;
}

static etk_status open_temporary(etk_error *e, etk_file *file, const struct stat *old) {
  char *prefix = temporary_prefix(file->path);
  int failure = prefix ? etk__fs_temp_make(&file->temporary, &file->fd, prefix, false) : ENOMEM;
  etk_free(prefix);
  if (failure == ENOMEM) return etk__fs_no_memory(e, "write", file->path);
  if (failure == EEXIST) return etk_fail(e, ETK_E_EXISTS, "cannot write '%s': no free name for a temporary file beside it", file->path);
  if (failure) return etk_fail_errno(e, failure, "cannot create '%s' (its folder must exist and be writable)", file->path);
  if (old) (void)!fchmod(file->fd, old->st_mode & 07777); /* keeps the permissions of what is replaced, where allowed */
  return ETK_OK;
}

etk_status etk_file_create(etk_error *e, etk_file **out, const char *path, bool replace) {
  struct stat info;
  bool there = lstat(path, &info) == 0;
  if (there && S_ISLNK(info.st_mode) && replace && stat(path, &info) != 0) there = false; /* a dangling link is replaced */
  if (there && !replace) return exists(e, path);
  if (there && S_ISDIR(info.st_mode)) return etk_fail(e, ETK_E_EXISTS, "'%s' is a folder; a file cannot take its place", path);
  if (!*etk_path_base(path)) return etk_fail(e, ETK_E_INVALID, "'%s' does not name a file", path);
  etk_file *file = etk_calloc(1, sizeof *file);
  if (file) {
    file->fd = -1;
    file->replace = replace;
    file->path = etk_strdup(path);
    file->buffer = etk_alloc(BUFFER);
  }
  etk_status status = ETK_OK;
  if (!file || !file->path || !file->buffer) {
    status = etk_fail(e, ETK_E_NO_MEMORY, "cannot write '%s': out of memory", path);
  } else if (there && !S_ISREG(info.st_mode)) { /* /dev/stdout, a FIFO: nothing to rename */
    file->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file->fd < 0) status = etk_fail_errno(e, errno, "cannot open '%s' for writing", path);
  } else {
    status = open_temporary(e, file, there ? &info : NULL);
  }
  if (status) {
    if (file) discard(file);
    return status;
  }
  *out = file;
  return ETK_OK;
}

static etk_status write_out(etk_error *e, etk_file *file, const void *bytes, size_t size) {
  int failure = etk__fs_write_all(file->fd, bytes, size);
  if (!failure) return ETK_OK;
  file->failed = true;
  return etk_fail_errno(e, failure, "cannot write %zu bytes to '%s'", size, file->path);
}

static etk_status flush(etk_error *e, etk_file *file) {
  size_t size = file->used;
  file->used = 0;
  return size ? write_out(e, file, file->buffer, size) : ETK_OK;
}

static etk_status failed_before(etk_error *e, const etk_file *file) {
  return etk_fail(e, ETK_E_IO, "'%s' was not written: an earlier write to it failed", file->path);
}

etk_status etk_file_write(etk_error *e, etk_file *file, const void *bytes, size_t size) {
  if (file->failed) return failed_before(e, file);
  if (size > BUFFER - file->used) {
    etk_status status = flush(e, file);
    if (status) return status;
  }
  if (size >= BUFFER) return write_out(e, file, bytes, size);
  if (size) memcpy(file->buffer + file->used, bytes, size);
  file->used += size;
  return ETK_OK;
}

static etk_status put_in_place(etk_error *e, etk_file *file) {
  int failure = 0;
  if (file->replace) failure = etk__fs_rename(file->temporary, file->path);
  else failure = etk__fs_rename_new(file->temporary, file->path, false);
  if (failure == EEXIST) return exists(e, file->path);
  if (failure) return etk_fail_errno(e, failure, "cannot rename the finished file to '%s'", file->path);
  etk_free(file->temporary);
  file->temporary = NULL;
  failure = etk__fs_sync_parent(file->path);
  return failure ? etk_fail_errno(e, failure, "cannot sync the folder of '%s'", file->path) : ETK_OK;
}

etk_status etk_file_commit(etk_error *e, etk_file *file) {
  etk_status status = file->failed ? failed_before(e, file) : flush(e, file);
  if (!status) {
    int failure = etk__fs_sync(file->fd);
    if (failure) status = etk_fail_errno(e, failure, "cannot sync '%s' to disk", file->path);
  }
  if (!status && file->temporary) status = put_in_place(e, file);
  discard(file);
  return status;
}

int etk__file_fd(const etk_file *file) { return file->temporary ? file->fd : -1; }

void etk_file_abort(etk_file *file) {
  if (file) discard(file);
}

etk_status etk_fs_write(etk_error *e, const char *path, const void *bytes, size_t size, bool replace) {
  etk_file *file;
  etk_status status = etk_file_create(e, &file, path, replace);
  if (status) return status;
  status = etk_file_write(e, file, bytes, size);
  if (!status) return etk_file_commit(e, file);
  etk_file_abort(file);
  return status;
}
