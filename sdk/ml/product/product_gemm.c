/* product_gemm.c: packing, cutting and running of products of float matrices (product_gemm.h). */
#include "product_gemm.h"

#include <etk/hardware.h>
#include <etk/parallel.h>
#include <pthread.h>
#include <string.h>

#include "ml/tensor/internal.h"
#include "product_half.h"

/* ---- which kernels ---- */

#define DECLARE(isa, level) extern const struct gemm_kernels etk_k_gemm_##isa;
#pragma GCC visibility push(hidden)
HALF_RUNGS(DECLARE)
#pragma GCC visibility pop

#define RUNG(isa, level) {level, &etk_k_gemm_##isa},
static const struct rung {
  etk_isa isa;
  const struct gemm_kernels *kernels;
} ladder[] = {HALF_RUNGS(RUNG)};
enum { RUNGS = sizeof ladder / sizeof *ladder };

static const struct gemm_kernels *active, *chosen; /* chosen: by a test */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void) {
  for (int i = 0; i < RUNGS; i++)
    if (ladder[i].isa <= etk_isa_active()) active = ladder[i].kernels;
}
const struct gemm_kernels *etk__gemm_kernels(void) {
  if (chosen) return chosen;
  pthread_once(&once, choose);
  return active;
}
const struct gemm_kernels *etk__gemm_kernels_at(int index) { return index < RUNGS && ladder[index].isa <= etk_isa_best() ? ladder[index].kernels : NULL; }
void etk__gemm_kernels_set(const struct gemm_kernels *kernels) { chosen = kernels; }

/* Rows and panels that lie along the depth are packed as product_half does: the same table's rung. */
static const struct half_kernels *along_of(const struct gemm_kernels *kernels) {
  const struct half_kernels *half;
  for (int i = 0; (half = etk__half_kernels_at(i)); i++)
    if (!strcmp(half->name, kernels->name)) return half;
  return etk__half_kernels();
}

bool etk__packed_gemm_has_pairs(void) { return etk__gemm_kernels()->tile[1] != NULL; }

/* Measured beside OpenBLAS: faster with AVX-512 (bench/README.md). */
enum { LEAST_ROWS = 24, LEAST_DEPTH = 32 };
bool etk__packed_gemm_fits(int64_t m, int64_t n, int64_t k) {
  return etk__gemm_kernels()->lanes == 16 && m >= LEAST_ROWS && n >= etk__gemm_kernels()->width && k >= LEAST_DEPTH;
}

/* ---- how a product is cut ---- */

