/* embed.h: texts to vectors by an encoder (etk/encoder.h), as results or line by line. */
#ifndef MODEL_EMBED_H
#define MODEL_EMBED_H

#include <etk/project.h>

struct embedding {
  const char *path;          /* a folder of an encoder with a tokenizer */
  struct etk_texts texts;    /* these, */
  const char *file, *lines;  /* or a file of texts, one a line, or of JSON strings; "-": standard input */
  bool truncate;             /* texts that are too long lose their end; else they are an error */
  bool compare;              /* of texts: a table of the cosines of all pairs */
};
/* Texts become results; of a file each line becomes a JSON array on a line. */
etk_status embed_texts(etk_run *run, const struct embedding *o);

#endif
