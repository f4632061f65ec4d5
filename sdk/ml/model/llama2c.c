/* llama2.c checkpoints (version 0, f32): seven int32 — dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the head has weights of
 * its own), seq_len — then the weights of all layers by kind, two tables of rotary values that are not needed, and the head if it is not tied.
 * The rows of wq and wk are in interleaved rotary order (pairs 2i, 2i+1); they are put into Hugging Face's order (pairs i, i + d/2) as they are read. */
#include "internal.h"

#include <etk/fs.h>

struct span {
  const char *suffix; /* of the Hugging Face name, or the whole name */
  bool per_layer, rotary;
  int64_t rows, columns;
};
enum { SPANS = 12 };

struct checkpoint {
  etk_map map;
  atomic_int references;
};

struct source {
  struct checkpoint *file;
  const etk_model_config *config;
  struct span spans[SPANS];
  bool trainable;
};

static void checkpoint_unref(void *owner) {
  struct checkpoint *file = owner;
  if (atomic_fetch_sub(&file->references, 1) != 1) return;
  etk_map_close(&file->map);
  etk_free(file);
}

static void lay_out(struct source *s) {
  const etk_model_config *c = s->config;
  int64_t d = c->hidden_size, h = c->intermediate_size, q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
  const struct span spans[SPANS] = {
      {"model.embed_tokens.weight", false, false, c->vocab_size, d},
      {".input_layernorm.weight", true, false, 1, d},
      {".self_attn.q_proj.weight", true, true, q, d},
      {".self_attn.k_proj.weight", true, true, kv, d},
      {".self_attn.v_proj.weight", true, false, kv, d},
      {".self_attn.o_proj.weight", true, false, d, q},
      {".post_attention_layernorm.weight", true, false, 1, d},
      {".mlp.gate_proj.weight", true, false, h, d},
      {".mlp.down_proj.weight", true, false, d, h},
      {".mlp.up_proj.weight", true, false, h, d},
      {"model.norm.weight", false, false, 1, d},
      {"(rotary tables)", false, false, c->max_position_embeddings, c->head_dim},
  };
  memcpy(s->spans, spans, sizeof spans);
}

static int64_t span_floats(const struct source *s, const struct span *span) {
  return span->rows * span->columns * (span->per_layer ? s->config->num_hidden_layers : 1);
}

static etk_status fetch(etk_error *e, void *user, etk_tensor **out, const char *name, const etk_shape *shape) {
  struct source *s = user;
  const float *data = (const float *)(const void *)(s->file->map.data + 7 * sizeof(int32_t));
  const struct span *found = NULL;
  long long layer = 0;
  if (sscanf(name, "model.layers.%lld.", &layer) != 1) layer = 0;
  for (int i = 0; i < SPANS && !found; i++) {
    const struct span *span = &s->spans[i];
    size_t size = strlen(name), tail = strlen(span->suffix);
    if (span->per_layer ? size > tail && !strcmp(name + size - tail, span->suffix) : !strcmp(name, span->suffix)) found = span;
    else data += span_floats(s, span);
  }
  if (found) data += layer * found->rows * found->columns; /* lm_head, if it has weights of its own, is what follows the last span */
  bool rotary = found && found->rotary;
  etk_status status;
  if (!rotary) {
    etk_tensor *tensor = NULL;
    atomic_fetch_add(&s->file->references, 1);
    status = etk_tensor_wrap(e, &tensor, ETK_F32, *shape, data, checkpoint_unref, s->file);
    if (status) {
      checkpoint_unref(s->file);
      return status;
    }
    return etk__weight_prepare(e, out, tensor, s->trainable);
  }
  status = etk_tensor_new(e, out, ETK_F32, *shape);
  if (status) return status;
  etk_tensor_set_trainable(*out, s->trainable);
  float *to = etk_tensor_data(*out);
  int64_t d = s->config->head_dim, columns = found->columns;
  for (int64_t row = 0; row < found->rows; row++) {
    int64_t head = row / d, i = row % d;
    int64_t from = head * d + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
    memcpy(to + row * columns, data + from * columns, (size_t)columns * sizeof *to);
  }
  return ETK_OK;
}

static etk_status read_header(etk_error *e, const struct checkpoint *file, const char *path, etk_model_config *c) {
  int32_t header[7];
  if (file->map.size < sizeof header)
    return etk_fail(e, ETK_E_FORMAT, "%s: %zu bytes is too short for a llama2.c checkpoint, whose header has 28", path, file->map.size);
  memcpy(header, file->map.data, sizeof header);
  static const char *const names[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"};
  for (int i = 0; i < 7; i++) {
    bool negative_ok = i == 5 && header[i] != INT32_MIN;
    int32_t value = negative_ok && header[i] < 0 ? -header[i] : header[i];
    if (value < 1 || value > 1 << 24)
      return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c checkpoint: %s would be %d, wanted 1 to 2^24 (a Hugging Face model is opened by its folder)", path, names[i], header[i]);
  }
  *c = (etk_model_config){.architecture = "llama", .hidden_size = header[0], .intermediate_size = header[1], .num_hidden_layers = header[2],
                          .num_attention_heads = header[3], .num_key_value_heads = header[4], .vocab_size = abs(header[5]), .max_position_embeddings = header[6],
                          .rms_norm_eps = 1e-5, .rope_theta = 10000, .tie_word_embeddings = header[5] > 0, .bos_token_id = 1, .eos_token_ids = {2, 1}, .eos_count = 2};
  if (c->hidden_size % c->num_attention_heads)
    return etk_fail(e, ETK_E_FORMAT, "%s: not a llama2.c checkpoint: dim %d is not a multiple of n_heads %d", path, header[0], header[3]);
  c->head_dim = c->hidden_size / c->num_attention_heads;
  return etk__model_config_check(e, c, path);
}

static etk_status check_size(etk_error *e, const struct source *s, const char *path) {
  /* In double first: a damaged header must not overflow the sum. */
  double wanted = 28;
  for (int i = 0; i < SPANS; i++) {
    const struct span *span = &s->spans[i];
    wanted += 4.0 * (double)span->rows * (double)span->columns * (span->per_layer ? (double)s->config->num_hidden_layers : 1.0);
  }
  if (!s->config->tie_word_embeddings) wanted += 4.0 * (double)s->config->vocab_size * (double)s->config->hidden_size;
  if (wanted != (double)s->file->map.size)
    return etk_fail(e, ETK_E_FORMAT, "%s: the file has %zu bytes, its header calls for %.0f: it is %s, or no llama2.c checkpoint", path, s->file->map.size, wanted,
                    (double)s->file->map.size < wanted ? "cut short" : "too long");
  return ETK_OK;
}

etk_status etk__model_open_llama2c(etk_error *e, etk_model **out, const char *path, bool trainable) {
  struct checkpoint *file = etk_calloc(1, sizeof *file);
  if (!file) return etk_fail_memory(e);
  atomic_init(&file->references, 1);
  etk_status status = etk_map_open(e, &file->map, path);
  if (status) {
    etk_free(file);
    return status;
  }
  etk_model_config config;
  struct source s = {.file = file, .config = &config, .trainable = trainable};
  status = read_header(e, file, path, &config);
  if (!status) {
    lay_out(&s);
    status = check_size(e, &s, path);
  }
  struct weight_source source = {fetch, &s};
  if (!status) status = etk__model_build(e, out, &config, path, &source);
  if (!status) (*out)->llama2c = true;
  checkpoint_unref(file);
  return status;
}
