/* config_change.c: setting values, merging trees, profiles and the environment. Every change is made whole or not at all. */
#include "config_internal.h"

/* What several trees and texts share is copied into the tree that is changed; a bound, as aliases may multiply long texts. */
enum { COPIED_TEXT = 64 << 20, PATH_TEXT = 1024 };

static etk__node *mine(const etk_config_node *node) { return (etk__node *)(uintptr_t)node; }
static bool is_map(const etk_config_node *node) { return node->kind == ETK_CONFIG_MAP; }
static bool is_parent(const etk_config_node *node) { return node->kind == ETK_CONFIG_MAP || node->kind == ETK_CONFIG_LIST; }

static etk_status no_memory(etk_error *e, const etk_config *config) {
  return etk_fail(e, ETK_E_NO_MEMORY, "cannot change '%s': out of memory", config->name);
}

etk_status etk_config_new(etk_error *e, etk_config **out, const char *name) {
  etk_config *config;
  etk_status status = etk__config_create(e, &config, name, 0);
  if (status) return status;
  etk__node *root = etk__config_node(config, ETK_CONFIG_MAP, 0, 0);
  if (!root) {
    etk_config_free(config);
    return etk_fail(e, ETK_E_NO_MEMORY, "cannot make '%s': out of memory", name);
  }
  config->root = &root->node;
  *out = config;
  return ETK_OK;
}

/* ---- sharing ---- */

/* Gives a node children of its own; theirs are shared from then on. */
static bool own_children(etk_config *config, etk__node *node) {
  if (!node->shared) return true;
  etk__node own = *node;
  own.node.first = NULL;
  own.node.count = 0;
  own.last = NULL;
  own.shared = false;
  for (const etk_config_node *c = node->node.first; c; c = c->next) {
    etk__node *copy = etk_arena_alloc(&config->arena, sizeof *copy);
    if (!copy) return false;
    if (c->first) mine(c)->shared = true;
    *copy = *mine(c);
    copy->node.next = NULL;
    etk__config_link(&own, copy);
  }
  *node = own;
  return true;
}

/* The tree as it is now, whatever is changed later: costs one node. */
static etk__node *snapshot(etk_config *config) {
  etk__node *copy = etk_arena_alloc(&config->arena, sizeof *copy);
  if (!copy) return NULL;
  mine(config->root)->shared = config->root->first != NULL;
  *copy = *mine(config->root);
  return copy;
}

static void unlink_child(etk__node *parent, const etk_config_node *child) {
  etk__node *before = NULL;
  for (const etk_config_node *c = parent->node.first; c != child; c = c->next) before = mine(c);
  if (before) before->node.next = child->next;
  else parent->node.first = child->next;
  if (parent->last == mine(child)) parent->last = before;
  parent->node.count--;
  parent->nodes -= mine(child)->nodes;
}

/* Puts a value in the place of another; the key stays as it was spelt. */
static void replace(etk__node *old, etk__node *value) {
  etk__node whole = *value;
  whole.node.key = old->node.key;
  whole.node.key_size = old->node.key_size;
  whole.node.next = old->node.next;
  *old = whole;
}

/* ---- copies ---- */

typedef struct copier {
  etk_error *e;
  etk_config *to;
  const etk_config *from;
  const char *origin; /* of all nodes; NULL: each keeps its own */
  etk__names origins; /* of `from` → in the arena of `to` */
  size_t text, nodes;
} copier;

static const char *copy_text(copier *c, const char *text, size_t size) {
  c->text += size;
  return etk_arena_strndup(&c->to->arena, text, size);
}

static const char *copy_origin(copier *c, const etk_config_node *node) {
  if (c->origin) return c->origin;
  const char *origin = etk_config_origin(c->from, node);
  void **place = etk__names_at(&c->origins, NULL, origin, strlen(origin));
  if (place && !*place) *place = etk_arena_strdup(&c->to->arena, origin);
  return place ? *place : NULL;
}

static etk_status too_much(copier *c, const char *what) {
  return etk_fail(c->e, ETK_E_UNSUPPORTED, "cannot change '%s': with '%s' it would have %s", c->to->name, c->from->name, what);
}

