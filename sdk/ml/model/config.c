/* config.json of a Hugging Face folder, both the spelling of transformers 4 and of 5. Layers that differ are read in config_layers.c, rotary positions in
 * config_rope.c. */
#include "config.h"
#include "encoder_internal.h"
#include "quantization.h"

#include <math.h>

#define FIELD(name) offsetof(etk_model_config, name)
const struct size_key etk__config_sizes[] = {
    {"vocab_size", "vocab_size", FIELD(vocab_size), true, false},
    {"hidden_size", "n_embd", FIELD(hidden_size), true, false},
    {"intermediate_size", "n_inner", FIELD(intermediate_size), true, false}, /* GPT-2: null means four times n_embd */
    {"num_hidden_layers", "n_layer", FIELD(num_hidden_layers), true, false},
    {"num_attention_heads", "n_head", FIELD(num_attention_heads), true, false},
    {"num_key_value_heads", NULL, FIELD(num_key_value_heads), false, true},
    {"head_dim", NULL, FIELD(head_dim), false, true},
    {"max_position_embeddings", "n_positions", FIELD(max_position_embeddings), false, false},
};
const int etk__config_size_count = sizeof etk__config_sizes / sizeof *etk__config_sizes;
static const struct {
  const char *key;
  size_t offset;
} flag_keys[] = {
    {"attention_bias", FIELD(attention_bias)},
    {"mlp_bias", FIELD(mlp_bias)},
    {"tie_word_embeddings", FIELD(tie_word_embeddings)},
};

#define FAMILY(name) offsetof(struct family, name)
/* Keys of other architectures: where they are set, to more than false, the result would differ from what we compute. */
static const struct {
  const char *key;
  size_t unless;  /* of a field of the family, whose first byte tells that it has the key; 0: no family has */
} unsupported_keys[] = {
    {"attn_logit_softcapping", FAMILY(caps_scores)},
    {"final_logit_softcapping", FAMILY(caps_logits)},
    {"use_sliding_window", FAMILY(window_choice)},
    {"num_local_experts", 0},
    {"num_experts", 0},
    {"logit_scale", 0},
    {"logits_scaling", 0},
    {"embedding_multiplier", 0},
    {"residual_multiplier", 0},
    {"attention_multiplier", 0},
    {"add_cross_attention", 0},
    {"is_encoder_decoder", 0},
    {"use_bidirectional_attention", 0},
    {"use_qk_norm", FAMILY(qk_norm)},
    {"lm_head_bias", 0},
    {"alibi", 0},
    {"attention_sinks", 0},
    {"scale_attn_by_inverse_layer_idx", 0},
};

static const struct {
  const char *name;
  etk_activation activation;
} activations[] = {{"silu", ETK_ACTIVATION_SILU}, {"swish", ETK_ACTIVATION_SILU}, {"gelu", ETK_ACTIVATION_GELU},
                   {"gelu_pytorch_tanh", ETK_ACTIVATION_GELU_TANH},
                   {"gelu_new", ETK_ACTIVATION_GELU_TANH}};

/* ---- values ---- */

etk_status etk__config_refuse(const struct reader *r, const char *key, const json_t *value) {
  return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: \"%s\" is %s, which would change the result and is not supported for %s by this version", r->name, key,
                  etk__json_show(value).text, r->family->model_type);
}

/* ---- groups of keys ---- */

static bool is_token(const json_t *value) {
  return json_is_integer(value) && json_integer_value(value) >= -1 && json_integer_value(value) <= INT32_MAX;
}

