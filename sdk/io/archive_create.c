/* archive_create.c: an archive that is the same bytes whenever its files are: sorted, without owners, times in whole seconds. */
#include "archive_internal.h"
#include "etk/fs.h"
#include "etk/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 18 };

static const struct format {
  const char *suffix;
  int (*format)(struct archive *);
  int (*filter)(struct archive *);
} formats[] = {
    {".tar.gz", archive_write_set_format_pax_restricted, archive_write_add_filter_gzip},
    {".tgz", archive_write_set_format_pax_restricted, archive_write_add_filter_gzip},
    {".tar.zst", archive_write_set_format_pax_restricted, archive_write_add_filter_zstd},
    {".tar", archive_write_set_format_pax_restricted, archive_write_add_filter_none},
    {".zip", archive_write_set_format_zip, archive_write_add_filter_none},
};

typedef struct job {
  etk_error *e;
  const char *archive, *root_name;
  int root;
  char *temporary; /* ".<name>.tmp-": what the archive itself is called meanwhile */
  bool replaces;
  struct stat old; /* of the file that is replaced */
  char **paths;
  size_t count, capacity;
  struct archive *writer;
  etk_file *file;
  etk_status failed; /* said in e already */
  char *chunk;
} job;

static etk_status no_memory(const job *j) { return etk_fail(j->e, ETK_E_NO_MEMORY, "cannot write '%s': out of memory", j->archive); }

static const struct format *format_of(const char *name) {
  size_t size = strlen(name);
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
    size_t n = strlen(formats[i].suffix);
    if (size > n && strcmp(name + size - n, formats[i].suffix) == 0) return &formats[i];
  }
  return NULL;
}

/* ---- what goes in ---- */

static etk_status add(job *j, const char *path) {
  if (j->count == j->capacity) {
    size_t capacity = j->capacity ? j->capacity * 2 : 64;
    char **grown = etk_realloc(j->paths, capacity, sizeof *grown);
    if (!grown) return no_memory(j);
    j->paths = grown;
    j->capacity = capacity;
  }
  if (!(j->paths[j->count] = etk_strdup(path))) return no_memory(j);
  j->count++;
  return ETK_OK;
}

static etk_status gather(job *j, int parent, const char *base, const char *path, int depth);

static etk_status gather_folder(job *j, int parent, const char *base, const char *path, int depth) {
  if (depth > ETK__ARCHIVE_DEPTH)
    return etk_fail(j->e, ETK_E_UNSUPPORTED, "'%s' lies deeper than the %d folders that are archived", path, (int)ETK__ARCHIVE_DEPTH);
  int fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
  if (!folder) {
    etk_status status = etk_fail_errno(j->e, errno, "cannot open '%s'", path);
    if (fd >= 0) close(fd);
    return status;
  }
  etk_status status = ETK_OK;
  struct dirent *entry;
  while (!status && (errno = 0, entry = readdir(folder))) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strncmp(name, j->temporary, strlen(j->temporary)) == 0) continue;
    char *inner = strcmp(path, ".") == 0 ? etk_strdup(name) : etk_path_join(path, name);
    status = inner ? gather(j, fd, name, inner, depth + 1) : no_memory(j);
    etk_free(inner);
  }
  if (!status && errno) status = etk_fail_errno(j->e, errno, "cannot list '%s'", path);
  closedir(folder);
  return status;
}

static etk_status gather(job *j, int parent, const char *base, const char *path, int depth) {
  struct stat info;
  if (fstatat(parent, base, &info, AT_SYMLINK_NOFOLLOW) != 0) return etk_fail_errno(j->e, errno, "cannot archive '%s' below '%s'", path, j->root_name);
  if (S_ISREG(info.st_mode) && j->replaces && info.st_dev == j->old.st_dev && info.st_ino == j->old.st_ino)
    return etk_fail(j->e, ETK_E_INVALID, "'%s' would contain itself; write it elsewhere", j->archive);
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode) && !S_ISLNK(info.st_mode))
    return etk_fail(j->e, ETK_E_UNSUPPORTED, "'%s' is a device, pipe or socket, which is not archived", path);
  etk_status status = strcmp(path, ".") == 0 ? ETK_OK : add(j, path);
  return status || !S_ISDIR(info.st_mode) ? status : gather_folder(j, parent, base, path, depth);
}

