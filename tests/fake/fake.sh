#!/bin/sh
# Every way in which a plugin can be wrong has its own message, and none of them hurts the host: `projects` goes on and ends with 0.
. tests/lib.sh
[ "$(uname -s)" = Linux ] || { skip "the fake plugins are ELF files"; exit 0; }
flags="-std=gnu11 -fPIC -shared -Isdk/include -w"

# make_fake NAME [FLAGS…]: $tmp/NAME/libproj-fake.so
make_fake() {
  name=$1
  shift
  mkdir -p "$tmp/$name"
  # shellcheck disable=SC2086
  $CC $flags "$@" tests/fake/fake.c -o "$tmp/$name/libproj-fake.so" 2>"$tmp/.cc" || { cat "$tmp/.cc"; not_ok "the fake plugin $name compiles"; }
}
# says NAME WORDS TEXT: what `projects` says of the plugin in $tmp/NAME.
says() {
  run "$exe" --plugin-dir "$tmp/$1" projects --json
  case "$status$out" in 0*'"state":"broken"'*) ;; *) not_ok "$3" "it is not listed as broken"; return ;; esac
  expect_contains out "$2" "$3"
}
# broken NAME WORDS TEXT [FLAGS…]
broken() {
  name=$1 words=$2 text=$3
  shift 3
  make_fake "$name" "$@"
  says "$name" "$words" "$text"
}
# patched NAME OFFSET OCTAL WORDS TEXT: one byte of a sound plugin changed.
patched() {
  mkdir -p "$tmp/$1"
  cp "$tmp/sound/libproj-fake.so" "$tmp/$1/"
  # shellcheck disable=SC2059
  printf "\\$3" | dd of="$tmp/$1/libproj-fake.so" bs=1 seek="$2" conv=notrunc 2>/dev/null
  says "$1" "$4" "$5"
}
file() { # NAME: an empty folder for a file of one's own
  mkdir -p "$tmp/$1"
  made=$tmp/$1/libproj-fake.so
}

# ---- what works ----
make_fake sound
run "$exe" --plugin-dir "$tmp/sound" projects --json
expect_contains out '"state":"ok"' "the honest fake is sound, so that each change below is the cause of its message"
run "$exe" --plugin-dir "$tmp/sound" check "$tmp/sound/libproj-fake.so"
expect_exit 0 "the honest fake passes check"
make_fake grown -DGROWN -DTABLE_MINOR=0
run "$exe" --plugin-dir "$tmp/grown" fake:greet Ada --times 3 --json
expect_contains out '"times":3' "rows and tables of a later version, with fields that this host does not know, work"
make_fake silent -DNO_NOTE
run "$exe" --plugin-dir "$tmp/silent" fake:greet Ada -n 2 --json
expect_contains out '"times":2' "a plugin without a note is asked, and works"
run "$exe" --plugin-dir "$tmp/silent" fake:greet Ada -n 12
expect_fail 2 "12" "and its values are checked before it runs"
run "$exe" --plugin-dir "$tmp/silent" check "$tmp/silent/libproj-fake.so"
expect_contains out "it has no note" "check warns of a missing note"

# ---- files that are none ----
file text; echo '#!/bin/sh' >"$made"; says text "is not a shared object, it is a script" "a script is named as one"
file empty; : >"$made"; says empty "is not a shared object, it is empty" "an empty file is named as one"
file archive; printf '!<arch>\nxxxx' >"$made"; says archive "a static library (.a)" "a static library is named as one"
file lfs; echo 'version https://git-lfs.github.com/spec/v1' >"$made"; says lfs "Git LFS pointer" "a Git LFS pointer is named as one"
file object; $CC -c -w -fPIC -Isdk/include tests/fake/fake.c -o "$made"; says object "is an object file (.o), not a shared object: link it with -shared" "an object file is named as one"
file folder; mkdir "$made"; says folder "is not a file but a folder" "a folder is named as one"
file pipe; mkfifo "$made"; says pipe "is not a file but a pipe" "a pipe is not waited for"
file cut; head -c 100 "$tmp/sound/libproj-fake.so" >"$made"; says cut "lies outside the file, which has 100 bytes" "a file that was cut short is told with its size"
file dangling; ln -s nowhere "$made"; says dangling "this link leads nowhere" "a dangling link is told"
file program; echo 'int main(void) { return 0; }' >"$tmp/p.c"; $CC -fPIE -pie "$tmp/p.c" -o "$made"; says program "the system cannot load it" "a program is told in the system's words"
if [ "$(uname -m)" = x86_64 ]; then
  patched machine 18 267 "is an ELF file for aarch64, this machine is x86_64" "another machine's plugin says whose it is"
  patched narrow 4 001 "with 32-bit pointers" "a plugin with other pointers says so"
  patched endian 5 002 "is a big-endian ELF file" "a big-endian plugin says so"
