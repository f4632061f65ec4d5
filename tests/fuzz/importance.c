/* Fuzz target: an importance matrix of llama.cpp, GGUF or the older list. What is accepted holds finite numbers from 0 on. */
#include "ml/convert/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk__importance *matrix;
  if (etk__importance_parse(&e, &matrix, "input", data, size)) {
    if (!e.message[0] || matrix) __builtin_trap();
    return 0;
  }
  const float *values;
  if (!etk__importance_find(&e, &values, matrix, "blk.0.attn_q.weight", 4, 1) && values)
    for (int i = 0; i < 4; i++)
      if (!(values[i] >= 0)) __builtin_trap();
  etk__importance_free(matrix);
  return 0;
}
