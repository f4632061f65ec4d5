/* Every kernel of every instruction set, against the reference in plain C, at odd sizes and odd addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ml/tensor/internal.h"
#include <math.h>

#include "ml_variants.h"

enum { MOST = 300, GUARD = 8, INPUTS = 5, OUTPUTS = 3 };

/* in and out begin one float past an aligned address; what lies past n in out must stay as it was. */
struct buffers {
  _Alignas(64) float in[INPUTS][MOST + 1], out[OUTPUTS][MOST + GUARD + 1];
  double scalar;
};
static float *in(struct buffers *b, int i) { return b->in[i] + 1; }
static float *out(struct buffers *b, int i) { return b->out[i] + 1; }

static void fill(struct buffers *b) {
  uint32_t s = 12345;
  for (int i = 0; i < INPUTS + OUTPUTS; i++)
    for (int j = 0; j <= MOST + (i < INPUTS ? 0 : GUARD); j++) {
      s = s * 1664525 + 1013904223;
      *(i < INPUTS ? &b->in[i][j] : &b->out[i - INPUTS][j]) = (float)(s >> 8) * 0x1p-22f - 2; /* [-2, 2) */
    }
  for (int j = 0; j <= MOST; j++) b->in[4][j] = fabsf(b->in[4][j]) + 0.1f; /* positive, for second moments */
  b->scalar = 0;
}

typedef void run(const struct kernels *k, struct buffers *b, int64_t n);
#define RUN(name, statement)                                                        \
  static void run_##name(const struct kernels *k, struct buffers *b, int64_t n) {   \
    float *x = in(b, 0), *y = in(b, 1), *z = in(b, 2), *o = out(b, 0), *p = out(b, 1), *q = out(b, 2); \
    (void)x, (void)y, (void)z, (void)o, (void)p, (void)q;                           \
    statement;                                                                      \
  }
