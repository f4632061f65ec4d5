/* Products, rows and conversions of weights as they are stored, against plain double-precision sums over the decoded values.
 *
 * Tolerance of a product: a sum of k rounded products in single precision, in any order, errs by at most k * 2^-24 * Σ |x w| to first order; twice that is
 * allowed, for the factor, the addition and the higher orders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include <etk/quant.h>
#include <etk/rng.h>
#include <math.h>
#include "ml/product/product.h"
#include "ml/tensor/internal.h"

static void ok(etk_status status, const etk_error *e) {
  if (status) fail_msg("%s", e->message);
}
#define OK(call)                  \
  do {                            \
    etk_error e = ETK_ERROR_INIT; \
    ok(call, &e);                 \
  } while (0)

/* ---- a weight of each stored type, and its values ---- */

struct kind {
  etk_dtype dtype;
  int bits, group; /* of AFFINE */
  etk_dtype scales;
};
static const struct kind kinds[] = {
    {ETK_F16, 0, 0, ETK_F32}, {(etk_dtype)ETK_F8_E4M3, 0, 0, ETK_F32}, {ETK_BF16, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q4_0, 0, 0, ETK_F32},
    {(etk_dtype)ETK_Q4_1, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q5_0, 0, 0, ETK_F32},
    {(etk_dtype)ETK_Q5_1, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q8_0, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q2_K, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q3_K, 0, 0, ETK_F32},
    {(etk_dtype)ETK_Q4_K, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q5_K, 0, 0, ETK_F32}, {(etk_dtype)ETK_Q6_K, 0, 0, ETK_F32}, {(etk_dtype)ETK_IQ4_NL, 0, 0, ETK_F32},
    {ETK_NF4, 0, 0, ETK_F32}, {ETK_AFFINE, 2, 32, ETK_F32}, {ETK_AFFINE, 3, 64, ETK_F16}, {ETK_AFFINE, 4, 64, ETK_BF16}, {ETK_AFFINE, 5, 32, ETK_F16},
    {ETK_AFFINE, 6, 128, ETK_F32},
    {ETK_AFFINE, 8, 128, ETK_BF16}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int64_t unit_of(const struct kind *kind) {
  return kind->dtype == ETK_AFFINE ? kind->group : kind->dtype == ETK_NF4 ? ETK_NF4_BLOCK : etk_type_block_elements((etk_type)kind->dtype);
}

static etk_tensor *plain(etk_shape shape, uint64_t seed) {
  etk_tensor *t = NULL;
  OK(etk_tensor_new(&e, &t, ETK_F32, shape));
  etk_rng rng = etk_rng_new(seed, 4);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = (float)(0.7 * etk_rng_normal(&rng));
  return t;
}

static etk_tensor *encode_affine(const struct kind *kind, const etk_tensor *values) {
  etk_affine a = {kind->bits, kind->group, kind->scales};
  int64_t rows = etk_tensor_dim(values, 0), columns = etk_tensor_dim(values, 1);
  etk_tensor *words = NULL, *scales = NULL, *biases = NULL, *out = NULL;
  OK(etk_tensor_new(&e, &words, ETK_U32, etk_shape_of(2, rows, etk_affine_words(&a, columns))));
  OK(etk_tensor_new(&e, &scales, a.dtype, etk_shape_of(2, rows, columns / a.group)));
  OK(etk_tensor_new(&e, &biases, a.dtype, etk_shape_of(2, rows, columns / a.group)));
  OK(etk_affine_encode(&e, etk_tensor_data(words), etk_tensor_data(scales), etk_tensor_data(biases), &a, etk_tensor_data(values), rows, columns));
  OK(etk_tensor_new_affine(&e, &out, a.bits, a.group, words, scales, biases));
  assert_int_equal(etk_tensor_bytes(out), etk_tensor_bytes(words) + etk_tensor_bytes(scales) + etk_tensor_bytes(biases));
  etk_tensor_unref(words);
  etk_tensor_unref(scales);
  etk_tensor_unref(biases);
  return out;
}

static etk_tensor *encode_nf4(const etk_tensor *values) {
  int64_t count = etk_tensor_elements(values);
  etk_tensor *codes = NULL, *absmax = NULL, *out = NULL;
  OK(etk_tensor_new(&e, &codes, ETK_U8, etk_shape_of(1, count / 2)));
  OK(etk_tensor_new(&e, &absmax, ETK_F32, etk_shape_of(1, count / 64)));
  OK(etk_nf4_encode(&e, etk_tensor_data(codes), etk_tensor_data(absmax), etk_tensor_data(values), count));
  OK(etk_tensor_new_nf4(&e, &out, *etk_tensor_shape(values), codes, absmax));
  etk_tensor_unref(codes);
  etk_tensor_unref(absmax);
  return out;
}

/* Any bytes but NaN's: 8-bit floats are only read. */
static etk_tensor *bytes(etk_dtype dtype, int64_t rows, int64_t columns) {
  etk_tensor *out = NULL;
  OK(etk_tensor_new(&e, &out, dtype, etk_shape_of(2, rows, columns)));
  for (int64_t i = 0; i < rows * columns; i++) ((uint8_t *)etk_tensor_data(out))[i] = (uint8_t)(i * 37 % 64 | (i * 11 % 3 ? 0x80 : 0));
  return out;
}

static etk_tensor *weight(const struct kind *kind, int64_t rows, int64_t columns) {
  if (etk_type_is_float8((etk_type)kind->dtype)) return bytes(kind->dtype, rows, columns);
  etk_tensor *values = plain(etk_shape_of(2, rows, columns), 3), *out = NULL;
  if (kind->dtype == ETK_AFFINE) out = encode_affine(kind, values);
  else if (kind->dtype == ETK_NF4) out = encode_nf4(values);
  else OK(etk_tensor_cast(&e, &out, values, kind->dtype));
  etk_tensor_unref(values);
  assert_int_equal(etk_tensor_dtype(out), kind->dtype);
  return out;
}

/* By the decoders of etk/quant.h, which ml_quant checks against other implementations; not by the code under test. */
static float *decoded(const struct kind *kind, const etk_tensor *t) {
  int64_t rows = etk_tensor_dim(t, 0), columns = etk_tensor_dim(t, 1);
  float *out = etk_alloc((size_t)(rows * columns) * sizeof *out);
  if (kind->dtype != ETK_AFFINE && kind->dtype != ETK_NF4) {
    OK(etk_quant_decode(&e, out, (etk_type)kind->dtype, etk_tensor_data(t), rows, columns));
    return out;
  }
  /* Encoding is deterministic: made again, to have the scales apart. */
  etk_tensor *values = plain(etk_shape_of(2, rows, columns), 3);
  size_t count = (size_t)(rows * columns);
  float *scales = etk_alloc(count * 4), *biases = etk_alloc(count * 4);
  uint32_t *codes = etk_alloc(count * 4);
  if (kind->dtype == ETK_NF4) {
    OK(etk_nf4_encode(&e, (uint8_t *)codes, scales, etk_tensor_data(values), rows * columns));
    etk_nf4_decode(out, (uint8_t *)codes, scales, rows * columns);
  } else {
    etk_affine a = {kind->bits, kind->group, kind->scales};
    OK(etk_affine_encode(&e, codes, scales, biases, &a, etk_tensor_data(values), rows, columns));
    OK(etk_affine_decode(&e, out, &a, codes, scales, biases, rows, columns));
  }
  etk_tensor_unref(values);
  etk_free(scales);
  etk_free(biases);
  etk_free(codes);
  return out;
}

static const char *label(const struct kind *kind) {
  static char text[64];
  if (kind->dtype == ETK_AFFINE) snprintf(text, sizeof text, "AFFINE of %d bits by %d, %s", kind->bits, kind->group, etk_dtype_name(kind->scales));
  else snprintf(text, sizeof text, "%s", etk_dtype_name(kind->dtype));
  return text;
}

/* ---- products ---- */

struct problem {
  int64_t m, k, n;
  float factor;
  bool transposed, add;
};

/* c + factor x op(w), by double sums; fails where an element is off by more than the tolerance. */
static void check(const struct kind *kind, const struct problem *p, const float *seen, const float *c, const float *x, const float *w) {
  for (int64_t i = 0; i < p->m; i++)
    for (int64_t j = 0; j < p->n; j++) {
      double sum = 0, size = 0;
      for (int64_t q = 0; q < p->k; q++) {
        double term = (double)x[i * p->k + q] * (double)(p->transposed ? w[j * p->k + q] : w[q * p->n + j]);
        sum += term;
        size += fabs(term);
      }
      double base = p->add ? (double)c[i * p->n + j] : 0, wanted = base + (double)p->factor * sum;
      double allowed = 2 * (double)(p->k + 2) * 0x1p-24 * (fabs((double)p->factor) * size + fabs(base));
      if (!(fabs((double)seen[i * p->n + j] - wanted) <= allowed))
        fail_msg("%s, %dx%dx%d%s: element %d, %d is %.9g, wanted %.9g to %.2g", label(kind), (int)p->m, (int)p->k, (int)p->n,
                 p->transposed ? " transposed" : "", (int)i, (int)j, (double)seen[i * p->n + j], wanted, allowed);
    }
}

static void run(const struct kind *kind, const struct problem *p) {
  etk_tensor *w = weight(kind, p->transposed ? p->n : p->k, p->transposed ? p->k : p->n), *x = plain(etk_shape_of(2, p->m, p->k), 5),
      *c = plain(etk_shape_of(2, p->m, p->n), 6);
  etk_graph *g = etk_graph_new();
  etk_tensor *y = p->add ? etk_matmul_add(g, c, x, w, p->factor, false, p->transposed) : etk_matmul(g, x, w, false, p->transposed);
  etk_graph_keep(g, y);
  OK(etk_graph_eval(&e, g));
  float *values = decoded(kind, w);
  check(kind, p, etk_tensor_data(y), etk_tensor_data(c), etk_tensor_data(x), values);
  etk_free(values);
  etk_graph_free(g);
  etk_tensor_unref(w);
  etk_tensor_unref(x);
  etk_tensor_unref(c);
}

static void products_with_every_type_are_those_of_its_decoded_values(void **state) {
  (void)state;
  static const int64_t rows[] = {1, 3, 5, 21};
  for (int i = 0; i < KINDS; i++)
    for (int m = 0; m < 4; m++) {
      int64_t unit = unit_of(&kinds[i]), packed = unit == 1 ? 67 : 3 * unit, other = 1 + 37 * (1 + m % 2);
      run(&kinds[i], &(struct problem){rows[m], packed, other, 1, true, false});
      run(&kinds[i], &(struct problem){rows[m], other, packed, 1, false, false});
    }
}

/* More rows than an item of work has (256), more of the weight's than a tile has (128), strips that end early (129 columns). */
static void products_that_are_cut_into_several_tiles_fit_together(void **state) {
  (void)state;
  run(&kinds[0], &(struct problem){261, 65, 133, 1, true, false});
  run(&kinds[0], &(struct problem){261, 133, 129, 1, false, false});
  run(&kinds[7], &(struct problem){259, 96, 263, -0.5f, true, true});
  run(&kinds[10], &(struct problem){6, 263, 512, -0.5f, false, true});
  run(&kinds[7], &(struct problem){2, 8224, 37, 1, true, false});
  run(&kinds[2], &(struct problem){4, 300, 200, 1, false, false});
}

static void a_sum_is_added_with_its_factor(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i += 3)
    for (int t = 0; t < 2; t++) {
      int64_t packed = 256, other = 19;
      run(&kinds[i], &(struct problem){2, t ? packed : other, t ? other : packed, 0.25f, t, true});
      run(&kinds[i], &(struct problem){9, t ? packed : other, t ? other : packed, -3, t, true});
    }
}

