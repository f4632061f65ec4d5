// Golden ids of published vocabularies, by the Rust tokenizers (npm's native build of huggingface/tokenizers) and, for tokenizer.model, SentencePiece
// itself (compiled for npm).
//   npm install tokenizers@0.23.2 @sctg/sentencepiece-js@1.3.3 && node tests/goldens/tokenizers_families.mjs [SHARED] [COUNT [FOLDER]] > tests/goldens/tokenizers_families.json
// SHARED holds tokenizers/{gpt2,qwen3,clip,gguf-vocab} (default ../shared); COUNT strings (default 220) are made of text, code, white space, emoji,
// scripts, digits, long runs, control tokens and characters of all planes. What is not a tokenizer.json there is made one here, from the vocabulary and
// the published settings of the family. Characters are of Unicode 8 or older, as far as JavaScript can tell: the engines' tables differ in later ones.
import { readFileSync, writeFileSync, mkdtempSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { tmpdir } from 'node:os';
import { createRequire } from 'node:module';
import { SentencePieceProcessor } from '@sctg/sentencepiece-js';
const { Tokenizer } = createRequire(import.meta.url)('tokenizers');

const shared = `${process.argv[2] ?? '../shared'}/tokenizers`, COUNT = Number(process.argv[3] ?? 220);

function gguf(path) {
  const bytes = readFileSync(path), out = {};
  let at = 24;
  const number = { 0: ['UInt8', 1], 1: ['Int8', 1], 4: ['UInt32LE', 4], 5: ['Int32LE', 4], 6: ['FloatLE', 4], 7: ['UInt8', 1] };
  const long = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = () => { const n = long(); return bytes.toString('utf8', at, (at += n)); };
  const value = (type) => {
    if (type === 8) return text();
    if (type !== 9) { const [read, size] = number[type]; return bytes[`read${read}`]((at += size) - size); }
    const of = bytes.readUInt32LE(at);
    at += 4;
    return Array.from({ length: long() }, () => value(of));
  };
  for (let keys = Number(bytes.readBigUInt64LE(16)); keys > 0; keys--) {
    const key = text(), type = bytes.readUInt32LE(at);
    at += 4;
    out[key] = value(type);
  }
  return out;
}

const special = (id, content) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
const file = (added_tokens, normalizer, pre_tokenizer, decoder, model) =>
  JSON.stringify({ version: '1.0', truncation: null, padding: null, added_tokens, normalizer, pre_tokenizer, post_processor: null, decoder, model });
const bpe = (vocab, merges, rest = {}) => ({ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false,
  byte_fallback: false, ignore_merges: false, vocab, merges, ...rest });
const byteLevel = (use_regex) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex });
const numbered = (list) => Object.fromEntries(list.map((token, id) => [token, id]));