static etk_status gather_path(job *j, const char *given) {
  if (!etk_path_is_inside(given))
    return etk_fail(j->e, ETK_E_INVALID, "'%s' is not a path below '%s'; a relative one without '..' is wanted", given, j->root_name);
  char *path = etk_path_normal(given), *folder = path ? etk_path_dir(path) : NULL;
  int at = -1;
  etk_status status = folder ? etk_fs_open_inside(j->e, &at, j->root, folder, O_RDONLY | O_DIRECTORY, 0) : no_memory(j);
  if (!status) status = gather(j, at, etk_path_base(path), path, 0);
  if (at >= 0) close(at);
  etk_free(folder);
  etk_free(path);
  return status;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Sorted, each once: a path may be given twice, or with a folder that holds it. */
static void sort_paths(job *j) {
  size_t kept = 0;
  if (j->count) qsort(j->paths, j->count, sizeof *j->paths, by_bytes);
  for (size_t i = 0; i < j->count; i++) {
    if (kept > 0 && strcmp(j->paths[kept - 1], j->paths[i]) == 0) etk_free(j->paths[i]);
    else j->paths[kept++] = j->paths[i];
  }
  j->count = kept;
}

/* ---- writing ---- */

static la_ssize_t write_bytes(struct archive *archive, void *user, const void *bytes, size_t size) {
  job *j = user;
  if (!j->failed) j->failed = etk_file_write(j->e, j->file, bytes, size);
  if (!j->failed) return (la_ssize_t)size;
  archive_set_error(archive, EIO, "%s", "stopped");
  return -1;
}

static etk_status by_libarchive(job *j, const char *path) {
  const char *why = archive_error_string(j->writer);
  if (j->failed) return j->failed;
  return j->failed = etk_fail(j->e, archive_errno(j->writer) == ENOMEM ? ETK_E_NO_MEMORY : ETK_E_IO, "cannot write '%s' to '%s': %s", path, j->archive,
                              why ? why : "libarchive gives no reason");
}

/* Exactly as many bytes as the header said. */
static etk_status write_data(job *j, int fd, const char *path, int64_t size) {
  while (size > 0) {
    ssize_t n = read(fd, j->chunk, size < CHUNK ? (size_t)size : CHUNK);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return etk_fail_errno(j->e, errno, "cannot read '%s'", path);
    if (n == 0) return etk_fail(j->e, ETK_E_CHECK, "'%s' became shorter while it was archived; try again when nothing writes to it", path);
    if (archive_write_data(j->writer, j->chunk, (size_t)n) != n) return by_libarchive(j, path);
    size -= n;
  }
  return ETK_OK;
}

static etk_status write_entry(job *j, struct archive_entry *entry, const char *path, const struct stat *info, int fd, const char *target) {
  archive_entry_clear(entry);
  archive_entry_copy_pathname(entry, path);
  archive_entry_set_filetype(entry, S_ISDIR(info->st_mode) ? AE_IFDIR : target ? AE_IFLNK : AE_IFREG);
  archive_entry_set_perm(entry, target ? 0777 : info->st_mode & 0777);
  archive_entry_set_mtime(entry, info->st_mtime, 0);
  archive_entry_set_uid(entry, 0);
  archive_entry_set_gid(entry, 0);
  archive_entry_set_size(entry, fd >= 0 && S_ISREG(info->st_mode) ? info->st_size : 0);
  if (target) archive_entry_copy_symlink(entry, target);
  int result = archive_write_header(j->writer, entry);
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return by_libarchive(j, path); /* a warning: a name that is no UTF-8 is stored as bytes */
  if (fd >= 0 && S_ISREG(info->st_mode)) return write_data(j, fd, path, info->st_size);
  return ETK_OK;
}

static etk_status write_link(job *j, struct archive_entry *entry, const char *path, int at, const char *base, const struct stat *info) {
  char target[PATH_MAX];
  ssize_t n = readlinkat(at, base, target, sizeof target - 1);
  if (n < 0) return etk_fail_errno(j->e, errno, "cannot read the link '%s'", path);
  target[n] = 0;
  return write_entry(j, entry, path, info, -1, target);
}

static etk_status write_path(job *j, struct archive_entry *entry, const char *path) {
  char *folder = etk_path_dir(path);
  int at = -1, fd = -1;
  struct stat info;
  etk_status status = folder ? etk_fs_open_inside(j->e, &at, j->root, folder, O_RDONLY | O_DIRECTORY, 0) : no_memory(j);
  etk_free(folder);
  if (status) return status;
  const char *base = etk_path_base(path);
  if (fstatat(at, base, &info, AT_SYMLINK_NOFOLLOW) != 0) status = etk_fail_errno(j->e, errno, "cannot examine '%s'", path);
  else if (S_ISLNK(info.st_mode)) status = write_link(j, entry, path, at, base, &info);
  else {
    fd = openat(at, base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) status = etk_fail_errno(j->e, errno, "cannot open '%s'", path);
    else if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) status = etk_fail(j->e, ETK_E_CHECK, "'%s' changed while it was archived", path);
    else status = write_entry(j, entry, path, &info, fd, NULL);
    if (fd >= 0) close(fd);
  }
  close(at);
  return status;
}

