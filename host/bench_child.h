/* bench_child.h: benchmarks of plugins, asked for and run in child processes. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include "bench_store.h"

/* The cases that a plugin declares; none is ETK_OK with count 0. In the host's arena. */
etk_status bench_cases(etk_error *e, struct bench_entry **out, size_t *count, struct host *host, const struct plugin *plugin);
/* One round of a case in a process of its own: fills `round` and what is new of `entry`. */
etk_status bench_sample(etk_error *e, struct bench_entry *entry, struct bench_round *round, struct host *host, const struct plugin *plugin, const etk_bench_options *options,
                        int64_t limit_ns);

#endif
