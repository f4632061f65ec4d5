#!/usr/bin/env python3
"""Makes tests/fuzz/seeds/prompt_cache: prompt_cache_seeds.py BUILD/tests/fuzz/prompt_cache. A whole file, which the target writes, and some that are wrong in one place."""
import json, os, struct, subprocess, sys
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds', 'prompt_cache')
os.makedirs(folder, exist_ok=True)
whole = os.path.join(folder, 'whole')
subprocess.run([sys.argv[1], __file__], env=dict(os.environ, ETK_SEED_TO=whole), check=True)
data = open(whole, 'rb').read()
size = struct.unpack('<Q', data[:8])[0]
body = data[8 + size:]
def put(name, change=None, body=body):
    header = json.loads(data[8:8 + size])
    if change: change(header)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(folder, name), 'wb') as f: f.write(struct.pack('<Q', len(text)) + text + body)
def meta(key, value):
    def change(header):
        if value is None: del header['__metadata__'][key]
        else: header['__metadata__'][key] = value
    return change
def shape(name, dims):
    def change(header): header[name]['shape'] = dims
    return change
put('format', meta('format', 'pt'))
put('version', meta('version', '2'))
put('model', meta('model', '0' * 32))
put('adapter', meta('adapter', '0' * 32))
put('factors', meta('factors', 'long'))
put('factors-none', meta('factors', None))
put('content-none', meta('content', None))
put('changed', body=body[:-1] + b'\x40')
put('tokens-shape', shape('tokens', [3, 6]))
put('keys-shape', shape('keys', [1, 128]))
put('values-shape', shape('values', [128]))
put('no-keys', lambda header: header.update({'other': header.pop('keys')}))
put('half', lambda header: header['keys'].update(dtype='F16', shape=[2, 128]))
put('one-more', lambda header: header.update({'more': {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]}}))
put('empty', lambda header: [header.pop(name) for name in ('tokens', 'keys', 'values')], b'')
at = json.loads(data[8:8 + size])['tokens']['data_offsets'][0]
put('id', body=body[:at] + struct.pack('<i', 12) + body[at + 4:])
with open(os.path.join(folder, 'cut'), 'wb') as f: f.write(data[:-9])
