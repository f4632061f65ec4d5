/* Tests of etk/progress.h. Time is moved by the caller's own struct, so nothing waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/hardware.h"
#include "etk/progress.h"
#include "etk/text.h"
#include <unistd.h>

static char *text;
static size_t size;

static FILE *open_stream(void) {
  FILE *stream = open_memstream(&text, &size);
  assert_non_null(stream);
  return stream;
}

static void off_writes_nothing(void **state) {
  (void)state;
  FILE *stream = open_stream();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_OFF, true);
  for (int i = 0; i <= 10; i++) etk_progress_update(&p, "train", i, 10, "loss 1");
  etk_progress_clear(&p);
  etk_progress_finish(&p);
  fclose(stream);
  assert_int_equal(size, 0);
  free(text);
}

static void a_stream_that_is_no_terminal_gets_plain_lines(void **state) {
  (void)state;
  FILE *stream = tmpfile();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_AUTO, false);
  assert_int_equal(p.mode, ETK_PROGRESS_PLAIN);
  fclose(stream);
}

static void plain_lines_are_few_and_the_last_is_never_lost(void **state) {
  (void)state;
  FILE *stream = open_stream();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_PLAIN, false);
  for (int i = 0; i < 500; i++) etk_progress_update(&p, "train", i, 1000, "loss 2.5");
  fflush(stream);
  assert_int_equal(size, 0); /* five seconds have not passed */
  p.last_ns -= INT64_C(6000000000);
  etk_progress_update(&p, "train", 500, 1000, "loss 2.0");
  etk_progress_update(&p, "train", 600, 1000, "loss 1.5");
  etk_progress_finish(&p);
  fclose(stream);
  assert_int_equal(strchr(text, '\r') != NULL, 0);
  char *second = strchr(text, '\n') + 1;
  assert_memory_equal(text, "train  50%  500/1000  ", 22);
  assert_non_null(strstr(text, "left  loss 2.0\n"));
  assert_memory_equal(second, "train  60%  600/1000  ", 22);
  assert_non_null(strstr(second, "loss 1.5\n"));
  assert_string_equal(strchr(second, '\n'), "\n");
  free(text);
}

static void the_end_is_said_once(void **state) {
  (void)state;
  FILE *stream = open_stream();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_PLAIN, false);
  for (int i = 1; i <= 3; i++) etk_progress_update(&p, "copy", i, 3, NULL);
  etk_progress_finish(&p);
  etk_progress_finish(&p);
  fclose(stream);
  assert_memory_equal(text, "copy  100%  3/3", 15);
  assert_string_equal(strchr(text, '\n'), "\n");
  free(text);
}

static void a_bar_is_redrawn_at_most_ten_times_a_second(void **state) {
  (void)state;
  FILE *stream = open_stream();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_BAR, false);
  p.unicode = false;
  int64_t begin = etk_time_ns();
  for (int i = 0; i < 2000; i++) etk_progress_update(&p, "train", i, 10000, "n");
  int64_t passed = etk_time_ns() - begin;
  etk_progress_clear(&p);
  fclose(stream);
  int64_t draws = -1; /* the clearing */
  for (char *c = text; *c; c++) draws += *c == '\r';
  assert_true(draws >= 1 && draws <= 1 + passed / 100000000);
  assert_string_equal(text + strlen(text) - 4, "\r\033[K");
  assert_non_null(strstr(text, "["));
  free(text);
}

/* The visible columns of the last drawn line. */
static size_t columns(const char *drawn) {
  const char *last = strrchr(drawn, '\r') + 1, *end = strstr(last, "\033[K");
  return etk_utf8_width(last, (size_t)(end - last));
}

static void a_bar_fits_its_terminal(void **state) {
  (void)state;
  for (int unicode = 0; unicode < 2; unicode++) {
    for (int note = 0; note < 200; note += 9) {
      FILE *stream = open_stream();
      char long_note[256];
      memset(long_note, 'x', sizeof long_note);
      long_note[note] = 0;
      etk_progress p;
      etk_progress_init(&p, stream, ETK_PROGRESS_BAR, false);
      p.unicode = unicode;
      etk_progress_update(&p, "\xE6\xBC\xA2\xE5\xAD\x97", 37, 100, long_note); /* no terminal: 80 columns */
      etk_progress_finish(&p);
      fclose(stream);
      assert_true(columns(text) <= 79);
      assert_string_equal(text + strlen(text) - 1, "\n");
      free(text);
    }
  }
}

static void totals_may_be_unknown_or_wrong(void **state) {
  (void)state;
  FILE *stream = open_stream();
  etk_progress p;
  etk_progress_init(&p, stream, ETK_PROGRESS_BAR, true);
  etk_progress_update(&p, "read", 5, 0, NULL);
  p.last_ns = 0;
  etk_progress_update(&p, "read", 7, 5, NULL);
  p.last_ns = 0;
  etk_progress_update(&p, NULL, -3, 5, "");
  etk_progress_finish(&p);
  fclose(stream);
  assert_non_null(strstr(text, "read 5  "));
  assert_non_null(strstr(text, "7/5"));
  free(text);
}

static void a_utf8_locale_gets_blocks(void **state) {
  (void)state;
  etk_progress p;
  FILE *stream = tmpfile();
  setenv("LC_ALL", "C", 1);
  setenv("LANG", "de_DE.UTF-8", 1);
  etk_progress_init(&p, stream, ETK_PROGRESS_BAR, false);
  assert_false(p.unicode); /* LC_ALL decides */
  unsetenv("LC_ALL");
  unsetenv("LC_CTYPE");
  etk_progress_init(&p, stream, ETK_PROGRESS_BAR, false);
  assert_true(p.unicode);
  fclose(stream);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(off_writes_nothing),
      cmocka_unit_test(a_stream_that_is_no_terminal_gets_plain_lines),
      cmocka_unit_test(plain_lines_are_few_and_the_last_is_never_lost),
      cmocka_unit_test(the_end_is_said_once),
      cmocka_unit_test(a_bar_is_redrawn_at_most_ten_times_a_second),
      cmocka_unit_test(a_bar_fits_its_terminal),
      cmocka_unit_test(totals_may_be_unknown_or_wrong),
      cmocka_unit_test(a_utf8_locale_gets_blocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
