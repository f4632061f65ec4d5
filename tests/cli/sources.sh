# Where values come from, which source wins, and what is said of keys that nobody knows.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
profiles=$XDG_CONFIG_HOME/efficientai-toolkit/profiles
mkdir -p "$profiles"
printf 'basic:\n  whole: 4\n' >"$profiles/mine.yaml"
printf 'basic:\n  whole: 5\n' >"$tmp/a.yaml"
kinds() { run "$exe" --json "$@" demo:kinds word; }

kinds --profile mine
expect_contains out '"whole":4' "a profile beats the default"
kinds --profile mine --config "$tmp/a.yaml"
expect_contains out '"whole":5' "--config beats the profile"
export EFFICIENTAI__BASIC__WHOLE=6
kinds --profile mine --config "$tmp/a.yaml"
expect_contains out '"whole":6' "the environment beats --config"
export EFFICIENTAI__DEMO__BASIC__WHOLE=7
kinds --profile mine --config "$tmp/a.yaml"
expect_contains out '"whole":7' "a variable with the namespace beats one without"
kinds --profile mine --config "$tmp/a.yaml" --set basic.whole=8
expect_contains out '"whole":8' "--set beats the environment"
run "$exe" --json --profile mine --config "$tmp/a.yaml" --set basic.whole=8 demo:kinds word --whole 9
expect_contains out '"whole":9' "the command line beats --set"
run "$exe" demo:kinds word --dry-run --config "$tmp/a.yaml" --set basic.ratio=0.25 -l
expect_contains out "EFFICIENTAI__DEMO__BASIC__WHOLE" "--dry-run tells the variable a value came from"
expect_contains out "--set basic.ratio" "and the --set"
expect_contains out "command line  -l" "and the option"
expect_contains out "word" "and arguments"
unset EFFICIENTAI__DEMO__BASIC__WHOLE EFFICIENTAI__BASIC__WHOLE
run "$exe" demo:kinds word --dry-run --config "$tmp/a.yaml"
expect_contains out "a.yaml:2:3" "and file, line and column"
expect_exit 0 "--dry-run ends with 0"
run "$exe" demo:kinds word --dry-run --json --config "$tmp/a.yaml"
expect_contains out '"basic.whole":{"value":5,"source":"config","origin":' "--dry-run --json is a document with every source"
run "$exe" demo:crash segv --dry-run
expect_exit 0 "--dry-run does not call the command"
EFFICIENTAI_PROFILE=mine kinds
expect_contains out '"whole":4' "EFFICIENTAI_PROFILE names a profile"
run "$exe" --override basic.whole=2 --json demo:kinds word
expect_contains out '"whole":2' "--override is --set"
printf '{"demo":{"basic":{"whole":6,"fraction":0.125}},"basic":{"whole":2},"lora-finetuning-mlx":{"x":1}}' >"$tmp/b.json"
kinds --config "$tmp/b.json"
expect_contains out '"whole":6,"ratio":0.125' "a namespace's own section wins, aliases are keys, sections of other projects that are installed are passed over"
printf 'training:\n  steps: 3\nlists:\n  ints: [7, 8]\n  texts: ["a,b", c]\n  map: {k: v}\ndeep:\n  er:\n    method: cosine\nwait: 5s\n' >"$tmp/c.yaml"
kinds --config "$tmp/c.yaml"
expect_contains out '"method":"cosine"' "a group may be nested"
expect_contains out '"wait":5000000000,"ints_count":2,"ints_sum":15' "lists and keys at the top level are read, and keys of other commands are fine"
expect_contains out '"texts_count":2,"last_text":"c","map_count":1' "a list in a file is not cut at ','"
printf 'basic:\n  key: "@%s"\n' "$tmp/key" >"$tmp/d.yaml"
printf hunter2 >"$tmp/key"
kinds --config "$tmp/d.yaml"
expect_contains out '"key_size":7' "a secret in a file is named by @FILE"
EFFICIENTAI__BASIC__KEY=abc kinds
expect_contains out '"key_size":3' "a secret may stand in the environment"
EFFICIENTAI__BASIC__KEY=abc run "$exe" demo:kinds word --dry-run
expect_contains out "(set)" "and is not shown"
kinds --config "$tmp/e.yaml"
expect_exit 2 "a configuration file that is not there is the user's mistake"

