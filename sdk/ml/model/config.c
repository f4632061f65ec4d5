/* config.json of a Hugging Face folder, both the spelling of transformers 4 and of 5. */
#include "internal.h"
#include "ml/format/json.h"

#include <jansson.h>
#include <math.h>

struct integer_key {
  const char *key;
  size_t offset;
  bool required;
};
#define FIELD(name) offsetof(etk_model_config, name)
static const struct integer_key integer_keys[] = {
    {"vocab_size", FIELD(vocab_size), true},
    {"hidden_size", FIELD(hidden_size), true},
    {"intermediate_size", FIELD(intermediate_size), true},
    {"num_hidden_layers", FIELD(num_hidden_layers), true},
    {"num_attention_heads", FIELD(num_attention_heads), true},
    {"num_key_value_heads", FIELD(num_key_value_heads), false},
    {"head_dim", FIELD(head_dim), false},
    {"max_position_embeddings", FIELD(max_position_embeddings), false},
};
static const struct {
  const char *key;
  size_t offset;
} flag_keys[] = {
    {"attention_bias", FIELD(attention_bias)},
    {"mlp_bias", FIELD(mlp_bias)},
    {"tie_word_embeddings", FIELD(tie_word_embeddings)},
};
/* Keys of other architectures or of compressed weights: where they are set, the result would differ from what we compute. */
static const char *const unsupported_keys[] = {"sliding_window", "attn_logit_softcapping", "final_logit_softcapping", "num_local_experts",
                                               "num_experts",    "quantization_config",    "quantization",            "partial_rotary_factor",
                                               "logit_scale",    "embedding_multiplier",   "residual_multiplier",     "attention_multiplier"};

static etk_status wrong(etk_error *e, const char *name, const char *key, const json_t *value, const char *wanted) {
  char *seen = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  etk_status status = etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" is %.80s, wanted %s", name, key, seen ? seen : "?", wanted);
  free(seen);
  return status;
}

static etk_status read_integer(etk_error *e, const char *name, const json_t *root, const char *key, bool required, int64_t *out) {
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value)) {
    if (required) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"%s\", which a llama model needs", name, key);
    return ETK_OK;
  }
  if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT32_MAX)
    return wrong(e, name, key, value, "a whole number from 1 to 2^31 - 1");
  *out = json_integer_value(value);
  return ETK_OK;
}

static etk_status read_number(etk_error *e, const char *name, const json_t *root, const char *key, double *out) {
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value)) return ETK_OK;
  if (!json_is_number(value) || !isfinite(json_number_value(value)) || json_number_value(value) <= 0) return wrong(e, name, key, value, "a number above 0");
  *out = json_number_value(value);
  return ETK_OK;
}

static etk_status read_rope(etk_error *e, const char *name, const json_t *root, etk_model_config *c) {
  const json_t *rope = json_object_get(root, "rope_parameters");
  const char *key = rope ? "rope_parameters" : "rope_scaling";
  if (!rope) rope = json_object_get(root, "rope_scaling");
  if (!rope || json_is_null(rope)) return ETK_OK;
  if (!json_is_object(rope)) return wrong(e, name, key, rope, "an object or null");
  const json_t *type = json_object_get(rope, "rope_type");
  if (!type) type = json_object_get(rope, "type");
  const char *kind = json_is_string(type) ? json_string_value(type) : "default";
  etk_status status = read_number(e, name, rope, "rope_theta", &c->rope_theta);
  if (!status) status = read_number(e, name, rope, "factor", &c->rope_factor);
  if (!status) status = read_number(e, name, rope, "low_freq_factor", &c->rope_low_freq_factor);
  if (!status) status = read_number(e, name, rope, "high_freq_factor", &c->rope_high_freq_factor);
  if (!status) status = read_number(e, name, rope, "original_max_position_embeddings", &c->rope_original_positions);
  if (status) return status;
  if (!strcmp(kind, "default")) return ETK_OK;
  if (!strcmp(kind, "linear")) {
    c->rope_scaling = ETK_ROPE_LINEAR;
    if (c->rope_factor == 0) return etk_fail(e, ETK_E_FORMAT, "%s: %s of type linear has no \"factor\"", name, key);
    return ETK_OK;
  }
  if (!strcmp(kind, "llama3")) {
    c->rope_scaling = ETK_ROPE_LLAMA3;
    if (c->rope_factor == 0 || c->rope_low_freq_factor == 0 || c->rope_high_freq_factor == 0 || c->rope_original_positions == 0 ||
        c->rope_high_freq_factor <= c->rope_low_freq_factor)
      return etk_fail(e, ETK_E_FORMAT, "%s: %s of type llama3 needs factor, low_freq_factor < high_freq_factor and original_max_position_embeddings", name, key);
    return ETK_OK;
  }
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has type \"%.40s\"; this version knows default, linear and llama3", name, key, kind);
}

