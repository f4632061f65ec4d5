/* The configuration of a model from GGUF's keys. */
#include "encoder_internal.h"
#include "gguf_config.h"
#include "ml/format/weights_internal.h"

#include <math.h>
#include <stdlib.h>

/* Keys that are read elsewhere here. */
static const struct {
  const char *key;
  int of;
} other_keys[] = {
    {"attention.value_length", ANY}, {"rope.dimension_count", ANY}, {"rope.freq_base_swa", WITH_LOCAL_ROPE}, {"rope.scaling.type", ANY},
    {"rope.scaling.factor", ANY},
    {"rope.scale_linear", ANY}, {"rope.scaling.attn_factor", ANY}, {"rope.scaling.original_context_length", ANY}, {"rope.scaling.yarn_beta_fast", ANY},
    {"rope.scaling.yarn_beta_slow", ANY}, {"rope.scaling.yarn_attn_factor", ANY}, {"attention.sliding_window", ANY}, {"attention.sliding_window_pattern", ANY},
    {"attn_logit_softcapping", WITH_SCORE_CAP}, {"final_logit_softcapping", WITH_LOGIT_CAP}, {"attention.scale", WITH_QUERY_SCALAR},
    {"use_parallel_residual", WITH_LAYER_NORM},
    {"expert_weights_norm", WITH_EXPERTS},
};
/* Keys of which one value, or none (0), is what every model here does. */
static const char *const one_keys[] = {"expert_weights_scale", "expert_gating_func", "logit_scale", "embedding_scale", "residual_scale", "rope.scaling.alpha",
                                       "rope.scaling.yarn_ext_factor", "interleave_moe_layer_step", "decoder_sparse_step", "moe_every_n_layers"};
/* Keys that change nothing. */
static const char *const idle_keys[] = {"rope.scaling.finetuned", "tensor_data_layout", "rope.scaling.original_ctx"};

struct taking {
  etk_error *e;
  const etk_weights *w;
  const char *name; /* of the file, for messages */
  const etk__gguf_table *table;
  const struct family *family;
  etk_model_config *c;
  char key[160];
};
static const char *name_key(struct taking *t, const char *key) {
  snprintf(t->key, sizeof t->key, "%s.%s", t->table->architecture, key);
  return t->key;
}
static const etk_gguf_value *find(struct taking *t, const char *key) { return etk_gguf_find(t->w->gguf, name_key(t, key)); }
static bool has(const struct taking *t, const char *tensor) { return etk_weights_find(t->w, tensor) != NULL; }

static bool is_number(etk_gguf_kind kind) { return kind != ETK_GGUF_TEXT && kind != ETK_GGUF_ARRAY && (unsigned)kind < ETK_GGUF_KIND_COUNT; }

/* A number of any kind. F32 as the shortest decimal that it rounds: 1e-6 comes back as 1e-6. */
static double number_at(const etk_gguf_value *value, uint64_t index) {
  double number = value->item_kind == ETK_GGUF_F32 || value->item_kind == ETK_GGUF_F64 ? etk_gguf_real_at(value, index) : (double)etk_gguf_int_at(value, index);
  if (value->item_kind != ETK_GGUF_F32 || !isfinite(number)) return number;
  for (int digits = 6; digits <= 9; digits++) {
    char text[40];
    snprintf(text, sizeof text, "%.*g", digits, number);
    double parsed = strtod(text, NULL);
    if ((float)parsed == (float)number) return parsed;
  }
  return number;
}

static etk_status wrong(struct taking *t, const char *seen, const char *wanted) {
  return etk_fail(t->e, ETK_E_FORMAT, "%s: the key %s is %s; %s is wanted", t->name, t->key, seen, wanted);
}
static etk_status wrong_number(struct taking *t, double seen, const char *wanted) {
  char text[40];
  snprintf(text, sizeof text, "%.17g", seen);
  return wrong(t, text, wanted);
}

