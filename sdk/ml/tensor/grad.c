/* The reverse pass: walks the nodes from the loss back and lets each emit the operations of its derivative. */
#include "internal.h"

#include <etk/ops.h>

struct pass {
  etk_graph *graph;
  bool *needed;          /* by tensor id: depends on something in wrt */
  etk_tensor **gradient; /* by tensor id: what it has gathered */
  struct node **again;   /* by node number: recorded again, for nodes of the part that is passed now; NULL: the node itself */
  etk_tensor **twin;     /* by tensor id: the same of the part's results */
  int64_t part;          /* which part that is; 0: none */
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

/* Records the part that node `last` ends again: what its reverse pass reads is then made right before it. Results that nothing reads are dropped by the planner. */
static etk_status record_part(etk_error *e, struct pass *p, size_t last) {
  etk_graph *g = p->graph;
  size_t first = last;
  p->part = g->nodes[last]->part;
  while (first > 0 && g->nodes[first - 1]->part == p->part) first--;
  for (size_t i = first; i <= last; i++) {
    const struct node *node = g->nodes[i];
    etk_tensor *inputs[MAX_INPUTS] = {NULL};
    if (node->op->flags & OP_ORDERED) return etk_fail(e, ETK_E_UNSUPPORTED, "backward: %s has an effect, so it cannot be computed again", node->op->name);
    for (int j = 0; j < node->input_count; j++) {
      const etk_tensor *t = node->inputs[j];
      inputs[j] = t && p->twin[t->id] ? p->twin[t->id] : node->inputs[j];
    }
    p->again[i] = etk__record_again(g, node, inputs);
    if (!p->again[i]) return etk_graph_status(e, g);
    for (int j = 0; j < node->output_count; j++) p->twin[node->outputs[j]->id] = p->again[i]->outputs[j];
  }
  return ETK_OK;
}

/* node: whose gradients are asked for; as: the node whose inputs and results its derivative reads. */
static etk_status reverse_node(etk_error *e, struct pass *p, const struct node *node, const struct node *as) {
  struct reverse r = {.graph = p->graph, .node = as};
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

static etk_status reverse_all(etk_error *e, struct pass *p, size_t nodes) {
  etk_graph *g = p->graph;
  etk_status status = etk_graph_status(e, g);
  for (size_t i = nodes; i-- && !status;) {
    const struct node *node = g->nodes[i];
    bool reached = false;
    for (int j = 0; j < node->output_count; j++) reached |= p->gradient[node->outputs[j]->id] != NULL;
    if (!reached) continue;
    if (node->part && node->part != p->part) status = record_part(e, p, i);
    if (!status) status = reverse_node(e, p, node, p->again[i] ? p->again[i] : node);
  }
  return status;
}

static etk_status run(etk_error *e, struct pass *p, etk_tensor *loss, etk_tensor *const *wrt, size_t count, etk_tensor **grads) {
  etk_graph *g = p->graph;
  etk_status status = mark(e, p, wrt, count);
  if (status || !p->needed[loss->id]) return status;
  size_t tensors = g->tensor_count, nodes = g->node_count;
  int64_t part = g->part;
  g->part = 0; /* what the pass records is no part's */
  p->gradient[loss->id] = etk__fill(g, loss->shape, 1.0f);
  status = reverse_all(e, p, nodes);
  g->part = part;
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
  struct pass p = {.graph = g, .needed = etk_calloc(tensors, sizeof *p.needed), .gradient = etk_calloc(tensors, sizeof *p.gradient),
                   .twin = etk_calloc(tensors, sizeof *p.twin), .again = etk_calloc(g->node_count + 1, sizeof(struct node *))};
  etk_status status = p.needed && p.gradient && p.twin && p.again ? run(e, &p, loss, wrt, count, grads) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory for the reverse pass");
  etk_free(p.needed);
  etk_free(p.gradient);
  etk_free(p.twin);
  etk_free(p.again);
  return status;
}
