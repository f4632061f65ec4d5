/* json.h: reading JSON with jansson, safely also when memory runs out. */
#ifndef ETK_ML_FORMAT_JSON_H
#define ETK_ML_FORMAT_JSON_H

#include <etk/status.h>
#include <jansson.h>

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

/* Writes root, indented and with sorted keys, to a file in the folder. Consumes root; NULL is out of memory. */
etk_status etk__json_write(etk_error *e, json_t *root, const char *folder, const char *file);

#endif
