/* config_internal.h: what the readers and writers of YAML, JSON and TOML share to build one tree. Not installed. */
#ifndef ETK_CONFIG_INTERNAL_H
#define ETK_CONFIG_INTERNAL_H

#include "etk/config.h"

enum { ETK__CONFIG_TEXT = 16 << 20, ETK__CONFIG_DEPTH = 64, ETK__CONFIG_NODES = 1000000 };

struct etk_config {
  etk_arena arena; /* owns everything below */
  char *name;
  const etk_config_node *root;
};

/* A node as it is built and changed; every etk_config_node is the beginning of one. An alias shares the children of what it names, so the cost of
 * its expansion is counted, not paid, until one of the two is changed. */
typedef struct etk__node {
  etk_config_node node; /* first: the public face */
  struct etk__node *last;
  const char *origin;  /* who wrote the value, in the arena; NULL: the file that config->name says */
  size_t nodes;        /* of the expanded tree below and with this one */
  int height;          /* levels of lists and maps below and with this one; after a change: at most so many */
  bool complete;       /* no more children will come */
  bool shared;         /* the children are those of another node too: copied before they change */
  unsigned char state; /* the TOML reader's: how a table came about */
} etk__node;

/* Open addressing from (scope, bytes, size) to a pointer, for keys of maps and for anchors. Free with etk__names_fini. */
typedef struct etk__names {
  struct etk__name {
    const void *scope;
    const char *bytes;
    size_t size;
    void *value;
    uint64_t hash;
  } * slots;
  size_t capacity, count;
} etk__names;
/* The place of the name's value; a new name has NULL there, to be set to something else by the caller. NULL: out of memory. */
void **etk__names_at(etk__names *names, const void *scope, const char *bytes, size_t size);
void *etk__names_get(const etk__names *names, const void *scope, const char *bytes, size_t size);
void etk__names_fini(etk__names *names);

/* Line and column (in characters) of a place in a text; asking forwards costs one pass over the text in all. */
typedef struct etk__place {
  const char *bytes, *counted; /* the text; the byte that line and column are of */
  int line, column;
} etk__place;
void etk__place_init(etk__place *place, const char *bytes);
void etk__place_find(etk__place *place, const char *at);
/* "'x'", "the end of the line", "byte 0x01", … for messages: what stands at p. Returns out. */
const char *etk__config_seen(char *out, size_t out_size, const char *p, const char *end);

/* "name:line:column: …" */
etk_status etk__config_fail(etk_error *e, const etk_config *config, etk_status status, int line, int column, const char *format, ...)
    ETK_PRINTF(6, 7);
/* The same for a node: its origin, and its place where it has one. */
etk_status etk__config_fail_at(etk_error *e, const etk_config *config, etk_status status, const etk_config_node *node, const char *format, ...)
    ETK_PRINTF(5, 6);
etk_status etk__config_no_memory(etk_error *e, const etk_config *config);
etk_status etk__config_create(etk_error *e, etk_config **out, const char *name, size_t size_hint);
etk__node *etk__config_node(etk_config *config, etk_config_kind kind, int line, int column); /* NULL: out of memory */
/* Puts child last. Neither counts nor checks. */
void etk__config_link(etk__node *parent, etk__node *child);
/* Puts child last and counts; fails where the bounds are passed. */
etk_status etk__config_append(etk_error *e, etk_config *config, etk__node *parent, etk__node *child);
/* Called when a map has all its children: no key twice; with `last_wins` the earlier one is dropped instead. */
etk_status etk__config_check_keys(etk_error *e, const etk_config *config, etk__node *map, bool last_wins);
const char *etk__config_kind_name(etk_config_kind kind); /* "a whole number" */
/* A child whose key is spelt so, else one that differs in '-' and '_', else, with any_case, one that differs in case too. */
const etk_config_node *etk__config_find_child(const etk_config_node *map, const char *key, size_t size, bool any_case);
const etk_config_node *etk__config_find_item(const etk_config_node *list, const char *index, size_t size);

etk_status etk__config_read_yaml(etk_error *e, etk_config *config, const char *bytes, size_t size);
etk_status etk__config_read_json(etk_error *e, etk_config *config, const char *bytes, size_t size, bool last_wins);
etk_status etk__config_read_toml(etk_error *e, etk_config *config, const char *bytes, size_t size);
/* The kind of a plain scalar by the core schema of YAML 1.2 (section 10.3.2), and its values set in node; false: a number too large for a double. */
bool etk__config_resolve(etk_config_node *node);

etk_config_format etk__config_format(const char *name); /* by its ending */

/* ---- writing ---- */
typedef struct etk__writer {
  etk_error *e;
  etk_text *out;
  size_t begin;                                       /* size of out before */
  const etk_config_node *path[ETK__CONFIG_DEPTH + 2]; /* root first */
  int depth;
} etk__writer;
/* "cannot write 'a.b': <text>" */
etk_status etk__write_fail(const etk__writer *w, const char *format, ...) ETK_PRINTF(2, 3);
/* Steps into a node: bounds on depth and on what was written so far, since aliases and long strings multiply. */
etk_status etk__write_enter(etk__writer *w, const etk_config_node *node);
void etk__write_leave(etk__writer *w);
/* Shortest, with ".0" where it would read as a whole number. Finite. */
void etk__write_real(etk_text *out, double value);
/* Where text is quoted with '"': '\\', '"' and all that is not printable as an escape of YAML and TOML alike ("\n", "\u00ad", "\U0001f600"). */
void etk__write_quoted(etk_text *out, const char *bytes, size_t size);
void etk__write_escape(etk_text *out, uint32_t code_point);
bool etk__write_printable(uint32_t code_point); /* stands for itself in YAML and TOML text; line ends and tabs do not */
etk_status etk__config_write_yaml(etk__writer *w, const etk_config_node *node);
etk_status etk__config_write_toml(etk__writer *w, const etk_config_node *node);

/* ---- the TOML reader ---- */
typedef struct etk__toml {
  etk_error *e;
  etk_config *config;
  const char *p, *end;
  etk__place place;
  etk__names keys; /* (table, key) → etk__node */
  size_t nodes;
  etk_text scratch; /* a string while its escapes are resolved; a number without underscores */
} etk__toml;
etk_status etk__toml_fail(etk__toml *t, const char *at, const char *format, ...) ETK_PRINTF(3, 4);
/* "<wanted>, found 'x'" */
etk_status etk__toml_unexpected(etk__toml *t, const char *wanted);
/* At a quote; the text goes to the arena. Three quotes are allowed where `lines`. */
etk_status etk__toml_string(etk__toml *t, const char **text, size_t *size, bool lines);
/* At the first character of a number, date, time, true, false, inf or nan: fills kind, values and text. */
etk_status etk__toml_scalar(etk__toml *t, etk_config_node *node);

#endif
