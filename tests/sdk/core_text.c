/* Tests of etk/text.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/rng.h"
#include "etk/text.h"
#include <math.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void a_builder_grows_and_gives_its_text_away(void **state) {
  (void)state;
  etk_text t = ETK_TEXT_INIT;
  char expected[4001];
  for (int i = 0; i < 1000; i++) {
    etk_text_printf(&t, "%03d,", i);
    snprintf(expected + 4 * i, sizeof expected - 4 * (size_t)i, "%03d,", i);
  }
  assert_int_equal(t.size, 4000);
  char *text = etk_text_take(&t);
  assert_string_equal(text, expected);
  assert_null(t.data);
  etk_free(text);
  etk_text_printf(&t, "%1000d", 1);
  assert_int_equal(t.size, 1000);
  etk_text_free(&t);
  text = etk_text_take(&t);
  assert_string_equal(text, "");
  etk_free(text);
}

static void a_builder_that_failed_stays_failed(void **state) {
  (void)state;
  etk_text t = ETK_TEXT_INIT;
  etk_text_puts(&t, "ok");
  etk_alloc_fail_nth(1, false);
  etk_text_printf(&t, "%500d", 1);
  assert_true(t.failed);
  etk_text_puts(&t, "more");
  assert_string_equal(t.data, "ok");
  assert_null(etk_text_take(&t));
  assert_null(t.data);
}

static void json_text_is_escaped_and_valid(void **state) {
  (void)state;
  etk_text t = ETK_TEXT_INIT;
  static const char raw[] = "a\"\\/\b\f\n\r\t\x01\0z\xC3\xA4\xF0\x9F\x98\x80\xFF\xC0\x80\x7F";
  etk_text_json(&t, raw, sizeof raw - 1);
  assert_string_equal(t.data, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u0000z\xC3\xA4\xF0\x9F\x98\x80\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\x7F\"");
  etk_text_free(&t);
}

static void reals_are_the_shortest_that_read_back(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } rows[] = {{0, "0"},
              {-0.0, "-0"},
              {1, "1"},
              {0.1, "0.1"},
              {1e-5, "1e-5"},
              {1e22, "1e22"},
              {123456, "123456"},
              {-2.5, "-2.5"},
              {1.0 / 3, "0.3333333333333333"},
              {0.1 + 0.2, "0.30000000000000004"},
              {5e-324, "5e-324"},
              {2.2250738585072014e-308, "2.2250738585072014e-308"},
              {1.7976931348623157e308, "1.7976931348623157e308"},
              {9007199254740993, "9007199254740992"},
              {NAN, "null"},
              {INFINITY, "null"},
              {-INFINITY, "null"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_text t = ETK_TEXT_INIT;
    etk_text_real(&t, rows[i].value);
    assert_string_equal(t.data, rows[i].text);
    etk_text_free(&t);
  }
}

static void any_finite_double_survives_its_text(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(1, 2);
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = (uint64_t)etk_rng_u32(&rng) << 32 | etk_rng_u32(&rng);
    double value, back;
    memcpy(&value, &bits, 8);
    if (!isfinite(value)) continue;
    etk_text t = ETK_TEXT_INIT;
    etk_text_real(&t, value);
    assert_int_equal(etk_parse_real(NULL, &back, t.data), ETK_OK);
    assert_memory_equal(&back, &value, 8);
    etk_text_free(&t);
  }
}

static void whole_numbers_parse_whole(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {{"0", 0},
              {"-1", -1},
              {"+7", 7},
              {"007", 7},
              {"1_000_000", 1000000},
              {"0xfF", 255},
              {"-0x10", -16},
              {"9223372036854775807", INT64_MAX},
              {"-9223372036854775808", INT64_MIN}};
  for (size_t i = 0; i < COUNT(good); i++) {
    int64_t value = 42;
    assert_int_equal(etk_parse_int(NULL, &value, good[i].text), ETK_OK);
    assert_int_equal(value, good[i].value);
  }
  static const char *const bad[] = {
      "", "-", "12x", " 1", "1 ", "0x", "0xg", "_1", "1_", "1__0", "1.0", "1e3", "--1", "+-1", "9223372036854775808", "-9223372036854775809", "0x1_"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    int64_t value = 42;
    etk_error e = ETK_ERROR_INIT;
    assert_int_equal(etk_parse_int(&e, &value, bad[i]), ETK_E_INVALID);
    assert_int_equal(value, 42);
    assert_non_null(strstr(e.message, bad[i]));
  }
  etk_error e = ETK_ERROR_INIT;
  int64_t value;
  etk_parse_int(&e, &value, "12x");
  assert_string_equal(e.message, "'12x' is not a whole number");
}

static void reals_parse_whole(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double value;
  } good[] = {{"1e-5", 1e-5}, {"3", 3}, {"-.5", -0.5}, {"+2.", 2}, {"1E+2", 100}, {"1e-400", 0}, {"0.1", 0.1}};
  for (size_t i = 0; i < COUNT(good); i++) {
    double value = 42;
    assert_int_equal(etk_parse_real(NULL, &value, good[i].text), ETK_OK);
    assert_true(value == good[i].value);
  }
  static const char *const bad[] = {"", ".", "e5", "1e", "1e+", "nan", "inf", "0x1p3", "1,5", "1 ", " 1", "1e999", "-1e999", "1.2.3", "infinity"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    double value = 42;
    assert_int_equal(etk_parse_real(NULL, &value, bad[i]), ETK_E_INVALID);
    assert_true(value == 42);
  }
}

static void flags_parse_in_any_case(void **state) {
  (void)state;
  static const char *const yes[] = {"true", "Yes", "ON", "1"}, *const no[] = {"False", "no", "off", "0"};
  for (size_t i = 0; i < 4; i++) {
    bool a = false, b = true;
    assert_int_equal(etk_parse_flag(NULL, &a, yes[i]), ETK_OK);
    assert_int_equal(etk_parse_flag(NULL, &b, no[i]), ETK_OK);
    assert_true(a && !b);
  }
  bool untouched = true;
  assert_int_equal(etk_parse_flag(NULL, &untouched, "maybe"), ETK_E_INVALID);
  assert_int_equal(etk_parse_flag(NULL, &untouched, ""), ETK_E_INVALID);
  assert_true(untouched);
}

static void sizes_have_decimal_and_binary_units(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {{"100", 100},     {"0", 0},           {"512 kB", 512000},  {"4GiB", INT64_C(4) << 30},
              {"1.5KiB", 1536}, {"2k", 2000},       {"1gb", 1000000000}, {"8191PiB", INT64_C(8191) << 50},
              {" 7 B ", 7},     {"0.5 MiB", 524288}};
  for (size_t i = 0; i < COUNT(good); i++) {
    int64_t value = -1;
    assert_int_equal(etk_parse_size(NULL, &value, good[i].text), ETK_OK);
    assert_int_equal(value, good[i].value);
  }
  static const char *const bad[] = {"", "GiB", "-1", "4XiB", "4GiBs", "8192PiB", "99999999999999999999", "1e3", "4 G B", "1.2.3k"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    int64_t value = -1;
    assert_int_equal(etk_parse_size(NULL, &value, bad[i]), ETK_E_INVALID);
    assert_int_equal(value, -1);
  }
}

static void durations_add_up_their_parts(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {{"90s", INT64_C(90000000000)},
              {"1h30m", INT64_C(5400000000000)},
              {"250ms", 250000000},
              {"3", INT64_C(3000000000)},
              {"0.5", 500000000},
              {"1 m 32 s", INT64_C(92000000000)},
              {"2d", INT64_C(172800000000000)},
              {"10us", 10000},
              {"7ns", 7},
              {"1.5h", INT64_C(5400000000000)}};
  for (size_t i = 0; i < COUNT(good); i++) {
    int64_t value = -1;
    assert_int_equal(etk_parse_duration(NULL, &value, good[i].text), ETK_OK);
    assert_int_equal(value, good[i].value);
  }
  static const char *const bad[] = {"", " ", "s", "1h30", "-1s", "1x", "999999999999h", "106752d", "1h-5m"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    int64_t value = -1;
    assert_int_equal(etk_parse_duration(NULL, &value, bad[i]), ETK_E_INVALID);
    assert_int_equal(value, -1);
  }
}

static void sizes_and_durations_are_short_to_read(void **state) {
  (void)state;
  char out[32];
  static const struct {
    int64_t value;
    const char *text;
  } sizes[] = {
      {0, "0 B"},           {17, "17 B"},        {1023, "1023 B"},       {1024, "1.0 KiB"},      {1536, "1.5 KiB"}, {INT64_C(4) << 30, "4.0 GiB"},
      {1048575, "1.0 MiB"}, {-1536, "-1.5 KiB"}, {INT64_MAX, "8.0 EiB"}, {INT64_MIN, "-8.0 EiB"}};
  for (size_t i = 0; i < COUNT(sizes); i++) assert_string_equal(etk_format_size(out, sizeof out, sizes[i].value), sizes[i].text);
  static const struct {
    int64_t value;
    const char *text;
  } times[] = {{0, "0 ns"},
               {999, "999 ns"},
               {1500, "1.5 us"},
               {250000, "250 us"},
               {250000000, "250 ms"},
               {2500000, "2.5 ms"},
               {INT64_C(3000000000), "3 s"},
               {INT64_C(3210000000), "3.2 s"},
               {INT64_C(59990000000), "1 m"},
               {INT64_C(92000000000), "1 m 32 s"},
               {INT64_C(5400000000000), "1 h 30 m"},
               {INT64_C(183600000000000), "2 d 3 h"},
               {INT64_C(-250000000), "-250 ms"}};
  for (size_t i = 0; i < COUNT(times); i++) assert_string_equal(etk_format_duration(out, sizeof out, times[i].value), times[i].text);
  etk_format_duration(out, sizeof out, INT64_MIN);
  etk_format_duration(out, sizeof out, INT64_MAX);
  assert_string_equal(out, "106751 d 23 h");
}

static void every_code_point_goes_there_and_back(void **state) {
  (void)state;
  size_t legal = 0;
  for (uint32_t c = 0; c <= 0x110000; c++) {
    char bytes[4];
    uint32_t back = 0;
    size_t n = etk_utf8_encode(bytes, c);
    bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    assert_int_equal(n == 0, surrogate || c > 0x10FFFF);
    if (n == 0) continue;
    legal++;
    if (etk_utf8_decode(&back, bytes, n) != n || back != c) fail_msg("U+%04X", c);
    if (n > 1 && etk_utf8_decode(&back, bytes, n - 1) != 0) fail_msg("U+%04X cut", c);
  }
  assert_int_equal(legal, 0x110000 - 0x800);
}

static void what_is_not_utf8_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",     "\xE0\x9F\xBF",
                                    "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
                                    "\xC3\x28",     "\xE2\x82\x28"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    uint32_t c;
    assert_int_equal(etk_utf8_decode(&c, bad[i], strlen(bad[i])), 0);
    assert_false(etk_utf8_valid(bad[i], strlen(bad[i])));
  }
  uint32_t c;
  assert_int_equal(etk_utf8_decode(&c, "", 0), 0);
  assert_true(etk_utf8_valid("\0\xC3\xA4", 3));
}

static void widths_are_those_of_terminals(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t width;
  } rows[] = {{"", 0},
              {"abc", 3},
              {"\xC3\xA4", 1},
              {"e\xCC\x81", 1},
              {"\xE6\xBC\xA2\xE5\xAD\x97", 4},
              {"\xF0\x9F\x98\x80", 2},
              {"\xE2\x80\x8B", 0},
              {"\xED\x95\x9C", 2},
              {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", 2},
              {"\xEF\xBC\xA1", 2},
              {"\xFF", 1},
              {"\xE2\x96\x88", 1},
              {"\t", 0}};
  for (size_t i = 0; i < COUNT(rows); i++) assert_int_equal(etk_utf8_width(rows[i].text, strlen(rows[i].text)), rows[i].width);
}

/* The whole table, as a reference to the banded one. */
static size_t plain_distance(const char *a, const char *b) {
  size_t m = strlen(a), n = strlen(b), d[20][20];
  for (size_t i = 0; i <= m; i++) {
    for (size_t j = 0; j <= n; j++) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
      if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
      if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
      d[i][j] = best;
    }
  }
  return d[m][n];
}

