#!/bin/sh
# Other programs beside ours, as one table:  make bench-peers [BENCH_ARGS='--shapes 110m --runs 7 --json FILE']; bench/README.md says what is measured and how.
# $ETK_PEERS_CACHE (build/peers) keeps models, made when they are missing (110m: 1.2 GB, 1.1b: 14 GB), and the libraries of llama.cpp and ONNX Runtime. A peer that is
# missing leaves its rows with a word why. Called by `make bench-peers` with B.
set -eu
B=${B:-build} folder=${ETK_PEERS_CACHE:-build/peers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
ETK_LLAMA=$(sh bench/peers/llama.sh "$folder") || echo "bench.sh: llama.cpp is left out" >&2
case "$*" in
  *--parts*products* | *--parts*encoder*) wanted=1 ;;
  *--parts*) wanted= ;;
  *) wanted=1 ;;
esac
[ -z "$wanted" ] || ETK_ORT=$(sh bench/peers/ort.sh "$folder") || echo "bench.sh: ONNX Runtime is left out" >&2
export ETK_LLAMA ETK_ORT="${ETK_ORT:-}"
exec python3 -B bench/peers/table.py "$folder" "$B" "$@"
