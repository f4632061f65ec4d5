/* Tokenizers of every file form: published vocabularies against their vectors and other implementations, and broken files of each form. */
#include "ml_golden.h"
#include "../starve.h"

#include "ml/text/internal.h"

#include <etk/gguf.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <zlib.h>

static void encodes(const etk_tokenizer *t, const char *text, etk_encode_options options, const char *wanted) {
  etk_ids ids = ETK_IDS_INIT;
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options));
  etk_text shown = ETK_TEXT_INIT;
  for (size_t i = 0; i < ids.count; i++) etk_text_printf(&shown, "%s%d", i ? " " : "", (int)ids.items[i]);
  etk_text_putc(&shown, 0);
  assert_string_equal(shown.data, wanted);
  etk_text_free(&shown);
  etk_ids_free(&ids);
}
static const etk_encode_options plain = {.special = false}, parsing = {.parse_special = true}, ends = {.special = true, .end = true};

static void decodes(const etk_tokenizer *t, const int32_t *ids, size_t count, const char *wanted) {
  char *text;
  size_t size;
  works(etk_tokenizer_decode(e, t, &text, &size, ids, count, true));
  assert_string_equal(text, wanted);
  etk_free(text);
}

static etk_tokenizer *parse(const char *json) {
  etk_tokenizer *t;
  works(etk_tokenizer_parse_json(e, &t, "t.json", json, strlen(json)));
  return t;
}

/* ---- published vocabularies ------------------------------------------------------------------------------------------------------------------------- */

static void every_family_agrees_with_another_implementation(void **state) {
  (void)state;
  json_t *golden = load_json("tests/goldens/tokenizers_families.json"), *list;
  const json_t *texts = json_object_get(golden, "texts");
  const char *name;
  int wrong = 0;
  if (!etk_fs_exists(shared("tokenizers/gpt2"))) {
    json_decref(golden);
    skip();
  }
  assert_true(json_array_size(texts) >= 200);
  json_object_foreach(json_object_get(golden, "families"), name, list) {
    etk_tokenizer *t;
    works(etk_tokenizer_open(e, &t, shared(path_of("tokenizers/%s", name)), 0));
    for (size_t i = 0; i < json_array_size(texts); i++) {
      const json_t *text = json_array_get(texts, i);
      int32_t wanted[1024];
      size_t count = json_ids(json_array_get(list, i), wanted, 1024);
      etk_ids ids = ETK_IDS_INIT;
      etk_encode_options options = {.parse_special = !strstr(name, "tokenizer.model") && !strstr(name, "tok512")};
      works(etk_tokenizer_encode(e, t, &ids, json_string_value(text), json_string_length(text), &options));
      bool same = ids.count == count && (!count || !memcmp(ids.items, wanted, count * sizeof *wanted));
      if (!same) print_error("%s: \"%s\" gives other ids\n", name, json_string_value(text));
      wrong += !same;
      etk_ids_free(&ids);
    }
    etk_tokenizer_free(t);
  }
  json_decref(golden);
  assert_int_equal(wrong, 0);
}

/* llama.cpp's strings (.inp) and ids (.out), without special tokens. */
static void agrees_with_vectors(const char *name, const char *vectors, bool round_trip) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char *inputs, *outputs, *back;
  size_t size, count = 0;
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, shared(name), 0));
  works(etk_fs_read(e, &inputs, &size, shared(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf.inp", vectors)), 1 << 20));
  works(etk_fs_read(e, &outputs, &size, shared(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf.out", vectors)), 1 << 20));
  char *wanted = outputs;
  for (char *text = inputs, *end; (end = strstr(text, separator)); text = end + strlen(separator), count++) {
    etk_ids ids = ETK_IDS_INIT;
    works(etk_tokenizer_encode(e, t, &ids, text, (size_t)(end - text), &plain));
    etk_text line = ETK_TEXT_INIT;
    for (size_t i = 0; i < ids.count; i++) etk_text_printf(&line, " %d", (int)ids.items[i]);
    etk_text_putc(&line, 0);
    size_t length = strcspn(wanted, "\n");
    wanted[length] = 0;
    assert_string_equal(line.data, wanted);
    wanted += length + 1;
    works(etk_tokenizer_decode(e, t, &back, &size, ids.items, ids.count, true));
    if (round_trip && (size != (size_t)(end - text) || memcmp(back, text, size))) fail_msg("'%.*s' comes back as '%s'", (int)(end - text), text, back);
    etk_free(back);
    etk_text_free(&line);
    etk_ids_free(&ids);
  }
  assert_true(count >= 46);
  etk_free(inputs);
  etk_free(outputs);
  etk_tokenizer_free(t);
}

static void gguf_vocabularies_agree_with_their_vectors(void **state) {
  (void)state;
  shared_or_skip("tokenizers/gguf-vocab");
  agrees_with_vectors("tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf", "gpt-2", true);
  agrees_with_vectors("tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf", "llama-spm", true);
  agrees_with_vectors("tokenizers/gguf-vocab/ggml-vocab-bert-bge.gguf", "bert-bge", false);
}

static void folders_and_json_agree_with_the_same_vectors(void **state) {
  (void)state;
  shared_or_skip("tokenizers/gpt2");
  agrees_with_vectors("tokenizers/gpt2", "gpt-2", true);
  agrees_with_vectors("tokenizers/qwen3", "qwen2", true);
}

static void clip_gives_its_published_ids(void **state) {
  (void)state;
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, shared_or_skip("tokenizers/clip"), 49408));
  assert_int_equal(etk_tokenizer_size(t), 49408);
  assert_int_equal(etk_tokenizer_bos(t), 49406);
  assert_int_equal(etk_tokenizer_eos(t), 49407);
  encodes(t, "a photo of a cat", ends, "49406 320 1125 539 320 2368 49407"); /* transformers' documentation of CLIP */
  encodes(t, "  A  PHOTO\n of a\tcat ", plain, "320 1125 539 320 2368");
  decodes(t, (const int32_t[]){49406, 320, 1125, 539, 320, 2368, 49407}, 7, "a photo of a cat");
  etk_tokenizer_free(t);
}

static void beginning_and_end_are_as_the_file_says(void **state) {
  (void)state;
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, shared_or_skip("tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf"), 0));
  encodes(t, "a", ends, "1 263"); /* add_bos_token true, add_eos_token false */
  etk_tokenizer_free(t);
  works(etk_tokenizer_open(e, &t, shared("tokenizers/gguf-vocab/ggml-vocab-bert-bge.gguf"), 0));
  encodes(t, "hello world", ends, "101 7592 2088 102");
  encodes(t, "hello world", (etk_encode_options){.special = true}, "101 7592 2088");
  etk_tokenizer_free(t);
}

static void control_tokens_in_gguf_texts_match_only_when_asked(void **state) {
  (void)state;
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, shared_or_skip("tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf"), 0));
  assert_false(etk_tokenizer_parses_special(t));
  encodes(t, "<s>", parsing, "1");
  encodes(t, "<s>", plain, "529 29879 29958");
  etk_tokenizer_free(t);
  works(etk_tokenizer_open(e, &t, shared("tokenizers/qwen3"), 0));
  assert_true(etk_tokenizer_parses_special(t));
  etk_tokenizer_free(t);
}

