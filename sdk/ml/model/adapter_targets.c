/* Which modules PEFT's settings mean: target_modules, exclude_modules, layers_to_transform, and the patterns of ranks and alphas. The rules are those of
 * PEFT's tuners (check_target_module_exists, get_pattern_key), regular expressions included. */
#include "adapter_parts.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Hostile expressions fail instead of hanging; jansson's objects keep the order of the file, in which PEFT takes the first pattern that fits. */
enum { MATCH_LIMIT = 100000, PATTERNS = 4096 };

struct regex {
  const char *key; /* the setting it comes from, for messages */
  pcre2_code *code;
  pcre2_match_data *match;
  double value;    /* of a pattern */
};
struct names {
  const char **items; /* sorted */
  size_t count;
};
struct etk__adapter_targets {
  etk_arena arena;
  const char *path;
  pcre2_match_context *limits;
  bool all;
  struct names targets, excluded;
  struct regex target, exclude; /* where one expression is given instead of a list */
  struct regex *layer;          /* how a layer's number is found: layers_pattern's, or PEFT's own */
  size_t layer_count;
  int64_t *layers;
  size_t layers_given;
  bool by_layer;
  struct regex *ranks, *alphas;
  size_t rank_count, alpha_count;
};

bool etk__names_module(const char *target, const char *module) {
  size_t t = strlen(target), m = strlen(module);
  return m == t ? !strcmp(target, module) : m > t && module[m - t - 1] == '.' && !strcmp(module + m - t, target);
}

static void regex_free(struct regex *r) {
  pcre2_match_data_free(r->match);
  pcre2_code_free(r->code);
}
void etk__adapter_targets_free(etk__adapter_targets *t) {
  if (!t) return;
  regex_free(&t->target);
  regex_free(&t->exclude);
  for (size_t i = 0; i < t->layer_count; i++) regex_free(&t->layer[i]);
  for (size_t i = 0; i < t->rank_count; i++) regex_free(&t->ranks[i]);
  for (size_t i = 0; i < t->alpha_count; i++) regex_free(&t->alphas[i]);
  pcre2_match_context_free(t->limits);
  etk_arena_fini(&t->arena);
  etk_free(t);
}

/* whole: the expression must fit all of a name (re.fullmatch), else its beginning (re.match). */
static etk_status regex_new(etk_error *e, struct regex *r, const etk__adapter_targets *t, const char *key, const char *pattern, bool whole) {
  int code;
  PCRE2_SIZE offset;
  r->key = key;
  r->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | (whole ? PCRE2_ENDANCHORED : 0) | PCRE2_UTF, &code, &offset, NULL);
  if (!r->code && code != PCRE2_ERROR_NOMEMORY)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" has '%.60s', which is no regular expression (error at character %zu)", t->path, key, pattern, (size_t)offset);
  r->match = r->code ? pcre2_match_data_create_from_pattern(r->code, NULL) : NULL;
  return r->match ? ETK_OK : etk_fail_memory(e);
}

static etk_status regex_fits(etk_error *e, bool *out, const struct regex *r, const etk__adapter_targets *t, const char *text) {
  int found = pcre2_match(r->code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, r->match, t->limits);
  *out = found > 0;
  if (found == PCRE2_ERROR_NOMEMORY) return etk_fail_memory(e);
  return found > 0 || found == PCRE2_ERROR_NOMATCH ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" is too costly a regular expression", t->path, r->key);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static etk_status read_names(etk_error *e, struct names *out, etk__adapter_targets *t, const char *key, const json_t *list) {
  out->items = etk_arena_array(&t->arena, json_array_size(list) + 1, sizeof *out->items);
  if (!out->items) return etk_fail_memory(e);
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    if (!json_is_string(item)) return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" entry %zu is no text", t->path, key, i);
    if (!(out->items[out->count++] = etk_arena_strdup(&t->arena, json_string_value(item)))) return etk_fail_memory(e);
  }
  if (out->count) qsort(out->items, out->count, sizeof *out->items, compare_names);
  return ETK_OK;
}

