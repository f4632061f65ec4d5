/* Values: every kind, every limit, and how they read when shown. */
#include "values.h"

#include "../interpose.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static etk_arena arena;

static etk_status parse(etk_value *out, char *message, uint32_t kind, const char *limits, const char *text) {
  etk_error e = ETK_ERROR_INIT;
  *out = (etk_value){0};
  etk_status status = etk_value_parse(&e, out, &arena, kind, limits, text, "--x", true);
  if (!status) out->source = ETK_FROM_COMMAND_LINE;
  if (message) snprintf(message, ETK_ERROR_SIZE, "%s", e.message);
  return status;
}

static bool takes(uint32_t kind, const char *limits, const char *text) {
  etk_value value;
  return !parse(&value, NULL, kind, limits, text);
}

/* Refused, and the message holds `words`. */
static bool refuses(uint32_t kind, const char *limits, const char *text, const char *words) {
  etk_value value;
  char message[ETK_ERROR_SIZE];
  if (!parse(&value, message, kind, limits, text)) return false;
  if (strstr(message, words)) return true;
  print_message("message was: %s\n", message);
  return false;
}

static void ranges_hold_their_bounds(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_int, "1..9", "1"));
  assert_true(takes(ETK_KIND_int, "1..9", "9"));
  assert_true(refuses(ETK_KIND_int, "1..9", "0", "--x: 0 is below 1 (allowed: 1..9)"));
  assert_true(refuses(ETK_KIND_int, "1..9", "10", "--x: 10 is above 9 (allowed: 1..9)"));
  assert_true(takes(ETK_KIND_int, "0..", "9223372036854775807"));
  assert_true(refuses(ETK_KIND_int, "0..", "-1", "below 0"));
  assert_true(takes(ETK_KIND_int, "..100", "-9223372036854775808"));
  assert_true(refuses(ETK_KIND_int, "..100", "101", "above 100"));
  assert_true(refuses(ETK_KIND_int, "", "9223372036854775808", "--x"));
}

static void open_bounds_leave_themselves_out(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_real, "0<..1", "1"));
  assert_true(refuses(ETK_KIND_real, "0<..1", "0", "0 is not above 0 (allowed: 0<..1)"));
  assert_true(takes(ETK_KIND_real, "0..<1", "0"));
  assert_true(refuses(ETK_KIND_real, "0..<1", "1.0", "1.0 is not below 1 (allowed: 0..<1)"));
  assert_true(takes(ETK_KIND_real, "0.5..1.5", "1.5e0"));
  assert_true(refuses(ETK_KIND_real, "", "nan", "--x"));
}

static void alternatives_are_any_of(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_int, "0|32|64..128", "100"));
  assert_true(takes(ETK_KIND_int, "0|32|64..128", "0"));
  assert_true(refuses(ETK_KIND_int, "0|32|64..128", "33", "33 is not allowed (allowed values: 0|32|64..128)"));
  assert_true(refuses(ETK_KIND_int, "4", "5", "5 is not allowed"));
}

static void choices_know_their_words(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_choice, "linear|cosine", "cosine"));
  assert_true(refuses(ETK_KIND_choice, "linear|cosine", "cosin", "'cosin' is not one of linear, cosine; did you mean 'cosine'?"));
  assert_true(takes(ETK_KIND_choice, "a\\|b|c", "a|b"));
  assert_false(takes(ETK_KIND_choice, "a\\|b|c", "a"));
}

static void units_count(void **state) {
  etk_value value;
  (void)state;
  assert_int_equal(parse(&value, NULL, ETK_KIND_size, "1MiB..4GiB", "2GiB"), ETK_OK);
  assert_int_equal(value.integer, (int64_t)2 << 30);
  assert_true(refuses(ETK_KIND_size, "1MiB..4GiB", "5GiB", "5GiB is above 4GiB"));
  assert_int_equal(parse(&value, NULL, ETK_KIND_duration, "", "1h30m"), ETK_OK);
  assert_int_equal(value.integer, (int64_t)5400 * 1000000000);
  assert_true(refuses(ETK_KIND_duration, "1s..", "250ms", "below 1s"));
}