/* `level` is the number of lists and maps around the copy. */
static etk_status copy_node(copier *c, const etk_config_node *from, int level, etk__node **out) {
  if (++c->nodes > ETK__CONFIG_NODES) return too_much(c, "more than 1000000 values");
  if (level + is_parent(from) > ETK__CONFIG_DEPTH) return too_much(c, "more than 64 levels");
  if (c->text > COPIED_TEXT) return too_much(c, "more than 64 MiB of text");
  etk__node *to = *out = etk__config_node(c->to, from->kind, from->line, from->column);
  if (!to) return no_memory(c->e, c->to);
  to->node = *from;
  to->node.first = to->node.next = NULL;
  to->node.count = 0;
  to->complete = true;
  if (c->origin) to->node.line = to->node.column = to->node.key_line = to->node.key_column = 0;
  to->origin = copy_origin(c, from);
  if (from->key) to->node.key = copy_text(c, from->key, from->key_size);
  if (from->text) to->node.text = copy_text(c, from->text, from->text_size);
  if (!to->origin || (from->key && !to->node.key) || (from->text && !to->node.text)) return no_memory(c->e, c->to);
  for (const etk_config_node *child = from->first; child; child = child->next) {
    etk__node *copy;
    etk_status status = copy_node(c, child, level + 1, &copy);
    if (status) return status;
    etk__config_link(to, copy);
    to->nodes += copy->nodes;
    if (copy->height + 1 > to->height) to->height = copy->height + 1;
  }
  return ETK_OK;
}

/* ---- merging ---- */

/* Finds children of a map by key as etk__config_find_child does, in constant time. */
typedef struct child_index {
  const etk__node *map;
  etk__names names;
  char **dashed; /* keys with '_' for '-', where they had one */
  size_t dashed_count;
} child_index;

static void index_fini(child_index *index) {
  for (size_t i = 0; i < index->dashed_count; i++) etk_free(index->dashed[i]);
  etk_free(index->dashed);
  etk__names_fini(&index->names);
}

static char *underscored(const char *key, size_t size) {
  char *copy = etk_strndup(key, size);
  for (size_t i = 0; copy && i < size; i++) copy[i] = key[i] == '-' ? '_' : key[i];
  return copy;
}

static bool index_dashed(child_index *index, const etk_config_node *child) {
  char *key = underscored(child->key, child->key_size), **grown = NULL;
  if (key) grown = etk_realloc(index->dashed, index->dashed_count + 1, sizeof *grown);
  if (!grown) {
    etk_free(key);
    return false;
  }
  index->dashed = grown;
  index->dashed[index->dashed_count++] = key;
  void **place = etk__names_at(&index->names, index->map, key, child->key_size);
  if (place && !*place) *place = (void *)(uintptr_t)child;
  return place != NULL;
}

/* Keys as spelt first, so that they win. */
static bool index_init(child_index *index, const etk__node *map) {
  *index = (child_index){.map = map};
  for (const etk_config_node *child = map->node.first; child; child = child->next) {
    void **place = etk__names_at(&index->names, map, child->key, child->key_size);
    if (!place) return false;
    *place = (void *)(uintptr_t)child;
  }
  for (const etk_config_node *child = map->node.first; child; child = child->next)
    if (memchr(child->key, '-', child->key_size) && !index_dashed(index, child)) return false;
  return true;
}

/* false: out of memory */
static bool index_find(const child_index *index, const etk_config_node *like, etk__node **out) {
  *out = etk__names_get(&index->names, index->map, like->key, like->key_size);
  if (*out || !memchr(like->key, '-', like->key_size)) return true;
  char *key = underscored(like->key, like->key_size);
  if (key) *out = etk__names_get(&index->names, index->map, key, like->key_size);
  etk_free(key);
  return key != NULL;
}

static etk_status merge_map(copier *c, etk__node *into, const etk_config_node *over, int level);

