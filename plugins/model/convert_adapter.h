/* convert_adapter.h: adapters from one form to another. */
#ifndef MODEL_CONVERT_ADAPTER_H
#define MODEL_CONVERT_ADAPTER_H

#include "convert.h"

#include <etk/adapter.h>

bool is_adapter(const char *path, etk_adapter_form *form);
etk_status convert_adapter(etk_run *run, const struct conversion *conversion, etk_adapter_form from, const char *command);

#endif
