# Run records: what is written, what is read back, what happens where they cannot be written.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
echo '{}' >"$tmp/x.json"
last() { "$exe" runs path latest; }

run "$exe" runs
expect_exit 0 "no runs yet is no error"
run "$exe" runs show latest
expect_fail 2 "no recorded runs yet" "but none can be shown"
run "$exe" demo:empty-command
run "$exe" runs --json
expect_contains out '"results":{"runs":[]}' "a command that is not tracked leaves no run"
run "$exe" demo:train --steps 4 --output "$tmp/model.bin" --config "$tmp/x.json"
expect_contains err "run 2" "a tracked command names its run"
dir=$(last)
case "$dir" in "$XDG_STATE_HOME"/efficientai-toolkit/runs/[0-9][0-9][0-9][0-9]-[0-9][0-9]/[0-9]*T[0-9]*Z-[a-z2-7][a-z2-7][a-z2-7][a-z2-7][a-z2-7][a-z2-7]) ok "runs lie in <state>/runs/<month>/<id>" ;; *) not_ok "runs lie in <state>/runs/<month>/<id>" "$dir" ;; esac
out=$(cat "$dir/run.json") err=
expect_contains out '"schema_version":1,"id":"'"$(basename "$dir")" "run.json has schema and id"
expect_contains out '"status":"ok"' "its status is the end's"
expect_contains out '"training.steps":{"value":4,"source":"command line","origin":"--steps"}' "values have their source and origin"
expect_contains out '"hardware":{"platform":' "the hardware is recorded"
expect_contains out '"argv":["' "the words are recorded"
expect_contains out '"plugin":{"version":"1.2.3","path":"'"$tmp" "the plugin is recorded"
expect_contains out '"results":{"final_loss":0.25,"has_run_dir":true}' "results are recorded"
expect_contains out '"process_start":' "the process is named for good"
out=$(cat "$dir/metrics.jsonl")
expect_contains out '{"name":"train_loss","step":4,"value":0.25,"time_ms":' "metrics are lines"
expect_contains out '{"name":"odd","step":3,"value":null,' "a value that is not finite is null"
if [ "$(wc -l <"$dir/metrics.jsonl")" -eq 5 ]; then ok "one line a metric"; else not_ok "one line a metric"; fi
out=$(cat "$dir/artifacts.jsonl")
# SHA-256 of "abc", FIPS 180-4 appendix B.1
expect_contains out '"type":"model","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","bytes":3}' "artifacts have their SHA-256"
out=$(cat "$dir/log.jsonl")
expect_contains out '"level":"info","message":"training begins' "the log is recorded"
expect_lacks out "hunter2" "without secrets"
if [ ! -e "$dir/crash.txt" ]; then ok "no crash, no crash.txt"; else not_ok "no crash, no crash.txt"; fi
first=$(basename "$dir")

run "$exe" --json demo:train --steps 8
second=$(printf '%s' "$out" | sed -n 's/.*"run":"\([^"]*\)".*/\1/p')
expect_contains out "\"run\":\"$second\"" "the document names the run"
run "$exe" demo:train --no-run
run "$exe" runs
if [ "$(printf '%s\n' "$out" | grep -c demo:train)" -eq 2 ]; then ok "--no-run leaves no run"; else not_ok "--no-run leaves no run"; fi
expect_contains out "final_loss=0.125" "the list shows results"
run "$exe" demo:fail
run "$exe" runs --status failed
expect_contains out "demo:fail" "runs can be asked for by status"
expect_lacks out "demo:train" "and only those are listed"
run "$exe" runs list --namespace nope --json
expect_contains out '"runs":[]' "and by namespace"
run "$exe" runs --limit 1
expect_contains err "older ones: --limit 0 lists all" "a cut list says so"
run "$exe" runs show "$first"
expect_contains out "training.steps" "show has the values"
expect_contains out "train_loss" "and the metrics"
run "$exe" runs show --json latest
expect_contains out '"error":{"code":8,"name":' "show --json has the error"
expect_contains out '"message":"the first reason"' "with its message"
run "$exe" runs compare "$first" "$second"
expect_contains out "training.steps" "compare shows values that differ"
expect_lacks out "training.slow" "and not those that are equal"
expect_contains out "final_loss" "and results"
run "$exe" runs compare "$first" "$second" --json
expect_contains out '{"part":"metric","name":"train_loss","values":[0.25,0.125]}' "and last metrics, as a document too"
run "$exe" runs metrics "$second" --name odd
expect_contains out "odd" "metrics of one name"
expect_lacks out "train_loss" "and of no other"
run "$exe" runs metrics "$second" --json
expect_contains out '"name":"train_loss","step":8,"value":0.125' "metrics --json"
run "$exe" runs show 2
expect_fail 2 "runs begin with '2'" "an id that is cut too short is refused"
run "$exe" runs show nope
expect_fail 2 "there is no run 'nope'" "an unknown id is named"
run "$exe" runs lsit
expect_fail 127 "did you mean 'list'?" "an unknown verb gets a suggestion"
run "$exe" runs --limt 3
expect_fail 2 "did you mean --limit?" "an unknown option too"
run "$exe" runs prune
expect_fail 2 "wants --keep N" "prune wants a number"

# A run whose process is gone is a crashed one; one whose number another process has now, too.
running=$XDG_STATE_HOME/efficientai-toolkit/runs/2020-01/20200101T000000Z-aaaaaa
mkdir -p "$running"
printf '{"schema_version":1,"id":"20200101T000000Z-aaaaaa","namespace":"demo","command":"train","status":"running","pid":%d,"process_start":%s,"machine":"%s"}' \
  $$ "$(cut -d')' -f2 /proc/$$/stat | cut -d' ' -f21)" "$(uname -n)" >"$running/run.json"
