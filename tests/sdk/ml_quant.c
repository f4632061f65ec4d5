/* Block types, affine codes and NF4. tests/goldens/quant.txt was made by llama.cpp's own codecs (quant.sh); with $ETK_GGML set to its library, the same
 * and much more is compared directly. */
#include "../../bench/peers/ggml.h"
#include "../../sdk/ml/quant/internal.h"
#include "ml_golden.h"
#include "ml_quant_data.h"
#include "ml_variants.h"

#include <etk/hardware.h>
#include <etk/parallel.h>

static const struct data_layout *layout_of(const char *name) {
  for (int i = 0; i < DATA_LAYOUTS; i++)
    if (!strcmp(etk_type_name(data_layouts[i].type), name)) return &data_layouts[i];
  fail_msg("no type %s", name);
  return NULL;
}
/* Equal bits; any NaN equals any NaN. */
static void same_floats(const char *what, const float *got, const float *wanted, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (memcmp(&got[i], &wanted[i], sizeof *got) && !(isnan(got[i]) && isnan(wanted[i])))
      fail_msg("%s: element %zu is %a, wanted %a", what, i, (double)got[i], (double)wanted[i]);
}

/* ---- the golden ---- */

static size_t from_hex(unsigned char *out, const char *hex, size_t limit) {
  size_t n = strlen(hex) / 2;
  assert_true(n <= limit);
  for (size_t i = 0; i < n; i++) {
    char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
    out[i] = (unsigned char)strtoul(pair, NULL, 16);
  }
  return n;
}

static void check_golden_decode(const char *name, const char *block, const char *floats) {
  const struct data_layout *layout = layout_of(name);
  unsigned char bytes[256], bits[1024];
  float wanted[256], got[256];
  size_t size = from_hex(bytes, block, sizeof bytes), count = from_hex(bits, floats, sizeof bits) / 4;
  assert_int_equal(size, etk_type_block_bytes(layout->type));
  assert_int_equal(count, etk_type_block_elements(layout->type));
  for (size_t i = 0; i < count; i++) {
    uint32_t x = (uint32_t)bits[4 * i] << 24 | (uint32_t)bits[4 * i + 1] << 16 | (uint32_t)bits[4 * i + 2] << 8 | bits[4 * i + 3];
    memcpy(&wanted[i], &x, sizeof x);
  }
  const etk__decoders *decoders;
  for (int i = 0; (decoders = etk__quant_decoders_at(i)); i++) {
    if (!decoders->of[layout->type - ETK_TYPE_FIRST_BLOCK]) continue; /* the one below it is used */
    decoders->of[layout->type - ETK_TYPE_FIRST_BLOCK](got, bytes, 1);
    same_floats(path_of("%s, %s", name, decoders->name), got, wanted, count);
  }
  works(etk_quant_decode(e, got, layout->type, bytes, 1, (int64_t)count));
  same_floats(name, got, wanted, count);
}

enum { ROWS = 4, COLUMNS = 2048, COUNT = ROWS * COLUMNS };
static double our_error(etk_type type, const float *x, const float *importance) {
  static float y[COUNT];
  static unsigned char packed[COUNT * 2];
  works(etk_quant_encode(e, packed, type, x, ROWS, COLUMNS, importance));
  works(etk_quant_decode(e, y, type, packed, ROWS, COLUMNS));
  return data_error(x, y, ROWS, COLUMNS, importance);
}
static void check_golden_error(const char *name, const char *data, const char *weighting, double wanted) {
  static float x[COUNT];
  float importance[COLUMNS];
  int kind = 0;
  while (strcmp(data_names[kind], data)) assert_true(++kind < DATA_KINDS);
  data_fill(x, COUNT, kind);
  data_importance(importance, COLUMNS);
  double error = our_error(layout_of(name)->type, x, strcmp(weighting, "plain") ? importance : NULL);
  if (!(error <= wanted * 1.002)) fail_msg("%s, %s, %s: relative error %.6e, the reference's is %.6e", name, data, weighting, error, wanted);
}

