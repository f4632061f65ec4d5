/* Writing GGUF files, version 3, whole or in parts. Values are kept as they will be stored. */
#include "gguf_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

enum { CHUNK = 1 << 20, PART_LIMIT = 512 };

typedef struct item {
  const char *key;
  etk_gguf_kind kind;
  etk_text bytes; /* as stored behind the kind */
} item;
typedef struct tensor {
  const char *name;
  etk_type type;
  etk_shape shape;
  size_t bytes;
  uint64_t offset; /* in its part */
  int part;
  const unsigned char *data;
  etk_gguf_fill fill;
  void *user;
} tensor;
struct etk_gguf_writer {
  etk_arena arena; /* keys and names */
  item *items;
  size_t item_count, item_room;
  tensor *tensors;
  size_t count, room;
  etk_error error; /* the first failure of a setter */
};

etk_gguf_writer *etk_gguf_writer_new(void) { return etk_calloc(1, sizeof(etk_gguf_writer)); }

void etk_gguf_writer_free(etk_gguf_writer *w) {
  if (!w) return;
  for (size_t i = 0; i < w->item_count; i++) etk_text_free(&w->items[i].bytes);
  etk_free(w->items);
  etk_free(w->tensors);
  etk_arena_fini(&w->arena);
  etk_free(w);
}

static void put(etk_text *out, uint64_t value, int bytes) {
  unsigned char b[8];
  for (int i = 0; i < bytes; i++) b[i] = (unsigned char)(value >> (8 * i));
  etk_text_append(out, (const char *)b, (size_t)bytes);
}
static void put_text(etk_text *out, const char *bytes, size_t size) {
  put(out, size, 8);
  etk_text_append(out, bytes, size);
}

/* ---- keys ---- */

/* "split.no" and its like say how files lie beside each other: the writer's own business, so that a copied key cannot lie. */
static bool is_split_key(const char *key) { return !strcmp(key, "split.no") || !strcmp(key, "split.count") || !strcmp(key, "split.tensors.count"); }

static bool no_memory(etk_gguf_writer *w) {
  if (w->error.status == ETK_OK) etk_fail(&w->error, ETK_E_NO_MEMORY, "out of memory while collecting GGUF keys and tensors");
  return false;
}

/* The item of the key, emptied; NULL after a failure. */
static item *slot(etk_gguf_writer *w, const char *key, etk_gguf_kind kind) {
  if (w->error.status != ETK_OK) return NULL;
  size_t size = strlen(key);
  bool good = size > 0 && size <= ETK__GGUF_KEY_LIMIT;
  for (size_t i = 0; good && i < size; i++) good = key[i] >= 0x21 && key[i] <= 0x7e;
  if (!good) {
    etk_fail(&w->error, ETK_E_INVALID, "'%.80s' cannot be a GGUF key: 1 to %d characters of printable ASCII without blanks are wanted", key,
             ETK__GGUF_KEY_LIMIT);
    return NULL;
  }
  for (size_t i = 0; i < w->item_count; i++)
    if (!strcmp(w->items[i].key, key)) {
      w->items[i].kind = kind;
      etk_text_free(&w->items[i].bytes);
      w->items[i].bytes = (etk_text)ETK_TEXT_INIT;
      return &w->items[i];
    }
  if (w->item_count == w->item_room) {
    size_t room = w->item_room ? w->item_room * 2 : 32;
    item *grown = etk_realloc(w->items, room, sizeof *grown);
    if (!grown) return no_memory(w), NULL;
    w->items = grown;
    w->item_room = room;
  }
  item *it = &w->items[w->item_count];
  *it = (item){etk_arena_strdup(&w->arena, key), kind, ETK_TEXT_INIT};
  if (!it->key) return no_memory(w), NULL;
  w->item_count++;
  return it;
}
static void done(etk_gguf_writer *w, const item *it) {
  if (it && it->bytes.failed) no_memory(w);
}

static bool int_fits(etk_gguf_kind kind, int64_t x) {
  switch (kind) {
  case ETK_GGUF_BOOL:
    return x == 0 || x == 1;
  case ETK_GGUF_U8:
    return x >= 0 && x <= UINT8_MAX;
  case ETK_GGUF_I8:
    return x >= INT8_MIN && x <= INT8_MAX;
  case ETK_GGUF_U16:
    return x >= 0 && x <= UINT16_MAX;
  case ETK_GGUF_I16:
    return x >= INT16_MIN && x <= INT16_MAX;
  case ETK_GGUF_U32:
    return x >= 0 && x <= UINT32_MAX;
  case ETK_GGUF_I32:
    return x >= INT32_MIN && x <= INT32_MAX;
  case ETK_GGUF_U64:
    return x >= 0;
  default:
    return kind == ETK_GGUF_I64;
  }
}

