/* Values of stored tensors as F32, a few rows at a time, and back, in parallel; what is lost is summed up in an order that does not depend on the threads. */
#include "internal.h"
#include "ml/tensor/internal.h"

#include <etk/parallel.h>
#include <math.h>
#include <string.h>

enum { PIECE = 16384 /* values a piece of the work; a multiple of every block and group */ };

bool etk__is_packed(int type) { return type == (int)ETK_AFFINE || etk_type_is_block((etk_type)type); }
bool etk__is_floating(int type) {
  return type == (int)ETK_F32 || type == (int)ETK_F16 || type == (int)ETK_BF16 || type == (int)ETK_F64 || etk__is_packed(type) ||
         etk_type_is_float8((etk_type)type);
}

etk_status etk__rows_room(etk_error *e, float **buffer, int64_t *room, int64_t wanted) {
  if (wanted <= *room) return ETK_OK;
  etk_free(*buffer);
  *room = 0;
  *buffer = etk_alloc_aligned((size_t)wanted * sizeof **buffer, 64);
  if (!*buffer) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for %lld values", (long long)wanted);
  *room = wanted;
  return ETK_OK;
}

/* ---- decode ---- */
struct decoding {
  float *out;
  const etk_tensor *tensor;
  int64_t first, count;
};
static void decode_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct decoding *d = user;
  (void)slot;
  int64_t from = begin * PIECE, to = end * PIECE < d->count ? end * PIECE : d->count;
  etk__stored_decode_flat(d->out + from, d->tensor, d->first + from, to - from);
}

static etk_status decode_doubles(etk_error *e, float *out, const char *data, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    double value;
    memcpy(&value, data + (size_t)i * sizeof value, sizeof value);
    out[i] = (float)value;
    if (isinf(out[i]) && !isinf(value)) return etk_fail(e, ETK_E_INVALID, "a value of F64, %g, is infinite as F32", value);
  }
  return ETK_OK;
}

etk_status etk__rows_decode(etk_error *e, float *out, const etk_tensor *tensor, int64_t first, int64_t count) {
  etk_dtype dtype = etk_tensor_dtype(tensor);
  const char *data = etk_tensor_data(tensor);
  if (dtype == ETK_F64) return decode_doubles(e, out, data + (size_t)first * sizeof(double), count);
  if (etk_type_is_float8((etk_type)dtype)) return etk_quant_decode(e, out, (etk_type)dtype, data + first, 1, count);
  struct decoding d = {out, tensor, first, count};
  etk_parallel_for((count + PIECE - 1) / PIECE, 1, decode_pieces, &d);
  return ETK_OK;
}

/* ---- what is lost ---- */
struct counting {
  const float *wanted, *stored;
  int64_t count;
  etk__tally *parts;
};
static void count_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct counting *c = user;
  (void)slot;
  for (int64_t piece = begin; piece < end; piece++) {
    int64_t from = piece * PIECE, to = from + PIECE < c->count ? from + PIECE : c->count;
    double error = 0, total = 0;
    for (int64_t i = from; i < to; i++) {
      double gap = (double)c->stored[i] - (double)c->wanted[i];
      if (!isfinite(c->wanted[i])) continue; /* it was stored as it is, or refused */
      error += gap * gap;
      total += (double)c->wanted[i] * (double)c->wanted[i];
    }
    c->parts[piece] = (etk__tally){error, total};
  }
}

void etk__tally_add(etk__tally *tally, const float *wanted, const float *stored, int64_t count) {
  enum { PARTS = 256 };
  etk__tally parts[PARTS];
  for (int64_t at = 0; at < count; at += (int64_t)PARTS * PIECE) {
    int64_t n = count - at < (int64_t)PARTS * PIECE ? count - at : (int64_t)PARTS * PIECE, pieces = (n + PIECE - 1) / PIECE;
    struct counting c = {wanted + at, stored + at, n, parts};
    etk_parallel_for(pieces, 1, count_pieces, &c);
    for (int64_t i = 0; i < pieces; i++) tally->error += parts[i].error, tally->total += parts[i].total;
  }
}

double etk__tally_relative(const etk__tally *t) { return t->error > 0 ? sqrt(t->error / t->total) : 0; }

/* ---- encode ---- */
static etk_status check_plain(etk_error *e, const etk__encoder *encoder, const float *in, const float *stored, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (isinf(stored[i]) && !isinf(in[i]))
      return etk_fail(e, ETK_E_INVALID, "tensor %s holds %g, which %s cannot hold; use %s", encoder->name, (double)in[i],
                      etk_type_name((etk_type)encoder->type), encoder->type == (int)ETK_F16 ? "bf16" : "f32");
  return ETK_OK;
}

etk_status etk__rows_encode(etk_error *e, etk__encoder *encoder, void *out, const float *in, int64_t rows, int64_t columns) {
  int64_t count = rows * columns;
  if (encoder->type == (int)ETK_F32) {
    memcpy(out, in, (size_t)count * sizeof *in);
    return ETK_OK;
  }
  bool block = etk_type_is_block((etk_type)encoder->type);
  etk_status status = etk__rows_room(e, &encoder->scratch, &encoder->room, count);
  if (!status && block) status = etk_quant_encode(e, out, (etk_type)encoder->type, in, rows, columns, encoder->importance);
  else if (!status) status = etk_dtype_convert(e, out, (etk_dtype)encoder->type, in, ETK_F32, (size_t)count);
  if (!status && encoder->type == (int)ETK_F64) return ETK_OK;
  if (!status) status = etk_quant_decode(e, encoder->scratch, (etk_type)encoder->type, out, rows, columns);
  if (!status && !block) status = check_plain(e, encoder, in, encoder->scratch, count);
  if (!status) etk__tally_add(&encoder->tally, in, encoder->scratch, count);
  return status;
}
