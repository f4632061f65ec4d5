/* Values from every source, with a manifest made from a note's text. The scripts of tests/cli cover the same through the whole program. */
#include "resolve.h"

#include "globals.h"

#include "../interpose.h"

#include <etk/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define NOTE                                                                                      \
  "note\t1\nproject\tdemo\t1.0.0\t1.0\t0\tA demo\n"                                               \
  "command\ttrain\t0\tTrain\n"                                                                    \
  "argument\ttext\tmodel\tREQUIRED\t\tthe model\n"                                                \
  "argument\tint\tsizes\tVARIADIC\t1..\tsizes\n"                                                  \
  "option\tint\trank\t8\t1..256\tlora\tr lora_rank\t0\trank\n"                                    \
  "option\treal\tlearning_rate\t1e-4\t0<..1\ttraining\tlr\t0\trate\n"                             \
  "option\tflag\tmerge\tno\t\t\tm\t0\tmerge\n"                                                    \
  "option\ttexts\ttargets\t-\t\tlora\t\t0\ttargets\n"                                             \
  "option\tsecret\ttoken\t-\t\thub\t\t0\ttoken\n"                                                 \
  "option\tint\tlocal\t-\t\tlora\t\t8\tlocal\n"                                                   \
  "command\tinfo\t0\tInfo\noption\tflag\tdeep\tno\t\tinfo\t\t0\tdeep\n"

struct call {
  struct host host;
  struct manifest manifest;
  struct resolved resolved;
  etk_error e;
};

static char config_path[256];

/* Words are separated by blanks; the host's options are taken out first, as the program does. */
static etk_status call(struct call *c, const char *text) {
  static char buffer[512];
  char *words[32], **rest;
  int count = 0, kept = 0;
  *c = (struct call){.host = {.program = "t", .quiet = true}};
  snprintf(buffer, sizeof buffer, "%s", text);
  for (char *p = buffer; *p && count < 32;) {
    words[count++] = p;
    p += strcspn(p, " ");
    if (*p) *p++ = 0;
  }
  etk_status status = manifest_from_text(&c->e, &c->manifest, NOTE, sizeof NOTE);
  if (!status) status = globals_take(&c->e, &c->host, count, words, &rest, &kept);
  return status ? status : resolve(&c->e, &c->resolved, &c->host, &c->manifest, &c->manifest.commands[0], kept, rest);
}

static void done(struct call *c) {
  manifest_fini(&c->manifest);
  etk_arena_fini(&c->host.arena);
}

static const etk_value *option(const struct call *c, const char *name) {
  for (size_t i = 0; i < c->resolved.command->option_count; i++)
    if (!strcmp(c->resolved.command->options[i].name, name)) return &c->resolved.options[i];
  return NULL;
}

static void config(const char *text) { assert_int_equal(etk_fs_write(NULL, config_path, text, strlen(text), true), ETK_OK); }

static void fails_with(const char *words, const char *message) {
  struct call c;
  assert_int_not_equal(call(&c, words), ETK_OK);
  if (!strstr(c.e.message, message)) print_message("%s: %s\n", words, c.e.message);
  assert_non_null(strstr(c.e.message, message));
  done(&c);
}

static void defaults_fill_what_nobody_gave(void **state) {
  struct call c;
  (void)state;
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 8);
  assert_int_equal(option(&c, "rank")->source, ETK_FROM_DEFAULT);
  assert_int_equal(option(&c, "targets")->source, ETK_FROM_UNSET);
  assert_int_equal(resolved_source(&c.resolved, "model"), ETK_FROM_COMMAND_LINE);
  assert_int_equal(resolved_source(&c.resolved, "sizes"), ETK_FROM_UNSET);
  assert_int_equal(resolved_source(&c.resolved, "nothing"), ETK_FROM_UNSET);
  done(&c);
}

