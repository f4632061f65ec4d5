/* Writing ZIP archives as numpy.savez and torch.save do: entries stored, values on multiples of 64 bytes, nothing that depends on the time or the machine. */
#include "zip.h"

#include <etk/fs.h>
#include <etk/text.h>
#include <string.h>
#include <zlib.h>

enum { ALIGNMENT = 64, FILL_ID = 0xd935 /* the registered field that aligns data */, NAME_LIMIT = 60000, COUNT_LIMIT = 65534 };

static etk_status no_memory(etk_error *e, const char *path) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path); }

static void put16(etk_text *t, uint32_t v) { etk_text_append(t, (char[]){(char)(v & 255), (char)(v >> 8 & 255)}, 2); }
static void put32(etk_text *t, uint64_t v) {
  put16(t, (uint32_t)(v & 0xffff));
  put16(t, (uint32_t)(v >> 16));
}

/* The fields that the local header and the directory share: version, flags (names are UTF-8), stored, 1980-01-01, sizes. */
static void put_common(etk_text *t, const etk__zip_piece *p, size_t extra) {
  put16(t, 20), put16(t, 1u << 11), put16(t, 0), put16(t, 0), put16(t, 1 << 5 | 1);
  put32(t, p->crc), put32(t, p->head_size + p->size), put32(t, p->head_size + p->size);
  put16(t, (uint32_t)strlen(p->name)), put16(t, (uint32_t)extra);
}

static etk_status put_local(etk_error *e, etk_file *file, const char *path, etk__zip_piece *p, uint64_t *at) {
  etk_text t = ETK_TEXT_INIT;
  size_t before = 30 + strlen(p->name) + 6; /* with the field's id, size and alignment */
  size_t fill = (size_t)(ALIGNMENT - (*at + before + p->head_size) % ALIGNMENT) % ALIGNMENT;
  put32(&t, 0x04034b50u), put_common(&t, p, fill + 6), etk_text_puts(&t, p->name);
  put16(&t, FILL_ID), put16(&t, (uint32_t)fill + 2), put16(&t, ALIGNMENT);
  for (size_t i = 0; i < fill; i++) etk_text_putc(&t, 0);
  p->begin = *at;
  *at += t.size + p->head_size + p->size;
  etk_status s = t.failed ? no_memory(e, path) : etk_file_write(e, file, t.data, t.size);
  if (s == ETK_OK && p->head_size) s = etk_file_write(e, file, p->head, p->head_size);
  if (s == ETK_OK && p->size) s = etk_file_write(e, file, p->data, p->size);
  etk_text_free(&t);
  return s == ETK_OK ? s : etk_error_while(e, s, "while writing '%s'", p->name);
}

static etk_status put_directory(etk_error *e, etk_file *file, const char *path, const etk__zip_piece *pieces, size_t count, uint64_t at) {
  etk_text t = ETK_TEXT_INIT;
  for (size_t i = 0; i < count; i++) {
    put32(&t, 0x02014b50u), put16(&t, 20), put_common(&t, &pieces[i], 0);
    put16(&t, 0), put16(&t, 0), put16(&t, 0), put32(&t, 0), put32(&t, pieces[i].begin), etk_text_puts(&t, pieces[i].name);
  }
  size_t size = t.size;
  put32(&t, 0x06054b50u), put32(&t, 0), put16(&t, (uint32_t)count), put16(&t, (uint32_t)count), put32(&t, size), put32(&t, at), put16(&t, 0);
  etk_status s = t.failed ? no_memory(e, path) : etk_file_write(e, file, t.data, t.size);
  etk_text_free(&t);
  return s;
}

static etk_status prepare(etk_error *e, const char *path, const char *what, etk__zip_piece *p, uint64_t *total) {
  size_t length = strlen(p->name);
  if (length > NAME_LIMIT || !etk_utf8_valid(p->name, length) || !etk_path_is_inside(p->name))
    return etk_fail(e, ETK_E_INVALID, "%s: '%.200s' cannot be the name of an entry", path, p->name);
  *total += p->head_size + p->size + 2 * length + 256;
  if (*total > 0xffffffffu - 22)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: what there is up to '%s' takes more than the 4 GiB that %s can hold; write safetensors, or several files", path, p->name,
                    what);
  p->crc = (uint32_t)crc32_z(0, NULL, 0);
  if (p->head_size) p->crc = (uint32_t)crc32_z(p->crc, p->head, p->head_size);
  if (p->size) p->crc = (uint32_t)crc32_z(p->crc, p->data, p->size);
  return ETK_OK;
}

static int name_order(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static etk_status check_names(etk_error *e, const char *path, const etk__zip_piece *pieces, size_t count) {
  const char **names = etk_calloc(count + 1, sizeof *names);
  if (!names) return no_memory(e, path);
  etk_status s = ETK_OK;
  for (size_t i = 0; i < count; i++) names[i] = pieces[i].name;
  qsort(names, count, sizeof *names, name_order);
  for (size_t i = 1; i < count && s == ETK_OK; i++)
    if (!strcmp(names[i - 1], names[i])) s = etk_fail(e, ETK_E_INVALID, "%s: the name '%s' is given twice", path, names[i]);
  etk_free(names);
  return s;
}

etk_status etk__zip_write(etk_error *e, const char *path, const char *what, etk__zip_piece *pieces, size_t count, bool replace) {
  if (count > COUNT_LIMIT) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %zu entries; %s can hold %d", path, count, what, COUNT_LIMIT);
  etk_status s = ETK_OK;
  uint64_t total = 0, at = 0;
  for (size_t i = 0; i < count && s == ETK_OK; i++) s = prepare(e, path, what, &pieces[i], &total);
  if (s == ETK_OK) s = check_names(e, path, pieces, count);
  if (s != ETK_OK) return s;
  etk_file *file = NULL;
  s = etk_file_create(e, &file, path, replace);
  for (size_t i = 0; i < count && s == ETK_OK; i++) s = put_local(e, file, path, &pieces[i], &at);
  if (s == ETK_OK) s = put_directory(e, file, path, pieces, count, at);
  if (s == ETK_OK) return etk_file_commit(e, file);
  etk_file_abort(file);
  return s;
}
