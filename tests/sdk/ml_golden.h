/* ml_golden.h: what the tests of models share: the shared material, JSON, a temporary folder, forward passes outside the generator. */
#ifndef TESTS_ML_GOLDEN_H
#define TESTS_ML_GOLDEN_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/generate.h>
#include <etk/model.h>
#include <etk/ops.h>
#include <etk/safetensors.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Fails the test with the library's own words. */
#define works(call)                                                        \
  do {                                                                     \
    etk_error works_error = ETK_ERROR_INIT, *e = &works_error;             \
    if (call) fail_msg("%s: %s", #call, works_error.message);              \
  } while (0)
/* The call fails with `wanted`, and its message holds `part`. */
#define fails_with(wanted, part, call)                                                                                          \
  do {                                                                                                                          \
    etk_error fails_error = ETK_ERROR_INIT, *e = &fails_error;                                                                  \
    etk_status fails_status = (call);                                                                                           \
    if (fails_status != (wanted) || fails_error.status != fails_status || !strstr(fails_error.message, (part)))                 \
      fail_msg("%s: %s (%s), wanted %s with \"%s\"", #call, etk_status_name(fails_status), fails_error.message, etk_status_name(wanted), (part)); \
  } while (0)

enum { PATHS = 8192 };
/* A path that lives as long as the program (and is reachable, so that it is no leak). */
static inline char *path_of(const char *format, ...) ETK_PRINTF(1, 2);
static inline char *path_of(const char *format, ...) {
  static char *all[PATHS];
  static int count;
  va_list list;
  va_start(list, format);
  if (count == PATHS || vasprintf(&all[count], format, list) < 0) abort();
  va_end(list);
  return all[count++];
}

static inline char *shared(const char *name) {
  const char *root = getenv("ETK_SHARED");
  return path_of("%s/%s", root ? root : "../shared", name);
}
/* Ends the test as skipped where the shared material is not there. */
static inline char *shared_or_skip(const char *name) {
  char *path = shared(name);
  if (!etk_fs_exists(path)) skip();
  return path;
}

static inline json_t *load_json(const char *path) {
  json_error_t error;
  json_t *root = json_load_file(path, 0, &error);
  if (!root) fail_msg("%s:%d: %s", path, error.line, error.text);
  return root;
}
static inline size_t json_ids(const json_t *list, int32_t *out, size_t limit) {
  size_t count = json_array_size(list);
  if (count > limit) fail_msg("%zu ids, room for %zu", count, limit);
  for (size_t i = 0; i < count; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
  return count;
}
static inline double json_real_at(const json_t *list, size_t index) { return json_number_value(json_array_get(list, index)); }

/* Setup and teardown for a group: *state is the folder's path. */
static inline int make_folder(void **state) {
  const char *root = getenv("ETK_TMP");
  char *path = etk_strdup(path_of("%s/etk-ml.XXXXXX", root ? root : "/tmp"));
  if (!path || !mkdtemp(path)) return -1;
  *state = path;
  return 0;
}
static inline int remove_folder(void **state) {
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_fs_remove_tree(&e, *state);
  etk_free(*state);
  return status ? -1 : 0;
}
/* An empty folder inside the temporary one. */
static inline char *fresh_folder(void **state, const char *name) {
  char *path = path_of("%s/%s", (const char *)*state, name);
  works(etk_fs_remove_tree(e, path));
  works(etk_fs_make_dirs(e, path));
  return path;
}
static inline void write_file(const char *path, const void *bytes, size_t size) { works(etk_fs_write(e, path, bytes, size, true)); }
static inline void write_text(const char *path, const char *text) { write_file(path, text, strlen(text)); }
static inline void copy_file(const char *from, const char *to, long change) { /* change: bytes cut (negative) or added at the end */
  char *bytes = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &bytes, &size, from, (size_t)64 << 20));
  char *longer = etk_calloc(1, size + (change > 0 ? (size_t)change : 0) + 1);
  assert_non_null(longer);
  memcpy(longer, bytes, size);
  write_file(to, longer, (size_t)((long)size + change));
  etk_free(longer);
  etk_free(bytes);
}

static inline etk_model *open_model(const char *path) {
  etk_model *model = NULL;
  works(etk_model_open(e, &model, path, NULL));
  return model;
}
static inline etk_model *open_trainable(const char *path) {
  etk_model *model = NULL;
  etk_model_options options = {.trainable = true};
  works(etk_model_open(e, &model, path, &options));
  return model;
}

/* log softmax of one row, in double. */
static inline double log_probability(const float *logits, int64_t vocab, int32_t id) {
  double top = logits[0], sum = 0;
  for (int64_t i = 1; i < vocab; i++) top = logits[i] > top ? logits[i] : top;
  for (int64_t i = 0; i < vocab; i++) sum += exp(logits[i] - top);
  return logits[id] - top - log(sum);
}

/* Logits of every position by the plain forward pass: out (count, vocab). */
static inline void forward_plain(const etk_model *model, const etk_adapter *adapter, const int32_t *ids, size_t count, float *out) {
  etk_graph *g = etk_graph_new();
  assert_non_null(g);
  etk_forward f = {.adapter = adapter};
  f.ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, (int64_t)count), "ids");
  f.positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, (int64_t)count), "positions");
  etk_tensor *logits = etk_model_forward(g, model, &f);
  etk_graph_keep(g, logits);
  works(etk_graph_plan(e, g, NULL));
  memcpy(etk_tensor_data(f.ids), ids, count * sizeof *ids);
  for (size_t i = 0; i < count; i++) ((int32_t *)etk_tensor_data(f.positions))[i] = (int32_t)i;
  works(etk_graph_eval(e, g));
  memcpy(out, etk_tensor_data(logits), etk_tensor_bytes(logits));
  etk_graph_free(g);
}

