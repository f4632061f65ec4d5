/* gelu (Hendrycks & Gimpel 2016): a times the normal distribution function of a, exactly or by the tanh form. */
#include "rows.h"

struct gelu {
  bool tanh_form;
};

static void gelu_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  const struct kernels *k = etk__kernels();
  (((const struct gelu *)c->attributes)->tanh_form ? k->gelu_tanh_f32 : k->gelu_f32)(out(c, 0) + begin, in(c, 0) + begin, end - begin);
}
static etk_status gelu_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, gelu_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs a, dy -> da */
static void gelu_backward_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  const struct kernels *k = etk__kernels();
  (((const struct gelu *)c->attributes)->tanh_form ? k->gelu_tanh_backward_f32 : k->gelu_backward_f32)(out(c, 0) + begin, in(c, 1) + begin, in(c, 0) + begin, end - begin);
}
static etk_status gelu_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, gelu_backward_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op gelu_backward_row = {"gelu_backward", OP_ELEMENTWISE | OP_INPLACE_0 | OP_INPLACE_1, 2, 2, 0, same_shape, gelu_backward_forward, NULL, NULL};
static void gelu_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, gelu_backward_row, (const struct gelu *)r->node->attributes, r->node->inputs[0], r->outputs[0]);
}
static const struct op gelu_row = {"gelu", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, gelu_forward, gelu_backward, NULL};
etk_tensor *etk_gelu(etk_graph *g, etk_tensor *a, bool tanh_form) { return RECORD_WITH(g, gelu_row, &(struct gelu){tanh_form}, a); }
