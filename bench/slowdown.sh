#!/bin/sh
# Whether `benchmark --baseline` tells a 5 % slowdown from none: each repetition saves a baseline, runs the same work again and then 5 % more of it.
#   B=build sh bench/slowdown.sh [REPETITIONS] [noise]      (20; noise: two busy loops come and go meanwhile)
# One JSON line: how many slowdowns were flagged (all should be) and how many repetitions of the same work were (none should).
set -u
B=${B:-build}
case "$B" in /*) ;; *) B=$PWD/$B ;; esac
count=${1:-20} noise=${2:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/etk-slowdown.XXXXXX") || exit 1
busy=
# shellcheck disable=SC2086
trap 'kill $busy 2>/dev/null; rm -rf "$work"' EXIT
${CC:-cc} -std=gnu11 -O1 -fPIC -shared -Isdk/include tests/cli/plugins/benchmarked.c -o "$work/libproj-benchmarked.so" || exit 1
if [ -n "$noise" ]; then
  for turn in 1 2; do
    (while :; do timeout 0.$((turn * 3)) sh -c 'while :; do :; done'; sleep 0.2; done) 2>/dev/null &
    busy="$busy $!"
  done
fi
export EFFICIENTAI_STATE_DIR="$work/state"
run() {
  ETK_TEST_WORK=$1
  export ETK_TEST_WORK
  shift
  "$B/bin/efficientai-toolkit" --plugin-dir "$work" --json benchmark benchmarked:steady "$@" >>"$work/log" 2>&1
}
flagged=0 false=0 failed=0 begin=$(date +%s)
for repetition in $(seq "$count"); do
  run 1000 --save-baseline "r$repetition" || failed=$((failed + 1))
  run 1000 --baseline "r$repetition"
  case $? in 0) ;; 4) false=$((false + 1)) ;; *) failed=$((failed + 1)) ;; esac
  run 1050 --baseline "r$repetition"
  case $? in 0) ;; 4) flagged=$((flagged + 1)) ;; *) failed=$((failed + 1)) ;; esac
done
printf '{"bench":"slowdown","repetitions":%s,"noise":%s,"slowdowns_flagged":%s,"same_work_flagged":%s,"failed":%s,"seconds":%s}\n' \
  "$count" "$([ -n "$noise" ] && echo true || echo false)" "$flagged" "$false" "$failed" $(($(date +%s) - begin))
[ "$flagged" -eq "$count" ] && [ "$false" -eq 0 ] && [ "$failed" -eq 0 ]
