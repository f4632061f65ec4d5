"""An independent reader of the vocabularies in ../shared/tokenizers/gguf-vocab; writes tests/goldens/gguf.json:  python3 tests/goldens/gguf.py
Each key: its type, the item type and count of an array, and SHA-256 of its items as text (numbers through repr, strings with their length), so that the C test can compare
every item without the files being committed."""
import glob, hashlib, json, os, struct

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, '../../../shared/tokenizers/gguf-vocab')
KINDS = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64', 'f64']
CODES = {'u8': 'B', 'i8': 'b', 'u16': 'H', 'i16': 'h', 'u32': 'I', 'i32': 'i', 'f32': 'I', 'bool': '?', 'u64': 'Q', 'i64': 'q', 'f64': 'Q'}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        value, = struct.unpack_from('<' + code, self.data, self.at)
        self.at += struct.calcsize('<' + code)
        return value

    def text(self):
        size = self.take('Q')
        self.at += size
        return self.data[self.at - size:self.at]

    def item(self, kind):  # floats as their bits
        if kind == 'string':
            text = self.text()
            return b'%d:' % len(text) + text
        return b'%d' % self.take(CODES[kind])


out = {}
for path in sorted(glob.glob(os.path.join(folder, '*.gguf'))):
    r = Reader(open(path, 'rb').read())
    assert r.data[:4] == b'GGUF'
    r.at = 4
    version, tensors, keys = r.take('I'), r.take('Q'), r.take('Q')
    rows = []
    for _ in range(keys):
        name, kind = r.text().decode(), KINDS[r.take('I')]
        item, count = kind, 1
        if kind == 'array':
            item, count = KINDS[r.take('I')], r.take('Q')
        digest = hashlib.sha256()
        for _ in range(count):
            digest.update(r.item(item) + b'\n')
        rows.append([name, kind, item, count, digest.hexdigest()])
    out[os.path.basename(path)] = {'version': version, 'tensors': tensors, 'header': r.at, 'size': len(r.data), 'keys': rows}
with open(os.path.join(here, 'gguf.json'), 'w') as f:
    f.write('{\n' + ',\n'.join('%s: {"version": %d, "tensors": %d, "keys": [\n%s]}' % (json.dumps(n), d['version'], d['tensors'], ',\n'.join('  ' + json.dumps(k) for k in d['keys']))
                               for n, d in out.items()) + '\n}\n')
