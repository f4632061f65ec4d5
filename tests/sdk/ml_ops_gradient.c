/* Gradients of every operation in every floating input, against central finite differences.
 *
 * The loss is sum(y * w) with random fixed w, so that no output is left out. Differences are of fourth order with step h = 2^-5:
 * (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h. Its truncation is about h^4 = 1e-6 times a fifth derivative of order 1..30; rounding of the float
 * losses (|loss| below 10, each with an error of a few 1e-7) divided by h gives up to 1e-4. Hence the tolerance of 5e-4 (1 + |gradient|). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/ops.h>
#include <etk/rng.h>
#include <math.h>

enum { INPUTS = 4 };
static const double STEP = 0x1p-5, TOLERANCE = 5e-4;

struct row {
  const char *name;
  etk_tensor *(*build)(etk_graph *g, etk_tensor *const *x);
  etk_shape shapes[INPUTS];
  double scale; /* inputs are normal with this deviation; 0: 1 */
};

#define S(rank, ...) {rank, {__VA_ARGS__}}

/* ---- integer inputs that the rows share ---- */

static etk_tensor *integers(etk_graph *g, etk_shape shape, const int32_t *values) {
  etk_tensor *t = etk_graph_input(g, ETK_I32, shape, "integers");
  memcpy(etk_tensor_data(t), values, etk_tensor_bytes(t));
  return t;
}
static etk_tensor *targets(etk_graph *g) { return integers(g, etk_shape_of(1, 4), (const int32_t[]){2, -1, 0, 4}); }
static etk_tensor *positions(etk_graph *g) { return integers(g, etk_shape_of(2, 2, 3), (const int32_t[]){0, 1, 2, 5, 6, 9}); }
static etk_tensor *frequencies(etk_graph *g) {
  etk_tensor *t = etk_graph_input(g, ETK_F32, etk_shape_of(1, 3), "frequencies");
  memcpy(etk_tensor_data(t), (const float[]){1, 0.3f, 0.01f}, 12);
  return t;
}

static etk_tensor *longer(etk_graph *g) {
  etk_tensor *t = etk_graph_input(g, ETK_F32, etk_shape_of(1, 3), "long frequencies");
  memcpy(etk_tensor_data(t), (const float[]){0.5f, 0.1f, 0.002f}, 12);
  return t;
}

#define TIED(x) ((etk_tensor *const[]){etk_rows(g, (x)[0], integers(g, etk_shape_of(1, 4), (const int32_t[]){2, 1, 0, 2})), (x)[0]})
#define ROW(label, expression)                                              \
  static etk_tensor *build_##label(etk_graph *g, etk_tensor *const *x) {    \
    (void)g;                                                                \
    (void)x;                                                                \
    return expression;                                                      \
  }
