"""A plain PyTorch BERT that embeds texts (mean of the last states, length 1), for the comparison with ours:
  python3 encoder.py make FOLDER                                   random weights as a sentence-transformers folder, and FOLDER/model.onnx
  python3 encoder.py run FOLDER SEQUENCES TOKENS THREADS OUT [--since NS]

The shape is MiniLM-L6's: 6 layers, 384 wide, 12 heads, 1536 inside, vocabulary 30522. Attention is written as it is exported most often (scores, mask added, softmax), so
that ONNX Runtime knows it again. One JSON line: sentences a second, peak memory; the embeddings go to OUT as raw floats."""
import json, math, os, resource, statistics, struct, sys, time

threads = sys.argv[5] if sys.argv[1] == 'run' else str(min(2, os.cpu_count() or 1))
os.environ.setdefault('OMP_NUM_THREADS', threads)
os.environ.setdefault('OPENBLAS_NUM_THREADS', threads)
import torch
import torch.nn.functional as F

torch.set_num_threads(int(threads))
LAYERS, HIDDEN, HEADS, INNER, VOCABULARY, POSITIONS, EPSILON = 6, 384, 12, 1536, 30522, 512, 1e-12
CONFIG = {'architectures': ['BertModel'], 'model_type': 'bert', 'hidden_act': 'gelu', 'hidden_size': HIDDEN, 'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS,
          'intermediate_size': INNER, 'vocab_size': VOCABULARY, 'max_position_embeddings': POSITIONS, 'type_vocab_size': 2, 'layer_norm_eps': EPSILON, 'pad_token_id': 0,
          'position_embedding_type': 'absolute'}
MODULES = [{'idx': 0, 'name': '0', 'path': '', 'type': 'sentence_transformers.models.Transformer'},
           {'idx': 1, 'name': '1', 'path': '1_Pooling', 'type': 'sentence_transformers.models.Pooling'},
           {'idx': 2, 'name': '2', 'path': '2_Normalize', 'type': 'sentence_transformers.models.Normalize'}]
POOLING = {'word_embedding_dimension': HIDDEN, 'pooling_mode_mean_tokens': True, 'pooling_mode_cls_token': False, 'pooling_mode_max_tokens': False}


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.ones(HIDDEN)), torch.nn.Parameter(torch.zeros(HIDDEN))

    def forward(self, x):
        return F.layer_norm(x, (HIDDEN,), self.weight, self.bias, EPSILON)


def part(**modules):
    """A module that only holds others, under the names that the files have."""
    m = torch.nn.Module()
    for name, module in modules.items():
        m.add_module(name, module)
    return m


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        line = torch.nn.Linear
        self.attention = part(**{'self': part(query=line(HIDDEN, HIDDEN), key=line(HIDDEN, HIDDEN), value=line(HIDDEN, HIDDEN)), 'output': part(dense=line(HIDDEN, HIDDEN), LayerNorm=Norm())})
        self.intermediate, self.output = part(dense=line(HIDDEN, INNER)), part(dense=line(INNER, HIDDEN), LayerNorm=Norm())

    def heads(self, x):
        return x.view(x.size(0), x.size(1), HEADS, HIDDEN // HEADS).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        own, out = self.attention.self, self.attention.output
        q, k, v = self.heads(own.query(x)), self.heads(own.key(x)), self.heads(own.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(HIDDEN // HEADS) + mask
        y = torch.matmul(F.softmax(scores, -1), v).permute(0, 2, 1, 3).contiguous()
        x = out.LayerNorm(out.dense(y.view(y.size(0), y.size(1), HIDDEN)) + x)
        return self.output.LayerNorm(self.output.dense(F.gelu(self.intermediate.dense(x))) + x)


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        table = torch.nn.Embedding
        self.embeddings = part(word_embeddings=table(VOCABULARY, HIDDEN), position_embeddings=table(POSITIONS, HIDDEN), token_type_embeddings=table(2, HIDDEN), LayerNorm=Norm())
        self.encoder = part(layer=torch.nn.ModuleList(Layer() for _ in range(LAYERS)))

    def forward(self, ids, mask):
        e = self.embeddings
        positions = torch.arange(ids.size(1)).unsqueeze(0)
        x = e.LayerNorm(e.word_embeddings(ids) + e.token_type_embeddings(torch.zeros_like(ids)) + e.position_embeddings(positions))
        outside = (1 - mask.unsqueeze(1).unsqueeze(2).to(x.dtype)) * -10000.0
        for layer in self.encoder.layer:
            x = layer(x, outside)
        held = mask.unsqueeze(-1).to(x.dtype)
        return F.normalize((x * held).sum(1) / held.sum(1), dim=-1)


def write_json(folder, name, what):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        json.dump(what, f, indent=1)


def write_weights(path, weights):
    table, at = {}, 0
    for name, t in weights.items():
        table[name] = {'dtype': 'F32', 'shape': list(t.shape), 'data_offsets': [at, at + 4 * t.numel()]}
        at += 4 * t.numel()
    head = json.dumps(table).encode()
    head += b' ' * (-len(head) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(head)) + head)
        for t in weights.values():
            f.write(t.contiguous().numpy().tobytes())


def read_weights(path):
    with open(path, 'rb') as f:
        size, = struct.unpack('<Q', f.read(8))
        table, data = json.loads(f.read(size)), bytearray(f.read())
    return {name: torch.frombuffer(data, dtype=torch.float32, count=(e['data_offsets'][1] - e['data_offsets'][0]) // 4, offset=e['data_offsets'][0]).reshape(e['shape']) for name, e in table.items()}


def make(folder):
    """config.json comes last: a folder with it is whole."""
    torch.manual_seed(1)
    model = Encoder().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if 'LayerNorm' not in name:
                p.normal_(0, 0.05)
    write_json(folder, 'modules.json', MODULES)
    write_json(folder, '1_Pooling/config.json', POOLING)
    write_weights(os.path.join(folder, 'model.safetensors'), {name: p.detach() for name, p in model.named_parameters()})
    ids, mask = torch.zeros(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64)
    axes = {0: 'sequences', 1: 'tokens'}
    torch.onnx.export(model, (ids, mask), os.path.join(folder, 'model.onnx'), input_names=['ids', 'mask'], output_names=['embedding'], opset_version=14,
                      dynamic_axes={'ids': axes, 'mask': axes, 'embedding': {0: 'sequences'}})
    write_json(folder, 'config.json', CONFIG)


def run(folder, sequences, tokens, out, since):
    model = Encoder().eval()
    model.load_state_dict(read_weights(os.path.join(folder, 'model.safetensors')))
    ids = torch.tensor([(7919 * i + 13) % VOCABULARY for i in range(sequences * tokens)]).view(sequences, tokens)  # encoder.h has the same
    mask, times = torch.ones_like(ids), []
    with torch.inference_mode():
        y, ready = model(ids, mask), time.monotonic()
        while len(times) < 5 or (len(times) < 201 and time.monotonic() - ready < 1):
            began = time.monotonic()
            y = model(ids, mask)
            times.append(time.monotonic() - began)
    with open(out, 'wb') as f:
        f.write(y.numpy().tobytes())
    print(json.dumps({'sentences_per_s': sequences / statistics.median(times), 'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      'ready_ms': 1e3 * (ready - since) if since else 0}))


if sys.argv[1] == 'make':
    make(sys.argv[2])
else:
    since = int(sys.argv[8]) * 1e-9 if len(sys.argv) > 8 else 0
    run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[6], since)
