/* llama.h: llama.cpp as a peer that runs whole models: own declarations of the few functions of libllama that are called, found at run time in the folder of
 * libraries that $ETK_LLAMA names (bench/peers/llama.sh fetches the pinned npm package @node-llama-cpp/linux-x64@3.22.1, llama.cpp release v0.5.0).
 * Nothing of it is built or shipped here.
 *
 * The parameter structs pass by value, so their layout must be right: libllama's own defaults are compared with what these declarations expect of that
 * release, and another layout is refused. */
#ifndef BENCH_PEERS_LLAMA_H
#define BENCH_PEERS_LLAMA_H

#include <dirent.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* struct llama_model_params. */
typedef struct llama_model_options {
  void *devices;
  const void *buffer_overrides;
  int32_t gpu_layers, split_mode, load_mode, lazy_mode, main_gpu;
  const float *tensor_split;
  bool (*progress)(float done, void *user);
  void *progress_user;
  const void *key_overrides;
  bool vocab_only, check_tensors, extra_buffers, no_host, no_alloc, load_mtp; /* extra_buffers: repack weights for speed */
} llama_model_options;
/* struct llama_context_params. */
typedef struct llama_context_options {
  uint32_t context, batch, micro_batch, sequences, states_per_sequence, outputs, outputs_per_sequence;
  int32_t threads, threads_batch, kind, rope_scaling, pooling, attention, flash_attention; /* flash_attention: -1 as it likes, 0 no, 1 yes */
  float rope_base, rope_scale, yarn_extrapolation, yarn_attention, yarn_beta_fast, yarn_beta_slow;
  uint32_t yarn_context;
  float defragment;
  void *on_eval, *on_eval_user;
  int32_t key_type, value_type; /* ggml types of the cache: 0 F32, 1 F16 */
  void *abort, *abort_user;
  bool embeddings, offload_cache, no_timing, offload_ops, full_window, unified_cache;
  void *samplers;
  size_t sampler_count;
  void *other;
} llama_context_options;
/* struct llama_model_quantize_params. */
typedef struct llama_quantize_options {
  int32_t threads, file_type, output_type, embedding_type; /* types: 43 (no type): as the file type says */
  bool requantize, quantize_output, only_copy, pure, keep_split, dry_run;
  const void *importance, *key_overrides, *type_overrides, *pruned_layers;
  int32_t later[2];
} llama_quantize_options;
/* struct llama_batch. */
typedef struct llama_batch {
  int32_t count;
  int32_t *tokens;
  float *embeddings;
  int32_t *positions, *sequence_counts, **sequences;
  int8_t *wanted; /* which tokens' logits */
} llama_batch;
_Static_assert(sizeof(llama_model_options) == 80 && offsetof(llama_model_options, vocab_only) == 72, "struct llama_model_params of v0.5.0");
_Static_assert(sizeof(llama_context_options) == 160 && offsetof(llama_context_options, key_type) == 104, "struct llama_context_params of v0.5.0");
_Static_assert(sizeof(llama_quantize_options) == 64 && offsetof(llama_quantize_options, importance) == 24, "struct llama_model_quantize_params of v0.5.0");
_Static_assert(sizeof(llama_batch) == 56, "struct llama_batch");

enum { LLAMA_NO_TYPE = 43, LLAMA_ERROR_LEVEL = 4, LLAMA_WARN_LEVEL = 3, LLAMA_CONTINUE_LEVEL = 5 };

typedef struct llama {
  void *library, *loader; /* libllama, libggml */
  void (*init)(void);
  void (*load_backends)(const char *folder);
  void (*set_log)(void (*log)(int level, const char *text, void *user), void *user);
  llama_model_options (*model_defaults)(void);
  llama_context_options (*context_defaults)(void);
  llama_quantize_options (*quantize_defaults)(void);
  void *(*model_open)(const char *path, llama_model_options options);
  void (*model_free)(void *model);
  void *(*context_new)(void *model, llama_context_options options);
  void (*context_free)(void *context);
  const void *(*vocab)(const void *model);
  int32_t (*vocab_count)(const void *vocab);
  int32_t (*vocab_type)(const void *vocab);
  int32_t (*tokenize)(const void *vocab, const char *text, int32_t size, int32_t *ids, int32_t capacity, bool special, bool parse_special);
  int32_t (*context_trained)(const void *model);
  int32_t (*describe)(const void *model, char *text, size_t size);
  llama_batch (*batch_new)(int32_t capacity, int32_t embedding, int32_t sequences);
  void (*batch_free)(llama_batch batch);
  int32_t (*decode)(void *context, llama_batch batch);
  float *(*logits)(void *context, int32_t index);
  void *(*memory)(const void *context);
  void (*memory_clear)(void *memory, bool data);
  uint32_t (*quantize)(const char *in, const char *out, const llama_quantize_options *options);
  void *(*adapter_open)(void *model, const char *path);
  int32_t (*adapters_set)(void *context, void **adapters, size_t count, float *scales);
} llama;

static inline bool llama_find(void *library, void *slot, const char *name) {
  void *symbol = dlsym(library, name);
  if (!symbol) fprintf(stderr, "ETK_LLAMA: the library has no %s\n", name);
  memcpy(slot, &symbol, sizeof symbol); /* C has no cast from an object pointer to a function pointer */
  return symbol != NULL;
}

