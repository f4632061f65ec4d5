/* The forms of adapter files: conversions keep every bit. What is malformed: ml_adapter_refused.c. */
#include "ml_adapter_forms.h"
#include "ml_torch_bytes.h"

#include <etk/gguf.h>

static const struct variant {
  const char *name, *base;
} variants[] = {{"lora", "llama-gqa-tied"}, {"lora-all", "llama-gqa-tied"}, {"rslora", "llama-gqa-tied"}, {"loraplus", "llama-gqa-tied"},
                {"qwen2", "qwen2"}, {"dora", "llama-gqa-tied"}};
enum { VARIANTS = sizeof variants / sizeof *variants, PLAIN = VARIANTS - 1 /* the last is DoRA */ };

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
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
