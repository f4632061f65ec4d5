/* config.h: what the files that read config.json share. */
#ifndef ETK_ML_MODEL_CONFIG_H
#define ETK_ML_MODEL_CONFIG_H

#include "internal.h"
#include "ml/format/json.h"

#include <etk/weights.h>

struct reader {
  etk_error *e;
  const char *name;    /* of the file, for messages */
  const json_t *root;  /* the object that describes the text model */
  const json_t *whole; /* the file's object: root, or what root is a part of */
  const struct family *family;
  etk_model_config *c;
};

static inline const json_t *etk__config_get(const struct reader *r, const char *key) { return json_object_get(r->root, key); }
static inline bool etk__config_is_set(const json_t *value) { return value && !json_is_null(value); }
/* A field that would change the result and that we do not have for this family. */
etk_status etk__config_refuse(const struct reader *r, const char *key, const json_t *value);
/* etk__json_* of json.h with the reader's file. */
static inline etk_status etk__config_wrong(const struct reader *r, const char *key, const json_t *value, const char *wanted) {
  return etk__json_wrong(r->e, r->name, key, value, wanted);
}
static inline etk_status etk__config_integer(const struct reader *r, const json_t *object, const char *key, bool required, int64_t *out) {
  return etk__json_count(r->e, r->name, object, key, required, out);
}
static inline etk_status etk__config_number(const struct reader *r, const json_t *object, const char *key, double *out) {
  return etk__json_number(r->e, r->name, object, key, out);
}
static inline etk_status etk__config_flag(const struct reader *r, const char *key, bool *out) { return etk__json_bool(r->e, r->name, r->root, key, out); }

/* The whole of a config.json, which is an object. */
etk_status etk__config_from_json(etk_error *e, etk_model_config *out, const char *name, const json_t *root);
/* Adds the ends of a text that a generation_config.json names to those of `out`. */
etk_status etk__config_add_ends(etk_error *e, etk_model_config *out, const char *name, const json_t *root);
/* What the header of a llama2.c checkpoint says; not checked. */
void etk__config_from_llama2c(etk_model_config *out, const etk_weights *weights);

etk_status etk__config_rope(const struct reader *r);   /* config_rope.c; after head_dim and max_position_embeddings */
etk_status etk__config_layers(const struct reader *r); /* config_layers.c: windows, and layers without positions */

/* Whole numbers of every configuration, by their names with most families and with GPT-2 (NULL: it has no such key). */
struct size_key {
  const char *key, *gpt2;
  size_t offset;
  bool required;
  bool heads; /* of heads that differ from the rest, which families with LayerNorm do not have */
};
extern const struct size_key etk__config_sizes[];
extern const int etk__config_size_count;

/* ---- writing: folder_write.c ---- */
struct writer {
  json_t *root;
  bool failed; /* memory ran out */
};
void etk__config_put(struct writer *w, const char *key, json_t *value); /* takes value, which may be NULL */
/* A list of make(items, 0) to make(items, count - 1); NULL: out of memory. */
json_t *etk__config_list(const void *items, int64_t count, json_t *(*make)(const void *items, int64_t index));
json_t *etk__rope_json(const etk_model_config *c);
void etk__layers_json(struct writer *w, const etk_model_config *c, const struct family *family);

#endif
