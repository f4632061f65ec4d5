#!/usr/bin/python3
"""Tiny random models of the newer decoder families and of two encoders, with the outputs an independent implementation gives.
usage: models_ref.py                      writes tests/goldens/models_ref/<name>/{config.json, model.safetensors, reference.json}
       models_ref.py check [GOLDENS]      prints how far these functions stand from outputs of transformers (GOLDENS/models, GOLDENS/encoders),
                                          how far float32 stands from float64, and how much each feature of a model moves its output
Made with torch 1.13.1 on a CPU: a plain description of each network, nothing cached, greedy text computed anew for every id.
reference.json: ids, logprobs (of ids[i+1] after ids[0..i]), last_logprobs and last_logits (after the last id), greedy (12 ids that follow; the
best id leads the second by 0.01 or more each time). phi3 folders with longrope have reference-long.json (the whole sequence is longer than the
original length: long factors at every position) and reference-cross.json (greedy text grows past it: from that id on the whole sequence is
computed anew with the long factors). config-v5.json, where there is one, describes the same model in the words of transformers 5.
Weights are bfloat16 values, all arithmetic is float32: Gemma's sqrt(hidden) is not rounded to bfloat16, as transformers does for a model it
runs in that type. A window of W shows a token itself and the W - 1 before it. Conventions follow transformers 4.57."""
import json, math, os, struct, sys
sys.path.append(sys.path.pop(0))  # torch.py beside this script is not the library
import torch

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models_ref")
ABLATE = set()  # names of features switched off: only `check` uses it


# Building blocks.

def rms_norm(x, weight, eps, plus_one=False):
    y = x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
    return y * (1 + weight) if plus_one else y * weight


