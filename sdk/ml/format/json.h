/* json.h: reading JSON with jansson, safely also when memory runs out. */
#ifndef ETK_ML_FORMAT_JSON_H
#define ETK_ML_FORMAT_JSON_H

#include <etk/status.h>
#include <jansson.h>

/* json_loadb, with this difference. jansson 2.14 goes on with a text that lost a character when its token buffer cannot grow, and then reads and writes past
 * the end of memory. So while a text is read here, an allocation that fails is served from a reserve that was set aside before, the text ends there, and the
 * whole is reported as json_error_out_of_memory: jansson never meets a failure. Thread-safe: calls take turns. */
json_t *etk__json_loadb(const char *bytes, size_t size, size_t flags, json_error_t *error);

/* The same with our messages: "name:line:column: not valid JSON: …"; duplicate keys are errors. *out is NULL on failure. */
etk_status etk__json_parse(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size);

/* Writes root, indented and with sorted keys, to a file in the folder. Consumes root; NULL is out of memory. */
etk_status etk__json_write(etk_error *e, json_t *root, const char *folder, const char *file);

#endif
