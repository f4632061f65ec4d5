# What is printed where: results, text, --json, --jsonl, colours, full disks, closed pipes.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
is_json() { # FILE TEXT
  if ! command -v jq >/dev/null; then skip "$2 (jq is not here)"
  elif grep -qE '[:,[](NaN|nan|-?Infinity)' "$1"; then not_ok "$2" "a number that JSON does not have"
  elif jq -s -e 'length == 1 and .[0].schema_version == 1 and (.[0] | keys_unsorted) ==
      ["schema_version","namespace","command","status","run","duration_ms","results","artifacts","error"]' "$1" >"$tmp/.jq" 2>&1; then ok "$2"
  else not_ok "$2" "$(cat "$tmp/.jq" "$1")"; fi
}

run "$exe" --json demo:table
is_json "$tmp/.out" "--json is one document with the promised keys in order"
expect_contains out '"cities":[{"name":"a","count":0,"share":0,"new":false},{"name":"Zürich"' "rows are an array of objects"
expect_contains out '"nothing":null' "a number that is not finite is null"
expect_contains out '"twice":2' "a name given twice keeps the last value"
expect_contains out '"shape":{"a":[1,2.50]}' "JSON results are passed on with their numbers as written"
expect_contains err "the result 'bad' is not JSON" "broken JSON from a plugin is said"
run "$exe" demo:table
expect_contains out "Zürich    100  0.333333  no" "columns align by what is seen, numbers to the right"
expect_contains out "twice    2" "values are an aligned list"
run "$exe" demo:speak
expect_contains out "héllo world" "text is shown as it comes"
expect_contains out "tokens" "with the other results"
if [ "$(printf '%s' "$out" | grep -c world)" -eq 1 ]; then ok "and is not shown twice"; else not_ok "and is not shown twice"; fi
run "$exe" --json demo:speak
expect_contains out '"text":"héllo world","tokens":12' "under --json text is a result only"
is_json "$tmp/.out" "and nothing else is printed"
for command in "demo:nope" "nope:nope" "demo:kinds" "demo:fail" "version" "info" "help" "runs" "demo" "demo:kinds --help" "--nope" "runs show nope" "demo:kinds x --dry-run"; do
  # shellcheck disable=SC2086
  run "$exe" --json $command
  is_json "$tmp/.out" "--json $command is a document"
done
run "$exe" --jsonl demo:train
expect_contains out '{"event":"metric","name":"train_loss","step":1,"value":1,"time_ms":' "--jsonl: metrics as they come"
expect_contains out '{"event":"progress","label":"train","done":5,"total":5,' "--jsonl: progress"
expect_contains out '{"event":"result","name":"final_loss","value":0.2}' "--jsonl: results"
case "$(tail -n 1 "$tmp/.out")" in '{"event":"end","schema_version":1,"namespace":"demo"'*) ok "--jsonl: the last line is the document" ;; *) not_ok "--jsonl: the last line is the document" ;; esac
run "$exe" --jsonl demo:speak
expect_contains out '{"event":"text","text":"é"}' "--jsonl: a character cut between calls is put together"
run "$exe" --jsonl demo:nope
expect_contains out '{"event":"end","schema_version":1' "--jsonl: an error is the end event"
expect_exit 127 "--jsonl: with its exit code"

run "$exe" demo:fail
expect_fail 1 "the first reason" "a failed command says why and ends with 1"
expect_lacks err "second reason" "the first reason stays"
run "$exe" demo:fail --silent
expect_fail 1 "the command failed without saying why (status 8" "a command that does not say why is said to"
run "$exe" demo:fail --status 1
expect_exit 2 "usage is 2"
run "$exe" demo:fail --status 13
expect_exit 3 "something that is missing is 3"
run "$exe" demo:fail --status 14
expect_exit 4 "a failed check is 4"
run "$exe" demo:fail --status 12
expect_exit 130 "cancelled is 130"

escape=$(printf '\033')
run "$exe" --color always demo:table
expect_contains out "$escape" "--color always colours"
run "$exe" demo:table
expect_lacks out "$escape" "no terminal, no colour"
CLICOLOR_FORCE=1 run "$exe" demo:table
expect_contains out "$escape" "CLICOLOR_FORCE colours"
CLICOLOR_FORCE=1 NO_COLOR=1 run "$exe" demo:table
expect_lacks out "$escape" "NO_COLOR wins"
NO_COLOR=1 run "$exe" --color=always demo:table
expect_contains out "$escape" "--color wins over both"

run "$exe" demo:train --steps 3 --quiet
if [ -z "$err" ]; then ok "--quiet is quiet"; else not_ok "--quiet is quiet"; fi
run "$exe" demo:train --steps 3 -v
expect_contains err "info: training begins" "--verbose shows what a command says"
expect_lacks err "hunter2" "without secrets"
run "$exe" demo:train --steps 3 --no-progress
expect_lacks err "100%" "--no-progress shows none"
run "$exe" demo:train --steps 3 --progress plain
expect_contains err "3/3" "--progress plain writes lines"

