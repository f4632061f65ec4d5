/* .npz: a ZIP archive whose entries are .npy files. */
#include "mapped.h"
#include "numpy_internal.h"
#include "zip.h"

#include <inttypes.h>

struct etk_npz {
  etk__mapped base; /* first */
  etk__zip zip;
  etk_npz_entry *entries; /* as zip.entries */
  size_t *data_at;        /* of the values in each entry */
};

static etk_status no_memory(etk_error *e, const char *name) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", name); }

void etk_npz_close(etk_npz *file) { etk__mapped_unref(file); }

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

static etk_status read_entry(etk_error *e, etk_npz *file, size_t i, unsigned char *head) {
  const etk__zip_entry *from = &file->zip.entries[i];
  etk_npz_entry *entry = &file->entries[i];
  size_t length = strlen(from->name), got;
  if (length < 5 || strcmp(from->name + length - 4, ".npy") != 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: entry '%s' at byte %" PRIu64 " is not an .npy file; an .npz file holds nothing else", file->base.name,
                    from->name, from->begin);
  entry->name = etk_arena_strndup(&file->base.arena, from->name, length - 4);
  if (!entry->name) return no_memory(e, file->base.name);
  etk__npy array;
  const unsigned char *bytes = head;
  etk_status s = ETK_OK;
  if (from->deflated) s = etk__zip_head(e, &file->zip, from, head, ETK__NPY_HEADER_LIMIT, &got);
  else bytes = file->zip.bytes + from->at, got = (size_t)from->size;
  if (s == ETK_OK) s = etk__npy_header(e, &array, from->name, bytes, got, from->size);
  if (s != ETK_OK) return etk_error_while(e, s, "%s", file->base.name);
  entry->dtype = array.dtype, entry->shape = array.shape, entry->fortran_order = array.fortran_order, entry->bytes = array.bytes;
  entry->compressed = from->deflated;
  file->data_at[i] = array.data_at;
  return ETK_OK;
}

static etk_status parse(etk_error *e, void *reader, const unsigned char *bytes, size_t size) {
  etk_npz *file = reader;
  etk_status s = etk__zip_open(e, &file->zip, &file->base.arena, file->base.name, "an .npz file", bytes, size);
  if (s != ETK_OK) return s;
  size_t count = file->zip.count;
  file->entries = etk_arena_array(&file->base.arena, count + 1, sizeof *file->entries);
  file->data_at = etk_arena_array(&file->base.arena, count + 1, sizeof *file->data_at);
  unsigned char *head = etk_alloc(ETK__NPY_HEADER_LIMIT);
  s = file->entries && file->data_at && head ? ETK_OK : no_memory(e, file->base.name);
  for (size_t i = 0; s == ETK_OK && i < count; i++) s = read_entry(e, file, i, head);
  etk_free(head);
  return s;
}

etk_status etk_npz_parse(etk_error *e, etk_npz **out, const char *name, const void *bytes, size_t size) {
  void *file;
  etk_status s = etk__mapped_over(e, &file, sizeof **out, name, bytes, size, parse);
  *out = file;
  return s;
}

etk_status etk_npz_open(etk_error *e, etk_npz **out, const char *path) {
  void *file;
  etk_status s = etk__mapped_open(e, &file, sizeof **out, path, parse);
  *out = file;
  return s;
}

size_t etk_npz_count(const etk_npz *file) { return file->zip.count; }
const etk_npz_entry *etk_npz_at(const etk_npz *file, size_t index) { return index < file->zip.count ? &file->entries[index] : NULL; }

/* The directory is sorted by the names with ".npy", so that "a.npy" comes behind "a-b.npy": found by the whole name. */
static size_t find(const etk_npz *file, const char *name) {
  char *whole = NULL;
  size_t index = SIZE_MAX, length = strlen(name);
  char small[256];
  if (length + 5 > sizeof small && !(whole = etk_alloc(length + 5))) return SIZE_MAX;
  char *text = whole ? whole : small;
  memcpy(text, name, length);
  memcpy(text + length, ".npy", 5);
  const etk__zip_entry *found = etk__zip_find(&file->zip, text);
  if (found) index = (size_t)(found - file->zip.entries);
  etk_free(whole);
  return index;
}
const etk_npz_entry *etk_npz_find(const etk_npz *file, const char *name) { return etk_npz_at(file, find(file, name)); }

