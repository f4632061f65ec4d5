/* tokenizer: megabytes of text a second, one thread, and how the time grows with a run of spaces. One JSON line a case; the least of several rounds.
 *   build/bench/tokenizer                             the vocabularies of $ETK_SHARED (default ../shared; nothing where they are not there)
 *   build/bench/tokenizer encode TOKENIZER TEXT       one tokenizer and file: the driver of tests/goldens/tokenizer_peers.sh
 *   build/bench/tokenizer train bpe|unigram TEXT OUT SIZE [bytes]     writes a tokenizer.json, and the seconds it took */
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, LIMIT = 1 << 30, ENGLISH_BYTES = 10000000 };

static int failed(const etk_error *e) {
  fprintf(stderr, "tokenizer: %s\n", e->message);
  return 1;
}

/* Seconds of the fastest round; below 0: it failed. */
static double encode(etk_error *e, const etk_tokenizer *t, const char *text, size_t size, size_t *tokens) {
  int64_t least = INT64_MAX;
  for (int i = 0; i < ROUNDS; i++) {
    etk_ids ids = ETK_IDS_INIT;
    int64_t begin = etk_time_ns();
    etk_status s = etk_tokenizer_encode(e, t, &ids, text, size, NULL);
    int64_t took = etk_time_ns() - begin;
    if (took < least) least = took;
    *tokens = ids.count;
    etk_ids_free(&ids);
    if (s != ETK_OK) return -1;
  }
  return (double)least * 1e-9;
}

static int measure(etk_error *e, const etk_tokenizer *t, const char *name, const char *what, const char *text, size_t size) {
  size_t tokens;
  double seconds = encode(e, t, text, size, &tokens);
  if (seconds < 0) return failed(e);
  printf("{\"bench\":\"tokenizer\",\"tokenizer\":\"%s\",\"text\":\"%s\",\"bytes\":%zu,\"tokens\":%zu,\"seconds\":%.4f,\"mb_per_s\":%.1f}\n", name, what, size,
         tokens, seconds, (double)size / seconds * 1e-6);
  return 0;
}

/* A tenth and a whole megabyte: linear where the second takes ten times the first. */
static int measure_spaces(etk_error *e, const etk_tokenizer *t, const char *name) {
  enum { LONG = 1 << 20 };
  char *spaces = etk_alloc(LONG);
  size_t tokens;
  if (!spaces) return 1;
  memset(spaces, ' ', LONG);
  double less = encode(e, t, spaces, LONG / 10, &tokens), more = encode(e, t, spaces, LONG, &tokens);
  etk_free(spaces);
  if (less < 0 || more < 0) return failed(e);
  printf("{\"bench\":\"tokenizer\",\"tokenizer\":\"%s\",\"text\":\"spaces\",\"bytes\":%d,\"seconds\":%.4f,\"seconds_for_a_tenth\":%.4f,\"growth\":%.1f}\n", name,
         (int)LONG, more, less, more / less);
  return 0;
}

/* wikitext, over and over: natural words in their natural frequencies. */
static char *english(etk_error *e, const char *root) {
  char path[1024], *bytes;
  size_t size;
  snprintf(path, sizeof path, "%s/data/wikitext2/wiki.test.raw", root);
  if (etk_fs_read(e, &bytes, &size, path, LIMIT) != ETK_OK || !size) return NULL;
  char *all = etk_alloc(ENGLISH_BYTES);
  for (size_t at = 0; all && at < ENGLISH_BYTES; at += size) memcpy(all + at, bytes, size < ENGLISH_BYTES - at ? size : ENGLISH_BYTES - at);
  etk_free(bytes);
  return all;
}

static int all_families(void) {
  static const char *const names[] = {"gpt2", "qwen3", "clip", "gguf-vocab/ggml-vocab-llama-spm.gguf", "gguf-vocab/ggml-vocab-bert-bge.gguf"};
  const char *given = getenv("ETK_SHARED"), *root = given ? given : "../shared";
  etk_error e = ETK_ERROR_INIT;
  char *text = english(&e, root), path[1024];
  int code = 0;
  if (!text) return 0;
  for (size_t i = 0; !code && i < sizeof names / sizeof *names; i++) {
    etk_tokenizer *t;
    snprintf(path, sizeof path, "%s/tokenizers/%s", root, names[i]);
    if (etk_tokenizer_open(&e, &t, path, 0) != ETK_OK) continue;
    code = measure(&e, t, names[i], "english", text, ENGLISH_BYTES);
    if (!code) code = measure_spaces(&e, t, names[i]);
    etk_tokenizer_free(t);
  }
  etk_free(text);
  return code;
}

static int one_file(const char *tokenizer, const char *path) {
  etk_error e = ETK_ERROR_INIT;
  etk_tokenizer *t;
  char *text;
  size_t size;
  if (etk_tokenizer_open(&e, &t, tokenizer, 0) != ETK_OK || etk_fs_read(&e, &text, &size, path, LIMIT) != ETK_OK) return failed(&e);
  int code = measure(&e, t, etk_path_base(tokenizer), etk_path_base(path), text, size);
  etk_free(text);
  etk_tokenizer_free(t);
  return code;
}

static void show_round(void *user, int64_t pieces, double bits) {
  (void)user;
  fprintf(stderr, "%8lld pieces, %.4f bits a character\n", (long long)pieces, bits);
}

static int train(const char *kind, const char *path, const char *out, const char *wanted, bool bytes) {
  static const char *const special[] = {"<s>", "</s>"};
  etk_error e = ETK_ERROR_INIT;
  char *text;
  size_t size;
  int64_t tokens;
  if (etk_parse_int(&e, &tokens, wanted) != ETK_OK || etk_fs_read(&e, &text, &size, path, LIMIT) != ETK_OK) return failed(&e);
  etk_bpe_options bpe = {.vocabulary_size = (int)tokens, .special = special, .special_count = 2};
  etk_unigram_options unigram = {.vocabulary_size = (int)tokens, .special = special, .special_count = 2, .byte_fallback = bytes, .round = show_round};
  int64_t begin = etk_time_ns();
  etk_status s = strcmp(kind, "bpe") ? etk_unigram_train(&e, out, (const char *const *)&text, &size, 1, &unigram, true)
                                     : etk_bpe_train(&e, out, (const char *const *)&text, &size, 1, &bpe, true);
  etk_free(text);
  if (s != ETK_OK) return failed(&e);
  printf("{\"bench\":\"tokenizer\",\"train\":\"%s\",\"bytes\":%zu,\"vocabulary\":%lld,\"seconds\":%.2f}\n", kind, size, (long long)tokens,
         (double)(etk_time_ns() - begin) * 1e-9);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 1) return all_families();
  if (argc == 4 && !strcmp(argv[1], "encode")) return one_file(argv[2], argv[3]);
  if (argc >= 6 && !strcmp(argv[1], "train")) return train(argv[2], argv[3], argv[4], argv[5], argc > 6);
  fprintf(stderr, "usage: tokenizer [encode TOKENIZER TEXT | train bpe|unigram TEXT OUT SIZE [bytes]]\n");
  return 2;
}
