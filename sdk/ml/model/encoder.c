/* Encoders: opening a folder or a GGUF file, binding its weights by the tables of names, sharing. */
#include "encoder_internal.h"

#include <etk/fs.h>
#include <etk/weights.h>

struct opening {
  etk_weights *weights;
  const char *path; /* of the folder, for messages */
  struct sentence sentence;
  const char *says;                        /* what tells the shapes, for messages */
  bool gguf, trainable, decoded, prefixed; /* prefixed: names begin with that of the part in a larger model */
};

/* ---- names: as the table has them, in a larger model, and in the spelling of norms that TensorFlow's BERT brought ---- */

static const char *spelling(const struct encoder_family *family, int index, const char *name, char *out, size_t size) {
  static const char *const norms[][2] = {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};
  const char *prefix = index & 1 && family->prefix ? family->prefix : "";
  size_t length = strlen(name);
  snprintf(out, size, "%s%s", prefix, name);
  for (size_t i = 0; i < 2 && index & 2; i++) {
    size_t end = strlen(norms[i][0]);
    if (length >= end && !strcmp(name + length - end, norms[i][0])) snprintf(out, size, "%s%.*s%s", prefix, (int)(length - end), name, norms[i][1]);
  }
  return out;
}

static const char *find_name(const struct opening *o, const struct encoder_family *family, const char *name, char *out, size_t size) {
  if (o->gguf) return etk__encoder_gguf_name(out, size, name) && etk_weights_find(o->weights, out) ? out : NULL;
  for (int i = 0; i < 4; i++)
    if (etk_weights_find(o->weights, spelling(family, i, name, out, size))) return out;
  return NULL;
}

/* ---- one weight ---- */

static etk_status convert(etk_error *e, etk_tensor **tensor, etk_dtype dtype) {
  etk_tensor *from = *tensor;
  *tensor = NULL;
  etk_status status = etk_tensor_cast(e, tensor, from, dtype);
  etk_tensor_unref(from);
  return status;
}

/* Matrices stay as they are where they can be computed with, everything else becomes F32. */
static etk_status keep(etk_error *e, const struct opening *o, etk_tensor **tensor, const char *name, bool plain) {
  etk_dtype dtype = etk_tensor_dtype(*tensor);
  if (dtype != ETK_F64 && dtype > ETK_BF16 && dtype < ETK_DTYPE_COUNT) {
    etk_tensor_unref(*tensor);
    *tensor = NULL;
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor %s is of type %s, which are no weights of an encoder", o->path, name, etk_dtype_name(dtype));
  }
  size_t size = etk_dtype_size(dtype);
  bool matrix = etk_tensor_shape(*tensor)->rank == 2 && !plain, misaligned = size && (uintptr_t)etk_tensor_data(*tensor) % size;
  bool stays = !o->trainable && (dtype == ETK_F32 || (matrix && dtype != ETK_F64 && !o->decoded));
  etk_status status = ETK_OK;
  if (misaligned || !stays) status = convert(e, tensor, stays ? dtype : ETK_F32);
  if (!status) etk_tensor_set_trainable(*tensor, o->trainable);
  return status;
}

static etk_status missing(etk_error *e, const struct opening *o, const char *name) {
  const char *near = etk_weights_suggest(o->weights, name);
  return etk_fail(e, ETK_E_FORMAT,
                  "%s has no tensor %s, which the architecture needs (it holds %zu tensors%s%s; does its configuration belong to it?)", o->path, name,
                  etk_weights_count(o->weights), near ? ", the nearest name is " : "", near ? near : "");
}

