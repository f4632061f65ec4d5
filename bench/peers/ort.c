/* ONNX Runtime beside us: the same work in the words of bench/peers/product.c and bench/peers/encoder.c.
 *   ETK_ORT=folder-of-the-library ort product KIND OUT IN THREADS     KIND: f32    MatMul
 *                                                                         q8, q4  MatMulNBits: blocks of 32 along the depth, a scale each, inputs rounded to 8 bits
 *                                                                         int8    DynamicQuantizeLinear and MatMulInteger: a scale for each output, one for all of x
 *                                 ort encoder MODEL.onnx SEQUENCES TOKENS VOCABULARY HIDDEN THREADS OUT
 * Its own defaults but for the number of threads: all optimizations, threads that spin for a while. Built by bench/peers/ort.sh. */
#include "encoder.h"
#include "ort_model.h"
#include "products.h"

static int fail(const char *what) {
  fprintf(stderr, "ort: %s\n", what);
  return 1;
}

/* ---- products ---- */

enum { BLOCK = 32, NAME = 24, INPUTS_MOST = 4 };

struct constant { /* a weight or its scales; the same in each copy */
  const char *name;
  enum onnx_type type;
  int rank;
  int64_t dims[3];
  void *data;
  size_t bytes;
};
struct constants {
  struct constant of[3];
  int count;
  int bits; /* of MatMulNBits */
};

static void *taken(size_t bytes) {
  void *p = calloc(bytes ? bytes : 1, 1);
  if (!p) exit(fail("out of memory"));
  return p;
}

/* MatMul wants (in, out). */
static void make_plain(struct constants *c, const float *w, int64_t out, int64_t in) {
  float *turned = taken((size_t)(out * in) * sizeof *turned);
  for (int64_t o = 0; o < out; o++)
    for (int64_t i = 0; i < in; i++) turned[i * out + o] = w[o * in + i];
  c->of[c->count++] = (struct constant){"w", ONNX_FLOAT, 2, {in, out}, turned, (size_t)(out * in) * sizeof *turned};
}

static float largest(const float *w, int64_t n, int64_t step) {
  float top = 0;
  for (int64_t i = 0; i < n; i++) top = fabsf(w[i * step]) > fabsf(top) ? w[i * step] : top;
  return top;
}
static int clamped(float value, int low, int high) {
  int q = (int)lrintf(value);
  return q < low ? low : q > high ? high : q;
}

/* Codes are unsigned, and half their range stands for zero; the first of two of 4 bits is the low one. Scales as Q8_0 and Q4_0 have them. */
static void make_blocks(struct constants *c, const float *w, int64_t out, int64_t in, int bits) {
  int64_t blocks = in / BLOCK, bytes = BLOCK * bits / 8;
  uint8_t *codes = taken((size_t)(out * blocks * bytes));
  float *scales = taken((size_t)(out * blocks) * sizeof *scales);
  for (int64_t b = 0; b < out * blocks; b++) {
    const float *from = w + b * BLOCK;
    float top = largest(from, BLOCK, 1), scale = bits == 8 ? fabsf(top) / 127 : top / -8;
    scales[b] = scale;
    for (int i = 0; i < BLOCK; i++) {
      int code = clamped(scale == 0 ? 0 : from[i] / scale, bits == 8 ? -127 : -8, bits == 8 ? 127 : 7) + (bits == 8 ? 128 : 8);
      if (bits == 8) codes[b * bytes + i] = (uint8_t)code;
      else codes[b * bytes + i / 2] |= (uint8_t)(code << i % 2 * 4);
    }
  }
  c->bits = bits;
  c->of[c->count++] = (struct constant){"w", ONNX_UINT8, 3, {out, blocks, bytes}, codes, (size_t)(out * blocks * bytes)};
  c->of[c->count++] = (struct constant){"s", ONNX_FLOAT, 1, {out * blocks}, scales, (size_t)(out * blocks) * sizeof *scales};
}

static void make_int8(struct constants *c, const float *w, int64_t out, int64_t in) {
  int8_t *codes = taken((size_t)(out * in));
  float *scales = taken((size_t)out * sizeof *scales);
  for (int64_t o = 0; o < out; o++) {
    scales[o] = fabsf(largest(w + o * in, in, 1)) / 127;
    for (int64_t i = 0; i < in; i++) codes[i * out + o] = (int8_t)clamped(scales[o] == 0 ? 0 : w[o * in + i] / scales[o], -127, 127);
  }
  c->of[c->count++] = (struct constant){"w", ONNX_INT8, 2, {in, out}, codes, (size_t)(out * in)};
  c->of[c->count++] = (struct constant){"s", ONNX_FLOAT, 1, {out}, scales, (size_t)out * sizeof *scales};
  c->of[c->count++] = (struct constant){"z", ONNX_INT8, 1, {out}, taken((size_t)out), (size_t)out};
}

