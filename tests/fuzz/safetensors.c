/* Fuzz target: a safetensors file. What is accepted must cover the buffer exactly, and every byte of every tensor must be there. */
#include "etk/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_safetensors *file;
  if (etk_safetensors_parse(&e, &file, "input", data, size)) {
    if (!e.message[0] || file) __builtin_trap();
    return 0;
  }
  size_t total = 0;
  for (size_t i = 0; i < etk_safetensors_count(file); i++) {
    const etk_safetensors_entry *entry = etk_safetensors_at(file, i);
    if (etk_safetensors_find(file, entry->name) != entry) __builtin_trap();
    for (size_t j = 0; j < entry->bytes; j++) sink += ((const unsigned char *)entry->data)[j];
    total += entry->bytes;
    etk_tensor *tensor;
    if (etk_safetensors_tensor(&e, &tensor, file, entry->name)) continue;
    if (etk_tensor_bytes(tensor) != entry->bytes) __builtin_trap();
    etk_tensor_unref(tensor);
  }
  if (total > size) __builtin_trap();
  etk_safetensors_metadata(file, "format");
  etk_safetensors_close(file);
  return 0;
}
