/* config_tree.c: building a tree within bounds. */
#include "config_internal.h"
#include <stdarg.h>

etk_status etk__config_fail(etk_error *e, const etk_config *config, etk_status status, int line, int column, const char *format, ...) {
  if (!e) return status;
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return etk_fail(e, status, "%s:%d:%d: %s", config->name, line, column, text);
}

etk_status etk__config_fail_at(etk_error *e, const etk_config *config, etk_status status, const etk_config_node *node, const char *format, ...) {
  if (!e) return status;
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const char *origin = etk_config_origin(config, node);
  if (node->line == 0) return etk_fail(e, status, "%s: %s", origin, text);
  return etk_fail(e, status, "%s:%d:%d: %s", origin, node->line, node->column, text);
}

etk_status etk__config_no_memory(etk_error *e, const etk_config *config) {
  return etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", config->name);
}

const char *etk__config_seen(char *out, size_t out_size, const char *p, const char *end) {
  uint32_t code_point;
  size_t n = etk_utf8_decode(&code_point, p, (size_t)(end - p));
  if (p == end) snprintf(out, out_size, "the end of the text");
  else if (*p == '\n' || (*p == '\r' && end - p > 1 && p[1] == '\n')) snprintf(out, out_size, "the end of the line");
  else if (n == 3 && code_point == 0xFEFF) snprintf(out, out_size, "a byte order mark");
  else if (n == 0 || code_point < 0x20 || code_point == 0x7F) snprintf(out, out_size, "byte 0x%02x", (unsigned)(unsigned char)*p);
  else snprintf(out, out_size, "'%.*s'", (int)n, p);
  return out;
}

void etk__place_init(etk__place *place, const char *bytes) { *place = (etk__place){bytes, bytes, 1, 1}; }

void etk__place_find(etk__place *place, const char *at) {
  if (at < place->counted) etk__place_init(place, place->bytes);
  for (; place->counted < at; place->counted++) {
    if (*place->counted == '\n') place->line++, place->column = 1;
    else if (((unsigned char)*place->counted & 0xC0) != 0x80) place->column++;
  }
}

/* FNV-1a (Fowler, Noll, Vo), mixed once more because tables use the low bits. The scope's address, which no writer of a file knows, is its start. */
static uint64_t hash_of(const void *scope, const char *bytes, size_t size) {
  uint64_t h = UINT64_C(0xCBF29CE484222325) ^ (uint64_t)(uintptr_t)scope * UINT64_C(0x9E3779B97F4A7C15);
  for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001B3);
  return h ^ h >> 29;
}

static bool is_name(const struct etk__name *slot, const struct etk__name *wanted) {
  return slot->hash == wanted->hash && slot->scope == wanted->scope && slot->size == wanted->size &&
         memcmp(slot->bytes, wanted->bytes, wanted->size) == 0;
}

/* The slot that holds the name, or the free one where it would go. There is always a free one. */
static struct etk__name *slot_of(const etk__names *names, const struct etk__name *wanted) {
  for (size_t i = (size_t)wanted->hash & (names->capacity - 1);; i = (i + 1) & (names->capacity - 1)) {
    struct etk__name *slot = &names->slots[i];
    if (!slot->bytes || is_name(slot, wanted)) return slot;
  }
}

static bool grow(etk__names *names) {
  etk__names larger = {.capacity = names->capacity ? names->capacity * 2 : 32, .count = names->count};
  larger.slots = etk_calloc(larger.capacity, sizeof *larger.slots);
  if (!larger.slots) return false;
  for (size_t i = 0; i < names->capacity; i++)
    if (names->slots[i].bytes) *slot_of(&larger, &names->slots[i]) = names->slots[i];
  etk_free(names->slots);
  *names = larger;
  return true;
}

void **etk__names_at(etk__names *names, const void *scope, const char *bytes, size_t size) {
  if (names->count * 2 >= names->capacity && !grow(names)) return NULL;
  struct etk__name wanted = {scope, bytes, size, NULL, hash_of(scope, bytes, size)}, *slot = slot_of(names, &wanted);
  if (!slot->bytes) {
    *slot = wanted;
    names->count++;
  }
  return &slot->value;
}

