/* Values of an ONNX model: where they lie, in which of the fields of a TensorProto or in which file, and how those of variable length are unpacked. */
#include "onnx_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
  DIMS, DATA_TYPE, SEGMENT, FLOAT_DATA, INT32_DATA, STRING_DATA, INT64_DATA, NAME, RAW_DATA, DOUBLE_DATA, UINT64_DATA, EXTERNAL_DATA,
  LOCATION, ROWS
};
static const etk__proto_rule rules[ROWS] = {
    {1, ETK__PROTO_VARINT, true, "dims"},
    {2, ETK__PROTO_VARINT, false, "data_type"},
    {3, ETK__PROTO_BYTES, false, "segment"},
    {4, ETK__PROTO_32, true, "float_data"},
    {5, ETK__PROTO_VARINT, true, "int32_data"},
    {6, ETK__PROTO_BYTES, true, "string_data"},
    {7, ETK__PROTO_VARINT, true, "int64_data"},
    {8, ETK__PROTO_BYTES, false, "name"},
    {9, ETK__PROTO_BYTES, false, "raw_data"},
    {10, ETK__PROTO_64, true, "double_data"},
    {11, ETK__PROTO_VARINT, true, "uint64_data"},
    {13, ETK__PROTO_BYTES, true, "external_data"},
    {14, ETK__PROTO_VARINT, false, "data_location"},
};
/* Where values stand that are neither raw nor external; whole: how many fields of the list make one value (complex numbers). */
static const struct type {
  const char *name;
  int type, bits, field, whole;
  int64_t least, most; /* of a number in the list */
} types[] = {
    {"UNDEFINED", -1, 0, 0, 0, 0, 0},
    {"FLOAT", ETK_F32, 32, FLOAT_DATA, 1, 0, 0},
    {"UINT8", ETK_U8, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"INT8", ETK_I8, 8, INT32_DATA, 1, INT8_MIN, INT8_MAX},
    {"UINT16", ETK_U16, 16, INT32_DATA, 1, 0, UINT16_MAX},
    {"INT16", ETK_I16, 16, INT32_DATA, 1, INT16_MIN, INT16_MAX},
    {"INT32", ETK_I32, 32, INT32_DATA, 1, INT32_MIN, INT32_MAX},
    {"INT64", ETK_I64, 64, INT64_DATA, 1, INT64_MIN, INT64_MAX},
    {"STRING", -1, 0, STRING_DATA, 1, 0, 0},
    {"BOOL", ETK_BOOL, 8, INT32_DATA, 1, 0, 1},
    {"FLOAT16", ETK_F16, 16, INT32_DATA, 1, 0, UINT16_MAX},
    {"DOUBLE", ETK_F64, 64, DOUBLE_DATA, 1, 0, 0},
    {"UINT32", ETK_U32, 32, UINT64_DATA, 1, 0, UINT32_MAX},
    {"UINT64", ETK_U64, 64, UINT64_DATA, 1, INT64_MIN, INT64_MAX},
    {"COMPLEX64", -1, 64, FLOAT_DATA, 2, 0, 0},
    {"COMPLEX128", -1, 128, DOUBLE_DATA, 2, 0, 0},
    {"BFLOAT16", ETK_BF16, 16, INT32_DATA, 1, 0, UINT16_MAX},
    {"FLOAT8E4M3FN", ETK_F8_E4M3, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"FLOAT8E4M3FNUZ", ETK_F8_E4M3FNUZ, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"FLOAT8E5M2", ETK_F8_E5M2, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"FLOAT8E5M2FNUZ", ETK_F8_E5M2FNUZ, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"UINT4", -1, 4, INT32_DATA, 1, INT8_MIN, UINT8_MAX},
    {"INT4", -1, 4, INT32_DATA, 1, INT8_MIN, UINT8_MAX},
    {"FLOAT4E2M1", -1, 4, INT32_DATA, 1, INT8_MIN, UINT8_MAX},
    {"FLOAT8E8M0", ETK_F8_E8M0, 8, INT32_DATA, 1, 0, UINT8_MAX},
    {"UINT2", -1, 2, INT32_DATA, 1, INT8_MIN, UINT8_MAX},
    {"INT2", -1, 2, INT32_DATA, 1, INT8_MIN, UINT8_MAX},
};
enum { TYPES = sizeof types / sizeof *types };

const char *etk_onnx_type_name(int number) { return number > 0 && number < TYPES ? types[number].name : "?"; }

/* ---- shape ---- */

typedef struct tensor {
  etk__onnx_reader *r;
  etk__proto_span message;
  etk__proto_seen seen;
  const struct type *type;
  etk_onnx_array *out;
  uint64_t elements;
} tensor;

