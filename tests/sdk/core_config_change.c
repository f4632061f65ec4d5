/* Tests of changing a tree: set, merge, profiles, the environment, and where a value came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../interpose.h"
#include "config_tree.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static etk_config *parse(const char *name, const char *text) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, name, text, strlen(text), ETK_CONFIG_AUTO)) fail_msg("%s", e.message);
  return config;
}

static void holds(const etk_config *config, const char *wanted) {
  etk_text json = ETK_TEXT_INIT;
  etk_config_write_json(&json, etk_config_root(config), 0);
  assert_string_equal(json.data, wanted);
  etk_text_free(&json);
}

static void set(etk_config *config, const char *path, const char *text) {
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_set(&e, config, path, text, NULL)) fail_msg("%s", e.message);
}

/* Fails with the message and leaves the tree as it was. */
static void not_set(etk_config *config, const char *path, const char *text, etk_status status, const char *message) {
  etk_text before = ETK_TEXT_INIT;
  etk_config_write_json(&before, etk_config_root(config), 0);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_set(&e, config, path, text, "--set"), status);
  assert_string_equal(e.message, message);
  holds(config, before.data);
  etk_text_free(&before);
}

static void a_value_is_set_at_a_path_with_maps_made_on_the_way(void **state) {
  (void)state;
  etk_config *config;
  assert_int_equal(etk_config_new(NULL, &config, "new"), ETK_OK);
  holds(config, "{}");
  set(config, "training.learning_rate", "1e-5");
  set(config, "training.epochs", "3");
  set(config, "training.learning-rate", "2e-5"); /* '-' equals '_': the same key, as it was spelt first */
  set(config, "layers", "[{name: a}, {name: b}]");
  set(config, "layers.1.name", "'7'");
  holds(config, "{\"training\": {\"learning_rate\": 2e-5, \"epochs\": 3}, \"layers\": [{\"name\": \"a\"}, {\"name\": \"7\"}]}");
  set(config, "training", "off");
  holds(config, "{\"training\": \"off\", \"layers\": [{\"name\": \"a\"}, {\"name\": \"7\"}]}");
  etk_config_free(config);
  config = parse("t.yaml", "a:\nb: {c: ~}\n"); /* null is the way to say nothing yet */
  set(config, "a.x.y", "1");
  set(config, "b.c.d", "2");
  holds(config, "{\"a\": {\"x\": {\"y\": 1}}, \"b\": {\"c\": {\"d\": 2}}}");
  etk_config_free(config);
}

static void a_value_reads_as_a_plain_scalar_whatever_it_holds(void **state) {
  (void)state;
  static const struct {
    const char *text, *wanted;
  } rows[] = {
      {"1e-5", "1e-5"},
      {"no", "\"no\""},
      {"true", "true"},
      {"", "null"},
      {"~", "null"},
      {" 7 ", "7"},
      {"a: b", "\"a: b\""},
      {"#x", "\"#x\""},
      {"*.bin", "\"*.bin\""},
      {"!x", "\"!x\""},
      {"&x", "\"&x\""},
      {"- x", "\"- x\""},
      {"| x", "\"| x\""},
      {"\"1\"", "\"1\""},
      {"'it''s'", "\"it's\""},
      {"[]", "[]"},
      {"{a: [1, x]}", "{\"a\": [1, \"x\"]}"},
      {"%d", "\"%d\""},
      {"@x", "\"@x\""},
      {"a\nb", "\"a\\nb\""},
      {"---", "\"---\""},
      {"C:\\x", "\"C:\\\\x\""},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_config *config = parse("t.yaml", "{}");
    etk_text wanted = ETK_TEXT_INIT;
    etk_text_printf(&wanted, "{\"k\": %s}", rows[i].wanted);
    set(config, "k", rows[i].text);
    holds(config, wanted.data);
    etk_text_free(&wanted);
    etk_config_free(config);
  }
}

