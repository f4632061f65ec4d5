/* What the forward functions of encoders share, and the inputs of text: filling, lengths, which token stands for its text. */
#include "encoder_internal.h"
#include "ml/tensor/internal.h"

#include <math.h>

etk_tensor *etk__encoder_activate(etk_graph *g, etk_tensor *x, etk_encoder_activation activation) {
  if (activation == ETK_ENCODER_QUICK_GELU) return etk_mul(g, x, etk_sigmoid(g, etk_scale(g, x, 1.702f)));
  return etk_gelu(g, x, activation == ETK_ENCODER_GELU_TANH);
}

etk_tensor *etk__encoder_heads(const struct pass *p, etk_tensor *x, const struct linear *layer, int64_t heads) {
  int64_t hidden = etk__linear_out(layer);
  etk_tensor *y = etk__linear(p, NULL, x, layer);
  return etk_reshape(p->g, y, etk_shape_of(4, etk_tensor_dim(x, 0), etk_tensor_dim(x, 1), heads, hidden / heads));
}

etk_tensor *etk__encoder_pick(etk_graph *g, etk_tensor *x, etk_tensor *index) {
  int64_t hidden = etk_tensor_dim(x, -1);
  return etk_rows(g, etk_reshape(g, x, etk_shape_of(2, etk_tensor_elements(x) / hidden, hidden)), index);
}

/* x / |x| = x / rms(x) / sqrt(d); the addend keeps a row of zeros from becoming no number and is below rounding otherwise. */
etk_tensor *etk__encoder_unit(etk_graph *g, etk_tensor *x) {
  int64_t d = etk_tensor_dim(x, -1);
  etk_tensor *weight = etk_graph_input(g, ETK_F32, etk_shape_of(1, d), "1 / sqrt(d)");
  float *data = etk_tensor_data(weight);
  for (int64_t i = 0; i < d && data; i++) data[i] = (float)(1 / sqrt((double)d));
  return etk_rms_norm(g, x, weight, 1e-30f);
}

/* ---- inputs ---- */

etk_encoder_inputs etk_encoder_inputs_new(etk_graph *g, const etk_encoder *x, int64_t batch, int64_t tokens) {
  const etk_encoder_config *c = &x->config;
  bool picks = c->pooling == ETK_POOLING_END || c->pooling == ETK_POOLING_CLS || x->text.pooler.weight;
  etk_shape each = etk_shape_of(2, batch, tokens), row = etk_shape_of(1, batch);
  return (etk_encoder_inputs){.ids = etk_graph_input(g, ETK_I32, each, "ids"),
                              .positions = etk_graph_input(g, ETK_I32, each, "positions"),
                              .types = x->text.type_embedding ? etk_graph_input(g, ETK_I32, each, "token types") : NULL,
                              .lengths = etk_graph_input(g, ETK_I32, row, "lengths"),
                              .picked = picks ? etk_graph_input(g, ETK_I32, row, "picked") : NULL};
}

static etk_status check_ids(etk_error *e, const etk_encoder *x, size_t text, const int32_t *ids, const int32_t *types, size_t length) {
  const etk_encoder_config *c = &x->config;
  for (size_t t = 0; t < length; t++) {
    if (ids[t] < 0 || ids[t] >= c->vocab_size)
      return etk_fail(e, ETK_E_INVALID, "text %zu: id %d at place %zu is not in 0 .. %lld, the vocabulary", text, (int)ids[t], t,
                      (long long)c->vocab_size - 1);
    if (types && (types[t] < 0 || types[t] >= (c->type_vocab_size ? c->type_vocab_size : 1)))
      return etk_fail(e, ETK_E_INVALID, "text %zu: token type %d at place %zu is not in 0 .. %lld", text, (int)types[t], t,
                      (long long)(c->type_vocab_size ? c->type_vocab_size : 1) - 1);
  }
  return ETK_OK;
}

