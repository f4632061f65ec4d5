/* report.h: everything the host says: errors, warnings, documents. Data goes to stdout, conversation to stderr. */
#ifndef REPORT_H
#define REPORT_H

#include "host.h"

/* "warning: …" and plain lines on stderr; --quiet keeps notes back. */
void host_warn(struct host *host, const char *format, ...) ETK_PRINTF(2, 3);
void host_note(struct host *host, const char *format, ...) ETK_PRINTF(2, 3);
/* safe.c: what others wrote, for a person's screen: control characters but those in `keep`, and bytes that are no UTF-8, are shown as \x1b and \u009b.
 * Messages, tables and results always go through it; text that a command streams where standard output is a terminal. */
void safe_text(etk_text *out, const char *text, size_t size, const char *keep);
void safe_put(FILE *stream, const char *text); /* keeps line ends and tabs */
char *safe_copy(const char *text, const char *keep); /* etk_free; NULL: out of memory */
/* Where documents and events go: standard output, also after host_keep_data. */
FILE *host_data(const struct host *host);
/* Under --json and --jsonl standard output is a promise: from here on what plugin code prints there goes to standard error. */
void host_keep_data(struct host *host);
/* First of all: standard streams that are closed are opened so that reading and writing fail as they would have. */
void host_keep_streams(void);
/* Columns of the terminal that stdout is; 0: it is none, so nothing is cut or folded. */
int terminal_width(void);
/* Text on standard output, folded at blanks so that it fits between `indent` and the edge of the terminal; its first line begins at column `at`. A word that is
 * longer than a line is not torn. Ends without a newline. */
void print_folded(const char *text, size_t at, size_t indent);
/* Routes etk_log to stderr by --quiet and --verbose. */
void host_log_start(struct host *host);

/* The parts of the one document; NULL parts are null, {} or [] as the schema says. */
struct document {
  const char *name_space, *command, *status, *run, *results_json, *artifacts_json, *hint;
  double duration_ms; /* negative: since host->started_ns */
  const etk_error *error;
};
/* One line without a newline. `event`: begin with "event":"end", as the last line of --jsonl. */
void document_write(etk_text *out, const struct host *host, const struct document *document, bool event);
void document_print(struct host *host, const struct document *document);
void put_json(etk_text *out, const char *text); /* NULL is null */

#define STYLE_BOLD "\033[1m"
#define STYLE_DIM "\033[2m"
#define STYLE_RED "\033[31m"
#define STYLE_YELLOW "\033[33m"
#define STYLE_RESET "\033[0m"

#endif
