/* etk/encoder.h: encoders: text to vectors (BERT and its kin), text and images to vectors of one space (CLIP).
 *
 * Opens Hugging Face folders of model_type bert (MiniLM, BGE, E5 and others are that), roberta, xlm-roberta, distilbert, clip, clip_text_model (the text
 * encoder of Stable Diffusion) and clip_vision_model, and sentence-transformers folders (modules.json) of a transformer, a pooling, at most one dense layer and
 * a normalisation. What a folder asks for and this version lacks is an error that names it. Weights may be in any container of etk/weights.h with Hugging
 * Face's names; a BERT may also be a GGUF file of the architecture "bert", which says nothing of a normalisation. After load an encoder is immutable, shared
 * by reference count and safe to read from many threads, unless it was opened for training.
 *
 * Sequences are padded at the right; lengths say what is text. Padding never changes a result, to rounding: neighbours only change the order of sums.
 *
 *   etk_encoder_open(e, &encoder, "all-MiniLM-L6-v2", NULL);
 *   etk_encoder_tokenizer(e, &tokenizer, encoder);
 *   etk_encoder_tokenize(e, encoder, tokenizer, &ids, text, size, true);            // [CLS] ... [SEP]
 *   etk_encoder_batch batch = {.ids = ids.items, .lengths = &ids.count, .count = 1};
 *   etk_encoder_text(e, encoder, &batch, vector);                                   // etk_encoder_dimension floats */
#ifndef ETK_ENCODER_H
#define ETK_ENCODER_H

#include "adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_encoder_activation { ETK_ENCODER_GELU, ETK_ENCODER_GELU_TANH, ETK_ENCODER_QUICK_GELU /* x sigmoid(1.702 x) */ } etk_encoder_activation;
typedef enum etk_pooling {
  ETK_POOLING_MEAN, /* of all tokens, special ones too */
  ETK_POOLING_CLS,  /* the first token */
  ETK_POOLING_MAX,
  ETK_POOLING_END   /* CLIP's text: the end token */
} etk_pooling;

typedef struct etk_encoder_tower { /* one stack of layers; hidden_size 0: not there */
  int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
  int64_t positions; /* rows of its position embedding */
  double layer_norm_eps;
  etk_encoder_activation activation;
} etk_encoder_tower;

typedef struct etk_encoder_config {
  char architecture[32]; /* config.json's model_type */
  etk_encoder_tower text, image;
  int64_t vocab_size, type_vocab_size; /* type_vocab_size 0: no token types */
  int32_t pad_token_id;    /* where positions depend on it, see first_position; else whatever the file says */
  int64_t first_position;  /* of a text's first token: roberta, xlm-roberta pad_token_id + 1, else 0 */
  int32_t end_token_id;    /* CLIP: the first such id ends a text; -1: the historic rule (eos_token_id 2), the first of the text's highest id does. Else -1 */
  int64_t image_size, patch_size, num_channels; /* 0 without an image tower */
  int64_t projection_dim;  /* CLIP: of the common space; 0: none (a text encoder without text_projection gives what is pooled) */
  etk_pooling pooling;     /* of text; a BERT folder that says nothing: the mean, as sentence-transformers takes */
  int64_t dense_size;      /* of the dense layer behind pooling; 0: none */
  bool dense_tanh;         /* its activation; else none */
  bool normalize;          /* embeddings have length 1. CLIP without modules.json: true, as CLIPModel gives text_embeds and image_embeds */
  int64_t max_tokens;      /* of a text, special tokens included: positions less first_position, or sentence_bert_config.json's max_seq_length where that is less */
} etk_encoder_config;

