/* product_blocks.c: repacking of blocks, and how a product is cut into calls of the kernels. */
#include "product_blocks.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/parallel.h>
#include <pthread.h>
#include <string.h>

#include "ml/quant/internal.h"
#include "ml/tensor/internal.h"
#include "product_memory.h"
#include "product_repack.h"

enum {
  ROWS = 256,        /* of x in an item of work: what a tile is unpacked for */
  CHUNK = 16,        /* blocks of inputs that a tile has at a time; whole units */
  GRAIN = 1 << 17,   /* products of numbers that are worth another thread */
  FORGET = 1 << 20,  /* bytes of stored weights after which those that are repacked are let go of */
  SOME = 16,         /* rows of x that meet weights where they are stored, at a time */
  SHORT = 48,        /* rows up to which that is worth it */
  PASSED = 32,       /* rows of x that pass repacked weights a few at a time, which lie in the second cache meanwhile: with more, unpacking them into tiles pays */
  MANY = 64          /* rows of x from which on repacked weights are kept */
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
#if !defined(__aarch64__) /* whose base has NEON */
    {ETK_ISA_BASE, &etk__blocks_base},
#endif
#if defined(__x86_64__)
    {ETK_ISA_AVX2, &etk__blocks_avx2}, {ETK_ISA_AVX512, &etk__blocks_avx512}, {ETK_ISA_AVX512VNNI, &etk__blocks_avx512vnni},
#elif defined(__aarch64__)
    {ETK_ISA_NEON, &etk__blocks_neon}, {ETK_ISA_NEONDOT, &etk__blocks_neondot}, {ETK_ISA_NEONMM, &etk__blocks_neonmm},
#endif
};
enum { RUNGS = (int)(sizeof ladder / sizeof *ladder) };

const struct blocks_kernels *etk__blocks_kernels_at(int index) {
  return index >= 0 && index < RUNGS && ladder[index].isa <= etk_isa_best() ? ladder[index].kernels : NULL;
}

/* NULL: plain C alone, which is slower than decoding and a product of floats. */
static const struct blocks_kernels *kernels_in_use(void) {
  const struct blocks_kernels *best = NULL;
  for (int i = 0; i < RUNGS; i++)
    if (ladder[i].isa > ETK_ISA_BASE && ladder[i].isa <= etk_isa_active()) best = ladder[i].kernels;
  return best;
}

/* ---- made once: sizes and room at first, the weights when they are first used ---- */

struct blocks {
  const struct blocks_kernels *kernels;
  const struct blocks_layout *layout;
  int type; /* from 0 */
  int64_t in, out, groups;
  size_t code_stride, scale_stride; /* bytes of a group of 16 outputs */
  unsigned char *codes, *scales; /* NULL: few rows read the stored weights */
  struct product_memory memory;
  const etk_tensor *weight;
  _Atomic(bool) used, ready; /* it has run; codes and scales are there */
};

static bool blocks_fits(const etk_tensor *weight) {
  etk_type type = (etk_type)weight->dtype;
  return etk_type_is_block(type) && etk__last(&weight->shape) % etk_type_block_elements(type) == 0 && kernels_in_use();
}

static const unsigned char *stored_row(const struct blocks *p, int64_t row) {
  return (const unsigned char *)p->weight->data + (size_t)etk__stored_row(p->weight, row) * (p->weight->bytes / (size_t)p->out);
}

/* Of so many blocks of a row. */
static size_t stored_bytes(const struct blocks *p, int64_t blocks) {
  return (size_t)(blocks * BLOCK / etk_type_block_elements((etk_type)p->weight->dtype) * etk_type_block_bytes((etk_type)p->weight->dtype));
}

/* The pieces of rows that repack() will read next are too short for the processor to see them coming. */
static void ask_ahead(const struct blocks *p, int64_t group, int64_t b, int64_t count) {
  size_t at = stored_bytes(p, b), bytes = stored_bytes(p, count);
  for (int64_t row = group * OUTPUTS; row < p->out && row < (group + 1) * OUTPUTS; row++) {
    const unsigned char *from = stored_row(p, row) + at;
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
  }
}

