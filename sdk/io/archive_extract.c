/* archive_extract.c: a stranger's archive into a new folder, and its list. Every name is checked as text, then opened below the folder without following
 * a link, so that the file system says no where the text did not. */
#include "archive_internal.h"
#include "etk/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 18, ASK_FROM = 1 << 20 };

typedef struct late { /* folders get their times and bits last: writing into them changes both */
  char *path;
  int64_t time;
  mode_t mode;
} late;

typedef struct job {
  etk_error *e;
  const char *archive;
  etk__archive_in *in;
  int root;
  mode_t mask; /* bits that the user's umask leaves */
  etk__archive_names names;
  char *parent; /* the folder that is open as parent_fd */
  int parent_fd;
  late *folders;
  size_t folder_count, folder_capacity;
  char *chunk;
} job;

static etk_status refuse(job *j, const char *name, const char *why) {
  char shown[204];
  return etk_fail(j->e, ETK_E_INVALID, "'%s' is not extracted: its entry '%s' %s", j->archive, etk__archive_shown(shown, name), why);
}

/* `status` is in e already. */
static etk_status at_entry(job *j, etk_status status, const char *name) {
  char shown[204];
  return etk_error_while(j->e, status, "'%s' is not extracted: at its entry '%s'", j->archive, etk__archive_shown(shown, name));
}

static etk_status system_failed(job *j, int failure, const char *name) {
  char shown[204];
  return etk_fail_errno(j->e, failure, "'%s' is not extracted: cannot make '%s'", j->archive, etk__archive_shown(shown, name));
}

/* ---- names ---- */

static bool has_dots(const char *path) {
  for (const char *p = path; *p; p += *p == '/') {
    size_t n = strcspn(p, "/");
    if (n == 2 && p[0] == '.' && p[1] == '.') return true;
    p += n;
  }
  return false;
}

static etk_status check_name(job *j, const char *name) {
  size_t depth = 0;
  if (*name == '/') return refuse(j, name, "has an absolute path");
  if (has_dots(name)) return refuse(j, name, "has '..' in its path");
  if (!etk_path_is_inside(name)) return refuse(j, name, "has a path that is not a relative one everywhere (empty, a backslash, a drive letter)");
  for (const char *p = name; *p; p++) depth += *p == '/';
  return depth > ETK__ARCHIVE_DEPTH ? refuse(j, name, "lies deeper than 200 folders") : ETK_OK;
}

/* Is a folder of this path a link or file of the archive, by its name or one that differs only in case (the same file on many systems)? */
static etk_status check_way(job *j, const char *path) {
  for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    const etk__archive_named *way = etk__archive_names_find(&j->names, path, (size_t)(slash - path), true);
    if (way && way->type == 'l') return refuse(j, path, "goes through a link of the archive");
    if (way && way->type == 'f' && strlen(way->path) == (size_t)(slash - path) && strncmp(way->path, path, strlen(way->path)) == 0)
      return refuse(j, path, "goes through a file of the archive");
  }
  return ETK_OK;
}

static etk_status check_new(job *j, const char *path, char type) {
  const etk__archive_named *old = etk__archive_names_find(&j->names, path, strlen(path), true);
  if (!old) return ETK_OK;
  if (strcmp(old->path, path) == 0) return refuse(j, path, "is there twice");
  if (old->type == 'l' || type == 'l') return refuse(j, path, "is a link whose name differs from another entry's only in case");
  return ETK_OK; /* whether these are two files is the file system's to say */
}

/* A target that stays inside from a link that lies in real folders: leading '..' no more than there are folders above it, none after a name (that
 * name may be a link itself). */
static etk_status check_target(job *j, const char *path, const char *target) {
  size_t above = 0, up = 0;
  bool named = false;
  for (const char *p = path; *p; p++) above += *p == '/';
  if (!*target) return refuse(j, path, "is a link without a target");
  if (*target == '/' || strchr(target, '\\')) return refuse(j, path, "is a link to an absolute path or one with a backslash");
  if (target[1] == ':' && ((target[0] | 32) >= 'a' && (target[0] | 32) <= 'z')) return refuse(j, path, "is a link to a drive");
  for (const char *p = target; *p; p += *p == '/') {
    size_t n = strcspn(p, "/");
    bool dots = n == 2 && p[0] == '.' && p[1] == '.';
    if (dots && named) return refuse(j, path, "is a link with '..' behind a name, which may lead out");
    if (dots && ++up > above) return refuse(j, path, "is a link that leads out of the folder");
    if (!dots && n > 0 && !(n == 1 && *p == '.')) named = true;
    p += n;
  }
  return ETK_OK;
}

