/* convert.h: safetensors written again with another type. */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include <etk/project.h>

/* A file to a file, or a folder to a folder with all that lies beside the weights. type: "f32", "f16" or "bf16". */
etk_status convert_model(etk_run *run, const char *in, const char *out, const char *type, bool force);

#endif