/* One pass over the golden; `what`: which lines count. Returns their number. */
static int walk_golden(const char *what) {
  FILE *file = fopen("tests/goldens/quant.txt", "r");
  assert_non_null(file);
  char *line = NULL;
  size_t room = 0;
  int count = 0;
  while (getline(&line, &room, file) > 0) {
    char kind[16], a[16], b[4096], c[4096];
    double value = 0;
    if (line[0] == '#' || sscanf(line, "%15s %15s %4095s %4095s %lf", kind, a, b, c, &value) < 4 || strcmp(kind, what)) continue;
    count++;
    if (!strcmp(kind, "decode")) check_golden_decode(a, b, c);
    else if (!strcmp(kind, "error")) check_golden_error(a, b, c, value);
    else {
      const struct data_layout *layout = layout_of(a);
      assert_int_equal(etk_type_block_elements(layout->type), strtol(b, NULL, 10));
      assert_int_equal(etk_type_block_bytes(layout->type), strtol(c, NULL, 10));
    }
  }
  free(line);
  fclose(file);
  return count;
}
static void blocks_have_the_references_sizes(void **state) {
  (void)state;
  assert_int_equal(walk_golden("size"), DATA_LAYOUTS);
}
static void blocks_are_decoded_bit_for_bit_by_every_instruction_set(void **state) {
  (void)state;
  assert_int_equal(walk_golden("decode"), DATA_LAYOUTS * 6);
}
static void encoding_loses_no_more_than_the_reference(void **state) {
  (void)state;
  assert_int_equal(walk_golden("error"), DATA_LAYOUTS * DATA_KINDS * 2);
}

/* ---- the peer itself ---- */

static void random_and_adversarial_blocks_decode_as_the_peer_does(void **state) {
  (void)state;
  ggml peer;
  if (!ggml_open(&peer)) skip();
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    etk_type type = data_layouts[t].type;
    int64_t elements = etk_type_block_elements(type);
    for (uint64_t i = 0; i < 4000; i++) {
      unsigned char block[256];
      float wanted[256], got[256];
      data_block(block, &data_layouts[t], i);
      peer.traits(etk_type_gguf(type))->to_float(block, wanted, elements);
      const etk__decoders *decoders;
      for (int d = 0; (decoders = etk__quant_decoders_at(d)); d++) {
        if (!decoders->of[type - ETK_TYPE_FIRST_BLOCK]) continue;
        decoders->of[type - ETK_TYPE_FIRST_BLOCK](got, block, 1);
        same_floats(etk_type_name(type), got, wanted, (size_t)elements);
      }
    }
  }
  dlclose(peer.library);
}

/* Share of blocks that mean the same as the peer's, over all kinds of data, with and without importance, and real weights. (Bytes differ where a
 * group is zero: the peer stores its codes as 0, we as the middle.) */
static void encoded_blocks_are_the_peers(void **state) {
  (void)state;
  ggml peer;
  if (!ggml_open(&peer)) skip();
  static float x[COUNT], y[COUNT], z[COUNT], importance[COLUMNS];
  static unsigned char ours[COUNT * 2], theirs[COUNT * 2];
  data_importance(importance, COLUMNS);
  char *real = NULL, *path = shared("models/stories260K/stories260K.bin");
  size_t real_size = 0;
  if (etk_fs_exists(path)) works(etk_fs_read(e, &real, &real_size, path, (size_t)8 << 20));
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    etk_type type = data_layouts[t].type;
    size_t block = (size_t)etk_type_block_elements(type), same = 0, all = 0;
    for (int kind = 0; kind < DATA_KINDS + (real ? 1 : 0); kind++) {
      if (kind < DATA_KINDS) data_fill(x, COUNT, kind);
      else memcpy(x, real + 28 + 131072, sizeof x);
      for (int weighted = 0; weighted < 2; weighted++) {
        peer.quantize(etk_type_gguf(type), x, theirs, 0, ROWS, COLUMNS, weighted ? importance : NULL);
        works(etk_quant_encode(e, ours, type, x, ROWS, COLUMNS, weighted ? importance : NULL));
        works(etk_quant_decode(e, y, type, ours, ROWS, COLUMNS));
        works(etk_quant_decode(e, z, type, theirs, ROWS, COLUMNS));
        for (size_t i = 0; i < COUNT; i += block, all++) {
          size_t off = 0;
          for (size_t j = i; j < i + block; j++) off += y[j] != z[j];
          same += !off;
        }
      }
    }
    print_message("%s: %zu of %zu blocks are the peer's\n", etk_type_name(type), same, all);
    assert_true((double)same >= 0.99 * (double)all);
  }
  etk_free(real);
  dlclose(peer.library);
}

