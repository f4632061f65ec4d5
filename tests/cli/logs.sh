# The process log and `logs`: what is written and when, how it is searched, counted, packed and cleaned up, and what happens where it cannot be written.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
logs=$XDG_STATE_HOME/efficientai-toolkit/logs
live=$logs/efficientai-toolkit.jsonl
same() { if [ "$1" = "$2" ]; then ok "$3"; else not_ok "$3" "'$1' is not '$2'"; fi; }

# ---- what is written ----
for words in "--help" "version" "demo:train --help" "demo:train --stps 1" "logs path" "logs" "demo:train --no-run" "demo:train --dry-run"; do
  # shellcheck disable=SC2086
  run "$exe" $words
done
if [ ! -e "$XDG_STATE_HOME" ]; then ok "help, mistakes, built-ins, --dry-run and --no-run write no log"; else not_ok "help, mistakes, built-ins, --dry-run and --no-run write no log" "$(find "$XDG_STATE_HOME")"; fi
run "$exe" logs path
same "$out" "$live" "logs path names the process log"
run "$exe" logs path --json
expect_contains out '"exists":false' "and its document says whether it is there"

run "$exe" demo:train --steps 2
id=$("$exe" runs list --json | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
out=$(cat "$live") err=
expect_contains out '"message":"command begins"' "a command's beginning is logged"
expect_contains out '"run":"'"$id"'"' "with its run"
expect_contains out '"namespace":"demo","command":"train","hardware":"' "its namespace, command and hardware"
expect_contains out '"message":"command ends"' "and its end"
expect_contains out '"status":"ok","exit":0,"wall_ms":' "with status, exit code and time"
same "$(grep -c 'training begins' "$live")" 1 "what the plugin logs is there once"
expect_lacks out hunter2 "without secrets"
same "$(stat -c %a "$live")" 600 "only its user reads it"
run "$exe" demo:fail
out=$(tail -1 "$live")
expect_contains out '"level":"error","message":"command ends"' "a command that fails ends with an error"
expect_contains out '"exit":1' "and its exit code"
expect_contains out '"error":"the first reason"' "and why"
if command -v python3 >/dev/null; then
  if python3 -c 'import json,sys; [json.loads(l) for l in open(sys.argv[1])]' "$live"; then ok "every line is JSON to another reader"; else not_ok "every line is JSON to another reader"; fi
else skip "every line is JSON to another reader (no python3)"; fi

# ---- search ----
run "$exe" logs search "TRAINING BEG"
expect_exit 0 "a search ends well"
expect_contains out "training begins" "the pattern fits in any case"
same "$(printf '%s\n' "$out" | wc -l)" 1 "a line that the run's log has too is shown once"
run "$exe" logs search "TRAINING" --no-ignore-case
same "$out" "" "unless case counts"
expect_contains err "no line fits" "no line is said to be none"
run "$exe" logs search 'command (begins|ends).*command=fail'
same "$(printf '%s\n' "$out" | grep -c fail)" 2 "extended regular expressions search the line as it is shown"
run "$exe" logs search --level error
same "$(printf '%s\n' "$out" | wc -l)" 1 "a level leaves lower ones out"
run "$exe" logs search --run "$id" ends
expect_contains out "run=$id" "lines of one run"
expect_lacks out "command=fail" "and of no other"
run "$exe" logs search --namespace nope
same "$out" "" "a namespace that logged nothing has no lines"
run "$exe" logs search '('
expect_fail 2 "is not a regular expression" "a wrong expression is a usage error that says why"
run "$exe" logs search --fixed '('
expect_exit 0 "and plain text with --fixed"
run "$exe" logs search --since yesterday
expect_fail 2 "wanted one like 2h" "a wrong time says what is wanted"
run "$exe" logs search --since 2026-02-30
expect_fail 2 "is not a time" "so does a day that does not exist"
run "$exe" logs search --limit 1
expect_contains out "command=fail" "the newest line is the last"
expect_contains err "older ones: --limit 0" "older ones are counted"
run "$exe" logs search begins --json
expect_contains out '"matched":3' "the document counts"
expect_contains out '"lines":[{"timestamp":"' "and has lines as they are"
run env CLICOLOR_FORCE=1 "$exe" logs search "the first reason"
esc=$(printf '\033')
expect_contains out "$esc[31m" "a terminal gets colours by level"
expect_contains out "$esc[1;7mthe first reason$esc[0m" "and sees what fits"

# A log made here: times and contents are known.
rm -rf "$XDG_STATE_HOME"; mkdir -p "$logs"
line() { printf '{"timestamp":"%s","level":"%s","message":"%s","namespace":"%s"}\n' "$1" "$2" "$3" "$4"; }
line 2026-01-01T00:00:00.000Z info oldest alpha >"$live.2"
{ line 2026-01-02T00:00:00.000Z warning second alpha; printf 'torn {"timest\033[2J\n'; } >"$live.1"
{ line 2026-01-02T23:59:59.999Z error third beta; line 2026-01-03T00:00:00.000Z info fourth beta; printf 'no newline'; } >"$live"
run "$exe" logs search
same "$(printf '%s\n' "$out" | sed 's/^[^ ]* *[a-z]* *\([a-z]*\).*/\1/' | tr '\n' ' ')" "oldest second  third fourth  " "rotated files come before, in the order of time"
expect_contains out 'torn {"timest\u001b[2J' "a line that is not JSON is shown as it is, and does not reach the terminal as a command"
expect_contains out 'no newline' "so is a last line without an end"
run "$exe" logs search --since 2026-01-02 --until 2026-01-02
expect_lacks out oldest "a date begins the time"
expect_contains out third "and as an end it holds the whole day"
expect_lacks out fourth "but not the next"
run "$exe" logs search --since 2026-01-03T01:00:00+01:00 fourth
expect_contains out fourth "an offset counts"
run "$exe" logs search --since 3650d --limit 0 --json
expect_contains out '{"text":"no newline"}' "a line that is not JSON is text in the document"
run "$exe" logs stats
expect_contains out "files     3" "stats counts files"
expect_contains out "lines     6: 0 debug, 2 info, 1 warning, 1 error, 2 without a level" "lines and levels"
expect_contains out "oldest    2026-01-01T00:00:00.000Z" "and knows the oldest"
run "$exe" logs stats --json
expect_contains out '"namespaces":{"alpha":{"lines":2,"warnings":1,"errors":0},"beta":{"lines":2,"warnings":0,"errors":1}}' "by namespace"
expect_contains out '"days":[{"day":"2026-01-02","warnings":1,"errors":1}]' "and warnings by day"

# ---- debug lines and old lines come from the runs ----
dir=$XDG_STATE_HOME/efficientai-toolkit/runs/2025-12/20251231T000000Z-aaaaaa
mkdir -p "$dir"
printf '{"time":"2025-12-31T00:00:01.000Z","level":"info","message":"before the log"}\n{"time":"2026-01-02T12:00:00.000Z","level":"info","message":"in both"}\n{"time":"2026-01-02T12:00:00.000Z","level":"debug","message":"detail"}\n' >"$dir/log.jsonl"
run "$exe" logs search
same "$(printf '%s\n' "$out" | head -1 | sed 's/.*before the log.*/first/')" first "lines older than the process log come from the runs"
expect_contains out "detail run=20251231T000000Z-aaaaaa" "and debug lines, in their place"
expect_lacks out "in both" "but what the process log has is not shown twice"

# ---- archive and clean ----
touch -d '10 days ago' "$live.2"
size=$(stat -c %s "$live.2")
if "$exe" logs archive --keep --older-than 7d --output "$tmp/a.tar.gz" >/dev/null 2>"$tmp/.err"; then
  same "$(tar -tzf "$tmp/a.tar.gz")" "efficientai-toolkit.jsonl.2" "what is old enough is in the archive, to another reader too"
  if [ -e "$live.2" ]; then ok "--keep keeps it"; else not_ok "--keep keeps it"; fi
  run "$exe" logs archive --output "$tmp/a.tar.gz"
  expect_fail 1 "choose another name for --output" "an archive that is there is not replaced"
  if [ -e "$live.2" ]; then ok "and nothing is removed then"; else not_ok "and nothing is removed then"; fi
  run "$exe" logs archive --json
  archive=$(printf '%s' "$out" | sed -n 's/.*"archive":"\([^"]*\)".*/\1/p')
  case "$archive" in "$logs"/logs_[0-9]*T[0-9]*Z.tar.gz) ok "an archive lies among the logs, named by its time" ;; *) not_ok "an archive lies among the logs, named by its time" ;; esac
  expect_contains out "\"removed_bytes\":$size" "its files are gone, and how large they were is said"
  if [ ! -e "$live.2" ] && [ -e "$live.1" ] && [ -e "$live" ]; then ok "only what was packed is removed"; else not_ok "only what was packed is removed" "$(ls "$logs")"; fi
  same "$(tar -xzOf "$archive" efficientai-toolkit.jsonl.2 | wc -c)" "$size" "and is in the archive whole"
  run "$exe" logs archive
  expect_contains err "no rotated log is that old" "nothing to pack is said"
  run "$exe" logs stats --json
  expect_contains out '"archives":1' "stats counts archives"
  for i in 1 2 3 4 5 6; do "$exe" logs archive --keep --older-than 0s; done >"$tmp/.out" 2>"$tmp/.err"
  out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
  if [ "$(sort -u "$tmp/.out" | wc -l)" -eq 6 ] && grep -q 'Z-2.tar.gz' "$tmp/.out"; then ok "archives of one second get names of their own"; else not_ok "archives of one second get names of their own"; fi
  while read -r name; do rm "$name"; done <"$tmp/.out"
  touch -d '40 days ago' "$archive" "$live" "$live.1"
  run "$exe" logs clean --dry-run
  expect_contains out "$archive" "--dry-run shows what would go"
  if [ -e "$archive" ]; then ok "and removes nothing"; else not_ok "and removes nothing"; fi
  run "$exe" logs clean
  expect_contains err "removed 2 files" "clean removes old archives and rotated files"
  if [ -e "$live" ] && [ ! -e "$archive" ] && [ ! -e "$live.1" ]; then ok "but never the live one"; else not_ok "but never the live one" "$(ls "$logs")"; fi
  run "$exe" logs clean --older-than 0s --json
  expect_contains out '"removed_bytes":0,"files":[]' "nothing to remove is no error"
