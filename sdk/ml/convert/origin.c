/* The input's tensors under Hugging Face's names: as etk/weights.h gives them, but that the three of an MLX matrix (weight, scales, biases) are one, and its stacks of
 * experts are taken apart. */
#include "internal.h"
#include "ml/model/quantization.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct etk__origin {
  etk_arena arena;
  etk_weights *weights;
  etk__origin_item *items;
  size_t count, room;
  const etk__origin_item **by_name;
  struct quantization quantization; /* of MLX */
};

size_t etk__origin_count(const etk__origin *o) { return o->count; }
const etk__origin_item *etk__origin_at(const etk__origin *o, size_t index) { return index < o->count ? &o->items[index] : NULL; }

/* ---- items ---- */
static etk__origin_item *add(etk_error *e, etk__origin *o, const char *name) {
  if (o->count == o->room) {
    size_t room = o->room ? 2 * o->room : 256;
    etk__origin_item *grown = etk_realloc(o->items, room, sizeof *grown);
    if (!grown) return etk_fail_memory(e), NULL;
    o->items = grown;
    o->room = room;
  }
  etk__origin_item *item = &o->items[o->count];
  *item = (etk__origin_item){.name = etk_arena_strdup(&o->arena, name), .expert = -1};
  if (!item->name) return etk_fail_memory(e), NULL;
  o->count++;
  return item;
}

static const etk_weight *sibling(const etk__origin *o, const char *name, const char *leaf) {
  char buffer[512];
  const char *other = etk__quantization_beside(buffer, sizeof buffer, name, leaf);
  return other ? etk_weights_find(o->weights, other) : NULL;
}

static etk_status set_affine(etk_error *e, const etk__origin *o, etk__origin_item *item) {
  const etk_weight *w = item->weight, *s = item->scales, *b = item->biases;
  int group = 0, bits = 0;
  char module[512];
  snprintf(module, sizeof module, "%.*s", (int)(strlen(w->name) - strlen(".weight")), w->name);
  if (!b) return etk_fail(e, ETK_E_FORMAT, "%s: tensor %s has scales but no biases; MLX's affine codes want both", etk_weights_path(o->weights), w->name);
  if (!etk__quantization_of(&o->quantization, module, &bits, &group))
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor %s has scales, and config.json says that it is not quantized", etk_weights_path(o->weights), w->name);
  int rank = w->shape.rank;
  int64_t words = w->shape.dims[rank - 1], groups = s->shape.rank == rank ? s->shape.dims[rank - 1] : 0;
  bool known = (group == 32 || group == 64 || group == 128) && (bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8);
  bool fits = known && rank >= 2 && groups > 0 && words % bits == 0 && words / bits * 32 == groups * group && s->type == b->type &&
              etk_shape_equal(&s->shape, &b->shape);
  for (int i = 0; i + 1 < rank && fits; i++) fits = s->shape.dims[i] == w->shape.dims[i];
  if (fits && s->type != (int)ETK_F32 && s->type != (int)ETK_F16 && s->type != (int)ETK_BF16) fits = false;
  if (!fits) {
    char a[160], c[160];
    return etk_fail(e, ETK_E_FORMAT, "%s: tensor %s is %s with scales %s; that is not what %d bits in groups of %d make", etk_weights_path(o->weights), w->name,
                    etk_shape_text(a, sizeof a, &w->shape), etk_shape_text(c, sizeof c, &s->shape), bits, group);
  }
  item->affine = (etk_affine){bits, group, (etk_dtype)s->type};
  item->shape.dims[item->shape.rank - 1] = groups * group;
  item->type_name = "AFFINE";
  return ETK_OK;
}

