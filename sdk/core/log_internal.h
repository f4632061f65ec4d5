/* log_internal.h: what the files of log share. Not installed. */
#ifndef ETK_LOG_INTERNAL_H
#define ETK_LOG_INTERNAL_H

#include "etk/log.h"

enum { ETK__LOG_MESSAGE = 8192, ETK__LOG_LINE = 24576 };

/* The time of day, and one that never jumps, in ms; NULL brings the system's back. For tests: set while nothing logs. */
void etk__log_set_clock(int64_t (*wall_ms)(void), int64_t (*steady_ms)(void));
int64_t etk__log_wall_ms(void);
int64_t etk__log_steady_ms(void);

/* ---- log_line.c: everything here is called under the files' lock ---- */
void etk__line_context(const char *key, const char *value);
/* One line with its newline, at most ETK__LOG_LINE bytes; fields that do not fit are left out and "cut":true says so. The message is redacted already,
 * fields are redacted here. */
size_t etk__line_format(char *out, etk_log_format format, etk_log_level level, int64_t unix_ms, const char *message, const etk_log_field *fields,
                        size_t count);
/* " name=value …" for people, redacted, appended to out. */
void etk__line_fields(char *out, size_t out_size, const etk_log_field *fields, size_t count);
/* The time at the beginning of a line of either format; -1: there is none. */
int64_t etk__line_time(const char *line, size_t size);

/* ---- log_file.c ---- */
/* The least level that any file wants; ETK_LOG_OFF: there is none. */
etk_log_level etk__log_files_level(void);
void etk__log_files_event(etk_log_level level, int64_t unix_ms, const char *message, const etk_log_field *fields, size_t count);
/* The next problem of a file that nobody was told of yet, written into e; false: none. */
bool etk__log_files_problem(etk_error *e);
void etk__log_files_changed(etk_log_level level); /* log.c: the files' least level is another one now */

/* ---- log_shape.c ---- */
/* The bytes of a credential that begins at p by its look (hf_…, a JWT, …), and those of its public beginning; false: none begins here. */
enum { ETK__SHAPE_LEAST = 15 }; /* none is shorter */
bool etk__shape_match(const char *p, size_t *size, size_t *keep);

#endif
