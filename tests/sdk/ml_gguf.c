/* Reading and writing GGUF files. tests/goldens/gguf.json is what an independent reader (gguf.py) found in the real vocabularies. */
#include "../interpose.h"

#include "../../bench/peers/ggml.h"
#include "ml_gguf_bytes.h"

#include <etk/hash.h>

static etk_gguf *parse_good(void) {
  etk_gguf *file;
  make_good();
  works(etk_gguf_parse(e, &file, "x.gguf", made, made_size));
  return file;
}

/* ---- keys ---- */

static void whole_numbers_of_every_width_are_read(void **state) {
  (void)state;
  etk_gguf *file = parse_good();
  static const struct {
    const char *key;
    int64_t value;
  } wanted[] = {{"k.u8", 200}, {"k.i8", -100}, {"k.u16", 60000}, {"k.i16", -30000}, {"k.u32", 4000000000}, {"k.i32", -2000000000}, {"k.i64", -5}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    int64_t x;
    double y;
    works(etk_gguf_get_int(e, &x, file, wanted[i].key));
    works(etk_gguf_get_real(e, &y, file, wanted[i].key));
    assert_int_equal(x, wanted[i].value);
    assert_true(y == (double)wanted[i].value);
  }
  int64_t x;
  double y;
  fails_with(ETK_E_UNSUPPORTED, "key 'k.u64' is 18446744073709551615; at most 9223372036854775807", etk_gguf_get_int(e, &x, file, "k.u64"));
  works(etk_gguf_get_real(e, &y, file, "k.u64"));
  assert_true(y == 18446744073709551616.0);
  works(etk_gguf_get_real(e, &y, file, "k.f32"));
  assert_true(y == 1.5);
  works(etk_gguf_get_real(e, &y, file, "k.f64"));
  assert_true(y == -2.5);
  bool flag = false;
  works(etk_gguf_get_flag(e, &flag, file, "k.bool"));
  assert_true(flag);
  const char *text;
  works(etk_gguf_get_text(e, &text, file, "general.architecture"));
  assert_string_equal(text, "llama");
  etk_gguf_close(file);
}

static void a_value_of_another_kind_is_named_with_its_place(void **state) {
  (void)state;
  etk_gguf *file = parse_good();
  int64_t x;
  double y;
  bool flag;
  const char *text;
  const etk_gguf_value *array;
  fails_with(ETK_E_FORMAT, "x.gguf: key 'general.architecture' is a string; a whole number is wanted (at byte 64)",
             etk_gguf_get_int(e, &x, file, "general.architecture"));
  fails_with(ETK_E_FORMAT, "key 'k.f32' is an f32; a whole number is wanted", etk_gguf_get_int(e, &x, file, "k.f32"));
  fails_with(ETK_E_FORMAT, "key 'k.bool' is a bool; a number is wanted", etk_gguf_get_real(e, &y, file, "k.bool"));
  fails_with(ETK_E_FORMAT, "key 'k.u8' is a u8; a bool is wanted", etk_gguf_get_flag(e, &flag, file, "k.u8"));
  fails_with(ETK_E_FORMAT, "key 'k.words' is an array of string; a string is wanted", etk_gguf_get_text(e, &text, file, "k.words"));
  fails_with(ETK_E_FORMAT, "key 'k.numbers' is an array of i16; an array of string is wanted",
             etk_gguf_get_array(e, &array, file, "k.numbers", ETK_GGUF_TEXT));
  fails_with(ETK_E_FORMAT, "key 'k.words' is an array of string; an array of whole numbers is wanted",
             etk_gguf_get_array(e, &array, file, "k.words", ETK_GGUF_I64));
  fails_with(ETK_E_FORMAT, "key 'k.u8' is a u8; an array of numbers is wanted", etk_gguf_get_array(e, &array, file, "k.u8", ETK_GGUF_F64));
  fails_with(ETK_E_NOT_FOUND, "x.gguf has no key 'k.word'; did you mean 'k.words'?", etk_gguf_get_text(e, &text, file, "k.word"));
  assert_null(etk_gguf_find(file, "k.word"));
  etk_gguf_close(file);
  begin_file(3, 0, 1);
  put_key("t", ETK_GGUF_TEXT), put_sized("a\0b", 3);
  works(etk_gguf_parse(e, &file, "x.gguf", made, made_size));
  fails_with(ETK_E_FORMAT, "key 't' is a string with a NUL inside (at byte 45)", etk_gguf_get_text(e, &text, file, "t"));
  size_t size;
  assert_memory_equal(etk_gguf_text_at(etk_gguf_find(file, "t"), 0, &size), "a\0b", 3);
  assert_int_equal(size, 3);
  etk_gguf_close(file);
}