/* ---- by instruction set ---- */

struct variant {
  const etk__decoders *decoders;
  const etk__fitters *fitters;
};
static struct variant variant_of(void **state) {
  for (int i = 0; etk__quant_decoders_at(i); i++)
    if (strcmp(etk__quant_decoders_at(i)->name, *state) == 0) return (struct variant){etk__quant_decoders_at(i), etk__quant_fitters_at(i)};
  skip();
  return (struct variant){NULL, NULL};
}

static void every_instruction_set_of_the_machine_has_a_table(void **state) {
  (void)state;
  assert_variants_are_listed(KERNELS, etk__quant_decoders_at, 0);
}

/* Any bytes are a block: infinite and subnormal scales too. That the lowest decoders are right is what the goldens say. */
static void blocks_of_any_bytes_decode_to_the_lowest_sets_bits(void **state) {
  enum { COPIES = 40 };
  static unsigned char bytes[COPIES * 256];
  static float wanted[COPIES * 256], got[COPIES * 256];
  struct variant v = variant_of(state);
  uint32_t s = 1;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)((s = s * 1664525 + 1013904223) >> 24);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    if (!v.decoders->of[t - ETK_TYPE_FIRST_BLOCK]) continue; /* no faster than the set below */
    etk__quant_decoders_at(0)->of[t - ETK_TYPE_FIRST_BLOCK](wanted, bytes + 1, COPIES);
    v.decoders->of[t - ETK_TYPE_FIRST_BLOCK](got, bytes + 1, COPIES);
    same_floats(etk_type_name((etk_type)t), got, wanted, (size_t)(COPIES * etk_type_block_elements((etk_type)t)));
  }
}

/* The same scale and codes as the plain loops find, for all shapes of data. */
static void searches_agree_with_the_reference_to_the_bit(void **state) {
  static const etk__affine_search searches[] = {
      {3, -0.5f, 0.1f, 15, true}, {15, -1, 0.1f, 20, false}, {31, -0.5f, 0.1f, 15, false}, {15, -0.9f, 0.05f, 36, false}};
  static float x[COUNT], w[COUNT];
  const etk__fitters *f = variant_of(state).fitters, *r = &etk__fitters_reference;
  for (int kind = 0; kind < DATA_KINDS; kind++) {
    data_fill(x, COUNT, kind);
    data_importance(w, COUNT);
    for (int at = 0; at < COUNT; at += 32) {
      for (int n = 16; n <= 32; n += 16) {
        int8_t a[32], b[32];
        for (int levels = 4; f->fit_signed && levels <= 32; levels *= 2)
          for (int weighted = 0; weighted < 2; weighted++) {
            assert_true(f->fit_signed(n, levels, x + at, weighted ? w + at : NULL, a) ==
                        r->fit_signed(n, levels, x + at, weighted ? w + at : NULL, b));
            assert_memory_equal(a, b, (size_t)n);
          }
        for (size_t s = 0; f->fit_affine && s < sizeof searches / sizeof *searches; s++) {
          uint8_t c[32], d[32];
          float low, wanted;
          assert_true(f->fit_affine(&searches[s], n, x + at, w + at, c, &low) == r->fit_affine(&searches[s], n, x + at, w + at, d, &wanted));
          assert_true(low == wanted);
          assert_memory_equal(c, d, (size_t)n);
        }
      }
      if (f->fit_levels) assert_true(f->fit_levels(x + at, w + at) == r->fit_levels(x + at, w + at));
    }
  }
}

/* ---- rows ---- */

static void rows_are_the_same_with_any_number_of_threads(void **state) {
  (void)state;
  static float x[COUNT], a[COUNT], b[COUNT];
  static unsigned char one[COUNT * 2], many[COUNT * 2];
  data_fill(x, COUNT, DATA_HEAVY);
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    etk_type type = data_layouts[t].type;
    size_t bytes;
    works(etk_type_bytes(e, &bytes, type, ROWS, COLUMNS));
    etk_parallel_set_threads(1);
    works(etk_quant_encode(e, one, type, x, ROWS, COLUMNS, NULL));
    works(etk_quant_decode(e, a, type, one, ROWS, COLUMNS));
    etk_parallel_set_threads(4);
    works(etk_quant_encode(e, many, type, x, ROWS, COLUMNS, NULL));
    works(etk_quant_decode(e, b, type, many, ROWS, COLUMNS));
    assert_memory_equal(one, many, bytes);
    assert_memory_equal(a, b, sizeof a);
  }
  etk_parallel_set_threads(0);
}