/* ---- small ones, by reasoning ------------------------------------------------------------------------------------------------------------------------ */

#define UNIGRAM(rest) "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-2],[\"b\",-2],[\"ab\",-3],[\"abc\",-6],[\"c\",-2.5]" rest "}}"

static void unigram_takes_the_largest_sum(void **state) {
  (void)state;
  etk_tokenizer *t = parse(UNIGRAM("]"));
  encodes(t, "ab", plain, "3");      /* -3 beats -4 */
  encodes(t, "abc", plain, "3 5");   /* -5.5 beats -6 and -6.5 */
  encodes(t, "xxabx", plain, "0 3 0"); /* neighbouring unknowns are one */
  encodes(t, "", plain, "");
  etk_tokenizer_free(t);
  t = parse(UNIGRAM(",[\"<0xC3>\",-9],[\"<0xA9>\",-9]],\"byte_fallback\":true"));
  encodes(t, "a\xc3\xa9", plain, "1 6 7");
  encodes(t, "a\xc3\xa8", plain, "1 0"); /* without all of its bytes a character stays unknown */
  etk_tokenizer_free(t);
  etk_ids ids = ETK_IDS_INIT;
  t = parse("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]]}}");
  fails_with(ETK_E_INVALID, "no unknown token is named", etk_tokenizer_encode(e, t, &ids, "ax", 2, NULL));
  assert_int_equal(ids.count, 0);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
}

/* "unaffable" is the example of BERT's code. */
static void wordpiece_takes_the_longest_piece_from_the_left(void **state) {
  (void)state;
  etk_tokenizer *t = parse("{\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPiece\"},"
                           "\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":12,\"vocab\":{\"[UNK]\":0,\"un\":1,\"##aff\":2,\"##able\":3,\",\":4,\"want\":5}}}");
  encodes(t, "Un\xc3\xa4" "ffable,want", plain, "1 2 3 4 5");
  encodes(t, "unaffably", plain, "0");
  encodes(t, "unaffableunaffable", plain, "0"); /* longer than a word may be */
  encodes(t, "want\xe5\xb8\x8cwant", plain, "5 0 5"); /* Chinese characters stand alone */
  decodes(t, (const int32_t[]){1, 2, 3, 4, 5}, 5, "unaffable, want");
  etk_tokenizer_free(t);
}

static void wordlevel_knows_words_or_nothing(void **state) {
  (void)state;
  etk_tokenizer *t = parse("{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"cat\":1,\"the\":2}}}");
  encodes(t, "the cat  sat", plain, "2 1 0");
  etk_tokenizer_free(t);
}

static void words_that_are_cut_apart_give_the_ids_of_the_whole(void **state) {
  (void)state; /* a piece that holds a space inside forbids the cut */
  etk_tokenizer *t = parse("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xe2\x96\x81\":1,\"\xe2\x96\x81" "a\":2,\"a\xe2\x96\x81\":3},\"merges\":[\"\xe2\x96\x81 a\"]}}");
  encodes(t, "a\xe2\x96\x81" "a\xe2\x96\x81\xe2\x96\x81" "a", plain, "0 2 1 2");
  etk_tokenizer_free(t);
  t = parse("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xe2\x96\x81\":1,\"a\xe2\x96\x81\":2},\"merges\":[\"a \xe2\x96\x81\"]}}");
  encodes(t, "a\xe2\x96\x81" "a\xe2\x96\x81", plain, "2 2");
  etk_tokenizer_free(t);
}

/* Long texts use a cache of pieces; its answers are those of the model. */
static void a_long_text_gives_the_ids_of_its_lines(void **state) {
  (void)state;
  etk_tokenizer *t;
  char *text;
  size_t size;
  works(etk_tokenizer_open(e, &t, shared_or_skip("tokenizers/gpt2"), 0));
  works(etk_fs_read(e, &text, &size, shared_or_skip("data/tinystories/mini_gpt_tinystories.txt"), 1 << 20));
  etk_ids whole = ETK_IDS_INIT, parts = ETK_IDS_INIT;
  works(etk_tokenizer_encode(e, t, &whole, text, size, NULL));
  size_t from = 0;
  for (size_t i = 1; i <= size; i++) /* cuts where the pattern cuts: before a space that follows a letter */
    if (i == size || (text[i] == ' ' && ((text[i - 1] | 32) >= 'a' && (text[i - 1] | 32) <= 'z') && i - from > 40)) {
      works(etk_tokenizer_encode(e, t, &parts, text + from, i - from, NULL));
      from = i;
    }
  assert_int_equal(whole.count, parts.count);
  assert_memory_equal(whole.items, parts.items, whole.count * sizeof *whole.items);
  etk_ids_free(&whole);
  etk_ids_free(&parts);
  etk_free(text);
  etk_tokenizer_free(t);
}

