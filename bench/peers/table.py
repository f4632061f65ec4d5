"""The table of `make bench-peers`:  python3 table.py FOLDER BUILD [--shapes 110m,1.1b] [--types …] [--parts …] [--weights 768x768] [--runs 5] [--prompt 512] [--gen 64] [--threads 2] [--limits-ms 200] [--json FILE]

FOLDER holds the models (made where they are missing) and llama.cpp's driver; bench/README.md defines every column."""
import argparse, json, os, platform, shlex, subprocess, sys, time
from run import Row, cold, environment, first_in_line, lines, memory_free
import runtimes
import train

SHAPES = {  # layers, hidden, heads, key-value heads, intermediate, vocabulary, type of the folder
    '110m': (12, 768, 12, 12, 2048, 32000, 'f32'),
    '1.1b': (22, 2048, 32, 4, 5632, 32000, 'bf16'),
    'tiny': (2, 256, 4, 2, 512, 512, 'f32'),
}
TYPES = 'f32 f16 bf16 q8_0 q4_0 q4_k'.split()
PARTS = 'speed first batch train'.split() + list(runtimes.PARTS)
UNIT = {'f32': 'f32', 'f16': 'bf16', 'bf16': 'bf16'}  # whose peak a prompt is held against; other types: int8
FIRST_PROMPT, BATCH_PROMPT, BATCH_STEPS = 16, 64, 16


class Bench:
    def __init__(self, options):
        self.o, self.rows = options, []
        self.driver = os.path.join(options.folder, 'llama')
        self.measure = os.path.join(options.build, 'bench/peers/measure')
        self.limits = {}
        self.others = others()

    def model(self, shape, kind):
        """The path of a model, made where it is missing."""
        folder = os.path.join(self.o.folder, shape)
        hf = os.path.join(folder, 'hf')
        if not os.path.exists(os.path.join(hf, 'config.json')):
            say('making %s' % hf)
            subprocess.run([os.path.join(self.o.build, 'bench/peers/random_model'), hf, *map(str, SHAPES[shape])], check=True)
        path = hf if kind == 'hf' else os.path.join(folder, kind + '.gguf')
        if not os.path.exists(path):
            say('making %s' % path)
            subprocess.run([os.path.join(self.o.build, 'bin/efficientai-toolkit'), '--no-run', '--quiet', 'model:convert', hf, path, '--type', kind], check=True, stdout=subprocess.DEVNULL)
        return path

    def sizes(self, shape):
        return SHAPES[shape]

    def peers(self, *words, timed=True):
        """The same words for our program and for llama.cpp's driver; --compute is ours."""
        ours = [self.measure, *words] + (['--compute', self.o.compute] if timed and self.o.compute != 'float32' else [])
        there = os.path.exists(self.driver) and os.environ.get('ETK_LLAMA')
        return {'ours': lambda: lines(ours, timed=timed),
                'llama.cpp': (lambda: lines([self.driver, *words], timed=timed)) if there else (lambda: 'its package cannot be had (bench/peers/llama.sh)')}

    def fits(self, path, row):
        """Whether twice the file and a gigabyte are free; a row that does not fit says so."""
        free, need = memory_free(), 2 * os.path.getsize(path) + (1 << 30)
        if free is not None and free < need:
            row.reasons = {p: 'too little memory: %.1f GB wanted, %.1f GB free' % (need / 1e9, free / 1e9) for p in ('ours', 'llama.cpp')}
        return not row.reasons

    def add(self, row):
        self.rows.append(row)
        show(self, row)
        return row

    def speed(self, shape, kind):
        path, row = self.model(shape, kind), Row('%s %s' % (shape, kind), part='speed', shape=shape, type=kind)
        if self.fits(path, row):
            work = lines([self.measure, 'work', path, self.o.prompt])
            row.facts['work'] = work[0] if isinstance(work, list) else None
            row.facts['unit'] = 'bf16' if kind == 'f32' and self.o.compute == 'bfloat16' else UNIT.get(kind, 'int8')
            peers = self.peers('bench', path, self.o.prompt, self.o.gen, self.o.threads, 1)
            for name, words in self.others.items():
                peers[name] = lambda words=words: other_bench(words, path, self.o)
            row.run(peers, self.o.runs)
        self.add(row)

    def batch(self, shape, kind):
        for sequences in (1, 4, 16, 64):
            path = self.model(shape, kind)
            row = Row('%s %s x%d' % (shape, kind, sequences), part='batch', shape=shape, type=kind, sequences=sequences)
            if self.fits(path, row):
                row.run(self.peers('batch', path, BATCH_PROMPT, BATCH_STEPS, self.o.threads, sequences, 1, timed=False), self.o.runs)
            self.add(row)

    def first(self, shape, kind):
        path = self.model(shape, kind)
        for state in ('cold', 'warm'):
            row = Row('%s %s %s' % (shape, kind, state), part='first', shape=shape, type=kind, cache=state)
            if self.fits(path, row):
                row.run(self.peers('first', path, FIRST_PROMPT, self.o.threads), self.o.runs, before=(lambda: cold(path)) if state == 'cold' else (lambda: warm(path)))
            self.add(row)


