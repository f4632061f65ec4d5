/* head_loss: the last product of a language model and its cross entropy in one, a block of rows after the other, so that no (tokens, vocabulary) matrix exists.
 * Where gradients are wanted they are made from a block's logits while those are there: logits are computed once. Rows without a target cost nothing. */
#include "rows.h"

#include <math.h>

enum {
  BLOCK_FLOATS = 1 << 23, /* of logits at a time: 32 MB */
  LEAST_ROWS = 64,        /* of a block: with fewer, reading the weight takes longer than multiplying by it */
  MOST_ROWS = 256,        /* what a stored weight is decoded once for (stored_gemm.c) */
  CAP_PIECE = 1024        /* logits whose slope is taken at a time */
};
enum { LOSS, LOSSES, LOGITS, RESULTS }; /* outputs; those of the reverse pass follow, where it asks for them */

struct head_loss {
  float softcap;
  int dx, dweight; /* which outputs these are; 0: not wanted */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static size_t up(int64_t bytes) { return ((size_t)bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int64_t block_rows(const struct node *node) {
  int64_t rows = shape_of(node, 0)->dims[0], vocabulary = shape_of(node, 1)->dims[0];
  return smaller(rows, smaller(MOST_ROWS, larger(LEAST_ROWS, BLOCK_FLOATS / vocabulary)));
}

/* x (n, d), weight (vocab, d), targets (n) i32 -> mean loss (1), losses (n), logits of a block (rows, vocab) */
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
  results[LOGITS] = (struct result){ETK_F32, etk_shape_of(2, block_rows(node), w->dims[0])};
  *count = RESULTS;
  return ETK_OK;
}

/* What lies in scratch: which rows have a target, those rows of x and their gradient where they do not lie side by side, and what products need. */
struct work {
  const struct call *c;
  int64_t d, vocabulary, count;
  int32_t *index;  /* (count) */
  float *x, *dx;   /* (block, d) */
  void *scratch;
  int64_t first, rows; /* the block: index[first] … */
  float each;      /* 1 / count */
};

/* The three products of a block: logits, their gradient times the weight, and times x. */
static size_t product_scratch(const struct node *node, int threads) {
  const struct head_loss *a = node->attributes;
  int64_t rows = block_rows(node), vocabulary = shape_of(node, 1)->dims[0], d = shape_of(node, 1)->dims[1];
  const struct gemm forward = {.tb = true, .m = rows, .n = vocabulary, .k = d}, back = {.m = rows, .n = d, .k = vocabulary},
                    weight = {.ta = true, .m = vocabulary, .n = d, .k = rows};
  size_t most = etk__multiply_scratch(&forward, node->inputs[1], true, threads);
  size_t dx = a->dx ? etk__multiply_scratch(&back, node->inputs[1], true, threads) : 0;
  size_t dweight = a->dweight ? etk__multiply_scratch(&weight, node->inputs[0], true, threads) : 0;
  most = dx > most ? dx : most;
  return dweight > most ? dweight : most;
}

static size_t head_loss_scratch(const struct node *node, int threads) {
  const etk_shape *x = shape_of(node, 0);
  return up(x->dims[0] * (int64_t)sizeof(int32_t)) + 2 * up(block_rows(node) * x->dims[1] * (int64_t)sizeof(float)) + product_scratch(node, threads);
}

static struct work work_of(const struct call *c) {
  const etk_shape *x = &c->in[0].shape;
  struct work w = {.c = c, .d = x->dims[1], .vocabulary = c->in[1].shape.dims[0], .index = c->scratch};
  size_t block = up(block_rows(c->node) * w.d * (int64_t)sizeof(float));
  char *at = (char *)c->scratch + up(x->dims[0] * (int64_t)sizeof(int32_t));
  w.x = (float *)(void *)at;
  w.dx = (float *)(void *)(at + block);
  w.scratch = at + 2 * block;
  for (int64_t i = 0; i < x->dims[0]; i++)
    if (in_integers(c, 2)[i] >= 0) w.index[w.count++] = (int32_t)i;
  w.each = w.count ? 1 / (float)w.count : 0;
  return w;
}

/* y, which are exp(logit - log-sum-exp) times what comes, times the slope 1 - (logit / cap)^2 of the cap; written over the logits. */
static void through_cap(float *logits, float shift, float factor, float cap, int32_t target, int64_t n) {
  float y[CAP_PIECE];
  for (int64_t at = 0; at < n; at += CAP_PIECE) {
    int64_t count = smaller(CAP_PIECE, n - at);
    etk__kernels()->exp_affine_f32(y, logits + at, 1, shift, factor, count);
    if (target >= at && target < at + count) y[target - at] -= factor;
    for (int64_t i = 0; i < count; i++) {
      float t = logits[at + i] / cap;
      logits[at + i] = y[i] * (1 - t * t);
    }
  }
}

/* Logits to losses and, where gradients are wanted, to the mean loss's gradient in them. */
static void loss_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct work *w = user;
  const struct head_loss *a = w->c->attributes;
  const struct kernels *kernels = etk__kernels();
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    int64_t row = w->index[w->first + i], n = w->vocabulary;
    int32_t target = in_integers(w->c, 2)[row];
    float *logits = out(w->c, LOGITS) + i * n;
    if (a->softcap > 0) kernels->softcap_f32(logits, logits, 1, a->softcap, n);
    float whole = kernels->log_sum_exp_f32(logits, n);
    out(w->c, LOSSES)[row] = whole - logits[target];
    if (!a->dx && !a->dweight) continue;
    if (a->softcap > 0) through_cap(logits, -whole, w->each, a->softcap, target, n);
    else {
      kernels->exp_affine_f32(logits, logits, 1, -whole, w->each, n);
      logits[target] -= w->each;
    }
  }
}

