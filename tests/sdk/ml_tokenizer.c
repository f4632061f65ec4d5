/* Opening tokenizers, llama2.c's format, streams, and what goes wrong. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/text.h>
#include <etk/tokenizer.h>
#include <pthread.h>

/* ---- a small tokenizer.json -------------------------------------------------------------------------------------------------------------------- */

static const char small[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<s>\",\"special\":true},{\"id\":7,\"content\":\"</"
    "s>\",\"special\":true},{\"id\":8,\"content\":\"<new>\",\"special\":true}],"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}},"
    "{\"SpecialToken\":{\"id\":\"</s>\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[6]},\"</s>\":{\"ids\":[7]}}},"
    "\"decoder\":{\"type\":\"Fuse\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"bc\":5},\"merges\":[\"b c\",[\"a\",\"b\"],\"a bc\"]}}";

static etk_tokenizer *parse(const char *bytes) {
  etk_tokenizer *t;
  works(etk_tokenizer_parse_json(e, &t, "t.json", bytes, strlen(bytes)));
  return t;
}

static void encodes(const etk_tokenizer *t, const char *text, bool special, const char *wanted) {
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = special};
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options));
  etk_text shown = ETK_TEXT_INIT;
  for (size_t i = 0; i < ids.count; i++) etk_text_printf(&shown, "%s%d", i ? " " : "", (int)ids.items[i]);
  etk_text_putc(&shown, 0);
  assert_string_equal(shown.data, wanted);
  etk_text_free(&shown);
  etk_ids_free(&ids);
}

static void merges_go_by_rank_not_by_place(void **state) {
  (void)state;
  etk_tokenizer *t = parse(small);
  encodes(t, "abc", false, "4"); /* b c first, then a bc */
  encodes(t, "abab", false, "3 3");
  encodes(t, "abcab", false, "4 3");
  encodes(t, "xaxbx", false, "3"); /* without unk_token the unknown vanishes, as in the original */
  encodes(t, "", false, "");
  etk_tokenizer_free(t);
}

static void the_beginning_is_added_and_the_end_is_not(void **state) {
  (void)state;
  etk_tokenizer *t = parse(small);
  encodes(t, "a", true, "6 0");
  encodes(t, "", true, "6");
  assert_int_equal(etk_tokenizer_bos(t), 6);
  assert_int_equal(etk_tokenizer_eos(t), 7);
  etk_tokenizer_free(t);
}

static void encoding_appends(void **state) {
  (void)state;
  etk_tokenizer *t = parse(small);
  etk_ids ids = ETK_IDS_INIT;
  works(etk_tokenizer_encode(e, t, &ids, "a", 1, NULL));
  works(etk_tokenizer_encode(e, t, &ids, "bc", 2, NULL));
  assert_int_equal(ids.count, 2);
  assert_int_equal(ids.items[1], 5);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
}

static void refused(etk_status status, const char *part, const char *json) {
  etk_tokenizer *t = (void *)1;
  fails_with(status, part, etk_tokenizer_parse_json(e, &t, "t.json", json, strlen(json)));
  assert_null(t);
}
#define MODEL(vocab, rest) "{\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "}," rest "}}"

