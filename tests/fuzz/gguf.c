/* Fuzz target: a GGUF file. What is accepted must lie inside the file, every item must be reachable, and writing it again must keep it. */
#include "etk/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;
static const uint8_t *begin, *end;

static void touch(const void *bytes, size_t size) {
  const uint8_t *p = bytes;
  if (size && (p < begin || p > end || size > (size_t)(end - p))) __builtin_trap();
  for (size_t i = 0; i < size; i++) sink += p[i];
}

static void walk(const etk_gguf_value *value, int depth) {
  if (depth > 4) __builtin_trap();
  for (uint64_t i = 0; i < (value->kind == ETK_GGUF_TEXT ? 1 : value->count); i++) {
    size_t size;
    const char *text = etk_gguf_text_at(value, i, &size);
    const etk_gguf_value *item = etk_gguf_value_at(value, i);
    if (text) touch(text, size);
    if (item) walk(item, depth + 1);
    sink += (unsigned)etk_gguf_int_at(value, i) + (etk_gguf_real_at(value, i) > 0);
  }
}

static void keys(const etk_gguf *file, etk_error *e) {
  const etk_gguf_value *value;
  const char *key;
  for (size_t i = 0; (key = etk_gguf_key_at(file, i, &value)); i++) {
    int64_t whole;
    double real;
    bool flag;
    const char *text;
    const etk_gguf_value *array;
    if (etk_gguf_find(file, key) != value) __builtin_trap();
    walk(value, 1);
    etk_gguf_get_int(e, &whole, file, key);
    etk_gguf_get_real(e, &real, file, key);
    etk_gguf_get_flag(e, &flag, file, key);
    if (etk_gguf_get_text(e, &text, file, key) == ETK_OK && strlen(text) != value->count) __builtin_trap();
    for (int kind = 0; kind < ETK_GGUF_KIND_COUNT; kind++) etk_gguf_get_array(e, &array, file, key, (etk_gguf_kind)kind);
  }
  const char *text;
  etk_gguf_get_text(e, &text, file, "general.architecture");
}

static void tensors(etk_gguf *file, etk_error *e) {
  const etk_gguf_entry *entry;
  size_t total = 0;
  for (size_t i = 0; (entry = etk_gguf_at(file, i)); i++) {
    if (etk_gguf_tensor_find(file, entry->name) != entry) __builtin_trap();
    touch(entry->data, entry->bytes);
    total += entry->bytes;
    etk_tensor *tensor;
    if (etk_gguf_tensor(e, &tensor, file, entry->name) == ETK_OK) etk_tensor_unref(tensor);
    if (entry->bytes < 65536 && etk_gguf_decode(e, &tensor, file, entry->name) == ETK_OK) etk_tensor_unref(tensor);
  }
  if (total > (size_t)(end - begin)) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_gguf *file;
  begin = data;
  end = data + size;
  if (etk_gguf_parse(&e, &file, "input", data, size)) {
    if (!e.message[0] || file) __builtin_trap();
    return 0;
  }
  keys(file, &e);
  tensors(file, &e);
  etk_gguf_close(file);
  return 0;
}
