/* Adapters as lists of parts: collecting, checking, finding, and what all forms share. */
#include "adapter_parts.h"

#include "ml/format/json.h"
#include "ml/format/stem.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <math.h>

void etk__adapter_parts_fini(etk__adapter_parts *p) {
  for (size_t i = 0; i < p->leaf_count; i++) etk_tensor_unref(p->leaves[i].tensor);
  for (size_t i = 0; i < p->count; i++) {
    etk_tensor_unref(p->parts[i].a);
    etk_tensor_unref(p->parts[i].b);
    etk_tensor_unref(p->parts[i].magnitude);
  }
  for (size_t i = 0; i < p->saved_count; i++) etk_tensor_unref(p->saved[i].tensor);
  etk_free(p->leaves);
  etk__adapter_targets_free(p->targets);
  json_decref(p->config);
  etk_arena_fini(&p->arena);
  *p = (etk__adapter_parts){0};
}

const etk__adapter_ending *etk__adapter_ending_of(const etk__adapter_ending *endings, size_t count, const char *name, size_t *module_size) {
  for (size_t i = 0; i < count; i++)
    if ((*module_size = etk__stem(name, endings[i].text))) return &endings[i];
  return NULL;
}

etk_status etk__adapter_parts_add(etk_error *e, etk__adapter_parts *p, const char *module, size_t module_size, const char *name,
                                  etk__adapter_leaf_kind kind, bool embedding, etk_tensor *tensor) {
  if (p->leaf_count == p->leaf_room) {
    size_t room = p->leaf_room ? 2 * p->leaf_room : 64;
    etk__adapter_leaf *grown = etk_realloc(p->leaves, room, sizeof *grown);
    if (!grown) {
      etk_tensor_unref(tensor);
      return etk_fail_memory(e);
    }
    p->leaves = grown;
    p->leaf_room = room;
  }
  etk__adapter_leaf leaf = {etk_arena_strndup(&p->arena, module, module_size), etk_arena_strdup(&p->arena, name), kind, embedding, tensor};
  if (!leaf.module || !leaf.name) {
    etk_tensor_unref(tensor);
    return etk_fail_memory(e);
  }
  p->leaves[p->leaf_count++] = leaf;
  return ETK_OK;
}

static int compare_leaves(const void *a, const void *b) {
  const etk__adapter_leaf *x = a, *y = b;
  int order = strcmp(x->module, y->module);
  return order ? order : (int)x->kind - (int)y->kind;
}
static int compare_parts(const void *a, const void *b) { return strcmp(((const etk__adapter_part *)a)->module, ((const etk__adapter_part *)b)->module); }
static int compare_name(const void *name, const void *part) { return strcmp(name, ((const etk__adapter_part *)part)->module); }

void etk__adapter_parts_sort(etk__adapter_parts *p) {
  if (p->count) qsort(p->parts, p->count, sizeof *p->parts, compare_parts);
}
etk__adapter_part *etk__adapter_parts_find(const etk__adapter_parts *p, const char *module) {
  return p->count ? bsearch(module, p->parts, p->count, sizeof *p->parts, compare_name) : NULL;
}
etk__adapter_part *etk__adapter_parts_for(const etk__adapter_parts *p, const etk_model *model, const char *module) {
  char buffer[512];
  const char *name;
  etk__adapter_part *part = NULL;
  for (int i = 0; !part && (name = etk__name_spelling(&model->config, model->family, i, module, buffer, sizeof buffer)); i++)
    part = etk__adapter_parts_find(p, name);
  return part;
}

static bool is_weight(const etk_tensor *t) {
  etk_dtype dtype = etk_tensor_dtype(t);
  return dtype == ETK_F32 || dtype == ETK_F16 || dtype == ETK_BF16;
}

