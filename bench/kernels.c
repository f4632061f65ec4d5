/* Every kernel and product by variant beside the reference, matrix products by the library, and where a training step of a small Llama spends its time. One JSON
 * line per result.
 *
 *   kernels [kernels [KERNEL] | variants | products | step]    variants: of products with stored weights */
#include "ml/product/product_blocks.h"
#include "ml/product/product_gemm.h"
#include "ml/product/product_half.h"
#include "ml/quant/internal.h"
#include "ml/tensor/internal.h"

#include <etk/hardware.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include <math.h>

static double seconds(void) { return (double)etk_time_ns() * 1e-9; }

static float *filled(int64_t n, float low, float high) {
  float *a = etk_alloc_aligned((size_t)n * sizeof *a, 64);
  uint32_t s = 1;
  for (int64_t i = 0; a && i < n; i++) a[i] = low + (high - low) * (float)((s = s * 1664525 + 1013904223) >> 8) * 0x1p-24f;
  return a;
}

/* ---- variants: the best of short repetitions, variant after variant by turns, so that what else the machine does meets all alike ---- */

enum { MOST_VARIANTS = 8, ROUNDS = 150 };
static const double repetition = 20e-6, budget = 0.25; /* seconds: of one repetition at least, of all rounds of one line of variants */

struct variants {
  const char *kind, *name, *names[MOST_VARIANTS];
  double times[MOST_VARIANTS]; /* of one call */
  int count;
};

static double repeated(void (*run)(void *user, int variant), void *user, int variant, int64_t times) {
  double t = seconds();
  for (int64_t i = 0; i < times; i++) run(user, variant);
  return (seconds() - t) / (double)times;
}

static void measure(struct variants *v, void (*run)(void *user, int variant), void *user) {
  int64_t times[MOST_VARIANTS];
  for (int i = 0; i < v->count; i++) {
    repeated(run, user, i, 1);
    v->times[i] = repeated(run, user, i, 1);
    times[i] = 1 + (int64_t)(repetition / v->times[i]);
  }
  double began = seconds();
  for (int r = 0; r < 3 || (r < ROUNDS && seconds() - began < budget); r++)
    for (int i = 0; i < v->count; i++) {
      double t = repeated(run, user, i, times[i]);
      if (t < v->times[i]) v->times[i] = t;
    }
}

/* work: of one call, in elements or in products of two numbers. below: how many times the rate of the next variant below. */
static void show(const struct variants *v, double work) {
  for (int i = 0; i < v->count; i++)
    printf("{\"bench\":\"%s\",\"kernel\":\"%s\",\"variant\":\"%s\",\"ns\":%.1f,\"G_per_s\":%.2f,\"to_%s\":%.2f,\"to_below\":%.2f}\n", v->kind, v->name, v->names[i], v->times[i] * 1e9,
           work / v->times[i] * 1e-9, v->names[0], v->times[0] / v->times[i], i ? v->times[i - 1] / v->times[i] : 1);
  fflush(stdout);
}

/* ---- every kernel of the table, over rows as long as models have ---- */

enum { N = 2048, HALF_DIM = 64, HEAD = 64, KEYS = 512, GROUP = 4, SQUARE = 128 };
struct work {
  const struct kernels *k[MOST_VARIANTS];
  float *a, *b, *c, *d, *e, *f;
  uint16_t *h;
  unsigned char *codes; /* a page of KEYS tokens of HEAD */
};
#define RUN(kernel, amount, ...)                                                     \
  enum { AMOUNT_##kernel = (amount) };                                               \
  static void run_##kernel(void *user, int variant) {                                \
    const struct work *w = user;                                                     \
    const struct kernels *k = w->k[variant];                                         \
    __VA_ARGS__;                                                                     \
  }
