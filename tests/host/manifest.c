/* Manifests from text and from tables, their rules and their differences. */
#include "host.h"
#include "builtin.h"
#include "manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../interpose.h"

/* A real table and its note, made by the header that plugins use. */
#define RUN_ARGS(ARG) ARG(text, name, REQUIRED, "1..40", "a \\t tab") ARG(path, files, VARIADIC, "exists", "files")
#define RUN_OPTIONS(OPT)                                                        \
  OPT(int, times, "1", "1..9", "group", "n often", 0, "how \\\\ often")         \
  OPT(choice, shape, "a", "a|b\\|c", "", "", ETK_ADVANCED | ETK_LOCAL, "a\\|b") \
  OPT(secret, key, "-", "", "", "", (2), "a key")
#define COMMANDS(CMD) CMD(run_it, RUN_ARGS, RUN_OPTIONS, ETK_TRACKED, "Run it") CMD(stop, ETK_NONE, ETK_NONE, 0, "Stop it")
ETK_PROJECT("sample", "1.2.3", "A sample", COMMANDS)
static etk_status run_it_run(etk_run *run, const char *name, struct etk_texts files, const struct run_it_options *o) { return (void)run, (void)name, (void)files, (void)o, ETK_OK; }
static etk_status stop_run(etk_run *run, const struct stop_options *o) { return (void)run, (void)o, ETK_OK; }

#define HEAD "note\t1\nproject\tx\t1.0.0\t1.0\t0\tsummary\n"

static etk_error error;
static struct manifest m;

static etk_status read_text(const char *text) {
  etk_error_clear(&error);
  return manifest_from_text(&error, &m, text, strlen(text));
}
static void says(const char *words) {
  if (!strstr(error.message, words)) fail_msg("'%s' is not in '%s'", words, error.message);
}
static void refused(const char *text, const char *words) {
  assert_int_not_equal(read_text(text), ETK_OK);
  says(words);
  assert_null(m.commands);
  assert_null(m.arena.first);
}

/* ---- reading ---- */

static void the_note_of_a_plugin_reads_back_whole(void **state) {
  (void)state;
  assert_int_equal(manifest_from_text(&error, &m, etk__note.text, sizeof etk__note.text), ETK_OK);
  assert_string_equal(m.name_space, "sample");
  assert_string_equal(m.version, "1.2.3");
  assert_string_equal(m.summary, "A sample");
  assert_int_equal(m.abi_major, 1);
  assert_int_equal(m.abi_minor, 0);
  assert_int_equal(m.note_revision, 1);
  assert_int_equal(m.command_count, 2);
  const struct manifest_command *c = &m.commands[0];
  assert_string_equal(c->name, "run_it");
  assert_string_equal(c->summary, "Run it");
  assert_int_equal(c->flags, ETK_TRACKED);
  assert_int_equal(c->argument_count, 2);
  assert_int_equal(c->option_count, 3);
  assert_string_equal(c->arguments[0].help, "a \t tab");
  assert_int_equal(c->arguments[0].need, ETK_NEED_REQUIRED);
  assert_int_equal(c->arguments[1].kind, ETK_KIND_path);
  assert_int_equal(c->arguments[1].need, ETK_NEED_VARIADIC);
  assert_string_equal(c->options[0].help, "how \\ often");
  assert_string_equal(c->options[0].aliases, "n often");
  assert_string_equal(c->options[0].group, "group");
  assert_string_equal(c->options[0].default_text, "1");
  assert_string_equal(c->options[1].limits, "a|b\\|c"); /* '|' has a meaning there, so escapes stay */
  assert_string_equal(c->options[1].help, "a|b");
  assert_int_equal(c->options[1].flags, ETK_ADVANCED | ETK_LOCAL);
  assert_int_equal(c->options[2].flags, ETK_HIDDEN);
  assert_int_equal(m.commands[1].argument_count, 0);
  assert_ptr_equal(manifest_command(&m, "run-it"), c);
  assert_ptr_equal(manifest_command(&m, "run_it"), c);
  assert_null(manifest_command(&m, "run"));
  manifest_fini(&m);
}

