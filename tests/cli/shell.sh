# The interactive shell: lines from a pipe, and a session on a terminal.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
type_lines() { # LINES [OPTION…]
  printf '%s\n' "$1" >"$tmp/lines"
  shift
  "$exe" shell "$@" <"$tmp/lines" >"$tmp/.out" 2>"$tmp/.err"
  status=$?
  out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
}

type_lines 'version'
expect_contains out "efficientai-toolkit" "a line is a command of the program"
type_lines 'use demo
kinds word --whole 4 --json'
expect_contains out '"whole":4' "in a namespace its commands need no prefix"
type_lines 'kinds word' demo
expect_contains out "word" "the namespace may be named at once"
{ printf 'version '; head -c 3000000 /dev/zero | tr '\0' a; } >"$tmp/long"
"$exe" shell <"$tmp/long" >"$tmp/.out" 2>"$tmp/.err"
status=$? out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
expect_fail 2 "the line is too long" "a line of three megabytes is said to be too long"
expect_contains err "MiB, and a command takes" "with the limit"
expect_lacks err "/proc/self/exe" "and no word about how commands are started"
type_lines help
case "$(printf '%s\n' "$out" | sed -n 's/^  \(set \[KEY=VALUE…\] *\)keep settings.*/\1/p' | LC_ALL=C.UTF-8 awk '{ print length($0) }' | head -1)" in
21 | 23) ok "the list of its own commands is aligned, also behind an ellipsis" ;; # an awk that counts bytes has two more
*) not_ok "the list of its own commands is aligned, also behind an ellipsis" ;;
esac
type_lines 'use dem
use
kinds word'
expect_fail 127 "unknown command or namespace 'kinds'" "'use' alone leaves a namespace"
type_lines 'demo:kinds "two words" --note '\''a "quoted" b'\'' --tag back\ slash --tag "" --json'
expect_contains out '"word":"two words"' "double quotes"
expect_contains out '"note":"a \"quoted\" b"' "single quotes"
expect_contains out '"texts_count":1' "an empty word in quotes is a word"
type_lines '# a remark

demo:kinds $HOME*  # and another
demo:kinds `ls`' --keep-going
expect_contains out '$HOME*' "nothing is expanded, and remarks are passed over"
expect_contains out '`ls`' "and nothing is run within a line"
HOME=/h type_lines 'demo:kinds ~/x'
expect_contains out "/h/x" "but for the ~/ of a path"
type_lines 'demo:kinds "open'
expect_fail 2 "not closed" "an open quote is an error"
type_lines 'demo:kinds word > file'
expect_fail 2 "'>' has no meaning here" "a redirection is an error"
type_lines '!ls'
expect_fail 2 "starts no other programs" "no other program is started"
type_lines 'demo:fail
version'
expect_fail 1 "line 1 ended with exit code 1" "the first line that fails ends it"
expect_lacks out "ABI" "and nothing after it is run"
type_lines 'demo:nosuch
version
demo:fail' --keep-going
expect_exit 127 "with --keep-going the exit code is that of the first failure"
expect_contains out "ABI" "and the lines after it are run"
type_lines 'demo:crash segv
version' -k
expect_exit 139 "a crash is one line's failure"
expect_contains out "ABI" "and not the session's"
type_lines 'set basic.whole=7
demo:kinds w --json
use demo
set basic.whole=8
set
kinds w --json
unset basic.whole
kinds w --json'
case "$out" in *'"whole":7'*KEY*basic.whole*demo*'"whole":8'*'"whole":7'*) ok "settings hold until they are unset, a namespace's before all others" ;;
*) not_ok "settings hold until they are unset, a namespace's before all others" ;; esac
type_lines 'use demo
set basic.whol=7'
expect_fail 2 "did you mean 'basic.whole'?" "a key that the namespace lacks is found at once"
type_lines 'set basic.whole'
expect_fail 2 "set wants KEY=VALUE" "a setting has a value"
type_lines 'set a.b=1
version
runs list'
expect_exit 0 "settings are for commands of projects"
run "$exe" --json shell
expect_exit 2 "--json is for the commands in it"
mkdir "$tmp/q" && build_plugin tests/cli/plugins/demo.c demo "$tmp/q"
(unset EFFICIENTAI_PLUGIN_PATH; echo 'demo:kinds w' | "$exe" --plugin-dir "$tmp/q" shell >"$tmp/.out" 2>"$tmp/.err"; echo $? >"$tmp/code")
status=$(cat "$tmp/code") out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
expect_exit 0 "options of the host hold for every line"
printf 'version' | "$exe" shell >"$tmp/.out" 2>&1
status=$? out=$(cat "$tmp/.out")
expect_contains out "ABI" "the last line needs no newline"

if ! command -v expect >/dev/null; then
  skip "a session on a terminal: expect is not installed"
  exit 0
fi
mkdir "$tmp/work" "$tmp/home"
touch "$tmp/work/a file.txt"
root=$PWD
# libedit keeps copies of the names it is given.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
history="$XDG_STATE_HOME/efficientai-toolkit/history"
(cd "$tmp/work" && HOME="$tmp/home" TMPDIR="$tmp" LC_ALL=C.UTF-8 expect "$root/tests/cli/shell.exp" "$exe")
mode=$(ls -l "$history" | cut -c1-10)
if [ "$mode" = "-rw-------" ]; then ok "the history is its owner's alone"; else not_ok "the history is its owner's alone" "$mode"; fi
if grep -q "^demo:nosuch$" "$history"; then ok "lines are kept"; else not_ok "lines are kept" "$(cat "$history")"; fi
if grep -q abcdef "$history"; then not_ok "a line with a secret is not kept" "$(cat "$history")"; else ok "a line with a secret is not kept"; fi
i=0
while [ $i -lt 2500 ]; do echo "version $i"; i=$((i + 1)); done >"$history"
chmod 644 "$history"
expect -c 'set timeout 20; log_user 0; spawn -noecho '"$exe"' shell; expect "toolkit> "; send "version\r"; expect "ABI"; expect "toolkit> "; send "\004"; expect eof'
lines=$(wc -l <"$history")
if [ "$lines" -eq 1001 ] && [ "$(tail -1 "$history")" = version ] && [ "$(head -1 "$history")" = "version 1500" ]; then ok "a history that grew too long is cut to its newest lines"; else
  not_ok "a history that grew too long is cut to its newest lines" "$lines lines, first $(head -1 "$history")"
fi
mode=$(ls -l "$history" | cut -c1-10)
if [ "$mode" = "-rw-------" ]; then ok "and is its owner's alone again"; else not_ok "and is its owner's alone again" "$mode"; fi
