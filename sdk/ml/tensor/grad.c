/* The reverse pass: walks the nodes from the loss back and lets each emit the operations of its derivative. */
#include "internal.h"

#include <etk/ops.h>

struct pass {
  etk_graph *graph;
  bool *needed;          /* by tensor id: depends on something in wrt */
  etk_tensor **gradient; /* by tensor id: what it has gathered */
};

/* Marks wrt and all that follows from it; false with a message where wrt holds a constant. */
static etk_status mark(etk_error *e, struct pass *p, etk_tensor *const *wrt, size_t count) {
  const etk_graph *g = p->graph;
  char text[SHAPE_TEXT];
  for (size_t i = 0; i < count; i++) {
    if (!wrt[i]) return etk_fail(e, ETK_E_INVALID, "backward: tensor %zu of %zu is NULL", i, count);
    if (wrt[i]->dtype != ETK_F32)
      return etk_fail(e, ETK_E_INVALID, "backward: tensor %zu of %zu, %s, is %s; only F32 is trained (etk_tensor_cast converts)", i, count,
                      etk_shape_text(text, sizeof text, &wrt[i]->shape), etk_dtype_name(wrt[i]->dtype));
    if (!wrt[i]->trainable && !wrt[i]->node)
      return etk_fail(e, ETK_E_INVALID, "backward: tensor %zu of %zu, %s, is not trainable (etk_tensor_set_trainable)", i, count,
                      etk_shape_text(text, sizeof text, &wrt[i]->shape));
    etk_tensor *own = etk__stand_in(g, wrt[i]);
    if (own && !etk__poisoned(own)) p->needed[own->id] = true;
  }
  for (size_t i = 0; i < g->node_count; i++) {
    const struct node *node = g->nodes[i];
    bool any = false;
    for (int j = 0; j < node->input_count; j++) any |= node->inputs[j] && p->needed[node->inputs[j]->id];
    for (int j = 0; j < node->output_count && any; j++) p->needed[node->outputs[j]->id] = true;
  }
  return ETK_OK;
}

static etk_status reverse_node(etk_error *e, struct pass *p, const struct node *node) {
  struct reverse r = {.graph = p->graph, .node = node};
  bool reached = false, wanted = false;
  for (int i = 0; i < node->output_count; i++) reached |= (r.outputs[i] = p->gradient[node->outputs[i]->id]) != NULL;
  for (int i = 0; i < node->input_count; i++) {
    const etk_tensor *t = node->inputs[i];
    wanted |= r.wanted[i] = t && t->dtype == ETK_F32 && p->needed[t->id];
    r.running[i] = r.wanted[i] ? p->gradient[t->id] : NULL;
    for (int j = 0; j < i; j++) /* the same tensor twice: only plain sums */
      if (node->inputs[j] == t) r.running[i] = r.running[j] = NULL;
  }
  if (!reached || !wanted) return ETK_OK;
  if (!node->op->backward) return etk_fail(e, ETK_E_UNSUPPORTED, "backward: %s has no derivative", node->op->name);
  node->op->backward(&r);
  for (int i = 0; i < node->input_count; i++) {
    if (!r.wanted[i] || !r.gradients[i]) continue;
    etk_tensor **sum = &p->gradient[node->inputs[i]->id];
    if (*sum && !r.accumulated[i]) {
      *sum = etk_add(p->graph, *sum, r.gradients[i]);
    } else *sum = r.gradients[i];
  }
  return etk_graph_status(e, p->graph);
}

static etk_status run(etk_error *e, struct pass *p, etk_tensor *loss, etk_tensor *const *wrt, size_t count, etk_tensor **grads) {
  etk_graph *g = p->graph;
  etk_status status = mark(e, p, wrt, count);
  if (status || !p->needed[loss->id]) return status;
  size_t tensors = g->tensor_count, nodes = g->node_count;
  p->gradient[loss->id] = etk__fill(g, loss->shape, 1.0f);
  status = etk_graph_status(e, g);
  for (size_t i = nodes; i-- && !status;) status = reverse_node(e, p, g->nodes[i]);
  for (size_t i = 0; i < count && !status; i++) {
    etk_tensor *own = etk__stand_in(g, wrt[i]);
    grads[i] = own && (size_t)own->id < tensors ? p->gradient[own->id] : NULL;
    if (grads[i]) etk_graph_keep(g, grads[i]);
  }
  return status;
}

etk_status etk_graph_backward(etk_error *e, etk_graph *g, etk_tensor *loss, etk_tensor *const *wrt, size_t count, etk_tensor **grads) {
  char text[SHAPE_TEXT];
  for (size_t i = 0; i < count; i++) grads[i] = NULL;
  if (g->status) return etk_graph_status(e, g);
  if (!loss || loss->graph != g) return etk_fail(e, ETK_E_INVALID, "backward: the loss is not a result of this graph");
  if (loss->elements != 1 || loss->dtype != ETK_F32)
    return etk_fail(e, ETK_E_SHAPE, "backward: the loss is %s of shape %s, wants one F32 element (etk_mean, etk_sum)", etk_dtype_name(loss->dtype),
                    etk_shape_text(text, sizeof text, &loss->shape));
  size_t tensors = g->tensor_count;
  struct pass p = {.graph = g, .needed = etk_calloc(tensors, sizeof *p.needed), .gradient = etk_calloc(tensors, sizeof *p.gradient)};
  etk_status status = p.needed && p.gradient ? run(e, &p, loss, wrt, count, grads) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory for the reverse pass");
  etk_free(p.needed);
  etk_free(p.gradient);
  return status;
}
