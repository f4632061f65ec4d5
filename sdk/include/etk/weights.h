/* etk/weights.h: one view of the containers of weights: safetensors and PyTorch's files (one, or a folder with shards), GGUF (splits too), llama2.c checkpoints,
 * NumPy's .npz and .npy, the initializers of ONNX models.
 *
 * Opening reads headers only and maps the rest. Tensors have the name they are stored under and, where the architecture's names are known, the one they
 * have in a Hugging Face folder ("canonical"; Llama, Mistral, Mixtral, SmolLM3, Qwen2, Qwen2-MoE, Qwen3, Gemma 1 to 3, GPT-2, GPT-NeoX and Phi-3). An open
 * container is read by any number of threads. */
#ifndef ETK_WEIGHTS_H
#define ETK_WEIGHTS_H

#include "quant.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_weights etk_weights;
typedef enum etk_weights_format {
  ETK_WEIGHTS_SAFETENSORS, ETK_WEIGHTS_GGUF, ETK_WEIGHTS_LLAMA2C, ETK_WEIGHTS_TORCH, ETK_WEIGHTS_NUMPY, ETK_WEIGHTS_ONNX, ETK_WEIGHTS_FORMAT_COUNT
} etk_weights_format;
const char *etk_weights_format_name(etk_weights_format format); /* "safetensors", "GGUF", "llama2.c", "PyTorch", "NumPy", "ONNX"; "?" */

typedef struct etk_weight {
  const char *name, *canonical; /* canonical is name where no other is known, and of a stack of experts, which has none of its own */
  const char *type_name;        /* as the container spells it */
  int type;                     /* etk_type, or -1 for one that is not decoded here */
  int part;                     /* of the container's files, from 0 */
  etk_shape shape;              /* row-major */
  const void *data;             /* in the map, row-major, any alignment; NULL where the values must be unpacked first (etk_weight_data) */
  size_t bytes;
  int64_t rotary;               /* rows a head whose rows are stored in interleaved rotary order (2i, 2i+1); 0: rows are in canonical order */
  struct etk_weights *owner;    /* for etk_weight_data, and so is place; NULL in one that is not of a container */
  size_t place;
} etk_weight;

/* What a model's configuration tells (config.json beside the weights, GGUF's keys, llama2.c's header), under Hugging Face's names. */
typedef struct etk_weights_facts {
  char architecture[64]; /* "" where nothing tells */
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings; /* 0: not told */
  double norm_eps, rope_theta; /* 0: not told */
  int64_t num_experts;         /* 0: not told */
} etk_weights_facts;

/* The extent that a letter stands for in tables of shapes: V vocabulary, D width, H inner width, Q all heads, K all key-value heads, E one head, S positions; else 0. */
int64_t etk_weights_extent(const etk_weights_facts *facts, char letter);

/* path: a folder (the first there is of model.safetensors, its index with shards, adapter_model.safetensors, adapters.safetensors,
 * diffusion_pytorch_model.safetensors, pytorch_model.bin, its index with shards, adapter_model.bin, diffusion_pytorch_model.bin, weights.npz and model.onnx), or a
 * file of any of the formats, told apart by content. The one array of an .npy file is called "array". */
etk_status etk_weights_open(etk_error *e, etk_weights **out, const char *path);
void etk_weights_close(etk_weights *weights); /* NULL is fine; everything borrowed from it dies with it; the maps stay until the last tensor taken is gone */
const char *etk_weights_path(const etk_weights *weights);
etk_weights_format etk_weights_get_format(const etk_weights *weights);
const etk_weights_facts *etk_weights_get_facts(const etk_weights *weights);
size_t etk_weights_part_count(const etk_weights *weights);
const char *etk_weights_part_path(const etk_weights *weights, size_t part); /* NULL behind the last */

/* Reads part `part` whole and compares the checksums that it carries: the CRC-32s of PyTorch's and NumPy's archives. ETK_OK where the format has none. PyTorch can be
 * told not to write them: such a file fails here and is fine otherwise. */
etk_status etk_weights_check(etk_error *e, const etk_weights *weights, size_t part);

size_t etk_weights_count(const etk_weights *weights);
const etk_weight *etk_weights_at(const etk_weights *weights, size_t index); /* parts in order, each in file order; NULL behind the last */
/* By either name; NULL: absent. */
const etk_weight *etk_weights_find(const etk_weights *weights, const char *name);
/* A tensor under its Hugging Face name, in Hugging Face's shape, row order and values (a new reference to the caller). It shares the map where nothing has to
 * be undone; where rows lie in another order it is a copy (both in the stored type, plain or block), made for queries and keys when etk_tensor_data is asked, as
 * operations take their rows where they lie; an F32 copy of types of 8 bits and where values differ
 * (Gemma's norms, which GGUF keeps as 1 + weight; exact to the rounding of that sum, 2^-24). An expert is found in its stack. transposed: NULL, or set where the
 * tensor is given (out, in) as stored although Hugging Face has (in, out) (GPT-2's linear layers in GGUF); with NULL it is a transposed copy, of block types as
 * F32. Calls may come from any thread. */
etk_status etk_weights_tensor(etk_error *e, etk_tensor **out, etk_weights *weights, const char *canonical, bool *transposed);
/* All tensors under their Hugging Face names, each expert of a stack (of 64 bytes and more) apart, without GGUF's factors of rope (facts of the configuration).
 * Begin with {0}; false: behind the last. */
typedef struct etk_weights_item {
  const char *name;         /* etk_weights_tensor's; lives until the next call */
  etk_shape shape;          /* Hugging Face's */
  const etk_weight *weight; /* what holds it */
  int64_t expert;           /* of a stack; else -1 */
  size_t next;              /* the walk's own, and so is buffer */
  char buffer[128];
} etk_weights_item;
bool etk_weights_next(const etk_weights *weights, etk_weights_item *item);
/* The nearest name, for messages; NULL. */
const char *etk_weights_suggest(const etk_weights *weights, const char *name);

/* Keys of the container itself, in file order: GGUF's keys, safetensors' __metadata__ of the first part, llama2.c's header, what is no tensor in the first file of
 * PyTorch, an ONNX model's versions and metadata_props. */
size_t etk_weights_key_count(const etk_weights *weights);
const char *etk_weights_key_at(const etk_weights *weights, size_t index);
/* The value of a key of safetensors' __metadata__ or ONNX's metadata_props; NULL: absent, or another format. */
const char *etk_weights_metadata(const etk_weights *weights, const char *key);
/* Appends the value as JSON; arrays longer than `items` as {"kind": "text", "count": 32000}. */
void etk_weights_key_value(const etk_weights *weights, size_t index, size_t items, etk_text *out);

int64_t etk_weight_elements(const etk_weight *weight);
/* The stored bytes, weight->bytes of them: in the map, or unpacked by the first call that wants them (compressed arrays, strided or byte-swapped tensors, numbers of
 * variable length) and kept until the container is closed. */
etk_status etk_weight_data(etk_error *e, const void **out, const etk_weight *weight);
/* Decodes elements [first, first + count), in stored order, to F32: floating (of 8 bits too), block and integer types (rounded) and flags. Both must be multiples of the
 * type's block (etk_type_block_elements). */
etk_status etk_weight_decode(etk_error *e, float *out, const etk_weight *weight, int64_t first, int64_t count);
/* Where the canonical row `row` (of all dims but the last; a vector's elements count as rows) is stored. */
int64_t etk_weight_stored_row(const etk_weight *weight, int64_t row);

#ifdef __cplusplus
}
#endif
#endif