/* Fetches `stored` as `name`, checks its shape and gives it to the model, which frees it. */
static etk_status bind(etk_error *e, etk_encoder *x, const struct opening *o, etk_tensor **to, const char *stored, const char *name,
                       const etk_shape *shape, bool plain) {
  etk_tensor *tensor = NULL;
  char seen[96], wanted[96];
  etk_status status = etk_weights_tensor(e, &tensor, o->weights, stored, NULL);
  if (status) return status;
  if (!etk_shape_equal(etk_tensor_shape(tensor), shape)) {
    etk_shape_text(seen, sizeof seen, etk_tensor_shape(tensor));
    etk_shape_text(wanted, sizeof wanted, shape);
    status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, %s %s", o->path, stored, seen, o->says, wanted);
    etk_tensor_unref(tensor);
    return status;
  }
  status = keep(e, o, &tensor, name, plain);
  if (status) return status;
  *to = tensor;
  x->model->weights[x->model->weight_count++] = (struct weight){.name = name, .tensor = tensor};
  return ETK_OK;
}

/* ---- tables ---- */

struct binding {
  etk_encoder *x;
  struct opening *o;
  const etk_encoder_tower *tower;
};

static etk_shape shape_of_row(const struct binding *b, const struct encoder_row *row) {
  const etk_encoder_config *c = &b->x->config;
  const int64_t sizes[] = {[SIZE_VOCAB] = c->vocab_size,           [SIZE_HIDDEN] = b->tower->hidden_size, [SIZE_INNER] = b->tower->intermediate_size,
                           [SIZE_POSITIONS] = b->tower->positions, [SIZE_TYPES] = c->type_vocab_size,     [SIZE_CHANNELS] = c->num_channels,
                           [SIZE_PATCH] = c->patch_size,           [SIZE_PROJECTION] = c->projection_dim};
  etk_shape shape = {row->rank, {0}};
  for (int i = 0; i < row->rank; i++) shape.dims[i] = sizes[row->dims[i]];
  return shape;
}

static etk_status add_linear(etk_error *e, etk_model *m, struct linear *linear, const char *weight_name) {
  linear->name = etk_arena_strndup(&m->arena, weight_name, strlen(weight_name) - strlen(".weight"));
  if (!linear->name) return etk_fail_memory(e);
  linear->index = m->linear_count;
  m->linears[m->linear_count++] = linear;
  return ETK_OK;
}

static etk_status bind_row(etk_error *e, const struct binding *b, const struct encoder_row *row, void *base, const char *name) {
  char stored[512];
  const struct encoder_family *family = b->x->family;
  bool whole = family->text && family->image, found = find_name(b->o, family, name, stored, sizeof stored) != NULL;
  if (row->flags & ROW_TYPES && !b->x->config.type_vocab_size) return ETK_OK;
  if (!found && (row->flags & ROW_OPTIONAL || (row->flags & ROW_PROJECTION && !whole))) return ETK_OK;
  if (!found) return missing(e, b->o, name);
  if (family->prefix && !strncmp(stored, family->prefix, strlen(family->prefix))) b->o->prefixed = true;
  etk_shape shape = shape_of_row(b, row);
  etk_status status = bind(e, b->x, b->o, (etk_tensor **)((char *)base + row->offset), stored, name, &shape, (row->flags & ROW_PLAIN) != 0);
  if (status || !(row->flags & ROW_LINEAR)) return status;
  return add_linear(e, b->x->model, (struct linear *)((char *)base + row->offset - offsetof(struct linear, weight)), name);
}

static etk_status bind_tower(etk_error *e, const struct binding *b, struct tower *t, const struct tower_table *table) {
  etk_arena *arena = &b->x->model->arena;
  t->layers = etk_arena_array(arena, (size_t)b->tower->num_hidden_layers, sizeof *t->layers);
  etk_status status = t->layers ? ETK_OK : etk_fail_memory(e);
  for (int i = 0; i < table->row_count && !status; i++) status = bind_row(e, b, &table->rows[i], t, table->rows[i].name);
  for (int64_t layer = 0; layer < b->tower->num_hidden_layers && !status; layer++)
    for (int i = 0; i < table->layer_row_count && !status; i++) {
      const char *name = etk_arena_printf(arena, "%s%lld.%s", table->layer_prefix, (long long)layer, table->layer_rows[i].name);
      status = name ? bind_row(e, b, &table->layer_rows[i], &t->layers[layer], name) : etk_fail_memory(e);
    }
  if (!status && t->pooler.weight && !t->pooler.bias) status = missing(e, b->o, "pooler.dense.bias");
  return status;
}

