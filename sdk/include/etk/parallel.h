/* etk/parallel.h: the one pool of threads that owns the cores.
 *
 * The pool is process-wide state: made at first use with etk_parallel_threads() threads (the caller is one of them). Ranges are cut into the
 * same pieces for the same count, grain and thread count, so results that depend on the cut repeat. Calls from inside a region run inline. */
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
int etk_parallel_threads(void); /* threads a region may use: $EFFICIENTAI_THREADS, else cores this process may run on (affinity, cgroup) */
/* Sets the count before or between regions (not inside one); 0 restores the default. */
void etk_parallel_set_threads(int threads);
void etk_parallel_shutdown(void); /* joins the threads; the next region starts them again */

#ifdef __cplusplus
}
#endif
#endif