enum {
  DEPTH = 256,       /* units of a block: a panel of it with a group of a's rows in the first cache */
  LEAST_GROUPS = 8,  /* of a's rows, for which packing b again is worth another thread */
  WIDE = 8,          /* times as many columns as rows: threads rather pack all of a each */
  LINE = 64,         /* bytes, and floats to which parts of scratch are rounded up */
  GRAIN = 1 << 16    /* products that are worth another thread */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static int64_t cut_up(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }

/* Pieces of c's rows times pieces of its columns, each made by one thread alone, so that what a thread packs stays in its own caches; with few threads a piece has
 * all columns, and its rows are those that the same thread has in the operations before and after. */
struct work {
  const struct packed_gemm *g;
  const struct gemm_kernels *kernels;
  const struct half_kernels *along;
  int64_t unit;                             /* floats in one: 1, or 2 of pairs */
  int64_t block, blocks;                    /* of the depth, in floats */
  int64_t extra;                            /* units of the low rank, which the last block has at its end */
  int64_t panels, strip;                    /* strip: panels that are decoded together */
  int64_t rows, row_pieces;                 /* of a piece */
  int64_t strips, column_pieces;            /* of a piece */
  float *first;                             /* op(first) in narrow panels */
  float *own;                               /* scratch of threads, `each` floats: packed rows, inner, a panel, decoded weights */
  int64_t each, packed_floats, inner_floats, panel_floats;
};

static int64_t units_in(const struct work *w, int64_t floats) { return cut_up(floats, w->unit); }

static int64_t strip_of(const struct packed_gemm *g, int64_t width) {
  int64_t unit = g->stored ? etk__stored_unit(g->stored) : 1;
  return width % unit == 0 ? 1 : unit % width == 0 ? unit / width : unit;
}

static void cut(struct work *w, int threads) {
  int64_t groups = cut_up(w->g->m, w->kernels->rows), strips = cut_up(w->panels, w->strip), most = w->g->n >= WIDE * w->g->m ? 1 : cut_up(groups, LEAST_GROUPS);
  w->row_pieces = smaller(most, threads);
  w->rows = round_up(cut_up(w->g->m, w->row_pieces), 4);
  w->row_pieces = cut_up(w->g->m, w->rows);
  w->strips = cut_up(strips, smaller(strips, cut_up(threads, w->row_pieces)));
  w->column_pieces = cut_up(strips, w->strips);
}

/* Sizes and places; with scratch NULL only how much there is of it. */
static size_t lay_out(struct work *w, const struct packed_gemm *g, const struct gemm_kernels *kernels, bool pairs, int threads, float *scratch) {
  *w = (struct work){.g = g, .kernels = kernels, .along = along_of(kernels), .unit = pairs ? 2 : 1};
  w->blocks = cut_up(g->k, DEPTH * w->unit);
  w->block = round_up(cut_up(g->k, w->blocks), LINE / 4);
  w->blocks = cut_up(g->k, w->block);
  w->extra = units_in(w, g->low.rank);
  w->panels = cut_up(g->n, kernels->width);
  w->strip = strip_of(g, kernels->width);
  cut(w, threads);
  int64_t units = units_in(w, w->block) + w->extra, narrow = round_up(cut_up(g->low.rank, kernels->lanes) * kernels->lanes * units_in(w, g->k), LINE);
  w->packed_floats = round_up(cut_up(w->rows, kernels->rows) * kernels->rows * units, LINE);
  w->inner_floats = round_up(w->rows * g->low.rank, LINE);
  w->panel_floats = round_up(kernels->width * units, LINE);
  w->each = w->packed_floats + w->inner_floats + w->panel_floats + (g->stored ? w->block * kernels->width * w->strip : 0);
  w->first = scratch;
  if (scratch) w->own = scratch + narrow;
  return (size_t)(narrow + w->each * threads) * sizeof(float);
}

size_t etk__packed_gemm_scratch(const struct packed_gemm *g, int threads) {
  struct work w;
  size_t plain = lay_out(&w, g, etk__gemm_kernels(), false, threads, NULL), pairs = etk__packed_gemm_has_pairs() ? lay_out(&w, g, etk__gemm_kernels(), true, threads, NULL) : 0;
  return plain > pairs ? plain : pairs;
}

/* What one thread works at: rows [row, row + rows) and panels [panel, last) at block b of the depth. */
struct piece {
  const struct work *w;
  int64_t row, rows, groups, panel, last;
  int64_t b, depth, units, extra; /* floats of a and b in the block, and units; units of the low rank at its end */
  float *packed, *inner, *buffer, *decoded; /* buffer: the panel */
};

static void begin_block(struct piece *p, int64_t b) {
  const struct work *w = p->w;
  p->b = b;
  p->depth = smaller(w->block, w->g->k - b * w->block);
  p->units = units_in(w, p->depth);
  p->extra = b == w->blocks - 1 ? w->extra : 0;
}
static int64_t group_rows(const struct piece *p, int64_t group) { return smaller(p->w->kernels->rows, p->rows - group * p->w->kernels->rows); }
static float *packed_group(const struct piece *p, int64_t group) { return p->packed + group * p->w->kernels->rows * (p->units + p->extra); }

/* ---- packing ---- */

/* `count` rows that lie along the depth, or columns of rows across it, to places. */
static void pack(const struct work *w, float *out, int places, const float *in, int64_t stride, bool across, int64_t count, int64_t depth) {
  bool pairs = w->unit == 2;
  if (across) {
    w->kernels->pack_across[pairs](&(struct gemm_pack){out, in, stride, depth, (int)count, places});
    return;
  }
  enum half_kind kind = pairs ? HALF_PAIRS_F32 : HALF_F32;
  struct half_pack p = {out, (const unsigned char *)in, stride * (int64_t)sizeof(float), count, depth};
  if (places == w->kernels->rows) w->along->pack_rows[kind](&p);
  else w->along->pack_panel[kind](&p);
}

/* op(first) as panels of `lanes` columns. There is no packing along the depth to so few places; a square is turned first. */
enum { SQUARE = 64, MOST_LANES = 16 };
static void pack_first(const struct work *w) {
  const struct packed_gemm *g = w->g;
  int64_t lanes = w->kernels->lanes, rank = g->low.rank, all = units_in(w, g->k);
  for (int64_t v = 0; v * lanes < rank; v++) {
    float *out = w->first + v * lanes * all, square[SQUARE * MOST_LANES];
    int64_t count = smaller(lanes, rank - v * lanes);
    if (!g->tb) {
      w->kernels->pack_across[w->unit == 2](&(struct gemm_pack){out, g->low.first + v * lanes, rank, g->k, (int)count, (int)lanes});
      continue;
    }
    for (int64_t p = 0; p < g->k; p += SQUARE) {
      int64_t n = smaller(SQUARE, g->k - p);
      etk__kernels()->transpose_f32(square, MOST_LANES, g->low.first + v * lanes * g->k + p, g->k, count, n);
      w->kernels->pack_across[w->unit == 2](&(struct gemm_pack){out + p / w->unit * lanes, square, MOST_LANES, n, (int)count, (int)lanes});
    }
  }
}

static const float *rows_at(const struct piece *p, int64_t group, int64_t b) {
  const struct packed_gemm *g = p->w->g;
  int64_t row = p->row + group * p->w->kernels->rows, first = b * p->w->block;
  return g->ta ? g->a + first * g->lda + row : g->a + row * g->lda + first;
}

/* The block's part of a group's inner rows, from its packed rows. */
static void add_inner(const struct piece *p, int64_t group) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  int64_t lanes = w->kernels->lanes, rank = g->low.rank, at = p->b * units_in(w, w->block);
  float *inner = p->inner + group * w->kernels->rows * rank;
  for (int64_t v = 0; v * lanes < rank; v++)
    w->kernels->narrow[w->unit == 2](&(struct gemm_tile){.x = packed_group(p, group), .panel = w->first + v * lanes * units_in(w, g->k) + at * lanes, .depth = p->units,
                                                         .rows = group_rows(p, group), .columns = smaller(lanes, rank - v * lanes), .alpha = g->low.scale, .beta = p->b > 0,
                                                         .base = inner + v * lanes, .y = inner + v * lanes, .ld_base = rank, .ldy = rank});
}

