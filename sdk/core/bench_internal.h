/* bench_internal.h: memory during a run, and the reference loop. Not installed. */
#ifndef ETK_BENCH_INTERNAL_H
#define ETK_BENCH_INTERNAL_H

#include "etk/bench.h"

#include <pthread.h>
#include <stdatomic.h>

/* The peak of resident memory between start and stop. The kernel keeps a high-water mark, which Linux lets a process reset; where it does not, a thread
 * looks every 10 ms. */
typedef struct etk_memory_watch {
  bool reset;           /* the kernel's mark is ours */
  bool watching;        /* by a thread */
  pthread_t thread;
  pthread_mutex_t lock; /* guards stop */
  pthread_cond_t wake;
  bool stop;
  _Atomic int64_t peak;
  int64_t before;
} etk_memory_watch;
void etk__memory_start(etk_memory_watch *watch, bool kernel); /* kernel: use its mark where it can be reset */
int64_t etk__memory_stop(etk_memory_watch *watch);            /* the peak */
int64_t etk__memory_resident(void);

double etk__bench_reference(void); /* thread CPU seconds of one reference loop, some 0.2 ms */

#endif
