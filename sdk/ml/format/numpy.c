/* .npy: "\x93NUMPY", version, header size, a Python dictionary as text, values (NumPy's NEP 1 and the notes in numpy.lib.format). */
#include "numpy_internal.h"

#include <etk/fs.h>
#include <inttypes.h>

static const struct {
  const char *descr; /* without the byte order */
  etk_dtype dtype;
  const char *name;
} types[] = {{"f4", ETK_F32, "float32"}, {"f2", ETK_F16, "float16"}, {"f8", ETK_F64, "float64"}, {"i1", ETK_I8, "int8"},   {"u1", ETK_U8, "uint8"},
             {"i2", ETK_I16, "int16"},   {"u2", ETK_U16, "uint16"},  {"i4", ETK_I32, "int32"},   {"u4", ETK_U32, "uint32"}, {"i8", ETK_I64, "int64"},
             {"u8", ETK_U64, "uint64"},  {"b1", ETK_BOOL, "bool"},   {"V2", ETK_BF16, "bfloat16"}};
enum { TYPES = sizeof types / sizeof *types };

const char *etk__npy_type_name(etk_dtype dtype) {
  for (int i = 0; i < TYPES; i++)
    if (types[i].dtype == dtype) return types[i].name;
  return "?";
}

/* ---- header ------------------------------------------------------------------------------------------------------------------------ */

typedef struct reader {
  etk_error *e;
  const char *name;
  const char *text;      /* of the header */
  size_t size, at, base; /* base: of the text in the file */
} reader;

static etk_status bad(reader *r, const char *wanted) {
  return etk_fail(r->e, ETK_E_FORMAT, "%s: byte %zu of the header: wanted %s", r->name, r->base + r->at, wanted);
}
static void blanks(reader *r) {
  while (r->at < r->size && (r->text[r->at] == ' ' || r->text[r->at] == '\n')) r->at++;
}
static bool skip(reader *r, char c) {
  blanks(r);
  if (r->at >= r->size || r->text[r->at] != c) return false;
  r->at++;
  return true;
}

/* A text in quotes without escapes. */
static etk_status read_text(reader *r, char *out, size_t limit) {
  blanks(r);
  char quote = r->at < r->size ? r->text[r->at] : 0;
  if (quote != '\'' && quote != '"') return bad(r, "a text in quotes (records are not read)");
  const char *begin = r->text + r->at + 1, *end = memchr(begin, quote, r->size - r->at - 1);
  if (!end) return bad(r, "a text with an end");
  size_t size = (size_t)(end - begin);
  if (size >= limit || memchr(begin, '\\', size) || memchr(begin, 0, size) || !etk_utf8_valid(begin, size))
    return bad(r, "a short text without escapes");
  memcpy(out, begin, size);
  out[size] = 0;
  r->at += size + 2;
  return ETK_OK;
}

static etk_status read_number(reader *r, int64_t *out) {
  blanks(r);
  size_t begin = r->at;
  for (*out = 0; r->at < r->size && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
    if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, r->text[r->at] - '0', out)) return bad(r, "a dimension below 2^63");
  return r->at == begin ? bad(r, "a whole number that is not negative") : ETK_OK;
}

static etk_status read_shape(reader *r, etk_shape *shape) {
  if (!skip(r, '(')) return bad(r, "the shape, a tuple of whole numbers");
  bool comma = true;
  for (*shape = (etk_shape){0}; !skip(r, ')'); shape->rank++) {
    if (!comma) return bad(r, "',' or ')'");
    if (shape->rank == ETK_MAX_RANK)
      return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: the array has more than %d dimensions, which is not supported", r->name, ETK_MAX_RANK);
    etk_status s = read_number(r, &shape->dims[shape->rank]);
    if (s != ETK_OK) return s;
    comma = skip(r, ',');
  }
  return shape->rank == 1 && !comma ? bad(r, "a tuple: (N,)") : ETK_OK;
}

static etk_status read_flag(reader *r, bool *out) {
  blanks(r);
  size_t left = r->size - r->at;
  *out = left >= 4 && !memcmp(r->text + r->at, "True", 4);
  if (!*out && (left < 5 || memcmp(r->text + r->at, "False", 5) != 0)) return bad(r, "True or False");
  r->at += *out ? 4 : 5;
  return ETK_OK;
}

static etk_status read_type(reader *r, etk_dtype *out) {
  char text[32];
  etk_status s = read_text(r, text, sizeof text);
  if (s != ETK_OK) return s;
  bool ordered = text[0] == '<' || text[0] == '>' || text[0] == '|';
  if (!strcmp(ordered ? text + 1 : text, "O"))
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: the array holds Python objects (a pickle), which are never read; save it as numbers", r->name);
  for (int i = 0; ordered && i < TYPES; i++) {
    if (strcmp(types[i].descr, text + 1) != 0) continue;
    if (text[0] == '>')
      return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: the array is big-endian ('%s'); save it with astype('<%s')", r->name, text, types[i].descr);
    bool unordered = etk_dtype_size(types[i].dtype) == 1;
    if ((text[0] == '|') != unordered && types[i].dtype != ETK_BF16) break; /* NumPy calls it two bytes of no type, '|V2' */
    *out = types[i].dtype;
    return ETK_OK;
  }
  return etk_fail(r->e, ETK_E_UNSUPPORTED,
                  "%s: the array has the type '%s', which cannot be held; little-endian numbers ('<f4', '<i8', '|u1', …) and '|b1' can", r->name,
                  text);
}

