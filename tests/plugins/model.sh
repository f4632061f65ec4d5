# model through the host: files of each format made by an independent writer, what is wrong with them, a large one, and every example of its README.
. tests/lib.sh
command -v python3 >/dev/null || { skip "python3 is not here"; exit 0; }
expect() { # TEXT COMMAND…
  text=$1
  shift
  if "$@"; then ok "$text"; else not_ok "$text" "$*"; fi
}

# ---- files: one tiny Llama as a Hugging Face folder, in shards, as GGUF (F16 and Q8_0) and as llama2.c ----
root=$PWD
mkdir "$tmp/work" && cd "$tmp/work" || exit 1
cat >make.py <<'PY'
import json, os, random, struct
random.seed(7)
V, D, H, L, Q, K = 64, 64, 96, 2, 4, 2
E = D // Q
pick = lambda n: [random.randrange(-64, 65) / 64 for _ in range(n)]  # exact in F16
names = [('model.embed_tokens.weight', (V, D)), ('model.norm.weight', (D,))]
for i in range(L):
    p = 'model.layers.%d.' % i
    names += [(p + 'input_layernorm.weight', (D,)), (p + 'post_attention_layernorm.weight', (D,)), (p + 'self_attn.q_proj.weight', (Q * E, D)),
              (p + 'self_attn.k_proj.weight', (K * E, D)), (p + 'self_attn.v_proj.weight', (K * E, D)), (p + 'self_attn.o_proj.weight', (D, Q * E)),
              (p + 'mlp.gate_proj.weight', (H, D)), (p + 'mlp.up_proj.weight', (H, D)), (p + 'mlp.down_proj.weight', (D, H))]
count = lambda s: s[0] * (s[1] if len(s) > 1 else 1)
model = {n: (s, pick(count(s))) for n, s in names}
config = dict(architectures=['LlamaForCausalLM'], model_type='llama', vocab_size=V, hidden_size=D, intermediate_size=H, num_hidden_layers=L,
              num_attention_heads=Q, num_key_value_heads=K, max_position_embeddings=32, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True)

def safetensors(path, tensors, metadata=None):
    head, data = {}, b''
    if metadata: head['__metadata__'] = metadata
    for n, (s, v) in tensors.items():
        packed = struct.pack('<%df' % len(v), *v)
        head[n] = dict(dtype='F32', shape=list(s), data_offsets=[len(data), len(data) + len(packed)])
        data += packed
    text = json.dumps(head).encode()
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + data)

def folder(name, tensors, settings=config):
    os.mkdir(name)
    json.dump(settings, open(name + '/config.json', 'w'))
    safetensors(name + '/model.safetensors', tensors, {'format': 'pt', 'origin': 'a "test"'})

