/* LoRA adapters: what they compute, and PEFT's files (shared/goldens/lora, made by PEFT 0.10). */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/adapter.h>

static char *model_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }
static char *peft_folder(const char *variant, const char *which) { return path_of("%s/goldens/lora/%s/%s", shared("."), variant, which); }

static const char *const readable[] = {"lora", "lora-all", "rslora", "loraplus"}; /* LoRA+ is a way to train: its adapters are plain ones */
enum { READABLE = sizeof readable / sizeof *readable };

static etk_model_config tiny_config(void) {
  return (etk_model_config){.architecture = "llama", .vocab_size = 40, .hidden_size = 16, .intermediate_size = 24, .num_hidden_layers = 2,
                            .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                            .rope_theta = 10000, .mlp_bias = true, .bos_token_id = 1, .eos_token_ids = {2}, .eos_count = 1};
}
static etk_model *tiny_model(void) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  return model;
}

static void a_fresh_adapter_changes_nothing(void **state) {
  (void)state;
  etk_model *model = tiny_model();
  const char *const targets[] = {"all-linear"};
  etk_lora_options options = {.rank = 3, .alpha = 6, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 9));
  assert_int_equal(etk_adapter_count(adapter), 14);
  assert_int_equal(etk_adapter_parameters(adapter), 2 * 3 * ((16 + 16) * 2 + (16 + 8) * 2 + (16 + 24) * 3));
  const int32_t ids[] = {1, 5, 39, 0, 7};
  float base[5 * 40], adapted[5 * 40];
  forward_plain(model, NULL, ids, 5, base);
  forward_plain(model, adapter, ids, 5, adapted);
  assert_memory_equal(base, adapted, sizeof base); /* B is zero, and y + 0 is y */
  etk_adapter_free(adapter);
  etk_model_unref(model);
}

static void fresh_weights_are_uniform_below_one_over_root_of_the_width(void **state) {
  (void)state;
  etk_model *model = tiny_model();
  const char *const targets[] = {"down_proj"};
  etk_lora_options options = {.rank = 512, .alpha = 1, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL, *same = NULL, *other = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 9));
  works(etk_adapter_new(e, &same, model, &options, 9));
  works(etk_adapter_new(e, &other, model, &options, 10));
  const etk_tensor *a = etk_adapter_at(adapter, 0)->a;
  const float *x = etk_tensor_data(a);
  int64_t n = etk_tensor_elements(a);
  double bound = 1 / sqrt(24.0), low = 1, high = -1, squares = 0;
  for (int64_t i = 0; i < n; i++) low = fmin(low, x[i]), high = fmax(high, x[i]), squares += (double)x[i] * x[i];
  assert_true(low >= -bound && high <= bound && low < -0.99 * bound && high > 0.99 * bound); /* 12,288 draws: missing the outer 1 % has odds of e^-61 */
  assert_true(fabs(squares / (double)n / (bound * bound / 3) - 1) < 6 * 0.0081); /* of the variance, six standard deviations: sqrt(0.8 / n) */
  assert_memory_equal(x, etk_tensor_data(etk_adapter_at(same, 0)->a), etk_tensor_bytes(a));
  assert_memory_not_equal(x, etk_tensor_data(etk_adapter_at(other, 0)->a), etk_tensor_bytes(a));
  assert_memory_not_equal(x, etk_tensor_data(etk_adapter_at(adapter, 1)->a), etk_tensor_bytes(a)); /* layers differ too */
  etk_adapter_free(adapter);
  etk_adapter_free(same);
  etk_adapter_free(other);
  etk_model_unref(model);
}

