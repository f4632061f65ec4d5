/* log_file.c: log files: appended to line by line, rotated by size and age, shared with other processes, and left alone while they cannot be written. */
#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/text.h"
#include "log_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { RETRY_MS = 60000, LOOK_MS = 1000, KEEP_MOST = 1000 };
#define WRITABLE 0222

struct etk_log_file {
  struct etk_log_file *next;
  char *path;
  etk_log_format format;
  etk_log_level level;
  int64_t max_bytes, max_age_ms; /* 0: never */
  int keep;
  int fd; /* -1: closed after a failure */
  struct stat info;        /* of what fd is open on, as the last write left it */
  bool torn;               /* the file ends in a piece of a line: a newline comes first */
  int64_t first_ms;        /* of its first line; INT64_MAX: it has none */
  int64_t looked_ms;       /* when the path was last compared with fd */
  bool failing;
  int64_t failed_ms, stuck_ms; /* steady: when writing, when rotating failed; stuck 0: it did not */
  uint64_t lost;           /* lines since it fails */
  bool told;               /* of this failure */
  etk_error problem;       /* not yet said where status is set */
};

#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
static pthread_mutex_t lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP; /* a line takes less time than falling asleep */
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#endif
static etk_log_file *files; /* under lock, as are the two buffers */
static char buffers[2][ETK__LOG_LINE]; /* by format */

/* ---- opening ---- */

static void file_close(etk_log_file *file) {
  if (file->fd >= 0) close(file->fd);
  file->fd = -1;
}

/* What an earlier process left: when it began, and whether its last line is whole. */
static void look_inside(etk_log_file *file) {
  char head[64], last = '\n';
  file->first_ms = INT64_MAX;
  file->torn = false;
  if (!S_ISREG(file->info.st_mode) || file->info.st_size == 0) return;
  ssize_t size = pread(file->fd, head, sizeof head, 0);
  int64_t first = size > 0 ? etk__line_time(head, (size_t)size) : -1;
  file->first_ms = first >= 0 ? first : (int64_t)file->info.st_mtime * 1000;
  /* A line of another process that crosses a page is seen in its middle for a moment. */
  for (int attempt = 0; attempt < 5; attempt++) {
    file->torn = pread(file->fd, &last, 1, file->info.st_size - 1) == 1 && last != '\n';
    if (!file->torn) return;
    nanosleep(&(struct timespec){0, 2000000}, NULL);
    if (fstat(file->fd, &file->info)) return;
  }
}

/* 0 or an errno value. O_NONBLOCK: a FIFO must not hold us up. */
static int file_open(etk_log_file *file) {
  enum { FLAGS = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK };
  file_close(file);
  file->fd = open(file->path, FLAGS, 0600);
  if (file->fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
    int error = errno;
    char *folder = etk_path_dir(file->path);
    bool made = folder && etk_fs_make_dirs(NULL, folder) == ETK_OK;
    etk_free(folder);
    if (!made) return error;
    file->fd = open(file->path, FLAGS, 0600);
  }
  if (file->fd < 0) return errno;
  int error = fstat(file->fd, &file->info) ? errno : S_ISREG(file->info.st_mode) || S_ISCHR(file->info.st_mode) ? 0 : EINVAL;
  if (error) file_close(file);
  else look_inside(file);
  return error;
}

