/* etk/config.h: YAML, JSON and TOML 1.0 read into and written from one typed tree with source positions.
 *
 * YAML is the 1.2 core schema: `1e-5` is a number, `no` is a string, `true`/`false`/`null`/`~` are what they look like; anchors and aliases
 * are expanded under a bound. Of YAML it is the subset of one document, keys that are scalars (an empty one is quoted), the tags of the core schema,
 * and no directives but %YAML 1.1 or 1.2 and %TAG; merge keys (`<<`) and the rest are errors that say so. What libyaml reads otherwise than YAML 1.2 is
 * listed in tests/sdk/suite_yaml.c. TOML is all of 1.0.0, JSON that of RFC 8259. Duplicate keys are errors in all three.
 * Bounds: 16 MiB of text, nesting 64, 1,000,000 nodes after alias expansion. A tree may be read by many threads, and changed (set, merge, …) by one
 * while no other uses it. */
#ifndef ETK_CONFIG_H
#define ETK_CONFIG_H

#include "alloc.h"
#include "status.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_config_kind {
  ETK_CONFIG_NULL,
  ETK_CONFIG_FLAG,
  ETK_CONFIG_INT,
  ETK_CONFIG_REAL,
  ETK_CONFIG_TEXT,
  ETK_CONFIG_LIST,
  ETK_CONFIG_MAP,
  ETK_CONFIG_TIME /* TOML only: RFC 3339 date-time, or local date-time, date or time; `text` as written, `time` says which */
} etk_config_kind;

typedef struct etk_config_node etk_config_node;
struct etk_config_node {
  etk_config_kind kind;
  int line, column;       /* 1-based; 0 where the value has no source */
  const char *key;        /* in a map, else NULL */
  const char *text;       /* scalars: as written (quotes and escapes resolved), also for numbers; never NULL for a scalar */
  size_t text_size;       /* bytes of text: strings may hold NUL */
  bool quoted;            /* the scalar was quoted, so it is text whatever it looks like */
  bool flag;              /* ETK_CONFIG_FLAG */
  int64_t integer;        /* ETK_CONFIG_INT */
  double real;            /* ETK_CONFIG_REAL and ETK_CONFIG_INT */
  const etk_config_node *first, *next; /* children of lists and maps in file order; siblings */
  size_t count;           /* children */
  size_t key_size;        /* bytes of key: a JSON key may hold NUL */
  int key_line, key_column; /* of the key; line and column are the value's */
  int time;               /* ETK_CONFIG_TIME: 0 offset date-time, 1 local date-time, 2 local date, 3 local time */
};

typedef struct etk_config etk_config;
typedef enum etk_config_format {
  ETK_CONFIG_AUTO,
  ETK_CONFIG_YAML,
  ETK_CONFIG_JSON,
  ETK_CONFIG_TOML,
  ETK_CONFIG_JSON_ANY /* for reading what others wrote: RFC 8259 as it is, where the last of equal keys wins */
} etk_config_format;

/* `name` is what messages call the source ("train.yaml:3:7: …"). AUTO: by the end of the name: .json, .toml, else YAML. */
etk_status etk_config_parse(etk_error *e, etk_config **out, const char *name, const char *bytes, size_t size, etk_config_format format);
etk_status etk_config_load(etk_error *e, etk_config **out, const char *path);
void etk_config_free(etk_config *config);
const etk_config_node *etk_config_root(const etk_config *config); /* borrowed; an empty file is an empty map */
const char *etk_config_name(const etk_config *config);

/* A child by key ('-' equals '_'), or NULL; by dot path from a node ("training.learning_rate", "layers.0.name"). */
const etk_config_node *etk_config_child(const etk_config_node *map, const char *key);
const etk_config_node *etk_config_find(const etk_config_node *node, const char *path);
/* Typed reads: a missing key, or null, leaves *out alone and is ETK_OK; a wrong kind is an error that names file, line, column, key and kinds.
 * A whole number may be written 1e3 or 10.0; the text of a number has to be quoted. */
etk_status etk_config_get_int(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, int64_t *out);
etk_status etk_config_get_real(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, double *out);
etk_status etk_config_get_flag(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, bool *out);
etk_status etk_config_get_text(etk_error *e, const etk_config *config, const etk_config_node *map, const char *key, const char **out);
void etk_config_write_json(etk_text *out, const etk_config_node *node, int indent); /* indent 0: one line */
/* The tree in a format, so that reading it back gives an equal tree (places apart; in TOML a map's plain values come before its tables). What a format
 * cannot hold is an error that names the key: null in TOML, nan and infinity in JSON; a time is a string in YAML and JSON. So is a text longer than can be
 * read back. YAML quotes also what only YAML 1.1 reads as a flag (no, on, …). */
etk_status etk_config_write(etk_error *e, etk_text *out, const etk_config_node *node, etk_config_format format);
etk_status etk_config_save(etk_error *e, const etk_config *config, const char *path); /* atomic; the format by the name */

/* ---- changing a tree ---- */
/* A change is made whole or, when it fails, not at all. Nodes found before it stay readable, but may show the old value. */
etk_status etk_config_new(etk_error *e, etk_config **out, const char *name); /* an empty map */
/* Sets the value at a dot path ("training.learning_rate"), making maps on the way; `text` reads as a plain YAML scalar or flow value ("1e-5", "[1, 2]",
 * "no" is text, "" is null, "a: b" and "*.bin" are text; what begins with [ { ' or " is read as YAML). A list item that is there is named by its number.
 * `origin` becomes the name in messages (NULL: the path). A scalar in the way is an error. */
etk_status etk_config_set(etk_error *e, etk_config *config, const char *path, const char *text, const char *origin);
/* Deep merge: maps are merged key by key ('-' equals '_'), everything else of `over` replaces. Nothing is shared: `over` may be changed or freed after. */
etk_status etk_config_merge(etk_error *e, etk_config *config, const etk_config *over);
/* Lays profiles.<name> over the rest and takes the `profiles` map away; name NULL only takes it away. An unknown name lists those there are. */
etk_status etk_config_profile(etk_error *e, etk_config *config, const char *name);
/* Variables PREFIX__A__B_C=value set a.b_c: two underscores separate, one belongs to the key, case is lowered. An existing key that equals it but for
 * case and '-' wins. entries: an environ-like array ending with NULL; values read as for etk_config_set. Returns the number set through *count. */
etk_status etk_config_environment(etk_error *e, etk_config *config, const char *prefix, const char *const *entries, size_t *count);
/* Where a node's value came from: the name of the file, variable or --set that last wrote it. */
const char *etk_config_origin(const etk_config *config, const etk_config_node *node);

#ifdef __cplusplus
}
#endif
#endif
