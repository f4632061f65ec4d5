#!/bin/sh
# Gets ONNX Runtime's library and builds the driver for it:  sh bench/peers/ort.sh FOLDER
# Prints one line, the folder that holds libonnxruntime.so.1 (ETK_ORT; FOLDER/ort is the driver). The library comes from an npm package of a pinned version, of which
# only it is kept, in FOLDER; ETK_ORT, where it is set, names a folder that holds one already. A second run fetches nothing.
set -eu
folder=${1:?usage: sh bench/peers/ort.sh FOLDER}
package=onnxruntime-node@1.30.0
here=$(dirname "$0")
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -z "${ETK_ORT:-}" ]; then
  ETK_ORT=$folder/${package%@*}-${package#*@}
  case $(uname -m) in aarch64 | arm64) inside=package/bin/napi-v6/linux/arm64 ;; *) inside=package/bin/napi-v6/linux/x64 ;; esac
  if [ ! -f "$ETK_ORT/libonnxruntime.so.1" ]; then
    rm -rf "$ETK_ORT.part" && mkdir -p "$ETK_ORT.part"
    (cd "$ETK_ORT.part" && npm pack --silent "$package" >/dev/null && tar xzf ./*.tgz "$inside/libonnxruntime.so.1" && mv "$inside/libonnxruntime.so.1" . && rm -r ./*.tgz package) ||
      { rm -rf "$ETK_ORT.part"; echo "ort.sh: cannot fetch $package with npm" >&2; exit 3; }
    mv "$ETK_ORT.part" "$ETK_ORT"
  fi
fi
if [ ! -x "$folder/ort" ] || [ -n "$(find "$here" \( -name 'ort*.[ch]' -o -name products.h -o -name encoder.h \) -newer "$folder/ort")" ]; then
  ${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra "$here/ort.c" -o "$folder/ort" -ldl -lm >&2
fi
echo "$ETK_ORT"
