/* record.h: the folder of one run: <state>/runs/<YYYY-MM>/<id>/ with run.json, metrics.jsonl, artifacts.jsonl and log.jsonl. Written by run_files.c.
 * A record that can no longer be written (disk full) warns once and stays quiet; the work goes on. */
#ifndef RECORD_H
#define RECORD_H

#include "host.h"

/* $EFFICIENTAI_STATE_DIR, else $XDG_STATE_HOME/efficientai-toolkit; in host->arena. */
const char *state_dir(etk_error *e, struct host *host);
/* When a process began, in clock ticks since the machine did (/proc/<pid>/stat); 0: not known here. With the pid it names a process for good. */
uint64_t process_started(long pid);

struct record {
  struct host *host;
  char id[40];      /* "20261121T044902Z-3xkq2a": sorts by time */
  char dir[4096];
  int metrics, log, crash; /* descriptors; -1: not open */
  bool broken;
  char *buffer;     /* metric lines not yet written */
  size_t used;
  int64_t window_ns; /* see record_metric */
  int window_writes;
};

/* Makes the folder. On failure warns and leaves *out NULL: the command runs without a record. */
void record_open(struct record **out, struct host *host);
void record_run_json(struct record *record, const char *json, size_t size);
/* A value that is not finite is written as null. Lines of a burst are gathered; record_flush writes them. */
void record_metric(struct record *record, const char *name, int64_t step, double value);
void record_log(struct record *record, int level, const char *message); /* redacted by the caller */
void record_artifacts(struct record *record, const char *lines, size_t size);
void record_flush(struct record *record);
void record_close(struct record *record); /* removes an empty crash.txt; frees */
/* Async-signal-safe: what the buffer holds goes out. */
void record_flush_in_signal(struct record *record);

int64_t unix_ms(void);
int64_t floor_div(int64_t value, int64_t by); /* towards the past, also before 1970 */
/* The id of a run that begins then, and the folder it is in. */
void run_id_at(char *out, size_t size, char month[8], int64_t ms);
/* "2026-11-21T04:49:02.123Z" into at least 32 bytes; beyond the years 0000 to 9999 their first or last moment. Async-signal-safe. */
const char *iso_time(char *out, size_t size, int64_t ms);

/* git.c: the commit of the work tree that holds `dir`, read from its files; false where there is none. */
struct git_state {
  char commit[65];
  char branch[256]; /* "" when detached */
};
bool git_read(struct git_state *out, const char *dir);

#endif
