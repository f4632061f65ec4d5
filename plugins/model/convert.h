/* convert.h: a model or an adapter written again in another format or type, and what became of each tensor. */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include <etk/convert.h>
#include <etk/project.h>

struct conversion {
  const char *input, *output, *to; /* to: NULL: by the output's name */
  const char *base;                /* of adapters: the model they belong to; NULL */
  etk_convert_options options;     /* but for to, progress and command, which are set here */
  bool plan;                       /* only say what would be done */
  bool tensors;                    /* a row for each tensor */
};
etk_status convert_model(etk_run *run, const struct conversion *conversion);

#endif