static void the_table_of_a_plugin_says_the_same(void **state) {
  (void)state;
  struct manifest table;
  assert_int_equal(manifest_from_text(&error, &m, etk__note.text, sizeof etk__note.text), ETK_OK);
  assert_int_equal(manifest_from_project(&error, &table, &etk_project_v1), ETK_OK);
  assert_int_equal(manifest_equal(&error, &m, &table), ETK_OK);
  manifest_fini(&table);
  manifest_fini(&m);
}

static void padding_after_the_text_is_not_text(void **state) {
  (void)state;
  static const char padded[] = HEAD "command\tgo\t0\tGo\n\0\0\0\0\0\0";
  assert_int_equal(manifest_from_text(&error, &m, padded, sizeof padded), ETK_OK);
  assert_int_equal(m.command_count, 1);
  manifest_fini(&m);
}

static void rows_and_columns_of_later_revisions_are_passed_over(void **state) {
  (void)state;
  assert_int_equal(read_text("note\t7\tmore\nproject\tx\t1.0.0\t1.0\t0\tsummary\tlicence\nauthor\tA. N. Other\ncommand\tgo\t0\tGo\tmore\texamples\n"
                             "example\tgo --fast\noption\tint\tn\t1\t\t\t\t0\thelp\tunit\nargument\ttext\ta\tREQUIRED\t\thelp\tmore\n"),
                   ETK_OK);
  assert_int_equal(m.note_revision, 7);
  assert_string_equal(m.summary, "summary");
  assert_string_equal(m.commands[0].summary, "Go");
  assert_string_equal(m.commands[0].options[0].help, "help");
  assert_string_equal(m.commands[0].arguments[0].help, "help");
  manifest_fini(&m);
}

static void a_missing_column_is_named_with_its_row_and_line(void **state) {
  (void)state;
  refused(HEAD "command\tgo\t0\n", "note line 3: a row of type 'command' has 2 columns and needs 3 (name, flags, summary)");
  refused(HEAD "command\tgo\t0\tGo\noption\tint\tn\t1\t\t\t\t0\n", "note line 4: a row of type 'option' has 7 columns and needs 8");
  refused(HEAD "command\tgo\t0\tGo\nargument\ttext\n", "note line 4: a row of type 'argument' has 1 columns");
  refused("note\t1\nproject\tx\t1.0.0\n", "note line 2: a row of type 'project'");
}

static void damaged_text_is_an_error_that_says_where(void **state) {
  (void)state;
  refused("", "the note is empty");
  refused("note\t1\n", "has no 'project' row");
  refused("hello\n", "note line 1: is not a 'note' row but 'hello'");
  refused("note\tone\n", "note line 1: the revision 'one' is not a positive number");
  refused(HEAD "command\tgo\t0\tGo", "note line 3: ends in the middle");
  refused(HEAD HEAD, "note line 3: a second 'note' row");
  refused(HEAD "project\ty\t1.0.0\t1.0\t0\ts\n", "a second 'project' row");
  refused("note\t1\ncommand\tgo\t0\tGo\n", "a command before the 'project' row");
  refused(HEAD "option\tint\tn\t1\t\t\t\t0\thelp\n", "an option before any command");
  refused(HEAD "argument\ttext\ta\tREQUIRED\t\thelp\n", "an argument before any command");
  refused(HEAD "command\tgo\t0\tGo\nargument\ttext\ta\tMAYBE\t\thelp\n", "the need 'MAYBE' is not REQUIRED, OPTIONAL or VARIADIC");
  refused("note\t1\nproject\tx\t1.0.0\tone\t0\ts\n", "the ABI 'one' is not MAJOR.MINOR");
  refused("note\t1\nproject\tx\t1.0.0\t1.99999\t0\ts\n", "the ABI '1.99999'");
  refused(HEAD "command\tgo\t0\tGo \x1b[31m\n", "note line 3: holds the control byte 0x1b");
}

