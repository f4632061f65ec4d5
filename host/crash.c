/* crash.c: a fault while plugin code runs is that plugin's. The handler only formats into fixed buffers and writes to descriptors that are open
 * already; then the signal is raised again with its default action, so that the exit code is 128 + its number and a core is left where the system
 * keeps them. */
#include "log_files.h"
#include "report.h"
#include "run.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static const struct fault {
  int number;
  const char *name;
} faults[] = {{SIGSEGV, "crashed with SIGSEGV"}, {SIGBUS, "crashed with SIGBUS"}, {SIGABRT, "crashed with SIGABRT"}, {SIGFPE, "crashed with SIGFPE"}, {SIGILL, "crashed with SIGILL"}};
enum { FAULTS = sizeof faults / sizeof faults[0], FRAMES = 48, STACK_SIZE = 64 << 10 };

/* One call at a time in a process: what the handler needs, made before it can run. */
static struct {
  struct sigaction old[FAULTS];
  stack_t old_stack;
  void *stack;
  char who[160], doing[160];
  char document_head[1024]; /* up to the signal's name, without the run */
  char run_id[48];
  int64_t started_ns;
  struct record *record;
  atomic_uintptr_t teller; /* the thread that reports; 0: none yet */
  bool armed, json, jsonl;
  int data; /* the descriptor of documents */
  pid_t process; /* whose end it is: a child that a plugin forks may exit */
} crash;

static void put(int fd, const char *text) {
  size_t size = strlen(text);
  while (size) {
    ssize_t wrote = write(fd, text, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return;
    text += wrote, size -= (size_t)wrote;
  }
}

static void put_number(int fd, uint64_t number) {
  char digits[24];
  size_t at = sizeof digits - 1;
  digits[at] = 0;
  do digits[--at] = (char)('0' + number % 10);
  while (number /= 10);
  put(fd, digits + at);
}

/* how: "crashed with SIGSEGV", "ended the process by exit()". */
static void tell(int fd, const char *how, const char *mapped, bool full) {
  if (fd < 0) return;
  put(fd, "plugin ");
  put(fd, crash.who);
  put(fd, " ");
  put(fd, how);
  put(fd, " ");
  put(fd, crash.doing);
  put(fd, "\n");
  if (mapped) {
    put(fd, "the file ");
    put(fd, mapped);
    put(fd, " became shorter while it was being read\n");
  }
  if (!full) return;
  void *frames[FRAMES];
  int count = backtrace(frames, FRAMES);
  backtrace_symbols_fd(frames, count, fd);
}

/* Text that needs no escape in JSON: what would is left out. */
static void plain(char *out, size_t size, const char *text) {
  size_t n = 0;
  for (; *text && n + 1 < size; text++)
    if (*text >= ' ' && *text != '"' && *text != '\\') out[n++] = *text;
  out[n] = 0;
}

/* The strings in it were escaped when the head was made; a signal's name needs none. */
static void tell_json(const char *how, const char *mapped) {
  int fd = crash.data;
  uint64_t ms = (uint64_t)(etk_time_ns() - crash.started_ns) / 1000000;
  put(fd, crash.document_head);
  put(fd, ",\"status\":\"crashed\",\"run\":");
  put(fd, crash.run_id[0] ? "\"" : "null");
  put(fd, crash.run_id);
  if (crash.run_id[0]) put(fd, "\"");
  put(fd, ",\"duration_ms\":");
  put_number(fd, ms);
  put(fd, ",\"results\":{},\"artifacts\":[],\"error\":{\"code\":15,\"name\":\"crash\",\"message\":\"plugin ");
  put(fd, crash.who);
  put(fd, " ");
  put(fd, how);
  put(fd, " ");
  put(fd, crash.doing);
  if (mapped) {
    char path[1024];
    plain(path, sizeof path, mapped);
    put(fd, ": the file ");
    put(fd, path);
    put(fd, " became shorter while it was being read");
  }
  put(fd, "\"}}\n");
}

/* "plugin demo crashed with SIGSEGV in command crash" as the end of the command in the process log. */
static void tell_log(const char *how, const char *mapped, int exit_code) {
  char words[1600];
  const char *const parts[] = {"plugin ", crash.who, " ", how, " ", crash.doing, mapped ? ": the file " : "", mapped ? mapped : "",
                               mapped ? " became shorter while it was being read" : ""};
  size_t n = 0;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    for (const char *p = parts[i]; *p && n + 1 < sizeof words; p++) words[n++] = *p;
  words[n] = 0;
  process_log_died(words, exit_code, etk_time_ns() - crash.started_ns);
}

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)context;
  const char *name = "crashed with a signal";
  struct sigaction fall = {.sa_handler = SIG_DFL};
  uintptr_t nobody = 0, me = (uintptr_t)pthread_self();
  if (!atomic_compare_exchange_strong(&crash.teller, &nobody, me)) {
    if (nobody != me)
      for (;;) pause(); /* threads that share a fault's cause fault together: one of them tells, then the process ends */
    sigaction(number, &fall, NULL); /* a fault in here ends the process at once */
    return;
  }
  for (size_t i = 0; i < FAULTS; i++)
    if (faults[i].number == number) name = faults[i].name;
  const char *mapped = number == SIGBUS ? etk_map_name_of(info->si_addr) : NULL;
  put(STDERR_FILENO, "\n");
  tell(STDERR_FILENO, name, mapped, true);
  if (crash.record) {
    tell(crash.record->crash, name, mapped, true);
    record_flush_in_signal(crash.record);
  }
  if (crash.json) tell_json(name, mapped);
  tell_log(name, mapped, 128 + number);
  sigaction(number, &fall, NULL);
  raise(number); /* blocked until we return, then delivered */
}