/* One number, or a list of equal ones (a value a layer). Sets *there; leaves *out where the key is absent. */
static etk_status take(struct taking *t, const char *key, bool *there, double *out) {
  const etk_gguf_value *value = find(t, key);
  *there = value != NULL;
  if (!value) return ETK_OK;
  if (!is_number(value->item_kind) || !value->count) return wrong(t, etk_gguf_kind_name(value->kind), "a number");
  *out = number_at(value, 0);
  for (uint64_t i = 1; value->kind == ETK_GGUF_ARRAY && i < value->count; i++)
    if (number_at(value, i) != *out)
      return etk_fail(t->e, ETK_E_UNSUPPORTED,
                      "%s: the key %s is a list of numbers that differ from layer to layer, which this version does not support; one number is wanted", t->name, t->key);
  return isfinite(*out) ? ETK_OK : wrong_number(t, *out, "a finite number");
}

static etk_status take_real(struct taking *t, const char *key, bool *there, double *out) {
  double value;
  etk_status status = take(t, key, there, &value);
  if (status || !*there) return status;
  if (value <= 0) return wrong_number(t, value, "a number above 0");
  *out = value;
  return ETK_OK;
}

static etk_status take_int(struct taking *t, const char *key, int64_t lowest, bool *there, int64_t *out) {
  double value;
  etk_status status = take(t, key, there, &value);
  if (status || !*there) return status;
  if (value < (double)lowest || value > INT32_MAX || value != floor(value))
    return wrong_number(t, value, lowest ? "a whole number from 1 to 2^31 - 1" : "a whole number from 0 to 2^31 - 1");
  *out = (int64_t)value;
  return ETK_OK;
}

static etk_status take_flag(struct taking *t, const char *key, bool *out) {
  const etk_gguf_value *value = find(t, key);
  if (!value) return ETK_OK;
  if (value->kind != ETK_GGUF_BOOL) return wrong(t, etk_gguf_kind_name(value->kind), "true or false");
  *out = etk_gguf_int_at(value, 0) != 0;
  return ETK_OK;
}

static bool text_is(const etk_gguf_value *value, const char *text) {
  size_t size = 0;
  const char *bytes = value && value->kind == ETK_GGUF_TEXT ? etk_gguf_text_at(value, 0, &size) : NULL;
  return bytes && size == strlen(text) && !memcmp(bytes, text, size);
}

static bool is_one_of(const char *key, const char *const *keys, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(key, keys[i])) return true;
  return false;
}

/* Does a key, behind "<architecture>.", go into this family's configuration, or into none? */
static bool is_known(const struct taking *t, const char *key) {
  bool norm = !strncmp(key, "attention.layer_norm", 20); /* some writers give both */
  for (int i = 0; i < etk__gguf_config_key_count; i++)
    if (!strcmp(key, etk__gguf_config_keys[i].key))
      return etk__gguf_key_applies(etk__gguf_config_keys[i].of, t->family) || etk__gguf_config_keys[i].of == WITH_ROPE || norm;
  for (size_t i = 0; i < sizeof other_keys / sizeof *other_keys; i++)
    if (!strcmp(key, other_keys[i].key)) return etk__gguf_key_applies(other_keys[i].of, t->family);
  return is_one_of(key, idle_keys, sizeof idle_keys / sizeof *idle_keys);
}

/* Everything under "<architecture>." must be known, or say what every model does. */
static etk_status check_keys(struct taking *t) {
  const char *key;
  const etk_gguf_value *value;
  size_t prefix = strlen(t->table->architecture);
  for (size_t i = 0; (key = etk_gguf_key_at(t->w->gguf, i, &value)); i++) {
    if (strncmp(key, t->table->architecture, prefix) || key[prefix] != '.' || is_known(t, key + prefix + 1)) continue;
    double number = is_number(value->kind) ? number_at(value, 0) : -1;
    bool causal = !strcmp(key + prefix + 1, "attention.causal");
    if ((number == 0 && !causal) || (number == 1 && (causal || is_one_of(key + prefix + 1, one_keys, sizeof one_keys / sizeof *one_keys)))) continue;
    return etk_fail(t->e, ETK_E_UNSUPPORTED, "%s: the key %s is set, which may change the result and is not supported for %s by this version",
                    t->name, key, t->table->architecture);
  }
  return ETK_OK;
}