static void broken_files_are_named(void **state) {
  (void)state;
  refused(ETK_E_FORMAT, "t.json:1:", "{");
  refused(ETK_E_FORMAT, "a JSON object is wanted", "[]");
  refused(ETK_E_FORMAT, "it has no \"model\"", "{}");
  refused(ETK_E_UNSUPPORTED, "the model type 'CharLevel'", "{\"model\":{\"type\":\"CharLevel\"}}");
  refused(ETK_E_FORMAT, "\"vocab\" must be an object", "{\"model\":{\"type\":\"BPE\"}}");
  refused(ETK_E_FORMAT, "\"merges\" must be a list", MODEL("\"a\":0", "\"merges\":1"));
  refused(ETK_E_FORMAT, "merge 0 must be", MODEL("\"a\":0", "\"merges\":[\"a b c\"]"));
  refused(ETK_E_FORMAT, "merge 0 must be", MODEL("\"a\":0", "\"merges\":[[\"a\"]]"));
  refused(ETK_E_FORMAT, "merge 1 joins 'a' and 'b', but 'b' is not in the vocabulary", MODEL("\"a\":0,\"aa\":1", "\"merges\":[\"a a\",\"a b\"]"));
  refused(ETK_E_FORMAT, "but 'ab' is not in the vocabulary", MODEL("\"a\":0,\"b\":1", "\"merges\":[\"a b\"]"));
  refused(ETK_E_FORMAT, "'a' and 'b' have the same id 0", MODEL("\"a\":0,\"b\":0", "\"merges\":[]"));
  refused(ETK_E_FORMAT, "the id of token 'a'", MODEL("\"a\":0.5", "\"merges\":[]"));
  refused(ETK_E_FORMAT, "duplicate", MODEL("\"a\":0,\"a\":1", "\"merges\":[]"));
  refused(ETK_E_FORMAT, "the unk_token '?'", MODEL("\"a\":0", "\"merges\":[],\"unk_token\":\"?\""));
  refused(ETK_E_UNSUPPORTED, "dropout", MODEL("\"a\":0", "\"merges\":[],\"dropout\":0.1"));
  refused(ETK_E_FORMAT, "a token id that is not in the vocabulary",
          "{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",1],\"cls\":[\"y\",9]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
          "\"merges\":[]}}");
  refused(ETK_E_UNSUPPORTED, "the post-processor 'Other'",
          "{\"post_processor\":{\"type\":\"Other\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
}

/* ---- folders --------------------------------------------------------------------------------------------------------------------------------------- */

static char *folder_with(void **state, const char *config) {
  char *folder = fresh_folder(state, "tokenizer");
  write_file(path_of("%s/tokenizer.json", folder), small, strlen(small));
  if (config) write_file(path_of("%s/tokenizer_config.json", folder), config, strlen(config));
  return folder;
}

static void configured(void **state, const char *config, int32_t bos, int32_t eos, const char *wanted) {
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, folder_with(state, config), 0));
  assert_int_equal(etk_tokenizer_bos(t), bos);
  assert_int_equal(etk_tokenizer_eos(t), eos);
  encodes(t, "a", true, wanted);
  etk_tokenizer_free(t);
}

static void tokenizer_config_decides_about_the_ends(void **state) {
  configured(state, NULL, 6, 7, "6 0");
  configured(state, "{}", 6, 7, "6 0");
  configured(state, "{\"bos_token\":\"<new>\",\"eos_token\":{\"content\":\"<s>\"}}", 8, 6, "6 0");
  configured(state, "{\"bos_token\":\"<new>\",\"add_bos_token\":true}", 8, 7, "8 6 0");
  configured(state, "{\"add_bos_token\":true}", 6, 7, "6 0");
  configured(state, "{\"bos_token\":{\"content\":\"<s>\"},\"add_bos_token\":false}", 6, 7, "0");
  configured(state, "{\"bos_token\":null,\"eos_token\":\"nowhere\"}", -1, -1, "6 0");
  etk_tokenizer *t;
  fails_with(ETK_E_FORMAT, "tokenizer_config.json:1:", etk_tokenizer_open(e, &t, folder_with(state, "{"), 0));
}

static void a_vocabulary_too_large_for_the_model_names_both_sizes(void **state) {
  etk_tokenizer *t;
  char *folder = folder_with(state, NULL);
  fails_with(ETK_E_INVALID, "its largest token id is 8, but the model's vocabulary has 8 entries", etk_tokenizer_open(e, &t, folder, 8));
  assert_null(t);
  works(etk_tokenizer_open(e, &t, folder, 9));
  etk_tokenizer_free(t);
  works(etk_tokenizer_open(e, &t, path_of("%s/tokenizer.json", folder), 100));
  etk_tokenizer_free(t);
}

static void a_folder_without_tokenizer_says_what_is_there(void **state) {
  etk_tokenizer *t;
  char *folder = fresh_folder(state, "empty");
  fails_with(ETK_E_NOT_FOUND, "has no tokenizer.json", etk_tokenizer_open(e, &t, folder, 0));
  write_file(path_of("%s/sentencepiece.bpe.model", folder), "x", 1);
  fails_with(ETK_E_UNSUPPORTED, "has sentencepiece.bpe.model", etk_tokenizer_open(e, &t, folder, 0));
  fails_with(ETK_E_NOT_FOUND, "nothing.json", etk_tokenizer_open(e, &t, path_of("%s/nothing.json", folder), 0));
}