/* Of a text part they stand in it or in the whole, and where neither has them they are its class's. */
static etk_status read_tokens(const struct reader *r) {
  etk_model_config *c = r->c;
  const json_t *bos = etk__config_get(r, "bos_token_id"), *eos = etk__config_get(r, "eos_token_id");
  if (!bos) bos = json_object_get(r->whole, "bos_token_id");
  if (!eos) eos = json_object_get(r->whole, "eos_token_id");
  if (json_is_integer(bos) && !is_token(bos)) return etk__config_wrong(r, "bos_token_id", bos, "a token id");
  if (bos || !c->text_part) c->bos_token_id = json_is_integer(bos) ? (int32_t)json_integer_value(bos) : -1;
  if (!eos) return ETK_OK;
  c->eos_count = 0;
  if (is_token(eos)) c->eos_token_ids[c->eos_count++] = (int32_t)json_integer_value(eos);
  else if (json_is_array(eos)) {
    size_t i;
    json_t *item;
    json_array_foreach(eos, i, item) {
      if (!is_token(item) || c->eos_count == 8) return etk__config_wrong(r, "eos_token_id", eos, "a token id or a list of at most 8");
      c->eos_token_ids[c->eos_count++] = (int32_t)json_integer_value(item);
    }
  } else if (!json_is_null(eos)) return etk__config_wrong(r, "eos_token_id", eos, "a token id or a list of them");
  return ETK_OK;
}

/* Chat models end their turns with tokens that only generation_config.json names. */
static etk_status add_end(const struct reader *r, const json_t *value) {
  etk_model_config *c = r->c;
  json_int_t id = json_integer_value(value);
  if (!is_token(value)) return etk__config_wrong(r, "eos_token_id", value, "a token id or a list of them");
  for (int i = 0; i < c->eos_count; i++)
    if (c->eos_token_ids[i] == id) return ETK_OK;
  if (id < 0 || id >= c->vocab_size) return ETK_OK; /* of another vocabulary: transformers writes its classes' defaults there */
  if (c->eos_count == 8) return etk__config_wrong(r, "eos_token_id", value, "at most 8 tokens with those of config.json");
  c->eos_token_ids[c->eos_count++] = (int32_t)id;
  return ETK_OK;
}

etk_status etk__config_add_ends(etk_error *e, etk_model_config *out, const char *name, const json_t *root) {
  struct reader r = {e, name, root, root, NULL, out};
  const json_t *eos = json_object_get(root, "eos_token_id");
  etk_status status = ETK_OK;
  if (eos && !json_is_null(eos) && !json_is_array(eos)) return add_end(&r, eos);
  for (size_t i = 0; i < json_array_size(eos) && !status; i++) status = add_end(&r, json_array_get(eos, i));
  return status;
}

/* transformers writes GPT-2's own 50256 for models of smaller vocabularies too: there it means that the model has no such token. */
static void forget_default_ids(etk_model_config *c) {
  enum { END_OF_TEXT = 50256 };
  if (c->vocab_size > END_OF_TEXT) return;
  if (c->bos_token_id == END_OF_TEXT) c->bos_token_id = -1;
  if (c->eos_count == 1 && c->eos_token_ids[0] == END_OF_TEXT) c->eos_count = 0, c->eos_token_ids[0] = 0;
}

/* Only Gemma has "hidden_activation"; where that is null transformers takes the tanh form whatever "hidden_act" says. */
static etk_status read_activation(const struct reader *r) {
  bool gelu = r->family->activation != ETK_ACTIVATION_SILU;
  const char *key = etk__family_activation_key(r->family);
  const json_t *value = etk__config_get(r, key);
  if (!value || (!strcmp(key, "hidden_activation") && json_is_null(value))) return ETK_OK;
  for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
    if (json_is_string(value) && !strcmp(json_string_value(value), activations[i].name) && gelu == (activations[i].activation != ETK_ACTIVATION_SILU)) {
      r->c->activation = activations[i].activation;
      return ETK_OK;
    }
  return etk__config_wrong(r, key, value, gelu ? "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"" : "\"silu\"");
}

