/* inspect.h: what is in a model file. */
#ifndef MODEL_INSPECT_H
#define MODEL_INSPECT_H

#include <etk/project.h>

struct inspection {
  const char *path;
  const char *histogram; /* a tensor's name, or NULL */
  int64_t bins;
  bool tensors, keys;
};
etk_status inspect_model(etk_run *run, const struct inspection *inspection);

#endif