ROW(add, etk_add(g, x[0], x[1]))
ROW(sub, etk_sub(g, x[0], x[1]))
ROW(mul, etk_mul(g, x[0], x[1]))
ROW(square, etk_mul(g, x[0], x[0]))
ROW(scale, etk_scale(g, x[0], -1.7f))
ROW(sigmoid, etk_sigmoid(g, x[0]))
ROW(silu, etk_silu(g, x[0]))
ROW(softcap, etk_softcap(g, x[0], 1.5f))
ROW(swiglu, etk_swiglu(g, x[0], x[1]))
ROW(gelu, etk_gelu(g, x[0], false))
ROW(gelu_tanh, etk_gelu(g, x[0], true))
ROW(reshape, etk_mul(g, etk_reshape(g, x[0], etk_shape_of(2, 3, 4)), x[1]))
ROW(transpose, etk_transpose(g, x[0]))
ROW(rows, etk_rows(g, x[0], integers(g, etk_shape_of(1, 4), (const int32_t[]){2, -1, 0, 2})))
ROW(embedding, etk_embedding(g, x[0], integers(g, etk_shape_of(2, 2, 2), (const int32_t[]){2, 1, 0, 2})))
ROW(tied_embedding, etk_matmul(g, etk_embedding(g, x[0], integers(g, etk_shape_of(1, 4), (const int32_t[]){2, 1, 0, 2})), x[0], false, true))
ROW(sum, etk_sum(g, x[0]))
ROW(mean, etk_mean(g, x[0]))
ROW(sum_leading, etk_sum_leading(g, x[0], etk_shape_of(1, 3)))
ROW(broadcast, etk_broadcast(g, x[0], etk_shape_of(3, 2, 4, 3)))
ROW(broadcast_one, etk_broadcast(g, x[0], etk_shape_of(2, 4, 3)))
ROW(softmax, etk_softmax(g, x[0]))
ROW(matmul_nn, etk_matmul(g, x[0], x[1], false, false))
ROW(matmul_nt, etk_matmul(g, x[0], x[1], false, true))
ROW(matmul_tn, etk_matmul(g, x[0], x[1], true, false))
ROW(matmul_tt, etk_matmul(g, x[0], x[1], true, true))
ROW(matmul_self, etk_matmul(g, x[0], x[0], true, false))
ROW(matmul_add, etk_matmul_add(g, x[2], x[0], x[1], 0.6f, false, true))
ROW(matmul_add_shared, etk_matmul_add(g, x[0], x[0], x[1], 0.6f, false, true))
ROW(matmul_add_chain, etk_matmul_add(g, etk_matmul_add(g, etk_matmul(g, x[0], x[1], false, true), x[0], x[1], 2, false, true), x[0], x[1], -0.7f, false, true))
ROW(low_rank, etk_low_rank(g, x[0], x[1], x[2], x[3], NULL, 1.5f))
ROW(low_rank_residual, etk_low_rank(g, x[0], x[1], x[2], x[3], x[0], -0.7f))
ROW(low_rank_chain, etk_low_rank(g, etk_low_rank(g, x[0], x[1], x[2], x[3], NULL, 0.5f), x[1], x[2], x[3], x[0], 0.5f))
ROW(rms_norm, etk_rms_norm(g, x[0], x[1], 1e-5f))
ROW(rms_norm_residual, etk_add(g, x[0], etk_rms_norm(g, x[0], x[1], 1e-5f)))
ROW(rope_scaled, etk_rope_scaled(g, x[0], positions(g), frequencies(g), 1.3f))
ROW(rope_of_rows, etk_rope(g, x[0], positions(g), etk_rope_choose(g, frequencies(g), longer(g), positions(g), 5)))
ROW(rope, etk_rope(g, x[0], positions(g), frequencies(g)))
ROW(layer_norm, etk_layer_norm(g, x[0], x[1], x[2], 1e-5f))
ROW(layer_norm_residual, etk_add(g, x[0], etk_layer_norm(g, x[0], x[1], x[2], 1e-5f)))
ROW(slice, etk_slice(g, x[0], 2, 3))
ROW(slices, etk_mul(g, etk_slice(g, x[0], 0, 3), etk_slice(g, x[0], 4, 3)))
ROW(scale_rows, etk_scale_rows(g, x[0], x[1]))
ROW(route, etk_route(g, x[0], 2, false))
ROW(route_normalised, etk_route(g, x[0], 2, true))
ROW(attention, etk_attention(g, x[0], x[1], x[2], 0.5f))
ROW(attention_window, etk_attention_with(g, x[0], x[1], x[2], &(etk_attention_options){.scale = 0.5f, .window = 3}))
ROW(attention_softcap, etk_attention_with(g, x[0], x[1], x[2], &(etk_attention_options){.scale = 1.5f, .window = 3, .softcap = 2}))
ROW(attention_shared, etk_attention(g, x[0], x[0], x[0], 0.5f))
static etk_tensor *seen(etk_graph *g) { return integers(g, etk_shape_of(1, 2), (const int32_t[]){4, 1}); }
static etk_tensor *partly(etk_graph *g) { return integers(g, etk_shape_of(1, 3), (const int32_t[]){2, 0, 4}); }
ROW(full_attention, etk_full_attention(g, x[0], x[1], x[2], NULL, 0.5f))
ROW(full_attention_lengths, etk_full_attention(g, x[0], x[1], x[2], seen(g), 0.5f))
ROW(full_attention_shared, etk_full_attention(g, x[0], x[0], x[0], NULL, 0.5f))
ROW(mean_pool, etk_mean_pool(g, x[0], partly(g)))
ROW(max_pool, etk_max_pool(g, etk_scale(g, x[0], 8), partly(g))) /* far apart: a step must not change which is the largest */
ROW(patches, etk_patches(g, x[0], 2))
ROW(cross_entropy, etk_cross_entropy(g, x[0], targets(g)))
static etk_tensor *head_loss(etk_graph *g, etk_tensor *const *x, float softcap) {
  etk_tensor *losses;
  return etk_head_loss(g, x[0], x[1], targets(g), softcap, &losses);
}
ROW(head_loss, head_loss(g, x, 0))
ROW(head_loss_capped, etk_scale(g, head_loss(g, x, 1.5f), -2))
ROW(head_loss_tied, etk_add(g, head_loss(g, TIED(x), 0), etk_sum(g, etk_mul(g, x[0], x[0]))))
static etk_tensor *texts(etk_graph *g) { return integers(g, etk_shape_of(2, 2, 5), (const int32_t[]){0, 0, 2, 2, 4, 0, 1, 1, 1, 1}); }
static etk_tensor *two_texts(etk_graph *g) {
  int32_t starts[67];
  for (int i = 0; i < 67; i++) starts[i] = i < 29 ? 0 : i < 65 ? 29 : 65; /* both borders are inside a block of queries */
  return integers(g, etk_shape_of(2, 1, 67), starts);
}
ROW(attention_within, etk_attention_within(g, x[0], x[1], x[2], texts(g), &(etk_attention_options){.scale = 0.5f}))
ROW(attention_within_all, etk_attention_within(g, x[0], x[1], x[2], texts(g), &(etk_attention_options){.scale = 1.5f, .window = 2, .softcap = 2}))
ROW(attention_within_blocks, etk_attention_within(g, x[0], x[1], x[2], two_texts(g), &(etk_attention_options){.scale = 0.5f}))
/* What one part computes from another's result, all of it twice. */
static etk_tensor *again(etk_graph *g, etk_tensor *const *x) {
  etk_tensor *y = x[0];
  for (int i = 0; i < 3; i++) {
    etk_graph_recompute(g, true);
    etk_tensor *h = etk_silu(g, etk_matmul(g, y, x[1], false, true));
    y = etk_add(g, y, etk_dropout(g, etk_mul(g, h, etk_sigmoid(g, y)), 0.3f));
  }
  etk_graph_recompute(g, false);
  return y;
}
ROW(again, again(g, x))
ROW(mean_counted, etk_mean_counted(g, x[0], targets(g)))
ROW(dropout, etk_dropout(g, x[0], 0.3f))

