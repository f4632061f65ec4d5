/* The configuration of a model as GGUF's keys. */
#include "gguf_config.h"

#include <etk/gguf.h>
#include <math.h>

#define FIELD(name) offsetof(etk_model_config, name)
const struct config_key etk__gguf_config_keys[] = {
    {"vocab_size", FIELD(vocab_size), false, false, ANY},
    {"context_length", FIELD(max_position_embeddings), false, true, ANY},
    {"embedding_length", FIELD(hidden_size), false, true, ANY},
    {"block_count", FIELD(num_hidden_layers), false, true, ANY},
    {"feed_forward_length", FIELD(intermediate_size), false, true, ANY},
    {"attention.head_count", FIELD(num_attention_heads), false, true, ANY},
    {"attention.head_count_kv", FIELD(num_key_value_heads), false, false, ANY},
    {"attention.key_length", FIELD(head_dim), false, false, ANY},
    {"attention.layer_norm_epsilon", FIELD(rms_norm_eps), true, true, WITH_LAYER_NORM},
    {"attention.layer_norm_rms_epsilon", FIELD(rms_norm_eps), true, true, WITH_RMS_NORM},
    {"rope.freq_base", FIELD(rope_theta), true, false, WITH_ROPE},
    {"expert_count", FIELD(num_experts), false, true, WITH_EXPERTS},
    {"expert_used_count", FIELD(num_experts_per_tok), false, true, WITH_EXPERTS},
    {"expert_feed_forward_length", FIELD(moe_intermediate_size), false, true, WITH_SHARED_EXPERT},
    {"expert_shared_feed_forward_length", FIELD(shared_expert_intermediate_size), false, true, WITH_SHARED_EXPERT},
};
const int etk__gguf_config_key_count = sizeof etk__gguf_config_keys / sizeof *etk__gguf_config_keys;

bool etk__gguf_key_applies(int of, const struct family *family) {
  switch (of) {
  case WITH_LAYER_NORM: return family->layer_norm;
  case WITH_RMS_NORM: return !family->layer_norm;
  case WITH_EXPERTS: return family->expert_rows != NULL;
  case WITH_SHARED_EXPERT: return family->shared_expert;
  case WITH_ROPE: return !family->conv1d;
  case WITH_SCORE_CAP: return family->caps_scores;
  case WITH_LOGIT_CAP: return family->caps_logits;
  case WITH_QUERY_SCALAR: return family->query_scalar > 0;
  case WITH_LOCAL_ROPE: return family->local_theta > 0;
  default: return true;
  }
}

/* ---- factors of rope ---- */

