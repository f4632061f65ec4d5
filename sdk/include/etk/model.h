/* etk/model.h: language models: configuration, weights bound by name, one forward function per architecture family.
 *
 * Opens a Hugging Face folder (config.json + model.safetensors, sharded too, or weights in another container that etk/weights.h reads; MLX's quantized folders
 * too), a GGUF file (its splits too) or a llama2.c .bin. After load a model is immutable, shared by reference
 * count and safe to read from many threads, unless it was opened for training all of its weights.
 * This version runs model_type llama (SmolLM and SmolLM2 too), mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3 (Phi-3, Phi-3.5, Phi-4-mini),
 * smollm3, gpt2, gpt_neox (Pythia), mixtral and qwen2_moe, for inference and training, with rope scaling linear, llama3, yarn and (phi3) longrope. Of
 * gemma3, a model of text and images, the text part runs (text_part below). Of a mixture each expert computes
 * the tokens that came to it. A field of config.json that would change the result and is not supported is an error. */
#ifndef ETK_MODEL_H
#define ETK_MODEL_H

#include "cache.h"
#include "graph.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_rope_scaling { ETK_ROPE_PLAIN, ETK_ROPE_LINEAR, ETK_ROPE_LLAMA3, ETK_ROPE_YARN, ETK_ROPE_LONGROPE } etk_rope_scaling;
typedef enum etk_activation { ETK_ACTIVATION_SILU, ETK_ACTIVATION_GELU, ETK_ACTIVATION_GELU_TANH } etk_activation;
/* What a layer has of its own, where layers differ. 0: a window where sliding_window is set, and rotary positions. */
enum { ETK_LAYER_FULL = 1 /* sees all before it, whatever sliding_window says */, ETK_LAYER_NO_ROPE = 2 /* smollm3: neither queries nor keys turn */ };
enum { ETK_MODEL_LAYERS = 512, ETK_MODEL_PAIRS = 256 }; /* room for what each layer has of its own, and for longrope's factors */
typedef struct etk_model_config {
  /* config.json's model_type: "llama" "mistral" "qwen2" "qwen3" "gemma" "gemma2" "gemma3_text" "phi3" "smollm3" "gpt2" "gpt_neox" "mixtral" "qwen2_moe" */
  char architecture[32];
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
  int64_t max_position_embeddings;
  double rms_norm_eps, rope_theta; /* rms_norm_eps: of LayerNorm where the family has that */
  int64_t rotary_dims;    /* gpt_neox, phi3: how many values of a head turn; 0: all of them (gpt2: positions are learned, none turns) */
  bool sequential_residual; /* gpt_neox: the feed-forward reads what attention added (use_parallel_residual false) */
  /* How many positions a token sees, itself included, in the layers without ETK_LAYER_FULL; 0: all before it. mistral, mixtral, phi3: one rule for all
   * layers; qwen2, qwen3: from max_window_layers on; gemma2: every other layer, from the first; gemma3_text: all but every sixth. */
  int64_t sliding_window;
  uint8_t layer_flags[ETK_MODEL_LAYERS]; /* ETK_LAYER_*; all 0 where layers are alike. Models of more layers must be alike. */
  double query_pre_attn_scalar;   /* gemma2, gemma3_text: scores are divided by its root; 0: by head_dim's */
  double attn_logit_softcapping;  /* gemma2: scores become cap tanh(score / cap) before the softmax; 0: they stay */
  double final_logit_softcapping; /* gemma2, gemma3_text: the same for logits */
  etk_activation activation; /* of the feed-forward (of its gate where it has one) */
  etk_rope_scaling rope_scaling;
  double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_positions;
  double rope_beta_fast, rope_beta_slow, rope_attention_factor; /* yarn: turns within the original context; yarn, longrope: the factor of what turned in queries and keys */
  double rope_local_theta; /* gemma3_text: rope_theta of the layers with a window, which are not scaled; 0: all layers turn alike */
  /* longrope: what each pair's frequency is divided by. A sequence of up to rope_original_positions tokens takes the short factors, a longer one the
   * long factors, for all of its tokens (see etk_forward.last). */
  float rope_short_factors[ETK_MODEL_PAIRS], rope_long_factors[ETK_MODEL_PAIRS];
  /* Mixture of experts, else 0. mixtral: an expert's intermediate size is intermediate_size, there is no shared expert, and norm_topk_prob is true. */
  int64_t num_experts, num_experts_per_tok, moe_intermediate_size, shared_expert_intermediate_size;
  bool norm_topk_prob; /* the weights of a token's experts are made to sum to one */
  bool attention_bias; /* on q, k, v and o; qwen2, qwen2_moe: always, and not on o; gpt2: always */
  bool mlp_bias, tie_word_embeddings;
  /* gemma3_text: config.json described gemma3, of which this is the text part: tensors of the vision tower and the projector in the files are skipped, and
   * a saved model is the text part alone (model_type gemma3_text). */
  bool text_part;
  int32_t bos_token_id;  /* -1: none */
  int32_t eos_token_ids[8];
  int eos_count;
} etk_model_config;

