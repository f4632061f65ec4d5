/* A conversion from beginning to end: what comes in, what goes out, and the errors between. */
#include "internal.h"
#include "ml/model/config.h"

#include <etk/fs.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const format_names[ETK_CONVERT_FORMATS] = {"", "hf", "gguf", "mlx", "safetensors", "npz", "pth"};
const char *etk_convert_format_name(etk_convert_format format) { return (unsigned)format < ETK_CONVERT_FORMATS ? format_names[format] : ""; }
bool etk_convert_format_parse(etk_convert_format *out, const char *name) {
  for (int i = ETK_CONVERT_HF; i < ETK_CONVERT_FORMATS; i++)
    if (!strcasecmp(format_names[i], name)) return *out = (etk_convert_format)i, true;
  return false;
}

static const struct {
  const char *tail;
  etk_convert_format format;
} tails[] = {{".gguf", ETK_CONVERT_GGUF}, {".safetensors", ETK_CONVERT_SAFETENSORS}, {".npz", ETK_CONVERT_NPZ}, {".pth", ETK_CONVERT_PTH},
             {".pt", ETK_CONVERT_PTH}};

static etk_convert_format format_by_name(const char *path) {
  size_t size = strlen(path);
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
    if (size > strlen(tails[i].tail) && !strcasecmp(path + size - strlen(tails[i].tail), tails[i].tail)) return tails[i].format;
  return ETK_CONVERT_HF;
}

static bool is_folder(etk_convert_format format) { return format == ETK_CONVERT_HF || format == ETK_CONVERT_MLX; }

static etk_status check_output(etk_error *e, const etk_convert *c) {
  etk_convert_format named = format_by_name(c->output);
  bool fits = c->to == named || is_folder(c->to) == is_folder(named);
  if (!fits || (!is_folder(c->to) && c->to != named)) {
    const char *tail = is_folder(c->to) ? "" : c->to == ETK_CONVERT_PTH ? ".pth" : NULL;
    for (size_t i = 0; !tail && i < sizeof tails / sizeof *tails; i++)
      if (tails[i].format == c->to) tail = tails[i].tail;
    const char *name = etk_convert_format_name(c->to);
    return is_folder(c->to) ? etk_fail(e, ETK_E_USAGE, "OUT is %s; %s is a folder, and a name that does not end like a file's is wanted", c->output, name)
                            : etk_fail(e, ETK_E_USAGE, "OUT is %s; a name that ends in %s is wanted for %s", c->output, tail ? tail : "", name);
  }
  if (etk_fs_exists(c->output) && !c->options.replace) return etk_fail(e, ETK_E_EXISTS, "%s exists; --force replaces it", c->output);
  return ETK_OK;
}

/* Options that mean nothing for the target are refused rather than ignored. */
static etk_status check_options(etk_error *e, const etk_convert *c) {
  const etk_convert_options *o = &c->options;
  const struct {
    bool given;
    const char *name;
    etk_convert_format format;
  } only[] = {{o->tensor_type_count > 0, "tensor-type", ETK_CONVERT_GGUF}, {o->output_type != NULL, "output-tensor-type", ETK_CONVERT_GGUF},
              {o->embedding_type != NULL, "token-embedding-type", ETK_CONVERT_GGUF}, {o->importance != NULL, "imatrix", ETK_CONVERT_GGUF},
              {o->pure, "pure", ETK_CONVERT_GGUF}, {o->leave_output, "leave-output-tensor", ETK_CONVERT_GGUF},
              {o->bits != 0, "bits", ETK_CONVERT_MLX}, {o->group_size != 0, "group-size", ETK_CONVERT_MLX}};
  for (size_t i = 0; i < sizeof only / sizeof *only; i++)
    if (only[i].given && only[i].format != c->to)
      return etk_fail(e, ETK_E_USAGE, "%s: an option of the target %s, and the target is %s; --to or OUT chooses it", only[i].name,
                      etk_convert_format_name(only[i].format), etk_convert_format_name(c->to));
  if (c->to == ETK_CONVERT_GGUF && !o->type && (o->tensor_type_count || o->output_type || o->embedding_type || o->pure || o->leave_output || o->importance))
    return etk_fail(e, ETK_E_USAGE, "types of tensors were given but no type for the others (q4_k_m, f16 …)");
  if (o->shard_bytes < 0) return etk_fail(e, ETK_E_USAGE, "files of %lld bytes; a size above 0 is wanted", (long long)o->shard_bytes);
  if (o->shard_bytes && (c->to == ETK_CONVERT_NPZ || c->to == ETK_CONVERT_PTH))
    return etk_fail(e, ETK_E_USAGE, "%s is one file; it cannot be split", etk_convert_format_name(c->to));
  return ETK_OK;
}

/* ---- the configuration ---- */
static etk_status read_config(etk_error *e, etk_convert *c) {
  etk_weights_format format = etk_weights_get_format(c->weights);
  c->has_config = true;
  if (format == ETK_WEIGHTS_GGUF) return etk__config_from_gguf(e, &c->config, c->weights);
  if (format == ETK_WEIGHTS_LLAMA2C) return etk__config_from_llama2c(&c->config, c->weights), ETK_OK;
  char *folder = etk_fs_is_dir(c->input) ? etk_strdup(c->input) : etk_path_dir(c->input), *path = folder ? etk_path_join(folder, "config.json") : NULL;
  json_t *root = NULL;
  etk_status status = path ? ETK_OK : etk_fail_memory(e);
  if (!status && (c->has_config = etk_fs_exists(path))) {
    status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
    if (!status) status = etk__config_from_json(e, &c->config, path, root);
  }
  json_decref(root);
  etk_free(folder), etk_free(path);
  return status;
}