static etk_status read_dictionary(reader *r, etk__npy *out) {
  static const char *const keys[] = {"descr", "fortran_order", "shape"};
  unsigned seen = 0;
  bool comma = true;
  if (!skip(r, '{')) return bad(r, "'{'");
  while (!skip(r, '}')) {
    char key[32];
    int k = 0;
    if (!comma) return bad(r, "',' or '}'");
    etk_status s = read_text(r, key, sizeof key);
    if (s != ETK_OK) return s;
    while (k < 3 && strcmp(key, keys[k]) != 0) k++;
    if (k == 3 || seen & 1u << k)
      return etk_fail(r->e, ETK_E_FORMAT, "%s: the header has %s key '%s'", r->name, k == 3 ? "an unknown" : "twice the", key);
    seen |= 1u << k;
    if (!skip(r, ':')) return bad(r, "':'");
    s = k == 0 ? read_type(r, &out->dtype) : k == 1 ? read_flag(r, &out->fortran_order) : read_shape(r, &out->shape);
    if (s != ETK_OK) return s;
    comma = skip(r, ',');
  }
  for (int k = 0; k < 3; k++)
    if (!(seen & 1u << k)) return etk_fail(r->e, ETK_E_FORMAT, "%s: the header has no '%s'", r->name, keys[k]);
  blanks(r);
  return r->at == r->size ? ETK_OK : bad(r, "the end of the header");
}

etk_status etk__npy_header(etk_error *e, etk__npy *out, const char *name, const unsigned char *bytes, size_t size, uint64_t whole) {
  *out = (etk__npy){0};
  if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: not an .npy file: it does not begin with \\x93NUMPY and a version", name);
  if (bytes[6] < 1 || bytes[6] > 3 || bytes[7])
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: .npy version %d.%d is not known; 1.0, 2.0 and 3.0 are", name, bytes[6], bytes[7]);
  size_t begin = bytes[6] == 1 ? 10 : 12, length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
  if (size >= 12 && begin == 12) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
  if (length > ETK__NPY_HEADER_LIMIT - 12)
    return etk_fail(e, ETK_E_FORMAT, "%s: a header of %zu bytes; at most %d are allowed", name, length, ETK__NPY_HEADER_LIMIT - 12);
  if (size < begin || size - begin < length)
    return etk_fail(e, ETK_E_FORMAT, "%s: truncated inside the header: %zu bytes of %zu are there", name, size, begin + length);
  reader r = {.e = e, .name = name, .text = (const char *)bytes + begin, .size = length, .base = begin};
  etk_status s = read_dictionary(&r, out);
  if (s != ETK_OK) return s;
  int64_t elements = etk_shape_elements(&out->shape);
  uint64_t wanted, there = whole - begin - length;
  char shape[160];
  etk_shape_text(shape, sizeof shape, &out->shape);
  if (elements < 0 || __builtin_mul_overflow((uint64_t)elements, etk_dtype_size(out->dtype), &wanted))
    return etk_fail(e, ETK_E_FORMAT, "%s: the product of the shape %s overflows", name, shape);
  if (wanted != there)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s of %s takes %" PRIu64 " bytes, but %" PRIu64 " lie behind the header", name, shape,
                    etk_dtype_name(out->dtype), wanted, there);
  out->data_at = begin + length;
  out->bytes = (size_t)wanted;
  return ETK_OK;
}

