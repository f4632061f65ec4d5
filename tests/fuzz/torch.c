/* Fuzz target: a file of torch.save. What is accepted must be reachable by name, and every tensor must be there. */
#include "etk/torch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_torch *file;
  if (etk_torch_parse(&e, &file, "input", data, size)) {
    if (!e.message[0] || file) __builtin_trap();
    return 0;
  }
  for (size_t i = 0; i < etk_torch_count(file); i++) {
    const etk_torch_entry *entry = etk_torch_at(file, i);
    if (etk_torch_find(file, entry->name) != entry) __builtin_trap();
    etk_tensor *tensor;
    if (entry->bytes > 1 << 20 || etk_torch_tensor(&e, &tensor, file, entry->name)) continue;
    if (etk_tensor_bytes(tensor) != entry->bytes) __builtin_trap();
    for (size_t j = 0; j < entry->bytes; j++) sink += ((const unsigned char *)etk_tensor_data(tensor))[j];
    etk_tensor_unref(tensor);
  }
  for (size_t i = 0; i < etk_torch_value_count(file); i++) {
    const etk_torch_value *value = etk_torch_value_at(file, i);
    if (value->kind == ETK_TORCH_TEXT) sink += (unsigned)strlen(value->text);
    if (!value->name[0]) __builtin_trap();
  }
  etk_torch_verify(&e, file);
  etk_torch_close(file);
  return 0;
}
