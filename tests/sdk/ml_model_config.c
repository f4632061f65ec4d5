/* What config.json of the newer families means, and that what is malformed or not supported is one error that names the key. Outputs are in
 * ml_model_refs.c; the first families are in ml_model.c. */
#include "ml_golden.h"

#define SIZES "\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":4,\"num_attention_heads\":2"

static etk_status parse(etk_error *e, etk_model_config *c, const char *text) { return etk_model_config_parse(e, c, "config.json", text, strlen(text)); }
static etk_model_config parsed(const char *type, const char *more) {
  etk_model_config c;
  works(parse(e, &c, path_of("{\"model_type\":\"%s\"," SIZES "%s}", type, more)));
  return c;
}

static void layers_differ_as_transformers_says(void **state) {
  (void)state;
  enum { F = ETK_LAYER_FULL, N = ETK_LAYER_NO_ROPE };
  static const struct {
    const char *type, *more;
    int64_t window;
    uint8_t flags[4];
  } rows[] = {
      {"qwen2", "", 0, {0}},
      {"qwen2", ",\"use_sliding_window\":true,\"sliding_window\":3,\"max_window_layers\":3", 3, {F, F, F, 0}},
      {"qwen2", ",\"use_sliding_window\":true,\"sliding_window\":3", 0, {0}}, /* from layer 28 on: none */
      {"qwen2", ",\"use_sliding_window\":true,\"sliding_window\":null,\"max_window_layers\":1", 0, {0}},
      {"qwen2", ",\"use_sliding_window\":false,\"sliding_window\":3,\"max_window_layers\":1", 0, {0}},
      {"qwen3", ",\"use_sliding_window\":true,\"max_window_layers\":0", 4096, {0}},
      {"qwen3",
       ",\"use_sliding_window\":true,\"sliding_window\":5,\"max_window_layers\":4,\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]",
       5, {0, F, F, 0}},
      {"qwen3", ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]", 0, {0}},
      {"gemma2", "", 4096, {0, F, 0, F}},
      {"gemma2", ",\"sliding_window\":3,\"sliding_window_pattern\":2", 3, {0, F, 0, F}},
      {"gemma2", ",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]", 4096, {F, 0, 0, F}},
      {"gemma3_text", "", 4096, {0}}, /* the sixth would be the first that sees all */
      {"gemma3_text", ",\"sliding_window_pattern\":3,\"sliding_window\":9", 9, {0, 0, F, 0}},
      {"gemma3_text", ",\"_sliding_window_pattern\":2,\"sliding_window\":9", 9, {0, F, 0, F}},
      {"gemma3_text", ",\"sliding_window_pattern\":1", 0, {0}},
      {"phi3", "", 0, {0}},
      {"phi3", ",\"sliding_window\":2047", 2047, {0}},
      {"mistral", ",\"sliding_window\":null,\"layer_types\":null", 0, {0}},
      {"smollm3", "", 0, {0, 0, 0, N}},
      {"smollm3", ",\"no_rope_layer_interval\":2,\"use_sliding_window\":false,\"sliding_window\":7", 0, {0, N, 0, N}},
      {"smollm3", ",\"no_rope_layers\":[0,1,1,1],\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]", 0,
       {N, 0, 0, 0}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    etk_model_config c = parsed(rows[i].type, rows[i].more);
    if (c.sliding_window != rows[i].window || memcmp(c.layer_flags, rows[i].flags, 4))
      fail_msg("%s%s: window %lld, flags %d %d %d %d", rows[i].type, rows[i].more, (long long)c.sliding_window, c.layer_flags[0], c.layer_flags[1],
               c.layer_flags[2], c.layer_flags[3]);
  }
}

static void the_defaults_of_the_newer_families_are_those_of_transformers(void **state) {
  (void)state;
  static const struct {
    const char *type;
    int64_t head_dim, positions;
    double theta, local, eps, scalar, score_cap, logit_cap;
    bool tied;
  } rows[] = {
      {"gemma2", 256, 8192, 1e4, 0, 1e-6, 256, 50, 30, true}, {"gemma3_text", 256, 131072, 1e6, 1e4, 1e-6, 256, 0, 0, true},
      {"phi3", 4, 4096, 1e4, 0, 1e-5, 0, 0, 0, false},
      {"smollm3", 4, 32768, 2e6, 0, 1e-6, 0, 0, 0, true},     {"mistral", 4, 131072, 1e4, 0, 1e-6, 0, 0, 0, false},
      {"llama", 4, 2048, 1e4, 0, 1e-6, 0, 0, 0, false},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    etk_model_config c = parsed(rows[i].type, "");
    assert_int_equal(c.head_dim, rows[i].head_dim);
    assert_int_equal(c.max_position_embeddings, rows[i].positions);
    assert_int_equal(c.tie_word_embeddings, rows[i].tied);
    const double seen[] = {c.rope_theta, c.rope_local_theta, c.rms_norm_eps, c.query_pre_attn_scalar, c.attn_logit_softcapping, c.final_logit_softcapping};
    const double wanted[] = {rows[i].theta, rows[i].local, rows[i].eps, rows[i].scalar, rows[i].score_cap, rows[i].logit_cap};
    for (int j = 0; j < 6; j++)
      if (seen[j] != wanted[j]) fail_msg("%s: number %d is %g, wanted %g", rows[i].type, j, seen[j], wanted[j]);
  }
  etk_model_config c = parsed("gemma2", ",\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,\"query_pre_attn_scalar\":144");
  assert_true(c.attn_logit_softcapping == 0 && c.final_logit_softcapping == 0 && c.query_pre_attn_scalar == 144);
}

/* The config.json of SmolLM: llama with a tied head, its own base, and one token for beginning and end. */
static void smollm_is_a_llama_with_its_quirks(void **state) {
  (void)state;
  etk_model_config c = parsed("llama",
                              ",\"tie_word_embeddings\":true,\"rope_theta\":100000,\"bos_token_id\":0,\"eos_token_id\":0,\"is_llama_config\":true,\"rope_interleaved\":false,"
                                       "\"rope_scaling\":null,\"pretraining_tp\":1,\"num_key_value_heads\":1,\"use_cache\":true,\"dtype\":\"bfloat16\"");
  assert_true(c.tie_word_embeddings && c.rope_theta == 100000 && c.bos_token_id == 0 && c.eos_count == 1 && c.eos_token_ids[0] == 0 &&
              c.num_key_value_heads == 1);
  c = parsed("llama", ",\"eos_token_id\":[5,6,7],\"head_dim\":6,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000.0}");
  assert_true(c.eos_count == 3 && c.eos_token_ids[2] == 7 && c.head_dim == 6 && c.rope_theta == 500000);
}

static void rotary_positions_are_read_in_every_spelling(void **state) {
  (void)state;
  etk_model_config c = parsed("gemma3_text", ",\"rope_theta\":2e6,\"rope_local_base_freq\":500,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}");
  assert_true(c.rope_theta == 2e6 && c.rope_local_theta == 500 && c.rope_scaling == ETK_ROPE_LINEAR && c.rope_factor == 8);
  c = parsed("gemma3_text", ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":3e6},\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":70}}");
  assert_true(c.rope_theta == 3e6 && c.rope_local_theta == 70 && c.rope_scaling == ETK_ROPE_LINEAR && c.rope_factor == 4);
  /* longrope: attention_factor from the ratio of contexts, from factor, or given */
  static const char lists[] = "\"short_factor\":[1,1.5],\"long_factor\":[2,3.25]";
  c = parsed("phi3", path_of(",\"max_position_embeddings\":64,\"original_max_position_embeddings\":16,\"rope_scaling\":{\"type\":\"su\",%s}", lists));
  assert_true(c.rope_scaling == ETK_ROPE_LONGROPE && c.rope_original_positions == 16 && c.rope_short_factors[1] == 1.5f &&
              c.rope_long_factors[1] == 3.25f && c.rotary_dims == 0);
  assert_true(fabs(c.rope_attention_factor - sqrt(1.5)) < 1e-12); /* ln 4 / ln 16 = 1/2 */
  c = parsed("phi3", path_of(",\"rope_parameters\":{\"rope_type\":\"longrope\",\"factor\":16,\"original_max_position_embeddings\":16,\"rope_theta\":77,%s}", lists));
  assert_true(c.rope_theta == 77 && fabs(c.rope_attention_factor - sqrt(2)) < 1e-12);
  c = parsed("phi3", path_of(",\"rope_scaling\":{\"type\":\"yarn\",\"attention_factor\":1.25,%s}", lists)); /* as transformers reads an early file */
  assert_true(c.rope_scaling == ETK_ROPE_LONGROPE && c.rope_attention_factor == 1.25 && c.rope_original_positions == 4096);
  c = parsed("phi3", ",\"partial_rotary_factor\":0.5,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[2]}");
  assert_int_equal(c.rotary_dims, 2);
  c = parsed("llama", ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"mscale\":1,\"mscale_all_dim\":0.5}");
  assert_true(fabs(c.rope_attention_factor - (0.1 * log(4) + 1) / (0.05 * log(4) + 1)) < 1e-12);
}

