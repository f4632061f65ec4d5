// The comparing half of tokenizer_peers.sh: `model tokenize --jsonl` against what tokenizers_families.mjs wrote (the Rust tokenizers, SentencePiece), against the
// Rust tokenizers for files that were trained here and for bytes that are not UTF-8, against llama.cpp for GGUF vocabularies; then times.
import { readFileSync, writeFileSync, appendFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { Tokenizer as Npm } from '@huggingface/tokenizers';
import { getLlama } from 'node-llama-cpp';
const require = createRequire(import.meta.url), { Tokenizer } = require('tokenizers');
const [build, shared] = process.argv.slice(2), { texts, families } = JSON.parse(readFileSync('families.json', 'utf8'));
let failed = 0;
const TOLD = 'llama.cpp (told only)';

// One JSON string a line; `raw` are bytes, of which only quotes, backslashes and line feeds are escaped.
const quoted = (raw) => Buffer.concat([Buffer.from('"'), ...raw.flatMap((b) => (b === 0x22 || b === 0x5c ? [0x5c, b] : b === 0x0a ? [0x5c, 0x6e] : [b])).map((b) => Buffer.from([b])), Buffer.from('"\n')]);
function ours(path, lines, ...options) {
  writeFileSync('lines.jsonl', lines);
  const run = spawnSync(`${build}/bin/efficientai-toolkit`, ['model', 'tokenize', path, '--jsonl', 'lines.jsonl', ...options], { maxBuffer: 1 << 30 });
  if (run.status) throw new Error(`${path}: ${run.stderr}`);
  return run.stdout.toString().split('\n').slice(0, -1);
}
function compare(name, peer, strings, got, wanted) {
  let wrong = 0;
  strings.forEach((text, i) => {
    const want = `[${Array.from(wanted[i])}]`;
    if (got[i] === want) return;
    if (wrong++ < 5) console.log(`  ${JSON.stringify(text)}: ${String(got[i]).slice(0, 100)} | ${want.slice(0, 100)}`);
  });
  console.log(`${name}: ${strings.length} strings, ${wrong} differ from ${peer}`);
  failed += (wrong > 0 && peer !== TOLD) || got.length !== strings.length;
}
const jsonl = texts.map((text) => JSON.stringify(text) + '\n').join('');
const file = (name) => (name === 'qwen3' ? `${shared}/tokenizers/qwen3/tokenizer.json` : `files/${name.replace('/', '-')}.json`);
const rust = async (path, strings) => {
  const t = Tokenizer.fromFile(path), out = [];
  for (const text of strings) out.push((await t.encode(text, null, { addSpecialTokens: false })).getIds());
  return out;
};

for (const [name, ids] of Object.entries(families))
  compare(name, name.endsWith('.model') ? 'SentencePiece' : 'the Rust tokenizers', texts, ours(`${shared}/tokenizers/${name}`, jsonl, ...(name.endsWith('.model') ? [] : ['--parse-special'])), ids);

// Files that were trained here, by both implementations that read them. The npm package knows no byte fallback of Unigram models.
for (const name of ['unigram', 'unigram-bytes', 'bpe']) {
  compare(`${name}, trained here`, 'the Rust tokenizers', texts, ours(`files/${name}.json`, jsonl), await rust(`files/${name}.json`, texts));
  const npm = new Npm(JSON.parse(readFileSync(`files/${name}.json`, 'utf8')), {});
  const read = texts.filter((t) => !/[\u0085\u180e\ufeff]/.test(t)); // whose membership in \s JavaScript gets wrong
  if (name !== 'unigram-bytes')
    compare(`${name}, trained here`, '@huggingface/tokenizers', read, ours(`files/${name}.json`, read.map((t) => JSON.stringify(t) + '\n').join('')), read.map((t) => npm.encode(t, { add_special_tokens: false }).ids));
}

// Bytes at random between characters: the peers get what the Encoding Standard makes of them.
let state = 7;
const below = (n) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0, (state >>> 8) % n);
const broken = Array.from({ length: 4000 }, (_, i) => {
  const bytes = [...Buffer.from(texts[i % texts.length])];
  for (let n = 1 + below(6); n > 0; n--) bytes.splice(below(bytes.length + 1), below(2), ...Array.from({ length: 1 + below(4) }, () => [0x80 + below(128), 0xc0, 0xed, 0xf0, 0xff, below(128) || 1][below(6)]));
  return bytes;
});
const known = new Set([...texts.join(''), '\ufffd']); // other characters may be newer than one side's tables
const usual = (text) => [...text].every((c) => known.has(c));
const repaired = broken.map((bytes) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.from(bytes)));
for (const name of Object.keys(families).filter((n) => !n.endsWith('.model')).concat('unigram')) {
  const path = name === 'unigram' ? 'files/unigram.json' : `${shared}/tokenizers/${name}`;
  // A GGUF file spells what begins a word in BERT with U+2581, so that this character inside a word can find it: a limit of that format.
  const fits = (text) => usual(text) && !(name.includes('bert') && text.includes('\u2581')), kept = repaired.filter(fits), raw = Buffer.concat(broken.filter((_, i) => fits(repaired[i])).map(quoted));
  compare(`${name}, broken UTF-8`, 'the Rust tokenizers', kept, ours(path, raw, '--parse-special'), await rust(file(name), kept));
}

