# lib.sh: for scripts under tests/, read with `. tests/lib.sh` from the root of the repository. B is the build folder, CC the compiler.
# Each check prints one line: "ok - …", "not ok - …" or "skip - …". What a command printed is in $out and $err, its exit code in $status.
B=${B:-build}
CC=${CC:-cc}
case "$B" in /*) ;; *) B=$PWD/$B ;; esac
exe=$B/bin/efficientai-toolkit
ETK_TMP=${ETK_TMP:-${TMPDIR:-/tmp}}
mkdir -p "$ETK_TMP"
tmp=$(mktemp -d "$ETK_TMP/etk-test.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
export XDG_CONFIG_HOME="$tmp/config" XDG_DATA_HOME="$tmp/data" XDG_STATE_HOME="$tmp/state"
unset EFFICIENTAI_STATE_DIR EFFICIENTAI_PLUGIN_PATH EFFICIENTAI_PROFILE EFFICIENTAI_CONFIG_PATH EFFICIENTAI_TRUST_DIRS NO_COLOR CLICOLOR_FORCE 2>/dev/null
ulimit -c 0 2>/dev/null
san_flags=
case "${SAN:-}" in
address) san_flags="-fsanitize=address,undefined -fno-omit-frame-pointer" ;;
thread) san_flags="-fsanitize=thread" ;;
esac

ok() { printf 'ok - %s\n' "$1"; }
skip() { printf 'skip - %s\n' "$1"; }
not_ok() { # TEXT [WHY]
  printf 'not ok - %s\n' "$1"
  [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/#   /'
  printf '%s\n' "status ${status:-}" "stdout:" "${out:-}" "stderr:" "${err:-}" | head -40 | sed 's/^/#   /'
}

# run COMMAND…: sets $out, $err and $status.
run() {
  "$@" >"$tmp/.out" 2>"$tmp/.err" </dev/null
  status=$?
  out=$(cat "$tmp/.out")
  err=$(cat "$tmp/.err")
}
# The checks look at what `run` left.
expect_exit() { # CODE TEXT
  if [ "$status" -eq "$1" ]; then ok "$2"; else not_ok "$2" "exit code $status, wanted $1"; fi
}
expect_contains() { # WHERE(out|err) WORDS TEXT
  eval "seen=\$$1"
  case "$seen" in *"$2"*) ok "$3" ;; *) not_ok "$3" "'$2' is not in std$1" ;; esac
}
expect_lacks() { # WHERE(out|err) WORDS TEXT
  eval "seen=\$$1"
  case "$seen" in *"$2"*) not_ok "$3" "'$2' is in std$1" ;; *) ok "$3" ;; esac
}
# expect_fail CODE WORDS TEXT: the exit code and what stderr says, as one check.
expect_fail() {
  case "$err" in *"$2"*) said=1 ;; *) said=0 ;; esac
  if [ "$status" -eq "$1" ] && [ "$said" -eq 1 ]; then ok "$3"; else not_ok "$3" "exit code $status, wanted $1; stderr must hold '$2'"; fi
}
# build_plugin SOURCE NAMESPACE DIR [FLAGS…]
build_plugin() {
  source=$1 name=$2 dir=$3
  shift 3
  mkdir -p "$dir"
  # shellcheck disable=SC2086
  $CC -std=gnu11 -Wall -Wextra -fPIC -shared -pthread -Isdk/include $san_flags "$@" "$source" -o "$dir/libproj-$name.so"
}
