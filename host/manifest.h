/* manifest.h: what a plugin says of itself, as plain data of the host's: read from the note without running code, or from a loaded vtable. */
#ifndef MANIFEST_H
#define MANIFEST_H

#include <etk/options.h>

/* All strings are decoded (escapes resolved, except in limits, where '|' has a meaning) and live in the manifest's arena. */
struct manifest_argument {
  const char *name, *limits, *help;
  uint32_t kind, need;
};
struct manifest_option {
  const char *name, *default_text, *limits, *group, *aliases, *help;
  uint32_t kind, flags;
};
struct manifest_command {
  const char *name, *summary; /* name as in C: '_' shown as '-' */
  uint32_t flags;
  const struct manifest_argument *arguments;
  size_t argument_count;
  const struct manifest_option *options;
  size_t option_count;
};
struct manifest {
  etk_arena arena;
  const char *name_space, *version, *summary;
  unsigned abi_major, abi_minor, host_minor, note_revision;
  const struct manifest_command *commands;
  size_t command_count;
  uint64_t file_device, file_inode; /* of the checked file the note was read from, so that the same one is loaded; inode 0: unknown */
  bool asked;                       /* the file has no note: the plugin was loaded in a child process and asked */
  const char *path;                 /* of the plugin's file, in the arena; NULL for built-ins and texts */
  bool builtin;                     /* of the host itself: its commands are said "runs list" or "info", and read from the command line only */
  bool group_writable;              /* the file or its folder: said when the plugin is loaded */
};

void manifest_fini(struct manifest *manifest);
/* "lora-finetuning-mlx:train", "runs list", "info": as a command is said, in the given buffer, which is returned. */
char *command_title(char *out, size_t size, const struct manifest *manifest, const struct manifest_command *command);
const struct manifest_command *manifest_command(const struct manifest *manifest, const char *name); /* '-' equals '_' */
/* "greet-all": the spelling for the command line, in the given buffer (at least 64 bytes), which is returned. */
const char *shown_name(char *out, size_t size, const char *name);
/* Legal namespaces: [a-z][a-z0-9-]*, at most 64, no "--", not ending in '-', not a built-in. Commands and options: [a-z][a-z0-9_]*, at most 48. */
bool legal_namespace(const char *name);
bool legal_name(const char *name);
/* Names that belong to the host's own options ("json", "config", …): a plugin may not declare them. */
bool reserved_option(const char *name);
/* Everything that must hold of a manifest: names legal and unique over arguments, options and aliases of a command; kinds, needs and limits
 * parse; defaults obey their limits; versions are MAJOR.MINOR.PATCH; variadic only last; required before optional. Each finding is passed to
 * `report`; returns their number. */
size_t manifest_check(const struct manifest *manifest, void (*report)(void *user, const char *finding), void *user);

/* From the text of a note (note.c finds it in a file), or from a loaded vtable (loader.c). */
etk_status manifest_from_text(etk_error *e, struct manifest *out, const char *text, size_t size);
etk_status manifest_from_project(etk_error *e, struct manifest *out, const etk_project *project);
/* The first of manifest_check's findings that makes a plugin unusable (names, duplicates, reserved options, the order of arguments). */
etk_status manifest_usable(etk_error *e, const struct manifest *manifest);
/* Where two manifests of one plugin differ: "command 'train', option 'rank': the note's default is '8', the table's is '16'". */
etk_status manifest_equal(etk_error *e, const struct manifest *note, const struct manifest *table);
/* The text of a note for a vtable whose pointers were checked, as ETK_PROJECT would have made it. */
etk_status manifest_text(etk_error *e, char **text, size_t *size, const etk_project *project);

#endif