static const struct row rows[] = {
    {"add", build_add, {S(2, 3, 5), S(2, 3, 5)}, 0},
    {"add of a suffix", build_add, {S(3, 2, 3, 5), S(1, 5)}, 0},
    {"sub", build_sub, {S(2, 3, 5), S(2, 3, 5)}, 0},
    {"sub of a suffix", build_sub, {S(3, 2, 3, 5), S(2, 3, 5)}, 0},
    {"mul", build_mul, {S(2, 3, 5), S(2, 3, 5)}, 0},
    {"mul by a suffix", build_mul, {S(3, 2, 3, 5), S(1, 5)}, 0},
    {"mul with itself", build_square, {S(2, 3, 5)}, 0},
    {"scale", build_scale, {S(2, 3, 5)}, 0},
    {"sigmoid", build_sigmoid, {S(2, 3, 7)}, 2},
    {"silu", build_silu, {S(2, 3, 7)}, 2},
    {"swiglu", build_swiglu, {S(2, 3, 19), S(2, 3, 19)}, 0},
    {"softcap", build_softcap, {S(2, 3, 7)}, 2},
    {"gelu", build_gelu, {S(2, 3, 7)}, 2},
    {"gelu, tanh form", build_gelu_tanh, {S(2, 3, 7)}, 2},
    {"reshape", build_reshape, {S(3, 2, 2, 3), S(1, 4)}, 0},
    {"transpose", build_transpose, {S(2, 3, 5)}, 0},
    {"rows", build_rows, {S(2, 3, 5)}, 0},
    {"embedding", build_embedding, {S(2, 3, 5)}, 0},
    {"embedding tied to a product", build_tied_embedding, {S(2, 3, 5)}, 0.7},
    {"sum", build_sum, {S(2, 3, 5)}, 0},
    {"mean", build_mean, {S(2, 3, 5)}, 0},
    {"sum_leading", build_sum_leading, {S(3, 2, 4, 3)}, 0},
    {"broadcast", build_broadcast, {S(1, 3)}, 0},
    {"broadcast of one element", build_broadcast_one, {S(1, 1)}, 0},
    {"softmax", build_softmax, {S(2, 3, 5)}, 0},
    {"matmul", build_matmul_nn, {S(2, 3, 4), S(2, 4, 5)}, 0.7},
    {"matmul of leading dims", build_matmul_nn, {S(3, 2, 3, 4), S(2, 4, 5)}, 0.7},
    {"matmul of a vector", build_matmul_nn, {S(1, 4), S(2, 4, 5)}, 0.7},
    {"matmul, b transposed", build_matmul_nt, {S(3, 2, 3, 4), S(2, 5, 4)}, 0.7},
    {"matmul, a transposed", build_matmul_tn, {S(2, 4, 3), S(2, 4, 5)}, 0.7},
    {"matmul, both transposed", build_matmul_tt, {S(2, 4, 3), S(2, 5, 4)}, 0.7},
    {"matmul with itself", build_matmul_self, {S(2, 3, 4)}, 0.7},
    {"matmul_add", build_matmul_add, {S(3, 2, 3, 4), S(2, 5, 4), S(3, 2, 3, 5)}, 0.7},
    {"matmul_add to its own factor", build_matmul_add_shared, {S(2, 3, 4), S(2, 4, 4)}, 0.7},
    {"matmul_add three times", build_matmul_add_chain, {S(2, 3, 4), S(2, 5, 4)}, 0.5},
    {"low_rank", build_low_rank, {S(3, 2, 3, 4), S(2, 5, 4), S(2, 2, 4), S(2, 5, 2)}, 0.7},
    {"low_rank added to its own input", build_low_rank_residual, {S(2, 3, 4), S(2, 4, 4), S(2, 3, 4), S(2, 4, 3)}, 0.6},
    {"low_rank twice", build_low_rank_chain, {S(2, 3, 4), S(2, 4, 4), S(2, 2, 4), S(2, 4, 2)}, 0.5},
    {"rms_norm", build_rms_norm, {S(3, 2, 3, 7), S(1, 7)}, 0},
    {"rms_norm in a residual", build_rms_norm_residual, {S(3, 2, 3, 19), S(1, 19)}, 0},
    {"rope", build_rope, {S(4, 2, 3, 2, 6)}, 0.7},
    {"rope of a part of each head", build_rope, {S(4, 2, 3, 2, 9)}, 0.7},
    {"rope, scaled", build_rope_scaled, {S(4, 2, 3, 2, 9)}, 0.7},
    {"rope with frequencies for each row", build_rope_of_rows, {S(4, 2, 3, 2, 9)}, 0.7},
    {"layer_norm", build_layer_norm, {S(3, 2, 3, 7), S(1, 7), S(1, 7)}, 0},
    {"layer_norm in a residual", build_layer_norm_residual, {S(3, 2, 3, 19), S(1, 19), S(1, 19)}, 0},
    {"slice", build_slice, {S(3, 2, 2, 7)}, 0},
    {"slices of one tensor", build_slices, {S(2, 4, 7)}, 0},
    {"scale_rows", build_scale_rows, {S(3, 2, 2, 5), S(3, 2, 2, 1)}, 0},
    {"route", build_route, {S(2, 2, 4)}, 3},
    {"route, normalised", build_route_normalised, {S(2, 2, 4)}, 3},
    {"attention", build_attention, {S(4, 2, 5, 2, 3), S(4, 2, 5, 2, 3), S(4, 2, 5, 2, 3)}, 0.7},
    {"attention with grouped queries", build_attention, {S(4, 2, 3, 4, 2), S(4, 2, 3, 2, 2), S(4, 2, 3, 2, 2)}, 0.7},
    {"attention over several blocks", build_attention, {S(4, 1, 67, 2, 1), S(4, 1, 67, 1, 1), S(4, 1, 67, 1, 1)}, 0.7},
    {"attention in a window", build_attention_window, {S(4, 2, 5, 2, 3), S(4, 2, 5, 1, 3), S(4, 2, 5, 1, 3)}, 0.7},
    {"attention with a softcap in a window", build_attention_softcap, {S(4, 2, 5, 2, 3), S(4, 2, 5, 1, 3), S(4, 2, 5, 1, 3)}, 0.7},
    {"attention with a softcap over several blocks", build_attention_softcap, {S(4, 1, 67, 2, 1), S(4, 1, 67, 1, 1), S(4, 1, 67, 1, 1)}, 0.7},
    {"attention in a window over several blocks", build_attention_window, {S(4, 1, 67, 2, 1), S(4, 1, 67, 1, 1), S(4, 1, 67, 1, 1)}, 0.7},
    {"attention to itself", build_attention_shared, {S(4, 1, 4, 1, 3)}, 0.7},
    {"full_attention", build_full_attention, {S(4, 2, 5, 2, 3), S(4, 2, 5, 2, 3), S(4, 2, 5, 2, 3)}, 0.7},
    {"full_attention with lengths and grouped queries", build_full_attention_lengths, {S(4, 2, 3, 4, 2), S(4, 2, 5, 2, 2), S(4, 2, 5, 2, 2)}, 0.7},
    {"full_attention of several blocks to fewer keys", build_full_attention, {S(4, 1, 67, 2, 1), S(4, 1, 3, 1, 1), S(4, 1, 3, 1, 1)}, 0.7},
    {"full_attention to itself", build_full_attention_shared, {S(4, 1, 4, 1, 3)}, 0.7},
    {"mean_pool", build_mean_pool, {S(3, 3, 4, 5)}, 0},
    {"max_pool", build_max_pool, {S(3, 3, 4, 5)}, 0},
    {"patches", build_patches, {S(4, 2, 3, 4, 6)}, 0},
    {"cross_entropy", build_cross_entropy, {S(2, 4, 5)}, 0},
    {"head_loss", build_head_loss, {S(2, 4, 3), S(2, 5, 3)}, 0},
    {"head_loss with a softcap", build_head_loss_capped, {S(2, 4, 3), S(2, 5, 3)}, 0},
    {"head_loss of a tied head", build_head_loss_tied, {S(2, 5, 3)}, 0.7},
    {"attention within texts", build_attention_within, {S(4, 2, 5, 2, 3), S(4, 2, 5, 1, 3), S(4, 2, 5, 1, 3)}, 0.7},
    {"attention within texts in a window with a softcap", build_attention_within_all, {S(4, 2, 5, 2, 3), S(4, 2, 5, 1, 3), S(4, 2, 5, 1, 3)}, 0.7},
    {"attention within texts over several blocks", build_attention_within_blocks, {S(4, 1, 67, 2, 1), S(4, 1, 67, 1, 1), S(4, 1, 67, 1, 1)}, 0.7},
    {"parts that are computed again", build_again, {S(2, 2, 4), S(2, 4, 4)}, 0.7},
    {"mean_counted", build_mean_counted, {S(1, 4)}, 0},
    {"dropout", build_dropout, {S(2, 5, 7)}, 0},
};

