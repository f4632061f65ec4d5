#include "safetensors_internal.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

enum { CHUNK = 16384 }; /* elements converted at a time: 128 KiB at most, so that writing a large model needs no second copy of it */

typedef struct piece {
  const etk_safetensors_item *item;
  int rank; /* row of etk__safetensors_dtypes */
  uint64_t bytes;
} piece;

static int storage_order(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->rank != y->rank) return x->rank > y->rank ? -1 : 1;
  return strcmp(x->item->name, y->item->name);
}
static int name_order(const void *a, const void *b) {
  const piece *x = a, *y = b;
  return strcmp(x->item->name, y->item->name);
}

static bool is_float(etk_dtype dtype) { return dtype == ETK_F32 || dtype == ETK_F16 || dtype == ETK_BF16 || dtype == ETK_F64; }

static etk_status check_item(etk_error *e, const char *path, const etk_safetensors_item *item, piece *out) {
  if (!item->name || !strcmp(item->name, "__metadata__") || !etk_utf8_valid(item->name, strlen(item->name)))
    return etk_fail(e, ETK_E_INVALID, "%s: '%s' cannot be the name of a tensor", path, item->name ? item->name : "(none)");
  etk_dtype from = etk_tensor_dtype(item->tensor);
  if (from != item->store_as && !(is_float(from) && is_float(item->store_as)))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' of %s cannot be stored as %s", path, item->name, etk_dtype_name(from),
                    etk_dtype_name(item->store_as));
  int64_t elements = etk_tensor_elements(item->tensor);
  if (elements < 0 || (elements > 0 && !etk_tensor_data(item->tensor)))
    return etk_fail(e, ETK_E_INVALID, "%s: tensor '%s' has no values to write yet", path, item->name);
  out->item = item;
  out->bytes = (uint64_t)elements * etk_dtype_size(item->store_as);
  for (int i = 0; i < etk__safetensors_dtype_count; i++)
    if (etk__safetensors_dtypes[i].dtype == (int)item->store_as) out->rank = i;
  return ETK_OK;
}

static etk_status check_names(etk_error *e, const char *path, piece *pieces, size_t count) {
  qsort(pieces, count, sizeof *pieces, name_order);
  for (size_t i = 1; i < count; i++)
    if (!strcmp(pieces[i - 1].item->name, pieces[i].item->name))
      return etk_fail(e, ETK_E_INVALID, "%s: the tensor name '%s' is given twice", path, pieces[i].item->name);
  return ETK_OK;
}

static etk_status put_metadata(etk_error *e, const char *path, etk_text *header, const char *const *metadata, size_t count) {
  etk_text_puts(header, "\"__metadata__\":{");
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < i; j++)
      if (!strcmp(metadata[j * 2], metadata[i * 2]))
        return etk_fail(e, ETK_E_INVALID, "%s: the metadata key '%s' is given twice", path, metadata[i * 2]);
    if (i) etk_text_putc(header, ',');
    etk_text_json(header, metadata[i * 2], strlen(metadata[i * 2]));
    etk_text_putc(header, ':');
    etk_text_json(header, metadata[i * 2 + 1], strlen(metadata[i * 2 + 1]));
  }
  etk_text_putc(header, '}');
  return ETK_OK;
}

static void put_entry(etk_text *header, const piece *p, uint64_t at) {
  etk_text_json(header, p->item->name, strlen(p->item->name));
  etk_text_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", etk_dtype_name(p->item->store_as));
  const etk_shape *shape = etk_tensor_shape(p->item->tensor);
  for (int i = 0; i < shape->rank; i++) etk_text_printf(header, "%s%" PRId64, i ? "," : "", shape->dims[i]);
  etk_text_printf(header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + p->bytes);
}

static etk_status build_header(etk_error *e, const char *path, etk_text *header, const piece *pieces, size_t count, const char *const *metadata,
                               size_t metadata_count) {
  etk_text_putc(header, '{');
  if (metadata_count) {
    etk_status s = put_metadata(e, path, header, metadata, metadata_count);
    if (s != ETK_OK) return s;
  }
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    if (i || metadata_count) etk_text_putc(header, ',');
    put_entry(header, &pieces[i], at);
    at += pieces[i].bytes;
  }
  etk_text_putc(header, '}');
  while (!header->failed && header->size % 8) etk_text_putc(header, ' ');
  if (header->failed) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while building the header of %zu tensors", path, count);
  if (header->size > ETK__SAFETENSORS_HEADER_LIMIT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the header would take %zu bytes; a safetensors file allows %u", path, header->size,
                    ETK__SAFETENSORS_HEADER_LIMIT);
  return ETK_OK;
}

static etk_status put_tensor(etk_error *e, etk_file *file, const piece *p, unsigned char *buffer) {
  const unsigned char *data = etk_tensor_data(p->item->tensor);
  etk_dtype from = etk_tensor_dtype(p->item->tensor), to = p->item->store_as;
  size_t elements = (size_t)etk_tensor_elements(p->item->tensor), from_size = etk_dtype_size(from), to_size = etk_dtype_size(to);
  if (from == to) return elements ? etk_file_write(e, file, data, (size_t)p->bytes) : ETK_OK;
  for (size_t at = 0; at < elements; at += CHUNK) {
    size_t n = elements - at < CHUNK ? elements - at : CHUNK;
    const unsigned char *in = data + at * from_size;
    if ((uintptr_t)in % from_size) in = memcpy(buffer + CHUNK * 8, in, n * from_size); /* mapped weights may lie anywhere */
    etk_status s = etk_dtype_convert(e, buffer, to, in, from, n);
    if (s == ETK_OK) s = etk_file_write(e, file, buffer, n * to_size);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

static etk_status put_all(etk_error *e, const char *path, const etk_text *header, const piece *pieces, size_t count, bool replace) {
  unsigned char *buffer = etk_alloc(2 * CHUNK * 8); /* converted values, and a copy of those that are not aligned */
  if (!buffer) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path);
  etk_file *file = NULL;
  etk_status s = etk_file_create(e, &file, path, replace);
  if (s != ETK_OK) {
    etk_free(buffer);
    return s;
  }
  unsigned char size[8];
  for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)header->size >> (8 * i));
  s = etk_file_write(e, file, size, sizeof size);
  if (s == ETK_OK) s = etk_file_write(e, file, header->data, header->size);
  for (size_t i = 0; s == ETK_OK && i < count; i++) {
    s = put_tensor(e, file, &pieces[i], buffer);
    if (s != ETK_OK) s = etk_error_while(e, s, "while writing tensor '%s'", pieces[i].item->name);
  }
  etk_free(buffer);
  if (s == ETK_OK) return etk_file_commit(e, file);
  etk_file_abort(file);
  return s;
}

etk_status etk_safetensors_write(etk_error *e, const char *path, const etk_safetensors_item *items, size_t count, const char *const *metadata,
                                 size_t metadata_count, bool replace) {
  piece *pieces = etk_calloc(count + 1, sizeof *pieces);
  if (!pieces) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path);
  etk_text header = ETK_TEXT_INIT;
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < count; i++) s = check_item(e, path, &items[i], &pieces[i]);
  if (s == ETK_OK) s = check_names(e, path, pieces, count);
  if (s == ETK_OK) {
    qsort(pieces, count, sizeof *pieces, storage_order);
    s = build_header(e, path, &header, pieces, count, metadata, metadata_count);
  }
  if (s == ETK_OK) s = put_all(e, path, &header, pieces, count, replace);
  etk_text_free(&header);
  etk_free(pieces);
  return s;
}
