// Ids of a Unigram tokenizer.json that etk_unigram_train wrote, by the Rust tokenizers (npm's native build of huggingface/tokenizers).
//   npm install tokenizers@0.23.2; head -c 100000 ../shared/data/wikitext2/wiki.test.raw >text; build/bench/tokenizer train unigram text out.json 400
//   node tests/goldens/unigram_train.mjs out.json > tests/goldens/unigram_train.json
// Texts are every third of the first 180 of tokenizers_families.json.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
const { Tokenizer } = createRequire(`${process.cwd()}/`)('tokenizers');
const tokenizer = Tokenizer.fromFile(process.argv[2]), cases = [];
const { texts } = JSON.parse(readFileSync(new URL('tokenizers_families.json', import.meta.url), 'utf8'));
for (let i = 0; i < 180; i += 3) cases.push({ text: texts[i], ids: (await tokenizer.encode(texts[i], null, { addSpecialTokens: false })).getIds() });
const out = { made_by: 'tokenizers 0.23.2 (npm)', tokenizer: JSON.parse(readFileSync(process.argv[2], 'utf8')), cases };
process.stdout.write(JSON.stringify(out).replace(/\{"text":/g, '\n{"text":') + '\n');
