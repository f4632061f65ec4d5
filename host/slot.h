/* slot.h: what resolve.c, resolve_config.c and words.c share: one slot for each argument and option of the command. */
#ifndef SLOT_H
#define SLOT_H

#include "resolve.h"

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
/* The known key nearest to `key`: the same last part in another group, or by spelling. In `out`; NULL: none. */
const char *key_near(const struct resolver *resolver, const char *key, char *out, size_t out_size);
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
/* Fills the slots from the command line. */
etk_status words_read(etk_error *e, struct resolver *resolver, int count, char **words);

#endif