static void targets_are_whole_names_or_last_parts(void **state) {
  (void)state;
  etk_model *model = tiny_model();
  etk_adapter *adapter = NULL;
  const char *const mixed[] = {"v_proj", "model.layers.1.mlp.up_proj"};
  etk_lora_options options = {.rank = 2, .alpha = 2, .target_modules = mixed, .target_count = 2};
  works(etk_adapter_new(e, &adapter, model, &options, 1));
  assert_int_equal(etk_adapter_count(adapter), 3);
  assert_string_equal(etk_adapter_at(adapter, 0)->name, "model.layers.0.self_attn.v_proj");
  assert_string_equal(etk_adapter_at(adapter, 1)->name, "model.layers.1.self_attn.v_proj");
  assert_string_equal(etk_adapter_at(adapter, 2)->name, "model.layers.1.mlp.up_proj");
  etk_adapter_free(adapter);
  const char *const wrong[] = {"v_proj", "c_attn"}, *const part[] = {"proj"};
  options.target_modules = wrong;
  fails_with(ETK_E_INVALID, "\"c_attn\"", etk_adapter_new(e, &adapter, model, &options, 1));
  options.target_modules = part;
  options.target_count = 1;
  fails_with(ETK_E_INVALID, "\"proj\"", etk_adapter_new(e, &adapter, model, &options, 1));
  options.target_count = 0;
  fails_with(ETK_E_INVALID, "no target modules", etk_adapter_new(e, &adapter, model, &options, 1));
  options = (etk_lora_options){.rank = 0, .alpha = 2, .target_modules = mixed, .target_count = 2};
  fails_with(ETK_E_INVALID, "rank is 0", etk_adapter_new(e, &adapter, model, &options, 1));
  options.rank = 2, options.dropout = 1;
  fails_with(ETK_E_INVALID, "dropout is 1", etk_adapter_new(e, &adapter, model, &options, 1));
  etk_model_unref(model);
}

/* W + scale B A, in double, as a model of its own. */
static etk_model *merged(void **state, const etk_model *model, const etk_adapter *adapter) {
  char *folder = fresh_folder(state, "merged");
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_model *out = open_trainable(folder);
  for (size_t m = 0; m < etk_adapter_count(adapter); m++) {
    const etk_adapter_module *module = etk_adapter_at(adapter, m);
    float *w = etk_tensor_data(etk_model_weight(out, path_of("%s.weight", module->name)));
    const float *a = etk_tensor_data(module->a), *b = etk_tensor_data(module->b);
    int64_t rank = etk_tensor_dim(module->a, 0), in = etk_tensor_dim(module->a, 1), rows = etk_tensor_dim(module->b, 0);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < in; c++) {
        double sum = 0;
        for (int64_t k = 0; k < rank; k++) sum += (double)b[r * rank + k] * a[k * in + c];
        w[r * in + c] = (float)(w[r * in + c] + module->scale * sum);
      }
  }
  return out;
}

static void an_adapter_computes_what_merged_weights_compute(void **state) {
  shared_or_skip("goldens/lora");
  const struct {
    const char *variant;
    double scale;
  } cases[] = {{"lora", 12.0 / 6}, {"lora-all", 12.0 / 6}, {"rslora", 4.898979485566356}}; /* rsLoRA: 12/sqrt 6 */
  const int32_t ids[] = {1, 7, 300, 12, 12, 99, 43, 256, 17, 380};
  enum { COUNT = 10, VOCAB = 384 };
  static float with[COUNT * VOCAB], cached[COUNT * VOCAB], flat[COUNT * VOCAB], base[COUNT * VOCAB];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_model *model = open_model(model_folder("llama-gqa-tied"));
    etk_adapter *adapter = NULL;
    works(etk_adapter_open(e, &adapter, model, peft_folder(cases[i].variant, "final"), false));
    assert_true(fabs(etk_adapter_at(adapter, 0)->scale - cases[i].scale) < 1e-6);
    etk_model *flat_model = merged(state, model, adapter);
    forward_plain(model, NULL, ids, COUNT, base);
    forward_plain(model, adapter, ids, COUNT, with);
    forward_cached(model, adapter, ids, COUNT, 4, cached);
    forward_plain(flat_model, NULL, ids, COUNT, flat);
    double worst = 0, worst_cached = 0, effect = 0;
    for (size_t j = 0; j < COUNT * VOCAB; j++) {
      worst = fmax(worst, fabs((double)with[j] - (double)flat[j]));
      worst_cached = fmax(worst_cached, fabs((double)with[j] - (double)cached[j]));
      effect = fmax(effect, fabs((double)with[j] - (double)base[j]));
    }
    /* Logits are of order 1, sums have at most 120 terms: float rounding stays two orders below 1e-4. */
    if (!(worst < 1e-4 && worst_cached < 1e-4)) fail_msg("%s: merged differs by %g, cached by %g", cases[i].variant, worst, worst_cached);
    assert_true(effect > 0.02); /* or the comparison would say nothing */
    etk_model_unref(flat_model);
    etk_adapter_free(adapter);
    etk_model_unref(model);
  }
}

