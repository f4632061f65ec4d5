/* head_loss: the last product of a language model and its cross entropy in one, a block of rows and a chunk of the vocabulary after the other, so that no
 * (tokens, vocabulary) matrix exists. A chunk's logits become probabilities against the largest logit so far (Milakov & Gimelshein 2018), meet the weight's rows
 * again while those are in the cache, and are forgotten: each is computed once. Rows without a target cost nothing. */
#include "ml/product/product.h"
#include "ml/product/product_gemm.h"
#include "rows.h"

#include <math.h>

enum {
  CHUNK = 2048,           /* of the vocabulary: logits of a thread's rows and what they are multiplied with stay in its caches */
  CHUNK_ROWS = 1024,      /* of x that meet a chunk: each block of rows reads the whole weight */
  BLOCK_FLOATS = 1 << 23, /* of logits where a chunk is all of the vocabulary: 32 MB */
  LEAST_ROWS = 64,        /* of such a block: with fewer, reading the weight takes longer than multiplying by it */
  MOST_ROWS = 256,        /* what a stored weight is decoded once for (stored_gemm.c) */
  CAP_PIECE = 1024        /* logits whose slope is taken at a time */
};
enum { LOSS, LOSSES, RESULTS }; /* outputs; those of the reverse pass follow, where it asks for them */

