/* Tests of etk/config.h: reading YAML and JSON, finding, typed reads. TOML, writing and changing have files of their own; the public suites too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../starve.h"
#include "etk/config.h"
#include "etk/fs.h"
#include "etk/hardware.h"
#include <math.h>
#include <unistd.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static etk_config *yaml(const char *text) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, "t.yaml", text, strlen(text), ETK_CONFIG_AUTO)) fail_msg("%s", e.message);
  return config;
}

/* The JSON of what `text` parses to must be `wanted`. */
static void becomes(const char *name, const char *text, const char *wanted) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, name, text, strlen(text), ETK_CONFIG_AUTO)) fail_msg("%s", e.message);
  etk_text json = ETK_TEXT_INIT;
  etk_config_write_json(&json, etk_config_root(config), 0);
  assert_string_equal(json.data, wanted);
  etk_text_free(&json);
  etk_config_free(config);
}

static void refused(const char *name, const char *text, etk_status status, const char *begin, const char *part) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_status seen = etk_config_parse(&e, &config, name, text, strlen(text), ETK_CONFIG_AUTO);
  assert_null(config);
  if (strncmp(e.message, begin, strlen(begin)) != 0 || !strstr(e.message, part)) fail_msg("message '%s', wanted '%s … %s'", e.message, begin, part);
  assert_int_equal(seen, status);
}

static void plain_scalars_follow_the_core_schema(void **state) {
  (void)state;
  becomes("t.yaml", "[null, Null, NULL, ~, ]", "[null, null, null, null]");
  becomes("t.yaml", "[true, True, TRUE, false, False, FALSE]", "[true, true, true, false, false, false]");
  becomes("t.yaml", "[yes, no, on, off, y, n, tRUE, NO]", "[\"yes\", \"no\", \"on\", \"off\", \"y\", \"n\", \"tRUE\", \"NO\"]");
  becomes("t.yaml", "[0, -1, +12, 012, 0x1F, 0o17, -0]", "[0, -1, 12, 12, 31, 15, 0]");
  becomes("t.yaml", "[1e-5, 1., .5, -1.5E+3, 1e3]", "[1e-5, 1, 0.5, -1500, 1000]");
  becomes("t.yaml", "[1_000, 0x, 0o8, 1e, ., -, +, 1:30, 2024-01-01, 0b1, -0x1, 1.2.3]",
          "[\"1_000\", \"0x\", \"0o8\", \"1e\", \".\", \"-\", \"+\", \"1:30\", \"2024-01-01\", \"0b1\", \"-0x1\", \"1.2.3\"]");
  becomes("t.yaml", "['1', \"true\", 'null', \"\"]", "[\"1\", \"true\", \"null\", \"\"]");
  becomes("t.yaml", "a: |\n  1\nb: >-\n  x\n  y\n", "{\"a\": \"1\\n\", \"b\": \"x y\"}");
  etk_config *config = yaml("[.inf, -.INF, +.Inf, .nan, 99999999999999999999, 0xFFFFFFFFFFFFFFFF]");
  const etk_config_node *n = etk_config_root(config)->first;
  assert_true(n->kind == ETK_CONFIG_REAL && isinf(n->real) && n->real > 0);
  n = n->next;
  assert_true(isinf(n->real) && n->real < 0);
  n = n->next;
  assert_true(isinf(n->real) && n->real > 0);
  n = n->next;
  assert_true(n->kind == ETK_CONFIG_REAL && isnan(n->real));
  n = n->next;
  assert_true(n->kind == ETK_CONFIG_REAL && n->real == 1e20);
  assert_string_equal(n->text, "99999999999999999999");
  n = n->next;
  assert_true(n->kind == ETK_CONFIG_REAL && n->real == 0x1p64);
  etk_config_free(config);
  refused("t.yaml", "a: 1e999", ETK_E_FORMAT, "t.yaml:1:4: ", "too large");
}

static void tags_decide_the_kind(void **state) {
  (void)state;
  becomes("t.yaml", "[!!str 1, !!int '7', !!float 2, !!bool true, !!null '', !!seq [], !!map {}, ! 5]", "[\"1\", 7, 2, true, null, [], {}, \"5\"]");
  refused("t.yaml", "a: !!int x", ETK_E_FORMAT, "t.yaml:1:4: ", "!!int");
  refused("t.yaml", "a: !!seq {}", ETK_E_FORMAT, "t.yaml:1:4: ", "!!seq");
  refused("t.yaml", "a:\n  - !env HOME", ETK_E_UNSUPPORTED, "t.yaml:2:5: ", "!env");
  refused("t.yaml", "a: !!timestamp 2001-01-01", ETK_E_UNSUPPORTED, "t.yaml:1:4: ", "timestamp");
}

