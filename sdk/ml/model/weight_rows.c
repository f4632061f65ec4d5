/* Rows of a model's weight as a Hugging Face folder has them, from whatever type and order it is held in. */
#include "internal.h"
#include "ml/tensor/internal.h"

#include <etk/parallel.h>

etk_shape etk__weight_rows_shape(const struct weight *w) {
  const etk_shape *held = etk_tensor_shape(w->tensor);
  return w->swapped ? etk_shape_of(2, held->dims[1], held->dims[0]) : *held;
}

struct rows {
  const etk_tensor *tensor;
  float *out;
  int64_t row, columns; /* of Hugging Face's */
  int64_t rows, from, width; /* where dims are exchanged: whole units of stored columns around the wanted ones */
  float *units;              /* one stored row of them for each slot */
};

static void straight(void *user, int64_t begin, int64_t end, int slot) {
  const struct rows *r = user;
  (void)slot;
  etk__stored_decode(r->out + begin * r->columns, r->columns, r->tensor, r->row + begin, end - begin, 0, r->columns);
}

/* A stored row is a column of what is wanted. */
static void exchanged(void *user, int64_t begin, int64_t end, int slot) {
  const struct rows *r = user;
  float *units = r->units + slot * r->width;
  for (int64_t i = begin; i < end; i++) {
    etk__stored_decode(units, r->width, r->tensor, i, 1, r->from, r->width);
    for (int64_t j = 0; j < r->rows; j++) r->out[j * r->columns + i] = units[r->row - r->from + j];
  }
}

static etk_status decode(etk_error *e, const struct weight *w, float *out, int64_t row, int64_t rows) {
  etk_shape shape = etk__weight_rows_shape(w);
  struct rows r = {.tensor = w->tensor, .out = out, .row = row, .columns = etk__last(&shape), .rows = rows};
  if (!w->swapped) {
    etk_parallel_for(rows, 1 + (1 << 14) / (r.columns + 1), straight, &r);
    return ETK_OK;
  }
  int64_t unit = etk__stored_unit(w->tensor);
  r.from = row / unit * unit;
  r.width = (row + rows + unit - 1) / unit * unit - r.from;
  r.units = etk_alloc((size_t)(r.width * etk_parallel_threads()) * sizeof *r.units);
  if (!r.units) return etk_fail_memory(e);
  etk_parallel_for(r.columns, 1 + (1 << 14) / r.width, exchanged, &r);
  etk_free(r.units);
  return ETK_OK;
}

etk_status etk__weight_rows(etk_error *e, const struct weight *w, etk_dtype dtype, void *out, int64_t row, int64_t rows) {
  etk_shape shape = etk__weight_rows_shape(w);
  if (dtype == ETK_F32) return decode(e, w, out, row, rows);
  size_t count = (size_t)(rows * etk__last(&shape));
  float *values = etk_alloc(count * sizeof *values);
  if (!values) return etk_fail_memory(e);
  etk_status status = decode(e, w, values, row, rows);
  if (!status) status = etk_dtype_convert(e, out, dtype, values, ETK_F32, count);
  etk_free(values);
  return status;
}
