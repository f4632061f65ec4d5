/* Rows of one tensor as they will be stored. */
#include "internal.h"
#include "ml/tensor/internal.h"

#include <string.h>

void etk__task_close(etk_convert *c) {
  etk_tensor_unref(c->open);
  c->open = NULL;
  c->open_item = NULL;
}

/* Tensors come one after the other: the last one stays open. */
etk_status etk__task_open(etk_error *e, etk_convert *c, const etk__origin_item *item) {
  if (c->open_item == item) return ETK_OK;
  etk__task_close(c);
  etk_status status = etk__origin_tensor(e, &c->open, c->origin, item);
  if (!status && !etk_shape_equal(etk_tensor_shape(c->open), &item->shape)) {
    char a[160], b[160];
    status = etk_fail(e, ETK_E_FORMAT, "tensor %s has the shape %s; %s is wanted", item->name, etk_shape_text(a, sizeof a, etk_tensor_shape(c->open)),
                      etk_shape_text(b, sizeof b, &item->shape));
    etk__task_close(c);
  }
  if (!status) c->open_item = item;
  return status;
}

static int64_t columns_of(const etk_shape *shape) { return shape->rank ? shape->dims[shape->rank - 1] : 1; }

etk_status etk__task_done(etk_error *e, etk__task *task, int64_t row, int64_t rows) {
  etk_convert *c = task->convert;
  int64_t columns = columns_of(&task->report.shape), all = columns ? etk_shape_elements(&task->report.shape) / columns : 0;
  if (row + rows > task->rows_done && all > 0) { /* what is made three times over counts once */
    double before = (double)task->rows_done / (double)all, after = (double)(row + rows) / (double)all;
    c->done += (int64_t)((double)task->report.bytes_before * after) - (int64_t)((double)task->report.bytes_before * before);
    task->rows_done = row + rows;
  }
  if (!c->options.progress || c->options.progress(c->options.user, c->done, c->total, task->report.name)) return ETK_OK;
  return etk_fail(e, ETK_E_CANCELLED, "stopped; %s is as it was", c->output);
}

/* Experts of a stack have weights of their own. */
static etk_status encode(etk_error *e, etk__task *task, void *out, const float *values, int64_t row, int64_t rows, int64_t columns) {
  etk_convert *c = task->convert;
  size_t bytes = 0;
  etk_status status = etk_type_bytes(e, &bytes, (etk_type)task->type, 1, columns);
  c->encoder.name = task->report.name;
  c->encoder.type = task->type;
  c->encoder.tally = task->tally;
  for (int64_t at = 0; at < rows && !status;) {
    int64_t whole = task->importance && task->expert_rows ? task->expert_rows : 0, n = rows - at;
    if (whole && n > whole - (row + at) % whole) n = whole - (row + at) % whole;
    c->encoder.importance = task->importance ? task->importance + (whole ? (row + at) / whole * columns : 0) : NULL;
    status = etk__rows_encode(e, &c->encoder, (char *)out + (size_t)at * bytes, values + at * columns, n, columns);
    at += n;
  }
  task->tally = c->encoder.tally;
  return status ? etk_error_while(e, status, "tensor %s", task->report.name) : ETK_OK;
}

static etk_status read_rows(etk_error *e, etk__task *task, int64_t row, int64_t rows, int64_t columns) {
  etk_convert *c = task->convert;
  etk_status status = etk__rows_room(e, &c->values, &c->values_room, rows * columns);
  if (status) return status;
  if (task->item) status = etk__rows_decode(e, c->values, c->open, row * columns, rows * columns);
  else if (task->weight) {
    size_t bytes = 0;
    status = etk_type_bytes(e, &bytes, (etk_type)task->weight->type, 1, columns);
    if (!status) status = etk_quant_decode(e, c->values, (etk_type)task->weight->type, (const char *)task->weight->data + (size_t)row * bytes, rows, columns);
  } else status = etk__gguf_names_rows(e, c->names, task->target, row, rows, c->values);
  return status ? etk_error_while(e, status, "tensor %s", task->report.source) : ETK_OK;
}

static etk_status copy_rows(etk_error *e, const etk__task *task, void *out, int64_t row, int64_t rows, int64_t columns) {
  size_t bytes = 0;
  etk_status status = etk_type_bytes(e, &bytes, (etk_type)task->type, 1, columns);
  if (!status) memcpy(out, (const char *)etk_tensor_data(task->convert->open) + (size_t)row * bytes, (size_t)rows * bytes);
  return status;
}

const void *etk__task_data(const etk__task *task) { return task->weight && task->weight->type == task->type ? task->weight->data : NULL; }

etk_status etk__task_fill(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  etk__task *task = user;
  etk_convert *c = task->convert;
  int64_t columns = columns_of(&task->report.shape);
  if (task->item && !task->item->shape.rank) rows = 1;
  etk_status status = task->item ? etk__task_open(e, c, task->item) : ETK_OK;
  if (!status && task->item && (int)etk_tensor_dtype(c->open) == task->type) status = copy_rows(e, task, out, row, rows, columns);
  else if (!status) {
    status = read_rows(e, task, row, rows, columns);
    if (!status) status = encode(e, task, out, c->values, row, rows, columns);
  }
  return status ? status : etk__task_done(e, task, row, rows);
}
