/* config_yaml.c: YAML by libyaml's events; what plain scalars mean is decided here. The one file that includes yaml.h. */
#include "config_internal.h"
#include <math.h>
#include <yaml.h>

static bool digits_only(const char *p, const char *end, const char *set) { return p < end && strspn(p, set) >= (size_t)(end - p); }

static bool is_integer(const char *text, const char *end) {
  if (text[0] == '0' && text[1] == 'x') return digits_only(text + 2, end, "0123456789abcdefABCDEF");
  if (text[0] == '0' && text[1] == 'o') return digits_only(text + 2, end, "01234567");
  return digits_only(text + (*text == '-' || *text == '+'), end, "0123456789");
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(const char *text, const char *end) {
  const char *p = text + (*text == '-' || *text == '+');
  size_t whole = strspn(p, "0123456789"), part = 0;
  p += whole;
  if (*p == '.') part = strspn(++p, "0123456789");
  if (whole + part == 0) return false;
  p += part;
  if (*p == 'e' || *p == 'E') {
    p++;
    p += *p == '-' || *p == '+';
    size_t exponent = strspn(p, "0123456789");
    if (exponent == 0) return false;
    p += exponent;
  }
  return p == end;
}

/* false: does not fit 64 bits */
static bool read_integer(int64_t *out, const char *text) {
  if (text[0] != '0' || text[1] != 'o') return etk_parse_int(NULL, out, text) == ETK_OK;
  uint64_t value = 0;
  for (const char *p = text + 2; *p; p++) {
    if (value >> 60) return false;
    value = value << 3 | (uint64_t)(*p - '0');
  }
  *out = (int64_t)value;
  return true;
}

static bool one_of(const char *text, const char *const *words) {
  for (; *words; words++)
    if (strcmp(text, *words) == 0) return true;
  return false;
}

static bool set_real(etk_config_node *node, double value) {
  node->kind = ETK_CONFIG_REAL;
  node->real = value;
  return isfinite(value);
}

bool etk__config_resolve(etk_config_node *node) {
  static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
  static const char *const true_words[] = {"true", "True", "TRUE", NULL}, *const false_words[] = {"false", "False", "FALSE", NULL};
  static const char *const infinity[] = {".inf", ".Inf", ".INF", NULL}, *const not_number[] = {".nan", ".NaN", ".NAN", NULL};
  const char *text = node->text, *end = text + node->text_size;
  node->kind = ETK_CONFIG_TEXT;
  if (strlen(text) != node->text_size) return true; /* holds a NUL */
  if (one_of(text, null_words)) node->kind = ETK_CONFIG_NULL;
  else if (one_of(text, true_words) || one_of(text, false_words)) {
    node->kind = ETK_CONFIG_FLAG;
    node->flag = (*text | 0x20) == 't';
  } else if (one_of(text + (*text == '-' || *text == '+'), infinity)) {
    set_real(node, *text == '-' ? -HUGE_VAL : HUGE_VAL);
  } else if (one_of(text, not_number)) {
    set_real(node, (double)NAN);
  } else if (is_integer(text, end)) {
    node->kind = ETK_CONFIG_INT;
    if (read_integer(&node->integer, text)) node->real = (double)node->integer;
    else return (text[0] != '0' || text[1] != 'o') && set_real(node, strtod(text, NULL)); /* strtod does not know 0o */
  } else if (is_float(text, end)) {
    return set_real(node, strtod(text, NULL));
  }
  return true;
}

typedef struct reader {
  etk_error *e;
  etk_config *config;
  yaml_parser_t parser;
  etk__names anchors;                 /* name → etk__node */
  etk__node *open[ETK__CONFIG_DEPTH]; /* lists and maps not closed yet, outermost first */
  int depth;
  const char *key; /* of the map open[depth-1], waiting for its value */
  size_t key_size;
  int key_line, key_column;
  etk__node *root;
} reader;

static int line_of(const yaml_event_t *event) { return (int)event->start_mark.line + 1; }
static int column_of(const yaml_event_t *event) { return (int)event->start_mark.column + 1; }

#define FAIL(reader_, event_, status_, ...)                                                                                                          \
  etk__config_fail((reader_)->e, (reader_)->config, (status_), line_of(event_), column_of(event_), __VA_ARGS__)

/* libyaml tells bytes it cannot read by offset, the rest by mark. */
static etk_status parser_failed(reader *r, const char *bytes, size_t size) {
  const yaml_parser_t *p = &r->parser;
  if (p->error == YAML_MEMORY_ERROR) return etk__config_no_memory(r->e, r->config);
  if (p->error == YAML_READER_ERROR) {
    int line = 1, column = 1;
    for (size_t i = 0; i < p->problem_offset && i < size; i++) {
      if (bytes[i] == '\n') line++, column = 1;
      else if (((unsigned char)bytes[i] & 0xC0) != 0x80) column++;
    }
    return etk__config_fail(r->e, r->config, ETK_E_FORMAT, line, column, "%s; configuration files are UTF-8 text",
                            p->problem ? p->problem : "unreadable bytes");
  }
  int line = (int)p->problem_mark.line + 1, column = (int)p->problem_mark.column + 1;
  const char *problem = p->problem ? p->problem : "malformed YAML";
  if (!p->context) return etk__config_fail(r->e, r->config, ETK_E_FORMAT, line, column, "%s", problem);
  return etk__config_fail(r->e, r->config, ETK_E_FORMAT, line, column, "%s %s (begun at %d:%d)", problem, p->context, (int)p->context_mark.line + 1,
                          (int)p->context_mark.column + 1);
}

static void take_key(reader *r, etk__node *child) {
  child->node.key = r->key;
  child->node.key_size = r->key_size;
  child->node.key_line = r->key_line;
  child->node.key_column = r->key_column;
  r->key = NULL;
}

/* Puts a value where the document is at: as root, list item, or under the key that waits. */
static etk_status place(reader *r, etk__node *child) {
  if (r->depth == 0) {
    r->root = child;
    return ETK_OK;
  }
  etk__node *parent = r->open[r->depth - 1];
  if (parent->node.kind == ETK_CONFIG_MAP) take_key(r, child);
  return etk__config_append(r->e, r->config, parent, child);
}

static bool key_wanted(const reader *r) { return r->depth > 0 && r->open[r->depth - 1]->node.kind == ETK_CONFIG_MAP && !r->key; }

static etk_status set_key(reader *r, const yaml_event_t *event, const etk_config_node *scalar) {
  const char *text = scalar->text;
  size_t size = scalar->text_size;
  if (size == 0 && !scalar->quoted) return FAIL(r, event, ETK_E_UNSUPPORTED, "a key is missing here; an empty one is written \"\"");
  r->key_line = line_of(event);
  r->key_column = column_of(event);
  r->key = etk_arena_strndup(&r->config->arena, text, size);
  r->key_size = size;
  return r->key ? ETK_OK : etk__config_no_memory(r->e, r->config);
}

static etk_status remember(reader *r, const yaml_char_t *anchor, etk__node *node) {
  if (!anchor) return ETK_OK;
  const char *name = etk_arena_strdup(&r->config->arena, (const char *)anchor);
  void **value = name ? etk__names_at(&r->anchors, r->config, name, strlen(name)) : NULL;
  if (!value) return etk__config_no_memory(r->e, r->config);
  *value = node; /* a later anchor of the same name takes over */
  return ETK_OK;
}

static const char *const kind_tags[] = {
    [ETK_CONFIG_NULL] = "null", [ETK_CONFIG_FLAG] = "bool", [ETK_CONFIG_INT] = "int", [ETK_CONFIG_REAL] = "float",
    [ETK_CONFIG_TEXT] = "str",  [ETK_CONFIG_LIST] = "seq",  [ETK_CONFIG_MAP] = "map",
};

/* *kind: what the tag asks for, unchanged where there is none. */
static etk_status read_tag(reader *r, const yaml_event_t *event, const yaml_char_t *tag, int *kind) {
  static const char standard[] = "tag:yaml.org,2002:";
  if (!tag) return ETK_OK;
  const char *text = (const char *)tag;
  if (strcmp(text, "!") == 0) return ETK_OK;
  if (strncmp(text, standard, sizeof standard - 1) == 0) {
    for (int i = 0; i < (int)(sizeof kind_tags / sizeof kind_tags[0]); i++) {
      if (strcmp(text + sizeof standard - 1, kind_tags[i]) != 0) continue;
      *kind = i;
      return ETK_OK;
    }
  }
  return FAIL(r, event, ETK_E_UNSUPPORTED, "tag '%s' is not supported; only !!str !!int !!float !!bool !!null !!map and !!seq are", text);
}

static etk_status apply_scalar_tag(reader *r, const yaml_event_t *event, etk_config_node *node, int wanted) {
  if (wanted == ETK_CONFIG_TEXT) {
    node->kind = ETK_CONFIG_TEXT;
    return ETK_OK;
  }
  if (!etk__config_resolve(node)) return FAIL(r, event, ETK_E_FORMAT, "number '%s' is too large", node->text);
  if (wanted == ETK_CONFIG_REAL && node->kind == ETK_CONFIG_INT) node->kind = ETK_CONFIG_REAL;
  if ((int)node->kind == wanted) return ETK_OK;
  return FAIL(r, event, ETK_E_FORMAT, "'%s' does not fit its tag !!%s", node->text, kind_tags[wanted]);
}

static etk_status on_scalar(reader *r, const yaml_event_t *event) {
  const char *text = (const char *)event->data.scalar.value;
  size_t size = event->data.scalar.length;
  bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  const yaml_char_t *tag = event->data.scalar.tag;
  int wanted = -1;
  etk_status status = read_tag(r, event, tag, &wanted);
  if (status) return status;
  bool as_key = key_wanted(r);
  if (as_key && plain && !tag && size == 2 && memcmp(text, "<<", 2) == 0)
    return FAIL(r, event, ETK_E_UNSUPPORTED, "merge keys ('<<') are not supported; write the values out, or quote the key if it is meant literally");
  etk__node *node = etk__config_node(r->config, ETK_CONFIG_TEXT, line_of(event), column_of(event));
  if (!node || !(node->node.text = etk_arena_strndup(&r->config->arena, text, size))) return etk__config_no_memory(r->e, r->config);
  node->node.text_size = size;
  node->node.quoted = !plain;
  node->complete = true;
  if (wanted >= 0) status = apply_scalar_tag(r, event, &node->node, wanted);
  else if (plain && !tag && !etk__config_resolve(&node->node)) {
    if (as_key) node->node.kind = ETK_CONFIG_TEXT;
    else status = FAIL(r, event, ETK_E_FORMAT, "number '%s' is too large", text);
  }
  if (!status) status = remember(r, event->data.scalar.anchor, node);
  if (status) return status;
  return as_key ? set_key(r, event, &node->node) : place(r, node);
}

static etk_status on_alias(reader *r, const yaml_event_t *event) {
  const char *name = (const char *)event->data.alias.anchor;
  etk__node *named = etk__names_get(&r->anchors, r->config, name, strlen(name));
  if (!named) return FAIL(r, event, ETK_E_FORMAT, "alias '*%s' names no anchor; '&%s' has to come before it", name, name);
  if (!named->complete) return FAIL(r, event, ETK_E_FORMAT, "alias '*%s' stands inside what it names", name);
  if (key_wanted(r)) {
    if (!named->node.text) return FAIL(r, event, ETK_E_UNSUPPORTED, "a list or map cannot be a key");
    return set_key(r, event, &named->node);
  }
  etk__node *copy = etk__config_node(r->config, named->node.kind, line_of(event), column_of(event));
  if (!copy) return etk__config_no_memory(r->e, r->config);
  int line = copy->node.line, column = copy->node.column;
  named->shared = named->node.first != NULL;
  *copy = *named; /* shares text and children */
  copy->node.key = NULL;
  copy->node.key_size = 0;
  copy->node.next = NULL;
  copy->node.line = line;
  copy->node.column = column;
  return place(r, copy);
}

static etk_status on_start(reader *r, const yaml_event_t *event, etk_config_kind kind, const yaml_char_t *anchor, const yaml_char_t *tag) {
  int wanted = (int)kind;
  etk_status status = read_tag(r, event, tag, &wanted);
  if (status) return status;
  if (wanted != (int)kind)
    return FAIL(r, event, ETK_E_FORMAT, "a %s does not fit its tag !!%s", kind == ETK_CONFIG_LIST ? "list" : "map", kind_tags[wanted]);
  if (key_wanted(r)) return FAIL(r, event, ETK_E_UNSUPPORTED, "a list or map cannot be a key");
  if (r->depth == ETK__CONFIG_DEPTH) return FAIL(r, event, ETK_E_UNSUPPORTED, "nested deeper than %d levels", ETK__CONFIG_DEPTH);
  etk__node *node = etk__config_node(r->config, kind, line_of(event), column_of(event));
  if (!node) return etk__config_no_memory(r->e, r->config);
  if (r->depth > 0 && r->open[r->depth - 1]->node.kind == ETK_CONFIG_MAP) take_key(r, node);
  r->open[r->depth++] = node;
  return remember(r, anchor, node);
}

/* A list or map joins its parent when it is whole, for only then its size is known. */
static etk_status on_end(reader *r) {
  etk__node *node = r->open[--r->depth];
  node->complete = true;
  etk_status status = node->node.kind == ETK_CONFIG_MAP ? etk__config_check_keys(r->e, r->config, node, false) : ETK_OK;
  if (status) return status;
  if (r->depth == 0) {
    r->root = node;
    return ETK_OK;
  }
  return etk__config_append(r->e, r->config, r->open[r->depth - 1], node);
}

static etk_status on_event(reader *r, const yaml_event_t *event) {
  switch (event->type) {
  case YAML_DOCUMENT_START_EVENT:
    return r->root ? FAIL(r, event, ETK_E_UNSUPPORTED, "a second document begins here; one file holds one configuration") : ETK_OK;
  case YAML_SCALAR_EVENT:
    return on_scalar(r, event);
  case YAML_ALIAS_EVENT:
    return on_alias(r, event);
  case YAML_SEQUENCE_START_EVENT:
    return on_start(r, event, ETK_CONFIG_LIST, event->data.sequence_start.anchor, event->data.sequence_start.tag);
  case YAML_MAPPING_START_EVENT:
    return on_start(r, event, ETK_CONFIG_MAP, event->data.mapping_start.anchor, event->data.mapping_start.tag);
  case YAML_SEQUENCE_END_EVENT:
  case YAML_MAPPING_END_EVENT:
    return on_end(r);
  default:
    return ETK_OK;
  }
}

etk_status etk__config_read_yaml(etk_error *e, etk_config *config, const char *bytes, size_t size) {
  reader r = {.e = e, .config = config};
  if (!yaml_parser_initialize(&r.parser)) return etk__config_no_memory(e, config);
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, size);
  etk_status status = ETK_OK;
  bool ended = false;
  while (!status && !ended) {
    yaml_event_t event;
    if (!yaml_parser_parse(&r.parser, &event)) {
      status = parser_failed(&r, bytes, size);
      break;
    }
    ended = event.type == YAML_STREAM_END_EVENT;
    status = on_event(&r, &event);
    yaml_event_delete(&event);
  }
  yaml_parser_delete(&r.parser);
  etk__names_fini(&r.anchors);
  if (status) return status;
  bool empty = !r.root || (r.root->node.kind == ETK_CONFIG_NULL && r.root->node.text_size == 0);
  if (empty && !(r.root = etk__config_node(config, ETK_CONFIG_MAP, 0, 0))) return etk__config_no_memory(e, config);
  config->root = &r.root->node;
  return ETK_OK;
}
