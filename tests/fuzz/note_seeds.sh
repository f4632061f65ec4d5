#!/bin/sh
# Makes tests/fuzz/seeds/note/ anew: a small plugin as ELF (64 and 32 bits, little-endian and of other machines) and as Mach-O (thin and universal), by
# clang and lld, which build for all of these without an SDK; and the note's text alone. Run from the root of the repository.
set -eu
out=tests/fuzz/seeds/note
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out" "$tmp/include"
printf '#include <stddef.h>\n#include <stdarg.h>\nint vsnprintf(char *, size_t, const char *, va_list);\n' >"$tmp/include/stdio.h"
cat >"$tmp/seed.c" <<'C'
#include <etk/project.h>
#define ARGS(ARG) ARG(text, name, REQUIRED, "1..40", "who") ARG(path, files, VARIADIC, "exists", "what")
#define OPTIONS(OPT) OPT(int, times, "1", "1..9", "greet", "n often", 0, "how often") OPT(choice, tone, "a", "a|b\\|c", "", "", (4 | 8), "how")
#define COMMANDS(CMD) CMD(greet, ARGS, OPTIONS, ETK_TRACKED, "Greet") CMD(stop, ETK_NONE, ETK_NONE, 0, "Stop")
ETK_PROJECT("seed", "1.0.0", "A seed", COMMANDS)
static etk_status greet_run(etk_run *run, const char *name, struct etk_texts files, const struct greet_options *o) { return (void)run, (void)name, (void)files, (void)o, 0; }
static etk_status stop_run(etk_run *run, const struct stop_options *o) { return (void)run, (void)o, 0; }
C
compile() { # TARGET: $tmp/TARGET.o
  clang --target="$1" -ffreestanding -nostdlibinc -isystem "$tmp/include" -Isdk/include -Os -fPIC -fvisibility=hidden -c "$tmp/seed.c" -o "$tmp/$1.o"
}
for target in x86_64-linux-gnu aarch64-linux-gnu i686-linux-gnu; do
  compile $target
  ld.lld -shared -s -z noseparate-code -z max-page-size=512 --build-id "$tmp/$target.o" -o "$out/elf-${target%%-*}"
done
for arch in arm64 x86_64; do
  compile $arch-apple-macos11
  lld -flavor darwin -dylib -arch $arch -platform_version macos 11.0 11.0 -undefined dynamic_lookup "$tmp/$arch-apple-macos11.o" -o "$tmp/$arch.dylib"
done
cp "$tmp/arm64.dylib" "$out/macho-arm64"
cp "$tmp/x86_64.dylib" "$out/macho-x86_64"
"$(command -v llvm-lipo || command -v llvm-lipo-14)" -create "$tmp/x86_64.dylib" -output "$out/macho-fat"
printf 'note\t1\nproject\tseed\t1.0.0\t1.0\t0\tA seed\ncommand\tgo\t(1 | 2)\tGo\\n on\nargument\ttext\tname\tREQUIRED\t1..40\twho\noption\tint\ttimes\t1\t1..9\tgreet\tn often\t4\thow often\nfuture\trow\n' >"$out/text"
printf 'note\t2\nproject\tseed\t1.0.0\t2.0\t0\tA seed of another ABI\ncommand\n' >"$out/text-abi"
printf '\312\376\272\276\000\000\000\075\000\020' >"$out/java-class"
chmod 644 "$out"/*
ls -l "$out"
