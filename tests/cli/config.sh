# One table of options: help, generate-config, JSON Schema, the manual and errors say the same; the user's own configuration file; flat files.
. tests/lib.sh
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
own=$XDG_CONFIG_HOME/efficientai-toolkit
mkdir -p "$own"

# ---- one fact, everywhere: OPT(int, whole, "3", "1..9", "basic", "n", 0, "a whole number") ----
run "$exe" demo:kinds --help
expect_contains out "a whole number (1 to 9; default 3; basic.whole)" "--help tells help, limits, default and key"
run "$exe" --json help demo:kinds
expect_contains out '"limits":"1..9"' "so does help --json"
run "$exe" generate-config demo:kinds
expect_exit 0 "generate-config knows the command"
expect_contains out "basic:
  # a whole number (int, 1 to 9)
  whole: 3" "generate-config tells help, limits, default and key"
run "$exe" generate-config demo:kinds --schema
expect_contains out '"whole": {
          "description": "a whole number",
          "type": "integer",
          "minimum": 1,
          "maximum": 9,
          "default": 3
        }' "so does the schema"
run "$exe" demo:kinds word --whole 10
expect_fail 2 "--whole: 10 is above 9 (allowed: 1..9)" "and the error for a wrong value"
printf 'basic:\n  whole: 10\n' >"$tmp/wrong.yaml"
run "$exe" --config "$tmp/wrong.yaml" demo:kinds word
expect_fail 2 "wrong.yaml:2:3: basic.whole: 10 is above 9 (allowed: 1..9)" "and in a file"
run "$exe" --json help
case "$out" in
*'"docs"'*)
  run "$exe" docs demo --man
  [ "$status" -eq 0 ] || run "$exe" docs --man
  plain=$(printf '%s' "$out" | sed -e 's/\\f[A-Z]//g' -e 's/\\-/-/g' -e 's/\\//g')
  case "$plain" in
  *'whole'*'a whole number'*'1..9'* | *'whole'*'a whole number'*'1 to 9'*) ok "and the manual" ;;
  *) not_ok "and the manual" ;;
  esac ;;
*) skip "the manual: there is no docs here" ;;
esac

# ---- what generate-config writes is read ----
for format in yaml toml json; do
  run "$exe" generate-config demo:kinds --all -o "$tmp/made.$format"
  expect_exit 0 "a $format file is written"
  run "$exe" --config "$tmp/made.$format" demo:kinds word --json
  expect_contains out '"whole":3,"ratio":0.5,"loud":false,"sure":true' "and read: all defaults"
  expect_contains out '"memory":1048576,"wait":1000000000,"ints_count":2,"ints_sum":3' "sizes, durations and lists too"
done
run "$exe" generate-config demo --format toml
expect_contains out "# steps [train] (int, 0 to 1000000000)
steps = 5" "a namespace's file has the options of all commands, with the commands' names"
expect_lacks out "local" "options of the command line are left out"
run "$exe" generate-config demo:kinds -o "$tmp/made.yaml"
expect_fail 1 "made.yaml" "an existing file stays"
run "$exe" generate-config demo:kinds -o "$tmp/made.yaml" --force
expect_exit 0 "unless --force"
run "$exe" generate-config demo:kinds --schema -o "$tmp/kinds.json" 
expect_contains err "yaml-language-server: \$schema=$tmp/kinds.json" "an editor's line is told"
run "$exe" --json generate-config demo:kinds
expect_contains out '"format":"yaml","path":null,"text":"# demo:kinds: ' "--json holds the text"
run "$exe" generate-config nothing
expect_exit 127 "an unknown namespace is an error"
run "$exe" generate-config demo:knids
expect_fail 127 "did you mean 'kinds'?" "an unknown command gets a suggestion"
run "$exe" generate-config demo --force
expect_fail 2 "--force replaces the file of --output" "--force alone is refused"
run "$exe" generate-config demo --format toml -o "$tmp/x.yml"
expect_fail 2 "--format toml: '$tmp/x.yml' would be read as yaml" "a name that says another format is refused"
run "$exe" generate-config demo --schema --format yaml
expect_fail 2 "a schema is JSON" "a schema has no other format"
if python3 -c 'import jsonschema, yaml; jsonschema.Draft202012Validator' 2>/dev/null; then
  cat >"$tmp/v.py" <<'PY'