static etk_status scalar(etk_error *e, double *out, const etk__adapter_parts *p, const etk__adapter_leaf *leaf) {
  etk_tensor *wide = NULL;
  if (etk_tensor_elements(leaf->tensor) != 1)
    return etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has %lld values, wanted one", p->path, leaf->name, (long long)etk_tensor_elements(leaf->tensor));
  etk_dtype dtype = etk_tensor_dtype(leaf->tensor);
  if (dtype == ETK_I64 || dtype == ETK_I32) {
    int64_t whole = 0;
    int32_t narrow = 0;
    memcpy(dtype == ETK_I64 ? (void *)&whole : (void *)&narrow, etk_tensor_data(leaf->tensor), etk_dtype_size(dtype));
    *out = dtype == ETK_I64 ? (double)whole : narrow;
  } else {
    etk_status status = etk_tensor_cast(e, &wide, leaf->tensor, ETK_F64);
    if (status) return etk_error_while(e, status, "%s: tensor %s", p->path, leaf->name);
    memcpy(out, etk_tensor_data(wide), sizeof *out);
    etk_tensor_unref(wide);
  }
  if (!isfinite(*out)) return etk_fail(e, ETK_E_FORMAT, "%s: tensor %s is %g, no finite number", p->path, leaf->name, *out);
  return ETK_OK;
}

/* The part of leaves [first, first + count), which share a module. */
static etk_status take_part(etk_error *e, etk__adapter_parts *p, const etk__adapter_leaf *leaves, size_t count) {
  const etk__adapter_leaf *of[ETK__LEAF_KINDS] = {0};
  char x[96], y[96];
  for (size_t i = 0; i < count; i++) {
    if (of[leaves[i].kind]) return etk_fail(e, ETK_E_FORMAT, "%s: %s and %s mean the same", p->path, of[leaves[i].kind]->name, leaves[i].name);
    of[leaves[i].kind] = &leaves[i];
  }
  const etk__adapter_leaf *a = of[ETK__LEAF_A], *b = of[ETK__LEAF_B], *m = of[ETK__LEAF_MAGNITUDE];
  if (!a || !b)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s has no tensor beside it for the other half of the pair (%s is missing)", p->path, leaves[0].name, a ? "B" : "A");
  for (size_t i = 0; i < count; i++)
    if (leaves[i].kind != ETK__LEAF_ALPHA && !is_weight(leaves[i].tensor))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor %s is of type %s; F32, F16 and BF16 are read", p->path, leaves[i].name,
                      etk_dtype_name(etk_tensor_dtype(leaves[i].tensor)));
  const etk_shape *as = etk_tensor_shape(a->tensor), *bs = etk_tensor_shape(b->tensor);
  if (as->rank != 2 || bs->rank != 2 || as->dims[0] != bs->dims[1] || as->dims[0] < 1 || as->dims[0] > 65536 || as->dims[1] < 1 || bs->dims[0] < 1 ||
      a->embedding != b->embedding)
    return etk_fail(e, ETK_E_SHAPE, "%s: tensors %s and %s mean A %s and B %s; (rank, in) and (out, rank) with the same rank, 1 to 65536, are wanted",
                    p->path, a->name, b->name, etk_shape_text(x, sizeof x, as), etk_shape_text(y, sizeof y, bs));
  if (m && (etk_tensor_shape(m->tensor)->rank != 1 || etk_tensor_dim(m->tensor, 0) != bs->dims[0]))
    return etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, wanted (%lld) as B's rows", p->path, m->name,
                    etk_shape_text(x, sizeof x, etk_tensor_shape(m->tensor)), (long long)bs->dims[0]);
  double alpha = NAN;
  etk_status status = of[ETK__LEAF_ALPHA] ? scalar(e, &alpha, p, of[ETK__LEAF_ALPHA]) : ETK_OK;
  if (status) return status;
  p->parts[p->count++] = (etk__adapter_part){.module = a->module, .name = a->name, .a = etk_tensor_ref(a->tensor), .b = etk_tensor_ref(b->tensor),
                                             .magnitude = m ? etk_tensor_ref(m->tensor) : NULL, .scale = alpha / (double)as->dims[0],
                                             .embedding = a->embedding};
  return ETK_OK;
}

etk_status etk__adapter_parts_group(etk_error *e, etk__adapter_parts *p) {
  if (!p->leaf_count) return etk_fail(e, ETK_E_FORMAT, "%s holds no tensor of an adapter", p->path);
  qsort(p->leaves, p->leaf_count, sizeof *p->leaves, compare_leaves);
  p->parts = etk_arena_array(&p->arena, p->leaf_count, sizeof *p->parts);
  if (!p->parts) return etk_fail_memory(e);
  for (size_t first = 0, end; first < p->leaf_count; first = end) {
    for (end = first + 1; end < p->leaf_count && !strcmp(p->leaves[first].module, p->leaves[end].module);) end++;
    etk_status status = take_part(e, p, p->leaves + first, end - first);
    if (status) return status;
  }
  for (size_t i = 0; i < p->leaf_count; i++) etk_tensor_unref(p->leaves[i].tensor);
  p->leaf_count = 0;
  return ETK_OK;
}

