/* The public toml-test cases of TOML 1.0.0 (ETK_SHARED/suites/toml-test): each valid one has the values its JSON names, each invalid one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "config_tree.h"

typedef struct tally {
  size_t valid, invalid, wrong, wrong_round;
} tally;
static tally counts;

/* ---- what the suite says is equal ---- */

/* "1987-07-05 17:45:00.100z" → "1987-07-05T17:45:00.1Z" */
static void normal_time(char *out, size_t out_size, const char *text, int kind) {
  size_t n = 0;
  for (const char *p = text; *p && n + 1 < out_size; p++) {
    char c = *p;
    if (kind < 2 && p - text == 10) c = 'T';
    if (c == 'z') c = 'Z';
    bool fraction_ends = n > 0 && (c == 'Z' || c == '+' || (c == '-' && p - text > 10));
    if (fraction_ends && memchr(out, '.', n)) {
      while (out[n - 1] == '0') n--;
      if (out[n - 1] == '.') n--;
    }
    out[n++] = c;
  }
  bool open = memchr(out, '.', n) && !memchr(out, 'Z', n) && !(kind == 0 && n > 6 && out[n - 3] == ':' && strchr("+-", out[n - 6]));
  while (open && out[n - 1] == '0') n--;
  if (open && out[n - 1] == '.') n--;
  out[n] = 0;
}

static bool same_time(const etk_config_node *seen, const char *type, const char *value) {
  static const char *const types[] = {"datetime", "datetime-local", "date-local", "time-local"};
  char a[64], b[64];
  if (seen->kind != ETK_CONFIG_TIME || strcmp(type, types[seen->time]) != 0) return false;
  normal_time(a, sizeof a, seen->text, seen->time);
  normal_time(b, sizeof b, value, seen->time);
  return strcmp(a, b) == 0;
}

static bool same_real(double seen, const char *value) {
  if (strstr(value, "nan")) return isnan(seen);
  return seen == strtod(value, NULL);
}

static bool same_scalar(const etk_config_node *seen, const char *type, const etk_config_node *value) {
  int64_t whole;
  if (strcmp(type, "string") == 0)
    return seen->kind == ETK_CONFIG_TEXT && tree_same_bytes(seen->text, seen->text_size, value->text, value->text_size);
  if (strcmp(type, "integer") == 0)
    return seen->kind == ETK_CONFIG_INT && etk_parse_int(NULL, &whole, value->text) == ETK_OK && seen->integer == whole;
  if (strcmp(type, "float") == 0) return seen->kind == ETK_CONFIG_REAL && same_real(seen->real, value->text);
  if (strcmp(type, "bool") == 0) return seen->kind == ETK_CONFIG_FLAG && strcmp(value->text, seen->flag ? "true" : "false") == 0;
  return same_time(seen, type, value->text);
}

static bool as_tagged(const etk_config_node *seen, const etk_config_node *wanted) {
  if (wanted->kind == ETK_CONFIG_LIST) {
    if (seen->kind != ETK_CONFIG_LIST || seen->count != wanted->count) return false;
    for (const etk_config_node *a = seen->first, *b = wanted->first; a; a = a->next, b = b->next)
      if (!as_tagged(a, b)) return false;
    return true;
  }
  const etk_config_node *type = etk_config_child(wanted, "type"), *value = etk_config_child(wanted, "value");
  if (wanted->count == 2 && type && value && type->kind == ETK_CONFIG_TEXT && value->kind == ETK_CONFIG_TEXT)
    return same_scalar(seen, type->text, value);
  if (seen->kind != ETK_CONFIG_MAP || seen->count != wanted->count) return false;
  for (const etk_config_node *a = seen->first; a; a = a->next) {
    const etk_config_node *b = tree_child(wanted, a, NULL);
    if (!b || !as_tagged(a, b)) return false;
  }
  return true;
}

/* ---- the cases ---- */

static etk_config *load_tagged(const char *folder, const char *name) {
  etk_text path = ETK_TEXT_INIT;
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_text_printf(&path, "%s/%.*s.json", folder, (int)strlen(name) - 5, name);
  if (etk_config_load(&e, &config, path.data)) print_message("%s\n", e.message);
  etk_text_free(&path);
  return config;
}

