/* log_reader.h: what was logged, read back as a stream in the order of time: the process log with its rotated files, and the log.jsonl of runs, of which
 * the process log lacks debug lines and what is older than its first line. */
#ifndef LOG_READER_H
#define LOG_READER_H

#include "log_files.h"

#include <jansson.h>

/* A file in <state>/logs. */
struct log_name {
  char *path;
  int number;        /* 0: the live one; .1, .2 …; -1: an archive */
  int64_t bytes, modified_s;
};
struct log_names {
  struct log_name *items; /* archives by name, then rotated ones, the oldest first, then the live one */
  size_t count;
};
etk_status log_names_read(etk_error *e, struct log_names *out, struct host *host);
void log_names_free(struct log_names *names);

struct log_filter {
  int64_t since_ms, until_ms; /* INT64_MIN, INT64_MAX: open */
  int least;                  /* level; -1: any */
  const char *name_space;     /* begins with; NULL: any */
  const char *run;            /* an id, or its beginning; NULL: any */
  bool runs;                  /* read the logs of runs too */
};

struct log_entry { /* valid during the call */
  const char *text;      /* the line as it is in the file, without its newline */
  size_t size;
  int64_t unix_ms;       /* its time; of a line that has none, that of the line before; INT64_MIN where that is unknown too */
  int level;             /* -1: none */
  const json_t *json;    /* NULL: the line is not a JSON object */
  const char *run;       /* of the run's log that it is from; NULL: the process log */
};
/* Calls `each` for every line that fits, the oldest first; false stops. Memory does not grow with the logs. */
etk_status log_read(etk_error *e, struct host *host, const struct log_filter *filter, bool (*each)(void *user, const struct log_entry *entry), void *user);

/* "2h" ago, "2026-11-21" (its beginning, or with `end` its end, in UTC) or RFC 3339. */
etk_status log_time(etk_error *e, int64_t *out_ms, const char *text, bool end, int64_t now_ms);

#endif
