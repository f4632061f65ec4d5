/* Products with stored blocks, by type and instruction set: bytes of weights per second for one row of x, operations per second for 512, each beside the
 * machine's limit (measured here, on the same threads), and what decoding rows and a product of floats does. One JSON line per result.
 *
 *   product [TYPE [VARIANT]]    such as "Q4_0 avx512vnni"; without, the best variant of every type, and every variant of Q8_0 */
#include "ml/product/product_blocks.h"
#include "ml/tensor/internal.h"

#include <etk/hardware.h>
#include <etk/parallel.h>
#include <stdio.h>
#include <string.h>

static double seconds(void) { return (double)etk_time_ns() * 1e-9; }

static const struct {
  int64_t out, in;
} shapes[] = {{768, 768}, {768, 2048}, {2048, 5632}, {32000, 768}};
enum { ROWS = 512, COPIES_BYTES = 96 << 20 }; /* for one row, copies of the weight are read in turn, so that they come from memory */

static void randomize(unsigned char *p, size_t bytes, etk_type type) {
  uint32_t s = 1;
  for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)((s = s * 1664525 + 1013904223) >> 24);
  size_t block = (size_t)etk_type_block_bytes(type);
  static const int halves[][2] = {{0, 0}, {0, 2}, {0, 0}, {0, 2}, {0, 0}, {80, 82}, {108, 108}, {0, 2}, {0, 2}, {208, 208}, {0, 0}};
  for (size_t i = 0; i < bytes; i += block) /* scales of about 0.01 */
    for (int h = 0; h < 2; h++) memcpy(p + i + halves[type - ETK_TYPE_FIRST_BLOCK][h], "\x20\x21", 2);
}

/* Best of some repetitions within `budget` seconds. */
static double best_of(void (*run)(void *), void *user, double budget) {
  double best = 1e30, start = seconds();
  for (int i = 0; i < 3 || seconds() - start < budget; i++) {
    double t = seconds();
    run(user);
    t = seconds() - t;
    if (t < best) best = t;
  }
  return best;
}

struct work {
  void **states;
  int copies;
  float *x, *y;
  void *scratch;
  int64_t rows, in, out;
  const etk_tensor *weight;
};
static void run_product(void *user) {
  struct work *w = user;
  for (int i = 0; i < w->copies; i++) etk__product_blocks.run(w->states[i], w->y, w->out, w->x, w->in, w->rows, 1, 0, w->scratch);
}
static void run_decoding(void *user) {
  struct work *w = user;
  etk__stored_gemm(&(struct gemm){.tb = true, .m = w->rows, .n = w->out, .k = w->in, .alpha = 1, .a = w->x, .c = w->y,
                                  .lda = w->in, .ldb = w->in, .ldc = w->out}, w->weight, w->scratch);
}

static void line(const char *type, const char *variant, struct work *w, double time, double bytes, const etk_hardware_limits *limits) {
  double rate = (double)w->copies * bytes / time, operations = 2.0 * (double)w->rows * (double)w->in * (double)w->out / time;
  if (w->rows == 1)
    printf("{\"bench\":\"product\",\"type\":\"%s\",\"variant\":\"%s\",\"out\":%d,\"in\":%d,\"rows\":1,\"GB_per_s\":%.1f,\"of_memory\":%.2f}\n",
           type, variant, (int)w->out, (int)w->in, rate * 1e-9,
           rate / limits->read_bytes_per_s);
  else
    printf("{\"bench\":\"product\",\"type\":\"%s\",\"variant\":\"%s\",\"out\":%d,\"in\":%d,\"rows\":%d,\"GOP_per_s\":%.0f,\"of_int8_peak\":%.2f}\n",
           type, variant, (int)w->out, (int)w->in,
           (int)w->rows, operations * 1e-9, limits->int8_ops_per_s > 0 ? operations / limits->int8_ops_per_s : 0);
  fflush(stdout);
}

static int measure(etk_type type, const struct blocks_kernels *k, bool decoding, const etk_hardware_limits *limits) {
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    struct work w = {.in = shapes[s].in, .out = shapes[s].out};
    etk_tensor *weight;
    if (etk_tensor_new(NULL, &weight, (etk_dtype)type, etk_shape_of(2, w.out, w.in))) return 1;
    randomize(weight->data, weight->bytes, type);
    int copies = 1 + (int)(COPIES_BYTES / weight->bytes);
    w.states = etk_calloc((size_t)copies, sizeof *w.states);
    w.x = etk_alloc_aligned((size_t)(ROWS * w.in) * sizeof(float), 64);
    w.y = etk_alloc_aligned((size_t)(ROWS * w.out) * sizeof(float), 64);
    if (!w.states || !w.x || !w.y) return 1;
    for (int64_t i = 0; i < ROWS * w.in; i++) w.x[i] = (float)(i * 7919 % 201 - 100) * 0.01f;
    double start = seconds();
    for (int i = 0; i < copies; i++)
      if (etk__blocks_make(NULL, &w.states[i], weight, k)) return 1;
    double made = (seconds() - start) / copies;
    size_t scratch = etk__product_blocks.scratch(w.states[0], ROWS, etk_parallel_threads()),
           other = etk__stored_gemm_scratch(weight, true, etk_parallel_threads());
    w.scratch = etk_alloc_aligned(scratch > other ? scratch : other, 64);
    w.weight = weight;
    if (!w.scratch) return 1;
    w.rows = 1, w.copies = copies;
    line(etk_type_name(type), k->name, &w, best_of(run_product, &w, 0.15), (double)weight->bytes, limits);
    w.copies = 1, w.rows = ROWS;
    line(etk_type_name(type), k->name, &w, best_of(run_product, &w, 0.15), (double)weight->bytes, limits);
    if (decoding) line(etk_type_name(type), "decoded", &w, best_of(run_decoding, &w, 0.1), (double)weight->bytes, limits);
    if (s == 3) printf("{\"bench\":\"product\",\"type\":\"%s\",\"variant\":\"%s\",\"repack_GB_per_s\":%.2f}\n",
                       etk_type_name(type), k->name, (double)weight->bytes / made * 1e-9);
    for (int i = 0; i < copies; i++) etk__product_blocks.free(w.states[i]);
    etk_free(w.scratch), etk_free(w.states), etk_free(w.x), etk_free(w.y);
    etk_tensor_unref(weight);
  }
  return 0;
}

int main(int argc, char **argv) {
  etk_hardware_limits limits = {0};
  if (etk_hardware_measure(NULL, &limits, 1)) return 1;
  printf("{\"bench\":\"product\",\"threads\":%d,\"int8_GOP_per_s\":%.0f,\"memory_GB_per_s\":%.1f}\n", limits.threads, limits.int8_ops_per_s * 1e-9, limits.read_bytes_per_s * 1e-9);
  int best = 0;
  while (etk__blocks_kernels_at(best + 1)) best++;
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    if (argc > 1 && strcmp(argv[1], etk_type_name((etk_type)t)) != 0) continue;
    for (int k = 1; k <= best; k++) {
      const struct blocks_kernels *kernels = etk__blocks_kernels_at(k);
      bool wanted = argc > 2 ? strcmp(argv[2], kernels->name) == 0 : k == best || t == ETK_Q8_0;
      if (wanted && measure((etk_type)t, kernels, k == best, &limits)) return 1;
    }
  }
  return 0;
}
