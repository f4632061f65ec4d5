/* Products of matrices that lie in the caches, without packing: a few rows by two vectors of sums in registers. */
#include "vector.h"

#if defined(ETK_ISA_avx512) || defined(ETK_ISA_neon)
enum { ROWS = 8 }; /* 16 sums: of 32 registers */
#else
enum { ROWS = 4 };
#endif

/* rows, and columns where it is 2 * LANES, are constants where this is inlined. */
INLINE void tile(const struct small_product *p, int64_t row, int64_t column, int rows, int64_t columns) {
  const float *a = p->a + row * p->a_row, *b = p->b + column;
  float *c = p->c + row * p->ldc + column;
  vf s[ROWS][2];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) s[r][v] = p->add ? load_some(c + r * p->ldc + v * LANES, columns - v * LANES) : splat(0);
  for (int64_t d = 0; d < p->depth; d++, a += p->a_depth, b += p->ldb) {
    vf x = load_some(b, columns), y = load_some(b + LANES, columns - LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      vf u = splat(a[r * p->a_row]);
      s[r][0] = fma_of(u, x, s[r][0]);
      s[r][1] = fma_of(u, y, s[r][1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) store_some(c + r * p->ldc + v * LANES, s[r][v], columns - v * LANES);
}
INLINE void tiles(const struct small_product *p, int64_t row, int rows) {
  int64_t column = 0;
  for (; column + 2 * LANES <= p->columns; column += 2 * LANES) tile(p, row, column, rows, 2 * LANES);
  if (column < p->columns) tile(p, row, column, rows, p->columns - column);
}

void K(small_product_f32)(const struct small_product *p) {
  int64_t row = 0;
  for (; row + ROWS <= p->rows; row += ROWS) tiles(p, row, ROWS);
  for (; row + 2 <= p->rows; row += 2) tiles(p, row, 2);
  if (row < p->rows) tiles(p, row, 1);
}