def layer_norm(x, W, name, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * W[name + ".weight"] + W[name + ".bias"]


def linear(x, W, name):
    y = x @ W[name + ".weight"].T
    return y + W[name + ".bias"] if name + ".bias" in W else y


def gelu_tanh(x): return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
def gelu_erf(x): return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
def quick_gelu(x): return x * torch.sigmoid(1.702 * x)
def silu(x): return x * torch.sigmoid(x)


ACTIVATIONS = {"silu": silu, "gelu": gelu_erf, "gelu_pytorch_tanh": gelu_tanh, "gelu_new": gelu_tanh, "quick_gelu": quick_gelu}


def causal(n, window=None):
    """True where query i may look at key j: j <= i, and with a window the latest `window` keys, itself among them."""
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    keep = j <= i
    return keep & (j > i - window) if window and "window" not in ABLATE else keep


def attend(q, k, v, keep, scale, cap=None):
    """q [heads, n, d], k and v [kv_heads, n, d]; query head h uses key head h // (heads / kv_heads); returns [n, heads * d]."""
    group = q.shape[0] // k.shape[0]
    out = []
    for h in range(q.shape[0]):
        s = q[h] @ k[h // group].T * scale
        if cap and "attention cap" not in ABLATE:
            s = cap * torch.tanh(s / cap)
        out.append(torch.softmax(s.masked_fill(~keep, -math.inf), -1) @ v[h // group])
    return torch.cat(out, -1)


def heads_of(x, count): return x.reshape(x.shape[0], count, -1).transpose(0, 1)


# Rotary positions.

def rope_frequencies(theta, dim, scaling, config, n):
    """Radians per position of dim / 2 pairs, and the factor on cosine and sine."""
    freq = theta ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if "rope scaling" in ABLATE or kind == "default":
        return freq, 1.0
    if kind == "linear":
        return freq / scaling["factor"], 1.0
    if kind == "llama3":
        # Wavelengths below original / high are left alone, those above original / low are stretched, those between are blended.
        original, low, high = scaling["original_max_position_embeddings"], scaling["low_freq_factor"], scaling["high_freq_factor"]
        turns = original * freq / (2 * math.pi)
        blend = ((turns - low) / (high - low)).clamp(0, 1)
        return blend * freq + (1 - blend) * freq / scaling["factor"], 1.0
    if kind == "yarn":
        # Pairs that turn more than beta_fast times over the original length keep their frequency, those under beta_slow are divided by the factor.
        original = scaling.get("original_max_position_embeddings") or config["max_position_embeddings"]
        def pair_turning(times): return dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))
        first = max(math.floor(pair_turning(scaling.get("beta_fast") or 32)), 0)
        last = min(math.ceil(pair_turning(scaling.get("beta_slow") or 1)), dim - 1)
        stretch = ((torch.arange(dim // 2, dtype=torch.float32) - first) / ((last - first) or 0.001)).clamp(0, 1)
        factor = scaling.get("attention_factor") or 0.1 * math.log(scaling["factor"]) + 1
        return freq * (1 - stretch) + freq / scaling["factor"] * stretch, 1.0 if "attention factor" in ABLATE else factor
    if kind in ("longrope", "su"):
        original = config["original_max_position_embeddings"]
        longer = n > original and "long factors" not in ABLATE
        by = torch.tensor(scaling["long_factor"] if longer else scaling["short_factor"], dtype=torch.float32)
        if "partial" in ABLATE: by = by.repeat(2)
        ratio = config["max_position_embeddings"] / original
        factor = scaling.get("attention_factor") or (math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0)
        return freq / by, 1.0 if "attention factor" in ABLATE else factor
    raise SystemExit(f"rope type {kind} is not described here")


def rope(x, frequencies):
    """Rotates pairs (i, i + r / 2) of the first r values of each head, r = 2 * len(frequencies); the rest of the head passes as it is."""
    freq, factor = frequencies
    angle = torch.arange(x.shape[1], dtype=torch.float32)[:, None] * freq
    cos, sin, half = (angle.cos() * factor).to(x.dtype), (angle.sin() * factor).to(x.dtype), len(freq)
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


# Decoders.

def project(x, W, p, c, dim):
    return heads_of(linear(x, W, p + "q_proj"), c["num_attention_heads"]), heads_of(linear(x, W, p + "k_proj"), c["num_key_value_heads"]), \
        heads_of(linear(x, W, p + "v_proj"), c["num_key_value_heads"])


def gated(x, W, p, act): return linear(act(linear(x, W, p + "gate_proj")) * linear(x, W, p + "up_proj"), W, p + "down_proj")
def head_dim(c): return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
def output(x, W): return x @ W.get("lm_head.weight", W["model.embed_tokens.weight"]).T


def llama(c, W, ids):
    """llama, mistral (every layer windowed), qwen2 (windowed from layer max_window_layers on), qwen3 (RMSNorm of each query and key head)."""
    eps, dim, n = c["rms_norm_eps"], head_dim(c), len(ids)
    freq = rope_frequencies(c["rope_theta"], dim, c.get("rope_scaling"), c, n)
    x = W["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        window = c.get("sliding_window")
        if c["model_type"] in ("qwen2", "qwen3") and not (c.get("use_sliding_window") and i >= c["max_window_layers"]):
            window = None
        q, k, v = project(rms_norm(x, W[p + "input_layernorm.weight"], eps), W, p + "self_attn.", c, dim)
        if c["model_type"] == "qwen3" and "head norm" not in ABLATE:
            q, k = rms_norm(q, W[p + "self_attn.q_norm.weight"], eps), rms_norm(k, W[p + "self_attn.k_norm.weight"], eps)
        x = x + linear(attend(rope(q, freq), rope(k, freq), v, causal(n, window), dim ** -0.5), W, p + "self_attn.o_proj")
        x = x + gated(rms_norm(x, W[p + "post_attention_layernorm.weight"], eps), W, p + "mlp.", ACTIVATIONS[c["hidden_act"]])
    return output(rms_norm(x, W["model.norm.weight"], eps), W)


def gemma(c, W, ids):
    """Gemma 1: embeddings times sqrt(hidden), weights of norms stored as their distance from one, gelu in its tanh form."""
    eps, dim, n = c["rms_norm_eps"], head_dim(c), len(ids)
    freq = rope_frequencies(c["rope_theta"], dim, None, c, n)
    x = W["model.embed_tokens.weight"][ids] * math.sqrt(c["hidden_size"])
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        q, k, v = project(rms_norm(x, W[p + "input_layernorm.weight"], eps, True), W, p + "self_attn.", c, dim)
        x = x + linear(attend(rope(q, freq), rope(k, freq), v, causal(n), dim ** -0.5), W, p + "self_attn.o_proj")
        x = x + gated(rms_norm(x, W[p + "post_attention_layernorm.weight"], eps, True), W, p + "mlp.", gelu_tanh)
    return output(rms_norm(x, W["model.norm.weight"], eps, True), W)


def gemma_windowed(c):
    """Which layers look through the window: layer_types if written, else gemma2 every even one, gemma3 all but every pattern-th."""
    if c.get("layer_types"):
        return [t == "sliding_attention" for t in c["layer_types"]]
    if c["model_type"] == "gemma2":
        return [i % 2 == 0 for i in range(c["num_hidden_layers"])]
    return [(i + 1) % c.get("sliding_window_pattern", 6) != 0 for i in range(c["num_hidden_layers"])]


def gemma2(c, W, ids):
    """Gemma 2 and the text half of Gemma 3: a norm before and after each block, the second one inside the residual; a scale of the scores of its own.
    Gemma 2 caps scores and logits; Gemma 3 norms query and key heads and has a rotary base of its own in windowed layers, never scaled there."""
    eps, dim, n, three = c["rms_norm_eps"], head_dim(c), len(ids), c["model_type"] == "gemma3_text"
    everywhere = rope_frequencies(c["rope_theta"], dim, c.get("rope_scaling"), c, n)
    local = rope_frequencies(c["rope_local_base_freq"], dim, None, c, n) if three and "local base" not in ABLATE else everywhere
    scale = dim ** -0.5 if "query scale" in ABLATE else c["query_pre_attn_scalar"] ** -0.5
    x = W["model.embed_tokens.weight"][ids] * (1 if "embedding scale" in ABLATE else math.sqrt(c["hidden_size"]))
    for i, windowed in enumerate(gemma_windowed(c)):
        p = f"model.layers.{i}."
        def norm(name, y): return rms_norm(y, W[p + name + ".weight"], eps, True)
        freq = local if windowed else everywhere
        q, k, v = project(norm("input_layernorm", x), W, p + "self_attn.", c, dim)
        if three and "head norm" not in ABLATE:
            q, k = norm("self_attn.q_norm", q), norm("self_attn.k_norm", k)
        y = attend(rope(q, freq), rope(k, freq), v, causal(n, c["sliding_window"] if windowed else None), scale, c.get("attn_logit_softcapping"))
        y = linear(y, W, p + "self_attn.o_proj")
        x = x + (y if "after norms" in ABLATE else norm("post_attention_layernorm", y))
        y = gated(norm("pre_feedforward_layernorm", x), W, p + "mlp.", gelu_tanh)
        x = x + (y if "after norms" in ABLATE else norm("post_feedforward_layernorm", y))
    logits, cap = output(rms_norm(x, W["model.norm.weight"], eps, True), W), c.get("final_logit_softcapping")
    return cap * torch.tanh(logits / cap) if cap and "logit cap" not in ABLATE else logits


def phi3(c, W, ids):
    """Phi-3: query, key and value rows in one matrix, gate and up rows in another; rotates the first partial_rotary_factor of each head."""
    eps, dim, n, heads, kv = c["rms_norm_eps"], head_dim(c), len(ids), c["num_attention_heads"], c["num_key_value_heads"]
    rotated = int(dim * (1.0 if "partial" in ABLATE else c.get("partial_rotary_factor", 1.0)))
    freq = rope_frequencies(c["rope_theta"], rotated, c.get("rope_scaling"), c, n)
    x = W["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        rows = linear(rms_norm(x, W[p + "input_layernorm.weight"], eps), W, p + "self_attn.qkv_proj")
        q, k, v = (heads_of(part, count) for part, count in zip(rows.split([heads * dim, kv * dim, kv * dim], -1), (heads, kv, kv)))
        x = x + linear(attend(rope(q, freq), rope(k, freq), v, causal(n, c.get("sliding_window")), dim ** -0.5), W, p + "self_attn.o_proj")
        gate, up = linear(rms_norm(x, W[p + "post_attention_layernorm.weight"], eps), W, p + "mlp.gate_up_proj").chunk(2, -1)
        x = x + linear(silu(gate) * up, W, p + "mlp.down_proj")
    return output(rms_norm(x, W["model.norm.weight"], eps), W)


DECODERS = {"llama": llama, "mistral": llama, "qwen2": llama, "qwen3": llama, "gemma": gemma, "gemma2": gemma2, "gemma3_text": gemma2, "phi3": phi3}


# Encoders.

def bert(c, W, ids, types, mask):
    """[batch, n] ids, token types and padding mask (1 where a token is); returns hidden states. Post-norm: each block adds, then norms."""
    eps, heads = c["layer_norm_eps"], c["num_attention_heads"]
    out = []
    for row, kind, real in zip(ids, types, mask):
        x = W["embeddings.word_embeddings.weight"][row] + W["embeddings.position_embeddings.weight"][:len(row)]
        x = x + W["embeddings.token_type_embeddings.weight"][kind]
        x = layer_norm(x, W, "embeddings.LayerNorm", eps)
        keep = real.bool()[None, :].expand(len(row), len(row))
        for i in range(c["num_hidden_layers"]):
            p = f"encoder.layer.{i}."
            q, k, v = (heads_of(linear(x, W, p + "attention.self." + name), heads) for name in ("query", "key", "value"))
            y = attend(q, k, v, keep, q.shape[-1] ** -0.5)
            x = layer_norm(x + linear(y, W, p + "attention.output.dense"), W, p + "attention.output.LayerNorm", eps)
            y = linear(ACTIVATIONS[c["hidden_act"]](linear(x, W, p + "intermediate.dense")), W, p + "output.dense")
            x = layer_norm(x + y, W, p + "output.LayerNorm", eps)
        out.append(x)
    return torch.stack(out)


def mean_pooled(hidden, mask):
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


def unit(x): return x / x.norm(dim=-1, keepdim=True)


def clip_blocks(x, W, p, c, keep, eps):
    for i in range(c["num_hidden_layers"]):
        b = f"{p}encoder.layers.{i}."
        y = layer_norm(x, W, b + "layer_norm1", eps)
        q, k, v = (heads_of(linear(y, W, b + f"self_attn.{name}_proj"), c["num_attention_heads"]) for name in "qkv")
        x = x + linear(attend(q, k, v, keep, q.shape[-1] ** -0.5), W, b + "self_attn.out_proj")
        y = ACTIVATIONS[c.get("hidden_act", "quick_gelu")](linear(layer_norm(x, W, b + "layer_norm2", eps), W, b + "mlp.fc1"))
        x = x + linear(y, W, b + "mlp.fc2")
    return x


def clip_text(config, W, ids):
    """The feature of one token: the highest id where eos_token_id is the historic 2, else the first eos_token_id."""
    c, rows = config["text_config"], []
    for row in ids:
        x = W["text_model.embeddings.token_embedding.weight"][row] + W["text_model.embeddings.position_embedding.weight"][:len(row)]
        x = clip_blocks(x, W, "text_model.", c, causal(len(row)), c.get("layer_norm_eps", 1e-5))
        x = layer_norm(x, W, "text_model.final_layer_norm", c.get("layer_norm_eps", 1e-5))
        eos = row.argmax() if c["eos_token_id"] == 2 else (row == c["eos_token_id"]).int().argmax()
        rows.append(x[eos])
    return unit(torch.stack(rows) @ W["text_projection.weight"].T)


def clip_vision(config, W, pixels):
    """Patches as rows of one matrix product, a class token before them; the class token's last state, normed and projected."""
    c, rows = config["vision_config"], []
    eps, size = c.get("layer_norm_eps", 1e-5), c["patch_size"]
    kernel = W["vision_model.embeddings.patch_embedding.weight"]
    for image in pixels:
        patches = [image[:, y:y + size, x:x + size].flatten() @ kernel.flatten(1).T
                   for y in range(0, c["image_size"], size) for x in range(0, c["image_size"], size)]
        x = torch.stack([W["vision_model.embeddings.class_embedding"]] + patches) + W["vision_model.embeddings.position_embedding.weight"]
        x = layer_norm(x, W, "vision_model.pre_layrnorm", eps)
        x = clip_blocks(x, W, "vision_model.", c, torch.ones(len(x), len(x), dtype=torch.bool), eps)
        rows.append(layer_norm(x[0], W, "vision_model.post_layernorm", eps))
    return unit(torch.stack(rows) @ W["visual_projection.weight"].T)


# Random weights.

class Random:
    """Seeded normal values rounded to bfloat16, and the dictionary of what was drawn."""
    def __init__(self, seed): self.g, self.W = torch.Generator().manual_seed(seed), {}
    def draw(self, name, *shape, std=None, mean=0.0):
        std = 1.4 / math.sqrt(math.prod(shape[1:])) if std is None else std
        self.W[name] = (mean + std * torch.randn(*shape, generator=self.g)).bfloat16().float()
    def dense(self, name, rows, cols, bias=True):
        self.draw(name + ".weight", rows, cols)
        if bias: self.draw(name + ".bias", rows, std=0.3)
    def norm(self, name, size, mean=1.0, bias=False):
        self.draw(name + ".weight", size, std=0.25, mean=mean)
        if bias: self.draw(name + ".bias", size, std=0.25)


def decoder_weights(c, seed):
    r, kind, h, dim = Random(seed), c["model_type"], c["hidden_size"], head_dim(c)
    q, kv, inner = c["num_attention_heads"] * dim, c["num_key_value_heads"] * dim, c["intermediate_size"]
    one = 0.0 if kind.startswith("gemma") else 1.0
    tied = c.get("tie_word_embeddings", kind.startswith("gemma"))
    r.draw("model.embed_tokens.weight", c["vocab_size"], h, std=0.4 if tied else 1.0)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        names = ["input_layernorm", "post_attention_layernorm"]
        if kind in ("gemma2", "gemma3_text"): names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for name in names: r.norm(p + name, h, one)
        if kind in ("qwen3", "gemma3_text"):
            for name in "qk": r.norm(p + f"self_attn.{name}_norm", dim, one)
        if kind == "phi3":
            r.dense(p + "self_attn.qkv_proj", q + 2 * kv, h, False)
            r.dense(p + "mlp.gate_up_proj", 2 * inner, h, False)
        else:
            for name, rows in ("q", q), ("k", kv), ("v", kv): r.dense(p + f"self_attn.{name}_proj", rows, h, kind == "qwen2")
            for name in "gate", "up": r.dense(p + f"mlp.{name}_proj", inner, h, False)
        r.dense(p + "self_attn.o_proj", h, q, False)
        r.dense(p + "mlp.down_proj", h, inner, False)
    r.norm("model.norm", h, one)
    if not tied: r.draw("lm_head.weight", c["vocab_size"], h, std=2 / math.sqrt(h))
    return r.W


def bert_weights(c, seed):
    r, h = Random(seed), c["hidden_size"]
    for name, rows in ("word", c["vocab_size"]), ("position", c["max_position_embeddings"]), ("token_type", c["type_vocab_size"]):
        r.draw(f"embeddings.{name}_embeddings.weight", rows, h, std=0.7)
    r.norm("embeddings.LayerNorm", h, bias=True)
    for i in range(c["num_hidden_layers"]):
        p = f"encoder.layer.{i}."
        for name in "query", "key", "value": r.dense(p + "attention.self." + name, h, h)
        r.dense(p + "attention.output.dense", h, h)
        r.norm(p + "attention.output.LayerNorm", h, bias=True)
        r.dense(p + "intermediate.dense", c["intermediate_size"], h)
        r.dense(p + "output.dense", h, c["intermediate_size"])
        r.norm(p + "output.LayerNorm", h, bias=True)
    r.dense("pooler.dense", h, h)
    return r.W


def clip_weights(c, seed):
    r, t, v = Random(seed), c["text_config"], c["vision_config"]
    r.W["logit_scale"] = torch.tensor(2.65625)
    for p, part in ("text_model.", t), ("vision_model.", v):
        h = part["hidden_size"]
        for i in range(part["num_hidden_layers"]):
            b = f"{p}encoder.layers.{i}."
            for name in "q_proj", "k_proj", "v_proj", "out_proj": r.dense(b + "self_attn." + name, h, h)
            for name in "layer_norm1", "layer_norm2": r.norm(b + name, h, bias=True)
            r.dense(b + "mlp.fc1", part["intermediate_size"], h)
            r.dense(b + "mlp.fc2", h, part["intermediate_size"])
    e, size = "text_model.embeddings.", v["patch_size"]
    r.draw(e + "token_embedding.weight", t["vocab_size"], t["hidden_size"], std=0.7)
    r.draw(e + "position_embedding.weight", t["max_position_embeddings"], t["hidden_size"], std=0.7)
    r.norm("text_model.final_layer_norm", t["hidden_size"], bias=True)
    e = "vision_model.embeddings."
    r.draw(e + "class_embedding", v["hidden_size"], std=0.7)
    r.draw(e + "patch_embedding.weight", v["hidden_size"], 3, size, size)
    r.draw(e + "position_embedding.weight", (v["image_size"] // size) ** 2 + 1, v["hidden_size"], std=0.7)
    for name in "pre_layrnorm", "post_layernorm": r.norm("vision_model." + name, v["hidden_size"], bias=True)
    for name, part in ("text_projection", t), ("visual_projection", v): r.dense(name, c["projection_dim"], part["hidden_size"], False)
    return r.W


# Files.

def seven(value):
    """Seven significant digits, all the way down."""
    if torch.is_tensor(value): value = value.tolist()
    if isinstance(value, list): return [seven(v) for v in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def write_json(path, value, indent=None):
    with open(path, "w") as f: f.write(json.dumps(value, indent=indent, sort_keys=indent is not None) + "\n")


def write_safetensors(path, W):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(W):
        bits = W[name].reshape(-1).bfloat16().view(torch.int16).numpy().astype("<i2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(W[name].shape), "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f: f.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    with open(path, "rb") as f: raw = f.read()
    size, = struct.unpack("<Q", raw[:8])
    W = {}
    for name, t in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__": continue
        part = bytearray(raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
        W[name] = torch.frombuffer(part, dtype={"F32": torch.float32, "BF16": torch.bfloat16}[t["dtype"]]).float().reshape(t["shape"])
    return W


def prompt(count, vocabulary, seed):
    """A beginning-of-text 1, then ids 3 and up."""
    return [1] + torch.randint(3, vocabulary, (count - 1,), generator=torch.Generator().manual_seed(seed)).tolist()


def decoder_reference(c, W, ids, steps=12):
    forward = DECODERS[c["model_type"]]
    logits = forward(c, W, torch.tensor(ids))
    logp, greedy, lead = logits.log_softmax(-1), list(ids), math.inf
    for _ in range(steps):
        best = forward(c, W, torch.tensor(greedy))[-1].topk(2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        greedy.append(int(best.indices[0]))
    return lead, {"ids": ids, "logprobs": [logp[i, ids[i + 1]].item() for i in range(len(ids) - 1)],
                  "last_logprobs": logp[-1], "last_logits": logits[-1],
                  "greedy": greedy[len(ids):]}


# The models.

def base(kind, architecture, **more):
    return {"architectures": [architecture], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 32,
            "initializer_range": 0.02, "intermediate_size": 24, "max_position_embeddings": 64, "model_type": kind, "num_attention_heads": 4,
            "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "float32",
            "transformers_version": "4.52.0", "use_cache": True, "vocab_size": 48, **more}


def llama_config(**more):
    return base("llama", "LlamaForCausalLM", **{"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1, "rope_scaling": None, "rms_norm_eps": 1e-5,
                                               "tie_word_embeddings": False, **more})


def gemma_config(kind, architecture, **more):
    return base(kind, architecture, **{"attention_bias": False, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "cache_implementation": "hybrid",
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "query_pre_attn_scalar": 20, "attn_logit_softcapping": None, "final_logit_softcapping": None, **more})


def gemma3_config(**more):
    c = gemma_config("gemma3_text", "Gemma3ForCausalLM", num_hidden_layers=4, rope_theta=1e6, rope_local_base_freq=100.0, **{"rope_scaling": None,
        "sliding_window": 9, **more})
    del c["hidden_act"]
    return c


def phi3_config(**more):
    return base("phi3", "Phi3ForCausalLM", **{"attention_bias": False, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "rms_norm_eps": 1e-5, "rope_scaling": None,
        "original_max_position_embeddings": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "sliding_window": None,
        "tie_word_embeddings": False, **more})


def qwen_config(kind, architecture, **more):
    return base(kind, architecture, **{"max_window_layers": 28, "rope_scaling": None, "rope_theta": 1e6, "sliding_window": None,
        "use_sliding_window": False, "tie_word_embeddings": False, **more})


# name -> (config, ids in the prompt, seed, what `check` switches off to see that it matters)
MODELS = {
    "gemma2": (gemma_config("gemma2", "Gemma2ForCausalLM", attn_logit_softcapping=4.0, final_logit_softcapping=6.0, sliding_window=7), 32, 1,
               ["window", "attention cap", "logit cap", "query scale", "embedding scale", "after norms"]),
    "gemma3-pattern": (gemma3_config(sliding_window_pattern=3, rope_scaling={"factor": 8.0, "rope_type": "linear"}), 40, 2,
                       ["window", "head norm", "local base", "rope scaling", "query scale", "embedding scale", "after norms"]),
    "gemma3-layer-types": (gemma3_config(num_attention_heads=2, num_key_value_heads=1,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                                         _sliding_window_pattern=6, use_bidirectional_attention=False, transformers_version="4.57.0"), 40, 3,
                           ["window", "head norm", "local base", "query scale"]),
    "phi3": (phi3_config(sliding_window=11), 32, 4, ["window"]),
    "phi3-longrope": (phi3_config(max_position_embeddings=96, original_max_position_embeddings=24, sliding_window=4096,
        rope_scaling={"long_factor": [1.25, 2.0, 2.75, 4.5, 6.0, 9.0, 14.0, 20.0],
                      "short_factor": [1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0], "type": "longrope"}),
        (10, 40, 18), 5, ["rope scaling", "attention factor", "long factors"]),
    "phi3-partial": (phi3_config(max_position_embeddings=96, original_max_position_embeddings=24, num_hidden_layers=2, partial_rotary_factor=0.5,
        tie_word_embeddings=True,
        rope_scaling={"long_factor": [1.5, 3.0, 7.0, 16.0], "short_factor": [1.0, 1.2, 1.6, 2.5], "type": "longrope", "rope_type": "longrope"}),
        (10, 40, 18), 6, ["rope scaling", "attention factor", "long factors", "partial"]),
    "qwen3": (qwen_config("qwen3", "Qwen3ForCausalLM", attention_bias=False, head_dim=12), 32, 8, ["head norm"]),
    "qwen3-tied": (qwen_config("qwen3", "Qwen3ForCausalLM", attention_bias=False, head_dim=12, num_attention_heads=3, num_key_value_heads=1,
                               num_hidden_layers=2, tie_word_embeddings=True,
                               layer_types=["full_attention"] * 2, transformers_version="4.57.0"), 32, 9, ["head norm"]),
    "llama-yarn": (llama_config(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, rope_theta=500.0,
        rope_scaling={"beta_fast": 32.0, "beta_slow": 1.0, "factor": 4.0,
        "original_max_position_embeddings": 16, "rope_type": "yarn"}), 40, 10, ["rope scaling", "attention factor"]),
    "llama-llama3": (llama_config(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        rope_scaling={"factor": 8.0, "high_freq_factor": 4.0,
        "low_freq_factor": 1.0, "original_max_position_embeddings": 32, "rope_type": "llama3"}), 40, 11, ["rope scaling"]),
    "qwen2-window": (qwen_config("qwen2", "Qwen2ForCausalLM", num_hidden_layers=4, max_window_layers=2, use_sliding_window=True, sliding_window=6,
                                 tie_word_embeddings=True), 32, 12, ["window"]),
    "mistral-window": (base("mistral", "MistralForCausalLM", num_hidden_layers=2, head_dim=8, rms_norm_eps=1e-5, sliding_window=8,
                            tie_word_embeddings=False), 32, 13, ["window"]),
    "smollm": (llama_config(num_hidden_layers=2, bos_token_id=0, eos_token_id=0, is_llama_config=True, rope_interleaved=False,
                            tie_word_embeddings=True), 32, 14, []),
}
BERT = {"architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "classifier_dropout": None, "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 40, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 16,
        "model_type": "bert", "num_attention_heads": 4, "num_hidden_layers": 2, "pad_token_id": 0, "position_embedding_type": "absolute",
        "torch_dtype": "float32", "transformers_version": "4.52.0", "type_vocab_size": 2, "use_cache": True, "vocab_size": 48}


def clip_config(eos, text, vision):
    return {"architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "clip", "projection_dim": 12,
            "text_config": {"bos_token_id": 0, "eos_token_id": eos, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "max_position_embeddings": 16,
                            "model_type": "clip_text_model", "num_attention_heads": 2, "num_hidden_layers": 2, "pad_token_id": 1, "projection_dim": 12,
                            "vocab_size": 64, **text},
            "torch_dtype": "float32", "transformers_version": "4.52.0",
            "vision_config": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "model_type": "clip_vision_model", "num_channels": 3, "patch_size": 8,
                              "projection_dim": 12, **vision}}


# name -> (config, ids, seed): with 60 as end of text, higher ids stand before and after it, and it stands twice; with the historic 2 the highest
# id counts, wherever a 2 stands.
CLIPS = {
    "clip-mini": (clip_config(60, {"hidden_size": 24, "intermediate_size": 40}, {"hidden_size": 28, "image_size": 32, "intermediate_size": 32,
                                   "num_attention_heads": 4, "num_hidden_layers": 2}),
                  [[59, 5, 62, 7, 60, 61, 60, 60], [59, 50, 9, 63, 11, 12, 40, 60]], 21),
    "clip-legacy": (clip_config(2, {"hidden_size": 16, "intermediate_size": 24}, {"hidden_size": 16, "image_size": 16, "intermediate_size": 24,
                                   "num_attention_heads": 2, "num_hidden_layers": 1}),
                    [[62, 5, 2, 7, 63, 63, 1, 1], [62, 50, 9, 3, 11, 12, 2, 63]], 22),
}


def clip_pixels(config):
    size = config["vision_config"]["image_size"]
    return torch.linspace(-3, 3, 2 * 3 * size * size).view(2, 3, size, size).cos()


def version_5(c):
    """The same model as transformers 5 writes it: rotary settings in rope_parameters, by layer type where they differ; dtype, not torch_dtype."""
    c = dict(c, dtype=c["torch_dtype"], transformers_version="5.0.0")
    rope = {"rope_theta": c.pop("rope_theta"), "rope_type": "default", **(c.pop("rope_scaling") or {})}
    rope["rope_type"] = rope.pop("type", rope["rope_type"])
    if c["model_type"] == "phi3":
        rope.update(partial_rotary_factor=c.get("partial_rotary_factor", 1.0), original_max_position_embeddings=c["original_max_position_embeddings"])
    if c["model_type"] == "gemma3_text":
        c["layer_types"] = ["sliding_attention" if windowed else "full_attention" for windowed in gemma_windowed(c)]
        c["_sliding_window_pattern"] = c.pop("sliding_window_pattern", 6)
        rope = {"full_attention": rope, "sliding_attention": {"rope_theta": c.pop("rope_local_base_freq"), "rope_type": "default"}}
    del c["torch_dtype"]
    return dict(c, rope_parameters=rope)


def folder(name):
    path = os.path.join(HERE, name)
    os.makedirs(path, exist_ok=True)
    return path


def write_decoder(name):
    c, lengths, seed, _ = MODELS[name]
    W, path = decoder_weights(c, seed), folder(name)
    files = ["reference.json", "reference-long.json", "reference-cross.json"]
    lengths = lengths if isinstance(lengths, tuple) else (lengths,)
    for file, length in zip(files, lengths):
        tries = (decoder_reference(c, W, prompt(length, c["vocab_size"], 1000 * k + 10 * seed + length)) for k in range(1, 50))
        reference = next(r for lead, r in tries if lead > 0.01)
        write_json(os.path.join(path, file), {key: seven(value) for key, value in reference.items()})
    write_json(os.path.join(path, "config.json"), c, 2)
    if name in ("gemma3-pattern", "phi3-partial", "qwen3", "llama-yarn"):
        write_json(os.path.join(path, "config-v5.json"), version_5(c), 2)
    write_safetensors(os.path.join(path, "model.safetensors"), W)


def write_bert():
    W, path = bert_weights(BERT, 20), folder("bert-mini")
    one = torch.tensor([prompt(14, 48, 31)])
    pair = torch.tensor([prompt(11, 48, 32)])
    types = torch.tensor([[0] * 5 + [1] * 6])
    batch, mask = torch.tensor([prompt(12, 48, 33), prompt(7, 48, 34) + [0] * 5]), torch.tensor([[1] * 12, [1] * 7 + [0] * 5])
    def outputs(ids, kinds, real):
        hidden = bert(BERT, W, ids, kinds, real)
        mean = mean_pooled(hidden, real)
        return {"mean": mean, "cls": hidden[:, 0], "embedding": unit(mean)}
    def first(o): return {key: value[0] for key, value in o.items()}
    everything = {"ids": one[0].tolist(), **first(outputs(one, one * 0, one * 0 + 1)),
                  "pair": {"ids": pair[0].tolist(), "token_type_ids": types[0].tolist(), **first(outputs(pair, types, pair * 0 + 1))},
                  "batch": {"ids": batch.tolist(), "attention_mask": mask.tolist(), **outputs(batch, batch * 0, mask)}}
    deep = lambda v: {k: deep(x) for k, x in v.items()} if isinstance(v, dict) else seven(v)
    write_json(os.path.join(path, "reference.json"), deep(everything))
    write_json(os.path.join(path, "config.json"), BERT, 2)
    write_safetensors(os.path.join(path, "model.safetensors"), W)
    write_json(os.path.join(path, "modules.json"), [{"idx": i, "name": str(i), "path": p, "type": "sentence_transformers.models." + t}
               for i, (p, t) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])], 2)
    os.makedirs(os.path.join(path, "1_Pooling"), exist_ok=True)
    write_json(os.path.join(path, "1_Pooling", "config.json"), {"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
               "pooling_mode_mean_tokens": True,
               "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}, 2)


def clip_outputs(c, W, ids, pixels):
    text, image = clip_text(c, W, ids), clip_vision(c, W, pixels)
    return {"text_embeds": text, "image_embeds": image, "logits_per_image": W["logit_scale"].exp() * image @ text.T}


def write_clip(name):
    c, ids, seed = CLIPS[name]
    W, path, size = clip_weights(c, seed), folder(name), c["vision_config"]["image_size"]
    out = clip_outputs(c, W, torch.tensor(ids), clip_pixels(c))
    write_json(os.path.join(path, "reference.json"), {"ids": ids, "pixels": f"cos(linspace(-3,3,2*3*{size}*{size})) shaped (2,3,{size},{size})",
               **{key: seven(value) for key, value in out.items()}})
    write_json(os.path.join(path, "config.json"), c, 2)
    write_safetensors(os.path.join(path, "model.safetensors"), W)


# Checks.

def worst(a, b): return float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())


def check_goldens(root):
    print("largest deviation from outputs of transformers")
    for name in sorted(os.listdir(os.path.join(root, "models"))):
        path = os.path.join(root, "models", name)
        c, ref = json.load(open(path + "/config.json")), json.load(open(path + "/reference.json"))
        if c["model_type"] not in DECODERS: continue
        _, mine = decoder_reference(c, read_safetensors(path + "/model.safetensors"), ref["ids"])
        print(f"  {name:20} logprobs {worst(mine['logprobs'], ref['logprobs']):.1e}, last {worst(mine['last_logprobs'], ref['last_logprobs']):.1e}, "
              f"greedy {'same' if mine['greedy'][:len(ref['greedy'])] == ref['greedy'] else 'DIFFERENT'} ({len(ref['greedy'])} ids)")
    path = os.path.join(root, "encoders", "bert")
    c, ref, W = json.load(open(path + "/config.json")), json.load(open(path + "/reference.json")), read_safetensors(path + "/model.safetensors")
    ids = torch.tensor([ref["ids"]])
    hidden = bert(c, W, ids, ids * 0, ids * 0 + 1)
    print(f"  {'bert':20} mean {worst(hidden[0].mean(0), ref['mean']):.1e}, cls {worst(hidden[0, 0], ref['cls']):.1e}")
    path = os.path.join(root, "encoders", "clip")
    c, ref, W = json.load(open(path + "/config.json")), json.load(open(path + "/reference.json")), read_safetensors(path + "/model.safetensors")
    mine = clip_outputs(c, W, torch.tensor(ref["ids"]), clip_pixels(c))
    print(f"  {'clip':20} " + ", ".join(f"{key} {worst(mine[key], ref[key]):.1e}" for key in mine))


def check_features():
    print("largest change of a log-probability: float64 arithmetic, then each feature switched off")
    for name, (c, lengths, seed, features) in MODELS.items():
        forward, W = DECODERS[c["model_type"]], decoder_weights(c, seed)
        ids = torch.tensor(prompt(max(lengths) if isinstance(lengths, tuple) else lengths, c["vocab_size"], 5))
        plain = forward(c, W, ids).log_softmax(-1)
        double = forward(c, {k: v.double() for k, v in W.items()}, ids).log_softmax(-1)
        moved = []
        for feature in features:
            ABLATE.add(feature)
            moved.append(f"{feature} {worst(forward(c, W, ids).log_softmax(-1), plain):.2g}")
            ABLATE.clear()
        print(f"  {name:20} float64 {worst(double, plain):.1e}; " + ", ".join(moved))


def main():
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["check"]:
        if len(sys.argv) > 2: check_goldens(sys.argv[2])
        return check_features()
    for name in MODELS: write_decoder(name); print(name, flush=True)
    write_bert()
    for name in CLIPS: write_clip(name)


if __name__ == "__main__": main()
