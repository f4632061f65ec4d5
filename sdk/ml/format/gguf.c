/* Parsing of one GGUF file. Everything is checked against what is left of the bytes before it is believed. */
#include "gguf_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

const unsigned char etk__gguf_kind_bytes[ETK_GGUF_KIND_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

const etk__gguf_type etk__gguf_types[] = {
    {"F32", 1, 4},        {"F16", 1, 2},        {"Q4_0", 32, 18},     {"Q4_1", 32, 20},    {"Q4_2", 0, 0},       {"Q4_3", 0, 0},
    {"Q5_0", 32, 22},     {"Q5_1", 32, 24},     {"Q8_0", 32, 34},     {"Q8_1", 32, 36},    {"Q2_K", 256, 84},    {"Q3_K", 256, 110},
    {"Q4_K", 256, 144},   {"Q5_K", 256, 176},   {"Q6_K", 256, 210},   {"Q8_K", 256, 292},  {"IQ2_XXS", 256, 66}, {"IQ2_XS", 256, 74},
    {"IQ3_XXS", 256, 98}, {"IQ1_S", 256, 50},   {"IQ4_NL", 32, 18},   {"IQ3_S", 256, 110}, {"IQ2_S", 256, 82},   {"IQ4_XS", 256, 136},
    {"I8", 1, 1},         {"I16", 1, 2},        {"I32", 1, 4},        {"I64", 1, 8},       {"F64", 1, 8},        {"IQ1_M", 256, 56},
    {"BF16", 1, 2},       {"Q4_0_4_4", 0, 0},   {"Q4_0_4_8", 0, 0},   {"Q4_0_8_8", 0, 0},  {"TQ1_0", 256, 54},   {"TQ2_0", 256, 66},
    {"IQ4_NL_4_4", 0, 0}, {"IQ4_NL_4_8", 0, 0}, {"IQ4_NL_8_8", 0, 0}, {"MXFP4", 32, 17},   {"NVFP4", 64, 36},    {"Q1_0", 128, 18},
    {"Q2_0", 64, 18},
};
const uint32_t etk__gguf_type_count = sizeof etk__gguf_types / sizeof *etk__gguf_types;

enum { HEADER_BYTES = 24, SMALLEST_KEY = 8 + 1 + 4 + 1, SMALLEST_TENSOR = 8 + 1 + 4 + 4 + 8, SMALLEST_ARRAY = 4 + 8 };

/* Where reading stands, and what is being read, for messages: thing + name, or thing + number. */
typedef struct reader {
  etk_error *e;
  etk_arena *arena;
  etk__gguf_part *part;
  size_t at;
  const char *thing, *name;
  uint64_t number;
} reader;

etk_status etk__gguf_no_memory(etk_error *e, const char *name) {
  return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading the GGUF header", name);
}

static const char *subject(const reader *r, char *out, size_t size) {
  if (r->name) snprintf(out, size, "%s '%s'", r->thing, r->name);
  else snprintf(out, size, "%s %" PRIu64, r->thing, r->number);
  return out;
}
#define SUBJECT(r) subject(r, (char[200]){0}, 200)

static uint64_t left(const reader *r) { return r->part->size - r->at; }

static etk_status need(reader *r, uint64_t bytes) {
  if (bytes <= left(r)) return ETK_OK;
  return etk_fail(r->e, ETK_E_FORMAT, "%s: truncated at byte %zu, inside %s: %" PRIu64 " bytes are wanted and %" PRIu64 " are left", r->part->name,
                  r->at, SUBJECT(r), bytes, left(r));
}
static etk_status take(reader *r, uint64_t *out, int bytes) {
  etk_status s = need(r, (uint64_t)bytes);
  if (s != ETK_OK) return s;
  *out = etk__gguf_load(r->part->bytes + r->at, bytes);
  r->at += (size_t)bytes;
  return ETK_OK;
}
/* Vocabularies are mostly ASCII, eight bytes of which are checked at once. */
static bool is_utf8(const char *text, size_t size) {
  size_t i = 0;
  for (uint64_t word; i + 8 <= size; i += 8) {
    memcpy(&word, text + i, sizeof word);
    if (word & UINT64_C(0x8080808080808080)) return etk_utf8_valid(text + i, size - i);
  }
  while (i < size && !(text[i] & 0x80)) i++;
  return i == size || etk_utf8_valid(text + i, size - i);
}

/* The bytes of a text of at most `limit`; check: also that they are UTF-8. */
static etk_status take_text(reader *r, const char **out, uint64_t *size, uint64_t limit, bool check) {
  size_t begin = r->at;
  etk_status s = take(r, size, 8);
  if (s == ETK_OK && *size > limit)
    s = etk_fail(r->e, ETK_E_FORMAT, "%s: %s has a text of %" PRIu64 " bytes at byte %zu; at most %" PRIu64 " are allowed", r->part->name, SUBJECT(r),
                 *size, begin, limit);
  if (s == ETK_OK) s = need(r, *size);
  if (s != ETK_OK) return s;
  *out = (const char *)r->part->bytes + r->at;
  r->at += (size_t)*size;
  if (check && !is_utf8(*out, (size_t)*size))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s holds a text that is not UTF-8, at byte %zu", r->part->name, SUBJECT(r), begin + 8);
  return ETK_OK;
}

/* ---- values ---- */

static etk_status check_flags(const reader *r, size_t at, uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    if (r->part->bytes[at + i] > 1)
      return etk_fail(r->e, ETK_E_FORMAT, "%s: %s holds a bool of value %u, at byte %zu; 0 or 1 is wanted", r->part->name, SUBJECT(r),
                      r->part->bytes[at + i], at + (size_t)i);
  return ETK_OK;
}
static etk_status take_kind(reader *r, etk_gguf_kind *out) {
  uint64_t kind;
  size_t begin = r->at;
  etk_status s = take(r, &kind, 4);
  if (s == ETK_OK && kind >= ETK_GGUF_KIND_COUNT)
    s = etk_fail(r->e, ETK_E_FORMAT, "%s: %s has the unknown value type %" PRIu64 ", at byte %zu; types are 0 to %d", r->part->name, SUBJECT(r), kind,
                 begin, ETK_GGUF_KIND_COUNT - 1);
  if (s == ETK_OK) *out = (etk_gguf_kind)kind;
  return s;
}

/* Two passes: the first (keep false) only checks, so that nothing is allocated for a lie; the second keeps what access needs. */
static etk_status read_value(reader *r, etk_gguf_value *v, etk_gguf_kind kind, int depth, bool keep);

static etk_status check_texts(reader *r, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    const char *text;
    uint64_t size;
    etk_status s = take_text(r, &text, &size, ETK__GGUF_ITEM_LIMIT, true);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}
static etk_status read_texts(reader *r, etk_gguf_value *v, bool keep) {
  if (!keep) return check_texts(r, v->count);
  const unsigned char *begin = r->part->bytes + r->at;
  uint64_t *positions = etk_arena_array(r->arena, (size_t)v->count, sizeof *positions), at = 0;
  if (!positions) return etk__gguf_no_memory(r->e, r->part->name);
  for (uint64_t i = 0; i < v->count; i++) { /* checked before */
    positions[i] = at;
    at += 8 + etk__gguf_load(begin + at, 8);
  }
  r->at += (size_t)at;
  v->index = positions;
  return ETK_OK;
}
static etk_status read_arrays(reader *r, etk_gguf_value *v, int depth, bool keep) {
  etk_gguf_value *items = NULL, one;
  if (keep && !(items = etk_arena_array(r->arena, (size_t)v->count, sizeof *items))) return etk__gguf_no_memory(r->e, r->part->name);
  for (uint64_t i = 0; i < v->count; i++) {
    etk_status s = read_value(r, items ? &items[i] : &one, ETK_GGUF_ARRAY, depth + 1, keep);
    if (s != ETK_OK) return s;
  }
  v->index = items;
  return ETK_OK;
}

static etk_status read_array(reader *r, etk_gguf_value *v, int depth, bool keep) {
  size_t begin = r->at;
  if (depth > ETK__GGUF_NEST_LIMIT)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s nests arrays more than %d deep, at byte %zu", r->part->name, SUBJECT(r), ETK__GGUF_NEST_LIMIT, begin);
  etk_status s = take_kind(r, &v->item_kind);
  if (s == ETK_OK) s = take(r, &v->count, 8);
  if (s != ETK_OK) return s;
  if (v->count > ETK__GGUF_ITEM_LIMIT)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s is an array of %" PRIu64 " items, at byte %zu; at most %d are allowed", r->part->name, SUBJECT(r),
                    v->count, begin, ETK__GGUF_ITEM_LIMIT);
  uint64_t smallest = v->item_kind == ETK_GGUF_TEXT ? 8 : v->item_kind == ETK_GGUF_ARRAY ? SMALLEST_ARRAY : etk__gguf_kind_bytes[v->item_kind];
  s = need(r, v->count * smallest);
  if (s != ETK_OK) return s;
  v->data = r->part->bytes + r->at;
  if (v->item_kind == ETK_GGUF_TEXT) return read_texts(r, v, keep);
  if (v->item_kind == ETK_GGUF_ARRAY) return read_arrays(r, v, depth, keep);
  if (v->item_kind == ETK_GGUF_BOOL && !keep && (s = check_flags(r, r->at, v->count)) != ETK_OK) return s;
  r->at += (size_t)(v->count * smallest);
  return ETK_OK;
}

