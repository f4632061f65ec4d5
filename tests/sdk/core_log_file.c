/* Tests of the log files of etk/log.h: lines, rotation, several processes, disks that fill, clocks that jump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/log_internal.h"
#include "etk/fs.h"
#include "etk/text.h"
#include "../interpose.h"
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define T0 INT64_C(1792471742123) /* 2026-10-20T04:49:02.123Z by GNU date */
static char folder[256], path[512];
static int64_t wall = T0, steady = 1000;
static int64_t test_wall(void) { return wall; }
static int64_t test_steady(void) { return steady; }

typedef struct seen {
  int count;
  char message[9000];
} seen;
static seen told;
static void keep(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  (void)user, (void)level, (void)unix_ms;
  told.count++;
  snprintf(told.message, sizeof told.message, "%s", message);
}

static int begin(void **state) {
  (void)state;
  const char *base = getenv("ETK_TMP") ? getenv("ETK_TMP") : "/tmp";
  snprintf(folder, sizeof folder, "%s/etk-log-XXXXXX", base);
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/logs/a.log", folder);
  wall = T0, steady = 1000;
  etk__log_set_clock(test_wall, test_steady);
  told = (seen){0};
  etk_log_set_sink(keep, NULL);
  etk_log_set_level(ETK_LOG_WARNING);
  return 0;
}

static int end(void **state) {
  (void)state;
  etk__log_set_clock(NULL, NULL);
  etk_log_set_sink(NULL, NULL);
  etk_log_set_level(ETK_LOG_WARNING);
  etk_log_context("run", NULL);
  etk_log_context("namespace", NULL);
  return etk_fs_remove_tree(NULL, folder);
}

static etk_log_file *open_log(etk_log_format format, int64_t max_bytes, int64_t max_age_s, int kept) {
  etk_log_file *file = NULL;
  etk_error e = ETK_ERROR_INIT;
  etk_log_file_options options = {sizeof options, path, format, ETK_LOG_INFO, max_bytes, max_age_s, kept};
  if (etk_log_file_open(&e, &file, &options)) fail_msg("%s", e.message);
  return file;
}

/* The whole of <path><suffix>, freed by the caller; NULL: there is no such file. */
static char *contents(const char *suffix) {
  char name[600], *bytes = NULL;
  size_t size;
  snprintf(name, sizeof name, "%s%s", path, suffix);
  return etk_fs_read(NULL, &bytes, &size, name, 64 << 20) ? NULL : bytes;
}

static void expect(const char *suffix, const char *wanted) {
  char *bytes = contents(suffix);
  assert_non_null(bytes);
  assert_string_equal(bytes, wanted);
  etk_free(bytes);
}

static bool there(const char *suffix) {
  char name[600];
  snprintf(name, sizeof name, "%s%s", path, suffix);
  return etk_fs_exists(name);
}

static size_t lines_of(const char *suffix) {
  size_t count = 0;
  char *bytes = contents(suffix);
  for (const char *p = bytes; p && *p; p++) count += *p == '\n';
  etk_free(bytes);
  return count;
}

/* ---- lines ---- */

static void a_json_line_has_time_level_message_context_and_fields(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_JSON, 0, 0, 0);
  etk_log_context("run", "r1");
  etk_log_context("namespace", "demo \"x\"");
  const etk_log_field fields[] = {{.name = "step", .kind = ETK_LOG_FIELD_INT, .integer = -7},
                                  {.name = "loss", .kind = ETK_LOG_FIELD_REAL, .real = 0.1},
                                  {.name = "rate", .kind = ETK_LOG_FIELD_REAL, .real = 1e-7},
                                  {.name = "who", .kind = ETK_LOG_FIELD_TEXT, .text = "a\nb"},
                                  {.name = "none", .kind = ETK_LOG_FIELD_TEXT},
                                  {.name = "saved", .kind = ETK_LOG_FIELD_FLAG, .integer = 1}};
  etk_log_event(ETK_LOG_INFO, "epoch 100% done", fields, 6);
  expect("", "{\"timestamp\":\"2026-10-20T04:49:02.123Z\",\"level\":\"info\",\"message\":\"epoch 100% done\",\"run\":\"r1\",\"namespace\":\"demo \\\"x\\\"\","
             "\"step\":-7,\"loss\":0.1,\"rate\":1e-7,\"who\":\"a\\nb\",\"none\":null,\"saved\":true}\n");
  etk_log_file_close(file);
}