RUN(add, k->add_f32(o, x, y, n))
RUN(sub, k->sub_f32(o, x, y, n))
RUN(mul, k->mul_f32(o, x, y, n))
RUN(add_in_place, k->add_f32(o, o, y, n))
RUN(scale, k->scale_f32(o, x, -1.3f, n))
RUN(axpy, k->axpy_f32(o, 0.7f, x, n))
RUN(sum, b->scalar = k->sum_f32(x, n))
RUN(sum_squares, b->scalar = k->sum_squares_f32(x, n))
RUN(dot, b->scalar = (double)k->dot_f32(x, y, n))
RUN(sigmoid, k->sigmoid_f32(o, x, n))
RUN(silu, k->silu_f32(o, x, n))
RUN(silu_backward, k->silu_backward_f32(o, y, x, n))
RUN(swiglu, k->swiglu_f32(o, x, y, n))
RUN(swiglu_backward, k->swiglu_backward_f32(o, p, z, x, y, n))
RUN(swiglu_backward_in_place, k->swiglu_backward_f32(o, p, z, o, y, n))
RUN(mean_under, b->scalar = n ? k->mean_under_f32(in(b, 4), x, n) : 0)
RUN(small_product, k->small_product_f32(&(struct small_product){7, n / 7, 5, x, y, 5, 1, n / 7, o, n / 7, false}))
RUN(small_product_turned, k->small_product_f32(&(struct small_product){n / 9, 9, 9, x, y, 1, n / 9, 9, o, 9, true}))
RUN(max, b->scalar = n ? (double)k->max_f32(x, n) : 0)
RUN(exp_sum, b->scalar = (double)k->exp_sum_f32(o, x, 1.9f, n))
RUN(exp_sum_in_place, b->scalar = (double)k->exp_sum_f32(o, o, 0.1f, n))
RUN(log_sum_exp, b->scalar = n ? (double)k->log_sum_exp_f32(x, n) : 0)
RUN(exp_affine, k->exp_affine_f32(o, x, 1.5f, -0.3f, 0.8f, n))
RUN(softmax, b->scalar = n ? (double)k->softmax_f32(o, x, 1.7f, n) : 0)
RUN(softmax_in_place, b->scalar = n ? (double)k->softmax_f32(o, o, -0.5f, n) : 0)
RUN(softmax_backward, k->softmax_backward_f32(o, x, y, 0.4f, 0.3f, n))
RUN(rms_norm, b->scalar = n ? (double)k->rms_norm_f32(o, x, y, 1e-3f, n) : 0)
RUN(rms_norm_backward, if (n) k->rms_norm_backward_f32(o, p, z, in(b, 3), x, y, 1.3f, n))
RUN(rms_norm_backward_bare, if (n) k->rms_norm_backward_f32(o, NULL, NULL, z, x, y, 1.3f, n))
RUN(rms_norm_backward_in_place, if (n) k->rms_norm_backward_f32(o, p, o, z, x, y, 1.3f, n))
RUN(gelu, k->gelu_f32(o, x, n))
RUN(gelu_tanh, k->gelu_tanh_f32(o, x, n))
RUN(gelu_backward, k->gelu_backward_f32(o, y, x, n))
RUN(gelu_tanh_backward_in_place, k->gelu_tanh_backward_f32(o, o, x, n))
RUN(layer_norm, b->scalar = n ? (double)k->layer_norm_f32(o, x, y, z, 1e-3f, p, n) : 0)
RUN(layer_norm_in_place, b->scalar = n ? (double)k->layer_norm_f32(o, o, y, z, 1e-3f, p, n) : 0)
RUN(rope, k->rope_f32(o, x, y, z, n / 2))
RUN(rope_in_place, k->rope_f32(o, o, y, z, n / 2))
RUN(dropout, k->dropout_f32(o, x, &(struct dropout_mask){0x123456789abcdef0, 0xfedcba9876543210, (UINT64_C(1) << 34) - 128, 1u << 30, 1.25f}, n))
RUN(adamw, memcpy(q, in(b, 4), (size_t)n * 4); k->adamw_f32(o, p, q, x, &(struct adamw_step){0.9f, 0.1f, 0.99f, 0.01f, 0.999f, 0.01f, 1.2f, 1e-6f}, n))
RUN(sgd, k->sgd_f32(o, NULL, x, &(struct sgd_step){0.9f, 0.1f, 0, 0.05f}, n))
RUN(sgd_momentum, k->sgd_f32(o, p, x, &(struct sgd_step){0.9f, 0.1f, 0.8f, 0.05f}, n))
RUN(matvec, k->matvec_f32(o, x, 7, y, n / 7, 7))
RUN(matvec_long, k->matvec_f32(o, x, n / 5, y, 5, n / 5))

/* slack: allowed error for one element as a multiple of 1e-6 (1 + |wanted|): a few roundings of float for what is computed element by element;
 * sums of up to 300 terms of size up to 4 may differ by the order of additions. */
static const struct {
  const char *name;
  run *run;
  double slack;
} works[] = {
    {"add", run_add, 0}, {"sub", run_sub, 0}, {"mul", run_mul, 0}, {"add in place", run_add_in_place, 0}, {"scale", run_scale, 0}, {"axpy", run_axpy, 0.5},
    {"sum", run_sum, 100}, {"sum_squares", run_sum_squares, 1e-6}, {"dot", run_dot, 100}, {"sigmoid", run_sigmoid, 0.5}, {"silu", run_silu, 0.5},
    {"silu_backward", run_silu_backward, 1}, {"swiglu", run_swiglu, 1}, {"swiglu_backward", run_swiglu_backward, 1},
    {"swiglu_backward in place", run_swiglu_backward_in_place, 1}, {"mean_under", run_mean_under, 1e-6}, {"small_product", run_small_product, 5},
    {"small_product of a turned side, added", run_small_product_turned, 10}, {"max", run_max, 0}, {"exp_sum", run_exp_sum, 1}, {"exp_sum in place", run_exp_sum_in_place, 2}, {"log_sum_exp", run_log_sum_exp, 2}, {"exp_affine", run_exp_affine, 1}, {"softmax", run_softmax, 2},
    {"softmax in place", run_softmax_in_place, 2}, {"softmax_backward", run_softmax_backward, 1}, {"rms_norm", run_rms_norm, 3}, {"rms_norm_backward", run_rms_norm_backward, 20},
    {"rms_norm_backward, dx alone", run_rms_norm_backward_bare, 20}, {"rms_norm_backward in place", run_rms_norm_backward_in_place, 20}, {"rope", run_rope, 0.5},
    {"gelu", run_gelu, 0.5}, {"gelu_tanh", run_gelu_tanh, 0.5}, {"gelu_backward", run_gelu_backward, 1}, {"gelu_tanh_backward in place", run_gelu_tanh_backward_in_place, 1},
    {"layer_norm", run_layer_norm, 3}, {"layer_norm in place", run_layer_norm_in_place, 3},
    {"rope in place", run_rope_in_place, 0.5}, {"dropout", run_dropout, 0}, {"adamw", run_adamw, 1}, {"sgd", run_sgd, 0.5}, {"sgd with momentum", run_sgd_momentum, 0.5},
    {"matvec", run_matvec, 5}, {"matvec of long rows", run_matvec_long, 20},
};
enum { WORKS = sizeof works / sizeof *works };

