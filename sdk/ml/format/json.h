/* json.h: reading and writing JSON with jansson, safely also when memory runs out. */
#ifndef ETK_ML_FORMAT_JSON_H
#define ETK_ML_FORMAT_JSON_H

#include <etk/alloc.h>
#include <etk/status.h>
#include <etk/text.h>
#include <jansson.h>
#include <stdbool.h>

/* json_loadb, with this difference. jansson 2.14 goes on with a text that lost a character when its token buffer cannot grow, and then reads and writes past
 * the end of memory. So while a text is read here, an allocation that fails is served from a reserve that was set aside before, the text ends there, and the
 * whole is reported as json_error_out_of_memory: jansson never meets a failure. Thread-safe: calls take turns. */
json_t *etk__json_loadb(const char *bytes, size_t size, size_t flags, json_error_t *error);

/* What the tree of a text takes at most, as jansson 2.14 allocates with glibc's malloc; it need not be valid. A list of small lists takes 40 times its text. */
size_t etk__json_tree_bytes(const char *bytes, size_t size);
/* etk__json_loadb refuses a text whose tree would take more than eight times its size and 12 MB (json_error_unknown, with the numbers); this one, more than `limit`. So
 * a reader that also keeps the text stays below ten times the size of its file and 16 MB. */
json_t *etk__json_load_within(const char *bytes, size_t size, size_t limit, size_t flags, json_error_t *error);

/* The same with our messages: "name:line:column: not valid JSON: …"; duplicate keys are errors. *out is NULL on failure. */
etk_status etk__json_parse(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size);

/* The same for a tokenizer.json. Where its tree would take too much, merges of the form ["a", "b"] are first joined to "a b", the form of older files, which takes a
 * third of it; pairs with a space in them stay as they are. */
etk_status etk__json_parse_tokenizer(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size);

enum { ETK__CONFIG_LIMIT = 16 << 20 }; /* of config.json and what stands beside it: that of a mixture of experts may name thousands of modules */
/* Reads and parses a file of at most `limit` bytes whose top is an object (or, array, an array). *out is NULL on failure. */
etk_status etk__json_read(etk_error *e, json_t **out, const char *path, size_t limit, bool array);

/* ---- values (json_value.c) ---- */

/* Appends the text of any value. Not json_dumps, which in jansson 2.14 goes on when its text cannot grow for a key, and returns the rest: out->failed remembers.
 * flags: jansson's. A value of NULL is out of memory. */
void etk__json_put(etk_text *out, const json_t *value, size_t flags);

/* Writes root, indented and with sorted keys, to a file in the folder. Consumes root; NULL is out of memory. */
etk_status etk__json_write(etk_error *e, json_t *root, const char *folder, const char *file);

/* A value as messages show it: its beginning, in whole characters, where it is longer; "?" where memory runs out. */
typedef struct etk__json_shown {
  char text[121];
} etk__json_shown;
etk__json_shown etk__json_show(const json_t *value);
/* ETK_E_FORMAT: <name>: "<key>" is <value>, wanted <wanted> */
etk_status etk__json_wrong(etk_error *e, const char *name, const char *key, const json_t *value, const char *wanted);

/* Values of an object under a key. Absent (unless it is required) and null leave *out as it is; another kind of value is an error that names file and key. */
etk_status etk__json_count(etk_error *e, const char *name, const json_t *object, const char *key, bool required, int64_t *out); /* 1 to 2^31 - 1 */
etk_status etk__json_number(etk_error *e, const char *name, const json_t *object, const char *key, double *out);                /* above 0 */
etk_status etk__json_bool(etk_error *e, const char *name, const json_t *object, const char *key, bool *out);

#endif
