/* Fuzz target: GGUF files as models. */
#define MOST_POSITIONS INT64_MAX
#include "model_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return run_file(".gguf", &(etk_model_options){.trainable = size % 4 == 1, .decoded = size % 4 == 2}, data, size);
}
