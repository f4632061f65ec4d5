"""Seeds of the llama2.c fuzz target: a valid tiny checkpoint with a tied and one with its own head, one with infinities, and damaged ones.
    python3 tests/goldens/llama2c_seeds.py tests/fuzz/seeds/llama2c"""
import struct, sys


def checkpoint(dim=8, hidden=12, layers=1, heads=2, kv_heads=1, vocab=6, context=4, tied=True, fill=0.125):
    size = dim // heads
    floats = vocab * dim + layers * (2 * dim + 2 * dim * dim + 2 * kv_heads * size * dim + 3 * hidden * dim) + dim + context * size + (0 if tied else vocab * dim)
    values = [fill * ((i * 37) % 17 - 8) / 8 for i in range(floats)]
    return struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocab if tied else -vocab, context) + struct.pack(f"<{floats}f", *values)


good = checkpoint()
seeds = {
    "tied.bin": good,
    "untied.bin": checkpoint(tied=False, heads=4, kv_heads=2, layers=2),
    "infinite.bin": checkpoint(fill=float("inf")),
    "cut.bin": good[:-3],
    "header.bin": good[:28],
    "short.bin": good[:11],
    "long.bin": good + b"\0",
    "heads.bin": struct.pack("<7i", 8, 12, 1, 3, 1, 6, 4) + good[28:],
    "huge.bin": struct.pack("<7i", 1 << 24, 1 << 24, 1 << 24, 1 << 23, 1 << 23, 1 << 24, 1 << 24),
    "negative.bin": struct.pack("<7i", 8, -12, 1, 2, 1, -(1 << 31), 4) + good[28:],
}
for name, data in seeds.items():
    open(f"{sys.argv[1]}/{name}", "wb").write(data)
