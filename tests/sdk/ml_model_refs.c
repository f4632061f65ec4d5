/* Families without outputs of transformers in the shared material, against models written in PyTorch by someone who did not write the C code
 * (tests/goldens/models_ref.py): whole and cached passes, greedy text, saving, the spelling of transformers 5, adapters that train. */
#include "ml_golden.h"

#include <etk/adapter.h>
#include "ml/product/product.h"

enum { VOCAB = 48, MAX_IDS = 64 };
/* The references are float32 as we are, computed in another order: sums of some tens of products, over three or four layers. The largest distance
 * seen is 9e-6. */
static const double TOLERANCE = 1e-4;

static const struct {
  const char *folder, *reference;
} cases[] = {
    {"qwen3", "reference"},          {"qwen3-tied", "reference"},    {"qwen2-window", "reference"},         {"llama-yarn", "reference"},
    {"llama-llama3", "reference"},
    {"mistral-window", "reference"}, {"smollm", "reference"},        {"gemma2", "reference"},               {"gemma3-pattern", "reference"},
    {"gemma3-layer-types", "reference"},
    {"phi3", "reference"},           {"phi3-longrope", "reference"}, {"phi3-longrope", "reference-long"},   {"phi3-longrope", "reference-cross"},
    {"phi3-partial", "reference"},   {"phi3-partial", "reference-long"}, {"phi3-partial", "reference-cross"},
};
enum { CASES = sizeof cases / sizeof *cases };

struct reference {
  json_t *root;
  int32_t ids[MAX_IDS], greedy[MAX_IDS];
  size_t count, greedy_count;
};
static char *folder_of(const char *name) { return path_of("tests/goldens/models_ref/%s", name); }
static struct reference load_reference(int i) {
  struct reference r = {.root = load_json(path_of("%s/%s.json", folder_of(cases[i].folder), cases[i].reference))};
  r.count = json_ids(json_object_get(r.root, "ids"), r.ids, MAX_IDS);
  r.greedy_count = json_ids(json_object_get(r.root, "greedy"), r.greedy, MAX_IDS);
  assert_true(r.count >= 10 && r.greedy_count == 12 && json_array_size(json_object_get(r.root, "last_logits")) == VOCAB);
  return r;
}

static double distance(const struct reference *r, const float *logits) {
  double worst = 0;
  for (size_t i = 0; i + 1 < r->count; i++)
    worst = fmax(worst, fabs(log_probability(logits + i * VOCAB, VOCAB, r->ids[i + 1]) - json_real_at(json_object_get(r->root, "logprobs"), i)));
  for (size_t id = 0; id < VOCAB; id++)
    worst = fmax(worst, fabs((double)logits[(r->count - 1) * VOCAB + id] - json_real_at(json_object_get(r->root, "last_logits"), id)));
  return worst;
}

