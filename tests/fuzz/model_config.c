/* Fuzz target: config.json of a model. What parses must be within the bounds that the rest of the code relies on. */
#include <etk/model.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(bool fact) {
  if (!fact) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_model_config c;
  etk_error e = ETK_ERROR_INIT;
  if (etk_model_config_parse(&e, &c, "config.json", (const char *)data, size)) {
    hold(e.message[0] && e.status);
    return 0;
  }
  const int64_t positive[] = {c.vocab_size, c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.max_position_embeddings};
  for (size_t i = 0; i < sizeof positive / sizeof *positive; i++) hold(positive[i] >= 1 && positive[i] <= INT32_MAX);
  bool learned = !strcmp(c.architecture, "gpt2"); /* positions: nothing turns */
  int64_t turning = c.rotary_dims ? c.rotary_dims : c.head_dim;
  hold(c.num_attention_heads % c.num_key_value_heads == 0 && (learned || (turning % 2 == 0 && turning <= c.head_dim)));
  int64_t elements;
  hold(!__builtin_mul_overflow(c.vocab_size, c.hidden_size, &elements) && elements <= (int64_t)1 << 40);
  hold(!__builtin_mul_overflow(c.num_attention_heads * c.head_dim, c.hidden_size, &elements) && elements <= (int64_t)1 << 40);
  hold(c.rms_norm_eps > 0 && c.rope_theta > 0 && c.eos_count >= 0 && c.eos_count <= 8);
  hold(c.rope_scaling == ETK_ROPE_PLAIN || c.rope_factor > 0);
  for (int64_t i = 0; i < turning / 2 && c.rope_scaling == ETK_ROPE_LONGROPE; i++) hold(i < ETK_MODEL_PAIRS && c.rope_short_factors[i] > 0 && c.rope_long_factors[i] > 0);
  hold(c.sliding_window >= 0 && c.attn_logit_softcapping >= 0 && c.final_logit_softcapping >= 0 && c.rope_local_theta >= 0);
  for (int i = 0; i < ETK_MODEL_LAYERS; i++) hold(!c.layer_flags[i] || i < c.num_hidden_layers); /* what is not there has nothing of its own */
  return 0;
}