static void a_plain_line_is_one_line_whatever_it_holds(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  etk_log_context("run", "r1");
  const etk_log_field fields[] = {{.name = "name", .kind = ETK_LOG_FIELD_TEXT, .text = "a b"}, {.name = "n", .kind = ETK_LOG_FIELD_INT, .integer = 3}};
  etk_log_event(ETK_LOG_WARNING, "two\nlines \033[31m \xC2\x85 \xFF", fields, 2);
  expect("", "2026-10-20T04:49:02.123Z warning two\\nlines \\u001b[31m \\u0085 \xEF\xBF\xBD run=r1 name=\"a b\" n=3\n");
  etk_log_file_close(file);
}

static void a_file_has_a_level_of_its_own(void **state) {
  (void)state;
  assert_int_equal(etk_log_threshold(), ETK_LOG_WARNING);
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  assert_int_equal(etk_log_get_level(), ETK_LOG_WARNING);
  assert_int_equal(etk_log_threshold(), ETK_LOG_INFO);
  etk_log(ETK_LOG_INFO, "to the file");
  etk_log(ETK_LOG_DEBUG, "to nobody");
  assert_int_equal(told.count, 0);
  etk_log(ETK_LOG_WARNING, "to both");
  assert_int_equal(told.count, 1);
  assert_string_equal(told.message, "to both");
  assert_int_equal(lines_of(""), 2);
  etk_log_file_close(file);
  assert_int_equal(etk_log_threshold(), ETK_LOG_WARNING);
  etk_log(ETK_LOG_WARNING, "to the sink");
  assert_int_equal(lines_of(""), 2);
}

static void the_sink_gets_fields_without_context(void **state) {
  (void)state;
  etk_log_context("run", "r1");
  const etk_log_field fields[] = {{.name = "n", .kind = ETK_LOG_FIELD_INT, .integer = 3}, {.name = "password", .kind = ETK_LOG_FIELD_TEXT, .text = "hunter2"}};
  etk_log_event(ETK_LOG_ERROR, "done", fields, 2);
  assert_string_equal(told.message, "done n=3 password=***");
}

static void secrets_reach_no_file(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_JSON, 0, 0, 0);
  etk_log_context("run", "token=hunter2");
  const etk_log_field fields[] = {{.name = "db.password", .kind = ETK_LOG_FIELD_TEXT, .text = "hunter2"},
                                  {.name = "body", .kind = ETK_LOG_FIELD_TEXT, .text = "{\"a\":{\"api_key\":\"hunter2\"}}"},
                                  {.name = "pass_code", .kind = ETK_LOG_FIELD_INT, .integer = 424242},
                                  {.name = "tokens", .kind = ETK_LOG_FIELD_INT, .integer = 512}};
  etk_log_event(ETK_LOG_INFO, "Bearer hunter2.hunter2", fields, 4);
  char *text = contents("");
  assert_null(strstr(text, "hunter2"));
  assert_null(strstr(text, "424242"));
  assert_non_null(strstr(text, "\"tokens\":512"));
  etk_free(text);
  etk_log_file_close(file);
}

static void a_field_never_hides_what_a_line_has_anyway(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_JSON, 0, 0, 0);
  etk_log_context("run", "r1");
  const etk_log_field fields[] = {{.name = "message", .kind = ETK_LOG_FIELD_INT, .integer = 1}, {.name = "run", .kind = ETK_LOG_FIELD_INT, .integer = 2}};
  etk_log_event(ETK_LOG_INFO, "m", fields, 2);
  expect("", "{\"timestamp\":\"2026-10-20T04:49:02.123Z\",\"level\":\"info\",\"message\":\"m\",\"run\":\"r1\",\"message_\":1,\"run_\":2}\n");
  etk_log_file_close(file);
}

static void a_line_that_is_too_long_is_cut_and_stays_json(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_JSON, 0, 0, 0);
  char *huge = malloc(100001);
  memset(huge, '\001', 100000);
  huge[100000] = 0;
  const etk_log_field fields[] = {{.name = "a", .kind = ETK_LOG_FIELD_TEXT, .text = huge}, {.name = "b", .kind = ETK_LOG_FIELD_INT, .integer = 5}};
  etk_log_event(ETK_LOG_INFO, huge, fields, 2);
  free(huge);
  char *text = contents("");
  assert_true(strlen(text) <= ETK__LOG_LINE);
  json_t *json = json_loads(text, 0, NULL);
  assert_non_null(json);
  assert_true(json_is_true(json_object_get(json, "cut")));
  assert_int_equal(json_integer_value(json_object_get(json, "b")), 5);
  json_decref(json);
  etk_free(text);
  etk_log_file_close(file);
}

