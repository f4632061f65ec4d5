/* Tests of etk/template.h: templates that are broken, that ask for what is not there, or that mean harm. Each gets one message with its place, soon, and
 * without much memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/template.h"
#include "etk/text.h"
#include <sys/resource.h>
#include <time.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

typedef struct bad {
  const char *source, *message; /* the message begins so */
} bad;

static void refused(const bad *rows, size_t count, etk_status wanted, bool while_parsing, const etk_template_limits *limits) {
  for (size_t i = 0; i < count; i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_template *t = NULL;
    etk_rendered out = ETK_RENDERED_INIT;
    etk_status status = etk_template_parse(&e, &t, "t", rows[i].source, strlen(rows[i].source));
    if (while_parsing) assert_null(t);
    else if (status) fail_msg("%s: did not parse: %s", rows[i].source, e.message);
    else status = etk_template_render(&e, t, &out, "{\"d\":{\"a\":1},\"l\":[1],\"s\":\"text\"}", 32, NULL, limits);
    if (strncmp(e.message, rows[i].message, strlen(rows[i].message)) != 0) fail_msg("%s: '%s', wanted '%s'", rows[i].source, e.message, rows[i].message);
    assert_int_equal(status, wanted);
    assert_null(out.text);
    etk_template_free(t);
  }
}

static void broken_syntax_is_refused_with_its_place(void **state) {
  (void)state;
  static const bad rows[] = {
      {"{{ a", "t:1:1: the tag that begins here has no '}}'"},
      {"x\n {% if a", "t:2:2: the tag that begins here has no '%}'"},
      {"{# a", "t:1:1: the comment that begins here has no '#}'"},
      {"\xc3\xa9{% raw %} a", "t:1:11: the raw block that begins here has no {% endraw %}"},
      {"{% if a %}b", "t:1:1: the block that begins here has no {% endif %}"},
      {"{% for a in b %}{% else %}", "t:1:1: the block that begins here has no {% endfor %}"},
      {"{% macro f() %}", "t:1:1: the block that begins here has no {% endmacro %}"},
      {"{% endif %}", "t:1:4: 'endif' without its beginning"},
      {"{% if a %}{% endfor %}", "t:1:14: 'endfor' without its beginning"},
      {"{% else %}", "t:1:4: 'else' without its beginning"},
      {"{% fro a in b %}", "t:1:4: unknown tag 'fro' (did you mean 'for'?)"},
      {"{% %}", "t:1:4: the name of a tag wanted, found '%}'"},
      {"{{ }}", "t:1:4: a value wanted, found '}}'"},
      {"{{ a b }}", "t:1:6: '}}' wanted, found 'b'"},
      {"{{ (a }}", "t:1:7: unexpected '}' (wanted ')')"},
      {"{{ a) }}", "t:1:5: unexpected ')': no bracket is open"},
      {"{{ [a) }}", "t:1:6: unexpected ')' (wanted ']')"},
      {"{{ 'a }}", "t:1:4: the string that begins here has no closing '"},
      {"{{ '\\xZZ' }}", "t:1:4: an escape of this string is broken"},
      {"{{ '\\ud800' }}", "t:1:4: an escape of this string is broken"},
      {"{{ a | nope }}", "t:1:8: there is no filter 'nope'"},
      {"{{ a | uper }}", "t:1:8: there is no filter 'uper' (did you mean 'upper'?)"},
      {"{{ a is strng }}", "t:1:9: there is no test 'strng' (did you mean 'string'?)"},
      {"{{ a is }}", "t:1:9: the name of a test wanted, found '}}'"},
      {"{{ a | }}", "t:1:8: the name of a filter wanted, found '}}'"},
      {"{{ a. }}", "t:1:7: a name behind '.' wanted, found '}}'"},
      {"{{ a[] }}", "t:1:6: an index wanted, found ']'"},
      {"{{ a[1:2:3:4] }}", "t:1:11: ']' wanted, found ':'"},
      {"{{ {1 2} }}", "t:1:7: ':' behind a dict's key wanted, found '2'"},
      {"{{ f(a=1, 2) }}", "t:1:11: an argument without a name follows one with a name"},
      {"{{ f(a=1, a=2) }}", "t:1:11: the argument 'a' is given twice"},
      {"{{ 1 + }}", "t:1:8: a value wanted, found '}}'"},
      {"{{ a not b }}", "t:1:10: 'in' behind 'not' wanted, found 'b'"},
      {"{{ a ? b }}", "t:1:6: unexpected character '?' in a tag"},
      {"{{ 01 }}", "t:1:4: '01' begins with a zero"},
      {"{% set %}", "t:1:8: the name of a variable wanted, found '%}'"},
      {"{% set true = 1 %}", "t:1:8: cannot assign to 'true'"},
      {"{% set a, b %}{% endset %}", "t:1:13: '=' wanted, found '%}'"},
      {"{% for a b %}{% endfor %}", "t:1:10: 'in' wanted, found 'b'"},
      {"{% macro f(a, a) %}{% endmacro %}", "t:1:15: a second parameter of this name"},
      {"{% macro f(a=1, b) %}{% endmacro %}", "t:1:18: a parameter without a default follows one with a default"},
      {"{% break %}", "t:1:1: 'break' outside a loop"},
      {"{% for a in b %}{% macro f() %}{% continue %}{% endmacro %}{% endfor %}", "t:1:32: 'continue' outside a loop"},
      {"{% call x %}{% endcall %}", "t:1:9: a call block wants the call of a macro"},
      {"\xff", "t:1:1: byte 0xff is not UTF-8"},
      {"a\n\xc3", "t:2:1: byte 0xc3 is not UTF-8"},
  };
  refused(rows, COUNT(rows), ETK_E_FORMAT, true, NULL);
}

