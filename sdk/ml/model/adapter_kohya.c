/* kohya's form: one safetensors file, names lora_te_<module with underscores for dots>.lora_down.weight (rank, in), .lora_up.weight (out, rank) and .alpha (one
 * number; without it the scale is 1). A dot and an underscore of a name look alike, so that only a model's own list of modules tells what is meant. */
#include "adapter_parts.h"

#include <etk/safetensors.h>
#include <math.h>

static const char *const prefixes[] = {"lora_te_", "lora_te1_", "lora_te2_", "lora_unet_"};

static etk_status take(etk_error *e, etk__adapter_parts *p, etk_safetensors *file, const char *name) {
  static const etk__adapter_ending endings[] = {{".lora_down.weight", ETK__LEAF_A, false}, {".lora_up.weight", ETK__LEAF_B, false},
                                                {".alpha", ETK__LEAF_ALPHA, false}};
  size_t size;
  const etk__adapter_ending *ending = etk__adapter_ending_of(endings, 3, name, &size);
  if (!ending)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s holds the tensor %s; names that end in .lora_down.weight, .lora_up.weight or .alpha are read, other kinds (LoCon, LoHa, LoKr, DoRA) are not", p->path, name);
  etk_tensor *tensor = NULL;
  etk_status status = etk_safetensors_tensor(e, &tensor, file, name);
  return status ? status : etk__adapter_parts_add(e, p, name, size, name, ending->kind, false, tensor);
}

/* A module of the model under its name with underscores. */
struct flat {
  const char *flat, *module;
};
static int compare_flat(const void *a, const void *b) { return strcmp(((const struct flat *)a)->flat, ((const struct flat *)b)->flat); }

static const char *flattened(etk_arena *arena, const char *prefix, const char *module) {
  char *text = etk_arena_printf(arena, "%s%s", prefix, module);
  for (char *c = text; c && *c; c++)
    if (*c == '.') *c = '_';
  return text;
}

static etk_status list_modules(etk_error *e, etk__adapter_parts *p, const etk_model *base, struct flat **out, size_t *count) {
  const char *optional = base->family->optional_prefix;
  struct flat *list = etk_arena_array(&p->arena, 2 * (size_t)base->linear_count + 1, sizeof *list);
  if (!list) return etk_fail_memory(e);
  *out = list;
  *count = 0;
  for (int i = 0; i < base->linear_count; i++) {
    const char *name = base->linears[i]->name;
    bool shorter = optional && !strncmp(name, optional, strlen(optional));
    list[(*count)++] = (struct flat){flattened(&p->arena, "", name), name};
    if (shorter) list[(*count)++] = (struct flat){flattened(&p->arena, "", name + strlen(optional)), name};
    if (!list[*count - 1].flat || !list[*count - 1 - shorter].flat) return etk_fail_memory(e);
  }
  if (*count) qsort(list, *count, sizeof *list, compare_flat);
  for (size_t i = 1; i < *count; i++)
    if (!strcmp(list[i - 1].flat, list[i].flat))
      return etk_fail(e, ETK_E_UNSUPPORTED, "the modules %s and %s of the model have the same name in kohya's form", list[i - 1].module, list[i].module);
  return ETK_OK;
}

static etk_status resolve(etk_error *e, etk__adapter_parts *p, const etk_model *base) {
  struct flat *list = NULL;
  size_t count = 0;
  if (!base)
    return etk_fail(e, ETK_E_INVALID,
                    "%s: names of kohya's form, such as %s, do not tell dots from underscores; name the base model (--base), whose modules they are",
                        p->path, p->parts[0].module);
  etk_status status = list_modules(e, p, base, &list, &count);
  for (size_t i = 0; i < p->count && !status; i++) {
    etk__adapter_part *part = &p->parts[i];
    const struct flat *found = NULL;
    for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes && !found; k++) {
      size_t size = strlen(prefixes[k]);
      struct flat key = {part->module + size, NULL};
      if (!strncmp(part->module, prefixes[k], size)) found = bsearch(&key, list, count, sizeof *list, compare_flat);
    }
    if (found) part->module = found->module;
    else status = etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which fits no module of the model %s", p->path, part->name, etk_model_path(base));
  }
  if (status) return status;
  etk__adapter_parts_sort(p); /* two prefixes may not mean one module */
  for (size_t i = 1; i < p->count; i++)
    if (!strcmp(p->parts[i - 1].module, p->parts[i].module))
      return etk_fail(e, ETK_E_FORMAT, "%s: %s and %s mean the same module", p->path, p->parts[i - 1].name, p->parts[i].name);
  for (size_t i = 0; i < p->count; i++) /* the model may go before the parts */
    if (!(p->parts[i].module = etk_arena_strdup(&p->arena, p->parts[i].module))) return etk_fail_memory(e);
  return ETK_OK;
}

