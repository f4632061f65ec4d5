/* adapter_parts.h: an adapter as what its file holds, before any model is asked: what readers of all forms make and writers of all forms take.
 *
 * Names of modules are Hugging Face's, A is (rank, in), B is (out, rank), both of the type they were stored in, so that a conversion keeps every bit. */
#ifndef ETK_ML_MODEL_ADAPTER_PARTS_H
#define ETK_ML_MODEL_ADAPTER_PARTS_H

#include "internal.h"

#include <jansson.h>

typedef struct etk__adapter_part {
  const char *module;     /* "model.layers.0.self_attn.q_proj"; of kohya's form as the file has it until it is resolved */
  const char *name;       /* of A in the file, for messages */
  etk_tensor *a, *b;      /* (rank, in), (out, rank): F32, F16 or BF16; one reference each */
  etk_tensor *magnitude;  /* (out), of DoRA; or NULL */
  double scale;
  bool embedding;         /* A is (rank, vocabulary): PEFT's lora_embedding_A */
} etk__adapter_part;

typedef enum etk__adapter_leaf_kind { ETK__LEAF_A, ETK__LEAF_B, ETK__LEAF_MAGNITUDE, ETK__LEAF_ALPHA, ETK__LEAF_KINDS } etk__adapter_leaf_kind;
/* One tensor of the file; they are collected, then sorted into parts. */
typedef struct etk__adapter_leaf {
  const char *module, *name;
  etk__adapter_leaf_kind kind;
  bool embedding;
  etk_tensor *tensor;
} etk__adapter_leaf;

typedef struct etk__adapter_targets etk__adapter_targets;

typedef struct etk__adapter_parts {
  etk_arena arena;
  etk_adapter_form form;
  const char *path;               /* of the file of tensors, for messages */
  const char *config_path;        /* of adapter_config.json, or NULL */
  etk__adapter_leaf *leaves;
  size_t leaf_count, leaf_room;
  etk__adapter_part *parts;       /* sorted by module */
  size_t count;
  etk_lora_options options;       /* of the whole; a part's rank is its A's, its scale is its own */
  const char *base;               /* the base model as the file calls it, or NULL */
  json_t *config;                 /* PEFT's settings as read, or NULL */
  etk__adapter_targets *targets;  /* of config; NULL: no rule beyond the list of parts */
  int64_t *layers;                /* layers_to_transform beside options.target_modules, where there is no config */
  size_t layer_count;
  int64_t num_layers;             /* mlx: the last so many layers; -1: all */
  struct etk__adapter_saved {
    const char *name;             /* PEFT's modules_to_save: whole weights, by Hugging Face's name */
    etk_tensor *tensor;
  } *saved;
  size_t saved_count;
} etk__adapter_parts;

/* How a form's names of tensors end. */
typedef struct etk__adapter_ending {
  const char *text;
  etk__adapter_leaf_kind kind;
  bool embedding;
} etk__adapter_ending;
/* The ending of a name, and the size of what stands before it; NULL: none of the list. */
const etk__adapter_ending *etk__adapter_ending_of(const etk__adapter_ending *endings, size_t count, const char *name, size_t *module_size);

/* Consumes tensor, also on failure; module and name are copied (module_size bytes of module). */
etk_status etk__adapter_parts_add(etk_error *e, etk__adapter_parts *p, const char *module, size_t module_size, const char *name,
                                  etk__adapter_leaf_kind kind, bool embedding, etk_tensor *tensor);
/* Sorts the leaves into parts: each has its pair once, of types and shapes that go together. A missing alpha leaves the scale NAN. */
etk_status etk__adapter_parts_group(etk_error *e, etk__adapter_parts *p);
void etk__adapter_parts_sort(etk__adapter_parts *p);
etk__adapter_part *etk__adapter_parts_find(const etk__adapter_parts *p, const char *module); /* NULL: none */
/* The part for a linear layer of the model, by any of its spellings. */
etk__adapter_part *etk__adapter_parts_for(const etk__adapter_parts *p, const etk_model *model, const char *module);
void etk__adapter_parts_fini(etk__adapter_parts *p);

static inline int64_t etk__part_rank(const etk__adapter_part *part) { return etk_tensor_dim(part->a, 0); }
static inline int64_t etk__part_in(const etk__adapter_part *part) { return etk_tensor_dim(part->a, 1); }
static inline int64_t etk__part_out(const etk__adapter_part *part) { return etk_tensor_dim(part->b, 0); }
/* The number of the module's layer ("model.layers.7.x": 7), and what stands behind it; -1: outside the layers. */
int64_t etk__module_layer(const char *module, const char **rest);
bool etk__module_is_embedding(const char *module); /* by its last part */