/* Opens the one file of `folder` that is called STEM*.so; its own dependencies lie beside it. */
static inline void *llama_load(const char *folder, const char *stem, const char *but) {
  DIR *dir = opendir(folder);
  void *library = NULL;
  char path[4096] = "";
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    const char *name = entry->d_name;
    size_t size = strlen(name);
    bool fits = !strncmp(name, stem, strlen(stem)) && size > 3 && !strcmp(name + size - 3, ".so") && !(but && strstr(name, but));
    if (fits && strchr("v.", name[strlen(stem) + 1])) snprintf(path, sizeof path, "%s/%s", folder, name);
  }
  if (dir) closedir(dir);
  if (*path && !(library = dlopen(path, RTLD_NOW | RTLD_GLOBAL))) fprintf(stderr, "ETK_LLAMA: %s\n", dlerror());
  if (!*path) fprintf(stderr, "ETK_LLAMA: no %s*.so in %s\n", stem, folder);
  return library;
}

/* The defaults of that release; what has no fixed default (load modes) is left out. */
static inline bool llama_layout_known(const llama *peer) {
  llama_model_options m = peer->model_defaults();
  llama_context_options c = peer->context_defaults();
  llama_quantize_options q = peer->quantize_defaults();
  bool model = !m.devices && !m.buffer_overrides && m.gpu_layers == -1 && m.split_mode == 1 && m.load_mode == -1 && m.lazy_mode == 1 && !m.main_gpu &&
               !m.tensor_split && !m.progress && !m.key_overrides && !m.vocab_only && !m.check_tensors && m.extra_buffers && !m.no_host && !m.no_alloc;
  bool context = c.context == 512 && c.batch == 2048 && c.micro_batch == 512 && c.sequences == 1 && c.outputs_per_sequence == 1 && c.threads == 4 &&
                 c.threads_batch == 4 && c.rope_scaling == -1 && c.pooling == -1 && c.attention == -1 && c.flash_attention == -1 && c.rope_base == 0 &&
                 c.yarn_extrapolation == -1 && c.yarn_beta_slow == -1 && c.defragment == -1 && !c.on_eval && c.key_type == 1 && c.value_type == 1 &&
                 !c.abort && !c.embeddings && c.offload_cache && c.no_timing && c.offload_ops && c.full_window && !c.unified_cache && !c.samplers;
  bool quantize = !q.threads && q.file_type == 7 && q.output_type == LLAMA_NO_TYPE && q.embedding_type == LLAMA_NO_TYPE && !q.requantize && q.quantize_output &&
                  !q.only_copy && !q.pure && !q.keep_split && !q.dry_run && !q.importance && !q.key_overrides && !q.type_overrides && !q.pruned_layers;
  if (!model || !context || !quantize)
    fprintf(stderr, "ETK_LLAMA: the default %s of this build are not those of llama.cpp v0.5.0; bench/peers/llama.h declares only that layout\n",
            !model ? "model parameters" : !context ? "context parameters" : "quantization parameters");
  return model && context && quantize;
}

/* Warnings and errors to stderr. */
static inline void llama_say(int level, const char *text, void *user) {
  static bool shown;
  (void)user;
  shown = level == LLAMA_CONTINUE_LEVEL ? shown : level == LLAMA_ERROR_LEVEL || (level == LLAMA_WARN_LEVEL && getenv("ETK_LLAMA_VERBOSE"));
  if (shown) fputs(text, stderr);
}

/* False, with a line on stderr, where there is no such peer. */
static inline bool llama_open(llama *peer) {
  memset(peer, 0, sizeof *peer);
  const char *folder = getenv("ETK_LLAMA");
  if (!folder || !*folder) {
    fputs("ETK_LLAMA is not set; it names the folder of libllama and libggml (sh bench/peers/llama.sh fetches them)\n", stderr);
    return false;
  }
  peer->loader = llama_load(folder, "libggml", "libggml-");
  peer->library = peer->loader ? llama_load(folder, "libllama", "libllama-") : NULL;
  if (!peer->library) return false;
  const struct symbol {
    void *library, *slot;
    const char *name;
  } symbols[] = {
      {peer->loader, &peer->load_backends, "ggml_backend_load_all_from_path"},
      {peer->library, &peer->init, "llama_backend_init"},
      {peer->library, &peer->set_log, "llama_log_set"},
      {peer->library, &peer->model_defaults, "llama_model_default_params"},
      {peer->library, &peer->context_defaults, "llama_context_default_params"},
      {peer->library, &peer->quantize_defaults, "llama_model_quantize_default_params"},
      {peer->library, &peer->model_open, "llama_model_load_from_file"},
      {peer->library, &peer->model_free, "llama_model_free"},
      {peer->library, &peer->context_new, "llama_init_from_model"},
      {peer->library, &peer->context_free, "llama_free"},
      {peer->library, &peer->vocab, "llama_model_get_vocab"},
      {peer->library, &peer->vocab_count, "llama_vocab_n_tokens"},
      {peer->library, &peer->vocab_type, "llama_vocab_type"},
      {peer->library, &peer->tokenize, "llama_tokenize"},
      {peer->library, &peer->context_trained, "llama_model_n_ctx_train"},
      {peer->library, &peer->describe, "llama_model_desc"},
      {peer->library, &peer->batch_new, "llama_batch_init"},
      {peer->library, &peer->batch_free, "llama_batch_free"},
      {peer->library, &peer->decode, "llama_decode"},
      {peer->library, &peer->logits, "llama_get_logits_ith"},
      {peer->library, &peer->memory, "llama_get_memory"},
      {peer->library, &peer->memory_clear, "llama_memory_clear"},
      {peer->library, &peer->quantize, "llama_model_quantize"},
      {peer->library, &peer->adapter_open, "llama_adapter_lora_init"},
      {peer->library, &peer->adapters_set, "llama_set_adapters_lora"},
  };
  bool found = true;
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) found = llama_find(symbols[i].library, symbols[i].slot, symbols[i].name) && found;
  if (!found || !llama_layout_known(peer)) return false;
  peer->set_log(llama_say, NULL);
  peer->load_backends(folder);
  peer->init();
  return true;
}

#endif