void etk_gguf_set_int(etk_gguf_writer *w, const char *key, etk_gguf_kind kind, int64_t value) {
  if (w->error.status == ETK_OK && !int_fits(kind, value))
    etk_fail(&w->error, ETK_E_INVALID, "key '%s': %" PRId64 " does not fit a %s", key, value, etk_gguf_kind_name(kind));
  item *it = slot(w, key, kind);
  if (it) put(&it->bytes, (uint64_t)value, etk__gguf_kind_bytes[kind]);
  done(w, it);
}

void etk_gguf_set_real(etk_gguf_writer *w, const char *key, etk_gguf_kind kind, double value) {
  if (w->error.status == ETK_OK && kind != ETK_GGUF_F32 && kind != ETK_GGUF_F64)
    etk_fail(&w->error, ETK_E_INVALID, "key '%s': a real number is stored as f32 or f64, not as %s", key, etk_gguf_kind_name(kind));
  item *it = slot(w, key, kind);
  if (!it) return;
  float single = (float)value;
  uint32_t low;
  uint64_t bits;
  memcpy(&low, &single, sizeof low);
  memcpy(&bits, &value, sizeof bits);
  put(&it->bytes, kind == ETK_GGUF_F32 ? low : bits, etk__gguf_kind_bytes[kind]);
  done(w, it);
}

static bool check_text(etk_gguf_writer *w, const char *key, const char *text, size_t size) {
  if (w->error.status != ETK_OK) return false;
  if (size > ETK__GGUF_ITEM_LIMIT)
    etk_fail(&w->error, ETK_E_INVALID, "key '%s': a string of %zu bytes; at most %d are allowed", key, size, ETK__GGUF_ITEM_LIMIT);
  else if (!etk_utf8_valid(text, size)) etk_fail(&w->error, ETK_E_INVALID, "key '%s': a string is not UTF-8", key);
  return w->error.status == ETK_OK;
}

void etk_gguf_set_text(etk_gguf_writer *w, const char *key, const char *text) {
  if (!check_text(w, key, text, strlen(text))) return;
  item *it = slot(w, key, ETK_GGUF_TEXT);
  if (it) put_text(&it->bytes, text, strlen(text));
  done(w, it);
}

static item *array_slot(etk_gguf_writer *w, const char *key, etk_gguf_kind items, uint64_t count) {
  if (w->error.status == ETK_OK && count > ETK__GGUF_ITEM_LIMIT)
    etk_fail(&w->error, ETK_E_INVALID, "key '%s': an array of %" PRIu64 " items; at most %d are allowed", key, count, ETK__GGUF_ITEM_LIMIT);
  item *it = slot(w, key, ETK_GGUF_ARRAY);
  if (!it) return NULL;
  put(&it->bytes, (uint64_t)items, 4);
  put(&it->bytes, count, 8);
  return it;
}

void etk_gguf_set_array(etk_gguf_writer *w, const char *key, etk_gguf_kind items, const void *values, uint64_t count) {
  int bytes = (unsigned)items < ETK_GGUF_KIND_COUNT ? etk__gguf_kind_bytes[items] : 0;
  if (w->error.status == ETK_OK && !bytes)
    etk_fail(&w->error, ETK_E_INVALID, "key '%s': an array of %s is not made of numbers", key, etk_gguf_kind_name(items));
  item *it = array_slot(w, key, items, count);
  if (!it) return;
  const unsigned char *p = values;
  for (uint64_t i = 0; i < count; i++, p += bytes) { /* from the machine's byte order */
    uint64_t x = 0;
    if (bytes == 1) x = *p;
    if (bytes == 2) x = *(const uint16_t *)(const void *)p;
    if (bytes == 4) x = *(const uint32_t *)(const void *)p;
    if (bytes == 8) x = *(const uint64_t *)(const void *)p;
    put(&it->bytes, x, bytes);
  }
  done(w, it);
}

void etk_gguf_set_texts(etk_gguf_writer *w, const char *key, const char *const *texts, const size_t *sizes, uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    if (!check_text(w, key, texts[i], sizes ? sizes[i] : strlen(texts[i]))) return;
  item *it = array_slot(w, key, ETK_GGUF_TEXT, count);
  for (uint64_t i = 0; it && i < count; i++) put_text(&it->bytes, texts[i], sizes ? sizes[i] : strlen(texts[i]));
  done(w, it);
}

