/* config_toml.c: TOML 1.0.0 (toml.io/en/v1.0.0): keys, tables, arrays, and the rules on what may be defined again. Values: config_toml_value.c. */
#include "config_internal.h"

/* How a table or array came about decides what may still be added to it. */
enum {
  OPEN,      /* the way to a table of a header: may get a header of its own, and may grow */
  HEADED,    /* [header]: grows by keys under it and by headers below it */
  DOTTED,    /* by dotted keys: grows by more of them, and by headers below it; another header cannot reach it, for it would pass a HEADED one */
  CLOSED,    /* { … } and [ … ]: never grows */
  OF_TABLES, /* [[header]] */
};

typedef struct key_part {
  const char *text, *at; /* at: in the source */
  size_t size;
  int line, column;
} key_part;

typedef struct key_path {
  key_part parts[ETK__CONFIG_DEPTH];
  int count;
} key_path;

/* ---- characters ---- */

etk_status etk__toml_fail(etk__toml *t, const char *at, const char *format, ...) {
  if (!t->e) return ETK_E_FORMAT;
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  etk__place_find(&t->place, at);
  return etk__config_fail(t->e, t->config, ETK_E_FORMAT, t->place.line, t->place.column, "%s", text);
}

etk_status etk__toml_unexpected(etk__toml *t, const char *wanted) {
  char seen[40];
  return etk__toml_fail(t, t->p, "%s, found %s", wanted, etk__config_seen(seen, sizeof seen, t->p, t->end));
}

static etk_status too_deep(etk__toml *t, const char *at) {
  etk__toml_fail(t, at, "nested deeper than %d levels", ETK__CONFIG_DEPTH);
  if (t->e) t->e->status = ETK_E_UNSUPPORTED;
  return ETK_E_UNSUPPORTED;
}

/* What no place of a TOML file may hold is refused first, so that the rest of the reader need not look for it. */
static etk_status check_bytes(etk__toml *t) {
  bool wide = t->end - t->p > 1 && (memcmp(t->p, "\xFF\xFE", 2) == 0 || memcmp(t->p, "\xFE\xFF", 2) == 0 || (!t->p[0] != !t->p[1]));
  if (wide) return etk__toml_fail(t, t->p, "this looks like UTF-16; TOML files are UTF-8 text");
  for (const char *p = t->p; p < t->end;) {
    unsigned char c = (unsigned char)*p;
    if (c >= 0x20 && c < 0x7F) {
      p++;
    } else if (c >= 0x80) {
      uint32_t code_point;
      size_t n = etk_utf8_decode(&code_point, p, (size_t)(t->end - p));
      if (n == 0) return etk__toml_fail(t, p, "byte 0x%02x is not UTF-8 here; TOML files are UTF-8 text", c);
      p += n;
    } else if (c == '\t' || c == '\n') {
      p++;
    } else if (c == '\r') {
      if (t->end - p < 2 || p[1] != '\n') return etk__toml_fail(t, p, "a carriage return stands alone; lines end with a line feed, or with both");
      p += 2;
    } else {
      return etk__toml_fail(t, p, "control character 0x%02x; only tabs and line ends may stand in the file (in a string: \\u%04x)", c, c);
    }
  }
  return ETK_OK;
}

static void skip_blanks(etk__toml *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\t')) t->p++;
}

static void skip_comment(etk__toml *t) {
  if (t->p == t->end || *t->p != '#') return;
  const char *stop = memchr(t->p, '\n', (size_t)(t->end - t->p));
  t->p = stop ? stop : t->end;
}

static bool at_line_end(const etk__toml *t) { return t->p == t->end || *t->p == '\n' || *t->p == '\r'; }

/* Blanks, comments and line ends. */
static void skip_lines(etk__toml *t) {
  for (;;) {
    skip_blanks(t);
    skip_comment(t);
    if (t->p == t->end || !at_line_end(t)) return;
    t->p++;
  }
}

static etk_status end_line(etk__toml *t, const char *after) {
  skip_blanks(t);
  skip_comment(t);
  if (at_line_end(t)) return ETK_OK;
  char wanted[80];
  snprintf(wanted, sizeof wanted, "nothing but a comment may follow %s on its line", after);
  return etk__toml_unexpected(t, wanted);
}

/* ---- keys ---- */

