/* PEFT's form: adapter_config.json and adapter_model.safetensors (or PyTorch's adapter_model.bin), names base_model.model.<module>.lora_A.weight. */
#include "adapter_parts.h"

#include "ml/format/json.h"

#include <etk/weights.h>
#include <math.h>

static const char prefix[] = "base_model.model.";
enum { PREFIX = sizeof prefix - 1, SAVED = 1024 };

/* ---- settings ---- */

static etk_status unsupported(etk_error *e, const char *name, const char *key, const json_t *value) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"%s\" is %s, which changes the adapter's meaning and is not supported by this version", name, key,
                  etk__json_show(value).text);
}

/* Keys that this version reads nothing from: anything but empty, false or null would change the result. */
static etk_status check_unsupported(etk_error *e, const char *name, const json_t *root) {
  static const char *const keys[] = {"layer_replication", "lora_bias", "target_parameters", "trainable_token_indices", "megatron_config", "corda_config",
                                     "eva_config", "alora_invocation_tokens", "use_qalora", "arrow_config"};
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

static etk_status read_settings(etk_error *e, etk__adapter_parts *p, const json_t *root, const etk_model *base) {
  const char *name = p->config_path;
  const json_t *type = json_object_get(root, "peft_type");
  if (!json_is_string(type) || strcmp(json_string_value(type), "LORA"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: peft_type is %s, wanted \"LORA\"", name, json_is_string(type) ? json_string_value(type) : "missing");
  etk_status status = check_unsupported(e, name, root);
  if (status) return status;
  const json_t *fan = json_object_get(root, "fan_in_fan_out"); /* says that the base's weights are (in, out), which the architecture tells */
  if (json_is_true(fan) && base && !base->family->conv1d) return unsupported(e, name, "fan_in_fan_out", fan);
  const json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha"), *dropout = json_object_get(root, "lora_dropout");
  if (!json_is_integer(rank)) return etk_fail(e, ETK_E_FORMAT, "%s: \"r\" is missing or no whole number", name);
  if (alpha && !json_is_number(alpha)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_alpha\" is no number", name);
  if (alpha && !(json_number_value(alpha) > 0)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_alpha\" is %g; above 0 is wanted", name, json_number_value(alpha));
  if (dropout && !json_is_number(dropout)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_dropout\" is no number", name);
  p->options = (etk_lora_options){.rank = json_integer_value(rank), .alpha = alpha ? json_number_value(alpha) : 8,
                                  .dropout = dropout ? json_number_value(dropout) : 0,
                                  .use_rslora = json_is_true(json_object_get(root, "use_rslora"))};
  if (!(p->options.dropout >= 0 && p->options.dropout < 1))
    return etk_fail(e, ETK_E_INVALID, "%s: LoRA dropout is %g, wanted 0 up to (not including) 1", name, p->options.dropout);
  if (json_array_size(json_object_get(root, "modules_to_save")) > SAVED)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"modules_to_save\" has more than %d entries", name, SAVED);
  const json_t *list = json_object_get(root, "target_modules"), *item;
  const char **targets = etk_arena_array(&p->arena, json_array_size(list) + 1, sizeof *targets);
  p->options.target_modules = targets;
  if (!targets) return etk_fail_memory(e);
  status = etk__adapter_targets_new(e, &p->targets, name, root);
  if (status) return status;
  if (json_is_string(list) && !strcmp(json_string_value(list), "all-linear")) targets[p->options.target_count++] = json_string_value(list);
  for (size_t i = 0; i < json_array_size(list) && (item = json_array_get(list, i)); i++) targets[p->options.target_count++] = json_string_value(item); /* live with the config */
  const json_t *path = json_object_get(root, "base_model_name_or_path");
  if (json_is_string(path)) p->base = json_string_value(path);
  return ETK_OK;
}

/* ---- tensors ---- */

static const etk__adapter_ending endings[] = {
    {".lora_A.weight", ETK__LEAF_A, false},       {".lora_B.weight", ETK__LEAF_B, false},
    {".lora_embedding_A", ETK__LEAF_A, true},     {".lora_embedding_B", ETK__LEAF_B, true},
    {".lora_magnitude_vector", ETK__LEAF_MAGNITUDE, false}, {".lora_magnitude_vector.weight", ETK__LEAF_MAGNITUDE, false},
};

/* Whole weights that PEFT keeps beside the pairs: modules_to_save, and the embedding that an adapter of it changes. */
static bool is_saved(const etk__adapter_parts *p, const char *name) {
  const json_t *list = json_object_get(p->config, "modules_to_save"), *item;
  const char *dot = strrchr(name, '.');
  if (strstr(name, ".base_layer.")) return true;
  for (size_t i = 0; dot && i < json_array_size(list) && (item = json_array_get(list, i)); i++) {
    char module[512];
    if ((size_t)(dot - name) >= sizeof module || !json_is_string(item)) continue;
    memcpy(module, name, (size_t)(dot - name));
    module[dot - name] = 0;
    if (etk__names_module(json_string_value(item), module)) return true;
  }
  return false;
}

/* Nothing in the file may go unused: an adapter that "applies" without effect is the field's most silent failure. */
static etk_status take(etk_error *e, etk__adapter_parts *p, etk_weights *file, const char *name) {
  size_t module_size;
  etk_tensor *tensor = NULL;
  const etk__adapter_ending *ending = NULL;
  bool ours = !strncmp(name, prefix, PREFIX);
  if (ours) ending = etk__adapter_ending_of(endings, sizeof endings / sizeof *endings, name + PREFIX, &module_size);
  if (!ours || (!ending && !is_saved(p, name + PREFIX)))
    return etk_fail(e, ETK_E_FORMAT,
                    "%s holds the tensor %s, which fits no targeted layer of the model: %s<module>.lora_A.weight and .lora_B.weight are wanted",
                        p->path, name, prefix);
  etk_status status = etk_weights_tensor(e, &tensor, file, name, NULL);
  if (status) return status;
  if (ending) return etk__adapter_parts_add(e, p, name + PREFIX, module_size, name, ending->kind, ending->embedding, tensor);
  const char *copy = etk_arena_strdup(&p->arena, name + PREFIX);
  if (!copy) {
    etk_tensor_unref(tensor);
    return etk_fail_memory(e);
  }
  p->saved[p->saved_count++] = (struct etk__adapter_saved){copy, tensor};
  return ETK_OK;
}

static etk_status check_part(etk_error *e, etk__adapter_parts *p, etk__adapter_part *part, bool dora) {
  double rank = (double)p->options.rank, alpha = p->options.alpha;
  etk_status status = etk__adapter_targets_values(e, p->targets, part->module, &rank, &alpha);
  if (status) return status;
  char text[96];
  if (rank != (double)etk__part_rank(part))
    return etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s, but %s gives this module rank %g", p->path, part->name,
                    etk_shape_text(text, sizeof text, etk_tensor_shape(part->a)), p->config_path, rank);
  part->scale = p->options.use_rslora ? alpha / sqrt(rank) : alpha / rank;
  if (dora != (part->magnitude != NULL))
    return etk_fail(e, ETK_E_FORMAT, "%s: %s has %s, but %s says \"use_dora\": %s", p->path, part->module, dora ? "no magnitude" : "a magnitude",
                    p->config_path, dora ? "true" : "false");
  return ETK_OK;
}