static void every_value_knows_where_it_stands(void **state) {
  (void)state;
  static const char text[] = "model: x\ntraining:\n  epochs: 3\n  \"\xC3\xA4\": [1,\n    two]\n";
  etk_config *config = yaml(text);
  const etk_config_node *root = etk_config_root(config), *node = etk_config_find(root, "training.epochs");
  assert_int_equal(node->line, 3);
  assert_int_equal(node->column, 11);
  node = etk_config_find(root, "training.\xC3\xA4.1");
  assert_string_equal(node->text, "two");
  assert_int_equal(node->line, 5);
  assert_int_equal(node->column, 5);
  etk_config_free(config);
  static const char json[] = "{\"a\": 1,\n \"\xC3\xA4\xF0\x9F\x98\x80\": [null,\n\ttrue]}";
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_parse(&e, &config, "x", json, strlen(json), ETK_CONFIG_JSON), ETK_OK);
  root = etk_config_root(config);
  assert_int_equal(root->first->column, 7);
  node = root->first->next;
  assert_int_equal(node->line, 2);
  assert_int_equal(node->column, 8); /* columns are characters */
  assert_int_equal(node->first->next->line, 3);
  assert_int_equal(node->first->next->column, 2);
  assert_string_equal(etk_config_name(config), "x");
  etk_config_free(config);
}

static void a_key_may_not_come_twice(void **state) {
  (void)state;
  refused("t.yaml", "a: 1\nb: 2\n  \na: 3\n", ETK_E_FORMAT, "t.yaml:4:1: ", "'a' appears twice (first at 1:1)");
  refused("t.yaml", "x: {a: 1, 'a': 2}", ETK_E_FORMAT, "t.yaml:1:11: ", "'a'");
  refused("t.json", "{\"k\": 1, \"\\u006b\": 2}", ETK_E_FORMAT, "t.json:1:10: ", "'k' appears twice (first at 1:2)");
  becomes("t.json", "{\"a-b\": 1, \"a_b\": 2, \"a\\u0000b\": 3, \"a\": 4}", "{\"a-b\": 1, \"a_b\": 2, \"a\\u0000b\": 3, \"a\": 4}");
  etk_text big = ETK_TEXT_INIT;
  for (int i = 0; i < 5000; i++) etk_text_printf(&big, "key%d: %d\n", i, i);
  etk_config *config = yaml(big.data);
  assert_int_equal(etk_config_root(config)->count, 5000);
  etk_config_free(config);
  etk_text_puts(&big, "key4321: x\n");
  refused("t.yaml", big.data, ETK_E_FORMAT, "t.yaml:5001:1: ", "'key4321' appears twice (first at 4322:1)");
  etk_text_free(&big);
}

static void aliases_are_copies_that_share(void **state) {
  (void)state;
  becomes("t.yaml", "a: &x {p: 1}\nb: *x\nc: [*x, *x]\n&k d: *k\n",
          "{\"a\": {\"p\": 1}, \"b\": {\"p\": 1}, \"c\": [{\"p\": 1}, {\"p\": 1}], \"d\": \"d\"}");
}

static void alias_keys_count_as_keys(void **state) {
  (void)state;
  refused("t.yaml", "&k d: 1\n*k : 2\n", ETK_E_FORMAT, "t.yaml:2:1: ", "'d' appears twice");
  becomes("t.yaml", "a: &k d\n*k : 2\n", "{\"a\": \"d\", \"d\": 2}");
  becomes("t.yaml", "a: &x 1\nb: &x 2\nc: *x\n", "{\"a\": 1, \"b\": 2, \"c\": 2}");
  refused("t.yaml", "a: *nobody", ETK_E_FORMAT, "t.yaml:1:4: ", "nobody");
  refused("t.yaml", "a: &x [1, *x]", ETK_E_FORMAT, "t.yaml:1:11: ", "inside");
  refused("t.yaml", "a: &x [1]\n*x : 2", ETK_E_UNSUPPORTED, "t.yaml:2:1: ", "key");
}