static bool is_token(const json_t *value) {
  return json_is_integer(value) && json_integer_value(value) >= -1 && json_integer_value(value) <= INT32_MAX;
}

static etk_status read_tokens(etk_error *e, const char *name, const json_t *root, etk_model_config *c) {
  const json_t *bos = json_object_get(root, "bos_token_id");
  if (json_is_integer(bos) && !is_token(bos)) return wrong(e, name, "bos_token_id", bos, "a token id");
  c->bos_token_id = json_is_integer(bos) ? (int32_t)json_integer_value(bos) : -1;
  const json_t *eos = json_object_get(root, "eos_token_id");
  if (is_token(eos)) c->eos_token_ids[c->eos_count++] = (int32_t)json_integer_value(eos);
  else if (json_is_array(eos)) {
    size_t i;
    json_t *item;
    json_array_foreach(eos, i, item) {
      if (!is_token(item) || c->eos_count == 8) return wrong(e, name, "eos_token_id", eos, "a token id or a list of at most 8");
      c->eos_token_ids[c->eos_count++] = (int32_t)json_integer_value(item);
    }
  } else if (eos && !json_is_null(eos)) return wrong(e, name, "eos_token_id", eos, "a token id or a list of them");
  return ETK_OK;
}

static etk_status read_config(etk_error *e, etk_model_config *c, const char *name, const json_t *root) {
  const json_t *type = json_object_get(root, "model_type");
  if (!json_is_string(type)) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"model_type\"; is this a Hugging Face model folder?", name);
  if (strcmp(json_string_value(type), "llama"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: model_type \"%.40s\" is not supported by this version, which runs \"llama\"", name, json_string_value(type));
  snprintf(c->architecture, sizeof c->architecture, "llama");
  for (size_t i = 0; i < sizeof integer_keys / sizeof *integer_keys; i++) {
    etk_status status = read_integer(e, name, root, integer_keys[i].key, integer_keys[i].required, (int64_t *)((char *)c + integer_keys[i].offset));
    if (status) return status;
  }
  for (size_t i = 0; i < sizeof flag_keys / sizeof *flag_keys; i++) {
    const json_t *value = json_object_get(root, flag_keys[i].key);
    if (value && !json_is_boolean(value) && !json_is_null(value)) return wrong(e, name, flag_keys[i].key, value, "true or false");
    *(bool *)((char *)c + flag_keys[i].offset) = json_is_true(value);
  }
  for (size_t i = 0; i < sizeof unsupported_keys / sizeof *unsupported_keys; i++) {
    const json_t *value = json_object_get(root, unsupported_keys[i]);
    if (value && !json_is_null(value) && !json_is_false(value))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"%s\" is set, which would change the result and is not supported by this version", name, unsupported_keys[i]);
  }
  const json_t *activation = json_object_get(root, "hidden_act");
  if (activation && !(json_is_string(activation) && (!strcmp(json_string_value(activation), "silu") || !strcmp(json_string_value(activation), "swish"))))
    return wrong(e, name, "hidden_act", activation, "\"silu\"");
  etk_status status = read_number(e, name, root, "rms_norm_eps", &c->rms_norm_eps);
  if (!status) status = read_number(e, name, root, "rope_theta", &c->rope_theta);
  if (!status) status = read_rope(e, name, root, c);
  if (!status) status = read_tokens(e, name, root, c);
  for (int i = 0; i < c->eos_count && !status; i++)
    if (c->eos_token_ids[i] < 0 || c->eos_token_ids[i] >= c->vocab_size)
      status = etk_fail(e, ETK_E_FORMAT, "%s: eos_token_id %d is outside the vocabulary of %lld tokens", name, c->eos_token_ids[i], (long long)c->vocab_size);
  if (status) return status;
  if (!c->num_key_value_heads) c->num_key_value_heads = c->num_attention_heads;
  if (!c->head_dim) {
    if (c->hidden_size % c->num_attention_heads)
      return etk_fail(e, ETK_E_FORMAT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", name, (long long)c->hidden_size,
                      (long long)c->num_attention_heads);
    c->head_dim = c->hidden_size / c->num_attention_heads;
  }
  return etk__model_config_check(e, c, name);
}

