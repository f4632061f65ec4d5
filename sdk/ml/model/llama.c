/* The forward pass of the Llama family (Touvron et al. 2023) and its near relatives: pre-norm blocks of grouped-query attention with rotary positions and
 * a gated feed-forward. Mistral adds a window, Qwen 2 biases, Qwen 3 norms of queries and keys; Gemma counts its norms from one, scales its embeddings
 * and gates with GELU. Mixtral and the Qwen 2 mixtures choose a few experts for each token. */
#include "internal.h"

#include <etk/ops.h>
#include <math.h>

static etk_tensor *norm(const struct pass *p, etk_tensor *x, etk_tensor *weight) {
  if (p->m->family->norm_from_one) weight = etk_add(p->g, weight, p->m->ones);
  return etk_rms_norm(p->g, x, weight, (float)p->m->config.rms_norm_eps);
}

/* One of q and k: (batch, tokens, hidden) -> (batch, tokens, heads, head_dim), normalised where the family does that, turned. */
static etk_tensor *heads(const struct pass *p, etk_tensor *x, const struct linear *layer, etk_tensor *head_norm, etk_shape shape) {
  etk_tensor *y = etk_reshape(p->g, etk__linear(p, NULL, x, layer), shape);
  if (head_norm) y = etk_rms_norm(p->g, y, head_norm, (float)p->m->config.rms_norm_eps);
  return etk_rope(p->g, y, p->f->positions, p->m->inverse_frequency);
}

static etk_tensor *attention(const struct pass *p, int index, etk_tensor *x, etk_tensor *residual) {
  const etk_model_config *c = &p->m->config;
  const struct layer *layer = &p->m->layers[index];
  int64_t batch = etk_tensor_dim(p->f->ids, 0), tokens = etk_tensor_dim(p->f->ids, 1);
  etk_shape query = etk_shape_of(4, batch, tokens, c->num_attention_heads, c->head_dim), key = etk_shape_of(4, batch, tokens, c->num_key_value_heads, c->head_dim);
  etk_tensor *q = heads(p, x, &layer->q, layer->q_norm, query), *k = heads(p, x, &layer->k, layer->k_norm, key);
  etk_tensor *v = etk_reshape(p->g, etk__linear(p, NULL, x, &layer->v), key);
  return etk__join(p, residual, etk__attend(p, index, q, k, v), &layer->o);
}

static etk_tensor *gated(const struct pass *p, etk_tensor *gate, etk_tensor *up) {
  if (p->m->config.activation == ETK_ACTIVATION_SILU) return etk_swiglu(p->g, gate, up);
  return etk_mul(p->g, etk_gelu(p->g, gate, p->m->config.activation == ETK_ACTIVATION_GELU_TANH), up);
}

/* x + down(silu(gate h) * up h), scaled for each token where there is a weight (..., 1) */
static etk_tensor *feed(const struct pass *p, etk_tensor *x, etk_tensor *h, const struct linear *gate, const struct linear *up, const struct linear *down, etk_tensor *weight) {
  etk_tensor *inner = gated(p, etk__linear(p, NULL, h, gate), etk__linear(p, NULL, h, up));
  return etk__join(p, x, weight ? etk_scale_rows(p->g, inner, weight) : inner, down); /* without a bias: W (w h) = w (W h) */
}

/* Every expert computes every token, and the router's weight, zero for most, scales it: the result of the sparse form, at the cost of the dense one. */
static etk_tensor *mixture(const struct pass *p, const struct layer *layer, etk_tensor *x, etk_tensor *h) {
  const etk_model_config *c = &p->m->config;
  etk_tensor *weights = etk_route(p->g, etk__linear(p, NULL, h, &layer->router), c->num_experts_per_tok, c->norm_topk_prob);
  for (int64_t i = 0; i < c->num_experts; i++)
    x = feed(p, x, h, &layer->experts[i].gate, &layer->experts[i].up, &layer->experts[i].down, etk_slice(p->g, weights, i, 1));
  if (!p->m->family->shared_expert) return x;
  return feed(p, x, h, &layer->gate, &layer->up, &layer->down, etk_sigmoid(p->g, etk__linear(p, NULL, h, &layer->shared_gate)));
}

etk_tensor *etk__llama_forward(etk_graph *g, const etk_model *m, const etk_forward *f) {
  const struct pass pass = {g, m, f}, *p = &pass;
  etk_tensor *x = etk_embedding(g, m->embedding, f->ids); /* (batch, tokens, hidden) */
  if (m->family->scaled_embedding) x = etk_scale(g, x, (float)sqrt((double)m->config.hidden_size));
  if (f->training && f->dropout > 0) x = etk_dropout(g, x, f->dropout);
  for (int64_t i = 0; i < m->config.num_hidden_layers; i++) {
    const struct layer *layer = &m->layers[i];
    x = attention(p, (int)i, norm(p, x, layer->input_norm), x);
    etk_tensor *h = norm(p, x, layer->post_norm);
    x = layer->experts ? mixture(p, layer, x, h) : feed(p, x, h, &layer->gate, &layer->up, &layer->down, NULL);
  }
  return etk__linear(p, NULL, norm(p, etk__select(p, x), m->norm), &m->head);
}
