/* config.json: rotary positions and their scaling, both the spelling of transformers 4 (rope_theta, rope_scaling) and of 5 (rope_parameters), and the
 * frequencies that follow. */
#include "config.h"

#include <math.h>

static const double TWO_PI = 2 * 3.14159265358979323846;

struct scaling {
  const char *key;    /* of the object, for messages */
  const json_t *rope;
};

/* YaRN (Peng et al. 2023), with transformers' defaults. */
static etk_status read_yarn(const struct reader *r, const struct scaling *s) {
  etk_model_config *c = r->c;
  double mscale = 0, mscale_all = 0;
  const json_t *truncate = json_object_get(s->rope, "truncate");
  if (json_is_false(truncate)) return etk__config_refuse(r, "truncate", truncate);
  c->rope_beta_fast = 32;
  c->rope_beta_slow = 1;
  etk_status status = etk__config_number(r, s->rope, "beta_fast", &c->rope_beta_fast);
  if (!status) status = etk__config_number(r, s->rope, "beta_slow", &c->rope_beta_slow);
  if (!status) status = etk__config_number(r, s->rope, "mscale", &mscale);
  if (!status) status = etk__config_number(r, s->rope, "mscale_all_dim", &mscale_all);
  if (status) return status;
  if (c->rope_original_positions <= 0) c->rope_original_positions = (double)c->max_position_embeddings;
  if (c->rope_factor <= 0) c->rope_factor = (double)c->max_position_embeddings / c->rope_original_positions;
  if (c->rope_factor < 1 || c->rope_beta_fast <= c->rope_beta_slow)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s of type yarn needs a \"factor\" from 1, and beta_slow < beta_fast", r->name, s->key);
  if (c->rope_attention_factor > 0) return ETK_OK;
  double plain = 0.1 * log(c->rope_factor);
  c->rope_attention_factor = mscale > 0 && mscale_all > 0 ? (mscale * plain + 1) / (mscale_all * plain + 1) : plain + 1;
  return ETK_OK;
}

static etk_status read_factors(const struct reader *r, const struct scaling *s, const char *key, float *out) {
  const json_t *list = json_object_get(s->rope, key);
  int64_t pairs = etk__rotary_dims(r->c) / 2;
  if (pairs > ETK_MODEL_PAIRS)
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: %lld pairs of a head turn; with longrope this version has room for %d", r->name, (long long)pairs,
                    ETK_MODEL_PAIRS);
  if (!json_is_array(list) || (int64_t)json_array_size(list) != pairs)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %s has %zu values in \"%s\", wanted a list of %lld, one for each pair of a head that turns", r->name,
                    s->key, json_array_size(list), key, (long long)pairs);
  for (int64_t i = 0; i < pairs; i++) {
    const json_t *value = json_array_get(list, (size_t)i);
    out[i] = json_is_number(value) ? (float)json_number_value(value) : 0;
    if (!(out[i] > 0) || !isfinite(out[i])) return etk__config_wrong(r, key, value, "numbers above 0");
  }
  return ETK_OK;
}

/* LongRoPE (Ding et al. 2024) as Phi-3 has it: the original context stands in rope_parameters or beside it. */
static etk_status read_longrope(const struct reader *r, const struct scaling *s) {
  etk_model_config *c = r->c;
  etk_status status = c->rope_original_positions > 0 ? ETK_OK : etk__config_number(r, r->root, "original_max_position_embeddings", &c->rope_original_positions);
  if (!status && c->rope_original_positions <= 0) c->rope_original_positions = 4096;
  if (!status) status = read_factors(r, s, "short_factor", c->rope_short_factors);
  if (!status) status = read_factors(r, s, "long_factor", c->rope_long_factors);
  if (status) return status;
  if (c->rope_original_positions < 2 || c->rope_original_positions != floor(c->rope_original_positions))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: \"original_max_position_embeddings\" is %g, wanted a whole number from 2", r->name, c->rope_original_positions);
  if (c->rope_factor <= 0) c->rope_factor = (double)c->max_position_embeddings / c->rope_original_positions;
  if (c->rope_attention_factor <= 0) c->rope_attention_factor = etk__longrope_attention(c);
  return ETK_OK;
}

