/* etk/adapter.h: LoRA adapters (Hu et al. 2021) on the linear layers of a model, read and written as PEFT does.
 *
 * y = W x + scale * B (A dropout(x)), scale = alpha/rank (rsLoRA: alpha/sqrt(rank)). A (rank, in) starts uniform in ±1/sqrt(in)
 * (kaiming_uniform, a = sqrt 5), B (out, rank) starts zero. Files: adapter_config.json and adapter_model.safetensors with names
 * base_model.model.<module>.lora_A.weight and .lora_B.weight. */
#ifndef ETK_ADAPTER_H
#define ETK_ADAPTER_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_lora_options {
  int64_t rank;
  double alpha, dropout;
  bool use_rslora;
  const char *const *target_modules; /* module names or their last parts ("q_proj"); the one entry "all-linear": every linear layer but lm_head */
  size_t target_count;
} etk_lora_options;

etk_status etk_adapter_new(etk_error *e, etk_adapter **out, const etk_model *model, const etk_lora_options *options, uint64_t seed); /* trainable */
/* Every tensor in the file must fit a module of the model and every targeted module must have its pair: otherwise an error that names them. */
etk_status etk_adapter_open(etk_error *e, etk_adapter **out, const etk_model *model, const char *folder, bool trainable);
/* Writes both files into an existing folder (F32). */
etk_status etk_adapter_save(etk_error *e, const etk_adapter *adapter, const char *folder, const char *const *metadata, size_t metadata_count);
void etk_adapter_free(etk_adapter *adapter);

typedef struct etk_adapter_module {
  const char *name;   /* "model.layers.0.self_attn.q_proj" */
  etk_tensor *a, *b;  /* (rank, in), (out, rank) f32 */
  float scale;
} etk_adapter_module;
size_t etk_adapter_count(const etk_adapter *adapter);
const etk_adapter_module *etk_adapter_at(const etk_adapter *adapter, size_t index);
const etk_lora_options *etk_adapter_get_options(const etk_adapter *adapter);
int64_t etk_adapter_parameters(const etk_adapter *adapter);
/* Sets the rate used when a forward is recorded for training. */
void etk_adapter_set_dropout(etk_adapter *adapter, double rate);

#ifdef __cplusplus
}
#endif
#endif
