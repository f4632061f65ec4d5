# model pull against a server that behaves like the hub: the cache's layout, ranges, redirects, resuming, what goes wrong.
. tests/lib.sh
command -v python3 >/dev/null 2>&1 || { skip "no python3 for the server"; exit 0; }
case "${SAN:-}" in thread) skip "libcurl's own threads are not instrumented"; exit 0 ;; esac
unset HF_TOKEN HF_TOKEN_PATH HF_HOME HF_ENDPOINT HF_HUB_OFFLINE TRANSFORMERS_OFFLINE http_proxy https_proxy ALL_PROXY all_proxy HTTPS_PROXY 2>/dev/null
export HOME="$tmp/home" HF_HUB_CACHE="$tmp/cache"
mkdir -p "$HOME" "$tmp/served"

model() { # ORG/NAME: a Llama with random weights of 1.2 MB, in a few files
  mkdir -p "$tmp/served/$1/1_Pooling"
  printf '{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":64,"hidden_size":64,"intermediate_size":128,"num_hidden_layers":1,"num_attention_heads":4}' >"$tmp/served/$1/config.json"
  head -c 1234567 /dev/urandom >"$tmp/served/$1/model.safetensors"
  head -c 9000 /dev/urandom >"$tmp/served/$1/pytorch_model.bin"
  printf 'a small text' >"$tmp/served/$1/README.md"
  : >"$tmp/served/$1/vocab.txt"
  printf '{}' >"$tmp/served/$1/1_Pooling/config.json"
}
for name in plain busy flaky slow noranges grown wronghash private gated broken notjson escape nohash; do model "org/$name"; done
mkdir -p "$tmp/served/org/gguf"
for type in Q4_0 Q8_0; do head -c 5000 /dev/urandom >"$tmp/served/org/gguf/model-$type.gguf"; done
python3 tests/fake/hub.py "$tmp/served" "$tmp/requests" >"$tmp/port" 2>"$tmp/server.err" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$tmp"' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do [ -s "$tmp/port" ] && break; sleep 0.1; done
export HF_ENDPOINT="http://127.0.0.1:$(cat "$tmp/port")"
pull() { "$exe" model pull --part-size 64KiB "$@"; }
same() { # FOLDER NAME: what came is what is served
  cmp -s "$tmp/served/$2/model.safetensors" "$1/model.safetensors" && cmp -s "$tmp/served/$2/config.json" "$1/config.json"
}
check() { # TEXT COMMAND…
  text=$1
  shift
  if "$@"; then ok "$text"; else not_ok "$text" "$*"; fi
}
requests() { grep -c "$1" "$tmp/requests"; }

# ---- the cache ----
run pull org/plain --json
expect_exit 0 "a model is fetched"
folder=$(printf '%s' "$out" | sed -n 's/.*"folder":"\([^"]*\)".*/\1/p')
commit=$(printf '%s' "$out" | sed -n 's/.*"commit":"\([^"]*\)".*/\1/p')
check "its files are those of the server" same "$folder" org/plain
check "the folder is the snapshot of its commit" [ "$folder" = "$tmp/cache/models--org--plain/snapshots/$commit" ]
check "refs/main names the commit" [ "$(cat "$tmp/cache/models--org--plain/refs/main")" = "$commit" ]
check "files are links to blobs named by their hash" [ "$(readlink "$folder/model.safetensors")" = "../../blobs/$(sha256sum <"$tmp/served/org/plain/model.safetensors" | cut -d' ' -f1)" ]
check "also from folders within" [ "$(cat "$folder/1_Pooling/config.json")" = '{}' ]
check "an empty file is there" [ -e "$folder/vocab.txt" -a ! -s "$folder/vocab.txt" ]
check "the same weights in another format stay away" [ ! -e "$folder/pytorch_model.bin" ]
check "no half of a file is left" [ -z "$(find "$tmp/cache" -name '*etk*')" ]
check "a large file comes in parts" [ "$(requests 'cdn/org/plain.*range=bytes')" -ge 19 ]
before=$(wc -l <"$tmp/requests")
run pull org/plain
check "what is there is not fetched again" [ "$(wc -l <"$tmp/requests")" -eq $((before + 1)) ]
run "$exe" --json model pull org/plain --revision v1.0 --all
check "--all takes every file" cmp -s "$tmp/served/org/plain/pytorch_model.bin" "$folder/pytorch_model.bin"
check "and a tag has a ref of its own" [ "$(cat "$tmp/cache/models--org--plain/refs/v1.0")" = "$commit" ]
run pull org/plain --revision refs/pr/1
expect_exit 0 "a revision may hold slashes"
run pull org/plain --revision nowhere
expect_fail 1 "not there (404)" "a revision that is not there is named"
run "$exe" --json model pull org/plain --list --all
expect_contains out '"file":"pytorch_model.bin"' "--list shows what could be fetched"
run "$exe" model inspect org/plain
expect_lacks err "does not exist" "the name of a pulled model stands for its folder"
run "$exe" model inspect org/other
expect_fail 2 "model pull org/other" "the name of another says how to get it"
HF_HUB_OFFLINE=1 run pull org/plain --json
expect_contains out "$folder" "offline the cache answers"
HF_HUB_OFFLINE=1 run pull org/busy
expect_fail 1 "HF_HUB_OFFLINE is set" "and what it lacks is an error that says why"

