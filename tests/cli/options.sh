# Options and arguments on the command line: forms, errors, exit codes.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
echo s3cret >"$tmp/key"
kinds() { run "$exe" --json demo:kinds "$@"; }
bad() { run "$exe" demo:kinds "$@"; }

kinds word
expect_contains out '"struct_size":176,"expected_size":176' "the options struct arrives with its size"
expect_contains out '"whole":3,"ratio":0.5,"loud":false,"sure":true,"note":null' "defaults arrive, and unset texts are NULL"
expect_contains out '"unset":0,"unset_given":false' "an unset number is 0 and not given"
kinds word --whole 4
expect_contains out '"whole":4' "--option value"
kinds word --whole=4
expect_contains out '"whole":4' "--option=value"
kinds word -n 4
expect_contains out '"whole":4' "-o value"
kinds word -n4
expect_contains out '"whole":4' "-ovalue"
kinds word -ln4
expect_contains out '"whole":4,"ratio":0.5,"loud":true' "letters may stand together"
kinds word --whole 4 --whole 5
expect_contains out '"whole":5' "the last value stays"
kinds word --fraction 0.25
expect_contains out '"ratio":0.25' "an alias is an option"
kinds word --loud --no-sure
expect_contains out '"loud":true,"sure":false' "--flag and --no-flag"
kinds word --loud=yes --sure=no
expect_contains out '"loud":true,"sure":false' "--flag=yes and --flag=no"
kinds word -5 -0.5 -.25
expect_contains out '"number":-5,"rest_count":2,"rest_sum":-0.75' "negative numbers are values"
kinds --number -5 word 1 2
expect_contains out '"word":"word","number":-5,"rest_count":2,"rest_sum":3' "an argument may be given by name, the rest by position"
kinds --word=-x -- 7 -2
expect_contains out '"word":"-x","number":7,"rest_count":1,"rest_sum":-2' "after -- all words are arguments"
kinds word --ints 3,4 --ints 5
expect_contains out '"ints_count":3,"ints_sum":12' "lists are cut at ',' and may be repeated"
kinds word --ints=
expect_contains out '"ints_count":0' "an empty list is a list"
kinds word -t a -t b,c --map k=v --map l=w
expect_contains out '"texts_count":3,"last_text":"c","map_count":2,"map_first":"v"' "texts and maps"
kinds word -t 'a\,b,c\,'
expect_contains out '"texts_count":2,"last_text":"c,"' "'\\,' is a comma of an item"
kinds word --memory 4MiB --wait 1m30s
expect_contains out '"memory":4194304,"wait":90000000000' "sizes in bytes and durations in nanoseconds"
kinds word --key "@$tmp/key"
expect_contains out '"key_size":6' "a secret from a file, without the newline"
kinds word --note "--not an option"
expect_contains out '"note":"--not an option"' "a text with a blank is a value although it begins with dashes"
kinds word --out "$tmp/new" --file "$tmp/key"
expect_exit 0 "paths that obey their limits pass"

bad
expect_fail 2 "demo:kinds needs word: a word" "a missing argument is named"
expect_contains err "usage: efficientai-toolkit demo:kinds WORD" "with the usage"
bad word --whoel 3
expect_fail 2 "unknown option --whoel for demo:kinds; did you mean --whole?" "an unknown option gets a suggestion"
bad word --methd linear
expect_contains err "did you mean --method?" "a suggestion comes by edit distance"
bad word -z
expect_fail 2 "unknown option -z" "an unknown letter is named"
bad word --whole
expect_fail 2 "--whole wants a value (int)" "a missing value is named"
bad word --whole --loud
expect_fail 2 "'--loud' reads as an option" "an option is not taken for a value"
bad word --whole 0
expect_fail 2 "--whole: 0 is below 1 (allowed: 1..9)" "a value below its limit"
bad word --whole 10
expect_fail 2 "--whole: 10 is above 9 (allowed: 1..9)" "a value above its limit"
bad word --ratio 0
expect_fail 2 "--ratio: 0 is not above 0 (allowed: 0<..1)" "an open limit"
bad word --whole x
expect_fail 2 "--whole: 'x' is not a whole number" "a value that is no number"
bad word --method liner
expect_fail 2 "did you mean 'linear'?" "a choice gets a suggestion"
bad word --method liner
expect_contains err "linear, cosine, constant" "and its words are listed"
bad word --note "a text that is longer than twenty bytes"
expect_fail 2 "above 20" "a text that is too long"
bad word --file "$tmp/nowhere"
expect_fail 2 "does not exist" "a path that must be there"
bad word --out "$tmp/nowhere/x"
expect_fail 2 "make it first" "a path whose folder must be there"
bad word --ints 1,x,3
expect_fail 2 "--ints, item 2: 'x'" "the item of a list that is wrong"
bad word --map novalue
expect_fail 2 "'novalue' is not KEY=VALUE" "a map wants pairs"
bad word --memory 1
expect_fail 2 "--memory: 1 is below 1KiB" "sizes have limits in units"
bad word 5 6 seven
expect_fail 2 "'seven'" "a wrong item of a variadic argument"
run "$exe" demo:table one
expect_fail 2 "one argument too many: demo:table takes 0" "too many arguments"
bad word --no-whole
expect_fail 2 "takes a value (int) and has no opposite" "--no- is for flags"
bad word --no-loud=yes
expect_fail 2 "--no-loud takes no value; write --no-loud, or --loud=yes" "--no-flag takes no value"
bad word --key topsecret
expect_fail 2 "--key is a secret" "a secret on the command line is refused"
expect_lacks err "topsecret" "and not repeated"
run "$exe" --json demo:kinds word --whole 0
expect_exit 2 "under --json a usage error keeps its exit code"
expect_contains out '"status":"failed","run":null' "and is a document"
expect_contains out '"error":{"code":1,"name":' "with code and name"
if [ -z "$err" ]; then ok "and nothing else is said"; else not_ok "and nothing else is said"; fi

for words in "--set a.b=c info" "--config README.md runs" "--no-run version" "--dry-run new x $tmp/dry" "--profile quick projects"; do
  # shellcheck disable=SC2086
  run "$exe" $words
  expect_fail 2 "for commands of projects" "${words%% *} is not passed over by a built-in"
done
if [ ! -e "$tmp/dry" ]; then ok "and nothing was written"; else not_ok "and nothing was written"; fi
