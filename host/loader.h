/* loader.h: dlopen and the version handshake. Each way to fail has its own message: the value seen, the value wanted, what to do. */
#ifndef LOADER_H
#define LOADER_H

#include "discover.h"

#include <etk/text.h>

struct loaded {
  void *handle; /* never closed in the product */
  const etk_project *project;
  bool initialised;
};
/* Opens with RTLD_NOW|RTLD_LOCAL, finds etk_project_v1 (and recognises other majors by their symbol), checks sizes, versions, strides, tables and
 * names against the manifest (NULL: none to compare). Does not call init. */
etk_status plugin_load(etk_error *e, struct loaded *out, const struct plugin *plugin, const struct manifest *manifest);
etk_status plugin_init(etk_error *e, struct loaded *loaded, const etk_host *host);
void plugin_deinit(struct loaded *loaded); /* if init succeeded */
/* What host->fail does with a NULL run, which is all that init has: the message becomes plugin_init's. */
void plugin_init_said(etk_status status, const char *message);

/* "SIGSEGV", or "signal 42" written to out. */
const char *signal_name(char *out, size_t size, int number);

/* Loads and handshakes in a child process, so that a plugin that crashes, hangs (10 s) or exits cannot hurt the host. The report is ok or the
 * reason: "crashed with SIGSEGV while it was loaded", "did not answer within 10 s", … */
struct probe {
  bool ok;
  char reason[ETK_ERROR_SIZE];
  char version[64], abi[16], summary[256];
  size_t commands;
  int64_t elapsed_ns;
};
/* count probes, as many at a time as there are cores; results in order. with_init also runs init and deinit. */
etk_status plugin_probe(etk_error *e, struct probe *out, const struct search_path *path, const struct plugin *plugins, size_t count, bool with_init);
etk_status plugin_probe_within(etk_error *e, struct probe *out, const struct search_path *path, const struct plugin *plugins, size_t count, bool with_init, int64_t limit_ns);

/* Runs job in a child process with nothing on its standard streams; what it appends to `answer` comes back. The job says where it is by stage("…"),
 * which is how a crash, an exit or a hang of more than limit_ns is told: "crashed with SIGSEGV while it was loaded". plugin_probe is many of these. */
struct child_job {
  void (*run)(void *user, etk_text *answer, void (*stage)(const char *doing));
  void *user;
};
etk_status plugin_child(etk_error *e, etk_text *answer, struct child_job job, int64_t limit_ns);

/* The text of a note for a plugin that has none, from its table in a child process (etk_free). */
etk_status plugin_asked_text(etk_error *e, char **text, size_t *size, const struct plugin *plugin);
/* A host for init in a child process: every service there is, none does anything but fail(). */
extern const etk_host silent_host;

#endif