static void an_unknown_kind_asks_for_a_newer_host(void **state) {
  (void)state;
  assert_int_equal(read_text(HEAD "command\tgo_on\t0\tGo\noption\ttensor\tw\t-\t\t\t\t0\thelp\n"), ETK_E_UNSUPPORTED);
  says("option 'w' of command 'go-on' is of the kind 'tensor'");
  says("update efficientai-toolkit");
}

static void rows_of_another_abi_are_not_judged(void **state) {
  (void)state;
  assert_int_equal(read_text("note\t1\nproject\tx\t1.0.0\t2.0\t0\tsummary\ncommand\tgo\toption\tunheard of\n"), ETK_OK);
  assert_int_equal(m.abi_major, 2);
  assert_int_equal(m.command_count, 0);
  manifest_fini(&m);
}

static void flags_are_what_the_preprocessor_leaves(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int value; /* -1: refused */
  } cases[] = {{"0", 0},       {"1|8", 9},        {"1 | 2", 3},    {"(1 | 2)", 3},      {"((1)|(2|4))", 7}, {"4u", 4},          {" 2 ", 2},  {"", -1},
               {"|", -1},      {"1|", -1},        {"|1", -1},      {"(1", -1},          {"1)", -1},         {"1 2", -1},        {"ETK_X", -1},
               {"0x1", -1},    {"-1", -1},        {"()", -1},      {"4294967296", -1},  {"1||2", -1},       {"1+2", -1}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[256];
    snprintf(text, sizeof text, HEAD "command\tgo\t%s\tGo\n", cases[i].text);
    etk_status status = read_text(text);
    if (cases[i].value < 0) {
      if (!status) fail_msg("'%s' was read as flags", cases[i].text);
      says("is not decimal numbers joined by '|'");
    } else {
      if (status) fail_msg("'%s': %s", cases[i].text, error.message);
      assert_int_equal(m.commands[0].flags, cases[i].value);
      manifest_fini(&m);
    }
  }
}

static void only_our_escapes_are_decoded(void **state) {
  (void)state;
  assert_int_equal(read_text(HEAD "command\tgo\t0\ta\\tb\\nc\\|d\\\\e\\xf\\\n"), ETK_OK);
  assert_string_equal(m.commands[0].summary, "a\tb\nc|d\\e\\xf\\");
  manifest_fini(&m);
}

static void every_beginning_of_a_note_is_survived(void **state) {
  (void)state;
  for (size_t size = 0; size < sizeof etk__note.text; size++) {
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, etk__note.text, size);
    if (!manifest_from_text(&error, &m, copy, size)) {
      assert_true(size && (copy[size - 1] == '\n')); /* only a whole number of rows reads */
      manifest_fini(&m);
    }
    free(copy);
  }
}

static bool read_once(void *user) {
  (void)user;
  struct manifest table;
  if (manifest_from_project(&error, &table, &etk_project_v1)) {
    assert_true(error.status == ETK_E_NO_MEMORY);
    return false;
  }
  manifest_fini(&table);
  return true;
}
static void failing_memory_neither_crashes_nor_leaks(void **state) {
  (void)state;
  assert_true(interpose_sweep(read_once, NULL) >= 2); /* the text and the tables, at least */
}

/* ---- rules ---- */

static char findings[4096];
static void collect(void *user, const char *finding) {
  (void)user;
  size_t n = strlen(findings);
  snprintf(findings + n, sizeof findings - n, "%s\n", finding);
}
static size_t check(const char *text) {
  findings[0] = '\0';
  assert_int_equal(read_text(text), ETK_OK);
  size_t count = manifest_check(&m, collect, NULL);
  manifest_fini(&m);
  return count;
}
static void finds(const char *rows, const char *words) {
  char text[1024];
  snprintf(text, sizeof text, HEAD "command\tgo\t0\tGo\n%s", rows);
  size_t count = check(text);
  if (count != 1) fail_msg("%zu findings for '%s': %s", count, rows, findings);
  if (!strstr(findings, words)) fail_msg("'%s' is not in '%s'", words, findings);
}

