/* probe.c: plugin code in child processes: a pipe brings the answer back, and how the child ended says the rest. */
#include "loader.h"
#include "note.h"

#include <errno.h>
#include <etk/hardware.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_NS (10 * (int64_t)1000000000)
enum { MOST_AT_ONCE = 16, ANSWER_LIMIT = NOTE_LIMIT + 4096 };

/* ---- the child ---- */

/* The pipe carries the stages, each ended by a NUL, then one 0x01 and the answer. */
#define ANSWER_MARK '\x01'

static int child_pipe = -1; /* set in the child alone */

static void put(const char *bytes, size_t size) {
  while (size) {
    ssize_t wrote = write(child_pipe, bytes, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) _exit(1); /* nobody listens any more */
    bytes += wrote;
    size -= (size_t)wrote;
  }
}

static void child_stage(const char *doing) { put(doing, strlen(doing) + 1); }

/* A plugin that prints would mix with the host's answer, and one that reads would wait for the user. */
static void close_streams(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; null >= 0 && fd <= 2; fd++) dup2(null, fd);
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGXFSZ};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
}

static void child_main(int fd, struct child_job job) __attribute__((noreturn));
static void child_main(int fd, struct child_job job) {
  etk_text answer = ETK_TEXT_INIT;
  child_pipe = fd;
  close_streams();
  job.run(job.user, &answer, child_stage);
  if (answer.failed) _exit(1);
  char mark = ANSWER_MARK;
  put(&mark, 1);
  if (answer.size) put(answer.data, answer.size);
  _exit(0); /* no destructors: the plugin's work is done */
}

/* ---- the parent ---- */

struct child {
  pid_t pid; /* 0: none */
  int fd;    /* -1: at its end */
  etk_text bytes;
  int64_t started_ns, deadline_ns, ended_ns;
  bool killed;
  int wait_status;
  size_t index; /* of the probe it works for */
};

static etk_status start(etk_error *e, struct child *child, struct child_job job, int64_t limit_ns) {
  int ends[2];
  *child = (struct child){.fd = -1};
#if defined(__linux__)
  if (pipe2(ends, O_CLOEXEC)) return etk_fail_errno(e, errno, "cannot make a pipe to a child process");
#else
  if (pipe(ends)) return etk_fail_errno(e, errno, "cannot make a pipe to a child process");
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
#endif
  fflush(NULL); /* what is in our buffers is not to be written twice */
  child->started_ns = etk_time_ns();
  child->deadline_ns = child->started_ns + limit_ns;
  pid_t pid = fork();
  if (!pid) {
    close(ends[0]);
    child_main(ends[1], job);
  }
  int reason = errno;
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return etk_fail_errno(e, reason, "cannot start a child process");
  }
  child->pid = pid;
  child->fd = ends[0];
  return ETK_OK;
}

static void read_some(struct child *child) {
  char buffer[4096];
  ssize_t got = read(child->fd, buffer, sizeof buffer);
  if (got < 0 && errno == EINTR) return;
  if (got > 0 && child->bytes.size < ANSWER_LIMIT) {
    etk_text_append(&child->bytes, buffer, (size_t)got);
    return;
  }
  close(child->fd);
  child->fd = -1;
}

static void reap(struct child *child, int64_t now) {
  if (now >= child->deadline_ns && !child->killed) {
    kill(child->pid, SIGKILL);
    child->killed = true;
  }
  if (child->fd >= 0 && !child->killed) return; /* its end is seen by the end of its pipe */
  pid_t got = waitpid(child->pid, &child->wait_status, child->killed ? 0 : WNOHANG);
  if (!got || (got < 0 && errno == EINTR)) return;
  if (got < 0) child->wait_status = 0;
  child->pid = 0;
  child->ended_ns = etk_time_ns();
  if (child->fd >= 0) close(child->fd);
  child->fd = -1;
}