static void put_value(etk_text *out, const etk_gguf_value *v) {
  if (v->kind != ETK_GGUF_ARRAY) {
    if (v->kind == ETK_GGUF_TEXT) put_text(out, v->data, (size_t)v->count);
    else etk_text_append(out, v->data, etk__gguf_kind_bytes[v->kind]);
    return;
  }
  put(out, (uint64_t)v->item_kind, 4);
  put(out, v->count, 8);
  if (etk__gguf_kind_bytes[v->item_kind]) {
    etk_text_append(out, v->data, (size_t)v->count * etk__gguf_kind_bytes[v->item_kind]);
    return;
  }
  for (uint64_t i = 0; i < v->count; i++) {
    size_t size;
    const char *text = etk_gguf_text_at(v, i, &size);
    if (text) put_text(out, text, size);
    else put_value(out, etk_gguf_value_at(v, i));
  }
}
void etk_gguf_set_value(etk_gguf_writer *w, const char *key, const etk_gguf_value *value) {
  item *it = slot(w, key, value->kind);
  if (it) put_value(&it->bytes, value);
  done(w, it);
}

/* ---- tensors ---- */

static etk_status check_tensor(etk_error *e, const char *name, etk_type type, const etk_shape *shape, size_t *bytes) {
  size_t size = strlen(name);
  bool good = size > 0 && size <= ETK__GGUF_NAME_LIMIT && etk_utf8_valid(name, size);
  for (size_t i = 0; good && i < size; i++) good = (unsigned char)name[i] >= 0x20 && name[i] != 0x7f;
  if (!good)
    return etk_fail(e, ETK_E_INVALID, "'%.80s' cannot be a GGUF tensor's name: 1 to %d bytes of UTF-8 without control characters are wanted", name,
                    ETK__GGUF_NAME_LIMIT);
  if (etk_type_gguf(type) < 0) return etk_fail(e, ETK_E_UNSUPPORTED, "tensor '%s': GGUF has no type %s", name, etk_type_name(type));
  if (shape->rank < 0 || shape->rank > ETK__GGUF_RANK_LIMIT)
    return etk_fail(e, ETK_E_SHAPE, "tensor '%s' has %d dimensions; GGUF holds at most %d", name, shape->rank, ETK__GGUF_RANK_LIMIT);
  for (int i = 0; i < shape->rank; i++)
    if (shape->dims[i] < 1)
      return etk_fail(e, ETK_E_SHAPE, "tensor '%s': dimension %d is %" PRId64 "; GGUF holds no empty tensors", name, i, shape->dims[i]);
  int64_t elements = etk_shape_elements(shape), columns = shape->rank ? shape->dims[shape->rank - 1] : 1;
  if (elements < 0) return etk_fail(e, ETK_E_SHAPE, "tensor '%s': the product of its dimensions overflows", name);
  etk_status s = etk_type_bytes(e, bytes, type, elements / columns, columns);
  return s == ETK_OK ? s : etk_error_while(e, s, "tensor '%s'", name);
}

void etk_gguf_add(etk_gguf_writer *w, const char *name, etk_type type, etk_shape shape, const void *data, etk_gguf_fill fill, void *user) {
  tensor t = {.type = type, .shape = shape, .data = data, .fill = fill, .user = user};
  if (w->error.status != ETK_OK || check_tensor(&w->error, name, type, &shape, &t.bytes) != ETK_OK) return;
  if (!data && !fill) {
    etk_fail(&w->error, ETK_E_INVALID, "tensor '%s' has neither data nor a function that makes it", name);
    return;
  }
  if (w->count == w->room) {
    size_t room = w->room ? w->room * 2 : 64;
    tensor *grown = etk_realloc(w->tensors, room, sizeof *grown);
    if (!grown) {
      no_memory(w);
      return;
    }
    w->tensors = grown;
    w->room = room;
  }
  t.name = etk_arena_strdup(&w->arena, name);
  if (!t.name) no_memory(w);
  else w->tensors[w->count++] = t;
}

/* ---- writing ---- */

typedef struct plan {
  const char *path;
  uint64_t alignment;
  int parts;
} plan;