// llama.cpp's own vocabulary code. Its WordPiece is not BERT's (no jamo of Hangul, other marks and symbols): there we follow BERT, so that is told, not counted.
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', skipDownload: true });
for (const name of ['llama-spm', 'bert-bge', 'gpt-2']) {
  const path = `${shared}/tokenizers/gguf-vocab/ggml-vocab-${name}.gguf`, model = await llama.loadModel({ modelPath: path, vocabOnly: true, checkTensors: false });
  const strings = texts.filter((t) => !t.includes('\0'));
  for (const special of [false, true])
    compare(`${name}.gguf${special ? ', control tokens parsed' : ''}`, name === 'bert-bge' ? TOLD : 'llama.cpp', strings, ours(path, strings.map((t) => JSON.stringify(t) + '\n').join(''), `--parse-special=${special ? 'yes' : 'no'}`),
      strings.map((t) => (t ? model.tokenize(t, special) : [])));
  await model.dispose();
}

if (process.argv[4] === 'ids') process.exit(failed ? 1 : 0);

// Speed: the same 10 MB of English, the best of three, one thread each.
const wiki = readFileSync(`${shared}/data/wikitext2/wiki.test.raw`);
writeFileSync('english.txt', Buffer.concat(Array.from({ length: 8 }, () => wiki)).subarray(0, 10_000_000));
writeFileSync('spaces.txt', ' '.repeat(1 << 20));
writeFileSync('spaces10.txt', ' '.repeat(Math.round((1 << 20) / 10)));
const best = async (work) => {
  let least = Infinity;
  for (let i = 0; i < 3; i++) {
    const begin = process.hrtime.bigint();
    await work();
    least = Math.min(least, Number(process.hrtime.bigint() - begin) / 1e9);
  }
  return least;
};
const time = (path, text) => JSON.parse(spawnSync(`${build}/bench/tokenizer`, ['encode', path, text], { env: { ...process.env, EFFICIENTAI_THREADS: '1' } }).stdout.toString()).seconds;
const english = readFileSync('english.txt', 'utf8');
for (const name of [...Object.keys(families).filter((n) => !n.endsWith('.model')), 'unigram']) {
  const path = name === 'unigram' ? 'files/unigram.json' : `${shared}/tokenizers/${name}`, t = Tokenizer.fromFile(file(name));
  const mine = time(path, 'english.txt'), theirs = await best(() => t.encode(english, null, { addSpecialTokens: false }));
  const grown = time(path, 'spaces.txt') / time(path, 'spaces10.txt');
  console.log(`${name}: 10 MB of English in ${mine.toFixed(2)} s, the Rust tokenizers ${theirs.toFixed(2)} s: ${(theirs / mine).toFixed(1)} times; ten times the spaces take ${grown.toFixed(1)} times the time`);
}
const tiktoken = require('tiktoken').get_encoding('gpt2'), mine = time(`${shared}/tokenizers/gpt2`, 'english.txt'), theirs = await best(() => tiktoken.encode_ordinary(english));
console.log(`gpt2: tiktoken (npm, WebAssembly) ${theirs.toFixed(2)} s: ${(theirs / mine).toFixed(1)} times`);
process.exit(failed ? 1 : 0);
