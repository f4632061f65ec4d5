"""A LoRA step of a plain PyTorch Llama, for the comparison with ours:  python3 lora_step.py HF_FOLDER ADAPTER_FOLDER DATA.jsonl ROWS TOKENS THREADS STEPS

The model, the adapter before its first step (PEFT's names, rank and alpha from adapter_config.json) and the data are the very files of our run; the same optimizer
(AdamW, rate 1e-3, no decay) and batches (every row, in order, every step), so that losses can be compared. Written out with what PyTorch has ready: F.linear, SDPA where
this version has it, cross_entropy. One JSON line a step: loss, tokens a second, peak memory."""
import json, math, mmap, os, resource, struct, sys, time

threads = int(sys.argv[6])
os.environ.setdefault('OMP_NUM_THREADS', str(threads))
os.environ.setdefault('OPENBLAS_NUM_THREADS', str(threads))
import torch
import torch.nn.functional as F

torch.set_num_threads(threads)
TYPES = {'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16}


def safetensors(path):
    with open(path, 'rb') as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    size, = struct.unpack('<Q', data[:8])
    found = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != '__metadata__':
            begin, end = entry['data_offsets']
            kind = TYPES[entry['dtype']]
            width = torch.empty((), dtype=kind).element_size()
            found[name] = torch.frombuffer(data, dtype=kind, count=(end - begin) // width, offset=8 + size + begin).reshape(entry['shape']).float()
    return found


class Linear:
    def __init__(self, weights, adapter, name, scale):
        self.w = weights[name + '.weight']
        a, b = (adapter.get('base_model.model.%s.lora_%s.weight' % (name, side)) for side in 'AB')
        self.a, self.b = (None, None) if a is None else (a.clone().requires_grad_(), b.clone().requires_grad_())
        self.scale = scale

    def __call__(self, x):
        y = F.linear(x, self.w)
        return y if self.a is None else y + self.scale * F.linear(F.linear(x, self.a), self.b)


def rms_norm(x, weight, epsilon):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Llama:
    def __init__(self, folder, adapter_folder):
        with open(os.path.join(folder, 'config.json')) as f:
            self.c = c = json.load(f)
        with open(os.path.join(adapter_folder, 'adapter_config.json')) as f:
            settings = json.load(f)
        w = safetensors(os.path.join(folder, 'model.safetensors'))
        adapter = safetensors(os.path.join(adapter_folder, 'adapter_model.safetensors'))
        scale = settings['lora_alpha'] / settings['r']
        self.embedding, self.norm = w['model.embed_tokens.weight'], w['model.norm.weight']
        self.layers = []
        for i in range(c['num_hidden_layers']):
            at = 'model.layers.%d.' % i
            linear = {n: Linear(w, adapter, at + part + n, scale) for part, names in (('self_attn.', ('q_proj', 'k_proj', 'v_proj', 'o_proj')), ('mlp.', ('gate_proj', 'up_proj', 'down_proj')))
                      for n in names}
            self.layers.append((linear, w[at + 'input_layernorm.weight'], w[at + 'post_attention_layernorm.weight']))
        self.parameters = [p for layer in self.layers for l in layer[0].values() if l.a is not None for p in (l.a, l.b)]
        if len(self.parameters) != len(adapter):
            raise SystemExit('the adapter holds %d tensors, %d were used' % (len(adapter), len(self.parameters)))

    def attention(self, q, k, v):
        if hasattr(F, 'scaled_dot_product_attention'):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        tokens = q.shape[2]
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        return F.softmax(scores + torch.full((tokens, tokens), -math.inf).triu(1), -1) @ v

    def loss(self, ids, targets):
        c, (rows, tokens) = self.c, ids.shape
        heads, groups, epsilon = c['num_attention_heads'], c['num_key_value_heads'], c['rms_norm_eps']
        size = c['hidden_size'] // heads
        angles = torch.outer(torch.arange(tokens).float(), c['rope_theta'] ** (-torch.arange(0, size, 2).float() / size))
        cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
        x = F.embedding(ids, self.embedding)
        for linear, before, after in self.layers:
            h = rms_norm(x, before, epsilon)
            q, k, v = (linear[n](h).view(rows, tokens, -1, size).transpose(1, 2) for n in ('q_proj', 'k_proj', 'v_proj'))
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            if groups < heads:
                k, v = k.repeat_interleave(heads // groups, 1), v.repeat_interleave(heads // groups, 1)
            x = x + linear['o_proj'](self.attention(q, k, v).transpose(1, 2).reshape(rows, tokens, -1))
            h = rms_norm(x, after, epsilon)
            x = x + linear['down_proj'](F.silu(linear['gate_proj'](h)) * linear['up_proj'](h))
        logits = F.linear(rms_norm(x, self.norm, epsilon), self.embedding)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def main():
    folder, adapter, data, rows, tokens, _, steps = sys.argv[1:8]
    rows, tokens = int(rows), int(tokens)
    with open(data) as f:
        text = torch.tensor([json.loads(line)['ids'][:tokens + 1] for line in f][:rows])
    model = Llama(folder, adapter)
    optimizer = torch.optim.AdamW(model.parameters, lr=1e-3, weight_decay=0)
    for step in range(int(steps)):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(text[:, :-1], text[:, 1:])
        loss.backward()
        optimizer.step()
        took = time.perf_counter() - begin
        print(json.dumps({'step': step, 'loss': loss.item(), 'tokens_per_s': rows * tokens / took, 'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)


main()
