#include "convert.h"
#include "values.h"

#include <etk/alloc.h>
#include <etk/config.h>
#include <etk/fs.h>
#include <etk/hash.h>
#include <etk/safetensors.h>
#include <math.h>
#include <string.h>

enum { CONFIG_LIMIT = 4 << 20 };

struct conversion {
  etk_run *run;
  const etk_weights *weights;
  etk_dtype dtype;
  etk_safetensors_item *items;
  etk_arena arena;
  const char **metadata; /* pairs */
  size_t metadata_count;
  int64_t converted, kept;
};

static bool is_float(int type) { return type == (int)ETK_F32 || type == (int)ETK_F16 || type == (int)ETK_BF16 || type == (int)ETK_F64; }

/* What would become infinite is refused: from the middle between the largest value and the next power of two on. */
static etk_status check_range(etk_error *e, const struct conversion *c, const etk_weight *weight) {
  double limit = c->dtype == ETK_F16 ? 65520 : 0x1.ffp127;
  if (!is_float(weight->type) || weight->type == (int)c->dtype || weight->type == (int)ETK_F16) return ETK_OK;
  if (weight->type != (int)ETK_F64 && c->dtype == ETK_F32) return ETK_OK;
  struct statistics s;
  etk_status status = values_statistics(e, &s, weight);
  if (status) return status;
  if (weight->type == (int)ETK_F64 && s.infinite) return etk_fail(e, ETK_E_INVALID, "tensor %s of F64 holds %lld values that are infinite as F32", weight->name, (long long)s.infinite);
  if (!s.count) return ETK_OK;
  double most = fabs(s.min) > fabs(s.max) ? s.min : s.max;
  if (c->dtype == ETK_F32 || fabs(most) < limit) return ETK_OK;
  return etk_fail(e, ETK_E_INVALID, "tensor %s holds %g, which %s cannot hold; use --type %s", weight->name, most, etk_dtype_name(c->dtype), c->dtype == ETK_F16 ? "bf16" : "f32");
}

