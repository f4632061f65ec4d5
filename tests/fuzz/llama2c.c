/* Fuzz target: llama2.c checkpoints. */
#define MOST_POSITIONS 64 /* the file's tables of cosines are as long */
#include "model_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return run_file(".bin", &(etk_model_options){.trainable = size % 2 == 1}, data, size); }
