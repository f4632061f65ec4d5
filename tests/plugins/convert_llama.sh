# GGUF files of ours in llama.cpp, which bench/peers/llama.sh fetches: its greedy continuation of what we wrote is the reference's, and its own quantization of the
# same model gives the same types and the same bytes. $ETK_LLAMA names the folder of its libraries; without it there is nothing to compare with.
. tests/lib.sh
shared=${ETK_SHARED:-../shared}
[ -n "${ETK_LLAMA:-}" ] || { skip "llama.cpp is not here (ETK_LLAMA)"; exit 0; }
[ -d "$shared/goldens/models" ] || { skip "the shared material is not here"; exit 0; }
command -v python3 >/dev/null || { skip "python3 is not here"; exit 0; }
sh bench/peers/llama.sh "$tmp/peer" >"$tmp/log" 2>&1 || { not_ok "the driver is built" "$(cat "$tmp/log")"; exit 1; }
convert() { "$exe" --no-run model:convert "$@" --force >"$tmp/log" 2>&1 || { not_ok "$* is written" "$(cat "$tmp/log")"; exit 1; }; }

cat >"$tmp/greedy.py" <<'PY'
import json, subprocess, sys
driver, gguf, reference = sys.argv[1:]
wanted = json.load(open(reference))
ids, greedy = wanted['ids'], wanted['greedy']
got = json.loads(subprocess.run([driver, 'greedy', gguf, str(len(greedy))] + [str(i) for i in ids], stdout=subprocess.PIPE, check=True).stdout)['ids']
sys.exit(got != greedy and 'llama.cpp goes on with %s, transformers with %s' % (got, greedy))
PY
for model in "$shared"/goldens/models/*; do
  for type in f32 q4_k_m; do # the margins of these models are above what such rounding moves, which was looked at
    convert "$model" "$tmp/model.gguf" --type $type
    run python3 "$tmp/greedy.py" "$tmp/peer/llama" "$tmp/model.gguf" "$model/reference.json"
    expect_exit 0 "$(basename "$model") as $type: llama.cpp goes on as transformers does"
  done
done

# ---- the same choices and the same bytes ----
cat >"$tmp/same.py" <<'PY'
import struct, sys
SIZES = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18)}
def read(path):
    data, at = open(path, 'rb').read(), 8
    def take(kind):
        nonlocal at
        value = struct.unpack_from('<' + kind, data, at)[0]
        at += struct.calcsize('<' + kind)
        return value
    def text():
        nonlocal at
        size = take('Q')
        at += size
        return data[at - size:at].decode()
    def value(kind):
        if kind == 8: return text()
        if kind == 9:
            item, count = take('I'), take('Q')
            return [value(item) for _ in range(count)]
        return take({0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: 'B', 10: 'Q', 11: 'q', 12: 'd'}[kind])
    tensors, keys, facts, out = take('Q'), take('Q'), {}, {}
    for _ in range(keys):
        key = text()
        facts[key] = value(take('I'))
    for _ in range(tensors):
        name = text()
        dims = [take('Q') for _ in range(take('I'))]
        out[name] = (dims, take('I'), take('Q'))
    base = at + -at % 32
    def body(entry):
        dims, kind, offset = entry
        count = 1
        for d in dims: count *= d
        block, size = SIZES[kind]
        return dims, kind, data[base + offset:base + offset + count // block * size]
    return facts, {name: body(entry) for name, entry in out.items()}
(a, x), (b, y) = read(sys.argv[1]), read(sys.argv[2])
for key in ('general.file_type', 'general.quantization_version', 'general.architecture'):
    if a.get(key) != b.get(key): sys.exit('%s: %s and %s' % (key, a.get(key), b.get(key)))
if set(x) != set(y): sys.exit('other tensors: %s' % (set(x) ^ set(y)))
for name in x:
    if x[name] != y[name]: sys.exit('%s is of type %d here and %d there, or has other bytes' % (name, x[name][1], y[name][1]))
PY
model=$shared/models/stories260K/stories260K.bin
convert "$model" "$tmp/stories.gguf"
for type in f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl q2_k q3_k_m q4_k_m q5_k_m q6_k; do
  convert "$model" "$tmp/ours.gguf" --type $type
  "$tmp/peer/llama" quantize "$tmp/stories.gguf" "$tmp/theirs.gguf" $type >"$tmp/log" 2>&1
  run python3 "$tmp/same.py" "$tmp/ours.gguf" "$tmp/theirs.gguf"
  expect_exit 0 "stories260K as $type: the types and bytes of every tensor are llama.cpp's own"
done
