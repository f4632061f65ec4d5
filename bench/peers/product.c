/* Products of one weight, ours and OpenBLAS's, in the words of the driver for ONNX Runtime (bench/README.md, part `products`):
 *   product ours TYPE OUT IN THREADS      as a linear layer of our graphs runs: the product that the weight keeps, else our use of the BLAS
 *   product openblas f32 OUT IN THREADS   cblas_sgemm (one row: cblas_sgemv) of $ETK_OPENBLAS or the system's, with threads of its own
 * Built by `make bench-peers`. */
#include "products.h"

#include <dlfcn.h>
#include <etk/parallel.h>
#include <etk/quant.h>
#include <string.h>

#include "ml/ops/rows.h"

static int fail(const char *what) {
  fprintf(stderr, "product: %s\n", what);
  return 1;
}

struct work {
  int64_t out, in;
  float *x, *y;
  int64_t copies;
  etk_tensor *weights[PRODUCTS_COPIES];
  void *scratch;
  float *plain[PRODUCTS_COPIES];
};

static void free_work(struct work *w) {
  for (int64_t i = 0; i < PRODUCTS_COPIES; i++) {
    etk_tensor_unref(w->weights[i]);
    etk_free(w->plain[i]);
  }
  etk_free(w->scratch);
  free(w->x); /* products.h: aligned_alloc */
  etk_free(w->y);
}

/* ---- ours ---- */

static struct gemm product_of(const struct work *w, int64_t rows, int64_t copy) {
  return (struct gemm){.tb = true, .m = rows, .n = w->out, .k = w->in, .alpha = 1, .a = w->x, .b = etk_tensor_data(w->weights[copy]), .c = w->y, .lda = w->in, .ldb = w->in, .ldc = w->out};
}
static void run_ours(void *user, int64_t rows) {
  struct work *w = user;
  const struct call c = {.threads = etk_parallel_threads()};
  for (int64_t i = 0; i < w->copies; i++) {
    struct gemm g = product_of(w, rows, i);
    etk__multiply(&c, &g, w->weights[i], w->scratch);
  }
}

static etk_status make_ours(etk_error *e, struct work *w, const float *plain, etk_dtype dtype, int threads) {
  etk_tensor *from = NULL, *first = NULL;
  etk_parallel_set_threads(threads);
  etk_status status = etk_tensor_new(e, &from, ETK_F32, etk_shape_of(2, w->out, w->in));
  if (status) return status;
  memcpy(etk_tensor_data(from), plain, etk_tensor_bytes(from));
  status = etk_tensor_cast(e, &first, from, dtype);
  etk_tensor_unref(from);
  w->copies = status ? 0 : products_copies((int64_t)etk_tensor_bytes(first));
  for (int64_t i = 0; i < w->copies && !status; i++) {
    status = etk_tensor_new(e, &w->weights[i], dtype, etk_shape_of(2, w->out, w->in));
    if (!status) memcpy(etk_tensor_data(w->weights[i]), etk_tensor_data(first), etk_tensor_bytes(first));
  }
  etk_tensor_unref(first);
  if (status) return status;
  size_t bytes = 0;
  for (int i = 0; i < PRODUCTS_COUNTS; i++) {
    struct gemm g = product_of(w, products_counts[i], 0);
    size_t wanted = etk__multiply_scratch(&g, w->weights[0], false, threads);
    bytes = wanted > bytes ? wanted : bytes;
  }
  w->scratch = etk_alloc_aligned(bytes + 64, 64);
  return w->scratch ? ETK_OK : etk_fail_memory(e);
}

/* ---- OpenBLAS ---- */

static void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static void (*sgemv)(int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };

static void run_openblas(void *user, int64_t rows) {
  struct work *w = user;
  int out = (int)w->out, in = (int)w->in;
  for (int64_t i = 0; i < w->copies; i++)
    if (rows == 1) sgemv(ROW_MAJOR, AS_IS, out, in, 1, w->plain[i], in, w->x, 1, 0, w->y, 1);
    else sgemm(ROW_MAJOR, AS_IS, TRANSPOSED, (int)rows, out, in, 1, w->x, in, w->plain[i], in, 0, w->y, out);
}

static bool find(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol;
}
static const char *make_openblas(struct work *w, const float *plain, int threads) {
  const char *name = getenv("ETK_OPENBLAS");
  void *library = dlopen(name ? name : "libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  void (*set_threads)(int);
  if (!library || !find(library, "cblas_sgemm", &sgemm) || !find(library, "cblas_sgemv", &sgemv) || !find(library, "openblas_set_num_threads", &set_threads))
    return "no OpenBLAS (libopenblas.so.0, or ETK_OPENBLAS)";
  set_threads(threads);
  size_t bytes = (size_t)(w->out * w->in) * sizeof *plain;
  w->copies = products_copies((int64_t)bytes);
  for (int64_t i = 0; i < w->copies; i++) {
    float *copy = etk_alloc_aligned(bytes, 64);
    if (!copy) return "out of memory";
    w->plain[i] = memcpy(copy, plain, bytes);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 6) return fail("wanted ours|openblas TYPE OUT IN THREADS");
  struct work w = {.out = strtoll(argv[3], NULL, 10), .in = strtoll(argv[4], NULL, 10)};
  int threads = (int)strtol(argv[5], NULL, 10);
  bool ours = !strcmp(argv[1], "ours");
  etk_type type;
  etk_error e = ETK_ERROR_INIT;
  if (w.out < 64 || w.in < 32 || w.out > 1 << 20 || w.in > 1 << 20 || !etk_type_parse(&type, argv[2]) || (!ours && (etk_dtype)type != ETK_F32)) return fail("a bad type or size");
  float *plain = products_weights(w.out, w.in);
  w.x = products_inputs(w.in);
  w.y = etk_alloc_aligned((size_t)(PRODUCTS_ROWS * w.out) * sizeof(float), 64);
  if (!plain || !w.x || !w.y) return fail("out of memory");
  const char *why = ours ? NULL : make_openblas(&w, plain, threads);
  if (why) return fail(why);
  if (ours && make_ours(&e, &w, plain, (etk_dtype)type, threads)) return fail(e.message);
  double seconds[PRODUCTS_COUNTS];
  for (int i = 0; i < PRODUCTS_COUNTS; i++) seconds[i] = products_time(ours ? run_ours : run_openblas, &w, products_counts[i]) / (double)w.copies;
  products_print(seconds, products_error(w.y, w.x, plain, w.out, w.in, PRODUCTS_ROWS), w.out, w.in);
  free_work(&w);
  free(plain);
  return 0;
}
