/* softcap (Gemma 2, Riviere et al. 2024): cap * tanh(a / cap), of logits, and of attention's scores before their softmax. */
#include "rows.h"

#include <math.h>

static void softcap_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  etk__kernels()->softcap_f32(out(c, 0) + begin, in(c, 0) + begin, 1, *(const float *)c->attributes, end - begin);
}
static etk_status softcap_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].elements, ELEMENT_GRAIN / 4, softcap_range, (void *)(uintptr_t)c);
  return ETK_OK;
}
/* 1 - tanh^2 = 1 - (y / cap)^2, from simple operations, so that it can be differentiated again */
static void softcap_backward(struct reverse *r) {
  etk_graph *g = r->graph;
  float cap = *(const float *)r->node->attributes;
  etk_tensor *dy = r->outputs[0], *y = r->node->outputs[0];
  r->gradients[0] = etk_sub(g, dy, etk_scale(g, etk_mul(g, dy, etk_mul(g, y, y)), 1 / (cap * cap)));
}
static const struct op softcap_row = {"softcap", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, softcap_forward, softcap_backward, NULL};
etk_tensor *etk_softcap(etk_graph *g, etk_tensor *a, float cap) {
  if (!(cap > 0) || !isfinite(cap)) return etk__poison(g, ETK_E_INVALID, "softcap: cap %g, wanted a number above 0", (double)cap);
  return RECORD_WITH(g, softcap_row, &cap, a);
}

float etk__attention_softmax(float *scores, const etk_attention_options *o, float *slope, int64_t n) {
  if (o->softcap > 0) etk__kernels()->softcap_f32(scores, scores, o->scale, o->softcap, n);
  for (int64_t j = 0; j < n && o->softcap > 0 && slope; j++) {
    float t = scores[j] / o->softcap;
    slope[j] = 1 - t * t;
  }
  return etk__kernels()->softmax_f32(scores, scores, o->softcap > 0 ? 1 : o->scale, n);
}