static void arrays_are_read_by_item(void **state) {
  (void)state;
  etk_gguf *file = parse_good();
  const etk_gguf_value *words, *numbers, *nested;
  size_t size;
  works(etk_gguf_get_array(e, &words, file, "k.words", ETK_GGUF_TEXT));
  assert_int_equal(words->count, 3);
  assert_memory_equal(etk_gguf_text_at(words, 0, &size), "one", 3);
  assert_non_null(etk_gguf_text_at(words, 1, &size));
  assert_int_equal(size, 0);
  assert_memory_equal(etk_gguf_text_at(words, 2, &size), "dr\xc3\xa9i", 5);
  assert_null(etk_gguf_text_at(words, 3, &size));
  works(etk_gguf_get_array(e, &numbers, file, "k.numbers", ETK_GGUF_F64));
  assert_int_equal(etk_gguf_int_at(numbers, 1), -2);
  assert_true(etk_gguf_real_at(numbers, 2) == 3);
  assert_int_equal(etk_gguf_int_at(numbers, 3), 0);
  works(etk_gguf_get_array(e, &nested, file, "k.nested", ETK_GGUF_ARRAY));
  assert_int_equal(etk_gguf_int_at(etk_gguf_value_at(nested, 0), 1), 8);
  assert_memory_equal(etk_gguf_text_at(etk_gguf_value_at(nested, 1), 0, &size), "x", 1);
  assert_null(etk_gguf_value_at(nested, 2));
  assert_null(etk_gguf_value_at(numbers, 0));
  etk_gguf_close(file);
}

static void keys_are_listed_in_file_order(void **state) {
  (void)state;
  etk_gguf *file = parse_good();
  const etk_gguf_value *value;
  assert_int_equal(etk_gguf_key_count(file), 15);
  assert_string_equal(etk_gguf_key_at(file, 1, &value), "k.u8");
  assert_int_equal(value->kind, ETK_GGUF_U8);
  assert_string_equal(etk_gguf_key_at(file, 14, NULL), "k.nested");
  assert_null(etk_gguf_key_at(file, 15, &value));
  etk_gguf_close(file);
}

static void version_2_is_laid_out_the_same(void **state) {
  (void)state;
  make_good();
  made[4] = 2;
  etk_gguf *file;
  works(etk_gguf_parse(e, &file, "x", made, made_size));
  assert_int_equal(etk_gguf_version(file), 2);
  assert_int_equal(etk_gguf_count(file), 2);
  etk_gguf_close(file);
}

/* ---- tensors ---- */

static void tensors_have_row_major_shapes_and_lie_in_the_map(void **state) {
  (void)state;
  etk_gguf *file = parse_good();
  const etk_gguf_entry *a = etk_gguf_at(file, 0), *b = etk_gguf_tensor_find(file, "b");
  assert_string_equal(a->name, "a");
  assert_true(etk_shape_equal(&a->shape, &etk_shape_of(2, 2, 3)));
  assert_int_equal(a->type, ETK_F32);
  assert_int_equal(a->bytes, 24);
  assert_ptr_equal(b, etk_gguf_at(file, 1));
  assert_int_equal(b->type, ETK_Q8_0);
  assert_string_equal(b->type_name, "Q8_0");
  assert_ptr_equal(b->data, made + made_size - 64);
  assert_null(etk_gguf_at(file, 2));
  assert_int_equal(etk_gguf_parts(file), 1);
  etk_tensor *tensor, *decoded;
  works(etk_gguf_tensor(e, &tensor, file, "a"));
  assert_ptr_equal(etk_tensor_data(tensor), a->data);
  fails_with(ETK_E_UNSUPPORTED, "tensor 'b' is stored as Q8_0, in blocks; decode it", etk_gguf_tensor(e, &decoded, file, "b"));
  fails_with(ETK_E_NOT_FOUND, "x.gguf has no tensor 'bb' (it holds 2); did you mean 'b'?", etk_gguf_tensor(e, &decoded, file, "bb"));
  works(etk_gguf_decode(e, &decoded, file, "b")); /* d = 0x0100, subnormal 256 * 2^-24; codes 2, 3, 4 … */
  assert_true(((float *)etk_tensor_data(decoded))[1] == 3 * 256 * 0x1p-24f);
  etk_tensor_unref(decoded);
  works(etk_gguf_decode(e, &decoded, file, "a"));
  assert_memory_equal(etk_tensor_data(decoded), a->data, 24);
  etk_tensor_unref(decoded);
  etk_gguf_close(file); /* the tensor still holds it */
  assert_int_equal(((unsigned char *)etk_tensor_data(tensor))[23], 23);
  etk_tensor_unref(tensor);
}

