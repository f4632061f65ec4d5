/* Recording: tensors and nodes in the graph's arena, errors that stick. */
#include "internal.h"

#include <stdarg.h>

static void init_poison(etk_graph *g) {
  g->poison = (etk_tensor){.dtype = ETK_F32, .shape = {4, {1, 1, 1, 1}}, .elements = 1, .bytes = sizeof(float), .graph = g, .id = -1, .buffer = -1};
  g->poison.storage = &g->poison;
}

etk_graph *etk_graph_new(void) {
  etk_graph *g = etk_calloc(1, sizeof *g);
  if (g) init_poison(g);
  return g;
}

void etk_graph_free(etk_graph *g) {
  if (!g) return;
  for (size_t i = 0; i < g->tensor_count; i++) {
    etk_tensor *t = g->tensors[i];
    if (t->source) etk_tensor_unref(t->source);
    if (t->input) etk_free(t->data);
  }
  etk_free(g->tensors);
  etk_free(g->nodes);
  etk_free(g->sources);
  etk_free(g->buffers);
  if (!g->workspace) etk_free(g->block);
  etk_arena_fini(&g->arena);
  etk_free(g);
}

bool etk__poisoned(const etk_tensor *t) { return t->graph && t == &t->graph->poison; }

etk_tensor *etk__poison(etk_graph *g, etk_status status, const char *format, ...) {
  if (!g->status) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(g->error.message, sizeof g->error.message, format, arguments);
    va_end(arguments);
    g->status = g->error.status = status;
  }
  return &g->poison;
}

static etk_tensor *no_memory(etk_graph *g) { return etk__poison(g, ETK_E_NO_MEMORY, "out of memory while recording operation %zu of a graph", g->node_count); }

etk_status etk_graph_status(etk_error *e, const etk_graph *g) { return g->status ? etk_fail(e, g->status, "%s", g->error.message) : ETK_OK; }

/* Room for one more item in an array of pointers. */
static bool grow(void **items, size_t count, size_t *capacity) {
  if (count < *capacity) return true;
  size_t wanted = *capacity ? *capacity * 2 : 64;
  void *grown = etk_realloc(*items, wanted, sizeof(void *));
  if (!grown) return false;
  *items = grown;
  *capacity = wanted;
  return true;
}

/* A tensor of the graph without storage; NULL: out of memory (the caller poisons). */
static etk_tensor *add_tensor(etk_graph *g, etk_dtype dtype, const etk_shape *shape) {
  void *items = g->tensors;
  bool room = grow(&items, g->tensor_count, &g->tensor_capacity);
  g->tensors = items;
  etk_tensor *t = room ? etk_arena_alloc(&g->arena, sizeof *t) : NULL;
  if (!t) return NULL;
  t->dtype = dtype;
  t->shape = *shape;
  t->elements = etk_shape_elements(shape);
  t->bytes = (size_t)t->elements * etk_dtype_size(dtype);
  t->graph = g;
  t->storage = t;
  t->buffer = -1;
  t->id = (int64_t)g->tensor_count;
  g->tensors[g->tensor_count++] = t;
  return t;
}

static bool shape_is_usable(const etk_shape *shape, etk_dtype dtype) {
  int64_t count = etk_shape_elements(shape);
  size_t bytes;
  return count > 0 && (unsigned)dtype < ETK_DTYPE_COUNT && !__builtin_mul_overflow((size_t)count, etk_dtype_size(dtype), &bytes) && bytes <= PTRDIFF_MAX / 4;
}

etk_tensor *etk_graph_input(etk_graph *g, etk_dtype dtype, etk_shape shape, const char *name) {
  char text[SHAPE_TEXT];
  if (g->status) return &g->poison;
  if (!shape_is_usable(&shape, dtype))
    return etk__poison(g, ETK_E_SHAPE, "input '%s': %s of rank %d is not a possible shape (at least one element)", name ? name : "",
                       etk_shape_text(text, sizeof text, &shape), shape.rank);
  etk_tensor *t = add_tensor(g, dtype, &shape);
  if (!t) return no_memory(g);
  t->data = etk_alloc_aligned(t->bytes, ALIGNMENT);
  if (!t->data) return no_memory(g);
  memset(t->data, 0, t->bytes);
  t->input = true;
  g->input_bytes += t->bytes;
  g->planned = false;
  return t;
}