static void texts_have_lengths(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_text, "1..5", "five5"));
  assert_true(refuses(ETK_KIND_text, "1..5", "", "length of 0 bytes is below 1"));
  assert_true(refuses(ETK_KIND_text, "1..5", "sixsix", "above 5"));
  assert_true(refuses(ETK_KIND_secret, "..3", "hunter2", "above 3"));
  etk_value value;
  char message[ETK_ERROR_SIZE];
  parse(&value, message, ETK_KIND_secret, "..3", "hunter2");
  assert_null(strstr(message, "hunter2"));
}

static void paths_are_looked_at(void **state) {
  (void)state;
  assert_true(takes(ETK_KIND_path, "exists", "Makefile"));
  assert_true(takes(ETK_KIND_path, "dir", "host"));
  assert_true(refuses(ETK_KIND_path, "dir", "Makefile", "'Makefile' is not a folder"));
  assert_true(refuses(ETK_KIND_path, "file", "host", "'host' is a folder, a file is wanted"));
  assert_true(refuses(ETK_KIND_path, "exists", "no-such-file", "'no-such-file' does not exist"));
  assert_true(takes(ETK_KIND_path, "new", "no-such-file"));
  assert_true(refuses(ETK_KIND_path, "new", "no-such-dir/file", "the folder 'no-such-dir'"));
  assert_true(refuses(ETK_KIND_path, "", "", "an empty path"));
}

static void lists_are_cut_and_joined(void **state) {
  etk_value value = {0};
  etk_error e = ETK_ERROR_INIT;
  const char *const given[] = {"1, 2", "", "3"};
  (void)state;
  assert_int_equal(etk_value_parse_texts(&e, &value, &arena, ETK_KIND_ints, "0..", given, 3, true, "--x"), ETK_OK);
  assert_int_equal(value.ints.count, 3);
  assert_int_equal(value.ints.items[0] + value.ints.items[1] * 10 + value.ints.items[2] * 100, 321);
  assert_true(refuses(ETK_KIND_ints, "0..", "1,-2", "--x, item 2: -2 is below 0"));
  assert_true(refuses(ETK_KIND_reals, "", "1,,2", "item 2"));
  const char *const items[] = {"a,b", "c"};
  assert_int_equal(etk_value_parse_texts(&e, &value, &arena, ETK_KIND_texts, "", items, 2, false, "--x"), ETK_OK);
  assert_int_equal(value.texts.count, 2);
  assert_string_equal(value.texts.items[0], "a,b");
}

static void maps_keep_the_last_of_a_key(void **state) {
  etk_value value = {0};
  etk_error e = ETK_ERROR_INIT;
  const char *const given[] = {"a=1", "b=x=y", "a=2"};
  (void)state;
  assert_int_equal(etk_value_parse_texts(&e, &value, &arena, ETK_KIND_map, "", given, 3, true, "--x"), ETK_OK);
  assert_int_equal(value.map.count, 2);
  assert_string_equal(value.map.values[0], "2");
  assert_string_equal(value.map.values[1], "x=y");
  assert_true(refuses(ETK_KIND_map, "", "=x", "is not KEY=VALUE"));
}

static void shown(uint32_t kind, const char *text, const char *as, const char *json) {
  etk_value value;
  etk_text out = ETK_TEXT_INIT, document = ETK_TEXT_INIT;
  assert_int_equal(parse(&value, NULL, kind, kind == ETK_KIND_choice ? "a|b" : "", text), ETK_OK);
  etk_value_show(&out, kind, &value);
  etk_value_json(&document, kind, &value);
  assert_string_equal(out.size ? out.data : "", as);
  assert_string_equal(document.data, json);
  etk_text_free(&out);
  etk_text_free(&document);
}