static void run_block(const struct work *w) {
  const struct call *c = w->c;
  const struct head_loss *a = c->attributes;
  const etk_tensor *weight = c->node->inputs[1];
  const int32_t *index = w->index + w->first;
  size_t row_bytes = (size_t)w->d * sizeof(float);
  bool together = index[w->rows - 1] - index[0] == w->rows - 1;
  const float *x = together ? in(c, 0) + index[0] * w->d : w->x;
  float *logits = out(c, LOGITS), *dx = a->dx && together ? out(c, a->dx) + index[0] * w->d : w->dx;
  for (int64_t i = 0; i < w->rows && !together; i++) memcpy(w->x + i * w->d, in(c, 0) + index[i] * w->d, row_bytes);
  etk__multiply(c, &(struct gemm){.tb = true, .m = w->rows, .n = w->vocabulary, .k = w->d, .alpha = 1, .a = x, .lda = w->d, .b = in(c, 1), .ldb = w->d, .c = logits,
                                  .ldc = w->vocabulary}, weight, w->scratch);
  etk_parallel_for(w->rows, row_grain(4 * w->vocabulary), loss_rows, (void *)(uintptr_t)w);
  if (a->dx)
    etk__multiply(c, &(struct gemm){.m = w->rows, .n = w->d, .k = w->vocabulary, .alpha = 1, .a = logits, .lda = w->vocabulary, .b = in(c, 1), .ldb = w->d, .c = dx,
                                    .ldc = w->d}, weight, w->scratch);
  for (int64_t i = 0; i < w->rows && a->dx && !together; i++) memcpy(out(c, a->dx) + index[i] * w->d, w->dx + i * w->d, row_bytes);
  if (a->dweight)
    etk__multiply(c, &(struct gemm){.ta = true, .m = w->vocabulary, .n = w->d, .k = w->rows, .alpha = 1, .beta = w->first > 0, .a = logits, .lda = w->vocabulary,
                                    .b = x, .ldb = w->d, .c = out(c, a->dweight), .ldc = w->d}, c->node->inputs[0], w->scratch);
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
  int64_t rows = c->in[0].shape.dims[0], block = block_rows(c->node);
  struct work w = work_of(c);
  for (int64_t i = 0; i < rows; i++)
    if (in_integers(c, 2)[i] >= w.vocabulary)
      return etk_fail(e, ETK_E_INVALID, "head_loss: target %d of row %lld is not below the vocabulary's size %lld", (int)in_integers(c, 2)[i], (long long)i,
                      (long long)w.vocabulary);
  clear(c, &w);
  for (; w.first < w.count; w.first += w.rows) {
    w.rows = smaller(block, w.count - w.first);
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
  if (!r->outputs[LOSS] || r->outputs[LOSSES] || r->outputs[LOGITS] || r->outputs[RESULTS] || r->outputs[RESULTS + 1]) {
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
