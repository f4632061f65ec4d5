/* complete_internal.h: what complete.c (where the cursor is) and complete_values.c (what may stand there) share. */
#ifndef COMPLETE_INTERNAL_H
#define COMPLETE_INTERNAL_H

#include "complete.h"
#include "globals.h"

struct walk { /* the words before the cursor, read one after the other */
  struct completion *out;
  struct host *host;
  struct manifest manifest; /* of the namespace or group that the first word names */
  bool named, builtin, stray, dashes; /* stray: a word that names nothing; dashes: "--" was seen */
  const struct manifest_command *command;
  bool *used;               /* for each argument, then each option of the command: given by name */
  size_t placed;            /* arguments given by position */
  const char *first;        /* the first of them */
  uint64_t host_used;       /* a bit for each row of host_options */
  /* One of these is set where the last word wants a value. */
  const struct host_option *host_value;
  const struct manifest_option *option_value;
  const struct manifest_argument *argument_value;
  const char *kept, *word;  /* the cursor's word, cut where its value begins: "--data=" and "tr" */
};

/* One value of a kind. `name`: of the option or argument, which may say more than its kind does (a run, a namespace). */
void complete_value(struct walk *walk, uint32_t kind, const char *limits, const char *name, const char *default_text);
void complete_host_value(struct walk *walk, const struct host_option *option);
void complete_set(struct walk *walk); /* "group.key=value", all commands where walk->command is NULL */
/* Adds kept + text where text begins with the rest of the word. */
void complete_add(struct walk *walk, const char *text, const char *help, bool open);
/* Namespaces; with_commands: what follows ':' too, where the word has one. */
void complete_names(struct walk *walk, bool with_builtins, bool with_commands);
/* The commands of a namespace or group, without its name. */
void complete_commands(struct walk *walk, const char *name);
/* What the note of a plugin says; false where it has none or is not to be trusted. */
bool complete_manifest(struct manifest *out, const struct search_path *path, const struct plugin *plugin);

#endif