static void the_banded_distance_equals_the_whole_table(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(3, 0);
  for (int round = 0; round < 20000; round++) {
    char a[12], b[12];
    size_t m = etk_rng_below(&rng, 11), n = etk_rng_below(&rng, 11), limit = etk_rng_below(&rng, 8);
    for (size_t i = 0; i < m; i++) a[i] = (char)('a' + etk_rng_below(&rng, 3));
    for (size_t i = 0; i < n; i++) b[i] = (char)('a' + etk_rng_below(&rng, 3));
    a[m] = b[n] = 0;
    size_t exact = plain_distance(a, b), seen = etk_text_distance(a, b, limit);
    if (exact <= limit) assert_int_equal(seen, exact);
    else assert_true(seen > limit || seen > (m > n ? m : n));
  }
  assert_int_equal(etk_text_distance("train", "TRIAN", 5), 1);
  char x[300], y[300];
  memset(x, 'x', 299);
  memset(y, 'y', 299);
  x[299] = y[299] = 0;
  assert_int_equal(etk_text_distance(x, x, 5), 0);
  assert_int_equal(etk_text_distance(x, y, SIZE_MAX), 299);
}

static void suggestions_are_what_a_person_meant(void **state) {
  (void)state;
  static const char *const words[] = {"train", "generate", "evaluate", "validate", "learning-rate", "learning-rate-schedule", "info", "batch-size"};
  static const struct {
    const char *word, *meant;
  } rows[] = {{"TRAIN", "train"},
              {"learning_rate", "learning-rate"},
              {"trian", "train"},
              {"gen", "generate"},
              {"learning", NULL},
              {"eval", "evaluate"},
              {"validat", "validate"},
              {"evalute", "evaluate"},
              {"batchsize", "batch-size"},
              {"quantize", NULL},
              {"", NULL},
              {"inof", "info"},
              {"x", NULL}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    const char *seen = etk_text_suggest(rows[i].word, words, COUNT(words));
    if (!rows[i].meant) assert_null(seen);
    else assert_string_equal(seen ? seen : "(none)", rows[i].meant);
  }
  static const char *const tied[] = {"cat", "bat"};
  assert_string_equal(etk_text_suggest("rat", tied, 2), "cat");
  assert_true(etk_text_equal_name("a-b_c", "a_b-c"));
  assert_false(etk_text_equal_name("a-b", "a-bc"));
  assert_false(etk_text_equal_name("a-bc", "a-b"));
  assert_false(etk_text_equal_name("A", "a"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_builder_grows_and_gives_its_text_away),
      cmocka_unit_test(a_builder_that_failed_stays_failed),
      cmocka_unit_test(json_text_is_escaped_and_valid),
      cmocka_unit_test(reals_are_the_shortest_that_read_back),
      cmocka_unit_test(any_finite_double_survives_its_text),
      cmocka_unit_test(whole_numbers_parse_whole),
      cmocka_unit_test(reals_parse_whole),
      cmocka_unit_test(flags_parse_in_any_case),
      cmocka_unit_test(sizes_have_decimal_and_binary_units),
      cmocka_unit_test(durations_add_up_their_parts),
      cmocka_unit_test(sizes_and_durations_are_short_to_read),
      cmocka_unit_test(every_code_point_goes_there_and_back),
      cmocka_unit_test(what_is_not_utf8_is_refused),
      cmocka_unit_test(widths_are_those_of_terminals),
      cmocka_unit_test(the_banded_distance_equals_the_whole_table),
      cmocka_unit_test(suggestions_are_what_a_person_meant),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
