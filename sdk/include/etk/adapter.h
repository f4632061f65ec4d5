/* etk/adapter.h: LoRA adapters (Hu et al. 2021) on the linear layers of a model, in the four forms of the field.
 *
 * y = W x + scale * B (A dropout(x)), scale = alpha/rank (rsLoRA: alpha/sqrt(rank)). A (rank, in) starts uniform in ±1/sqrt(in)
 * (kaiming_uniform, a = sqrt 5), B (out, rank) starts zero.
 *
 *   PEFT   folder: adapter_config.json and adapter_model.safetensors (or adapter_model.bin), base_model.model.<module>.lora_A.weight, .lora_B.weight;
 *          rank_pattern, alpha_pattern, rsLoRA, exclude_modules, layers_to_transform and regular expressions mean what they mean there
 *   mlx    folder: adapter_config.json and adapters.safetensors, <module>.lora_a (in, rank), .lora_b (rank, out); one rank and one scale for all
 *   GGUF   file of llama.cpp: <base's tensor>.lora_a, .lora_b, rows as the base's lie in GGUF, experts stacked; one alpha for all
 *   kohya  file: lora_te_<module_with_underscores>.lora_down.weight, .lora_up.weight, .alpha
 * DoRA, embeddings, the head and PEFT's modules_to_save are kept by a conversion where the other form has a place for them; to run them is an error that
 * names them. Nothing in a file goes unused without an error. */
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

typedef enum etk_adapter_form { ETK_ADAPTER_PEFT, ETK_ADAPTER_MLX, ETK_ADAPTER_GGUF, ETK_ADAPTER_KOHYA, ETK_ADAPTER_FORM_COUNT } etk_adapter_form;
const char *etk_adapter_form_name(etk_adapter_form form); /* "peft", "mlx", "gguf", "kohya"; "?" */
bool etk_adapter_form_parse(etk_adapter_form *out, const char *name);
bool etk_adapter_form_is_folder(etk_adapter_form form); /* else a file */
/* path: a folder, a folder that holds one adapter in a folder of its name (PEFT), or the file of tensors. Tells by the settings, magic and names of tensors. */
etk_status etk_adapter_detect(etk_error *e, etk_adapter_form *out, const char *path);
/* Reads any form. Every tensor in the file must fit a module of the model and (PEFT) every targeted module must have its pair: otherwise an error that names
 * them. F16 and BF16 become F32. */
etk_status etk_adapter_open(etk_error *e, etk_adapter **out, const etk_model *model, const char *path, bool trainable);
/* Writes into an existing folder, or the file `path`, which is replaced; F32. metadata: pairs key, value, kept in the file of tensors. */
etk_status etk_adapter_save_as(etk_error *e, const etk_adapter *adapter, etk_adapter_form form, const char *path, const char *const *metadata, size_t metadata_count);
/* From any form to any: every value keeps its bits and its type (GGUF's block types become F32), a scale its F32 value. base may be NULL where the forms
 * allow it: kohya's names need it to be read, GGUF's to be written, and to be read where rows lie head by head (Llama, GPT-NeoX); with it, modules and shapes are
 * checked. What the other form cannot hold (two scales in mlx's, DoRA in GGUF's) is an error that names it. out: a folder, made where it is missing, or a file. */
etk_status etk_adapter_convert(etk_error *e, const char *in, const char *out, etk_adapter_form form, const etk_model *base, const char *const *metadata, size_t metadata_count);
/* As PEFT's form. Modules have the names that they were read under, which may lack a prefix or, of a text part (gemma3), have language_model in them. */
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
