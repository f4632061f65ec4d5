/* The forward pass of the Llama family (Touvron et al. 2023) and its near relatives: pre-norm blocks of grouped-query attention with rotary positions and
 * a gated feed-forward. Mistral adds a window, Qwen 2 biases, Qwen 3 norms of queries and keys; Gemma counts its norms from one, scales its embeddings
 * and gates with GELU; Gemma 2 and 3 also norm what attention and feed-forward give, and cap scores and logits. Phi-3 has one product for queries, keys and
 * values and one for the gate and what it gates. Mixtral and the Qwen 2 mixtures choose a few experts for each token. */
#include "internal.h"

#include <etk/ops.h>
#include <math.h>

/* weight (hidden) or (head_dim) */
static etk_tensor *norm(const struct pass *p, etk_tensor *x, etk_tensor *weight) {
  const etk_model *m = p->m;
  if (m->family->norm_from_one) weight = etk_add(p->g, weight, etk_tensor_dim(weight, 0) == m->config.hidden_size ? m->ones : m->head_ones);
  return etk_rms_norm(p->g, x, weight, (float)m->config.rms_norm_eps);
}

/* residual + W y, which is normed before it joins where there is a weight for that */
static etk_tensor *join(const struct pass *p, etk_tensor *residual, etk_tensor *y, const struct linear *layer, etk_tensor *after) {
  if (!after) return etk__join(p, residual, y, layer);
  y = norm(p, etk__linear(p, NULL, y, layer), after);
  if (p->f->training && p->f->dropout > 0) y = etk_dropout(p->g, y, p->f->dropout);
  return etk_add(p->g, residual, y);
}

struct projected {
  etk_tensor *q, *k, *v; /* (batch, tokens, heads * head_dim) and twice (batch, tokens, kv_heads * head_dim) */
};
static struct projected project(const struct pass *p, const struct layer *layer, etk_tensor *x) {
  if (!layer->qkv.weight) return (struct projected){etk__linear(p, NULL, x, &layer->q), etk__linear(p, NULL, x, &layer->k), etk__linear(p, NULL, x, &layer->v)};
  const etk_model_config *c = &p->m->config;
  int64_t query = c->num_attention_heads * c->head_dim, key = c->num_key_value_heads * c->head_dim;
  etk_tensor *qkv = etk__linear(p, NULL, x, &layer->qkv);
  return (struct projected){etk_slice(p->g, qkv, 0, query), etk_slice(p->g, qkv, query, key), etk_slice(p->g, qkv, query + key, key)};
}

/* One of q and k as (batch, tokens, heads, head_dim), normalised where the family does that, turned. */
static etk_tensor *heads(const struct pass *p, int index, etk_tensor *x, etk_tensor *head_norm, etk_shape shape) {
  etk_tensor *y = etk_reshape(p->g, x, shape);
  return etk__turn(p, index, head_norm ? norm(p, y, head_norm) : y);
}

static etk_tensor *attention(const struct pass *p, int index, etk_tensor *x, etk_tensor *residual) {
  const etk_model_config *c = &p->m->config;
  const struct layer *layer = &p->m->layers[index];
  int64_t batch = etk_tensor_dim(p->f->ids, 0), tokens = etk_tensor_dim(p->f->ids, 1);
  etk_shape query = etk_shape_of(4, batch, tokens, c->num_attention_heads, c->head_dim),
      key = etk_shape_of(4, batch, tokens, c->num_key_value_heads, c->head_dim);
  struct projected flat = project(p, layer, x);
  etk_tensor *q = heads(p, index, flat.q, layer->q_norm, query), *k = heads(p, index, flat.k, layer->k_norm, key);
  return join(p, residual, etk__attend(p, index, q, k, etk_reshape(p->g, flat.v, key)), &layer->o, layer->attention_norm);
}

static etk_tensor *gated(const struct pass *p, etk_tensor *gate, etk_tensor *up) {
  if (p->m->config.activation == ETK_ACTIVATION_SILU) return etk_swiglu(p->g, gate, up);
  return etk_mul(p->g, etk_gelu(p->g, gate, p->m->config.activation == ETK_ACTIVATION_GELU_TANH), up);
}

