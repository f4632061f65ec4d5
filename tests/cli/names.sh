# Which words mean which command, and what is said where they mean none.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
sed -e 's/"demo"/"demolition"/' tests/cli/plugins/demo.c >"$tmp/demolition.c"
build_plugin "$tmp/demolition.c" demolition "$tmp/p" || exit 1
sed -e 's/"demo"/"other-name"/' tests/cli/plugins/demo.c >"$tmp/other.c"
build_plugin "$tmp/other.c" other-name "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"

run "$exe"
expect_exit 0 "no words show help"
expect_contains out "other-name" "help lists the projects"
run "$exe" help
expect_exit 0 "help ends with 0"
run "$exe" --help
expect_contains out "NAMESPACE:COMMAND" "--help is help"
run "$exe" --version
expect_contains out "efficientai-toolkit 0.1.0 (ABI 1.0)" "--version tells the version"
run "$exe" version --json
expect_contains out '"abi":"1.0"' "version --json tells the ABI"

run "$exe" demo:empty-command
expect_exit 0 "namespace:command runs"
run "$exe" demo:empty_command
expect_exit 0 "'_' and '-' are equal in the names of commands"
run "$exe" demo empty-command
expect_exit 0 "namespace command runs"
run "$exe" --quiet demo empty-command
expect_exit 0 "host options may stand before the command"
run "$exe" demo --quiet empty-command
expect_exit 0 "host options may stand between namespace and command"
run "$exe" demo empty-command --quiet
expect_exit 0 "host options may stand after the command"
run "$exe" demo
expect_contains out "empty-command" "a namespace alone lists its commands"
expect_lacks out "hidden" "hidden commands are not listed"
run "$exe" demo --help
expect_contains out "Say something piece by piece" "namespace --help lists its commands"
run "$exe" demo --version
expect_contains out "demo 1.2.3" "namespace --version tells the plugin's version"

run "$exe" other:empty-command
expect_exit 0 "a unique prefix before ':' is enough"
expect_contains err "'other' means other-name" "what a prefix means is said on stderr"
run "$exe" other empty-command
expect_fail 127 "unknown command or namespace 'other'" "a prefix counts only before ':'"
run "$exe" --json other:empty-command
expect_exit 127 "a prefix is refused under --json"
expect_contains out "written in full" "and the document says so"
run "$exe" de:empty-command
expect_fail 2 "could mean any of 2 namespaces" "an ambiguous prefix is refused"
expect_contains err "  demolition" "and its candidates are listed"
run "$exe" demo:empty-command --json
expect_exit 0 "an exact name that begins another is exact"

run "$exe" dmeo:kinds
expect_fail 127 "unknown namespace 'dmeo'; did you mean 'demo'?" "an unknown namespace gets a suggestion"
expect_contains err "  other-name" "and the list of namespaces"
run "$exe" demo:tran
expect_fail 127 "demo has no command 'tran'; did you mean 'train'?" "an unknown command gets a suggestion"
expect_contains err "  speak" "and the list of commands"
run "$exe" projcts
expect_fail 127 "did you mean 'projects'?" "an unknown word is compared with the host's own commands too"
run "$exe" :train
expect_fail 2 "names no namespace" "an empty namespace is a usage error"
run "$exe" demo:
expect_fail 2 "names no command" "an empty command is a usage error"
expect_contains err "  train" "that lists the commands"
run "$exe" --jsno demo:kinds
expect_fail 2 "did you mean --json?" "an unknown host option gets a suggestion"
run "$exe" projects --jsonl
expect_fail 1 "use --json" "--jsonl is refused where nothing streams"
run "$exe" demo:kinds x --json --jsonl
expect_exit 2 "--json and --jsonl exclude each other"
run "$exe" --color purple demo:kinds x
expect_fail 2 "--color: 'purple' is not one of auto|always|never" "a wrong --color is named"
run "$exe" demo:kinds x --config
expect_fail 2 "--config wants a value" "a host option without its value is named"
run env EFFICIENTAI_STATE_DIRR=x "$exe" version
expect_contains err "EFFICIENTAI_STATE_DIRR is not known; did you mean EFFICIENTAI_STATE_DIR?" "an unknown host variable warns with a suggestion"
expect_exit 0 "and the work goes on"

ln -s "$exe" "$tmp/demo"
run "$tmp/demo" speak
expect_contains out "world" "a link named after a namespace runs that project alone"
run "$tmp/demo"
expect_contains out "Usage: demo COMMAND" "and lists its commands"
run "$tmp/demo" tran
expect_fail 127 "demo: demo has no command 'tran'" "and speaks under its own name"
ln -s "$exe" "$tmp/eat"
run "$tmp/eat" demo:empty-command
expect_exit 0 "a link with another name is the whole program"

