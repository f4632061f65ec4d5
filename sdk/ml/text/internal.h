/* The parts of a tokenizer, shared by the files of this folder.
 *
 * Text goes through: added tokens (found literally) -> normalizer -> added tokens whose spelling was normalized -> splitter (a list of steps) ->
 * model (BPE, Unigram, WordPiece or WordLevel). Ids go through the decoder's steps. Everything below is immutable after load; what changes during a
 * call is in `etk__scratch`. Each file format has a reader that fills an `etk_tokenizer` with such parts. */
#ifndef ETK_ML_TEXT_INTERNAL_H
#define ETK_ML_TEXT_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <etk/alloc.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <jansson.h>
#include <pcre2.h>

/* ---- unicode.c: character classes as in Rust's library, which tokenizer.json files are written for ---- */
bool etk__is_space(uint32_t c); /* White_Space */
bool etk__is_word(uint32_t c); /* as Rust */
bool etk__is_mark(uint32_t c);
bool etk__is_punctuation(uint32_t c); /* all of ASCII that prints and is no letter or digit, and the category P */
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
const char *etk__regex_source(const etk__regex *regex); /* the pattern as given; NULL: a literal */
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
  int64_t limit; /* ids are below; 0: ETK__MAX_ID */
} etk__vocabulary;
/* Ids from files are below this, and below `limit`, which readers take from the number of tokens: a bound on what a broken file can make us allocate. */
enum { ETK__MAX_ID = 1 << 22 };
void etk__vocabulary_expect(etk__vocabulary *v, size_t tokens); /* sets the limit: holes are possible, wild ids are not */
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
/* The last pieces and their ids: text repeats itself. Short ones only, so that two slots fill a cache line. */
enum { ETK__CACHED_BYTES = 15, ETK__CACHED_IDS = 3 };
typedef struct etk__cached {
  char key[16]; /* the piece, zeros, its size in the last byte; size 0: free */
  int32_t ids[ETK__CACHED_IDS];
  int32_t count;
} etk__cached;
typedef struct etk__reach { /* the best way to a byte of a piece */
  double score;
  int32_t id;    /* of the token that ends there */
  uint32_t from; /* where that token begins; UINT32_MAX: no way yet */
} etk__reach;
typedef struct etk__scratch {
  etk__symbol *symbols;
  size_t symbol_count, symbol_capacity;
  etk__candidate *heap;
  size_t heap_count, heap_capacity;
  etk__cached *cache; /* NULL: not worth it */
  size_t cache_slots; /* a power of 2 */
  etk__reach *reaches;
  size_t reach_capacity;
  int32_t *points; /* code points */
  size_t point_capacity;
  etk_text character;  /* a character with prefix or suffix */
  etk_text spelled;    /* a piece in the byte alphabet */
  etk_text levels[32]; /* one for each step that rewrites pieces (ETK__MAX_STEPS) */
  pcre2_match_data *match;
} etk__scratch;
etk_status etk__scratch_init(etk_error *e, etk__scratch *scratch);
void etk__scratch_fini(etk__scratch *scratch);
void etk__scratch_expect(etk__scratch *scratch, size_t bytes); /* how much text will come: decides about the cache */

typedef struct etk__bpe {
  etk__merges merges;
  const char *prefix, *suffix; /* of characters inside a word, of the last one; NULL: none */
  int32_t unknown;             /* -1: characters that are not in the vocabulary vanish */
  bool fuse_unknown, byte_fallback, ignore_merges;
  int32_t bytes[256];   /* ids of "<0x00>" …; -1: not there */
  int32_t ascii[0x200]; /* ids of the first code points, -1; filled by etk__bpe_index */
  bool raw;             /* every byte of the alphabet has an id: pieces of bytes need not be spelled in it */
  int32_t raw_inner[256], raw_last[256]; /* those ids, inside a piece and (with the suffix) at its end */
} etk__bpe;
etk_status etk__bpe_index(etk_error *e, etk__bpe *bpe, const etk__vocabulary *v);
/* The ids of one piece of bytes. Needs bpe->raw. */
etk_status etk__bpe_encode_raw(etk_error *e, const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *scratch, etk_ids *out, const char *text,
                               size_t size);
