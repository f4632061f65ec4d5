/* model_file.h: what the fuzz targets of model files share: the bytes are written to a file, which is opened; what opens must run: one token through the model, whose
 * weights may be anything, infinities too. */
#include <etk/alloc.h>
#include <etk/generate.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_one(const etk_model *model) {
  const etk_model_config *c = etk_model_get_config(model);
  if (c->max_position_embeddings > MOST_POSITIONS || c->vocab_size > 4096 || c->num_hidden_layers > 16) return; /* legal, but no work for a fuzzer */
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

static int run_file(const char *ending, const etk_model_options *options, const uint8_t *data, size_t size) {
  static char path[256];
  const char *root = getenv("ETK_TMP");
  if (!path[0]) snprintf(path, sizeof path, "%s/etk-fuzz-%ld%s", root ? root : "/tmp", (long)getpid(), ending);
  int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  bool written = write(fd, data, size) == (ssize_t)size;
  close(fd);
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  if (written && etk_model_open(&e, &model, path, options) == ETK_OK) run_one(model);
  else if (written && (model || !e.message[0])) __builtin_trap();
  etk_model_unref(model);
  unlink(path);
  return 0;
}
