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

/* A sink gets one complete message (UTF-8, no newline), with its fields but not the context. What it logs itself goes to files only. */
typedef void (*etk_log_sink)(void *user, etk_log_level level, int64_t unix_ms, const char *message);
void etk_log_set_sink(etk_log_sink sink, void *user); /* NULL restores the default: "warning: …" lines on stderr */
void etk_log_set_level(etk_log_level level);          /* of the sink; default ETK_LOG_WARNING */
etk_log_level etk_log_get_level(void);
void etk_log_write(etk_log_level level, const char *format, ...) ETK_PRINTF(2, 3);
etk_log_level etk_log_threshold(void); /* the least level that the sink or any file wants */
#define etk_log(level, ...) ((level) >= etk_log_threshold() ? etk_log_write((level), __VA_ARGS__) : (void)0)
const char *etk_log_level_name(etk_log_level level); /* "debug" "info" "warning" "error" */
/* Replaces secrets in place; returns how many. By their key, in any case, nested, quoted, inside JSON text and on command lines (api_key=…, "db.password":
 * …, --token …, headers that carry credentials), by their scheme (Bearer …, Basic …, user:password@ in URLs), and by their look (hf_…, sk-…, ghp_…, JWTs,
 * private keys). A second call finds nothing more. */
int etk_log_redact(char *message);
bool etk_log_secret_key(const char *key); /* "api_key", "Authorization", "db.password", "HF_TOKEN" … */

/* ---- fields and context ---- */
typedef struct etk_log_field {
  const char *name;
  int kind;        /* ETK_LOG_FIELD_TEXT … */
  const char *text;
  int64_t integer;
  double real;
} etk_log_field;
enum { ETK_LOG_FIELD_TEXT = 0, ETK_LOG_FIELD_INT = 1, ETK_LOG_FIELD_REAL = 2, ETK_LOG_FIELD_FLAG = 3 };
/* A line with fields: etk_log_event(ETK_LOG_INFO, "epoch done", fields, 2). The message is not a format. A field named as one of the line's own
 * (timestamp, level, message, cut) or as a key of the context gets a '_' behind its name. */
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
#define ETK_LOG_FILE_OPTIONS_INIT {sizeof(etk_log_file_options), 0, ETK_LOG_JSON, ETK_LOG_INFO, 0, 0, 0}
typedef struct etk_log_file etk_log_file;
/* From here on every line at or above its level goes there too (one write(2) a line). A file that cannot be written any more (disk full, folder gone)
 * is left alone after one warning to the sink, and tried again after a minute: logging never fails the work. A file that another process, or logrotate,
 * renamed is noticed and the path opened anew. Who renames or removes rotated files holds flock(2) LOCK_EX on the live file meanwhile. Rotated files are
 * read-only. */
etk_status etk_log_file_open(etk_error *e, etk_log_file **out, const etk_log_file_options *options);
/* A line to this file only, for what the sink has said already. Fails once when the file breaks (e says why), and again after it worked in between. */
etk_status etk_log_file_event(etk_error *e, etk_log_file *file, etk_log_level level, const char *message, const etk_log_field *fields, size_t count);
void etk_log_file_close(etk_log_file *file);

#ifdef __cplusplus
}
#endif
#endif
