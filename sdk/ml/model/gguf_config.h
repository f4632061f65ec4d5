/* gguf_config.h: what gguf_config.c (writing) and gguf_config_read.c share. */
#ifndef ETK_ML_MODEL_GGUF_CONFIG_H
#define ETK_ML_MODEL_GGUF_CONFIG_H

#include "internal.h"
#include "ml/format/gguf_names.h"

/* Keys of our own, beside llama.cpp's, for what its keys do not tell. Other readers pass over them. */
#define KEY_MODEL_TYPE "etk.model_type"
#define KEY_EOS "etk.eos_token_ids"
#define KEY_ACTIVATION "etk.activation"
#define KEY_SCALAR "etk.query_pre_attn_scalar"
#define KEY_ROPE "etk.rope.llama3" /* factor, low_freq_factor, high_freq_factor, original positions */

/* Which families have a key. */
enum { ANY, WITH_LAYER_NORM, WITH_RMS_NORM, WITH_EXPERTS, WITH_SHARED_EXPERT, WITH_ROPE, WITH_SCORE_CAP, WITH_LOGIT_CAP, WITH_QUERY_SCALAR, WITH_LOCAL_ROPE };
bool etk__gguf_key_applies(int of, const struct family *family);

/* A number of the configuration and its key behind "<architecture>.". */
struct config_key {
  const char *key;
  size_t offset;
  bool real, required;
  int of;
};
extern const struct config_key etk__gguf_config_keys[];
extern const int etk__gguf_config_key_count;

static inline bool etk__is_neox(const struct family *family) { return family->layer_norm && !family->conv1d; }
/* llama.cpp divides by a cap, and takes 50 and 30 where Gemma 2 has none: so high a cap changes no value. */
#define ETK__NO_CAP 1e30
/* What llama.cpp divides a pair's frequency by, for Llama 3's rule: factor, low, high, original positions. */
double etk__llama3_factor(double theta, int64_t dims, int64_t pair, const double rule[4]);
/* YaRN's own factor of queries and keys. */
double etk__yarn_attention(double factor);

#endif
