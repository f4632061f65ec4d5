/* Reading and writing NumPy's files. The bytes follow the documentation of numpy.lib.format; archives are read back by Python's zipfile in the golden
 * script. */
#include "../interpose.h"
#include "ml_golden.h"
#include "ml_torch_bytes.h"

#include <etk/numpy.h>

static unsigned char array[4096];
/* A file of this header dictionary and `data` bytes counting up. */
static size_t make_npy(int version, const char *header, size_t data) {
  size_t n = strlen(header), begin_at = version == 1 ? 10 : 12;
  memcpy(array, "\x93NUMPY", 6);
  array[6] = (unsigned char)version, array[7] = 0;
  for (size_t i = 8; i < begin_at; i++) array[i] = (unsigned char)(n >> (8 * (i - 8)));
  memcpy(array + begin_at, header, n);
  for (size_t i = 0; i < data; i++) array[begin_at + n + i] = (unsigned char)i;
  return begin_at + n + data;
}
static void refused(etk_status status, const char *part, const char *header, size_t data) {
  size_t size = make_npy(1, header, data);
  unsigned char *exact = malloc(size);
  memcpy(exact, array, size);
  fails_with(status, part, etk_npy_parse(e, &(etk_tensor *){0}, "x.npy", exact, size));
  free(exact);
}
#define HEADER(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

static void every_version_and_type_is_read(void **state) {
  (void)state;
  for (int version = 1; version <= 3; version++) {
    etk_tensor *tensor;
    works(etk_npy_parse(e, &tensor, "x.npy", array, make_npy(version, HEADER("<i2", "False", "(2, 3)") "   \n", 12)));
    assert_int_equal(etk_tensor_dtype(tensor), ETK_I16);
    assert_int_equal(etk_tensor_dim(tensor, 1), 3);
    assert_int_equal(((unsigned char *)etk_tensor_data(tensor))[11], 11);
    etk_tensor_unref(tensor);
  }
  static const struct {
    const char *descr;
    etk_dtype dtype;
  } all[] = {{"<f2", ETK_F16}, {"<f4", ETK_F32}, {"<f8", ETK_F64}, {"|i1", ETK_I8},  {"|u1", ETK_U8},  {"<u2", ETK_U16},
             {"<i4", ETK_I32}, {"<u4", ETK_U32}, {"<i8", ETK_I64}, {"<u8", ETK_U64}, {"|b1", ETK_BOOL}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    etk_tensor *tensor;
    char *header = path_of("{\"shape\":(),\"fortran_order\":False,\"descr\":\"%s\"}", all[i].descr); /* a scalar, other order, other quotes */
    works(etk_npy_parse(e, &tensor, "x.npy", array, make_npy(1, header, etk_dtype_size(all[i].dtype))));
    assert_int_equal(etk_tensor_dtype(tensor), all[i].dtype);
    assert_int_equal(etk_tensor_shape(tensor)->rank, 0);
    etk_tensor_unref(tensor);
  }
}

/* NumPy has no bfloat16: MLX and ml_dtypes write two bytes of no type, which NumPy itself calls '|V2'. */
static void bfloat16_is_two_bytes_of_no_type(void **state) {
  (void)state;
  etk_tensor *tensor;
  static const char *const spellings[] = {"<V2", "|V2"};
  for (int i = 0; i < 2; i++) {
    size_t size = make_npy(1, path_of("{'descr': '%s', 'fortran_order': False, 'shape': (2,), }", spellings[i]), 4);
    works(etk_npy_parse(e, &tensor, "x.npy", array, size));
    assert_int_equal(etk_tensor_dtype(tensor), ETK_BF16);
    etk_tensor_unref(tensor);
  }
  refused(ETK_E_UNSUPPORTED, "'>V2'", HEADER(">V2", "False", "(2,)"), 4);
  refused(ETK_E_UNSUPPORTED, "'<V3'", HEADER("<V3", "False", "(2,)"), 6);
}

static void fortran_order_is_turned_to_rows(void **state) {
  (void)state;
  static const unsigned char wanted[6] = {0, 2, 4, 1, 3, 5};
  etk_tensor *tensor;
  works(etk_npy_parse(e, &tensor, "x.npy", array, make_npy(1, HEADER("|u1", "True", "(2, 3)"), 6)));
  assert_memory_equal(etk_tensor_data(tensor), wanted, 6);
  etk_tensor_unref(tensor);
}