static etk_status read_value(reader *r, etk_gguf_value *v, etk_gguf_kind kind, int depth, bool keep) {
  *v = (etk_gguf_value){.kind = kind, .item_kind = kind, .count = 1};
  if (kind == ETK_GGUF_ARRAY) return read_array(r, v, depth, keep);
  if (kind == ETK_GGUF_TEXT) {
    const char *text;
    etk_status s = take_text(r, &text, &v->count, ETK__GGUF_ITEM_LIMIT, !keep);
    if (s != ETK_OK) return s;
    v->data = text;
    if (keep && !(v->index = etk_arena_strndup(r->arena, text, (size_t)v->count))) return etk__gguf_no_memory(r->e, r->part->name);
    return ETK_OK;
  }
  etk_status s = need(r, etk__gguf_kind_bytes[kind]);
  if (s == ETK_OK && kind == ETK_GGUF_BOOL && !keep) s = check_flags(r, r->at, 1);
  if (s != ETK_OK) return s;
  v->data = r->part->bytes + r->at;
  r->at += etk__gguf_kind_bytes[kind];
  return ETK_OK;
}

/* ---- keys ---- */

static etk_status check_key(const reader *r, const char *key, uint64_t size, size_t begin) {
  if (!size) return etk_fail(r->e, ETK_E_FORMAT, "%s: key %" PRIu64 " is empty, at byte %zu", r->part->name, r->number, begin);
  for (uint64_t i = 0; i < size; i++)
    if (key[i] < 0x21 || key[i] > 0x7e)
      return etk_fail(r->e, ETK_E_FORMAT, "%s: key %" PRIu64 " holds the byte 0x%02x, at byte %zu; keys are of printable ASCII without blanks",
                      r->part->name, r->number, (unsigned char)key[i], begin + 8 + (size_t)i);
  return ETK_OK;
}

