/* ggml.h: llama.cpp's block types as a peer: own declarations of the few functions of libggml-base that are called, found at run time in the library that
 * $ETK_GGML names (libggml-base.so of the npm package @node-llama-cpp/linux-x64). Nothing of it is built or shipped here. */
#ifndef BENCH_PEERS_GGML_H
#define BENCH_PEERS_GGML_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The head of struct ggml_type_traits. */
typedef struct ggml_traits {
  const char *name;
  int64_t block_elements, block_elements_interleaved;
  size_t block_bytes;
  bool quantized;
  void (*to_float)(const void *in, float *out, int64_t count);
} ggml_traits;
/* struct gguf_init_params. */
typedef struct ggml_file_options {
  bool no_alloc;
  void **context;
} ggml_file_options;
typedef struct ggml {
  void *library;
  const ggml_traits *(*traits)(int type);
  size_t (*quantize)(int type, const float *in, void *out, int64_t start, int64_t rows, int64_t columns, const float *importance);
  size_t (*row_size)(int type, int64_t columns);
  void *(*file_open)(const char *path, ggml_file_options options);
  void (*file_close)(void *file);
  int64_t (*keys)(const void *file);
  int64_t (*tensors)(const void *file);
  int64_t (*find_key)(const void *file, const char *key);
  int64_t (*find_tensor)(const void *file, const char *name);
  const char *(*text)(const void *file, int64_t key);
  int (*tensor_type)(const void *file, int64_t tensor);
  size_t (*tensor_offset)(const void *file, int64_t tensor);
  size_t (*data_offset)(const void *file);
} ggml;

/* Finds symbol `name` as a function pointer of any type. */
#define GGML_FIND(peer, field, name)                                                                                                                 \
  do {                                                                                                                                               \
    void *ggml_symbol = dlsym((peer)->library, (name));                                                                                              \
    memcpy(&(peer)->field, &ggml_symbol, sizeof ggml_symbol);                                                                                        \
  } while (0)

/* False, with a line on stderr where the variable is set, where there is no such peer. */
static inline bool ggml_open(ggml *peer) {
  const char *path = getenv("ETK_GGML");
  memset(peer, 0, sizeof *peer);
  if (!path || !*path) return false;
  peer->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!peer->library) {
    fprintf(stderr, "ETK_GGML: %s\n", dlerror());
    return false;
  }
  GGML_FIND(peer, traits, "ggml_get_type_traits");
  GGML_FIND(peer, quantize, "ggml_quantize_chunk");
  GGML_FIND(peer, row_size, "ggml_row_size");
  GGML_FIND(peer, file_open, "gguf_init_from_file");
  GGML_FIND(peer, file_close, "gguf_free");
  GGML_FIND(peer, keys, "gguf_get_n_kv");
  GGML_FIND(peer, tensors, "gguf_get_n_tensors");
  GGML_FIND(peer, find_key, "gguf_find_key");
  GGML_FIND(peer, find_tensor, "gguf_find_tensor");
  GGML_FIND(peer, text, "gguf_get_val_str");
  GGML_FIND(peer, tensor_type, "gguf_get_tensor_type");
  GGML_FIND(peer, tensor_offset, "gguf_get_tensor_offset");
  GGML_FIND(peer, data_offset, "gguf_get_data_offset");
  if (peer->traits && peer->quantize && peer->row_size && peer->file_open && peer->file_close && peer->keys && peer->tensors && peer->find_key &&
      peer->find_tensor && peer->text && peer->tensor_type && peer->tensor_offset && peer->data_offset)
    return true;
  fprintf(stderr, "ETK_GGML: %s lacks one of the functions that bench/peers/ggml.h names\n", path);
  return false;
}

#endif
