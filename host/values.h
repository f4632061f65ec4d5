/* values.h: what the host adds to the values of etk/options.h: the names of their sources, and a command's rows as a table. */
#ifndef VALUES_H
#define VALUES_H

#include "manifest.h"

#include <etk/options.h>

const char *source_name(int source); /* "default", "profile", "config", "environment", "set", "command line"; "unset" */

/* The options of some commands of a manifest as one table for the documents of etk/options.h (there is no struct behind it), in arena; its strings may be
 * the manifest's. With several commands: local options are left out, a key that several have stands there once, its help ends with their names, and a
 * default or limits that differ are told there (such a key has no default). */
const char *table_text(etk_arena *arena, const char *text); /* a plain text as a string of a row: its escapes made; NULL: out of memory */
etk_status option_table(etk_error *e, etk_option_table *out, etk_arena *arena, const struct manifest *manifest, const struct manifest_command *const *commands,
                        size_t count);

/* A new configuration file of the user's for all projects (host/builtins/generate_config.c): everything commented out, an example of each project or, with
 * `all`, every option. */
struct host;
etk_status config_skeleton(etk_error *e, etk_text *out, struct host *host, etk_config_format format, bool all);

#endif
