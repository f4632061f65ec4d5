/* gelu (Hendrycks & Gimpel 2016): a times the normal distribution function of a, exactly or by the tanh form. */
#include "rows.h"

#include <math.h>

struct gelu {
  bool tanh_form;
};
static const float ROOT = 0.7978845608028654f /* sqrt(2/pi) */, CUBE = 0.044715f, HALF_ROOT = 0.7071067811865475f, DENSITY = 0.3989422804014327f /* 1/sqrt(2 pi) */;

static void gelu_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  bool tanh_form = ((const struct gelu *)c->attributes)->tanh_form;
  for (int64_t i = begin; i < end; i++) {
    float a = in(c, 0)[i];
    out(c, 0)[i] = tanh_form ? 0.5f * a * (1 + tanhf(ROOT * (a + CUBE * a * a * a))) : 0.5f * a * (1 + erff(a * HALF_ROOT));
  }
}
static etk_status gelu_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 16, gelu_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs a, dy -> da */
static float slope(float a, bool tanh_form) {
  if (!tanh_form) return 0.5f * (1 + erff(a * HALF_ROOT)) + a * DENSITY * expf(-0.5f * a * a);
  float t = tanhf(ROOT * (a + CUBE * a * a * a));
  return 0.5f * (1 + t) + 0.5f * a * (1 - t * t) * ROOT * (1 + 3 * CUBE * a * a);
}
static void gelu_backward_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  bool tanh_form = ((const struct gelu *)c->attributes)->tanh_form;
  for (int64_t i = begin; i < end; i++) out(c, 0)[i] = in(c, 1)[i] * slope(in(c, 0)[i], tanh_form);
}
static etk_status gelu_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 16, gelu_backward_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op gelu_backward_row = {"gelu_backward", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, same_shape, gelu_backward_forward, NULL, NULL};
static void gelu_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, gelu_backward_row, (const struct gelu *)r->node->attributes, r->node->inputs[0], r->outputs[0]);
}
static const struct op gelu_row = {"gelu", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, gelu_forward, gelu_backward, NULL};
etk_tensor *etk_gelu(etk_graph *g, etk_tensor *a, bool tanh_form) { return RECORD_WITH(g, gelu_row, &(struct gelu){tanh_form}, a); }
