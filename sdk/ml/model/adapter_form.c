/* The forms of adapter files: telling them apart, reading any, writing any, converting. */
#include "adapter_parts.h"

#include "ml/format/json.h"
#include "ml/format/stem.h"

#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/safetensors.h>
#include <strings.h>

static const struct form {
  const char *name, *other_name;
  bool folder;
  etk_status (*read)(etk_error *e, etk__adapter_parts *out, const char *path, const etk_model *base);
  etk_status (*write)(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata);
} forms[ETK_ADAPTER_FORM_COUNT] = {
    [ETK_ADAPTER_PEFT] = {"peft", "hf", true, etk__adapter_read_peft, etk__adapter_write_peft},
    [ETK_ADAPTER_MLX] = {"mlx", "mlx-lm", true, etk__adapter_read_mlx, etk__adapter_write_mlx},
    [ETK_ADAPTER_GGUF] = {"gguf", "gguf-lora", false, etk__adapter_read_gguf, etk__adapter_write_gguf},
    [ETK_ADAPTER_KOHYA] = {"kohya", "kohya-ss", false, etk__adapter_read_kohya, etk__adapter_write_kohya},
};

const char *etk_adapter_form_name(etk_adapter_form form) { return (unsigned)form < ETK_ADAPTER_FORM_COUNT ? forms[form].name : "?"; }
bool etk_adapter_form_is_folder(etk_adapter_form form) { return (unsigned)form < ETK_ADAPTER_FORM_COUNT && forms[form].folder; }
bool etk_adapter_form_parse(etk_adapter_form *out, const char *name) {
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++)
    if (!strcasecmp(name, forms[i].name) || !strcasecmp(name, forms[i].other_name)) {
      *out = (etk_adapter_form)i;
      return true;
    }
  return false;
}

/* ---- telling forms apart ---- */

static etk_status detect_folder(etk_error *e, etk_adapter_form *out, const char *path) {
  static const char *const peft[] = {"adapter_model.safetensors", "adapter_model.bin", NULL};
  etk__adapter_parts p = {0};
  json_t *root = NULL;
  etk_status status = etk_fs_exists(path) ? ETK_OK : etk_fail(e, ETK_E_NOT_FOUND, "adapter %s: no such folder or file", path);
  char *mlx = etk_path_join(path, "adapters.safetensors");
  bool has_mlx = mlx && etk_fs_exists(mlx);
  if (!mlx && !status) status = etk_fail_memory(e);
  etk_free(mlx);
  static const char *const either[] = {"adapter_model.safetensors", "adapter_model.bin", "adapters.safetensors", NULL};
  if (!status) status = etk__adapter_folder(e, &p, path, has_mlx ? either : peft, &root);
  if (!status && json_object_get(root, "peft_type")) *out = ETK_ADAPTER_PEFT;
  else if (!status && (json_object_get(root, "lora_parameters") || json_object_get(root, "fine_tune_type"))) *out = ETK_ADAPTER_MLX;
  else if (!status && !has_mlx) *out = ETK_ADAPTER_PEFT; /* whose reader says what is missing */
  else if (!status) *out = ETK_ADAPTER_MLX;
  json_decref(root);
  etk__adapter_parts_fini(&p);
  return status;
}

static etk_status detect_safetensors(etk_error *e, etk_adapter_form *out, const char *path) {
  static const struct {
    const char *end;
    etk_adapter_form form;
  } ends[] = {{".lora_A.weight", ETK_ADAPTER_PEFT}, {".lora_embedding_A", ETK_ADAPTER_PEFT}, {".lora_a", ETK_ADAPTER_MLX},
              {".lora_down.weight", ETK_ADAPTER_KOHYA}};
  etk_safetensors *file = NULL;
  etk_status status = etk_safetensors_open(e, &file, path);
  if (status) return status;
  bool found = false;
  for (size_t i = 0; i < etk_safetensors_count(file) && !found; i++)
    for (size_t k = 0; k < sizeof ends / sizeof *ends && !found; k++) {
      found = etk__stem(etk_safetensors_at(file, i)->name, ends[k].end) > 0;
      if (found) *out = ends[k].form;
    }
  etk_safetensors_close(file);
  return found ? ETK_OK : etk_fail(e, ETK_E_FORMAT,
                                   "%s holds no tensor of an adapter: names that end in .lora_A.weight (PEFT), .lora_a (mlx-lm) or .lora_down.weight (kohya) are looked for", path);
}