struct problem {
  etk_graph *graph;
  etk_tensor *x[INPUTS], *loss;
  int count;
};

static void open_problem(struct problem *p, const struct row *row) {
  etk_rng rng = etk_rng_new(7, 1);
  etk_error e = ETK_ERROR_INIT;
  *p = (struct problem){.graph = etk_graph_new()};
  while (p->count < INPUTS && row->shapes[p->count].rank) {
    etk_tensor *t = NULL;
    assert_int_equal(etk_tensor_new(&e, &t, ETK_F32, row->shapes[p->count]), ETK_OK);
    etk_tensor_set_trainable(t, true);
    for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = (float)((row->scale > 0 ? row->scale : 1) * etk_rng_normal(&rng));
    p->x[p->count++] = t;
  }
  etk_tensor *y = row->build(p->graph, p->x);
  if (etk_graph_status(&e, p->graph)) fail_msg("%s: %s", row->name, e.message);
  etk_tensor *w = etk_graph_input(p->graph, ETK_F32, *etk_tensor_shape(y), "w");
  double total = (double)etk_tensor_elements(y), deviation = total > 20 ? sqrt(20 / total) : 1; /* keeps |loss| small */
  for (int64_t i = 0; i < etk_tensor_elements(w); i++) ((float *)etk_tensor_data(w))[i] = (float)(deviation * etk_rng_normal(&rng));
  p->loss = etk_sum(p->graph, etk_mul(p->graph, y, w));
  etk_graph_keep(p->graph, p->loss);
  etk_graph_set_random(p->graph, 3, 4);
}

