/* Matrix products for machines without a BLAS. Panels of b (DEPTH x WIDTH) are packed on the stack; a is read in place, ROWS rows at a time. */
#include "vector.h"

enum { ROWS = 6, WIDTH = 2 * LANES, DEPTH = 256 };

struct tile {
  const float *a, *panel;
  int64_t row_stride, column_stride, depth; /* of a */
  float *c;
  int64_t ldc, columns; /* of c, at most WIDTH */
  float alpha, beta;
};

INLINE void put(float *c, vf x, float alpha, float beta, int64_t n) {
  if (n <= 0) return;
  bool whole = n >= LANES;
  vf y = splat(alpha) * x;
  if (beta != 0) y = fma_of(splat(beta), whole ? load(c) : load_part(c, n, 0), y);
  if (whole) store(c, y);
  else store_part(c, y, n);
}

/* rows is a constant where this is inlined. */
INLINE void run_tile(const struct tile *t, int rows) {
  vf s[ROWS][2];
  for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = splat(0);
  const float *a = t->a, *b = t->panel;
  for (int64_t p = 0; p < t->depth; p++, a += t->column_stride, b += WIDTH) {
    vf x = load(b), y = load(b + LANES);
    for (int r = 0; r < rows; r++) {
      vf w = splat(a[r * t->row_stride]);
      s[r][0] = fma_of(w, x, s[r][0]);
      s[r][1] = fma_of(w, y, s[r][1]);
    }
  }
  for (int r = 0; r < rows; r++) {
    put(t->c + r * t->ldc, s[r][0], t->alpha, t->beta, t->columns);
    put(t->c + r * t->ldc + LANES, s[r][1], t->alpha, t->beta, t->columns - LANES);
  }
}

static void run_rows(struct tile t, int64_t rows) {
  for (; rows >= ROWS; rows -= ROWS, t.a += ROWS * t.row_stride, t.c += ROWS * t.ldc) run_tile(&t, ROWS);
  for (; rows >= 2; rows -= 2, t.a += 2 * t.row_stride, t.c += 2 * t.ldc) run_tile(&t, 2);
  if (rows) run_tile(&t, 1);
}

void K(gemm_f32)(const struct gemm *g) {
  float panel[DEPTH * WIDTH];
  int64_t b_row = g->tb ? 1 : g->ldb, b_column = g->tb ? g->ldb : 1;
  struct tile t = {.panel = panel, .row_stride = g->ta ? 1 : g->lda, .column_stride = g->ta ? g->lda : 1, .ldc = g->ldc, .alpha = g->alpha};
  for (int64_t j = 0; j < g->n; j += WIDTH)
    for (int64_t p = 0; p == 0 || p < g->k; p += DEPTH) {
      t.columns = g->n - j < WIDTH ? g->n - j : WIDTH;
      t.depth = g->k - p < DEPTH ? g->k - p : DEPTH;
      for (int64_t q = 0; q < t.depth; q++)
        for (int64_t w = 0; w < WIDTH; w++) panel[q * WIDTH + w] = w < t.columns ? g->b[(p + q) * b_row + (j + w) * b_column] : 0;
      t.a = g->a + p * t.column_stride;
      t.c = g->c + j;
      t.beta = p ? 1 : g->beta;
      run_rows(t, g->m);
    }
}
