/* Values of every operation against plain double-precision C written from its definition, and the messages for wrong shapes.
 *
 * Tolerance: results are floats of size about 1 made from at most 200 terms; float sums of that length err by a few 1e-6 at worst. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/ops.h>
#include <etk/rng.h>
#include <math.h>

static const double TOLERANCE = 5e-6;

static etk_tensor *random_input(etk_graph *g, etk_shape shape, uint64_t seed) {
  etk_tensor *t = etk_graph_input(g, ETK_F32, shape, "random");
  etk_rng rng = etk_rng_new(seed, 9);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = (float)(0.7 * etk_rng_normal(&rng));
  return t;
}
static etk_tensor *integers(etk_graph *g, etk_shape shape, const int32_t *values) {
  etk_tensor *t = etk_graph_input(g, ETK_I32, shape, "integers");
  memcpy(etk_tensor_data(t), values, etk_tensor_bytes(t));
  return t;
}
static double at(const etk_tensor *t, int64_t i) { return (double)((const float *)etk_tensor_data(t))[i]; }

static void eval(etk_graph *g, etk_tensor *y) {
  etk_error e = ETK_ERROR_INIT;
  etk_graph_keep(g, y);
  if (etk_graph_eval(&e, g)) fail_msg("%s", e.message);
}
static void near(double seen, double wanted, const char *what, int64_t i) {
  if (!(fabs(seen - wanted) <= TOLERANCE * (1 + fabs(wanted)))) fail_msg("%s[%d]: %.9g, wanted %.9g", what, (int)i, seen, wanted);
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void elementwise_operations_follow_their_formulas(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { N = 3 * 37, M = 37 };
  etk_tensor *a = random_input(g, etk_shape_of(2, 3, M), 1), *b = random_input(g, etk_shape_of(2, 3, M), 2), *c = random_input(g, etk_shape_of(1, M), 3);
  etk_tensor *y[] = {etk_add(g, a, b), etk_sub(g, a, c), etk_mul(g, a, c), etk_scale(g, a, -2.5f), etk_sigmoid(g, a), etk_silu(g, a),
                     etk_swiglu(g, a, b), etk_mul(g, a, b), etk_add(g, a, c)};
  for (int k = 0; k < 9; k++) etk_graph_keep(g, y[k]);
  eval(g, y[0]);
  for (int64_t i = 0; i < N; i++) {
    double u = at(a, i), v = at(b, i), w = at(c, i % M);
    const double wanted[] = {u + v, u - w, u * w, -2.5 * u, sigmoid(u), u * sigmoid(u), u * sigmoid(u) * v, u * v, u + w};
    for (int k = 0; k < 9; k++) near(at(y[k], i), wanted[k], "elementwise", k);
  }
  etk_graph_free(g);
}

static void extreme_values_saturate_and_nan_comes_through(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(1, 5), "x"), *y = etk_sigmoid(g, x), *p = etk_softmax(g, x);
  memcpy(etk_tensor_data(x), (const float[]){-200, 200, 0, -88, NAN}, 20);
  etk_graph_keep(g, p);
  eval(g, y);
  assert_true(at(y, 0) >= 0 && at(y, 0) < 1e-37 && at(y, 1) == 1 && at(y, 2) == 0.5 && at(y, 3) >= 0 && at(y, 3) < 1e-37 && isnan(at(y, 4)));
  for (int i = 0; i < 5; i++) assert_true(isnan(at(p, i)));
  ((float *)etk_tensor_data(x))[4] = -INFINITY;
  eval(g, y);
  assert_true(at(p, 1) == 1 && at(p, 0) == 0 && at(p, 4) == 0);
  etk_graph_free(g);
}

static void shape_operations_move_elements(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { M = 37, N = 70 };
  etk_tensor *a = random_input(g, etk_shape_of(2, M, N), 1), *t = etk_transpose(g, a), *r = etk_reshape(g, a, etk_shape_of(3, 2, 5, 259));
  etk_tensor *picked = etk_rows(g, a, integers(g, etk_shape_of(1, 3), (const int32_t[]){36, -1, 0})),
      *e = etk_embedding(g, a, integers(g, etk_shape_of(2, 1, 2), (const int32_t[]){5, 5}));
  etk_tensor *s = etk_sum_leading(g, r, etk_shape_of(1, 259)), *b = etk_broadcast(g, s, etk_shape_of(2, 3, 259)), *total = etk_sum(g, a),
      *mean = etk_mean(g, a);
  etk_tensor *all[] = {t, r, picked, e, s, b, total, mean};
  for (int k = 0; k < 8; k++) etk_graph_keep(g, all[k]);
  eval(g, t);
  double sum = 0;
  for (int64_t i = 0; i < M; i++)
    for (int64_t j = 0; j < N; j++) {
      assert_true(at(t, j * M + i) == at(a, i * N + j) && at(r, i * N + j) == at(a, i * N + j));
      sum += at(a, i * N + j);
    }
  near(at(total, 0), sum, "sum", 0);
  near(at(mean, 0), sum / (M * N), "mean", 0);
  for (int64_t j = 0; j < N; j++) {
    assert_true(at(picked, j) == at(a, 36 * N + j) && at(picked, N + j) == 0 && at(picked, 2 * N + j) == at(a, j));
    assert_true(at(e, j) == at(a, 5 * N + j) && at(e, N + j) == at(a, 5 * N + j));
  }
  assert_true(etk_shape_equal(etk_tensor_shape(e), &etk_shape_of(3, 1, 2, N)));
  for (int64_t j = 0; j < 259; j++) {
    double column = 0;
    for (int64_t i = 0; i < 10; i++) column += at(a, i * 259 + j);
    near(at(s, j), column, "sum_leading", j);
    for (int64_t i = 0; i < 3; i++) assert_true(at(b, i * 259 + j) == at(s, j));
  }
  etk_graph_free(g);
}

static void softmax_and_norm_follow_their_formulas(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { ROWS = 5, D = 67 };
  etk_tensor *x = random_input(g, etk_shape_of(2, ROWS, D), 1), *w = random_input(g, etk_shape_of(1, D), 2), *p = etk_softmax(g, x),
      *n = etk_rms_norm(g, x, w, 1e-3f);
  etk_graph_keep(g, n);
  eval(g, p);
  for (int64_t i = 0; i < ROWS; i++) {
    double sum = 0, squares = 0;
    for (int64_t j = 0; j < D; j++) sum += exp(at(x, i * D + j)), squares += at(x, i * D + j) * at(x, i * D + j);
    for (int64_t j = 0; j < D; j++) {
      near(at(p, i * D + j), exp(at(x, i * D + j)) / sum, "softmax", j);
      near(at(n, i * D + j), at(w, j) * at(x, i * D + j) / sqrt(squares / D + 1e-3), "rms_norm", j);
    }
  }
  etk_graph_free(g);
}

static void products_agree_with_sums_of_products_for_all_transposes(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {{1, 1, 1}, {1, 37, 19}, {7, 5, 3}, {33, 65, 129}, {130, 70, 90}, {2, 300, 64}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int flags = 0; flags < 4; flags++) {
      int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
      bool ta = flags & 1, tb = flags & 2;
      etk_graph *g = etk_graph_new();
      etk_tensor *a = random_input(g, ta ? etk_shape_of(2, k, m) : etk_shape_of(2, m, k), 1),
          *b = random_input(g, tb ? etk_shape_of(2, n, k) : etk_shape_of(2, k, n), 2);
      etk_tensor *c = random_input(g, etk_shape_of(2, m, n), 3), *y = etk_matmul(g, a, b, ta, tb), *z = etk_matmul_add(g, c, a, b, -0.5f, ta, tb);
      etk_tensor *died = etk_matmul_add(g, etk_scale(g, c, 1), a, b, -0.5f, ta, tb);
      etk_graph_keep(g, z);
      etk_graph_keep(g, died);
      eval(g, y);
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
          double sum = 0;
          for (int64_t p = 0; p < k; p++) sum += at(a, ta ? p * m + i : i * k + p) * at(b, tb ? j * k + p : p * n + j);
          near(at(y, i * n + j), sum, "matmul", i * n + j);
          near(at(z, i * n + j), at(c, i * n + j) - 0.5 * sum, "matmul_add", i * n + j);
          assert_true(at(z, i * n + j) == at(died, i * n + j));
        }
      etk_graph_free(g);
    }
}

static void matmul_takes_leading_dims_as_rows(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *a = random_input(g, etk_shape_of(4, 2, 3, 2, 4), 1), *b = random_input(g, etk_shape_of(2, 5, 4), 2), *y = etk_matmul(g, a, b, false, true);
  etk_tensor *flat = etk_matmul(g, etk_reshape(g, a, etk_shape_of(2, 12, 4)), b, false, true);
  etk_graph_keep(g, flat);
  eval(g, y);
  assert_true(etk_shape_equal(etk_tensor_shape(y), &etk_shape_of(4, 2, 3, 2, 5)));
  assert_memory_equal(etk_tensor_data(y), etk_tensor_data(flat), etk_tensor_bytes(y));
  etk_graph_free(g);
}

static void rope_turns_halves_by_position_times_frequency(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { B = 2, T = 3, H = 2, D = 38 };
  const int32_t positions[B * T] = {0, 1, 2, 7, 1, 1000};
  etk_tensor *x = random_input(g, etk_shape_of(4, B, T, H, D), 1), *f = etk_graph_input(g, ETK_F32, etk_shape_of(1, D / 2), "f");
  for (int i = 0; i < D / 2; i++) ((float *)etk_tensor_data(f))[i] = (float)pow(10000, -2.0 * i / D);
  etk_tensor *y = etk_rope(g, x, integers(g, etk_shape_of(2, B, T), positions), f);
  eval(g, y);
  for (int64_t i = 0; i < B * T * H; i++)
    for (int64_t j = 0; j < D / 2; j++) {
      double angle = (double)((float)positions[i / H] * (float)at(f, j)); /* the angle itself is a float, as in Hugging Face's code */
      double a = at(x, i * D + j), b = at(x, i * D + D / 2 + j);
      near(at(y, i * D + j), a * cos(angle) - b * sin(angle), "rope", j);
      near(at(y, i * D + D / 2 + j), b * cos(angle) + a * sin(angle), "rope", j);
    }
  etk_graph_free(g);
}

