// Golden ids of small tokenizer.json files, by the tokenizers package of npm (an implementation of its own: JavaScript regular expressions, no Rust).
//   npm install @huggingface/tokenizers@0.2.0 && node tests/goldens/tokenizers.mjs [SHARED] > tests/goldens/tokenizers.json
// SHARED holds tokenizers/gpt2/vocab.bpe (default ../shared): the byte-level base is its first MERGES merges; the SentencePiece-style base is made
// below. A variant is a base with some top-level keys (and keys of "model") replaced. Texts hold no U+FEFF, U+180E or U+0085, whose membership in \s
// JavaScript gets wrong; nor are Punctuation, single_word, MergedWithPrevious and
// MergedWithNext here, and Metaspace only encodes, whole: this package does them unlike the Rust original. See
// tests/sdk/ml_tokenizer_text.c for all of these.
import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';

const shared = process.argv[2] ?? '../shared';
const MERGES = 400;

const alphabet = [];
for (let b = 0; b < 256; b++) if ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) alphabet.push(String.fromCharCode(b));
for (let n = 0; n < 68; n++) alphabet.push(String.fromCharCode(256 + n));

const special = (id, content, rest = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...rest });
const bpe = (vocab, merges, rest = {}) => ({ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
  fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: Object.fromEntries(vocab.map((t, i) => [t, i])), merges, ...rest });
const file = (added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model) =>
  ({ version: '1.0', truncation: null, padding: null, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model });

const merges = readFileSync(`${shared}/tokenizers/gpt2/vocab.bpe`, 'utf8').split('\n').slice(1, 1 + MERGES);
const byteVocab = [...alphabet, ...merges.map((m) => m.replace(' ', ''))];
const END = byteVocab.length, BEGIN = END + 1;
const byteLevel = (add_prefix_space, use_regex) => ({ type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex });
const byteBase = file([special(END, '<|endoftext|>')], null, byteLevel(false, true), null, byteLevel(true, true), bpe(byteVocab, merges));