/* Which token stands for its text. */
static etk_status find_token(etk_error *e, const etk_encoder *x, size_t text, const int32_t *ids, size_t length, size_t *out) {
  int32_t end = x->config.end_token_id;
  *out = 0;
  if (x->config.pooling != ETK_POOLING_END) return ETK_OK;
  for (size_t t = 0; t < length; t++) {
    if (end < 0 && ids[t] > ids[*out]) *out = t;
    if (end >= 0 && ids[t] == end) return *out = t, ETK_OK;
  }
  return end < 0 ? ETK_OK : etk_fail(e, ETK_E_INVALID, "text %zu has no end token (id %d), whose state would stand for it", text, (int)end);
}

/* RoBERTa counts the tokens that are not the padding token; where that stands in a text, it has the position of padding. */
static void fill_positions(const etk_encoder *x, const int32_t *ids, size_t length, int32_t *out) {
  int32_t next = (int32_t)x->config.first_position, pad = x->config.pad_token_id;
  for (size_t t = 0; t < length; t++) out[t] = x->family->offset && ids[t] == pad ? pad : next++;
}

static int32_t *integers(etk_tensor *t) { return t ? etk_tensor_data(t) : NULL; }

etk_status etk_encoder_fill(etk_error *e, const etk_encoder *x, const etk_encoder_inputs *in, const etk_encoder_batch *b) {
  int64_t rows = etk_tensor_dim(in->ids, 0), tokens = etk_tensor_dim(in->ids, 1);
  int32_t *ids = integers(in->ids), *positions = integers(in->positions), *types = integers(in->types), *lengths = integers(in->lengths),
          *picked = integers(in->picked);
  if (!ids || !positions || !lengths) return etk_fail(e, ETK_E_INVALID, "the inputs of the encoder belong to a graph that failed");
  if (b->count > (size_t)rows) return etk_fail(e, ETK_E_INVALID, "%zu texts, the graph has room for %lld", b->count, (long long)rows);
  const int32_t *from = b->ids, *types_from = b->types;
  memset(ids, 0, etk_tensor_bytes(in->ids));
  memset(positions, 0, etk_tensor_bytes(in->positions));
  if (types) memset(types, 0, etk_tensor_bytes(in->types));
  for (int64_t r = 0; r < rows; r++) {
    size_t length = (size_t)r < b->count ? b->lengths[r] : 0, token = 0;
    lengths[r] = 0;
    if (picked) picked[r] = -1;
    if ((size_t)r >= b->count) continue;
    if (length < 1 || length > (size_t)x->config.max_tokens || length > (size_t)tokens)
      return etk_fail(e, ETK_E_INVALID, "text %lld has %zu tokens, wanted 1 to %lld%s", (long long)r, length,
                      (long long)(x->config.max_tokens < tokens ? x->config.max_tokens : tokens),
                      length > (size_t)x->config.max_tokens ? " (the model's positions, or its max_seq_length); a longer text must be cut" : "");
    etk_status status = check_ids(e, x, (size_t)r, from, types_from, length);
    if (!status && picked) status = find_token(e, x, (size_t)r, from, length, &token);
    if (status) return status;
    memcpy(ids + r * tokens, from, length * sizeof *ids);
    if (types && types_from) memcpy(types + r * tokens, types_from, length * sizeof *types);
    fill_positions(x, from, length, positions + r * tokens);
    lengths[r] = (int32_t)length;
    if (picked) picked[r] = (int32_t)(r * tokens + (int64_t)token);
    from += length;
    if (types_from) types_from += length;
  }
  return ETK_OK;
}

/* ---- forward ---- */

static etk_forward forward_of(const etk_encoder_options *o) {
  return (etk_forward){.adapter = o->adapter, .training = o->training, .dropout = o->dropout};
}

static bool early_is_wrong(etk_graph *g, const etk_encoder_options *o, const etk_encoder_tower *t) {
  if (o->early_layers >= 0 && o->early_layers <= t->num_hidden_layers) return false;
  etk__poison(g, ETK_E_INVALID, "encoder: early_layers is %lld, wanted 0 to %lld, the number of layers", (long long)o->early_layers,
              (long long)t->num_hidden_layers);
  return true;
}

