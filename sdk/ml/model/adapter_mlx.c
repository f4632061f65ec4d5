/* mlx-lm's form: adapter_config.json and adapters.safetensors, names <module>.lora_a (in, rank), .lora_b (rank, out), .m (out) of DoRA. One rank and one scale
 * for all; modules are those of "keys" (names within a layer) in the last num_layers layers. */
#include "adapter_parts.h"

#include "ml/format/json.h"

#include <etk/safetensors.h>
#include <math.h>

enum { KEYS = 4096 };

/* Where mlx-lm's models have other names than Hugging Face's. marker: what tells rows with the same name apart. */
static const struct rename {
  const char *ours, *theirs, *marker;
} renames[] = {
    {"transformer.h.", "model.h.", ".c_"},   {"transformer.wte", "model.wte", NULL},           {"transformer.wpe", "model.wpe", NULL},
    {"gpt_neox.layers.", "model.h.", NULL},  {"gpt_neox.embed_in", "model.embed_in", NULL},    {"embed_out", "model.embed_out", NULL},
};
static const char *renamed(etk_arena *arena, const char *name, bool to_theirs) {
  for (size_t i = 0; i < sizeof renames / sizeof *renames; i++) {
    const char *from = to_theirs ? renames[i].ours : renames[i].theirs, *to = to_theirs ? renames[i].theirs : renames[i].ours;
    if (strncmp(name, from, strlen(from)) || (renames[i].marker && !strstr(name, renames[i].marker))) continue;
    return etk_arena_printf(arena, "%s%s", to, name + strlen(from));
  }
  return etk_arena_strdup(arena, name);
}

static etk_status read_settings(etk_error *e, etk__adapter_parts *p, const json_t *root) {
  const char *name = p->config_path;
  const json_t *type = json_object_get(root, "fine_tune_type"), *set = json_object_get(root, "lora_parameters"), *layers = json_object_get(root, "num_layers");
  const char *kind = json_is_string(type) ? json_string_value(type) : type ? "no text" : "lora";
  if (strcmp(kind, "lora") && strcmp(kind, "dora"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"fine_tune_type\" is \"%.40s\"; adapters are \"lora\" or \"dora\"", name, kind);
  if (!json_is_object(set)) return etk_fail(e, ETK_E_FORMAT, "%s: \"lora_parameters\" is missing or no object", name);
  if (!layers) layers = json_object_get(root, "lora_layers"); /* before mlx-lm 0.20 */
  if (layers && !json_is_integer(layers)) return etk_fail(e, ETK_E_FORMAT, "%s: \"num_layers\" is no whole number", name);
  p->num_layers = layers && json_integer_value(layers) > 0 ? json_integer_value(layers) : -1;
  const json_t *rank = json_object_get(set, "rank"), *scale = json_object_get(set, "scale"), *dropout = json_object_get(set, "dropout"),
      *path = json_object_get(root, "model");
  if (!json_is_integer(rank) || json_integer_value(rank) < 1 || json_integer_value(rank) > 65536)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"rank\" of \"lora_parameters\" is missing or no whole number from 1 to 65536", name);
  if (!json_is_number(scale)) return etk_fail(e, ETK_E_FORMAT, "%s: \"scale\" of \"lora_parameters\" is missing or no number", name);
  if (dropout && !(json_is_number(dropout) && json_number_value(dropout) >= 0 && json_number_value(dropout) < 1))
    return etk_fail(e, ETK_E_FORMAT, "%s: \"dropout\" of \"lora_parameters\" is no number from 0 up to (not including) 1", name);
  p->options = (etk_lora_options){.rank = json_integer_value(rank), .alpha = json_number_value(scale) * (double)json_integer_value(rank),
                                  .dropout = dropout ? json_number_value(dropout) : 0};
  if (json_array_size(json_object_get(set, "keys")) > KEYS) return etk_fail(e, ETK_E_FORMAT, "%s: \"keys\" has more than %d entries", name, KEYS);
  if (json_is_string(path) && !(p->base = etk_arena_strdup(&p->arena, json_string_value(path)))) return etk_fail_memory(e);
  return ETK_OK;
}

