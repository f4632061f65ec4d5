/* dropout: the mask is a function of the graph's (seed, step), the node's number and the element's, so backward computes it again. */
#include "rows.h"

struct dropout {
  float rate;
  uint64_t number; /* among the random operations of the graph */
};

enum { CHUNK = 4096 }; /* elements; a multiple of 64 (see struct dropout_mask) */

static void dropout_chunks(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  const struct dropout *a = c->attributes;
  (void)slot;
  int64_t from = begin * CHUNK, to = end * CHUNK < c->out[0].elements ? end * CHUNK : c->out[0].elements;
  struct dropout_mask mask = {.seed = c->seed, .stream = c->step << 20 | a->number, .first = (uint64_t)from, .threshold = (uint32_t)((double)a->rate * 0x1p32),
                              .scale = 1 / (1 - a->rate)};
  etk__kernels()->dropout_f32(out(c, 0) + from, in(c, 0) + from, &mask, to - from);
}
static etk_status dropout_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for((c->out[0].elements + CHUNK - 1) / CHUNK, 1, dropout_chunks, (void *)(uintptr_t)c);
  return ETK_OK;
}
static void dropout_backward(struct reverse *r);
static const struct op dropout_row = {"dropout", OP_ELEMENTWISE | OP_INPLACE_0, 1, 1, 0, same_shape, dropout_forward, dropout_backward, NULL};
static void dropout_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, dropout_row, (const struct dropout *)r->node->attributes, r->outputs[0]);
}
etk_tensor *etk_dropout(etk_graph *g, etk_tensor *x, float rate) {
  if (rate == 0) return x;
  if (!(rate > 0 && rate < 1)) return etk__poison(g, ETK_E_INVALID, "dropout: rate %g is not in [0, 1)", (double)rate);
  struct dropout attributes = {rate, g->random_nodes++ & 0xfffff};
  return RECORD_WITH(g, dropout_row, &attributes, x);
}