static etk_status detect_gguf(etk_error *e, const char *path) {
  etk_gguf *file = NULL;
  const char *type = "model"; /* what the key's absence means */
  etk_status status = etk_gguf_open(e, &file, path);
  if (!status && etk_gguf_find(file, "general.type")) status = etk_gguf_get_text(e, &type, file, "general.type");
  if (!status && strcmp(type, "adapter")) status = etk_fail(e, ETK_E_FORMAT, "%s: 'general.type' is \"%.60s\"; an adapter has \"adapter\"", path, type);
  etk_gguf_close(file);
  return status;
}

etk_status etk_adapter_detect(etk_error *e, etk_adapter_form *out, const char *path) {
  char magic[4] = "";
  *out = ETK_ADAPTER_PEFT;
  if (etk_fs_is_dir(path) || !etk_fs_exists(path)) return detect_folder(e, out, path);
  etk_map map = {0};
  etk_status status = etk_map_open(e, &map, path);
  if (status) return status;
  if (map.size >= sizeof magic) memcpy(magic, map.data, sizeof magic);
  etk_map_close(&map);
  if (!strcmp(etk_path_base(path), "adapter_model.bin")) return ETK_OK; /* of PyTorch; its reader looks for the rest */
  if (memcmp(magic, "GGUF", sizeof magic)) return detect_safetensors(e, out, path);
  *out = ETK_ADAPTER_GGUF;
  return detect_gguf(e, path);
}

/* ---- any form ---- */

static etk_status read_any(etk_error *e, etk__adapter_parts *p, const char *path, const etk_model *base) {
  etk_adapter_form form;
  *p = (etk__adapter_parts){0};
  etk_status status = etk_adapter_detect(e, &form, path);
  return status ? status : forms[form].read(e, p, path, base);
}

etk_status etk_adapter_open(etk_error *e, etk_adapter **out, const etk_model *model, const char *path, bool trainable) {
  etk__adapter_parts p;
  *out = NULL;
  etk_status status = read_any(e, &p, path, model);
  if (!status) status = etk__adapter_bind(e, out, model, &p, trainable);
  etk__adapter_parts_fini(&p);
  return status;
}

etk_status etk_adapter_save_as(etk_error *e, const etk_adapter *a, etk_adapter_form form, const char *path, const char *const *metadata,
                               size_t metadata_count) {
  etk__adapter_parts p = {0};
  etk_status status = etk__adapter_unbind(e, &p, a);
  if (!status) status = forms[form].write(e, &p, path, etk__adapter_model(a), (etk__adapter_metadata){metadata, metadata_count});
  p.layers = NULL;
  etk__adapter_parts_fini(&p);
  return status;
}

etk_status etk_adapter_save(etk_error *e, const etk_adapter *a, const char *folder, const char *const *metadata, size_t metadata_count) {
  return etk_adapter_save_as(e, a, ETK_ADAPTER_PEFT, folder, metadata, metadata_count);
}

/* PEFT's settings must call for what its file holds, also where no model is at hand. */
static etk_status check_called(etk_error *e, const etk__adapter_parts *p) {
  etk_status status = ETK_OK;
  for (size_t i = 0; i < p->count && p->targets && !status; i++) {
    bool wanted;
    status = etk__adapter_targets_select(e, p->targets, p->parts[i].module, &wanted);
    if (!status && !wanted)
      status = etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, which fits no targeted layer: %s does not call for it", p->path, p->parts[i].name,
                        p->config_path);
  }
  return status;
}

etk_status etk_adapter_convert(etk_error *e, const char *in, const char *out, etk_adapter_form form, const etk_model *base,
                               const char *const *metadata, size_t metadata_count) {
  etk__adapter_parts p;
  etk_status status = read_any(e, &p, in, base);
  if (!status) status = check_called(e, &p);
  if (!status && base) status = etk__adapter_check_base(e, &p, base);
  if (!status && forms[form].folder) status = etk_fs_make_dirs(e, out);
  if (!status) status = forms[form].write(e, &p, out, base, (etk__adapter_metadata){metadata, metadata_count});
  etk__adapter_parts_fini(&p);
  return status;
}
