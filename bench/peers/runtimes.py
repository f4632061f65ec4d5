"""Rows beside OpenBLAS and ONNX Runtime: products of one weight in the shapes that models have, and an encoder that embeds texts, also beside PyTorch."""
import array, os, subprocess
from run import Row, lines
import train

PARTS = ('products', 'encoder')
WEIGHTS = '768x768,2048x768,768x2048,32000x768,2048x5632'  # out x in; --weights
COUNTS = (1, 4, 16, 512)  # rows of x; bench/peers/products.h has the same
KINDS = {  # of ours: what ONNX Runtime has beside it, by the words of bench/peers/ort.c; bytes of a weight; the unit whose peak counts
    'f32': ({'onnxruntime': 'f32'}, 4, 'f32'),
    'q8_0': ({'onnxrt q8': 'q8', 'onnxrt int8': 'int8'}, 34 / 32, 'int8'),
    'q4_0': ({'onnxrt q4': 'q4'}, 18 / 32, 'int8'),
}
BATCHES = ((32, 128), (1, 128))
LAYERS, HIDDEN, INNER, VOCABULARY = 6, 384, 1536, 30522  # bench/peers/encoder.py has the same
AGREE = 1e-4


def driver(b, *words, timed=False):
    """ONNX Runtime's, as a function for Row.run."""
    if not os.path.exists(os.path.join(b.o.folder, 'ort')) or not os.environ.get('ETK_ORT'):
        return lambda: 'its package cannot be had (bench/peers/ort.sh)'
    return lambda: lines([os.path.join(b.o.folder, 'ort'), *words], timed=timed)


def products(b):
    program = os.path.join(b.o.build, 'bench/peers/product')
    for kind in [k for k in KINDS if k in b.o.types]:
        for out, inside in b.o.weights:
            row, sizes = Row('%s %dx%d' % (kind, out, inside), part='products', type=kind, out=out, inside=inside), (out, inside, b.o.threads)
            peers = {'ours': lambda: lines([program, 'ours', kind, *sizes])}
            if kind == 'f32':
                peers['openblas'] = lambda: lines([program, 'openblas', kind, *sizes])
            for name, word in KINDS[kind][0].items():
                peers[name] = driver(b, 'product', word, *sizes)
            b.add(row.run(peers, b.o.runs))


def limit_of(b, row, rows):
    """What a rate in Gop/s is held against: the later of reading the weights and multiplying. As amount and limit of table.py's share."""
    _, weight_bytes, unit = KINDS[row.facts['type']]
    read, peak = b.limits.get('read'), b.limits.get(unit) or b.limits.get('f32')
    if not read or not peak:
        return 0, 0
    reading = weight_bytes / (2 * rows) / read  # seconds for each operation
    return (1e9, peak) if 1 / peak > reading else (1e9 * reading, 1)


def model(b, python):
    folder = os.path.join(b.o.folder, 'encoder')
    if not os.path.exists(os.path.join(folder, 'config.json')):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'encoder.py')
        subprocess.run([python, '-W', 'ignore', script, 'make', folder], check=True, capture_output=True)
    return folder


def differ(path, other):
    """The greatest difference of two programs' embeddings."""
    a, c = array.array('f'), array.array('f')
    for values, name in ((a, path), (c, other)):
        with open(name, 'rb') as f:
            values.frombytes(f.read())
    return max(abs(x - y) for x, y in zip(a, c)) if len(a) == len(c) else float('inf')


def encoder(b):
    python, here = train.torch_python(), os.path.dirname(os.path.abspath(__file__))
    for sequences, tokens in BATCHES:
        row = Row('encoder %dx%d' % (sequences, tokens), part='encoder', sequences=sequences, tokens=tokens)
        if not python:
            row.reasons = {p: 'no python3 with torch, which makes the model (sh etc/deps.sh peers, or ETK_TORCH_PYTHON)' for p in ('ours', 'onnxruntime', 'pytorch')}
            b.add(row)
            continue
        folder = model(b, python)
        out = {p: os.path.join(folder, p + '.f32') for p in ('ours', 'onnxruntime', 'pytorch')}
        env = {'OMP_NUM_THREADS': str(b.o.threads), 'OPENBLAS_NUM_THREADS': str(b.o.threads), 'LD_LIBRARY_PATH': train.openmp_blas()}
        row.run({'ours': lambda: lines([os.path.join(b.o.build, 'bench/peers/encoder'), folder, sequences, tokens, b.o.threads, out['ours']], timed=True),
                 'onnxruntime': driver(b, 'encoder', os.path.join(folder, 'model.onnx'), sequences, tokens, VOCABULARY, HIDDEN, b.o.threads, out['onnxruntime'], timed=True),
                 'pytorch': lambda: lines([python, os.path.join(here, 'encoder.py'), 'run', folder, sequences, tokens, b.o.threads, out['pytorch']], env, timed=True)}, b.o.runs)
        row.facts['differ'] = {p: differ(out['ours'], out[p]) for p in out if p != 'ours' and p in row.figures and 'ours' in row.figures}
        b.add(row)


def rows(b, part):
    (products if part == 'products' else encoder)(b)


def operations(tokens):
    """Of one text."""
    return tokens * 2 * LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER + 2 * tokens * HIDDEN)


def cells(b, row):
    if row.facts['part'] == 'products':
        return [('%s, %d row%s, Gop/s' % (row.title, n, '' if n == 1 else 's'), 'gops_%d' % n, 1, True, *limit_of(b, row, n)) for n in COUNTS]
    return [(row.title + ' texts/s', 'sentences_per_s', 1, True, operations(row.facts['tokens']), b.limits.get('f32')), (row.title + ' memory, MB', 'peak_bytes', 1e-6, False, 0, 0),
            (row.title + ' first, ms', 'ready_ms', 1, False, 0, 0)]


def remarks(row, key, peer):
    """Beside quantized products: how far the results are from those of the plain weights. Beside an encoder: from each other."""
    if key == 'gops_512' and row.facts['type'] != 'f32' and row.median('ours', 'error') and row.median(peer, 'error'):
        return ['errors %.1e and %.1e' % (row.median('ours', 'error'), row.median(peer, 'error'))]
    apart = row.facts.get('differ', {}).get(peer)
    return [] if key != 'sentences_per_s' or apart is None else ['differ by %.1e%s' % (apart, '' if apart <= AGREE else ': TOO FAR')]
