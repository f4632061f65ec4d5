/* pull.h: models from the hub. */
#ifndef MODEL_PULL_H
#define MODEL_PULL_H

#include <etk/project.h>
#include <etk/pull.h>

etk_status pull_model(etk_run *run, const char *id, const etk_pull_options *options);

#endif
