#!/bin/sh
# Installs what is missing, and nothing else.   deps.sh [build] [check] [peers] [arm64]   (default: build)
#   build  to compile and run     check  to run all tests     peers  to measure: coverage, other software
#   arm64  for `make check-arm64`: a cross-compiler and qemu; arm64's libraries are unpacked into $ETK_ARM64_ROOT (build-arm64/root), not installed
# Exit 0: all there. Exit 3: packages are missing and cannot be installed here; the line to run is printed.
set -u
tiers="${*:-build}"
debian_build="make gcc libc6-dev pkg-config libyaml-dev libjansson-dev libffi-dev libpcre2-dev libutf8proc-dev libopenblas-dev libarchive-dev libpng-dev libxxhash-dev libedit-dev zlib1g-dev libcurl4-openssl-dev"
debian_check="g++ clang lld llvm binutils jq libcmocka-dev libclang-rt-14-dev procps zsh fish expect tmux openssh-client openssh-server libxml2-utils xxhash zstd unzip zip groff-base chromium python3-jsonschema python3-yaml"
debian_peers="cmake hyperfine valgrind gcovr python3-torch libopenblas0-openmp"
debian_arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
arm64_libraries="libyaml-dev libyaml-0-2 libjansson-dev libjansson4 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 zlib1g-dev zlib1g libcmocka-dev libcmocka0"
brew_build="pkg-config libyaml jansson libffi pcre2 utf8proc openblas libarchive libpng xxhash libedit curl"
brew_check="cmocka llvm lld jq"
brew_peers="cmake hyperfine gcovr"

wanted=""
for tier in $tiers; do
  case "$tier" in
    build | check | peers) ;;
    arm64) command -v apt-get >/dev/null 2>&1 || { echo "deps.sh: arm64's libraries come from Debian's packages, and there is no apt-get here" >&2; exit 3; } ;;
    *) echo "deps.sh: unknown tier '$tier'; there are build, check, peers and arm64" >&2; exit 2 ;;
  esac
  if command -v apt-get >/dev/null 2>&1; then eval "wanted=\"\$wanted \$debian_$tier\""; else eval "wanted=\"\$wanted \$brew_$tier\""; fi
done

missing=""
if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
  for p in $wanted; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  install="apt-get install -y --no-install-recommends"
  update="apt-get update"
elif command -v brew >/dev/null 2>&1; then
  for p in $wanted; do brew list --versions "$p" >/dev/null 2>&1 || missing="$missing $p"; done
  install="brew install"
  update=":"
else
  command -v pkg-config >/dev/null 2>&1 && pkg-config --exists yaml-0.1 jansson libffi libpcre2-8 libutf8proc libarchive libpng libxxhash libedit libcurl && exit 0
  echo "deps.sh: neither apt-get nor brew is here. Install with your system's tool: $wanted (Debian's names)" >&2
  exit 3
fi
# apt of its own, with arm64 beside this machine's architecture, so that the machine's stays as it is.
unpack_arm64() {
  root=${ETK_ARM64_ROOT:-build-arm64/root}
  [ ! -e "$root/complete" ] || return 0
  echo "deps.sh: unpacking arm64's libraries into $root" >&2
  rm -rf "$root" && mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial" "$root/debs" || return 1
  root=$(cd "$root" && pwd)
  : >"$root/apt/status"
  (
    cd "$root/debs" || exit 1
    set -- -q -o "Dir::State=$root/apt" -o "Dir::State::status=$root/apt/status" -o "Dir::Cache=$root/apt" -o APT::Sandbox::User=root \
      -o APT::Architecture="$(dpkg --print-architecture)" -o APT::Architectures::=arm64
    # shellcheck disable=SC2046
    apt-get "$@" update && apt-get "$@" download $(for p in $arm64_libraries; do echo "$p:arm64"; done) && for deb in *.deb; do dpkg-deb -x "$deb" "$root" || exit 1; done
  ) >"$root/log" 2>&1 || { tail -5 "$root/log" >&2; echo "deps.sh: could not fetch arm64's libraries ($arm64_libraries) from Debian's archive" >&2; return 1; }
  rm -rf "$root/apt" "$root/debs" && : >"$root/complete"
}
finish() {
  case " $tiers " in *" arm64 "*) unpack_arm64 || exit 3 ;; esac
  exit 0
}
[ -n "$missing" ] || finish

run=""
if [ "$install" != "brew install" ] && [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then run="sudo"; else
    echo "deps.sh: missing:$missing" >&2
    echo "run as root:  $update && $install$missing" >&2
    exit 3
  fi
fi
echo "deps.sh: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ $run $update && $run $install $missing; } >/tmp/etk-deps.$$ 2>&1 || {
  tail -20 /tmp/etk-deps.$$ >&2
  rm -f /tmp/etk-deps.$$
  echo "deps.sh: could not install:$missing" >&2
  exit 3
}
rm -f /tmp/etk-deps.$$
finish