static etk_status read_tensors(etk_error *e, etk__adapter_parts *p) {
  etk_weights *file = NULL;
  etk_status status = etk_weights_open(e, &file, p->path);
  size_t count = status ? 0 : etk_weights_count(file);
  if (!status && !(p->saved = etk_arena_array(&p->arena, count + 1, sizeof *p->saved))) status = etk_fail_memory(e);
  for (size_t i = 0; i < count && !status; i++) status = take(e, p, file, etk_weights_at(file, i)->name);
  etk_weights_close(file);
  return status;
}

etk_status etk__adapter_read_peft(etk_error *e, etk__adapter_parts *p, const char *path, const etk_model *base) {
  static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin", NULL};
  p->form = ETK_ADAPTER_PEFT;
  etk_status status = etk__adapter_folder(e, p, path, names, &p->config);
  if (!status) status = read_settings(e, p, p->config, base);
  if (!status && (p->options.rank < 1 || p->options.rank > 65536))
    status = etk_fail(e, ETK_E_INVALID, "%s: LoRA rank is %lld, wanted 1 to 65536", p->config_path, (long long)p->options.rank);
  if (!status) status = read_tensors(e, p);
  if (!status && (p->leaf_count || !p->saved_count)) status = etk__adapter_parts_group(e, p);
  bool dora = json_is_true(json_object_get(p->config, "use_dora"));
  for (size_t i = 0; i < p->count && !status; i++) status = check_part(e, p, &p->parts[i], dora);
  return status;
}

/* ---- writing ---- */

static json_t *number(double value) { return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value); }

/* A copy of the setting as it was read, or NULL. */
static json_t *as_read(const etk__adapter_parts *p, const char *key) { return p->config ? json_deep_copy(json_object_get(p->config, key)) : NULL; }

/* NULL where memory ran out while a list was filled: half a list would mean something else. */
static json_t *whole(json_t *list, size_t wanted) {
  size_t count = json_is_object(list) ? json_object_size(list) : json_array_size(list);
  if (list && count == wanted) return list;
  json_decref(list);
  return NULL;
}

static json_t *targets_json(const etk__adapter_parts *p) {
  json_t *list = as_read(p, "target_modules");
  if (list) return list;
  if (p->options.target_count == 1 && !strcmp(p->options.target_modules[0], "all-linear")) return json_string("all-linear");
  list = json_array();
  for (size_t i = 0; i < p->options.target_count; i++) json_array_append_new(list, json_string(p->options.target_modules[i]));
  return whole(list, p->options.target_count);
}

static json_t *layers_json(const etk__adapter_parts *p) {
  json_t *list = as_read(p, "layers_to_transform");
  if (list || !p->layer_count) return list ? list : json_null();
  list = json_array();
  for (size_t i = 0; i < p->layer_count; i++) json_array_append_new(list, json_integer(p->layers[i]));
  return whole(list, p->layer_count);
}

