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

etk_status etk__config_no_memory(etk_error *e, const etk_config *config) {
  return etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", config->name);
}

static uint64_t hash_of(const char *bytes, size_t size) {
  uint64_t h = UINT64_C(0xCBF29CE484222325); /* FNV-1a (Fowler, Noll, Vo), mixed once more because tables use the low bits */
  for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001B3);
  return h ^ h >> 29;
}

/* The slot that holds the name, or the free one where it would go. There is always a free one. */
static struct etk__name *slot_of(const etk__names *names, const char *bytes, size_t size, uint64_t hash) {
  for (size_t i = (size_t)hash & (names->capacity - 1);; i = (i + 1) & (names->capacity - 1)) {
    struct etk__name *slot = &names->slots[i];
    if (!slot->bytes || (slot->hash == hash && slot->size == size && memcmp(slot->bytes, bytes, size) == 0)) return slot;
  }
}

static bool grow(etk__names *names) {
  etk__names larger = {.capacity = names->capacity ? names->capacity * 2 : 32, .count = names->count};
  larger.slots = etk_calloc(larger.capacity, sizeof *larger.slots);
  if (!larger.slots) return false;
  for (size_t i = 0; i < names->capacity; i++) {
    const struct etk__name *old = &names->slots[i];
    if (old->bytes) *slot_of(&larger, old->bytes, old->size, old->hash) = *old;
  }
  etk_free(names->slots);
  *names = larger;
  return true;
}

void **etk__names_at(etk__names *names, const char *bytes, size_t size) {
  if (names->count * 2 >= names->capacity && !grow(names)) return NULL;
  uint64_t hash = hash_of(bytes, size);
  struct etk__name *slot = slot_of(names, bytes, size, hash);
  if (!slot->bytes) {
    *slot = (struct etk__name){bytes, size, NULL, hash};
    names->count++;
  }
  return &slot->value;
}

void *etk__names_get(const etk__names *names, const char *bytes, size_t size) {
  return names->count ? slot_of(names, bytes, size, hash_of(bytes, size))->value : NULL;
}

void etk__names_fini(etk__names *names) {
  etk_free(names->slots);
  *names = (etk__names){0};
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

etk_status etk__config_append(etk_error *e, etk_config *config, etk__node *parent, etk__node *child) {
  parent->nodes += child->nodes;
  if (child->height + 1 > parent->height) parent->height = child->height + 1;
  if (parent->nodes > ETK__CONFIG_NODES)
    return etk__config_fail(e, config, ETK_E_UNSUPPORTED, child->node.line, child->node.column, "more than %d values (with aliases expanded)",
                            ETK__CONFIG_NODES);
  if (parent->height > ETK__CONFIG_DEPTH)
    return etk__config_fail(e, config, ETK_E_UNSUPPORTED, child->node.line, child->node.column, "nested deeper than %d levels", ETK__CONFIG_DEPTH);
  if (parent->last) parent->last->node.next = &child->node;
  else parent->node.first = &child->node;
  parent->last = child;
  parent->node.count++;
  return ETK_OK;
}

static etk_status duplicate(etk_error *e, const etk_config *config, const etk_config_node *again, const etk_config_node *before) {
  return etk__config_fail(e, config, ETK_E_FORMAT, again->key_line, again->key_column, "key '%s' appears twice (first at %d:%d)", again->key,
                          before->key_line, before->key_column);
}

static bool same_key(const etk_config_node *a, const etk_config_node *b) {
  return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

etk_status etk__config_check_keys(etk_error *e, const etk_config *config, const etk__node *map) {
  if (map->node.count <= 12) { /* small maps, nearly all: no table */
    for (const etk_config_node *a = map->node.first; a; a = a->next)
      for (const etk_config_node *b = map->node.first; b != a; b = b->next)
        if (same_key(a, b)) return duplicate(e, config, a, b);
    return ETK_OK;
  }
  etk__names seen = {0};
  etk_status status = ETK_OK;
  for (const etk_config_node *a = map->node.first; a && !status; a = a->next) {
    void **place = etk__names_at(&seen, a->key, a->key_size);
    if (!place) status = etk__config_no_memory(e, config);
    else if (*place) status = duplicate(e, config, a, *place);
    else *place = (void *)(uintptr_t)a;
  }
  etk__names_fini(&seen);
  return status;
}
