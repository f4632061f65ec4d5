/* Opening models: one way through etk/weights.h for every container. A Hugging Face folder (or a weight file in it) has its configuration in config.json, a
 * GGUF file in its keys, a llama2.c checkpoint in its header. Matrices stay as they are stored; see etk_model_options. */
#include "config.h"
#include "ml/format/gguf_names.h"
#include "ml/format/stem.h"
#include "ml/format/weights_internal.h"
#include "ml/tensor/internal.h"
#include "quantization.h"

#include <etk/fs.h>
#include <etk/weights.h>

struct opening {
  etk_weights *weights;
  const char *path;
  etk_model_config config;
  const struct family *family;
  struct quantization quantization;
  bool trainable, decoded;
};

/* ---- names ---- */

/* The name that the container has for a weight; NULL: none. out: memory for it. */
static const char *find_name(const struct opening *o, const char *name, char *out, size_t size) {
  for (int i = 0;; i++) {
    const char *here = etk__name_spelling(&o->config, o->family, i, name, out, size);
    if (!here || etk_weights_find(o->weights, here)) return here;
  }
}

/* ---- one weight ---- */

static etk_status convert(etk_error *e, etk_tensor **tensor, etk_dtype dtype) {
  etk_tensor *from = *tensor;
  etk_map_wait(from->data, from->bytes);
  etk_status status = etk_tensor_cast(e, tensor, from, dtype);
  etk_tensor_unref(from);
  return status;
}

static bool misaligned(const etk_tensor *t) {
  size_t size = etk_dtype_size(etk_tensor_dtype(t));
  return size && (uintptr_t)t->data % size;
}

/* What the model keeps: matrices as they are where they can be computed with, everything else as F32. */
static etk_status keep(etk_error *e, const struct opening *o, etk_tensor **tensor, const char *name) {
  etk_dtype dtype = etk_tensor_dtype(*tensor);
  bool integers = dtype != ETK_F64 && dtype > ETK_BF16 && dtype < ETK_DTYPE_COUNT;
  if (integers) {
    etk_tensor_unref(*tensor);
    *tensor = NULL;
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor %s is of type %s, which are no weights of a model%s", o->path, name, etk_dtype_name(dtype),
                    dtype == ETK_U32 && !o->quantization.present ? " (MLX's codes need \"quantization\" in config.json)" : "");
  }
  bool matrix = etk_tensor_shape(*tensor)->rank == 2;
  etk_status status = misaligned(*tensor) ? convert(e, tensor, dtype) : ETK_OK;
  bool stays = !o->trainable && (dtype == ETK_F32 || (matrix && dtype != ETK_F64 && !o->decoded));
  if (!status && !stays) status = convert(e, tensor, ETK_F32);
  if (!status) etk_tensor_set_trainable(*tensor, o->trainable);
  return status;
}

static etk_status fetch_beside(etk_error *e, const struct opening *o, etk_tensor **out, const char *name, const char *leaf) {
  char buffer[512];
  const char *beside = etk__quantization_beside(buffer, sizeof buffer, name, leaf);
  if (beside && etk_weights_find(o->weights, beside)) return etk_weights_tensor(e, out, o->weights, beside, NULL);
  return etk_fail(e, ETK_E_FORMAT, "%s: the quantized tensor %s needs %s, which is missing", o->path, name, beside ? beside : leaf);
}

/* MLX's three tensors of a quantized weight. `name` is the module's in the architecture, `stored` that in the files. Consumes words. */
static etk_status join_affine(etk_error *e, const struct opening *o, etk_tensor **out, etk_tensor *words, const char *name, const char *stored) {
  etk_tensor *scales = NULL, *biases = NULL;
  char module[512];
  int bits, group;
  snprintf(module, sizeof module, "%.*s", (int)(strlen(stored) - strlen(".weight")), stored);
  bool quantized = etk__quantization_of(&o->quantization, module, &bits, &group);
  etk_status status = quantized ? fetch_beside(e, o, &scales, stored, "scales")
                                : etk_fail(e, ETK_E_FORMAT, "%s: tensor %s is quantized, config.json says that it is not (\"quantization\": {\"%s\": false})", o->path, name, module);
  if (!status) status = fetch_beside(e, o, &biases, stored, "biases");
  if (!status) {
    status = etk_tensor_new_affine(e, out, bits, group, words, scales, biases);
    if (status) etk_error_while(e, status, "while reading the tensor %s of %s", name, o->path);
  }
  etk_tensor_unref(words);
  etk_tensor_unref(scales);
  etk_tensor_unref(biases);
  return status;
}

static etk_status missing(etk_error *e, const struct opening *o, const char *name) {
  const char *near = etk_weights_suggest(o->weights, name);
  return etk_fail(e, ETK_E_FORMAT,
                  "%s has no tensor %s, which the architecture needs (it holds %zu tensors%s%s; does its configuration belong to it?)", o->path, name,
                  etk_weights_count(o->weights), near ? ", the nearest name is " : "", near ? near : "");
}