static void no_bit_depends_on_the_number_of_threads(void **state) {
  (void)state;
  static const int64_t rows[] = {1, 300};
  for (int transposed = 0; transposed < 2; transposed++)
    for (int m = 0; m < 2; m++) {
      etk_tensor *w = weight(&kinds[7], 520, 640), *x = plain(etk_shape_of(2, rows[m], transposed ? 640 : 520), 8), *y[2];
      etk_graph *g[2];
      for (int t = 0; t < 2; t++) {
        etk_parallel_set_threads(t ? 3 : 1);
        g[t] = etk_graph_new();
        y[t] = etk_matmul(g[t], x, w, false, transposed);
        etk_graph_keep(g[t], y[t]);
        OK(etk_graph_eval(&e, g[t]));
      }
      assert_memory_equal(etk_tensor_data(y[0]), etk_tensor_data(y[1]), etk_tensor_bytes(y[0]));
      for (int t = 0; t < 2; t++) etk_graph_free(g[t]);
      etk_tensor_unref(w);
      etk_tensor_unref(x);
    }
  etk_parallel_set_threads(0);
}

/* loss = Σ y u with y = x op(w): dx = u op(w)'. */
static void gradient(const struct kind *kind, bool transposed) {
  int64_t unit = unit_of(kind), n = transposed ? 23 : 2 * unit, k = transposed ? 2 * unit : 23, m = 7;
  etk_tensor *w = weight(kind, transposed ? n : k, transposed ? k : n), *x = plain(etk_shape_of(2, m, k), 5), *u = plain(etk_shape_of(2, m, n), 6), *dx = NULL;
  etk_tensor_set_trainable(x, true);
  etk_graph *g = etk_graph_new();
  etk_tensor *loss = etk_sum(g, etk_mul(g, etk_matmul(g, x, w, false, transposed), u));
  OK(etk_graph_backward(&e, g, loss, &x, 1, &dx));
  OK(etk_graph_eval(&e, g));
  float *values = decoded(kind, w);
  struct problem p = {m, n, k, 1, !transposed, false};
  check(kind, &p, etk_tensor_data(dx), NULL, etk_tensor_data(u), values);
  etk_free(values);
  etk_graph_free(g);
  etk_tensor_unref(w);
  etk_tensor_unref(x);
  etk_tensor_unref(u);
}

