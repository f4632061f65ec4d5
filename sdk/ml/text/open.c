#include "internal.h"

#include <etk/fs.h>
#include <etk/weights.h>
#include <inttypes.h>
#include <string.h>

/* Which file is it, and what lies beside it. */

static etk_status check_size(etk_error *e, const etk_tokenizer *t, const char *path, int64_t vocabulary_size) {
  int64_t size = etk_tokenizer_size(t);
  if (vocabulary_size <= 0 || size <= vocabulary_size) return ETK_OK;
  return etk_fail(e, ETK_E_INVALID,
                  "%s: its largest token id is %" PRId64 ", but the model's vocabulary has %" PRId64 " entries: this tokenizer is of another model",
                  path, size - 1, vocabulary_size);
}

etk_status etk__configure_beside(etk_error *e, etk_tokenizer *t, const char *folder) {
  char *path = etk_path_join(folder, "tokenizer_config.json");
  if (!path) return etk__no_memory(e, folder);
  etk_status s = ETK_OK;
  if (etk_fs_exists(path)) {
    char *bytes;
    size_t size;
    s = etk_fs_read(e, &bytes, &size, path, ETK__TOKENIZER_FILE_LIMIT);
    if (s == ETK_OK) {
      s = etk__tokenizer_configure(e, t, path, bytes, size);
      etk_free(bytes);
    }
  }
  etk_free(path);
  return s;
}

static bool ends_with(const char *path, const char *end) {
  size_t n = strlen(path), m = strlen(end);
  return n >= m && !strcmp(path + n - m, end);
}

static bool looks_like_json(const char *path, const char *bytes, size_t size) {
  size_t at = 0;
  while (at < size && (bytes[at] == ' ' || bytes[at] == '\n' || bytes[at] == '\r' || bytes[at] == '\t')) at++;
  return (at < size && bytes[at] == '{') || ends_with(path, ".json");
}

/* A vocabulary that is one of two files. */
static etk_status open_pair(etk_error *e, etk_tokenizer **out, const char *path, const char *folder) {
  static const char *const pairs[][2] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};
  for (size_t i = 0; i < 2; i++)
    if (ends_with(path, pairs[i][0]) || ends_with(path, pairs[i][1])) return etk__open_vocab_merges(e, out, folder, pairs[i][0], pairs[i][1]);
  const char *slash = strrchr(path, '/');
  return etk__open_vocab_txt(e, out, folder, slash ? slash + 1 : path);
}

static bool is_of_pair(const char *path) {
  return ends_with(path, "vocab.json") || ends_with(path, "merges.txt") || ends_with(path, "encoder.json") || ends_with(path, "vocab.bpe") ||
         ends_with(path, ".txt");
}

static etk_status parse_bytes(etk_error *e, etk_tokenizer **out, const char *path, const char *bytes, size_t size, const char *folder,
                              int64_t vocabulary_size) {
  const unsigned char *b = (const unsigned char *)bytes;
  etk_status s;
  if (size > 2 && b[0] == 0x1f && b[1] == 0x8b) return etk__parse_clip(e, out, path, bytes, size);
  if (looks_like_json(path, bytes, size)) s = etk_tokenizer_parse_json(e, out, path, bytes, size);
  else if (ends_with(path, ".model") || etk__looks_like_sentencepiece(bytes, size)) s = etk_tokenizer_parse_sentencepiece(e, out, path, bytes, size);
  else return etk_tokenizer_parse_llama2c(e, out, path, bytes, size, vocabulary_size);
  return s == ETK_OK ? etk__configure_beside(e, *out, folder) : s;
}

static etk_status open_whole(etk_error *e, etk_tokenizer **out, const char *path, const char *folder, int64_t vocabulary_size) {
  char *bytes;
  size_t size;
  etk_status s = etk_fs_read(e, &bytes, &size, path, ETK__TOKENIZER_FILE_LIMIT);
  if (s != ETK_OK) return s;
  s = parse_bytes(e, out, path, bytes, size, folder, vocabulary_size);
  etk_free(bytes);
  return s;
}