static int compare_names(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static etk_status check_names(etk_error *e, const etk_gguf_writer *w, const char *path) {
  const char **names = etk_calloc(w->count + 1, sizeof *names);
  if (!names) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path);
  for (size_t i = 0; i < w->count; i++) names[i] = w->tensors[i].name;
  qsort(names, w->count, sizeof *names, compare_names);
  etk_status s = ETK_OK;
  for (size_t i = 1; s == ETK_OK && i < w->count; i++)
    if (!strcmp(names[i - 1], names[i])) s = etk_fail(e, ETK_E_INVALID, "%s: the tensor name '%s' is given twice", path, names[i]);
  etk_free(names);
  return s;
}

static etk_status find_alignment(etk_error *e, const etk_gguf_writer *w, plan *p) {
  p->alignment = ETK__GGUF_ALIGNMENT;
  for (size_t i = 0; i < w->item_count; i++) {
    const item *it = &w->items[i];
    if (strcmp(it->key, "general.alignment")) continue;
    uint64_t value = it->kind == ETK_GGUF_U32 ? etk__gguf_load((const unsigned char *)it->bytes.data, 4) : 0;
    if (!value || (value & (value - 1)))
      return etk_fail(e, ETK_E_INVALID, "%s: key 'general.alignment' must be a u32 that is a power of two", p->path);
    p->alignment = value;
  }
  return ETK_OK;
}

/* Parts and offsets. A tensor opens a new part where the limit would be passed. */
static etk_status lay_out(etk_error *e, etk_gguf_writer *w, plan *p, int64_t limit) {
  uint64_t end = 0;
  p->parts = 1;
  for (size_t i = 0; i < w->count; i++) {
    tensor *t = &w->tensors[i];
    uint64_t begin = (end + p->alignment - 1) / p->alignment * p->alignment;
    if (limit > 0 && end && begin + t->bytes > (uint64_t)limit) {
      p->parts++;
      begin = 0;
    }
    t->part = p->parts - 1;
    t->offset = begin;
    if (__builtin_add_overflow(begin, (uint64_t)t->bytes, &end) || end > INT64_MAX)
      return etk_fail(e, ETK_E_INVALID, "%s: the tensors up to '%s' take more bytes than can be counted", p->path, t->name);
  }
  if (p->parts > PART_LIMIT)
    return etk_fail(e, ETK_E_INVALID, "%s: parts of %" PRId64 " bytes would be %d files; at most %d are written: ask for larger parts", p->path,
                    limit, p->parts, PART_LIMIT);
  return ETK_OK;
}

static void put_key(etk_text *out, const char *key, etk_gguf_kind kind) {
  put_text(out, key, strlen(key));
  put(out, (uint64_t)kind, 4);
}
static bool goes_into(const item *it, int part) { return !is_split_key(it->key) && (part == 0 || !strcmp(it->key, "general.alignment")); }

static void put_header(etk_text *out, const etk_gguf_writer *w, const plan *p, int part) {
  uint64_t keys = p->parts > 1 ? 3 : 0, tensors = 0;
  for (size_t i = 0; i < w->item_count; i++) keys += goes_into(&w->items[i], part);
  for (size_t i = 0; i < w->count; i++) tensors += w->tensors[i].part == part;
  etk_text_append(out, "GGUF", 4);
  put(out, 3, 4);
  put(out, tensors, 8);
  put(out, keys, 8);
  for (size_t i = 0; i < w->item_count; i++) {
    if (!goes_into(&w->items[i], part)) continue;
    put_key(out, w->items[i].key, w->items[i].kind);
    etk_text_append(out, w->items[i].bytes.data, w->items[i].bytes.size);
  }
  if (p->parts > 1) {
    put_key(out, "split.no", ETK_GGUF_U16);
    put(out, (uint64_t)part, 2);
    put_key(out, "split.count", ETK_GGUF_U16);
    put(out, (uint64_t)p->parts, 2);
    put_key(out, "split.tensors.count", ETK_GGUF_I32);
    put(out, w->count, 4);
  }
  for (size_t i = 0; i < w->count; i++) {
    const tensor *t = &w->tensors[i];
    if (t->part != part) continue;
    put_text(out, t->name, strlen(t->name));
    put(out, (uint64_t)t->shape.rank, 4);
    for (int d = t->shape.rank - 1; d >= 0; d--) put(out, (uint64_t)t->shape.dims[d], 8);
    put(out, (uint64_t)etk_type_gguf(t->type), 4);
    put(out, t->offset, 8);
  }
}

