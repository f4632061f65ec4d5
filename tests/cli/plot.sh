# Recorded runs as charts: in the terminal, as SVG and as PNG.
. tests/lib.sh
# make_run ID SCALE: a run whose losses fall from SCALE, one value a second, and whose last line a crash cut.
make_run() {
  dir=$XDG_STATE_HOME/efficientai-toolkit/runs/2026-01/$1
  mkdir -p "$dir"
  printf '{"schema_version":1,"id":"%s","status":"ok","namespace":"demo","command":"train","values":{},"results":{}}\n' "$1" >"$dir/run.json"
  awk -v scale="$2" 'BEGIN {
    for (i = 1; i <= 100; i++) {
      printf "{\"name\":\"train_loss\",\"step\":%d,\"value\":%.6f,\"time_ms\":%d000}\n", i, scale * exp(-i / 30), 1000 + i
      if (i % 20 == 0) printf "{\"name\":\"validation_loss\",\"step\":%d,\"value\":%.6f,\"time_ms\":%d000}\n", i, scale * exp(-i / 30) + 0.1, 1000 + i
      printf "{\"name\":\"learning_rate\",\"step\":%d,\"value\":%g,\"time_ms\":%d000}\n", i, 0.0003 * (1 - i / 120), 1000 + i
    }
    print "{\"name\":\"train_loss\",\"step\":101,\"value\":null,\"time_ms\":1101000}"
    printf "{\"name\":\"train_l"
  }' >"$dir/metrics.jsonl"
}
export LC_ALL=C

run "$exe" runs plot
expect_fail 2 "no recorded runs yet" "without a run there is nothing to draw"
make_run 20260101T000000Z-aaaaaa 2
make_run 20260102T000000Z-bbbbbb 4
run "$exe" runs plot
expect_exit 0 "the latest run is drawn"
expect_contains out "demo:train, run 20260102T000000Z-bbbbbb" "and named"
expect_contains out "* train_loss  + validation_loss" "losses share a chart"
if [ "$(printf '%s\n' "$out" | grep -cx learning_rate)" -eq 1 ]; then ok "the learning rate has its own"; else not_ok "the learning rate has its own"; fi
if printf '%s\n' "$out" | LC_ALL=C grep -q '[^ -~]'; then not_ok "without UTF-8 it is ASCII"; else ok "without UTF-8 it is ASCII"; fi
if [ "$(printf '%s\n' "$out" | awk '{ if (length($0) > most) most = length($0) } END { print most }')" -le 80 ]; then ok "a pipe gets 80 columns"; else not_ok "a pipe gets 80 columns"; fi
mkdir -p "$XDG_STATE_HOME/efficientai-toolkit/runs/2026-02/20260201T000000Z-cccccc"
echo '{"name":"loss","step":1,"value":1}' >"$XDG_STATE_HOME/efficientai-toolkit/runs/2026-02/20260201T000000Z-cccccc/metrics.jsonl"
run "$exe" runs plot cccccc
expect_contains out "?, run 20260201T000000Z-cccccc" "a run whose command is not known is drawn with a question mark"
rm -r "$XDG_STATE_HOME/efficientai-toolkit/runs/2026-02"
run env LC_ALL=C.UTF-8 "$exe" runs plot --metric learning_rate
expect_contains out "┤" "with UTF-8 it is drawn with lines and dots"
expect_lacks out "loss" "--metric chooses"
run env LC_ALL=C.UTF-8 "$exe" --color always runs plot
expect_contains out "$(printf '\033[0;38;5;')" "colours on request"
run "$exe" runs plot 20260101 20260102 --metric loss --x time --smooth 5 --width 60 --height 12
expect_contains out "2 runs, mean of 5" "runs are laid over each other"
expect_contains out "aaaaaa train_loss" "and told apart"
expect_contains out "seconds" "over time"
run "$exe" runs show 20260101 --plot
expect_contains out "demo:train, run 20260101T000000Z-aaaaaa" "show --plot draws below"
expect_contains out "Metrics" "what show says"