typedef struct etk_encoder etk_encoder;
/* etk/model.h's options: trainable: weights are F32 and trainable; decoded: F32. Neither: matrices stay F32, F16 or BF16 as stored; vectors become F32. */
etk_status etk_encoder_open(etk_error *e, etk_encoder **out, const char *path, const etk_model_options *options); /* options may be NULL */
etk_encoder *etk_encoder_ref(etk_encoder *encoder);
void etk_encoder_unref(etk_encoder *encoder);
const etk_encoder_config *etk_encoder_get_config(const etk_encoder *encoder);
const char *etk_encoder_path(const etk_encoder *encoder); /* the folder that holds config.json, which may lie inside the one that was opened; a GGUF file */
int64_t etk_encoder_dimension(const etk_encoder *encoder);      /* floats of a text's embedding; 0: no text */
int64_t etk_encoder_image_dimension(const etk_encoder *encoder); /* of an image's; 0: no images */
/* CLIP: logits of (image, text) pairs are exp(logit_scale) times the product of their embeddings. (), f32, borrowed; NULL: none. */
etk_tensor *etk_encoder_logit_scale(const etk_encoder *encoder);
/* Weights by Hugging Face's names without the prefix of a larger model ("bert."), in a fixed order; a dense layer's as <its folder>/linear.weight. */
size_t etk_encoder_weight_count(const etk_encoder *encoder);
const char *etk_encoder_weight_name(const etk_encoder *encoder, size_t index);
etk_tensor *etk_encoder_weight_at(const etk_encoder *encoder, size_t index); /* borrowed */
/* Parses a config.json text (fuzzing, tests); pooling and max_tokens are those of a folder without modules.json. */
etk_status etk_encoder_config_parse(etk_error *e, etk_encoder_config *out, const char *name, const char *bytes, size_t size);

/* LoRA on the linear layers, the pooler and the projections included (names as "encoder.layer.0.attention.self.query", last parts as "query"). */
etk_status etk_encoder_adapter_new(etk_error *e, etk_adapter **out, const etk_encoder *encoder, const etk_lora_options *options, uint64_t seed);
etk_status etk_encoder_adapter_open(etk_error *e, etk_adapter **out, const etk_encoder *encoder, const char *folder, bool trainable);

/* ---- text ---- */

etk_status etk_encoder_tokenizer(etk_error *e, etk_tokenizer **out, const etk_encoder *encoder); /* the folder's; none: ETK_E_NOT_FOUND */
/* Appends one text's ids with its special tokens at both ends. More than max_tokens: an error, or with truncate the end of the text is left out and the
 * special tokens behind it are kept. */
etk_status etk_encoder_tokenize(etk_error *e, const etk_encoder *encoder, const etk_tokenizer *tokenizer, etk_ids *out, const char *text, size_t size, bool truncate);

typedef struct etk_encoder_batch {
  const int32_t *ids;    /* of all texts, one text after the other */
  const int32_t *types;  /* token types, like ids; NULL: all 0 */
  const size_t *lengths; /* (count), each 1 to max_tokens */
  size_t count;
} etk_encoder_batch;
/* out: (count, etk_encoder_dimension). Records, plans and runs a graph of its own. */
etk_status etk_encoder_text(etk_error *e, const etk_encoder *encoder, const etk_encoder_batch *batch, float *out);

/* ---- images ---- */

/* pixels (count, num_channels, image_size, image_size), normalised (below); out: (count, etk_encoder_image_dimension). */
etk_status etk_encoder_image(etk_error *e, const etk_encoder *encoder, const float *pixels, size_t count, float *out);