static etk_status read_key(reader *r, etk__gguf_key *key) {
  const char *name;
  uint64_t size;
  size_t begin = r->at;
  r->thing = "key";
  r->name = NULL;
  etk_status s = take_text(r, &name, &size, ETK__GGUF_KEY_LIMIT, false);
  if (s == ETK_OK) s = check_key(r, name, size, begin);
  if (s != ETK_OK) return s;
  key->name = r->name = etk_arena_strndup(r->arena, name, (size_t)size);
  if (!key->name) return etk__gguf_no_memory(r->e, r->part->name);
  etk_gguf_kind kind;
  s = take_kind(r, &kind);
  begin = r->at;
  if (s == ETK_OK) s = read_value(r, &key->value, kind, 1, false);
  if (s != ETK_OK || (kind != ETK_GGUF_TEXT && kind != ETK_GGUF_ARRAY)) return s;
  r->at = begin;
  return read_value(r, &key->value, kind, 1, true);
}

static int compare_keys(const void *a, const void *b) {
  const etk__gguf_key *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}
static int compare_key(const void *name, const void *item) {
  const etk__gguf_key *const *key = item;
  return strcmp(name, (*key)->name);
}
const etk__gguf_key *etk__gguf_part_find(const etk__gguf_part *part, const char *key) {
  if (!part->key_count) return NULL;
  const etk__gguf_key **found = bsearch(key, part->by_name, part->key_count, sizeof *part->by_name, compare_key);
  return found ? *found : NULL;
}