/* x + down(silu(gate h) * up h) */
static etk_tensor *feed(const struct pass *p, const struct layer *layer, etk_tensor *x, etk_tensor *h) {
  etk_tensor *inner;
  if (layer->gate_up.weight) {
    etk_tensor *both = etk__linear(p, NULL, h, &layer->gate_up);
    int64_t n = p->m->config.intermediate_size;
    inner = gated(p, etk_slice(p->g, both, 0, n), etk_slice(p->g, both, n, n));
  } else inner = gated(p, etk__linear(p, NULL, h, &layer->gate), etk__linear(p, NULL, h, &layer->up));
  return join(p, x, inner, &layer->down, layer->feed_norm);
}

/* The same of an expert that serves all, each token's result times its weight (..., 1). */
static etk_tensor *expert(const struct pass *p, etk_tensor *x, etk_tensor *h, const struct linear *gate, const struct linear *up,
                          const struct linear *down, etk_tensor *weight) {
  etk_tensor *inner = gated(p, etk__linear(p, NULL, h, gate), etk__linear(p, NULL, h, up));
  return etk__join(p, x, etk_scale_rows(p->g, inner, weight), down); /* without a bias: W (w h) = w (W h) */
}

/* An expert computes the tokens that came to it: gathered, times their weights, and added to where they came from. x and h (tokens, hidden) */
static etk_tensor *serve(const struct pass *all, etk_tensor *x, etk_tensor *h, const struct expert *e, etk_tensor *weights, int64_t number) {
  struct pass some = *all, *p = &some;
  etk_tensor *index = etk_expert_rows(p->g, weights, number, &some.count);
  etk_tensor *own = etk_rows(p->g, h, index), *weight = etk_rows(p->g, etk_slice(p->g, weights, number, 1), index);
  etk_tensor *inner = gated(p, etk__linear(p, NULL, own, &e->gate), etk__linear(p, NULL, own, &e->up));
  etk_tensor *y = etk__linear(p, NULL, etk_scale_rows(p->g, inner, weight), &e->down);
  if (p->f->training && p->f->dropout > 0) y = etk_dropout(p->g, y, p->f->dropout);
  return etk_add_rows(p->g, x, y, index);
}

static etk_tensor *mixture(const struct pass *p, const struct layer *layer, etk_tensor *x, etk_tensor *h) {
  const etk_model_config *c = &p->m->config;
  int64_t batch = etk_tensor_dim(x, 0), tokens = etk_tensor_dim(x, 1);
  etk_tensor *weights = etk_route(p->g, etk__linear(p, NULL, h, &layer->router), c->num_experts_per_tok, c->norm_topk_prob);
  etk_shape flat = etk_shape_of(2, batch * tokens, c->hidden_size);
  etk_tensor *y = etk_reshape(p->g, x, flat), *rows = etk_reshape(p->g, h, flat), *columns = etk_reshape(p->g, weights, etk_shape_of(2, batch * tokens, c->num_experts));
  for (int64_t i = 0; i < c->num_experts; i++) y = serve(p, y, rows, &layer->experts[i], columns, i);
  x = etk_reshape(p->g, y, etk_shape_of(3, batch, tokens, c->hidden_size));
  if (!p->m->family->shared_expert) return x;
  return expert(p, x, h, &layer->gate, &layer->up, &layer->down, etk_sigmoid(p->g, etk__linear(p, NULL, h, &layer->shared_gate)));
}

etk_tensor *etk__llama_forward(etk_graph *g, const etk_model *m, const etk_forward *f) {
  const struct pass pass = etk__pass(g, m, f), *p = &pass;
  etk_tensor *x = etk_embedding(g, m->embedding, f->ids); /* (batch, tokens, hidden) */
  if (m->family->scaled_embedding) x = etk_scale(g, x, (float)sqrt((double)m->config.hidden_size));
  if (f->training && f->dropout > 0) x = etk_dropout(g, x, f->dropout);
  for (int64_t i = 0; i < m->config.num_hidden_layers; i++) {
    const struct layer *layer = &m->layers[i];
    etk__begin_block(p);
    x = attention(p, (int)i, norm(p, x, layer->input_norm), x);
    etk_tensor *h = norm(p, x, layer->post_norm);
    x = layer->experts ? mixture(p, layer, x, h) : feed(p, layer, x, h);
  }
  etk__end_blocks(p);
  return norm(p, etk__select(p, x), m->norm);
}