static void values_show_as_they_are_typed(void **state) {
  (void)state;
  shown(ETK_KIND_int, "-7", "-7", "-7");
  shown(ETK_KIND_real, "1e-5", "1e-5", "1e-5");
  shown(ETK_KIND_flag, "on", "yes", "true");
  shown(ETK_KIND_text, "a \"b\"", "a \"b\"", "\"a \\\"b\\\"\"");
  shown(ETK_KIND_choice, "a", "a", "\"a\"");
  shown(ETK_KIND_size, "4GiB", "4GiB", "4294967296");
  shown(ETK_KIND_size, "1025", "1025", "1025");
  shown(ETK_KIND_duration, "90s", "90s", "90");
  shown(ETK_KIND_duration, "250ms", "250ms", "0.25");
  shown(ETK_KIND_ints, "1,2", "1,2", "[1,2]");
  shown(ETK_KIND_ints, "", "", "[]");
  shown(ETK_KIND_reals, "0.5,2", "0.5,2", "[0.5,2]");
  shown(ETK_KIND_texts, "a,b", "a,b", "[\"a\",\"b\"]");
  shown(ETK_KIND_map, "k=v", "k=v", "{\"k\":\"v\"}");
  shown(ETK_KIND_secret, "hunter2", "(set)", "\"(set)\"");
}

static void unset_values_show_as_nothing(void **state) {
  etk_value value = {0};
  etk_text out = ETK_TEXT_INIT;
  (void)state;
  etk_value_show(&out, ETK_KIND_int, &value);
  etk_value_json(&out, ETK_KIND_int, &value);
  etk_value_show(&out, ETK_KIND_secret, &value);
  assert_string_equal(out.data, "-null(unset)");
  etk_text_free(&out);
}

static void wrong_limits_are_found(void **state) {
  static const struct { uint32_t kind; const char *limits; bool sound; } rows[] = {
      {ETK_KIND_int, "1..9", true},      {ETK_KIND_int, "", true},           {ETK_KIND_int, "9..1", false},      {ETK_KIND_int, "a..b", false},
      {ETK_KIND_int, "1||2", false},     {ETK_KIND_real, "0<..<1", true},    {ETK_KIND_real, "<..1", false},     {ETK_KIND_size, "1MiB..4GiB", true},
      {ETK_KIND_size, "1parsec", false}, {ETK_KIND_choice, "a|b", true},     {ETK_KIND_choice, "", false},       {ETK_KIND_choice, "a||b", false},
      {ETK_KIND_path, "exists", true},   {ETK_KIND_path, "there", false},    {ETK_KIND_text, "1..40", true},     {ETK_KIND_text, "short", false},
      {ETK_KIND_flag, "", true},         {ETK_KIND_flag, "yes|no", false},   {ETK_KIND_ints, "0..", true},       {ETK_KIND_reals, "x", false},
      {ETK_KIND_duration, "..1h", true}, {ETK_KIND_texts, "1..10", true}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_error e = ETK_ERROR_INIT;
    bool sound = !etk_limits_check(&e, rows[i].kind, rows[i].limits);
    if (sound != rows[i].sound) print_message("limits '%s' of kind %u: %s\n", rows[i].limits, rows[i].kind, e.message);
    assert_true(sound == rows[i].sound);
  }
}

/* ---- rows of commands as one table ---- */

#define ROWS                                                                                               \
  "note\t1\nproject\tdemo\t1.0.0\t1.0\t0\tA demo\n"                                                        \
  "command\ttrain\t0\tTrain\\nwell\noption\tint\trank\t8\t1..9\tlora\tr depth\t0\trank\n"                     \
  "option\tint\tseed\t1\t\tlora\t\t4\tseed\noption\tint\tlocal\t1\t\tlora\t\t8\tlocal\n"                      \
  "option\ttext\ttab\ta\\tb\t\tlora\t\t0\ta\\\\n\n"                                                          \
  "command\tgo_on\t0\tGo on\noption\tint\trank\t8\t1..5\tlora\tr size\t0\trank\noption\tint\tseed\t2\t\tlora\t\t0\tseed\n"

static etk_status make_table(etk_option_table *out, etk_arena *own, struct manifest *manifest, size_t count) {
  const struct manifest_command *commands[2];
  etk_status status = manifest_from_text(NULL, manifest, ROWS, sizeof ROWS);
  for (size_t i = 0; !status && i < count; i++) commands[i] = &manifest->commands[i];
  return status ? status : option_table(NULL, out, own, manifest, commands, count);
}