run "$exe" runs --status running
expect_contains out "20200101T000000Z-aaaaaa" "a run whose process lives is running"
run "$exe" runs prune --keep 0 --dry-run
expect_lacks out "20200101T000000Z-aaaaaa" "prune leaves a running one"
sed -i 's/"process_start":[0-9]*/"process_start":1/' "$running/run.json"
run "$exe" runs --status crashed
expect_contains out "20200101T000000Z-aaaaaa" "a run whose number another process has now is crashed"
sed -i 's/"pid":[0-9]*/"pid":999999999/' "$running/run.json"
run "$exe" runs --status crashed
expect_contains out "20200101T000000Z-aaaaaa" "a run whose process is gone is crashed"
printf '{"schema' >"$running/run.json"
run "$exe" runs
expect_contains out "unreadable" "a run.json that cannot be read is listed as that"
expect_contains out "20200101T000000Z-aaaaaa  ?  " "its command is not known"
run "$exe" runs path aaaaaa
expect_contains out "20200101T000000Z-aaaaaa" "the unique end of an id finds the run, as the legend of a chart names it"
run "$exe" runs path Z-
expect_fail 2 "there is no run 'Z-'" "but no piece from its middle"
mkdir "$(dirname "$running")/20200102T000000Z-baaaaa"
run "$exe" runs path aaaaa
expect_fail 2 "2 runs end with 'aaaaa'" "an end that two have does not"
rmdir "$(dirname "$running")/20200102T000000Z-baaaaa"
run "$exe" runs prune --keep 2 --dry-run
expect_contains out "would remove $first" "prune --dry-run tells"
if [ -d "$dir" ]; then ok "and removes nothing"; else not_ok "and removes nothing"; fi
run "$exe" runs prune --keep 2
if [ ! -d "$dir" ] && [ ! -d "$running" ]; then ok "prune keeps the newest"; else not_ok "prune keeps the newest"; fi
run "$exe" runs --json
if [ "$(printf '%s' "$out" | grep -o '"id":' | wc -l)" -eq 2 ]; then ok "and only those"; else not_ok "and only those"; fi

export EFFICIENTAI_STATE_DIR="$tmp/elsewhere"
run "$exe" demo:train
case "$(last)" in "$tmp"/elsewhere/runs/*) ok "EFFICIENTAI_STATE_DIR moves the records" ;; *) not_ok "EFFICIENTAI_STATE_DIR moves the records" ;; esac
printf x >"$tmp/file"
EFFICIENTAI_STATE_DIR="$tmp/file" run "$exe" demo:train
expect_contains err "warning: this run is not recorded, the work goes on" "a state folder that cannot be written warns"
expect_exit 0 "and the work goes on"
expect_contains out "has_run_dir  no" "without a folder"
run sh -c 'ulimit -f 64; exec "$@"' sh "$exe" demo:train --steps 20000
if [ "$status" -eq 0 ] && [ "$(printf '%s\n' "$err" | grep -c 'no longer recorded')" -eq 1 ]; then ok "a full disk warns once and the work goes on"
else not_ok "a full disk warns once and the work goes on"; fi
case "$(tail -n 1 "$(last)/metrics.jsonl")" in *'}') ok "and leaves no half line" ;; *) not_ok "and leaves no half line" ;; esac
run "$exe" demo:threads
expect_exit 0 "many threads may report"
if [ "$(grep -c '"shared"' "$(last)/metrics.jsonl")" -eq 800 ]; then ok "and no line is lost"; else not_ok "and no line is lost"; fi

# The commit of the folder, in every form that git keeps it.
commit=0123456789abcdef0123456789abcdef01234567
work=$tmp/work
mkdir -p "$work/.git/refs/heads" "$work/deep/er"
echo "ref: refs/heads/main" >"$work/.git/HEAD"
commit_of() { (cd "$1" && "$exe" demo:train >/dev/null 2>&1; grep -o '"git":.*' "$("$exe" runs path latest)/run.json"); }
echo $commit >"$work/.git/refs/heads/main"
out=$(commit_of "$work/deep/er") err=
expect_contains out "{\"commit\":\"$commit\",\"branch\":\"main\"}" "git: a loose ref, from a folder below"
rm "$work/.git/refs/heads/main"
printf '# pack-refs\n%s refs/heads/main\n' $commit >"$work/.git/packed-refs"
out=$(commit_of "$work")
expect_contains out "{\"commit\":\"$commit\"" "git: a packed ref"
mkdir -p "$work/.git/worktrees/side" "$tmp/side"
echo "gitdir: $work/.git/worktrees/side" >"$tmp/side/.git"
echo "ref: refs/heads/main" >"$work/.git/worktrees/side/HEAD"
echo "../.." >"$work/.git/worktrees/side/commondir"
out=$(commit_of "$tmp/side")
expect_contains out "{\"commit\":\"$commit\"" "git: a work tree beside"
echo $commit >"$work/.git/HEAD"
out=$(commit_of "$work")
expect_contains out "{\"commit\":\"$commit\",\"branch\":null}" "git: a detached head"
echo "ref: ../../../etc/passwd" >"$work/.git/HEAD"
out=$(commit_of "$work")
expect_contains out '"git":null' "git: a ref that climbs out is none"

# A disk that is full from the beginning leaves no folder that nobody can read.
"$exe" runs prune --keep 0 --quiet >/dev/null
(ulimit -f 0 && exec "$exe" demo:train) >/dev/null 2>"$tmp/.err" </dev/null
status=$? err=$(cat "$tmp/.err")
run "$exe" runs list --json
expect_contains out '"runs":[]' "a run that could not be recorded at all leaves nothing"