/* The model_type: what a file of ours says, else what its keys tell. */
static etk_status take_type(struct taking *t) {
  const etk_gguf_value *said = etk_gguf_find(t->w->gguf, KEY_MODEL_TYPE);
  const char *type = t->table->model_types[0];
  if (!strcmp(t->table->architecture, "llama")) {
    const etk_gguf_value *experts = find(t, "expert_count"), *window = find(t, "attention.sliding_window");
    if (experts && is_number(experts->kind) && number_at(experts, 0) > 0) type = "mixtral";
    else if (window && is_number(window->kind) && number_at(window, 0) > 0) type = "mistral";
  }
  if (said) {
    const char *const *types = t->table->model_types;
    const char *own = NULL;
    for (int i = 0; i < 4 && types[i]; i++)
      if (text_is(said, types[i])) own = types[i];
    if (!own)
      return etk_fail(t->e, ETK_E_FORMAT, "%s: the key " KEY_MODEL_TYPE " is none that goes with general.architecture %s", t->name, t->table->architecture);
    type = own;
  }
  t->family = etk__family_find(type);
  char known[512];
  if (!t->family)
    return etk_fail(t->e, ETK_E_UNSUPPORTED, "%s: general.architecture %s is a model of type \"%s\", which this version does not run; it runs %s",
                    t->name, t->table->architecture, type, etk__family_names(known, sizeof known));
  snprintf(t->c->architecture, sizeof t->c->architecture, "%s", type);
  return ETK_OK;
}

static etk_status take_table(struct taking *t) {
  bool there;
  for (int i = 0; i < etk__gguf_config_key_count; i++) {
    const struct config_key *key = &etk__gguf_config_keys[i];
    if (!etk__gguf_key_applies(key->of, t->family)) continue;
    char *field = (char *)t->c + key->offset;
    etk_status status = key->real ? take_real(t, key->key, &there, (double *)(void *)field) : take_int(t, key->key, 1, &there, (int64_t *)(void *)field);
    if (status) return status;
    if (!there && key->required)
      return etk_fail(t->e, ETK_E_FORMAT, "%s: has no key %s, which a model of the architecture %s needs", t->name, t->key, t->table->architecture);
  }
  return ETK_OK;
}

static etk_status take_heads(struct taking *t) {
  etk_model_config *c = t->c;
  bool there;
  int64_t value_length = 0, rotary = 0;
  if (!c->num_key_value_heads) c->num_key_value_heads = c->num_attention_heads;
  if (!c->head_dim) {
    if (c->hidden_size % c->num_attention_heads)
      return etk_fail(t->e, ETK_E_FORMAT,
                      "%s: %s.embedding_length %lld is no multiple of %s.attention.head_count %lld, and %s.attention.key_length is not there",
                      t->name, t->table->architecture, (long long)c->hidden_size, t->table->architecture, (long long)c->num_attention_heads,
                      t->table->architecture);
    c->head_dim = c->hidden_size / c->num_attention_heads;
  }
  etk_status status = take_int(t, "attention.value_length", 1, &there, &value_length);
  if (!status && there && value_length != c->head_dim)
    return wrong_number(t, (double)value_length, "the same as attention.key_length (or embedding_length / attention.head_count)");
  if (!status) status = take_int(t, "rope.dimension_count", 0, &there, &rotary);
  if (status || t->family->conv1d) return status;
  if (!there) rotary = c->head_dim;
  bool partial = t->family->rotary_part > 0;
  if (rotary > c->head_dim || rotary < 2 || rotary % 2 || (rotary != c->head_dim && !partial))
    return wrong_number(t, (double)rotary, partial ? "an even number from 2 to the size of a head" : "the size of a head");
  if (etk__is_neox(t->family) || rotary != c->head_dim) c->rotary_dims = rotary;
  return ETK_OK;
}

