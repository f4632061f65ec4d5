/* GGUF files that lie: each gives one error that says where and why. */
#include "ml_gguf_bytes.h"

#include <malloc.h>

#define DIMS(...)                                                                                                                                    \
  (const uint64_t[]) { __VA_ARGS__ }

static void files_of_other_kinds_are_named(void **state) {
  (void)state;
  make_good();
  made[3] = 'g';
  refused(ETK_E_FORMAT, "x.gguf: not a GGUF file: it does not begin with \"GGUF\"");
  memcpy(made, "lmgg", 4);
  refused(ETK_E_FORMAT, "a GGML file of before 2023");
  made_size = 0;
  refused(ETK_E_FORMAT, "not a GGUF file");
  begin_file(1, 0, 0);
  refused(ETK_E_UNSUPPORTED, "GGUF version 1 (at byte 4); versions 2 and 3 are supported");
  begin_file(0, 0, 0);
  refused(ETK_E_UNSUPPORTED, "GGUF version 0");
  begin_file(4, 0, 0);
  refused(ETK_E_UNSUPPORTED, "GGUF version 4");
  begin_file(0x03000000, 0, 0);
  refused(ETK_E_UNSUPPORTED, "GGUF version 3 read with its bytes swapped: a big-endian file");
}

static void truncation_at_every_byte_is_refused(void **state) {
  (void)state;
  make_good();
  size_t whole = made_size - 30; /* the padding of the last tensor may be missing */
  works(parse_made(e, whole));
  for (size_t n = 0; n < whole; n++) {
    const char *part = n < 4 ? "not a GGUF file" : n < 24 ? "too few for a GGUF file" : "";
    fails_with(ETK_E_FORMAT, part, parse_made(e, n));
  }
}

static void truncation_says_where_and_in_what(void **state) {
  (void)state;
  begin_file(3, 0, 1);
  put_number(9, 8), put_data(9); /* a key, no kind */
  made[32] = 'k', memset(made + 32, 'k', 9);
  refused(ETK_E_FORMAT, "truncated at byte 41, inside key 'kkkkkkkkk': 4 bytes are wanted and 0 are left");
  begin_file(3, 0, 1);
  put_number(900, 8), put_data(9);
  refused(ETK_E_FORMAT, "truncated at byte 32, inside key 0: 900 bytes are wanted and 9 are left");
  begin_file(3, 0, 1);
  put_key("t", ETK_GGUF_TEXT), put_number(5, 8), put_data(2);
  refused(ETK_E_FORMAT, "truncated at byte 45, inside key 't': 5 bytes are wanted and 2 are left");
  begin_file(3, 0, 1);
  put_key("f", ETK_GGUF_F64), put_data(7);
  refused(ETK_E_FORMAT, "truncated at byte 37, inside key 'f': 8 bytes are wanted and 7 are left");
  begin_file(3, 0, 1);
  put_array("a", ETK_GGUF_U64, 1000), put_data(80);
  refused(ETK_E_FORMAT, "inside key 'a': 8000 bytes are wanted and 80 are left");
  begin_file(3, 1, 0);
  put_string("w"), put_number(2, 4), put_number(8, 8), put_number(0, 7);
  refused(ETK_E_FORMAT, "truncated at byte 45, inside tensor 'w': 8 bytes are wanted and 7 are left");
}

static void counts_beyond_the_file_are_refused_before_anything_is_allocated(void **state) {
  (void)state;
  begin_file(3, 0, 5), put_data(69);
  refused(ETK_E_FORMAT, "a header of 5 keys (at byte 16) takes at least 70 bytes; the file has 69 left");
  begin_file(3, 3, 0), put_data(74);
  refused(ETK_E_FORMAT, "a header of 3 tensors (at byte 8) takes at least 75 bytes; the file has 74 left");
  begin_file(3, 0, UINT64_MAX);
  refused(ETK_E_FORMAT, "a header of 18446744073709551615 keys (at byte 16); at most 1048576 are allowed");
  begin_file(3, UINT64_MAX / 8, 0);
  refused(ETK_E_FORMAT, "a header of 2305843009213693951 tensors (at byte 8)");
  begin_file(3, 0, 1);
  put_array("a", ETK_GGUF_U8, (uint64_t)1 << 31);
  refused(ETK_E_FORMAT, "key 'a' is an array of 2147483648 items, at byte 37; at most 1073741824 are allowed");
  begin_file(3, 0, 1);
  put_array("a", ETK_GGUF_TEXT, (uint64_t)1 << 29);
  refused(ETK_E_FORMAT, "inside key 'a': 4294967296 bytes are wanted");
  begin_file(3, 0, 1);
  put_array("a", ETK_GGUF_ARRAY, (uint64_t)1 << 30);
  refused(ETK_E_FORMAT, "inside key 'a': 12884901888 bytes are wanted");
  begin_file(3, 0, 1);
  put_key("t", ETK_GGUF_TEXT), put_number(UINT64_MAX, 8);
  refused(ETK_E_FORMAT, "key 't' has a text of 18446744073709551615 bytes at byte 37; at most 1073741824 are allowed");
  begin_file(3, 0, 1);
  put_number(65536, 8), put_data(70000);
  refused(ETK_E_FORMAT, "key 0 has a text of 65536 bytes at byte 24; at most 65535 are allowed");
}