void etk_graph_keep(etk_graph *g, etk_tensor *t) {
  if (!t || etk__poisoned(t) || t->graph != g || t->kept) return;
  t->kept = true;
  g->planned = false;
}

void etk_graph_set_memory_limit(etk_graph *g, size_t bytes) { g->memory_limit = bytes; }

void etk_graph_recompute(etk_graph *g, bool on) { g->part = on ? ++g->part_count : 0; }

void etk_graph_set_compute(etk_graph *g, etk_compute compute) {
  if (g->compute != compute) g->planned = false; /* scratch may differ */
  g->compute = compute;
}

void etk_graph_set_exact(etk_graph *g, bool on) { g->exact = on; }

static const char *const compute_names[] = {[ETK_COMPUTE_F32] = "float32", [ETK_COMPUTE_BF16] = "bfloat16"};
const char *etk_compute_name(etk_compute compute) { return (unsigned)compute < sizeof compute_names / sizeof *compute_names ? compute_names[compute] : "?"; }
bool etk_compute_parse(etk_compute *out, const char *name) {
  for (int i = 0; i < (int)(sizeof compute_names / sizeof *compute_names); i++)
    if (!strcmp(compute_names[i], name)) {
      *out = (etk_compute)i;
      return true;
    }
  return false;
}

void etk_graph_set_random(etk_graph *g, uint64_t seed, uint64_t step) {
  g->seed = seed;
  g->step = step;
}

/* ---- stand-ins for tensors from outside ---- */

