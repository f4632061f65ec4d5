/* ort.h: ONNX Runtime as a peer: own declarations of the few functions of its C interface that are called, found at run time in libonnxruntime.so.1 of the folder
 * that $ETK_ORT names (bench/peers/ort.sh fetches the pinned npm package onnxruntime-node). Nothing of it is built or shipped here.
 *
 * The interface is one table of functions whose order is promised to stay; a place in it is named by its number. Every function that can fail returns NULL or a
 * status that holds a message; nothing is released, for a process measures one thing and ends. */
#ifndef BENCH_PEERS_ORT_H
#define BENCH_PEERS_ORT_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum ort_place {
  ORT_ERROR_MESSAGE = 2,
  ORT_CREATE_ENV = 3,
  ORT_CREATE_SESSION = 7,
  ORT_CREATE_SESSION_FROM_ARRAY = 8,
  ORT_RUN = 9,
  ORT_CREATE_SESSION_OPTIONS = 10,
  ORT_SET_OPTIMIZED_PATH = 11,
  ORT_SET_THREADS = 24,
  ORT_CREATE_TENSOR = 49,
  ORT_TENSOR_DATA = 51,
  ORT_CREATE_CPU_MEMORY = 69,
};
enum { ORT_VERSION = 17 /* of the interface; later libraries know it too */, ORT_WARNING = 2, ORT_ERROR = 3 };
enum onnx_type { ONNX_FLOAT = 1, ONNX_UINT8 = 2, ONNX_INT8 = 3, ONNX_INT64 = 7 };

typedef struct ort {
  void (*const *table)(void); /* of enum ort_place */
  void *env, *options, *memory;
} ort;

/* A function of the table, as its type. */
#define ORT_CALL(o, place, ...) ((void *(*)(__VA_ARGS__))(o)->table[place])

/* Says what failed and ends the process. */
static inline void ort_must(const ort *o, void *status, const char *what) {
  if (!status) return;
  fprintf(stderr, "ort: %s: %s\n", what, ((const char *(*)(const void *))o->table[ORT_ERROR_MESSAGE])(status));
  exit(1);
}

/* false: there is no library; why is on the error stream. */
static inline bool ort_open(ort *o, int threads) {
  struct base {
    const void *(*table)(uint32_t version);
    const char *(*version)(void);
  };
  const char *folder = getenv("ETK_ORT");
  char path[4096];
  snprintf(path, sizeof path, "%s%slibonnxruntime.so.1", folder ? folder : "", folder ? "/" : "");
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol = library ? dlsym(library, "OrtGetApiBase") : NULL;
  const struct base *(*get)(void);
  memcpy(&get, &symbol, sizeof get);
  const void *table = symbol ? get()->table(ORT_VERSION) : NULL;
  if (!table) {
    fprintf(stderr, "ort: no ONNX Runtime: %s\n", symbol ? "it does not know this version of its interface" : dlerror());
    return false;
  }
  *o = (ort){.table = table};
  ort_must(o, ORT_CALL(o, ORT_CREATE_ENV, int, const char *, void **)(ORT_ERROR, "bench", &o->env), "environment");
  ort_must(o, ORT_CALL(o, ORT_CREATE_SESSION_OPTIONS, void **)(&o->options), "options");
  ort_must(o, ORT_CALL(o, ORT_SET_THREADS, void *, int)(o->options, threads), "threads");
  ort_must(o, ORT_CALL(o, ORT_CREATE_CPU_MEMORY, int, int, void **)(1, 0, &o->memory), "memory");
  const char *optimized = getenv("ETK_ORT_OPTIMIZED"); /* where to write the graph that it made of a model, to see what it fused */
  if (optimized) ort_must(o, ORT_CALL(o, ORT_SET_OPTIMIZED_PATH, void *, const char *)(o->options, optimized), optimized);
  return true;
}
static inline void *ort_session_of_bytes(const ort *o, const void *bytes, size_t size) {
  void *session = NULL;
  ort_must(o, ORT_CALL(o, ORT_CREATE_SESSION_FROM_ARRAY, void *, const void *, size_t, void *, void **)(o->env, bytes, size, o->options, &session), "session");
  return session;
}
static inline void *ort_session_of_file(const ort *o, const char *path) {
  void *session = NULL;
  ort_must(o, ORT_CALL(o, ORT_CREATE_SESSION, void *, const char *, void *, void **)(o->env, path, o->options, &session), path);
  return session;
}
/* A tensor over memory of the caller's. */
static inline void *ort_tensor(const ort *o, void *data, size_t bytes, int64_t rows, int64_t columns, enum onnx_type type) {
  void *value = NULL;
  int64_t shape[] = {rows, columns};
  ort_must(o, ORT_CALL(o, ORT_CREATE_TENSOR, void *, void *, size_t, const int64_t *, size_t, int, void **)(o->memory, data, bytes, shape, 2, (int)type, &value), "tensor");
  return value;
}
/* outputs: NULL where the library is to make them. */
static inline void ort_run(const ort *o, void *session, const char *const *in, void *const *inputs, size_t ins, const char *const *out, void **outputs, size_t outs) {
  ort_must(o,
           ORT_CALL(o, ORT_RUN, void *, const void *, const char *const *, void *const *, size_t, const char *const *, size_t,
                    void **)(session, NULL, in, inputs, ins, out, outs, outputs),
           "run");
}

#endif