/* Rows of one batch take the short or the long frequencies by their own last positions; what turns is scaled, the rest of a head is not. */
static void rope_chooses_frequencies_for_each_row(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { B = 3, T = 2, D = 5, ORIGINAL = 4 };
  const int32_t positions[B * T] = {0, 1, 3, 4, 0, 1}, last[B * 1] = {3, 4, 900};
  const float frequencies[2][2] = {{1, 0.25f}, {0.5f, 0.01f}};
  etk_tensor *x = random_input(g, etk_shape_of(4, B, T, 1, D), 1), *f[2];
  for (int i = 0; i < 2; i++) {
    f[i] = etk_graph_input(g, ETK_F32, etk_shape_of(1, 2), "f");
    memcpy(etk_tensor_data(f[i]), frequencies[i], sizeof frequencies[i]);
  }
  etk_tensor *y = etk_rope_scaled(g, x, integers(g, etk_shape_of(2, B, T), positions),
                                  etk_rope_choose(g, f[0], f[1], integers(g, etk_shape_of(2, B, 1), last), ORIGINAL), 1.5f);
  eval(g, y);
  for (int64_t i = 0; i < B * T; i++) {
    const float *chosen = frequencies[last[i / T] >= ORIGINAL];
    for (int64_t j = 0; j < 2; j++) {
      double angle = (double)((float)positions[i] * chosen[j]), a = at(x, i * D + j), b = at(x, i * D + 2 + j);
      near(at(y, i * D + j), 1.5 * (a * cos(angle) - b * sin(angle)), "rope_choose", i);
      near(at(y, i * D + 2 + j), 1.5 * (b * cos(angle) + a * sin(angle)), "rope_choose", i);
    }
    assert_true(at(y, i * D + 4) == at(x, i * D + 4));
  }
  etk_graph_free(g);
}

