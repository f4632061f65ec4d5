/* Tests of etk_config_write and etk_config_save: what is written is what a person would write, and reads back as the same tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../interpose.h"
#include "config_tree.h"
#include "etk/rng.h"
#include <errno.h>
#include <unistd.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static etk_config *parse(const char *name, const char *text) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, name, text, strlen(text), ETK_CONFIG_AUTO)) fail_msg("%s", e.message);
  return config;
}

static void written(const char *name, const char *text, etk_config_format format, const char *wanted) {
  etk_config *config = parse(name, text);
  etk_text out = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_write(&e, &out, etk_config_root(config), format)) fail_msg("%s", e.message);
  assert_string_equal(out.data ? out.data : "", wanted);
  etk_text_free(&out);
  etk_config_free(config);
}

static void refused(const char *text, etk_config_format format, const char *message) {
  etk_config *config = parse("t.yaml", text);
  etk_text out = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_write(&e, &out, etk_config_root(config), format), ETK_E_UNSUPPORTED);
  assert_string_equal(e.message, message);
  etk_text_free(&out);
  etk_config_free(config);
}

static void yaml_is_written_in_blocks_without_needless_quotes(void **state) {
  (void)state;
  static const char text[] = "model: models/llama\n"
                             "training:\n"
                             "  learning_rate: 1.0e-5\n"
                             "  large: 1.5e+30\n"
                             "  epochs: 3\n"
                             "  half: 2.0\n"
                             "  resume: null\n"
                             "  layers:\n"
                             "    - name: a\n"
                             "      sizes:\n"
                             "        - 1\n"
                             "        - 2\n"
                             "    - {}\n"
                             "    - - x\n"
                             "      - []\n"
                             "prompt: |\n"
                             "  You are helpful.\n"
                             "\n"
                             "    - be: \"brief\"\n"
                             "tail: |-\n"
                             "  a\n"
                             "  b\n"
                             "url: http://host:80/#top?x=1\n"
                             "glob: a*.bin\n"
                             "flag: --force\n"
                             "limits:\n"
                             "  - .inf\n"
                             "  - -.inf\n"
                             "  - .nan\n";
  written("t.yaml", text, ETK_CONFIG_YAML, text);
  written("t.yaml", "{}", ETK_CONFIG_YAML, "{}\n");
  written("t.yaml", "[[[1]]]", ETK_CONFIG_YAML, "- - - 1\n");
}

static void yaml_quotes_what_would_read_as_something_else(void **state) {
  (void)state;
  static const char *const quoted[] = {"",
                                       " a",
                                       "a ",
                                       "1",
                                       "0x1F",
                                       "1e5",
                                       "~",
                                       "null",
                                       "true",
                                       ".inf",
                                       "no",
                                       "Off",
                                       "<<",
                                       "- a",
                                       "-",
                                       "? a",
                                       "a: b",
                                       "a:",
                                       "a #b",
                                       "#a",
                                       "[a",
                                       "{a",
                                       "&a",
                                       "*a",
                                       "!a",
                                       "%a",
                                       "@a",
                                       "`a",
                                       "'a",
                                       ">a",
                                       "|a",
                                       "---",
                                       "--- a",
                                       "...",
                                       ",a",
                                       "]",
                                       "a\tb: c\\t",
                                       "1e999",
                                       "0o17",
                                       "\xC2\x85",
                                       "\xE2\x80\xA8x",
                                       "\xEF\xBB\xBFx",
                                       "\x7F",
                                       "+.INF",
                                       "a:\tb",
                                       "a\t#b"};
  static const char *const plain[] = {
      "a",          "-a",  ":a",   "?a",   "a:b", "a#b", "it's", "\"", "1.2.3", "1_000", "a, b", "a]b", "\xC3\xA4\xF0\x9F\x98\x80",
      "2024-01-01", "0b1", "nope", "a - b"};
  for (size_t i = 0; i < COUNT(quoted) + COUNT(plain); i++) {
    bool quotes = i < COUNT(quoted);
    const char *text = quotes ? quoted[i] : plain[i - COUNT(quoted)];
    if (strcmp(text, "\"") == 0) continue;
    etk_text json = ETK_TEXT_INIT, out = ETK_TEXT_INIT;
    etk_text_puts(&json, "{\"k\": ");
    etk_text_json(&json, text, strlen(text));
    etk_text_puts(&json, "}");
    etk_config *config = parse("t.json", json.data);
    assert_int_equal(etk_config_write(NULL, &out, etk_config_root(config), ETK_CONFIG_YAML), ETK_OK);
    if ((out.data[3] == '"') != quotes) fail_msg("%s", out.data);
    etk_text_free(&json);
    etk_text_free(&out);
    etk_config_free(config);
  }
}

static void toml_has_values_first_then_tables_under_headers(void **state) {
  (void)state;
  written("t.json",
          "{\"a\": {\"b\": {\"c\": 1}}, \"title\": \"x\", \"list\": [1, [2.0, \"y\"], {\"k\": true}], \"empty\": {}, \"t\": [{\"n\": 1, \"sub\": "
          "{\"m\": 2}}, {}],"
          " \"odd key\": 1e5, \"text\": \"one\\ntwo \\\"\\\"\\\"\\\\ \\u0001\\\"\"}",
          ETK_CONFIG_TOML,
          "title = \"x\"\nlist = [1, [2.0, \"y\"], { k = true }]\n\"odd key\" = 100000.0\ntext = \"\"\"\none\ntwo \\\"\\\"\"\\\\ "
          "\\u0001\\\"\"\"\"\n\n[a.b]\nc = 1\n\n[empty]\n\n"
          "[[t]]\nn = 1\n\n[t.sub]\nm = 2\n\n[[t]]\n");
  written("t.toml", "d = 1979-05-27t07:32:00z\nx = nan\ny = -inf\n", ETK_CONFIG_TOML, "d = 1979-05-27t07:32:00z\nx = nan\ny = -inf\n");
  written("t.json", "{}", ETK_CONFIG_TOML, "");
}

static void a_long_list_of_toml_has_a_line_for_each_item(void **state) {
  (void)state;
  etk_text json = ETK_TEXT_INIT, wanted = ETK_TEXT_INIT;
  etk_text_puts(&json, "{\"a\": [");
  etk_text_puts(&wanted, "a = [\n");
  for (int i = 0; i < 30; i++) {
    etk_text_printf(&json, "%s\"item%d\"", i ? ", " : "", i);
    etk_text_printf(&wanted, "  \"item%d\",\n", i);
  }
  etk_text_puts(&json, "]}");
  etk_text_puts(&wanted, "]\n");
  written("t.json", json.data, ETK_CONFIG_TOML, wanted.data);
  etk_text_free(&json);
  etk_text_free(&wanted);
}

static void what_a_format_cannot_hold_names_the_key(void **state) {
  (void)state;
  refused("a: {b: [1, ~]}", ETK_CONFIG_TOML, "cannot write 'a.b.1': TOML has no null; leave the key out");
  refused("[1]", ETK_CONFIG_TOML, "cannot write this configuration: a TOML file is a table, this is a list");
  refused("x: [{y: .nan}]", ETK_CONFIG_JSON, "cannot write 'x.0.y': JSON has no nan");
  refused("x: -.inf", ETK_CONFIG_JSON, "cannot write 'x': JSON has no infinity");
  written("t.toml", "d = 07:32:00\n", ETK_CONFIG_JSON, "{\n  \"d\": \"07:32:00\"\n}\n");
  written("t.toml", "d = 07:32:00\n", ETK_CONFIG_YAML, "d: 07:32:00\n");
}

static void what_could_not_be_read_back_is_not_written(void **state) {
  (void)state;
  etk_text text = ETK_TEXT_INIT; /* one long text, 1000 times by aliases */
  etk_text_puts(&text, "a: &a '");
  for (int i = 0; i < 100000; i++) etk_text_putc(&text, 'x');
  etk_text_puts(&text, "'\nb: [*a");
  for (int i = 0; i < 1000; i++) etk_text_puts(&text, ", *a");
  etk_text_puts(&text, "]\n");
  etk_config *config = parse("t.yaml", text.data);
  for (int format = ETK_CONFIG_YAML; format <= ETK_CONFIG_TOML; format++) {
    etk_text out = ETK_TEXT_INIT;
    etk_error e = ETK_ERROR_INIT;
    assert_int_equal(etk_config_write(&e, &out, etk_config_root(config), (etk_config_format)format), ETK_E_UNSUPPORTED);
    assert_non_null(strstr(e.message, "longer than 16777216 bytes"));
    assert_true(out.size < 18000000);
    etk_text_free(&out);
  }
  etk_config_free(config);
  etk_text_free(&text);
}

