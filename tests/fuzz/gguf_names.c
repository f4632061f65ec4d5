/* Fuzz target: what GGUF files mean in Hugging Face's terms. Every tensor that is listed can be taken or says why not; a configuration that is accepted can be
 * written again and read back; and tensors that have a place in GGUF have rows there. */
#include "ml/convert/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROW_LIMIT = 4096 };
static volatile unsigned sink;

static const char *path_of(int which) {
  static char paths[2][256];
  if (!paths[which][0]) {
    const char *root = getenv("ETK_TMP");
    snprintf(paths[which], sizeof *paths, "%s/etk-names-%ld-%d.gguf", root ? root : "/tmp", (long)getpid(), which);
  }
  return paths[which];
}

static void take_all(etk_weights *w) {
  etk_error e = ETK_ERROR_INIT;
  for (etk_weights_item item = {0}; etk_weights_next(w, &item);)
    for (int way = 0; way < 2; way++) {
      etk_tensor *tensor = NULL;
      bool transposed = false;
      if (etk_weights_tensor(&e, &tensor, w, item.name, way ? &transposed : NULL)) {
        if (tensor || !e.message[0]) __builtin_trap();
        continue;
      }
      const unsigned char *bytes = etk_tensor_data(tensor);
      for (size_t i = 0; i < etk_tensor_bytes(tensor); i++) sink += bytes[i];
      if (!transposed && !etk_shape_equal(etk_tensor_shape(tensor), &item.shape)) __builtin_trap();
      etk_tensor_unref(tensor);
    }
}

static void take_rows(etk_weights *w, const etk_model_config *config) {
  etk_error e = ETK_ERROR_INIT;
  etk__gguf_source source;
  etk__origin *origin = NULL;
  etk__gguf_names *names = NULL;
  static float row[ROW_LIMIT];
  if (etk__origin_new(&e, &origin, w)) return;
  etk__origin_source(&source, origin);
  if (!etk__gguf_names_new(&e, &names, config, &source))
    for (size_t i = 0; i < etk__gguf_names_count(names); i++) {
      const etk__gguf_target *target = etk__gguf_names_at(names, i);
      int64_t columns = target->shape.dims[target->shape.rank - 1], rows = etk_shape_elements(&target->shape) / columns;
      if (strlen(target->name) > 63 || rows < 1) __builtin_trap();
      for (int64_t r = 0; r < rows && r < 64 && columns <= ROW_LIMIT; r++)
        if (etk__gguf_names_rows(&e, names, i, r, 1, row)) break;
    }
  etk__gguf_names_free(names);
  etk__origin_free(origin);
}

static void write_again(const etk_model_config *config, const etk__gguf_table *table) {
  etk_error e = ETK_ERROR_INIT;
  etk_gguf_writer *writer = etk_gguf_writer_new();
  if (writer && !etk__config_to_gguf(&e, writer, config) && !etk_gguf_write(&e, writer, path_of(1), &(etk_gguf_write_options){.replace = true})) {
    etk_weights *w = NULL;
    etk_model_config again;
    if (etk_weights_open(&e, &w, path_of(1)) || strcmp(etk_weights_get_facts(w)->architecture, table->architecture)) __builtin_trap();
    etk__config_from_gguf(&e, &again, w); /* may miss the factors of rope, which are tensors */
    etk_weights_close(w);
    unlink(path_of(1));
  }
  etk_gguf_writer_free(writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fd = open(path_of(0), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  bool written = write(fd, data, size) == (ssize_t)size;
  close(fd);
  etk_error e = ETK_ERROR_INIT;
  etk_weights *w = NULL;
  etk_model_config config;
  if (written && !etk_weights_open(&e, &w, path_of(0))) {
    take_all(w);
    if (!etk__config_from_gguf(&e, &config, w)) {
      take_rows(w, &config);
      write_again(&config, etk__gguf_table_of_model_type(config.architecture));
    } else if (!e.message[0]) __builtin_trap();
  }
  etk_weights_close(w);
  unlink(path_of(0));
  return 0;
}