static void a_good_manifest_has_no_findings(void **state) {
  (void)state;
  findings[0] = '\0';
  assert_int_equal(manifest_from_project(&error, &m, &etk_project_v1), ETK_OK);
  assert_int_equal(manifest_check(&m, collect, NULL), 0);
  assert_int_equal(manifest_usable(&error, &m), ETK_OK);
  manifest_fini(&m);
}

static void each_broken_rule_is_one_finding(void **state) {
  (void)state;
  finds("option\tint\tBad\t1\t\t\t\t0\th\n", "the option 'Bad' is not a legal name");
  finds("option\tint\tjson\t1\t\t\t\t0\th\n", "the option 'json' is reserved");
  finds("option\tflag\tjsonl\tno\t\t\t\t0\th\n", "the option 'jsonl' is reserved"); /* with a value it may be a command's */
  finds("option\tint\tn\t1\t\t\tplugin-dir\t0\th\n", "the alias 'plugin-dir' is reserved");
  finds("option\tint\tn\t1\t\t\tv\t0\th\n", "the alias 'v' is reserved");
  finds("option\tint\tn\t1\t\t\t?\t0\th\n", "the alias '?' is not a legal name");
  finds("option\tint\tn\t0\t1..9\t\t\t0\th\n", "does not obey its limits");
  finds("option\tint\tn\tx\t\t\t\t0\th\n", "does not obey its limits");
  finds("option\tint\tn\t1\tone..two\t\t\t0\th\n", "option 'n'");
  finds("option\tchoice\tn\tc\ta|b\t\t\t0\th\n", "does not obey its limits");
  finds("option\tsecret\tn\tpassword\t\t\t\t0\th\n", "is a secret and has a default");
  finds("option\tsecret\tn\t\t\t\t\t0\th\n", "is a secret and has a default");
  finds("option\tint\tn\t1\t\tA group\t\t0\th\n", "the group 'A group' of option 'n'");
  finds("option\tint\tn\t1\t\t\t\t16\th\n", "has flags 16, of which 16 mean nothing");
  finds("option\tint\tn\t1\t\t\t\t0\th \xff\n", "is not UTF-8 text");
  finds("argument\ttext\ta\tVARIADIC\t\th\nargument\ttext\tb\tVARIADIC\t\th\n", "the argument 'a' is VARIADIC and not the last one");
  finds("argument\ttext\ta\tOPTIONAL\t\th\nargument\ttext\tb\tREQUIRED\t\th\n", "the argument 'b' is REQUIRED and comes after one that is not");
  finds("argument\tmap\ta\tVARIADIC\t\th\n", "of kind map cannot be VARIADIC");
  finds("argument\tpath\ta\tREQUIRED\tthere\th\n", "argument 'a'");
}

static void names_are_unique_over_arguments_options_and_aliases(void **state) {
  (void)state;
  assert_int_equal(check(HEAD "command\tgo\t0\tGo\nargument\ttext\ta_b\tREQUIRED\t\th\noption\tint\tn\t1\t\t\ta-b\t0\th\n"), 2);
  assert_non_null(strstr(findings, "the name 'a_b' is used 2 times"));
  assert_int_equal(check(HEAD "command\tgo_on\t0\tGo\ncommand\tgo_on\t0\tGo\n"), 1);
  assert_non_null(strstr(findings, "the command 'go-on' is declared twice"));
}

