/* Reading and writing safetensors files. The goldens were written by PEFT and transformers with the reference implementation. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/text.h>

/* ---- files made by hand ---------------------------------------------------------------------------------------------------------------- */

enum { FILE_BYTES = 8192 };
static unsigned char bytes[FILE_BYTES];

/* header size, header, `data` bytes counting up; returns the size. */
static size_t make_file(const char *header, size_t data) {
  size_t n = strlen(header);
  assert_true(8 + n + data <= FILE_BYTES);
  for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
  memcpy(bytes + 8, header, n);
  for (size_t i = 0; i < data; i++) bytes[8 + n + i] = (unsigned char)i;
  return 8 + n + data;
}

static void refused(etk_status status, const char *part, const char *header, size_t data) {
  etk_safetensors *file = (void *)1;
  size_t size = make_file(header, data);
  fails_with(status, part, etk_safetensors_parse(e, &file, "x.safetensors", bytes, size));
  assert_null(file);
}

#define TWO                                                                                                                                          \
  "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"U8\",\"shape\":[3,1],"    \
  "\"data_offsets\":[8,11]}}  "

static void entries_are_found_by_name_and_by_position(void **state) {
  (void)state;
  etk_safetensors *file;
  size_t size = make_file(TWO, 11);
  works(etk_safetensors_parse(e, &file, "x", bytes, size));
  assert_int_equal(etk_safetensors_count(file), 2);
  assert_string_equal(etk_safetensors_at(file, 0)->name, "b");
  assert_string_equal(etk_safetensors_at(file, 1)->name, "a");
  assert_null(etk_safetensors_at(file, 2));
  const etk_safetensors_entry *a = etk_safetensors_find(file, "a");
  assert_ptr_equal(a, etk_safetensors_at(file, 1));
  assert_int_equal(a->dtype, ETK_U8);
  assert_string_equal(a->dtype_name, "U8");
  assert_int_equal(a->shape.rank, 2);
  assert_int_equal(a->shape.dims[0], 3);
  assert_int_equal(a->bytes, 3);
  assert_ptr_equal(a->data, bytes + size - 3);
  assert_null(etk_safetensors_find(file, "c"));
  assert_string_equal(etk_safetensors_metadata(file, "format"), "pt");
  assert_null(etk_safetensors_metadata(file, "Format"));
  etk_safetensors_close(file);
}

static void a_tensor_outlives_its_file(void **state) {
  (void)state;
  etk_safetensors *file;
  etk_tensor *tensor;
  works(etk_safetensors_parse(e, &file, "x", bytes, make_file(TWO, 11)));
  works(etk_safetensors_tensor(e, &tensor, file, "a"));
  fails_with(ETK_E_NOT_FOUND, "no tensor 'z' (it holds 2 tensors)", etk_safetensors_tensor(e, &(etk_tensor *){0}, file, "z"));
  etk_safetensors_close(file);
  assert_int_equal(((uint8_t *)etk_tensor_data(tensor))[2], 10);
  assert_int_equal(etk_tensor_dim(tensor, 0), 3);
  etk_tensor_unref(tensor);
}

static void scalars_and_empty_tensors_are_legal(void **state) {
  (void)state;
  etk_safetensors *file;
  size_t size = make_file(
      "{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},\"n\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[8,8]}}", 8);
  works(etk_safetensors_parse(e, &file, "x", bytes, size));
  assert_int_equal(etk_safetensors_find(file, "s")->shape.rank, 0);
  etk_tensor *empty;
  works(etk_safetensors_tensor(e, &empty, file, "n"));
  assert_int_equal(etk_tensor_elements(empty), 0);
  etk_tensor_unref(empty);
  etk_safetensors_close(file);
  works(etk_safetensors_parse(e, &file, "x", bytes, make_file("{}", 0)));
  assert_int_equal(etk_safetensors_count(file), 0);
  etk_safetensors_close(file);
}