static void logits_agree_with_the_references(void **state) {
  (void)state;
  for (int i = 0; i < CASES; i++) {
    struct reference r = load_reference(i);
    etk_model *model = open_model(folder_of(cases[i].folder));
    float logits[MAX_IDS * VOCAB];
    forward_plain(model, NULL, r.ids, r.count, logits);
    double worst = distance(&r, logits);
    print_message("%s, %s: within %.2g\n", cases[i].folder, cases[i].reference, worst);
    if (!(worst < TOLERANCE)) fail_msg("%s, %s: off by %g", cases[i].folder, cases[i].reference, worst);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void prompt_then_step_equals_the_whole_sequence(void **state) {
  (void)state;
  for (int i = 0; i < CASES; i++) {
    struct reference r = load_reference(i);
    etk_model *model = open_model(folder_of(cases[i].folder));
    float logits[MAX_IDS * VOCAB];
    const int64_t chunks[] = {1, 7, 64};
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
      forward_cached(model, NULL, r.ids, r.count, chunks[c], logits);
      double worst = distance(&r, logits);
      if (!(worst < TOLERANCE)) fail_msg("%s, %s, in chunks of %lld: off by %g", cases[i].folder, cases[i].reference, (long long)chunks[c], worst);
    }
    etk_model_unref(model);
    json_decref(r.root);
  }
}

/* Texts of phi3 that grow past the original context change their factors in the middle; a generator is used for a short text after a long one. */
static void greedy_text_agrees_with_the_references(void **state) {
  (void)state;
  for (int i = 0; i < CASES; i++) {
    struct reference r = load_reference(i);
    etk_model *model = open_model(folder_of(cases[i].folder));
    etk_generator *generator = NULL;
    works(etk_generator_new(e, &generator, model, NULL, 0));
    etk_generate_options options = {.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = (int64_t)r.greedy_count,
                                    .ignore_eos = true};
    for (int again = 0; again < 2; again++) {
      etk_generation out;
      works(etk_generate(e, generator, r.ids, r.count, &options, &out));
      assert_int_equal(out.ids.count, r.greedy_count);
      for (size_t t = 0; t < r.greedy_count; t++)
        if (out.ids.items[t] != r.greedy[t]) fail_msg("%s, %s: id %zu is %d, wanted %d", cases[i].folder, cases[i].reference, t, out.ids.items[t], r.greedy[t]);
      etk_ids_free(&out.ids);
    }
    etk_generator_free(generator);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

/* The weights of one may lie in 16 bits and those of the other, with the same values, in 32: other kernels add them up in another order. Logits of up to 8 have
 * places of 1e-6 at the end; a wrong weight shows in the first. */
static void same_outputs(const char *what, const etk_model *a, const etk_model *b, const struct reference *r) {
  float one[MAX_IDS * VOCAB], two[MAX_IDS * VOCAB];
  forward_plain(a, NULL, r->ids, r->count, one);
  forward_plain(b, NULL, r->ids, r->count, two);
  for (size_t i = 0; i < r->count * VOCAB; i++)
    if (fabsf(one[i] - two[i]) > 2e-5f) fail_msg("%s: logit %zu is %g and %g", what, i, (double)one[i], (double)two[i]);
}

/* Fields are compared one by one in ml_model.c; here all of them at once. Both structs came from zeroed memory. */
static void a_saved_model_has_the_same_configuration(void **state) {
  for (int i = 0; i < CASES; i++) {
    struct reference r = load_reference(i);
    etk_model *model = open_model(folder_of(cases[i].folder)), *again;
    char *folder = fresh_folder(state, "saved");
    works(etk_model_save(e, model, folder, ETK_BF16, NULL, 0)); /* what the weights are */
    again = open_model(folder);
    etk_model_config a = *etk_model_get_config(model), b = *etk_model_get_config(again);
    /* not written, since nothing follows from it once attention_factor is known */
    if (a.rope_scaling == ETK_ROPE_YARN || a.rope_scaling == ETK_ROPE_LONGROPE) a.rope_factor = b.rope_factor = 0;
    if (memcmp(&a, &b, sizeof a)) fail_msg("%s: saved and opened, its configuration differs", cases[i].folder);
    same_outputs(cases[i].folder, model, again, &r);
    etk_model_unref(again);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void the_spelling_of_transformers_5_means_the_same(void **state) {
  int seen = 0;
  for (int i = 0; i < CASES; i++) {
    char *from = folder_of(cases[i].folder), *folder = fresh_folder(state, "five");
    if (!etk_fs_exists(path_of("%s/config-v5.json", from))) continue;
    struct reference r = load_reference(i);
    copy_file(path_of("%s/config-v5.json", from), path_of("%s/config.json", folder), 0);
    copy_file(path_of("%s/model.safetensors", from), path_of("%s/model.safetensors", folder), 0);
    etk_model *four = open_model(from), *five = open_model(folder);
    same_outputs(cases[i].folder, four, five, &r);
    etk_model_unref(five);
    etk_model_unref(four);
    json_decref(r.root);
    seen++;
  }
  assert_true(seen >= 4);
}

/* Plain gradient descent on A and B of every linear layer: that the loss falls by a tenth says that gradients reach them through every operation. */
static void an_adapter_trains_on_each_family(void **state) {
  (void)state;
  enum { MODULES = 64, STEPS = 30 };
  for (int i = 0; i < CASES; i++) {
    struct reference r = load_reference(i);
    etk_model *model = open_model(folder_of(cases[i].folder));
    const char *const targets[] = {"all-linear"};
    etk_lora_options options = {.rank = 4, .alpha = 8, .target_modules = targets, .target_count = 1};
    etk_adapter *adapter = NULL;
    works(etk_adapter_new(e, &adapter, model, &options, 9));
    size_t count = etk_adapter_count(adapter);
    assert_true(count >= 8 && count <= MODULES);
    etk_graph *g = etk_graph_new();
    int64_t n = (int64_t)r.count;
    etk_forward f = {.ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, n), "ids"),
                     .positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, n), "positions"), .adapter = adapter};
    etk_tensor *wanted = etk_graph_input(g, ETK_I32, etk_shape_of(1, n), "targets"), *parameters[2 * MODULES], *gradients[2 * MODULES];
    for (int64_t t = 0; t < n; t++) {
      ((int32_t *)etk_tensor_data(f.ids))[t] = r.ids[t];
      ((int32_t *)etk_tensor_data(f.positions))[t] = (int32_t)t;
      ((int32_t *)etk_tensor_data(wanted))[t] = t + 1 < n ? r.ids[t + 1] : -1;
    }
    etk_tensor *loss = etk_mean_counted(g, etk_cross_entropy(g, etk_model_forward(g, model, &f), wanted), wanted);
    etk_graph_keep(g, loss);
    for (size_t m = 0; m < count; m++) parameters[2 * m] = etk_adapter_at(adapter, m)->a, parameters[2 * m + 1] = etk_adapter_at(adapter, m)->b;
    works(etk_graph_backward(e, g, loss, parameters, 2 * count, gradients));
    double first = 0, last = 0;
    for (int step = 0; step < STEPS; step++) {
      works(etk_graph_eval(e, g));
      last = (double)*(float *)etk_tensor_data(loss);
      if (step == 0) first = last;
      for (size_t p = 0; p < 2 * count; p++)
        for (int64_t j = 0; j < etk_tensor_elements(parameters[p]); j++)
          ((float *)etk_tensor_data(parameters[p]))[j] -= 0.02f * ((float *)etk_tensor_data(gradients[p]))[j];
    }
    if (!(last < 0.9 * first)) fail_msg("%s: the loss went from %g to %g", cases[i].folder, first, last);
    etk_graph_free(g);
    etk_adapter_free(adapter);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

/* The names that PEFT gives modules of fused products. */
static void lora_attaches_to_the_products_of_phi3(void **state) {
  (void)state;
  etk_model *model = open_model(folder_of("phi3"));
  const char *const targets[] = {"qkv_proj", "gate_up_proj"};
  etk_lora_options options = {.rank = 2, .alpha = 4, .target_modules = targets, .target_count = 2};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 9));
  const etk_model_config *c = etk_model_get_config(model);
  assert_int_equal(etk_adapter_count(adapter), 2 * c->num_hidden_layers);
  assert_string_equal(etk_adapter_at(adapter, 0)->name, "model.layers.0.self_attn.qkv_proj");
  assert_string_equal(etk_adapter_at(adapter, 1)->name, "model.layers.0.mlp.gate_up_proj");
  assert_int_equal(etk_tensor_dim(etk_adapter_at(adapter, 0)->b, 0), (c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim);
  assert_int_equal(etk_tensor_dim(etk_adapter_at(adapter, 1)->b, 0), 2 * c->intermediate_size);
  etk_adapter_free(adapter);
  etk_model_unref(model);
}

/* A cache filled with one kind of factors must not be read with the other: who does not say how long the sequence gets is told. */
static void longrope_with_a_cache_wants_to_know_the_last_position(void **state) {
  (void)state;
  etk_model *model = open_model(folder_of("phi3-longrope"));
  const etk_model_config *c = etk_model_get_config(model);
  etk_cache_options options = {.layers = (int)c->num_hidden_layers, .kv_heads = (int)c->num_key_value_heads, .head_dim = (int)c->head_dim,
                               .block_tokens = 4, .blocks = 2};
  etk_cache *cache = NULL;
  works(etk_cache_new(e, &cache, &options));
  etk_graph *g = etk_graph_new();
  etk_forward f = {.cache = cache, .ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 2), "ids"),
                   .positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 2), "positions"),
                   .block_table = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 2), "block_table")};
  etk_model_forward(g, model, &f);
  fails_with(ETK_E_INVALID, "etk_forward.last is needed", etk_graph_status(e, g));
  etk_graph_free(g);
  etk_cache_free(cache);
  etk_model_unref(model);
}

