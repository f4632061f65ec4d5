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
  etk_tensor *weight, *bias;   /* (out, in); (out) or NULL */
  int index;                   /* among all linear layers of the model */
};

struct layer {
  etk_tensor *input_norm, *post_norm; /* (hidden) */
  struct linear q, k, v, o, gate, up, down;
};

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
  etk_tensor *embedding;         /* (vocab, hidden) */
  etk_tensor *norm;              /* (hidden) */
  struct linear head;            /* weight is the embedding where tied */
  etk_tensor *inverse_frequency; /* (head_dim/2) */
  struct layer *layers;
  struct linear **linears;       /* all but the head, by index */
  int linear_count;
  struct weight *weights;
  size_t weight_count;
};

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
void etk__rope_frequencies(float *out, const etk_model_config *config); /* head_dim/2 */

/* The adapter's module for a linear layer, or NULL. */
const etk_adapter_module *etk__adapter_for(const etk_adapter *adapter, const struct linear *linear);
float etk__adapter_dropout(const etk_adapter *adapter);

#endif
