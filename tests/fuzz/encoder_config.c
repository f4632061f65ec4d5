/* Fuzz target: config.json of an encoder, and the same bytes as preprocessor_config.json. What parses must be within the bounds that the rest of the code relies
 * on. */
#include <etk/encoder.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(bool fact) {
  if (!fact) __builtin_trap();
}

static void check_tower(const etk_encoder_tower *t) {
  const int64_t sizes[] = {t->hidden_size, t->intermediate_size, t->num_hidden_layers, t->num_attention_heads, t->positions};
  int64_t elements;
  if (!t->hidden_size) return;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    hold(sizes[i] >= 1 && !__builtin_mul_overflow(sizes[i], t->hidden_size, &elements) && elements <= (int64_t)1 << 40);
  hold(t->hidden_size % t->num_attention_heads == 0 && t->num_hidden_layers <= 1024 && t->layer_norm_eps > 0 && t->layer_norm_eps <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_encoder_config c;
  etk_image_rules r;
  etk_error e = ETK_ERROR_INIT;
  if (etk_image_rules_parse(&e, &r, "preprocessor_config.json", (const char *)data, size, 224)) hold(e.message[0] && e.status);
  else
    hold(r.rescale > 0 && r.std[0] > 0 && r.std[1] > 0 && r.std[2] > 0 &&
         (r.resample == ETK_RESAMPLE_BILINEAR || r.resample == ETK_RESAMPLE_BICUBIC));
  etk_error_clear(&e);
  if (etk_encoder_config_parse(&e, &c, "config.json", (const char *)data, size)) {
    hold(e.message[0] && e.status);
    return 0;
  }
  hold(c.text.hidden_size || c.image.hidden_size);
  check_tower(&c.text);
  check_tower(&c.image);
  if (c.text.hidden_size)
    hold(c.vocab_size >= 1 && c.max_tokens >= 1 && c.first_position + c.max_tokens <= c.text.positions && c.end_token_id < c.vocab_size);
  if (c.image.hidden_size)
    hold(c.image_size % c.patch_size == 0 && c.image.positions == c.image_size / c.patch_size * (c.image_size / c.patch_size) + 1);
  return 0;
}
