/* Kernels by instruction set, matrix products, and where a training step of a small Llama spends its time. One JSON line per result. */
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

/* ---- kernels over 16 Ki elements (in cache), best of many ---- */

enum { N = 1 << 14, REPEATS = 300 };
struct work {
  const struct kernels *k;
  float *a, *b, *c, *d, *e;
};
static void run_add(struct work *w) { w->k->add_f32(w->c, w->a, w->b, N); }
static void run_dot(struct work *w) { w->c[0] = w->k->dot_f32(w->a, w->b, N); }
static void run_sum_squares(struct work *w) { w->c[0] = (float)w->k->sum_squares_f32(w->a, N); }
static void run_swiglu(struct work *w) { w->k->swiglu_f32(w->c, w->a, w->b, N); }
static void run_swiglu_backward(struct work *w) { w->k->swiglu_backward_f32(w->c, w->d, w->e, w->a, w->b, N); }
static void run_softmax(struct work *w) { w->k->softmax_f32(w->c, w->a, 1, N); }
static void run_log_sum_exp(struct work *w) { w->c[0] = w->k->log_sum_exp_f32(w->a, N); }
static void run_exp_affine(struct work *w) { w->k->exp_affine_f32(w->c, w->a, 1, -1, 0.5f, N); }
static void run_softmax_backward(struct work *w) { w->k->softmax_backward_f32(w->c, w->a, w->b, 0.1f, 0.2f, N); }
static void run_rms_norm(struct work *w) {
  for (int i = 0; i < N; i += 256) w->d[0] = w->k->rms_norm_f32(w->c + i, w->a + i, w->b, 1e-5f, 256);
}
static void run_rms_norm_backward(struct work *w) {
  for (int i = 0; i < N; i += 256) w->k->rms_norm_backward_f32(w->c + i, w->d, NULL, w->e + i, w->a + i, w->b, 1.5f, 256);
}
static void run_rope(struct work *w) {
  for (int i = 0; i < N; i += 64) w->k->rope_f32(w->c + i, w->a + i, w->b, w->e, 32);
}
static void run_adamw(struct work *w) { w->k->adamw_f32(w->c, w->d, w->e, w->a, &(struct adamw_step){1, 0.1f, 0.999f, 0.001f, 1, 0, 1, 1e-8f}, N); }
static void run_dropout(struct work *w) { w->k->dropout_f32(w->c, w->a, &(struct dropout_mask){1, 2, 0, 1u << 29, 1.1f}, N); }
static void run_f16_to_f32(struct work *w) { w->k->f16_to_f32(w->c, (uint16_t *)(void *)w->a, N); }
static void run_f32_to_f16(struct work *w) { w->k->f32_to_f16((uint16_t *)(void *)w->c, w->a, N); }
static void run_f32_to_bf16(struct work *w) { w->k->f32_to_bf16((uint16_t *)(void *)w->c, w->a, N); }
static void run_matvec(struct work *w) { w->k->matvec_f32(w->c, w->a, 256, w->b, N / 256, 256); }
static void run_gemm(struct work *w) {
  w->k->gemm_f32(&(struct gemm){.tb = true, .m = 128, .n = 128, .k = 128, .alpha = 1, .a = w->a, .b = w->b, .c = w->c, .lda = 128, .ldb = 128, .ldc = 128});
}

static const struct {
  const char *name;
  void (*run)(struct work *w);
} works[] = {{"add", run_add}, {"dot", run_dot}, {"sum_squares", run_sum_squares}, {"swiglu", run_swiglu}, {"swiglu_backward", run_swiglu_backward},
             {"softmax", run_softmax}, {"log_sum_exp", run_log_sum_exp}, {"exp_affine", run_exp_affine}, {"softmax_backward", run_softmax_backward},
             {"rms_norm", run_rms_norm}, {"rms_norm_backward", run_rms_norm_backward}, {"rope", run_rope}, {"adamw", run_adamw}, {"dropout", run_dropout},
             {"f16_to_f32", run_f16_to_f32}, {"f32_to_f16", run_f32_to_f16}, {"f32_to_bf16", run_f32_to_bf16}, {"matvec", run_matvec}, {"gemm 128^3", run_gemm}};

static void bench_kernels(void) {
  struct work w = {NULL, filled(N, -3, 3), filled(N, -3, 3), filled(N, -3, 3), filled(N, 0, 3), filled(N, 0.1f, 3)};
  for (size_t i = 0; i < sizeof works / sizeof *works; i++)
    for (int j = 0; (w.k = etk__kernels_at(j)); j++) {
      double best = 1e9;
      for (int r = 0; r < REPEATS; r++) {
        double t = seconds();
        works[i].run(&w);
        t = seconds() - t;
        if (t < best) best = t;
      }
      printf("{\"bench\":\"kernel\",\"kernel\":\"%s\",\"isa\":\"%s\",\"ns_per_element\":%.4f}\n", works[i].name, w.k->name, best * 1e9 / N);
    }
  etk_free(w.a), etk_free(w.b), etk_free(w.c), etk_free(w.d), etk_free(w.e);
}

/* ---- products ---- */

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
  enum { KINDS = 64, ROUNDS = 20 };
  const struct op *ops[KINDS];
  double times[KINDS] = {0}, total = 0, products = 0, *best = calloc(s->g->node_count, sizeof *best);
  int calls[KINDS] = {0}, kinds = 0;
  for (int r = 0; r < ROUNDS && best; r++)
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
  if (!*only || !strcmp(only, "kernels")) bench_kernels();
  if (!*only || !strcmp(only, "products")) bench_products();
  if (!*only || !strcmp(only, "step")) bench_step();
  return 0;
}