static void a_billion_laughs_fail_fast(void **state) {
  (void)state;
  etk_text bomb = ETK_TEXT_INIT;
  etk_text_puts(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
  for (int i = 1; i < 40; i++) {
    etk_text_printf(&bomb, "a%d: &a%d [", i, i);
    for (int j = 0; j < 10; j++) etk_text_printf(&bomb, "%s*a%d", j ? "," : "", i - 1);
    etk_text_puts(&bomb, "]\n");
  }
  int64_t begin = etk_cpu_time_ns();
  uint64_t calls = etk_alloc_get_stats().calls;
  refused("t.yaml", bomb.data, ETK_E_UNSUPPORTED, "t.yaml:6:", "1000000");
  assert_true(etk_alloc_get_stats().calls - calls < 100);       /* nothing was expanded */
  assert_true(etk_cpu_time_ns() - begin < INT64_C(1000000000)); /* microseconds; a second leaves room for sanitizers */
  etk_text_free(&bomb);
  etk_text deep = ETK_TEXT_INIT; /* each alias one level deeper than the last: 70 levels by 70 short lines */
  etk_text_puts(&deep, "- &a0 [x]\n");
  for (int i = 1; i < 70; i++) etk_text_printf(&deep, "- &a%d [*a%d]\n", i, i - 1);
  refused("t.yaml", deep.data, ETK_E_UNSUPPORTED, "t.yaml:", "deeper than 64");
  etk_text_free(&deep);
}

static void nesting_and_size_have_bounds(void **state) {
  (void)state;
  for (int json = 0; json < 2; json++) {
    for (int depth = 63; depth <= 66; depth++) {
      etk_text t = ETK_TEXT_INIT;
      for (int i = 0; i < depth; i++) etk_text_putc(&t, '[');
      for (int i = 0; i < depth; i++) etk_text_putc(&t, ']');
      etk_config *config = NULL;
      etk_status status = etk_config_parse(NULL, &config, json ? "x.json" : "x.yaml", t.data, t.size, ETK_CONFIG_AUTO);
      assert_int_equal(status, depth <= 64 ? ETK_OK : ETK_E_UNSUPPORTED);
      etk_config_free(status ? NULL : config);
      etk_text_free(&t);
    }
  }
  etk_config *config = NULL;
  char *large = etk_alloc((16 << 20) + 1);
  memset(large, ' ', (16 << 20) + 1);
  assert_int_equal(etk_config_parse(NULL, &config, "x.json", large, (16 << 20) + 1, ETK_CONFIG_AUTO), ETK_E_UNSUPPORTED);
  large[0] = '[';
  for (size_t i = 1; i + 1 < 3 << 20; i += 2) memcpy(large + i, "1,", 2);
  assert_int_equal(etk_config_parse(NULL, &config, "x.json", large, 3 << 20, ETK_CONFIG_AUTO), ETK_E_UNSUPPORTED);
  etk_free(large);
}

static void what_yaml_has_and_we_have_not_is_said(void **state) {
  (void)state;
  refused("t.yaml", "a: &x {p: 1}\nb:\n  <<: *x\n", ETK_E_UNSUPPORTED, "t.yaml:3:3: ", "merge keys");
  becomes("t.yaml", "'<<': 1\nb: <<\n", "{\"<<\": 1, \"b\": \"<<\"}");
  refused("t.yaml", "a: 1\n---\nb: 2\n", ETK_E_UNSUPPORTED, "t.yaml:2:1: ", "second document");
  refused("t.yaml", "? [a, b]\n: 1\n", ETK_E_UNSUPPORTED, "t.yaml:1:3: ", "key");
  refused("t.yaml", "a: 1\n?\n: 2\n", ETK_E_UNSUPPORTED, "t.yaml:2:", "a key is missing");
  becomes("t.yaml", "\"\": 1\n", "{\"\": 1}");
  refused("t.yaml", "a: [1, 2\nb: 3\n", ETK_E_FORMAT, "t.yaml:2:", "");
  refused("t.yaml", "a: b: c\n", ETK_E_FORMAT, "t.yaml:1:", "mapping values");
  refused("t.yaml", "a:\n\t- b\n", ETK_E_FORMAT, "t.yaml:2:1: ", "");
  refused("t.yaml", "ok: 1\nbad: \xFF\n", ETK_E_FORMAT, "t.yaml:2:6: ", "UTF-8");
}

static void an_empty_file_is_an_empty_map(void **state) {
  (void)state;
  becomes("t.yaml", "", "{}");
  becomes("t.yaml", "# nothing\n", "{}");
  becomes("t.yaml", "---\n", "{}");
  refused("t.json", "", ETK_E_FORMAT, "t.json:1:1: ", "end of the text");
}

static void json_errors_say_where_and_what(void **state) {
  (void)state;
  refused("t.json", "{\"a\": 1,}", ETK_E_FORMAT, "t.json:1:9: ", "found '}'");
  refused("t.json", "{\"a\" 1}", ETK_E_FORMAT, "t.json:1:6: ", "':' is wanted");
  refused("t.json", "[1,\n  nul]", ETK_E_FORMAT, "t.json:2:3: ", "value is wanted");
  refused("t.json", "[1] x", ETK_E_FORMAT, "t.json:1:5: ", "found 'x'");
  refused("t.json", "[01]", ETK_E_FORMAT, "t.json:1:2: ", "begin with 0");
  refused("t.json", "[\"\\ud83d\"]", ETK_E_FORMAT, "t.json:1:3: ", "surrogate");
  refused("t.json", "[\"a\\x\"]", ETK_E_FORMAT, "t.json:1:5: ", "found 'x'");
  refused("t.json", "[\"abc", ETK_E_FORMAT, "t.json:1:2: ", "closing");
  refused("t.json", "[\"a\nb\"]", ETK_E_FORMAT, "t.json:1:4: ", "0x0a");
  refused("t.json", "{'a': 1}", ETK_E_FORMAT, "t.json:1:2: ", "double quotes");
  becomes("t.json", "[\"\\uD83D\\uDE00 \\u00e4\\/\\b\", 1E2, -0.5, 12345678901234567890]",
          "[\"\xF0\x9F\x98\x80 \xC3\xA4/\\b\", 100, -0.5, 1.2345678901234567e19]");
}

static void children_are_found_by_key_and_path(void **state) {
  (void)state;
  etk_config *config = yaml("learning-rate: 1\nlayers:\n  - name: a\n  - name: b\nx_y: exact\nx-y: other\n");
  const etk_config_node *root = etk_config_root(config);
  assert_int_equal(etk_config_child(root, "learning_rate")->integer, 1);
  assert_string_equal(etk_config_child(root, "x-y")->text, "other");
  assert_string_equal(etk_config_child(root, "x_y")->text, "exact");
  assert_string_equal(etk_config_find(root, "layers.1.name")->text, "b");
  assert_ptr_equal(etk_config_find(root, ""), root);
  static const char *const missing[] = {"layers.2.name",   "layers.-1", "layers.",   "layers.x",          "nope",
                                        "learning-rate.x", ".",         "layers.00", "layers.99999999999"};
  for (size_t i = 0; i < COUNT(missing); i++) assert_null(etk_config_find(root, missing[i]));
  assert_null(etk_config_child(NULL, "x"));
  etk_config_free(config);
}

static void typed_reads_name_place_and_kinds(void **state) {
  (void)state;
  etk_config *config = yaml("n: 3\nr: 1e3\nhalf: 0.5\nf: true\nt: hello\nno: no\nnil: ~\nlist: [1]\nnum: 7\n");
  const etk_config_node *root = etk_config_root(config);
  int64_t n = -1;
  double r = -1;
  bool f = false;
  const char *t = "unset";
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_get_int(&e, config, root, "n", &n), ETK_OK);
  assert_int_equal(n, 3);
  assert_int_equal(etk_config_get_int(&e, config, root, "r", &n), ETK_OK);
  assert_int_equal(n, 1000);
  assert_int_equal(etk_config_get_real(&e, config, root, "n", &r), ETK_OK);
  assert_true(r == 3);
  assert_int_equal(etk_config_get_flag(&e, config, root, "f", &f), ETK_OK);
  assert_true(f);
  assert_int_equal(etk_config_get_text(&e, config, root, "t", &t), ETK_OK);
  assert_string_equal(t, "hello");
  n = 5;
  assert_int_equal(etk_config_get_int(&e, config, root, "missing", &n), ETK_OK);
  assert_int_equal(etk_config_get_int(&e, config, root, "nil", &n), ETK_OK);
  assert_int_equal(n, 5);
  assert_int_equal(etk_config_get_int(&e, config, root, "half", &n), ETK_E_INVALID);
  assert_string_equal(e.message, "t.yaml:3:7: 'half' is a number ('0.5'), a whole number is wanted");
  assert_int_equal(etk_config_get_flag(&e, config, root, "no", &f), ETK_E_INVALID);
  assert_string_equal(e.message, "t.yaml:6:5: 'no' is text ('no'), true or false is wanted (in YAML 1.2 yes, no, on and off are text)");
  assert_int_equal(etk_config_get_text(&e, config, root, "num", &t), ETK_E_INVALID);
  assert_string_equal(e.message, "t.yaml:9:6: 'num' is a whole number ('7'), text is wanted (put it in quotes)");
  assert_int_equal(etk_config_get_real(&e, config, root, "list", &r), ETK_E_INVALID);
  assert_string_equal(e.message, "t.yaml:8:7: 'list' is a list, a number is wanted");
  etk_config_free(config);
}

