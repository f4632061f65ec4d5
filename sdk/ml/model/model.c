/* Models: arrays, names, binding of weights by a table name -> shape, sharing. */
#include "internal.h"

#include <etk/fs.h>
#include <etk/rng.h>
#include <etk/text.h>
#include <math.h>

enum dimension { VOCAB, HIDDEN, INTERMEDIATE, QUERY, KEY };
enum condition { ALWAYS, ATTENTION_BIAS, MLP_BIAS, UNTIED };

/* One list of all weights: the part of the name after "model.layers.N." (or the whole name), where it goes, its shape, when it is there, and how far
 * from zero a fresh one starts (RESIDUAL: divided by sqrt(2 layers), GPT-2's rule; ONE: ones). */
enum init { NORMAL, RESIDUAL, ONE, ZERO };
struct weight_row {
  const char *name;
  size_t offset;
  int rank;
  enum dimension dims[2];
  enum condition condition;
  enum init init;
};
#define L(field) offsetof(struct layer, field)
#define LINEAR(path, field, out_dim, in_dim, bias_condition, start)                                         \
  {path ".weight", L(field) + offsetof(struct linear, weight), 2, {out_dim, in_dim}, ALWAYS, start},         \
  {path ".bias", L(field) + offsetof(struct linear, bias), 1, {out_dim, out_dim}, bias_condition, ZERO}
static const struct weight_row layer_rows[] = {
    {"input_layernorm.weight", L(input_norm), 1, {HIDDEN, HIDDEN}, ALWAYS, ONE},
    LINEAR("self_attn.q_proj", q, QUERY, HIDDEN, ATTENTION_BIAS, NORMAL),
    LINEAR("self_attn.k_proj", k, KEY, HIDDEN, ATTENTION_BIAS, NORMAL),
    LINEAR("self_attn.v_proj", v, KEY, HIDDEN, ATTENTION_BIAS, NORMAL),
    LINEAR("self_attn.o_proj", o, HIDDEN, QUERY, ATTENTION_BIAS, RESIDUAL),
    {"post_attention_layernorm.weight", L(post_norm), 1, {HIDDEN, HIDDEN}, ALWAYS, ONE},
    LINEAR("mlp.gate_proj", gate, INTERMEDIATE, HIDDEN, MLP_BIAS, NORMAL),
    LINEAR("mlp.up_proj", up, INTERMEDIATE, HIDDEN, MLP_BIAS, NORMAL),
    LINEAR("mlp.down_proj", down, HIDDEN, INTERMEDIATE, MLP_BIAS, RESIDUAL),
};
static const struct weight_row model_rows[] = {
    {"model.embed_tokens.weight", offsetof(etk_model, embedding), 2, {VOCAB, HIDDEN}, ALWAYS, NORMAL},
    {"model.norm.weight", offsetof(etk_model, norm), 1, {HIDDEN, HIDDEN}, ALWAYS, ONE},
    {"lm_head.weight", offsetof(etk_model, head) + offsetof(struct linear, weight), 2, {VOCAB, HIDDEN}, UNTIED, NORMAL},
};
static const size_t linear_offsets[] = {L(q), L(k), L(v), L(o), L(gate), L(up), L(down)};
enum { LAYER_ROWS = sizeof layer_rows / sizeof *layer_rows, MODEL_ROWS = sizeof model_rows / sizeof *model_rows,
       LINEARS = sizeof linear_offsets / sizeof *linear_offsets };

static int64_t dimension(const etk_model_config *c, enum dimension d) {
  switch (d) {
  case VOCAB: return c->vocab_size;
  case HIDDEN: return c->hidden_size;
  case INTERMEDIATE: return c->intermediate_size;
  case QUERY: return c->num_attention_heads * c->head_dim;
  default: return c->num_key_value_heads * c->head_dim;
  }
}

static bool present(const etk_model_config *c, enum condition condition) {
  switch (condition) {
  case ATTENTION_BIAS: return c->attention_bias;
  case MLP_BIAS: return c->mlp_bias;
  case UNTIED: return !c->tie_word_embeddings;
  default: return true;
  }
}

static etk_shape row_shape(const etk_model_config *c, const struct weight_row *row) {
  etk_shape shape = {row->rank, {dimension(c, row->dims[0]), dimension(c, row->dims[1])}};
  if (row->rank == 1) shape.dims[1] = 0;
  return shape;
}

