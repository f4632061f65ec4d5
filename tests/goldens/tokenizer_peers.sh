#!/bin/sh
# Tokenizers beside the reference implementations, in one run: ids of COUNT strings (default 10,000) and up to 4,000 of broken UTF-8 for each family, then speed.
#   B=build sh tests/goldens/tokenizer_peers.sh [COUNT [ids]]     (ids: without the times)
# Needs the built program and bench/tokenizer (`make && make build/bench/tokenizer`), node 20 or newer, and the packages below, which are fetched into a temporary
# folder ($ETK_NODE_MODULES: a folder that has them). ETK_SHARED (default ../shared) holds tokenizers/ and data/wikitext2. Not part of `make check`, which
# works on the committed samples: tests/goldens/tokenizers*.json.
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build} count=${1:-10000} shared=$(cd "${ETK_SHARED:-../shared}" && pwd)
case "$B" in /*) ;; *) B=$PWD/$B ;; esac
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
if [ -n "${ETK_NODE_MODULES:-}" ]; then ln -s "$ETK_NODE_MODULES" "$work/node_modules"
else
  (cd "$work" && npm install --silent --no-audit --no-fund --ignore-scripts tokenizers@0.23.2 @sctg/sentencepiece-js@1.3.3 @huggingface/tokenizers@0.2.0 tiktoken@1.0.22 \
    node-llama-cpp@3.22.1)
fi
cp tests/goldens/tokenizers_families.mjs tests/goldens/tokenizer_peers.mjs "$work"
mkdir "$work/files"
head -c 1200000 "$shared/data/wikitext2/wiki.test.raw" >"$work/train.txt"
"$B/bench/tokenizer" train unigram "$work/train.txt" "$work/files/unigram.json" 8000 2>/dev/null
"$B/bench/tokenizer" train unigram "$work/train.txt" "$work/files/unigram-bytes.json" 8000 bytes 2>/dev/null
"$B/bench/tokenizer" train bpe "$work/train.txt" "$work/files/bpe.json" 8000
(cd "$work" && node tokenizers_families.mjs "$shared" "$count" "$work/files" >families.json)
(cd "$work" && RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false node tokenizer_peers.mjs "$B" "$shared" "${2:-}")