static bool same_file(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

/* ---- what goes wrong ---- */

static void fail(etk_log_file *file, int error) {
  file->failing = true;
  file->failed_ms = etk__log_steady_ms();
  file->lost++;
  file_close(file);
  if (file->told) return;
  file->told = true;
  etk_error_clear(&file->problem);
  etk_fail_errno(&file->problem, error, "cannot write the log %s, the work goes on and it is tried again in a minute", file->path);
}

static void stuck(etk_log_file *file, int error) {
  bool first = file->stuck_ms == 0;
  file->stuck_ms = etk__log_steady_ms();
  if (file->stuck_ms == 0) file->stuck_ms = 1;
  if (!first) return;
  etk_error_clear(&file->problem);
  etk_fail_errno(&file->problem, error, "cannot rename the log %s to rotate it, it grows on and that is tried again in a minute", file->path);
}

/* ---- rotation ---- */

static void numbered(etk_text *out, const etk_log_file *file, int number) {
  out->size = 0;
  etk_text_printf(out, "%s.%d", file->path, number);
}

/* The first gap among .1 … .keep takes the shift; where there is none, the oldest is replaced. 0 or an errno value. */
static int shift(etk_log_file *file) {
  etk_text from = ETK_TEXT_INIT, to = ETK_TEXT_INIT;
  struct stat info;
  int free_number = 1, error = 0;
  for (; free_number < file->keep; free_number++) {
    numbered(&to, file, free_number);
    if (to.failed || (lstat(to.data, &info) && errno == ENOENT)) break;
  }
  for (int i = free_number - 1; i >= 1 && !error; i--) {
    numbered(&from, file, i);
    numbered(&to, file, i + 1);
    if (from.failed || to.failed) error = ENOMEM;
    else if (rename(from.data, to.data) && errno != ENOENT) error = errno;
  }
  if (!error) {
    numbered(&to, file, 1);
    error = to.failed ? ENOMEM : rename(file->path, to.data) ? errno : 0;
  }
  etk_text_free(&from);
  etk_text_free(&to);
  return error;
}

static bool too_large(const etk_log_file *file, const struct stat *info, size_t more) {
  return file->max_bytes > 0 && info->st_size > 0 && info->st_size + (int64_t)more > file->max_bytes;
}

/* Whoever locks the live file renames it, last of all, and takes its write permission away, by which everybody who has it open sees that it is no
 * longer the live one. A dead process holds no lock. Nobody waits: while another renames, lines go on into the file that it renames. */
static void rotate(etk_log_file *file, size_t more, bool by_age) {
  struct stat live;
  int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* of its own: a lock belongs to the open file, which a fork shares */
  bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
  int error = 0;
  if (locked && !fstat(fd, &live) && !stat(file->path, &file->info) && same_file(&live, &file->info)) {
    struct stat mine;
    bool ours = !fstat(file->fd, &mine) && same_file(&mine, &live);
    if (ours && (by_age || too_large(file, &live, more))) {
      error = shift(file);
      if (!error) (void)!fchmod(fd, live.st_mode & 07777 & ~(mode_t)WRITABLE);
    }
    if (!error) error = file_open(file);
  } else if (locked || (fd < 0 && errno == ENOENT)) error = file_open(file); /* somebody else was faster */
  if (fd >= 0) close(fd);
  if (file->fd < 0) fail(file, error);
  else if (error) stuck(file, error);
  else if (locked) file->stuck_ms = 0;
}

/* Whether the first line is too old. A clock that was ahead and came back counts from where it is now. */
static bool too_old(etk_log_file *file, int64_t now_ms) {
  if (file->max_age_ms <= 0 || file->first_ms == INT64_MAX) return false;
  if (file->first_ms > now_ms) file->first_ms = now_ms;
  return now_ms - file->first_ms > file->max_age_ms;
}

/* ---- writing ---- */

/* Links, mode and size of what fd is open on. Not by fstat(2): since Linux 6.13 asking for a file's times makes the next write to it twice as dear
 * (multigrain timestamps; 1.6 us instead of 0.95 for both on ext4). */
static bool refresh(etk_log_file *file) {
#if defined(__linux__) && defined(STATX_NLINK)
  struct statx now;
  if (statx(file->fd, "", AT_EMPTY_PATH, STATX_NLINK | STATX_MODE | STATX_SIZE, &now)) return false;
  file->info.st_nlink = now.stx_nlink;
  file->info.st_mode = (file->info.st_mode & S_IFMT) | (now.stx_mode & 07777);
  file->info.st_size = (off_t)now.stx_size;
  return true;
#else
  return fstat(file->fd, &file->info) == 0;
#endif
}

static bool is_live(const struct stat *info) { return info->st_nlink > 0 && info->st_mode & WRITABLE; }

/* One write. False: the line is not in a file that has a name; *error says why, 0: that file is gone and the path is open anew. */
static bool append(etk_log_file *file, const char *bytes, size_t size, int *error) {
  size_t wanted = size + (file->torn ? 1 : 0);
  struct iovec parts[2] = {{(void *)(uintptr_t) "\n", 1}, {(void *)(uintptr_t)bytes, size}};
  ssize_t wrote;
  do wrote = file->torn ? writev(file->fd, parts, 2) : write(file->fd, bytes, size);
  while (wrote < 0 && errno == EINTR);
  *error = wrote < 0 ? errno : (size_t)wrote < wanted ? ENOSPC : 0;
  if (*error) return false;
  file->torn = false;
  if (!S_ISREG(file->info.st_mode)) return true;
  bool sealed = !(file->info.st_mode & WRITABLE); /* already when it was opened: somebody's odd permissions */
  if (!refresh(file)) return true;
  if (is_live(&file->info) || (sealed && file->info.st_nlink)) return true;
  bool kept = file->info.st_nlink > 0;
  *error = file_open(file);
  return kept && !*error;
}

/* Another program may have moved the file away, or its folder. */
static int look_again(etk_log_file *file, int64_t now_ms) {
  struct stat info;
  int64_t since = now_ms - file->looked_ms;
  if (since >= 0 && since < LOOK_MS) return 0;
  file->looked_ms = now_ms;
  if (!stat(file->path, &info) && same_file(&info, &file->info)) return 0;
  return file_open(file);
}

static void write_line(etk_log_file *file, const char *bytes, size_t size, int64_t now_ms) {
  bool by_age = false;
  int error = look_again(file, now_ms);
  if (!error && S_ISREG(file->info.st_mode) && ((by_age = too_old(file, now_ms)) || too_large(file, &file->info, size)) &&
      (!file->stuck_ms || etk__log_steady_ms() - file->stuck_ms >= RETRY_MS)) {
    rotate(file, size, by_age);
    if (file->fd < 0) return;
  }
  for (int attempt = 0; !error && attempt < 3; attempt++) {
    if (append(file, bytes, size, &error)) {
      if (file->first_ms == INT64_MAX) file->first_ms = now_ms;
      file->failing = file->told = false;
      return;
    }
  }
  fail(file, error ? error : EIO);
}

/* A file that fails rests for a minute; the first line after it tells how many are missing. */
static bool ready(etk_log_file *file, int64_t now_ms) {
  static char line[ETK__LOG_LINE];
  char text[96];
  if (!file->failing) return true;
  if (etk__log_steady_ms() - file->failed_ms < RETRY_MS) {
    file->lost++;
    return false;
  }
  int error = file_open(file);
  if (error) {
    fail(file, error);
    return false;
  }
  uint64_t lost = file->lost;
  snprintf(text, sizeof text, "%" PRIu64 " line%s missing here: the log could not be written", lost, lost == 1 ? " is" : "s are");
  write_line(file, line, etk__line_format(line, file->format, ETK_LOG_WARNING, now_ms, text, NULL, 0), now_ms);
  if (file->failing) return false;
  file->lost = 0;
  return true;
}

void etk__log_files_event(etk_log_level level, int64_t unix_ms, const char *message, const etk_log_field *fields, size_t count) {
  size_t sizes[2] = {0, 0};
  pthread_mutex_lock(&lock);
  for (etk_log_file *file = files; file; file = file->next) {
    if (level < file->level || !ready(file, unix_ms)) continue;
    if (!sizes[file->format]) sizes[file->format] = etk__line_format(buffers[file->format], file->format, level, unix_ms, message, fields, count);
    write_line(file, buffers[file->format], sizes[file->format], unix_ms);
  }
  pthread_mutex_unlock(&lock);
}

static bool take_problem(etk_log_file *file, etk_error *e) {
  if (!file->problem.status) return false;
  if (e) *e = file->problem;
  etk_error_clear(&file->problem);
  return true;
}

bool etk__log_files_problem(etk_error *e) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (etk_log_file *file = files; file && !found; file = file->next) found = take_problem(file, e);
  pthread_mutex_unlock(&lock);
  return found;
}

