/* ml_packed.h: small models whose matrices are packed in a stored type, beside the same model holding the decoded values; for the tests of GGUF and
 * MLX models. */
#ifndef ETK_TESTS_ML_PACKED_H
#define ETK_TESTS_ML_PACKED_H

#include "../interpose.h"
#include "ml_golden.h"

#include <etk/quant.h>
#include <etk/rng.h>
#include <math.h>

enum { PACKED_WEIGHTS = 64, PACKED_TOKENS = 9 };

/* Grouped queries, rows of 256 and 512 elements: whole blocks of every type. */
static inline etk_model_config packed_config(void) {
  return (etk_model_config){.architecture = "llama", .vocab_size = 70, .hidden_size = 256, .intermediate_size = 512, .num_hidden_layers = 2,
                            .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 64, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                            .rope_theta = 10000, .bos_token_id = 1, .eos_token_ids = {2}, .eos_count = 1};
}

/* Random weights large enough that logits differ by more than rounding. */
static inline etk_model *strong_model(const etk_model_config *config) {
  etk_model *model = NULL;
  works(etk_model_new(e, &model, config, 11));
  etk_rng rng = etk_rng_new(5, 7);
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    float *values = etk_tensor_data(t);
    for (int64_t j = 0; j < etk_tensor_elements(t); j++)
      values[j] = etk_tensor_shape(t)->rank == 2 ? 4 * values[j] : values[j] + (float)(0.2 * etk_rng_normal(&rng));
  }
  return model;
}

/* A byte more in the header of a safetensors file: its values lie askew in memory. */
static inline void set_askew(const char *path) {
  char *bytes = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &bytes, &size, path, (size_t)64 << 20));
  uint64_t header;
  memcpy(&header, bytes, 8);
  char *askew = etk_alloc(size + 1);
  assert_non_null(askew);
  memcpy(askew, bytes, 8 + header);
  askew[8 + header] = ' ';
  memcpy(askew + 9 + header, bytes + 8 + header, size - 8 - header);
  header++;
  memcpy(askew, &header, 8);
  write_file(path, askew, size + 1);
  etk_free(askew);
  etk_free(bytes);
}

/* Logits of a fixed text; the caller frees. */
static inline float *logits_of(const etk_model *model, const etk_adapter *adapter) {
  int32_t ids[PACKED_TOKENS];
  int64_t vocab = etk_model_get_config(model)->vocab_size;
  for (int i = 0; i < PACKED_TOKENS; i++) ids[i] = (int32_t)(i * 7 % vocab);
  float *out = etk_calloc((size_t)(PACKED_TOKENS * vocab), sizeof *out);
  assert_non_null(out);
  forward_plain(model, adapter, ids, PACKED_TOKENS, out);
  return out;
}

/* tolerance 0: the same bits; else of the largest magnitude. Fails too where the logits do not vary, when nothing would be compared. */
static inline void same_logits(const etk_model *a, const etk_model *b, double tolerance) {
  float *x = logits_of(a, NULL), *y = logits_of(b, NULL);
  size_t count = (size_t)(PACKED_TOKENS * etk_model_get_config(a)->vocab_size);
  double top = 0, worst = 0;
  for (size_t i = 0; i < count; i++) {
    top = fmax(top, fabs((double)x[i]));
    worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
  }
  assert_true(top > 0.5);
  if (tolerance == 0) assert_memory_equal(x, y, count * sizeof *x);
  if (!(worst <= tolerance * top)) fail_msg("logits of up to %g differ by %g", top, worst);
  etk_free(x);
  etk_free(y);
}
/* Two single-precision evaluations of the same model that add in different orders: each of some ten sums of at most 512 terms in a row errs by about 1e-6 of
 * its size. A wrong row, scale or sign is off by hundreds of times as much. */
static const double SAME_VALUES = 2e-5;

static bool opens(void *path) {
  etk_model *model = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_model_open(&e, &model, path, NULL)) return false;
  etk_model_unref(model);
  return true;
}

/* The model at path opens or fails cleanly, whichever allocation fails. */
static inline void survives_opening(char *path) {
  long tried = interpose_sweep(opens, path);
  if (tried < 0) fail_msg("a failure of allocation %ld leaves blocks behind", -1 - tried);
  if (tried < 20) fail_msg("%ld allocations were tried", tried);
}

#endif
