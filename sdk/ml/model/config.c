/* config.json of a Hugging Face folder, both the spelling of transformers 4 and of 5. */
#include "internal.h"
#include "ml/format/json.h"

#include <jansson.h>
#include <math.h>

struct integer_key {
  const char *key, *gpt2; /* the name with most families; with GPT-2, NULL: it has no such key */
  size_t offset;
  bool required;
};
#define FIELD(name) offsetof(etk_model_config, name)
static const struct integer_key integer_keys[] = {
    {"vocab_size", "vocab_size", FIELD(vocab_size), true},
    {"hidden_size", "n_embd", FIELD(hidden_size), true},
    {"intermediate_size", "n_inner", FIELD(intermediate_size), true}, /* GPT-2: null means four times n_embd */
    {"num_hidden_layers", "n_layer", FIELD(num_hidden_layers), true},
    {"num_attention_heads", "n_head", FIELD(num_attention_heads), true},
    {"num_key_value_heads", NULL, FIELD(num_key_value_heads), false},
    {"head_dim", NULL, FIELD(head_dim), false},
    {"max_position_embeddings", "n_positions", FIELD(max_position_embeddings), false},
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
static const char *const unsupported_keys[] = {"attn_logit_softcapping", "final_logit_softcapping", "num_local_experts", "num_experts",
                                               "quantization_config",    "quantization",            "logit_scale",           "add_cross_attention",
                                               "embedding_multiplier",   "residual_multiplier",     "attention_multiplier",  "use_sliding_window",
                                               "scale_attn_by_inverse_layer_idx"};
static const struct {
  const char *name;
  etk_activation activation;
} activations[] = {{"silu", ETK_ACTIVATION_SILU}, {"swish", ETK_ACTIVATION_SILU}, {"gelu", ETK_ACTIVATION_GELU}, {"gelu_pytorch_tanh", ETK_ACTIVATION_GELU_TANH},
                   {"gelu_new", ETK_ACTIVATION_GELU_TANH}};

static etk_status wrong(etk_error *e, const char *name, const char *key, const json_t *value, const char *wanted) {
  char *seen = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  etk_status status = etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" is %.80s, wanted %s", name, key, seen ? seen : "?", wanted);
  free(seen);
  return status;
}

static etk_status read_integer(etk_error *e, const char *name, const json_t *root, const char *key, bool required, int64_t *out) {
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value)) {
    if (required) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"%s\", which a model of this type needs", name, key);
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

/* YaRN (Peng et al. 2023), with transformers' defaults. */
static etk_status read_yarn(etk_error *e, const char *name, const char *key, const json_t *rope, etk_model_config *c) {
  static const char *const others[] = {"mscale", "mscale_all_dim", "truncate"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (json_object_get(rope, others[i]) && !json_is_null(json_object_get(rope, others[i])))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has \"%s\", which would change the result and is not supported by this version", name, key, others[i]);
  c->rope_scaling = ETK_ROPE_YARN;
  c->rope_beta_fast = 32;
  c->rope_beta_slow = 1;
  etk_status status = read_number(e, name, rope, "beta_fast", &c->rope_beta_fast);
  if (!status) status = read_number(e, name, rope, "beta_slow", &c->rope_beta_slow);
  if (!status) status = read_number(e, name, rope, "attention_factor", &c->rope_attention_factor);
  if (status) return status;
  if (c->rope_factor < 1 || c->rope_beta_fast <= c->rope_beta_slow)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s of type yarn needs a \"factor\" from 1, and beta_slow < beta_fast", name, key);
  if (c->rope_attention_factor <= 0) c->rope_attention_factor = 0.1 * log(c->rope_factor) + 1;
  if (c->rope_original_positions <= 0) c->rope_original_positions = (double)c->max_position_embeddings;
  return ETK_OK;
}

static bool is_neox(const struct family *family) { return family->layer_norm && !family->conv1d; }

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
  if (!strcmp(kind, "yarn")) return read_yarn(e, name, key, rope, c);
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has type \"%.40s\"; this version knows default, linear, llama3 and yarn", name, key, kind);
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

