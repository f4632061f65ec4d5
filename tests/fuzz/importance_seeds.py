#!/usr/bin/env python3
"""Makes tests/fuzz/seeds/importance: matrices of both forms, and some that are wrong in one place."""
import os, struct
folder = os.path.join(os.path.dirname(__file__), 'seeds', 'importance')
os.makedirs(folder, exist_ok=True)
def put(name, data):
    with open(os.path.join(folder, name), 'wb') as f: f.write(data)
def entry(name, calls, values): return struct.pack('<i', len(name)) + name + struct.pack('<ii', calls, len(values)) + struct.pack('<%df' % len(values), *values)
q, d = b'blk.0.attn_q.weight', b'blk.0.ffn_down.weight'
good = struct.pack('<i', 2) + entry(q, 3, [1, 2, 3, 4]) + entry(d, 3, [0.5] * 8)
put('list', good)
put('list-tail', good + struct.pack('<ii', 7, 4) + b'text')
put('list-cut', good[:-5])
put('list-count', struct.pack('<i', 1 << 30) + good[4:])
put('list-negative', struct.pack('<i', -1) + good[4:])
put('list-name', struct.pack('<ii', 1, 1 << 30) + good[8:])
put('list-values', struct.pack('<i', 1) + struct.pack('<i', len(q)) + q + struct.pack('<ii', 1, 1 << 29))
put('list-nan', struct.pack('<i', 1) + entry(q, 1, [float('nan'), 1, 1, 1]))
put('list-twice', struct.pack('<i', 2) + entry(q, 1, [1, 1, 1, 1]) + entry(q, 1, [1, 1, 1, 1]))
put('list-no-calls', struct.pack('<i', 1) + entry(q, 0, [1, 2, 3, 4]))
put('empty', b'')
def text(t): return struct.pack('<Q', len(t)) + t
def gguf(tensors):
    table, body = b'', b''
    for name, dims, values in tensors:
        table += text(name) + struct.pack('<I', len(dims)) + b''.join(struct.pack('<Q', x) for x in dims) + struct.pack('<IQ', 0, len(body))
        packed = struct.pack('<%df' % len(values), *values)
        body += packed + b'\0' * (-len(packed) % 32)
    head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), 1) + text(b'general.type') + struct.pack('<I', 8) + text(b'imatrix') + table
    return head + b'\0' * (-len(head) % 32) + body
put('gguf', gguf([(q + b'.in_sum2', [4, 1], [2, 4, 6, 8]), (q + b'.counts', [1, 1], [2])]))
put('gguf-experts', gguf([(b'blk.0.ffn_up_exps.weight.in_sum2', [4, 2], [1] * 8), (b'blk.0.ffn_up_exps.weight.counts', [1, 2], [4, 0])]))
put('gguf-no-counts', gguf([(q + b'.in_sum2', [4, 1], [2, 4, 6, 8])]))
put('gguf-other', gguf([(q, [4, 1], [2, 4, 6, 8])]))
