/* Fuzz target: GGUF files as models. A file that opens must run: one token through the model, whose weights may be anything, infinities too. */
#include <etk/alloc.h>
#include <etk/generate.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *input_path(void) {
  static char path[256];
  if (!path[0]) {
    const char *root = getenv("ETK_TMP");
    snprintf(path, sizeof path, "%s/etk-model-%ld.gguf", root ? root : "/tmp", (long)getpid());
  }
  return path;
}

static void run_one(const etk_model *model) {
  const etk_model_config *c = etk_model_get_config(model);
  if (c->vocab_size > 4096 || c->num_hidden_layers > 16) return; /* legal, but no work for a fuzzer */
  etk_error e = ETK_ERROR_INIT;
  etk_generator *generator = NULL;
  const int32_t prompt[] = {0};
  etk_generate_options options = {.sampling = {.temperature = 1, .top_p = 0.9, .top_k = 3, .repetition_penalty = 1.1}, .max_tokens = 1, .ignore_eos = true};
  etk_generation out = {0};
  if (etk_generator_new(&e, &generator, model, NULL, 4)) return;
  if (!etk_generate(&e, generator, prompt, 1, &options, &out) && (out.ids.count != 1 || out.ids.items[0] < 0 || out.ids.items[0] >= c->vocab_size)) __builtin_trap();
  etk_ids_free(&out.ids);
  etk_generator_free(generator);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fd = open(input_path(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  bool written = write(fd, data, size) == (ssize_t)size;
  close(fd);
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  etk_model_options options = {.trainable = size % 4 == 1, .decoded = size % 4 == 2};
  if (written && etk_model_open(&e, &model, input_path(), &options) == ETK_OK) run_one(model);
  else if (written && (model || !e.message[0])) __builtin_trap();
  etk_model_unref(model);
  unlink(input_path());
  return 0;
}