static void headers_that_cannot_be_are_refused(void **state) {
  (void)state;
  refused(ETK_E_UNSUPPORTED, "Python objects (a pickle)", HEADER("|O", "False", "(1,)"), 8);
  refused(ETK_E_UNSUPPORTED, "big-endian ('>f4')", HEADER(">f4", "False", "(1,)"), 4);
  refused(ETK_E_UNSUPPORTED, "type '<U3'", HEADER("<U3", "False", "(1,)"), 12);
  refused(ETK_E_UNSUPPORTED, "type '<c8'", HEADER("<c8", "False", "(1,)"), 8);
  refused(ETK_E_UNSUPPORTED, "type '|f4'", HEADER("|f4", "False", "(1,)"), 4);
  refused(ETK_E_FORMAT, "records are not read", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4);
  refused(ETK_E_FORMAT, "True or False", HEADER("<f4", "0", "(1,)"), 4);
  refused(ETK_E_FORMAT, "unknown key 'x'", "{'descr': '<f4', 'x': 1}", 4);
  refused(ETK_E_FORMAT, "twice the key 'descr'", "{'descr': '<f4', 'descr': '<f4'}", 4);
  refused(ETK_E_FORMAT, "has no 'shape'", "{'descr': '<f4', 'fortran_order': False}", 4);
  refused(ETK_E_FORMAT, "not negative", HEADER("<f4", "False", "(-1,)"), 4);
  refused(ETK_E_FORMAT, "(N,)", HEADER("<f4", "False", "(1)"), 4);
  refused(ETK_E_FORMAT, "below 2^63", HEADER("<f4", "False", "(9223372036854775808,)"), 4);
  refused(ETK_E_FORMAT, "overflows", HEADER("<f4", "False", "(4294967296, 4294967296)"), 4);
  refused(ETK_E_UNSUPPORTED, "more than 6 dimensions", HEADER("<f4", "False", "(1,1,1,1,1,1,1)"), 4);
  refused(ETK_E_FORMAT, "(2) of F32 takes 8 bytes, but 4 lie", HEADER("<f4", "False", "(2,)"), 4);
  refused(ETK_E_FORMAT, "takes 4 bytes, but 5 lie", HEADER("<f4", "False", "(1,)"), 5);
  refused(ETK_E_FORMAT, "the end of the header", HEADER("<f4", "False", "(1,)") "x", 4);
  refused(ETK_E_FORMAT, "wanted '{'", "__import__('os')", 4);
  refused(ETK_E_FORMAT, "wanted a text in quotes", "{", 4);
  refused(ETK_E_FORMAT, "text with an end", "{'descr", 4);
  make_npy(1, HEADER("<f4", "False", "(1,)"), 4);
  array[6] = 4;
  fails_with(ETK_E_UNSUPPORTED, "version 4.0", etk_npy_parse(e, &(etk_tensor *){0}, "x.npy", array, 100));
  array[6] = 1, array[9] = 0xff;
  fails_with(ETK_E_FORMAT, "65", etk_npy_parse(e, &(etk_tensor *){0}, "x.npy", array, 100));
  size_t size = make_npy(1, HEADER("<f4", "False", "(1,)"), 4);
  for (size_t n = 0; n < size; n++) {
    unsigned char *cut = malloc(n + 1);
    memcpy(cut, array, n);
    fails_with(ETK_E_FORMAT, "x.npy", etk_npy_parse(e, &(etk_tensor *){0}, "x.npy", cut, n));
    free(cut);
  }
}

static void what_is_written_reads_back_in_place(void **state) {
  char *path = path_of("%s/a.npz", (const char *)*state), *single = path_of("%s/a.npy", (const char *)*state);
  etk_tensor *tensors[ETK_DTYPE_COUNT], *back;
  etk_npz_item items[ETK_DTYPE_COUNT];
  size_t count = 0;
  for (int d = 0; d < ETK_DTYPE_COUNT; d++) {
    works(etk_tensor_new(e, &tensors[d], (etk_dtype)d, etk_shape_of(2, 3, d + 1)));
    for (size_t i = 0; i < etk_tensor_bytes(tensors[d]); i++)
      ((unsigned char *)etk_tensor_data(tensors[d]))[i] = (unsigned char)(d == ETK_BOOL ? i & 1 : i + (size_t)d);
    items[count++] = (etk_npz_item){path_of("layer.%d/w", d), tensors[d]};
  }
  works(etk_npz_write(e, path, items, count, false));
  fails_with(ETK_E_EXISTS, "a.npz", etk_npz_write(e, path, items, count, false));
  fails_with(ETK_E_INVALID, "cannot be the name", etk_npz_write(e, path, &(etk_npz_item){"../b", tensors[0]}, 1, true));
  fails_with(ETK_E_INVALID, "given twice", etk_npz_write(e, path, (etk_npz_item[]){{"b", tensors[0]}, {"b", tensors[0]}}, 2, true));
  etk_npz *file;
  works(etk_npz_open(e, &file, path));
  assert_int_equal(etk_npz_count(file), count);
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(etk_npz_at(file, i)->name, items[i].name);
    works(etk_npz_tensor(e, &back, file, items[i].name));
    assert_int_equal(etk_tensor_dtype(back), etk_tensor_dtype(items[i].tensor));
    assert_true(etk_shape_equal(etk_tensor_shape(back), etk_tensor_shape(items[i].tensor)));
    assert_int_equal((uintptr_t)etk_tensor_data(back) % 64, 0);
    assert_memory_equal(etk_tensor_data(back), etk_tensor_data(items[i].tensor), etk_tensor_bytes(back));
    etk_tensor_unref(back);
  }
  fails_with(ETK_E_NOT_FOUND, "no array 'z'", etk_npz_tensor(e, &back, file, "z"));
  etk_npz_close(file);
  works(etk_npy_write(e, single, tensors[ETK_F32], true));
  works(etk_npy_open(e, &back, single));
  assert_memory_equal(etk_tensor_data(back), etk_tensor_data(tensors[ETK_F32]), etk_tensor_bytes(back));
  etk_tensor_unref(back);
  for (int d = 0; d < ETK_DTYPE_COUNT; d++) etk_tensor_unref(tensors[d]);
}

