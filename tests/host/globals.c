/* The host's own options, wherever they stand. */
#include "globals.h"

#include "../interpose.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 32 };
struct line {
  struct host host;
  char **rest;
  int count;
  etk_error e;
};

/* Words are separated by blanks; there is no quoting. */
static etk_status take(struct line *line, const char *text) {
  static char buffer[512];
  char *words[MOST];
  int count = 0;
  *line = (struct line){.host = {.program = "t"}};
  snprintf(buffer, sizeof buffer, "%s", text);
  for (char *p = buffer; *p && count < MOST;) {
    words[count++] = p;
    p += strcspn(p, " ");
    if (*p) *p++ = 0;
  }
  return globals_take(&line->e, &line->host, count, words, &line->rest, &line->count);
}

static void done(struct line *line) { etk_arena_fini(&line->host.arena); }

static void options_are_taken_wherever_they_stand(void **state) {
  struct line line;
  (void)state;
  assert_int_equal(take(&line, "--json ns:command --config f.yaml word -vv --set a.b=1 --override c=2 --no-run x"), ETK_OK);
  assert_true(line.host.json);
  assert_true(line.host.no_run);
  assert_string_equal(line.host.config, "f.yaml");
  assert_int_equal(line.host.verbose, 2);
  assert_int_equal(line.host.set_count, 2);
  assert_string_equal(line.host.sets[1], "c=2");
  assert_int_equal(line.count, 3);
  assert_string_equal(line.rest[0], "ns:command");
  assert_string_equal(line.rest[2], "x");
  done(&line);
}

static void what_is_not_the_hosts_stays(void **state) {
  struct line line;
  (void)state;
  assert_int_equal(take(&line, "ns:c --rank 4 -n3 -x -qx --no-dropout --unknown=1"), ETK_OK);
  assert_int_equal(line.count, 8);
  assert_false(line.host.quiet); /* -qx is a combination that only the command's parser can read */
  done(&line);
}

static void a_double_dash_ends_them(void **state) {
  struct line line;
  (void)state;
  assert_int_equal(take(&line, "ns:c -- --json -q"), ETK_OK);
  assert_false(line.host.json);
  assert_int_equal(line.count, 4);
  assert_string_equal(line.rest[1], "--");
  done(&line);
}

static void flags_can_be_said_no_to(void **state) {
  struct line line;
  (void)state;
  assert_int_equal(take(&line, "--json --json=no --quiet --no-quiet --progress bar --no-progress --dry_run"), ETK_OK);
  assert_false(line.host.json);
  assert_false(line.host.quiet);
  assert_true(line.host.dry_run);
  assert_string_equal(line.host.progress, "off");
  done(&line);
}

static void mistakes_are_named(void **state) {
  static const struct { const char *words, *message; } rows[] = {{"--config", "--config wants a value: --config FILE"},
                                                                 {"--config --json", "--config wants a value"},
                                                                 {"--config=", "--config: an empty value"},
                                                                 {"--color pink", "'pink' is not one of auto|always|never"},
                                                                 {"--color alwasy", "did you mean 'always'?"},
                                                                 {"--json=perhaps", "neither yes nor no"},
                                                                 {"--progress=loud", "auto|bar|plain|off"}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct line line;
    assert_int_equal(take(&line, rows[i].words), ETK_E_USAGE);
    if (!strstr(line.e.message, rows[i].message)) print_message("%s: %s\n", rows[i].words, line.e.message);
    assert_non_null(strstr(line.e.message, rows[i].message));
    done(&line);
  }
}

static void json_is_known_before_a_mistake(void **state) {
  struct line line;
  (void)state;
  assert_int_equal(take(&line, "--color pink ns:c --json"), ETK_E_USAGE);
  assert_true(line.host.json);
  done(&line);
}

static void words_and_options_are_told_apart(void **state) {
  (void)state;
  static const char *const options[] = {"--rank", "--rank=4", "--no-run", "-n", "-n3", "--a_b-c", "--Rank"};
  static const char *const values[] = {"-", "--", "-5", "-.5", "-1,2", "---", "--- a dash", "--a b", "--5", "rank", ""};
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) assert_true(looks_like_option(options[i]));
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) assert_false(looks_like_option(values[i]));
}

/* --jsonl VALUE behind a command stays there for the command, which may have such an option; the flag is on until it does. */
static void jsonl_with_a_value_is_left_to_the_command(void **state) {
  struct line line;
  (void)state;
  static const struct {
    const char *text;
    int left;
  } cases[] = {{"ns:command word --jsonl file", 4}, {"ns command --jsonl file", 4}, {"ns command --jsonl", 2}, {"ns command --jsonl --quiet", 2},
               {"--jsonl ns command", 2},           {"ns --jsonl command", 2},      {"ns:command --jsonl=yes", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(take(&line, cases[i].text), ETK_OK);
    assert_true(line.host.jsonl);
    assert_int_equal(line.count, cases[i].left);
    done(&line);
  }
}

static void reserved_names_are_reserved(void **state) {
  static const char *const taken[] = {"json", "plugin_dir", "plugin-dir", "override", "h", "q", "v", "run", "no_run", "help_all"};
  static const char *const free_names[] = {"rank", "n", "seed", "output", "j", "jsonx"};
  (void)state;
  for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) assert_true(reserved_option(taken[i]));
  for (size_t i = 0; i < sizeof free_names / sizeof free_names[0]; i++) assert_false(reserved_option(free_names[i]));
}

static bool take_once(void *user) {
  struct line line;
  (void)user;
  bool fine = !take(&line, "--json ns:c --set a=1 --plugin-dir d --trust-dir t -v x");
  done(&line);
  return fine;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(interpose_sweep(take_once, NULL) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(options_are_taken_wherever_they_stand),
                                     cmocka_unit_test(what_is_not_the_hosts_stays),
                                     cmocka_unit_test(a_double_dash_ends_them),
                                     cmocka_unit_test(flags_can_be_said_no_to),
                                     cmocka_unit_test(mistakes_are_named),
                                     cmocka_unit_test(json_is_known_before_a_mistake),
                                     cmocka_unit_test(words_and_options_are_told_apart),
                                     cmocka_unit_test(jsonl_with_a_value_is_left_to_the_command),
                                     cmocka_unit_test(reserved_names_are_reserved),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests_name("globals", tests, NULL, NULL);
}
