/* .npz: a ZIP archive whose entries are .npy files. */
#include "mapped.h"
#include "numpy_internal.h"
#include "zip.h"

#include <etk/fs.h>
#include <inttypes.h>
#include <zlib.h>

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

enum { ALIGNMENT = 64, FILL_ID = 0xd935 /* the registered field that aligns data */ };

typedef struct piece {
  const etk_npz_item *item;
  etk_text header; /* of the array */
  uint32_t crc;
  uint64_t size, begin;
} piece;

static void put16(etk_text *t, uint32_t v) { etk_text_append(t, (char[]){(char)(v & 255), (char)(v >> 8 & 255)}, 2); }
static void put32(etk_text *t, uint64_t v) {
  put16(t, (uint32_t)(v & 0xffff));
  put16(t, (uint32_t)(v >> 16));
}

/* The fields that the local header and the directory share: version, flags (names are UTF-8), stored, 1980-01-01, sizes. */
static void put_common(etk_text *t, const piece *p, size_t extra) {
  put16(t, 20), put16(t, 1u << 11), put16(t, 0), put16(t, 0), put16(t, 1 << 5 | 1);
  put32(t, p->crc), put32(t, p->size), put32(t, p->size);
  put16(t, (uint32_t)strlen(p->item->name) + 4), put16(t, (uint32_t)extra);
}
static void put_name(etk_text *t, const piece *p) {
  etk_text_puts(t, p->item->name);
  etk_text_puts(t, ".npy");
}

static etk_status put_local(etk_error *e, etk_file *file, const char *path, piece *p, uint64_t *at) {
  etk_text t = ETK_TEXT_INIT;
  size_t before = 30 + strlen(p->item->name) + 4 + 6; /* with the field's id, size and alignment */
  size_t fill = (size_t)(ALIGNMENT - (*at + before + p->header.size) % ALIGNMENT) % ALIGNMENT;
  put32(&t, 0x04034b50u), put_common(&t, p, fill + 6), put_name(&t, p);
  put16(&t, FILL_ID), put16(&t, (uint32_t)fill + 2), put16(&t, ALIGNMENT);
  for (size_t i = 0; i < fill; i++) etk_text_putc(&t, 0);
  p->begin = *at;
  *at += t.size + p->size;
  size_t bytes = etk_tensor_bytes(p->item->tensor);
  etk_status s = t.failed ? no_memory(e, path) : etk_file_write(e, file, t.data, t.size);
  if (s == ETK_OK) s = etk_file_write(e, file, p->header.data, p->header.size);
  if (s == ETK_OK && bytes) s = etk_file_write(e, file, etk_tensor_data(p->item->tensor), bytes);
  etk_text_free(&t);
  return s == ETK_OK ? s : etk_error_while(e, s, "while writing array '%s'", p->item->name);
}

static etk_status put_directory(etk_error *e, etk_file *file, const char *path, const piece *pieces, size_t count, uint64_t at) {
  etk_text t = ETK_TEXT_INIT;
  for (size_t i = 0; i < count; i++) {
    put32(&t, 0x02014b50u), put16(&t, 20), put_common(&t, &pieces[i], 0);
    put16(&t, 0), put16(&t, 0), put16(&t, 0), put32(&t, 0), put32(&t, pieces[i].begin), put_name(&t, &pieces[i]);
  }
  size_t size = t.size;
  put32(&t, 0x06054b50u), put32(&t, 0), put16(&t, (uint32_t)count), put16(&t, (uint32_t)count), put32(&t, size), put32(&t, at), put16(&t, 0);
  etk_status s = t.failed ? no_memory(e, path) : etk_file_write(e, file, t.data, t.size);
  etk_text_free(&t);
  return s;
}

static etk_status prepare(etk_error *e, const char *path, piece *p, uint64_t *total) {
  const char *name = p->item->name;
  if (!name || !name[0] || strlen(name) > 60000 || !etk_utf8_valid(name, strlen(name)) || !etk_path_is_inside(name))
    return etk_fail(e, ETK_E_INVALID, "%s: '%.200s' cannot be the name of an array", path, name ? name : "(none)");
  etk_status s = etk__npy_put_header(e, &p->header, name, p->item->tensor);
  if (s != ETK_OK) return etk_error_while(e, s, "%s", path);
  p->size = p->header.size + etk_tensor_bytes(p->item->tensor);
  *total += p->size + 2 * strlen(name) + 256;
  if (*total > 0xffffffffu - 22)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: the arrays up to '%s' take more than the 4 GiB that an .npz file can hold; write safetensors, or several files", path, name);
  p->crc = (uint32_t)crc32_z(0, (const Bytef *)p->header.data, p->header.size);
  if (etk_tensor_bytes(p->item->tensor)) p->crc = (uint32_t)crc32_z(p->crc, etk_tensor_data(p->item->tensor), etk_tensor_bytes(p->item->tensor));
  return ETK_OK;
}

static int name_order(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static etk_status check_names(etk_error *e, const char *path, const etk_npz_item *items, size_t count) {
  const char **names = etk_calloc(count + 1, sizeof *names);
  if (!names) return no_memory(e, path);
  etk_status s = ETK_OK;
  for (size_t i = 0; i < count; i++) names[i] = items[i].name;
  qsort(names, count, sizeof *names, name_order);
  for (size_t i = 1; i < count && s == ETK_OK; i++)
    if (!strcmp(names[i - 1], names[i])) s = etk_fail(e, ETK_E_INVALID, "%s: the array name '%s' is given twice", path, names[i]);
  etk_free(names);
  return s;
}

static etk_status put_all(etk_error *e, const char *path, piece *pieces, size_t count, bool replace) {
  etk_file *file = NULL;
  uint64_t at = 0;
  etk_status s = etk_file_create(e, &file, path, replace);
  for (size_t i = 0; i < count && s == ETK_OK; i++) s = put_local(e, file, path, &pieces[i], &at);
  if (s == ETK_OK) s = put_directory(e, file, path, pieces, count, at);
  if (s == ETK_OK) return etk_file_commit(e, file);
  etk_file_abort(file);
  return s;
}

etk_status etk_npz_write(etk_error *e, const char *path, const etk_npz_item *items, size_t count, bool replace) {
  if (count >= 0xffff) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %zu arrays; an .npz file can hold 65534", path, count);
  piece *pieces = etk_calloc(count + 1, sizeof *pieces);
  if (!pieces) return no_memory(e, path);
  uint64_t total = 0;
  etk_status s = ETK_OK;
  for (size_t i = 0; i < count && s == ETK_OK; i++) {
    pieces[i].item = &items[i];
    s = prepare(e, path, &pieces[i], &total);
  }
  if (s == ETK_OK) s = check_names(e, path, items, count);
  if (s == ETK_OK) s = put_all(e, path, pieces, count, replace);
  for (size_t i = 0; i < count; i++) etk_text_free(&pieces[i].header);
  etk_free(pieces);
  return s;
}
