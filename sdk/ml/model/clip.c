/* CLIP (Radford et al. 2021): a text and an image tower whose layers normalise before each part, and projections into one space. */
#include "encoder_internal.h"
#include "ml/tensor/internal.h"

#include <math.h>

#define L(field) offsetof(struct encoder_layer, field)
#define T(field) offsetof(struct tower, field)
#define LINEAR(path, field, rows, columns)                                                              \
  {path ".weight", L(field) + offsetof(struct linear, weight), 2, {rows, columns}, ROW_LINEAR},         \
  {path ".bias", L(field) + offsetof(struct linear, bias), 1, {rows}, 0}
#define NORM(path, base, field)                                     \
  {path ".weight", base(field), 1, {SIZE_HIDDEN}, 0},               \
  {path ".bias", base(field##_bias), 1, {SIZE_HIDDEN}, 0}
#define PROJECTION(name) {name, T(projection) + offsetof(struct linear, weight), 2, {SIZE_PROJECTION, SIZE_HIDDEN}, ROW_LINEAR | ROW_PROJECTION}
#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

static const struct encoder_row clip_layer[] = {
    LINEAR("self_attn.q_proj", q, SIZE_HIDDEN, SIZE_HIDDEN),
    LINEAR("self_attn.k_proj", k, SIZE_HIDDEN, SIZE_HIDDEN),
    LINEAR("self_attn.v_proj", v, SIZE_HIDDEN, SIZE_HIDDEN),
    LINEAR("self_attn.out_proj", o, SIZE_HIDDEN, SIZE_HIDDEN),
    NORM("layer_norm1", L, norm1),
    LINEAR("mlp.fc1", up, SIZE_INNER, SIZE_HIDDEN),
    LINEAR("mlp.fc2", down, SIZE_HIDDEN, SIZE_INNER),
    NORM("layer_norm2", L, norm2),
};
static const struct encoder_row text_rows[] = {
    {"text_model.embeddings.token_embedding.weight", T(token_embedding), 2, {SIZE_VOCAB, SIZE_HIDDEN}, 0},
    {"text_model.embeddings.position_embedding.weight", T(position_embedding), 2, {SIZE_POSITIONS, SIZE_HIDDEN}, 0},
    NORM("text_model.final_layer_norm", T, norm_out),
    PROJECTION("text_projection.weight"),
};
static const struct encoder_row image_rows[] = {
    {"vision_model.embeddings.class_embedding", T(class_embedding), 1, {SIZE_HIDDEN}, 0},
    {"vision_model.embeddings.patch_embedding.weight", T(patch_embedding), 4, {SIZE_HIDDEN, SIZE_CHANNELS, SIZE_PATCH, SIZE_PATCH}, ROW_PLAIN},
    {"vision_model.embeddings.position_embedding.weight", T(position_embedding), 2, {SIZE_POSITIONS, SIZE_HIDDEN}, ROW_PLAIN},
    NORM("vision_model.pre_layrnorm", T, norm_in), /* sic */
    NORM("vision_model.post_layernorm", T, norm_out),
    PROJECTION("visual_projection.weight"),
};
const struct tower_table etk__clip_text_table = {"text_model.encoder.layers.", clip_layer, text_rows, COUNT(clip_layer), COUNT(text_rows)};
const struct tower_table etk__clip_image_table = {"vision_model.encoder.layers.", clip_layer, image_rows, COUNT(clip_layer), COUNT(image_rows)};

struct stack { /* one tower's pass */
  const struct pass *p;
  const struct tower *tower;
  const etk_encoder_tower *c;
  bool causal;
};

static etk_tensor *norm(const struct stack *s, etk_tensor *x, etk_tensor *weight, etk_tensor *bias) {
  return etk_layer_norm(s->p->g, x, weight, bias, (float)s->c->layer_norm_eps);
}

static etk_tensor *run_layer(const struct stack *s, const struct encoder_layer *layer, etk_tensor *x) {
  etk_graph *g = s->p->g;
  int64_t heads = s->c->num_attention_heads;
  float scale = (float)(1 / sqrt((double)(s->c->hidden_size / heads)));
  etk_tensor *h = norm(s, x, layer->norm1, layer->norm1_bias);
  etk_tensor *q = etk__encoder_heads(s->p, h, &layer->q, heads), *k = etk__encoder_heads(s->p, h, &layer->k, heads),
             *v = etk__encoder_heads(s->p, h, &layer->v, heads);
  /* causal: padding stands behind all tokens, so that none sees it */
  etk_tensor *y = s->causal ? etk_attention(g, q, k, v, scale) : etk_full_attention(g, q, k, v, NULL, scale);
  x = etk__join(s->p, x, etk_reshape(g, y, *etk_tensor_shape(x)), &layer->o);
  h = etk__linear(s->p, NULL, norm(s, x, layer->norm2, layer->norm2_bias), &layer->up);
  return etk__join(s->p, x, etk__encoder_activate(g, h, s->c->activation), &layer->down);
}

/* What the layers give, and on the way the state that leaves out the last `early_layers`. */
static etk_tensor *run_layers(const struct stack *s, etk_tensor *x, int64_t early_layers, etk_tensor **early) {
  for (int64_t i = 0; i <= s->c->num_hidden_layers; i++) {
    if (i + early_layers == s->c->num_hidden_layers) *early = x;
    if (i < s->c->num_hidden_layers) x = run_layer(s, &s->tower->layers[i], x);
  }
  return x;
}

static etk_tensor *project(const struct stack *s, const etk_encoder *x, etk_tensor *pooled, const etk_encoder_options *o) {
  etk_tensor *y = s->tower->projection.weight ? etk__linear(s->p, NULL, pooled, &s->tower->projection) : pooled;
  return x->config.normalize && !o->raw ? etk__encoder_unit(s->p->g, y) : y;
}

etk_encoder_states etk__clip_text_forward(etk_graph *g, const etk_encoder *x, const etk_encoder_inputs *in, const struct pass *p,
                                          const etk_encoder_options *o) {
  const struct tower *t = &x->text;
  const struct stack s = {p, t, &x->config.text, true};
  etk_encoder_states states = {0};
  etk_tensor *h = etk_add(g, etk_embedding(g, t->token_embedding, in->ids), etk_rows(g, t->position_embedding, in->positions));
  if (p->f->training && p->f->dropout > 0) h = etk_dropout(g, h, p->f->dropout);
  h = run_layers(&s, h, o->early_layers, &states.early);
  states.hidden = norm(&s, h, t->norm_out, t->norm_out_bias);
  states.early_normed = norm(&s, states.early, t->norm_out, t->norm_out_bias);
  states.pooled = etk__encoder_pick(g, states.hidden, in->picked);
  states.embedding = project(&s, x, states.pooled, o);
  return states;
}

/* An integer input that never changes: value(i) of its elements. */
static etk_tensor *constants(etk_graph *g, int64_t count, int32_t (*value)(int64_t i, int64_t parameter), int64_t parameter) {
  etk_tensor *t = etk_graph_input(g, ETK_I32, etk_shape_of(1, count), "places");
  int32_t *data = etk_tensor_data(t);
  for (int64_t i = 0; i < count && data; i++) data[i] = value(i, parameter);
  return t;
}
static int32_t first_alone(int64_t i, int64_t unused) { return (void)unused, i ? -1 : 0; }
/* the patch that stands at place i */
static int32_t behind_class(int64_t i, int64_t tokens) { return i % tokens ? (int32_t)(i - i / tokens - 1) : -1; }
static int32_t class_place(int64_t i, int64_t tokens) { return (int32_t)(i * tokens); }

/* The class token, then the patches, each with its position: (batch, tokens, hidden). A missing row is zeros, so both parts are added up. */
static etk_tensor *embed_image(const struct stack *s, const etk_encoder *x, etk_tensor *pixels) {
  const etk_encoder_config *c = &x->config;
  etk_graph *g = s->p->g;
  int64_t batch = etk_tensor_dim(pixels, 0), tokens = c->image.positions, hidden = c->image.hidden_size,
          patch = c->num_channels * c->patch_size * c->patch_size;
  etk_tensor *squares = etk_reshape(g, etk_patches(g, pixels, c->patch_size), etk_shape_of(2, batch * (tokens - 1), patch));
  etk_tensor *h = etk_matmul(g, squares, etk_reshape(g, s->tower->patch_embedding, etk_shape_of(2, hidden, patch)), false, true);
  h = etk_reshape(g, etk_rows(g, h, constants(g, batch * tokens, behind_class, tokens)), etk_shape_of(3, batch, tokens, hidden));
  etk_tensor *class = etk_rows(g, etk_reshape(g, s->tower->class_embedding, etk_shape_of(2, 1, hidden)), constants(g, tokens, first_alone, 0));
  return etk_add(g, h, etk_add(g, s->tower->position_embedding, class));
}

etk_encoder_states etk__clip_image_forward(etk_graph *g, const etk_encoder *x, etk_tensor *pixels, const struct pass *p,
                                           const etk_encoder_options *o) {
  const etk_encoder_config *c = &x->config;
  const struct tower *t = &x->image;
  const struct stack s = {p, t, &c->image, false};
  etk_encoder_states states = {0};
  const etk_shape *shape = etk_tensor_shape(pixels), wanted = etk_shape_of(4, shape->dims[0], c->num_channels, c->image_size, c->image_size);
  char seen[96], text[96];
  if (!etk_shape_equal(shape, &wanted)) {
    if (!etk__poisoned(pixels))
      etk__poison(g, ETK_E_SHAPE, "encoder: pixels are %s, the model wants %s", etk_shape_text(seen, sizeof seen, shape),
                  etk_shape_text(text, sizeof text, &wanted));
    return states;
  }
  etk_tensor *h = norm(&s, embed_image(&s, x, pixels), t->norm_in, t->norm_in_bias);
  if (p->f->training && p->f->dropout > 0) h = etk_dropout(g, h, p->f->dropout);
  states.hidden = run_layers(&s, h, o->early_layers, &states.early);
  h = etk__encoder_pick(g, states.hidden, constants(g, wanted.dims[0], class_place, c->image.positions));
  states.pooled = norm(&s, h, t->norm_out, t->norm_out_bias);
  states.embedding = project(&s, x, states.pooled, o);
  return states;
}