double etk__longrope_attention(const etk_model_config *c) { return c->rope_factor > 1 ? sqrt(1 + log(c->rope_factor) / log(c->rope_original_positions)) : 1; }

static etk_status read_linear(const struct reader *r, const struct scaling *s) {
  if (r->c->rope_factor > 0) return ETK_OK;
  return etk_fail(r->e, ETK_E_FORMAT, "%s: %s of type linear has no \"factor\"", r->name, s->key);
}

static etk_status read_llama3(const struct reader *r, const struct scaling *s) {
  const etk_model_config *c = r->c;
  if (c->rope_factor > 0 && c->rope_low_freq_factor > 0 && c->rope_high_freq_factor > c->rope_low_freq_factor && c->rope_original_positions > 0) return ETK_OK;
  return etk_fail(r->e, ETK_E_FORMAT, "%s: %s of type llama3 needs factor, low_freq_factor < high_freq_factor and original_max_position_embeddings",
                  r->name, s->key);
}

static const struct kind {
  const char *name;
  etk_rope_scaling scaling;
  bool longrope; /* of the families that have it, and of no other; the others are for the rest */
  etk_status (*read)(const struct reader *r, const struct scaling *s);
} kinds[] = {
    {"linear", ETK_ROPE_LINEAR, false, read_linear}, {"llama3", ETK_ROPE_LLAMA3, false, read_llama3}, {"yarn", ETK_ROPE_YARN, false, read_yarn},
    {"longrope", ETK_ROPE_LONGROPE, true, read_longrope}, {"su", ETK_ROPE_LONGROPE, true, read_longrope},
    {"yarn", ETK_ROPE_LONGROPE, true, read_longrope}, /* early Phi-3 files call it so, and transformers reads it so */
};

static etk_status read_scaling(const struct reader *r, const struct scaling *s) {
  static const struct {
    const char *key;
    size_t offset;
  } numbers[] = {{"rope_theta", offsetof(etk_model_config, rope_theta)},
                 {"factor", offsetof(etk_model_config, rope_factor)},
                 {"low_freq_factor", offsetof(etk_model_config, rope_low_freq_factor)},
                 {"high_freq_factor", offsetof(etk_model_config, rope_high_freq_factor)},
                 {"attention_factor", offsetof(etk_model_config, rope_attention_factor)},
                 {"original_max_position_embeddings", offsetof(etk_model_config, rope_original_positions)}};
  const json_t *type = json_object_get(s->rope, "rope_type");
  if (!type) type = json_object_get(s->rope, "type");
  if (etk__config_is_set(type) && !json_is_string(type)) return etk__config_wrong(r, "rope_type", type, "the name of a kind of scaling");
  const char *name = json_is_string(type) ? json_string_value(type) : "default";
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    etk_status status = etk__config_number(r, s->rope, numbers[i].key, (double *)((char *)r->c + numbers[i].offset));
    if (status) return status;
  }
  if (!strcmp(name, "default")) return ETK_OK;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(kinds[i].name, name) && kinds[i].longrope == r->family->longrope) {
      r->c->rope_scaling = kinds[i].scaling;
      return kinds[i].read(r, s);
    }
  return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: %s has type \"%.40s\"; for %s this version knows default%s", r->name, s->key, name, r->family->model_type,
                  r->family->longrope ? " and longrope" : ", linear, llama3 and yarn");
}

/* gemma3's layers with a window turn with a base of their own and are never scaled. */
static etk_status read_local(const struct reader *r, const json_t *local) {
  const json_t *type = json_object_get(local, "rope_type");
  if (etk__config_is_set(type) && (!json_is_string(type) || strcmp(json_string_value(type), "default")))
    return etk__config_refuse(r, "rope_parameters.sliding_attention.rope_type", type);
  return etk__config_number(r, local, "rope_theta", &r->c->rope_local_theta);
}

