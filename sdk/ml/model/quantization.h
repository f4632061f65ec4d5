/* quantization.h: what config.json of an MLX folder says of its quantized weights. */
#ifndef ETK_ML_MODEL_QUANTIZATION_H
#define ETK_ML_MODEL_QUANTIZATION_H

#include <etk/weights.h>
#include <jansson.h>

/* "quantization": {"group_size": 64, "bits": 4, "mode": "affine", "model.layers.0.mlp.down_proj": {"group_size": 64, "bits": 6}, "lm_head": false} */
struct quantization {
  bool present;
  int bits, group;
  json_t *object; /* a reference, or NULL */
};

/* Reads and checks it; out may be NULL. Other ways of quantizing ("quantization_config" with a quant_method, modes other than affine) are an error. */
etk_status etk__quantization_read(etk_error *e, struct quantization *out, const char *name, const json_t *root);
/* The same from the config.json that belongs to a container; where there is none, nothing is quantized so. */
etk_status etk__quantization_open(etk_error *e, struct quantization *out, const etk_weights *weights);
void etk__quantization_fini(struct quantization *quantization);
/* Of a module ("model.layers.0.mlp.down_proj"). false: config.json says that it is not quantized. */
bool etk__quantization_of(const struct quantization *quantization, const char *module, int *bits, int *group);
/* "….weight" -> "….<leaf>", the name of a matrix's scales or biases; NULL where it is no such name, or out has no room. */
const char *etk__quantization_beside(char *out, size_t size, const char *name, const char *leaf);
/* The codes to which a tensor of this name holds the scales or biases; NULL: it is a tensor of its own. */
const etk_weight *etk__quantization_codes(const struct quantization *quantization, const etk_weights *weights, const char *name);

#endif