const void *etk__npz_data(const etk_npz *file, size_t index) {
  const etk_npz_entry *entry = &file->entries[index];
  bool in_order = !entry->compressed && !(entry->fortran_order && entry->shape.rank > 1);
  return in_order ? file->zip.bytes + file->zip.entries[index].at + file->data_at[index] : NULL;
}

etk_status etk__npz_check(etk_error *e, const etk_npz *file) {
  etk_status s = ETK_OK;
  for (size_t i = 0; i < file->zip.count && s == ETK_OK; i++) s = etk__zip_check(e, &file->zip, &file->zip.entries[i]);
  return s;
}

static void release_memory(void *owner) { etk_free(owner); }

etk_status etk_npz_tensor(etk_error *e, etk_tensor **out, etk_npz *file, const char *name) {
  *out = NULL;
  size_t i = find(file, name);
  if (i == SIZE_MAX) return etk_fail(e, ETK_E_NOT_FOUND, "%s has no array '%s' (it holds %zu)", file->base.name, name, file->zip.count);
  const etk_npz_entry *entry = &file->entries[i];
  const etk__zip_entry *from = &file->zip.entries[i];
  const unsigned char *data;
  unsigned char *owned;
  etk_status s = from->deflated ? ETK_OK : etk__zip_check(e, &file->zip, from);
  if (s == ETK_OK) s = etk__zip_data(e, &file->zip, from, &data, &owned);
  if (s != ETK_OK) return s;
  data += file->data_at[i];
  size_t element = etk_dtype_size(entry->dtype);
  if ((entry->fortran_order && entry->shape.rank > 1) || (uintptr_t)data % element) {
    etk__npy array = {.dtype = entry->dtype, .shape = entry->shape, .fortran_order = entry->fortran_order};
    int64_t strides[ETK_MAX_RANK];
    etk__npy_strides(&array, strides);
    s = etk_tensor_new(e, out, entry->dtype, entry->shape);
    if (s == ETK_OK) etk__strided_copy(etk_tensor_data(*out), data, element, &entry->shape, strides, false);
    etk_free(owned);
    return s;
  }
  if (!owned) etk__mapped_ref(&file->base);
  s = etk_tensor_wrap(e, out, entry->dtype, entry->shape, data, owned ? release_memory : etk__mapped_unref, owned ? (void *)owned : file);
  if (s == ETK_OK) return s;
  if (owned) etk_free(owned);
  else etk__mapped_unref(file);
  return s;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------------- */

static etk_status prepare(etk_error *e, const char *path, etk_arena *arena, const etk_npz_item *item, etk_text *header, etk__zip_piece *out) {
  const char *name = item->name;
  if (!name || !name[0]) return etk_fail(e, ETK_E_INVALID, "%s: '%s' cannot be the name of an array", path, name ? name : "(none)");
  etk_status s = etk__npy_put_header(e, header, name, item->tensor);
  if (s != ETK_OK) return etk_error_while(e, s, "%s", path);
  char *whole = etk_arena_printf(arena, "%s.npy", name);
  if (!whole) return no_memory(e, path);
  *out = (etk__zip_piece){.name = whole, .head = header->data, .head_size = header->size, .data = etk_tensor_data(item->tensor),
                          .size = etk_tensor_bytes(item->tensor)};
  return ETK_OK;
}

etk_status etk_npz_write(etk_error *e, const char *path, const etk_npz_item *items, size_t count, bool replace) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_text *headers = etk_calloc(count + 1, sizeof *headers);
  etk__zip_piece *pieces = etk_arena_array(&arena, count + 1, sizeof *pieces);
  etk_status s = headers && pieces ? ETK_OK : no_memory(e, path);
  for (size_t i = 0; i < count && s == ETK_OK; i++) s = prepare(e, path, &arena, &items[i], &headers[i], &pieces[i]);
  if (s == ETK_OK) s = etk__zip_write(e, path, "an .npz file", pieces, count, replace);
  for (size_t i = 0; headers && i < count; i++) etk_text_free(&headers[i]);
  etk_free(headers);
  etk_arena_fini(&arena);
  return s;
}
