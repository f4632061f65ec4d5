#!/usr/bin/env python3
"""Makes tests/goldens/mixes.txt: the type that llama.cpp's llama_model_quantize gives each tensor, for models of several shapes and for every mix.
   python3 tests/goldens/mixes.py EXE DRIVER     EXE: efficientai-toolkit; DRIVER: the program that `sh bench/peers/llama.sh FOLDER` builds, with $ETK_LLAMA set
The models are Hugging Face folders of zeros, brought to GGUF (F32) by EXE; the types are read from what the driver writes by the few lines below."""
import json, os, struct, subprocess, sys, tempfile

exe, driver = sys.argv[1:3]
MIXES = 'f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl q2_k q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k'.split()
TYPES = {0: 'F32', 1: 'F16', 30: 'BF16', 2: 'Q4_0', 3: 'Q4_1', 6: 'Q5_0', 7: 'Q5_1', 8: 'Q8_0', 10: 'Q2_K', 11: 'Q3_K', 12: 'Q4_K', 13: 'Q5_K', 14: 'Q6_K', 20: 'IQ4_NL'}

def tensors_of(path):
    with open(path, 'rb') as f: data = f.read(1 << 22)
    at = 8
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
    count, keys = take('Q'), take('Q')
    facts = {}
    for _ in range(keys):
        key = text()
        facts[key] = value(take('I'))
    out = {}
    for _ in range(count):
        name = text()
        dims = [take('Q') for _ in range(take('I'))]
        out[name] = (dims, TYPES[take('I')])
        take('Q')
    return facts, out

def llama(kind, layers, hidden, inner, heads, keys, tied=False, **more):
    d = hidden // heads
    config = dict(architectures=['x'], model_type=kind, vocab_size=64, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                  num_key_value_heads=keys, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=tied, hidden_act='silu', **more)
    out = {'model.embed_tokens.weight': (64, hidden), 'model.norm.weight': (hidden,)}
    if not tied: out['lm_head.weight'] = (64, hidden)
    for i in range(layers):
        p = 'model.layers.%d.' % i
        for n, s in (('input_layernorm', (hidden,)), ('post_attention_layernorm', (hidden,)), ('self_attn.q_proj', (hidden, hidden)), ('self_attn.k_proj', (keys * d, hidden)),
                     ('self_attn.v_proj', (keys * d, hidden)), ('self_attn.o_proj', (hidden, hidden))): out[p + n + '.weight'] = s
        if kind == 'qwen2':
            for n, s in (('q', hidden), ('k', keys * d), ('v', keys * d)): out[p + 'self_attn.%s_proj.bias' % n] = (s,)
        if kind == 'mixtral':
            experts = more['num_local_experts']
            out[p + 'block_sparse_moe.gate.weight'] = (experts, hidden)
            for x in range(experts):
                for n, s in (('w1', (inner, hidden)), ('w2', (hidden, inner)), ('w3', (inner, hidden))): out[p + 'block_sparse_moe.experts.%d.%s.weight' % (x, n)] = s
        else:
            for n, s in (('gate', (inner, hidden)), ('up', (inner, hidden)), ('down', (hidden, inner))): out[p + 'mlp.%s_proj.weight' % n] = s
    return config, out

def gpt2(layers, hidden, heads):
    config = dict(architectures=['x'], model_type='gpt2', vocab_size=64, n_embd=hidden, n_layer=layers, n_head=heads, n_positions=64, layer_norm_epsilon=1e-5)
    out = {'wte.weight': (64, hidden), 'wpe.weight': (64, hidden), 'ln_f.weight': (hidden,), 'ln_f.bias': (hidden,)}
    for i in range(layers):
        for n, s in (('ln_1.weight', (hidden,)), ('ln_1.bias', (hidden,)), ('ln_2.weight', (hidden,)), ('ln_2.bias', (hidden,)), ('attn.c_attn.weight', (hidden, 3 * hidden)),
                     ('attn.c_attn.bias', (3 * hidden,)), ('attn.c_proj.weight', (hidden, hidden)), ('attn.c_proj.bias', (hidden,)), ('mlp.c_fc.weight', (hidden, 4 * hidden)),
                     ('mlp.c_fc.bias', (4 * hidden,)), ('mlp.c_proj.weight', (4 * hidden, hidden)), ('mlp.c_proj.bias', (hidden,))): out['h.%d.%s' % (i, n)] = s
    return config, {'transformer.' + k: v for k, v in out.items()}

MODELS = {
    'llama': llama('llama', 16, 256, 512, 4, 4),
    'llama-gqa-tied': llama('llama', 11, 256, 256, 8, 2, tied=True),
    'llama-short-rows': llama('llama', 3, 96, 160, 4, 2),
    'llama-odd-rows': llama('llama', 2, 80, 176, 4, 4),
    'llama-70b': llama('llama', 80, 256, 256, 4, 2),
    'qwen2': llama('qwen2', 5, 256, 512, 4, 2),
    'mixtral-8': llama('mixtral', 9, 256, 256, 8, 2, num_local_experts=8, num_experts_per_tok=2),
    'mixtral-4': llama('mixtral', 8, 256, 256, 4, 4, num_local_experts=4, num_experts_per_tok=2),
    'gpt2': gpt2(12, 256, 4),
}

def write(folder, config, tensors):
    os.mkdir(folder)
    with open(folder + '/config.json', 'w') as f: json.dump(config, f)
    head, at = {}, 0
    for n, s in tensors.items():
        size = 4 * s[0] * (s[1] if len(s) > 1 else 1)
        head[n] = dict(dtype='F32', shape=list(s), data_offsets=[at, at + size])
        at += size
    text = json.dumps(head).encode()
    with open(folder + '/model.safetensors', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        f.truncate(8 + len(text) + at)

with tempfile.TemporaryDirectory() as work, open('tests/goldens/mixes.txt', 'w') as out:
    out.write('# Made by tests/goldens/mixes.py from llama.cpp v0.5.0.\n')
    for name, (config, tensors) in MODELS.items():
        folder = '%s/%s' % (work, name)
        write(folder, config, tensors)
        subprocess.run([exe, '--no-run', 'model:convert', folder, folder + '.gguf', '--type', 'f32'], check=True, stdout=subprocess.DEVNULL)
        facts, plain = tensors_of(folder + '.gguf')
        a = facts['general.architecture']
        out.write('model %s %s %d %d %d %d\n' % (name, a, facts[a + '.block_count'], facts[a + '.attention.head_count'], facts.get(a + '.attention.head_count_kv', facts[a + '.attention.head_count']),
                                                 facts.get(a + '.expert_count', 0)))
        for t, (dims, _) in plain.items(): out.write('tensor %s %s\n' % (t, ' '.join(map(str, reversed(dims)))))
        for mix in MIXES:
            done = subprocess.run([driver, 'quantize', folder + '.gguf', work + '/out.gguf', mix], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if done.returncode:
                out.write('refused %s\n' % mix)
                continue
            facts, made = tensors_of(work + '/out.gguf')
            out.write('mix %s %d %s\n' % (mix, facts['general.file_type'], ' '.join(made[t][1] for t in plain)))
        os.remove(folder + '.gguf')
