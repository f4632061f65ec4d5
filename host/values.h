/* values.h: option and argument values: parsing by kind, limits, defaults, sources. */
#ifndef VALUES_H
#define VALUES_H

#include "manifest.h"

#include <etk/text.h>

/* One value, typed by kind. Text and lists live in the arena it was parsed with. */
struct value {
  int source;             /* ETK_FROM_… */
  const char *origin;     /* "train.yaml:3:7", "EFFICIENTAI__LORA__RANK", "--rank"; NULL for defaults */
  int64_t integer;        /* int, size, duration, flag */
  double real;
  const char *text;       /* text, path, choice, secret */
  struct etk_ints ints;
  struct etk_reals reals;
  struct etk_texts texts;
  struct etk_map_text map;
};

/* Parses one text as a value of the kind and checks the limits: lists split at ',', maps at the first '='. what: "--rank", "lora.rank" for messages:
 * "--rank: 0 is below 1 (allowed: 1..256)". check_files: whether path limits (exists, file, dir, new) look at the file system. */
etk_status value_parse(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text, const char *what, bool check_files);
/* The same from several texts: lists and maps take every one, other kinds the last. split: each text of a list is cut at ',' (the items of a list in
 * a configuration file are not). */
etk_status value_parse_all(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts, size_t count,
                           bool split, const char *what);
/* A variadic argument: every text is one item of `kind`; value_list_kind says which list it fills (ints for int, size and duration; …). */
etk_status value_parse_many(etk_error *e, struct value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts, size_t count,
                            const char *what);
uint32_t value_list_kind(uint32_t kind);
/* The part of the limits that looks at the file system, alone. */
etk_status value_check_files(etk_error *e, uint32_t kind, const char *limits, const struct value *value, const char *what);
/* A limits string that does not parse for its kind is a finding of manifest_check. */
etk_status limits_check(etk_error *e, uint32_t kind, const char *limits);
/* The value as text, as it would be typed ("4GiB", "1,2,3"); secrets are "(set)" or "(unset)". */
void value_show(etk_text *out, uint32_t kind, const struct value *value);
/* The value as JSON: numbers, booleans, strings, arrays, an object for maps; sizes in bytes, durations in seconds; null where unset. */
void value_json(etk_text *out, uint32_t kind, const struct value *value);
const char *source_name(int source); /* "default", "profile", "config", "environment", "set", "command line"; "unset" */

#endif
