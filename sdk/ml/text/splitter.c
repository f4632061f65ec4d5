#include "internal.h"

#include <string.h>

const char etk__gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char etk__llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                                   "\\s+(?!\\S)|\\s+";
const char etk__qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                                  "\\s+(?!\\S)|\\s+";

/* ---- reading: nested pre-tokenizers become one list of steps --------------------------------------------------------------------------------- */

etk_status etk__splitter_add(etk_error *e, etk__splitter *out, const char *file, etk__split_kind kind, etk__split **step) {
  if (out->count == ETK__MAX_STEPS) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d pre-tokenizer steps", file, ETK__MAX_STEPS);
  *step = &out->steps[out->count++];
  memset(*step, 0, sizeof **step);
  (*step)->kind = kind;
  return ETK_OK;
}

etk_status etk__splitter_add_pattern(etk_error *e, etk__splitter *out, const char *file, const char *pattern, bool literal, etk__behaviour behaviour,
                                     bool invert) {
  etk__split *step = NULL;
  etk_status s = etk__splitter_add(e, out, file, SPLIT_REGEX, &step);
  if (s != ETK_OK) return s;
  step->behaviour = behaviour;
  step->invert = invert;
  s = literal ? etk__regex_literal(e, &step->regex, pattern) : etk__regex_new(e, &step->regex, pattern);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "%s: pre-tokenizer", file);
}

static etk_status read_behaviour(etk_error *e, etk__behaviour *out, const char *file, const char *name) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  for (int i = 0; name && i < 5; i++)
    if (!strcmp(name, names[i])) {
      *out = (etk__behaviour)i;
      return ETK_OK;
    }
  return etk_fail(e, ETK_E_FORMAT,
                  "%s: pre-tokenizer: the behavior '%s' is not one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous", file,
                  name ? name : "(none)");
}

static etk_status read_split(etk_error *e, etk__splitter *out, const char *file, const json_t *json) {
  const json_t *pattern = json_object_get(json, "pattern");
  const char *regex = etk__json_text(pattern, "Regex"), *literal = etk__json_text(pattern, "String");
  if (!regex && !literal) return etk_fail(e, ETK_E_FORMAT, "%s: a Split pre-tokenizer needs \"pattern\" {String or Regex}", file);
  etk__behaviour behaviour;
  etk_status s = read_behaviour(e, &behaviour, file, etk__json_text(json, "behavior"));
  if (s != ETK_OK) return s;
  return etk__splitter_add_pattern(e, out, file, regex ? regex : literal, !regex, behaviour, etk__json_flag(json, "invert", false));
}

static etk_status read_byte_level(etk_error *e, etk__splitter *out, const char *file, const json_t *json) {
  etk__split *step = NULL;
  etk_status s = ETK_OK;
  if (etk__json_flag(json, "add_prefix_space", true)) s = etk__splitter_add(e, out, file, SPLIT_PREFIX_SPACE, &step);
  if (s == ETK_OK && etk__json_flag(json, "use_regex", true)) s = etk__splitter_add_pattern(e, out, file, etk__gpt2_pattern, false, SPLIT_ISOLATED, false);
  return s == ETK_OK ? etk__splitter_add(e, out, file, SPLIT_BYTES, &step) : s;
}

static etk_status read_metaspace(etk_error *e, etk__splitter *out, etk_arena *arena, const char *file, const json_t *json) {
  const char *replacement = etk__json_text(json, "replacement"), *scheme = etk__json_text(json, "prepend_scheme");
  etk__split *step = NULL;
  etk_status s = etk__splitter_add(e, out, file, SPLIT_METASPACE, &step);
  if (s != ETK_OK) return s;
  step->replacement = etk_arena_strdup(arena, replacement ? replacement : "\xe2\x96\x81");
  if (!step->replacement) return etk__no_memory(e, file);
  step->replacement_size = strlen(step->replacement);
  step->scheme = etk__json_flag(json, "add_prefix_space", true) ? PREPEND_ALWAYS : PREPEND_NEVER; /* the older spelling */
  if (scheme && !strcmp(scheme, "first")) step->scheme = PREPEND_FIRST;
  else if (scheme && !strcmp(scheme, "never")) step->scheme = PREPEND_NEVER;
  else if (scheme && strcmp(scheme, "always"))
    return etk_fail(e, ETK_E_FORMAT, "%s: Metaspace: the prepend_scheme '%s' is not one of always, first, never", file, scheme);
  if (!etk__json_flag(json, "split", true)) return ETK_OK;
  return etk__splitter_add_pattern(e, out, file, step->replacement, true, SPLIT_MERGED_WITH_NEXT, false);
}

static etk_status read_punctuation(etk_error *e, etk__splitter *out, const char *file, const json_t *json) {
  const char *name = etk__json_text(json, "behavior");
  etk__behaviour behaviour = SPLIT_ISOLATED;
  etk_status s = name ? read_behaviour(e, &behaviour, file, name) : ETK_OK;
  return s == ETK_OK ? etk__splitter_add_pattern(e, out, file, "[!-/:-@\\[-`{-~\\p{P}]", false, behaviour, false) : s;
}

