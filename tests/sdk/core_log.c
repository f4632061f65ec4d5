/* Tests of etk/log.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/log.h"
#include "etk/text.h"
#include <pthread.h>
#include <unistd.h>

typedef struct seen {
  int count;
  etk_log_level level;
  int64_t unix_ms;
  char message[9000];
} seen;

static void keep(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  seen *s = user;
  s->count++;
  s->level = level;
  s->unix_ms = unix_ms;
  snprintf(s->message, sizeof s->message, "%s", message);
}

static int reset(void **state) {
  (void)state;
  etk_log_set_sink(NULL, NULL);
  etk_log_set_level(ETK_LOG_WARNING);
  return 0;
}

static int evaluated;
static int evaluate(void) { return ++evaluated; }

static void nothing_is_formatted_below_the_threshold(void **state) {
  (void)state;
  seen s = {0};
  etk_log_set_sink(keep, &s);
  assert_int_equal(etk_log_get_level(), ETK_LOG_WARNING);
  etk_log(ETK_LOG_INFO, "%d", evaluate());
  etk_log_write(ETK_LOG_DEBUG, "x");
  assert_int_equal(evaluated, 0);
  assert_int_equal(s.count, 0);
  etk_log(ETK_LOG_ERROR, "n=%d\n", evaluate());
  assert_int_equal(s.count, 1);
  assert_int_equal(s.level, ETK_LOG_ERROR);
  assert_string_equal(s.message, "n=1");
  assert_true(s.unix_ms > INT64_C(1600000000000));
  etk_log_set_level(ETK_LOG_OFF);
  etk_log(ETK_LOG_ERROR, "x");
  assert_int_equal(s.count, 1);
}

static void the_default_sink_writes_a_line_to_stderr(void **state) {
  (void)state;
  int pipes[2];
  assert_int_equal(pipe(pipes), 0);
  int kept = dup(2);
  dup2(pipes[1], 2);
  etk_log(ETK_LOG_WARNING, "disk is %s", "slow");
  dup2(kept, 2);
  close(kept);
  close(pipes[1]);
  char text[100] = "";
  assert_true(read(pipes[0], text, sizeof text - 1) > 0);
  close(pipes[0]);
  assert_string_equal(text, "warning: disk is slow\n");
}

static void a_long_message_is_cut_whole(void **state) {
  (void)state;
  seen s = {0};
  etk_log_set_sink(keep, &s);
  etk_log(ETK_LOG_ERROR, "%9000s\xC3\xA4", "x");
  assert_string_equal(s.message + strlen(s.message) - 3, "\xE2\x80\xA6");
  assert_true(etk_utf8_valid(s.message, strlen(s.message)));
}

static void secrets_are_blotted_out(void **state) {
  (void)state;
  static const struct {
    const char *message, *wanted;
    int count;
  } rows[] = {
      {"Bearer abc.def-123", "Bearer ***", 1},
      {"curl -H 'Authorization: Basic dXNlcjpwYXNz' http://x", "curl -H 'Authorization: ***' http://x", 1},
      {"authorization: bearer abcdefghijk\nnext", "authorization: ***\nnext", 1},
      {"{\"Authorization\": \"Bearer abc\", \"n\": 1}", "{\"Authorization\": \"***\", \"n\": 1}", 1},
      {"api_key=12345&x=1", "api_key=***&x=1", 1},
      {"API-KEY: \"a b\\\"c\" rest", "API-KEY: \"***\" rest", 1},
      {"x-api-key = k3y", "x-api-key = ***", 1},
      {"{\"password\":\"p\",\"user\":\"u\"}", "{\"password\":\"*\",\"user\":\"u\"}", 1},
      {"PASSWD: hunter2, secret=abc token=xyz", "PASSWD: ***, secret=*** token=***", 3},
      {"HF_TOKEN=hf_abcdef", "HF_TOKEN=***", 1},
      {"{\\\"client_secret\\\": \\\"abcd\\\"}", "{\\\"client_secret\\\": \\\"***\\\"}", 1},
      {"password='it is long'", "password='***'", 1},
      {"password=", "password=", 0},
      {"tokens: 512, tokens_per_second=3.5, eos_token=</s>, \"bos_token\": \"<s>\"", NULL, 0},
      {"the bearer of news", NULL, 0},
      {"a secret is safe; tokenizer: bpe; subtoken: x", NULL, 0},
      {"", NULL, 0},
      {"password=\"open", "password=\"***", 1},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char text[200];
    snprintf(text, sizeof text, "%s", rows[i].message);
    int count = etk_log_redact(text);
    assert_string_equal(text, rows[i].wanted ? rows[i].wanted : rows[i].message);
    assert_int_equal(count, rows[i].count);
  }
}

static void every_sink_gets_redacted_text(void **state) {
  (void)state;
  seen s = {0};
  etk_log_set_sink(keep, &s);
  etk_log(ETK_LOG_ERROR, "cannot log in with %s=%s", "token", "abcdef");
  assert_string_equal(s.message, "cannot log in with token=***");
}

static void *chatter(void *unused) {
  for (int i = 0; i < 500; i++) etk_log(ETK_LOG_ERROR, "line %d", i);
  return unused;
}

static void threads_may_log_at_once(void **state) {
  (void)state;
  seen s = {0};
  etk_log_set_sink(keep, &s);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  assert_int_equal(s.count, 1500); /* the sink's own plain counter: it is called by one thread at a time */
}

static void levels_have_names(void **state) {
  (void)state;
  assert_string_equal(etk_log_level_name(ETK_LOG_DEBUG), "debug");
  assert_string_equal(etk_log_level_name(ETK_LOG_ERROR), "error");
  assert_string_equal(etk_log_level_name((etk_log_level)77), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, reset)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(nothing_is_formatted_below_the_threshold),
      TEST(the_default_sink_writes_a_line_to_stderr),
      TEST(a_long_message_is_cut_whole),
      TEST(secrets_are_blotted_out),
      TEST(every_sink_gets_redacted_text),
      TEST(threads_may_log_at_once),
      TEST(levels_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
