/* Values of a weight as F32. */
#include <etk/weights.h>

#include <string.h>

int64_t etk_weight_elements(const etk_weight *weight) { return etk_shape_elements(&weight->shape); }

int64_t etk_weight_stored_row(const etk_weight *weight, int64_t row) {
  int64_t d = weight->rotary;
  if (d < 2) return row;
  int64_t head = row / d, i = row % d;
  return head * d + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
}

#define WHOLE(name, type)                                                     \
  static void name(float *out, const unsigned char *in, int64_t count) {      \
    for (int64_t i = 0; i < count; i++) {                                     \
      type value;                                                             \
      memcpy(&value, in + (size_t)i * sizeof value, sizeof value);            \
      out[i] = (float)value;                                                  \
    }                                                                         \
  }
WHOLE(from_i8, int8_t)
WHOLE(from_u8, uint8_t)
WHOLE(from_i16, int16_t)
WHOLE(from_u16, uint16_t)
WHOLE(from_i32, int32_t)
WHOLE(from_u32, uint32_t)
WHOLE(from_i64, int64_t)
WHOLE(from_u64, uint64_t)
static void (*const whole[ETK_DTYPE_COUNT])(float *out, const unsigned char *in, int64_t count) = {
    [ETK_I8] = from_i8, [ETK_U8] = from_u8, [ETK_I16] = from_i16, [ETK_U16] = from_u16, [ETK_I32] = from_i32, [ETK_U32] = from_u32,
    [ETK_I64] = from_i64, [ETK_U64] = from_u64, [ETK_BOOL] = from_u8,
};

etk_status etk_weight_decode(etk_error *e, float *out, const etk_weight *weight, int64_t first, int64_t count) {
  if (weight->type < 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "tensor %s is of type %s, which this version does not decode", weight->name, weight->type_name);
  int64_t block = etk_type_block_elements((etk_type)weight->type), elements = etk_weight_elements(weight);
  if (first < 0 || count < 0 || first > elements || count > elements - first || first % block || count % block)
    return etk_fail(e, ETK_E_INVALID, "tensor %s: elements %lld and %lld more were asked for; it has %lld, in blocks of %lld", weight->name,
                    (long long)first, (long long)count, (long long)elements, (long long)block);
  if (!count) return ETK_OK;
  const void *stored;
  etk_status status = etk_weight_data(e, &stored, weight);
  if (status) return status;
  const unsigned char *data = (const unsigned char *)stored + (size_t)(first / block) * (size_t)etk_type_block_bytes((etk_type)weight->type);
  if (weight->type < ETK_DTYPE_COUNT && whole[weight->type]) return whole[weight->type](out, data, count), ETK_OK;
  return etk_quant_decode(e, out, (etk_type)weight->type, data, 1, count);
}
