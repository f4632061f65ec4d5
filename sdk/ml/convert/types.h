/* types.h: which type each tensor of a GGUF file gets. Not installed. */
#ifndef ETK_ML_CONVERT_TYPES_H
#define ETK_ML_CONVERT_TYPES_H

#include <etk/quant.h>

/* What llama.cpp calls a file type: the type of most matrices and a rule for the others. */
typedef struct etk__mix {
  const char *name;
  int file_type; /* general.file_type */
  etk_type type; /* of most matrices */
} etk__mix;
const etk__mix *etk__mix_find(const char *name);     /* any case; "q4_k" is q4_k_m and the like; NULL: unknown */
bool etk__mix_type(etk_type *out, const char *name); /* f32, f16, bf16 or a block type, any case */

/* One tensor as its GGUF file has it. */
typedef struct etk__mix_tensor {
  const char *name;
  etk_shape shape; /* row-major */
  int type;        /* in: as it is where it is not quantized; out: as it will be */
  bool fell_back;  /* out: the row's length does not allow the type that the mix calls for */
} etk__mix_tensor;

typedef struct etk__mix_options {
  const etk__mix *mix;
  const char *architecture;                 /* "llama" */
  int64_t layers, heads, key_heads, experts; /* experts 0: none */
  const char *const *tensor_types;          /* "REGEX=TYPE", the first that is found in the name decides */
  size_t tensor_type_count;
  int output_type, embedding_type;          /* -1: the mix's */
  bool pure, leave_output, importance;      /* importance: there is an importance matrix */
} etk__mix_options;

/* Chooses as llama_model_quantize does (its rules by the tensors' names, in the order of layers and names), but that tensor_types are heard whatever
 * the mix. */
etk_status etk__mix_choose(etk_error *e, etk__mix_tensor *tensors, size_t count, const etk__mix_options *options);

#endif