struct head_loss {
  float softcap;
  int dx, dweight; /* which outputs these are; 0: not wanted */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static size_t up(int64_t bytes) { return ((size_t)bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* How the work is cut: the same for any number of threads. The weight's gradient wants all probabilities of a row at once, and a stored weight is multiplied
 * whole. */
struct cut {
  int64_t rows, columns; /* of x in a block, of the vocabulary in a chunk */
  bool parts;            /* a chunk meets its rows of the weight alone, as floats */
};
static struct cut cut_of(const struct node *node) {
  const struct head_loss *a = node->attributes;
  int64_t rows = shape_of(node, 0)->dims[0], vocabulary = shape_of(node, 1)->dims[0], d = shape_of(node, 1)->dims[1];
  if (!a->dweight && node->inputs[1]->dtype == ETK_F32 && etk__packed_gemm_fits(rows, smaller(vocabulary, CHUNK), d))
    return (struct cut){smaller(rows, CHUNK_ROWS), smaller(vocabulary, CHUNK), true};
  return (struct cut){smaller(rows, smaller(MOST_ROWS, larger(LEAST_ROWS, BLOCK_FLOATS / vocabulary))), vocabulary, false};
}

/* x (n, d), weight (vocab, d), targets (n) i32 -> mean loss (1), losses (n) */
static etk_status head_loss_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *w = shape_of(node, 1), *t = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  if (x->rank != 2 || w->rank != 2 || t->rank != 1 || x->dims[1] != w->dims[1] || x->dims[0] != t->dims[0])
    return etk_fail(e, ETK_E_SHAPE, "head_loss: x %s, weight %s, targets %s: wants (n, d), (vocab, d), (n)", etk_shape_text(a, sizeof a, x),
                    etk_shape_text(b, sizeof b, w), etk_shape_text(c, sizeof c, t));
  struct head_loss *own = node->attributes;
  own->dx = own->dweight = 0; /* also of a node that is recorded again */
  results[LOSS] = (struct result){ETK_F32, etk_shape_of(1, 1)};
  results[LOSSES] = (struct result){ETK_F32, etk_shape_of(1, x->dims[0])};
  *count = RESULTS;
  return ETK_OK;
}

/* What is known of a row so far. The target is kept apart from the others, so that where it is nearly certain its gradient is not a difference of two near ones. */
struct row {
  float top, others; /* the largest logit but the target's; the sum of exp(logit - top) of all but the target */
  float target;      /* its logit */
};

/* What lies in scratch: which rows have a target, those rows of x and their gradient where they do not lie side by side, a chunk's logits, a row of the weight for
 * each thread, and what products need. */
struct work {
  const struct call *c;
  int64_t d, vocabulary, count;
  struct cut cut;
  int32_t *index;        /* (count) */
  float *x, *dx;         /* (block, d): of the block */
  float *own_x, *own_dx; /* in scratch */
  struct row *rows_of;   /* (block) */
  float *logits;         /* (block, columns) */
  float *weight_rows;    /* (threads, d) */
  void *scratch;
  int64_t first, rows;    /* the block: index[first] … */
  int64_t from, columns;  /* the chunk */
  float each;             /* 1 / count */
};

static struct gemm logits_gemm(const struct cut *cut, int64_t columns, int64_t d) { return (struct gemm){.tb = true, .m = cut->rows, .n = columns, .k = d}; }
static struct gemm dx_gemm(const struct cut *cut, int64_t columns, int64_t d) { return (struct gemm){.m = cut->rows, .n = d, .k = columns}; }

/* The three products of a block: logits, their gradient times the weight, and times x. */
static size_t product_scratch(const struct node *node, int threads) {
  const struct head_loss *a = node->attributes;
  const struct cut cut = cut_of(node);
  int64_t vocabulary = shape_of(node, 1)->dims[0], d = shape_of(node, 1)->dims[1];
  const etk_tensor *whole = cut.parts ? NULL : node->inputs[1];
  size_t most = 0;
  for (int last = 0; last < 2; last++) { /* the last chunk may be cut otherwise */
    int64_t columns = last ? vocabulary - (vocabulary - 1) / cut.columns * cut.columns : cut.columns;
    const struct gemm forward = logits_gemm(&cut, columns, d), back = dx_gemm(&cut, columns, d), weight = {.ta = true, .m = vocabulary, .n = d, .k = cut.rows};
    size_t bytes[] = {etk__multiply_scratch(&forward, whole, true, threads), a->dx ? etk__multiply_scratch(&back, whole, true, threads) : 0,
                      a->dweight ? etk__multiply_scratch(&weight, node->inputs[0], true, threads) : 0};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) most = bytes[i] > most ? bytes[i] : most;
  }
  return most;
}

/* Sizes and places; with memory NULL only how much there is of it before what products need. */
static size_t lay_out(struct work *w, const struct node *node, int threads, char *memory) {
  int64_t n = shape_of(node, 0)->dims[0];
  *w = (struct work){.d = shape_of(node, 1)->dims[1], .vocabulary = shape_of(node, 1)->dims[0], .cut = cut_of(node)};
  size_t block = up(w->cut.rows * w->d * (int64_t)sizeof(float));
  const size_t sizes[] = {up(n * (int64_t)sizeof(int32_t)), block, block, up(w->cut.rows * (int64_t)sizeof(struct row)), up(w->cut.rows * w->cut.columns * (int64_t)sizeof(float)),
                          up(threads * w->d * (int64_t)sizeof(float))};
  enum { PARTS = sizeof sizes / sizeof *sizes };
  void *at[PARTS + 1];
  size_t bytes = 0;
  for (int i = 0; i <= PARTS; i++) {
    at[i] = memory ? memory + bytes : NULL;
    bytes += i < PARTS ? sizes[i] : 0;
  }
  w->index = at[0], w->own_x = at[1], w->own_dx = at[2], w->rows_of = at[3], w->logits = at[4], w->weight_rows = at[5], w->scratch = at[6];
  return bytes;
}
static size_t head_loss_scratch(const struct node *node, int threads) {
  struct work w;
  return lay_out(&w, node, threads, NULL) + product_scratch(node, threads);
}

static struct work work_of(const struct call *c) {
  struct work w;
  lay_out(&w, c->node, c->threads, c->scratch);
  w.c = c;
  for (int64_t i = 0; i < c->in[0].shape.dims[0]; i++)
    if (in_integers(c, 2)[i] >= 0) w.index[w.count++] = (int32_t)i;
  w.each = w.count ? 1 / (float)w.count : 0;
  return w;
}

static int32_t target_of(const struct work *w, int64_t i) { return in_integers(w->c, 2)[w->index[w->first + i]]; }
static float slope_of(float capped, float cap) { return cap > 0 ? 1 - (capped / cap) * (capped / cap) : 1; }

/* Capped logits to exp(logit - top) times the cap's slope there; returns the sum without the slope. */
static float soften_capped(float *logits, float top, float cap, int64_t n) {
  float y[CAP_PIECE], sum = 0;
  for (int64_t at = 0; at < n; at += CAP_PIECE) {
    int64_t count = smaller(CAP_PIECE, n - at);
    sum += etk__kernels()->exp_sum_f32(y, logits + at, top, count);
    for (int64_t i = 0; i < count; i++) logits[at + i] = y[i] > 0 ? y[i] * slope_of(logits[at + i], cap) : 0;
  }
  return sum;
}

/* A chunk's logits to what the weight is multiplied with. What was gathered before is brought down to a larger top. */
static void soften_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *w = user;
  const struct head_loss *a = w->c->attributes;
  const struct kernels *kernels = etk__kernels();
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    struct row *row = &w->rows_of[i];
    float *logits = w->logits + i * w->columns;
    int64_t at = target_of(w, i) - w->from;
    if (a->softcap > 0) kernels->softcap_f32(logits, logits, 1, a->softcap, w->columns);
    if (at >= 0 && at < w->columns) {
      row->target = logits[at];
      logits[at] = -INFINITY;
    }
    float top = kernels->max_f32(logits, w->columns);
    if (w->from == 0) row->top = top, row->others = 0;
    if (top > row->top) {
      float factor = expf(row->top - top);
      row->top = top;
      row->others *= factor;
      if (a->dx) kernels->scale_f32(w->dx + i * w->d, w->dx + i * w->d, factor, w->d);
    }
    top = row->top > -INFINITY ? row->top : 0; /* a target that is alone in its chunk */
    row->others += a->softcap > 0 ? soften_capped(logits, top, a->softcap, w->columns) : kernels->exp_sum_f32(logits, logits, top, w->columns);
  }
}

