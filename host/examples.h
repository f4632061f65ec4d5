/* examples.h: the examples of a command, from the README that lies beside the plugin as libproj-<namespace>.md. */
#ifndef EXAMPLES_H
#define EXAMPLES_H

#include "manifest.h"

#include <etk/text.h>

/* Every command in the fenced code blocks that runs `command` of the namespace (NULL: any command of it), each ended by a newline. A command that goes on over
 * several lines (a backslash, an open quote) is whole. No README: nothing. Characters that would move a terminal's cursor are left out. */
void examples_of(etk_text *out, const struct manifest *manifest, const struct manifest_command *command);

#endif