/* ---- rope ---- */

static etk_status take_factors(struct taking *t, const char *tensor, float *out) {
  const etk_weight *weight = etk_weights_find(t->w, tensor);
  int64_t count = etk__rotary_dims(t->c) / 2;
  if (!weight) return etk_fail(t->e, ETK_E_FORMAT, "%s: has no tensor %s, which rope scaling of type longrope needs", t->name, tensor);
  if (count > ETK_MODEL_PAIRS || weight->shape.rank != 1 || weight->shape.dims[0] != count)
    return etk_fail(t->e, ETK_E_FORMAT, "%s: tensor %s must have %lld elements, one for two of the values of a head that turn, and at most %d",
                    t->name, tensor, (long long)count, ETK_MODEL_PAIRS);
  etk_status status = etk_weight_decode(t->e, out, weight, 0, count);
  for (int64_t i = 0; i < count && !status; i++)
    if (!isfinite(out[i]) || out[i] <= 0)
      status = etk_fail(t->e, ETK_E_FORMAT, "%s: tensor %s has %g at element %lld; numbers above 0 are wanted", t->name, tensor, (double)out[i], (long long)i);
  return status;
}

static bool follows(const struct taking *t, const float *factors, const double rule[4]) {
  int64_t dims = etk__rotary_dims(t->c);
  if (!(rule[0] > 0 && rule[1] > 0 && rule[2] > rule[1] && rule[3] > 0)) return false;
  /* llama.cpp's converter works in single precision, where the wavelengths carry some 1e-7 and the smooth part magnifies it */
  for (int64_t i = 0; i < dims / 2; i++)
    if (!(fabs(etk__llama3_factor(t->c->rope_theta, dims, i, rule) - (double)factors[i]) <= 1e-3 * (double)factors[i])) return false;
  return true;
}

/* Files of other writers have the factors alone. Between its two ends the rule is linear in the frequency, so two factors there give it, up to the original
 * context, which scales the ends; with one or none there, many rules give these factors, and any of them will do. */
static bool fit(const struct taking *t, const float *factors, double rule[4]) {
  int64_t dims = etk__rotary_dims(t->c), first = 0, last = dims / 2 - 1;
  double slowest = (double)factors[last], x[2], y[2], positions = rule[3];
  while (first < dims / 2 && factors[first] <= 1.0001f) first++;
  while (last >= 0 && (double)factors[last] >= slowest * 0.9999) last--;
  if (slowest <= 1.0001 || !first || first >= dims / 2 || last < 0) return false;
  for (int k = 0; k < 2; k++) { /* the turns of a pair within a token, and the smooth part of the rule */
    int64_t i = k ? last : first;
    x[k] = 1 / (2 * 3.14159265358979323846 * pow(t->c->rope_theta, 2.0 * (double)i / (double)dims));
    y[k] = (1 / (double)factors[i] - 1 / slowest) / (1 - 1 / slowest);
  }
  rule[0] = slowest;
  if (first > last) {
    rule[1] = positions * sqrt(x[0] * x[1]);
    rule[2] = rule[1] * 1.0001;
  } else if (first == last) { /* its neighbours, a pair's step slower and faster, must stay outside */
    double step = pow(t->c->rope_theta, 2.0 / (double)dims), slow = positions * x[0] / step,
        fast = (positions * x[0] / y[0] - positions * x[0] * step) / (1 / y[0] - 1);
    rule[1] = (fmax(slow, fast) + positions * x[0]) / 2;
    rule[2] = rule[1] + (positions * x[0] - rule[1]) / y[0];
  } else {
    double slope = (y[0] - y[1]) / (x[0] - x[1]), width = positions / slope, low = (slope * x[0] - y[0]) * width;
    rule[1] = round(low * 1e3) / 1e3; /* written by hand, most likely */
    rule[2] = round((low + width) * 1e3) / 1e3;
    if (!follows(t, factors, rule)) rule[1] = low, rule[2] = low + width;
  }
  return follows(t, factors, rule);
}

