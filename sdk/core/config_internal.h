/* config_internal.h: what the readers of YAML and JSON share to build one tree. Not installed. */
#ifndef ETK_CONFIG_INTERNAL_H
#define ETK_CONFIG_INTERNAL_H

#include "etk/config.h"

enum { ETK__CONFIG_TEXT = 16 << 20, ETK__CONFIG_DEPTH = 64, ETK__CONFIG_NODES = 1000000 };

struct etk_config {
  etk_arena arena; /* owns everything below */
  char *name;
  const etk_config_node *root;
};

/* A node while it is built. An alias shares the children of what it names, so the cost of its expansion is counted, not paid. */
typedef struct etk__node {
  etk_config_node node; /* first: the public face */
  struct etk__node *last;
  size_t nodes;  /* of the expanded tree below and with this one */
  int height;    /* levels of lists and maps below and with this one */
  bool complete; /* no more children will come */
} etk__node;

/* Open addressing from (bytes, size) to a pointer, for keys of one map and for anchors. Free with etk__names_fini. */
typedef struct etk__names {
  struct etk__name {
    const char *bytes;
    size_t size;
    void *value;
    uint64_t hash;
  } * slots;
  size_t capacity, count;
} etk__names;
/* The place of the name's value; a new name has NULL there, to be set to something else by the caller. NULL: out of memory. */
void **etk__names_at(etk__names *names, const char *bytes, size_t size);
void *etk__names_get(const etk__names *names, const char *bytes, size_t size);
void etk__names_fini(etk__names *names);

/* "name:line:column: …" */
etk_status etk__config_fail(etk_error *e, const etk_config *config, etk_status status, int line, int column, const char *format, ...)
    ETK_PRINTF(6, 7);
etk_status etk__config_no_memory(etk_error *e, const etk_config *config);
etk__node *etk__config_node(etk_config *config, etk_config_kind kind, int line, int column); /* NULL: out of memory */
/* Appends and counts; fails where the bounds are passed. */
etk_status etk__config_append(etk_error *e, etk_config *config, etk__node *parent, etk__node *child);
/* Called when a map has all its children: no key twice. */
etk_status etk__config_check_keys(etk_error *e, const etk_config *config, const etk__node *map);

etk_status etk__config_read_yaml(etk_error *e, etk_config *config, const char *bytes, size_t size);
etk_status etk__config_read_json(etk_error *e, etk_config *config, const char *bytes, size_t size);
/* The kind of a plain scalar by the core schema of YAML 1.2 (section 10.3.2), and its values set in node; false: a number too large for a double. */
bool etk__config_resolve(etk_config_node *node);

#endif
