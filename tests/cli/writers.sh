# What the command line writes, on a disk that is full: /dev/full, and a limit of the size of files (SIGXFSZ is not what ends it). The old file stays as
# it was, nothing half is left, and the exit code says so.
. tests/lib.sh
if [ "${SAN:-}" = thread ]; then skip "writers on a full disk (the thread sanitizer writes files of its own before main)"; exit 0; fi
ns=lora-finetuning-mlx
shared=${ETK_SHARED:-../shared}
model=$shared/goldens/models/llama-gqa-tied
mkdir -p "$tmp/w"
# limited BLOCKS COMMAND…: no file may grow beyond so many blocks (of 512 bytes in dash, 1024 in bash); what it prints goes through a pipe, all to stderr.
limited() {
  blocks_of=$1
  shift
  { (ulimit -f "$blocks_of" && exec "$@" 2>&1); echo $? >"$tmp/.limited"; } | cat >&2
  return "$(cat "$tmp/.limited")"
}
left() { find "$tmp/w" -name '*tmp-*' -o -name '*.old-*' | wc -l; }
nothing_left() { if [ "$(left)" -eq 0 ]; then ok "$1"; else not_ok "$1" "$(find "$tmp/w")"; fi; }
is_old() { if [ "$(cat "$1")" = "the old one" ]; then ok "$2"; else not_ok "$2"; fi; }

# ---- a file: generate-config ----
echo "the old one" >"$tmp/w/config.yaml"
run limited 0 "$exe" generate-config --all --force --output "$tmp/w/config.yaml"
expect_fail 1 "config.yaml" "generate-config on a full disk fails and names the file"
is_old "$tmp/w/config.yaml" "and the old file is as it was"
nothing_left "and nothing else is left"
run limited 1 "$exe" generate-config --all --force --output "$tmp/w/config.yaml"
expect_exit 1 "generate-config fails where the first block fits"
is_old "$tmp/w/config.yaml" "and the old file is as it was"
nothing_left "and nothing else is left"
run limited 0 "$exe" generate-config --output "$tmp/w/new.yaml"
if [ "$status" -eq 1 ] && [ ! -e "$tmp/w/new.yaml" ]; then ok "a new file is not begun"; else not_ok "a new file is not begun"; fi
run "$exe" generate-config --all --force --output "$tmp/w/config.yaml"
expect_exit 0 "with room it is written"
if grep -q "the old one" "$tmp/w/config.yaml"; then not_ok "and is the new one"; else ok "and is the new one"; fi

# ---- a folder: new ----
run limited 0 "$exe" new my-project "$tmp/w/my-project"
expect_exit 1 "new on a full disk fails"
if [ ! -e "$tmp/w/my-project" ]; then ok "and makes no folder"; else not_ok "and makes no folder" "$(ls -la "$tmp/w/my-project")"; fi
nothing_left "and nothing else is left"

# ---- standard output ----
if [ -c /dev/full ]; then
  run "$exe" generate-config --force --output /dev/full
  expect_fail 1 "/dev/full" "generate-config to a full device fails"
  if [ -c /dev/full ]; then ok "and the device is still one"; else not_ok "and the device is still one"; fi
  for words in "generate-config" "info --json" "help" "runs --json" "docs" "version" "projects --json" "logs stats"; do
    # shellcheck disable=SC2086
    "$exe" $words >/dev/full 2>"$tmp/.err"
    status=$? out= err=$(cat "$tmp/.err")
    expect_fail 1 "standard output" "'$words' says that its answer could not be written"
  done
else
  skip "standard output to a full device (/dev/full is not here)"
fi

# ---- a trained adapter: a folder that is replaced ----
if [ -f "$model/config.json" ]; then
  awk 'BEGIN { for (s = 0; s < 12; s++) { printf "{\"ids\":[1"; n = 4 + (s * 5) % 11; for (i = 1; i < n; i++) printf ",%d", 3 + (s * 31 + i * 17) % 380; print "]}" } }' >"$tmp/data.jsonl"
  train() { "$@" "$exe" --no-run $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/w/adapter" --iters 2 --batch-size 4 --rank 4 --seed 3 --force; }
  run train env
  expect_exit 0 "train writes an adapter"
  before=$(cd "$tmp/w/adapter" && cat ./* | cksum)
  for blocks in 0 1 4; do
    run train limited $blocks
    expect_exit 1 "train fails where $blocks blocks fit"
    if [ "$(cd "$tmp/w/adapter" && cat ./* | cksum)" = "$before" ]; then ok "and the old adapter is as it was"; else not_ok "and the old adapter is as it was"; fi
    nothing_left "and nothing else is left"
  done
else
  skip "a trained adapter on a full disk (the shared models are not here)"
fi

# ---- records: the work goes on without them ----
run limited 0 "$exe" info
expect_exit 0 "a log that cannot be written does not stop a command"
expect_contains err "Machine" "which gives its answer"