/* ---- folders ---- */

static etk_status make_folder(job *j, int at, const char *base, const char *path) {
  int failure = etk_fs_step("create");
  if (!failure && mkdirat(at, base, 0777) != 0) failure = errno;
  struct stat info;
  if (failure == EEXIST && fstatat(at, base, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) return ETK_OK; /* made on the way to another */
  if (failure == EEXIST) return refuse(j, path, "is there twice, once not as a folder");
  return failure ? system_failed(j, failure, path) : ETK_OK;
}

/* Opens a folder below the root, made with all above it where it is missing. */
static etk_status open_folder(job *j, int *fd, const char *path) {
  etk_status status = etk_fs_open_inside(j->e, fd, j->root, path, O_RDONLY | O_DIRECTORY, 0);
  if (status != ETK_E_NOT_FOUND || strcmp(path, ".") == 0) return status;
  etk_error_clear(j->e);
  char *above = etk_path_dir(path);
  int at = -1;
  if (!above) return etk_fail_memory(j->e);
  status = open_folder(j, &at, above);
  etk_free(above);
  if (!status) status = make_folder(j, at, etk_path_base(path), path);
  if (at >= 0) close(at);
  return status ? status : etk_fs_open_inside(j->e, fd, j->root, path, O_RDONLY | O_DIRECTORY, 0);
}

/* The open folder that holds `path`; it stays the job's. */
static etk_status parent_of(job *j, int *fd, const char *path) {
  char *folder = etk_path_dir(path);
  if (!folder) return etk_fail_memory(j->e);
  if (j->parent && strcmp(j->parent, folder) == 0) {
    etk_free(folder);
    *fd = j->parent_fd;
    return ETK_OK;
  }
  int opened = -1;
  etk_status status = open_folder(j, &opened, folder);
  if (status) {
    etk_free(folder);
    return status;
  }
  if (j->parent_fd >= 0) close(j->parent_fd);
  etk_free(j->parent);
  j->parent = folder;
  *fd = j->parent_fd = opened;
  return ETK_OK;
}

static etk_status keep_folder(job *j, const char *path, struct archive_entry *entry) {
  if (j->folder_count == j->folder_capacity) {
    size_t capacity = j->folder_capacity ? j->folder_capacity * 2 : 32;
    late *grown = etk_realloc(j->folders, capacity, sizeof *grown);
    if (!grown) return etk_fail_memory(j->e);
    j->folders = grown;
    j->folder_capacity = capacity;
  }
  late *f = &j->folders[j->folder_count];
  *f = (late){.path = etk_strdup(path), .time = archive_entry_mtime_is_set(entry) ? archive_entry_mtime(entry) : -1, .mode = archive_entry_perm(entry) & 0777};
  if (!f->path) return etk_fail_memory(j->e);
  j->folder_count++;
  return ETK_OK;
}

static etk_status finish_folders(job *j) {
  for (size_t i = j->folder_count; i-- > 0;) {
    const late *f = &j->folders[i];
    int fd;
    etk_status status = etk_fs_open_inside(j->e, &fd, j->root, f->path, O_RDONLY | O_DIRECTORY, 0);
    if (status) return at_entry(j, status, f->path);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)f->time}};
    bool failed = fchmod(fd, (f->mode & j->mask) | 0700) != 0; /* one that its owner cannot enter could not be removed again */
    failed = failed || (f->time >= 0 && futimens(fd, times) != 0);
    int failure = errno;
    close(fd);
    if (failed) return system_failed(j, failure, f->path);
  }
  return ETK_OK;
}

/* ---- entries ---- */

static etk_status write_data(job *j, int fd, const char *path) {
  for (;;) {
    size_t n;
    etk_status status = etk__archive_data(j->in, j->chunk, CHUNK, &n);
    if (!status && n == 0) return ETK_OK;
    if (!status) status = etk_fs_write_to(j->e, fd, j->chunk, n, path);
    if (status) return status;
  }
}

