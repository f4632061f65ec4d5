/* etk/tokenizer.h: text to token ids and back. A tokenizer is immutable after load and may be used by many threads.
 *
 * Reads Hugging Face tokenizer.json (BPE, Unigram, WordPiece, WordLevel), vocab.json with merges.txt, GPT-2's encoder.json with vocab.bpe and BERT's
 * vocab.txt, each with tokenizer_config.json beside it where there is one; SentencePiece's tokenizer.model (BPE and Unigram), CLIP's
 * bpe_simple_vocab_16e6.txt.gz, GGUF vocabularies, and llama2.c tokenizer.bin. What a file asks for and this version lacks is an error that names it. */
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

/* path: one of these files, or a folder that holds one (in the order above). vocabulary_size: expected by the model, 0 unknown (llama2.c
 * files do not hold it themselves; ids beyond it are an error that names both numbers). */
etk_status etk_tokenizer_open(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size);
etk_status etk_tokenizer_parse_json(etk_error *e, etk_tokenizer **out, const char *name, const char *bytes, size_t size);
etk_status etk_tokenizer_parse_llama2c(etk_error *e, etk_tokenizer **out, const char *name, const void *bytes, size_t size, int64_t vocabulary_size);
etk_status etk_tokenizer_parse_sentencepiece(etk_error *e, etk_tokenizer **out, const char *name, const void *bytes, size_t size);

/* A GGUF vocabulary: the keys tokenizer.ggml.* as plain arrays, borrowed for the call. Texts need not end with a zero byte. */
typedef struct etk_gguf_vocabulary {
  const char *name;       /* of the file, for messages */
  const char *model;      /* "gpt2", "llama", "bert", "t5" */
  const char *pre;        /* NULL: not there */
  size_t count;
  const char *const *tokens;
  const size_t *sizes;
  const float *scores;    /* NULL: not there */
  const int32_t *types;   /* NULL: all normal (1) */
  size_t merge_count;
  const char *const *merges; /* "left right" */
  const size_t *merge_sizes;
  int64_t bos, eos, unknown, separator, classify; /* ids; -1: not there */
  int8_t add_bos, add_eos, add_sep, add_space_prefix, fewer_spaces; /* the flags; -1: not there (fewer_spaces: remove_extra_whitespaces) */
  const void *charsmap; /* precompiled_charsmap */
  size_t charsmap_size;
} etk_gguf_vocabulary;
#define ETK_GGUF_VOCABULARY_INIT \
  {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0}
/* The "pre" of a file that names none is "default"; one that is not known is an error that names it. */
etk_status etk_tokenizer_from_gguf(etk_error *e, etk_tokenizer **out, const etk_gguf_vocabulary *vocabulary);
struct etk_gguf; /* etk/gguf.h; the tokenizer keeps nothing of it */
etk_status etk_tokenizer_open_gguf(etk_error *e, etk_tokenizer **out, const struct etk_gguf *file, const char *name);
void etk_tokenizer_free(etk_tokenizer *tokenizer);

/* ---- from one model's files to another's ---- */

/* Sets the keys tokenizer.ggml.* and tokenizer.chat_template* from the tokenizer files of a folder (any that etk_tokenizer_open reads; a tokenizer.model
 * beside a SentencePiece-like tokenizer.json gives the scores). Rows up to vocabulary_size (0: as many as there are tokens) that have no token become
 * "[PADn]", unused. Special added tokens are control tokens, other added ones user-defined. A tokenizer that llama.cpp would not follow (another
 * pre-tokenizer, normalizer or model than it has a name for) is ETK_E_UNSUPPORTED, with three exceptions that its own converter makes too. Lost there are:
 * NFC before byte-level BPE; SentencePiece's removal of repeated spaces before its BPE; where a prefix space is left out (Metaspace: before a space, or
 * behind a control token). These, and whatever else of a tokenizer.json GGUF has no place for, are kept under the key etk.tokenizer.parts (JSON; no
 * other program reads it) for the way back. */