/* out[d] of query (b, t, h): softmax over the first `length` keys. keys(j) is the offset of key j of the right head. */
static void attend_capped(double *out, const etk_tensor *q, int64_t at_q, const etk_tensor *k, const etk_tensor *v, int64_t first, int64_t stride,
                          int64_t length, int64_t d, double scale, double cap) {
  double weights[256], sum = 0;
  for (int64_t j = 0; j < length; j++) {
    double score = 0;
    for (int64_t i = 0; i < d; i++) score += at(q, at_q + i) * at(k, first + j * stride + i);
    score *= scale;
    sum += weights[j] = exp(cap > 0 ? cap * tanh(score / cap) : score);
  }
  for (int64_t i = 0; i < d; i++) {
    out[i] = 0;
    for (int64_t j = 0; j < length; j++) out[i] += weights[j] / sum * at(v, first + j * stride + i);
  }
}

static void attend(double *out, const etk_tensor *q, int64_t at_q, const etk_tensor *k, const etk_tensor *v, int64_t first, int64_t stride,
                   int64_t length, int64_t d, double scale) {
  attend_capped(out, q, at_q, k, v, first, stride, length, d, scale, 0);
}

static void attention_is_causal_and_groups_queries(void **state) {
  (void)state;
  static const int64_t sizes[][5] = {{2, 5, 4, 2, 6}, {1, 1, 1, 1, 4}, {1, 64, 2, 1, 8}, {2, 131, 3, 3, 5}}; /* batch tokens heads kv_heads d */
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int64_t B = sizes[s][0], T = sizes[s][1], H = sizes[s][2], G = sizes[s][3], D = sizes[s][4];
    etk_graph *g = etk_graph_new();
    etk_tensor *q = random_input(g, etk_shape_of(4, B, T, H, D), 1), *k = random_input(g, etk_shape_of(4, B, T, G, D), 2),
        *v = random_input(g, etk_shape_of(4, B, T, G, D), 3);
    etk_tensor *y = etk_attention(g, q, k, v, 0.6f);
    eval(g, y);
    for (int64_t b = 0; b < B; b++)
      for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < H; h++) {
          double wanted[16];
          int64_t i = ((b * T + t) * H + h) * D;
          attend(wanted, q, i, k, v, b * T * G * D + h / (H / G) * D, G * D, t + 1, D, (double)0.6f);
          for (int64_t j = 0; j < D; j++) near(at(y, i + j), wanted[j], "attention", i + j);
        }
    etk_graph_free(g);
  }
}