RUN(add_f32, N, k->add_f32(w->c, w->a, w->b, N))
RUN(sub_f32, N, k->sub_f32(w->c, w->a, w->b, N))
RUN(mul_f32, N, k->mul_f32(w->c, w->a, w->b, N))
RUN(scale_f32, N, k->scale_f32(w->c, w->a, 1.5f, N))
RUN(axpy_f32, N, k->axpy_f32(w->c, 1e-9f, w->a, N))
RUN(sum_f32, N, w->c[0] = (float)k->sum_f32(w->a, N))
RUN(sum_squares_f32, N, w->c[0] = (float)k->sum_squares_f32(w->a, N))
RUN(dot_f32, N, w->c[0] = k->dot_f32(w->a, w->b, N))
RUN(matvec_f32, 16 * 512, k->matvec_f32(w->c, w->a, 512, w->b, 16, 512)) /* in the first cache: from the second, reading is all the time */
RUN(gemm_f32, SQUARE *SQUARE *SQUARE,
    k->gemm_f32(&(struct gemm){.tb = true, .m = SQUARE, .n = SQUARE, .k = SQUARE, .alpha = 1, .a = w->a, .b = w->b, .c = w->c, .lda = SQUARE, .ldb = SQUARE, .ldc = SQUARE}))
RUN(sigmoid_f32, N, k->sigmoid_f32(w->c, w->a, N))
RUN(silu_f32, N, k->silu_f32(w->c, w->a, N))
RUN(silu_backward_f32, N, k->silu_backward_f32(w->c, w->b, w->a, N))
RUN(swiglu_f32, N, k->swiglu_f32(w->c, w->a, w->b, N))
RUN(swiglu_backward_f32, N, k->swiglu_backward_f32(w->c, w->d, w->e, w->a, w->b, N))
RUN(softcap_f32, N, k->softcap_f32(w->c, w->a, 1, 30, N))
RUN(small_product_f32, HEAD *HEAD *HEAD, k->small_product_f32(&(struct small_product){HEAD, HEAD, HEAD, w->a, w->b, HEAD, 1, HEAD, w->c, HEAD, false}))
RUN(mean_under_f32, N, w->d[0] = (float)k->mean_under_f32(w->a, w->b, N))
RUN(max_f32, N, w->c[0] = k->max_f32(w->a, N))
RUN(exp_sum_f32, N, w->d[0] = k->exp_sum_f32(w->c, w->a, 1, N))
RUN(log_sum_exp_f32, N, w->c[0] = k->log_sum_exp_f32(w->a, N))
RUN(exp_affine_f32, N, k->exp_affine_f32(w->c, w->a, 1, -1, 0.5f, N))
RUN(softmax_f32, N, k->softmax_f32(w->c, w->a, 1, N))
RUN(softmax_backward_f32, N, k->softmax_backward_f32(w->c, w->a, w->b, 0.1f, 0.2f, N))
RUN(rms_norm_f32, N, w->d[0] = k->rms_norm_f32(w->c, w->a, w->b, 1e-5f, N))
RUN(rms_norm_backward_f32, N, k->rms_norm_backward_f32(w->c, w->d, NULL, w->a, w->b, w->e, 1e-9f, N))
RUN(gelu_f32, N, k->gelu_f32(w->c, w->a, N))
RUN(gelu_tanh_f32, N, k->gelu_tanh_f32(w->c, w->a, N))
RUN(gelu_backward_f32, N, k->gelu_backward_f32(w->c, w->b, w->a, N))
RUN(gelu_tanh_backward_f32, N, k->gelu_tanh_backward_f32(w->c, w->b, w->a, N))
RUN(layer_norm_f32, N, w->f[0] = k->layer_norm_f32(w->c, w->a, w->b, w->e, 1e-5f, w->d, N))
RUN(rope_f32, N, for (int i = 0; i < N; i += 2 * HALF_DIM) k->rope_f32(w->c + i, w->a + i, w->b, w->e, HALF_DIM))
RUN(dropout_f32, N, k->dropout_f32(w->c, w->a, &(struct dropout_mask){1, 2, 0, 1u << 29, 1.1f}, N))
RUN(adamw_f32, N, k->adamw_f32(w->c, w->d, w->f, w->a, &(struct adamw_step){1, 0.1f, 0.999f, 0.001f, 1, 0, 1, 1e-8f}, N))
RUN(sgd_f32, N, k->sgd_f32(w->c, w->d, w->a, &(struct sgd_step){0.9f, 0.1f, 0.8f, 1e-9f}, N))
RUN(f16_to_f32, N, k->f16_to_f32(w->c, w->h, N))
RUN(bf16_to_f32, N, k->bf16_to_f32(w->c, w->h, N))
RUN(f32_to_f16, N, k->f32_to_f16((uint16_t *)(void *)w->c, w->a, N))
RUN(f32_to_bf16, N, k->f32_to_bf16((uint16_t *)(void *)w->c, w->a, N))
RUN(copy_rows_f32, N, k->copy_rows_f32(w->c, HEAD, w->a, 12 * HEAD, N / HEAD, HEAD))
RUN(f16_rows_to_f32, N, k->f16_rows_to_f32(w->c, HEAD, w->h, 12 * HEAD, N / HEAD, HEAD))
RUN(transpose_f32, HEAD *HEAD, k->transpose_f32(w->c, HEAD, w->a, 12 * HEAD, HEAD, HEAD))
enum { TILE_ROWS = 8 * ATTENTION_STEP };
RUN(attention_tile_f32, 2 * TILE_ROWS *ATTENTION_KEYS *HEAD,
    static const int64_t first[TILE_ROWS]; static int64_t end[TILE_ROWS];
    for (int i = 0; i < TILE_ROWS; i++) end[i] = ATTENTION_KEYS, w->d[i] = -1e30f, w->e[i] = 1;
    k->attention_tile_f32(&(struct attention_tile){TILE_ROWS, HEAD, HEAD, w->a, w->b, w->b, 0, first, end, 0, w->c, w->d, w->e}))
