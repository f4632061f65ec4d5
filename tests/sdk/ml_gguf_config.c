/* GGUF's keys as a model's configuration, where they are right and where they are not; round trips of whole models are in ml_gguf_names.c. */
#include "ml_golden.h"
#include "ml/format/gguf_names.h"

/* A change to what is written, before it is. */
typedef void tamper(etk_gguf_writer *writer);

/* ---- what is not right in a file ---- */

enum { MINI_HEADS = 2, MINI_HEAD = 4, MINI_HIDDEN = 8, MINI_VOCAB = 5 };
static const struct {
  const char *key;
  int64_t value;
} mini_keys[] = {{"block_count", 1}, {"context_length", 16}, {"embedding_length", MINI_HIDDEN}, {"feed_forward_length", 4},
                 {"attention.head_count", MINI_HEADS}, {"attention.head_count_kv", 1},
                 {"expert_count", 3}, {"expert_used_count", 2}};

/* A small mixture of GGUF's llama, without the key `skip`. */
static char *mini(void **state, const char *skip, tamper *change) {
  static const float values[256] = {1};
  char *path = path_of("%s/mini.gguf", (char *)*state);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  if (!skip || strcmp(skip, "general.architecture")) etk_gguf_set_text(writer, "general.architecture", "llama");
  for (size_t i = 0; i < sizeof mini_keys / sizeof *mini_keys; i++)
    if (!skip || strcmp(skip, mini_keys[i].key)) etk_gguf_set_int(writer, path_of("llama.%s", mini_keys[i].key), ETK_GGUF_U32, mini_keys[i].value);
  if (!skip || strcmp(skip, "eps")) etk_gguf_set_real(writer, "llama.attention.layer_norm_rms_epsilon", ETK_GGUF_F32, 1e-5);
  if (!skip || strcmp(skip, "token_embd"))
    etk_gguf_add(writer, "token_embd.weight", (etk_type)ETK_F32, etk_shape_of(2, MINI_VOCAB, MINI_HIDDEN), values, NULL, NULL);
  etk_gguf_add(writer, "blk.0.attn_q.weight", (etk_type)ETK_F32, etk_shape_of(2, MINI_HEADS * MINI_HEAD, MINI_HIDDEN), values, NULL, NULL);
  etk_gguf_add(writer, "blk.0.attn_k.weight", (etk_type)ETK_F32, etk_shape_of(2, MINI_HEAD, MINI_HIDDEN), values, NULL, NULL);
  etk_gguf_add(writer, "blk.0.ffn_up_exps.weight", (etk_type)ETK_F32, etk_shape_of(3, 3, 4, MINI_HIDDEN), values, NULL, NULL);
  etk_gguf_add(writer, "blk.0.ffn_down_exps.weight", (etk_type)ETK_F32, etk_shape_of(2, 12, MINI_HIDDEN), values, NULL, NULL);
  if (change) change(writer);
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  return path;
}

#define TAMPER(name, statement) \
  static void name(etk_gguf_writer *w) { statement; }