/* Appends the ids of one piece. Time O(n log n) in its characters. */
etk_status etk__bpe_encode(etk_error *e, const etk__bpe *bpe, const etk__vocabulary *v, etk__scratch *scratch, etk_ids *out, const char *text,
                           size_t size);
/* Only the merging, over symbols that the caller pushed; appends the result. */
etk_status etk__bpe_merge(etk_error *e, const etk__merges *merges, etk__scratch *scratch, etk_ids *out);
bool etk__scratch_push(etk__scratch *scratch, int32_t id);
bool etk__heap_push(etk__scratch *scratch, etk__candidate item); /* best rank first, then leftmost */
etk__candidate etk__heap_pop(etk__scratch *scratch);
bool etk__bpe_merge_long(const etk__merges *merges, etk__scratch *scratch); /* bpe_long.c: over linked symbols; false: out of memory */

/* ---- unigram.c: the most probable segmentation ---- */
typedef struct etk__trie_node {
  uint32_t first; /* child; children are neighbours, in the order of their labels */
  int32_t id;     /* of the token that ends here; -1: none */
  uint16_t count;
  unsigned char label;
} etk__trie_node;
typedef struct etk__unigram {
  etk__trie_node *nodes;
  size_t node_count;
  uint32_t roots[256]; /* the root's children by label; 0: none */
  double *scores;      /* by id */
  double unknown_score;
  int32_t unknown; /* -1: text that no token covers is an error */
  bool byte_fallback;
  bool single;        /* sums are rounded to float, as SentencePiece's are */
  int32_t bytes[256]; /* as in etk__bpe */
} etk__unigram;
/* scores: by id. pieces: which ids take part; NULL: all. */
etk_status etk__unigram_build(etk_error *e, etk__unigram *u, const etk__vocabulary *v, const char *file, const double *scores, const bool *pieces);
const etk__trie_node *etk__trie_child(const etk__unigram *u, const etk__trie_node *node, unsigned char label); /* NULL: none */
etk_status etk__unigram_encode(etk_error *e, const etk__unigram *u, etk__scratch *scratch, etk_ids *out, const char *text, size_t size);
void etk__unigram_fini(etk__unigram *u);

/* ---- wordpiece.c ---- */
typedef struct etk__wordpiece {
  const char *begin, *inside; /* prefixes of pieces that begin a word (GGUF: U+2581) and of those inside (BERT: ##); "": none */
  int64_t longest;            /* characters of a word; more of them are unknown */
  size_t most_bytes;          /* of a piece; filled by etk__tokenizer_finish */
  int32_t unknown;            /* -1: an error */
} etk__wordpiece;
etk_status etk__wordpiece_encode(etk_error *e, const etk__wordpiece *w, const etk__vocabulary *v, etk__scratch *scratch, etk_ids *out,
                                 const char *text, size_t size);
etk_status etk__wordlevel_encode(etk_error *e, const etk__wordpiece *w, const etk__vocabulary *v, etk_ids *out, const char *text, size_t size);

/* ---- model.c ---- */
typedef enum etk__model_kind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL } etk__model_kind;
etk_status etk__model_encode(etk_error *e, const etk_tokenizer *t, etk__scratch *scratch, etk_ids *out, const char *text, size_t size);

/* ---- charsmap.c: SentencePiece's compiled normalization rules ---- */
typedef struct etk__charsmap {
  const uint32_t *units; /* a double array */
  size_t unit_count;
  const char *strings; /* each ends with a zero byte */
  size_t string_size;
} etk__charsmap;
etk_status etk__charsmap_read(etk_error *e, etk__charsmap *out, etk_arena *arena, const char *file, const void *bytes, size_t size);
etk_status etk__charsmap_read_base64(etk_error *e, etk__charsmap *out, etk_arena *arena, const char *file, const char *text);
/* How many bytes at the beginning of text a rule covers (0: none), and what they become. longest: the longest rule, as SentencePiece does; else the
 * shortest, as the tokenizers library does. */