static etk_status fetch(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape, bool *swapped) {
  const struct opening *o = user;
  char buffer[512];
  const char *stored = find_name(o, name, buffer, sizeof buffer);
  etk_error first = ETK_ERROR_INIT;
  (void)shape;
  *out = NULL;
  etk_status status = etk_weights_tensor(&first, out, o->weights, stored ? stored : name, o->trainable ? NULL : swapped);
  if (status == ETK_E_NOT_FOUND) return missing(e, o, name);
  if (status) return etk_fail(e, status, "%s", first.message);
  bool codes = o->quantization.present && etk_tensor_dtype(*out) == ETK_U32 && stored && etk__stem(stored, ".weight");
  if (codes) status = join_affine(e, o, out, *out, name, stored);
  if (status) *out = NULL;
  return status ? status : keep(e, o, out, name);
}

/* ---- what is left over ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

struct expected {
  const char **names;
  size_t count;
};

/* Is it one of the model's weights, under any of its spellings? */
static bool expects(const struct expected *x, const struct opening *o, const char *name) {
  char whole[512];
  const char *plain = name, *prefix = o->family->optional_prefix;
  if (o->config.text_part && !strncmp(name, "language_model.", 15)) plain = name + 15;
  else if (o->config.text_part && !strncmp(name, "model.language_model.", 21)) {
    snprintf(whole, sizeof whole, "model.%s", name + 21);
    plain = whole;
  } else if (prefix && strncmp(name, prefix, strlen(prefix))) {
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    plain = bsearch(&plain, x->names, x->count, sizeof *x->names, by_name) ? name : whole;
  }
  return bsearch(&plain, x->names, x->count, sizeof *x->names, by_name) != NULL;
}

static bool is_beside(const struct expected *x, const struct opening *o, const char *name) {
  const etk_weight *codes = etk__quantization_codes(&o->quantization, o->weights, name);
  return codes && expects(x, o, codes->name);
}

/* Every tensor must be one the architecture has: a leftover means that configuration and weights do not belong together. */
static etk_status check_leftovers(etk_error *e, const etk_model *m, const struct opening *o) {
  struct expected x = {etk_alloc((m->weight_count + 1) * sizeof *x.names), m->weight_count};
  if (!x.names) return etk_fail_memory(e);
  for (size_t i = 0; i < x.count; i++) x.names[i] = m->weights[i].name;
  qsort(x.names, x.count, sizeof *x.names, by_name);
  etk_weights_item item = {0};
  etk_status status = ETK_OK;
  while (!status && etk_weights_next(o->weights, &item)) {
    if (expects(&x, o, item.name) || etk__model_derives(m, item.name) || is_beside(&x, o, item.name) ||
        (o->config.text_part && etk__name_is_of_vision(item.name))) continue;
    status = etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which %s's architecture does not have",
                      etk_weights_part_path(o->weights, (size_t)item.weight->part), item.weight->name,
                      m->gguf || m->llama2c ? "the file" : "config.json");
  }
  etk_free(x.names);
  return status;
}

/* ---- configurations ---- */

static etk_status read_generation_config(etk_error *e, struct opening *o, const char *folder) {
  char *path = etk_path_join(folder, "generation_config.json");
  json_t *root = NULL;
  if (!path) return etk_fail_memory(e);
  etk_status status = etk_fs_exists(path) ? etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false) : ETK_OK;
  if (!status) status = etk__config_add_ends(e, &o->config, path, root);
  json_decref(root);
  etk_free(path);
  return status;
}

static etk_status is_adapter(etk_error *e, const char *path) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s is an adapter, which changes a model and is none itself; the model that it was made for is wanted, with the adapter beside it (--adapter-path)", path);
}

static bool has_adapter(const char *folder) {
  char *path = etk_path_join(folder, "adapter_config.json");
  bool there = path && etk_fs_exists(path);
  etk_free(path);
  return there;
}

static etk_status read_folder_config(etk_error *e, struct opening *o, const char *folder) {
  char *path = etk_path_join(folder, "config.json");
  json_t *root = NULL;
  if (!path) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  bool there = etk_fs_exists(path);
  if (!there && has_adapter(folder)) status = is_adapter(e, o->path);
  else if (!there)
    status = etk_fail(e, ETK_E_NOT_FOUND, "model %s has no config.json; wanted a Hugging Face model folder, a GGUF file or a llama2.c .bin", o->path);
  if (!status) status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
  if (!status) status = etk__config_from_json(e, &o->config, path, root);
  if (!status) status = etk__quantization_read(e, &o->quantization, path, root);
  json_decref(root);
  etk_free(path);
  return status ? status : read_generation_config(e, o, folder);
}

