/* log.c: the process's one log sink. */
#include "etk/log.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>

enum { MESSAGE = 8192 };

static _Atomic int threshold = ETK_LOG_WARNING;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  etk_log_sink sink;
  void *user;
} target; /* under lock */

static const char *const names[] = {"debug", "info", "warning", "error", "off"};

const char *etk_log_level_name(etk_log_level level) { return (int)level >= 0 && level <= ETK_LOG_OFF ? names[level] : "unknown"; }

void etk_log_set_level(etk_log_level level) { atomic_store_explicit(&threshold, (int)level, memory_order_relaxed); }

etk_log_level etk_log_get_level(void) { return (etk_log_level)atomic_load_explicit(&threshold, memory_order_relaxed); }

void etk_log_set_sink(etk_log_sink sink, void *user) {
  pthread_mutex_lock(&lock);
  target.sink = sink;
  target.user = user;
  pthread_mutex_unlock(&lock);
}

void etk_log_write(etk_log_level level, const char *format, ...) {
  if (level < etk_log_get_level() || (int)level < 0 || level >= ETK_LOG_OFF) return;
  char message[MESSAGE];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (n < 0) return;
  size_t size = (size_t)n;
  if (size >= sizeof message) {
    size = sizeof message - 4;
    while (size > 0 && ((unsigned char)message[size] & 0xC0) == 0x80) size--;
    memcpy(message + size, "\xE2\x80\xA6", 4);
  }
  while (size > 0 && message[size - 1] == '\n') message[--size] = 0;
  etk_log_redact(message);
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t unix_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  pthread_mutex_lock(&lock);
  if (target.sink) target.sink(target.user, level, unix_ms, message);
  else fprintf(stderr, "%s: %s\n", names[level], message);
  pthread_mutex_unlock(&lock);
}
