#!/bin/sh
# The frozen layout, each public header alone in both languages, and plugins made with every compiler, linker and option at hand.
. tests/lib.sh
has() { command -v "$1" >/dev/null 2>&1; }
strict="-Wall -Wextra -Wshadow -pedantic -Wno-variadic-macros"

# ---- layout and headers ----
for cc in gcc clang; do
  has $cc || { skip "the layout of 1.0 under $cc"; continue; }
  case $cc in gcc) cxx=g++ ;; *) cxx=clang++ ;; esac
  run $cc -std=c11 $strict -Werror -fsyntax-only -Isdk/include tests/abi/frozen.c
  expect_exit 0 "the layout of 1.0 stands ($cc, C11)"
  if has $cxx; then
    run $cxx -std=c++17 $strict -Werror -x c++ -fsyntax-only -Isdk/include tests/abi/frozen.c
    expect_exit 0 "the layout of 1.0 stands ($cxx, C++17)"
  else skip "the layout of 1.0 under $cxx"; fi
done
failures=
for header in sdk/include/etk/*.h; do
  noun=${header#sdk/include/}
  echo "#include <$noun>" >"$tmp/one.c"
  $CC -std=c11 $strict -Werror -fsyntax-only -Isdk/include "$tmp/one.c" 2>>"$tmp/.headers" || failures="$failures $noun(C11)"
  if has c++; then c++ -std=c++17 $strict -Werror -x c++ -fsyntax-only -Isdk/include "$tmp/one.c" 2>>"$tmp/.headers" || failures="$failures $noun(C++17)"; fi
done
status=0 out= err=$(cat "$tmp/.headers")
if [ -z "$failures" ]; then ok "every public header compiles alone"; else not_ok "every public header compiles alone" "$failures"; fi

# ---- the matrix ----
[ "$(uname -s)" = Linux ] || { skip "the matrix is of ELF linkers"; exit 0; }
# make_one NAME COMPILER FLAGS…: true where that tool chain is there and works
make_one() {
  name=$1 compiler=$2
  shift 2
  mkdir -p "$tmp/$name"
  has "$compiler" || { skip "$name: there is no $compiler"; return 1; }
  language="-std=c11"
  case $compiler in *++*) language="-std=c++17 -x c++" ;; esac
  run "$compiler" $language $strict -fPIC -shared -fvisibility=hidden -Isdk/include "$@" tests/abi/plugin.c -o "$tmp/$name/libproj-matrix.so"
  if [ "$status" -ne 0 ]; then
    case $err in *"cannot find"*|*"invalid linker"*|*"LTO"*|*"plugin needed"*) skip "$name: this tool chain is not complete"; return 1 ;; esac
    not_ok "$name compiles without a warning"
    return 1
  fi
  if [ -n "$err" ]; then not_ok "$name compiles without a warning"; fi
  return 0
}
note_reads() {
  run "$exe" --plugin-dir "$tmp/$1" help matrix --json
  case "$out" in *'"name":"all"'*'"name":"none"'*|*'"namespace":"matrix"'*'"pairs"'*) ok "$1: the note is read without loading" ;; *) not_ok "$1: the note is read without loading" ;; esac
}
# conforms NAME LIBRARIES: note equal to table, runs, and needs nothing but the C (and C++) library
conforms() {
  note_reads "$1"
  run "$exe" check "$tmp/$1/libproj-matrix.so"
  expect_exit 0 "$1: check finds the note equal to the table"
  needed=$(printf '%s\n' "$out" | sed -n 's/.*it needs //p' | tr ',' '\n' | tr -d ' ' | grep -vE "^(none|$2)$")
  if [ -z "$needed" ]; then ok "$1: it needs only $2"; else not_ok "$1: it needs only $2" "$needed"; fi
  run "$exe" --plugin-dir "$tmp/$1" --no-run matrix:all x 5 a b --numbers 7,8 --json
  expect_contains out '"sum":1048588' "$1: arguments and options arrive"
}
c='libc\.so\.6|ld-linux.*' cxx='libc\.so\.6|libstdc\+\+\.so\.6|libgcc_s\.so\.1|libm\.so\.6|ld-linux.*'
matrix() { # NAME COMPILER FLAGS…
  case $2 in *++*) libraries=$cxx ;; *) libraries=$c ;; esac
  make_one "$@" && conforms "$1" "$libraries"
}
sections="-ffunction-sections -fdata-sections -Wl,--gc-sections"
for cc in gcc clang; do
  case $cc in gcc) plus=g++ ;; *) plus=clang++ ;; esac
  matrix "$cc" $cc -O2
  matrix "$cc-debug" $cc -O0 -g
  matrix "$plus" $plus -O2
  for ld in bfd gold lld; do
    has "ld.$ld" || { skip "$cc with ld.$ld: it is not installed"; continue; }
    matrix "$cc-$ld" $cc -O2 -fuse-ld=$ld
    matrix "$cc-$ld-gc" $cc -Os $sections -fuse-ld=$ld
    matrix "$plus-$ld-gc" $plus -O2 $sections -fuse-ld=$ld
  done
  matrix "$cc-version-script" $cc -O2 -Wl,--version-script=etc/plugin.map -Wl,-z,defs
done
matrix gcc-lto gcc -O2 -flto
matrix gcc-lto-gc gcc -O2 -flto $sections
matrix clang-lto-lld clang -O2 -flto -fuse-ld=lld
matrix clang-thin-lto-gc clang -O2 -flto=thin -fuse-ld=lld $sections
matrix g++-lto g++ -O2 -flto
for how in --strip-unneeded --strip-all; do
  make_one "gcc$how" gcc -O2 && strip $how "$tmp/gcc$how/libproj-matrix.so" && conforms "gcc$how" "$c"
done
make_one gcc-linked-stripped gcc -O2 -s && conforms gcc-linked-stripped "$c"
if has llvm-strip; then make_one llvm-stripped clang -O2 && llvm-strip --strip-all "$tmp/llvm-stripped/libproj-matrix.so" && conforms llvm-stripped "$c"; else skip "llvm-strip is not installed"; fi
# Section headers are not needed to find the note.
if make_one no-sections gcc -O2; then
  if has sstrip; then sstrip "$tmp/no-sections/libproj-matrix.so"; else
    # e_shoff, e_shnum and e_shstrndx of an ELF64 header
    f=$tmp/no-sections/libproj-matrix.so
    dd if=/dev/zero of="$f" bs=1 seek=40 count=8 conv=notrunc 2>/dev/null
    dd if=/dev/zero of="$f" bs=1 seek=60 count=4 conv=notrunc 2>/dev/null
  fi
  note_reads no-sections
fi
# A sanitizer's plugin loads only into a program that has the sanitizer; its note is read by any.
for cc in gcc clang; do
  for sanitizer in address undefined thread; do
    if make_one "$cc-$sanitizer" $cc -O1 -g -fsanitize=$sanitizer; then note_reads "$cc-$sanitizer"; fi
  done
done
