/* product_blocks.c: repacking of blocks, and how a product is cut into calls of the kernels. */
#include "product_blocks.h"

#include <etk/alloc.h>
#include <etk/parallel.h>
#include <pthread.h>
#include <string.h>

#include "ml/quant/internal.h"
#include "ml/tensor/internal.h"
#include "product_repack.h"

enum {
  ROWS = 256,        /* of x in an item of work: what a tile is unpacked for */
  CHUNK = 16,        /* blocks of inputs that a tile has at a time; whole units */
  GRAIN = 1 << 17    /* products of numbers that are worth another thread */
};

#define LAYOUT(name, bits, group, minima, units, offset) {bits, group, minima, units, offset},
const struct blocks_layout etk__blocks_layouts[TYPES] = {BLOCKS_TYPES(LAYOUT)};

/* ---- which kernels ---- */

extern const struct blocks_kernels etk__blocks_base;
#if defined(__x86_64__)
extern const struct blocks_kernels etk__blocks_avx2, etk__blocks_avx512, etk__blocks_avx512vnni;
#elif defined(__aarch64__)
extern const struct blocks_kernels etk__blocks_neon, etk__blocks_neondot, etk__blocks_neonmm;
#endif
static const struct rung {
  etk_isa isa;
  const struct blocks_kernels *kernels;
} ladder[] = {
    {ETK_ISA_BASE, &etk__blocks_base},
#if defined(__x86_64__)
    {ETK_ISA_AVX2, &etk__blocks_avx2}, {ETK_ISA_AVX512, &etk__blocks_avx512}, {ETK_ISA_AVX512VNNI, &etk__blocks_avx512vnni},
#elif defined(__aarch64__)
    {ETK_ISA_NEON, &etk__blocks_neon}, {ETK_ISA_NEONDOT, &etk__blocks_neondot},
#endif
};
enum { RUNGS = (int)(sizeof ladder / sizeof *ladder) };

const struct blocks_kernels *etk__blocks_kernels_at(int index) {
  return index >= 0 && index < RUNGS && ladder[index].isa <= etk_isa_best() ? ladder[index].kernels : NULL;
}

/* NULL: plain C alone, which is slower than decoding and a product of floats. */
static const struct blocks_kernels *kernels_in_use(void) {
  const struct blocks_kernels *best = NULL;
  for (int i = 1; i < RUNGS; i++)
    if (ladder[i].isa <= etk_isa_active()) best = ladder[i].kernels;
  return best;
}

/* ---- made once ---- */

struct blocks {
  const struct blocks_kernels *kernels;
  const struct blocks_layout *layout;
  int type; /* from 0 */
  int64_t in, out, groups;
  size_t code_stride, scale_stride; /* bytes of a group of 16 outputs */
  unsigned char *codes, *scales;
  const etk_tensor *weight; /* while it is made */
};

static bool blocks_fits(const etk_tensor *weight) {
  etk_type type = (etk_type)weight->dtype;
  return etk_type_is_block(type) && etk__last(&weight->shape) % etk_type_block_elements(type) == 0 && kernels_in_use();
}

static void repack_groups(void *user, int64_t begin, int64_t end, int slot) {
  const struct blocks *p = user;
  (void)slot;
  const size_t row_bytes = p->weight->bytes / (size_t)p->out;
  for (int64_t g = begin; g < end; g++) {
    int64_t rows = p->out - g * OUTPUTS < OUTPUTS ? p->out - g * OUTPUTS : OUTPUTS;
    etk__blocks_repack(p->codes + (size_t)g * p->code_stride, p->scales + (size_t)g * p->scale_stride, p->type,
                       (const unsigned char *)p->weight->data + (size_t)(g * OUTPUTS) * row_bytes,
                       row_bytes, (int)rows, p->in, p->kernels->flip);
  }
}

static void blocks_free(void *state) {
  struct blocks *p = state;
  if (!p) return;
  etk_free(p->codes);
  etk_free(p->scales);
  etk_free(p);
}