/* ---- PEFT's files ---- */
static void same_tensors(const char *ours, const char *theirs, bool same_bits) {
  etk_safetensors *a = NULL, *b = NULL;
  works(etk_safetensors_open(e, &a, path_of("%s/adapter_model.safetensors", ours)));
  works(etk_safetensors_open(e, &b, path_of("%s/adapter_model.safetensors", theirs)));
  assert_int_equal(etk_safetensors_count(a), etk_safetensors_count(b));
  assert_string_equal(etk_safetensors_metadata(a, "format"), etk_safetensors_metadata(b, "format"));
  for (size_t i = 0; i < etk_safetensors_count(b); i++) {
    const etk_safetensors_entry *wanted = etk_safetensors_at(b, i), *seen = etk_safetensors_at(a, i); /* the same order too */
    assert_string_equal(seen->name, wanted->name);
    assert_string_equal(seen->dtype_name, wanted->dtype_name);
    assert_true(etk_shape_equal(&seen->shape, &wanted->shape));
    if (same_bits) assert_memory_equal(seen->data, wanted->data, wanted->bytes);
  }
  etk_safetensors_close(a);
  etk_safetensors_close(b);
}

/* Every key of PEFT's file is in ours with the same value, but for the path of the base model; lists of modules are sets. */
static void same_settings(const char *ours, const char *theirs) {
  json_t *a = load_json(path_of("%s/adapter_config.json", ours)), *b = load_json(path_of("%s/adapter_config.json", theirs)), *wanted;
  const char *key;
  json_object_foreach(b, key, wanted) {
    json_t *seen = json_object_get(a, key);
    if (!seen) fail_msg("adapter_config.json lacks \"%s\"", key);
    if (!strcmp(key, "base_model_name_or_path")) continue;
    if (strcmp(key, "target_modules")) {
      if (!json_equal(seen, wanted)) fail_msg("\"%s\" is %s", key, json_dumps(seen, JSON_ENCODE_ANY));
      continue;
    }
    assert_int_equal(json_array_size(seen), json_array_size(wanted));
    for (size_t i = 0; i < json_array_size(wanted); i++) {
      bool found = false;
      for (size_t j = 0; j < json_array_size(seen); j++) found |= json_equal(json_array_get(wanted, i), json_array_get(seen, j));
      assert_true(found);
    }
  }
  assert_int_equal(json_object_size(a), json_object_size(b));
  json_decref(a);
  json_decref(b);
}

static void peft_adapters_are_written_as_peft_wrote_them(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  for (int v = 0; v < READABLE; v++) {
    char *from = peft_folder(readable[v], "final"), *to = fresh_folder(state, "copy");
    etk_adapter *adapter = NULL, *again = NULL;
    works(etk_adapter_open(e, &adapter, model, from, v % 2)); /* mapped, or copied for training */
    works(etk_adapter_save(e, adapter, to, NULL, 0));
    same_tensors(to, from, true);
    same_settings(to, from);
    works(etk_adapter_open(e, &again, model, to, false));
    assert_int_equal(etk_adapter_count(again), etk_adapter_count(adapter));
    assert_true(etk_adapter_at(again, 1)->scale == etk_adapter_at(adapter, 1)->scale);
    etk_adapter_free(again);
    etk_adapter_free(adapter);
  }
  etk_model_unref(model);
}

