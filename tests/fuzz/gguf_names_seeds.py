"""Seeds of the fuzz target gguf_names:  python3 tests/fuzz/gguf_names_seeds.py

One file an architecture, with every key that its configuration reads and one tensor of each kind that changes on its way to Hugging Face's."""
import os, struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds', 'gguf_names')
os.makedirs(here, exist_ok=True)
U32, I32, F32, BOOL, TEXT, ARRAY, F64 = 4, 5, 6, 7, 8, 9, 12
CODES = {U32: '<I', I32: '<i', F32: '<f', BOOL: '<?', F64: '<d'}


def text(s):
    return struct.pack('<Q', len(s)) + s.encode()


def item(kind, v):
    return text(v) if kind == TEXT else struct.pack(CODES[kind], v)


def value(v):
    if isinstance(v, tuple):  # (kind, items)
        return struct.pack('<IIQ', ARRAY, v[0], len(v[1])) + b''.join(item(v[0], x) for x in v[1])
    kind = {bool: BOOL, int: U32, float: F32, str: TEXT}[type(v)]
    return struct.pack('<I', kind) + item(kind, v)


def put(name, arch, keys, tensors):
    pairs = {'general.architecture': arch}
    pairs.update({k[1:] if k[0] == '!' else arch + '.' + k: v for k, v in keys.items()})
    infos, data = b'', b''
    for n, dims in tensors.items():
        values = dims if isinstance(dims, list) else None
        dims = (len(values),) if values else dims
        count = 1
        for d in dims:
            count *= d
        data += bytes(-len(data) % 32)
        infos += text(n) + struct.pack('<I%dQIQ' % len(dims), len(dims), *reversed(dims), 0, len(data))
        data += struct.pack('<%df' % count, *(values or (0.5 + 0.25 * (i % 7) for i in range(count))))
    head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(pairs)) + b''.join(text(k) + value(v) for k, v in pairs.items()) + infos
    open(os.path.join(here, name), 'wb').write(head + bytes(-len(head) % 32) + data)


def base(**more):
    keys = {'context_length': 16, 'embedding_length': 8, 'block_count': 2, 'feed_forward_length': 4, 'attention.head_count': 2, 'attention.head_count_kv': 1,
            'attention.layer_norm_rms_epsilon': 1e-5, 'rope.freq_base': 10000.0, '!tokenizer.ggml.bos_token_id': 1, '!tokenizer.ggml.eos_token_id': 2}
    keys.update({k.replace('__', '.'): v for k, v in more.items()})
    return keys


embedding = {'token_embd.weight': (5, 8), 'output_norm.weight': (8,)}
attention = {'blk.0.attn_q.weight': (8, 8), 'blk.0.attn_k.weight': (4, 8), 'blk.0.attn_q.bias': (8,), 'blk.1.attn_output.weight': (8, 8)}
put('llama', 'llama', base(rope__scaling__type='linear', rope__scaling__factor=4.0), {**embedding, **attention, 'output.weight': (5, 8)})
put('mistral', 'llama', {**base(attention__sliding_window=4), '!etk.model_type': 'mistral', '!etk.eos_token_ids': (I32, [2, 3])}, {**embedding, **attention})
put('mixtral', 'llama', base(expert_count=3, expert_used_count=2),
    {**embedding, 'blk.0.ffn_gate_inp.weight': (3, 8), 'blk.0.ffn_up_exps.weight': (3, 4, 8), 'blk.0.ffn_down_exps.weight': (3, 8, 4)})
put('experts-alone', 'llama', base(expert_count=3, expert_used_count=2), {**embedding, 'blk.1.ffn_gate.2.weight': (4, 8)})
put('llama3', 'llama', {**base(), '!etk.rope.llama3': (F64, [8.0, 1.0, 4.0, 8192.0])}, {**embedding, 'rope_freqs.weight': [1.0, 1.0]})
put('llama3-alone', 'llama', base(embedding_length=32, rope__freq_base=500000.0, rope__scaling__original_context_length=4096), {'token_embd.weight': (5, 32), 'rope_freqs.weight': [1.0] * 4 + [8.0] * 4})
put('qwen2', 'qwen2', base(attention__sliding_window=4, attention__sliding_window_pattern=(BOOL, [False, True]), rope__scaling__type='yarn', rope__scaling__factor=4.0,
                           rope__scaling__original_context_length=8, rope__scaling__attn_factor=1.5), {**embedding, **attention})
put('qwen2moe', 'qwen2moe', base(expert_count=3, expert_used_count=2, expert_feed_forward_length=4, expert_shared_feed_forward_length=6, expert_weights_norm=True),
    {**embedding, 'blk.0.ffn_gate_inp_shexp.weight': (8,), 'blk.1.ffn_down_exps.weight': (3, 8, 4), 'blk.1.ffn_up_shexp.weight': (6, 8)})
put('gemma2', 'gemma2', base(attention__sliding_window=4, attn_logit_softcapping=50.0, final_logit_softcapping=30.0, attention__scale=0.25), {**embedding, 'blk.0.post_ffw_norm.weight': (8,)})
put('gemma3', 'gemma3', base(attention__sliding_window=4, attention__sliding_window_pattern=2, rope__freq_base_swa=100.0), {**embedding, 'blk.0.attn_q_norm.weight': (4,)})
put('phi3', 'phi3', base(rope__dimension_count=2, rope__scaling__type='longrope', rope__scaling__original_context_length=8, attention__sliding_window=4),
    {**embedding, 'rope_factors_long.weight': (1,), 'rope_factors_short.weight': (1,), 'blk.0.ffn_up.weight': (8, 8)})
norm = {'attention.layer_norm_epsilon': 1e-5}
put('gpt2', 'gpt2', {**base(attention__head_count_kv=2), **norm, '!etk.activation': 'gelu'}, {**embedding, 'position_embd.weight': (16, 8), 'blk.0.attn_qkv.weight': (24, 8), 'blk.0.attn_qkv.bias': (24,)})
put('gptneox', 'gptneox', {**base(attention__head_count_kv=2, rope__dimension_count=2, use_parallel_residual=False), **norm},
    {**embedding, 'blk.0.attn_qkv.weight': (24, 8), 'blk.1.attn_qkv.bias': (24,), 'output.weight': (5, 8)})
put('stack', 'llama', base(expert_count=4, expert_used_count=2), {**embedding, 'blk.0.ffn_up_exps.weight': (3, 4, 8), 'blk.0.ffn_down_exps.weight': (12, 8)})
put('heads', 'llama', base(attention__head_count=(I32, [2, 4])), {**embedding, **attention})