/* "….switch_mlp.gate_proj.weight" holds the experts of a layer. */
static bool expert_name(char *out, size_t size, const char *architecture, const char *name, int64_t expert) {
  static const char *const projections[][2] = {{"gate_proj", "w1"}, {"down_proj", "w2"}, {"up_proj", "w3"}};
  const char *stack = strstr(name, ".switch_mlp.");
  bool mixtral = !strcmp(architecture, "mixtral");
  for (int i = 0; stack && i < 3; i++) {
    const char *part = stack + strlen(".switch_mlp.");
    size_t length = strlen(projections[i][0]);
    if (strncmp(part, projections[i][0], length) || part[length] != '.') continue;
    snprintf(out, size, "%.*s.experts.%lld.%s%s", (int)(stack - name), name, (long long)expert, mixtral ? projections[i][1] : projections[i][0], part + length);
    return true;
  }
  return false;
}

static etk_status fill_item(etk_error *e, etk__origin *o, etk__origin_item *item, const etk_weight *weight) {
  item->weight = weight;
  item->stored = weight->name;
  item->type_name = weight->type_name;
  item->shape = weight->shape;
  item->bytes = weight->bytes;
  item->scales = o->quantization.present && weight->type == (int)ETK_U32 ? sibling(o, weight->name, "scales") : NULL;
  if (!item->scales) return ETK_OK;
  item->biases = sibling(o, weight->name, "biases");
  if (item->biases) item->bytes += item->scales->bytes + item->biases->bytes;
  return set_affine(e, o, item);
}

static etk_status add_stack(etk_error *e, etk__origin *o, const etk_weight *weight) {
  const char *architecture = etk_weights_get_facts(o->weights)->architecture;
  for (int64_t i = 0; i < weight->shape.dims[0]; i++) {
    char name[512];
    expert_name(name, sizeof name, architecture, weight->name, i);
    etk__origin_item *item = add(e, o, name);
    etk_status status = item ? fill_item(e, o, item, weight) : etk_fail_memory(e);
    if (status) return status;
    item->expert = i;
    item->bytes /= (size_t)weight->shape.dims[0];
    item->shape = etk_shape_of(2, item->shape.dims[1], item->shape.dims[2]);
  }
  return ETK_OK;
}

static etk_status add_all(etk_error *e, etk__origin *o) {
  etk_weights_item next = {0};
  while (etk_weights_next(o->weights, &next)) {
    const etk_weight *weight = next.weight;
    char name[512];
    if (etk__quantization_codes(&o->quantization, o->weights, weight->name) || etk__is_record(weight, o->weights)) continue;
    bool stack = next.expert < 0 && weight->shape.rank == 3 && weight->shape.dims[0] > 0 &&
                 expert_name(name, sizeof name, etk_weights_get_facts(o->weights)->architecture, weight->name, 0);
    etk_status status = ETK_OK;
    if (stack) status = add_stack(e, o, weight);
    else {
      etk__origin_item *item = add(e, o, next.name);
      status = item ? fill_item(e, o, item, weight) : etk_fail_memory(e);
      if (!status && !item->scales) item->shape = next.shape;
      if (!status && next.expert >= 0 && weight->shape.dims[0] > 0) item->bytes /= (size_t)weight->shape.dims[0];
    }
    if (status) return status;
  }
  return ETK_OK;
}

static int compare(const void *a, const void *b) { return strcmp((*(etk__origin_item *const *)a)->name, (*(etk__origin_item *const *)b)->name); }

static etk_status sort(etk_error *e, etk__origin *o) {
  o->by_name = etk_alloc((o->count + 1) * sizeof *o->by_name);
  if (!o->by_name) return etk_fail_memory(e);
  for (size_t i = 0; i < o->count; i++) o->by_name[i] = &o->items[i];
  qsort(o->by_name, o->count, sizeof *o->by_name, compare);
  for (size_t i = 1; i < o->count; i++)
    if (!strcmp(o->by_name[i - 1]->name, o->by_name[i]->name))
      return etk_fail(e, ETK_E_FORMAT, "%s: two tensors, %s and %s, are both %s", etk_weights_path(o->weights), o->by_name[i - 1]->stored,
                      o->by_name[i]->stored, o->by_name[i]->name);
  return ETK_OK;
}

