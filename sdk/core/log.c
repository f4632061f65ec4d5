/* log.c: the process's one log: its sink, its threshold, and the way of a line to both sink and files. */
#include "log_internal.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic int sink_level = ETK_LOG_WARNING, files_level = ETK_LOG_OFF, threshold = ETK_LOG_WARNING;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  etk_log_sink sink;
  void *user;
} target; /* under lock */
static _Thread_local bool in_sink; /* this thread is inside the sink: what that logs must not come back to it */
static _Atomic(int64_t (*)(void)) wall_clock, steady_clock;

static const char *const names[] = {"debug", "info", "warning", "error", "off"};

const char *etk_log_level_name(etk_log_level level) { return (int)level >= 0 && level <= ETK_LOG_OFF ? names[level] : "unknown"; }

/* ---- clocks ---- */

void etk__log_set_clock(int64_t (*wall_ms)(void), int64_t (*steady_ms)(void)) {
  atomic_store(&wall_clock, wall_ms);
  atomic_store(&steady_clock, steady_ms);
}

static int64_t system_ms(clockid_t id) {
  struct timespec now = {0, 0};
  clock_gettime(id, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t etk__log_wall_ms(void) {
  int64_t (*clock)(void) = atomic_load_explicit(&wall_clock, memory_order_relaxed);
  return clock ? clock() : system_ms(CLOCK_REALTIME);
}

int64_t etk__log_steady_ms(void) {
  int64_t (*clock)(void) = atomic_load_explicit(&steady_clock, memory_order_relaxed);
  return clock ? clock() : system_ms(CLOCK_MONOTONIC);
}

/* ---- levels ---- */

static pthread_mutex_t level_lock = PTHREAD_MUTEX_INITIALIZER;

static void set_levels(_Atomic int *which, etk_log_level level) {
  pthread_mutex_lock(&level_lock);
  atomic_store_explicit(which, (int)level, memory_order_relaxed);
  int sink = atomic_load_explicit(&sink_level, memory_order_relaxed), files = atomic_load_explicit(&files_level, memory_order_relaxed);
  atomic_store_explicit(&threshold, sink < files ? sink : files, memory_order_relaxed);
  pthread_mutex_unlock(&level_lock);
}

void etk_log_set_level(etk_log_level level) { set_levels(&sink_level, level); }

void etk__log_files_changed(etk_log_level level) { set_levels(&files_level, level); }

etk_log_level etk_log_get_level(void) { return (etk_log_level)atomic_load_explicit(&sink_level, memory_order_relaxed); }

etk_log_level etk_log_threshold(void) { return (etk_log_level)atomic_load_explicit(&threshold, memory_order_relaxed); }

static bool wanted(etk_log_level level) { return (int)level >= 0 && level < ETK_LOG_OFF && level >= etk_log_threshold(); }

/* ---- the sink ---- */

void etk_log_set_sink(etk_log_sink sink, void *user) {
  pthread_mutex_lock(&lock);
  target.sink = sink;
  target.user = user;
  pthread_mutex_unlock(&lock);
}

static void call_sink(etk_log_level level, int64_t unix_ms, const char *message) {
  if (in_sink) return;
  pthread_mutex_lock(&lock);
  in_sink = true;
  if (target.sink) target.sink(target.user, level, unix_ms, message);
  else fprintf(stderr, "%s: %s\n", names[level], message);
  in_sink = false;
  pthread_mutex_unlock(&lock);
}

/* ---- lines ---- */

/* Text of `size` bytes, more than fits in a message, is cut at a character; newlines at the end go. */
static void settle(char message[ETK__LOG_MESSAGE], size_t size) {
  if (size >= ETK__LOG_MESSAGE) {
    size = ETK__LOG_MESSAGE - 4;
    while (size > 0 && ((unsigned char)message[size] & 0xC0) == 0x80) size--;
    memcpy(message + size, "\xE2\x80\xA6", 4);
    size += 3;
  }
  while (size > 0 && message[size - 1] == '\n') message[--size] = 0;
  etk_log_redact(message);
}

static void deliver(etk_log_level level, char message[ETK__LOG_MESSAGE], const etk_log_field *fields, size_t count) {
  etk_error problem;
  int64_t unix_ms = etk__log_wall_ms();
  bool to_files = (int)level >= atomic_load_explicit(&files_level, memory_order_relaxed);
  if (to_files) etk__log_files_event(level, unix_ms, message, fields, count);
  if (level >= etk_log_get_level()) {
    etk__line_fields(message, ETK__LOG_MESSAGE, fields, count);
    call_sink(level, unix_ms, message);
  }
  while (to_files && !in_sink && etk__log_files_problem(&problem)) call_sink(ETK_LOG_WARNING, unix_ms, problem.message);
}

void etk_log_write(etk_log_level level, const char *format, ...) {
  if (!wanted(level)) return;
  char message[ETK__LOG_MESSAGE];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (n < 0) return;
  settle(message, (size_t)n);
  deliver(level, message, NULL, 0);
}

void etk_log_event(etk_log_level level, const char *message, const etk_log_field *fields, size_t count) {
  if (!wanted(level)) return;
  char text[ETK__LOG_MESSAGE];
  size_t size = strlen(message ? message : "");
  memcpy(text, message ? message : "", size < sizeof text ? size + 1 : sizeof text);
  settle(text, size);
  deliver(level, text, fields, count);
}