/* How an image becomes pixels: preprocessor_config.json, as transformers' CLIPImageProcessor reads it. */
typedef enum etk_resample { ETK_RESAMPLE_BILINEAR = 2, ETK_RESAMPLE_BICUBIC = 3 } etk_resample; /* PIL's numbers */
typedef struct etk_image_rules {
  int64_t shortest_edge;       /* the shorter side is resized to this, the longer in proportion (rounded down) ... */
  int64_t height, width;       /* ... or, where shortest_edge is 0, both sides to these; 0: not resized */
  int64_t crop_height, crop_width; /* from the middle; 0: not cropped */
  etk_resample resample;
  double rescale;              /* 1/255 */
  double mean[3], std[3];      /* of the rescaled channels; 0 and 1 where it does not normalise */
} etk_image_rules;
/* The folder's preprocessor_config.json, or CLIP's usual rules where there is none; an error where they would not give the model's image_size. */
etk_status etk_encoder_image_rules(etk_error *e, etk_image_rules *out, const etk_encoder *encoder);
etk_status etk_image_rules_parse(etk_error *e, etk_image_rules *out, const char *name, const char *bytes, size_t size, int64_t image_size);
/* rgb (height, width, 3) of 8 bits -> out (3, image_size, image_size). Resizing rounds to 8 bits after each direction and uses the same fixed-point
 * coefficients as PIL, whose results it gives to the bit. */
etk_status etk_image_prepare(etk_error *e, float *out, const etk_image_rules *rules, const uint8_t *rgb, int64_t height, int64_t width, int64_t image_size);

/* ---- the graph ---- */

typedef struct etk_encoder_inputs { /* graph inputs; what an encoder does not have is NULL */
  etk_tensor *ids, *positions, *types; /* (batch, tokens) i32 */
  etk_tensor *lengths;                 /* (batch) i32; 0: an unused row, whose results are zero */
  etk_tensor *picked;                  /* (batch) i32: row b * tokens + t of the token that stands for its text (CLS, END); -1: none */
} etk_encoder_inputs;
etk_encoder_inputs etk_encoder_inputs_new(etk_graph *graph, const etk_encoder *encoder, int64_t batch, int64_t tokens);
/* Fills them with at most as many texts, each of at most as many tokens; the rest is padding. Checks every id. (Diffusion models read the states of padding too:
 * for them the caller pads a text to all of its 77 tokens, and its length is 77.) */
etk_status etk_encoder_fill(etk_error *e, const etk_encoder *encoder, const etk_encoder_inputs *inputs, const etk_encoder_batch *batch);

typedef struct etk_encoder_options {
  const etk_adapter *adapter; /* of etk_encoder_adapter_new or _open; NULL: none */
  bool training;              /* dropout is on */
  float dropout;              /* while training: of the embeddings and of what each block adds; attention's probabilities have none */
  int64_t early_layers;       /* `early` leaves out that many layers at the end: 1 is the penultimate layer ("clip skip"); 0: none are left out */
  bool raw;                   /* embeddings are not normalised, whatever the configuration says */
} etk_encoder_options;
typedef struct etk_encoder_states { /* NULL where there is none. What nobody keeps is not computed. */
  etk_tensor *hidden;       /* (batch, tokens, hidden): last_hidden_state (CLIP's text: behind the final norm; images: before it) */
  etk_tensor *early;        /* the same after fewer layers, without a final norm: hidden_states[-1 - early_layers] */
  etk_tensor *early_normed; /* with the final norm of CLIP's text, as Stable Diffusion 1 takes it */
  etk_tensor *pooled;       /* (batch, hidden): pooler_output: BERT: tanh of the pooler, where there is one; CLIP: the end or class token behind the final norm */
  etk_tensor *embedding;    /* (batch, dimension) */
} etk_encoder_states;
/* options may be NULL. CLIP's text attends to what stands before a token, all others to the whole text. Hidden states of padding are of no meaning. */
etk_encoder_states etk_encoder_text_forward(etk_graph *graph, const etk_encoder *encoder, const etk_encoder_inputs *inputs, const etk_encoder_options *options);
/* pixels (batch, num_channels, image_size, image_size) f32; tokens: the class token, then the patches row by row */
etk_encoder_states etk_encoder_image_forward(etk_graph *graph, const etk_encoder *encoder, etk_tensor *pixels, const etk_encoder_options *options);

#ifdef __cplusplus
}
#endif
#endif