/* Ranks, or alphas, of the parts that differ from the whole's. */
static json_t *pattern_json(const etk__adapter_parts *p, const char *key, bool ranks) {
  json_t *object = as_read(p, key);
  if (object) return object;
  object = json_object();
  size_t count = 0;
  for (size_t i = 0; i < p->count; i++) {
    const etk__adapter_part *part = &p->parts[i];
    double rank = (double)etk__part_rank(part), divisor = p->options.use_rslora ? sqrt(rank) : rank;
    bool differs = ranks ? etk__part_rank(part) != p->options.rank : (float)(p->options.alpha / divisor) != (float)part->scale;
    if (!differs) continue;
    count++;
    json_object_set_new(object, part->module, ranks ? json_integer(etk__part_rank(part)) : number(part->scale * divisor));
  }
  return whole(object, count);
}

static bool is_conv1d(const etk__adapter_parts *p, const etk_model *base) {
  if (base) return base->family->conv1d;
  if (p->config) return json_is_true(json_object_get(p->config, "fan_in_fan_out"));
  for (size_t i = 0; i < p->count; i++) /* GPT-2's names, where no model tells */
    if (etk__names_module("attn.c_attn", p->parts[i].module) || etk__names_module("mlp.c_fc", p->parts[i].module)) return true;
  return false;
}

static json_t *config_json(const etk__adapter_parts *p, const etk_model *base) {
  bool dora = p->count && p->parts[0].magnitude;
  json_t *path = json_string(base && *etk_model_path(base) ? etk_model_path(base) : p->base ? p->base : ""), *saved = as_read(p, "modules_to_save"),
      *pattern = as_read(p, "layers_pattern");
  if (!path) path = json_string(""); /* a path that is no UTF-8 */
  json_t *root = json_pack("{s:s, s:s, s:o, s:n, s:n, s:b, s:I, s:o, s:f, s:o, s:b, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:n, s:n, s:s, s:{}, s:o, s:o}", "peft_type", "LORA",
                           "task_type", "CAUSAL_LM", "base_model_name_or_path", path, "revision", "auto_mapping", "inference_mode", 1, "r",
                           (json_int_t)p->options.rank, "lora_alpha", number(p->options.alpha), "lora_dropout", p->options.dropout, "target_modules",
                               targets_json(p), "fan_in_fan_out",
                           is_conv1d(p, base), "bias", "none", "use_rslora", p->options.use_rslora, "use_dora", dora, "init_lora_weights", 1, "modules_to_save",
                           saved ? saved : json_null(), "layers_to_transform", layers_json(p), "layers_pattern", pattern ? pattern : json_null(),
                               "layer_replication",
                           "megatron_config", "megatron_core", "megatron.core", "loftq_config", "rank_pattern", pattern_json(p, "rank_pattern", true),
                               "alpha_pattern",
                           pattern_json(p, "alpha_pattern", false));
  json_t *excluded = root ? as_read(p, "exclude_modules") : NULL;
  if (excluded && json_object_set_new(root, "exclude_modules", excluded)) {
    json_decref(root);
    return NULL;
  }
  return root;
}

etk_status etk__adapter_write_peft(etk_error *e, const etk__adapter_parts *p, const char *folder, const etk_model *base, etk__adapter_metadata metadata) {
  static const char *const own[] = {"format", "pt"};
  etk_status status = etk__json_write(e, config_json(p, base), folder, "adapter_config.json");
  if (status) return status;
  etk_arena names = ETK_ARENA_INIT;
  size_t count = 0;
  etk__adapter_item *items = etk_arena_array(&names, 3 * p->count + p->saved_count + 1, sizeof *items);
  const char *path = etk_arena_printf(&names, "%s/adapter_model.safetensors", folder);
  bool failed = !items || !path;
  for (size_t i = 0; i < p->count && !failed; i++) {
    const etk__adapter_part *part = &p->parts[i];
    const char *form = part->embedding ? "%s%s.lora_embedding_%c" : "%s%s.lora_%c.weight";
    items[count++] = (etk__adapter_item){etk_arena_printf(&names, form, prefix, part->module, 'A'), part->a};
    items[count++] = (etk__adapter_item){etk_arena_printf(&names, form, prefix, part->module, 'B'), part->b};
    if (part->magnitude) items[count++] = (etk__adapter_item){etk_arena_printf(&names, "%s%s.lora_magnitude_vector", prefix, part->module), part->magnitude};
  }
  for (size_t i = 0; i < p->saved_count && !failed; i++)
    items[count++] = (etk__adapter_item){etk_arena_printf(&names, "%s%s", prefix, p->saved[i].name), p->saved[i].tensor};
  for (size_t i = 0; i < count && !failed; i++) failed = !items[i].name;
  status = failed ? etk_fail_memory(e) : etk__adapter_write_safetensors(e, path, items, count, own, 1, metadata);
  etk_arena_fini(&names);
  return status;
}