static void one_command_is_a_table_of_its_own(void **state) {
  struct manifest manifest;
  etk_option_table table;
  (void)state;
  assert_int_equal(make_table(&table, &arena, &manifest, 1), ETK_OK);
  assert_string_equal(table.name, "demo:train");
  assert_string_equal(table.summary, "Train\\nwell"); /* decoded in the manifest, escaped again as rows are */
  assert_int_equal(table.count, 4);
  assert_string_equal(table.rows[0].help, "rank");
  assert_string_equal(table.rows[2].name, "local");
  assert_string_equal(table.rows[3].default_text, "a\\tb");
  assert_string_equal(table.rows[3].help, "a\\\\n");
  manifest_fini(&manifest);
}

static void commands_share_the_keys_of_a_table(void **state) {
  struct manifest manifest;
  etk_option_table table;
  (void)state;
  assert_int_equal(make_table(&table, &arena, &manifest, 2), ETK_OK);
  assert_string_equal(table.name, "demo");
  assert_int_equal(table.count, 3);
  assert_string_equal(table.rows[0].help, "rank [train, go-on (1..5)]");
  assert_string_equal(table.rows[0].aliases, "r depth size");
  assert_string_equal(table.rows[0].default_text, "8");
  assert_string_equal(table.rows[1].help, "seed [train: 1, go-on: 2]"); /* nobody's default for all */
  assert_string_equal(table.rows[1].default_text, "-");
  assert_int_equal(table.rows[1].flags, 0); /* advanced for one command only */
  assert_string_equal(table.rows[2].help, "a\\\\n [train]");
  manifest_fini(&manifest);
}

static bool make_both(void *user) {
  etk_arena own = ETK_ARENA_INIT;
  struct manifest manifest;
  etk_option_table table;
  (void)user;
  etk_status status = make_table(&table, &own, &manifest, 2);
  manifest_fini(&manifest);
  etk_arena_fini(&own);
  return !status;
}

static bool parse_everything(void *user) {
  (void)user;
  etk_arena own = ETK_ARENA_INIT;
  const char *const list[] = {"1,2", "3"}, *const pairs[] = {"a=b"};
  etk_value value = {0};
  etk_text out = ETK_TEXT_INIT;
  bool done = !etk_value_parse(NULL, &value, &own, ETK_KIND_text, "", "text", "--x", true) &&
              !etk_value_parse(NULL, &value, &own, ETK_KIND_path, "new", "a/b", "--x", false) &&
              !etk_value_parse_texts(NULL, &value, &own, ETK_KIND_ints, "", list, 2, true, "--x") &&
              !etk_value_parse_texts(NULL, &value, &own, ETK_KIND_map, "", pairs, 1, true, "--x") &&
              etk_value_parse(NULL, &value, &own, ETK_KIND_choice, "a|b", "c", "--x", true) == ETK_E_USAGE;
  value.source = ETK_FROM_SET;
  etk_value_json(&out, ETK_KIND_map, &value);
  done = done && !out.failed;
  etk_text_free(&out);
  etk_arena_fini(&own);
  return done;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(interpose_sweep(parse_everything, NULL) > 0);
  assert_true(interpose_sweep(make_both, NULL) > 0);
}

static int finish(void **state) {
  (void)state;
  etk_arena_fini(&arena);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_hold_their_bounds),    cmocka_unit_test(open_bounds_leave_themselves_out),
                                     cmocka_unit_test(alternatives_are_any_of),     cmocka_unit_test(choices_know_their_words),
                                     cmocka_unit_test(units_count),                 cmocka_unit_test(texts_have_lengths),
                                     cmocka_unit_test(paths_are_looked_at),         cmocka_unit_test(lists_are_cut_and_joined),
                                     cmocka_unit_test(maps_keep_the_last_of_a_key), cmocka_unit_test(values_show_as_they_are_typed),
                                     cmocka_unit_test(unset_values_show_as_nothing), cmocka_unit_test(wrong_limits_are_found),
                                     cmocka_unit_test(one_command_is_a_table_of_its_own), cmocka_unit_test(commands_share_the_keys_of_a_table),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests_name("values", tests, NULL, finish);
}