static etk_status merge_child(copier *c, etk__node *into, etk__node *old, const etk_config_node *child, int level) {
  size_t before = old ? old->nodes : 0;
  etk_status status = ETK_OK;
  if (old && is_map(&old->node) && is_map(child)) {
    status = merge_map(c, old, child, level + 1);
    into->nodes += old->nodes - before;
    return status;
  }
  etk__node *copy;
  status = copy_node(c, child, level, &copy);
  if (status) return status;
  into->nodes += copy->nodes - before;
  if (copy->height + 1 > into->height) into->height = copy->height + 1;
  if (old) replace(old, copy);
  else etk__config_link(into, copy);
  return ETK_OK;
}

/* `level`: lists and maps down to `into`, itself counted. */
static etk_status merge_map(copier *c, etk__node *into, const etk_config_node *over, int level) {
  if (!over->first) return ETK_OK;
  if (!own_children(c->to, into)) return no_memory(c->e, c->to);
  child_index index;
  etk_status status = index_init(&index, into) ? ETK_OK : no_memory(c->e, c->to);
  for (const etk_config_node *child = over->first; child && !status; child = child->next) {
    etk__node *old;
    if (index_find(&index, child, &old)) status = merge_child(c, into, old, child, level);
    else status = no_memory(c->e, c->to);
  }
  index_fini(&index);
  return status;
}

/* Lays `over`, of the configuration `from`, over the whole of config. */
static etk_status merge_root(etk_error *e, etk_config *config, const etk_config *from, const etk_config_node *over) {
  copier c = {.e = e, .to = config, .from = from};
  etk__node *before = snapshot(config), *copy = NULL;
  etk_status status = before ? ETK_OK : no_memory(e, config);
  if (!status && is_map(config->root) && is_map(over)) status = merge_map(&c, mine(config->root), over, 1);
  else if (!status) status = copy_node(&c, over, 0, &copy);
  if (!status && copy) config->root = &copy->node;
  if (!status && mine(config->root)->nodes > ETK__CONFIG_NODES) status = too_much(&c, "more than 1000000 values");
  etk__names_fini(&c.origins);
  if (status && before) config->root = &before->node;
  return status;
}

etk_status etk_config_merge(etk_error *e, etk_config *config, const etk_config *over) {
  return config == over ? ETK_OK : merge_root(e, config, over, over->root);
}

/* ---- profiles ---- */

static etk_status unknown_profile(etk_error *e, const etk_config *config, const etk_config_node *profiles, const char *name) {
  etk_text known = ETK_TEXT_INIT;
  const char *names[64], *near = NULL;
  size_t count = 0;
  for (const etk_config_node *p = profiles->first; p; p = p->next) {
    etk_text_printf(&known, "%s%s", p == profiles->first ? "" : ", ", p->key);
    if (count < sizeof names / sizeof names[0]) names[count++] = p->key;
  }
  near = etk_text_suggest(name, names, count);
  etk_status status = etk__config_fail_at(e, config, ETK_E_NOT_FOUND, profiles, "there is no profile '%s'%s%s%s; there %s %s", name,
                                          near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", profiles->count == 1 ? "is" : "are",
                                          known.size && !known.failed ? known.data : "none");
  etk_text_free(&known);
  return status;
}

/* *out: the profile's map, or NULL for one that says nothing. */
static etk_status find_profile(etk_error *e, const etk_config *config, const etk_config_node *profiles, const char *name,
                               const etk_config_node **out) {
  *out = NULL;
  if (!profiles || profiles->kind == ETK_CONFIG_NULL)
    return etk_fail(e, ETK_E_NOT_FOUND, "there is no profile '%s': '%s' has no map 'profiles'", name, config->name);
  if (!is_map(profiles))
    return etk__config_fail_at(e, config, ETK_E_INVALID, profiles, "'profiles' is %s, a map of profiles is wanted",
                               etk__config_kind_name(profiles->kind));
  const etk_config_node *profile = etk_config_child(profiles, name);
  if (!profile) return unknown_profile(e, config, profiles, name);
  if (profile->kind == ETK_CONFIG_NULL) return ETK_OK;
  if (!is_map(profile))
    return etk__config_fail_at(e, config, ETK_E_INVALID, profile, "profile '%s' is %s, a map is wanted", name, etk__config_kind_name(profile->kind));
  const etk_config_node *nested = etk_config_child(profile, "profiles");
  if (nested) return etk__config_fail_at(e, config, ETK_E_INVALID, nested, "profile '%s' holds 'profiles'; profiles do not nest", name);
  *out = profile;
  return ETK_OK;
}