struct named {
  char of[12][NAME];
};
/* A name of copy i. */
static const char *name_of(struct named *names, int slot, const char *name, int64_t i) {
  snprintf(names->of[slot], NAME, "%s%lld", name, (long long)i);
  return names->of[slot];
}
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Nodes are put in the opposite order, too. */
static void put_nodes(onnx_bytes *b, const char *kind, const struct constants *c, int64_t i, int64_t out, int64_t in) {
  struct named n;
  const char *x = name_of(&n, 0, "x", i), *y = name_of(&n, 1, "y", i), *w = name_of(&n, 2, "w", i), *s = name_of(&n, 3, "s", i);
  if (!strcmp(kind, "f32")) {
    onnx_node(b, "", "MatMul", LIST(x, w), LIST(y), NULL);
  } else if (c->bits) {
    const onnx_attribute attributes[] = {{"K", in}, {"N", out}, {"bits", c->bits}, {"block_size", BLOCK}, {"accuracy_level", 4}, {NULL, 0}};
    onnx_node(b, "com.microsoft", "MatMulNBits", LIST(x, w, s), LIST(y), attributes);
  } else {
    const char *codes = name_of(&n, 4, "codes", i), *scale = name_of(&n, 5, "scale", i), *zero = name_of(&n, 6, "zero", i), *sum = name_of(&n, 7, "sum", i),
               *floats = name_of(&n, 8, "floats", i), *both = name_of(&n, 9, "both", i), *z = name_of(&n, 10, "z", i);
    const onnx_attribute to_float[] = {{"to", ONNX_FLOAT}, {NULL, 0}};
    onnx_node(b, "", "Mul", LIST(floats, both), LIST(y), NULL);
    onnx_node(b, "", "Mul", LIST(scale, s), LIST(both), NULL);
    onnx_node(b, "", "Cast", LIST(sum), LIST(floats), to_float);
    onnx_node(b, "", "MatMulInteger", LIST(codes, w, zero, z), LIST(sum), NULL);
    onnx_node(b, "", "DynamicQuantizeLinear", LIST(x), LIST(codes, scale, zero), NULL);
  }
}

/* Each copy has an input of its own, so that what is made of x is made for each, as in a model. */
static onnx_bytes make_model(const char *kind, const struct constants *c, int64_t copies, int64_t out, int64_t in) {
  onnx_bytes b = {.size = 1 << 20};
  struct named n;
  for (int i = 0; i < c->count; i++) b.size += (size_t)copies * c->of[i].bytes;
  b.base = taken(b.at = b.size);
  for (int64_t i = copies; i-- > 0;) onnx_value(&b, 12, name_of(&n, 0, "y", i), out);
  for (int64_t i = copies; i-- > 0;) onnx_value(&b, 11, name_of(&n, 0, "x", i), in);
  for (int64_t i = copies; i-- > 0;) {
    uint8_t *last = (uint8_t *)c->of[0].data + c->of[0].bytes - 4; /* of the last output: equal weights would be kept once */
    last[0] = (uint8_t)i, last[1] = (uint8_t)(i >> 8);
    for (int k = c->count; k-- > 0;) onnx_initializer(&b, name_of(&n, 0, c->of[k].name, i), c->of[k].type, c->of[k].dims, c->of[k].rank, c->of[k].data, c->of[k].bytes);
  }
  for (int64_t i = copies; i-- > 0;) put_nodes(&b, kind, c, i, out, in);
  onnx_model(&b);
  return b;
}

struct work {
  ort o;
  void *session;
  int64_t out, in, copies;
  float *x, *y;
  const char *in_names[PRODUCTS_COPIES], *out_names[PRODUCTS_COPIES];
};
/* All copies read one x and write one y: they run one after the other. */
static void run_product(void *user, int64_t rows) {
  struct work *w = user;
  void *x[PRODUCTS_COPIES], *y[PRODUCTS_COPIES];
  for (int64_t i = 0; i < w->copies; i++) {
    x[i] = ort_tensor(&w->o, w->x, (size_t)(rows * w->in) * sizeof(float), rows, w->in, ONNX_FLOAT);
    y[i] = ort_tensor(&w->o, w->y, (size_t)(rows * w->out) * sizeof(float), rows, w->out, ONNX_FLOAT);
  }
  ort_run(&w->o, w->session, w->in_names, x, (size_t)w->copies, w->out_names, y, (size_t)w->copies);
}