/* Blocks [b, b + count) of a group's rows; whole units. */
static void repack(const struct blocks *p, unsigned char *codes, unsigned char *scales, int64_t group, int64_t b, int64_t count) {
  struct blocks_rows r = {.codes = codes, .scales = scales, .in = count * BLOCK, .flip = p->kernels->flip};
  size_t at = stored_bytes(p, b);
  for (int64_t row = group * OUTPUTS; row < p->out && r.count < OUTPUTS; row++) r.rows[r.count++] = stored_row(p, row) + at;
  etk__blocks_repack(&r, p->type);
}

/* Stored weights that come from a file are let go of as soon as they are repacked: two copies of all would take twice the memory. Where rows lie in another order,
 * another piece may still read what is let go of, and has it read again. */
static void repack_groups(void *user, int64_t begin, int64_t end, int slot) {
  const struct blocks *p = user;
  const size_t row_bytes = p->weight->bytes / (size_t)p->out;
  const unsigned char *data = p->weight->data, *held = data + (size_t)(begin * OUTPUTS) * row_bytes;
  (void)slot;
  for (int64_t g = begin; g < end; g++) {
    repack(p, p->codes + (size_t)g * p->code_stride, p->scales + (size_t)g * p->scale_stride, g, 0, p->in / BLOCK);
    const unsigned char *done = data + (size_t)((g + 1) * OUTPUTS < p->out ? (g + 1) * OUTPUTS : p->out) * row_bytes;
    if (done - held < FORGET && g + 1 < end) continue;
    etk_map_forget(held, (size_t)(done - held));
    held = done;
  }
}

static pthread_mutex_t repacking = PTHREAD_MUTEX_INITIALIZER;
static void make_ready(const struct blocks *p) {
  if (atomic_load_explicit(&p->ready, memory_order_acquire)) return;
  pthread_mutex_lock(&repacking);
  if (!atomic_load_explicit(&p->ready, memory_order_acquire)) {
    struct blocks *own = (struct blocks *)(uintptr_t)p;
    etk_parallel_for(p->groups, 1 + GRAIN / (p->in * OUTPUTS), repack_groups, own);
    atomic_store_explicit(&own->ready, true, memory_order_release);
  }
  pthread_mutex_unlock(&repacking);
}

static void blocks_free(void *state) {
  struct blocks *p = state;
  if (!p) return;
  etk__product_memory_free(p->memory);
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
  p->weight = weight;
  atomic_init(&p->used, false);
  atomic_init(&p->ready, false);
  *state = p;
  if (kernels->stored[p->type][0]) return ETK_OK;
  p->memory = etk__product_memory((size_t)p->groups * (p->code_stride + p->scale_stride));
  p->codes = p->memory.data;
  if (!p->codes) {
    blocks_free(p);
    return etk_fail_memory(e);
  }
  p->scales = p->codes + (size_t)p->groups * p->code_stride;
  return ETK_OK;
}
static etk_status blocks_make(etk_error *e, void **state, const etk_tensor *weight) { return etk__blocks_make(e, state, weight, kernels_in_use()); }

/* A row of weights with the values that its stored bytes have. */
static bool blocks_row(const void *state, float *out, int64_t row) {
  const struct blocks *p = state;
  if (!atomic_load_explicit(&p->ready, memory_order_acquire)) return false;
  int64_t g = row / OUTPUTS;
  etk__blocks_decode(out, p->codes + (size_t)g * p->code_stride, p->scales + (size_t)g * p->scale_stride, p->type, p->in, (int)(row % OUTPUTS), p->kernels->flip);
  return true;
}

