/* internal.h: what the files of sdk/ml/model share. */
#ifndef ETK_ML_MODEL_INTERNAL_H
#define ETK_ML_MODEL_INTERNAL_H

#include <etk/adapter.h>
#include <etk/alloc.h>
#include <etk/model.h>
#include <stdatomic.h>

/* A linear layer: what LoRA attaches to. */
struct linear {
  const char *name;            /* "model.layers.0.self_attn.q_proj" */
  etk_tensor *weight, *bias;   /* (out, in), or (in, out) where transposed; (out) or NULL */
  bool transposed;
  int index;                   /* among all linear layers of the model */
};

struct expert {
  struct linear gate, up, down;
};

struct layer {
  etk_tensor *input_norm, *post_norm; /* (hidden): of what attention and feed-forward read */
  etk_tensor *attention_norm, *feed_norm; /* (hidden): of what they give, before it joins the residual stream; or NULL */
  etk_tensor *input_norm_bias, *post_norm_bias; /* (hidden), of LayerNorm; else NULL */
  etk_tensor *q_norm, *k_norm;        /* (head_dim) or NULL */
  struct linear q, k, v, o, gate, up, down;
  struct linear router, shared_gate; /* (experts, hidden), (1, hidden); gate, up and down are the shared expert's */
  struct expert *experts;
  struct linear qkv, gate_up; /* instead of q, k and v, and of gate and up, where they are one product */
};

/* ---- what a family of architectures is: names of weights, meaning of config.json, one forward function ---- */

enum dimension { DIM_VOCAB, DIM_HIDDEN, DIM_INTERMEDIATE, DIM_QUERY, DIM_KEY, DIM_HEAD, DIM_QKV, DIM_POSITIONS, DIM_EXPERTS, DIM_EXPERT, DIM_SHARED,
                 DIM_ONE, DIM_GATE_UP };
enum condition { IF_ALWAYS, IF_ATTENTION_BIAS, IF_OUTPUT_BIAS, IF_MLP_BIAS, IF_UNTIED, IF_QK_NORM };
/* How a fresh weight starts. START_RESIDUAL: normal, divided by sqrt(2 layers), GPT-2's rule. START_NORM: what makes a norm's factor 1. */
enum init { START_NORMAL, START_RESIDUAL, START_NORM, START_ZERO };

/* One weight: the part of the name after the layer's prefix (or the whole name), where it goes, its shape, when it is there. */
struct weight_row {
  const char *name;
  size_t offset; /* in struct layer, struct expert, or etk_model */
  int rank;
  enum dimension dims[2];
  enum condition condition;
  enum init init;
  bool linear; /* the weight of a struct linear of a layer: what LoRA attaches to */
};

/* Which layers have the window of sliding_window. */
enum windows {
  WINDOWS_NONE,    /* none; a window that is set is an error, or unused */
  WINDOWS_ALL,     /* all */
  WINDOWS_LATE,    /* those from max_window_layers on */
  WINDOWS_PATTERN, /* all but every n-th */
};

