/* Runs: the record's files, read back; the services that a command's threads call; the marshalling of a call. */
#include "run.h"

#include "marshal.h"
#include "run_list.h"

#include "../interpose.h"

#include <etk/fs.h>
#include <math.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char state_path[256];

/* ---- marshalling: a command whose table is made by the same macros as a plugin's ---- */

#define MIX_ARGS(ARG)                                                                                                                                \
  ARG(int, a, REQUIRED, "", "")                                                                                                                      \
  ARG(real, b, REQUIRED, "", "") ARG(flag, c, OPTIONAL, "", "") ARG(text, d, OPTIONAL, "", "") ARG(path, e, VARIADIC, "", "")
#define MIX_OPTIONS(OPT)                                                                                                                             \
  OPT(flag, f, "no", "", "", "", 0, "")                                                                                                              \
  OPT(int, g, "1", "", "", "", 0, "") OPT(map, h, "-", "", "", "", 0, "") OPT(reals, i, "-", "", "", "", 0, "")                                      \
      OPT(flag, j, "yes", "", "", "", 0, "")
#define COMMANDS(CMD) CMD(mix, MIX_ARGS, MIX_OPTIONS, 0, "Everything at once")
ETK_PROJECT("mix", "1.0.0", "For this test", COMMANDS)

static char seen[512];
static etk_status mix_run(etk_run *run, int64_t a, double b, bool c, const char *d, struct etk_texts e, const struct mix_options *o) {
  (void)run;
  snprintf(seen, sizeof seen, "%lld %g %d %s %zu %s | %u %d %lld %zu %s %zu %g %d", (long long)a, b, c, d ? d : "NULL", e.count,
           e.count ? e.items[0] : "-", (unsigned)(o->struct_size == sizeof *o), o->f, (long long)o->g, o->h.count, o->h.count ? o->h.values[0] : "-",
           o->i.count, o->i.count ? o->i.items[0] : 0.0, o->j);
  return 42;
}

static etk_status call_mix(etk_error *e, etk_status *returned, const etk_value *arguments, const etk_value *options,
                           const etk_project *project) {
  struct manifest manifest;
  etk_status status = manifest_from_project(e, &manifest, &etk_project_v1);
  if (status) return status;
  struct resolved resolved = {&manifest, &manifest.commands[0], (etk_value *)(uintptr_t)arguments, (etk_value *)(uintptr_t)options};
  struct etk_run run = {&host_services};
  status = marshal_call(e, returned, &run, project, marshal_row(project, "mix"), &resolved);
  manifest_fini(&manifest);
  return status;
}

static const char *const paths[] = {"p", "q"}, *const keys[] = {"k"}, *const map_values[] = {"v"};
static const double numbers[] = {2.5, 1};
static const etk_value all_arguments[] = {{.source = 6, .integer = -5},
                                             {.source = 6, .real = 0.5},
                                             {.source = 6, .integer = 1},
                                             {.source = 6, .text = "text"},
                                             {.source = 6, .texts = {paths, 2}}};
static const etk_value all_options[] = {{.source = 6, .integer = 1}, {.source = 6, .integer = 7}, {.source = 6, .map = {keys, map_values, 1}},
                                           {.source = 6, .reals = {numbers, 2}}, {.source = 1, .integer = 0}};

static void every_kind_arrives(void **state) {
  etk_error e = ETK_ERROR_INIT;
  etk_status returned = 0;
  (void)state;
  assert_int_equal(call_mix(&e, &returned, all_arguments, all_options, &etk_project_v1), ETK_OK);
  assert_string_equal(seen, "-5 0.5 1 text 2 p | 1 1 7 1 v 2 2.5 0");
  assert_int_equal(returned, 42);
}

static void unset_values_arrive_as_zero(void **state) {
  static const etk_value nothing[5] = {{0}};
  etk_error e = ETK_ERROR_INIT;
  etk_status returned = 0;
  (void)state;
  assert_int_equal(call_mix(&e, &returned, nothing, nothing, &etk_project_v1), ETK_OK);
  assert_string_equal(seen, "0 0 0 NULL 0 - | 1 0 0 0 - 0 0 0");
}

