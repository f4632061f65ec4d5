# test: the tests that plugins ship.
. tests/lib.sh
plugins=$tmp/plugins
export TMPDIR="$tmp/t"
mkdir "$TMPDIR"
cat >"$tmp/tested.c" <<'END'
#include <etk/selftest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define COMMANDS(CMD) CMD(go, ETK_NONE, ETK_NONE, 0, "Go") CMD(stay, ETK_NONE, ETK_NONE, 0, "Stay")
static const void *query(const char *id);
ETK_PROJECT_WITH("tested", "1.0.0", "Ships tests", COMMANDS, NULL, NULL, query)
static etk_status go_run(etk_run *run, const struct go_options *o) { return (void)run, (void)o, ETK_OK; }
static etk_status stay_run(etk_run *run, const struct stay_options *o) { return (void)run, (void)o, ETK_OK; }
static etk_status passes(etk_run *run) {
  char path[4200];
  snprintf(path, sizeof path, "%s/mine", etk_run_dir(run));
  FILE *file = fopen(path, "wx");
  if (!file) return etk_run_fail(run, ETK_E_IO, "its folder %s is not writable", path);
  fclose(file);
  return ETK_OK;
}
static etk_status fails(etk_run *run) {
  printf("seen before it failed\n");
  etk_run_log(run, 2, "a warning on the way");
  return etk_run_fail(run, ETK_E_CHECK, "two and two is %d", 5);
}
static etk_status says_nothing(etk_run *run) { return (void)run, ETK_E_CHECK; }
static etk_status skips(etk_run *run) { return etk_run_fail(run, ETK_E_UNAVAILABLE, "there is no moon tonight"); }
static etk_status crashes(etk_run *run) { (void)run; raise(SIGSEGV); return ETK_OK; }
static etk_status exits(etk_run *run) { (void)run; exit(0); }
static etk_status hangs(etk_run *run) { (void)run; for (;;) pause(); return ETK_OK; }
static const etk_selftest_case cases[] = {{"one that passes", "go", passes}, {"one that fails", "", fails}, {"one that says nothing", "", says_nothing},
  {"one that skips", "", skips}, {"one that crashes", "", crashes}, {"one that exits", "", exits}, {"one that hangs", "", hangs}};
ETK_SELFTEST(selftest, cases)
static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) ? NULL : &selftest; }
END
cat >"$tmp/good.c" <<'END'
#include <etk/selftest.h>
#include <string.h>
#define COMMANDS(CMD) CMD(go, ETK_NONE, ETK_NONE, 0, "Go")
static const void *query(const char *id);
ETK_PROJECT_WITH("good", "1.0.0", "Ships a test", COMMANDS, NULL, NULL, query)
static etk_status go_run(etk_run *run, const struct go_options *o) { return (void)run, (void)o, ETK_OK; }
static etk_status passes(etk_run *run) { return (void)run, ETK_OK; }
static const etk_selftest_case cases[] = {{"all is well", "go", passes}};
ETK_SELFTEST(selftest, cases)
static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) ? NULL : &selftest; }
END
build_plugin "$tmp/tested.c" tested "$plugins" || { not_ok "the plugin builds"; exit 1; }
build_plugin "$tmp/good.c" good "$plugins" || { not_ok "the plugin builds"; exit 1; }
build_plugin tests/cli/plugins/demo.c demo "$plugins" || { not_ok "the plugin builds"; exit 1; }
export EFFICIENTAI_PLUGIN_PATH="$plugins"

run "$exe" test good
expect_exit 0 "a plugin whose tests pass"
run "$exe" test tested --timeout 1s
expect_fail 4 "5 tests failed" "failures make exit code 4"
expect_contains out "failed  one that fails" "a failing test is named"
expect_contains out "two and two is 5" "with what it says"
expect_contains out "| seen before it failed" "and what it printed"
expect_contains out "a warning on the way" "and logged"
expect_contains out "failed without saying why" "one that says nothing is told so"
expect_contains out "crashed with SIGSEGV while it worked" "a crash fails that test only"
expect_contains out "ended the process with exit status 0" "an exit is no success"
expect_contains out "did not end within 1 s" "one that hangs is stopped"
expect_contains out "skipped one that skips" "a skipped test is shown"
expect_contains out "there is no moon tonight" "with its reason"
expect_lacks out "one that passes" "those that pass are quiet"
run "$exe" test tested --timeout 1s --json
expect_contains out '"passed":1,"failed":5,"skipped":1' "the document counts"
expect_exit 4 "with the same exit code"
run "$exe" test tested -m passes -v --coverage
expect_exit 0 "--match runs those whose name holds it"
expect_contains out "passed  one that passes" "--verbose shows them"
expect_contains out "stay" "--coverage names the commands that no test exercises"
run "$exe" test tested -m nothing-like-this
expect_fail 2 "no test's name holds 'nothing-like-this'" "a pattern that fits none is an error"
run "$exe" test demo
expect_fail 3 "ships no tests" "a plugin without tests is reported as such, never as passed"
run "$exe" test --all --parallel --timeout 1s
expect_exit 4 "--all runs every plugin"
expect_contains out "untested" "and tells the one without tests"
run "$exe" test
expect_fail 2 "test wants a namespace, or --all" "neither a namespace nor --all"
expect_contains err "tested" "lists what there is"
run "$exe" test godo
expect_fail 127 "did you mean 'good'?" "an unknown namespace gets a suggestion"
run "$exe" test good --all
expect_fail 2 "not both" "a namespace and --all exclude each other"
if [ -z "$(ls -A "$TMPDIR")" ]; then ok "no folder is left"; else not_ok "no folder is left"; fi

unset EFFICIENTAI_PLUGIN_PATH
run "$exe" test --all
expect_exit 0 "the tests that come with this program pass"

# A plugin that cannot be loaded is broken, not without tests.
cat >"$tmp/unloadable.c" <<'END'
#include <etk/project.h>
extern int nowhere_defined(void);
#define COMMANDS(CMD) CMD(go, ETK_NONE, ETK_NONE, 0, "Go")
ETK_PROJECT("unloadable", "1.0.0", "Cannot be loaded", COMMANDS)
static etk_status go_run(etk_run *run, const struct go_options *o) { return (void)run, (void)o, nowhere_defined(); }
END
build_plugin "$tmp/unloadable.c" unloadable "$tmp/unloadable" || not_ok "the plugin builds"
run "$exe" --plugin-dir "$tmp/unloadable" test unloadable
expect_fail 4 "1 project broken" "a plugin that cannot be loaded is broken"
expect_contains out "nowhere_defined" "and why is told"