etk_status etk_log_file_event(etk_error *e, etk_log_file *file, etk_log_level level, const char *message, const etk_log_field *fields, size_t count) {
  if ((int)level < 0 || level >= ETK_LOG_OFF || level < file->level) return ETK_OK;
  char text[ETK__LOG_MESSAGE];
  etk_error problem = ETK_ERROR_INIT;
  snprintf(text, sizeof text, "%s", message ? message : "");
  etk_log_redact(text);
  int64_t now_ms = etk__log_wall_ms();
  pthread_mutex_lock(&lock);
  if (ready(file, now_ms)) {
    char *line = buffers[file->format];
    write_line(file, line, etk__line_format(line, file->format, level, now_ms, text, fields, count), now_ms);
  }
  take_problem(file, &problem);
  pthread_mutex_unlock(&lock);
  if (problem.status && e) *e = problem;
  return problem.status;
}

/* ---- beginning and end ---- */

/* Under lock. */
static void levels_changed(void) {
  etk_log_level least = ETK_LOG_OFF;
  for (const etk_log_file *file = files; file; file = file->next)
    if (file->level < least) least = file->level;
  etk__log_files_changed(least);
}

#define HAS(o, field) ((o)->struct_size >= offsetof(etk_log_file_options, field) + sizeof((o)->field))