static size_t blocks_bytes(const void *state) {
  const struct blocks *p = state;
  return p->codes ? (size_t)p->groups * (p->code_stride + p->scale_stride) : 0;
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
  unsigned char *codes, *packed;
  float *scales, *minima, *sums;
};
enum { CODES = CHUNK * BLOCK * OUTPUTS * 2, SCALES = CHUNK * 2 * OUTPUTS * 2, PACKED = CODES + CHUNK * 8 * OUTPUTS * 2 }; /* of two groups of outputs */
static size_t place_thread(struct place *t, char *at) {
  size_t scales = SCALES * sizeof(float), sums = (size_t)(ROWS * MOST_WIDTH) * sizeof(float);
  if (t)
    *t = (struct place){(unsigned char *)at, (unsigned char *)at + CODES, (float *)(void *)(at + CODES + PACKED), (float *)(void *)(at + CODES + PACKED + scales),
                        (float *)(void *)(at + CODES + PACKED + 2 * scales)};
  return rounded(CODES + PACKED + 2 * scales + sums);
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
  bool ready; /* the weights are repacked; else a tile's are when it is worked on */
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
    else if (r->alpha == 1 && r->beta == 1) etk__kernels()->add_f32(y, y, s, count);
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

/* Groups that few rows meet in one call. */
static int together(const struct run *r) { return r->rows == 1 ? r->p->kernels->few_groups : r->p->kernels->more_groups; }

/* Several groups at a time, each a stream from memory of its own, far from the others. */
static void few_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  const struct blocks *p = r->p;
  (void)slot;
  float sums[4 * MOST_WIDTH];
  int groups = together(r);
  for (int64_t g = begin * groups; g < end * groups && g < p->groups; g += groups) {
    struct blocks_few f = {.x = &r->x, .out = sums, .codes_apart = (size_t)groups * p->code_stride, .scales_apart = (size_t)groups * p->scale_stride};
    point(p, f.codes, f.scales, g, groups);
    for (int64_t rows, passes = (r->rows + p->kernels->few_rows - 1) / p->kernels->few_rows; passes > 0; passes--, f.row += rows) { /* from the cache but for the first */
      rows = (r->rows - f.row) / passes;
      p->kernels->few[p->type][rows - 1](&f);
      put(r, sums, f.row, rows, g * OUTPUTS, groups * OUTPUTS);
    }
  }
}

/* Where `count` groups of outputs are stored, and what follows them; behind the last row there is the last one again. */
static struct blocks_stored stored_at(const struct run *r, float *sums, int64_t group, int count) {
  const struct blocks *p = r->p;
  struct blocks_stored f = {.x = &r->x, .out = sums};
  f.ahead = (const unsigned char *)p->weight->data + (size_t)((group + count) * OUTPUTS) * (p->weight->bytes / (size_t)p->out);
  for (int64_t i = 0, row = group * OUTPUTS; i < count * OUTPUTS; i++, row++) f.rows[i] = stored_row(p, row < p->out ? row : p->out - 1);
  return f;
}
static void stored_items(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  float sums[4 * MOST_WIDTH];
  (void)slot;
  for (int64_t g = begin; g < end; g++) {
    struct blocks_stored f = stored_at(r, sums, g, 1);
    r->p->kernels->stored[r->p->type][r->rows - 1](&f);
    put(r, sums, 0, r->rows, g * OUTPUTS, OUTPUTS);
  }
}
/* More rows of x meet two groups. */
static void stored_pairs(void *user, int64_t begin, int64_t end, int slot) {
  const struct run *r = user;
  float sums[SOME * MOST_WIDTH];
  (void)slot;
  for (int64_t g = 2 * begin; g < 2 * end; g += 2) {
    struct blocks_stored f = stored_at(r, sums, g, 2);
    for (int64_t rows; f.row < r->rows; f.row += rows) {
      rows = r->rows - f.row < SOME ? r->rows - f.row : SOME;
      r->p->kernels->stored_more[r->p->type](&f, rows);
      put(r, sums, f.row, rows, g * OUTPUTS, 2 * OUTPUTS);
    }
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
    if (r->ready) point(p, codes, scales, group, wide);
    for (int64_t b = 0; b < blocks; b += CHUNK) {
      struct blocks_tile t = {.x = &r->x, .first = b, .blocks = blocks - b < CHUNK ? blocks - b : CHUNK, .sums = place.sums};
      for (int i = 0; i < wide; i++) {
        unsigned char *packed = place.packed + i * (PACKED / 2);
        const unsigned char *from = packed, *from_scales = packed + CODES / 2;
        float *scale = place.scales + i * (SCALES / 2), *minimum = place.minima + i * (SCALES / 2);
        size_t unit = blocks_unit_scales(p->layout->group, p->layout->minima, p->layout->units);
        if (r->ready) from = codes[i] + (size_t)b * 64 * (size_t)bits, from_scales = scales[i] + (size_t)(p->layout->units ? b / (UNIT / BLOCK) : b) * unit;
        else {
          int64_t g = group + i < p->groups ? group + i : p->groups - 1, next = b + CHUNK < blocks ? b + CHUNK : 0;
          ask_ahead(p, next ? g : g + wide, next, blocks - next < CHUNK ? blocks - next : CHUNK);
          repack(p, packed, packed + CODES / 2, g, b, t.blocks);
        }
        p->kernels->unpack[p->type](place.codes + i * (CODES / 2), scale, minimum, from, from_scales, t.blocks);
        t.codes[i] = bits == 8 ? from : place.codes + i * (CODES / 2);
        t.scales[i] = scale;
        t.minima[i] = minimum;
      }
      tile_rows(r, t, first, rows, group * OUTPUTS);
    }
  }
}