/* ---- llama2.c --------------------------------------------------------------------------------------------------------------------------------------- */

static etk_tokenizer *stories(void) {
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, shared_or_skip("models/stories260K/tok512.bin"), 512));
  return t;
}

/* The definition, quadratic: of all neighbours that spell a token, the best-scored one, the first of equals, is joined, again and again. */
typedef struct piece {
  char text[16];
  size_t size;
  float score;
} piece;
static piece pieces[512];

static void read_pieces(void) {
  char *bytes;
  size_t size, at = 4;
  works(etk_fs_read(e, &bytes, &size, shared("models/stories260K/tok512.bin"), 1 << 20));
  for (int i = 0; i < 512; i++) {
    int32_t length;
    memcpy(&pieces[i].score, bytes + at, 4);
    memcpy(&length, bytes + at + 4, 4);
    assert_in_range(length, 1, 15);
    memcpy(pieces[i].text, bytes + at + 8, (size_t)length);
    pieces[i].size = (size_t)length;
    at += 8 + (size_t)length;
  }
  assert_int_equal(at, size);
  etk_free(bytes);
}
static int find_piece(const char *text, size_t size) {
  for (int i = 0; i < 512; i++)
    if (pieces[i].size == size && !memcmp(pieces[i].text, text, size)) return i;
  return -1;
}
static size_t encode_by_definition(int32_t *ids, const char *text, size_t size) {
  size_t count = 0;
  ids[count++] = 1;
  if (size) ids[count++] = find_piece(" ", 1);
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c;
    n = etk_utf8_decode(&c, text + i, size - i);
    int id = find_piece(text + i, n);
    if (id >= 0) ids[count++] = id;
    for (size_t j = 0; id < 0 && j < n; j++) ids[count++] = 3 + (unsigned char)text[i + j];
  }
  for (;;) {
    float best = -1e10f;
    size_t where = 0;
    int with = -1;
    for (size_t i = 0; i + 1 < count; i++) {
      char both[32];
      memcpy(both, pieces[ids[i]].text, pieces[ids[i]].size);
      memcpy(both + pieces[ids[i]].size, pieces[ids[i + 1]].text, pieces[ids[i + 1]].size);
      int id = find_piece(both, pieces[ids[i]].size + pieces[ids[i + 1]].size);
      if (id < 0 || pieces[id].score <= best) continue;
      best = pieces[id].score;
      where = i;
      with = id;
    }
    if (with < 0) return count;
    ids[where] = with;
    memmove(ids + where + 1, ids + where + 2, (count - where - 2) * sizeof *ids);
    count--;
  }
}

static void llama2c_ids_follow_the_definition(void **state) {
  (void)state;
  etk_tokenizer *t = stories();
  read_pieces();
  char *corpus;
  size_t size;
  works(etk_fs_read(e, &corpus, &size, shared_or_skip("data/tinystories/mini_gpt_tinystories.txt"), 1 << 20));
  static const char *const texts[] = {
      "", " ", "Once upon a time", "  two  spaces", "\xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80!", "<0x0A>", "tab\tnew\nline", "aaaaaaaaaaaaaaaaaaa"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts + 60; i++) {
    const char *text = i < sizeof texts / sizeof *texts ? texts[i] : corpus + (i * 3001) % (size - 400);
    size_t length = i < sizeof texts / sizeof *texts ? strlen(text) : 200;
    while (length && ((unsigned char)text[0] & 0xc0) == 0x80) text++, length--;
    while (length && !etk_utf8_valid(text, length)) length--;
    int32_t wanted[512];
    size_t count = encode_by_definition(wanted, text, length);
    etk_ids ids = ETK_IDS_INIT;
    etk_encode_options options = {.special = true};
    works(etk_tokenizer_encode(e, t, &ids, text, length, &options));
    assert_int_equal(ids.count, count);
    assert_memory_equal(ids.items, wanted, count * sizeof *wanted);
    char *back;
    size_t back_size;
    works(etk_tokenizer_decode(e, t, &back, &back_size, ids.items, ids.count, true));
    assert_int_equal(back_size, length); /* the dummy space goes with the beginning token */
    assert_memory_equal(back, text, length);
    etk_free(back);
    etk_ids_free(&ids);
  }
  etk_free(corpus);
  etk_tokenizer_free(t);
}