/* ---- what is left over ---- */

static bool ends_with(const char *name, const char *end) {
  size_t a = strlen(name), b = strlen(end);
  return a >= b && !strcmp(name + a - b, end);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Is it one of the encoder's weights, under any of its spellings? names: sorted. */
static bool expects(const etk_encoder *x, const struct opening *o, const char **names, const char *name) {
  static const char *const norms[][2] = {{".gamma", ".weight"}, {".beta", ".bias"}};
  const char *prefix = x->family->prefix, *plain = prefix && !strncmp(name, prefix, strlen(prefix)) ? name + strlen(prefix) : name;
  char modern[512];
  for (size_t i = 0; i < x->model->weight_count && o->gguf; i++)
    if (etk__encoder_gguf_name(modern, sizeof modern, names[i]) && !strcmp(modern, name)) return true;
  if (o->gguf) return false;
  snprintf(modern, sizeof modern, "%s", plain);
  for (size_t i = 0; i < 2; i++)
    if (ends_with(plain, norms[i][0])) snprintf(modern, sizeof modern, "%.*s%s", (int)(strlen(plain) - strlen(norms[i][0])), plain, norms[i][1]);
  plain = modern;
  return bsearch(&plain, names, x->model->weight_count, sizeof *names, by_name) != NULL;
}

/* Every tensor must be one the architecture has, but for places and types that follow from a text, and, where the encoder is a part of a larger model, what stands
 * beside it there (heads). */
static etk_status check_leftovers(etk_error *e, const etk_encoder *x, const struct opening *o) {
  const char **names = etk_alloc((x->model->weight_count + 1) * sizeof *names);
  if (!names) return etk_fail_memory(e);
  for (size_t i = 0; i < x->model->weight_count; i++) names[i] = x->model->weights[i].name;
  qsort(names, x->model->weight_count, sizeof *names, by_name);
  etk_status status = ETK_OK;
  for (size_t i = 0; i < etk_weights_count(o->weights) && !status; i++) {
    const char *name = etk_weights_at(o->weights, i)->name, *prefix = x->family->prefix;
    bool beside = o->prefixed && strncmp(name, prefix, strlen(prefix)) != 0;
    bool derived = ends_with(name, "embeddings.position_ids") || ends_with(name, "embeddings.token_type_ids");
    if (beside || derived || expects(x, o, names, name)) continue;
    status = etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which %s's architecture does not have", o->path, name,
                      o->gguf ? "the file" : "config.json");
  }
  etk_free(names);
  return status;
}

/* ---- the dense layer, in a folder of its own ---- */

static etk_status bind_dense(etk_error *e, etk_encoder *x, const struct opening *o) {
  const struct sentence *s = &o->sentence;
  etk_arena *arena = &x->model->arena;
  struct opening own = {.path = s->dense, .says = "its config.json wants", .trainable = o->trainable, .decoded = o->decoded};
  if (s->dense_in != x->config.text.hidden_size)
    return etk_fail(e, ETK_E_SHAPE, "%s: its dense layer takes %lld values, pooling gives %lld", s->dense, (long long)s->dense_in,
                    (long long)x->config.text.hidden_size);
  const char *folder = etk_path_base(s->dense), *weight = etk_arena_printf(arena, "%s/linear.weight", folder),
             *bias = etk_arena_printf(arena, "%s/linear.bias", folder);
  if (!weight || !bias) return etk_fail_memory(e);
  etk_status status = etk_weights_open(e, &own.weights, s->dense);
  if (!status && !etk_weights_find(own.weights, "linear.weight")) status = missing(e, &own, "linear.weight");
  if (!status && s->dense_bias && !etk_weights_find(own.weights, "linear.bias")) status = missing(e, &own, "linear.bias");
  if (!status) status = bind(e, x, &own, &x->dense.weight, "linear.weight", weight, &etk_shape_of(2, s->dense_out, s->dense_in), false);
  if (!status && s->dense_bias) status = bind(e, x, &own, &x->dense.bias, "linear.bias", bias, &etk_shape_of(1, s->dense_out), false);
  bool more = !status && etk_weights_count(own.weights) > 1 + (size_t)s->dense_bias;
  if (more) status = etk_fail(e, ETK_E_FORMAT, "%s holds more tensors than its dense layer has", s->dense);
  etk_weights_close(own.weights);
  x->dense.index = -1;
  return status;
}

