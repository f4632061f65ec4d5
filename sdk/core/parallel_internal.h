/* parallel_internal.h: where threads of the pool run. Not installed. */
#ifndef ETK_PARALLEL_INTERNAL_H
#define ETK_PARALLEL_INTERNAL_H

#include "hardware_internal.h"

enum { PLACES_MOST = 4096 }; /* processors that are considered */

/* A processor for each of `threads` threads: nodes of memory share the threads by their sizes, neighbouring threads lie on one node, and a core takes a second
 * thread only when all have one. Only processors for which `allowed` (user, cpu) is true count. Returns the number of nodes that got threads; 0: the
 * topology is unknown, and out is not written. */
int etk__parallel_places(int *out, int threads, provider *p, bool (*allowed)(void *user, int cpu), void *user);

#endif