static etk_status read_experts(const struct reader *r) {
  etk_model_config *c = r->c;
  if (!r->family->expert_rows) return ETK_OK;
  etk_status status = etk__config_integer(r, r->root, r->family->experts_key, true, &c->num_experts);
  if (!status) status = etk__config_integer(r, r->root, "num_experts_per_tok", true, &c->num_experts_per_tok);
  c->norm_topk_prob = true;
  c->moe_intermediate_size = c->intermediate_size;
  if (status || !r->family->shared_expert) return status;
  c->norm_topk_prob = false;
  status = etk__config_integer(r, r->root, "moe_intermediate_size", true, &c->moe_intermediate_size);
  if (!status) status = etk__config_integer(r, r->root, "shared_expert_intermediate_size", true, &c->shared_expert_intermediate_size);
  if (!status) status = etk__config_flag(r, "norm_topk_prob", &c->norm_topk_prob);
  const json_t *step = etk__config_get(r, "decoder_sparse_step"), *dense = etk__config_get(r, "mlp_only_layers"), *biases = etk__config_get(r, "qkv_bias");
  if (status) return status;
  if ((step && json_integer_value(step) != 1) || json_array_size(dense))
    return etk_fail(r->e, ETK_E_UNSUPPORTED,
                    "%s: \"decoder_sparse_step\" or \"mlp_only_layers\" asks for layers without experts, which this version does not support", r->name);
  return json_is_false(biases) ? etk__config_refuse(r, "qkv_bias", biases) : ETK_OK;
}

/* null: no cap */
static etk_status read_cap(const struct reader *r, const char *key, double otherwise, double *out) {
  *out = etk__config_get(r, key) ? 0 : otherwise;
  return etk__config_number(r, r->root, key, out);
}

static etk_status read_attention(const struct reader *r) {
  const struct family *family = r->family;
  etk_status status = ETK_OK;
  r->c->query_pre_attn_scalar = family->query_scalar;
  if (family->query_scalar > 0) status = etk__config_number(r, r->root, "query_pre_attn_scalar", &r->c->query_pre_attn_scalar);
  if (!status && family->caps_scores) status = read_cap(r, "attn_logit_softcapping", family->score_cap, &r->c->attn_logit_softcapping);
  if (!status && family->caps_logits) status = read_cap(r, "final_logit_softcapping", family->logit_cap, &r->c->final_logit_softcapping);
  if (status) return status;
  if (family->qkv_bias || family->conv1d) r->c->attention_bias = true;
  const json_t *scaled = etk__config_get(r, "scale_attn_weights"), *parallel = etk__config_get(r, "use_parallel_residual");
  if (family->conv1d && json_is_false(scaled)) return etk__config_refuse(r, "scale_attn_weights", scaled);
  r->c->sequential_residual = family->layer_norm && !family->conv1d && json_is_false(parallel);
  return ETK_OK;
}

/* Weights that a family does not have, although the configuration asks for them. */
static etk_status refuse_biases(const struct reader *r) {
  static const struct {
    const char *key;
    enum condition condition;
  } biases[] = {{"attention_bias", IF_ATTENTION_BIAS}, {"mlp_bias", IF_MLP_BIAS}};
  for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
    bool has = r->family->conv1d;
    for (int row = 0; row < r->family->layer_row_count && !has; row++) has = r->family->layer_rows[row].condition == biases[i].condition;
    const json_t *value = etk__config_get(r, biases[i].key);
    if (!has && json_is_true(value)) return etk__config_refuse(r, biases[i].key, value);
  }
  return ETK_OK;
}

static etk_status refuse_unsupported(const struct reader *r) {
  for (size_t i = 0; i < sizeof unsupported_keys / sizeof *unsupported_keys; i++) {
    const char *key = unsupported_keys[i].key;
    const json_t *value = etk__config_get(r, key);
    bool has = (unsupported_keys[i].unless && *((const char *)r->family + unsupported_keys[i].unless)) ||
               (r->family->experts_key && !strcmp(key, r->family->experts_key));
    if (!has && etk__config_is_set(value) && !json_is_false(value)) return etk__config_refuse(r, key, value);
  }
  return refuse_biases(r);
}

