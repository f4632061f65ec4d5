/* Tests of etk/hash.h. Vectors: FIPS 180-2, appendix B, and NIST's SHA-256 short-message set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/hash.h"
#include <unistd.h>

static void hash_of(char hex[65], const char *text, size_t size) {
  etk_sha256 hash;
  etk_sha256_init(&hash);
  etk_sha256_update(&hash, text, size);
  etk_sha256_final(&hash, hex);
}

static void published_vectors_come_out(void **state) {
  (void)state;
  static const struct {
    const char *text, *hex;
  } rows[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
              {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
              {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
              {"\xD3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char hex[65];
    hash_of(hex, rows[i].text, strlen(rows[i].text));
    assert_string_equal(hex, rows[i].hex);
  }
}

static void a_million_letters_in_odd_pieces(void **state) {
  (void)state;
  char piece[997], hex[65];
  memset(piece, 'a', sizeof piece);
  etk_sha256 hash;
  etk_sha256_init(&hash);
  for (size_t left = 1000000, step = 1; left > 0; step = step * 7 % 997 + 1) {
    size_t n = step < left ? step : left;
    etk_sha256_update(&hash, piece, n);
    left -= n;
  }
  etk_sha256_final(&hash, hex);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void every_length_is_cut_alike(void **state) {
  (void)state;
  char text[200];
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)i;
  for (size_t size = 0; size <= sizeof text; size++) {
    char whole[65], pieces[65];
    hash_of(whole, text, size);
    etk_sha256 hash;
    etk_sha256_init(&hash);
    for (size_t i = 0; i < size; i++) etk_sha256_update(&hash, text + i, 1);
    etk_sha256_final(&hash, pieces);
    assert_string_equal(whole, pieces);
  }
}

static void a_file_hashes_like_its_bytes(void **state) {
  (void)state;
  char path[] = "/tmp/etk-hash-XXXXXX", hex[65], expected[65];
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  char *bytes = etk_calloc(200001, 1);
  assert_int_equal(write(fd, bytes, 200001), 200001);
  close(fd);
  hash_of(expected, bytes, 200001);
  etk_free(bytes);
  uint64_t size = 0;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_sha256_file(&e, hex, &size, path), ETK_OK);
  assert_string_equal(hex, expected);
  assert_int_equal(size, 200001);
  unlink(path);
  assert_int_equal(etk_sha256_file(&e, hex, &size, path), ETK_E_NOT_FOUND);
  assert_non_null(strstr(e.message, path));
  assert_int_equal(etk_sha256_file(&e, hex, NULL, "/tmp"), ETK_E_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_vectors_come_out),
      cmocka_unit_test(a_million_letters_in_odd_pieces),
      cmocka_unit_test(every_length_is_cut_alike),
      cmocka_unit_test(a_file_hashes_like_its_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
