#include "internal.h"

#include <math.h>
#include <string.h>

/* SentencePiece's tokenizer.model: one protobuf message (sentencepiece_model.proto). Three of its messages and a dozen of their fields matter, all of
 * them numbers or byte strings, so the wire format is read here: generated code would need a schema, a compiler and a library for the same. */

enum { UNIGRAM = 1, BPE = 2 };

/* ---- the wire ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct wire {
  const unsigned char *start, *at, *end; /* start: of the file, for offsets */
  const char *file;
} wire;
typedef struct field {
  uint32_t number, type; /* type: 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32 */
  uint64_t value;        /* of the numbers */
  const unsigned char *bytes;
  size_t size;
} field;

static etk_status broken(etk_error *e, const wire *w, const char *what) {
  return etk_fail(e, ETK_E_FORMAT, "%s: not a SentencePiece model: at byte %td: %s", w->file, w->at - w->start, what);
}

static bool take_varint(wire *w, uint64_t *out) {
  *out = 0;
  for (int shift = 0; shift < 64 && w->at < w->end; shift += 7) {
    unsigned char byte = *w->at++;
    *out |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

static bool take_fixed(wire *w, size_t size, uint64_t *out) {
  if ((size_t)(w->end - w->at) < size) return false;
  *out = 0;
  for (size_t i = 0; i < size; i++) *out |= (uint64_t)w->at[i] << (8 * i);
  w->at += size;
  return true;
}

static etk_status take_field(etk_error *e, wire *w, field *f) {
  uint64_t tag, size = 0;
  if (!take_varint(w, &tag)) return broken(e, w, "a field's tag is cut off or too long");
  *f = (field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
  if (!f->number || tag >> 32) return broken(e, w, "a field without a valid number");
  switch (f->type) {
  case 0:
    return take_varint(w, &f->value) ? ETK_OK : broken(e, w, "a number is cut off or too long");
  case 1:
    return take_fixed(w, 8, &f->value) ? ETK_OK : broken(e, w, "a 64-bit number is cut off");
  case 5:
    return take_fixed(w, 4, &f->value) ? ETK_OK : broken(e, w, "a 32-bit number is cut off");
  case 2:
    if (!take_varint(w, &size)) return broken(e, w, "a length is cut off or too long");
    if (size > (uint64_t)(w->end - w->at)) return broken(e, w, "a field is longer than what holds it");
    f->bytes = w->at;
    f->size = (size_t)size;
    w->at += size;
    return ETK_OK;
  default:
    return broken(e, w, "a field of an unknown wire type");
  }
}

static wire inside(const wire *w, const field *f) { return (wire){w->start, f->bytes, f->bytes + f->size, w->file}; }
static float real_of(const field *f) {
  uint32_t bits = (uint32_t)f->value;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* ---- the messages ------------------------------------------------------------------------------------------------------------------------------- */

typedef struct model {
  etk_tokenizer *t;
  float *scores;
  unsigned char *types;
  size_t count, capacity;
  int64_t kind, bos, eos, unknown;
  bool byte_fallback;
  etk__normal normal;
} model;

static bool reserve(model *m) {
  if (m->count < m->capacity) return true;
  size_t capacity = m->capacity ? m->capacity * 2 : 1024;
  float *scores = etk_realloc(m->scores, capacity, sizeof *scores);
  if (!scores) return false;
  m->scores = scores;
  unsigned char *types = etk_realloc(m->types, capacity, 1);
  if (!types) return false;
  m->types = types;
  m->capacity = capacity;
  return true;
}

static etk_status read_piece(etk_error *e, model *m, wire w) {
  const char *text = NULL;
  size_t size = 0;
  float score = 0;
  uint64_t type = ETK__NORMAL;
  field f;
  while (w.at < w.end) {
    etk_status s = take_field(e, &w, &f);
    if (s != ETK_OK) return s;
    if (f.number == 1 && f.type == 2) {
      text = (const char *)f.bytes;
      size = f.size;
    }
    if (f.number == 2 && f.type == 5) score = real_of(&f);
    if (f.number == 3 && f.type == 0) type = f.value;
  }
  if (!text || !size) return etk_fail(e, ETK_E_FORMAT, "%s: piece %zu has no text", w.file, m->count);
  if (!etk_utf8_valid(text, size) || memchr(text, 0, size)) return etk_fail(e, ETK_E_FORMAT, "%s: piece %zu is not UTF-8", w.file, m->count);
  if (!isfinite(score)) return etk_fail(e, ETK_E_FORMAT, "%s: the score of piece %zu is not a finite number", w.file, m->count);
  if (type < ETK__NORMAL || type > ETK__BYTE)
    return etk_fail(e, ETK_E_FORMAT, "%s: piece %zu is of the type %llu; 1 to 6 are known", w.file, m->count, (unsigned long long)type);
  if (!reserve(m)) return etk__no_memory(e, w.file);
  m->scores[m->count] = score;
  m->types[m->count] = (unsigned char)type;
  if (etk__vocabulary_find(&m->t->vocabulary, text, size) >= 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: piece %zu, '%.*s', is there twice", w.file, m->count, size < 80 ? (int)size : 80, text);
  return etk__vocabulary_add(e, &m->t->vocabulary, w.file, (int64_t)m->count++, text, size, true);
}

static etk_status read_trainer(etk_error *e, model *m, wire w) {
  field f;
  while (w.at < w.end) {
    etk_status s = take_field(e, &w, &f);
    if (s != ETK_OK) return s;
    if (f.type != 0) continue;
    int64_t value = (int64_t)f.value;
    if (f.number == 3) m->kind = value;
    if (f.number == 24 && value) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported", w.file);
    if (f.number == 35) m->byte_fallback = value != 0;
    if (f.number == 40) m->unknown = value;
    if (f.number == 41) m->bos = value;
    if (f.number == 42) m->eos = value;
  }
  return ETK_OK;
}

static etk_status read_normalizer(etk_error *e, model *m, wire w, bool denormalizer) {
  field f;
  while (w.at < w.end) {
    etk_status s = take_field(e, &w, &f);
    if (s != ETK_OK) return s;
    if (f.number == 2 && f.type == 2 && f.size && denormalizer)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a denormalizer with rules is not supported", w.file);
    if (denormalizer) continue;
    if (f.number == 2 && f.type == 2) s = etk__charsmap_read(e, &m->normal.map, &m->t->vocabulary.arena, w.file, f.bytes, f.size);
    if (s != ETK_OK) return s;
    if (f.number == 3 && f.type == 0) m->normal.dummy_prefix = f.value != 0;
    if (f.number == 4 && f.type == 0) m->normal.fewer_spaces = f.value != 0;
    if (f.number == 5 && f.type == 0) m->normal.escape = f.value != 0;
  }
  return ETK_OK;
}

static etk_status read_model(etk_error *e, model *m, wire w) {
  field f;
  etk_status s = ETK_OK;
  while (s == ETK_OK && w.at < w.end) {
    s = take_field(e, &w, &f);
    if (s != ETK_OK || f.type != 2) continue;
    if (f.number == 1) s = read_piece(e, m, inside(&w, &f));
    if (f.number == 2) s = read_trainer(e, m, inside(&w, &f));
    if (f.number == 3) s = read_normalizer(e, m, inside(&w, &f), false);
    if (f.number == 5) s = read_normalizer(e, m, inside(&w, &f), true);
  }
  if (s == ETK_OK && !m->count) return etk_fail(e, ETK_E_FORMAT, "%s: not a SentencePiece model: it has no pieces", w.file);
  return s;
}

/* ---- the tokenizer ------------------------------------------------------------------------------------------------------------------------------- */

etk_status etk__sentencepiece_parts(etk_error *e, etk_tokenizer *t, const char *file, const etk__normal *normal) {
  etk_arena *arena = &t->vocabulary.arena;
  etk__normal step = *normal;
  step.kind = NORMAL_SENTENCEPIECE;
  step.symbols = &t->normalized;
  etk_status s = etk__normalizer_add(e, &t->normalizer, file, step);
  if (s == ETK_OK && step.escape) {
    s = etk__decode_add(e, &t->decode, arena, file, DECODE_REPLACE, " ");
    if (s == ETK_OK) s = etk__regex_literal(e, &t->decode.steps[t->decode.count - 1].regex, "\xe2\x96\x81");
  }
  if (s == ETK_OK) s = etk__decode_add(e, &t->decode, arena, file, DECODE_BYTE_FALLBACK, NULL);
  if (s == ETK_OK) s = etk__decode_add(e, &t->decode, arena, file, DECODE_FUSE, NULL);
  if (s != ETK_OK || !step.dummy_prefix) return s;
  s = etk__decode_add(e, &t->decode, arena, file, DECODE_STRIP, " ");
  if (s == ETK_OK) t->decode.steps[t->decode.count - 1].start = 1;
  return s;
}

static etk_status build_unigram(etk_error *e, model *m, const char *file, const bool *pieces) {
  double *scores = etk_calloc(m->count, sizeof *scores);
  if (!scores) return etk__no_memory(e, file);
  for (size_t i = 0; i < m->count; i++) scores[i] = (double)m->scores[i];
  m->t->model = MODEL_UNIGRAM;
  m->t->unigram.single = true;
  m->t->unigram.byte_fallback = m->byte_fallback;
  for (size_t i = 0; i < m->count && m->t->unigram.unknown < 0; i++)
    if (m->types[i] == ETK__UNKNOWN) m->t->unigram.unknown = (int32_t)i;
  etk_status s = etk__unigram_build(e, &m->t->unigram, &m->t->vocabulary, file, scores, pieces);
  etk_free(scores);
  return s;
}

static etk_status build_bpe(etk_error *e, model *m, const char *file, const bool *pieces) {
  for (size_t i = 0; i < m->count; i++) {
    if (m->types[i] == ETK__UNUSED)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: piece %zu is marked unused, which is supported with Unigram models only", file, i);
    if (m->types[i] == ETK__UNKNOWN && m->t->bpe.unknown < 0) m->t->bpe.unknown = (int32_t)i;
  }
  m->t->bpe.byte_fallback = m->byte_fallback;
  m->t->bpe.fuse_unknown = true;
  return etk__bpe_rank_by_score(e, m->t, file, m->scores, pieces, -INFINITY);
}

static etk_status build(etk_error *e, model *m, const char *file) {
  if (m->kind != UNIGRAM && m->kind != BPE)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: SentencePiece's model type %lld is not supported (1 Unigram and 2 BPE are)", file, (long long)m->kind);
  bool *pieces = etk_calloc(m->count, sizeof *pieces);
  if (!pieces) return etk__no_memory(e, file);
  for (size_t i = 0; i < m->count; i++) pieces[i] = m->types[i] == ETK__NORMAL || m->types[i] == ETK__USER_DEFINED;
  etk_status s = m->kind == UNIGRAM ? build_unigram(e, m, file, pieces) : build_bpe(e, m, file, pieces);
  etk_free(pieces);
  return s;
}

/* User-defined symbols are sought behind the normalizer, which leaves them alone; control symbols in the text as it comes. */
static etk_status add_symbols(etk_error *e, model *m, const char *file) {
  etk_status s = etk__tokenizer_reserve_added(e, m->t, file, m->count);
  if (s != ETK_OK) return s;
  for (size_t i = 0; i < m->count; i++) {
    int type = m->types[i];
    etk__added_token token = {.id = (int32_t)i, .special = type == ETK__CONTROL || type == ETK__UNKNOWN, .normalized = type == ETK__USER_DEFINED};
    if (token.special || token.normalized) etk__tokenizer_add_token(m->t, token);
  }
  return etk__tokenizer_index_added(e, m->t, file);
}

static etk_status name_ends(etk_error *e, model *m, const char *file) {
  bool begins = m->bos >= 0 && m->bos < (int64_t)m->count && m->types[m->bos] == ETK__CONTROL;
  bool ends = m->eos >= 0 && m->eos < (int64_t)m->count && m->types[m->eos] == ETK__CONTROL;
  m->t->bos = begins ? (int32_t)m->bos : -1;
  m->t->eos = ends ? (int32_t)m->eos : -1;
  return begins ? etk__tokenizer_put_ends(e, m->t, file, true, m->bos) : ETK_OK;
}

bool etk__looks_like_sentencepiece(const void *bytes, size_t size) {
  const unsigned char *b = bytes; /* a first piece of some bytes, which begins with its text */
  return size > 4 && b[0] == 0x0a && b[1] > 2 && b[1] < 0x80 && b[2] == 0x0a && b[3] < b[1];
}

etk_status etk_tokenizer_parse_sentencepiece(etk_error *e, etk_tokenizer **out, const char *name, const void *bytes, size_t size) {
  *out = NULL;
  model m = {.t = etk__tokenizer_new(e, name),
             .kind = UNIGRAM,
             .bos = 1,
             .eos = 2,
             .normal = {.dummy_prefix = true, .fewer_spaces = true, .escape = true}};
  if (!m.t) return ETK_E_NO_MEMORY;
  m.t->control_is_text = true;
  etk_status s = read_model(e, &m, (wire){bytes, bytes, (const unsigned char *)bytes + size, name});
  if (s == ETK_OK) s = build(e, &m, name);
  if (s == ETK_OK) s = etk__sentencepiece_parts(e, m.t, name, &m.normal);
  if (s == ETK_OK) s = add_symbols(e, &m, name);
  if (s == ETK_OK) s = name_ends(e, &m, name);
  if (s == ETK_OK) s = etk__tokenizer_finish(e, m.t, name);
  m.t->scores = m.scores;
  m.t->types = m.types;
  m.t->scored = m.count;
  if (s == ETK_OK) *out = m.t;
  else etk_tokenizer_free(m.t);
  return s;
}
