/* Tests of the TOML reader beyond the public cases (suite_toml.c): messages, places, bounds, speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "config_tree.h"
#include "../interpose.h"
#include "etk/hardware.h"

static etk_config *toml(const char *text) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, "t.toml", text, strlen(text), ETK_CONFIG_AUTO)) fail_msg("%s", e.message);
  return config;
}

static void a_toml_name_is_read_as_toml(void **state) {
  (void)state;
  etk_config *config =
      toml("title = 'x'\n[training]\nlearning_rate = 1e-5\nsteps = 1_000\nwhen = 2024-02-29 12:00:00.50Z\n[[layers]]\nn = 0x1F\n[[layers]]\n");
  const etk_config_node *root = etk_config_root(config);
  int64_t steps = 0;
  double rate = 0;
  assert_int_equal(etk_config_get_int(NULL, config, etk_config_child(root, "training"), "steps", &steps), ETK_OK);
  assert_int_equal(etk_config_get_real(NULL, config, etk_config_child(root, "training"), "learning-rate", &rate), ETK_OK);
  assert_int_equal(steps, 1000);
  assert_true(rate == 1e-5);
  assert_int_equal(etk_config_find(root, "layers.0.n")->integer, 31);
  assert_int_equal(etk_config_find(root, "layers")->count, 2);
  const etk_config_node *when = etk_config_find(root, "training.when");
  assert_int_equal(when->kind, ETK_CONFIG_TIME);
  assert_int_equal(when->time, 0);
  assert_string_equal(when->text, "2024-02-29 12:00:00.50Z"); /* as written */
  etk_config_free(config);
}

static void places_are_lines_and_characters(void **state) {
  (void)state;
  etk_config *config = toml("# x\r\n[a.b]\r\n  \"\xC3\xA4\" = [ 1,\r\n   2 ]\r\n[[c]]\nd.e = { f = 'y' }\n");
  const etk_config_node *root = etk_config_root(config);
  static const struct {
    const char *path;
    int key_line, key_column, line, column;
  } rows[] = {{"a", 2, 2, 2, 2},   {"a.b", 2, 4, 2, 4},   {"a.b.\xC3\xA4", 3, 3, 3, 9}, {"a.b.\xC3\xA4.1", 0, 0, 4, 4}, {"c", 5, 3, 5, 3},
              {"c.0", 0, 0, 5, 3}, {"c.0.d", 6, 1, 6, 1}, {"c.0.d.e", 6, 3, 6, 7},      {"c.0.d.e.f", 6, 9, 6, 13}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const etk_config_node *node = etk_config_find(root, rows[i].path);
    assert_non_null(node);
    int seen[] = {node->key_line, node->key_column, node->line, node->column};
    int wanted[] = {rows[i].key_line, rows[i].key_column, rows[i].line, rows[i].column};
    if (memcmp(seen, wanted, sizeof seen) != 0) fail_msg("%s: %d:%d %d:%d", rows[i].path, seen[0], seen[1], seen[2], seen[3]);
  }
  etk_config_free(config);
}