if [ -w /dev/full ]; then
  "$exe" demo:table >/dev/full 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  expect_fail 1 "could not be written to standard output" "an answer that cannot be written fails"
  "$exe" help >/dev/full 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  expect_fail 1 "could not be written to standard output" "so does help"
  "$exe" --json demo:speak >/dev/full 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  expect_fail 1 "could not be written to standard output" "and a document"
  "$exe" docs >/dev/full 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  expect_fail 1 "No space left on device" "an answer larger than a buffer fails with the reason"
else skip "there is no /dev/full here"; fi
{ "$exe" help 2>"$tmp/.err"; echo $? >"$tmp/.code"; } | true
err=$(cat "$tmp/.err")
if [ -z "$err" ]; then ok "a reader that goes away is no error to talk about"; else not_ok "a reader that goes away is no error to talk about"; fi
if [ "$("$exe" docs | wc -c)" -gt 10000 ]; then ok "the docs are larger than a buffer"; else not_ok "the docs are larger than a buffer"; fi
# The reader is gone before anything is written.
mkfifo "$tmp/gone"
for words in version docs; do
  sh -c 'exec 3<>"$1" 4>"$1" 3<&-; "$2" "$3" >&4' sh "$tmp/gone" "$exe" $words 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  if [ $status -eq 141 ] && [ -z "$err" ]; then ok "$words ends like a program that SIGPIPE ended"; else not_ok "$words ends like a program that SIGPIPE ended"; fi
  "$exe" $words >&- 2>"$tmp/.err"
  status=$? err=$(cat "$tmp/.err")
  expect_fail 1 "Bad file descriptor" "$words without a standard output says so"
done
"$exe" demo:train --steps 2 >&- 2>/dev/null
if grep -v '^{.*}$' "$XDG_STATE_HOME/efficientai-toolkit/logs/efficientai-toolkit.jsonl"; then not_ok "an answer never goes to a file that took the place of standard output"; else ok "an answer never goes to a file that took the place of standard output"; fi
mkfifo "$tmp/pipe"
(sleep 0 <"$tmp/pipe") &
"$exe" demo:train --steps 20 --slow >"$tmp/pipe" 2>/dev/null
run "$exe" runs --json
expect_contains out '"status":"ok"' "and the run is still recorded to its end"
wait

# What plugin code prints by itself never mixes with a document.
cat >"$tmp/printer.c" <<'END'
#include <etk/project.h>
#include <stdio.h>
#define COMMANDS(CMD) CMD(tale, ETK_NONE, ETK_NONE, ETK_TRACKED, "Tell") CMD(chatter, ETK_NONE, ETK_NONE, 0, "Print") CMD(regret, ETK_NONE, ETK_NONE, 0, "Say that it failed and return success")
ETK_PROJECT("printer", "1.0.0", "Prints by itself", COMMANDS)
static etk_status tale_run(etk_run *run, const struct tale_options *o) {
  (void)o;
  etk_run_text(run, "once upon a time", 16);
  etk_run_artifact(run, "tests/lib.sh", "script");
  return ETK_OK;
}
static etk_status chatter_run(etk_run *run, const struct chatter_options *o) {
  (void)o;
  puts("chatter of a library");
  etk_run_text(run, "piece", 5);
  etk_run_result_int(run, "answer", 42);
  return ETK_OK;
}
static etk_status regret_run(etk_run *run, const struct regret_options *o) {
  (void)o;
  etk_run_fail(run, ETK_E_IO, "the disk is gone");
  return ETK_OK;
}
END
build_plugin "$tmp/printer.c" printer "$tmp/printer" || not_ok "the printing plugin builds"
"$exe" --plugin-dir "$tmp/printer" printer:tale >"$tmp/.out" 2>&1
status=$? err=
if head -1 "$tmp/.out" | grep -qx "once upon a time" && sed -n 2p "$tmp/.out" | grep -q "^wrote "; then ok "streamed text ends its line before anything else is said, also in one file"; else not_ok "streamed text ends its line before anything else is said, also in one file" "$(cat "$tmp/.out")"; fi
run "$exe" --plugin-dir "$tmp/printer" printer:chatter
expect_contains out "chatter of a library" "what a plugin prints is seen"
run "$exe" --plugin-dir "$tmp/printer" printer:chatter --json
expect_lacks out "chatter of" "but under --json standard output holds the document alone"
expect_contains err "chatter of a library" "and it goes to stderr"
expect_contains out '"answer":42' "the document is whole"
run "$exe" --plugin-dir "$tmp/printer" printer:chatter --jsonl
expect_lacks out "chatter of" "under --jsonl too"
expect_contains out '"event":"end"' "with all events"
run "$exe" --plugin-dir "$tmp/printer" printer:regret
expect_fail 1 "the disk is gone" "a command that said it failed has failed, whatever it returns"
