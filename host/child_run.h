/* child_run.h: plugin code in a child process with the services of a run, for `test` and `benchmark`: a crash, an exit or a hang is that job's failure
 * and nobody else's. */
#ifndef CHILD_RUN_H
#define CHILD_RUN_H

#include "loader.h"

struct child_run {
  struct host *host;
  const struct plugin *plugin;
  int64_t limit_ns;   /* killed after; 0: never */
  const char *dir;    /* what etk_run_dir gives; NULL: none */
  /* Called in the child, after the plugin's init. `answer` comes back as written so far, also after a crash (etk_run_fail's message becomes *e where the
   * body returns its status). `flush` sends what `answer` holds now, so that a later crash loses nothing. */
  etk_status (*body)(etk_error *e, struct loaded *loaded, etk_run *run, etk_text *answer, void (*flush)(void), void *user);
  void *user;
};
struct child_result {
  etk_text answer;
  etk_text output;       /* what the plugin printed on stdout and stderr, and its log lines; at most 64 KiB, the end is kept */
  int64_t wall_ns, cpu_ns, peak_rss_bytes; /* of the child */
  bool crashed;          /* a signal, an exit or the time limit; the error says which */
  etk_error error;       /* as child_run returns it */
};
/* ETK_OK where body returned ETK_OK; else its status and message, or ETK_E_CHECK "crashed with SIGSEGV …". Ctrl-C kills the child: ETK_E_CANCELLED.
 * out is filled in every case; child_result_free it. */
etk_status child_run(etk_error *e, struct child_result *out, const struct child_run *job);
/* Many, `at_once` (1..16) at a time; done(user, i) is told as each ends. After Ctrl-C those that run are killed and the rest is not begun. */
void child_run_all(struct child_result *out, const struct child_run *jobs, size_t count, size_t at_once, void (*done)(void *user, size_t index), void *user);
void child_result_free(struct child_result *result);

#endif
