/* LoRA adapters: modules bound to a model's linear layers. */
#include "adapter_parts.h"

#include <etk/rng.h>
#include <math.h>

struct etk_adapter {
  etk_arena arena;
  etk_model *model; /* one reference */
  etk_lora_options options;
  json_t *config;   /* PEFT's settings as read, or NULL */
  int64_t *layers;  /* see etk__adapter_parts */
  size_t layer_count;
  etk_adapter_module *modules;
  size_t count;
  int *by_linear;   /* index into modules, or -1 */
  int spelling;     /* of modules' names where it was read, and so where it is saved (etk__name_spelling) */
};

const etk_adapter_module *etk__adapter_for(const etk_adapter *a, const struct linear *linear) {
  if (linear->index < 0 || a->by_linear[linear->index] < 0) return NULL;
  return &a->modules[a->by_linear[linear->index]];
}
float etk__adapter_dropout(const etk_adapter *a) { return (float)a->options.dropout; }
size_t etk_adapter_count(const etk_adapter *a) { return a->count; }
const etk_adapter_module *etk_adapter_at(const etk_adapter *a, size_t index) { return &a->modules[index]; }
const etk_lora_options *etk_adapter_get_options(const etk_adapter *a) { return &a->options; }
void etk_adapter_set_dropout(etk_adapter *a, double rate) { a->options.dropout = rate; }

int64_t etk_adapter_parameters(const etk_adapter *a) {
  int64_t total = 0;
  for (size_t i = 0; i < a->count; i++) total += etk_tensor_elements(a->modules[i].a) + etk_tensor_elements(a->modules[i].b);
  return total;
}

void etk_adapter_free(etk_adapter *a) {
  if (!a) return;
  for (size_t i = 0; i < a->count; i++) {
    etk_tensor_unref(a->modules[i].a);
    etk_tensor_unref(a->modules[i].b);
  }
  etk_model_unref(a->model);
  json_decref(a->config);
  etk_arena_fini(&a->arena);
  etk_free(a);
}

static bool targets(const etk_lora_options *o, const char *module) {
  for (size_t i = 0; i < o->target_count; i++)
    if (!strcmp(o->target_modules[i], "all-linear") || etk__names_module(o->target_modules[i], module)) return true;
  return false;
}

static etk_status adapter_alloc(etk_error *e, etk_adapter **out, const etk_model *model, const etk_lora_options *options) {
  *out = NULL;
  if (options->rank < 1 || options->rank > 65536) return etk_fail(e, ETK_E_INVALID, "LoRA rank is %lld, wanted 1 to 65536", (long long)options->rank);
  if (!(options->dropout >= 0 && options->dropout < 1))
    return etk_fail(e, ETK_E_INVALID, "LoRA dropout is %g, wanted 0 up to (not including) 1", options->dropout);
  etk_adapter *a = etk_calloc(1, sizeof *a);
  if (!a) return etk_fail_memory(e);
  a->model = etk_model_ref((etk_model *)(uintptr_t)model); /* the count is atomic; the model stays unchanged */
  a->options = *options;
  const char **copies = etk_arena_array(&a->arena, options->target_count + 1, sizeof *copies);
  a->modules = etk_arena_array(&a->arena, (size_t)model->linear_count, sizeof *a->modules);
  a->by_linear = etk_arena_array(&a->arena, (size_t)model->linear_count, sizeof *a->by_linear);
  bool failed = !copies || !a->modules || !a->by_linear;
  for (size_t i = 0; i < options->target_count && !failed; i++) failed = !(copies[i] = etk_arena_strdup(&a->arena, options->target_modules[i]));
  if (failed) {
    etk_adapter_free(a);
    return etk_fail_memory(e);
  }
  a->options.target_modules = copies;
  for (int i = 0; i < model->linear_count; i++) a->by_linear[i] = -1;
  *out = a;
  return ETK_OK;
}

static void add_module(etk_adapter *a, const struct linear *linear, etk_tensor *ta, etk_tensor *tb, double scale, bool trainable) {
  etk_tensor_set_trainable(ta, trainable);
  etk_tensor_set_trainable(tb, trainable);
  a->by_linear[linear->index] = (int)a->count;
  a->modules[a->count++] = (etk_adapter_module){linear->name, ta, tb, (float)scale};
}

