/* The list of tensors that a Hugging Face model has in GGUF, and their rows. */
#include "gguf_names.h"
#include "ml/tensor/internal.h"
#include "stem.h"
#include "weights_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FACTOR_TENSORS = 2 };

/* A tensor of the source and where it goes. */
struct item {
  etk__gguf_place place;
  const char *name;
  etk_shape shape;
  int order; /* 0: before the blocks, 1: in them, 2: behind */
  int row;   /* within its table */
};
/* What stands behind a target. */
struct made {
  etk__gguf_change change;
  int64_t heads, head_dim;
  int64_t rows;           /* of one expert */
  int which;              /* of the configuration's factors */
};

struct etk__gguf_names {
  etk_arena arena;
  etk_model_config config;
  const etk__gguf_table *table;
  etk__gguf_source source;
  etk__gguf_target *targets;
  struct made *made;
  size_t count;
  /* The source that is open. */
  const char *open_name;
  etk_tensor *open;
  float *whole; /* decoded, of what cannot be read by rows; NULL */
};

size_t etk__gguf_names_count(const etk__gguf_names *names) { return names->count; }
const etk__gguf_target *etk__gguf_names_at(const etk__gguf_names *names, size_t index) { return index < names->count ? &names->targets[index] : NULL; }

static void close_source(etk__gguf_names *names) {
  etk_tensor_unref(names->open);
  etk_free(names->whole);
  names->open = NULL;
  names->open_name = NULL;
  names->whole = NULL;
}

void etk__gguf_names_free(etk__gguf_names *names) {
  if (!names) return;
  close_source(names);
  etk_arena_fini(&names->arena);
  etk_free(names);
}

/* ---- the list ---- */

