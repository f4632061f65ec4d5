/* Data sets, their splits, batches and the order of an epoch. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/dataset.h>
#include <etk/text.h>

/* Letters are their own ids from 0, "ab" is 26, <s> 27 goes in front, </s> 28 ends. */
static etk_tokenizer *letters;

static int make_letters(void **state) {
  etk_text json = ETK_TEXT_INIT;
  etk_text_puts(
      &json,
      "{\"added_tokens\":[{\"id\":27,\"content\":\"<s>\",\"special\":true},{\"id\":28,\"content\":\"</s>\",\"special\":true}],"
      "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],"
      "\"special_tokens\":{\"<s>\":{\"ids\":[27]}}},\"model\":{\"type\":\"BPE\",\"vocab\":{\"ab\":26,\"\\n\":29,\"#\":30,\"|\":31,\":\":32,\" \":33");
  for (int i = 0; i < 26; i++) etk_text_printf(&json, ",\"%c\":%d", 'a' + i, i);
  etk_text_puts(&json, "},\"merges\":[\"a b\"]}}");
  etk_error e = ETK_ERROR_INIT;
  etk_status s = etk_tokenizer_parse_json(&e, &letters, "letters", json.data, json.size);
  etk_text_free(&json);
  if (s != ETK_OK) print_error("%s\n", e.message);
  return s || make_folder(state) ? -1 : 0;
}

static int free_letters(void **state) {
  etk_tokenizer_free(letters);
  return remove_folder(state);
}

static etk_dataset_options options_of(bool eos) { return (etk_dataset_options){.tokenizer = letters, .vocabulary_size = 34, .append_eos = eos}; }

static char *file_with(void **state, const char *name, const char *text) {
  char *path = path_of("%s/%s", (const char *)*state, name);
  write_file(path, text, strlen(text));
  return path;
}

static etk_dataset *open_text(void **state, const char *name, const char *text, const etk_dataset_options *options) {
  etk_dataset *d;
  works(etk_dataset_open(e, &d, file_with(state, name, text), options));
  return d;
}

/* "27 0 1 | 28": the bar stands before the first token that may be scored. */
static void sequence_is(const etk_dataset *d, size_t index, const char *wanted) {
  etk_sequence s = etk_dataset_at(d, index);
  etk_text shown = ETK_TEXT_INIT;
  for (int32_t i = 0; i < s.count; i++) etk_text_printf(&shown, "%s%s%d", i ? " " : "", i && i == s.masked ? "| " : "", (int)s.ids[i]);
  etk_text_putc(&shown, 0);
  assert_string_equal(shown.data, wanted);
  etk_text_free(&shown);
}

static void each_kind_of_line_is_read(void **state) {
  etk_dataset_options options = options_of(true);
  etk_dataset *d = open_text(
      state, "kinds.jsonl",
      "{\"text\":\"abc\",\"source\":7}\n"
      "{\"prompt\":\"xa\",\"completion\":\"bc\"}\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"z\"}]}\n"
      "{\"ids\":[3,27,5]}\n"
      "{\"instruction\":\"a\",\"input\":\"\",\"output\":\"b\"}\n"
      "{\"text\":\"ab</s>\"}\n",
      &options);
  assert_int_equal(etk_dataset_count(d), 6);
  sequence_is(d, 0, "27 26 2 28");
  sequence_is(d, 1, "27 23 0 | 1 2 28");                                                       /* a|b is not merged across the seam */
  sequence_is(d, 2, "27 31 20 18 4 17 31 29 0 29 31 0 18 18 8 18 19 0 13 19 31 29 | 1 29 28"); /* |user|: '<' and '>' are not of this vocabulary */
  sequence_is(d, 3, "3 27 5");
  sequence_is(d, 4, "27 30 30 30 33 13 18 19 17 20 2 19 8 14 13 32 29 0 29 29 30 30 30 33 4 18 15 14 13 18 4 32 29 | 1 28");
  sequence_is(d, 5, "27 26 28"); /* an end that is there is not doubled */
  etk_dataset_stats stats = etk_dataset_get_stats(d);
  assert_int_equal(stats.sequences, 6);
  assert_int_equal(stats.shortest, 3);
  assert_int_equal(stats.longest, etk_dataset_at(d, 4).count);
  assert_int_equal(stats.scored, 3 + 3 + 3 + 2 + 2 + 2);
  assert_int_equal(stats.truncated, 0);
  etk_dataset_free(d);
}