const etk__origin_item *etk__origin_find(const etk__origin *o, const char *name) {
  size_t low = 0, high = o->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, o->by_name[middle]->name);
    if (!order) return o->by_name[middle];
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return NULL;
}

etk_status etk__origin_new(etk_error *e, etk__origin **out, etk_weights *weights) {
  etk__origin *o = etk_calloc(1, sizeof *o);
  *out = NULL;
  if (!o) return etk_fail_memory(e);
  o->weights = weights;
  etk_status status = etk__quantization_open(e, &o->quantization, weights);
  if (!status) status = add_all(e, o);
  if (!status) status = sort(e, o);
  if (status) etk__origin_free(o);
  else *out = o;
  return status;
}

void etk__origin_free(etk__origin *o) {
  if (!o) return;
  etk__quantization_fini(&o->quantization);
  etk_free(o->by_name);
  etk_free(o->items);
  etk_arena_fini(&o->arena);
  etk_free(o);
}

/* ---- tensors ---- */
static void release(void *owner) { etk_tensor_unref(owner); }

/* One matrix of a stack. */
static etk_status slice(etk_error *e, etk_tensor **tensor, int64_t expert) {
  etk_tensor *whole = *tensor, *part = NULL;
  const etk_shape *shape = etk_tensor_shape(whole);
  const char *data = etk_tensor_data(whole);
  size_t bytes = etk_tensor_bytes(whole) / (size_t)shape->dims[0];
  etk_status status = etk_tensor_wrap(e, &part, etk_tensor_dtype(whole), etk_shape_of(2, shape->dims[1], shape->dims[2]),
                                      data + (size_t)expert * bytes, release, whole);
  if (status) return status;
  *tensor = part;
  return ETK_OK;
}

static etk_status stored(etk_error *e, etk_tensor **out, const etk__origin *o, const char *name, int64_t expert) {
  etk_status status = etk_weights_tensor(e, out, o->weights, name, NULL);
  if (!status && expert >= 0) status = slice(e, out, expert);
  if (!status) return ETK_OK;
  etk_tensor_unref(*out);
  *out = NULL;
  return status;
}

etk_status etk__origin_tensor(etk_error *e, etk_tensor **out, const etk__origin *o, const etk__origin_item *item) {
  *out = NULL;
  if (!item->scales) return stored(e, out, o, item->expert >= 0 ? item->stored : item->name, item->expert);
  etk_tensor *words = NULL, *scales = NULL, *biases = NULL;
  etk_status status = stored(e, &words, o, item->stored, item->expert);
  if (!status) status = stored(e, &scales, o, item->scales->name, item->expert);
  if (!status) status = stored(e, &biases, o, item->biases->name, item->expert);
  if (!status) status = etk_tensor_new_affine(e, out, item->affine.bits, item->affine.group, words, scales, biases);
  etk_tensor_unref(words), etk_tensor_unref(scales), etk_tensor_unref(biases);
  return status;
}

/* ---- as a source of GGUF's names ---- */
static const char *source_at(void *user, size_t index, etk_shape *shape) {
  const etk__origin *o = user;
  *shape = o->items[index].shape;
  return o->items[index].name;
}
static etk_status source_tensor(etk_error *e, void *user, etk_tensor **out, const char *name) {
  const etk__origin *o = user;
  const etk__origin_item *item = etk__origin_find(o, name);
  return item ? etk__origin_tensor(e, out, o, item) : etk_fail(e, ETK_E_NOT_FOUND, "%s: has no tensor %s", etk_weights_path(o->weights), name);
}
void etk__origin_source(etk__gguf_source *out, etk__origin *o) { *out = (etk__gguf_source){o, o->count, source_at, source_tensor}; }
