// Golden texts of a llama2.c checkpoint, by an implementation that shares nothing with the toolkit: plain JavaScript, doubles throughout, attention
// and rotary embedding written in the checkpoint's own interleaved order, no cache reuse between prompts.
//   node tests/goldens/stories260k.mjs [SHARED] > tests/goldens/stories260k.json
// SHARED holds models/stories260K (default ../shared). File layouts: llama2.c's README and export.py (version 0 checkpoints; tokenizer.bin).
// `ids` go on after a token 1, which begins the next story; `story_tokens` and `text` end before it, as llama2.c does.
// `margin` is the smallest distance between the two largest logits over all steps: greedy choices this far apart do not depend on rounding.
import { readFileSync } from 'node:fs';

const folder = `${process.argv[2] ?? '../shared'}/models/stories260K`;
const NEW_TOKENS = 200;

function readModel(path) {
  const bytes = readFileSync(path);
  const head = [...Array(7)].map((_, i) => bytes.readInt32LE(4 * i));
  const [dim, hidden, layers, heads, kvHeads, signedVocab, context] = head;
  const vocab = Math.abs(signedVocab), size = dim / heads, kvDim = kvHeads * size;
  let at = 28;
  const take = (count) => {
    const values = new Float64Array(count);
    for (let i = 0; i < count; i++, at += 4) values[i] = bytes.readFloatLE(at);
    return values;
  };
  const perLayer = (count) => [...Array(layers)].map(() => take(count));
  const m = { dim, hidden, layers, heads, kvHeads, vocab, context, size, kvDim };
  m.embedding = take(vocab * dim);
  m.attentionNorm = perLayer(dim);
  m.wq = perLayer(dim * dim);
  m.wk = perLayer(kvDim * dim);
  m.wv = perLayer(kvDim * dim);
  m.wo = perLayer(dim * dim);
  m.ffnNorm = perLayer(dim);
  m.w1 = perLayer(hidden * dim);
  m.w2 = perLayer(dim * hidden);
  m.w3 = perLayer(hidden * dim);
  m.finalNorm = take(dim);
  take(context * size); // rotary tables, computed here instead
  m.head = signedVocab > 0 ? m.embedding : take(vocab * dim);
  if (at !== bytes.length) throw new Error(`${path}: ${bytes.length - at} bytes are left over`);
  return m;
}

function readVocabulary(path, count) {
  const bytes = readFileSync(path);
  const pieces = [], scores = [];
  let at = 4;
  for (let i = 0; i < count; i++) {
    scores.push(bytes.readFloatLE(at));
    const length = bytes.readInt32LE(at + 4);
    pieces.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  if (at !== bytes.length) throw new Error(`${path}: ${bytes.length - at} bytes are left over`);
  return { pieces, scores };
}

const multiply = (w, x, rows) => {
  const columns = x.length, y = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += w[r * columns + c] * x[c];
    y[r] = sum;
  }
  return y;
};
const normalise = (x, weight) => {
  let squares = 0;
  for (const v of x) squares += v * v;
  const scale = 1 / Math.sqrt(squares / x.length + 1e-5);
  return x.map((v, i) => v * scale * weight[i]);
};
const rotate = (x, position, size) => {
  for (let i = 0; i < x.length; i += 2) {
    const angle = position / 10000 ** ((i % size) / size), cos = Math.cos(angle), sin = Math.sin(angle);
    [x[i], x[i + 1]] = [x[i] * cos - x[i + 1] * sin, x[i] * sin + x[i + 1] * cos];
  }
};

