/* test: the tests that plugins ship, each in a child process of its own. */
#include "builtin.h"
#include "child_run.h"
#include "report.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/selftest.h>
#include <unistd.h>

#define TEST_ARGS(ARG) ARG(text, namespace, OPTIONAL, "1..64", "whose tests; or --all")
#define TEST_OPTIONS(OPT)                                                                                                     \
  OPT(flag, all, "no", "", "", "a", ETK_LOCAL, "the tests of every project")                                                  \
  OPT(text, match, "-", "1..", "", "m", ETK_LOCAL, "only tests whose name holds this")                                        \
  OPT(flag, parallel, "no", "", "", "p", ETK_LOCAL, "as many at a time as there are cores")                                   \
  OPT(flag, coverage, "no", "", "", "c", ETK_LOCAL, "which commands the tests exercise, and which they do not")               \
  OPT(duration, timeout, "120s", "1s..", "", "", ETK_LOCAL, "a test that takes longer has failed")
#define COMMANDS(CMD) CMD(test, TEST_ARGS, TEST_OPTIONS, 0, "Run the tests that projects ship, on this machine")
BUILTIN(test, "Run the tests that projects ship, on this machine", COMMANDS)

enum { CASES_MOST = 10000 };

struct test {
  const char *name, *covers;
  char dir[64];
  const char *state; /* passed, failed, skipped; NULL: not run */
  struct child_result result;
};
struct suite {
  const struct plugin *plugin;
  struct manifest manifest;
  bool has_manifest;
  const char *state; /* tested, untested, broken */
  struct child_result listing;
  struct test *tests;
  size_t count, passed, failed, skipped;
  int64_t wall_ns;
};
struct session {
  struct host *host;
  const struct test_options *options;
  struct plugin_list list;
  struct suite *suites;
  size_t count;
  /* of the suite at work */
  struct suite *suite;
};

/* ---- in the child ---- */

static etk_status find_suite(etk_error *e, const etk_selftest **out, struct loaded *loaded) {
  const etk_selftest *suite = loaded->project->query ? loaded->project->query(ETK_SELFTEST_ID) : NULL;
  *out = suite;
  if (!suite) return ETK_OK;
  if (suite->struct_size < sizeof *suite || suite->stride < sizeof(etk_selftest_case) || !suite->cases)
    return etk_fail(e, ETK_E_FORMAT, "its %s table has %u bytes and rows of %u, at least %zu and %zu are wanted; it must be built again", ETK_SELFTEST_ID, suite->struct_size,
                    suite->stride, sizeof *suite, sizeof(etk_selftest_case));
  if (!suite->count || suite->count > CASES_MOST) return etk_fail(e, ETK_E_FORMAT, "its %s table has %u tests; 1 to %d are wanted", ETK_SELFTEST_ID, suite->count, CASES_MOST);
  return ETK_OK;
}

static const etk_selftest_case *case_at(const etk_selftest *suite, size_t index) {
  return (const etk_selftest_case *)(const void *)((const char *)suite->cases + index * suite->stride);
}

static etk_status list_body(etk_error *e, struct loaded *loaded, etk_run *run, etk_text *answer, void (*flush)(void), void *user) {
  const etk_selftest *suite;
  (void)run, (void)flush, (void)user;
  etk_status status = find_suite(e, &suite, loaded);
  for (size_t i = 0; !status && suite && i < suite->count; i++) {
    const etk_selftest_case *c = case_at(suite, i);
    if (!c->name || !*c->name || !c->run) return etk_fail(e, ETK_E_FORMAT, "its test %zu has no %s", i + 1, c->run ? "name" : "function");
    etk_text_append(answer, c->name, strlen(c->name) + 1);
    etk_text_append(answer, c->covers ? c->covers : "", c->covers ? strlen(c->covers) + 1 : 1);
  }
  return status;
}