fi
patched class 4 011 "has a damaged ELF header (class 9" "a damaged header is told"

# ---- loading ----
echo 'int fake_missing(void) { return 1; }' >"$tmp/m.c"
$CC -shared -fPIC "$tmp/m.c" -Wl,-soname,libfake-missing.so.4 -o "$tmp/libfake-missing.so"
broken library "needs the library libfake-missing.so.4, which is not installed" "a missing library is named" -Wl,--no-as-needed "$tmp/libfake-missing.so"
broken symbol "uses the symbol 'fake_nowhere', which none of the libraries it names has: link the library" "an undefined symbol is named" -DUNDEFINED=fake_nowhere
broken sdk "uses the symbol 'etk_of_tomorrow', which none of the libraries it names has: it was built for a newer SDK" "a symbol of a newer SDK is named" -DUNDEFINED=etk_of_tomorrow
mkdir -p "$tmp/version"
echo 'ETK_9.9 { global: fake_missing; };' >"$tmp/new.map"; echo 'ETK_1.0 { global: fake_missing; };' >"$tmp/old.map"
$CC -shared -fPIC "$tmp/m.c" -Wl,-soname,libfake-v.so -Wl,--version-script="$tmp/new.map" -o "$tmp/version/libfake-v.so"
make_fake version -DUNDEFINED=fake_missing -Wl,--no-as-needed "$tmp/version/libfake-v.so" '-Wl,-rpath,$ORIGIN'
$CC -shared -fPIC "$tmp/m.c" -Wl,-soname,libfake-v.so -Wl,--version-script="$tmp/old.map" -o "$tmp/version/libfake-v.so"
says version "it wants the version ETK_9.9" "a library that is too old is told with the version wanted"
broken nosymbol "has no symbol etk_project_v1: is it a plugin?" "a library that is no plugin is told" -DSYMBOL=something_else
broken symbol2 "offers etk_project_v2, of plugin ABI 2; this host speaks ABI 1" "the symbol of another major is recognised" -DSYMBOL=etk_project_v2
file library2; $CC -shared -fPIC "$tmp/m.c" -o "$made"; says library2 "has no symbol etk_project_v1" "so is any other library, without a note"

# ---- versions and sizes ----
broken size "its table has 40 bytes, that of ABI 1.0 has 96" "a table that is too small is told with both sizes" -DSTRUCT_SIZE=40
broken size0 "its table has 0 bytes" "an empty table too" -DSTRUCT_SIZE=0
broken major "was built for plugin ABI 2.0, this host speaks 1.0: update" "another major is told with both numbers" -DTABLE_MAJOR=2
broken major0 "was built for plugin ABI 0.0, this host speaks 1.0: build the plugin again" "and an older one with other advice" -DTABLE_MAJOR=0
broken minor "needs a host of ABI 1.7 or newer, this host speaks 1.0: update" "a newer host that is needed is told" -DHOST_MINOR=7
broken strides1 "its rows of commands have 8 bytes, those of ABI 1.0 have 56" "short rows of commands are told" -DCOMMAND_STRIDE=8
broken strides2 "its rows of arguments have 24 bytes, those of ABI 1.0 have 32" "short rows of arguments are told" -DARGUMENT_STRIDE=24
broken strides3 "its rows of options have 56 bytes, those of ABI 1.0 have 64" "short rows of options are told" -DOPTION_STRIDE=56
broken strides4 "which is no multiple of 8" "rows that cannot be aligned are told" -DOPTION_STRIDE=65
broken count "declares 100000 commands, at most 4096 are allowed" "an absurd number of commands is told" -DCOUNT=100000
broken count2 "and 5000 options, at most" "an absurd number of options is told" -DOPTION_COUNT=5000