static void llama2c_spellings_are_those_of_the_file(void **state) {
  (void)state;
  etk_tokenizer *t = stories();
  assert_int_equal(etk_tokenizer_size(t), 512);
  assert_int_equal(etk_tokenizer_bos(t), 1);
  assert_int_equal(etk_tokenizer_eos(t), 2);
  assert_string_equal(etk_tokenizer_token(t, 13), "<0x0A>");
  assert_int_equal(etk_tokenizer_find(t, "<0x0A>"), 13);
  assert_null(etk_tokenizer_token(t, 512));
  assert_null(etk_tokenizer_token(t, -1));
  etk_tokenizer_free(t);
}

static void a_llama2c_file_of_another_size_names_both(void **state) {
  (void)state;
  etk_tokenizer *t;
  char *path = shared_or_skip("models/stories260K/tok512.bin");
  fails_with(ETK_E_INVALID, "more than 400 tokens, but the model's vocabulary has 400", etk_tokenizer_open(e, &t, path, 400));
  fails_with(ETK_E_INVALID, "512 tokens, but the model's vocabulary has 32000", etk_tokenizer_open(e, &t, path, 32000));
  works(etk_tokenizer_open(e, &t, path, 0));
  etk_tokenizer_free(t);
}

static void a_llama2c_checkpoint_has_its_tokenizer_beside_it(void **state) {
  (void)state;
  etk_tokenizer *t = NULL;
  const char *checkpoint = shared_or_skip("models/stories260K/stories260K.bin");
  works(etk_tokenizer_open(e, &t, checkpoint, 0));
  assert_int_equal(etk_tokenizer_size(t), 512);
  etk_tokenizer_free(t);
  char folder[] = "/tmp/etk-tokenizer-XXXXXX", alone[64];
  assert_non_null(mkdtemp(folder));
  snprintf(alone, sizeof alone, "%s/alone.bin", folder);
  works(etk_fs_copy(e, checkpoint, alone, false));
  fails_with(ETK_E_NOT_FOUND, "alone.bin is a llama2.c checkpoint, whose tokenizer is looked for beside it, as tok512.bin too", etk_tokenizer_open(e, &t, alone, 0));
  assert_null(t);
  remove(alone);
  remove(folder);
}

