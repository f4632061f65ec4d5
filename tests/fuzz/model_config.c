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
  hold(c.num_attention_heads % c.num_key_value_heads == 0 && c.head_dim % 2 == 0);
  int64_t elements;
  hold(!__builtin_mul_overflow(c.vocab_size, c.hidden_size, &elements) && elements <= (int64_t)1 << 40);
  hold(!__builtin_mul_overflow(c.num_attention_heads * c.head_dim, c.hidden_size, &elements) && elements <= (int64_t)1 << 40);
  hold(c.rms_norm_eps > 0 && c.rope_theta > 0 && c.eos_count >= 0 && c.eos_count <= 8);
  hold(c.rope_scaling == ETK_ROPE_PLAIN || c.rope_factor > 0);
  return 0;
}