# ---- tables ----
broken null1 "declares 1 commands and its table of commands is NULL" "a missing table of commands is told" -DCOMMAND_ROWS=0
broken null2 "declares 1 arguments and their table is NULL" "a missing table of arguments is told" -DARGUMENT_ROWS=0
broken null3 "declares 2 options and their table is NULL" "a missing table of options is told" -DOPTION_ROWS=0
broken null4 "command 'greet' has no function (NULL)" "a missing function is told" -DRUN=0
broken null5 "the help of an option is NULL" "a missing string is told" -DOPTION_HELP=0
broken null6 "the name of an option is NULL" "a missing name is told" -DOPTION_NAME=0
broken outside "option 'times': its field (8 bytes at 4000) lies outside the options struct (bytes 8 to " "a field outside the struct is told with its place" -DOPTION_OFFSET=4000
broken outside2 "lies outside the options struct" "a place that overflows is told" -DOPTION_OFFSET=0xfffffffcu
broken head "(8 bytes at 0) lies outside the options struct" "a field over the struct's size is told" -DOPTION_OFFSET=0
broken narrow2 "its field has 4 bytes, one of kind int has 8" "a field of the wrong size is told with both" -DOPTION_SIZE=4
broken unaligned "lies at byte 12, which is no multiple of 8" "an unaligned field is told" -DOPTION_OFFSET=12
broken small "its options struct has 4 bytes, at least 8 are wanted" "a struct without its head is told" -DOPTIONS_SIZE=4
broken kind "option 'times': its kind has the number 77, this host (ABI 1.0) knows 1 to 13: update" "an unknown kind in the table is told" -DOPTION_KIND=77
broken kind2 "argument 'name': its kind has the number 99" "an unknown kind of an argument too" -DARGUMENT_KIND=99
broken kind3 "option 'weights' of command 'greet' is of the kind 'tensor', which this host (ABI 1.0) does not know: update" "an unknown kind in the note is told by its name" -DNEW_KIND -DHONEST_ROWS

# ---- names ----
broken other "the file is named for 'fake' and the plugin calls itself 'other': rename the file to libproj-other.so" "a namespace that is not the file's is told" '-DNS="other"'
broken other2 "the file is named for 'fake' and the plugin calls itself 'table'" "in the table as well" '-DTABLE_NS="table"'
mkdir -p "$tmp/illegal"; cp "$tmp/sound/libproj-fake.so" "$tmp/illegal/libproj-Bad_Name.so"
says illegal "'Bad_Name' is not a legal namespace" "an illegal namespace is told"
mkdir -p "$tmp/word"; cp "$tmp/sound/libproj-fake.so" "$tmp/word/libproj-help.so"
says word "'help' is not a legal namespace" "a namespace that is a word of the host's is told"
broken capital "the option 'Loud' is not a legal name" "an illegal name is told" -DCAPITAL -DHONEST_ROWS
broken reserved "the option 'json' is reserved" "an option of the host's is told" -DRESERVED -DHONEST_ROWS
broken reserved2 "the alias 'plugin-dir' is reserved" "as an alias too" -DRESERVED_ALIAS -DHONEST_ROWS
broken duplicate "the name 'times' is used 2 times" "a duplicate name is told" -DDUPLICATE -DHONEST_ROWS
broken variadic "the argument 'names' is VARIADIC and not the last one" "a variadic argument before another is told" -DVARIADIC_FIRST -DHONEST_ROWS
broken optional "the argument 'name' is REQUIRED and comes after one that is not" "a required argument after an optional one is told" -DOPTIONAL_FIRST -DHONEST_ROWS

# ---- note and table ----
broken differ "its note and its table differ: command 'greet', option 'times': the note's default is '1', the table's is '2'" "a default that differs is told with its place" '-DOPTION_DEFAULT="2"'
broken differ2 "option 'times': the note's help is 'how often', the table's is 'how much'" "a help text that differs is told" '-DOPTION_HELP="how much"'
broken differ3 "the note's version is '1.0.0', the table's is '1.0.1'" "a version that differs is told" '-DTABLE_VERSION="1.0.1"'
broken differ4 "the note's number of options is '2', the table's is '1'" "a missing option is told" -DOPTION_COUNT=1
broken tab "the help of an option holds a tab or a newline" "a string that no note could hold is told" '-DOPTION_HELP="how\toften"'

# ---- code ----
broken crash "crashed with SIGSEGV while it was loaded" "a crash while loading is told with its signal" -DLOAD_CRASH
broken exit "ended the process with exit status 3 while it was loaded" "an exit while loading is told" -DLOAD_EXIT
broken init "fake could not start: no quantum processor was found" "an init that fails is told in its own words" -DINIT_FAIL
broken init2 "fake could not start: unavailable" "or by the status it returned" -DINIT_FAIL_SILENT
broken init3 "crashed with SIGABRT in its init" "an init that crashes is told" -DINIT_CRASH
broken init4 "crashed with SIGABRT in its deinit" "a deinit that crashes is told" -DDEINIT_CRASH
run "$exe" --plugin-dir "$tmp/init" fake:greet Ada
expect_fail 3 "no quantum processor was found" "a command of a plugin whose init fails is not run, and says why"
run "$exe" --plugin-dir "$tmp/outside" fake:greet Ada
expect_fail 126 "lies outside the options struct" "a command of a broken plugin is found and cannot run: 126"