static void types_that_are_not_decoded_are_listed(void **state) {
  (void)state;
  begin_file(3, 1, 0);
  put_tensor("w", 1, (const uint64_t[]){256}, 16, 0);
  put_padding(32), put_data(66);
  etk_gguf *file;
  etk_tensor *tensor;
  works(etk_gguf_parse(e, &file, "x", made, made_size));
  assert_int_equal(etk_gguf_at(file, 0)->type, -1);
  assert_string_equal(etk_gguf_at(file, 0)->type_name, "IQ2_XXS");
  fails_with(ETK_E_UNSUPPORTED, "tensor 'w' is stored as IQ2_XXS, which this version cannot decode", etk_gguf_decode(e, &tensor, file, "w"));
  etk_gguf_close(file);
}

/* ---- real files ---- */

static void hash_item(etk_sha256 *hash, const etk_gguf_value *value, uint64_t index) {
  char number[40];
  size_t size;
  const char *text = etk_gguf_text_at(value, index, &size);
  if (text) {
    snprintf(number, sizeof number, "%zu:", size);
    etk_sha256_update(hash, number, strlen(number));
    etk_sha256_update(hash, text, size);
  } else {
    long long x = (long long)etk_gguf_int_at(value, index);
    if (value->item_kind == ETK_GGUF_F32) { /* as its bits */
      float f = (float)etk_gguf_real_at(value, index);
      uint32_t bits;
      memcpy(&bits, &f, sizeof bits);
      x = bits;
    }
    snprintf(number, sizeof number, "%lld", x);
    etk_sha256_update(hash, number, strlen(number));
  }
  etk_sha256_update(hash, "\n", 1);
}

static void real_vocabularies_are_read_item_for_item(void **state) {
  (void)state;
  json_t *golden = load_json("tests/goldens/gguf.json"), *wanted;
  const char *name;
  shared_or_skip("tokenizers/gguf-vocab");
  json_object_foreach(golden, name, wanted) {
    etk_gguf *file;
    works(etk_gguf_open(e, &file, shared(path_of("tokenizers/gguf-vocab/%s", name))));
    json_t *keys = json_object_get(wanted, "keys"), *row;
    assert_int_equal(etk_gguf_version(file), json_integer_value(json_object_get(wanted, "version")));
    assert_int_equal(etk_gguf_count(file), json_integer_value(json_object_get(wanted, "tensors")));
    assert_int_equal(etk_gguf_key_count(file), json_array_size(keys));
    size_t i;
    json_array_foreach(keys, i, row) {
      const etk_gguf_value *value = NULL;
      assert_string_equal(etk_gguf_key_at(file, i, &value), json_string_value(json_array_get(row, 0)));
      assert_string_equal(etk_gguf_kind_name(value->kind), json_string_value(json_array_get(row, 1)));
      assert_string_equal(etk_gguf_kind_name(value->item_kind), json_string_value(json_array_get(row, 2)));
      uint64_t count = value->kind == ETK_GGUF_TEXT ? 1 : value->count;
      assert_int_equal(count, json_integer_value(json_array_get(row, 3)));
      etk_sha256 hash;
      char hex[65];
      etk_sha256_init(&hash);
      for (uint64_t k = 0; k < count; k++) hash_item(&hash, value, k);
      etk_sha256_final(&hash, hex);
      assert_string_equal(hex, json_string_value(json_array_get(row, 4)));
    }
    etk_gguf_close(file);
  }
  json_decref(golden);
}

/* ---- writing ---- */

static void read_back(char **bytes, size_t *size, const char *path) { works(etk_fs_read(e, bytes, size, path, (size_t)64 << 20)); }

/* Copies keys and tensors of an open file. */
static etk_gguf_writer *copy_of(const etk_gguf *file) {
  etk_gguf_writer *w = etk_gguf_writer_new();
  assert_non_null(w);
  const etk_gguf_value *value;
  const char *key;
  for (size_t i = 0; (key = etk_gguf_key_at(file, i, &value)); i++) etk_gguf_set_value(w, key, value);
  const etk_gguf_entry *t;
  for (size_t i = 0; (t = etk_gguf_at(file, i)); i++) etk_gguf_add(w, t->name, (etk_type)t->type, t->shape, t->data, NULL, NULL);
  return w;
}

