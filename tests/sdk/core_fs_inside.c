/* Tests of the paths a stranger gives: as text, and opened while somebody swaps folders for links. */
#include "../folder.h"
#include "core/fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static int root = -1;

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/etk-inside-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return root >= 0 ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  etk__fs_force_fallbacks(false);
  close(root);
  return etk_fs_remove_tree(NULL, folder) == ETK_OK ? 0 : -1;
}

static void a_path_is_inside_when_no_part_of_it_leaves(void **state) {
  (void)state;
  static const char *const in[] = {"a", "a/b", "./a", "a//b/", "a/../b", "a/..", ".", "..a", "a..", "...", "a/b/../../c", "aa:b", "1:x"};
  static const char *const out[] = {"", "/", "/a", "..", "../a", "a/../../x", "./..", "a/b/../../..", "a\\b", "..\\x", "C:", "c:/x", "C:x"};
  for (size_t i = 0; i < sizeof in / sizeof *in; i++)
    if (!etk_path_is_inside(in[i])) fail_msg("'%s' is inside", in[i]);
  for (size_t i = 0; i < sizeof out / sizeof *out; i++)
    if (etk_path_is_inside(out[i])) fail_msg("'%s' is not inside", out[i]);
}

static void a_path_is_brought_to_its_normal_form(void **state) {
  (void)state;
  static const char *const rows[][2] = {{"a/./b//../c", "a/c"}, {"", "."},         {".", "."},          {"./", "."},       {"a/..", "."},      {"/", "/"},
                                        {"//a//", "/a"},        {"/..", "/"},      {"/../a/..", "/"},   {"../a", "../a"},  {"a/../../b", "../b"}, {"../..", "../.."},
                                        {"../a/../..", "../.."}, {"a/b/c/..", "a/b"}, {"...", "..."},      {"a/.b/..c", "a/.b/..c"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *normal = etk_path_normal(rows[i][0]);
    assert_string_equal(normal, rows[i][1]);
    etk_free(normal);
  }
}

static void a_name_is_made_safe_for_every_system(void **state) {
  (void)state;
  static const char *const rows[][2] = {{"model.bin", "model.bin"},
                                        {"", "file"},
                                        {"...", "file"},
                                        {"../../etc/passwd", "_.._etc_passwd"},
                                        {".hidden", "hidden"},
                                        {"a\\b:c*d?e\"f<g>h|i", "a_b_c_d_e_f_g_h_i"},
                                        {"tab\tnew\nline\x7F", "tab_new_line_"},
                                        {"ends. . ", "ends"},
                                        {"  begins", "begins"},
                                        {"CON", "_CON"},
                                        {"nul.txt", "_nul.txt"},
                                        {"aux .tar.gz", "_aux .tar.gz"},
                                        {"com1", "_com1"},
                                        {"LPT9.x", "_LPT9.x"},
                                        {"com\xC2\xB2", "_com\xC2\xB2"},
                                        {"console", "console"},
                                        {"com10", "com10"},
                                        {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
                                        {"bad\xFFutf", "bad_utf"},
                                        {"txt\xE2\x80\xAE" "exe", "txt_exe"}}; /* U+202E reorders what is read */
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *safe = etk_path_safe_name(rows[i][0]);
    assert_string_equal(safe, rows[i][1]);
    etk_free(safe);
  }
  char lengthy[400];
  for (size_t i = 0; i < 99; i++) memcpy(lengthy + 3 * i + 1, "\xE2\x82\xAC", 4); /* € */
  lengthy[0] = 'x';
  char *safe = etk_path_safe_name(lengthy);
  assert_int_equal(strlen(safe), 118); /* x and 39 of three bytes; a 40th would end at 121 */
  etk_free(safe);
}

/* Both ways of opening give the same answers. */
static void opening_inside_follows_no_link(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("real/deep")), ETK_OK);
  put("real/deep/file", "here");
  assert_int_equal(symlink("real", at("link")), 0);
  assert_int_equal(symlink("file", at("real/deep/last")), 0);
  assert_int_equal(symlink("/etc", at("out")), 0);
  static const struct {
    const char *path;
    etk_status status;
  } rows[] = {{"real/deep/file", ETK_OK},        {"./real//deep/../deep/file", ETK_OK}, {"link/deep/file", ETK_E_INVALID}, {"real/deep/last", ETK_E_INVALID},
              {"out/passwd", ETK_E_INVALID},     {"out", ETK_E_INVALID},                {"../x", ETK_E_INVALID},           {"/etc/passwd", ETK_E_INVALID},
              {"real/none/file", ETK_E_NOT_FOUND}, {"real/deep/file/x", ETK_E_NOT_FOUND}, {"", ETK_E_INVALID}};
  for (int fallback = 0; fallback < 2; fallback++) {
    etk__fs_force_fallbacks(fallback);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      etk_error e = ETK_ERROR_INIT;
      int fd = 99;
      etk_status status = etk_fs_open_inside(&e, &fd, root, rows[i].path, O_RDONLY, 0);
      if (status != rows[i].status) fail_msg("'%s': %s (fallback %d)", rows[i].path, e.message, fallback);
      assert_int_equal(fd >= 0, status == ETK_OK);
      if (status) assert_non_null(strstr(e.message, rows[i].path));
      if (fd >= 0) close(fd);
    }
    int fd;
    assert_int_equal(etk_fs_open_inside(NULL, &fd, root, "link", O_RDONLY | O_DIRECTORY, 0), ETK_E_INVALID);
    assert_int_equal(etk_fs_open_inside(NULL, &fd, root, ".", O_RDONLY | O_DIRECTORY, 0), ETK_OK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
    assert_int_equal(etk_fs_open_inside(NULL, &fd, root, "real/new", O_WRONLY | O_CREAT | O_EXCL, 0640), ETK_OK);
    close(fd);
    struct stat info;
    assert_int_equal(stat(at("real/new"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(etk_fs_open_inside(NULL, &fd, root, "real/new", O_WRONLY | O_CREAT | O_EXCL, 0640), ETK_E_EXISTS);
    assert_int_equal(etk_fs_open_inside(NULL, &fd, root, "real/deep/last", O_WRONLY | O_CREAT, 0640), ETK_E_INVALID);
    unlink(at("real/new"));
  }
}

/* ---- a race: "way" is a folder and a link to the outside by turns ---- */

typedef struct race {
  char way[256], aside[256], link[256], secret[256];
  atomic_bool stop;
} race;

static void *swap_for_ever(void *user) {
  race *r = user;
  while (!atomic_load(&r->stop)) { /* the folder away and the link in, then back */
    if (rename(r->way, r->aside) != 0 || rename(r->link, r->way) != 0) break;
    if (rename(r->way, r->link) != 0 || rename(r->aside, r->way) != 0) break;
  }
  return NULL;
}

static void no_race_redirects_an_open(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("in/way/x")), ETK_OK);
  assert_int_equal(etk_fs_make_dirs(NULL, at("outside/x")), ETK_OK);
  put("in/way/x/file", "inside");
  put("outside/x/file", "secret");
  race r = {.stop = false};
  snprintf(r.way, sizeof r.way, "%s", at("in/way"));
  snprintf(r.aside, sizeof r.aside, "%s", at("in/aside"));
  snprintf(r.link, sizeof r.link, "%s", at("in/link"));
  assert_int_equal(symlink("../outside", r.link), 0);
  int in = open(at("in"), O_RDONLY | O_DIRECTORY);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, swap_for_ever, &r), 0);
  long naive = 0, safe[2] = {0, 0}, refused[2] = {0, 0}, wrong = 0;
  enum { ROUNDS = 60000 };
  for (int i = 0; i < ROUNDS; i++) {
    char text[16] = "";
    int fallback = i & 1, fd = -1;
    int plain = openat(in, "way/x/file", O_RDONLY); /* shows that the race is one */
    if (plain >= 0 && read(plain, text, sizeof text - 1) > 0) naive += strcmp(text, "secret") == 0;
    if (plain >= 0) close(plain);
    etk__fs_force_fallbacks(fallback);
    etk_status status = etk_fs_open_inside(NULL, &fd, in, "way/x/file", O_RDONLY, 0);
    memset(text, 0, sizeof text);
    if (!status && read(fd, text, sizeof text - 1) > 0) strcmp(text, "inside") == 0 ? safe[fallback]++ : wrong++;
    else refused[fallback]++;
    if (fd >= 0) close(fd);
  }
  atomic_store(&r.stop, true);
  pthread_join(thread, NULL);
  close(in);
  print_message("# plain open was led out %ld times of %d; openat2: %ld opened, %ld refused; steps: %ld, %ld\n", naive, ROUNDS, safe[0], refused[0], safe[1], refused[1]);
  assert_int_equal(wrong, 0);
  assert_true(safe[0] > 0 && safe[1] > 0);
  if (naive == 0) skip(); /* one processor may never interleave them: nothing was shown */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_path_is_inside_when_no_part_of_it_leaves),
      cmocka_unit_test(a_path_is_brought_to_its_normal_form),
      cmocka_unit_test(a_name_is_made_safe_for_every_system),
      TEST(opening_inside_follows_no_link),
      TEST(no_race_redirects_an_open),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