static etk_status bind(etk_error *e, etk_model *m, const struct weight_row *row, void *base, const char *name, const struct weight_source *source) {
  etk_shape shape = row_shape(&m->config, row);
  etk_tensor *tensor = NULL;
  etk_status status = source->fetch(e, source->user, &tensor, name, &shape);
  if (status) return status;
  if (!etk_shape_equal(etk_tensor_shape(tensor), &shape)) {
    char seen[96], wanted[96];
    status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, config.json wants %s", m->path, name,
                      etk_shape_text(seen, sizeof seen, etk_tensor_shape(tensor)), etk_shape_text(wanted, sizeof wanted, &shape));
    etk_tensor_unref(tensor);
    return status;
  }
  *(etk_tensor **)((char *)base + row->offset) = tensor;
  m->weights[m->weight_count++] = (struct weight){name, tensor};
  return ETK_OK;
}

static etk_status bind_layer(etk_error *e, etk_model *m, int64_t index, const struct weight_source *source) {
  struct layer *layer = &m->layers[index];
  for (int i = 0; i < LAYER_ROWS; i++) {
    if (!present(&m->config, layer_rows[i].condition)) continue;
    const char *name = etk_arena_printf(&m->arena, "model.layers.%lld.%s", (long long)index, layer_rows[i].name);
    if (!name) return etk_fail_memory(e);
    etk_status status = bind(e, m, &layer_rows[i], layer, name, source);
    if (status) return status;
  }
  for (int i = 0; i < LINEARS; i++) { /* the name of a linear layer is its weight's without ".weight" */
    struct linear *linear = (struct linear *)((char *)layer + linear_offsets[i]);
    const char *weight_name = NULL;
    for (size_t w = m->weight_count; w > 0 && !weight_name; w--)
      if (m->weights[w - 1].tensor == linear->weight) weight_name = m->weights[w - 1].name;
    linear->name = etk_arena_strndup(&m->arena, weight_name, strlen(weight_name) - strlen(".weight"));
    if (!linear->name) return etk_fail_memory(e);
    linear->index = m->linear_count;
    m->linears[m->linear_count++] = linear;
  }
  return ETK_OK;
}

static etk_status build(etk_error *e, etk_model *m, const struct weight_source *source) {
  const etk_model_config *c = &m->config;
  size_t layers = (size_t)c->num_hidden_layers;
  m->layers = etk_arena_array(&m->arena, layers, sizeof *m->layers);
  m->linears = etk_arena_array(&m->arena, layers * LINEARS, sizeof *m->linears);
  m->weights = etk_arena_array(&m->arena, layers * LAYER_ROWS + MODEL_ROWS, sizeof *m->weights);
  if (!m->layers || !m->linears || !m->weights) return etk_fail_memory(e);
  etk_status status = bind(e, m, &model_rows[0], m, model_rows[0].name, source);
  for (int64_t i = 0; i < c->num_hidden_layers && !status; i++) status = bind_layer(e, m, i, source);
  for (int i = 1; i < MODEL_ROWS && !status; i++)
    if (present(c, model_rows[i].condition)) status = bind(e, m, &model_rows[i], m, model_rows[i].name, source);
  if (status) return status;
  m->head.name = "lm_head";
  m->head.index = -1;
  if (c->tie_word_embeddings) m->head.weight = m->embedding;
  status = etk_tensor_new(e, &m->inverse_frequency, ETK_F32, etk_shape_of(1, c->head_dim / 2));
  if (!status) etk__rope_frequencies(etk_tensor_data(m->inverse_frequency), c);
  return status;
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
  etk_status status = build(e, m, source);
  if (status) {
    etk_model_unref(m);
    return status;
  }
  *out = m;
  return ETK_OK;
}

bool etk__model_expects(const etk_model *m, const char *name) {
  for (size_t i = 0; i < m->weight_count; i++)
    if (!strcmp(m->weights[i].name, name)) return true;
  /* Derived values that old checkpoints carry, and the copy of a tied head. */
  return strstr(name, "rotary_emb.inv_freq") != NULL || (m->config.tie_word_embeddings && !strcmp(name, "lm_head.weight"));
}

etk_status etk__weight_prepare(etk_error *e, etk_tensor **out, etk_tensor *tensor, bool trainable) {
  etk_status status = ETK_OK;
  *out = tensor;
  if (trainable || etk_tensor_dtype(tensor) != ETK_F32) {
    status = etk_tensor_cast(e, out, tensor, ETK_F32);
    etk_tensor_unref(tensor);
    if (!status) etk_tensor_set_trainable(*out, trainable);
  }
  return status;
}

/* ---- fresh weights ---- */
struct fresh {
  const etk_model_config *config;
  uint64_t seed, stream;
};

