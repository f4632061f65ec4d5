/* ml_speculate.h: what the tests of proposals and of kept prompts share: models of all families and types, and texts of them. */
#ifndef TESTS_ML_SPECULATE_H
#define TESTS_ML_SPECULATE_H

#include "ml_golden.h"

#include <etk/convert.h>

static const char *const families[] = {"gemma2", "gemma3-layer-types", "llama-llama3", "llama-yarn", "mistral-window", "phi3", "phi3-longrope", "phi3-partial", "qwen2-window", "qwen3-tied"};
enum { FAMILIES = sizeof families / sizeof *families };
static const char *const caches[] = {"f32", "f16", "q8_0"};
enum { CACHES = sizeof caches / sizeof *caches, CODES = CACHES - 1 };
static inline etk_model *family_model(int i) { return open_model(path_of("tests/goldens/models_ref/%s", families[i])); }

/* Weights far enough from each other that texts do not run in circles at once. */
static inline etk_model *random_model(int64_t vocab, int64_t width, int64_t layers, uint64_t seed, float scale) {
  etk_model_config config = {.architecture = "llama", .vocab_size = vocab, .hidden_size = width, .intermediate_size = width, .num_hidden_layers = layers, .num_attention_heads = 4,
                             .num_key_value_heads = 2, .head_dim = width / 4, .max_position_embeddings = 400, .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = 1,
                             .eos_token_ids = {2}, .eos_count = 1};
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, seed));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    for (int64_t j = 0; etk_tensor_shape(t)->rank == 2 && j < etk_tensor_elements(t); j++) ((float *)etk_tensor_data(t))[j] *= scale;
  }
  return model;
}
/* One with rows of 256, as the types want, written as `type`: "f32" and what etk_convert knows, or "mlx" for MLX's codes of 4 bits. */
static inline etk_model *typed_model(void **state, const char *type) {
  const char *folder = fresh_folder(state, "typed"), *file = path_of("%s/typed-%s%s", (const char *)*state, type, !strcmp(type, "mlx") ? "" : ".gguf");
  etk_model *model = random_model(96, 256, 2, 5, 3);
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_model_unref(model);
  etk_convert *convert = NULL;
  etk_convert_options options = {.to = !strcmp(type, "mlx") ? ETK_CONVERT_MLX : ETK_CONVERT_GGUF, .type = !strcmp(type, "mlx") ? NULL : type, .replace = true};
  works(etk_convert_new(e, &convert, folder, file, &options));
  works(etk_convert_write(e, convert));
  etk_convert_free(convert);
  return open_model(file);
}
static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q5_1", "q4_k", "q6_k", "iq4_nl", "mlx"};
enum { TYPES = sizeof types / sizeof *types };

static inline etk_generator *generator_of(const etk_model *model) {
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 0));
  return generator;
}
static inline etk_generate_options greedy_options(int64_t tokens) {
  return (etk_generate_options){.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = tokens, .ignore_eos = true};
}

/* A text with the log-probabilities that came with it. */
struct text {
  etk_generation made;
  double logprobs[600];
  size_t count;
};
static inline bool add_token(void *user, int32_t id, double logprob) {
  struct text *t = user;
  (void)id;
  t->logprobs[t->count++] = logprob;
  return true;
}
static inline struct text text_of(etk_generator *generator, const int32_t *prompt, size_t count, etk_generate_options options) {
  struct text t = {.count = 0};
  options.token = add_token;
  options.user = &t;
  assert_true(options.max_tokens <= 600);
  works(etk_generate(e, generator, prompt, count, &options, &t.made));
  assert_int_equal(t.count, t.made.ids.count);
  return t;
}
/* The same ids, stop and log-probabilities, to the last bit. */
static inline void same_text(const char *what, const struct text *a, const struct text *b) {
  if (a->count != b->count || a->made.stop != b->made.stop)
    fail_msg("%s: %zu tokens and stop %d, wanted %zu and %d", what, b->count, (int)b->made.stop, a->count, (int)a->made.stop);
  for (size_t i = 0; i < a->count; i++)
    if (a->made.ids.items[i] != b->made.ids.items[i] || memcmp(&a->logprobs[i], &b->logprobs[i], sizeof(double)))
      fail_msg("%s: token %zu is %d with %.17g, wanted %d with %.17g", what, i, b->made.ids.items[i], b->logprobs[i], a->made.ids.items[i], a->logprobs[i]);
}

#endif