etk_status etk_config_profile(etk_error *e, etk_config *config, const char *name) {
  const etk_config_node *profile = NULL, *profiles = etk_config_child(config->root, "profiles");
  etk_status status = name ? find_profile(e, config, profiles, name, &profile) : ETK_OK;
  if (status || !profiles) return status;
  etk__node *before = snapshot(config);
  if (!before || !own_children(config, mine(config->root))) return no_memory(e, config);
  unlink_child(mine(config->root), etk_config_child(config->root, "profiles"));
  if (profile) status = merge_root(e, config, config, profile);
  if (status) config->root = &before->node;
  return status;
}

/* ---- setting one value ---- */

typedef struct key_path {
  const char *parts[ETK__CONFIG_DEPTH];
  size_t sizes[ETK__CONFIG_DEPTH];
  int count;
  bool any_case;
} key_path;

typedef struct change {
  etk_error *e;
  etk_config *config;
  const char *origin; /* in the arena */
  const key_path *path;
} change;

static etk_status usage(const change *c, const char *format, ...) ETK_PRINTF(2, 3);
static etk_status usage(const change *c, const char *format, ...) {
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return etk_fail(c->e, ETK_E_INVALID, "%s: %s", c->origin, text);
}

/* The value in a tree of its own: what begins like a flow value or a quoted text is read as YAML, the rest is one plain scalar, whatever it holds. */
static etk_status parse_value(const change *c, etk_config **out, const char *text) {
  const char *p = text;
  while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
  if (!etk_utf8_valid(text, strlen(text))) return usage(c, "the value is not UTF-8 text");
  if (*p && strchr("[{\"'", *p)) {
    etk_status status = etk_config_parse(c->e, out, c->origin, p, strlen(p), ETK_CONFIG_YAML);
    if (status && c->e && strlen(p) < 200)
      etk_error_while(c->e, status, "while reading '%s' (what begins with [, {, \" or ' is read as YAML; put other text of that kind in quotes)", p);
    if (!status && strchr("\"'", *p) && (*out)->root->kind != ETK_CONFIG_TEXT) { /* "a": 1 */
      etk_config_free(*out);
      status = usage(c, "nothing may follow the closing quote of a value");
    }
    return status;
  }
  size_t size = strlen(p);
  while (size > 0 && strchr(" \t\r\n", p[size - 1])) size--;
  if (size > ETK__CONFIG_TEXT) return usage(c, "the value has %zu bytes; a configuration has at most %d", size, (int)ETK__CONFIG_TEXT);
  etk_status status = etk_config_new(c->e, out, c->origin);
  if (status) return status;
  etk__node *node = etk__config_node(*out, ETK_CONFIG_TEXT, 0, 0);
  if (node) node->node.text = etk_arena_strndup(&(*out)->arena, p, size);
  if (!node || !node->node.text) status = no_memory(c->e, c->config);
  else {
    node->node.text_size = size;
    (*out)->root = &node->node;
    if (!etk__config_resolve(&node->node)) status = usage(c, "number '%s' is too large", node->node.text);
  }
  if (status) etk_config_free(*out);
  return status;
}