static void packed_rows_may_lie_at_any_address(void **state) {
  (void)state;
  static unsigned char room[COUNT * 2 + 1];
  static float x[COUNT], a[COUNT], b[COUNT];
  data_fill(x, COUNT, DATA_UNIFORM);
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    works(etk_quant_encode(e, room, data_layouts[t].type, x, ROWS, COLUMNS, NULL));
    works(etk_quant_decode(e, a, data_layouts[t].type, room, ROWS, COLUMNS));
    works(etk_quant_encode(e, room + 1, data_layouts[t].type, x, ROWS, COLUMNS, NULL));
    works(etk_quant_decode(e, b, data_layouts[t].type, room + 1, ROWS, COLUMNS));
    assert_memory_equal(a, b, sizeof a);
  }
}

static void zeros_stay_zeros_and_equal_values_stay_close(void **state) {
  (void)state;
  static float x[256], y[256];
  unsigned char packed[1024];
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    etk_type type = data_layouts[t].type;
    for (int value = -1; value <= 1; value++) {
      for (int i = 0; i < 256; i++) x[i] = (float)value * 3;
      works(etk_quant_encode(e, packed, type, x, 1, 256, NULL));
      works(etk_quant_decode(e, y, type, packed, 1, 256));
      for (int i = 0; i < 256; i++)
        if (!(fabsf(x[i] - y[i]) <= 0.4f * fabsf(x[i]))) fail_msg("%s: %g came back as %g", etk_type_name(type), (double)x[i], (double)y[i]);
    }
    for (int i = 0; i < 256; i++) x[i] = 1e-42f * (float)(i % 3); /* subnormal: below every scale */
    works(etk_quant_encode(e, packed, type, x, 1, 256, NULL));
    works(etk_quant_decode(e, y, type, packed, 1, 256));
    for (int i = 0; i < 256; i++) assert_true(fabsf(y[i]) < 1e-6f);
  }
}

static void columns_that_matter_more_lose_less(void **state) {
  (void)state;
  static float x[COUNT], importance[COLUMNS];
  data_fill(x, COUNT, DATA_HEAVY);
  data_importance(importance, COLUMNS);
  static unsigned char packed[COUNT * 2];
  static float y[COUNT], z[COUNT];
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    etk_type type = data_layouts[t].type;
    works(etk_quant_encode(e, packed, type, x, ROWS, COLUMNS, NULL));
    works(etk_quant_decode(e, y, type, packed, ROWS, COLUMNS));
    works(etk_quant_encode(e, packed, type, x, ROWS, COLUMNS, importance));
    works(etk_quant_decode(e, z, type, packed, ROWS, COLUMNS));
    double plain = data_error(x, y, ROWS, COLUMNS, importance), weighted = data_error(x, z, ROWS, COLUMNS, importance);
    if (type == ETK_Q8_0) assert_true(weighted == plain);
    else if (!(weighted < plain)) fail_msg("%s: weighted error %.6f, without importance %.6f", etk_type_name(type), weighted, plain);
  }
}

static void what_cannot_be_encoded_is_named(void **state) {
  (void)state;
  static float x[512];
  unsigned char packed[2048];
  x[300] = NAN;
  fails_with(ETK_E_INVALID, "row 1, column 44 is nan; Q4_K holds finite numbers only", etk_quant_encode(e, packed, ETK_Q4_K, x, 2, 256, NULL));
  x[300] = -INFINITY;
  fails_with(ETK_E_INVALID, "column 12 is -inf; Q8_0", etk_quant_encode(e, packed, ETK_Q8_0, x, 16, 32, NULL));
  for (int t = 0; t < DATA_LAYOUTS; t++) {
    x[300] = 3e38f;
    fails_with(ETK_E_INVALID, "row 1 holds values up to 3e+38, for which", etk_quant_encode(e, packed, data_layouts[t].type, x, 2, 256, NULL));
  }
  x[300] = 0;
  fails_with(ETK_E_SHAPE,
             "rows of 160 elements cannot be Q4_K, which packs 256 at a time; store them as F16 or in a type of 32-element blocks such as Q8_0",
             etk_quant_encode(e, packed, ETK_Q4_K, x, 1, 160, NULL));
  fails_with(ETK_E_SHAPE, "rows of 33 elements cannot be Q8_0, which packs 32 at a time; store them as F16",
             etk_quant_decode(e, x, ETK_Q8_0, packed, 1, 33));
  float importance[256] = {1, -1};
  fails_with(ETK_E_INVALID, "the importance of column 1 is -1", etk_quant_encode(e, packed, ETK_Q4_K, x, 1, 256, importance));
  size_t bytes;
  fails_with(ETK_E_INVALID, "more bytes than can be counted", etk_type_bytes(e, &bytes, ETK_Q8_0, INT64_MAX, 32));
  fails_with(ETK_E_INVALID, "99 is no type", etk_type_bytes(e, &bytes, (etk_type)99, 1, 1));
  fails_with(ETK_E_UNSUPPORTED, "I8", etk_quant_decode(e, x, (etk_type)ETK_I8, packed, 1, 4));
}

