/* The parts of a tokenizer, shared by the files of this folder.
 *
 * Text goes through: added tokens (found literally) -> normalizer -> added tokens whose spelling was normalized -> splitter (a list of steps) ->
 * BPE. Ids go through the decoder's steps. Everything below is immutable after load; what changes during a call is in `etk__scratch`. */
#ifndef ETK_ML_TEXT_INTERNAL_H
#define ETK_ML_TEXT_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <etk/alloc.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <jansson.h>
#include <pcre2.h>

/* ---- unicode.c: character classes as Rust's and Oniguruma's, which tokenizer.json files are written for ---- */
bool etk__is_space(uint32_t c); /* White_Space */
bool etk__is_word(uint32_t c);
bool etk__is_mark(uint32_t c);
void etk__put_lower(etk_text *out, uint32_t c); /* the full lower-case mapping, without context */
/* Appends text with every broken byte sequence as U+FFFD. */
void etk__put_repaired(etk_text *out, const char *text, size_t size);
/* The position behind the character at `at`; size + 1 at the end, so that a search beyond an empty match ends. */
size_t etk__step(const char *text, size_t size, size_t at);
/* GPT-2's alphabet: a printable character for each byte. */
uint32_t etk__byte_to_char(unsigned char byte);
int etk__char_to_byte(uint32_t c); /* -1: not of the alphabet */

/* ---- regex.c ---- */
typedef struct etk__regex etk__regex;
/* Compiles a pattern written for Oniguruma; what PCRE2 would read differently is translated, or is ETK_E_UNSUPPORTED. */
etk_status etk__regex_new(etk_error *e, etk__regex **out, const char *pattern);
etk_status etk__regex_literal(etk_error *e, etk__regex **out, const char *literal);
void etk__regex_free(etk__regex *regex);
/* Finds the first match at or after `from` in valid UTF-8. *found: false at the end. `data` is the caller's (etk__regex_data), one per thread. */
etk_status etk__regex_find(etk_error *e, const etk__regex *regex, pcre2_match_data *data, const char *text, size_t size, size_t from, bool *found,
                           size_t *start, size_t *end);
pcre2_match_data *etk__regex_data(void);

/* ---- vocabulary.c: byte strings to ids, and pairs of ids to merges ---- */
typedef struct etk__token {
  const char *text; /* NUL-terminated; NULL: no such id */
  uint32_t size;
  bool added, special;
} etk__token;
typedef struct etk__vocabulary {
  etk_arena arena;
  etk__token *tokens; /* by id */
  size_t count;       /* largest id + 1 */
  size_t capacity;
  int32_t *slots; /* open addressing; -1: free */
  size_t slot_count, used;
} etk__vocabulary;
enum { ETK__MAX_ID = 1 << 22 }; /* ids from files are below this: a bound on what a broken file can make us allocate */
etk_status etk__vocabulary_add(etk_error *e, etk__vocabulary *v, const char *file, int64_t id, const char *text, size_t size, bool findable);
int32_t etk__vocabulary_find(const etk__vocabulary *v, const char *text, size_t size);
void etk__vocabulary_fini(etk__vocabulary *v);

typedef struct etk__merge {
  uint64_t pair; /* left << 32 | right; UINT64_MAX: free */
  uint32_t rank; /* smaller first */
  int32_t id;    /* of the result */
} etk__merge;
typedef struct etk__merges {
  etk__merge *slots;
  size_t slot_count, used;
} etk__merges;
bool etk__merges_put(etk__merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id); /* a later one wins; false: out of memory */
const etk__merge *etk__merges_find(const etk__merges *m, int32_t left, int32_t right);
void etk__merges_fini(etk__merges *m);