RUN(attention_scores_f32, GROUP *KEYS *HEAD, k->attention_scores_f32(w->c, KEYS, w->a, GROUP, w->b, KEYS, KEYS, HEAD))
RUN(attention_scores_f16, GROUP *KEYS *HEAD, k->attention_scores_f16(w->c, KEYS, w->a, GROUP, w->h, KEYS, KEYS, HEAD))
RUN(f32_to_codes, N, for (int i = 0; i < N; i += 32) k->f32_to_codes((uint16_t *)(void *)w->c, (int8_t *)w->d, w->a + i))
RUN(code_keys_to_f32, KEYS *HEAD, k->code_keys_to_f32(w->c, KEYS, w->codes, KEYS, 0, KEYS, HEAD))
RUN(code_values_to_f32, KEYS *HEAD, k->code_values_to_f32(w->c, HEAD, w->codes, KEYS, 0, KEYS, HEAD))
RUN(attention_scores_codes, GROUP *KEYS *HEAD, k->attention_scores_codes(w->c, KEYS, w->a, GROUP, w->codes, KEYS, KEYS, HEAD))
RUN(attention_values_codes, GROUP *KEYS *HEAD, k->attention_values_codes(w->c, w->a, KEYS, GROUP, w->codes, KEYS, 0, KEYS, HEAD))
RUN(attention_values_f32, GROUP *KEYS *HEAD, k->attention_values_f32(w->c, w->a, KEYS, GROUP, w->b, KEYS, HEAD))
RUN(attention_values_f16, GROUP *KEYS *HEAD, k->attention_values_f16(w->c, w->a, KEYS, GROUP, w->h, KEYS, HEAD))

static const struct {
  const char *name;
  void (*run)(void *user, int variant);
  double amount;
  size_t place; /* in the table */
} works[] = { /* a kernel without a run_ of its name does not compile */
#define ROW(result, kernel, arguments) {#kernel, run_##kernel, AMOUNT_##kernel, offsetof(struct kernels, kernel)},
    ETK_KERNELS(ROW)
#undef ROW
};

