/* Models: arrays, names, binding of weights by a table name -> shape, sharing. */
#include "internal.h"
#include "ml/format/stem.h"
#include "ml/product/product.h"
#include "ml/tensor/internal.h"

#include <etk/fs.h>
#include <etk/rng.h>
#include <etk/text.h>
#include <math.h>

/* Only the weights of linear layers may come with their dims exchanged. */
static etk_status bind(etk_error *e, etk_model *m, const struct weight_row *row, void *base, const char *name, const struct weight_source *source) {
  etk_shape shape = etk__weight_shape(&m->config, row);
  etk_tensor *tensor = NULL;
  bool swapped = false;
  etk_status status = source->fetch(e, source->user, &tensor, name, &shape, row->linear ? &swapped : NULL);
  if (status) return status;
  if (swapped) shape = etk_shape_of(2, shape.dims[1], shape.dims[0]);
  if (!etk_shape_equal(etk_tensor_shape(tensor), &shape)) {
    char seen[96], wanted[96];
    status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, %s %s", m->path, name, etk_shape_text(seen, sizeof seen, etk_tensor_shape(tensor)),
                      source->wants, etk_shape_text(wanted, sizeof wanted, &shape));
    etk_tensor_unref(tensor);
    return status;
  }
  *(etk_tensor **)((char *)base + row->offset) = tensor;
  m->weights[m->weight_count++] = (struct weight){name, tensor, swapped};
  return ETK_OK;
}

/* The name of a linear layer is its weight's, the last one bound, without ".weight". */
static etk_status add_linear(etk_error *e, etk_model *m, struct linear *linear, const char *weight_name) {
  linear->name = etk_arena_strndup(&m->arena, weight_name, strlen(weight_name) - strlen(".weight"));
  if (!linear->name) return etk_fail_memory(e);
  linear->index = m->linear_count;
  linear->transposed = m->family->conv1d != m->weights[m->weight_count - 1].swapped;
  m->linears[m->linear_count++] = linear;
  return ETK_OK;
}

static etk_status bind_experts(etk_error *e, etk_model *m, int64_t index, const struct weight_source *source) {
  struct layer *layer = &m->layers[index];
  layer->experts = etk_arena_array(&m->arena, (size_t)m->config.num_experts, sizeof *layer->experts);
  if (!layer->experts) return etk_fail_memory(e);
  for (int64_t x = 0; x < m->config.num_experts; x++)
    for (int i = 0; i < m->family->expert_row_count; i++) {
      const struct weight_row *row = &m->family->expert_rows[i];
      const char *name = etk_arena_printf(&m->arena, "%s%lld.%s%lld.%s", m->family->layer_prefix, (long long)index, m->family->expert_prefix,
                                          (long long)x, row->name);
      if (!name) return etk_fail_memory(e);
      etk_status status = bind(e, m, row, &layer->experts[x], name, source);
      if (!status) status = add_linear(e, m, (struct linear *)((char *)&layer->experts[x] + row->offset - offsetof(struct linear, weight)), name);
      if (status) return status;
    }
  return ETK_OK;
}

static etk_status bind_layer(etk_error *e, etk_model *m, int64_t index, const struct weight_source *source) {
  struct layer *layer = &m->layers[index];
  for (int i = 0; i < m->family->layer_row_count; i++) {
    const struct weight_row *row = &m->family->layer_rows[i];
    if (!etk__weight_present(&m->config, m->family, row->condition)) continue;
    const char *name = etk_arena_printf(&m->arena, "%s%lld.%s", m->family->layer_prefix, (long long)index, row->name);
    if (!name) return etk_fail_memory(e);
    etk_status status = bind(e, m, row, layer, name, source);
    if (!status && row->linear) status = add_linear(e, m, (struct linear *)((char *)layer + row->offset - offsetof(struct linear, weight)), name);
    if (status) return status;
  }
  return m->family->expert_rows ? bind_experts(e, m, index, source) : ETK_OK;
}