static void plain_types_convert_through_the_same_calls(void **state) {
  (void)state;
  const float x[4] = {1, -2.5f, 0.333333343f, 65504};
  float y[4];
  unsigned char packed[32];
  works(etk_quant_encode(e, packed, (etk_type)ETK_F16, x, 2, 2, NULL));
  works(etk_quant_decode(e, y, (etk_type)ETK_F16, packed, 2, 2));
  assert_true(y[0] == 1 && y[1] == -2.5f && y[3] == 65504 && fabsf(y[2] - x[2]) < 1e-4f);
}

static void types_have_names_and_numbers_that_go_both_ways(void **state) {
  (void)state;
  int known = 0;
  for (uint32_t number = 0; number < 100; number++) {
    etk_type type, again;
    if (!etk_type_from_gguf(&type, number)) continue;
    known++;
    assert_int_equal(etk_type_gguf(type), number);
    assert_true(etk_type_parse(&again, etk_type_name(type)) && again == type);
  }
  assert_int_equal(known, 19); /* 11 block types and F32 F16 BF16 F64 I8 I16 I32 I64 */
  etk_type type;
  assert_true(etk_type_parse(&type, "q4_k") && type == ETK_Q4_K);
  assert_true(etk_type_parse(&type, "u16") && (int)type == ETK_U16);
  assert_int_equal(etk_type_gguf((etk_type)ETK_U16), -1);
  assert_false(etk_type_parse(&type, "Q4_X"));
  assert_int_equal(etk_type_block_elements((etk_type)ETK_BF16), 1);
  assert_int_equal(etk_type_block_bytes((etk_type)99), 0);
}

/* ---- binary16 ---- */

static void halves_are_read_and_written_as_the_kernels_convert_them(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) {
    unsigned char bytes[2] = {(unsigned char)h, (unsigned char)(h >> 8)}, back[2];
    uint16_t half = (uint16_t)h;
    float mine = quant_half(bytes), wanted;
    works(etk_dtype_convert(e, &wanted, ETK_F32, &half, ETK_F16, 1));
    same_floats("half", &mine, &wanted, 1);
    quant_put_half(back, mine);
    if (!isnan(mine)) assert_memory_equal(back, bytes, 2);
  }
  uint64_t s = 9;
  for (int i = 0; i < 100000; i++) {
    float x = quant_from_bits(data_next(&s));
    uint16_t wanted;
    unsigned char back[2];
    if (isnan(x)) continue;
    works(etk_dtype_convert(e, &wanted, ETK_F16, &x, ETK_F32, 1));
    quant_put_half(back, x);
    assert_memory_equal(back, &wanted, 2);
  }
}

/* ---- affine ---- */