/* ---- bpe.c ---- */
typedef struct etk__symbol {
  int32_t id;
  int32_t previous, next; /* -1: none */
} etk__symbol;
typedef struct etk__candidate {
  uint32_t rank;
  int32_t position, id;
} etk__candidate;
typedef struct etk__scratch {
  etk__symbol *symbols;
  size_t symbol_count, symbol_capacity;
  etk__candidate *heap;
  size_t heap_count, heap_capacity;
  etk_text character;  /* a character with prefix or suffix */
  etk_text levels[32]; /* one for each step that rewrites pieces (ETK__MAX_STEPS) */
  pcre2_match_data *match;
} etk__scratch;
etk_status etk__scratch_init(etk_error *e, etk__scratch *scratch);
void etk__scratch_fini(etk__scratch *scratch);

typedef struct etk__bpe {
  etk__merges merges;
  const char *prefix, *suffix; /* of characters inside a word, of the last one; NULL: none */
  int32_t unknown;             /* -1: characters that are not in the vocabulary vanish */
  bool fuse_unknown, byte_fallback, ignore_merges;
  int32_t bytes[256];   /* ids of "<0x00>" …; -1: not there */
  int32_t ascii[0x200]; /* ids of the first code points, -1; filled by etk__bpe_index */
} etk__bpe;
void etk__bpe_index(etk__bpe *bpe, const etk__vocabulary *v);
/* Appends the ids of one piece. Time O(n log n) in its characters. */
etk_status etk__bpe_encode(etk_error *e, const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *scratch, etk_ids *out, const char *text,
                           size_t size);
/* Only the merging, over symbols that the caller pushed; appends the result. */
etk_status etk__bpe_merge(etk_error *e, const etk__merges *merges, etk__scratch *scratch, etk_ids *out);
bool etk__scratch_push(etk__scratch *scratch, int32_t id);

/* ---- normalizer.c ---- */
typedef enum etk__normal_kind {
  NORMAL_UNICODE,
  NORMAL_LOWERCASE,
  NORMAL_STRIP,
  NORMAL_STRIP_ACCENTS,
  NORMAL_PREPEND,
  NORMAL_REPLACE
} etk__normal_kind;
typedef struct etk__normal {
  etk__normal_kind kind;
  int form; /* utf8proc options */
  bool left, right;
  const char *content;
  etk__regex *regex;
} etk__normal;
enum { ETK__MAX_STEPS = 32 };
typedef struct etk__normalizer {
  etk__normal steps[ETK__MAX_STEPS];
  int count;
} etk__normalizer;
etk_status etk__normalizer_read(etk_error *e, etk__normalizer *out, etk_arena *arena, const char *file, const json_t *json);
/* text is valid UTF-8; *out gets the result (its content is replaced). */
etk_status etk__normalize(etk_error *e, const etk__normalizer *normalizer, etk__scratch *scratch, etk_text *out, const char *text, size_t size);
void etk__normalizer_fini(etk__normalizer *normalizer);
etk_status etk__replace_all(etk_error *e, const etk__regex *regex, pcre2_match_data *match, const char *content, etk_text *out, const char *text,
                            size_t size);

/* ---- splitter.c: pre-tokenizers ---- */
typedef enum etk__split_kind { SPLIT_REGEX, SPLIT_PREFIX_SPACE, SPLIT_BYTES, SPLIT_METASPACE } etk__split_kind;
typedef enum etk__behaviour { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT, SPLIT_CONTIGUOUS } etk__behaviour;
typedef enum etk__scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } etk__scheme;
typedef struct etk__split {
  etk__split_kind kind;
  etk__regex *regex;
  etk__behaviour behaviour;
  bool invert;
  const char *replacement; /* Metaspace */
  etk__scheme scheme;
} etk__split;
typedef struct etk__splitter {
  etk__split steps[ETK__MAX_STEPS];
  int count;
} etk__splitter;
etk_status etk__splitter_read(etk_error *e, etk__splitter *out, etk_arena *arena, const char *file, const json_t *json);
void etk__splitter_fini(etk__splitter *splitter);
typedef etk_status (*etk__piece_sink)(etk_error *e, void *user, const char *text, size_t size);
/* first: the text stands at the very beginning of the input. */
etk_status etk__split_run(etk_error *e, const etk__splitter *splitter, etk__scratch *scratch, const char *text, size_t size, bool first,
                          etk__piece_sink sink, void *user);