struct family {
  const char *model_type, *class_name;     /* config.json's model_type and architectures[0] */
  const char *layer_prefix;                /* "model.layers." */
  const struct weight_row *layer_rows, *model_rows; /* model_rows[0] is the embedding, then the layers, then the other model_rows */
  int layer_row_count, model_row_count;
  bool qkv_bias;     /* q, k and v always have biases, o never */
  bool conv1d;       /* GPT-2: linear layers are stored (in, out), learned positions, keys of config.json as n_embd; q, k and v follow one another */
  bool layer_norm;   /* LayerNorm with biases; else RMSNorm */
  bool qk_norm;      /* each head's query and key are normalised */
  bool norm_from_one;/* a norm's factor is 1 + its weight */
  bool scaled_embedding; /* embeddings are multiplied by sqrt(hidden_size) */
  bool tied;         /* tie_word_embeddings where config.json does not say */
  int64_t head_dim;  /* where config.json does not say; 0: hidden_size / num_attention_heads */
  enum windows windows;
  bool window_choice;     /* windows only where use_sliding_window says so */
  int64_t sliding_window; /* where config.json does not say; 0: none */
  int64_t window_pattern; /* every n-th layer sees all */
  int64_t no_rope_interval; /* in every n-th layer nothing turns, where config.json does not say; 0: the family has no such layers */
  double query_scalar;    /* query_pre_attn_scalar where config.json does not say; 0: the family has none */
  bool caps_scores, caps_logits; /* attn_logit_softcapping, final_logit_softcapping */
  double score_cap, logit_cap;   /* where config.json does not say; 0: none */
  double local_theta;     /* base of layers with a window, where config.json does not say; 0: the family has one base for all */
  double rotary_part;     /* of a head turns, where config.json does not say; 0: all, and nothing else is possible */
  bool longrope;          /* its only kind of scaling */
  const struct weight_row *expert_rows;    /* of each expert, named <layer>.<expert_prefix><number>.<name>; NULL: no experts */
  int expert_row_count;
  const char *expert_prefix, *experts_key; /* "mlp.experts.", "num_experts" */
  bool shared_expert; /* beside the others, through a sigmoid gate of its own */
  double rope_theta, epsilon; /* where config.json does not say; 0: 10000, 1e-6 */
  int64_t positions;          /* max_position_embeddings likewise; 0: 2048 */
  etk_activation activation;
  const char *activation_key, *norm_key, *theta_key; /* in config.json; NULL: hidden_act, rms_norm_eps, rope_theta */
  const char *whole; /* model_type of a model of several parts of which this family is the text, in its text_config; or NULL */
  const etk_model_config *text_defaults; /* what a text_config means by leaving it out */
  const char *optional_prefix; /* of weight names, that some checkpoints leave out; or NULL */
  etk_tensor *(*forward)(etk_graph *g, const etk_model *m, const etk_forward *f); /* -> (rows, hidden): what the head reads */
};
static inline const char *etk__family_activation_key(const struct family *family) { return family->activation_key ? family->activation_key : "hidden_act"; }
static inline const char *etk__family_norm_key(const struct family *family) { return family->norm_key ? family->norm_key : "rms_norm_eps"; }
const struct family *etk__family_find(const char *model_type); /* NULL: none */
/* A name that files may have for a weight or module, index 0, 1, …: the architecture's, then without the prefix that some leave out, then those of a text part
 * beside a vision tower. NULL behind the last; out where it is a new one. */
const char *etk__name_spelling(const etk_model_config *config, const struct family *family, int index, const char *name, char *out, size_t size);
const struct family *etk__family_of_whole(const char *model_type); /* the text part of such a model; NULL: none */
/* The names of all families, for messages. */
const char *etk__family_names(char *text, size_t size);
bool etk__weight_present(const etk_model_config *config, const struct family *family, enum condition condition);
etk_shape etk__weight_shape(const etk_model_config *config, const struct weight_row *row);

struct weight {
  const char *name;
  etk_tensor *tensor; /* one reference */
  bool swapped;       /* held with its two dims exchanged: GPT-2's linear layers from GGUF, which are (out, in) there */
};

/* A weight in Hugging Face's shape, and rows of it (of all dims but the last) as F32, F16, BF16 or F64. */
etk_shape etk__weight_rows_shape(const struct weight *weight);
etk_status etk__weight_rows(etk_error *e, const struct weight *weight, etk_dtype dtype, void *out, int64_t row, int64_t rows);

struct etk_model {
  atomic_int references;
  etk_arena arena;
  char *path;
  bool llama2c, gguf; /* what kind of file path is, if it is one */
  etk_model_config config;
  const struct family *family;
  etk_tensor *embedding;         /* (vocab, hidden) */
  etk_tensor *position_embedding; /* (positions, hidden), or NULL */
  etk_tensor *norm, *norm_bias;  /* (hidden); bias of LayerNorm or NULL */
  struct linear head;            /* weight is the embedding where tied */
  /* Derived (rotary.c), or NULL: how fast pairs turn, for sequences beyond the original context, in layers with a window: (rotary_dims/2) each. */
  etk_tensor *frequency, *long_frequency, *local_frequency;
  etk_tensor *ones, *head_ones;  /* (hidden), (head_dim), where norm_from_one */
  struct layer *layers;
  struct linear **linears;       /* all but the head, by index */
  int linear_count;
  struct weight *weights;
  size_t weight_count;
};

static inline int64_t etk__linear_in(const struct linear *l) { return etk_tensor_dim(l->weight, l->transposed ? 0 : 1); }
static inline int64_t etk__linear_out(const struct linear *l) { return etk_tensor_dim(l->weight, l->transposed ? 1 : 0); }

/* Where the weights of a model come from: fetch returns a new reference, or an error when the name is absent or unreadable. swapped: NULL, or false, to be set
 * where the tensor is given with its two dims exchanged. */