static etk_status read_sizes(const struct reader *r) {
  etk_model_config *c = r->c;
  for (int i = 0; i < etk__config_size_count; i++) {
    const struct size_key *size = &etk__config_sizes[i];
    const char *key = r->family->conv1d ? size->gpt2 : size->key;
    if (!key) continue;
    etk_status status = etk__config_integer(r, r->root, key, size->required && strcmp(key, "n_inner") && !c->text_part, (int64_t *)((char *)c + size->offset));
    if (status) return status;
  }
  if (!c->intermediate_size) c->intermediate_size = 4 * c->hidden_size;
  if (!c->num_key_value_heads || r->family->layer_norm) c->num_key_value_heads = c->num_attention_heads;
  if (!c->head_dim) c->head_dim = r->family->head_dim;
  if (c->head_dim) return ETK_OK;
  if (c->hidden_size % c->num_attention_heads)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", r->name, (long long)c->hidden_size,
                    (long long)c->num_attention_heads);
  c->head_dim = c->hidden_size / c->num_attention_heads;
  return ETK_OK;
}

static void set_defaults(const struct reader *r) {
  etk_model_config *c = r->c;
  const struct family *family = r->family;
  bool text_part = r->root != r->whole;
  if (text_part) *c = *family->text_defaults;
  c->text_part = text_part;
  snprintf(c->architecture, sizeof c->architecture, "%s", family->model_type);
  c->tie_word_embeddings = family->tied;
  c->activation = family->activation;
  c->attention_bias = family->layer_norm;
  c->rope_theta = family->rope_theta > 0 ? family->rope_theta : 10000;
  c->rms_norm_eps = family->epsilon > 0 ? family->epsilon : 1e-6;
  c->max_position_embeddings = family->positions ? family->positions : 2048;
}

static etk_status read_config(const struct reader *r) {
  etk_model_config *c = r->c;
  set_defaults(r);
  etk_status status = etk__quantization_read(r->e, NULL, r->name, r->whole);
  if (!status) status = read_sizes(r);
  const json_t *tied = json_object_get(r->whole, "tie_word_embeddings");
  if (json_is_boolean(tied)) c->tie_word_embeddings = json_is_true(tied);
  for (size_t i = 0; i < sizeof flag_keys / sizeof *flag_keys && !status; i++)
    status = etk__config_flag(r, flag_keys[i].key, (bool *)((char *)c + flag_keys[i].offset));
  if (!status) status = refuse_unsupported(r);
  if (!status) status = read_attention(r);
  if (!status) status = read_experts(r);
  if (!status) status = read_activation(r);
  if (!status) status = etk__config_number(r, r->root, etk__family_norm_key(r->family), &c->rms_norm_eps);
  if (!status) status = etk__config_rope(r);
  if (!status) status = etk__config_layers(r);
  if (!status) status = read_tokens(r);
  if (r->family->conv1d && !status) forget_default_ids(c);
  for (int i = 0; i < c->eos_count && !status; i++)
    if (c->eos_token_ids[i] < 0 || c->eos_token_ids[i] >= c->vocab_size)
      status = etk_fail(r->e, ETK_E_FORMAT, "%s: eos_token_id %d is outside the vocabulary of %lld tokens", r->name, c->eos_token_ids[i],
                        (long long)c->vocab_size);
  return status ? status : etk__model_config_check(r->e, c, r->name);
}

/* Which family, and where its keys stand. */
static etk_status find_family(struct reader *r) {
  const json_t *type = json_object_get(r->whole, "model_type");
  if (!json_is_string(type)) return etk_fail(r->e, ETK_E_FORMAT, "%s: has no \"model_type\"; is this a Hugging Face model folder?", r->name);
  r->family = etk__family_find(json_string_value(type));
  if (r->family) return ETK_OK;
  r->family = etk__family_of_whole(json_string_value(type));
  if (r->family) {
    r->root = json_object_get(r->whole, "text_config");
    return json_is_object(r->root) ? ETK_OK
           : etk_fail(r->e, ETK_E_FORMAT, "%s: a model of type %s has its text part in an object \"text_config\", which is missing", r->name,
                                                      json_string_value(type));
  }
  char names[256];
  return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: model_type \"%.40s\" is not supported by this version, which runs %s%s", r->name, json_string_value(type),
                  etk__family_names(names, sizeof names), etk__encoder_hint(json_string_value(type)));
}