static void what_is_in_the_way_is_named_with_its_place(void **state) {
  (void)state;
  etk_config *config = parse("t.yaml", "a: 3\nlist: [1, 2]\nnone: []\n");
  not_set(config, "a.b.c", "1", ETK_E_INVALID, "--set: cannot set 'a.b.c': 'a' is a whole number ('3', t.yaml:1:4), a map is wanted");
  not_set(config, "list.2", "1", ETK_E_INVALID, "--set: cannot set 'list.2': 'list' is a list (t.yaml:2:7) whose items are named 0 to 1, not '2'");
  not_set(config, "list.x.y", "1", ETK_E_INVALID,
          "--set: cannot set 'list.x.y': 'list' is a list (t.yaml:2:7) whose items are named 0 to 1, not 'x'");
  not_set(config, "none.0", "1", ETK_E_INVALID, "--set: cannot set 'none.0': 'none' is an empty list (t.yaml:3:7)");
  not_set(config, "a..b", "1", ETK_E_USAGE, "'a..b' does not name a key: a part of it is empty (wanted something like training.learning_rate)");
  not_set(config, "", "1", ETK_E_USAGE, "'' does not name a key: a part of it is empty (wanted something like training.learning_rate)");
  not_set(config, "x", "1e999", ETK_E_INVALID, "--set: number '1e999' is too large");
  not_set(config, "x", "\xFF", ETK_E_INVALID, "--set: the value is not UTF-8 text");
  not_set(config, "x", "'a': 1", ETK_E_INVALID, "--set: nothing may follow the closing quote of a value");
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_set(&e, config, "x", "[1", NULL), ETK_E_FORMAT);
  assert_non_null(strstr(e.message, "while reading '[1'"));
  etk_config_free(config);
}

static void nesting_and_count_keep_their_bounds(void **state) {
  (void)state;
  etk_text path = ETK_TEXT_INIT;
  etk_config *config = parse("t.yaml", "{}");
  for (int i = 0; i < 64; i++) etk_text_puts(&path, i ? ".a" : "a");
  set(config, path.data, "1");                                                               /* 64 maps */
  assert_int_equal(etk_config_set(NULL, config, path.data, "[1]", NULL), ETK_E_UNSUPPORTED); /* and a list: 65 */
  etk_text_puts(&path, ".a");
  assert_int_equal(etk_config_set(NULL, config, path.data, "1", NULL), ETK_E_USAGE);
  etk_text_free(&path);
  etk_config_free(config);
  etk_text many = ETK_TEXT_INIT;
  etk_text_puts(&many, "a: &a [1");
  for (int i = 0; i < 999; i++) etk_text_puts(&many, ",1");
  etk_text_puts(&many, "]\nb: [*a");
  for (int i = 0; i < 900; i++) etk_text_puts(&many, ",*a");
  etk_text_puts(&many, "]\n");
  config = parse("many.yaml", many.data); /* 903 thousand values in 5 kB */
  etk_config *over = parse("over.yaml", "c: 1"), *twice = parse("twice.yaml", many.data);
  assert_int_equal(etk_config_merge(NULL, config, over), ETK_OK);
  set(twice, "a", "1");
  set(twice, "z", "1");
  set(config, "b.0.0", "2");
  assert_int_equal(etk_config_find(etk_config_root(config), "b.0.0")->integer, 2);
  assert_int_equal(etk_config_find(etk_config_root(config), "b.1.0")->integer, 1); /* the other aliases are untouched */
  assert_int_equal(etk_config_find(etk_config_root(config), "a.0")->integer, 1);
  etk_config *base = parse("base.yaml", "{}");
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_merge(&e, base, config), ETK_OK);
  assert_int_equal(etk_config_set(&e, base, "x.y", "1", NULL), ETK_OK);
  etk_text more = ETK_TEXT_INIT;
  etk_text_puts(&more, "d: [1");
  for (int i = 0; i < 100000; i++) etk_text_puts(&more, ",1");
  etk_text_puts(&more, "]\n");
  etk_config *large = parse("large.yaml", more.data);
  assert_int_equal(etk_config_merge(&e, base, large), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, "more than 1000000 values"));
  assert_null(etk_config_find(etk_config_root(base), "d"));
  etk_config_free(config);
  etk_config_free(over);
  etk_config_free(twice);
  etk_config_free(base);
  etk_config_free(large);
  etk_text_free(&more);
  etk_text_free(&many);
}