static void gradients_reach_what_is_multiplied_with_a_stored_weight(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    gradient(&kinds[i], true);
    gradient(&kinds[i], false);
  }
}

static void a_stored_weight_gets_no_gradient(void **state) {
  (void)state;
  etk_tensor *w = weight(&kinds[7], 8, 32), *x = plain(etk_shape_of(2, 2, 32), 5), *dw = NULL;
  etk_tensor_set_trainable(w, true);
  etk_graph *g = etk_graph_new();
  etk_tensor *loss = etk_sum(g, etk_matmul(g, x, w, false, true));
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_graph_backward(&e, g, loss, &w, 1, &dw), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "(8, 32), is Q8_0; only F32 is trained"));
  etk_graph_free(g);
  etk_tensor_unref(w);
  etk_tensor_unref(x);
}

/* ---- rows ---- */

static void a_stored_table_gives_the_rows_asked_for(void **state) {
  (void)state;
  static const int32_t ids[] = {6, 0, 3, 3}, places[] = {-1, 6};
  for (int i = 0; i < KINDS; i++) {
    int64_t unit = unit_of(&kinds[i]), d = unit == 1 ? 13 : 2 * unit;
    etk_tensor *table = weight(&kinds[i], 7, d);
    float *values = decoded(&kinds[i], table), zeros[512] = {0};
    etk_graph *g = etk_graph_new();
    etk_tensor *index = etk_graph_input(g, ETK_I32, etk_shape_of(2, 2, 2), "ids"), *place = etk_graph_input(g, ETK_I32, etk_shape_of(1, 2), "places");
    memcpy(etk_tensor_data(index), ids, sizeof ids);
    memcpy(etk_tensor_data(place), places, sizeof places);
    etk_tensor *y = etk_embedding(g, table, index), *z = etk_rows(g, table, place);
    etk_graph_keep(g, y);
    etk_graph_keep(g, z);
    OK(etk_graph_eval(&e, g));
    const float *seen = etk_tensor_data(y), *rest = etk_tensor_data(z);
    for (int r = 0; r < 4; r++) assert_memory_equal(seen + r * d, values + ids[r] * d, (size_t)d * sizeof(float));
    assert_memory_equal(rest, zeros, (size_t)d * sizeof(float));
    assert_memory_equal(rest + d, values + 6 * d, (size_t)d * sizeof(float));
    etk_graph_free(g);
    etk_free(values);
    etk_tensor_unref(table);
  }
}