static etk_status read_llama2c_config(etk_error *e, struct opening *o) {
  etk__config_from_llama2c(&o->config, o->weights);
  return etk__model_config_check(e, &o->config, o->path);
}

static etk_status read_gguf_config(etk_error *e, struct opening *o) {
  const char *type = "";
  if (etk_gguf_find(o->weights->gguf, "general.type") && !etk_gguf_get_text(NULL, &type, o->weights->gguf, "general.type") && !strcmp(type, "adapter")) return is_adapter(e, o->path);
  return etk__config_from_gguf(e, &o->config, o->weights);
}

/* config.json is read before weights are looked for: a folder without it is no model, whatever else it has. */
static etk_status read_config(etk_error *e, struct opening *o, bool folder) {
  if (folder) return read_folder_config(e, o, o->path);
  etk_weights_format format = etk_weights_get_format(o->weights);
  if (format == ETK_WEIGHTS_LLAMA2C) return read_llama2c_config(e, o);
  if (format == ETK_WEIGHTS_GGUF) return read_gguf_config(e, o);
  char *beside = etk_path_dir(o->path);
  etk_status status = beside ? read_folder_config(e, o, beside) : etk_fail_memory(e);
  etk_free(beside);
  return status;
}

/* A damaged count must not have us allocate: twice as many tensors as there are, and some, are let through to the message that names the first that
 * is missing. */
static etk_status check_counts(etk_error *e, const struct opening *o) {
  const etk_model_config *c = &o->config;
  size_t bytes = 0, tensors = etk_weights_count(o->weights), rows = 0;
  for (size_t i = 0; i < tensors; i++) bytes += etk_weights_at(o->weights, i)->bytes;
  for (int i = 0; i < o->family->layer_row_count; i++) rows += o->family->layer_rows[i].condition == IF_ALWAYS;
  double layers = (double)c->num_hidden_layers, experts = layers * (double)c->num_experts * o->family->expert_row_count;
  double most = etk_weights_get_format(o->weights) == ETK_WEIGHTS_GGUF ? (double)bytes / 16 : 2 * (double)tensors; /* GGUF stacks its experts */
  if (layers * (double)rows <= 2 * (double)tensors + 1000 && experts <= most + 1000) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT,
                  "%s: its configuration calls for %lld layers of %lld experts, for which its %zu tensors of %zu bytes are far too few", o->path,
                  (long long)c->num_hidden_layers, (long long)c->num_experts, tensors, bytes);
}

static etk_status build(etk_error *e, etk_model **out, struct opening *o) {
  etk_weights_format format = etk_weights_get_format(o->weights);
  o->family = etk__family_find(o->config.architecture);
  if (!o->family) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: models of type %s are not run by this version", o->path, o->config.architecture);
  struct weight_source source = {fetch, o, format == ETK_WEIGHTS_GGUF ? "its keys want" : format == ETK_WEIGHTS_LLAMA2C ? "its header wants"
                                 : "config.json wants"};
  etk_status status = check_counts(e, o);
  if (!status) status = etk__model_build(e, out, &o->config, o->path, &source);
  if (status) return status;
  (*out)->gguf = format == ETK_WEIGHTS_GGUF;
  (*out)->llama2c = format == ETK_WEIGHTS_LLAMA2C;
  status = check_leftovers(e, *out, o);
  if (!status) return ETK_OK;
  etk_model_unref(*out);
  *out = NULL;
  return status;
}

/* All weights are wanted, soon. */
static void read_ahead(const etk_weights *w) {
  int part = -1;
  for (size_t i = 0; i < etk_weights_count(w); i++) {
    const etk_weight *weight = etk_weights_at(w, i);
    if (weight->part == part || !weight->data) continue;
    part = weight->part;
    etk_map_read_ahead(weight->data);
  }
}

etk_status etk_model_open(etk_error *e, etk_model **out, const char *path, const etk_model_options *options) {
  *out = NULL;
  if (!etk_fs_exists(path))
    return etk_fail(e, ETK_E_NOT_FOUND,
                    "model %s: no such file or folder; wanted a Hugging Face folder (config.json, model.safetensors), a GGUF file or a llama2.c .bin", path);
  struct opening o = {.path = path, .trainable = options && options->trainable, .decoded = options && options->decoded};
  bool folder = etk_fs_is_dir(path);
  etk_status status = folder ? read_config(e, &o, true) : ETK_OK;
  if (!status) status = etk_weights_open(e, &o.weights, path);
  if (!status && !folder) status = read_config(e, &o, false);
  if (!status) read_ahead(o.weights);
  if (!status) status = build(e, out, &o);
  etk_weights_close(o.weights);
  etk__quantization_fini(&o.quantization);
  return status;
}