static void a_copy_is_the_same_bytes(void **state) {
  char *path = path_of("%s/copy.gguf", (const char *)*state), *bytes;
  size_t size;
  etk_gguf *file = parse_good();
  etk_gguf_writer *w = copy_of(file);
  works(etk_gguf_write(e, w, path, NULL));
  fails_with(ETK_E_EXISTS, "copy.gguf", etk_gguf_write(e, w, path, NULL));
  read_back(&bytes, &size, path);
  assert_int_equal(size, made_size);
  /* padding differs from the hand-made file's in nothing: both are zeros */
  assert_memory_equal(bytes, made, size);
  etk_free(bytes);
  etk_gguf_writer_free(w);
  etk_gguf_close(file);
}

static void real_vocabularies_are_rewritten_bit_for_bit(void **state) {
  static const char *const names[] = {"bert-bge", "gpt-2", "llama-spm"};
  char *to = path_of("%s/vocab.gguf", (const char *)*state);
  for (size_t i = 0; i < 3; i++) {
    char *from = shared_or_skip(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf", names[i])), *a, *b;
    size_t m, n;
    etk_gguf *file;
    works(etk_gguf_open(e, &file, from));
    etk_gguf_writer *w = copy_of(file);
    works(etk_gguf_write(e, w, to, &(etk_gguf_write_options){.replace = true}));
    read_back(&a, &m, from);
    read_back(&b, &n, to);
    assert_true(n >= m && n - m < 32); /* those files end without padding */
    assert_memory_equal(a, b, m);
    etk_free(a), etk_free(b);
    etk_gguf_writer_free(w);
    etk_gguf_close(file);
  }
}

static etk_status fill_counting(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  (void)e;
  int64_t *next = user; /* rows come in order */
  assert_int_equal(row, *next);
  *next += rows;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < 1000; c++) ((float *)out)[r * 1000 + c] = (float)((row + r) * 1000 + c);
  return ETK_OK;
}
static etk_status fill_failing(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  (void)user, (void)out, (void)rows;
  return row > 300 ? etk_fail(e, ETK_E_CANCELLED, "stopped") : ETK_OK;
}

static void everything_that_can_be_set_is_read_back(void **state) {
  char *path = path_of("%s/set.gguf", (const char *)*state);
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_gguf_set_text(w, "general.architecture", "gpt2");
  etk_gguf_set_int(w, "u8", ETK_GGUF_U8, 255), etk_gguf_set_int(w, "i16", ETK_GGUF_I16, -32768), etk_gguf_set_int(w, "b", ETK_GGUF_BOOL, 1);
  etk_gguf_set_int(w, "general.alignment", ETK_GGUF_U32, 4096);
  etk_gguf_set_real(w, "f32", ETK_GGUF_F32, 0.1), etk_gguf_set_real(w, "f64", ETK_GGUF_F64, 0.1);
  etk_gguf_set_array(w, "floats", ETK_GGUF_F32, (const float[]){1, -2, 3.5f}, 3);
  etk_gguf_set_array(w, "none", ETK_GGUF_U64, NULL, 0);
  etk_gguf_set_texts(w, "texts", (const char *const[]){"a", "", "\xf0\x9f\x98\x80"}, NULL, 3);
  etk_gguf_set_text(w, "general.architecture", "llama"); /* again, in its place */
  int64_t next = 0;
  const float scalar = 7;
  etk_gguf_add(w, "scalar", (etk_type)ETK_F32, etk_shape_of(0, 0), &scalar, NULL, NULL);
  etk_gguf_add(w, "large", (etk_type)ETK_F32, etk_shape_of(2, 1000, 1000), NULL, fill_counting, &next);
  works(etk_gguf_write(e, w, path, NULL));
  etk_gguf_writer_free(w);
  assert_int_equal(next, 1000);
  etk_gguf *file;
  works(etk_gguf_open(e, &file, path));
  const char *text;
  double real;
  works(etk_gguf_get_text(e, &text, file, "general.architecture"));
  assert_string_equal(text, "llama");
  assert_string_equal(etk_gguf_key_at(file, 0, NULL), "general.architecture");
  works(etk_gguf_get_real(e, &real, file, "f32"));
  assert_true(real == (double)0.1f);
  works(etk_gguf_get_real(e, &real, file, "f64"));
  assert_true(real == 0.1);
  int64_t whole;
  works(etk_gguf_get_int(e, &whole, file, "i16"));
  assert_int_equal(whole, -32768);
  const etk_gguf_value *array;
  works(etk_gguf_get_array(e, &array, file, "floats", ETK_GGUF_F32));
  assert_true(etk_gguf_real_at(array, 2) == 3.5);
  works(etk_gguf_get_array(e, &array, file, "none", ETK_GGUF_U64));
  assert_int_equal(array->count, 0);
  size_t size;
  works(etk_gguf_get_array(e, &array, file, "texts", ETK_GGUF_TEXT));
  assert_memory_equal(etk_gguf_text_at(array, 2, &size), "\xf0\x9f\x98\x80", 4);
  assert_int_equal(etk_gguf_alignment(file), 4096);
  const etk_gguf_entry *large = etk_gguf_tensor_find(file, "large");
  assert_int_equal((uintptr_t)large->data % 4096, 0);
  for (int i = 0; i < 1000000; i++) assert_true(((const float *)large->data)[i] == (float)i);
  assert_int_equal(etk_gguf_at(file, 0)->shape.rank, 0);
  etk_gguf_close(file);
}

