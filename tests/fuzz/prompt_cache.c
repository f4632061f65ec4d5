/* Fuzz target: files of kept prompts. One that is taken must be gone on from; any other gives an error and leaves nothing held.
 * With ETK_SEED_TO a whole file is written there first, from which prompt_cache_seeds.py makes the seeds. */
#include <etk/generate.h>
#include <etk/safetensors.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ml/generate/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(etk_status status, const etk_error *e) {
  if (!status) return;
  fprintf(stderr, "%s\n", e->message);
  abort();
}

/* Weights that are the same numbers everywhere, so that seeds are of this model on every machine. */
static etk_generator *the_generator(void) {
  static etk_generator *generator;
  if (generator) return generator;
  const etk_model_config config = {.architecture = "llama", .vocab_size = 12, .hidden_size = 8, .intermediate_size = 8, .num_hidden_layers = 1, .num_attention_heads = 2,
                                   .num_key_value_heads = 1, .head_dim = 4, .max_position_embeddings = 32, .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = 1};
  etk_error e = ETK_ERROR_INIT;
  etk_model *model;
  check(etk_model_new(&e, &model, &config, 1), &e);
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    float *x = etk_tensor_data(etk_model_weight_at(model, i));
    for (int64_t j = 0; j < etk_tensor_elements(etk_model_weight_at(model, i)); j++) x[j] = (float)((j * 7 + (int64_t)i * 3) % 17 - 8) / 8;
  }
  check(etk_generator_new(&e, &generator, model, NULL, 24), &e);
  return generator;
}

static void go_on(etk_generator *generator) {
  etk_error e = ETK_ERROR_INIT;
  etk_generate_options options = {.max_tokens = 2, .ignore_eos = true, .reuse = true};
  int32_t prompt[24];
  size_t count = (size_t)etk_generator_held(generator);
  memcpy(prompt, generator->seen, count * sizeof *prompt);
  etk_generation out;
  if (etk_generate(&e, generator, prompt, count, &options, &out)) return; /* infinite keys */
  if (out.reused_tokens != (int64_t)count - 1) abort();
  etk_ids_free(&out.ids);
}

static void write_seed(const char *path) {
  etk_generator *generator = the_generator();
  etk_error e = ETK_ERROR_INIT;
  const int32_t prompt[18] = {1, 5, 3, 9, 11, 0, 2, 4, 6, 8, 10, 7, 5, 3, 1, 9, 4, 2};
  etk_generate_options options = {.max_tokens = 1, .ignore_eos = true};
  etk_generation out;
  check(etk_generate(&e, generator, prompt, 18, &options, &out), &e);
  check(etk_generator_save(&e, generator, path, 0), &e);
  etk_ids_free(&out.ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *seed = getenv("ETK_SEED_TO");
  if (seed) write_seed(seed);
  etk_generator *generator = the_generator();
  etk_error e = ETK_ERROR_INIT;
  etk_safetensors *file;
  if (etk_safetensors_parse(&e, &file, "input", data, size)) return 0;
  etk_status status = etk__generator_take(&e, generator, file, "input");
  etk_safetensors_close(file);
  if (status ? !e.message[0] || etk_generator_held(generator) : etk_generator_held(generator) < 1) abort();
  if (!status) go_on(generator);
  return 0;
}