const pieces = ['<unk>', '<s>', '</s>'];
for (let b = 0; b < 256; b++) pieces.push(`<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
const spmMerges = ['▁ t', 'h e', '▁t he', 'i n', '▁ a', 'n d', '▁a nd', 'o u', 'r e', '▁ ▁', '▁▁ ▁▁', 'l l', 'e r', '▁ w', '▁w o', 'l d', 'é é', '1 2'];
for (const c of '▁abcdefghijklmnopqrstuvwxyzABCDEHTW0123456789.,!?\'é\n') pieces.push(c);
for (const m of spmMerges) pieces.push(m.replace(' ', ''));
const spmSpecial = [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')];
const template = (token, id) => ({ type: 'TemplateProcessing', single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } } });
const replace = (from, to) => ({ type: 'Replace', pattern: { String: from }, content: to });
const spmDecoder = { type: 'Sequence', decoders: [replace('▁', ' '), { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] };
const spmBase = file(spmSpecial, { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁')] }, null, template('<s>', 1), spmDecoder,
  bpe(pieces, spmMerges, { unk_token: '<unk>', fuse_unk: true, byte_fallback: true }));

const letters = 'abcdefghijklmnopqrstuvwxyz0123456789,.!\'é-'.split('');
const clipMerges = [['t', 'h'], ['th', 'e</w>'], ['a', 'n'], ['an', 'd</w>'], ['l', 'l'], ['e', 'll'], ['o', 'r</w>'], ['h', 'ell']];
const clipVocab = ['<unk>', ...letters, ...letters.map((c) => `${c}</w>`), ...clipMerges.map((m) => m.join(''))];
const clipBase = file([], { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] },
  { type: 'Split', pattern: { Regex: '\'s|\'t|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+' }, behavior: 'Removed', invert: true }, null, { type: 'BPEDecoder', suffix: '</w>' },
  bpe(clipVocab, clipMerges, { unk_token: '<unk>', end_of_word_suffix: '</w>' }));

const LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const split = (pattern, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern, behavior, invert });
const steps = (...pretokenizers) => ({ type: 'Sequence', pretokenizers });

const texts = ['', ' ', '  ', '   x', 'a', 'Hello world', ' Hello  world ', 'the and inning', "I'm, you've; IT'S 'S can't 'tis", 'tab\there\r\nand\n\n\nthere \n', '  \n  \n x',
  '3.14159 and 1234567 x²', 'naïve café Ångström', 'e\u0301 vs é, A\u030a', 'Ελληνικά нещо 日本語 한국어', 'emoji 🦙👩‍👩‍👧 end', '\u00a0nbsp\u2003em\u3000wide', 'a\u200db\u200cc',
  '<|endoftext|>', 'x<|endoftext|> y<|endoftext|><|endoftext|>', '<s> and </s>', 'void f(int *p) { return p->x != 0 && !y; }', 'http://a.b/c?d=e&f=g#h', 'ﬁne ½ ① ＡＢ',
  'ſ\'ſ K', 'Ⅷ ٣٤ ೩', '___snake_case__ --dash--', '\u0001\u007f\u0080', 'aaaaaaaaaaaaaaaaaaaaaaa', '....!!!!????', '12 121212', 'éé 😀é', 'THE The the  the   the'];

const variants = [
  ['gpt2', byteBase, {}, {}],
  ['gpt2 with a prefix space', byteBase, { pre_tokenizer: byteLevel(true, true) }, {}],
  ['llama3', byteBase, { added_tokens: [special(END, '<|endoftext|>'), special(BEGIN, '<|begin_of_text|>')], pre_tokenizer: steps(split({ Regex: LLAMA3 }), byteLevel(false, false)),
    post_processor: { type: 'Sequence', processors: [byteLevel(true, false), template('<|begin_of_text|>', BEGIN)] } }, { ignore_merges: true }],
  ['qwen', byteBase, { normalizer: { type: 'NFC' }, pre_tokenizer: steps(split({ Regex: LLAMA3.replace('{1,3}', '') }), byteLevel(false, false)) }, {}],
  ['NFKC lowercase', byteBase, { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Lowercase' }] } }, {}],
  ['NFD without accents, stripped', byteBase, { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'StripAccents' }, { type: 'Strip', strip_left: true, strip_right: true }] } }, {}],
  ['digits apart', byteBase, { pre_tokenizer: steps({ type: 'Digits', individual_digits: true }, byteLevel(false, true)) }, {}],
  ['digits together', byteBase, { pre_tokenizer: steps({ type: 'Digits', individual_digits: false }, byteLevel(false, false)) }, {}],
  ['whitespace', byteBase, { pre_tokenizer: steps({ type: 'WhitespaceSplit' }, byteLevel(false, false)) }, {}],
  ...['Removed', 'Isolated', 'Contiguous'].map((b) => [`split ${b}`, byteBase, { pre_tokenizer: steps(split({ Regex: '[a-m]+' }, b), byteLevel(false, false)) }, {}]),
  ['split at a text', byteBase, { pre_tokenizer: steps(split({ String: '.' }), byteLevel(false, false)) }, {}],
  ['added words', byteBase, { added_tokens: [special(END, '<|endoftext|>', { lstrip: true }), special(BEGIN, 'the', { special: false, rstrip: true }), special(BEGIN + 1, 'inni', { special: false })] }, {}],
  ['sentencepiece', spmBase, {}, {}],
  ['sentencepiece without fallback', spmBase, {}, { byte_fallback: false }],
  ['sentencepiece, unknowns apart', spmBase, {}, { byte_fallback: false, fuse_unk: false }],
  ...['always', 'first', 'never'].map((prepend_scheme) => [`metaspace ${prepend_scheme}`, spmBase, { normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme, split: false }, decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme, split: false } }, {}]),
  ['word suffixes', clipBase, {}, {}],
];

const apply = ([, base, keys, model]) => ({ ...base, ...keys, model: { ...base.model, ...model } });
const bases = { byte: byteBase, spm: spmBase, clip: clipBase };
const nameOf = (base) => Object.keys(bases).find((name) => bases[name] === base);
const out = { made_by: '@huggingface/tokenizers 0.2.0', bases, variants: [] };
for (const variant of variants) {
  const tokenizer = new Tokenizer(apply(variant), {});
  const cases = texts.map((text) => {
    const { ids } = tokenizer.encode(text);
    if (variant[0].startsWith('metaspace')) return { text, ids };
    return { text, ids, decoded: ids.length ? tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false }) : '' };
  });
  out.variants.push({ name: variant[0], base: nameOf(variant[1]), keys: variant[2], model: variant[3], cases });
}
process.stdout.write(JSON.stringify(out).replace(/\{"name":/g, '\n{"name":').replace(/\{"text":/g, '\n{"text":') + '\n');
