/* options.c: a struct from its table of options and a configuration. */
#include "options_internal.h"

#include "etk/fs.h"
#include <math.h>

#define SECRET_LIMIT (64u << 10)

/* ---- rows ---- */

const etk_option_row *etk__row(const etk_option_table *table, uint32_t index) {
  size_t stride = table->stride ? table->stride : sizeof(etk_option_row);
  return (const etk_option_row *)(const void *)((const char *)table->rows + index * stride);
}

bool etk__row_listed(const etk_option_row *row) { return !(row->flags & (ETK_HIDDEN | ETK_LOCAL)); }
/* A default of a secret could be read by anyone: it counts for none, "" too. */
bool etk__row_unset(const etk_option_row *row) { return row->kind == ETK_KIND_secret || !strcmp(row->default_text, "-"); }

char *etk__row_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *out = etk_alloc(size);
  if (out) etk__unescape(out, size, text, size - 1);
  return out;
}

etk_status etk__row_default(etk_error *e, etk_value *out, etk_arena *arena, const etk_option_row *row) {
  *out = (etk_value){0};
  if (etk__row_unset(row)) return ETK_OK;
  char what[160], *text = etk__row_text(row->default_text);
  if (!text) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the default of '%s'", row->name);
  snprintf(what, sizeof what, "the default of %s", row->name);
  etk_status status = etk_value_parse(e, out, arena, row->kind, row->limits, text, what, false);
  etk_free(text);
  if (!status) out->source = ETK_FROM_DEFAULT;
  if (status != ETK_E_USAGE) return status;
  if (e) e->status = ETK_E_INVALID;
  return etk_error_while(e, ETK_E_INVALID, "the table of options is wrong");
}

bool etk__group_below(const char *path, const char *group) {
  size_t size = strlen(path);
  return !size || (!strncmp(path, group, size) && (!group[size] || group[size] == '.'));
}

/* The part of `group` right below `path`; NULL: it is not below. */
static const char *part_below(const char *path, const char *group, size_t *size) {
  if (!etk__group_below(path, group)) return NULL;
  const char *part = group + strlen(path);
  if (*part == '.') part++;
  *size = strcspn(part, ".");
  return *size ? part : NULL;
}

bool etk__subgroup(const etk_option_table *table, uint32_t index, const char *path, const char **part, size_t *size) {
  const etk_option_row *row = etk__row(table, index);
  *part = etk__row_listed(row) ? part_below(path, row->group, size) : NULL;
  for (uint32_t i = 0; *part && i < index; i++) {
    size_t other_size;
    const char *other = etk__row_listed(etk__row(table, i)) ? part_below(path, etk__row(table, i)->group, &other_size) : NULL;
    if (other && other_size == *size && !strncmp(other, *part, *size)) return false;
  }
  return *part != NULL;
}

char *etk__group_join(const char *path, const char *part, size_t size) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "%s%s", path, *path ? "." : "");
  etk_text_append(&text, part, size);
  char *joined = etk_text_take(&text);
  etk_text_free(&text);
  return joined;
}

/* ---- keys ---- */

static bool equal_part(const char *name, const char *word, size_t size) {
  size_t i = 0;
  for (; i < size && name[i] && name[i] != ' '; i++)
    if ((name[i] == '_' ? '-' : name[i]) != (word[i] == '_' ? '-' : word[i])) return false;
  return i == size && (!name[i] || name[i] == ' ');
}

static bool answers_to(const etk_option_row *row, const char *name, size_t size) {
  if (equal_part(row->name, name, size)) return true;
  for (const char *alias = row->aliases; alias && *alias;) {
    if (equal_part(alias, name, size)) return true;
    alias += strcspn(alias, " ");
    alias += strspn(alias, " ");
  }
  return false;
}

