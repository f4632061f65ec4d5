/* Words of a line, and what may follow them. Completion of plugins and in the real shells: tests/cli/complete.sh. */
#include "complete.h"

#include "shell_session.h"
#include "shell_words.h"

#include "../interpose.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- words ---- */

static void splits(const char *line, const char *const *wanted) {
  struct shell_words words;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(shell_split(&e, &words, line, strlen(line), true), ETK_OK);
  size_t count = 0;
  for (; wanted[count]; count++) {
    assert_true(count < words.count);
    assert_string_equal(words.words[count], wanted[count]);
  }
  assert_int_equal(words.count, count);
  assert_null(words.words[count]);
  shell_words_free(&words);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NONE ((const char *const[]){NULL})

/* Expected words by the rules of POSIX, XCU 2.2 Quoting; sh -c 'printf "%s\n" LINE' prints the same. */
static void lines_are_cut_as_a_posix_shell_cuts_them(void **state) {
  (void)state;
  splits("", NONE);
  splits("  \t ", NONE);
  splits("one two\tthree", WORDS("one", "two", "three"));
  splits("a'b c'd", WORDS("ab cd"));
  splits("'a\\b' \"a\\b\"", WORDS("a\\b", "a\\b"));
  splits("\"\\$ \\` \\\" \\\\ \\x\"", WORDS("$ ` \" \\ \\x"));
  splits("a\\ b \\'c\\'", WORDS("a b", "'c'"));
  splits("'' \"\" x''", WORDS("", "", "x"));
  splits("'it'\\''s'", WORDS("it's"));
  splits("a\\\nb 'c\nd'", WORDS("ab", "c\nd"));
  splits("a#b #c d", WORDS("a#b"));
  splits("'#' \"|\" \\;", WORDS("#", "|", ";"));
}

static void refuses(const char *line, const char *message) {
  struct shell_words words;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(shell_split(&e, &words, line, strlen(line), true), ETK_E_USAGE);
  assert_non_null(strstr(e.message, message));
  shell_words_free(&words);
}

static void what_is_left_open_is_an_error(void **state) {
  (void)state;
  refuses("a 'b", "opened and not closed");
  refuses("a \"b\\\"", "opened and not closed");
  refuses("a\\", "backslash");
}

static void operators_of_a_shell_are_errors_outside_quotes(void **state) {
  (void)state;
  refuses("a | b", "'|'");
  refuses("a;b", "';'");
  refuses("a >b", "'>'");
  refuses("a&", "'&'");
}

static void the_beginning_of_a_line_tells_what_is_open(void **state) {
  (void)state;
  struct shell_words words;
  assert_int_equal(shell_split(NULL, &words, "a \"b c", 6, false), ETK_OK);
  assert_int_equal(words.count, 2);
  assert_string_equal(words.words[1], "b c");
  assert_int_equal(words.starts[1], 2);
  assert_true(words.touching);
  assert_false(words.bare[1]);
  assert_int_equal(words.quote, '"');
  shell_words_free(&words);
  assert_int_equal(shell_split(NULL, &words, "a ", 2, false), ETK_OK);
  assert_int_equal(words.count, 1);
  assert_false(words.touching);
  shell_words_free(&words);
}

static void a_quoted_word_reads_as_it_was(void **state) {
  static const char *const texts[] = {"", "plain", "two words", "it's", "\"", "\\", "$HOME", "a\nb", "~/x", "#", "*?[", "ü b", "!", "a=b:c"};
  static const char quotes[] = {0, '\'', '"'};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    for (size_t k = 0; k < 3; k++) {
      etk_arena arena = ETK_ARENA_INIT;
      char line[64], *quoted = shell_quote(&arena, texts[i], quotes[k]), quote[2] = {quotes[k], 0};
      snprintf(line, sizeof line, "%s%s%s", quote, quoted, quote);
      splits(line, WORDS(texts[i]));
      etk_arena_fini(&arena);
    }
}

static void lines_with_secrets_are_not_kept(void **state) {
  (void)state;
  assert_true(history_wants("train --rank 8"));
  assert_true(history_wants("set lora.rank=8"));
  assert_true(history_wants("demo:kinds --max-tokens 5"));
  assert_false(history_wants(""));
  assert_false(history_wants(" train"));
  assert_false(history_wants("download --api-key abc"));
  assert_false(history_wants("download --api-key=abc"));
  assert_false(history_wants("set hub.token=abc"));
  assert_false(history_wants("x --note \"Authorization: Bearer abcdefghijkl\""));
}

/* ---- the engine, over the built-ins ---- */

struct asked {
  struct host host;
  struct completion found;
};

/* The last word is the cursor's. */
static etk_status ask(struct asked *a, const char *const *words) {
  size_t count = 0;
  while (words[count]) count++;
  a->host = (struct host){.program = "t"};
  etk_error e = ETK_ERROR_INIT;
  a->found = (struct completion){0};
  etk_status status = host_path(&e, &a->host);
  if (!status) a->host.path.count = 0; /* no plugin of this machine */
  return status ? status : complete_line(&e, &a->found, &a->host, words, count - 1, words[count - 1]);
}

static void done(struct asked *a) {
  completion_free(&a->found);
  search_path_fini(&a->host.path);
  etk_arena_fini(&a->host.arena);
}

static void offers(const char *const *words, const char *const *wanted) {
  struct asked a;
  assert_int_equal(ask(&a, words), ETK_OK);
  size_t count = 0;
  for (; wanted[count]; count++) {
    assert_true(count < a.found.count);
    assert_string_equal(a.found.items[count].text, wanted[count]);
    assert_non_null(a.found.items[count].help);
  }
  assert_int_equal(a.found.count, count);
  done(&a);
}

static void built_ins_and_their_commands_are_offered(void **state) {
  (void)state;
  offers(WORDS("ver"), WORDS("version"));
  offers(WORDS("runs", "pr"), WORDS("prune"));
  offers(WORDS("runs:pr"), WORDS("runs:prune"));
  offers(WORDS("help", "vers"), WORDS("version"));
  offers(WORDS("nosuch", ""), NONE);
  offers(WORDS("nosuch:x", ""), NONE);
  offers(WORDS("compl"), NONE); /* hidden */
}

static void options_and_their_values_are_offered(void **state) {
  (void)state;
  offers(WORDS("runs", "list", "--sta"), WORDS("--status"));
  offers(WORDS("runs", "list", "--status", "c"), WORDS("cancelled", "crashed"));
  offers(WORDS("runs", "list", "--status=c"), WORDS("--status=cancelled", "--status=crashed"));
  offers(WORDS("runs", "list", "--status", "ok", "--sta"), NONE);
  offers(WORDS("runs", "list", "--", "--sta"), NONE);
  offers(WORDS("runs:list", "--sta"), WORDS("--status"));
  offers(WORDS("--color", "n"), WORDS("never"));
  offers(WORDS("--color=n"), WORDS("--color=never"));
  offers(WORDS("--json", "--jso"), WORDS("--jsonl"));
  offers(WORDS("runs", "list", "-n", "5", "--sta"), WORDS("--status"));
  offers(WORDS("--plugin-dir", "--sta"), NONE); /* the value of --plugin-dir */
}

static void paths_are_asked_for_with_what_stands_before_them(void **state) {
  struct asked a;
  (void)state;
  assert_int_equal(ask(&a, WORDS("check", "host/ma")), ETK_OK);
  assert_int_equal(a.found.paths, COMPLETE_FILES);
  assert_string_equal(a.found.path, "host/ma");
  done(&a);
  assert_int_equal(ask(&a, WORDS("--config=x/y")), ETK_OK);
  assert_int_equal(a.found.paths, COMPLETE_FILES);
  assert_string_equal(a.found.kept, "--config=");
  assert_string_equal(a.found.path, "x/y");
  done(&a);
  assert_int_equal(ask(&a, WORDS("--plugin-dir", "h")), ETK_OK);
  assert_int_equal(a.found.paths, COMPLETE_FOLDERS);
  done(&a);
}

static bool ask_and_cut(void *user) {
  struct asked a;
  struct shell_words words;
  (void)user;
  bool good = ask(&a, WORDS("runs", "list", "--status", "c")) == ETK_OK && a.found.count == 2;
  done(&a);
  good = shell_split(NULL, &words, "a 'b c' d", 9, true) == ETK_OK && words.count == 3 && good;
  shell_words_free(&words);
  return good;
}

static void an_allocation_that_fails_leaves_nothing_behind(void **state) {
  (void)state;
  assert_true(interpose_sweep(ask_and_cut, NULL) > 5);
}

int main(void) {
  static const char *const names[] = {"XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) setenv(names[i], "/nonexistent", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_cut_as_a_posix_shell_cuts_them),
      cmocka_unit_test(what_is_left_open_is_an_error),
      cmocka_unit_test(operators_of_a_shell_are_errors_outside_quotes),
      cmocka_unit_test(the_beginning_of_a_line_tells_what_is_open),
      cmocka_unit_test(a_quoted_word_reads_as_it_was),
      cmocka_unit_test(lines_with_secrets_are_not_kept),
      cmocka_unit_test(built_ins_and_their_commands_are_offered),
      cmocka_unit_test(options_and_their_values_are_offered),
      cmocka_unit_test(paths_are_asked_for_with_what_stands_before_them),
      cmocka_unit_test(an_allocation_that_fails_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