static void a_window_limits_attention_to_the_newest_keys(void **state) {
  (void)state;
  static const int64_t windows[] = {1, 2, 7, 64, 65, 131, 500};
  enum { T = 131, H = 2, D = 5 };
  for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
    etk_graph *g = etk_graph_new();
    etk_tensor *q = random_input(g, etk_shape_of(4, 1, T, H, D), 1), *k = random_input(g, etk_shape_of(4, 1, T, 1, D), 2),
        *v = random_input(g, etk_shape_of(4, 1, T, 1, D), 3);
    etk_tensor *y = etk_attention_with(g, q, k, v, &(etk_attention_options){.scale = 0.6f, .window = windows[w]});
    eval(g, y);
    for (int64_t t = 0; t < T; t++)
      for (int64_t h = 0; h < H; h++) {
        double wanted[16];
        int64_t i = (t * H + h) * D, first = t + 1 > windows[w] ? t + 1 - windows[w] : 0;
        attend(wanted, q, i, k, v, first * D, D, t + 1 - first, D, (double)0.6f);
        for (int64_t j = 0; j < D; j++) near(at(y, i + j), wanted[j], "attention_window", i + j);
      }
    etk_graph_free(g);
  }
}

static void a_softcap_bounds_scores_and_logits(void **state) {
  (void)state;
  enum { T = 70, H = 2, D = 5, WINDOW = 66 };
  etk_graph *g = etk_graph_new();
  etk_tensor *q = random_input(g, etk_shape_of(4, 1, T, H, D), 1), *k = random_input(g, etk_shape_of(4, 1, T, 1, D), 2),
      *v = random_input(g, etk_shape_of(4, 1, T, 1, D), 3);
  etk_tensor *y = etk_attention_with(g, q, k, v, &(etk_attention_options){.scale = 2.5f, .window = WINDOW, .softcap = 3}), *capped = etk_softcap(g, v, 0.75f);
  etk_graph_keep(g, capped);
  eval(g, y);
  for (int64_t t = 0; t < T; t++)
    for (int64_t h = 0; h < H; h++) {
      double wanted[D];
      int64_t i = (t * H + h) * D, first = t + 1 > WINDOW ? t + 1 - WINDOW : 0;
      attend_capped(wanted, q, i, k, v, first * D, D, t + 1 - first, D, 2.5, 3);
      for (int64_t j = 0; j < D; j++) near(at(y, i + j), wanted[j], "attention with a softcap", i + j);
    }
  for (int64_t i = 0; i < T * D; i++) near(at(capped, i), 0.75 * tanh(at(v, i) / 0.75), "softcap", i);
  etk_graph_free(g);
}