const etk_option_row *etk_options_find(const etk_option_table *table, const char *key) {
  const char *dot = strrchr(key, '.'), *name = dot ? dot + 1 : key;
  size_t group = dot ? (size_t)(dot - key) : 0;
  for (uint32_t i = 0; *name && i < table->count; i++) {
    const etk_option_row *row = etk__row(table, i);
    if (equal_part(row->group, key, group) && answers_to(row, name, strlen(name))) return row;
  }
  return NULL;
}

/* The group nearest to a key, each with the groups it lies in. keys: room for one a row; a group that lies in several is found by its own rows. */
static const char *near_group(etk_arena *arena, const etk_option_table *table, const char *key, const char **keys) {
  size_t count = 0, depth = 0;
  for (const char *p = key; *p; p++) depth += *p == '.';
  for (uint32_t i = 0; i < table->count; i++) {
    const etk_option_row *row = etk__row(table, i);
    size_t size = 0;
    if (!etk__row_listed(row)) continue;
    for (size_t part = 0; part <= depth && row->group[size]; part++) size += (part > 0) + strcspn(row->group + size + (part > 0), ".");
    const char *group = size ? etk_arena_strndup(arena, row->group, size) : NULL;
    if (group) keys[count++] = group;
  }
  return etk_text_suggest(key, keys, count);
}

const char *etk_options_suggest(char *out, size_t size, const etk_option_table *table, const char *key) {
  const char **keys = etk_calloc(table->count + 1, sizeof *keys), *found = NULL, *last = strrchr(key, '.');
  etk_arena arena = ETK_ARENA_INIT;
  size_t count = 0;
  last = last ? last + 1 : key;
  for (uint32_t i = 0; keys && i < table->count; i++) {
    const etk_option_row *row = etk__row(table, i);
    if (!etk__row_listed(row)) continue;
    const char *full = etk_arena_printf(&arena, "%s%s%s", row->group, *row->group ? "." : "", row->name);
    if (!full) break;
    keys[count++] = full;
    if (!found && answers_to(row, last, strlen(last))) found = full; /* the same name in another group */
  }
  if (!found && keys) found = etk_text_suggest(key, keys, count);
  if (!found && keys) found = near_group(&arena, table, key, keys);
  if (found) snprintf(out, size, "%s", found);
  etk_arena_fini(&arena);
  etk_free(keys);
  return found ? out : NULL;
}

static bool is_group(const etk_option_table *table, const char *path) {
  size_t size = strlen(path);
  for (uint32_t i = 0; size && i < table->count; i++) {
    const char *group = etk__row(table, i)->group;
    bool same = strlen(group) >= size && (!group[size] || group[size] == '.');
    for (size_t k = 0; same && k < size; k++) same = (group[k] == '-' ? '_' : group[k]) == (path[k] == '-' ? '_' : path[k]);
    if (same) return true;
  }
  return false;
}

/* ---- one node ---- */

struct loader {
  const etk_option_table *table;
  const etk_config *config;
  etk_arena *arena;
  etk_value *values;              /* one for each row */
  const etk_config_node **given;  /* the node that set it */
};

static const char *const nouns[] = {[ETK_CONFIG_NULL] = "null", [ETK_CONFIG_FLAG] = "true or false", [ETK_CONFIG_INT] = "a whole number",
                                    [ETK_CONFIG_REAL] = "a number", [ETK_CONFIG_TEXT] = "a text", [ETK_CONFIG_LIST] = "a list",
                                    [ETK_CONFIG_MAP] = "a map", [ETK_CONFIG_TIME] = "a time"};

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the options"); }

