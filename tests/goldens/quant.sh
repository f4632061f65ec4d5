#!/bin/sh
# Makes tests/goldens/quant.txt from llama.cpp's own block codecs:  sh tests/goldens/quant.sh [build folder]
# The library comes from a package of a pinned version, fetched into a temporary folder by bench/peers/llama.sh; ETK_GGML names another one.
set -eu
B=${1:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -n "${ETK_GGML:-}" ] || ETK_GGML=$(sh bench/peers/llama.sh "$work")/libggml-base.so
export ETK_GGML
make B="$B" "$B/obj/ml.a" "$B/obj/core.a" >&2
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Isdk/include bench/peers/ggml_blocks.c "$B/obj/ml.a" "$B/obj/core.a" -o "$work/ggml_blocks" -pthread \
  $(pkg-config --libs yaml-0.1 jansson libpcre2-8 libutf8proc) -ldl -lm
"$work/ggml_blocks" golden > "$work/out"
mv "$work/out" tests/goldens/quant.txt
