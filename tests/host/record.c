/* Times and ids of runs, also where the clock is out of its mind. */
#include "record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static const char *shown(int64_t ms) {
  static char text[32];
  return iso_time(text, sizeof text, ms);
}

static void times_read_as_the_calendar_has_them(void **state) {
  (void)state;
  assert_string_equal(shown(0), "1970-01-01T00:00:00.000Z");
  assert_string_equal(shown(INT64_C(951782400000)), "2000-02-29T00:00:00.000Z");
  assert_string_equal(shown(-450), "1969-12-31T23:59:59.550Z");
  assert_string_equal(shown(INT64_C(-2208988800000)), "1900-01-01T00:00:00.000Z"); /* RFC 5905: 2208988800 s before 1970 */
}

/* Against the C library, over ten thousand years. */
static void every_day_agrees_with_gmtime(void **state) {
  (void)state;
  for (int64_t day = -719528; day <= 2932896; day += 13) {
    time_t seconds = (time_t)(day * 86400 + 43201);
    struct tm t;
    char wanted[64];
    gmtime_r(&seconds, &t);
    snprintf(wanted, sizeof wanted, "%04d-%02d-%02dT12:00:01.007Z", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
    assert_string_equal(shown((int64_t)seconds * 1000 + 7), wanted);
  }
}

static void years_have_four_digits(void **state) {
  (void)state;
  assert_string_equal(shown(INT64_C(253402300799999)), "9999-12-31T23:59:59.999Z");
  assert_string_equal(shown(INT64_C(253402300800000)), "9999-12-31T23:59:59.999Z");
  assert_string_equal(shown(INT64_MAX), "9999-12-31T23:59:59.999Z");
  assert_string_equal(shown(INT64_C(-62167219200000)), "0000-01-01T00:00:00.000Z");
  assert_string_equal(shown(INT64_MIN), "0000-01-01T00:00:00.000Z");
}

static void an_id_is_whole_at_any_time(void **state) {
  static const struct { int64_t ms; const char *month, *begin; } cases[] = {{INT64_C(1795236542123), "2026-11", "20261121T044902Z-"}, {-450, "1969-12", "19691231T235959Z-"},
      {INT64_C(301800000000473), "9999-12", "99991231T235959Z-"}, {INT64_MIN, "0000-01", "00000101T000000Z-"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char id[40], month[8];
    run_id_at(id, sizeof id, month, cases[i].ms);
    assert_string_equal(month, cases[i].month);
    assert_int_equal(strlen(id), 23);
    assert_memory_equal(id, cases[i].begin, 17);
    assert_int_equal(strspn(id + 17, "234567abcdefghijklmnopqrstuvwxyz"), 6);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(times_read_as_the_calendar_has_them), cmocka_unit_test(every_day_agrees_with_gmtime), cmocka_unit_test(years_have_four_digits),
                                     cmocka_unit_test(an_id_is_whole_at_any_time)};
  return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