static void an_alias_that_is_changed_leaves_its_anchor_alone(void **state) {
  (void)state;
  etk_config *config = parse("t.yaml", "a: &x {p: {q: 1}, r: [1, 2]}\nb: *x\nc: *x\n");
  set(config, "b.p.q", "2");
  set(config, "a.r.1", "3");
  set(config, "c.s", "4");
  holds(
      config,
      "{\"a\": {\"p\": {\"q\": 1}, \"r\": [1, 3]}, \"b\": {\"p\": {\"q\": 2}, \"r\": [1, 2]}, \"c\": {\"p\": {\"q\": 1}, \"r\": [1, 2], \"s\": 4}}");
  etk_config_free(config);
}

static void maps_are_merged_key_by_key_and_all_else_replaced(void **state) {
  (void)state;
  etk_config *config = parse("base.yaml", "a: {b: 1, c: {d: 2}}\nlist: [1, 2, 3]\nlearning_rate: 1\nx: {y: 1}\nz: 5\n");
  etk_config *over = parse("over.toml", "list = [9]\nlearning-rate = 2\nx = 'text'\nnew.key = 1\n[a]\nc.e = 3\n[z]\nnow = 'a map'\n");
  assert_int_equal(etk_config_merge(NULL, config, over), ETK_OK);
  etk_config_free(over);
  holds(config, "{\"a\": {\"b\": 1, \"c\": {\"d\": 2, \"e\": 3}}, \"list\": [9], \"learning_rate\": 2, \"x\": \"text\", \"z\": {\"now\": \"a map\"}, "
                "\"new\": {\"key\": 1}}");
  etk_config_free(config);
}

static void a_merge_shares_nothing_with_what_was_laid_over(void **state) {
  (void)state;
  etk_config *config = parse("base.yaml", "a: {b: 1}\n"), *over = parse("over.yaml", "a: {c: {d: [1, 2]}}\ntext: abc\n");
  assert_int_equal(etk_config_merge(NULL, config, over), ETK_OK);
  set(over, "a.c.d.0", "9");
  set(config, "a.c.d.1", "8");
  holds(over, "{\"a\": {\"c\": {\"d\": [9, 2]}}, \"text\": \"abc\"}");
  etk_config_free(over);
  holds(config, "{\"a\": {\"b\": 1, \"c\": {\"d\": [1, 8]}}, \"text\": \"abc\"}");
  assert_int_equal(etk_config_merge(NULL, config, config), ETK_OK);
  holds(config, "{\"a\": {\"b\": 1, \"c\": {\"d\": [1, 8]}}, \"text\": \"abc\"}");
  etk_config_free(config);
}

static void wide_maps_merge_in_linear_time(void **state) {
  (void)state;
  etk_text a = ETK_TEXT_INIT, b = ETK_TEXT_INIT;
  for (int i = 0; i < 100000; i++) {
    etk_text_printf(&a, "a-%d = 1\n", i);
    etk_text_printf(&b, "a_%d = 2\n", i + 50000);
  }
  etk_config *config = parse("a.toml", a.data), *over = parse("b.toml", b.data);
  assert_int_equal(etk_config_merge(NULL, config, over), ETK_OK); /* minutes if each key were sought among all */
  assert_int_equal(etk_config_root(config)->count, 150000);
  assert_int_equal(etk_config_child(etk_config_root(config), "a_50000")->integer, 2);
  assert_int_equal(etk_config_child(etk_config_root(config), "a-49999")->integer, 1);
  etk_config_free(config);
  etk_config_free(over);
  etk_text_free(&a);
  etk_text_free(&b);
}