static void context_is_bounded_and_can_be_taken_back(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  char key[64], value[300];
  memset(value, 'v', sizeof value);
  value[299] = 0;
  for (int i = 0; i < 20; i++) {
    snprintf(key, sizeof key, "k%d", i);
    etk_log_context(key, i == 3 ? "three" : value);
  }
  for (int i = 0; i < 20; i++) {
    snprintf(key, sizeof key, "k%d", i);
    if (i != 3) etk_log_context(key, NULL);
  }
  etk_log(ETK_LOG_INFO, "m");
  expect("", "2026-10-20T04:49:02.123Z info    m k3=three\n");
  etk_log_context("k3", NULL);
  etk_log_file_close(file);
}

static void a_sink_that_logs_reaches_files_only(void **state);
static void chatty(void *user, etk_log_level level, int64_t unix_ms, const char *message) {
  keep(user, level, unix_ms, message);
  etk_log(ETK_LOG_ERROR, "from the sink");
}
static void a_sink_that_logs_reaches_files_only(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  etk_log_set_sink(chatty, NULL);
  etk_log(ETK_LOG_ERROR, "once");
  assert_int_equal(told.count, 1);
  assert_int_equal(lines_of(""), 2);
  etk_log_file_close(file);
}

static void a_line_may_go_to_one_file_alone(void **state) {
  (void)state;
  etk_log_file *one = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  snprintf(path, sizeof path, "%s/logs/b.log", folder);
  etk_log_file *other = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  assert_int_equal(etk_log_file_event(NULL, other, ETK_LOG_ERROR, "password=x", NULL, 0), ETK_OK);
  assert_int_equal(etk_log_file_event(NULL, other, ETK_LOG_DEBUG, "below its level", NULL, 0), ETK_OK);
  expect("", "2026-10-20T04:49:02.123Z error   password=*\n");
  snprintf(path, sizeof path, "%s/logs/a.log", folder);
  assert_int_equal(lines_of(""), 0);
  assert_int_equal(told.count, 0);
  etk_log_file_close(other);
  etk_log_file_close(one);
}

/* ---- rotation ---- */

static void a_file_that_would_grow_beyond_its_size_is_rotated(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 100, 0, 2);
  for (int i = 0; i < 9; i++) etk_log(ETK_LOG_INFO, "line %d", i); /* 40 bytes each: two a file */
  expect("", "2026-10-20T04:49:02.123Z info    line 8\n");
  expect(".1", "2026-10-20T04:49:02.123Z info    line 6\n2026-10-20T04:49:02.123Z info    line 7\n");
  expect(".2", "2026-10-20T04:49:02.123Z info    line 4\n2026-10-20T04:49:02.123Z info    line 5\n");
  assert_false(there(".3"));
  struct stat info;
  char name[600];
  snprintf(name, sizeof name, "%s.1", path);
  assert_int_equal(stat(name, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0400);
  etk_log_file_close(file);
}

static void a_line_larger_than_the_limit_is_written_still(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 10, 0, 3);
  etk_log(ETK_LOG_INFO, "one");
  etk_log(ETK_LOG_INFO, "two");
  assert_int_equal(lines_of(""), 1);
  assert_int_equal(lines_of(".1"), 1);
  etk_log_file_close(file);
}

static void a_gap_among_rotated_files_is_filled_before_the_oldest_goes(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 10, 0, 3);
  for (int i = 0; i < 4; i++) etk_log(ETK_LOG_INFO, "%d", i); /* live 3, .1 2, .2 1, .3 0 */
  char name[600];
  snprintf(name, sizeof name, "%s.2", path);
  assert_int_equal(unlink(name), 0);
  etk_log(ETK_LOG_INFO, "4");
  expect(".3", "2026-10-20T04:49:02.123Z info    0\n");
  expect(".2", "2026-10-20T04:49:02.123Z info    2\n");
  expect(".1", "2026-10-20T04:49:02.123Z info    3\n");
  etk_log_file_close(file);
}