def interleave(values, columns):  # rows of each head: i, i + E/2 side by side, as llama.cpp and llama2.c have them
    rows = [values[i:i + columns] for i in range(0, len(values), columns)]
    out = []
    for h in range(0, len(rows), E):
        for i in range(E // 2):
            out += rows[h + i] + rows[h + E // 2 + i]
    return out

def stored(n):
    s, v = model[n]
    return interleave(v, D) if 'q_proj' in n or 'k_proj' in n else v

def q8(v):
    out = b''
    for i in range(0, len(v), 32):
        b = v[i:i + 32]
        d = max(map(abs, b)) / 127
        out += struct.pack('<e', d) + struct.pack('<32b', *[int(x / d + (0.5 if x >= 0 else -0.5)) if d else 0 for x in b])
    return out

def gguf(path, kind):
    block = {'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output', 'mlp.gate_proj': 'ffn_gate',
             'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down', 'input_layernorm': 'attn_norm', 'post_attention_layernorm': 'ffn_norm'}
    text = lambda t: struct.pack('<Q', len(t)) + t.encode()
    a = 'llama.'
    keys = [('general.architecture', 8, text('llama')), ('general.name', 8, text('tiny')), (a + 'block_count', 4, L), (a + 'embedding_length', 4, D),
            (a + 'feed_forward_length', 4, H), (a + 'attention.head_count', 4, Q), (a + 'attention.head_count_kv', 4, K), (a + 'context_length', 4, 32), (a + 'vocab_size', 4, V),
            (a + 'attention.layer_norm_rms_epsilon', 6, 1e-5)]
    out, body = b'', b''
    for k, t, v in keys: out += text(k) + struct.pack('<I', t) + (v if t == 8 else struct.pack('<f' if t == 6 else '<I', v))
    out += text('tokenizer.ggml.scores') + struct.pack('<IIQ', 9, 6, 20) + struct.pack('<20f', *range(20))
    table = b''
    for n, (s, _) in model.items():
        parts = n.split('.')
        name = {'model.embed_tokens.weight': 'token_embd.weight', 'model.norm.weight': 'output_norm.weight'}.get(n) or 'blk.%s.%s.weight' % (parts[2], block['.'.join(parts[3:-1])])
        v = stored(n)
        kind_here = kind if len(s) > 1 else 0
        packed = {0: lambda: struct.pack('<%df' % len(v), *v), 1: lambda: struct.pack('<%de' % len(v), *v), 8: lambda: q8(v)}[kind_here]()
        table += text(name) + struct.pack('<I', len(s)) + b''.join(struct.pack('<Q', x) for x in reversed(s)) + struct.pack('<IQ', kind_here, len(body))
        body += packed + b'\0' * (-len(packed) % 32)
    head = b'GGUF' + struct.pack('<IQQ', 3, len(model), len(keys) + 1) + out + table
    open(path, 'wb').write(head + b'\0' * (-len(head) % 32) + body)

folder('tiny', model)
gguf('tiny.gguf', 1)
gguf('tiny-q8.gguf', 8)
kinds = ['input_layernorm', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj', 'post_attention_layernorm', 'mlp.gate_proj', 'mlp.down_proj', 'mlp.up_proj']
flat = stored('model.embed_tokens.weight') + [x for k in kinds for i in range(L) for x in stored('model.layers.%d.%s.weight' % (i, k))] + stored('model.norm.weight') + [0.0] * (32 * E)
open('tiny.bin', 'wb').write(struct.pack('<7i', D, H, L, Q, K, V, 32) + struct.pack('<%df' % len(flat), *flat))
# an adapter on both q_proj
os.mkdir('adapter')
json.dump(dict(peft_type='LORA', r=4, lora_alpha=8, target_modules=['q_proj'], task_type='CAUSAL_LM'), open('adapter/adapter_config.json', 'w'))
part = 'base_model.model.model.layers.%d.self_attn.q_proj.lora_%s.weight'
safetensors('adapter/adapter_model.safetensors', {part % (i, n): (s, pick(count(s))) for i in range(L) for n, s in (('A', (4, D)), ('B', (Q * E, 4)))}, {'format': 'pt'})
# in shards
os.mkdir('shards')
json.dump(config, open('shards/config.json', 'w'))
order, files = list(model), ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
for f, part in zip(files, (order[:7], order[7:])): safetensors('shards/' + f, {n: model[n] for n in part})
index = {'metadata': {'total_size': 0}, 'weight_map': {n: files[i >= 7] for i, n in enumerate(order)}}
json.dump(index, open('shards/model.safetensors.index.json', 'w'))
# what is wrong
bad = dict(model)
s, v = bad['model.norm.weight']
bad['model.norm.weight'] = (s, [float('nan'), float('inf')] + v[2:])
s, v = bad['model.layers.1.mlp.up_proj.weight']
bad['model.layers.1.mlp.up_proj.weight'] = ((D, H), v)
del bad['model.layers.0.self_attn.k_proj.weight']
bad['model.layers.2.mlp.up_proj.weight'] = ((2,), [1.0, 2.0])
folder('bad', bad)
near = {n: (s, list(v)) for n, (s, v) in model.items()}
near['model.norm.weight'][1][3] += 0.25
del near['model.layers.1.input_layernorm.weight']
near['another.weight'] = ((1,), [1.0])
folder('near', near)
safetensors('odd.safetensors', {'flags': ((4,), [1.0, 2.0, 3.0, 6.0])})
safetensors('big.safetensors', {'big': ((2,), [1.0, -70000.0])})
# 4 GB that take no room: 290 tensors of 32 layers
head, at = {}, 0
for i in range(32):
    for n, s in (('self_attn.q_proj', (4096, 4096)), ('self_attn.k_proj', (1024, 4096)), ('self_attn.v_proj', (1024, 4096)), ('self_attn.o_proj', (4096, 4096)),
                 ('mlp.gate_proj', (2048, 4096)), ('mlp.up_proj', (2048, 4096)), ('mlp.down_proj', (4096, 2048)), ('input_layernorm', (4096,)), ('post_attention_layernorm', (4096,))):
        size = 2 * count(s)
        head['model.layers.%d.%s.weight' % (i, n)] = dict(dtype='BF16', shape=list(s), data_offsets=[at, at + size])
        at += size
for n, s in (('model.embed_tokens.weight', (32000, 4096)), ('model.norm.weight', (4096,))):
    size = 2 * count(s)
    head[n] = dict(dtype='BF16', shape=list(s), data_offsets=[at, at + size])
    at += size
os.mkdir('large')
json.dump(dict(config, vocab_size=32000, hidden_size=4096, intermediate_size=2048, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8), open('large/config.json', 'w'))
with open('large/model.safetensors', 'wb') as f:
    text = json.dumps(head).encode()
    f.write(struct.pack('<Q', len(text)) + text)
    f.truncate(8 + len(text) + at)
with open('large.gguf', 'wb') as f:
    text = lambda t: struct.pack('<Q', len(t)) + t.encode()
    table = b''.join(text('blk.%d.ffn_up.weight' % i) + struct.pack('<IQQIQ', 2, 4096, 16384, 1, i << 27) for i in range(32))
    start = b'GGUF' + struct.pack('<IQQ', 3, 32, 1) + text('general.architecture') + struct.pack('<I', 8) + text('llama') + table
    f.write(start + b'\0' * (-len(start) % 32))
    f.truncate(f.tell() + (32 << 27))
PY
if ! python3 make.py; then not_ok "the files are made"; exit 1; fi
PARAMETERS=$((64 * 64 + 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64)))

# ---- inspect ----
for path in tiny shards tiny/model.safetensors tiny.gguf tiny-q8.gguf tiny.bin; do
  run "$exe" --json model:inspect "$path"
  expect_exit 0 "$path is inspected"
  expect_contains out "\"parameters\":$PARAMETERS" "$path: all parameters are counted"
  expect_contains out '"architecture":"llama"' "$path: the architecture is known"
  expect_contains out '"num_key_value_heads":2,"head_dim":16' "$path: and its sizes"
  expect_contains out '{"layer":"model.layers.1","tensors":9,"parameters":30848,' "$path: layers are summed under Hugging Face's names"
done
run "$exe" --json model:inspect tiny-q8.gguf --tensors --keys
expect_contains out '{"name":"blk.0.attn_q.weight","type":"Q8_0","shape":"(64, 64)","parameters":4096,"bytes":4352,"canonical":"model.layers.0.self_attn.q_proj.weight"}' "a tensor is listed with both names"
expect_contains out '{"type":"Q8_0","tensors":15,' "types are counted"
expect_contains out '{"key":"general.name","value":"\"tiny\""}' "keys are listed"
expect_contains out '{"key":"tokenizer.ggml.scores","value":"{\"kind\":\"f32\",\"count\":20}"}' "a long array is told by its size"
run "$exe" --json model:inspect tiny --keys
expect_contains out '{"key":"origin","value":"\"a \\\"test\\\"\""}' "metadata of safetensors is listed"
run "$exe" model inspect shards
expect_contains out "model.layers.1" "namespace and command may be two words"
run "$exe" --json model:inspect odd.safetensors --histogram flags --bins 5
expect_contains out '"min":1,"max":6,"mean":3,"std":1.8708286933869707' "1, 2, 3 and 6 have the mean 3 and the deviation sqrt(3.5)"
expect_contains out '{"from":1,"to":2,"count":1,' "a bin ends before its upper bound"
expect_contains out '{"from":5,"to":6,"count":1,' "the last one holds it"
run "$exe" --json model:inspect bad --histogram model.norm.weight
expect_contains out '"nan":1,"infinite":1' "values that are not finite are counted apart"
run "$exe" model:inspect tiny --histogram model.nrom.weight
expect_fail 1 "did you mean 'model.norm.weight'?" "a misspelt tensor gets a suggestion"

for size in 70003 65536; do # more than one piece of the work, with and without a rest
  run python3 -c '
import json, random, statistics, struct, subprocess, sys
random.seed(3)
n = int(sys.argv[2])
values = struct.unpack("<%df" % n, struct.pack("<%df" % n, *[random.gauss(0.1, 2) for _ in range(n)]))
head = json.dumps({"x": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}).encode()
open("many.safetensors", "wb").write(struct.pack("<Q", len(head)) + head + struct.pack("<%df" % n, *values))
seen = json.loads(subprocess.run([sys.argv[1], "--json", "model:inspect", "many.safetensors", "--histogram", "x"], capture_output=True).stdout)["results"]
near = lambda a, b: abs(a - b) < 1e-12
sys.exit(not (seen["min"] == min(values) and seen["max"] == max(values) and near(seen["mean"], statistics.fmean(values)) and
              near(seen["std"], statistics.pstdev(values)) and sum(b["count"] for b in seen["histogram"]) == n))' "$exe" "$size"
  expect_exit 0 "of $size values, minimum, maximum, mean, deviation and counts are Python's"
done

# ---- verify ----
for path in tiny shards tiny.gguf tiny-q8.gguf tiny.bin; do
  run "$exe" --json model:verify "$path"
  expect_exit 0 "$path is sound"
  expect_contains out "\"values\":$PARAMETERS,\"tensors_not_decoded\":0,\"shapes\":\"checked\",\"finding_count\":0" "$path: every value was looked at"
done
run "$exe" --json model:verify tiny --hash
expect_contains out "\"sha256\":\"$(sha256sum tiny/model.safetensors | cut -d' ' -f1)\"" "the hash is sha256sum's"
run "$exe" --json model:verify bad
expect_exit 4 "findings end with exit code 4"
expect_contains out '{"tensor":"model.norm.weight","problem":"2 of 64 values are not finite (1 nan, 1 infinite)"}' "values that are not finite are found"
expect_contains out '{"tensor":"model.layers.1.mlp.up_proj.weight","problem":"is (64, 96), the configuration calls for (96, 64)"}' "a wrong shape is found"
expect_contains out '{"tensor":"model.layers.0.self_attn.k_proj.weight","problem":"missing"}' "a missing tensor is found"
expect_contains out '{"tensor":"model.layers.2.mlp.up_proj.weight","problem":"the architecture has no tensor of this name"}' "a tensor of no layer is found"
expect_contains out '"finding_count":4' "and nothing else"
run "$exe" --json model:verify odd.safetensors
expect_contains out '"shapes":"nothing tells the architecture"' "what is not checked is said"

# ---- diff ----
for path in shards tiny.gguf tiny.bin; do
  run "$exe" --json model:diff tiny "$path"
  expect_exit 0 "tiny is compared with $path"
  expect_contains out '"equal":true,"compared":20,"equal_tensors":20,' "tiny and $path hold the same values"
done
run "$exe" --json model:diff tiny-q8.gguf tiny.gguf
expect_contains out '"only_in_a":0,"only_in_b":0' "two GGUF files are paired"
run "$exe" --json model:diff tiny tiny-q8.gguf
expect_contains out '"different_tensors":15' "15 matrices are rounded by Q8_0"
expect "and are less than a step of 1/127 off" sh -c 'python3 -c "import json,sys; r=json.load(open(sys.argv[1]))[\"results\"]; sys.exit(not (0 < r[\"max_abs\"] < 0.005 and 0 < r[\"relative_rms\"] < 0.01))" "$1"' sh "$tmp/.out"
run "$exe" --json model:diff tiny near
expect_contains out '"max_abs":0.25' "one value that is a quarter off is found"
expect_contains out '{"name":"model.layers.1.input_layernorm.weight","only_in":"a"}' "a tensor that only a has is named"
expect_contains out '{"name":"another.weight","only_in":"b"}' "and one that only b has"
run "$exe" model:diff tiny near --check
expect_fail 4 "tiny and near differ" "--check makes a difference the exit code"
run "$exe" model:diff tiny tiny --check
expect_exit 0 "and no difference"
run "$exe" --json model:diff tiny bad
expect_contains out '"name":"model.layers.1.mlp.up_proj.weight","type_a":"F32","type_b":"F32","shape_a":"(96, 64)","shape_b":"(64, 96)"' "tensors of different shapes are not compared"
for threads in 1 3; do EFFICIENTAI_THREADS=$threads "$exe" --json model:inspect tiny.gguf --histogram token_embd.weight | sed 's/"duration_ms":[^,]*//' >threads-$threads; done
expect "one thread or three, the numbers are the same" cmp -s threads-1 threads-3

# ---- convert ----
run "$exe" --json model:convert shards half --type f16
expect_exit 0 "a sharded folder is converted"
expect_contains out '"converted_tensors":20,"kept_tensors":0' "all its tensors"
expect "into one file beside its configuration" [ "$(ls half | tr '\n' ' ')" = "config.json model.safetensors " ]
run "$exe" --json model:diff tiny half
expect_contains out '"equal":true' "multiples of 1/64 are exact in F16"
run "$exe" --json model:inspect half --keys
expect_contains out '{"type":"F16","tensors":20,' "every tensor is F16"
expect_contains out "$(sha256sum shards/model-00002-of-00002.safetensors | cut -d' ' -f1)" "the inputs' hashes are recorded"
run "$exe" model:convert tiny/model.safetensors back.safetensors --type bf16
run "$exe" --json model:inspect back.safetensors --keys
expect_contains out '{"key":"origin","value":"\"a \\\"test\\\"\""}' "metadata is kept"
run "$exe" model:convert tiny/model.safetensors back.safetensors
expect_fail 1 "--force" "an existing file is not replaced unasked"
run "$exe" model:convert tiny half
expect_fail 1 "half exists" "nor is a folder"
run "$exe" model:convert tiny/model.safetensors new-folder
expect_fail 1 "is one file of weights" "one file of weights makes no model's folder"
run "$exe" model:convert tiny new.onnx
expect_fail 2 "no file that is written ends in .onnx" "a file of a format that is not written does not become a folder of that name"
expect "and no such folder is made" [ ! -e new.onnx ]
run "$exe" model:convert tiny llama-3.2
expect_exit 0 "a dot in a folder's name is no end"
run "$exe" model:convert tiny slash/
expect_exit 0 "a new folder's name may end in a slash"
expect "which is not part of it" [ -e slash/model.safetensors ]
mkdir -p letters nest && echo dear >letters/letter.txt && cp tiny.bin nest/
run "$exe" model:convert tiny letters --force
expect_fail 1 "even --force does not replace it" "--force does not replace a folder that holds no model"
expect "which stays as it was" [ "$(cat letters/letter.txt)" = dear ]
run "$exe" model:convert nest/tiny.bin nest --force
expect_fail 2 "which the input nest/tiny.bin lies in" "nor the folder that the input lies in"
run "$exe" model:convert tiny ./tiny --force
expect_fail 2 "OUT is the input itself" "nor the input"
ln -s tiny also-tiny
run "$exe" model:convert also-tiny/model.safetensors tiny --force
expect_fail 2 "lies in" "also by way of a link"
run "$exe" model:convert tiny tiny/model.safetensors --type f16 --force
expect_fail 2 "a file of the input tiny" "nor a file of the input"
run "$exe" model:verify tiny
expect_exit 0 "which is whole"
run "$exe" model:convert tiny llama-3.2 --force
expect_exit 0 "a model's folder is replaced"
run "$exe" model:convert tiny new.gguf --to hf
expect_fail 2 "hf is a folder" "a target that is not the name's is refused"
run "$exe" --json model:convert tiny made.gguf --type q8_0 --plan
expect_exit 0 "a plan is made"
expect_contains out '"written":false' "and nothing more"
expect_contains out '{"name":"blk.0.attn_q.weight","source":"model.layers.0.self_attn.q_proj.weight","from":"F32","to":"Q8_0","shape":"(64, 64)","bytes_before":16384,"bytes_after":4352,"fell_back":false}' "it says what becomes of each tensor"
expect "no file is made by a plan" [ ! -e made.gguf ]
run "$exe" --json model:convert tiny made.gguf --type q8_0
expect_contains out '"format":"gguf","type":"q8_0","written":true,"files":1,"converted_tensors":15' "a folder becomes GGUF"
run "$exe" --json model:diff made.gguf tiny-q8.gguf
expect_contains out '"only_in_a":0,"only_in_b":0' "with the names that an independent writer gives"
run "$exe" --json model:inspect made.gguf
expect_contains out '{"made":"command","value":"model:convert tiny made.gguf --type q8_0"}' "what is written says how it was made"
expect_contains out "{\"made\":\"source.0.sha256\",\"value\":\"$(sha256sum tiny/model.safetensors | cut -d' ' -f1)\"}" "and from what"
run "$exe" model:convert made.gguf again.gguf --type q4_0
expect_fail 1 "is Q8_0 already and would become Q4_0" "blocks become other blocks only when asked to"
run "$exe" model:convert made.gguf again.gguf --type q4_0 --allow-requantize
expect_exit 0 "and then they do"
for path in tiny.gguf tiny.bin; do
  run "$exe" model:convert "$path" "from-$path.dir"
  expect_exit 0 "$path becomes a folder"
  run "$exe" --json model:diff tiny "from-$path.dir"
  expect_contains out '"equal":true,"compared":20,"equal_tensors":20,' "with the values of tiny"
done
run "$exe" --json model:convert tiny types.gguf --type q4_0 --tensor-type 'ffn_down=q8_0' --tensor-type 'attn_(q|k)=f16' --output-tensor-type q5_1
expect_contains out '{"from":"F32","to":"F16","tensors":4,' "tensors are given types of their own by their names"
run "$exe" model:convert tiny typo.gguf --type q4_0 --tensor-type 'ffn_dwn=q8_0'
expect_fail 2 "'ffn_dwn=q8_0' is found in no tensor's name" "an expression that no name fits is an error"
run "$exe" --json model:convert tiny split.gguf --type f16 --split-size 40kB
run "$exe" --json model:inspect "$(printf '%s' "$out" | sed -n 's/.*"output":"\([^"]*\)".*/\1/p')"
expect_contains out '"tensor_count":20,' "of a split the first part is named, which opens all"
run "$exe" --json model:convert tiny pieces --shard-size 40kB
expect "shards are written with their index" [ -e pieces/model.safetensors.index.json ]
run "$exe" --json model:diff tiny pieces
expect_contains out '"equal":true' "and hold the same"
run "$exe" --json model:convert tiny tiny-4bit --to mlx --bits 4 --group-size 32
expect_contains out '{"from":"F32","to":"AFFINE","tensors":15,' "an MLX folder is written"
expect_contains out '"bits_per_weight":6.' "of four bits and two F32 for each 32 weights"
run "$exe" --json model:inspect tiny-4bit
expect_contains out '"quantization":"affine, 4 bits, groups of 32"' "its quantization is told"
expect_contains out "\"parameters\":$PARAMETERS," "and the parameters that its codes stand for"
run "$exe" --json model:verify tiny-4bit
expect_contains out '"shapes":"checked","finding_count":0' "its shapes are checked"
run "$exe" --json model:diff tiny tiny-4bit
expect_contains out '"compared":20,"equal_tensors":5,"different_tensors":15,' "and its values compared"
run "$exe" -q model:convert tiny arrays.npz
run "$exe" --json model:diff tiny arrays.npz
expect_contains out '"equal":true' "how an npz file was made is no difference"
run "$exe" --json model:diff tiny odd.safetensors
expect_lacks out '"max_abs"' "where nothing is compared there is no distance"
run "$exe" model:convert tiny half-b --bits 4
expect_fail 2 "an option of the target mlx" "an option of another target is refused"
run "$exe" model:convert tiny tiny.kohya --to kohya
expect_fail 2 "is a form of adapters" "a model is no adapter"
if [ -d "$root/$ETK_SHARED/goldens/lora/lora/final" ] || [ -d "$ETK_SHARED/goldens/lora/lora/final" ]; then
  [ -d "$ETK_SHARED" ] && material=$ETK_SHARED || material=$root/$ETK_SHARED
  lora=$material/goldens/lora/lora/final base=$material/goldens/models/llama-gqa-tied
  for step in "$lora a-mlx mlx" "a-mlx a.gguf gguf" "a.gguf a.safetensors kohya" "a.safetensors a-peft peft"; do
    set -- $step
    run "$exe" --json model:convert "$1" "$2" --to "$3" --base "$base"
    expect_exit 0 "an adapter becomes $3"
    expect_contains out "\"format\":\"$3\",\"written\":true" "and says so"
  done
  run "$exe" --json model:diff "$lora/adapter_model.safetensors" a-peft/adapter_model.safetensors
  expect_contains out '"equal":true' "through all four forms an adapter keeps its values"
  for path in "$lora" a-mlx a.gguf a.safetensors; do
    run "$exe" --json model:verify "$path"
    expect_contains out '"shapes":"an adapter, whose shapes are those of its base","finding_count":0' "the values of $(basename "$path") are checked, its shapes are not"
  done
  run "$exe" --json model:verify "$material/tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf"
  expect_contains out '"shapes":"a vocabulary alone, without tensors","finding_count":0' "a vocabulary's lack of tensors is no finding"
  run "$exe" model:convert "$lora" typed --to mlx --type f16
  expect_fail 2 "types and sizes are for models" "an adapter has no type to choose"
  run "$exe" model:convert "$lora" b.npz --to npz
  expect_fail 2 "no form of adapters" "nor can it be an archive"
else skip "adapters between their forms (the shared material is not here)"
fi
run "$exe" model:convert big.safetensors never.safetensors --type f16
expect_fail 1 "tensor big holds -70000, which F16 cannot hold" "a value that would become infinite is refused"
expect "and nothing is written" [ ! -e never.safetensors ]

# ---- embed: a model whose vectors are known, with a vocabulary by which a text has the ids of its reference ----
reference=$root/tests/goldens/models_ref/bert-mini
mkdir sentences && cp -r "$reference"/config.json "$reference"/m* "$reference"/1_Pooling sentences
python3 -c 'print("\n".join({0: "[PAD]", 1: "[CLS]", 2: "[UNK]", 33: "[SEP]", 40: "a", 41: "the", 42: "cat", 43: "sat", 44: "dogs", 45: "run"}.get(i, "w%d" % i) for i in range(48)))' >sentences/vocab.txt
printf '{"tokenizer_class":"BertTokenizer","do_lower_case":true}' >sentences/tokenizer_config.json
same() { # the last answer, or with a file its first line, against the reference
  python3 -c 'import json, sys
seen = json.loads(open(sys.argv[2]).readline())
seen = seen["results"]["embeddings"][0] if isinstance(seen, dict) else seen
wanted = json.load(open(sys.argv[1] + "/reference.json"))["embedding"]
sys.exit(not (len(seen) == len(wanted) and max(abs(a - b) for a, b in zip(seen, wanted)) < 1e-5))' "$reference" "$1"
}
words='w29 W8 w18 w15 w32 w24 w7 w20 w46 w28 w9 w21'
run "$exe" --json model:embed sentences --text "$words"
expect_exit 0 "a text is embedded"
expect "as an independent implementation does" same "$tmp/.out"
printf '"%s"\n"dogs run"\n\n"a"' "$words" >texts.jsonl
run "$exe" model:embed sentences --jsonl texts.jsonl
expect "of JSON strings each becomes a line" [ "$(grep -c '^\[.*\]$' "$tmp/.out")" = 3 ]
expect "with the same values" same "$tmp/.out"
printf '%s\n\nrun' "$words" | "$exe" model:embed sentences --file - >"$tmp/.out"
expect "and so does each line of a text, empty ones too" [ "$(grep -c '^\[.*\]$' "$tmp/.out")" = 3 ]
expect "with the same values again" same "$tmp/.out"
run "$exe" --json model:embed sentences --text 'a cat sat' --text 'A  cat sat' --text 'dogs run' --compare
expect_contains out '{"a":"a cat sat","b":"A  cat sat","cosine":1}' "texts of the same words are the same"
expect "and three texts make three pairs" [ "$(grep -o '"cosine"' "$tmp/.out" | wc -l)" = 3 ]
run "$exe" model:embed sentences --text "$words $words"
expect_fail 1 "a text of 26 tokens is longer than the 16 that" "a text that is too long is refused"
run "$exe" --json model:embed sentences --text "$words $words" --truncate
expect_exit 0 "and cut where that is asked for"
run "$exe" model:embed sentences --text a --file texts.jsonl
expect_fail 2 "one of --text, --file and --jsonl is wanted, 2 are there" "one kind of input is wanted"
run "$exe" model:embed sentences --text a --compare
expect_fail 2 "two or more of --text" "one text is not compared"
printf '"a"\n[1]\n' >texts.jsonl
run "$exe" model:embed sentences --jsonl texts.jsonl
expect_fail 1 "texts.jsonl:2: one JSON string is wanted on each line" "a line that is no string is named"
run "$exe" --json model:verify sentences
expect_contains out '"shapes":"checked","finding_count":0' "an encoder's shapes are checked"
cp -r sentences narrow && sed 's/"intermediate_size": 40/"intermediate_size": 48/' sentences/config.json >narrow/config.json
run "$exe" --json model:verify narrow
expect_exit 4 "and what does not fit is found"
expect_contains out 'encoder.layer.0.intermediate.dense.weight has shape (40, 32), config.json wants (48, 32)' "with its name and both shapes"
for model in gemma2 phi3; do
  run "$exe" --json model:verify "$root/tests/goldens/models_ref/$model"
  expect_contains out '"shapes":"checked","finding_count":0' "the shapes of $model are checked"
done
run "$exe" model:embed tiny --text a
expect_fail 1 'model_type "llama" is no encoder' "a model that is no encoder is refused"

# ---- what cannot be opened ----
wrong() { # PATH WORDS TEXT
  run "$exe" model:inspect "$1"
  expect_fail 1 "$2" "$3"
}
mkdir none && wrong none "the folder has no model.safetensors" "a folder without weights"
mkdir bare && cp tiny.bin bare/ && wrong bare "such as tiny.bin" "a folder with a file of weights of another name: it is named"
run "$exe" model:inspect none/gone.gguf
expect_fail 2 "'none/gone.gguf' does not exist" "a file that is not there is not taken for a model's name"
run "$exe" model:convert "$reference" bert.gguf
expect_fail 1 "cannot become gguf (a folder in f32, f16 or bf16" "a model whose keys are not known is told what it can become"
printf 'PK\003\004rest of an archive' >model.pth && wrong model.pth "do not end with the directory of a ZIP archive" "a PyTorch archive that is cut short"
printf 'hello world, this is a text file of some length\n' >text.bin && wrong text.bin "a text, not a safetensors, GGUF, PyTorch, NumPy, ONNX or llama2.c file" "a text"
head -c 5000 tiny.bin >short.bin && wrong short.bin "cut short" "a llama2.c file that is cut short"
head -c 5000 tiny.gguf >short.gguf && wrong short.gguf "short.gguf" "a GGUF file that is cut short"
cp -r shards lost && rm lost/model-00002* && wrong lost "model-00002-of-00002.safetensors" "a shard that is not there"
cp -r shards moved && sed 's/"another"//; s/00001-of-00002/00002-of-00002/' shards/model.safetensors.index.json >moved/model.safetensors.index.json
wrong moved "which does not hold it" "an index that places a tensor in the wrong shard"
cp -r shards out && sed 's|model-00001|../tiny/model-00001|' shards/model.safetensors.index.json >out/model.safetensors.index.json
wrong out "wanted a plain file name" "an index that leaves the folder"
cp -r tiny typo && printf '{"model_type":"llama","hidden_size":"wide"}' >typo/config.json && wrong typo "hidden_size" "a size that is no number"

# ---- 4 GB, of which only the headers are read ----
if [ -n "${SAN:-}" ]; then skip "time and memory of a large model (sanitizers want more of both)"
else
  for path in large large.gguf; do
    run python3 -c '
import os, subprocess, sys, time
best, peak = 9, 0
for _ in range(7):
    begin = time.monotonic()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    best, peak = min(best, time.monotonic() - begin), max(peak, usage.ru_maxrss)
    assert status == 0
print("%.1f ms, %.1f MB" % (best * 1e3, peak / 1024))
sys.exit(not (best < 0.1 and peak < 32 * 1024))' "$exe" model:inspect "$path"
    expect_exit 0 "$path of 4 GB: $out for the whole process (the bound for a busy machine is 100 ms, 32 MB)"
  done
fi

# ---- the README's examples, in its order ----
mkdir -p "$tmp/work/words" && printf '%s' '{"added_tokens":[{"id":0,"content":"<s>","special":true}],"pre_tokenizer":{"type":"WhitespaceSplit"},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
"model":{"type":"WordLevel","unk_token":"?","vocab":{"<s>":0,"?":1,"or":2,"not":3,"to":4,"be":5}}}' >"$tmp/work/words/tokenizer.json"
cd "$root" || exit 1
mkdir "$tmp/path" && ln -s "$exe" "$tmp/path/efficientai-toolkit"
awk -v to="$tmp/readme-" '/^```sh$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside { print > (to n ".sh") }' plugins/model/README.md
n=1
while [ -f "$tmp/readme-$n.sh" ]; do
  run env PATH="$tmp/path:$PATH" sh -e -c 'cd "$1" && . "$2"' sh "$tmp/work" "$tmp/readme-$n.sh"
  expect_exit 0 "README example $n ($(head -1 "$tmp/readme-$n.sh" | cut -d' ' -f2-3)) runs"
  n=$((n + 1))
done
expect "the README has examples of each command" [ "$n" -gt 5 ]