static bool is_bare(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

static etk_status read_part(etk__toml *t, key_part *part) {
  part->at = t->p;
  etk__place_find(&t->place, t->p);
  part->line = t->place.line;
  part->column = t->place.column;
  if (t->p < t->end && (*t->p == '"' || *t->p == '\'')) return etk__toml_string(t, &part->text, &part->size, false);
  while (t->p < t->end && is_bare(*t->p)) t->p++;
  part->size = (size_t)(t->p - part->at);
  if (part->size == 0) {
    bool strange = t->p < t->end && ((unsigned char)*t->p >= 0x80 || strchr("!@$%&*+/:;<>?\\^`|~(", *t->p));
    return etk__toml_unexpected(t, strange ? "a key of other characters than letters, digits, '_' and '-' stands in quotes" : "a key is wanted");
  }
  part->text = etk_arena_strndup(&t->config->arena, part->at, part->size);
  return part->text ? ETK_OK : etk__config_no_memory(t->e, t->config);
}

static etk_status read_path(etk__toml *t, key_path *path) {
  for (path->count = 0;;) {
    if (path->count == ETK__CONFIG_DEPTH) return too_deep(t, t->p);
    etk_status status = read_part(t, &path->parts[path->count++]);
    if (status) return status;
    skip_blanks(t);
    if (t->p == t->end || *t->p != '.') return ETK_OK;
    t->p++;
    skip_blanks(t);
  }
}

/* "a.b", of the first n parts */
static const char *show_path(char *out, size_t out_size, const key_path *path, int n) {
  size_t used = 0;
  *out = 0;
  for (int i = 0; i < n && used < out_size; i++) {
    int wrote = snprintf(out + used, out_size - used, "%s%s", i ? "." : "", path->parts[i].text);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  return out;
}

/* ---- nodes ---- */

static etk_status new_node(etk__toml *t, etk__node **out, etk_config_kind kind, int line, int column) {
  if (t->nodes++ == ETK__CONFIG_NODES)
    return etk__config_fail(t->e, t->config, ETK_E_UNSUPPORTED, line, column, "more than %d values", ETK__CONFIG_NODES);
  *out = etk__config_node(t->config, kind, line, column);
  return *out ? ETK_OK : etk__config_no_memory(t->e, t->config);
}

static etk__node *child_of(const etk__toml *t, const etk__node *table, const key_part *key) {
  return etk__names_get(&t->keys, table, key->text, key->size);
}

/* A key that is new in the table. */
static etk_status add_child(etk__toml *t, etk__node *table, const key_part *key, etk__node *child) {
  void **place = etk__names_at(&t->keys, table, key->text, key->size);
  if (!place) return etk__config_no_memory(t->e, t->config);
  *place = child;
  child->node.key = key->text;
  child->node.key_size = key->size;
  child->node.key_line = key->line;
  child->node.key_column = key->column;
  etk__config_link(table, child);
  return ETK_OK;
}

static etk_status add_table(etk__toml *t, etk__node *table, const key_part *key, int state, etk__node **out) {
  etk_status status = new_node(t, out, ETK_CONFIG_MAP, key->line, key->column);
  if (status) return status;
  (*out)->state = (unsigned char)state;
  return add_child(t, table, key, *out);
}

static const char *how_defined(const etk__node *node) {
  if (node->node.kind == ETK_CONFIG_LIST) return node->state == OF_TABLES ? "an array of tables ([[…]])" : "an array that is complete ([…])";
  if (node->node.kind != ETK_CONFIG_MAP) return etk__config_kind_name(node->node.kind);
  static const char *const names[] = {[OPEN] = "a table",
                                      [HEADED] = "a table with its own header",
                                      [DOTTED] = "a table made by dotted keys",
                                      [CLOSED] = "an inline table that is complete ({…})"};
  return names[node->state];
}

/* "'a.b' cannot …: it is a table with its own header (at 3:2)" */
static etk_status in_the_way(etk__toml *t, const key_path *path, int n, const etk__node *node, const char *what) {
  char name[256];
  return etk__toml_fail(t, path->parts[n - 1].at, "'%s' %s: it is %s already (at %d:%d)", show_path(name, sizeof name, path, n), what,
                        how_defined(node), node->node.key_line, node->node.key_column);
}

static etk_status twice(etk__toml *t, const key_path *path, const etk__node *before, const char *what) {
  char name[256];
  return etk__toml_fail(t, path->parts[path->count - 1].at, "%s '%s' appears twice (first at %d:%d)", what,
                        show_path(name, sizeof name, path, path->count), before->node.key_line, before->node.key_column);
}

/* ---- values ---- */

static etk_status read_value(etk__toml *t, etk__node **out, int level);

static etk_status read_array(etk__toml *t, etk__node *list, int level) {
  const char *open = t->p++;
  for (;;) {
    skip_lines(t);
    if (t->p < t->end && *t->p == ']') break;
    if (t->p == t->end) return etk__toml_fail(t, open, "this '[' has no closing ']'");
    if (*t->p == ',') return etk__toml_unexpected(t, list->node.count ? "a value or ']' is wanted after ','" : "a value or ']' is wanted");
    etk__node *item;
    etk_status status = read_value(t, &item, level + 1);
    if (status) return status;
    etk__config_link(list, item);
    skip_lines(t);
    if (t->p == t->end) return etk__toml_fail(t, open, "this '[' has no closing ']'");
    if (*t->p == ']') break;
    if (*t->p != ',') return etk__toml_unexpected(t, "',' or ']' is wanted after an item");
    t->p++;
  }
  t->p++;
  return ETK_OK;
}

static etk_status read_pair(etk__toml *t, etk__node *table, int level);

static etk_status read_inline_table(etk__toml *t, etk__node *table, int level) {
  const char *open = t->p++;
  skip_blanks(t);
  bool more = t->p == t->end || *t->p != '}';
  while (more) {
    skip_blanks(t);
    if (t->p == t->end) return etk__toml_fail(t, open, "this '{' has no closing '}'");
    if (at_line_end(t) || *t->p == '#')
      return etk__toml_fail(t, t->p, "an inline table ('{' at its begin) stands on one line; for more lines use a [header]");
    if (*t->p == '}') return etk__toml_unexpected(t, "a key is wanted after ',' (no ',' before '}')");
    etk_status status = read_pair(t, table, level);
    if (status) return status;
    skip_blanks(t);
    if (t->p == t->end) return etk__toml_fail(t, open, "this '{' has no closing '}'");
    if (at_line_end(t) || *t->p == '#')
      return etk__toml_fail(t, t->p, "an inline table ('{' at its begin) stands on one line; for more lines use a [header]");
    more = *t->p == ',';
    if (!more && *t->p != '}') return etk__toml_unexpected(t, "',' or '}' is wanted after a value in an inline table");
    if (more) t->p++;
  }
  t->p++;
  return ETK_OK;
}

static etk_status read_value(etk__toml *t, etk__node **out, int level) {
  char c = t->p < t->end ? *t->p : 0;
  bool list = c == '[', map = c == '{';
  if ((list || map) && level > ETK__CONFIG_DEPTH) return too_deep(t, t->p);
  etk__place_find(&t->place, t->p);
  etk_status status = new_node(t, out, list ? ETK_CONFIG_LIST : map ? ETK_CONFIG_MAP : ETK_CONFIG_TEXT, t->place.line, t->place.column);
  if (status) return status;
  etk_config_node *node = &(*out)->node;
  (*out)->state = CLOSED;
  if (list) return read_array(t, *out, level);
  if (map) return read_inline_table(t, *out, level);
  if (c != '"' && c != '\'') return etk__toml_scalar(t, node);
  node->quoted = true;
  return etk__toml_string(t, &node->text, &node->text_size, true);
}

/* From the table where the pair stands to the one that dotted keys lead to. */
static etk_status enter_dotted(etk__toml *t, const key_path *path, etk__node **table, int level) {
  for (int i = 0; i + 1 < path->count; i++) {
    const key_part *key = &path->parts[i];
    etk__node *next = child_of(t, *table, key);
    if (++level > ETK__CONFIG_DEPTH) return too_deep(t, key->at);
    if (!next) {
      etk_status status = add_table(t, *table, key, DOTTED, &next);
      if (status) return status;
    } else if (next->node.kind != ETK_CONFIG_MAP || next->state == HEADED || next->state == CLOSED) {
      return in_the_way(t, path, i + 1, next, "cannot get more keys");
    }
    next->state = DOTTED;
    *table = next;
  }
  return ETK_OK;
}

/* At a key: "a.b = value" in the table, which is at `level`. */
static etk_status read_pair(etk__toml *t, etk__node *table, int level) {
  key_path path;
  etk_status status = read_path(t, &path);
  if (status) return status;
  if (t->p == t->end || *t->p != '=') return etk__toml_unexpected(t, "'=' is wanted after a key");
  t->p++;
  skip_blanks(t);
  status = enter_dotted(t, &path, &table, level);
  if (status) return status;
  const key_part *key = &path.parts[path.count - 1];
  const etk__node *before = child_of(t, table, key);
  if (before && before->node.kind == ETK_CONFIG_MAP && before->state != CLOSED) return in_the_way(t, &path, path.count, before, "cannot get a value");
  if (before) return twice(t, &path, before, "key");
  etk__node *value;
  status = read_value(t, &value, level + path.count);
  return status ? status : add_child(t, table, key, value);
}

/* ---- headers ---- */

/* The way of a header to the table that its last key is in. */
static etk_status enter_header(etk__toml *t, const key_path *path, etk__node **table, int *level) {
  for (int i = 0; i + 1 < path->count; i++) {
    const key_part *key = &path->parts[i];
    etk__node *next = child_of(t, *table, key);
    etk_status status = next ? ETK_OK : add_table(t, *table, key, OPEN, &next);
    if (status) return status;
    ++*level;
    bool tables = next->node.kind == ETK_CONFIG_LIST && next->state == OF_TABLES;
    if (!tables && (next->node.kind != ETK_CONFIG_MAP || next->state == CLOSED)) return in_the_way(t, path, i + 1, next, "cannot hold tables");
    if (tables) next = next->last, ++*level;
    if (*level > ETK__CONFIG_DEPTH) return too_deep(t, key->at);
    *table = next;
  }
  return ETK_OK;
}

static etk_status define_table(etk__toml *t, etk__node *parent, const key_path *path, etk__node **out) {
  const key_part *key = &path->parts[path->count - 1];
  etk__node *before = child_of(t, parent, key);
  if (!before) return add_table(t, parent, key, HEADED, out);
  if (before->node.kind == ETK_CONFIG_MAP && before->state == HEADED) return twice(t, path, before, "table");
  if (before->node.kind != ETK_CONFIG_MAP || before->state != OPEN) return in_the_way(t, path, path->count, before, "cannot get a header");
  before->state = HEADED;
  before->node.line = before->node.key_line = key->line;
  before->node.column = before->node.key_column = key->column;
  *out = before;
  return ETK_OK;
}

static etk_status define_item(etk__toml *t, etk__node *parent, const key_path *path, etk__node **out) {
  const key_part *key = &path->parts[path->count - 1];
  etk__node *list = child_of(t, parent, key);
  if (list && (list->node.kind != ETK_CONFIG_LIST || list->state != OF_TABLES))
    return in_the_way(t, path, path->count, list, "cannot become an array of tables");
  etk_status status = ETK_OK;
  if (!list) {
    status = new_node(t, &list, ETK_CONFIG_LIST, key->line, key->column);
    if (status) return status;
    list->state = OF_TABLES;
    status = add_child(t, parent, key, list);
  }
  if (!status) status = new_node(t, out, ETK_CONFIG_MAP, key->line, key->column);
  if (status) return status;
  (*out)->state = HEADED;
  etk__config_link(list, *out);
  return ETK_OK;
}

/* At '['. */
static etk_status read_header(etk__toml *t, etk__node *root, etk__node **table, int *level) {
  key_path path;
  bool item = t->end - t->p > 1 && t->p[1] == '[';
  t->p += item ? 2 : 1;
  skip_blanks(t);
  etk_status status = read_path(t, &path);
  if (status) return status;
  if (t->p == t->end || *t->p != ']') return etk__toml_unexpected(t, item ? "'.' or ']]' is wanted in a header" : "'.' or ']' is wanted in a header");
  if (item && (t->end - t->p < 2 || t->p[1] != ']')) {
    t->p++;
    return etk__toml_unexpected(t, "a header that begins with '[[' ends with ']]'");
  }
  t->p += item ? 2 : 1;
  *level = 1;
  *table = root;
  status = enter_header(t, &path, table, level);
  if (status) return status;
  *level += item ? 2 : 1;
  if (*level > ETK__CONFIG_DEPTH) return too_deep(t, path.parts[path.count - 1].at);
  status = item ? define_item(t, *table, &path, table) : define_table(t, *table, &path, table);
  return status ? status : end_line(t, "a header");
}

static etk_status read_file(etk__toml *t, etk__node *root) {
  etk__node *table = root;
  int level = 1;
  for (;;) {
    skip_lines(t);
    if (t->p == t->end) return ETK_OK;
    etk_status status = *t->p == '[' ? read_header(t, root, &table, &level) : read_pair(t, table, level);
    if (!status) status = end_line(t, "a value");
    if (status) return status;
  }
}

/* Tables grow after they were put in their place, so they are counted when all is read. */
static void measure(etk__node *node) {
  for (const etk_config_node *c = node->node.first; c; c = c->next) {
    etk__node *child = (etk__node *)(uintptr_t)c;
    measure(child);
    node->nodes += child->nodes;
    if (child->height + 1 > node->height) node->height = child->height + 1;
  }
  node->complete = true;
}

etk_status etk__config_read_toml(etk_error *e, etk_config *config, const char *bytes, size_t size) {
  etk__toml t = {.e = e, .config = config, .p = bytes, .end = bytes + size};
  if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) t.p += 3;
  etk__place_init(&t.place, t.p);
  etk__node *root = NULL;
  etk_status status = check_bytes(&t);
  if (!status) status = new_node(&t, &root, ETK_CONFIG_MAP, 1, 1);
  if (!status) status = read_file(&t, root);
  etk__names_fini(&t.keys);
  etk_text_free(&t.scratch);
  if (status) return status;
  measure(root);
  config->root = &root->node;
  return ETK_OK;
}
