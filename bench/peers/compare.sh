#!/bin/sh
# Models and adapters that cross over between us and llama.cpp, as one table:  sh bench/peers/compare.sh [FOLDER] [BUILD]
#   files written by us, and files quantized by llama.cpp, run in both: the same greedy ids, and perplexities of both encoders' files
#   all architectures of the goldens as F32, and PEFT's adapters as GGUF adapters: the same greedy ids
# Libraries, drivers and a small Llama (rows of 256, which K blocks need; trained for a few minutes on ../shared/data/tinystories) are kept in FOLDER
# (build/peers): a second run fetches and trains nothing, an interrupted training goes on. Exits with 4 where an answer differs beyond rounding, with 3
# where llama.cpp's package cannot be had.
set -eu
folder=${1:-build/peers} B=${2:-build} shared=${ETK_SHARED:-../shared}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
ETK_LLAMA=$(sh bench/peers/llama.sh "$folder")
export ETK_LLAMA
make B="$B" >&2
# shellcheck disable=SC2046
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Isdk/include bench/peers/ours.c "$B/obj/ml.a" "$B/obj/core.a" -o "$folder/ours" -pthread \
  $(pkg-config --libs yaml-0.1 jansson libpcre2-8 libutf8proc zlib) -ldl -lm
toolkit=$B/bin/efficientai-toolkit model=$folder/small
if [ ! -e "$model/config.json" ]; then
  resume=
  [ ! -e "$model-checkpoint" ] || resume=--resume
  # shellcheck disable=SC2086
  "$toolkit" lora-finetuning-mlx:pretrain --no-run --progress plain $resume --data "$shared/data/tinystories/mini_gpt_tinystories.txt" --output "$model" --vocab-size 1024 --hidden-size 256 \
    --intermediate-size 768 --layers 3 --heads 4 --kv-heads 2 --epochs 4 --warmup-steps 30 --save-steps 16 >&2
fi
python3 bench/peers/compare.py "$folder" "$toolkit" "$shared"
