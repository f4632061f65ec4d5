/* etk/options.h: one table of options is the schema of a configuration: it loads files into a C struct, checks them with file:line:column and a
 * suggestion, and writes itself as a commented file, as a JSON Schema, as Markdown and as help.
 *
 * The rows are those of the ABI (etk/project.h tells kinds, limits, groups and flags). A command's rows are made by ETK_PROJECT; any other struct
 * gets a table of its own, under the same checks:
 *
 *   #define SERVER(OPT)                                                                                                      \
 *     OPT(int, port, "8000", "1..65535", "server", "", 0, "where to listen")                                                 \
 *     OPT(text, name, "-", "1..64", "server", "", 0, "what it is called")          "-": unset, here NULL; "" is an empty text
 *   ETK_OPTIONS_WITH(server, "Answers questions", SERVER)
 *     struct server_options { uint32_t struct_size, reserved; int64_t port; const char *name; } and server_table
 *   struct server_options o;
 *   etk_options_load(&e, &o, &arena, &server_table, config, NULL);
 *
 * A secret has no default: whatever the row says, it is unset.
 * A key is "group.name" ('-' equals '_' in each part); a group may hold dots. Strings of a row may hold the two-character escapes of project.h. */
#ifndef ETK_OPTIONS_H
#define ETK_OPTIONS_H

#include "alloc.h"
#include "config.h"
#include "project.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One value, typed by kind. Text and lists live in the arena it was parsed with. */
typedef struct etk_value {
  int source;          /* ETK_FROM_… */
  const char *origin;  /* "train.yaml:3:7", "EFFICIENTAI__LORA__RANK", "--rank"; NULL for defaults */
  int64_t integer;     /* int, size (bytes), duration (ns), flag */
  double real;
  const char *text;    /* text, path, choice, secret */
  struct etk_ints ints;
  struct etk_reals reals;
  struct etk_texts texts;
  struct etk_map_text map;
} etk_value;

typedef struct etk_option_table {
  const char *name;             /* of the schema, for titles: "server", "lora-finetuning-mlx:train" */
  const char *summary;
  const etk_option_row *rows;
  uint32_t count, stride;       /* stride 0: sizeof(etk_option_row) */
  uint32_t struct_size;         /* of the struct the offsets are into; 0: there is none (tables read from notes) */
} etk_option_table;