static etk_status plan_tensors(etk_error *e, struct conversion *c) {
  size_t count = etk_weights_count(c->weights);
  c->items = etk_calloc(count + 1, sizeof *c->items);
  if (!c->items) return etk_fail_memory(e);
  for (size_t i = 0; i < count; i++) {
    const etk_weight *weight = etk_weights_at(c->weights, i);
    if (etk_run_cancelled(c->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before anything was written");
    if (weight->type < 0) return etk_fail(e, ETK_E_UNSUPPORTED, "tensor %s is of type %s, which this version cannot write", weight->name, weight->type_name);
    etk_tensor *tensor = NULL;
    etk_status status = check_range(e, c, weight);
    if (!status) status = etk_tensor_wrap(e, &tensor, (etk_dtype)weight->type, weight->shape, weight->data, NULL, NULL);
    if (status) return status;
    bool changes = is_float(weight->type);
    c->items[i] = (etk_safetensors_item){weight->name, tensor, changes ? c->dtype : (etk_dtype)weight->type};
    if (changes) c->converted++;
    else c->kept++;
  }
  return ETK_OK;
}

/* The metadata of the first file, and how this one was made: command, version, and the inputs' hashes. */
static etk_status plan_metadata(etk_error *e, struct conversion *c, const char *type) {
  size_t room = etk_weights_key_count(c->weights) + etk_weights_part_count(c->weights) + 2;
  c->metadata = etk_arena_array(&c->arena, 2 * room, sizeof *c->metadata);
  if (!c->metadata) return etk_fail_memory(e);
  for (size_t i = 0; i < etk_weights_key_count(c->weights); i++) {
    const char *key = etk_weights_key_at(c->weights, i), *value = etk_weights_metadata(c->weights, key);
    if (!strncmp(key, "etk.", 4) || !value) continue;
    c->metadata[2 * c->metadata_count] = key;
    c->metadata[2 * c->metadata_count++ + 1] = value;
  }
  c->metadata[2 * c->metadata_count] = "etk.command";
  c->metadata[2 * c->metadata_count++ + 1] = etk_arena_printf(&c->arena, "model:convert --type %s", type);
  c->metadata[2 * c->metadata_count] = "etk.version";
  c->metadata[2 * c->metadata_count++ + 1] = ETK_VERSION;
  for (size_t i = 0; i < etk_weights_part_count(c->weights); i++) {
    char hex[65];
    const char *path = etk_weights_part_path(c->weights, i);
    etk_status status = etk_sha256_file(e, hex, NULL, path);
    if (status) return status;
    c->metadata[2 * c->metadata_count] = etk_arena_printf(&c->arena, "etk.input.sha256.%s", etk_path_base(path));
    c->metadata[2 * c->metadata_count++ + 1] = etk_arena_strdup(&c->arena, hex);
  }
  for (size_t i = 0; i < 2 * c->metadata_count; i++)
    if (!c->metadata[i]) return etk_fail_memory(e);
  return ETK_OK;
}

static etk_status write_weights(etk_error *e, const struct conversion *c, const char *path, bool replace) {
  return etk_safetensors_write(e, path, c->items, etk_weights_count(c->weights), c->metadata, c->metadata_count, replace);
}

/* ---- a folder ---- */
static const char *torch_name(etk_dtype dtype) { return dtype == ETK_F16 ? "float16" : dtype == ETK_BF16 ? "bfloat16" : "float32"; }

/* config.json with the new type where it names one. */
static etk_status copy_config(etk_error *e, const char *from, const char *to, etk_dtype dtype) {
  static const char *const keys[] = {"torch_dtype", "dtype"};
  char *text = NULL;
  size_t size = 0;
  etk_config *config = NULL;
  etk_text out = ETK_TEXT_INIT;
  etk_status status = etk_fs_read(e, &text, &size, from, CONFIG_LIMIT);
  if (!status) status = etk_config_parse(e, &config, from, text, size, ETK_CONFIG_JSON_ANY);
  for (size_t i = 0; i < 2 && !status; i++)
    if (etk_config_child(etk_config_root(config), keys[i])) status = etk_config_set(e, config, keys[i], torch_name(dtype), NULL);
  if (!status) etk_config_write_json(&out, etk_config_root(config), 2);
  if (!status) etk_text_putc(&out, '\n');
  if (!status) status = out.failed ? etk_fail_memory(e) : etk_fs_write(e, to, out.data, out.size, false);
  etk_text_free(&out);
  etk_config_free(config);
  etk_free(text);
  return status;
}

static bool is_weights(const struct conversion *c, const char *name) {
  if (!strcmp(name, "model.safetensors.index.json")) return true;
  for (size_t i = 0; i < etk_weights_part_count(c->weights); i++)
    if (!strcmp(name, etk_path_base(etk_weights_part_path(c->weights, i)))) return true;
  return false;
}

static etk_status copy_rest(etk_error *e, const struct conversion *c, const char *in, const char *out) {
  char **names = NULL;
  size_t count = 0;
  etk_status status = etk_fs_list(e, &names, &count, in);
  for (size_t i = 0; i < count && !status; i++) {
    if (names[i][0] == '.' || is_weights(c, names[i])) continue;
    char *from = etk_path_join(in, names[i]), *to = etk_path_join(out, names[i]);
    if (!from || !to) status = etk_fail_memory(e);
    else if (etk_fs_is_dir(from)) etk_run_log(c->run, 1, "%s is a folder and is not copied", from);
    else status = !strcmp(names[i], "config.json") ? copy_config(e, from, to, c->dtype) : etk_fs_copy(e, from, to, false);
    etk_free(from), etk_free(to);
  }
  etk_fs_list_free(names, count);
  return status;
}

static etk_status write_folder(etk_error *e, const struct conversion *c, const char *in, const char *out) {
  etk_dir *dir = NULL;
  size_t parts = etk_weights_part_count(c->weights);
  etk_status status = etk_dir_create(e, &dir, out, false);
  if (status) return status;
  const char *name = parts > 1 ? "model.safetensors" : etk_path_base(etk_weights_part_path(c->weights, 0));
  char *path = etk_path_join(etk_dir_path(dir), name);
  status = path ? write_weights(e, c, path, false) : etk_fail_memory(e);
  if (!status) status = copy_rest(e, c, in, etk_dir_path(dir));
  etk_free(path);
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

static etk_status check_output(etk_error *e, const char *in, const char *out, bool force) {
  size_t size = strlen(out), tail = strlen(".safetensors");
  if (etk_fs_is_dir(in)) {
    if (etk_fs_exists(out)) return etk_fail(e, ETK_E_EXISTS, "%s exists; a folder is written to a new one only", out);
    return ETK_OK;
  }
  if (size <= tail || strcmp(out + size - tail, ".safetensors")) return etk_fail(e, ETK_E_USAGE, "OUT is %s; a name that ends in .safetensors is wanted for a file", out);
  if (etk_fs_exists(out) && !force) return etk_fail(e, ETK_E_EXISTS, "%s exists; --force replaces it", out);
  return ETK_OK;
}

etk_status convert_model(etk_run *run, const char *in, const char *out, const char *type, bool force) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *w = NULL;
  struct conversion c = {.run = run};
  etk_status status = check_output(&e, in, out, force);
  if (!status && !etk_dtype_parse(&c.dtype, !strcmp(type, "f16") ? "F16" : !strcmp(type, "bf16") ? "BF16" : "F32")) status = etk_fail(&e, ETK_E_INTERNAL, "type %s", type);
  if (!status) status = etk_weights_open(&e, &w, in);
  c.weights = w;
  if (!status && etk_weights_get_format(w) != ETK_WEIGHTS_SAFETENSORS)
    status = etk_fail(&e, ETK_E_UNSUPPORTED, "%s is %s; this version converts safetensors only", in, etk_weights_format_name(etk_weights_get_format(w)));
  if (!status) status = plan_tensors(&e, &c);
  if (!status) status = plan_metadata(&e, &c, type);
  if (!status) status = etk_fs_is_dir(in) ? write_folder(&e, &c, in, out) : write_weights(&e, &c, out, force);
  for (size_t i = 0; c.items && i < etk_weights_count(w); i++) etk_tensor_unref((etk_tensor *)(uintptr_t)c.items[i].tensor);
  etk_free(c.items);
  etk_arena_fini(&c.arena);
  etk_weights_close(w);
  if (status) return model_failed(run, &e);
  etk_run_result_text(run, "output", out);
  etk_run_result_int(run, "converted_tensors", c.converted);
  etk_run_result_int(run, "kept_tensors", c.kept);
  etk_run_artifact(run, out, "model");
  return ETK_OK;
}
