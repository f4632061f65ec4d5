"""Inverse frequencies of rotary embeddings under the scalings of config.json, from the published formulas (RoPE: Su et al. 2021; linear: Chen et al.
2023; yarn: Peng et al. 2023, with its defaults and whole pairs as bounds, as transformers has it; llama3: the Llama 3.1 release, as its model card's rope_scaling block parameterises it), in exact rationals and 50-digit decimals.
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
    dict(head_dim=128, rope_theta=1000000, max_position_embeddings=32768, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)),
    dict(head_dim=64, rope_theta=10000, rope_scaling=dict(type="yarn", factor=16.0, beta_fast=24, beta_slow=2, original_max_position_embeddings=4096)),
    dict(head_dim=16, rope_theta=10000, max_position_embeddings=512, rope_scaling=dict(rope_type="yarn", factor=8.0, attention_factor=1.5)),
]


def yarn(case, plain, pair):
    s, d = case["rope_scaling"], case["head_dim"]
    context = D(s.get("original_max_position_embeddings") or case["max_position_embeddings"])
    turning = lambda times: D(d) * (context / (2 * PI * times)).ln() / (2 * D(case["rope_theta"]).ln())  # the pair that turns so many times in the context
    first = max(int(turning(D(s.get("beta_fast", 32))).to_integral_value("ROUND_FLOOR")), 0)
    last = min(int(turning(D(s.get("beta_slow", 1))).to_integral_value("ROUND_CEILING")), d - 1)
    stretch = min(D(1), max(D(0), D(pair - first) / D(last - first)))
    return plain * (1 - stretch) + plain / D(s["factor"]) * stretch


def attention_factor(s):
    return dict(attention_factor=float(s["attention_factor"] if "attention_factor" in s else 1 + D("0.1") * D(s["factor"]).ln()))


def frequency(case, pair):
    plain = D(1) / D(case["rope_theta"]) ** (D(2 * pair) / D(case["head_dim"]))
    scaling = case["rope_scaling"]
    if scaling is None:
        return plain
    if scaling.get("rope_type") == "linear":
        return plain / D(scaling["factor"])
    if scaling.get("rope_type", scaling.get("type")) == "yarn":
        return yarn(case, plain, pair)
    turns = D(scaling["original_max_position_embeddings"]) * plain / (2 * PI)  # full rotations within the original context
    low, high = D(scaling["low_freq_factor"]), D(scaling["high_freq_factor"])
    keep = min(D(1), max(D(0), (turns - low) / (high - low)))  # 1: fast pairs stay; 0: slow pairs are stretched
    return keep * plain + (1 - keep) * plain / D(scaling["factor"])


print(json.dumps([dict(case, frequencies=[float(frequency(case, i)) for i in range(case["head_dim"] // 2)], **(attention_factor(case["rope_scaling"]) if "yarn" in str(case) else {})) for case in CASES], indent=1))
