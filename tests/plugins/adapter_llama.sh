# Adapters of ours in llama.cpp, which bench/peers/llama.sh fetches: PEFT's adapters as GGUF, on a base that we wrote, go on as they do with us; and back they
# keep their bits. $ETK_LLAMA names the folder of its libraries; without it there is nothing to compare with.
. tests/lib.sh
shared=${ETK_SHARED:-../shared}
[ -n "${ETK_LLAMA:-}" ] || { skip "llama.cpp is not here (ETK_LLAMA)"; exit 0; }
[ -d "$shared/goldens/lora" ] || { skip "the shared material is not here"; exit 0; }
command -v python3 >/dev/null || { skip "python3 is not here"; exit 0; }
sh bench/peers/llama.sh "$tmp/peer" >"$tmp/log" 2>&1 || { not_ok "the driver is built" "$(cat "$tmp/log")"; exit 1; }
# shellcheck disable=SC2046,SC2086
$CC -std=c11 -D_GNU_SOURCE -O1 $san_flags -Isdk/include bench/peers/ours.c "$B/obj/ml.a" "$B/obj/core.a" -o "$tmp/peer/ours" -pthread \
  $(pkg-config --libs yaml-0.1 jansson libpcre2-8 libutf8proc zlib) -ldl -lm >"$tmp/log" 2>&1 || { not_ok "our driver is built" "$(cat "$tmp/log")"; exit 1; }

# A prompt whose 12 ids follow with margins of at least 1e-3, a thousand times what the two programs' logits differ by.
cat >"$tmp/same.py" <<'PY'
import json, subprocess, sys
peer, base, peft, gguf = sys.argv[1:]
prompt = '12 1 7 300 12 12 99 43'.split()
def ids(*words):
    return json.loads(subprocess.run(list(words) + prompt, stdout=subprocess.PIPE, check=True).stdout)['ids']
ours, theirs, plain = ids(peer + '/ours', 'lora', base, peft), ids(peer + '/llama', 'lora', base, gguf), ids(peer + '/llama', 'greedy', base)
sys.exit(ours != theirs and 'we go on with %s, llama.cpp with %s' % (ours, theirs) or ours == plain and 'the adapter changes nothing')
PY
for variant in lora lora-all rslora loraplus qwen2; do
  base=llama-gqa-tied
  [ $variant = qwen2 ] && base=qwen2
  peft=$shared/goldens/lora/$variant/final
  run "$exe" --no-run model:convert "$shared/goldens/models/$base" "$tmp/base.gguf" --type f32 --force
  expect_exit 0 "$base is written"
  run "$exe" --no-run model:convert "$peft" "$tmp/adapter.gguf" --to gguf --base "$shared/goldens/models/$base" --force
  expect_exit 0 "$variant is written as a GGUF adapter"
  run python3 "$tmp/same.py" "$tmp/peer" "$tmp/base.gguf" "$peft" "$tmp/adapter.gguf"
  expect_exit 0 "$variant: llama.cpp goes on as we do"
  run "$tmp/peer/ours" lora "$tmp/base.gguf" "$tmp/adapter.gguf" 12 1 7 300 12 12 99 43
  gguf=$out
  run "$tmp/peer/ours" lora "$shared/goldens/models/$base" "$peft" 12 1 7 300 12 12 99 43
  case "$out" in *"${gguf#*ids}"*) ok "$variant: the GGUF adapter on the GGUF base has PEFT's logits" ;; *) not_ok "$variant: the GGUF adapter on the GGUF base has PEFT's logits" "$gguf" ;; esac
done