etk_status etk__adapter_read_kohya(etk_error *e, etk__adapter_parts *p, const char *path, const etk_model *base) {
  etk_safetensors *file = NULL;
  p->form = ETK_ADAPTER_KOHYA;
  p->path = etk_arena_strdup(&p->arena, path);
  etk_status status = p->path ? etk_safetensors_open(e, &file, path) : etk_fail_memory(e);
  for (size_t i = 0; !status && i < etk_safetensors_count(file); i++) status = take(e, p, file, etk_safetensors_at(file, i)->name);
  etk_safetensors_close(file);
  if (!status) status = etk__adapter_parts_group(e, p);
  if (!status) status = resolve(e, p, base);
  if (status) return status;
  for (size_t i = 0; i < p->count; i++)
    if (isnan(p->parts[i].scale)) p->parts[i].scale = 1;
  p->options = (etk_lora_options){.rank = etk__part_rank(&p->parts[0]), .alpha = p->parts[0].scale * (double)etk__part_rank(&p->parts[0])};
  return etk__adapter_derive_targets(e, p, base);
}

/* ---- writing ---- */

/* The number whose quotient by the rank is the scale: F32 as the field writes it, F64 where F32 would round the scale. */
static etk_status alpha_tensor(etk_error *e, etk_tensor **out, double scale, int64_t rank) {
  double alpha = scale * (double)rank;
  float narrow = (float)alpha;
  bool exact = (float)((double)narrow / (double)rank) == (float)scale;
  etk_status status = etk_tensor_new(e, out, exact ? ETK_F32 : ETK_F64, (etk_shape){0});
  if (!status) memcpy(etk_tensor_data(*out), exact ? (void *)&narrow : (void *)&alpha, exact ? sizeof narrow : sizeof alpha);
  return status;
}

etk_status etk__adapter_write_kohya(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata) {
  (void)base;
  etk_status status = etk__adapter_need_plain(e, p, "kohya's form", false, false);
  if (status) return status;
  etk_arena arena = ETK_ARENA_INIT;
  etk__adapter_item *items = etk_arena_array(&arena, 3 * p->count + 1, sizeof *items);
  etk_tensor **alphas = etk_arena_array(&arena, p->count + 1, sizeof *alphas);
  if (!items || !alphas) status = etk_fail_memory(e);
  for (size_t i = 0; i < p->count && !status; i++) {
    const etk__adapter_part *part = &p->parts[i];
    const char *name = flattened(&arena, prefixes[0], part->module);
    status = alpha_tensor(e, &alphas[i], part->scale, etk__part_rank(part));
    if (status || !name) break;
    items[3 * i] = (etk__adapter_item){etk_arena_printf(&arena, "%s.lora_down.weight", name), part->a};
    items[3 * i + 1] = (etk__adapter_item){etk_arena_printf(&arena, "%s.lora_up.weight", name), part->b};
    items[3 * i + 2] = (etk__adapter_item){etk_arena_printf(&arena, "%s.alpha", name), alphas[i]};
  }
  for (size_t i = 0; i < 3 * p->count && !status; i++)
    if (!items[i].name) status = etk_fail_memory(e);
  char rank[32] = "", alpha[40] = "";
  if (p->count) {
    snprintf(rank, sizeof rank, "%lld", (long long)etk__part_rank(&p->parts[0]));
    snprintf(alpha, sizeof alpha, "%.9g", p->parts[0].scale * (double)etk__part_rank(&p->parts[0]));
  }
  const char *const own[] = {"format", "pt", "ss_network_module", "networks.lora", "ss_network_dim", rank, "ss_network_alpha", alpha};
  if (!status) status = etk__adapter_write_safetensors(e, path, items, 3 * p->count, own, 4, metadata);
  for (size_t i = 0; alphas && i < p->count; i++) etk_tensor_unref(alphas[i]);
  etk_arena_fini(&arena);
  return status;
}
