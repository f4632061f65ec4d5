/* The commands of llama_bench.c: their exit code, or -1 where argv[1] is none of them. */
#ifndef BENCH_PEERS_LLAMA_BENCH_H
#define BENCH_PEERS_LLAMA_BENCH_H
#include "llama.h"
int llama_bench(int argc, char **argv);
#endif