/* The text part of a gemma3, by either spelling of its names: the vision tower is not read, and what is saved is a gemma3_text. */
static void the_text_of_gemma3_opens_without_its_eyes(void **state) {
  static const char *const spellings[][3] = {{"language_model.model.", "language_model.", "vision_tower."},
                                             {"model.language_model.", "", "model.vision_tower."}};
  struct reference r = load_reference(9);
  assert_string_equal(cases[9].folder, "gemma3-layer-types");
  etk_model *text = open_model(folder_of(cases[9].folder));
  etk_tensor *pixel = NULL;
  works(etk_tensor_new(e, &pixel, ETK_F32, etk_shape_of(1, 2)));
  for (int s = 0; s < 2; s++) {
    char *folder = fresh_folder(state, "whole");
    json_t *config = load_json(path_of("%s/config.json", folder_of(cases[9].folder))), *whole = json_object();
    json_object_del(config, "eos_token_id");
    json_object_set_new(whole, "model_type", json_string("gemma3"));
    json_object_set_new(whole, "eos_token_id", json_pack("[i,i]", 1, 7));
    json_object_set_new(whole, "vision_config", json_pack("{s:i}", "hidden_size", 8));
    json_object_set_new(whole, "text_config", config);
    char *written = json_dumps(whole, 0);
    write_text(path_of("%s/config.json", folder), written);
    free(written);
    json_decref(whole);
    etk_safetensors_item items[80];
    size_t count = 0;
    for (; count < etk_model_weight_count(text); count++) {
      const char *name = etk_model_weight_name(text, count);
      bool head = !strncmp(name, "lm_head", 7);
      items[count] = (etk_safetensors_item){path_of("%s%s", spellings[s][head], head ? name : name + strlen("model.")),
                                            etk_model_weight_at(text, count), ETK_F32};
    }
    items[count++] = (etk_safetensors_item){path_of("%sencoder.weight", spellings[s][2]), pixel, ETK_F32};
    works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), items, count, NULL, 0, true));
    etk_model *part = open_model(folder), *saved;
    const etk_model_config *c = etk_model_get_config(part);
    assert_true(c->text_part && c->eos_count == 2 && c->eos_token_ids[1] == 7);
    assert_string_equal(c->architecture, "gemma3_text");
    same_outputs("gemma3", text, part, &r);
    char *again = fresh_folder(state, "part");
    works(etk_model_save(e, part, again, ETK_F32, NULL, 0));
    saved = open_model(again);
    assert_false(etk_model_get_config(saved)->text_part);
    same_outputs("gemma3, saved", text, saved, &r);
    etk_model_unref(saved);
    etk_model_unref(part);
    items[count - 1].name = "model.pixels";
    works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), items, count, NULL, 0, true));
    fails_with(ETK_E_FORMAT, "model.pixels", etk_model_open(e, &part, folder, NULL));
  }
  etk_tensor_unref(pixel);
  etk_model_unref(text);
  json_decref(r.root);
}

int main(void) {
  etk__product_set_exact(true); /* results are held to what is stored; how far fast products are from it: ml_product.c */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_agree_with_the_references),
      cmocka_unit_test(prompt_then_step_equals_the_whole_sequence),
      cmocka_unit_test(greedy_text_agrees_with_the_references),
      cmocka_unit_test(a_saved_model_has_the_same_configuration),
      cmocka_unit_test(the_spelling_of_transformers_5_means_the_same),
      cmocka_unit_test(an_adapter_trains_on_each_family),
      cmocka_unit_test(lora_attaches_to_the_products_of_phi3),
      cmocka_unit_test(longrope_with_a_cache_wants_to_know_the_last_position),
      cmocka_unit_test(the_text_of_gemma3_opens_without_its_eyes),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
