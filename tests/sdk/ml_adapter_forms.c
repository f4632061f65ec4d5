/* The forms of adapter files: conversions keep every bit (adapters of shared/goldens/lora, made by PEFT 0.10), and what is malformed is named. */
#include "ml_golden.h"
#include "../starve.h"
#include "ml_torch_bytes.h"

#include <etk/adapter.h>
#include <etk/gguf.h>

static char *model_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }
static char *peft_folder(const char *variant) { return path_of("%s/goldens/lora/%s/final", shared("."), variant); }
static const struct variant {
  const char *name, *base;
} variants[] = {{"lora", "llama-gqa-tied"}, {"lora-all", "llama-gqa-tied"}, {"rslora", "llama-gqa-tied"}, {"loraplus", "llama-gqa-tied"},
                {"qwen2", "qwen2"}, {"dora", "llama-gqa-tied"}};
enum { VARIANTS = sizeof variants / sizeof *variants, PLAIN = VARIANTS - 1 /* the last is DoRA */ };

static const char *const made_by[] = {"etk.command", "a test"};

static void convert(const char *in, const char *out, etk_adapter_form form, const etk_model *base) {
  works(etk_adapter_convert(e, in, out, form, base, made_by, 1));
}

static etk_safetensors *open_tensors(const char *path) {
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, path));
  return file;
}

/* The same names, types, shapes and bits. */
static void same_tensors(const char *a_path, const char *b_path) {
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

static char *weights_of(const char *folder) { return path_of("%s/adapter_model.safetensors", folder); }

static void same_scales(const etk_model *model, const char *a_path, const char *b_path) {
  etk_adapter *a = NULL, *b = NULL;
  works(etk_adapter_open(e, &a, model, a_path, false));
  works(etk_adapter_open(e, &b, model, b_path, true));
  assert_int_equal(etk_adapter_count(a), etk_adapter_count(b));
  for (size_t i = 0; i < etk_adapter_count(a); i++) {
    const etk_adapter_module *x = etk_adapter_at(a, i), *y = etk_adapter_at(b, i);
    assert_string_equal(x->name, y->name);
    if (x->scale != y->scale) fail_msg("%s: scale %.9g became %.9g", x->name, (double)x->scale, (double)y->scale);
    assert_memory_equal(etk_tensor_data(x->a), etk_tensor_data(y->a), etk_tensor_bytes(x->a));
    assert_memory_equal(etk_tensor_data(x->b), etk_tensor_data(y->b), etk_tensor_bytes(x->b));
  }
  etk_adapter_free(a);
  etk_adapter_free(b);
}

static void a_round_through_all_forms_keeps_every_bit(void **state) {
  shared_or_skip("goldens/lora");
  for (int v = 0; v < PLAIN; v++) {
    etk_model *model = open_model(model_folder(variants[v].base));
    char *peft = peft_folder(variants[v].name), *mlx = fresh_folder(state, "mlx"), *gguf = path_of("%s/a.gguf", mlx),
        *kohya = path_of("%s/a.safetensors", mlx), *back = fresh_folder(state, "back");
    convert(peft, mlx, ETK_ADAPTER_MLX, model);
    convert(mlx, gguf, ETK_ADAPTER_GGUF, model);
    convert(gguf, kohya, ETK_ADAPTER_KOHYA, model);
    convert(kohya, back, ETK_ADAPTER_PEFT, model);
    same_tensors(weights_of(peft), weights_of(back));
    const char *const steps[] = {mlx, gguf, kohya, back};
    const etk_adapter_form forms[] = {ETK_ADAPTER_MLX, ETK_ADAPTER_GGUF, ETK_ADAPTER_KOHYA, ETK_ADAPTER_PEFT};
    for (int i = 0; i < 4; i++) {
      etk_adapter_form form;
      works(etk_adapter_detect(e, &form, steps[i]));
      assert_int_equal(form, forms[i]);
      same_scales(model, peft, steps[i]);
    }
    json_t *ours = load_json(path_of("%s/adapter_config.json", back)), *theirs = load_json(path_of("%s/adapter_config.json", peft));
    assert_true(json_equal(json_object_get(ours, "r"), json_object_get(theirs, "r")));
    assert_int_equal(json_array_size(json_object_get(ours, "target_modules")), json_array_size(json_object_get(theirs, "target_modules")));
    assert_true(json_is_null(json_object_get(ours, "layers_to_transform"))); /* the model told that all layers are meant */
    json_decref(ours);
    json_decref(theirs);
    etk_model_unref(model);
  }
}

static void dora_goes_to_mlx_and_back_and_no_further(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *peft = peft_folder("dora"), *mlx = fresh_folder(state, "mlx"), *back = fresh_folder(state, "back");
  convert(peft, mlx, ETK_ADAPTER_MLX, model);
  convert(mlx, back, ETK_ADAPTER_PEFT, NULL);
  same_tensors(weights_of(peft), weights_of(back));
  etk_safetensors *file = open_tensors(path_of("%s/adapters.safetensors", mlx));
  assert_non_null(etk_safetensors_find(file, "model.layers.0.mlp.down_proj.m"));
  etk_safetensors_close(file);
  json_t *config = load_json(path_of("%s/adapter_config.json", mlx));
  assert_string_equal(json_string_value(json_object_get(config, "fine_tune_type")), "dora");
  json_decref(config);
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_UNSUPPORTED, "\"fine_tune_type\" is \"dora\"", etk_adapter_open(e, &adapter, model, mlx, false));
  fails_with(ETK_E_UNSUPPORTED, "has a magnitude (DoRA)", etk_adapter_convert(e, peft, path_of("%s/a.gguf", mlx), ETK_ADAPTER_GGUF, model, NULL, 0));
  fails_with(ETK_E_UNSUPPORTED, "has a magnitude (DoRA)", etk_adapter_convert(e, peft, path_of("%s/a.safetensors", mlx), ETK_ADAPTER_KOHYA, model, NULL, 0));
  etk_model_unref(model);
}

/* ---- what lies where ---- */

static void mlx_has_both_factors_transposed_and_keys_within_a_layer(void **state) {
  shared_or_skip("goldens/lora");
  char *peft = peft_folder("lora"), *mlx = fresh_folder(state, "mlx");
  convert(peft, mlx, ETK_ADAPTER_MLX, NULL);
  etk_safetensors *a = open_tensors(weights_of(peft)), *b = open_tensors(path_of("%s/adapters.safetensors", mlx));
  const etk_safetensors_entry *up = etk_safetensors_find(a, "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"),
      *turned = etk_safetensors_find(b, "model.layers.1.self_attn.v_proj.lora_b");
  assert_non_null(turned);
  assert_true(turned->shape.dims[0] == 6 && turned->shape.dims[1] == 8);
  for (int r = 0; r < 8; r++)
    for (int k = 0; k < 6; k++) assert_memory_equal((const char *)up->data + (r * 6 + k) * 4, (const char *)turned->data + (k * 8 + r) * 4, 4);
  etk_safetensors_close(a);
  etk_safetensors_close(b);
  json_t *config = load_json(path_of("%s/adapter_config.json", mlx)), *set = json_object_get(config, "lora_parameters"), *keys = json_object_get(set, "keys");
  assert_int_equal(json_integer_value(json_object_get(set, "rank")), 6);
  assert_true(json_number_value(json_object_get(set, "scale")) == 2.0 && json_number_value(json_object_get(set, "dropout")) == 0.0);
  assert_int_equal(json_integer_value(json_object_get(config, "num_layers")), -1);
  assert_int_equal(json_array_size(keys), 2);
  assert_string_equal(json_string_value(json_array_get(keys, 0)), "self_attn.q_proj");
  assert_string_equal(json_string_value(json_array_get(keys, 1)), "self_attn.v_proj");
  json_decref(config);
}