static void gelu_follows_its_formulas(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { N = 77 };
  etk_tensor *x = random_input(g, etk_shape_of(1, N), 4), *y = etk_gelu(g, x, false), *z = etk_gelu(g, x, true);
  etk_graph_keep(g, z);
  eval(g, y);
  for (int64_t i = 0; i < N; i++) {
    double a = at(x, i);
    near(at(y, i), a / 2 * (1 + erf(a / sqrt(2))), "gelu", i);
    near(at(z, i), a / 2 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (a + 0.044715 * a * a * a))), "gelu tanh", i);
  }
  etk_graph_free(g);
}

static void layer_norm_follows_its_formula_and_slice_takes_columns(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { ROWS = 5, D = 37 };
  etk_tensor *x = random_input(g, etk_shape_of(2, ROWS, D), 1), *w = random_input(g, etk_shape_of(1, D), 2), *b = random_input(g, etk_shape_of(1, D), 3);
  etk_tensor *y = etk_layer_norm(g, x, w, b, 1e-2f), *part = etk_slice(g, x, 11, 20);
  etk_graph_keep(g, part);
  eval(g, y);
  for (int64_t i = 0; i < ROWS; i++) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < D; j++) mean += at(x, i * D + j) / D;
    for (int64_t j = 0; j < D; j++) variance += (at(x, i * D + j) - mean) * (at(x, i * D + j) - mean) / D;
    for (int64_t j = 0; j < D; j++) near(at(y, i * D + j), (at(x, i * D + j) - mean) / sqrt(variance + (double)1e-2f) * at(w, j) + at(b, j), "layer_norm", j);
    for (int64_t j = 0; j < 20; j++) assert_true(at(part, i * 20 + j) == at(x, i * D + 11 + j));
  }
  etk_graph_free(g);
}

