/* marshal.h: from values to the arguments of a C function. */
#ifndef MARSHAL_H
#define MARSHAL_H

#include "resolve.h"

#include <etk/project.h>

/* The row of the plugin's table that the command's name means, or NULL. */
const etk_command_row *marshal_row(const etk_project *project, const char *name);
/* Fills the options struct as the rows say and calls the command; *returned is what it returned. An error is the host's: a table that does not agree
 * with what was resolved. */
etk_status marshal_call(etk_error *e, etk_status *returned, etk_run *run, const etk_project *project, const etk_command_row *row, const struct resolved *resolved);

#endif