/* How much of a head turns, of which transformers keeps int(head_dim * part). */
static etk_status read_part(const struct reader *r, const json_t *rope) {
  double part = r->family->rotary_part > 0 ? r->family->rotary_part : 1;
  const char *key = etk__config_get(r, "rotary_pct") && r->family->rotary_part > 0 ? "rotary_pct" : "partial_rotary_factor";
  etk_status status = etk__config_number(r, r->root, key, &part);
  if (!status && json_is_object(rope)) status = etk__config_number(r, rope, "partial_rotary_factor", &part);
  if (status) return status;
  if (!r->family->rotary_part) {
    if (part == 1) return ETK_OK;
    return etk_fail(r->e, ETK_E_UNSUPPORTED,
                    "%s: \"partial_rotary_factor\" is %g, which would change the result and is not supported for %s by this version", r->name, part,
                    r->family->model_type);
  }
  int64_t dims = part <= 1 ? (int64_t)((double)r->c->head_dim * part) : 0;
  if (dims < 2 || dims % 2)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: \"%s\" %g makes %lld of a head's %lld values turn, wanted an even number from 2", r->name, key, part,
                    (long long)dims, (long long)r->c->head_dim);
  r->c->rotary_dims = dims == r->c->head_dim && r->family->rotary_part == 1 ? 0 : dims;
  return ETK_OK;
}

etk_status etk__config_rope(const struct reader *r) {
  const json_t *rope = etk__config_get(r, "rope_parameters");
  struct scaling s = {rope ? "rope_parameters" : "rope_scaling", rope ? rope : etk__config_get(r, "rope_scaling")};
  const json_t *local = json_object_get(s.rope, "sliding_attention"), *global = json_object_get(s.rope, "full_attention");
  r->c->rope_local_theta = r->family->local_theta;
  etk_status status = etk__config_number(r, r->root, r->family->theta_key ? r->family->theta_key : "rope_theta", &r->c->rope_theta);
  if (!status && r->family->local_theta > 0) status = etk__config_number(r, r->root, "rope_local_base_freq", &r->c->rope_local_theta);
  if (status) return status;
  if (etk__config_is_set(s.rope) && !json_is_object(s.rope)) return etk__config_wrong(r, s.key, s.rope, "an object or null");
  if (local || global) {
    if (r->family->local_theta <= 0)
      return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: %s differs from one type of layer to another, which is not supported for %s by this version",
                      r->name, s.key, r->family->model_type);
    if (local && !json_is_object(local)) return etk__config_wrong(r, "sliding_attention", local, "an object");
    if (global && !json_is_object(global)) return etk__config_wrong(r, "full_attention", global, "an object");
    status = read_local(r, local);
    s.rope = global;
  }
  if (!status) status = read_part(r, s.rope);
  return status || !json_is_object(s.rope) ? status : read_scaling(r, &s);
}

/* ---- writing ---- */

/* The shortest decimal that is this float again. */
static json_t *factor_json(const void *factors, int64_t pair) {
  float x = ((const float *)factors)[pair];
  char text[32];
  for (int digits = 6; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, (double)x);
    if (strtof(text, NULL) == x) break;
  }
  return json_real(strtod(text, NULL));
}

/* The three fields that transformers 4 insists on, and a fourth only where there is no other way to say it. */
static json_t *longrope_json(const etk_model_config *c) {
  int64_t pairs = etk__rotary_dims(c) / 2;
  struct writer w = {json_object(), false};
  etk__config_put(&w, "type", json_string("longrope"));
  etk__config_put(&w, "short_factor", etk__config_list(c->rope_short_factors, pairs, factor_json));
  etk__config_put(&w, "long_factor", etk__config_list(c->rope_long_factors, pairs, factor_json));
  etk_model_config implied = *c;
  implied.rope_factor = (double)c->max_position_embeddings / c->rope_original_positions;
  if (c->rope_attention_factor != etk__longrope_attention(&implied)) etk__config_put(&w, "attention_factor", json_real(c->rope_attention_factor));
  if (!w.failed) return w.root;
  json_decref(w.root);
  return NULL;
}

