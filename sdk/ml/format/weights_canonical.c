/* The tensors of a container under the names, shapes and row order they have in a Hugging Face folder. */
#include "gguf_names.h"
#include "weights_internal.h"

#include <etk/parallel.h>
#include <stdio.h>
#include <string.h>

#include "ml/tensor/internal.h"

static const etk__gguf_table *table_of(const etk_weights *w) { return w->format == ETK_WEIGHTS_GGUF ? etk__gguf_table_find(w->facts.architecture) : NULL; }

etk_status etk__weights_canonical(etk_error *e, etk_weights *w, etk_weight *weight) {
  const etk__gguf_table *table = table_of(w);
  etk__gguf_place place;
  if (!table || !etk__gguf_parse_stored(&place, table, weight->name)) return ETK_OK;
  bool rotary = place.row->change == ETK__ROTARY_QUERY || place.row->change == ETK__ROTARY_KEY;
  if (rotary && w->facts.head_dim > 0 && w->facts.head_dim % 2 == 0) weight->rotary = w->facts.head_dim;
  if (place.row->change == ETK__STACKED) return ETK_OK;
  char name[256];
  weight->canonical = etk_arena_strdup(&w->arena, etk__gguf_canonical_name(name, sizeof name, table, &place));
  return weight->canonical ? ETK_OK : etk_fail_memory(e);
}

/* ---- one tensor ---- */

/* How a stored tensor becomes Hugging Face's. */
struct taking {
  etk_weights *w;
  const etk_weight *weight;
  etk__gguf_change change;
  bool bias;
  int64_t expert;            /* of a stack; -1 */
  int64_t heads, head_dim;   /* of what moves rows */
  etk_shape shape;           /* Hugging Face's */
};

static etk_status wrong_shape(etk_error *e, const struct taking *t, const char *wanted) {
  char shape[160];
  return etk_fail(e, ETK_E_FORMAT, "%s: tensor %s has the shape %s; %s", t->w->path, t->weight->name,
                  etk_shape_text(shape, sizeof shape, &t->weight->shape), wanted);
}

static etk_status check_stack(etk_error *e, const struct taking *t) {
  int64_t experts = t->w->facts.num_experts;
  char wanted[160];
  snprintf(wanted, sizeof wanted, "(experts, rows, columns) with %lld experts is wanted, as %s.expert_count says", (long long)experts,
           t->w->facts.architecture);
  if (t->weight->shape.rank != 3 || t->weight->shape.dims[0] != experts) return wrong_shape(e, t, wanted);
  return t->expert < experts ? ETK_OK
                             : etk_fail(e, ETK_E_NOT_FOUND, "%s: tensor %s holds %lld experts; expert %lld is wanted", t->w->path, t->weight->name,
                                        (long long)experts, (long long)t->expert);
}

/* Rows that move do so within heads: their number must be the heads'. */
static etk_status check_heads(etk_error *e, struct taking *t, int64_t parts) {
  const etk_weights_facts *f = &t->w->facts;
  t->heads = t->change == ETK__ROTARY_KEY ? f->num_key_value_heads : f->num_attention_heads;
  t->head_dim = f->head_dim;
  if (t->heads <= 0 || t->head_dim <= 0)
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: tensor %s lies in an order that depends on the heads, and the file does not tell them; wanted %s.attention.head_count, one number above 0", t->w->path, t->weight->name, f->architecture);
  char wanted[160];
  int64_t rows = t->weight->shape.rank ? t->weight->shape.dims[0] : 0;
  snprintf(wanted, sizeof wanted, "%s%lld heads of %lld are wanted", parts > 1 ? "queries, keys and values of " : "", (long long)t->heads,
           (long long)t->head_dim);
  bool right = t->weight->shape.rank == (t->bias ? 1 : 2) && rows % parts == 0 && (rows / parts) % t->heads == 0 && rows / parts / t->heads == t->head_dim;
  if (!right) return wrong_shape(e, t, wanted);
  return parts == 1 && t->head_dim % 2 ? wrong_shape(e, t, "heads of an even size are wanted where neighbours turn") : ETK_OK;
}