static void bench_kernels(const char *only) {
  enum { PLACES = 2 * KEYS * HEAD };
  struct work w = {.a = filled(PLACES, -3, 3), .b = filled(PLACES, -3, 3), .c = filled(PLACES, -3, 3), .d = filled(PLACES, 0, 3), .e = filled(PLACES, 0.1f, 3), .f = filled(PLACES, 0.1f, 3)};
  w.h = etk_alloc_aligned(PLACES * sizeof *w.h, 64);
  etk__kernels()->f32_to_f16(w.h, w.b, PLACES);
  w.codes = etk_alloc_aligned(KEYS * HEAD / 32 * 34, 64);
  for (int i = 0; i < KEYS * HEAD / 32 * 34; i++) w.codes[i] = (unsigned char)(i % 57); /* small scales too */
  const struct kernels *k, *below;
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
    struct variants v = {.kind = "kernel", .name = works[i].name};
    if (*only && strcmp(only, v.name) != 0) continue;
    for (int at = 0; v.count < MOST_VARIANTS && (k = etk__kernels_at(at)); at++) {
      below = at ? etk__kernels_at(at - 1) : NULL;
      if (below && !memcmp((const char *)k + works[i].place, (const char *)below + works[i].place, sizeof(void (*)(void)))) continue; /* has none of its own */
      v.names[v.count] = k->name;
      w.k[v.count++] = k;
    }
    measure(&v, works[i].run, &w);
    show(&v, works[i].amount);
  }
  etk_free(w.a), etk_free(w.b), etk_free(w.c), etk_free(w.d), etk_free(w.e), etk_free(w.f), etk_free(w.h), etk_free(w.codes);
}

/* ---- blocks: decoders, and the searches of encoders ---- */

struct block_work {
  const etk__decoders *decoders[MOST_VARIANTS];
  const etk__fitters *fitters[MOST_VARIANTS];
  float *x, *w, *y;
  unsigned char *packed;
  int type;
};
static void run_decode(void *user, int variant) {
  struct block_work *w = user;
  w->decoders[variant]->of[w->type](w->y, w->packed, N / etk_type_block_elements((etk_type)(w->type + ETK_TYPE_FIRST_BLOCK)));
}
#define RUN_FIT(name, call)                                \
  static void run_##name(void *user, int variant) {        \
    struct block_work *w = user;                           \
    const etk__fitters *f = w->fitters[variant];           \
    int8_t codes[32];                                      \
    for (int i = 0; i < N; i += 32) w->y[i] = call;        \
  }
static const etk__affine_search search = {15, -1, 0.1f, 20, false}; /* Q4_K's */
RUN_FIT(fit_signed, f->fit_signed(32, 8, w->x + i, w->w + i, codes))
RUN_FIT(fit_affine, f->fit_affine(&search, 32, w->x + i, w->w + i, (uint8_t *)codes, w->y + i + 1))
RUN_FIT(fit_levels, ((void)codes, f->fit_levels(w->x + i, w->w + i)))

