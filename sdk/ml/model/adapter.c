/* LoRA adapters: modules bound to a model's linear layers; PEFT's files. */
#include "internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/rng.h>
#include <etk/safetensors.h>
#include <jansson.h>
#include <math.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static const char prefix[] = "base_model.model.";
enum { CONFIG_LIMIT = 1 << 20 };

struct etk_adapter {
  etk_arena arena;
  etk_model *model; /* one reference */
  etk_lora_options options;
  char *pattern;    /* target_modules as a regular expression, or NULL */
  etk_adapter_module *modules;
  size_t count;
  int *by_linear;   /* index into modules, or -1 */
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
  etk_arena_fini(&a->arena);
  etk_free(a);
}

/* PEFT's rule: a whole name or its last dotted part. */
static bool names_module(const char *target, const char *module) {
  size_t t = strlen(target), m = strlen(module);
  return m == t ? !strcmp(target, module) : m > t && module[m - t - 1] == '.' && !strcmp(module + m - t, target);
}

static bool targets(const etk_lora_options *o, const char *module) {
  for (size_t i = 0; i < o->target_count; i++)
    if (!strcmp(o->target_modules[i], "all-linear") || names_module(o->target_modules[i], module)) return true;
  return false;
}

static etk_status adapter_alloc(etk_error *e, etk_adapter **out, const etk_model *model, const etk_lora_options *options) {
  *out = NULL;
  if (options->rank < 1 || options->rank > 65536) return etk_fail(e, ETK_E_INVALID, "LoRA rank is %lld, wanted 1 to 65536", (long long)options->rank);
  if (!(options->dropout >= 0 && options->dropout < 1)) return etk_fail(e, ETK_E_INVALID, "LoRA dropout is %g, wanted 0 up to (not including) 1", options->dropout);
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

static void add_module(etk_adapter *a, const struct linear *linear, etk_tensor *ta, etk_tensor *tb, bool trainable) {
  double rank = (double)etk_tensor_dim(ta, 0);
  double scale = a->options.use_rslora ? a->options.alpha / sqrt(rank) : a->options.alpha / rank;
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
  add_module(a, linear, ta, tb, true);
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
    for (size_t i = 0; i < a->count && !used; i++) used = names_module(target, a->modules[i].name);
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

/* ---- reading PEFT's files ---- */

struct peft {
  etk_lora_options options;
  const char *targets[256];
  const char *pattern; /* target_modules given as one regular expression */
};

static etk_status unsupported(etk_error *e, const char *name, const char *key, const json_t *value) {
  char *seen = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  etk_status status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"%s\" is %.60s, which changes the adapter's meaning and is not supported by this version", name, key, seen ? seen : "?");
  free(seen);
  return status;
}

/* Keys that this version reads nothing from: anything but empty, false or null would change the result. */
static etk_status check_unsupported(etk_error *e, const char *name, const json_t *root) {
  static const char *const keys[] = {"use_dora", "modules_to_save", "layers_to_transform", "rank_pattern", "alpha_pattern", "layer_replication", "lora_bias",
                                     "target_parameters", "trainable_token_indices", "exclude_modules", "megatron_config", "corda_config", "eva_config"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const json_t *value = json_object_get(root, keys[i]);
    bool empty = !value || json_is_null(value) || json_is_false(value) || (json_is_object(value) && !json_object_size(value)) ||
                 (json_is_array(value) && !json_array_size(value));
    if (!empty) return unsupported(e, name, keys[i], value);
  }
  const json_t *bias = json_object_get(root, "bias");
  if (bias && !(json_is_string(bias) && !strcmp(json_string_value(bias), "none"))) return unsupported(e, name, "bias", bias);
  return ETK_OK;
}

static etk_status read_peft(etk_error *e, struct peft *p, const char *name, const json_t *root, const etk_model *model) {
  const json_t *type = json_object_get(root, "peft_type");
  if (!json_is_string(type) || strcmp(json_string_value(type), "LORA"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: peft_type is %s, wanted \"LORA\"", name, json_is_string(type) ? json_string_value(type) : "missing");
  etk_status status = check_unsupported(e, name, root);
  if (status) return status;
  const json_t *fan = json_object_get(root, "fan_in_fan_out"); /* says that the base's weights are (in, out), which the architecture tells */
  if (json_is_true(fan) && !model->family->conv1d) return unsupported(e, name, "fan_in_fan_out", fan);
  const json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha"), *dropout = json_object_get(root, "lora_dropout");
  if (!json_is_integer(rank)) return etk_fail(e, ETK_E_FORMAT, "%s: \"r\" is missing or no whole number", name);
  if (alpha && !json_is_number(alpha)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_alpha\" is no number", name);
  if (alpha && !(json_number_value(alpha) > 0)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_alpha\" is %g; above 0 is wanted", name, json_number_value(alpha));
  if (dropout && !json_is_number(dropout)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_dropout\" is no number", name);
  p->options = (etk_lora_options){.rank = json_integer_value(rank), .alpha = alpha ? json_number_value(alpha) : 8, .dropout = dropout ? json_number_value(dropout) : 0,
                                  .use_rslora = json_is_true(json_object_get(root, "use_rslora")), .target_modules = p->targets};
  const json_t *list = json_object_get(root, "target_modules");
  if (json_is_string(list)) {
    if (!strcmp(json_string_value(list), "all-linear")) p->targets[p->options.target_count++] = json_string_value(list);
    else p->pattern = json_string_value(list);
    return ETK_OK;
  }
  if (!json_is_array(list) || !json_array_size(list)) return etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" is no list of names, no regular expression and not \"all-linear\"", name);
  if (json_array_size(list) > 256) return etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" has %zu entries, wanted at most 256", name, json_array_size(list));
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    if (!json_is_string(item)) return etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" entry %zu is no text", name, i);
    p->targets[p->options.target_count++] = json_string_value(item);
  }
  return ETK_OK;
}