static etk_status read_targets(etk_error *e, etk__adapter_targets *t, const json_t *value) {
  static const char key[] = "target_modules";
  if (json_is_string(value) && !strcmp(json_string_value(value), "all-linear")) t->all = true;
  else if (json_is_string(value)) return regex_new(e, &t->target, t, key, json_string_value(value), true);
  else if (!json_is_array(value) || !json_array_size(value))
    return etk_fail(e, ETK_E_FORMAT, "%s: \"target_modules\" is no list of names, no regular expression and not \"all-linear\"", t->path);
  else return read_names(e, &t->targets, t, key, value);
  return ETK_OK;
}

static etk_status read_excluded(etk_error *e, etk__adapter_targets *t, const json_t *value) {
  static const char key[] = "exclude_modules";
  if (!value || json_is_null(value)) return ETK_OK;
  if (json_is_string(value)) return *json_string_value(value) ? regex_new(e, &t->exclude, t, key, json_string_value(value), true) : ETK_OK;
  if (!json_is_array(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"exclude_modules\" is no list of names and no regular expression", t->path);
  return read_names(e, &t->excluded, t, key, value);
}

static etk_status read_layers(etk_error *e, etk__adapter_targets *t, const json_t *value, const json_t *pattern) {
  if (!value || json_is_null(value) || (json_is_array(value) && !json_array_size(value))) return ETK_OK;
  size_t count = json_is_array(value) ? json_array_size(value) : 1;
  if (!(t->layers = etk_arena_array(&t->arena, count, sizeof *t->layers))) return etk_fail_memory(e);
  for (size_t i = 0; i < count; i++) {
    const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
    if (!json_is_integer(item)) return etk_fail(e, ETK_E_FORMAT, "%s: \"layers_to_transform\" is no whole number and no list of them", t->path);
    t->layers[t->layers_given++] = json_integer_value(item);
  }
  t->by_layer = true;
  if (pattern && !json_is_null(pattern) && !json_is_string(pattern) && !json_is_array(pattern))
    return etk_fail(e, ETK_E_FORMAT, "%s: \"layers_pattern\" is no text and no list of texts", t->path);
  bool given = (json_is_string(pattern) && *json_string_value(pattern)) || json_array_size(pattern);
  size_t patterns = given && json_is_array(pattern) ? json_array_size(pattern) : 1;
  if (patterns > PATTERNS || !(t->layer = etk_arena_array(&t->arena, patterns, sizeof *t->layer)))
    return etk_fail(e, ETK_E_FORMAT, "%s: \"layers_pattern\" has %zu entries", t->path, patterns);
  for (size_t i = 0; i < patterns; i++) {
    const json_t *item = json_is_array(pattern) && given ? json_array_get(pattern, i) : pattern;
    if (given && !json_is_string(item)) return etk_fail(e, ETK_E_FORMAT, "%s: \"layers_pattern\" is no text and no list of texts", t->path);
    const char *text = given ? etk_arena_printf(&t->arena, ".*\\.%s\\.(\\d+)\\.", json_string_value(item)) : ".*\\.[^.]*\\.(\\d+)\\.";
    if (!text) return etk_fail_memory(e);
    etk_status status = regex_new(e, &t->layer[t->layer_count++], t, "layers_pattern", text, false);
    if (status) return status;
  }
  return ETK_OK;
}

static etk_status read_pattern(etk_error *e, struct regex **out, size_t *count, etk__adapter_targets *t, const char *key, const json_t *value) {
  if (!value || json_is_null(value)) return ETK_OK;
  if (!json_is_object(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" is no object of names and numbers", t->path, key);
  if (json_object_size(value) > PATTERNS)
    return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" has %zu entries, wanted at most %d", t->path, key, json_object_size(value), PATTERNS);
  if (!(*out = etk_arena_array(&t->arena, json_object_size(value) + 1, sizeof **out))) return etk_fail_memory(e);
  const char *name;
  json_t *number;
  json_object_foreach((json_t *)(uintptr_t)value, name, number) {
    const char *text = etk_arena_printf(&t->arena, "(.*\\.)?(%s)$", name);
    if (!text) return etk_fail_memory(e);
    if (!json_is_number(number) || !(json_number_value(number) > 0))
      return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" of \"%.80s\" is no number above 0", t->path, key, name);
    struct regex *r = &(*out)[(*count)++];
    r->value = json_number_value(number);
    etk_status status = regex_new(e, r, t, key, text, false);
    if (status) return status;
  }
  return ETK_OK;
}

