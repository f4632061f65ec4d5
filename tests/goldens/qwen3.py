#!/usr/bin/python3
"""qwen3.json: log-probabilities of a two-layer Qwen 3 (Qwen team 2025, arXiv 2505.09388), from its definition, in NumPy and double precision.

Per block: RMSNorm, queries, keys and values without biases, each head's query and key RMS-normalised with a weight of head_dim, rotary positions
(pairs i, i + d/2), causal attention of grouped queries over sqrt(head_dim), residual, RMSNorm, SwiGLU, residual. No golden of transformers' has this
architecture. Weights are a formula of their number in "names" and of the element, so that no file is needed. usage: qwen3.py > qwen3.json"""
import json
import numpy as np

V, H, I, LAYERS, HEADS, GROUPS, D, THETA, EPS = 40, 24, 36, 2, 4, 2, 10, 1e6, 1e-6
IDS = [3, 17, 39, 0, 8, 8, 21, 5, 30, 12, 1]
layer = {"input_layernorm.weight": (H,), "self_attn.q_proj.weight": (HEADS * D, H), "self_attn.k_proj.weight": (GROUPS * D, H), "self_attn.v_proj.weight": (GROUPS * D, H),
         "self_attn.o_proj.weight": (H, HEADS * D), "self_attn.q_norm.weight": (D,), "self_attn.k_norm.weight": (D,), "post_attention_layernorm.weight": (H,),
         "mlp.gate_proj.weight": (I, H), "mlp.up_proj.weight": (I, H), "mlp.down_proj.weight": (H, I)}
shapes = {"model.embed_tokens.weight": (V, H), **{f"model.layers.{n}.{k}": s for n in range(LAYERS) for k, s in layer.items()}, "model.norm.weight": (H,), "lm_head.weight": (V, H)}
W = {}
for number, (name, shape) in enumerate(shapes.items()):
    i = np.arange(np.prod(shape), dtype=np.float64)
    wave = np.sin(1.7 * number + 0.9 * i + 0.013 * i * i)
    W[name] = (1 + 0.3 * wave if len(shape) == 1 else 0.35 * wave).astype(np.float32).astype(np.float64).reshape(shape)

def norm(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w

def turn(x):  # (tokens, heads, D)
    angle = np.arange(len(x))[:, None, None] * THETA ** (-np.arange(0, D, 2) / D)
    a, b = x[..., : D // 2], x[..., D // 2 :]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)

T = len(IDS)
x = W["model.embed_tokens.weight"][IDS]
for n in range(LAYERS):
    w = lambda k: W[f"model.layers.{n}.{k}.weight"]
    h = norm(x, w("input_layernorm"))
    q = turn(norm((h @ w("self_attn.q_proj").T).reshape(T, HEADS, D), w("self_attn.q_norm")))
    k = turn(norm((h @ w("self_attn.k_proj").T).reshape(T, GROUPS, D), w("self_attn.k_norm")))
    v = (h @ w("self_attn.v_proj").T).reshape(T, GROUPS, D)
    out = np.zeros((T, HEADS, D))
    for head in range(HEADS):
        g = head // (HEADS // GROUPS)
        s = q[:, head] @ k[:, g].T / np.sqrt(D)
        s[np.triu_indices(T, 1)] = -np.inf
        p = np.exp(s - s.max(-1, keepdims=True))
        out[:, head] = p / p.sum(-1, keepdims=True) @ v[:, g]
    x = x + out.reshape(T, HEADS * D) @ w("self_attn.o_proj").T
    h = norm(x, w("post_attention_layernorm"))
    gate = h @ w("mlp.gate_proj").T
    x = x + (gate / (1 + np.exp(-gate)) * (h @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
z = norm(x, W["model.norm.weight"]) @ W["lm_head.weight"].T
z = z - z.max(-1, keepdims=True)
z = z - np.log(np.exp(z).sum(-1, keepdims=True))
print(json.dumps({"config": {"model_type": "qwen3", "vocab_size": V, "hidden_size": H, "intermediate_size": I, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                             "num_key_value_heads": GROUPS, "head_dim": D, "rope_theta": THETA, "rms_norm_eps": EPS},
                  "ids": IDS, "names": list(shapes), "logprobs": [[round(v, 7) for v in row] for row in z.tolist()]}))
