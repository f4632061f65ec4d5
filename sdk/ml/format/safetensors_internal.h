/* What the safetensors reader and writer share. */
#ifndef ETK_ML_SAFETENSORS_INTERNAL_H
#define ETK_ML_SAFETENSORS_INTERNAL_H

#include <etk/safetensors.h>

#define ETK__SAFETENSORS_HEADER_LIMIT 100000000u /* bytes of JSON; the reference reader's bound */

/* Every element type of the format. The row number is the order of the reference writer: later rows are stored first. */
typedef struct etk__safetensors_dtype {
  const char *name;
  int bits;  /* of one element */
  int dtype; /* etk_dtype, or -1 */
} etk__safetensors_dtype;
extern const etk__safetensors_dtype etk__safetensors_dtypes[];
extern const int etk__safetensors_dtype_count;

#endif
