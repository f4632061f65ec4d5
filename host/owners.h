/* owners.h: which projects have a command, for those who wrote the command alone. */
#ifndef OWNERS_H
#define OWNERS_H

#include "host.h"

/* Appends "'lora-finetuning-mlx:train' or 'other:train'", sorted, at most four; returns how many there are. Reads notes only, and of them only the lines
 * of commands: a project without a note is passed over. */
size_t command_owners(etk_text *out, struct host *host, const char *command);

#endif