/* Until something was read or ended. A child whose pipe is closed is about to end: it is looked for again shortly. */
static void wait_for_any(struct child *children, size_t count) {
  struct pollfd polls[MOST_AT_ONCE];
  struct child *owners[MOST_AT_ONCE];
  nfds_t used = 0;
  int64_t now = etk_time_ns(), until = now + LIMIT_NS;
  bool closing = false;
  for (size_t i = 0; i < count; i++) {
    struct child *child = &children[i];
    if (!child->pid) continue;
    if (child->deadline_ns < until) until = child->deadline_ns;
    if (child->fd < 0) closing = true;
    else {
      polls[used] = (struct pollfd){.fd = child->fd, .events = POLLIN};
      owners[used++] = child;
    }
  }
  int64_t wait_ms = closing ? 1 : until > now ? (until - now) / 1000000 + 1 : 0;
  if (closing) sched_yield();
  int ready = poll(polls, used, (int)wait_ms);
  for (nfds_t i = 0; ready > 0 && i < used; i++)
    if (polls[i].revents) read_some(owners[i]);
  now = etk_time_ns();
  for (size_t i = 0; i < count; i++)
    if (children[i].pid) reap(&children[i], now);
}

const char *signal_name(char *out, size_t size, int number) {
  static const struct {
    int number;
    const char *name;
  } names[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGILL, "SIGILL"}, {SIGFPE, "SIGFPE"}, {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"},
               {SIGPIPE, "SIGPIPE"}, {SIGTERM, "SIGTERM"}, {SIGKILL, "SIGKILL"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}, {SIGALRM, "SIGALRM"}, {SIGXCPU, "SIGXCPU"},
               {SIGXFSZ, "SIGXFSZ"}, {SIGQUIT, "SIGQUIT"}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (names[i].number == number) return names[i].name;
  snprintf(out, size, "signal %d", number);
  return out;
}

/* The answer inside what came through the pipe, or why there is none. */
static etk_status answer_of(etk_error *e, const char **answer, size_t *size, const struct child *child, int64_t limit_ns) {
  const char *doing = "before it was loaded", *p = child->bytes.data, *end = p ? p + child->bytes.size : p;
  if (child->bytes.failed) return etk_fail(e, ETK_E_NO_MEMORY, "no memory for what a child process answered");
  while (p < end && *p != ANSWER_MARK) {
    const char *stop = memchr(p, '\0', (size_t)(end - p));
    if (!stop) break;
    doing = p;
    p = stop + 1;
  }
  char buffer[32];
  if (child->killed) {
    char limit[32];
    return etk_fail(e, ETK_E_UNAVAILABLE, "did not answer within %s %s", etk_format_duration(limit, sizeof limit, limit_ns), doing);
  }
  if (WIFSIGNALED(child->wait_status)) return etk_fail(e, ETK_E_INTERNAL, "crashed with %s %s", signal_name(buffer, sizeof buffer, WTERMSIG(child->wait_status)), doing);
  if (p >= end || *p != ANSWER_MARK) return etk_fail(e, ETK_E_INTERNAL, "ended the process with exit status %d %s", WEXITSTATUS(child->wait_status), doing);
  *answer = p + 1;
  *size = (size_t)(end - p - 1);
  return ETK_OK;
}

etk_status plugin_child(etk_error *e, etk_text *answer, struct child_job job, int64_t limit_ns) {
  struct child child;
  etk_status status = start(e, &child, job, limit_ns);
  if (status) return status;
  while (child.pid) wait_for_any(&child, 1);
  const char *bytes = NULL;
  size_t size = 0;
  status = answer_of(e, &bytes, &size, &child, limit_ns);
  if (!status) {
    etk_text_append(answer, bytes, size);
    if (answer->failed) status = etk_fail(e, ETK_E_NO_MEMORY, "no memory for what a child process answered");
  }
  etk_text_free(&child.bytes);
  return status;
}

/* ---- a host that does nothing ---- */

static void silent_log(etk_run *run, int level, const char *message) { (void)run, (void)level, (void)message; }
static void silent_progress(etk_run *run, const char *label, int64_t done, int64_t total, const char *note) {
  (void)run, (void)label, (void)done, (void)total, (void)note;
}
static int silent_cancelled(etk_run *run) { return (void)run, 0; }
static void silent_metric(etk_run *run, const char *name, int64_t step, double value) { (void)run, (void)name, (void)step, (void)value; }
static void silent_result(etk_run *run, const etk_cell *value) { (void)run, (void)value; }
static void silent_row(etk_run *run, const char *table, const etk_cell *cells, size_t count) { (void)run, (void)table, (void)cells, (void)count; }
static etk_status silent_json(etk_run *run, const char *name, const char *json) { return (void)run, (void)name, (void)json, ETK_OK; }
static void silent_artifact(etk_run *run, const char *path, const char *type) { (void)run, (void)path, (void)type; }
static int silent_given(etk_run *run, const char *name) { return (void)run, (void)name, ETK_FROM_UNSET; }
static void silent_fail(etk_run *run, etk_status status, const char *message) {
  if (!run) plugin_init_said(status, message);
}
static void silent_text(etk_run *run, const char *bytes, size_t size) { (void)run, (void)bytes, (void)size; }
static const char *silent_directory(etk_run *run, int which) { return (void)run, (void)which, NULL; }

const etk_host silent_host = {sizeof(etk_host), ETK_ABI_MAJOR, ETK_ABI_MINOR, ETK_VERSION, silent_log, silent_progress, silent_cancelled, silent_metric, silent_result, silent_row,
                              silent_json, silent_artifact, silent_given, silent_fail, silent_text, silent_directory};

/* ---- probes ---- */

#define LOADING "while it was loaded"
#define IN_INIT "in its init"
#define IN_DEINIT "in its deinit"

struct probe_job {
  const struct search_path *path;
  const struct plugin *plugin;
  bool with_init;
};

/* The note is read here too: a hundred of them are read by as many processes as there are cores. */
static void probe_run(void *user, etk_text *answer, void (*stage)(const char *)) {
  const struct probe_job *job = user;
  struct probe probe = {0};
  etk_error e = ETK_ERROR_INIT;
  struct manifest manifest = {0};
  struct loaded loaded = {0};
  etk_status status = plugin_manifest(&e, &manifest, job->path, job->plugin);
  if (!status) {
    snprintf(probe.version, sizeof probe.version, "%s", manifest.version);
    snprintf(probe.abi, sizeof probe.abi, "%u.%u", manifest.abi_major, manifest.abi_minor);
    snprintf(probe.summary, sizeof probe.summary, "%s", manifest.summary);
    probe.commands = manifest.command_count;
    stage(LOADING);
    status = plugin_load(&e, &loaded, job->plugin, &manifest);
  }
  if (!status && job->with_init) {
    stage(IN_INIT);
    status = plugin_init(&e, &loaded, &silent_host);
    if (!status) {
      stage(IN_DEINIT);
      plugin_deinit(&loaded);
    }
  }
  probe.ok = !status;
  snprintf(probe.reason, sizeof probe.reason, "%s", status ? e.message : "");
  etk_text_append(answer, (const char *)&probe, sizeof probe);
}

/* What a plugin that took its process with it says of itself can still be read from its note. */
static void describe(struct probe *out, const struct search_path *path, const struct plugin *plugin) {
  struct manifest manifest;
  int fd;
  struct trust trust;
  char *text = NULL;
  size_t size;
  if (plugin_open(NULL, &fd, &trust, path, plugin)) return;
  if (!note_read(NULL, &text, &size, fd, plugin->path) && !manifest_from_text(NULL, &manifest, text, size)) {
    snprintf(out->version, sizeof out->version, "%s", manifest.version);
    snprintf(out->abi, sizeof out->abi, "%u.%u", manifest.abi_major, manifest.abi_minor);
    snprintf(out->summary, sizeof out->summary, "%s", manifest.summary);
    out->commands = manifest.command_count;
    manifest_fini(&manifest);
  }
  etk_free(text);
  close(fd);
}

static void finish(struct probe *out, struct child *child, const struct search_path *path, const struct plugin *plugin, int64_t limit_ns) {
  const char *bytes = NULL;
  size_t size = 0;
  etk_error e = ETK_ERROR_INIT;
  *out = (struct probe){0};
  etk_status status = answer_of(&e, &bytes, &size, child, limit_ns);
  if (!status && size == sizeof *out) memcpy(out, bytes, size);
  else {
    snprintf(out->reason, sizeof out->reason, "%s", status ? e.message : "wrote to the host's pipe " LOADING);
    describe(out, path, plugin);
  }
  out->elapsed_ns = child->ended_ns - child->started_ns;
  etk_text_free(&child->bytes);
}

etk_status plugin_probe_within(etk_error *e, struct probe *out, const struct search_path *path, const struct plugin *plugins, size_t count, bool with_init, int64_t limit_ns) {
  struct child children[MOST_AT_ONCE];
  struct probe_job jobs[MOST_AT_ONCE];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  size_t slots = cores < 1 ? 1 : cores > MOST_AT_ONCE ? MOST_AT_ONCE : (size_t)cores, next = 0, working = 0;
  memset(children, 0, sizeof children);
  etk_status status = ETK_OK;
  while (working || (!status && next < count)) {
    for (size_t i = 0; !status && i < slots && next < count; i++) {
      if (children[i].pid) continue;
      jobs[i] = (struct probe_job){path, &plugins[next], with_init};
      if ((status = start(e, &children[i], (struct child_job){probe_run, &jobs[i]}, limit_ns))) break;
      children[i].index = next++;
      working++;
    }
    if (!working) break;
    wait_for_any(children, slots);
    for (size_t i = 0; i < slots; i++)
      if (!children[i].pid && children[i].started_ns) {
        finish(&out[children[i].index], &children[i], path, &plugins[children[i].index], limit_ns);
        children[i] = (struct child){.fd = -1};
        working--;
      }
  }
  return status;
}

etk_status plugin_probe(etk_error *e, struct probe *out, const struct search_path *path, const struct plugin *plugins, size_t count, bool with_init) {
  return plugin_probe_within(e, out, path, plugins, count, with_init, LIMIT_NS);
}

/* ---- asking ---- */

static void ask_run(void *user, etk_text *answer, void (*stage)(const char *)) {
  const struct plugin *plugin = user;
  etk_error e = ETK_ERROR_INIT;
  struct loaded loaded;
  char *text = NULL;
  size_t size = 0;
  stage(LOADING);
  etk_status status = plugin_load(&e, &loaded, plugin, NULL);
  if (!status) status = manifest_text(&e, &text, &size, loaded.project);
  etk_text_printf(answer, "%02d", status);
  if (status) etk_text_puts(answer, e.message);
  else etk_text_append(answer, text, size);
  etk_free(text);
}

etk_status plugin_asked_text(etk_error *e, char **text, size_t *size, const struct plugin *plugin) {
  etk_text answer = ETK_TEXT_INIT;
  struct plugin copy = *plugin;
  *text = NULL;
  etk_status status = plugin_child(e, &answer, (struct child_job){ask_run, &copy}, LIMIT_NS);
  if (status) etk_error_while(e, status, "%s", plugin->path);
  else if (answer.size < 2) status = etk_fail(e, ETK_E_FORMAT, "%s: answered nothing", plugin->path);
  else if ((status = (answer.data[0] - '0') * 10 + answer.data[1] - '0')) etk_fail(e, status, "%s", answer.data + 2);
  if (!status) {
    *size = answer.size - 2;
    *text = etk_strndup(answer.data + 2, *size);
    if (!*text) status = etk_fail(e, ETK_E_NO_MEMORY, "%s: no memory for its table", plugin->path);
  }
  etk_text_free(&answer);
  return status;
}
