/* llama2.c checkpoints (version 0, F32) as a container of weights: seven int32 and then all layers' weights by kind, without names. */
#include "weights_internal.h"

#include <string.h>

static const struct kind {
  const char *name; /* of the tensor, or behind "model.layers.N." */
  bool per_layer, rotary;
  char rows, columns; /* etk_weights_extent; 0: a vector */
} kinds[] = {
    {"model.embed_tokens.weight", false, false, 'V', 'D'},  {"input_layernorm.weight", true, false, 0, 'D'},
    {"self_attn.q_proj.weight", true, true, 'Q', 'D'},      {"self_attn.k_proj.weight", true, true, 'K', 'D'},
    {"self_attn.v_proj.weight", true, false, 'K', 'D'},     {"self_attn.o_proj.weight", true, false, 'D', 'Q'},
    {"post_attention_layernorm.weight", true, false, 0, 'D'}, {"mlp.gate_proj.weight", true, false, 'H', 'D'},
    {"mlp.down_proj.weight", true, false, 'D', 'H'},        {"mlp.up_proj.weight", true, false, 'H', 'D'},
    {"model.norm.weight", false, false, 0, 'D'},            {NULL, false, false, 'S', 'E'}, /* two tables of rotary values, half a head wide each */
    {"lm_head.weight", false, false, 'V', 'D'},
};
enum { KINDS = sizeof kinds / sizeof *kinds, LAYER_LIMIT = 4096 /* a description is larger than the smallest layer */ };

static int64_t extent(const etk_weights_facts *f, char letter) { return letter ? etk_weights_extent(f, letter) : 1; }

static bool is_text(const etk_map *map) {
  size_t size = map->size < 256 ? map->size : 256;
  for (size_t i = 0; i < size; i++)
    if (map->data[i] == 0x7f || (map->data[i] < 0x20 && !strchr("\t\n\r\f", map->data[i])) || !map->data[i]) return false;
  return size > 0;
}

static etk_status read_header(etk_error *e, etk_weights_facts *f, bool *tied, const etk_map *map, const char *path) {
  static const char *const names[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"};
  int32_t header[7];
  if (is_text(map)) return etk_fail(e, ETK_E_FORMAT, "%s: a text, not a safetensors, GGUF, PyTorch, NumPy, ONNX or llama2.c file", path);
  if (map->size < sizeof header)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a safetensors, GGUF, PyTorch, NumPy, ONNX or llama2.c file: %zu bytes are too few", path, map->size);
  memcpy(header, map->data, sizeof header);
  *tied = header[5] > 0;
  if (header[5] < 0 && header[5] != INT32_MIN) header[5] = -header[5];
  for (int i = 0; i < 7; i++)
    if (header[i] < 1 || header[i] > 1 << 24)
      return etk_fail(e, ETK_E_FORMAT,
                      "%s: not a safetensors, GGUF, PyTorch, NumPy, ONNX or llama2.c file (as llama2.c, %s at byte %d would be %d; 1 to 2^24 is wanted)", path, names[i], i * 4, header[i]);
  if (header[2] > LAYER_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: n_layers at byte 8 is %d; at most %d are supported", path, header[2], LAYER_LIMIT);
  if (header[0] % header[3])
    return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c checkpoint: dim %d is not a multiple of n_heads %d", path, header[0], header[3]);
  *f = (etk_weights_facts){.architecture = "llama", .hidden_size = header[0], .intermediate_size = header[1], .num_hidden_layers = header[2],
                           .num_attention_heads = header[3], .num_key_value_heads = header[4], .vocab_size = header[5], .max_position_embeddings = header[6],
                           .head_dim = header[0] / header[3], .norm_eps = 1e-5, .rope_theta = 10000};
  return ETK_OK;
}

static etk_status check_size(etk_error *e, const etk_weights *w, bool tied) {
  const etk_weights_facts *f = &w->facts;
  double wanted = 28; /* in double: a damaged header must not overflow the sum */
  for (int i = 0; i < KINDS - (tied ? 1 : 0); i++)
    wanted += 4.0 * (double)extent(f, kinds[i].rows) * (double)extent(f, kinds[i].columns) * (kinds[i].per_layer ? (double)f->num_hidden_layers : 1.0);
  if (wanted == (double)w->map.size) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT, "%s: the file has %zu bytes, its llama2.c header calls for %.0f: it is %s, or of another format", w->path,
                  w->map.size, wanted, (double)w->map.size < wanted ? "cut short" : "too long");
}

static etk_status add_weight(etk_error *e, etk_weights *w, const struct kind *kind, int64_t layer, size_t *at) {
  int64_t rows = extent(&w->facts, kind->rows), columns = extent(&w->facts, kind->columns);
  size_t bytes = (size_t)rows * (size_t)columns * sizeof(float), from = *at;
  *at += bytes;
  if (!kind->name) return ETK_OK;
  const char *name = kind->per_layer ? etk_arena_printf(&w->arena, "model.layers.%lld.%s", (long long)layer, kind->name) : kind->name;
  if (!name) return etk_fail_memory(e);
  etk_shape shape = kind->rows ? etk_shape_of(2, rows, columns) : etk_shape_of(1, columns);
  w->weights[w->count++] = (etk_weight){.name = name, .canonical = name, .type_name = "F32", .type = ETK_F32, .shape = shape,
                                        .data = w->map.data + from, .bytes = bytes,
                                        .rotary = kind->rotary && w->facts.head_dim % 2 == 0 ? w->facts.head_dim : 0};
  return ETK_OK;
}

etk_status etk__weights_open_llama2c(etk_error *e, etk_weights *w, const char *path) {
  w->format = ETK_WEIGHTS_LLAMA2C;
  bool tied = false;
  etk_status status = etk_map_open(e, &w->map, path);
  if (!status) status = read_header(e, &w->facts, &tied, &w->map, path);
  if (!status) status = check_size(e, w, tied);
  if (!status && !etk__weights_add_part(e, w, path)) status = ETK_E_NO_MEMORY;
  if (status) return status;
  w->weights = etk_arena_array(&w->arena, (size_t)w->facts.num_hidden_layers * KINDS + KINDS, sizeof *w->weights);
  if (!w->weights) return etk_fail_memory(e);
  size_t at = 28;
  for (int i = 0; i < KINDS - (tied ? 1 : 0) && !status; i++)
    for (int64_t layer = 0; layer < (kinds[i].per_layer ? w->facts.num_hidden_layers : 1) && !status; layer++) status = add_weight(e, w, &kinds[i], layer, &at);
  return status;
}