static etk_status check_rank(etk_error *e, const struct taking *t, int rank, const char *wanted) {
  return t->weight->shape.rank == rank ? ETK_OK : wrong_shape(e, t, wanted);
}

/* Checks the stored shape and sets Hugging Face's. */
static etk_status check(etk_error *e, struct taking *t) {
  t->shape = t->weight->shape;
  const int64_t *dims = t->weight->shape.dims;
  etk_status status;
  switch (t->change) {
  case ETK__STACKED:
    status = check_stack(e, t);
    if (!status) t->shape = etk_shape_of(2, dims[1], dims[2]);
    return status;
  case ETK__ROTARY_QUERY: case ETK__ROTARY_KEY: return check_heads(e, t, 1);
  case ETK__REGROUPED: return check_heads(e, t, 3);
  case ETK__TRANSPOSED:
    status = check_rank(e, t, 2, "a matrix is wanted");
    if (!status) t->shape = etk_shape_of(2, dims[1], dims[0]);
    return status;
  case ETK__SQUEEZED:
    if (t->weight->shape.rank == 1) t->shape = etk_shape_of(2, 1, dims[0]);
    else if (t->weight->shape.rank != 2 || dims[0] != 1) return wrong_shape(e, t, "a vector is wanted");
    return ETK_OK;
  default: return ETK_OK;
  }
}