/* Numbers as every format writes them (0o17, 1_000.5, 1e3) in the form that values are parsed from. */
static const char *scalar_text(etk_arena *arena, uint32_t kind, const etk_config_node *node) {
  uint32_t item = etk__item_kind(kind);
  double real;
  if (item == ETK_KIND_real && node->text && !etk_parse_real(NULL, &real, node->text)) return node->text; /* "-0" keeps its sign */
  if (node->kind == ETK_CONFIG_INT && item != ETK_KIND_text && item != ETK_KIND_choice && item != ETK_KIND_path && item != ETK_KIND_secret)
    return etk_arena_printf(arena, "%lld", (long long)node->integer);
  if (node->kind == ETK_CONFIG_REAL && (item == ETK_KIND_int || item == ETK_KIND_size) && fabs(node->real) <= 0x1p53 && node->real == floor(node->real))
    return etk_arena_printf(arena, "%lld", (long long)node->real);
  if (node->kind == ETK_CONFIG_REAL && item == ETK_KIND_duration && fabs(node->real) < 1e10) return etk_arena_printf(arena, "%.9f", node->real);
  if (node->kind == ETK_CONFIG_REAL && item == ETK_KIND_real && isfinite(node->real))
    return etk_arena_printf(arena, "%.17g", node->real);
  return node->text;
}

etk_status etk_value_texts(etk_error *e, const char *const **out, size_t *count, bool *split, etk_arena *arena, uint32_t kind, const etk_config_node *node,
                                  const char *what) {
  bool list = etk__kind_is_list(kind), items = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (node->kind == ETK_CONFIG_LIST ? !list : node->kind == ETK_CONFIG_MAP ? kind != ETK_KIND_map : kind == ETK_KIND_map)
    return etk_fail(e, ETK_E_USAGE, "%s: %s, where a value of kind %s is wanted", what, nouns[node->kind], etk_kind_name(kind));
  const char **texts = etk_arena_array(arena, items ? node->count + 1 : 1, sizeof *texts);
  if (!texts) return no_memory(e);
  *out = texts, *count = 0, *split = !items;
  for (const etk_config_node *item = items ? node->first : node; item; item = items ? item->next : NULL) {
    if (item->kind == ETK_CONFIG_NULL || item->kind == ETK_CONFIG_LIST || item->kind == ETK_CONFIG_MAP)
      return etk_fail(e, ETK_E_USAGE, "%s: an item is %s, where a plain value is wanted", what, nouns[item->kind]);
    if (strlen(item->text) != item->text_size || (item->key && strlen(item->key) != item->key_size))
      return etk_fail(e, ETK_E_USAGE, "%s: the text holds a NUL byte", what);
    if (node->kind == ETK_CONFIG_MAP && (!*item->key || strchr(item->key, '=')))
      return etk_fail(e, ETK_E_USAGE, "%s: '%s' cannot be a key here: keys are not empty and hold no '='", what, item->key);
    const char *text = scalar_text(arena, kind, item);
    if (text && node->kind == ETK_CONFIG_MAP) text = etk_arena_printf(arena, "%s=%s", item->key, text);
    else if (text == item->text) text = etk_arena_strdup(arena, text);
    if (!text) return no_memory(e);
    texts[(*count)++] = text;
  }
  return ETK_OK;
}

/* A secret in a file that others may read is refused; "@FILE" says where it is. */
static etk_status read_secret(etk_error *e, etk_arena *arena, const char **text, bool in_file, const char *what) {
  if (**text != '@') {
    if (!in_file) return ETK_OK;
    return etk_fail(e, ETK_E_USAGE, "%s: a secret may not be written there, where others can read it: put it in a file of its own and give \"@FILE\"", what);
  }
  char *bytes = NULL;
  size_t size = 0;
  etk_status status = etk_fs_read(e, &bytes, &size, *text + 1, SECRET_LIMIT);
  if (status) return etk_error_while(e, status, "%s", what);
  while (size && (bytes[size - 1] == '\n' || bytes[size - 1] == '\r')) size--;
  *text = etk_arena_strndup(arena, bytes, size);
  etk_free(bytes);
  return *text ? ETK_OK : no_memory(e);
}

static const char *place(const struct loader *l, char *out, size_t size, const etk_config_node *node) {
  const char *name = etk_config_origin(l->config, node);
  if (!name) name = etk_config_name(l->config);
  if (node->key_line) snprintf(out, size, "%s:%d:%d", name, node->key_line, node->key_column);
  else snprintf(out, size, "%s", name);
  return out;
}