/* Lines that will be read soon; `rows` rows of `floats`. Without being asked for they come one by one: strides defeat the processor's own foresight. */
static void ask_rows(const float *at, int64_t stride, int64_t rows, int64_t floats) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < floats; i += LINE / (int64_t)sizeof(float)) __builtin_prefetch(at + r * stride + i, 0, 3);
}

static void pack_groups(const struct piece *p) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  int rows = w->kernels->rows;
  for (int64_t group = 0; group < p->groups; group++) {
    int64_t count = group_rows(p, group);
    float *out = packed_group(p, group);
    if (group + 1 < p->groups) ask_rows(rows_at(p, group + 1, p->b), g->lda, g->ta ? p->depth : group_rows(p, group + 1), g->ta ? rows : p->depth);
    pack(w, out, rows, rows_at(p, group, p->b), g->lda, g->ta, count, p->depth);
    if (!w->extra) continue;
    add_inner(p, group);
    if (p->extra) pack(w, out + p->units * rows, rows, p->inner + group * rows * g->low.rank, g->low.rank, false, count, g->low.rank);
  }
}

/* ---- panels ---- */

/* What a panel's block is packed from, to be asked for from memory a few lines at a time. */
struct ahead {
  const char *at;
  int64_t stride, rows, lines, line; /* bytes; left; of a row; of this row */
};
static void ask(struct ahead *a, int64_t lines) {
  for (; lines > 0 && a->rows > 0; lines--) {
    __builtin_prefetch(a->at + a->line * LINE, 0, 2);
    if (++a->line < a->lines) continue;
    a->line = 0;
    a->rows--;
    a->at += a->stride;
  }
}
static const float *panel_at(const struct packed_gemm *g, int64_t column, int64_t first) { return g->tb ? g->b + column * g->ldb + first : g->b + first * g->ldb + column; }
static struct ahead panel_ahead(const struct piece *p, int64_t number, int64_t b) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  if (number == p->last) number = p->panel, b++;
  if (g->stored || g->low_rank_only || b >= w->blocks) return (struct ahead){0};
  int64_t column = number * w->kernels->width, columns = smaller(w->kernels->width, g->n - column), first = b * w->block, depth = smaller(w->block, g->k - first);
  return (struct ahead){(const char *)panel_at(g, column, first), g->ldb * (int64_t)sizeof(float), g->tb ? columns : depth, cut_up((g->tb ? depth : columns) * (int64_t)sizeof(float), LINE), 0};
}

