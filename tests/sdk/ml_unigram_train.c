/* Training a Unigram tokenizer: what the method promises, whatever the texts. (tests/goldens/tokenizer_peers.sh
 * compares many more strings with other implementations.) */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/parallel.h>
#include <etk/text.h>
#include <etk/tokenizer.h>

static const char *const specials[] = {"<s>", "</s>"};

typedef struct rounds {
  int64_t pieces[256];
  double bits[256];
  size_t count;
} rounds;

static void note(void *user, int64_t pieces, double bits) {
  rounds *r = user;
  assert_true(r->count < 256);
  r->pieces[r->count] = pieces;
  r->bits[r->count++] = bits;
}

/* Words of a small grammar, whose stems and endings repeat; the same ones on each machine. */
static char *corpus(size_t words) {
  static const char *const stems[] = {"walk", "talk", "play", "jump", "count", "train", "piece", "token", "na\xc3\xafve", "\xce\xb1\xce\xb2\xce\xb3"};
  static const char *const ends[] = {"", "s", "ed", "ing", "er", "ers", "able", ".", ",\n"};
  etk_text text = ETK_TEXT_INIT;
  uint32_t state = 12345;
  for (size_t i = 0; i < words; i++) {
    state = state * 1664525u + 1013904223u;
    etk_text_printf(&text, "%s%s%s", i ? " " : "", stems[(state >> 16) % 10], ends[(state >> 24) % 9]);
  }
  assert_false(text.failed);
  return etk_text_take(&text);
}

static char *train(void **state, const char *name, const char *text, etk_unigram_options options) {
  char *path = path_of("%s/%s/tokenizer.json", (char *)*state, name);
  size_t size = strlen(text);
  works(etk_fs_make_dirs(e, path_of("%s/%s", (char *)*state, name)));
  works(etk_unigram_train(e, path, &text, &size, 1, &options, true));
  return path;
}

static etk_unigram_options options_of(int size) {
  return (etk_unigram_options){.vocabulary_size = size, .special = specials, .special_count = 2, .bos = specials[0], .eos = specials[1]};
}

static void likelihood_never_falls_between_two_prunings(void **state) {
  char *text = corpus(4000);
  rounds r = {.count = 0};
  etk_unigram_options options = options_of(80);
  options.round = note;
  options.user = &r;
  train(state, "em", text, options);
  int compared = 0;
  for (size_t i = 1; i < r.count; i++) {
    if (r.pieces[i] != r.pieces[i - 1]) continue;
    assert_true(r.bits[i] <= r.bits[i - 1] + 1e-6); /* sums are kept in units of 2^-20 and pieces without a count at half a unit */
    compared++;
  }
  assert_true(compared >= 4);
  assert_true(r.pieces[0] > 80);
  assert_int_equal(r.pieces[r.count - 1], 80 - 3);
  etk_free(text);
}

static double bits_per_character(const etk_tokenizer *t, const char *text) {
  etk_ids ids = ETK_IDS_INIT;
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), NULL));
  double *counts = calloc((size_t)etk_tokenizer_size(t), sizeof *counts), bits = 0;
  for (size_t i = 0; i < ids.count; i++) counts[ids.items[i]]++;
  for (int64_t i = 0; i < etk_tokenizer_size(t); i++)
    if (counts[i] > 0) bits -= counts[i] * log2(counts[i] / (double)ids.count);
  free(counts);
  etk_ids_free(&ids);
  return bits / (double)strlen(text);
}

static void more_pieces_make_shorter_text_and_words_become_pieces(void **state) {
  char *text = corpus(4000);
  etk_tokenizer *small, *large;
  works(etk_tokenizer_open(e, &small, train(state, "small", text, options_of(40)), 40));
  works(etk_tokenizer_open(e, &large, train(state, "large", text, options_of(120)), 120));
  assert_true(bits_per_character(large, text) < 0.7 * bits_per_character(small, text));
  assert_true(etk_tokenizer_find(large, "\xe2\x96\x81token") >= 0);
  assert_true(etk_tokenizer_find(large, "\xe2\x96\x81na\xc3\xafve") >= 0);
  assert_int_equal(etk_tokenizer_find(large, "<s>"), 0);
  assert_int_equal(etk_tokenizer_find(large, "<unk>"), 2);
  assert_int_equal(etk_tokenizer_bos(large), 0);
  assert_int_equal(etk_tokenizer_eos(large), 1);
  assert_int_equal(etk_tokenizer_size(large), 120);
  etk_tokenizer_free(small);
  etk_tokenizer_free(large);
  etk_free(text);
}

