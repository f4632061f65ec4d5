/* JSONTestSuite (ETK_SHARED/suites/json): names begin with y_ (to accept), n_ (to refuse), i_ (either, listed). Read as RFC 8259 has it, so that of equal
 * keys the last wins; a configuration refuses those on top. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "config_tree.h"
#include "etk/hardware.h"

typedef struct json_case {
  char *name, *bytes;
  size_t size;
} json_case;
static json_case *cases;
static size_t case_count, accepted, refused, either_accepted, either_refused;

static int load_cases(void **state) {
  (void)state;
  char *folder = suite_folder("json"), **names;
  size_t count;
  if (!folder) return 0;
  if (etk_fs_list(NULL, &names, &count, folder)) return -1;
  cases = calloc(count, sizeof *cases);
  for (size_t i = 0; cases && i < count; i++) {
    if (!has_ending(names[i], ".json")) continue;
    char *path = etk_path_join(folder, names[i]);
    json_case *c = &cases[case_count++];
    c->name = etk_strdup(names[i]);
    if (etk_fs_read(NULL, &c->bytes, &c->size, path, 16 << 20)) return -1;
    etk_free(path);
  }
  etk_fs_list_free(names, count);
  etk_free(folder);
  return cases ? 0 : -1;
}

static int free_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < case_count; i++) {
    etk_free(cases[i].name);
    etk_free(cases[i].bytes);
  }
  free(cases);
  return 0;
}

static etk_status parse(const json_case *c, etk_config_format format, etk_error *e, etk_config **out) {
  *out = NULL;
  *e = (etk_error)ETK_ERROR_INIT;
  char *exact = malloc(c->size ? c->size : 1);
  assert_non_null(exact);
  memcpy(exact, c->bytes, c->size);
  etk_status status = etk_config_parse(e, out, c->name, exact, c->size, format);
  free(exact);
  return status;
}

static void every_y_is_accepted_and_every_n_refused(void **state) {
  (void)state;
  if (!cases) skip();
  for (size_t i = 0; i < case_count; i++) {
    etk_config *config;
    etk_error e;
    etk_status status = parse(&cases[i], ETK_CONFIG_JSON_ANY, &e, &config);
    char kind = cases[i].name[0];
    if (kind == 'y' && status) fail_msg("refused: %s", e.message);
    if (kind == 'n' && !status) fail_msg("accepted: %s", cases[i].name);
    if (kind == 'i') print_message("%s %s\n", status ? "refused " : "accepted", status ? e.message : cases[i].name);
    accepted += kind == 'y';
    refused += kind == 'n';
    either_accepted += kind == 'i' && !status;
    either_refused += kind == 'i' && status;
    etk_config_free(config);
  }
  assert_true(accepted >= 95 && refused >= 188 && either_accepted + either_refused >= 35); /* as many as the suite has */
}

static void of_equal_keys_the_last_wins_there_and_a_configuration_refuses_them(void **state) {
  (void)state;
  static const struct {
    const char *text, *wanted;
  } rows[] = {{"{\"a\":\"b\",\"a\":\"c\"}", "{\"a\": \"c\"}"},
              {"{\"a\":1,\"b\":2,\"\\u0061\":3,\"c\":4,\"b\":[5]}", "{\"a\": 3, \"c\": 4, \"b\": [5]}"},
              {"[{\"x\":1,\"x\":1,\"x\":1}]", "[{\"x\": 1}]"}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_config *config = NULL;
    etk_error e = ETK_ERROR_INIT;
    assert_int_equal(etk_config_parse(&e, &config, "t.json", rows[i].text, strlen(rows[i].text), ETK_CONFIG_AUTO), ETK_E_FORMAT);
    assert_non_null(strstr(e.message, "appears twice"));
    assert_int_equal(etk_config_parse(&e, &config, "t.json", rows[i].text, strlen(rows[i].text), ETK_CONFIG_JSON_ANY), ETK_OK);
    etk_text json = ETK_TEXT_INIT;
    etk_config_write_json(&json, etk_config_root(config), 0);
    assert_string_equal(json.data, rows[i].wanted);
    etk_text_free(&json);
    etk_config_free(config);
  }
  for (size_t i = 0; i < case_count; i++) {
    etk_config *config;
    etk_error e;
    bool twice = strncmp(cases[i].name, "y_object_duplicated_key", 23) == 0;
    etk_status status = parse(&cases[i], ETK_CONFIG_JSON, &e, &config);
    if (twice) assert_int_equal(status, ETK_E_FORMAT);
    if (cases[i].name[0] == 'y' && !twice && status) fail_msg("refused: %s", e.message);
    etk_config_free(config);
  }
}

static void a_hundred_thousand_brackets_are_refused_at_once(void **state) {
  (void)state;
  char *deep = malloc(100000);
  assert_non_null(deep);
  memset(deep, '[', 100000);
  etk_config *config = NULL;
  int64_t begin = etk_cpu_time_ns();
  assert_int_equal(etk_config_parse(NULL, &config, "deep.json", deep, 100000, ETK_CONFIG_JSON_ANY), ETK_E_UNSUPPORTED);
  assert_true(etk_cpu_time_ns() - begin < INT64_C(100000000)); /* microseconds; the rest is room for sanitizers */
  free(deep);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_y_is_accepted_and_every_n_refused),
      cmocka_unit_test(of_equal_keys_the_last_wins_there_and_a_configuration_refuses_them),
      cmocka_unit_test(a_hundred_thousand_brackets_are_refused_at_once),
  };
  int failed = cmocka_run_group_tests(tests, load_cases, free_cases);
  if (accepted)
    printf("# JSONTestSuite: %zu y_ accepted, %zu n_ refused, %zu i_: %zu accepted, %zu refused\n", accepted, refused,
           either_accepted + either_refused, either_accepted, either_refused);
  return failed;
}