static void fresh_adapters_are_laid_out_as_peft_lays_them_out(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  for (int v = 0; v < 3; v++) {
    char *theirs = peft_folder(readable[v], "init"), *ours = fresh_folder(state, "fresh");
    const char *const targets[] = {"q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    etk_lora_options options = {.rank = 6, .alpha = 12, .target_modules = targets, .target_count = v == 0 ? 2 : 7, .use_rslora = v == 2};
    etk_adapter *adapter = NULL;
    works(etk_adapter_new(e, &adapter, model, &options, 4));
    works(etk_adapter_save(e, adapter, ours, NULL, 0));
    same_tensors(ours, theirs, false);
    same_settings(ours, theirs);
    etk_adapter_free(adapter);
  }
  etk_model_unref(model);
}

static void a_regular_expression_chooses_modules(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *from = peft_folder("lora", "init"), *to = fresh_folder(state, "regex"), *path = path_of("%s/adapter_config.json", to);
  json_t *config = load_json(path_of("%s/adapter_config.json", from));
  copy_file(path_of("%s/adapter_model.safetensors", from), path_of("%s/adapter_model.safetensors", to), 0);
  const struct {
    const char *pattern;
    etk_status status;
    const char *part;
  } cases[] = {{".*\\.self_attn\\.[qv]_proj", ETK_OK, ""}, {".*q_proj", ETK_E_FORMAT, "v_proj.lora_A.weight"},
               {"q_proj", ETK_E_FORMAT, "names no linear layer"},
               {"(", ETK_E_FORMAT, "regular expression"}, {"(x+x+)+y|(.*.*.*.*.*.*.*)*z", ETK_E_FORMAT, "target_modules"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_object_set_new(config, "target_modules", json_string(cases[i].pattern));
    assert_int_equal(json_dump_file(config, path, 0), 0);
    etk_adapter *adapter = NULL;
    if (cases[i].status) fails_with(cases[i].status, cases[i].part, etk_adapter_open(e, &adapter, model, to, false));
    else {
      works(etk_adapter_open(e, &adapter, model, to, false));
      assert_int_equal(etk_adapter_count(adapter), 4);
      char *again = fresh_folder(state, "regex-again");
      works(etk_adapter_save(e, adapter, again, NULL, 0));
      json_t *saved = load_json(path_of("%s/adapter_config.json", again));
      assert_string_equal(json_string_value(json_object_get(saved, "target_modules")), cases[i].pattern);
      json_decref(saved);
      etk_adapter_free(adapter);
    }
  }
  json_decref(config);
  etk_model_unref(model);
}

/* ---- what is refused ---- */
static void dora_adapters_are_refused(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_UNSUPPORTED, "\"use_dora\" is true", etk_adapter_open(e, &adapter, model, peft_folder("dora", "init"), false));
  assert_null(adapter);
  etk_model_unref(model);
}

static void settings_that_would_change_the_meaning_are_refused(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  char *from = peft_folder("lora", "init"), *to = fresh_folder(state, "settings"), *path = path_of("%s/adapter_config.json", to);
  copy_file(path_of("%s/adapter_model.safetensors", from), path_of("%s/adapter_model.safetensors", to), 0);
  const struct {
    const char *set;
    etk_status status;
    const char *part;
  } rows[] = {
      {"{\"peft_type\": \"IA3\"}", ETK_E_UNSUPPORTED, "peft_type is IA3"},
      {"{\"peft_type\": null}", ETK_E_UNSUPPORTED, "peft_type is missing"},
      {"{\"bias\": \"all\"}", ETK_E_UNSUPPORTED, "\"bias\" is \"all\""},
      {"{\"fan_in_fan_out\": true}", ETK_E_UNSUPPORTED, "fan_in_fan_out"},
      {"{\"modules_to_save\": [\"lm_head\"]}", ETK_E_UNSUPPORTED, "modules_to_save"},
      {"{\"lora_bias\": true}", ETK_E_UNSUPPORTED, "lora_bias"},
      {"{\"layer_replication\": [[0, 1]]}", ETK_E_UNSUPPORTED, "layer_replication"},
      {"{\"rank_pattern\": {\"q_proj\": 4}}", ETK_E_SHAPE, "gives this module rank 4"},
      {"{\"rank_pattern\": [4]}", ETK_E_FORMAT, "rank_pattern"},
      {"{\"rank_pattern\": {\"(\": 4}}", ETK_E_FORMAT, "no regular expression"},
      {"{\"alpha_pattern\": {\"q_proj\": 0}}", ETK_E_FORMAT, "alpha_pattern"},
      {"{\"layers_to_transform\": [0]}", ETK_E_FORMAT, "layers.1.self_attn.q_proj.lora_A.weight, which fits no targeted layer"},
      {"{\"layers_to_transform\": [\"0\"]}", ETK_E_FORMAT, "layers_to_transform"},
      {"{\"layers_to_transform\": 1, \"layers_pattern\": 3}", ETK_E_FORMAT, "layers_pattern"},
      {"{\"layers_to_transform\": [0, 1], \"layers_pattern\": \"blocks\"}", ETK_E_FORMAT, "names no linear layer"},
      {"{\"exclude_modules\": [\"model.layers.0.self_attn.q_proj\"]}", ETK_E_FORMAT, "layers.0.self_attn.q_proj.lora_A.weight, which fits no targeted layer"},
      {"{\"exclude_modules\": \".*v_proj\"}", ETK_E_FORMAT, "v_proj.lora_A.weight, which fits no targeted layer"},
      {"{\"exclude_modules\": 3}", ETK_E_FORMAT, "exclude_modules"},
      {"{\"r\": \"six\"}", ETK_E_FORMAT, "\"r\""},
      {"{\"r\": 0}", ETK_E_INVALID, "rank is 0"},
      {"{\"r\": 5}", ETK_E_SHAPE, "has shape (6, 56)"},
      {"{\"lora_alpha\": \"x\"}", ETK_E_FORMAT, "lora_alpha"},
      {"{\"lora_dropout\": 1.5}", ETK_E_INVALID, "dropout"},
      {"{\"target_modules\": []}", ETK_E_FORMAT, "target_modules"},
      {"{\"target_modules\": [3]}", ETK_E_FORMAT, "target_modules"},
      {"{\"target_modules\": [\"nothing\"]}", ETK_E_FORMAT, "names no linear layer"},
      {"{\"target_modules\": [\"q_proj\"]}", ETK_E_FORMAT, "fits no targeted layer"},
      {"{\"target_modules\": [\"q_proj\", \"v_proj\", \"k_proj\"]}", ETK_E_FORMAT, "k_proj.lora_A.weight"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    json_t *config = load_json(path_of("%s/adapter_config.json", from)), *set = json_loads(rows[i].set, 0, NULL);
    assert_non_null(set);
    json_object_update(config, set);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    etk_adapter *adapter = NULL;
    fails_with(rows[i].status, rows[i].part, etk_adapter_open(e, &adapter, model, to, false));
    assert_null(adapter);
    json_decref(set);
    json_decref(config);
  }
  write_text(path, "{\"peft_type\": \"LORA\",");
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_FORMAT, "adapter_config.json:1", etk_adapter_open(e, &adapter, model, to, false));
  etk_model_unref(model);
}

static void damaged_or_foreign_adapter_folders_are_named(void **state) {
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied")), *wider = open_model(model_folder("llama"));
  etk_adapter *adapter = NULL;
  fails_with(ETK_E_NOT_FOUND, "no such folder", etk_adapter_open(e, &adapter, model, "/nowhere/adapter", false));
  fails_with(ETK_E_NOT_FOUND, "has no adapter_config.json", etk_adapter_open(e, &adapter, model, model_folder("llama"), false));
  char *from = peft_folder("lora", "init"), *to = fresh_folder(state, "damaged");
  copy_file(path_of("%s/adapter_config.json", from), path_of("%s/adapter_config.json", to), 0);
  fails_with(ETK_E_NOT_FOUND, "has no adapter_model.safetensors", etk_adapter_open(e, &adapter, model, to, false));
  copy_file(path_of("%s/adapter_model.safetensors", from), path_of("%s/adapter_model.safetensors", to), -8);
  fails_with(ETK_E_FORMAT, "adapter_model.safetensors", etk_adapter_open(e, &adapter, model, to, false));
  fails_with(ETK_E_SHAPE, "belongs to another model", etk_adapter_open(e, &adapter, wider, from, false));
  etk_model_unref(wider);
  etk_model_unref(model);
}

/* Writing in the face of failing memory: an error or both files, never a crash; see ml_hostile_malloc.c for reading. */
static void saving_survives_every_failing_allocation(void **state) {
  etk_model *model = tiny_model();
  const char *const targets[] = {"q_proj", "down_proj"};
  etk_lora_options options = {.rank = 2, .alpha = 4, .target_modules = targets, .target_count = 2};
  char *folder = fresh_folder(state, "hostile");
  starvation s = {0};
  while (starve(&s)) {
    etk_adapter *adapter = NULL;
    etk_error error = ETK_ERROR_INIT;
    etk_status status = etk_adapter_new(&error, &adapter, model, &options, 1);
    if (!status) status = etk_adapter_save(&error, adapter, folder, NULL, 0);
    etk_adapter_free(adapter);
    starved(&s, status, &error);
  }
  assert_true(s.nth > 20);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_fresh_adapter_changes_nothing),
      cmocka_unit_test(fresh_weights_are_uniform_below_one_over_root_of_the_width),
      cmocka_unit_test(targets_are_whole_names_or_last_parts),
      cmocka_unit_test(an_adapter_computes_what_merged_weights_compute),
      cmocka_unit_test(peft_adapters_are_written_as_peft_wrote_them),
      cmocka_unit_test(fresh_adapters_are_laid_out_as_peft_lays_them_out),
      cmocka_unit_test(a_regular_expression_chooses_modules),
      cmocka_unit_test(dora_adapters_are_refused),
      cmocka_unit_test(settings_that_would_change_the_meaning_are_refused),
      cmocka_unit_test(damaged_or_foreign_adapter_folders_are_named),
      cmocka_unit_test(saving_survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
