/* MLX's folders: those of Hugging Face whose matrices are affine codes, in three tensors each. */
#include "internal.h"

#include <string.h>

/* Embeddings, attention, feed-forward and output are quantized; routers, norms, learned positions and what is stored (in, out) are not. */
static bool is_quantized(const etk__gguf_table *table, const etk__origin_item *item) {
  etk__gguf_place place;
  if (item->shape.rank != 2 || !etk__gguf_parse_canonical(&place, table, item->name)) return false;
  return !place.bias && !place.row->plain && place.row->role != ETK__ROLE_OTHER && place.row->change != ETK__TRANSPOSED;
}

static etk_status make_affine(etk_error *e, etk_convert *c, etk__task *t) {
  const etk__origin_item *item = t->item;
  int group = c->options.group_size ? c->options.group_size : 64, bits = c->options.bits ? c->options.bits : 4;
  if (item->shape.dims[1] % group) {
    t->report.fell_back = true;
    return ETK_OK;
  }
  t->affine = (etk_affine){bits, group, (etk_dtype)t->type};
  t->type = ETK_AFFINE;
  bool same = item->scales && item->affine.bits == bits && item->affine.group == group && item->affine.dtype == t->affine.dtype;
  if (!same && !c->options.requantize && (item->scales || etk_type_is_block((etk_type)item->weight->type)))
    return etk_fail(e, ETK_E_INVALID,
                    "tensor %s is %s already and would be quantized again, which loses twice; convert the model it was made from, or allow it (--allow-requantize)", item->name, item->type_name);
  return ETK_OK;
}

etk_status etk__mlx_plan(etk_error *e, etk_convert *c) {
  int bits = c->options.bits ? c->options.bits : 4, group = c->options.group_size ? c->options.group_size : 64;
  if (bits < 2 || bits > 8 || bits == 7) return etk_fail(e, ETK_E_USAGE, "%d bits; 2, 3, 4, 5, 6 or 8 are wanted", bits);
  if (group != 32 && group != 64 && group != 128) return etk_fail(e, ETK_E_USAGE, "groups of %d; 32, 64 or 128 are wanted", group);
  if (!c->has_config) return etk_fail(e, ETK_E_INVALID, "%s has no config.json beside its weights, without which there is no MLX model", c->input);
  const etk__gguf_table *table = etk__gguf_table_of_model_type(c->config.architecture);
  if (!table)
    return etk_fail(e, ETK_E_UNSUPPORTED, "which tensors of a model of type \"%s\" are matrices is not known to this version", c->config.architecture);
  etk_status status = etk__canonical_plan(e, c);
  size_t quantized = 0;
  for (size_t i = 0; i < c->count && !status; i++) {
    etk__task *t = &c->tasks[i];
    if (is_quantized(table, t->item)) status = make_affine(e, c, t);
    quantized += t->type == (int)ETK_AFFINE;
    etk__task_report(t);
  }
  if (status || quantized) return status;
  return etk_fail(e, ETK_E_INVALID, "no matrix of %s has rows that are a multiple of %d, so that nothing would be quantized; try smaller groups",
                  c->input, group);
}

struct affine_part {
  etk__task *task;
  int which; /* words, scales, biases */
};

static etk_status encode_affine(etk_error *e, etk__task *t, int which, void *out, uint32_t *words, char *scales, char *biases, int64_t rows) {
  etk_convert *c = t->convert;
  const etk_affine *a = &t->affine;
  int64_t columns = t->report.shape.dims[1];
  size_t size = (size_t)(rows * columns / a->group) * etk_dtype_size(a->dtype);
  etk_status status = etk_affine_encode(e, words, scales, biases, a, c->values, rows, columns);
  if (status) return status;
  if (which) return memcpy(out, which == 1 ? scales : biases, size), ETK_OK;
  memcpy(out, words, (size_t)(rows * etk_affine_words(a, columns)) * sizeof *words);
  status = etk__rows_room(e, &c->encoder.scratch, &c->encoder.room, rows * columns);
  if (!status) status = etk_affine_decode(e, c->encoder.scratch, a, words, scales, biases, rows, columns);
  if (!status) etk__tally_add(&t->tally, c->values, c->encoder.scratch, rows * columns);
  return status;
}

