/* ml_quant_data.h: blocks and rows that the tests and the peer driver both make, bit for bit the same on every machine (no libm but sqrt). */
#ifndef TESTS_ML_QUANT_DATA_H
#define TESTS_ML_QUANT_DATA_H

#include <etk/quant.h>
#include <math.h>
#include <string.h>

static inline uint32_t data_next(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 32);
}
static inline float data_unit(uint64_t *state) { return (float)(data_next(state) >> 8) * 0x1p-24f; } /* [0, 1) */
static inline float data_normal(uint64_t *state) {                                                   /* a sum of twelve */
  float sum = -6;
  for (int i = 0; i < 12; i++) sum += data_unit(state);
  return sum;
}

enum { DATA_GAUSSIAN, DATA_UNIFORM, DATA_HEAVY, DATA_OFFSET, DATA_SPARSE, DATA_KINDS };
static const char *const data_names[DATA_KINDS] = {"gaussian", "uniform", "heavy", "offset", "sparse"};
static inline void data_fill(float *out, size_t count, int kind) {
  uint64_t s = 77 + (uint64_t)kind;
  for (size_t i = 0; i < count; i++) {
    float x = kind == DATA_UNIFORM || kind == DATA_OFFSET ? 2 * data_unit(&s) - 1 : data_normal(&s);
    if (kind == DATA_HEAVY) x /= sqrtf(data_unit(&s) + 0.003f); /* like Student's t, with outliers to 50 */
    if (kind == DATA_OFFSET) x = x * 0.1f + 0.7f;
    if (kind == DATA_SPARSE && data_unit(&s) < 0.9f) x = 0;
    out[i] = x * 0.05f;
  }
}
/* Importance of columns over three powers of ten. */
static inline void data_importance(float *out, size_t count) {
  uint64_t s = 5;
  for (size_t i = 0; i < count; i++) {
    float u = data_unit(&s);
    out[i] = 0.001f + u * u * u * u;
  }
}
/* Root of the (weighted) mean square error over that of the values. */
static inline double data_error(const float *x, const float *y, size_t rows, size_t columns, const float *importance) {
  double off = 0, all = 0;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < columns; c++) {
      double a = x[r * columns + c], b = y[r * columns + c], w = importance ? (double)importance[c] : 1;
      off += w * (a - b) * (a - b);
      all += w * a * a;
    }
  return sqrt(off / all);
}

/* Where the binary16 fields of a block lie; -1: no second. */
static const struct data_layout {
  etk_type type;
  int d, m;
} data_layouts[] = {{ETK_Q4_0, 0, -1},   {ETK_Q4_1, 0, 2}, {ETK_Q5_0, 0, -1}, {ETK_Q5_1, 0, 2},    {ETK_Q8_0, 0, -1},  {ETK_Q2_K, 80, 82},
                    {ETK_Q3_K, 108, -1}, {ETK_Q4_K, 0, 2}, {ETK_Q5_K, 0, 2},  {ETK_Q6_K, 208, -1}, {ETK_IQ4_NL, 0, -1}};
enum { DATA_LAYOUTS = sizeof data_layouts / sizeof *data_layouts };

/* Block `index` of a type: random bytes; the binary16 fields run through zeros, subnormals, the largest, infinities and NaN; then all 0 and all 1. */
static inline void data_block(unsigned char *out, const struct data_layout *layout, uint64_t index) {
  static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x03ff, 0x0400, 0x7bff, 0xfbff,
                                     0x7c00, 0xfc00, 0x7e00, 0x7c01, 0x3c00, 0xbc00, 0x2e66};
  enum { SPECIAL = sizeof special / sizeof *special };
  size_t bytes = (size_t)etk_type_block_bytes(layout->type);
  uint64_t s = index * 1000003 + (uint64_t)layout->type;
  for (size_t i = 0; i < bytes; i++) out[i] = (unsigned char)data_next(&s);
  if (index % 4 == 3) memset(out, index % 8 == 3 ? 0 : 255, bytes);
  uint16_t d = index % 2 ? (uint16_t)(data_next(&s) & 0xbbff) : special[data_next(&s) % SPECIAL], m = special[data_next(&s) % SPECIAL];
  memcpy(out + layout->d, &d, 2);
  if (layout->m >= 0) memcpy(out + layout->m, &m, 2);
}

#endif
