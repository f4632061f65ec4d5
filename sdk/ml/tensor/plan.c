/* Which nodes run, and where their results lie: lifetimes, taking over a dying input's storage, offsets in one block. */
#include "internal.h"

#include <etk/parallel.h>

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Needed: what kept tensors follow from, and what has an effect. */
static size_t mark_live(etk_graph *g, bool *needed) {
  size_t live = 0;
  for (size_t i = 0; i < g->tensor_count; i++) needed[i] = g->tensors[i]->kept;
  for (size_t i = g->node_count; i--;) {
    struct node *node = g->nodes[i];
    node->live = node->op->flags & OP_ORDERED;
    for (int j = 0; j < node->output_count; j++) node->live |= needed[node->outputs[j]->id];
    for (int j = 0; j < node->input_count && node->live; j++)
      if (node->inputs[j]) needed[node->inputs[j]->id] = true;
    live += node->live && !(node->op->flags & OP_ALIAS);
  }
  return live;
}

/* By id of the storage: the last node that reads or writes it. */
static void find_last_uses(const etk_graph *g, int64_t *last) {
  for (size_t i = 0; i < g->tensor_count; i++) last[i] = -1;
  for (size_t i = 0; i < g->node_count; i++) {
    const struct node *node = g->nodes[i];
    if (!node->live) continue;
    for (int j = 0; j < node->input_count; j++)
      if (node->inputs[j]) last[node->inputs[j]->storage->id] = (int64_t)i;
    for (int j = 0; j < node->output_count; j++) last[node->outputs[j]->storage->id] = (int64_t)i;
  }
  for (size_t i = 0; i < g->tensor_count; i++)
    if (g->tensors[i]->kept) last[g->tensors[i]->storage->id] = INT64_MAX;
}

/* The buffer that output 0 may take over from an input that dies at node `now`, or -1. */
static int64_t buffer_to_take(const struct node *node, const int64_t *last, int64_t now) {
  for (int i = 0; i < node->input_count; i++) {
    if (!(node->op->flags & (unsigned)(OP_INPLACE_0 << i)) || !node->inputs[i]) continue;
    const etk_tensor *storage = node->inputs[i]->storage;
    if (storage->buffer < 0 || last[storage->id] != now || node->inputs[i]->bytes != node->outputs[0]->bytes) continue;
    bool shared = false;
    for (int j = 0; j < node->input_count; j++) shared |= j != i && node->inputs[j] && node->inputs[j]->storage == storage;
    if (!shared || node->op->flags & OP_ELEMENTWISE) return storage->buffer;
  }
  return -1;
}

/* What a buffer's content is when its turn comes: buffers change hands, so a storage's claim ends at its last use. */
static void assign_buffers(etk_graph *g, const int64_t *last) {
  g->buffer_count = 0;
  for (size_t i = 0; i < g->tensor_count; i++) g->tensors[i]->buffer = -1;
  for (size_t i = 0; i < g->node_count; i++) {
    struct node *node = g->nodes[i];
    if (!node->live || node->op->flags & OP_ALIAS) continue;
    for (int j = 0; j < node->output_count; j++) {
      etk_tensor *t = node->outputs[j];
      t->buffer = j == 0 ? buffer_to_take(node, last, (int64_t)i) : -1;
      if (t->buffer < 0) {
        t->buffer = (int64_t)g->buffer_count++;
        g->buffers[t->buffer] = (struct buffer){.bytes = aligned(t->bytes), .first = (int64_t)i};
      }
      g->buffers[t->buffer].last = last[t->id];
      g->plan.naive_bytes += aligned(t->bytes);
    }
  }
}

static int by_size(const void *a, const void *b) {
  const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->first < y->first ? -1 : x->first > y->first;
}

/* Largest first, each into the smallest gap that is free for its whole life (Pisarchyk & Lee 2020, "greedy by size"). */
static void place_buffers(etk_graph *g, struct buffer **order, struct buffer **placed) {
  size_t top = 0;
  for (size_t i = 0; i < g->buffer_count; i++) order[i] = &g->buffers[i];
  qsort(order, g->buffer_count, sizeof *order, by_size);
  for (size_t i = 0; i < g->buffer_count; i++) {
    struct buffer *b = order[i];
    size_t at = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (size_t j = 0; j < i; j++) { /* placed: by offset */
      const struct buffer *other = placed[j];
      if (other->last < b->first || other->first > b->last) continue;
      if (other->offset >= at && other->offset - at >= b->bytes && other->offset - at < best_gap) {
        best = at;
        best_gap = other->offset - at;
      }
      if (other->offset + other->bytes > at) at = other->offset + other->bytes;
    }
    b->offset = best == SIZE_MAX ? at : best;
    if (b->offset + b->bytes > top) top = b->offset + b->bytes;
    size_t j = i;
    for (; j > 0 && placed[j - 1]->offset > b->offset; j--) placed[j] = placed[j - 1];
    placed[j] = b;
  }
  g->plan.step_bytes = top;
}

static size_t largest_scratch(const etk_graph *g, int threads) {
  size_t largest = 0;
  for (size_t i = 0; i < g->node_count; i++) {
    const struct node *node = g->nodes[i];
    if (!node->live || !node->op->scratch) continue;
    size_t bytes = aligned(node->op->scratch(node, threads));
    if (bytes > largest) largest = bytes;
  }
  return largest;
}

/* Storage of an earlier plan goes; the new one comes with the next eval. */
static void drop_block(etk_graph *g) {
  if (!g->workspace) etk_free(g->block);
  g->block = NULL;
  g->block_bytes = 0;
  for (size_t i = 0; i < g->tensor_count; i++)
    if (g->tensors[i]->storage->node) g->tensors[i]->data = NULL;
}

static etk_status make_plan(etk_error *e, etk_graph *g, bool *needed, int64_t *last, struct buffer **order) {
  size_t outputs = 0;
  int threads = etk_parallel_threads();
  g->plan = (etk_plan){.nodes = mark_live(g, needed), .input_bytes = g->input_bytes};
  for (size_t i = 0; i < g->node_count; i++) outputs += (size_t)g->nodes[i]->output_count;
  etk_free(g->buffers);
  g->buffers = etk_calloc(outputs + 1, sizeof *g->buffers);
  if (!g->buffers) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for the plan of a graph");
  find_last_uses(g, last);
  assign_buffers(g, last);
  place_buffers(g, order, order + g->tensor_count);
  g->plan.scratch_bytes = largest_scratch(g, threads);
  g->plan.peak_bytes = g->plan.step_bytes + g->plan.scratch_bytes + g->plan.input_bytes;
  g->plan.naive_bytes += g->plan.scratch_bytes + g->plan.input_bytes;
  g->planned_threads = threads;
  return ETK_OK;
}

etk_status etk_graph_plan(etk_error *e, etk_graph *g, etk_plan *out) {
  if (g->status) return etk_graph_status(e, g);
  if (!g->planned || g->planned_threads != etk_parallel_threads()) {
    drop_block(g);
    size_t count = g->tensor_count + 1;
    bool *needed = etk_calloc(count, sizeof *needed);
    int64_t *last = etk_calloc(count, sizeof *last);
    struct buffer **order = etk_calloc(2 * count, sizeof *order);
    etk_status status = needed && last && order ? make_plan(e, g, needed, last, order) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory for the plan of a graph");
    etk_free(needed);
    etk_free(last);
    etk_free(order);
    if (status) return status;
    g->planned = true;
  }
  if (out) *out = g->plan;
  return ETK_OK;
}
