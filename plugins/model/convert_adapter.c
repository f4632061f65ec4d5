/* Adapters from one form to another: PEFT, mlx-lm, GGUF, kohya. */
#include "convert_adapter.h"
#include "target.h"
#include "values.h"

#include <etk/adapter.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/provenance.h>
#include <string.h>

static bool ends_in(const char *path, const char *tail) {
  size_t size = strlen(path), length = strlen(tail);
  return size > length && !strcmp(path + size - length, tail);
}

static bool has(const char *folder, const char *name) {
  char *path = etk_path_join(folder, name);
  bool found = path && etk_fs_exists(path);
  etk_free(path);
  return found;
}

static bool says_adapter(const char *path) {
  etk_gguf *file = NULL;
  const char *type = NULL;
  bool found = !etk_gguf_open(NULL, &file, path) && !etk_gguf_get_text(NULL, &type, file, "general.type") && !strcmp(type, "adapter");
  etk_gguf_close(file);
  return found;
}

/* Detection takes the path for an adapter's; here it may be a model's. */
bool is_adapter(const char *path, etk_adapter_form *form) {
  if (etk_fs_is_dir(path) ? has(path, "config.json") : ends_in(path, ".bin") && !ends_in(path, "adapter_model.bin")) return false;
  return !etk_adapter_detect(NULL, form, path) && (*form != ETK_ADAPTER_GGUF || says_adapter(path));
}

static etk_status choose_form(etk_error *e, etk_adapter_form *out, const struct conversion *c) {
  if (c->to) {
    if (!etk_adapter_form_parse(out, c->to))
      return etk_fail(e, ETK_E_USAGE, "%s is an adapter, and %s no form of adapters; --to peft, mlx, gguf or kohya is wanted", c->input, c->to);
  } else *out = ends_in(c->output, ".gguf") ? ETK_ADAPTER_GGUF : ends_in(c->output, ".safetensors") ? ETK_ADAPTER_KOHYA : ETK_ADAPTER_PEFT;
  if (!c->to && *out == ETK_ADAPTER_PEFT && target_name(e, c->output, true)) return ETK_E_USAGE;
  bool folder = etk_adapter_form_is_folder(*out), file = ends_in(c->output, ".gguf") || ends_in(c->output, ".safetensors");
  if (folder && file) return etk_fail(e, ETK_E_USAGE, "OUT is %s; an adapter as %s is a folder", c->output, etk_adapter_form_name(*out));
  const char *tail = *out == ETK_ADAPTER_GGUF ? ".gguf" : ".safetensors";
  if (!folder && !ends_in(c->output, tail)) return etk_fail(e, ETK_E_USAGE, "OUT is %s; a name that ends in %s is wanted for %s", c->output, tail, etk_adapter_form_name(*out));
  return ETK_OK;
}

/* A folder is made beside its place and moved there whole. */
static etk_status write_folder(etk_error *e, const struct conversion *c, etk_adapter_form form, const etk_model *base, const char *const *pairs, size_t count) {
  etk_dir *dir = NULL;
  etk_status status = etk_dir_create(e, &dir, c->output, c->options.replace);
  if (status) return status;
  status = etk_adapter_convert(e, c->input, etk_dir_path(dir), form, base, pairs, count);
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

etk_status convert_adapter(etk_run *run, const struct conversion *c, etk_adapter_form from, const char *command) {
  etk_error e = ETK_ERROR_INIT;
  etk_adapter_form form = from;
  etk_model *base = NULL;
  etk_provenance *made = NULL;
  const char *const *pairs = NULL;
  size_t count = 0;
  const etk_convert_options *o = &c->options;
  etk_status status = choose_form(&e, &form, c);
  bool typed = o->type || o->bits || o->group_size || o->shard_bytes || o->tensor_type_count || o->output_type || o->embedding_type || o->importance || o->pure || o->leave_output;
  if (!status && typed)
    status = etk_fail(&e, ETK_E_USAGE, "%s is an adapter, whose values stay as they are; types and sizes are for models", c->input);
  if (!status && etk_fs_exists(c->output) && !o->replace) status = etk_fail(&e, ETK_E_EXISTS, "%s exists; --force replaces it", c->output);
  if (!status && o->replace && !c->plan) status = target_replace(&e, c->input, c->output);
  if (!status && c->base) status = etk_model_open(&e, &base, c->base, NULL);
  if (!status) status = etk_provenance_new(&e, &made, command);
  if (!status) status = etk_provenance_model(&e, made, c->input);
  if (!status) pairs = etk_provenance_pairs(made, &count);
  if (!status && !c->plan)
    status = etk_adapter_form_is_folder(form) ? write_folder(&e, c, form, base, pairs, count) : etk_adapter_convert(&e, c->input, c->output, form, base, pairs, count);
  etk_model_unref(base);
  etk_provenance_free(made);
  if (status) return model_failed(run, &e);
  etk_run_result_text(run, "output", c->output);
  etk_run_result_text(run, "from", etk_adapter_form_name(from));
  etk_run_result_text(run, "format", etk_adapter_form_name(form));
  etk_run_result_flag(run, "written", !c->plan);
  if (!c->plan) etk_run_artifact(run, c->output, "adapter");
  return ETK_OK;
}