struct weight_source {
  etk_status (*fetch)(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape, bool *swapped);
  void *user;
  const char *wants; /* "config.json wants": who says what shape a tensor has */
};

/* A model with its arrays and names in place and every weight fetched and checked against its shape. */
etk_status etk__model_build(etk_error *e, etk_model **out, const etk_model_config *config, const char *path, const struct weight_source *source);
/* Is this the name of something that old checkpoints carry although it follows from the configuration or from other weights? */
bool etk__model_derives(const etk_model *model, const char *name);
etk_status etk__model_config_check(etk_error *e, const etk_model_config *config, const char *name);
static inline int64_t etk__rotary_dims(const etk_model_config *c) { return c->rotary_dims ? c->rotary_dims : c->head_dim; }
/* Writes config.json and generation_config.json into an existing folder. */
etk_status etk__config_save(etk_error *e, const etk_model_config *config, const char *folder, etk_dtype dtype);
enum frequencies { FREQUENCIES_GLOBAL, FREQUENCIES_LONG, FREQUENCIES_LOCAL };
void etk__rope_frequencies(float *out, const etk_model_config *config, enum frequencies which); /* rotary_dims/2 */
double etk__longrope_attention(const etk_model_config *config); /* the factor of what turns, where config.json has none */

/* ---- what a layer has of its own ---- */
static inline unsigned etk__layer_flags(const etk_model_config *c, int64_t layer) { return layer < ETK_MODEL_LAYERS ? c->layer_flags[layer] : 0; }
static inline int64_t etk__layer_window(const etk_model_config *c, int64_t layer) {
  return etk__layer_flags(c, layer) & ETK_LAYER_FULL ? 0 : c->sliding_window;
}
static inline bool etk__layer_turns(const etk_model_config *c, int64_t layer) { return !(etk__layer_flags(c, layer) & ETK_LAYER_NO_ROPE); }
static inline bool etk__layer_is_local(const etk_model_config *c, int64_t layer) {
  return c->rope_local_theta > 0 && !(etk__layer_flags(c, layer) & ETK_LAYER_FULL);
}
/* Every n-th layer sees all, the others have the window (gemma2: 2, gemma3_text: 6). */
void etk__config_full_every(etk_model_config *c, int64_t every);

etk_status etk__model_derive(etk_error *e, etk_model *m); /* once the weights are bound */
void etk__model_forget_derived(etk_model *m);

/* What forward functions share (forward.c). */
struct pass {
  etk_graph *g;
  const etk_model *m;
  const etk_forward *f;
  etk_tensor *frequency; /* (rotary_dims/2), with longrope (batch, rotary_dims/2); NULL: positions are learned */
  etk_tensor *count;     /* of an expert: (1) i32, how many rows its linear layers get; NULL: all */
};
struct pass etk__pass(etk_graph *g, const etk_model *m, const etk_forward *f);
/* Queries or keys (batch, tokens, heads, d), turned as the layer does it. */
etk_tensor *etk__turn(const struct pass *p, int layer, etk_tensor *x);
/* sum + W x + scale B A dropout(x), or the same without sum (NULL). x (..., in) -> (..., out) */
etk_tensor *etk__linear(const struct pass *p, etk_tensor *sum, etk_tensor *x, const struct linear *layer);
/* residual + dropout(W x): one product that adds where nothing is dropped. */
etk_tensor *etk__join(const struct pass *p, etk_tensor *residual, etk_tensor *x, const struct linear *layer);
/* q (batch, tokens, heads, d), k and v (batch, tokens, kv_heads, d) -> (batch, tokens, heads * d), with the cache where there is one. */
etk_tensor *etk__attend(const struct pass *p, int layer, etk_tensor *q, etk_tensor *k, etk_tensor *v);
/* Before each block, and after the last: what a block computes is computed again in the reverse pass where that is wanted. */
void etk__begin_block(const struct pass *p);
void etk__end_blocks(const struct pass *p);
/* The rows of x (batch, tokens, hidden) whose logits are wanted: (rows, hidden). */
etk_tensor *etk__select(const struct pass *p, etk_tensor *x);
etk_tensor *etk__llama_forward(etk_graph *g, const etk_model *m, const etk_forward *f);
etk_tensor *etk__gpt_forward(etk_graph *g, const etk_model *m, const etk_forward *f);

/* The adapter's module for a linear layer, or NULL. */
const etk_adapter_module *etk__adapter_for(const etk_adapter *adapter, const struct linear *linear);
float etk__adapter_dropout(const etk_adapter *adapter);

#endif