static const char turns[] = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
                            "{% if add_generation_prompt %}assistant:{{ opening }}{% endif %}{% if tools %}#{{ tools[0].name }}{% endif %}";

static void conversations_are_written_by_the_template(void **state) {
  etk_dataset_options options = options_of(true);
  etk_chat_format *format = NULL;
  works(etk_chat_format_open(e, &format, file_with(state, "turns.jinja", turns), letters));
  options.chat = format;
  etk_dataset *d = open_text(state, "chat.jsonl",
                             "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"z\"}]}\n"
                             "{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}]}\n"
                             "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}],\"tools\":[{\"name\":\"c\"}]}\n",
                             &options);
  sequence_is(d, 0, "27 20 18 4 17 32 0 0 18 18 8 18 19 0 13 19 32 | 1 28"); /* user:a assistant: | b; no end beyond the template's */
  sequence_is(d, 1, "27 20 18 4 17 32 0 0 18 18 8 18 19 0 13 19 32 | 1 28");
  sequence_is(d, 2, "27 0 18 18 8 18 19 0 13 19 32 1 28 30 2");
  etk_dataset_free(d);
  options.chat_kwargs = "{\"opening\":\"c\"}"; /* generation would be given "c" too, which the answer does not have: what both begin with is given */
  d = open_text(state, "chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}", &options);
  sequence_is(d, 0, "27 20 18 4 17 32 0 0 18 18 8 18 19 0 13 19 32 | 1 28");
  etk_dataset_free(d);
  options.chat_kwargs = "{";
  fails_with(ETK_E_FORMAT, "kwargs:1:1", etk_dataset_open(e, &d,
                                                          file_with(state, "bad.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}]}"), &options));
  etk_chat_format_free(format);
}

static void the_end_is_not_added_for_evaluation(void **state) {
  etk_dataset_options options = options_of(false);
  etk_dataset *d = open_text(state, "eval.jsonl", "{\"text\":\"abc\"}\n{\"prompt\":\"x\",\"completion\":\"y\"}", &options);
  sequence_is(d, 0, "27 26 2");
  sequence_is(d, 1, "27 23 | 24");
  etk_dataset_free(d);
}

static void blank_lines_crlf_and_a_byte_order_mark_are_accepted(void **state) {
  etk_dataset_options options = options_of(false);
  etk_dataset *d = open_text(state, "dos.jsonl", "\xef\xbb\xbf\r\n{\"text\":\"a\"}\r\n   \n\n{\"text\":\"b\"}\r\n", &options);
  assert_int_equal(etk_dataset_count(d), 2);
  sequence_is(d, 1, "27 1");
  etk_dataset_free(d);
}

static void a_json_list_is_the_same_as_lines(void **state) {
  etk_dataset_options options = options_of(false);
  etk_dataset *d = open_text(state, "list.json", " [{\"text\":\"a\"},\n {\"ids\":[1,2]}]", &options);
  assert_int_equal(etk_dataset_count(d), 2);
  etk_dataset_free(d);
  fails_with(ETK_E_FORMAT, "list.json, record 2: found \"texxt\"",
             etk_dataset_open(e, &d, file_with(state, "list.json", "[{\"text\":\"a\"},{\"texxt\":\"a\"}]"), &options));
  fails_with(ETK_E_FORMAT, "list.json:2: not valid JSON", etk_dataset_open(e, &d, file_with(state, "list.json", "[{\"text\":\"a\"},\n"), &options));
}