/* ---- what is refused ---- */

static void refused(etk_graph *g, const char *message) {
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_graph_status(&e, g), ETK_E_SHAPE);
  if (!strstr(e.message, message)) fail_msg("\"%s\" lacks \"%s\"", e.message, message);
  etk_graph_free(g);
}

static void other_operations_refuse_stored_weights(void **state) {
  (void)state;
  etk_tensor *w = weight(&kinds[7], 32, 32), *x = plain(etk_shape_of(2, 32, 32), 1), *narrow = weight(&kinds[0], 3, 31);
  etk_graph *g = etk_graph_new();
  etk_add(g, x, w);
  refused(g, "add: input 1 (32, 32) is Q8_0, wants F32 (etk_tensor_cast converts)");
  g = etk_graph_new();
  etk_matmul(g, w, x, false, false);
  refused(g, "matmul: input 0 (32, 32) is Q8_0, wants F32");
  g = etk_graph_new();
  etk_matmul(g, x, w, true, false);
  refused(g, "of Q8_0: a stored weight wants a first factor that is not transposed");
  g = etk_graph_new();
  etk_reshape(g, w, etk_shape_of(1, 1024));
  refused(g, "reshape: input 0 (32, 32) is Q8_0");
  g = etk_graph_new();
  etk_matmul(g, x, narrow, false, true);
  refused(g, "inner sizes 32 and 31 differ");
  etk_tensor_unref(narrow);
  etk_tensor_unref(w);
  etk_tensor_unref(x);
}

