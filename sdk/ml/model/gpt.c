/* The forward pass of GPT-2 (Radford et al. 2019) and GPT-NeoX (Black et al. 2022, Pythia too): LayerNorm with biases, one product for queries, keys and
 * values, a feed-forward of two layers. GPT-2 learns its positions; NeoX turns a part of each head, and attention and feed-forward may read the same
 * input ("parallel residual"). */
#include "internal.h"

#include <etk/ops.h>

static etk_tensor *norm(const struct pass *p, etk_tensor *x, etk_tensor *weight, etk_tensor *bias) {
  return etk_layer_norm(p->g, x, weight, bias, (float)p->m->config.rms_norm_eps);
}

/* Part 0, 1 or 2 of the product for queries, keys and values -> (batch, tokens, heads, head_dim). GPT-2: all queries, all keys, all values; NeoX: query,
 * key and value of one head lie together. */
static etk_tensor *part(const struct pass *p, etk_tensor *qkv, int index) {
  const etk_model_config *c = &p->m->config;
  int64_t batch = etk_tensor_dim(p->f->ids, 0), tokens = etk_tensor_dim(p->f->ids, 1), heads = c->num_attention_heads, d = c->head_dim;
  etk_shape shape = etk_shape_of(4, batch, tokens, heads, d);
  if (p->m->family->conv1d) return etk_reshape(p->g, etk_slice(p->g, qkv, index * heads * d, heads * d), shape);
  return etk_slice(p->g, etk_reshape(p->g, qkv, etk_shape_of(4, batch, tokens, heads, 3 * d)), index * d, d);
}

/* residual + attention(x) */
static etk_tensor *attention(const struct pass *p, int index, etk_tensor *x, etk_tensor *residual) {
  const struct layer *layer = &p->m->layers[index];
  etk_tensor *qkv = etk__linear(p, NULL, x, &layer->qkv), *q = part(p, qkv, 0), *k = part(p, qkv, 1), *v = part(p, qkv, 2);
  return etk__join(p, residual, etk__attend(p, index, etk__turn(p, index, q), etk__turn(p, index, k), v), &layer->o);
}

etk_tensor *etk__gpt_forward(etk_graph *g, const etk_model *m, const etk_forward *f) {
  const struct pass pass = etk__pass(g, m, f), *p = &pass;
  etk_tensor *x = etk_embedding(g, m->embedding, f->ids); /* (batch, tokens, hidden) */
  if (m->position_embedding) x = etk_add(g, x, etk_rows(g, m->position_embedding, f->positions)); /* -1, an unused token: zeros */
  if (f->training && f->dropout > 0) x = etk_dropout(g, x, f->dropout);
  bool parallel = !m->family->conv1d && !m->config.sequential_residual;
  for (int64_t i = 0; i < m->config.num_hidden_layers; i++) {
    const struct layer *layer = &m->layers[i];
    etk__begin_block(p);
    etk_tensor *with = attention(p, (int)i, norm(p, x, layer->input_norm, layer->input_norm_bias), x);
    etk_tensor *h = norm(p, parallel ? x : with, layer->post_norm, layer->post_norm_bias);
    h = etk_gelu(g, etk__linear(p, NULL, h, &layer->up), m->config.activation == ETK_ACTIVATION_GELU_TANH);
    x = etk__join(p, with, h, &layer->down);
  }
  etk__end_blocks(p);
  return norm(p, etk__select(p, x), m->norm, m->norm_bias);
}
