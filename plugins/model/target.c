#include "target.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/weights.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Dots are common in names of models (llama-3.2, Qwen2.5-0.5B): only what is known as a file's end is one. */
static const char *const file_ends[] = {".bin",  ".onnx", ".npy",    ".ckpt",    ".pkl", ".pickle", ".h5", ".hdf5", ".keras", ".tflite", ".msgpack",
                                        ".ggml", ".mlmodel", ".json", ".txt", ".zip",    ".gz", ".tar",  ".pb",    ".pte"};
static const char *const model_ends[] = {".npz", ".pth", ".pt", ".gguf", ".safetensors"}; /* of which adapters have the last two, in small letters */

static const char *end_of(const char *path, const char *const *ends, size_t count) {
  size_t size = strlen(path);
  while (size > 1 && path[size - 1] == '/') size--;
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(ends[i]);
    if (size > length && !strncasecmp(path + size - length, ends[i], length)) return ends[i];
  }
  return NULL;
}

etk_status target_name(etk_error *e, const char *output, bool adapter) {
  const char *end = end_of(output, file_ends, sizeof file_ends / sizeof *file_ends);
  if (!end && adapter) end = end_of(output, model_ends, sizeof model_ends / sizeof *model_ends);
  if (!end) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "OUT is %s; %s ends in %s; wanted a name that ends in %s, or in nothing of the kind for a folder (--to %s makes a folder of this name)", output,
                  adapter ? "no adapter" : "no file that is written", end, adapter ? ".gguf or .safetensors" : ".gguf, .safetensors, .npz or .pth", adapter ? "peft" : "hf");
}

static bool same_file(const char *a, const char *b) {
  struct stat x, y;
  return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Are the two the same, or is `path` somewhere below `folder`? Links are followed: where they lead is what would be lost. */
static bool within(const char *path, const char *folder) {
  char *inner = realpath(path, NULL), *outer = realpath(folder, NULL);
  size_t size = outer ? strlen(outer) : 0;
  bool found = inner && outer && !strncmp(inner, outer, size) && (!inner[size] || inner[size] == '/' || size == 1);
  free(inner), free(outer);
  return found;
}

/* A file of weights in the input's folder, or a part of a split. */
static bool is_part(const char *input, const char *output) {
  etk_weights *w = NULL;
  bool found = false;
  if (etk_weights_open(NULL, &w, input)) return false;
  for (size_t i = 0; i < etk_weights_part_count(w) && !found; i++) found = same_file(etk_weights_part_path(w, i), output);
  etk_weights_close(w);
  return found;
}

static bool holds_model(char *const *names, size_t count) {
  static const char *const marks[] = {"config.json", "adapter_config.json", "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors", "adapters.safetensors"};
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++)
      if (!strcmp(names[i], marks[k])) return true;
  return false;
}

etk_status target_replace(etk_error *e, const char *input, const char *output) {
  if (!etk_fs_exists(output)) return ETK_OK;
  if (same_file(input, output)) return etk_fail(e, ETK_E_USAGE, "OUT is the input itself, %s; a new name is wanted, even with --force", input);
  if (!etk_fs_is_dir(output)) {
    if (is_part(input, output)) return etk_fail(e, ETK_E_USAGE, "OUT is %s, a file of the input %s; a new name is wanted, even with --force", output, input);
    return ETK_OK;
  }
  if (within(input, output))
    return etk_fail(e, ETK_E_USAGE, "OUT is the folder %s, which the input %s lies in and which would be replaced whole; a new name is wanted, even with --force", output, input);
  char **names;
  size_t count = 0;
  etk_status status = etk_fs_list(e, &names, &count, output);
  if (status) return status;
  bool ours = !count || holds_model(names, count);
  etk_fs_list_free(names, count);
  if (ours) return ETK_OK;
  return etk_fail(e, ETK_E_EXISTS, "%s holds %zu %s and neither config.json nor adapter_config.json, so it is no folder of a model or adapter; even --force does not replace it",
                  output, count, count == 1 ? "entry" : "entries");
}