size_t etk__charsmap_find(const etk__charsmap *map, const char *text, size_t size, bool longest, const char **out);
void etk__charsmap_put(const etk__charsmap *map, etk_text *out, const char *text, size_t size); /* the tokenizers library's way */

/* ---- normalizer.c ---- */
typedef enum etk__normal_kind {
  NORMAL_UNICODE,
  NORMAL_LOWERCASE,
  NORMAL_STRIP,
  NORMAL_STRIP_ACCENTS,
  NORMAL_PREPEND,
  NORMAL_REPLACE,
  NORMAL_REPLACE_TEXT,
  NORMAL_CHARSMAP,
  NORMAL_SENTENCEPIECE,
  NORMAL_CLEAN,
  NORMAL_CHINESE,
  NORMAL_NMT,
  NORMAL_BYTES
} etk__normal_kind;
struct etk__added;
typedef struct etk__normal {
  etk__normal_kind kind;
  int form;         /* utf8proc options */
  bool left, right; /* Strip: the sides */
  bool dummy_prefix, fewer_spaces, escape; /* SentencePiece's settings */
  bool lazy_prefix;                        /* none before spaces alone: llama.cpp's Unigram */
  const char *content, *what;              /* what comes in; what goes */
  size_t what_size;
  etk__regex *regex;
  etk__charsmap map;
  const struct etk__added *symbols; /* SentencePiece: left as they are */
} etk__normal;
enum { ETK__MAX_STEPS = 32 };
typedef struct etk__normalizer {
  etk__normal steps[ETK__MAX_STEPS];
  int count;
} etk__normalizer;
etk_status etk__normalizer_read(etk_error *e, etk__normalizer *out, etk_arena *arena, const char *file, const json_t *json);
etk_status etk__normalizer_add(etk_error *e, etk__normalizer *out, const char *file, etk__normal step);
/* text is valid UTF-8; *out gets the result (its content is replaced). */
etk_status etk__normalize(etk_error *e, const etk__normalizer *normalizer, etk__scratch *scratch, etk_text *out, const char *text, size_t size);
void etk__normalizer_fini(etk__normalizer *normalizer);
/* normal_text.c: the normalizers that are loops over characters. */
bool etk__put_form(etk__scratch *scratch, etk_text *out, const char *text, size_t size, int form);
void etk__put_clean(etk_text *out, const char *text, size_t size);
void etk__put_chinese(etk_text *out, const char *text, size_t size);
void etk__put_nmt(etk_text *out, const char *text, size_t size);
void etk__put_sentencepiece(etk_text *out, const etk__normal *step, const char *text, size_t size);
void etk__put_alphabet(etk_text *out, const char *text, size_t size);
void etk__put_replaced(etk_text *out, const char *what, size_t what_size, const char *content, const char *text, size_t size);
etk_status etk__replace_all(etk_error *e, const etk__regex *regex, pcre2_match_data *match, const char *content, etk_text *out, const char *text,
                            size_t size);

/* ---- splitter.c: pre-tokenizers ---- */
typedef enum etk__split_kind { SPLIT_REGEX, SPLIT_PREFIX_SPACE, SPLIT_BYTES, SPLIT_METASPACE, SPLIT_BERT, SPLIT_WORDS } etk__split_kind;
typedef enum etk__behaviour { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT, SPLIT_CONTIGUOUS } etk__behaviour;
typedef enum etk__scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } etk__scheme;
typedef struct etk__split {
  etk__split_kind kind;
  etk__regex *regex;
  etk__behaviour behaviour;
  bool invert;
  const char *replacement; /* Metaspace; what begins a word for SPLIT_WORDS */
  size_t replacement_size;
  etk__scheme scheme;
} etk__split;
typedef struct etk__splitter {
  etk__split steps[ETK__MAX_STEPS];
  int count;
  bool raw; /* pieces stay bytes: the last step would spell them in the alphabet, but the model does without */
} etk__splitter;
etk_status etk__splitter_add(etk_error *e, etk__splitter *out, const char *file, etk__split_kind kind, etk__split **step);
etk_status etk__splitter_add_pattern(etk_error *e, etk__splitter *out, const char *file, const char *pattern, bool literal, etk__behaviour behaviour,
                                     bool invert);