/* Losses and, where gradients are wanted, the mean loss's: what was gathered over the sum of all, and the target's row of the weight. */
static void finish_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *w = user;
  const struct head_loss *a = w->c->attributes;
  const struct kernels *kernels = etk__kernels();
  for (int64_t i = begin; i < end; i++) {
    const struct row *row = &w->rows_of[i];
    int32_t target = target_of(w, i);
    float top = row->top > row->target ? row->top : row->target, down = expf(row->top - top), others = row->others * down, own = expf(row->target - top);
    out(w->c, LOSSES)[w->index[w->first + i]] = own < 1 ? top - row->target + logf(others + own) : log1pf(others);
    float factor = w->each * down / (others + own), of_target = -w->each * others / (others + own) * slope_of(row->target, a->softcap);
    if (a->dx) {
      float *dx = w->dx + i * w->d, *decoded = w->weight_rows + slot * w->d;
      const etk_tensor *weight = w->c->node->inputs[1];
      if (weight->dtype == ETK_F32) decoded = in(w->c, 1) + target * w->d;
      else if (!etk__product_row(weight, decoded, target)) etk__stored_decode_flat(decoded, weight, target * w->d, w->d);
      kernels->scale_f32(dx, dx, factor, w->d);
      kernels->axpy_f32(dx, of_target, decoded, w->d);
    }
    if (a->dweight) {
      float *p = w->logits + i * w->columns;
      kernels->scale_f32(p, p, factor, w->columns);
      p[target] = of_target;
    }
  }
}

/* The chunk's logits, and what they give of dx. */
static void run_chunk(const struct work *w) {
  const struct call *c = w->c;
  const struct head_loss *a = c->attributes;
  const etk_tensor *whole = w->cut.parts ? NULL : c->node->inputs[1];
  const float *weight = in(c, 1);
  if (w->cut.parts) weight += w->from * w->d;
  struct gemm forward = logits_gemm(&w->cut, w->columns, w->d), back = dx_gemm(&w->cut, w->columns, w->d);
  forward.m = back.m = w->rows;
  forward.alpha = back.alpha = 1;
  back.beta = w->from > 0;
  forward.b = back.b = weight;
  forward.ldb = back.ldb = w->d;
  forward.a = w->x, forward.lda = w->d, forward.c = w->logits, forward.ldc = w->columns;
  back.a = w->logits, back.lda = w->columns, back.c = w->dx, back.ldc = w->d;
  etk__multiply(c, &forward, whole, w->scratch);
  etk_parallel_for(w->rows, row_grain(4 * w->columns), soften_rows, (void *)(uintptr_t)w);
  if (a->dx) etk__multiply(c, &back, whole, w->scratch);
}

static void run_block(struct work *w) {
  const struct call *c = w->c;
  const struct head_loss *a = c->attributes;
  const int32_t *index = w->index + w->first;
  size_t row_bytes = (size_t)w->d * sizeof(float);
  bool together = index[w->rows - 1] - index[0] == w->rows - 1;
  w->x = together ? in(c, 0) + index[0] * w->d : w->own_x;
  w->dx = a->dx && together ? out(c, a->dx) + index[0] * w->d : w->own_dx;
  for (int64_t i = 0; i < w->rows && !together; i++) memcpy(w->x + i * w->d, in(c, 0) + index[i] * w->d, row_bytes);
  for (w->from = 0; w->from < w->vocabulary; w->from += w->columns) {
    w->columns = smaller(w->cut.columns, w->vocabulary - w->from);
    run_chunk(w);
  }
  etk_parallel_for(w->rows, row_grain(2 * w->d), finish_rows, w);
  for (int64_t i = 0; i < w->rows && a->dx && !together; i++) memcpy(out(c, a->dx) + index[i] * w->d, w->dx + i * w->d, row_bytes);
  if (a->dweight)
    etk__multiply(c, &(struct gemm){.ta = true, .m = w->vocabulary, .n = w->d, .k = w->rows, .alpha = 1, .beta = w->first > 0, .a = w->logits, .lda = w->vocabulary,
                                    .b = w->x, .ldb = w->d, .c = out(c, a->dweight), .ldc = w->d}, c->node->inputs[0], w->scratch);
}