/* ---- opening ---- */

static etk_status read_config(etk_error *e, etk_encoder_config *c, const char *folder, const char *given) {
  char *path = etk_path_join(folder, "config.json"), *text = NULL;
  size_t size = 0;
  if (!path) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  if (!etk_fs_exists(path))
    status = etk_fail(e, ETK_E_NOT_FOUND, "encoder %s has no config.json%s; wanted a Hugging Face or a sentence-transformers folder", given,
                      strcmp(folder, given) ? " where modules.json says" : "");
  if (!status) status = etk_fs_read(e, &text, &size, path, 1 << 20);
  if (!status) status = etk_encoder_config_parse(e, c, path, text, size);
  etk_free(text);
  etk_free(path);
  return status;
}

/* What modules.json says about the text part. */
static etk_status apply_sentence(etk_error *e, etk_encoder_config *c, const struct sentence *s, const char *folder) {
  bool clip = c->pooling == ETK_POOLING_END || !c->text.hidden_size;
  if (!s->model) return ETK_OK;
  if (clip && (s->pools || s->dense))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: modules.json pools what a model of type %s gives; this version takes its own embeddings", folder,
                    c->architecture);
  if (s->width && s->width != c->text.hidden_size)
    return etk_fail(e, ETK_E_FORMAT, "%s: its pooling is of %lld values, the transformer gives %lld", folder, (long long)s->width,
                    (long long)c->text.hidden_size);
  if (!clip && !s->pools) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: modules.json has no Pooling: nothing would say what stands for a text", folder);
  if (s->pools) c->pooling = s->pooling;
  c->normalize = s->normalize;
  c->dense_size = s->dense ? s->dense_out : 0;
  c->dense_tanh = s->dense && s->dense_tanh;
  if (c->dense_size > ((int64_t)1 << 40) / (c->text.hidden_size ? c->text.hidden_size : 1))
    return etk_fail(e, ETK_E_FORMAT, "%s: a dense layer of %lld values is beyond any real model", folder, (long long)c->dense_size);
  if (s->max_tokens && s->max_tokens < c->max_tokens) c->max_tokens = s->max_tokens;
  return ETK_OK;
}

/* The part that adapters bind to and that owns everything. */
static etk_status new_model(etk_error *e, etk_encoder *x, const char *path) {
  static const struct family none = {.model_type = "encoder", .class_name = "encoder"};
  const etk_encoder_config *c = &x->config;
  size_t layers = (size_t)(c->text.num_hidden_layers + c->image.num_hidden_layers);
  etk_model *m = etk_calloc(1, sizeof *m);
  if (!m) return etk_fail_memory(e);
  atomic_init(&m->references, 1);
  x->model = m;
  m->family = &none;
  m->head = (struct linear){.name = "lm_head", .index = -1}; /* an encoder has none; adapters ask for its name */
  m->config = (etk_model_config){.vocab_size = c->vocab_size, .num_hidden_layers = (int64_t)layers, .hidden_size = c->text.hidden_size};
  snprintf(m->config.architecture, sizeof m->config.architecture, "%s", c->architecture);
  m->path = etk_strdup(path);
  m->linears = etk_arena_array(&m->arena, layers * 6 + 3, sizeof *m->linears); /* six in a layer; a pooler, two projections */
  m->weights = etk_arena_array(&m->arena, layers * 16 + 32, sizeof *m->weights);
  return m->path && m->linears && m->weights ? ETK_OK : etk_fail_memory(e);
}