static etk_status new_module(etk_error *e, etk_adapter *a, const struct linear *linear, uint64_t seed) {
  etk_tensor *ta = NULL, *tb = NULL;
  etk_status status = etk_tensor_new(e, &ta, ETK_F32, etk_shape_of(2, a->options.rank, etk__linear_in(linear)));
  if (!status) status = etk_tensor_new(e, &tb, ETK_F32, etk_shape_of(2, etk__linear_out(linear), a->options.rank));
  if (status) {
    etk_tensor_unref(ta);
    return status;
  }
  etk_rng rng = etk_rng_new(seed, 0x10A0u + (uint64_t)linear->index);
  float *data = etk_tensor_data(ta);
  double bound = 1.0 / sqrt((double)etk__linear_in(linear));
  for (int64_t i = 0; i < etk_tensor_elements(ta); i++) data[i] = (float)((2 * etk_rng_uniform(&rng) - 1) * bound);
  double rank = (double)a->options.rank;
  add_module(a, linear, ta, tb, a->options.use_rslora ? a->options.alpha / sqrt(rank) : a->options.alpha / rank, true);
  return ETK_OK;
}

/* The last parts of the names of a layer's linear layers. */
static const char *module_names(const etk_model *model, char *text, size_t size) {
  size_t used = 0, count = (size_t)(model->linear_count / model->config.num_hidden_layers);
  text[0] = 0;
  for (size_t i = 0; i < count && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s", !i ? "" : i + 1 < count ? ", " : " and ", strrchr(model->linears[i]->name, '.') + 1);
  return text;
}

static etk_status targets_used(etk_error *e, const etk_adapter *a) {
  for (size_t t = 0; t < a->options.target_count; t++) {
    const char *target = a->options.target_modules[t];
    bool used = !strcmp(target, "all-linear");
    for (size_t i = 0; i < a->count && !used; i++) used = etk__names_module(target, a->modules[i].name);
    if (!used) {
      char names[256];
      return etk_fail(e, ETK_E_INVALID, "target module \"%s\" names no linear layer of the model; it has %s in each layer (or use all-linear)", target,
                      module_names(a->model, names, sizeof names));
    }
  }
  return ETK_OK;
}

etk_status etk_adapter_new(etk_error *e, etk_adapter **out, const etk_model *model, const etk_lora_options *options, uint64_t seed) {
  if (!options->target_count) return etk_fail(e, ETK_E_INVALID, "no target modules given; try q_proj,v_proj or all-linear");
  etk_adapter *a;
  etk_status status = adapter_alloc(e, &a, model, options);
  if (status) return status;
  for (int i = 0; i < model->linear_count && !status; i++)
    if (targets(&a->options, model->linears[i]->name)) status = new_module(e, a, model->linears[i], seed);
  if (!status) status = targets_used(e, a);
  if (status) etk_adapter_free(a);
  else *out = a;
  return status;
}

/* ---- binding what a file holds ---- */

/* F32 of the adapter's own where it is to be trained or was stored otherwise, else the map's. */
static etk_status prepare(etk_error *e, etk_tensor **out, etk_tensor *stored, bool trainable) {
  if (trainable || etk_tensor_dtype(stored) != ETK_F32) return etk_tensor_cast(e, out, stored, ETK_F32);
  *out = etk_tensor_ref(stored);
  return ETK_OK;
}

static etk_status bind_part(etk_error *e, etk_adapter *a, const struct linear *linear, const etk__adapter_parts *p, const etk__adapter_part *part,
                            bool trainable) {
  etk_tensor *ta = NULL, *tb = NULL;
  etk_status status = etk__adapter_check_shape(e, p, part, etk__linear_out(linear), etk__linear_in(linear));
  if (!status) status = prepare(e, &ta, part->a, trainable);
  if (!status) status = prepare(e, &tb, part->b, trainable);
  if (status) etk_tensor_unref(ta);
  else add_module(a, linear, ta, tb, part->scale, trainable);
  return status;
}

/* Does PEFT's rule, where there is one, call for this layer? It may be spelled otherwise there, as in the file. */
static etk_status is_wanted(etk_error *e, const etk__adapter_parts *p, const etk_model *model, const char *module, bool *wanted) {
  char buffer[512];
  const char *name;
  etk_status status = ETK_OK;
  *wanted = false;
  for (int i = 0; !status && !*wanted && (name = etk__name_spelling(&model->config, model->family, i, module, buffer, sizeof buffer)); i++)
    status = etk__adapter_targets_select(e, p->targets, name, wanted);
  return status;
}

/* Which spelling of a module's name the file has. */
static int spelling_of(const etk_model *model, const char *module, const char *stored) {
  char buffer[512];
  const char *name;
  for (int i = 0; (name = etk__name_spelling(&model->config, model->family, i, module, buffer, sizeof buffer)); i++)
    if (!strcmp(name, stored)) return i;
  return 0;
}

static etk_status bind_parts(etk_error *e, etk_adapter *a, const etk__adapter_parts *p, bool trainable) {
  size_t called = 0;
  const char *lacking = NULL;
  for (int i = 0; i < a->model->linear_count; i++) {
    const struct linear *linear = a->model->linears[i];
    const etk__adapter_part *part = etk__adapter_parts_for(p, a->model, linear->name);
    bool wanted = part != NULL;
    etk_status status = p->targets ? is_wanted(e, p, a->model, linear->name, &wanted) : ETK_OK;
    if (!status && wanted && part) status = bind_part(e, a, linear, p, part, trainable);
    if (part) a->spelling = spelling_of(a->model, linear->name, part->module);
    if (status) return status;
    called += wanted;
    if (wanted && !part && !lacking) lacking = linear->name;
  }
  if (!called && p->targets) return etk_fail(e, ETK_E_FORMAT, "%s: target_modules names no linear layer of the model; the adapter would do nothing", p->path);
  if (lacking)
    return etk_fail(e, ETK_E_FORMAT, "%s has no tensor base_model.model.%s.lora_A.weight, which adapter_config.json's target_modules call for",
                    p->path, lacking);
  if (a->count == p->count) return ETK_OK;
  for (size_t i = 0; i < p->count; i++) {
    bool used = false;
    for (size_t m = 0; m < a->count && !used; m++) used = etk__adapter_parts_for(p, a->model, a->modules[m].name) == &p->parts[i];
    if (!used)
      return etk_fail(e, ETK_E_FORMAT,
                      "%s holds the tensor %s, which fits no targeted layer of the model (%zu of its layers are targeted); an adapter of embeddings or of the head "
                      "can be converted, not run",
                      p->path, p->parts[i].name, called);
  }
  return ETK_OK;
}

static etk_status check_runs(etk_error *e, const etk__adapter_parts *p) {
  if (p->saved_count)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: \"modules_to_save\" gave %s as a whole weight; it can be converted to PEFT's form, not run by this version", p->config_path,
                        p->saved[0].name);
  const json_t *saved = json_object_get(p->config, "modules_to_save");
  if (json_array_size(saved))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"modules_to_save\" calls for whole weights, which are not run by this version", p->config_path);
  if (p->count && p->parts[0].magnitude)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s: DoRA can be converted between PEFT's and mlx-lm's forms, not run by this version", p->config_path,
                    p->form == ETK_ADAPTER_MLX ? "\"fine_tune_type\" is \"dora\"" : "\"use_dora\" is true");
  return ETK_OK;
}

