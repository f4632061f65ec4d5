/* rope (Su et al. 2021), NeoX halves: pair (i, i + n/2) of the first n values of a head turns by position * inverse_frequency[i]; rope_choose: which
 * frequencies (Ding et al. 2024). */
#include "rows.h"

#include <math.h>

struct rope {
  float sign;  /* -1: the inverse turn, which is the derivative */
  float scale; /* of what turns */
};

/* x (batch, tokens, heads, d), positions (batch, tokens) i32, inverse_frequency (n/2) or (batch, n/2), n <= d */
static etk_status rope_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *p = shape_of(node, 1), *f = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  bool frequencies = f->rank == 1 || (f->rank == 2 && f->dims[0] == x->dims[0]);
  if (x->rank != 4 || p->rank != 2 || p->dims[0] != x->dims[0] || p->dims[1] != x->dims[1] || !frequencies || 2 * etk__last(f) > x->dims[3])
    return etk_fail(e, ETK_E_SHAPE, "rope: x %s, positions %s, inverse_frequency %s: wants (batch, tokens, heads, d), (batch, tokens), (at most d/2)",
                    etk_shape_text(a, sizeof a, x), etk_shape_text(b, sizeof b, p), etk_shape_text(c, sizeof c, f));
  return gives(results, count, x);
}

static const float *frequencies_of(const struct call *c, int64_t row) {
  const etk_shape *f = &c->in[2].shape;
  return in(c, 2) + (f->rank == 2 ? row * etk__last(f) : 0);
}

/* cosines then sines for one position of a batch row */
static void fill_angles(const struct call *c, float *angles, int64_t row, int32_t position) {
  const struct rope *a = c->attributes;
  const float *frequency = frequencies_of(c, row);
  int64_t half = etk__last(&c->in[2].shape);
  for (int64_t i = 0; i < half; i++) {
    float angle = (float)position * frequency[i];
    angles[i] = a->scale * cosf(angle);
    angles[half + i] = a->sign * a->scale * sinf(angle);
  }
}

/* Scratch: the angles of the first row's tokens, which most rows share, then one token's for each piece. */
static void angle_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[0].shape.dims[3];
  for (int64_t t = begin; t < end; t++) fill_angles(c, (float *)c->scratch + t * d, 0, in_integers(c, 1)[t]);
}
static void turn_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  int64_t tokens = c->in[0].shape.dims[1], heads = c->in[0].shape.dims[2], d = c->in[0].shape.dims[3], half = etk__last(&c->in[2].shape);
  const int32_t *positions = in_integers(c, 1);
  float *own = (float *)c->scratch + (tokens + slot) * d;
  for (int64_t i = begin; i < end; i++) {
    int64_t t = i % tokens;
    const float *angles = (float *)c->scratch + t * d;
    bool shared = positions[i] == positions[t] && !memcmp(frequencies_of(c, i / tokens), frequencies_of(c, 0), (size_t)half * sizeof(float));
    if (!shared) {
      fill_angles(c, own, i / tokens, positions[i]);
      angles = own;
    }
    for (int64_t h = i * heads; h < (i + 1) * heads; h++) {
      float *y = out(c, 0) + h * d;
      const float *x = in(c, 0) + h * d;
      etk__kernels()->rope_f32(y, x, angles, angles + half, half);
      if (y != x && d > 2 * half) memcpy(y + 2 * half, x + 2 * half, (size_t)(d - 2 * half) * sizeof *y);
    }
  }
}
static etk_status rope_forward(etk_error *e, const struct call *c) {
  (void)e;
  const int64_t *x = c->in[0].shape.dims;
  etk_parallel_for(x[1], row_grain(16 * x[3]), angle_range, (void *)(uintptr_t)c);
  etk_parallel_for(x[0] * x[1], row_grain(x[2] * x[3]), turn_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static size_t rope_scratch(const struct node *node, int threads) {
  const int64_t *x = shape_of(node, 0)->dims;
  return (size_t)((x[1] + threads) * x[3]) * sizeof(float);
}

static void rope_backward(struct reverse *r);
static const struct op rope_row = {"rope", OP_ELEMENTWISE | OP_INPLACE_0, 3, 3, 2, rope_shape, rope_forward, rope_backward, rope_scratch};
static void rope_backward(struct reverse *r) {
  const struct rope *a = r->node->attributes;
  struct rope inverse = {-a->sign, a->scale};
  r->gradients[0] = RECORD_WITH(r->graph, rope_row, &inverse, r->outputs[0], r->node->inputs[1], r->node->inputs[2]);
}
etk_tensor *etk_rope(etk_graph *g, etk_tensor *x, etk_tensor *positions, etk_tensor *inverse_frequency) {
  return etk_rope_scaled(g, x, positions, inverse_frequency, 1);
}
etk_tensor *etk_rope_scaled(etk_graph *g, etk_tensor *x, etk_tensor *positions, etk_tensor *inverse_frequency, float scale) {
  return RECORD_WITH(g, rope_row, (&(struct rope){1, scale}), x, positions, inverse_frequency);
}

/* short (n), long (n), last (batch, any) i32 -> (batch, n) */
static etk_status choose_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *s = shape_of(node, 0), *l = shape_of(node, 1), *last = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  if (s->rank != 1 || !etk_shape_equal(s, l) || last->rank != 2)
    return etk_fail(e, ETK_E_SHAPE, "rope_choose: short %s, long %s, last %s: wants (n), (n), (batch, any)", etk_shape_text(a, sizeof a, s),
                    etk_shape_text(b, sizeof b, l), etk_shape_text(c, sizeof c, last));
  return gives(results, count, &etk_shape_of(2, last->dims[0], s->dims[0]));
}
static etk_status choose_forward(etk_error *e, const struct call *c) {
  int64_t original = *(const int64_t *)c->attributes, batch = c->in[2].shape.dims[0], n = c->in[2].shape.dims[1];
  (void)e;
  for (int64_t b = 0; b < batch; b++) {
    bool reaches = false;
    for (int64_t i = 0; i < n && !reaches; i++) reaches = in_integers(c, 2)[b * n + i] >= original;
    memcpy(out(c, 0) + b * c->in[0].elements, in(c, reaches ? 1 : 0), (size_t)c->in[0].elements * sizeof(float));
  }
  return ETK_OK;
}
static const struct op choose_row = {"rope_choose", 0, 3, 3, 4, choose_shape, choose_forward, NULL, NULL};
etk_tensor *etk_rope_choose(etk_graph *g, etk_tensor *short_frequency, etk_tensor *long_frequency, etk_tensor *last, int64_t original) {
  return RECORD_WITH(g, choose_row, &original, short_frequency, long_frequency, last);
}
