/* product_half.c: the back end of weights in F32, F16 and BF16, and of what is decoded to floats a panel at a time (8-bit floats, NF4, MLX's affine codes, blocks).
 *
 * Nothing is kept of the weights: they are read in place. What many rows of x cost more, the turning of a panel, is small against the product: one exchange
 * of lanes for what is then multiplied `rows` times; and panels are asked for from memory one ahead, while the one before is multiplied.
 *
 * Precision. F32 and F16 are multiplied and added in single precision, exactly widened. BF16, where the processor multiplies its pairs: x is rounded to BF16
 * too for more than FEW rows, which adds at most 2^-8 |x w| for each product; with fewer rows reading the weights is all the time, so x stays as it is.
 * Decoded weights likewise, and are rounded themselves, as F32 and F16 are where their tensor says so (`rounds`). */
#include "product_half.h"

#include <etk/parallel.h>
#include <pthread.h>

#include "ml/tensor/internal.h"
#include "product.h"

/* ---- which kernels ---- */

#define DECLARE(isa, level) extern const struct half_kernels etk_k_half_##isa;
#pragma GCC visibility push(hidden)
HALF_RUNGS(DECLARE)
#pragma GCC visibility pop

#define RUNG(isa, level) {level, &etk_k_half_##isa},
static const struct rung {
  etk_isa isa;
  const struct half_kernels *kernels;
} ladder[] = {HALF_RUNGS(RUNG)};
enum { RUNGS = sizeof ladder / sizeof *ladder };

static const struct half_kernels *active;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void) {
  for (int i = 0; i < RUNGS; i++)
    if (ladder[i].isa <= etk_isa_active()) active = ladder[i].kernels;
}
const struct half_kernels *etk__half_kernels(void) {
  pthread_once(&once, choose);
  return active;
}
const struct half_kernels *etk__half_kernels_at(int index) { return index < RUNGS && ladder[index].isa <= etk_isa_best() ? ladder[index].kernels : NULL; }

/* ---- what a product knows ---- */

enum {
  FEW = 8,             /* rows of x up to which w is multiplied in place */
  FEW_DECODED = 4,     /* and up to which what is decoded is multiplied row by row */
  UNITS = 2048,        /* of the depth in a panel: in the second cache; results are read and written again for each, which costs more than panels from there */
  FEW_ROWS = 16,       /* of w that one thread takes at least */
  TENS_ROWS = 48,      /* likewise for tens of rows of x: a multiple of the kernels' tiles */
  GRAIN = 1 << 16,     /* products that are worth another thread */
  SLICE = 768,         /* rows of x that are packed together at most: a panel is packed again for each slice, whose block stays in the second cache */
  LINE = 64,           /* bytes, and floats to which parts of scratch are rounded up */
  NEAR_FLOATS = 1 << 16 /* of packed x that stay in the second cache beside what w is read through */
};

struct half {
  const etk_tensor *weight;
  const struct half_kernels *kernels;
  int64_t out, in;
  int64_t row_bytes;   /* of w in place; 0: decoded */
  int64_t block;       /* elements of the depth in a panel */
  enum half_kind kind; /* as it is stored or, decoded, F32 */
  bool pairs;
};

/* Apple's BLAS multiplies on a unit of its own, which no instruction here reaches: there many rows go to it. */
#if defined(__APPLE__)
static const bool many_by_blas = true;
#else
static const bool many_by_blas = false;
#endif

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static int64_t cut_up(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }

static bool fits(const etk_tensor *w) { return w->dtype == ETK_F32 || etk__is_stored(w->dtype); }

static enum half_kind kind_of(etk_dtype dtype) { return dtype == ETK_F16 ? HALF_F16 : dtype == ETK_BF16 ? HALF_BF16 : HALF_F32; }

/* Blocks of the depth are alike, so that none is small, and multiples of a line of the stored type and of what is decoded together. */
static int64_t block_of(const struct half *h) {
  int64_t unit = etk__stored_unit(h->weight), most = UNITS * (h->pairs ? 2 : 1);
  if (unit < LINE) unit = LINE;
  return round_up(cut_up(h->in, cut_up(h->in, most)), unit);
}

etk_status etk__half_make(etk_error *e, void **state, const etk_tensor *w, const struct half_kernels *kernels) {
  struct half *h = etk_calloc(1, sizeof *h);
  if (!h) return etk_fail_memory(e);
  h->weight = w;
  h->kernels = kernels;
  h->out = w->shape.dims[0];
  h->in = w->shape.dims[1];
  h->kind = kind_of(w->dtype);
  h->row_bytes = w->dtype == ETK_F32 || h->kind != HALF_F32 ? h->in * (int64_t)etk_dtype_size(w->dtype) : 0;
  h->pairs = h->kernels->tile_pairs && (w->rounds || (w->dtype != ETK_F32 && w->dtype != ETK_F16));
  h->block = block_of(h);
  *state = h;
  return ETK_OK;
}

