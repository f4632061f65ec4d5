/* Fuzz target: an adapter of any form, for a tiny model: the first byte chooses (its low two bits the form, the third whether the model is given, the next two
 * the form to convert to), two bytes say how long the settings are, then come the settings and the file of tensors. */
#include "etk/adapter.h"

#include "etk/fs.h"
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], config_path[96], in[96], out_folder[96], out_file[96];
static etk_model *model;

static void put(const char *path, const uint8_t *data, size_t size) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file)) __builtin_trap();
}

static void clean(void) {
  etk_fs_remove_tree(NULL, folder);
  etk_model_unref(model);
}

static void start(void) {
  const char *root = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.40s/etk-fuzz.XXXXXX", access("/dev/shm", W_OK) ? root ? root : "/tmp" : "/dev/shm");
  if (!mkdtemp(folder) || atexit(clean)) __builtin_trap();
  snprintf(config_path, sizeof config_path, "%s/adapter_config.json", folder);
  snprintf(out_folder, sizeof out_folder, "%s/out", folder);
  snprintf(out_file, sizeof out_file, "%s/out.file", folder);
  const etk_model_config config = {.architecture = "llama", .vocab_size = 8, .hidden_size = 4, .intermediate_size = 6, .num_hidden_layers = 2, .num_attention_heads = 2, .num_key_value_heads = 1,
                                   .head_dim = 2, .max_position_embeddings = 8, .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = -1};
  if (etk_model_new(NULL, &model, &config, 1) || etk_fs_make_dirs(NULL, out_folder)) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {"adapter_model.safetensors", "adapters.safetensors", "a.gguf", "a.safetensors"};
  if (!model) start();
  if (size < 3) return 0;
  int which = data[0], form = which & 3, to = which >> 3 & 3;
  size_t settings = (size_t)data[1] | (size_t)data[2] << 8;
  if (settings > size - 3) settings = size - 3;
  snprintf(in, sizeof in, "%s/%s", folder, names[form]);
  put(config_path, data + 3, settings);
  put(in, data + 3 + settings, size - 3 - settings);
  etk_error e = ETK_ERROR_INIT;
  etk_adapter *adapter;
  if (etk_adapter_open(&e, &adapter, model, in, which & 32)) {
    if (!e.message[0] || adapter) __builtin_trap();
  } else if (!etk_adapter_count(adapter)) __builtin_trap(); /* one that would do nothing */
  else if (etk_adapter_save_as(&e, adapter, ETK_ADAPTER_KOHYA, out_file, NULL, 0)) __builtin_trap(); /* which holds whatever can be run */
  etk_adapter_free(adapter);
  etk_adapter_convert(&e, in, etk_adapter_form_is_folder((etk_adapter_form)to) ? out_folder : out_file, (etk_adapter_form)to, which & 4 ? model : NULL, NULL, 0);
  unlink(in);
  return 0;
}
