/* Reading PyTorch's files. The expected hashes of the real ones come from tests/goldens/torch.py, which shares no code with the reader. */
#include "../interpose.h"
#include "ml_golden.h"
#include "ml_torch_bytes.h"

#include <etk/hash.h>
#include <etk/numpy.h>
#include <etk/torch.h>

/* ---- real files ---------------------------------------------------------------------------------------------------------------------- */

static void check_row(etk_torch *file, const json_t *row) {
  const char *name = json_string_value(json_array_get(row, 1)), *dtype = json_string_value(json_array_get(row, 2));
  const json_t *dims = json_array_get(row, 3);
  etk_tensor *tensor;
  works(etk_torch_tensor(e, &tensor, file, name));
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(tensor)), dtype);
  assert_int_equal(etk_tensor_shape(tensor)->rank, json_array_size(dims));
  for (size_t i = 0; i < json_array_size(dims); i++) assert_int_equal(etk_tensor_dim(tensor, (int)i), json_integer_value(json_array_get(dims, i)));
  etk_sha256 hash;
  char hex[65];
  etk_sha256_init(&hash);
  etk_sha256_update(&hash, etk_tensor_data(tensor), etk_tensor_bytes(tensor));
  etk_sha256_final(&hash, hex);
  if (strcmp(hex, json_string_value(json_array_get(row, 4))) != 0) fail_msg("%s: %s", name, hex);
  etk_tensor_unref(tensor);
}

static void every_real_file_opens_and_every_tensor_is_equal(void **state) {
  (void)state;
  shared_or_skip("models");
  json_t *rows = load_json("tests/goldens/torch.json");
  size_t i, count = 0, files = 0;
  json_t *row;
  etk_torch *file = NULL;
  const char *open = "";
  json_array_foreach(rows, i, row) {
    const char *path = json_string_value(json_array_get(row, 0));
    if (strcmp(open, path) != 0) {
      if (file) assert_int_equal(etk_torch_count(file), count);
      etk_torch_close(file);
      works(etk_torch_open(e, &file, shared(path_of("models/%s", path))));
      works(etk_torch_verify(e, file));
      open = path, count = 0, files++;
    }
    check_row(file, row);
    count++;
  }
  assert_int_equal(etk_torch_count(file), count);
  etk_torch_close(file);
  print_message("%zu tensors of %zu files\n", json_array_size(rows), files);
  assert_true(files >= 16);
  json_decref(rows);
}

/* ---- files made by hand ---------------------------------------------------------------------------------------------------------------- */

/* One storage "0" of 6 floats 0 … 5; rank 2 with these dims, strides and offset. */
static etk_torch *strided(int d0, int d1, int s0, int s1, int offset) {
  begin();
  OP("\x80\2");
  rebuild_begin("FloatStorage", "0", 6);
  op_int(offset), op_int(d0), op_int(d1), OP("\x86"), op_int(s0), op_int(s1), OP("\x86");
  rebuild_end();
  OP(".");
  float values[6] = {0, 1, 2, 3, 4, 5};
  make_zip(values, sizeof values);
  etk_torch *file = NULL;
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  return file;
}

static void a_transposed_tensor_is_copied_in_row_major_order(void **state) {
  (void)state;
  etk_torch *file = strided(3, 2, 1, 3, 0);
  static const float wanted[6] = {0, 3, 1, 4, 2, 5};
  assert_false(etk_torch_at(file, 0)->in_place);
  etk_tensor *tensor;
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_memory_equal(etk_tensor_data(tensor), wanted, sizeof wanted);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
}

static void a_contiguous_tensor_shares_the_map_and_outlives_its_file(void **state) {
  (void)state;
  etk_torch *file = strided(2, 2, 2, 1, 2);
  assert_true(etk_torch_at(file, 0)->in_place);
  assert_string_equal(etk_torch_at(file, 0)->storage, "0");
  etk_tensor *tensor;
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  etk_torch_close(file);
  const float *data = etk_tensor_data(tensor);
  assert_true((const unsigned char *)data > made && (const unsigned char *)data < made + made_size);
  for (int i = 0; i < 4; i++) assert_true(data[i] == (float)(i + 2));
  etk_tensor_unref(tensor);
}

