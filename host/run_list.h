/* run_list.h: recorded runs, read back. The files are the truth: nothing is kept beside them. */
#ifndef RUN_LIST_H
#define RUN_LIST_H

#include "host.h"

#include <jansson.h>

struct run_entry {
  char id[64];
  char *dir;
  json_t *json;       /* run.json; NULL until run_read, or where it cannot be read */
  const char *status; /* ok, failed, cancelled, running, crashed, unreadable */
  char reason[256];   /* why it crashed; "": it did not */
  bool told;          /* the reason is from crash.txt */
};
struct run_list {
  struct run_entry *items; /* newest first */
  size_t count;
};
/* Every run folder by name; no file is opened. A state folder that is not there holds none. */
etk_status run_list_read(etk_error *e, struct run_list *out, struct host *host);
void run_list_free(struct run_list *list);
/* Reads run.json once. "running" becomes "crashed" where the process is gone, or is another one with the same number. */
void run_read(struct run_entry *entry);
/* "latest", an id, or the unique beginning or end of one. */
etk_status run_find(etk_error *e, struct run_entry **out, struct run_list *list, const char *id);

/* metrics.jsonl and artifacts.jsonl: each whole line that is a JSON object; what a crash cut is left out. */
etk_status run_lines(etk_error *e, json_t **out, const struct run_entry *entry, const char *file);
/* One row for each metric name: count, the last step and value, and the least and the greatest value. */
struct metric_summary {
  const char *name; /* borrowed from the lines */
  size_t count;
  int64_t last_step;
  double last, least, greatest;
};
size_t metrics_summary(struct metric_summary *out, size_t most, const json_t *lines);

void json_write(etk_text *out, const json_t *json);    /* compact, numbers in their shortest form */
void json_show(etk_text *out, const json_t *json);     /* for a person: text bare, reals with six digits */
const char *json_text(const json_t *object, const char *key); /* "" where there is no text */

#endif
