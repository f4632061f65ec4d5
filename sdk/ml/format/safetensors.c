#include "json.h"
#include "mapped.h"
#include "safetensors_internal.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

const etk__safetensors_dtype etk__safetensors_dtypes[] = {
    {"BOOL", 8, ETK_BOOL}, {"F4", 4, -1},        {"F6_E2M3", 6, -1},     {"F6_E3M2", 6, -1},     {"U8", 8, ETK_U8},      {"I8", 8, ETK_I8},
    {"F8_E5M2", 8, -1},    {"F8_E4M3", 8, -1},   {"F8_E8M0", 8, -1},     {"F8_E4M3FNUZ", 8, -1}, {"F8_E5M2FNUZ", 8, -1}, {"I16", 16, ETK_I16},
    {"U16", 16, ETK_U16},  {"F16", 16, ETK_F16}, {"BF16", 16, ETK_BF16}, {"I32", 32, ETK_I32},   {"U32", 32, ETK_U32},   {"F32", 32, ETK_F32},
    {"C64", 64, -1},       {"F64", 64, ETK_F64}, {"I64", 64, ETK_I64},   {"U64", 64, ETK_U64},
};
const int etk__safetensors_dtype_count = (int)(sizeof etk__safetensors_dtypes / sizeof *etk__safetensors_dtypes);

typedef struct range {
  uint64_t begin, end; /* in the byte buffer */
} range;

struct etk_safetensors {
  etk__mapped base; /* first */
  const unsigned char *buffer; /* behind the header */
  uint64_t buffer_size;
  etk_safetensors_entry *entries; /* by position in the file */
  size_t count;
  const etk_safetensors_entry **by_name;
  const char **metadata; /* pairs */
  size_t metadata_count;
};

static etk_status no_memory(etk_error *e, const char *name) {
  return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading the safetensors header", name);
}

void etk_safetensors_close(etk_safetensors *file) { etk__mapped_unref(file); }

/* ---- one entry -------------------------------------------------------------------------------------------------------------------- */

static const etk__safetensors_dtype *find_dtype(const char *name) {
  for (int i = 0; i < etk__safetensors_dtype_count; i++)
    if (!strcmp(etk__safetensors_dtypes[i].name, name)) return &etk__safetensors_dtypes[i];
  return NULL;
}

static etk_status read_shape(etk_error *e, const etk_safetensors *file, etk_safetensors_entry *entry, const json_t *value, uint64_t *elements) {
  const char *name = entry->name;
  if (!json_is_array(value)) return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': \"shape\" must be a list of whole numbers", file->base.name, name);
  size_t rank = json_array_size(value);
  if (rank > ETK_MAX_RANK)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' has %zu dimensions; at most %d are supported", file->base.name, name, rank, ETK_MAX_RANK);
  entry->shape.rank = (int)rank;
  *elements = 1;
  bool empty = false;
  for (size_t i = 0; i < rank; i++) {
    const json_t *item = json_array_get(value, i);
    if (!json_is_integer(item) || json_integer_value(item) < 0)
      return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': dimension %zu of \"shape\" must be a whole number of at least 0", file->base.name, name, i);
    uint64_t dim = (uint64_t)json_integer_value(item);
    entry->shape.dims[i] = (int64_t)dim;
    if (dim == 0) empty = true;
    if (dim && *elements > UINT64_MAX / dim)
      return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': the product of its shape overflows", file->base.name, name);
    if (dim) *elements *= dim;
  }
  if (empty) *elements = 0;
  return ETK_OK;
}

static etk_status read_range(etk_error *e, const etk_safetensors *file, const char *name, const json_t *value, range *out) {
  const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
  if (!json_is_array(value) || json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) || json_integer_value(begin) < 0 ||
      json_integer_value(end) < 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': \"data_offsets\" must be two whole numbers [begin, end]", file->base.name, name);
  out->begin = (uint64_t)json_integer_value(begin);
  out->end = (uint64_t)json_integer_value(end);
  if (out->begin > out->end)
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': \"data_offsets\" end at %" PRIu64 " before they begin at %" PRIu64, file->base.name, name, out->end,
                    out->begin);
  return ETK_OK;
}

static etk_status read_entry(etk_error *e, etk_safetensors *file, etk_safetensors_entry *entry, range *where, const char *name, const json_t *value) {
  entry->name = etk_arena_strdup(&file->base.arena, name);
  if (!entry->name) return no_memory(e, file->base.name);
  if (!json_is_object(value))
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s' must be an object with dtype, shape and data_offsets", file->base.name, name);
  const char *dtype_name = json_string_value(json_object_get(value, "dtype"));
  if (!dtype_name) return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': \"dtype\" must be a text such as \"F32\"", file->base.name, name);
  const etk__safetensors_dtype *dtype = find_dtype(dtype_name);
  if (!dtype)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' has the element type '%s', which is not one of the format's", file->base.name, name,
                    dtype_name);
  entry->dtype_name = dtype->name;
  entry->dtype = dtype->dtype;
  uint64_t elements = 0;
  etk_status s = read_shape(e, file, entry, json_object_get(value, "shape"), &elements);
  if (s == ETK_OK) s = read_range(e, file, name, json_object_get(value, "data_offsets"), where);
  if (s != ETK_OK) return s;
  char shape[128];
  etk_shape_text(shape, sizeof shape, &entry->shape);
  if (elements > UINT64_MAX / (uint64_t)dtype->bits)
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': %s of %s is more bytes than can be counted", file->base.name, name, shape, dtype->name);
  uint64_t bits = elements * (uint64_t)dtype->bits;
  if (bits % 8) return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': %s of %s does not fill whole bytes", file->base.name, name, shape, dtype->name);
  if (bits / 8 != where->end - where->begin)
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s': %s of %s takes %" PRIu64 " bytes, but its data_offsets span %" PRIu64, file->base.name, name, shape,
                    dtype->name, bits / 8, where->end - where->begin);
  entry->bytes = (size_t)(bits / 8);
  return ETK_OK;
}

