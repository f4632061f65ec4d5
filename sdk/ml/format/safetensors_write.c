#include "safetensors_internal.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 16384 /* elements converted at a time: 128 KiB at most, so that writing a large model needs no second copy of it */, ROWS = 1 << 20 /* bytes of rows filled at a time */ };

typedef struct piece {
  const char *name;
  etk_dtype dtype;
  etk_shape shape;
  const etk_safetensors_item *item;     /* this or */
  const etk_safetensors_stream *stream; /* this */
  int rank;                             /* row of etk__safetensors_dtypes */
  int shard;
  uint64_t bytes;
} piece;

struct job {
  const char *path;
  piece *pieces;
  size_t count;
  const char *const *metadata;
  size_t metadata_count;
  bool replace;
};

static int storage_order(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
  if (x->rank != y->rank) return x->rank > y->rank ? -1 : 1;
  return strcmp(x->name, y->name);
}
static int name_order(const void *a, const void *b) {
  const piece *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static bool is_float(etk_dtype dtype) { return dtype == ETK_F32 || dtype == ETK_F16 || dtype == ETK_BF16 || dtype == ETK_F64; }

/* ---- checks ---- */
static etk_status check_piece(etk_error *e, const char *path, piece *p) {
  if (!p->name || !strcmp(p->name, "__metadata__") || !etk_utf8_valid(p->name, strlen(p->name)))
    return etk_fail(e, ETK_E_INVALID, "%s: '%s' cannot be the name of a tensor", path, p->name ? p->name : "(none)");
  int64_t elements = etk_shape_elements(&p->shape);
  if (elements < 0 || (uint64_t)elements > INT64_MAX / etk_dtype_size(p->dtype))
    return etk_fail(e, ETK_E_INVALID, "%s: tensor '%s' has a shape whose product is out of range", path, p->name);
  p->bytes = (uint64_t)elements * etk_dtype_size(p->dtype);
  p->rank = -1;
  for (int i = 0; i < etk__safetensors_dtype_count; i++)
    if (etk__safetensors_dtypes[i].dtype == (int)p->dtype) p->rank = i;
  return ETK_OK;
}

static etk_status check_item(etk_error *e, const char *path, const etk_safetensors_item *item, piece *out) {
  *out = (piece){.name = item->name, .dtype = item->store_as, .shape = *etk_tensor_shape(item->tensor), .item = item};
  etk_status status = check_piece(e, path, out);
  if (status) return status;
  etk_dtype from = etk_tensor_dtype(item->tensor);
  if (from != item->store_as && !(is_float(from) && is_float(item->store_as)))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' of %s cannot be stored as %s", path, item->name, etk_dtype_name(from),
                    etk_dtype_name(item->store_as));
  if (out->bytes > 0 && !etk_tensor_data(item->tensor)) return etk_fail(e, ETK_E_INVALID, "%s: tensor '%s' has no values to write yet", path, item->name);
  return ETK_OK;
}

static etk_status check_names(etk_error *e, const struct job *job) {
  const piece **sorted = etk_alloc((job->count + 1) * sizeof *sorted);
  if (!sorted) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", job->path);
  for (size_t i = 0; i < job->count; i++) sorted[i] = &job->pieces[i];
  qsort(sorted, job->count, sizeof *sorted, name_order);
  etk_status status = ETK_OK;
  for (size_t i = 1; i < job->count && !status; i++)
    if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
      status = etk_fail(e, ETK_E_INVALID, "%s: the tensor name '%s' is given twice", job->path, sorted[i]->name);
  etk_free(sorted);
  return status;
}

/* ---- header ---- */
static etk_status put_metadata(etk_error *e, const struct job *job, etk_text *header) {
  etk_text_puts(header, "\"__metadata__\":{");
  for (size_t i = 0; i < job->metadata_count; i++) {
    const char *const *pair = job->metadata + 2 * i;
    for (size_t j = 0; j < i; j++)
      if (!strcmp(job->metadata[j * 2], pair[0])) return etk_fail(e, ETK_E_INVALID, "%s: the metadata key '%s' is given twice", job->path, pair[0]);
    if (i) etk_text_putc(header, ',');
    etk_text_json(header, pair[0], strlen(pair[0]));
    etk_text_putc(header, ':');
    etk_text_json(header, pair[1], strlen(pair[1]));
  }
  etk_text_putc(header, '}');
  return ETK_OK;
}

static void put_entry(etk_text *header, const piece *p, uint64_t at) {
  etk_text_json(header, p->name, strlen(p->name));
  etk_text_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", etk_dtype_name(p->dtype));
  for (int i = 0; i < p->shape.rank; i++) etk_text_printf(header, "%s%" PRId64, i ? "," : "", p->shape.dims[i]);
  etk_text_printf(header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + p->bytes);
}