json_t *etk__rope_json(const etk_model_config *c) {
  json_int_t original = (json_int_t)c->rope_original_positions;
  switch (c->rope_scaling) {
  case ETK_ROPE_LINEAR: return json_pack("{s:s, s:f}", "type", "linear", "factor", c->rope_factor);
  case ETK_ROPE_LLAMA3:
    return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->rope_factor, "low_freq_factor", c->rope_low_freq_factor,
                     "high_freq_factor", c->rope_high_freq_factor, "original_max_position_embeddings", original);
  case ETK_ROPE_YARN:
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:I}", "rope_type", "yarn", "factor", c->rope_factor, "beta_fast", c->rope_beta_fast, "beta_slow",
                     c->rope_beta_slow, "attention_factor", c->rope_attention_factor, "original_max_position_embeddings", original);
  case ETK_ROPE_LONGROPE: return longrope_json(c);
  default: return json_null();
  }
}

/* ---- frequencies ---- */

/* YaRN: 0 for pairs that turn often within the original context, which stay; 1 for slow ones, which are stretched by `factor`. */
static double yarn_ramp(const etk_model_config *c, int64_t dims, int64_t pair) {
  double scale = (double)dims / (2 * log(c->rope_theta)), turns = c->rope_original_positions / TWO_PI;
  double low = fmax(floor(scale * log(turns / c->rope_beta_fast)), 0), high = fmin(ceil(scale * log(turns / c->rope_beta_slow)), (double)(dims - 1));
  if (low == high) high += 0.001;
  return fmin(fmax(((double)pair - low) / (high - low), 0), 1);
}

/* Llama 3.1: wavelengths beyond the original context are stretched by `factor`, smoothly between. */
static double llama3(const etk_model_config *c, double f) {
  double wavelength = TWO_PI / f, low = c->rope_original_positions / c->rope_low_freq_factor, high = c->rope_original_positions / c->rope_high_freq_factor;
  double smooth = (c->rope_original_positions / wavelength - c->rope_low_freq_factor) / (c->rope_high_freq_factor - c->rope_low_freq_factor);
  if (wavelength > low) return f / c->rope_factor;
  return wavelength >= high ? (1 - smooth) * f / c->rope_factor + smooth * f : f;
}

void etk__rope_frequencies(float *out, const etk_model_config *c, enum frequencies which) {
  int64_t dims = etk__rotary_dims(c), half = dims / 2;
  for (int64_t i = 0; i < half; i++) {
    double f = 1.0 / (double)(float)pow(which == FREQUENCIES_LOCAL ? c->rope_local_theta : c->rope_theta, 2.0 * (double)i / (double)dims);
    double ramp = which != FREQUENCIES_LOCAL && c->rope_scaling == ETK_ROPE_YARN ? yarn_ramp(c, dims, i) : 0;
    if (which == FREQUENCIES_LOCAL) out[i] = (float)f;
    else if (c->rope_scaling == ETK_ROPE_LINEAR) out[i] = (float)(f / c->rope_factor);
    else if (c->rope_scaling == ETK_ROPE_YARN) out[i] = (float)(f / c->rope_factor * ramp + f * (1 - ramp));
    else if (c->rope_scaling == ETK_ROPE_LLAMA3) out[i] = (float)llama3(c, f);
    else if (c->rope_scaling == ETK_ROPE_LONGROPE) out[i] = (float)(f / (double)(which == FREQUENCIES_LONG ? c->rope_long_factors : c->rope_short_factors)[i]);
    else out[i] = (float)f;
  }
}