static etk_status test_body(etk_error *e, struct loaded *loaded, etk_run *run, etk_text *answer, void (*flush)(void), void *user) {
  const etk_selftest *suite;
  (void)answer, (void)flush;
  etk_status status = find_suite(e, &suite, loaded);
  if (!status && !suite) status = etk_fail(e, ETK_E_CHECK, "its query does not answer %s any more", ETK_SELFTEST_ID);
  return status ? status : case_at(suite, *(const size_t *)user)->run(run);
}

/* ---- one suite ---- */

static etk_status read_list(etk_error *e, struct suite *suite, const char *match) {
  const char *p = suite->listing.answer.data, *end = p ? p + suite->listing.answer.size : p;
  size_t count = 0;
  for (const char *q = p; q < end; q += strlen(q) + 1) count++;
  suite->tests = etk_calloc(count / 2 + 1, sizeof *suite->tests);
  if (!suite->tests) return etk_fail_memory(e);
  while (p < end) {
    struct test test = {.name = p, .covers = p + strlen(p) + 1};
    p = test.covers + strlen(test.covers) + 1;
    if (!match || strstr(test.name, match)) suite->tests[suite->count++] = test;
  }
  return ETK_OK;
}

static void print_output(const struct child_result *result) {
  const char *p = result->output.data;
  while (p && *p) {
    size_t size = strcspn(p, "\n");
    printf("      | %.*s\n", (int)size, p);
    p += size + (p[size] == '\n');
  }
}

static void print_test(const struct session *s, const struct test *test) {
  const struct host *host = s->host;
  bool failed = !strcmp(test->state, "failed");
  char time[32];
  if (host->json || (!failed && !host->verbose && strcmp(test->state, "skipped"))) return;
  const char *style = !host->out_color ? "" : failed ? STYLE_RED : !strcmp(test->state, "skipped") ? STYLE_YELLOW : STYLE_DIM;
  printf("  %s%-7s%s %s (%s)\n", style, test->state, *style ? STYLE_RESET : "", test->name, etk_format_duration(time, sizeof time, test->result.wall_ns));
  if (test->result.error.status) printf("      %s\n", test->result.error.message);
  if (failed || host->verbose > 1) print_output(&test->result);
  fflush(stdout);
}

static void test_done(void *user, size_t index) {
  struct session *s = user;
  struct test *test = &s->suite->tests[index];
  etk_status status = test->result.error.status;
  test->state = !status ? "passed" : status == ETK_E_UNAVAILABLE && !test->result.crashed ? "skipped" : "failed";
  if (*test->dir) etk_fs_remove_tree(NULL, test->dir);
  if (status == ETK_E_CANCELLED) return;
  s->suite->passed += !status;
  s->suite->skipped += *test->state == 's';
  s->suite->failed += *test->state == 'f';
  print_test(s, test);
}

/* child_run_all writes its results in a row, so each test's is copied back from there as it ends. */
struct batch {
  struct session *session;
  struct child_result *results;
};
static void batch_done(void *user, size_t index) {
  struct batch *batch = user;
  batch->session->suite->tests[index].result = batch->results[index];
  test_done(batch->session, index);
}

static etk_status make_dir(etk_error *e, struct test *test) {
  const char *temporary = getenv("TMPDIR");
  int size = snprintf(test->dir, sizeof test->dir, "%s/etk-test-XXXXXX", temporary && *temporary ? temporary : "/tmp");
  if (size < 0 || (size_t)size >= sizeof test->dir) snprintf(test->dir, sizeof test->dir, "/tmp/etk-test-XXXXXX");
  if (mkdtemp(test->dir)) return ETK_OK;
  etk_status status = etk_fail_errno(e, errno, "cannot make the temporary folder %s", test->dir);
  *test->dir = '\0';
  return status;
}