/* llama.cpp's converter: reshape(heads, 2, rows / heads / 2, columns).swapaxes(1, 2), of B as of the base's weight; the other tensors as they are. */
static void gguf_has_the_rows_of_b_as_the_base_has_its_own(void **state) {
  shared_or_skip("goldens/lora");
  enum { HEADS = 7, HALF = 4, RANK = 6 };
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *peft = peft_folder("lora"), *path = path_of("%s/adapter.gguf", fresh_folder(state, "gguf"));
  convert(peft, path, ETK_ADAPTER_GGUF, model);
  etk_safetensors *a = open_tensors(weights_of(peft));
  etk_gguf *b = NULL;
  works(etk_gguf_open(e, &b, path));
  const char *from = etk_safetensors_find(a, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight")->data;
  const etk_gguf_entry *entry = etk_gguf_tensor_find(b, "blk.0.attn_q.weight.lora_b");
  assert_non_null(entry);
  assert_true(entry->shape.dims[0] == HEADS * 2 * HALF && entry->shape.dims[1] == RANK);
  for (int h = 0; h < HEADS; h++)
    for (int i = 0; i < HALF; i++)
      for (int half = 0; half < 2; half++)
        assert_memory_equal((const char *)entry->data + ((h * HALF + i) * 2 + half) * RANK * 4, from + ((h * 2 + half) * HALF + i) * RANK * 4, RANK * 4);
  const etk_safetensors_entry *v = etk_safetensors_find(a, "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"),
      *q = etk_safetensors_find(a, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  assert_memory_equal(etk_gguf_tensor_find(b, "blk.0.attn_v.weight.lora_b")->data, v->data, v->bytes);
  assert_memory_equal(etk_gguf_tensor_find(b, "blk.0.attn_q.weight.lora_a")->data, q->data, q->bytes);
  const char *text;
  double alpha;
  works(etk_gguf_get_text(e, &text, b, "general.type"));
  assert_string_equal(text, "adapter");
  works(etk_gguf_get_text(e, &text, b, "adapter.type"));
  assert_string_equal(text, "lora");
  works(etk_gguf_get_text(e, &text, b, "general.architecture"));
  assert_string_equal(text, "llama");
  works(etk_gguf_get_real(e, &alpha, b, "adapter.lora.alpha"));
  assert_true(alpha == 12);
  etk_gguf_close(b);
  etk_safetensors_close(a);
  etk_model_unref(model);
}

static void kohya_has_underscores_and_an_alpha_for_each_module(void **state) {
  shared_or_skip("goldens/lora");
  char *path = path_of("%s/a.safetensors", fresh_folder(state, "kohya"));
  convert(peft_folder("lora"), path, ETK_ADAPTER_KOHYA, NULL);
  etk_safetensors *file = open_tensors(path);
  assert_int_equal(etk_safetensors_count(file), 12);
  assert_non_null(etk_safetensors_find(file, "lora_te_model_layers_1_self_attn_q_proj.lora_down.weight"));
  assert_non_null(etk_safetensors_find(file, "lora_te_model_layers_1_self_attn_q_proj.lora_up.weight"));
  const etk_safetensors_entry *alpha = etk_safetensors_find(file, "lora_te_model_layers_1_self_attn_q_proj.alpha");
  assert_non_null(alpha);
  assert_int_equal(alpha->shape.rank, 0);
  const float twelve = 12;
  assert_memory_equal(alpha->data, &twelve, 4);
  assert_string_equal(etk_safetensors_metadata(file, "ss_network_dim"), "6");
  etk_safetensors_close(file);
}

static void every_form_says_how_it_was_made(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *folder = fresh_folder(state, "made");
  const char *const out[] = {folder, path_of("%s/mlx", folder), path_of("%s/a.gguf", folder), path_of("%s/a.safetensors", folder)};
  const char *const files[] = {weights_of(folder), path_of("%s/mlx/adapters.safetensors", folder), out[2], out[3]};
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++) {
    convert(peft_folder("lora"), out[i], (etk_adapter_form)i, model);
    const char *seen = NULL;
    if (i == ETK_ADAPTER_GGUF) {
      etk_gguf *file = NULL;
      works(etk_gguf_open(e, &file, files[i]));
      works(etk_gguf_get_text(e, &seen, file, "etk.command"));
      assert_string_equal(seen, "a test");
      etk_gguf_close(file);
      continue;
    }
    etk_safetensors *file = open_tensors(files[i]);
    seen = etk_safetensors_metadata(file, "etk.command");
    assert_non_null(seen);
    assert_string_equal(seen, "a test");
    etk_safetensors_close(file);
  }
  etk_model_unref(model);
}

/* ---- adapters made by hand ---- */

struct made {
  const char *name;
  etk_dtype dtype;
  etk_shape shape;
};
/* A file of tensors whose values follow from their place; small whole numbers, which every type holds. */
static void make_tensors(const char *path, const struct made *list, size_t count) {
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
static char *make_peft(void **state, const char *name, const char *config, const struct made *list, size_t count) {
  char *folder = fresh_folder(state, name);
  write_text(path_of("%s/adapter_config.json", folder), config);
  make_tensors(weights_of(folder), list, count);
  return folder;
}
#define LAYER0 "base_model.model.model.layers.0."
#define Q(type, rank) {LAYER0 "self_attn.q_proj.lora_A.weight", type, etk_shape_of(2, rank, 56)}, {LAYER0 "self_attn.q_proj.lora_B.weight", type, etk_shape_of(2, 56, rank)}
#define V(type, rank) {LAYER0 "self_attn.v_proj.lora_A.weight", type, etk_shape_of(2, rank, 56)}, {LAYER0 "self_attn.v_proj.lora_B.weight", type, etk_shape_of(2, 8, rank)}
static const char in_layer_0[] = "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\", \"v_proj\"], \"layers_to_transform\": [0]%s}";

static void sixteen_bit_types_are_kept_by_every_form(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  const struct made list[] = {Q(ETK_F16, 4), V(ETK_BF16, 4)};
  char *peft = make_peft(state, "half", path_of(in_layer_0, ""), list, 4), *out = fresh_folder(state, "out"), *back = fresh_folder(state, "back");
  const char *const paths[] = {path_of("%s/peft", out), path_of("%s/mlx", out), path_of("%s/a.gguf", out), path_of("%s/a.safetensors", out)};
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++) {
    convert(peft, paths[i], (etk_adapter_form)i, model);
    convert(paths[i], back, ETK_ADAPTER_PEFT, model);
    same_tensors(weights_of(peft), weights_of(back));
    same_scales(model, peft, back); /* F32 in memory */
  }
  etk_model_unref(model);
}

static void ranks_and_alphas_of_single_modules_are_honoured_and_kept(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  const struct made list[] = {Q(ETK_F32, 4), V(ETK_F32, 2)};
  char *out = fresh_folder(state, "out"), *kohya = path_of("%s/a.safetensors", out), *gguf = path_of("%s/a.gguf", out), *back = path_of("%s/peft", out);
  char *peft = make_peft(state, "patterns",
                         path_of(in_layer_0, ", \"rank_pattern\": {\"v_.*\": 2}, \"alpha_pattern\": {\"layers.0.self_attn.v_proj\": 3}"), list, 4);
  etk_adapter *adapter = NULL;
  works(etk_adapter_open(e, &adapter, model, peft, false));
  assert_int_equal(etk_adapter_count(adapter), 2);
  assert_true(etk_adapter_at(adapter, 0)->scale == 2.0f && etk_adapter_at(adapter, 1)->scale == 1.5f);
  works(etk_adapter_save(e, adapter, fresh_folder(state, "saved"), NULL, 0));
  same_scales(model, peft, path_of("%s/saved", (const char *)*state));
  etk_adapter_free(adapter);
  convert(peft, kohya, ETK_ADAPTER_KOHYA, NULL);
  convert(kohya, back, ETK_ADAPTER_PEFT, model);
  same_tensors(weights_of(peft), weights_of(back));
  same_scales(model, peft, back);
  fails_with(ETK_E_UNSUPPORTED, "mlx-lm's form has one of each", etk_adapter_convert(e, peft, path_of("%s/mlx", out), ETK_ADAPTER_MLX, model, NULL, 0));
  fails_with(ETK_E_UNSUPPORTED, "one alpha", etk_adapter_convert(e, peft, gguf, ETK_ADAPTER_GGUF, model, NULL, 0));
  peft = make_peft(state, "ranks", path_of(in_layer_0, ", \"rank_pattern\": {\"v_proj\": 2}"), list, 4); /* one alpha, two ranks: llama.cpp divides by each */
  convert(peft, gguf, ETK_ADAPTER_GGUF, model);
  same_scales(model, peft, gguf);
  etk_model_unref(model);
}

/* llama.cpp keeps alpha in single precision, by which not every scale can be had exactly. */
static void a_scale_that_no_single_alpha_gives_is_kept_beside_it(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  const struct made list[] = {Q(ETK_F32, 6), V(ETK_F32, 6)};
  char *gguf = path_of("%s/a.gguf", fresh_folder(state, "out"));
  int beside = 0;
  for (int i = 0; i < 8; i++) { /* scales from 1.5 to 1.7: six times that lies above 8, where floats are too far apart to give each by a quotient */
    char *peft = make_peft(state, "scale",
                           path_of("{\"peft_type\": \"LORA\", \"r\": 6, \"use_rslora\": true, \"lora_alpha\": %.17g, \"target_modules\": [\"q_proj\", \"v_proj\"], "
                                                   "\"layers_to_transform\": 0}", 3.7823 + i * 0.0371), list, 4);
    convert(peft, gguf, ETK_ADAPTER_GGUF, model);
    same_scales(model, peft, gguf);
    etk_gguf *file = NULL;
    works(etk_gguf_open(e, &file, gguf));
    beside += etk_gguf_find(file, "etk.lora.scale") != NULL;
    etk_gguf_close(file);
  }
  assert_true(beside > 0); /* else this test shows nothing */
  etk_model_unref(model);
}

static void layers_that_are_left_out_stay_out(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  const struct made list[] = {Q(ETK_F32, 4), V(ETK_F32, 4)};
  char *peft = make_peft(state, "one-layer", path_of(in_layer_0, ""), list, 4), *mlx = fresh_folder(state, "mlx"), *back = fresh_folder(state, "back");
  convert(peft, mlx, ETK_ADAPTER_MLX, model);
  convert(mlx, back, ETK_ADAPTER_PEFT, NULL); /* no model tells that there is a second layer */
  json_t *config = load_json(path_of("%s/adapter_config.json", back)), *layers = json_object_get(config, "layers_to_transform");
  assert_int_equal(json_array_size(layers), 1);
  assert_int_equal(json_integer_value(json_array_get(layers, 0)), 0);
  json_decref(config);
  same_scales(model, peft, back);
  config = load_json(path_of("%s/adapter_config.json", mlx));
  assert_int_equal(json_integer_value(json_object_get(config, "num_layers")), 2); /* layers count from the last */
  json_decref(config);
  convert(mlx, back, ETK_ADAPTER_PEFT, model); /* with the model, modules are named */
  config = load_json(path_of("%s/adapter_config.json", back));
  assert_string_equal(json_string_value(json_array_get(json_object_get(config, "target_modules"), 0)), "model.layers.0.self_attn.q_proj");
  json_decref(config);
  same_scales(model, peft, back);
  etk_model_unref(model);
}

static void an_adapter_in_a_folder_of_its_name_is_found(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *outer = fresh_folder(state, "named");
  convert(peft_folder("lora"), path_of("%s/poet", outer), ETK_ADAPTER_PEFT, NULL);
  same_scales(model, peft_folder("lora"), outer);
  same_scales(model, peft_folder("lora"), path_of("%s/poet/adapter_model.safetensors", outer)); /* the file stands for its folder */
  convert(peft_folder("lora"), path_of("%s/critic", outer), ETK_ADAPTER_PEFT, NULL);
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_INVALID, "holds 2 adapters (critic, poet)", etk_adapter_open(e, &adapter, model, outer, false));
  etk_model_unref(model);
}