/* decoded: the panel's columns of the strip that it is in, or NULL. */
static void pack_panel(const struct piece *p, int64_t number, const float *decoded) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  int width = w->kernels->width;
  int64_t column = number * width, count = smaller(width, g->n - column), units = g->low_rank_only ? 0 : p->units;
  if (units && decoded) pack(w, p->buffer, width, decoded, width * w->strip, true, count, p->depth);
  else if (units) pack(w, p->buffer, width, panel_at(g, column, p->b * w->block), g->ldb, !g->tb, count, p->depth);
  if (p->extra)
    pack(w, p->buffer + units * width, width, g->tb ? g->low.second + column * g->low.rank : g->low.second + column, g->tb ? g->low.rank : g->n, !g->tb, count, g->low.rank);
}

/* The panel's block times all of the piece's groups. */
static void run_groups(const struct piece *p, int64_t number, struct ahead ahead) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  int64_t rows = w->kernels->rows, column = number * w->kernels->width, share = cut_up(ahead.rows * ahead.lines, p->groups), skip = g->low_rank_only ? p->units : 0;
  bool begun = p->b > 0 && !g->low_rank_only;
  struct gemm_tile t = {.panel = p->buffer, .depth = p->units + p->extra - skip, .columns = smaller(w->kernels->width, g->n - column), .alpha = g->alpha, .beta = begun ? 1 : g->beta,
                        .ld_base = begun ? g->ldc : g->ld_base, .ldy = g->ldc};
  const float *base = begun ? g->c : g->base;
  for (int64_t group = 0; group < p->groups; group++) {
    int64_t row = p->row + group * rows;
    ask(&ahead, share);
    t.x = packed_group(p, group) + skip * rows;
    t.rows = group_rows(p, group);
    t.y = g->c + row * g->ldc + column;
    t.base = t.beta != 0 ? base + row * t.ld_base + column : t.y;
    w->kernels->tile[w->unit == 2](&t);
  }
}

static void run_block(const struct piece *p) {
  const struct work *w = p->w;
  const struct packed_gemm *g = w->g;
  int64_t width = w->kernels->width;
  if (g->low_rank_only && !p->extra) return;
  for (int64_t first = p->panel; first < p->last; first += w->strip) {
    if (g->stored && !g->low_rank_only)
      etk__stored_decode(p->decoded, w->strip * width, g->stored, p->b * w->block, p->depth, first * width, smaller(w->strip * width, g->n - first * width));
    for (int64_t number = first; number < smaller(first + w->strip, p->last); number++) {
      pack_panel(p, number, g->stored ? p->decoded + (number - first) * width : NULL);
      run_groups(p, number, panel_ahead(p, number + 1, p->b));
    }
  }
}