/* NeoX: use_parallel_residual and the part of each head that turns, of which transformers keeps int(head_dim * part). */
static etk_status read_rotary(etk_error *e, const char *name, const json_t *root, etk_model_config *c, const struct family *family) {
  const json_t *rope = json_object_get(root, "rope_parameters"), *parallel = json_object_get(root, "use_parallel_residual");
  double part = is_neox(family) ? 0.25 : 1;
  etk_status status = ETK_OK;
  if (is_neox(family)) status = read_number(e, name, root, "rotary_pct", &part);
  if (!status) status = read_number(e, name, root, "partial_rotary_factor", &part);
  if (!status && json_is_object(rope)) status = read_number(e, name, rope, "partial_rotary_factor", &part);
  if (status) return status;
  if (!is_neox(family)) {
    if (part == 1) return ETK_OK;
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"partial_rotary_factor\" is %g, which would change the result and is not supported for %s by this version", name, part,
                    family->model_type);
  }
  if (c->rope_scaling == ETK_ROPE_YARN)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: rope scaling of type yarn is not supported for %s by this version", name, family->model_type);
  c->sequential_residual = json_is_false(parallel);
  c->rotary_dims = (int64_t)((double)c->head_dim * (part < 1 ? part : 1));
  if (part > 1 || c->rotary_dims < 2 || c->rotary_dims % 2)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"rotary_pct\" %g makes %lld of a head's %lld values turn, wanted an even number from 2", name, part, (long long)c->rotary_dims,
                    (long long)c->head_dim);
  return ETK_OK;
}

/* Only Gemma has "hidden_activation"; where that is null transformers takes the tanh form whatever "hidden_act" says. */
static etk_status read_activation(etk_error *e, const char *name, const json_t *root, etk_model_config *c, const struct family *family) {
  bool gelu = family->activation != ETK_ACTIVATION_SILU;
  const char *key = etk__family_activation_key(family);
  const json_t *value = json_object_get(root, key);
  if (!value || (!strcmp(key, "hidden_activation") && json_is_null(value))) return ETK_OK;
  for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
    if (json_is_string(value) && !strcmp(json_string_value(value), activations[i].name) && gelu == (activations[i].activation != ETK_ACTIVATION_SILU)) {
      c->activation = activations[i].activation;
      return ETK_OK;
    }
  return wrong(e, name, key, value, gelu ? "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"" : "\"silu\"");
}

/* What only some families have: the window, and layers of several kinds. */
static etk_status read_own(etk_error *e, const char *name, const json_t *root, etk_model_config *c, const struct family *family) {
  const json_t *window = json_object_get(root, "sliding_window"), *types = json_object_get(root, "layer_types");
  bool unused = json_is_false(json_object_get(root, "use_sliding_window")) || (family->qkv_bias && !json_object_get(root, "use_sliding_window"));
  if (family->sliding_window >= 0) {
    c->sliding_window = window ? 0 : family->sliding_window; /* null: no window */
    etk_status status = read_integer(e, name, root, "sliding_window", false, &c->sliding_window);
    if (status) return status;
  } else if (window && !json_is_null(window) && !json_is_false(window) && !unused)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"sliding_window\" is set, which would change the result and is not supported for %s by this version", name, family->model_type);
  if (family->qkv_bias || family->conv1d) c->attention_bias = true;
  if (family->conv1d && json_is_false(json_object_get(root, "scale_attn_weights")))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"scale_attn_weights\" is false, which would change the result and is not supported by this version", name);
  size_t i;
  json_t *item;
  json_array_foreach(types, i, item) {
    const char *kind = family->sliding_window >= 0 && c->sliding_window ? "sliding_attention" : "full_attention";
    if (!json_is_string(item) || strcmp(json_string_value(item), kind))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"layer_types\" has layers other than %s, which this version does not support", name, kind);
  }
  return ETK_OK;
}

/* transformers writes GPT-2's own 50256 for models of smaller vocabularies too: there it means that the model has no such token. */
static void forget_default_ids(etk_model_config *c) {
  enum { END_OF_TEXT = 50256 };
  if (c->vocab_size > END_OF_TEXT) return;
  if (c->bos_token_id == END_OF_TEXT) c->bos_token_id = -1;
  if (c->eos_count == 1 && c->eos_token_ids[0] == END_OF_TEXT) c->eos_count = 0, c->eos_token_ids[0] = 0;
}