static etk_status check(etk_error *e, const etk_log_file_options *o) {
  if (!HAS(o, level)) return etk_fail(e, ETK_E_INVALID, "etk_log_file_options.struct_size is %u, wanted sizeof(etk_log_file_options)", o->struct_size);
  if (!o->path || !*o->path) return etk_fail(e, ETK_E_INVALID, "a log file wants a path");
  if (o->format != ETK_LOG_JSON && o->format != ETK_LOG_PLAIN) return etk_fail(e, ETK_E_INVALID, "log %s: there is no format %d", o->path, o->format);
  if ((int)o->level < 0 || o->level > ETK_LOG_OFF) return etk_fail(e, ETK_E_INVALID, "log %s: there is no level %d", o->path, o->level);
  if (HAS(o, max_age_s) && (o->max_age_s < 0 || o->max_age_s > INT64_MAX / 1000))
    return etk_fail(e, ETK_E_INVALID, "log %s: an age of %" PRId64 " s is out of range", o->path, o->max_age_s);
  if (HAS(o, keep) && (o->keep < 0 || o->keep > KEEP_MOST))
    return etk_fail(e, ETK_E_INVALID, "log %s: cannot keep %d rotated files (0 to %d)", o->path, o->keep, KEEP_MOST);
  return ETK_OK;
}

etk_status etk_log_file_open(etk_error *e, etk_log_file **out, const etk_log_file_options *options) {
  *out = NULL;
  etk_status status = check(e, options);
  if (status) return status;
  etk_log_file *file = etk_calloc(1, sizeof *file);
  if (file) file->path = etk_strdup(options->path);
  if (!file || !file->path) {
    etk_free(file);
    return etk_fail_memory(e);
  }
  file->fd = -1;
  file->format = options->format;
  file->level = options->level;
  int64_t bytes = HAS(options, max_bytes) ? options->max_bytes : 0;
  file->max_bytes = bytes == 0 ? INT64_C(10) << 20 : bytes < 0 ? 0 : bytes;
  file->max_age_ms = HAS(options, max_age_s) ? options->max_age_s * 1000 : 0;
  file->keep = HAS(options, keep) && options->keep ? options->keep : 5;
  file->looked_ms = etk__log_wall_ms();
  int error = file_open(file);
  if (error) {
    status = etk_fail_errno(e, error, "cannot open the log %s%s", options->path, error == EINVAL ? " (it is not a regular file)" : "");
    etk_free(file->path);
    etk_free(file);
    return status;
  }
  pthread_mutex_lock(&lock);
  file->next = files;
  files = file;
  levels_changed();
  pthread_mutex_unlock(&lock);
  *out = file;
  return ETK_OK;
}

void etk_log_file_close(etk_log_file *file) {
  if (!file) return;
  pthread_mutex_lock(&lock);
  for (etk_log_file **p = &files; *p; p = &(*p)->next)
    if (*p == file) {
      *p = file->next;
      break;
    }
  levels_changed();
  pthread_mutex_unlock(&lock);
  file_close(file);
  etk_free(file->path);
  etk_free(file);
}

void etk_log_context(const char *key, const char *value) {
  if (!key) return;
  pthread_mutex_lock(&lock);
  etk__line_context(key, value);
  pthread_mutex_unlock(&lock);
}