static etk_status build(etk_error *e, etk_model *m, const struct weight_source *source) {
  const etk_model_config *c = &m->config;
  const struct family *family = m->family;
  size_t layers = (size_t)c->num_hidden_layers, rows = (size_t)(family->layer_row_count + c->num_experts * family->expert_row_count);
  m->layers = etk_arena_array(&m->arena, layers, sizeof *m->layers);
  m->linears = etk_arena_array(&m->arena, layers * rows, sizeof *m->linears);
  m->weights = etk_arena_array(&m->arena, layers * rows + (size_t)family->model_row_count, sizeof *m->weights);
  if (!m->layers || !m->linears || !m->weights) return etk_fail_memory(e);
  etk_status status = bind(e, m, &family->model_rows[0], m, family->model_rows[0].name, source);
  for (int64_t i = 0; i < c->num_hidden_layers && !status; i++) status = bind_layer(e, m, i, source);
  for (int i = 1; i < family->model_row_count && !status; i++)
    if (etk__weight_present(c, family, family->model_rows[i].condition)) status = bind(e, m, &family->model_rows[i], m, family->model_rows[i].name, source);
  if (status) return status;
  m->head.name = "lm_head";
  m->head.index = -1;
  if (c->tie_word_embeddings) m->head.weight = m->embedding;
  return etk__model_derive(e, m);
}

etk_status etk__model_build(etk_error *e, etk_model **out, const etk_model_config *config, const char *path, const struct weight_source *source) {
  *out = NULL;
  etk_model *m = etk_calloc(1, sizeof *m);
  if (!m || !(m->path = etk_strdup(path))) {
    etk_free(m);
    return etk_fail_memory(e);
  }
  atomic_init(&m->references, 1);
  m->config = *config;
  m->family = etk__family_find(config->architecture);
  etk_status status = build(e, m, source);
  if (status) {
    etk_model_unref(m);
    return status;
  }
  *out = m;
  return ETK_OK;
}

bool etk__model_derives(const etk_model *m, const char *name) {
  /* Frequencies, masks, and the copy of a tied head. */
  static const char *const derived[] = {".attention.bias", ".attention.masked_bias", ".attn.bias", ".attn.masked_bias"};
  for (size_t i = 0; i < sizeof derived / sizeof *derived && m->family->layer_norm; i++)
    if (etk__stem(name, derived[i])) return true;
  return strstr(name, "rotary_emb.inv_freq") != NULL || (m->config.tie_word_embeddings && !strcmp(name, "lm_head.weight"));
}

/* ---- fresh weights ---- */
struct fresh {
  const etk_model_config *config;
  uint64_t seed, stream;
};

static const struct weight_row *row_of(const struct family *family, const char *name) {
  for (int i = 0; i < family->model_row_count; i++)
    if (!strcmp(family->model_rows[i].name, name)) return &family->model_rows[i];
  const char *rest = strchr(name + strlen(family->layer_prefix), '.') + 1; /* after the layer's number */
  for (int i = 0; i < family->layer_row_count; i++)
    if (!strcmp(rest, family->layer_rows[i].name)) return &family->layer_rows[i];
  rest = strchr(rest + strlen(family->expert_prefix), '.') + 1; /* after the expert's number */
  for (int i = 0; i < family->expert_row_count; i++)
    if (!strcmp(rest, family->expert_rows[i].name)) return &family->expert_rows[i];
  return NULL;
}

static etk_status fetch_fresh(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape, bool *swapped) {
  struct fresh *fresh = user;
  (void)swapped;
  etk_status status = etk_tensor_new(e, out, ETK_F32, *shape);
  if (status) return status;
  etk_tensor_set_trainable(*out, true);
  float *data = etk_tensor_data(*out);
  int64_t count = etk_tensor_elements(*out);
  const struct family *family = etk__family_find(fresh->config->architecture);
  enum init init = row_of(family, name)->init;
  if (init == START_NORM && family->norm_from_one) init = START_ZERO;
  double deviation = init == START_RESIDUAL ? 0.02 / sqrt(2.0 * (double)fresh->config->num_hidden_layers) : 0.02;
  etk_rng rng = etk_rng_new(fresh->seed, fresh->stream++);
  for (int64_t i = 0; i < count; i++) data[i] = init == START_NORM ? 1.0f : init == START_ZERO ? 0.0f : (float)(deviation * etk_rng_normal(&rng));
  return ETK_OK;
}

etk_status etk_model_new(etk_error *e, etk_model **out, const etk_model_config *config, uint64_t seed) {
  *out = NULL;
  etk_status status = etk__model_config_check(e, config, "new model");
  if (status) return status;
  struct fresh fresh = {config, seed, 1};
  struct weight_source source = {fetch_fresh, &fresh, "its configuration wants"};
  return etk__model_build(e, out, config, "", &source);
}

etk_model *etk_model_ref(etk_model *m) {
  atomic_fetch_add(&m->references, 1);
  return m;
}

