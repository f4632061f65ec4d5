"""Runs programs by turns and keeps every figure. Used by table.py.

Children run in a session of their own with the highest priority that is permitted (autogroup and nice): on a machine where others work, a program whose threads
wait for each other by spinning loses far more than its share of time, and the comparison would be of luck. The figures of a run that fails are its reason."""
import json, os, statistics, subprocess, time


def first_in_line():
    os.setsid()
    for raise_priority in (lambda: open('/proc/self/autogroup', 'w').write('-20'), lambda: os.nice(-20)):
        try:
            raise_priority()
        except OSError:
            pass


def environment(more=None):
    env = {k: v for k, v in os.environ.items() if k not in ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE', 'OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS')}
    env.update(more or {})
    return env


def lines(words, more=None, timed=False, limit=1800):
    """The JSON lines that a program prints, or a text: why there are none. timed: told when it was started."""
    words = [str(w) for w in words]
    try:
        if timed:
            words += ['--since', str(time.monotonic_ns())]
        p = subprocess.run(words, capture_output=True, text=True, env=environment(more), preexec_fn=first_in_line, timeout=limit)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    if p.returncode:
        return (p.stderr.strip().splitlines() or ['exit code %d' % p.returncode])[-1]
    return [json.loads(line) for line in p.stdout.splitlines() if line.startswith('{')]


def cold(path):
    """Drops a file from the cache, as far as nobody maps it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def memory_free():
    try:
        with open('/proc/meminfo') as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith('MemAvailable:'))
    except (OSError, StopIteration):
        return None


class Row:
    """One line of the table: what several programs did by turns. figures[peer][name] is a list, one for each run; reasons[peer] says why there is none."""

    def __init__(self, title, **facts):
        self.title, self.facts, self.figures, self.reasons, self.runs = title, facts, {}, {}, []

    def run(self, peers, rounds, before=None):
        """peers: {name: function() -> list of dicts, or a text}. The order turns from round to round."""
        names = list(peers)
        for r in range(rounds):
            for name in names[r % len(names):] + names[:r % len(names)]:
                if name in self.reasons:
                    continue
                if before:
                    before()
                got = peers[name]()
                if isinstance(got, str) or not got:
                    self.reasons[name] = got or 'no result'
                    continue
                for figures in got:
                    self.runs.append({'peer': name, 'round': r, 'load': os.getloadavg()[0], **figures})
                    for key, value in figures.items():
                        self.figures.setdefault(name, {}).setdefault(key, []).append(value)
        return self

    def median(self, peer, key):
        values = self.figures.get(peer, {}).get(key)
        return statistics.median(values) if values else None

    def spread(self, peer, key):
        """Half the distance between the quartiles, over the median."""
        values = sorted(self.figures.get(peer, {}).get(key, []))
        if len(values) < 2:
            return None
        low, _, high = statistics.quantiles(values, n=4, method='inclusive')
        return (high - low) / 2 / statistics.median(values)

    def ratio(self, peer, other, key, faster=True):
        """How many times better `peer` was: the median over rounds of the two figures of one round."""
        a, b = self.figures.get(peer, {}).get(key, []), self.figures.get(other, {}).get(key, [])
        pairs = [(x / y if faster else y / x) for x, y in zip(a, b) if x and y]
        return statistics.median(pairs) if pairs else None

    def document(self):
        return {'title': self.title, **self.facts, 'reasons': self.reasons, 'runs': self.runs}
