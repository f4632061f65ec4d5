/* shell_history.c: one line a command in a file that only its owner may read. Several sessions may append to it. */
#include "shell_session.h"

#include <errno.h>
#include <etk/fs.h>
#include <etk/log.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_LIMIT (4u << 20)
enum { LINE_MOST = 8192 };

/* The last `keep` lines of the text. */
static const char *tail(const char *text, size_t size, size_t keep) {
  const char *p = text + size;
  if (p > text) p--; /* the last newline ends a line */
  while (p > text)
    if (p[-1] == '\n' && !--keep) break;
    else p--;
  return p;
}

static etk_status open_own(etk_error *e, int *fd, const char *path, int flags) {
  *fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (*fd < 0) return etk_fail_errno(e, errno, "cannot open the history '%s'", path);
  struct stat info;
  if (!fstat(*fd, &info) && info.st_uid == getuid() && info.st_mode & 077) fchmod(*fd, 0600);
  return ETK_OK;
}

static etk_status cut(etk_error *e, const char *path, const char *text, size_t size) {
  mode_t mask = umask(077);
  etk_status status = etk_fs_write(e, path, text, size, true);
  umask(mask);
  return status;
}

etk_status history_read(etk_error *e, const char *path, void (*use)(void *user, const char *line), void *user) {
  char *text;
  size_t size, lines = 0;
  if (!etk_fs_exists(path)) return ETK_OK;
  etk_status status = etk_fs_read(e, &text, &size, path, FILE_LIMIT);
  if (status) return status;
  for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
  const char *from = tail(text, size, HISTORY_MOST);
  if (lines > 2 * HISTORY_MOST) status = cut(e, path, from, (size_t)(text + size - from));
  for (char *p = text + (from - text); *p;) {
    size_t length = strcspn(p, "\n");
    bool whole = p[length] == '\n';
    p[length] = '\0';
    if (length && length < LINE_MOST) use(user, p);
    p += length + whole;
  }
  etk_free(text);
  return status;
}

etk_status history_add(etk_error *e, const char *path, const char *line) {
  char *folder = etk_path_dir(path);
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "%s\n", line);
  int fd = -1;
  etk_status status = folder && !text.failed ? etk_fs_make_dirs(e, folder) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory while keeping a line");
  if (!status) status = open_own(e, &fd, path, O_WRONLY | O_APPEND | O_CREAT);
  if (!status && write(fd, text.data, text.size) != (ssize_t)text.size) status = etk_fail_errno(e, errno, "cannot write the history '%s'", path);
  if (fd >= 0) close(fd);
  etk_text_free(&text);
  etk_free(folder);
  return status;
}

/* "--api-key", "--api-key=x", "hub.token=x": what stands before '=' may name a secret. */
static bool names_secret(const char *word) {
  char key[128];
  word += strspn(word, "-");
  size_t size = strcspn(word, "=");
  if (!size || size >= sizeof key) return false;
  snprintf(key, sizeof key, "%.*s", (int)size, word);
  for (char *p = key; *p; p++)
    if (*p == '-') *p = '_';
  return etk_log_secret_key(key);
}

static bool words_hold_secret(const char *line) {
  struct shell_words split;
  bool found = shell_split(NULL, &split, line, strlen(line), false) != ETK_OK;
  for (size_t i = 0; i < split.count && !found; i++) found = (split.words[i][0] == '-' || strchr(split.words[i], '=')) && names_secret(split.words[i]);
  shell_words_free(&split);
  return found;
}

bool history_wants(const char *line) {
  if (!*line || *line == ' ' || strlen(line) >= LINE_MOST || strchr(line, '\n')) return false;
  char *copy = etk_strdup(line);
  bool secret = !copy || etk_log_redact(copy) != 0;
  etk_free(copy);
  return !secret && !words_hold_secret(line);
}
