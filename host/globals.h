/* globals.h: the host's own options: one table for parsing, help, suggestions and reserved names. */
#ifndef GLOBALS_H
#define GLOBALS_H

#include "host.h"

struct host_option {
  const char *name;   /* as typed, without dashes */
  char letter;        /* 0: none */
  int type;           /* how globals.c reads it */
  size_t offset;      /* of the field in struct host */
  const char *value;  /* what stands for the value in help; NULL: a flag */
  const char *help;   /* NULL: an alias, not listed */
  bool yields;        /* a flag whose name a command may give to an option that takes a value: behind the command, with a value, it is that option */
};
extern const struct host_option host_options[]; /* ends with a NULL name */
const struct host_option *host_option_find(const char *name, size_t size); /* '-' equals '_' */
const struct host_option *host_option_letter(char letter);

/* Whether a word reads as an option rather than as the value of the one before: --name, --name=…, or -x where x is a letter. A word that only
 * begins with dashes ("-5", "-", "--- a dash ---", "-5,3") is a value. */
bool looks_like_option(const char *word);

/* Takes the host's options out of the words, wherever they stand before "--"; the rest (with the "--") goes to *rest, count to *rest_count, both in
 * host->arena. Sets host->json before anything can fail, so that errors already obey it. */
etk_status globals_take(etk_error *e, struct host *host, int count, char **words, char ***rest, int *rest_count);
/* One host letter met inside a combination like -nq by the parser of a command. */
void globals_letter(struct host *host, char letter);
/* What the environment says of the host: EFFICIENTAI_PROFILE, colours. Warns of an unknown EFFICIENTAI_… variable. */
void globals_environment(struct host *host);
/* The host's variables, for help and info; ends with a NULL name. */
struct host_variable {
  const char *name, *help;
};
extern const struct host_variable host_variables[];

#endif