static void json_is_written_on_one_line_or_indented(void **state) {
  (void)state;
  etk_config *config = yaml("{a: [1, {}], b: {c: x}}");
  etk_text t = ETK_TEXT_INIT;
  etk_config_write_json(&t, etk_config_root(config), 2);
  assert_string_equal(t.data, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"x\"\n  }\n}");
  etk_text_free(&t);
  etk_config_free(config);
}

static void files_are_loaded_by_their_ending(void **state) {
  (void)state;
  char folder[] = "/tmp/etk-config-XXXXXX";
  assert_non_null(mkdtemp(folder));
  char *path = etk_path_join(folder, "c.json");
  etk_config *config;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_write(&e, path, "{a: 1}", 6, false), ETK_OK);
  assert_int_equal(etk_config_load(&e, &config, path), ETK_E_FORMAT); /* fine as YAML */
  assert_memory_equal(e.message, path, strlen(path));
  assert_int_equal(etk_fs_write(&e, path, "{\"a\": 1}", 8, true), ETK_OK);
  assert_int_equal(etk_config_load(&e, &config, path), ETK_OK);
  etk_config_free(config);
  assert_int_equal(etk_fs_remove_tree(&e, folder), ETK_OK);
  assert_int_equal(etk_config_load(&e, &config, path), ETK_E_NOT_FOUND);
  assert_non_null(strstr(e.message, path));
  etk_free(path);
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  static const struct {
    const char *name, *text;
  } rows[] = {
      {"t.yaml", "a: &x [1, 2.5, true, ~, text]\nb: {c: *x, d: \"q\\\"\", e: 5, f: 1, g: 1, h: 1, i: 1, j: 1, k: 1, l: 1, m: 1, n: 1, o: 1, p: 1}\n"},
      {"t.json", "{\"a\": [1, 2.5, true, null, \"t\\u00e4xt\"], \"b\": {\"c\": {}}, "
                 "\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"10\":1,\"11\":1,\"12\":1}"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    starvation s = {0};
    while (starve(&s)) {
      etk_config *config = NULL;
      etk_error e = ETK_ERROR_INIT;
      etk_status status = etk_config_parse(&e, &config, rows[i].name, rows[i].text, strlen(rows[i].text), ETK_CONFIG_AUTO);
      if (status) assert_non_null(strstr(e.message, rows[i].name));
      else etk_config_free(config);
      starved(&s, status, &e);
    }
    assert_true(s.nth > 4);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_scalars_follow_the_core_schema),
      cmocka_unit_test(tags_decide_the_kind),
      cmocka_unit_test(every_value_knows_where_it_stands),
      cmocka_unit_test(a_key_may_not_come_twice),
      cmocka_unit_test(aliases_are_copies_that_share),
      cmocka_unit_test(alias_keys_count_as_keys),
      cmocka_unit_test(a_billion_laughs_fail_fast),
      cmocka_unit_test(nesting_and_size_have_bounds),
      cmocka_unit_test(what_yaml_has_and_we_have_not_is_said),
      cmocka_unit_test(an_empty_file_is_an_empty_map),
      cmocka_unit_test(json_errors_say_where_and_what),
      cmocka_unit_test(children_are_found_by_key_and_path),
      cmocka_unit_test(typed_reads_name_place_and_kinds),
      cmocka_unit_test(json_is_written_on_one_line_or_indented),
      cmocka_unit_test(files_are_loaded_by_their_ending),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
