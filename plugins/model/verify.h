/* verify.h: whether a model file is what it should be. */
#ifndef MODEL_VERIFY_H
#define MODEL_VERIFY_H

#include <etk/project.h>

etk_status verify_model(etk_run *run, const char *path, bool hash); /* ETK_E_CHECK: there are findings */

#endif