static etk_status open_writer(job *j, const struct format *format) {
  if (format->filter == archive_write_add_filter_gzip && !archive_zlib_version())
    return etk_fail(j->e, ETK_E_UNAVAILABLE, "this libarchive was built without zlib: '%s' cannot be written; .tar can", j->archive);
  if (format->filter == archive_write_add_filter_zstd && !archive_libzstd_version())
    return etk_fail(j->e, ETK_E_UNAVAILABLE, "this libarchive was built without zstd: '%s' cannot be written; .tar.gz can", j->archive);
  struct archive *a = j->writer = archive_write_new();
  if (!a) return no_memory(j);
  if (format->format(a) != ARCHIVE_OK || format->filter(a) != ARCHIVE_OK) return by_libarchive(j, "the header");
  if (format->filter == archive_write_add_filter_gzip && archive_write_set_filter_option(a, "gzip", "timestamp", NULL) != ARCHIVE_OK)
    return by_libarchive(j, "the header"); /* RFC 1952: MTIME 0, none */
  archive_write_set_bytes_in_last_block(a, 1);
  return archive_write_open(a, j, NULL, write_bytes, NULL) == ARCHIVE_OK ? ETK_OK : by_libarchive(j, "the header");
}

static etk_status write_all(job *j, const struct format *format) {
  struct archive_entry *entry = archive_entry_new();
  j->chunk = etk_alloc(CHUNK);
  etk_status status = entry && j->chunk ? open_writer(j, format) : no_memory(j);
  for (size_t i = 0; i < j->count && !status; i++) status = write_path(j, entry, j->paths[i]);
  if (!status && archive_write_close(j->writer) != ARCHIVE_OK) status = by_libarchive(j, "the end");
  if (status && j->writer) { /* closed even so: libarchive frees its filters only there; write_bytes lets nothing more through */
    if (!j->failed) j->failed = status;
    archive_write_close(j->writer);
  }
  if (j->writer) archive_write_free(j->writer);
  archive_entry_free(entry);
  return status;
}

static etk_status prepare(job *j, const char *const *paths, size_t count) {
  etk_text prefix = ETK_TEXT_INIT;
  etk_text_printf(&prefix, ".%.200s.tmp-", etk_path_base(j->archive));
  j->temporary = etk_text_take(&prefix);
  if (!j->temporary) return no_memory(j);
  j->replaces = stat(j->archive, &j->old) == 0;
  j->root = open(j->root_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (j->root < 0) return etk_fail_errno(j->e, errno, "cannot open '%s'", j->root_name);
  etk_status status = ETK_OK;
  for (size_t i = 0; i < count && !status; i++) status = gather_path(j, paths[i]);
  sort_paths(j);
  return status;
}

etk_status etk_archive_create(etk_error *e, const char *archive, const char *root, const char *const *paths, size_t count, bool replace) {
  const struct format *format = format_of(archive);
  if (!format)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "'%s' does not say which archive it is; a name that ends in .tar, .tar.gz, .tgz, .tar.zst or .zip is wanted", archive);
  job j = {.e = e, .archive = archive, .root_name = root, .root = -1};
  etk__archive_locale locale;
  etk_status status = etk__archive_locale_begin(e, &locale);
  if (status) return status;
  status = etk_file_create(e, &j.file, archive, replace); /* first: it clears away what a killed writer left */
  if (!status) {
    status = prepare(&j, paths, count);
    if (!status) status = write_all(&j, format);
    if (!status) status = etk_file_commit(e, j.file);
    else etk_file_abort(j.file);
  }
  if (j.root >= 0) close(j.root);
  etk_fs_list_free(j.paths, j.count);
  etk_free(j.temporary);
  etk_free(j.chunk);
  etk__archive_locale_end(&locale);
  return status;
}