static size_t slot_of(const etk_graph *g, const etk_tensor *t) {
  size_t mask = g->source_capacity - 1, i = (size_t)(((uintptr_t)t >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
  while (g->sources[i] && g->tensors[g->sources[i] - 1]->source != t) i = (i + 1) & mask;
  return i;
}

etk_tensor *etk__stand_in(const etk_graph *g, const etk_tensor *t) {
  if (t->graph) return t->graph == g ? (etk_tensor *)(uintptr_t)t : NULL;
  if (!g->source_capacity) return NULL;
  size_t found = g->sources[slot_of(g, t)];
  return found ? g->tensors[found - 1] : NULL;
}

static bool grow_sources(etk_graph *g) {
  if (2 * (g->source_count + 1) <= g->source_capacity) return true;
  size_t capacity = g->source_capacity ? g->source_capacity * 2 : 64, *sources = etk_calloc(capacity, sizeof *sources);
  if (!sources) return false;
  etk_free(g->sources);
  g->sources = sources;
  g->source_capacity = capacity;
  for (size_t i = 0; i < g->tensor_count; i++)
    if (g->tensors[i]->source) g->sources[slot_of(g, g->tensors[i]->source)] = i + 1;
  return true;
}

static etk_tensor *adopt(etk_graph *g, etk_tensor *t) {
  etk_tensor *known = etk__stand_in(g, t);
  if (known) return known;
  etk_tensor *own = grow_sources(g) ? add_tensor(g, t->dtype, &t->shape) : NULL;
  if (!own) return no_memory(g);
  own->data = t->data;
  own->bytes = t->bytes;
  own->parts = t->parts;
  own->rotary = t->rotary;
  own->source = etk_tensor_ref(t);
  g->sources[slot_of(g, t)] = (size_t)own->id + 1;
  g->source_count++;
  return own;
}

/* ---- nodes ---- */

static etk_tensor *check_input(etk_graph *g, const struct op *op, int index, etk_tensor *t) {
  char text[SHAPE_TEXT];
  if (!t) return etk__poison(g, ETK_E_INVALID, "%s: input %d is NULL", op->name, index);
  if (t->graph && t->graph != g) return etk__poison(g, ETK_E_INVALID, "%s: input %d belongs to another graph", op->name, index);
  if (etk__poisoned(t)) return t;
  etk_dtype wanted = op->integers >> index & 1 ? ETK_I32 : ETK_F32;
  bool stored = index < 2 && op->flags & (unsigned)(OP_STORED_0 << index) && etk__is_stored(t->dtype);
  if (t->dtype != wanted && !stored)
    return etk__poison(g, ETK_E_SHAPE, "%s: input %d %s is %s, wants %s%s", op->name, index, etk_shape_text(text, sizeof text, &t->shape),
                       etk_dtype_name(t->dtype), etk_dtype_name(wanted), wanted == ETK_F32 ? " (etk_tensor_cast converts)" : "");
  if (t->elements <= 0) return etk__poison(g, ETK_E_SHAPE, "%s: input %d %s has no elements", op->name, index, etk_shape_text(text, sizeof text, &t->shape));
  return t->graph ? t : adopt(g, t);
}

static bool add_outputs(etk_graph *g, struct node *node) {
  struct result results[MAX_OUTPUTS] = {{0}};
  int count = 0;
  etk_error error = ETK_ERROR_INIT;
  char text[SHAPE_TEXT];
  etk_status status = node->op->shape(&error, node, results, &count);
  if (status) {
    etk__poison(g, status, "%s", error.message);
    return false;
  }
  for (int i = 0; i < count; i++) {
    if (!shape_is_usable(&results[i].shape, results[i].dtype)) {
      etk__poison(g, ETK_E_SHAPE, "%s: a result of shape %s is not possible", node->op->name, etk_shape_text(text, sizeof text, &results[i].shape));
      return false;
    }
    etk_tensor *t = add_tensor(g, results[i].dtype, &results[i].shape);
    if (!t) {
      no_memory(g);
      return false;
    }
    t->node = node;
    node->outputs[node->output_count++] = t;
  }
  return true;
}

etk_tensor *etk__record(etk_graph *g, const struct op *op, etk_tensor *const *inputs, int count, const void *attributes, size_t size) {
  if (g->status) return &g->poison;
  struct node *node = etk_arena_alloc(&g->arena, sizeof *node);
  void *copy = node && size ? etk_arena_alloc(&g->arena, size) : NULL, *items = g->nodes;
  bool room = node && (copy || !size) && grow(&items, g->node_count, &g->node_capacity);
  g->nodes = items;
  if (!room) return no_memory(g);
  if (size) memcpy(copy, attributes, size);
  *node = (struct node){.op = op, .input_count = count, .attributes = copy, .attribute_bytes = size, .part = g->part};
  for (int i = 0; i < count; i++) {
    if (!inputs[i] && i >= op->inputs_min) continue;
    node->inputs[i] = check_input(g, op, i, inputs[i]);
    if (etk__poisoned(node->inputs[i])) return &g->poison;
  }
  if (!add_outputs(g, node)) return &g->poison;
  if (op->flags & OP_ALIAS) {
    etk_tensor *storage = node->inputs[0]->storage;
    node->outputs[0]->storage = storage;
    node->outputs[0]->data = storage->data; /* NULL until planned, for results */
  }
  g->nodes[g->node_count++] = node;
  g->planned = false;
  return node->outputs[0];
}

etk_tensor *etk__add_output(etk_graph *g, struct node *node, etk_shape shape) {
  if (g->status) return &g->poison;
  etk_tensor *t = node->output_count < MAX_OUTPUTS ? add_tensor(g, ETK_F32, &shape) : NULL;
  if (!t) return no_memory(g);
  t->node = node;
  g->planned = false;
  return node->outputs[node->output_count++] = t;
}

struct node *etk__record_again(etk_graph *g, const struct node *node, etk_tensor *const *inputs) {
  size_t before = g->node_count;
  etk__record(g, node->op, inputs, node->input_count, node->attributes, node->attribute_bytes);
  return g->node_count > before ? g->nodes[before] : NULL;
}

etk_tensor *etk__output(etk_tensor *first, int index) { return etk__poisoned(first) ? first : first->node->outputs[index]; }