static void the_text_comes_back(void **state) {
  char *text = corpus(500), *back;
  for (int bytes = 0; bytes < 2; bytes++) {
    etk_unigram_options options = options_of(bytes ? 340 : 90);
    options.byte_fallback = bytes;
    etk_tokenizer *t;
    works(etk_tokenizer_open(e, &t, train(state, bytes ? "bytes" : "plain", text, options), 0));
    const char *said = bytes ? "walkers \xf0\x9f\xa6\x99 jump" : text;
    etk_ids ids = ETK_IDS_INIT;
    size_t size;
    works(etk_tokenizer_encode(e, t, &ids, said, strlen(said), NULL));
    works(etk_tokenizer_decode(e, t, &back, &size, ids.items, ids.count, true));
    assert_string_equal(back, said);
    etk_free(back);
    etk_ids_free(&ids);
    etk_tokenizer_free(t);
  }
  etk_free(text);
}

static void threads_do_not_change_the_file(void **state) {
  char *text = corpus(200000), *first = NULL; /* more than one part of a megabyte */
  size_t first_size = 0;
  assert_true(strlen(text) > (5 << 18));
  for (int threads = 1; threads <= 3; threads++) {
    char *bytes, *bpe;
    size_t size, bpe_size, text_size = strlen(text);
    etk_parallel_set_threads(threads);
    works(etk_fs_read(e, &bytes, &size, train(state, "threads", text, options_of(100)), 1 << 24));
    const char *path = path_of("%s/bpe.json", (char *)*state);
    etk_bpe_options options = {.vocabulary_size = 320};
    works(etk_bpe_train(e, path, (const char *const *)&text, &text_size, 1, &options, true));
    works(etk_fs_read(e, &bpe, &bpe_size, path, 1 << 24));
    bytes = etk_realloc(bytes, size + bpe_size + 1, 1);
    memcpy(bytes + size, bpe, bpe_size);
    size += bpe_size;
    etk_free(bpe);
    if (first) {
      assert_int_equal(size, first_size);
      assert_memory_equal(bytes, first, size);
      etk_free(bytes);
    } else {
      first = bytes;
      first_size = size;
    }
  }
  etk_parallel_set_threads(0);
  etk_free(first);
  etk_free(text);
}

static void rare_characters_are_unknown_unless_all_are_wanted(void **state) {
  char *most = corpus(3000), *text = path_of("%s \xe2\x98\x83", most);
  etk_tokenizer *t;
  works(etk_tokenizer_open(e, &t, train(state, "rare", text, options_of(90)), 0));
  assert_int_equal(etk_tokenizer_find(t, "\xe2\x98\x83"), -1);
  etk_tokenizer_free(t);
  etk_unigram_options options = options_of(90);
  options.coverage = 1;
  works(etk_tokenizer_open(e, &t, train(state, "all", text, options), 0));
  assert_true(etk_tokenizer_find(t, "\xe2\x98\x83") >= 3);
  etk_tokenizer_free(t);
  etk_free(most);
}

static void what_cannot_be_trained_is_an_error(void **state) {
  const char *path = path_of("%s/bad.json", (char *)*state), *text = "abc abd", *empty = "";
  size_t size = 7, none = 0;
  etk_unigram_options options = options_of(5);
  fails_with(ETK_E_INVALID, "3 are reserved and the text has 5 characters", etk_unigram_train(e, path, &text, &size, 1, &options, true));
  options.vocabulary_size = 0;
  fails_with(ETK_E_INVALID, "a vocabulary of 0 tokens", etk_unigram_train(e, path, &text, &size, 1, &options, true));
  options.vocabulary_size = 50;
  fails_with(ETK_E_INVALID, "there is no text", etk_unigram_train(e, path, &empty, &none, 1, &options, true));
  options.bos = "<nope>";
  fails_with(ETK_E_INVALID, "'<nope>' is to begin or end", etk_unigram_train(e, path, &text, &size, 1, &options, true));
  static const char *const twice[] = {"<a>", "<a>"};
  options = (etk_unigram_options){.vocabulary_size = 50, .special = twice, .special_count = 2};
  fails_with(ETK_E_INVALID, "'<a>' is given twice", etk_unigram_train(e, path, &text, &size, 1, &options, true));
  assert_false(etk_fs_exists(path));
}