etk_status etk__model_config_check(etk_error *e, const etk_model_config *c, const char *name) {
  if (c->num_attention_heads % c->num_key_value_heads)
    return etk_fail(e, ETK_E_FORMAT, "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld", name, (long long)c->num_attention_heads,
                    (long long)c->num_key_value_heads);
  if (c->head_dim % 2) return etk_fail(e, ETK_E_FORMAT, "%s: head_dim %lld is odd; rotary embeddings need pairs", name, (long long)c->head_dim);
  /* A bound on every product that follows, so that none overflows: 2^40 elements is far above any real model's layer. */
  const int64_t sizes[] = {c->vocab_size, c->intermediate_size, c->num_attention_heads * c->head_dim};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (c->num_attention_heads > 1 << 20 || c->head_dim > 1 << 20 || sizes[i] > ((int64_t)1 << 40) / c->hidden_size)
      return etk_fail(e, ETK_E_FORMAT, "%s: a weight of %lld x %lld is beyond any real model; the file is damaged", name, (long long)sizes[i], (long long)c->hidden_size);
  if (c->num_hidden_layers > 100000) return etk_fail(e, ETK_E_FORMAT, "%s: num_hidden_layers is %lld, wanted at most 100000", name, (long long)c->num_hidden_layers);
  return ETK_OK;
}

etk_status etk_model_config_parse(etk_error *e, etk_model_config *out, const char *name, const char *bytes, size_t size) {
  *out = (etk_model_config){.rms_norm_eps = 1e-6, .rope_theta = 10000, .bos_token_id = -1, .max_position_embeddings = 2048};
  json_t *root = NULL;
  etk_status status = etk__json_parse(e, &root, name, bytes, size);
  if (status) return status;
  status = json_is_object(root) ? read_config(e, out, name, root) : etk_fail(e, ETK_E_FORMAT, "%s: wanted a JSON object", name);
  json_decref(root);
  return status;
}

/* Frequencies per pair; llama3: see formats of Llama 3.1 (wavelengths beyond the original context are stretched by `factor`, smoothly between). */
void etk__rope_frequencies(float *out, const etk_model_config *c) {
  int64_t half = c->head_dim / 2;
  for (int64_t i = 0; i < half; i++) {
    double f = 1.0 / (double)(float)pow(c->rope_theta, 2.0 * (double)i / (double)c->head_dim);
    if (c->rope_scaling == ETK_ROPE_LINEAR) f /= c->rope_factor;
    if (c->rope_scaling == ETK_ROPE_LLAMA3) {
      double wavelength = 2 * 3.14159265358979323846 / f;
      double low = c->rope_original_positions / c->rope_low_freq_factor, high = c->rope_original_positions / c->rope_high_freq_factor;
      double smooth = (c->rope_original_positions / wavelength - c->rope_low_freq_factor) / (c->rope_high_freq_factor - c->rope_low_freq_factor);
      if (wavelength > low) f /= c->rope_factor;
      else if (wavelength >= high) f = (1 - smooth) * f / c->rope_factor + smooth * f;
    }
    out[i] = (float)f;
  }
}