static etk_status bind_all(etk_error *e, etk_encoder *x, struct opening *o) {
  const struct encoder_family *family = x->family;
  etk_status status = ETK_OK;
  if (family->text) status = bind_tower(e, &(struct binding){x, o, &x->config.text}, &x->text, family->text);
  if (!status && family->image) status = bind_tower(e, &(struct binding){x, o, &x->config.image}, &x->image, family->image);
  if (!status && family->text && family->image) {
    if (!etk_weights_find(o->weights, "logit_scale")) return missing(e, o, "logit_scale");
    status = bind(e, x, o, &x->logit_scale, "logit_scale", "logit_scale", &(etk_shape){0}, true);
  }
  if (!status) status = check_leftovers(e, x, o);
  if (!status && o->sentence.dense) status = bind_dense(e, x, o);
  if (!x->text.projection.weight && !x->image.projection.weight) x->config.projection_dim = 0;
  return status;
}

static etk_status build(etk_error *e, etk_encoder *x, struct opening *o, const char *path) {
  x->family = etk__encoder_family(x->config.architecture);
  etk_status status = new_model(e, x, path);
  if (!status) x->model->gguf = o->gguf;
  return status ? status : bind_all(e, x, o);
}

static etk_status open_folder(etk_error *e, etk_encoder *x, struct opening *o) {
  etk_status status = etk__sentence_read(e, &o->sentence, o->path);
  const char *folder = o->sentence.model ? o->sentence.model : o->path;
  o->says = "config.json wants";
  if (!status) status = read_config(e, &x->config, folder, o->path);
  if (!status) status = apply_sentence(e, &x->config, &o->sentence, o->path);
  if (!status) status = etk_weights_open(e, &o->weights, folder);
  return status ? status : build(e, x, o, folder);
}

static etk_status open_file(etk_error *e, etk_encoder *x, struct opening *o) {
  etk_status status = etk_weights_open(e, &o->weights, o->path);
  o->gguf = true;
  o->says = "its keys want";
  if (!status && etk_weights_get_format(o->weights) != ETK_WEIGHTS_GGUF)
    status =
        etk_fail(e, ETK_E_UNSUPPORTED,
                 "%s: a file of weights alone does not tell what encoder they are; give the folder with its config.json, or a GGUF file", o->path);
  if (!status) status = etk__encoder_config_gguf(e, &x->config, o->weights);
  return status ? status : build(e, x, o, o->path);
}

etk_status etk_encoder_open(etk_error *e, etk_encoder **out, const char *path, const etk_model_options *options) {
  *out = NULL;
  if (!etk_fs_exists(path))
    return etk_fail(e, ETK_E_NOT_FOUND, "encoder %s: no such file or folder; wanted a Hugging Face or a sentence-transformers folder, or a GGUF file",
                    path);
  etk_encoder *x = etk_calloc(1, sizeof *x);
  if (!x) return etk_fail_memory(e);
  atomic_init(&x->references, 1);
  struct opening o = {.path = path, .trainable = options && options->trainable, .decoded = options && options->decoded};
  etk_status status = etk_fs_is_dir(path) ? open_folder(e, x, &o) : open_file(e, x, &o);
  etk_weights_close(o.weights);
  etk__sentence_fini(&o.sentence);
  if (status) etk_encoder_unref(x);
  else *out = x;
  return status;
}

etk_encoder *etk_encoder_ref(etk_encoder *x) {
  atomic_fetch_add(&x->references, 1);
  return x;
}