/* A host that knows less than the plugin: rows are longer than it thinks, and the struct ends with fields it does not know. */
static void grown_rows_and_structs_are_filled(void **state) {
  struct grown_row {
    etk_option_row row;
    void *more;
  } rows[5];
  etk_project project = etk_project_v1;
  etk_command_row command = *etk_project_v1.commands;
  etk_error e = ETK_ERROR_INIT;
  etk_status returned = 0;
  (void)state;
  for (size_t i = 0; i < 5; i++) rows[i] = (struct grown_row){command.options[i], NULL};
  command.options = &rows[0].row;
  project.option_stride = sizeof rows[0];
  project.commands = &command;
  assert_int_equal(call_mix(&e, &returned, all_arguments, all_options, &project), ETK_OK);
  assert_string_equal(seen, "-5 0.5 1 text 2 p | 1 1 7 1 v 2 2.5 0");
}

static void a_row_outside_the_struct_is_refused(void **state) {
  etk_project project = etk_project_v1;
  etk_command_row command = *etk_project_v1.commands;
  etk_option_row rows[5];
  etk_error e = ETK_ERROR_INIT;
  etk_status returned = 0;
  (void)state;
  for (size_t i = 0; i < 5; i++) rows[i] = command.options[i];
  rows[4].offset = command.options_size;
  command.options = rows;
  project.commands = &command;
  assert_int_equal(call_mix(&e, &returned, all_arguments, all_options, &project), ETK_E_FORMAT);
  assert_non_null(strstr(e.message, "option j"));
}

static bool call_once(void *user) {
  etk_status returned = 0;
  (void)user;
  return !call_mix(NULL, &returned, all_arguments, all_options, &etk_project_v1);
}

static void a_call_survives_missing_memory(void **state) {
  (void)state;
  assert_true(interpose_sweep(call_once, NULL) > 0);
}

/* ---- records ---- */

static struct host host;

static struct record *open_record(void) {
  struct record *record;
  host = (struct host){.program = "t", .quiet = true};
  record_open(&record, &host);
  assert_non_null(record);
  return record;
}

static void end_record(struct record *record) {
  record_close(record);
  etk_arena_fini(&host.arena);
}

static char *read_in(const char *dir, const char *name) {
  char *path = etk_path_join(dir, name), *text = NULL;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_read(&e, &text, &size, path, 1 << 24)) print_message("%s\n", e.message);
  etk_free(path);
  return text;
}

static void ids_sort_by_time(void **state) {
  char before[64] = "";
  (void)state;
  int64_t last_ms = 0;
  for (int i = 0; i < 50; i++) {
    while (unix_ms() == last_ms) {} /* ids of one millisecond may stand in any order */
    struct record *record = open_record();
    last_ms = unix_ms();
    assert_true(strcmp(before, record->id) < 0);
    snprintf(before, sizeof before, "%s", record->id);
    end_record(record);
  }
}

static void metrics_read_back(void **state) {
  struct record *record = open_record();
  struct run_list runs;
  struct run_entry *run;
  struct metric_summary summary[4];
  etk_error e = ETK_ERROR_INIT;
  json_t *lines;
  char id[64];
  (void)state;
  for (int64_t step = 1; step <= 1000; step++) record_metric(record, "loss \"x\"", step, 1.0 / (double)step);
  record_metric(record, "odd", 3, INFINITY);
  snprintf(id, sizeof id, "%s", record->id);
  record_close(record);
  assert_int_equal(run_list_read(&e, &runs, &host), ETK_OK);
  assert_int_equal(run_find(&e, &run, &runs, id), ETK_OK);
  assert_int_equal(run_lines(&e, &lines, run, "metrics.jsonl"), ETK_OK);
  assert_int_equal(json_array_size(lines), 1001);
  assert_int_equal(metrics_summary(summary, 4, lines), 2);
  assert_string_equal(summary[0].name, "loss \"x\"");
  assert_int_equal(summary[0].last_step, 1000);
  assert_true(summary[0].last == 0.001 && summary[0].greatest == 1.0); /* exact: numbers are written in their shortest form that reads back equal */
  assert_true(isnan(summary[1].last));
  json_decref(lines);
  run_list_free(&runs);
  etk_arena_fini(&host.arena);
}

static void a_line_that_was_cut_is_left_out(void **state) {
  struct record *record = open_record();
  struct run_list runs;
  struct run_entry *run;
  etk_error e = ETK_ERROR_INIT;
  json_t *lines;
  char id[64];
  (void)state;
  record_metric(record, "loss", 1, 1);
  record_flush(record);
  assert_int_equal(write(record->metrics, "{\"name\":\"lo", 11), 11);
  snprintf(id, sizeof id, "%s", record->id);
  record_close(record);
  assert_int_equal(run_list_read(&e, &runs, &host), ETK_OK);
  assert_int_equal(run_find(&e, &run, &runs, id), ETK_OK);
  assert_string_equal(run->status, "unreadable"); /* there is no run.json */
  assert_int_equal(run_lines(&e, &lines, run, "metrics.jsonl"), ETK_OK);
  assert_int_equal(json_array_size(lines), 1);
  json_decref(lines);
  run_list_free(&runs);
  etk_arena_fini(&host.arena);
}