import json, sys, yaml
from jsonschema import Draft202012Validator as V
s = json.load(open(sys.argv[1])); V.check_schema(s)
d = yaml.safe_load(open(sys.argv[2]))
sys.exit(0 if V(s).is_valid(d) else 5)
PY
  run python3 "$tmp/v.py" "$tmp/kinds.json" "$tmp/made.yaml"
  expect_exit 0 "python3's jsonschema finds the file good"
  run python3 "$tmp/v.py" "$tmp/kinds.json" "$tmp/wrong.yaml"
  expect_exit 5 "and one with a wrong value not"
  printf 'profiles:\n  fast:\n    basic: {whole: 4}\n' >"$tmp/p.yaml"
  run python3 "$tmp/v.py" "$tmp/kinds.json" "$tmp/p.yaml"
  expect_exit 0 "profiles belong to the file"
  printf 'profiles:\n  fast:\n    basic: {whole: 40}\n' >"$tmp/p.yaml"
  run python3 "$tmp/v.py" "$tmp/kinds.json" "$tmp/p.yaml"
  expect_exit 5 "and obey the same schema"
else
  skip "the schema against python3's jsonschema: not installed"
fi

# ---- the user's own file ----
run "$exe" generate-config -o "$own/config.yaml"
expect_exit 0 "the user's file is written"
expect_lacks out "#" "and nothing on standard output"
run "$exe" --json demo:kinds word
expect_contains out '"whole":3' "it changes nothing as it is"
run "$exe" generate-config --all
expect_contains out "# demo:" "--all has a section for each project"
expect_contains out "    # whole: 3" "with every option"
run "$exe" generate-config --schema
expect_contains out '"lora-finetuning-mlx": {' "its schema knows every project"
cat >"$own/config.yaml" <<'YAML'
demo:
  basic: {whole: 4}
lora-finetuning-mlx:
  training: {epochs: 1}
profiles:
  fast:
    demo: {basic: {whole: 5}}
YAML
run "$exe" --json demo:kinds word
expect_contains out '"whole":4' "the user's file beats the default"
run "$exe" demo:kinds word --dry-run
expect_contains out "config.yaml:2:11" "and is named with line and column"
run "$exe" --json --profile fast demo:kinds word
expect_contains out '"whole":5' "a profile in it beats it"
printf 'basic.whole = 6\n' >"$tmp/a.toml"
run "$exe" --json --profile fast --config "$tmp/a.toml" demo:kinds word
expect_contains out '"whole":6' "--config beats both, in TOML too"
run "$exe" --profile fats demo:kinds word
expect_fail 2 "there is no profile 'fats'; did you mean 'fast'?" "its profiles are known by name"
EFFICIENTAI_CONFIG_PATH=/dev/null run "$exe" --json demo:kinds word
expect_contains out '"whole":3' "EFFICIENTAI_CONFIG_PATH=/dev/null leaves it out"
expect_lacks err "not known" "and the variable is known"
EFFICIENTAI_CONFIG_PATH="$tmp/a.toml" run "$exe" --json demo:kinds word
expect_contains out '"whole":6' "and names another"
printf '{}' >"$own/config.json"
run "$exe" demo:kinds word
expect_fail 2 "config.json are there; keep one of them" "two files are an error that names both"
run "$exe" projects
expect_exit 0 "which keeps nobody from the commands of the host"
rm "$own/config.json"
printf 'dmeo:\n  basic: {}\n' >"$own/config.yaml"
run "$exe" demo:kinds word
expect_fail 2 "config.yaml:1:1: no command of demo knows the key 'dmeo'; did you mean 'demo'?" "a misspelt project in it is an error"
printf 'demo: [\n' >"$own/config.yaml"
run "$exe" version
expect_exit 0 "a broken file is not even read by the host's own commands"
run "$exe" demo:kinds word
expect_fail 2 "config.yaml" "but by a project's"
rm "$own/config.yaml"