def warm(path):
    with open(path, 'rb') as f:
        while f.read(1 << 24):
            pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def others():
    """$ETK_BENCH_PEERS: "name=binary options;…", programs that take llama-bench's options and print its JSON."""
    found = {}
    for entry in filter(None, os.environ.get('ETK_BENCH_PEERS', '').split(';')):
        name, _, words = entry.partition('=')
        found[name.strip()] = shlex.split(words)
    return found


def other_bench(words, path, o):
    """llama-bench has `-d` (decode at a depth) or, in older builds and forks, `-gp prompt,gen`; without either it decodes from an empty cache."""
    env = environment({'LD_LIBRARY_PATH': os.path.dirname(words[0])})
    try:
        usage = subprocess.run([words[0], '--help'], capture_output=True, text=True, env=env)
    except OSError as e:
        return str(e)
    usage = usage.stdout + usage.stderr
    decode = ['-p', 0, '-n', o.gen, '-d', o.prompt] if '--n-depth' in usage else ['-p', 0, '-n', 0, '-gp', '%d,%d' % (o.prompt, o.gen)] if '-gp' in usage else ['-p', 0, '-n', o.gen]
    figures = {}
    for key, what in (('prompt_tokens_per_s', ['-p', o.prompt, '-n', 0]), ('decode_tokens_per_s', decode)):
        command = [str(w) for w in [words[0], '-m', path, '-t', o.threads, '-r', 1, '-o', 'json', *what, *words[1:]]]
        p = subprocess.run(command, capture_output=True, text=True, env=env, preexec_fn=first_in_line)
        try:
            tests = json.loads(p.stdout[p.stdout.index('['):])
            figures[key] = float(tests[-1]['avg_ts'])
        except (ValueError, KeyError, IndexError):
            return (p.stderr.strip().splitlines() or ['no JSON'])[-1]
    return [figures]


# ---- what is printed ----
def figure(value, digits=0):
    return '-' if value is None else '%.*f' % (digits if value < 1000 else 0, value) if digits else ('%.1f' if value < 100 else '%.0f') % value


def with_spread(row, peer, key, scale=1):
    value, spread = row.median(peer, key), row.spread(peer, key)
    return '-' if value is None else figure(value * scale) + ('' if spread is None else ' ±%.0f%%' % (100 * spread))


def share(row, peer, key, amount, limit):
    """Of what the machine reaches: amount of work a unit of the figure, over the limit."""
    value = row.median(peer, key)
    return '-' if not value or not amount or not limit else '%.0f%%' % (100 * value * amount / limit)


def times(value):
    return '-' if value is None else '%.2fx' % value


def cells_of_speed(b, row):
    w, l = row.facts.get('work') or {}, b.limits
    per_prompt, per_token = w.get('prompt_operations', 0) / b.o.prompt, w.get('token_bytes', 0)
    return [
        (row.title + ' prompt', 'prompt_tokens_per_s', 1, True, per_prompt, l.get(row.facts.get('unit')) or l.get('f32')),
        (row.title + ' decode', 'decode_tokens_per_s', 1, True, per_token, l.get('read')),
    ]


def cells_of(b, row):
    part = row.facts['part']
    if part == 'speed':
        return cells_of_speed(b, row) + [(row.title + ' memory, MB', 'peak_bytes', 1e-6, False, 0, 0)]
    if part == 'limits':
        return []
    if part == 'batch':
        return [(row.title + ' decode', 'decode_tokens_per_s', 1, True, 0, 0)]
    if part == 'first':
        return [(row.title + ' first token, ms', 'first_token_ms', 1, False, 0, 0)]
    return train.cells(row) if part == 'train' else runtimes.cells(b, row)