static void keys_that_cannot_be_are_named(void **state) {
  (void)state;
  begin_file(3, 0, 1);
  put_u32("", 1), put_data(8);
  refused(ETK_E_FORMAT, "key 0 is empty, at byte 24");
  begin_file(3, 0, 1);
  put_u32("a b", 1);
  refused(ETK_E_FORMAT, "key 0 holds the byte 0x20, at byte 33");
  begin_file(3, 0, 1);
  put_u32("a\xc3\xa9", 1);
  refused(ETK_E_FORMAT, "key 0 holds the byte 0xc3, at byte 33; keys are of printable ASCII");
  begin_file(3, 0, 1);
  put_sized("a\0b", 3), put_number(4, 4), put_number(1, 4);
  refused(ETK_E_FORMAT, "key 0 holds the byte 0x00");
  begin_file(3, 0, 3);
  put_u32("twice", 1), put_u32("once", 1), put_u32("twice", 2);
  refused(ETK_E_FORMAT, "key 'twice' is given twice (values at bytes 41 and 82)");
}

static void values_that_cannot_be_are_named(void **state) {
  (void)state;
  begin_file(3, 0, 1);
  put_key("k", 13), put_data(8);
  refused(ETK_E_FORMAT, "key 'k' has the unknown value type 13, at byte 33; types are 0 to 12");
  begin_file(3, 0, 1);
  put_key("k", 0xffffffff), put_data(8);
  refused(ETK_E_FORMAT, "unknown value type 4294967295");
  begin_file(3, 0, 1);
  put_array("k", 13, 0);
  refused(ETK_E_FORMAT, "key 'k' has the unknown value type 13, at byte 37");
  begin_file(3, 0, 1);
  put_key("k", ETK_GGUF_BOOL), put_number(2, 1);
  refused(ETK_E_FORMAT, "key 'k' holds a bool of value 2, at byte 37; 0 or 1 is wanted");
  begin_file(3, 0, 1);
  put_array("k", ETK_GGUF_BOOL, 3), put_number(1, 1), put_number(0, 1), put_number(255, 1);
  refused(ETK_E_FORMAT, "key 'k' holds a bool of value 255, at byte 51");
  begin_file(3, 0, 1);
  put_key("k", ETK_GGUF_TEXT), put_string("\xff\xfe");
  refused(ETK_E_FORMAT, "key 'k' holds a text that is not UTF-8, at byte 45");
  begin_file(3, 0, 1);
  put_array("k", ETK_GGUF_TEXT, 2), put_string("ok"), put_string("\xed\xa0\x80"); /* a lone surrogate */
  refused(ETK_E_FORMAT, "key 'k' holds a text that is not UTF-8, at byte 67");
  begin_file(3, 0, 1);
  put_array("k", ETK_GGUF_ARRAY, 1);
  for (int i = 0; i < 3; i++) put_number(ETK_GGUF_ARRAY, 4), put_number(1, 8);
  put_number(ETK_GGUF_U8, 4), put_number(0, 8);
  refused(ETK_E_FORMAT, "key 'k' nests arrays more than 4 deep, at byte 85");
  begin_file(3, 0, 1); /* nesting as deep as the file is long */
  put_array("k", ETK_GGUF_ARRAY, 1);
  for (int i = 0; i < 100000; i++) put_number(ETK_GGUF_ARRAY, 4), put_number(1, 8);
  refused(ETK_E_FORMAT, "nests arrays more than 4 deep");
}

static void alignments_that_cannot_be_are_named(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    static const uint32_t values[] = {0, 3, 0xffffffff};
    begin_file(3, 0, 1);
    put_u32("general.alignment", values[i]);
    refused(ETK_E_FORMAT, path_of("key 'general.alignment' is %u; a power of two is wanted (at byte 53)", values[i]));
  }
  begin_file(3, 0, 1);
  put_key("general.alignment", ETK_GGUF_TEXT), put_string("32");
  refused(ETK_E_FORMAT, "key 'general.alignment' is a string; a u32 is wanted");
  begin_file(3, 2, 1); /* sums of huge paddings */
  put_u32("general.alignment", 0x80000000);
  put_tensor("a", 1, DIMS(1), 0, 0);
  put_tensor("b", 1, DIMS(1), 0, 0x80000000);
  refused(ETK_E_FORMAT, "its tensors take 2147483652 bytes from byte 2147483648 on and 0 are there");
}

