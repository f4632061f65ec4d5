#!/bin/sh
# The built-in `benchmark`: what it runs, what it survives, what it compares, what it writes.
. tests/lib.sh
command -v python3 >/dev/null || { skip "python3 is not installed: it reads the documents"; exit 0; }
build_plugin tests/cli/plugins/benchmarked.c benchmarked "$tmp/plugins" -O1 || { not_ok "the plugin with benchmarks compiles"; exit 1; }
bench() { run "$exe" --plugin-dir "$tmp/plugins" benchmark "$@"; }
state=$XDG_STATE_HOME/efficientai-toolkit/benchmarks
value() { printf '%s' "$out" | python3 -c 'import json,sys
d = json.load(sys.stdin)["results"]
print('"$1"')'; }
is() { # EXPRESSION WANTED TEXT
  seen=$(value "$1" 2>&1)
  if [ "$seen" = "$2" ]; then ok "$3"; else not_ok "$3" "$1 is '$seen', wanted '$2'"; fi
}

# ---- which ----
bench --list benchmarked
expect_exit 0 "--list takes a namespace"
expect_contains out "benchmarked:steady" "--list names the cases"
bench
expect_fail 2 "--all" "benchmark without a name says what it wants"
bench nosuch
expect_fail 127 "neither a namespace nor a benchmark" "an unknown name is said to be unknown"
bench benchmarked:stedy
expect_fail 2 "did you mean 'steady'" "a mistyped case gets a suggestion"
bench steady --all
expect_fail 2 "--all means every benchmark" "--all and names exclude each other"

# ---- one run ----
run "$exe" --plugin-dir "$tmp/plugins" --json benchmark steady --time 200ms --rounds 3 --save-baseline first
expect_exit 0 "a case is found by its bare name"
is 'len(d["run"]["cases"]), d["run"]["cases"][0]["status"], len(d["run"]["cases"][0]["cpu_scores"])' "1 ok 3" "--json tells the case with a score for each round"
is 'd["run"]["cases"][0]["work"]["items"], d["run"]["cases"][0]["plugin_version"]' "200000 1.2.3" "--json tells the work and the plugin's version"
is 'd["run"]["cases"][0]["wall_s"]["least"] <= d["run"]["cases"][0]["wall_s"]["median"] <= d["run"]["cases"][0]["wall_s"]["p95"]' True "the statistics are in order"
bench steady --samples 1 --rounds 1 --no-store
expect_lacks out "0.0 %" "one sample has no interval"
run "$exe" --plugin-dir "$tmp/plugins" --json benchmark steady --samples 1 --rounds 1 --no-store
is 'd["run"]["cases"][0]["wall_s"]["count"], d["run"]["cases"][0]["wall_s"]["median_low"], d["run"]["cases"][0]["wall_s"]["median_high"]' "1 None None" "nor has it in the document"
bench steady --time 30ms --precision 0.000001 --no-store --progress plain
expect_contains err "30/30" "rounds are counted up to the most there may be"
if [ "$(printf '%s\n' "$err" | grep -c '100%')" -eq 1 ]; then ok "and the end is said once"; else not_ok "and the end is said once"; fi
run "$exe" --plugin-dir "$tmp/plugins" --json benchmark steady --time 200ms --rounds 3 --no-store
stored=$(ls "$state"/*.json | head -1)
if [ -f "$stored" ] && [ -f "$state/baselines/first.json" ]; then ok "the run and the baseline are stored"; else not_ok "the run and the baseline are stored" "$stored"; fi
if python3 - "$stored" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["schema_version"] == 1 and d["kind"] == "benchmark" and "--save-baseline" in d["argv"] and d["hardware"]["threads"] >= 1
assert all(len(r["wall_s"]) == len(r["cpu_s"]) and r["reference_s"] for r in d["cases"][0]["rounds"]) and len(d["cases"][0]["rounds"]) == 3
P
then ok "the stored file holds all samples, the machine and the command line"; else not_ok "the stored file holds all samples, the machine and the command line"; fi
bench memory --samples 6 --rounds 2 --no-store
expect_contains out "MiB" "the table shows the peak of memory"
case "$(ls "$state" | grep -c json)" in 1) ok "--no-store stores nothing" ;; *) not_ok "--no-store stores nothing" "$(ls "$state")" ;; esac

# ---- what goes wrong ----
run "$exe" --plugin-dir "$tmp/plugins" --json benchmark benchmarked --time 60ms --rounds 2 --limit 3s -o "$tmp/report.csv" -o "$tmp/report.md" -o "$tmp/report.json"
expect_exit 1 "a failed benchmark makes exit code 1"
is '[c["status"] for c in d["run"]["cases"]]' "['ok', 'ok', 'failed', 'failed', 'failed', 'failed', 'failed']" "the others go on when one crashes, exits, hangs or fails"
is '[k in c["error"] for k, c in zip(["SIGSEGV", "exit status 3", "did not end within 3 s", "there is no <data>", "setup"], d["run"]["cases"][2:])]' "[True, True, True, True, True]" "each failure tells its reason"
if python3 - "$tmp" <<'P'
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/report.csv", newline="")))
assert len(rows) == 7 and all(None not in r and None not in r.values() for r in rows), rows
assert rows[5]["error"] == 'there is no <data>, "so" it goes | on', rows[5]["error"]
cases = json.load(open(sys.argv[1] + "/report.json"))["cases"]
assert abs(float(rows[0]["median_s"]) - cases[0]["wall_s"]["median"]) < 1e-15
text = open(sys.argv[1] + "/report.csv", "rb").read()
assert text.count(b"\r\n") == text.count(b"\n") == 8
P
then ok "CSV has one row a case, quoted as RFC 4180 says"; else not_ok "CSV has one row a case, quoted as RFC 4180 says"; fi
if grep -q '^| benchmarked:steady | ' "$tmp/report.md" && grep -q 'it goes \\| on' "$tmp/report.md"; then ok "Markdown has a row a case and escapes what would tear it"; else not_ok "Markdown has a row a case and escapes what would tear it" "$(cat "$tmp/report.md")"; fi
bench steady -o "$tmp/report.csv"
expect_fail 1 "--force" "an export does not replace a file unasked"
bench steady -o "$tmp/report.pdf"
expect_fail 2 ".html" "an export of an unknown kind is refused before anything runs"
bench steady --baseline nosuch
expect_fail 1 "there is no baseline 'nosuch'" "a baseline that is not there is said before anything runs"
bench steady --baseline ../x
expect_fail 2 "no name for a baseline" "the name of a baseline is no path"
sed 's/"chip":"[^"]*"/"chip":"Another Machine"/' "$state/baselines/first.json" >"$state/baselines/other.json"
bench steady --baseline other
expect_fail 2 "Another Machine" "a baseline of another machine is refused"
head -c 300 "$stored" >"$tmp/cut.json"
bench steady --compare "$tmp/cut.json"
expect_fail 1 "not JSON" "a cut file is named"
bench steady --history --rounds 3
expect_fail 2 "--rounds" "options that would be passed over are refused"

printf 'a file\n' >"$tmp/file"
run env EFFICIENTAI_STATE_DIR="$tmp/file" "$exe" --plugin-dir "$tmp/plugins" benchmark steady --samples 6 --rounds 2
expect_contains err "the result is not stored" "a result that cannot be stored is told"
expect_contains out "benchmarked:steady" "and shown all the same"
run env EFFICIENTAI_STATE_DIR="$tmp/file" "$exe" --plugin-dir "$tmp/plugins" benchmark steady --samples 6 --rounds 2 --save-baseline x
expect_fail 1 "the baseline is not saved" "a baseline that cannot be saved fails"
run timeout --foreground -s INT 1 "$exe" --plugin-dir "$tmp/plugins" benchmark hang
if [ "$status" -eq 124 ] && case "$err" in *"stopped on request"*) true ;; *) false ;; esac; then ok "Ctrl-C stops a benchmark that hangs"; else not_ok "Ctrl-C stops a benchmark that hangs"; fi

# ---- slower or not ----
repetitions=${ETK_BENCH_REPETITIONS:-3} flagged=0 false=0
for repetition in $(seq "$repetitions"); do
  export ETK_TEST_WORK=1000
  bench steady --save-baseline "base$repetition"
  bench steady --baseline "base$repetition"
  [ "$status" -eq 0 ] || { false=$((false + 1)); same=$out; }
  export ETK_TEST_WORK=1050
  bench steady --baseline "base$repetition"
  # Where other work comes and goes the verdict may be "unclear"; then it is measured again, once. bench/slowdown.sh counts without that.
  [ "$status" -eq 4 ] || bench steady --baseline "base$repetition"
  if [ "$status" -eq 4 ]; then flagged=$((flagged + 1)); else slow=$out; fi
done
if [ "$flagged" -eq "$repetitions" ]; then ok "5 % more work is flagged with exit code 4, $repetitions times of $repetitions"; else not_ok "5 % more work is flagged with exit code 4" "$flagged of $repetitions: $slow"; fi
if [ "$false" -eq 0 ]; then ok "the same work is not flagged, $repetitions times of $repetitions"; else not_ok "the same work is not flagged" "$false of $repetitions: $same"; fi
export EFFICIENTAI_STATE_DIR="$tmp/history"
for work in 1000 1000 1000 1150; do # far beyond the noise of a busy machine: how small a change is told is tested above
  export ETK_TEST_WORK=$work
  bench steady
done
unset EFFICIENTAI_STATE_DIR
bench_history() { EFFICIENTAI_STATE_DIR="$tmp/history" "$exe" --plugin-dir "$tmp/plugins" benchmark steady --history; }
run bench_history
expect_exit 4 "--history ends with 4 where the latest run is slower than those before"
expect_contains out "the latest against the" "--history tells how the latest compares"
bench --from latest --plot
expect_contains out "Median time" "--plot draws"
run "$exe" --plugin-dir "$tmp/plugins" --json benchmark --from latest --compare "$stored" --alpha 0.001
is 'd["comparison"]["cases"][0]["verdict"]' "too few rounds" "three rounds against six prove nothing at 0.001"