static void what_cannot_be_written_is_named_and_leaves_no_file(void **state) {
  char *path = path_of("%s/no.gguf", (const char *)*state);
  static const float data[64];
  static const struct {
    etk_status status;
    const char *part;
  } wanted[] = {{ETK_E_INVALID, "key 'k': 256 does not fit a u8"},
                {ETK_E_INVALID, "'a b' cannot be a GGUF key"},
                {ETK_E_INVALID, "key 'k': a string is not UTF-8"},
                {ETK_E_INVALID, "key 'k': a real number is stored as f32 or f64, not as u8"},
                {ETK_E_INVALID, "key 'k': an array of string is not made of numbers"},
                {ETK_E_SHAPE, "tensor 'w': rows of 33 elements cannot be Q8_0"},
                {ETK_E_UNSUPPORTED, "tensor 'w': GGUF has no type U16"},
                {ETK_E_SHAPE, "tensor 'w' has 5 dimensions; GGUF holds at most 4"},
                {ETK_E_SHAPE, "tensor 'w': dimension 0 is 0; GGUF holds no empty tensors"},
                {ETK_E_INVALID, "tensor 'w' has neither data nor a function that makes it"},
                {ETK_E_INVALID, "cannot be a GGUF tensor's name"},
                {ETK_E_INVALID, "no.gguf: the tensor name 'w' is given twice"},
                {ETK_E_INVALID, "key 'general.alignment' must be a u32 that is a power of two"},
                {ETK_E_CANCELLED, "while writing tensor 'w': stopped"}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    etk_gguf_writer *w = etk_gguf_writer_new();
    switch (i) {
    case 0:
      etk_gguf_set_int(w, "k", ETK_GGUF_U8, 256);
      break;
    case 1:
      etk_gguf_set_int(w, "a b", ETK_GGUF_U8, 1);
      break;
    case 2:
      etk_gguf_set_text(w, "k", "\xff");
      break;
    case 3:
      etk_gguf_set_real(w, "k", ETK_GGUF_U8, 1);
      break;
    case 4:
      etk_gguf_set_array(w, "k", ETK_GGUF_TEXT, data, 1);
      break;
    case 5:
      etk_gguf_add(w, "w", ETK_Q8_0, etk_shape_of(2, 1, 33), data, NULL, NULL);
      break;
    case 6:
      etk_gguf_add(w, "w", (etk_type)ETK_U16, etk_shape_of(1, 4), data, NULL, NULL);
      break;
    case 7:
      etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(5, 1, 1, 1, 1, 4), data, NULL, NULL);
      break;
    case 8:
      etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(2, 0, 4), data, NULL, NULL);
      break;
    case 9:
      etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(1, 4), NULL, NULL, NULL);
      break;
    case 10:
      etk_gguf_add(w, "0123456789012345678901234567890123456789012345678901234567890123", (etk_type)ETK_F32, etk_shape_of(1, 4), data, NULL, NULL);
      break;
    case 11:
      etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(1, 4), data, NULL, NULL),
          etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(1, 4), data, NULL, NULL);
      break;
    case 12:
      etk_gguf_set_int(w, "general.alignment", ETK_GGUF_U32, 48);
      break;
    default:
      etk_gguf_add(w, "w", (etk_type)ETK_F32, etk_shape_of(2, 1000, 1000), NULL, fill_failing, NULL);
      break;
    }
    etk_gguf_set_int(w, "later", ETK_GGUF_U8, 1); /* does not hide the first failure */
    fails_with(wanted[i].status, wanted[i].part, etk_gguf_write(e, w, path, NULL));
    assert_false(etk_fs_exists(path));
    etk_gguf_writer_free(w);
  }
  etk_gguf_writer *w = etk_gguf_writer_new();
  fails_with(ETK_E_INVALID, "must end in '.gguf'", etk_gguf_write(e, w, "/tmp/model.bin", NULL));
  etk_gguf_writer_free(w);
}

/* ---- splits ---- */

