/* config.json: what layers have of their own, a window or none, rotary positions or none. The rules are those of transformers' configuration classes. */
#include "config.h"

void etk__config_full_every(etk_model_config *c, int64_t every) {
  for (int64_t i = 0; i < c->num_hidden_layers && i < ETK_MODEL_LAYERS; i++)
    if ((i + 1) % every == 0) c->layer_flags[i] |= ETK_LAYER_FULL;
    else c->layer_flags[i] &= (uint8_t)~ETK_LAYER_FULL;
}

static int64_t full_layers(const etk_model_config *c) {
  int64_t count = 0;
  for (int64_t i = 0; i < c->num_hidden_layers && i < ETK_MODEL_LAYERS; i++) count += c->layer_flags[i] & ETK_LAYER_FULL;
  return count;
}

/* Of a family whose layers are alike: all have the window, or none. */
static etk_status read_alike(const struct reader *r, const json_t *types) {
  const char *kind = r->c->sliding_window ? "sliding_attention" : "full_attention";
  size_t i;
  json_t *item;
  json_array_foreach(types, i, item)
    if (!json_is_string(item) || strcmp(json_string_value(item), kind))
      return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: \"layer_types\" has layers other than %s, which is not supported for %s by this version", r->name,
                      kind, r->family->model_type);
  return ETK_OK;
}

/* layer_types, which says what max_window_layers and sliding_window_pattern otherwise do. */
static etk_status read_types(const struct reader *r, const json_t *types) {
  size_t i;
  json_t *item;
  if (!json_is_array(types) || (int64_t)json_array_size(types) != r->c->num_hidden_layers)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: \"layer_types\" has %zu entries, wanted a list of %lld, one a layer", r->name, json_array_size(types),
                    (long long)r->c->num_hidden_layers);
  json_array_foreach(types, i, item) {
    bool full = json_is_string(item) && !strcmp(json_string_value(item), "full_attention");
    if (!full && (!json_is_string(item) || strcmp(json_string_value(item), "sliding_attention")))
      return etk__config_wrong(r, "layer_types", item, "\"full_attention\" or \"sliding_attention\" for each layer");
    r->c->layer_flags[i] = full ? ETK_LAYER_FULL : 0;
  }
  return ETK_OK;
}

/* qwen2, qwen3: layers from max_window_layers on, where use_sliding_window says so. */
static etk_status read_late(const struct reader *r) {
  const json_t *first = etk__config_get(r, "max_window_layers");
  if (etk__config_is_set(first) && (!json_is_integer(first) || json_integer_value(first) < 0))
    return etk__config_wrong(r, "max_window_layers", first, "a whole number from 0");
  int64_t from = etk__config_is_set(first) ? json_integer_value(first) : 28;
  for (int64_t i = 0; i < r->c->num_hidden_layers; i++) r->c->layer_flags[i] = i < from ? ETK_LAYER_FULL : 0;
  return ETK_OK;
}

/* gemma2: every second layer sees all, whatever the file says; gemma3: every sixth, or as sliding_window_pattern says. */
static etk_status read_pattern(const struct reader *r) {
  const char *key = etk__config_get(r, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  int64_t every = r->family->window_pattern;
  etk_status status = etk__config_integer(r, r->root, key, false, &every);
  if (status) return status;
  if (every != r->family->window_pattern && !r->family->local_theta) return etk__config_refuse(r, key, etk__config_get(r, key));
  etk__config_full_every(r->c, every);
  return ETK_OK;
}

static etk_status read_windows(const struct reader *r) {
  const json_t *types = etk__config_get(r, "layer_types"), *window = etk__config_get(r, "sliding_window");
  etk_model_config *c = r->c;
  bool chosen = false;
  etk_status status = r->family->window_choice ? etk__config_flag(r, "use_sliding_window", &chosen) : ETK_OK;
  if (status) return status;
  if (json_is_null(types)) types = NULL;
  if (r->family->windows == WINDOWS_NONE) {
    bool unused = (r->family->window_choice && !chosen) || json_is_false(window);
    return etk__config_is_set(window) && !unused ? etk__config_refuse(r, "sliding_window", window) : read_alike(r, types);
  }
  if (!r->family->window_choice || chosen) {
    c->sliding_window = window ? 0 : r->family->sliding_window; /* null: none */
    status = etk__config_integer(r, r->root, "sliding_window", false, &c->sliding_window);
  }
  if (status || r->family->windows == WINDOWS_ALL) return status ? status : read_alike(r, types);
  if (r->family->windows == WINDOWS_LATE && !c->sliding_window && !types) return ETK_OK;
  if (c->num_hidden_layers > ETK_MODEL_LAYERS)
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: num_hidden_layers is %lld; of models whose layers differ this version runs up to %d", r->name,
                    (long long)c->num_hidden_layers, ETK_MODEL_LAYERS);
  if (types) status = read_types(r, types);
  else if (r->family->windows == WINDOWS_PATTERN) status = read_pattern(r);
  else status = read_late(r);
  if (status) return status;
  int64_t full = full_layers(c);
  if (full < c->num_hidden_layers && !c->sliding_window)
    return etk_fail(r->e, ETK_E_FORMAT, "%s: %lld of %lld layers slide, but there is no window: \"sliding_window\"%s is not set", r->name,
                    (long long)(c->num_hidden_layers - full), (long long)c->num_hidden_layers, r->family->window_choice ? " or \"use_sliding_window\"" : "");
  if (full == c->num_hidden_layers) { /* alike after all */
    c->sliding_window = 0;
    c->rope_local_theta = 0;
    memset(c->layer_flags, 0, sizeof c->layer_flags);
  }
  return ETK_OK;
}

