/* Running a planned graph. Allocates once, at the first eval after a plan. */
#include "internal.h"

#include <etk/fs.h>
#include <etk/parallel.h>
#include <etk/text.h>

enum { SMALL_WEIGHT = 1 << 16 };

void etk__graph_set_debug_poison(etk_graph *g, bool on) { g->debug_poison = on; }
void etk__graph_set_workspace(etk_graph *g, struct workspace *workspace) { g->workspace = workspace; }

static void bind(etk_graph *g) {
  for (size_t i = 0; i < g->tensor_count; i++) {
    etk_tensor *t = g->tensors[i];
    const etk_tensor *storage = t->storage;
    if (storage->node) t->data = storage->buffer < 0 ? NULL : g->block + g->buffers[storage->buffer].offset;
  }
}

static etk_status check_limit(etk_error *e, const etk_graph *g) {
  char needs[32], has[32];
  if (!g->memory_limit || g->plan.peak_bytes <= g->memory_limit) return ETK_OK;
  return etk_fail(e, ETK_E_NO_MEMORY, "needs %s, have %s: try a smaller batch or shorter sequences", etk_format_size(needs, sizeof needs, (int64_t)g->plan.peak_bytes),
                  etk_format_size(has, sizeof has, (int64_t)g->memory_limit));
}

/* A block of `bytes`, or the workspace with at least as many: other graphs' results that lay there are lost. */
static unsigned char *take_block(const etk_graph *g, size_t bytes) {
  struct workspace *w = g->workspace;
  if (!w) return etk_alloc_aligned(bytes ? bytes : 1, ALIGNMENT);
  if (w->bytes >= bytes && w->data) return w->data;
  etk_free(w->data);
  w->data = etk_alloc_aligned(bytes ? bytes : 1, ALIGNMENT);
  w->bytes = w->data ? bytes : 0;
  return w->data;
}

static etk_status allocate(etk_error *e, etk_graph *g) {
  char needs[32];
  size_t bytes = g->plan.step_bytes + g->plan.scratch_bytes;
  g->block = take_block(g, bytes);
  if (!g->block)
    return etk_fail(e, ETK_E_NO_MEMORY, "needs %s for one step, which the system does not give: try a smaller batch or shorter sequences",
                    etk_format_size(needs, sizeof needs, (int64_t)bytes));
  g->block_bytes = bytes;
  bind(g);
  return ETK_OK;
}

/* 0xFF bytes are NaN in every floating type and -1 in every integer type. */
static void poison_dead(const etk_graph *g, int64_t now) {
  for (size_t i = 0; i < g->buffer_count; i++)
    if (g->buffers[i].last == now) memset(g->block + g->buffers[i].offset, 0xff, g->buffers[i].bytes);
}

etk_status etk__run_node(etk_error *e, const etk_graph *g, const struct node *node) {
  struct call call = {.node = node, .attributes = node->attributes, .scratch = g->block + g->plan.step_bytes, .threads = g->planned_threads, .compute = g->compute, .seed = g->seed, .step = g->step};
  for (int i = 0; i < node->input_count; i++)
    if (node->inputs[i]) call.in[i] = etk_tensor_view(node->inputs[i]);
  for (int i = 0; i < node->output_count; i++) call.out[i] = etk_tensor_view(node->outputs[i]);
  return node->op->forward(e, &call);
}

/* Weights of a file that is read ahead of use: to touch them before they are there would have them read in another order, which takes longer. Small ones are then
 * copied: reading them again would bring back a large page of what was let go of around them. */
static void await_weights(const struct node *node) {
  for (int i = 0; i < node->input_count; i++) {
    etk_tensor *t = node->inputs[i];
    if (!t || !t->source || t->data != t->source->data) continue;
    etk_map_wait(t->data, t->bytes);
    if (t->shape.rank == 1 && t->bytes <= SMALL_WEIGHT) t->data = etk__tensor_beside(t->source);
  }
}

etk_status etk_graph_eval(etk_error *e, etk_graph *g) {
  etk_status status = etk_graph_plan(e, g, NULL);
  if (!status) status = check_limit(e, g);
  bool moved = g->workspace && g->block && (g->block != g->workspace->data || g->block_bytes > g->workspace->bytes);
  if (!status && (!g->block || moved)) status = allocate(e, g);
  if (status) return status;
  if (g->debug_poison) memset(g->block, 0xff, g->block_bytes);
  for (size_t i = 0; i < g->node_count && !status; i++) {
    const struct node *node = g->nodes[i];
    if (!node->live || node->op->flags & OP_ALIAS) continue;
    if (!g->arrived) await_weights(node);
    status = etk__run_node(e, g, node);
    if (g->debug_poison) poison_dead(g, (int64_t)i);
  }
  if (!status) g->arrived = true;
  return status;
}
