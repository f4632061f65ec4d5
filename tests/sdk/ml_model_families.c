/* What holds for every architecture: fresh models, saving, gradients, adapters, cached and whole passes; and what is peculiar to one. Values of
 * transformers are in ml_model.c, those of independent models in ml_model_refs.c; the first of Qwen 3 come from tests/goldens/qwen3.py. */
#include "ml_golden.h"

#include <etk/adapter.h>

enum { VOCAB = 24, TOKENS = 6 };
static const int32_t ids[TOKENS] = {3, 17, 5, 5, 20, 9};

struct variant {
  const char *name;
  etk_model_config config; /* what differs from the common part */
};
#define LONGROPE                                                                                                                    \
  .architecture = "phi3", .rotary_dims = 2, .rope_scaling = ETK_ROPE_LONGROPE, .rope_factor = 4, .rope_attention_factor = 1.4, .rope_short_factors = {1.5f}, \
  .rope_long_factors = {3.7f}
static const struct variant variants[] = {
    {"llama", {.architecture = "llama"}},
    {"mistral", {.architecture = "mistral"}},
    {"mistral with a window", {.architecture = "mistral", .sliding_window = 3}},
    {"qwen2", {.architecture = "qwen2", .attention_bias = true}},
    {"qwen3", {.architecture = "qwen3"}},
    {"gemma", {.architecture = "gemma", .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH}},
    {"qwen2 with a window in its last layer", {.architecture = "qwen2", .attention_bias = true, .sliding_window = 3, .layer_flags = {ETK_LAYER_FULL}}},
    {"gemma2", {.architecture = "gemma2", .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH, .sliding_window = 3,
                .layer_flags = {0, ETK_LAYER_FULL}, .query_pre_attn_scalar = 7, .attn_logit_softcapping = 2, .final_logit_softcapping = 5}},
    {"gemma3_text", {.architecture = "gemma3_text", .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH, .sliding_window = 2,
                     .layer_flags = {0, ETK_LAYER_FULL}, .query_pre_attn_scalar = 7, .rope_local_theta = 100, .rope_scaling = ETK_ROPE_LINEAR,
                     .rope_factor = 4}},
    {"phi3", {.architecture = "phi3", .sliding_window = 4}},
    {"phi3 with longrope, within the original context", {LONGROPE, .rope_original_positions = 8}},
    {"phi3 with longrope, beyond it", {LONGROPE, .rope_original_positions = 4}},
    {"smollm3", {.architecture = "smollm3", .tie_word_embeddings = true, .layer_flags = {ETK_LAYER_NO_ROPE}}},
    {"gpt_neox with yarn", {.architecture = "gpt_neox", .attention_bias = true, .rotary_dims = 2, .activation = ETK_ACTIVATION_GELU, .num_key_value_heads = 4,
                            .rope_scaling = ETK_ROPE_YARN, .rope_factor = 4, .rope_beta_fast = 32, .rope_beta_slow = 1, .rope_attention_factor = 1.3,
                            .rope_original_positions = 8}},
    {"gpt2", {.architecture = "gpt2", .attention_bias = true, .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH, .num_key_value_heads = 4}},
    {"gpt_neox", {.architecture = "gpt_neox", .attention_bias = true, .rotary_dims = 2, .activation = ETK_ACTIVATION_GELU, .num_key_value_heads = 4}},
    {"gpt_neox, sequential, without biases", {.architecture = "gpt_neox", .rotary_dims = 4, .sequential_residual = true,
                                              .activation = ETK_ACTIVATION_GELU, .num_key_value_heads = 4}},
    {"mixtral", {.architecture = "mixtral", .num_experts = 3, .num_experts_per_tok = 2, .moe_intermediate_size = 20, .norm_topk_prob = true}},
    {"qwen2_moe", {.architecture = "qwen2_moe", .attention_bias = true, .num_experts = 4, .num_experts_per_tok = 2, .moe_intermediate_size = 10,
                   .shared_expert_intermediate_size = 12}},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static etk_model *model_of(const struct variant *v, float scale) {
  etk_model_config c = v->config;
  c.vocab_size = VOCAB, c.hidden_size = 16, c.intermediate_size = 20, c.num_hidden_layers = 2, c.num_attention_heads = 4, c.head_dim = 4;
  if (!c.num_key_value_heads) c.num_key_value_heads = 2;
  c.max_position_embeddings = 32, c.rms_norm_eps = 1e-5, c.rope_theta = 10000, c.bos_token_id = 1, c.eos_token_ids[0] = 2, c.eos_count = 1;
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &c, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) { /* far from zero and from one, so that nothing is hidden by symmetry */
    etk_tensor *t = etk_model_weight_at(model, i);
    float *x = etk_tensor_data(t);
    for (int64_t j = 0; j < etk_tensor_elements(t); j++)
      x[j] = etk_tensor_shape(t)->rank == 1 ? x[j] + 0.2f * (float)sin((double)(j + 5 * (int64_t)i)) : x[j] * scale;
  }
  return model;
}