/* Ten tensors "t0" … of 64 floats, all equal to their number, in parts of at most 1000 bytes: three a part. */
static char *write_split(void **state, const char *name) {
  char *path = path_of("%s/%s.gguf", fresh_folder(state, name), name);
  static float data[10][64];
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_gguf_set_text(w, "general.architecture", "llama");
  etk_gguf_set_int(w, "split.count", ETK_GGUF_U16, 77); /* a lie of the source's; the writer's own comes instead */
  for (int i = 0; i < 10; i++) {
    for (int j = 0; j < 64; j++) data[i][j] = (float)i;
    etk_gguf_add(w, path_of("t%d", i), (etk_type)ETK_F32, etk_shape_of(1, 64), data[i], NULL, NULL);
  }
  works(etk_gguf_write(e, w, path, &(etk_gguf_write_options){.part_bytes = 1000}));
  etk_gguf_writer_free(w);
  assert_false(etk_fs_exists(path));
  return path;
}
static char *part_of(const char *path, int part, int parts) {
  char *name = etk_gguf_part_path(path, part, parts), *kept = path_of("%s", name);
  etk_free(name);
  return kept;
}

static void a_split_model_is_read_as_one(void **state) {
  char *path = write_split(state, "whole");
  assert_non_null(strstr(part_of(path, 1, 4), "whole-00002-of-00004.gguf"));
  etk_gguf *file;
  works(etk_gguf_open(e, &file, part_of(path, 0, 4)));
  assert_int_equal(etk_gguf_parts(file), 4);
  assert_int_equal(etk_gguf_count(file), 10);
  const char *text;
  works(etk_gguf_get_text(e, &text, file, "general.architecture"));
  etk_tensor *last;
  for (int i = 0; i < 10; i++) {
    const etk_gguf_entry *t = etk_gguf_at(file, (size_t)i);
    assert_string_equal(t->name, path_of("t%d", i));
    assert_int_equal(t->part, i / 3);
    assert_true(((const float *)t->data)[63] == (float)i);
  }
  works(etk_gguf_tensor(e, &last, file, "t9"));
  etk_gguf_close(file);
  assert_true(((float *)etk_tensor_data(last))[5] == 9);
  etk_tensor_unref(last);
}

/* Changes the value of a key of a whole number in a written file. */
static void patch(const char *path, const char *key, uint64_t value, int bytes) {
  char *data;
  size_t size;
  read_back(&data, &size, path);
  char *at = memmem(data, size, key, strlen(key));
  assert_non_null(at);
  for (int i = 0; i < bytes; i++) at[strlen(key) + 4 + (size_t)i] = (char)(value >> (8 * i));
  write_file(path, data, size);
  etk_free(data);
}

static void parts_that_do_not_fit_together_are_named(void **state) {
  etk_gguf *file;
  char *path = write_split(state, "lies"), *first = part_of(path, 0, 4), *second = part_of(path, 1, 4), *third = part_of(path, 2, 4);
  fails_with(ETK_E_USAGE, "this is part 2 of 4; open the first, '", etk_gguf_open(e, &file, second));
  char *bytes;
  size_t size;
  read_back(&bytes, &size, second);
  works(etk_fs_remove_tree(e, second));
  fails_with(ETK_E_NOT_FOUND, "while opening part 2 of 4 of", etk_gguf_open(e, &file, first));
  write_file(second, bytes, size);
  copy_file(third, second, 0);
  fails_with(ETK_E_FORMAT, "key 'split.no' says part 2; it was opened as part 1", etk_gguf_open(e, &file, first));
  write_file(second, bytes, size);
  patch(second, "split.count", 5, 2);
  fails_with(ETK_E_FORMAT, "key 'split.count' is 5; the first part says 4", etk_gguf_open(e, &file, first));
  write_file(second, bytes, size);
  patch(second, "split.tensors.count", 11, 4);
  fails_with(ETK_E_FORMAT, "key 'split.tensors.count' is 11; the first part says 10", etk_gguf_open(e, &file, first));
  write_file(second, bytes, size - 200);
  fails_with(ETK_E_FORMAT, "truncated: its tensors take", etk_gguf_open(e, &file, first));
  write_file(second, bytes, size);
  char *again = memmem(bytes, size, "t3", 2);
  again[1] = '0';
  write_file(second, bytes, size);
  fails_with(ETK_E_FORMAT, "tensor 't0' is given twice, again in", etk_gguf_open(e, &file, first));
  etk_free(bytes);
  char *moved = path_of("%s/moved.gguf", (const char *)*state);
  copy_file(first, moved, 0);
  fails_with(ETK_E_FORMAT, "this is part 1 of 4 of a split model, whose name must end in '-00001-of-00004.gguf'", etk_gguf_open(e, &file, moved));
  char *counts = write_split(state, "counts");
  for (int i = 0; i < 4; i++) patch(part_of(counts, i, 4), "split.tensors.count", 12, 4);
  fails_with(ETK_E_FORMAT, "key 'split.tensors.count' is 12, but the 4 parts hold 10 tensors", etk_gguf_open(e, &file, part_of(counts, 0, 4)));
  patch(part_of(counts, 0, 4), "split.tensors.count", UINT64_MAX, 4);
  fails_with(ETK_E_FORMAT, "key 'split.tensors.count' is -1; 0 to 2147483647 is wanted", etk_gguf_open(e, &file, part_of(counts, 0, 4)));
}

