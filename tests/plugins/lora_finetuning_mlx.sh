# lora-finetuning-mlx through the host: train, evaluate, generate, Ctrl-C and resume, what goes wrong, and every example of its README.
. tests/lib.sh
shared=${ETK_SHARED:-../shared}
case "$shared" in /*) ;; *) shared=$PWD/$shared ;; esac
root=$PWD
ns=lora-finetuning-mlx
last_run() { "$exe" runs path latest; }
field() { # NAME: a number or word of the results in $out
  printf '%s' "$out" | sed -n 's/.*"'"$1"'":\("[^"]*"\|[^,}]*\).*/\1/p'
}
close() { # A B TOLERANCE
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= t) }'
}
expect() { # TEXT COMMAND…
  text=$1
  shift
  if "$@"; then ok "$text"; else not_ok "$text" "$*"; fi
}
expect_close() { if close "$1" "$2" "$3"; then ok "$4"; else not_ok "$4" "$1 and $2 differ by more than $3"; fi; }
absent() { [ ! -e "$1" ]; }
clean() { # FOLDER NAME: nothing but NAME's neighbours of another name is left, not even temporary folders
  [ -z "$(ls -a "$1" | grep -F "$2")" ]
}

# ---- what needs a model without tokenizer, of known numbers ----
model=$shared/goldens/models/llama-gqa-tied
golden() {
  # Twelve sequences of ids; one is short and one has the beginning only twice.
  awk 'BEGIN { for (s = 0; s < 12; s++) { printf "{\"ids\":[1"; n = 4 + (s * 5) % 11; for (i = 1; i < n; i++) printf ",%d", 3 + (s * 31 + i * 17) % 380; print "]}" } }' >"$tmp/data.jsonl"
  mkdir "$tmp/folder"
  cp "$tmp/data.jsonl" "$tmp/folder/train.jsonl"
  head -4 "$tmp/data.jsonl" >"$tmp/folder/valid.jsonl"
  tail -5 "$tmp/data.jsonl" >"$tmp/folder/test.jsonl"

  run "$exe" --json $ns:info --model "$model" --rank 6 --target-modules q_proj,v_proj
  expect_exit 0 "info reads a model"
  expect_contains out '"architecture":"llama"' "info names the architecture"
  expect_contains out '"tokenizer":false' "info says that there is no tokenizer"
  expect_contains out '"lora_layers":4' "info counts the layers that LoRA would train"
  expect_contains out '"lora_parameters":2112' "info counts their parameters" # 2 layers of 6 * (56 + 56) and 6 * (56 + 8)

  run "$exe" --json $ns:validate --model "$model" --data "$tmp/folder" --output "$tmp/v" --batch-size 4
  expect_exit 0 "validate accepts good settings"
  expect_contains out '"valid":true' "validate says so"
  expect_contains out '"steps":9' "validate counts the steps"
  expect_contains out '{"split":"valid","sequences":4' "validate describes each split"
  expect "validate writes nothing" clean "$tmp" v.
  expect "validate makes no output" absent "$tmp/v"

  run "$exe" --json $ns:train --model "$model" --data "$tmp/folder" --output "$tmp/out" --iters 12 --batch-size 4 --rank 4 --alpha 8 --learning-rate 5e-3 --seed 3
  expect_exit 0 "train finishes"
  case "$out" in
  '{"schema_version":1,"namespace":"lora-finetuning-mlx","command":"train","status":"ok","run":"'*'","duration_ms":'*',"results":{'*'},"artifacts":['*'"error":null}') ok "its document has the documented shape" ;;
  *) not_ok "its document has the documented shape" ;;
  esac
  expect_contains out "\"path\":\"$tmp/out/adapter_model.safetensors\",\"type\":\"adapter\"" "the adapter is an artifact"
  expect_contains out '"steps":12' "the steps are reported"
  expect_contains out '"trainable_parameters":' "the parameters are reported"
  expect_contains out '"validation_loss":' "the validation loss is reported"
  made=$("$exe" --json model inspect --keys "$tmp/out/adapter_model.safetensors" 2>/dev/null)
  for words in '"efficientai.command","value":"\"lora-finetuning-mlx:train\""' '"llama-gqa-tied/model.safetensors' "$(sha256sum "$model/model.safetensors" | cut -d' ' -f1)" "$(sha256sum "$tmp/folder/train.jsonl" | cut -d' ' -f1)"; do
    case "$made" in *"$words"*) ok "the adapter says how it was made: ${words%%/*}" ;; *) not_ok "the adapter says how it was made" "no $words in $made" ;; esac
  done
  expect "the output is PEFT's two files" [ "$(ls "$tmp/out" | tr '\n' ' ')" = "adapter_config.json adapter_model.safetensors " ]
  expect "no checkpoint is left" absent "$tmp/out-checkpoint"
  dir=$(last_run)
  for metric in train_loss learning_rate tokens_per_second; do
    expect "$metric is recorded at every step" [ "$(grep -c "\"name\":\"$metric\"" "$dir/metrics.jsonl")" -eq 12 ]
  done
  expect "validation_loss is recorded each epoch" [ "$(grep -c '"name":"validation_loss"' "$dir/metrics.jsonl")" -eq 4 ]
  expect_close "$(field train_loss)" "$(grep train_loss "$dir/metrics.jsonl" | tail -1 | sed 's/.*"value":\([^,]*\),.*/\1/')" 1e-9 "the reported loss is the last one recorded"
  expect_close "$(field train_loss)" "$(printf '%s\n' "$err" | sed -n 's|.*12/12.* loss \([0-9.]*\) .*|\1|p')" 1e-3 "and the one that the progress shows" # three decimals

  run "$exe" --json $ns:evaluate --model "$model" --data "$tmp/folder/train.jsonl"
  base=$(field loss)
  run "$exe" --json $ns:evaluate --model "$model" --data "$tmp/folder/train.jsonl" --adapter-path "$tmp/out" --per-token "$tmp/tokens.jsonl"
  expect_exit 0 "evaluate takes an adapter"
  tuned=$(field loss)
  expect "the adapter lowers the loss of what it was trained on" awk -v a="$base" -v b="$tuned" 'BEGIN { exit !(b < a - 0.01) }'
  expect "one line per scored token" [ "$(wc -l <"$tmp/tokens.jsonl")" -eq "$(field tokens)" ]
  mean=$(sed 's/.*"logprob":\([^}]*\)}/\1/' "$tmp/tokens.jsonl" | awk '{ s -= $1 } END { printf "%.12g", s / NR }')
  expect_close "$mean" "$tuned" 1e-8 "their mean is the loss" # nine digits are printed
  expect_close "$(field perplexity)" "$(awk -v l="$tuned" 'BEGIN { printf "%.12g", exp(l) }')" 1e-6 "perplexity is its exponential"
  run "$exe" --json $ns:evaluate --model "$model" --data "$tmp/folder"
  expect_contains out '"sequences":5' "evaluate takes a folder's test split"

  # Log-probabilities of transformers, through the command.
  printf '{"ids":%s}\n' "$(tr -d ' \n' <"$model/reference.json" | sed 's/.*"ids":\(\[[^]]*\]\).*/\1/')" >"$tmp/reference.jsonl"
  run "$exe" --json $ns:evaluate --model "$model" --data "$tmp/reference.jsonl" --per-token "$tmp/reference.tokens"
  tr -d ' \n' <"$model/reference.json" | sed 's/.*"logprobs":\[\([^]]*\)\].*/\1/' | tr ',' '\n' >"$tmp/wanted"
  echo >>"$tmp/wanted"
  worst=$(sed 's/.*"logprob":\([^}]*\)}/\1/' "$tmp/reference.tokens" | paste - "$tmp/wanted" | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > w) w = d; n++ } END { print (n == 19 ? w : 9) }')
  expect_close "$worst" 0 1e-4 "per-token log-probabilities agree with transformers"

  # What saves memory and time: the same result, fewer steps, a plan beside the peak.
  plain=$(sha256sum "$tmp/out/adapter_model.safetensors" | cut -d' ' -f1)
  common="--model $model --data $tmp/folder --iters 12 --batch-size 4 --rank 4 --alpha 8 --learning-rate 5e-3 --seed 3"
  for name in --gradient-checkpointing --grad-checkpoint '--set training.gradient_checkpointing=true'; do
    run "$exe" --json $ns:train $common --output "$tmp/again" --force $name
    # The metadata tell the command's own settings, so the tensors are compared: the data of a safetensors file are its end.
    expect "${name#--set } gives the same adapter, bit for bit" [ "$(tail -c 2000 "$tmp/again/adapter_model.safetensors" | sha256sum)" = "$(tail -c 2000 "$tmp/out/adapter_model.safetensors" | sha256sum)" ]
  done
  run "$exe" --json $ns:validate $common --output "$tmp/v"
  kept=$(field training_bytes)
  run "$exe" --json $ns:validate $common --output "$tmp/v" --gradient-checkpointing
  expect "and plans less memory" [ "$(field training_bytes)" -lt "$kept" ]
  run "$exe" -v --json $ns:train --model "$model" --data "$tmp/folder/train.jsonl" --output "$tmp/packed" --epochs 2 --batch-size 2 --max-seq-length 32 --packing --dropout 0
  expect_exit 0 "train packs short sequences"
  # 12 sequences of 4 to 14 ids, 90 targets or so: three rows of 32, two of them a batch.
  expect_contains out '"packed_rows":3' "into full rows"
  expect_contains out '"steps":4' "whose batches make the steps"
  expect_contains out '"planned_memory_bytes":' "the plan is reported"
  expect_contains err ' planned (weights ' "-v tells the plan before the first step"
  expect_contains err ' at the peak, ' "and beside it the peak"
  run "$exe" $ns:train $common --output "$tmp/never" --compute float16
  expect_fail 2 "float32, bfloat16" "a compute type that there is not is an error"
  # 65,536 rows of 60 tokens at once need 268 GiB with the embedded model, 77 with blocks computed again.
  if [ "$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 200 ]; then
    awk 'BEGIN { for (s = 0; s < 65536; s++) { printf "{\"ids\":[1"; for (i = 1; i < 60; i++) printf ",%d", 3 + (s + i * 17) % 380; print "]}" } }' >"$tmp/large.jsonl"
    run "$exe" $ns:train --data "$tmp/large.jsonl" --output "$tmp/never" --batch-size 65536
    expect_fail 1 "rows of 60 tokens needs" "too little memory is an error before the first step"
    expect_contains err "--batch-size " "that says which batch would fit"
    expect_contains err "--gradient-checkpointing (needs " "and what else needs less"
    expect "nothing is written" absent "$tmp/never"
  fi

  # --resume-adapter: the first loss of a run whose batch is all of the data is the loss of the adapter it starts from.
  run "$exe" --json $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/more" --resume-adapter "$tmp/out" --iters 2 --batch-size 12 --dropout 0
  expect_exit 0 "train starts from an adapter"
  expect_close "$(field first_train_loss)" "$tuned" 1e-5 "its first loss is that adapter's" # the same tokens in another order
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/never" --resume-adapter "$tmp/out" --resume "$tmp/out" --iters 2
  expect_fail 2 "exclude each other" "resume and resume-adapter exclude each other"
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/never" --resume "$tmp/out" --iters 2
  expect_fail 1 "no checkpoint of a stopped run; --resume-adapter" "an adapter is no checkpoint, and the message says what takes it"

  # Existing output
  sum=$(cksum <"$tmp/out/adapter_model.safetensors")
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/out" --iters 1
  expect "an existing output is refused" [ "$status" -ne 0 ]
  expect_contains err "--force" "and the message says how to replace it"
  expect "the old adapter is untouched" [ "$sum" = "$(cksum <"$tmp/out/adapter_model.safetensors")" ]
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/out" --iters 1 --force
  expect_exit 0 "--force replaces it"
  cp "$tmp/data.jsonl" "$tmp/input.jsonl"
  run "$exe" $ns:evaluate --model "$model" --data "$tmp/input.jsonl" --per-token "$tmp/input.jsonl" --force
  expect_fail 2 "is the data itself" "--per-token never overwrites the data"
  expect "which stays as it was" cmp -s "$tmp/data.jsonl" "$tmp/input.jsonl"
  run "$exe" $ns:evaluate --model "$model" --data "$tmp/data.jsonl" --per-token "$tmp/input.jsonl"
  expect_fail 1 "exists" "--per-token replaces another file only with --force"
  run "$exe" $ns:demo --output "$tmp/out"
  expect_fail 1 "--force" "the demonstration does not replace an adapter unasked"
  run "$exe" $ns:pretrain --data README.md --output "$tmp/odd" --hidden-size 32 --heads 3 --kv-heads 1
  expect_fail 2 "--heads" "a width that heads do not divide is said before anything is made"
  expect "and leaves no checkpoint folder" absent "$tmp/odd-checkpoint"
  mkdir "$tmp/stopped-checkpoint"
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/stopped" --iters 1
  expect_fail 1 "--resume" "a checkpoint that waits is not passed over"
  mkdir "$tmp/precious" && echo keep >"$tmp/precious/letter.txt"
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/precious" --iters 1 --force
  expect_fail 1 "even --force does not replace it" "--force does not replace a folder that is no adapter"
  expect "and leaves it alone" [ "$(cat "$tmp/precious/letter.txt")" = keep ]
  for option in "--rank 3" "--alpha 5" "--target-modules q_proj" "--use-rslora"; do
    # shellcheck disable=SC2086
    run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/never" --resume-adapter "$tmp/out" --iters 1 $option
    expect_fail 2 "${option%% *}" "${option%% *} is not passed over when an adapter brings its own"
  done
  expect "with another adapter" [ "$sum" != "$(cksum <"$tmp/out/adapter_model.safetensors")" ]

  # Bad input
  { head -2 "$tmp/data.jsonl"; echo '{"ids":[1,2'; tail -2 "$tmp/data.jsonl"; } >"$tmp/broken.jsonl"
  run "$exe" $ns:train --model "$model" --data "$tmp/broken.jsonl" --output "$tmp/never"
  expect_fail 1 "broken.jsonl:3" "a broken line is named by file and line"
  { head -1 "$tmp/data.jsonl"; echo '{"ids":[1,384]}'; } >"$tmp/large.jsonl"
  run "$exe" $ns:train --model "$model" --data "$tmp/large.jsonl" --output "$tmp/never"
  expect_fail 1 "large.jsonl:2" "an id outside the vocabulary is named by file and line"
  expect_contains err 384 "with its value"
  echo '{"text":"hello"}' >"$tmp/text.jsonl"
  run "$exe" $ns:evaluate --model "$model" --data "$tmp/text.jsonl"
  expect_fail 1 "tokenizer" "text needs a tokenizer, and the message says so"
  run "$exe" $ns:generate --model "$model" --prompt hello
  expect_fail 1 "has no tokenizer" "so does a prompt"
  run "$exe" $ns:train --model "$model" --data "$tmp/nowhere" --output "$tmp/never"
  expect_fail 2 "nowhere" "data that is not there is a usage error"
  run "$exe" $ns:train --model "$model" --output "$tmp/never"
  expect_fail 2 "--data" "no data is a usage error"
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/never" --target-modules q_proj,c_attn
  expect_fail 1 "c_attn" "a module that the model lacks is named"
  run "$exe" $ns:train --model "$shared/goldens/encoders/bert" --data "$tmp/data.jsonl" --output "$tmp/never"
  expect_fail 1 '"bert" is not supported' "an architecture that cannot run is named"
  for name in mistral qwen2 gemma gpt2 gpt-neox mixtral qwen2-moe; do
    run "$exe" --json $ns:train --model "$shared/goldens/models/$name" --data "$tmp/data.jsonl" --output "$tmp/of-$name" --target-modules all-linear --iters 2 --batch-size 4
    expect_exit 0 "a $name is trained"
    run "$exe" --json $ns:evaluate --model "$shared/goldens/models/$name" --data "$tmp/data.jsonl" --adapter-path "$tmp/of-$name"
    expect_exit 0 "its adapter is read"
  done
  run "$exe" $ns:evaluate --model "$model" --data "$tmp/data.jsonl" --adapter-path "$shared/goldens/lora/dora/final"
  expect_fail 1 "use_dora" "a DoRA adapter is refused by name"
  run "$exe" $ns:evaluate --model "$shared/goldens/models/llama" --data "$tmp/data.jsonl" --adapter-path "$tmp/more"
  expect_fail 1 "belongs to another model" "an adapter of another model is refused"
  mkdir "$tmp/cut"
  cp "$model/config.json" "$tmp/cut"
  head -c 200000 "$model/model.safetensors" >"$tmp/cut/model.safetensors"
  run "$exe" $ns:evaluate --model "$tmp/cut" --data "$tmp/data.jsonl"
  expect_fail 1 "cut/model.safetensors" "a truncated model is named"
  run "$exe" $ns:evaluate --model "$root/Makefile" --data "$tmp/data.jsonl"
  expect_fail 1 "Makefile" "a file that is no model is named"

  # Output that cannot be written
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/data.jsonl/adapter" --iters 100000
  expect "an output below a file is refused before training" [ "$status" -ne 0 ]
  expect_contains err "data.jsonl/adapter" "and named"
  run "$exe" $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/no/such/adapter" --iters 100000
  expect "an output in a folder that is not there is refused before training" [ "$status" -ne 0 ]
  expect_contains err "no/such/adapter" "and named"
  run "$exe" $ns:evaluate --model "$model" --data "$tmp/data.jsonl" --per-token "$tmp/no/such/tokens"
  expect_fail 2 "no/such/tokens" "so is a per-token file"
  # A limit on file sizes stands for a full disk: the adapter has 45 KB, a file may have 8 (16 blocks of 512 bytes).
  run sh -c 'ulimit -f 16 && exec "$@"' sh "$exe" --no-run $ns:train --model "$model" --data "$tmp/data.jsonl" --output "$tmp/full" --iters 2 --rank 6
  expect_fail 1 "adapter_model.safetensors" "a full disk is named with the file"
  expect "and leaves no adapter and no temporary folder" clean "$tmp" full
  # 140 tokens of 30 bytes and more do not fit into one kilobyte
  run sh -c 'ulimit -f 2 && exec "$@"' sh "$exe" --no-run $ns:evaluate --model "$model" --data "$tmp/data.jsonl" --per-token "$tmp/full.tokens"
  expect_fail 1 "full.tokens" "a full disk is named with the per-token file"
  expect "and leaves no part of it" clean "$tmp" full.tokens

  interrupt
}