etk_status etk__splitter_read(etk_error *e, etk__splitter *out, etk_arena *arena, const char *file, const json_t *json);
void etk__splitter_fini(etk__splitter *splitter);
typedef etk_status (*etk__piece_sink)(etk_error *e, void *user, const char *text, size_t size);
/* first: the text stands at the very beginning of the input. */
etk_status etk__split_run(etk_error *e, const etk__splitter *splitter, etk__scratch *scratch, const char *text, size_t size, bool first,
                          etk__piece_sink sink, void *user);
extern const char etk__gpt2_pattern[], etk__llama3_pattern[], etk__qwen2_pattern[];

/* ---- added.c: tokens that are found literally in the text ---- */
typedef struct etk__added_token {
  const char *text; /* what is looked for; NULL: the vocabulary's spelling */
  size_t size;
  int32_t id;
  bool special, single_word, left, right, normalized;
} etk__added_token;
typedef struct etk__added {
  etk__added_token *items; /* sorted by text, once indexed */
  size_t count;
  bool first[256]; /* bytes that begin one */
} etk__added;
typedef struct etk__added_match {
  int32_t id; /* -1: the rest of the text, without a token behind it */
  size_t start, end;
} etk__added_match;
void etk__added_index(etk__added *added);
const etk__added_token *etk__added_at(const etk__added *added, const char *text, size_t size); /* the longest that text begins with, or NULL */
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
  DECODE_WORDPIECE,
  DECODE_FUSE
} etk__decode_kind;
typedef struct etk__decode_step {
  etk__decode_kind kind;
  etk__regex *regex;
  const char *content;
  size_t content_size;
  int64_t start, stop;
  etk__scheme scheme;
  bool cleanup; /* WordPiece: no space before punctuation and contractions */
} etk__decode_step;
typedef struct etk__decode {
  etk__decode_step steps[ETK__MAX_STEPS];
  int count;
  bool spaced;      /* no decoder in the file: tokens are joined by spaces */
  bool added_plain; /* added tokens stand for their spelling, whatever the steps */
} etk__decode;
etk_status etk__decode_add(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, etk__decode_kind kind, const char *content);
etk_status etk__decode_read(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, const json_t *json);
void etk__decode_fini(etk__decode *decode);

/* ---- tokenizer.c ---- */
typedef enum etk__tokenizer_kind { TOKENIZER_JSON, TOKENIZER_LLAMA2C } etk__tokenizer_kind;
struct etk_tokenizer {
  etk__tokenizer_kind kind;
  etk__vocabulary vocabulary; /* its arena holds every string of the tokenizer */
  etk__model_kind model;
  etk__bpe bpe;
  etk__unigram unigram;
  etk__wordpiece wordpiece;
  etk__normalizer normalizer;
  etk__splitter splitter;
  etk__decode decode;
  etk__added literal, normalized; /* added tokens sought before and after normalization */
  int32_t *prefix, *suffix;       /* what `special` puts in front, `end` behind */
  size_t prefix_count, suffix_count;
  int32_t bos, eos;     /* -1: none */
  float *scores;        /* by id, as SentencePiece and llama2.c files have them; NULL: there are none */
  unsigned char *types; /* by id, as SentencePiece counts them (ETK__NORMAL …); NULL: the file tells none */
  size_t scored;        /* how many ids these two cover */
  bool control_is_text; /* control tokens written in a text are text unless the caller wants otherwise: GGUF, SentencePiece */
};
etk_tokenizer *etk__tokenizer_new(etk_error *e, const char *name);
/* Appends an id to those put in front or behind. */
etk_status etk__tokenizer_put_ends(etk_error *e, etk_tokenizer *t, const char *file, bool front, int64_t id);
/* Added tokens: reserve room for `count`, add (each one's spelling is in the vocabulary), index: what is sought in normalized text is normalized. */
etk_status etk__tokenizer_reserve_added(etk_error *e, etk_tokenizer *t, const char *file, size_t count);
void etk__tokenizer_add_token(etk_tokenizer *t, etk__added_token token);
etk_status etk__tokenizer_index_added(etk_error *e, etk_tokenizer *t, const char *file);
/* The last step of every reader: tables for speed. */
etk_status etk__tokenizer_finish(etk_error *e, etk_tokenizer *t, const char *file);
bool etk__spans_words(const etk__token *token); /* U+2581 behind something else */
/* Where nothing names the ends: the spellings of published families. */
void etk__tokenizer_guess_ends(etk_tokenizer *t);
/* Takes bos_token, eos_token and add_bos_token from the bytes of a tokenizer_config.json. */
etk_status etk__tokenizer_configure(etk_error *e, etk_tokenizer *t, const char *name, const char *bytes, size_t size);