static void route_keeps_the_largest_of_a_softmax(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { ROWS = 9, N = 7, K = 3 };
  etk_tensor *x = random_input(g, etk_shape_of(2, ROWS, N), 6), *kept = etk_route(g, x, K, false), *one = etk_route(g, x, K, true);
  etk_graph_keep(g, one);
  eval(g, kept);
  for (int64_t i = 0; i < ROWS; i++) {
    double total = 0, chosen = 0;
    for (int64_t j = 0; j < N; j++) total += exp(at(x, i * N + j));
    for (int pass = 0; pass < 2; pass++)
      for (int64_t j = 0; j < N; j++) {
        int larger = 0;
        for (int64_t k = 0; k < N; k++) larger += at(x, i * N + k) > at(x, i * N + j);
        double wanted = larger < K ? exp(at(x, i * N + j)) / total : 0;
        if (!pass) chosen += wanted;
        else near(at(kept, i * N + j), wanted, "route", j), near(at(one, i * N + j), wanted / chosen, "route, normalised", j);
      }
  }
  etk_graph_free(g);
}

static void losses_follow_their_formulas_and_ignore_negative_targets(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { N = 6, V = 133 };
  const int32_t targets[N] = {0, 132, -1, 5, -100, 7};
  etk_tensor *x = random_input(g, etk_shape_of(2, N, V), 1), *t = integers(g, etk_shape_of(1, N), targets), *losses = etk_cross_entropy(g, x, t),
      *mean = etk_mean_counted(g, losses, t);
  etk_tensor *none = etk_mean_counted(g, losses, integers(g, etk_shape_of(1, N), (const int32_t[N]){-1, -1, -1, -1, -1, -1}));
  etk_graph_keep(g, mean);
  etk_graph_keep(g, none);
  eval(g, losses);
  double total = 0;
  for (int64_t i = 0; i < N; i++) {
    double sum = 0;
    for (int64_t j = 0; j < V; j++) sum += exp(at(x, i * V + j));
    double wanted = targets[i] < 0 ? 0 : log(sum) - at(x, i * V + targets[i]);
    near(at(losses, i), wanted, "cross_entropy", i);
    total += wanted;
  }
  near(at(mean, 0), total / 4, "mean_counted", 0);
  assert_true(at(none, 0) == 0);
  etk_graph_free(g);
}

static void dropout_keeps_the_mean_and_follows_seed_and_step(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  enum { N = 100003 };
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(1, N), "x");
  for (int i = 0; i < N; i++) ((float *)etk_tensor_data(x))[i] = 1;
  etk_tensor *y = etk_dropout(g, x, 0.25f), *z = etk_dropout(g, x, 0.25f);
  assert_true(etk_dropout(g, x, 0) == x);
  etk_graph_keep(g, z);
  etk_graph_set_random(g, 11, 0);
  eval(g, y);
  int64_t zeros = 0, both = 0;
  uint32_t block[4];
  for (int64_t i = 0; i < N; i++) {
    assert_true(at(y, i) == 0 || at(y, i) == (double)(1 / 0.75f));
    etk_rng_block(block, 11, 0, (uint64_t)(i / 64 * 16 + i % 16)); /* the first random operation at step 0: stream 0 */
    assert_int_equal(at(y, i) == 0, block[i % 64 / 16] < 1u << 30);
    zeros += at(y, i) == 0;
    both += at(y, i) == 0 && at(z, i) == 0;
  }
  /* binomial: deviations of 137 and 77; five of them */
  assert_true(llabs(zeros - N / 4) < 700);
  assert_true(llabs(both - N / 16) < 400); /* two dropouts of one graph are independent */
  float first = (float)at(y, 0), changed = 0;
  float *before = malloc(N * sizeof *before);
  assert_non_null(before);
  memcpy(before, etk_tensor_data(y), N * sizeof *before);
  etk_graph_set_random(g, 11, 1);
  eval(g, y);
  for (int64_t i = 0; i < N; i++) changed += (float)at(y, i) != before[i];
  assert_true(changed > N / 4.0f);
  etk_graph_set_random(g, 11, 0);
  eval(g, y);
  assert_memory_equal(before, etk_tensor_data(y), N * sizeof *before);
  assert_true(first == (float)at(y, 0));
  free(before);
  etk_graph_free(g);
}

/* ---- wrong shapes ---- */