static void names_and_keys_that_mean_two_things_are_found(void **state) {
  (void)state;
  finds("option\tflag\ta\tno\t\t\t\t0\thelp\noption\tint\tno_a\t1\t\t\t\t0\thelp\n", "the name 'no_a' is the opposite of the flag 'a' too");
  finds("option\tflag\ta\tno\t\t\tall-of\t0\thelp\noption\tint\tno_all_of\t1\t\t\t\t0\thelp\n", "the name 'no_all-of' is the opposite");
  finds("option\tint\ttraining\t1\t\t\t\t0\thelp\noption\tint\tb\t1\t\ttraining\t\t0\thelp\n",
        "the key 'training' of option 'training' is a group of options too");
  finds("option\tint\tb\t1\t\ta\t\t0\thelp\ncommand\tcome\t0\tCome\noption\tint\tx\t1\t\ta.b.c\t\t0\thelp\n",
        "the key 'a.b' of option 'b' is a group of options too");
  finds("option\tint\tx\t1\t\tprofiles\t\t0\thelp\n", "the key 'profiles.x' of option 'x' is reserved");
  finds("option\tint\tx\t1\t\ta..b\t\t0\thelp\n", "the group 'a..b' of option 'x' is not a legal name");
}

static void versions_and_namespaces_are_checked(void **state) {
  (void)state;
  static const char *const good[] = {"0.0.0", "1.2.3", "10.20.30", "1.0.0-beta.1", "1.0.0+build"}, *const bad[] = {"", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0 "};
  char text[256];
  for (size_t i = 0; i < 5; i++) {
    snprintf(text, sizeof text, "note\t1\nproject\tx\t%s\t1.0\t0\ts\ncommand\tgo\t0\tGo\n", good[i]);
    if (check(text)) fail_msg("'%s' is refused", good[i]);
  }
  for (size_t i = 0; i < 9; i++) {
    snprintf(text, sizeof text, "note\t1\nproject\tx\t%s\t1.0\t0\ts\ncommand\tgo\t0\tGo\n", bad[i]);
    if (check(text) != 1) fail_msg("'%s' passes", bad[i]);
  }
  static const char *const legal[] = {"a", "lora-finetuning-mlx", "a1-2"}, *const illegal[] = {"", "A", "1a", "-a", "a-", "a--b", "a_b", "a b", "help", "projects", "runs", "ä", "a/b", "../a"};
  for (size_t i = 0; i < 3; i++) assert_true(legal_namespace(legal[i]));
  for (size_t i = 0; i < 14; i++)
    if (legal_namespace(illegal[i])) fail_msg("'%s' passes", illegal[i]);
  char longest[66];
  memset(longest, 'a', 65);
  longest[65] = '\0';
  assert_false(legal_namespace(longest));
  longest[64] = '\0';
  assert_true(legal_namespace(longest));
  assert_true(legal_name("learning_rate"));
  assert_false(legal_name("learning-rate"));
  assert_false(legal_name("_x"));
  assert_false(legal_name(""));
}

static void no_builtin_is_a_legal_namespace(void **state) {
  (void)state;
  for (size_t i = 0; builtins[i]; i++) {
    char shown[80];
    if (legal_namespace(shown_name(shown, sizeof shown, builtins[i]->name_space))) fail_msg("a plugin could be called '%s'", shown);
  }
}

/* ---- differences ---- */

static void a_difference_is_told_with_its_place(void **state) {
  (void)state;
  static const char base[] = HEAD "command\tgo\t0\tGo\nargument\ttext\ta\tREQUIRED\t1..4\thelp\noption\tint\tn\t1\t0..9\tg\tx\t0\thelp\n";
  static const struct {
    const char *text, *words;
  } cases[] = {
      {"note\t1\nproject\ty\t1.0.0\t1.0\t0\tsummary\n", "the note's namespace is 'x', the table's is 'y'"},
      {"note\t1\nproject\tx\t1.0.1\t1.0\t0\tsummary\n", "the note's version is '1.0.0'"},
      {"note\t1\nproject\tx\t1.0.0\t1.0\t0\tother\n", "the note's summary is"},
      {HEAD, "the note's number of commands is '1', the table's is '0'"},
      {HEAD "command\twent\t0\tGo\n", "name of a command is 'go', the table's is 'went'"},
      {HEAD "command\tgo\t1\tGo\n", "command 'go': the note's flags is '0', the table's is '1'"},
      {HEAD "command\tgo\t0\tGo\n", "command 'go': the note's number of arguments is '1'"},
      {HEAD "command\tgo\t0\tGo\nargument\ttext\ta\tREQUIRED\t1..5\thelp\noption\tint\tn\t1\t0..9\tg\tx\t0\thelp\n", "command 'go', argument 'a': the note's limits is '1..4'"},
      {HEAD "command\tgo\t0\tGo\nargument\tpath\ta\tREQUIRED\t1..4\thelp\noption\tint\tn\t1\t0..9\tg\tx\t0\thelp\n", "kind is 'text', the table's is 'path'"},
      {HEAD "command\tgo\t0\tGo\nargument\ttext\ta\tREQUIRED\t1..4\thelp\noption\tint\tn\t1\t0..9\tg\ty\t0\thelp\n", "command 'go', option 'n': the note's aliases is 'x'"},
      {HEAD "command\tgo\t0\tGo\nargument\ttext\ta\tREQUIRED\t1..4\thelp\noption\tint\tn\t1\t0..9\tg\tx\t4\thelp\n", "option 'n': the note's flags is '0', the table's is '4'"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct manifest other;
    assert_int_equal(read_text(base), ETK_OK);
    assert_int_equal(manifest_from_text(&error, &other, cases[i].text, strlen(cases[i].text)), ETK_OK);
    assert_int_equal(manifest_equal(&error, &m, &other), ETK_E_FORMAT);
    says(cases[i].words);
    manifest_fini(&other);
    manifest_fini(&m);
  }
}

static void kinds_have_one_name_each(void **state) {
  (void)state;
  uint32_t kind;
  for (uint32_t i = ETK_KIND_int; i <= ETK_KIND_map; i++) {
    assert_non_null(etk_kind_name(i));
    assert_true(etk_kind_parse(&kind, etk_kind_name(i)));
    assert_int_equal(kind, i);
  }
  assert_null(etk_kind_name(0));
  assert_null(etk_kind_name(ETK_KIND_map + 1));
  assert_null(etk_kind_name(UINT32_MAX));
  assert_false(etk_kind_parse(&kind, "tensor"));
  char shown[64], small[4];
  assert_string_equal(shown_name(shown, sizeof shown, "learning_rate"), "learning-rate");
  assert_string_equal(shown_name(small, sizeof small, "learning_rate"), "lea");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_note_of_a_plugin_reads_back_whole),
                                     cmocka_unit_test(the_table_of_a_plugin_says_the_same),
                                     cmocka_unit_test(padding_after_the_text_is_not_text),
                                     cmocka_unit_test(rows_and_columns_of_later_revisions_are_passed_over),
                                     cmocka_unit_test(a_missing_column_is_named_with_its_row_and_line),
                                     cmocka_unit_test(damaged_text_is_an_error_that_says_where),
                                     cmocka_unit_test(an_unknown_kind_asks_for_a_newer_host),
                                     cmocka_unit_test(rows_of_another_abi_are_not_judged),
                                     cmocka_unit_test(flags_are_what_the_preprocessor_leaves),
                                     cmocka_unit_test(only_our_escapes_are_decoded),
                                     cmocka_unit_test(every_beginning_of_a_note_is_survived),
                                     cmocka_unit_test(failing_memory_neither_crashes_nor_leaks),
                                     cmocka_unit_test(a_good_manifest_has_no_findings),
                                     cmocka_unit_test(each_broken_rule_is_one_finding),
                                     cmocka_unit_test(names_and_keys_that_mean_two_things_are_found),
                                     cmocka_unit_test(names_are_unique_over_arguments_options_and_aliases),
                                     cmocka_unit_test(versions_and_namespaces_are_checked),
                                     cmocka_unit_test(no_builtin_is_a_legal_namespace),
                                     cmocka_unit_test(a_difference_is_told_with_its_place),
                                     cmocka_unit_test(kinds_have_one_name_each)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