# ---- check goes further ----
checks() { # NAME WORDS TEXT FLAGS…
  name=$1 words=$2 text=$3
  shift 3
  make_fake "$name" "$@"
  run "$exe" check "$tmp/$name/libproj-fake.so"
  if [ "$status" -eq 4 ]; then expect_contains out "$words" "$text"; else not_ok "$text" "exit code $status, wanted 4"; fi
}
checks leak "2 files stay open after 2 rounds of init and deinit" "check sees files that stay open" -DINIT_LEAK
checks once "init failed when it was called again after deinit" "check calls init again" -DINIT_ONCE
checks query "query answers an id that nobody has defined" "check asks for what cannot be there" -DQUERY_ALL
checks outside "lies outside the options struct" "check tells what the loader would" -DOPTION_OFFSET=4000
checks badversion "the version 'one' is not MAJOR.MINOR.PATCH" "check reads versions" '-DTABLE_VERSION="one"' -DNO_NOTE
checks crashed "crashed with SIGABRT in its init" "check survives a crash" -DINIT_CRASH
run "$exe" check "$tmp/leak/libproj-fake.so" --json
expect_contains out '"conformant":false' "check answers in JSON"
run "$exe" check "$tmp/nowhere.so"
expect_fail 1 "cannot be checked" "check of a missing file is an error"

# ---- trust ----
make_fake writable; chmod o+w "$tmp/writable/libproj-fake.so"
says writable "chmod o-w $tmp/writable/libproj-fake.so" "a file that anyone may write is refused with the command that mends it"
run "$exe" --plugin-dir "$tmp/writable" fake:greet Ada
expect_fail 126 "anyone may write to the file" "it does not run"
run "$exe" --plugin-dir "$tmp/writable" --trust-dir "$tmp/writable" fake:greet Ada
expect_exit 0 "unless its folder is trusted by --trust-dir"
make_fake open; chmod 777 "$tmp/open"
says open "chmod o-w $tmp/open" "a folder that anyone may write is refused"
EFFICIENTAI_TRUST_DIRS="/nonexistent:$tmp" run "$exe" --plugin-dir "$tmp/open" fake:greet Ada
expect_exit 0 "EFFICIENTAI_TRUST_DIRS trusts what is below"
chmod 1777 "$tmp/open"
run "$exe" --plugin-dir "$tmp/open" fake:greet Ada
expect_exit 0 "a sticky folder passes"
mkdir "$tmp/linked"; chmod 777 "$tmp/writable"; chmod o-w "$tmp/writable/libproj-fake.so"; ln -s "$tmp/writable/libproj-fake.so" "$tmp/linked/"
says linked "anyone may write to the folder" "a link into a folder that anyone may write is refused"
make_fake group; chmod g+w "$tmp/group/libproj-fake.so"
run "$exe" --plugin-dir "$tmp/group" fake:greet Ada
expect_contains err "its group may write" "a group that may write is warned of"
expect_exit 0 "and the command runs"
if [ "$(id -u)" = 0 ]; then
  make_fake foreign; chown 12345 "$tmp/foreign/libproj-fake.so"
  says foreign "belongs to 12345, and you are root" "another user's file is refused, with the command that mends it"
else
  skip "another user's file is refused (needs root)"
fi

# ---- together ----
many=$tmp/many; mkdir "$many"
cp "$tmp/sound/libproj-fake.so" "$many/libproj-fake.so"
cp "$tmp/crash/libproj-fake.so" "$many/libproj-crash.so"
echo nothing >"$many/libproj-text.so"
run "$exe" --plugin-dir "$many" --plugin-dir "$tmp/sound" projects --verbose
expect_exit 0 "projects ends with 0 although some are broken"
expect_contains out "shadowed" "a second plugin of the same namespace is shown as shadowed"
expect_contains out "crash: $many/libproj-crash.so:" "each broken one is named with its reason"
run "$exe" --plugin-dir "$many" fake:greet Ada --json
expect_contains out '"name":"Ada"' "the sound one among them runs"
run "$exe" --plugin-dir "$many" help
expect_exit 0 "help reads notes only, so no broken plugin hurts it"
run "$exe" --plugin-dir "$tmp/none" projects
expect_fail 1 "cannot read the folder '$tmp/none'" "a missing --plugin-dir is an error"