static etk_status run_tests(etk_error *e, struct session *s, struct suite *suite) {
  struct child_run *jobs = etk_calloc(suite->count + 1, sizeof *jobs);
  size_t *indices = etk_calloc(suite->count + 1, sizeof *indices);
  struct batch batch = {s, etk_calloc(suite->count + 1, sizeof *batch.results)};
  etk_status status = jobs && indices && batch.results ? ETK_OK : etk_fail_memory(e);
  const char *p = suite->listing.answer.data;
  size_t at = 0;
  for (size_t i = 0; !status && i < suite->count; i++) {
    while (p != suite->tests[i].name) at++, p += strlen(p) + 1, p += strlen(p) + 1; /* its number in the plugin's table */
    indices[i] = at;
    status = make_dir(e, &suite->tests[i]);
    jobs[i] = (struct child_run){s->host, suite->plugin, s->options->timeout, suite->tests[i].dir, test_body, &indices[i]};
  }
  if (!status) {
    etk_hardware hardware;
    size_t at_once = 1;
    if (s->options->parallel) {
      etk_hardware_get(&hardware);
      at_once = (size_t)hardware.usable_cores;
    }
    s->suite = suite;
    child_run_all(batch.results, jobs, suite->count, at_once, batch_done, &batch);
    for (size_t i = 0; i < suite->count && !status; i++)
      if (suite->tests[i].result.error.status == ETK_E_CANCELLED) status = etk_fail(e, ETK_E_CANCELLED, "stopped on request");
  }
  for (size_t i = 0; status && i < suite->count; i++)
    if (*suite->tests[i].dir) etk_fs_remove_tree(NULL, suite->tests[i].dir);
  etk_free(jobs), etk_free(indices), etk_free(batch.results);
  return status;
}

static etk_status run_suite(etk_error *e, struct session *s, struct suite *suite) {
  struct child_run listing = {s->host, suite->plugin, s->options->timeout, NULL, list_body, NULL};
  int64_t started = etk_time_ns();
  if (!s->host->json) printf("%s%s%s\n", s->host->out_color ? STYLE_BOLD : "", suite->plugin->name_space, s->host->out_color ? STYLE_RESET : "");
  etk_status status = child_run(e, &suite->listing, &listing);
  if (status == ETK_E_CANCELLED) return status;
  suite->has_manifest = !plugin_manifest(NULL, &suite->manifest, &s->host->path, suite->plugin);
  if (!status && !suite->listing.answer.size) etk_fail(&suite->listing.error, ETK_E_UNAVAILABLE, "it ships no tests (its query does not answer %s)", ETK_SELFTEST_ID);
  if (suite->listing.error.status) {
    suite->state = status ? "broken" : "untested";
    *e = suite->listing.error;
    if (!s->host->json) printf("  %s: %s\n", suite->state, e->message);
    etk_error_clear(e);
    return ETK_OK;
  }
  suite->state = "tested";
  status = read_list(e, suite, s->options->match);
  if (!status) status = run_tests(e, s, suite);
  suite->wall_ns = etk_time_ns() - started;
  return status;
}

/* ---- what came out ---- */

static bool covered(const struct suite *suite, const char *command) {
  for (size_t i = 0; i < suite->count; i++)
    for (const char *p = suite->tests[i].covers; *p;) {
      char word[64];
      size_t size = strcspn(p, " ");
      snprintf(word, sizeof word, "%.*s", (int)size, p);
      if (etk_text_equal_name(word, command)) return true;
      p += size + strspn(p + size, " ");
    }
  return false;
}

static void coverage_of(etk_text *out, const struct suite *suite, bool wanted, const char *before, const char *between, bool json) {
  size_t count = 0;
  for (size_t i = 0; suite->has_manifest && i < suite->manifest.command_count; i++) {
    const struct manifest_command *command = &suite->manifest.commands[i];
    char shown[64];
    if (command->flags & ETK_HIDDEN || covered(suite, command->name) != wanted) continue;
    etk_text_puts(out, count++ ? between : before);
    if (json) put_json(out, shown_name(shown, sizeof shown, command->name));
    else etk_text_puts(out, shown_name(shown, sizeof shown, command->name));
  }
}