/* ---- readers of other files ---- */
enum { ETK__TOKENIZER_FILE_LIMIT = 256 << 20 }; /* bytes; the largest published tokenizer.json is about 33 MB */
/* tokenizer_json.c. A merge of spellings, `index` its rank; a whole tokenizer from parsed JSON. */
etk_status etk__bpe_put_merge(etk_error *e, etk_tokenizer *t, const char *file, etk_text *whole, const char *left, size_t left_size,
                              const char *right, size_t right_size, size_t index);
etk_status etk__read_vocabulary(etk_error *e, etk_tokenizer *t, const char *file, const json_t *vocab);
/* open.c: tokenizer_config.json and added_tokens.json in the folder of a file, where they are. */
etk_status etk__configure_beside(etk_error *e, etk_tokenizer *t, const char *folder);
/* vocabulary_files.c: vocab.json with merges.txt (GPT-2, CLIP, …), encoder.json with vocab.bpe, and vocab.txt (BERT). folder: with its
 * tokenizer_config.json. */
etk_status etk__open_vocab_merges(etk_error *e, etk_tokenizer **out, const char *folder, const char *vocab, const char *merges);
etk_status etk__open_vocab_txt(etk_error *e, etk_tokenizer **out, const char *folder, const char *vocab);
/* Lines "left right", after a first line that may be "#version…" (first_line: it is skipped whatever it says); at most `limit` merges. */
etk_status etk__read_merge_lines(etk_error *e, etk_tokenizer *t, const char *file, const char *bytes, size_t size, bool first_line, size_t limit);
etk_status etk__gpt2_parts(etk_error *e, etk_tokenizer *t, const char *file, const char *pattern); /* splitter and decoder */
/* clip.c: CLIP's own gzipped file; normalizer, splitter, decoder and ends of CLIP */
etk_status etk__parse_clip(etk_error *e, etk_tokenizer **out, const char *name, const char *bytes, size_t size);
etk_status etk__clip_parts(etk_error *e, etk_tokenizer *t, const char *file);
/* cutting.c: the ways to cut text that GGUF files name (tokenizer.ggml.pre) */
enum { ETK__IGNORE_MERGES = 1, ETK__BEGIN = 2, ETK__SEPARATE = 4 };
typedef struct etk__cutting {
  const char *names[8];
  const char *patterns[4]; /* one after the other, each within the pieces of those before; NULL ends */
  int flags;               /* whole pieces before merges; a token in front, and one behind, unless the file says otherwise */
} etk__cutting;
const etk__cutting *etk__cutting_named(etk_error *e, const char *file, const char *name); /* NULL: not known, ETK_E_UNSUPPORTED */
/* The way that a tokenizer cuts, and joins, if it is one of them; NULL: it is not. */
const etk__cutting *etk__cutting_like(const etk_tokenizer *t);
/* Appends a pattern with \x{h} spelled as the character, which every dialect reads. */
void etk__put_plain_pattern(etk_text *out, const char *pattern);