run "$exe" runs plot --output "$tmp/run.svg"
expect_exit 0 "a chart as SVG"
expect_contains err "2 charts" "both charts in one file"
if command -v xmllint >/dev/null 2>&1; then
  run xmllint --noout "$tmp/run.svg"
  expect_exit 0 "an XML parser reads it"
  run xmllint --xpath "count(//*[local-name()='g'][@data-series='0']/*[local-name()='path'])" "$tmp/run.svg"
  if [ "$out" -eq 3 ]; then ok "a line for the loss with its sample in the legend, and one for the learning rate"; else not_ok "a line for the loss with its sample in the legend, and one for the learning rate"; fi
else skip "SVG read by an XML parser: xmllint is not installed (Debian: libxml2-utils)"; fi
run "$exe" runs plot --output "$tmp/run.svg"
expect_fail 1 "--force" "an output that is there is left alone"
run "$exe" --json runs plot 20260101 20260102 --output "$tmp/run.png" --theme dark --width 400 --height 200
expect_contains out '"charts":[{"title":"loss","series":4},{"title":"learning_rate","series":2}]' "--json says what was drawn"
# Bytes 16 to 23 of a PNG are its width and height: 400 by two charts of 200, at two pixels each.
size=$(od -An -tx1 -j16 -N8 "$tmp/run.png" | tr -d ' \n')
if [ "$size" = 0000032000000320 ]; then ok "a PNG is as large as asked"; else not_ok "a PNG is as large as asked" "$size"; fi
run "$exe" runs plot --output "$tmp/run.pdf"
expect_fail 1 ".svg or .png" "another ending is refused"
run "$exe" runs plot --metric trainloss
expect_fail 2 "did you mean 'train_loss'" "an unknown metric gets a suggestion"
run "$exe" runs plot 20260101 2026010
expect_fail 2 "2 runs begin with" "an id must be clear"
run "$exe" runs plot 20260101 20260101
expect_fail 2 "given twice" "a run stands once"
run "$exe" --json runs plot
expect_exit 2 "a drawing is no JSON"
run "$exe" runs plot --theme dark
expect_fail 2 "--output" "--theme without a file is refused"
dir=$XDG_STATE_HOME/efficientai-toolkit/runs/2026-01/20260103T000000Z-cccccc
mkdir -p "$dir" && echo '{"status":"ok","namespace":"demo","command":"x"}' >"$dir/run.json"
run "$exe" runs plot
expect_fail 2 "no metrics" "a run without metrics is told as one"
printf '{"name":"</svg><script>\\u001b[31m","step":1,"value":1}\n{"name":"odd","step":1,"value":"text"}\n' >"$dir/metrics.jsonl"
run "$exe" runs plot
expect_lacks out "$(printf '\033')" "names cannot steer the terminal"
run "$exe" runs plot --output "$tmp/odd.svg"
expect_exit 0 "nor the file"
if grep -q '<script' "$tmp/odd.svg"; then not_ok "what looks like markup is text"; else ok "what looks like markup is text"; fi

# A real run, small.
awk 'BEGIN { for (i = 0; i < 200; i++) printf "{\"text\":\"the door number %d is open and the cat sits at door %d\"}\n", i, i * 7 % 100 }' >"$tmp/doors.jsonl"
run "$exe" lora-finetuning-mlx:pretrain --data "$tmp/doors.jsonl" --output "$tmp/tiny" --vocab-size 300 --hidden-size 16 --intermediate-size 32 --layers 1 --heads 2 --kv-heads 1 --epochs 1 --batch-size 8 --quiet
if [ "$status" -eq 0 ]; then
  run "$exe" runs plot
  expect_contains out "lora-finetuning-mlx:pretrain" "a run of training is drawn"
  expect_contains out "tokens_per_second" "with each of its metrics"
else skip "a run of training: pretrain did not run here: $err"; fi