/* ---- random trees ---- */

static const char *const pieces[] = {"a",
                                     "b",
                                     " ",
                                     "\n",
                                     "\t",
                                     ":",
                                     "#",
                                     "-",
                                     "'",
                                     "\"",
                                     "\\",
                                     "1",
                                     ".",
                                     "e",
                                     "\r",
                                     "{",
                                     "]",
                                     "true",
                                     "null",
                                     "\xC3\xA4",
                                     "\xC2\x85",
                                     "\x01",
                                     "\"\"\"",
                                     "'''",
                                     "= ",
                                     "\n\n",
                                     ": ",
                                     " #",
                                     "---",
                                     "\xE2\x80\xA9",
                                     "=",
                                     "\xF0\x9F\x98\x80",
                                     "\xEF\xBF\xBE",
                                     "0x",
                                     "_",
                                     "\xEF\xBB\xBF"};

static void random_text(etk_rng *rng, etk_text *out) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_append(&text, "", 0);
  size_t n = etk_rng_u32(rng) % 8;
  if (etk_rng_u32(rng) % 60 == 0) n = 400; /* longer than a simple key of YAML may be */
  for (size_t i = 0; i < n; i++) etk_text_puts(&text, pieces[etk_rng_u32(rng) % COUNT(pieces)]);
  if (etk_rng_u32(rng) % 40 == 0) etk_text_append(&text, "", 1); /* a NUL */
  etk_text_json(out, text.data, text.size);
  etk_text_free(&text);
}