static const char with_profiles[] = "epochs: 1\nopt: {lr: 0.1, kind: sgd}\nprofiles:\n  dev: {epochs: 2}\n  prod:\n    opt: {lr: 0.5}\n  empty:\n";

static void a_profile_is_laid_over_the_rest_and_no_profiles_stay(void **state) {
  (void)state;
  static const struct {
    const char *name, *wanted;
  } rows[] = {{"prod", "{\"epochs\": 1, \"opt\": {\"lr\": 0.5, \"kind\": \"sgd\"}}"},
              {"dev", "{\"epochs\": 2, \"opt\": {\"lr\": 0.1, \"kind\": \"sgd\"}}"},
              {"empty", "{\"epochs\": 1, \"opt\": {\"lr\": 0.1, \"kind\": \"sgd\"}}"},
              {NULL, "{\"epochs\": 1, \"opt\": {\"lr\": 0.1, \"kind\": \"sgd\"}}"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_config *config = parse("t.yaml", with_profiles);
    etk_error e = ETK_ERROR_INIT;
    if (etk_config_profile(&e, config, rows[i].name)) fail_msg("%s", e.message);
    holds(config, rows[i].wanted);
    assert_int_equal(etk_config_profile(&e, config, NULL), ETK_OK); /* there is none any more */
    etk_config_free(config);
  }
}

static void no_profile(const char *text, const char *name, etk_status status, const char *message) {
  etk_config *config = parse("t.yaml", text);
  etk_text before = ETK_TEXT_INIT;
  etk_config_write_json(&before, etk_config_root(config), 0);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_profile(&e, config, name), status);
  assert_string_equal(e.message, message);
  holds(config, before.data);
  etk_text_free(&before);
  etk_config_free(config);
}

static void an_unknown_profile_lists_those_there_are(void **state) {
  (void)state;
  no_profile(with_profiles, "prot", ETK_E_NOT_FOUND, "t.yaml:4:3: there is no profile 'prot' (did you mean 'prod'?); there are dev, prod, empty");
  no_profile("a: 1\n", "x", ETK_E_NOT_FOUND, "there is no profile 'x': 't.yaml' has no map 'profiles'");
  no_profile("profiles: 3\n", "x", ETK_E_INVALID, "t.yaml:1:11: 'profiles' is a whole number, a map of profiles is wanted");
  no_profile("profiles: {x: [1]}\n", "x", ETK_E_INVALID, "t.yaml:1:15: profile 'x' is a list, a map is wanted");
  no_profile("profiles: {x: {profiles: {y: 1}}}\n", "x", ETK_E_INVALID, "t.yaml:1:26: profile 'x' holds 'profiles'; profiles do not nest");
}

static void the_environment_reaches_any_key(void **state) {
  (void)state;
  static const char *const entries[] = {"HOME=/root",
                                        "EFFICIENTAI__TRAINING__LEARNING_RATE=1e-4",
                                        "EFFICIENTAI__TRAINING__MAX__STEPS_PER_EPOCH=7",
                                        "EFFICIENTAI_STATE_DIR=/x",
                                        "EFFICIENTAI__model__WeightDecay=0.1",
                                        "EFFICIENTAI__OUTPUT_DIR=a=b",
                                        "EFFICIENTAI__LIST__1=no",
                                        "EFFICIENTAIX__A=1",
                                        "NOEQUALS",
                                        NULL};
  etk_config *config = parse("t.yaml", "training: {learning_rate: 1, batch: 2}\nmodel: {WeightDecay: 0}\noutput-dir: c\nlist: [1, 2]\n");
  size_t count = 0;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_environment(&e, config, "EFFICIENTAI", entries, &count)) fail_msg("%s", e.message);
  assert_int_equal(count, 5);
  holds(config, "{\"training\": {\"learning_rate\": 0.0001, \"batch\": 2, \"max\": {\"steps_per_epoch\": 7}}, \"model\": {\"WeightDecay\": 0.1}, "
                "\"output-dir\": \"a=b\", \"list\": [1, \"no\"]}");
  assert_string_equal(etk_config_origin(config, etk_config_find(etk_config_root(config), "training.learning_rate")),
                      "EFFICIENTAI__TRAINING__LEARNING_RATE");
  double rate;
  assert_int_equal(etk_config_set(&e, config, "training.learning_rate", "fast", "EFFICIENTAI__TRAINING__LEARNING_RATE"), ETK_OK);
  assert_int_equal(etk_config_get_real(&e, config, etk_config_find(etk_config_root(config), "training"), "learning_rate", &rate), ETK_E_INVALID);
  assert_string_equal(e.message, "EFFICIENTAI__TRAINING__LEARNING_RATE: 'learning_rate' is text ('fast'), a number is wanted");
  etk_config_free(config);
}

