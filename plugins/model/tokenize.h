/* tokenize.h: text to token ids and back, as a table or line by line. */
#ifndef MODEL_TOKENIZE_H
#define MODEL_TOKENIZE_H

#include <etk/project.h>

struct tokenizing {
  const char *path;              /* a folder, tokenizer.json, tokenizer.model or GGUF: whatever etk_tokenizer_open reads */
  const char *text, *file, *lines; /* one of them; the files may be "-", standard input */
  bool special;                  /* with what stands before and behind a text */
  bool parse_special, parse_given; /* control tokens written in the text; not given: as the kind of tokenizer has it */
  bool decode;                   /* ids to text */
};
/* A text or file becomes results; of `lines`, each is answered by a line as soon as it is read, in memory that only the longest line decides. */
etk_status tokenize_model(etk_run *run, const struct tokenizing *o);

#endif
