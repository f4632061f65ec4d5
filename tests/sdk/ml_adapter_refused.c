/* Adapter files that are malformed, belong to another model or meet no memory: each is one error that names the thing. */
#include "ml_adapter_forms.h"
#include "../starve.h"

#include <etk/gguf.h>

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