static void a_bad_variable_changes_nothing(void **state) {
  (void)state;
  static const struct {
    const char *entry, *message;
  } rows[] = {
      {"P__A__B=1", "P__A__B: cannot set 'a.b': 'a' is a whole number ('9', P__A), a map is wanted"},
      {"P__A____B=1", "variable 'P__A____B' does not name a key: a part of it is empty (wanted something like P__TRAINING__EPOCHS)"},
      {"P__=1", "variable 'P__' does not name a key: a part of it is empty (wanted something like P__TRAINING__EPOCHS)"},
      {"P__X=1e999", "P__X: number '1e999' is too large"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    const char *entries[] = {"P__A=9", "P__NEW__KEY=1", rows[i].entry, NULL};
    etk_config *config = parse("t.yaml", "a: 1\nb: {c: 2}\n");
    size_t count = 77;
    etk_error e = ETK_ERROR_INIT;
    assert_int_not_equal(etk_config_environment(&e, config, "P", entries, &count), ETK_OK);
    assert_string_equal(e.message, rows[i].message);
    assert_int_equal(count, 0);
    holds(config, "{\"a\": 1, \"b\": {\"c\": 2}}");
    etk_config_free(config);
  }
}

static void every_value_tells_who_wrote_it_last(void **state) {
  (void)state;
  etk_config *config = parse("base.yaml", "a: {b: 1, c: 2, d: 3, e: 4}\n"), *over = parse("over.toml", "\n[a]\nc = 20\n"),
             *third = parse("third.json", "{\"x\": 1}");
  assert_int_equal(etk_config_merge(NULL, over, third), ETK_OK);
  assert_int_equal(etk_config_merge(NULL, config, over), ETK_OK);
  etk_config_free(over);
  etk_config_free(third);
  const char *const entries[] = {"P__A__D=30", NULL};
  assert_int_equal(etk_config_environment(NULL, config, "P", entries, NULL), ETK_OK);
  assert_int_equal(etk_config_set(NULL, config, "a.e", "{f: 40}", "--set a.e"), ETK_OK);
  static const struct {
    const char *path, *origin;
    int line, column;
  } rows[] = {{"a.b", "base.yaml", 1, 8},   {"a.c", "over.toml", 3, 5}, {"a.d", "P__A__D", 0, 0},
              {"a.e.f", "--set a.e", 0, 0}, {"x", "third.json", 1, 7},  {"a", "base.yaml", 1, 4}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    const etk_config_node *node = etk_config_find(etk_config_root(config), rows[i].path);
    assert_string_equal(etk_config_origin(config, node), rows[i].origin);
    assert_int_equal(node->line, rows[i].line);
    assert_int_equal(node->column, rows[i].column);
  }
  const char *text;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_get_text(&e, config, etk_config_child(etk_config_root(config), "a"), "c", &text), ETK_E_INVALID);
  assert_string_equal(e.message, "over.toml:3:5: 'c' is a whole number ('20'), text is wanted (put it in quotes)");
  etk_config_free(config);
}

