/* The tokenizer that belongs to the input, as keys of GGUF: from the files of its folder, of llama2.c from the one that is named by the vocabulary's size. */
#include "internal.h"

#include <etk/fs.h>
#include <etk/tokenizer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static char *folder_of(etk_convert *c) { return etk_fs_is_dir(c->input) ? etk_strdup(c->input) : etk_path_dir(c->input); }

/* The path of the first of these files in the folder; NULL: none, or out of memory. */
static char *first_of(const char *folder, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    char *path = etk_path_join(folder, names[i]);
    if (path && etk_fs_exists(path)) return path;
    etk_free(path);
  }
  return NULL;
}

/* "tok512.bin" beside a checkpoint becomes the "tokenizer.bin" of a folder of its own, as which tokenizers are read. */
static etk_status set_llama2c(etk_error *e, etk_convert *c, etk_gguf_writer *w, const char *file) {
  etk_dir *dir = NULL;
  char *place = etk_arena_printf(&c->arena, "%s.tokenizer", c->output);
  etk_status status = place ? etk_dir_create(e, &dir, place, true) : etk_fail_memory(e);
  if (status) return status;
  char *copy = etk_path_join(etk_dir_path(dir), "tokenizer.bin");
  status = copy ? etk_fs_copy(e, file, copy, false) : etk_fail_memory(e);
  if (!status) status = etk_tokenizer_to_gguf(e, w, etk_dir_path(dir), c->config.vocab_size);
  etk_free(copy);
  etk_dir_abort(dir);
  return status ? etk_error_while(e, status, "%s", file) : ETK_OK;
}

etk_status etk__vocabulary_set(etk_error *e, etk_convert *c, etk_gguf_writer *w, bool *found) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer.bin"};
  char sized[64], *folder = folder_of(c);
  snprintf(sized, sizeof sized, "tok%" PRId64 ".bin", c->config.vocab_size);
  const char *own[] = {sized};
  bool checkpoint = etk_weights_get_format(c->weights) == ETK_WEIGHTS_LLAMA2C;
  if (!folder) return etk_fail_memory(e);
  char *file = checkpoint ? first_of(folder, own, 1) : NULL, *any = file ? NULL : first_of(folder, names, sizeof names / sizeof *names);
  *found = file || any;
  etk_status status = file ? set_llama2c(e, c, w, file) : any ? etk_tokenizer_to_gguf(e, w, folder, c->config.vocab_size) : ETK_OK;
  etk_free(file), etk_free(any), etk_free(folder);
  return status;
}

/* By way of GGUF's keys into files of a folder. */
etk_status etk__vocabulary_save(etk_error *e, etk_convert *c, const char *folder) {
  char *path = etk_path_join(folder, ".tokenizer.gguf");
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_gguf *file = NULL;
  bool found = false;
  etk_status status = path && w ? etk__vocabulary_set(e, c, w, &found) : etk_fail_memory(e);
  if (!status && found) status = etk_gguf_write(e, w, path, NULL);
  if (!status && found) status = etk_gguf_open(e, &file, path);
  if (!status && found) status = etk_tokenizer_write_folder(e, file, c->input, folder, true);
  etk_gguf_close(file);
  etk_gguf_writer_free(w);
  if (path && found) remove(path);
  etk_free(path);
  return status;
}