static etk_status make(etk_error *e, void **state, const etk_tensor *w) { return etk__half_make(e, state, w, etk__half_kernels()); }

static size_t bytes(const void *state) {
  (void)state;
  return 0;
}

/* ---- scratch: x in groups, then for each thread decoded rows and a panel ---- */

static int64_t group_floats(const struct half *h) { return h->kernels->rows * cut_up(h->in, h->pairs ? 2 : 1); }
static int64_t decoded_floats(const struct half *h) { return h->row_bytes ? 0 : h->kernels->width * h->block; }
static int64_t panel_floats(const struct half *h) { return h->kernels->width * h->block / (h->pairs ? 2 : 1); }

/* Slices are alike, so that none is small. */
static int64_t slice_of(const struct half *h, int64_t rows) { return round_up(cut_up(rows, cut_up(rows, SLICE)), h->kernels->rows); }

/* Whether the path without the product layer takes so many rows. */
static bool is_plain(const struct half *h, int64_t rows) { return rows <= (h->row_bytes ? FEW : FEW_DECODED) ? !h->row_bytes : many_by_blas; }

/* Rows of x up to which w is multiplied in place, in tiles: with more, packing pays, to pairs sooner. Measured with AVX-512. */
static const int64_t tens_most[HALF_TYPES] = {[HALF_F32] = 96, [HALF_F16] = 128};
enum { TENS_MOST_PAIRS = 24 };
/* Of F32 and F16 that may be rounded the few tens are not. */
static bool tens_pairs(const struct half *h) { return h->pairs && h->kind == HALF_BF16; }
static enum half_kind tens_kind(const struct half *h) { return tens_pairs(h) ? HALF_PAIRS_BF16 : h->kind; }
static bool is_tens(const struct half *h, int64_t rows) {
  return h->row_bytes && rows > FEW && rows <= (h->pairs ? TENS_MOST_PAIRS : tens_most[h->kind]) && h->kernels->dots[tens_kind(h)];
}
static int64_t x_units(const struct half *h) { return cut_up(h->in, h->pairs ? 2 : 1); }

static size_t scratch(const void *state, int64_t rows, int threads) {
  const struct half *h = state;
  if (is_plain(h, rows)) return etk__stored_gemm_scratch(h->weight, true, threads);
  if (is_tens(h, rows)) return tens_pairs(h) ? (size_t)(rows * x_units(h)) * sizeof(float) : 0;
  if (rows <= FEW && h->row_bytes) return 0;
  int64_t groups = round_up(cut_up(smaller(rows, slice_of(h, rows)), h->kernels->rows) * group_floats(h), LINE);
  return (size_t)(groups + (decoded_floats(h) + panel_floats(h)) * threads) * sizeof(float);
}

struct work {
  const struct half *h;
  float *y;
  const float *x;
  int64_t ldy, ldx, rows;
  float alpha, beta;
  float *scratch;
  int64_t groups, chunks, chunk; /* of x's rows; of groups, and groups in one */
  bool near;                     /* all of x's groups stay in the second cache */
  float *own;                    /* scratch of threads, `each` floats */
  int64_t each;
};

/* ---- few rows ---- */

static void few_in_place(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *k = user;
  const struct half *h = k->h;
  (void)slot;
  int64_t first = begin * FEW_ROWS;
  h->kernels->few[h->kind](&(struct half_few){k->y + first, k->x, (const unsigned char *)h->weight->data + first * h->row_bytes, k->ldy, k->ldx, h->row_bytes, k->rows,
                                              smaller(end * FEW_ROWS, h->out) - first, h->in, k->alpha, k->beta});
}

/* ---- tens of rows ---- */

static void round_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *k = user;
  int64_t units = x_units(k->h);
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    uint16_t *row = (uint16_t *)(k->scratch + i * units);
    etk__kernels()->f32_to_bf16(row, k->x + i * k->ldx, k->h->in);
    if (k->h->in % 2) row[k->h->in] = 0;
  }
}
static void tens_in_place(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *k = user;
  const struct half *h = k->h;
  int64_t first = begin * TENS_ROWS;
  struct half_few f = {k->y + first, k->x, (const unsigned char *)h->weight->data + first * h->row_bytes, k->ldy, k->ldx, h->row_bytes, k->rows,
                       smaller(end * TENS_ROWS, h->out) - first, h->in, k->alpha, k->beta};
  (void)slot;
  if (tens_pairs(h)) f.x = k->scratch, f.ldx = x_units(h);
  h->kernels->dots[tens_kind(h)](&f);
}
static void run_tens(struct work *k) {
  const struct half *h = k->h;
  if (tens_pairs(h)) etk_parallel_for(k->rows, 1 + GRAIN / h->in, round_rows, k);
  etk_parallel_for(cut_up(h->out, TENS_ROWS), 1 + GRAIN / (h->in * k->rows * TENS_ROWS), tens_in_place, k);
}