static void messages_say_what_was_seen_and_what_is_wanted(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } rows[] = {
      {"name = hello\n", "t.toml:1:8: 'hello' is not a value: text stands in quotes"},
      {"on = True\n", "t.toml:1:6: 'True' is not a value: true is written small"},
      {"x = None\n", "t.toml:1:5: 'None' is not a value: TOML has no null; leave the key out"},
      {"x: 1\n", "t.toml:1:2: '=' is wanted after a key, found ':'"},
      {"a = 1\n[b]\nc =\n", "t.toml:3:4: a value is wanted (text in quotes, a number, true, false, a date, '[' or '{'), found the end of the line"},
      {"a = 1\nb = 2\na = 3\n", "t.toml:3:1: key 'a' appears twice (first at 1:1)"},
      {"[a.b]\n[a]\n[a.b]\n", "t.toml:3:4: table 'a.b' appears twice (first at 1:4)"},
      {"a.b = 1\n[a]\n", "t.toml:2:2: 'a' cannot get a header: it is a table made by dotted keys already (at 1:1)"},
      {"p = { x = 1,\n y = 2 }\n", "t.toml:1:13: an inline table ('{' at its begin) stands on one line; for more lines use a [header]"},
      {"p = { x = 1, }\n", "t.toml:1:14: a key is wanted after ',' (no ',' before '}'), found '}'"},
      {"n = 012\n", "t.toml:1:5: '012' is not a number: a number does not begin with 0"},
      {"n = .5\n", "t.toml:1:5: '.5' is not a number: a digit is wanted before '.'"},
      {"v = 1.2.3\n", "t.toml:1:5: '1.2.3' is not a number: it has a second '.'; text stands in quotes"},
      {"n = 9223372036854775808\n",
       "t.toml:1:5: '9223372036854775808' is not in range: whole numbers go from -9223372036854775808 to 9223372036854775807"},
      {"n = 1e400\n", "t.toml:1:5: '1e400' is not in range: numbers go to 1.8e308"},
      {"d = 2023-02-29\n", "t.toml:1:5: '2023-02-29' is not a date: February has 29 days only in a leap year"},
      {"d = 07:32\n", "t.toml:1:5: '07:32' is not a time: the seconds are missing; a time is written HH:MM:SS"},
      {"p = \"C:\\models\"\n", "t.toml:1:9: one of b t n f r \" \\ u U is wanted after '\\' ('…' takes backslashes as they are), found 'm'"},
      {"s = \"abc\n", "t.toml:1:5: this string has no closing \" on its line (several lines stand between \"\"\" and \"\"\")"},
      {"a = [1, 2\nb = 3\n", "t.toml:2:1: ',' or ']' is wanted after an item, found 'b'"},
      {"a = [1, 2,\n", "t.toml:1:5: this '[' has no closing ']'"},
      {"\xC3\xA4 = 1\n", "t.toml:1:1: a key of other characters than letters, digits, '_' and '-' stands in quotes, found '\xC3\xA4'"},
      {"a = 1 b = 2\n", "t.toml:1:7: nothing but a comment may follow a value on its line, found 'b'"},
      {"a = \"x\x01\"\n", "t.toml:1:7: control character 0x01; only tabs and line ends may stand in the file (in a string: \\u0001)"},
      {"\xFF\xFE\x61", "t.toml:1:1: this looks like UTF-16; TOML files are UTF-8 text"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_config *config = NULL;
    etk_error e = ETK_ERROR_INIT;
    assert_int_equal(etk_config_parse(&e, &config, "t.toml", rows[i].text, strlen(rows[i].text), ETK_CONFIG_TOML), ETK_E_FORMAT);
    assert_null(config);
    assert_string_equal(e.message, rows[i].message);
  }
}

static void an_implicit_table_may_be_filled_by_dotted_keys_once(void **state) {
  (void)state;
  etk_config *config = toml("[a.b.c]\nz = 9\n[a]\nb.t = 1\n"); /* b has all its keys under [a] */
  assert_int_equal(etk_config_find(etk_config_root(config), "a.b.t")->integer, 1);
  etk_config_free(config);
  assert_int_equal(etk_config_parse(NULL, &config, "t.toml", "[a.b.c]\n[a]\nb.t = 1\n[a.b]\n", 27, ETK_CONFIG_TOML), ETK_E_FORMAT);
}

/* `open` n times, `middle`, `close` n times */
static etk_status nested(const char *begin, const char *open, const char *middle, const char *close, int n) {
  etk_text t = ETK_TEXT_INIT;
  etk_text_puts(&t, begin);
  for (int i = 0; i < n; i++) etk_text_puts(&t, open);
  etk_text_puts(&t, middle);
  for (int i = 0; i < n; i++) etk_text_puts(&t, close);
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_config_parse(&e, &config, "t.toml", t.data, t.size, ETK_CONFIG_TOML);
  if (status == ETK_E_UNSUPPORTED) assert_non_null(strstr(e.message, "deeper than 64"));
  if (config) etk_config_free(config);
  etk_text_free(&t);
  return status;
}

