/* diff.h: two models, tensor by tensor. */
#ifndef MODEL_DIFF_H
#define MODEL_DIFF_H

#include <etk/project.h>

etk_status diff_models(etk_run *run, const char *a, const char *b, bool all, bool check);

#endif