static void one_tensor(const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset, etk_status status, const char *part) {
  begin_file(3, 1, 0);
  put_tensor(name, rank, dims, type, offset);
  put_padding(32);
  put_data(64);
  refused(status, part);
}

static void tensors_that_cannot_be_are_named(void **state) {
  (void)state;
  one_tensor("", 1, DIMS(16), 0, 0, ETK_E_FORMAT, "the name of tensor 0 is empty, at byte 24");
  one_tensor("a\nb", 1, DIMS(16), 0, 0, ETK_E_FORMAT, "the name of tensor 0 holds the control character 0x0a, at byte 33");
  one_tensor("\xc0\x80", 1, DIMS(16), 0, 0, ETK_E_FORMAT, "tensor 0 holds a text that is not UTF-8");
  one_tensor("a123456789b123456789c123456789d123456789e123456789f123456789g123", 1, DIMS(16), 0, 0, ETK_E_FORMAT,
             "tensor 0 has a text of 64 bytes at byte 24; at most 63");
  one_tensor("w", 5, DIMS(1, 1, 1, 1, 16), 0, 0, ETK_E_FORMAT, "tensor 'w' has 5 dimensions, at byte 33; at most 4 are allowed");
  one_tensor("w", 0xffffffff, DIMS(16, 1, 1, 1, 1, 1, 1, 1), 0, 0, ETK_E_FORMAT, "tensor 'w' has 4294967295 dimensions");
  one_tensor("w", 2, DIMS(16, 0), 0, 0, ETK_E_FORMAT, "tensor 'w' has a dimension of 0, at byte 45");
  one_tensor("w", 1, DIMS(UINT64_MAX), 0, 0, ETK_E_FORMAT, "tensor 'w' has a dimension of 18446744073709551615, at byte 37");
  one_tensor("w", 3, DIMS(1u << 31, 1u << 31, 4), 0, 0, ETK_E_FORMAT, "the product of the dimensions of tensor 'w' overflows");
  one_tensor("w", 2, DIMS((uint64_t)1 << 32, 1u << 30), 28, 0, ETK_E_FORMAT, "tensor 'w' takes more bytes than can be counted");
  one_tensor("w", 1, DIMS(16), 43, 0, ETK_E_UNSUPPORTED, "tensor 'w' has the unknown type 43, at byte 45; types up to 42 (Q2_0) are known");
  one_tensor("w", 1, DIMS(16), 0xffffffff, 0, ETK_E_UNSUPPORTED, "unknown type 4294967295");
  one_tensor("w", 1, DIMS(32), 31, 0, ETK_E_UNSUPPORTED, "tensor 'w' has type 31 (Q4_0_4_4), at byte 45, which was taken out of the format");
  one_tensor("w", 1, DIMS(32), 4, 0, ETK_E_UNSUPPORTED, "type 4 (Q4_2)");
  one_tensor("w", 2, DIMS(33, 32), 2, 0, ETK_E_FORMAT, "tensor 'w' is of type Q4_0, whose blocks hold 32 elements, but its rows hold 33");
  one_tensor("w", 2, DIMS(128, 2), 12, 0, ETK_E_FORMAT, "is of type Q4_K, whose blocks hold 256 elements, but its rows hold 128");
  one_tensor("w", 0, NULL, 8, 0, ETK_E_FORMAT, "but its rows hold 1");
}

