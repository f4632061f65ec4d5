/* slot.h: what resolve.c and words.c share: one slot for each argument and option of the command. */
#ifndef SLOT_H
#define SLOT_H

#include "resolve.h"

struct slot {
  const struct manifest_argument *argument; /* one of the two is set */
  const struct manifest_option *option;
  struct value *value;
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
/* Fills the slots from the command line. */
etk_status words_read(etk_error *e, struct resolver *resolver, int count, char **words);

#endif
