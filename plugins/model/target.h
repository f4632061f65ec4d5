/* target.h: where a conversion may write. */
#ifndef MODEL_TARGET_H
#define MODEL_TARGET_H

#include <etk/status.h>
#include <stdbool.h>

/* The name of an output whose kind it decides: one that ends as the files of a format do which is not written is ETK_E_USAGE. An adapter is a .gguf or .safetensors
 * file or a folder. */
etk_status target_name(etk_error *e, const char *output, bool adapter);
/* What --force may not replace: the input, a folder that the input lies in, and a folder that holds neither a model nor an adapter. */
etk_status target_replace(etk_error *e, const char *input, const char *output);

#endif
