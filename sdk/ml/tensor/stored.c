/* Weights as they are stored: rows of any stored type to F32, a few at a time. */
#include "internal.h"
#include "ml/quant/internal.h"

bool etk__is_stored(etk_dtype dtype) {
  return dtype == ETK_F16 || dtype == ETK_BF16 || dtype == ETK_AFFINE || dtype == ETK_NF4 || etk_type_is_block((etk_type)dtype) ||
         etk_type_is_float8((etk_type)dtype);
}

int64_t etk__stored_unit(const etk_tensor *t) {
  if (t->dtype == ETK_AFFINE) return t->parts->affine.group;
  return t->dtype == ETK_NF4 ? ETK_NF4_BLOCK : etk_type_block_elements((etk_type)t->dtype);
}

static void decode_affine(float *out, const struct parts *p, int64_t first, int64_t count) {
  const etk_affine *a = &p->affine;
  size_t group = (size_t)(first / a->group) * etk_dtype_size(a->dtype);
  const uint32_t *words = (const uint32_t *)p->codes->data + first / 32 * a->bits;
  /* Cannot fail: the tensor was checked as it was made. */
  (void)etk_affine_decode(NULL, out, a, words, (const char *)p->scales->data + group, (const char *)p->biases->data + group, 1, count);
}

/* Of one row, or of rows that are in order; first: where they are stored. */
static void decode(float *out, const etk_tensor *t, int64_t first, int64_t count) {
  const unsigned char *data = t->data;
  if (t->dtype == ETK_F32) memcpy(out, data + (size_t)first * sizeof *out, (size_t)count * sizeof *out);
  else if (t->dtype == ETK_F16) etk__kernels()->f16_to_f32(out, (const uint16_t *)t->data + first, count);
  else if (t->dtype == ETK_BF16) etk__kernels()->bf16_to_f32(out, (const uint16_t *)t->data + first, count);
  else if (t->dtype == ETK_AFFINE) decode_affine(out, t->parts, first, count);
  else if (t->dtype == ETK_NF4) etk_nf4_decode(out, data + first / 2, (const float *)t->parts->scales->data + first / ETK_NF4_BLOCK, count);
  else if (etk_type_is_float8((etk_type)t->dtype)) etk__float8_decode(out, (etk_type)t->dtype, data + first, count);
  else {
    int64_t elements = etk_type_block_elements((etk_type)t->dtype), bytes = etk_type_block_bytes((etk_type)t->dtype);
    etk__quant_decoders()->of[(int)t->dtype - ETK_TYPE_FIRST_BLOCK](out, data + first / elements * bytes, count / elements);
  }
}

void etk__stored_decode_flat(float *out, const etk_tensor *t, int64_t first, int64_t count) {
  int64_t width = etk__last(&t->shape);
  for (int64_t n = count; count > 0; out += n, first += n, count -= n) {
    int64_t row = first / width, left = (row + 1) * width - first;
    if (t->rotary) n = count < left ? count : left;
    decode(out, t, t->rotary ? etk__stored_row(t, row) * width + first % width : first, n);
  }
}

void etk__stored_decode(float *out, int64_t stride, const etk_tensor *t, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  int64_t width = etk__last(&t->shape);
  if (column == 0 && columns == width && stride == width) {
    etk__stored_decode_flat(out, t, row * width, rows * width);
    return;
  }
  for (int64_t r = 0; r < rows; r++) etk__stored_decode_flat(out + r * stride, t, (row + r) * width + column, columns);
}