static void run_pieces(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *w = user;
  const struct packed_gemm *g = w->g;
  float *own = w->own + slot * w->each;
  for (int64_t i = begin; i < end; i++) {
    struct piece p = {.w = w, .row = i / w->column_pieces * w->rows, .panel = i % w->column_pieces * w->strips * w->strip, .packed = own, .inner = own + w->packed_floats};
    p.buffer = p.inner + w->inner_floats;
    p.decoded = p.buffer + w->panel_floats;
    p.rows = smaller(w->rows, g->m - p.row);
    p.groups = cut_up(p.rows, w->kernels->rows);
    p.last = smaller(w->panels, p.panel + w->strips * w->strip);
    for (int64_t b = 0; b < w->blocks; b++) {
      begin_block(&p, b);
      pack_groups(&p);
      run_block(&p);
    }
    if (g->low.rank && p.panel == 0) memcpy(g->low.inner + p.row * g->low.rank, p.inner, (size_t)(p.rows * g->low.rank) * sizeof(float));
  }
}

void etk__packed_gemm(const struct packed_gemm *g, void *scratch) {
  struct work w;
  if (g->m <= 0 || g->n <= 0 || g->k <= 0) return;
  lay_out(&w, g, etk__gemm_kernels(), g->pairs && etk__packed_gemm_has_pairs(), etk_parallel_threads(), scratch);
  if (g->low.rank) pack_first(&w);
  int64_t columns = smaller(g->n, w.strips * w.strip * w.kernels->width);
  etk_parallel_for(w.row_pieces * w.column_pieces, 1 + GRAIN / (g->k * columns * smaller(g->m, w.rows)), run_pieces, &w);
}

/* ---- thin products ---- */

enum { THIN_DEPTH = 32, THIN_COLUMNS = 1024 }; /* rows of b that stay in the second cache for all strips of columns */

struct thin_work {
  const struct thin_gemm *g;
  const struct gemm_kernels *kernels;
  int64_t piece;
};

/* A piece of c's columns is a thread's own, summed over rows in their order. */
static void run_thin(void *user, int64_t begin, int64_t end, int slot) {
  const struct thin_work *w = user;
  const struct thin_gemm *g = w->g;
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    int64_t column = i * w->piece, width = smaller(w->piece, g->n - column);
    float sums[GEMM_THIN * THIN_COLUMNS];
    for (int64_t r = 0; r < g->rank; r += GEMM_THIN) {
      int64_t rank = smaller(GEMM_THIN, g->rank - r);
      for (int64_t d = 0; d < g->m; d += THIN_DEPTH)
        w->kernels->thin(&(struct gemm_thin){g->a + d * g->lda + r, g->b + d * g->ldb + column, g->lda, g->ldb, smaller(THIN_DEPTH, g->m - d), rank, width, w->piece, sums, d > 0});
      for (int64_t j = 0; j < rank && !g->turned; j++) memcpy(g->c + (r + j) * g->n + column, sums + j * w->piece, (size_t)width * sizeof(float));
      for (int64_t k = 0; k < width && g->turned; k++)
        for (int64_t j = 0; j < rank; j++) g->c[(column + k) * g->rank + r + j] = sums[j * w->piece + k];
    }
  }
}

void etk__thin_gemm(const struct thin_gemm *g) {
  int64_t threads = etk_parallel_threads();
  struct thin_work w = {g, etk__gemm_kernels(), smaller(THIN_COLUMNS, round_up(cut_up(g->n, threads), 48))};
  etk_parallel_for(cut_up(g->n, w.piece), 1 + GRAIN / (w.piece * g->m * g->rank), run_thin, &w);
}
