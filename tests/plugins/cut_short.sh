#!/bin/sh
# A mapped model that is cut short while it is in use: reported as that file's fault, and the run is recorded as crashed.
. tests/lib.sh
shared=${ETK_SHARED:-../shared}
[ -f "$shared/models/stories260K/stories260K.bin" ] || { skip "the stories260K model is not here"; exit 0; }
cp "$shared/models/stories260K/stories260K.bin" "$shared/models/stories260K/tok512.bin" "$tmp" && chmod u+w "$tmp"/*.bin
export EFFICIENTAI_STATE_DIR="$tmp/runs-root"
# Enough text to keep the model busy until the file is cut, which happens as soon as the first progress is shown.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat README.md plugins/lora-finetuning-mlx/README.md Makefile; done >"$tmp/text.txt"
mkfifo "$tmp/events"
"$exe" --jsonl lora-finetuning-mlx:evaluate --model "$tmp/stories260K.bin" --data "$tmp/text.txt" --batch-size 1 >"$tmp/events" 2>"$tmp/.err" &
pid=$!
{
  while read -r event; do
    case "$event" in *'"progress"'*) break ;; esac
  done
  : >"$tmp/stories260K.bin"
  cat >"$tmp/.out"
} <"$tmp/events"
wait "$pid"
status=$?
out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
expect_exit 135 "it ends by SIGBUS"
expect_contains out "stories260K.bin" "and names the file"
run "$exe" --json runs
expect_contains out '"status":"crashed"' "the run is recorded as crashed"