static void a_file_is_rotated_by_the_age_of_its_first_line(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_JSON, 0, 3600, 3);
  etk_log(ETK_LOG_INFO, "first");
  wall += 3600 * 1000;
  etk_log(ETK_LOG_INFO, "just in time");
  assert_false(there(".1"));
  etk_log_file_close(file);
  file = open_log(ETK_LOG_JSON, 0, 3600, 3); /* another process: the age is that of the line in the file */
  wall += 1;
  etk_log(ETK_LOG_INFO, "too late");
  assert_int_equal(lines_of(".1"), 2);
  assert_int_equal(lines_of(""), 1);
  etk_log_file_close(file);
}

static void a_clock_that_jumps_back_does_not_rotate(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 3600, 9);
  etk_log(ETK_LOG_INFO, "now");
  wall -= INT64_C(10) * 365 * 86400 * 1000;
  for (int i = 0; i < 50; i++) etk_log(ETK_LOG_INFO, "ten years ago");
  assert_false(there(".1"));
  assert_int_equal(lines_of(""), 51);
  wall += 3600 * 1000 + 1; /* from where it is now, age counts again */
  etk_log(ETK_LOG_INFO, "an hour later");
  assert_int_equal(lines_of(".1"), 51);
  etk_log_file_close(file);
}

/* Days since 1970 by Python's proleptic calendar: 9999-12-31 is 2932896; the kernel allows clocks beyond. */
static void a_clock_out_of_its_mind_keeps_lines_in_shape(void **state) {
  static const struct { int64_t ms; const char *text; } cases[] = {{-450, "1969-12-31T23:59:59.550Z"}, {INT64_C(-1000), "1969-12-31T23:59:59.000Z"},
      {INT64_C(2932896) * 86400000 + 86399999, "9999-12-31T23:59:59.999Z"}, {INT64_C(301800000000473), "9999-12-31T23:59:59.999Z"}, {INT64_C(-90000000000000), "0000-01-01T00:00:00.000Z"}};
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 9);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    wall = cases[i].ms;
    etk_log(ETK_LOG_INFO, "x");
  }
  etk_log_file_close(file);
  FILE *stream = fopen(path, "r");
  assert_non_null(stream);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char line[256];
    assert_non_null(fgets(line, sizeof line, stream));
    line[24] = 0;
    assert_string_equal(line, cases[i].text);
  }
  fclose(stream);
}

static void a_clock_that_jumps_forward_rotates_once(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 3600, 9);
  etk_log(ETK_LOG_INFO, "now");
  wall += INT64_C(10) * 365 * 86400 * 1000;
  for (int i = 0; i < 50; i++) etk_log(ETK_LOG_INFO, "in ten years");
  assert_int_equal(lines_of(".1"), 1);
  wall = T0;
  for (int i = 0; i < 50; i++) etk_log(ETK_LOG_INFO, "back again");
  assert_int_equal(lines_of(""), 100);
  assert_false(there(".2"));
  etk_log_file_close(file);
}

static void a_lock_that_another_process_holds_delays_rotation_only(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 100, 0, 3);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  for (int i = 0; i < 5; i++) etk_log(ETK_LOG_INFO, "line %d", i);
  assert_int_equal(lines_of(""), 5);
  close(fd); /* as the system does for a process that dies */
  etk_log(ETK_LOG_INFO, "line 5");
  assert_int_equal(lines_of(".1"), 5);
  assert_int_equal(lines_of(""), 1);
  assert_int_equal(told.count, 0);
  etk_log_file_close(file);
}

static void a_file_that_another_program_renamed_is_opened_anew(void **state) {
  (void)state;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 3);
  etk_log(ETK_LOG_INFO, "one");
  char name[600];
  snprintf(name, sizeof name, "%s.moved", path);
  assert_int_equal(rename(path, name), 0);
  wall += 1001; /* looked at once a second */
  etk_log(ETK_LOG_INFO, "two");
  assert_int_equal(lines_of(".moved"), 1);
  assert_int_equal(lines_of(""), 1);
  etk_log_file_close(file);
}

/* ---- several processes ---- */

enum { PROCESSES = 2, LINES = 10000 };

static void write_many(int who) {
  etk__log_set_clock(NULL, NULL);
  etk_log_file *file = open_log(ETK_LOG_JSON, 50000, 0, 999);
  for (int i = 0; i < LINES; i++) {
    const etk_log_field fields[] = {{.name = "who", .kind = ETK_LOG_FIELD_INT, .integer = who}, {.name = "i", .kind = ETK_LOG_FIELD_INT, .integer = i}};
    etk_log_event(ETK_LOG_INFO, i % 100 ? "a line" : "a line that is a good deal longer than all the others are", fields, 2);
  }
  etk_log_file_close(file);
}