void etk_encoder_unref(etk_encoder *x) {
  if (!x || atomic_fetch_sub(&x->references, 1) != 1) return;
  etk_model_unref(x->model);
  etk_free(x);
}

/* ---- asking ---- */

const etk_encoder_config *etk_encoder_get_config(const etk_encoder *x) { return &x->config; }
const char *etk_encoder_path(const etk_encoder *x) { return x->model->path; }
etk_tensor *etk_encoder_logit_scale(const etk_encoder *x) { return x->logit_scale; }
size_t etk_encoder_weight_count(const etk_encoder *x) { return x->model->weight_count; }
const char *etk_encoder_weight_name(const etk_encoder *x, size_t index) { return x->model->weights[index].name; }
etk_tensor *etk_encoder_weight_at(const etk_encoder *x, size_t index) { return x->model->weights[index].tensor; }

static int64_t projected(const struct tower *t, const etk_encoder_tower *c) {
  return t->projection.weight ? etk__linear_out(&t->projection) : c->hidden_size;
}
int64_t etk_encoder_dimension(const etk_encoder *x) { return x->dense.weight ? x->config.dense_size : projected(&x->text, &x->config.text); }
int64_t etk_encoder_image_dimension(const etk_encoder *x) { return projected(&x->image, &x->config.image); }

etk_status etk_encoder_adapter_new(etk_error *e, etk_adapter **out, const etk_encoder *x, const etk_lora_options *options, uint64_t seed) {
  return etk_adapter_new(e, out, x->model, options, seed);
}
etk_status etk_encoder_adapter_open(etk_error *e, etk_adapter **out, const etk_encoder *x, const char *folder, bool trainable) {
  return etk_adapter_open(e, out, x->model, folder, trainable);
}

/* ---- its tokenizer ---- */

etk_status etk_encoder_tokenizer(etk_error *e, etk_tokenizer **out, const etk_encoder *x) {
  *out = NULL;
  if (!x->family->text) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a model of type %s has no text part", x->model->path, x->config.architecture);
  return etk_model_tokenizer(e, out, x->model);
}

static etk_status encode(etk_error *e, const etk_tokenizer *tokenizer, etk_ids *out, const char *text, size_t size, bool end) {
  const etk_encode_options options = {.special = true, .end = end, .parse_special = etk_tokenizer_parses_special(tokenizer)};
  return etk_tokenizer_encode(e, tokenizer, out, text, size, &options);
}

/* How many of the last ids are special ones that stand behind every text. */
static etk_status count_behind(etk_error *e, const etk_tokenizer *tokenizer, size_t *out) {
  etk_ids both = ETK_IDS_INIT, front = ETK_IDS_INIT;
  etk_status status = encode(e, tokenizer, &both, "", 0, true);
  if (!status) status = encode(e, tokenizer, &front, "", 0, false);
  *out = both.count > front.count ? both.count - front.count : 0;
  etk_ids_free(&both);
  etk_ids_free(&front);
  return status;
}

etk_status etk_encoder_tokenize(etk_error *e, const etk_encoder *x, const etk_tokenizer *tokenizer, etk_ids *out, const char *text, size_t size,
                                bool truncate) {
  size_t before = out->count, most = (size_t)x->config.max_tokens, behind = 0;
  etk_status status = encode(e, tokenizer, out, text, size, true);
  size_t count = out->count - before;
  if (status || count <= most) return status;
  if (!truncate)
    return etk_fail(e, ETK_E_INVALID, "a text of %zu tokens is longer than the %zu that %s takes; it must be cut, or divided", count, most,
                    x->model->path);
  status = count_behind(e, tokenizer, &behind);
  if (status) return status;
  if (behind > most)
    return etk_fail(e, ETK_E_INVALID, "%s takes %zu tokens, of which its tokenizer wants %zu special ones behind a text", x->model->path, most,
                    behind);
  memmove(out->items + before + most - behind, out->items + out->count - behind, behind * sizeof *out->items);
  out->count = before + most;
  return ETK_OK;
}