static etk_status take_llama3(struct taking *t) {
  etk_model_config *c = t->c;
  const etk_gguf_value *said = etk_gguf_find(t->w->gguf, KEY_ROPE);
  if (!has(t, "rope_freqs.weight"))
    return said ? etk_fail(t->e, ETK_E_FORMAT, "%s: the key " KEY_ROPE " is set and the tensor rope_freqs.weight is not there", t->name) : ETK_OK;
  float factors[ETK_MODEL_PAIRS];
  etk_status status = take_factors(t, "rope_freqs.weight", factors);
  if (status) return status;
  int64_t count = etk__rotary_dims(c) / 2, plain = 0;
  while (plain < count && factors[plain] == 1) plain++;
  if (plain == count && !said) return ETK_OK;
  bool there;
  double rule[4] = {(double)factors[count - 1], 1, 4, 8192};
  if ((status = take_real(t, "rope.scaling.original_context_length", &there, &rule[3]))) return status;
  bool found = false;
  if (said && said->kind == ETK_GGUF_ARRAY && said->item_kind == ETK_GGUF_F64 && said->count == 4) {
    for (int i = 0; i < 4; i++) rule[i] = etk_gguf_real_at(said, (uint64_t)i);
    found = follows(t, factors, rule);
  } else if (!said) found = follows(t, factors, rule) || fit(t, factors, rule);
  if (!found || c->rope_scaling != ETK_ROPE_PLAIN)
    return etk_fail(t->e, ETK_E_UNSUPPORTED,
                    "%s: tensor rope_freqs.weight holds factors that do not follow Llama 3's rule%s, which this version does not support", t->name,
                    said ? " as the key " KEY_ROPE " gives it" : found ? " alone, beside another rope.scaling.type" : "");
  c->rope_scaling = ETK_ROPE_LLAMA3;
  c->rope_factor = rule[0];
  c->rope_low_freq_factor = rule[1];
  c->rope_high_freq_factor = rule[2];
  c->rope_original_positions = rule[3];
  return ETK_OK;
}

static etk_status take_yarn(struct taking *t) {
  etk_model_config *c = t->c;
  bool there, own;
  double scale = 1, whole = 0;
  c->rope_scaling = ETK_ROPE_YARN;
  c->rope_beta_fast = 32;
  c->rope_beta_slow = 1;
  c->rope_original_positions = (double)c->max_position_embeddings;
  if (c->rope_factor <= 0)
    return etk_fail(t->e, ETK_E_FORMAT, "%s: %s.rope.scaling.type is yarn and there is no %s.rope.scaling.factor", t->name, t->table->architecture,
                    t->table->architecture);
  etk_status status = take_real(t, "rope.scaling.original_context_length", &there, &c->rope_original_positions);
  if (!status) status = take_real(t, "rope.scaling.yarn_beta_fast", &there, &c->rope_beta_fast);
  if (!status) status = take_real(t, "rope.scaling.yarn_beta_slow", &there, &c->rope_beta_slow);
  if (!status) status = take_real(t, "rope.scaling.yarn_attn_factor", &there, &whole); /* of llama.cpp's converter: the whole factor */
  if (!status) status = take_real(t, "rope.scaling.attn_factor", &own, &scale);
  if (!status) c->rope_attention_factor = there && !own ? whole : etk__yarn_attention(c->rope_factor) * scale;
  return status;
}

static etk_status take_longrope(struct taking *t) {
  etk_model_config *c = t->c;
  bool there;
  c->rope_scaling = ETK_ROPE_LONGROPE;
  c->rope_original_positions = (double)c->max_position_embeddings;
  etk_status status = take_real(t, "rope.scaling.original_context_length", &there, &c->rope_original_positions);
  if (!status) status = take_factors(t, "rope_factors_long.weight", c->rope_long_factors);
  if (!status) status = take_factors(t, "rope_factors_short.weight", c->rope_short_factors);
  if (status) return status;
  c->rope_factor = (double)c->max_position_embeddings / c->rope_original_positions;
  c->rope_attention_factor = etk__longrope_attention(c);
  return take_real(t, "rope.scaling.attn_factor", &there, &c->rope_attention_factor);
}