/* rows * columns floats of storage "0" from `first` on. */
static void pickled_matrix(const char *name, int first, int rows, int columns) {
  op_text(name);
  rebuild_begin("FloatStorage", "0", 496);
  op_int(first), op_int(rows), op_int(columns), OP("\x86"), op_int(columns), OP("K\1\x86");
  rebuild_end();
}

static void the_file_of_pytorch_that_older_peft_wrote_is_read(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  static float storage[496]; /* q_proj: A 4 x 56, B 56 x 4, one after the other; 48 more that are nobody's */
  for (int i = 0; i < 496; i++) storage[i] = (float)i;
  begin();
  OP("\x80\2}(");
  pickled_matrix(LAYER0 "self_attn.q_proj.lora_A.weight", 0, 4, 56);
  pickled_matrix(LAYER0 "self_attn.q_proj.lora_B.weight", 224, 56, 4);
  OP("u.");
  make_zip(storage, sizeof storage);
  char *folder = fresh_folder(state, "torch"), *back = fresh_folder(state, "back");
  write_text(path_of("%s/adapter_config.json", folder), "{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": [\"model.layers.0.self_attn.q_proj\"]}");
  write_file(path_of("%s/adapter_model.bin", folder), made, made_size);
  convert(folder, back, ETK_ADAPTER_PEFT, model);
  same_scales(model, folder, back);
  etk_safetensors *file = open_tensors(weights_of(back));
  const etk_safetensors_entry *b = etk_safetensors_find(file, LAYER0 "self_attn.q_proj.lora_B.weight");
  assert_non_null(b);
  assert_memory_equal(b->data, storage + 224, 224 * 4);
  etk_safetensors_close(file);
  etk_model_unref(model);
}

static void embeddings_and_whole_weights_are_converted_but_not_run(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("qwen2"));
  const struct made embedding[] = {{"base_model.model.model.embed_tokens.lora_embedding_A", ETK_F32, etk_shape_of(2, 4, 384)},
                                   {"base_model.model.model.embed_tokens.lora_embedding_B", ETK_F32, etk_shape_of(2, 56, 4)}};
  char *peft = make_peft(state, "embedding", "{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": [\"embed_tokens\"]}", embedding, 2),
      *out = fresh_folder(state, "out"), *back = fresh_folder(state, "back");
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_FORMAT, "names no linear layer", etk_adapter_open(e, &adapter, model, peft, false));
  convert(peft, path_of("%s/mlx", out), ETK_ADAPTER_MLX, model);
  convert(path_of("%s/mlx", out), path_of("%s/a.gguf", out), ETK_ADAPTER_GGUF, model);
  convert(path_of("%s/a.gguf", out), back, ETK_ADAPTER_PEFT, NULL);
  same_tensors(weights_of(peft), weights_of(back));
  etk_gguf *file = NULL;
  works(etk_gguf_open(e, &file, path_of("%s/a.gguf", out)));
  assert_int_equal(etk_gguf_tensor_find(file, "token_embd.weight.lora_a")->shape.dims[0], 384); /* llama.cpp looks rows up in it */
  etk_gguf_close(file);
  fails_with(ETK_E_UNSUPPORTED, "is an embedding", etk_adapter_convert(e, peft, path_of("%s/a.safetensors", out), ETK_ADAPTER_KOHYA, model, NULL, 0));

  const struct made whole[] = {Q(ETK_F32, 4), V(ETK_F32, 4), {"base_model.model.lm_head.weight", ETK_F16, etk_shape_of(2, 384, 56)}};
  peft = make_peft(state, "whole", path_of(in_layer_0, ", \"modules_to_save\": [\"lm_head\"]"), whole, 5);
  fails_with(ETK_E_UNSUPPORTED, "lm_head.weight as a whole weight", etk_adapter_open(e, &adapter, model, peft, false));
  fails_with(ETK_E_UNSUPPORTED, "lm_head.weight (\"modules_to_save\")", etk_adapter_convert(e, peft, path_of("%s/mlx", out), ETK_ADAPTER_MLX, model, NULL, 0));
  convert(peft, back, ETK_ADAPTER_PEFT, NULL);
  same_tensors(weights_of(peft), weights_of(back));
  etk_model_unref(model);
}