static etk_status take(etk_error *e, etk__adapter_parts *p, etk_safetensors *file, const char *name) {
  static const etk__adapter_ending endings[] = {{".lora_a", ETK__LEAF_A, false}, {".lora_b", ETK__LEAF_B, false}, {".m", ETK__LEAF_MAGNITUDE, false}};
  size_t size;
  const etk__adapter_ending *ending = etk__adapter_ending_of(endings, 3, name, &size);
  if (!ending) return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s; names that end in .lora_a, .lora_b or .m (DoRA) are wanted", p->path, name);
  etk_tensor *tensor = NULL, *turned = NULL;
  etk_status status = etk_safetensors_tensor(e, &tensor, file, name);
  if (status) return status;
  bool factor = ending->kind != ETK__LEAF_MAGNITUDE;
  if (factor) {
    if (etk_tensor_shape(tensor)->rank == 3)
      status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor %s is of a stack of experts, which is not supported by this version", p->path, name);
    else if (etk_tensor_shape(tensor)->rank != 2)
      status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has %d dims, wanted 2", p->path, name, etk_tensor_shape(tensor)->rank);
    else status = etk__adapter_transposed(e, &turned, tensor);
    etk_tensor_unref(tensor);
    tensor = turned;
  }
  char *stem = status ? NULL : etk_arena_strndup(&p->arena, name, size);
  const char *module = stem ? renamed(&p->arena, stem, false) : NULL;
  if (!status && !module) {
    etk_tensor_unref(tensor);
    return etk_fail_memory(e);
  }
  return status ? status : etk__adapter_parts_add(e, p, module, strlen(module), name, ending->kind, factor && etk__module_is_embedding(module), tensor);
}

/* mlx-lm refuses names that "keys" and "num_layers" do not call for, and so do we: they would have no effect there. */
static etk_status check_part(etk_error *e, const etk__adapter_parts *p, const etk__adapter_part *part, const json_t *set, bool dora, const etk_model *base) {
  char text[96];
  if (etk__part_rank(part) != p->options.rank)
    return etk_fail(e, ETK_E_SHAPE, "%s: the pair of %s has A %s transposed, but %s says rank %lld", p->path, part->name,
                    etk_shape_text(text, sizeof text, etk_tensor_shape(part->a)), p->config_path, (long long)p->options.rank);
  if (dora != (part->magnitude != NULL))
    return etk_fail(e, ETK_E_FORMAT, "%s: %s has %s, but %s says \"fine_tune_type\": \"%s\"", p->path, part->module,
                    dora ? "no magnitude" : "a magnitude", p->config_path, dora ? "dora" : "lora");
  const char *rest;
  int64_t layer = etk__module_layer(part->module, &rest);
  const json_t *keys = json_object_get(set, "keys"), *key;
  bool called = !json_is_array(keys);
  for (size_t i = 0; i < json_array_size(keys) && !called && (key = json_array_get(keys, i)); i++)
    called = json_is_string(key) && !strcmp(json_string_value(key), rest);
  if (!called) return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, but \"keys\" of %s does not have \"%s\"", p->path, part->name, p->config_path, rest);
  if (base && layer >= 0 && p->num_layers > 0 && layer < base->config.num_hidden_layers - p->num_layers)
    return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, but %s says that only the last %lld of %lld layers are adapted", p->path, part->name,
                    p->config_path, (long long)p->num_layers, (long long)base->config.num_hidden_layers);
  return ETK_OK;
}

etk_status etk__adapter_read_mlx(etk_error *e, etk__adapter_parts *p, const char *path, const etk_model *base) {
  static const char *const names[] = {"adapters.safetensors", NULL};
  p->form = ETK_ADAPTER_MLX;
  json_t *root = NULL;
  etk_safetensors *file = NULL;
  etk_status status = etk__adapter_folder(e, p, path, names, &root);
  if (!status) status = read_settings(e, p, root);
  if (!status) status = etk_safetensors_open(e, &file, p->path);
  for (size_t i = 0; !status && i < etk_safetensors_count(file); i++) status = take(e, p, file, etk_safetensors_at(file, i)->name);
  etk_safetensors_close(file);
  if (!status) status = etk__adapter_parts_group(e, p);
  const json_t *set = json_object_get(root, "lora_parameters"), *type = json_object_get(root, "fine_tune_type");
  bool dora = json_is_string(type) && !strcmp(json_string_value(type), "dora");
  for (size_t i = 0; i < p->count && !status; i++) {
    status = check_part(e, p, &p->parts[i], set, dora, base);
    p->parts[i].scale = json_number_value(json_object_get(set, "scale"));
  }
  json_decref(root);
  return status ? status : etk__adapter_derive_targets(e, p, base);
}

/* ---- writing ---- */

static etk_status check_uniform(etk_error *e, const etk__adapter_parts *p) {
  etk_status status = etk__adapter_need_plain(e, p, "mlx-lm's form", true, true);
  for (size_t i = 0; i < p->count && !status; i++) {
    const etk__adapter_part *a = &p->parts[0], *b = &p->parts[i];
    if (etk__part_rank(a) != etk__part_rank(b) || (float)a->scale != (float)b->scale)
      status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has rank %lld and scale %g, %s has %lld and %g; mlx-lm's form has one of each for all modules",
                        p->path, a->module, (long long)etk__part_rank(a), a->scale, b->module, (long long)etk__part_rank(b), b->scale);
    else if ((a->magnitude != NULL) != (b->magnitude != NULL))
      status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has a magnitude and %s has none", p->path, a->magnitude ? a->module : b->module,
                        a->magnitude ? b->module : a->module);
    else if (strstr(b->module, ".experts."))
      status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s is one of a stack of experts in mlx-lm, which is not supported by this version", p->path, b->module);
  }
  return status;
}