/* ---- names ---- */

int64_t etk__module_layer(const char *module, const char **rest) {
  for (const char *dot = strchr(module, '.'); dot; dot = strchr(dot + 1, '.')) {
    const char *p = dot + 1;
    int64_t number = 0;
    while (*p >= '0' && *p <= '9' && number < 1000000) number = 10 * number + (*p++ - '0');
    if (p == dot + 1 || *p != '.') continue;
    if (rest) *rest = p + 1;
    return number;
  }
  if (rest) *rest = module;
  return -1;
}

bool etk__module_is_embedding(const char *module) {
  static const char *const names[] = {"embed_tokens", "wte", "wpe", "embed_in", "word_embeddings", "tok_embeddings"};
  const char *dot = strrchr(module, '.'), *last = dot ? dot + 1 : module;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i], last)) return true;
  return false;
}

/* ---- tensors ---- */

etk_status etk__adapter_transposed(etk_error *e, etk_tensor **out, const etk_tensor *in) {
  int64_t rows = etk_tensor_dim(in, 0), columns = etk_tensor_dim(in, 1);
  size_t size = etk_dtype_size(etk_tensor_dtype(in));
  etk_status status = etk_tensor_new(e, out, etk_tensor_dtype(in), etk_shape_of(2, columns, rows));
  if (status) return status;
  const unsigned char *from = etk_tensor_data(in);
  unsigned char *to = etk_tensor_data(*out);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) memcpy(to + (size_t)(c * rows + r) * size, from + (size_t)(r * columns + c) * size, size);
  return ETK_OK;
}

etk_status etk__adapter_gathered(etk_error *e, etk_tensor **out, const etk_tensor *in, int64_t (*from)(const void *user, int64_t row), const void *user) {
  int64_t rows = etk_tensor_dim(in, 0);
  size_t bytes = (size_t)etk_tensor_dim(in, 1) * etk_dtype_size(etk_tensor_dtype(in));
  etk_status status = etk_tensor_new(e, out, etk_tensor_dtype(in), *etk_tensor_shape(in));
  for (int64_t r = 0; r < rows && !status; r++)
    memcpy((char *)etk_tensor_data(*out) + (size_t)r * bytes, (const char *)etk_tensor_data(in) + (size_t)from(user, r) * bytes, bytes);
  return status;
}

/* ---- what forms and models ask of the parts ---- */

etk_status etk__adapter_need_plain(etk_error *e, const etk__adapter_parts *p, const char *what, bool magnitudes, bool embeddings) {
  if (p->saved_count)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s holds the whole weight %s (\"modules_to_save\"), for which %s has no place; only PEFT's form has",
                    p->path, p->saved[0].name, what);
  for (size_t i = 0; i < p->count; i++) {
    if (p->parts[i].magnitude && !magnitudes)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has a magnitude (DoRA), for which %s has no place; PEFT's and mlx-lm's forms have", p->path,
                      p->parts[i].module, what);
    if (p->parts[i].embedding && !embeddings)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s is an embedding, for which %s has no place", p->path, p->parts[i].module, what);
  }
  return ETK_OK;
}

etk_status etk__adapter_check_shape(etk_error *e, const etk__adapter_parts *p, const etk__adapter_part *part, int64_t out, int64_t in) {
  if (etk__part_out(part) == out && etk__part_in(part) == in) return ETK_OK;
  return etk_fail(e, ETK_E_SHAPE,
                  "%s: tensor %s and its pair are for a layer (%lld, %lld), this base model has (%lld, %lld): the adapter belongs to another model",
                      p->path, part->name,
                  (long long)etk__part_out(part), (long long)etk__part_in(part), (long long)out, (long long)in);
}

static bool is_outer(const etk__adapter_part *part, const etk_model *base) {
  if (etk__module_layer(part->module, NULL) >= 0) return false;
  return part->embedding || !strcmp(part->module, base->head.name) || !strcmp(part->module, "lm_head") || !strcmp(part->module, "embed_out");
}

