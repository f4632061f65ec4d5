/* Training a byte-level BPE tokenizer. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/text.h>
#include <etk/tokenizer.h>

static const char *const specials[] = {"<|endoftext|>", "<|user|>"};

static etk_bpe_options options_of(int vocabulary_size) {
  return (etk_bpe_options){.vocabulary_size = vocabulary_size, .special = specials, .special_count = 1, .bos = specials[0], .eos = specials[0]};
}

static etk_status train(etk_error *e, const char *path, const char *text, const etk_bpe_options *options) {
  size_t size = strlen(text);
  return etk_bpe_train(e, path, &text, &size, 1, options, true);
}

/* tests/goldens/bpe_train.mjs counts everything anew at each step. */
static void merges_equal_those_of_the_definition(void **state) {
  json_t *golden = load_json("tests/goldens/bpe_train.json"), *list = json_object_get(golden, "texts");
  const char *texts[16], *path = path_of("%s/tokenizer.json", (const char *)*state);
  size_t sizes[16], count = json_array_size(list);
  assert_in_range(count, 1, 16);
  for (size_t i = 0; i < count; i++) {
    texts[i] = json_string_value(json_array_get(list, i));
    sizes[i] = json_string_length(json_array_get(list, i));
  }
  etk_bpe_options options = options_of((int)json_integer_value(json_object_get(golden, "vocabulary_size")));
  works(etk_bpe_train(e, path, texts, sizes, count, &options, true));
  json_t *file = load_json(path), *model = json_object_get(file, "model");
  const json_t *vocabulary = json_object_get(golden, "vocabulary");
  assert_true(json_array_size(vocabulary) > 350);
  assert_int_equal(json_object_size(json_object_get(model, "vocab")), json_array_size(vocabulary));
  for (size_t i = 0; i < json_array_size(vocabulary); i++)
    assert_int_equal(json_integer_value(json_object_get(json_object_get(model, "vocab"), json_string_value(json_array_get(vocabulary, i)))), i);
  assert_true(json_equal(json_object_get(model, "merges"), json_object_get(golden, "merges")));
  json_decref(file);
  json_decref(golden);
}

static void what_was_trained_is_read_back(void **state) {
  const char *text = "low lower lowest, slow slower slowest\n\n  low\xc3\xa9 123 123";
  char *folder = fresh_folder(state, "trained");
  etk_bpe_options options = options_of(300);
  options.special_count = 2;
  works(train(e, path_of("%s/tokenizer.json", folder), text, &options));
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, folder, 300));
  assert_int_equal(etk_tokenizer_bos(t), 0);
  assert_int_equal(etk_tokenizer_eos(t), 0);
  assert_int_equal(etk_tokenizer_find(t, "<|user|>"), 1);
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options encode = {.special = true, .parse_special = true};
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), &encode));
  assert_int_equal(ids.items[0], 0);
  assert_true(ids.count < strlen(text) / 2);
  char *back;
  size_t size;
  works(etk_tokenizer_decode(e, t, &back, &size, ids.items, ids.count, true));
  assert_string_equal(back, text);
  etk_free(back);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
}

static void rare_pairs_are_not_joined(void **state) {
  char *path = path_of("%s/rare.json", (const char *)*state);
  etk_bpe_options options = options_of(300);
  works(train(e, path, "ab ab ab cd cd ef", &options));
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, path, 0));
  assert_true(etk_tokenizer_find(t, "ab") > 0);
  assert_true(etk_tokenizer_find(t, "cd") > 0);
  assert_int_equal(etk_tokenizer_find(t, "ef"), -1);
  etk_tokenizer_free(t);
  options.minimum_frequency = 3;
  works(train(e, path, "ab ab ab cd cd ef", &options));
  works(etk_tokenizer_open(e, &t, path, 0));
  assert_true(etk_tokenizer_find(t, "ab") > 0);
  assert_int_equal(etk_tokenizer_find(t, "cd"), -1);
  etk_tokenizer_free(t);
}

static void options_that_cannot_be_are_named(void **state) {
  char *path = path_of("%s/none.json", (const char *)*state);
  etk_bpe_options options = options_of(256);
  fails_with(ETK_E_INVALID, "a vocabulary of 256 tokens: between 257 (256 bytes and 1 special tokens)", train(e, path, "x", &options));
  options = options_of(300);
  options.eos = "</s>";
  fails_with(ETK_E_INVALID, "'</s>' is to begin or end texts", train(e, path, "x", &options));
  const char *const twice[] = {"<a>", "<a>"}, *const letter[] = {"a"}, *const empty[] = {""};
  options = (etk_bpe_options){.vocabulary_size = 300, .special = twice, .special_count = 2};
  fails_with(ETK_E_INVALID, "'<a>' is given twice", train(e, path, "x", &options));
  options = (etk_bpe_options){.vocabulary_size = 300, .special = letter, .special_count = 1};
  fails_with(ETK_E_INVALID, "'a' cannot be a special token", train(e, path, "x", &options));
  options = (etk_bpe_options){.vocabulary_size = 300, .special = empty, .special_count = 1};
  fails_with(ETK_E_INVALID, "special token 0 is empty", train(e, path, "x", &options));
  assert_false(etk_fs_exists(path));
}

static void empty_and_broken_texts_train_the_bytes_alone(void **state) {
  char *path = path_of("%s/bytes.json", (const char *)*state);
  etk_bpe_options options = {.vocabulary_size = 300};
  works(etk_bpe_train(e, path, NULL, NULL, 0, &options, true));
  works(train(e, path, "\xff\xc3", &options));
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, path, 0));
  assert_in_range(etk_tokenizer_size(t), 256, 260);
  assert_int_equal(etk_tokenizer_bos(t), -1);
  etk_tokenizer_free(t);
}

static void progress_reaches(void *user, int64_t done, int64_t total) {
  int64_t *last = user;
  assert_true(done >= *last && done <= total);
  *last = done;
}

static void progress_rises_to_the_vocabulary(void **state) {
  int64_t last = 0;
  etk_bpe_options options = options_of(262);
  options.progress = progress_reaches;
  options.user = &last;
  works(train(e, path_of("%s/progress.json", (const char *)*state), "abcdefghij abcdefghij", &options));
  assert_int_equal(last, 262);
}

/* A word of 200,000 equal letters: joining must not go through it once for each of its pairs. */
static void one_enormous_word_is_no_trouble(void **state) {
  enum { SIZE = 200000 };
  char *text = etk_alloc(SIZE + 1);
  memset(text, 'a', SIZE);
  text[SIZE] = 0;
  etk_bpe_options options = options_of(270);
  works(train(e, path_of("%s/long.json", (const char *)*state), text, &options));
  etk_free(text);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *path = path_of("%s/failing.json", (const char *)*state);
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_bpe_options options = options_of(264);
    etk_error e = ETK_ERROR_INIT;
    starved(&s, train(&e, path, "low lower lowest low\xff", &options), &e);
  }
  assert_true(s.nth > 30);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merges_equal_those_of_the_definition),
      cmocka_unit_test(what_was_trained_is_read_back),
      cmocka_unit_test(rare_pairs_are_not_joined),
      cmocka_unit_test(options_that_cannot_be_are_named),
      cmocka_unit_test(empty_and_broken_texts_train_the_bytes_alone),
      cmocka_unit_test(progress_rises_to_the_vocabulary),
      cmocka_unit_test(one_enormous_word_is_no_trouble),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