static etk_status set_option(etk_error *e, struct loader *l, const etk_option_row *row, const etk_config_node *node, const char *key) {
  char where[512], what[768], first[512];
  uint32_t index = 0;
  while (etk__row(l->table, index) != row) index++;
  snprintf(what, sizeof what, "%s: %s", place(l, where, sizeof where, node), key);
  if (row->flags & ETK_LOCAL) return etk_fail(e, ETK_E_USAGE, "%s: this option is not read from configurations", what);
  if (l->given[index])
    return etk_fail(e, ETK_E_USAGE, "%s: this is '%s%s%s', which %s gives too; give it once", what, row->group, *row->group ? "." : "", row->name,
                    place(l, first, sizeof first, l->given[index]));
  l->given[index] = node;
  if (node->kind == ETK_CONFIG_NULL) return ETK_OK; /* as if it were not there */
  const char *const *texts, *secret;
  size_t count;
  bool split;
  etk_value value = {.source = ETK_FROM_CONFIG};
  etk_status status = etk_value_texts(e, &texts, &count, &split, l->arena, row->kind, node, what);
  if (!status && row->kind == ETK_KIND_secret) {
    secret = texts[0];
    status = read_secret(e, l->arena, &secret, node->line > 0, what);
    texts = &secret;
  }
  if (!status) status = etk_value_parse_texts(e, &value, l->arena, row->kind, row->limits, texts, count, split, what);
  if (!status) status = etk_value_check_files(e, &value, l->arena, row->kind, row->limits, what);
  if (!status && !(value.origin = etk_arena_strdup(l->arena, where))) status = no_memory(e);
  if (!status) l->values[index] = value;
  return status;
}

static etk_status unknown_key(etk_error *e, const struct loader *l, const etk_config_node *node, const char *key, const char *shown) {
  char where[512], near[256];
  const char *suggestion = etk_options_suggest(near, sizeof near, l->table, key);
  size_t prefix = strlen(shown) - strlen(key); /* the path that the table lies at */
  return etk_fail(e, ETK_E_USAGE, "%s: unknown key '%s'%s%.*s%s%s", place(l, where, sizeof where, node), shown, suggestion ? "; did you mean '" : "",
                  suggestion ? (int)prefix : 0, shown, suggestion ? suggestion : "", suggestion ? "'?" : "");
}

/* shown: the key with the path that the table lies at; key: its end, as the table knows it. */
static etk_status load_map(etk_error *e, struct loader *l, const etk_config_node *map, const char *shown, size_t prefix) {
  for (const etk_config_node *node = map->first; node; node = node->next) {
    const char *full = etk_arena_printf(l->arena, "%s%s%s", shown, *shown ? "." : "", node->key), *key = full ? full + prefix : NULL;
    if (!full) return no_memory(e);
    bool group = is_group(l->table, key);
    const etk_option_row *row = group && node->kind == ETK_CONFIG_MAP ? NULL : etk_options_find(l->table, key);
    etk_status status = ETK_OK;
    char where[512];
    if (row) status = set_option(e, l, row, node, full);
    else if (group && node->kind == ETK_CONFIG_MAP) status = load_map(e, l, node, full, prefix);
    else if (group && node->kind != ETK_CONFIG_NULL)
      status = etk_fail(e, ETK_E_USAGE, "%s: %s: this is a group of options and wants a map, not %s", place(l, where, sizeof where, node), full,
                        nouns[node->kind]);
    else if (!group) status = unknown_key(e, l, node, key, full);
    if (status) return status;
  }
  return ETK_OK;
}

/* ---- the struct ---- */