static void plain_text_is_cut_into_windows(void **state) {
  etk_dataset_options options = options_of(true);
  options.max_tokens = 4;
  etk_dataset *d = open_text(state, "book.txt", "cdefghij", &options);
  assert_int_equal(etk_dataset_count(d), 3);
  sequence_is(d, 0, "27 2 3 4");
  sequence_is(d, 1, "5 6 7 8");
  sequence_is(d, 2, "9 28");
  assert_int_equal(etk_dataset_get_stats(d).scored, 7); /* the first of each window is not */
  etk_dataset_free(d);
  d = open_text(state, "book.txt", "cdefghijklm", &options); /* 13 tokens: the last would stand alone */
  assert_int_equal(etk_dataset_count(d), 3);
  etk_dataset_free(d);
}

static void long_sequences_are_cut_and_counted(void **state) {
  etk_dataset_options options = options_of(true);
  options.max_tokens = 4;
  etk_dataset *d = open_text(state, "long.jsonl", "{\"text\":\"cdefgh\"}\n{\"text\":\"cd\"}\n{\"prompt\":\"cdefgh\",\"completion\":\"i\"}", &options);
  sequence_is(d, 0, "27 2 3 4");
  sequence_is(d, 1, "27 2 3 28");
  etk_dataset_stats stats = etk_dataset_get_stats(d);
  assert_int_equal(stats.truncated, 2);
  assert_int_equal(stats.tokens, 12);
  assert_int_equal(stats.scored, 6); /* the prompt fills the third */
  assert_int_equal(etk_dataset_at(d, 2).masked, 4);
  etk_dataset_free(d);
}

static void line_refused(void **state, etk_status status, const char *part, const char *line) {
  etk_dataset_options options = options_of(true);
  etk_dataset *d = (void *)1;
  char *path = file_with(state, "bad.jsonl", path_of("{\"text\":\"fine\"}\n\n%s\n{\"text\":\"fine\"}\n", line));
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_dataset_open(&e, &d, path, &options), status);
  assert_null(d);
  if (!strstr(e.message, "bad.jsonl:3: ") || !strstr(e.message, part)) fail_msg("%s", e.message);
}

