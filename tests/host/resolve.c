/* Values from every source, with a manifest made from a note's text. The scripts of tests/cli cover the same through the whole program. */
#include "resolve.h"

#include "globals.h"
#include "slot.h"

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
  "option\tint\tseed\t0\t\ta\t\t0\tseed\noption\tint\trandom\t0\t\tb\tseed\t0\ttwice, which check refuses\n" \
  "option\tint\tlocal\t-\t\tlora\t\t8\tlocal\n"                                                   \
  "command\tinfo\t0\tInfo\noption\tflag\tdeep\tno\t\tinfo\t\t0\tdeep\n"

struct call {
  struct host host;
  struct manifest manifest;
  struct resolved resolved;
  etk_error e;
};

static char folder[256], config_path[300]; /* <temporary>/etk-resolve-N/efficientai-toolkit */

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
  if (!status) status = host_path(&c->e, &c->host);
  return status ? status : resolve(&c->e, &c->resolved, &c->host, &c->manifest, &c->manifest.commands[0], kept, rest);
}

static void done(struct call *c) {
  manifest_fini(&c->manifest);
  search_path_fini(&c->host.path);
  etk_arena_fini(&c->host.arena);
}

static const etk_value *option(const struct call *c, const char *name) {
  for (size_t i = 0; i < c->resolved.command->option_count; i++)
    if (!strcmp(c->resolved.command->options[i].name, name)) return &c->resolved.options[i];
  return NULL;
}

/* A file below the test's folder; text NULL removes it. */
static void file(const char *name, const char *text) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (!text) assert_int_equal(unlink(path), 0);
  else assert_int_equal(etk_fs_write(NULL, path, text, strlen(text), true), ETK_OK);
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

static void keys_of_other_commands_and_installed_projects_are_fine(void **state) {
  struct call c;
  char words[512];
  (void)state;
  config("info:\n  deep: true\nother-project:\n  anything: [1]\ndemo:\n  lora:\n    rank: 9\nlora:\n  rank: 2\n");
  snprintf(words, sizeof words, "--config %s m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 9);
  done(&c);
}

static void a_section_that_no_project_has_is_an_error(void **state) {
  char words[512];
  (void)state;
  snprintf(words, sizeof words, "--config %s m", config_path);
  config("othr-project:\n  anything: [1]\n");
  fails_with(words, ":1:1: no command of demo knows the key 'othr-project'; did you mean 'other-project'?");
  config("far-away-things:\n  anything: [1]\n");
  fails_with(words, "nor is there a project of that name here");
  config("other-project: 3\n");
  fails_with(words, "no command of demo knows the key 'other-project'");
  config("demo:\n  other-project: {}\n");
  fails_with(words, "no command of demo knows the key 'other-project'");
}

static void one_option_is_given_once_in_a_file(void **state) {
  char words[512];
  (void)state;
  snprintf(words, sizeof words, "--config %s m", config_path);
  config("lora:\n  rank: 2\n  lora_rank: 3\n");
  fails_with(words, ":3:3: lora.lora_rank: this is 'lora.rank', which ");
  config("lora_rank: 3\nlora:\n  rank: 2\n");
  fails_with(words, ":3:3: lora.rank: this is 'lora.rank', which ");
}

static void numbers_of_every_format_are_read(void **state) {
  struct call c;
  char words[512];
  (void)state;
  snprintf(words, sizeof words, "--config %s m", config_path);
  config("lora:\n  rank: 0o17\n  targets: []\ntraining:\n  lr: 1\n");
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 15);
  assert_int_equal(option(&c, "targets")->source, ETK_FROM_CONFIG);
  assert_int_equal(option(&c, "targets")->texts.count, 0);
  done(&c);
  snprintf(words, sizeof words, "--config %s/c.toml m", folder);
  file("c.toml", "[lora]\nrank = 1_0\ntargets = [\"a,b\"]\n[training]\nlearning_rate = 0.000_5\n");
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 10);
  assert_string_equal(option(&c, "targets")->texts.items[0], "a,b");
  assert_true(option(&c, "learning_rate")->real == 0.0005);
  done(&c);
  file("c.toml", "lora.rank = 0\n");
  fails_with(words, "c.toml:1:6: lora.rank: 0 is below 1");
  snprintf(words, sizeof words, "--config %s/c.json m", folder);
  file("c.json", "{\"lora\": {\"rank\": 7}}");
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 7);
  done(&c);
}