static void close_problem(struct problem *p) {
  etk_graph_free(p->graph);
  for (int i = 0; i < p->count; i++) etk_tensor_unref(p->x[i]);
}

static double loss_of(struct problem *p) {
  etk_error e = ETK_ERROR_INIT;
  if (etk_graph_eval(&e, p->graph)) fail_msg("%s", e.message);
  return (double)*(float *)etk_tensor_data(p->loss);
}

static double loss_at(struct problem *p, float *element, double value) {
  float was = *element;
  *element = (float)value;
  double loss = loss_of(p);
  *element = was;
  return loss;
}

static void gradients_are_finite_differences(void **state) {
  const struct row *row = *state;
  struct problem p, q; /* q has no backward, so that its losses are cheap */
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *gradients[INPUTS];
  open_problem(&p, row);
  open_problem(&q, row);
  if (etk_graph_backward(&e, p.graph, p.loss, p.x, (size_t)p.count, gradients)) fail_msg("%s: %s", row->name, e.message);
  loss_of(&p);
  for (int i = 0; i < p.count; i++) {
    assert_non_null(gradients[i]);
    assert_true(etk_shape_equal(etk_tensor_shape(gradients[i]), etk_tensor_shape(p.x[i])));
    const float *g = etk_tensor_data(gradients[i]);
    float *x = etk_tensor_data(q.x[i]);
    for (int64_t j = 0; j < etk_tensor_elements(q.x[i]); j++) {
      double at = (double)x[j];
      double wanted = (loss_at(&q, x + j, at - 2 * STEP) - 8 * loss_at(&q, x + j, at - STEP) + 8 * loss_at(&q, x + j, at + STEP) -
                       loss_at(&q, x + j, at + 2 * STEP)) / (12 * STEP);
      if (!(fabs(wanted - (double)g[j]) <= TOLERANCE * (1 + fabs(wanted))))
        fail_msg("%s: input %d element %d: gradient %g, by differences %g", row->name, i, (int)j, (double)g[j], wanted);
    }
  }
  close_problem(&p);
  close_problem(&q);
}

