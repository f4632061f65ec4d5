/* Loading and probing, with the fake plugin built here as each test needs it. Its messages are tested by tests/fake/fake.sh. */
#include "loader.h"

#include <etk/fs.h>
#include <etk/hardware.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND ((int64_t)1000000000)

static char root[64];
static etk_error error;

static struct plugin named(const char *name, const char *flags) { /* the name must outlive the plugin */
  static char paths[16][160];
  static unsigned next;
  char *path = paths[next++ % 16], command[1024];
  const char *compiler = getenv("CC");
  snprintf(path, sizeof paths[0], "%s/libproj-%s.so", root, name);
  snprintf(command, sizeof command, "%s -std=gnu11 -fPIC -shared -w -Isdk/include %s '-DNS=\"%s\"' tests/fake/fake.c -o %s", compiler && *compiler ? compiler : "cc", flags, name, path);
  if (system(command)) fail_msg("this failed: %s", command);
  return (struct plugin){.name_space = name, .path = path, .origin = "test"};
}
static void says(const char *words) {
  if (!strstr(error.message, words)) fail_msg("'%s' is not in '%s'", words, error.message);
}
static int set_up(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/etk-loader-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}
static int tear_down(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, root);
}

/* ---- loading ---- */

static void a_sound_plugin_loads_and_lives(void **state) {
  (void)state;
  struct plugin plugin = named("sound", "");
  struct search_path path = {0};
  struct manifest manifest;
  struct loaded loaded;
  assert_int_equal(plugin_manifest(&error, &manifest, &path, &plugin), ETK_OK);
  assert_false(manifest.asked);
  assert_int_not_equal(manifest.file_inode, 0);
  assert_int_equal(plugin_load(&error, &loaded, &plugin, &manifest), ETK_OK);
  assert_string_equal(loaded.project->name_space, "sound");
  assert_int_equal(plugin_init(&error, &loaded, &silent_host), ETK_OK);
  assert_true(loaded.initialised);
  plugin_deinit(&loaded);
  assert_false(loaded.initialised);
  assert_int_equal(plugin_load(&error, &loaded, &plugin, NULL), ETK_OK); /* nothing to compare with */
  manifest_fini(&manifest);
}

static void a_plugin_without_a_note_is_asked(void **state) {
  (void)state;
  struct plugin with = named("with", ""), without = named("without", "-DNO_NOTE");
  struct search_path path = {0};
  struct manifest a, b;
  assert_int_equal(plugin_manifest(&error, &a, &path, &with), ETK_OK);
  assert_int_equal(plugin_manifest(&error, &b, &path, &without), ETK_OK);
  assert_true(b.asked);
  a.name_space = b.name_space; /* their only difference */
  assert_int_equal(manifest_equal(&error, &a, &b), ETK_OK);
  manifest_fini(&a);
  manifest_fini(&b);
}

static void a_plugin_that_hurts_when_asked_is_told(void **state) {
  (void)state;
  struct plugin plugin = named("hurts", "-DNO_NOTE -DLOAD_CRASH");
  struct search_path path = {0};
  struct manifest manifest;
  assert_int_not_equal(plugin_manifest(&error, &manifest, &path, &plugin), ETK_OK);
  says("crashed with SIGSEGV while it was loaded");
  says(plugin.path);
}

static void a_file_that_was_replaced_is_not_run(void **state) {
  (void)state;
  struct plugin plugin = named("swap", "");
  struct search_path path = {0};
  struct manifest manifest;
  struct loaded loaded;
  char other[192];
  assert_int_equal(plugin_manifest(&error, &manifest, &path, &plugin), ETK_OK);
  snprintf(other, sizeof other, "%s.new", plugin.path);
  char *bytes;
  size_t size;
  assert_int_equal(etk_fs_read(&error, &bytes, &size, plugin.path, 1 << 20), ETK_OK);
  assert_int_equal(etk_fs_write(&error, other, bytes, size, false), ETK_OK);
  etk_free(bytes);
  assert_int_equal(rename(other, plugin.path), 0);
  assert_int_equal(plugin_load(&error, &loaded, &plugin, &manifest), ETK_E_PERMISSION);
  says("was replaced between the check and the loading");
  manifest_fini(&manifest);
}

static void an_init_that_fails_leaves_nothing_to_end(void **state) {
  (void)state;
  struct plugin plugin = named("fails", "-DINIT_FAIL");
  struct loaded loaded;
  assert_int_equal(plugin_load(&error, &loaded, &plugin, NULL), ETK_OK);
  assert_int_equal(plugin_init(&error, &loaded, &silent_host), ETK_E_UNAVAILABLE);
  says("fails could not start: no quantum processor was found");
  assert_false(loaded.initialised);
  plugin_deinit(&loaded); /* does nothing */
}

/* ---- children ---- */