/* Buffers that older checkpoints carry beside their weights. */
static bool is_buffer(const char *name) {
  static const char *const tails[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"};
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
    if (etk__stem(name, tails[i])) return true;
  return false;
}

static int compare_items(const void *a, const void *b) {
  const struct item *x = a, *y = b;
  const int64_t keys[][2] = {{x->order, y->order}, {x->place.layer, y->place.layer}, {x->row, y->row}, {x->place.bias, y->place.bias},
                             {x->place.expert, y->place.expert}};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (keys[i][0] != keys[i][1]) return keys[i][0] < keys[i][1] ? -1 : 1;
  return 0;
}

static etk_status collect(etk_error *e, const etk__gguf_names *names, struct item *items, size_t *count) {
  for (size_t i = 0; i < names->source.count; i++) {
    struct item *item = &items[*count];
    item->name = names->source.at(names->source.user, i, &item->shape);
    if (!etk__gguf_parse_canonical(&item->place, names->table, item->name)) {
      if (is_buffer(item->name) || (names->config.text_part && etk__name_is_of_vision(item->name))) continue;
      return etk_fail(e, ETK_E_UNSUPPORTED, "tensor %s has no place in a GGUF file of the architecture %s, to which a model of type %s goes",
                      item->name, names->table->architecture, names->config.architecture);
    }
    const etk__gguf_row *row = item->place.row;
    if (row->role == ETK__ROLE_OUTPUT && names->config.tie_word_embeddings) continue;
    if (item->place.layer >= names->config.num_hidden_layers)
      return etk_fail(e, ETK_E_FORMAT, "tensor %s is of a layer behind the last; num_hidden_layers is %lld", item->name,
                      (long long)names->config.num_hidden_layers);
    for (int k = 0; k < item->shape.rank; k++)
      if (item->shape.dims[k] < 1) return etk_fail(e, ETK_E_FORMAT, "tensor %s has a dimension of 0, which GGUF does not hold", item->name);
    if (item->shape.rank < 1 || item->shape.rank > 4)
      return etk_fail(e, ETK_E_FORMAT, "tensor %s has %d dimensions; 1 to 4 are wanted", item->name, item->shape.rank);
    item->order = item->place.layer >= 0 ? 1 : !strncmp(row->gguf, "output", 6) ? 2 : 0;
    item->row = (int)(row - (item->place.layer >= 0 ? names->table->block : names->table->whole));
    ++*count;
  }
  return ETK_OK;
}

static etk_status wrong_shape(etk_error *e, const struct item *item, const char *wanted) {
  char shape[160];
  return etk_fail(e, ETK_E_FORMAT, "tensor %s has the shape %s; %s", item->name, etk_shape_text(shape, sizeof shape, &item->shape), wanted);
}

static etk_status check_heads(etk_error *e, const etk__gguf_names *names, const struct item *item, struct made *made, int64_t parts) {
  const etk_model_config *c = &names->config;
  made->heads = made->change == ETK__ROTARY_KEY ? c->num_key_value_heads : c->num_attention_heads;
  made->head_dim = c->head_dim;
  char wanted[160];
  snprintf(wanted, sizeof wanted, "%s%lld heads of %lld are wanted, as the configuration says", parts > 1 ? "queries, keys and values of " : "",
           (long long)made->heads, (long long)made->head_dim);
  int64_t rows = item->shape.dims[0];
  bool right = made->heads > 0 && made->head_dim > 0 && item->shape.rank == (item->place.bias ? 1 : 2) && rows % parts == 0 &&
               (rows / parts) % made->heads == 0 &&
               rows / parts / made->heads == made->head_dim;
  if (!right) return wrong_shape(e, item, wanted);
  return parts == 1 && made->head_dim % 2 ? wrong_shape(e, item, "heads of an even size are wanted where neighbours turn") : ETK_OK;
}

/* items[0 .. count): the experts of a stack, or one tensor. Sets the shape. */
static etk_status lay_out(etk_error *e, const etk__gguf_names *names, const struct item *items, size_t count, etk__gguf_target *target, struct made *made) {
  const struct item *item = &items[0];
  bool moves = item->place.row->change == ETK__ROTARY_QUERY || item->place.row->change == ETK__ROTARY_KEY || item->place.row->change == ETK__REGROUPED;
  made->change = item->place.bias && !moves ? ETK__AS_IS : item->place.row->change;
  target->shape = item->shape;
  const int64_t *dims = item->shape.dims;
  switch (made->change) {
  case ETK__ROTARY_QUERY: case ETK__ROTARY_KEY: return check_heads(e, names, item, made, 1);
  case ETK__REGROUPED: return check_heads(e, names, item, made, 3);
  case ETK__TRANSPOSED:
    if (item->shape.rank != 2) return wrong_shape(e, item, "a matrix is wanted");
    target->shape = etk_shape_of(2, dims[1], dims[0]);
    return ETK_OK;
  case ETK__SQUEEZED:
    if (item->shape.rank != 2 || dims[0] != 1) return wrong_shape(e, item, "one row is wanted");
    target->shape = etk_shape_of(1, dims[1]);
    return ETK_OK;
  case ETK__STACKED:
    for (size_t i = 0; i < count; i++) {
      if (items[i].place.expert != (int64_t)i || (int64_t)count != names->config.num_experts)
        return etk_fail(e, ETK_E_FORMAT, "tensor %s: the experts of a layer must be 0 to %lld, each once; %zu are there", items[i].name,
                        (long long)names->config.num_experts - 1, count);
      if (items[i].shape.rank != 2 || !etk_shape_equal(&items[i].shape, &item->shape))
        return wrong_shape(e, &items[i], "a matrix of the same shape as the other experts' is wanted");
    }
    made->rows = dims[0];
    target->shape = etk_shape_of(3, (int64_t)count, dims[0], dims[1]);
    return ETK_OK;
  default: return ETK_OK;
  }
}

static etk_status add_target(etk_error *e, etk__gguf_names *names, const struct item *items, size_t count) {
  const etk__gguf_place *place = &items[0].place;
  etk__gguf_target *target = &names->targets[names->count];
  struct made *made = &names->made[names->count];
  char name[256];
  const char **sources = etk_arena_array(&names->arena, count, sizeof *sources);
  *target = (etk__gguf_target){.name = etk_arena_strdup(&names->arena, etk__gguf_stored_name(name, sizeof name, place)), .sources = sources,
                               .source_count = count};
  if (!target->name || !sources) return etk_fail_memory(e);
  for (size_t i = 0; i < count; i++) {
    sources[i] = items[i].name;
    if (i && items[i].place.expert == items[i - 1].place.expert)
      return etk_fail(e, ETK_E_FORMAT, "tensors %s and %s would both be %s", items[i - 1].name, items[i].name, target->name);
  }
  etk_status status = lay_out(e, names, items, count, target, made);
  target->layer = (int)place->layer;
  target->role = place->bias ? ETK__ROLE_OTHER : place->row->role;
  target->plain = place->row->plain || place->bias || target->shape.rank == 1;
  names->count++;
  return status;
}

static bool same_target(const struct item *a, const struct item *b) {
  return a->order == b->order && a->place.layer == b->place.layer && a->row == b->row && a->place.bias == b->place.bias;
}

static etk_status add_factors(etk_error *e, etk__gguf_names *names) {
  const char *name;
  int64_t count;
  for (int which = 0; which < FACTOR_TENSORS && etk__config_gguf_factors(&names->config, which, &name, &count, NULL); which++) {
    etk__gguf_target *target = &names->targets[names->count];
    *target = (etk__gguf_target){.name = etk_arena_strdup(&names->arena, name), .shape = etk_shape_of(1, count), .layer = -1, .plain = true};
    names->made[names->count++] = (struct made){.which = which};
    if (!target->name) return etk_fail_memory(e);
  }
  return ETK_OK;
}

static etk_status make(etk_error *e, etk__gguf_names *names) {
  names->table = etk__gguf_table_of_model_type(names->config.architecture);
  char known[256];
  if (!names->table)
    return etk_fail(e, ETK_E_UNSUPPORTED, "a model of type \"%s\" has no place in GGUF that this version knows; the architectures it knows are %s",
                    names->config.architecture, etk__gguf_table_names(known, sizeof known));
  struct item *items = etk_arena_array(&names->arena, names->source.count + 1, sizeof *items);
  names->targets = etk_arena_array(&names->arena, names->source.count + FACTOR_TENSORS + 1, sizeof *names->targets);
  names->made = etk_arena_array(&names->arena, names->source.count + FACTOR_TENSORS + 1, sizeof *names->made);
  if (!items || !names->targets || !names->made) return etk_fail_memory(e);
  size_t count = 0;
  etk_status status = collect(e, names, items, &count);
  if (status) return status;
  qsort(items, count, sizeof *items, compare_items);
  bool factors = false;
  for (size_t i = 0, next; i < count && !status; i = next) {
    for (next = i + 1; next < count && same_target(&items[i], &items[next]);) next++;
    if (!factors && items[i].order) factors = true, status = add_factors(e, names);
    if (!status) status = add_target(e, names, &items[i], next - i);
  }
  return status;
}

etk_status etk__gguf_names_new(etk_error *e, etk__gguf_names **out, const etk_model_config *config, const etk__gguf_source *source) {
  *out = NULL;
  etk__gguf_names *names = etk_calloc(1, sizeof *names);
  if (!names) return etk_fail_memory(e);
  names->config = *config;
  names->source = *source;
  etk_status status = make(e, names);
  if (status) etk__gguf_names_free(names);
  else *out = names;
  return status;
}

/* ---- rows ---- */

static etk_status open_source(etk_error *e, etk__gguf_names *names, const char *name, const etk__gguf_target *target) {
  if (names->open_name == name) return ETK_OK;
  close_source(names);
  etk_status status = names->source.tensor(e, names->source.user, &names->open, name);
  if (status) return status;
  int64_t wanted = etk_shape_elements(&target->shape) / (int64_t)target->source_count;
  if (etk_tensor_elements(names->open) != wanted) {
    status = etk_fail(e, ETK_E_FORMAT, "tensor %s has %lld elements now and had %lld", name, (long long)etk_tensor_elements(names->open), (long long)wanted);
    close_source(names);
    return status;
  }
  names->open_name = name;
  return ETK_OK;
}

/* Rows of `columns` of the open tensor. */
static etk_status decode(etk_error *e, const etk__gguf_names *names, int64_t row, int64_t rows, int64_t columns, float *out) {
  size_t bytes;
  etk_type type = (etk_type)etk_tensor_dtype(names->open);
  if ((int)type >= (int)ETK_AFFINE) return etk__stored_decode_flat(out, names->open, row * columns, rows * columns), ETK_OK;
  etk_status status = etk_type_bytes(e, &bytes, type, 1, columns);
  if (status) return status;
  return etk_quant_decode(e, out, type, (const char *)etk_tensor_data(names->open) + (size_t)row * bytes, rows, columns);
}

/* The open tensor as a whole, decoded in its own rows. */
static etk_status decode_whole(etk_error *e, etk__gguf_names *names) {
  if (names->whole) return ETK_OK;
  const etk_shape *shape = etk_tensor_shape(names->open);
  int64_t columns = shape->dims[shape->rank - 1], rows = etk_tensor_elements(names->open) / columns;
  names->whole = etk_alloc_aligned((size_t)etk_tensor_elements(names->open) * sizeof(float), 64);
  if (!names->whole) return etk_fail_memory(e);
  etk_status status = decode(e, names, 0, rows, columns, names->whole);
  if (status) close_source(names);
  return status;
}

/* Where Hugging Face has the row that GGUF has at `row`. */
static int64_t source_row(const struct made *made, int64_t row) {
  int64_t d = made->head_dim, i = row % d, head = row / d;
  if (made->change == ETK__REGROUPED) return (head % made->heads * 3 + head / made->heads) * d + i;
  return head * d + i / 2 + (i % 2 ? d / 2 : 0);
}

static etk_status move_rows(etk_error *e, etk__gguf_names *names, const etk__gguf_target *target, const struct made *made, int64_t row, int64_t rows,
                            float *out) {
  int64_t columns = target->shape.rank > 1 ? target->shape.dims[1] : 1;
  etk_status status = ETK_OK;
  if (columns == 1) { /* a bias is one row, whose elements move */
    int64_t first = target->shape.rank > 1 ? row : 0, count = target->shape.rank > 1 ? rows : target->shape.dims[0];
    status = decode_whole(e, names);
    for (int64_t i = 0; i < count && !status; i++) out[i] = names->whole[source_row(made, first + i)];
    return status;
  }
  for (int64_t i = 0; i < rows && !status; i++) status = decode(e, names, source_row(made, row + i), 1, columns, out + i * columns);
  return status;
}

static etk_status transpose(etk_error *e, etk__gguf_names *names, const etk__gguf_target *target, int64_t row, int64_t rows, float *out) {
  etk_status status = decode_whole(e, names);
  int64_t all = target->shape.dims[0], columns = target->shape.dims[1];
  for (int64_t i = 0; i < rows && !status; i++)
    for (int64_t k = 0; k < columns; k++) out[i * columns + k] = names->whole[k * all + row + i];
  return status;
}

static etk_status unstack(etk_error *e, etk__gguf_names *names, const etk__gguf_target *target, const struct made *made, int64_t row, int64_t rows,
                          float *out) {
  int64_t columns = target->shape.dims[2];
  while (rows > 0) {
    int64_t expert = row / made->rows, first = row % made->rows, count = made->rows - first < rows ? made->rows - first : rows;
    etk_status status = open_source(e, names, target->sources[expert], target);
    if (!status) status = decode(e, names, first, count, columns, out);
    if (status) return status;
    row += count;
    rows -= count;
    out += count * columns;
  }
  return ETK_OK;
}

static etk_status put_factors(etk_error *e, const etk__gguf_names *names, const etk__gguf_target *target, int which, float *out) {
  const char *name;
  int64_t count;
  if (etk__config_gguf_factors(&names->config, which, &name, &count, NULL) && count == target->shape.dims[0] &&
      etk__config_gguf_factors(&names->config, which, &name, &count, out))
    return ETK_OK;
  return etk_fail(e, ETK_E_INVALID, "tensor %s: the configuration has no such factors", target->name);
}

etk_status etk__gguf_names_rows(etk_error *e, etk__gguf_names *names, size_t index, int64_t row, int64_t rows, float *out) {
  const etk__gguf_target *target = etk__gguf_names_at(names, index);
  if (!target) return etk_fail(e, ETK_E_INVALID, "tensor %zu of %zu was asked for", index, names->count);
  const struct made *made = &names->made[index];
  int64_t columns = target->shape.dims[target->shape.rank - 1], all = etk_shape_elements(&target->shape) / columns;
  if (row < 0 || rows < 0 || row > all || rows > all - row)
    return etk_fail(e, ETK_E_INVALID, "tensor %s: rows %lld and %lld more were asked for; it has %lld", target->name, (long long)row, (long long)rows,
                    (long long)all);
  if (!rows) return ETK_OK;
  if (!target->source_count) return put_factors(e, names, target, made->which, out);
  if (made->change == ETK__STACKED) return unstack(e, names, target, made, row, rows, out);
  etk_status status = open_source(e, names, target->sources[0], target);
  if (status) return status;
  if (made->change == ETK__TRANSPOSED) return transpose(e, names, target, row, rows, out);
  if (made->heads) return move_rows(e, names, target, made, row, rows, out);
  status = decode(e, names, row, rows, columns, out);
  for (int64_t i = 0; made->change == ETK__ONE_MORE && !status && i < rows * columns; i++) out[i] += 1;
  return status;
}
