/* child_run.c: child processes with two pipes each: frames of the answer, and what they print. */
#include "child_run.h"

#include "run.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/hardware.h>
#include <etk/log.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

enum { OUTPUT_MOST = 64 << 10, FRAME_MOST = 64 << 20, TICK_MS = 50, CHILDREN_MOST = 16 };
/* A frame: its kind, its size, its bytes. ANSWER is a piece of the answer, STAGE says where the child is, END is the status and the message. */
enum { FRAME_ANSWER = 'A', FRAME_STAGE = 'S', FRAME_END = 'E', FRAME_HEAD = 5 };

/* ---- the child ---- */

static struct {
  int fd;
  etk_text *answer;
} child;

static void put_all(const char *bytes, size_t size) {
  while (size) {
    ssize_t wrote = write(child.fd, bytes, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) _exit(1); /* nobody listens any more */
    bytes += wrote, size -= (size_t)wrote;
  }
}

static void put_frame(char kind, const void *bytes, size_t size) {
  char head[FRAME_HEAD] = {kind};
  uint32_t length = (uint32_t)size;
  memcpy(head + 1, &length, sizeof length);
  put_all(head, sizeof head);
  put_all(bytes, size);
}

static void stage(const char *doing) { put_frame(FRAME_STAGE, doing, strlen(doing)); }

static void flush_answer(void) {
  if (child.answer->failed) _exit(1);
  if (child.answer->size) put_frame(FRAME_ANSWER, child.answer->data, child.answer->size);
  child.answer->size = 0;
}

static void become_child(int output) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, SIGTERM, SIGINT, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  setpgid(0, 0); /* so that what it starts ends with it */
#if defined(__linux__)
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

static etk_status work(etk_error *e, const struct child_run *job, struct run *run, etk_text *answer) {
  struct loaded loaded = {0};
  struct manifest manifest;
  etk_status status = plugin_manifest(e, &manifest, &job->host->path, job->plugin);
  if (status) return status;
  stage("while it was loaded");
  status = plugin_load(e, &loaded, job->plugin, &manifest);
  if (!status) {
    stage("in its init");
    status = plugin_init(e, &loaded, &host_services);
  }
  if (!status) {
    stage("while it worked");
    status = job->body(e, &loaded, &run->base, answer, flush_answer, job->user);
    if (status && run->failure.message[0] && (!e->message[0] || e->status == status)) *e = run->failure;
    if (status && !e->message[0]) etk_fail(e, status, "failed without saying why (%s)", etk_status_name(status));
    flush_answer();
    stage("in its deinit");
    plugin_deinit(&loaded);
  }
  return status;
}

static void child_main(const struct child_run *job, int answer_fd, int output) __attribute__((noreturn));
static void child_main(const struct child_run *job, int answer_fd, int output) {
  static const struct manifest_command no_command = {.name = "", .summary = ""};
  static const struct resolved nothing = {.command = &no_command};
  etk_text answer = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  struct run run = {.base = {&host_services}, .host = job->host, .plugin = job->plugin, .resolved = &nothing, .work_dir = job->dir,
                    .data_dir = plugin_data_dir(job->host, job->plugin)};
  child.fd = answer_fd, child.answer = &answer;
  job->host->progress = "off";
  become_child(output);
  pthread_mutex_init(&run.lock, NULL);
  services_start(&run);
  etk_status status = work(&e, job, &run, &answer);
  services_stop(&run);
  fflush(NULL);
  int32_t code = status;
  etk_text end = ETK_TEXT_INIT;
  etk_text_append(&end, (const char *)&code, sizeof code);
  etk_text_puts(&end, status ? e.message : "");
  if (end.failed) _exit(1);
  put_frame(FRAME_END, end.data, end.size);
  _exit(0); /* no destructors: the plugin's work is done */
}

/* ---- the parent ---- */

/* One child that runs. */
struct live {
  const struct child_run *job;
  struct child_result *out;
  pid_t pid; /* 0: none */
  int answer, output; /* pipes; -1: at their end */
  int64_t started_ns;
  etk_text frames; /* not yet taken apart */
  char doing[64];
  etk_error ended;
  bool has_ended, killed;
};