static etk_status read_keys(reader *r, uint64_t count) {
  etk__gguf_part *part = r->part;
  part->keys = etk_arena_array(r->arena, (size_t)count + 1, sizeof *part->keys);
  part->by_name = etk_arena_array(r->arena, (size_t)count + 1, sizeof *part->by_name);
  if (!part->keys || !part->by_name) return etk__gguf_no_memory(r->e, part->name);
  for (uint64_t i = 0; i < count; i++) {
    r->number = i;
    etk_status s = read_key(r, &part->keys[i]);
    if (s != ETK_OK) return s;
    part->by_name[i] = &part->keys[i];
  }
  part->key_count = (size_t)count;
  qsort(part->by_name, part->key_count, sizeof *part->by_name, compare_keys);
  for (size_t i = 1; i < part->key_count; i++) {
    const etk__gguf_key *a = part->by_name[i - 1], *b = part->by_name[i];
    if (strcmp(a->name, b->name)) continue;
    size_t first = (size_t)((const unsigned char *)a->value.data - part->bytes),
           second = (size_t)((const unsigned char *)b->value.data - part->bytes);
    return etk_fail(r->e, ETK_E_FORMAT, "%s: key '%s' is given twice (values at bytes %zu and %zu)", part->name, a->name,
                    first < second ? first : second, first < second ? second : first);
  }
  return ETK_OK;
}

static etk_status read_alignment(reader *r) {
  const etk__gguf_key *key = etk__gguf_part_find(r->part, "general.alignment");
  r->part->alignment = ETK__GGUF_ALIGNMENT;
  if (!key) return ETK_OK;
  size_t at = (size_t)((const unsigned char *)key->value.data - r->part->bytes);
  if (key->value.kind != ETK_GGUF_U32)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: key 'general.alignment' is %s; a u32 is wanted (at byte %zu)", r->part->name,
                    etk__gguf_kind_phrase(key->value.kind), at);
  uint32_t alignment = (uint32_t)etk__gguf_load(key->value.data, 4);
  if (!alignment || (alignment & (alignment - 1)))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: key 'general.alignment' is %" PRIu32 "; a power of two is wanted (at byte %zu)", r->part->name,
                    alignment, at);
  r->part->alignment = alignment;
  return ETK_OK;
}

/* ---- tensors ---- */

static etk_status read_name(reader *r, etk_gguf_entry *entry) {
  const char *name;
  uint64_t size;
  size_t begin = r->at;
  r->thing = "tensor";
  r->name = NULL;
  etk_status s = take_text(r, &name, &size, ETK__GGUF_NAME_LIMIT, true);
  if (s != ETK_OK) return s;
  if (!size) return etk_fail(r->e, ETK_E_FORMAT, "%s: the name of tensor %" PRIu64 " is empty, at byte %zu", r->part->name, r->number, begin);
  for (uint64_t i = 0; i < size; i++)
    if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
      return etk_fail(r->e, ETK_E_FORMAT, "%s: the name of tensor %" PRIu64 " holds the control character 0x%02x, at byte %zu", r->part->name,
                      r->number, (unsigned char)name[i], begin + 8 + (size_t)i);
  entry->name = r->name = etk_arena_strndup(r->arena, name, (size_t)size);
  return entry->name ? ETK_OK : etk__gguf_no_memory(r->e, r->part->name);
}

static etk_status read_dims(reader *r, etk_gguf_entry *entry) {
  uint64_t rank, dim;
  size_t begin = r->at;
  etk_status s = take(r, &rank, 4);
  if (s != ETK_OK) return s;
  if (rank > ETK__GGUF_RANK_LIMIT)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has %" PRIu64 " dimensions, at byte %zu; at most %d are allowed", r->part->name, SUBJECT(r), rank,
                    begin, ETK__GGUF_RANK_LIMIT);
  entry->shape.rank = (int)rank;
  for (int i = (int)rank - 1; i >= 0; i--) {
    begin = r->at;
    s = take(r, &dim, 8);
    if (s != ETK_OK) return s;
    if (!dim || dim > INT64_MAX)
      return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has a dimension of %" PRIu64 ", at byte %zu; 1 to %" PRId64 " are allowed", r->part->name,
                      SUBJECT(r), dim, begin, INT64_MAX);
    entry->shape.dims[i] = (int64_t)dim;
  }
  if (etk_shape_elements(&entry->shape) < 0)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: the product of the dimensions of %s overflows (before byte %zu)", r->part->name, SUBJECT(r), r->at);
  return ETK_OK;
}