static void too_many_parts_are_refused(void **state) {
  static const float data[16];
  etk_gguf_writer *w = etk_gguf_writer_new();
  for (int i = 0; i < 600; i++) etk_gguf_add(w, path_of("t%d", i), (etk_type)ETK_F32, etk_shape_of(1, 16), data, NULL, NULL);
  fails_with(ETK_E_INVALID, "parts of 64 bytes would be 600 files; at most 512",
             etk_gguf_write(e, w, path_of("%s/many.gguf", (const char *)*state), &(etk_gguf_write_options){.part_bytes = 64}));
  etk_gguf_writer_free(w);
}

/* ---- no memory, no disk ---- */

struct sweep {
  char *path, *split;
};
static bool read_once(void *user) {
  const struct sweep *s = user;
  etk_error e = ETK_ERROR_INIT;
  etk_gguf *file = NULL;
  etk_tensor *tensor = NULL;
  bool done = etk_gguf_open(&e, &file, s->split) == ETK_OK && etk_gguf_tensor(&e, &tensor, file, "t7") == ETK_OK;
  etk_tensor_unref(tensor);
  etk_gguf_close(file);
  if (!done) return false;
  file = NULL;
  done = etk_gguf_parse(&e, &file, "x.gguf", made, made_size) == ETK_OK && etk_gguf_decode(&e, &tensor, file, "b") == ETK_OK;
  if (done) etk_tensor_unref(tensor);
  etk_gguf_close(file);
  return done;
}
static bool write_once(void *user) {
  const struct sweep *s = user;
  etk_error e = ETK_ERROR_INIT;
  etk_gguf *file = NULL;
  if (etk_gguf_parse(&e, &file, "x.gguf", made, made_size)) return false;
  etk_gguf_writer *w = etk_gguf_writer_new();
  const etk_gguf_value *value;
  const char *key;
  for (size_t i = 0; w && (key = etk_gguf_key_at(file, i, &value)); i++) etk_gguf_set_value(w, key, value);
  const etk_gguf_entry *t;
  for (size_t i = 0; w && (t = etk_gguf_at(file, i)); i++) etk_gguf_add(w, t->name, (etk_type)t->type, t->shape, t->data, NULL, NULL);
  bool done = w && etk_gguf_write(&e, w, s->path, &(etk_gguf_write_options){true, 40}) == ETK_OK;
  etk_gguf_writer_free(w);
  etk_gguf_close(file);
  return done;
}
static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  struct sweep s = {path_of("%s/sweep.gguf", (const char *)*state), part_of(write_split(state, "memory"), 0, 4)};
  make_good();
  long reads = interpose_sweep(read_once, &s), writes = interpose_sweep(write_once, &s);
  if (reads <= 10 || writes <= 10) fail_msg("reading: %ld, writing: %ld", reads, writes);
}

static int disk_left;
static int full_disk(void *user, size_t size) {
  (void)user;
  disk_left -= (int)size;
  return disk_left < 0 ? ENOSPC : 0;
}
static void a_full_disk_leaves_the_old_files(void **state) {
  char *path = write_split(state, "full"), *first = part_of(path, 0, 4), *before, *after;
  size_t m, n;
  read_back(&before, &m, first);
  static const float data[640];
  etk_gguf_writer *w = etk_gguf_writer_new();
  for (int i = 0; i < 10; i++) etk_gguf_add(w, path_of("t%d", i), (etk_type)ETK_F32, etk_shape_of(1, 64), data, NULL, NULL);
  for (disk_left = 0; disk_left < 3000;) {
    int room = disk_left;
    etk_fs_set_write_hook(full_disk, NULL);
    fails_with(ETK_E_NO_SPACE, "full-0000", etk_gguf_write(e, w, path, &(etk_gguf_write_options){true, 1000}));
    etk_fs_set_write_hook(NULL, NULL);
    read_back(&after, &n, first);
    assert_int_equal(m, n);
    assert_memory_equal(before, after, m);
    etk_free(after);
    disk_left = room + 500;
  }
  char **names;
  size_t count;
  works(etk_fs_list(e, &names, &count, path_of("%s/full", (const char *)*state)));
  assert_int_equal(count, 4);
  etk_fs_list_free(names, count);
  etk_gguf_writer_free(w);
  etk_free(before);
}