/* A new tensor (columns, rows) from one of (rows, columns) of any plain type. */
etk_status etk__adapter_transposed(etk_error *e, etk_tensor **out, const etk_tensor *in);
/* A new tensor with row `from(user, r)` of `in` at row r. */
etk_status etk__adapter_gathered(etk_error *e, etk_tensor **out, const etk_tensor *in, int64_t (*from)(const void *user, int64_t row), const void *user);
/* Chooses target_modules and layers that mean exactly these parts: last parts of names where that is enough, else whole names. base: NULL, or the model. */
etk_status etk__adapter_derive_targets(etk_error *e, etk__adapter_parts *p, const etk_model *base);
/* Every part fits a linear layer, the embedding or the head of the model: otherwise an error that names it. */
etk_status etk__adapter_check_base(etk_error *e, const etk__adapter_parts *p, const etk_model *base);
etk_status etk__adapter_check_shape(etk_error *e, const etk__adapter_parts *p, const etk__adapter_part *part, int64_t out, int64_t in);
/* One error for parts that the form cannot hold; what: "mlx-lm's form". */
etk_status etk__adapter_need_plain(etk_error *e, const etk__adapter_parts *p, const char *what, bool magnitudes, bool embeddings);

/* ---- bound adapters (adapter.c) ---- */
etk_status etk__adapter_bind(etk_error *e, etk_adapter **out, const etk_model *model, const etk__adapter_parts *p, bool trainable);
/* The parts share the adapter's tensors and settings, which must outlive them. */
etk_status etk__adapter_unbind(etk_error *e, etk__adapter_parts *out, const etk_adapter *adapter);
const etk_model *etk__adapter_model(const etk_adapter *adapter);

/* ---- which modules PEFT's settings mean (adapter_targets.c) ---- */
etk_status etk__adapter_targets_new(etk_error *e, etk__adapter_targets **out, const char *name, const json_t *config);
void etk__adapter_targets_free(etk__adapter_targets *t);
etk_status etk__adapter_targets_select(etk_error *e, etk__adapter_targets *t, const char *module, bool *selected);
/* rank_pattern's and alpha_pattern's values for the module, or what they are without one. */
etk_status etk__adapter_targets_values(etk_error *e, etk__adapter_targets *t, const char *module, double *rank, double *alpha);
bool etk__names_module(const char *target, const char *module); /* PEFT's rule for a list: the whole name, or its last dotted parts */

/* ---- the forms (adapter_peft.c, adapter_mlx.c, adapter_gguf.c, adapter_kohya.c) ---- */

typedef struct etk__adapter_metadata {
  const char *const *pairs;
  size_t count;
} etk__adapter_metadata;
/* Readers begin with an empty struct, which the caller ends with etk__adapter_parts_fini also on failure. base: NULL, or the model the adapter is for. */
etk_status etk__adapter_read_peft(etk_error *e, etk__adapter_parts *out, const char *path, const etk_model *base);
etk_status etk__adapter_read_mlx(etk_error *e, etk__adapter_parts *out, const char *path, const etk_model *base);
etk_status etk__adapter_read_gguf(etk_error *e, etk__adapter_parts *out, const char *path, const etk_model *base);
etk_status etk__adapter_read_kohya(etk_error *e, etk__adapter_parts *out, const char *path, const etk_model *base);
/* path: an existing folder for PEFT and mlx-lm, a file for the others. */
etk_status etk__adapter_write_peft(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata);
etk_status etk__adapter_write_mlx(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata);
etk_status etk__adapter_write_gguf(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata);
etk_status etk__adapter_write_kohya(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata);

typedef struct etk__adapter_item {
  const char *name;
  const etk_tensor *tensor;
} etk__adapter_item;
/* A safetensors file of items in their own types; pairs: form's own metadata beside the caller's. */
etk_status etk__adapter_write_safetensors(etk_error *e, const char *path, const etk__adapter_item *items, size_t count, const char *const *own,
                                          size_t own_count, etk__adapter_metadata metadata);
/* The folder of an adapter (or of the file `path`), its adapter_config.json parsed (*config), and the file of tensors: `path` itself where it is a file, else the
 * first of `names` (a NULL ends them) that is there. The paths are in the arena. */
etk_status etk__adapter_folder(etk_error *e, etk__adapter_parts *p, const char *path, const char *const *names, json_t **config);

#endif