static void affine_codes_are_a_stream_of_bits_from_the_lowest(void **state) {
  (void)state;
  static const int widths[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
  enum { N = 256 };
  uint64_t s = 3;
  for (size_t w = 0; w < 6; w++)
    for (size_t g = 0; g < 3; g++) {
      etk_affine a = {widths[w], groups[g], ETK_F32};
      uint32_t words[2 * N / 4] = {0};
      float scales[2 * N / 32], biases[2 * N / 32], out[2 * N];
      int codes[2 * N];
      assert_int_equal(etk_affine_words(&a, N), N * widths[w] / 32);
      for (int i = 0; i < 2 * N; i++) { /* bit b of code i is bit i * width + b of the stream */
        codes[i] = (int)(data_next(&s) >> (32 - widths[w]));
        for (int b = 0; b < widths[w]; b++) {
          int at = i * widths[w] + b;
          words[at / 32] |= (uint32_t)(codes[i] >> b & 1) << at % 32;
        }
      }
      for (int i = 0; i < 2 * N / groups[g]; i++) {
        scales[i] = (float)(i + 1) * 0.25f;
        biases[i] = -(float)i;
      }
      works(etk_affine_decode(e, out, &a, words, scales, biases, 2, N));
      for (int i = 0; i < 2 * N; i++) assert_true(out[i] == scales[i / groups[g]] * (float)codes[i] + biases[i / groups[g]]);
    }
}

/* By hand: values -1 … 2 in two bits: step 1, the larger end is 2, so scale -1 and bias 2. */
static void affine_codes_meet_the_larger_end_and_zero(void **state) {
  (void)state;
  float x[32] = {-1, 0, 1, 2}, y[32], scale, bias;
  uint32_t words[2];
  etk_affine a = {2, 32, ETK_F32};
  works(etk_affine_encode(e, words, &scale, &bias, &a, x, 1, 32));
  assert_true(scale == -1 && bias == 2);
  assert_int_equal(words[0] & 0xff, 3 | 2 << 2 | 1 << 4 | 0 << 6);
  works(etk_affine_decode(e, y, &a, words, &scale, &bias, 1, 32));
  assert_memory_equal(x, y, sizeof x);
}

static void affine_errors_are_within_half_a_step(void **state) {
  (void)state;
  static const int widths[] = {2, 3, 4, 5, 6, 8};
  static const etk_dtype dtypes[] = {ETK_F32, ETK_F16, ETK_BF16};
  static float x[COUNT], y[COUNT];
  static uint32_t words[COUNT / 4];
  static float scales[COUNT / 64], biases[COUNT / 64];
  for (size_t w = 0; w < 6; w++)
    for (size_t d = 0; d < 3; d++)
      for (int kind = 0; kind < DATA_KINDS; kind++) {
        etk_affine a = {widths[w], 64, dtypes[d]};
        data_fill(x, COUNT, kind);
        works(etk_affine_encode(e, words, scales, biases, &a, x, ROWS, COLUMNS));
        works(etk_affine_decode(e, y, &a, words, scales, biases, ROWS, COLUMNS));
        for (int g = 0; g < COUNT / 64; g++) {
          float low = x[g * 64], high = low, worst = 0;
          for (int i = g * 64; i < g * 64 + 64; i++) {
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
            worst = fmaxf(worst, fabsf(x[i] - y[i]));
          }
          /* the step is moved so that 0 is a code: by half a step at the far end at most; then the rounding of scale and bias */
          float step = (high - low) / (float)((1 << widths[w]) - 1),
                rounding = (dtypes[d] == ETK_BF16 ? 0x1p-7f : 0x1p-10f) * fmaxf(fabsf(low), fabsf(high));
          if (!(worst <= 1.01f * step + rounding))
            fail_msg("%d bits, %s, %s: error %g, step %g", widths[w], etk_dtype_name(dtypes[d]), data_names[kind], (double)worst, (double)step);
        }
      }
}

static void affine_settings_that_do_not_exist_are_refused(void **state) {
  (void)state;
  float x[64] = {0}, s[2], b[2];
  uint32_t words[16];
  fails_with(ETK_E_INVALID, "7 bits", etk_affine_encode(e, words, s, b, &(etk_affine){7, 64, ETK_F32}, x, 1, 64));
  fails_with(ETK_E_INVALID, "groups of 16", etk_affine_encode(e, words, s, b, &(etk_affine){4, 16, ETK_F32}, x, 1, 64));
  fails_with(ETK_E_INVALID, "scales of I8", etk_affine_encode(e, words, s, b, &(etk_affine){4, 64, ETK_I8}, x, 1, 64));
  fails_with(ETK_E_SHAPE, "1 rows of 32 columns do not split into groups of 64",
             etk_affine_decode(e, x, &(etk_affine){4, 64, ETK_F32}, words, s, b, 1, 32));
  x[40] = NAN;
  fails_with(ETK_E_INVALID, "row 0, column 40 is nan", etk_affine_encode(e, words, s, b, &(etk_affine){4, 32, ETK_F32}, x, 1, 64));
  x[40] = 1e30f;
  fails_with(ETK_E_INVALID, "too large for scales of F16", etk_affine_encode(e, words, s, b, &(etk_affine){4, 32, ETK_F16}, x, 1, 64));
}

/* ---- NF4 ---- */

static void nf4_codes_are_positions_in_the_table(void **state) {
  (void)state;
  float x[130], y[130], absmax[3];
  uint8_t codes[65];
  for (int i = 0; i < 130; i++) x[i] = etk_nf4_table[i % 16] * (i < 64 ? 4 : i < 128 ? 0.5f : 8);
  works(etk_nf4_encode(e, codes, absmax, x, 130));
  assert_true(absmax[0] == 4 && absmax[1] == 0.5f && absmax[2] == 8);
  for (int i = 0; i < 65; i++) assert_int_equal(codes[i], (2 * i % 16) << 4 | (2 * i + 1) % 16);
  etk_nf4_decode(y, codes, absmax, 130);
  assert_memory_equal(x, y, sizeof x);
  works(etk_nf4_encode(e, codes, absmax, (const float[]){0, 0, 0}, 3)); /* an odd number of zeros */
  etk_nf4_decode(y, codes, absmax, 3);
  assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0);
  x[7] = INFINITY;
  fails_with(ETK_E_INVALID, "element 7 is inf", etk_nf4_encode(e, codes, absmax, x, 130));
}

