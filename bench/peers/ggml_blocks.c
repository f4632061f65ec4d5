/* Block types beside llama.cpp's: prints one JSON line per type: sizes, decode agreement, encode error and speed of both, on one thread.
 *   ETK_GGML=…/libggml-base.so ggml_blocks [golden]
 * golden: writes tests/goldens/quant.txt's contents to stdout instead (see tests/goldens/quant.sh, which builds and runs this program). */
#include "ggml.h"

#include "../../tests/sdk/ml_quant_data.h"
#include <etk/alloc.h>
#include <etk/hardware.h>
#include <etk/parallel.h>

enum { BLOCKS = 6, ROWS = 64, COLUMNS = 4096, COUNT = ROWS * COLUMNS, ERROR_ROWS = 4, ERROR_COLUMNS = 2048 };

static uint32_t canonical(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (bits & 0x7fffffff) > 0x7f800000u ? 0x7fc00000u : bits;
}

static double peer_error(const ggml *peer, int number, int kind, const float *importance) {
  static float x[ERROR_ROWS * ERROR_COLUMNS], y[ERROR_ROWS * ERROR_COLUMNS];
  static unsigned char packed[ERROR_ROWS * ERROR_COLUMNS * 2];
  data_fill(x, ERROR_ROWS * ERROR_COLUMNS, kind);
  peer->quantize(number, x, packed, 0, ERROR_ROWS, ERROR_COLUMNS, importance);
  peer->traits(number)->to_float(packed, y, ERROR_ROWS * ERROR_COLUMNS);
  return data_error(x, y, ERROR_ROWS, ERROR_COLUMNS, importance);
}

/* Lines "size NAME elements bytes", "decode NAME block floats" (hexadecimal) and "error NAME data plain|weighted value". */
static void golden(const ggml *peer) {
  puts("# Made by tests/goldens/quant.sh with llama.cpp's libggml-base; see bench/peers/ggml_blocks.c.");
  float importance[ERROR_COLUMNS];
  data_importance(importance, ERROR_COLUMNS);
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    int number = etk_type_gguf(data_layouts[t].type);
    const ggml_traits *traits = peer->traits(number);
    const char *name = etk_type_name(data_layouts[t].type);
    printf("size %s %d %d\n", name, (int)traits->block_elements, (int)peer->row_size(number, traits->block_elements));
    for (uint64_t b = 0; b < BLOCKS; b++) {
      unsigned char block[256];
      float out[256];
      data_block(block, &data_layouts[t], b);
      traits->to_float(block, out, traits->block_elements);
      printf("decode %s ", name);
      for (size_t i = 0; i < traits->block_bytes; i++) printf("%02x", block[i]);
      putchar(' ');
      for (int64_t i = 0; i < traits->block_elements; i++) printf("%08x", canonical(out[i]));
      putchar('\n');
    }
    for (int kind = 0; kind < DATA_KINDS; kind++) {
      printf("error %s %s plain %.6e\n", name, data_names[kind], peer_error(peer, number, kind, NULL));
      printf("error %s %s weighted %.6e\n", name, data_names[kind], peer_error(peer, number, kind, importance));
    }
  }
}

static double best_of(int repeats, void (*body)(void *), void *user) {
  double best = 1e9;
  for (int r = 0; r < repeats; r++) {
    int64_t begin = etk_time_ns();
    body(user);
    double t = (double)(etk_time_ns() - begin) * 1e-9;
    if (t < best) best = t;
  }
  return best;
}

struct job {
  const ggml *peer;
  int number;
  etk_type type;
  const float *x;
  float *y;
  unsigned char *packed;
  const float *importance;
};
static void our_decode(void *user) {
  struct job *j = user;
  etk_quant_decode(NULL, j->y, j->type, j->packed, ROWS, COLUMNS);
}
static void their_decode(void *user) {
  struct job *j = user;
  j->peer->traits(j->number)->to_float(j->packed, j->y, COUNT);
}
static void our_encode(void *user) {
  struct job *j = user;
  etk_quant_encode(NULL, j->packed, j->type, j->x, ROWS, COLUMNS, j->importance);
}
static void their_encode(void *user) {
  struct job *j = user;
  j->peer->quantize(j->number, j->x, j->packed, 0, ROWS, COLUMNS, j->importance);
}

static int compare(const ggml *peer) {
  float *x = etk_alloc(COUNT * sizeof *x), *y = etk_alloc(COUNT * sizeof *y), *z = etk_alloc(COUNT * sizeof *z),
        *importance = etk_alloc(COLUMNS * sizeof *x);
  unsigned char *packed = etk_alloc(COUNT * 2), *theirs = etk_alloc(COUNT * 2);
  if (!x || !y || !z || !importance || !packed || !theirs) return 1;
  etk_parallel_set_threads(1);
  data_fill(x, COUNT, DATA_GAUSSIAN);
  data_importance(importance, COLUMNS);
  const double bytes = COUNT * sizeof(float);
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    struct job j = {peer, etk_type_gguf(data_layouts[t].type), data_layouts[t].type, x, y, packed, NULL};
    double te = best_of(3, their_encode, &j), td = best_of(9, their_decode, &j), their_error = data_error(x, y, ROWS, COLUMNS, NULL);
    memcpy(theirs, packed, COUNT * 2);
    j.importance = importance;
    double twe = best_of(2, their_encode, &j);
    j.importance = NULL;
    double oe = best_of(3, our_encode, &j), od = best_of(9, our_decode, &j), our_error = data_error(x, y, ROWS, COLUMNS, NULL);
    memcpy(z, y, COUNT * sizeof *z);
    their_decode(&j);
    size_t block = (size_t)etk_type_block_bytes(j.type), blocks = COUNT / (size_t)etk_type_block_elements(j.type), alike = 0;
    for (size_t i = 0; i < blocks; i++) alike += !memcmp(packed + i * block, theirs + i * block, block);
    bool same = !memcmp(y, z, COUNT * sizeof *z);
    j.importance = importance;
    double owe = best_of(2, our_encode, &j);
    printf("{\"bench\":\"ggml_blocks\",\"type\":\"%s\",\"decode_equal\":%s,\"blocks_equal\":%.4f,\"decode_gb_s\":%.2f,\"peer_decode_gb_s\":%.2f,"
           "\"encode_mb_s\":%.1f,\"peer_encode_mb_s\":%.1f,"
           "\"weighted_encode_mb_s\":%.1f,\"peer_weighted_encode_mb_s\":%.1f,\"error\":%.6f,\"peer_error\":%.6f}\n",
           etk_type_name(j.type), same ? "true" : "false", (double)alike / (double)blocks, bytes / od * 1e-9, bytes / td * 1e-9, bytes / oe * 1e-6,
           bytes / te * 1e-6, bytes / owe * 1e-6, bytes / twe * 1e-6, our_error, their_error);
  }
  etk_free(x), etk_free(y), etk_free(z), etk_free(importance), etk_free(packed), etk_free(theirs);
  return 0;
}

int main(int argc, char **argv) {
  ggml peer;
  if (!ggml_open(&peer)) {
    fputs("ggml_blocks: set ETK_GGML to a libggml-base library (npm pack @node-llama-cpp/linux-x64)\n", stderr);
    return 3;
  }
  if (argc < 2) return compare(&peer);
  if (strcmp(argv[1], "golden")) return 2;
  golden(&peer);
  return 0;
}