static int product(int argc, char **argv) {
  if (argc < 4) return fail("wanted product f32|q8|q4|int8 OUT IN THREADS");
  const char *kind = argv[0];
  struct work w = {.out = strtoll(argv[1], NULL, 10), .in = strtoll(argv[2], NULL, 10)};
  if (w.out < 64 || w.in < BLOCK || w.in % BLOCK || w.out > 1 << 20 || w.in > 1 << 20) return fail("a bad size");
  if (!ort_open(&w.o, (int)strtol(argv[3], NULL, 10))) return 3;
  float *plain = products_weights(w.out, w.in);
  w.x = products_inputs(w.in);
  w.y = taken((size_t)(PRODUCTS_ROWS * w.out) * sizeof *w.y);
  if (!plain || !w.x) return fail("out of memory");
  struct constants c = {.count = 0};
  if (!strcmp(kind, "f32")) make_plain(&c, plain, w.out, w.in);
  else if (!strcmp(kind, "q8") || !strcmp(kind, "q4")) make_blocks(&c, plain, w.out, w.in, kind[1] == '8' ? 8 : 4);
  else if (!strcmp(kind, "int8")) make_int8(&c, plain, w.out, w.in);
  else return fail("a bad kind");
  w.copies = products_copies((int64_t)(c.of[0].bytes + (c.bits ? c.of[1].bytes : 0)));
  onnx_bytes model = make_model(kind, &c, w.copies, w.out, w.in);
  w.session = ort_session_of_bytes(&w.o, model.base + model.at, model.size - model.at);
  free(model.base);
  for (int64_t i = 0; i < w.copies; i++) {
    struct named *n = taken(sizeof *n);
    w.in_names[i] = name_of(n, 0, "x", i), w.out_names[i] = name_of(n, 1, "y", i);
  }
  double seconds[PRODUCTS_COUNTS];
  for (int i = 0; i < PRODUCTS_COUNTS; i++) seconds[i] = products_time(run_product, &w, products_counts[i]) / (double)w.copies;
  products_print(seconds, products_error(w.y, w.x, plain, w.out, w.in, PRODUCTS_ROWS), w.out, w.in);
  return 0;
}

/* ---- an encoder ---- */

struct encoder {
  ort o;
  void *session, *inputs[2], *output;
  const float *embeddings;
};
static void run_encoder(void *user) {
  struct encoder *x = user;
  x->output = NULL;
  ort_run(&x->o, x->session, LIST("ids", "mask"), x->inputs, 2, LIST("embedding"), &x->output, 1);
  ort_must(&x->o, ORT_CALL(&x->o, ORT_TENSOR_DATA, void *, void **)(x->output, (void **)(uintptr_t)&x->embeddings), "result");
}

static int encoder(int argc, char **argv, double since) {
  if (argc < 7) return fail("wanted encoder MODEL.onnx SEQUENCES TOKENS VOCABULARY HIDDEN THREADS OUT");
  int64_t sequences = strtoll(argv[1], NULL, 10), tokens = strtoll(argv[2], NULL, 10), vocabulary = strtoll(argv[3], NULL, 10), hidden = strtoll(argv[4], NULL, 10);
  if (sequences < 1 || tokens < 1 || vocabulary < 1 || hidden < 1) return fail("a bad size");
  struct encoder x = {.session = NULL};
  if (!ort_open(&x.o, (int)strtol(argv[5], NULL, 10))) return 3;
  x.session = ort_session_of_file(&x.o, argv[0]);
  size_t bytes = (size_t)(sequences * tokens) * sizeof(int64_t);
  int64_t *ids = taken(bytes), *mask = taken(bytes);
  for (int64_t i = 0; i < sequences * tokens; i++) ids[i] = encoder_id(i, vocabulary), mask[i] = 1;
  x.inputs[0] = ort_tensor(&x.o, ids, bytes, sequences, tokens, ONNX_INT64);
  x.inputs[1] = ort_tensor(&x.o, mask, bytes, sequences, tokens, ONNX_INT64);
  double seconds = encoder_time(run_encoder, &x), ready = encoder_ready;
  return encoder_print(seconds, sequences, since ? ready - since : 0, x.embeddings, sequences * hidden, argv[6]) ? 0 : fail("cannot write the embeddings");
}

int main(int argc, char **argv) {
  double since = 0;
  if (argc > 2 && !strcmp(argv[argc - 2], "--since")) since = strtod(argv[argc - 1], NULL) * 1e-9, argc -= 2;
  if (argc > 1 && !strcmp(argv[1], "product")) return product(argc - 2, argv + 2);
  if (argc > 1 && !strcmp(argv[1], "encoder")) return encoder(argc - 2, argv + 2, since);
  return fail("wanted product … or encoder …; the head of bench/peers/ort.c says what");
}
