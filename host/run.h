/* run.h: one call of a command: what etk_run is behind the ABI. */
#ifndef RUN_H
#define RUN_H

#include "record.h"
#include "resolve.h"
#include "results.h"

#include <etk/progress.h>
#include <etk/project.h>
#include <pthread.h>

struct artifact {
  char *path, *type;
};
struct run {
  etk_run base; /* first: what the plugin sees */
  struct host *host;
  const struct plugin *plugin;
  const struct resolved *resolved;
  struct record *record; /* NULL: untracked, or it cannot be written */
  const char *data_dir;
  const char *work_dir;  /* stands for the run's folder where there is no record; NULL: none */
  pthread_mutex_t lock;  /* everything below, the record and both streams */
  etk_error failure;     /* why, by the plugin's word; the first stays */
  struct results results;
  struct artifact *artifacts;
  size_t artifact_count, artifact_capacity;
  bool text_shown, line_open; /* text was streamed; it did not end with a newline */
  char tail[4];          /* the beginning of a character that the next piece of text ends (--jsonl) */
  size_t tail_size;
  etk_progress progress;
  bool progress_used, short_of_memory;
};

/* services.c: the table behind etk_run, and the run that etk_log lines go to. */
extern const etk_host host_services;
void services_start(struct run *run);
void services_stop(struct run *run); /* ends the progress line, writes what is held back */
void services_log(struct run *run, int level, const char *message);

/* The folder of a plugin's own data, in host->arena; NULL: out of memory. */
const char *plugin_data_dir(struct host *host, const struct plugin *plugin);

/* run.c: loads the plugin, calls the command, records and prints. Returns the exit code. argv: the whole command line, for the record. */
int run_command(struct host *host, const struct plugin *plugin, const struct manifest *manifest, const struct resolved *resolved, int argc, char **argv);

/* run_json.c: the documents of a run. */
struct run_end {
  const char *status; /* running, ok, failed, cancelled */
  int exit_code;
  int64_t started_ms, wall_ns, cpu_ns;
  const etk_error *error;
};
void run_json(etk_text *out, struct run *run, const struct run_end *end, int argc, char **argv);
/* Both forms of the artifacts: an array for documents, lines for artifacts.jsonl. Files are hashed, folders file by file. */
void run_artifacts(struct run *run, etk_text *array, etk_text *lines);
void values_json(etk_text *out, const struct resolved *resolved); /* {"lora.rank":{"value":8,"source":"config","origin":"a.yaml:3:7"}} */

/* crash.c: while plugin code runs, a fault is reported as that plugin's. */
void crash_arm(struct host *host, const char *name_space, const char *doing); /* doing: "in command train", "while it was loaded" */
void crash_record(struct record *record); /* where crash.txt and buffered metrics go; NULL: nowhere */
void crash_disarm(void);

/* signals.c: the first Ctrl-C asks, the second ends. */
void cancel_arm(struct host *host);
void cancel_disarm(void);
bool cancel_asked(void);

#endif
