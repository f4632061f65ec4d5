#include "report.h"

#include "log_files.h"

#include <errno.h>
#include <etk/hardware.h>
#include <etk/log.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- conversation ---- */

static void say(const struct host *host, const char *label, const char *style, const char *format, va_list arguments) {
  if (label) fprintf(stderr, "%s%s%s ", host->err_color ? style : "", label, host->err_color ? STYLE_RESET : "");
  etk_text text = ETK_TEXT_INIT;
  etk_text_vprintf(&text, format, arguments);
  safe_put(stderr, text.failed ? "(out of memory)" : text.data ? text.data : "");
  etk_text_free(&text);
  fputc('\n', stderr);
}

void host_warn(struct host *host, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(host, "warning:", STYLE_YELLOW, format, arguments);
  va_end(arguments);
  if (!host->log) return;
  char message[ETK_ERROR_SIZE];
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  process_log_line(host, ETK_LOG_WARNING, message);
}

void host_note(struct host *host, const char *format, ...) {
  if (host->quiet) return;
  va_list arguments;
  va_start(arguments, format);
  say(host, NULL, "", format, arguments);
  va_end(arguments);
}

static void log_sink(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  const struct host *host = user;
  (void)unix_ms;
  const char *style = !host->err_color ? "" : level >= ETK_LOG_ERROR ? STYLE_RED : level == ETK_LOG_WARNING ? STYLE_YELLOW : STYLE_DIM;
  fprintf(stderr, "%s%s:%s ", style, etk_log_level_name(level), *style ? STYLE_RESET : "");
  safe_put(stderr, message);
  fputc('\n', stderr);
}

void host_log_start(struct host *host) {
  etk_log_set_sink(log_sink, host);
  etk_log_set_level(host->verbose > 1 ? ETK_LOG_DEBUG : host->verbose ? ETK_LOG_INFO : host->quiet ? ETK_LOG_ERROR : ETK_LOG_WARNING);
}

int terminal_width(void) {
  struct winsize size;
  return isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) ? size.ws_col : 0;
}

/* ---- documents ---- */

/* A descriptor that is closed would be taken by the next file that is opened, and the answer written into it. */
void host_keep_streams(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free one: fd; it stays useless */
}

FILE *host_data(const struct host *host) { return host->data ? host->data : stdout; }

void host_keep_data(struct host *host) {
  if (host->data || !(host->json || host->jsonl)) return;
  fflush(stdout);
  int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  FILE *data = fd >= 0 ? fdopen(fd, "w") : NULL;
  if (data && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0) host->data = data;
  else if (data) fclose(data);
  else if (fd >= 0) close(fd);
}

void put_json(etk_text *out, const char *text) {
  if (text) etk_text_json(out, text, strlen(text));
  else etk_text_puts(out, "null");
}

void document_write(etk_text *out, const struct host *host, const struct document *document, bool event) {
  double ms = document->duration_ms >= 0 ? document->duration_ms : (double)(etk_time_ns() - host->started_ns) / 1e6;
  etk_text_printf(out, "{%s\"schema_version\":1,\"namespace\":", event ? "\"event\":\"end\"," : "");
  put_json(out, document->name_space);
  etk_text_puts(out, ",\"command\":");
  put_json(out, document->command);
  etk_text_puts(out, ",\"status\":");
  put_json(out, document->status);
  etk_text_puts(out, ",\"run\":");
  put_json(out, document->run);
  etk_text_printf(out, ",\"duration_ms\":%.3f,\"results\":", ms < 0 ? 0.0 : ms);
  etk_text_puts(out, document->results_json ? document->results_json : "{}");
  etk_text_puts(out, ",\"artifacts\":");
  etk_text_puts(out, document->artifacts_json ? document->artifacts_json : "[]");
  etk_text_puts(out, ",\"error\":");
  if (!document->error || !document->error->status) {
    etk_text_puts(out, "null}");
    return;
  }
  etk_text_printf(out, "{\"code\":%d,\"name\":", document->error->status);
  put_json(out, etk_status_name(document->error->status));
  etk_text_puts(out, ",\"message\":");
  put_json(out, document->error->message);
  if (document->hint) {
    etk_text_puts(out, ",\"hint\":");
    put_json(out, document->hint);
  }
  etk_text_puts(out, "}}");
}