def remarks_of(row, key, peer):
    """Beside memory: what was planned; beside training: how far the losses of the two programs are apart."""
    if row.facts['part'] in runtimes.PARTS:
        return runtimes.remarks(row, key, peer)
    planned, peak, differ = row.median('ours', 'planned_bytes'), row.median('ours', 'peak_bytes'), row.facts.get('losses_differ')
    if key == 'peak_bytes' and planned and peak:
        return ['planned %.0f MB, %+.0f%%' % (planned / 1e6, 100 * (peak / planned - 1))]
    return ['losses differ by %.1e' % differ] if key == 'tokens_per_s' and differ is not None else []


def show(b, row):
    for title, key, scale, faster, amount, limit in cells_of(b, row):
        rest = [p for p in row.figures if p != 'ours'] + [p for p in row.reasons if p != 'ours' and p not in row.figures]
        for peer in rest or ['-']:
            ratio = row.ratio('ours', peer, key, faster)
            remarks = ['%s: %s' % (n, r[:80]) for n, r in row.reasons.items() if n in ('ours', peer)] + remarks_of(row, key, peer)
            print('%-30s %14s  %-10s %14s  %7s  %6s %6s  %s' % (
                title, with_spread(row, 'ours', key, scale), peer, with_spread(row, peer, key, scale), times(ratio), share(row, 'ours', key, amount, limit),
                share(row, peer, key, amount, limit), '; '.join(remarks)), flush=True)


def measure_limits(b):
    got = lines([os.path.join(b.o.build, 'bench/limits'), b.o.threads, b.o.limits_ms])
    if isinstance(got, str):
        return say('limits: ' + got)
    row = Row('limits', part='limits')
    row.runs = got
    b.rows.append(row)
    for r in got:
        if r['threads'] == b.o.threads:
            b.limits[r['limit']] = max(b.limits.get(r['limit'], 0), r['per_s'])
    for r in got:
        print('limit: %-6s %d thread%s %s %8.1f %s' % (r['limit'], r['threads'], ' ' if r['threads'] == 1 else 's', '%d streams%s' % (r['streams'], ', ahead' if r.get('ahead') else '       ') if 'streams' in r else ' ' * 16, r['per_s'] / 1e9, 'GB/s' if r['limit'] == 'read' else 'Gop/s'))


def parse():
    p = argparse.ArgumentParser()
    p.add_argument('folder')
    p.add_argument('build')
    for name, default in (('shapes', '110m,1.1b'), ('types', ','.join(TYPES)), ('parts', ','.join(PARTS)), ('weights', runtimes.WEIGHTS), ('json', '')):
        p.add_argument('--' + name, default=default)
    for name, default in (('runs', 5), ('prompt', 512), ('gen', 64), ('threads', min(2, os.cpu_count() or 1)), ('limits-ms', 200)):
        p.add_argument('--' + name, type=int, default=default)
    p.add_argument('--compute', default='float32', choices=('float32', 'bfloat16'))
    o = p.parse_args()
    o.shapes, o.types, o.parts = (list(filter(None, x.split(','))) for x in (o.shapes, o.types, o.parts))
    o.build = os.path.abspath(o.build)
    o.weights = [tuple(map(int, x.split('x'))) for x in o.weights.split(',')]
    unknown = [x for x in o.shapes if x not in SHAPES] + [x for x in o.parts if x not in PARTS]
    return p.error('unknown: ' + ', '.join(unknown)) if unknown else o


def main():
    b = Bench(parse())
    o = b.o
    measure_limits(b)
    print('%-30s %14s  %-10s %14s  %7s  %6s %6s' % ('', 'ours', 'peer', 'peer\'s', 'ratio', 'ours/', 'peer/'))
    print('%-30s %14s  %-10s %14s  %7s  %6s %6s' % ('', '', '', '', '', 'limit', 'limit'))
    for shape in o.shapes:
        for kind in o.types:
            for part in ('speed', 'first'):
                if part in o.parts:
                    getattr(b, part)(shape, kind)
        if 'batch' in o.parts:
            for kind in [t for t in ('q8_0', 'q4_k') if t in o.types]:
                b.batch(shape, kind)
        if 'train' in o.parts:
            train.rows(b, shape)
    for part in runtimes.PARTS:
        if part in o.parts:
            runtimes.rows(b, part)
    if o.json:
        with open(o.json, 'w') as f:
            json.dump({'schema_version': 1, 'unix_s': int(time.time()), 'machine': platform.processor() or platform.machine(), 'options': vars(o), 'limits': b.limits, 'rows': [r.document() for r in b.rows]}, f, indent=1)
            f.write('\n')
    ran = [r for r in b.rows if r.facts['part'] != 'limits']
    return 1 if ran and not any('ours' in r.figures for r in ran) else 0


sys.exit(main())
