/* Tests of etk/template.h: the goldens of python3-jinja2, conversations, spans, limits, sharing between threads, memory that runs out. What is refused is
 * in ml_template_bad.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/fs.h"
#include "etk/template.h"
#include "etk/text.h"
#include "../interpose.h"
#include <jansson.h>
#include <pthread.h>

static const struct tm now = {.tm_sec = 5, .tm_min = 4, .tm_hour = 15, .tm_mday = 26, .tm_mon = 6, .tm_year = 124, .tm_wday = 5, .tm_yday = 207};

static etk_template *parsed(const char *source) {
  etk_error e = ETK_ERROR_INIT;
  etk_template *t = NULL;
  if (etk_template_parse(&e, &t, "t", source, strlen(source))) fail_msg("%s", e.message);
  return t;
}

static void gives(const char *source, const char *variables, const char *wanted) {
  etk_error e = ETK_ERROR_INIT;
  etk_rendered out = ETK_RENDERED_INIT;
  etk_template *t = parsed(source);
  if (etk_template_render(&e, t, &out, variables, variables ? strlen(variables) : 0, &now, NULL)) fail_msg("%s", e.message);
  assert_string_equal(out.text, wanted);
  assert_int_equal(out.size, strlen(wanted));
  etk_rendered_free(&out);
  etk_template_free(t);
}

/* One case of tests/goldens/templates.json; returns whether it came out as Jinja's. */
static bool agrees(json_t *goldens, json_t *row) {
  etk_error e = ETK_ERROR_INIT;
  etk_template *t = NULL;
  etk_rendered out = ETK_RENDERED_INIT;
  const json_t *source = json_array_get(json_object_get(goldens, "templates"), (size_t)json_integer_value(json_object_get(row, "template")));
  const json_t *wanted = json_object_get(row, "text");
  char *variables = json_dumps(json_object_get(json_object_get(goldens, "variables"), json_string_value(json_object_get(row, "variables"))), 0);
  etk_status status = etk_template_parse(&e, &t, "t", json_string_value(source), json_string_length(source));
  if (!status) status = etk_template_render(&e, t, &out, variables, strlen(variables), &now, NULL);
  bool same = status ? json_is_null(wanted) : out.size == json_string_length(wanted) && memcmp(out.text, json_string_value(wanted), out.size) == 0;
  if (!same) print_error("%s: wanted '%s', have '%s'\n", json_string_value(json_object_get(row, "name")), json_string_value(wanted), status ? e.message : out.text);
  if (status && (strncmp(e.message, "t:", 2) != 0 || out.text)) same = false;
  free(variables);
  etk_rendered_free(&out);
  etk_template_free(t);
  return same;
}

static void renderings_equal_those_of_jinja(void **state) {
  (void)state;
  json_error_t problem;
  json_t *goldens = json_load_file("tests/goldens/templates.json", JSON_ALLOW_NUL, &problem);
  if (!goldens) fail_msg("tests/goldens/templates.json: %s", problem.text);
  const json_t *rows = json_object_get(goldens, "cases");
  size_t bad = 0, texts = 0;
  for (size_t i = 0; i < json_array_size(rows); i++) {
    bad += !agrees(goldens, json_array_get(rows, i));
    texts += json_is_string(json_object_get(json_array_get(rows, i), "text"));
  }
  assert_true(texts > 150);
  assert_int_equal(bad, 0);
  json_decref(goldens);
}

static void a_conversation_has_the_variables_of_apply_chat_template(void **state) {
  (void)state;
  etk_template *t = parsed("{{ messages[0].content }}|{{ tools is none }}|{{ documents is none }}|{{ add_generation_prompt }}|{{ bos_token }}|"
                           "{{ eos_token is defined }}|{{ enable_thinking }}|{{ tools | tojson }}");
  etk_error e = ETK_ERROR_INIT;
  etk_rendered out = ETK_RENDERED_INIT;
  etk_chat chat = {.messages = "[{\"role\":\"user\",\"content\":\"h\\u00e9\"}]", .bos_token = "<s>", .kwargs = "{\"enable_thinking\":false}", .add_generation_prompt = true};
  assert_int_equal(etk_chat_render(&e, t, &out, &chat, NULL), ETK_OK);
  assert_string_equal(out.text, "h\xc3\xa9|True|True|True|<s>|False|False|null");
  etk_rendered_free(&out);
  chat = (etk_chat){.messages = "[{\"content\":1}]", .tools = "[{\"a\":1}]", .eos_token = "</s>"};
  assert_int_equal(etk_chat_render(&e, t, &out, &chat, NULL), ETK_OK);
  assert_string_equal(out.text, "1|False|True|False||True||[{\"a\": 1}]");
  etk_rendered_free(&out);
  etk_template_free(t);
}