void etk_model_unref(etk_model *m) {
  if (!m || atomic_fetch_sub(&m->references, 1) != 1) return;
  for (size_t i = 0; i < m->weight_count; i++) etk_tensor_unref(m->weights[i].tensor);
  etk__model_forget_derived(m);
  etk_arena_fini(&m->arena);
  etk_free(m->path);
  etk_free(m);
}

const etk_model_config *etk_model_get_config(const etk_model *m) { return &m->config; }
const char *etk_model_path(const etk_model *m) { return m->path; }
size_t etk_model_weight_count(const etk_model *m) { return m->weight_count; }
const char *etk_model_weight_name(const etk_model *m, size_t index) { return m->weights[index].name; }
etk_tensor *etk_model_weight_at(const etk_model *m, size_t index) { return m->weights[index].tensor; }

etk_tensor *etk_model_weight(const etk_model *m, const char *name) {
  for (size_t i = 0; i < m->weight_count; i++)
    if (!strcmp(m->weights[i].name, name)) return m->weights[i].tensor;
  return NULL;
}

int64_t etk_model_parameters(const etk_model *m) {
  int64_t total = 0;
  for (size_t i = 0; i < m->weight_count; i++) total += etk_tensor_elements(m->weights[i].tensor);
  return total;
}

size_t etk_model_bytes(const etk_model *m) {
  size_t total = 0;
  for (size_t i = 0; i < m->weight_count; i++) total += etk_tensor_bytes(m->weights[i].tensor);
  return total;
}

size_t etk_model_held_bytes(const etk_model *m) {
  size_t total = 0;
  for (size_t i = 0; i < m->weight_count; i++) total += etk__product_held(m->weights[i].tensor);
  return total;
}

void etk_model_set_compute(etk_model *m, etk_compute compute) {
  for (size_t i = 0; i < m->weight_count; i++) m->weights[i].tensor->rounds = compute == ETK_COMPUTE_BF16;
}

/* ---- the tokenizer that belongs to it ---- */

static etk_status no_tokenizer(etk_error *e, const etk_model *m, const etk_error *why) {
  return etk_fail(e, ETK_E_NOT_FOUND, "model %s has no tokenizer (%s); only data given as ids can be used with it", m->path, why->message);
}

/* tok<vocabulary>.bin, the custom of llama2.c's small models, comes before what a folder may have. */
static char *numbered_file(const etk_model *m, const char *folder) {
  char name[40];
  snprintf(name, sizeof name, "tok%lld.bin", (long long)m->config.vocab_size);
  char *path = m->llama2c ? etk_path_join(folder, name) : NULL, *whole = m->llama2c ? etk_path_join(folder, "tokenizer.json") : NULL;
  bool taken = path && whole && etk_fs_exists(path) && !etk_fs_exists(whole);
  etk_free(whole);
  if (taken) return path;
  etk_free(path);
  return NULL;
}

static etk_status open_tokenizer(etk_error *e, etk_tokenizer **out, const etk_model *m) {
  if (m->gguf) return etk_tokenizer_open(e, out, m->path, 0);
  char *folder = etk_fs_is_dir(m->path) ? etk_strdup(m->path) : etk_path_dir(m->path);
  if (!folder) return etk_fail_memory(e);
  char *numbered = numbered_file(m, folder);
  etk_status status = etk_tokenizer_open(e, out, numbered ? numbered : folder, m->llama2c ? m->config.vocab_size : 0);
  etk_free(numbered);
  etk_free(folder);
  return status;
}

etk_status etk_model_tokenizer(etk_error *e, etk_tokenizer **out, const etk_model *m) {
  etk_error why = ETK_ERROR_INIT;
  *out = NULL;
  etk_status status = *m->path ? open_tokenizer(&why, out, m) : etk_fail(&why, ETK_E_NOT_FOUND, "it is new");
  if (status == ETK_E_NOT_FOUND) return no_tokenizer(e, m, &why);
  if (status) return etk_fail(e, status, "%s", why.message);
  if (etk_tokenizer_size(*out) <= m->config.vocab_size) return ETK_OK;
  status = etk_fail(e, ETK_E_INVALID, "%s: its tokenizer has ids up to %lld, the model's vocab_size is %lld: it belongs to another model", m->path,
                    (long long)etk_tokenizer_size(*out) - 1, (long long)m->config.vocab_size);
  etk_tokenizer_free(*out);
  *out = NULL;
  return status;
}