/* Which linear layers a regular expression means (PEFT: re.fullmatch on the module's name). */
static etk_status match_pattern(etk_error *e, const char *name, const char *pattern, const etk_model *model, bool *wanted) {
  int code;
  PCRE2_SIZE offset;
  pcre2_code *regex = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &code, &offset, NULL);
  pcre2_match_data *match = regex ? pcre2_match_data_create_from_pattern(regex, NULL) : NULL;
  pcre2_match_context *limits = pcre2_match_context_create(NULL);
  etk_status status = ETK_OK;
  if (!regex) status = etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" is no regular expression (error at character %zu)", name, (size_t)offset);
  else if (!match || !limits) status = etk_fail_memory(e);
  else {
    pcre2_set_match_limit(limits, 100000); /* a hostile pattern fails instead of hanging */
    for (int i = 0; i < model->linear_count && !status; i++) {
      int found = pcre2_match(regex, (PCRE2_SPTR)model->linears[i]->name, PCRE2_ZERO_TERMINATED, 0, 0, match, limits);
      wanted[i] = found > 0;
      if (found < 0 && found != PCRE2_ERROR_NOMATCH) status = etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" is too costly a regular expression", name);
    }
  }
  pcre2_match_context_free(limits);
  pcre2_match_data_free(match);
  pcre2_code_free(regex);
  return status;
}

static etk_status take_tensor(etk_error *e, etk_tensor **out, etk_safetensors *file, const char *path, const struct linear *linear, bool first, int64_t rank, bool trainable) {
  etk_shape wanted = first ? etk_shape_of(2, rank, etk__linear_in(linear)) : etk_shape_of(2, etk__linear_out(linear), rank);
  char name[512], a[96], b[96];
  snprintf(name, sizeof name, "%s%s.lora_%c.weight", prefix, linear->name, first ? 'A' : 'B');
  if (!etk_safetensors_find(file, name))
    return etk_fail(e, ETK_E_FORMAT, "%s has no tensor %s, which adapter_config.json's target_modules call for", path, name);
  etk_tensor *mapped = NULL;
  etk_status status = etk_safetensors_tensor(e, &mapped, file, name);
  if (status) return status;
  if (!etk_shape_equal(etk_tensor_shape(mapped), &wanted)) {
    status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, this base model and rank want %s: the adapter belongs to another model", path, name,
                      etk_shape_text(a, sizeof a, etk_tensor_shape(mapped)), etk_shape_text(b, sizeof b, &wanted));
    etk_tensor_unref(mapped);
    return status;
  }
  return etk__weight_prepare(e, out, mapped, trainable);
}