static void types_we_cannot_hold_are_listed_and_refused_as_tensors(void **state) {
  (void)state;
  etk_safetensors *file;
  size_t size = make_file(
      "{\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},\"h\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[4,6]}}", 6);
  works(etk_safetensors_parse(e, &file, "x", bytes, size));
  assert_int_equal(etk_safetensors_find(file, "q")->dtype, -1);
  fails_with(ETK_E_UNSUPPORTED, "tensor 'q' has the element type F8_E4M3", etk_safetensors_tensor(e, &(etk_tensor *){0}, file, "q"));
  etk_safetensors_close(file);
  refused(ETK_E_FORMAT, "does not fill whole bytes", "{\"h\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2);
  refused(ETK_E_UNSUPPORTED, "element type 'F31'", "{\"h\":{\"dtype\":\"F31\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2);
}

/* ---- files that lie ---------------------------------------------------------------------------------------------------------------------- */

#define ENTRY(name, dtype, shape, begin, end) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void holes_and_overlaps_are_named(void **state) {
  (void)state;
  refused(ETK_E_FORMAT, "bytes 4 to 8 of the buffer, before tensor 'b', belong to no tensor",
          "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("b", "F32", "[1]", 8, 12) "}", 12);
  refused(ETK_E_FORMAT, "bytes 0 to 4", "{" ENTRY("b", "F32", "[1]", 4, 8) "}", 8);
  refused(ETK_E_FORMAT, "tensor 'b' begins at byte 2 of the buffer, inside tensor 'a', which ends at 4",
          "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("b", "F32", "[1]", 2, 6) "}", 6);
  refused(ETK_E_FORMAT, "inside tensor", "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("b", "F32", "[1]", 0, 4) "}", 4);
  refused(ETK_E_FORMAT, "3 bytes after the last tensor", "{" ENTRY("a", "F32", "[1]", 0, 4) "}", 7);
  refused(ETK_E_FORMAT, "1 bytes are missing (the last tensor is 'a')", "{" ENTRY("a", "F32", "[1]", 0, 4) "}", 3);
}

static void shapes_that_do_not_fit_are_named(void **state) {
  (void)state;
  refused(ETK_E_FORMAT, "tensor 'a': (2, 2) of F32 takes 16 bytes, but its data_offsets span 12", "{" ENTRY("a", "F32", "[2,2]", 0, 12) "}", 12);
  refused(ETK_E_FORMAT, "the product of its shape overflows", "{" ENTRY("a", "F32", "[4294967296,4294967296,2]", 0, 0) "}", 0);
  refused(ETK_E_FORMAT, "more bytes than can be counted", "{" ENTRY("a", "F64", "[4611686018427387904]", 0, 0) "}", 0);
  refused(ETK_E_FORMAT, "dimension 1 of \"shape\"", "{" ENTRY("a", "F32", "[1,-1]", 0, 4) "}", 4);
  refused(ETK_E_FORMAT, "dimension 0 of \"shape\"", "{" ENTRY("a", "F32", "[1.0]", 0, 4) "}", 4);
  refused(ETK_E_FORMAT, "\"shape\" must be a list", "{" ENTRY("a", "F32", "4", 0, 4) "}", 4);
  refused(ETK_E_UNSUPPORTED, "tensor 'a' has 7 dimensions; at most 6", "{" ENTRY("a", "F32", "[1,1,1,1,1,1,1]", 0, 4) "}", 4);
  refused(ETK_E_FORMAT, "end at 0 before they begin at 4", "{" ENTRY("a", "F32", "[1]", 4, 0) "}", 4);
  refused(ETK_E_FORMAT, "two whole numbers", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4);
  refused(ETK_E_FORMAT, "two whole numbers", "{" ENTRY("a", "F32", "[1]", -4, 0) "}", 4);
  refused(ETK_E_FORMAT, "\"dtype\" must be a text", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
}

static void headers_that_are_not_json_objects_are_refused(void **state) {
  (void)state;
  refused(ETK_E_FORMAT, "does not begin with '{'", "[]", 0);
  refused(ETK_E_FORMAT, "does not begin with '{'", " {}", 0);
  refused(ETK_E_FORMAT, "does not begin with '{'", "", 0);
  refused(ETK_E_FORMAT, "not valid JSON", "{\"a\":", 0);
  refused(ETK_E_FORMAT, "not valid JSON", "{} x", 0);
  refused(ETK_E_FORMAT, "duplicate", "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("a", "F32", "[1]", 4, 8) "}", 8);
  refused(ETK_E_FORMAT, "not UTF-8", "{\"\xff\":1}", 0);
  refused(ETK_E_FORMAT, "tensor 'a' must be an object", "{\"a\":1}", 0);
  refused(ETK_E_FORMAT, "\"__metadata__\": the value of 'k' must be a text", "{\"__metadata__\":{\"k\":1}}", 0);
  refused(ETK_E_FORMAT, "\"__metadata__\" must be an object", "{\"__metadata__\":[]}", 0);
  char deep[6000] = "{\"a\":";
  memset(deep + 5, '[', 5000);
  refused(ETK_E_FORMAT, "not valid JSON", deep, 0);
}

static void a_header_size_beyond_the_bound_is_refused_before_it_is_read(void **state) {
  (void)state;
  etk_safetensors *file;
  size_t size = make_file("{}", 0);
  bytes[3] = 0x40;
  fails_with(ETK_E_FORMAT, "at most 100000000 are allowed", etk_safetensors_parse(e, &file, "x", bytes, size));
  memset(bytes, 0xff, 8);
  fails_with(ETK_E_FORMAT, "a header of 18446744073709551615 bytes", etk_safetensors_parse(e, &file, "x", bytes, size));
}

static void truncation_at_every_byte_is_refused(void **state) {
  (void)state;
  size_t size = make_file(TWO, 11);
  for (size_t n = 0; n < size; n++) {
    unsigned char *cut = etk_alloc(n ? n : 1); /* its own block, so that a sanitizer sees a read past the end */
    memcpy(cut, bytes, n);
    etk_safetensors *file;
    const char *part = n < 8 ? "too few" : n < size - 11 ? "truncated inside the header" : "bytes are missing";
    fails_with(ETK_E_FORMAT, part, etk_safetensors_parse(e, &file, "x", cut, n));
    etk_free(cut);
  }
}

static void a_missing_file_is_not_found(void **state) {
  (void)state;
  etk_safetensors *file;
  fails_with(ETK_E_NOT_FOUND, "nowhere.safetensors", etk_safetensors_open(e, &file, "/tmp/nowhere.safetensors"));
}

static void every_failing_allocation_of_open_is_an_error_without_a_leak(void **state) {
  char *path = path_of("%s/two.safetensors", (const char *)*state);
  size_t size = make_file(TWO, 11);
  write_file(path, bytes, size);
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_safetensors *file;
    etk_error e = ETK_ERROR_INIT;
    etk_status status = etk_safetensors_open(&e, &file, path);
    if (!status) etk_safetensors_close(file);
    starved(&s, status, &e);
  }
  assert_true(s.nth > 3); /* the handle, an arena block, the table of entries */
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------------ */

static void same_bytes(const char *a, const char *b) {
  char *x, *y;
  size_t m, n;
  works(etk_fs_read(e, &x, &m, a, (size_t)64 << 20));
  works(etk_fs_read(e, &y, &n, b, (size_t)64 << 20));
  assert_int_equal(m, n);
  assert_memory_equal(x, y, m);
  etk_free(x);
  etk_free(y);
}

/* The reference implementation's files come back byte for byte, so order, header text and padding are its own. */
static void reference_files_are_rewritten_bit_for_bit(void **state) {
  static const char *const names[] = {"goldens/lora/lora-all/init/adapter_model.safetensors", "goldens/models/llama/model.safetensors",
                                      "goldens/models/qwen2-moe/model.safetensors"};
  const char *const metadata[] = {"format", "pt"};
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    char *from = shared_or_skip(names[n]), *to = path_of("%s/copy.safetensors", (const char *)*state);
    etk_safetensors *file;
    works(etk_safetensors_open(e, &file, from));
    size_t count = etk_safetensors_count(file);
    etk_safetensors_item *items = etk_calloc(count, sizeof *items);
    etk_tensor **tensors = etk_calloc(count, sizeof *tensors);
    for (size_t i = 0; i < count; i++) { /* in an order that is not the file's */
      size_t j = (i * 7 + 3) % count;
      while (tensors[j]) j = (j + 1) % count;
      works(etk_safetensors_tensor(e, &tensors[j], file, etk_safetensors_at(file, i)->name));
      items[j] = (etk_safetensors_item){etk_safetensors_at(file, i)->name, tensors[j], etk_tensor_dtype(tensors[j])};
    }
    works(etk_safetensors_write(e, to, items, count, metadata, 1, true));
    same_bytes(from, to);
    for (size_t i = 0; i < count; i++) etk_tensor_unref(tensors[i]);
    etk_free(tensors);
    etk_free(items);
    etk_safetensors_close(file);
  }
}

static etk_tensor *counting(etk_dtype dtype, int64_t count) {
  etk_tensor *t;
  works(etk_tensor_new(e, &t, dtype, etk_shape_of(1, count)));
  if (dtype == ETK_F32)
    for (int64_t i = 0; i < count; i++) ((float *)etk_tensor_data(t))[i] = (float)(i % 2048) / 8;
  return t;
}

static void wider_types_come_first_then_names(void **state) {
  char *path = path_of("%s/order.safetensors", (const char *)*state);
  etk_tensor *f = counting(ETK_F32, 3), *u = counting(ETK_U8, 1), *l = counting(ETK_I64, 1);
  etk_safetensors_item items[] = {{"a", u, ETK_U8}, {"z", f, ETK_F32}, {"h", f, ETK_F16}, {"y", f, ETK_F32}, {"x", l, ETK_I64}};
  works(etk_safetensors_write(e, path, items, 5, NULL, 0, true));
  etk_safetensors *file;
  works(etk_safetensors_open(e, &file, path));
  static const char *const wanted[] = {"x", "y", "z", "h", "a"};
  for (size_t i = 0; i < 5; i++) assert_string_equal(etk_safetensors_at(file, i)->name, wanted[i]);
  assert_int_equal((uintptr_t)etk_safetensors_at(file, 0)->data % 8, 0);
  etk_safetensors_close(file);
  etk_tensor_unref(f);
  etk_tensor_unref(u);
  etk_tensor_unref(l);
}

static void values_are_converted_while_written(void **state) {
  char *path = path_of("%s/f16.safetensors", (const char *)*state);
  enum { COUNT = 40000 }; /* more than two of the writer's chunks */
  etk_tensor *f = counting(ETK_F32, COUNT), *h, *back;
  etk_safetensors_item item = {"w", f, ETK_F16};
  works(etk_safetensors_write(e, path, &item, 1, NULL, 0, true));
  etk_safetensors *file;
  works(etk_safetensors_open(e, &file, path));
  works(etk_safetensors_tensor(e, &h, file, "w"));
  assert_int_equal(etk_tensor_dtype(h), ETK_F16);
  works(etk_tensor_cast(e, &back, h, ETK_F32));
  assert_memory_equal(etk_tensor_data(back), etk_tensor_data(f), COUNT * sizeof(float)); /* eighths below 256 are exact in f16 */
  etk_tensor_unref(back);
  etk_tensor_unref(h);
  etk_safetensors_close(file);
  etk_tensor_unref(f);
}

static void what_cannot_be_written_is_named_and_leaves_no_file(void **state) {
  char *path = path_of("%s/no.safetensors", (const char *)*state);
  etk_tensor *f = counting(ETK_F32, 2), *u = counting(ETK_U8, 1);
  etk_safetensors_item twice[] = {{"w", f, ETK_F32}, {"w", u, ETK_U8}}, whole = {"w", u, ETK_F32}, reserved = {"__metadata__", f, ETK_F32};
  const char *const metadata[] = {"k", "1", "k", "2"};
  fails_with(ETK_E_INVALID, "the tensor name 'w' is given twice", etk_safetensors_write(e, path, twice, 2, NULL, 0, true));
  fails_with(ETK_E_UNSUPPORTED, "tensor 'w' of U8 cannot be stored as F32", etk_safetensors_write(e, path, &whole, 1, NULL, 0, true));
  fails_with(ETK_E_INVALID, "cannot be the name", etk_safetensors_write(e, path, &reserved, 1, NULL, 0, true));
  fails_with(ETK_E_INVALID, "metadata key 'k'", etk_safetensors_write(e, path, twice, 1, metadata, 2, true));
  assert_false(etk_fs_exists(path));
  works(etk_safetensors_write(e, path, twice, 1, NULL, 0, false));
  fails_with(ETK_E_EXISTS, "no.safetensors", etk_safetensors_write(e, path, twice, 1, NULL, 0, false));
  etk_tensor_unref(f);
  etk_tensor_unref(u);
}

static int disk_full_after(void *user, size_t size) {
  size_t *left = user;
  if (size > *left) return 28; /* ENOSPC */
  *left -= size;
  return 0;
}

static void a_full_disk_leaves_the_old_file(void **state) {
  char *folder = fresh_folder(state, "full"), *path = path_of("%s/w.safetensors", folder);
  etk_tensor *f = counting(ETK_F32, 40000);
  etk_safetensors_item item = {"w", f, ETK_F16};
  write_file(path, "old", 3);
  static const size_t room[] = {0, 8, 100, 40000};
  for (size_t i = 0; i < sizeof room / sizeof *room; i++) {
    size_t left = room[i];
    etk_fs_set_write_hook(disk_full_after, &left);
    fails_with(ETK_E_NO_SPACE, "w.safetensors", etk_safetensors_write(e, path, &item, 1, NULL, 0, true));
    etk_fs_set_write_hook(NULL, NULL);
    char *bytes_now, **names;
    size_t size, count;
    works(etk_fs_read(e, &bytes_now, &size, path, 100));
    assert_string_equal(bytes_now, "old");
    etk_free(bytes_now);
    works(etk_fs_list(e, &names, &count, folder));
    assert_int_equal(count, 1); /* no temporary file is left */
    etk_fs_list_free(names, count);
  }
  etk_tensor_unref(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(entries_are_found_by_name_and_by_position),
      cmocka_unit_test(a_tensor_outlives_its_file),
      cmocka_unit_test(scalars_and_empty_tensors_are_legal),
      cmocka_unit_test(types_we_cannot_hold_are_listed_and_refused_as_tensors),
      cmocka_unit_test(holes_and_overlaps_are_named),
      cmocka_unit_test(shapes_that_do_not_fit_are_named),
      cmocka_unit_test(headers_that_are_not_json_objects_are_refused),
      cmocka_unit_test(a_header_size_beyond_the_bound_is_refused_before_it_is_read),
      cmocka_unit_test(truncation_at_every_byte_is_refused),
      cmocka_unit_test(a_missing_file_is_not_found),
      cmocka_unit_test(every_failing_allocation_of_open_is_an_error_without_a_leak),
      cmocka_unit_test(reference_files_are_rewritten_bit_for_bit),
      cmocka_unit_test(wider_types_come_first_then_names),
      cmocka_unit_test(values_are_converted_while_written),
      cmocka_unit_test(what_cannot_be_written_is_named_and_leaves_no_file),
      cmocka_unit_test(a_full_disk_leaves_the_old_file),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
