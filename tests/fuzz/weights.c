/* Fuzz target: weights of any format, opened by path and told apart by content. The first byte chooses what is made of the rest: a file, or a folder in which it is the
 * index (0xf1, 0xf2), the configuration (0xf3) or one of the names of a whole model (0xf4 to 0xf7). Any other first byte is part of the file, so that files of every
 * format are seeds as they are. */
#include "etk/fs.h"
#include "etk/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;
static char folder[64];
static void tidy(void) { etk_fs_remove_tree(NULL, folder); }

static void see(const char *path) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *w;
  if (etk_weights_open(&e, &w, path)) {
    if (!e.message[0] || w) __builtin_trap();
    return;
  }
  for (size_t i = 0; i < etk_weights_count(w); i++) {
    const etk_weight *weight = etk_weights_at(w, i);
    int64_t elements = etk_weight_elements(weight), block = weight->type >= 0 ? etk_type_block_elements((etk_type)weight->type) : 1;
    float out[256];
    if (elements < 0 || strcmp(etk_weights_find(w, weight->name)->name, weight->name) != 0) __builtin_trap();
    sink += (unsigned)strlen(weight->canonical) + (unsigned)strlen(weight->type_name);
    if (weight->bytes > 1 << 22 || !elements) continue; /* unpacking takes what the file truly holds, which may be much */
    int64_t last = elements / block * block - block;
    if (!etk_weight_decode(&e, out, weight, last, block)) sink += out[0] > 0;
  }
  etk_text text = ETK_TEXT_INIT;
  for (size_t i = 0; i < etk_weights_key_count(w); i++) {
    const char *key = etk_weights_key_at(w, i);
    if (!key) __builtin_trap();
    etk_weights_metadata(w, key);
    etk_weights_key_value(w, i, 4, &text);
  }
  etk_text_free(&text);
  etk_weights_item item = {0};
  while (etk_weights_next(w, &item)) {
    etk_tensor *tensor;
    if (etk_shape_elements(&item.shape) > 1 << 20 || etk_weights_tensor(&e, &tensor, w, item.name, NULL)) continue;
    if (!etk_shape_equal(etk_tensor_shape(tensor), &item.shape)) __builtin_trap();
    etk_tensor_unref(tensor);
  }
  etk_weights_close(w);
}

static void put(const char *name, const void *bytes, size_t size) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb"); /* plainly: nothing need be synced here */
  if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char shard[] = "\x3d\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}       1234";
  static const char *const names[] = {"model.safetensors.index.json",
                                      "pytorch_model.bin.index.json",
                                      "config.json",
                                      "model.safetensors",
                                      "pytorch_model.bin",
                                      "weights.npz",
                                      "model.onnx"};
  if (!folder[0]) {
    const char *shm = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    snprintf(folder, sizeof folder, "%s/etk-fuzz-XXXXXX", shm);
    if (!mkdtemp(folder)) abort();
    atexit(tidy);
  }
  char path[128];
  if (!size || data[0] < 0xf1 || data[0] > 0xf7) {
    put("input", data, size);
    snprintf(path, sizeof path, "%s/input", folder);
    see(path);
    return 0;
  }
  const char *name = names[data[0] - 0xf1];
  put(name, data + 1, size - 1);
  if (data[0] == 0xf1) put("one.safetensors", shard, sizeof shard - 1);
  if (data[0] == 0xf3) put("model.safetensors", shard, sizeof shard - 1);
  see(folder);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  unlink(path);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  unlink(path);
  return 0;
}