static void clear(const struct call *c, const struct work *w) {
  const struct head_loss *a = c->attributes;
  int64_t rows = c->in[0].shape.dims[0];
  memset(out(c, LOSSES), 0, (size_t)rows * sizeof(float));
  for (int64_t i = 0; i < rows && a->dx; i++)
    if (in_integers(c, 2)[i] < 0) memset(out(c, a->dx) + i * w->d, 0, (size_t)w->d * sizeof(float));
  if (a->dweight && !w->count) memset(out(c, a->dweight), 0, (size_t)(w->vocabulary * w->d) * sizeof(float));
}

static etk_status head_loss_forward(etk_error *e, const struct call *c) {
  int64_t rows = c->in[0].shape.dims[0];
  struct work w = work_of(c);
  for (int64_t i = 0; i < rows; i++)
    if (in_integers(c, 2)[i] >= w.vocabulary)
      return etk_fail(e, ETK_E_INVALID, "head_loss: target %d of row %lld is not below the vocabulary's size %lld", (int)in_integers(c, 2)[i], (long long)i,
                      (long long)w.vocabulary);
  clear(c, &w);
  for (; w.first < w.count; w.first += w.rows) {
    w.rows = smaller(w.cut.rows, w.count - w.first);
    run_block(&w);
  }
  double sum = 0;
  for (int64_t i = 0; i < w.count; i++) sum += (double)out(c, LOSSES)[w.index[i]];
  *out(c, LOSS) = w.count ? (float)(sum / (double)w.count) : 0;
  return ETK_OK;
}

/* ---- backward: the forward node makes the mean's gradients; here they are multiplied by what comes from above: gradient, dy (1) -> like gradient ---- */

static void scaled_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  etk__kernels()->scale_f32(out(c, 0) + begin, in(c, 0) + begin, *in(c, 1), end - begin);
}
static etk_status scaled_forward(etk_error *e, const struct call *c) {
  (void)e;
  if (*in(c, 1) != 1 || out(c, 0) != in(c, 0)) etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN, scaled_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op scaled_row = {"head_loss_backward", OP_INPLACE_0, 2, 2, 0, same_shape, scaled_forward, NULL, NULL};

/* The node's output for the gradient of an input, made at the first reverse pass that asks. */
static etk_tensor *gradient_of(const struct reverse *r, int *place, int input) {
  struct node *node = (struct node *)(uintptr_t)r->node;
  if (*place) return node->outputs[*place];
  int next = node->output_count;
  etk_tensor *t = etk__add_output(r->graph, node, *shape_of(node, input));
  if (!etk__poisoned(t)) *place = next;
  return t;
}

static void head_loss_backward(struct reverse *r) {
  struct head_loss *a = r->node->attributes;
  if (!r->outputs[LOSS] || r->outputs[LOSSES] || r->outputs[RESULTS] || r->outputs[RESULTS + 1]) {
    etk__poison(r->graph, ETK_E_UNSUPPORTED, "head_loss: only its mean has a derivative, and only a first one");
    return;
  }
  if (r->wanted[0]) r->gradients[0] = RECORD(r->graph, scaled_row, gradient_of(r, &a->dx, 0), r->outputs[LOSS]);
  if (r->wanted[1]) r->gradients[1] = RECORD(r->graph, scaled_row, gradient_of(r, &a->dweight, 1), r->outputs[LOSS]);
}

static const struct op head_loss_row = {"head_loss", OP_STORED_1, 3, 3, 4, head_loss_shape, head_loss_forward, head_loss_backward, head_loss_scratch};
etk_tensor *etk_head_loss(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *targets, float softcap, etk_tensor **losses) {
  if (!(softcap >= 0) || !isfinite(softcap)) return *losses = etk__poison(g, ETK_E_INVALID, "head_loss: softcap %g, wanted 0 (none) or above", (double)softcap);
  struct head_loss attributes = {.softcap = softcap};
  etk_tensor *loss = RECORD_WITH(g, head_loss_row, &attributes, x, weight, targets);
  *losses = etk__output(loss, LOSSES);
  return loss;
}