/* Second derivatives: the gradient's own gradient against differences of the gradient. */
ROW(chain, etk_sigmoid(g, etk_matmul(g, etk_mul(g, x[0], x[0]), x[1], false, true)))
ROW(chain_silu, etk_silu(g, etk_matmul(g, etk_sigmoid(g, x[0]), x[1], false, false)))
ROW(mean_pool_squared, etk_sigmoid(g, etk_mean_pool(g, etk_mul(g, x[0], x[0]), partly(g))))
ROW(patches_squared, etk_sigmoid(g, etk_patches(g, etk_mul(g, x[0], x[0]), 2)))
static const struct row second_rows[] = {
    {"sigmoid(x*x W')", build_chain, {S(2, 3, 4), S(2, 5, 4)}, 0.7},
    {"silu(sigmoid(x) W)", build_chain_silu, {S(2, 3, 4), S(2, 4, 5)}, 0.7},
    {"embedding tied to a product", build_tied_embedding, {S(2, 3, 5)}, 0.7},
    {"mul of a suffix", build_mul, {S(3, 2, 3, 5), S(1, 5)}, 0},
    {"rope", build_rope, {S(4, 2, 3, 2, 6)}, 0.7},
    {"rope, scaled", build_rope_scaled, {S(4, 2, 3, 2, 6)}, 0.7},
    {"softcap", build_softcap, {S(2, 3, 7)}, 1},
    {"square of mean_pool", build_mean_pool_squared, {S(3, 3, 4, 2)}, 0.7},
    {"square of patches", build_patches_squared, {S(4, 1, 2, 4, 2)}, 0.7},
};

