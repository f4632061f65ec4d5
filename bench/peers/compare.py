"""The table of bench/peers/compare.sh:  python3 compare.py FOLDER TOOLKIT SHARED

A difference in greedy ids is explained by rounding where, at the first step that differs, the better of the two candidates leads by no more than twice the largest
difference of two logits that the same file showed in both programs. (llama.cpp rounds activations to 8 bits before it multiplies quantized weights, and to
F16 before F16 weights; we do not.) The column "alike": tensors whose bytes are the same in our file and in theirs."""
import json, os, struct, subprocess, sys

folder, toolkit, shared = sys.argv[1:4]
TYPES = 'f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl q6_k q5_k_m q5_k_s q4_k_m q4_k_s q3_k_l q3_k_m q3_k_s q2_k'.split()
PROMPTS, PROMPT, NEW, WINDOW, TEXT = 4, 16, 24, 128, 4096
FILES = os.path.join(folder, 'files')
os.makedirs(FILES, exist_ok=True)
bad = []


def run(words):
    p = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit('%s\n%s' % (' '.join(str(w) for w in words), p.stderr))
    return p.stdout


def driver(name, *words):
    return json.loads(run([os.path.join(folder, name), *words]))


def logits(path):
    with open(path, 'rb') as f:
        data = f.read()
    return struct.unpack('<%df' % (len(data) // 4), data)


def tensors(path):
    """{name: (type, stored bytes)} of a GGUF file; bytes up to the next tensor's, so with padding."""
    with open(path, 'rb') as f:
        data = f.read()
    at = 24
    count, keys = struct.unpack('<QQ', data[8:24])
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def text():
        nonlocal at
        n, = struct.unpack_from('<Q', data, at)
        at += 8 + n
        return data[at - n:at].decode()

    def value(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, n = struct.unpack_from('<IQ', data, at)
            at += 12
            for _ in range(n):
                value(inner)
        else:
            at += sizes[kind]

    for _ in range(keys):
        text()
        kind, = struct.unpack_from('<I', data, at)
        at += 4
        value(kind)
    found = []
    for _ in range(count):
        name = text()
        rank, = struct.unpack_from('<I', data, at)
        at += 4 + 8 * rank
        kind, offset = struct.unpack_from('<IQ', data, at)
        at += 12
        found.append((offset, name, kind))
    begin = (at + 31) // 32 * 32
    found.sort()
    ends = [f[0] for f in found[1:]] + [len(data) - begin]
    return {name: (kind, data[begin + offset:begin + end].rstrip(b'\0')) for (offset, name, kind), end in zip(found, ends)}


def newer(path, source):
    return os.path.exists(path) and os.path.getmtime(path) >= os.path.getmtime(source)


def greedy(what, words, prompts, count):
    """The same prompts in both: (prompts alike, prompts that differ by rounding alone, the largest difference of a logit)."""
    runs, gap = [], 0
    for ids in prompts:
        both = []
        for name in ('ours', 'llama'):
            out = os.path.join(FILES, name + '.logits')
            both.append((driver(name, *words, count, *ids, '--logits', out), logits(out)))
        gap = max(gap, max(abs(a - b) for a, b in zip(both[0][1], both[1][1])))
        runs.append((ids, both[0][0], both[1][0]))
    alike = rounded = 0
    for ids, a, b in runs:
        at = next((i for i in range(count) if a['ids'][i] != b['ids'][i]), None)
        if at is None:
            alike += 1
        elif max(a['margins'][at], b['margins'][at]) <= 2 * gap:
            rounded += 1
        else:
            bad.append('%s: ids differ at step %d, margins %g and %g, logits differ by %g' % (what, at, a['margins'][at], b['margins'][at], gap))
    return alike, rounded, gap


def ids_of_text(model):
    path = os.path.join(folder, 'text.ids')
    if not newer(path, os.path.join(model, 'tokenizer.json')):
        text = os.path.join(shared, 'data/tinystories/mini_gpt_tinystories.txt')
        out = json.loads(run([toolkit, 'model:tokenize', model, '--file', text, '--json']))
        ids = out.get('ids') or out['results']['ids']
        ids = json.loads(ids) if isinstance(ids, str) else ids
        with open(path, 'w') as f:
            f.write(' '.join(str(i) for i in ids[:TEXT]))
    with open(path) as f:
        return path, f.read().split()


def said(greedy_result):
    alike, rounded, gap = greedy_result
    total = alike + rounded
    return '%d of %d%s' % (alike, PROMPTS, ', rest ties' if rounded and total == PROMPTS else '' if total == PROMPTS else ' DIFFER'), '%.1e' % gap


def quantized(model):
    ids_path, ids = ids_of_text(model)
    prompts = [ids[i * 997:i * 997 + PROMPT] for i in range(PROMPTS)]
    source = os.path.join(model, 'model.safetensors')
    f32 = os.path.join(FILES, 'ours-f32.gguf')
    print('%-7s %9s  %-20s %8s  %-20s %8s  %10s %10s  %10s %10s  %9s' % ('type', 'alike', 'greedy, our file', 'logits', 'greedy, their file', 'logits', 'ours: here', 'llama.cpp',
                                                                      'theirs', 'llama.cpp', 'ours vs'))
    for kind in TYPES:
        ours, theirs = os.path.join(FILES, 'ours-%s.gguf' % kind), os.path.join(FILES, 'theirs-%s.gguf' % kind)
        if not newer(ours, source):
            run([toolkit, 'model:convert', model, ours, '--type', kind, '--force'])
        if not newer(theirs, f32):
            driver('llama', 'quantize', f32, theirs, kind)
        perplexity = {(file, name): driver(name, 'perplexity', path, ids_path, WINDOW)['perplexity'] for file, path in (('ours', ours), ('theirs', theirs)) for name in ('ours', 'llama')}
        excess = perplexity['ours', 'ours'] / perplexity['theirs', 'ours'] - 1
        if kind == 'q4_k_m' and abs(excess) > 0.005:
            bad.append('q4_k_m: our perplexity is %.2f %% off theirs' % (100 * excess))
        a, b = tensors(ours), tensors(theirs)
        if {n: t[0] for n, t in a.items()} != {n: t[0] for n, t in b.items()}:
            bad.append('%s: types or names of tensors differ' % kind)
        print('%-7s %9s  %-20s %8s  %-20s %8s  %10.4f %10.4f  %10.4f %10.4f  %+8.3f%%' % (
            kind, '%d/%d' % (sum(b.get(n) == t for n, t in a.items()), len(a)), *said(greedy(kind + ', our file', ('greedy', ours), prompts, NEW)), *said(greedy(kind + ', their file', ('greedy', theirs), prompts, NEW)),
            perplexity['ours', 'ours'], perplexity['ours', 'llama'], perplexity['theirs', 'ours'], perplexity['theirs', 'llama'], 100 * excess), flush=True)


def architectures():
    print('\n%-20s %-10s %8s' % ('architecture, F32', 'greedy ids', 'logits'))
    root = os.path.join(shared, 'goldens/models')
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        with open(os.path.join(root, name, 'reference.json')) as f:
            reference = json.load(f)
        path = os.path.join(FILES, name + '.gguf')
        run([toolkit, 'model:convert', os.path.join(root, name), path, '--type', 'f32', '--force'])
        alike, rounded, gap = greedy(name, ('greedy', path), [reference['ids']], 12)
        print('%-20s %-10s %8.1e' % (name, 'alike' if alike else 'ties' if rounded else 'DIFFER', gap), flush=True)


def adapters():
    print('\n%-20s %-10s %8s' % ('adapter', 'greedy ids', 'logits'))
    root = os.path.join(shared, 'goldens/lora')
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        peft = os.path.join(root, name, 'final')
        if name == 'dora' or not os.path.isdir(peft):
            continue
        with open(os.path.join(root, name, 'training.json')) as f:
            base = json.load(f)['base'].split('/')[-1]
        path, model = os.path.join(FILES, name + '-adapter.gguf'), os.path.join(FILES, base + '.gguf')
        driver('ours', 'adapter', peft, path, 'gguf', os.path.join(shared, 'goldens/models', base))
        alike, rounded, gap = greedy('adapter ' + name, ('lora', model, path), [[1, 7, 300, 12, 12, 99, 43]], 12)
        print('%-20s %-10s %8.1e' % (name, 'alike' if alike else 'ties' if rounded else 'DIFFER', gap), flush=True)


quantized(os.path.join(folder, 'small'))
architectures()
adapters()
for line in bad:
    print(line)
sys.exit(4 if bad else 0)