etk_encoder_states etk_encoder_text_forward(etk_graph *g, const etk_encoder *x, const etk_encoder_inputs *in, const etk_encoder_options *options) {
  const etk_encoder_options none = {0}, *o = options ? options : &none;
  const etk_forward f = forward_of(o);
  const struct pass p = {.g = g, .m = x->model, .f = &f};
  if (!x->family->text_forward) etk__poison(g, ETK_E_UNSUPPORTED, "encoder %s has no text part", x->model->path);
  if (!x->family->text_forward || early_is_wrong(g, o, &x->config.text)) return (etk_encoder_states){0};
  return x->family->text_forward(g, x, in, &p, o);
}

etk_encoder_states etk_encoder_image_forward(etk_graph *g, const etk_encoder *x, etk_tensor *pixels, const etk_encoder_options *options) {
  const etk_encoder_options none = {0}, *o = options ? options : &none;
  const etk_forward f = forward_of(o);
  const struct pass p = {.g = g, .m = x->model, .f = &f};
  if (!x->family->image) etk__poison(g, ETK_E_UNSUPPORTED, "encoder %s has no image part", x->model->path);
  if (!x->family->image || early_is_wrong(g, o, &x->config.image)) return (etk_encoder_states){0};
  return etk__clip_image_forward(g, x, pixels, &p, o);
}

/* Keeps what is wanted, runs, copies. A forward that is poisoned returns NULLs, which the graph explains. */
static etk_status run(etk_error *e, etk_graph *g, etk_tensor *wanted, float *out, size_t floats) {
  if (wanted) etk_graph_keep(g, wanted);
  etk_status status = etk_graph_status(e, g);
  if (!status) status = etk_graph_eval(e, g);
  if (!status) memcpy(out, etk_tensor_data(wanted), floats * sizeof *out);
  return status;
}

etk_status etk_encoder_text(etk_error *e, const etk_encoder *x, const etk_encoder_batch *b, float *out) {
  size_t tokens = 1;
  if (!b->count) return ETK_OK;
  if (!x->family->text) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a model of type %s has no text part", x->model->path, x->config.architecture);
  for (size_t i = 0; i < b->count; i++) tokens = b->lengths[i] > tokens ? b->lengths[i] : tokens;
  if (tokens > (size_t)x->config.max_tokens) tokens = (size_t)x->config.max_tokens; /* etk_encoder_fill says which text is too long */
  etk_graph *g = etk_graph_new();
  if (!g) return etk_fail_memory(e);
  etk_graph_set_exact(g, true);
  etk_encoder_inputs in = etk_encoder_inputs_new(g, x, (int64_t)b->count, (int64_t)tokens);
  etk_status status = etk_graph_status(e, g);
  if (!status) status = etk_encoder_fill(e, x, &in, b);
  if (!status) status = run(e, g, etk_encoder_text_forward(g, x, &in, NULL).embedding, out, b->count * (size_t)etk_encoder_dimension(x));
  etk_graph_free(g);
  return status;
}

etk_status etk_encoder_image(etk_error *e, const etk_encoder *x, const float *pixels, size_t count, float *out) {
  const etk_encoder_config *c = &x->config;
  if (!count) return ETK_OK;
  if (!x->family->image) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a model of type %s has no image part", x->model->path, c->architecture);
  etk_graph *g = etk_graph_new();
  if (!g) return etk_fail_memory(e);
  etk_graph_set_exact(g, true);
  etk_tensor *in = etk_graph_input(g, ETK_F32, etk_shape_of(4, (int64_t)count, c->num_channels, c->image_size, c->image_size), "pixels");
  etk_status status = etk_graph_status(e, g);
  if (!status) memcpy(etk_tensor_data(in), pixels, etk_tensor_bytes(in));
  if (!status) status = run(e, g, etk_encoder_image_forward(g, x, in, NULL).embedding, out, count * (size_t)etk_encoder_image_dimension(x));
  etk_graph_free(g);
  return status;
}