etk_status etk__npy_put_header(etk_error *e, etk_text *out, const char *name, const etk_tensor *tensor) {
  etk_dtype dtype = etk_tensor_dtype(tensor);
  int type = 0;
  while (type < TYPES && types[type].dtype != dtype) type++;
  if (type == TYPES) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: NumPy has no type for %s; convert it to F32 first", name, etk_dtype_name(dtype));
  if (etk_tensor_elements(tensor) < 0 || (etk_tensor_elements(tensor) > 0 && !etk_tensor_data(tensor)))
    return etk_fail(e, ETK_E_INVALID, "%s: the tensor has no values to write yet", name);
  const etk_shape *shape = etk_tensor_shape(tensor);
  etk_text_append(out, "\x93NUMPY\1\0\0\0", 10);
  etk_text_printf(out, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", etk_dtype_size(dtype) == 1 ? '|' : '<', types[type].descr);
  for (int i = 0; i < shape->rank; i++) etk_text_printf(out, "%s%" PRId64, i ? ", " : "", shape->dims[i]);
  etk_text_puts(out, shape->rank == 1 ? ",), }" : "), }");
  while (!out->failed && out->size % 64 != 63) etk_text_putc(out, ' ');
  etk_text_putc(out, '\n');
  if (out->failed) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", name);
  out->data[8] = (char)((out->size - 10) & 255);
  out->data[9] = (char)((out->size - 10) >> 8);
  return ETK_OK;
}

/* ---- strides ----------------------------------------------------------------------------------------------------------------------- */

void etk__npy_strides(const etk__npy *array, int64_t strides[ETK_MAX_RANK]) {
  const etk_shape *shape = &array->shape;
  int64_t step = 1;
  for (int i = 0; i < shape->rank; i++) {
    int axis = array->fortran_order ? i : shape->rank - 1 - i;
    strides[axis] = step;
    if (shape->dims[axis] > 0) step *= shape->dims[axis]; /* the product was checked; with a 0 in it nothing is read */
  }
}

static void put(unsigned char *out, const unsigned char *in, size_t element, bool swap) {
  if (!swap) memcpy(out, in, element);
  for (size_t i = 0; swap && i < element; i++) out[i] = in[element - 1 - i];
}

void etk__strided_copy(void *out, const void *in, size_t element, const etk_shape *shape, const int64_t *strides, bool swap) {
  int64_t elements = etk_shape_elements(shape), index[ETK_MAX_RANK] = {0};
  const unsigned char *from = in;
  unsigned char *to = out;
  for (int64_t n = 0; n < elements; n++, to += element) {
    put(to, from, element, swap);
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
      if (++index[axis] < shape->dims[axis]) {
        from += strides[axis] * (int64_t)element;
        break;
      }
      from -= (shape->dims[axis] - 1) * strides[axis] * (int64_t)element;
      index[axis] = 0;
    }
  }
}

/* ---- files of one array ------------------------------------------------------------------------------------------------------------ */

static etk_status copy_out(etk_error *e, etk_tensor **out, const etk__npy *array, const unsigned char *values) {
  int64_t strides[ETK_MAX_RANK];
  etk__npy_strides(array, strides);
  etk_status s = etk_tensor_new(e, out, array->dtype, array->shape);
  if (s == ETK_OK) etk__strided_copy(etk_tensor_data(*out), values, etk_dtype_size(array->dtype), &array->shape, strides, false);
  return s;
}

static bool in_place(const etk__npy *array, const unsigned char *values) {
  return (!array->fortran_order || array->shape.rank < 2) && (uintptr_t)values % etk_dtype_size(array->dtype) == 0;
}

etk_status etk_npy_parse(etk_error *e, etk_tensor **out, const char *name, const void *bytes, size_t size) {
  *out = NULL;
  etk__npy array;
  etk_status s = etk__npy_header(e, &array, name, bytes, size, size);
  if (s != ETK_OK) return s;
  const unsigned char *values = (const unsigned char *)bytes + array.data_at;
  if (!in_place(&array, values)) return copy_out(e, out, &array, values);
  return etk_tensor_wrap(e, out, array.dtype, array.shape, values, NULL, NULL);
}

static void release_map(void *owner) {
  etk_map *map = owner;
  etk_map_close(map);
  etk_free(map);
}

etk_status etk_npy_open(etk_error *e, etk_tensor **out, const char *path) {
  *out = NULL;
  etk_map *map = etk_calloc(1, sizeof *map);
  if (!map) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while opening it", path);
  etk_status s = etk_map_open(e, map, path);
  if (s != ETK_OK) {
    etk_free(map);
    return s;
  }
  etk__npy array;
  s = etk__npy_header(e, &array, path, map->data, map->size, map->size);
  const unsigned char *values = s == ETK_OK ? map->data + array.data_at : NULL;
  if (s == ETK_OK && in_place(&array, values)) {
    s = etk_tensor_wrap(e, out, array.dtype, array.shape, values, release_map, map);
    if (s == ETK_OK) return s;
  } else if (s == ETK_OK) s = copy_out(e, out, &array, values);
  release_map(map);
  return s;
}

etk_status etk_npy_write(etk_error *e, const char *path, const etk_tensor *tensor, bool replace) {
  etk_text header = ETK_TEXT_INIT;
  etk_file *file = NULL;
  etk_status s = etk__npy_put_header(e, &header, path, tensor);
  if (s == ETK_OK) s = etk_file_create(e, &file, path, replace);
  if (s == ETK_OK) s = etk_file_write(e, file, header.data, header.size);
  if (s == ETK_OK && etk_tensor_bytes(tensor)) s = etk_file_write(e, file, etk_tensor_data(tensor), etk_tensor_bytes(tensor));
  etk_text_free(&header);
  if (s == ETK_OK) return etk_file_commit(e, file);
  etk_file_abort(file);
  return s;
}