static void take_frames(struct live *l) {
  size_t at = 0;
  while (l->frames.size - at >= FRAME_HEAD) {
    const char *head = l->frames.data + at;
    uint32_t size;
    memcpy(&size, head + 1, sizeof size);
    if (size > FRAME_MOST || l->frames.size - at - FRAME_HEAD < size) break;
    const char *bytes = head + FRAME_HEAD;
    if (*head == FRAME_ANSWER) etk_text_append(&l->out->answer, bytes, size);
    else if (*head == FRAME_STAGE) snprintf(l->doing, sizeof l->doing, "%.*s", (int)size, bytes);
    else if (*head == FRAME_END && size >= sizeof(int32_t)) {
      int32_t code;
      memcpy(&code, bytes, sizeof code);
      l->ended.status = code;
      snprintf(l->ended.message, sizeof l->ended.message, "%.*s", (int)(size - sizeof code), bytes + sizeof code);
      l->has_ended = true;
    }
    at += FRAME_HEAD + size;
  }
  if (!at) return;
  memmove(l->frames.data, l->frames.data + at, l->frames.size - at);
  l->frames.size -= at;
}

/* The end of what it printed is what tells why it failed. */
static void keep_output(etk_text *output, const char *bytes, size_t size) {
  etk_text_append(output, bytes, size);
  if (output->failed || output->size <= 2 * OUTPUT_MOST) return;
  memmove(output->data, output->data + output->size - OUTPUT_MOST, OUTPUT_MOST);
  output->size = OUTPUT_MOST;
  output->data[OUTPUT_MOST] = '\0';
}

/* false: at its end */
static bool read_some(int fd, etk_text *text, bool output) {
  char buffer[16384];
  ssize_t got = read(fd, buffer, sizeof buffer);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (got > 0 && output) keep_output(text, buffer, (size_t)got);
  else if (got > 0) etk_text_append(text, buffer, (size_t)got);
  return got > 0;
}

static etk_status verdict(etk_error *e, struct live *l, int wait_status, bool cancelled) {
  char text[32];
  const char *doing = *l->doing ? l->doing : "before it was loaded";
  if (cancelled) return etk_fail(e, ETK_E_CANCELLED, "stopped on request");
  l->out->crashed = !l->has_ended || WIFSIGNALED(wait_status);
  if (l->killed) return etk_fail(e, ETK_E_CHECK, "did not end within %s %s", etk_format_duration(text, sizeof text, l->job->limit_ns), doing);
  if (WIFSIGNALED(wait_status)) return etk_fail(e, ETK_E_CHECK, "crashed with %s %s", signal_name(text, sizeof text, WTERMSIG(wait_status)), doing);
  if (!l->has_ended) return etk_fail(e, ETK_E_CHECK, "ended the process with exit status %d %s", WEXITSTATUS(wait_status), doing);
  if (l->out->answer.failed || l->out->output.failed || l->frames.failed) return etk_fail(e, ETK_E_NO_MEMORY, "no memory for what a child process answered");
  return l->ended.status ? etk_fail(e, l->ended.status, "%s", l->ended.message) : ETK_OK;
}