static void failing(etk_status status, const etk_error *e, etk_status wanted, const char *message) {
  if (status != wanted || !strstr(e->message, message)) fail_msg("status %d, \"%s\"; wanted %d, \"%s\"", (int)status, e->message, (int)wanted, message);
}
#define FAILS(call, wanted, message) \
  do {                               \
    etk_error e = ETK_ERROR_INIT;    \
    failing(call, &e, wanted, message); \
  } while (0)

static void packed_tensors_of_impossible_shapes_are_refused(void **state) {
  (void)state;
  etk_tensor *t = NULL;
  FAILS(etk_tensor_new(&e, &t, (etk_dtype)ETK_Q4_K, etk_shape_of(2, 2, 128)), ETK_E_SHAPE, "rows of 128 elements cannot be Q4_K");
  FAILS(etk_tensor_new(&e, &t, (etk_dtype)ETK_Q8_0, etk_shape_of(2, INT64_MAX / 64, 64)), ETK_E_INVALID, "more bytes than can be counted");
  FAILS(etk_tensor_new(&e, &t, ETK_AFFINE, etk_shape_of(2, 2, 64)), ETK_E_INVALID, "AFFINE");
  FAILS(etk_tensor_new(&e, &t, (etk_dtype)ETK_TYPE_END, etk_shape_of(1, 1)), ETK_E_INVALID, "is not an element type");
  assert_null(t);
  OK(etk_tensor_new(&e, &t, (etk_dtype)ETK_Q4_K, etk_shape_of(3, 2, 3, 512)));
  assert_int_equal(etk_tensor_bytes(t), 2 * 3 * 2 * 144);
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(t)), "Q4_K");
  etk_tensor_unref(t);
  OK(etk_tensor_new(&e, &t, (etk_dtype)ETK_Q8_0, etk_shape_of(2, 5, 0)));
  assert_int_equal(etk_tensor_bytes(t), 0);
  etk_tensor_unref(t);
}

static etk_tensor *zeros(etk_dtype dtype, int64_t rows, int64_t columns) {
  etk_tensor *t = NULL;
  OK(etk_tensor_new(&e, &t, dtype, etk_shape_of(2, rows, columns)));
  return t;
}

