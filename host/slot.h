/* slot.h: what resolve.c, resolve_config.c and words.c share: one slot for each argument and option of the command. */
#ifndef SLOT_H
#define SLOT_H

#include "resolve.h"

#include <etk/config.h>

struct slot {
  const struct manifest_argument *argument; /* one of the two is set */
  const struct manifest_option *option;
  etk_value *value;
  const char **texts; /* given by the source that is being read */
  size_t count, capacity;
  bool split;         /* lists are cut at ',' */
  const char *origin; /* of the last text, for the record: "--rank" */
  const char *what;   /* the same for messages: "train.yaml:3:7: lora.rank" */
};

struct resolver {
  struct host *host;
  const struct manifest *manifest;
  const struct manifest_command *command;
  struct slot *slots; /* arguments, then options */
  size_t argument_count, count;
};

etk_status slot_give(etk_error *e, struct resolver *resolver, struct slot *slot, const char *text, const char *origin, const char *what, bool split);
struct slot *slot_of(struct resolver *resolver, const struct manifest_option *option); /* NULL: of another command */
/* Parses what one source gave, and keeps it over what weaker ones gave; every source is checked. */
etk_status settle(etk_error *e, struct resolver *resolver, int source);

/* The option that "group.key" names: of this command where it has one, else of another command of the project (found, but without a slot). */
const struct manifest_option *key_find(const struct resolver *resolver, const char *key);
bool key_is_group(const struct resolver *resolver, const char *path); /* a group, or the beginning of one ("a" of "a.b") */
/* The known key nearest to `key`: the same last part in another group, or by spelling; else the group that it may be. In `out`; NULL: none. */
const char *key_near(const struct resolver *resolver, const char *key, char *out, size_t out_size);
/* The group nearest to `path` by spelling, in `out`; NULL: none. */
const char *group_near(const struct resolver *resolver, const char *path, char *out, size_t out_size);
/* "this is a group of options and no option; its keys: lora.rank, …" */
etk_status group_is_no_key(etk_error *e, const struct resolver *resolver, const char *path, const char *what);
etk_status key_local(etk_error *e, const struct manifest_option *option, const char *what); /* "given on the command line only" */
/* Says, under --verbose and --dry-run, that only other commands use what `what` gives. */
void key_of_others(const struct resolver *resolver, const struct manifest_option *option, const char *what);

/* The user's configuration file, the profile, and the file of --config, in this order of strength. */
etk_status config_read(etk_error *e, struct resolver *resolver);
/* The user's configuration file, NULL where there is none, and (unless EFFICIENTAI_CONFIG_PATH names it) its path without the extension. */
etk_status config_user_path(etk_error *e, const char **out, struct resolver *resolver, const char **stem);
/* The folders of profiles, the user's before the installation's; in resolver->host->arena. */
etk_status profile_dirs(etk_error *e, struct resolver *resolver, const char *dirs[2], size_t *count);
bool profile_name(char *file); /* cuts the extension of a profile's file off; false: it has none of them */
/* One file against every project that is installed: an error tells the first key that none of them takes, or whose value is wrong. */
etk_status config_check(etk_error *e, struct host *host, const char *path, const struct manifest *manifests, size_t count);
/* resolve.c and resolve_config.c for it: the slots of a command, one key at the top level of a file or of a project's section in it, and a map that has to
 * be one (NULL in *out: it is null). */
etk_status resolver_start(etk_error *e, struct resolver *resolver, struct resolved *out);
etk_status config_read_key(etk_error *e, struct resolver *resolver, const char *file, bool section, const etk_config_node *node);
etk_status config_map(etk_error *e, const etk_config_node **out, const char *file, const etk_config_node *node);
/* Fills the slots from the command line. */
etk_status words_read(etk_error *e, struct resolver *resolver, int count, char **words);

#endif
