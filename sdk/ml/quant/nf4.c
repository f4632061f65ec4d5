/* NF4: quantiles of the normal distribution (QLoRA, Dettmers et al. 2023, appendix E), scaled by the largest magnitude of 64 elements. */
#include "internal.h"

#include <inttypes.h>
#include <math.h>

const float etk_nf4_table[16] = {-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};

void etk_nf4_decode(float *out, const uint8_t *codes, const float *absmax, int64_t count) {
  for (int64_t i = 0; i < count; i++) out[i] = etk_nf4_table[i & 1 ? codes[i / 2] & 15 : codes[i / 2] >> 4] * absmax[i / ETK_NF4_BLOCK];
}

/* The nearest entry; half-way goes down. */
static int nearest(float x) {
  int low = 0, high = 15;
  while (low < high) {
    int middle = (low + high) / 2;
    if (x > 0.5f * (etk_nf4_table[middle] + etk_nf4_table[middle + 1])) low = middle + 1;
    else high = middle;
  }
  return low;
}

etk_status etk_nf4_encode(etk_error *e, uint8_t *codes, float *absmax, const float *in, int64_t count) {
  if (count < 0) return etk_fail(e, ETK_E_INVALID, "%" PRId64 " elements: the count must be at least 0", count);
  for (int64_t begin = 0; begin < count; begin += ETK_NF4_BLOCK) {
    int64_t end = begin + ETK_NF4_BLOCK < count ? begin + ETK_NF4_BLOCK : count;
    float top = 0;
    for (int64_t i = begin; i < end; i++) {
      if (!isfinite(in[i])) return etk_fail(e, ETK_E_INVALID, "element %" PRId64 " is %g; NF4 holds finite numbers only", i, (double)in[i]);
      top = fmaxf(top, fabsf(in[i]));
    }
    absmax[begin / ETK_NF4_BLOCK] = top;
    for (int64_t i = begin; i < end; i += 2) {
      int first = nearest(top > 0 ? in[i] / top : 0), second = nearest(top > 0 && i + 1 < end ? in[i + 1] / top : 0);
      codes[i / 2] = (uint8_t)(first << 4 | second);
    }
  }
  return ETK_OK;
}