struct wrong {
  const char *message;
  etk_tensor *(*build)(etk_graph *g);
};
static etk_tensor *f(etk_graph *g, etk_shape shape) { return etk_graph_input(g, ETK_F32, shape, "f"); }
static etk_tensor *n(etk_graph *g, etk_shape shape) { return etk_graph_input(g, ETK_I32, shape, "n"); }
#define S(...) etk_shape_of(__VA_ARGS__)
#define WRONG(name, expression) \
  static etk_tensor *wrong_##name(etk_graph *g) { return expression; }
WRONG(add, etk_add(g, f(g, S(2, 2, 3)), f(g, S(1, 2))))
WRONG(swiglu, etk_swiglu(g, f(g, S(2, 2, 3)), f(g, S(1, 3))))
WRONG(reshape, etk_reshape(g, f(g, S(2, 2, 3)), S(1, 5)))
WRONG(transpose, etk_transpose(g, f(g, S(3, 2, 3, 4))))
WRONG(rows, etk_rows(g, f(g, S(1, 3)), n(g, S(1, 2))))
WRONG(rows_type, etk_rows(g, f(g, S(2, 3, 3)), f(g, S(1, 2))))
WRONG(sum_leading, etk_sum_leading(g, f(g, S(2, 2, 3)), S(1, 2)))
WRONG(broadcast, etk_broadcast(g, f(g, S(1, 2)), S(2, 2, 3)))
WRONG(matmul, etk_matmul(g, f(g, S(2, 2, 3)), f(g, S(2, 4, 5)), false, false))
WRONG(matmul_t, etk_matmul(g, f(g, S(2, 3, 2)), f(g, S(2, 5, 4)), true, true))
WRONG(matmul_rank, etk_matmul(g, f(g, S(3, 2, 2, 3)), f(g, S(2, 2, 4)), true, false))
WRONG(matmul_add, etk_matmul_add(g, f(g, S(2, 2, 2)), f(g, S(2, 2, 3)), f(g, S(2, 3, 4)), 1, false, false))
WRONG(rms_norm, etk_rms_norm(g, f(g, S(2, 2, 3)), f(g, S(1, 2)), 1e-5f))
WRONG(rope, etk_rope(g, f(g, S(4, 1, 2, 1, 6)), n(g, S(2, 1, 2)), f(g, S(1, 4))))
WRONG(rope_choose, etk_rope_choose(g, f(g, S(1, 2)), f(g, S(1, 3)), n(g, S(2, 1, 2)), 4))
WRONG(softcap, etk_softcap(g, f(g, S(1, 2)), 0))
WRONG(layer_norm, etk_layer_norm(g, f(g, S(2, 2, 3)), f(g, S(1, 3)), f(g, S(1, 2)), 1))
WRONG(slice, etk_slice(g, f(g, S(2, 2, 3)), 2, 2))
WRONG(attention, etk_attention(g, f(g, S(4, 1, 2, 3, 4)), f(g, S(4, 1, 2, 2, 4)), f(g, S(4, 1, 2, 2, 4)), 1))
WRONG(cross_entropy, etk_cross_entropy(g, f(g, S(2, 2, 3)), n(g, S(1, 3))))
WRONG(mean_counted, etk_mean_counted(g, f(g, S(2, 2, 3)), n(g, S(1, 2))))
WRONG(dropout, etk_dropout(g, f(g, S(1, 3)), 1))
WRONG(input, etk_graph_input(g, ETK_F32, S(2, 0, 4), "x"))
WRONG(huge, etk_graph_input(g, ETK_F32, S(3, 1 << 30, 1 << 30, 1 << 30), "x"))

