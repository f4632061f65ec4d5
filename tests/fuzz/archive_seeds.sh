#!/bin/sh
# Makes tests/fuzz/seeds/archive/ anew with the system's tar, gzip, zstd and zip. Run from the root of the repository.
set -eu
out=$PWD/tests/fuzz/seeds/archive
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out"
cd "$tmp"
mkdir -p t/d
echo text >t/a
echo more >t/d/b
ln -s d/b t/link
ln t/a t/second
tar -b1 --format=ustar --owner=0 --group=0 --mtime=@1000000000 -cf "$out/ustar.tar" t
tar -b1 --format=gnu --owner=0 --group=0 --mtime=@1000000000 -cf "$out/gnu.tar" t
tar -b1 --format=pax --owner=0 --group=0 --mtime=@1000000000 --pax-option=delete=atime,delete=ctime -cf "$out/pax.tar" t
gzip -9nc "$out/ustar.tar" >"$out/ustar.tar.gz"
zstd -qc "$out/ustar.tar" >"$out/ustar.tar.zst"
TZ=UTC zip -qryX "$out/zip.zip" t
zip -q0X "$out/stored.zip" t/a
truncate -s 8192 t/sparse
echo end >>t/sparse
tar -b1 --format=gnu -S --owner=0 --group=0 --mtime=@1000000000 -cf "$out/sparse.tar" t/sparse
tar -b1 --format=gnu -P --owner=0 --group=0 --mtime=@1000000000 --transform='s,^t/,../,' -cf "$out/dots.tar" t/a
ln -sf /etc t/out
tar -b1 --format=ustar --owner=0 --group=0 --mtime=@1000000000 -cf "$out/absolute-link.tar" t/out
head -c 700 "$out/ustar.tar" >"$out/cut.tar"
# out-of-order-sparse came from the fuzzer: libarchive answers ARCHIVE_RETRY without end.
