#include "internal.h"

#include <string.h>

/* Ways to cut text before byte-level BPE, under the names that llama.cpp gives them (tokenizer.ggml.pre). */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORD_START   "[^\\r\\n\\p{L}\\p{N}]?"
#define REST         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define REST_SLASH   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define MARKS_WORDS                                                                                                           \
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|"       \
  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const etk__cutting cuttings[] = {
    {{"gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "modern-bert", "exaone4"}, {GPT2}, 0},
    {{"mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat", "mellum", "a.x-4.0"}, {GPT2}, 0},
    {{"jina-v1-en", "jina-v2-code", "roberta-bpe"}, {GPT2}, ETK__SEPARATE},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
     {CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}{1,3}|" REST},
     ETK__IGNORE_MERGES | ETK__BEGIN},
    {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, {CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}{1,3}|" REST}, 0},
    {{"qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "grok-2", "solar-open", "kormo"},
     {CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}|" REST},
     0},
    {{"qwen35"},
     {CONTRACTIONS "|" WORD_START "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     0},
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}, {"\\p{N}", GPT2}, 0},
    {{"falcon"}, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, 0},
    {{"default"}, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, 0},
    {{"gpt-4o", "llama4", "kanana2", "minimax-m2"},
     {WORD_START UPPER "*" LOWER "+" CONTRACTIONS "?|" WORD_START UPPER "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}|" REST_SLASH},
     0},
    {{"tekken"}, {WORD_START UPPER "*" LOWER "+|" WORD_START UPPER "+" LOWER "*|\\p{N}|" REST_SLASH}, ETK__IGNORE_MERGES | ETK__BEGIN},
    {{"deepseek-v3", "hunyuan-dense"}, {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+", MARKS_WORDS}, 0},
    {{"bloom", "gpt3-finnish", "poro-chat"}, {" ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"}, 0},
    {{"seed-coder"}, {CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, 0},
};


/* Patterns that other files have for the same cuts: possessive repeats change nothing where what follows cannot begin with what they take. */
static const char *const spellings[][2] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}{1,3}|" REST},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     CONTRACTIONS "|" WORD_START "\\p{L}+|\\p{N}{1,3}|" REST},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", GPT2}};

static const etk__cutting *find(const char *name) {
  for (size_t i = 0; i < sizeof cuttings / sizeof *cuttings; i++)
    for (size_t j = 0; j < 8 && cuttings[i].names[j]; j++)
      if (!strcmp(cuttings[i].names[j], name)) return &cuttings[i];
  return NULL;
}

const etk__cutting *etk__cutting_named(etk_error *e, const char *file, const char *name) {
  const etk__cutting *known = find(name);
  if (known) return known;
  const char *names[sizeof cuttings / sizeof *cuttings * 8];
  size_t count = 0;
  for (size_t i = 0; i < sizeof cuttings / sizeof *cuttings; i++)
    for (size_t j = 0; j < 8 && cuttings[i].names[j]; j++) names[count++] = cuttings[i].names[j];
  const char *near = etk_text_suggest(name, names, count);
  etk_fail(e, ETK_E_UNSUPPORTED,
           "%s: tokenizer.ggml.pre is '%s', a way to cut text that this version does not know%s%s%s (it knows %zu, among them gpt-2, llama-bpe, qwen2 "
           "and default)",
           file, name, near ? "; did the writer mean '" : "", near ? near : "", near ? "'?" : "", count);
  return NULL;
}

/* ---- which one is it? ----------------------------------------------------------------------------------------------------------------------------- */

void etk__put_plain_pattern(etk_text *out, const char *pattern) {
  for (const char *at = pattern; *at;) {
    char bytes[4];
    char *end = NULL;
    unsigned long c = !strncmp(at, "\\x{", 3) ? strtoul(at + 3, &end, 16) : 0;
    size_t n = end && *end == '}' && c > 0x7f ? etk_utf8_encode(bytes, (uint32_t)c) : 0;
    etk_text_append(out, n ? bytes : at, n ? n : 1);
    at = n ? end + 1 : at + 1;
  }
}

static bool same_pattern(const char *a, const char *b) {
  etk_text x = ETK_TEXT_INIT, y = ETK_TEXT_INIT;
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
    if (!strcmp(a, spellings[i][0])) a = spellings[i][1];
  etk__put_plain_pattern(&x, a);
  etk__put_plain_pattern(&y, b);
  bool same = !x.failed && !y.failed && x.size == y.size && !memcmp(x.data, y.data, x.size);
  etk_text_free(&x);
  etk_text_free(&y);
  return same;
}

/* All characters are of some match: then removing what lies between the matches is the same as isolating them. */
static bool covers_all(const char *pattern) {
  size_t n = strlen(pattern);
  return n > 4 && !strcmp(pattern + n - 4, "|\\s+") && strstr(pattern, "[^\\s\\p{L}\\p{N}]+");
}

static bool same_cuts(const etk__cutting *c, const etk_tokenizer *t) {
  int count = t->splitter.count, at = 0;
  if (!t->splitter.raw && (!count-- || t->splitter.steps[count].kind != SPLIT_BYTES)) return false;
  for (; at < count && at < 4 && c->patterns[at]; at++) {
    const etk__split *step = &t->splitter.steps[at];
    const char *source = step->kind == SPLIT_REGEX ? etk__regex_source(step->regex) : NULL;
    bool isolated = step->behaviour == SPLIT_ISOLATED || (step->behaviour == SPLIT_REMOVED && step->invert && covers_all(c->patterns[at]));
    if (!source || !isolated || !same_pattern(source, c->patterns[at])) return false;
  }
  return at == count && (at == 4 || !c->patterns[at]);
}

const etk__cutting *etk__cutting_like(const etk_tokenizer *t) {
  for (size_t i = 0; i < sizeof cuttings / sizeof *cuttings; i++)
    if (!(cuttings[i].flags & ETK__IGNORE_MERGES) == !t->bpe.ignore_merges && same_cuts(&cuttings[i], t)) return &cuttings[i];
  return NULL;
}