#define INT(key, value) etk_gguf_set_int(w, "llama." key, ETK_GGUF_I64, value)
#define REAL(key, value) etk_gguf_set_real(w, "llama." key, ETK_GGUF_F32, value)
#define TEXT(key, value) etk_gguf_set_text(w, "llama." key, value)
#define LIST(key, kind, type, ...) etk_gguf_set_array(w, "llama." key, kind, (type[]){__VA_ARGS__}, sizeof((type[]){__VA_ARGS__}) / sizeof(type))
#define FACTORS(name, ...) etk_gguf_add(w, name, (etk_type)ETK_F32, etk_shape_of(1, (int64_t)(sizeof((float[]){__VA_ARGS__}) / sizeof(float))), (static_factors = (const float[]){__VA_ARGS__}, copy_factors(sizeof((float[]){__VA_ARGS__}))), NULL, NULL)
static const float *static_factors;
static const void *copy_factors(size_t size) { /* outlives the block that the list stands in */
  static float kept[8][16];
  static int next;
  next = (next + 1) % 8;
  memcpy(kept[next], static_factors, size);
  return kept[next];
}
TAMPER(another_architecture, etk_gguf_set_text(w, "general.architecture", "falcon"))
TAMPER(no_heads, INT("attention.head_count", 0))
TAMPER(negative_heads, INT("attention.head_count", -1))
TAMPER(countless_heads, etk_gguf_set_int(w, "llama.attention.head_count", ETK_GGUF_U64, INT64_MAX))
TAMPER(heads_in_words, TEXT("attention.head_count", "two"))
TAMPER(heads_by_layer, LIST("attention.head_count", ETK_GGUF_I32, int32_t, 2, 4))
TAMPER(heads_of_an_empty_list, LIST("attention.head_count", ETK_GGUF_I32, int32_t, 2); etk_gguf_set_array(w, "llama.attention.head_count", ETK_GGUF_I32, "", 0))
TAMPER(equal_heads_by_layer, LIST("attention.head_count", ETK_GGUF_I32, int32_t, 2, 2))
TAMPER(three_key_heads, INT("attention.head_count_kv", 3))
TAMPER(four_heads, INT("attention.head_count", 4); INT("attention.key_length", MINI_HEAD); INT("attention.head_count_kv", 4))
TAMPER(uneven_heads, INT("attention.head_count", 3); INT("attention.head_count_kv", 3))
TAMPER(odd_heads, INT("attention.key_length", 3); INT("attention.value_length", 3))
TAMPER(other_values, INT("attention.value_length", 5))
TAMPER(half_rotary, INT("rope.dimension_count", 2))
TAMPER(no_rotary, INT("rope.dimension_count", 0))
TAMPER(no_epsilon, REAL("attention.layer_norm_rms_epsilon", 0))
TAMPER(epsilon_nan, REAL("attention.layer_norm_rms_epsilon", NAN))
TAMPER(no_base, REAL("rope.freq_base", -1))
TAMPER(odd_scaling, TEXT("rope.scaling.type", "ntk"))
TAMPER(scaling_number, INT("rope.scaling.type", 2))
TAMPER(yarn_without_factor, TEXT("rope.scaling.type", "yarn"))
TAMPER(yarn_of_nothing, TEXT("rope.scaling.type", "yarn"); REAL("rope.scaling.factor", 4); REAL("rope.scaling.original_context_length", 0))
TAMPER(yarn_turned, TEXT("rope.scaling.type", "yarn"); REAL("rope.scaling.factor", 4);
       REAL("rope.scaling.yarn_beta_fast", 1); REAL("rope.scaling.yarn_beta_slow", 2))