static void bench_decoders(struct block_work *w, const char *only) {
  const etk__decoders *d;
  for (w->type = 0; w->type < ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK; w->type++) {
    char name[32];
    snprintf(name, sizeof name, "decode_%s", etk_type_name((etk_type)(w->type + ETK_TYPE_FIRST_BLOCK)));
    struct variants v = {.kind = "kernel", .name = name};
    if (*only && strcmp(only, name) != 0) continue;
    for (int at = 0; v.count < MOST_VARIANTS && (d = etk__quant_decoders_at(at)); at++)
      if (d->of[w->type]) v.names[v.count] = d->name, w->decoders[v.count++] = d;
    etk_quant_encode(NULL, w->packed, (etk_type)(w->type + ETK_TYPE_FIRST_BLOCK), w->x, 1, N, NULL);
    measure(&v, run_decode, w);
    show(&v, N);
  }
}
static void bench_searches(struct block_work *w, const char *only) {
  static const struct {
    const char *name;
    void (*run)(void *user, int variant);
    size_t place;
  } fits[] = {{"fit_signed", run_fit_signed, offsetof(etk__fitters, fit_signed)},
              {"fit_affine", run_fit_affine, offsetof(etk__fitters, fit_affine)},
              {"fit_levels", run_fit_levels, offsetof(etk__fitters, fit_levels)}};
  static void (*const none)(void);
  const etk__fitters *f;
  for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
    struct variants v = {.kind = "kernel", .name = fits[i].name, .names = {"reference"}, .count = 1};
    if (*only && strcmp(only, v.name) != 0) continue;
    w->fitters[0] = &etk__fitters_reference;
    for (int at = 0; v.count < MOST_VARIANTS && (f = etk__quant_fitters_at(at)); at++)
      if (memcmp((const char *)f + fits[i].place, &none, sizeof none) != 0) v.names[v.count] = etk__quant_decoders_at(at)->name, w->fitters[v.count++] = f;
    measure(&v, fits[i].run, w);
    show(&v, N);
  }
}
static void bench_blocks(const char *only) {
  struct block_work w = {.x = filled(N, -1, 1), .w = filled(N, 0.1f, 1), .y = filled(N, 0, 1), .packed = etk_alloc(2 * N)};
  bench_decoders(&w, only);
  bench_searches(&w, only);
  etk_free(w.x), etk_free(w.w), etk_free(w.y), etk_free(w.packed);
}

/* ---- products with stored weights, one thread: the lowest variant stands for the reference ---- */

enum { OUT = 512, IN = 1024 };
struct product_work {
  const struct product_backend *backend;
  void *states[MOST_VARIANTS], *scratch;
  float *x, *y;
  int64_t rows;
};
static void run_product(void *user, int variant) {
  const struct product_work *w = user;
  w->backend->run(w->states[variant], w->y, OUT, w->x, IN, w->rows, 1, 0, w->scratch);
}

static void bench_product(etk_dtype dtype, const struct product_backend *backend, int64_t rows) {
  char name[64];
  etk_tensor *plain = NULL, *weight = NULL;
  if (etk_tensor_new(NULL, &plain, ETK_F32, etk_shape_of(2, OUT, IN))) return;
  float *values = filled(OUT * IN, -0.1f, 0.1f);
  memcpy(etk_tensor_data(plain), values, etk_tensor_bytes(plain));
  etk_free(values);
  if (etk_tensor_cast(NULL, &weight, plain, dtype)) weight = NULL;
  etk_tensor_unref(plain);
  struct product_work w = {.backend = backend, .rows = rows, .x = filled(rows * IN, -1, 1), .y = filled(rows * OUT, 0, 1)};
  struct variants v = {.kind = "product", .name = name};
  snprintf(name, sizeof name, "%s %s x %d rows", backend->name, etk_dtype_name(dtype), (int)rows);
  size_t most = 64;
  for (; weight && v.count < MOST_VARIANTS; v.count++) {
    const struct blocks_kernels *blocks = backend == &etk__product_blocks ? etk__blocks_kernels_at(v.count) : NULL;
    const struct half_kernels *half = backend == &etk__product_half ? etk__half_kernels_at(v.count) : NULL;
    if (half && half->tile_pairs && (rows == 1 || dtype == ETK_F32 || dtype == ETK_F16)) break; /* repeats the one below: pairs are its own */
    if (blocks ? etk__blocks_make(NULL, &w.states[v.count], weight, blocks) : !half || etk__half_make(NULL, &w.states[v.count], weight, half)) break;
    v.names[v.count] = blocks ? blocks->name : half->name;
    size_t bytes = backend->scratch(w.states[v.count], rows, 1);
    most = bytes > most ? bytes : most;
  }
  w.scratch = etk_alloc_aligned(most, 64);
  measure(&v, run_product, &w);
  show(&v, (double)rows * OUT * IN);
  for (int i = 0; i < v.count; i++) backend->free(w.states[i]);
  etk_free(w.scratch), etk_free(w.x), etk_free(w.y);
  etk_tensor_unref(weight);
}

