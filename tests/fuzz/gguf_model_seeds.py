"""Seeds of the fuzz target gguf_model:  python3 tests/fuzz/gguf_model_seeds.py

Whole models of one layer in several types, and each way in which keys and tensors can fail to belong together."""
import os, random, struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds', 'gguf_model')
os.makedirs(here, exist_ok=True)
U32, F32, TEXT = 4, 6, 8
VOCAB, WIDTH, INNER, HEADS, KEYS, HEAD = 8, 32, 64, 2, 1, 16
SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 20: (32, 18), 30: (1, 2)}
random.seed(4)


def text(s):
    return struct.pack('<Q', len(s)) + s.encode()


def value(v):
    if isinstance(v, str):
        return struct.pack('<I', TEXT) + text(v)
    return struct.pack('<If', F32, v) if isinstance(v, float) else struct.pack('<II', U32, v)


def data_of(kind, dims):
    count = 1
    for d in dims:
        count *= d
    if kind == 0:
        return struct.pack('<%df' % count, *(random.uniform(-1, 1) for _ in range(count)))
    if kind in (1, 30):
        return b''.join(struct.pack('<e', random.uniform(-1, 1)) if kind == 1 else struct.pack('<f', random.uniform(-1, 1))[2:] for _ in range(count))
    elements, size = SIZES[kind]
    return b''.join(struct.pack('<e', 0.02) + random.randbytes(size - 2) for _ in range(count // elements))


def put(name, keys, tensors):
    infos, data = b'', b''
    for n, (kind, dims) in tensors.items():
        data += bytes(-len(data) % 32)
        infos += text(n) + struct.pack('<I%dQIQ' % len(dims), len(dims), *reversed(dims), kind, len(data))
        data += data_of(kind, dims)
    out = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(keys)) + b''.join(text(k) + value(v) for k, v in keys.items()) + infos
    with open(os.path.join(here, name), 'wb') as f:
        f.write(out + bytes(-len(out) % 32) + data)


def llama(kind):
    keys = {'general.architecture': 'llama', 'llama.vocab_size': VOCAB, 'llama.context_length': 16, 'llama.embedding_length': WIDTH, 'llama.block_count': 1,
            'llama.feed_forward_length': INNER, 'llama.attention.head_count': HEADS, 'llama.attention.head_count_kv': KEYS, 'llama.rope.dimension_count': HEAD,
            'llama.attention.layer_norm_rms_epsilon': 1e-5, 'llama.rope.freq_base': 10000.0}
    tensors = {'token_embd.weight': (kind, (VOCAB, WIDTH)), 'output_norm.weight': (0, (WIDTH,)), 'output.weight': (kind, (VOCAB, WIDTH)), 'blk.0.attn_norm.weight': (0, (WIDTH,)),
               'blk.0.attn_q.weight': (kind, (HEADS * HEAD, WIDTH)), 'blk.0.attn_k.weight': (kind, (KEYS * HEAD, WIDTH)), 'blk.0.attn_v.weight': (kind, (KEYS * HEAD, WIDTH)),
               'blk.0.attn_output.weight': (kind, (WIDTH, HEADS * HEAD)), 'blk.0.ffn_norm.weight': (0, (WIDTH,)), 'blk.0.ffn_gate.weight': (kind, (INNER, WIDTH)),
               'blk.0.ffn_up.weight': (kind, (INNER, WIDTH)), 'blk.0.ffn_down.weight': (kind, (WIDTH, INNER))}
    return keys, tensors


def gpt2(kind):
    keys = {'general.architecture': 'gpt2', 'gpt2.context_length': 16, 'gpt2.embedding_length': WIDTH, 'gpt2.block_count': 1, 'gpt2.feed_forward_length': INNER,
            'gpt2.attention.head_count': HEADS, 'gpt2.attention.layer_norm_epsilon': 1e-5}
    tensors = {'token_embd.weight': (kind, (VOCAB, WIDTH)), 'position_embd.weight': (0, (16, WIDTH))}
    for norm in ('output_norm', 'blk.0.attn_norm', 'blk.0.ffn_norm'):
        tensors[norm + '.weight'] = tensors[norm + '.bias'] = (0, (WIDTH,))
    for n, rows, columns in (('attn_qkv', 3 * WIDTH, WIDTH), ('attn_output', WIDTH, WIDTH), ('ffn_up', INNER, WIDTH), ('ffn_down', WIDTH, INNER)):
        tensors['blk.0.%s.weight' % n] = (kind, (rows, columns))
        tensors['blk.0.%s.bias' % n] = (0, (rows,))
    return keys, tensors


for kind in SIZES:
    put('llama-%d' % kind, *llama(kind))
put('gpt2-0', *gpt2(0))
put('gpt2-8', *gpt2(8))


def changed(name, keys=(), tensors=()):
    k, t = llama(8)
    for key, v in dict(keys).items():
        k[key] = v
    for n, v in dict(tensors).items():
        if v is None:
            del t[n]
        else:
            t[n] = v
    put(name, k, t)


changed('tied', (), {'output.weight': None})
changed('no-norm', (), {'output_norm.weight': None})
changed('left-over', (), {'blk.1.ffn_up.weight': (8, (INNER, WIDTH))})
changed('narrow', (), {'blk.0.ffn_up.weight': (8, (INNER // 2, WIDTH))})
changed('norm-matrix', (), {'output_norm.weight': (0, (1, WIDTH))})
changed('heads-0', {'llama.attention.head_count': 0})
changed('heads-3', {'llama.attention.head_count': 3})
changed('blocks-2', {'llama.block_count': 2})
changed('blocks-huge', {'llama.block_count': 0xffffffff})
changed('vocabulary', {'llama.vocab_size': 9})
changed('experts', {'llama.expert_count': 2, 'llama.expert_used_count': 1})
changed('other', {'general.architecture': 'mamba'})
changed('text', {'llama.embedding_length': 'wide'})