wrong() { # YAML WORDS TEXT
  printf '%b' "$1" >"$tmp/w.yaml"
  run "$exe" --config "$tmp/w.yaml" demo:kinds word
  expect_fail 2 "$2" "$3"
}
wrong 'basic:\n  whoel: 3\n' "w.yaml:2:3: no command of demo knows the key 'basic.whoel'; did you mean 'basic.whole'?" "an unknown key is named with its place and a suggestion"
wrong 'training:\n  whole: 3\n' "did you mean 'basic.whole'?" "a key in the wrong group too"
wrong 'basci:\n  whole: 3\n' "w.yaml:1:1: no command of demo knows the key 'basci'" "an unknown group"
wrong 'basic: 3\n' "is a group of options and wants a map" "a group that is no map"
wrong 'basic:\n  whole: [1, 2]\n' "w.yaml:2:3: basic.whole: a list, where a value of kind int is wanted" "a list where one value is wanted"
wrong 'basic:\n  whole: 77\n' "w.yaml:2:3: basic.whole: 77 is above 9 (allowed: 1..9)" "a value in a file obeys the limits"
wrong 'basic:\n  local: 3\n' "given on the command line only, as --local" "a local option stays out of files"
wrong 'basic:\n  key: abc\n' "is a secret" "a secret is not written into a file"
wrong 'basic:\n  whole: 3\n  whole: 4\n' "w.yaml:3" "a key twice is named by its line"
wrong '- 1\n' "where a map of options is wanted" "a file that is no map"
wrong 'other-tool:\n  x: 1\n' "w.yaml:1:1: no command of demo knows the key 'other-tool', so it cannot be honoured; nor is there a project of that name here" "a section of a project that is not here"
wrong 'lora-finetuning-mxl:\n  x: 1\n' "did you mean 'lora-finetuning-mlx'?" "a misspelt project"
wrong 'demo: 3\n' "the section demo wants a map" "a section that is no map"
run "$exe" --profile mnie demo:kinds word
expect_fail 2 "there is no profile 'mnie'; did you mean 'mine'?" "an unknown profile gets a suggestion and the list"
run "$exe" --profile ../x demo:kinds word
expect_fail 2 "is not the name of a profile" "a profile is not a path"
run "$exe" --set basic.whole demo:kinds word
expect_fail 2 "is not GROUP.KEY=VALUE" "--set wants a value"
run "$exe" --set basic.whoel=3 demo:kinds word
expect_fail 2 "did you mean 'basic.whole'?" "--set of an unknown key gets a suggestion"
run "$exe" --set training.steps=3 demo:kinds word
expect_fail 2 "has no such option, only other commands do" "--set of another command's key is refused"
run "$exe" --set basic.whole=99 demo:kinds word
expect_fail 2 "--set basic.whole: 99 is above 9" "--set obeys the limits"
run env EFFICIENTAI__DEMO__BASIC__WHOEL=3 "$exe" demo:kinds word
expect_fail 2 "EFFICIENTAI__DEMO__BASIC__WHOEL: no command of demo knows the key 'basic.whoel'; did you mean 'basic.whole'?" "an unknown variable of this namespace is an error"
run env EFFICIENTAI__OTHER_TOOL__BASIC__WHOEL=3 "$exe" demo:kinds word
expect_exit 0 "one of another namespace is not"
run env EFFICIENTAI__BASIC__WHOEL=3 "$exe" demo:kinds word
expect_contains err "did you mean 'basic.whole'?" "one without a namespace warns where it is near"
expect_exit 0 "and goes on"
run env EFFICIENTAI__BASIC__WHOLE=x "$exe" demo:kinds word
expect_fail 2 "EFFICIENTAI__BASIC__WHOLE: 'x' is not a whole number" "a bad value in the environment is named by its variable"
run "$exe" --config "$tmp/a.yaml" --set basic.whole=99 demo:kinds word --whole 2
expect_exit 2 "a mistake is not hidden by a stronger source"
run "$exe" --config "$tmp/c.yaml" demo:kinds word --dry-run
expect_contains err "c.yaml:2:3: training.steps: not used here, since only train of demo has this option" "--dry-run says which keys are for other commands"
run "$exe" -v --config "$tmp/c.yaml" demo:kinds word
expect_contains err "only train of demo has this option" "--verbose too"
run "$exe" --config "$tmp/c.yaml" demo:kinds word
expect_lacks err "training.steps" "and nobody else"