static etk_status read_experts(etk_error *e, const char *name, const json_t *root, etk_model_config *c, const struct family *family) {
  if (!family->expert_rows) return ETK_OK;
  etk_status status = read_integer(e, name, root, family->experts_key, true, &c->num_experts);
  if (!status) status = read_integer(e, name, root, "num_experts_per_tok", true, &c->num_experts_per_tok);
  c->norm_topk_prob = true;
  c->moe_intermediate_size = c->intermediate_size;
  if (status || !family->shared_expert) return status;
  status = read_integer(e, name, root, "moe_intermediate_size", true, &c->moe_intermediate_size);
  if (!status) status = read_integer(e, name, root, "shared_expert_intermediate_size", true, &c->shared_expert_intermediate_size);
  const json_t *step = json_object_get(root, "decoder_sparse_step"), *dense = json_object_get(root, "mlp_only_layers"), *sum = json_object_get(root, "norm_topk_prob");
  if (status) return status;
  if ((step && json_integer_value(step) != 1) || json_array_size(dense))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"decoder_sparse_step\" or \"mlp_only_layers\" asks for layers without experts, which this version does not support", name);
  if (sum && !json_is_boolean(sum)) return wrong(e, name, "norm_topk_prob", sum, "true or false");
  c->norm_topk_prob = json_is_true(sum);
  return ETK_OK;
}

static etk_status read_config(etk_error *e, etk_model_config *c, const char *name, const json_t *root) {
  const json_t *type = json_object_get(root, "model_type");
  if (!json_is_string(type)) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"model_type\"; is this a Hugging Face model folder?", name);
  const struct family *family = etk__family_find(json_string_value(type));
  if (!family) {
    char names[256];
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: model_type \"%.40s\" is not supported by this version, which runs %s", name, json_string_value(type),
                    etk__family_names(names, sizeof names));
  }
  snprintf(c->architecture, sizeof c->architecture, "%s", family->model_type);
  c->tie_word_embeddings = family->tied;
  c->activation = family->activation;
  c->attention_bias = family->layer_norm;
  if (family->rope_theta > 0) c->rope_theta = family->rope_theta;
  if (family->epsilon > 0) c->rms_norm_eps = family->epsilon;
  if (family->layer_norm) c->rms_norm_eps = 1e-5;
  if (family->conv1d) c->max_position_embeddings = 1024;
  for (size_t i = 0; i < sizeof integer_keys / sizeof *integer_keys; i++) {
    const char *key = family->conv1d ? integer_keys[i].gpt2 : integer_keys[i].key;
    if (!key) continue;
    etk_status status = read_integer(e, name, root, key, integer_keys[i].required && strcmp(key, "n_inner"), (int64_t *)((char *)c + integer_keys[i].offset));
    if (status) return status;
  }
  for (size_t i = 0; i < sizeof flag_keys / sizeof *flag_keys; i++) {
    const json_t *value = json_object_get(root, flag_keys[i].key);
    if (value && !json_is_boolean(value) && !json_is_null(value)) return wrong(e, name, flag_keys[i].key, value, "true or false");
    if (json_is_boolean(value)) *(bool *)((char *)c + flag_keys[i].offset) = json_is_true(value);
  }
  for (size_t i = 0; i < sizeof unsupported_keys / sizeof *unsupported_keys; i++) {
    const json_t *value = json_object_get(root, unsupported_keys[i]);
    if (family->experts_key && !strcmp(unsupported_keys[i], family->experts_key)) continue;
    if (value && !json_is_null(value) && !json_is_false(value))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"%s\" is set, which would change the result and is not supported by this version", name, unsupported_keys[i]);
  }
  etk_status status = read_own(e, name, root, c, family);
  if (!status) status = read_experts(e, name, root, c, family);
  if (!status) status = read_activation(e, name, root, c, family);
  if (!status) status = read_number(e, name, root, etk__family_norm_key(family), &c->rms_norm_eps);
  if (!status) status = read_number(e, name, root, is_neox(family) ? "rotary_emb_base" : "rope_theta", &c->rope_theta);
  if (!status) status = read_rope(e, name, root, c);
  if (!status) status = read_tokens(e, name, root, c);
  if (family->conv1d && !status) forget_default_ids(c);
  for (int i = 0; i < c->eos_count && !status; i++)
    if (c->eos_token_ids[i] < 0 || c->eos_token_ids[i] >= c->vocab_size)
      status = etk_fail(e, ETK_E_FORMAT, "%s: eos_token_id %d is outside the vocabulary of %lld tokens", name, c->eos_token_ids[i], (long long)c->vocab_size);
  if (status) return status;
  if (!c->intermediate_size) c->intermediate_size = 4 * c->hidden_size;
  if (!c->num_key_value_heads || family->layer_norm) c->num_key_value_heads = c->num_attention_heads;
  if (!c->head_dim) c->head_dim = family->head_dim;
  if (!c->head_dim) {
    if (c->hidden_size % c->num_attention_heads)
      return etk_fail(e, ETK_E_FORMAT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", name, (long long)c->hidden_size,
                      (long long)c->num_attention_heads);
    c->head_dim = c->hidden_size / c->num_attention_heads;
  }
  status = read_rotary(e, name, root, c, family);
  return status ? status : etk__model_config_check(e, c, name);
}