static void names_of_gpt2_and_gpt_neox_are_found_in_every_form(void **state) {
  shared_or_skip("goldens/models/gpt2");
  const struct {
    const char *model, *target, *gguf, *mlx;
  } cases[] = {{"gpt2", "c_attn", "blk.1.attn_qkv.weight.lora_b", "model.h.1.attn.c_attn.lora_b"},
               {"gpt-neox", "query_key_value", "blk.1.attn_qkv.weight.lora_b", "model.h.1.attention.query_key_value.lora_b"}};
  for (int i = 0; i < 2; i++) {
    etk_model *model = open_model(model_folder(cases[i].model));
    etk_lora_options options = {.rank = 3, .alpha = 5, .target_modules = &cases[i].target, .target_count = 1};
    etk_adapter *adapter = NULL;
    works(etk_adapter_new(e, &adapter, model, &options, 4));
    float *b = etk_tensor_data(etk_adapter_at(adapter, 1)->b);
    for (int64_t k = 0; k < etk_tensor_elements(etk_adapter_at(adapter, 1)->b); k++) b[k] = (float)k;
    char *out = fresh_folder(state, "gpt"), *peft = path_of("%s/peft", out), *mlx = path_of("%s/mlx", out), *gguf = path_of("%s/a.gguf", out),
        *kohya = path_of("%s/a.safetensors", out);
    works(etk_fs_make_dirs(e, peft));
    works(etk_fs_make_dirs(e, mlx));
    works(etk_adapter_save(e, adapter, peft, NULL, 0));
    works(etk_adapter_save_as(e, adapter, ETK_ADAPTER_MLX, mlx, made_by, 1));
    works(etk_adapter_save_as(e, adapter, ETK_ADAPTER_GGUF, gguf, made_by, 1));
    works(etk_adapter_save_as(e, adapter, ETK_ADAPTER_KOHYA, kohya, made_by, 1));
    same_scales(model, peft, mlx);
    same_scales(model, peft, gguf);
    same_scales(model, peft, kohya);
    etk_safetensors *file = open_tensors(path_of("%s/adapters.safetensors", mlx));
    assert_non_null(etk_safetensors_find(file, cases[i].mlx));
    etk_safetensors_close(file);
    etk_gguf *stored = NULL;
    works(etk_gguf_open(e, &stored, gguf));
    const etk_gguf_entry *entry = etk_gguf_tensor_find(stored, cases[i].gguf);
    assert_non_null(entry);
    /* GPT-NeoX: queries of all heads, then keys, then values: the second head's query follows the first's, 3 heads of 16 rows. */
    assert_true(((const float *)entry->data)[16 * 3] == (i ? 3 * 16 * 3 : 16 * 3));
    etk_gguf_close(stored);
    char *again = path_of("%s/again", out);
    convert(mlx, again, ETK_ADAPTER_PEFT, NULL); /* names go back without a model */
    same_tensors(weights_of(peft), weights_of(again));
    json_t *config = load_json(path_of("%s/adapter_config.json", again));
    assert_int_equal(json_is_true(json_object_get(config, "fan_in_fan_out")), i == 0);
    json_decref(config);
    etk_adapter_free(adapter);
    etk_model_unref(model);
  }
}