static etk_status take_rope(struct taking *t) {
  etk_model_config *c = t->c;
  bool there;
  if (t->family->conv1d) return ETK_OK;
  const etk_gguf_value *type = find(t, "rope.scaling.type");
  double factor = 0, attention = 1;
  etk_status status = take_real(t, "rope.scale_linear", &there, &factor);
  const etk_gguf_value *given = find(t, "rope.scaling.factor");
  if (!status && given && !(is_number(given->kind) && number_at(given, 0) == 0)) status = take_real(t, "rope.scaling.factor", &there, &factor); /* 0: none */
  if (status) return status;
  bool none = text_is(type, "none"), longrope = text_is(type, "longrope") || (!none && has(t, "rope_factors_long.weight"));
  if (longrope) return take_longrope(t);
  if (text_is(type, "yarn")) {
    c->rope_factor = factor;
    return take_yarn(t);
  }
  status = take_real(t, "rope.scaling.attn_factor", &there, &attention);
  if (status) return status;
  if (attention != 1) return wrong_number(t, attention, "1, where the scaling is neither yarn nor longrope,");
  if (type && !none && !text_is(type, "linear")) {
    find(t, "rope.scaling.type");
    return wrong(t, "of a kind that this version does not know", "none, linear, yarn or longrope");
  }
  if (!none && factor > 0 && factor != 1) {
    c->rope_scaling = ETK_ROPE_LINEAR;
    c->rope_factor = factor;
  }
  return take_llama3(t);
}

/* ---- layers that differ ---- */

static etk_status take_pattern(struct taking *t, int64_t every) {
  etk_model_config *c = t->c;
  const etk_gguf_value *value = find(t, "attention.sliding_window_pattern");
  if (value && value->kind == ETK_GGUF_ARRAY) {
    if (!is_number(value->item_kind) || value->count < (uint64_t)c->num_hidden_layers || c->num_hidden_layers > ETK_MODEL_LAYERS)
      return wrong(t, "a list that does not go with the layers", "a number, or a list of one truth value a layer for at most 512 layers");
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
      if (number_at(value, (uint64_t)i) == 0) c->layer_flags[i] |= ETK_LAYER_FULL;
    return ETK_OK;
  }
  bool there;
  etk_status status = take_int(t, "attention.sliding_window_pattern", 0, &there, &every);
  if (status || !every) return status; /* 0: all layers have the window */
  if (c->num_hidden_layers > ETK_MODEL_LAYERS && every <= c->num_hidden_layers)
    return etk_fail(t->e, ETK_E_UNSUPPORTED, "%s: %lld layers that differ in their windows are more than this version supports, %d", t->name,
                    (long long)c->num_hidden_layers, ETK_MODEL_LAYERS);
  etk__config_full_every(c, every);
  return ETK_OK;
}

static etk_status take_window(struct taking *t) {
  etk_model_config *c = t->c;
  const struct family *family = t->family;
  bool there;
  for (int64_t i = 0; family->no_rope_interval && i < c->num_hidden_layers && i < ETK_MODEL_LAYERS; i++)
    if (i % family->no_rope_interval == family->no_rope_interval - 1) c->layer_flags[i] |= ETK_LAYER_NO_ROPE;
  if (family->caps_scores) c->sliding_window = family->sliding_window; /* llama.cpp's, where Gemma 2's file is silent */
  etk_status status = take_int(t, "attention.sliding_window", 0, &there, &c->sliding_window);
  if (status || !c->sliding_window) return status;
  if (family->windows == WINDOWS_NONE) return wrong_number(t, (double)c->sliding_window, "0, as these models have no window,");
  status = take_pattern(t, family->window_pattern);
  bool any = false;
  for (int64_t i = 0; i < c->num_hidden_layers && !any; i++) any = etk__layer_window(c, i) != 0;
  if (any) return status;
  c->sliding_window = 0;
  memset(c->layer_flags, 0, sizeof c->layer_flags);
  return status;
}