/* What the parts know of their origin and the adapter is to be saved with. */
static etk_status keep_settings(etk_error *e, etk_adapter *a, const etk__adapter_parts *p) {
  a->config = p->config ? json_incref(p->config) : NULL;
  a->layers = etk_arena_array(&a->arena, p->layer_count + 1, sizeof *a->layers);
  if (!a->layers) return etk_fail_memory(e);
  if (p->layer_count) memcpy(a->layers, p->layers, p->layer_count * sizeof *a->layers);
  a->layer_count = p->layer_count;
  return ETK_OK;
}

etk_status etk__adapter_bind(etk_error *e, etk_adapter **out, const etk_model *model, const etk__adapter_parts *p, bool trainable) {
  etk_adapter *a = NULL;
  *out = NULL;
  etk_status status = check_runs(e, p);
  if (!status) status = adapter_alloc(e, &a, model, &p->options);
  if (!status) status = keep_settings(e, a, p);
  if (!status) status = bind_parts(e, a, p, trainable);
  if (status) etk_adapter_free(a);
  else *out = a;
  return status;
}

etk_status etk__adapter_unbind(etk_error *e, etk__adapter_parts *out, const etk_adapter *a) {
  *out = (etk__adapter_parts){.form = ETK_ADAPTER_PEFT, .path = "the adapter", .options = a->options,
                              .config = a->config ? json_incref(a->config) : NULL, .layers = a->layers, .layer_count = a->layer_count,
                              .num_layers = -1};
  out->parts = etk_arena_array(&out->arena, a->count + 1, sizeof *out->parts);
  if (!out->parts) return etk_fail_memory(e);
  for (size_t i = 0; i < a->count; i++) {
    const etk_adapter_module *m = &a->modules[i];
    char buffer[512];
    const char *spelled = etk__name_spelling(&a->model->config, a->model->family, a->spelling, m->name, buffer, sizeof buffer);
    const char *name = etk_arena_strdup(&out->arena, spelled ? spelled : m->name);
    if (!name) return etk_fail_memory(e);
    out->parts[out->count++] = (etk__adapter_part){.module = name, .name = name, .a = etk_tensor_ref(m->a), .b = etk_tensor_ref(m->b),
                                                   .scale = (double)m->scale};
  }
  etk__adapter_parts_sort(out);
  return ETK_OK;
}

const etk_model *etk__adapter_model(const etk_adapter *a) { return a->model; }
