/* remote.c: two calls of ssh over one connection: the first asks for the version, the second is the command. What crosses is a shell command line and the
 * streams of the program, nothing else. */
#include "remote.h"

#include "globals.h"
#include "report.h"
#include "run.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SSH_FAILED = 255, ANSWER_MOST = 64 << 10, SSH_WORDS = 24 };

struct remote {
  struct host *host;
  char dir[32];      /* of the connection's socket */
  char control[64];  /* "-oControlPath=…" */
  char pid_file[64]; /* on the other machine */
  const char *ssh, *program;
};

/* 'it''s' as a POSIX shell reads it back. */
static void quote(etk_text *out, const char *word) {
  etk_text_putc(out, '\'');
  for (; *word; word++)
    if (*word == '\'') etk_text_puts(out, "'\\''");
    else etk_text_putc(out, *word);
  etk_text_putc(out, '\'');
}

/* What only this machine has in its environment does not cross: a secret would stand in the other machine's process list. */
static void tell_unsent(struct host *host) {
  for (char **entry = environ; entry && *entry; entry++)
    if (!strncmp(*entry, "EFFICIENTAI__", 13)) {
      host_warn(host, "%.*s is not sent to %s; give the value on the command line or set it there", (int)strcspn(*entry, "="), *entry, host->remote);
    }
}

static size_t ssh_words(const struct remote *r, const char **words, const char *first, const char *second, const char *command) {
  size_t n = 0;
  words[n++] = r->ssh;
  words[n++] = "-oControlMaster=auto";
  words[n++] = r->control;
  words[n++] = "-oControlPersist=20";
  if (first) words[n++] = first;
  if (second) words[n++] = second;
  words[n++] = "--";
  words[n++] = r->host->remote;
  if (command) words[n++] = command;
  words[n] = NULL;
  return n;
}

static int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return SSH_FAILED;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Starts ssh; out: where its standard output goes, -1: ours. own_group: Ctrl-C is for us to pass on. */
static etk_status spawn(etk_error *e, pid_t *pid, const char *const *words, int out, bool own_group) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  if (out >= 0) posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  if (own_group) {
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
  }
  fflush(stdout);
  int reason = posix_spawnp(pid, words[0], &actions, &attributes, (char *const *)(uintptr_t)words, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (reason == ENOENT) return etk_fail(e, ETK_E_UNAVAILABLE, "--remote needs ssh, and '%s' is not here (Debian: apt-get install openssh-client)", words[0]);
  return reason ? etk_fail_errno(e, reason, "cannot start %s", words[0]) : ETK_OK;
}

