/* Tests of etk/hash.h. Vectors: FIPS 180-2, appendix B, and NIST's SHA-256 short-message set; XXH3: the sanity table of the xxHash repository
 * (tests/sanity_test_vectors.h, XSUM_XXH128_testdata, seed 0), whose input is rebuilt here by its published recipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/fs.h"
#include "core/hash_internal.h"
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

static void hardware_and_reference_agree(void **state) {
  (void)state;
  etk__sha256_force_portable(false);
  etk__sha256_blocks *hardware = etk__sha256_hardware();
  if (!hardware) skip(); /* this processor has no instructions for it */
  unsigned char bytes[64 * 9 + 1];
  uint32_t x = 1;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24);
  for (size_t blocks = 0; blocks <= 9; blocks++) {
    uint32_t a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = b[i] = (x = x * 1664525 + 1013904223);
    hardware(a, bytes + blocks % 2, blocks); /* odd addresses too */
    etk__sha256_portable(b, bytes + blocks % 2, blocks);
    assert_memory_equal(a, b, sizeof a);
  }
}

static void the_reference_gives_the_published_vectors(void **state) {
  etk__sha256_force_portable(true);
  assert_null(etk__sha256_hardware());
  published_vectors_come_out(state);
  a_million_letters_in_odd_pieces(state);
  etk__sha256_force_portable(false);
}

static void sanity_bytes(unsigned char *out, size_t size) {
  uint64_t x = 2654435761u;
  for (size_t i = 0; i < size; i++, x *= UINT64_C(0x9E3779B185EBCA8D)) out[i] = (unsigned char)(x >> 56);
}

static void xxh3_gives_the_published_vectors(void **state) {
  (void)state;
  static const struct {
    size_t size;
    const char *hex;
  } rows[] = {{0, "99aa06d3014798d86001c324468d497f"},   {1, "a6cd5e9392000f6ac44bdff4074eecdb"},   {6, "082afe0b8162d12a3e7039bdda43cfc6"},
              {12, "6e3efd8fc7802b18061a192713f69ad9"},  {16, "c68c368ecf8a9c05562980258a998629"},  {24, "0ce966e4678d37611e7044d28b1b901d"},
              {129, "03815fc91f1b30b686c9e3bc8f0a3b5c"}, {241, "99a80ecf0ecfc647c5a639ecd2030e5e"}, {4160, "67140711c1e3e3354f323b15321e94e1"}};
  unsigned char bytes[4160];
  sanity_bytes(bytes, sizeof bytes);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char hex[33];
    etk_xxh3(hex, bytes, rows[i].size);
    assert_string_equal(hex, rows[i].hex);
  }
}

/* Streamed from a file, beyond one chunk, against the tool of the xxhash package. */
static void xxh3_of_a_file_is_what_xxhsum_prints(void **state) {
  (void)state;
  enum { SIZE = 700001 };
  char path[] = "/tmp/etk-xxh3-XXXXXX", hex[33], whole[33], command[128], line[80] = "";
  int fd = mkstemp(path);
  unsigned char *bytes = etk_alloc(SIZE);
  sanity_bytes(bytes, SIZE);
  assert_int_equal(write(fd, bytes, SIZE), SIZE);
  close(fd);
  etk_xxh3(whole, bytes, SIZE);
  etk_free(bytes);
  uint64_t size = 0;
  assert_int_equal(etk_xxh3_file(NULL, hex, &size, path), ETK_OK);
  assert_string_equal(hex, whole);
  assert_int_equal(size, SIZE);
  snprintf(command, sizeof command, "xxhsum -H128 %s 2>/dev/null", path);
  FILE *tool = popen(command, "r");
  bool there = tool && fgets(line, sizeof line, tool);
  if (tool) pclose(tool);
  unlink(path);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_xxh3_file(&e, hex, &size, path), ETK_E_NOT_FOUND);
  assert_int_equal(etk_xxh3_file(&e, hex, NULL, "/tmp"), ETK_E_INVALID);
  if (!there) skip(); /* xxhsum is not here */
  assert_memory_equal(line, whole, 32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_vectors_come_out),
      cmocka_unit_test(a_million_letters_in_odd_pieces),
      cmocka_unit_test(every_length_is_cut_alike),
      cmocka_unit_test(a_file_hashes_like_its_bytes),
      cmocka_unit_test(hardware_and_reference_agree),
      cmocka_unit_test(the_reference_gives_the_published_vectors),
      cmocka_unit_test(xxh3_gives_the_published_vectors),
      cmocka_unit_test(xxh3_of_a_file_is_what_xxhsum_prints),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