/* \w of Rust's regular expressions, in which Whitespace is written (see etk__is_word). */
#define RUST_WORD                                                                                                             \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

static etk_status read_delimiter(etk_error *e, etk__splitter *out, const char *file, const json_t *json) {
  const char *delimiter = etk__json_text(json, "delimiter");
  if (!delimiter || !*delimiter) return etk_fail(e, ETK_E_FORMAT, "%s: a CharDelimiterSplit pre-tokenizer needs the character \"delimiter\"", file);
  return etk__splitter_add_pattern(e, out, file, delimiter, true, SPLIT_REMOVED, false);
}

etk_status etk__splitter_read(etk_error *e, etk__splitter *out, etk_arena *arena, const char *file, const json_t *json) {
  if (!json || json_is_null(json)) return ETK_OK;
  const char *type = etk__json_text(json, "type");
  if (!type) return etk_fail(e, ETK_E_FORMAT, "%s: a pre-tokenizer without a \"type\"", file);
  if (!strcmp(type, "Sequence")) {
    const json_t *list = json_object_get(json, "pretokenizers");
    if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: a Sequence pre-tokenizer needs the list \"pretokenizers\"", file);
    etk_status s = ETK_OK;
    for (size_t i = 0; s == ETK_OK && i < json_array_size(list); i++) s = etk__splitter_read(e, out, arena, file, json_array_get(list, i));
    return s;
  }
  if (!strcmp(type, "ByteLevel")) return read_byte_level(e, out, file, json);
  if (!strcmp(type, "Split")) return read_split(e, out, file, json);
  if (!strcmp(type, "Metaspace")) return read_metaspace(e, out, arena, file, json);
  if (!strcmp(type, "Punctuation")) return read_punctuation(e, out, file, json);
  if (!strcmp(type, "Digits"))
    return etk__json_flag(json, "individual_digits", false) ? etk__splitter_add_pattern(e, out, file, "\\p{N}", false, SPLIT_ISOLATED, false)
                                                            : etk__splitter_add_pattern(e, out, file, "\\p{N}", false, SPLIT_CONTIGUOUS, false);
  if (!strcmp(type, "Whitespace")) return etk__splitter_add_pattern(e, out, file, "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+", false, SPLIT_REMOVED, true);
  if (!strcmp(type, "WhitespaceSplit")) return etk__splitter_add_pattern(e, out, file, "\\s", false, SPLIT_REMOVED, false);
  if (!strcmp(type, "CharDelimiterSplit")) return read_delimiter(e, out, file, json);
  etk__split *step;
  if (!strcmp(type, "BertPreTokenizer")) return etk__splitter_add(e, out, file, SPLIT_BERT, &step);
  return etk_fail(e, ETK_E_UNSUPPORTED,
                  "%s: the pre-tokenizer '%s' is not supported (ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, "
                  "CharDelimiterSplit, BertPreTokenizer and Sequence are)",
                  file, type);
}

void etk__splitter_fini(etk__splitter *splitter) {
  for (int i = 0; i < splitter->count; i++) etk__regex_free(splitter->steps[i].regex);
}

/* ---- running: each step hands its pieces to the next ------------------------------------------------------------------------------------------ */

typedef struct run {
  const etk__splitter *splitter;
  etk__scratch *scratch;
  etk__piece_sink sink;
  void *user;
} run;

static etk_status run_step(etk_error *e, const run *r, int step, const char *text, size_t size, bool first);

/* The pieces of one text under one behaviour. `pending` is the piece that the next one may still join. */
typedef struct cutter {
  const run *r;
  int step;
  const char *text;
  bool first;
  bool has_pending, pending_match, previous_match;
  size_t begin, end;
} cutter;

static etk_status cut_emit(etk_error *e, cutter *c, size_t begin, size_t end) {
  if (begin == end) return ETK_OK;
  return run_step(e, c->r, c->step + 1, c->text + begin, end - begin, c->first && begin == 0);
}

static etk_status cut_flush(etk_error *e, cutter *c) {
  if (!c->has_pending) return ETK_OK;
  c->has_pending = false;
  return cut_emit(e, c, c->begin, c->end);
}

static bool joins(const cutter *c, etk__behaviour behaviour, bool match) {
  if (!c->has_pending) return false;
  if (behaviour == SPLIT_CONTIGUOUS) return match == c->pending_match;
  if (behaviour == SPLIT_MERGED_WITH_PREVIOUS) return match && !c->previous_match;
  return !match && c->pending_match; /* with next: only the last of several matches is taken by what follows */
}