static void a_saved_model_of_each_family_opens_as_it_was(void **state) {
  for (int v = 0; v < VARIANTS; v++) {
    etk_model *model = model_of(&variants[v], 10), *again;
    char *folder = fresh_folder(state, "saved");
    works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
    again = open_model(folder);
    const etk_model_config *a = etk_model_get_config(model), *b = etk_model_get_config(again);
    assert_string_equal(a->architecture, b->architecture);
    assert_int_equal(a->sliding_window, b->sliding_window);
    assert_memory_equal(a->layer_flags, b->layer_flags, sizeof a->layer_flags);
    assert_int_equal(a->rotary_dims, b->rotary_dims);
    assert_int_equal(a->sequential_residual, b->sequential_residual);
    float one[TOKENS * VOCAB], two[TOKENS * VOCAB];
    forward_plain(model, NULL, ids, TOKENS, one);
    forward_plain(again, NULL, ids, TOKENS, two);
    if (memcmp(one, two, sizeof one)) fail_msg("%s: a saved model computes something else", variants[v].name);
    etk_model_unref(again);
    etk_model_unref(model);
  }
}

static void prompt_then_step_equals_the_whole_sequence(void **state) {
  (void)state;
  for (int v = 0; v < VARIANTS; v++) {
    etk_model *model = model_of(&variants[v], 10);
    float whole[TOKENS * VOCAB], steps[TOKENS * VOCAB];
    forward_plain(model, NULL, ids, TOKENS, whole);
    for (int chunk = 1; chunk <= TOKENS + 1; chunk += 3) { /* the last is padded */
      forward_cached(model, NULL, ids, TOKENS, chunk, steps);
      for (int i = 0; i < TOKENS * VOCAB; i++)
        if (!(fabsf(whole[i] - steps[i]) < 2e-5f)) fail_msg("%s in chunks of %d: %g, whole %g", variants[v].name, chunk, (double)steps[i], (double)whole[i]);
    }
    etk_model_unref(model);
  }
}

struct training {
  etk_graph *g;
  etk_forward f;
  etk_tensor *loss;
};
static struct training training_of(const etk_model *model, const etk_adapter *adapter) {
  struct training t = {.g = etk_graph_new()};
  t.f = (etk_forward){.ids = etk_graph_input(t.g, ETK_I32, etk_shape_of(2, 1, TOKENS), "ids"),
                      .positions = etk_graph_input(t.g, ETK_I32, etk_shape_of(2, 1, TOKENS), "positions"), .adapter = adapter};
  etk_tensor *targets = etk_graph_input(t.g, ETK_I32, etk_shape_of(1, TOKENS), "targets");
  for (int i = 0; i < TOKENS; i++) {
    ((int32_t *)etk_tensor_data(t.f.ids))[i] = ids[i];
    ((int32_t *)etk_tensor_data(t.f.positions))[i] = i;
    ((int32_t *)etk_tensor_data(targets))[i] = i + 1 < TOKENS ? ids[i + 1] : -1;
  }
  t.loss = etk_mean_counted(t.g, etk_cross_entropy(t.g, etk_model_forward(t.g, model, &t.f), targets), targets);
  etk_graph_keep(t.g, t.loss);
  return t;
}
static double loss_with(struct training *t, float *weight, float value) {
  float kept = *weight;
  *weight = value;
  works(etk_graph_eval(e, t->g));
  *weight = kept;
  return (double)*(float *)etk_tensor_data(t->loss);
}

/* Fourth-order differences with h = 2^-5, as in ml_ops_gradient.c; the losses are near 3, so that their rounding gives up to 3e-5 of slope.
 * With experts h is 2^-7: the choice of experts is a step, which a difference must not straddle; with the norms of Gemma 2 and 3 too, whose fifth
 * derivatives are large (a difference was off by 3e-3 at 2^-5, 3e-4 at 2^-6, 1.4e-5 at 2^-7). */