static void expanded_and_empty_tensors_are_legal(void **state) {
  (void)state;
  etk_torch *file = strided(3, 2, 0, 1, 4);
  static const float wanted[6] = {4, 5, 4, 5, 4, 5};
  etk_tensor *tensor;
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_memory_equal(etk_tensor_data(tensor), wanted, sizeof wanted);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
  file = strided(0, 2, 2, 1, 6);
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_int_equal(etk_tensor_elements(tensor), 0);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
}

static void a_tensor_that_repeats_few_bytes_without_measure_is_refused(void **state) {
  (void)state;
  etk_torch *file = strided(1 << 30, 1 << 20, 0, 0, 0);
  fails_with(ETK_E_UNSUPPORTED, "repeats the 24 bytes", etk_torch_tensor(e, &(etk_tensor *){0}, file, "tensor"));
  fails_with(ETK_E_NOT_FOUND, "no tensor 'w'", etk_torch_tensor(e, &(etk_tensor *){0}, file, "w"));
  etk_torch_close(file);
}

/* {"net": OrderedDict(w=T, b=same storage) with _metadata, "steps": [7, 2.5], "done": True, "who": "me", "none": None, "empty": {}, 3: -1} */
static void make_nested(void) {
  begin();
  OP("\x80\2}(");
  op_text("net"), OP("ccollections\nOrderedDict\n)R(");
  op_text("w"), tensor_of("FloatStorage", "0", 2, 2), op_text("b"), OP("ctorch._utils\n_rebuild_parameter\n"), tensor_of("FloatStorage", "0", 2, 1),
      OP("\x88"
         "ccollections\nOrderedDict\n)R\x87Ru");
  OP("}"), op_text("_metadata"), OP("ccollections\nOrderedDict\n)Rsb");
  op_text("steps"), OP("](K\7G\x40\4\0\0\0\0\0\0e");
  op_text("done"), OP("\x88"), op_text("who"), op_text("me"), op_text("none"), OP("N"), op_text("empty"), OP("}K\3J\xff\xff\xff\xffu.");
  float values[2] = {1.5F, -2};
  make_zip(values, sizeof values);
}

static void nested_containers_become_dotted_names(void **state) {
  (void)state;
  etk_torch *file;
  make_nested();
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  assert_int_equal(etk_torch_count(file), 2);
  assert_string_equal(etk_torch_at(file, 0)->name, "net.w");
  assert_false(etk_torch_at(file, 0)->parameter);
  assert_true(etk_torch_find(file, "net.b")->parameter);
  assert_string_equal(etk_torch_find(file, "net.b")->dtype_name, "float32");
  static const struct {
    const char *name;
    etk_torch_kind kind;
  } wanted[] = {{"steps.0", ETK_TORCH_INT}, {"steps.1", ETK_TORCH_REAL}, {"done", ETK_TORCH_FLAG}, {"who", ETK_TORCH_TEXT},
                {"none", ETK_TORCH_NONE},   {"empty", ETK_TORCH_EMPTY},  {"3", ETK_TORCH_INT}};
  assert_int_equal(etk_torch_value_count(file), 7);
  for (size_t i = 0; i < 7; i++) {
    assert_string_equal(etk_torch_value_at(file, i)->name, wanted[i].name);
    assert_int_equal(etk_torch_value_at(file, i)->kind, wanted[i].kind);
  }
  assert_int_equal(etk_torch_value_at(file, 0)->whole, 7);
  assert_true(etk_torch_value_at(file, 1)->real == 2.5);
  assert_string_equal(etk_torch_value_at(file, 3)->text, "me");
  assert_int_equal(etk_torch_value_at(file, 6)->whole, -1);
  etk_torch_close(file);
}

