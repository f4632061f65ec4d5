/* What a sentence-transformers folder adds to a transformer: modules.json and the modules it lists, in their order a transformer, a pooling, at most one dense
 * layer, a normalisation. */
#include "encoder_internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>

void etk__sentence_fini(struct sentence *s) {
  etk_free(s->model);
  etk_free(s->dense);
}

/* The path of `file` in `folder` where there is such a file; else NULL and ETK_OK. */
static etk_status find_file(etk_error *e, char **out, const char *folder, const char *file) {
  *out = etk_path_join(folder, file);
  if (!*out) return etk_fail_memory(e);
  if (etk_fs_exists(*out)) return ETK_OK;
  etk_free(*out);
  *out = NULL;
  return ETK_OK;
}

/* ---- 1_Pooling/config.json ---- */

static const struct {
  const char *flag, *word;
  etk_pooling pooling;
} poolings[] = {{"pooling_mode_cls_token", "cls", ETK_POOLING_CLS},
                {"pooling_mode_mean_tokens", "mean", ETK_POOLING_MEAN},
                {"pooling_mode_max_tokens", "max", ETK_POOLING_MAX}};
enum { POOLINGS = sizeof poolings / sizeof *poolings };

static etk_status pooling_of_word(etk_error *e, struct sentence *s, const char *path, const json_t *word) {
  for (int i = 0; i < POOLINGS; i++)
    if (json_is_string(word) && !strcmp(json_string_value(word), poolings[i].word)) return s->pooling = poolings[i].pooling, ETK_OK;
  return etk__json_wrong(e, path, "pooling_mode", word, "\"mean\", \"cls\" or \"max\"");
}

static etk_status pooling_of_flags(etk_error *e, struct sentence *s, const char *path, const json_t *root) {
  const char *key;
  json_t *value;
  int set = 0;
  json_object_foreach((json_t *)(uintptr_t)root, key, value) {
    if (strncmp(key, "pooling_mode_", 13) || json_is_false(value) || json_is_null(value)) continue;
    int known = -1;
    for (int i = 0; i < POOLINGS; i++)
      if (!strcmp(key, poolings[i].flag)) known = i;
    if (!json_is_boolean(value)) return etk__json_wrong(e, path, key, value, "true or false");
    if (known < 0)
      return etk_fail(e, ETK_E_UNSUPPORTED,
                      "%s: \"%.60s\" is set, a pooling that is not supported by this version (cls_token, mean_tokens and max_tokens are)", path, key);
    s->pooling = poolings[known].pooling;
    set++;
  }
  if (set > 1)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: sets %d kinds of pooling, whose results would follow one another; this version pools in one way", path,
                    set);
  return set ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "%s: sets no kind of pooling (pooling_mode_mean_tokens or another)", path);
}

static etk_status read_pooling(etk_error *e, struct sentence *s, const char *folder) {
  char *path = etk_path_join(folder, "config.json");
  json_t *root = NULL;
  if (!path) return etk_fail_memory(e);
  etk_status status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
  const json_t *word = json_object_get(root, "pooling_mode");
  if (!status) status = word ? pooling_of_word(e, s, path, word) : pooling_of_flags(e, s, path, root);
  const char *width = json_object_get(root, "embedding_dimension") ? "embedding_dimension" : "word_embedding_dimension";
  if (!status) status = etk__json_count(e, path, root, width, false, &s->width);
  s->pools = true;
  json_decref(root);
  etk_free(path);
  return status;
}

/* ---- 2_Dense/config.json ---- */

static etk_status read_dense(etk_error *e, struct sentence *s, const char *folder) {
  char *path = etk_path_join(folder, "config.json");
  json_t *root = NULL;
  if (!path) return etk_fail_memory(e);
  etk_status status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
  s->dense_bias = true;
  if (!status) status = etk__json_count(e, path, root, "in_features", true, &s->dense_in);
  if (!status) status = etk__json_count(e, path, root, "out_features", true, &s->dense_out);
  if (!status) status = etk__json_bool(e, path, root, "bias", &s->dense_bias);
  const json_t *activation = json_object_get(root, "activation_function");
  const char *kind = json_is_string(activation) ? strrchr(json_string_value(activation), '.') : NULL;
  s->dense_tanh = !activation || (kind && !strcmp(kind, ".Tanh"));
  if (!status && !s->dense_tanh && !(kind && !strcmp(kind, ".Identity")))
    status = etk__json_wrong(e, path, "activation_function", activation, "torch's Tanh or Identity; others are not supported by this version");
  if (!status && !(s->dense = etk_strdup(folder))) status = etk_fail_memory(e);
  json_decref(root);
  etk_free(path);
  return status;
}

/* ---- sentence_bert_config.json, beside the transformer ---- */

/* "do_lower_case" changes nothing where the tokenizer lower-cases anyway. */
static etk_status check_case(etk_error *e, const char *path, const char *folder) {
  char *beside = NULL;
  json_t *root = NULL;
  bool lower = false;
  etk_status status = find_file(e, &beside, folder, "tokenizer_config.json");
  if (!status && beside) status = etk__json_read(e, &root, beside, ETK__CONFIG_LIMIT, false);
  if (!status) lower = json_is_true(json_object_get(root, "do_lower_case"));
  json_decref(root);
  etk_free(beside);
  if (status || lower) return status;
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"do_lower_case\" is set and the tokenizer does not lower-case; this version does not do it for it",
                  path);
}