/* Nothing in the file may go unused: an adapter that "applies" without effect is the field's most silent failure. */
static etk_status check_leftovers(etk_error *e, const etk_adapter *a, const etk_safetensors *file, const char *path) {
  for (size_t i = 0; i < etk_safetensors_count(file); i++) {
    const char *name = etk_safetensors_at(file, i)->name;
    bool known = false;
    for (size_t m = 0; m < a->count && !known; m++) {
      size_t size = strlen(a->modules[m].name);
      const char *rest = name + strlen(prefix) + size;
      known = !strncmp(name, prefix, strlen(prefix)) && !strncmp(name + strlen(prefix), a->modules[m].name, size) &&
              (!strcmp(rest, ".lora_A.weight") || !strcmp(rest, ".lora_B.weight"));
    }
    if (!known)
      return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which fits no targeted layer of the model (%zu of its layers are targeted)", path, name, a->count);
  }
  return ETK_OK;
}

static etk_status bind_modules(etk_error *e, etk_adapter *a, const bool *wanted, etk_safetensors *file, const char *path, bool trainable) {
  for (int i = 0; i < a->model->linear_count; i++) {
    const struct linear *linear = a->model->linears[i];
    if (!wanted[i]) continue;
    etk_tensor *ta = NULL, *tb = NULL;
    etk_status status = take_tensor(e, &ta, file, path, linear, true, a->options.rank, trainable);
    if (!status) status = take_tensor(e, &tb, file, path, linear, false, a->options.rank, trainable);
    if (status) {
      etk_tensor_unref(ta);
      return status;
    }
    add_module(a, linear, ta, tb, trainable);
  }
  if (!a->count) return etk_fail(e, ETK_E_FORMAT, "%s: target_modules names no linear layer of the model; the adapter would do nothing", path);
  return ETK_OK;
}

static etk_status open_files(etk_error *e, etk_adapter **out, const etk_model *model, const char *config_path, const char *weights_path, bool trainable) {
  char *text = NULL;
  size_t size = 0;
  etk_status status = etk_fs_read(e, &text, &size, config_path, CONFIG_LIMIT);
  if (status) return status;
  json_t *root = NULL;
  status = etk__json_parse(e, &root, config_path, text, size);
  etk_free(text);
  if (status) return status;
  struct peft *peft = etk_calloc(1, sizeof *peft);
  bool *wanted = etk_calloc((size_t)model->linear_count, sizeof *wanted);
  etk_adapter *a = NULL;
  etk_safetensors *file = NULL;
  status = peft && wanted ? read_peft(e, peft, config_path, root, model) : etk_fail_memory(e);
  if (!status) status = adapter_alloc(e, &a, model, &peft->options);
  if (!status && peft->pattern) {
    a->pattern = etk_arena_strdup(&a->arena, peft->pattern);
    status = a->pattern ? match_pattern(e, config_path, peft->pattern, model, wanted) : etk_fail_memory(e);
  } else if (!status)
    for (int i = 0; i < model->linear_count; i++) wanted[i] = targets(&a->options, model->linears[i]->name);
  if (!status) status = etk_safetensors_open(e, &file, weights_path);
  if (!status) status = bind_modules(e, a, wanted, file, weights_path, trainable);
  if (!status) status = check_leftovers(e, a, file, weights_path);
  etk_safetensors_close(file);
  json_decref(root);
  etk_free(wanted);
  etk_free(peft);
  if (status) etk_adapter_free(a);
  else *out = a;
  return status;
}