static void suite_json(etk_text *out, const struct suite *suite, bool coverage) {
  etk_text_puts(out, "{\"namespace\":");
  put_json(out, suite->plugin->name_space);
  etk_text_printf(out, ",\"state\":\"%s\",\"reason\":", suite->state ? suite->state : "not run");
  put_json(out, suite->listing.error.status ? suite->listing.error.message : NULL);
  etk_text_printf(out, ",\"passed\":%zu,\"failed\":%zu,\"skipped\":%zu,\"wall_ms\":", suite->passed, suite->failed, suite->skipped);
  etk_text_real(out, (double)(suite->wall_ns / 1000) / 1000.0);
  etk_text_puts(out, ",\"tests\":[");
  bool first = true;
  for (size_t i = 0; i < suite->count; i++) {
    const struct test *test = &suite->tests[i];
    if (!test->state) continue;
    etk_text_puts(out, first ? "{\"name\":" : ",{\"name\":");
    first = false;
    put_json(out, test->name);
    etk_text_printf(out, ",\"state\":\"%s\",\"message\":", test->state);
    put_json(out, test->result.error.status ? test->result.error.message : NULL);
    etk_text_puts(out, ",\"wall_ms\":");
    etk_text_real(out, (double)(test->result.wall_ns / 1000) / 1000.0);
    etk_text_puts(out, ",\"output\":");
    etk_text_json(out, test->result.output.size ? test->result.output.data : "", test->result.output.size);
    etk_text_putc(out, '}');
  }
  etk_text_putc(out, ']');
  if (coverage) {
    etk_text_puts(out, ",\"coverage\":{\"covered\":[");
    coverage_of(out, suite, true, "", ",", true);
    etk_text_puts(out, "],\"uncovered\":[");
    coverage_of(out, suite, false, "", ",", true);
    etk_text_puts(out, "]}");
  }
  etk_text_putc(out, '}');
}

static void print_summary(const struct session *s) {
  static const char *const headers[] = {"NAMESPACE", "STATE", "PASSED", "FAILED", "SKIPPED", "TIME", "COMMANDS TESTED", "NOT TESTED"};
  struct table *table = table_new(headers, s->options->coverage ? 8 : 6);
  for (size_t i = 0; table && i < s->count; i++) {
    const struct suite *suite = &s->suites[i];
    char numbers[3][24], time[32];
    etk_text with = ETK_TEXT_INIT, without = ETK_TEXT_INIT;
    snprintf(numbers[0], 24, "%zu", suite->passed);
    snprintf(numbers[1], 24, "%zu", suite->failed);
    snprintf(numbers[2], 24, "%zu", suite->skipped);
    coverage_of(&with, suite, true, "", " ", false);
    coverage_of(&without, suite, false, "", " ", false);
    bool tested = suite->state && !strcmp(suite->state, "tested");
    const char *cells[] = {suite->plugin->name_space, !suite->state ? "not run" : tested ? (suite->failed ? "failed" : suite->count ? "ok" : "none fits") : suite->state,
                           tested ? numbers[0] : "-", tested ? numbers[1] : "-", tested ? numbers[2] : "-",
                           tested ? etk_format_duration(time, sizeof time, suite->wall_ns) : "-", with.failed || !with.size ? "-" : with.data,
                           without.failed || !without.size ? "-" : without.data};
    table_add(table, cells);
    etk_text_free(&with), etk_text_free(&without);
  }
  printf("\n");
  if (table) table_print(table, stdout, s->host->out_color, 0);
  table_free(table);
}