struct packed_work {
  const struct gemm_kernels *kernels[MOST_VARIANTS];
  struct packed_gemm g[MOST_VARIANTS];
  void *scratch;
};
static void run_packed(void *user, int variant) {
  const struct packed_work *w = user;
  etk__gemm_kernels_set(w->kernels[variant]);
  etk__packed_gemm(&w->g[variant], w->scratch);
}
static void bench_packed(void) {
  enum { ROWS = 128 };
  float *a = filled(ROWS * IN, -1, 1), *b = filled(OUT * IN, -1, 1), *c = filled(ROWS * OUT, 0, 1);
  struct packed_work w = {.scratch = NULL};
  struct variants v = {.kind = "product", .name = "packed F32 x 128 rows"};
  size_t most = 64;
  for (const struct gemm_kernels *k; v.count < MOST_VARIANTS && (k = etk__gemm_kernels_at(v.count)); v.count++) {
    struct packed_gemm *g = &w.g[v.count];
    *g = (struct packed_gemm){.tb = true, .pairs = k->tile[1] != NULL, .m = ROWS, .n = OUT, .k = IN, .a = a, .b = b, .c = c, .lda = IN, .ldb = IN, .ldc = OUT, .alpha = 1};
    w.kernels[v.count] = k;
    v.names[v.count] = k->name;
    etk__gemm_kernels_set(k);
    size_t bytes = etk__packed_gemm_scratch(g, 1);
    most = bytes > most ? bytes : most;
  }
  w.scratch = etk_alloc_aligned(most, 64);
  measure(&v, run_packed, &w);
  show(&v, (double)ROWS * OUT * IN);
  etk__gemm_kernels_set(NULL);
  etk_free(a), etk_free(b), etk_free(c), etk_free(w.scratch);
}

static void bench_variants(void) {
  static const etk_dtype halves[] = {ETK_F32, ETK_F16, ETK_BF16, (etk_dtype)ETK_Q8_0};
  int threads = etk_parallel_threads();
  etk_parallel_set_threads(1);
  for (int64_t rows = 1; rows <= 64; rows *= 64) {
    for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) bench_product((etk_dtype)t, &etk__product_blocks, rows);
    for (size_t t = 0; t < sizeof halves / sizeof *halves; t++)
      if (rows > 1 || (int)halves[t] < ETK_TYPE_FIRST_BLOCK) bench_product(halves[t], &etk__product_half, rows); /* one row of blocks is decoded */
  }
  bench_packed();
  etk_parallel_set_threads(threads);
}

/* ---- matrix products by the library and the pool ---- */

static void bench_products(void) {
  static const struct {
    int64_t m, n, k;
    bool ta, tb;
  } sizes[] = {{2048, 192, 512, false, true}, {2048, 512, 192, false, true}, {512, 192, 2048, true, false}, {2048, 192, 512, false, false}, {2048, 4096, 192, false, true},
               {1, 4096, 192, false, true}, {4, 4096, 192, false, true}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t m = sizes[i].m, n = sizes[i].n, k = sizes[i].k;
    float *a = filled(m * k, -1, 1), *b = filled(n * k, -1, 1), *c = filled(m * n, -1, 1);
    struct gemm g = {.ta = sizes[i].ta, .tb = sizes[i].tb, .m = m, .n = n, .k = k, .alpha = 1, .a = a, .b = b, .c = c, .lda = sizes[i].ta ? m : k, .ldb = sizes[i].tb ? k : n,
                     .ldc = n};
    double best[2] = {1e9, 1e9};
    for (int r = 0; r < 20; r++)
      for (int p = 0; p < 2; p++) {
        double t = seconds();
        if (p) etk__gemm_parallel(&g);
        else etk__gemm(&g);
        t = seconds() - t;
        if (t < best[p]) best[p] = t;
      }
    double work = 2e-9 * (double)m * (double)n * (double)k;
    printf("{\"bench\":\"product\",\"library\":\"%s\",\"m\":%d,\"n\":%d,\"k\":%d,\"ta\":%d,\"tb\":%d,\"gflops_one_thread\":%.1f,\"gflops_pool\":%.1f}\n", etk__blas_name(), (int)m,
           (int)n, (int)k, g.ta, g.tb, work / best[0], work / best[1]);
    etk_free(a), etk_free(b), etk_free(c);
  }
}