/* ---- many rows ---- */

/* Block b of x's group g. Blocks are outermost, so that those of one panel's depth lie together. */
static float *packed_rows(const struct work *k, int64_t group, int64_t block) {
  const struct half *h = k->h;
  int64_t unit = h->pairs ? 2 : 1, first = block * h->block, units = cut_up(smaller(h->block, h->in - first), unit);
  return k->scratch + (first / unit * k->groups + group * units) * h->kernels->rows;
}

static void pack_groups(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *k = user;
  const struct half *h = k->h;
  (void)slot;
  for (int64_t g = begin; g < end; g++)
    for (int64_t b = 0, first = 0; first < h->in; b++, first += h->block) {
      const float *x = k->x + g * h->kernels->rows * k->ldx + first;
      h->kernels->pack_rows[h->pairs ? HALF_PAIRS_F32 : HALF_F32](
          &(struct half_pack){packed_rows(k, g, b), (const unsigned char *)x, k->ldx * (int64_t)sizeof(float), smaller(h->kernels->rows, k->rows - g * h->kernels->rows),
                              smaller(h->block, h->in - first)});
    }
}

/* Rows of w in place that the next panel is packed from. */
struct ahead {
  const unsigned char *at;
  int64_t rows;
};
static struct ahead panel_ahead(const struct half *h, int64_t panel, int64_t first) {
  int64_t row = panel * h->kernels->width;
  if (!h->row_bytes) return (struct ahead){0};
  return (struct ahead){(const unsigned char *)h->weight->data + row * h->row_bytes + first * (h->row_bytes / h->in), smaller(h->kernels->width, h->out - row)};
}

static void pack_panel(const struct half *h, float *panel, float *decoded, int64_t number, int64_t first) {
  int64_t row = number * h->kernels->width, count = smaller(h->kernels->width, h->out - row), columns = smaller(h->block, h->in - first);
  struct half_pack p = {panel, NULL, h->row_bytes, count, columns};
  if (h->row_bytes) {
    p.in = (const unsigned char *)h->weight->data + row * h->row_bytes + first * (h->row_bytes / h->in);
  } else {
    etk__stored_decode(decoded, columns, h->weight, row, count, first, columns);
    p.in = (const unsigned char *)decoded;
    p.stride = columns * (int64_t)sizeof(float);
  }
  h->kernels->pack_panel[h->pairs ? HALF_PAIRS_F32 + (int)h->kind : (int)h->kind](&p);
}

/* One panel's block times groups [begin, end) of x; meanwhile the next panel's rows are asked for, shared out over the groups. */
static void run_groups(const struct work *k, const float *panel, int64_t number, int64_t block, int64_t begin, int64_t end, struct ahead ahead) {
  const struct half *h = k->h;
  int64_t first = block * h->block, column = number * h->kernels->width, each = cut_up(ahead.rows, end - begin);
  struct half_tile t = {.panel = panel, .ldy = k->ldy, .depth = cut_up(smaller(h->block, h->in - first), h->pairs ? 2 : 1), .columns = smaller(h->kernels->width, h->out - column),
                        .alpha = k->alpha, .beta = block ? 1 : k->beta, .ahead = ahead.at, .ahead_stride = h->row_bytes};
  void (*const *tiles)(const struct half_tile *t) = h->pairs ? h->kernels->tile_pairs : h->kernels->tile;
  for (int64_t g = begin; g < end; g++) {
    int64_t row = g * h->kernels->rows;
    t.x = packed_rows(k, g, block);
    t.y = k->y + row * k->ldy + column;
    t.ahead_rows = smaller(each, ahead.rows);
    tiles[smaller(h->kernels->rows, k->rows - row) - 1](&t);
    t.ahead += t.ahead_rows * h->row_bytes;
    ahead.rows -= t.ahead_rows;
  }
}

/* What a thread does at one step: a panel's block and a part of x's groups. Blocks of one panel follow each other, as w lies in memory, where all of x stays in
 * the second cache; else the panels of one block do, so that x is read once for each of the block's panels from there. */
struct step {
  int64_t number, block, chunk;
};
static struct step step_of(const struct work *k, int64_t begin, int64_t end, int64_t index) {
  int64_t blocks = cut_up(k->h->in, k->h->block), item = begin + (k->near ? index / blocks : index % (end - begin));
  return (struct step){item / k->chunks, k->near ? index % blocks : index / (end - begin), item % k->chunks};
}