static etk_status pad(etk_error *e, etk_file *file, uint64_t *at, uint64_t alignment) {
  static const unsigned char zeros[4096];
  uint64_t missing = (alignment - *at % alignment) % alignment;
  *at += missing;
  while (missing) {
    size_t n = missing < sizeof zeros ? (size_t)missing : sizeof zeros;
    etk_status s = etk_file_write(e, file, zeros, n);
    if (s != ETK_OK) return s;
    missing -= n;
  }
  return ETK_OK;
}

static etk_status put_tensor(etk_error *e, etk_file *file, const tensor *t) {
  if (t->data) return etk_file_write(e, file, t->data, t->bytes);
  int64_t columns = t->shape.rank ? t->shape.dims[t->shape.rank - 1] : 1, rows = etk_shape_elements(&t->shape) / columns;
  size_t row_bytes = t->bytes / (size_t)rows, at_once = row_bytes < CHUNK ? CHUNK / row_bytes : 1;
  if ((int64_t)at_once > rows) at_once = (size_t)rows;
  unsigned char *buffer = etk_alloc_aligned(at_once * row_bytes, 64);
  if (!buffer) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for %zu rows of %zu bytes", at_once, row_bytes);
  etk_status s = ETK_OK;
  for (int64_t row = 0; s == ETK_OK && row < rows; row += (int64_t)at_once) {
    int64_t n = rows - row < (int64_t)at_once ? rows - row : (int64_t)at_once;
    s = t->fill(e, t->user, buffer, row, n);
    if (s == ETK_OK) s = etk_file_write(e, file, buffer, (size_t)n * row_bytes);
  }
  etk_free(buffer);
  return s;
}

static etk_status put_part(etk_error *e, etk_file *file, const etk_gguf_writer *w, const plan *p, int part) {
  etk_text header = ETK_TEXT_INIT;
  put_header(&header, w, p, part);
  uint64_t at = header.size;
  etk_status s = header.failed ? etk_fail(e, ETK_E_NO_MEMORY, "out of memory for the header") : etk_file_write(e, file, header.data, header.size);
  etk_text_free(&header);
  for (size_t i = 0; s == ETK_OK && i < w->count; i++) {
    const tensor *t = &w->tensors[i];
    if (t->part != part) continue;
    s = pad(e, file, &at, p->alignment);
    if (s == ETK_OK) s = put_tensor(e, file, t);
    at += t->bytes;
    if (s != ETK_OK) s = etk_error_while(e, s, "while writing tensor '%s'", t->name);
  }
  return s == ETK_OK ? pad(e, file, &at, p->alignment) : s;
}

static etk_status create_part(etk_error *e, etk_file **file, const plan *p, int part, bool replace) {
  if (p->parts == 1) return etk_file_create(e, file, p->path, replace);
  char *name = etk_gguf_part_path(p->path, part, p->parts);
  if (!name) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", p->path);
  etk_status s = etk_file_create(e, file, name, replace);
  etk_free(name);
  return s;
}

static etk_status put_all(etk_error *e, const etk_gguf_writer *w, const plan *p, bool replace) {
  etk_file **files = etk_calloc((size_t)p->parts, sizeof *files);
  if (!files) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", p->path);
  etk_status s = ETK_OK;
  for (int i = 0; s == ETK_OK && i < p->parts; i++) {
    s = create_part(e, &files[i], p, i, replace);
    if (s == ETK_OK) s = put_part(e, files[i], w, p, i);
  }
  for (int i = p->parts - 1; s == ETK_OK && i >= 0; i--) {
    s = etk_file_commit(e, files[i]);
    files[i] = NULL;
  }
  for (int i = 0; i < p->parts; i++) etk_file_abort(files[i]);
  etk_free(files);
  return s;
}

etk_status etk_gguf_write(etk_error *e, etk_gguf_writer *w, const char *path, const etk_gguf_write_options *options) {
  if (w->error.status != ETK_OK) return etk_fail(e, w->error.status, "%s: %s", path, w->error.message);
  size_t size = strlen(path);
  if (size < 6 || strcmp(path + size - 5, ".gguf")) return etk_fail(e, ETK_E_INVALID, "%s: the name of a GGUF file must end in '.gguf'", path);
  plan p = {.path = path};
  etk_status s = check_names(e, w, path);
  if (s == ETK_OK) s = find_alignment(e, w, &p);
  if (s == ETK_OK) s = lay_out(e, w, &p, options ? options->part_bytes : 0);
  return s == ETK_OK ? put_all(e, w, &p, options && options->replace) : s;
}