static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 28, 31, 32, 33, 47, 63, 64, 65, 100, 127, 128, 129, 140, 255, 257, 300};

static void every_kernel_agrees_with_the_reference(void **state) {
  static struct buffers wanted, seen;
  const struct kernels *k;
  FIND_VARIANT(k, etk__kernels_at, state);
  assert_string_equal(etk__kernels_at(0)->name, "reference");
  for (int w = 0; w < WORKS; w++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      fill(&wanted);
      fill(&seen);
      works[w].run(etk__kernels_at(0), &wanted, sizes[s]);
      works[w].run(k, &seen, sizes[s]);
      assert_memory_equal(wanted.in, seen.in, sizeof wanted.in);
      for (int i = 0; i < OUTPUTS; i++)
        for (int j = 0; j < MOST + GUARD + 1; j++) {
          double a = (double)wanted.out[i][j], b = (double)seen.out[i][j];
          if (!(fabs(a - b) <= 1e-6 * works[w].slack * (1 + fabs(a)))) fail_msg("%s %s, n %d, output %d[%d]: %.9g, wanted %.9g", works[w].name, k->name, (int)sizes[s], i, j - 1, b, a);
        }
      if (!(fabs(wanted.scalar - seen.scalar) <= 1e-6 * works[w].slack * (1 + fabs(wanted.scalar))))
        fail_msg("%s %s, n %d: %.9g, wanted %.9g", works[w].name, k->name, (int)sizes[s], seen.scalar, wanted.scalar);
    }
}

static void every_instruction_set_of_the_machine_has_a_table(void **state) {
  (void)state;
  assert_variants_are_listed(KERNELS, etk__kernels_at, 1); /* and the reference */
  /* What goes beyond avx512 or neon matters to products of packed weights alone: names such as avx512vnni have their elders' tables. */
  assert_memory_equal(etk__kernels()->name, etk_isa_name(etk_isa_active()), strlen(etk__kernels()->name));
}

/* From where results are normal floats to where they overflow, against double precision: 2.5e-7 is four units of a float's last place. The
 * reference is held to the same. */
static void exponentials_are_good_to_four_last_places(void **state) {
  (void)state;
  const struct kernels *k;
  enum { N = 4001 };
  static float x[N], y[N];
  for (int i = 0; i < N; i++) x[i] = -86.5f + 175.0f * (float)i / N;
  for (int v = 0; (k = etk__kernels_at(v)); v++) {
    k->exp_affine_f32(y, x, 1, 0, 1, N);
    for (int i = 0; i < N; i++)
      if (!(fabs((double)y[i] / exp((double)x[i]) - 1) < 2.5e-7)) fail_msg("%s: exp(%.9g) = %.9g", k->name, (double)x[i], (double)y[i]);
    const float extremes[] = {-87.5f, -1000, -INFINITY, 89, 1000, INFINITY, NAN};
    k->exp_affine_f32(y, extremes, 1, 0, 1, 7);
    for (int i = 0; i < 3; i++) assert_true(y[i] >= 0 && y[i] < 2e-38f);
    for (int i = 3; i < 6; i++) assert_true(isinf(y[i]) && y[i] > 0);
    assert_true(isnan(y[6]));
  }
}