/* Finds what is stored for a name: a tensor of its own, or the stack of experts that holds it. */
static etk_status locate(etk_error *e, struct taking *t, etk_weights *w, const char *name) {
  const etk__gguf_table *table = table_of(w);
  etk__gguf_place place;
  *t = (struct taking){.w = w, .weight = etk_weights_find(w, name), .expert = -1};
  if (!t->weight && table && etk__gguf_parse_canonical(&place, table, name) && place.row->change == ETK__STACKED) {
    char stored[256];
    t->weight = etk_weights_find(w, etk__gguf_stored_name(stored, sizeof stored, &place));
    t->change = ETK__STACKED;
    t->expert = place.expert;
  } else if (t->weight && table && etk__gguf_parse_stored(&place, table, t->weight->name)) {
    bool moves = place.row->change == ETK__ROTARY_QUERY || place.row->change == ETK__ROTARY_KEY || place.row->change == ETK__REGROUPED;
    t->change = place.bias && !moves ? ETK__AS_IS : place.row->change;
    t->bias = place.bias;
    if (t->change == ETK__STACKED) t->change = ETK__AS_IS; /* the stack itself was asked for */
  }
  if (!t->weight) {
    const char *near = etk_weights_suggest(w, name);
    return etk_fail(e, ETK_E_NOT_FOUND, "%s: has no tensor %s%s%s", w->path, name, near ? "; the nearest name is " : "", near ? near : "");
  }
  if (t->weight->type < 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor %s is of type %s, which this version does not decode", w->path, t->weight->name, t->weight->type_name);
  return check(e, t);
}

static void release_owner(void *owner) { etk_weights_close(owner); }
static void release_memory(void *owner) { etk_free(owner); }

/* Shares the map, whose part it is. */
static etk_status share(etk_error *e, etk_tensor **out, const struct taking *t) {
  const void *stored;
  etk_status status = etk_weight_data(e, &stored, t->weight);
  if (status) return status;
  const char *data = stored;
  if (t->expert >= 0) data += (size_t)t->expert * (t->weight->bytes / (size_t)t->weight->shape.dims[0]);
  atomic_fetch_add(&t->w->references, 1);
  status = etk_tensor_wrap(e, out, (etk_dtype)t->weight->type, t->shape, data, release_owner, t->w);
  if (status) etk_weights_close(t->w);
  return status;
}

static etk_status own(etk_error *e, etk_tensor **out, etk_type type, etk_shape shape, void *memory) {
  etk_status status = memory ? etk_tensor_wrap(e, out, (etk_dtype)type, shape, memory, release_memory, memory) : etk_fail_memory(e);
  if (status) etk_free(memory);
  return status;
}

int64_t etk__gguf_regrouped_row(int64_t row, int64_t heads, int64_t head_dim) {
  int64_t head = row / (3 * head_dim), kind = row / head_dim % 3;
  return (kind * heads + head) * head_dim + row % head_dim;
}

struct moving {
  const struct taking *t;
  char *copy;
  etk_weight heads;
};
static void move_some(void *user, int64_t begin, int64_t end, int slot) {
  const struct moving *m = user;
  const struct taking *t = m->t;
  size_t bytes = t->weight->bytes / (size_t)t->weight->shape.dims[0];
  (void)slot;
  for (int64_t row = begin; row < end; row++) {
    int64_t from = t->change == ETK__REGROUPED ? etk__gguf_regrouped_row(row, t->heads, t->head_dim) : etk_weight_stored_row(&m->heads, row);
    memcpy(m->copy + (size_t)row * bytes, (const char *)t->weight->data + (size_t)from * bytes, bytes);
  }
}

/* A copy in the stored type: rows, and so blocks, stay whole. The file's pages are not wanted twice. */
static etk_status move_rows(etk_error *e, etk_tensor **out, const struct taking *t) {
  enum { GRAIN = 1 << 18 }; /* bytes that are worth another thread */
  int64_t rows = t->weight->shape.dims[0];
  struct moving m = {t, etk_alloc_aligned(t->weight->bytes, 64), {.rotary = t->head_dim ? t->head_dim : t->weight->rotary}};
  etk_map_wait(t->weight->data, t->weight->bytes);
  if (m.copy) etk_parallel_for(rows, 1 + GRAIN * rows / (int64_t)(t->weight->bytes + 1), move_some, &m);
  etk_map_forget(t->weight->data, t->weight->bytes);
  return own(e, out, (etk_type)t->weight->type, t->shape, m.copy);
}

/* Rows stay where they are: whoever decodes or repacks them takes them in order, and a product of floats turns what it gives. */
static etk_status turn_heads(etk_error *e, etk_tensor **out, const struct taking *t) {
  etk_type type = (etk_type)t->weight->type;
  bool floats = (type == (etk_type)ETK_F32 || type == (etk_type)ETK_F16 || type == (etk_type)ETK_BF16) && t->head_dim <= MOST_ROTARY;
  if ((!floats && !etk_type_is_block(type)) || t->weight->shape.rank != 2 || t->head_dim < 2) return move_rows(e, out, t);
  etk_status status = share(e, out, t);
  if (!status) (*out)->rotary = t->head_dim;
  return status;
}

static etk_status decoded(etk_error *e, float **out, const etk_weight *weight) {
  int64_t count = etk_weight_elements(weight);
  *out = etk_alloc_aligned((size_t)count * sizeof **out + 1, 64);
  if (!*out) return etk_fail_memory(e);
  etk_status status = etk_weight_decode(e, *out, weight, 0, count);
  if (status) etk_free(*out), *out = NULL;
  return status;
}

/* Types of 8 bits are decoded only: nothing computes with them. */
static etk_status widened(etk_error *e, etk_tensor **out, const struct taking *t) {
  float *values;
  etk_status status = decoded(e, &values, t->weight);
  return status ? status : own(e, out, (etk_type)ETK_F32, t->shape, values);
}

static etk_status one_less(etk_error *e, etk_tensor **out, const struct taking *t) {
  float *values;
  etk_status status = decoded(e, &values, t->weight);
  if (status) return status;
  for (int64_t i = 0, count = etk_weight_elements(t->weight); i < count; i++) values[i] -= 1;
  return own(e, out, (etk_type)ETK_F32, t->shape, values);
}

/* Plain types keep theirs; blocks lie along the stored rows, so they become F32. */
static etk_status transpose(etk_error *e, etk_tensor **out, const struct taking *t) {
  size_t rows = (size_t)t->weight->shape.dims[0], columns = (size_t)t->weight->shape.dims[1], size = sizeof(float);
  float *values = NULL;
  const char *from = t->weight->data;
  bool block = etk_type_is_block((etk_type)t->weight->type);
  etk_status status = block ? decoded(e, &values, t->weight) : ETK_OK;
  if (status) return status;
  if (block) from = (const char *)values;
  else size = etk_dtype_size((etk_dtype)t->weight->type);
  char *copy = etk_alloc_aligned(rows * columns * size, 64);
  for (size_t column = 0; copy && column < columns; column++)
    for (size_t row = 0; row < rows; row++) memcpy(copy + (column * rows + row) * size, from + (row * columns + column) * size, size);
  etk_free(values);
  return own(e, out, block ? (etk_type)ETK_F32 : (etk_type)t->weight->type, t->shape, copy);
}

etk_status etk_weights_tensor(etk_error *e, etk_tensor **out, etk_weights *w, const char *canonical, bool *transposed) {
  struct taking t;
  *out = NULL;
  if (transposed) *transposed = false;
  etk_status status = locate(e, &t, w, canonical);
  if (status) return status;
  if (etk_type_is_float8((etk_type)t.weight->type)) return widened(e, out, &t);
  switch (t.change) {
  case ETK__ROTARY_QUERY: case ETK__ROTARY_KEY: return turn_heads(e, out, &t);
  case ETK__REGROUPED: return move_rows(e, out, &t);
  case ETK__ONE_MORE: return one_less(e, out, &t);
  case ETK__TRANSPOSED:
    if (!transposed) return transpose(e, out, &t);
    *transposed = true;
    t.shape = t.weight->shape;
    return share(e, out, &t);
  default: return t.weight->rotary && t.change == ETK__AS_IS && t.weight->shape.rank ? move_rows(e, out, &t) : share(e, out, &t);
  }
}

/* ---- all of them ---- */

static bool is_rope_factors(const char *name) {
  static const char *const names[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};
  const char *last = name;
  if (!strncmp(name, "blk.", 4) && strchr(name + 4, '.')) last = strchr(name + 4, '.') + 1;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(last, names[i])) return true;
  return false;
}