static etk_status read_metadata(etk_error *e, etk_safetensors *file, json_t *value) {
  if (!json_is_object(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"__metadata__\" must be an object of texts", file->base.name);
  file->metadata = etk_arena_array(&file->base.arena, json_object_size(value) * 2 + 1, sizeof *file->metadata);
  if (!file->metadata) return no_memory(e, file->base.name);
  const char *key;
  json_t *item;
  json_object_foreach(value, key, item) {
    if (!json_is_string(item)) return etk_fail(e, ETK_E_FORMAT, "%s: \"__metadata__\": the value of '%s' must be a text", file->base.name, key);
    char *k = etk_arena_strdup(&file->base.arena, key), *v = etk_arena_strdup(&file->base.arena, json_string_value(item));
    if (!k || !v) return no_memory(e, file->base.name);
    file->metadata[file->metadata_count * 2] = k;
    file->metadata[file->metadata_count * 2 + 1] = v;
    file->metadata_count++;
  }
  return ETK_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

typedef struct slot {
  etk_safetensors_entry entry;
  range where;
} slot;

static int by_position(const void *a, const void *b) {
  const slot *x = a, *y = b;
  if (x->where.begin != y->where.begin) return x->where.begin < y->where.begin ? -1 : 1;
  if (x->where.end != y->where.end) return x->where.end < y->where.end ? -1 : 1;
  return strcmp(x->entry.name, y->entry.name);
}
static int by_name(const void *a, const void *b) {
  const etk_safetensors_entry *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}
static int name_against(const void *key, const void *item) {
  const etk_safetensors_entry *const *entry = item;
  return strcmp(key, (*entry)->name);
}

static etk_status check_layout(etk_error *e, const etk_safetensors *file, const slot *slots) {
  uint64_t at = 0;
  for (size_t i = 0; i < file->count; i++) {
    const slot *s = &slots[i];
    if (s->where.begin < at)
      return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s' begins at byte %" PRIu64 " of the buffer, inside tensor '%s', which ends at %" PRIu64,
                      file->base.name, s->entry.name, s->where.begin, i ? slots[i - 1].entry.name : "", at);
    if (s->where.begin > at)
      return etk_fail(e, ETK_E_FORMAT, "%s: bytes %" PRIu64 " to %" PRIu64 " of the buffer, before tensor '%s', belong to no tensor", file->base.name, at,
                      s->where.begin, s->entry.name);
    at = s->where.end;
  }
  if (at > file->buffer_size)
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: truncated: its tensors take %" PRIu64 " bytes and %" PRIu64 " are there: %" PRIu64
                    " bytes are missing (the last tensor is '%s'); fetch the file again",
                    file->base.name, at, file->buffer_size, at - file->buffer_size, slots[file->count - 1].entry.name);
  if (at < file->buffer_size)
    return etk_fail(e, ETK_E_FORMAT, "%s: %" PRIu64 " bytes after the last tensor belong to no tensor (the tensors take %" PRIu64 ")", file->base.name,
                    file->buffer_size - at, at);
  return ETK_OK;
}

static etk_status index_entries(etk_error *e, etk_safetensors *file, const slot *slots) {
  file->entries = etk_arena_array(&file->base.arena, file->count + 1, sizeof *file->entries);
  file->by_name = etk_arena_array(&file->base.arena, file->count + 1, sizeof *file->by_name);
  if (!file->entries || !file->by_name) return no_memory(e, file->base.name);
  for (size_t i = 0; i < file->count; i++) {
    file->entries[i] = slots[i].entry;
    file->entries[i].data = file->buffer + slots[i].where.begin;
    file->by_name[i] = &file->entries[i];
  }
  qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
  return ETK_OK;
}

static etk_status read_header(etk_error *e, etk_safetensors *file, json_t *header) {
  json_t *metadata = json_object_get(header, "__metadata__");
  etk_status s = metadata ? read_metadata(e, file, metadata) : ETK_OK;
  if (s != ETK_OK) return s;
  slot *slots = etk_calloc(json_object_size(header) + 1, sizeof *slots);
  if (!slots) return no_memory(e, file->base.name);
  const char *name;
  json_t *value;
  json_object_foreach(header, name, value) {
    if (value == metadata) continue;
    s = read_entry(e, file, &slots[file->count].entry, &slots[file->count].where, name, value);
    if (s != ETK_OK) break;
    file->count++;
  }
  if (s == ETK_OK) {
    qsort(slots, file->count, sizeof *slots, by_position);
    s = check_layout(e, file, slots);
  }
  if (s == ETK_OK) s = index_entries(e, file, slots);
  etk_free(slots);
  return s;
}