static etk_status build_header(etk_error *e, const struct job *job, int shard, etk_text *header) {
  etk_text_putc(header, '{');
  if (job->metadata_count) {
    etk_status s = put_metadata(e, job, header);
    if (s != ETK_OK) return s;
  }
  uint64_t at = 0;
  bool first = !job->metadata_count;
  for (size_t i = 0; i < job->count; i++) {
    const piece *p = &job->pieces[i];
    if (p->shard != shard) continue;
    if (!first) etk_text_putc(header, ',');
    first = false;
    put_entry(header, p, at);
    at += p->bytes;
  }
  etk_text_putc(header, '}');
  while (!header->failed && header->size % 8) etk_text_putc(header, ' ');
  if (header->failed) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while building the header of %zu tensors", job->path, job->count);
  if (header->size > ETK__SAFETENSORS_HEADER_LIMIT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the header would take %zu bytes; a safetensors file allows %u", job->path, header->size,
                    ETK__SAFETENSORS_HEADER_LIMIT);
  return ETK_OK;
}

/* ---- values ---- */
static etk_status put_item(etk_error *e, etk_file *file, const piece *p, unsigned char *buffer) {
  const unsigned char *data = etk_tensor_data(p->item->tensor);
  etk_dtype from = etk_tensor_dtype(p->item->tensor), to = p->dtype;
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

static etk_status put_stream(etk_error *e, etk_file *file, const piece *p) {
  if (!p->bytes) return ETK_OK;
  if (p->stream->data) return etk_file_write(e, file, p->stream->data, (size_t)p->bytes);
  int64_t columns = p->shape.rank ? p->shape.dims[p->shape.rank - 1] : 1, rows = etk_shape_elements(&p->shape) / columns;
  size_t row_bytes = (size_t)columns * etk_dtype_size(p->dtype);
  int64_t at_once = row_bytes < ROWS ? (int64_t)(ROWS / row_bytes) : 1;
  if (at_once > rows) at_once = rows;
  unsigned char *buffer = etk_alloc_aligned((size_t)at_once * row_bytes, 64);
  if (!buffer) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for %" PRId64 " rows of %zu bytes", at_once, row_bytes);
  etk_status s = ETK_OK;
  for (int64_t row = 0; s == ETK_OK && row < rows; row += at_once) {
    int64_t n = rows - row < at_once ? rows - row : at_once;
    s = p->stream->fill(e, p->stream->user, buffer, row, n);
    if (s == ETK_OK) s = etk_file_write(e, file, buffer, (size_t)n * row_bytes);
  }
  etk_free(buffer);
  return s;
}

static etk_status put_shard(etk_error *e, etk_file *file, const struct job *job, int shard, unsigned char *buffer) {
  etk_text header = ETK_TEXT_INIT;
  etk_status s = build_header(e, job, shard, &header);
  unsigned char size[8];
  for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)header.size >> (8 * i));
  if (s == ETK_OK) s = etk_file_write(e, file, size, sizeof size);
  if (s == ETK_OK) s = etk_file_write(e, file, header.data, header.size);
  etk_text_free(&header);
  for (size_t i = 0; s == ETK_OK && i < job->count; i++) {
    const piece *p = &job->pieces[i];
    if (p->shard != shard) continue;
    s = p->item ? put_item(e, file, p, buffer) : put_stream(e, file, p);
    if (s != ETK_OK) s = etk_error_while(e, s, "while writing tensor '%s'", p->name);
  }
  return s;
}

/* ---- files ---- */

/* "model-00002-of-00003.safetensors" for shard 1 of 3 of ".../model.safetensors"; the path itself where there is one. */
static char *shard_path(const char *path, int shard, int shards, bool base) {
  size_t size = strlen(path), tail = strlen(".safetensors");
  bool named = size > tail && !strcmp(path + size - tail, ".safetensors");
  etk_text out = ETK_TEXT_INIT;
  const char *from = base ? etk_path_base(path) : path;
  if (shards == 1) etk_text_puts(&out, from);
  else etk_text_printf(&out, "%.*s-%05d-of-%05d.safetensors", (int)(strlen(from) - (named ? tail : 0)), from, shard + 1, shards);
  return etk_text_take(&out);
}