static const struct weight_row *row_of(const char *name) {
  for (int i = 0; i < MODEL_ROWS; i++)
    if (!strcmp(model_rows[i].name, name)) return &model_rows[i];
  for (int i = 0; i < LAYER_ROWS; i++) {
    size_t size = strlen(name), tail = strlen(layer_rows[i].name);
    if (size > tail && !strcmp(name + size - tail, layer_rows[i].name)) return &layer_rows[i];
  }
  return NULL;
}

static etk_status fetch_fresh(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape) {
  struct fresh *fresh = user;
  etk_status status = etk_tensor_new(e, out, ETK_F32, *shape);
  if (status) return status;
  etk_tensor_set_trainable(*out, true);
  float *data = etk_tensor_data(*out);
  int64_t count = etk_tensor_elements(*out);
  enum init init = row_of(name)->init;
  double deviation = init == RESIDUAL ? 0.02 / sqrt(2.0 * (double)fresh->config->num_hidden_layers) : 0.02;
  etk_rng rng = etk_rng_new(fresh->seed, fresh->stream++);
  for (int64_t i = 0; i < count; i++) data[i] = init == ONE ? 1.0f : init == ZERO ? 0.0f : (float)(deviation * etk_rng_normal(&rng));
  return ETK_OK;
}

etk_status etk_model_new(etk_error *e, etk_model **out, const etk_model_config *config, uint64_t seed) {
  *out = NULL;
  etk_status status = etk__model_config_check(e, config, "new model");
  if (status) return status;
  struct fresh fresh = {config, seed, 1};
  struct weight_source source = {fetch_fresh, &fresh};
  return etk__model_build(e, out, config, "", &source);
}

etk_status etk_model_open(etk_error *e, etk_model **out, const char *path, const etk_model_options *options) {
  bool trainable = options && options->trainable;
  *out = NULL;
  if (!etk_fs_exists(path))
    return etk_fail(e, ETK_E_NOT_FOUND, "model %s: no such file or folder; wanted a Hugging Face folder (config.json, model.safetensors) or a llama2.c .bin", path);
  etk_status status = etk_fs_is_dir(path) ? etk__model_open_folder(e, out, path, trainable) : etk__model_open_llama2c(e, out, path, trainable);
  return status;
}

etk_model *etk_model_ref(etk_model *m) {
  atomic_fetch_add(&m->references, 1);
  return m;
}

void etk_model_unref(etk_model *m) {
  if (!m || atomic_fetch_sub(&m->references, 1) != 1) return;
  for (size_t i = 0; i < m->weight_count; i++) etk_tensor_unref(m->weights[i].tensor);
  etk_tensor_unref(m->inverse_frequency);
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

/* tokenizer.json in the folder; beside a llama2.c file tokenizer.json, tokenizer.bin or tok<vocabulary>.bin. */
etk_status etk_model_tokenizer(etk_error *e, etk_tokenizer **out, const etk_model *m) {
  *out = NULL;
  char *folder = m->llama2c ? etk_path_dir(m->path) : etk_strdup(m->path);
  char numbered[40];
  snprintf(numbered, sizeof numbered, "tok%lld.bin", (long long)m->config.vocab_size);
  const char *const names[] = {"tokenizer.json", m->llama2c ? numbered : NULL, m->llama2c ? "tokenizer.bin" : NULL};
  char *found = NULL;
  for (size_t i = 0; i < 3 && folder && !found; i++) {
    if (!names[i]) continue;
    char *path = etk_path_join(folder, names[i]);
    if (path && etk_fs_exists(path)) found = path;
    else etk_free(path);
  }
  etk_status status = !folder ? etk_fail_memory(e)
                      : found ? etk_tokenizer_open(e, out, found, m->config.vocab_size)
                              : etk_fail(e, ETK_E_NOT_FOUND, "model %s has no tokenizer (looked for tokenizer.json%s%s%s); only data given as ids can be used with it",
                                         m->path, m->llama2c ? ", " : "", m->llama2c ? numbered : "", m->llama2c ? " and tokenizer.bin" : "");
  if (!status && etk_tokenizer_size(*out) > m->config.vocab_size) {
    status = etk_fail(e, ETK_E_INVALID, "%s has ids up to %lld, the model's vocab_size is %lld: the tokenizer belongs to another model", found,
                      (long long)etk_tokenizer_size(*out) - 1, (long long)m->config.vocab_size);
    etk_tokenizer_free(*out);
    *out = NULL;
  }
  etk_free(found);
  etk_free(folder);
  return status;
}