static void a_broken_line_is_named_by_file_and_line(void **state) {
  line_refused(state, ETK_E_FORMAT, "not valid JSON: ", "{\"text\":\"a\"");
  line_refused(state, ETK_E_FORMAT, "not valid JSON: ", "{\"text\":\"a\"}}");
  line_refused(state, ETK_E_FORMAT, "not valid JSON: ", "{\"text\":\"\xff\"}");
  line_refused(state, ETK_E_FORMAT, "a JSON object is wanted", "[1]");
  line_refused(state, ETK_E_FORMAT, "found \"Text\", \"prompt\"; wanted \"text\", or \"prompt\" and \"completion\"",
               "{\"Text\":\"a\",\"prompt\":\"b\"}");
  line_refused(state, ETK_E_FORMAT, "found no keys at all", "{}");
  line_refused(state, ETK_E_FORMAT, "\"text\" must be a text", "{\"text\":7}");
  line_refused(state, ETK_E_FORMAT, "\"completion\" must be a text", "{\"prompt\":\"a\",\"completion\":null}");
  line_refused(state, ETK_E_FORMAT, "\"messages\" must be a list", "{\"messages\":{}}");
  line_refused(state, ETK_E_FORMAT, "every entry of \"messages\"", "{\"messages\":[1]}");
  line_refused(state, ETK_E_FORMAT, "\"content\" must be a text", "{\"messages\":[{\"role\":\"assistant\"}]}");
  line_refused(state, ETK_E_FORMAT, "\"conversations\" must be a list", "{\"conversations\":1}");
  line_refused(state, ETK_E_FORMAT, "from \"narrator\"", "{\"conversations\":[{\"from\":\"narrator\",\"value\":\"a\"}]}");
  line_refused(state, ETK_E_FORMAT, "no message of the role \"assistant\"", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
  line_refused(state, ETK_E_INVALID, "token id 34 (position 1) is outside the model's vocabulary of 34 entries", "{\"ids\":[1,34]}");
  line_refused(state, ETK_E_INVALID, "token id -1 (position 0)", "{\"ids\":[-1]}");
  line_refused(state, ETK_E_FORMAT, "entry 0 of \"ids\" is not a whole number", "{\"ids\":[1.5]}");
  line_refused(state, ETK_E_FORMAT, "\"ids\" must be a list", "{\"ids\":\"1\"}");
}

static void files_without_sequences_are_refused(void **state) {
  etk_dataset_options options = options_of(false);
  etk_dataset *d;
  fails_with(ETK_E_FORMAT, "empty.jsonl: the file is empty", etk_dataset_open(e, &d, file_with(state, "empty.jsonl", ""), &options));
  fails_with(ETK_E_FORMAT, "the file is empty", etk_dataset_open(e, &d, file_with(state, "empty.jsonl", "\n \r\n"), &options));
  fails_with(ETK_E_FORMAT, "no sequence in it has the two tokens",
             etk_dataset_open(e, &d, file_with(state, "short.jsonl", "{\"text\":\"\"}\n{\"ids\":[1]}"), &options));
  fails_with(ETK_E_FORMAT, "byte 0xff at offset 3 is not UTF-8", etk_dataset_open(e, &d, file_with(state, "binary.bin", "abc\xff"), &options));
  fails_with(ETK_E_NOT_FOUND, "nowhere.jsonl", etk_dataset_open(e, &d, path_of("%s/nowhere.jsonl", (const char *)*state), &options));
  options.max_tokens = 1;
  fails_with(ETK_E_INVALID, "at least 2 are needed", etk_dataset_open(e, &d, file_with(state, "a.txt", "abc"), &options));
}

static void text_without_a_tokenizer_says_so_and_ids_work(void **state) {
  etk_dataset_options options = {.vocabulary_size = 10};
  etk_dataset *d = open_text(state, "ids.jsonl", "{\"ids\":[1,2,9]}", &options);
  sequence_is(d, 0, "1 2 9");
  etk_dataset_free(d);
  fails_with(ETK_E_INVALID, "t.jsonl:1: this is text, and the model came without a tokenizer",
             etk_dataset_open(e, &d, file_with(state, "t.jsonl", "{\"text\":\"a\"}"), &options));
}

static void ids_of_a_tokenizer_too_large_for_the_model_are_named(void **state) {
  etk_dataset_options options = options_of(false);
  options.vocabulary_size = 20;
  etk_dataset *d;
  fails_with(ETK_E_INVALID, "t.jsonl:1: token id 27 (position 0)",
             etk_dataset_open(e, &d, file_with(state, "t.jsonl", "{\"text\":\"a\"}"), &options));
}

static void a_folder_has_its_splits(void **state) {
  char *folder = fresh_folder(state, "splits");
  etk_dataset_options options = options_of(false);
  etk_dataset *d;
  file_with(state, "splits/train.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}");
  file_with(state, "splits/valid.txt", "abc");
  works(etk_dataset_open(e, &d, folder, &options));
  assert_int_equal(etk_dataset_count(d), 2);
  etk_dataset_free(d);
  works(etk_dataset_open_split(e, &d, folder, "valid", &options));
  sequence_is(d, 0, "27 26 2");
  etk_dataset_free(d);
  fails_with(ETK_E_NOT_FOUND, "has no test.jsonl", etk_dataset_open_split(e, &d, folder, "test", &options));
  fails_with(ETK_E_NOT_FOUND, "its own train split", etk_dataset_open_split(e, &d, path_of("%s/train.jsonl", folder), "valid", &options));
}

/* ---- batches and order --------------------------------------------------------------------------------------------------------------------------- */

static void a_batch_pads_masks_and_shifts(void **state) {
  (void)state;
  static const int32_t a[] = {5, 6, 7, 8}, b[] = {1, 2}, c[] = {9, 8, 7, 6, 5, 4, 3};
  const etk_sequence sequences[] = {{a, 4, 2}, {b, 2, 0}, {c, 7, 0}};
  int32_t ids[20], targets[20];
  memset(ids, 0x55, sizeof ids);
  assert_int_equal(etk_batch_fill(ids, targets, 4, 5, sequences, 3), 2 + 1 + 5);
  static const int32_t wanted_ids[20] = {5, 6, 7, 8, 0, 1, 2, 0, 0, 0, 9, 8, 7, 6, 5};
  static const int32_t wanted_targets[20] = {-1, 7, 8, -1, -1, 2, -1, -1, -1, -1, 8, 7, 6, 5, 4, -1, -1, -1, -1, -1};
  assert_memory_equal(ids, wanted_ids, sizeof ids);
  assert_memory_equal(targets, wanted_targets, sizeof targets);
  assert_int_equal(etk_batch_fill(ids, targets, 1, 3, sequences, 3), 2); /* more sequences than rows, more tokens than columns: 7 and 8 */
}

enum { MANY = 1003, BATCH = 8 };

static etk_dataset *many(void **state, int lengths) {
  etk_text text = ETK_TEXT_INIT;
  for (int i = 0; i < MANY; i++) {
    etk_text_puts(&text, "{\"ids\":[1");
    for (int j = 0; j <= i * 37 % lengths; j++) etk_text_puts(&text, ",2");
    etk_text_puts(&text, "]}\n");
  }
  etk_dataset_options options = {.vocabulary_size = 10};
  etk_dataset *d;
  char *path = path_of("%s/many.jsonl", (const char *)*state);
  write_file(path, text.data, text.size);
  etk_text_free(&text);
  works(etk_dataset_open(e, &d, path, &options));
  assert_int_equal(etk_dataset_count(d), MANY);
  return d;
}

static void is_a_permutation(const size_t *order) {
  bool seen[MANY] = {false};
  for (size_t i = 0; i < MANY; i++) {
    assert_true(order[i] < MANY && !seen[order[i]]);
    seen[order[i]] = true;
  }
}

static void an_epoch_visits_each_sequence_once_in_an_order_of_its_own(void **state) {
  etk_dataset *d = many(state, 50);
  size_t first[MANY], again[MANY], second[MANY], other[MANY];
  etk_dataset_order(d, first, BATCH, 7, 0);
  etk_dataset_order(d, again, BATCH, 7, 0);
  etk_dataset_order(d, second, BATCH, 7, 1);
  etk_dataset_order(d, other, BATCH, 8, 0);
  is_a_permutation(first);
  is_a_permutation(second);
  assert_memory_equal(first, again, sizeof first);
  assert_memory_not_equal(first, second, sizeof first);
  assert_memory_not_equal(first, other, sizeof first);
  etk_dataset_free(d);
}

static void batches_hold_sequences_of_like_length(void **state) {
  etk_dataset *d = many(state, 50);
  size_t order[MANY];
  etk_dataset_order(d, order, BATCH, 7, 0);
  int64_t padding = 0, tokens = etk_dataset_get_stats(d).tokens;
  for (size_t at = 0; at < MANY; at += BATCH) {
    int32_t longest = 0, sum = 0, n = 0;
    for (size_t i = at; i < MANY && i < at + BATCH; i++, n++) {
      int32_t count = etk_dataset_at(d, order[i]).count;
      sum += count;
      longest = count > longest ? count : longest;
    }
    padding += (int64_t)longest * n - sum;
  }
  /* Lengths are uniform on 2..51: sorted chunks of 16 batches leave steps of about 50/16 within a batch, half of it padding on average; random
   * batches of 8 would pad by about 50 * (8/9 - 1/2), twelve times as much. */
  assert_true(padding < tokens / 12);
  etk_dataset_free(d);
}

static void equal_lengths_stay_shuffled(void **state) {
  etk_dataset *d = many(state, 1);
  size_t order[MANY], neighbours = 0;
  etk_dataset_order(d, order, BATCH, 7, 0);
  is_a_permutation(order);
  for (size_t i = 1; i < MANY; i++) neighbours += order[i] == order[i - 1] + 1;
  assert_true(neighbours < 10); /* about 1 is expected; the file's order would give 1002 */
  size_t rises = 0;
  for (size_t i = 1; i < MANY; i++) rises += order[i] > order[i - 1];
  assert_in_range(rises, 430, 572); /* half of 1002, by more than 4 standard deviations (sqrt(1003/12) = 9) */
  etk_dataset_free(d);
}

static void a_last_batch_that_is_not_full_stays_last(void **state) {
  etk_dataset *d = many(state, 50);
  size_t order[MANY];
  etk_dataset_order(d, order, BATCH, 3, 0);
  for (size_t at = 0; at + BATCH <= MANY; at += BATCH)
    for (size_t i = at + 1; i < at + BATCH; i++) assert_true(etk_dataset_at(d, order[i - 1]).count <= etk_dataset_at(d, order[i]).count);
  etk_dataset_free(d);
}

static void a_split_shares_and_outlives(void **state) {
  etk_dataset *d = many(state, 50), *held, *again, *other;
  int64_t tokens = etk_dataset_get_stats(d).tokens;
  works(etk_dataset_split_off(e, d, &held, 100, 1));
  assert_int_equal(etk_dataset_count(d), MANY - 100);
  assert_int_equal(etk_dataset_count(held), 100);
  assert_int_equal(etk_dataset_get_stats(d).tokens + etk_dataset_get_stats(held).tokens, tokens);
  other = many(state, 50);
  works(etk_dataset_split_off(e, other, &again, 100, 1));
  for (size_t i = 0; i < 100; i++) assert_int_equal(etk_dataset_at(held, i).count, etk_dataset_at(again, i).count);
  etk_dataset_free(again);
  etk_dataset_free(other);
  fails_with(ETK_E_INVALID, "cannot hold out 903 of 903", etk_dataset_split_off(e, d, &again, 903, 1));
  etk_dataset_free(d);
  assert_int_equal(etk_dataset_at(held, 99).ids[0], 1);
  etk_dataset_free(held);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  etk_dataset_options options = options_of(true);
  char *path = file_with(
      state, "failing.jsonl",
      "{\"text\":\"abc\"}\n{\"instruction\":\"a\",\"output\":\"b\"}\n{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n{\"ids\":[1,2]}");
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_error e = ETK_ERROR_INIT;
    etk_dataset *d = NULL, *held = NULL;
    etk_status status = etk_dataset_open(&e, &d, path, &options);
    if (!status) status = etk_dataset_split_off(&e, d, &held, 1, 0);
    etk_dataset_free(held);
    etk_dataset_free(d);
    starved(&s, status, &e);
  }
  assert_true(s.nth > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_kind_of_line_is_read),
      cmocka_unit_test(conversations_are_written_by_the_template),
      cmocka_unit_test(the_end_is_not_added_for_evaluation),
      cmocka_unit_test(blank_lines_crlf_and_a_byte_order_mark_are_accepted),
      cmocka_unit_test(a_json_list_is_the_same_as_lines),
      cmocka_unit_test(plain_text_is_cut_into_windows),
      cmocka_unit_test(long_sequences_are_cut_and_counted),
      cmocka_unit_test(a_broken_line_is_named_by_file_and_line),
      cmocka_unit_test(files_without_sequences_are_refused),
      cmocka_unit_test(text_without_a_tokenizer_says_so_and_ids_work),
      cmocka_unit_test(ids_of_a_tokenizer_too_large_for_the_model_are_named),
      cmocka_unit_test(a_folder_has_its_splits),
      cmocka_unit_test(a_batch_pads_masks_and_shifts),
      cmocka_unit_test(an_epoch_visits_each_sequence_once_in_an_order_of_its_own),
      cmocka_unit_test(batches_hold_sequences_of_like_length),
      cmocka_unit_test(equal_lengths_stay_shuffled),
      cmocka_unit_test(a_last_batch_that_is_not_full_stays_last),
      cmocka_unit_test(a_split_shares_and_outlives),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_letters, free_letters);
}