static etk_status make_file(job *j, int at, const char *path, struct archive_entry *entry) {
  int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
  etk_status status = etk__archive_allows(j->in, size);
  if (status) return status;
  int failure = etk_fs_step("create");
  int fd = failure ? -1 : openat(at, etk_path_base(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, archive_entry_perm(entry) & 0777);
  if (!failure && fd < 0) failure = errno;
  if (failure == EEXIST) return refuse(j, path, "is there twice (to this file system, which may not see case)");
  if (failure) return system_failed(j, failure, path);
  status = write_data(j, fd, path);
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)archive_entry_mtime(entry)}};
  if (!status && archive_entry_mtime_is_set(entry) && futimens(fd, times) != 0) status = system_failed(j, errno, path);
  close(fd);
  return status;
}

static etk_status make_symlink(job *j, int at, const char *path, struct archive_entry *entry) {
  const char *target = etk__archive_target(entry, false);
  etk_status status = check_target(j, path, target ? target : "");
  if (status) return status;
  int failure = etk_fs_step("link");
  if (!failure && symlinkat(target, at, etk_path_base(path)) != 0) failure = errno;
  if (failure == EEXIST) return refuse(j, path, "is there twice");
  if (failure) return system_failed(j, failure, path);
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)archive_entry_mtime(entry)}};
  if (archive_entry_mtime_is_set(entry)) (void)!utimensat(at, etk_path_base(path), times, AT_SYMLINK_NOFOLLOW); /* some file systems keep none for links */
  return ETK_OK;
}

/* A second name for a file that the archive had before. */
static etk_status make_hard_link(job *j, int at, const char *path, struct archive_entry *entry) {
  const char *target = etk__archive_target(entry, true);
  if (!target || *target == '/' || has_dots(target) || !etk_path_is_inside(target)) return refuse(j, path, "is a hard link that leads out of the folder");
  if (archive_entry_size_is_set(entry) && archive_entry_size(entry) > 0) return refuse(j, path, "is a hard link with data of its own");
  char *normal = etk_path_normal(target);
  if (!normal) return etk_fail_memory(j->e);
  const etk__archive_named *old = etk__archive_names_find(&j->names, normal, strlen(normal), false);
  etk_status status = !old || old->type != 'f' ? refuse(j, path, "is a hard link to what is not a file before it in the archive") : ETK_OK;
  char *folder = status ? NULL : etk_path_dir(normal);
  int from = -1;
  if (!status) status = folder ? etk_fs_open_inside(j->e, &from, j->root, folder, O_RDONLY | O_DIRECTORY, 0) : etk_fail_memory(j->e);
  if (!status) {
    int failure = etk_fs_step("link");
    if (!failure && linkat(from, etk_path_base(normal), at, etk_path_base(path), 0) != 0) failure = errno;
    if (failure == EEXIST) status = refuse(j, path, "is there twice");
    else if (failure) status = system_failed(j, failure, path);
    close(from);
  }
  etk_free(folder);
  etk_free(normal);
  return status;
}

static char type_of(struct archive_entry *entry, bool *hard) {
  *hard = archive_entry_hardlink(entry) || archive_entry_hardlink_utf8(entry);
  if (*hard) return 'f';
  switch (archive_entry_filetype(entry)) {
  case AE_IFREG: return 'f';
  case AE_IFDIR: return 'd';
  case AE_IFLNK: return 'l';
  default: return 0;
  }
}

static etk_status make_entry(job *j, const char *path, struct archive_entry *entry) {
  bool hard;
  char type = type_of(entry, &hard);
  int at = -1;
  if (!type) return refuse(j, path, "is a device, pipe or socket");
  if (strcmp(path, ".") == 0) return type == 'd' ? keep_folder(j, path, entry) : refuse(j, path, "is not a folder");
  etk_status status = check_way(j, path);
  if (!status) status = check_new(j, path, type);
  if (!status) status = parent_of(j, &at, path);
  if (status) return status;
  if (hard) status = make_hard_link(j, at, path, entry);
  else if (type == 'd') status = make_folder(j, at, etk_path_base(path), path);
  else status = type == 'f' ? make_file(j, at, path, entry) : make_symlink(j, at, path, entry);
  if (!status && type == 'd') status = keep_folder(j, path, entry);
  return status ? status : etk__archive_names_add(j->e, &j->names, path, type);
}