static void parts_of_a_conversation_that_are_wrong_are_named(void **state) {
  (void)state;
  static const struct {
    etk_chat chat;
    const char *message;
  } rows[] = {
      {{.messages = NULL}, "t: a conversation without messages"},
      {{.messages = "[{]"}, "t: messages:1:3: not valid JSON"},
      {{.messages = "{}"}, "t: messages: a JSON array is wanted"},
      {{.messages = "[]", .tools = "1"}, "t: tools: a JSON array is wanted"},
      {{.messages = "[]", .kwargs = "[]"}, "t: kwargs: a JSON object is wanted"},
      {{.messages = "[]", .kwargs = "{\"tools\":[]}"}, "t: kwargs may not hold 'tools'"},
  };
  etk_template *t = parsed("{{ messages }}{{ tools }}");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_rendered out = ETK_RENDERED_INIT;
    assert_true(etk_chat_render(&e, t, &out, &rows[i].chat, NULL) != ETK_OK);
    if (strncmp(e.message, rows[i].message, strlen(rows[i].message)) != 0) fail_msg("'%s', wanted '%s'", e.message, rows[i].message);
    assert_null(out.text);
  }
  etk_template_free(t);
}

static void generation_blocks_are_reported_as_spans_of_the_output(void **state) {
  (void)state;
  etk_template *t = parsed("{% for m in [1, 22] %}u{% generation %}a{{ m }}{% endgeneration %};{% endfor %}{% set x %}{% generation %}no{% endgeneration %}{% endset %}");
  etk_error e = ETK_ERROR_INIT;
  etk_rendered out = ETK_RENDERED_INIT;
  assert_int_equal(etk_template_render(&e, t, &out, NULL, 0, NULL, NULL), ETK_OK);
  assert_string_equal(out.text, "ua1;ua22;");
  assert_int_equal(out.generated_count, 2);
  assert_int_equal(out.generated[0].begin, 1);
  assert_int_equal(out.generated[0].end, 3);
  assert_int_equal(out.generated[1].begin, 5);
  assert_int_equal(out.generated[1].end, 8);
  etk_rendered_free(&out);
  etk_template_free(t);
}

static void what_jinja_does_not_answer_here_has_an_answer(void **state) {
  (void)state;
  gives("{{ a }}{{ b }}", "{\"a\": 1, \"unused\": {\"x\": []}}", "1");
  gives("{{ s | length }}{{ s == 'a\\x00b' }}", "{\"s\": \"a\\u0000b\"}", "3True");
  gives("{{ x is defined if y }}", NULL, ""); /* Jinja reads `if` as the argument of the test */
  gives("", NULL, "");
}