static const struct {
  uint32_t size, offset; /* of the field, and of it in etk_value */
} fields[] = {
    [ETK_KIND_int] = {sizeof(int64_t), offsetof(etk_value, integer)},      [ETK_KIND_real] = {sizeof(double), offsetof(etk_value, real)},
    [ETK_KIND_flag] = {sizeof(bool), 0},                                   [ETK_KIND_text] = {sizeof(char *), offsetof(etk_value, text)},
    [ETK_KIND_path] = {sizeof(char *), offsetof(etk_value, text)},         [ETK_KIND_choice] = {sizeof(char *), offsetof(etk_value, text)},
    [ETK_KIND_secret] = {sizeof(char *), offsetof(etk_value, text)},       [ETK_KIND_size] = {sizeof(int64_t), offsetof(etk_value, integer)},
    [ETK_KIND_duration] = {sizeof(int64_t), offsetof(etk_value, integer)}, [ETK_KIND_ints] = {sizeof(struct etk_ints), offsetof(etk_value, ints)},
    [ETK_KIND_reals] = {sizeof(struct etk_reals), offsetof(etk_value, reals)},
    [ETK_KIND_texts] = {sizeof(struct etk_texts), offsetof(etk_value, texts)},
    [ETK_KIND_map] = {sizeof(struct etk_map_text), offsetof(etk_value, map)},
};

static void put(unsigned char *out, const etk_option_row *row, const etk_value *value) {
  bool flag = value->integer != 0;
  if (row->kind == ETK_KIND_flag) memcpy(out + row->offset, &flag, sizeof flag);
  else memcpy(out + row->offset, (const char *)value + fields[row->kind].offset, row->size);
}

static etk_status check_table(etk_error *e, const etk_option_table *table) {
  if (table->struct_size < 8) return etk_fail(e, ETK_E_INVALID, "the table of options '%s' belongs to no struct", table->name);
  for (uint32_t i = 0; i < table->count; i++) {
    const etk_option_row *row = etk__row(table, i);
    if (!row->kind || row->kind >= sizeof fields / sizeof fields[0] || row->size != fields[row->kind].size || row->offset < 8 ||
        (uint64_t)row->offset + row->size > table->struct_size)
      return etk_fail(e, ETK_E_INVALID, "the row of option '%s' (kind %u, %u bytes at %u of %u) cannot be filled", row->name, (unsigned)row->kind,
                      (unsigned)row->size, (unsigned)row->offset, (unsigned)table->struct_size);
  }
  return ETK_OK;
}

/* The map to read, or NULL: nothing is there. */
static etk_status find_map(etk_error *e, const etk_config_node **out, const etk_config *config, const char *path) {
  const etk_config_node *node = config ? etk_config_root(config) : NULL;
  if (node && *path) node = etk_config_find(node, path);
  *out = node && node->kind != ETK_CONFIG_NULL ? node : NULL;
  if (!*out || (*out)->kind == ETK_CONFIG_MAP) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: %s%s%s, where a map of options is wanted", etk_config_name(config), node->line, node->column, path,
                  *path ? ": " : "", nouns[node->kind]);
}

etk_status etk_options_load(etk_error *e, void *out, etk_arena *arena, const etk_option_table *table, const etk_config *config, const char *path) {
  const etk_config_node *map = NULL;
  if (!path) path = "";
  etk_status status = check_table(e, table);
  if (status) return status;
  memset(out, 0, table->struct_size);
  memcpy(out, &table->struct_size, sizeof table->struct_size);
  struct loader l = {table, config, arena, etk_arena_array(arena, table->count + 1, sizeof *l.values), etk_arena_array(arena, table->count + 1, sizeof *l.given)};
  if (!l.values || !l.given) return no_memory(e);
  for (uint32_t i = 0; !status && i < table->count; i++) {
    status = etk__row_default(e, &l.values[i], arena, etk__row(table, i));
    if (!status && l.values[i].source) put(out, etk__row(table, i), &l.values[i]);
  }
  if (!status) status = find_map(e, &map, config, path);
  if (!status && map) status = load_map(e, &l, map, path, *path ? strlen(path) + 1 : 0);
  for (uint32_t i = 0; !status && i < table->count; i++)
    if (l.values[i].source == ETK_FROM_CONFIG) put(out, etk__row(table, i), &l.values[i]);
  return status;
}