/* In the file a matrix's scales lie behind its biases: those that come along with the biases are kept, so that the matrix is encoded twice and not
 * three times. */
static etk_status keep_scales(etk_error *e, etk__task *t, const char *scales, int64_t row, int64_t rows, size_t bytes) {
  etk_convert *c = t->convert;
  if (row == 0) {
    etk_free(c->scales);
    c->scales = etk_alloc((size_t)t->report.shape.dims[0] * bytes);
    c->scales_of = t;
    c->scales_rows = 0;
  }
  if (!c->scales) return etk_fail_memory(e);
  if (c->scales_of != t || c->scales_rows != row) return ETK_OK;
  memcpy(c->scales + (size_t)row * bytes, scales, (size_t)rows * bytes);
  c->scales_rows = row + rows;
  return ETK_OK;
}
static bool kept_scales(const etk__task *t, void *out, int64_t row, int64_t rows, size_t bytes) {
  const etk_convert *c = t->convert;
  if (c->scales_of != t || row + rows > c->scales_rows) return false;
  memcpy(out, c->scales + (size_t)row * bytes, (size_t)rows * bytes);
  return true;
}

/* At most so many rows at a time: those of scales are short, so that a megabyte of them stands for many values. */
enum { MOST_VALUES = 1 << 20 };
static etk_status fill_affine(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  const struct affine_part *p = user;
  etk__task *t = p->task;
  const etk_affine *a = &t->affine;
  int64_t columns = t->report.shape.dims[1], most = MOST_VALUES / columns > 0 ? MOST_VALUES / columns : 1, width = etk_affine_words(a, columns);
  size_t groups = (size_t)(columns / a->group) * etk_dtype_size(a->dtype), stride = p->which ? groups : (size_t)width * sizeof(uint32_t);
  if (p->which == 1 && kept_scales(t, out, row, rows, groups)) return etk__task_done(e, t, row, rows);
  if (most > rows) most = rows;
  uint32_t *words = etk_alloc((size_t)(most * width) * sizeof *words);
  char *scales = etk_alloc(2 * (size_t)most * groups);
  etk_status status = words && scales ? etk__task_open(e, t->convert, t->item) : etk_fail_memory(e);
  for (int64_t at = 0; at < rows && !status; at += most) {
    int64_t n = rows - at < most ? rows - at : most;
    status = etk__rows_room(e, &t->convert->values, &t->convert->values_room, n * columns);
    if (!status) status = etk__rows_decode(e, t->convert->values, t->convert->open, (row + at) * columns, n * columns);
    if (!status) status = encode_affine(e, t, p->which, (char *)out + (size_t)at * stride, words, scales, scales + (size_t)most * groups, n);
    if (!status && p->which == 2) status = keep_scales(e, t, scales, row + at, n, groups);
    if (!status) status = etk__task_done(e, t, row + at, n);
  }
  etk_free(words), etk_free(scales);
  return status;
}

etk_status etk__mlx_streams(etk_error *e, etk__task *t, etk_safetensors_stream *out) {
  etk_convert *c = t->convert;
  const etk__origin_item *item = t->item;
  const etk_affine *a = &t->affine;
  bool same = item->scales && item->expert < 0 && item->affine.bits == a->bits && item->affine.group == a->group && item->affine.dtype == a->dtype;
  int64_t rows = t->report.shape.dims[0], columns = t->report.shape.dims[1];
  int base = (int)(strlen(t->report.name) - strlen("weight"));
  struct affine_part *parts = etk_arena_array(&c->arena, 3, sizeof *parts);
  static const char *const leaves[] = {"weight", "scales", "biases"};
  const etk_weight *stored[] = {item->weight, item->scales, item->biases};
  for (int i = 0; parts && i < 3; i++) {
    parts[i] = (struct affine_part){t, i};
    out[i] = (etk_safetensors_stream){etk_arena_printf(&c->arena, "%.*s%s", base, t->report.name, leaves[i]), i ? a->dtype : ETK_U32,
                                      etk_shape_of(2, rows, i ? columns / a->group : etk_affine_words(a, columns)), same ? stored[i]->data : NULL,
                                          fill_affine, &parts[i]};
    if (!out[i].name) return etk_fail_memory(e);
  }
  return parts ? ETK_OK : etk_fail_memory(e);
}
