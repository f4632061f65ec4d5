/* config_tree.h: what the tests of etk/config.h share: are two trees equal, and where the public suites lie. */
#ifndef TESTS_CONFIG_TREE_H
#define TESTS_CONFIG_TREE_H

#include <etk/config.h>
#include <etk/fs.h>
#include <math.h>

static inline bool tree_same_bytes(const char *a, size_t a_size, const char *b, size_t b_size) {
  return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static inline const etk_config_node *tree_child(const etk_config_node *map, const etk_config_node *like, const etk_config_node *guess) {
  if (guess && tree_same_bytes(guess->key, guess->key_size, like->key, like->key_size)) return guess;
  for (const etk_config_node *c = map->first; c; c = c->next)
    if (tree_same_bytes(c->key, c->key_size, like->key, like->key_size)) return c;
  return NULL;
}

/* Kinds, values and keys; the order of lists, and not that of maps. With `times_as_text` a time equals the string that spells it. */
static inline bool tree_equal(const etk_config_node *a, const etk_config_node *b, bool times_as_text) {
  bool text_a = a->kind == ETK_CONFIG_TEXT || (times_as_text && a->kind == ETK_CONFIG_TIME);
  bool text_b = b->kind == ETK_CONFIG_TEXT || (times_as_text && b->kind == ETK_CONFIG_TIME);
  if (text_a && text_b) return tree_same_bytes(a->text, a->text_size, b->text, b->text_size);
  if (a->kind != b->kind || a->count != b->count) return false;
  if (a->kind == ETK_CONFIG_FLAG) return a->flag == b->flag;
  if (a->kind == ETK_CONFIG_INT) return a->integer == b->integer;
  if (a->kind == ETK_CONFIG_REAL) return (isnan(a->real) && isnan(b->real)) || memcmp(&a->real, &b->real, sizeof a->real) == 0;
  if (a->kind == ETK_CONFIG_TIME) return a->time == b->time && tree_same_bytes(a->text, a->text_size, b->text, b->text_size);
  const etk_config_node *y = b->first;
  for (const etk_config_node *x = a->first; x; x = x->next, y = y ? y->next : NULL) {
    const etk_config_node *other = a->kind == ETK_CONFIG_MAP ? tree_child(b, x, y) : y;
    if (!other || !tree_equal(x, other, times_as_text)) return false;
  }
  return true;
}

static inline bool tree_any(const etk_config_node *node, bool (*is)(const etk_config_node *node)) {
  if (is(node)) return true;
  for (const etk_config_node *c = node->first; c; c = c->next)
    if (tree_any(c, is)) return true;
  return false;
}
static inline bool tree_is_null(const etk_config_node *node) { return node->kind == ETK_CONFIG_NULL; }
static inline bool tree_is_endless(const etk_config_node *node) { return node->kind == ETK_CONFIG_REAL && !isfinite(node->real); }

/* Can the format hold the tree? */
static inline bool tree_fits(const etk_config_node *root, etk_config_format format) {
  if (format == ETK_CONFIG_TOML) return root->kind == ETK_CONFIG_MAP && !tree_any(root, tree_is_null);
  return format != ETK_CONFIG_JSON || !tree_any(root, tree_is_endless);
}

/* Writes and reads again. NULL: the same tree came back; else what went wrong, in `why`. */
static inline const char *tree_round_trip(const etk_config_node *root, etk_config_format format, char *why, size_t why_size) {
  etk_text text = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  etk_config *again = NULL;
  const char *problem = NULL;
  bool fits = tree_fits(root, format);
  etk_status status = etk_config_write(&e, &text, root, format);
  if ((status == ETK_OK) != fits)
    snprintf(why, why_size, "%.1500s", status ? e.message : "written although the format cannot hold it"), problem = why;
  if (!problem && fits) {
    if (etk_config_parse(&e, &again, "again", text.data ? text.data : "", text.size, format))
      snprintf(why, why_size, "%.500s in:\n%.1500s", e.message, text.data), problem = why;
    else if (!tree_equal(root, etk_config_root(again), format != ETK_CONFIG_TOML))
      snprintf(why, why_size, "another tree:\n%.1500s", text.data ? text.data : ""), problem = why;
    if (again) etk_config_free(again);
  }
  etk_text_free(&text);
  return problem;
}

/* A folder of the public suites, or NULL where they are not at hand. Free with etk_free. */
static inline char *suite_folder(const char *name) {
  const char *shared = getenv("ETK_SHARED");
  char *suites = etk_path_join(shared ? shared : "../shared", "suites"), *path = suites ? etk_path_join(suites, name) : NULL;
  etk_free(suites);
  if (path && etk_fs_is_dir(path)) return path;
  etk_free(path);
  return NULL;
}

static inline bool has_ending(const char *name, const char *end) {
  size_t n = strlen(name), m = strlen(end);
  return n >= m && strcmp(name + n - m, end) == 0;
}

#endif
