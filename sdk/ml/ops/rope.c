/* rope (Su et al. 2021), NeoX halves: pair (i, i + n/2) of the first n values of a head turns by position * inverse_frequency[i]. */
#include "rows.h"

#include <math.h>

struct rope {
  float sign; /* -1: the inverse turn, which is the derivative */
};

/* x (batch, tokens, heads, d), positions (batch, tokens) i32, inverse_frequency (n/2), n <= d */
static etk_status rope_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *x = shape_of(node, 0), *p = shape_of(node, 1), *f = shape_of(node, 2);
  char a[SHAPE_TEXT], b[SHAPE_TEXT], c[SHAPE_TEXT];
  if (x->rank != 4 || p->rank != 2 || p->dims[0] != x->dims[0] || p->dims[1] != x->dims[1] || f->rank != 1 || 2 * f->dims[0] > x->dims[3])
    return etk_fail(e, ETK_E_SHAPE, "rope: x %s, positions %s, inverse_frequency %s: wants (batch, tokens, heads, d), (batch, tokens), (at most d/2)", etk_shape_text(a, sizeof a, x),
                    etk_shape_text(b, sizeof b, p), etk_shape_text(c, sizeof c, f));
  return gives(results, count, x);
}

/* cosines then sines for one position */
static void fill_angles(const struct call *c, float *angles, int32_t position) {
  int64_t half = c->in[2].elements;
  float sign = ((const struct rope *)c->attributes)->sign;
  for (int64_t i = 0; i < half; i++) {
    float angle = (float)position * in(c, 2)[i];
    angles[i] = cosf(angle);
    angles[half + i] = sign * sinf(angle);
  }
}

/* Scratch: the angles of the first row's tokens, which most rows share, then one token's for each piece. */
static void angle_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t d = c->in[0].shape.dims[3];
  for (int64_t t = begin; t < end; t++) fill_angles(c, (float *)c->scratch + t * d, in_integers(c, 1)[t]);
}
static void turn_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  int64_t tokens = c->in[0].shape.dims[1], heads = c->in[0].shape.dims[2], d = c->in[0].shape.dims[3], half = c->in[2].elements;
  const int32_t *positions = in_integers(c, 1);
  float *own = (float *)c->scratch + (tokens + slot) * d;
  for (int64_t i = begin; i < end; i++) {
    int64_t t = i % tokens;
    const float *angles = (float *)c->scratch + t * d;
    if (positions[i] != positions[t]) {
      fill_angles(c, own, positions[i]);
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
  struct rope inverse = {-((const struct rope *)r->node->attributes)->sign};
  r->gradients[0] = RECORD_WITH(r->graph, rope_row, &inverse, r->outputs[0], r->node->inputs[1], r->node->inputs[2]);
}
etk_tensor *etk_rope(etk_graph *g, etk_tensor *x, etk_tensor *positions, etk_tensor *inverse_frequency) {
  return RECORD_WITH(g, rope_row, &(struct rope){1}, x, positions, inverse_frequency);
}