static void nesting_has_a_bound_in_every_spelling(void **state) {
  (void)state;
  for (int n = 62; n <= 66; n++) {
    etk_status wanted = n <= 63 ? ETK_OK : ETK_E_UNSUPPORTED; /* the file is a table too */
    assert_int_equal(nested("x = ", "[", "", "]", n), wanted);
    assert_int_equal(nested("x = ", "{a=", "1", "}", n), wanted);
    assert_int_equal(nested("", "a.", "z = 1", "", n), wanted);
    assert_int_equal(nested("[", "a.", "z]", "", n - 1), wanted);
    assert_int_equal(nested("[[", "a.", "z]]", "", n - 2), wanted);
  }
  assert_int_equal(nested("x = ", "[", "", "]", 100000), ETK_E_UNSUPPORTED);
  assert_int_equal(nested("", "a.", "z = 1", "", 100000), ETK_E_UNSUPPORTED);
}

static void a_million_values_are_the_bound(void **state) {
  (void)state;
  etk_text t = ETK_TEXT_INIT;
  etk_text_puts(&t, "a = [");
  for (int i = 0; i < 1000000; i++) etk_text_puts(&t, "1,");
  etk_text_puts(&t, "]");
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_parse(&e, &config, "t.toml", t.data, t.size, ETK_CONFIG_TOML), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, "1000000"));
  etk_text_free(&t);
}

static int64_t time_of(const etk_text *t) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  int64_t begin = etk_cpu_time_ns();
  if (etk_config_parse(&e, &config, "t.toml", t->data, t->size, ETK_CONFIG_TOML)) fail_msg("%s", e.message);
  int64_t end = etk_cpu_time_ns();
  etk_config_free(config);
  return end - begin;
}

/* Four times the text may not take sixteen times as long. */
static void time_grows_with_the_text_and_not_its_square(void **state) {
  (void)state;
  static const char *const lines[] = {"k%d = 1\n",     "[t%d]\nx = 1\n",      "[[t]]\nx%d = 1\n",
                                      "a.b.c%d = 1\n", "s%d = \"\\u00e4\"\n", "x%d = [[1, {a.b = 2}]]\n"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    int64_t times[2];
    for (int large = 0; large < 2; large++) {
      etk_text t = ETK_TEXT_INIT;
      for (int n = 0; n < (large ? 40000 : 10000); n++) etk_text_printf(&t, lines[i], n);
      times[large] = time_of(&t);
      etk_text_free(&t);
    }
    if (times[1] > 12 * times[0] + 20000000) fail_msg("%s: %lld ns, then %lld ns", lines[i], (long long)times[0], (long long)times[1]);
  }
  etk_text one = ETK_TEXT_INIT; /* all on one line */
  etk_text_puts(&one, "a = [");
  for (int n = 0; n < 300000; n++) etk_text_puts(&one, "{b=1},");
  etk_text_puts(&one, "]");
  assert_true(time_of(&one) < INT64_C(5000000000));
  etk_text_free(&one);
}

static bool parse_sample(void *user) {
  static const char text[] =
      "a = \"x\\ty\"\nb = '''l\nm'''\nc = [1, 2.5, true, { d.e = 1979-05-27 }]\n[t.u]\nlong_number = 1_000\n[[v]]\n\"w\\u00e4\" = 1\n[[v]]\n";
  (void)user;
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_config_parse(&e, &config, "t.toml", text, sizeof text - 1, ETK_CONFIG_TOML);
  if (status && status != ETK_E_NO_MEMORY) fail_msg("%s", e.message);
  etk_config_free(config);
  return status == ETK_OK;
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  long swept = interpose_sweep(parse_sample, NULL);
  if (swept < 4) fail_msg("%ld", swept);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_toml_name_is_read_as_toml),
      cmocka_unit_test(places_are_lines_and_characters),
      cmocka_unit_test(messages_say_what_was_seen_and_what_is_wanted),
      cmocka_unit_test(an_implicit_table_may_be_filled_by_dotted_keys_once),
      cmocka_unit_test(nesting_has_a_bound_in_every_spelling),
      cmocka_unit_test(a_million_values_are_the_bound),
      cmocka_unit_test(time_grows_with_the_text_and_not_its_square),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