# ---- Ctrl-C ----
# A background job of a script ignores SIGINT unless it is told otherwise; SIGTERM takes the same way through the host.
if env --default-signal=INT true 2>/dev/null; then with="env --default-signal=INT" signal=INT; else with= signal=TERM; fi
train_long() { # OUTPUT STEPS [OPTIONS…]
  output=$1 steps=$2
  shift 2
  "$exe" $ns:train --model "$model" --data "$tmp/folder" --output "$output" --iters "$steps" --batch-size 2 --rank 4 --dropout 0.1 --eval-steps 20 --lr-schedule cosine "$@"
}
interrupt() {
  steps=300
  while [ "$steps" -lt 20000 ]; do # a machine that is too fast for us gets more to do
    rm -rf "$tmp/stop" "$tmp/stop-checkpoint" "$tmp/state/efficientai-toolkit"
    rm -f "$tmp/pipe"
    mkfifo "$tmp/pipe"
    # shellcheck disable=SC2086
    $with "$exe" $ns:train --model "$model" --data "$tmp/folder" --output "$tmp/stop" --iters "$steps" --batch-size 2 --rank 4 --dropout 0.1 --eval-steps 20 \
      --lr-schedule cosine >"$tmp/.out" 2>"$tmp/pipe" </dev/null &
    pid=$!
    # The first validation tells that it trains. One signal only: a second would end it at once.
    sent=
    while read -r line; do
      printf '%s\n' "$line"
      case "$sent$line" in validate*) kill -$signal $pid && sent=1 ;; esac
    done <"$tmp/pipe" >"$tmp/.err"
    wait $pid
    status=$? out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
    [ "$status" -eq 0 ] || break
    steps=$((steps * 4))
  done
  expect_exit 130 "Ctrl-C during training exits with 130"
  expect_contains err "--resume" "it says how to go on"
  expect_contains err "stop-checkpoint" "and where the checkpoint is"
  expect "there is no adapter yet" absent "$tmp/stop"
  expect "the checkpoint is whole" [ "$(ls "$tmp/stop-checkpoint" | tr '\n' ' ')" = "adapter_config.json adapter_model.safetensors optimizer.safetensors trainer_state.json " ]
  expect "no temporary folder is left" clean "$tmp" .tmp-
  out=$(cat "$(last_run)/run.json") err=
  expect_contains out '"status":"cancelled"' "the run is recorded as cancelled"
  cp -r "$tmp/stop-checkpoint" "$tmp/kept-checkpoint"
  run train_long "$tmp/stop" "$steps" --resume "$tmp/stop-checkpoint"
  expect_exit 0 "the resumed run finishes"
  expect "and clears its checkpoint away" absent "$tmp/stop-checkpoint"
  run train_long "$tmp/straight" "$steps"
  expect_exit 0 "the same run without a break finishes"
  expect "both adapters are the same bytes" cmp -s "$tmp/stop/adapter_model.safetensors" "$tmp/straight/adapter_model.safetensors"
  run train_long "$tmp/other" "$steps" --resume "$tmp/kept-checkpoint" --learning-rate 1e-3
  expect_fail 2 "learning_rate" "an option that changed since the checkpoint is named"
  run train_long "$tmp/other" $((steps + 1)) --resume "$tmp/kept-checkpoint"
  expect_fail 2 "optimizer steps in all" "so is another length of the run"
  sed '1s/,20/,21/' "$tmp/data.jsonl" >"$tmp/folder/train.jsonl" # as many sequences, one other id
  run train_long "$tmp/other" $((steps - 1)) --resume "$tmp/kept-checkpoint" # train_long left one more in steps
  expect_fail 1 "only go on with the same data" "and other data is noticed"
}