static void random_number(etk_rng *rng, etk_text *out) {
  uint64_t bits = (uint64_t)etk_rng_u32(rng) << 32 | etk_rng_u32(rng);
  double value;
  memcpy(&value, &bits, sizeof value);
  switch (etk_rng_u32(rng) % 4) {
  case 0:
    etk_text_printf(out, "%lld", (long long)bits);
    return;
  case 1:
    etk_text_printf(out, "%d", (int)(bits % 200) - 100);
    return;
  case 2:
    etk_text_printf(out, "%d.0", (int)(bits % 200) - 100);
    return;
  default:
    etk_text_real(out, isfinite(value) ? value : 0.5);
  }
}

/* As JSON, which is the reader that is proved by a suite of its own. */
static void random_tree(etk_rng *rng, etk_text *out, int depth, bool nulls) {
  unsigned kind = etk_rng_u32(rng) % (depth > 0 ? 9 : 5);
  if (kind == 0 && !nulls) kind = 1;
  if (kind == 0) etk_text_puts(out, "null");
  else if (kind == 1) etk_text_puts(out, etk_rng_u32(rng) % 2 ? "true" : "false");
  else if (kind == 2) random_number(rng, out);
  else if (kind <= 4) random_text(rng, out);
  else {
    bool map = kind >= 7;
    unsigned n = etk_rng_u32(rng) % 5;
    etk_text_putc(out, map ? '{' : '[');
    for (unsigned i = 0; i < n; i++) {
      if (i) etk_text_putc(out, ',');
      if (map) random_text(rng, out);
      if (map) etk_text_putc(out, ':');
      random_tree(rng, out, depth - 1, nulls);
    }
    etk_text_putc(out, map ? '}' : ']');
  }
}

static void random_trees_come_back_from_every_format(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(20260101, 0);
  size_t toml = 0;
  for (int i = 0; i < 6000; i++) {
    etk_text json = ETK_TEXT_INIT;
    bool wrapped = i % 2;
    if (wrapped) etk_text_puts(&json, "{\"k\":");
    random_tree(&rng, &json, 5, i % 4 == 0);
    if (wrapped) etk_text_puts(&json, "}");
    etk_config *config = NULL;
    etk_error e = ETK_ERROR_INIT;
    if (etk_config_parse(&e, &config, "random", json.data, json.size, ETK_CONFIG_JSON_ANY)) fail_msg("%s: %s", e.message, json.data);
    const etk_config_node *root = etk_config_root(config);
    toml += tree_fits(root, ETK_CONFIG_TOML);
    for (int format = ETK_CONFIG_YAML; format <= ETK_CONFIG_TOML; format++) {
      char why[2048];
      if (tree_round_trip(root, (etk_config_format)format, why, sizeof why)) fail_msg("tree %d, format %d: %s\nfrom %s", i, format, why, json.data);
    }
    etk_config_free(config);
    etk_text_free(&json);
  }
  assert_true(toml > 1500);
}

