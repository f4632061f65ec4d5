"""Inverse frequencies of rotary embeddings under the scalings of config.json, from the published formulas (RoPE: Su et al. 2021; linear: Chen et al.
2023; llama3: the Llama 3.1 release, as its model card's rope_scaling block parameterises it), in exact rationals and 50-digit decimals.
    python3 tests/goldens/rope.py > tests/goldens/rope.json"""
import json
from decimal import Decimal as D, getcontext

getcontext().prec = 50
PI = D("3.14159265358979323846264338327950288419716939937510")
CASES = [
    dict(head_dim=8, rope_theta=10000, rope_scaling=None),
    dict(head_dim=16, rope_theta=100000, rope_scaling=dict(rope_type="linear", factor=4.0)),
    dict(head_dim=128, rope_theta=500000, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
    dict(head_dim=64, rope_theta=500000, rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
]


def frequency(case, pair):
    plain = D(1) / D(case["rope_theta"]) ** (D(2 * pair) / D(case["head_dim"]))
    scaling = case["rope_scaling"]
    if scaling is None:
        return plain
    if scaling["rope_type"] == "linear":
        return plain / D(scaling["factor"])
    turns = D(scaling["original_max_position_embeddings"]) * plain / (2 * PI)  # full rotations within the original context
    low, high = D(scaling["low_freq_factor"]), D(scaling["high_freq_factor"])
    keep = min(D(1), max(D(0), (turns - low) / (high - low)))  # 1: fast pairs stay; 0: slow pairs are stretched
    return keep * plain + (1 - keep) * plain / D(scaling["factor"])


print(json.dumps([dict(case, frequencies=[float(frequency(case, i)) for i in range(case["head_dim"] // 2)]) for case in CASES], indent=1))
