/* Products y = x W' with weights of F32, F16, BF16 and types that are decoded, by shape and number of rows, beside the path without the product layer (a tile decoded and
 * multiplied by the BLAS, or the BLAS alone for F32), turn by turn. Weights change from one product to the next through a store larger than the caches, as a model's
 * layers do. One JSON line per result; times are the least of the rounds. product_half [TYPE] [ROWS] [OUT IN] takes only those. */
#include "ml/product/product.h"
#include "ml/tensor/internal.h"

#include <etk/hardware.h>
#include <etk/parallel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORE = 192 << 20, COPIES_MOST = 64 };

static double seconds(void) { return (double)etk_time_ns() * 1e-9; }

static float *filled(int64_t n) {
  float *a = etk_alloc_aligned((size_t)n * sizeof *a, 64);
  uint32_t s = 1;
  for (int64_t i = 0; a && i < n; i++) a[i] = (float)((s = s * 1664525 + 1013904223) >> 8) * 0x1p-23f - 1;
  return a;
}

struct weights {
  etk_tensor *of[COPIES_MOST];
  void *state[COPIES_MOST];
  int count;
};

static void fill(struct weights *w, etk_dtype dtype, int64_t out, int64_t in) {
  etk_tensor *plain = NULL, *first = NULL;
  w->count = 0;
  if (etk_tensor_new(NULL, &plain, ETK_F32, etk_shape_of(2, out, in))) return;
  float *values = filled(out * in);
  memcpy(etk_tensor_data(plain), values, etk_tensor_bytes(plain));
  etk_free(values);
  if (etk_tensor_cast(NULL, &first, plain, dtype)) {
    etk_tensor_unref(plain);
    return;
  }
  etk_tensor_unref(plain);
  for (size_t used = 0; w->count < COPIES_MOST && (used < STORE || !w->count); used += etk_tensor_bytes(first)) {
    etk_tensor *copy = NULL;
    if (etk_tensor_new(NULL, &copy, dtype, etk_shape_of(2, out, in))) break;
    memcpy(etk_tensor_data(copy), etk_tensor_data(first), etk_tensor_bytes(first));
    if (etk__product_half.make(NULL, &w->state[w->count], copy)) break;
    w->of[w->count++] = copy;
  }
  etk_tensor_unref(first);
}

static void empty(struct weights *w) {
  for (int i = 0; i < w->count; i++) {
    etk__product_half.free(w->state[i]);
    etk_tensor_unref(w->of[i]);
  }
}

static const etk_hardware_limits *limits;

static void bench(etk_dtype dtype, int64_t out, int64_t in, int64_t rows) {
  struct weights w;
  fill(&w, dtype, out, in);
  if (!w.count) return;
  float *x = filled(rows * in), *y = filled(rows * out);
  struct gemm g = {.tb = true, .m = rows, .n = out, .k = in, .alpha = 1, .a = x, .c = y, .lda = in, .ldb = in, .ldc = out};
  void *scratch = etk_alloc_aligned(etk__product_half.scratch(w.state[0], rows, etk_parallel_threads()) + 64, 64);
  void *tile = etk_alloc_aligned(etk__stored_gemm_scratch(w.of[0], true, etk_parallel_threads()) + 64, 64);
  double best[2] = {1e9, 1e9}, began = seconds();
  for (int r = 0; r < 12 || (r < 400 && seconds() - began < 0.7); r++)
    for (int side = 0; side < 2; side++) {
      int i = (2 * r + side) % w.count;
      double t = seconds();
      if (!side) etk__product_half.run(w.state[i], y, out, x, in, rows, 1, 0, scratch);
      else if (dtype == ETK_F32) g.b = etk_tensor_data(w.of[i]), etk__gemm_parallel(&g);
      else etk__stored_gemm(&g, w.of[i], tile);
      t = seconds() - t;
      if (t < best[side]) best[side] = t;
    }
  double flops = 2e-9 * (double)rows * (double)out * (double)in, bytes = (double)etk_tensor_bytes(w.of[0]) * 1e-9;
  double peak = (dtype == ETK_F32 || dtype == ETK_F16 || limits->bf16_flops_per_s <= 0 ? limits->f32_flops_per_s : limits->bf16_flops_per_s) * 1e-9;
  printf("{\"bench\":\"product_half\",\"type\":\"%s\",\"out\":%d,\"in\":%d,\"rows\":%d,\"us\":%.1f,\"gflops\":%.1f,\"share_of_peak\":%.3f,\"gb_s\":%.1f,\"share_of_read\":%.3f,"
         "\"without_us\":%.1f,\"ratio\":%.2f}\n",
         etk_dtype_name(dtype), (int)out, (int)in, (int)rows, best[0] * 1e6, flops / best[0], flops / best[0] / peak, bytes / best[0],
         bytes / best[0] / limits->read_bytes_per_s * 1e9, best[1] * 1e6, best[1] / best[0]);
  fflush(stdout);
  etk_free(x), etk_free(y), etk_free(scratch), etk_free(tile);
  empty(&w);
}

int main(int argc, char **argv) {
  static const etk_dtype types[] = {ETK_F32, ETK_F16, ETK_BF16, (etk_dtype)ETK_Q8_0};
  static const int64_t shapes[][2] = {{768, 768}, {768, 2048}, {2048, 5632}, {32000, 768}}, rows[] = {1, 4, 32, 512};
  etk_hardware_limits measured;
  if (etk_hardware_measure(NULL, &measured, 0)) return 1;
  limits = &measured;
  printf("{\"bench\":\"product_half\",\"blas\":\"%s\",\"threads\":%d,\"f32_gflops\":%.0f,\"bf16_gflops\":%.0f,\"read_gb_s\":%.1f}\n", etk__blas_name(), measured.threads,
         measured.f32_flops_per_s * 1e-9, measured.bf16_flops_per_s * 1e-9, measured.read_bytes_per_s * 1e-9);
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    if (argc > 1 && strcmp(argv[1], etk_dtype_name(types[t]))) continue;
    for (size_t s = 0; s < (argc > 4 ? 1 : sizeof shapes / sizeof *shapes); s++)
      for (size_t r = 0; r < (argc > 2 ? 1 : sizeof rows / sizeof *rows); r++)
        bench(types[t], argc > 4 ? strtoll(argv[3], NULL, 10) : shapes[s][0], argc > 4 ? strtoll(argv[4], NULL, 10) : shapes[s][1], argc > 2 ? strtoll(argv[2], NULL, 10) : rows[r]);
  }
  return 0;
}