static void codes_and_scales_that_do_not_belong_together_are_refused(void **state) {
  (void)state;
  etk_tensor *words = zeros(ETK_U32, 3, 16), *other = zeros(ETK_U32, 3, 15), *scales = zeros(ETK_F16, 3, 2), *less = zeros(ETK_F16, 2, 2),
      *brain = zeros(ETK_BF16, 3, 2), *t = NULL;
  OK(etk_tensor_new_affine(&e, &t, 4, 64, words, scales, scales));
  assert_int_equal(etk_tensor_dim(t, 1), 128);
  assert_int_equal(etk_tensor_bytes(t), 3 * 16 * 4 + 2 * 3 * 2 * 2);
  etk_tensor_unref(t);
  FAILS(etk_tensor_new_affine(&e, &t, 7, 64, words, scales, scales), ETK_E_UNSUPPORTED, "7 bits in groups of 64");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 48, words, scales, scales), ETK_E_UNSUPPORTED, "4 bits in groups of 48");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 64, other, scales, scales), ETK_E_SHAPE, "(3, 15)");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 64, words, less, scales), ETK_E_SHAPE, "do not belong together");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 64, words, scales, less), ETK_E_SHAPE, "do not belong together");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 64, words, scales, brain), ETK_E_FORMAT, "biases of BF16");
  FAILS(etk_tensor_new_affine(&e, &t, 4, 64, scales, scales, scales), ETK_E_FORMAT, "codes are F16");
  FAILS(etk_tensor_new_affine(&e, &t, 8, 64, words, scales, scales), ETK_E_SHAPE, "at 8 bits");
  etk_tensor *codes = zeros(ETK_U8, 1, 64), *absmax = zeros(ETK_F32, 1, 2);
  FAILS(etk_tensor_new_nf4(&e, &t, etk_shape_of(2, 4, 32), codes, absmax), ETK_E_SHAPE, "a multiple of 64");
  FAILS(etk_tensor_new_nf4(&e, &t, etk_shape_of(2, 3, 64), codes, absmax), ETK_E_SHAPE, "64 codes of U8 and 2 scales");
  etk_tensor *const all[] = {words, other, scales, less, brain, codes, absmax};
  for (int i = 0; i < 7; i++) etk_tensor_unref(all[i]);
}

static void conversions_go_through_the_decoded_values(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    int64_t columns = 256;
    etk_tensor *w = weight(&kinds[i], 5, columns), *f = NULL, *half = NULL, *wanted = NULL, *packed = NULL, *none = NULL;
    float *values = decoded(&kinds[i], w);
    OK(etk_tensor_cast(&e, &f, w, ETK_F32));
    assert_memory_equal(etk_tensor_data(f), values, etk_tensor_bytes(f));
    OK(etk_tensor_cast(&e, &half, w, ETK_F16));
    OK(etk_tensor_cast(&e, &wanted, f, ETK_F16));
    assert_memory_equal(etk_tensor_data(half), etk_tensor_data(wanted), etk_tensor_bytes(half));
    OK(etk_tensor_cast(&e, &packed, w, (etk_dtype)ETK_Q8_0));
    assert_int_equal(etk_tensor_bytes(packed), 5 * columns / 32 * 34);
    FAILS(etk_tensor_cast(&e, &none, w, ETK_I32), ETK_E_UNSUPPORTED, "to I32");
    etk_free(values);
    etk_tensor_unref(w);
    etk_tensor_unref(f);
    etk_tensor_unref(half);
    etk_tensor_unref(wanted);
    etk_tensor_unref(packed);
  }
}

/* A weight of 4 MB as F32: what a product with it takes beside its operands stays far below. */
static void no_copy_of_the_weight_is_made(void **state) {
  (void)state;
  etk_tensor *w = weight(&kinds[3], 8192, 1024), *x = plain(etk_shape_of(2, 1, 1024), 5);
  etk_graph *g = etk_graph_new();
  etk_plan plan;
  etk_parallel_set_threads(2);
  etk_graph_keep(g, etk_matmul(g, x, w, false, true));
  OK(etk_graph_plan(&e, g, &plan));
  assert_true(plan.peak_bytes < 8192 * 1024 * sizeof(float) / 8);
  etk_graph_free(g);
  etk_parallel_set_threads(0);
  etk_tensor_unref(w);
  etk_tensor_unref(x);
}

/* ---- rows that lie interleaved within heads, as GGUF has queries and keys ---- */

enum { HEADS = 3, HEAD = 32, DEPTH = 96, WIDE = HEADS * HEAD, MOST = 40 };

