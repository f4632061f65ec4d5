// Merges that byte-level BPE training must find, by its definition: all pairs are counted anew before each merge, without any bookkeeping.
//   node tests/goldens/bpe_train.mjs > tests/goldens/bpe_train.json
// Ties go to the pair that is smaller by its parts' ids (special token, then the 256 characters of the byte alphabet by code point, then merges).
const VOCABULARY = 420;
const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

// Words of syllables by a small generator, so that pairs repeat, overlap ("lalala") and tie.
let seed = 12345;
const next = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0, (seed >>> 16) % n);
const syllables = ['la', 'ne', 'ti', 'o', 'aa', 'ß', 'ing', '日', 'x', '12', "'s", '--', '🦙'];
const texts = [];
for (let d = 0; d < 6; d++) {
  let text = '';
  for (let w = 0; w < 120; w++) {
    const long = 1 + next(4);
    for (let s = 0; s < long; s++) text += syllables[Math.min(next(syllables.length), next(syllables.length))];
    text += ['  ', ' ', ' ', '\n', ', '][next(5)];
  }
  texts.push(text);
}

const byteToChar = [];
for (let b = 0, n = 0; b < 256; b++) byteToChar[b] = String.fromCharCode((b >= 33 && b <= 126) || (b >= 161 && b !== 173) ? b : 256 + n++);
const spelling = ['<|endoftext|>', ...[...byteToChar].sort()];
const idOf = new Map(spelling.map((s, i) => [s, i]));
const words = texts.flatMap((t) => t.match(pattern)).map((w) => [...new TextEncoder().encode(w)].map((b) => idOf.get(byteToChar[b])));
const merges = [];
while (spelling.length < VOCABULARY) {
  const counts = new Map();
  for (const word of words) for (let i = 1; i < word.length; i++) {
    const key = word[i - 1] * 100000 + word[i];
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  let best = -1, most = 1; // a pair must occur twice
  for (const [key, count] of counts) if (count > most || (count === most && best >= 0 && key < best)) [best, most] = [key, count];
  if (best < 0) break;
  const left = Math.floor(best / 100000), right = best % 100000, joined = spelling[left] + spelling[right];
  merges.push([spelling[left], spelling[right]]);
  if (!idOf.has(joined)) {
    idOf.set(joined, spelling.length);
    spelling.push(joined);
  }
  for (const word of words) for (let i = 0; i + 1 < word.length; i++) if (word[i] === left && word[i + 1] === right) word.splice(i, 2, idOf.get(joined));
}
process.stdout.write(JSON.stringify({ vocabulary_size: VOCABULARY, texts, vocabulary: spelling, merges }) + '\n');