/* ---- the peer ---- */

/* What we write, the peer's reader finds: keys, types and the bytes of every tensor; one file and the parts of a split. */
static void the_peer_reads_what_we_write(void **state) {
  ggml peer;
  if (!ggml_open(&peer)) skip();
  char *path = path_of("%s/peer.gguf", (const char *)*state);
  enum { COLUMNS = 512, ROWS = 3 };
  static float values[ROWS * COLUMNS];
  static unsigned char packed[ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK][ROWS * COLUMNS * 2];
  for (int i = 0; i < ROWS * COLUMNS; i++) values[i] = (float)((i * 37) % 101) - 50;
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_gguf_set_text(w, "general.architecture", "llama");
  etk_gguf_set_texts(w, "tokenizer.ggml.tokens", (const char *const[]){"<unk>", "a"}, NULL, 2);
  for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
    unsigned char *bytes = packed[t - ETK_TYPE_FIRST_BLOCK];
    works(etk_quant_encode(e, bytes, (etk_type)t, values, ROWS, COLUMNS, NULL));
    etk_gguf_add(w, etk_type_name((etk_type)t), (etk_type)t, etk_shape_of(2, ROWS, COLUMNS), bytes, NULL, NULL);
  }
  for (int split = 0; split < 2; split++) {
    works(etk_gguf_write(e, w, path, &(etk_gguf_write_options){true, split ? 4000 : 0}));
    int parts = 1;
    if (split) {
      while (!etk_fs_exists(part_of(path, 0, parts))) assert_true(++parts < 20);
    }
    int found = 0;
    for (int part = 0; part < parts; part++) {
      char *name = split ? part_of(path, part, parts) : path, *bytes;
      size_t size;
      read_back(&bytes, &size, name);
      void *file = peer.file_open(name, (ggml_file_options){true, NULL});
      assert_non_null(file);
      if (part == 0) assert_string_equal(peer.text(file, peer.find_key(file, "general.architecture")), "llama");
      assert_int_equal(peer.keys(file), (part == 0 ? 2 : 0) + (split ? 3 : 0));
      for (int t = ETK_TYPE_FIRST_BLOCK; t < ETK_TYPE_END; t++) {
        int64_t id = peer.find_tensor(file, etk_type_name((etk_type)t));
        if (id < 0) continue;
        found++;
        size_t want;
        works(etk_type_bytes(e, &want, (etk_type)t, ROWS, COLUMNS));
        assert_int_equal(peer.tensor_type(file, id), etk_type_gguf((etk_type)t));
        assert_memory_equal(bytes + peer.data_offset(file) + peer.tensor_offset(file, id), packed[t - ETK_TYPE_FIRST_BLOCK], want);
      }
      peer.file_close(file);
      etk_free(bytes);
    }
    assert_int_equal(found, ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK);
  }
  etk_gguf_writer_free(w);
  dlclose(peer.library);
}

static int tear_down(void **state) {
  free(made);
  made = NULL;
  return remove_folder(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_numbers_of_every_width_are_read),
      cmocka_unit_test(a_value_of_another_kind_is_named_with_its_place),
      cmocka_unit_test(arrays_are_read_by_item),
      cmocka_unit_test(keys_are_listed_in_file_order),
      cmocka_unit_test(version_2_is_laid_out_the_same),
      cmocka_unit_test(tensors_have_row_major_shapes_and_lie_in_the_map),
      cmocka_unit_test(types_that_are_not_decoded_are_listed),
      cmocka_unit_test(real_vocabularies_are_read_item_for_item),
      cmocka_unit_test(a_copy_is_the_same_bytes),
      cmocka_unit_test(real_vocabularies_are_rewritten_bit_for_bit),
      cmocka_unit_test(everything_that_can_be_set_is_read_back),
      cmocka_unit_test(what_cannot_be_written_is_named_and_leaves_no_file),
      cmocka_unit_test(a_split_model_is_read_as_one),
      cmocka_unit_test(parts_that_do_not_fit_together_are_named),
      cmocka_unit_test(too_many_parts_are_refused),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
      cmocka_unit_test(a_full_disk_leaves_the_old_files),
      cmocka_unit_test(the_peer_reads_what_we_write),
  };
  return cmocka_run_group_tests(tests, make_folder, tear_down);
}