etk_status etk__adapter_check_base(etk_error *e, const etk__adapter_parts *p, const etk_model *base) {
  size_t known = 0;
  const etk_model_config *c = &base->config;
  bool *seen = etk_calloc(p->count + 1, sizeof *seen);
  etk_status status = seen ? ETK_OK : etk_fail_memory(e);
  for (int i = 0; i < base->linear_count && !status; i++) {
    const struct linear *linear = base->linears[i];
    const etk__adapter_part *part = etk__adapter_parts_for(p, base, linear->name);
    if (!part) continue;
    known++;
    seen[part - p->parts] = true;
    status = etk__adapter_check_shape(e, p, part, etk__linear_out(linear), etk__linear_in(linear));
  }
  for (size_t i = 0; i < p->count && !status; i++) {
    const etk__adapter_part *part = &p->parts[i];
    if (seen[i]) continue;
    if (is_outer(part, base))
      status = etk__adapter_check_shape(e, p, part, part->embedding ? c->hidden_size : c->vocab_size, part->embedding ? c->vocab_size : c->hidden_size);
    else status = etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which fits no layer of the model %s (%zu of %zu do)", p->path, part->name,
                           etk_model_path(base), known, p->count);
  }
  etk_free(seen);
  return status;
}

/* ---- target_modules for parts that no list came with ---- */

static const char *last_part(const char *module) {
  const char *dot = strrchr(module, '.');
  return dot ? dot + 1 : module;
}

/* Adds `target` to the list where it is not yet; the list has room. */
static void add_target(const char **list, size_t *count, const char *target) {
  for (size_t i = 0; i < *count; i++)
    if (!strcmp(list[i], target)) return;
  list[(*count)++] = target;
}

static bool listed(const char *const *list, size_t count, const char *module) {
  for (size_t i = 0; i < count; i++)
    if (etk__names_module(list[i], module)) return true;
  return false;
}

enum { SHORT_TARGETS = 64, LAYERS = 4096 }; /* with more kinds of module or layers than that, modules are named one by one */

/* With the model at hand: do the last parts mean these parts and no other layer? */
static bool last_parts_suffice(const etk__adapter_parts *p, const etk_model *base, const char *const *list, size_t count) {
  for (int i = 0; i < base->linear_count; i++)
    if (listed(list, count, base->linears[i]->name) != (etk__adapter_parts_for(p, base, base->linears[i]->name) != NULL)) return false;
  return true;
}

/* Without it: are all parts of the usual form <prefix>.N.<block>.<name>, with the same names in each layer there is one of? */
static bool layers_are_alike(const etk__adapter_parts *p, size_t names, int64_t *layers, size_t *layer_count) {
  size_t count = 0;
  for (size_t i = 0; i < p->count; i++) {
    const char *rest;
    int64_t layer = etk__module_layer(p->parts[i].module, &rest);
    const char *dot = strchr(rest, '.'), *first = strchr(p->parts[i].module, '.');
    if (layer < 0 || !dot || strchr(dot + 1, '.') || (first[1] >= '0' && first[1] <= '9')) return false; /* PEFT finds a layer's number behind two names only */
    size_t k = 0;
    while (k < count && layers[k] != layer) k++;
    if (k == LAYERS) return false;
    if (k == count) layers[count++] = layer;
  }
  *layer_count = count;
  return count * names == p->count;
}

etk_status etk__adapter_derive_targets(etk_error *e, etk__adapter_parts *p, const etk_model *base) {
  const char **list = etk_arena_array(&p->arena, p->count, sizeof *list);
  int64_t *layers = etk_arena_array(&p->arena, p->count, sizeof *layers);
  if (!list || !layers) return etk_fail_memory(e);
  size_t count = 0, layer_count = 0;
  for (size_t i = 0; i < p->count && count <= SHORT_TARGETS; i++) add_target(list, &count, last_part(p->parts[i].module));
  bool exact = count <= SHORT_TARGETS && (base ? last_parts_suffice(p, base, list, count) : layers_are_alike(p, count, layers, &layer_count));
  if (!exact)
    for (count = 0; count < p->count; count++) list[count] = p->parts[count].module;
  p->options.target_modules = list;
  p->options.target_count = count;
  p->layers = exact && !base ? layers : NULL;
  p->layer_count = p->layers ? layer_count : 0;
  return ETK_OK;
}