run "$exe" help demo:kinds
expect_contains out "Usage: efficientai-toolkit demo:kinds WORD [NUMBER] [REST…] [options]" "help namespace:command shows the usage"
expect_contains out "(1 to 9; default 3; basic.whole)" "with limits, defaults and configuration keys"
expect_contains out "-r, --ratio, --fraction X" "and aliases"
expect_contains out "Options: lists" "options are grouped"
expect_lacks out "--memory" "advanced options wait"
expect_contains out "1 more with --help-all" "and are counted"
run "$exe" demo:kinds --help-all
expect_contains out "--memory SIZE" "for --help-all"
run "$exe" demo:kinds --help --json
expect_contains out '"limits":"linear|cosine|constant"' "help under --json is a document"
run "$exe" help demo:nope
expect_fail 127 "demo has no command 'nope'" "help for an unknown command fails as the command does"
run "$exe" help nope
expect_fail 127 "unknown namespace 'nope'" "help for an unknown namespace fails too"

printf 'not a plugin' >"$tmp/p/libproj-broken.so"
run "$exe" broken:x
expect_exit 126 "a file that is no plugin is found but cannot run"
run "$exe" demo:empty-command
expect_exit 0 "and does not hurt the others"
chmod o+w "$tmp/p/libproj-demo.so"
run "$exe" demo:empty-command
expect_fail 126 "chmod" "a plugin that anyone may write to is refused with what mends it"
chmod o-w "$tmp/p/libproj-demo.so"

# ---- a command without its namespace ----
rm "$tmp/p/libproj-broken.so"
run "$exe" generate
expect_fail 127 "unknown command or namespace 'generate'; did you mean 'lora-finetuning-mlx:generate'?" "a command that one project has is told with it"
run "$exe" help generate
expect_fail 127 "unknown namespace 'generate'; did you mean 'lora-finetuning-mlx:generate'?" "help does so too"
run "$exe" empty-command
expect_fail 127 "did you mean 'demo:empty-command' or 'demolition:empty-command' or 'other-name:empty-command'?" "that of several with each"
run "$exe" hidden
expect_lacks err "demo:hidden" "a hidden one is not told"
run "$exe" generate:x
expect_lacks err "lora-finetuning-mlx:generate" "before ':' a command is no candidate"

# ---- nobody's text moves the cursor ----
escape=$(printf '\033')
run "$exe" "$(printf 'a\033[31m\177\302\233b\tc')"
expect_contains err 'unknown command or namespace '"'"'a\x1b[31m\x7f\u009bb	c' "control characters of a word are shown, tabs kept"
expect_lacks err "$escape" "and not sent"
printf '"a\\eb": {rank: 5}\n' >"$tmp/escape.yaml"
run "$exe" --config "$tmp/escape.yaml" demo:kinds x
expect_contains err "the key 'a\\x1bb'" "those of a key in a file"
cat >"$tmp/nasty.c" <<'END'
#include <etk/project.h>
#define COMMANDS(CMD) CMD(go, ETK_NONE, ETK_NONE, 0, "Say what should not be sent") CMD(talk, ETK_NONE, ETK_NONE, 0, "Stream it")
ETK_PROJECT("nasty", "1.0.0", "Escapes", COMMANDS)
static etk_status go_run(etk_run *run, const struct go_options *o) {
  (void)o;
  etk_cell cells[] = {{.name = "na\033me", .kind = ETK_KIND_text, .text = "ce\033ll"}};
  etk_run_log(run, 2, "lo\033g");
  etk_run_result_text(run, "va\033lue", "te\033xt \303\251");
  etk_run_result_row(run, "ta\033ble", cells, 1);
  return etk_run_fail(run, ETK_E_IO, "fa\033il");
}
static etk_status talk_run(etk_run *run, const struct talk_options *o) {
  (void)o;
  etk_run_text(run, "a\033b \303", 5);
  etk_run_text(run, "\251\n", 2);
  return ETK_OK;
}
END
build_plugin "$tmp/nasty.c" nasty "$tmp/p" || exit 1
run "$exe" nasty:go
for where in 'lo\x1bg' 'fa\x1bil'; do expect_contains err "$where" "those of a plugin's messages: $where"; done
for where in 'va\x1blue' 'te\x1bxt é' 'ta\x1bble' 'na\x1bme' 'ce\x1bll'; do expect_contains out "$where" "those of its results: $where"; done
case "$out$err" in *"$escape"*) not_ok "and none of them is sent" ;; *) ok "and none of them is sent" ;; esac
run "$exe" nasty:go --json
expect_contains out '"te\u001bxt é"' "--json holds them as JSON does"
run "$exe" nasty:talk
expect_contains out "a${escape}b é" "streamed text is left as it is where standard output is no terminal"
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
  run script -qec "'$exe' nasty:talk" /dev/null
  expect_contains out 'a\x1bb é' "on a terminal it is not, and characters cut in two are whole"
else skip "streamed text on a terminal: script(1) of util-linux is not here"
fi