/* gguf_file.c */
/* What a token is: tokenizer.ggml.token_type and SentencePiece's piece types. */
enum { ETK__NORMAL = 1, ETK__UNKNOWN = 2, ETK__CONTROL = 3, ETK__USER_DEFINED = 4, ETK__UNUSED = 5, ETK__BYTE = 6 };
typedef struct etk__gguf_arrays { /* what a vocabulary points to */
  const char **tokens, **merges;
  size_t *sizes, *merge_sizes;
  float *scores;
  int32_t *types;
} etk__gguf_arrays;
/* Takes the vocabulary out of a file; it lives as long as the file and the arrays (freed also after a failure). */
etk_status etk__gguf_take(etk_error *e, const struct etk_gguf *file, const char *name, etk__gguf_arrays *arrays, etk_gguf_vocabulary *out);
void etk__gguf_arrays_fini(etk__gguf_arrays *arrays);
bool etk__looks_like_gguf(const char *path); /* by its name, or its first bytes */
etk_status etk__open_gguf(etk_error *e, etk_tokenizer **out, const char *path);
/* sentencepiece.c */
bool etk__looks_like_sentencepiece(const void *bytes, size_t size);
etk_status etk__sentencepiece_parts(etk_error *e, etk_tokenizer *t, const char *file, const etk__normal *normal); /* normalizer and decoder */
/* llama2c.c: joining looks the joined spelling up, whatever the parts were: every way to cut a token in two is a merge of its score's rank. scores:
 * by id; pieces: which ids take part (NULL: all); those at or below `floor` do not. */
etk_status etk__bpe_rank_by_score(etk_error *e, etk_tokenizer *t, const char *file, const float *scores, const bool *pieces, float floor);

/* ---- llama2c.c ---- */
etk_status etk__llama2c_encode(etk_error *e, const etk_tokenizer *t, etk__scratch *scratch, etk_ids *out, const char *text, size_t size);

/* ---- word_count.c: what training learns from ---- */
typedef struct etk__word {
  const char *text;
  uint32_t size;
  int64_t count;
} etk__word;
typedef struct etk__words {
  etk__word *items; /* sorted by spelling */
  size_t count;
  etk_arena *arenas;
  size_t arena_count;
} etk__words;
/* The pieces that the splitter makes of the texts. A long text is counted in parts, cut in front of the character `before` where it stands behind a visible
 * ASCII character: there the splitter must cut too, whatever follows. The words are freed also after a failure. */
etk_status etk__words_count(etk_error *e, etk__words *out, const etk__splitter *splitter, char before, const char *const *texts, const size_t *sizes,
                            size_t count);
void etk__words_fini(etk__words *words);

/* ---- bpe_write.c: a byte-level tokenizer.json, with tokenizer_config.json beside it where bos or eos are named; and its parts ---- */
typedef struct etk__join {
  int32_t left, right, id;
} etk__join;
etk_status etk__bpe_write(etk_error *e, const char *path, const etk__vocabulary *v, const etk__join *joins, size_t count,
                          const etk_bpe_options *options, bool replace);
void etk__put_specials(etk_text *out, const char *const *special, size_t count);                     /* "added_tokens", ids from 0 on */
void etk__put_begin(etk_text *out, const char *const *special, size_t count, const char *bos); /* "post_processor" that adds bos, one of the specials */
etk_status etk__write_ends(etk_error *e, const char *path, const char *bos, const char *eos, bool replace); /* tokenizer_config.json beside path */
etk_status etk__check_specials(etk_error *e, const char *const *special, size_t count, const char *bos, const char *eos);

/* ---- tokenizer_config.c: chat templates as GGUF keys (config: the folder's tokenizer_config.json, or NULL), and the small files beside a tokenizer.json:
 * the names of t's ends and the templates that a GGUF file has ---- */
struct etk_gguf_writer;
etk_status etk__templates_to_gguf(etk_error *e, struct etk_gguf_writer *writer, const char *folder, const json_t *config);
etk_status etk__write_configs(etk_error *e, const etk_tokenizer *t, const struct etk_gguf *file, const char *name, const char *folder);

/* ---- json.c: reading with messages ---- */
const char *etk__json_text(const json_t *object, const char *key);
bool etk__json_flag(const json_t *object, const char *key, bool otherwise);
json_t *etk__json_load(etk_error *e, const char *name, const char *bytes, size_t size);
etk_status etk__json_load_beside(etk_error *e, json_t **out, const char *folder, const char *name); /* *out NULL: no such file */
etk_status etk__no_memory(etk_error *e, const char *what);

#endif
