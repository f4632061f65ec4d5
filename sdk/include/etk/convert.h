/* etk/convert.h: a model written again in another format or type.
 *
 * Reads what etk/weights.h opens (Hugging Face and MLX folders, safetensors, GGUF, llama2.c, npz, PyTorch) and writes Hugging Face folders, MLX folders, GGUF,
 * safetensors, npz and PyTorch files. Names, shapes and the order of rows follow the target's conventions, the configuration and the tokenizer come along where
 * both sides have them. Tensors that keep their type keep their bits; others go through F32 and are rounded once, to the nearest value of the new type.
 *
 * Tensors are streamed: memory holds a few megabytes of rows and, where rows lie in another order or a stack of experts is put together, one tensor; npz and
 * PyTorch files, which end at 4 GiB, are the exception: tensors whose type or order changes are all copied before they are written. Nothing appears under the
 * output's name before all of it is written.
 * What is written says how it was made, in the metadata of safetensors and the keys of GGUF: efficientai.command, efficientai.version, and for each input file
 * efficientai.source.N.path (without the folders above the input) and efficientai.source.N.sha256; where that file says its own command, efficientai.source.N.command.
 * npz files have an array of bytes of the name "efficientai" with the same as JSON; PyTorch files, in which every name is a parameter's, do not say it. */
#ifndef ETK_CONVERT_H
#define ETK_CONVERT_H

#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_convert_format {
  ETK_CONVERT_BY_NAME, /* .gguf, .safetensors, .npz, .pth or .pt; anything else is a Hugging Face folder */
  ETK_CONVERT_HF, ETK_CONVERT_GGUF, ETK_CONVERT_MLX, ETK_CONVERT_SAFETENSORS, ETK_CONVERT_NPZ, ETK_CONVERT_PTH, ETK_CONVERT_FORMATS
} etk_convert_format;
const char *etk_convert_format_name(etk_convert_format format);                /* "hf", "gguf", "mlx", "safetensors", "npz", "pth"; "" for by name */
bool etk_convert_format_parse(etk_convert_format *out, const char *name);

typedef struct etk_convert_options {
  etk_convert_format to;
  /* f32, f16 or bf16; for GGUF also a block type or one of llama.cpp's mixes (q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, q2_k, q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_k_s,
   * q4_k_m, q5_k_s, q5_k_m, q6_k; q3_k, q4_k and q5_k mean the _m), under which each tensor gets the type that llama_model_quantize gives it. NULL: types stay as
   * they are; blocks that the target cannot hold become F16. */
  const char *type;
  const char *const *tensor_types;         /* GGUF: "REGEX=TYPE", found anywhere in a tensor's name; the first that fits decides */
  size_t tensor_type_count;
  const char *output_type, *embedding_type; /* GGUF: types of output.weight (of token_embd.weight where there is none) and token_embd.weight; NULL: the mix's */
  const char *importance;                   /* GGUF: file of an importance matrix (GGUF or the older .dat); NULL: none */
  bool pure;                                /* GGUF: one type for all that is quantized */
  bool leave_output;                        /* GGUF: output.weight stays as it is */
  bool requantize;                          /* blocks may become other blocks, which loses twice */
  int bits, group_size;                     /* MLX: 2, 3, 4, 5, 6 or 8, and 32, 64 or 128; 0: 4 and 64 */
  int64_t shard_bytes;                      /* HF and MLX: 0: 5 GB; GGUF: parts of at most so many bytes of tensors, 0: one file */
  bool replace;                             /* an existing output is replaced */
  const char *command;                      /* recorded; NULL: "etk_convert" */
  /* Called as bytes of the input are done, from the calling thread; false stops with ETK_E_CANCELLED. May be NULL. */
  bool (*progress)(void *user, int64_t done, int64_t total, const char *tensor);
  void *user;
} etk_convert_options;

/* One tensor of the output. */
typedef struct etk_convert_tensor {
  const char *name, *source;         /* in the output; in the input (of a stack of experts: the first) */
  const char *from, *to;             /* types: "BF16", "Q4_K", "AFFINE" */
  etk_shape shape;
  int64_t bytes_before, bytes_after;
  bool fell_back;                    /* the row's length did not allow the type that was called for */
  double error;                      /* after writing: sqrt(sum of squared errors / sum of squared values); 0 where the bits stayed or all were exact */
} etk_convert_tensor;

typedef struct etk_convert etk_convert;
/* Opens the input and decides on every tensor; writes nothing. Texts of the options must live as long as the plan. */
etk_status etk_convert_new(etk_error *e, etk_convert **out, const char *input, const char *output, const etk_convert_options *options);
void etk_convert_free(etk_convert *convert); /* NULL is fine */
etk_convert_format etk_convert_target(const etk_convert *convert);
const char *etk_convert_type(const etk_convert *convert); /* "q4_k_m", "bf16"; "" where types stay */
size_t etk_convert_count(const etk_convert *convert);
const etk_convert_tensor *etk_convert_at(const etk_convert *convert, size_t index); /* NULL behind the last */
etk_status etk_convert_write(etk_error *e, etk_convert *convert);
int etk_convert_files(const etk_convert *convert); /* after writing: files of weights */

/* How a file of ours was made: appends the JSON object of its keys efficientai.*, "{}" where there are none. */
etk_status etk_convert_provenance(etk_error *e, etk_text *out, const etk_weights *weights);

#ifdef __cplusplus
}
#endif
#endif