/* What remains to be said when even the document could not be made. */
#define NO_MEMORY_DOCUMENT                                                                                                                           \
  "{\"schema_version\":1,\"namespace\":null,\"command\":null,\"status\":\"failed\",\"run\":null,\"duration_ms\":0,\"results\":{},\"artifacts\":[],"  \
  "\"error\":{\"code\":11,\"name\":\"out of memory\",\"message\":\"out of memory while writing the answer\"}}"

void document_print(struct host *host, const struct document *document) {
  etk_text text = ETK_TEXT_INIT;
  document_write(&text, host, document, host->jsonl);
  fputs(text.failed || !text.data ? NO_MEMORY_DOCUMENT : text.data, host_data(host));
  fputc('\n', host_data(host));
  etk_text_free(&text);
}

void host_print_document(struct host *host, const char *command, const char *status, const char *results_json, const etk_error *error) {
  struct document document = {.command = command, .status = status, .results_json = results_json, .duration_ms = -1, .error = error};
  document_print(host, &document);
}

int host_error(struct host *host, const etk_error *error, int exit_code, const char *hint) {
  if (!exit_code) exit_code = etk_status_exit_code(error->status);
  process_log_line(host, ETK_LOG_ERROR, error->message);
  if (host->json || host->jsonl) {
    struct document document = {.name_space = host->name_space, .command = host->command, .duration_ms = -1, .error = error, .hint = hint,
                                .status = error->status == ETK_E_CANCELLED ? "cancelled" : "failed"};
    document_print(host, &document);
    return exit_code;
  }
  fflush(stdout);
  fprintf(stderr, "%s%s:%s ", host->err_color ? STYLE_RED : "", host->program, host->err_color ? STYLE_RESET : "");
  safe_put(stderr, error->message);
  fputc('\n', stderr);
  if (hint) safe_put(stderr, hint);
  if (hint && (!hint[0] || hint[strlen(hint) - 1] != '\n')) fputc('\n', stderr);
  return exit_code;
}

/* A stream keeps that a write failed, but not why: asked of the descriptor, without writing a byte. */
static int why_broken(FILE *stream) {
  int fd = fileno(stream), flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return EBADF;
  struct pollfd end = {.fd = fd, .events = POLLOUT};
  struct stat info;
  struct statvfs space;
  struct rlimit limit;
  if (fstat(fd, &info)) return errno;
  if (!S_ISREG(info.st_mode)) {
    if (poll(&end, 1, 0) > 0 && end.revents & (POLLERR | POLLHUP)) return S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) ? EPIPE : EIO;
    return write(fd, "", 0) < 0 ? errno : EIO; /* /dev/full refuses even nothing */
  }
  if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && (uint64_t)info.st_size >= limit.rlim_cur) return EFBIG;
  return !fstatvfs(fd, &space) && space.f_bavail < 16 ? ENOSPC : EIO;
}

int host_flush(struct host *host, int exit_code) {
  FILE *data = host_data(host);
  if (data != stdout) fflush(stdout);
  if (ferror(data) && !host->write_error) host->write_error = why_broken(data);
  if (fflush(data) && !host->write_error) host->write_error = errno;
  clearerr(data);
  if (!host->write_error) return exit_code;
  return host->write_error == EPIPE ? 128 + SIGPIPE : exit_code ? exit_code : 1;
}

int host_finish(struct host *host, int exit_code) {
  exit_code = host_flush(host, exit_code);
  if (host->write_error == EPIPE) { /* the reader went away, as `head` does: end as quietly as the signal would have made us */
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
  } else if (host->write_error) {
    fprintf(stderr, "%s: the answer could not be written to standard output: %s\n", host->program, strerror(host->write_error));
  }
  return exit_code;
}