/* What a nested text_config leaves out is its class's default, as in the published files. */
static void a_gemma3_says_little_of_its_text(void **state) {
  (void)state;
  etk_model_config c;
  works(parse(e, &c, "{\"model_type\":\"gemma3\",\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"eos_token_id\":[1,106],\"mm_tokens_per_image\":256,\"vision_config\":{},"
                     "\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,"
                     "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}"));
  assert_string_equal(c.architecture, "gemma3_text");
  assert_true(c.text_part && c.vocab_size == 262208 && c.num_attention_heads == 8 && c.num_key_value_heads == 4 && c.head_dim == 256 &&
              c.num_hidden_layers == 34);
  assert_true(c.bos_token_id == 2 && c.eos_count == 2 && c.eos_token_ids[1] == 106 && c.tie_word_embeddings && c.sliding_window == 1024);
  assert_true(c.layer_flags[5] == ETK_LAYER_FULL && c.layer_flags[6] == 0 && c.rope_factor == 8 && c.rope_local_theta == 10000);
}

static void what_is_malformed_or_unsupported_is_one_error(void **state) {
  (void)state;
  static const struct {
    const char *type, *more;
    etk_status status;
    const char *part;
  } rows[] = {
      {"gemma2", ",\"attn_logit_softcapping\":0", ETK_E_FORMAT, "\"attn_logit_softcapping\" is 0, wanted a number above 0"},
      {"gemma2", ",\"attn_logit_softcapping\":\"50\"", ETK_E_FORMAT, "attn_logit_softcapping"},
      {"gemma2", ",\"final_logit_softcapping\":-1", ETK_E_FORMAT, "final_logit_softcapping"},
      {"gemma2", ",\"final_logit_softcapping\":NaN", ETK_E_FORMAT, "not valid JSON"},
      {"gemma2", ",\"query_pre_attn_scalar\":0", ETK_E_FORMAT, "query_pre_attn_scalar"},
      {"gemma2", ",\"sliding_window\":0", ETK_E_FORMAT, "sliding_window"},
      {"gemma2", ",\"sliding_window\":-5", ETK_E_FORMAT, "sliding_window"},
      {"gemma2", ",\"sliding_window\":null", ETK_E_FORMAT, "2 of 4 layers slide"},
      {"gemma2", ",\"sliding_window_pattern\":3", ETK_E_UNSUPPORTED, "sliding_window_pattern"},
      {"gemma2", ",\"layer_types\":[\"full_attention\"]", ETK_E_FORMAT, "\"layer_types\" has 1 entries, wanted a list of 4"},
      {"gemma2", ",\"layer_types\":\"full_attention\"", ETK_E_FORMAT, "layer_types"},
      {"gemma2", ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"chunked_attention\"]", ETK_E_FORMAT, "\"chunked_attention\""},
      {"gemma2", ",\"layer_types\":[0,1,0,1]", ETK_E_FORMAT, "layer_types"},
      {"gemma2", ",\"mlp_bias\":true", ETK_E_UNSUPPORTED, "mlp_bias"},
      {"gemma2", ",\"use_bidirectional_attention\":true", ETK_E_UNSUPPORTED, "use_bidirectional_attention"},
      {"gemma2", ",\"num_hidden_layers\":600", ETK_E_UNSUPPORTED, "up to 512"},
      {"gemma3_text", ",\"sliding_window_pattern\":0", ETK_E_FORMAT, "sliding_window_pattern"},
      {"gemma3_text", ",\"sliding_window_pattern\":-1", ETK_E_FORMAT, "sliding_window_pattern"},
      {"gemma3_text", ",\"sliding_window_pattern\":2.5", ETK_E_FORMAT, "sliding_window_pattern"},
      {"gemma3_text", ",\"attn_logit_softcapping\":50", ETK_E_UNSUPPORTED, "attn_logit_softcapping"},
      {"gemma3_text", ",\"rope_local_base_freq\":0", ETK_E_FORMAT, "rope_local_base_freq"},
      {"gemma3_text", ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\"}}", ETK_E_FORMAT, "has no \"factor\""},
      {"gemma3_text", ",\"rope_parameters\":{\"full_attention\":3}", ETK_E_FORMAT, "full_attention"},
      {"gemma3_text", ",\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}}", ETK_E_UNSUPPORTED, "sliding_attention"},
      {"llama", ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}", ETK_E_UNSUPPORTED, "from one type of layer to another"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\"}", ETK_E_FORMAT, "0 values in \"short_factor\", wanted a list of 2"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1]}", ETK_E_FORMAT,
       "1 values in \"long_factor\", wanted a list of 2"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1],\"long_factor\":[1,1]}", ETK_E_FORMAT, "3 values in \"short_factor\""},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,0],\"long_factor\":[1,1]}", ETK_E_FORMAT, "\"short_factor\" is 0"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,\"x\"]}", ETK_E_FORMAT, "\"long_factor\" is \"x\""},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1e-60],\"long_factor\":[1,1]}", ETK_E_FORMAT, "short_factor"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1e60],\"long_factor\":[1,1]}", ETK_E_FORMAT, "short_factor"},
      {"phi3", ",\"original_max_position_embeddings\":1,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,1]}",
       ETK_E_FORMAT, "original_max_position_embeddings"},
      {"phi3", ",\"original_max_position_embeddings\":2.5,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,1]}",
       ETK_E_FORMAT, "original_max_position_embeddings"},
      {"phi3", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", ETK_E_UNSUPPORTED, "\"linear\"; for phi3 this version knows default and longrope"},
      {"phi3", ",\"rope_scaling\":{\"type\":7}", ETK_E_FORMAT, "rope_type"},
      {"phi3", ",\"partial_rotary_factor\":0.25", ETK_E_FORMAT, "makes 1 of a head's 4 values turn"},
      {"phi3", ",\"partial_rotary_factor\":1.5", ETK_E_FORMAT, "partial_rotary_factor"},
      {"phi3", ",\"attention_bias\":true", ETK_E_UNSUPPORTED, "attention_bias"},
      {"phi3", ",\"lm_head_bias\":true", ETK_E_UNSUPPORTED, "lm_head_bias"},
      {"phi3", ",\"head_dim\":600,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[],\"long_factor\":[]}", ETK_E_UNSUPPORTED, "300 pairs"},
      {"llama", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,1]}", ETK_E_UNSUPPORTED, "\"longrope\"; for llama"},
      {"llama", ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"mscale\":-1}", ETK_E_FORMAT, "mscale"},
      {"qwen2", ",\"use_sliding_window\":1", ETK_E_FORMAT, "use_sliding_window"},
      {"qwen2", ",\"use_sliding_window\":true,\"max_window_layers\":-1", ETK_E_FORMAT, "max_window_layers"},
      {"qwen2", ",\"use_sliding_window\":true,\"sliding_window\":0", ETK_E_FORMAT, "sliding_window"},
      {"mistral", ",\"use_sliding_window\":true", ETK_E_UNSUPPORTED, "use_sliding_window"},
      {"mistral", ",\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]", ETK_E_UNSUPPORTED, "layer_types"},
      {"qwen2_moe", ",\"num_experts\":2,\"num_experts_per_tok\":1,\"moe_intermediate_size\":4,\"shared_expert_intermediate_size\":4,\"use_sliding_window\":true,\"sliding_window\":4",
       ETK_E_UNSUPPORTED, "sliding_window"},
      {"qwen2_moe", ",\"num_experts\":2,\"num_experts_per_tok\":1,\"moe_intermediate_size\":4,\"shared_expert_intermediate_size\":4,\"qkv_bias\":false", ETK_E_UNSUPPORTED, "qkv_bias"},
      {"smollm3", ",\"use_sliding_window\":true,\"sliding_window\":4", ETK_E_UNSUPPORTED, "sliding_window"},
      {"smollm3", ",\"no_rope_layers\":[1,1]", ETK_E_FORMAT, "\"no_rope_layers\" has 2 entries"},
      {"smollm3", ",\"no_rope_layers\":[1,1,1,2]", ETK_E_FORMAT, "no_rope_layers"},
      {"smollm3", ",\"no_rope_layer_interval\":0", ETK_E_FORMAT, "no_rope_layer_interval"},
      {"gemma3", "", ETK_E_FORMAT, "text_config"},
      {"gemma3", ",\"text_config\":[]", ETK_E_FORMAT, "text_config"},
      {"gemma3", ",\"text_config\":{\"sliding_window\":-1}", ETK_E_FORMAT, "sliding_window"},
      {"gemma3", ",\"text_config\":{\"eos_token_id\":300000}", ETK_E_FORMAT, "eos_token_id 300000"},
      {"gemma4", "", ETK_E_UNSUPPORTED, "gemma3_text, the text of gemma3"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    etk_model_config c;
    bool layers = strstr(rows[i].more, "num_hidden_layers") != NULL; /* a key twice is an error of its own */
    const char *sizes = layers ? "\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_attention_heads\":2" : SIZES;
    fails_with(rows[i].status, rows[i].part, parse(e, &c, path_of("{\"model_type\":\"%s\",%s%s}", rows[i].type, sizes, rows[i].more)));
  }
}