static void a_full_disk_ends_the_record_and_not_the_work(void **state) {
  struct record *record = open_record();
  struct rlimit old, small;
  (void)state;
  host.quiet = false;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 1000;
  for (int64_t step = 0; step < 10; step++) record_metric(record, "loss", step, 1);
  record_flush(record);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  for (int64_t step = 10; step < 1000; step++) record_metric(record, "loss", step, 1);
  record_flush(record);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  assert_true(record->broken);
  char *text = read_in(record->dir, "metrics.jsonl");
  assert_non_null(text);
  assert_true(strlen(text) <= 1000 && strlen(text) > 600);
  assert_int_equal(text[strlen(text) - 1], '\n');
  etk_free(text);
  end_record(record);
}

static void a_process_is_known_by_its_start(void **state) {
  (void)state;
#ifdef __linux__
  assert_true(process_started((long)getpid()) > 0);
  assert_true(process_started((long)getpid()) >= process_started(1));
#endif
  assert_int_equal(process_started(999999999), 0);
}

static void times_are_iso(void **state) {
  char out[32];
  (void)state;
  assert_string_equal(iso_time(out, sizeof out, 0), "1970-01-01T00:00:00.000Z");
  /* 2038-01-19T03:14:07Z is the last second of 32 signed bits */
  assert_string_equal(iso_time(out, sizeof out, 2147483647999), "2038-01-19T03:14:07.999Z");
}

/* ---- services from many threads ---- */

static void *report(void *user) {
  struct run *run = user;
  for (int i = 0; i < 300; i++) {
    etk_run_metric(&run->base, "shared", i, i);
    etk_run_log(&run->base, 0, "line %d", i);
    etk_run_progress(&run->base, "work", i, 300, NULL);
    etk_run_result_int(&run->base, "last", i);
    if (etk_run_cancelled(&run->base)) break;
  }
  return NULL;
}

static void threads_may_report_at_once(void **state) {
  struct record *record = open_record();
  struct manifest manifest = {0};
  struct manifest_command command = {.name = "t"};
  struct resolved resolved = {&manifest, &command, NULL, NULL};
  struct run run = {.base = {&host_services}, .host = &host, .resolved = &resolved, .record = record};
  pthread_t threads[4];
  (void)state;
  host.progress = "off";
  pthread_mutex_init(&run.lock, NULL);
  services_start(&run);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, report, &run), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  services_stop(&run);
  char *text = read_in(record->dir, "metrics.jsonl");
  size_t lines = 0;
  for (const char *p = text; p && *p; p++) lines += *p == '\n';
  assert_int_equal(lines, 1200);
  assert_int_equal(run.results.count, 1);
  etk_free(text);
  results_free(&run.results);
  pthread_mutex_destroy(&run.lock);
  end_record(record);
}

static int remove_state(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, state_path);
}

int main(void) {
  const char *dir = getenv("ETK_TMP");
  snprintf(state_path, sizeof state_path, "%s/etk-run-%ld", dir && *dir ? dir : "/tmp", (long)getpid());
  setenv("EFFICIENTAI_STATE_DIR", state_path, 1);
  signal(SIGXFSZ, SIG_IGN); /* as the host does */
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind_arrives),
                                     cmocka_unit_test(unset_values_arrive_as_zero),
                                     cmocka_unit_test(grown_rows_and_structs_are_filled),
                                     cmocka_unit_test(a_row_outside_the_struct_is_refused),
                                     cmocka_unit_test(a_call_survives_missing_memory),
                                     cmocka_unit_test(ids_sort_by_time),
                                     cmocka_unit_test(metrics_read_back),
                                     cmocka_unit_test(a_line_that_was_cut_is_left_out),
                                     cmocka_unit_test(a_full_disk_ends_the_record_and_not_the_work),
                                     cmocka_unit_test(a_process_is_known_by_its_start),
                                     cmocka_unit_test(times_are_iso),
                                     cmocka_unit_test(threads_may_report_at_once)};
  return cmocka_run_group_tests_name("run", tests, NULL, remove_state);
}