elif grep -q 'libetk-io' "$tmp/.err"; then skip "archives (libetk-io is not built)"
else not_ok "an archive can be made" "$(cat "$tmp/.err")"; fi

# ---- where it cannot be written ----
rm -rf "$XDG_STATE_HOME"; mkdir -p "$XDG_STATE_HOME/efficientai-toolkit"; : >"$logs"
run "$exe" demo:train --steps 1
expect_exit 0 "a log that cannot be written does not stop the work"
same "$(printf '%s\n' "$err" | grep -c warning)" 1 "and warns once"
expect_contains err "not logged, the work goes on" "saying so"
rm -rf "$XDG_STATE_HOME"; : >"$XDG_STATE_HOME"
run "$exe" demo:train --steps 1
expect_exit 0 "nor does a state folder that cannot be made"
same "$(printf '%s\n' "$err" | grep -c warning)" 1 "which warns once, too"
rm -f "$XDG_STATE_HOME"; mkdir -p "$logs"
if [ -w /dev/full ]; then
  ln -s /dev/full "$live"
  run "$exe" demo:train --steps 1
  expect_exit 0 "a log on a full disk does not stop the work"
  same "$(printf '%s\n' "$err" | grep -c 'warning.*log.*No space left')" 1 "and warns once"
  rm -f "$live"
else skip "a log on a full disk (no /dev/full)"; fi
rm -rf "$XDG_STATE_HOME"
(ulimit -f 1 && exec "$exe" demo:train --steps 1) >"$tmp/.out" 2>"$tmp/.err" </dev/null
status=$? out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
expect_exit 0 "a limit on the size of files does not stop the work"

# ---- several at once ----
rm -rf "$XDG_STATE_HOME"
for n in 1 2 3 4 5 6 7 8; do "$exe" demo:train --steps 1 >/dev/null 2>&1 & done
wait
same "$(grep -c '^{"timestamp":.*"command begins".*}$' "$live") $(grep -c '^{"timestamp":.*"command ends".*}$' "$live")" "8 8" "eight commands at once lose no line and tear none"
