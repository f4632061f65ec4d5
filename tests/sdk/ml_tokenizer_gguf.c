/* Tokenizers on their way between folders and GGUF files: the same ids, special tokens and templates there and back; what GGUF cannot say is an error. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/gguf.h>
#include <etk/text.h>
#include <etk/tokenizer.h>

static json_t *texts;

static const char *const hard_texts[] = {"", " ", "  two  spaces  ", "\n\n \n", "<s>x</s> <unk>", "e\xcc\x81t\xc3\xa9", "a\xc2\xa0" "b", "\xe2\x96\x81" "mark", "aaaa aaaaa aaaaaaa",
                                         "[CLS] a [SEP]", "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7", "123456 7,8", "I'm We'LL", "\xff\xfe", "tab\tend "};

static etk_ids ids_of(const etk_tokenizer *t, const char *text, size_t size, bool parse_special) {
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true, .parse_special = parse_special, .end = true};
  works(etk_tokenizer_encode(e, t, &ids, text, size, &options));
  return ids;
}

static int differs(const etk_tokenizer *a, const etk_tokenizer *b, const char *what, const char *text, size_t size, bool parse_special) {
  etk_ids x = ids_of(a, text, size, parse_special), y = ids_of(b, text, size, parse_special);
  bool same = x.count == y.count && (!x.count || !memcmp(x.items, y.items, x.count * sizeof *x.items));
  if (!same) {
    print_error("%s: \"%.*s\":", what, (int)size, text);
    for (size_t i = 0; i < x.count && i < 20; i++) print_error(" %d", (int)x.items[i]);
    print_error(" |");
    for (size_t i = 0; i < y.count && i < 20; i++) print_error(" %d", (int)y.items[i]);
    print_error("\n");
  }
  etk_ids_free(&x);
  etk_ids_free(&y);
  return !same;
}

static bool has_runs(const char *text, size_t size) {
  if (size && (text[0] == ' ' || text[size - 1] == ' ')) return true;
  for (size_t i = 1; i < size; i++)
    if (text[i] == ' ' && text[i - 1] == ' ') return true;
  return false;
}

enum { ANY_TEXT = 0, NO_RUNS = 1, NO_MARKS = 2, NO_CONTROL = 4 }; /* texts left out: with repeated or outer spaces, combining marks or U+2581, '<' */
static void same_ids(const etk_tokenizer *a, const etk_tokenizer *b, const char *what, bool parse_special, int without) {
  int wrong = 0, done = 0;
  for (size_t i = 0; i < json_array_size(texts) + sizeof hard_texts / sizeof *hard_texts; i++) {
    const json_t *item = json_array_get(texts, i);
    const char *text = item ? json_string_value(item) : hard_texts[i - json_array_size(texts)];
    size_t size = item ? json_string_length(item) : strlen(text);
    if ((without & NO_RUNS) && has_runs(text, size)) continue;
    if ((without & NO_MARKS) && (strstr(text, "\xcc") || strstr(text, "\xcd") || strstr(text, "\xe2\x96\x81"))) continue;
    if ((without & NO_CONTROL) && strchr(text, '<')) continue;
    wrong += differs(a, b, what, text, size, parse_special);
    done++;
  }
  assert_true(done > 100);
  assert_int_equal(wrong, 0);
}

static etk_tokenizer *open_one(const char *path) {
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, path, 0));
  return t;
}

static char *to_gguf(const char *folder, const char *out, int64_t size) {
  char *path = path_of("%s.gguf", out);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  assert_non_null(writer);
  works(etk_tokenizer_to_gguf(e, writer, folder, size));
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  return path;
}

static char *to_folder(const char *path, const char *folder) {
  etk_gguf *file;
  works(etk_gguf_open(e, &file, path));
  works(etk_tokenizer_write_folder(e, file, path, folder, true));
  etk_gguf_close(file);
  return path_of("%s", folder);
}

