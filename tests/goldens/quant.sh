#!/bin/sh
# Makes tests/goldens/quant.txt from llama.cpp's own block codecs:  sh tests/goldens/quant.sh [build folder]
# The library comes from an npm package of a pinned version, fetched into a temporary folder; ETK_GGML names another one.
set -eu
B=${1:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${ETK_GGML:-}" ]; then
  (cd "$work" && npm pack --silent @node-llama-cpp/linux-x64@3.22.1 >/dev/null && tar xzf ./*.tgz)
  ETK_GGML=$work/package/bins/linux-x64/libggml-base.so
fi
export ETK_GGML
make B="$B" "$B/obj/ml.a" "$B/obj/core.a" >&2
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Isdk/include bench/peers/ggml_blocks.c "$B/obj/ml.a" "$B/obj/core.a" -o "$work/ggml_blocks" -pthread \
  $(pkg-config --libs yaml-0.1 jansson libpcre2-8 libutf8proc) -ldl -lm
"$work/ggml_blocks" golden > "$work/out"
mv "$work/out" tests/goldens/quant.txt
