/* bench_memory.c: the peak of resident memory during a run. */
#include "bench_internal.h"

#include "etk/hardware.h"
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_NS = 10000000 };

#if defined(__linux__)
/* Without allocating: a number of pages in /proc/self/statm. */
int64_t etk__memory_resident(void) {
  char text[128];
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) return 0;
  int64_t pages = 0;
  ssize_t i = 0;
  while (i < got && text[i] != ' ') i++;
  for (i++; i < got && text[i] >= '0' && text[i] <= '9'; i++) pages = pages * 10 + (text[i] - '0');
  return pages * (int64_t)sysconf(_SC_PAGESIZE);
}

/* proc(5), clear_refs: writing 5 sets the high-water mark to what is resident now. */
static bool reset_mark(void) {
  int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write(fd, "5", 1) == 1;
  close(fd);
  return done;
}
#else
int64_t etk__memory_resident(void) { return etk_hardware_rss_bytes(); }
static bool reset_mark(void) { return false; }
#endif

static void look(etk_memory_watch *watch) {
  int64_t now = etk__memory_resident();
  if (now > atomic_load_explicit(&watch->peak, memory_order_relaxed)) atomic_store_explicit(&watch->peak, now, memory_order_relaxed);
}

static void *watcher(void *user) {
  etk_memory_watch *watch = user;
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  pthread_mutex_lock(&watch->lock);
  while (!watch->stop) {
    until.tv_nsec += EVERY_NS;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
    while (!watch->stop && pthread_cond_timedwait(&watch->wake, &watch->lock, &until) == 0) {}
    look(watch);
  }
  pthread_mutex_unlock(&watch->lock);
  return NULL;
}

static bool start_thread(etk_memory_watch *watch) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
  pthread_mutex_init(&watch->lock, NULL);
  pthread_cond_init(&watch->wake, &attributes);
  pthread_condattr_destroy(&attributes);
  if (!pthread_create(&watch->thread, NULL, watcher, watch)) return true;
  pthread_cond_destroy(&watch->wake);
  pthread_mutex_destroy(&watch->lock);
  return false;
}

void etk__memory_start(etk_memory_watch *watch, bool kernel) {
  *watch = (etk_memory_watch){.before = etk__memory_resident()};
  atomic_store(&watch->peak, watch->before);
  watch->reset = kernel && reset_mark();
  if (!watch->reset) watch->watching = start_thread(watch);
}

int64_t etk__memory_stop(etk_memory_watch *watch) {
  if (watch->watching) {
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
  }
  look(watch);
  int64_t peak = atomic_load(&watch->peak), mark = watch->reset ? etk_hardware_peak_rss_bytes() : 0;
  *watch = (etk_memory_watch){.before = watch->before};
  return mark > peak ? mark : peak;
}