static int settle(struct session *s, const etk_error *stopped) {
  size_t passed = 0, failed = 0, skipped = 0, broken = 0, untested = 0;
  for (size_t i = 0; i < s->count; i++) {
    const struct suite *suite = &s->suites[i];
    passed += suite->passed, failed += suite->failed, skipped += suite->skipped;
    broken += suite->state && !strcmp(suite->state, "broken");
    untested += suite->state && !strcmp(suite->state, "untested");
  }
  etk_error e = *stopped;
  if (!e.status && failed + broken) etk_fail(&e, ETK_E_CHECK, "%zu test%s failed, %zu project%s broken", failed, failed == 1 ? "" : "s", broken, broken == 1 ? "" : "s");
  else if (!e.status && untested == s->count) etk_fail(&e, ETK_E_UNAVAILABLE, "nothing was tested: %s", s->count == 1 ? "this project ships no tests" : "no project ships tests");
  else if (!e.status && !passed && !skipped) etk_fail(&e, ETK_E_USAGE, "no test's name holds '%s'", s->options->match ? s->options->match : "");
  if (!s->host->json) {
    print_summary(s);
    fflush(stdout);
    return e.status ? host_error(s->host, &e, 0, NULL) : 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"passed\":%zu,\"failed\":%zu,\"skipped\":%zu,\"broken\":%zu,\"untested\":%zu,\"namespaces\":[", passed, failed, skipped, broken, untested);
  for (size_t i = 0; i < s->count; i++) {
    if (i) etk_text_putc(&text, ',');
    suite_json(&text, &s->suites[i], s->options->coverage);
  }
  etk_text_puts(&text, "]}");
  host_print_document(s->host, "test", e.status ? "failed" : "ok", text.failed ? NULL : text.data, e.status ? &e : NULL);
  etk_text_free(&text);
  return e.status ? etk_status_exit_code(e.status) : 0;
}

static void session_fini(struct session *s) {
  for (size_t i = 0; s->suites && i < s->count; i++) {
    struct suite *suite = &s->suites[i];
    for (size_t k = 0; k < suite->count; k++) child_result_free(&suite->tests[k].result);
    etk_free(suite->tests);
    child_result_free(&suite->listing);
    if (suite->has_manifest) manifest_fini(&suite->manifest);
  }
  etk_free(s->suites);
  plugin_list_free(&s->list);
}

static int no_name(struct host *host, const struct plugin_list *list) {
  etk_error e = ETK_ERROR_INIT;
  etk_text hint = ETK_TEXT_INIT;
  etk_fail(&e, ETK_E_USAGE, "test wants a namespace, or --all");
  etk_text_puts(&hint, list->count ? "namespaces here:\n" : "no plugin was found; 'efficientai-toolkit info' shows where they are looked for\n");
  for (size_t i = 0; i < list->count; i++)
    if (!list->items[i].shadowed) etk_text_printf(&hint, "  %s\n", list->items[i].name_space);
  int code = host_error(host, &e, 0, hint.failed ? NULL : hint.data);
  etk_text_free(&hint);
  return code;
}

static int test_run(struct host *host, const char *name, const struct test_options *o) {
  struct session s = {.host = host, .options = o};
  struct plugin one;
  etk_error e = ETK_ERROR_INIT;
  if (name && o->all) {
    etk_fail(&e, ETK_E_USAGE, "test takes a namespace or --all, not both ('%s' was given)", name);
    return host_error(host, &e, 0, NULL);
  }
  if (name) {
    struct manifest manifest;
    int code = host_find(host, name, &one, &manifest);
    if (code) return code;
    manifest_fini(&manifest);
  } else if (discover_all(&e, &s.list, &host->path)) return host_error(host, &e, 0, NULL);
  if (!name && (!o->all || !s.list.count)) {
    int code = no_name(host, &s.list);
    plugin_list_free(&s.list);
    return code;
  }
  s.suites = etk_calloc(name ? 1 : s.list.count, sizeof *s.suites);
  etk_status status = s.suites ? ETK_OK : etk_fail_memory(&e);
  if (!status && name) s.suites[s.count++].plugin = &one;
  for (size_t i = 0; !status && i < s.list.count; i++)
    if (!s.list.items[i].shadowed) s.suites[s.count++].plugin = &s.list.items[i];
  for (size_t i = 0; !status && i < s.count; i++) status = run_suite(&e, &s, &s.suites[i]);
  int code = s.suites ? settle(&s, &e) : host_error(host, &e, 0, NULL);
  session_fini(&s);
  return code;
}