static etk_status cut_push(etk_error *e, cutter *c, size_t begin, size_t end, bool match) {
  const etk__split *step = &c->r->splitter->steps[c->step];
  if (step->invert) match = !match;
  if (step->behaviour == SPLIT_REMOVED) return match ? ETK_OK : cut_emit(e, c, begin, end);
  if (step->behaviour == SPLIT_ISOLATED) return cut_emit(e, c, begin, end);
  etk_status s = ETK_OK;
  if (joins(c, step->behaviour, match)) {
    c->end = end;
    if (step->behaviour == SPLIT_MERGED_WITH_NEXT) c->pending_match = false;
  } else {
    s = cut_flush(e, c);
    c->has_pending = true;
    c->begin = begin;
    c->end = end;
    c->pending_match = match;
  }
  c->previous_match = match;
  return s;
}

static etk_status run_regex(etk_error *e, const run *r, int step, const char *text, size_t size, bool first) {
  cutter c = {.r = r, .step = step, .text = text, .first = first};
  size_t done = 0, at = 0;
  bool matched = false;
  etk_status s = ETK_OK;
  while (s == ETK_OK && at <= size) {
    bool found;
    size_t start = 0, end = 0;
    s = etk__regex_find(e, r->splitter->steps[step].regex, r->scratch->match, text, size, at, &found, &start, &end);
    if (s != ETK_OK || !found) break;
    if (start < end || !matched || start != done) { /* an empty match right behind a match does not count */
      if (start > done) s = cut_push(e, &c, done, start, false);
      if (s == ETK_OK) s = cut_push(e, &c, start, end, true);
      done = end;
      matched = true;
    }
    at = start < end ? end : etk__step(text, size, end);
  }
  if (s == ETK_OK && done < size) s = cut_push(e, &c, done, size, false);
  return s == ETK_OK ? cut_flush(e, &c) : s;
}

/* White space is dropped, punctuation stands alone. */
static etk_status run_bert(etk_error *e, const run *r, int step, const char *text, size_t size, bool first) {
  size_t begin = 0;
  etk_status s = ETK_OK;
  for (size_t i = 0, n; s == ETK_OK && i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) n = 1;
    bool space = etk__is_space(c), alone = !space && etk__is_punctuation(c);
    if (!space && !alone) continue;
    if (begin < i) s = run_step(e, r, step + 1, text + begin, i - begin, first && begin == 0);
    if (s == ETK_OK && alone) s = run_step(e, r, step + 1, text + i, n, first && i == 0);
    begin = i + n;
  }
  return s == ETK_OK && begin < size ? run_step(e, r, step + 1, text + begin, size - begin, first && begin == 0) : s;
}

/* Cuts before what begins a word and does not follow its like. */
static etk_status run_words(etk_error *e, const run *r, int at, const char *text, size_t size, bool first) {
  const etk__split *step = &r->splitter->steps[at];
  size_t n = step->replacement_size, begin = 0;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < size;) {
    const char *word = memmem(text + i, size - i, step->replacement, n);
    if (!word) break;
    size_t found = (size_t)(word - text);
    if (found > i) { /* what stands between is no marker */
      s = run_step(e, r, at + 1, text + begin, found - begin, first && begin == 0);
      begin = found;
    }
    i = found + n;
  }
  return s == ETK_OK ? run_step(e, r, at + 1, text + begin, size - begin, first && begin == 0) : s;
}

static void put_metaspace(etk_text *out, const etk__split *step, const char *text, size_t size, bool first) {
  size_t n = strlen(step->replacement);
  bool starts = size && (text[0] == ' ' || (size >= n && n && !memcmp(text, step->replacement, n)));
  if (!starts && (step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && first))) etk_text_append(out, step->replacement, n);
  for (size_t i = 0; i < size; i++) {
    if (text[i] == ' ') etk_text_append(out, step->replacement, n);
    else etk_text_putc(out, text[i]);
  }
}

static etk_status run_step(etk_error *e, const run *r, int at, const char *text, size_t size, bool first) {
  if (at == r->splitter->count) return r->sink(e, r->user, text, size);
  const etk__split *step = &r->splitter->steps[at];
  if (step->kind == SPLIT_REGEX) return run_regex(e, r, at, text, size, first);
  if (step->kind == SPLIT_BERT) return run_bert(e, r, at, text, size, first);
  if (step->kind == SPLIT_WORDS) return run_words(e, r, at, text, size, first);
  etk_text *out = &r->scratch->levels[at];
  out->size = 0;
  if (step->kind == SPLIT_BYTES) etk__put_alphabet(out, text, size);
  else if (step->kind == SPLIT_METASPACE) put_metaspace(out, step, text, size, first);
  else {
    if (!size || text[0] != ' ') etk_text_putc(out, ' ');
    etk_text_append(out, text, size);
  }
  if (out->failed) return etk__no_memory(e, "tokenizer: splitting");
  return out->size ? run_step(e, r, at + 1, out->data, out->size, first) : ETK_OK;
}

etk_status etk__split_run(etk_error *e, const etk__splitter *splitter, etk__scratch *scratch, const char *text, size_t size, bool first,
                          etk__piece_sink sink, void *user) {
  run r = {splitter, scratch, sink, user};
  return size ? run_step(e, &r, 0, text, size, first) : ETK_OK;
}
