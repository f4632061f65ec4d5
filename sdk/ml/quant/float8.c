/* Floats of one byte, decoded: FP8 as OCP's specification has it (OFP8 revision 1.0: E4M3, E5M2), the variants without infinity and negative zero
 * (arXiv 2206.02915), and the powers of two that MX blocks are scaled with (OCP MX 1.0). */
#include "internal.h"

static const struct layout {
  int mantissa, bias; /* bits; of the exponent */
  bool infinity;      /* the highest exponent is infinity and NaN, as in IEEE 754 */
  bool unsigned_zero; /* the pattern of -0 is the one NaN */
} layouts[] = {{3, 7, false, false}, {2, 15, true, false}, {3, 8, false, true}, {2, 16, false, true}}; /* in the order of etk_type */

static float decode(const struct layout *l, unsigned byte) {
  static const uint32_t nan = 0x7fc00000u;
  uint32_t sign = (uint32_t)(byte & 0x80) << 24, magnitude = byte & 0x7f, mantissa = magnitude & ((1u << l->mantissa) - 1),
           exponent = magnitude >> l->mantissa;
  if (l->unsigned_zero && byte == 0x80) return quant_from_bits(nan);
  if (!l->unsigned_zero && !l->infinity && magnitude == 0x7f) return quant_from_bits(sign | nan);
  if (l->infinity && exponent == 31) return quant_from_bits(sign | (mantissa ? nan : 0x7f800000u));
  if (exponent) return quant_from_bits(sign | (exponent + 127 - (uint32_t)l->bias) << 23 | mantissa << (23 - l->mantissa));
  float step = quant_from_bits((uint32_t)(127 + 1 - l->bias - l->mantissa) << 23); /* of the values below the smallest normal one */
  return quant_from_bits(sign | quant_bits((float)mantissa * step));
}

void etk__float8_decode(float *out, etk_type type, const unsigned char *in, int64_t count) {
  if (type == ETK_F8_E8M0) {
    for (int64_t i = 0; i < count; i++)
      out[i] = quant_from_bits(in[i] == 255 ? 0x7fc00000u : in[i] ? (uint32_t)in[i] << 23 : 0x00400000u /* 2^-127 */);
    return;
  }
  const struct layout *l = &layouts[type - ETK_TYPE_FIRST_FLOAT8];
  for (int64_t i = 0; i < count; i++) out[i] = decode(l, in[i]);
}