/* Defines struct <name>_options and the static table <name>_table, without a summary. Lists made of lists work as in project.h. */
#define ETK_OPTIONS(name, LIST) ETK_OPTIONS_WITH(name, "", LIST)
/* The same with a summary: the first line of a template and the description of a schema. */
#define ETK_OPTIONS_WITH(name, summary, LIST)                                                                                \
  struct name##_options { uint32_t struct_size, reserved; LIST(ETK__FIELD) };                                                \
  static const etk_option_row etk__options_##name[] = {LIST(ETK__OPTION_ROW(name)){0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};           \
  static const etk_option_table name##_table = {#name, summary, etk__options_##name, ETK__COUNT(etk__options_##name),             \
                                                (uint32_t)sizeof(etk_option_row), (uint32_t)sizeof(struct name##_options)};

/* ---- values ---- */

/* Parses one text as a value of the kind and checks the limits: lists split at ',' ("\\," is a comma of an item), maps at the first '='. `what` names
 * it in messages: "--rank", "train.yaml:3:7: lora.rank": "--rank: 0 is below 1 (allowed: 1..256)". check_files: path limits (exists, file, dir, new,
 * model: see etk_hub_resolve) look at the file system. Text of *out is copied to the arena; source and origin are left alone. */
etk_status etk_value_parse(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text, const char *what,
                           bool check_files);
/* The same from several texts: lists and maps take every one, other kinds the last. split: each text of a list is cut at ',' (the items of a list in a
 * configuration file are not), and one that begins with '[' for a list or '{' for a map is read as YAML: [a, b], {k: v}. */
etk_status etk_value_parse_texts(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts, size_t count,
                                 bool split, const char *what);
/* A variadic argument: every text is one item of `kind`; etk_kind_list says which list it fills (ints for int, size and duration; …). */
etk_status etk_value_parse_items(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts, size_t count,
                                 const char *what);
/* The texts that a node of a configuration gives to etk_value_parse_texts for a kind, in arena: numbers as every format writes them (0o17, 1_000, 1e3), items
 * of lists, key=value of maps. A list or map where none is wanted is an error; the node is not null. An empty list or map gives count 0. */
etk_status etk_value_texts(etk_error *e, const char *const **out, size_t *count, bool *split, etk_arena *arena, uint32_t kind, const etk_config_node *node,
                           const char *what);
/* The part of the limits that looks at the file system, alone. The name of a pulled model (limit "model") becomes the path of its folder, in arena. */
etk_status etk_value_check_files(etk_error *e, etk_value *value, etk_arena *arena, uint32_t kind, const char *limits, const char *what);
/* Whether a limits string is one of its kind. */
etk_status etk_limits_check(etk_error *e, uint32_t kind, const char *limits);
/* The value as it would be typed ("4GiB", "1,2,3"); secrets are "(set)" or "(unset)", an unset value is "-". */
void etk_value_show(etk_text *out, uint32_t kind, const etk_value *value);
/* As JSON: numbers, booleans, strings, arrays, an object for maps; sizes in bytes, durations in seconds; null where unset. */
void etk_value_json(etk_text *out, uint32_t kind, const etk_value *value);
const char *etk_kind_name(uint32_t kind); /* "int" …; NULL: unknown */
bool etk_kind_parse(uint32_t *kind, const char *name);
uint32_t etk_kind_list(uint32_t kind); /* the list kind that a variadic argument of this kind fills */

/* ---- a struct from a configuration ---- */

/* Sets struct_size, every default, then what `config` (NULL: nothing) holds below the map at `path` (NULL or "": the root). Unknown keys are errors
 * that name file, line, column and the nearest key; all lists and text live in `arena`. On failure *out holds the defaults. */
etk_status etk_options_load(etk_error *e, void *out, etk_arena *arena, const etk_option_table *table, const etk_config *config, const char *path);
/* The row that answers to "group.name" or to "group.alias"; NULL: none. */
const etk_option_row *etk_options_find(const etk_option_table *table, const char *key);
/* The known key a person most likely meant by `key`, written to out, which is returned; NULL: none is near. */
const char *etk_options_suggest(char *out, size_t size, const etk_option_table *table, const char *key);

/* ---- the table as documents; hidden rows are left out, local ones stand in the Markdown only ---- */

/* A configuration file with every key at its default, its help and limits as a comment before it; unset keys and, without `all`, advanced ones are
 * commented out. Reading it back through etk_options_load gives the defaults. JSON has no comments: it gets values only. */
etk_status etk_options_template(etk_error *e, etk_text *out, const etk_option_table *table, etk_config_format format, bool all);
/* JSON Schema, draft 2020-12: types, enum, bounds, defaults, descriptions, additionalProperties false; groups are nested objects. `id`: its $id, or NULL.
 * It describes the plain way to write a value: etk_options_load takes more (a quoted number, yes for true, "1,2" for a list, '-' for '_' in keys). Aliases
 * of more than a letter are listed as deprecated. Lengths count bytes, which a schema cannot: its bounds are those that the bytes imply. */
etk_status etk_options_schema(etk_error *e, etk_text *out, const etk_option_table *table, const char *id);
/* A Markdown table: option with its aliases, kind and limits, default, key, help. */
etk_status etk_options_markdown(etk_error *e, etk_text *out, const etk_option_table *table);
/* Appends the limits in words: "1 to 256", "above 0, at most 1", "linear, cosine or constant"; nothing where everything is allowed. */
void etk_limits_words(etk_text *out, uint32_t kind, const char *limits);

#ifdef __cplusplus
}
#endif
#endif