static void gradients_of_each_family_agree_with_finite_differences(void **state) {
  (void)state;
  for (int v = 0; v < VARIANTS; v++) {
    etk_model *model = model_of(&variants[v], 10);
    etk_tensor *parameters[64], *gradients[64];
    size_t count = etk_model_weight_count(model);
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) parameters[i] = etk_model_weight_at(model, i);
    struct training t = training_of(model, NULL), plain = training_of(model, NULL);
    works(etk_graph_backward(e, t.g, t.loss, parameters, count, gradients));
    works(etk_graph_eval(e, t.g));
    for (size_t p = 0; p < count; p++) {
      if (!gradients[p]) fail_msg("%s: %s gets no gradient", variants[v].name, etk_model_weight_name(model, p));
      const float *g = etk_tensor_data(gradients[p]);
      int64_t n = etk_tensor_elements(parameters[p]), largest = 0;
      for (int64_t i = 0; i < n; i++)
        if (fabsf(g[i]) > fabsf(g[largest])) largest = i;
      const int64_t sampled[] = {largest, (int64_t)(p * 7919 + 1) % n};
      for (int s = 0; s < 2; s++) {
        float *w = (float *)etk_tensor_data(parameters[p]) + sampled[s], at = *w;
        const float h = variants[v].config.num_experts || variants[v].config.query_pre_attn_scalar > 0 ? 0x1p-7f : 0x1p-5f;
        double wanted = (loss_with(&plain, w, at - 2 * h) - 8 * loss_with(&plain, w, at - h) + 8 * loss_with(&plain, w, at + h) -
                         loss_with(&plain, w, at + 2 * h)) / (12 * (double)h);
        if (!(fabs((double)g[sampled[s]] - wanted) < 2e-3 * (0.05 + fabs(wanted))))
          fail_msg("%s: %s[%lld]: gradient %g, by differences %g", variants[v].name, etk_model_weight_name(model, p), (long long)sampled[s],
                   (double)g[sampled[s]], wanted);
      }
    }
    etk_graph_free(t.g);
    etk_graph_free(plain.g);
    etk_model_unref(model);
  }
}

/* W + scale B A in the base's own layout: (out, in), with GPT-2 (in, out). */
static void an_adapter_computes_what_merged_weights_compute(void **state) {
  for (int v = 0; v < VARIANTS; v++) {
    etk_model *model = model_of(&variants[v], 10);
    const char *const targets[] = {"all-linear"};
    etk_lora_options options = {.rank = 3, .alpha = 6, .target_modules = targets, .target_count = 1};
    etk_adapter *adapter = NULL, *again = NULL;
    works(etk_adapter_new(e, &adapter, model, &options, 9));
    bool transposed = !strcmp(etk_model_get_config(model)->architecture, "gpt2");
    float with[TOKENS * VOCAB], reopened[TOKENS * VOCAB], flat[TOKENS * VOCAB];
    for (size_t m = 0; m < etk_adapter_count(adapter); m++)
      for (int64_t j = 0; j < etk_tensor_elements(etk_adapter_at(adapter, m)->b); j++)
        ((float *)etk_tensor_data(etk_adapter_at(adapter, m)->b))[j] = (float)sin((double)(j + 3 * (int64_t)m)) / 8;
    forward_plain(model, adapter, ids, TOKENS, with);
    char *folder = fresh_folder(state, "adapter");
    works(etk_adapter_save(e, adapter, folder, NULL, 0));
    works(etk_adapter_open(e, &again, model, folder, false));
    forward_plain(model, again, ids, TOKENS, reopened);
    assert_memory_equal(with, reopened, sizeof with);
    for (size_t m = 0; m < etk_adapter_count(adapter); m++) {
      const etk_adapter_module *module = etk_adapter_at(adapter, m);
      float *w = etk_tensor_data(etk_model_weight(model, path_of("%s.weight", module->name)));
      const float *a = etk_tensor_data(module->a), *b = etk_tensor_data(module->b);
      int64_t in = etk_tensor_dim(module->a, 1), out = etk_tensor_dim(module->b, 0);
      for (int64_t r = 0; r < out; r++)
        for (int64_t c = 0; c < in; c++)
          for (int64_t k = 0; k < 3; k++) w[transposed ? c * out + r : r * in + c] += module->scale * b[r * 3 + k] * a[k * in + c];
    }
    forward_plain(model, NULL, ids, TOKENS, flat);
    for (int i = 0; i < TOKENS * VOCAB; i++)
      if (!(fabsf(with[i] - flat[i]) < 1e-4f)) fail_msg("%s: %g with the adapter, %g merged", variants[v].name, (double)with[i], (double)flat[i]);
    etk_adapter_free(again);
    etk_adapter_free(adapter);
    etk_model_unref(model);
  }
}