TAMPER(stretched_alone, REAL("rope.scaling.attn_factor", 1.5))
TAMPER(negative_factor, TEXT("rope.scaling.type", "linear"); REAL("rope.scaling.factor", -4))
TAMPER(longrope_alone, TEXT("rope.scaling.type", "longrope"))
TAMPER(longrope_short, TEXT("rope.scaling.type", "longrope"); FACTORS("rope_factors_long.weight", 1); FACTORS("rope_factors_short.weight", 1))
TAMPER(longrope_zero, FACTORS("rope_factors_long.weight", 1, 0); FACTORS("rope_factors_short.weight", 1, 1))
TAMPER(freqs_short, FACTORS("rope_freqs.weight", 1))
TAMPER(freqs_long, FACTORS("rope_freqs.weight", 1, 1, 1))
TAMPER(freqs_nan, FACTORS("rope_freqs.weight", 1, NAN))
TAMPER(freqs_odd, FACTORS("rope_freqs.weight", 3, 1))
TAMPER(freqs_and_linear, REAL("rope.scaling.factor", 4); FACTORS("rope_freqs.weight", 1, 8))
TAMPER(rule_without_freqs, etk_gguf_set_array(w, "etk.rope.llama3", ETK_GGUF_F64, (double[]){8, 1, 4, 8192}, 4))
TAMPER(rule_against_freqs, etk_gguf_set_array(w, "etk.rope.llama3", ETK_GGUF_F64, (double[]){8, 1, 4, 8192}, 4); FACTORS("rope_freqs.weight", 1, 2))
TAMPER(rule_of_zeros, etk_gguf_set_array(w, "etk.rope.llama3", ETK_GGUF_F64, (double[]){0, 0, 0, 0}, 4); FACTORS("rope_freqs.weight", 1, 2))
TAMPER(no_experts_used, INT("expert_used_count", 0))
TAMPER(more_experts_used, INT("expert_used_count", 4))
TAMPER(countless_experts, INT("expert_count", INT32_MAX))
TAMPER(scaled_logits, REAL("logit_scale", 0.5))
TAMPER(not_causal, etk_gguf_set_int(w, "llama.attention.causal", ETK_GGUF_BOOL, 0))
TAMPER(capped, REAL("final_logit_softcapping", 30))
TAMPER(unheard_of, INT("attention.unheard_of", 7))
TAMPER(unheard_of_text, TEXT("unheard_of", ""))
TAMPER(unheard_of_zero, INT("attention.unheard_of", 0); INT("pooling_type", 0); REAL("expert_weights_scale", 1))
TAMPER(other_model_type, etk_gguf_set_text(w, "etk.model_type", "gpt2"))
TAMPER(strange_activation, etk_gguf_set_text(w, "etk.activation", "relu"))
TAMPER(end_outside, etk_gguf_set_int(w, "tokenizer.ggml.eos_token_id", ETK_GGUF_U32, MINI_VOCAB))
TAMPER(ends_outside, etk_gguf_set_array(w, "etk.eos_token_ids", ETK_GGUF_I32, (int32_t[]){1, -3}, 2))
TAMPER(ends_as_text, etk_gguf_set_text(w, "etk.eos_token_ids", "1"))
TAMPER(begin_as_text, etk_gguf_set_text(w, "tokenizer.ggml.bos_token_id", "1"))
TAMPER(negative_window, INT("attention.sliding_window", -1))
TAMPER(pattern_of_two, INT("attention.sliding_window", 4); INT("block_count", 4); LIST("attention.sliding_window_pattern", ETK_GGUF_I32, int32_t, 1, 0))
TAMPER(pattern_in_words, INT("attention.sliding_window", 4); TEXT("attention.sliding_window_pattern", "x"))
TAMPER(countless_layers, INT("block_count", INT32_MAX))
TAMPER(large, INT("embedding_length", 2147483646); INT("attention.key_length", 2147483646); INT("attention.value_length", 2147483646))
TAMPER(half_a_block, REAL("block_count", 1.5))