static void check_round_trips(const char *name, const etk_config_node *root) {
  static const etk_config_format formats[] = {ETK_CONFIG_TOML, ETK_CONFIG_YAML, ETK_CONFIG_JSON};
  for (size_t i = 0; i < 3; i++) {
    char why[2048];
    if (!tree_round_trip(root, formats[i], why, sizeof why)) continue;
    counts.wrong_round++;
    print_message("%s: written as %s: %s\n", name, i == 0 ? "TOML" : i == 1 ? "YAML" : "JSON", why);
  }
}

static void check_valid(const char *folder, const char *name, const char *bytes, size_t size) {
  etk_config *seen = NULL, *wanted = load_tagged(folder, name);
  etk_error e = ETK_ERROR_INIT;
  counts.valid++;
  if (etk_config_parse(&e, &seen, name, bytes, size, ETK_CONFIG_AUTO)) {
    counts.wrong++;
    print_message("refused: %s\n", e.message);
  } else {
    if (!wanted || !as_tagged(etk_config_root(seen), etk_config_root(wanted))) {
      counts.wrong++;
      print_message("%s has other values than its JSON\n", name);
    }
    check_round_trips(name, etk_config_root(seen));
    etk_config_free(seen);
  }
  etk_config_free(wanted);
}

static void check_invalid(const char *name, const char *bytes, size_t size) {
  etk_config *seen = NULL;
  etk_error e = ETK_ERROR_INIT;
  counts.invalid++;
  etk_status status = etk_config_parse(&e, &seen, name, bytes, size, ETK_CONFIG_AUTO);
  bool placed = strncmp(e.message, name, strlen(name)) == 0 && e.message[strlen(name)] == ':';
  if (getenv("ETK_SHOW_MESSAGES")) print_message("%s\n", e.message);
  if (status == ETK_E_FORMAT && placed) return;
  counts.wrong++;
  print_message("%s: %s\n", name, status ? e.message : "accepted although it is not TOML");
  if (seen) etk_config_free(seen);
}

static void check_case(const char *folder, const char *name) {
  char *path = etk_path_join(folder, name), *bytes;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_read(&e, &bytes, &size, path, 1 << 20)) fail_msg("%s", e.message);
  char *exact = malloc(size ? size : 1); /* so that a sanitizer sees a read past the end */
  assert_non_null(exact);
  memcpy(exact, bytes, size);
  if (strncmp(name, "valid/", 6) == 0) check_valid(folder, name, exact, size);
  else check_invalid(name, exact, size);
  free(exact);
  etk_free(bytes);
  etk_free(path);
}

static void run_cases(void) {
  static bool done;
  char *folder = suite_folder("toml-test"), *list;
  if (!folder) skip();
  if (!done) {
    size_t size;
    char *path = etk_path_join(folder, "files-toml-1.0.0");
    assert_int_equal(etk_fs_read(NULL, &list, &size, path, 1 << 20), ETK_OK);
    for (char *line = list, *stop; *line; line = stop) {
      stop = line + strcspn(line, "\n");
      if (*stop) *stop++ = 0;
      if (has_ending(line, ".toml")) check_case(folder, line);
    }
    etk_free(list);
    etk_free(path);
    done = true;
  }
  etk_free(folder);
}

static void every_case_of_toml_1_0_is_as_it_should_be(void **state) {
  (void)state;
  run_cases();
  assert_int_equal(counts.wrong, 0);
  assert_true(counts.valid >= 210 && counts.invalid >= 499); /* as many as the suite lists */
}

static void every_valid_case_is_written_and_read_again_equal(void **state) {
  (void)state;
  run_cases();
  assert_int_equal(counts.wrong_round, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case_of_toml_1_0_is_as_it_should_be),
      cmocka_unit_test(every_valid_case_is_written_and_read_again_equal),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  bool all = counts.wrong + counts.wrong_round == 0;
  if (counts.valid)
    printf("# toml-test 1.0.0: %zu valid, %zu invalid, %s\n", counts.valid, counts.invalid,
           all ? "all as they should be" : "NOT all as they should be");
  return failed;
}