/* A configuration need not come from a file. */
static void a_new_model_is_checked_like_a_file(void **state) {
  (void)state;
  etk_model_config good = parsed("gemma2", "");
  etk_model *model = NULL;
  etk_model_config bad = good;
  bad.attn_logit_softcapping = (double)NAN;
  fails_with(ETK_E_FORMAT, "attn_logit_softcapping", etk_model_new(e, &model, &bad, 1));
  bad = good;
  bad.query_pre_attn_scalar = -1;
  fails_with(ETK_E_FORMAT, "query_pre_attn_scalar", etk_model_new(e, &model, &bad, 1));
  bad = good;
  bad.sliding_window = -1;
  fails_with(ETK_E_FORMAT, "sliding_window", etk_model_new(e, &model, &bad, 1));
  bad = good;
  bad.rotary_dims = 3;
  fails_with(ETK_E_FORMAT, "rotary_dims", etk_model_new(e, &model, &bad, 1));
  bad = parsed("phi3", "");
  bad.rope_scaling = ETK_ROPE_LONGROPE;
  fails_with(ETK_E_FORMAT, "longrope", etk_model_new(e, &model, &bad, 1));
  bad.rope_attention_factor = 1, bad.rope_original_positions = 4, bad.rope_short_factors[0] = bad.rope_long_factors[0] = 1;
  fails_with(ETK_E_FORMAT, "factors 1 of longrope", etk_model_new(e, &model, &bad, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layers_differ_as_transformers_says),
      cmocka_unit_test(the_defaults_of_the_newer_families_are_those_of_transformers),
      cmocka_unit_test(smollm_is_a_llama_with_its_quirks),
      cmocka_unit_test(rotary_positions_are_read_in_every_spelling),
      cmocka_unit_test(a_gemma3_says_little_of_its_text),
      cmocka_unit_test(what_is_malformed_or_unsupported_is_one_error),
      cmocka_unit_test(a_new_model_is_checked_like_a_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