if [ -f "$model/config.json" ]; then golden; else skip "the golden models are not here"; fi

# ---- chat templates: what is rendered is what the model is given ----
asked='List all files in the current directory'
printf '%s' '{{ bos_token }}{% for m in messages %}{{ m.content }}{{ mark or "\n" }}{% if m.role == "user" %}${% endif %}{% endfor %}' >"$tmp/shell.jinja"
answer() { "$exe" --json $ns:generate --temperature 0 --max-tokens 20 "$@" 2>&1 | sed -n 's/.*"text": *"\(\([^"\\]\|\\.\)*\)".*"prompt_tokens":\([0-9]*\).*/\1 after \3/p'; }
bare=$(answer --prompt "$asked
\$")
expect "a prompt in its template is read as the same text written out" [ -n "$bare" -a "$bare" = "$(answer --chat-template "$tmp/shell.jinja" --prompt "$asked")" ]
for more in '--system-prompt Now' '--chat-template-kwargs {"mark":"?"}'; do
  expect "${more%% *} reaches the template" [ "$bare" != "$(answer --chat-template "$tmp/shell.jinja" $more --prompt "$asked")" ]
  run "$exe" $ns:generate $more --prompt "$asked"
  expect_fail 2 "--chat-template" "${more%% *} needs a template"
  run "$exe" $ns:generate $more --prompt "$asked" --ignore-chat-template
  expect_fail 2 "--ignore-chat-template excludes" "and is not passed over in silence"
done
printf '{{ messages[7].content.words }}' >"$tmp/wrong.jinja"
run "$exe" $ns:generate --chat-template "$tmp/wrong.jinja" --prompt "$asked"
expect_fail 1 "wrong.jinja:1:" "a template that fails is named with its line"
echo '{"messages":[{"role":"user","content":"'$asked'"},{"role":"assistant","content":" ls"}]}' >"$tmp/chat.jsonl"
run "$exe" --json $ns:evaluate --data "$tmp/chat.jsonl" --chat-template "$tmp/shell.jinja"
templated=$(field loss)
run "$exe" --json $ns:evaluate --data "$tmp/chat.jsonl"
expect "a conversation in the model's own layout is likelier than in another" awk -v a="$templated" -v b="$(field loss)" 'BEGIN { exit !(a > 0 && a < b) }'

# ---- prompts that are kept, tokens that are proposed ----
kept=$tmp/kept.safetensors
spoken() { printf '%s' "$out" | sed -n 's/.*"text": *"\(\([^"\]\|\\.\)*\)".*/\1/p'; }
speak() { run "$exe" --json $ns:generate --temperature 0 --max-tokens 20 "$@"; }
speak --prompt "$asked
\$"
plain=$(spoken)
speak --prompt-cache "$kept" --prompt "$asked
\$"
expect "a prompt that is kept changes no answer" [ -n "$plain" -a "$plain" = "$(spoken)" ]
expect "nothing came from a file that was not there" [ "$(field prompt_cache_tokens)" = 0 ]
expect "the file is made" [ -s "$kept" ]
cp "$kept" "$tmp/kept.before"
speak --prompt-cache "$kept" --prompt "$asked
\$"
expect "from the file it is the same answer" [ "$plain" = "$(spoken)" ]
expect "and all but the last token came from there" [ "$(field prompt_cache_tokens)" = "$(($(field prompt_tokens) - 1))" ]
expect "a file that has the whole prompt stays as it is" cmp -s "$kept" "$tmp/kept.before"
speak --prompt-cache "$kept" --prompt-cache-ro --prompt "$asked, with their sizes
\$"
expect "a prompt that begins alike takes what is alike" [ "$(field prompt_cache_tokens)" -gt 3 ]
expect "--prompt-cache-ro leaves the file as it is" cmp -s "$kept" "$tmp/kept.before"
speak --prompt-cache "$kept" --prompt "$asked, with their sizes
\$"
expect "without it the file gets the longer prompt" [ "$(wc -c <"$kept")" -gt "$(wc -c <"$tmp/kept.before")" ]
speak --cache-type q8_0 --prompt-cache "$tmp/codes.safetensors" --prompt "$asked
\$"
coded=$(spoken)
expect "keys and values in 8 bits answer" [ -n "$coded" ]
expect "and take 8.5 bits of each number" [ "$(($(wc -c <"$tmp/codes.safetensors") * 3))" -lt "$(($(wc -c <"$tmp/kept.before") * 2))" ]
speak --cache-type q8_0 --prompt-cache "$tmp/codes.safetensors" --prompt "$asked
\$"
expect "from the file it is the same answer" [ "$coded" = "$(spoken)" ]
run "$exe" $ns:generate --prompt-cache "$tmp/codes.safetensors" --cache-type f16 --prompt hi
expect_fail 1 "is of Q8_0, this run's cache of F16" "a file of another type is named"
speak --compute bfloat16 --prompt "$asked
\$"
expect "rounded prompts answer" [ -n "$(spoken)" ]
run "$exe" $ns:generate --compute float8 --prompt hi
expect_fail 2 "float32" "another type to round to is an error"
run env ETK_CACHE=q4 "$exe" $ns:generate --prompt hi
expect_fail 2 "ETK_CACHE is 'q4'; auto, f32, f16 or q8_0" "a type that the variable cannot have is an error"
run "$exe" $ns:generate --prompt-cache "$tmp/nowhere" --prompt-cache-ro --prompt hi
expect_fail 1 "nowhere" "a file that is only to be read must be there"
head -c 3000 "$kept" >"$tmp/cut.safetensors"
run "$exe" $ns:generate --prompt-cache "$tmp/cut.safetensors" --prompt hi
expect_fail 1 "cut.safetensors" "a file that was cut off is named"
expect "and not written over" [ "$(wc -c <"$tmp/cut.safetensors")" = 3000 ]
run "$exe" $ns:generate --prompt-cache-ro --prompt hi
expect_fail 2 "need --prompt-cache FILE" "--prompt-cache-ro alone is a mistake"
run "$exe" $ns:generate --num-draft-tokens 4 --prompt hi
expect_fail 2 "--draft-model or --prompt-lookup" "so is --num-draft-tokens alone"
speak --prompt-lookup --ignore-eos --max-tokens 60 --prompt "$asked
\$"
looked=$(spoken)
expect "proposals are counted" [ "$(field drafted_tokens)" -ge "$(field accepted_tokens)" -a "$(field accepted_tokens)" -gt 0 ]
speak --ignore-eos --max-tokens 60 --prompt "$asked
\$"
expect "--prompt-lookup changes no text" [ -n "$looked" -a "$looked" = "$(spoken)" ]
expect "and without it nothing is counted" [ -z "$(field drafted_tokens)" ]
if [ -f "$shared/models/stories260K/stories260K.bin" ]; then
  teller=$shared/models/stories260K/stories260K.bin
  speak --model "$teller" --prompt "The dog"
  plain=$(spoken)
  speak --model "$teller" --draft-model "$teller" --num-draft-tokens 5 --prompt "The dog"
  expect "a draft changes no text" [ -n "$plain" -a "$plain" = "$(spoken)" ]
  expect_close "$(field acceptance_rate)" 1 0 "what a model proposes to itself is taken"
  run "$exe" $ns:generate --draft-model "$teller" --prompt "hi"
  expect_fail 1 "a draft with the same tokenizer is wanted" "a draft of other tokens is refused"
  run "$exe" $ns:generate --model "$teller" --prompt-cache "$kept" --prompt hi
  expect_fail 1 "the prompt cache of another model" "and so is another model's file"
else
  skip "the stories model is not here"
fi

# ---- generation against llama2.c ----
stories=$shared/models/stories260K/stories260K.bin
texts() { sed -n 's/.*"text": *"\(\([^"\\]\|\\.\)*\)".*/\1/p'; }
if [ -f "$stories" ]; then
  texts <tests/goldens/stories260k.json >"$tmp/golden.texts"
  for line in 1 2; do
    prompt=
    [ $line -eq 2 ] && prompt="Once upon a time"
    run "$exe" --json $ns:generate --model "$stories" --prompt "$prompt" --temperature 0 --max-tokens 200 --ignore-eos
    printf '%s\n' "$out" | texts >"$tmp/seen.text"
    sed -n "${line}p" "$tmp/golden.texts" | cmp -s - "$tmp/seen.text"
    same=$?
    expect "200 greedy tokens after \"$prompt\" equal llama2.c's text" [ $same -eq 0 ]
    expect_contains out '"tokens":200' "and are 200"
  done
  run "$exe" --json $ns:generate --model "$stories" --prompt "The dog" --temperature 0 --max-tokens 200
  expect_contains out '"stop":"eos"' "a story that ends stops by itself"
  printf '%s\n' "$out" | texts | cmp -s - "$tmp/seen.text" # not the same as before, or nothing was compared
  expect "texts differ by prompt" [ $? -ne 0 ]
  run "$exe" $ns:generate --model "$stories" --prompt "Once upon a time" --temperature 0 --max-tokens 12
  expect_contains out ", there was a little girl" "for a person the text alone is on stdout"
  run "$exe" --json $ns:generate --model "$stories" --prompt "Tom" --temperature 0.9 --top-k 20 --seed 5 --max-tokens 40
  first=$(printf '%s' "$out" | texts)
  run "$exe" --json $ns:generate --model "$stories" --prompt "Tom" --temperature 0.9 --top-k 20 --seed 5 --max-tokens 40
  expect "one seed gives one text" [ "$first" = "$(printf '%s' "$out" | texts)" ]
  run "$exe" --json $ns:generate --model "$stories" --prompt "Tom" --temperature 0.9 --top-k 20 --seed 6 --max-tokens 40
  expect "another seed another" [ "$first" != "$(printf '%s' "$out" | texts)" ]

  # Plain text is one document in windows; the first token of each is not scored.
  printf 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.' >"$tmp/story.txt"
  run "$exe" --json $ns:evaluate --model "$stories" --data "$tmp/story.txt" --max-seq-length 8
  windows=$(field sequences) scored=$(field tokens)
  run "$exe" --json $ns:evaluate --model "$stories" --data "$tmp/story.txt"
  expect_contains out '"sequences":1' "plain text that fits is one window"
  expect "windows lose one scored token each" [ $(($(field tokens) + 1)) -eq $((windows + scored)) ]
  expect "a text that the model would write itself has a low loss" awk -v l="$(field loss)" 'BEGIN { exit !(l > 0 && l < 1.5) }'

  # Prompt masked: only the completion is scored.
  echo '{"prompt":"Once upon a time","completion":", there was a little girl"}' >"$tmp/pair.jsonl"
  echo '{"text":"Once upon a time, there was a little girl"}' >"$tmp/whole.jsonl"
  run "$exe" --json $ns:evaluate --model "$stories" --data "$tmp/pair.jsonl" --per-token "$tmp/pair.tokens"
  run "$exe" --json $ns:evaluate --model "$stories" --data "$tmp/whole.jsonl" --per-token "$tmp/whole.tokens"
  count=$(wc -l <"$tmp/pair.tokens")
  expect "a masked prompt is not scored" [ "$count" -lt "$(wc -l <"$tmp/whole.tokens")" ]
  expect "evaluate appends no end of sequence" [ "$(tail -1 "$tmp/whole.tokens" | grep -c '"id":[12],')" -eq 0 ]

  run "$exe" --json $ns:train --model "$stories" --data "$tmp/whole.jsonl" --output "$tmp/story-adapter" --iters 3 --target-modules all-linear --rank 2
  expect_exit 0 "a llama2.c model can be fine-tuned"
  run "$exe" --json $ns:generate --model "$stories" --adapter-path "$tmp/story-adapter" --prompt "Once upon a time" --temperature 0 --max-tokens 8
  expect_exit 0 "and speaks with its adapter"
  spoken=$(printf '%s' "$out" | texts)
  for form in mlx:folder gguf:file.gguf kohya:file.safetensors; do
    run "$exe" model convert "$tmp/story-adapter" "$tmp/story-${form#*:}" --to "${form%%:*}" --base "$stories" --force
    run "$exe" --json $ns:generate --model "$stories" --adapter-path "$tmp/story-${form#*:}" --prompt "Once upon a time" --temperature 0 --max-tokens 8
    expect "an adapter as ${form%%:*} speaks alike" [ -n "$spoken" -a "$spoken" = "$(printf '%s' "$out" | texts)" ]
  done
  for type in f16 q8_0; do # a model as GGUF, its weights as they are stored
    run "$exe" model convert "$stories" "$tmp/stories-$type.gguf" --type $type
    run "$exe" --json $ns:generate --model "$tmp/stories-$type.gguf" --prompt "Once upon a time" --temperature 0 --max-tokens 12
    expect_contains out ", there was a little girl" "a GGUF file of $type tells the same story"
  done
  run "$exe" --json $ns:train --model "$tmp/stories-q8_0.gguf" --data "$tmp/whole.jsonl" --output "$tmp/q-adapter" --iters 3 --target-modules all-linear --rank 2
  expect_exit 0 "LoRA trains on a quantized base"
  cp "$stories" "$tmp/alone.bin"
  run "$exe" $ns:generate --model "$tmp/alone.bin" --prompt "Tom"
  expect_fail 1 "has no tokenizer" "a model apart from its tokenizer says so"
  cp "$shared/models/stories260K/tok512.bin" "$tmp/tok512.bin"
  head -c 3000 "$shared/models/stories260K/tok512.bin" >"$tmp/tok512.bin"
  run "$exe" $ns:generate --model "$tmp/alone.bin" --prompt "Tom"
  expect_fail 1 "tok512.bin" "a truncated tokenizer is named"
else
  skip "the stories260K model is not here"
fi

# ---- the README's examples, in its order, each from a folder where only the ones before it have been ----
examples() {
  mkdir "$tmp/readme" "$tmp/path"
  ln -s "$exe" "$tmp/path/efficientai-toolkit"
  awk -v to="$tmp/readme-" '/^```sh$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside { print > (to n ".sh") }' plugins/lora-finetuning-mlx/README.md
  n=1
  while [ -f "$tmp/readme-$n.sh" ]; do
    head=$(grep -m 1 -o 'lora-finetuning-mlx:[a-z]*' "$tmp/readme-$n.sh")
    if [ -n "${SAN:-}" ] && [ "$head" = "$ns:demo" ]; then
      skip "README example $n ($head) takes minutes under sanitizers"
    else
      run env PATH="$tmp/path:$PATH" sh -e -c 'cd "$1" && . "$2"' sh "$tmp/readme" "$tmp/readme-$n.sh"
      expect_exit 0 "README example $n ($head) runs"
    fi
    n=$((n + 1))
  done
  expect "the README has examples" [ "$n" -gt 5 ]
  expect "they are all there is: no line begins with the program outside a block" [ "$(grep -c '^efficientai-toolkit' plugins/lora-finetuning-mlx/README.md)" -eq "$(cat "$tmp"/readme-*.sh | grep -c '^efficientai-toolkit')" ]
}
if [ -f plugins/lora-finetuning-mlx/data/default/model.safetensors ]; then examples; else skip "the embedded model is not here"; fi

# OpenBLAS would ask for its buffers for ever.
if [ -n "${SAN:-}" ]; then skip "little address space (sanitizers want much of it)"
else
  run timeout 60 sh -c 'ulimit -v 300000; exec "$@"' sh "$exe" $ns:generate --no-run --prompt hi --max-tokens 2 --temperature 0
  expect_exit 0 "with little address space products go without the BLAS"
fi