/* "keys": each name within a layer once. NULL where memory ran out. */
static json_t *keys_json(const etk__adapter_parts *p, etk_arena *arena) {
  json_t *keys = json_array(), *seen = json_object();
  bool failed = !keys || !seen;
  for (size_t i = 0; i < p->count && !failed; i++) {
    const char *name = renamed(arena, p->parts[i].module, true), *rest = name;
    if (name) etk__module_layer(name, &rest);
    if (name && json_object_get(seen, rest)) continue;
    failed = !name || json_object_set_new(seen, rest, json_true()) || json_array_append_new(keys, json_string(rest));
  }
  json_decref(seen);
  if (!failed) return keys;
  json_decref(keys);
  return NULL;
}

static json_t *config_json(const etk__adapter_parts *p, const etk_model *base, etk_arena *arena) {
  int64_t first = INT64_MAX;
  for (size_t i = 0; i < p->count; i++) {
    int64_t layer = etk__module_layer(p->parts[i].module, NULL);
    if (layer >= 0 && layer < first) first = layer;
  }
  int64_t layers = base && first < base->config.num_hidden_layers ? base->config.num_hidden_layers - first : -1; /* -1 is always right: a layer without its pair stays as it is */
  json_t *path = json_string(base && *etk_model_path(base) ? etk_model_path(base) : p->base ? p->base : "");
  if (!path) path = json_string("");
  return json_pack("{s:s, s:o, s:I, s:{s:I, s:f, s:f, s:o}}", "fine_tune_type", p->parts[0].magnitude ? "dora" : "lora", "model", path, "num_layers",
                   (json_int_t)layers, "lora_parameters", "rank", (json_int_t)etk__part_rank(&p->parts[0]), "scale", p->parts[0].scale, "dropout",
                   p->options.dropout, "keys", keys_json(p, arena));
}

etk_status etk__adapter_write_mlx(etk_error *e, const etk__adapter_parts *p, const char *folder, const etk_model *base, etk__adapter_metadata metadata) {
  static const char *const own[] = {"format", "mlx"};
  etk_status status = check_uniform(e, p);
  if (!status && !p->count) status = etk_fail(e, ETK_E_INVALID, "%s holds no pair of an adapter", p->path);
  if (status) return status;
  etk_arena arena = ETK_ARENA_INIT;
  etk__adapter_item *items = etk_arena_array(&arena, 3 * p->count, sizeof *items);
  etk_tensor **turned = etk_arena_array(&arena, 2 * p->count, sizeof *turned);
  const char *path = etk_arena_printf(&arena, "%s/adapters.safetensors", folder);
  size_t count = 0;
  json_t *config = items && turned && path ? config_json(p, base, &arena) : NULL;
  size_t keys = json_array_size(json_object_get(json_object_get(config, "lora_parameters"), "keys"));
  if (keys > KEYS) {
    json_decref(config);
    status = etk_fail(e, ETK_E_UNSUPPORTED, "%s: its modules have %zu names within a layer; mlx-lm's form is written with at most %d", p->path, keys, KEYS);
  } else status = config ? etk__json_write(e, config, folder, "adapter_config.json") : etk_fail_memory(e);
  for (size_t i = 0; i < p->count && !status; i++) {
    const etk__adapter_part *part = &p->parts[i];
    const char *name = renamed(&arena, part->module, true);
    status = etk__adapter_transposed(e, &turned[2 * i], part->a);
    if (!status) status = etk__adapter_transposed(e, &turned[2 * i + 1], part->b);
    if (status || !name) break;
    items[count++] = (etk__adapter_item){etk_arena_printf(&arena, "%s.lora_a", name), turned[2 * i]};
    items[count++] = (etk__adapter_item){etk_arena_printf(&arena, "%s.lora_b", name), turned[2 * i + 1]};
    if (part->magnitude) items[count++] = (etk__adapter_item){etk_arena_printf(&arena, "%s.m", name), part->magnitude};
  }
  bool failed = count < 2 * p->count;
  for (size_t i = 0; i < count; i++) failed |= !items[i].name;
  if (!status && failed) status = etk_fail_memory(e);
  if (!status) status = etk__adapter_write_safetensors(e, path, items, count, own, 1, metadata);
  for (size_t i = 0; turned && i < 2 * p->count; i++) etk_tensor_unref(turned[i]);
  etk_arena_fini(&arena);
  return status;
}