static bool change_sample(void *user) {
  (void)user;
  static const char text[] = "a: &x {p: {q: 1}}\nb-c: *x\nprofiles: {dev: {a: {r: [1, 2]}, 'new-key': {s: t}}}\n";
  static const char *const entries[] = {"P__B_C__P__Q=5", "P__N__M='x'", NULL};
  etk_config *config = NULL, *over = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_config_parse(&e, &config, "t.yaml", text, sizeof text - 1, ETK_CONFIG_AUTO);
  if (!status) status = etk_config_new(&e, &over, "over");
  if (!status) status = etk_config_set(&e, over, "b_c.p", "[1, {x: y}]", NULL);
  if (!status) status = etk_config_merge(&e, config, over);
  if (!status) status = etk_config_set(&e, config, "b_c.p", "{q: 1}", NULL);
  if (!status) status = etk_config_profile(&e, config, "dev");
  if (!status) status = etk_config_environment(&e, config, "P", entries, NULL);
  if (status && status != ETK_E_NO_MEMORY) fail_msg("%s", e.message);
  etk_text json = ETK_TEXT_INIT;
  if (!status) etk_config_write_json(&json, etk_config_root(config), 0);
  if (json.failed) status = ETK_E_NO_MEMORY;
  else if (!status)
    assert_string_equal(
        json.data, "{\"a\": {\"p\": {\"q\": 1}, \"r\": [1, 2]}, \"b-c\": {\"p\": {\"q\": 5}}, \"new-key\": {\"s\": \"t\"}, \"n\": {\"m\": \"x\"}}");
  etk_text_free(&json);
  etk_config_free(config);
  etk_config_free(over);
  return status == ETK_OK;
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  long swept = interpose_sweep(change_sample, NULL);
  if (swept < 20) fail_msg("%ld", swept);
}

/* However far a merge came before memory ran out, the tree is what it was. */
static void a_merge_that_fails_changes_nothing(void **state) {
  (void)state;
  etk_config *over = parse("over.yaml", "a: {b: 2, n: [1]}\nnew: {x: 1}\nc: 5\n");
  for (uint64_t nth = 1;; nth++) {
    etk_config *config = parse("base.yaml", "a: {b: 1, c: {d: 1}}\nc: 3\n");
    uint64_t failures = etk_alloc_get_stats().failures;
    etk_alloc_fail_nth(nth, false);
    etk_status status = etk_config_merge(NULL, config, over);
    etk_alloc_fail_nth(0, false);
    bool hit = etk_alloc_get_stats().failures > failures;
    if (hit) assert_int_equal(status, ETK_E_NO_MEMORY);
    if (hit) holds(config, "{\"a\": {\"b\": 1, \"c\": {\"d\": 1}}, \"c\": 3}");
    etk_config_free(config);
    if (!hit) {
      assert_true(nth > 3);
      break;
    }
  }
  etk_config_free(over);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_value_is_set_at_a_path_with_maps_made_on_the_way),
      cmocka_unit_test(a_value_reads_as_a_plain_scalar_whatever_it_holds),
      cmocka_unit_test(what_is_in_the_way_is_named_with_its_place),
      cmocka_unit_test(nesting_and_count_keep_their_bounds),
      cmocka_unit_test(an_alias_that_is_changed_leaves_its_anchor_alone),
      cmocka_unit_test(maps_are_merged_key_by_key_and_all_else_replaced),
      cmocka_unit_test(a_merge_shares_nothing_with_what_was_laid_over),
      cmocka_unit_test(wide_maps_merge_in_linear_time),
      cmocka_unit_test(a_profile_is_laid_over_the_rest_and_no_profiles_stay),
      cmocka_unit_test(an_unknown_profile_lists_those_there_are),
      cmocka_unit_test(the_environment_reaches_any_key),
      cmocka_unit_test(a_bad_variable_changes_nothing),
      cmocka_unit_test(every_value_tells_who_wrote_it_last),
      cmocka_unit_test(any_allocation_may_fail),
      cmocka_unit_test(a_merge_that_fails_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
