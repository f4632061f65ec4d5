# setup: what is here, what is missing, and the command that mends it.
. tests/lib.sh
export HOME="$tmp/home" XDG_CACHE_HOME="$tmp/cache"
mkdir "$HOME"
chmod 755 "$tmp" 2>/dev/null
run "$exe" setup --dry-run
expect_exit 0 "this machine has what is needed"
if [ ! -e "$XDG_CONFIG_HOME" ] && [ ! -e "$XDG_DATA_HOME" ] && [ ! -e "$XDG_STATE_HOME" ]; then ok "--dry-run makes nothing"; else not_ok "--dry-run makes nothing"; fi
expect_contains out "setup writes $XDG_CONFIG_HOME/efficientai-toolkit/config.yaml" "but says what it would"
run "$exe" setup
expect_exit 0 "setup makes folders and the default configuration"
config=$XDG_CONFIG_HOME/efficientai-toolkit/config.yaml
if [ -s "$config" ] && [ -d "$XDG_DATA_HOME/efficientai-toolkit/plugins" ]; then ok "which are there"; else not_ok "which are there"; fi
run "$exe" lora-finetuning-mlx:generate --dry-run
expect_exit 0 "the configuration it wrote is read"
expect_lacks out "$config" "and changes nothing"
echo "# mine" >"$config"
run "$exe" setup
if [ "$(cat "$config")" = "# mine" ]; then ok "a configuration that is there is left alone"; else not_ok "a configuration that is there is left alone"; fi
echo "lora: [" >"$config"
run "$exe" setup
expect_fail 3 "1 thing is missing" "a broken configuration is no success"
expect_contains out "config.yaml:2:1" "and is told with its place"
rm "$config"

run env ETK_BLAS=none "$exe" setup
expect_contains out "slow      BLAS" "no BLAS is told as slow"
expect_exit 0 "and is no failure"
if command -v apt-get >/dev/null; then expect_contains out "apt-get install -y libopenblas0-pthread" "with the command that mends it"; else skip "with the command that mends it (apt-get is not here)"; fi
reference=$(ls /usr/lib/*/blas/libblas.so.3 2>/dev/null | head -1)
if [ -z "$reference" ]; then skip "the reference BLAS is told (it is not here)"
else
  run env ETK_BLAS="$reference" "$exe" setup
  case "$out" in *"reference"*|*"no cblas_sgemm"*|*"own kernels"*) ok "the reference BLAS is told" ;; *) not_ok "the reference BLAS is told" ;; esac
fi

run env EFFICIENTAI_STATE_DIR=/dev/null/x "$exe" setup
expect_fail 3 "1 thing is missing" "a folder that cannot be made is missing"
chmod 777 "$XDG_DATA_HOME/efficientai-toolkit/plugins"
run "$exe" setup
expect_fail 3 "setup --install" "a plugin folder that others may write to"
expect_contains out "chmod go-w $XDG_DATA_HOME/efficientai-toolkit/plugins" "comes with the command that mends it"
run "$exe" setup --install --dry-run
expect_contains err "would run: chmod go-w" "--install --dry-run only tells"
run "$exe" setup --install
expect_exit 0 "--install runs it"
expect_contains err "running: chmod go-w" "and says so"

# What --install runs is what was shown, word by word.
mkdir "$tmp/bin"
for tool in apt-get sudo; do printf '#!/bin/sh\nprintf "%%s|" %s "$@" >>"%s"\n' "$tool" "$tmp/ran" >"$tmp/bin/$tool"; chmod +x "$tmp/bin/$tool"; done
run env PATH="$tmp/bin:$PATH" ETK_BLAS=none "$exe" setup --install
if grep -q 'apt-get|install|-y|libopenblas0-pthread|' "$tmp/ran" 2>/dev/null; then ok "packages are installed by the system's tool"; else not_ok "packages are installed by the system's tool" "$(cat "$tmp/ran" 2>/dev/null)"; fi
expect_lacks out "libopenblas0-pthread|" "and its output does not mix with ours"
run "$exe" setup --json
expect_contains out '"ready":true' "setup has a document"

# The user's file is read against every project that is here.
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1
export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
wrong() { # FILE-TEXT WORDS TEXT
  printf '%b' "$1" >"$config"
  run "$exe" setup
  if [ "$status" -eq 3 ]; then expect_contains out "missing   configuration  $config:$2" "$3"; else not_ok "$3" "exit code $status, wanted 3"; fi
}
wrong 'lora: {rnk: 3}\n' "1:8: no command of lora-finetuning-mlx knows the key 'lora.rnk'; did you mean 'lora.rank'?" "an unknown key is told with its place and a suggestion"
wrong 'basic: {whole: 4}\nlroa: {rank: 3}\n' "2:1: no command of lora-finetuning-mlx knows the key 'lroa'; did you mean 'lora'?" "a misspelt group"
wrong 'demo: {basic: {whole: 10}}\n' "1:16: basic.whole: 10 is above 9" "a value that no command takes"
wrong 'demo: {lora: {rank: 4}}\n' "1:8: no command of demo knows the key 'lora'" "a section holds its own project's keys only"
wrong 'profiles:\n  fast: {basic: {whle: 4}}\n' "2:18: no command of demo knows the key 'basic.whle'; did you mean 'basic.whole'?" "profiles are read too"
wrong 'utterly_else: 4\n' "1:1: no project here knows the key 'utterly_else'" "a key of nobody"
printf 'basic: {whole: 4}\nlora: {rank: 3}\ntrain: true\ndemo: {deep: {er: {method: cosine}}}\nprofiles: {p: {lora: {rank: 9}}, q: null}\n' >"$config"
run "$exe" setup
expect_contains out "ok        configuration  $config" "keys of several projects may stand side by side"
expect_exit 0 "and that is ready"
run "$exe" setup --dry-run
expect_lacks err "not used here" "and nothing else is said of them"
rm "$config"
unset EFFICIENTAI_PLUGIN_PATH
