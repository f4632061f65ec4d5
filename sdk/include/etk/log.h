/* etk/log.h: levelled log lines with fields, to process-wide sinks: one for people, and log files with rotation. Nothing is formatted below the
 * thresholds. Thread-safe; several processes may write one log file.
 *
 * A line of a JSON log: {"timestamp":"2026-11-21T04:49:02.123Z","level":"info","message":"…","run":"…",<context>,<fields>}; of a text log:
 * "2026-11-21T04:49:02.123Z info    message run=… field=value". Values are redacted by the name of their key and by what they look like. */
#ifndef ETK_LOG_H
#define ETK_LOG_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_log_level { ETK_LOG_DEBUG = 0, ETK_LOG_INFO = 1, ETK_LOG_WARNING = 2, ETK_LOG_ERROR = 3, ETK_LOG_OFF = 4 } etk_log_level;

/* A sink gets one complete message (UTF-8, no newline). It must not log. */
typedef void (*etk_log_sink)(void *user, etk_log_level level, int64_t unix_ms, const char *message);
void etk_log_set_sink(etk_log_sink sink, void *user); /* NULL restores the default: "warning: …" lines on stderr */
void etk_log_set_level(etk_log_level level);          /* default ETK_LOG_WARNING */
etk_log_level etk_log_get_level(void);
void etk_log_write(etk_log_level level, const char *format, ...) ETK_PRINTF(2, 3);
#define etk_log(level, ...) ((level) >= etk_log_get_level() ? etk_log_write((level), __VA_ARGS__) : (void)0)
const char *etk_log_level_name(etk_log_level level); /* "debug" "info" "warning" "error" */
/* Replaces secrets in place: Bearer tokens, api_key=…, password: …, token=… in any case, also inside JSON text and nested keys; returns how many. */
int etk_log_redact(char *message);
bool etk_log_secret_key(const char *key); /* "api_key", "Authorization", "db.password", "HF_TOKEN" … */

/* ---- fields and context ---- */
typedef struct etk_log_field {
  const char *name;
  int kind;        /* ETK_LOG_TEXT … */
  const char *text;
  int64_t integer;
  double real;
} etk_log_field;
enum { ETK_LOG_TEXT = 0, ETK_LOG_INT = 1, ETK_LOG_REAL = 2, ETK_LOG_FLAG = 3 };
/* A line with fields: etk_log_event(ETK_LOG_INFO, "epoch done", fields, 2). The message is not a format. */
void etk_log_event(etk_log_level level, const char *message, const etk_log_field *fields, size_t count);
/* Context that every later line of this process carries: run, namespace, command, hardware. At most 16 keys of 32 and values of 200 bytes, cut beyond;
 * NULL removes the key. */
void etk_log_context(const char *key, const char *value);

/* ---- files ---- */
typedef enum etk_log_format { ETK_LOG_JSON, ETK_LOG_PLAIN } etk_log_format;
typedef struct etk_log_file_options {
  uint32_t struct_size;
  const char *path;       /* its folder is made */
  etk_log_format format;
  etk_log_level level;    /* of this file */
  int64_t max_bytes;      /* a file that would grow beyond is renamed to <path>.1, .1 to .2, …; 0: 10 MiB; negative: never */
  int64_t max_age_s;      /* … also when its first line is older; 0: never. A clock that jumps back does not rotate. */
  int keep;               /* rotated files kept; 0: 5 */
} etk_log_file_options;
typedef struct etk_log_file etk_log_file;
/* From here on every line at or above its level goes there too (one write(2) a line). A file that cannot be written any more (disk full, folder gone)
 * is left alone after one warning to the sink, and tried again after a minute: logging never fails the work. */
etk_status etk_log_file_open(etk_error *e, etk_log_file **out, const etk_log_file_options *options);
void etk_log_file_close(etk_log_file *file);

#ifdef __cplusplus
}
#endif
#endif