static etk_status take_gemma(struct taking *t) {
  etk_model_config *c = t->c;
  const struct family *family = t->family;
  bool there;
  double scale = 0;
  c->attn_logit_softcapping = family->score_cap;
  c->final_logit_softcapping = family->logit_cap;
  if (c->sliding_window) c->rope_local_theta = family->local_theta;
  etk_status status = family->caps_scores ? take_real(t, "attn_logit_softcapping", &there, &c->attn_logit_softcapping) : ETK_OK;
  if (!status && family->caps_logits) status = take_real(t, "final_logit_softcapping", &there, &c->final_logit_softcapping);
  if (!status && c->rope_local_theta > 0) status = take_real(t, "rope.freq_base_swa", &there, &c->rope_local_theta);
  if (!status && family->query_scalar > 0) status = take_real(t, "attention.scale", &there, &scale);
  if (status || !(family->query_scalar > 0)) return status;
  if (c->attn_logit_softcapping >= ETK__NO_CAP) c->attn_logit_softcapping = 0;
  if (c->final_logit_softcapping >= ETK__NO_CAP) c->final_logit_softcapping = 0;
  /* llama.cpp tells the 27B models, which divide by another root, by their layers. */
  bool largest = c->num_hidden_layers == (family->caps_scores ? 46 : 62);
  c->query_pre_attn_scalar = scale > 0 ? 1 / (scale * scale) : (double)(largest ? c->hidden_size / c->num_attention_heads : c->head_dim);
  const etk_gguf_value *said = etk_gguf_find(t->w->gguf, KEY_SCALAR);
  if (said && is_number(said->kind)) c->query_pre_attn_scalar = number_at(said, 0);
  if (!isfinite(c->query_pre_attn_scalar) || c->query_pre_attn_scalar < 0)
    return etk_fail(t->e, ETK_E_FORMAT, "%s: the key " KEY_SCALAR " is %g; a number above 0 is wanted", t->name, c->query_pre_attn_scalar);
  return ETK_OK;
}

/* ---- the rest ---- */

static etk_status take_activation(struct taking *t) {
  static const struct {
    const char *name;
    etk_activation activation;
  } names[] = {{"silu", ETK_ACTIVATION_SILU}, {"gelu", ETK_ACTIVATION_GELU}, {"gelu_tanh", ETK_ACTIVATION_GELU_TANH}};
  const etk_gguf_value *said = etk_gguf_find(t->w->gguf, KEY_ACTIVATION);
  t->c->activation = t->family->activation;
  if (!said) return ETK_OK;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (text_is(said, names[i].name)) return t->c->activation = names[i].activation, ETK_OK;
  return etk_fail(t->e, ETK_E_FORMAT, "%s: the key " KEY_ACTIVATION " is none of silu, gelu and gelu_tanh", t->name);
}

static etk_status take_own(struct taking *t) {
  etk_model_config *c = t->c;
  const struct family *family = t->family;
  bool parallel = true;
  etk_status status = take_activation(t);
  if (!status && etk__is_neox(family)) status = take_flag(t, "use_parallel_residual", &parallel);
  c->sequential_residual = !parallel;
  if (family->expert_rows) c->norm_topk_prob = !family->shared_expert; /* llama.cpp's Qwen2-MoE leaves the weights as they are */
  if (family->expert_rows && !family->shared_expert) c->moe_intermediate_size = c->intermediate_size;
  if (!status && family->shared_expert) status = take_flag(t, "expert_weights_norm", &c->norm_topk_prob);
  const char *head = etk__is_neox(family) ? "embed_out.weight" : "lm_head.weight";
  c->tie_word_embeddings = !has(t, head);
  c->attention_bias = family->qkv_bias || family->conv1d || has(t, "blk.0.attn_q.bias") || has(t, "blk.0.attn_qkv.bias");
  c->mlp_bias = !family->layer_norm && has(t, "blk.0.ffn_gate.bias");
  const etk_weight *embedding = etk_weights_find(t->w, "token_embd.weight");
  if (embedding && embedding->shape.rank == 2) c->vocab_size = embedding->shape.dims[0]; /* which some writers cut to the tokenizer's size */
  if (!status && (c->vocab_size < 1 || c->vocab_size > INT32_MAX))
    return etk_fail(t->e, ETK_E_FORMAT, "%s: has neither a tensor token_embd.weight nor a key %s.vocab_size that tells the size of the vocabulary",
                    t->name, t->table->architecture);
  return status;
}