/* ---- a training step: dim 192, 6 heads, 6 layers, hidden 512, vocabulary 4096, batch 16 x 128 ---- */

enum { LAYERS = 6, DIM = 192, HEADS = 6, HIDDEN = 512, VOCAB = 4096, BATCH = 16, TOKENS = 128, PER_LAYER = 9 };

struct step {
  etk_graph *g;
  etk_tensor *ids, *positions, *targets, *frequencies, *weights[2 + LAYERS * PER_LAYER], *gradients[2 + LAYERS * PER_LAYER], *loss;
  size_t count;
};

static etk_tensor *weight(struct step *s, int64_t rows, int64_t columns) {
  etk_tensor *t = NULL;
  etk_shape shape = rows ? etk_shape_of(2, rows, columns) : etk_shape_of(1, columns);
  if (etk_tensor_new(NULL, &t, ETK_F32, shape)) return NULL;
  float *a = filled(etk_tensor_elements(t), -0.05f, 0.05f);
  memcpy(etk_tensor_data(t), a, etk_tensor_bytes(t));
  etk_free(a);
  etk_tensor_set_trainable(t, true);
  return s->weights[s->count++] = t;
}

static void record_step(struct step *s) {
  etk_graph *g = s->g = etk_graph_new();
  s->ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, BATCH, TOKENS), "ids");
  s->positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, BATCH, TOKENS), "positions");
  s->targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, BATCH * TOKENS), "targets");
  s->frequencies = etk_graph_input(g, ETK_F32, etk_shape_of(1, DIM / HEADS / 2), "frequencies");
  for (int i = 0; i < BATCH * TOKENS; i++) {
    ((int32_t *)etk_tensor_data(s->ids))[i] = i * 37 % VOCAB;
    ((int32_t *)etk_tensor_data(s->targets))[i] = (i + 1) * 37 % VOCAB;
    ((int32_t *)etk_tensor_data(s->positions))[i] = i % TOKENS;
  }
  for (int i = 0; i < DIM / HEADS / 2; i++) ((float *)etk_tensor_data(s->frequencies))[i] = powf(10000, -2.0f * (float)i / (DIM / HEADS));
  etk_tensor *embedding = weight(s, VOCAB, DIM), *x = etk_embedding(g, embedding, s->ids);
  etk_shape heads = etk_shape_of(4, BATCH, TOKENS, HEADS, DIM / HEADS);
  for (int i = 0; i < LAYERS; i++) {
    etk_tensor *h = etk_rms_norm(g, x, weight(s, 0, DIM), 1e-5f);
    etk_tensor *q = etk_rope(g, etk_reshape(g, etk_matmul(g, h, weight(s, DIM, DIM), false, true), heads), s->positions, s->frequencies);
    etk_tensor *k = etk_rope(g, etk_reshape(g, etk_matmul(g, h, weight(s, DIM, DIM), false, true), heads), s->positions, s->frequencies);
    etk_tensor *v = etk_reshape(g, etk_matmul(g, h, weight(s, DIM, DIM), false, true), heads);
    etk_tensor *a = etk_reshape(g, etk_attention(g, q, k, v, 0.17f), etk_shape_of(3, BATCH, TOKENS, DIM));
    x = etk_matmul_add(g, x, a, weight(s, DIM, DIM), 1, false, true);
    h = etk_rms_norm(g, x, weight(s, 0, DIM), 1e-5f);
    etk_tensor *gate = etk_matmul(g, h, weight(s, HIDDEN, DIM), false, true), *up = etk_matmul(g, h, weight(s, HIDDEN, DIM), false, true);
    x = etk_matmul_add(g, x, etk_swiglu(g, gate, up), weight(s, DIM, HIDDEN), 1, false, true);
  }
  x = etk_reshape(g, etk_rms_norm(g, x, weight(s, 0, DIM), 1e-5f), etk_shape_of(2, BATCH * TOKENS, DIM));
  s->loss = etk_mean_counted(g, etk_cross_entropy(g, etk_matmul(g, x, embedding, false, true), s->targets), s->targets);
  etk_graph_keep(g, s->loss);
}