static void run_panels(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *k = user;
  const struct half *h = k->h;
  float *decoded = k->own + slot * k->each, *panel = decoded + decoded_floats(h);
  int64_t steps = (end - begin) * cut_up(h->in, h->block);
  struct step packed = {-1, -1, 0};
  for (int64_t i = 0; i < steps; i++) {
    struct step s = step_of(k, begin, end, i), next = step_of(k, begin, end, i + 1 < steps ? i + 1 : i);
    bool change = next.number != s.number || next.block != s.block;
    if (packed.number != s.number || packed.block != s.block) pack_panel(h, panel, decoded, s.number, s.block * h->block);
    packed = s;
    run_groups(k, panel, s.number, s.block, s.chunk * k->chunk, smaller(k->groups, (s.chunk + 1) * k->chunk),
               change ? panel_ahead(h, next.number, next.block * h->block) : (struct ahead){0});
  }
}

static void run_many(struct work *k) {
  const struct half *h = k->h;
  int64_t panels = cut_up(h->out, h->kernels->width), threads = etk_parallel_threads();
  k->groups = cut_up(k->rows, h->kernels->rows);
  k->own = k->scratch + round_up(k->groups * group_floats(h), LINE);
  k->each = decoded_floats(h) + panel_floats(h);
  k->near = k->groups * group_floats(h) <= NEAR_FLOATS;
  /* Where there are more threads than panels, they share panels, each with rows of its own. */
  k->chunks = panels >= threads ? 1 : smaller(k->groups, cut_up(threads, panels));
  k->chunk = cut_up(k->groups, k->chunks);
  k->chunks = cut_up(k->groups, k->chunk);
  etk_parallel_for(k->groups, 1 + GRAIN / (h->in * h->kernels->rows), pack_groups, k);
  etk_parallel_for(panels * k->chunks, 1 + GRAIN / (h->in * h->kernels->width * smaller(k->rows, k->chunk * h->kernels->rows)), run_panels, k);
}

static void run_slices(const struct work *all) {
  int64_t slice = slice_of(all->h, all->rows);
  for (int64_t first = 0; first < all->rows; first += slice) {
    struct work k = *all;
    k.x += first * k.ldx;
    k.y += first * k.ldy;
    k.rows = smaller(slice, all->rows - first);
    run_many(&k);
  }
}

/* Also of F32 by the path that cuts the work by sizes alone, so that threads change no bit. */
static void run_plain(const struct work *k) {
  const struct half *h = k->h;
  etk__stored_gemm(&(struct gemm){.tb = true, .m = k->rows, .n = h->out, .k = h->in, .alpha = k->alpha, .beta = k->beta, .a = k->x, .c = k->y, .lda = k->ldx, .ldb = h->in, .ldc = k->ldy},
                   h->weight, k->scratch);
}

/* ---- rows of w that lie interleaved within heads: y's columns, which came as they do, in order, or the other way round ---- */

struct turning {
  float *y;
  int64_t ldy, columns, head;
  bool back;
};
static void turn_some(void *user, int64_t begin, int64_t end, int slot) {
  const struct turning *t = user;
  float from[MOST_ROTARY];
  (void)slot;
  for (int64_t row = begin; row < end; row++)
    for (float *y = t->y + row * t->ldy, *last = y + t->columns; y < last; y += t->head) {
      int64_t half = t->head / 2;
      memcpy(from, y, (size_t)t->head * sizeof *y);
      for (int64_t i = 0; i < half && !t->back; i++) y[i] = from[2 * i], y[half + i] = from[2 * i + 1];
      for (int64_t i = 0; i < half && t->back; i++) y[2 * i] = from[i], y[2 * i + 1] = from[half + i];
    }
}
static void turn(const struct work *k, bool back) {
  struct turning t = {k->y, k->ldy, k->h->out, k->h->weight->rotary, back};
  if (t.head && k->h->row_bytes) etk_parallel_for(k->rows, 1 + GRAIN / t.columns, turn_some, &t);
}

static void run(const void *state, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *memory) {
  const struct half *h = state;
  struct work k = {.h = h, .y = y, .x = x, .ldy = ldy, .ldx = ldx, .rows = rows, .alpha = alpha, .beta = beta, .scratch = memory};
  if (is_plain(h, rows)) {
    run_plain(&k);
    return;
  }
  if (beta != 0) turn(&k, true);
  if (is_tens(h, rows)) run_tens(&k);
  else if (rows > FEW || !h->row_bytes) run_slices(&k);
  else etk_parallel_for(cut_up(h->out, FEW_ROWS), 1 + GRAIN / (h->in * rows * FEW_ROWS), few_in_place, &k);
  turn(&k, false);
}

static int64_t alike(const void *state) { return ((const struct half *)state)->row_bytes ? FEW : FEW_DECODED; }

const struct product_backend etk__product_half = {"half", fits, make, etk_free, bytes, scratch, run, NULL, alike};