/* The same through a cache, `chunk` tokens a time, the last chunk padded with unused tokens. */
static inline void forward_cached(const etk_model *model, const etk_adapter *adapter, const int32_t *ids, size_t count, int64_t chunk, float *out) {
  const etk_model_config *c = etk_model_get_config(model);
  int blocks = (int)(count / 4 + 1);
  etk_cache_options options = {.layers = (int)c->num_hidden_layers, .kv_heads = (int)c->num_key_value_heads, .head_dim = (int)c->head_dim,
                               .block_tokens = 4, .blocks = blocks};
  etk_cache *cache = NULL;
  int sequence;
  works(etk_cache_new(e, &cache, &options));
  works(etk_cache_sequence_new(e, cache, &sequence));
  etk_graph *g = etk_graph_new();
  assert_non_null(g);
  etk_forward f = {.adapter = adapter, .cache = cache};
  f.ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, chunk), "ids");
  f.positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, chunk), "positions");
  f.block_table = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, blocks), "block_table");
  if (c->rope_scaling == ETK_ROPE_LONGROPE) f.last = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 1), "last");
  etk_tensor *logits = etk_model_forward(g, model, &f);
  etk_graph_keep(g, logits);
  works(etk_graph_plan(e, g, NULL));
  if (f.last) *(int32_t *)etk_tensor_data(f.last) = (int32_t)count - 1;
  for (int64_t done = 0; done < (int64_t)count; done += chunk) {
    int64_t part = (int64_t)count - done < chunk ? (int64_t)count - done : chunk;
    works(etk_cache_sequence_reserve(e, cache, sequence, (int)(done + part)));
    for (int64_t i = 0; i < chunk; i++) {
      ((int32_t *)etk_tensor_data(f.ids))[i] = i < part ? ids[done + i] : 0;
      ((int32_t *)etk_tensor_data(f.positions))[i] = i < part ? (int32_t)(done + i) : -1;
    }
    int used;
    const int32_t *numbers = etk_cache_sequence_blocks(cache, sequence, &used);
    for (int i = 0; i < blocks; i++) ((int32_t *)etk_tensor_data(f.block_table))[i] = i < used ? numbers[i] : -1;
    works(etk_graph_eval(e, g));
    memcpy(out + done * c->vocab_size, etk_tensor_data(logits), (size_t)(part * c->vocab_size) * sizeof *out);
  }
  etk_graph_free(g);
  etk_cache_free(cache);
}

#endif