/* EM by hand: the word "aab" often enough that only {a, b, aa, ab, aab …} matter; probabilities are those of a direct sum over all its cuts. */
static void scores_are_those_of_the_definition(void **state) {
  const char *text = "ab ab ab b b a";
  etk_unigram_options options = {.vocabulary_size = 8, .coverage = 1};
  rounds r = {.count = 0};
  options.round = note;
  options.user = &r;
  char *path = train(state, "hand", text, options);
  json_t *file = load_json(path), *vocab = json_object_get(json_object_get(file, "model"), "vocab");
  double sum = 0; /* probabilities of all pieces but <unk> */
  for (size_t i = 1; i < json_array_size(vocab); i++) sum += exp(json_number_value(json_array_get(json_array_get(vocab, i), 1)));
  assert_true(fabs(sum - 1) < 1e-3); /* pieces that lost all their count keep half a unit */
  /* The likelihood of the last step, by going through all cuts of the three words with the scores before the last step, cannot be above the best code:
   * three words "▁ab", two "▁b", one "▁a" have an entropy of 1.459 bits a word, 6 words, 15 characters with the marks. */
  assert_true(r.bits[r.count - 1] >= 1.459 * 6 / 15 - 1e-3);
  assert_true(r.bits[r.count - 1] < r.bits[0]);
  json_decref(file);
}

/* tests/goldens/unigram_train.mjs: the Rust tokenizers read a file that was trained here. */
static void ids_of_a_trained_file_equal_another_implementation(void **state) {
  (void)state;
  json_t *golden = load_json("tests/goldens/unigram_train.json"), *cases = json_object_get(golden, "cases");
  char *file = json_dumps(json_object_get(golden, "tokenizer"), JSON_COMPACT);
  etk_tokenizer *t;
  int wrong = 0;
  works(etk_tokenizer_parse_json(e, &t, "trained", file, strlen(file)));
  assert_true(json_array_size(cases) >= 60);
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *text = json_object_get(json_array_get(cases, i), "text");
    int32_t wanted[512];
    size_t count = json_ids(json_object_get(json_array_get(cases, i), "ids"), wanted, 512);
    etk_ids ids = ETK_IDS_INIT;
    etk_encode_options options = {.parse_special = true};
    works(etk_tokenizer_encode(e, t, &ids, json_string_value(text), json_string_length(text), &options));
    bool same = ids.count == count && (!count || !memcmp(ids.items, wanted, count * sizeof *wanted));
    if (!same) print_error("\"%s\" gives other ids\n", json_string_value(text));
    wrong += !same;
    etk_ids_free(&ids);
  }
  assert_int_equal(wrong, 0);
  etk_tokenizer_free(t);
  free(file);
  json_decref(golden);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  const char *path = path_of("%s/failing.json", (char *)*state), *text = "low lower lowest low slow slower\xff \xe2\x98\x83";
  size_t size = strlen(text);
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_unigram_options options = options_of(30);
    options.coverage = 0.95;
    etk_error e = ETK_ERROR_INIT;
    starved(&s, etk_unigram_train(&e, path, &text, &size, 1, &options, true), &e);
  }
  assert_true(s.nth > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(likelihood_never_falls_between_two_prunings),
      cmocka_unit_test(more_pieces_make_shorter_text_and_words_become_pieces),
      cmocka_unit_test(the_text_comes_back),
      cmocka_unit_test(threads_do_not_change_the_file),
      cmocka_unit_test(rare_characters_are_unknown_unless_all_are_wanted),
      cmocka_unit_test(what_cannot_be_trained_is_an_error),
      cmocka_unit_test(scores_are_those_of_the_definition),
      cmocka_unit_test(ids_of_a_trained_file_equal_another_implementation),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