static void a_configuration_that_is_not_right_is_one_clear_error(void **state) {
  static const struct {
    const char *skip;
    tamper *change;
    etk_status status; /* ETK_OK: it is right after all */
    const char *part;
  } cases[] = {
      {NULL, NULL, ETK_OK, ""},
      {"general.architecture", NULL, ETK_E_NOT_FOUND, "general.architecture"},
      {NULL, another_architecture, ETK_E_UNSUPPORTED, "general.architecture is \"falcon\", which this version does not run; it runs llama, "},
      {"block_count", NULL, ETK_E_FORMAT, "has no key llama.block_count"},
      {"context_length", NULL, ETK_E_FORMAT, "has no key llama.context_length"},
      {"embedding_length", NULL, ETK_E_FORMAT, "has no key llama.embedding_length"},
      {"feed_forward_length", NULL, ETK_E_FORMAT, "has no key llama.feed_forward_length"},
      {"attention.head_count", NULL, ETK_E_FORMAT, "has no key llama.attention.head_count"},
      {"eps", NULL, ETK_E_FORMAT, "has no key llama.attention.layer_norm_rms_epsilon"},
      {"expert_used_count", NULL, ETK_E_FORMAT, "has no key llama.expert_used_count"},
      {"token_embd", NULL, ETK_E_FORMAT, "llama.vocab_size"},
      {NULL, no_heads, ETK_E_FORMAT, "llama.attention.head_count is 0; a whole number from 1"},
      {NULL, negative_heads, ETK_E_FORMAT, "llama.attention.head_count is -1; a whole number from 1"},
      {NULL, countless_heads, ETK_E_FORMAT, "llama.attention.head_count is 9.2233720368547758e+18"},
      {NULL, heads_in_words, ETK_E_FORMAT, "llama.attention.head_count is string; a number"},
      {NULL, heads_by_layer, ETK_E_UNSUPPORTED, "llama.attention.head_count is a list of numbers that differ from layer to layer"},
      {NULL, heads_of_an_empty_list, ETK_E_FORMAT, "llama.attention.head_count is array; a number"},
      {NULL, equal_heads_by_layer, ETK_OK, ""},
      {NULL, three_key_heads, ETK_E_FORMAT, "not a multiple of num_key_value_heads 3"},
      {NULL, uneven_heads, ETK_E_FORMAT, "llama.embedding_length 8 is no multiple of llama.attention.head_count 3"},
      {NULL, odd_heads, ETK_E_FORMAT, "rope.dimension_count is 3"},
      {NULL, other_values, ETK_E_FORMAT, "llama.attention.value_length is 5"},
      {NULL, half_rotary, ETK_E_FORMAT, "llama.rope.dimension_count is 2; the size of a head"},
      {NULL, no_rotary, ETK_E_FORMAT, "llama.rope.dimension_count is 0"},
      {NULL, no_epsilon, ETK_E_FORMAT, "layer_norm_rms_epsilon is 0; a number above 0"},
      {NULL, epsilon_nan, ETK_E_FORMAT, "layer_norm_rms_epsilon is nan; a finite number"},
      {NULL, no_base, ETK_E_FORMAT, "llama.rope.freq_base is -1"},
      {NULL, odd_scaling, ETK_E_FORMAT, "llama.rope.scaling.type is of a kind"},
      {NULL, scaling_number, ETK_E_FORMAT, "llama.rope.scaling.type is of a kind"},
      {NULL, yarn_without_factor, ETK_E_FORMAT, "there is no llama.rope.scaling.factor"},
      {NULL, yarn_of_nothing, ETK_E_FORMAT, "llama.rope.scaling.original_context_length is 0"},
      {NULL, yarn_turned, ETK_E_FORMAT, "beta_fast above beta_slow"},
      {NULL, stretched_alone, ETK_E_FORMAT, "llama.rope.scaling.attn_factor is 1.5; 1, where"},
      {NULL, negative_factor, ETK_E_FORMAT, "llama.rope.scaling.factor is -4"},
      {NULL, longrope_alone, ETK_E_FORMAT, "has no tensor rope_factors_long.weight"},
      {NULL, longrope_short, ETK_E_FORMAT, "rope_factors_long.weight must have 2 elements"},
      {NULL, longrope_zero, ETK_E_FORMAT, "rope_factors_long.weight has 0 at element 1"},
      {NULL, freqs_short, ETK_E_FORMAT, "rope_freqs.weight must have 2 elements"},
      {NULL, freqs_long, ETK_E_FORMAT, "rope_freqs.weight must have 2 elements"},
      {NULL, freqs_nan, ETK_E_FORMAT, "rope_freqs.weight has nan at element 1"},
      {NULL, freqs_odd, ETK_E_UNSUPPORTED, "do not follow Llama 3's rule"},
      {NULL, freqs_and_linear, ETK_E_UNSUPPORTED, "rope_freqs.weight"},
      {NULL, rule_without_freqs, ETK_E_FORMAT, "rope_freqs.weight is not there"},
      {NULL, rule_against_freqs, ETK_E_UNSUPPORTED, "as the key etk.rope.llama3 gives it"},
      {NULL, rule_of_zeros, ETK_E_UNSUPPORTED, "as the key etk.rope.llama3 gives it"},
      {NULL, no_experts_used, ETK_E_FORMAT, "llama.expert_used_count is 0"},
      {NULL, more_experts_used, ETK_E_FORMAT, "3 experts, 4 a token"},
      {NULL, countless_experts, ETK_E_FORMAT, "2147483647 experts"},
      {NULL, scaled_logits, ETK_E_UNSUPPORTED, "the key llama.logit_scale is set"},
      {NULL, not_causal, ETK_E_UNSUPPORTED, "the key llama.attention.causal is set"},
      {NULL, capped, ETK_E_UNSUPPORTED, "the key llama.final_logit_softcapping is set"},
      {NULL, unheard_of, ETK_E_UNSUPPORTED, "the key llama.attention.unheard_of is set"},
      {NULL, unheard_of_text, ETK_E_UNSUPPORTED, "the key llama.unheard_of is set"},
      {NULL, unheard_of_zero, ETK_OK, ""},
      {NULL, other_model_type, ETK_E_FORMAT, "etk.model_type is none that goes with general.architecture llama"},
      {NULL, strange_activation, ETK_E_FORMAT, "etk.activation"},
      {NULL, end_outside, ETK_E_FORMAT, "tokenizer.ggml.eos_token_id is 5, outside the vocabulary of 5"},
      {NULL, ends_outside, ETK_E_FORMAT, "etk.eos_token_ids is -3"},
      {NULL, ends_as_text, ETK_E_FORMAT, "etk.eos_token_ids must be a list"},
      {NULL, begin_as_text, ETK_E_FORMAT, "tokenizer.ggml.bos_token_id"},
      {NULL, negative_window, ETK_E_FORMAT, "llama.attention.sliding_window is -1"},
      {NULL, pattern_of_two, ETK_E_FORMAT, "llama.attention.sliding_window_pattern is a list that does not go with the layers"},
      {NULL, pattern_in_words, ETK_E_FORMAT, "llama.attention.sliding_window_pattern is string"},
      {NULL, countless_layers, ETK_E_FORMAT, "2147483647"},
      {NULL, large, ETK_E_FORMAT, "beyond any real model"},
      {NULL, half_a_block, ETK_E_FORMAT, "llama.block_count is 1.5"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_weights *w;
    etk_model_config config;
    works(etk_weights_open(e, &w, mini(state, cases[i].skip, cases[i].change)));
    if (cases[i].status) {
      fails_with(cases[i].status, cases[i].part, etk__config_from_gguf(e, &config, w));
      fails_with(cases[i].status, "mini.gguf", etk__config_from_gguf(e, &config, w));
    } else works(etk__config_from_gguf(e, &config, w));
    etk_weights_close(w);
  }
}

static void a_tensor_that_does_not_go_with_the_keys_is_one_clear_error(void **state) {
  static const char q[] = "model.layers.0.self_attn.q_proj.weight", k[] = "model.layers.0.self_attn.k_proj.weight",
      up[] = "model.layers.0.block_sparse_moe.experts.2.w3.weight";
  static const struct {
    const char *skip;
    tamper *change;
    const char *tensor;
    etk_status status;
    const char *part;
  } cases[] = {
      {NULL, NULL, q, ETK_OK, ""},
      {NULL, NULL, k, ETK_OK, ""},
      {NULL, NULL, up, ETK_OK, ""},
      {NULL, equal_heads_by_layer, q, ETK_OK, ""},
      {NULL, four_heads, q, ETK_E_FORMAT, "blk.0.attn_q.weight has the shape (8, 8); 4 heads of 4 are wanted"},
      {NULL, four_heads, k, ETK_E_FORMAT, "blk.0.attn_k.weight has the shape (4, 8); 4 heads of 4 are wanted"},
      {NULL, odd_heads, q, ETK_E_FORMAT, "2 heads of 3 are wanted"},
      {NULL, no_heads, q, ETK_E_FORMAT, "wanted llama.attention.head_count"},
      {NULL, heads_by_layer, q, ETK_E_FORMAT, "wanted llama.attention.head_count"},
      {NULL, negative_heads, q, ETK_E_FORMAT, "wanted llama.attention.head_count"},
      {NULL, countless_heads, q, ETK_E_FORMAT, "attn_q.weight"},
      {"attention.head_count", NULL, q, ETK_E_FORMAT, "wanted llama.attention.head_count"},
      {NULL, countless_experts, up, ETK_E_FORMAT, "(3, 4, 8); (experts, rows, columns) with 2147483647 experts is wanted"},
      {"expert_count", NULL, up, ETK_E_FORMAT, "with 0 experts is wanted"},
      {NULL, NULL, "model.layers.0.block_sparse_moe.experts.3.w3.weight", ETK_E_NOT_FOUND, "holds 3 experts; expert 3 is wanted"},
      {NULL, NULL, "model.layers.0.block_sparse_moe.experts.0.w2.weight", ETK_E_FORMAT, "(12, 8); (experts, rows, columns) with 3"},
      {NULL, NULL, "model.layers.0.block_sparse_moe.experts.0.w1.weight", ETK_E_NOT_FOUND, "has no tensor model.layers.0.block_sparse_moe.experts.0.w1.weight"},
      {NULL, NULL, "model.layers.1.self_attn.q_proj.weight", ETK_E_NOT_FOUND, "has no tensor"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_weights *w;
    etk_tensor *tensor;
    works(etk_weights_open(e, &w, mini(state, cases[i].skip, cases[i].change)));
    if (cases[i].status) {
      fails_with(cases[i].status, cases[i].part, etk_weights_tensor(e, &tensor, w, cases[i].tensor, NULL));
      assert_null(tensor);
    } else works(etk_weights_tensor(e, &tensor, w, cases[i].tensor, NULL));
    etk_tensor_unref(tensor);
    for (etk_weights_item item = {0}; etk_weights_next(w, &item);) assert_non_null(item.name);
    etk_weights_close(w);
  }
}

static void countless_experts_of_nothing_take_no_memory(void **state) {
  enum { EXPERTS = 4096, LAYERS = 20 };
  static const float values[EXPERTS];
  char *path = path_of("%s/countless.gguf", (char *)*state);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_gguf_set_text(writer, "general.architecture", "llama");
  etk_gguf_set_int(writer, "llama.expert_count", ETK_GGUF_U32, EXPERTS);
  for (int i = 0; i < LAYERS; i++)
    etk_gguf_add(writer, path_of("blk.%d.ffn_up_exps.weight", i), (etk_type)ETK_F32, etk_shape_of(3, EXPERTS, 1, 1), values, NULL, NULL);
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  etk_weights *w;
  works(etk_weights_open(e, &w, path));
  int listed = 0;
  for (etk_weights_item item = {0}; etk_weights_next(w, &item);) listed++;
  assert_int_equal(listed, LAYERS);
  etk_tensor *tensor;
  works(etk_weights_tensor(e, &tensor, w, "model.layers.3.block_sparse_moe.experts.4095.w3.weight", NULL)); /* it is there all the same */
  etk_tensor_unref(tensor);
  etk_weights_close(w);
}

/* ---- Llama 3's factors, as other writers store them ---- */

/* The published rule, in single precision as llama.cpp's converter computes it. */
static void put_factors(float *out, int count, float theta, float factor, float low, float high, float positions) {
  for (int i = 0; i < count; i++) {
    float frequency = 1 / powf(theta, (float)(2 * i) / (float)(2 * count)), wavelength = 2 * 3.14159265f / frequency;
    float smooth = (positions / wavelength - low) / (high - low);
    out[i] = wavelength < positions / high ? 1 : wavelength > positions / low ? factor : 1 / ((1 - smooth) / factor + smooth);
  }
}

static void llama_3s_rule_is_found_in_its_factors(void **state) {
  static const struct {
    int dims;
    float factor, low, high;
    double positions; /* 0: the key is not written, as by llama.cpp's converter */
    bool alone;       /* one pair or none lies between the ends: other ends give the same factors */
  } cases[] = {{128, 8, 1, 4, 0, false}, {64, 32, 1, 4, 0, false}, {128, 16, 1, 2, 0, false}, {64, 8, 2, 8, 0, false}, {128, 8, 1, 4, 4096, false},
               {64, 8, 1.5f, 2, 0, true}, {64, 8, 1, 1.25f, 0, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static float factors[64], row[128];
    char *path = path_of("%s/llama3.gguf", (char *)*state);
    etk_gguf_writer *writer = etk_gguf_writer_new();
    put_factors(factors, cases[i].dims / 2, 500000, cases[i].factor, cases[i].low, cases[i].high, cases[i].positions > 0 ? (float)cases[i].positions : 8192);
    etk_gguf_set_text(writer, "general.architecture", "llama");
    for (size_t k = 0; k < 6; k++)
      etk_gguf_set_int(writer, path_of("llama.%s", mini_keys[k].key), ETK_GGUF_U32, k == 2 ? cases[i].dims : k == 4 ? 1 : mini_keys[k].value);
    etk_gguf_set_real(writer, "llama.attention.layer_norm_rms_epsilon", ETK_GGUF_F32, 1e-5);
    etk_gguf_set_real(writer, "llama.rope.freq_base", ETK_GGUF_F32, 500000);
    if (cases[i].positions > 0) etk_gguf_set_int(writer, "llama.rope.scaling.original_context_length", ETK_GGUF_U32, (int64_t)cases[i].positions);
    etk_gguf_add(writer, "rope_freqs.weight", (etk_type)ETK_F32, etk_shape_of(1, cases[i].dims / 2), factors, NULL, NULL);
    etk_gguf_add(writer, "token_embd.weight", (etk_type)ETK_F32, etk_shape_of(2, 1, cases[i].dims), row, NULL, NULL);
    works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
    etk_gguf_writer_free(writer);
    etk_weights *w;
    etk_model_config c;
    works(etk_weights_open(e, &w, path));
    works(etk__config_from_gguf(e, &c, w));
    assert_int_equal(c.rope_scaling, ETK_ROPE_LLAMA3);
    /* the factors have 24 bits; the two that the rule is solved from may lie close to each other */
    assert_true(fabs(c.rope_factor / (double)cases[i].factor - 1) < 1e-3);
    if (!cases[i].alone && (fabs(c.rope_low_freq_factor / (double)cases[i].low - 1) > 2e-3 || fabs(c.rope_high_freq_factor / (double)cases[i].high - 1) > 2e-3))
      fail_msg("from %g to %g, was from %g to %g", c.rope_low_freq_factor, c.rope_high_freq_factor, (double)cases[i].low, (double)cases[i].high);
    const char *name;
    int64_t count;
    float again[64];
    assert_true(etk__config_gguf_factors(&c, 0, &name, &count, again));
    for (int64_t k = 0; k < count; k++) assert_true(fabsf(again[k] / factors[k] - 1) < 1e-3f);
    size_t listed = 0;
    for (etk_weights_item item = {0}; etk_weights_next(w, &item); listed++) assert_string_not_equal(item.name, "rope_freqs.weight");
    assert_int_equal(listed, 1);
    etk_weights_close(w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_configuration_that_is_not_right_is_one_clear_error),
      cmocka_unit_test(a_tensor_that_does_not_go_with_the_keys_is_one_clear_error),
      cmocka_unit_test(countless_experts_of_nothing_take_no_memory),
      cmocka_unit_test(llama_3s_rule_is_found_in_its_factors),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