static void other_readers_of_archives_accept_ours(void **state) {
  if (system("python3 -c 'import zipfile' 2>/dev/null")) skip();
  char *path = path_of("%s/b.npz", (const char *)*state);
  etk_tensor *tensor;
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(1, 3)));
  works(etk_npz_write(e, path, (etk_npz_item[]){{"a", tensor}, {"\xc3\xa9", tensor}}, 2, true));
  assert_int_equal(system(path_of("python3 -c 'import sys,zipfile; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; assert "
                                  "z.namelist()==[\"a.npy\",chr(233)+\".npy\"]; "
                                  "b=z.read(\"a.npy\"); n=b[8]+256*b[9]; assert (10+n)%%64==0 and "
                                  "eval(b[10:10+n])=={\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(3,)} and len(b)==22+n' '%s'",
                                  path)),
                   0);
  etk_tensor_unref(tensor);
}

static void compressed_archives_are_read_and_damaged_ones_are_not(void **state) {
  (void)state;
  etk_npz *file;
  etk_tensor *tensor;
  size_t size = make_npy(1, HEADER("<i4", "True", "(8, 16)"), 512);
  make_archive((member[]){{"a.npy", array, size, 8}, {"b.npy", array, size, 0}}, 2);
  works(etk_npz_parse(e, &file, "x.npz", made, made_size));
  assert_true(etk_npz_at(file, 0)->compressed && etk_npz_find(file, "b")->fortran_order);
  works(etk_npz_tensor(e, &tensor, file, "a"));
  assert_int_equal(((unsigned char *)etk_tensor_data(tensor))[4], 32); /* row 0, column 1: 8 elements on */
  etk_tensor_unref(tensor);
  etk_npz_close(file);
  made[made_size - 300] ^= 1; /* inside the values of b, which end before the directory of 102 bytes and the end record */
  works(etk_npz_parse(e, &file, "x.npz", made, made_size));
  fails_with(ETK_E_FORMAT, "'b.npy' at byte", etk_npz_tensor(e, &tensor, file, "b"));
  etk_npz_close(file);
  make_archive((member[]){{"a.txt", "", 0, 0}}, 1);
  fails_with(ETK_E_UNSUPPORTED, "'a.txt' at byte 0 is not an .npy file", etk_npz_parse(e, &file, "x.npz", made, made_size));
  make_archive((member[]){{"a.npy", array, size - 1, 0}}, 1);
  fails_with(ETK_E_FORMAT, "x.npz: a.npy: (8, 16) of I32 takes 512 bytes, but 511", etk_npz_parse(e, &file, "x.npz", made, made_size));
}

static bool read_all(void *user) {
  etk_npz *file;
  etk_tensor *a = NULL, *b = NULL;
  (void)user;
  if (etk_npz_parse(NULL, &file, "x.npz", made, made_size)) return false;
  bool done = !etk_npz_tensor(NULL, &a, file, "a") && !etk_npz_tensor(NULL, &b, file, "b");
  etk_tensor_unref(a);
  etk_tensor_unref(b);
  etk_npz_close(file);
  return done;
}
static bool write_all(void *user) {
  etk_tensor *tensor;
  if (etk_tensor_new(NULL, &tensor, ETK_F32, etk_shape_of(1, 3))) return false;
  bool done = !etk_npz_write(NULL, user, (etk_npz_item[]){{"a", tensor}, {"b", tensor}}, 2, true);
  etk_tensor_unref(tensor);
  return done;
}
static void every_failing_allocation_is_reported_and_nothing_leaks(void **state) {
  size_t size = make_npy(1, HEADER("<i4", "True", "(8, 16)"), 512);
  make_archive((member[]){{"a.npy", array, size, 8}, {"b.npy", array, size, 0}}, 2);
  assert_true(interpose_sweep(read_all, NULL) > 5);
  assert_true(interpose_sweep(write_all, path_of("%s/c.npz", (const char *)*state)) > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_version_and_type_is_read),
      cmocka_unit_test(bfloat16_is_two_bytes_of_no_type),
      cmocka_unit_test(fortran_order_is_turned_to_rows),
      cmocka_unit_test(headers_that_cannot_be_are_refused),
      cmocka_unit_test(what_is_written_reads_back_in_place),
      cmocka_unit_test(other_readers_of_archives_accept_ours),
      cmocka_unit_test(compressed_archives_are_read_and_damaged_ones_are_not),
      cmocka_unit_test(every_failing_allocation_is_reported_and_nothing_leaks),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
