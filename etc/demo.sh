#!/bin/sh
# `make demo`: the main job on the model that comes with the toolkit, by the commands a user would type.
set -eu
B=$1
out="$B/demo"
mkdir -p "$out"
EFFICIENTAI_STATE_DIR="${EFFICIENTAI_STATE_DIR:-$out/state}"
export EFFICIENTAI_STATE_DIR
echo "\$ efficientai-toolkit lora-finetuning-mlx:demo --output $out/adapter" >&2
"$B/bin/efficientai-toolkit" lora-finetuning-mlx:demo --output "$out/adapter" --force
echo
echo "Try it:"
echo "  $B/bin/efficientai-toolkit lora:generate --adapter-path $out/adapter --temperature 0 --prompt 'Show the last 7 lines of notes.txt
\$'"