static void *write_in_thread(void *user) {
  write_many((int)(intptr_t)user);
  return NULL;
}

static unsigned char seen_lines[4][LINES];

static void count_file(const char *suffix) {
  char *text = contents(suffix);
  assert_non_null(text);
  for (char *p = text, *newline; *p; p = newline + 1) {
    newline = strchr(p, '\n');
    assert_non_null(newline);
    json_t *json = json_loadb(p, (size_t)(newline - p), 0, NULL);
    if (!json) fail_msg("a torn line in %s: %.*s", suffix, (int)(newline - p), p);
    int64_t who = json_integer_value(json_object_get(json, "who")), i = json_integer_value(json_object_get(json, "i"));
    assert_in_range(who, 0, 3);
    assert_in_range(i, 0, LINES - 1);
    seen_lines[who][i]++;
    json_decref(json);
  }
  etk_free(text);
}

static void expect_every_line_once(int writers) {
  char suffix[16] = "";
  int files = 0;
  memset(seen_lines, 0, sizeof seen_lines);
  for (; there(suffix) || files == 0; snprintf(suffix, sizeof suffix, ".%d", files)) {
    if (there(suffix)) count_file(suffix);
    files++;
  }
  assert_in_range(files, 20, 999);
  for (int who = 0; who < writers; who++)
    for (int i = 0; i < LINES; i++)
      if (seen_lines[who][i] != 1) fail_msg("line %d of writer %d is there %d times", i, who, seen_lines[who][i]);
}

static void processes_that_rotate_one_file_lose_and_tear_nothing(void **state) {
  (void)state;
  pid_t children[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    assert_true(children[i] >= 0);
    if (children[i] == 0) {
      write_many(i);
      _exit(0);
    }
  }
  for (int i = 0; i < PROCESSES; i++) {
    int status;
    assert_int_equal(waitpid(children[i], &status, 0), children[i]);
    assert_int_equal(status, 0);
  }
  expect_every_line_once(PROCESSES);
}

static void *fill(void *user) {
  int who = (int)(intptr_t)user;
  for (int i = 0; i < LINES; i++) {
    const etk_log_field fields[] = {{.name = "who", .kind = ETK_LOG_FIELD_INT, .integer = who}, {.name = "i", .kind = ETK_LOG_FIELD_INT, .integer = i}};
    etk_log_event(ETK_LOG_INFO, "a line that is long enough to make some files", fields, 2);
  }
  return NULL;
}

static void threads_share_a_file_while_context_changes(void **state) {
  (void)state;
  etk__log_set_clock(NULL, NULL);
  pthread_t threads[2];
  etk_log_file *file = open_log(ETK_LOG_JSON, 50000, 0, 999);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, fill, (void *)(intptr_t)i), 0);
  for (int i = 0; i < 200; i++) etk_log_context("run", i % 2 ? "r1" : NULL);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  etk_log_file_close(file);
  expect_every_line_once(2);
}

static void a_file_may_be_opened_twice_in_a_process(void **state) {
  (void)state;
  pthread_t thread;
  etk_log_file *mine = open_log(ETK_LOG_JSON, 50000, 0, 999); /* every line of the thread below goes to both, so each is there twice */
  assert_int_equal(pthread_create(&thread, NULL, write_in_thread, NULL), 0);
  pthread_join(thread, NULL);
  etk_log_file_close(mine);
  memset(seen_lines, 0, sizeof seen_lines);
  char suffix[16] = "";
  for (int files = 1; there(suffix); snprintf(suffix, sizeof suffix, ".%d", files++)) count_file(suffix);
  for (int i = 0; i < LINES; i++) assert_int_equal(seen_lines[0][i], 2);
}

/* ---- what goes wrong ---- */

