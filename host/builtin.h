/* builtin.h: built-in commands, declared as projects declare theirs: one list per command makes the options struct, the prototype and the tables, so
 * that parsing, checks, suggestions, help, completion, the manual and JSON come from the same code as for plugins.
 *
 * A group is the first word of a command line; it has one command of its own name (`info`) or several (`runs list`, also written `runs:list`; without a
 * word the first of the list). The function is <command>_run; it gets the host where a plugin's gets its run, prints for itself (data to stdout,
 * conversation to stderr, one document under host->json) and returns the exit code.
 *
 *   #define LIST_OPTIONS(OPT) OPT(int, limit, "20", "1..", "", "n", ETK_LOCAL, "how many")
 *   #define COMMANDS(CMD) CMD(list, ETK_NONE, LIST_OPTIONS, 0, "List runs, newest first") CMD(show, SHOW_ARGS, ETK_NONE, 0, "Show one run")
 *   BUILTIN(runs, "Look at recorded runs", COMMANDS)
 *   static int list_run(struct host *host, const struct list_options *o) { … }
 *
 * Options of built-ins are ETK_LOCAL: configuration files, profiles and EFFICIENTAI__… are for commands of projects. `--config`, `--set`, `--profile`,
 * `--no-run` and `--jsonl` are refused, `--dry-run` but for commands with BUILTIN_DRY_RUN. A file of a built-in is host/builtins/<group>.c; cli.c lists
 * the groups. */
#ifndef BUILTIN_H
#define BUILTIN_H

#include "host.h"

#include <etk/project.h>

#define BUILTIN_DRY_RUN 256 /* command flag: host->dry_run is obeyed */

#define BUILTIN_DECLARE(name, ARGS, OPTS, flags, summary)                                                         \
  struct name##_options { uint32_t struct_size, reserved; OPTS(ETK__FIELD) };                                     \
  static int name##_run(struct host *host ARGS(ETK__PROTOTYPE_ARG), const struct name##_options *options);
#define BUILTIN(group, summary, COMMANDS)                                                                         \
  COMMANDS(BUILTIN_DECLARE)                                                                                       \
  COMMANDS(ETK__TABLES)                                                                                           \
  static const etk_command_row etk__commands[] = {COMMANDS(ETK__COMMAND_ROW){0, 0, 0, 0, 0, 0, 0, 0, 0}};         \
  const etk_project builtin_##group = {                                                                           \
      (uint32_t)sizeof(etk_project), ETK_ABI_MAJOR, ETK_ABI_MINOR, 0, 0, ETK__COUNT(etk__commands),               \
      (uint32_t)sizeof(etk_command_row), (uint32_t)sizeof(etk_argument_row), (uint32_t)sizeof(etk_option_row),    \
      0, NULL, #group, ETK_VERSION, summary, etk__commands, NULL, NULL, NULL};

/* The groups in the order of help; ends with NULL. `name_space` is the C spelling ("generate_config"). */
extern const etk_project *const builtins[];
const etk_project *builtin_find(const char *name); /* '-' equals '_'; NULL: none */
bool builtin_is_single(const etk_project *group);  /* its one command has its name */
/* Whether the user gave this option or argument of the built-in that runs. */
bool builtin_given(const struct host *host, const char *name);
/* The group's tables as a manifest, as notes of plugins are read; manifest_fini frees it. */
etk_status builtin_manifest(etk_error *e, struct manifest *out, const etk_project *group);

#endif