void *etk__names_get(const etk__names *names, const void *scope, const char *bytes, size_t size) {
  if (names->count == 0) return NULL;
  struct etk__name wanted = {scope, bytes, size, NULL, hash_of(scope, bytes, size)};
  return slot_of(names, &wanted)->value;
}

void etk__names_fini(etk__names *names) {
  etk_free(names->slots);
  *names = (etk__names){0};
}

etk_status etk__config_create(etk_error *e, etk_config **out, const char *name, size_t size_hint) {
  etk_config *config = etk_calloc(1, sizeof *config);
  if (config) config->name = etk_strdup(name);
  if (!config || !config->name) {
    etk_config_free(config);
    return etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", name);
  }
  if (size_hint < 4096) config->arena.block_size = 4096; /* most files are small, and the host reads some at start-up */
  *out = config;
  return ETK_OK;
}

etk__node *etk__config_node(etk_config *config, etk_config_kind kind, int line, int column) {
  etk__node *node = etk_arena_alloc(&config->arena, sizeof *node);
  if (!node) return NULL;
  node->node.kind = kind;
  node->node.line = line;
  node->node.column = column;
  node->nodes = 1;
  node->height = kind == ETK_CONFIG_LIST || kind == ETK_CONFIG_MAP;
  return node;
}

void etk__config_link(etk__node *parent, etk__node *child) {
  if (parent->last) parent->last->node.next = &child->node;
  else parent->node.first = &child->node;
  parent->last = child;
  parent->node.count++;
}

etk_status etk__config_append(etk_error *e, etk_config *config, etk__node *parent, etk__node *child) {
  parent->nodes += child->nodes;
  if (child->height + 1 > parent->height) parent->height = child->height + 1;
  if (parent->nodes > ETK__CONFIG_NODES)
    return etk__config_fail(e, config, ETK_E_UNSUPPORTED, child->node.line, child->node.column, "more than %d values (with aliases expanded)",
                            ETK__CONFIG_NODES);
  if (parent->height > ETK__CONFIG_DEPTH)
    return etk__config_fail(e, config, ETK_E_UNSUPPORTED, child->node.line, child->node.column, "nested deeper than %d levels", ETK__CONFIG_DEPTH);
  etk__config_link(parent, child);
  return ETK_OK;
}

static etk_status duplicate(etk_error *e, const etk_config *config, const etk_config_node *again, const etk_config_node *before) {
  return etk__config_fail(e, config, ETK_E_FORMAT, again->key_line, again->key_column, "key '%s' appears twice (first at %d:%d)", again->key,
                          before->key_line, before->key_column);
}

static bool same_key(const etk_config_node *a, const etk_config_node *b) {
  return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

static etk_status check_small(etk_error *e, const etk_config *config, const etk__node *map) {
  for (const etk_config_node *a = map->node.first; a; a = a->next)
    for (const etk_config_node *b = map->node.first; b != a; b = b->next)
      if (same_key(a, b)) return duplicate(e, config, a, b);
  return ETK_OK;
}

/* Keeps of every key the node that the table holds. */
static void keep_last(etk__node *map, const etk__names *seen) {
  etk__node whole = *map;
  map->node.first = NULL;
  map->node.count = 0;
  map->last = NULL;
  for (etk__node *child = (etk__node *)whole.node.first, *next; child; child = next) {
    next = (etk__node *)child->node.next;
    child->node.next = NULL;
    if (etk__names_get(seen, map, child->node.key, child->node.key_size) == child) etk__config_link(map, child);
    else map->nodes -= child->nodes;
  }
}

etk_status etk__config_check_keys(etk_error *e, const etk_config *config, etk__node *map, bool last_wins) {
  if (map->node.count <= 12 && !last_wins) return check_small(e, config, map); /* small maps, nearly all: no table */
  etk__names seen = {0};
  etk_status status = ETK_OK;
  bool twice = false;
  for (const etk_config_node *a = map->node.first; a && !status; a = a->next) {
    void **place = etk__names_at(&seen, map, a->key, a->key_size);
    if (!place) status = etk__config_no_memory(e, config);
    else if (*place && !last_wins) status = duplicate(e, config, a, *place);
    else {
      twice |= *place != NULL;
      *place = (void *)(uintptr_t)a;
    }
  }
  if (twice && !status) keep_last(map, &seen);
  etk__names_fini(&seen);
  return status;
}