/* ---- files ---- */

etk_status etk__adapter_write_safetensors(etk_error *e, const char *path, const etk__adapter_item *items, size_t count, const char *const *own,
                                          size_t own_count, etk__adapter_metadata metadata) {
  etk_safetensors_item *list = etk_calloc(count + 1, sizeof *list);
  const char **pairs = etk_calloc(2 * (own_count + metadata.count) + 1, sizeof *pairs);
  etk_status status = list && pairs ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < count && !status; i++) list[i] = (etk_safetensors_item){items[i].name, items[i].tensor, etk_tensor_dtype(items[i].tensor)};
  for (size_t i = 0; i < 2 * own_count && !status; i++) pairs[i] = own[i];
  for (size_t i = 0; i < 2 * metadata.count && !status; i++) pairs[2 * own_count + i] = metadata.pairs[i];
  if (!status) status = etk_safetensors_write(e, path, list, count, pairs, own_count + metadata.count, true);
  etk_free(list);
  etk_free(pairs);
  return status;
}

static const char *join(etk__adapter_parts *p, const char *a, const char *b) { return etk_arena_printf(&p->arena, "%s/%s", a, b); }

/* PEFT keeps an adapter whose name is not "default" in a folder of that name: the one such folder, NULL for none. */
static etk_status find_named(etk_error *e, etk__adapter_parts *p, const char **folder) {
  char **names = NULL, seen[256] = "";
  size_t count = 0, found = 0;
  etk_status status = etk_fs_list(e, &names, &count, *folder);
  if (status) return status;
  const char *inner = NULL, *outer = *folder;
  for (size_t i = 0; i < count; i++) {
    const char *path = join(p, outer, names[i]), *config = path ? join(p, path, "adapter_config.json") : NULL;
    if (!config) status = etk_fail_memory(e);
    if (status || !etk_fs_is_dir(path) || !etk_fs_exists(config)) continue;
    found++;
    inner = path;
    size_t used = strlen(seen);
    snprintf(seen + used, sizeof seen - used, "%s%s", used ? ", " : "", names[i]);
  }
  etk_fs_list_free(names, count);
  if (!status && found > 1) status = etk_fail(e, ETK_E_INVALID, "adapter %s holds %zu adapters (%s); name one of their folders", outer, found, seen);
  if (!status && found == 1) *folder = inner;
  return status;
}

etk_status etk__adapter_folder(etk_error *e, etk__adapter_parts *p, const char *path, const char *const *names, json_t **config) {
  if (!etk_fs_exists(path)) return etk_fail(e, ETK_E_NOT_FOUND, "adapter %s: no such folder or file", path);
  bool file = !etk_fs_is_dir(path);
  char *above = file ? etk_path_dir(path) : NULL;
  const char *folder = etk_arena_strdup(&p->arena, file ? above ? above : "" : path);
  etk_free(above);
  if (!folder || !*folder) return etk_fail_memory(e);
  if (!(p->config_path = join(p, folder, "adapter_config.json"))) return etk_fail_memory(e);
  if (!file && !etk_fs_exists(p->config_path)) {
    etk_status status = find_named(e, p, &folder);
    if (status) return status;
    if (!(p->config_path = join(p, folder, "adapter_config.json"))) return etk_fail_memory(e);
  }
  p->path = file ? etk_arena_strdup(&p->arena, path) : join(p, folder, names[0]);
  for (size_t i = 0; p->path && !file && names[i] && !etk_fs_exists(p->path); i++) p->path = join(p, folder, names[i]);
  if (!p->path) return etk_fail_memory(e);
  if (!etk_fs_exists(p->config_path) || !etk_fs_exists(p->path))
    return etk_fail(e, ETK_E_NOT_FOUND,
                    "adapter %s has no %s; wanted an adapter's folder: adapter_config.json with adapter_model.safetensors (PEFT) or adapters.safetensors (mlx-lm)", path, etk_fs_exists(p->config_path) ? names[0] : "adapter_config.json");
  return etk__json_read(e, config, p->config_path, ETK__CONFIG_LIMIT, false);
}