extern const char etk__gpt2_pattern[];

/* ---- added.c: tokens that are found literally in the text ---- */
typedef struct etk__added_token {
  const char *text; /* what is looked for */
  size_t size;
  int32_t id;
  bool special, single_word, left, right, normalized;
} etk__added_token;
typedef struct etk__added {
  etk__added_token *items; /* sorted by text */
  size_t count;
  bool first[256]; /* bytes that begin one */
} etk__added;
typedef struct etk__added_match {
  int32_t id; /* -1: the rest of the text, without a token behind it */
  size_t start, end;
} etk__added_match;
void etk__added_index(etk__added *added);
/* The first token in text[at..size) that counts; `from` bounds what lstrip may take. false: none. */
bool etk__added_find(const etk__added *added, const char *text, size_t size, size_t at, size_t from, bool parse_special, etk__added_match *out);

/* ---- decode.c ---- */
typedef enum etk__decode_kind {
  DECODE_BYTE_LEVEL,
  DECODE_REPLACE,
  DECODE_BYTE_FALLBACK,
  DECODE_METASPACE,
  DECODE_STRIP,
  DECODE_SUFFIX,
  DECODE_FUSE
} etk__decode_kind;
typedef struct etk__decode_step {
  etk__decode_kind kind;
  etk__regex *regex;
  const char *content;
  size_t content_size;
  int64_t start, stop;
  etk__scheme scheme;
} etk__decode_step;
typedef struct etk__decode {
  etk__decode_step steps[ETK__MAX_STEPS];
  int count;
  bool spaced; /* no decoder in the file: tokens are joined by spaces */
} etk__decode;
etk_status etk__decode_read(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, const json_t *json);
void etk__decode_fini(etk__decode *decode);

/* ---- tokenizer.c ---- */
typedef enum etk__tokenizer_kind { TOKENIZER_JSON, TOKENIZER_LLAMA2C } etk__tokenizer_kind;
struct etk_tokenizer {
  etk__tokenizer_kind kind;
  etk__vocabulary vocabulary; /* its arena holds every string of the tokenizer */
  etk__bpe bpe;
  etk__normalizer normalizer;
  etk__splitter splitter;
  etk__decode decode;
  etk__added literal, normalized; /* added tokens sought before and after normalization */
  int32_t *prefix;                /* what `special` puts in front */
  size_t prefix_count;
  int32_t bos, eos; /* -1: none */
};
etk_tokenizer *etk__tokenizer_new(etk_error *e, const char *name);
/* Takes bos_token, eos_token and add_bos_token from the bytes of a tokenizer_config.json. */
etk_status etk__tokenizer_configure(etk_error *e, etk_tokenizer *t, const char *name, const char *bytes, size_t size);

/* ---- llama2c.c ---- */
etk_status etk__llama2c_encode(etk_error *e, const etk_tokenizer *t, etk__scratch *scratch, etk_ids *out, const char *text, size_t size);

/* ---- bpe_write.c: a byte-level tokenizer.json, with tokenizer_config.json beside it where bos or eos are named ---- */
typedef struct etk__join {
  int32_t left, right, id;
} etk__join;
etk_status etk__bpe_write(etk_error *e, const char *path, const etk__vocabulary *v, const etk__join *joins, size_t count,
                          const etk_bpe_options *options, bool replace);

/* ---- json.c: reading with messages ---- */
const char *etk__json_text(const json_t *object, const char *key);
bool etk__json_flag(const json_t *object, const char *key, bool otherwise);
json_t *etk__json_load(etk_error *e, const char *name, const char *bytes, size_t size);
etk_status etk__no_memory(etk_error *e, const char *what);

#endif