double etk__llama3_factor(double theta, int64_t dims, int64_t pair, const double rule[4]) {
  double wavelength = 2 * 3.14159265358979323846 * pow(theta, 2.0 * (double)pair / (double)dims);
  double factor = rule[0], low = rule[1], high = rule[2], positions = rule[3];
  if (wavelength < positions / high) return 1;
  if (wavelength > positions / low) return factor;
  double smooth = (positions / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}

bool etk__config_gguf_factors(const etk_model_config *c, int which, const char **name, int64_t *count, float *values) {
  static const char *const longrope[] = {"rope_factors_long.weight", "rope_factors_short.weight"};
  *count = etk__rotary_dims(c) / 2;
  if (c->rope_scaling == ETK_ROPE_LLAMA3 && which == 0) {
    const double rule[] = {c->rope_factor, c->rope_low_freq_factor, c->rope_high_freq_factor, c->rope_original_positions};
    *name = "rope_freqs.weight";
    for (int64_t i = 0; values && i < *count; i++) values[i] = (float)etk__llama3_factor(c->rope_theta, etk__rotary_dims(c), i, rule);
    return true;
  }
  if (c->rope_scaling != ETK_ROPE_LONGROPE || which < 0 || which > 1 || *count > ETK_MODEL_PAIRS) return false;
  *name = longrope[which];
  if (values) memcpy(values, which ? c->rope_short_factors : c->rope_long_factors, (size_t)*count * sizeof *values);
  return true;
}

/* ---- to GGUF ---- */

struct putting {
  etk_error *e;
  etk_gguf_writer *writer;
  const etk_model_config *c;
  const struct family *family;
  const char *architecture;
  char key[128];
};
static const char *key_of(struct putting *p, const char *key) {
  snprintf(p->key, sizeof p->key, "%s.%s", p->architecture, key);
  return p->key;
}
static void put_int(struct putting *p, const char *key, int64_t value) { etk_gguf_set_int(p->writer, key_of(p, key), ETK_GGUF_U32, value); }
/* A whole number that the configuration holds as a real; one that does not fit is the writer's error. */
static void put_whole(struct putting *p, const char *key, double value) { put_int(p, key, (int64_t)fmin(value, 1e18)); }
static void put_real(struct putting *p, const char *key, double value) { etk_gguf_set_real(p->writer, key_of(p, key), ETK_GGUF_F32, value); }
static etk_status cannot_say(struct putting *p, const char *what) {
  return etk_fail(p->e, ETK_E_UNSUPPORTED, "GGUF's architecture %s has no key for %s; write a Hugging Face folder instead", p->architecture, what);
}

double etk__yarn_attention(double factor) { return factor > 1 ? 0.1 * log(factor) + 1 : 1; }
static bool near(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static etk_status put_rope(struct putting *p) {
  const etk_model_config *c = p->c;
  bool llama = !strcmp(p->architecture, "llama");
  switch (c->rope_scaling) {
  case ETK_ROPE_PLAIN: break;
  case ETK_ROPE_LINEAR:
    etk_gguf_set_text(p->writer, key_of(p, "rope.scaling.type"), "linear");
    put_real(p, "rope.scaling.factor", c->rope_factor);
    break;
  case ETK_ROPE_LLAMA3: {
    const double rule[] = {c->rope_factor, c->rope_low_freq_factor, c->rope_high_freq_factor, c->rope_original_positions};
    if (!llama) return cannot_say(p, "rope scaling of type llama3");
    etk_gguf_set_array(p->writer, KEY_ROPE, ETK_GGUF_F64, rule, 4);
    break;
  }
  case ETK_ROPE_YARN:
    etk_gguf_set_text(p->writer, key_of(p, "rope.scaling.type"), "yarn");
    put_real(p, "rope.scaling.factor", c->rope_factor);
    put_whole(p, "rope.scaling.original_context_length", c->rope_original_positions);
    put_real(p, "rope.scaling.yarn_beta_fast", c->rope_beta_fast);
    put_real(p, "rope.scaling.yarn_beta_slow", c->rope_beta_slow);
    /* llama.cpp multiplies YaRN's own factor by this */
    if (!near(c->rope_attention_factor, etk__yarn_attention(c->rope_factor)))
      put_real(p, "rope.scaling.attn_factor", c->rope_attention_factor / etk__yarn_attention(c->rope_factor));
    break;
  case ETK_ROPE_LONGROPE:
    if (!p->family->longrope) return cannot_say(p, "rope scaling of type longrope");
    etk_gguf_set_text(p->writer, key_of(p, "rope.scaling.type"), "longrope");
    put_whole(p, "rope.scaling.original_context_length", c->rope_original_positions);
    put_real(p, "rope.scaling.attn_factor", c->rope_attention_factor);
    break;
  }
  return ETK_OK;
}

/* Every how many layers one has no window; 0: no such rule. */
static int64_t pattern_of(const etk_model_config *c) {
  int64_t first = 0;
  while (first < c->num_hidden_layers && etk__layer_window(c, first)) first++;
  if (first == c->num_hidden_layers) return first + 1;
  for (int64_t i = 0, every = first + 1; i < c->num_hidden_layers; i++)
    if ((etk__layer_window(c, i) == 0) != (i % every == every - 1)) return 0;
  return first + 1;
}

static etk_status put_window(struct putting *p) {
  const etk_model_config *c = p->c;
  bool flags[ETK_MODEL_LAYERS] = {false};
  int64_t every = p->family->no_rope_interval;
  for (int64_t i = 0; i < c->num_hidden_layers; i++)
    if (etk__layer_turns(c, i) != !(every && i % every == every - 1))
      return cannot_say(p, every ? "layers without rotary positions other than every fourth" : "layers without rotary positions");
  if (!c->sliding_window) {
    /* llama.cpp has a window where Gemma 2's file is silent, and takes one of 0 to be a window: one over everything, in no layer. */
    if (p->family->caps_scores) put_int(p, "attention.sliding_window", c->max_position_embeddings), put_int(p, "attention.sliding_window_pattern", 1);
    else if (p->family->longrope) put_int(p, "attention.sliding_window", 0);
    return ETK_OK;
  }
  put_int(p, "attention.sliding_window", c->sliding_window);
  every = pattern_of(c);
  if (every > c->num_hidden_layers && p->family->windows != WINDOWS_PATTERN) return ETK_OK; /* all layers have it */
  if (every) put_int(p, "attention.sliding_window_pattern", every);
  if (every) return ETK_OK;
  for (int64_t i = 0; i < c->num_hidden_layers && i < ETK_MODEL_LAYERS; i++) flags[i] = etk__layer_window(c, i) != 0;
  etk_gguf_set_array(p->writer, key_of(p, "attention.sliding_window_pattern"), ETK_GGUF_BOOL, flags, (uint64_t)c->num_hidden_layers);
  return ETK_OK;
}

static void put_own(struct putting *p, const struct family *family) {
  const etk_model_config *c = p->c;
  static const char *const activations[] = {[ETK_ACTIVATION_SILU] = "silu", [ETK_ACTIVATION_GELU] = "gelu", [ETK_ACTIVATION_GELU_TANH] = "gelu_tanh"};
  if (c->head_dim) put_int(p, "attention.value_length", c->head_dim);
  if (!family->conv1d) put_int(p, "rope.dimension_count", etk__rotary_dims(c));
  if (etk__is_neox(family)) etk_gguf_set_int(p->writer, key_of(p, "use_parallel_residual"), ETK_GGUF_BOOL, !c->sequential_residual);
  if (family->shared_expert) etk_gguf_set_int(p->writer, key_of(p, "expert_weights_norm"), ETK_GGUF_BOOL, c->norm_topk_prob);
  if (c->activation != family->activation) etk_gguf_set_text(p->writer, KEY_ACTIVATION, activations[c->activation]);
  if (family->caps_scores) put_real(p, "attn_logit_softcapping", c->attn_logit_softcapping > 0 ? c->attn_logit_softcapping : ETK__NO_CAP);
  if (family->logit_cap > 0 || c->final_logit_softcapping > 0)
    put_real(p, "final_logit_softcapping", c->final_logit_softcapping > 0 ? c->final_logit_softcapping : ETK__NO_CAP);
  if (c->rope_local_theta > 0) put_real(p, "rope.freq_base_swa", c->rope_local_theta);
  if (family->query_scalar > 0) etk_gguf_set_real(p->writer, KEY_SCALAR, ETK_GGUF_F64, c->query_pre_attn_scalar);
}

static void put_tokens(struct putting *p) {
  const etk_model_config *c = p->c;
  if (c->bos_token_id >= 0) etk_gguf_set_int(p->writer, "tokenizer.ggml.bos_token_id", ETK_GGUF_U32, c->bos_token_id);
  if (c->eos_count > 0 && c->eos_token_ids[0] >= 0) etk_gguf_set_int(p->writer, "tokenizer.ggml.eos_token_id", ETK_GGUF_U32, c->eos_token_ids[0]);
  if (c->eos_count > 1) etk_gguf_set_array(p->writer, KEY_EOS, ETK_GGUF_I32, c->eos_token_ids, (uint64_t)c->eos_count);
}

etk_status etk__config_to_gguf(etk_error *e, etk_gguf_writer *writer, const etk_model_config *c) {
  const etk__gguf_table *table = etk__gguf_table_of_model_type(c->architecture);
  const struct family *family = etk__family_find(c->architecture);
  char known[256];
  if (!table || !family)
    return etk_fail(e, ETK_E_UNSUPPORTED, "a model of type \"%.31s\" has no place in GGUF that this version knows; the architectures it knows are %s",
                    c->architecture, etk__gguf_table_names(known, sizeof known));
  struct putting p = {.e = e, .writer = writer, .c = c, .family = family, .architecture = table->architecture};
  etk_gguf_set_text(writer, "general.architecture", table->architecture);
  etk_gguf_set_text(writer, KEY_MODEL_TYPE, c->architecture);
  for (int i = 0; i < etk__gguf_config_key_count; i++) {
    const struct config_key *key = &etk__gguf_config_keys[i];
    const char *field = (const char *)c + key->offset;
    if (!etk__gguf_key_applies(key->of, family)) continue;
    if (key->real) put_real(&p, key->key, *(const double *)(const void *)field);
    else put_int(&p, key->key, *(const int64_t *)(const void *)field);
  }
  put_own(&p, family);
  put_tokens(&p);
  etk_status status = put_window(&p);
  return status ? status : put_rope(&p);
}