/* ---- saving ---- */

static int fail_write(void *user, size_t size) {
  (void)user;
  (void)size;
  return ENOSPC;
}

static void a_file_is_saved_whole_or_not_at_all(void **state) {
  (void)state;
  char folder[] = "/tmp/etk-config-XXXXXX";
  assert_non_null(mkdtemp(folder));
  static const char *const names[] = {"c.yaml", "c.json", "c.toml"};
  for (size_t i = 0; i < COUNT(names); i++) {
    char *path = etk_path_join(folder, names[i]), **entries, *before, *after;
    size_t before_size, after_size, count;
    etk_error e = ETK_ERROR_INIT;
    etk_config *config = parse("t.json", "{\"a\": {\"b\": [1, 2.0, \"no\"]}}"), *again;
    if (etk_config_save(&e, config, path)) fail_msg("%s", e.message);
    if (etk_config_load(&e, &again, path)) fail_msg("%s", e.message);
    assert_true(tree_equal(etk_config_root(config), etk_config_root(again), false));
    assert_int_equal(etk_fs_read(&e, &before, &before_size, path, 1 << 20), ETK_OK);
    assert_int_equal(etk_config_set(&e, config, "a.b", "3", NULL), ETK_OK);
    etk_fs_set_write_hook(fail_write, NULL);
    assert_int_equal(etk_config_save(&e, config, path), ETK_E_NO_SPACE);
    etk_fs_set_write_hook(NULL, NULL);
    assert_non_null(strstr(e.message, path));
    assert_int_equal(etk_fs_read(&e, &after, &after_size, path, 1 << 20), ETK_OK);
    assert_true(tree_same_bytes(before, before_size, after, after_size));
    assert_int_equal(etk_fs_list(&e, &entries, &count, folder), ETK_OK);
    assert_int_equal(count, i + 1); /* nothing half-written beside it */
    etk_fs_list_free(entries, count);
    etk_free(before);
    etk_free(after);
    etk_config_free(config);
    etk_config_free(again);
    etk_free(path);
  }
  char *path = etk_path_join(folder, "n.toml");
  etk_config *config = parse("t.yaml", "a: ~");
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_config_save(&e, config, path), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, "n.toml': cannot write 'a': TOML has no null"));
  assert_false(etk_fs_exists(path));
  etk_config_free(config);
  etk_free(path);
  assert_int_equal(etk_fs_remove_tree(&e, folder), ETK_OK);
}

static bool write_sample(void *user) {
  bool done = true;
  for (int format = ETK_CONFIG_YAML; format <= ETK_CONFIG_TOML; format++) {
    etk_text out = ETK_TEXT_INIT;
    etk_error e = ETK_ERROR_INIT;
    etk_status status = etk_config_write(&e, &out, etk_config_root(user), (etk_config_format)format);
    if (status && status != ETK_E_NO_MEMORY) fail_msg("%s", e.message);
    done &= status == ETK_OK;
    etk_text_free(&out);
  }
  return done;
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  etk_config *config =
      parse("t.json", "{\"a\": [1, 2.5, {\"b\": \"x\\ny\"}], \"long key that goes on and on and on and on and on and on and on and on and on and on "
                      "and on and on and on and on and on and on\": {\"t\": [{}, {\"u\": \"\\u0001\"}]}}");
  long swept = interpose_sweep(write_sample, config);
  if (swept < 6) fail_msg("%ld", swept);
  etk_config_free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(yaml_is_written_in_blocks_without_needless_quotes),
      cmocka_unit_test(yaml_quotes_what_would_read_as_something_else),
      cmocka_unit_test(toml_has_values_first_then_tables_under_headers),
      cmocka_unit_test(a_long_list_of_toml_has_a_line_for_each_item),
      cmocka_unit_test(what_a_format_cannot_hold_names_the_key),
      cmocka_unit_test(what_could_not_be_read_back_is_not_written),
      cmocka_unit_test(random_trees_come_back_from_every_format),
      cmocka_unit_test(a_file_is_saved_whole_or_not_at_all),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
