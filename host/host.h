/* host.h: the host's own options and the built-in commands. */
#ifndef HOST_H
#define HOST_H

#include "discover.h"

#include <etk/text.h>
#include <stdio.h>

enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* What the user asked of the host itself, wherever on the command line it stood; one reserved table (globals.c) fills it. */
struct host {
  const char *program;         /* how we were called, for messages: "efficientai-toolkit", or a standalone name */
  const char *standalone;      /* namespace when called through a symlink named after it, else NULL */
  bool json, jsonl, quiet, dry_run, no_run, help, help_all, version;
  int verbose;                 /* times given */
  enum color_mode color;
  const char *progress;        /* auto, bar, plain, off */
  const char *config, *profile, *remote;
  const char **sets;           /* "key=value" */
  size_t set_count;
  const char **plugin_dirs, **trust_dirs;
  size_t plugin_dir_count, trust_dir_count;
  struct search_path path;     /* ready when a built-in or command is called */
  bool out_color, err_color;   /* resolved from color, NO_COLOR, CLICOLOR_FORCE and isatty */
  etk_arena arena;             /* for the whole process */
  const char *name_space, *command; /* what was asked for, once known, for messages and documents */
  int64_t started_ns;
  int argc;                    /* the whole command line */
  char **argv;
  const struct resolved *values; /* of the built-in that runs */
  FILE *data;                  /* where documents go; NULL: stdout */
  struct etk_log_file *log;    /* the process log (log_files.h); NULL: closed */
  int write_error;             /* errno of the first write to stdout that failed */
};

/* main without the name: everything from the words to the exit code. */
int host_main(int argc, char **argv);
/* The search path, made at first use; fails only without memory or for a bad --plugin-dir. */
etk_status host_path(etk_error *e, struct host *host);
/* A namespace by its name or, but under --json, its unique beginning: the plugin and its manifest (a plugin without a note is asked in a child process). On failure says so and returns the exit
 * code. */
int host_find(struct host *host, const char *name_space, struct plugin *plugin, struct manifest *manifest);

/* Says that the namespace has no such command, and which it has; the exit code. */
int host_no_command(struct host *host, const struct manifest *manifest, const char *name);

/* One error to stderr ("efficientai-toolkit: <message>" with a hint line where given), or under --json the error document on stdout. Returns the exit
 * code of the status (127 for unknown namespaces and commands is passed by the caller as `exit_code`; 0: derive it). */
int host_error(struct host *host, const etk_error *error, int exit_code, const char *hint);
/* The document every --json answer is: {"schema_version":1,"namespace",…}. results_json: a JSON object or NULL. For built-ins namespace is null. */
void host_print_document(struct host *host, const char *command, const char *status, const char *results_json, const etk_error *error);
/* Flushes stdout and turns a failed write (disk full, closed pipe) into an exit code. */
int host_finish(struct host *host, int exit_code);
/* The first half: flushes and keeps what went wrong in host->write_error; the exit code that host_finish will give. A reader that went away (`| head`)
 * ends the process in host_finish, so what must be saved is saved in between. */
int host_flush(struct host *host, int exit_code);

/* A table on stdout: columns align by display width, numbers to the right, fit to the terminal by cutting the widest text column. */
struct table;
struct table *table_new(const char *const *headers, size_t columns);
void table_add(struct table *table, const char *const *cells); /* copied; NULL is empty */
void table_print(struct table *table, FILE *stream, bool color, int width); /* width 0: do not cut */
void table_free(struct table *table);

#endif