static const char *show_path(const change *c, char *out, size_t out_size, int n) {
  size_t used = 0;
  *out = 0;
  for (int i = 0; i < n && used < out_size; i++) {
    int wrote = snprintf(out + used, out_size - used, "%s%.*s", i ? "." : "", (int)c->path->sizes[i], c->path->parts[i]);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  return out;
}

/* A scalar, or a list without such an item, in the way: says what it is and who wrote it. */
static etk_status blocked(const change *c, const etk_config_node *node, int n) {
  char name[PATH_TEXT], whole[PATH_TEXT], where[PATH_TEXT];
  show_path(c, name, sizeof name, n);
  show_path(c, whole, sizeof whole, c->path->count);
  const char *origin = etk_config_origin(c->config, node);
  if (node->line) snprintf(where, sizeof where, "%s:%d:%d", origin, node->line, node->column);
  else snprintf(where, sizeof where, "%s", origin);
  if (node->kind == ETK_CONFIG_LIST && node->count == 0) return usage(c, "cannot set '%s': '%s' is an empty list (%s)", whole, name, where);
  if (node->kind == ETK_CONFIG_LIST)
    return usage(c, "cannot set '%s': '%s' is a list (%s) whose items are named 0 to %zu, not '%.*s'", whole, name, where, node->count - 1,
                 (int)c->path->sizes[n], c->path->parts[n]);
  return usage(c, "cannot set '%s': '%s' is %s ('%.60s', %s), a map is wanted", whole, name, etk__config_kind_name(node->kind), node->text, where);
}

/* Maps around a value, for the parts of the path from `first` on that are not there yet; the outermost has no key. */
static etk_status wrap(const change *c, etk__node **value, int first) {
  for (int i = c->path->count - 1; i >= first; i--) {
    (*value)->node.key = etk_arena_strndup(&c->config->arena, c->path->parts[i], c->path->sizes[i]);
    (*value)->node.key_size = c->path->sizes[i];
    if (i == first) return (*value)->node.key ? ETK_OK : no_memory(c->e, c->config);
    etk__node *map = etk__config_node(c->config, ETK_CONFIG_MAP, 0, 0);
    if (!map || !(*value)->node.key) return no_memory(c->e, c->config);
    map->origin = c->origin;
    map->nodes += (*value)->nodes;
    map->height += (*value)->height;
    map->complete = true;
    etk__config_link(map, *value);
    *value = map;
  }
  return ETK_OK;
}

static const etk_config_node *step(const change *c, const etk_config_node *node, int i) {
  if (node->kind == ETK_CONFIG_LIST) return etk__config_find_item(node, c->path->parts[i], c->path->sizes[i]);
  return etk__config_find_child(node, c->path->parts[i], c->path->sizes[i], c->path->any_case);
}

/* The nodes from the root towards the path's end, as far as there are any, each with children of its own. */
static etk_status walk(const change *c, etk__node **way, int *found) {
  *way = mine(c->config->root);
  for (*found = 0; *found < c->path->count; ++*found) {
    etk__node *node = way[*found];
    if (node->node.kind == ETK_CONFIG_NULL && *found > 0) return ETK_OK; /* nothing yet: it becomes a map */
    if (!is_parent(&node->node)) return blocked(c, &node->node, *found);
    const etk_config_node *next = step(c, &node->node, *found);
    if (!next && node->node.kind == ETK_CONFIG_LIST) return blocked(c, &node->node, *found);
    if (!next) return own_children(c->config, node) ? ETK_OK : no_memory(c->e, c->config);
    if (!own_children(c->config, node)) return no_memory(c->e, c->config);
    way[*found + 1] = mine(step(c, &node->node, *found));
  }
  return ETK_OK;
}

static etk_status put(const change *c, const etk_config *parsed) {
  etk__node *way[ETK__CONFIG_DEPTH + 1], *value;
  int found;
  etk_status status = walk(c, way, &found);
  if (status) return status;
  copier copy = {.e = c->e, .to = c->config, .from = parsed, .origin = c->origin};
  status = copy_node(&copy, parsed->root, c->path->count, &value);
  if (status) return status;
  bool null_in_the_way = found < c->path->count && way[found]->node.kind == ETK_CONFIG_NULL;
  etk__node *last = way[found];
  bool replaces = found == c->path->count || null_in_the_way;
  size_t before = replaces ? last->nodes : 0;
  if (null_in_the_way) { /* "a:" with nothing behind it: a map takes its place */
    status = wrap(c, &value, found);
    etk__node *map = status ? NULL : etk__config_node(c->config, ETK_CONFIG_MAP, 0, 0);
    if (!map) return status ? status : no_memory(c->e, c->config);
    map->origin = c->origin;
    map->nodes += value->nodes;
    map->height += value->height;
    etk__config_link(map, value);
    value = map;
  } else if (!replaces) {
    status = wrap(c, &value, found);
    if (status) return status;
  }
  if (way[0]->nodes + value->nodes - before > ETK__CONFIG_NODES)
    return usage(c, "the configuration would have more than %d values", ETK__CONFIG_NODES);
  size_t more = value->nodes - before; /* may wrap, as sums of size_t do */
  if (replaces) replace(last, value);
  else etk__config_link(last, value);
  for (int i = 0; i < found + !replaces; i++) way[i]->nodes += more;
  return ETK_OK;
}

static etk_status set_value(etk_error *e, etk_config *config, const key_path *path, const char *text, const char *origin) {
  change c = {e, config, etk_arena_strdup(&config->arena, origin), path};
  if (!c.origin) return no_memory(e, config);
  etk_config *parsed;
  etk_status status = parse_value(&c, &parsed, text);
  if (status) return status;
  status = put(&c, parsed);
  etk_config_free(parsed);
  return status;
}

/* Splits at `mark`. What is wrong, or NULL. */
static const char *split(key_path *path, const char *text, const char *mark) {
  path->count = 0;
  for (;;) {
    const char *stop = strstr(text, mark);
    size_t size = stop ? (size_t)(stop - text) : strlen(text);
    if (size == 0) return "a part of it is empty";
    if (path->count == ETK__CONFIG_DEPTH) return "it has more than 64 parts";
    if (!etk_utf8_valid(text, size)) return "it is not UTF-8 text";
    path->parts[path->count] = text;
    path->sizes[path->count++] = size;
    if (!stop) return NULL;
    text = stop + strlen(mark);
  }
}

etk_status etk_config_set(etk_error *e, etk_config *config, const char *path, const char *text, const char *origin) {
  key_path parts = {.any_case = false};
  const char *why = split(&parts, path, ".");
  if (why) return etk_fail(e, ETK_E_USAGE, "'%s' does not name a key: %s (wanted something like training.learning_rate)", path, why);
  return set_value(e, config, &parts, text, origin ? origin : path);
}

/* ---- the environment ---- */

/* name: "PREFIX__A__B_C", of name_size bytes. */
static etk_status set_variable(etk_error *e, etk_config *config, const char *name, size_t name_size, size_t prefix_size, const char *value) {
  char *copy = etk_strndup(name, name_size), *keys = etk_strndup(name + prefix_size + 2, name_size - prefix_size - 2);
  etk_status status = copy && keys ? ETK_OK : no_memory(e, config);
  for (char *p = keys; !status && *p; p++)
    if (*p >= 'A' && *p <= 'Z') *p |= 0x20;
  key_path parts = {.any_case = true};
  const char *why = status ? NULL : split(&parts, keys, "__");
  if (why)
    status = etk_fail(e, ETK_E_USAGE, "variable '%s' does not name a key: %s (wanted something like %.*s__TRAINING__EPOCHS)", copy, why,
                      (int)prefix_size, name);
  if (!status) status = set_value(e, config, &parts, value, copy);
  etk_free(copy);
  etk_free(keys);
  return status;
}

etk_status etk_config_environment(etk_error *e, etk_config *config, const char *prefix, const char *const *entries, size_t *count) {
  size_t prefix_size = strlen(prefix), set = 0;
  etk__node *before = snapshot(config);
  etk_status status = before ? ETK_OK : no_memory(e, config);
  for (; !status && *entries; entries++) {
    const char *equals = strchr(*entries, '=');
    if (!equals || strncmp(*entries, prefix, prefix_size) != 0 || strncmp(*entries + prefix_size, "__", 2) != 0) continue;
    status = set_variable(e, config, *entries, (size_t)(equals - *entries), prefix_size, equals + 1);
    set++;
  }
  if (status && before) config->root = &before->node;
  if (count) *count = status ? 0 : set;
  return status;
}