static void experts_are_stacked_in_gguf_and_apart_elsewhere(void **state) {
  shared_or_skip("goldens/models/mixtral");
  etk_model *model = open_model(model_folder("mixtral"));
  const char *const targets[] = {"w1", "w2", "w3"}, *const one[] = {"model.layers.0.block_sparse_moe.experts.1.w1"};
  etk_lora_options options = {.rank = 3, .alpha = 5, .target_modules = targets, .target_count = 3};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 4));
  for (size_t m = 0; m < etk_adapter_count(adapter); m++) {
    float *b = etk_tensor_data(etk_adapter_at(adapter, m)->b);
    for (int64_t k = 0; k < etk_tensor_elements(etk_adapter_at(adapter, m)->b); k++) b[k] = (float)(k + 1000 * (int64_t)m);
  }
  char *out = fresh_folder(state, "experts"), *peft = path_of("%s/peft", out), *gguf = path_of("%s/a.gguf", out), *kohya = path_of("%s/a.safetensors", out);
  works(etk_fs_make_dirs(e, peft));
  works(etk_adapter_save(e, adapter, peft, NULL, 0));
  convert(peft, gguf, ETK_ADAPTER_GGUF, model);
  convert(gguf, kohya, ETK_ADAPTER_KOHYA, model);
  same_scales(model, peft, gguf);
  same_scales(model, peft, kohya);
  etk_gguf *file = NULL;
  works(etk_gguf_open(e, &file, gguf));
  const etk_gguf_entry *entry = etk_gguf_tensor_find(file, "blk.1.ffn_down_exps.weight.lora_b");
  assert_non_null(entry);
  assert_true(entry->shape.rank == 3 && entry->shape.dims[0] == 3 && entry->shape.dims[1] == 56 && entry->shape.dims[2] == 3);
  etk_gguf_close(file);
  fails_with(ETK_E_UNSUPPORTED, "stack of experts in mlx-lm", etk_adapter_convert(e, peft, path_of("%s/mlx", out), ETK_ADAPTER_MLX, model, NULL, 0));
  fails_with(ETK_E_INVALID, "which tells how many", etk_adapter_convert(e, gguf, peft, ETK_ADAPTER_PEFT, NULL, NULL, 0));
  etk_adapter_free(adapter);
  options.target_modules = one;
  options.target_count = 1;
  works(etk_adapter_new(e, &adapter, model, &options, 4));
  fails_with(ETK_E_UNSUPPORTED, "experts.0.w1 has no adapter beside the other experts", etk_adapter_save_as(e, adapter, ETK_ADAPTER_GGUF, gguf, NULL, 0));
  etk_adapter_free(adapter);
  etk_model_unref(model);
}

static void gpt2_adapters_may_leave_the_prefix_of_names_out(void **state) {
  shared_or_skip("goldens/models/gpt2");
  etk_model *model = open_model(model_folder("gpt2"));
#define C_ATTN(layer) {"base_model.model.h." layer ".attn.c_attn.lora_A.weight", ETK_F32, etk_shape_of(2, 4, 40)}, {"base_model.model.h." layer ".attn.c_attn.lora_B.weight", ETK_F32, etk_shape_of(2, 120, 4)}
  const struct made list[] = {C_ATTN("0"), C_ATTN("1")};
  char *peft = make_peft(state, "short", "{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": [\"c_attn\"], \"fan_in_fan_out\": true}", list, 4),
      *out = fresh_folder(state, "out");
  char *gguf = path_of("%s/a.gguf", out), *kohya = path_of("%s/a.safetensors", out);
  convert(peft, gguf, ETK_ADAPTER_GGUF, model);
  convert(peft, kohya, ETK_ADAPTER_KOHYA, NULL);
  same_scales(model, peft, gguf);
  same_scales(model, peft, kohya);
  etk_model_unref(model);
}

/* Gemma 3 with its vision tower: the two spellings that transformers has had for the text part's modules. */
static void adapters_of_the_text_of_gemma3_have_its_names(void **state) {
  static const char *const spellings[] = {"language_model.model.", "model.language_model."};
  etk_model_config config = {.architecture = "gemma3_text", .vocab_size = 24, .hidden_size = 16, .intermediate_size = 20, .num_hidden_layers = 1,
                             .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 32, .rms_norm_eps = 1e-6,
                             .rope_theta = 10000, .rope_local_theta = 100, .query_pre_attn_scalar = 4, .tie_word_embeddings = true,
                             .activation = ETK_ACTIVATION_GELU_TANH, .bos_token_id = -1, .text_part = true};
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  for (int s = 0; s < 2; s++) {
    const char *first = path_of("base_model.model.%slayers.0.self_attn.q_proj.lora_A.weight", spellings[s]);
    const struct made list[] = {{first, ETK_F32, etk_shape_of(2, 4, 16)},
                                {path_of("base_model.model.%slayers.0.self_attn.q_proj.lora_B.weight", spellings[s]), ETK_F32, etk_shape_of(2, 16, 4)}};
    char *peft = make_peft(state, "text", "{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": \".*language_model.*q_proj\"}", list, 2),
        *again = fresh_folder(state, "again");
    char *gguf = path_of("%s/a.gguf", fresh_folder(state, "gguf"));
    etk_adapter *adapter = NULL;
    works(etk_adapter_open(e, &adapter, model, peft, false));
    assert_int_equal(etk_adapter_count(adapter), 1);
    assert_string_equal(etk_adapter_at(adapter, 0)->name, "model.layers.0.self_attn.q_proj");
    works(etk_adapter_save(e, adapter, again, NULL, 0)); /* under the names it came with, which its target_modules mean */
    same_tensors(weights_of(peft), weights_of(again));
    etk_adapter_free(adapter);
    same_scales(model, peft, again);
    convert(peft, gguf, ETK_ADAPTER_GGUF, model);
    same_scales(model, peft, gguf);
  }
  etk_model_unref(model);
}

/* ---- what is refused ---- */

static void conversions_that_need_the_base_model_say_so(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *llama = open_model(model_folder("llama-gqa-tied")), *qwen = open_model(model_folder("qwen2")), *wider = open_model(model_folder("llama"));
  char *out = fresh_folder(state, "base"), *gguf = path_of("%s/a.gguf", out), *kohya = path_of("%s/a.safetensors", out), *peft = path_of("%s/peft", out);
  fails_with(ETK_E_INVALID, "name the base model", etk_adapter_convert(e, peft_folder("lora"), gguf, ETK_ADAPTER_GGUF, NULL, NULL, 0));
  convert(peft_folder("lora"), gguf, ETK_ADAPTER_GGUF, llama);
  fails_with(ETK_E_INVALID, "name the base model", etk_adapter_convert(e, gguf, peft, ETK_ADAPTER_PEFT, NULL, NULL, 0));
  fails_with(ETK_E_INVALID, "is an adapter for \"llama\"", etk_adapter_convert(e, gguf, peft, ETK_ADAPTER_PEFT, qwen, NULL, 0));
  convert(peft_folder("lora"), kohya, ETK_ADAPTER_KOHYA, NULL);
  fails_with(ETK_E_INVALID, "name the base model", etk_adapter_convert(e, kohya, peft, ETK_ADAPTER_PEFT, NULL, NULL, 0));
  fails_with(ETK_E_SHAPE, "belongs to another model", etk_adapter_convert(e, peft_folder("lora"), gguf, ETK_ADAPTER_GGUF, wider, NULL, 0));
  convert(peft_folder("qwen2"), gguf, ETK_ADAPTER_GGUF, qwen); /* whose rows lie as they are */
  convert(gguf, peft, ETK_ADAPTER_PEFT, NULL);
  same_tensors(weights_of(peft_folder("qwen2")), weights_of(peft));
  etk_model_unref(llama);
  etk_model_unref(qwen);
  etk_model_unref(wider);
}

static void malformed_peft_files_are_named(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  const struct {
    struct made list[4];
    size_t count;
    const char *more;
    etk_status status;
    const char *part;
  } rows[] = {
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.v_proj.lora_A.weight", ETK_F32, etk_shape_of(2, 4, 56)}}, 3, "", ETK_E_FORMAT,
       "v_proj.lora_A.weight has no tensor beside it"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.v_proj.lora_A.weight", ETK_F32, etk_shape_of(2, 4, 56)},
        {LAYER0 "self_attn.v_proj.lora_B.weight", ETK_F32, etk_shape_of(2, 8, 3)}}, 4, "", ETK_E_SHAPE,
       "A (4, 56) and B (8, 3)"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.v_proj.lora_A.weight", ETK_F32, etk_shape_of(1, 4)},
        {LAYER0 "self_attn.v_proj.lora_B.weight", ETK_F32, etk_shape_of(2, 8, 4)}}, 4, "", ETK_E_SHAPE, "A (4)"},
      {{Q(ETK_F64, 4), V(ETK_F32, 4)}, 4, "", ETK_E_UNSUPPORTED, "is of type F64"},
      {{Q(ETK_F32, 4), {"model.layers.0.self_attn.v_proj.lora_A.weight", ETK_F32, etk_shape_of(2, 4, 56)}}, 3, "", ETK_E_FORMAT, "fits no targeted layer"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.v_proj.lora_C.weight", ETK_F32, etk_shape_of(2, 4, 56)}}, 3, "", ETK_E_FORMAT,
       "lora_C.weight, which fits no targeted layer"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.q_proj.lora_magnitude_vector", ETK_F32, etk_shape_of(1, 56)}}, 3, "", ETK_E_FORMAT, "a magnitude, but"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.q_proj.lora_magnitude_vector", ETK_F32, etk_shape_of(1, 55)}}, 3, ", \"use_dora\": true", ETK_E_SHAPE, "wanted (56)"},
      {{Q(ETK_F32, 4)}, 2, ", \"use_dora\": true", ETK_E_FORMAT, "no magnitude, but"},
      {{Q(ETK_F32, 4), {LAYER0 "self_attn.q_proj.lora_magnitude_vector", ETK_F32, etk_shape_of(1, 56)},
        {LAYER0 "self_attn.q_proj.lora_magnitude_vector.weight", ETK_F32, etk_shape_of(1, 56)}}, 4,
       ", \"use_dora\": true", ETK_E_FORMAT, "mean the same"},
      {{{LAYER0 "mlp.up_proj.lora_A.weight", ETK_F32, etk_shape_of(2, 4, 56)}, {LAYER0 "mlp.up_proj.lora_B.weight", ETK_F32, etk_shape_of(2, 120, 4)}}, 2, "",
       ETK_E_FORMAT, "does not call for it"},
      {{{"x", ETK_F32, etk_shape_of(1, 4)}}, 1, "", ETK_E_FORMAT, "the tensor x, which"},
      {{{"x", ETK_F32, etk_shape_of(1, 4)}}, 0, "", ETK_E_FORMAT, "holds no tensor of an adapter"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *peft = make_peft(state, "bad", path_of(in_layer_0, rows[i].more), rows[i].list, rows[i].count);
    fails_with(rows[i].status, rows[i].part, etk_adapter_convert(e, peft, path_of("%s/out", (const char *)*state), ETK_ADAPTER_PEFT, NULL, NULL, 0));
  }
  etk_model_unref(model);
}