/* ---- files of two, beside a configuration ---------------------------------------------------------------------------------------------------------------- */

static char *pair_folder(void **state, const char *config, const char *vocab, const char *merges) {
  char *folder = fresh_folder(state, "pair");
  write_text(path_of("%s/vocab.json", folder), vocab);
  write_text(path_of("%s/merges.txt", folder), merges);
  if (config) write_text(path_of("%s/tokenizer_config.json", folder), config);
  return folder;
}
#define PAIR "{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3,\"</s>\":4,\"<|endoftext|>\":5}"

static void the_tokenizer_class_decides_what_a_vocabulary_is_for(void **state) {
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, pair_folder(state, NULL, PAIR, "#version: 0.2\na b\n"), 0));
  encodes(t, "ab<|endoftext|>", parsing, "2 5");
  encodes(t, "ab", ends, "2");
  etk_tokenizer_free(t);
  works(etk_tokenizer_open(e, &t, pair_folder(state, "{\"tokenizer_class\":\"RobertaTokenizerFast\",\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}", PAIR, "a b\r\n\r\n"), 0));
  encodes(t, "ab</s>", (etk_encode_options){.special = true, .end = true, .parse_special = true}, "3 2 4 4");
  assert_int_equal(etk_tokenizer_bos(t), 3);
  etk_tokenizer_free(t);
  works(etk_tokenizer_open(e, &t, pair_folder(state, "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\",\"special\":true}}}", PAIR, "a b"), 0));
  encodes(t, "a<x>", parsing, "0 9");
  etk_tokenizer_free(t);
  fails_with(ETK_E_UNSUPPORTED, "tokenizer_class 'MarianTokenizer'", etk_tokenizer_open(e, &t, pair_folder(state, "{\"tokenizer_class\":\"MarianTokenizer\"}", PAIR, "a b"), 0));
  fails_with(ETK_E_FORMAT, "merges.txt:2: a merge must be", etk_tokenizer_open(e, &t, pair_folder(state, NULL, PAIR, "#version: 0.2\nab\n"), 0));
  fails_with(ETK_E_FORMAT, "merge 0 joins 'b' and 'a'", etk_tokenizer_open(e, &t, pair_folder(state, NULL, PAIR, "b a\n"), 0));
  fails_with(ETK_E_FORMAT, "the id of token 'a'", etk_tokenizer_open(e, &t, pair_folder(state, NULL, "{\"a\":\"0\"}", "a b"), 0));
  fails_with(ETK_E_FORMAT, "vocab.json:1:", etk_tokenizer_open(e, &t, pair_folder(state, NULL, "{", "a b"), 0));
  fails_with(ETK_E_FORMAT, "ids from 0 to", etk_tokenizer_open(e, &t, pair_folder(state, NULL, "{\"a\":4000000}", ""), 0));
  fails_with(ETK_E_FORMAT, "not a CLIP vocabulary", etk_tokenizer_open(e, &t, pair_folder(state, "{\"tokenizer_class\":\"CLIPTokenizer\"}", PAIR, ""), 0));
  fails_with(ETK_E_INVALID, "added_tokens_decoder", etk_tokenizer_open(e, &t, pair_folder(state, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", PAIR, ""), 0));
  fails_with(ETK_E_FORMAT, "without \"content\"", etk_tokenizer_open(e, &t, pair_folder(state, "{\"added_tokens_decoder\":{\"7\":{}}}", PAIR, ""), 0));
  char *folder = pair_folder(state, NULL, PAIR, "");
  write_text(path_of("%s/added_tokens.json", folder), "{\"<y>\":\"8\"}");
  fails_with(ETK_E_FORMAT, "the id of '<y>'", etk_tokenizer_open(e, &t, folder, 0));
}

static void a_vocabulary_of_lines_is_berts(void **state) {
  etk_tokenizer *t;
  char *folder = fresh_folder(state, "lines");
  write_text(path_of("%s/vocab.txt", folder), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\n\xc3\xa4\n");
  works(etk_tokenizer_open(e, &t, folder, 0));
  encodes(t, "UNable [MASK]", (etk_encode_options){.special = true, .end = true, .parse_special = true}, "2 5 6 4 3");
  encodes(t, "\xc3\xa4", plain, "1"); /* its mark is dropped */
  etk_tokenizer_free(t);
  write_text(path_of("%s/tokenizer_config.json", folder), "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":false}");
  works(etk_tokenizer_open(e, &t, folder, 0));
  encodes(t, "\xc3\xa4 UNable", plain, "7 1");
  etk_tokenizer_free(t);
  write_text(path_of("%s/tokenizer_config.json", folder), "{\"tokenizer_class\":\"MPNetTokenizer\"}");
  fails_with(ETK_E_UNSUPPORTED, "tokenizer_class 'MPNetTokenizer'", etk_tokenizer_open(e, &t, folder, 0));
  write_text(path_of("%s/tokenizer_config.json", folder), "{}");
  write_text(path_of("%s/vocab.txt", folder), "a\nb\n");
  fails_with(ETK_E_FORMAT, "not in the vocabulary is to stand before", etk_tokenizer_open(e, &t, folder, 0));
  write_file(path_of("%s/vocab.txt", folder), "[CLS]\n\xff\n", 8);
  fails_with(ETK_E_FORMAT, "not UTF-8 text", etk_tokenizer_open(e, &t, folder, 0));
}

/* ---- broken tokenizer.json --------------------------------------------------------------------------------------------------------------------------- */

static void broken_json_is_named(void **state) {
  (void)state;
#define AROUND(key, value) "{\"" key "\":" value ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"
  static const struct {
    etk_status status;
    const char *part, *json;
  } files[] = {
      {ETK_E_FORMAT, "must be a list of [token, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}"},
      {ETK_E_FORMAT, "must be a list of [token, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}"},
      {ETK_E_FORMAT, "entry 1 of \"vocab\" must be [token, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1],[\"b\"]]}}"},
      {ETK_E_FORMAT, "entry 0 of \"vocab\" must be [token, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[1,\"a\"]]}}"},
      {ETK_E_FORMAT, "\"unk_id\" must be an index into the 1 entries", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",1]]}}"},
      {ETK_E_FORMAT, "\"unk_id\" must be an index", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":\"a\",\"vocab\":[[\"a\",1]]}}"},
      {ETK_E_FORMAT, "must be an object from token to id", "{\"model\":{\"type\":\"WordPiece\",\"vocab\":[]}}"},
      {ETK_E_FORMAT, "must be an object from token to id", "{\"model\":{\"type\":\"WordLevel\"}}"},
      {ETK_E_FORMAT, "ids from 0 to", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":2000000}}}"},
      {ETK_E_UNSUPPORTED, "the model type 'Neural'", "{\"model\":{\"type\":\"Neural\"}}"},
      {ETK_E_FORMAT, "neither \"type\" nor \"merges\"", "{\"model\":{}}"},
      {ETK_E_UNSUPPORTED, "dropout makes encoding random", "{\"model\":{\"type\":\"BPE\",\"dropout\":0.5,\"vocab\":{},\"merges\":[]}}"},
      {ETK_E_FORMAT, "character 2 is not base64", AROUND("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AA?A\"}")},
      {ETK_E_FORMAT, "1 bytes are too few", AROUND("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AA==\"}")},
      {ETK_E_FORMAT, "a trie of 16777216 bytes in 2", AROUND("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAAAQAA\"}")},
      {ETK_E_FORMAT, "needs the base64 text", AROUND("normalizer", "{\"type\":\"Precompiled\"}")},
      {ETK_E_FORMAT, "Replace normalizer needs", AROUND("normalizer", "{\"type\":\"Replace\",\"content\":\"\"}")},
      {ETK_E_FORMAT, "Prepend normalizer needs", AROUND("normalizer", "{\"type\":\"Prepend\"}")},
      {ETK_E_FORMAT, "needs the list \"normalizers\"", AROUND("normalizer", "{\"type\":\"Sequence\"}")},
      {ETK_E_UNSUPPORTED, "the normalizer 'NFX'", AROUND("normalizer", "{\"type\":\"NFX\"}")},
      {ETK_E_FORMAT, "CharDelimiterSplit pre-tokenizer needs", AROUND("pre_tokenizer", "{\"type\":\"CharDelimiterSplit\"}")},
      {ETK_E_FORMAT, "Split pre-tokenizer needs", AROUND("pre_tokenizer", "{\"type\":\"Split\"}")},
      {ETK_E_FORMAT, "prepend_scheme 'often'", AROUND("pre_tokenizer", "{\"type\":\"Metaspace\",\"prepend_scheme\":\"often\"}")},
      {ETK_E_FORMAT, "needs the list \"pretokenizers\"", AROUND("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":1}")},
      {ETK_E_FORMAT, "a pre-tokenizer without a \"type\"", AROUND("pre_tokenizer", "{}")},
      {ETK_E_UNSUPPORTED, "the pre-tokenizer 'FixedLength'", AROUND("pre_tokenizer", "{\"type\":\"FixedLength\"}")},
      {ETK_E_FORMAT, "needs the list \"single\"", AROUND("post_processor", "{\"type\":\"TemplateProcessing\"}")},
      {ETK_E_FORMAT, "entry 0 of \"single\" has no ids", AROUND("post_processor", "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}")},
      {ETK_E_FORMAT, "is to stand before the text: 7", AROUND("post_processor", "{\"type\":\"BertProcessing\",\"cls\":[\"x\",7],\"sep\":[\"x\",0]}")},
      {ETK_E_FORMAT, "is to stand behind the text: -1", AROUND("post_processor", "{\"type\":\"RobertaProcessing\",\"cls\":[\"x\",0],\"sep\":[\"x\",-1]}")},
      {ETK_E_FORMAT, "a token id must be a whole number", AROUND("post_processor", "{\"type\":\"BertProcessing\"}")},
      {ETK_E_FORMAT, "needs the list \"processors\"", AROUND("post_processor", "{\"type\":\"Sequence\"}")},
      {ETK_E_FORMAT, "a decoder without a \"type\"", AROUND("decoder", "{}")},
      {ETK_E_UNSUPPORTED, "the decoder 'CTC'", AROUND("decoder", "{\"type\":\"CTC\"}")},
      {ETK_E_FORMAT, "Strip decoder needs", AROUND("decoder", "{\"type\":\"Strip\",\"content\":\"\"}")},
      {ETK_E_UNSUPPORTED, "behind Fuse", AROUND("decoder", "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"WordPiece\"}]}")},
      {ETK_E_FORMAT, "\"added_tokens\" must be a list", AROUND("added_tokens", "{}")},
      {ETK_E_FORMAT, "added token 0 needs", AROUND("added_tokens", "[{}]")},
      {ETK_E_FORMAT, "have the same id 0", AROUND("added_tokens", "[{\"id\":0,\"content\":\"b\"}]")},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    etk_tokenizer *t = (void *)1;
    fails_with(files[i].status, files[i].part, etk_tokenizer_parse_json(e, &t, "t.json", files[i].json, strlen(files[i].json)));
    assert_null(t);
  }
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct proto {
  unsigned char bytes[1024];
  size_t size;
} proto;
static void put_raw(proto *p, const void *bytes, size_t size) {
  assert_true(p->size + size <= sizeof p->bytes);
  memcpy(p->bytes + p->size, bytes, size);
  p->size += size;
}
static void put_varint(proto *p, uint64_t v) {
  do {
    unsigned char byte = (unsigned char)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
    put_raw(p, &byte, 1);
    v >>= 7;
  } while (v);
}
static void put_number(proto *p, unsigned field, uint64_t v) {
  put_varint(p, field << 3);
  put_varint(p, v);
}
static void put_bytes(proto *p, unsigned field, const void *bytes, size_t size) {
  put_varint(p, field << 3 | 2);
  put_varint(p, size);
  put_raw(p, bytes, size);
}
static void put_piece(proto *p, const char *text, float score, int type) {
  proto piece = {.size = 0};
  put_bytes(&piece, 1, text, strlen(text));
  put_varint(&piece, 2 << 3 | 5);
  put_raw(&piece, &score, 4);
  if (type != 1) put_number(&piece, 3, (uint64_t)type);
  put_bytes(p, 1, piece.bytes, piece.size);
}
static proto small_model(int kind) {
  proto p = {.size = 0}, trainer = {.size = 0};
  put_piece(&p, "<unk>", 0, 2);
  put_piece(&p, "<s>", 0, 3);
  put_piece(&p, "</s>", 0, 3);
  put_piece(&p, "\xe2\x96\x81", -3, 1);
  put_piece(&p, "a", -3, 1);
  put_piece(&p, "b", -3, 1);
  put_piece(&p, "\xe2\x96\x81" "a", -2, 1);
  put_piece(&p, "ab", -1, 1);
  put_piece(&p, "USER", 0, 4);
  put_number(&trainer, 3, (uint64_t)kind);
  put_bytes(&p, 2, trainer.bytes, trainer.size);
  return p;
}

static void sentencepiece_models_follow_their_scores(void **state) {
  (void)state;
  for (int kind = 1; kind <= 2; kind++) {
    proto p = small_model(kind);
    etk_tokenizer *t;
    works(etk_tokenizer_parse_sentencepiece(e, &t, "m", p.bytes, p.size));
    encodes(t, "  ab   a ", plain, "3 7 6"); /* white space is brought together, the ends are bare */
    encodes(t, "aUSERb", plain, "6 8 5");
    encodes(t, "<s>", plain, "3 0"); /* its spelling is no way to a control token */
    encodes(t, "<s>", parsing, "1");
    encodes(t, "a", ends, "1 6");
    encodes(t, "   ", plain, "");
    decodes(t, (const int32_t[]){1, 3, 7, 6}, 4, "ab a");
    etk_tokenizer_free(t);
  }
}

/* A compiled rule by hand: the bytes of U+00E9 lead from the root's children to a value, the offset of "e". */
static void compiled_rules_replace_what_they_cover(void **state) {
  (void)state;
  unsigned char bytes[4 + 4 * 512 + 2] = {0, 8, 0, 0};
#define UNIT(at, value)                                                                                             \
  for (int k = 0; k < 4; k++) bytes[4 + 4 * (at) + k] = (unsigned char)((uint32_t)(value) >> (8 * k))
  UNIT(0, 0x100u << 10);
  UNIT(0x1c3, (0x1c3u ^ 0x40) << 10 | 0xc3);
  UNIT(0x40 ^ 0xa9, (0xe9u ^ 0x1f0) << 10 | 1u << 8 | 0xa9);
  UNIT(0x1f0, 1u << 31);
  memcpy(bytes + sizeof bytes - 2, "e", 2);
  etk_arena arena = ETK_ARENA_INIT;
  etk__charsmap map;
  works(etk__charsmap_read(e, &map, &arena, "map", bytes, sizeof bytes));
  const char *to;
  assert_int_equal(etk__charsmap_find(&map, "\xc3\xa9x", 3, true, &to), 2);
  assert_string_equal(to, "e");
  assert_int_equal(etk__charsmap_find(&map, "\xc3", 1, true, &to), 0);
  etk_text out = ETK_TEXT_INIT;
  etk__charsmap_put(&map, &out, "a\xc3\xa9\xc3\xa8", 5);
  etk_text_putc(&out, 0);
  assert_string_equal(out.data, "ae\xc3\xa8");
  etk_text_free(&out);
  bytes[sizeof bytes - 1] = 'x';
  fails_with(ETK_E_FORMAT, "does not end with a zero byte", etk__charsmap_read(e, &map, &arena, "map", bytes, sizeof bytes));
  etk_arena_fini(&arena);
}

static void broken_sentencepiece_models_are_named(void **state) {
  (void)state;
  etk_tokenizer *t;
  proto whole = small_model(1);
  for (size_t n = 0; n < whole.size; n++) { /* each end that is not the end of a field */
    etk_error error = ETK_ERROR_INIT;
    unsigned char *cut = etk_alloc(n + 1);
    memcpy(cut, whole.bytes, n);
    if (etk_tokenizer_parse_sentencepiece(&error, &t, "cut", cut, n) == ETK_OK) etk_tokenizer_free(t);
    else assert_non_null(strstr(error.message, "cut"));
    etk_free(cut);
  }
#define REFUSED(wanted, part, ...)                                                                 \
  do {                                                                                             \
    proto p = small_model(1);                                                                      \
    __VA_ARGS__;                                                                                   \
    fails_with(wanted, part, etk_tokenizer_parse_sentencepiece(e, &t, "m", p.bytes, p.size));      \
    assert_null(t);                                                                                \
  } while (0)
  proto sub = {.size = 0};
  REFUSED(ETK_E_FORMAT, "it has no pieces", p.size = 0);
  REFUSED(ETK_E_FORMAT, "is there twice", put_piece(&p, "a", 0, 1));
  REFUSED(ETK_E_FORMAT, "not a finite number", put_piece(&p, "z", NAN, 1));
  REFUSED(ETK_E_FORMAT, "of the type 9", put_piece(&p, "z", 0, 9));
  REFUSED(ETK_E_FORMAT, "piece 9 is not UTF-8", put_piece(&p, "\xff", 0, 1));
  REFUSED(ETK_E_FORMAT, "piece 9 has no text", put_bytes(&p, 1, "", 0));
  REFUSED(ETK_E_FORMAT, "a field of an unknown wire type", put_varint(&p, 1 << 3 | 3));
  REFUSED(ETK_E_FORMAT, "a field without a valid number", put_varint(&p, 2));
  REFUSED(ETK_E_FORMAT, "longer than what holds it", put_varint(&p, 1 << 3 | 2); put_varint(&p, 99));
  REFUSED(ETK_E_FORMAT, "cut off or too long", put_raw(&p, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11));
  REFUSED(ETK_E_UNSUPPORTED, "model type 4", sub.size = 0; put_number(&sub, 3, 4); put_bytes(&p, 2, sub.bytes, sub.size));
  REFUSED(ETK_E_UNSUPPORTED, "treat_whitespace_as_suffix", sub.size = 0; put_number(&sub, 24, 1); put_bytes(&p, 2, sub.bytes, sub.size));
  REFUSED(ETK_E_FORMAT, "a trie of 1 bytes", sub.size = 0; put_bytes(&sub, 2, "\1\0\0\0\0", 5); put_bytes(&p, 3, sub.bytes, sub.size));
  REFUSED(ETK_E_UNSUPPORTED, "denormalizer", sub.size = 0; put_bytes(&sub, 2, "x", 1); put_bytes(&p, 5, sub.bytes, sub.size));
  REFUSED(ETK_E_UNSUPPORTED, "marked unused", put_piece(&p, "z", 0, 5); sub.size = 0; put_number(&sub, 3, 2); put_bytes(&p, 2, sub.bytes, sub.size));
}

/* ---- CLIP's file ----------------------------------------------------------------------------------------------------------------------------------------- */

static size_t zipped(unsigned char *out, size_t room, const char *text) {
  z_stream z = {.next_in = (unsigned char *)(uintptr_t)text, .avail_in = (unsigned)strlen(text), .next_out = out, .avail_out = (unsigned)room};
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return room - z.avail_out;
}

static void broken_clip_files_are_named(void **state) {
  unsigned char bytes[256];
  etk_tokenizer *t;
  char *path = path_of("%s/bpe.txt.gz", fresh_folder(state, "clip"));
  size_t size = zipped(bytes, sizeof bytes, "version\nt h\n");
  write_file(path, bytes, size);
  fails_with(ETK_E_FORMAT, "it holds 1, 48894 are wanted", etk_tokenizer_open(e, &t, path, 0));
  write_file(path, bytes, size - 9);
  fails_with(ETK_E_FORMAT, "broken gzip data behind", etk_tokenizer_open(e, &t, path, 0));
  bytes[12] ^= 0x55;
  write_file(path, bytes, size);
  fails_with(ETK_E_FORMAT, "broken gzip data", etk_tokenizer_open(e, &t, path, 0));
  write_file(path, bytes, zipped(bytes, sizeof bytes, "version\nth\n"));
  fails_with(ETK_E_FORMAT, "merge 0 must be", etk_tokenizer_open(e, &t, path, 0));
  write_file(path, bytes, zipped(bytes, sizeof bytes, "version\n\xff\n"));
  fails_with(ETK_E_FORMAT, "not UTF-8", etk_tokenizer_open(e, &t, path, 0));
  enum { BOMB = 5 << 20, ROOM = 64 << 10 };
  char *bomb = etk_alloc(BOMB + 1);
  unsigned char *packed = etk_alloc(ROOM);
  memset(bomb, '\n', BOMB);
  bomb[BOMB] = 0;
  write_file(path, packed, zipped(packed, ROOM, bomb));
  fails_with(ETK_E_FORMAT, "its text is longer than", etk_tokenizer_open(e, &t, path, 0));
  etk_free(bomb);
  etk_free(packed);
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct small_vocabulary {
  const char *tokens[4], *merges[1];
  size_t sizes[4], merge_sizes[1];
  float scores[4];
  int32_t types[4];
  etk_gguf_vocabulary v;
} small_vocabulary;

static small_vocabulary *vocabulary_of(const char *model, const char *pre) {
  static small_vocabulary s;
  s = (small_vocabulary){.tokens = {"<unk>", "a", "b", "ab"},
                         .merges = {"a b"},
                         .sizes = {5, 1, 1, 2},
                         .merge_sizes = {3},
                         .scores = {0, -1, -1, -2},
                         .types = {2, 1, 1, 1},
                         .v = ETK_GGUF_VOCABULARY_INIT};
  s.v.name = "v.gguf";
  s.v.model = model;
  s.v.pre = pre;
  s.v.count = 4;
  s.v.tokens = s.tokens;
  s.v.sizes = s.sizes;
  s.v.scores = s.scores;
  s.v.types = s.types;
  s.v.merge_count = 1;
  s.v.merges = s.merges;
  s.v.merge_sizes = s.merge_sizes;
  s.v.unknown = 0;
  return &s;
}

static void broken_gguf_vocabularies_are_named(void **state) {
  (void)state;
  etk_tokenizer *t;
  static const char *const models[] = {"gpt2", "llama", "bert", "t5"};
  for (size_t i = 0; i < 4; i++) {
    works(etk_tokenizer_from_gguf(e, &t, &vocabulary_of(models[i], "gpt-2")->v));
    etk_tokenizer_free(t);
  }
#define WRONG(wanted, part, model, pre, ...)                                \
  do {                                                                      \
    small_vocabulary *s = vocabulary_of(model, pre);                        \
    __VA_ARGS__;                                                            \
    t = (void *)1;                                                          \
    fails_with(wanted, part, etk_tokenizer_from_gguf(e, &t, &s->v));        \
    assert_null(t);                                                         \
  } while (0)
  WRONG(ETK_E_UNSUPPORTED, "tokenizer.ggml.model is 'rwkv'", "rwkv", NULL, (void)s);
  WRONG(ETK_E_UNSUPPORTED, "tokenizer.ggml.pre is 'qwen-2', a way to cut text that this version does not know; did the writer mean 'qwen2'?", "gpt2", "qwen-2", (void)s);
  WRONG(ETK_E_UNSUPPORTED, "tokenizer.ggml.pre is 'zzzzz'", "gpt2", "zzzzz", (void)s);
  WRONG(ETK_E_FORMAT, "tokens is empty", "gpt2", NULL, s->v.count = 0; s->v.unknown = -1);
  WRONG(ETK_E_FORMAT, "bos_token_id is 4, but there are 4 tokens", "gpt2", NULL, s->v.bos = 4);
  WRONG(ETK_E_FORMAT, "unknown_token_id is 9", "bert", NULL, s->v.unknown = 9);
  WRONG(ETK_E_FORMAT, "token_type: entry 1 is 7", "gpt2", NULL, s->types[1] = 7);
  WRONG(ETK_E_FORMAT, "tokens: entry 2 is not UTF-8", "gpt2", NULL, s->tokens[2] = "\xff");
  WRONG(ETK_E_FORMAT, "merges: entry 0 must be", "gpt2", NULL, s->merges[0] = "a_b");
  WRONG(ETK_E_FORMAT, "'c' is not in the vocabulary", "gpt2", NULL, s->merges[0] = "a c");
  WRONG(ETK_E_FORMAT, "needs tokenizer.ggml.scores", "llama", NULL, s->v.scores = NULL);
  WRONG(ETK_E_FORMAT, "scores: entry 3 is not a finite number", "t5", NULL, s->scores[3] = INFINITY);
  WRONG(ETK_E_FORMAT, "precompiled_charsmap: 2 bytes", "t5", NULL, s->v.charsmap = "ab"; s->v.charsmap_size = 2);
}

static void a_gguf_file_without_a_vocabulary_says_so(void **state) {
  char *path = path_of("%s/x.gguf", fresh_folder(state, "gguf"));
  etk_tokenizer *t;
  etk_gguf_writer *w = etk_gguf_writer_new();
  assert_non_null(w);
  etk_gguf_set_text(w, "general.architecture", "llama");
  works(etk_gguf_write(e, w, path, &(etk_gguf_write_options){.replace = true}));
  fails_with(ETK_E_NOT_FOUND, "tokenizer.ggml.model", etk_tokenizer_open(e, &t, path, 0));
  etk_gguf_set_text(w, "tokenizer.ggml.model", "llama");
  etk_gguf_set_texts(w, "tokenizer.ggml.tokens", (const char *const[]){"a", "b"}, NULL, 2);
  etk_gguf_set_array(w, "tokenizer.ggml.scores", ETK_GGUF_F32, (const float[]){1}, 1);
  works(etk_gguf_write(e, w, path, &(etk_gguf_write_options){.replace = true}));
  fails_with(ETK_E_FORMAT, "tokenizer.ggml.scores has 1 entries, tokenizer.ggml.tokens 2", etk_tokenizer_open(e, &t, path, 0));
  etk_gguf_writer_free(w);
}

/* ---- endurance --------------------------------------------------------------------------------------------------------------------------------------------- */

typedef etk_status (*opening)(etk_error *e, etk_tokenizer **t, const void *user);
static etk_status open_path(etk_error *e, etk_tokenizer **t, const void *user) { return etk_tokenizer_open(e, t, user, 0); }
static etk_status open_proto(etk_error *e, etk_tokenizer **t, const void *user) {
  const proto *p = user;
  return etk_tokenizer_parse_sentencepiece(e, t, "m", p->bytes, p->size);
}
static etk_status open_arrays(etk_error *e, etk_tokenizer **t, const void *user) { return etk_tokenizer_from_gguf(e, t, user); }

static etk_status use(etk_error *e, opening open, const void *user) {
  static const char text[] = "ab a\xc3\xa9 <s>USER ab  b";
  etk_tokenizer *t;
  etk_ids ids = ETK_IDS_INIT;
  char *back = NULL;
  size_t size;
  etk_encode_options options = {.special = true, .parse_special = true, .end = true};
  etk_status s = open(e, &t, user);
  if (s != ETK_OK) return s;
  s = etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options);
  if (s == ETK_OK) s = etk_tokenizer_decode(e, t, &back, &size, ids.items, ids.count, false);
  etk_free(back);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
  return s;
}

static void sweep(opening open, const void *user) {
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_error error = ETK_ERROR_INIT;
    starved(&s, use(&error, open, user), &error);
  }
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  proto unigram = small_model(1), merges = small_model(2);
  sweep(open_proto, &unigram);
  sweep(open_proto, &merges);
  static const char *const models[] = {"gpt2", "llama", "bert", "t5"};
  for (size_t i = 0; i < 4; i++) sweep(open_arrays, &vocabulary_of(models[i], "default")->v);
  sweep(open_path, pair_folder(state, "{\"bos_token\":\"<s>\",\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\"}}}", PAIR, "a b\n"));
  char *lines = fresh_folder(state, "lines");
  write_text(path_of("%s/vocab.txt", lines), "[PAD]\n[UNK]\n[CLS]\n[SEP]\nab\n##b\na\nb\n");
  sweep(open_path, lines);
  char *json = fresh_folder(state, "json");
  write_text(path_of("%s/tokenizer.json", json), UNIGRAM(",[\"<s>\",-1]]"));
  sweep(open_path, json);
}

/* The definition, quadratic: of all neighbours that may merge the one of the smallest rank, the first of equals, is joined, again and again. Ranks are in
 * no order of length here, so that merges make pairs of earlier ranks too. */
enum { WORDS = 14, LETTERS = 3000 };
static void long_pieces_merge_as_the_definition_says(void **state) {
  (void)state;
  static const char *const words[WORDS] = {"a", "b", "aa", "ab", "ba", "bb", "aab", "aba", "abb", "bab", "aabb", "abab", "baba", "bbbb"};
  int rank[WORDS][WORDS], made[WORDS][WORDS], count = 0;
  etk_text json = ETK_TEXT_INIT;
  for (int seed = 0; seed < 8; seed++) {
    json.size = 0;
    count = 0;
    etk_text_puts(&json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < WORDS; i++) etk_text_printf(&json, "%s\"%s\":%d", i ? "," : "", words[i], i);
    etk_text_puts(&json, "},\"merges\":[");
    for (int i = 0; i < WORDS * WORDS; i++) {
      int n = (i * 89 + seed * 31) % (WORDS * WORDS), x = n / WORDS, y = n % WORDS;
      char both[16];
      snprintf(both, sizeof both, "%s%s", words[x], words[y]);
      made[x][y] = -1;
      for (int k = 0; k < WORDS; k++)
        if (!strcmp(words[k], both)) made[x][y] = k;
      rank[x][y] = count;
      if (made[x][y] >= 0) etk_text_printf(&json, "%s\"%s %s\"", count++ ? "," : "", words[x], words[y]);
    }
    etk_text_puts(&json, "]}}");
    etk_tokenizer *t = parse(json.data);
    char text[LETTERS + 1] = "";
    int ids[LETTERS], left = LETTERS;
    uint32_t random = (uint32_t)seed + 1;
    for (int i = 0; i < LETTERS; i++) {
      random = random * 1664525u + 1013904223u;
      text[i] = random >> 28 < (seed < 4 ? 8 : 14) ? 'a' : 'b';
      ids[i] = text[i] == 'b';
    }
    for (;;) {
      int best = -1;
      for (int i = 0; i + 1 < left; i++)
        if (made[ids[i]][ids[i + 1]] >= 0 && (best < 0 || rank[ids[i]][ids[i + 1]] < rank[ids[best]][ids[best + 1]])) best = i;
      if (best < 0) break;
      ids[best] = made[ids[best]][ids[best + 1]];
      memmove(ids + best + 1, ids + best + 2, (size_t)(left - best - 2) * sizeof *ids);
      left--;
    }
    etk_ids got = ETK_IDS_INIT;
    works(etk_tokenizer_encode(e, t, &got, text, LETTERS, NULL));
    assert_int_equal(got.count, left);
    assert_memory_equal(got.items, ids, (size_t)left * sizeof *ids);
    etk_ids_free(&got);
    starvation s = {.bears = true, .done = seed != 0}; /* and every allocation may fail */
    while (starve(&s)) {
      etk_status status = etk_tokenizer_encode(NULL, t, &got, text, LETTERS, NULL);
      etk_ids_free(&got);
      starved(&s, status, NULL);
    }
    etk_tokenizer_free(t);
  }
  etk_text_free(&json);
}

/* A megabyte in one piece; what is quadratic would take hours. */
static void a_megabyte_of_one_character_is_encoded_at_once(void **state) {
  (void)state;
  enum { SIZE = 1 << 20 };
  char *text = etk_alloc(SIZE);
  memset(text, 'a', SIZE);
  static const char *const files[] = {UNIGRAM("]"), "{\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":2000000,\"vocab\":{\"[UNK]\":0,\"a\":1,\"##a\":1000,\"##aa\":3}}}",
                                      "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"<unk>\":0}}}"};
  static const size_t counts[] = {SIZE, SIZE / 2 + 1, 1};
  for (size_t i = 0; i < 3; i++) {
    etk_tokenizer *t = parse(files[i]);
    etk_ids ids = ETK_IDS_INIT;
    works(etk_tokenizer_encode(e, t, &ids, text, SIZE, NULL));
    assert_int_equal(ids.count, counts[i]);
    etk_ids_free(&ids);
    etk_tokenizer_free(t);
  }
  etk_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_family_agrees_with_another_implementation),
      cmocka_unit_test(gguf_vocabularies_agree_with_their_vectors),
      cmocka_unit_test(folders_and_json_agree_with_the_same_vectors),
      cmocka_unit_test(clip_gives_its_published_ids),
      cmocka_unit_test(beginning_and_end_are_as_the_file_says),
      cmocka_unit_test(control_tokens_in_gguf_texts_match_only_when_asked),
      cmocka_unit_test(unigram_takes_the_largest_sum),
      cmocka_unit_test(wordpiece_takes_the_longest_piece_from_the_left),
      cmocka_unit_test(wordlevel_knows_words_or_nothing),
      cmocka_unit_test(words_that_are_cut_apart_give_the_ids_of_the_whole),
      cmocka_unit_test(a_long_text_gives_the_ids_of_its_lines),
      cmocka_unit_test(the_tokenizer_class_decides_what_a_vocabulary_is_for),
      cmocka_unit_test(a_vocabulary_of_lines_is_berts),
      cmocka_unit_test(broken_json_is_named),
      cmocka_unit_test(sentencepiece_models_follow_their_scores),
      cmocka_unit_test(compiled_rules_replace_what_they_cover),
      cmocka_unit_test(broken_sentencepiece_models_are_named),
      cmocka_unit_test(broken_clip_files_are_named),
      cmocka_unit_test(broken_gguf_vocabularies_are_named),
      cmocka_unit_test(a_gguf_file_without_a_vocabulary_says_so),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
      cmocka_unit_test(long_pieces_merge_as_the_definition_says),
      cmocka_unit_test(a_megabyte_of_one_character_is_encoded_at_once),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
