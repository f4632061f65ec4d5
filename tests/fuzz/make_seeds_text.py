"""Seeds of the fuzz targets safetensors, tokenizer and llama2c_tokenizer:  python3 tests/fuzz/make_seeds_text.py
The safetensors seeds follow the kinds of malicious files that the reference reader's own tests list."""
import json, os, struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds')


def put(target, name, data):
    folder = os.path.join(here, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'wb') as out:
        out.write(data)


def tensors(header, data=b'', size=None, pad=True):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(',', ':')).encode()
    if pad:
        text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text) if size is None else size) + text + data


def entry(dtype, shape, begin, end):
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


two = {'__metadata__': {'format': 'pt'}, 'b': entry('F32', [2], 0, 8), 'a': entry('U8', [3, 1], 8, 11)}
put('safetensors', 'good', tensors(two, bytes(range(11))))
put('safetensors', 'empty_tensors', tensors({'e': entry('F16', [0, 4], 0, 0), 's': entry('I64', [], 0, 8)}, bytes(8)))
put('safetensors', 'odd_types', tensors({'h': entry('F4', [4], 0, 2), 'q': entry('F8_E4M3', [4], 2, 6), 'z': entry('C64', [1], 6, 14)}, bytes(14)))
put('safetensors', 'header_too_large', tensors({}, size=100_000_001))
put('safetensors', 'header_beyond_file', tensors({}, size=4096))
put('safetensors', 'truncated', tensors(two, bytes(4)))
put('safetensors', 'overlap', tensors({'a': entry('F32', [1], 0, 4), 'b': entry('F32', [1], 2, 6)}, bytes(6)))
put('safetensors', 'hole', tensors({'a': entry('F32', [1], 0, 4), 'b': entry('F32', [1], 8, 12)}, bytes(12)))
put('safetensors', 'duplicate', tensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', bytes(2)))
put('safetensors', 'overflow', tensors({'a': entry('F64', [2**32, 2**31], 0, 0)}))
put('safetensors', 'polyglot_tail', tensors(two, bytes(range(11)) + b'PK\x05\x06' + bytes(18)))
put('safetensors', 'not_utf8', tensors(b'{"\xff":1}'))
put('safetensors', 'deep', tensors(b'{"a":' + b'[' * 3000))

byte_chars = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or c >= 174]
alphabet = [chr(c) for c in byte_chars] + [chr(256 + n) for n in range(68)]
merges = ['h e', 'l l', 'Ġ w', 'o r', 'he ll', 'Ġ Ġ']
byte_vocab = {t: i for i, t in enumerate(alphabet + [m.replace(' ', '') for m in merges])}
end = len(byte_vocab)
added = [{'id': end, 'content': '<s>', 'special': True, 'lstrip': True}, {'id': end + 1, 'content': 'end', 'special': False, 'single_word': True, 'normalized': True}]
split = {'type': 'Split', 'pattern': {'Regex': "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}, 'behavior': 'Isolated'}
template = {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>'}}, {'Sequence': {'id': 'A'}}], 'special_tokens': {'<s>': {'ids': [end]}}}
model = {'type': 'BPE', 'vocab': byte_vocab, 'merges': [m.split(' ') for m in merges], 'ignore_merges': True}
byte_level = {'type': 'ByteLevel', 'add_prefix_space': False, 'use_regex': False}


def tokenizer(name, tail=b'', **keys):
    put('tokenizer', name, json.dumps(keys, ensure_ascii=False, separators=(',', ':')).encode() + tail)


tokenizer('byte_level', added_tokens=added, normalizer={'type': 'NFC'}, pre_tokenizer={'type': 'Sequence', 'pretokenizers': [split, byte_level]}, post_processor=template,
          decoder={'type': 'ByteLevel'}, model=model)
tokenizer('byte_level_text', b'\0hello world e\xcc\x81 <s>', pre_tokenizer={'type': 'ByteLevel'}, decoder={'type': 'ByteLevel'}, model=model)
spm = ['<unk>', '<s>', '</s>', '<0x0A>', '<0xC3>', '<0xA9>', '▁', 'a', 'b', 'e', 't', 'h', 'he', '▁t', '▁the']
tokenizer('sentencepiece', normalizer={'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '▁'}, {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
          decoder={'type': 'Sequence', 'decoders': [{'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '}, {'type': 'ByteFallback'}, {'type': 'Fuse'},
                                                    {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]},
          model={'type': 'BPE', 'vocab': {t: i for i, t in enumerate(spm)}, 'merges': ['h e', '▁ t', '▁t he'], 'unk_token': '<unk>', 'fuse_unk': True, 'byte_fallback': True})
small = {'type': 'BPE', 'vocab': {'a': 0, 'b</w>': 1, 'ab</w>': 2, '?': 3}, 'merges': ['a b</w>'], 'end_of_word_suffix': '</w>', 'unk_token': '?'}
steps = [{'type': 'Metaspace', 'replacement': '_', 'prepend_scheme': 'first', 'split': True}, {'type': 'Digits', 'individual_digits': True}, {'type': 'Punctuation'},
         {'type': 'Split', 'pattern': {'String': 'l'}, 'behavior': 'MergedWithNext', 'invert': True}, {'type': 'Whitespace'}]
forms = [{'type': 'NFKD'}, {'type': 'StripAccents'}, {'type': 'Lowercase'}, {'type': 'Strip', 'strip_left': True, 'strip_right': True}]
tokenizer('everything', added_tokens=[{'id': 9, 'content': 'X ', 'rstrip': True, 'normalized': True}], normalizer={'type': 'Sequence', 'normalizers': forms},
          pre_tokenizer={'type': 'Sequence', 'pretokenizers': steps}, decoder={'type': 'BPEDecoder', 'suffix': '</w>'}, model=small)
tokenizer('unsupported', model={'type': 'Unigram', 'vocab': []})


def llama2c(tokens):
    body = b''.join(struct.pack('<fi', score, len(t)) + t for score, t in tokens)
    return struct.pack('<i', max(len(t) for _, t in tokens)) + body


pieces = [(0.0, b'<unk>'), (0.0, b'\n<s>\n'), (0.0, b'\n</s>\n')] + [(0.0, b'<0x%02X>' % b) for b in range(256)]
pieces += [(-1.0, b'ab'), (-2.0, b'abc'), (-2.0, b' a'), (-9.0, b' '), (-9.0, b'a'), (-9.0, b'b'), (-9.0, b'c'), (-3.0, b'  '), (-9.0, 'é'.encode())]
put('llama2c_tokenizer', 'good', struct.pack('<H', len(pieces)) + llama2c(pieces))
put('llama2c_tokenizer', 'no_size', struct.pack('<H', 0) + llama2c(pieces))
put('llama2c_tokenizer', 'truncated', struct.pack('<H', len(pieces)) + llama2c(pieces)[:-3])
put('llama2c_tokenizer', 'negative_length', struct.pack('<H', 0) + struct.pack('<ifi', 7, 0.0, -1))
put('llama2c_tokenizer', 'nan_score', struct.pack('<H', 0) + struct.pack('<ifi', 7, float('nan'), 1) + b'a')
