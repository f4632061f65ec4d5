/* shell_run.c: a command of the session as a process of this program. */
#include "shell_session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

static bool own_path(char *out, size_t size) {
#if defined(__APPLE__)
  uint32_t room = (uint32_t)size;
  return !_NSGetExecutablePath(out, &room);
#else
  /* The link itself: it leads to this program also where its file was replaced meanwhile. */
  snprintf(out, size, "/proc/self/exe");
  return access(out, X_OK) == 0;
#endif
}

/* Room for what `options` writes. */
static size_t option_room(const struct host *host) { return 2 * (host->plugin_dir_count + host->trust_dir_count) + (size_t)(host->verbose > 0 ? host->verbose : 0) + 16; }

/* What was said to the host when the session began holds for every command in it. */
static size_t options(const char **out, const struct host *host) {
  static const char *const colors[] = {"auto", "always", "never"};
  size_t n = 0;
  for (size_t i = 0; i < host->plugin_dir_count; i++) out[n++] = "--plugin-dir", out[n++] = host->plugin_dirs[i];
  for (size_t i = 0; i < host->trust_dir_count; i++) out[n++] = "--trust-dir", out[n++] = host->trust_dirs[i];
  for (int i = 0; i < host->verbose; i++) out[n++] = "--verbose";
  if (host->quiet) out[n++] = "--quiet";
  if (host->color != COLOR_AUTO) out[n++] = "--color", out[n++] = colors[host->color];
  if (host->progress) out[n++] = "--progress", out[n++] = host->progress;
  return n;
}

static void child(const char *path, char *const *argv, bool interactive) __attribute__((noreturn));
static void child(const char *path, char *const *argv, bool interactive) {
  static const int signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGXFSZ};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
  signal(SIGTSTP, SIG_IGN); /* there is no job control that could wake it again */
  if (!interactive) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDIN_FILENO);
  }
  execv(path, argv);
  fprintf(stderr, "efficientai-toolkit: cannot start '%s' again: %s\n", path, strerror(errno));
  _exit(126);
}

/* Linux takes words of 32 pages; all of them and the environment, with a pointer each, fit in _SC_ARG_MAX. Room is left for what the kernel adds. */
static etk_status check_size(etk_error *e, const char *const *argv) {
  extern char **environ;
  char shown[32], limit[32];
  long most = sysconf(_SC_ARG_MAX);
  size_t room = most > 8192 ? (size_t)most - 4096 : 128u << 10, longest = room, total = 0;
#ifdef __linux__
  longest = 32 * (size_t)sysconf(_SC_PAGESIZE);
#endif
  for (size_t i = 0; environ && environ[i]; i++) total += strlen(environ[i]) + 1 + sizeof(char *);
  for (size_t i = 0; argv[i]; i++) {
    size_t size = strlen(argv[i]) + 1;
    if (size > longest)
      return etk_fail(e, ETK_E_USAGE, "the line is too long: the word '%.24s…' has %s, and a command takes words below %s; write long texts to a file", argv[i],
                      etk_format_size(shown, sizeof shown, (int64_t)size - 1), etk_format_size(limit, sizeof limit, (int64_t)longest));
    total += size + sizeof(char *);
  }
  if (total <= room) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "the line is too long: with the environment it has %s, and a command takes %s; write long texts to a file",
                  etk_format_size(shown, sizeof shown, (int64_t)total), etk_format_size(limit, sizeof limit, (int64_t)room));
}

static int exit_code(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

static int start_and_wait(struct session *session, const char *path, char *const *argv) {
  struct sigaction ignore = {.sa_handler = SIG_IGN}, old_int, old_quit;
  struct termios terminal;
  bool saved = session->interactive && !tcgetattr(STDIN_FILENO, &terminal);
  etk_error e = ETK_ERROR_INIT;
  int status = 0;
  fflush(NULL); /* what is in our buffers is not to be written twice */
  sigemptyset(&ignore.sa_mask);
  sigaction(SIGINT, &ignore, &old_int);
  sigaction(SIGQUIT, &ignore, &old_quit);
  pid_t pid = fork();
  if (!pid) child(path, argv, session->interactive);
  int reason = errno;
  while (pid > 0 && waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) break;
  sigaction(SIGINT, &old_int, NULL);
  sigaction(SIGQUIT, &old_quit, NULL);
  if (saved) tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
  if (pid > 0) return exit_code(status);
  etk_fail_errno(&e, reason, "cannot start a child process");
  return host_error(session->host, &e, 0, NULL);
}

int session_run(struct session *session, const char *const *words, size_t count) {
  char path[PATH_MAX];
  etk_error e = ETK_ERROR_INIT;
  etk_arena arena = ETK_ARENA_INIT;
  const char **argv = etk_arena_array(&arena, option_room(session->host) + count + 2, sizeof *argv);
  int code;
  if (!argv || !own_path(path, sizeof path)) {
    etk_fail(&e, argv ? ETK_E_NOT_FOUND : ETK_E_NO_MEMORY, argv ? "cannot find the file of this program, to start it again" : "out of memory");
    code = host_error(session->host, &e, 0, NULL);
  } else {
    size_t n = 0;
    argv[n++] = "efficientai-toolkit";
    n += options(argv + n, session->host);
    for (size_t i = 0; i < count; i++) argv[n++] = words[i];
    code = check_size(&e, argv) ? host_error(session->host, &e, 0, NULL) : start_and_wait(session, path, (char *const *)(uintptr_t)argv);
  }
  etk_arena_fini(&arena);
  return code;
}