/* Which targets need it: those that write it in their own words, or choose by it. Hugging Face's own is copied as it is. */
static bool needs_config(const etk_convert *c) {
  etk_weights_format format = etk_weights_get_format(c->weights);
  bool written = format == ETK_WEIGHTS_GGUF || format == ETK_WEIGHTS_LLAMA2C;
  return c->to == ETK_CONVERT_MLX || (c->to == ETK_CONVERT_GGUF && format != ETK_WEIGHTS_GGUF) || (c->to == ETK_CONVERT_HF && written);
}

/* ---- the plan ---- */
static etk_status plan(etk_error *e, etk_convert *c) {
  static etk_status (*const plans[ETK_CONVERT_FORMATS])(etk_error *, etk_convert *) = {
      [ETK_CONVERT_HF] = etk__canonical_plan, [ETK_CONVERT_GGUF] = etk__gguf_plan, [ETK_CONVERT_MLX] = etk__mlx_plan,
      [ETK_CONVERT_SAFETENSORS] = etk__canonical_plan, [ETK_CONVERT_NPZ] = etk__canonical_plan, [ETK_CONVERT_PTH] = etk__canonical_plan};
  etk_status status = check_options(e, c);
  if (!status) status = check_output(e, c);
  if (!status) status = etk_weights_open(e, &c->weights, c->input);
  if (!status && needs_config(c)) status = read_config(e, c);
  if (status == ETK_E_UNSUPPORTED && c->weights && (c->to == ETK_CONVERT_GGUF || c->to == ETK_CONVERT_MLX))
    return etk_error_while(e, status, "%s cannot become %s (a folder in f32, f16 or bf16, .safetensors, .npz and .pth take any model's tensors)", c->input,
                           etk_convert_format_name(c->to));
  if (!status) status = etk__origin_new(e, &c->origin, c->weights);
  bool single = !status && is_folder(c->to) && !etk_fs_is_dir(c->input) && etk_weights_get_format(c->weights) != ETK_WEIGHTS_GGUF &&
                etk_weights_get_format(c->weights) != ETK_WEIGHTS_LLAMA2C;
  if (single)
    status = etk_fail(e, ETK_E_INVALID,
                      "%s is one file of weights; a folder with config.json is wanted to write a model's folder, or an OUT that ends in .safetensors",
                      c->input);
  if (!status) status = plans[c->to](e, c);
  if (!status && !c->count)
    status = etk_fail(e, ETK_E_INVALID, "%s holds no tensors, only what describes them (a vocabulary alone is for model tokenize)", c->input);
  for (size_t i = 0; i < c->count && !status; i++) c->total += c->tasks[i].report.bytes_before;
  return status;
}

etk_status etk_convert_new(etk_error *e, etk_convert **out, const char *input, const char *output, const etk_convert_options *options) {
  *out = NULL;
  etk_convert *c = etk_calloc(1, sizeof *c);
  if (!c) return etk_fail_memory(e);
  if (options) c->options = *options;
  c->input = etk_arena_strdup(&c->arena, input), c->output = etk_arena_strdup(&c->arena, output);
  etk_status status = c->input && c->output ? ETK_OK : etk_fail_memory(e);
  if (!status) c->to = c->options.to ? c->options.to : format_by_name(output);
  if (!status && (unsigned)c->to >= ETK_CONVERT_FORMATS) status = etk_fail(e, ETK_E_INVALID, "target %d is none", (int)c->to);
  if (!status) status = plan(e, c);
  if (status) etk_convert_free(c);
  else *out = c;
  return status;
}

void etk_convert_free(etk_convert *c) {
  if (!c) return;
  etk__task_close(c);
  etk__gguf_names_free(c->names);
  etk__origin_free(c->origin);
  etk__importance_free(c->importance);
  etk_weights_close(c->weights);
  etk_provenance_free(c->made);
  etk_free(c->tasks), etk_free(c->values), etk_free(c->encoder.scratch), etk_free(c->scales);
  etk_arena_fini(&c->arena);
  etk_free(c);
}

etk_convert_format etk_convert_target(const etk_convert *c) { return c->to; }
const char *etk_convert_type(const etk_convert *c) { return c->mix ? c->mix->name : c->options.type ? c->options.type : ""; }
size_t etk_convert_count(const etk_convert *c) { return c->count; }
const etk_convert_tensor *etk_convert_at(const etk_convert *c, size_t index) { return index < c->count ? &c->tasks[index].report : NULL; }
int etk_convert_files(const etk_convert *c) { return c->files; }

etk_status etk_convert_write(etk_error *e, etk_convert *c) {
  static etk_status (*const saves[ETK_CONVERT_FORMATS])(etk_error *, etk_convert *) = {
      [ETK_CONVERT_HF] = etk__folder_save, [ETK_CONVERT_GGUF] = etk__gguf_save, [ETK_CONVERT_MLX] = etk__folder_save,
      [ETK_CONVERT_SAFETENSORS] = etk__plain_save, [ETK_CONVERT_NPZ] = etk__plain_save, [ETK_CONVERT_PTH] = etk__plain_save};
  c->done = 0;
  c->scales_of = NULL;
  for (size_t i = 0; i < c->count; i++) c->tasks[i].tally = (etk__tally){0}, c->tasks[i].rows_done = 0;
  etk_status status = etk__provenance(e, c);
  if (!status) status = saves[c->to](e, c);
  etk__task_close(c);
  for (size_t i = 0; i < c->count; i++) c->tasks[i].report.error = etk__tally_relative(&c->tasks[i].tally);
  return status;
}