etk_status etk_adapter_open(etk_error *e, etk_adapter **out, const etk_model *model, const char *folder, bool trainable) {
  *out = NULL;
  char *config = etk_path_join(folder, "adapter_config.json"), *weights = etk_path_join(folder, "adapter_model.safetensors");
  etk_status status;
  if (!config || !weights) status = etk_fail_memory(e);
  else if (!etk_fs_exists(folder)) status = etk_fail(e, ETK_E_NOT_FOUND, "adapter %s: no such folder", folder);
  else if (!etk_fs_exists(config) || !etk_fs_exists(weights))
    status = etk_fail(e, ETK_E_NOT_FOUND, "adapter %s has no %s; wanted a PEFT adapter folder (adapter_config.json and adapter_model.safetensors)", folder,
                      etk_fs_exists(config) ? "adapter_model.safetensors" : "adapter_config.json");
  else status = open_files(e, out, model, config, weights, trainable);
  etk_free(config);
  etk_free(weights);
  return status;
}

/* ---- writing ---- */
static json_t *peft_json(const etk_adapter *a) {
  json_t *list = a->pattern ? json_string(a->pattern) : NULL;
  if (!list && a->options.target_count == 1 && !strcmp(a->options.target_modules[0], "all-linear")) list = json_string("all-linear");
  if (!list) {
    list = json_array();
    for (size_t i = 0; i < a->options.target_count; i++) json_array_append_new(list, json_string(a->options.target_modules[i]));
  }
  json_t *base = json_string(etk_model_path(a->model));
  if (!base) base = json_string(""); /* a path that is no UTF-8 */
  json_t *alpha = a->options.alpha == floor(a->options.alpha) && fabs(a->options.alpha) < 1e15 ? json_integer((json_int_t)a->options.alpha) : json_real(a->options.alpha);
  return json_pack("{s:s, s:s, s:o, s:n, s:n, s:b, s:I, s:o, s:f, s:o, s:b, s:s, s:b, s:b, s:b, s:n, s:n, s:n, s:n, s:n, s:s, s:{}, s:{}, s:{}}", "peft_type", "LORA",
                   "task_type", "CAUSAL_LM", "base_model_name_or_path", base, "revision", "auto_mapping", "inference_mode", 1, "r",
                   (json_int_t)a->options.rank, "lora_alpha", alpha, "lora_dropout", a->options.dropout, "target_modules", list, "fan_in_fan_out", a->model->family->conv1d, "bias", "none",
                   "use_rslora", a->options.use_rslora, "use_dora", 0, "init_lora_weights", 1, "modules_to_save", "layers_to_transform", "layers_pattern",
                   "layer_replication", "megatron_config", "megatron_core", "megatron.core", "loftq_config", "rank_pattern", "alpha_pattern");
}

etk_status etk_adapter_save(etk_error *e, const etk_adapter *a, const char *folder, const char *const *metadata, size_t metadata_count) {
  etk_status status = etk__json_write(e, peft_json(a), folder, "adapter_config.json");
  if (status) return status;
  etk_arena names = ETK_ARENA_INIT;
  etk_safetensors_item *items = etk_arena_array(&names, 2 * a->count, sizeof *items);
  const char **pairs = etk_arena_array(&names, 2 * (metadata_count + 1), sizeof *pairs);
  char *path = etk_path_join(folder, "adapter_model.safetensors");
  bool failed = !items || !pairs || !path;
  for (size_t i = 0; i < 2 * a->count && !failed; i++) {
    const etk_adapter_module *m = &a->modules[i / 2];
    const char *name = etk_arena_printf(&names, "%s%s.lora_%c.weight", prefix, m->name, i % 2 ? 'B' : 'A');
    if (name) items[i] = (etk_safetensors_item){name, i % 2 ? m->b : m->a, ETK_F32};
    else failed = true;
  }
  if (failed) status = etk_fail_memory(e);
  else {
    pairs[0] = "format";
    pairs[1] = "pt";
    for (size_t i = 0; i < 2 * metadata_count; i++) pairs[2 + i] = metadata[i];
    status = etk_safetensors_write(e, path, items, 2 * a->count, pairs, metadata_count + 1, true);
  }
  etk_free(path);
  etk_arena_fini(&names);
  return status;
}
