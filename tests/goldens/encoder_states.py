#!/usr/bin/python3
"""What encoders give besides embeddings: hidden states, states that leave out layers, poolers, other poolings, a dense layer.
usage: encoder_states.py > encoder_states.json        torch 1.13.1 on a CPU, by the functions of models_ref.py and the models beside it"""
import json, os, struct, sys
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(sys.path.pop(0))
import torch
import models_ref as ref


def load(name):
    path = os.path.join(HERE, "models_ref", name)
    with open(os.path.join(path, "model.safetensors"), "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    W = {}
    for key, entry in head.items():
        if key == "__metadata__": continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "BF16"
        raw = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.bfloat16)
        W[key] = raw.float().reshape(entry["shape"])
    with open(os.path.join(path, "config.json")) as f: config = json.load(f)
    with open(os.path.join(path, "reference.json")) as f: reference = json.load(f)
    return config, W, reference


def seven(x): return [seven(v) for v in x] if isinstance(x, list) else float(f"{x:.7g}")
def values(t): return seven(t.tolist())


def bert():
    c, W, r = load("bert-mini")
    ids = torch.tensor([r["ids"]])
    hidden = ref.bert(c, W, ids, ids * 0, ids * 0 + 1)[0]
    fewer = ref.bert(dict(c, num_hidden_layers=1), W, ids, ids * 0, ids * 0 + 1)[0]
    # The dense layer: weight[i][j] = cos(3 i + j) / 4, bias[i] = sin(i) / 4
    i, j = torch.arange(6.0)[:, None], torch.arange(32.0)[None, :]
    weight, bias = torch.cos(3 * i + j) / 4, torch.sin(torch.arange(6.0)) / 4
    dense = weight @ hidden.mean(0) + bias
    return {"hidden": values(hidden), "early": values(fewer), "pooled": values(torch.tanh(ref.linear(hidden[0], W, "pooler.dense"))), "max": values(hidden.max(0)[0]),
            "dense": values(dense), "dense_tanh_unit": values(ref.unit(torch.tanh(dense)))}


def clip():
    c, W, r = load("clip-mini")
    t, ids = c["text_config"], torch.tensor(r["ids"][1])
    p, n, eps = "text_model.", len(ids), t["layer_norm_eps"]
    x = W[p + "embeddings.token_embedding.weight"][ids] + W[p + "embeddings.position_embedding.weight"][:n]
    full = ref.clip_blocks(x, W, p, t, ref.causal(n), eps)
    early = ref.clip_blocks(x, W, p, dict(t, num_hidden_layers=1), ref.causal(n), eps)
    norm = lambda y: ref.layer_norm(y, W, p + "final_layer_norm", eps)
    v, pixels, q = c["vision_config"], ref.clip_pixels(c)[0], "vision_model."
    size, eps = v["patch_size"], v["layer_norm_eps"]
    kernel = W[q + "embeddings.patch_embedding.weight"]
    patches = torch.nn.functional.conv2d(pixels[None], kernel, stride=size)[0].flatten(1).T
    y = torch.cat([W[q + "embeddings.class_embedding"][None], patches]) + W[q + "embeddings.position_embedding.weight"]
    y = ref.layer_norm(y, W, q + "pre_layrnorm", eps)
    image = ref.clip_blocks(y, W, q, v, torch.ones(len(y), len(y), dtype=torch.bool), eps)
    return {"hidden": values(norm(full)), "early": values(early), "early_normed": values(norm(early)), "pooled": values(norm(full)[7]),
            "image_hidden": values(image), "image_pooled": values(ref.layer_norm(image[0], W, q + "post_layernorm", eps))}


print(json.dumps({"bert-mini": bert(), "clip-mini": clip()}).replace('], "', '],\n"'))