/* A short prompt, and the first token after it, come soonest from the stored weights. */
static bool worth_repacking(const struct blocks *p, bool few, int64_t rows) {
  bool again = atomic_exchange_explicit(&((struct blocks *)(uintptr_t)p)->used, true, memory_order_relaxed);
  return rows >= MANY || (few && again);
}

static void blocks_run(const void *state, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *scratch) {
  const struct blocks *p = state;
  struct run r = {.p = p, .source = x, .y = y, .ldx = ldx, .ldy = ldy, .rows = rows, .alpha = alpha, .beta = beta};
  r.threads = (char *)scratch + place_input(p, &r.x, scratch, rows);
  bool few = rows <= p->kernels->few_rows;
  if (p->codes && worth_repacking(p, few, rows)) make_ready(p);
  r.ready = atomic_load_explicit(&p->ready, memory_order_acquire);
  if (few && (r.ready || !p->codes)) quantize_rows(&r, 0, rows, 0);
  else etk_parallel_for(rows, 1 + GRAIN / 4 / p->in, quantize_rows, &r);
  if (p->codes && r.ready && rows <= PASSED) {
    int64_t groups = together(&r);
    etk_parallel_share((p->groups + groups - 1) / groups, 1 + GRAIN / (p->in * OUTPUTS * groups), few_items, &r);
    return;
  }
  if (few && !p->codes) {
    etk_parallel_share(p->groups, 1 + GRAIN / (p->in * OUTPUTS), stored_items, &r);
    return;
  }
  if (!p->codes && rows <= SHORT) {
    etk_parallel_share((p->groups + 1) / 2, 1 + GRAIN / (p->in * OUTPUTS * 2 * rows), stored_pairs, &r);
    return;
  }
  int64_t tiles = (p->out + p->kernels->width - 1) / p->kernels->width, threads = etk_parallel_threads();
  r.chunk_rows = rows < ROWS ? rows : ROWS;
  while (tiles * ((rows + r.chunk_rows - 1) / r.chunk_rows) < 4 * threads && r.chunk_rows > 48) r.chunk_rows = (r.chunk_rows + 1) / 2; /* many threads */
  etk_parallel_share(tiles * ((rows + r.chunk_rows - 1) / r.chunk_rows), 1 + GRAIN / (p->in * p->kernels->width * r.chunk_rows), tile_items, &r);
}

/* Any: integers sum alike in every order, and blocks' sums follow each other. */
static int64_t blocks_alike(const void *state) {
  (void)state;
  return INT64_MAX;
}

const struct product_backend etk__product_blocks = {"blocks", blocks_fits, blocks_make, blocks_free, blocks_bytes, blocks_scratch, blocks_run, blocks_row, blocks_alike};
