/* etk/log.h: levelled log lines to one process-wide sink. Nothing is formatted below the threshold. Thread-safe. */
#ifndef ETK_LOG_H
#define ETK_LOG_H

#include "status.h"
#include <stdbool.h>
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
/* Replaces secrets in place: Bearer tokens, api_key=…, password: …, token=… in any case; returns how many. */
int etk_log_redact(char *message);

#ifdef __cplusplus
}
#endif
#endif