static void every_limit_can_be_set(void **state) {
  (void)state;
  static const struct {
    const char *source;
    etk_template_limits limits;
    const char *message;
  } rows[] = {
      {"{% for i in range(100) %}x{% endfor %}", {.steps = 50}, "t:1:"},
      {"{% for i in range(100) %}x{% endfor %}", {.output_bytes = 99}, "t:1:26: the output is larger than 99 bytes"},
      {"{{ 'a' * 5000 }}", {.memory_bytes = 4096}, "t:1:8: the template needs more than 4096 bytes of memory"},
      {"{{ (((((1 + 1) + 1) + 1) + 1) + 1) }}", {.depth = 3}, "t:1:"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_rendered out = ETK_RENDERED_INIT;
    etk_template *t = parsed(rows[i].source);
    assert_int_equal(etk_template_render(&e, t, &out, NULL, 0, NULL, &rows[i].limits), ETK_E_INVALID);
    if (strncmp(e.message, rows[i].message, strlen(rows[i].message)) != 0) fail_msg("'%s', wanted '%s'", e.message, rows[i].message);
    assert_int_equal(etk_template_render(&e, t, &out, NULL, 0, NULL, NULL), ETK_OK);
    etk_rendered_free(&out);
    etk_template_free(t);
  }
}

static void *render_often(void *shared) {
  for (int i = 0; i < 200; i++) {
    etk_rendered out = ETK_RENDERED_INIT;
    if (etk_template_render(NULL, shared, &out, "{\"l\":[1,2]}", 11, &now, NULL) || strcmp(out.text, "[\xc3\xa9]\xc3\xa9" "12") != 0) return "differs";
    etk_rendered_free(&out);
  }
  return NULL;
}

static void threads_share_a_template(void **state) {
  (void)state;
  etk_template *t = parsed("{% macro f(a) %}[{{ a[1] }}]{% endmacro %}{{ f('x\xc3\xa9') }}{{ 'x\xc3\xa9'[1:] }}{{ l | join }}");
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, render_often, t), 0);
  for (int i = 0; i < 4; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
  etk_template_free(t);
}

static bool render_once(void *user) {
  static const char source[] =
      "{% macro f(a, b=1) %}{{ a ~ b }}{{ kwargs }}{% endmacro %}{% set ns = namespace(x=[]) %}{% for m in messages if m.role %}{% set ns.x = ns.x + [m.content | trim | upper] %}"
      "{% generation %}{{ f(m.content, c=2) }}{% endgeneration %}{{ loop.nextitem }}{% endfor %}{% set t %}{{ ns.x | join(', ') | indent }}{% endset %}{{ t }}"
      "{{ messages | tojson(indent=2) }}{{ messages | map(attribute='role') | unique | sort | list }}{{ 'a\\nb'.split('\\n') }}{{ '%s' % 5 }}{{ strftime_now('%Y') }}"
      "{{ {'a': 1, 'b': 2, 'c': 3, 'd': 4, 'e': 5, 'f': 6, 'g': 7, 'h': 8, 'i': 9, 'j': 10} }}{{ 'abc'[::-1] }}";
  static const char messages[] = "[{\"role\":\"user\",\"content\":\" Hi \\u00e9 \"},{\"role\":\"tool\",\"content\":\"x\"}]";
  etk_error *e = user;
  etk_template *t;
  etk_rendered out = ETK_RENDERED_INIT;
  etk_chat chat = {.messages = messages, .tools = "[1]", .bos_token = "<s>", .kwargs = "{\"k\":{\"z\":[1.5]}}", .now = &now};
  etk_error_clear(e);
  if (etk_template_parse(e, &t, "t", source, sizeof source - 1)) {
    assert_int_equal(e->status, ETK_E_NO_MEMORY);
    return false;
  }
  etk_status status = etk_chat_render(e, t, &out, &chat, NULL);
  etk_rendered_free(&out);
  etk_template_free(t);
  assert_true(status == ETK_OK || status == ETK_E_NO_MEMORY);
  return status == ETK_OK;
}

static void memory_that_runs_out_is_reported_and_nothing_leaks(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  long tried = interpose_sweep(render_once, &e);
  if (tried <= 0) fail_msg("sweep: %ld (%s)", tried, e.message);
  assert_true(tried > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(renderings_equal_those_of_jinja),
      cmocka_unit_test(a_conversation_has_the_variables_of_apply_chat_template),
      cmocka_unit_test(parts_of_a_conversation_that_are_wrong_are_named),
      cmocka_unit_test(generation_blocks_are_reported_as_spans_of_the_output),
      cmocka_unit_test(what_jinja_does_not_answer_here_has_an_answer),
      cmocka_unit_test(every_limit_can_be_set),
      cmocka_unit_test(threads_share_a_template),
      cmocka_unit_test(memory_that_runs_out_is_reported_and_nothing_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