/* The table holds means of neighbouring quantiles, 8 above zero and 7 below (QLoRA, appendix E): checked by the normal distribution itself. */
static void nf4_table_is_made_of_normal_quantiles(void **state) {
  (void)state;
  const double offset = 0.9677083; /* 1 - (1/32 + 1/30) / 2 */
  double top = 0, q[16];
  for (int i = 0; i < 16; i++) { /* quantile by bisection of erfc */
    double p = i < 7 ? 1 - offset + (offset - 0.5) * i / 7 : i == 7 ? 0.5 : 0.5 + (offset - 0.5) * (i - 7) / 8, low = -8, high = 8;
    for (int k = 0; k < 80; k++) {
      double middle = (low + high) / 2;
      if (0.5 * erfc(-middle / sqrt(2)) < p) low = middle;
      else high = middle;
    }
    q[i] = low;
    top = fmax(top, fabs(low));
  }
  for (int i = 0; i < 16; i++) assert_true(fabs(q[i] / top - (double)etk_nf4_table[i]) < 1e-5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_have_the_references_sizes),
      cmocka_unit_test(blocks_are_decoded_bit_for_bit_by_every_instruction_set),
      cmocka_unit_test(encoding_loses_no_more_than_the_reference),
      cmocka_unit_test(random_and_adversarial_blocks_decode_as_the_peer_does),
      cmocka_unit_test(encoded_blocks_are_the_peers),
      KERNELS(VARIANT, searches_agree_with_the_reference_to_the_bit)
      KERNELS(VARIANT, blocks_of_any_bytes_decode_to_the_lowest_sets_bits)
      cmocka_unit_test(every_instruction_set_of_the_machine_has_a_table),
      cmocka_unit_test(rows_are_the_same_with_any_number_of_threads),
      cmocka_unit_test(packed_rows_may_lie_at_any_address),
      cmocka_unit_test(zeros_stay_zeros_and_equal_values_stay_close),
      cmocka_unit_test(columns_that_matter_more_lose_less),
      cmocka_unit_test(what_cannot_be_encoded_is_named),
      cmocka_unit_test(plain_types_convert_through_the_same_calls),
      cmocka_unit_test(types_have_names_and_numbers_that_go_both_ways),
      cmocka_unit_test(halves_are_read_and_written_as_the_kernels_convert_them),
      cmocka_unit_test(affine_codes_are_a_stream_of_bits_from_the_lowest),
      cmocka_unit_test(affine_codes_meet_the_larger_end_and_zero),
      cmocka_unit_test(affine_errors_are_within_half_a_step),
      cmocka_unit_test(affine_settings_that_do_not_exist_are_refused),
      cmocka_unit_test(nf4_codes_are_positions_in_the_table),
      cmocka_unit_test(nf4_table_is_made_of_normal_quantiles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
