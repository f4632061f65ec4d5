/* Fingerprints of models and adapters, by which a file of keys and values is known to be this model's. */
#include "internal.h"

#include <etk/hash.h>
#include <etk/text.h>

#include "ml/model/internal.h"
#include "ml/tensor/internal.h"

enum { PICKED = 16, PICKED_BYTES = 64 }; /* of a large tensor: so many pieces, from its beginning to its end */

static void put_config(etk_text *t, const etk_model_config *c) {
  etk_text_printf(t, "%s %lld %lld %lld %lld %lld %lld %lld %lld\n", c->architecture, (long long)c->vocab_size, (long long)c->hidden_size, (long long)c->intermediate_size,
                  (long long)c->num_hidden_layers, (long long)c->num_attention_heads, (long long)c->num_key_value_heads, (long long)c->head_dim, (long long)c->rotary_dims);
  const double reals[] = {c->rms_norm_eps, c->rope_theta, c->query_pre_attn_scalar, c->attn_logit_softcapping, c->final_logit_softcapping, c->rope_factor,
                          c->rope_low_freq_factor, c->rope_high_freq_factor, c->rope_original_positions, c->rope_beta_fast, c->rope_beta_slow,
                          c->rope_attention_factor, c->rope_local_theta};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) etk_text_printf(t, "%a ", reals[i]);
  etk_text_printf(t, "%d %d %lld %d %lld %lld %lld %lld %d\n", (int)c->activation, (int)c->rope_scaling, (long long)c->sliding_window, c->sequential_residual,
                  (long long)c->num_experts, (long long)c->num_experts_per_tok, (long long)c->moe_intermediate_size, (long long)c->shared_expert_intermediate_size, c->norm_topk_prob);
  char hex[33];
  etk_xxh3(hex, c->layer_flags, sizeof c->layer_flags);
  etk_text_printf(t, "%s ", hex);
  etk_xxh3(hex, c->rope_short_factors, sizeof c->rope_short_factors);
  etk_text_printf(t, "%s ", hex);
  etk_xxh3(hex, c->rope_long_factors, sizeof c->rope_long_factors);
  etk_text_printf(t, "%s\n", hex);
}

/* Small ones whole. */
static void put_bytes(etk_text *t, const unsigned char *data, size_t bytes, bool whole) {
  unsigned char picked[PICKED * PICKED_BYTES];
  char hex[33];
  if (!data) bytes = 0;
  if (bytes > sizeof picked && !whole) {
    size_t step = (bytes - PICKED_BYTES) / (PICKED - 1);
    for (size_t i = 0; i < PICKED; i++) memcpy(picked + i * PICKED_BYTES, data + i * step, PICKED_BYTES);
    etk_xxh3(hex, picked, sizeof picked);
  } else etk_xxh3(hex, bytes ? data : picked, bytes);
  etk_text_printf(t, " %zu %s", bytes, hex);
}

static void put_tensor(etk_text *t, const char *name, const etk_tensor *tensor, bool whole) {
  char shape[SHAPE_TEXT];
  etk_text_printf(t, "%s %s %s", name, etk_dtype_name(tensor->dtype), etk_shape_text(shape, sizeof shape, &tensor->shape));
  if (!tensor->parts) put_bytes(t, tensor->data, tensor->bytes, whole); /* else its bytes are those of its parts */
  const etk_tensor *const parts[] = {tensor->parts ? tensor->parts->codes : NULL, tensor->parts ? tensor->parts->scales : NULL, tensor->parts ? tensor->parts->biases : NULL};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (parts[i]) put_bytes(t, parts[i]->data, parts[i]->bytes, whole);
  etk_text_putc(t, '\n');
}

static etk_status finish(etk_error *e, char out[33], etk_text *t) {
  bool failed = t->failed;
  if (!failed) etk_xxh3(out, t->data, t->size);
  etk_text_free(t);
  return failed ? etk_fail_memory(e) : ETK_OK;
}

etk_status etk__model_fingerprint(etk_error *e, char out[33], const etk_model *model) {
  etk_text t = ETK_TEXT_INIT;
  put_config(&t, &model->config);
  for (size_t i = 0; i < model->weight_count; i++) put_tensor(&t, model->weights[i].name, model->weights[i].tensor, false);
  return finish(e, out, &t);
}

etk_status etk__adapter_fingerprint(etk_error *e, char out[33], const etk_adapter *adapter) {
  if (!adapter) {
    memcpy(out, "none", 5);
    return ETK_OK;
  }
  etk_text t = ETK_TEXT_INIT;
  for (size_t i = 0; i < etk_adapter_count(adapter); i++) {
    const etk_adapter_module *m = etk_adapter_at(adapter, i);
    etk_text_printf(&t, "%a ", (double)m->scale);
    put_tensor(&t, m->name, m->a, true);
    put_tensor(&t, m->name, m->b, true);
  }
  return finish(e, out, &t);
}
