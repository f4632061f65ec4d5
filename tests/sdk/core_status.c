/* Tests of etk/status.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/status.h"
#include "etk/text.h"
#include <errno.h>

static void a_failure_sets_code_and_message(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fail(&e, ETK_E_FORMAT, "'%s' has %d bytes\n", "x.bin", 3), ETK_E_FORMAT);
  assert_int_equal(e.status, ETK_E_FORMAT);
  assert_string_equal(e.message, "'x.bin' has 3 bytes");
  assert_int_equal(etk_fail(NULL, ETK_E_SHAPE, "unseen"), ETK_E_SHAPE);
  etk_error_clear(&e);
  assert_int_equal(e.status, ETK_OK);
  assert_string_equal(e.message, "");
}

static void layers_are_prepended(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_fail(&e, ETK_E_NOT_FOUND, "no tensor 'a'");
  assert_int_equal(etk_error_while(&e, ETK_E_INTERNAL, "while loading '%s'", "m"), ETK_E_NOT_FOUND);
  assert_string_equal(e.message, "while loading 'm': no tensor 'a'");
  assert_int_equal(etk_error_while(NULL, ETK_E_IO, "x"), ETK_E_IO);
}

static void a_message_may_quote_itself(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_fail(&e, ETK_E_IO, "inner");
  etk_fail(&e, ETK_E_CHECK, "outer (%s)", e.message);
  assert_string_equal(e.message, "outer (inner)");
}

static void errno_picks_the_status(void **state) {
  (void)state;
  static const struct {
    int number;
    etk_status status;
  } rows[] = {{ENOENT, ETK_E_NOT_FOUND}, {ENOSPC, ETK_E_NO_SPACE}, {EFBIG, ETK_E_NO_SPACE}, {EDQUOT, ETK_E_NO_SPACE}, {EACCES, ETK_E_PERMISSION},
              {ENOMEM, ETK_E_NO_MEMORY}, {EEXIST, ETK_E_EXISTS},   {EIO, ETK_E_IO},         {12345, ETK_E_IO}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_error e = ETK_ERROR_INIT;
    assert_int_equal(etk_fail_errno(&e, rows[i].number, "cannot open 'f'"), rows[i].status);
    assert_memory_equal(e.message, "cannot open 'f': ", 17);
    assert_true(strlen(e.message) > 17);
  }
  etk_error e = ETK_ERROR_INIT;
  etk_fail_errno(&e, ENOENT, "cannot open 'f'");
  assert_string_equal(e.message, "cannot open 'f': No such file or directory");
}

static void a_long_message_is_cut_at_a_whole_character(void **state) {
  (void)state;
  char text[6000];
  for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xC3\xA4", 3);
  for (int shift = 0; shift < 2; shift++) {
    etk_error e = ETK_ERROR_INIT;
    etk_fail(&e, ETK_E_FORMAT, "%s%s", shift ? "x" : "", text);
    size_t n = strlen(e.message);
    assert_in_range(n, ETK_ERROR_SIZE - 3, ETK_ERROR_SIZE - 1);
    assert_string_equal(e.message + n - 3, "\xE2\x80\xA6");
    assert_true(etk_utf8_valid(e.message, n));
    etk_error_while(&e, ETK_E_FORMAT, "while reading");
    assert_memory_equal(e.message, "while reading: ", 15);
    assert_true(etk_utf8_valid(e.message, strlen(e.message)));
    assert_string_equal(e.message + strlen(e.message) - 3, "\xE2\x80\xA6");
  }
}

static void telling_an_error_allocates_nothing(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  uint64_t before = etk_alloc_get_stats().calls;
  etk_alloc_fail_nth(1, true);
  etk_fail(&e, ETK_E_NO_MEMORY, "%5000d", 1);
  etk_fail_errno(&e, ENOSPC, "%s", "a");
  etk_error_while(&e, ETK_OK, "b");
  etk_alloc_fail_nth(0, false);
  assert_string_equal(e.message, "b: a: No space left on device");
  assert_int_equal(etk_alloc_get_stats().calls, before);
}

static void exit_codes_are_those_of_the_design(void **state) {
  (void)state;
  assert_int_equal(etk_status_exit_code(ETK_OK), 0);
  assert_int_equal(etk_status_exit_code(ETK_E_USAGE), 2);
  assert_int_equal(etk_status_exit_code(ETK_E_UNAVAILABLE), 3);
  assert_int_equal(etk_status_exit_code(ETK_E_CHECK), 4);
  assert_int_equal(etk_status_exit_code(ETK_E_CANCELLED), 130);
  for (etk_status s = ETK_OK; s <= ETK_E_INTERNAL; s++) {
    assert_string_not_equal(etk_status_name(s), "unknown status");
    if (s != ETK_OK && s != ETK_E_USAGE && s != ETK_E_UNAVAILABLE && s != ETK_E_CHECK && s != ETK_E_CANCELLED)
      assert_int_equal(etk_status_exit_code(s), 1);
  }
  assert_string_equal(etk_status_name(ETK_OK), "ok");
  assert_string_equal(etk_status_name(99), "unknown status");
  assert_int_equal(etk_status_exit_code(-1), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_failure_sets_code_and_message),
      cmocka_unit_test(layers_are_prepended),
      cmocka_unit_test(a_message_may_quote_itself),
      cmocka_unit_test(errno_picks_the_status),
      cmocka_unit_test(a_long_message_is_cut_at_a_whole_character),
      cmocka_unit_test(telling_an_error_allocates_nothing),
      cmocka_unit_test(exit_codes_are_those_of_the_design),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
