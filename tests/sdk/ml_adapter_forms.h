/* ml_adapter_forms.h: what the tests of adapter files share: the adapters of shared/goldens/lora, made by PEFT 0.10, and adapters made by hand. */
#ifndef TESTS_ML_ADAPTER_FORMS_H
#define TESTS_ML_ADAPTER_FORMS_H

#include "ml_golden.h"

#include <etk/adapter.h>

static inline char *model_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }
static inline char *peft_folder(const char *variant) { return path_of("%s/goldens/lora/%s/final", shared("."), variant); }

static const char *const made_by[] = {"etk.command", "a test"};

static inline void convert(const char *in, const char *out, etk_adapter_form form, const etk_model *base) {
  works(etk_adapter_convert(e, in, out, form, base, made_by, 1));
}

static inline etk_safetensors *open_tensors(const char *path) {
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, path));
  return file;
}

/* The same names, types, shapes and bits. */
static inline void same_tensors(const char *a_path, const char *b_path) {
  etk_safetensors *a = open_tensors(a_path), *b = open_tensors(b_path);
  assert_int_equal(etk_safetensors_count(a), etk_safetensors_count(b));
  for (size_t i = 0; i < etk_safetensors_count(a); i++) {
    const etk_safetensors_entry *x = etk_safetensors_at(a, i), *y = etk_safetensors_find(b, x->name);
    if (!y) fail_msg("%s is gone", x->name);
    assert_string_equal(x->dtype_name, y->dtype_name);
    assert_true(etk_shape_equal(&x->shape, &y->shape));
    assert_memory_equal(x->data, y->data, x->bytes);
  }
  etk_safetensors_close(a);
  etk_safetensors_close(b);
}

static inline char *weights_of(const char *folder) { return path_of("%s/adapter_model.safetensors", folder); }

/* ---- adapters made by hand ---- */

struct made {
  const char *name;
  etk_dtype dtype;
  etk_shape shape;
};
/* A file of tensors whose values follow from their place; small whole numbers, which every type holds. */
static inline void make_tensors(const char *path, const struct made *list, size_t count) {
  etk_safetensors_item items[16];
  assert_true(count <= 16);
  for (size_t i = 0; i < count; i++) {
    etk_tensor *tensor = NULL;
    works(etk_tensor_new(e, &tensor, ETK_F32, list[i].shape));
    float *x = etk_tensor_data(tensor);
    for (int64_t k = 0; k < etk_tensor_elements(tensor); k++) x[k] = (float)((k * 7 + (int64_t)i) % 31 - 15);
    items[i] = (etk_safetensors_item){list[i].name, tensor, list[i].dtype};
  }
  works(etk_safetensors_write(e, path, items, count, NULL, 0, true));
  for (size_t i = 0; i < count; i++) etk_tensor_unref((etk_tensor *)(uintptr_t)items[i].tensor);
}
static inline char *make_peft(void **state, const char *name, const char *config, const struct made *list, size_t count) {
  char *folder = fresh_folder(state, name);
  write_text(path_of("%s/adapter_config.json", folder), config);
  make_tensors(weights_of(folder), list, count);
  return folder;
}
#define LAYER0 "base_model.model.model.layers.0."
#define Q(type, rank) {LAYER0 "self_attn.q_proj.lora_A.weight", type, etk_shape_of(2, rank, 56)}, {LAYER0 "self_attn.q_proj.lora_B.weight", type, etk_shape_of(2, 56, rank)}
#define V(type, rank) {LAYER0 "self_attn.v_proj.lora_A.weight", type, etk_shape_of(2, rank, 56)}, {LAYER0 "self_attn.v_proj.lora_B.weight", type, etk_shape_of(2, 8, rank)}
static const char in_layer_0[] = "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\", \"v_proj\"], \"layers_to_transform\": [0]%s}";

#endif