/* y = 0.5 x w' + c, dx = y w and, in place of a stored weight, the rows of a low rank; of what is read, in one array. */
static void compute(float *out, etk_tensor *w, int64_t rows, bool exact) {
  etk_tensor *x = plain(etk_shape_of(2, rows, DEPTH), 3), *c = plain(etk_shape_of(2, rows, WIDE), 5), *a = plain(etk_shape_of(2, 8, DEPTH), 7), *b = plain(etk_shape_of(2, WIDE, 8), 9);
  etk_graph *g = etk_graph_new();
  etk_graph_set_exact(g, exact);
  etk_tensor *parts[] = {etk_matmul(g, x, w, false, true), etk_matmul_add(g, c, x, w, 0.5f, false, true), etk_matmul(g, c, w, false, false), etk_low_rank(g, x, w, a, b, c, 0.25f)};
  for (int i = 0; i < 4; i++) etk_graph_keep(g, parts[i]);
  OK(etk_graph_eval(&e, g));
  for (int i = 0; i < 4; i++) {
    memcpy(out, etk_tensor_data(parts[i]), etk_tensor_bytes(parts[i]));
    out += etk_tensor_elements(parts[i]);
  }
  etk_graph_free(g);
  etk_tensor *held[] = {x, c, a, b};
  for (int i = 0; i < 4; i++) etk_tensor_unref(held[i]);
}

static void interleaved_rows_compute_as_rows_in_order(void **state) {
  (void)state;
  static const etk_dtype types[] = {ETK_F32, ETK_F16, ETK_BF16};
  static float wanted[MOST * (3 * WIDE + DEPTH)], seen[MOST * (3 * WIDE + DEPTH)];
  for (int i = 0; i < 3; i++)
    for (int exact = 0; exact < 2; exact++)
      for (int64_t rows = 1; rows <= MOST; rows += rows < 10 ? 1 : 6) {
        etk_tensor *values = plain(etk_shape_of(2, WIDE, DEPTH), 11), *stored = NULL, *ordered = NULL, *again = NULL;
        OK(etk_tensor_cast(&e, &stored, values, types[i]));
        OK(etk_tensor_cast(&e, &ordered, values, types[i]));
        stored->rotary = HEAD;
        size_t bytes = etk_tensor_bytes(stored) / WIDE;
        for (int64_t row = 0; row < WIDE; row++) memcpy((char *)ordered->data + (size_t)row * bytes, (char *)stored->data + (size_t)etk__stored_row(stored, row) * bytes, bytes);
        assert_memory_not_equal(ordered->data, stored->data, bytes * WIDE);
        compute(wanted, ordered, rows, exact);
        compute(seen, stored, rows, exact);
        assert_memory_equal(seen, wanted, (size_t)(rows * (3 * WIDE + DEPTH)) * sizeof *seen);
        OK(etk_tensor_cast(&e, &again, stored, types[i]));
        assert_memory_equal(etk_tensor_data(again), ordered->data, bytes * WIDE);
        assert_memory_equal(etk_tensor_data(stored), ordered->data, bytes * WIDE);
        etk_tensor *held[] = {values, stored, ordered, again};
        for (int k = 0; k < 4; k++) etk_tensor_unref(held[k]);
      }
}

int main(void) {
  etk__product_set_exact(true); /* results are held to what is stored; how far fast products are from it: ml_product.c */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_with_every_type_are_those_of_its_decoded_values),
      cmocka_unit_test(products_that_are_cut_into_several_tiles_fit_together),
      cmocka_unit_test(a_sum_is_added_with_its_factor),
      cmocka_unit_test(no_bit_depends_on_the_number_of_threads),
      cmocka_unit_test(gradients_reach_what_is_multiplied_with_a_stored_weight),
      cmocka_unit_test(a_stored_weight_gets_no_gradient),
      cmocka_unit_test(a_stored_table_gives_the_rows_asked_for),
      cmocka_unit_test(other_operations_refuse_stored_weights),
      cmocka_unit_test(packed_tensors_of_impossible_shapes_are_refused),
      cmocka_unit_test(codes_and_scales_that_do_not_belong_together_are_refused),
      cmocka_unit_test(conversions_go_through_the_decoded_values),
      cmocka_unit_test(no_copy_of_the_weight_is_made),
      cmocka_unit_test(interleaved_rows_compute_as_rows_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