etk_status etk__blocks_make(etk_error *e, void **state, const etk_tensor *weight, const struct blocks_kernels *kernels) {
  struct blocks *p = etk_calloc(1, sizeof *p);
  if (!p) return etk_fail_memory(e);
  p->kernels = kernels;
  p->type = (int)weight->dtype - ETK_TYPE_FIRST_BLOCK;
  p->layout = &etk__blocks_layouts[p->type];
  p->out = weight->shape.dims[0];
  p->in = weight->shape.dims[1];
  p->groups = (p->out + OUTPUTS - 1) / OUTPUTS;
  p->code_stride = (size_t)(p->in / BLOCK) * 64 * (size_t)p->layout->bits;
  p->scale_stride = (size_t)(p->in / (p->layout->units ? UNIT : BLOCK)) * blocks_unit_scales(p->layout->group, p->layout->minima, p->layout->units);
  p->codes = etk_alloc_aligned((size_t)p->groups * p->code_stride, ALIGNMENT);
  p->scales = etk_alloc_aligned((size_t)p->groups * p->scale_stride, ALIGNMENT);
  if (!p->codes || !p->scales) {
    blocks_free(p);
    return etk_fail_memory(e);
  }
  p->weight = weight;
  etk_parallel_for(p->groups, 1 + GRAIN / (p->in * OUTPUTS), repack_groups, p);
  p->weight = NULL;
  *state = p;
  return ETK_OK;
}
static etk_status blocks_make(etk_error *e, void **state, const etk_tensor *weight) { return etk__blocks_make(e, state, weight, kernels_in_use()); }

static size_t blocks_bytes(const void *state) {
  const struct blocks *p = state;
  return (size_t)p->groups * (p->code_stride + p->scale_stride);
}

/* ---- scratch: x quantized, then each thread's tile and sums ---- */

static size_t rounded(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
static int64_t scale_count(const struct blocks *p) { return p->in / (p->layout->units ? UNIT : BLOCK); }
static int64_t start_count(const struct blocks *p) { return p->in / p->layout->group; }

static size_t place_input(const struct blocks *p, struct blocks_input *x, char *at, int64_t rows) {
  size_t codes = rounded((size_t)(rows * p->in)), scales = rounded((size_t)(rows * scale_count(p)) * sizeof(float)),
         starts = rounded((size_t)(rows * start_count(p)) * 4);
  if (x) *x = (struct blocks_input){(int8_t *)at, (float *)(void *)(at + codes), at + codes + scales, p->in, scale_count(p), start_count(p)};
  return codes + scales + starts;
}

struct place {
  unsigned char *codes;
  float *scales, *minima, *sums;
};
enum { CODES = CHUNK * BLOCK * OUTPUTS * 2, SCALES = CHUNK * 2 * OUTPUTS * 2 }; /* of two groups of outputs */
static size_t place_thread(struct place *t, char *at) {
  size_t scales = SCALES * sizeof(float), sums = (size_t)(ROWS * MOST_WIDTH) * sizeof(float);
  if (t) *t = (struct place){(unsigned char *)at, (float *)(void *)(at + CODES), (float *)(void *)(at + CODES + scales), (float *)(void *)(at + CODES + 2 * scales)};
  return rounded(CODES + 2 * scales + sums);
}

static size_t blocks_scratch(const void *state, int64_t rows, int threads) {
  return place_input(state, NULL, NULL, rows) + place_thread(NULL, NULL) * (size_t)threads;
}

/* ---- run ---- */

struct run {
  const struct blocks *p;
  struct blocks_input x;
  const float *source;
  float *y;
  int64_t ldx, ldy, rows, items, chunk_rows;
  float alpha, beta;
  char *threads;
};

static void quantize_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  (void)slot;
  for (int64_t row = begin; row < end; row++) r->p->kernels->quantize[r->p->type](&r->x, row, r->source + row * r->ldx);
}

/* Sums (rows, MOST_WIDTH) to columns [column, column + count) of y. */
static void put(const struct run *r, const float *sums, int64_t row, int64_t rows, int64_t column, int64_t count) {
  if (count > r->p->out - column) count = r->p->out - column;
  for (int64_t i = 0; i < rows; i++) {
    float *y = r->y + (row + i) * r->ldy + column;
    const float *s = sums + i * MOST_WIDTH;
    if (r->alpha == 1 && r->beta == 0) memcpy(y, s, (size_t)count * sizeof *y);
    else
      for (int64_t j = 0; j < count; j++) y[j] = r->alpha * s[j] + (r->beta != 0 ? r->beta * y[j] : 0);
  }
}

/* Pointers to groups [group, group + count); behind the last one there is the last one again, whose results are not used. */
static void point(const struct blocks *p, const unsigned char **codes, const unsigned char **scales, int64_t group, int count) {
  for (int i = 0; i < count; i++) {
    int64_t g = group + i < p->groups ? group + i : p->groups - 1;
    codes[i] = p->codes + (size_t)g * p->code_stride;
    scales[i] = p->scales + (size_t)g * p->scale_stride;
  }
}

