/* etk/parallel.h: the one pool of threads that owns the cores.
 *
 * The pool is process-wide state: made at first use with etk_parallel_threads() threads (the caller is one of them). Ranges are cut into the
 * same pieces for the same count, grain and thread count, so results that depend on the cut repeat. Calls from inside a region run inline.
 *
 * A thread that has nothing to do looks for work for some 50 microseconds and sleeps then. With ETK_PIN=1 in the environment each thread of the pool keeps to one
 * processor: cores before their second threads, and all nodes of memory, neighbouring threads on one; callers of regions are left as they are. Where there are
 * several nodes, each thread then runs its own part of etk_parallel_for, so that memory first written there lies near the thread that reads the
 * same part later. It helps where nothing else runs; beside other work it can be slower. Linux only.
 */
#ifndef ETK_PARALLEL_H
#define ETK_PARALLEL_H

#include "status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* body(user, begin, end, slot) handles [begin, end); slot is 0 … threads-1 and no two running bodies share one. A region has at most one piece
 * for each slot, and the slot is the piece's number, so what a slot sums up repeats too. A process may fork between regions, not inside one. */
typedef void (*etk_parallel_body)(void *user, int64_t begin, int64_t end, int slot);
/* Runs body over [0, count) in pieces of at least `grain`; returns when all are done. Never fails: without threads it runs inline. */
void etk_parallel_for(int64_t count, int64_t grain, etk_parallel_body body, void *user);
/* The same in up to four times as many pieces: a thread takes those of its own part in order, then what others have left, so that one which other programs hold
 * up does not hold up all. The pieces repeat, but which slot gets them is chance: for bodies to which a slot is memory of their own for the time of a piece. */
void etk_parallel_share(int64_t count, int64_t grain, etk_parallel_body body, void *user);
int etk_parallel_threads(void); /* threads a region may use: $ETK_THREADS or $EFFICIENTAI_THREADS, else cores this process may run on (affinity, cgroup) */
/* Sets the count before or between regions (not inside one); 0 restores the default. */
void etk_parallel_set_threads(int threads);
void etk_parallel_shutdown(void); /* joins the threads; the next region starts them again */

#ifdef __cplusplus
}
#endif
#endif
