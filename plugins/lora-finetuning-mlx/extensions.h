/* extensions.h: what this project answers query() with. */
#ifndef EXTENSIONS_H
#define EXTENSIONS_H

#include <etk/bench.h>
#include <etk/selftest.h>

extern const etk_selftest selftest; /* selftest.c */
extern const etk_bench_suite benchmarks; /* bench.c */

const void *extensions_query(const char *id);

#endif
