/* ml_trainer.h: what the tests of training share: a tiny model, its adapter, data and options. */
#ifndef TESTS_ML_TRAINER_H
#define TESTS_ML_TRAINER_H

#include "ml_golden.h"

#include "ml/train/internal.h"
#include <etk/trainer.h>

static inline char *model_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }
static inline char *peft_folder(const char *variant, const char *which) { return path_of("%s/goldens/lora/%s/%s", shared("."), variant, which); }

static inline etk_dataset *open_data(const char *path, int64_t vocabulary, int32_t max_tokens) {
  etk_dataset_options options = {.vocabulary_size = vocabulary, .max_tokens = max_tokens};
  etk_dataset *data = NULL;
  works(etk_dataset_open(e, &data, path, &options));
  return data;
}
static inline etk_dataset *peft_data(void) { return open_data(shared("goldens/lora/data.jsonl"), 384, 96); }

static inline etk_model_config tiny_config(void) {
  return (etk_model_config){.architecture = "llama", .vocab_size = 24, .hidden_size = 16, .intermediate_size = 20, .num_hidden_layers = 2,
                            .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                            .rope_theta = 10000, .mlp_bias = true, .attention_bias = true, .bos_token_id = 1, .eos_token_ids = {2}, .eos_count = 1};
}
/* weights_scale: how much larger than fresh ones the weights are; norms stay at 1 */
static inline etk_model *tiny_model(float weights_scale) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    if (etk_tensor_shape(t)->rank < 2) continue;
    for (int64_t j = 0; j < etk_tensor_elements(t); j++) ((float *)etk_tensor_data(t))[j] *= weights_scale;
  }
  return model;
}
static inline etk_adapter *tiny_adapter(const etk_model *model, double dropout) {
  static const char *const targets[] = {"all-linear"};
  etk_lora_options options = {.rank = 2, .alpha = 4, .dropout = dropout, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 5));
  return adapter;
}
/* Seven sequences of 4 to 16 ids that follow a rule a model can learn. */
static inline etk_dataset *tiny_data(void **state) {
  char *path = path_of("%s/tiny.jsonl", (const char *)*state);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  const int lengths[] = {16, 9, 4, 12, 16, 7, 11};
  for (int s = 0; s < 7; s++) {
    fprintf(file, "{\"ids\":[1");
    for (int i = 1; i < lengths[s]; i++) fprintf(file, ",%d", 3 + (s + 2 * i) % 20);
    fprintf(file, "]}\n");
  }
  fclose(file);
  return open_data(path, 24, 64);
}
static inline etk_trainer_options tiny_options(void) {
  etk_trainer_options o = {.batch_size = 2, .max_tokens = 16, .optimizer = etk_optimizer_defaults(ETK_ADAMW), .gradient_clipping = 1, .seed = 17,
                           .schedule = {.kind = ETK_SCHEDULE_COSINE, .peak = 1e-2, .warmup_steps = 2, .total_steps = 10}};
  o.optimizer.weight_decay = 0.01;
  return o;
}

static inline void flatten(const etk_model *model, const etk_adapter *adapter, float **out, size_t *count) {
  size_t parts = adapter ? 2 * etk_adapter_count(adapter) : etk_model_weight_count(model), total = 0;
  for (int pass = 0; pass < 2; pass++) {
    if (pass) assert_non_null(*out = etk_calloc(total, sizeof **out));
    *count = total;
    total = 0;
    for (size_t i = 0; i < parts; i++) {
      etk_tensor *t = !adapter ? etk_model_weight_at(model, i) : i % 2 ? etk_adapter_at(adapter, i / 2)->b : etk_adapter_at(adapter, i / 2)->a;
      if (pass) memcpy(*out + total, etk_tensor_data(t), etk_tensor_bytes(t));
      total += (size_t)etk_tensor_elements(t);
    }
  }
}

#endif
