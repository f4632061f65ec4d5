/* shell_words.h: a line cut into words as a POSIX shell cuts it: blanks, '…', "…", backslashes and comments. Nothing is expanded. */
#ifndef SHELL_WORDS_H
#define SHELL_WORDS_H

#include <etk/alloc.h>
#include <etk/status.h>

struct shell_words {
  etk_arena arena;
  const char **words; /* without their quotes; ends with NULL */
  size_t *starts;     /* where each began in the line, in bytes */
  bool *bare;         /* the first character stood outside quotes: a '~' there is the user's folder */
  size_t count;
  bool touching;      /* the last word ends where the line does: more of it may follow */
  char quote;         /* what is open at the end: 0, '\'', '"', or '\\' for a last backslash */
};
/* strict: an open quote, a last backslash, and characters that would be operators of a shell (| & ; < >) outside quotes are errors of usage. Else the line
 * is the beginning of one: what is open ends with it, and operators are plain characters. *out is filled in every case. */
etk_status shell_split(etk_error *e, struct shell_words *out, const char *line, size_t size, bool strict);
void shell_words_free(struct shell_words *words);
/* The text so that it is one word in any POSIX shell and here. quote: an open quote that it is written into (0: none). NULL: out of memory. */
char *shell_quote(etk_arena *arena, const char *text, char quote);

#endif