static etk_status put_index(etk_error *e, etk_file **file, const struct job *job, int shards) {
  uint64_t total = 0;
  etk_text out = ETK_TEXT_INIT;
  for (size_t i = 0; i < job->count; i++) total += job->pieces[i].bytes;
  etk_text_printf(&out, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {", total);
  for (size_t i = 0; i < job->count; i++) {
    char *name = shard_path(job->path, job->pieces[i].shard, shards, true);
    etk_text_puts(&out, i ? ",\n    " : "\n    ");
    etk_text_json(&out, job->pieces[i].name, strlen(job->pieces[i].name));
    etk_text_puts(&out, ": ");
    if (name) etk_text_json(&out, name, strlen(name));
    else out.failed = true;
    etk_free(name);
  }
  etk_text_puts(&out, "\n  }\n}\n");
  etk_text path = ETK_TEXT_INIT;
  etk_text_printf(&path, "%s.index.json", job->path);
  etk_status s = out.failed || path.failed ? etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing the index", job->path)
                 : etk_file_create(e, file, path.data, job->replace);
  if (s == ETK_OK) s = etk_file_write(e, *file, out.data, out.size);
  etk_text_free(&out), etk_text_free(&path);
  return s;
}

static etk_status put_all(etk_error *e, struct job *job, int shards) {
  unsigned char *buffer = etk_alloc(2 * CHUNK * 8); /* converted values, and a copy of those that are not aligned */
  etk_file **files = etk_calloc((size_t)shards + 1, sizeof *files);
  etk_status s = buffer && files ? ETK_OK : etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", job->path);
  for (int i = 0; s == ETK_OK && i < shards; i++) {
    char *name = shard_path(job->path, i, shards, false);
    s = name ? etk_file_create(e, &files[i], name, job->replace) : etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", job->path);
    etk_free(name);
    if (s == ETK_OK) s = put_shard(e, files[i], job, i, buffer);
  }
  if (s == ETK_OK && shards > 1) s = put_index(e, &files[shards], job, shards);
  for (int i = 0; s == ETK_OK && i <= shards; i++) {
    if (!files[i]) continue;
    s = etk_file_commit(e, files[i]);
    files[i] = NULL;
  }
  for (int i = 0; files && i <= shards; i++) etk_file_abort(files[i]);
  etk_free(files), etk_free(buffer);
  return s;
}

/* Fills the shards one after the other, in the order given; how many there are. */
static int split(struct job *job, int64_t shard_bytes) {
  uint64_t total = 0, here = 0;
  int shard = 0;
  for (size_t i = 0; i < job->count; i++) total += job->pieces[i].bytes;
  if (shard_bytes <= 0 || total <= (uint64_t)shard_bytes) return 1;
  for (size_t i = 0; i < job->count; i++) {
    if (here && here + job->pieces[i].bytes > (uint64_t)shard_bytes) shard++, here = 0;
    job->pieces[i].shard = shard;
    here += job->pieces[i].bytes;
  }
  return shard + 1;
}

static etk_status finish(etk_error *e, struct job *job, int64_t shard_bytes, int *shards) {
  etk_status s = check_names(e, job);
  int count = s == ETK_OK ? split(job, shard_bytes) : 0;
  if (s == ETK_OK && count > 99999)
    s = etk_fail(e, ETK_E_INVALID, "%s: shards of %" PRId64 " bytes would be %d files; 99999 are the most", job->path, shard_bytes, count);
  if (s == ETK_OK) qsort(job->pieces, job->count, sizeof *job->pieces, storage_order);
  if (s == ETK_OK) s = put_all(e, job, count);
  if (shards) *shards = count;
  etk_free(job->pieces);
  return s;
}

etk_status etk_safetensors_write(etk_error *e, const char *path, const etk_safetensors_item *items, size_t count, const char *const *metadata,
                                 size_t metadata_count, bool replace) {
  struct job job = {path, etk_calloc(count + 1, sizeof *job.pieces), count, metadata, metadata_count, replace};
  if (!job.pieces) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path);
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < count; i++) s = check_item(e, path, &items[i], &job.pieces[i]);
  if (s == ETK_OK) return finish(e, &job, 0, NULL);
  etk_free(job.pieces);
  return s;
}

etk_status etk_safetensors_write_streams(etk_error *e, const char *path, const etk_safetensors_stream *streams, size_t count, const char *const *metadata,
                                         size_t metadata_count, const etk_safetensors_write_options *options, int *shards) {
  struct job job = {path, etk_calloc(count + 1, sizeof *job.pieces), count, metadata, metadata_count, options && options->replace};
  if (!job.pieces) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while writing", path);
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < count; i++) {
    job.pieces[i] = (piece){.name = streams[i].name, .dtype = streams[i].dtype, .shape = streams[i].shape, .stream = &streams[i]};
    s = check_piece(e, path, &job.pieces[i]);
  }
  if (s == ETK_OK) return finish(e, &job, options ? options->shard_bytes : 0, shards);
  etk_free(job.pieces);
  return s;
}