static void put_file(const char *folder, const char *name, const char *text) {
  works(etk_fs_make_dirs(e, folder));
  works(etk_fs_write(e, path_of("%s/%s", folder, name), text, strlen(text), true));
}

/* folder → GGUF → folder: `gguf_without` names the texts whose ids GGUF itself cannot keep. */
static void goes_round(void **state, const char *folder, const char *name, int gguf_without) {
  char *gguf = to_gguf(folder, path_of("%s/%s", (char *)*state, name), 0), *back = to_folder(gguf, path_of("%s/%s", (char *)*state, name));
  etk_tokenizer *a = open_one(folder), *b = open_one(gguf), *c = open_one(back);
  same_ids(a, b, path_of("%s as GGUF", name), true, gguf_without);
  same_ids(a, c, path_of("%s and back", name), true, ANY_TEXT);
  same_ids(a, c, path_of("%s and back, text only", name), false, ANY_TEXT);
  assert_int_equal(etk_tokenizer_bos(a), etk_tokenizer_bos(c));
  assert_int_equal(etk_tokenizer_eos(a), etk_tokenizer_eos(c));
  etk_tokenizer_free(a);
  etk_tokenizer_free(b);
  etk_tokenizer_free(c);
}

static void published_byte_level_vocabularies_go_round(void **state) {
  shared_or_skip("tokenizers/gpt2");
  goes_round(state, shared("tokenizers/gpt2"), "gpt2", ANY_TEXT);
  goes_round(state, shared("tokenizers/qwen3"), "qwen3", NO_MARKS); /* llama.cpp does without its NFC */
}

