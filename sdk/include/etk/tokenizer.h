/* etk/tokenizer.h: text to token ids and back. A tokenizer is immutable after load and may be used by many threads.
 *
 * Reads Hugging Face tokenizer.json with a BPE model (byte-level and SentencePiece-style), with tokenizer_config.json beside it where there is one,
 * and llama2.c tokenizer.bin. What a file asks for and this version lacks is an error that names it. */
#ifndef ETK_TOKENIZER_H
#define ETK_TOKENIZER_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_tokenizer etk_tokenizer;

/* path: a folder with tokenizer.json, a tokenizer.json, or a llama2.c tokenizer .bin. vocabulary_size: expected by the model, 0 unknown (llama2.c
 * files do not hold it themselves; ids beyond it are an error that names both numbers). */
etk_status etk_tokenizer_open(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size);
etk_status etk_tokenizer_parse_json(etk_error *e, etk_tokenizer **out, const char *name, const char *bytes, size_t size);
etk_status etk_tokenizer_parse_llama2c(etk_error *e, etk_tokenizer **out, const char *name, const void *bytes, size_t size, int64_t vocabulary_size);
void etk_tokenizer_free(etk_tokenizer *tokenizer);

int64_t etk_tokenizer_size(const etk_tokenizer *tokenizer); /* largest id + 1 */
int32_t etk_tokenizer_bos(const etk_tokenizer *tokenizer);  /* -1: none */
int32_t etk_tokenizer_eos(const etk_tokenizer *tokenizer);  /* -1: none */
int32_t etk_tokenizer_find(const etk_tokenizer *tokenizer, const char *token); /* id of a token's exact spelling, -1: none */
const char *etk_tokenizer_token(const etk_tokenizer *tokenizer, int32_t id);   /* spelling; NULL: no such id */

typedef struct etk_ids {
  int32_t *items;
  size_t count, capacity;
} etk_ids; /* the caller's; etk_ids_free */
#define ETK_IDS_INIT {0, 0, 0}
void etk_ids_free(etk_ids *ids);
bool etk_ids_push(etk_ids *ids, int32_t id); /* false: out of memory */

/* Appends the ids of text. special: add the beginning (and whatever else) as the tokenizer's post-processor or add_bos_token says; an
 * end-of-sequence token that a post-processor would add is left out (training adds it, see etk/dataset.h).
 * Control tokens written in the text are matched when parse_special. Bytes that are not UTF-8 count as U+FFFD. */
typedef struct etk_encode_options {
  bool special;
  bool parse_special;
} etk_encode_options;
etk_status etk_tokenizer_encode(etk_error *e, const etk_tokenizer *tokenizer, etk_ids *out, const char *text, size_t size, const etk_encode_options *options);
/* Text of the ids (allocated, NUL-terminated; etk_free). skip_special leaves control tokens out. Invalid UTF-8 from cut tokens is kept as bytes.
 * Ids without a token (rows that a model is padded with) give nothing. */
etk_status etk_tokenizer_decode(etk_error *e, const etk_tokenizer *tokenizer, char **out, size_t *size, const int32_t *ids, size_t count, bool skip_special);

/* Decodes one id at a time and never cuts a code point: bytes come out when they are whole. */
typedef struct etk_decoder etk_decoder;
etk_status etk_decoder_new(etk_error *e, etk_decoder **out, const etk_tokenizer *tokenizer, bool skip_special);
void etk_decoder_free(etk_decoder *decoder);
/* *bytes is valid until the next call; *size may be 0. id -1 flushes what is left, broken bytes as U+FFFD. */
etk_status etk_decoder_push(etk_error *e, etk_decoder *decoder, int32_t id, const char **bytes, size_t *size);

/* Trains a byte-level BPE (GPT-2's alphabet and splitting) and writes a Hugging Face tokenizer.json to `path`, and, where bos or eos are given, a
 * tokenizer_config.json beside it that names them. Deterministic: ties go to the pair that is smaller by its parts' ids. special[0..] get
 * the first ids, so name the end of text first. texts: one document each. */
typedef struct etk_bpe_options {
  int vocabulary_size;       /* including specials and the 256 bytes */
  int minimum_frequency;     /* of a pair; 0: 2 */
  const char *const *special;
  size_t special_count;
  const char *bos, *eos;     /* of the specials; NULL: none. bos is added by the post-processor */
  void (*progress)(void *user, int64_t done, int64_t total);
  void *user;
} etk_bpe_options;
etk_status etk_bpe_train(etk_error *e, const char *path, const char *const *texts, const size_t *sizes, size_t count, const etk_bpe_options *options, bool replace);

#ifdef __cplusplus
}
#endif
#endif