static etk_status read_type(reader *r, etk_gguf_entry *entry) {
  uint64_t number;
  size_t begin = r->at;
  etk_status s = take(r, &number, 4);
  if (s != ETK_OK) return s;
  if (number >= etk__gguf_type_count)
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: %s has the unknown type %" PRIu64 ", at byte %zu; types up to %" PRIu32 " (%s) are known",
                    r->part->name, SUBJECT(r), number, begin, etk__gguf_type_count - 1, etk__gguf_types[etk__gguf_type_count - 1].name);
  const etk__gguf_type *type = &etk__gguf_types[number];
  if (!type->elements)
    return etk_fail(r->e, ETK_E_UNSUPPORTED,
                    "%s: %s has type %" PRIu64 " (%s), at byte %zu, which was taken out of the format; quantize the model again", r->part->name,
                    SUBJECT(r), number, type->name, begin);
  int64_t row = entry->shape.rank ? entry->shape.dims[entry->shape.rank - 1] : 1, elements = etk_shape_elements(&entry->shape), bytes;
  if (row % type->elements)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s is of type %s, whose blocks hold %d elements, but its rows hold %" PRId64 " (at byte %zu)",
                    r->part->name, SUBJECT(r), type->name, type->elements, row, begin);
  if (__builtin_mul_overflow(elements / type->elements, (int64_t)type->bytes, &bytes))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s takes more bytes than can be counted (before byte %zu)", r->part->name, SUBJECT(r), r->at);
  etk_type held;
  entry->gguf_type = (uint32_t)number;
  entry->type_name = type->name;
  entry->type = etk_type_from_gguf(&held, (uint32_t)number) ? (int)held : -1;
  entry->bytes = (size_t)bytes;
  return ETK_OK;
}

/* Tensors follow each other in the order of their descriptions, each padded to the alignment. *end: where the last one ends. */
static etk_status read_offset(reader *r, uint64_t *offset, uint64_t *end, const char *previous, const etk_gguf_entry *entry) {
  size_t begin = r->at;
  uint64_t alignment = r->part->alignment, wanted = 0;
  etk_status s = take(r, offset, 8);
  if (s != ETK_OK) return s;
  if (*offset % alignment)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has the offset %" PRIu64 ", at byte %zu, which is no multiple of the alignment, %" PRIu64,
                    r->part->name, SUBJECT(r), *offset, begin, alignment);
  if (__builtin_add_overflow(*end, alignment - 1, &wanted) ||
      (wanted = wanted / alignment * alignment, __builtin_add_overflow(wanted, (uint64_t)entry->bytes, end)))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: the tensors up to '%s' take more bytes than can be counted (at byte %zu)", r->part->name, entry->name,
                    begin);
  if (*offset < wanted)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has the offset %" PRIu64 ", at byte %zu, inside tensor '%s'; %" PRIu64 " is wanted", r->part->name,
                    SUBJECT(r), *offset, begin, previous, wanted);
  if (*offset > wanted)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has the offset %" PRIu64 ", at byte %zu, which leaves a hole; %" PRIu64 " is wanted", r->part->name,
                    SUBJECT(r), *offset, begin, wanted);
  return ETK_OK;
}

/* The data section, from `begin`, holds exactly the tensors; the padding behind the last one may be missing. */
static etk_status place_data(reader *r, uint64_t end) {
  etk__gguf_part *part = r->part;
  uint64_t alignment = part->alignment, begin = ((uint64_t)r->at + alignment - 1) / alignment * alignment;
  uint64_t there = part->size > begin ? part->size - begin : 0;
  if (end > there)
    return etk_fail(r->e, ETK_E_FORMAT,
                    "%s: truncated: its tensors take %" PRIu64 " bytes from byte %" PRIu64 " on and %" PRIu64
                    " are there (the last tensor is '%s'); fetch the file again",
                    part->name, end, begin, there, part->entries[part->count - 1].name);
  if (there > (end + alignment - 1) / alignment * alignment)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %" PRIu64 " bytes from byte %" PRIu64 " on belong to no tensor", part->name, there - end, begin + end);
  uint64_t offset = 0;
  for (size_t i = 0; i < part->count; i++) {
    part->entries[i].data = part->bytes + begin + offset;
    offset = (offset + part->entries[i].bytes + alignment - 1) / alignment * alignment;
  }
  return ETK_OK;
}

