/* Containers of tensors alone: safetensors, npz and PyTorch. */
#include "internal.h"

#include <etk/numpy.h>
#include <etk/text.h>
#include <etk/torch.h>
#include <string.h>

static etk_status make_tensor(etk_error *e, etk_tensor **out, etk__task *t) {
  etk_convert *c = t->convert;
  *out = NULL;
  etk_status status = etk__task_open(e, c, t->item);
  if (status) return status;
  if ((int)etk_tensor_dtype(c->open) == t->type) {
    *out = etk_tensor_ref(c->open);
    return etk__task_done(e, t, 0, t->report.shape.rank ? etk_shape_elements(&t->report.shape) / t->report.shape.dims[t->report.shape.rank - 1] : 1);
  }
  status = etk_tensor_new(e, out, (etk_dtype)t->type, t->report.shape);
  int64_t columns = t->report.shape.rank ? t->report.shape.dims[t->report.shape.rank - 1] : 1,
      all = columns ? etk_shape_elements(&t->report.shape) / columns : 0;
  int64_t most = columns && (1 << 20) / columns > 0 ? (1 << 20) / columns : 1;
  for (int64_t row = 0; row < all && !status; row += most)
    status = etk__task_fill(e, t, (char *)etk_tensor_data(*out) + (size_t)(row * columns) * etk_dtype_size((etk_dtype)t->type), row,
                            all - row < most ? all - row : most);
  return status;
}

/* How it was made, as bytes of JSON, where the container has no room for text. */
static etk_status make_record(etk_error *e, etk_tensor **out, const etk_convert *c) {
  etk_text text = ETK_TEXT_INIT;
  etk_status status = etk__provenance_json(e, &text, c);
  if (!status) status = etk_tensor_new(e, out, ETK_U8, etk_shape_of(1, (int64_t)text.size));
  if (!status) memcpy(etk_tensor_data(*out), text.data, text.size);
  etk_text_free(&text);
  return status;
}

static etk_status write_npz(etk_error *e, etk_convert *c, etk_tensor **tensors) {
  etk_npz_item *items = etk_calloc(c->count + 1, sizeof *items);
  etk_status status = items ? make_record(e, &tensors[c->count], c) : etk_fail_memory(e);
  for (size_t i = 0; i < c->count && !status; i++) items[i] = (etk_npz_item){c->tasks[i].report.name, tensors[i]};
  if (!status) items[c->count] = (etk_npz_item){ETK__RECORD, tensors[c->count]};
  if (!status) status = etk_npz_write(e, c->output, items, c->count + 1, c->options.replace);
  etk_free(items);
  return status;
}

static etk_status write_torch(etk_error *e, etk_convert *c, etk_tensor **tensors) {
  etk_torch_item *items = etk_calloc(c->count + 1, sizeof *items);
  etk_status status = items ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < c->count && !status; i++) items[i] = (etk_torch_item){c->tasks[i].report.name, tensors[i]};
  if (!status) status = etk_torch_write(e, c->output, items, c->count, c->options.replace);
  etk_free(items);
  return status;
}

/* Both are archives of whole tensors. */
static etk_status save_archive(etk_error *e, etk_convert *c) {
  etk_tensor **tensors = etk_calloc(c->count + 1, sizeof *tensors);
  etk_status status = tensors ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < c->count && !status; i++) status = make_tensor(e, &tensors[i], &c->tasks[i]);
  etk__task_close(c);
  if (!status) status = c->to == ETK_CONVERT_NPZ ? write_npz(e, c, tensors) : write_torch(e, c, tensors);
  for (size_t i = 0; tensors && i <= c->count; i++) etk_tensor_unref(tensors[i]);
  etk_free(tensors);
  c->files = 1;
  return status;
}

etk_status etk__plain_save(etk_error *e, etk_convert *c) {
  return c->to == ETK_CONVERT_SAFETENSORS ? etk__canonical_save(e, c, c->output, c->options.shard_bytes, c->options.replace) : save_archive(e, c);
}
