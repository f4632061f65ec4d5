/* help.h: what a person reads: the host, a namespace, a command. All of it from notes; no plugin code runs. */
#ifndef HELP_H
#define HELP_H

#include "host.h"

void help_host(struct host *host); /* also with every plugin's summary */
void help_namespace(struct host *host, const struct manifest *manifest);
void help_command(struct host *host, const struct manifest *manifest, const struct manifest_command *command);
/* help for a built-in group or one of its commands (NULL: the group); the exit code. */
int help_builtin(struct host *host, const etk_project *group, const char *command_name);
/* "lora-finetuning-mlx:train MODEL DATA… [options]" */
void usage_line(etk_text *out, const struct host *host, const struct manifest *manifest, const struct manifest_command *command);
/* "-r, --rank N", with four blanks where there is no letter. */
void help_option_left(char *out, size_t size, const struct manifest_option *option);
/* The same facts under --json. */
void manifest_json(etk_text *out, const struct manifest *manifest, const struct manifest_command *only);

#endif