static void set_file_limit(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_warns_once_and_is_tried_again_after_a_minute(void **state) {
  (void)state;
  signal(SIGXFSZ, SIG_IGN);
  etk_log_file *file = open_log(ETK_LOG_JSON, -1, 0, 0);
  set_file_limit(1000); /* write(2) cuts the line that crosses it, then fails */
  for (int i = 0; i < 100; i++) etk_log(ETK_LOG_INFO, "line %d", i);
  assert_int_equal(told.count, 1);
  assert_non_null(strstr(told.message, path));
  steady += 59999;
  set_file_limit(RLIM_INFINITY);
  etk_log(ETK_LOG_INFO, "too early");
  steady += 1;
  set_file_limit(1000);
  etk_log(ETK_LOG_INFO, "still full");
  assert_int_equal(told.count, 1);
  set_file_limit(RLIM_INFINITY);
  steady += 60000;
  etk_log(ETK_LOG_INFO, "there is room");
  assert_int_equal(told.count, 1);
  char *text = contents("");
  size_t bad = 0, good = 0;
  for (char *p = text, *newline; *p; p = newline + 1) {
    newline = strchr(p, '\n');
    assert_non_null(newline);
    json_t *json = json_loadb(p, (size_t)(newline - p), 0, NULL);
    json ? good++ : bad++;
    json_decref(json);
  }
  assert_int_equal(bad, 1); /* the piece of the line that met the limit, on a line of its own */
  size_t whole = 1000 / strlen("{\"timestamp\":\"2026-10-20T04:49:02.123Z\",\"level\":\"info\",\"message\":\"line 1\"}\n");
  assert_int_equal(good, whole + 2);
  char wanted[80];
  snprintf(wanted, sizeof wanted, "\"%zu lines are missing here", 100 - whole + 2);
  assert_non_null(strstr(text, wanted));
  assert_non_null(strstr(text, "there is room"));
  etk_free(text);
  set_file_limit(1000);
  etk_log(ETK_LOG_INFO, "full again");
  assert_int_equal(told.count, 2);
  set_file_limit(RLIM_INFINITY);
  etk_log_file_close(file);
}

static void a_device_that_is_full_warns_once(void **state) {
  (void)state;
  if (!etk_fs_exists("/dev/full")) skip();
  snprintf(path, sizeof path, "/dev/full");
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 10, 1, 0);
  for (int i = 0; i < 100; i++) etk_log(ETK_LOG_INFO, "line %d", i);
  assert_int_equal(told.count, 1);
  assert_non_null(strstr(told.message, "No space left"));
  etk_log_file_close(file);
  assert_true(etk_fs_exists("/dev/full"));
}

static void a_line_to_one_file_says_once_that_it_broke(void **state) {
  (void)state;
  if (!etk_fs_exists("/dev/full")) skip();
  snprintf(path, sizeof path, "/dev/full");
  etk_error e = ETK_ERROR_INIT;
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  assert_int_equal(etk_log_file_event(&e, file, ETK_LOG_INFO, "x", NULL, 0), ETK_E_NO_SPACE);
  assert_non_null(strstr(e.message, "/dev/full"));
  assert_int_equal(etk_log_file_event(&e, file, ETK_LOG_INFO, "x", NULL, 0), ETK_OK);
  assert_int_equal(told.count, 0);
  etk_log_file_close(file);
}

static void a_folder_that_is_removed_is_made_again(void **state) {
  (void)state;
  char parent[600];
  snprintf(parent, sizeof parent, "%s/logs", folder);
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  etk_log(ETK_LOG_INFO, "one");
  assert_int_equal(etk_fs_remove_tree(NULL, parent), ETK_OK);
  etk_log(ETK_LOG_INFO, "two"); /* into a file without a name: found out, and written again */
  expect("", "2026-10-20T04:49:02.123Z info    two\n");
  assert_int_equal(told.count, 0);
  etk_log_file_close(file);
}

static void a_folder_that_cannot_be_made_again_warns_once(void **state) {
  (void)state;
  char parent[600];
  snprintf(parent, sizeof parent, "%s/logs", folder);
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  assert_int_equal(etk_fs_remove_tree(NULL, parent), ETK_OK);
  assert_int_equal(etk_fs_write(NULL, parent, "", 0, false), ETK_OK); /* a file takes its place: even root cannot make the folder */
  for (int i = 0; i < 10; i++) etk_log(ETK_LOG_INFO, "x");
  assert_int_equal(told.count, 1);
  assert_int_equal(unlink(parent), 0);
  steady += 60000;
  etk_log(ETK_LOG_INFO, "back");
  char *text = contents("");
  assert_non_null(strstr(text, "10 lines are missing"));
  assert_non_null(strstr(text, "back\n"));
  etk_free(text);
  etk_log_file_close(file);
}

