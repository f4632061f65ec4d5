/* encoder_internal.h: what the files of encoders share: towers, the tables of their weights' names, their forward functions. */
#ifndef ETK_ML_ENCODER_INTERNAL_H
#define ETK_ML_ENCODER_INTERNAL_H

#include "internal.h"

#include <etk/encoder.h>
#include <etk/ops.h>
#include <etk/weights.h>
#include <jansson.h>

struct encoder_layer {
  struct linear q, k, v, o, up, down;
  etk_tensor *norm1, *norm1_bias, *norm2, *norm2_bias; /* (hidden): BERT: behind attention and feed-forward; CLIP: before them */
};

struct tower { /* what an architecture does not have is NULL */
  etk_tensor *token_embedding, *position_embedding, *type_embedding; /* (vocab, hidden), (positions, hidden), (types, hidden) */
  etk_tensor *class_embedding, *patch_embedding;                     /* (hidden), (hidden, channels, patch, patch) */
  etk_tensor *norm_in, *norm_in_bias, *norm_out, *norm_out_bias;     /* (hidden): of embeddings, of what the layers give */
  struct linear pooler, projection;                                  /* (hidden, hidden) with bias, (projection, hidden) without */
  struct encoder_layer *layers;
};

enum encoder_dim { SIZE_VOCAB, SIZE_HIDDEN, SIZE_INNER, SIZE_POSITIONS, SIZE_TYPES, SIZE_CHANNELS, SIZE_PATCH, SIZE_PROJECTION };
enum {
  ROW_LINEAR = 1,     /* the weight of a struct linear */
  ROW_OPTIONAL = 2,   /* may be missing */
  ROW_PLAIN = 4,      /* F32 however it is stored: read by operations that decode nothing */
  ROW_PROJECTION = 8, /* must be there in a whole CLIP; in one of its parts it may be missing */
  ROW_TYPES = 16      /* there where type_vocab_size is */
};
struct encoder_row {
  const char *name; /* behind the layer's prefix, or whole */
  size_t offset;    /* in struct encoder_layer or struct tower */
  int rank;
  enum encoder_dim dims[4];
  unsigned flags;
};
struct tower_table {
  const char *layer_prefix; /* "encoder.layer." */
  const struct encoder_row *layer_rows, *rows;
  int layer_row_count, row_count;
};

struct encoder_family {
  const char *model_type, *prefix; /* of names in checkpoints of larger models ("bert."), or NULL */
  const struct tower_table *text, *image; /* NULL: none */
  bool clip;           /* keys and rules of CLIP's config.json */
  bool distil;         /* keys of DistilBERT's */
  bool offset;         /* positions begin behind pad_token_id */
  etk_encoder_states (*text_forward)(etk_graph *g, const etk_encoder *encoder, const etk_encoder_inputs *inputs, const struct pass *pass,
                                     const etk_encoder_options *options);
};
const struct encoder_family *etk__encoder_family(const char *model_type); /* NULL: none */
/* For errors of what wants a language model: where to go with an encoder; "": it is none. */
static inline const char *etk__encoder_hint(const char *model_type) {
  return etk__encoder_family(model_type) ? "; it is an encoder, which gives vectors and no tokens: model:embed runs it" : "";
}
extern const struct tower_table etk__bert_table, etk__distilbert_table, etk__clip_text_table, etk__clip_image_table;

struct etk_encoder {
  atomic_int references;
  etk_encoder_config config;
  const struct encoder_family *family;
  /* Owns weights, names and linear layers, and is what adapters bind to, by which they outlive the encoder. */
  etk_model *model;
  struct tower text, image;
  etk_tensor *logit_scale; /* (), or NULL */
  struct linear dense;     /* (dense_size, hidden); weight NULL: none */
};

/* What a sentence-transformers folder adds; folders are NULL where there is none. */
struct sentence {
  char *model, *dense; /* folders; etk_free */
  bool pools, normalize, dense_bias, dense_tanh;
  etk_pooling pooling;
  int64_t width;       /* of what is pooled, where the pooling says it; 0 */
  int64_t dense_in, dense_out;
  int64_t max_tokens;  /* 0: not told */
};
/* A folder without modules.json gives nothing. Fill with zeros first; call fini in any case. */
etk_status etk__sentence_read(etk_error *e, struct sentence *out, const char *folder);
void etk__sentence_fini(struct sentence *sentence);

/* What the configuration implies is within bounds on which everything else relies. name: the file, for messages. */
etk_status etk__encoder_config_check(etk_error *e, const char *name, const etk_encoder_config *config);
/* encoder_gguf.c: a GGUF file's configuration, and llama.cpp's name for one of Hugging Face's BERT; NULL: none */
etk_status etk__encoder_config_gguf(etk_error *e, etk_encoder_config *out, const etk_weights *weights);
const char *etk__encoder_gguf_name(char *out, size_t size, const char *name);

/* ---- what forward functions share (encoder_forward.c) ---- */
etk_tensor *etk__encoder_activate(etk_graph *g, etk_tensor *x, etk_encoder_activation activation);
/* x (batch, tokens, hidden) -> W x as (batch, tokens, heads, hidden / heads) */
etk_tensor *etk__encoder_heads(const struct pass *p, etk_tensor *x, const struct linear *layer, int64_t heads);
/* Rows `index` (batch) of x (batch, tokens, hidden) -> (batch, hidden) */
etk_tensor *etk__encoder_pick(etk_graph *g, etk_tensor *x, etk_tensor *index);
etk_tensor *etk__encoder_unit(etk_graph *g, etk_tensor *x); /* (batch, d), each row divided by its length; a row of zeros stays */

etk_encoder_states etk__bert_forward(etk_graph *g, const etk_encoder *encoder, const etk_encoder_inputs *inputs, const struct pass *pass,
                                     const etk_encoder_options *options);
etk_encoder_states etk__clip_text_forward(etk_graph *g, const etk_encoder *encoder, const etk_encoder_inputs *inputs, const struct pass *pass,
                                          const etk_encoder_options *options);
etk_encoder_states etk__clip_image_forward(etk_graph *g, const etk_encoder *encoder, etk_tensor *pixels, const struct pass *pass,
                                           const etk_encoder_options *options);

#endif