static void malformed_mlx_files_are_named(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
#define A {"model.layers.0.self_attn.q_proj.lora_a", ETK_F32, etk_shape_of(2, 56, 4)}
#define B {"model.layers.0.self_attn.q_proj.lora_b", ETK_F32, etk_shape_of(2, 4, 56)}
#define SET "\"lora_parameters\": {\"rank\": 4, \"scale\": 20.0, \"dropout\": 0.0}"
  const struct {
    const char *config;
    struct made list[3];
    size_t count;
    etk_status status;
    const char *part;
  } rows[] = {
      {"{\"num_layers\": 2, " SET "}", {A, B}, 2, ETK_OK, ""},
      {"{\"lora_layers\": -1, " SET "}", {A, B}, 2, ETK_OK, ""},
      {"{\"num_layers\": 2, " SET ", \"fine_tune_type\": \"full\"}", {A, B}, 2, ETK_E_UNSUPPORTED, "\"fine_tune_type\" is \"full\""},
      {"{\"num_layers\": 2, \"fine_tune_type\": \"lora\"}", {A, B}, 2, ETK_E_FORMAT, "\"lora_parameters\" is missing"},
      {"{\"num_layers\": \"two\", " SET "}", {A, B}, 2, ETK_E_FORMAT, "\"num_layers\""},
      {"{\"num_layers\": 2, \"lora_parameters\": {\"scale\": 20.0}}", {A, B}, 2, ETK_E_FORMAT, "\"rank\""},
      {"{\"num_layers\": 2, \"lora_parameters\": {\"rank\": 4}}", {A, B}, 2, ETK_E_FORMAT, "\"scale\""},
      {"{\"num_layers\": 2, \"lora_parameters\": {\"rank\": 4, \"scale\": 1, \"dropout\": 1}}", {A, B}, 2, ETK_E_FORMAT, "\"dropout\""},
      {"{\"num_layers\": 2, \"lora_parameters\": {\"rank\": 5, \"scale\": 1}}", {A, B}, 2, ETK_E_SHAPE, "says rank 5"},
      {"{\"num_layers\": 2, \"lora_parameters\": {\"rank\": 4, \"scale\": 1, \"keys\": [\"self_attn.v_proj\"]}}", {A, B}, 2, ETK_E_FORMAT,
       "does not have \"self_attn.q_proj\""},
      {"{\"num_layers\": 1, " SET "}", {A, B}, 2, ETK_E_FORMAT, "only the last 1 of 2 layers"},
      {"{\"num_layers\": 2, " SET "}", {A}, 1, ETK_E_FORMAT, "B is missing"},
      {"{\"num_layers\": 2, " SET "}", {A, {"model.layers.0.self_attn.q_proj.lora_b", ETK_F32, etk_shape_of(2, 5, 56)}}, 2, ETK_E_SHAPE,
       "A (4, 56) and B (56, 5)"},
      {"{\"num_layers\": 2, " SET "}", {A, {"model.layers.0.self_attn.q_proj.lora_b", ETK_F32, etk_shape_of(1, 56)}}, 2, ETK_E_SHAPE, "has 1 dims"},
      {"{\"num_layers\": 2, " SET "}", {A, {"model.layers.0.mlp.switch_mlp.up_proj.lora_b", ETK_F32, etk_shape_of(3, 2, 2, 2)}}, 2, ETK_E_UNSUPPORTED,
       "stack of experts"},
      {"{\"num_layers\": 2, " SET "}", {A, B, {"model.layers.0.self_attn.q_proj.m", ETK_F32, etk_shape_of(1, 56)}}, 3, ETK_E_FORMAT, "a magnitude, but"},
      {"{\"num_layers\": 2, " SET "}", {A, B, {"model.layers.0.self_attn.q_proj.weight", ETK_F32, etk_shape_of(1, 56)}}, 3, ETK_E_FORMAT,
       "q_proj.weight; names that end in"},
      {"{\"num_layers\": 2, " SET "}", {{"model.layers.7.self_attn.q_proj.lora_a", ETK_F32, etk_shape_of(2, 56, 4)},
                                        {"model.layers.7.self_attn.q_proj.lora_b", ETK_F32, etk_shape_of(2, 4, 56)}}, 2,
       ETK_E_FORMAT, "fits no"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *folder = fresh_folder(state, "bad-mlx");
    write_text(path_of("%s/adapter_config.json", folder), rows[i].config);
    make_tensors(path_of("%s/adapters.safetensors", folder), rows[i].list, rows[i].count);
    etk_adapter *adapter = NULL;
    if (rows[i].status) fails_with(rows[i].status, rows[i].part, etk_adapter_open(e, &adapter, model, folder, false));
    else works(etk_adapter_open(e, &adapter, model, folder, false));
    if (adapter) assert_true(etk_adapter_at(adapter, 0)->scale == 20.0f);
    etk_adapter_free(adapter);
  }
  etk_model_unref(model);
}

static void malformed_kohya_files_are_named(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
#define K "lora_te_model_layers_0_self_attn_q_proj"
#define DOWN {K ".lora_down.weight", ETK_F32, etk_shape_of(2, 4, 56)}
#define UP {K ".lora_up.weight", ETK_F32, etk_shape_of(2, 56, 4)}
  const struct {
    struct made list[4];
    size_t count;
    etk_status status;
    const char *part;
  } rows[] = {
      {{DOWN, UP}, 2, ETK_OK, ""}, /* without alpha the scale is 1 */
      {{DOWN}, 1, ETK_E_FORMAT, "B is missing"},
      {{DOWN, {K ".alpha", ETK_F32, etk_shape_of(1, 1)}}, 2, ETK_E_FORMAT, "B is missing"},
      {{DOWN, UP, {K ".alpha", ETK_F32, etk_shape_of(1, 2)}}, 3, ETK_E_SHAPE, "has 2 values"},
      {{DOWN, UP, {K ".dora_scale", ETK_F32, etk_shape_of(2, 56, 1)}}, 3, ETK_E_UNSUPPORTED, ".dora_scale; names that end in"},
      {{DOWN, UP, {K ".hada_w1_a", ETK_F32, etk_shape_of(2, 56, 1)}}, 3, ETK_E_UNSUPPORTED, ".hada_w1_a; names that end in"},
      {{DOWN, {K ".lora_up.weight", ETK_F32, etk_shape_of(4, 56, 4, 1, 1)}}, 2, ETK_E_SHAPE, "(56, 4, 1, 1)"},
      {{DOWN, {K ".lora_up.weight", ETK_F32, etk_shape_of(2, 55, 4)}}, 2, ETK_E_SHAPE, "belongs to another model"},
      {{{"lora_te_model_layers_9_self_attn_q_proj.lora_down.weight", ETK_F32, etk_shape_of(2, 4, 56)},
        {"lora_te_model_layers_9_self_attn_q_proj.lora_up.weight", ETK_F32, etk_shape_of(2, 56, 4)}}, 2,
       ETK_E_FORMAT, "fits no module of the model"},
      {{{"lora_unet_mid_block_attentions_0.lora_down.weight", ETK_F32, etk_shape_of(2, 4, 56)},
        {"lora_unet_mid_block_attentions_0.lora_up.weight", ETK_F32, etk_shape_of(2, 56, 4)}}, 2, ETK_E_FORMAT,
       "fits no module of the model"},
      {{DOWN, UP, {"lora_te1_model_layers_0_self_attn_q_proj.lora_down.weight", ETK_F32, etk_shape_of(2, 4, 56)},
        {"lora_te1_model_layers_0_self_attn_q_proj.lora_up.weight", ETK_F32, etk_shape_of(2, 56, 4)}}, 4, ETK_E_FORMAT, "mean the same module"},
      {{{"model.norm.weight", ETK_F32, etk_shape_of(1, 56)}}, 1, ETK_E_FORMAT, "holds no tensor of an adapter"},
  };
  char *path = path_of("%s/kohya.safetensors", fresh_folder(state, "bad-kohya"));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    make_tensors(path, rows[i].list, rows[i].count);
    etk_adapter *adapter = NULL;
    if (rows[i].status) fails_with(rows[i].status, rows[i].part, etk_adapter_open(e, &adapter, model, path, false));
    else works(etk_adapter_open(e, &adapter, model, path, false));
    if (adapter) assert_true(etk_adapter_at(adapter, 0)->scale == 1.0f);
    etk_adapter_free(adapter);
  }
  etk_model_unref(model);
}