static etk_status read_tensors(reader *r, uint64_t count, int index) {
  etk__gguf_part *part = r->part;
  uint64_t end = 0, offset;
  part->entries = etk_arena_array(r->arena, (size_t)count + 1, sizeof *part->entries);
  if (!part->entries) return etk__gguf_no_memory(r->e, part->name);
  for (uint64_t i = 0; i < count; i++) {
    etk_gguf_entry *entry = &part->entries[i];
    r->number = i;
    entry->part = index;
    etk_status s = read_name(r, entry);
    if (s == ETK_OK) s = read_dims(r, entry);
    if (s == ETK_OK) s = read_type(r, entry);
    if (s == ETK_OK) s = read_offset(r, &offset, &end, i ? part->entries[i - 1].name : "", entry);
    if (s != ETK_OK) return s;
  }
  part->count = (size_t)count;
  return place_data(r, end);
}

/* ---- the whole ---- */

static etk_status check_version(const reader *r) {
  const etk__gguf_part *part = r->part;
  if (part->size < 4 || memcmp(part->bytes, "GGUF", 4))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: not a GGUF file: it does not begin with \"GGUF\"%s", part->name,
                    part->size >= 4 && (!memcmp(part->bytes, "lmgg", 4) || !memcmp(part->bytes, "fmgg", 4) || !memcmp(part->bytes, "tjgg", 4))
                        ? " but as a GGML file of before 2023; convert it with a llama.cpp of that time"
                        : "");
  if (part->size < HEADER_BYTES)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %zu bytes are too few for a GGUF file, whose header takes %d", part->name, part->size, HEADER_BYTES);
  uint32_t version = (uint32_t)etk__gguf_load(part->bytes + 4, 4);
  if (version == 2 || version == 3) return ETK_OK;
  if (version && !(version & 0xffff))
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: GGUF version %" PRIu32 " read with its bytes swapped: a big-endian file, which is not supported",
                    part->name, __builtin_bswap32(version));
  return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: GGUF version %" PRIu32 " (at byte 4); versions 2 and 3 are supported", part->name, version);
}

static etk_status check_count(const reader *r, const char *what, size_t at, uint64_t count, uint64_t smallest) {
  if (count > ETK__GGUF_COUNT_LIMIT)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: a header of %" PRIu64 " %s (at byte %zu); at most %d are allowed", r->part->name, count, what, at,
                    ETK__GGUF_COUNT_LIMIT);
  if (count * smallest > left(r))
    return etk_fail(r->e, ETK_E_FORMAT,
                    "%s: a header of %" PRIu64 " %s (at byte %zu) takes at least %" PRIu64 " bytes; the file has %" PRIu64 " left", r->part->name,
                    count, what, at, count * smallest, left(r));
  return ETK_OK;
}

etk_status etk__gguf_parse_part(etk_error *e, etk_arena *arena, etk__gguf_part *part, int index) {
  reader r = {.e = e, .arena = arena, .part = part, .thing = "header", .name = NULL};
  etk_status s = check_version(&r);
  if (s != ETK_OK) return s;
  part->version = (uint32_t)etk__gguf_load(part->bytes + 4, 4);
  uint64_t tensors = etk__gguf_load(part->bytes + 8, 8), keys = etk__gguf_load(part->bytes + 16, 8);
  r.at = HEADER_BYTES;
  s = check_count(&r, "keys", 16, keys, SMALLEST_KEY);
  if (s == ETK_OK) s = check_count(&r, "tensors", 8, tensors, SMALLEST_TENSOR);
  if (s == ETK_OK) s = read_keys(&r, keys);
  if (s == ETK_OK) s = read_alignment(&r);
  if (s == ETK_OK) s = check_count(&r, "tensors", 8, tensors, SMALLEST_TENSOR);
  return s == ETK_OK ? read_tensors(&r, tensors, index) : s;
}
