/* Writing torch.save's ZIP form: a pickle (protocol 2) of an OrderedDict of tensors, and each tensor's values as a storage of its own. */
#include "torch_internal.h"

#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

static etk_status no_memory(etk_error *e, const char *path) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path); }

/* ---- the pickle ---- */
#define OP(out, literal) etk_text_append(out, literal, sizeof literal - 1)

static void put_little(etk_text *out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) etk_text_putc(out, (char)(value >> (8 * i) & 255));
}
static void put_int(etk_text *out, int64_t value) { /* never negative here */
  if (value <= UINT8_MAX) OP(out, "K"), put_little(out, (uint64_t)value, 1);
  else if (value <= INT32_MAX) OP(out, "J"), put_little(out, (uint64_t)value, 4);
  else OP(out, "\x8a\x08"), put_little(out, (uint64_t)value, 8);
}
static void put_text(etk_text *out, const char *text) {
  size_t size = strlen(text);
  OP(out, "X"), put_little(out, size, 4), etk_text_append(out, text, size);
}
static void put_tuple(etk_text *out, const int64_t *values, int count) {
  OP(out, "(");
  for (int i = 0; i < count; i++) put_int(out, values[i]);
  OP(out, "t");
}

/* key: _rebuild_tensor_v2(('storage', torch.<class>, '<number>', 'cpu', elements), 0, shape, strides, False, OrderedDict()) */
static void put_tensor(etk_text *out, const etk_torch_item *item, const char *class, size_t number) {
  const etk_shape *shape = etk_tensor_shape(item->tensor);
  int64_t strides[ETK_MAX_RANK], step = 1;
  char key[32];
  for (int i = shape->rank; i-- > 0; step *= shape->dims[i] > 0 ? shape->dims[i] : 1) strides[i] = step;
  snprintf(key, sizeof key, "%zu", number);
  put_text(out, item->name);
  OP(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_text(out, "storage");
  etk_text_printf(out, "ctorch\n%s\n", class);
  put_text(out, key), put_text(out, "cpu"), put_int(out, etk_tensor_elements(item->tensor));
  OP(out, "tQK"), etk_text_putc(out, 0);
  put_tuple(out, shape->dims, shape->rank), put_tuple(out, strides, shape->rank);
  OP(out, "\x89"
          "ccollections\nOrderedDict\n)RtR");
}

static etk_status put_pickle(etk_error *e, const char *path, etk_text *out, const etk_torch_item *items, size_t count) {
  OP(out, "\x80\x02"
          "ccollections\nOrderedDict\n)R(");
  for (size_t i = 0; i < count; i++) {
    const char *name = items[i].name;
    if (!name || !name[0] || strlen(name) > 4096 || !etk_utf8_valid(name, strlen(name)))
      return etk_fail(e, ETK_E_INVALID, "%s: '%.200s' cannot be the name of a tensor", path, name ? name : "(none)");
    const etk_tensor *tensor = items[i].tensor;
    const char *class = etk__torch_storage_class(etk_tensor_dtype(tensor));
    if (!class)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' is of %s, for which PyTorch's files have no storage; convert it first", path, name,
                      etk_dtype_name(etk_tensor_dtype(tensor)));
    if (etk_tensor_elements(tensor) < 0 || (etk_tensor_elements(tensor) > 0 && !etk_tensor_data(tensor)))
      return etk_fail(e, ETK_E_INVALID, "%s: tensor '%s' has no values to write yet", path, name);
    put_tensor(out, &items[i], class, i);
  }
  OP(out, "u.");
  return out->failed ? no_memory(e, path) : ETK_OK;
}

/* ---- the archive ---- */
static int name_order(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static etk_status check_names(etk_error *e, const char *path, const etk_torch_item *items, size_t count) {
  const char **names = etk_calloc(count + 1, sizeof *names);
  if (!names) return no_memory(e, path);
  etk_status s = ETK_OK;
  for (size_t i = 0; i < count; i++) names[i] = items[i].name;
  qsort(names, count, sizeof *names, name_order);
  for (size_t i = 1; i < count && s == ETK_OK; i++)
    if (!strcmp(names[i - 1], names[i])) s = etk_fail(e, ETK_E_INVALID, "%s: the tensor name '%s' is given twice", path, names[i]);
  etk_free(names);
  return s;
}

static etk_status put_archive(etk_error *e, const char *path, const etk_text *pickle, const etk_torch_item *items, size_t count, etk_arena *arena,
                              bool replace) {
  etk__zip_piece *pieces = etk_arena_array(arena, count + 3, sizeof *pieces);
  if (!pieces) return no_memory(e, path);
  pieces[0] =
      (etk__zip_piece){.name = "archive/data.pkl", .data = pickle->data, .size = pickle->size}; /* first: PyTorch takes the folder's name from it */
  pieces[1] = (etk__zip_piece){.name = "archive/byteorder", .data = "little", .size = 6};
  for (size_t i = 0; i < count; i++) {
    const char *name = etk_arena_printf(arena, "archive/data/%zu", i);
    if (!name) return no_memory(e, path);
    pieces[i + 2] = (etk__zip_piece){.name = name, .data = etk_tensor_data(items[i].tensor), .size = etk_tensor_bytes(items[i].tensor)};
  }
  pieces[count + 2] = (etk__zip_piece){.name = "archive/version", .data = "3\n", .size = 2};
  return etk__zip_write(e, path, "a file of torch.save written here", pieces, count + 3, replace);
}

etk_status etk_torch_write(etk_error *e, const char *path, const etk_torch_item *items, size_t count, bool replace) {
  etk_text pickle = ETK_TEXT_INIT;
  etk_arena arena = ETK_ARENA_INIT;
  etk_status s = put_pickle(e, path, &pickle, items, count);
  if (s == ETK_OK) s = check_names(e, path, items, count);
  if (s == ETK_OK) s = put_archive(e, path, &pickle, items, count, &arena, replace);
  etk_arena_fini(&arena);
  etk_text_free(&pickle);
  return s;
}