etk_status etk__model_config_check(etk_error *e, const etk_model_config *c, const char *name) {
  if (!etk__family_find(c->architecture)) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: architecture \"%.31s\" is not known to this version", name, c->architecture);
  if (c->num_attention_heads % c->num_key_value_heads)
    return etk_fail(e, ETK_E_FORMAT, "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld", name, (long long)c->num_attention_heads,
                    (long long)c->num_key_value_heads);
  if (c->head_dim % 2 && !c->rotary_dims && !etk__family_find(c->architecture)->conv1d) return etk_fail(e, ETK_E_FORMAT, "%s: head_dim %lld is odd; rotary embeddings need pairs", name, (long long)c->head_dim);
  /* A bound on every product that follows, so that none overflows: 2^40 elements is far above any real model's layer. */
  const int64_t sizes[] = {c->vocab_size, c->intermediate_size, c->num_attention_heads * c->head_dim, c->max_position_embeddings,
                           c->moe_intermediate_size, c->shared_expert_intermediate_size};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (c->num_attention_heads > 1 << 20 || c->head_dim > 1 << 20 || sizes[i] > ((int64_t)1 << 40) / c->hidden_size)
      return etk_fail(e, ETK_E_FORMAT, "%s: a weight of %lld x %lld is beyond any real model; the file is damaged", name, (long long)sizes[i], (long long)c->hidden_size);
  bool yarn = c->rope_factor >= 1 && c->rope_beta_fast > c->rope_beta_slow && c->rope_beta_slow > 0 && c->rope_attention_factor > 0 && c->rope_original_positions > 0;
  if (c->rope_scaling == ETK_ROPE_YARN && !yarn)
    return etk_fail(e, ETK_E_FORMAT, "%s: rope scaling of type yarn wants factor from 1, beta_fast above beta_slow above 0, attention_factor and original positions above 0", name);
  if (etk__family_find(c->architecture)->expert_rows && (c->num_experts < 1 || c->num_experts > 4096 || c->num_experts_per_tok < 1 || c->num_experts_per_tok > c->num_experts))
    return etk_fail(e, ETK_E_FORMAT, "%s: %lld experts, %lld a token: wanted 1 to 4096, and at most as many a token", name, (long long)c->num_experts,
                    (long long)c->num_experts_per_tok);
  if (c->num_experts > 0 && c->num_hidden_layers > (1 << 20) / c->num_experts)
    return etk_fail(e, ETK_E_FORMAT, "%s: %lld layers of %lld experts are beyond any real model; the file is damaged", name, (long long)c->num_hidden_layers, (long long)c->num_experts);
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
/* YaRN: 0 for pairs that turn often within the original context, which stay; 1 for slow ones, which are stretched by `factor`. */
static double yarn_ramp(const etk_model_config *c, int64_t dims, int64_t pair) {
  double scale = (double)dims / (2 * log(c->rope_theta)), turns = c->rope_original_positions / (2 * 3.14159265358979323846);
  double low = fmax(floor(scale * log(turns / c->rope_beta_fast)), 0), high = fmin(ceil(scale * log(turns / c->rope_beta_slow)), (double)(dims - 1));
  if (low == high) high += 0.001;
  return fmin(fmax(((double)pair - low) / (high - low), 0), 1);
}

void etk__rope_frequencies(float *out, const etk_model_config *c) {
  int64_t dims = etk__rotary_dims(c), half = dims / 2;
  for (int64_t i = 0; i < half; i++) {
    double f = 1.0 / (double)(float)pow(c->rope_theta, 2.0 * (double)i / (double)dims);
    if (c->rope_scaling == ETK_ROPE_LINEAR) f /= c->rope_factor;
    if (c->rope_scaling == ETK_ROPE_YARN) {
      double ramp = yarn_ramp(c, dims, i);
      f = f / c->rope_factor * ramp + f * (1 - ramp);
    }
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
