"""Rows of training: LoRA of rank 8 on the seven linear layers, ours and PyTorch's, with the same weights, data and optimizer; QLoRA on Q4_K, ours alone."""
import glob, json, os, shutil, statistics, subprocess
from run import Row, lines

BATCHES = ((4, 128), (1, 512))
STEPS = 6


def data(b, vocabulary, rows, tokens):
    """One row of ids a line; every step sees all of them, so that the order of an epoch does not matter."""
    path = os.path.join(b.o.folder, 'ids-%d-%dx%d.jsonl' % (vocabulary, rows, tokens))
    with open(path, 'w') as f:
        for r in range(rows):
            f.write(json.dumps({'ids': [(7919 * i + 104729 * r + 13) % vocabulary for i in range(tokens + 1)]}) + '\n')
    return path


def torch_python():
    """An interpreter that has PyTorch, or None. $ETK_TORCH_PYTHON names one."""
    for name in filter(None, (os.environ.get('ETK_TORCH_PYTHON'), 'python3', '/usr/bin/python3')):
        path = shutil.which(name)
        if path and subprocess.run([path, '-c', 'import torch'], capture_output=True).returncode == 0:
            return path
    return None


def openmp_blas():
    """The folder of OpenBLAS's OpenMP build: with the pthread build its threads and PyTorch's spin against each other."""
    found = glob.glob('/usr/lib/*/openblas-openmp')
    return found[0] if found else ''


def summary(got):
    """The steps of one run as one set of figures; the first step warms up."""
    if isinstance(got, str) or not got:
        return got or 'no result'
    rest = got[1:] or got
    figures = {'tokens_per_s': statistics.median(s['tokens_per_s'] for s in rest), 'peak_bytes': max(s['peak_bytes'] for s in got), 'losses': [s['loss'] for s in got]}
    if 'planned_bytes' in got[0]:
        figures['planned_bytes'] = got[0]['planned_bytes']
    return [figures]


def losses_differ(row):
    """The largest relative difference of a step's loss between the programs of a row."""
    first = [f['losses'][0] for f in row.figures.values() if f.get('losses')]
    return max((abs(a - b) / abs(a) for a, b in zip(*first[:2])), default=None) if len(first) > 1 else None


def lora(b, shape, kind, rows, tokens, python, compute='float32'):
    """compute: ours, in a row that says so; PyTorch's side is float32 always, as it comes."""
    title = '%s %s%s %dx%d' % (shape, 'lora f32' if kind == 'hf' else 'qlora ' + kind, ', bf16 products' if compute == 'bfloat16' else '', rows, tokens)
    path, row = b.model(shape, kind), Row(title, part='train', shape=shape, type=kind, rows=rows, tokens=tokens, compute=compute)
    file = os.path.join(path, 'model.safetensors') if kind == 'hf' else path
    if b.fits(file, row):
        vocabulary = b.sizes(shape)[5]
        ids, adapter = data(b, vocabulary, rows, tokens), os.path.join(b.o.folder, shape, 'adapter-%s' % kind)
        peers = {'ours': lambda: summary(lines([b.measure, 'train', path, ids, rows, tokens, b.o.threads, STEPS, adapter, compute]))}
        if kind == 'hf' and python:
            blas = openmp_blas()
            row.facts['openblas'] = 'openmp' if blas else 'the system\'s'
            env = {'OMP_NUM_THREADS': str(b.o.threads), 'OPENBLAS_NUM_THREADS': str(b.o.threads), 'LD_LIBRARY_PATH': blas}
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lora_step.py')
            peers['pytorch'] = lambda: summary(lines([python, script, path, adapter, ids, rows, tokens, b.o.threads, STEPS], env))
        elif kind == 'hf':
            row.reasons['pytorch'] = 'no python3 with torch (sh etc/deps.sh peers, or ETK_TORCH_PYTHON)'
        row.run(peers, b.o.runs)
        row.facts['losses_differ'] = losses_differ(row)
    b.add(row)


def rows(b, shape):
    python = torch_python()
    for n, tokens in BATCHES:
        if b.sizes(shape)[6] == 'f32':
            lora(b, shape, 'hf', n, tokens, python)
            lora(b, shape, 'hf', n, tokens, python, 'bfloat16')
        elif 'q4_k' in b.o.types:
            lora(b, shape, 'q4_k', n, tokens, None)
            lora(b, shape, 'q4_k', n, tokens, None, 'bfloat16')


def cells(row):
    return [(row.title + ' tok/s', 'tokens_per_s', 1, True, 0, 0), (row.title + ' MB', 'peak_bytes', 1e-6, False, 0, 0)]