static void answer_much(void *user, etk_text *answer, void (*stage)(const char *)) {
  (void)stage;
  for (size_t i = 0; i < *(size_t *)user; i++) etk_text_putc(answer, (char)('a' + i % 26));
}
static void crash(void *user, etk_text *answer, void (*stage)(const char *)) {
  (void)answer;
  stage("at first");
  stage("in the middle");
  raise(*(int *)user);
}
static void leave(void *user, etk_text *answer, void (*stage)(const char *)) {
  (void)answer, (void)stage;
  _exit(*(int *)user);
}
static void hang(void *user, etk_text *answer, void (*stage)(const char *)) {
  (void)user, (void)answer;
  stage("in an endless wait");
  for (;;) pause();
}
static void print(void *user, etk_text *answer, void (*stage)(const char *)) {
  (void)user, (void)stage;
  printf("this must not be seen\n");
  fflush(stdout);
  etk_text_printf(answer, "%d", getchar());
}

static void an_answer_larger_than_a_pipe_arrives_whole(void **state) {
  (void)state;
  size_t size = 1 << 20;
  etk_text answer = ETK_TEXT_INIT;
  assert_int_equal(plugin_child(&error, &answer, (struct child_job){answer_much, &size}, 10 * SECOND), ETK_OK);
  assert_int_equal(answer.size, size);
  for (size_t i = 0; i < size; i++)
    if (answer.data[i] != (char)('a' + i % 26)) fail_msg("byte %zu is wrong", i);
  etk_text_free(&answer);
}

static void how_a_child_ended_is_told_with_where_it_was(void **state) {
  (void)state;
  etk_text answer = ETK_TEXT_INIT;
  int number = SIGBUS;
  assert_int_not_equal(plugin_child(&error, &answer, (struct child_job){crash, &number}, 10 * SECOND), ETK_OK);
  says("crashed with SIGBUS in the middle");
  number = 7;
  assert_int_not_equal(plugin_child(&error, &answer, (struct child_job){leave, &number}, 10 * SECOND), ETK_OK);
  says("ended the process with exit status 7");
  etk_text_free(&answer);
}

static void a_child_that_hangs_is_ended_in_time(void **state) {
  (void)state;
  etk_text answer = ETK_TEXT_INIT;
  int64_t started = etk_time_ns();
  assert_int_equal(plugin_child(&error, &answer, (struct child_job){hang, NULL}, SECOND / 5), ETK_E_UNAVAILABLE);
  int64_t took = etk_time_ns() - started;
  says("did not answer within");
  says("in an endless wait");
  assert_true(took >= SECOND / 5 && took < 10 * SECOND); /* the upper bound only tells a wait that never ends from a slow machine */
  etk_text_free(&answer);
}

static void a_child_neither_prints_nor_reads(void **state) {
  (void)state;
  etk_text answer = ETK_TEXT_INIT;
  assert_int_equal(plugin_child(&error, &answer, (struct child_job){print, NULL}, 10 * SECOND), ETK_OK);
  assert_string_equal(answer.data, "-1"); /* the end of /dev/null; what it printed would be seen as a broken line of this test's output */
  etk_text_free(&answer);
}

static void probes_come_back_in_order(void **state) {
  (void)state;
  enum { COUNT = 9 };
  struct plugin plugins[COUNT];
  struct search_path path = {0};
  struct probe probes[COUNT];
  static const char *const names[] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"}, *const flags[] = {"", "-DLOAD_CRASH", "-DINIT_CRASH"};
  for (size_t i = 0; i < COUNT; i++) plugins[i] = named(names[i], flags[i % 3]);
  assert_int_equal(plugin_probe(&error, probes, &path, plugins, COUNT, true), ETK_OK);
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(probes[i].ok, i % 3 == 0);
    assert_string_equal(probes[i].version, "1.0.0"); /* of the broken ones too: it is in their notes */
    assert_int_equal(probes[i].commands, 1);
    assert_true(probes[i].elapsed_ns > 0);
    if (i % 3 == 1) assert_string_equal(probes[i].reason, "crashed with SIGSEGV while it was loaded");
    if (i % 3 == 2) assert_string_equal(probes[i].reason, "crashed with SIGABRT in its init");
  }
  assert_int_equal(plugin_probe(&error, probes, &path, plugins + 2, 1, false), ETK_OK);
  assert_true(probes[0].ok); /* without init it loads */
}

static void a_plugin_that_hangs_is_a_broken_one(void **state) {
  (void)state;
  struct plugin plugins[2] = {named("hangs", "-DLOAD_HANG"), named("works", "")};
  struct search_path path = {0};
  struct probe probes[2];
  assert_int_equal(plugin_probe_within(&error, probes, &path, plugins, 2, true, SECOND), ETK_OK);
  assert_false(probes[0].ok);
  if (!strstr(probes[0].reason, "did not answer within") || !strstr(probes[0].reason, "while it was loaded")) fail_msg("it says: %s", probes[0].reason);
  assert_true(probes[1].ok);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {TEST(a_sound_plugin_loads_and_lives),
                                     TEST(a_plugin_without_a_note_is_asked),
                                     TEST(a_plugin_that_hurts_when_asked_is_told),
                                     TEST(a_file_that_was_replaced_is_not_run),
                                     TEST(an_init_that_fails_leaves_nothing_to_end),
                                     TEST(an_answer_larger_than_a_pipe_arrives_whole),
                                     TEST(how_a_child_ended_is_told_with_where_it_was),
                                     TEST(a_child_that_hangs_is_ended_in_time),
                                     TEST(a_child_neither_prints_nor_reads),
                                     TEST(probes_come_back_in_order),
                                     TEST(a_plugin_that_hangs_is_a_broken_one)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