struct etk_gguf_writer;
etk_status etk_tokenizer_to_gguf(etk_error *e, struct etk_gguf_writer *writer, const char *folder, int64_t vocabulary_size);
/* Writes tokenizer.json, tokenizer_config.json (with the chat template) and special_tokens_map.json from a GGUF file's vocabulary into `folder`, which is
 * made where it is missing. With etk.tokenizer.parts the ids are those of the tokenizer that the file was made from; without, those of the GGUF file (but a
 * Unigram text of spaces alone gets a prefix in front, and each byte-level text the ids without NFC, as llama.cpp has them). */
etk_status etk_tokenizer_write_folder(etk_error *e, const struct etk_gguf *file, const char *name, const char *folder, bool replace);
/* Copies whatever tokenizer files (vocabularies, configuration, chat templates) a folder has to another one, byte for byte. */
etk_status etk_tokenizer_copy_files(etk_error *e, const char *from, const char *to, bool replace);

int64_t etk_tokenizer_size(const etk_tokenizer *tokenizer); /* largest id + 1 */
int32_t etk_tokenizer_bos(const etk_tokenizer *tokenizer);  /* -1: none */
int32_t etk_tokenizer_eos(const etk_tokenizer *tokenizer);  /* -1: none */
/* Whether this kind of tokenizer by custom matches control tokens written in a text: what parse_special is where the user says nothing. */
bool etk_tokenizer_parses_special(const etk_tokenizer *tokenizer);
int32_t etk_tokenizer_find(const etk_tokenizer *tokenizer, const char *token); /* id of a token's exact spelling, -1: none */
const char *etk_tokenizer_token(const etk_tokenizer *tokenizer, int32_t id);   /* spelling; NULL: no such id */

typedef struct etk_ids {
  int32_t *items;
  size_t count, capacity;
} etk_ids; /* the caller's; etk_ids_free */
#define ETK_IDS_INIT {0, 0, 0}
void etk_ids_free(etk_ids *ids);
bool etk_ids_push(etk_ids *ids, int32_t id); /* false: out of memory */

/* Appends the ids of text. special: add what stands in front of a text, end: what stands behind it, as the tokenizer's post-processor or
 * add_bos_token and add_eos_token say. Generating and training want the first alone (training ends texts itself, see etk/dataset.h), encoders both.
 * Control tokens written in the text are matched when parse_special; user-defined ones always. Bytes that are not UTF-8 count as U+FFFD. */
typedef struct etk_encode_options {
  bool special;
  bool parse_special;
  bool end;
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

/* Trains a Unigram model (Kudo 2018) over words that begin with U+2581 for their space, and writes it as etk_bpe_train does (Metaspace, scores that are
 * natural logarithms). special[0..] get the first ids, "<unk>" the next unless it is one of them, then the bytes <0x00> to <0xFF> where byte_fallback is
 * set, then pieces of up to 16 characters, likeliest first. Fewer pieces than wanted where the text has no more that repeat. All of the pool's threads
 * work; the file does not depend on how many they are. No normal form is applied; characters beyond `coverage` become unknown, or bytes. */
typedef struct etk_unigram_options {
  int vocabulary_size;       /* including all of these */
  double coverage;           /* share of the text whose characters are pieces; 0: 0.9995 */
  bool byte_fallback;
  const char *const *special;
  size_t special_count;
  const char *bos, *eos;     /* of the specials; NULL: none. bos is added by the post-processor */
  void (*progress)(void *user, int64_t done, int64_t total); /* pieces wanted, pieces left */
  void (*round)(void *user, int64_t pieces, double bits);    /* each step of expectation maximization: bits a character before it; NULL: not told */
  void *user;
} etk_unigram_options;
etk_status etk_unigram_train(etk_error *e, const char *path, const char *const *texts, const size_t *sizes, size_t count, const etk_unigram_options *options,
                             bool replace);

#ifdef __cplusplus
}
#endif
#endif