/* A stack of another depth than the configuration's is listed as one tensor without a known name; taking an expert of it says why. So is one of countless
 * experts of nothing, whose names would take many times the file's own memory. */
static bool splits(const etk_weights *w, const etk_weight *stack) {
  enum { SMALLEST_BYTES = 64 };
  int64_t experts = w->facts.num_experts;
  return stack->shape.rank == 3 && stack->shape.dims[0] == experts && stack->bytes / (size_t)experts >= SMALLEST_BYTES;
}

/* The next expert of the stack that the walk stands at. */
static bool next_expert(const etk__gguf_table *table, etk__gguf_place *place, etk_weights_item *item) {
  if (++item->expert >= item->weight->shape.dims[0]) return item->expert = -1, false;
  place->expert = item->expert;
  /* The number stands in the Hugging Face name only. */
  item->name = etk__gguf_canonical_name(item->buffer, sizeof item->buffer, table, place);
  item->shape = etk_shape_of(2, item->weight->shape.dims[1], item->weight->shape.dims[2]);
  return true;
}

bool etk_weights_next(const etk_weights *w, etk_weights_item *item) {
  const etk__gguf_table *table = table_of(w);
  etk__gguf_place place;
  if (!item->weight) item->expert = -1;
  if (item->weight && item->expert >= 0 && etk__gguf_parse_stored(&place, table, item->weight->name) && next_expert(table, &place, item)) return true;
  while (item->next < w->count) {
    item->weight = &w->weights[item->next++];
    item->name = item->weight->canonical;
    item->shape = item->weight->shape;
    item->expert = -1;
    if (!table) return true;
    if (is_rope_factors(item->weight->name)) continue;
    if (!etk__gguf_parse_stored(&place, table, item->weight->name)) return true;
    if (place.row->change == ETK__STACKED && splits(w, item->weight)) return next_expert(table, &place, item);
    struct taking t = {.w = (etk_weights *)(uintptr_t)w, .weight = item->weight, .change = place.bias ? ETK__AS_IS : place.row->change};
    if ((t.change == ETK__TRANSPOSED || t.change == ETK__SQUEEZED) && !check(NULL, &t)) item->shape = t.shape;
    return true;
  }
  return false;
}