static void what_is_not_supported_is_named(void **state) {
  (void)state;
  static const bad rows[] = {
      {"{% include 'x' %}", "t:1:4: 'include' is not supported: a template has no access to files"},
      {"{% import 'x' as y %}", "t:1:4: 'import' is not supported: a template has no access to files"},
      {"{% from '/etc/passwd' import y %}", "t:1:4: 'from' is not supported"},
      {"{% extends 'x' %}", "t:1:4: 'extends' is not supported"},
      {"{% block x %}{% endblock %}", "t:1:4: 'block' is not supported"},
      {"{% autoescape true %}{% endautoescape %}", "t:1:4: 'autoescape' is not supported"},
      {"{% do l.append(1) %}", "t:1:4: 'do' is not supported"},
      {"{% for a in b recursive %}{% endfor %}", "t:1:15: recursive loops are not supported"},
      {"{{ 9223372036854775808 }}", "t:1:4: 9223372036854775808 is too large"},
  };
  refused(rows, COUNT(rows), ETK_E_UNSUPPORTED, true, NULL);
}

static void faults_at_run_time_are_placed(void **state) {
  (void)state;
  static const bad rows[] = {
      {"{{ a.b }}", "t:1:6: 'a' is undefined"},
      {"{{ d.a.b.c }}", "t:1:10: this int has no 'b'"},
      {"{{ a() }}", "t:1:4: 'a' is undefined"},
      {"{{ s() }}", "t:1:4: a str cannot be called"},
      {"{{ 1 / 0 }}", "t:1:6: division by zero"},
      {"{{ 'a' + 1 }}", "t:1:8: '+' between str and int ('~' joins anything as text)"},
      {"{{ 9223372036854775807 + 1 }}", "t:1:24: the result is beyond"},
      {"{{ -9223372036854775807 - 2 }}", "t:1:25: the result is beyond"},
      {"{{ 10 ** 100 }}", "t:1:7: the result is beyond"},
      {"{{ [1] < 2 }}", "t:1:8: '<' between list and int"},
      {"{{ {[]: 1} }}", "t:1:5: a list cannot be the key of a dict"},
      {"{{ l.append(2) }}", "t:1:6: a list cannot be changed in a template"},
      {"{{ d.update(a=2) }}", "t:1:6: a dict cannot be changed in a template"},
      {"{% set d.x = 1 %}", "t:1:10: an attribute can be set on a namespace only, and this is a dict"},
      {"{% set a, b = l %}", "t:1:8: 1 values for 2 names"},
      {"{% for x in 5 %}{% endfor %}", "t:1:13: a value of type int cannot be iterated over"},
      {"\n{{ raise_exception('Only user\nand assistant') }}", "t:2:4: Only user\nand assistant"},
      {"{{ raise_exception() }}", "t:1:4: raise_exception wants the argument 'message'"},
      {"{{ strftime_now('%Y') }}", "t:1:4: strftime_now: no time was given to this rendering"},
      {"{{ s | replace('a') }}", "t:1:8: replace wants the argument 'new'"},
      {"{{ s | trim(1) }}", "t:1:8: trim wants a string of characters, found a int"},
      {"{{ s | upper(1) }}", "t:1:8: upper takes at most 0 arguments, 1 were given"},
      {"{{ s | indent(wdth=1) }}", "t:1:8: indent has no parameter 'wdth' (it has: width first blank)"},
      {"{{ l | map('nope') | list }}", "t:1:8: map: there is no filter 'nope'"},
      {"{{ l | select('nope') | list }}", "t:1:8: select: there is no test 'nope'"},
      {"{{ l | map('string') }}", "t:1:1: a generator has no text"},
      {"{{ s.upper }}", "t:1:1: a method has no text (is it missing its '()'?)"},
      {"{{ range | tojson }}", "t:1:12: tojson: a function cannot be written as JSON"},
      {"{{ nothing | tojson }}", "t:1:14: 'nothing' is undefined"},
      {"{{ '{}'.format(1) }}", "t:1:9: str.format is not supported"},
      {"{{ '%d' % 'x' }}", "t:1:9: %d wants a number, found a str"},
      {"{{ '%s %s' % 'x' }}", "t:1:12: a format wants more than the 1 values that were given"},
      {"{{ '%9999999999d' % 1 }}", "t:1:19: '%' at the end of a format, or a width beyond 1000"},
      {"{{ '%n' % 1 }}", "t:1:9: a format with '%n'"},
      {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "t:1:34: the macro 'f' takes 1 arguments, 2 were given"},
      {"{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "t:1:34: the macro 'f' has no parameter 'b'"},
      {"{% macro f() %}{% endmacro %}{% call f() %}{% endcall %}", "t:1:38: the macro 'f' makes no use of a caller"},
      {"{{ l[::0] }}", "t:1:5: the step of a slice is 0"},
      {"{{ s.split('') }}", "t:1:6: split wants a separator that is not empty"},
      {"{{ s.index('zz') }}", "t:1:6: index: the substring is not there"},
      {"{{ range(1, 2, 0) }}", "t:1:4: the step of a range is 0"},
      {"{{ s.__class__.__mro__ }}", "t:1:16: this str has no '__class__'"}, /* nothing of Python is there */
      {"{{ range.__globals__.os }}", "t:1:22: this function has no '__globals__'"},
      {"{{ f(*5) }}", "t:1:6: a value of type int cannot be iterated over"},
      {"{{ f(**l) }}", "t:1:6: '**' before a list (wanted a dict)"},
  };
  refused(rows, COUNT(rows), ETK_E_INVALID, false, NULL);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Everything ends soon, whatever a template asks for, and nothing is kept. */
static void templates_that_mean_harm_are_stopped(void **state) {
  (void)state;
  static const bad rows[] = {
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "t:1:"},
      {"{{ range(100001) }}", "t:1:4: a range of 100001 numbers (at most 100000)"},
      {"{{ range(-9223372036854775807, 9223372036854775807) }}", "t:1:4: a range of 18446744073709551614 numbers"},
      {"{{ 'a' * 1000000000 }}", "t:1:"},
      {"{{ 'ab' * 9223372036854775807 }}", "t:1:"},
      {"{{ [0] * 9223372036854775807 }}", "t:1:"},
      {"{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "t:1:"},
      {"{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "t:1:"},
      {"{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}", "t:1:"},
      {"{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == [[1]] ~ ns.l | tojson }}", "t:1:"},
      {"{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}", "t:1:"},
      {"{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = (ns.l,) %}{% endfor %}{{ {ns.l: 1} }}", "t:1:"},
      {"{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "t:1:47: expressions, calls or values are more than 600 deep"},
      {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "t:1:"},
      {"{% macro f(a) %}{{ a(a) }}{% endmacro %}{{ f(f) }}", "t:1:"},
      {"{% macro f() %}{{ f() }}{{ f() }}x{% endmacro %}{{ f() }}", "t:1:"},
      {"{% macro g(a) %}{{ a(a) if a }}{% endmacro %}{{ g(g) }}", "t:1:"},
      {"{{ '%1000d' % 1 ~ ('%1000s' * 100000) % 1 }}", "t:1:"},
      {"{{ ('a' * 100000).replace('', 'a' * 10000) }}", "t:1:"},
      {"{{ ('a' * 100000) | replace('a', 'b' * 100000) }}", "t:1:"},
      {"{{ ('a\\n' * 1000000) | indent(1000) }}", "t:1:"},
      {"{{ range(99999) | join('x' * 99999) }}", "t:1:"},
      {"{{ ('x' * 99999).join(range(9999) | map('string') | list) }}", "t:1:"},
      {"{{ [1] | tojson(indent=99999999) }}", "t:1:10: an indentation of 99999999 blanks (at most 1000)"},
      {"{{ 'a'.center(999999999999) }}", "t:1:"},
      {"{{ range(99999) | batch(2, 0) | list | length ~ ([1] | batch(999999999, 0) | list) }}", "t:1:"},
      {"{{ 2 | round(999999999) }}", "t:1:8: round: a precision of 999999999 (at most 300)"},
      {"{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "t:1:"},
      {"{% set x %}{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}", "t:1:"},
      {"{% set s = '\\u00e9' * 9999999 %}{% for i in range(99999) %}{% set c = s[i] %}{% endfor %}", "t:1:"},
      {"{% set s = 'a' * 99999 ~ 'b' %}{% for i in range(99999) %}{% set c = s.count('aaaab') %}{% endfor %}", "t:1:"},
      {"{% set s = ' ' * 9999999 %}{% for i in range(99999) %}{% set c = s.strip() %}{% endfor %}", "t:1:"},
      {"{% set l = range(99999) %}{% for i in l %}{% set c = 'x' in l %}{% endfor %}", "t:1:"},
      {"{% set l = range(99999) | list %}{% for i in l %}{% set c = l | sort | first %}{% endfor %}", "t:1:"},
  };
  const etk_template_limits quick = {.steps = 3000000}; /* of 20 million, so that the test is */
  double begin = seconds();
  refused(rows, COUNT(rows), ETK_E_INVALID, false, &quick);
  double took = seconds() - begin;
  if (took > 30) fail_msg("%zu templates took %.1f s", COUNT(rows), took);
}

static char *repeated(const char *before, const char *what, size_t times, const char *after) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, before);
  for (size_t i = 0; i < times; i++) etk_text_puts(&text, what);
  etk_text_puts(&text, after);
  return etk_text_take(&text);
}

static void nesting_without_end_is_refused_before_the_stack_is(void **state) {
  (void)state;
  static const struct {
    const char *before, *what, *after;
  } rows[] = {
      {"{{ ", "(", ""},   {"{{ ", "[", ""},        {"{{ ", "{1:", ""},   {"{{ ", "-", "1 }}"},  {"{{ ", "not ", "1 }}"}, {"", "{% if a %}", ""},       {"", "{% for a in b %}", ""},
      {"{{ a", ".a", " }}"}, {"{{ a", "|upper", " }}"}, {"{{ a", "[a", ""}, {"{{ 1", "+1", " }}"}, {"{{ a", "(a", ""}, {"{{ 1", " if 1 else 1", " }}"}, {"{{ a", " is in a", " }}"},
      {"{{ 1", " and 1", " }}"}, {"{{ 1", "**1", " }}"}, {"{{ 1", "<1", " }}"}, {"", "{% macro f() %}", ""}, {"{% set a", ", (a", ""}, {"{% for ", "(", ""}, {"", "{% filter upper %}", ""},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_template *t;
    char *source = repeated(rows[i].before, rows[i].what, 100000, rows[i].after);
    assert_non_null(source);
    etk_status status = etk_template_parse(&e, &t, "t", source, strlen(source));
    if (status != ETK_E_FORMAT && status != ETK_E_UNSUPPORTED) fail_msg("%s…: status %d, %s", rows[i].what, status, e.message);
    if (strncmp(e.message, "t:1:", 4) != 0) fail_msg("%s…: %s", rows[i].what, e.message);
    etk_free(source);
  }
  /* Long is not deep: these are fine. */
  static const char *const fine[] = {"{{ 1 }}", "{% if a %}{% elif b %}{% endif %}", "{# x #}"};
  for (size_t i = 0; i < COUNT(fine); i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_template *t;
    char *source = repeated("", fine[i], 10000, "{{ 1 ~ 2 }}");
    assert_int_equal(etk_template_parse(&e, &t, "t", source, strlen(source)), ETK_OK);
    etk_template_free(t);
    etk_free(source);
  }
  char *chain = repeated("{% if a %}", "{% elif a %}", 10000, "{% else %}x{% endif %}"), *joined = repeated("{{ 1", " ~ 1", 10000, " }}");
  const char *const sources[] = {chain, joined};
  for (size_t i = 0; i < 2; i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_template *t;
    etk_rendered out = ETK_RENDERED_INIT;
    if (etk_template_parse(&e, &t, "t", sources[i], strlen(sources[i])) || etk_template_render(&e, t, &out, NULL, 0, NULL, NULL)) fail_msg("%s", e.message);
    assert_int_equal(out.size, i ? 10001 : 1);
    etk_rendered_free(&out);
    etk_template_free(t);
  }
  etk_free(chain);
  etk_free(joined);
}

static void variables_that_are_no_json_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *json, *message;
  } rows[] = {
      {"", "t: variables:1:0: not valid JSON"},          {"[1]", "t: variables: a JSON object is wanted"},  {"{\"a\": }", "t: variables:1:7: not valid JSON"},
      {"{\"a\": \"\xff\"}", "t: variables:1:"},          {"{\"a\": 99999999999999999999}", "t: variables:1:"}, {"{\"a\": NaN}", "t: variables:1:"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    etk_error e = ETK_ERROR_INIT;
    etk_template *t;
    etk_rendered out = ETK_RENDERED_INIT;
    assert_int_equal(etk_template_parse(&e, &t, "t", "{{ a }}", 7), ETK_OK);
    assert_true(etk_template_render(&e, t, &out, rows[i].json, strlen(rows[i].json), NULL, NULL) != ETK_OK);
    if (strncmp(e.message, rows[i].message, strlen(rows[i].message)) != 0) fail_msg("'%s', wanted '%s'", e.message, rows[i].message);
    etk_template_free(t);
  }
  char *deep = repeated("{\"a\":", "[", 1500, "");
  char *whole = repeated(deep, "]", 1500, "}");
  etk_error e = ETK_ERROR_INIT;
  etk_template *t;
  etk_rendered out = ETK_RENDERED_INIT;
  assert_int_equal(etk_template_parse(&e, &t, "t", "{{ a }}", 7), ETK_OK);
  assert_int_equal(etk_template_render(&e, t, &out, whole, strlen(whole), NULL, NULL), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "600 deep"));
  etk_template_free(t);
  etk_free(deep);
  etk_free(whole);
}

/* Runs last: the peak is the process's. A rendering may use 128 MiB of values, and as much again twice while a text grows. */
static void peak_memory_stays_near_the_limit(void **state) {
  (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  if (usage.ru_maxrss > 600 * 1024) fail_msg("peak of %ld KiB", usage.ru_maxrss);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broken_syntax_is_refused_with_its_place),
      cmocka_unit_test(what_is_not_supported_is_named),
      cmocka_unit_test(faults_at_run_time_are_placed),
      cmocka_unit_test(templates_that_mean_harm_are_stopped),
      cmocka_unit_test(nesting_without_end_is_refused_before_the_stack_is),
      cmocka_unit_test(variables_that_are_no_json_are_refused),
      cmocka_unit_test(peak_memory_stays_near_the_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