# ---- flat files ----
printf 'train: true\nsteps: 2\n' >"$tmp/flat.yaml"
run "$exe" --config "$tmp/flat.yaml" demo:train --dry-run
expect_contains out "flat.yaml:2:1" "a key at the top level that one option answers to is that option"
printf 'steps: 2\nnum_layers: 16\n' >"$tmp/flat.yaml"
run "$exe" --config "$tmp/flat.yaml" demo:train
expect_fail 2 "flat.yaml:2:1: no command of demo knows the key 'num_layers', so it cannot be honoured" "one that cannot be honoured is an error"
cat >"$tmp/mlx.yaml" <<'YAML'
model: .
train: true
data: .
seed: 0
batch_size: 4
iters: 1000
learning_rate: 1e-5
steps_per_eval: 200
save_every: 100
max_seq_length: 2048
lora_parameters:
  rank: 8
  alpha: 16
  dropout: 0.0
  keys: ["self_attn.q_proj"]
adapter_path: made
YAML
run "$exe" --config "$tmp/mlx.yaml" lora-finetuning-mlx:train --dry-run --json
for fact in '"training.iters":{"value":1000,' '"training.learning_rate":{"value":1e-5,' '"training.eval_steps":{"value":200,' '"training.save_steps":{"value":100,' \
  '"training.output":{"value":"made",' '"lora.target_modules":{"value":["self_attn.q_proj"],' '"lora.rank":{"value":8,' '"lora.dropout":{"value":0,'; do
  expect_contains out "$fact" "a file as mlx-lm writes it: $fact"
done
printf 'lora_parameters: {rank: 8, scale: 20.0}\n' >"$tmp/mlx.yaml"
run "$exe" --config "$tmp/mlx.yaml" lora-finetuning-mlx:train --dry-run
expect_fail 2 "mlx.yaml:1:28: no command of lora-finetuning-mlx knows the key 'lora.scale', so it cannot be honoured" "its scale is refused, not passed over"

# ---- lists and maps as YAML writes them, wherever they are typed ----
run "$exe" --json --dry-run demo:kinds word --set 'lists.texts=[a,b]' --set 'lists.map={x: 1, y: z}' --ints '[3, 4]'
expect_contains out '"lists.texts":{"value":["a","b"]' "--set takes a list as YAML writes it"
expect_contains out '"lists.map":{"value":{"x":"1","y":"z"}' "and a map"
expect_contains out '"lists.ints":{"value":[3,4]' "the command line too"
EFFICIENTAI__LISTS__TEXTS='["a, b", "c"]' run "$exe" --json --dry-run demo:kinds word
expect_contains out '"lists.texts":{"value":["a, b","c"]' "and the environment, quotes included"
run "$exe" --json --dry-run demo:kinds word --texts '["[x"]' --texts y,z
expect_contains out '"lists.texts":{"value":["[x","y","z"]' "an item that begins with '[' is quoted"
run "$exe" --json --dry-run demo:kinds word --texts '{name}' --set 'lists.map={}'
expect_contains out '"lists.texts":{"value":["{name}"]' "'{' in a list is a part of its item"
expect_contains out '"lists.map":{"value":{}' "{} is the empty map"
run "$exe" demo:kinds word --set 'lists.texts=[a,b'
expect_fail 2 "--set lists.texts: '[a,b' begins with '[', so it is read as a list of YAML, and is none" "a list that is not closed is an error that says how it was read"
run "$exe" demo:kinds word --map '{a: 1} b'
expect_fail 2 "--map: '{a: 1} b' begins with '{', so it is read as a map of YAML, and is none" "so is a map that something follows"
run "$exe" demo:kinds word --texts '[a, [b]]'
expect_fail 2 "--texts: an item is a list, where a plain value is wanted" "a list in a list"
run "$exe" demo:kinds word --ints '[1, x]'
expect_fail 2 "--ints, item 2: 'x'" "a wrong item is told by its number"