/* The best time of each node, which other load on the machine disturbs least, summed by operation. */
static void profile(struct step *s) {
  enum { KINDS = 64, TURNS = 20 };
  const struct op *ops[KINDS];
  double times[KINDS] = {0}, total = 0, products = 0, *best = calloc(s->g->node_count, sizeof *best);
  int calls[KINDS] = {0}, kinds = 0;
  for (int r = 0; r < TURNS && best; r++)
    for (size_t i = 0; i < s->g->node_count; i++) {
      const struct node *node = s->g->nodes[i];
      if (!node->live || node->op->flags & OP_ALIAS) continue;
      double t = seconds();
      etk__run_node(NULL, s->g, node);
      t = seconds() - t;
      if (r == 0 || t < best[i]) best[i] = t;
    }
  for (size_t i = 0; i < s->g->node_count && best; i++) {
    const struct node *node = s->g->nodes[i];
    if (!node->live || node->op->flags & OP_ALIAS) continue;
    int k = 0;
    while (k < kinds && ops[k] != node->op) k++;
    if (k == kinds) ops[kinds++] = node->op;
    times[k] += best[i];
    total += best[i];
    calls[k]++;
    if (!strncmp(node->op->name, "matmul", 6)) products += best[i];
  }
  free(best);
  for (int k = 0; k < kinds; k++)
    printf("{\"bench\":\"step operation\",\"operation\":\"%s\",\"calls\":%d,\"ms\":%.3f,\"share\":%.3f}\n", ops[k]->name, calls[k], times[k] * 1e3, times[k] / total);
  printf("{\"bench\":\"step\",\"threads\":%d,\"ms\":%.2f,\"tokens_per_second\":%.0f,\"share_not_products\":%.3f}\n", etk_parallel_threads(), total * 1e3,
         BATCH * TOKENS / total, 1 - products / total);
}

static void bench_step(void) {
  struct step s = {0};
  etk_error e = ETK_ERROR_INIT;
  etk_plan plan;
  record_step(&s);
  double t = seconds();
  etk_status status = etk_graph_backward(&e, s.g, s.loss, s.weights, s.count, s.gradients);
  double recorded = seconds();
  if (!status) status = etk_graph_plan(&e, s.g, &plan);
  double planned = seconds();
  if (!status) status = etk_graph_eval(&e, s.g);
  if (status) {
    fprintf(stderr, "%s\n", e.message);
    return;
  }
  printf("{\"bench\":\"plan\",\"nodes\":%zu,\"backward_ms\":%.2f,\"plan_ms\":%.2f,\"peak_mib\":%.1f,\"naive_mib\":%.1f,\"loss\":%.5f}\n", plan.nodes, (recorded - t) * 1e3,
         (planned - recorded) * 1e3, (double)plan.peak_bytes / 0x1p20, (double)plan.naive_bytes / 0x1p20, (double)*(float *)etk_tensor_data(s.loss));
  profile(&s);
  etk_graph_free(s.g);
  for (size_t i = 0; i < s.count; i++) etk_tensor_unref(s.weights[i]);
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : "";
  if (!*only || !strcmp(only, "kernels")) bench_kernels(argc > 2 ? argv[2] : ""), bench_blocks(argc > 2 ? argv[2] : "");
  if (!*only || !strcmp(only, "variants")) bench_variants();
  if (!*only || !strcmp(only, "products")) bench_products();
  if (!*only || !strcmp(only, "step")) bench_step();
  return 0;
}