/* The user's own file: just above the defaults. */
static void the_users_file_is_weaker_than_everything_given(void **state) {
  struct call c;
  char words[512];
  (void)state;
  file("config.yaml", "lora:\n  rank: 20\ntraining: {lr: 0.5}\nother-project: {x: 1}\ndemo: {merge: true}\n");
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 20);
  assert_int_equal(option(&c, "rank")->source, ETK_FROM_CONFIG);
  assert_non_null(strstr(option(&c, "rank")->origin, "config.yaml:2:3"));
  assert_int_equal(option(&c, "merge")->integer, 1);
  done(&c);
  file("profiles/p.toml", "lora.rank = 30\n");
  assert_int_equal(call(&c, "--profile p m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 30);
  assert_true(option(&c, "learning_rate")->real == 0.5);
  done(&c);
  config("lora:\n  rank: 2\n");
  snprintf(words, sizeof words, "--config %s --profile p m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 2);
  done(&c);
  file("config.yaml", "lora:\n  rnak: 20\n");
  fails_with("m", "config.yaml:2:3: no command of demo knows the key 'lora.rnak'; did you mean 'lora.rank'?");
  file("config.yaml", "lora:\n  rank: 20\n");
  file("config.toml", "lora.rank = 21\n");
  fails_with("m", "config.toml are there; keep one of them");
  file("config.yaml", NULL);
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 21);
  done(&c);
  setenv("EFFICIENTAI_CONFIG_PATH", "/dev/null", 1);
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 8);
  done(&c);
  setenv("EFFICIENTAI_CONFIG_PATH", "/no/such.yaml", 1);
  fails_with("m", "EFFICIENTAI_CONFIG_PATH: '/no/such.yaml' does not exist");
  setenv("EFFICIENTAI_CONFIG_PATH", config_path, 1);
  assert_int_equal(call(&c, "m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 2);
  done(&c);
  unsetenv("EFFICIENTAI_CONFIG_PATH");
  file("config.toml", NULL);
  file("profiles/p.toml", NULL);
}

static void profiles_may_stand_in_configuration_files(void **state) {
  struct call c;
  char words[512];
  (void)state;
  file("config.yaml", "lora: {rank: 20}\nprofiles:\n  fast:\n    lora: {rank: 4}\n    demo: {training: {lr: 0.25}}\n  slow: ~\n");
  assert_int_equal(call(&c, "--profile fast m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 4);
  assert_int_equal(option(&c, "rank")->source, ETK_FROM_PROFILE);
  assert_true(option(&c, "learning_rate")->real == 0.25);
  done(&c);
  file("profiles/fast.yaml", "lora: {rank: 5}\n"); /* two of the user's: nobody could say which counts */
  fails_with("--profile fast m", "the profile 'fast' is there twice: in ");
  fails_with("--profile fast m", "config.yaml:3:3 and as ");
  file("config.yaml", "lora: {rank: 20}\nprofiles:\n  slow: ~\n");
  assert_int_equal(call(&c, "--profile fast m"), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 5);
  done(&c);
  config("lora: {rank: 40}\nprofiles:\n  fast: {lora: {rank: 6}}\n"); /* nearer is that of --config, which lies over its own file */
  snprintf(words, sizeof words, "--config %s --profile fast m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 6);
  assert_true(option(&c, "learning_rate")->real == 1e-4);
  done(&c);
  snprintf(words, sizeof words, "--config %s m", config_path);
  assert_int_equal(call(&c, words), ETK_OK);
  assert_int_equal(option(&c, "rank")->integer, 40);
  done(&c);
  fails_with("--profile fats m", "there is no profile 'fats'; did you mean 'fast'?; profiles here: slow, fast");
  config("profiles: 3\n");
  fails_with(words, "profiles: a map of profiles is wanted, not a whole number");
  config("profiles:\n  fast: 3\n");
  fails_with(words, ":2:3: profiles.fast: a map of options is wanted, not a whole number");
  file("profiles/fast.json", "{}");
  file("config.yaml", NULL);
  fails_with("--profile fast m", "fast.json are there; a profile has one file");
  file("profiles/fast.json", NULL);
  file("profiles/fast.yaml", NULL);
}

/* The form of mlx-lm's files: keys at the top level, whatever our groups are. */
static void flat_files_are_read(void **state) {
  struct call c;
  char words[512];
  (void)state;
  snprintf(words, sizeof words, "--config %s m", config_path);
  config("train: true\nlearning_rate: 0.125\nlora_parameters:\n  rank: 3\n  targets: [\"q\"]\ndeep: yes\n");
  assert_int_equal(call(&c, words), ETK_OK);
  assert_true(option(&c, "learning_rate")->real == 0.125);
  assert_int_equal(option(&c, "rank")->integer, 3);
  assert_int_equal(option(&c, "targets")->texts.count, 1);
  done(&c);
  config("lr: 0.5\n");
  assert_int_equal(call(&c, words), ETK_OK);
  assert_true(option(&c, "learning_rate")->real == 0.5);
  done(&c);
  config("train: false\n");
  fails_with(words, ":1:1: train: the file says false, and train is the command that was called");
  config("num_layers: 16\n");
  fails_with(words, ":1:1: no command of demo knows the key 'num_layers', so it cannot be honoured");
  config("lora_parameters:\n  scale: 20.0\n");
  fails_with(words, ":2:3: no command of demo knows the key 'lora.scale', so it cannot be honoured");
  config("r: 3\n"); /* letters are for the command line */
  fails_with(words, "no command of demo knows the key 'r'");
  config("local: 3\n");
  fails_with(words, "on the command line only");
  config("seed: 3\n");
  fails_with(words, ":1:1: seed: both a.seed and b.random answer to this key; write it in its group");
}

static void opposites_take_no_value(void **state) {
  struct call c;
  (void)state;
  fails_with("m --no-merge=yes", "--no-merge=yes: --no-merge takes no value; write --no-merge, or --merge=yes");
  fails_with("m --no-rank=3", "--rank takes a value (int) and has no opposite");
  assert_int_equal(call(&c, "m --no-merge"), ETK_OK);
  done(&c);
}

static void a_comma_may_belong_to_an_item(void **state) {
  struct call c;
  (void)state;
  assert_int_equal(call(&c, "m --targets a\\,b,c --targets d"), ETK_OK);
  assert_int_equal(option(&c, "targets")->texts.count, 3);
  assert_string_equal(option(&c, "targets")->texts.items[0], "a,b");
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

/* A secret with a default is refused by check; where nobody checked, it is unset. */
static void a_default_of_a_secret_counts_for_none(void **state) {
  static const char note[] = "note\t1\nproject\tdemo\t1.0.0\t1.0\t0\tA demo\ncommand\ttrain\t0\tTrain\noption\tsecret\ttoken\t\t\thub\t\t0\ttoken\n"
                             "option\tsecret\tkey\thunter2\t\thub\t\t0\tkey\n";
  struct call c = {.host = {.program = "t", .quiet = true}};
  (void)state;
  assert_int_equal(manifest_from_text(&c.e, &c.manifest, note, sizeof note), ETK_OK);
  assert_int_equal(host_path(&c.e, &c.host), ETK_OK);
  assert_int_equal(resolve(&c.e, &c.resolved, &c.host, &c.manifest, &c.manifest.commands[0], 0, NULL), ETK_OK);
  assert_int_equal(option(&c, "token")->source, ETK_FROM_UNSET);
  assert_int_equal(option(&c, "key")->source, ETK_FROM_UNSET);
  assert_null(option(&c, "key")->text);
  done(&c);
}

static bool check_once(void *user) {
  struct call c = {.host = {.program = "t"}};
  etk_status status = manifest_from_text(&c.e, &c.manifest, NOTE, sizeof NOTE);
  if (!status) status = host_path(&c.e, &c.host);
  if (!status) status = config_check(&c.e, &c.host, config_path, &c.manifest, 1);
  bool fine = user ? status == ETK_E_USAGE && strstr(c.e.message, user) != NULL : !status;
  done(&c);
  return fine;
}

static void a_file_is_checked_against_all_projects(void **state) {
  (void)state;
  config("lora: {rank: 2}\ndemo: {training: {lr: 0.25}}\nprofiles: {fast: {lora: {targets: [q]}}}\n");
  assert_true(interpose_sweep(check_once, NULL) > 0);
  config("lora: {rnak: 2}\n");
  assert_true(interpose_sweep(check_once, (char[]){":1:8: no command of demo knows the key 'lora.rnak'"}) > 0);
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
  file("config.toml", "lora.rank = 3\n");
  file("profiles/p.json", "{\"lora\": {\"rank\": 4}}");
  snprintf(words, sizeof words, "--config %s --profile p --set training.learning_rate=0.5 m 1 2 3 --rank=5 --targets a,b --targets c", config_path);
  assert_true(interpose_sweep(resolve_once, words) > 0);
  assert_true(interpose_sweep(fail_once, (char[]){"m --set lora.rnak=3"}) > 0);
  unsetenv("EFFICIENTAI__LORA__RANK");
  file("config.toml", NULL);
  file("profiles/p.json", NULL);
}

int main(void) {
  const char *dir = getenv("ETK_TMP");
  char path[200];
  snprintf(path, sizeof path, "%s/etk-resolve-%ld", dir && *dir ? dir : "/tmp", (long)getpid());
  snprintf(folder, sizeof folder, "%s/efficientai-toolkit", path);
  snprintf(config_path, sizeof config_path, "%s/given.yaml", folder);
  setenv("XDG_CONFIG_HOME", path, 1);
  unsetenv("EFFICIENTAI_CONFIG_PATH");
  char profiles[300];
  snprintf(profiles, sizeof profiles, "%s/profiles", folder);
  if (etk_fs_make_dirs(NULL, profiles)) return 1;
  file("libproj-other-project.so", ""); /* a project that is installed: its name is all that counts here */
  setenv("EFFICIENTAI_PLUGIN_PATH", folder, 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(defaults_fill_what_nobody_gave), cmocka_unit_test(a_stronger_source_wins),
                                     cmocka_unit_test(variadic_arguments_are_lists),   cmocka_unit_test(mistakes_name_what_was_meant),
                                     cmocka_unit_test(every_source_is_checked),        cmocka_unit_test(keys_of_other_commands_and_installed_projects_are_fine),
                                     cmocka_unit_test(a_section_that_no_project_has_is_an_error), cmocka_unit_test(one_option_is_given_once_in_a_file),
                                     cmocka_unit_test(numbers_of_every_format_are_read), cmocka_unit_test(the_users_file_is_weaker_than_everything_given),
                                     cmocka_unit_test(profiles_may_stand_in_configuration_files), cmocka_unit_test(flat_files_are_read),
                                     cmocka_unit_test(opposites_take_no_value),        cmocka_unit_test(a_comma_may_belong_to_an_item),
                                     cmocka_unit_test(secrets_come_from_files_and_the_environment),
                                     cmocka_unit_test(a_default_of_a_secret_counts_for_none), cmocka_unit_test(a_file_is_checked_against_all_projects),
                                     cmocka_unit_test(every_allocation_may_fail)};
  int failed = cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
  *strrchr(folder, '/') = 0;
  etk_fs_remove_tree(NULL, folder);
  return failed;
}