static void qwen3_agrees_with_its_definition(void **state) {
  (void)state;
  json_t *golden = load_json("tests/goldens/qwen3.json"), *names = json_object_get(golden, "names"), *rows = json_object_get(golden, "logprobs");
  char *text = json_dumps(json_object_get(golden, "config"), 0);
  etk_model_config config;
  works(etk_model_config_parse(e, &config, "qwen3.json", text, strlen(text)));
  free(text);
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 1));
  assert_int_equal(json_array_size(names), etk_model_weight_count(model));
  for (size_t n = 0; n < json_array_size(names); n++) {
    etk_tensor *t = etk_model_weight(model, json_string_value(json_array_get(names, n)));
    assert_non_null(t);
    for (int64_t i = 0; i < etk_tensor_elements(t); i++) {
      double wave = sin(1.7 * (double)n + 0.9 * (double)i + 0.013 * (double)i * (double)i);
      ((float *)etk_tensor_data(t))[i] = (float)(etk_tensor_shape(t)->rank == 1 ? 1 + 0.3 * wave : 0.35 * wave);
    }
  }
  int32_t prompt[16];
  size_t count = json_ids(json_object_get(golden, "ids"), prompt, 16);
  float logits[16 * 40];
  double worst = 0;
  for (int cached = 0; cached < 2; cached++) {
    if (cached) forward_cached(model, NULL, prompt, count, 3, logits);
    else forward_plain(model, NULL, prompt, count, logits);
    for (size_t t = 0; t < count; t++)
      for (int32_t id = 0; id < 40; id++)
        worst = fmax(worst, fabs(log_probability(logits + t * 40, 40, id) - json_real_at(json_array_get(rows, t), (size_t)id)));
  }
  print_message("qwen3: log-probabilities within %.2g of NumPy's\n", worst);
  if (!(worst < 1e-4)) fail_msg("off by %g", worst);
  etk_model_unref(model);
  json_decref(golden);
}

/* YaRN's factor on queries and on keys multiplies scores by its square; without stretching nothing else differs. */
static void yarn_scales_queries_and_keys(void **state) {
  (void)state;
  struct variant yarn = variants[0];
  yarn.config.rope_scaling = ETK_ROPE_YARN, yarn.config.rope_factor = 1, yarn.config.rope_beta_fast = 32, yarn.config.rope_beta_slow = 1;
  yarn.config.rope_original_positions = 32, yarn.config.rope_attention_factor = 2;
  etk_model *model = model_of(&yarn, 10), *plain = model_of(&variants[0], 10);
  for (int layer = 0; layer < 2; layer++) {
    etk_tensor *q = etk_model_weight(plain, path_of("model.layers.%d.self_attn.q_proj.weight", layer));
    for (int64_t i = 0; i < etk_tensor_elements(q); i++) ((float *)etk_tensor_data(q))[i] *= 4;
  }
  float one[TOKENS * VOCAB], two[TOKENS * VOCAB], cached[TOKENS * VOCAB];
  forward_plain(model, NULL, ids, TOKENS, one);
  forward_plain(plain, NULL, ids, TOKENS, two);
  forward_cached(model, NULL, ids, TOKENS, 4, cached);
  for (int i = 0; i < TOKENS * VOCAB; i++) assert_true(fabsf(one[i] - two[i]) < 2e-5f && fabsf(one[i] - cached[i]) < 2e-5f);
  etk_model_unref(plain);
  etk_model_unref(model);
}

/* The published gpt2 has names without "transformer." and each layer's mask. */
static void gpt2_opens_without_its_prefix_and_with_masks(void **state) {
  struct variant gpt2 = {"gpt2", {.architecture = "gpt2", .attention_bias = true, .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH,
                                  .num_key_value_heads = 4}};
  etk_model *model = model_of(&gpt2, 10), *again;
  char *folder = fresh_folder(state, "bare");
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_safetensors_item items[64];
  size_t count = 0;
  for (; count < etk_model_weight_count(model); count++)
    items[count] = (etk_safetensors_item){etk_model_weight_name(model, count) + strlen("transformer."), etk_model_weight_at(model, count), ETK_F32};
  etk_tensor *mask = NULL;
  works(etk_tensor_new(e, &mask, ETK_F32, etk_shape_of(4, 1, 1, 32, 32)));
  items[count++] = (etk_safetensors_item){"h.0.attn.bias", mask, ETK_F32};
  works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), items, count, NULL, 0, true));
  again = open_model(folder);
  float one[TOKENS * VOCAB], two[TOKENS * VOCAB];
  forward_plain(model, NULL, ids, TOKENS, one);
  forward_plain(again, NULL, ids, TOKENS, two);
  assert_memory_equal(one, two, sizeof one);
  etk_model_unref(again);
  items[count++] = (etk_safetensors_item){"h.0.attn.extra", mask, ETK_F32};
  works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), items, count, NULL, 0, true));
  fails_with(ETK_E_FORMAT, "h.0.attn.extra", etk_model_open(e, &again, folder, NULL));
  etk_tensor_unref(mask);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_saved_model_of_each_family_opens_as_it_was),
      cmocka_unit_test(prompt_then_step_equals_the_whole_sequence),
      cmocka_unit_test(gradients_of_each_family_agree_with_finite_differences),
      cmocka_unit_test(an_adapter_computes_what_merged_weights_compute),
      cmocka_unit_test(qwen3_agrees_with_its_definition),
      cmocka_unit_test(yarn_scales_queries_and_keys),
      cmocka_unit_test(gpt2_opens_without_its_prefix_and_with_masks),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