static etk_status ask(etk_error *e, const struct remote *r, etk_text *answer, int *code, const char *command) {
  const char *words[SSH_WORDS];
  int ends[2];
  pid_t pid;
  if (pipe(ends)) return etk_fail_errno(e, errno, "cannot make a pipe to ssh");
  ssh_words(r, words, "-n", "-T", command);
  etk_status status = spawn(e, &pid, words, ends[1], false);
  close(ends[1]);
  char buffer[4096];
  ssize_t got;
  while (!status && ((got = read(ends[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)))
    if (got > 0 && answer->size < ANSWER_MOST) etk_text_append(answer, buffer, (size_t)got);
  close(ends[0]);
  if (!status) *code = wait_for(pid);
  return status;
}

static etk_status check_version(etk_error *e, const struct remote *r) {
  etk_text answer = ETK_TEXT_INIT, command = ETK_TEXT_INIT;
  int code = 0;
  quote(&command, r->program);
  etk_text_puts(&command, " version --json");
  etk_status status = command.failed ? etk_fail_memory(e) : ask(e, r, &answer, &code, command.data);
  if (!status && code == SSH_FAILED) status = etk_fail(e, ETK_E_UNAVAILABLE, "ssh could not reach %s", r->host->remote);
  else if (!status && (code == 126 || code == 127))
    status = etk_fail(e, ETK_E_UNAVAILABLE, "%s has no program '%s' in its PATH; install the same version there, or name it by EFFICIENTAI_REMOTE_PROGRAM", r->host->remote, r->program);
  json_t *json = !status && answer.data ? json_loadb(answer.data, answer.size, 0, NULL) : NULL;
  const json_t *results = json_object_get(json, "results");
  const char *version = json_string_value(json_object_get(results, "version")), *abi = json_string_value(json_object_get(results, "abi"));
  char ours[32];
  snprintf(ours, sizeof ours, "%d.%d", ETK_ABI_MAJOR, ETK_ABI_MINOR);
  if (!status && (!version || !abi))
    status = etk_fail(e, ETK_E_FORMAT, "the program '%s' on %s did not say its version (exit code %d); it is not efficientai-toolkit, or it cannot start there", r->program, r->host->remote, code);
  else if (!status && (strcmp(version, ETK_VERSION) || strcmp(abi, ours)))
    status = etk_fail(e, ETK_E_UNSUPPORTED, "%s runs version %s (ABI %s), this is %s (ABI %s); install the same on both", r->host->remote, version, abi, ETK_VERSION, ours);
  json_decref(json);
  etk_text_free(&answer);
  etk_text_free(&command);
  return status;
}

/* "umask 077; set -C; echo $$ > FILE && exec 'program' 'word' …": set -C never writes through what somebody else put there. */
static etk_status command_line(etk_error *e, etk_text *out, const struct remote *r, int argc, char **argv, bool terminal) {
  if (!terminal) etk_text_printf(out, "umask 077; set -C; echo $$ > %s && exec ", r->pid_file);
  else etk_text_puts(out, "exec ");
  quote(out, r->program);
  if (r->host->standalone) { /* a name of this machine only */
    etk_text_putc(out, ' ');
    quote(out, r->host->standalone);
  }
  bool options = true;
  for (int i = 1; i < argc; i++) {
    const char *word = argv[i];
    if (!strcmp(word, "--")) options = false;
    if (options && !strcmp(word, "--remote")) {
      i++;
      continue;
    }
    if (options && !strncmp(word, "--remote=", 9)) continue;
    etk_text_putc(out, ' ');
    quote(out, word);
  }
  return out->failed ? etk_fail_memory(e) : ETK_OK;
}

static void other(const struct remote *r, const char *format) {
  etk_text command = ETK_TEXT_INIT, answer = ETK_TEXT_INIT;
  int code;
  etk_text_printf(&command, format, r->pid_file, r->pid_file);
  if (!command.failed) ask(NULL, r, &answer, &code, command.data);
  etk_text_free(&command);
  etk_text_free(&answer);
}

/* Without a terminal there, Ctrl-C here is told to the process by its number; the second ends ssh itself. */
static int wait_passing_on(const struct remote *r, pid_t pid) {
  int status = 0, told = 0;
  for (;;) {
    pid_t got = waitpid(pid, &status, told < 2 ? WNOHANG : 0);
    if (got == pid) break;
    if (got < 0 && errno != EINTR) return SSH_FAILED;
    if (cancel_asked() && !told++) other(r, "kill -INT $(cat %s)");
    usleep(20000);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static etk_status run_there(etk_error *e, int *code, const struct remote *r, int argc, char **argv) {
  bool in = isatty(STDIN_FILENO), terminal = in && isatty(STDOUT_FILENO);
  etk_text command = ETK_TEXT_INIT;
  const char *words[SSH_WORDS];
  pid_t pid;
  etk_status status = command_line(e, &command, r, argc, argv, terminal);
  if (!status) ssh_words(r, words, terminal ? "-t" : "-T", terminal ? "-q" : in ? "-n" : NULL, command.data);
  if (!status && !terminal) cancel_arm(r->host);
  if (!status) status = spawn(e, &pid, words, -1, !terminal);
  if (!status) *code = terminal ? wait_for(pid) : wait_passing_on(r, pid);
  if (!terminal) {
    cancel_disarm();
    other(r, "rm -f %s");
  }
  etk_text_free(&command);
  if (!status && *code == SSH_FAILED) status = etk_fail(e, ETK_E_IO, "the connection to %s broke", r->host->remote);
  return status;
}

static etk_status connect_there(etk_error *e, struct remote *r) {
  const char *ssh = getenv("EFFICIENTAI_SSH"), *program = getenv("EFFICIENTAI_REMOTE_PROGRAM");
  r->ssh = ssh && *ssh ? ssh : "ssh";
  r->program = program && *program ? program : "efficientai-toolkit";
  if (*r->host->remote == '-') return etk_fail(e, ETK_E_USAGE, "--remote: '%s' is not a machine; user@machine is wanted", r->host->remote);
  snprintf(r->dir, sizeof r->dir, "/tmp/etk-XXXXXX"); /* short: the path of a socket has about a hundred bytes */
  if (!mkdtemp(r->dir)) return etk_fail_errno(e, errno, "cannot make a folder for the connection");
  snprintf(r->control, sizeof r->control, "-oControlPath=%s/%%C", r->dir);
  snprintf(r->pid_file, sizeof r->pid_file, "/tmp/%s-%ld", r->dir + 5, (long)getpid());
  return check_version(e, r);
}

static void disconnect(const struct remote *r) {
  const char *words[SSH_WORDS];
  pid_t pid;
  int null = *r->dir ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
  if (null >= 0) {
    posix_spawn_file_actions_t actions;
    ssh_words(r, words, "-q", "-Oexit", NULL);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, null, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, null, STDERR_FILENO);
    if (!posix_spawnp(&pid, words[0], &actions, NULL, (char *const *)(uintptr_t)words, environ)) wait_for(pid);
    posix_spawn_file_actions_destroy(&actions);
    close(null);
  }
  if (*r->dir) etk_fs_remove_tree(NULL, r->dir);
}

int remote_run(struct host *host, int argc, char **argv) {
  struct remote r = {.host = host};
  etk_error e = ETK_ERROR_INIT;
  int code = 1;
  tell_unsent(host);
  etk_status status = connect_there(&e, &r);
  if (!status) status = run_there(&e, &code, &r, argc, argv);
  disconnect(&r);
  return status ? host_error(host, &e, 0, NULL) : code;
}