/* llama2.c's checkpoints hold no tokenizer: it lies beside them as tok<vocabulary>.bin, or under a name that any folder may have. */
static bool is_checkpoint(const char *path, int64_t *vocabulary) {
  etk_weights *w;
  if (!ends_with(path, ".bin") || etk_weights_open(NULL, &w, path)) return false;
  bool checkpoint = etk_weights_get_format(w) == ETK_WEIGHTS_LLAMA2C;
  *vocabulary = etk_weights_get_facts(w)->vocab_size;
  etk_weights_close(w);
  return checkpoint;
}
static etk_status open_beside(etk_error *e, etk_tokenizer **out, const char *path, const char *folder, int64_t vocabulary) {
  char name[40];
  snprintf(name, sizeof name, "tok%" PRId64 ".bin", vocabulary);
  char *numbered = etk_path_join(folder, name);
  if (!numbered) return etk__no_memory(e, path);
  etk_status s = etk_tokenizer_open(e, out, etk_fs_exists(numbered) ? numbered : folder, vocabulary);
  etk_free(numbered);
  return s ? etk_error_while(e, s, "%s is a llama2.c checkpoint, whose tokenizer is looked for beside it, as %s too", path, name) : ETK_OK;
}

static etk_status open_file(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size) {
  int64_t vocabulary;
  char *folder = etk_path_dir(path);
  if (!folder) return etk__no_memory(e, path);
  etk_status s;
  if (etk__looks_like_gguf(path)) s = etk__open_gguf(e, out, path);
  else if (is_of_pair(path)) s = open_pair(e, out, path, folder);
  else if (is_checkpoint(path, &vocabulary)) s = open_beside(e, out, path, folder, vocabulary);
  else s = open_whole(e, out, path, folder, vocabulary_size);
  if (s == ETK_OK) s = check_size(e, *out, path, vocabulary_size);
  etk_free(folder);
  if (s == ETK_OK) return ETK_OK;
  etk_tokenizer_free(*out);
  *out = NULL;
  return s;
}

static etk_status in_folder(etk_error *e, const char *folder, const char *name, bool *there) {
  char *path = etk_path_join(folder, name);
  *there = path && etk_fs_exists(path);
  etk_free(path);
  return path ? ETK_OK : etk__no_memory(e, folder);
}

/* The first file, or pair of files, that is there; NULL: none. */
static etk_status choose(etk_error *e, const char *folder, const char **out) {
  static const char *const names[][2] = {{"tokenizer.json", NULL},
                                         {"tokenizer.model", NULL},
                                         {"spiece.model", NULL},
                                         {"vocab.json", "merges.txt"},
                                         {"encoder.json", "vocab.bpe"},
                                         {"vocab.txt", NULL},
                                         {"bpe_simple_vocab_16e6.txt.gz", NULL},
                                         {"tokenizer.bin", NULL}};
  *out = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    bool there = false;
    etk_status s = in_folder(e, folder, names[i][0], &there);
    if (s == ETK_OK && there && names[i][1]) s = in_folder(e, folder, names[i][1], &there);
    if (s != ETK_OK) return s;
    if (!there) continue;
    *out = names[i][0];
    return ETK_OK;
  }
  return ETK_OK;
}

static etk_status missing(etk_error *e, const char *folder) {
  bool shifted;
  etk_status s = in_folder(e, folder, "sentencepiece.bpe.model", &shifted);
  if (s != ETK_OK) return s;
  if (shifted)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s has sentencepiece.bpe.model, whose ids are not the model's (fairseq shifts them), and no tokenizer.json; transformers' "
                    "save_pretrained of the fast tokenizer writes one",
                    folder);
  return etk_fail(e, ETK_E_NOT_FOUND,
                  "%s has no tokenizer.json, tokenizer.model, vocab.json with merges.txt, encoder.json with vocab.bpe, vocab.txt or tokenizer.bin",
                  folder);
}

etk_status etk_tokenizer_open(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size) {
  const char *name;
  *out = NULL;
  if (!etk_fs_is_dir(path)) return open_file(e, out, path, vocabulary_size);
  etk_status s = choose(e, path, &name);
  if (s != ETK_OK) return s;
  if (!name) return missing(e, path);
  char *inside = etk_path_join(path, name);
  s = inside ? open_file(e, out, inside, vocabulary_size) : etk__no_memory(e, path);
  etk_free(inside);
  return s;
}