# ---- nothing is accepted and passed over ----
printf 'basic: {whole: 4}\n' >"$tmp/one.yaml"
run "$exe" --config "$tmp/one.yaml" demo:kinds word --config "$tmp/two.yaml"
expect_fail 2 "--config is given twice, as '$tmp/one.yaml' and as '$tmp/two.yaml'" "two --config are an error that names both"
run "$exe" --profile a --profile=b demo:kinds word
expect_fail 2 "--profile is given twice, as 'a' and as 'b'" "two --profile"
run "$exe" --remote a@x --remote b@x info
expect_fail 2 "--remote is given twice, as 'a@x' and as 'b@x'" "two --remote"
run "$exe" --color never --color always --color never --progress off --progress plain demo:kinds word
expect_exit 0 "of --color and --progress the last counts"
EFFICIENTAI__BASIC=x run "$exe" demo:kinds word
expect_contains err "warning: EFFICIENTAI__BASIC: this is a group of options and no option; its keys: basic.whole, basic.ratio" "a variable that names a group warns"
expect_exit 0 "since another project may have an option of that name"
EFFICIENTAI__DEMO__BASIC=x run "$exe" demo:kinds word
expect_fail 2 "EFFICIENTAI__DEMO__BASIC: this is a group of options and no option" "with the namespace it is an error"
for name in EFFICIENTAI__ EFFICIENTAI__A____B EFFICIENTAI__DEMO__ EFFICIENTAI__BASIC__WHOLE__; do
  run env "$name=x" "$exe" demo:kinds word
  expect_fail 2 "the environment variable $name names no option; the form is EFFICIENTAI__GROUP__KEY" "$name is an error"
done
printf 'basic: {whole: 5}\ndemo: {basic: {whole: 4}}\n' >"$tmp/both.yaml"
run "$exe" --json --dry-run --config "$tmp/both.yaml" demo:kinds word
expect_contains out '"basic.whole":{"value":4' "a project's section wins over the same key outside it"
expect_contains err "both.yaml:2:16: basic.whole: wins over $tmp/both.yaml:1:9" "which --dry-run tells"
run "$exe" --config "$tmp/both.yaml" demo:kinds word
expect_lacks err "wins over" "and only it and --verbose"
mkdir -p "$own/profiles"
printf 'profiles:\n  fast: {basic: {whole: 5}}\n' >"$own/config.yaml"
printf 'basic: {whole: 6}\n' >"$own/profiles/fast.yaml"
run "$exe" --profile fast demo:kinds word
expect_fail 2 "the profile 'fast' is there twice: in $own/config.yaml:2:3 and as $own/profiles/fast.yaml" "a profile of one's own in two places is an error that names both"
rm "$own/config.yaml"
run "$exe" --json --profile fast demo:kinds word
expect_contains out '"whole":6' "in one place it is read"
printf 'profiles: {fast: {basic: {whole: 7}}}\n' >"$tmp/given.yaml"
run "$exe" --verbose --profile fast --config "$tmp/given.yaml" demo:kinds word
expect_contains err "the profile 'fast' is that of $tmp/given.yaml; $own/profiles/fast.yaml has one of that name too" "--verbose tells which of two counts where --config brings one"
rm "$own/profiles/fast.yaml"

# ---- groups ----
printf '{"basci": {"whole": 4}}' >"$tmp/typo.json"
run "$exe" --config "$tmp/typo.json" demo:kinds word
expect_fail 2 "typo.json:1:2: no command of demo knows the key 'basci'; did you mean 'basic'?" "a misspelt group gets a suggestion"
printf 'deep: {re: {method: linear}}' >"$tmp/typo.yaml"
run "$exe" --config "$tmp/typo.yaml" demo:kinds word
expect_fail 2 "knows the key 'deep.re'; did you mean 'deep.er'?" "also below another"
run "$exe" demo:kinds word --set deep=9
expect_fail 2 "--set deep: this is a group of options and no option; its keys: deep.er.method, deep.er.memory" "--set of a group tells its keys"
run "$exe" demo:kinds word --set dep=9
expect_fail 2 "did you mean 'deep'?" "a group is suggested to --set too"
