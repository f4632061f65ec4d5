/* values.h: what the host adds to the values of etk/options.h: the names of their sources, and a command's rows as a table. */
#ifndef VALUES_H
#define VALUES_H

#include "manifest.h"

#include <etk/options.h>

const char *source_name(int source); /* "default", "profile", "config", "environment", "set", "command line"; "unset" */

/* The options of the commands as one table for the documents of etk/options.h (no struct behind it), in arena. An option that several of them have stands
 * there once, where all agree on kind, limits, default and help; where they do not, the first counts and the help says which other commands differ.
 * With more than one command the help ends with the names of those that have it. */
etk_status option_table(etk_error *e, etk_option_table *out, etk_arena *arena, const struct manifest *manifest, const struct manifest_command *const *commands,
                        size_t count);

#endif