typedef struct etk_model etk_model;
typedef struct etk_model_options {
  bool trainable; /* all weights are copied to F32 memory of our own and marked trainable */
  bool decoded;   /* all weights are F32, converted where they are stored otherwise: more memory, products as fast as F32's */
} etk_model_options; /* neither: matrices stay as they are stored (F32, F16, BF16, block types, MLX's codes), mapped where their rows are in order; norms, biases
                        and other vectors become F32 */

etk_status etk_model_open(etk_error *e, etk_model **out, const char *path, const etk_model_options *options); /* options may be NULL */
/* Fresh random weights: N(0, 0.02), projections into the residual stream N(0, 0.02/sqrt(2 layers)), norms 1; trainable. */
etk_status etk_model_new(etk_error *e, etk_model **out, const etk_model_config *config, uint64_t seed);
etk_model *etk_model_ref(etk_model *model);
void etk_model_unref(etk_model *model);
/* Writes config.json, generation_config.json and model.safetensors (weights as dtype) into an existing folder; metadata: pairs key, value. */
etk_status etk_model_save(etk_error *e, const etk_model *model, const char *folder, etk_dtype dtype, const char *const *metadata, size_t metadata_count);

const etk_model_config *etk_model_get_config(const etk_model *model);
const char *etk_model_path(const etk_model *model); /* as opened; "" for a new one */
int64_t etk_model_parameters(const etk_model *model); /* weights, tied ones once */
size_t etk_model_bytes(const etk_model *model);       /* of weights as they are held, mapped ones too */
/* Of memory that they take once graphs that were planned by now have run: repacked copies for products in the place of the file's pages. */
size_t etk_model_held_bytes(const etk_model *model);
/* Of products of prompts with weights of F32 and F16. ETK_COMPUTE_BF16: where the CPU multiplies pairs of bfloat16, both sides are rounded to that (8 bits), sums stay
 * F32; more than 8 rows at once, so that single tokens are as before. Other types are not changed by it. Before anything is computed with the model; training has a
 * setting of its own. */
void etk_model_set_compute(etk_model *model, etk_compute compute);
/* Weights by Hugging Face name, in a fixed order. A tied lm_head is not listed. Tensors are of the type they are held in (etk_tensor_cast decodes); only
 * GPT-2's linear layers from a GGUF file have another shape than Hugging Face's: (out, in) for (in, out). */
size_t etk_model_weight_count(const etk_model *model);
const char *etk_model_weight_name(const etk_model *model, size_t index);
etk_tensor *etk_model_weight_at(const etk_model *model, size_t index);      /* borrowed */
etk_tensor *etk_model_weight(const etk_model *model, const char *name);     /* borrowed; NULL: none of that name */

/* Parses a config.json text (fuzzing, tests). */
etk_status etk_model_config_parse(etk_error *e, etk_model_config *out, const char *name, const char *bytes, size_t size);

/* The tokenizer that belongs to a model path: what etk_tokenizer_open finds in its folder, a GGUF file's own vocabulary, or tok<vocab>.bin or what that
 * finds beside a llama2.c file. A model without one: ETK_E_NOT_FOUND. Ids that do not fit the model are an error. */
etk_status etk_model_tokenizer(etk_error *e, etk_tokenizer **out, const etk_model *model);

typedef struct etk_adapter etk_adapter;
typedef struct etk_forward {
  etk_tensor *ids;        /* (batch, tokens) i32 */
  etk_tensor *positions;  /* (batch, tokens) i32; negative: unused token (with a cache) */
  etk_tensor *starts;     /* (batch, tokens) i32, without a cache: where the texts of a row begin (etk_attention_within); NULL: each row is one text */
  etk_tensor *select;     /* (rows) i32, row = b * tokens + t, whose logits are wanted; NULL: all of them */
  const etk_adapter *adapter; /* NULL: the base alone */
  bool training;          /* dropout is on */
  bool checkpointing;     /* while training: blocks are computed again in the reverse pass (etk_graph_recompute) */
  float dropout;          /* while training: of the embeddings and of what each block adds to the residual stream (the adapter has its own) */
  etk_cache *cache;       /* NULL: causal attention within the batch row */
  etk_tensor *block_table;/* (batch, max_blocks) i32, with a cache */
  /* (batch, any) i32, longrope only: each row's largest value is the last position its sequence has after this pass, by which short or long factors are
   * chosen. NULL: `positions` themselves, which is right without a cache. With a cache it is wanted: keys in the cache were turned with one kind of
   * factors, and when a sequence grows past rope_original_positions it must be fed from its beginning again (etk_generate does, and so does
   * transformers' generate for phi3). Chosen for each row, so that a sequence's result does not depend on its neighbours in the batch; nor does it in
   * training and evaluation, where padding does not count. */
  etk_tensor *last;
} etk_forward;
/* Records the model; returns logits (rows, vocab) f32. */
etk_tensor *etk_model_forward(etk_graph *graph, const etk_model *model, const etk_forward *forward);
/* Records the model and its loss without making logits (etk_head_loss): targets (rows) i32, negative: not counted -> mean (1); *losses (rows). */
etk_tensor *etk_model_loss(etk_graph *graph, const etk_model *model, const etk_forward *forward, etk_tensor *targets, etk_tensor **losses);

#ifdef __cplusplus
}
#endif
#endif