/* A plugin that calls exit() ends the host in the middle of its work: said, recorded and never a success. */
static void on_exit_call(void) {
  if (!crash.armed || getpid() != crash.process) return;
  const char *how = "ended the process by exit()";
  if (!ftrylockfile(stdout)) { /* what the plugin printed; held by another of its threads, it would never come */
    fflush(stdout);
    funlockfile(stdout);
  }
  tell(STDERR_FILENO, how, NULL, false);
  if (crash.record) {
    tell(crash.record->crash, how, NULL, false);
    record_flush_in_signal(crash.record);
  }
  if (crash.json) tell_json(how, NULL);
  tell_log(how, NULL, 1);
  _exit(1);
}

void crash_arm(struct host *host, const char *name_space, const char *doing) {
  plain(crash.who, sizeof crash.who, name_space);
  plain(crash.doing, sizeof crash.doing, doing);
  crash.json = host->json || host->jsonl;
  crash.data = fileno(host_data(host));
  crash.started_ns = host->started_ns;
  crash.process = getpid();
  char command[80] = "null";
  if (host->command) {
    char name[64];
    plain(name, sizeof name, host->command);
    snprintf(command, sizeof command, "\"%s\"", name);
  }
  snprintf(crash.document_head, sizeof crash.document_head, "{%s\"schema_version\":1,\"namespace\":\"%s\",\"command\":%s",
           host->jsonl ? "\"event\":\"end\"," : "", crash.who, command);
  if (crash.armed) return;
  static bool guarded;
  if (!guarded) guarded = atexit(on_exit_call) == 0;
  void *frame[1];
  backtrace(frame, 1); /* loads what unwinding needs now, since a handler may not */
  if (!crash.stack) crash.stack = etk_alloc(STACK_SIZE); /* kept until the process ends */
  stack_t stack = {.ss_sp = crash.stack, .ss_size = STACK_SIZE};
  if (crash.stack) sigaltstack(&stack, &crash.old_stack);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < FAULTS; i++) sigaction(faults[i].number, &action, &crash.old[i]);
  crash.armed = true;
}

void crash_record(struct record *record) {
  crash.record = record;
  snprintf(crash.run_id, sizeof crash.run_id, "%s", record ? record->id : "");
}

void crash_disarm(void) {
  if (!crash.armed) return;
  for (size_t i = 0; i < FAULTS; i++) sigaction(faults[i].number, &crash.old[i], NULL);
  if (crash.stack) sigaltstack(&crash.old_stack, NULL);
  crash.record = NULL;
  crash.armed = false;
}
