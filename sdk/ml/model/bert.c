/* BERT (Devlin et al. 2019), RoBERTa and DistilBERT: embeddings of tokens, positions and types, layers that normalise behind each sum, and what
 * sentence-transformers puts behind them: pooling, a dense layer, length 1. */
#include "encoder_internal.h"

#include <math.h>

#define L(field) offsetof(struct encoder_layer, field)
#define T(field) offsetof(struct tower, field)
#define LINEAR(path, base, field, rows, columns, more)                                                                             \
  {path ".weight", base(field) + offsetof(struct linear, weight), 2, {rows, columns}, ROW_LINEAR | (more)},                        \
  {path ".bias", base(field) + offsetof(struct linear, bias), 1, {rows}, more}
#define NORM(path, base, field)                                     \
  {path ".weight", base(field), 1, {SIZE_HIDDEN}, 0},               \
  {path ".bias", base(field##_bias), 1, {SIZE_HIDDEN}, 0}
#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

static const struct encoder_row bert_layer[] = {
    LINEAR("attention.self.query", L, q, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.self.key", L, k, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.self.value", L, v, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.output.dense", L, o, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    NORM("attention.output.LayerNorm", L, norm1),
    LINEAR("intermediate.dense", L, up, SIZE_INNER, SIZE_HIDDEN, 0),
    LINEAR("output.dense", L, down, SIZE_HIDDEN, SIZE_INNER, 0),
    NORM("output.LayerNorm", L, norm2),
};
static const struct encoder_row bert_rows[] = {
    {"embeddings.word_embeddings.weight", T(token_embedding), 2, {SIZE_VOCAB, SIZE_HIDDEN}, 0},
    {"embeddings.position_embeddings.weight", T(position_embedding), 2, {SIZE_POSITIONS, SIZE_HIDDEN}, 0},
    {"embeddings.token_type_embeddings.weight", T(type_embedding), 2, {SIZE_TYPES, SIZE_HIDDEN}, ROW_TYPES},
    NORM("embeddings.LayerNorm", T, norm_in),
    LINEAR("pooler.dense", T, pooler, SIZE_HIDDEN, SIZE_HIDDEN, ROW_OPTIONAL),
};
const struct tower_table etk__bert_table = {"encoder.layer.", bert_layer, bert_rows, COUNT(bert_layer), COUNT(bert_rows)};

static const struct encoder_row distilbert_layer[] = {
    LINEAR("attention.q_lin", L, q, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.k_lin", L, k, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.v_lin", L, v, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    LINEAR("attention.out_lin", L, o, SIZE_HIDDEN, SIZE_HIDDEN, 0),
    NORM("sa_layer_norm", L, norm1),
    LINEAR("ffn.lin1", L, up, SIZE_INNER, SIZE_HIDDEN, 0),
    LINEAR("ffn.lin2", L, down, SIZE_HIDDEN, SIZE_INNER, 0),
    NORM("output_layer_norm", L, norm2),
};
static const struct encoder_row distilbert_rows[] = {
    {"embeddings.word_embeddings.weight", T(token_embedding), 2, {SIZE_VOCAB, SIZE_HIDDEN}, 0},
    {"embeddings.position_embeddings.weight", T(position_embedding), 2, {SIZE_POSITIONS, SIZE_HIDDEN}, 0},
    NORM("embeddings.LayerNorm", T, norm_in),
};
const struct tower_table etk__distilbert_table = {"transformer.layer.", distilbert_layer, distilbert_rows, COUNT(distilbert_layer),
                                                  COUNT(distilbert_rows)};

static etk_tensor *norm(const struct pass *p, const etk_encoder *x, etk_tensor *t, etk_tensor *weight, etk_tensor *bias) {
  return etk_layer_norm(p->g, t, weight, bias, (float)x->config.text.layer_norm_eps);
}

/* (batch, tokens, hidden) */
static etk_tensor *embed(const struct pass *p, const etk_encoder *x, const etk_encoder_inputs *in) {
  etk_graph *g = p->g;
  etk_tensor *h = etk_add(g, etk_embedding(g, x->text.token_embedding, in->ids), etk_rows(g, x->text.position_embedding, in->positions));
  if (x->text.type_embedding) h = etk_add(g, h, etk_embedding(g, x->text.type_embedding, in->types));
  h = norm(p, x, h, x->text.norm_in, x->text.norm_in_bias);
  return p->f->training && p->f->dropout > 0 ? etk_dropout(g, h, p->f->dropout) : h;
}

static etk_tensor *run_layer(const struct pass *p, const etk_encoder *x, const etk_encoder_inputs *in, const struct encoder_layer *layer,
                             etk_tensor *h) {
  const etk_encoder_tower *c = &x->config.text;
  etk_graph *g = p->g;
  int64_t heads = c->num_attention_heads;
  etk_tensor *q = etk__encoder_heads(p, h, &layer->q, heads), *k = etk__encoder_heads(p, h, &layer->k, heads),
             *v = etk__encoder_heads(p, h, &layer->v, heads);
  etk_tensor *y = etk_full_attention(g, q, k, v, in->lengths, (float)(1 / sqrt((double)(c->hidden_size / heads))));
  y = etk_reshape(g, y, *etk_tensor_shape(h));
  h = norm(p, x, etk__join(p, h, y, &layer->o), layer->norm1, layer->norm1_bias);
  y = etk__encoder_activate(g, etk__linear(p, NULL, h, &layer->up), c->activation);
  return norm(p, x, etk__join(p, h, y, &layer->down), layer->norm2, layer->norm2_bias);
}

static etk_tensor *pool(const struct pass *p, const etk_encoder *x, const etk_encoder_inputs *in, etk_tensor *h) {
  if (x->config.pooling == ETK_POOLING_MEAN) return etk_mean_pool(p->g, h, in->lengths);
  if (x->config.pooling == ETK_POOLING_MAX) return etk_max_pool(p->g, h, in->lengths);
  return etk__encoder_pick(p->g, h, in->picked);
}

etk_encoder_states etk__bert_forward(etk_graph *g, const etk_encoder *x, const etk_encoder_inputs *in, const struct pass *p,
                                     const etk_encoder_options *o) {
  const etk_encoder_config *c = &x->config;
  etk_encoder_states s = {0};
  etk_tensor *h = embed(p, x, in);
  for (int64_t i = 0; i <= c->text.num_hidden_layers; i++) {
    if (i + o->early_layers == c->text.num_hidden_layers) s.early = h;
    if (i < c->text.num_hidden_layers) h = run_layer(p, x, in, &x->text.layers[i], h);
  }
  s.hidden = h;
  /* tanh is a softcap of 1 */
  if (x->text.pooler.weight) s.pooled = etk_softcap(g, etk__linear(p, NULL, etk__encoder_pick(g, h, in->picked), &x->text.pooler), 1);
  s.embedding = pool(p, x, in, h);
  if (x->dense.weight) s.embedding = etk__linear(p, NULL, s.embedding, &x->dense);
  if (x->dense.weight && c->dense_tanh) s.embedding = etk_softcap(g, s.embedding, 1);
  if (c->normalize && !o->raw) s.embedding = etk__encoder_unit(g, s.embedding);
  return s;
}