static void close_end(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static bool make_pipe(int ends[2]) {
  if (pipe(ends)) return false;
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  return true;
}

static void start(struct live *l, struct child_result *out, const struct child_run *job) {
  int answer[2] = {-1, -1}, output[2] = {-1, -1};
  *l = (struct live){.job = job, .out = out, .answer = -1, .output = -1};
  *out = (struct child_result){0};
  bool piped = make_pipe(answer) && make_pipe(output);
  fflush(NULL); /* what is in our buffers is not to be written twice */
  l->started_ns = etk_time_ns();
  pid_t pid = piped ? fork() : -1;
  if (!pid) {
    close(answer[0]), close(output[0]);
    child_main(job, answer[1], output[1]);
  }
  int reason = errno;
  close_end(&answer[1]), close_end(&output[1]);
  l->answer = answer[0], l->output = output[0];
  if (pid > 0) l->pid = pid;
  else {
    etk_fail_errno(&out->error, reason, "cannot start a child process");
    close_end(&l->answer), close_end(&l->output);
  }
}

static void finish(struct live *l, bool cancelled) {
  struct rusage usage = {0};
  int wait_status = 0;
  if (l->output >= 0) fcntl(l->output, F_SETFL, O_NONBLOCK);
  while (l->output >= 0 && poll(&(struct pollfd){.fd = l->output, .events = POLLIN}, 1, 0) > 0)
    if (!read_some(l->output, &l->out->output, true)) break;
  while (wait4(l->pid, &wait_status, 0, &usage) < 0 && errno == EINTR) {}
  l->out->wall_ns = etk_time_ns() - l->started_ns;
  l->out->cpu_ns = ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 + ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
#if defined(__APPLE__)
  l->out->peak_rss_bytes = usage.ru_maxrss;
#else
  l->out->peak_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
#endif
  verdict(&l->out->error, l, wait_status, cancelled);
  close_end(&l->answer), close_end(&l->output);
  etk_text_free(&l->frames);
  l->pid = 0;
}

/* The end of the answer's pipe is the end of the child: a grandchild may hold the other for ever. */
static void listen_to(struct live *lives, size_t count) {
  struct pollfd polls[2 * CHILDREN_MOST];
  struct live *owners[2 * CHILDREN_MOST];
  nfds_t used = 0;
  for (size_t i = 0; i < count; i++)
    for (int k = 0; lives[i].pid && k < 2; k++) {
      int fd = k ? lives[i].output : lives[i].answer;
      if (fd < 0) continue;
      polls[used] = (struct pollfd){.fd = fd, .events = POLLIN};
      owners[used++] = &lives[i];
    }
  int ready = poll(polls, used, TICK_MS);
  for (nfds_t i = 0; ready > 0 && i < used; i++) {
    struct live *l = owners[i];
    if (!polls[i].revents) continue;
    bool output = polls[i].fd == l->output;
    if (!read_some(polls[i].fd, output ? &l->out->output : &l->frames, output)) close_end(output ? &l->output : &l->answer);
    if (!output) take_frames(l);
  }
}

static void stop_late(struct live *l, bool cancelled) {
  bool late = l->job->limit_ns && etk_time_ns() >= l->started_ns + l->job->limit_ns;
  if (!late && !cancelled) return;
  kill(-l->pid, SIGKILL);
  kill(l->pid, SIGKILL);
  l->killed = true;
  close_end(&l->answer);
}

void child_run_all(struct child_result *out, const struct child_run *jobs, size_t count, size_t at_once, void (*done)(void *user, size_t index), void *user) {
  struct live lives[CHILDREN_MOST] = {{0}};
  size_t slots = at_once < 1 ? 1 : at_once > CHILDREN_MOST ? CHILDREN_MOST : at_once, next = 0, working = 0;
  if (count) cancel_arm(jobs[0].host);
  while (working || next < count) {
    bool cancelled = cancel_asked();
    for (size_t i = 0; i < slots && next < count; i++) {
      if (lives[i].pid) continue;
      if (cancelled) {
        out[next] = (struct child_result){0};
        etk_fail(&out[next].error, ETK_E_CANCELLED, "stopped on request");
      } else start(&lives[i], &out[next], &jobs[next]);
      working += lives[i].pid != 0;
      if (!lives[i].pid && done) done(user, next);
      next++;
    }
    if (working) listen_to(lives, slots);
    for (size_t i = 0; i < slots; i++) {
      if (!lives[i].pid) continue;
      if (lives[i].answer >= 0) stop_late(&lives[i], cancelled);
      if (lives[i].answer >= 0) continue;
      finish(&lives[i], cancelled && lives[i].killed);
      working--;
      if (done) done(user, (size_t)(lives[i].job - jobs));
    }
  }
  cancel_disarm();
}

etk_status child_run(etk_error *e, struct child_result *out, const struct child_run *job) {
  child_run_all(out, job, 1, 1, NULL, NULL);
  if (e && out->error.status) *e = out->error;
  return out->error.status;
}

void child_result_free(struct child_result *result) {
  etk_text_free(&result->answer);
  etk_text_free(&result->output);
}