static void malformed_gguf_adapters_are_named(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  static const float zeros[384 * 56];
  const struct {
    const char *key, *value; /* in place of the right one; value NULL: left out */
    double alpha;
    const char *a, *b;
    etk_shape b_shape;
    etk_status status;
    const char *part;
  } rows[] = {
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_OK, ""},
      {"", "", 0, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_OK, ""}, /* llama.cpp: no alpha, scale 1 */
      {"general.type", NULL, 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "'general.type' is \"model\""},
      {"general.type", "model", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT,
       "'general.type' is \"model\""},
      {"adapter.type", "loha", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT,
       "'adapter.type' is \"loha\""},
      {"general.architecture", "mamba", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_UNSUPPORTED, "\"mamba\""},
      {"", "", -1, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "'adapter.lora.alpha' is -1"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "names that end in .lora_a or .lora_b"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_w.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT,
       "attn_w.weight is no weight of the architecture"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.bias.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "attn_v.bias is no weight"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_k.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "is missing"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 5), ETK_E_SHAPE, "B (8, 5)"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 9, 4), ETK_E_SHAPE, "belongs to another model"},
      {"", "", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(1, 8), ETK_E_SHAPE, "has 1 dims"},
      {"", "", 8, "blk.0.attn_k.weight.lora_a", "blk.0.attn_k.weight.lora_b", etk_shape_of(2, 9, 4), ETK_E_SHAPE, "9 rows, which the 1 heads"},
      {"", "", 8, "blk.0.ffn_up_exps.weight.lora_a", "blk.0.ffn_up_exps.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_SHAPE, "a stack of the 0 experts"},
      {"", "", 8, "blk.5.attn_v.weight.lora_a", "blk.5.attn_v.weight.lora_b", etk_shape_of(2, 8, 4), ETK_E_FORMAT, "fits no"},
      {"adapter.alora.invocation_tokens", "x", 8, "blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", etk_shape_of(2, 8, 4),
       ETK_E_UNSUPPORTED, "makes the adapter wait"},
  };
  char *path = path_of("%s/a.gguf", fresh_folder(state, "bad-gguf"));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *const keys[] = {"general.type", "adapter", "adapter.type", "lora", "general.architecture", "llama"};
    etk_gguf_writer *writer = etk_gguf_writer_new();
    assert_non_null(writer);
    for (int k = 0; k < 6; k += 2)
      if (strcmp(rows[i].key, keys[k])) etk_gguf_set_text(writer, keys[k], keys[k + 1]);
    if (*rows[i].key && rows[i].value) etk_gguf_set_text(writer, rows[i].key, rows[i].value);
    if (rows[i].alpha) etk_gguf_set_real(writer, "adapter.lora.alpha", ETK_GGUF_F32, rows[i].alpha);
    etk_gguf_add(writer, rows[i].a, (etk_type)ETK_F32, etk_shape_of(2, 4, 56), zeros, NULL, NULL);
    etk_gguf_add(writer, rows[i].b, (etk_type)ETK_F32, rows[i].b_shape, zeros, NULL, NULL);
    works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
    etk_gguf_writer_free(writer);
    etk_adapter *adapter = NULL;
    if (rows[i].status) fails_with(rows[i].status, rows[i].part, etk_adapter_open(e, &adapter, model, path, false));
    else works(etk_adapter_open(e, &adapter, model, path, false));
    if (adapter) assert_true(etk_adapter_at(adapter, 0)->scale == (rows[i].alpha ? 2.0f : 1.0f));
    etk_adapter_free(adapter);
  }
  etk_model_unref(model);
}