static void llama2c_truncation_at_every_byte_is_refused(void **state) {
  (void)state;
  char *bytes;
  size_t size;
  works(etk_fs_read(e, &bytes, &size, shared_or_skip("models/stories260K/tok512.bin"), 1 << 20));
  for (size_t n = 0; n < size; n++) {
    char *cut = etk_alloc(n ? n : 1);
    memcpy(cut, bytes, n);
    etk_tokenizer *t = (void *)1;
    etk_error e = ETK_ERROR_INIT;
    assert_int_not_equal(etk_tokenizer_parse_llama2c(&e, &t, "cut.bin", cut, n, 512), ETK_OK);
    assert_null(t);
    assert_non_null(strstr(e.message, "cut.bin"));
    etk_free(cut);
  }
  bytes[8] = 0x7f; /* the first token's length */
  bytes[10] = 0x7f;
  etk_tokenizer *t;
  fails_with(ETK_E_FORMAT, "not a llama2.c tokenizer: token 0 would be", etk_tokenizer_parse_llama2c(e, &t, "x", bytes, size, 512));
  etk_free(bytes);
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------------------------------- */

static const char *push(etk_decoder *d, int32_t id) {
  static char out[64];
  const char *bytes;
  size_t size;
  works(etk_decoder_push(e, d, id, &bytes, &size));
  assert_true(size < sizeof out);
  memcpy(out, bytes, size);
  out[size] = 0;
  return out;
}

static void a_stream_never_cuts_a_character(void **state) {
  (void)state;
  etk_tokenizer *t = stories();
  etk_decoder *d;
  works(etk_decoder_new(e, &d, t, true));
  assert_string_equal(push(d, 1), "");
  assert_string_equal(push(d, 3 + 0xf0), "");
  assert_string_equal(push(d, 3 + 0x9f), "");
  assert_string_equal(push(d, 3 + 0x98), "");
  assert_string_equal(push(d, 3 + 0x80), "\xf0\x9f\x98\x80");
  assert_string_equal(push(d, 3 + 0xc3), "");
  assert_string_equal(push(d, 3 + 'a'), "\xef\xbf\xbd"
                                        "a"); /* what can no longer become a character */
  assert_string_equal(push(d, 3 + 0xed), "");
  assert_string_equal(push(d, 3 + 0xa0), "\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate never will */
  assert_string_equal(push(d, 3 + 0xe2), "");
  assert_string_equal(push(d, 3 + 0x82), "");
  assert_string_equal(push(d, -1), "\xef\xbf\xbd");
  assert_string_equal(push(d, -1), "");
  etk_error error = ETK_ERROR_INIT;
  const char *bytes;
  size_t size;
  assert_int_equal(etk_decoder_push(&error, d, -2, &bytes, &size), ETK_E_INVALID);
  etk_decoder_free(d);
  etk_tokenizer_free(t);
}

static void a_stream_gives_the_whole_text(void **state) {
  (void)state;
  etk_tokenizer *t = stories();
  static const char text[] = "Once upon a time, \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x90\xb6.";
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true};
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options));
  etk_decoder *d;
  works(etk_decoder_new(e, &d, t, true));
  etk_text all = ETK_TEXT_INIT;
  for (size_t i = 0; i < ids.count; i++) etk_text_puts(&all, push(d, ids.items[i]));
  assert_string_equal(all.data, text);
  etk_text_free(&all);
  etk_decoder_free(d);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
}

static void ids_beyond_the_vocabulary_decode_to_nothing(void **state) {
  (void)state;
  etk_tokenizer *t = parse(small);
  const int32_t ids[] = {0, 99, 1, 6};
  char *text;
  size_t size;
  works(etk_tokenizer_decode(e, t, &text, &size, ids, 4, true));
  assert_string_equal(text, "ab");
  etk_free(text);
  works(etk_tokenizer_decode(e, t, &text, &size, ids, 4, false));
  assert_string_equal(text, "ab<s>");
  etk_free(text);
  works(etk_tokenizer_decode(e, t, &text, &size, ids, 0, false));
  assert_string_equal(text, "");
  etk_free(text);
  fails_with(ETK_E_INVALID, "token id -5", etk_tokenizer_decode(e, t, &text, &size, (int32_t[]){-5}, 1, false));
  etk_tokenizer_free(t);
}

/* ---- endurance -------------------------------------------------------------------------------------------------------------------------------------- */

/* A megabyte in one piece; a quadratic merge would take hours. */
static void a_megabyte_of_one_letter_is_encoded_at_once(void **state) {
  (void)state;
  etk_tokenizer *t = parse("{\"model\":{\"type\":\"BPE\",\"vocab\":{\" \":0,\"  \":1,\"    \":2},\"merges\":[[\" \",\" \"],[\"  \",\"  \"]]}}");
  enum { SIZE = 1 << 20 };
  char *text = etk_alloc(SIZE);
  memset(text, ' ', SIZE);
  etk_ids ids = ETK_IDS_INIT;
  works(etk_tokenizer_encode(e, t, &ids, text, SIZE, NULL));
  assert_int_equal(ids.count, SIZE / 4);
  etk_ids_free(&ids);
  etk_free(text);
  etk_tokenizer_free(t);
}

static void *encode_often(void *user) {
  const etk_tokenizer *t = user;
  size_t good = 0;
  for (int i = 0; i < 200; i++) {
    etk_ids ids = ETK_IDS_INIT;
    good += etk_tokenizer_encode(NULL, t, &ids, "abcab'abc 12ab", 14, NULL) == ETK_OK && ids.count == 4 && ids.items[0] == 4;
    etk_ids_free(&ids);
  }
  return (void *)good;
}

