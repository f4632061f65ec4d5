/* The forward pass of the Llama family (Touvron et al. 2023): pre-norm blocks of grouped-query attention and SwiGLU. */
#include "internal.h"

#include <etk/ops.h>
#include <math.h>

struct pass {
  etk_graph *g;
  const etk_forward *f;
};

/* sum + W x + scale B A dropout(x), or the same without sum (NULL). x (..., in) -> (..., out) */
static etk_tensor *linear(const struct pass *p, etk_tensor *sum, etk_tensor *x, const struct linear *layer) {
  etk_graph *g = p->g;
  etk_tensor *y = sum ? etk_matmul_add(g, sum, x, layer->weight, 1.0f, false, true) : etk_matmul(g, x, layer->weight, false, true);
  if (layer->bias) y = etk_add(g, y, layer->bias);
  const etk_adapter_module *lora = p->f->adapter ? etk__adapter_for(p->f->adapter, layer) : NULL;
  if (!lora) return y;
  etk_tensor *input = p->f->training ? etk_dropout(g, x, etk__adapter_dropout(p->f->adapter)) : x;
  etk_tensor *inner = etk_matmul(g, input, lora->a, false, true); /* (..., rank) */
  return etk_matmul_add(g, y, inner, lora->b, lora->scale, false, true);
}

/* residual + dropout(W x …): one product that adds where nothing is dropped. */
static etk_tensor *join(const struct pass *p, etk_tensor *residual, etk_tensor *x, const struct linear *layer) {
  if (!p->f->training || p->f->dropout <= 0) return linear(p, residual, x, layer);
  return etk_add(p->g, residual, etk_dropout(p->g, linear(p, NULL, x, layer), p->f->dropout));
}

static etk_tensor *attention(const struct pass *p, const etk_model *m, const struct layer *layer, int index, etk_tensor *x, etk_tensor *residual) {
  const etk_model_config *c = &m->config;
  const etk_forward *f = p->f;
  etk_graph *g = p->g;
  int64_t batch = etk_tensor_dim(f->ids, 0), tokens = etk_tensor_dim(f->ids, 1);
  etk_shape query = etk_shape_of(4, batch, tokens, c->num_attention_heads, c->head_dim), key = etk_shape_of(4, batch, tokens, c->num_key_value_heads, c->head_dim);
  etk_tensor *q = etk_rope(g, etk_reshape(g, linear(p, NULL, x, &layer->q), query), f->positions, m->inverse_frequency);
  etk_tensor *k = etk_rope(g, etk_reshape(g, linear(p, NULL, x, &layer->k), key), f->positions, m->inverse_frequency);
  etk_tensor *v = etk_reshape(g, linear(p, NULL, x, &layer->v), key);
  float scale = (float)(1.0 / sqrt((double)c->head_dim));
  etk_tensor *a = f->cache ? etk_cached_attention(g, q, k, v, f->cache, index, f->block_table, f->positions, scale) : etk_attention(g, q, k, v, scale);
  a = etk_reshape(g, a, etk_shape_of(3, batch, tokens, c->num_attention_heads * c->head_dim));
  return join(p, residual, a, &layer->o);
}

etk_tensor *etk_model_forward(etk_graph *g, const etk_model *m, const etk_forward *f) {
  const struct pass pass = {g, f}, *p = &pass;
  float epsilon = (float)m->config.rms_norm_eps;
  int64_t rows = etk_tensor_elements(f->ids);
  etk_tensor *x = etk_embedding(g, m->embedding, f->ids); /* (batch, tokens, hidden) */
  if (f->training && f->dropout > 0) x = etk_dropout(g, x, f->dropout);
  for (int64_t i = 0; i < m->config.num_hidden_layers; i++) {
    const struct layer *layer = &m->layers[i];
    x = attention(p, m, layer, (int)i, etk_rms_norm(g, x, layer->input_norm, epsilon), x);
    etk_tensor *h = etk_rms_norm(g, x, layer->post_norm, epsilon);
    h = etk_swiglu(g, linear(p, NULL, h, &layer->gate), linear(p, NULL, h, &layer->up));
    x = join(p, x, h, &layer->down);
  }
  x = etk_reshape(g, x, etk_shape_of(2, rows, m->config.hidden_size));
  if (f->select) x = etk_rows(g, x, f->select);
  return linear(p, NULL, etk_rms_norm(g, x, m->norm, epsilon), &m->head);
}
