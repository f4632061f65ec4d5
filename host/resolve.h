/* resolve.h: the values of one call from every source, weakest first: defaults, the user's configuration file, profile, --config, environment, --set,
 * command line. No plugin code runs here; each value is checked at every source, so that a mistake in a file does not hide behind an option. */
#ifndef RESOLVE_H
#define RESOLVE_H

#include "host.h"
#include "values.h"

struct resolved {
  const struct manifest *manifest;
  const struct manifest_command *command;
  etk_value *arguments; /* one for each row of the command, a list where it is variadic; in host->arena */
  etk_value *options;
};

/* words: what stands after the command, the host's own options taken out. Uses host->{config, profile, sets, path, arena}. */
etk_status resolve(etk_error *e, struct resolved *out, struct host *host, const struct manifest *manifest, const struct manifest_command *command, int count,
                   char **words);
/* The kind that the value of an argument has: a list kind where it is variadic. */
uint32_t argument_kind(const struct manifest_argument *argument);
/* Where the value of an option or argument came from; ETK_FROM_UNSET for a name that the command does not have. */
int resolved_source(const struct resolved *resolved, const char *name);
/* "rank" or any of its longer aliases; '-' equals '_'. */
bool option_answers_to(const struct manifest_option *option, const char *name, size_t size);

#endif