static const struct wrong wrongs[] = {
    {"add: (2, 3) and (2): the second must have the first's shape or be its end", wrong_add},
    {"swiglu: gate (2, 3) and up (3) differ", wrong_swiglu},
    {"reshape: (2, 3) has 6 elements, (5) has 5", wrong_reshape},
    {"transpose: (2, 3, 4) has rank 3, wants 2", wrong_transpose},
    {"rows: (3) by (2): wants a table (rows, columns) and at most 5 index axes", wrong_rows},
    {"rows: input 1 (2) is F32, wants I32", wrong_rows_type},
    {"sum_leading: (2, 3) does not end in (2)", wrong_sum_leading},
    {"broadcast: (2) is not the end of (2, 3)", wrong_broadcast},
    {"matmul: (2, 3) x (4, 5): inner sizes 3 and 4 differ", wrong_matmul},
    {"matmul: (3, 2) transposed x (5, 4) transposed: inner sizes 3 and 4 differ", wrong_matmul_t},
    {"matmul: (2, 2, 3) transposed x (2, 4): wants (..., k) x (k, n); a transposed side must have rank 2", wrong_matmul_rank},
    {"matmul_add: (2, 3) x (3, 4) gives (2, 4), which cannot be added to (2, 2)", wrong_matmul_add},
    {"rms_norm: x (2, 3) and weight (2): the weight must have the size of x's last axis", wrong_rms_norm},
    {"rope: x (1, 2, 1, 6), positions (1, 2), inverse_frequency (4): wants (batch, tokens, heads, d), (batch, tokens), (at most d/2)", wrong_rope},
    {"rope_choose: short (2), long (3), last (1, 2): wants (n), (n), (batch, any)", wrong_rope_choose},
    {"softcap: cap 0, wanted a number above 0", wrong_softcap},
    {"layer_norm: x (2, 3), weight (3) and bias (2): weight and bias must have the size of x's last axis", wrong_layer_norm},
    {"slice: columns 2 to 4 of (2, 3) do not exist", wrong_slice},
    {"attention: q (1, 2, 3, 4), k (1, 2, 2, 4), v (1, 2, 2, 4): wants (batch, tokens, heads, d) and twice (batch, tokens, kv_heads, d), heads a multiple of kv_heads", wrong_attention},
    {"cross_entropy: (2, 3) and targets (3): wants one target a row", wrong_cross_entropy},
    {"mean_counted: values (2, 3), wants (n)", wrong_mean_counted},
    {"dropout: rate 1 is not in [0, 1)", wrong_dropout},
    {"input 'x': (0, 4) of rank 2 is not a possible shape (at least one element)", wrong_input},
    {"input 'x': (1073741824, 1073741824, 1073741824) of rank 3 is not a possible shape (at least one element)", wrong_huge},
};

static void wrong_shapes_are_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
    etk_graph *g = etk_graph_new();
    etk_error e = ETK_ERROR_INIT;
    etk_graph_keep(g, wrongs[i].build(g));
    assert_int_not_equal(etk_graph_eval(&e, g), ETK_OK);
    assert_string_equal(e.message, wrongs[i].message);
    etk_graph_free(g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(elementwise_operations_follow_their_formulas),
      cmocka_unit_test(extreme_values_saturate_and_nan_comes_through),
      cmocka_unit_test(shape_operations_move_elements),
      cmocka_unit_test(softmax_and_norm_follow_their_formulas),
      cmocka_unit_test(products_agree_with_sums_of_products_for_all_transposes),
      cmocka_unit_test(matmul_takes_leading_dims_as_rows),
      cmocka_unit_test(rope_turns_halves_by_position_times_frequency),
      cmocka_unit_test(rope_chooses_frequencies_for_each_row),
      cmocka_unit_test(attention_is_causal_and_groups_queries),
      cmocka_unit_test(a_window_limits_attention_to_the_newest_keys),
      cmocka_unit_test(a_softcap_bounds_scores_and_logits),
      cmocka_unit_test(gelu_follows_its_formulas),
      cmocka_unit_test(route_keeps_the_largest_of_a_softmax),
      cmocka_unit_test(layer_norm_follows_its_formula_and_slice_takes_columns),
      cmocka_unit_test(losses_follow_their_formulas_and_ignore_negative_targets),
      cmocka_unit_test(dropout_keeps_the_mean_and_follows_seed_and_step),
      cmocka_unit_test(wrong_shapes_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