/* ---- products ---- */

static float matrix(int64_t i) { return (float)((i * 37 + 11) % 23) * 0.125f - 1.25f; } /* exact in few bits */

static void products_agree_at_all_sizes_strides_and_transposes(void **state) {
  static const int64_t shapes[][3] = {{1, 1, 1}, {2, 3, 4}, {5, 31, 7}, {6, 32, 16}, {7, 33, 300}, {13, 65, 257}, {3, 16, 512}, {12, 1, 5}, {4, 4, 0}};
  static float a[64 * 1024], b[64 * 1024], wanted[16 * 96], seen[16 * 96];
  const struct kernels *k;
  FIND_VARIANT(k, etk__kernels_at, state);
  for (int i = 0; i < 64 * 1024; i++) a[i] = matrix(i), b[i] = matrix(i + 5);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int flags = 0; flags < 8; flags++) {
      int64_t m = shapes[s][0], n = shapes[s][1], depth = shapes[s][2];
      struct gemm g = {.ta = flags & 1, .tb = flags & 2, .m = m, .n = n, .k = depth, .alpha = 0.5f, .beta = flags & 4 ? 2.0f : 0.0f, .a = a + 1, .b = b + 3, .ldc = n + 3};
      g.lda = (g.ta ? m : depth) + 2;
      g.ldb = (g.tb ? depth : n) + 1;
      for (int i = 0; i < 16 * 96; i++) wanted[i] = seen[i] = g.beta == 0 && i % (int)g.ldc < n && i < m * g.ldc ? NAN : matrix(i); /* not read where beta is 0 */
      g.c = wanted;
      etk__kernels_at(0)->gemm_f32(&g);
      g.c = seen;
      k->gemm_f32(&g);
      for (int i = 0; i < 16 * 96; i++) /* eighths times eighths up to 512 times: exact in float, whatever the order */
        if (wanted[i] != seen[i]) fail_msg("%s %dx%dx%d flags %d: c[%d] = %g, wanted %g", k->name, (int)m, (int)n, (int)depth, flags, i, (double)seen[i], (double)wanted[i]);
    }
}

static void the_product_library_and_the_cut_over_threads_agree_with_the_reference(void **state) {
  (void)state;
  static float a[70 * 300], b[70 * 300], wanted[90 * 90], seen[90 * 90];
  static const int64_t shapes[][3] = {{70, 33, 64}, {1, 70, 64}, {2, 70, 90}, {33, 70, 70}, {70, 70, 129}};
  for (int i = 0; i < 70 * 300; i++) a[i] = matrix(i), b[i] = matrix(i + 5);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int flags = 0; flags < 8; flags++) {
      int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
      struct gemm g = {.ta = flags & 1, .tb = flags & 2, .m = m, .n = n, .k = k, .alpha = flags & 4 ? 0.5f : 1.0f, .beta = flags & 4 ? 2.0f : 0.0f, .a = a, .b = b, .ldc = n};
      g.lda = g.ta ? m : k;
      g.ldb = g.tb ? k : n;
      for (int i = 0; i < 90 * 90; i++) wanted[i] = seen[i] = matrix(i);
      g.c = wanted;
      etk__kernels_at(0)->gemm_f32(&g);
      g.c = seen;
      etk__gemm_parallel(&g);
      assert_memory_equal(wanted, seen, sizeof wanted); /* exact, as above */
    }
}

/* ---- conversions: all 65536 halves, and every place where rounding could turn ---- */

