# A plugin that crashes while it runs, and Ctrl-C.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
last() { "$exe" runs path latest; }

run "$exe" demo:crash segv
expect_fail 139 "plugin demo crashed with SIGSEGV in command crash" "SIGSEGV is the plugin's, exit code 139"
expect_contains err "libproj-demo.so" "with a backtrace"
dir=$(last)
if grep -q "SIGSEGV in command crash" "$dir/crash.txt"; then ok "crash.txt in the run's folder says so too"; else not_ok "crash.txt in the run's folder says so too"; fi
if grep -q '"before"' "$dir/metrics.jsonl"; then ok "metrics from before the crash are kept"; else not_ok "metrics from before the crash are kept"; fi
run "$exe" runs --status crashed
expect_contains out "demo:crash" "the run reads as crashed"
run "$exe" runs show latest
expect_contains out "crashed" "and is shown as that"
live=$XDG_STATE_HOME/efficientai-toolkit/logs/efficientai-toolkit.jsonl
run "$exe" logs search --level error
expect_contains out "plugin demo crashed with SIGSEGV in command crash" "the process log says it as an error"
expect_contains out "run=$(basename "$dir")" "with the run"
expect_contains out "status=crashed exit=139" "and how it ended"
run "$exe" logs stats --json
expect_contains out '"namespaces":{"demo":{"lines":2,"warnings":0,"errors":1}}' "and counts it"
if ! command -v jq >/dev/null; then skip "that line has the keys of the others (jq is not here)"
elif [ "$(jq -r 'select(.message != "command ends") | keys_unsorted | join(" ")' "$live" | head -1) status exit wall_ms error" = "$(jq -r 'select(.level == "error") | keys_unsorted | join(" ")' "$live")" ]; then ok "that line has the keys of the others"
else not_ok "that line has the keys of the others" "$(tail -1 "$live")"; fi
run "$exe" runs show --json latest
expect_contains out '"reason":"plugin demo crashed with SIGSEGV in command crash"' "a crashed run has its reason"
run "$exe" demo:crash abort
expect_fail 134 "crashed with SIGABRT" "SIGABRT"
run "$exe" demo:crash fpe
expect_fail 136 "crashed with SIGFPE" "SIGFPE"
run "$exe" demo:crash bus
expect_fail 135 "crashed with SIGBUS" "SIGBUS, a map cut short"
run "$exe" demo:crash thread
expect_fail 139 "crashed with SIGSEGV" "a crash in another thread"
run "$exe" --json demo:crash segv
expect_contains out '"namespace":"demo","command":"crash","status":"crashed","run":"2' "under --json a crash is a document"
expect_exit 139 "with the same exit code"
if ! command -v jq >/dev/null; then skip "that parses (jq is not here)"
elif jq -e '.error.message == "plugin demo crashed with SIGSEGV in command crash"' "$tmp/.out" >/dev/null; then ok "that parses"; else not_ok "that parses"; fi
cat >"$tmp/leaver.c" <<'END'
#include <etk/project.h>
#include <stdlib.h>
#define COMMANDS(CMD) CMD(child, ETK_NONE, ETK_NONE, 0, "Fork") CMD(go, ETK_NONE, ETK_NONE, ETK_TRACKED, "Leave")
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
ETK_PROJECT("leaver", "1.0.0", "Calls exit", COMMANDS)
static etk_status go_run(etk_run *run, const struct go_options *o) { (void)run, (void)o; puts("last words"); exit(0); }
static etk_status child_run(etk_run *run, const struct child_options *o) {
  (void)run, (void)o;
  pid_t pid = fork();
  if (!pid) exit(7);
  int status;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7 ? ETK_OK : ETK_E_CHECK;
}
END
build_plugin "$tmp/leaver.c" leaver "$tmp/leave" || exit 1
run "$exe" --plugin-dir "$tmp/leave" leaver:go
expect_fail 1 "ended the process by exit() in command go" "a plugin that calls exit(0) is no success"
expect_contains out "last words" "what it printed before comes out"
run "$exe" logs search --level error --namespace leaver
expect_contains out "ended the process by exit() in command go" "and the process log has it"
run "$exe" --plugin-dir "$tmp/leave" leaver:child
expect_exit 0 "a child that a plugin forked may call exit()"
run "$exe" --json --plugin-dir "$tmp/leave" leaver:go
expect_lacks out "last words" "under --json standard output holds the document alone"
expect_contains err "last words" "what it printed goes to stderr"
expect_contains out '"message":"plugin leaver ended the process by exit() in command go"' "and under --json there is a document"
run "$exe" demo:empty-command
expect_exit 0 "and the next command is fine"

# ready: waits until the command says that it runs.
ready() { while ! grep -q ready "$tmp/.err" 2>/dev/null; do kill -0 "$1" 2>/dev/null || return 1; done; }
start() { : >"$tmp/.err"; "$@" >"$tmp/.out" 2>"$tmp/.err" & }
for signal in INT TERM; do
  # A background job of a shell without job control ignores SIGINT, so a child of env gets the default back where that exists.
  if [ "$signal" = INT ] && ! env --default-signal=INT true 2>/dev/null; then
    skip "Ctrl-C (env --default-signal is not here)"
    continue
  fi
  if [ "$signal" = INT ]; then start env --default-signal=INT "$exe" demo:wait; else start "$exe" demo:wait; fi
  pid=$!
  ready $pid
  kill -$signal $pid
  wait $pid
  status=$? out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
  expect_fail 130 "stopping after this step; again to stop at once" "SIG$signal stops the command at its next step"
  run "$exe" runs
  expect_contains out "cancelled" "SIG$signal: the run is cancelled"
  "$exe" runs prune --keep 0 --quiet >/dev/null
done
start "$exe" demo:train --slow --steps 1000000
pid=$!
while ! grep -q . "$tmp/.err" 2>/dev/null; do kill -0 $pid 2>/dev/null || break; done
kill -KILL $pid
wait $pid 2>/dev/null
run "$exe" runs
expect_contains out "crashed" "kill -9 leaves a run that reads as crashed"
run "$exe" runs show latest
expect_contains out "ended without a word (killed, out of memory or power)" "that says why nothing more is known"
expect_lacks err "crash.txt" "and names no empty file"
run "$exe" runs --json
expect_contains out '"status":"crashed","reason":"ended without a word (killed, out of memory or power)"' "in the document too"
