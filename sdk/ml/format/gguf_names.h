/* gguf_names.h: how the tensors of a Hugging Face model are called and laid out in GGUF: one table an architecture, used in both directions.
 *
 * Reading (weights_canonical.c): etk_weight.canonical, etk_weights_next and etk_weights_tensor of etk/weights.h.
 * Writing (gguf_names.c): the list of tensors that a model has in GGUF, each with a function that makes its rows from Hugging Face's tensors.
 *
 * What differs from Hugging Face, by llama.cpp's conventions: in files of the architecture "llama" the rows of queries and keys lie interleaved within each
 * head (its rope turns neighbours); GPT-NeoX's queries, keys and values lie apart, not head by head; Gemma's norms hold 1 + weight; GPT-2's linear layers
 * are (out, in); a mixture's experts are one tensor (experts, out, in); a shared expert's gate is a vector. */
#ifndef ETK_ML_FORMAT_GGUF_NAMES_H
#define ETK_ML_FORMAT_GGUF_NAMES_H

#include <etk/gguf.h>
#include <etk/model.h>
#include <etk/weights.h>

/* What a tensor is for: quantization mixes choose types by it. Of a mixture's feed-forward too: stacked and shared experts are gate, up and down. */
typedef enum etk__gguf_role {
  ETK__ROLE_OTHER, ETK__ROLE_EMBEDDING, ETK__ROLE_OUTPUT, ETK__ROLE_QUERY, ETK__ROLE_KEY, ETK__ROLE_VALUE, ETK__ROLE_QKV, ETK__ROLE_ATTENTION_OUTPUT,
  ETK__ROLE_GATE, ETK__ROLE_UP, ETK__ROLE_DOWN
} etk__gguf_role;

/* ---- the table ---- */

typedef enum etk__gguf_change {
  ETK__AS_IS, ETK__ROTARY_QUERY, ETK__ROTARY_KEY, ETK__REGROUPED, ETK__ONE_MORE, ETK__TRANSPOSED, ETK__SQUEEZED, ETK__STACKED
} etk__gguf_change;
/* A tensor's names without ".weight" or ".bias", behind "blk.N." and the layer's prefix in blocks. ETK__STACKED: canonical has one '%', the expert's number. */
typedef struct etk__gguf_row {
  const char *gguf, *canonical;
  etk__gguf_change change; /* of a bias only where it moves rows */
  etk__gguf_role role;
  bool plain;              /* F32 though it has two dims: routers, learned positions */
} etk__gguf_row;
typedef struct etk__gguf_table {
  const char *architecture;      /* of GGUF */
  const char *model_types[4];    /* Hugging Face's, that are written so */
  const char *layer_prefix;      /* "model.layers." */
  const char *optional_prefix;   /* of Hugging Face's names, that some checkpoints leave out; or NULL */
  const etk__gguf_row *whole, *block;
  int whole_count, block_count;
  bool text_of_whole;            /* checkpoints of a model of text and images have these names behind "language_model." or "model.language_model." */
} etk__gguf_table;
const etk__gguf_table *etk__gguf_table_find(const char *architecture);           /* NULL: not known */
const etk__gguf_table *etk__gguf_table_of_model_type(const char *model_type);    /* NULL: not known */
/* GGUF's names of all that are known, for messages. */
const char *etk__gguf_table_names(char *text, size_t size);

/* A tensor's place in the table. */
typedef struct etk__gguf_place {
  const etk__gguf_row *row;
  int64_t layer, expert; /* -1: none */
  bool bias;
} etk__gguf_place;
/* false: no name of this architecture */
bool etk__gguf_parse_stored(etk__gguf_place *out, const etk__gguf_table *table, const char *name);
bool etk__gguf_parse_canonical(etk__gguf_place *out, const etk__gguf_table *table, const char *name);
/* Is it of the vision tower or the projector, beside a text part? */
bool etk__name_is_of_vision(const char *name);
/* Return out; a name longer than size is cut. */
char *etk__gguf_stored_name(char *out, size_t size, const etk__gguf_place *place);
char *etk__gguf_canonical_name(char *out, size_t size, const etk__gguf_table *table, const etk__gguf_place *place);

/* ---- writing ---- */

/* Where Hugging Face's tensors come from. */
typedef struct etk__gguf_source {
  void *user;
  size_t count;
  const char *(*at)(void *user, size_t index, etk_shape *shape);                              /* its name and shape; the name lives as long as the source */
  etk_status (*tensor)(etk_error *e, void *user, etk_tensor **out, const char *name);          /* a new reference: F32, F16, BF16, F64 or a block type */
} etk__gguf_source;
/* One tensor of the file to be. */
typedef struct etk__gguf_target {
  const char *name;           /* "blk.0.attn_q.weight" */
  etk_shape shape;            /* row-major, as etk_gguf_add wants it */
  etk__gguf_role role;
  int layer;                  /* -1: outside the blocks */
  bool plain;                 /* must stay F32: norms, biases, all of one dim, routers, learned positions, factors of rope */
  const char *const *sources; /* Hugging Face's names: one, or each expert's in order */
  size_t source_count;        /* 0: made from the configuration (factors of rope) */
} etk__gguf_target;

typedef struct etk__gguf_names etk__gguf_names;
/* The list, in the order embedding, blocks, output. Fails where a tensor of the source has no place in GGUF, has a shape that does not go with the
 * configuration's heads, or an expert is missing. Buffers that checkpoints carry beside weights (rotary_emb.inv_freq, GPT-2's masks),
     a tied lm_head and what is
 * beside a text part are left out. Borrows the source and copies the configuration. */
etk_status etk__gguf_names_new(etk_error *e, etk__gguf_names **out, const etk_model_config *config, const etk__gguf_source *source);
void etk__gguf_names_free(etk__gguf_names *names);
size_t etk__gguf_names_count(const etk__gguf_names *names);
const etk__gguf_target *etk__gguf_names_at(const etk__gguf_names *names, size_t index);
/* Rows [row, row + rows) of target `index` as F32; rows are of all dims but the last. Calls for one tensor in order are cheap: its source stays open until
 * another tensor is asked for. One thread at a time. */
etk_status etk__gguf_names_rows(etk_error *e, etk__gguf_names *names, size_t index, int64_t row, int64_t rows, float *out);

/* ---- configuration (sdk/ml/model/gguf_config.c, gguf_config_read.c) ---- */

/* Every key of "<architecture>." that the configuration means, general.architecture, and the ids of tokenizer.ggml.bos_token_id and eos_token_id. */
etk_status etk__config_to_gguf(etk_error *e, etk_gguf_writer *writer, const etk_model_config *config);
etk_status etk__config_from_gguf(etk_error *e, etk_model_config *out, const etk_weights *weights);
/* Factors of rope that GGUF keeps as tensors: which 0, 1, …; false behind the last. values: rotary dims / 2. */
bool etk__config_gguf_factors(const etk_model_config *config, int which, const char **name, int64_t *count, float *values);

#endif