static void what_a_dead_process_tore_stays_on_a_line_of_its_own(void **state) {
  (void)state;
  char parent[600];
  snprintf(parent, sizeof parent, "%s/logs", folder);
  assert_int_equal(etk_fs_make_dirs(NULL, parent), ETK_OK);
  assert_int_equal(etk_fs_write(NULL, path, "{\"timest", 8, false), ETK_OK);
  etk_log_file *file = open_log(ETK_LOG_PLAIN, 0, 0, 0);
  etk_log(ETK_LOG_INFO, "x");
  expect("", "{\"timest\n2026-10-20T04:49:02.123Z info    x\n");
  etk_log_file_close(file);
}

static void a_log_that_cannot_be_opened_says_why(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_log_file *file;
  etk_log_file_options options = {sizeof options, folder, ETK_LOG_JSON, ETK_LOG_INFO, 0, 0, 0};
  assert_int_not_equal(etk_log_file_open(&e, &file, &options), ETK_OK);
  assert_non_null(strstr(e.message, folder));
  assert_null(file);
  snprintf(path, sizeof path, "%s/fifo", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  options.path = path;
  assert_int_not_equal(etk_log_file_open(&e, &file, &options), ETK_OK);
  assert_non_null(strstr(e.message, "not a regular file"));
  options.keep = -1;
  assert_int_equal(etk_log_file_open(&e, &file, &options), ETK_E_INVALID);
  options = (etk_log_file_options){.struct_size = sizeof options};
  assert_int_equal(etk_log_file_open(&e, &file, &options), ETK_E_INVALID);
  options.struct_size = 4;
  assert_int_equal(etk_log_file_open(&e, &file, &options), ETK_E_INVALID);
  etk_log_file_close(NULL);
}

static bool open_and_log(void *user) {
  (void)user;
  etk_log_file *file;
  etk_log_file_options options = {sizeof options, path, ETK_LOG_JSON, ETK_LOG_INFO, 100, 0, 3};
  if (etk_log_file_open(NULL, &file, &options)) return false;
  for (int i = 0; i < 4; i++) etk_log(ETK_LOG_INFO, "a line, then a rotation that may lack memory");
  etk_log_file_close(file);
  return true;
}

static void memory_that_runs_out_leaks_nothing(void **state) {
  (void)state;
  long tried = interpose_sweep(open_and_log, NULL);
  assert_true(tried > 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_json_line_has_time_level_message_context_and_fields),
      TEST(a_plain_line_is_one_line_whatever_it_holds),
      TEST(a_file_has_a_level_of_its_own),
      TEST(the_sink_gets_fields_without_context),
      TEST(secrets_reach_no_file),
      TEST(a_field_never_hides_what_a_line_has_anyway),
      TEST(a_line_that_is_too_long_is_cut_and_stays_json),
      TEST(context_is_bounded_and_can_be_taken_back),
      TEST(a_sink_that_logs_reaches_files_only),
      TEST(a_line_may_go_to_one_file_alone),
      TEST(a_file_that_would_grow_beyond_its_size_is_rotated),
      TEST(a_line_larger_than_the_limit_is_written_still),
      TEST(a_gap_among_rotated_files_is_filled_before_the_oldest_goes),
      TEST(a_file_is_rotated_by_the_age_of_its_first_line),
      TEST(a_clock_that_jumps_back_does_not_rotate),
      TEST(a_clock_that_jumps_forward_rotates_once),
      TEST(a_clock_out_of_its_mind_keeps_lines_in_shape),
      TEST(a_lock_that_another_process_holds_delays_rotation_only),
      TEST(a_file_that_another_program_renamed_is_opened_anew),
      TEST(processes_that_rotate_one_file_lose_and_tear_nothing),
      TEST(threads_share_a_file_while_context_changes),
      TEST(a_file_may_be_opened_twice_in_a_process),
      TEST(a_full_disk_warns_once_and_is_tried_again_after_a_minute),
      TEST(a_device_that_is_full_warns_once),
      TEST(a_line_to_one_file_says_once_that_it_broke),
      TEST(a_folder_that_is_removed_is_made_again),
      TEST(a_folder_that_cannot_be_made_again_warns_once),
      TEST(what_a_dead_process_tore_stays_on_a_line_of_its_own),
      TEST(a_log_that_cannot_be_opened_says_why),
      TEST(memory_that_runs_out_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