// One token through all layers; keys and values of earlier positions are in `past`.
function forward(m, past, token, position) {
  let x = m.embedding.slice(token * m.dim, (token + 1) * m.dim);
  for (let l = 0; l < m.layers; l++) {
    const normed = normalise(x, m.attentionNorm[l]);
    const q = multiply(m.wq[l], normed, m.dim), k = multiply(m.wk[l], normed, m.kvDim), v = multiply(m.wv[l], normed, m.kvDim);
    rotate(q, position, m.size);
    rotate(k, position, m.size);
    past[l].push({ k, v });
    const mixed = new Float64Array(m.dim);
    for (let h = 0; h < m.heads; h++) {
      const from = h * m.size, kv = Math.floor(h / (m.heads / m.kvHeads)) * m.size;
      const scores = past[l].map((p) => {
        let dot = 0;
        for (let i = 0; i < m.size; i++) dot += q[from + i] * p.k[kv + i];
        return dot / Math.sqrt(m.size);
      });
      const top = Math.max(...scores), weights = scores.map((s) => Math.exp(s - top)), sum = weights.reduce((a, b) => a + b);
      past[l].forEach((p, t) => {
        for (let i = 0; i < m.size; i++) mixed[from + i] += (weights[t] / sum) * p.v[kv + i];
      });
    }
    const attended = multiply(m.wo[l], mixed, m.dim);
    x = x.map((value, i) => value + attended[i]);
    const inner = normalise(x, m.ffnNorm[l]), gate = multiply(m.w1[l], inner, m.hidden), up = multiply(m.w3[l], inner, m.hidden);
    const down = multiply(m.w2[l], gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]), m.dim);
    x = x.map((value, i) => value + down[i]);
  }
  return multiply(m.head, normalise(x, m.finalNorm), m.vocab);
}

// SentencePiece as llama2.c applies it: a space in front, single characters (or their bytes, ids 3…258), then the best-scored merge until none is left.
function encode(vocabulary, text) {
  const byPiece = new Map(vocabulary.pieces.map((piece, id) => [piece.toString('latin1'), id]));
  const ids = [1];
  if (!text) return ids;
  for (const character of ' ' + text) {
    const id = byPiece.get(Buffer.from(character).toString('latin1'));
    if (id === undefined) for (const byte of Buffer.from(character)) ids.push(byte + 3);
    else ids.push(id);
  }
  for (;;) {
    let best = -1, bestId = -1;
    for (let i = 0; i + 1 < ids.length; i++) {
      const id = byPiece.get(Buffer.concat([vocabulary.pieces[ids[i]], vocabulary.pieces[ids[i + 1]]]).toString('latin1'));
      if (id !== undefined && (best < 0 || vocabulary.scores[id] > vocabulary.scores[bestId])) [best, bestId] = [i, id];
    }
    if (best < 0) return ids;
    ids.splice(best, 2, bestId);
  }
}

function decode(vocabulary, before, ids) {
  const parts = ids.map((id, i) => {
    let piece = vocabulary.pieces[id];
    if ((i ? ids[i - 1] : before) === 1 && piece[0] === 0x20) piece = piece.subarray(1);
    const byte = /^<0x([0-9A-F]{2})>$/.exec(piece.toString('latin1'));
    return byte ? Buffer.from([parseInt(byte[1], 16)]) : piece;
  });
  return Buffer.concat(parts).toString('utf8');
}

const model = readModel(`${folder}/stories260K.bin`);
const vocabulary = readVocabulary(`${folder}/tok512.bin`, model.vocab);
const cases = ['', 'Once upon a time', 'The dog', "Mia's cat: ñ"].map((prompt) => {
  const promptIds = encode(vocabulary, prompt), past = [...Array(model.layers)].map(() => []), ids = [];
  let logits, margin = Infinity, logprob = 0;
  promptIds.forEach((id, position) => (logits = forward(model, past, id, position)));
  while (ids.length < NEW_TOKENS) {
    const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
    margin = Math.min(margin, logits[order[0]] - logits[order[1]]);
    logprob -= Math.log(logits.reduce((sum, value) => sum + Math.exp(value - logits[order[0]]), 0));
    ids.push(order[0]);
    logits = forward(model, past, order[0], promptIds.length + ids.length - 1);
  }
  const story = ids.includes(1) ? ids.slice(0, ids.indexOf(1)) : ids;
  return { prompt, prompt_ids: promptIds, ids, story_tokens: story.length, text: decode(vocabulary, promptIds.at(-1), story), logprob, margin };
});
console.log(JSON.stringify({ model: 'stories260K', cases }, null, 1).replace(/\[[\d,\s]+\]/g, (list) => list.replace(/\s+/g, ' ')));