/* ---- what must hold, wherever a configuration comes from ---- */

static const struct {
  const char *key;
  size_t offset;
} checked_numbers[] = {
    {"rms_norm_eps", FIELD(rms_norm_eps)},
    {"rope_theta", FIELD(rope_theta)},
    {"rope_local_theta", FIELD(rope_local_theta)},
    {"query_pre_attn_scalar", FIELD(query_pre_attn_scalar)},
    {"attn_logit_softcapping", FIELD(attn_logit_softcapping)},
    {"final_logit_softcapping", FIELD(final_logit_softcapping)},
};

static etk_status check_rope(etk_error *e, const etk_model_config *c, const char *name) {
  const struct family *family = etk__family_find(c->architecture);
  int64_t dims = etk__rotary_dims(c);
  if (!family->conv1d && (dims % 2 || dims < 2 || dims > c->head_dim)) {
    if (!c->rotary_dims) return etk_fail(e, ETK_E_FORMAT, "%s: head_dim %lld is odd; rotary embeddings need pairs", name, (long long)c->head_dim);
    return etk_fail(e, ETK_E_FORMAT, "%s: rotary_dims is %lld, wanted an even number from 2 to head_dim %lld", name, (long long)dims, (long long)c->head_dim);
  }
  bool stretched = c->rope_attention_factor > 0 && isfinite(c->rope_attention_factor) && c->rope_original_positions > 0 && isfinite(c->rope_factor);
  if (c->rope_scaling == ETK_ROPE_YARN && !(stretched && c->rope_factor >= 1 && c->rope_beta_fast > c->rope_beta_slow && c->rope_beta_slow > 0))
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: rope scaling of type yarn wants factor from 1, beta_fast above beta_slow above 0, attention_factor and original positions above 0", name);
  if (c->rope_scaling != ETK_ROPE_LONGROPE) return ETK_OK;
  if (dims / 2 > ETK_MODEL_PAIRS || !stretched || c->rope_original_positions < 2)
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: rope scaling of type longrope wants an attention_factor above 0, original positions from 2 and at most %d pairs a head",
                        name, ETK_MODEL_PAIRS);
  for (int64_t i = 0; i < dims / 2; i++)
    if (!(c->rope_short_factors[i] > 0 && c->rope_long_factors[i] > 0) || !isfinite(c->rope_short_factors[i] + c->rope_long_factors[i]))
      return etk_fail(e, ETK_E_FORMAT, "%s: factors %lld of longrope are %g and %g, wanted numbers above 0", name, (long long)i,
                      (double)c->rope_short_factors[i], (double)c->rope_long_factors[i]);
  return ETK_OK;
}

static etk_status check_experts(etk_error *e, const etk_model_config *c, const char *name) {
  if (etk__family_find(c->architecture)->expert_rows && (c->num_experts < 1 || c->num_experts > 4096 || c->num_experts_per_tok < 1 ||
                                                         c->num_experts_per_tok > c->num_experts))
    return etk_fail(e, ETK_E_FORMAT, "%s: %lld experts, %lld a token: wanted 1 to 4096, and at most as many a token", name, (long long)c->num_experts,
                    (long long)c->num_experts_per_tok);
  if (c->num_experts > 0 && c->num_hidden_layers > (1 << 20) / c->num_experts)
    return etk_fail(e, ETK_E_FORMAT, "%s: %lld layers of %lld experts are beyond any real model; the file is damaged", name,
                    (long long)c->num_hidden_layers, (long long)c->num_experts);
  return ETK_OK;
}