# ---- choosing ----
run pull org/gguf
expect_fail 2 "2 GGUF files" "of several GGUF files one must be chosen"
run pull org/gguf --include '*Q4_0*' --json
expect_contains out 'model-Q4_0.gguf' "a pattern chooses"
expect_lacks out 'Q8_0' "and leaves the others"
run pull org/plain --include '*.onnx'
expect_fail 1 "no file that is wanted" "a pattern that fits nothing is an error"
run pull org/plain --local-dir "$tmp/local"
check "--local-dir gets the files themselves" same "$tmp/local" org/plain
check "and not links" [ ! -L "$tmp/local/model.safetensors" ]
printf 'mine' >"$tmp/local/config.json"
run pull org/plain --local-dir "$tmp/local"
expect_fail 1 "another file than the hub's" "another file of the same name is not overwritten"
check "and is left as it was" [ "$(cat "$tmp/local/config.json")" = mine ]
run pull org/plain --local-dir "$tmp/local" --force
check "--force replaces it" same "$tmp/local" org/plain

# ---- tokens ----
run pull org/private
expect_fail 1 "HF_TOKEN" "a private model asks for a token"
HF_TOKEN=secret run pull org/private
expect_exit 0 "a token opens it"
check "the token goes to the endpoint" [ "$(grep -c '/org/private/resolve.*token=True' "$tmp/requests")" -ge 1 ]
check "and not to another host" [ "$(grep -c '^localhost.*token=True' "$tmp/requests")" -eq 0 ]
expect_lacks err secret "it is not shown"
mkdir -p "$HOME/.cache/huggingface"
printf 'secret\n' >"$HOME/.cache/huggingface/token"
rm -rf "$tmp/cache/models--org--private"
run pull org/private
expect_exit 0 "nor needed in the environment: a saved one is read"
rm "$HOME/.cache/huggingface/token"
HF_TOKEN='bad token' run pull org/plain
expect_fail 1 "no token has" "a broken token is said before it is sent"
run pull org/gated
expect_fail 1 "access is refused (403)" "a gated model says what to do"

# ---- a bad line ----
run pull org/busy
expect_exit 0 "a server that is busy is asked again"
run pull org/flaky --json
expect_exit 0 "answers that break off are asked for again"
check "and the file is whole" same "$(printf '%s' "$out" | sed -n 's/.*"folder":"\([^"]*\)".*/\1/p')" org/flaky
run pull org/noranges --json
check "a server without ranges sends all at once" same "$(printf '%s' "$out" | sed -n 's/.*"folder":"\([^"]*\)".*/\1/p')" org/noranges
run pull org/wronghash
expect_fail 1 "SHA-256" "a file of another hash is refused"
check "and thrown away" [ -z "$(find "$tmp/cache/models--org--wronghash" -name '*partial*')" ]
run pull org/grown
expect_fail 1 "the server has" "a file of another size too"
for bad in notjson:"a value is wanted" escape:"outside its folder" nohash:"no hash"; do
  run pull "org/${bad%%:*}"
  expect_fail 1 "${bad#*:}" "a list with a fault is refused: ${bad#*:}"
done
check "and nothing was written outside" [ ! -e "$tmp/outside.json" -a ! -e "$tmp/cache/outside.json" ]
run pull nobody/nothing
expect_fail 1 "404" "a model that is not there is named"
run pull 'org/../x'
expect_fail 2 "ORG/NAME" "what is no name is said before anything is asked"
run pull https://huggingface.co/org/plain
expect_fail 2 "wanted, which is what follows its host: org/plain" "of an address the name is told"
HF_ENDPOINT=ftp://x run pull org/plain
expect_fail 2 "https://" "an endpoint must be HTTP"
HF_ENDPOINT=http://127.0.0.1:1 run timeout 60 "$exe" model pull org/elsewhere
expect_fail 1 "127.0.0.1:1" "a server that is not there is named"

# ---- the README's example, from this server ----
model HuggingFaceTB/SmolLM2-135M
mkdir -p "$tmp/served/Qwen/Qwen2.5-0.5B-Instruct-GGUF"
printf 'GGUF\003\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >"$tmp/served/Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf"
rm "$tmp/served/HuggingFaceTB/SmolLM2-135M/model.safetensors"
printf '\002\0\0\0\0\0\0\0{}' >"$tmp/served/HuggingFaceTB/SmolLM2-135M/model.safetensors"
awk '/^```bash$/ { inside = 1; next } /^```$/ { inside = 0 } inside' plugins/model/README.md >"$tmp/readme.sh"
run sh -c 'cd "$1" && PATH="$2:$PATH" && set -e && . ./readme.sh' sh "$tmp" "${exe%/*}"
expect_exit 0 "the README's example runs"
check "and leaves what it says" [ -f "$tmp/qwen/qwen2.5-0.5b-instruct-q4_k_m.gguf" ]

# ---- stopped and taken up again ----
(pull org/slow --connections 2 2>/dev/null & echo $! >"$tmp/pid"; wait)  >/dev/null &
shell=$!
parts="$tmp/cache/models--org--slow/blobs/$(sha256sum <"$tmp/served/org/slow/model.safetensors" | cut -d' ' -f1).etk-partial.parts"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do
  [ -s "$parts" ] && [ "$(wc -l <"$parts")" -ge 4 ] && break
  sleep 0.05
done
pkill -9 -f 'model pull --part-size 64KiB org/slow' 2>/dev/null
wait $shell 2>/dev/null
done_before=$(($(wc -l <"$parts") - 1))
check "a download that was killed leaves whole parts" [ "$done_before" -ge 3 ]
: >"$tmp/requests"
run pull org/slow --json
expect_exit 0 "the next one goes on"
check "and does not fetch them again" [ "$(requests 'cdn/org/slow')" -eq $((19 - done_before)) ]
check "and the file is whole" same "$(printf '%s' "$out" | sed -n 's/.*"folder":"\([^"]*\)".*/\1/p')" org/slow
