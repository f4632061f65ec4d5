"""Loss curves of training with float32 and with bfloat16 products, side by side:  python3 bench/curves.py --model FILE --data FOLDER [--work FOLDER] [options]

The same LoRA run (rank 8, all linear layers, AdamW) is done with both for several seeds, which choose the order of the data, the adapter's start and dropout.
Between the two of a seed only the rounding differs; what seeds differ by says how much that is worth. A run that is in the work folder already is not done again,
so that the command may be stopped and given anew. Prints a table in Markdown; --json FILE keeps every step's loss. Uses $B/bin/efficientai-toolkit (B: build)."""
import argparse, json, os, statistics, subprocess, sys

COMPUTES = ('float32', 'bfloat16')


def options():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--model', required=True, help='an F32 model: products of stored weights are rounded in the backward pass alone')
    p.add_argument('--data', required=True, help='a folder with train.jsonl and valid.jsonl')
    p.add_argument('--work', default=os.path.join(os.environ.get('B', 'build'), 'curves'))
    p.add_argument('--steps', type=int, default=300)
    p.add_argument('--window', type=int, default=50, help='steps whose mean loss is one row of the table')
    p.add_argument('--seeds', default='1,2,3')
    p.add_argument('--batch-size', type=int, default=4)
    p.add_argument('--tokens', type=int, default=128, help='of a sequence at most')
    p.add_argument('--rate', type=float, default=1e-3)
    p.add_argument('--json')
    return p.parse_args()


def metrics(state, run):
    for folder, _, files in os.walk(state):
        if os.path.basename(folder) == run and 'metrics.jsonl' in files:
            with open(os.path.join(folder, 'metrics.jsonl')) as f:
                return [m['value'] for m in map(json.loads, f) if m['name'] == 'train_loss']
    sys.exit('curves: run %s left no metrics' % run)


def train(o, compute, seed):
    """Losses of the steps and the validation loss: what is kept of this very run, or a new one."""
    settings = {'model': os.path.abspath(o.model), 'data': os.path.abspath(o.data), 'iters': o.steps, 'batch-size': o.batch_size, 'max-seq-length': o.tokens, 'lr': o.rate,
                'rank': 8, 'target-modules': 'all-linear', 'seed': seed, 'compute': compute}
    name = os.path.join(o.work, '%s-%d' % (compute, seed))
    if os.path.exists(name + '.json'):
        with open(name + '.json') as f:
            kept = json.load(f)
        if kept['settings'] == settings:
            return kept
    state, program = os.path.join(o.work, 'state'), os.path.join(os.environ.get('B', 'build'), 'bin', 'efficientai-toolkit')
    command = [program, 'lora-finetuning-mlx:train', '--json', '--force', '--output', name]
    for key, value in settings.items():
        command += ['--' + key, str(value)]
    sys.stderr.write('%s, seed %d\n' % (compute, seed))
    done = subprocess.run(command, stdout=subprocess.PIPE, env=dict(os.environ, EFFICIENTAI_STATE_DIR=state), check=False)
    if done.returncode:
        sys.exit('curves: training failed, exit %d' % done.returncode)
    told = json.loads(done.stdout)
    kept = {'settings': settings, 'losses': metrics(state, told['run']), 'validation_loss': told['results']['validation_loss']}
    with open(name + '.part', 'w') as f:
        json.dump(kept, f)
    os.replace(name + '.part', name + '.json')
    return kept


def row(title, pairs):
    """pairs: of each seed, (float32, bfloat16)"""
    plain, rounded = zip(*pairs)
    spread = max(plain) - min(plain)
    print('| %s | %.4f | %.4f | %+.1e | %.1e | %.1e |' % (title, statistics.mean(plain), statistics.mean(rounded), statistics.mean(rounded) - statistics.mean(plain),
                                                       max(abs(a - b) for a, b in pairs), spread))


def main():
    o = options()
    os.makedirs(o.work, exist_ok=True)
    seeds = [int(s) for s in o.seeds.split(',')]
    runs = {(c, s): train(o, c, s) for s in seeds for c in COMPUTES}
    print('| steps | float32 | bfloat16 | difference of the means | largest difference within a seed | float32 between seeds |\n|---|---|---|---|---|---|')
    for first in range(0, o.steps, o.window):
        last = min(first + o.window, o.steps)
        row('%d to %d' % (first + 1, last), [[statistics.mean(runs[c, s]['losses'][first:last]) for c in COMPUTES] for s in seeds])
    row('validation', [[runs[c, s]['validation_loss'] for c in COMPUTES] for s in seeds])
    if o.json:
        with open(o.json, 'w') as f:
            json.dump([runs[key] for key in sorted(runs)], f)


main()