etk_status etk__model_config_check(etk_error *e, const etk_model_config *c, const char *name) {
  if (!etk__family_find(c->architecture))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: architecture \"%.31s\" is not known to this version", name, c->architecture);
  if (c->num_attention_heads % c->num_key_value_heads)
    return etk_fail(e, ETK_E_FORMAT, "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld", name, (long long)c->num_attention_heads,
                    (long long)c->num_key_value_heads);
  if (c->num_attention_heads > 1 << 20 || c->head_dim > 1 << 20)
    return etk_fail(e, ETK_E_FORMAT, "%s: %lld heads of %lld are beyond any real model; the file is damaged", name, (long long)c->num_attention_heads,
                    (long long)c->head_dim);
  /* A bound on every product that follows, so that none overflows: 2^40 elements is far above any real model's layer. */
  const int64_t sizes[] = {c->vocab_size, 2 * c->intermediate_size, (c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim,
                           c->max_position_embeddings, c->moe_intermediate_size, c->shared_expert_intermediate_size};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (sizes[i] > ((int64_t)1 << 40) / c->hidden_size)
      return etk_fail(e, ETK_E_FORMAT, "%s: a weight of %lld x %lld is beyond any real model; the file is damaged", name, (long long)sizes[i],
                      (long long)c->hidden_size);
  if (c->num_hidden_layers > 100000)
    return etk_fail(e, ETK_E_FORMAT, "%s: num_hidden_layers is %lld, wanted at most 100000", name, (long long)c->num_hidden_layers);
  if (c->sliding_window < 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: sliding_window is %lld, wanted a number from 1, or 0 for none", name, (long long)c->sliding_window);
  for (size_t i = 0; i < sizeof checked_numbers / sizeof *checked_numbers; i++) {
    double value = *(const double *)((const char *)c + checked_numbers[i].offset);
    if (!isfinite(value) || value < 0) return etk_fail(e, ETK_E_FORMAT, "%s: %s is %g, wanted a finite number from 0", name, checked_numbers[i].key, value);
  }
  etk_status status = check_rope(e, c, name);
  return status ? status : check_experts(e, c, name);
}

etk_status etk__config_from_json(etk_error *e, etk_model_config *out, const char *name, const json_t *root) {
  struct reader r = {e, name, root, root, NULL, out};
  *out = (etk_model_config){.bos_token_id = -1};
  etk_status status = find_family(&r);
  return status ? status : read_config(&r);
}

etk_status etk_model_config_parse(etk_error *e, etk_model_config *out, const char *name, const char *bytes, size_t size) {
  *out = (etk_model_config){.bos_token_id = -1};
  json_t *root = NULL;
  etk_status status = etk__json_parse(e, &root, name, bytes, size);
  if (!status) status = json_is_object(root) ? etk__config_from_json(e, out, name, root) : etk_fail(e, ETK_E_FORMAT, "%s: wanted a JSON object", name);
  json_decref(root);
  return status;
}

void etk__config_from_llama2c(etk_model_config *out, const etk_weights *weights) {
  const etk_weights_facts *f = etk_weights_get_facts(weights);
  *out = (etk_model_config){.architecture = "llama", .vocab_size = f->vocab_size, .hidden_size = f->hidden_size, .intermediate_size = f->intermediate_size,
                            .num_hidden_layers = f->num_hidden_layers, .num_attention_heads = f->num_attention_heads,
                            .num_key_value_heads = f->num_key_value_heads, .head_dim = f->head_dim,
                            .max_position_embeddings = f->max_position_embeddings, .rms_norm_eps = f->norm_eps, .rope_theta = f->rope_theta,
                            .tie_word_embeddings = !etk_weights_find(weights, "lm_head.weight"), .bos_token_id = 1, .eos_token_ids = {2, 1},
                            .eos_count = 2};
}