static etk_status extract_one(job *j, struct archive_entry *entry, const char *into) {
  const char *name = etk__archive_name(entry);
  if (!name) return refuse(j, "?", "has a name that cannot be read");
  etk_status status = check_name(j, name);
  if (status) return status;
  if (archive_entry_size_is_set(entry) && archive_entry_size(entry) >= ASK_FROM) status = etk__archive_allows(j->in, archive_entry_size(entry));
  if (!status && archive_entry_size_is_set(entry) && archive_entry_size(entry) >= ASK_FROM) status = etk_fs_need(j->e, into, archive_entry_size(entry));
  char *path = status ? NULL : etk_path_normal(name);
  if (!status) status = path ? make_entry(j, path, entry) : etk_fail_memory(j->e);
  etk_free(path);
  if (status && j->e && !strstr(j->e->message, "is not extracted")) at_entry(j, status, name);
  return status;
}

static etk_status extract_all(job *j, const char *into) {
  struct archive_entry *entry;
  struct stat info;
  j->chunk = etk_alloc(CHUNK);
  if (!j->chunk) return etk_fail(j->e, ETK_E_NO_MEMORY, "cannot extract '%s': out of memory", j->archive);
  j->root = open(into, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (j->root < 0 || fstat(j->root, &info) != 0) return etk_fail_errno(j->e, errno, "cannot open '%s'", into);
  j->mask = info.st_mode & 0777; /* it was made with 0777 & ~umask */
  etk_status status;
  while (!(status = etk__archive_next(j->in, &entry)) && entry)
    if ((status = extract_one(j, entry, into))) return status;
  return status ? status : finish_folders(j);
}

static void fini(job *j) {
  if (j->parent_fd >= 0) close(j->parent_fd);
  if (j->root >= 0) close(j->root);
  for (size_t i = 0; i < j->folder_count; i++) etk_free(j->folders[i].path);
  etk_free(j->folders);
  etk_free(j->parent);
  etk_free(j->chunk);
  etk__archive_names_fini(&j->names);
}

etk_status etk_archive_extract(etk_error *e, const char *archive, const char *into, bool replace, const etk_archive_limits *limits) {
  etk_error own = ETK_ERROR_INIT;
  if (!e) e = &own; /* messages are looked at on the way */
  job j = {.e = e, .archive = archive, .root = -1, .parent_fd = -1};
  etk_dir *dir = NULL;
  etk__archive_locale locale;
  etk_status status = etk__archive_locale_begin(e, &locale);
  if (status) return status;
  status = etk__archive_open(e, &j.in, archive, limits);
  if (!status) status = etk_dir_create(e, &dir, into, replace);
  if (!status) status = extract_all(&j, etk_dir_path(dir));
  etk__archive_close(j.in);
  fini(&j);
  etk__archive_locale_end(&locale);
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

/* ---- the list ---- */

static etk_status list_one(etk_error *e, const char *archive, struct archive_entry *entry, int (*each)(void *, const etk_archive_entry *), void *user) {
  bool hard;
  etk_archive_entry out = {.path = etk__archive_name(entry), .type = type_of(entry, &hard), .modified_unix_s = archive_entry_mtime(entry)};
  if (!out.path) return etk_fail(e, ETK_E_FORMAT, "'%s' has an entry whose name cannot be read", archive);
  if (archive_entry_size_is_set(entry)) out.size = archive_entry_size(entry);
  if (hard) out.type = 'h';
  else if (!out.type) out.type = 's';
  if (hard || out.type == 'l') out.link = etk__archive_target(entry, hard);
  return each(user, &out) ? etk_fail(e, ETK_E_CANCELLED, "the list of '%s' was stopped", archive) : ETK_OK;
}

etk_status etk_archive_list(etk_error *e, const char *archive, int (*each)(void *user, const etk_archive_entry *entry), void *user) {
  etk__archive_in *in = NULL;
  etk__archive_locale locale;
  struct archive_entry *entry;
  etk_status status = etk__archive_locale_begin(e, &locale);
  if (status) return status;
  status = etk__archive_open(e, &in, archive, NULL);
  while (!status && !(status = etk__archive_next(in, &entry)) && entry) status = list_one(e, archive, entry, each, user);
  etk__archive_close(in);
  etk__archive_locale_end(&locale);
  return status;
}
