/* Decoding of blocks by instruction set, encoding of rows, affine codes and NF4, on one thread. Gigabytes are of float. One JSON line per result. */
#include "../sdk/ml/quant/internal.h"
#include "../tests/sdk/ml_quant_data.h"

#include <etk/alloc.h>
#include <etk/hardware.h>
#include <etk/parallel.h>

enum { ROWS = 16, COLUMNS = 4096, COUNT = ROWS * COLUMNS, REPEATS = 7 };

struct work {
  float *x, *y, *scales, *biases, *importance;
  unsigned char *packed;
  etk_type type;
  etk__decode_blocks decode;
  etk_affine affine;
};
static double gb_s(void (*body)(struct work *), struct work *w) {
  double best = 1e9;
  for (int r = 0; r < REPEATS; r++) {
    int64_t begin = etk_time_ns();
    body(w);
    double t = (double)(etk_time_ns() - begin) * 1e-9;
    if (t < best) best = t;
  }
  return (double)COUNT * sizeof(float) / best * 1e-9;
}
static void decode(struct work *w) { w->decode(w->y, w->packed, COUNT / etk_type_block_elements(w->type)); }
static void encode(struct work *w) { etk_quant_encode(NULL, w->packed, w->type, w->x, ROWS, COLUMNS, NULL); }
static void encode_weighted(struct work *w) { etk_quant_encode(NULL, w->packed, w->type, w->x, ROWS, COLUMNS, w->importance); }
static void affine_encode(struct work *w) {
  etk_affine_encode(NULL, (uint32_t *)(void *)w->packed, w->scales, w->biases, &w->affine, w->x, ROWS, COLUMNS);
}
static void affine_decode(struct work *w) {
  etk_affine_decode(NULL, w->y, &w->affine, (uint32_t *)(void *)w->packed, w->scales, w->biases, ROWS, COLUMNS);
}
static void nf4_encode(struct work *w) { etk_nf4_encode(NULL, w->packed, w->scales, w->x, COUNT); }
static void nf4_decode(struct work *w) { etk_nf4_decode(w->y, w->packed, w->scales, COUNT); }

static void bench_blocks(struct work *w) {
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    w->type = data_layouts[t].type;
    const char *name = etk_type_name(w->type);
    printf("{\"bench\":\"quant encode\",\"type\":\"%s\",\"gb_per_second\":%.3f}\n", name, gb_s(encode, w));
    printf("{\"bench\":\"quant encode with importance\",\"type\":\"%s\",\"gb_per_second\":%.3f}\n", name, gb_s(encode_weighted, w));
    const etk__decoders *decoders;
    for (int i = 0; (decoders = etk__quant_decoders_at(i)); i++) {
      w->decode = decoders->of[w->type - ETK_TYPE_FIRST_BLOCK];
      if (!w->decode) continue;
      printf("{\"bench\":\"quant decode\",\"type\":\"%s\",\"isa\":\"%s\",\"gb_per_second\":%.2f}\n", name, decoders->name, gb_s(decode, w));
    }
  }
}

int main(void) {
  struct work w = {.x = etk_alloc(COUNT * 4), .y = etk_alloc(COUNT * 4), .scales = etk_alloc(COUNT), .biases = etk_alloc(COUNT)};
  w.importance = etk_alloc(COLUMNS * 4);
  w.packed = etk_alloc(COUNT * 2);
  if (!w.x || !w.y || !w.scales || !w.biases || !w.importance || !w.packed) return 1;
  etk_parallel_set_threads(1);
  data_fill(w.x, COUNT, DATA_GAUSSIAN);
  data_importance(w.importance, COLUMNS);
  bench_blocks(&w);
  static const int widths[] = {2, 3, 4, 5, 6, 8};
  for (int i = 0; i < 6; i++) {
    w.affine = (etk_affine){widths[i], 64, ETK_F16};
    printf("{\"bench\":\"affine\",\"bits\":%d,\"encode_gb_per_second\":%.3f,", widths[i], gb_s(affine_encode, &w));
    printf("\"decode_gb_per_second\":%.2f}\n", gb_s(affine_decode, &w));
  }
  printf("{\"bench\":\"nf4\",\"encode_gb_per_second\":%.3f,", gb_s(nf4_encode, &w));
  printf("\"decode_gb_per_second\":%.2f}\n", gb_s(nf4_decode, &w));
  etk_free(w.x), etk_free(w.y), etk_free(w.scales), etk_free(w.biases), etk_free(w.importance), etk_free(w.packed);
  return 0;
}