static etk_status bad(const tensor *t, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
static etk_status bad(const tensor *t, etk_status status, const char *format, ...) {
  char text[384];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return etk__proto_fail(&t->r->file, status, t->message.at, "tensor '%.200s': %s", t->out->name, text);
}

/* The fields of one row, in order; *more is false behind the last. */
static etk_status next_of(const etk__proto_file *file, etk__proto_span *span, int row, etk__proto_field *out, bool *more) {
  etk_status s;
  do s = etk__proto_next(file, span, out, more);
  while (!s && *more && out->number != rules[row].number);
  return s;
}

static etk_status read_shape(tensor *t) {
  etk__proto_span span = t->message;
  etk__proto_field field;
  bool more, over = false, empty = false;
  if (t->seen.count[DIMS] > ETK_MAX_RANK)
    return bad(t, ETK_E_UNSUPPORTED, "it has %" PRIu64 " dimensions; at most %d are supported", t->seen.count[DIMS], ETK_MAX_RANK);
  t->elements = 1;
  for (;;) {
    etk_status s = next_of(&t->r->file, &span, DIMS, &field, &more);
    if (s) return s;
    if (!more) break;
    do {
      uint64_t dim = field.value;
      if (field.wire == ETK__PROTO_BYTES && field.bytes.at == field.bytes.end) break;
      if (field.wire == ETK__PROTO_BYTES && (s = etk__proto_varint(&t->r->file, &field.bytes, &dim))) return s;
      if (dim > INT64_MAX) return bad(t, ETK_E_FORMAT, "dimension %d is %" PRId64 "; it must not be negative", t->out->shape.rank, (int64_t)dim);
      t->out->shape.dims[t->out->shape.rank++] = (int64_t)dim;
      empty |= dim == 0;
      if (dim) over |= __builtin_mul_overflow(t->elements, dim, &t->elements);
    } while (field.wire == ETK__PROTO_BYTES && field.bytes.at < field.bytes.end);
  }
  if (empty) t->elements = 0;
  if (over || t->elements > (uint64_t)INT64_MAX / 128) return bad(t, ETK_E_FORMAT, "the product of its dimensions overflows");
  t->out->bytes = (size_t)((t->elements * (uint64_t)t->type->bits + 7) / 8);
  return ETK_OK;
}

/* ---- external data ---- */

typedef struct place {
  const char *location;
  uint64_t offset, length;
  bool has_offset, has_length;
} place;

static etk_status read_size(const tensor *t, const char *key, const char *text, uint64_t *out) {
  *out = 0;
  for (const char *p = text; *p; p++)
    if (*p < '0' || *p > '9' || __builtin_mul_overflow(*out, 10u, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
      return bad(t, ETK_E_FORMAT, "external data: %s is '%.40s'; a whole number below 2^64 is right", key, text);
  return *text ? ETK_OK : bad(t, ETK_E_FORMAT, "external data: %s is empty", key);
}

static etk_status read_entry(tensor *t, const etk__proto_field *field, place *out) {
  static const etk__proto_rule entry[] = {{1, ETK__PROTO_BYTES, false, "key"}, {2, ETK__PROTO_BYTES, false, "value"}};
  etk__proto_seen seen;
  const char *key, *value;
  etk_status s = etk__proto_scan(&t->r->file, field->bytes, "an entry of external_data", entry, 2, &seen);
  if (!s) s = etk__onnx_text(t->r, "a key of external_data", seen.fields[0] ? &seen.first[0] : NULL, &key);
  if (!s) s = etk__onnx_text(t->r, "a value of external_data", seen.fields[1] ? &seen.first[1] : NULL, &value);
  if (s) return s;
  bool offset = !strcmp(key, "offset"), length = !strcmp(key, "length"), location = !strcmp(key, "location");
  if ((offset && out->has_offset) || (length && out->has_length) || (location && out->location))
    return bad(t, ETK_E_FORMAT, "external data: %s is given twice", key);
  if (location) out->location = value;
  if (offset) out->has_offset = true, s = read_size(t, key, value, &out->offset);
  if (length) out->has_length = true, s = read_size(t, key, value, &out->length);
  return s; /* "checksum" and what others add say nothing about the place */
}

static etk_status map_external(tensor *t, const char *location, const etk_map **out) {
  etk_onnx *onnx = t->r->onnx;
  for (etk__onnx_external *x = onnx->external; x; x = x->next)
    if (!strcmp(x->location, location)) return *out = &x->map, ETK_OK;
  etk__onnx_external *made = etk__onnx_take(t->r, 1, sizeof *made);
  if (!made) return etk__onnx_short(t->r);
  char *path = etk_path_join(onnx->folder, location);
  etk_status s = path ? etk_map_open(t->r->file.e, &made->map, path) : etk_fail_memory(t->r->file.e);
  etk_free(path);
  if (s) return etk_error_while(t->r->file.e, s, "%s: tensor '%.200s': external data", onnx->base.name, t->out->name);
  made->location = location;
  made->next = onnx->external;
  onnx->external = made;
  *out = &made->map;
  return ETK_OK;
}

static etk_status read_external(tensor *t) {
  etk__proto_span span = t->message;
  etk__proto_field field;
  place at = {0};
  bool more;
  for (;;) {
    etk_status s = next_of(&t->r->file, &span, EXTERNAL_DATA, &field, &more);
    if (!s && more) s = read_entry(t, &field, &at);
    if (s) return s;
    if (!more) break;
  }
  if (!at.location) return bad(t, ETK_E_FORMAT, "its data is external, but no location says in which file");
  if (!etk_path_is_inside(at.location)) return bad(t, ETK_E_FORMAT, "external data in '%.100s', which leaves the model's folder", at.location);
  if (at.has_length && at.length != t->out->bytes)
    return bad(t, ETK_E_FORMAT, "external data of %" PRIu64 " bytes, but its shape takes %zu", at.length, t->out->bytes);
  t->out->location = at.location;
  if (!t->r->onnx->folder) return ETK_OK;
  const etk_map *map = NULL;
  etk_status s = map_external(t, at.location, &map);
  if (s) return s;
  if (at.offset > map->size || map->size - at.offset < t->out->bytes)
    return bad(t, ETK_E_FORMAT, "external data of %zu bytes from byte %" PRIu64 " of '%.100s', which has %zu", t->out->bytes, at.offset, at.location,
               map->size);
  t->out->data = map->data ? map->data + at.offset : (const unsigned char *)"";
  return ETK_OK;
}

void etk__onnx_close_external(void *file) {
  for (etk__onnx_external *x = ((etk_onnx *)file)->external; x; x = x->next) etk_map_close(&x->map);
}

/* ---- values ---- */

static etk_status read_values(tensor *t) {
  static const int sources[] = {FLOAT_DATA, INT32_DATA, STRING_DATA, INT64_DATA, RAW_DATA, DOUBLE_DATA, UINT64_DATA};
  const etk__proto_seen *seen = &t->seen;
  bool external = seen->fields[LOCATION] && seen->first[LOCATION].value == 1;
  if (seen->fields[LOCATION] && seen->first[LOCATION].value > 1)
    return bad(t, ETK_E_FORMAT, "data_location is %" PRIu64 "; 0 and 1 are known", seen->first[LOCATION].value);
  int source = -1;
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    if (!seen->count[sources[i]]) continue;
    if (source >= 0 || external)
      return bad(t, ETK_E_FORMAT, "it has values in %s and in %s", external ? "a file of its own" : rules[source].name, rules[sources[i]].name);
    source = sources[i];
  }
  if (external) return read_external(t);
  if (source == RAW_DATA && t->type->bits) {
    etk__proto_span raw = seen->first[RAW_DATA].bytes;
    if ((size_t)(raw.end - raw.at) != t->out->bytes)
      return bad(t, ETK_E_FORMAT, "raw_data has %zu bytes, its shape and type take %zu", (size_t)(raw.end - raw.at), t->out->bytes);
    t->out->data = raw.at;
    return ETK_OK;
  }
  if (source >= 0 && source != t->type->field) return bad(t, ETK_E_FORMAT, "values of %s cannot stand in %s", t->type->name, rules[source].name);
  uint64_t wanted = t->type->bits && t->type->bits < 8 ? t->out->bytes : t->elements * (uint64_t)t->type->whole, there = seen->count[t->type->field];
  if (there != wanted)
    return bad(t, ETK_E_FORMAT, "%s has %" PRIu64 " numbers, its shape calls for %" PRIu64, rules[t->type->field].name, there, wanted);
  if (!t->out->bytes) t->out->data = t->type->bits ? (const unsigned char *)"" : NULL;
  /* One packed list of numbers of fixed length is the values themselves. */
  bool fixed = t->type->field == FLOAT_DATA || t->type->field == DOUBLE_DATA;
  if (t->out->bytes && fixed && seen->fields[t->type->field] == 1) t->out->data = seen->first[t->type->field].bytes.at;
  return ETK_OK;
}

etk_status etk__onnx_read_array(etk__onnx_reader *r, etk__proto_span message, etk_onnx_array *out) {
  tensor t = {.r = r, .message = message, .out = out};
  *out = (etk_onnx_array){.name = "", .type = -1, .message = message.at, .message_bytes = (size_t)(message.end - message.at)};
  etk_status s = etk__proto_scan(&r->file, message, "a tensor", rules, ROWS, &t.seen);
  if (!s) s = etk__onnx_text(r, "the name of a tensor", t.seen.fields[NAME] ? &t.seen.first[NAME] : NULL, &out->name);
  if (s) return s;
  if (t.seen.fields[SEGMENT]) return bad(&t, ETK_E_UNSUPPORTED, "it is one segment of a tensor, which is not read");
  uint64_t number = t.seen.fields[DATA_TYPE] ? t.seen.first[DATA_TYPE].value : 0;
  if (!number || number >= TYPES)
    return bad(&t, number ? ETK_E_UNSUPPORTED : ETK_E_FORMAT, "its data_type is %" PRIu64 "; 1 to %d are known", number, TYPES - 1);
  t.type = &types[number];
  out->type_name = t.type->name, out->number = (int)number, out->type = t.type->type;
  s = read_shape(&t);
  return s ? s : read_values(&t);
}

/* ---- unpacking ---- */

/* Fills out from the fields of one row; checked when the file was opened, but for the range of the numbers. */
typedef struct filling {
  const struct type *type;
  unsigned char *out;
  size_t done, bytes;
} filling;

static bool put_number(filling *f, uint64_t value, size_t size) {
  int64_t number = f->type->field == INT32_DATA ? (int32_t)(uint32_t)value : (int64_t)value;
  if (number < f->type->least || number > f->type->most || f->bytes - f->done < size) return false;
  for (size_t i = 0; i < size; i++) f->out[f->done++] = (unsigned char)((uint64_t)number >> (8 * i));
  return true;
}

static etk_status put_field(const etk__proto_file *file, filling *f, const etk__proto_field *field) {
  size_t size = f->type->bits < 8 ? 1 : (size_t)f->type->bits / 8;
  if (f->type->field == FLOAT_DATA || f->type->field == DOUBLE_DATA) {
    size_t there = (size_t)(field->bytes.end - field->bytes.at);
    if (f->bytes - f->done < there) return etk__proto_fail(file, ETK_E_INTERNAL, field->tag, "more values than were counted");
    memcpy(f->out + f->done, field->bytes.at, there);
    f->done += there;
    return ETK_OK;
  }
  etk__proto_span span = field->bytes;
  uint64_t value = field->value;
  bool packed = field->wire == ETK__PROTO_BYTES;
  while (!packed || span.at < span.end) {
    etk_status s = packed ? etk__proto_varint(file, &span, &value) : ETK_OK;
    if (s) return s;
    if (!put_number(f, value, size))
      return etk__proto_fail(file, ETK_E_FORMAT, packed ? span.at : field->tag, "the number %" PRId64 " in %s is no value of %s", (int64_t)value,
                             rules[f->type->field].name, f->type->name);
    if (!packed) break;
  }
  return ETK_OK;
}

etk_status etk_onnx_copy(etk_error *e, void *out, const etk_onnx *onnx, const etk_onnx_array *array) {
  if (array->data) {
    if (array->bytes) memcpy(out, array->data, array->bytes);
    return ETK_OK;
  }
  const char *name = onnx->base.name;
  if (array->location)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' lies in '%s', which a model in memory does not reach; open it by its path", name,
                    array->name, array->location);
  const struct type *type = &types[array->number];
  if (!type->bits) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' holds texts, not numbers", name, array->name);
  etk__proto_file file = {e, name, onnx->begin};
  etk__proto_span span = {array->message, array->message + array->message_bytes};
  etk__proto_field field;
  filling f = {type, out, 0, array->bytes};
  for (bool more = true; more;) {
    etk_status s = next_of(&file, &span, type->field, &field, &more);
    if (!s && more) s = put_field(&file, &f, &field);
    if (s) return etk_error_while(e, s, "tensor '%s'", array->name);
  }
  return f.done == f.bytes ? ETK_OK
                           : etk_fail(e, ETK_E_INTERNAL, "%s: tensor '%s': %zu bytes of %zu were unpacked", name, array->name, f.done, f.bytes);
}

etk_status etk_onnx_tensor(etk_error *e, etk_tensor **out, etk_onnx *onnx, const etk_onnx_array *array) {
  *out = NULL;
  if (array->type < 0 || array->type >= ETK_DTYPE_COUNT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' has the element type %s, which this version cannot compute with", onnx->base.name,
                    array->name, array->type_name);
  etk_status s;
  if (!array->data) {
    s = etk_tensor_new(e, out, (etk_dtype)array->type, array->shape);
    if (!s) s = etk_onnx_copy(e, etk_tensor_data(*out), onnx, array);
    if (!s) return ETK_OK;
    etk_tensor_unref(*out);
    *out = NULL;
    return s;
  }
  etk__mapped_ref(&onnx->base);
  s = etk_tensor_wrap(e, out, (etk_dtype)array->type, array->shape, array->data, etk__mapped_unref, onnx);
  if (s) etk__mapped_unref(onnx);
  return s;
}
