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
  etk_tensor *input_norm, *post_norm; /* (hidden) */
  etk_tensor *input_norm_bias, *post_norm_bias; /* (hidden), of LayerNorm; else NULL */
  etk_tensor *q_norm, *k_norm;        /* (head_dim) or NULL */
  struct linear q, k, v, o, gate, up, down;
  struct linear router, shared_gate; /* (experts, hidden), (1, hidden); gate, up and down are the shared expert's */
  struct expert *experts;
  struct linear qkv; /* instead of q, k and v where they are one product */
};

/* ---- what a family of architectures is: names of weights, meaning of config.json, one forward function ---- */

enum dimension { DIM_VOCAB, DIM_HIDDEN, DIM_INTERMEDIATE, DIM_QUERY, DIM_KEY, DIM_HEAD, DIM_QKV, DIM_POSITIONS, DIM_EXPERTS, DIM_EXPERT, DIM_SHARED, DIM_ONE };
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
  int64_t sliding_window; /* where config.json does not say; -1: the family has none, and a value is an error or unused */
  const struct weight_row *expert_rows;    /* of each expert, named <layer>.<expert_prefix><number>.<name>; NULL: no experts */
  int expert_row_count;
  const char *expert_prefix, *experts_key; /* "mlp.experts.", "num_experts" */
  bool shared_expert; /* beside the others, through a sigmoid gate of its own */
  double rope_theta, epsilon; /* where config.json does not say; 0: 10000, 1e-6 */
  etk_activation activation;
  const char *activation_key, *norm_key; /* in config.json; NULL: hidden_act, rms_norm_eps */
  const char *optional_prefix; /* of weight names, that some checkpoints leave out; or NULL */
  etk_tensor *(*forward)(etk_graph *g, const etk_model *m, const etk_forward *f);
};
extern const struct family etk__families[];
extern const int etk__family_count;
static inline const char *etk__family_activation_key(const struct family *family) { return family->activation_key ? family->activation_key : "hidden_act"; }
static inline const char *etk__family_norm_key(const struct family *family) { return family->norm_key ? family->norm_key : "rms_norm_eps"; }
const struct family *etk__family_find(const char *model_type); /* NULL: none */
/* The names of all families, for messages. */
const char *etk__family_names(char *text, size_t size);
bool etk__weight_present(const etk_model_config *config, const struct family *family, enum condition condition);
etk_shape etk__weight_shape(const etk_model_config *config, const struct weight_row *row);

struct weight {
  const char *name;
  etk_tensor *tensor; /* one reference */
};

struct etk_model {
  atomic_int references;
  etk_arena arena;
  char *path;
  bool llama2c;
  etk_model_config config;
  const struct family *family;
  etk_tensor *embedding;         /* (vocab, hidden) */
  etk_tensor *position_embedding; /* (positions, hidden), or NULL */
  etk_tensor *norm, *norm_bias;  /* (hidden); bias of LayerNorm or NULL */
  struct linear head;            /* weight is the embedding where tied */
  etk_tensor *inverse_frequency; /* (rotary_dims/2), or NULL */
  etk_tensor *ones;              /* (hidden), where norm_from_one */
  struct layer *layers;
  struct linear **linears;       /* all but the head, by index */
  int linear_count;
  struct weight *weights;
  size_t weight_count;
};

static inline int64_t etk__linear_in(const struct linear *l) { return etk_tensor_dim(l->weight, l->transposed ? 0 : 1); }
static inline int64_t etk__linear_out(const struct linear *l) { return etk_tensor_dim(l->weight, l->transposed ? 1 : 0); }

/* Where the weights of a model come from: fetch returns a new reference, or an error when the name is absent or unreadable. */
struct weight_source {
  etk_status (*fetch)(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape);
  void *user;
};

/* A model with its arrays and names in place and every weight fetched and checked against its shape. */
etk_status etk__model_build(etk_error *e, etk_model **out, const etk_model_config *config, const char *path, const struct weight_source *source);
/* Is this the name of a weight that the configuration calls for? */
bool etk__model_expects(const etk_model *model, const char *name);

etk_status etk__model_open_folder(etk_error *e, etk_model **out, const char *path, bool trainable);
etk_status etk__model_open_llama2c(etk_error *e, etk_model **out, const char *path, bool trainable);
/* A tensor as the model wants it: F32, mapped where that is possible, copied where it is to be trained. Consumes `tensor`. */
etk_status etk__weight_prepare(etk_error *e, etk_tensor **out, etk_tensor *tensor, bool trainable);
etk_status etk__model_config_check(etk_error *e, const etk_model_config *config, const char *name);
static inline int64_t etk__rotary_dims(const etk_model_config *c) { return c->rotary_dims ? c->rotary_dims : c->head_dim; }
void etk__rope_frequencies(float *out, const etk_model_config *config); /* rotary_dims/2 */

/* What forward functions share (forward.c). */
struct pass {
  etk_graph *g;
  const etk_model *m;
  const etk_forward *f;
};
/* sum + W x + scale B A dropout(x), or the same without sum (NULL). x (..., in) -> (..., out) */
etk_tensor *etk__linear(const struct pass *p, etk_tensor *sum, etk_tensor *x, const struct linear *layer);
/* residual + dropout(W x): one product that adds where nothing is dropped. */
etk_tensor *etk__join(const struct pass *p, etk_tensor *residual, etk_tensor *x, const struct linear *layer);
/* q (batch, tokens, heads, d), k and v (batch, tokens, kv_heads, d) -> (batch, tokens, heads * d), with the cache where there is one. */
etk_tensor *etk__attend(const struct pass *p, int layer, etk_tensor *q, etk_tensor *k, etk_tensor *v);
/* The rows of x (batch, tokens, hidden) whose logits are wanted: (rows, hidden). */
etk_tensor *etk__select(const struct pass *p, etk_tensor *x);
etk_tensor *etk__llama_forward(etk_graph *g, const etk_model *m, const etk_forward *f);
etk_tensor *etk__gpt_forward(etk_graph *g, const etk_model *m, const etk_forward *f);

/* The adapter's module for a linear layer, or NULL. */
const etk_adapter_module *etk__adapter_for(const etk_adapter *adapter, const struct linear *linear);
float etk__adapter_dropout(const etk_adapter *adapter);

#endif