static void second_derivatives_are_differences_of_gradients(void **state) {
  const struct row *row = *state;
  struct problem p;
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *first[INPUTS], *second[INPUTS];
  open_problem(&p, row);
  assert_int_equal(etk_graph_backward(&e, p.graph, p.loss, p.x, (size_t)p.count, first), ETK_OK);
  /* |gradient of x0|^2 / 2, whose gradient is a Hessian-vector product */
  etk_tensor *half = etk_scale(p.graph, etk_sum(p.graph, etk_mul(p.graph, first[0], first[0])), 0.5f);
  etk_graph_keep(p.graph, half);
  if (etk_graph_backward(&e, p.graph, half, p.x, (size_t)p.count, second)) fail_msg("%s: %s", row->name, e.message);
  p.loss = half;
  for (int i = 0; i < p.count; i++) {
    float *x = etk_tensor_data(p.x[i]);
    for (int64_t j = 0; j < etk_tensor_elements(p.x[i]); j++) {
      double at = (double)x[j];
      double wanted = (loss_at(&p, x + j, at - 2 * STEP) - 8 * loss_at(&p, x + j, at - STEP) + 8 * loss_at(&p, x + j, at + STEP) -
                       loss_at(&p, x + j, at + 2 * STEP)) / (12 * STEP);
      loss_of(&p);
      double seen = second[i] ? (double)((const float *)etk_tensor_data(second[i]))[j] : 0;
      if (!(fabs(wanted - seen) <= TOLERANCE * (1 + fabs(wanted))))
        fail_msg("%s: input %d element %d: %g, by differences %g", row->name, i, (int)j, seen, wanted);
    }
  }
  close_problem(&p);
}

int main(void) {
  enum { FIRST = sizeof rows / sizeof *rows, SECOND = sizeof second_rows / sizeof *second_rows };
  struct CMUnitTest tests[FIRST + SECOND];
  for (int i = 0; i < FIRST; i++) tests[i] = (struct CMUnitTest){rows[i].name, gradients_are_finite_differences, NULL, NULL, (void *)(uintptr_t)&rows[i]};
  for (int i = 0; i < SECOND; i++)
    tests[FIRST + i] = (struct CMUnitTest){second_rows[i].name, second_derivatives_are_differences_of_gradients, NULL, NULL,
                                           (void *)(uintptr_t)&second_rows[i]};
  return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}