static void offsets_that_cannot_be_are_named(void **state) {
  (void)state;
  one_tensor("w", 1, DIMS(8), 0, 4, ETK_E_FORMAT, "tensor 'w' has the offset 4, at byte 49, which is no multiple of the alignment, 32");
  one_tensor("w", 1, DIMS(8), 0, 32, ETK_E_FORMAT, "tensor 'w' has the offset 32, at byte 49, which leaves a hole; 0 is wanted");
  one_tensor("w", 1, DIMS(8), 0, UINT64_MAX - 31, ETK_E_FORMAT, "which leaves a hole");
  one_tensor("w", 1, DIMS(17), 0, 0, ETK_E_FORMAT, "truncated: its tensors take 68 bytes from byte 64 on and 64 are there (the last tensor is 'w')");
  one_tensor("w", 1, DIMS(8), 0, 0, ETK_E_FORMAT, "32 bytes from byte 96 on belong to no tensor");
  static const struct {
    uint64_t offset;
    const char *part;
  } second[] = {{0, "tensor 'b' has the offset 0, at byte 82, inside tensor 'a'; 64 is wanted"},
                {32, "inside tensor 'a'; 64 is wanted"},
                {96, "leaves a hole; 64 is wanted"}};
  for (size_t i = 0; i < 3; i++) {
    begin_file(3, 2, 0);
    put_tensor("a", 1, DIMS(9), 0, 0);
    put_tensor("b", 1, DIMS(1), 0, second[i].offset);
    put_padding(32), put_data(128);
    refused(ETK_E_FORMAT, second[i].part);
  }
  begin_file(3, 3, 0); /* two tensors of 2^62 bytes and a third: the sum does not fit */
  for (uint64_t i = 0; i < 3; i++) put_tensor(i == 0 ? "a" : i == 1 ? "b" : "c", 1, DIMS((uint64_t)1 << 62), 24, i << 62);
  refused(ETK_E_FORMAT, "truncated: its tensors take 13835058055282163712 bytes");
  begin_file(3, 5, 0);
  for (uint64_t i = 0; i < 5; i++) put_tensor((const char *[]){"a", "b", "c", "d", "e"}[i], 1, DIMS((uint64_t)1 << 62), 24, i << 62);
  refused(ETK_E_FORMAT, "the tensors up to 'd' take more bytes than can be counted");
  begin_file(3, 2, 0);
  put_tensor("w", 1, DIMS(8), 0, 0);
  put_tensor("w", 1, DIMS(8), 0, 32);
  put_padding(32), put_data(64);
  refused(ETK_E_FORMAT, "tensor 'w' is given twice");
}

static void every_changed_byte_is_refused_or_read_within_bounds(void **state) {
  (void)state;
  make_good();
  for (size_t i = 0; i < made_size; i++)
    for (int bit = 0; bit < 8; bit++) {
      made[i] ^= (unsigned char)(1 << bit);
      etk_error e = ETK_ERROR_INIT;
      if (parse_made(&e, made_size) != ETK_OK) assert_non_null(strstr(e.message, "x.gguf"));
      made[i] ^= (unsigned char)(1 << bit);
    }
}

/* The densest headers, some megabytes of them; the bound is the issue's. mallinfo2 knows nothing under sanitizers. */
static size_t memory_used(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}
static void opens_within_the_bound(const char *what) {
  size_t before = memory_used();
  etk_gguf *file;
  works(etk_gguf_parse(e, &file, "x.gguf", made, made_size));
  size_t used = memory_used() - before;
  print_message("%s: %zu bytes, %.2f times that in memory\n", what, made_size, (double)used / (double)made_size);
  assert_true(used < 10 * made_size + ((size_t)16 << 20));
  etk_gguf_close(file);
}
static void memory_stays_below_ten_times_the_header(void **state) {
  (void)state;
  char name[8];
  begin_file(3, 0, 1 << 20);
  for (int i = 0; i < 1 << 20; i++) {
    snprintf(name, sizeof name, "%x", i);
    put_key(name, ETK_GGUF_BOOL), put_number(1, 1);
  }
  opens_within_the_bound("short keys");
  begin_file(3, 1 << 18, 0);
  for (uint64_t i = 0; i < 1 << 18; i++) {
    snprintf(name, sizeof name, "%x", (unsigned)i);
    put_tensor(name, 0, NULL, 24, i * 32);
  }
  put_padding(32), put_data((size_t)32 << 18);
  made_size -= 31;
  opens_within_the_bound("short tensors");
  begin_file(3, 0, 1);
  put_array("k", ETK_GGUF_TEXT, 1 << 20);
  for (int i = 0; i < 1 << 20; i++) put_string("");
  opens_within_the_bound("empty texts");
  begin_file(3, 0, 1);
  put_array("k", ETK_GGUF_ARRAY, 1 << 19);
  for (int i = 0; i < 1 << 19; i++) put_number(ETK_GGUF_U8, 4), put_number(0, 8);
  opens_within_the_bound("empty arrays");
}

static int free_made(void **state) {
  (void)state;
  free(made);
  made = NULL;
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_of_other_kinds_are_named),          cmocka_unit_test(truncation_at_every_byte_is_refused),
      cmocka_unit_test(truncation_says_where_and_in_what),       cmocka_unit_test(counts_beyond_the_file_are_refused_before_anything_is_allocated),
      cmocka_unit_test(keys_that_cannot_be_are_named),           cmocka_unit_test(values_that_cannot_be_are_named),
      cmocka_unit_test(alignments_that_cannot_be_are_named),     cmocka_unit_test(tensors_that_cannot_be_are_named),
      cmocka_unit_test(offsets_that_cannot_be_are_named),        cmocka_unit_test(every_changed_byte_is_refused_or_read_within_bounds),
      cmocka_unit_test(memory_stays_below_ten_times_the_header),
  };
  return cmocka_run_group_tests(tests, NULL, free_made);
}
