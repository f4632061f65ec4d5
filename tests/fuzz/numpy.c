/* Fuzz target: an .npy file, or an .npz archive where it begins as one. */
#include "etk/numpy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void touch(etk_tensor *tensor) {
  for (size_t j = 0; j < etk_tensor_bytes(tensor); j++) sink += ((const unsigned char *)etk_tensor_data(tensor))[j];
  etk_tensor_unref(tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_npz *file;
  etk_tensor *tensor;
  if (size < 2 || data[0] != 'P') {
    if (!etk_npy_parse(&e, &tensor, "input", data, size)) touch(tensor);
    else if (!e.message[0]) __builtin_trap();
    return 0;
  }
  if (etk_npz_parse(&e, &file, "input", data, size)) {
    if (!e.message[0] || file) __builtin_trap();
    return 0;
  }
  for (size_t i = 0; i < etk_npz_count(file); i++) {
    const etk_npz_entry *entry = etk_npz_at(file, i);
    if (etk_npz_find(file, entry->name) != entry) __builtin_trap();
    if (entry->bytes < 1 << 20 && !etk_npz_tensor(&e, &tensor, file, entry->name)) touch(tensor);
  }
  etk_npz_close(file);
  return 0;
}