etk_status etk__adapter_targets_new(etk_error *e, etk__adapter_targets **out, const char *name, const json_t *config) {
  *out = NULL;
  etk__adapter_targets *t = etk_calloc(1, sizeof *t);
  if (!t) return etk_fail_memory(e);
  t->path = etk_arena_strdup(&t->arena, name);
  t->limits = pcre2_match_context_create(NULL);
  etk_status status = t->path && t->limits ? ETK_OK : etk_fail_memory(e);
  if (t->limits) pcre2_set_match_limit(t->limits, MATCH_LIMIT);
  if (!status) status = read_targets(e, t, json_object_get(config, "target_modules"));
  if (!status) status = read_excluded(e, t, json_object_get(config, "exclude_modules"));
  if (!status) status = read_layers(e, t, json_object_get(config, "layers_to_transform"), json_object_get(config, "layers_pattern"));
  if (!status) status = read_pattern(e, &t->ranks, &t->rank_count, t, "rank_pattern", json_object_get(config, "rank_pattern"));
  if (!status) status = read_pattern(e, &t->alphas, &t->alpha_count, t, "alpha_pattern", json_object_get(config, "alpha_pattern"));
  if (status) etk__adapter_targets_free(t);
  else *out = t;
  return status;
}

static bool exactly(const struct names *names, const char *module) {
  return names->count && bsearch(&module, names->items, names->count, sizeof *names->items, compare_names);
}
/* etk__names_module for any of them: the name, or what follows one of its dots. */
static bool among(const struct names *names, const char *module) {
  while (module && !exactly(names, module)) {
    module = strchr(module, '.');
    if (module) module++;
  }
  return module != NULL;
}

static etk_status layer_chosen(etk_error *e, bool *out, const etk__adapter_targets *t, const char *module) {
  *out = false;
  for (size_t i = 0; i < t->layer_count; i++) {
    bool found;
    etk_status status = regex_fits(e, &found, &t->layer[i], t, module);
    if (status) return status;
    if (!found) continue;
    PCRE2_SIZE *at = pcre2_get_ovector_pointer(t->layer[i].match);
    int64_t number = 0;
    for (size_t k = at[2]; k < at[3] && number < INT32_MAX; k++) number = 10 * number + (module[k] - '0');
    for (size_t k = 0; k < t->layers_given; k++) *out |= t->layers[k] == number;
    return ETK_OK;
  }
  return ETK_OK;
}

etk_status etk__adapter_targets_select(etk_error *e, etk__adapter_targets *t, const char *module, bool *selected) {
  bool excluded = among(&t->excluded, module);
  etk_status status = t->exclude.code && !excluded ? regex_fits(e, &excluded, &t->exclude, t, module) : ETK_OK;
  *selected = false;
  if (status || excluded) return status;
  if (t->target.code) return regex_fits(e, selected, &t->target, t, module);
  if (exactly(&t->targets, module)) *selected = true;
  else if (t->all || among(&t->targets, module)) {
    *selected = true;
    if (t->by_layer) status = layer_chosen(e, selected, t, module);
  }
  return status;
}

static etk_status value_of(etk_error *e, double *out, const struct regex *patterns, size_t count, const etk__adapter_targets *t, const char *module) {
  for (size_t i = 0; i < count; i++) {
    bool found;
    etk_status status = regex_fits(e, &found, &patterns[i], t, module);
    if (status) return status;
    if (!found) continue;
    *out = patterns[i].value;
    return ETK_OK;
  }
  return ETK_OK;
}

etk_status etk__adapter_targets_values(etk_error *e, etk__adapter_targets *t, const char *module, double *rank, double *alpha) {
  etk_status status = value_of(e, rank, t->ranks, t->rank_count, t, module);
  return status ? status : value_of(e, alpha, t->alphas, t->alpha_count, t, module);
}