static etk_status read_limits(etk_error *e, struct sentence *s, const char *folder) {
  static const char *const names[] = {"sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
                                      "sentence_xlm-roberta_config.json"};
  char *path = NULL;
  json_t *root = NULL;
  bool lower = false;
  etk_status status = ETK_OK;
  for (size_t i = 0; i < sizeof names / sizeof *names && !path && !status; i++) status = find_file(e, &path, folder, names[i]);
  if (status || !path) return status;
  status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
  if (!status) status = etk__json_count(e, path, root, "max_seq_length", false, &s->max_tokens);
  if (!status) status = etk__json_bool(e, path, root, "do_lower_case", &lower);
  if (!status && lower) status = check_case(e, path, folder);
  json_decref(root);
  etk_free(path);
  return status;
}

/* A prompt that would stand before every text. */
static etk_status check_prompt(etk_error *e, const char *folder) {
  char *path = NULL;
  json_t *root = NULL;
  etk_status status = find_file(e, &path, folder, "config_sentence_transformers.json");
  if (status || !path) return status;
  status = etk__json_read(e, &root, path, ETK__CONFIG_LIMIT, false);
  const json_t *name = json_object_get(root, "default_prompt_name");
  const char *prompt = json_is_string(name) ? json_string_value(json_object_get(json_object_get(root, "prompts"), json_string_value(name))) : NULL;
  if (!status && prompt && *prompt)
    status = etk_fail(e, ETK_E_UNSUPPORTED,
                      "%s: \"default_prompt_name\" is \"%.40s\", by which every text begins with '%.60s'; this version adds no prompts", path,
                      json_string_value(name), prompt);
  json_decref(root);
  etk_free(path);
  return status;
}

/* ---- modules.json ---- */

enum module { MODULE_TRANSFORMER, MODULE_CLIP, MODULE_POOLING, MODULE_DENSE, MODULE_NORMALIZE, MODULES };
static const char *const module_names[MODULES] = {"Transformer", "CLIPModel", "Pooling", "Dense", "Normalize"};

static etk_status read_module(etk_error *e, struct sentence *s, const char *folder, const char *path, enum module kind) {
  char *inside = *path ? etk_path_join(folder, path) : etk_strdup(folder);
  etk_status status = inside ? ETK_OK : etk_fail_memory(e);
  if (!status && (kind == MODULE_TRANSFORMER || kind == MODULE_CLIP)) {
    status = read_limits(e, s, inside);
    s->model = inside;
    return status;
  }
  if (!status && kind == MODULE_POOLING) status = read_pooling(e, s, inside);
  if (!status && kind == MODULE_DENSE) status = read_dense(e, s, inside);
  if (kind == MODULE_NORMALIZE) s->normalize = true;
  etk_free(inside);
  return status;
}

/* Which module of a list may follow which: each at most once, in the order of their numbers, a dense layer behind a pooling. */
static etk_status add_module(etk_error *e, struct sentence *s, const char *folder, const char *list, size_t index, const json_t *item, int *last) {
  const json_t *type = json_object_get(item, "type"), *path = json_object_get(item, "path");
  const char *dot = json_is_string(type) ? strrchr(json_string_value(type), '.') : NULL;
  int kind = -1;
  for (int i = 0; i < MODULES && dot; i++)
    if (!strcmp(dot + 1, module_names[i])) kind = i;
  if (!json_is_string(type) || !json_is_string(path)) return etk_fail(e, ETK_E_FORMAT, "%s: module %zu has no \"type\" and \"path\"", list, index);
  if (*json_string_value(path) && !etk_path_is_inside(json_string_value(path)))
    return etk_fail(e, ETK_E_FORMAT, "%s: module %zu has the path \"%.80s\", which leaves the folder", list, index, json_string_value(path));
  bool first = kind == MODULE_TRANSFORMER || kind == MODULE_CLIP, follows = first ? index == 0 : index > 0 && kind > *last;
  if (kind == MODULE_DENSE && !s->pools) follows = false;
  if (kind < 0 || !follows)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: module %zu is %.80s; this version runs a Transformer (or CLIPModel), then Pooling, Dense and Normalize, each at most once "
                    "and in this order",
                    list, index, json_string_value(type));
  *last = kind;
  return read_module(e, s, folder, json_string_value(path), (enum module)kind);
}

etk_status etk__sentence_read(etk_error *e, struct sentence *s, const char *folder) {
  char *list = NULL;
  json_t *root = NULL, *item;
  size_t i;
  int last = -1;
  etk_status status = find_file(e, &list, folder, "modules.json");
  if (status || !list) return status;
  status = etk__json_read(e, &root, list, ETK__CONFIG_LIMIT, true);
  json_array_foreach(root, i, item) if (!status) status = add_module(e, s, folder, list, i, item, &last);
  if (!status && !s->model) status = etk_fail(e, ETK_E_FORMAT, "%s: lists no modules", list);
  if (!status) status = check_prompt(e, folder);
  json_decref(root);
  etk_free(list);
  return status;
}
