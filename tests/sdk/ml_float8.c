/* Weights of 8-bit floating types: every byte against tests/goldens/float8.py, which computes with fractions. */
#include "ml_golden.h"

#include <etk/quant.h>
#include <etk/weights.h>

static const etk_type types[] = {ETK_F8_E4M3, ETK_F8_E5M2, ETK_F8_E4M3FNUZ, ETK_F8_E5M2FNUZ, ETK_F8_E8M0};
enum { TYPES = sizeof types / sizeof *types };

/* A NaN for a NaN, else the bits: -0 is not 0. */
static void same(const char *type, int byte, float seen, const char *wanted) {
  float value = strtof(wanted, NULL);
  bool right = isnan(value) ? isnan(seen) : memcmp(&seen, &value, sizeof seen) == 0;
  if (!right) fail_msg("%s: byte 0x%02x is %a, wanted %s", type, (unsigned)byte, (double)seen, wanted);
}

static void every_byte_has_its_value(void **state) {
  (void)state;
  json_t *golden = load_json("tests/goldens/float8.json");
  unsigned char bytes[256];
  float out[256];
  for (int i = 0; i < 256; i++) bytes[i] = (unsigned char)i;
  for (int t = 0; t < TYPES; t++) {
    const char *name = etk_type_name(types[t]);
    const json_t *values = json_object_get(golden, name);
    assert_int_equal(json_array_size(values), 256);
    works(etk_quant_decode(e, out, types[t], bytes, 1, 256));
    for (int i = 0; i < 256; i++) same(name, i, out[i], json_string_value(json_array_get(values, (size_t)i)));
  }
  json_decref(golden);
}

static void they_are_types_of_one_byte_an_element(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    etk_type again;
    size_t bytes;
    assert_true(etk_type_parse(&again, etk_type_name(types[t])) && again == types[t]);
    assert_true(etk_type_is_float8(types[t]) && !etk_type_is_block(types[t]) && etk_type_gguf(types[t]) == -1);
    works(etk_type_bytes(e, &bytes, types[t], 3, 7));
    assert_int_equal(bytes, 21);
  }
  assert_false(etk_type_is_float8((etk_type)ETK_F32) || etk_type_is_float8(ETK_Q4_0));
  unsigned char out[4];
  fails_with(ETK_E_UNSUPPORTED, "only F32, F16", etk_quant_encode(e, out, ETK_F8_E4M3, (float[]){1, 2, 3, 4}, 1, 4, NULL));
}

static char *safetensors_of(void **state, const char *dtype, const char *shape, size_t bytes, const void *values) {
  char *path = path_of("%s/%s.safetensors", (const char *)*state, dtype), header[256], file[512];
  snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[0,%zu]}}", dtype, shape, bytes);
  uint64_t size = strlen(header);
  memcpy(file, &size, 8), memcpy(file + 8, header, size), memcpy(file + 8 + size, values, bytes);
  write_file(path, file, 8 + size + bytes);
  return path;
}

static void weights_of_them_are_decoded(void **state) {
  static const float wanted[][2] = {{1, -1}, {0.5, -0.5}, {0.5, -0.5}, {0.25, -0.25}, {0x1p-71f, 0x1p57f}}; /* 0x38 and 0xb8 */
  for (int t = 0; t < TYPES; t++) {
    etk_weights *w;
    etk_tensor *tensor;
    float out[2];
    works(etk_weights_open(e, &w, safetensors_of(state, etk_type_name(types[t]), "[2]", 2, "\x38\xb8")));
    assert_string_equal(etk_weights_at(w, 0)->type_name, etk_type_name(types[t]));
    works(etk_weight_decode(e, out, etk_weights_at(w, 0), 0, 2));
    assert_true(out[0] == wanted[t][0] && out[1] == wanted[t][1]);
    works(etk_weight_decode(e, out, etk_weights_at(w, 0), 1, 1));
    assert_true(out[0] == wanted[t][1]);
    works(etk_weights_tensor(e, &tensor, w, "w", NULL)); /* nothing computes with 8 bits: as F32 */
    assert_int_equal(etk_tensor_dtype(tensor), ETK_F32);
    assert_true(((const float *)etk_tensor_data(tensor))[1] == wanted[t][1]);
    etk_tensor_unref(tensor);
    etk_weights_close(w);
  }
}

static void types_below_a_byte_are_known_and_not_decoded(void **state) {
  static const struct {
    const char *dtype, *shape;
    size_t bytes;
  } cases[] = {{"F4", "[4]", 2}, {"F6_E2M3", "[4]", 3}, {"F6_E3M2", "[2,2]", 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_weights *w;
    float out[4];
    works(etk_weights_open(e, &w, safetensors_of(state, cases[i].dtype, cases[i].shape, cases[i].bytes, "\1\2\3")));
    assert_int_equal(etk_weights_at(w, 0)->type, -1);
    assert_int_equal(etk_weights_at(w, 0)->bytes, cases[i].bytes);
    fails_with(ETK_E_UNSUPPORTED, path_of("tensor w is of type %s, which this version does not decode", cases[i].dtype),
               etk_weight_decode(e, out, etk_weights_at(w, 0), 0, 4));
    etk_weights_close(w);
    fails_with(ETK_E_FORMAT, "does not fill whole bytes",
               etk_weights_open(e, &w, safetensors_of(state, cases[i].dtype, "[3]", cases[i].bytes, "\1\2\3")));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_has_its_value),
      cmocka_unit_test(they_are_types_of_one_byte_an_element),
      cmocka_unit_test(weights_of_them_are_decoded),
      cmocka_unit_test(types_below_a_byte_are_known_and_not_decoded),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