/* GGUF → folder → GGUF, for files that say nothing about their parts. */
static void published_gguf_vocabularies_go_round(void **state) {
  static const char *const names[] = {"gpt-2", "llama-spm", "bert-bge"};
  shared_or_skip("tokenizers/gguf-vocab");
  for (size_t i = 0; i < 3; i++) {
    char *from = shared(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf", names[i])), *folder = to_folder(from, path_of("%s/%s", (char *)*state, names[i]));
    etk_tokenizer *a = open_one(from), *b = open_one(folder), *c = open_one(to_gguf(folder, path_of("%s/%s-again", (char *)*state, names[i]), 0));
    same_ids(a, b, path_of("%s as tokenizer.json", names[i]), true, ANY_TEXT);
    same_ids(a, c, path_of("%s as GGUF again", names[i]), true, ANY_TEXT);
    same_ids(a, c, path_of("%s as GGUF again, text only", names[i]), false, ANY_TEXT);
    etk_tokenizer_free(a);
    etk_tokenizer_free(b);
    etk_tokenizer_free(c);
  }
}

static void sentencepiece_and_llama2c_files_become_the_same_gguf(void **state) {
  shared_or_skip("models/stories260K");
  char *model = path_of("%s/model", (char *)*state), *bin = path_of("%s/bin", (char *)*state);
  works(etk_fs_make_dirs(e, model));
  works(etk_fs_make_dirs(e, bin));
  works(etk_fs_copy(e, shared("models/stories260K/tok512.model"), path_of("%s/tokenizer.model", model), true));
  works(etk_fs_copy(e, shared("models/stories260K/tok512.bin"), path_of("%s/tokenizer.bin", bin), true));
  char *from_model = to_gguf(model, path_of("%s-out", model), 512), *from_bin = to_gguf(bin, path_of("%s-out", bin), 512);
  etk_tokenizer *a = open_one(model), *b = open_one(from_model), *c = open_one(from_bin), *d = open_one(to_folder(from_bin, path_of("%s-out", bin)));
  same_ids(a, b, "tok512.model as GGUF", true, NO_RUNS | NO_CONTROL); /* SentencePiece removes repeated spaces for this one, and begins a text once */
  same_ids(b, c, "tok512.bin and tok512.model", true, ANY_TEXT);
  same_ids(b, d, "tok512.bin as tokenizer.json", true, ANY_TEXT);
  etk_tokenizer_free(a);
  etk_tokenizer_free(b);
  etk_tokenizer_free(c);
  etk_tokenizer_free(d);
}

#define TOKEN(id, text, special) "{\"id\":" #id ",\"content\":\"" text "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":" special "}"
static const char unigram[] =
    "{\"added_tokens\":[" TOKEN(0, "<unk>", "true") "," TOKEN(1, "</s>", "true") "," TOKEN(12, "<mine>", "false") "],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\",\"split\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],"
    "\"pair\":[],\"special_tokens\":{\"</s>\":{\"id\":\"</s>\",\"ids\":[1],\"tokens\":[\"</s>\"]}}},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\",\"split\":true},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0],[\"</s>\",0],[\"\xe2\x96\x81\",-2],[\"a\",-3],[\"b\",-3.5],"
    "[\"ab\",-4],[\"\xe2\x96\x81the\",-3],[\"e\",-3.25],[\"t\",-3.125],[\"h\",-4],[\"and\",-4.5],[\"s\",-3]]}}";

static void a_unigram_model_goes_round(void **state) {
  char *folder = path_of("%s/unigram", (char *)*state);
  put_file(folder, "tokenizer.json", unigram);
  goes_round(state, folder, "unigram-out", NO_RUNS | NO_MARKS | NO_CONTROL); /* Metaspace does not put its prefix before a space */
}

static void a_vocabulary_without_parts_gives_the_same_ids_as_the_file(void **state) {
  char *folder = path_of("%s/unigram", (char *)*state), *bare = path_of("%s/bare.gguf", (char *)*state);
  put_file(folder, "tokenizer.json", unigram);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  works(etk_tokenizer_to_gguf(e, writer, folder, 16)); /* three rows without a token */
  works(etk_gguf_write(e, writer, path_of("%s/full.gguf", (char *)*state), &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  etk_gguf *file;
  works(etk_gguf_open(e, &file, path_of("%s/full.gguf", (char *)*state)));
  writer = etk_gguf_writer_new();
  const etk_gguf_value *value;
  const char *key;
  for (size_t i = 0; (key = etk_gguf_key_at(file, i, &value)); i++)
    if (strcmp(key, "etk.tokenizer.parts")) etk_gguf_set_value(writer, key, value);
  works(etk_gguf_write(e, writer, bare, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  assert_int_equal(etk_gguf_find(file, "tokenizer.ggml.tokens")->count, 16);
  size_t size;
  const char *pad = etk_gguf_text_at(etk_gguf_find(file, "tokenizer.ggml.tokens"), 15, &size);
  assert_memory_equal(pad, "[PAD15]", size);
  assert_int_equal(etk_gguf_int_at(etk_gguf_find(file, "tokenizer.ggml.token_type"), 15), 5);
  etk_gguf_close(file);
  etk_tokenizer *a = open_one(bare), *b = open_one(to_folder(bare, path_of("%s/bare", (char *)*state)));
  same_ids(a, b, "without parts", true, NO_RUNS | NO_CONTROL); /* in GGUF, spaces alone get no prefix; in tokenizer.json they do */
  assert_int_equal(etk_tokenizer_size(b), 13);
  etk_tokenizer_free(a);
  etk_tokenizer_free(b);
}

/* A small byte-level tokenizer: the alphabet, one merge, and what the test wants to be otherwise. */
static char *byte_level_json(const char *pre, const char *normalizer, const char *model_rest) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"added_tokens\":[" TOKEN(257, "<|im_start|>", "true") "," TOKEN(258, "<|im_end|>", "true") "," TOKEN(259, "<think>", "false")
                         "],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"%s,\"vocab\":{", normalizer, pre,
                  model_rest);
  for (int byte = 0, next = 0; byte < 256; byte++) {
    bool prints = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    char c[4];
    size_t n = etk_utf8_encode(c, prints ? (uint32_t)byte : 256u + (uint32_t)next++);
    etk_text_json(&text, c, n);
    etk_text_printf(&text, ":%d,", byte);
  }
  etk_text_puts(&text, "\"ab\":256},\"merges\":[\"a b\"]}}");
  char *all = path_of("%s", text.data);
  etk_text_free(&text);
  return all;
}

static const char gpt2_pre[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}";

/* As llama.cpp's library answers for the same file: the prefix comes with the first character that is no space. */
static void a_gguf_unigram_puts_no_prefix_before_spaces_alone(void **state) {
  char *folder = path_of("%s/unigram", (char *)*state);
  put_file(folder, "tokenizer.json", unigram);
  etk_tokenizer *t = open_one(to_gguf(folder, path_of("%s/prefix", (char *)*state), 0));
  static const struct {
    const char *text;
    size_t count;
  } cases[] = {{"   ", 3}, {"   a", 5}, {"", 0}, {"a", 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_ids ids = ETK_IDS_INIT;
    works(etk_tokenizer_encode(e, t, &ids, cases[i].text, strlen(cases[i].text), NULL));
    assert_int_equal(ids.count, cases[i].count);
    etk_ids_free(&ids);
  }
  etk_tokenizer_free(t);
}

static void special_tokens_and_templates_are_kept(void **state) {
  char *folder = path_of("%s/chat", (char *)*state), *out = path_of("%s/chat-out", (char *)*state);
  put_file(folder, "tokenizer.json", byte_level_json(gpt2_pre, "{\"type\":\"NFC\"}", ""));
  put_file(folder, "tokenizer_config.json", "{\"bos_token\":\"<|im_start|>\",\"eos_token\":{\"content\":\"<|im_end|>\"},\"add_bos_token\":true,"
                                            "\"chat_template\":[{\"name\":\"default\",\"template\":\"{{ 1 }}\"},{\"name\":\"tool_use\",\"template\":\"{{ 2 }}\"}]}");
  put_file(folder, "special_tokens_map.json", "{\"pad_token\":\"<|im_end|>\"}");
  put_file(folder, "config.json", "{\"vocab_size\":264,\"bos_token_id\":3}");
  char *gguf = to_gguf(folder, path_of("%s/chat", (char *)*state), 264);
  etk_gguf *file;
  works(etk_gguf_open(e, &file, gguf));
  const char *text;
  int64_t id;
  bool flag;
  works(etk_gguf_get_text(e, &text, file, "tokenizer.chat_template"));
  assert_string_equal(text, "{{ 1 }}");
  works(etk_gguf_get_text(e, &text, file, "tokenizer.chat_template.tool_use"));
  assert_string_equal(text, "{{ 2 }}");
  works(etk_gguf_get_int(e, &id, file, "tokenizer.ggml.bos_token_id"));
  assert_int_equal(id, 257);
  works(etk_gguf_get_int(e, &id, file, "tokenizer.ggml.padding_token_id"));
  assert_int_equal(id, 258);
  works(etk_gguf_get_int(e, &id, file, "tokenizer.ggml.eot_token_id"));
  assert_int_equal(id, 258);
  works(etk_gguf_get_flag(e, &flag, file, "tokenizer.ggml.add_bos_token"));
  assert_true(flag);
  const etk_gguf_value *types = etk_gguf_find(file, "tokenizer.ggml.token_type");
  assert_int_equal(types->count, 264);
  assert_int_equal(etk_gguf_int_at(types, 257), 3);
  assert_int_equal(etk_gguf_int_at(types, 259), 4);
  assert_int_equal(etk_gguf_int_at(types, 260), 5);
  etk_gguf_close(file);
  to_folder(gguf, out);
  json_t *config = load_json(path_of("%s/tokenizer_config.json", out)), *map = load_json(path_of("%s/special_tokens_map.json", out));
  assert_string_equal(json_string_value(json_object_get(map, "pad_token")), "<|im_end|>");
  assert_string_equal(json_string_value(json_object_get(config, "eos_token")), "<|im_end|>");
  assert_int_equal(json_array_size(json_object_get(config, "chat_template")), 2);
  json_decref(config);
  json_decref(map);
  goes_round(state, folder, "chat-round", NO_MARKS);
}

static void a_single_template_stays_a_text_and_its_file_counts_first(void **state) {
  char *folder = path_of("%s/jinja", (char *)*state), *out = path_of("%s/jinja-out", (char *)*state);
  put_file(folder, "tokenizer.json", byte_level_json(gpt2_pre, "null", ""));
  put_file(folder, "tokenizer_config.json", "{\"chat_template\":\"old\"}");
  put_file(folder, "chat_template.jinja", "new {{ x }}");
  to_folder(to_gguf(folder, out, 0), out);
  json_t *config = load_json(path_of("%s/tokenizer_config.json", out));
  assert_string_equal(json_string_value(json_object_get(config, "chat_template")), "new {{ x }}");
  json_decref(config);
}

static void each_known_pre_tokenizer_gets_its_name(void **state) {
#define SPLIT(pattern) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"pretokenizers\":[" steps ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define CL100K(digits) "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
  static const char *const cases[][3] = {
      {"gpt-2", gpt2_pre, ""},
      {"qwen2", SEQUENCE(SPLIT(CL100K(""))), ""},
      {"llama-bpe", SEQUENCE(SPLIT(CL100K("{1,3}"))), ",\"ignore_merges\":true"},
      {"dbrx", SEQUENCE(SPLIT(CL100K("{1,3}"))), ""},
      {"smollm", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]}", ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *folder = path_of("%s/pre-%zu", (char *)*state, i);
    put_file(folder, "tokenizer.json", byte_level_json(cases[i][1], "null", cases[i][2]));
    etk_gguf *file;
    works(etk_gguf_open(e, &file, to_gguf(folder, folder, 0)));
    const char *pre;
    works(etk_gguf_get_text(e, &pre, file, "tokenizer.ggml.pre"));
    assert_string_equal(pre, cases[i][0]);
    etk_gguf_close(file);
    goes_round(state, folder, path_of("pre-%zu-out", i), ANY_TEXT);
  }
}

static void refuses(void **state, const char *json, const char *part) {
  char *folder = path_of("%s/refused", (char *)*state);
  put_file(folder, "tokenizer.json", json);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  fails_with(ETK_E_UNSUPPORTED, part, etk_tokenizer_to_gguf(e, writer, folder, 0));
  etk_gguf_writer_free(writer);
}

static void what_llama_cpp_would_cut_otherwise_is_an_error(void **state) {
  refuses(state, byte_level_json("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}", "null", ""), "its pre-tokenizer is none of those");
  refuses(state, byte_level_json(SEQUENCE(SPLIT("\\\\p{L}+|\\\\s+|.")), "null", ""), "its pre-tokenizer is none of those");
  refuses(state, byte_level_json(gpt2_pre, "{\"type\":\"Lowercase\"}", ""), "its normalizer changes text");
  refuses(state, byte_level_json(gpt2_pre, "null", ",\"end_of_word_suffix\":\"</w>\""), "end (or go on) in a mark");
  refuses(state, "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"<unk>\":0},\"unk_token\":\"<unk>\"}}", "WordLevel");
  refuses(state, "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
                 "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0,\"a\":1}}}", "not lower-cased");
  refuses(state, "{\"pre_tokenizer\":{\"type\":\"Metaspace\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", "not all bytes have a token");
}

/* <0x00> … <0xFF>, then pieces and merges. */
static char *spm_json(const char *pieces, const char *merges) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"},{\"type\":\"Replace\","
                       "\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{");
  for (int i = 0; i < 256; i++) etk_text_printf(&text, "\"<0x%02X>\":%d,", (unsigned)i, i);
  etk_text_printf(&text, "%s},\"merges\":[%s]}}", pieces, merges);
  char *all = path_of("%s", text.data);
  etk_text_free(&text);
  return all;
}

static void merges_become_scores_where_they_can(void **state) {
  static const char pieces[] = "\"a\":256,\"b\":257,\"c\":258,\"\xe2\x96\x81\":259,\"ab\":260,\"bc\":261,\"abc\":262";
  char *folder = path_of("%s/spm", (char *)*state);
  put_file(folder, "tokenizer.json", spm_json(pieces, "\"b c\",\"a b\",\"a bc\",\"ab c\""));
  goes_round(state, folder, "spm-out", ANY_TEXT);
  refuses(state, spm_json(pieces, "\"b c\",\"a b\",\"ab c\""), "not those of a SentencePiece model (at token 262, 'abc')"); /* a + bc is missing */
  refuses(state, spm_json(pieces, "\"a bc\",\"b c\",\"ab c\",\"a b\""), "not those of a SentencePiece model"); /* abc before and after bc */
}

static void parts_that_do_not_fit_are_an_error(void **state) {
  char *folder = path_of("%s/lie", (char *)*state), *path = path_of("%s/lie.gguf", (char *)*state);
  put_file(folder, "tokenizer.json", byte_level_json(gpt2_pre, "null", ""));
  static const char *const cases[][2] = {{"{\"model\":{\"type\":\"Unigram\"}}", "is of a model 'Unigram'"},
                                         {"{\"model\":{}}", "is of a model '(none)'"},
                                         {"[1]", "a JSON object is wanted"},
                                         {"{", "not valid JSON"},
                                         {"{\"model\":{\"type\":\"BPE\"},\"added_tokens\":[{\"id\":3,\"content\":\"x\"}]}", "added token 0, 'x', is not what"},
                                         {"{\"model\":{\"type\":\"BPE\"},\"added_tokens\":[{\"id\":999999,\"content\":\"x\"}]}", "added token 0, 'x', is not what"},
                                         {"{\"model\":{\"type\":\"BPE\"},\"added_tokens\":[7]}", "added token 0, '(none)', is not what"},
                                         {"{\"model\":{\"type\":\"BPE\"},\"pre_tokenizer\":{\"type\":\"Weird\"}}", "'Weird' is not supported"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_gguf_writer *writer = etk_gguf_writer_new();
    works(etk_tokenizer_to_gguf(e, writer, folder, 0));
    etk_gguf_set_text(writer, "etk.tokenizer.parts", cases[i][0]);
    works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
    etk_gguf_writer_free(writer);
    etk_gguf *file;
    works(etk_gguf_open(e, &file, path));
    fails_with(i == 7 ? ETK_E_UNSUPPORTED : ETK_E_FORMAT, cases[i][1], etk_tokenizer_write_folder(e, file, path, path_of("%s/lie-out", (char *)*state), true));
    etk_gguf_close(file);
    assert_false(etk_fs_exists(path_of("%s/lie-out/tokenizer.json", (char *)*state)));
  }
}

static void nothing_is_overwritten_unasked(void **state) {
  char *folder = path_of("%s/there", (char *)*state), *out = path_of("%s/there-out", (char *)*state);
  put_file(folder, "tokenizer.json", byte_level_json(gpt2_pre, "null", ""));
  put_file(out, "special_tokens_map.json", "mine");
  etk_gguf *file;
  char *path = to_gguf(folder, folder, 0);
  works(etk_gguf_open(e, &file, path));
  fails_with(ETK_E_EXISTS, "special_tokens_map.json: it exists already", etk_tokenizer_write_folder(e, file, path, out, false));
  assert_false(etk_fs_exists(path_of("%s/tokenizer.json", out)));
  works(etk_tokenizer_write_folder(e, file, path, path_of("%s/fresh", out), false));
  etk_gguf_close(file);
}

static void tokenizer_files_are_copied_unchanged(void **state) {
  char *from = path_of("%s/copy", (char *)*state), *to = path_of("%s/copy-out", (char *)*state), *text;
  size_t size;
  put_file(from, "tokenizer.json", "{ \"odd\": 1 }");
  put_file(from, "chat_template.jinja", "{{ x }}");
  put_file(from, "model.safetensors", "not this");
  put_file(path_of("%s/additional_chat_templates", from), "rag.jinja", "{{ y }}");
  works(etk_tokenizer_copy_files(e, from, to, false));
  works(etk_fs_read(e, &text, &size, path_of("%s/tokenizer.json", to), 100));
  assert_string_equal(text, "{ \"odd\": 1 }");
  etk_free(text);
  assert_true(etk_fs_exists(path_of("%s/additional_chat_templates/rag.jinja", to)));
  assert_false(etk_fs_exists(path_of("%s/model.safetensors", to)));
  fails_with(ETK_E_EXISTS, "tokenizer.json", etk_tokenizer_copy_files(e, from, to, false));
  works(etk_tokenizer_copy_files(e, from, to, true));
}

static etk_status there_and_back(etk_error *e, const char *folder, const char *path, const char *out) {
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_gguf *file = NULL;
  if (!writer) return ETK_E_NO_MEMORY;
  etk_status s = etk_tokenizer_to_gguf(e, writer, folder, 300);
  if (s == ETK_OK) s = etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true});
  etk_gguf_writer_free(writer);
  if (s == ETK_OK) s = etk_gguf_open(e, &file, path);
  if (s == ETK_OK) s = etk_tokenizer_write_folder(e, file, path, out, true);
  etk_gguf_close(file);
  return s;
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *folder = path_of("%s/failing", (char *)*state), *path = path_of("%s/failing.gguf", (char *)*state);
  put_file(folder, "tokenizer.json", spm_json("\"a\":256,\"b\":257,\"\xe2\x96\x81\":258,\"ab\":259", "\"a b\""));
  put_file(folder, "tokenizer_config.json", "{\"bos_token\":\"a\",\"chat_template\":\"{{ x }}\"}");
  starvation s = {.dense = 60, .bears = true}; /* the 256 bytes make many that are alike */
  while (starve(&s)) {
    etk_error e = ETK_ERROR_INIT;
    starved(&s, there_and_back(&e, folder, path, path_of("%s-out", folder)), &e);
  }
  assert_true(s.nth > 100);
}

int main(void) {
  json_t *golden = load_json("tests/goldens/tokenizers_families.json");
  texts = json_object_get(golden, "texts");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_byte_level_vocabularies_go_round),
      cmocka_unit_test(published_gguf_vocabularies_go_round),
      cmocka_unit_test(sentencepiece_and_llama2c_files_become_the_same_gguf),
      cmocka_unit_test(a_unigram_model_goes_round),
      cmocka_unit_test(a_vocabulary_without_parts_gives_the_same_ids_as_the_file),
      cmocka_unit_test(a_gguf_unigram_puts_no_prefix_before_spaces_alone),
      cmocka_unit_test(special_tokens_and_templates_are_kept),
      cmocka_unit_test(a_single_template_stays_a_text_and_its_file_counts_first),
      cmocka_unit_test(each_known_pre_tokenizer_gets_its_name),
      cmocka_unit_test(what_llama_cpp_would_cut_otherwise_is_an_error),
      cmocka_unit_test(merges_become_scores_where_they_can),
      cmocka_unit_test(parts_that_do_not_fit_are_an_error),
      cmocka_unit_test(nothing_is_overwritten_unasked),
      cmocka_unit_test(tokenizer_files_are_copied_unchanged),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
  json_decref(golden);
  return failed;
}