function gpt2() {
  const merges = readFileSync(`${shared}/gpt2/vocab.bpe`, 'utf8').split('\n').slice(1, -1);
  return file([special(50256, '<|endoftext|>')], null, byteLevel(true), byteLevel(true), bpe(JSON.parse(readFileSync(`${shared}/gpt2/encoder.json`, 'utf8')), merges));
}
function clip() {
  const prints = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  const alphabet = [...Array(256).keys()].filter(prints).map((b) => String.fromCodePoint(b)).concat([...Array(68).keys()].map((n) => String.fromCodePoint(256 + n)));
  const merges = gunzipSync(readFileSync(`${shared}/clip/bpe_simple_vocab_16e6.txt.gz`)).toString('utf8').split('\n').slice(1, 49152 - 256 - 2 + 1);
  const vocab = [...alphabet, ...alphabet.map((c) => `${c}</w>`), ...merges.map((m) => m.replace(' ', '')), '<|startoftext|>', '<|endoftext|>'];
  const pattern = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
  return file([special(49406, '<|startoftext|>'), special(49407, '<|endoftext|>')],
    { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] },
    { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true }, byteLevel(false)] }, byteLevel(true),
    bpe(numbered(vocab), merges, { unk_token: '<|endoftext|>', end_of_word_suffix: '</w>', continuing_subword_prefix: '' }));
}
function llama() {
  const { 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.scores': scores, 'tokenizer.ggml.token_type': types } = gguf(`${shared}/gguf-vocab/ggml-vocab-llama-spm.gguf`);
  const vocab = numbered(tokens), merges = [];
  tokens.forEach((token, id) => {
    const points = [...token];
    for (let cut = 1; types[id] === 1 && cut < points.length; cut++) {
      const left = points.slice(0, cut).join(''), right = points.slice(cut).join('');
      if (left in vocab && right in vocab) merges.push([scores[id], id, left, right]);
    }
  });
  merges.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const replace = (from, to) => ({ type: 'Replace', pattern: { String: from }, content: to });
  return file([0, 1, 2].map((id) => special(id, tokens[id])), { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁')] }, null, null,
    bpe(vocab, merges.map((m) => [m[2], m[3]]), { unk_token: '<unk>', fuse_unk: true, byte_fallback: true }));
}
function bert() {
  const tokens = gguf(`${shared}/gguf-vocab/ggml-vocab-bert-bge.gguf`)['tokenizer.ggml.tokens'];
  const plain = tokens.map((t) => (/^\[.+\]$/.test(t) ? t : t.startsWith('▁') ? t.slice(1) : `##${t}`));
  return file([0, 100, 101, 102, 103].map((id) => special(id, tokens[id])), { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    { type: 'BertPreTokenizer' }, null, { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: numbered(plain) });
}

let state = 20; // mulberry32
const random = () => {
  let t = (state += 0x6d2b79f5);
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const below = (n) => Math.floor(random() * n), pick = (list) => list[below(list.length)];
const many = (most, make) => Array.from({ length: 1 + below(most) }, make).join('');
const assigned = /^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]$/u;
const old = (c) => (c < 0x860 && c !== 0x7fd) || (c >= 0x900 && c < 0x1c80 && c !== 0x1886 && c !== 0x1885 && c !== 0x180f) || (c >= 0x1e00 && c < 0x2400) || (c >= 0x3041 && c < 0x3100) || (c >= 0x4e00 && c < 0x9fcd) ||
  (c >= 0xac00 && c < 0xd7a4) || (c >= 0xe000 && c < 0xfb07) || (c >= 0x1d400 && c < 0x1d7cc) || (c >= 0x1f400 && c < 0x1f550) || (c >= 0x20000 && c < 0x2a6d7) || c >= 0xf0000;
function point() {
  for (;;) {
    const c = below(pick([0x80, 0x800, 0x10000, 0x110000]));
    if (c && old(c) && (c >= 0xe000 || assigned.test(String.fromCodePoint(c)) || c < 0x20)) return String.fromCodePoint(c);
  }
}
const source = readFileSync(new URL(import.meta.url), 'utf8');
const prose = 'The tower is 324 metres (1,063 ft) tall, about the same height as an 81-storey building, and the tallest structure in Paris. It wasn\'t always so; they\'ve said it\'d fall. \n = = Early life = = \n Its base is square, measuring 125 m on each side @-@ 410 ft . ';
const emoji = ['😀', '👩‍👩‍👧', '👍🏽', '🏳️‍🌈', '🇩🇪', '1️⃣', '😶‍🌫️', '❤️', '☺'], spaces = [' ', '  ', '\t', '\n', '\r\n', '\u0085', '\u00a0', '\u2003', '\u3000', '\u200b', '\u180e', '\ufeff'];
const scripts = ['Ελληνικά', 'нещо на Български', '日本語のテキスト', '한국어', '中文文本', 'עברית', 'العربية ١٢٣', 'ไทย', 'हिन्दी', 'Cửa Việt', 'Straße', 'naïve café', 'ÅNGSTRÖM', 'İstanbul', 'e\u0301', 'ﬁ ½ ² ſ K'];
const control = ['<|endoftext|>', '<s>', '</s>', '<unk>', '[CLS]', '[SEP]', '[MASK]', '<|im_start|>', '<0x41>', '▁', '##ing', '</w>', ' a', '  ', '\n'];
const cut = (text) => { const at = below(text.length - 60); return text.slice(at, at + 1 + below(60)); };
const kinds = [() => cut(prose), () => cut(source), () => many(16, point), () => many(12, () => pick([...spaces, 'a', 'Z', '1', '.', 'é'])), () => many(6, () => pick(emoji) + pick(['', ' ', 'a'])),
  () => many(4, () => pick(scripts) + pick(['', ' ', '-', '\n'])), () => pick([' ', 'a', '1', '.', '\n', '-', 'é', '😀', 'ab', "'s"]).repeat(1 + below(90)),
  () => many(16, () => pick([..."'sS'tT're'VE'mLL'd N"])), () => many(8, () => pick(control)), () => many(14, () => pick([...'0123456789.,٣٤೩Ⅷ²½ ']))];
const texts = Array.from({ length: COUNT }, (_, i) => kinds[i % kinds.length]()).map((t) => t.toWellFormed());

const folder = process.argv[4] ?? mkdtempSync(`${tmpdir()}/families-`); // the tokenizer.json files stay there
const out = { made_by: 'tokenizers 0.23.2, @sctg/sentencepiece-js 1.3.3 (npm)', texts, families: {} };
const made = { 'gpt2': gpt2(), 'clip': clip(), 'gguf-vocab/ggml-vocab-llama-spm.gguf': llama(), 'gguf-vocab/ggml-vocab-bert-bge.gguf': bert() };
for (const name of [...Object.keys(made), 'qwen3']) {
  const path = made[name] ? `${folder}/${name.replace('/', '-')}.json` : `${shared}/${name}/tokenizer.json`;
  if (made[name]) writeFileSync(path, made[name]);
  const tokenizer = Tokenizer.fromFile(path);
  out.families[name] = [];
  for (const text of texts) out.families[name].push((await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds());
}
const pieces = new SentencePieceProcessor();
await pieces.load(`${shared}/../models/stories260K/tok512.model`);
out.families['../models/stories260K/tok512.model'] = texts.map((text) => [...pieces.encodeIds(text)]);
process.stdout.write(JSON.stringify(out).replace(/"families"|"[^"]*":\[\[/g, '\n$&') + '\n');