static float float_of(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}
static uint32_t bits_of(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static void every_half_and_bfloat16_widens_as_the_reference(void **state) {
  static uint16_t all[65536];
  static float wanted[65536], seen[65536];
  const struct kernels *k, *reference = etk__kernels_at(0);
  FIND_VARIANT(k, etk__kernels_at, state);
  for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
  reference->f16_to_f32(wanted, all, 65536);
  k->f16_to_f32(seen, all, 65536);
  for (int i = 0; i < 65536; i++) assert_true(isnan(wanted[i]) ? isnan(seen[i]) : bits_of(wanted[i]) == bits_of(seen[i]));
  reference->bf16_to_f32(wanted, all, 65536);
  k->bf16_to_f32(seen, all, 65536);
  assert_memory_equal(wanted, seen, sizeof wanted);
}

/* Each value of 16 bits, and the middle between it and the next with its neighbours: every place where rounding could turn. */
enum { TURNS = 6, NARROWED = 65536 * TURNS };
static void fill_turns(float *x, bool bf16) {
  const struct kernels *reference = etk__kernels_at(0);
  for (int i = 0; i < 65536; i++, x += TURNS) {
    uint16_t pair[2] = {(uint16_t)i, (uint16_t)((i & 0x7fff) == 0x7fff ? i : i + 1)};
    float ends[2];
    (bf16 ? reference->bf16_to_f32 : reference->f16_to_f32)(ends, pair, 2);
    uint32_t middle = bf16 ? (uint32_t)i << 16 | 0x8000 : bits_of((float)(((double)ends[0] + (double)ends[1]) / 2));
    x[0] = ends[0];
    x[1] = float_of(middle);
    x[2] = float_of(middle + 1);
    x[3] = float_of(middle - 1);
    x[4] = ends[0] * 1.0001f;
    x[5] = float_of((uint32_t)i << 16 | ((uint32_t)i * 40503 & 0xffff));
  }
}

static void narrowing_rounds_to_nearest_even_everywhere(void **state) {
  static float x[NARROWED];
  static uint16_t wanted[NARROWED], seen[NARROWED];
  const struct kernels *k, *reference = etk__kernels_at(0);
  FIND_VARIANT(k, etk__kernels_at, state);
  for (int bf16 = 0; bf16 < 2; bf16++) {
    fill_turns(x, bf16);
    (bf16 ? reference->f32_to_bf16 : reference->f32_to_f16)(wanted, x, NARROWED);
    (bf16 ? k->f32_to_bf16 : k->f32_to_f16)(seen, x, NARROWED);
    for (int i = 0; i < NARROWED; i++) {
      uint16_t infinity = bf16 ? 0x7f80 : 0x7c00;
      if (isnan(x[i])) assert_true((seen[i] & 0x7fff) > infinity);
      else if (seen[i] != wanted[i]) fail_msg("%s: %.9g becomes %04x, wanted %04x", k->name, (double)x[i], seen[i], wanted[i]);
    }
  }
}

static void conversions_of_the_reference_are_as_published(void **state) {
  (void)state;
  const uint16_t halves[] = {0x0001, 0x03ff, 0x0400, 0x3c00, 0x3555, 0x7bff, 0x7c00, 0xc000, 0x8000};
  const float values[] = {0x1p-24f, 1023 * 0x1p-24f, 0x1p-14f, 1, 0x1.554p-2f, 65504, INFINITY, -2, -0.0f};
  const float wide[] = {65519, 65520, 0x1p-25f, 0x1.8p-25f, 2049, 2051, -65536, 1e-30f};
  const uint16_t narrow[] = {0x7bff, 0x7c00, 0x0000, 0x0001, 0x6800, 0x6802, 0xfc00, 0};
  float widened[9];
  uint16_t narrowed[8];
  etk__kernels_at(0)->f16_to_f32(widened, halves, 9);
  for (int i = 0; i < 9; i++) assert_int_equal(bits_of(widened[i]), bits_of(values[i]));
  etk__kernels_at(0)->f32_to_f16(narrowed, wide, 8);
  for (int i = 0; i < 8; i++) assert_int_equal(narrowed[i], narrow[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      KERNELS(VARIANT, every_kernel_agrees_with_the_reference)
      KERNELS(VARIANT, products_agree_at_all_sizes_strides_and_transposes)
      KERNELS(VARIANT, every_half_and_bfloat16_widens_as_the_reference)
      KERNELS(VARIANT, narrowing_rounds_to_nearest_even_everywhere)
      cmocka_unit_test(every_instruction_set_of_the_machine_has_a_table),
      cmocka_unit_test(conversions_of_the_reference_are_as_published),
      cmocka_unit_test(exponentials_are_good_to_four_last_places),
      cmocka_unit_test(the_product_library_and_the_cut_over_threads_agree_with_the_reference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
