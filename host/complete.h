/* complete.h: what may stand at the cursor of a command line. One engine for bash, zsh, fish and the interactive shell. Everything comes from the tables
 * of the built-ins, from notes and from names of files: no plugin code runs, a plugin without a note is passed over, and nothing is printed. */
#ifndef COMPLETE_H
#define COMPLETE_H

#include "host.h"

struct candidate {
  const char *text; /* the whole word, not only what is missing of it */
  const char *help; /* one line; "" where there is nothing to say */
  bool open;        /* the word goes on ("lora.rank=", "some-folder/"): no blank after it */
};
enum complete_paths { COMPLETE_NO_PATHS, COMPLETE_FILES, COMPLETE_FOLDERS };
struct completion {
  etk_arena arena;
  struct candidate *items;
  size_t count, capacity;
  bool replaces;             /* some candidate does not begin with what was typed: "lora:tr" → "lora-finetuning-mlx:train" */
  bool ordered;              /* the order means something (newest first): a list keeps it */
  enum complete_paths paths; /* a path may stand there too: a shell offers its own, others call complete_list_paths */
  const char *kept, *path;   /* then the word is kept + path: "--data=" and "corpus/tr" */
  bool failed;               /* out of memory */
};

/* words: those before the cursor's, without the name of the program; word: the beginning of the cursor's word, "" where a new one begins. host: its
 * search path and `standalone` (set: the first word is a command of that namespace); --plugin-dir among the words is obeyed. *out is filled in every
 * case and freed by completion_free. */
etk_status complete_line(etk_error *e, struct completion *out, struct host *host, const char *const *words, size_t count, const char *word);
void completion_free(struct completion *completion);
/* Adds the files or folders that out->paths asks for. Names with control characters are left out. */
etk_status complete_list_paths(etk_error *e, struct completion *out);
/* One more candidate, where `text` begins with `typed`. text and help are copied. */
void complete_offer(struct completion *out, const char *typed, const char *text, const char *help, bool open);
/* The namespaces that begin with `word`. */
etk_status complete_namespaces(etk_error *e, struct completion *out, struct host *host, const char *word);
/* Every "group.key=" of the commands of a namespace or of one of them ("namespace:command"), and the values after it, for a word that begins with `word`. */
etk_status complete_key(etk_error *e, struct completion *out, struct host *host, const char *name, const char *word);

#endif