/* Several groups at a time, each a stream from memory of its own, far from the others. */
static void few_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  const struct blocks *p = r->p;
  (void)slot;
  float sums[4 * MOST_WIDTH];
  int groups = r->rows == 1 ? p->kernels->few_groups : p->kernels->more_groups;
  for (int64_t g = begin; g < end; g += groups) {
    struct blocks_few f = {.x = &r->x, .row = 0, .out = sums};
    point(p, f.codes, f.scales, g, groups);
    p->kernels->few[p->type][r->rows - 1](&f);
    put(r, sums, 0, r->rows, g * OUTPUTS, (end - g < groups ? end - g : groups) * OUTPUTS);
  }
}

static void tile_rows(const struct run *r, struct blocks_tile t, int64_t first, int64_t rows, int64_t column) {
  const struct blocks *p = r->p;
  bool one = t.first == 0 && t.blocks == p->in / BLOCK, last = t.first + t.blocks == p->in / BLOCK;
  float *sums = t.sums;
  for (int64_t row = 0; row < rows;) {
    int64_t n = rows - row < p->kernels->most_rows ? rows - row : p->kernels->most_rows;
    t.row = first + row;
    t.sums = one ? sums : sums + row * MOST_WIDTH;
    p->kernels->tile[p->type][n - 1](&t);
    if (last) put(r, t.sums, t.row, n, column, p->kernels->width);
    row += n;
  }
}

/* An item: a tile of outputs for some rows of x. */
static void tile_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  const struct blocks *p = r->p;
  const int wide = p->kernels->width / OUTPUTS, bits = p->layout->bits;
  const int64_t blocks = p->in / BLOCK, row_items = (r->rows + r->chunk_rows - 1) / r->chunk_rows;
  struct place place;
  place_thread(&place, r->threads + place_thread(NULL, NULL) * (size_t)slot);
  for (int64_t item = begin; item < end; item++) {
    int64_t group = item / row_items * wide, first = item % row_items * r->chunk_rows, rows = r->rows - first < r->chunk_rows ? r->rows - first : r->chunk_rows;
    const unsigned char *codes[2], *scales[2];
    point(p, codes, scales, group, wide);
    for (int64_t b = 0; b < blocks; b += CHUNK) {
      struct blocks_tile t = {.x = &r->x, .first = b, .blocks = blocks - b < CHUNK ? blocks - b : CHUNK, .sums = place.sums};
      for (int i = 0; i < wide; i++) {
        const unsigned char *from = codes[i] + (size_t)b * 64 * (size_t)bits;
        float *scale = place.scales + i * (SCALES / 2), *minimum = place.minima + i * (SCALES / 2);
        size_t unit = blocks_unit_scales(p->layout->group, p->layout->minima, p->layout->units);
        p->kernels->unpack[p->type](place.codes + i * (CODES / 2), scale, minimum, from,
                                    scales[i] + (size_t)(p->layout->units ? b / (UNIT / BLOCK) : b) * unit, t.blocks);
        t.codes[i] = bits == 8 ? from : place.codes + i * (CODES / 2);
        t.scales[i] = scale;
        t.minima[i] = minimum;
      }
      tile_rows(r, t, first, rows, group * OUTPUTS);
    }
  }
}

static void blocks_run(const void *state, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *scratch) {
  const struct blocks *p = state;
  struct run r = {.p = p, .source = x, .y = y, .ldx = ldx, .ldy = ldy, .rows = rows, .alpha = alpha, .beta = beta};
  r.threads = (char *)scratch + place_input(p, &r.x, scratch, rows);
  if (rows <= p->kernels->few_rows) {
    quantize_rows(&r, 0, rows, 0);
    etk_parallel_for(p->groups, 1 + GRAIN / (p->in * OUTPUTS), few_items, &r);
    return;
  }
  etk_parallel_for(rows, 1 + GRAIN / 4 / p->in, quantize_rows, &r);
  int64_t tiles = (p->out + p->kernels->width - 1) / p->kernels->width, threads = etk_parallel_threads();
  r.chunk_rows = rows < ROWS ? rows : ROWS;
  while (tiles * ((rows + r.chunk_rows - 1) / r.chunk_rows) < 4 * threads && r.chunk_rows > 48) r.chunk_rows = (r.chunk_rows + 1) / 2; /* many threads */
  etk_parallel_for(tiles * ((rows + r.chunk_rows - 1) / r.chunk_rows), 1 + GRAIN / (p->in * p->kernels->width * r.chunk_rows), tile_items, &r);
}

const struct product_backend etk__product_blocks = {"blocks", blocks_fits, blocks_make, blocks_free, blocks_bytes, blocks_scratch, blocks_run};
