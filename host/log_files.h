/* log_files.h: the process log, <state>/logs/efficientai-toolkit.jsonl: what commands of projects did, across runs. It is opened for such a command only,
 * and never with --no-run. The run's own log.jsonl has debug lines too; what is info and above is in both. */
#ifndef LOG_FILES_H
#define LOG_FILES_H

#include "host.h"

#include <etk/log.h>

#define PROCESS_LOG "efficientai-toolkit.jsonl"

/* <state>/logs, in host->arena; NULL: there is no state folder. */
const char *log_folder(etk_error *e, struct host *host);
/* Opens it. NULL, or why it stays closed, in host->arena. */
const char *process_log_open(struct host *host);
/* The line every command begins with. `run` may be NULL. */
void process_log_begin(struct host *host, const char *run);
/* A line to the file alone, of what the user was told by other ways; nothing where it is closed. */
void process_log_line(struct host *host, etk_log_level level, const char *message);
/* The line every command ends with. */
void process_log_end(struct host *host, const char *status, int exit_code, int64_t wall_ns, const char *error);
/* The same line from a signal handler or while the process exits: nothing that may not be called there. */
void process_log_died(const char *error, int exit_code, int64_t wall_ns);
void process_log_close(struct host *host);

#endif
