/* Tables for a person, and results as tables and JSON. */
#include "host.h"
#include "results.h"

#include "../interpose.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char printed[4096];

static const char *print(const char *const (*rows)[3], size_t count, int width) {
  static const char *const headers[] = {"NAME", "N", "NOTE"};
  struct table *table = table_new(headers, 3);
  FILE *stream = fmemopen(printed, sizeof printed, "w");
  for (size_t i = 0; i < count; i++) table_add(table, rows[i]);
  table_print(table, stream, false, width);
  fclose(stream);
  table_free(table);
  return printed;
}

static void numbers_go_right_and_words_left(void **state) {
  static const char *const rows[][3] = {{"a", "5", "x"}, {"long name", "1234", "y"}};
  (void)state;
  assert_string_equal(print(rows, 2, 0), "NAME          N  NOTE\n"
                                         "a             5  x\n"
                                         "long name  1234  y\n");
}

static void columns_align_by_what_is_seen(void **state) {
  static const char *const rows[][3] = {{"Zürich", "1", "-"}, {"日本", "2", NULL}, {"abc", "3", "e"}};
  (void)state;
  assert_string_equal(print(rows, 3, 0), "NAME    N  NOTE\n"
                                         "Zürich  1  -\n"
                                         "日本    2  \n"
                                         "abc     3  e\n");
}

static void the_widest_column_is_cut_to_fit(void **state) {
  static const char *const rows[][3] = {{"a", "5", "a very long note that does not fit on this terminal"}};
  (void)state;
  const char *text = print(rows, 1, 30);
  assert_non_null(strstr(text, "…\n"));
  for (const char *line = text; *line;) {
    size_t size = strcspn(line, "\n");
    assert_true(etk_utf8_width(line, size) <= 30);
    line += size + 1;
  }
}

static void a_terminal_too_narrow_for_columns_gets_every_value_whole(void **state) {
  static const char *const rows[][3] = {{"20260101T000000Z-aaaaaa", "5", "words that are folded at blanks"}, {"20260101T000000Z-bbbbbb", "", "日本日本日本日本日本"}};
  (void)state;
  assert_string_equal(print(rows, 2, 20), "NAME  20260101T00000\n"
                                          "      0Z-aaaaaa\n"
                                          "N     5\n"
                                          "NOTE  words that \n"
                                          "      are folded at \n"
                                          "      blanks\n"
                                          "\n"
                                          "NAME  20260101T00000\n"
                                          "      0Z-bbbbbb\n"
                                          "NOTE  日本日本日本日\n"
                                          "      本日本\n");
  static const char *const narrow[][3] = {{"20260101-ab", "5", NULL}};
  assert_string_equal(print(narrow, 1, 6), "NAME\n  2026\n  0101\n  -ab\nN\n  5\n");
}

static void a_cell_is_one_line(void **state) {
  static const char *const rows[][3] = {{"a", "5", "first\nsecond"}};
  (void)state;
  assert_null(strstr(print(rows, 1, 0), "second"));
}

/* ESC moves the cursor, 0x9b does so in a terminal of eight bits, and U+009B in one of UTF-8; letters beyond ASCII stay. */
static void control_characters_are_shown_and_not_sent(void **state) {
  static const char *const rows[][3] = {{"a\033[2Jb", "5", "\302\233 \233 \177 \303\251 \360\237\231\202"}};
  (void)state;
  const char *shown = print(rows, 1, 0);
  assert_non_null(strstr(shown, "a\\x1b[2Jb"));
  assert_non_null(strstr(shown, "\\u009b \\x9b \\x7f \303\251 \360\237\231\202"));
  assert_null(strchr(shown, '\033'));
}

static FILE *devnull;

static bool print_once(void *user) {
  static const char *const rows[][3] = {{"a", "5", "x"}};
  (void)user;
  static const char *const headers[] = {"NAME", "N", "NOTE"};
  struct table *table = table_new(headers, 3);
  for (size_t i = 0; i < 40; i++) table_add(table, rows[0]);
  table_print(table, devnull, false, 10);
  table_free(table);
  struct results results = {0};
  etk_text out = ETK_TEXT_INIT;
  etk_cell cells[] = {etk_cell_text("name", "a"), etk_cell_real("share", 0.5)}, cell = etk_cell_int("n", 1);
  bool fine = table && !results_set(NULL, &results, &cell) && !results_add_row(NULL, &results, "t", cells, 2) &&
              !results_set_json(NULL, &results, "j", "{\"a\": [1]}");
  results_json(&out, &results);
  fine = fine && !out.failed && !strcmp(out.data, "{\"n\":1,\"t\":[{\"name\":\"a\",\"share\":0.5}],\"j\":{\"a\":[1]}}");
  etk_text_free(&out);
  results_free(&results);
  return fine;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  devnull = fopen("/dev/null", "w");
  assert_non_null(devnull);
  assert_true(interpose_sweep(print_once, NULL) > 0);
  fclose(devnull);
}

static void a_result_given_twice_keeps_the_last(void **state) {
  struct results results = {0};
  etk_text out = ETK_TEXT_INIT;
  etk_cell first = etk_cell_int("a", 1), second = etk_cell_text("a", "two"), row = etk_cell_flag("x", true), nan_cell = etk_cell_real("b", NAN);
  (void)state;
  assert_int_equal(results_set(NULL, &results, &first), ETK_OK);
  assert_int_equal(results_set(NULL, &results, &nan_cell), ETK_OK);
  assert_int_equal(results_add_row(NULL, &results, "c", &row, 1), ETK_OK);
  assert_int_equal(results_set(NULL, &results, &second), ETK_OK);
  etk_cell value = etk_cell_text("c", NULL);
  assert_int_equal(results_set(NULL, &results, &value), ETK_OK); /* a table becomes a value */
  results_json(&out, &results);
  assert_string_equal(out.data, "{\"a\":\"two\",\"b\":null,\"c\":null}");
  etk_text_free(&out);
  results_free(&results);
}

static void json_results_are_checked_and_kept_on_one_line(void **state) {
  struct results results = {0};
  etk_text out = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  (void)state;
  assert_int_equal(results_set_json(&e, &results, "a", "{\n \"x y\" : [ 1.50, \"a \\\" b\" ] }"), ETK_OK);
  assert_int_equal(results_set_json(&e, &results, "b", "{\"a\":"), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "'b' is not JSON"));
  assert_int_equal(results_set_json(&e, &results, "b", NULL), ETK_E_INVALID);
  assert_int_equal(results_set_json(&e, &results, "b", "{} {}"), ETK_E_INVALID);
  results_json(&out, &results);
  assert_string_equal(out.data, "{\"a\":{\"x y\":[1.50,\"a \\\" b\"]}}");
  etk_text_free(&out);
  results_free(&results);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_go_right_and_words_left), cmocka_unit_test(columns_align_by_what_is_seen),
                                     cmocka_unit_test(the_widest_column_is_cut_to_fit), cmocka_unit_test(a_cell_is_one_line), cmocka_unit_test(control_characters_are_shown_and_not_sent), cmocka_unit_test(a_terminal_too_narrow_for_columns_gets_every_value_whole),
                                     cmocka_unit_test(every_allocation_may_fail),       cmocka_unit_test(a_result_given_twice_keeps_the_last),
                                     cmocka_unit_test(json_results_are_checked_and_kept_on_one_line)};
  return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
