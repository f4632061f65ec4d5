/* Products with a stored weight: a tile of it is decoded into scratch and multiplied while it is in the cache. How the work is cut follows from the sizes alone,
 * and each element of the result is summed by one thread in one order, so that the number of threads changes no bit. */
#include "internal.h"

#include <etk/parallel.h>

enum {
  FEW = 4,              /* rows of a up to which products go row by row: there is no time in packing matrices for a BLAS */
  ROWS = 256,           /* of a in an item of work */
  FEW_FLOATS = 1 << 12, /* of a tile: for few rows it should stay in the first cache, else in the second */
  TILE_FLOATS = 1 << 18,
  TILE_ROWS = 128,
  STRIP = 128,          /* columns, where the rows of b are what is summed over; or one unit of the type */
  GRAIN = 1 << 16       /* elements of b times rows of a that are worth another thread: some microseconds */
};

struct product {
  const struct gemm *g;
  const etk_tensor *b;
  float *scratch;
  int64_t tile, floats; /* rows of b in a tile; floats of scratch for one thread */
  int64_t chunks;       /* of a's rows */
  int64_t strip;
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows of b, of k each, in a tile. */
static int64_t tile_rows(int64_t floats, int64_t k) {
  int64_t rows = floats / k / 4 * 4;
  return rows < 4 ? 4 : smaller(rows, TILE_ROWS);
}
static int64_t strip_of(const etk_tensor *b) {
  int64_t unit = etk__stored_unit(b);
  return (STRIP + unit - 1) / unit * unit;
}
static int64_t floats_of(const etk_tensor *b, bool transposed) {
  int64_t floats = transposed ? tile_rows(TILE_FLOATS, etk__last(&b->shape)) * etk__last(&b->shape) : TILE_ROWS * strip_of(b);
  return (floats + 15) / 16 * 16;
}
int64_t etk__stored_gemm_alike(void) { return FEW; }
size_t etk__stored_gemm_scratch(const etk_tensor *b, bool transposed, int threads) { return (size_t)(floats_of(b, transposed) * threads) * sizeof(float); }

/* ---- c = a b': a tile of b gives columns of c ---- */

static void few_times_tile(const struct gemm *g, const float *tile, int64_t row, int64_t rows) {
  float sums[TILE_ROWS];
  for (int64_t i = 0; i < g->m; i++) {
    float *c = g->c + i * g->ldc + row;
    etk__kernels()->matvec_f32(sums, tile, g->k, g->a + i * g->lda, rows, g->k);
    for (int64_t j = 0; j < rows; j++) c[j] = g->alpha * sums[j] + (g->beta != 0 ? g->beta * c[j] : 0);
  }
}

static void transposed_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct product *p = user;
  float *tile = p->scratch + slot * p->floats;
  int64_t decoded = -1;
  for (int64_t item = begin; item < end; item++) {
    int64_t number = item / p->chunks, first = item % p->chunks * ROWS, row = number * p->tile, rows = smaller(p->tile, p->g->n - row);
    if (number != decoded) etk__stored_decode(tile, p->g->k, p->b, row, rows, 0, p->g->k);
    decoded = number;
    struct gemm g = *p->g;
    if (g.m <= FEW) {
      few_times_tile(&g, tile, row, rows);
      continue;
    }
    g.m = smaller(ROWS, g.m - first);
    g.a += first * g.lda;
    g.c += first * g.ldc + row;
    g.n = rows;
    g.b = tile;
    g.ldb = g.k;
    etk__gemm(&g);
  }
}

/* ---- c = a b: b's rows are summed over, a strip of its columns gives columns of c ---- */

static void few_times_strip(const struct gemm *g, const float *tile, int64_t width) {
  for (int64_t i = 0; i < g->m; i++) {
    float *c = g->c + i * g->ldc;
    if (g->beta == 0) memset(c, 0, (size_t)width * sizeof *c);
    for (int64_t r = 0; r < g->k; r++) etk__kernels()->axpy_f32(c, g->alpha * g->a[i * g->lda + r], tile + r * width, width);
  }
}

static void strip_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct product *p = user;
  float *tile = p->scratch + slot * p->floats;
  for (int64_t item = begin; item < end; item++) {
    int64_t column = item / p->chunks * p->strip, first = item % p->chunks * ROWS, width = smaller(p->strip, p->g->n - column);
    struct gemm g = *p->g;
    bool few = g.m <= FEW;
    g.m = smaller(ROWS, g.m - first);
    g.a += first * g.lda;
    g.c += first * g.ldc + column;
    g.n = g.ldb = width;
    g.b = tile;
    for (int64_t row = 0; row < p->g->k; row += TILE_ROWS, g.a += TILE_ROWS, g.beta = 1) {
      g.k = smaller(TILE_ROWS, p->g->k - row);
      etk__stored_decode(tile, width, p->b, row, g.k, column, width);
      if (few) few_times_strip(&g, tile, width);
      else etk__gemm(&g);
    }
  }
}

void etk__stored_gemm(const struct gemm *g, const etk_tensor *b, void *scratch) {
  bool few = g->m <= FEW;
  struct product p = {.g = g, .b = b, .scratch = scratch, .floats = floats_of(b, g->tb), .chunks = (g->m + ROWS - 1) / ROWS};
  if (!few) etk__blas_open();
  if (g->tb) {
    p.tile = tile_rows(few ? FEW_FLOATS : TILE_FLOATS, g->k);
    int64_t tiles = (g->n + p.tile - 1) / p.tile;
    etk_parallel_for(tiles * p.chunks, 1 + GRAIN / (p.tile * g->k * smaller(g->m, ROWS)), transposed_items, &p);
  } else {
    p.strip = strip_of(b);
    etk_parallel_for((g->n + p.strip - 1) / p.strip * p.chunks, 1 + GRAIN / (p.strip * g->k * smaller(g->m, ROWS)), strip_items, &p);
  }
}