static void what_is_no_adapter_is_told_so(void **state) {
  char *folder = fresh_folder(state, "none"), *file = path_of("%s/x.safetensors", folder);
  etk_adapter_form form;
  fails_with(ETK_E_NOT_FOUND, "no such folder", etk_adapter_detect(e, &form, "/nowhere/adapter"));
  fails_with(ETK_E_NOT_FOUND, "has no adapter_config.json", etk_adapter_detect(e, &form, folder));
  write_text(file, "short");
  fails_with(ETK_E_FORMAT, "x.safetensors", etk_adapter_detect(e, &form, file));
  write_text(path_of("%s/adapters.safetensors", folder), "short");
  write_text(path_of("%s/adapter_config.json", folder), "[1]");
  fails_with(ETK_E_FORMAT, "wanted a JSON object", etk_adapter_detect(e, &form, folder));
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++)
    assert_true(etk_adapter_form_parse(&form, etk_adapter_form_name((etk_adapter_form)i)) && form == (etk_adapter_form)i);
  assert_false(etk_adapter_form_parse(&form, "loha"));
  shared_or_skip("models/stories260K");
  fails_with(ETK_E_FORMAT, "stories260K.bin", etk_adapter_detect(e, &form, shared("models/stories260K/stories260K.bin")));
  fails_with(ETK_E_NOT_FOUND, "has no adapter_config.json", etk_adapter_detect(e, &form, model_folder("llama")));
  fails_with(ETK_E_FORMAT, "holds no tensor of an adapter", etk_adapter_detect(e, &form, path_of("%s/model.safetensors", model_folder("llama"))));
}

/* Reading and writing in the face of failing memory: an error or the whole, never a crash or a leak. */
static void every_conversion_survives_every_failing_allocation(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *folder = fresh_folder(state, "hostile"),
      *in[ETK_ADAPTER_FORM_COUNT] = {peft_folder("lora"), path_of("%s/mlx", folder), path_of("%s/a.gguf", folder), path_of("%s/a.safetensors", folder)};
  for (int i = 1; i < ETK_ADAPTER_FORM_COUNT; i++) convert(in[0], in[i], (etk_adapter_form)i, model);
  const char *const out[] = {path_of("%s/o-peft", folder), path_of("%s/o-mlx", folder), path_of("%s/o.gguf", folder), path_of("%s/o.safetensors", folder)};
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++) {
    starvation s = {.bears = true};
    while (starve(&s)) {
      etk_error error = ETK_ERROR_INIT;
      etk_status status = etk_adapter_convert(&error, in[i], out[(i + 1) % ETK_ADAPTER_FORM_COUNT],
                                              (etk_adapter_form)((i + 1) % ETK_ADAPTER_FORM_COUNT), model, made_by, 1);
      starved(&s, status, &error);
    }
    assert_true(s.nth > 20);
  }
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_round_through_all_forms_keeps_every_bit),
      cmocka_unit_test(dora_goes_to_mlx_and_back_and_no_further),
      cmocka_unit_test(mlx_has_both_factors_transposed_and_keys_within_a_layer),
      cmocka_unit_test(gguf_has_the_rows_of_b_as_the_base_has_its_own),
      cmocka_unit_test(kohya_has_underscores_and_an_alpha_for_each_module),
      cmocka_unit_test(every_form_says_how_it_was_made),
      cmocka_unit_test(sixteen_bit_types_are_kept_by_every_form),
      cmocka_unit_test(ranks_and_alphas_of_single_modules_are_honoured_and_kept),
      cmocka_unit_test(a_scale_that_no_single_alpha_gives_is_kept_beside_it),
      cmocka_unit_test(layers_that_are_left_out_stay_out),
      cmocka_unit_test(an_adapter_in_a_folder_of_its_name_is_found),
      cmocka_unit_test(the_file_of_pytorch_that_older_peft_wrote_is_read),
      cmocka_unit_test(embeddings_and_whole_weights_are_converted_but_not_run),
      cmocka_unit_test(names_of_gpt2_and_gpt_neox_are_found_in_every_form),
      cmocka_unit_test(experts_are_stacked_in_gguf_and_apart_elsewhere),
      cmocka_unit_test(gpt2_adapters_may_leave_the_prefix_of_names_out),
      cmocka_unit_test(adapters_of_the_text_of_gemma3_have_its_names),
      cmocka_unit_test(conversions_that_need_the_base_model_say_so),
      cmocka_unit_test(malformed_peft_files_are_named),
      cmocka_unit_test(malformed_mlx_files_are_named),
      cmocka_unit_test(malformed_kohya_files_are_named),
      cmocka_unit_test(malformed_gguf_adapters_are_named),
      cmocka_unit_test(what_is_no_adapter_is_told_so),
      cmocka_unit_test(every_conversion_survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
