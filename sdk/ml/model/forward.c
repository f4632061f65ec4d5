/* What the forward functions of all families share: linear layers with their adapters, residual joins, turning, attention with and without a cache. */
#include "internal.h"

#include "ml/tensor/internal.h"

#include <etk/ops.h>
#include <math.h>

struct pass etk__pass(etk_graph *g, const etk_model *m, const etk_forward *f) {
  struct pass p = {g, m, f, m->frequency, NULL};
  if (!m->long_frequency) return p;
  if (f->cache && !f->last)
    etk__poison(g, ETK_E_INVALID, "model: with longrope and a cache etk_forward.last is needed, which tells whether the sequence stays within the original %.0f positions",
                m->config.rope_original_positions);
  p.frequency = etk_rope_choose(g, m->frequency, m->long_frequency, f->last ? f->last : f->positions, (int64_t)m->config.rope_original_positions);
  return p;
}

/* sum + factor x W, or without sum (NULL), of the rows that count */
static etk_tensor *product(const struct pass *p, etk_tensor *sum, etk_tensor *x, etk_tensor *weight, float factor, bool transposed) {
  if (p->count) return etk_matmul_first(p->g, sum, x, weight, p->count, factor, transposed);
  return sum ? etk_matmul_add(p->g, sum, x, weight, factor, false, transposed) : etk_matmul(p->g, x, weight, false, transposed);
}

/* Layer and adapter in one where they read the same input: in training, without dropout. */
static bool is_one(const struct pass *p, const struct linear *layer, const etk_adapter_module *lora) {
  return lora && p->f->training && !p->count && !layer->transposed && etk__adapter_dropout(p->f->adapter) <= 0 && etk_tensor_dim(lora->a, 0) <= 256;
}

etk_tensor *etk__linear(const struct pass *p, etk_tensor *sum, etk_tensor *x, const struct linear *layer) {
  etk_graph *g = p->g;
  const etk_adapter_module *lora = p->f->adapter ? etk__adapter_for(p->f->adapter, layer) : NULL;
  bool one = is_one(p, layer, lora);
  etk_tensor *y = one ? etk_low_rank(g, x, layer->weight, lora->a, lora->b, sum, lora->scale) : product(p, sum, x, layer->weight, 1.0f, !layer->transposed);
  if (layer->bias) y = etk_add(g, y, layer->bias);
  if (!lora || one) return y;
  etk_tensor *input = p->f->training ? etk_dropout(g, x, etk__adapter_dropout(p->f->adapter)) : x;
  etk_tensor *inner = product(p, NULL, input, lora->a, 1.0f, true); /* (..., rank) */
  return product(p, y, inner, lora->b, lora->scale, true);
}

etk_tensor *etk__join(const struct pass *p, etk_tensor *residual, etk_tensor *x, const struct linear *layer) {
  if (!p->f->training || p->f->dropout <= 0) return etk__linear(p, residual, x, layer);
  return etk_add(p->g, residual, etk_dropout(p->g, etk__linear(p, NULL, x, layer), p->f->dropout));
}

etk_tensor *etk__turn(const struct pass *p, int layer, etk_tensor *x) {
  const etk_model_config *c = &p->m->config;
  if (!p->frequency || !etk__layer_turns(c, layer)) return x;
  if (etk__layer_is_local(c, layer)) return etk_rope(p->g, x, p->f->positions, p->m->local_frequency);
  bool scaled = c->rope_scaling == ETK_ROPE_YARN || c->rope_scaling == ETK_ROPE_LONGROPE;
  return etk_rope_scaled(p->g, x, p->f->positions, p->frequency, scaled ? (float)c->rope_attention_factor : 1);
}

etk_tensor *etk__attend(const struct pass *p, int layer, etk_tensor *q, etk_tensor *k, etk_tensor *v) {
  const etk_model_config *c = &p->m->config;
  const etk_forward *f = p->f;
  double scalar = c->query_pre_attn_scalar > 0 ? c->query_pre_attn_scalar : (double)c->head_dim;
  const etk_attention_options options = {(float)(1 / sqrt(scalar)), etk__layer_window(c, layer), (float)c->attn_logit_softcapping};
  etk_tensor *y = f->cache ? etk_cached_attention_with(p->g, q, k, v, f->cache, layer, f->block_table, f->positions, &options)
                  : etk_attention_within(p->g, q, k, v, f->starts, &options);
  return etk_reshape(p->g, y, etk_shape_of(3, etk_tensor_dim(f->ids, 0), etk_tensor_dim(f->ids, 1), c->num_attention_heads * c->head_dim));
}

etk_tensor *etk__select(const struct pass *p, etk_tensor *x) {
  x = etk_reshape(p->g, x, etk_shape_of(2, etk_tensor_elements(p->f->ids), p->m->config.hidden_size));
  return p->f->select ? etk_rows(p->g, x, p->f->select) : x;
}

void etk__begin_block(const struct pass *p) {
  if (p->f->training && p->f->checkpointing) etk_graph_recompute(p->g, true);
}
void etk__end_blocks(const struct pass *p) { etk_graph_recompute(p->g, false); }

etk_tensor *etk_model_forward(etk_graph *g, const etk_model *m, const etk_forward *f) {
  const struct pass p = {.g = g, .m = m, .f = f};
  etk_tensor *logits = etk__linear(&p, NULL, m->family->forward(g, m, f), &m->head);
  return m->config.final_logit_softcapping > 0 ? etk_softcap(g, logits, (float)m->config.final_logit_softcapping) : logits;
}

/* No family's head has a bias or is held transposed, and no adapter is for it. */
etk_tensor *etk_model_loss(etk_graph *g, const etk_model *m, const etk_forward *f, etk_tensor *targets, etk_tensor **losses) {
  return etk_head_loss(g, m->family->forward(g, m, f), m->head.weight, targets, (float)m->config.final_logit_softcapping, losses);
}