static void every_type_is_held_by_its_name(void **state) {
  (void)state;
  static const struct {
    const char *class;
    int dtype;
  } all[] = {{"FloatStorage", ETK_F32}, {"HalfStorage", ETK_F16},  {"BFloat16Storage", ETK_BF16}, {"DoubleStorage", ETK_F64},
             {"CharStorage", ETK_I8},   {"ByteStorage", ETK_U8},   {"ShortStorage", ETK_I16},     {"IntStorage", ETK_I32},
             {"LongStorage", ETK_I64},  {"BoolStorage", ETK_BOOL}, {"ComplexFloatStorage", -1}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    static const unsigned char zeros[64];
    size_t size = all[i].dtype < 0 ? 8 : etk_dtype_size((etk_dtype)all[i].dtype);
    begin();
    OP("\x80\2"), tensor_of(all[i].class, "0", 3, 3), OP(".");
    make_zip(zeros, 3 * size);
    etk_torch *file;
    works(etk_torch_parse(e, &file, "x.pth", made, made_size));
    assert_int_equal(etk_torch_at(file, 0)->dtype, all[i].dtype);
    assert_int_equal(etk_torch_at(file, 0)->bytes, 3 * size);
    if (all[i].dtype < 0) fails_with(ETK_E_UNSUPPORTED, "element type complex64", etk_torch_tensor(e, &(etk_tensor *){0}, file, "tensor"));
    etk_torch_close(file);
  }
  begin(); /* types without a class of their own lie in untyped storages */
  OP("\x80\2"
     "ctorch._utils\n_rebuild_tensor_v3\n("),
      storage_of("torch.storage\nUntypedStorage", "0", 6),
      OP("K\0K\3\x85K\1\x85\x89"
         "ccollections\nOrderedDict\n)Rctorch\nuint16\ntR.");
  make_zip((uint16_t[3]){1, 2, 65535}, 6);
  etk_torch *file;
  etk_tensor *tensor;
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_int_equal(etk_tensor_dtype(tensor), ETK_U16);
  assert_int_equal(((uint16_t *)etk_tensor_data(tensor))[2], 65535);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
}

static void big_endian_values_are_turned_around(void **state) {
  (void)state;
  begin();
  OP("\x80\2"), tensor_of("ShortStorage", "0", 2, 2), OP(".");
  byte_order = "big";
  make_zip("\1\2\3\4", 4);
  byte_order = "little";
  etk_torch *file;
  etk_tensor *tensor;
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_int_equal(((int16_t *)etk_tensor_data(tensor))[0], 0x0102);
  assert_int_equal(((int16_t *)etk_tensor_data(tensor))[1], 0x0304);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
}

static bool read_all(void *user) {
  etk_torch *file;
  (void)user;
  if (etk_torch_parse(NULL, &file, "x.pth", made, made_size)) return false;
  bool done = true;
  for (size_t i = 0; i < etk_torch_count(file) && done; i++) {
    etk_tensor *tensor;
    done = !etk_torch_tensor(NULL, &tensor, file, etk_torch_at(file, i)->name);
    etk_tensor_unref(tensor);
  }
  etk_torch_close(file);
  return done;
}
static void every_failing_allocation_is_reported_and_nothing_leaks(void **state) {
  (void)state;
  make_nested();
  assert_true(interpose_sweep(read_all, NULL) > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_real_file_opens_and_every_tensor_is_equal),
      cmocka_unit_test(a_transposed_tensor_is_copied_in_row_major_order),
      cmocka_unit_test(a_contiguous_tensor_shares_the_map_and_outlives_its_file),
      cmocka_unit_test(expanded_and_empty_tensors_are_legal),
      cmocka_unit_test(a_tensor_that_repeats_few_bytes_without_measure_is_refused),
      cmocka_unit_test(nested_containers_become_dotted_names),
      cmocka_unit_test(every_type_is_held_by_its_name),
      cmocka_unit_test(big_endian_values_are_turned_around),
      cmocka_unit_test(every_failing_allocation_is_reported_and_nothing_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