static etk_status add_eos(struct taking *t, const char *key, int64_t id) {
  etk_model_config *c = t->c;
  if (id < 0 || id >= c->vocab_size)
    return etk_fail(t->e, ETK_E_FORMAT, "%s: the key %s is %lld, outside the vocabulary of %lld tokens", t->name, key, (long long)id, (long long)c->vocab_size);
  for (int i = 0; i < c->eos_count; i++)
    if (c->eos_token_ids[i] == id) return ETK_OK;
  if (c->eos_count == 8) return etk_fail(t->e, ETK_E_FORMAT, "%s: the key %s names more than 8 tokens that end a text", t->name, key);
  c->eos_token_ids[c->eos_count++] = (int32_t)id;
  return ETK_OK;
}

static etk_status take_tokens(struct taking *t) {
  static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  const etk_gguf *file = t->w->gguf;
  const etk_gguf_value *list = etk_gguf_find(file, KEY_EOS);
  int64_t id;
  etk_status status = ETK_OK;
  t->c->bos_token_id = -1;
  if (etk_gguf_find(file, "tokenizer.ggml.bos_token_id")) {
    status = etk_gguf_get_int(t->e, &id, file, "tokenizer.ggml.bos_token_id");
    if (status) return status;
    if (id >= 0 && id < t->c->vocab_size) t->c->bos_token_id = (int32_t)id; /* one beyond the vocabulary is one the model does not have */
  }
  if (list && (list->kind != ETK_GGUF_ARRAY || list->item_kind != ETK_GGUF_I32))
    return etk_fail(t->e, ETK_E_FORMAT, "%s: the key " KEY_EOS " must be a list of i32", t->name);
  for (uint64_t i = 0; list && i < list->count && !status; i++) status = add_eos(t, KEY_EOS, etk_gguf_int_at(list, i));
  for (size_t i = 0; i < (list ? 1 : sizeof ends / sizeof *ends) && !status; i++) {
    if (!etk_gguf_find(file, ends[i])) continue;
    status = etk_gguf_get_int(t->e, &id, file, ends[i]);
    if (!status) status = add_eos(t, ends[i], id);
  }
  return status;
}

etk_status etk__config_from_gguf(etk_error *e, etk_model_config *out, const etk_weights *w) {
  struct taking t = {.e = e, .w = w, .name = w->path, .c = out};
  static etk_status (*const steps[])(struct taking *) = {take_type, check_keys, take_table, take_heads, take_own, take_window, take_gemma, take_rope,
                                                         take_tokens};
  *out = (etk_model_config){.rms_norm_eps = 1e-6, .rope_theta = 10000, .bos_token_id = -1};
  if (w->format != ETK_WEIGHTS_GGUF) return etk_fail(e, ETK_E_INVALID, "%s: is no GGUF file", w->path);
  char known[256];
  const char *architecture = NULL;
  etk_status status = etk_gguf_get_text(e, &architecture, w->gguf, "general.architecture");
  if (status) return status;
  t.table = etk__gguf_table_find(architecture);
  if (!t.table)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: general.architecture is \"%.40s\", which this version does not run; it runs %s%s", w->path, architecture,
                    etk__gguf_table_names(known, sizeof known), etk__encoder_hint(architecture));
  for (size_t i = 0; i < sizeof steps / sizeof *steps && !status; i++) status = steps[i](&t);
  return status ? status : etk__model_config_check(e, out, w->path);
}