/* smollm3: a list with 0 where a layer does not turn, or every fourth layer. */
static etk_status read_no_rope(const struct reader *r) {
  const json_t *list = etk__config_get(r, "no_rope_layers");
  int64_t every = r->family->no_rope_interval;
  etk_status status = etk__config_integer(r, r->root, "no_rope_layer_interval", false, &every);
  if (status) return status;
  if (r->c->num_hidden_layers > ETK_MODEL_LAYERS)
    return etk_fail(r->e, ETK_E_UNSUPPORTED, "%s: num_hidden_layers is %lld; of models whose layers differ this version runs up to %d", r->name,
                    (long long)r->c->num_hidden_layers, ETK_MODEL_LAYERS);
  if (etk__config_is_set(list) && (!json_is_array(list) || (int64_t)json_array_size(list) < r->c->num_hidden_layers))
    return etk_fail(r->e, ETK_E_FORMAT, "%s: \"no_rope_layers\" has %zu entries, wanted a list of %lld, one a layer", r->name, json_array_size(list),
                    (long long)r->c->num_hidden_layers);
  for (int64_t i = 0; i < r->c->num_hidden_layers; i++) {
    const json_t *turns = json_array_get(list, (size_t)i);
    if (turns && (!json_is_integer(turns) || json_integer_value(turns) < 0 || json_integer_value(turns) > 1))
      return etk__config_wrong(r, "no_rope_layers", turns, "0 or 1 for each layer");
    if (turns ? !json_integer_value(turns) : (i + 1) % every == 0) r->c->layer_flags[i] |= ETK_LAYER_NO_ROPE;
  }
  return ETK_OK;
}

etk_status etk__config_layers(const struct reader *r) {
  etk_status status = read_windows(r);
  return status || !r->family->no_rope_interval ? status : read_no_rope(r);
}

/* The n for which every n-th layer, and no other, sees all; 0: there is none. */
static int64_t pattern_of(const etk_model_config *c) {
  int64_t n = 1;
  while (n <= c->num_hidden_layers && !(c->layer_flags[n - 1] & ETK_LAYER_FULL)) n++;
  for (int64_t i = 0; i < c->num_hidden_layers; i++)
    if (!(c->layer_flags[i] & ETK_LAYER_FULL) != ((i + 1) % n != 0)) return 0;
  return n;
}

static json_t *turns_json(const void *c, int64_t layer) { return json_integer(etk__layer_turns(c, layer)); }
static json_t *type_json(const void *c, int64_t layer) { return json_string(etk__layer_window(c, layer) ? "sliding_attention" : "full_attention"); }

void etk__layers_json(struct writer *w, const etk_model_config *c, const struct family *family) {
  if (family->no_rope_interval) etk__config_put(w, "no_rope_layers", etk__config_list(c, c->num_hidden_layers, turns_json));
  if (family->windows == WINDOWS_NONE) return;
  etk__config_put(w, "sliding_window", c->sliding_window ? json_integer(c->sliding_window) : json_null());
  if (family->windows == WINDOWS_ALL) return;
  etk__config_put(w, "layer_types", etk__config_list(c, c->num_hidden_layers, type_json));
  /* and what versions of transformers that do not know layer_types read */
  if (family->window_choice) etk__config_put(w, "use_sliding_window", json_boolean(c->sliding_window > 0));
  int64_t first = 0;
  while (first < c->num_hidden_layers && !etk__layer_window(c, first)) first++;
  if (family->windows == WINDOWS_LATE) etk__config_put(w, "max_window_layers", json_integer(first));
  int64_t pattern = family->local_theta > 0 && c->sliding_window ? pattern_of(c) : 0;
  if (pattern) etk__config_put(w, "sliding_window_pattern", json_integer(pattern));
}
