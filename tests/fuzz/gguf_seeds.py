"""Seeds of the fuzz target gguf:  python3 tests/fuzz/gguf_seeds.py"""
import os, struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds', 'gguf')
os.makedirs(here, exist_ok=True)
U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack('<Q', len(s)) + s


def key(name, kind, value):
    return text(name) + struct.pack('<I', kind) + value


def array(kind, count, items):
    return struct.pack('<IQ', kind, count) + items


def tensor(name, dims, kind, offset):
    return text(name) + struct.pack('<I%dQIQ' % len(dims), len(dims), *dims, kind, offset)


def put(name, keys=(), infos=(), data=b'', version=3, alignment=32, counts=None):
    counts = counts or (len(infos), len(keys))
    out = b'GGUF' + struct.pack('<IQQ', version, *counts) + b''.join(keys) + b''.join(infos)
    if data:
        out += bytes(-len(out) % alignment) + data
    with open(os.path.join(here, name), 'wb') as f:
        f.write(out)


scalars = [key('general.architecture', TEXT, text('llama')), key('a', U8, b'\x01'), key('b', I16, b'\x01\xff'), key('c', F32, struct.pack('<f', 1e-5)), key('d', BOOL, b'\x01'),
           key('e', U64, b'\xff' * 8), key('f', F64, struct.pack('<d', 10000.0)), key('llama.block_count', U32, struct.pack('<I', 2))]
arrays = [key('tokenizer.ggml.tokens', ARRAY, array(TEXT, 3, text('<unk>') + text('') + text('▁a'))), key('tokenizer.ggml.scores', ARRAY, array(F32, 2, bytes(8))),
          key('flags', ARRAY, array(BOOL, 2, b'\0\1')), key('nested', ARRAY, array(ARRAY, 2, array(U8, 1, b'\7') + array(ARRAY, 1, array(TEXT, 1, text('x')))))]
sizes = [(2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110), (12, 256, 144), (13, 256, 176), (14, 256, 210), (16, 256, 66), (20, 32, 18), (30, 32, 64)]
put('scalars', scalars)
put('arrays', scalars[:1] + arrays)
put('version_2', scalars[:1], version=2)
infos, data = [], b''
for number, elements, size in sizes:
    data += bytes(-len(data) % 32)
    infos.append(tensor('blk.%d.ffn_up.weight' % number, [elements], number, len(data)))
    data += bytes(range(size % 256)) + bytes(size - size % 256)
put('every_type', scalars[:1], infos, data)
put('aligned', [key('general.alignment', U32, struct.pack('<I', 64))], [tensor('a', [3, 2], 0, 0), tensor('b', [], 24, 64)], bytes(65), alignment=64)
put('split', [key('split.no', U16, b'\0\0'), key('split.count', U16, b'\2\0'), key('split.tensors.count', I32, b'\1\0\0\0')], [tensor('a', [8], 0, 0)], bytes(32))
put('overlap', [], [tensor('a', [9], 0, 0), tensor('b', [1], 0, 32)], bytes(96))
put('many_keys', scalars[:1], counts=(0, 2**63))
put('long_array', [key('a', ARRAY, array(U64, 2**61 + 1, bytes(8)))])
put('deep', [key('a', ARRAY, array(ARRAY, 1, b'') * 64)])
put('overflow', [], [tensor('a', [2**31, 2**31, 4, 1], 28, 0)])
put('swapped', version=3 << 24)