static etk_status parse(etk_error *e, void *reader, const unsigned char *bytes, size_t size) {
  etk_safetensors *file = reader;
  if (size < 8)
    return etk_fail(e, ETK_E_FORMAT, "%s: %zu bytes are too few for a safetensors file, which begins with 8 bytes of header size", file->base.name, size);
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; i--) header_size = header_size << 8 | bytes[i];
  if (header_size > ETK__SAFETENSORS_HEADER_LIMIT)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a safetensors file: its first 8 bytes ask for a header of %" PRIu64 " bytes; at most %u are allowed",
                    file->base.name, header_size, ETK__SAFETENSORS_HEADER_LIMIT);
  if (header_size > size - 8)
    return etk_fail(e, ETK_E_FORMAT, "%s: truncated inside the header: %" PRIu64 " of its %" PRIu64 " bytes are missing", file->base.name,
                    header_size - (size - 8), header_size);
  const char *text = (const char *)bytes + 8;
  if (header_size == 0 || text[0] != '{')
    return etk_fail(e, ETK_E_FORMAT, "%s: not a safetensors file: its header does not begin with '{'", file->base.name);
  if (!etk_utf8_valid(text, (size_t)header_size)) return etk_fail(e, ETK_E_FORMAT, "%s: the header is not UTF-8", file->base.name);
  file->buffer = bytes + 8 + header_size;
  file->buffer_size = size - 8 - header_size;
  json_error_t problem;
  size_t limit = size > SIZE_MAX / 8 ? SIZE_MAX : size * 5 + ((size_t)10 << 20); /* a tensor's entry takes another five times its text */
  json_t *header = etk__json_load_within(text, (size_t)header_size, limit, JSON_REJECT_DUPLICATES, &problem);
  if (!header && json_error_code(&problem) == json_error_out_of_memory) return no_memory(e, file->base.name);
  if (!header && json_error_code(&problem) == json_error_unknown) return etk_fail(e, ETK_E_FORMAT, "%s: the header: %s", file->base.name, problem.text);
  if (!header)
    return etk_fail(e, ETK_E_FORMAT, "%s: the header is not valid JSON: %s (byte %d of the header)", file->base.name, problem.text, problem.position);
  etk_status s =
      json_is_object(header) ? read_header(e, file, header) : etk_fail(e, ETK_E_FORMAT, "%s: the header must be a JSON object", file->base.name);
  json_decref(header);
  return s;
}

etk_status etk_safetensors_parse(etk_error *e, etk_safetensors **out, const char *name, const void *bytes, size_t size) {
  void *file;
  etk_status s = etk__mapped_over(e, &file, sizeof **out, name, bytes, size, parse);
  *out = file;
  return s;
}

etk_status etk_safetensors_open(etk_error *e, etk_safetensors **out, const char *path) {
  void *file;
  etk_status s = etk__mapped_open(e, &file, sizeof **out, path, parse);
  *out = file;
  return s;
}

size_t etk_safetensors_count(const etk_safetensors *file) { return file->count; }
const etk_safetensors_entry *etk_safetensors_at(const etk_safetensors *file, size_t index) {
  return index < file->count ? &file->entries[index] : NULL;
}

const etk_safetensors_entry *etk_safetensors_find(const etk_safetensors *file, const char *name) {
  const etk_safetensors_entry **found = bsearch(name, file->by_name, file->count, sizeof *file->by_name, name_against);
  return found ? *found : NULL;
}

const char *etk_safetensors_metadata(const etk_safetensors *file, const char *key) {
  for (size_t i = 0; i < file->metadata_count; i++)
    if (!strcmp(file->metadata[i * 2], key)) return file->metadata[i * 2 + 1];
  return NULL;
}

const char *etk_safetensors_metadata_at(const etk_safetensors *file, size_t index, const char **value) {
  if (index >= file->metadata_count) return NULL;
  if (value) *value = file->metadata[index * 2 + 1];
  return file->metadata[index * 2];
}

etk_status etk_safetensors_tensor(etk_error *e, etk_tensor **out, etk_safetensors *file, const char *name) {
  *out = NULL;
  const etk_safetensors_entry *entry = etk_safetensors_find(file, name);
  if (!entry) return etk_fail(e, ETK_E_NOT_FOUND, "%s has no tensor '%s' (it holds %zu tensors)", file->base.name, name, file->count);
  if (entry->dtype < 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' has the element type %s, which this version cannot compute with", file->base.name, name,
                    entry->dtype_name);
  etk__mapped_ref(&file->base);
  etk_status s = etk_tensor_wrap(e, out, (etk_dtype)entry->dtype, entry->shape, entry->data, etk__mapped_unref, file);
  if (s != ETK_OK) etk__mapped_unref(file);
  return s;
}