static void a_stronger_source_wins(void **state) {
  struct call c;
  char words[512];
  (void)state;
  config("lora:\n  rank: 2\n  targets: [q, v]\ntraining:\n  lr: 0.25\n");
  setenv("EFFICIENTAI__LORA__RANK", "3", 1);
  snprintf(words, sizeof words, "--config %s --set training.learning_rate=0.5 m --rank 5", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 5);
  assert_string_equal(option(&c, "rank")->origin, "--rank");
  assert_true(option(&c, "learning_rate")->real == 0.5); /* exact: a power of two */
  assert_int_equal(option(&c, "learning_rate")->source, ETK_FROM_SET);
  assert_int_equal(option(&c, "targets")->texts.count, 2);
  assert_non_null(strstr(option(&c, "targets")->origin, ":3:3"));
  done(&c);
  snprintf(words, sizeof words, "--config %s m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 3);
  assert_string_equal(option(&c, "rank")->origin, "EFFICIENTAI__LORA__RANK");
  done(&c);
  unsetenv("EFFICIENTAI__LORA__RANK");
}

static void variadic_arguments_are_lists(void **state) {
  struct call c;
  (void)state;
  assert_int_equal(call(&c, "m 1 2 --sizes 3"), ETK_E_USAGE); /* by name it is given whole: then 1 and 2 have no place */
  done(&c);
  assert_int_equal(call(&c, "1 --model m 2"), ETK_OK);
  assert_int_equal(c.resolved.arguments[1].ints.count, 2);
  assert_int_equal(c.resolved.arguments[1].ints.items[1], 2);
  assert_string_equal(c.resolved.arguments[0].text, "m");
  done(&c);
  fails_with("m 1 0", "0 is below 1");
}

static void mistakes_name_what_was_meant(void **state) {
  (void)state;
  fails_with("", "demo:train needs model: the model");
  fails_with("m --rnak 3", "did you mean --rank?");
  fails_with("m --rank", "--rank wants a value (int)");
  fails_with("m --rank 0", "--rank: 0 is below 1 (allowed: 1..256)");
  fails_with("m -r x", "-r: 'x' is not a whole number");
  fails_with("m --set lora.rnak=3", "did you mean 'lora.rank'?");
  fails_with("m --set info.deep=yes", "only other commands do");
  fails_with("m --set lora.local=3", "on the command line only");
  fails_with("m --token abc", "--token is a secret");
  fails_with("m --profile no/where", "is not the name of a profile");
}

static void every_source_is_checked(void **state) {
  char words[512];
  (void)state;
  config("lora:\n  rank: 1000\n");
  snprintf(words, sizeof words, "--config %s m --rank 5", config_path);
  fails_with(words, ":2:3: lora.rank: 1000 is above 256");
}

static void keys_of_other_commands_and_projects_are_fine(void **state) {
  struct call c;
  char words[512];
  (void)state;
  config("info:\n  deep: true\nother-project:\n  anything: [1]\ndemo:\n  lora:\n    rank: 9\nlora:\n  rank: 2\n");
  snprintf(words, sizeof words, "--config %s m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 9);
  done(&c);
}

static void secrets_come_from_files_and_the_environment(void **state) {
  struct call c;
  char words[512];
  (void)state;
  config("hunter2\n");
  snprintf(words, sizeof words, "m --token @%s", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_string_equal(option(&c, "token")->text, "hunter2");
  done(&c);
  setenv("EFFICIENTAI__DEMO__HUB__TOKEN", "xyz", 1);
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_string_equal(option(&c, "token")->text, "xyz");
  done(&c);
  unsetenv("EFFICIENTAI__DEMO__HUB__TOKEN");
}

static bool resolve_once(void *user) {
  struct call c;
  bool fine = !call(&c, user);
  done(&c);
  return fine;
}

/* A wrong word: the message with its suggestion is made without memory too. */
static bool fail_once(void *user) {
  struct call c;
  etk_status status = call(&c, user);
  bool fine = status == ETK_E_USAGE && strstr(c.e.message, "lora.rnak") != NULL;
  done(&c);
  return fine;
}

static void every_allocation_may_fail(void **state) {
  char words[512];
  (void)state;
  config("lora:\n  rank: 2\n  targets: [q, v]\ntraining:\n  lr: 0.25\n");
  setenv("EFFICIENTAI__LORA__RANK", "3", 1);
  snprintf(words, sizeof words, "--config %s --set training.learning_rate=0.5 m 1 2 3 --rank=5 --targets a,b --targets c", config_path);
  assert_true(interpose_sweep(resolve_once, words) > 0);
  assert_true(interpose_sweep(fail_once, (char[]){"m --set lora.rnak=3"}) > 0);
  unsetenv("EFFICIENTAI__LORA__RANK");
}

int main(void) {
  const char *dir = getenv("ETK_TMP");
  snprintf(config_path, sizeof config_path, "%s/etk-resolve-%ld.yaml", dir && *dir ? dir : "/tmp", (long)getpid());
  const struct CMUnitTest tests[] = {cmocka_unit_test(defaults_fill_what_nobody_gave), cmocka_unit_test(a_stronger_source_wins),
                                     cmocka_unit_test(variadic_arguments_are_lists),   cmocka_unit_test(mistakes_name_what_was_meant),
                                     cmocka_unit_test(every_source_is_checked),        cmocka_unit_test(keys_of_other_commands_and_projects_are_fine),
                                     cmocka_unit_test(secrets_come_from_files_and_the_environment),
                                     cmocka_unit_test(every_allocation_may_fail)};
  int failed = cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
  unlink(config_path);
  return failed;
}
