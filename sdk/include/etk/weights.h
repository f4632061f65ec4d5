/* etk/weights.h: one view of the containers of weights: safetensors (a file, or a folder with shards), GGUF (splits too), llama2.c checkpoints.
 *
 * Opening reads headers only and maps the rest. Tensors have the name they are stored under and, where the architecture's names are known, the one they
 * have in a Hugging Face folder ("canonical"; Llama, Mistral, Qwen2 and Qwen3). An open container is read by any number of threads. */
#ifndef ETK_WEIGHTS_H
#define ETK_WEIGHTS_H

#include "quant.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_weights etk_weights;
typedef enum etk_weights_format { ETK_WEIGHTS_SAFETENSORS, ETK_WEIGHTS_GGUF, ETK_WEIGHTS_LLAMA2C, ETK_WEIGHTS_FORMAT_COUNT } etk_weights_format;
const char *etk_weights_format_name(etk_weights_format format); /* "safetensors", "GGUF", "llama2.c"; "?" */

typedef struct etk_weight {
  const char *name, *canonical; /* canonical is name where no other is known */
  const char *type_name;        /* as the container spells it */
  int type;                     /* etk_type, or -1 for one that is not decoded here */
  int part;                     /* of the container's files, from 0 */
  etk_shape shape;              /* row-major */
  const void *data;             /* in the map; any alignment */
  size_t bytes;
  int64_t rotary;               /* rows a head whose rows are stored in interleaved rotary order (2i, 2i+1); 0: rows are in canonical order */
} etk_weight;

/* What a model's configuration tells (config.json beside the weights, GGUF's keys, llama2.c's header), under Hugging Face's names. */
typedef struct etk_weights_facts {
  char architecture[64]; /* "" where nothing tells */
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings; /* 0: not told */
  double norm_eps, rope_theta; /* 0: not told */
} etk_weights_facts;

/* path: a folder (model.safetensors, its index with shards, adapter_model.safetensors, adapters.safetensors or diffusion_pytorch_model.safetensors), or a file
 * of any of the formats, told apart by content. */
etk_status etk_weights_open(etk_error *e, etk_weights **out, const char *path);
void etk_weights_close(etk_weights *weights); /* NULL is fine; everything borrowed from it dies with it */
const char *etk_weights_path(const etk_weights *weights);
etk_weights_format etk_weights_get_format(const etk_weights *weights);
const etk_weights_facts *etk_weights_get_facts(const etk_weights *weights);
size_t etk_weights_part_count(const etk_weights *weights);
const char *etk_weights_part_path(const etk_weights *weights, size_t part); /* NULL behind the last */

size_t etk_weights_count(const etk_weights *weights);
const etk_weight *etk_weights_at(const etk_weights *weights, size_t index); /* parts in order, each in file order; NULL behind the last */
/* By either name; NULL: absent. */
const etk_weight *etk_weights_find(const etk_weights *weights, const char *name);
/* The nearest name, for messages; NULL. */
const char *etk_weights_suggest(const etk_weights *weights, const char *name);

/* Keys of the container itself, in file order: GGUF's keys, safetensors' __metadata__ of the first part, llama2.c's header. */
size_t etk_weights_key_count(const etk_weights *weights);
const char *etk_weights_key_at(const etk_weights *weights, size_t index);
/* The value of a key of safetensors; NULL: absent, or another format. */
const char *etk_weights_metadata(const etk_weights *weights, const char *key);
/* Appends the value as JSON; arrays longer than `items` as {"kind": "text", "count": 32000}. */
void etk_weights_key_value(const etk_weights *weights, size_t index, size_t items, etk_text *out);

int64_t etk_weight_elements(const etk_weight *weight);
/* Decodes elements [first, first + count), in stored order, to F32: floating, block and integer types (rounded) and flags. Both must be multiples of the
 * type's block (etk_type_block_elements). */
etk_status etk_weight_decode(etk_error *e, float *out, const etk_weight *weight, int64_t first, int64_t count);
/* Where the canonical row `row` (of all dims but the last; a vector's elements count as rows) is stored. */
int64_t etk_weight_stored_row(const etk_weight *weight, int64_t row);

#ifdef __cplusplus
}
#endif
#endif