static void many_threads_share_a_tokenizer(void **state) {
  (void)state;
  json_t *file = json_loads(small, 0, NULL);
  json_object_set_new(file, "pre_tokenizer", json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1));
  char *bytes = json_dumps(file, 0);
  etk_tokenizer *t = parse(bytes);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_often, t), 0);
  for (int i = 0; i < 4; i++) {
    void *good;
    pthread_join(threads[i], &good);
    assert_int_equal((size_t)good, 200);
  }
  etk_tokenizer_free(t);
  free(bytes);
  json_decref(file);
}

static etk_status use_all(etk_error *e, const char *folder) {
  etk_tokenizer *t;
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true, .parse_special = true};
  static const char text[] = "abc<s>\xc3\xa9 abcabc b";
  char *back = NULL;
  etk_decoder *d = NULL;
  size_t size;
  const char *bytes;
  etk_status s = etk_tokenizer_open(e, &t, folder, 0);
  if (s != ETK_OK) return s;
  s = etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options);
  if (s == ETK_OK) s = etk_tokenizer_decode(e, t, &back, &size, ids.items, ids.count, false);
  if (s == ETK_OK) s = etk_decoder_new(e, &d, t, false);
  for (size_t i = 0; s == ETK_OK && i < ids.count; i++) s = etk_decoder_push(e, d, ids.items[i], &bytes, &size);
  etk_decoder_free(d);
  etk_free(back);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
  return s;
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *folder = fresh_folder(state, "failing");
  json_t *file = json_loads(small, 0, NULL);
  json_object_set_new(file, "normalizer",
                      json_pack("{s:s,s:[{s:s},{s:s,s:{s:s},s:s}]}", "type", "Sequence", "normalizers", "type", "NFC", "type", "Replace", "pattern",
                                "Regex", "z+", "content", "y"));
  json_object_set_new(file, "pre_tokenizer", json_pack("{s:s,s:s,s:s}", "type", "Metaspace", "replacement", "_", "prepend_scheme", "first"));
  json_object_set_new(file, "decoder", json_pack("{s:s,s:s,s:i,s:i}", "type", "Strip", "content", "a", "start", 1, "stop", 0));
  json_array_append_new(json_object_get(file, "added_tokens"), json_pack("{s:i,s:s,s:b}", "id", 9, "content", "more", "normalized", 1));
  char *bytes = json_dumps(file, 0);
  write_file(path_of("%s/tokenizer.json", folder), bytes, strlen(bytes));
  static const char config[] = "{\"bos_token\":\"<new>\",\"add_bos_token\":true}";
  write_file(path_of("%s/tokenizer_config.json", folder), config, strlen(config));
  free(bytes);
  json_decref(file);
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_error e = ETK_ERROR_INIT;
    starved(&s, use_all(&e, folder), &e);
  }
  assert_true(s.nth > 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merges_go_by_rank_not_by_place),
      cmocka_unit_test(the_beginning_is_added_and_the_end_is_not),
      cmocka_unit_test(encoding_appends),
      cmocka_unit_test(broken_files_are_named),
      cmocka_unit_test(tokenizer_config_decides_about_the_ends),
      cmocka_unit_test(a_vocabulary_too_large_for_the_model_names_both_sizes),
      cmocka_unit_test(a_folder_without_tokenizer_says_what_is_there),
      cmocka_unit_test(llama2c_ids_follow_the_definition),
      cmocka_unit_test(llama2c_spellings_are_those_of_the_file),
      cmocka_unit_test(a_llama2c_file_of_another_size_names_both),
      cmocka_unit_test(a_llama2c_checkpoint_has_its_tokenizer_beside_it),
      cmocka_unit_test(llama2c_truncation_at_every_byte_is_refused),
      cmocka_unit_test(a_stream_never_cuts_a_character),
      cmocka_unit_test(a_stream_gives_the_whole_text),
      cmocka_unit_test(ids_beyond_the_vocabulary_decode_to_nothing),
      cmocka_unit_test(a_megabyte_of_one_letter_is_encoded_at_once),
      cmocka_unit_test(many_threads_share_a_tokenizer),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
